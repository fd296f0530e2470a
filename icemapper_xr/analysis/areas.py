"""Soft and hard glacier areas of a result, by region and by polygon.

Every cell counts with its true area on the ellipsoid (`cells`). The soft area is the sum of probability times cell
area, an unbiased estimate where the probabilities are calibrated; the hard area is that of the cells at or above a
threshold. Sums are taken chunk by chunk: memory does not depend on the area.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from icemapper_xr import conventions as cv
from icemapper_xr.analysis import cells, projecting
from icemapper_xr.errors import AnalysisError, OptionError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["MEASURES", "areas", "floored", "polygon_areas", "sums"]

Array = npt.NDArray[np.float64]

SOFT_FLOOR: Final = 1e-8
"""Probabilities up to this, before calibration, count 0 in the soft area (Maslov et al. 2025, doi:10.31223/X5472T)."""
MEASURES: Final[dict[str, str]] = {
    "soft_area": "sum of glacier probability times cell area",
    "hard_area": "area of the cells whose glacier probability reaches the threshold",
    "observed_area": "area of the cells that have a probability",
    "unobserved_area": "area of the cells that have none",
}
"""Variables of the tables, all in km2."""
REGION: Final = "region"
POLYGON: Final = "polygon"
_M2_PER_KM2: Final = 1e6
_ROUNDING: Final = 1e-3
"""Probabilities may be this much above 1, as `vectorise.outlines` takes them."""
RASTERIZE: Final = threading.Lock()
"""rasterio silences a warning of its own in a way that is not safe between threads."""


class _Geometry(NamedTuple):
    """What a block has to know besides its values."""

    dy: float
    dx: float
    wkt: str
    threshold: float
    plain: bool = False
    """Whether the values are added up as they are, instead of areas."""


class _Source(NamedTuple):
    """The probability as (year, y, x), and where it comes from."""

    array: xr.DataArray
    has_year: bool
    variable: str
    geometry: _Geometry


def areas(
    result: xr.Dataset | xr.DataArray,
    *,
    regions: xr.DataArray | None = None,
    labels: Sequence[int] | None = None,
    share: xr.DataArray | None = None,
    variable: str | None = None,
    threshold: float = cv.THRESHOLD,
) -> xr.Dataset:
    """Sum the areas of a result, whole or by the regions of a label raster.

    Parameters
    ----------
    result
        Dataset with a probability, or the probability itself, 0..1; dims (year,) y, x; any CRS; lazy or not.
    regions
        (y, x) integers on the cells of the result, one number a region; 0 and NaN are outside of all. None takes
        the whole raster as region 1.
    labels
        The numbers of the regions; None takes those found, for which `regions` must be in memory.
    share
        (y, x) share of each cell that counts, 0..1, as of `domains.shares` for an area of interest; None: all of it.
    variable
        Which variable; None takes `calibrated_probability` if the result has it, else `probability`. Of the former
        cells whose `probability` is 1e-8 or less count 0 (`floored`), where the result has both.
    threshold
        Probability from which a cell counts in the hard area, 0..1.

    Returns
    -------
    xarray.Dataset
        `soft_area`, `hard_area`, `observed_area`, `unobserved_area`, km2, dims (year,) region, lazy if the result is.
        A year without a dimension gives tables without one. The attributes name the variable and the threshold.

    Raises
    ------
    AnalysisError
        No probability, no CRS, uneven cells, or regions on other cells; when computed, values beyond 0..1.
    OptionError
        The threshold lies outside 0..1, or labels are missing or repeated.
    """
    source = _source(result, variable, threshold)
    table, numbers = _by_region(source, regions, labels, share)
    return _dataset(table, source, REGION, numbers)


def floored(calibrated: xr.DataArray, probability: xr.DataArray) -> xr.DataArray:
    """Set calibrated probabilities to 0 where the network's own is 1e-8 or less.

    A calibration maps 0 to what remains of glacier among the surest cells, 1e-3 or less: over a region of sea and bare
    ground that would add up to ice.
    """
    return calibrated.where(~(probability <= SOFT_FLOOR), 0.0)


def sums(
    field: xr.DataArray,
    *,
    regions: xr.DataArray | None = None,
    labels: Sequence[int] | None = None,
    share: xr.DataArray | None = None,
) -> xr.DataArray:
    """Add up a field over the regions of a label raster.

    Parameters
    ----------
    field
        Amounts per cell, any unit, NaN counts 0; dims (year,) y, x; with a CRS.
    regions, labels, share
        As in `areas`.

    Returns
    -------
    xarray.DataArray
        Dims (year,) region, in the unit of the field, lazy if the field is.
    """
    source = _source(field, None, cv.THRESHOLD)
    source = source._replace(geometry=source.geometry._replace(plain=True))
    table, numbers = _by_region(source, regions, labels, share)
    found = xr.DataArray(table[..., 0], {REGION: numbers}, (cv.YEAR, REGION), field.name, field.attrs)
    return found.assign_coords({cv.YEAR: source.array[cv.YEAR]}) if source.has_year else found.isel({cv.YEAR: 0})


def _by_region(
    source: _Source, regions: xr.DataArray | None, labels: Sequence[int] | None, share: xr.DataArray | None
) -> tuple[Any, npt.NDArray[np.int64]]:
    """Table (year, region, measure) and the regions' numbers."""
    if regions is None:
        regions, labels = xr.ones_like(source.array.isel({cv.YEAR: 0}, drop=True), dtype=np.int32), [1]
    for raster in (regions, share):
        if raster is not None:
            _check_same_cells(source.array, raster)
    if labels is None:
        if regions.chunks is not None:
            raise OptionError("regions is lazy, so its numbers are unknown; pass labels= or regions.load()")
        values = np.unique(regions.values[~np.isnan(regions.values)])
        labels = [int(label) for label in values if label != 0]
    numbers = np.asarray(labels, dtype=np.int64)
    if np.unique(numbers).size < numbers.size or 0 in numbers:
        raise OptionError("labels repeat themselves or hold 0, which is outside of all regions; pass each number once")
    rasters = [raster.transpose(cv.Y, cv.X).data for raster in (regions, share) if raster is not None]
    return _crosswise(_region_block, source, numbers.size, rasters, numbers), numbers


