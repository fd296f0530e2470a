"""Polygons with holes from closed rings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from icemapper_xr.vectorise import measures, tracing

__all__ = ["Bodies", "assemble", "build", "inside"]

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Bodies:
    """Which rings make a polygon: one outer ring each, and the holes in it."""

    outer: IntArray
    """(n_bodies,) ring number of each outer ring, ascending."""
    holes: IntArray
    """(n_holes,) ring number of each hole, grouped by body, ascending in it."""
    body: IntArray
    """(n_holes,) position in `outer` of the body that each hole is in, ascending."""


def assemble(rings: tracing.Rings) -> Bodies:
    """Tell outer rings from holes by their sense, and find for each hole the smallest outer ring around it."""
    x, y = rings.locate((0.0, 1.0), (0.0, -1.0))
    area = measures.shoelace(x, y, rings.offsets)
    outer, holes = np.flatnonzero(area > 0), np.flatnonzero(area < 0)
    if not holes.size:
        return Bodies(outer, holes, np.empty(0, np.int64))
    first = rings.starts[holes]
    body = _smallest_around(x[first], y[first], *_shells(rings, outer, x, y), area[outer])
    order = np.lexsort((holes, body))
    return Bodies(outer, holes[order], body[order])


def inside(rings: tracing.Rings, holes: IntArray) -> npt.NDArray[np.bool_]:
    """Tell which rings lie in one of some holes, however deep: (n_rings,) bool; a hole is not in itself."""
    found = np.zeros(len(rings), dtype=bool)
    if not holes.size:
        return found
    x, y = rings.locate((0.0, 1.0), (0.0, -1.0))
    first: Any = shapely.points(x[rings.starts], y[rings.starts])
    shells, _ = _shells(rings, holes, x, y)
    hole, ring = shapely.STRtree(first).query(shells, predicate="contains")
    found[ring[holes[hole] != ring]] = True
    return found


def _shells(
    rings: tracing.Rings, outer: IntArray, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.object_], shapely.STRtree]:
    shells = build(x, y, rings.offsets, Bodies(outer, np.empty(0, np.int64), np.empty(0, np.int64)))
    return shells, shapely.STRtree(shells)


def _smallest_around(
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    shells: npt.NDArray[np.object_],
    tree: shapely.STRtree,
    areas: npt.NDArray[np.float64],
) -> IntArray:
    """For each point the smallest shell that contains it; rings never touch, so one vertex of a hole decides."""
    point, shell = tree.query(shapely.points(x, y))
    order = np.argsort(shell, kind="stable")
    point, shell = point[order], shell[order]
    best = np.full(x.size, -1, np.int64)
    for group in np.split(np.arange(shell.size), np.flatnonzero(np.diff(shell)) + 1):
        number = int(shell[group[0]])
        geometry = shells[number]
        shapely.prepare(geometry)  # a large glacier has 1e5 vertices and many nunataks
        within = point[group][shapely.contains_xy(geometry, x[point[group]], y[point[group]])]
        shapely.destroy_prepared(geometry)
        worse = (best[within] < 0) | (areas[best[within]] > areas[number])
        best[within[worse]] = number
    assert (best >= 0).all(), "every hole lies in an outer ring"
    return best


def build(x: Any, y: Any, offsets: IntArray, bodies: Bodies) -> npt.NDArray[np.object_]:
    """Make shapely polygons: outer rings first, then the holes of each; x, y of all rings' vertices."""
    count = bodies.outer.size
    if not count:
        return np.empty(0, dtype=object)
    ring = np.concatenate([bodies.outer, bodies.holes])
    owner = np.concatenate([np.arange(count), bodies.body])
    ring = ring[np.argsort(owner, kind="stable")]  # an outer ring comes before its holes
    per_polygon = 1 + np.bincount(bodies.body, minlength=count)
    sizes = np.diff(offsets)[ring] + 1  # closed
    ends = np.cumsum(sizes)
    place = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)
    place[ends - 1] = 0
    vertex = np.repeat(offsets[:-1][ring], sizes) + place
    coordinates = np.column_stack([x[vertex], y[vertex]])
    ring_offsets = np.concatenate([[0], ends])
    polygon_offsets = np.concatenate([[0], np.cumsum(per_polygon)])
    made = shapely.from_ragged_array(shapely.GeometryType.POLYGON, coordinates, (ring_offsets, polygon_offsets))
    return np.asarray(made, dtype=object)
