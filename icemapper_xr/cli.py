"""The command `icemapper`: options to keywords, results to lines. Everything heavy is imported inside a command."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Group, Parameter

from icemapper_xr import progress
from icemapper_xr._version import __version__
from icemapper_xr.conventions import MIN_AREA_KM2, MIN_STEPS, THRESHOLD
from icemapper_xr.errors import IcemapperError

if TYPE_CHECKING:
    from icemapper_xr.pipeline import MapReport

__all__ = ["app", "main"]

Files = Annotated[list[Path] | None, Parameter(consume_multiple=True)]
Box = tuple[float, float, float, float]
FeatureName = Literal["grd", "rtc", "insar"]

app = App(
    name="icemapper",
    version=__version__,
    help="Map glaciers from Sentinel-1 time series.",
    help_format="markdown",
    default_parameter=Parameter(negative_iterable=(), negative_bool=()),
)
catalog_app = App(name="catalog", help="Make catalogues of your own rasters.")
weights_app = App(name="weights", help="List, describe and fetch weights.")
app.command(catalog_app)
app.command(weights_app)

AREA = Group("Area")


@Parameter(name="*", group=AREA)
@dataclass(frozen=True)
class AreaOptions:
    """Where to look; without any, the whole extent of a local catalogue."""

    bbox: Annotated[Box | None, Parameter(allow_leading_hyphen=True)] = None
    """West, south, east, north in degrees; west > east crosses the antimeridian."""
    bounds: Annotated[Box | None, Parameter(allow_leading_hyphen=True)] = None
    """Left, bottom, right, top in the units of --crs."""
    crs: str | None = None
    """CRS of the map, for example EPSG:32633; default: the UTM zone of the area."""
    geometry: Path | None = None
    """File with a polygon of the area (GeoJSON, GPKG, GeoParquet)."""

    def keywords(self) -> dict[str, Any]:
        """Keywords of `open_cube` and `map_glaciers`."""
        values: dict[str, Any] = {"bbox": self.bbox, "bounds": self.bounds, "crs": self.crs}
        if self.geometry is not None:
            from icemapper_xr.cube import extent

            values["geometry"] = extent.read_area(self.geometry)
        return {name: value for name, value in values.items() if value is not None}


# -- commands ----------------------------------------------------------------------------------------------------------


@app.command
def demo(*, out: Path = Path("demo"), seed: int = 20_261, size: int = 1000, keep_rasters: bool = False) -> None:
    """Simulate a scene in two years, map both with the shipped weights and compare with the truth. No network.

    Parameters
    ----------
    out
        Folder to write.
    seed
        Seed of the scene; the training never saw the default.
    size
        Rows and columns of the mapped area, 10 m pixels.
    keep_rasters
        Keep the simulated radar rasters (some hundred MB).
    """
    from icemapper_xr import demo as demonstration

    print(demonstration.run(out=out, seed=seed, size=size, keep_rasters=keep_rasters).table())


@app.command
def search(
    catalog: str,
    *,
    area: AreaOptions = AreaOptions(),
    datetime: str | None = None,
    features: Annotated[tuple[FeatureName, ...], Parameter(consume_multiple=True)] = ("rtc",),
    polarisation: Literal["VV", "VH", "HH", "HV"] | None = None,
    orbit: int | None = None,
    out: Path | None = None,
) -> None:
    """Search a catalogue and tell which passes it has.

    Parameters
    ----------
    catalog
        planetary-computer, earth-search, cdse, a STAC URL, or the path of a catalogue.
    datetime
        2023, or 2023-01-01/2023-12-31.
    features
        What to look for.
    polarisation
        Only this one.
    orbit
        Only this relative orbit.
    out
        Write the items found: .json (item collection) or .parquet (stac-geoparquet).
    """
    from icemapper_xr import catalog as catalogs
    from icemapper_xr.cube import area_grid, extent

    where = area.keywords()
    if "bounds" in where:
        where = {"bbox": extent.lonlat_box(area_grid(**where, margin=0))}
    where.pop("crs", None)
    found = catalogs.search(
        catalog, **where, datetime=datetime, features=features, polarisation=polarisation, orbit=orbit
    )
    print(found)
    if out is not None:
        found.to_file(out)
        print(f"wrote {len(found)} items to {out}")


@catalog_app.command
def presets() -> None:
    """Tell which catalogues are known by name, what they serve and what account they need."""
    from icemapper_xr import catalog as catalogs

    print(catalogs.describe())


@catalog_app.command
def build(
    folder: Path,
    *,
    feature: FeatureName | None = None,
    quantity: Literal["gamma0", "sigma0", "beta0", "coherence"] | None = None,
    scale: Literal["power", "amplitude", "dB", "1"] | None = None,
    polarisation: Literal["VV", "VH", "HH", "HV"] | None = None,
    relative_orbit: int | None = None,
    orbit_state: Literal["ascending", "descending"] | None = None,
    platform: Literal["S1A", "S1B", "S1C", "S1D"] | None = None,
    mode: Literal["IW", "EW", "SM", "WV"] | None = None,
    skip_bad: bool = False,
    out: Path | None = None,
) -> None:
    """Index a folder of GeoTIFFs (OPERA RTC-S1, HyP3, plain names with a date) as a STAC catalogue.

    The options say what names and tags of the files do not tell.

    Parameters
    ----------
    folder
        Folder with the rasters, searched with its subfolders.
    feature
        What the rasters are.
    quantity
        Physical quantity.
    scale
        Scale of the values.
    polarisation
        Polarisation.
    relative_orbit
        Relative orbit, 1 to 175.
    orbit_state
        Direction of flight.
    platform
        Satellite.
    mode
        Instrument mode.
    skip_bad
        Leave out files that cannot be read, instead of stopping.
    out
        Folder to write the catalogue to; default: the folder itself.
    """
    from icemapper_xr import catalog as catalogs

    built = catalogs.build(
        folder,
        feature=feature,
        quantity=quantity,
        scale=scale,
        polarisation=polarisation,
        relative_orbit=relative_orbit,
        orbit_state=orbit_state,
        platform=platform,
        mode=mode,
        skip_bad=skip_bad,
        out=out,
    )
    print(built.table())
    print(f"indexed {len(built)} items in {out or folder}")


@app.command(name="map")
def map_(
    *,
    catalog: str,
    out: Path,
    weights: str,
    area: AreaOptions = AreaOptions(),
    years: Annotated[str | None, Parameter(alias="--year")] = None,
    times: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    start: str | None = None,
    features: Annotated[tuple[FeatureName, ...] | None, Parameter(consume_multiple=True)] = None,
    resolution: float | None = None,
    resample: Literal["nearest", "bilinear", "average"] | None = None,
    resampling: Literal["nearest", "bilinear", "average"] | None = None,
    orbit: int | None = None,
    polarisation: Literal["VV", "HH"] | None = None,
    baseline: int = 12,
    min_steps: int = MIN_STEPS,
    gap: Literal["nearest", "zero"] = "nearest",
    overlap: float = 0.5,
    reader: Literal["stackstac", "odc"] = "stackstac",
    engine: Literal["auto", "tensorflow", "openvino"] = "auto",
    threshold: float = THRESHOLD,
    min_area_km2: float = MIN_AREA_KM2,
    overwrite: bool = False,
) -> None:
    """Map the glaciers of an area into a folder; the same command again resumes.

    Parameters
    ----------
    catalog
        planetary-computer, earth-search, cdse, a STAC URL, or the path of a catalogue or indexed folder.
    out
        Folder to write: glaciers.zarr, outlines.gpkg, run.json.
    weights
        Name or path of the weights (icemapper weights list).
    years
        2023, 2016:2024 or 2016,2020.
    times
        The 15 dates to use (YYYY-MM-DD), instead of the rules on year and steps.
    start
        Month and day (MM-DD) of the first step; default 01-01.
    features
        What to read, in the order of the channels; default: what the weights want.
    resolution
        Pixel size of the cube in metres; default: the weights'.
    resample
        How to bring the cube to the weights' pixel size.
    resampling
        How to read rasters of another pixel size than the cube's.
    orbit
        Relative orbit; default: the best covered.
    polarisation
        Default: the best covered.
    baseline
        Days between the two dates of a coherence pair.
    min_steps
        Fewest valid steps with which to go on.
    gap
        What the network is fed where a step is missing.
    overlap
        Share of a window that the next one covers: 0.5, 0.25 or 0.
    reader
        Library that reads the rasters.
    engine
        Library that runs the network.
    threshold
        Probability at which outlines are drawn.
    min_area_km2
        Smallest outline that is kept.
    overwrite
        Replace the output of another run.
    """
    from icemapper_xr import pipeline, settings

    where = area.keywords()
    report = pipeline.map_glaciers(
        catalog=catalog,
        weights=weights,
        out=out,
        years=() if years is None else settings.parse_years(years),
        times=None if times is None else tuple(times),
        start=start,
        features=features,
        resolution=resolution,
        resample=resample,
        resampling=resampling,
        orbit=orbit,
        polarisation=polarisation,
        baseline=baseline,
        min_steps=min_steps,
        gap=gap,
        overlap=overlap,
        reader=reader,
        engine=engine,
        threshold=threshold,
        min_area_km2=min_area_km2,
        overwrite=overwrite,
        **where,
    )
    print(_summary(report))


@app.command
def apply(
    out: Path,
    *,
    weights: str,
    grd: Files = None,
    rtc: Files = None,
    insar: Files = None,
    reference: Path | None = None,
    engine: Literal["auto", "tensorflow", "openvino"] = "auto",
    overwrite: bool = False,
) -> None:
    """Do the original ICEmapper program's job, to the letter: lists of rasters in, two bands of probability out.

    Parameters
    ----------
    out
        GeoTIFF to write.
    weights
        Name or path of the weights.
    grd
        15 backscatter rasters in dB, in time order; the shell may expand them (--grd g*.tif).
    rtc
        15 terrain-corrected backscatter rasters in dB.
    insar
        15 coherence rasters.
    reference
        Raster whose grid is mapped; default: the first backscatter raster.
    engine
        Library that runs the network.
    overwrite
        Replace an existing file.
    """
    from icemapper_xr import pipeline

    written = pipeline.apply(
        out,
        weights=weights,
        grd=grd,
        rtc=rtc,
        insar=insar,
        reference=reference,
        engine=engine,
        overwrite=overwrite,
    )
    print(f"wrote {written}")


@app.command
def outlines(
    source: Path,
    out: Path | None = None,
    *,
    year: int | None = None,
    threshold: float = THRESHOLD,
    min_area_km2: float = MIN_AREA_KM2,
    min_hole_km2: float = 0.0,
) -> None:
    """Draw outlines from an output folder of `map`, or from its zarr cube.

    Parameters
    ----------
    source
        Folder that `map` wrote, or a glaciers.zarr.
    out
        .gpkg, .parquet or .geojson; default: outlines.gpkg in the folder.
    year
        Only this year.
    threshold
        Probability at which outlines are drawn.
    min_area_km2
        Smallest outline that is kept.
    min_hole_km2
        Smallest hole (nunatak) that is kept.
    """
    from icemapper_xr import pipeline

    target, drawn = pipeline.outlines_of_run(
        source, out, year=year, threshold=threshold, min_area_km2=min_area_km2, min_hole_km2=min_hole_km2
    )
    print(f"wrote {len(drawn)} outlines, {drawn['area_km2'].sum():.2f} km2, to {target}")


@weights_app.command(name="list")
def list_() -> None:
    """List the weights that are here, and those that can be fetched."""
    from icemapper_xr import models

    print(_table(models.list_weights(), ("name", "origin", "features", "window", "pixel_size", "here")))


@weights_app.command
def info(weights: str) -> None:
    """Tell all that is known of some weights.

    Parameters
    ----------
    weights
        Name or path.
    """
    import json

    from icemapper_xr import models

    print(json.dumps(models.info(weights), indent=2, default=str))


@weights_app.command
def fetch(weights: str, *, url: str | None = None, cache: Path | None = None) -> None:
    """Fetch published weights from their public repository, checked by their digest.

    Parameters
    ----------
    weights
        Name, for example tweightedpool_rtc.
    url
        Mirror: the address of the folder that holds the files.
    cache
        Folder to keep them in.
    """
    from icemapper_xr import models

    print(f"wrote {models.fetch_weights(weights, url=url, cache=cache)}")


# -- lines -------------------------------------------------------------------------------------------------------------


def _summary(report: MapReport) -> str:
    lines = ["year  area km2  glaciers  orbit  pol  steps  first       last"]
    lines += [
        f"{y.year}  {y.area_km2:8.2f}  {y.glaciers:8d}  {y.relative_orbit or '?':>5}  {y.polarisation or '?':>3}  "
        f"{y.steps:5d}  {y.first}  {y.last}"
        for y in report.years
    ]
    lines += [f"{y.year}: {len(y.missing)} missing steps ({', '.join(y.missing)})" for y in report.years if y.missing]
    kept = sum(y.units_kept for y in report.years)
    lines.append(
        f"{report.windows.evaluated} windows evaluated, {report.windows.skipped} skipped (nothing observed), "
        f"engine {report.engine}" + (f"; {kept} units were done before" if kept else "")
    )
    if report.simulated:
        lines.append("these weights were trained on simulated scenes: no accuracy on real ice is known, check the map")
    lines.append(f"wrote {report.store} and {report.outlines}")
    return "\n".join(lines)


def _table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    cells = [list(columns)] + [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "+".join(map(str, value))
    return "" if value is None else str(value)


def _one_line(message: object) -> str:
    return " ".join(str(message).split())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; a mistake of the user's is one line and exit code 2, never a traceback."""
    progress.enable(sys.stderr.isatty() or "ICEMAPPER_PROGRESS" in os.environ)
    # TensorFlow's start-up messages say nothing to a user.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {_one_line(message)}", file=sys.stderr)
    for noisy in (DeprecationWarning, FutureWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", noisy)
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except (IcemapperError, CycloptsError) as error:
        _fail(_one_line(error), 2)
    except KeyboardInterrupt:
        _fail("stopped; the same command again goes on where it was", 130)
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None
    except Exception as error:
        if "ICEMAPPER_DEBUG" in os.environ:
            raise
        _fail(
            f"{type(error).__name__}: {_one_line(error)} (a defect of icemapper or of a library it uses; "
            "ICEMAPPER_DEBUG=1 shows where)",
            1,
        )


def _fail(message: str, code: int) -> None:
    print(f"icemapper: {message}", file=sys.stderr)
    raise SystemExit(code)
