"""Polygons of glaciers made fit for use: one CRS, valid, measured on an equal-area plane."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from icemapper_xr import conventions as cv
from icemapper_xr import dates, plane
from icemapper_xr.errors import VectorError

if TYPE_CHECKING:
    import geopandas as gpd
    import pyproj

__all__ = [
    "DOUBLE",
    "Geometries",
    "areas_km2",
    "centre_of",
    "glacier_rows",
    "glims_ids",
    "is_glims",
    "one_side",
    "only_glaciers",
    "plane_of",
    "require_one_year",
    "usable",
    "whole_years",
    "within_others",
    "year_names",
]

Geometries = npt.NDArray[np.object_]
DOUBLE: Final = 0.01
"""Share of an inventory's area that may lie in two outlines (a judgement: about the error of the area)."""


def usable(frame: gpd.GeoDataFrame, what: str) -> gpd.GeoDataFrame:
    """Return the rows with polygons, invalid ones mended, numbered anew.

    Parameters
    ----------
    frame
        Any polygons.
    what
        What they are, for messages: "the outlines", "the inventory".

    Raises
    ------
    VectorError
        If there is no CRS, or there are geometries but no polygon of a glacier among them.

    Warns
    -----
    UserWarning
        If geometries had to be mended or left out, or rows are no glaciers (GLIMS' rock); says how many.
    """
    if frame.crs is None:
        raise VectorError(f"{what} have no CRS: set it with set_crs(...), or write them to a file that keeps it")
    frame, told = only_glaciers(frame, what)
    for note in told:
        warnings.warn(note, stacklevel=2)
    geometry = np.asarray(frame.geometry.values, dtype=object)
    present = ~(shapely.is_missing(geometry) | shapely.is_empty(geometry))
    invalid = present & ~shapely.is_valid(geometry)
    if invalid.any():
        geometry = geometry.copy()
        geometry[invalid] = shapely.make_valid(geometry[invalid], method="structure", keep_collapsed=False)
    mended = np.array([_polygonal(one) for one in geometry[present]], dtype=object)
    keep = ~shapely.is_empty(mended)
    if present.any() and not keep.any():
        raise VectorError(f"{what} hold no polygon, only {sorted(set(frame.geom_type.dropna()))}: give polygons")
    left_out = len(frame) - int(keep.sum())
    if invalid.any() or left_out:
        warnings.warn(
            f"{what}: {int(invalid.sum())} invalid geometries mended, {left_out} without a polygon left out",
            stacklevel=2,
        )
    made: gpd.GeoDataFrame = frame[present][keep].reset_index(drop=True).set_geometry(mended[keep], crs=frame.crs)
    return made


def glacier_rows(frame: gpd.GeoDataFrame) -> npt.NDArray[np.bool_]:
    """Tell the rows that are glaciers: in GLIMS' files rock, basins and snow lines are rows too (`line_type`)."""
    if "line_type" not in frame:
        return np.ones(len(frame), bool)
    return np.asarray(frame["line_type"].fillna("").astype(str).str.strip().isin(["", "glac_bound"]), dtype=bool)


def only_glaciers(frame: gpd.GeoDataFrame, what: str) -> tuple[gpd.GeoDataFrame, tuple[str, ...]]:
    """Return the rows that are glaciers (`glacier_rows`), and notes on those left out.

    Parameters
    ----------
    frame
        Of a file that a user names.
    what
        What it is, for messages: "the inventory".

    Raises
    ------
    VectorError
        If there are rows, but none is a glacier.
    """
    keep = glacier_rows(frame)
    if keep.all():
        return frame, ()
    kinds = ", ".join(sorted(set(frame["line_type"][~keep].astype(str))))
    if not keep.any():
        raise VectorError(f"{what} hold no glacier, only the line_type {kinds}: give rows of glac_bound")
    return frame[keep], (f"{what}: {int((~keep).sum())} rows that are no glaciers left out (line_type {kinds})",)


def require_one_year(frame: gpd.GeoDataFrame, what: str, *, same: str | None = None) -> None:
    """Refuse an inventory that has the same ice in several years: its glaciers would be the union of all.

    Parameters
    ----------
    frame
        Outlines; without a column `year`, or of one year, they pass.
    what
        What they are, for messages.
    same
        Column of ids: rows of one id may be of several years, for whom only the borders between ids matter.

    Raises
    ------
    VectorError
        If outlines of one year lie in those of another; names the years.
    """
    if cv.YEAR not in frame or frame[cv.YEAR].nunique() < 2:
        return
    years = year_names(frame)
    polygons = shapely.make_valid(np.asarray(frame.geometry.values, dtype=object))
    row, other = within_others(polygons)
    double = years[row] != years[other]
    if same is not None:
        ids = frame[same].to_numpy()
        double &= ids[row] != ids[other]
    area = shapely.area(polygons)
    if area[np.unique(row[double])].sum() > DOUBLE * area.sum():
        raise VectorError(
            f"{what} hold the same ice in several years ({', '.join(sorted(set(years)))}): keep the rows of one, for "
            f"example with `ogr2ogr -where year={max(years)} one.gpkg all.gpkg` (`link` takes --inventory-year)"
        )


