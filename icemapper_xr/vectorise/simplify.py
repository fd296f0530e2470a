"""Outlines with fewer vertices, whose common edges stay common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import shapely

from icemapper_xr import conventions as cv
from icemapper_xr import errors, plane
from icemapper_xr.vectorise import antimeridian, measures

if TYPE_CHECKING:
    import geopandas as gpd
    import pyproj

__all__ = ["check_tolerance", "simplify"]

SLIVER = 1e-9
"""Share of a polygon below which a part that its mending splits off is none."""


def simplify(outlines: gpd.GeoDataFrame, tolerance: float) -> gpd.GeoDataFrame:
    """Take away vertices that matter least, the same ones on both sides of a common edge.

    Parameters
    ----------
    outlines
        Polygons in any CRS, in degrees cut at the antimeridian where they cross it; those of one year (column `year`,
        where there is one) do not overlap.
    tolerance
        Metres: a vertex goes if the triangle with its neighbours is smaller than the square of it; 0 changes nothing.
        10 m is one pixel; convex outlines lose area (20 m: 0.3 % of a disc of 1 km radius), so take areas before.

    Returns
    -------
    geopandas.GeoDataFrame
        The same rows; `area_km2` and `perimeter_km`, if they are there, measured anew. A band's `area_low_km2` and
        `area_high_km2` are moved by what the area changed by, so that they are as far from it as they were; an
        `area_low_km2` of 0 stays, and none falls below.

    Raises
    ------
    OptionError
        If the tolerance is negative or infinite.
    VectorError
        If the outlines have no CRS.

    Notes
    -----
    Visvalingam and Whyatt (1993), doi:10.1179/000870493786962263, for coverages, by GEOS.
    """
    check_tolerance(tolerance)
    if tolerance == 0 or not len(outlines):
        return outlines
    if outlines.crs is None:
        raise errors.VectorError(
            "The outlines have no CRS, so a tolerance in metres means nothing: set it with set_crs"
        )
    metric, flat = _flat(outlines)
    years = outlines[cv.YEAR].fillna(0).to_numpy(dtype=int) if cv.YEAR in outlines else np.zeros(len(outlines), int)
    for year in np.unique(years):
        flat[years == year] = shapely.coverage_simplify(flat[years == year], tolerance)
    made: gpd.GeoDataFrame = outlines.set_geometry(flat, crs=metric).to_crs(outlines.crs)
    if "area_km2" in made and "perimeter_km" in made:  # before the cut, which is no margin
        area, length = measures.polygon_measures(np.asarray(made.geometry.to_crs(4326).values, dtype=object))
        moved = area / 1e6 - made["area_km2"].to_numpy(dtype=float)
        made = _with_band(made.assign(area_km2=area / 1e6, perimeter_km=length / 1e3), moved)
    shapes = np.asarray(made.geometry.values, dtype=object)
    cut = antimeridian.cut(shapes) if outlines.crs.is_geographic else shapes
    return made.set_geometry(_mended(cut), crs=made.crs)


def _with_band(made: gpd.GeoDataFrame, moved: npt.NDArray[np.float64]) -> gpd.GeoDataFrame:
    """Move the areas of a band with those of the outlines: its lines were measured around the outlines as drawn."""
    if "area_low_km2" in made:
        low = made["area_low_km2"].to_numpy(dtype=float)
        made = made.assign(area_low_km2=np.where(low > 0, np.maximum(low + moved, 0), low))
    if "area_high_km2" in made:
        made = made.assign(area_high_km2=made["area_high_km2"].to_numpy(dtype=float) + moved)
    return made


def check_tolerance(tolerance: float) -> None:
    """Refuse a tolerance that is none.

    Raises
    ------
    OptionError
        If it is negative or infinite.
    """
    if not 0 <= tolerance < np.inf:
        raise errors.OptionError(f"simplify={tolerance:g}: the tolerance must be 0 m or more, and finite")


def _flat(outlines: gpd.GeoDataFrame) -> tuple[pyproj.CRS, npt.NDArray[np.object_]]:
    """Bring outlines to a plane in metres, what was cut at the antimeridian whole again."""
    if not outlines.crs.is_geographic:
        return outlines.crs, np.array(outlines.geometry.values, dtype=object)
    shapes = np.asarray(outlines.geometry.values, dtype=object)
    # Both sides of the cut get the same longitude, so that they meet to the last digit.
    turned = shapely.transform(shapes, lambda c: np.column_stack([np.where(c[:, 0] == -180, 180, c[:, 0]), c[:, 1]]))
    # an equal-area one: what is taken away is measured by area
    crs = plane.around(shapely.get_coordinates(shapely.point_on_surface(shapely.get_parts(turned))))
    flat = np.asarray(outlines.set_geometry(turned, crs=outlines.crs).to_crs(crs).geometry.values, dtype=object)
    several = np.flatnonzero(shapely.get_num_geometries(flat) > 1)
    flat[several] = [shapely.union_all(shapely.get_parts(flat[number])) for number in several]
    bad = ~shapely.is_valid(flat)  # the cut through a pole is a line to and fro
    flat[bad] = shapely.make_valid(flat[bad], method="structure", keep_collapsed=False)
    return crs, flat


def _mended(shapes: npt.NDArray[np.object_]) -> npt.NDArray[np.object_]:
    """Mend what became invalid on the way back: an edge that is straight in the plane bends by micrometres.

    Outlines come as near to themselves as that where many samples lie on the threshold.
    """
    for number in np.flatnonzero(~shapely.is_valid(shapes)):
        parts = shapely.get_parts(shapely.make_valid(shapes[number], method="structure", keep_collapsed=False))
        area = shapely.area(parts)
        kept = list(parts[area > SLIVER * area.sum()])
        shapes[number] = shapely.orient_polygons(kept[0] if len(kept) == 1 else shapely.MultiPolygon(kept))
    return shapes
