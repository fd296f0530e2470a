"""Cut polygons along lines into pieces that fit without a gap, and name the pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from icemapper_xr.inventory.elevation import Relief
from icemapper_xr.inventory.shapes import Geometries

__all__ = ["Zones", "cut", "zones"]

Labeller = Callable[[Geometries], npt.NDArray[np.int64]]
GROWN: int = 4
"""Cells by which labels are grown beyond the ice, so that divides reach across every outline."""


class Zones:
    """Labelled areas without gaps between them, from labelled cells, with smoothed borders.

    Parameters
    ----------
    areas, labels
        Polygons and the label of each.
    """

    def __init__(self, areas: Geometries, labels: npt.NDArray[np.int64]) -> None:
        self.areas, self.labels = areas, labels
        self._tree = shapely.STRtree(areas)

    @property
    def divides(self) -> Any:
        """The lines between areas of different labels, and around them."""
        return shapely.union_all(shapely.boundary(self.areas))

    def at(self, points: Geometries) -> npt.NDArray[np.int64]:
        """Tell the label at each point; beyond all areas that of the nearest."""
        return np.asarray(self.labels[self._tree.query_nearest(points, all_matches=False)[1]], np.int64)


def zones(labels: npt.NDArray[np.int32], relief: Relief) -> Zones:
    """Turn labelled cells into areas; the staircase along the cells is smoothed, the same for both sides.

    Parameters
    ----------
    labels
        (rows, columns) on the grid of `relief`, 0 outside; grown by some cells first.
    relief
        The grid.
    """
    from rasterio.features import shapes
    from skimage.segmentation import expand_labels

    grown = expand_labels(labels, GROWN).astype(np.int32)
    found = list(shapes(grown, mask=grown > 0, connectivity=4, transform=relief.transform))
    areas = np.array([shapely.geometry.shape(geometry) for geometry, _ in found], dtype=object)
    names = np.array([int(value) for _, value in found], np.int64)
    # Visvalingam-Whyatt on the common edges: 1.5 cells take the steps off and keep bends of two cells
    smooth = shapely.coverage_simplify(areas, 1.5 * relief.cell, simplify_boundary=False)
    return Zones(np.asarray(smooth, dtype=object), names)


def cut(body: Any, lines: Any, label: Labeller, *, smallest: float = 0.0) -> list[tuple[int, Any]]:
    """Cut a polygon along lines; pieces of one label that touch are one.

    Parameters
    ----------
    body
        Polygon.
    lines
        Lines to cut along; ends that lie free inside the body cut nothing.
    label
        Tells the label of points inside the pieces.
    smallest
        Area below which a piece joins the neighbour with the longest common border, in units of the CRS.

    Returns
    -------
    list of (int, Polygon)
        The pieces, which tile the body exactly; by label, in each the largest first.
    """
    # The lines are not clipped: an end computed to lie on the outline would miss it by a rounding, and cut nothing.
    faces = shapely.get_parts(shapely.polygonize([shapely.union(body.boundary, lines)]))
    within = shapely.point_on_surface(faces)
    shapely.prepare(body)
    keep = shapely.contains_properly(body, within)
    faces, within = faces[keep], within[keep]
    if not faces.size:
        return [(int(label(np.array([body.point_on_surface()], dtype=object))[0]), body)]
    labels = label(within)
    pieces = [
        (int(one), part)
        for one in np.unique(labels)
        for part in shapely.get_parts(shapely.union_all(faces[labels == one]))
    ]
    return sorted(_swallow(pieces, smallest), key=lambda piece: (piece[0], -piece[1].area))


def _swallow(pieces: list[tuple[int, Any]], smallest: float) -> list[tuple[int, Any]]:
    """Give pieces that are too small to the neighbour with the longest common border, the smallest first."""
    pieces = sorted(pieces, key=lambda piece: piece[1].area)
    k = 0
    while len(pieces) > 1 and k < len(pieces) and pieces[k][1].area < smallest:
        shape = pieces[k][1]
        others = [n for n in range(len(pieces)) if n != k]
        common = [shapely.intersection(shape.boundary, pieces[n][1].boundary).length for n in others]
        if max(common) <= 0:  # an island of its own
            k += 1
            continue
        into = others[int(np.argmax(common))]
        merged = (pieces[into][0], shapely.union(pieces[into][1], shape))
        pieces = sorted([piece for n, piece in enumerate(pieces) if n not in (k, into)] + [merged], key=_area)
        k = 0
    return pieces


def _area(piece: tuple[int, Any]) -> float:
    return float(piece[1].area)
