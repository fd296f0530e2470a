"""`map_glaciers`: from a catalogue to a folder with a zarr cube of probability and its outlines."""

from __future__ import annotations

import functools
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from icemapper_xr import cluster as clusters
from icemapper_xr import conventions, cube, models, prediction, progress, regions, settings, store
from icemapper_xr._types import Segmenter
from icemapper_xr.cube import extent, select
from icemapper_xr.errors import CatalogDownError, CatalogError, CubeError, OptionError, StoreError
from icemapper_xr.pipeline import execution, homes, orbits, outlining, records, trust, verbs
from icemapper_xr.pipeline.homes import Home
from icemapper_xr.pipeline.outcomes import Written
from icemapper_xr.settings import Area, MapSettings, listed_years

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["MapReport", "YearReport", "map_glaciers"]

log = logging.getLogger(__name__)

_NAMED = 6
AGAIN = "mend this and run the same again with --retry-failed"
Runner = Callable[..., Written]
"""`execution.map_cube` with the options that are the same for all years."""


@dataclass(frozen=True)
class YearReport:
    """What one mapped year came to."""

    year: int
    area_km2: float
    """Geodesic area of all outlines."""
    glaciers: int
    """Number of outlines."""
    relative_orbit: int | None
    polarisation: str | None
    platforms: tuple[str, ...]
    """Satellites that flew it, such as S1A."""
    steps: int
    """Steps that have an observation of every feature."""
    missing: tuple[str, ...]
    """Centres of the steps that have not, ISO dates."""
    first: str
    """First acquisition used, ISO date."""
    last: str
    """Last acquisition used, ISO date."""
    units: int
    """Units of the store written now."""
    units_kept: int
    """Units that were there already."""
    unreadable: tuple[str, ...] = ()
    """Items that could not be read somewhere, and are missing steps there."""
    unlike: trust.Unlike | None = None
    """Shares whose input is unlike the weights' training data; None where nobody knows."""


@dataclass(frozen=True)
class MapReport:
    """What `map_glaciers` wrote."""

    out: Path
    store: Path | str
    """The cube: a path, or the URL where it lies in a bucket."""
    outlines: Path
    years: tuple[YearReport, ...]
    windows: prediction.Windows
    """Windows evaluated and skipped, on all workers."""
    engine: str
    simulated: bool
    """Whether the weights were trained on simulated scenes only, so that no accuracy on real ice is known."""


def map_glaciers(
    *,
    catalog: str | Path,
    weights: str | Path | Segmenter,
    out: str | Path,
    store: str | Path | None = None,
    bbox: Sequence[float] | None = None,
    bounds: Sequence[float] | None = None,
    crs: Any = None,
    geometry: Any = None,
    years: Sequence[int] = (),
    overwrite: bool = False,
    retry_failed: bool = False,
    cluster: str | None = None,
    cluster_options: clusters.ClusterOptions | None = None,
    **options: Any,
) -> MapReport:
    """Map the glaciers of an area, year by year, into a folder; run it again to resume.

    Work is handed out in units of 1152 x 1152 pixels, a few per worker at a time, to the workers of ``cluster``, of the
    active Dask client, or to threads of this process. Every unit is written in one step.

    Parameters
    ----------
    catalog, bbox, bounds, crs, geometry
        As in `open_cube`.
    weights
        As in `predict`.
    out
        Folder to write: ``glaciers.zarr`` (probability, n_obs, perhaps applicability by year), ``outlines.gpkg``,
        ``orbits.gpkg`` (which orbit mapped it), ``run.json`` and ``logs``; every worker must see it.
    store
        Path or URL (``s3://bucket/glaciers.zarr``) of the cube, if it is not to lie in the folder; ``store.json`` in
        the folder then says where it is, for later runs and for all that reads the folder. Every worker must see it.
    years
        Years to map; may be empty if ``times`` names the dates.
    overwrite
        Whether to replace the output of another run.
    retry_failed
        Whether to try again the units that failed in an earlier run; they are left alone otherwise.
    cluster, cluster_options
        Where to run, as in `icemapper_xr.cluster.connect`; None is the active client, or threads.
    **options
        Fields of `icemapper_xr.settings.MapSettings`: ``times``, ``start``, ``features``, ``resolution``,
        ``resample``, ``resampling``, ``orbit``, ``polarisation``, ``baseline``, ``min_steps``, ``gap``, ``overlap``,
        ``reader``, ``engine``, ``precision``, ``threshold``, ``min_area_km2``, ``mask``, ``mask_buffer``. An unknown
        one is refused.

    Returns
    -------
    MapReport
        Area and number of outlines per year, steps used and missing, windows evaluated.

    Raises
    ------
    IcemapperError
        Whatever the stages refuse, and failures of units after all others are done; nothing is left behind but
        finished units.
    """
    chosen = MapSettings.checked(
        catalog=str(catalog),
        weights=name_of(weights),
        area=area_of(bbox, bounds, crs, geometry),
        years=listed_years(years),
        store=None if store is None else str(store),
        **options,
    )
    home = homes.home_of(out, store)
    chosen = chosen.model_copy(update={"store": home.elsewhere})
    segmenter = models.loaded(weights, engine=chosen.engine, precision=chosen.precision, features=chosen.features)
    with (
        clusters.connect(cluster, cluster_options) as client,
        homes.running(home, chosen, segmenter, clusters.named(cluster, client)) as journal,
    ):
        runner = functools.partial(execution.map_cube, client=client, journal=journal, retry_failed=retry_failed)
        reports, windows = _map_years(chosen, segmenter, home, runner, overwrite=overwrite)
    return MapReport(
        out=home.folder,
        store=home.elsewhere or Path(home.cube),
        outlines=home.folder / outlining.OUTLINES,
        years=tuple(reports),
        windows=windows,
        engine=str(getattr(segmenter, "engine", "own")),
        simulated=is_simulated(segmenter),
    )


