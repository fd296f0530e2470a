"""Where a raster lies, from its metadata alone, in the CRS of a grid."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from icemapper_xr._types import Bounds, Grid, Observation

__all__ = ["PAD_PIXELS", "bounds", "extent", "misses", "overlap", "polygon", "ring", "share"]

_POINTS = 21
_OUTLINE_DEGREES = 0.1
"""Points of a geometry's edge are at most this far apart: straight in degrees is not straight in the projection."""
PAD_PIXELS = 64
"""Catalogues give transforms that miss the file by some pixels (STAC `proj:transform`): look a little further."""


def polygon(observation: Observation, grid: Grid) -> Any:
    """Return what was observed as a shapely polygon in the CRS of `grid`; None where the metadata does not tell.

    The raster's rectangle (from its transform and shape, else its box in longitude and latitude) is full of nodata
    where the swath lies askew in it or touches a corner only: it is cut by the geometry of the catalogue. Where the
    two contradict each other, the geometry is believed.
    """
    outline = _outline(observation.footprint, grid.wkt)
    rectangle = _rectangle(observation, grid)
    if outline is None or rectangle is None:
        return rectangle if outline is None else outline
    common = outline.intersection(rectangle)
    return common if common.area > 0 else outline


def _rectangle(observation: Observation, grid: Grid) -> Any:
    return next((shape for shape in _polygons(observation, grid) if shape is not None), None)


def extent(observation: Observation, grid: Grid) -> Bounds:
    """Return the box around the raster in the CRS of `grid`, to count pixels; the grid's where nothing tells it."""
    rectangle = _rectangle(observation, grid)
    return grid.bounds if rectangle is None else Bounds(*rectangle.bounds)


@functools.lru_cache(maxsize=4096)
def _outline(footprint: str | None, wkt: str) -> Any:
    """Project a geometry in longitude and latitude; None where it is missing or cannot be projected."""
    import shapely

    if footprint is None:
        return None
    shape = shapely.segmentize(shapely.from_wkt(footprint), _OUTLINE_DEGREES)
    west, _, east, _ = shape.bounds
    if east - west > 180:  # across the antimeridian
        whole = shape.area
        shape = shapely.transform(shape, lambda lonlat: np.column_stack([lonlat[:, 0] % 360.0, lonlat[:, 1]]))
        if shape.area < 0.9 * whole:  # around a pole
            return None
    shape = shapely.transform(shape, _transformer("EPSG:4326", wkt).transform, interleaved=False)
    if not np.isfinite(shapely.get_coordinates(shape)).all():
        return None
    return shape if shape.is_valid else shapely.make_valid(shape)


def _polygons(observation: Observation, grid: Grid) -> tuple[Any, Any]:
    projected, lonlat = _projected_ring(observation), _lonlat_ring(observation.bbox)
    return _transformed(projected, observation.epsg, grid), _transformed(lonlat, "EPSG:4326", grid)


def _transformed(points: tuple[Any, Any] | None, crs: Any, grid: Grid) -> Any:
    import shapely

    if points is None:
        return None
    x, y = _transformer(crs, grid.wkt).transform(*points)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    shape = shapely.Polygon(np.column_stack([x, y]))
    return shape if shape.is_valid else shape.buffer(0)


def bounds(observation: Observation, grid: Grid) -> Bounds:
    """Return the box, clipped to the grid, outside of which the raster need not be opened.

    The whole grid where the metadata does not tell; an empty box (right <= left) where the raster lies beyond it.
    Where catalogues give both the raster's transform and a box in degrees, these may contradict each other (they do
    for some items of Planetary Computer): the box around both is taken, which costs a look into a file at most.
    """
    import shapely

    shapes = [shape for shape in _polygons(observation, grid) if shape is not None and not shape.is_empty]
    if not shapes:
        return grid.bounds
    pad = PAD_PIXELS * grid.resolution
    left, bottom, right, top = shapely.total_bounds(shapes)
    return Bounds(
        max(left - pad, grid.bounds.left),
        max(bottom - pad, grid.bounds.bottom),
        min(right + pad, grid.bounds.right),
        min(top + pad, grid.bounds.top),
    )


def misses(observation: Observation, grid: Grid) -> bool:
    """Whether a raster lies beyond the grid, so that it need not be opened."""
    return bounds(observation, grid).empty


def overlap(one: Bounds, other: Bounds) -> bool:
    """Whether two boxes in longitude and latitude meet; west > east crosses the antimeridian."""
    (_, south, _, north), (_, low, _, high) = one, other
    across = any(west <= last and east >= first for west, east in _spans(one) for first, last in _spans(other))
    return across and south <= high and north >= low


def _spans(box: Bounds) -> list[tuple[float, float]]:
    """Longitudes of a box, cut at the antimeridian."""
    west, _, east, _ = box
    return [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]


def share(observations: tuple[Observation, ...], grid: Grid, area: Bounds) -> float:
    """Return the share of the area, 0 to 1, that the footprints cover together; 1 where one is unknown."""
    import shapely

    shapes = [polygon(observation, grid) for observation in observations]
    if any(shape is None for shape in shapes):
        return 1.0
    box = shapely.box(*area)
    return float(shapely.union_all(shapes).intersection(box).area / box.area)


def ring(left: float, bottom: float, right: float, top: float, points: int = _POINTS) -> tuple[Any, Any]:
    """Return x and y of points on the edges of a box, anticlockwise from its lower left corner, so many on each."""
    x, y = np.linspace(left, right, points), np.linspace(bottom, top, points)
    return (
        np.concatenate([x, np.full_like(y, right), x[::-1], np.full_like(y, left)]),
        np.concatenate([np.full_like(x, bottom), y, np.full_like(x, top), y[::-1]]),
    )


def _projected_ring(observation: Observation) -> tuple[Any, Any] | None:
    if observation.epsg is None or observation.transform is None or observation.shape is None:
        return None
    a, b, c, d, e, f = observation.transform
    rows, columns = observation.shape
    u, v = ring(0, 0, columns, rows)
    return a * u + b * v + c, d * u + e * v + f


def _lonlat_ring(bbox: Bounds | None) -> tuple[Any, Any] | None:
    if bbox is None:
        return None
    left, bottom, right, top = bbox
    lon, lat = ring(left, bottom, right + 360 if left > right else right, top)
    return (lon + 180.0) % 360.0 - 180.0 if left > right else lon, lat


@functools.lru_cache(maxsize=64)
def _transformer(source: Any, wkt: str) -> Any:
    import pyproj

    return pyproj.Transformer.from_crs(source, wkt, always_xy=True)
