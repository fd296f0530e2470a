"""Polygons in degrees that cross the antimeridian, cut there as GeoJSON (RFC 7946, 3.1.9) wants."""

from __future__ import annotations

from typing import Any

import numpy as np

from icemapper_xr import lonlat

__all__ = ["cut"]


def cut(geometry: Any) -> Any:
    """Cut the polygons that reach over 180 degrees of longitude into one part on either side.

    Parameters
    ----------
    geometry
        Array of polygons in longitude (-180 to 180) and latitude. One that crosses the antimeridian has vertices on
        both sides, so that it seems to go around the globe. One around a pole does, and gets the pole as an edge.

    Returns
    -------
    array
        The same, a MultiPolygon in place of every polygon that was cut.
    """
    import shapely

    if len(geometry) == 0:
        return geometry
    west, _, east, _ = shapely.bounds(geometry).T
    across = np.flatnonzero(east - west > 180)
    if across.size == 0:
        return geometry
    out = geometry.copy()
    out[across] = [_multipolygon(shape) for shape in geometry[across]]
    return out


def _multipolygon(shape: Any) -> Any:
    """Cut the parts that cross; a side that touches the line only gives lines and points, which are dropped."""
    import shapely

    found: list[Any] = []
    for part in shapely.get_parts(shape):
        west, _, east, _ = part.bounds
        found.extend(shapely.get_parts(lonlat.enclosed(part)) if east - west > 180 else [part])
    parts = [one for one in found if one.geom_type == "Polygon"]
    return shapely.orient_polygons(shapely.MultiPolygon(parts) if len(parts) > 1 else parts[0])
