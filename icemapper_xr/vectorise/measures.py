"""Area and length on the WGS 84 ellipsoid, for whole lists of rings at once."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icemapper_xr import errors, lonlat

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["areas_km2", "polygon_measures", "ring_measures", "shoelace", "total_area_km2"]

DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

A = 6_378_137.0
"""Semi-major axis of WGS 84, metres."""
F = 1 / 298.257223563
"""Flattening of WGS 84."""
E2 = F * (2 - F)
E = E2**0.5
SMALL_ANGLE = 1e-4
"""Radians; the chord of an arc that is no longer is shorter than it by less than 1e-9."""
NEAR_POLE = math.radians(89)
"""Latitude, radians, beyond which a segment of an outline may see a pole at an angle that counts."""
PIECE = 1 << 17
"""Vertices of the rings that are measured at a time: a dozen arrays of them are held."""


def next_vertex(offsets: IntArray) -> IntArray:
    """Index of the vertex after each one, around its ring."""
    following = np.arange(1, offsets[-1] + 1, dtype=np.int64)
    following[offsets[1:] - 1] = offsets[:-1]
    return following


def shoelace(x: DoubleArray, y: DoubleArray, offsets: IntArray) -> DoubleArray:
    """Signed planar area of each ring, positive if anticlockwise; rings are given without the closing vertex."""
    if offsets.size < 2:
        return np.empty(0)
    sizes = np.diff(offsets)
    u = x - np.repeat(x[offsets[:-1]], sizes)  # relative to the ring's first vertex: no loss of digits
    v = y - np.repeat(y[offsets[:-1]], sizes)
    following = next_vertex(offsets)
    return np.asarray(np.add.reduceat(u * v[following] - u[following] * v, offsets[:-1]) / 2)


def ring_measures(lon: DoubleArray, lat: DoubleArray, offsets: IntArray) -> tuple[DoubleArray, DoubleArray]:
    """Signed area (m2, positive if anticlockwise) and length (m) of each ring on WGS 84.

    The authalic function maps latitude to an equal-area cylinder (Snyder 1987, Map Projections, eq. 3-12), on which
    the area is planar; a segment's length is that of its chord with the radii of curvature at its middle. For the
    10 m segments of an outline both equal the geodesic ones to 1e-9; do not use them for segments of many kilometres.
    A ring that runs around a pole encloses it.

    Parameters
    ----------
    lon, lat
        Degrees, of all vertices, rings one after the other without the closing vertex.
    offsets
        (n_rings + 1,) where each ring begins.
    """
    if offsets.size < 2:
        return np.empty(0), np.empty(0)
    begins = np.searchsorted(offsets[:-1], np.arange(0, offsets[-1], PIECE))
    measured = []
    for first, last in itertools.pairwise(np.unique(np.append(begins, offsets.size - 1))):
        vertices = slice(offsets[first], offsets[last])
        measured.append(_measured(lon[vertices], lat[vertices], offsets[first : last + 1] - offsets[first]))
    areas, lengths = zip(*measured, strict=True)
    return np.concatenate(areas), np.concatenate(lengths)


def _measured(lon: DoubleArray, lat: DoubleArray, offsets: IntArray) -> tuple[DoubleArray, DoubleArray]:
    following = next_vertex(offsets)
    east = np.radians((lon[following] - lon + 180.0) % 360.0 - 180.0)  # across 180 degrees, too
    phi = np.radians(lat)
    return _areas(east, phi, offsets, following), _lengths(east, phi, offsets, following)


def _areas(east: DoubleArray, phi: DoubleArray, offsets: IntArray, following: IntArray) -> DoubleArray:
    """Area between each segment, which runs `east` radians to the east, and a parallel: that of the first vertex.

    Around a pole the parallel is the pole itself. Elsewhere any gives the same area, and a near one loses no digits.
    """
    q, pole = A**2 / 2 * _authalic(np.sin(phi)), A**2 / 2 * float(_authalic(np.ones(1))[0])
    bent = _beside_poles(east, phi, pole - np.abs(q), following)
    turns = np.round(np.add.reduceat(east, offsets[:-1]) / (2 * np.pi))
    end = np.copysign(pole, np.add.reduceat(phi, offsets[:-1]))
    q -= np.repeat(np.where(turns == 0, q[offsets[:-1]], end), np.diff(offsets))
    return np.asarray(np.add.reduceat(bent - east * (q + q[following]) / 2, offsets[:-1]))


def _beside_poles(east: DoubleArray, phi: DoubleArray, beyond: DoubleArray, following: IntArray) -> DoubleArray:
    """Return the area between a straight segment beside a pole and the cylinder's, which bends around it; else 0.

    `beyond` is the area of the cap above each vertex by 2 pi: half the square of its distance from the pole in the
    polar equal-area plane.
    """
    beside = np.abs(phi) > NEAR_POLE
    if not beside.any():
        return np.zeros(1)
    first, second = beyond[beside], beyond[following][beside]
    turned = east[beside]
    triangle = np.sqrt(np.clip(first, 0, None) * np.clip(second, 0, None)) * np.sin(turned)
    bent = np.zeros_like(east)
    bent[beside] = np.sign(phi[beside]) * (triangle - turned * (first + second) / 2)
    return bent


def _lengths(east: DoubleArray, phi: DoubleArray, offsets: IntArray, following: IntArray) -> DoubleArray:
    cosine = np.cos(phi)
    squared = np.abs(cosine * cosine[following])  # of the middle latitude, but for the square of its distance
    square = 1 - E2 * (1 - squared)
    root = np.sqrt(square)
    north = A * (1 - E2) / (square * root) * (phi[following] - phi)
    # the chord of both ends' parallels: where these are small circles around a pole, too
    across = A / root * np.sqrt(squared) * _chords(east)
    return np.asarray(np.add.reduceat(np.hypot(north, across), offsets[:-1]))


def _chords(angles: DoubleArray) -> DoubleArray:
    """Return 2 sin(a / 2), which small angles are themselves."""
    chords, wide = angles.copy(), np.abs(angles) > SMALL_ANGLE
    chords[wide] = 2 * np.sin(angles[wide] / 2)
    return chords


def _authalic(sine: DoubleArray) -> DoubleArray:
    return np.asarray((1 - E2) * (sine / (1 - E2 * sine**2) + np.arctanh(E * sine) / E))


def polygon_measures(polygons: npt.NDArray[np.object_]) -> tuple[DoubleArray, DoubleArray]:
    """Area (m2, holes left out) and perimeter (m, holes counted) of polygons in longitude and latitude, on WGS 84.

    Parts of a MultiPolygon add up.
    """
    import shapely

    if not polygons.size:
        return np.empty(0), np.empty(0)
    parts, polygon_of = shapely.get_parts(polygons, return_index=True)
    rings, part_of = shapely.get_rings(parts, return_index=True)
    coordinates, ring = shapely.get_coordinates(rings, return_index=True)
    last = np.r_[ring[1:] != ring[:-1], True]  # closing vertices
    coordinates, sizes = coordinates[~last], np.bincount(ring[~last], minlength=rings.size)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    area, length = ring_measures(coordinates[:, 0], coordinates[:, 1], offsets)
    outer = np.r_[True, part_of[1:] != part_of[:-1]]  # of a part the outer ring comes first, then its holes
    signed = np.where(outer, np.abs(area), -np.abs(area))
    total, around = (np.bincount(polygon_of[part_of], values, polygons.size) for values in (signed, length))
    return np.asarray(total, np.float64), np.asarray(around, np.float64)


def areas_km2(polygons: gpd.GeoDataFrame) -> DoubleArray:
    """Geodesic area of each polygon on WGS 84, km2, holes left out; edges are straight in the polygons' own CRS.

    Parameters
    ----------
    polygons
        In any CRS; in degrees an edge is a geodesic. The column `area_km2` is not used.

    Raises
    ------
    VectorError
        If they have no CRS.
    """
    import pyproj

    geod = pyproj.Geod(ellps="WGS84")
    crs = polygons.crs
    if crs is None:
        raise errors.VectorError("The polygons have no CRS, so their areas are unknown: set it with set_crs(...)")
    shapes = polygons.geometry
    if not crs.is_geographic:
        shapes = shapes.segmentize(lonlat.edge(crs))
    return np.array([_geodesic_m2(geod, shape) / 1e6 for shape in shapes.to_crs(4326)])


def _geodesic_m2(geod: Any, shape: Any) -> float:
    """Area of a polygon, ring by ring: which way one runs that goes around a pole cannot be told from its degrees."""
    import shapely

    def of(ring: Any) -> float:
        return abs(float(geod.polygon_area_perimeter(*shapely.get_coordinates(ring).T)[0]))

    parts = () if shape is None else shapely.get_parts(shape)
    return sum(of(part.exterior) - sum(map(of, part.interiors)) for part in parts)


def total_area_km2(polygons: gpd.GeoDataFrame) -> float:
    """Sum of `areas_km2`."""
    return float(areas_km2(polygons).sum())
