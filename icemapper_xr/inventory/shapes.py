"""Polygons of glaciers made fit for use: one CRS, valid, measured on an equal-area plane."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import shapely

from icemapper_xr.errors import VectorError

if TYPE_CHECKING:
    import geopandas as gpd
    import pyproj

__all__ = ["Geometries", "areas_km2", "centre_of", "glims_ids", "plane_of", "usable"]

Geometries = npt.NDArray[np.object_]


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
        If there is no CRS, or there are geometries but no polygon among them.

    Warns
    -----
    UserWarning
        If geometries had to be mended or left out; says how many.
    """
    if frame.crs is None:
        raise VectorError(f"{what} have no CRS: set it with set_crs(...), or write them to a file that keeps it")
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


def _polygonal(geometry: Any) -> Any:
    """Keep the polygons of a geometry."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts) if parts else shapely.Polygon()


def plane_of(*frames: gpd.GeoDataFrame) -> pyproj.CRS:
    """Return an equal-area plane in metres, centred on the polygons.

    Lambert's azimuthal projection of the ellipsoid keeps areas exactly (Snyder 1987, Map Projections, p. 187); over
    300 km from its centre lengths are within 0.1 %.
    """
    import geopandas as gpd
    import pyproj

    boxes = [shapely.box(*frame.total_bounds) for frame in frames if len(frame)]
    crs = [frame.crs for frame in frames if len(frame)]
    if not boxes:
        return pyproj.CRS.from_proj4("+proj=laea +lat_0=90 +lon_0=0 +datum=WGS84 +units=m")
    dense = [shapely.segmentize(box, box.length / 100) for box in boxes]
    points = np.concatenate(
        [
            shapely.get_coordinates(gpd.GeoSeries([box], crs=one).to_crs(4326).values)
            for box, one in zip(dense, crs, strict=True)
        ]
    )
    lon, lat = _mean(points)
    # Whole tenths: the same plane, and so the same digits, for areas that differ a little.
    return pyproj.CRS.from_proj4(f"+proj=laea +lat_0={lat:.1f} +lon_0={lon:.1f} +datum=WGS84 +units=m +no_defs")


def _mean(points: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return the longitude and the latitude of the middle of points on the sphere."""
    east, north = np.radians(points).T
    mean = np.mean([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=1)
    lon = np.degrees(np.arctan2(mean[1], mean[0]))
    return float(lon), float(np.degrees(np.arctan2(mean[2], np.hypot(mean[0], mean[1]))))


def centre_of(frame: gpd.GeoDataFrame) -> tuple[float, float]:
    """Return the longitude and the latitude of the middle of polygons, on both sides of 180 degrees too."""
    return _mean(frame.to_crs(4326).bounds.to_numpy().reshape(-1, 2))


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
