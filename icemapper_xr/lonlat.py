"""Shapes in longitude and latitude, -180 to 180 degrees, cut at the antimeridian as GeoJSON (RFC 7946, 3.1.9) wants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import geopandas as gpd
    import pyproj
    from shapely.geometry.base import BaseGeometry

__all__ = ["METRES_PER_DEGREE", "cut", "edge", "enclosed", "projected", "unwrapped"]

METRES_PER_DEGREE: Final = 111_200.0
"""Of a great circle, rounded: a mean Earth radius of 6371 km x pi / 180. For sizes and margins, not for measuring."""
EDGE_M: Final = 1000.0
"""Length into which edges of a projected CRS are divided, metres: straight there is not straight in degrees."""


def edge(crs: pyproj.CRS) -> float:
    """Return the length into which edges of a projected CRS are divided before they are bent, in its units."""
    return float(EDGE_M / crs.axis_info[0].unit_conversion_factor)


def projected(polygons: gpd.GeoSeries) -> BaseGeometry:
    """Return the union of polygons of a projected CRS in longitude and latitude, their edges straight where drawn.

    Parameters
    ----------
    polygons
        In any projected CRS; across the antimeridian and around a pole, too.
    """
    import pyproj
    import shapely

    crs = pyproj.CRS.from_user_input(polygons.crs)
    to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform
    fine = shapely.segmentize(shapely.force_2d(np.asarray(polygons.make_valid().values, dtype=object)), edge(crs))
    parts = [part for part in shapely.get_parts(shapely.get_parts(fine)) if part.geom_type == "Polygon"]
    return shapely.union_all([enclosed(part, to_degrees) for part in parts])


def enclosed(polygon: Any, to_degrees: Any = None) -> BaseGeometry:
    """Return what a polygon encloses, cut at the antimeridian; one that runs around a pole encloses it.

    Parameters
    ----------
    polygon
        In longitude and latitude, or in another CRS; no edge longer than half a turn.
    to_degrees
        Function of x and y to longitude and latitude; None: the polygon is in these.
    """
    import shapely

    outer, *holes = (_within(ring, to_degrees) for ring in (polygon.exterior, *polygon.interiors))
    return outer.difference(shapely.union_all(holes)) if holes else outer


def _within(ring: Any, to_degrees: Any) -> BaseGeometry:
    """Return what a ring encloses."""
    import shapely

    places = shapely.get_coordinates(ring)
    lonlat = unwrapped(places if to_degrees is None else np.column_stack(to_degrees(*places.T)))
    if abs(lonlat[-1, 0] - lonlat[0, 0]) > 180:
        pole = np.copysign(90.0, lonlat[:, 1].mean())
        lonlat = np.vstack([lonlat, [[lonlat[-1, 0], pole], [lonlat[0, 0], pole]]])
    return cut(shapely.make_valid(shapely.Polygon(lonlat)))


def unwrapped(ring: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Let the longitudes of a closed ring run on across the antimeridian, its middle between -180 and 180 degrees.

    Parameters
    ----------
    ring
        (n, 2), longitude and latitude in degrees, no edge longer than half a turn.

    Returns
    -------
    array
        (n, 2); first and last longitude are a turn apart where the ring runs around a pole.
    """
    longitude = np.unwrap(ring[:, 0], period=360)
    longitude -= 360 * np.round(longitude.mean() / 360)
    return np.column_stack([longitude, ring[:, 1]])


def cut(shape: BaseGeometry) -> BaseGeometry:
    """Cut a shape whose longitudes run beyond -180 to 180 degrees at the antimeridian."""
    import shapely
    import shapely.affinity

    world = shapely.box(-180, -90, 180, 90)
    moved = [shapely.affinity.translate(shape, by) for by in (-360.0, 0.0, 360.0)]
    return shapely.union_all([part for part in (one.intersection(world) for one in moved) if part.area > 0])
