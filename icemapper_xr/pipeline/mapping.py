"""`map_glaciers`: from a catalogue to a folder with a zarr cube of probability and its outlines."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from icemapper_xr import cluster as clusters
from icemapper_xr import conventions, cube, models, prediction, progress, regions, settings, store
from icemapper_xr._types import Segmenter
from icemapper_xr.cube import select
from icemapper_xr.errors import CubeError, OptionError, StoreError
from icemapper_xr.pipeline import execution, journals, outlining, trust, verbs
from icemapper_xr.settings import Area, MapSettings

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["MapReport", "YearReport", "map_glaciers"]

log = logging.getLogger(__name__)

RUN = "run.json"
_NAMED = 6
Runner = Callable[..., execution.Written]
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
    unlike: float | None = None
    """Share of the mapped glacier whose input is unlike the weights' training data; None where nobody knows."""


@dataclass(frozen=True)
class MapReport:
    """What `map_glaciers` wrote."""

    out: Path
    store: Path
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
        Folder to write: ``glaciers.zarr`` (probability and n_obs by year), ``outlines.gpkg``, ``run.json`` and
        ``logs``; every worker must see it.
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
        ``reader``, ``engine``, ``threshold``, ``min_area_km2``. An unknown one is refused.

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
        weights=str(weights if isinstance(weights, str | Path) else getattr(weights, "name", weights)),
        area=area_of(bbox, bounds, crs, geometry),
        years=tuple(years),
        **options,
    )
    folder = Path(out)
    _refuse_foreign(folder)
    segmenter = (
        models.load_model(weights, engine=chosen.engine, features=chosen.features)
        if isinstance(weights, str | Path)
        else weights
    )
    with (
        clusters.connect(cluster, cluster_options) as client,
        _running(folder, chosen, segmenter, cluster or ("active client" if client else "threads")) as journal,
    ):
        runner = functools.partial(execution.map_cube, client=client, journal=journal, retry_failed=retry_failed)
        reports, windows = _map_years(chosen, segmenter, folder, runner, overwrite=overwrite)
    return MapReport(
        out=folder,
        store=folder / outlining.STORE,
        outlines=folder / outlining.OUTLINES,
        years=tuple(reports),
        windows=windows,
        engine=str(getattr(segmenter, "engine", "own")),
        simulated=getattr(getattr(segmenter, "weights", None), "origin", None) == "simulated",
    )


@contextlib.contextmanager
def _running(folder: Path, chosen: MapSettings, segmenter: Segmenter, where: str) -> Iterator[journals.Journal]:
    """Keep the log of a run; a folder that this run made and left empty is removed again."""
    made = not folder.exists()
    facts = {"settings": chosen.model_dump(mode="json"), "weights_digest": segmenter.digest, "cluster": where}
    journal = journals.Journal(folder, **facts)
    try:
        yield journal
    except BaseException as error:
        journal.event("end", error=f"{type(error).__name__}: {error}")
        if not (folder / outlining.STORE).exists():
            journal.discard()
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise
    else:
        journal.event("end")
    finally:
        journal.close()


def area_of(bbox: Any, bounds: Any, crs: Any, geometry: Any) -> Area:
    """Put an area into settings.

    Raises
    ------
    OptionError
        It is not understood.
    """
    shape = getattr(geometry, "__geo_interface__", geometry)
    text = crs if crs is None or isinstance(crs, str) else f"EPSG:{crs}" if isinstance(crs, int) else str(crs)
    try:
        return Area(bbox=bbox, bounds=bounds, crs=text, geometry=shape)
    except ValueError as error:
        raise OptionError(f"the area is not understood ({error}); give four numbers in bbox or bounds") from None


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds something, but nothing of ours."""
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; name another folder for the output")
    # A store that is being written, or was when its run was killed, is hidden until it is whole.
    ours = (f".{outlining.STORE}", journals.LOGS)
    visible = folder.is_dir() and any(not path.name.startswith(ours) for path in folder.iterdir())
    if visible and not (folder / outlining.STORE).exists():
        raise StoreError(f"{folder} holds files that are not ours; name an empty or a new folder for the output")


def _map_years(
    chosen: MapSettings, segmenter: Segmenter, folder: Path, runner: Runner, *, overwrite: bool
) -> tuple[list[YearReport], prediction.Windows]:
    done: list[tuple[cube.Series, int, execution.Written]] = []
    windows = prediction.Windows(0, 0)
    orbit, polarisation = _series(chosen, folder, overwrite=overwrite)
    for year in years_of(chosen):
        progress.note(f"{year}: choosing the observations")
        series = plan_year(chosen, segmenter, year, orbit=orbit, polarisation=polarisation)
        orbit, polarisation = known_series(series.attrs)
        label = int(series.attrs.get(conventions.ATTR_YEAR, year))
        # The first year replaces another run's output; the others must not replace the first.
        again: bool | Literal["year"] = "year" if overwrite and done else overwrite
        written = _write(chosen, series, segmenter, folder, label, runner, overwrite=again)
        done.append((series, label, written))
        windows = prediction.Windows(*(a + b for a, b in zip(windows, written.windows, strict=True)))
    # Of all years of the store, those of earlier runs too.
    _, drawn = outlining.outlines_of_run(folder, threshold=chosen.threshold, min_area_km2=chosen.min_area_km2)
    chosen.save(folder / RUN)
    stored = store.open_store(folder / outlining.STORE)
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


def _series(chosen: MapSettings, folder: Path, *, overwrite: bool) -> tuple[int | None, str | None]:
    """Return the orbit and polarisation that all years of a map share; None where the first year is to choose.

    Chosen anew for each year they would fake change (docs/data).
    """
    if overwrite or not store.is_store(folder / outlining.STORE):
        return chosen.orbit, chosen.polarisation
    orbit, polarisation = known_series(store.open_store(folder / outlining.STORE).attrs)
    return chosen.orbit or orbit, chosen.polarisation or polarisation


def known_series(attrs: Mapping[Any, Any]) -> tuple[int | None, str | None]:
    """Return relative orbit and polarisation of a cube or a store; None where its rasters' names did not tell."""
    orbit, polarisation = (attrs.get(name) for name in (conventions.ATTR_ORBIT, conventions.ATTR_POLARISATION))
    return (int(orbit) if orbit is not None and orbit > 0 else None), (str(polarisation) if polarisation else None)


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
    if len(chosen.years) > 1:
        raise OptionError(f"times names the dates of one series, but years is {chosen.years}; name one year or none")
    return (select.steps(times=chosen.times).year,)


