"""One function a verb, each the composition of a few stages."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from icemapper_xr import catalog as catalogs
from icemapper_xr import cluster, conventions, cube, models, prediction, store, vectorise
from icemapper_xr import normalise as normalising
from icemapper_xr._types import Observation, Segmenter
from icemapper_xr.catalog import presets
from icemapper_xr.conventions import Feature, Gap, LoadEngine, ModelEngine, Precision, Resampling
from icemapper_xr.cube import checks, extent, select
from icemapper_xr.errors import OptionError
from icemapper_xr.pipeline import trust

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "coverage",
    "normalise",
    "open_cube",
    "open_rasters",
    "outlines",
    "period",
    "plan_cube",
    "predict",
    "search",
    "to_zarr",
]

open_rasters = cube.open_rasters
search = catalogs.search
SEARCH_PADDING = dt.timedelta(days=1.5 * conventions.STEP_DAYS)
"""Searched before and after the series: passes and the dates of a pair may lie outside the steps."""


def open_cube(
    *,
    catalog: str | Path | catalogs.SearchResult,
    bbox: Sequence[float] | None = None,
    bounds: Sequence[float] | None = None,
    crs: Any = None,
    geometry: Any = None,
    year: int | None = None,
    start: str | dt.date | None = None,
    times: Sequence[Any] | None = None,
    features: Sequence[Feature] = ("rtc",),
    resolution: float = conventions.PIXEL_SIZE,
    orbit: int | None = None,
    polarisation: str | None = None,
    baseline: int = conventions.CYCLE_DAYS,
    min_steps: int = conventions.MIN_STEPS,
    engine: LoadEngine = "stackstac",
    resampling: Resampling | None = None,
    margin: int = conventions.WINDOW,
    chunk: int = conventions.LATTICE,
) -> xr.Dataset:
    """Open a lazy Sentinel-1 cube of 15 steps from a catalogue.

    Parameters
    ----------
    catalog
        Preset (``"planetary-computer"``, ``"earth-search"``, ``"cdse"``), STAC API URL, static catalogue, item
        collection, stac-geoparquet file, a folder indexed by ``icemapper catalog build``, or what `search` returned.
    bbox, bounds, crs, geometry
        The area: ``bbox`` is west, south, east, north in degrees; ``bounds`` left, bottom, right, top in ``crs``
        (anything pyproj takes); ``geometry`` GeoJSON or shapely in degrees. None of them: the extent of a local
        catalogue. ``crs`` is also the CRS of the cube; None is the UTM zone of the area.
    year
        Year of the series, 2014 or later.
    start
        First day of the first step, YYYY-MM-DD or a date; None is 1 January of the year.
    times
        The 15 dates to use, likewise, which overrides ``year`` and ``start``.
    features
        ``"grd"``, ``"rtc"``, ``"insar"``.
    resolution
        Pixel size in metres; pixel edges lie on its multiples.
    orbit, polarisation
        Relative orbit 1 to 175 and 'VV' or 'HH'; None is the best covered.
    baseline
        Days between the two dates of a coherence pair.
    min_steps
        Fewest valid steps, 1 to 15, with which to go on.
    engine
        ``"stackstac"`` or ``"odc"``: the library that reads.
    resampling
        How to read rasters of another pixel size, or in degrees; None refuses them.
    margin
        Pixels to read around the area: the window of the weights to be used.
    chunk
        Side of a chunk in pixels.

    Returns
    -------
    Dataset, dims (time, y, x)
        One float32 variable a feature (dB or coherence), NaN = not observed, and what `conventions` lists.

    Raises
    ------
    OptionError, CatalogError, CubeError, UnitsError
        If the area, the catalogue or the observations do not make a valid cube; the message says what to do.

    Examples
    --------
    >>> import icemapper_xr as ix
    >>> ds = ix.open_cube(
    ...     bbox=(15.0, 78.0, 16.5, 78.5), year=2023, catalog="planetary-computer", features=("rtc",)
    ... )  # doctest: +SKIP
    """
    return plan_cube(
        catalog=catalog,
        bbox=bbox,
        bounds=bounds,
        crs=crs,
        geometry=geometry,
        year=year,
        start=start,
        times=times,
        features=features,
        resolution=resolution,
        orbit=orbit,
        polarisation=polarisation,
        baseline=baseline,
        min_steps=min_steps,
        engine=engine,
        resampling=resampling,
        margin=margin,
        chunk=chunk,
    ).open()


def plan_cube(
    *,
    catalog: str | Path | catalogs.SearchResult,
    bbox: Sequence[float] | None = None,
    bounds: Sequence[float] | None = None,
    crs: Any = None,
    geometry: Any = None,
    year: int | None = None,
    start: str | dt.date | None = None,
    times: Sequence[Any] | None = None,
    features: Sequence[Feature] = ("rtc",),
    resolution: float = conventions.PIXEL_SIZE,
    orbit: int | None = None,
    polarisation: str | None = None,
    baseline: int = conventions.CYCLE_DAYS,
    min_steps: int = conventions.MIN_STEPS,
    engine: LoadEngine = "stackstac",
    resampling: Resampling | None = None,
    margin: int = conventions.WINDOW,
    chunk: int = conventions.LATTICE,
) -> cube.Series:
    """Choose the observations of a cube, without opening it; the parameters are those of `open_cube`.

    Returns
    -------
    cube.Series
        What to read and how: small, and opens as the lazy cube in any process.
    """
    wanted = checks.features(features)
    found = catalog if isinstance(catalog, catalogs.SearchResult) else None
    if bbox is None and bounds is None and geometry is None:
        bounds, crs = _extent(catalog, wanted, crs)
    area = cube.area_grid(bbox=bbox, bounds=bounds, crs=crs, geometry=geometry, resolution=resolution, margin=margin)
    if found is None:
        assert not isinstance(catalog, catalogs.SearchResult)
        found = catalogs.search(
            catalog,
            bbox=extent.lonlat_box(area),
            datetime=period(year, start, times),
            features=wanted,
            polarisation=polarisation,
            orbit=orbit,
        )
    return cube.plan(
        _within(found.observations, period(year, start, times)),
        area=area,
        features=wanted,
        year=year,
        start=start,
        times=times,
        orbit=orbit,
        polarisation=polarisation,
        baseline=baseline,
        min_steps=min_steps,
        engine=engine,
        resampling=resampling,
        chunk=chunk,
        sign=sign,
        source=str(found.source),
    )


def _within(observations: Sequence[Observation], when: tuple[dt.datetime, dt.datetime]) -> tuple[Observation, ...]:
    """Keep what lies in a time, as a search does: what is wrong with other years is no matter of this one.

    Where nothing does all are kept, so that it can be said what there is.
    """
    first, last = (moment.date() for moment in when)
    kept = tuple(
        one
        for one in observations
        if (one.reference or one.acquired).date() <= last and (one.secondary or one.acquired).date() >= first
    )
    return kept or tuple(observations)


def sign(href: str) -> str:
    """Return an address that can be read now; called at read time, wherever the reading happens."""
    name = presets.signer_of(href)
    return href if name is None else catalogs.sign(name)(href)


def period(
    year: int | None, start: str | dt.date | None, times: Sequence[Any] | None
) -> tuple[dt.datetime, dt.datetime]:
    """Return the time to search: what the steps span, and a step more on either side."""
    centres = select.steps(year=year, start=start, times=times).centres
    first, last = (moment.replace(tzinfo=dt.UTC) for moment in (centres[0], centres[-1]))
    return first - SEARCH_PADDING, last + SEARCH_PADDING


def _extent(
    catalog: str | Path | catalogs.SearchResult, features: Sequence[Feature], crs: Any
) -> tuple[tuple[float, float, float, float], Any]:
    """Return the bounds that the rasters of a local catalogue cover, and their CRS."""
    if not isinstance(catalog, catalogs.SearchResult) and not Path(catalog).expanduser().exists():
        catalogs.identify(catalog)  # says so if it is none
        raise OptionError(
            f"no area is named for the catalogue {catalog}; name one by bbox (west south east north) or bounds with crs"
        )
    found = catalog if isinstance(catalog, catalogs.SearchResult) else catalogs.search(catalog, features=features)
    return extent.extent(found.observations, crs=crs)


def coverage(ds: xr.Dataset, *, exact: bool = False) -> pd.DataFrame:
    """Tell dates, orbit, platform and valid share of each step of a cube.

    Parameters
    ----------
    ds : Dataset, dims (time, y, x)
        A cube of `open_cube`.
    exact : bool
        Whether to read the cube and count valid pixels; else the footprints tell, and nothing is read.

    Returns
    -------
    pandas.DataFrame
        One row a step and feature: `step`, `centre`, `feature`, `date` (NaT where missing), `offset_days`,
        `relative_orbit`, `platform`, `polarisation`, `items`, `share` of the area inside the footprints (0..1), and
        with `exact` the column `valid`, the share of the area with a value.

    Raises
    ------
    CubeError
        The dataset has no feature of a cube or is no series, or with `exact` no longer has all of its area.
    """
    table: pd.DataFrame = cube.coverage_of(ds, exact=exact)
    return table


def normalise(ds: xr.Dataset, features: Sequence[Feature] | None = None) -> xr.Dataset:
    """Bring a cube to model units: x' = (x - minimum) / (maximum - minimum), without clipping.

    Parameters
    ----------
    ds : Dataset, dims (time, y, x)
        Backscatter in dB, coherence in 1.
    features
        Which to keep, in the order of the channels; None is all that the cube has.

    Returns
    -------
    Dataset, dims (time, y, x)
        Lazy where the cube is.

    Raises
    ------
    UnitsError
        If a variable is in another unit.
    """
    return normalising.normalise(ds, features)


def predict(
    ds: xr.Dataset,
    *,
    weights: str | Path | Segmenter,
    features: Sequence[Feature] | None = None,
    gap: Gap = "nearest",
    overlap: float = conventions.OVERLAP,
    mask: xr.DataArray | None = None,
    resample: Resampling | None = None,
    applicability: bool = False,
    engine: ModelEngine = "auto",
    batch_size: int | None = None,
    threads: int | None = None,
    precision: Precision = "float32",
) -> xr.Dataset:
    """Map glacier probability, lazily where the cube is lazy.

    Parameters
    ----------
    ds : Dataset, dims (time, y, x)
        A cube of `open_cube` or `open_rasters`: backscatter in dB, coherence in 1, NaN = not observed.
    weights
        Name (``"tweightedpool_rtc"``), path of a weights file, or a `Segmenter` (see `load_model`).
    features
        What the channels of a weights file of your own mean, in order; published and shipped files tell by
        themselves.
    gap : {"nearest", "zero"}
        What the network is fed where a step is missing: that pixel's nearest valid step (ties: the earlier), or 0 in
        model units as the original program does. Pixels without any valid step, and what lies past the edges of the
        cube, are with "nearest" what the weights say: the mirror image of what was observed beside them (ours), or 0
        (the published ones); with "zero" always 0.
    overlap : float
        Share of a window that the next one covers too: 0.5 as published, 0.25 or 0.
    mask : DataArray of bool, dims (y, x), optional
        On the cube's grid, to a thousandth of a pixel: windows without any True are skipped, pixels that are False
        become NaN.
    resample : {"bilinear", "nearest", "average"}, optional
        How to bring a cube of another pixel size to the weights' one; None refuses.
    applicability : bool
        Whether the result tells, too, where the cube is unlike the weights' training data; see `applicability`.
    engine : {"auto", "tensorflow", "openvino"}
        Library that runs the network.
    batch_size, threads, precision
        As in `load_model`.

    Returns
    -------
    Dataset, dims (y, x)
        ``probability`` float32, NaN where a feature has no valid step at all; ``n_obs`` uint8, steps in which every
        feature is valid. Attributes: weights and digest, settings, item ids, orbit, polarisation.

    Raises
    ------
    WeightsError, CubeError, UnitsError, OptionError
        If the weights are unknown or damaged, or cube and weights do not fit.
    """
    segmenter = models.loaded(
        weights, features=features, engine=engine, batch_size=batch_size, threads=threads, precision=precision
    )
    scaled = model_units(ds, segmenter, resample=resample)
    result = prediction.probability(scaled, segmenter, gap=gap, overlap=overlap, mask=mask).result
    if not applicability:
        return result
    fitting = ds if resample is None else cube.to_pixel_size(ds, segmenter.pixel_size, method=resample)
    return trust.with_applicability(result, fitting, weights=segmenter)


def model_units(ds: xr.Dataset, segmenter: Segmenter, *, resample: Resampling | None = None) -> xr.Dataset:
    """Bring a cube to the pixel size, the features and the units of a model, lazily where the cube is lazy.

    Parameters
    ----------
    ds : Dataset, dims (time, y, x)
        Backscatter in dB, coherence in 1.
    segmenter
        The model.
    resample
        As in `predict`.
    """
    if resample is not None:
        ds = cube.to_pixel_size(ds, segmenter.pixel_size, method=resample)
    present = [feature for feature in segmenter.features if feature in ds]
    return normalising.normalise(ds, tuple(present or segmenter.features))  # none at all: say which are wanted


outlines = vectorise.outlines


def to_zarr(result: xr.Dataset, path: str | Path, *, year: int | None = None, overwrite: bool = False) -> store.Report:
    """Write a result to a zarr cube, computing only what is still missing there, on the active Dask client if any.

    Parameters
    ----------
    result : Dataset, dims (y, x)
        What `predict` returned.
    path
        Folder of the store; made if it does not exist, resumed if it is of the same run.
    year : int, optional
        Year of the result; None takes it from the coordinate `year`, else from the attribute, which must not contradict
        it.
    overwrite : bool
        Whether to replace a store of another run.

    Returns
    -------
    store.Report
        Units written and units that were there already.

    Raises
    ------
    StoreError
        If the path is of another run or not a store, or cannot be written; or if the attributes, and with them item ids
        and dates, are of another year than the values: joined years have those of the first.
    OptionError
        If no year is given and the result does not say its own, or says another one.
    """
    own = _year_of(result)
    label = year if year is not None else own
    if label is None:
        raise OptionError("the result does not say its year; name it: to_zarr(path, year=2023)")
    if own is not None and int(label) != own:
        raise OptionError(f"year={label}, but the result is of {own}: give what was predicted from the cube of {label}")
    placed = cluster.placement(cluster.active_client())
    return store.write(result, path, year=int(label), overwrite=overwrite, resources=placed)


def _year_of(result: xr.Dataset) -> int | None:
    """Return the year of the values: of joined years the coordinate knows it, the attribute is of the first one."""
    if conventions.YEAR in result.dims:
        return None
    if conventions.YEAR not in result.coords:
        told = result.attrs.get(conventions.ATTR_YEAR)
        return None if told is None else int(told)
    found = result[conventions.YEAR]
    if found.dtype.kind not in "iuf":
        raise OptionError(
            f"the coordinate year of the result is of the type {found.dtype}: give a whole number, for example with "
            ".assign_coords(year=result.year.dt.year)"
        )
    if found.size != 1 or not math.isfinite(found.item()):
        raise OptionError(f"the coordinate year of the result is {found.values}: give a whole number")
    return int(found.item())
