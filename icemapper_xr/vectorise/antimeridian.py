"""Polygons in degrees that cross the antimeridian, cut there as GeoJSON (RFC 7946, 3.1.9) wants."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["cut"]


def cut(geometry: Any) -> Any:
    """Cut the polygons that reach over 180 degrees of longitude into one part on either side.

    Parameters
    ----------
    geometry
        Array of polygons in longitude (-180 to 180) and latitude. One that crosses the antimeridian has vertices on
        both sides, so that it seems to go around the globe.

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
    turned = shapely.transform(geometry[across], lambda lonlat: np.column_stack([lonlat[:, 0] % 360.0, lonlat[:, 1]]))
    near = shapely.intersection(turned, shapely.box(0, -90, 180, 90))
    far = shapely.transform(
        shapely.intersection(turned, shapely.box(180, -90, 360, 90)), lambda lonlat: lonlat - (360, 0)
    )
    out = geometry.copy()
    out[across] = [_multipolygon(*sides) for sides in zip(near, far, strict=True)]
    return out


def _multipolygon(*sides: Any) -> Any:
    """Put polygons together; a side that touches the line only gives lines and points, which are dropped."""
    import shapely

    parts = [part for side in sides for part in shapely.get_parts(side) if part.geom_type == "Polygon"]
    return shapely.orient_polygons(shapely.MultiPolygon(parts) if len(parts) > 1 else parts[0])