def plan_year(
    chosen: MapSettings,
    segmenter: Segmenter,
    year: int,
    *,
    orbit: int | None,
    polarisation: str | None,
    catalog: Any = None,
    bounds: Sequence[float] | None = None,
    crs: str | None = None,
) -> cube.Series:
    """Choose the observations of one year, with the margin that the weights' windows need.

    `catalog`, and `bounds` with `crs`, are those of a tile of a region; None are the ones of the settings.
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
        start=None if chosen.start is None else f"{year}-{chosen.start}",
        times=chosen.times,
        features=chosen.features or segmenter.features,
        resolution=resolution,
        orbit=orbit,
        polarisation=polarisation,
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


def _mask(chosen: MapSettings, series: cube.Series) -> regions.Mask | None:
    """Return what the polygon of the area and the file of the mask leave, in the CRS of the map."""
    return regions.wanted(series.area, geometry=chosen.area.geometry, mask=chosen.mask, mask_buffer=chosen.mask_buffer)


def _write(
    chosen: MapSettings,
    series: cube.Series,
    segmenter: Segmenter,
    folder: Path,
    year: int,
    runner: Runner,
    *,
    overwrite: bool | Literal["year"],
) -> execution.Written:
    """Map what a year lacks; failures of units are told when all others are done."""
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made ({error.strerror}); name another folder for the output") from error
    try:
        with progress.units_bar(f"{year}: mapping") as advance:
            written = runner(
                series,
                segmenter,
                folder / outlining.STORE,
                year=year,
                gap=chosen.gap,
                overlap=chosen.overlap,
                resample=chosen.resample,
                mask=_mask(chosen, series),
                overwrite=overwrite,
                on_outcome=lambda outcome, total: advance(
                    total.kept + total.written, total.units, outcome.windows.evaluated
                ),
            )
    except BaseException:
        if made and not any(folder.iterdir()):
            folder.rmdir()
        raise
    if written.unreadable:
        names = ", ".join(sorted(written.unreadable)[:_NAMED])
        warnings.warn(
            f"{year}: {len(written.unreadable)} items could not be read and are missing steps where they lie ({names})",
            UserWarning,
            stacklevel=2,
        )
    if written.failed:
        unit, reason = next(iter(written.failed.items()))
        raise CubeError(
            f"{year}: {len(written.failed)} of {written.units} units failed, the first at row {unit.row}, column "
            f"{unit.column}: {reason}; {written.kept + written.written} units are done and stay; mend this and run the "
            "same again with --retry-failed"
        )
    return written


def _report(
    opened: xr.Dataset,
    shapes: gpd.GeoDataFrame,
    year: int,
    segmenter: Segmenter,
    written: execution.Written,
    unlike: float | None,
) -> YearReport:
    import numpy as np

    times = [opened[conventions.ACQUIRED.format(feature=f)].values for f in segmenter.features]
    observed = np.logical_and.reduce([~np.isnat(values) for values in times])
    used = np.concatenate([values[~np.isnat(values)] for values in times])
    centres = opened[conventions.TIME].values
    orbit, polarisation = known_series(opened.attrs)
    return YearReport(
        year=year,
        area_km2=float(shapes["area_km2"].sum()),
        glaciers=len(shapes),
        relative_orbit=orbit,
        polarisation=polarisation,
        steps=int(observed.sum()),
        missing=tuple(str(day)[:10] for day in centres[~observed]),
        first=str(used.min())[:10],
        last=str(used.max())[:10],
        units=written.written,
        units_kept=written.kept,
        unreadable=tuple(sorted(written.unreadable)),
        unlike=unlike,
    )