def name_of(weights: str | Path | Segmenter) -> str:
    """Return what weights are called in settings: their name or path, or what a loaded model calls itself."""
    return str(weights if isinstance(weights, str | Path) else getattr(weights, "name", weights))


def is_simulated(segmenter: Segmenter) -> bool:
    """Tell whether a model is known to have learned from simulated scenes only."""
    return getattr(getattr(segmenter, "weights", None), "origin", None) == "simulated"


def area_of(bbox: Any, bounds: Any, crs: Any, geometry: Any) -> Area:
    """Put an area into settings.

    Raises
    ------
    OptionError
        It is not understood.
    """
    if isinstance(geometry, str | Path):
        geometry = extent.read_area(geometry)
    shape = getattr(geometry, "__geo_interface__", geometry)
    text = crs if crs is None or isinstance(crs, str) else f"EPSG:{crs}" if isinstance(crs, int) else str(crs)
    try:
        return Area(bbox=bbox, bounds=bounds, crs=text, geometry=shape)
    except ValueError as error:
        raise OptionError(f"the area is not understood ({error}); give four numbers in bbox or bounds") from None


def _map_years(
    chosen: MapSettings, segmenter: Segmenter, home: Home, runner: Runner, *, overwrite: bool
) -> tuple[list[YearReport], prediction.Windows]:
    done: list[tuple[cube.Series, int, Written]] = []
    failed: list[str] = []
    windows = prediction.Windows()
    asked = years_of(chosen)
    for label, series in planned(chosen, segmenter, asked, cube_=home.cube, overwrite=overwrite):
        # The first year replaces another run's output; the others must not replace the first.
        again: bool | Literal["year"] = "year" if overwrite and done else overwrite
        try:
            written = _write(chosen, series, segmenter, home, label, runner, overwrite=again)
        except CubeError as error:  # not a unit of it could be mapped
            if len(asked) == 1:
                raise
            failed.append(f"{label}: {error}")
            continue
        done.append((series, label, written))
        if written.failed:
            failed.append(f"{label}: {written.failures()}")
        windows = windows.plus(written.windows)
    if failed:
        raise CubeError(f"{'; '.join(failed)}; {AGAIN}")
    drawn, there = outlining.outlines_of_map(home.folder, chosen)
    made = {label for _, label, written in done if written.written}
    records.save(home.folder, chosen, there=there, made=made)
    stored = store.open_store(home.cube)
    reports = [
        _report(
            series.facts(),
            drawn[drawn[conventions.YEAR] == label],
            label,
            segmenter,
            written,
            trust.unlike_share(stored.sel(year=label), threshold=chosen.threshold),
        )
        for series, label, written in done
    ]
    return reports, windows


def planned(
    chosen: MapSettings,
    segmenter: Segmenter,
    years: Sequence[int],
    *,
    cube_: str | Path | None = None,
    overwrite: bool = False,
) -> list[tuple[int, cube.Series]]:
    """Choose the observations of all years before hours are spent on the first of them.

    Parameters
    ----------
    chosen, segmenter, years
        What to map.
    cube_
        Path or URL of the map's cube, whose years these have to fit; None if there is none yet.
    overwrite
        Whether they replace those that are there.

    Raises
    ------
    CatalogError, CubeError
        Some years cannot be mapped; all of them are named.
    """
    shared = orbits.Shared.of(chosen, cube_, replaced=years if overwrite else ())
    found, problems = [], []
    for year in years:
        progress.note(f"{year}: choosing the observations")
        try:
            series = plan_year(chosen, segmenter, year, shared)
            label = int(series.attrs.get(conventions.ATTR_YEAR, year))
            shared = shared.with_year(series.attrs, label)
        except (CatalogError, CubeError) as error:
            if len(years) == 1 or isinstance(error, CatalogDownError):
                raise
            problems.append(f"{year}: {error}")
            continue
        found.append((label, series))
    if problems:
        raise CubeError(f"{'; '.join(problems)}. Nothing was mapped: mend this, or leave those years out")
    return found