def polygon_areas(
    result: xr.Dataset | xr.DataArray,
    polygons: gpd.GeoDataFrame | gpd.GeoSeries,
    *,
    variable: str | None = None,
    threshold: float = cv.THRESHOLD,
    supersample: int = 4,
) -> xr.Dataset:
    """Sum the areas of a result inside polygons, which may overlap.

    Parameters
    ----------
    result
        As in `areas`.
    polygons
        In any CRS; the index names them in the answer. Empty geometries have area 0.
    variable, threshold
        As in `areas`.
    supersample
        A cell on a polygon's edge counts with the share of its supersample x supersample points that lie inside;
        1 takes the cell's centre. Of two polygons with a common edge each point belongs to one: areas add up.

    Returns
    -------
    xarray.Dataset
        The variables of `areas`, km2, dims (year,) polygon, lazy if the result is.

    Raises
    ------
    AnalysisError
        No probability, no CRS (of either), or uneven cells; when computed, values beyond 0..1.
    OptionError
        The threshold lies outside 0..1, or `supersample` outside 1..16.
    """
    source = _source(result, variable, threshold)
    if not 1 <= supersample <= 16:
        raise OptionError(f"supersample={supersample} lies outside 1..16; 4 is the default")
    local = projecting.project(polygons, source.geometry.wkt)
    shapes: Any = np.asarray(local.values, dtype=object)
    if source.array.chunks is not None:
        from dask.delayed import delayed

        shapes = delayed(shapes, pure=True)  # one copy in the graph, not one a block
    table = _crosswise(_polygon_block, source, len(local), [], shapes, supersample)
    return _dataset(table, source, POLYGON, polygons.index.to_numpy()).assign_attrs(supersample=supersample)


