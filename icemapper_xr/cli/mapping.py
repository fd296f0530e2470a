"""`demo`, `map`, `apply` and `outlines`: from observations to outlines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from icemapper_xr.cli._app import (
    ANYWHERE,
    AREA,
    HERE,
    USUAL,
    AreaOptions,
    Rasters,
    RunOptions,
    SeriesOptions,
    app,
    belonging,
)
from icemapper_xr.conventions import MIN_AREA_KM2, THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icemapper_xr.pipeline import MapReport, RegionReport
    from icemapper_xr.pipeline.trust import Unlike

_NOTEWORTHY = 0.05
"""Share of unlike input of the mapped glacier from which a map says so; on the training's data it is a hundredth."""
_ELSEWHERE = 0.15
"""The same of all that was observed (scenes of the training's kind, unseen by it: up to 4 %)."""
_SIMULATED = "these weights were trained on simulated scenes: no accuracy on real ice is known, check the map"


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


@app.command(name="map")
def map_(
    *,
    catalog: str,
    out: Path,
    store: str | None = None,
    weights: str,
    area: AreaOptions = ANYWHERE,
    region: Annotated[list[str] | None, Parameter(consume_multiple=True, group=AREA)] = None,
    mask: Annotated[Path | None, Parameter(group=AREA)] = None,
    mask_buffer: Annotated[float | None, Parameter(group=AREA)] = None,
    tile: Annotated[int | None, Parameter(group=AREA)] = None,
    series: SeriesOptions = USUAL,
    times: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    gap: Literal["nearest", "zero"] = "nearest",
    reader: Literal["stackstac", "odc"] = "stackstac",
    threshold: float = THRESHOLD,
    min_area_km2: float = MIN_AREA_KM2,
    overwrite: bool = False,
    retry_failed: bool = False,
    run: RunOptions = HERE,
) -> None:
    """Map the glaciers of an area into a folder; the same command again resumes.

    Parameters
    ----------
    catalog
        planetary-computer, earth-search, cdse, a STAC URL, or the path of a catalogue or indexed folder.
    out
        Folder to write: glaciers.zarr (of a region: one store a tile in tiles), outlines.gpkg,
        orbits.gpkg, run.json, logs.
    store
        Where the cube lies instead: s3://bucket/glaciers.zarr, or a path on another disk. The folder remembers it.
    weights
        Name or path of the weights (icemapper weights list); the published ones' names mean ours, trained on simulated
        scenes, until they are fetched (icemapper weights fetch).
    region
        Area of any size, mapped in tiles by UTM zone: codes or names of RGI regions (01, 03 to 10, alaska ...),
        polygon files, boxes as west,south,east,north (--region=-20,63,-13,67); several are united.
    mask
        File of land or glacier polygons: what lies outside is neither read nor mapped.
    mask_buffer
        Metres by which the mask is grown; default: 1000.
    tile
        Side of a region's tile in chunks of 1152 pixels; default: 8.
    times
        The 15 dates to use (YYYY-MM-DD), instead of the rules on year and steps.
    gap
        What the network is fed where a step is missing.
    reader
        Library that reads the rasters.
    threshold
        Probability at which outlines are drawn.
    min_area_km2
        Smallest outline that is kept.
    overwrite
        Replace the output of another run.
    retry_failed
        Try again the units that failed in an earlier run.
    """
    from icemapper_xr import pipeline

    where = area.keywords()
    several = pipeline.as_region(where, region)
    tiling = belonging("--region", given=several is not None, tile=tile)
    report: MapReport | RegionReport = (pipeline.map_glaciers if several is None else pipeline.map_region)(
        catalog=catalog,
        weights=weights,
        out=out,
        store=store,
        mask=None if mask is None else str(mask),
        **belonging("--mask", given=mask is not None, mask_buffer=mask_buffer),
        times=None if times is None else tuple(times),
        gap=gap,
        reader=reader,
        threshold=threshold,
        min_area_km2=min_area_km2,
        overwrite=overwrite,
        retry_failed=retry_failed,
        **series.keywords(),
        **run.keywords(),
        **(where if several is None else {"region": several, **tiling}),
    )
    print(_region_summary(report) if isinstance(report, pipeline.RegionReport) else _summary(report))


