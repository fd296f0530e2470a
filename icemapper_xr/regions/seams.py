"""Outlines of several zones: cut where a zone's part ends, and joined with what the neighbour has there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions as cv
from icemapper_xr import vectorise
from icemapper_xr.regions import shape as shapes
from icemapper_xr.regions import utm

if TYPE_CHECKING:
    import geopandas as gpd
    from shapely.geometry.base import BaseGeometry

__all__ = ["join"]

_EXACT: Final = 1e-9
"""Degrees (0.1 mm) within which a vertex is meant to lie on a border: overlays leave rounding behind."""

Array = npt.NDArray[np.float64]


class _Piece(NamedTuple):
    """A part of a body that an edge of the zone's own part cuts."""

    shape: BaseGeometry
    """In degrees, -180 to 180."""
    zone: int
    """Position of the zone."""
    touches: bool
    """Whether the area itself ends there."""


def join(
    drawn: Sequence[tuple[utm.Zone, gpd.GeoDataFrame]], *, min_area_km2: float = cv.MIN_AREA_KM2
) -> gpd.GeoDataFrame:
    """Cut the outlines of each zone to what the zone owns, and join those that meet at a border.

    Parameters
    ----------
    drawn
        Zones with their outlines of one year in the zone's CRS, drawn some pixels past the zone's own part, small
        bodies included (a body that a border cuts may be small on either side).
    min_area_km2
        Smallest body kept, after joining.

    Returns
    -------
    geopandas.GeoDataFrame
        Columns of `icemapper_xr.vectorise.outlines`, EPSG:4326, measured on WGS 84. Bodies that cross the antimeridian
        are cut there, as GeoJSON demands, into the parts of one multipolygon. Of a body that is cut, `touches_edge`
        tells only whether the area ends there.
    """
    import geopandas as gpd
    import pandas as pd

    whole: list[gpd.GeoDataFrame] = []
    pieces: list[_Piece] = []
    for number, (zone, frame) in enumerate(drawn):
        inside, cut = _cut(zone, frame, number)
        whole.append(inside)
        pieces += cut
    years = {int(value) for _, frame in drawn for value in frame["year"].dropna()}
    frames = [frame for frame in (*whole, _joined(pieces, next(iter(years), None))) if len(frame)]
    if not frames:
        return whole[0]
    every = gpd.GeoDataFrame(pd.concat(frames, ignore_index=True), crs="EPSG:4326")
    kept = every[every["area_km2"] >= min_area_km2]
    edges = kept.geometry.bounds
    order = np.lexsort((edges["minx"], -edges["maxy"]))
    columns = list(vectorise.COLUMNS)
    return kept.iloc[order].reset_index(drop=True).astype({"year": "Int32", "n_holes": "int32"})[columns]


def _cut(zone: utm.Zone, frame: gpd.GeoDataFrame, number: int) -> tuple[gpd.GeoDataFrame, list[_Piece]]:
    """Return the outlines that lie inside what the zone owns, and the parts of those that it cuts."""
    import shapely

    degrees = zone.to_degrees(frame.geometry.values)
    shapely.prepare(zone.owned)
    inside = shapely.contains_properly(zone.owned, degrees)
    kept = frame[inside].set_geometry(degrees[inside], crs="EPSG:4326")
    ends = shapely.difference(shapely.boundary(zone.owned), shapely.buffer(shapely.boundary(zone.cell), _EXACT))
    pieces = []
    for shape in degrees[~inside & shapely.intersects(zone.owned, degrees)]:
        both = shapely.intersection(shape if shape.is_valid else shapely.make_valid(shape), zone.owned)
        for part in shapely.get_parts(shapes.polygons(both)):
            if part.area > 0:
                touches = bool(shapely.dwithin(shapely.boundary(part), ends, _EXACT)) if not ends.is_empty else False
                pieces.append(_Piece(_on_borders(part), number, touches))
    return kept, pieces


def _on_borders(shape: BaseGeometry) -> BaseGeometry:
    """Put vertices that lie on a border of zones (to 0.1 mm) exactly there, so that neighbours share it."""
    import shapely

    def there(xy: Array) -> Array:
        lines = np.round(xy / [utm.STEP, 1.0]) * [utm.STEP, 1.0]
        near = np.abs(xy - lines) < _EXACT
        near[:, 1] &= np.isin(lines[:, 1], utm.PARALLELS)
        return np.where(near, lines, xy)

    moved = shapely.transform(shape, there)
    return moved if moved.is_valid else shapely.make_valid(moved)


def _joined(pieces: Sequence[_Piece], year: int | None) -> gpd.GeoDataFrame:
    import geopandas as gpd

    rows = [_body([pieces[k] for k in group], year) for group in _groups(pieces)]
    return gpd.GeoDataFrame(rows, columns=list(vectorise.COLUMNS), geometry="geometry", crs="EPSG:4326")


def _groups(pieces: Sequence[_Piece]) -> list[list[int]]:
    """Put together the pieces of different zones that share a stretch of border, across the antimeridian too."""
    import shapely
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not pieces:
        return []
    here = np.array([piece.shape for piece in pieces], dtype=object)
    tree = shapely.STRtree(here)
    links: list[tuple[int, int]] = []
    for turn in (0.0, 360.0):
        there = here if turn == 0 else utm.turned(here, 360.0)
        for a, b in tree.query(there, predicate="intersects").T:
            if pieces[a].zone != pieces[b].zone and shapely.intersection(there[a], here[b]).length > 0:
                links.append((int(a), int(b)))
    rows, columns = zip(*links, strict=True) if links else ((), ())
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(len(pieces),) * 2)
    _, labels = connected_components(graph, directed=False)
    return [list(np.flatnonzero(labels == label)) for label in np.unique(labels)]


def _body(group: Sequence[_Piece], year: int | None) -> dict[str, Any]:
    """Unite the pieces of a body and measure it."""
    import pyproj
    import shapely

    shapes_there = [piece.shape for piece in group]
    longitudes = shapely.bounds(shapes_there)
    crosses = longitudes[:, 2].max() - longitudes[:, 0].min() > 180
    if crosses:
        shapes_there = [
            utm.turned(shape, 360.0) if edges[0] < 0 else shape
            for shape, edges in zip(shapes_there, longitudes, strict=True)
        ]
    body = shapely.union_all(shapes_there)
    area, perimeter = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shapely.orient_polygons(body))
    vertices = shapely.get_coordinates(body)
    top = vertices[np.argmax(vertices[:, 1])]
    rings = sum(shapely.get_num_interior_rings(part) for part in shapely.get_parts(body))
    return {
        "id": vectorise.body_ids(top[:1], top[1:])[0],
        "year": year,
        "area_km2": abs(area) / 1e6,
        "perimeter_km": perimeter / 1e3,
        "n_holes": int(rings),
        "touches_edge": any(piece.touches for piece in group),
        "geometry": _in_halves(body) if crosses else body,
    }


def _in_halves(body: BaseGeometry) -> BaseGeometry:
    """Cut a body at the antimeridian."""
    import shapely

    west = shapely.intersection(body, shapely.box(0, -90, 180, 90))
    east = utm.turned(shapely.intersection(body, shapely.box(180, -90, 540, 90)), -360.0)
    parts = [part for side in (west, east) for part in shapely.get_parts(shapes.polygons(side))]
    return shapely.MultiPolygon(parts)
