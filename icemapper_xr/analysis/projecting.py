"""Polygons in another CRS, their edges where they were drawn.

What is straight in one CRS bends in another. With its vertices moved alone, a box of 6 by 1 degrees at 78 N would have
306 of its 14 915 km2 in the wrong place in UTM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from icemapper_xr import lonlat
from icemapper_xr.analysis import cells
from icemapper_xr.errors import AnalysisError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["EDGE_DEGREES", "project", "unrolled"]

EDGE_DEGREES: Final = 0.01
"""Length into which edges in degrees are divided: a parallel at 80 N is then off by a millimetre."""


def project(polygons: gpd.GeoDataFrame | gpd.GeoSeries, crs: Any) -> gpd.GeoSeries:
    """Bring polygons to another CRS, their edges straight in their own.

    Parameters
    ----------
    polygons
        In any CRS. An edge in degrees that leaps over more than half a turn crosses the antimeridian.
    crs
        Anything that pyproj takes. Polygons that are in it already stay as they are.

    Raises
    ------
    AnalysisError
        The polygons have no CRS.
    OptionError
        The CRS is unknown.
    """
    import geopandas as gpd

    if polygons.crs is None:
        raise AnalysisError("the polygons have no CRS; set the one they are in with polygons.set_crs(...)")
    own, target = polygons.crs, cells.known_crs(crs)
    if own == target:
        return polygons.geometry
    if not own.is_geographic:
        return polygons.geometry.segmentize(lonlat.edge(own)).to_crs(target)
    return gpd.GeoSeries(unrolled(polygons.geometry), crs=own).segmentize(EDGE_DEGREES).to_crs(target)


def unrolled(polygons: gpd.GeoSeries) -> gpd.GeoSeries:
    """Let the longitudes of polygons in degrees run on across the antimeridian, ring by ring.

    An edge of a whole turn is a parallel around the Earth, as boxes of the Arctic have it.
    """
    import geopandas as gpd
    import shapely

    shapes = np.array(polygons.values, dtype=object)
    west, _, east, _ = shapely.bounds(shapes).reshape(-1, 4).T
    for i in np.flatnonzero(east - west > 180):
        shapes[i] = _run_on(shapes[i])
    return gpd.GeoSeries(shapes, index=polygons.index, crs=polygons.crs)


def _run_on(shape: Any) -> Any:
    import shapely

    parts = []
    for part in shapely.get_parts(shape):
        rings = [_ring(shapely.get_coordinates(ring)) for ring in (part.exterior, *part.interiors)]
        parts.append(shapely.Polygon(rings[0], rings[1:]))
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _ring(ring: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    step = np.diff(ring[:, 0])
    turns = np.where((np.abs(step) > 180) & (np.abs(step) < 360), -360 * np.sign(step), 0.0)
    return np.column_stack([ring[:, 0] + np.concatenate([[0.0], np.cumsum(turns)]), ring[:, 1]])