# -- what a block does ------------------------------------------------------------------------------------------------
def _region_block(
    p: Array, y: Array, x: Array, regions: npt.NDArray[Any], *share: Array, extra: Any, geometry: _Geometry
) -> Array:
    """Table (year, 1, 1, region, measure) of one block, m2."""
    (numbers,) = extra
    order = np.argsort(numbers)
    flat = np.where(np.isnan(regions), 0, regions).astype(np.int64).ravel()
    place = np.minimum(np.searchsorted(numbers[order], flat), numbers.size - 1) if numbers.size else flat * 0
    known = numbers[order][place] == flat if numbers.size else np.zeros(flat.shape, dtype=bool)
    index = order[place[known]] if numbers.size else place[known]
    weight = np.ones(regions.shape) if geometry.plain else _weights(y, x, geometry)
    weight = weight * share[0] if share else weight
    table = np.zeros((p.shape[0], 1, 1, numbers.size, _n_measures(geometry)))
    for t, plane in enumerate(p):
        for k, measure in enumerate(_measures(plane, weight, geometry)):
            table[t, 0, 0, :, k] = np.bincount(index, weights=measure.ravel()[known], minlength=numbers.size)
    return table


def _polygon_block(p: Array, y: Array, x: Array, *, extra: Any, geometry: _Geometry) -> Array:
    """Table (year, 1, 1, polygon, measure) of one block, m2."""
    import shapely

    shapes, supersample = extra
    weight, dy, dx = _weights(y, x, geometry), geometry.dy, geometry.dx
    table = np.zeros((p.shape[0], 1, 1, len(shapes), len(MEASURES)))
    left, bottom, right, top = shapely.bounds(shapes).T if len(shapes) else np.empty((4, 0))
    columns = np.sort(np.c_[(left - x[0]) / dx, (right - x[0]) / dx], axis=1) + 0.5
    rows = np.sort(np.c_[(bottom - y[0]) / dy, (top - y[0]) / dy], axis=1) + 0.5
    first_row, last_row = np.floor(rows[:, 0]), np.ceil(rows[:, 1])
    first_column, last_column = np.floor(columns[:, 0]), np.ceil(columns[:, 1])
    meets = (last_row > 0) & (first_row < y.size) & (last_column > 0) & (first_column < x.size)
    for i in np.flatnonzero(meets):  # NaN bounds of empty geometries meet nothing
        r = slice(int(max(first_row[i], 0)), int(min(last_row[i], y.size)))
        c = slice(int(max(first_column[i], 0)), int(min(last_column[i], x.size)))
        share = share_inside(shapes[i], y[r], x[c], dy, dx, supersample)
        for t, plane in enumerate(p):
            for k, measure in enumerate(_measures(plane[r, c], weight[r, c], geometry)):
                table[t, 0, 0, i, k] = np.sum(measure * share)
    return table


def share_inside(shape: Any, y: Array, x: Array, dy: float, dx: float, supersample: int) -> Array:
    """Share of each cell inside the shape."""
    import rasterio
    import rasterio.features

    transform = rasterio.Affine(dx / supersample, 0, x[0] - dx / 2, 0, dy / supersample, y[0] - dy / 2)
    fine = (y.size * supersample, x.size * supersample)
    with RASTERIZE:
        inside = rasterio.features.rasterize([(shape, 1)], out_shape=fine, transform=transform, fill=0, dtype="uint8")
    return np.asarray(inside.reshape(y.size, supersample, x.size, supersample).mean(axis=(1, 3)))


def _weights(y: Array, x: Array, geometry: _Geometry) -> Array:
    return cells.areas_on_grid(y, x, abs(geometry.dy), abs(geometry.dx), geometry.wkt)


def _n_measures(geometry: _Geometry) -> int:
    return 1 if geometry.plain else len(MEASURES)


def _measures(plane: npt.NDArray[Any], weight: Array, geometry: _Geometry) -> tuple[Array, ...]:
    p = plane.astype(np.float64)
    seen = ~np.isnan(p)
    if geometry.plain:
        return (np.where(seen, p * weight, 0.0),)
    low, high = np.min(p, where=seen, initial=0.0), np.max(p, where=seen, initial=0.0)
    if low < 0 or high > 1 + _ROUNDING:
        raise AnalysisError(f"the values reach from {low:g} to {high:g}: not probabilities (0 to 1); scale them first")
    soft = np.where(seen & (p > SOFT_FLOOR), p, 0.0) * weight
    return (
        soft,
        np.where(seen & (p >= geometry.threshold), weight, 0.0),
        np.where(seen, weight, 0.0),
        np.where(seen, 0.0, weight),
    )


