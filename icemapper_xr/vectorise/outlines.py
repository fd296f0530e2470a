"""Outlines of a result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions as cv
from icemapper_xr import errors, progress
from icemapper_xr.vectorise import antimeridian, measures, polygons, tracing

if TYPE_CHECKING:
    import geopandas as gpd
    import pyproj
    import xarray as xr

__all__ = ["COLUMNS", "body_ids", "outlines"]

COLUMNS = ("id", "year", "area_km2", "perimeter_km", "n_holes", "touches_edge", "geometry")
"""Columns of the outlines, in order."""

_BATCH_PIXELS = 4 * cv.LATTICE**2
"""Pixels read at once."""


def outlines(
    result: xr.Dataset | xr.DataArray,
    *,
    threshold: float = cv.THRESHOLD,
    min_area_km2: float = cv.MIN_AREA_KM2,
    min_hole_km2: float = 0.0,
    year: int | None = None,
    crs_out: Any = 4326,
) -> gpd.GeoDataFrame:
    """Outline the glaciers of a result.

    A pixel centre at or above the threshold is inside; between centres the line is interpolated. A pixel that was not
    observed counts as outside. Probabilities are taken as they are, not calibrated.

    Parameters
    ----------
    result
        Dataset with `probability`, or the DataArray, dims (y, x) or (year, y, x); lazy or not. Read once, block by
        block; memory is that of a few blocks and of the outlines.
    threshold
        Probability of the outline, between 0 and 1.
    min_area_km2
        Smallest body kept, km2; 0.01 is that of RGI 7 and GLIMS.
    min_hole_km2
        Smallest hole kept, km2; smaller ones are filled, with the bodies in them. The default 0 keeps every nunatak.
    year
        Year to outline; None takes all years of the result.
    crs_out
        CRS of the geometry, anything that pyproj takes; None keeps that of the raster.

    Returns
    -------
    geopandas.GeoDataFrame
        One polygon a row, from north-west to south-east: `id` (from the position), `year` (missing if unknown),
        `area_km2` and `perimeter_km` (on WGS 84; holes taken off the area, counted in the perimeter), `n_holes`,
        `touches_edge` (the outline runs along pixels that were not observed or along the raster's edge).

    Raises
    ------
    OptionError
        If an option is out of range.
    VectorError
        If there is no probability, no CRS, no regular grid, or not the year asked for.
    """
    _check_options(threshold, min_area_km2, min_hole_km2)
    frames = [
        _outline_one(plane, number, float(threshold), min_area_km2, min_hole_km2, crs_out)
        for number, plane in planes_of(probability_of(result), year)
    ]
    return frames[0] if len(frames) == 1 else _concatenate(frames)


def _check_options(threshold: float, min_area_km2: float, min_hole_km2: float) -> None:
    if not (isinstance(threshold, int | float | np.number) and 0 < threshold < 1):
        raise errors.OptionError(f"threshold={threshold!r}: must lie between 0 and 1")
    for name, value in (("min_area_km2", min_area_km2), ("min_hole_km2", min_hole_km2)):
        if not (isinstance(value, int | float | np.number) and value >= 0):
            raise errors.OptionError(f"{name}={value!r}: must be 0 or more")


def probability_of(result: xr.Dataset | xr.DataArray) -> xr.DataArray:
    import rioxarray  # noqa: F401  (registers .rio)
    import xarray as xr

    if isinstance(result, xr.Dataset):
        if cv.PROBABILITY not in result:
            raise errors.VectorError(
                f"The dataset has no variable {cv.PROBABILITY!r} (it has {sorted(map(str, result))}): "
                "give the result of predict, or a DataArray"
            )
        data = result[cv.PROBABILITY].assign_attrs({k: v for k, v in result.attrs.items() if k == cv.ATTR_YEAR})
    else:
        data = result
    if not {cv.Y, cv.X} <= set(data.dims) <= {cv.YEAR, cv.Y, cv.X}:
        raise errors.VectorError(f"The probability has dims {data.dims}: expected ('y', 'x') or ('year', 'y', 'x')")
    if data.rio.crs is None:
        raise errors.VectorError("The probability has no CRS: set it with .rio.write_crs(...)")
    return data


def _crs_of(given: Any) -> pyproj.CRS:
    import pyproj

    try:
        return pyproj.CRS.from_user_input(given)
    except pyproj.exceptions.CRSError:
        raise errors.OptionError(f"crs_out={given!r} is no CRS that pyproj knows: write it as EPSG:4326") from None


def planes_of(data: xr.DataArray, year: int | None) -> Iterator[tuple[int | None, xr.DataArray]]:
    """Iterate over (year, probability (y, x))."""
    if cv.YEAR not in data.dims:
        known = data.coords[cv.YEAR].item() if cv.YEAR in data.coords else data.attrs.get(cv.ATTR_YEAR)
        if year is not None and known is not None and int(known) != year:
            raise errors.VectorError(f"The result is of the year {int(known)}, not {year}")
        yield (year if known is None else int(known)), data
        return
    if not np.issubdtype(data[cv.YEAR].dtype, np.number):
        raise errors.VectorError(
            f"The years of the result are of the type {data[cv.YEAR].dtype}: give whole numbers, for example with "
            ".assign_coords(year=result.year.dt.year)"
        )
    years = [int(value) for value in data[cv.YEAR].values]
    if year is not None and year not in years:
        raise errors.VectorError(f"The result has the years {years}, not {year!r}: name one of them")
    for number, value in enumerate(years):
        if year in (None, value):
            yield value, data.isel({cv.YEAR: number}, drop=True)


def _outline_one(
    plane: xr.DataArray, year: int | None, threshold: float, min_area: float, min_hole: float, crs_out: Any
) -> gpd.GeoDataFrame:
    """Outline one year: trace, assemble, measure, filter, build."""
    import pyproj

    plane = plane.transpose(cv.Y, cv.X)
    xs, ys = axes_of(plane)
    rings = tracing.trace(_blocks(plane.data), plane.shape, float(np.float32(threshold)))  # type: ignore[arg-type]
    bodies = polygons.assemble(rings)
    x, y = rings.locate(xs, ys)
    source = pyproj.CRS.from_user_input(plane.rio.crs.to_wkt())
    target = source if crs_out is None else _crs_of(crs_out)
    degrees = pyproj.CRS.from_epsg(4326)
    lon, lat = _to(source, degrees, x, y)
    if target.equals(degrees, ignore_axis_order=True):
        x, y = lon, lat
    elif target != source:
        x, y = _to(source, target, x, y)
    area, length = measures.ring_measures(lon, lat, rings.offsets)
    bodies, table = _select(rings, bodies, np.abs(area) / 1e6, length / 1e3, min_area, min_hole)
    geometry = polygons.build(x, y, rings.offsets, bodies)
    if target.is_geographic:
        geometry = antimeridian.cut(geometry)
    first = rings.starts[bodies.outer]
    table["id"] = body_ids(lon[first], lat[first])
    return _frame(table, geometry, year, target)


def axes_of(plane: xr.DataArray) -> tuple[tuple[float, float], tuple[float, float]]:
    """First pixel centre and step of x and of y."""
    steps = {name: _step(plane, name) for name in (cv.X, cv.Y)}
    # an axis of one pixel has the step of the other; one pixel alone is taken to have the project's size
    dx = steps[cv.X] or abs(steps[cv.Y] or cv.PIXEL_SIZE)
    dy = steps[cv.Y] or -dx
    if not dx > 0 > dy:
        raise errors.VectorError("The grid must be north-up (x ascending, y descending): sort or flip it first")
    return (float(plane[cv.X].values[0]), dx), (float(plane[cv.Y].values[0]), dy)


def _step(plane: xr.DataArray, name: str) -> float | None:
    values = np.asarray(plane[name].values, dtype=float)
    if values.size < 1:
        raise errors.VectorError(f"The probability has no pixel along {name!r}: there is nothing to outline")
    if values.size == 1:
        return None
    step = float((values[-1] - values[0]) / (values.size - 1))
    if np.abs(np.diff(values) - step).max() > 1e-6 * abs(step):
        raise errors.VectorError(f"The coordinate {name!r} is not regular: resample the raster first")
    return round(step, 9)


def _blocks(data: Any) -> Iterator[tracing.Block]:
    """Read the raster once, block by block in order, a batch of dask chunks of one row at a time."""
    import dask.array as da
    from dask.base import compute

    lazy = data if isinstance(data, da.Array) else da.from_array(data, cv.LATTICE)
    tops, lefts = (np.concatenate([[0], np.cumsum(sizes)]) for sizes in lazy.chunks)
    per_batch = max(1, _BATCH_PIXELS // max(1, max(lazy.chunks[0]) * max(lazy.chunks[1])))
    rows, columns = lazy.numblocks
    starts = [(i, j) for i in range(rows) for j in range(0, columns, per_batch)]
    for i, j in progress.track(starts, "Outlines"):
        numbers = range(j, min(j + per_batch, columns))
        for k, values in zip(numbers, compute(*(lazy.blocks[i, k] for k in numbers)), strict=True):
            if values.size:
                yield tracing.Block(int(tops[i]), int(lefts[k]), np.asarray(values, dtype=np.float32))


def _to(source: pyproj.CRS, target: pyproj.CRS, x: Any, y: Any) -> tuple[Any, Any]:
    import pyproj

    if not x.size:
        return x, y
    return pyproj.Transformer.from_crs(source, target, always_xy=True).transform(x, y)


def _select(
    rings: tracing.Rings,
    bodies: polygons.Bodies,
    area: npt.NDArray[np.float64],
    length: npt.NDArray[np.float64],
    min_area: float,
    min_hole: float,
) -> tuple[polygons.Bodies, dict[str, Any]]:
    """Drop small holes with all that lies in them, then small bodies; measure what stays."""
    keep_hole = area[bodies.holes] >= min_hole
    filled = polygons.inside(rings, bodies.holes[~keep_hole])
    keep_hole &= ~filled[bodies.holes]
    holes, body = bodies.holes[keep_hole], bodies.body[keep_hole]
    count = bodies.outer.size
    net = area[bodies.outer] - np.bincount(body, area[holes], count)
    keep = (net >= min_area) & ~filled[bodies.outer]
    position = np.cumsum(keep) - 1
    keep_hole = keep[body]
    holes, body = holes[keep_hole], position[body[keep_hole]]
    kept = polygons.Bodies(bodies.outer[keep], holes, body)
    touches = np.logical_or.reduceat(rings.missing, rings.starts) if len(rings) else np.empty(0, bool)
    number = kept.outer.size
    return kept, {
        "area_km2": net[keep],
        "perimeter_km": length[kept.outer] + np.bincount(body, length[holes], number),
        "n_holes": np.bincount(body, minlength=number).astype(np.int32),
        "touches_edge": touches[kept.outer] | (np.bincount(body, touches[holes], number) > 0),
    }


def body_ids(lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]) -> list[str]:
    """Name bodies by the position of their northernmost vertex, in 1e-5 degrees (about a metre)."""
    east, north = np.rint(lon * 1e5).astype(int) % 36_000_000, np.rint(np.abs(lat) * 1e5).astype(int)
    side = np.where(lat < 0, "S", "N")
    return [f"G{e:08d}E{n:07d}{s}" for e, n, s in zip(east, north, side, strict=True)]


def _frame(table: dict[str, Any], geometry: Any, year: int | None, crs: pyproj.CRS) -> gpd.GeoDataFrame:
    import geopandas as gpd
    import pandas as pd

    years = pd.array([year] * len(geometry), dtype="Int32")
    frame = gpd.GeoDataFrame({**table, "year": years}, geometry=gpd.GeoSeries(geometry, crs=crs), crs=crs)
    frame["id"] = frame["id"].astype(str)
    return frame[list(COLUMNS)]


def _concatenate(frames: list[gpd.GeoDataFrame]) -> gpd.GeoDataFrame:
    import pandas as pd

    if not frames:
        raise errors.VectorError("The result has no year: there is nothing to outline")
    kept = [frame for frame in frames if len(frame)] or frames[:1]
    return pd.concat(kept, ignore_index=True)