def years_of(chosen: MapSettings) -> tuple[int, ...]:
    """Return the years that some settings name.

    Raises
    ------
    OptionError
        They name none, or years and dates both.
    """
    if chosen.times is None:
        if not chosen.years:
            raise OptionError("no year is named; give years=(2023,) (--years 2023), or the 15 dates in times")
        return settings.check_years(chosen.years)
    year = select.steps(times=chosen.times).year
    if chosen.years not in ((), (year,)):
        named = ", ".join(map(str, chosen.years))
        raise OptionError(f"times names the dates of one series, of {year}, but years is {named}; leave years out")
    if chosen.start is not None:
        raise OptionError(f"start is {chosen.start}, but times names the dates; leave one of them out")
    return (year,)


def start_of(chosen: MapSettings, year: int) -> str | None:
    """Return the first day of the series of a year, YYYY-MM-DD; None where the settings leave it to the year."""
    return None if chosen.start is None else f"{year}-{chosen.start}"


def plan_year(
    chosen: MapSettings,
    segmenter: Segmenter,
    year: int,
    shared: orbits.Shared,
    *,
    catalog: Any = None,
    bounds: Sequence[float] | None = None,
    crs: str | None = None,
) -> cube.Series:
    """Choose the observations of one year, with the margin that the weights' windows need.

    It is of the orbit and polarisation in `shared`. `catalog`, and `bounds` with `crs`, are those of a tile of a
    region; None are the ones of the settings.
    """
    own = bounds is None
    resolution = chosen.resolution or segmenter.pixel_size
    return verbs.plan_cube(
        catalog=chosen.catalog if catalog is None else catalog,
        bbox=chosen.area.bbox if own else None,
        bounds=chosen.area.bounds if own else bounds,
        crs=chosen.area.crs if own else crs,
        geometry=chosen.area.geometry if own else None,
        year=year,
        start=start_of(chosen, year),
        times=chosen.times,
        features=chosen.features or segmenter.features,
        resolution=resolution,
        orbit=shared.orbit,
        polarisation=shared.polarisation,
        baseline=chosen.baseline,
        min_steps=chosen.min_steps,
        engine=chosen.reader,
        resampling=chosen.resampling,
        margin=_margin(segmenter, resolution),
    )


def _margin(segmenter: Segmenter, resolution: float) -> int:
    """Pixels of the cube that make a window of the weights, and two more where values are interpolated."""
    if resolution == segmenter.pixel_size:
        return segmenter.window
    return math.ceil(segmenter.window * segmenter.pixel_size / resolution) + 2


def mask_of(chosen: MapSettings, series: cube.Series) -> regions.Mask | None:
    """Return what the polygon of the area and the file of the mask leave, in the CRS of the map."""
    return regions.wanted(series.area, geometry=chosen.area.geometry, mask=chosen.mask, mask_buffer=chosen.mask_buffer)


def _write(
    chosen: MapSettings,
    series: cube.Series,
    segmenter: Segmenter,
    home: Home,
    year: int,
    runner: Runner,
    *,
    overwrite: bool | Literal["year"],
) -> Written:
    """Map what a year lacks; units that failed are in what is returned."""
    folder = home.folder
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made ({error.strerror}); name another folder for the output") from error
    if home.elsewhere is not None:
        store.point(folder, home.elsewhere)
    try:
        with progress.units_bar(f"{year}: mapping") as advance:
            written = runner(
                series,
                segmenter,
                home.cube,
                year=year,
                gap=chosen.gap,
                overlap=chosen.overlap,
                resample=chosen.resample,
                mask=mask_of(chosen, series),
                overwrite=overwrite,
                on_outcome=lambda outcome, total: advance(
                    total.kept + total.written, total.units, outcome.windows.evaluated
                ),
            )
    except BaseException:
        if made and not any(folder.iterdir()):
            folder.rmdir()
        raise
    if home.elsewhere is not None:  # again: another run, refused for this one's lock, may have taken it back
        store.point(folder, home.elsewhere)
    if written.unreadable:
        names = ", ".join(sorted(written.unreadable)[:_NAMED])
        warnings.warn(
            f"{year}: {len(written.unreadable)} items could not be read and are missing steps where they lie ({names})"
            "; --overwrite maps the year anew",
            UserWarning,
            stacklevel=2,
        )
    return written


def _report(
    opened: xr.Dataset,
    shapes: gpd.GeoDataFrame,
    year: int,
    segmenter: Segmenter,
    written: Written,
    unlike: trust.Unlike | None,
) -> YearReport:
    import numpy as np

    times = [opened[conventions.ACQUIRED.format(feature=f)].values for f in segmenter.features]
    observed = np.logical_and.reduce([~np.isnat(values) for values in times])
    centres = opened[conventions.TIME].values
    orbit, polarisation = orbits.known_series(opened.attrs)
    return YearReport(
        year=year,
        area_km2=float(shapes["area_km2"].sum()),
        glaciers=len(shapes),
        relative_orbit=orbit,
        polarisation=polarisation,
        platforms=orbits.satellites(opened.attrs),
        steps=int(observed.sum()),
        missing=tuple(str(day)[:10] for day in centres[~observed]),
        first=opened.attrs["first_date"],
        last=opened.attrs["last_date"],
        units=written.written,
        units_kept=written.kept,
        unreadable=tuple(sorted(written.unreadable)),
        unlike=unlike,
    )