# -- the way there and back -------------------------------------------------------------------------------------------
def _crosswise(function: Any, source: _Source, n: int, rasters: Sequence[Any], *extra: Any) -> Any:
    """Apply `function` to each block and add the tables up: (year, n, measure), m2, a dask array or a numpy one."""
    y, x = (np.asarray(source.array[dim].values, dtype=np.float64) for dim in (cv.Y, cv.X))
    values: Any = source.array.data
    if source.array.chunks is None:
        planes = [np.asarray(raster) for raster in rasters]
        return function(values, y, x, *planes, extra=extra, geometry=source.geometry)[:, 0, 0]
    import dask.array as da

    _, y_chunks, x_chunks = values.chunks
    rest = [part for raster in rasters for part in (da.asarray(raster).rechunk((y_chunks, x_chunks)), "yx")]
    table = da.blockwise(
        function,
        "tyxnk",
        values,
        "tyx",
        da.from_array(y, chunks=(y_chunks,)),
        "y",
        da.from_array(x, chunks=(x_chunks,)),
        "x",
        *rest,
        new_axes={"n": n, "k": _n_measures(source.geometry)},
        adjust_chunks={"y": lambda _: 1, "x": lambda _: 1},
        dtype=np.float64,
        meta=np.empty((0,) * 5),
        extra=list(extra),
        geometry=source.geometry,
    )
    return table.sum(axis=(1, 2))


def _dataset(table: Any, source: _Source, dim: str, names: Any) -> xr.Dataset:
    coords = {dim: names}
    if cv.YEAR in source.array.coords:
        coords[cv.YEAR] = source.array[cv.YEAR].values
    variables = {
        name: ((cv.YEAR, dim), table[..., k] / _M2_PER_KM2, {"units": "km2", "long_name": text})
        for k, (name, text) in enumerate(MEASURES.items())
    }
    dataset = xr.Dataset(variables, coords, {"variable": source.variable, "threshold": source.geometry.threshold})
    return dataset if source.has_year else dataset.isel({cv.YEAR: 0}, drop=True)


def _source(result: xr.Dataset | xr.DataArray, variable: str | None, threshold: float) -> _Source:
    if not 0 <= threshold <= 1:
        raise OptionError(f"threshold={threshold} lies outside 0..1; {cv.THRESHOLD} is the default")
    if isinstance(result, xr.Dataset):
        if variable is None:
            variable = cv.CALIBRATED if cv.CALIBRATED in result else cv.PROBABILITY
        if variable not in result:
            found = ", ".join(map(str, result)) or "none"
            raise AnalysisError(f"the result has no variable {variable!r} (it has {found}); choose one with variable=")
        array = result[variable]
        if variable == cv.CALIBRATED and cv.PROBABILITY in result:
            array = floored(array, result[cv.PROBABILITY])
    else:
        array, variable = result, str(result.name or cv.PROBABILITY)
    if {cv.Y, cv.X} - set(array.dims) or set(array.dims) - {cv.YEAR, cv.Y, cv.X}:
        raise AnalysisError(f"{variable} has the dims {array.dims}; (year,) y, x are wanted")
    dy, dx = (cells.spacing(array[dim], dim, signed=True) for dim in (cv.Y, cv.X))
    geometry = _Geometry(dy, dx, cells.wkt_of(cells.crs_of(result)), float(threshold))
    has_year = cv.YEAR in array.dims
    array = array if has_year else array.drop_vars(cv.YEAR, errors="ignore").expand_dims(cv.YEAR)
    return _Source(array.transpose(cv.YEAR, cv.Y, cv.X), has_year, variable, geometry)


def _check_same_cells(probability: xr.DataArray, regions: xr.DataArray) -> None:
    if set(regions.dims) != {cv.Y, cv.X}:
        raise AnalysisError(f"regions has the dims {regions.dims}; y, x are wanted")
    for dim in (cv.Y, cv.X):
        if not np.array_equal(regions[dim].values, probability[dim].values):
            raise AnalysisError(
                f"the regions lie on other cells than the result along {dim}; "
                "bring them there with regions.rio.reproject_match(result, resampling=0)"
            )
