"""Outlines with fewer vertices, whose common edges stay common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from icemapper_xr import conventions as cv
from icemapper_xr import errors
from icemapper_xr.vectorise import measures

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["simplify"]


def simplify(outlines: gpd.GeoDataFrame, tolerance: float) -> gpd.GeoDataFrame:
    """Take away vertices that matter least, the same ones on both sides of a common edge.

    Parameters
    ----------
    outlines
        Polygons, single ones, in any CRS; polygons of one year (column `year`, if there is one) do not overlap.
    tolerance
        Metres: a vertex goes if the triangle with its neighbours is smaller than the square of it; 0 changes nothing.
        10 m is one pixel; convex outlines lose area (20 m: 0.3 % of a disc of 1 km radius), so take areas before.

    Returns
    -------
    geopandas.GeoDataFrame
        The same rows; `area_km2` and `perimeter_km`, if they are there, measured anew.

    Raises
    ------
    OptionError
        If the tolerance is negative or infinite.

    Notes
    -----
    Visvalingam and Whyatt (1993), doi:10.1179/000870493786962263, for coverages, by GEOS.
    """
    if not 0 <= tolerance < np.inf:
        raise errors.OptionError(f"simplify={tolerance:g}: the tolerance must be 0 m or more, and finite")
    if tolerance == 0 or not len(outlines):
        return outlines
    metric = outlines.estimate_utm_crs() if outlines.crs.is_geographic else outlines.crs
    flat = np.asarray(outlines.geometry.to_crs(metric).values, dtype=object)
    years = outlines[cv.YEAR].fillna(0).to_numpy(dtype=int) if cv.YEAR in outlines else np.zeros(len(outlines), int)
    for year in np.unique(years):
        flat[years == year] = shapely.coverage_simplify(flat[years == year], tolerance)
    made: gpd.GeoDataFrame = outlines.set_geometry(flat, crs=metric).to_crs(outlines.crs)
    if "area_km2" in made and "perimeter_km" in made:
        area, length = measures.polygon_measures(np.asarray(made.geometry.to_crs(4326).values, dtype=object))
        made = made.assign(area_km2=area / 1e6, perimeter_km=length / 1e3)
    return made