def year_names(frame: gpd.GeoDataFrame) -> npt.NDArray[np.object_]:
    """Return the year of each row as text; what is no year stays as it is written."""
    given = frame[cv.YEAR]
    pairs = zip(dates.years(given), given.astype(str), strict=True)
    return np.array([text if np.isnan(year) else str(int(year)) for year, text in pairs], dtype=object)


def within_others(polygons: Geometries) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the rows that lie in a larger one (of equal ones in the earlier) with more than half of them, and that."""
    pairs = shapely.STRtree(polygons).query(polygons)
    one, two = pairs[:, pairs[0] < pairs[1]]
    area = shapely.area(polygons)
    row, other = np.where(area[one] < area[two], (one, two), (two, one))
    # Neighbours along a divide meet in a corner of their boxes: that they share little needs no overlay.
    boxes: Any = shapely.box(*shapely.bounds(polygons).T)
    near = shapely.area(shapely.intersection(boxes[row], boxes[other])) > area[row] / 2
    row, other = row[near], other[near]
    double = shapely.area(shapely.intersection(polygons[row], polygons[other])) > area[row] / 2
    return row[double], other[double]


def whole_years(frame: gpd.GeoDataFrame, what: str) -> npt.NDArray[np.object_]:
    """Return the year of each row, of a column of numbers, dates or text of these; None where there is none.

    Raises
    ------
    VectorError
        If a year is not whole.
    """
    if cv.YEAR not in frame:
        return np.full(len(frame), None)
    given = frame[cv.YEAR]
    found = dates.years(given)
    wrong = given.notna() & found.isna()
    if wrong.any():
        raise VectorError(
            f"{what} have the year {given[wrong].iloc[0]!s} ({int(wrong.sum())} rows of {len(frame)}): give whole "
            "years in the column 'year', such as 2024"
        )
    return np.array([None if np.isnan(one) else int(one) for one in found], dtype=object)


def one_side(polygons: Geometries) -> Geometries:
    """Bring the vertices on the 180th meridian to the side of their polygon, in longitude and latitude.

    A vertex at 180 degrees that went through another CRS may come back at -180: the polygon then goes around the globe.
    """
    west, _, east, _ = shapely.bounds(polygons).T
    found = polygons.copy()
    for number in np.flatnonzero(east - west > 180):
        lonlat = shapely.get_coordinates(polygons[number])
        on = np.abs(lonlat[:, 0]) > 180 - 1e-7
        sides = np.unique(np.sign(lonlat[~on, 0]))
        if sides.size == 1:
            lonlat[on, 0] = 180 * sides[0]
            found[number] = shapely.set_coordinates(polygons[number], lonlat)
    return found


def _polygonal(geometry: Any) -> Any:
    """Keep the polygons of a geometry."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts) if parts else shapely.Polygon()


def plane_of(*frames: gpd.GeoDataFrame) -> pyproj.CRS:
    """Return the equal-area plane in metres around the polygons' boxes."""
    import geopandas as gpd

    points = [np.empty((0, 2))]
    for frame in frames:
        if len(frame):
            box = shapely.box(*frame.total_bounds)
            dense = gpd.GeoSeries([shapely.segmentize(box, box.length / 100)], crs=frame.crs)
            points.append(shapely.get_coordinates(dense.to_crs(4326).values))
    return plane.around(np.concatenate(points))


def centre_of(frame: gpd.GeoDataFrame) -> tuple[float, float]:
    """Return the longitude and the latitude of the middle of polygons, on both sides of 180 degrees too."""
    return plane.middle(frame.to_crs(4326).bounds.to_numpy().reshape(-1, 2))


def areas_km2(frame: gpd.GeoDataFrame) -> npt.NDArray[np.float64]:
    """Area of each polygon on WGS 84, km2, holes left out; for outlines, whose edges are short (tens of metres)."""
    if not len(frame):
        return np.empty(0)
    return np.asarray(frame.geometry.to_crs(plane_of(frame)).area.to_numpy(dtype=float) / 1e6)


def glims_ids(points: Geometries) -> list[str]:
    """Name glaciers as GLIMS does: G, longitude east in 1e-3 degrees, E, latitude in 1e-3 degrees, N or S.

    Parameters
    ----------
    points
        Points in longitude and latitude; two that round to the same id get neighbouring ones, in order.

    Examples
    --------
    >>> glims_ids(shapely.points([[15.75, 78.1234], [-70.0, -33.5]]))
    ['G015750E78123N', 'G290000E33500S']
    """
    taken: set[str] = set()
    names = []
    for lon, lat in shapely.get_coordinates(points):
        east = round(float(lon) % 360 * 1000)
        while (name := f"G{east % 360_000:06d}E{round(abs(float(lat)) * 1000):05d}{'S' if lat < 0 else 'N'}") in taken:
            east += 1
        taken.add(name)
        names.append(name)
    return names


def is_glims(name: str) -> bool:
    """Tell whether an id is of GLIMS' form."""
    return len(name) == 14 and name[0] == "G" and name[7] == "E" and name[13] in "NS" and name[1:7].isdigit()