@app.command
def apply(
    out: Path,
    *,
    weights: str,
    grd: Rasters = None,
    rtc: Rasters = None,
    insar: Rasters = None,
    reference: str | None = None,
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
        15 backscatter rasters in dB, in time order; the shell may expand them (--grd g*.tif) if their numbers have
        leading zeros.
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
    simplify: float = 0.0,
    band: bool = False,
    calibration: str = "auto",
    dem: Path | None = None,
    sea_level: float | None = None,
) -> None:
    """Draw outlines from an output folder of `map`, or from its zarr cube.

    Parameters
    ----------
    source
        Folder that `map` wrote, or a glaciers.zarr.
    out
        .gpkg, .parquet or .geojson; default: outlines.gpkg in the folder (and orbits.gpkg, which orbit mapped what), of
        one year outlines_YEAR.gpkg.
    year
        Only this year; default: all that are finished.
    threshold
        Probability at which outlines are drawn.
    min_area_km2
        Smallest outline that is kept.
    min_hole_km2
        Smallest hole (nunatak) that is kept.
    simplify
        Metres: take vertices away that matter less, the same on both sides of a common edge.
    band
        Measure the margin between the 5 % and the 95 % outline, and write both beside.
    calibration
        Of the band's 5 and 95 %: auto (that of the weights, if there is one), none, or a file written by calibrate.
    dem
        Raster of elevation: flags outlines over the sea (sea ice, melange).
    sea_level
        Height of the sea in the DEM, metres; default: 0.
    """
    from icemapper_xr import pipeline

    target, drawn = pipeline.outlines_of_run(
        source,
        out,
        year=year,
        threshold=threshold,
        min_area_km2=min_area_km2,
        min_hole_km2=min_hole_km2,
        simplify=simplify,
        band=band,
        calibration=calibration,
        dem=dem,
        **belonging("--dem", given=dem is not None, sea_level=sea_level),
    )
    counts = {
        "touch the edge of the data": drawn["touches_edge"].sum(),
        "may be snow": drawn["snow_suspect"].sum(),
        "may be sea ice": drawn["sea_ice_suspect"].sum() if dem is not None else 0,
    }
    remarks = "".join(f"; {count} {what}" for what, count in counts.items() if count)
    if band and len(drawn):
        width = (drawn["half_width_m"] * drawn["perimeter_km"]).sum() / drawn["perimeter_km"].sum()
        remarks += f"; margins +-{width:.1f} m ({drawn['band_calibration'].iloc[0]})"
    print(f"wrote {len(drawn)} outlines, {drawn['area_km2'].sum():.2f} km2, to {target}{remarks}")


def _region_summary(report: RegionReport) -> str:
    lines = ["year  area km2  glaciers"]
    lines += [f"{year}  {area:8.2f}  {number:8d}" for year, (area, number) in report.areas.items()]
    mapped = [tile for tile in report.tiles if not tile.skipped]
    orbits = sorted({tile.relative_orbit for tile in mapped if tile.relative_orbit is not None})
    lines.append(
        f"{len({tile.name for tile in mapped})} tiles mapped, orbits {', '.join(map(str, orbits)) or 'unknown'}; "
        f"{sum(tile.units for tile in mapped)} units written, {sum(tile.units_kept for tile in mapped)} done before"
    )
    lines += [f"{tile.name}, {tile.year}: skipped: {tile.skipped}" for tile in report.tiles if tile.skipped][:20]
    unreadable = sorted({item for tile in mapped for item in tile.unreadable})
    if unreadable:
        lines.append(f"{len(unreadable)} items could not be read and are missing steps: {', '.join(unreadable[:20])}")
    lines += [line for year, unlike in report.unlike.items() for line in _unlike(year, unlike)]
    lines.append(f"{report.windows.evaluated} windows evaluated, engine {report.engine}")
    if report.simulated:
        lines.append(_SIMULATED)
    lines.append(f"wrote {report.out} and {report.outlines}")
    return "\n".join(lines)


def _summary(report: MapReport) -> str:
    lines = ["year  area km2  glaciers  orbit  pol  steps  first       last        platforms"]
    lines += [
        f"{y.year}  {y.area_km2:8.2f}  {y.glaciers:8d}  {y.relative_orbit or '?':>5}  {y.polarisation or '?':>3}  "
        f"{y.steps:5d}  {y.first}  {y.last}  {'+'.join(y.platforms) or '?'}"
        for y in report.years
    ]
    lines += [f"{y.year}: {len(y.missing)} missing steps ({', '.join(y.missing)})" for y in report.years if y.missing]
    lines += [
        f"{y.year}: {len(y.unreadable)} items could not be read and are missing steps where they lie: "
        f"{', '.join(y.unreadable)}"
        for y in report.years
        if y.unreadable
    ]
    lines += [line for y in report.years if y.unlike is not None for line in _unlike(y.year, y.unlike)]
    kept = sum(y.units_kept for y in report.years)
    lines.append(
        f"{report.windows.evaluated} windows evaluated, {report.windows.skipped} skipped (nothing observed), "
        f"engine {report.engine}" + (f"; {kept} units were done before" if kept else "")
    )
    if report.simulated:
        lines.append(_SIMULATED)
    lines.append(f"wrote {report.store} and {report.outlines}")
    return "\n".join(lines)


def _unlike(year: int, unlike: Unlike) -> Iterator[str]:
    """Say where the input is unlike what the weights know."""
    if unlike.glacier > _NOTEWORTHY:
        yield (
            f"{year}: {unlike.glacier:.0%} of the mapped glacier lies where the radar series is unlike the weights' "
            "training data (`applicability` below 0.01): do not trust it unseen"
        )
    if unlike.observed > _ELSEWHERE:
        yield (
            f"{year}: {unlike.observed:.0%} of the observed area is unlike the weights' training data (of a place like "
            "theirs about 1 %), often because nothing melts there: these weights are not for this place"
        )
