"""Contour lines of a raster that comes block by block: marching squares in numpy.

The raster is padded by one missing sample on every side, so that every line closes. A vertex lies on a grid edge, the
piece of a row or column between two neighbouring samples, and is described by the number of that edge and by its
place `t` on it (0..1 from the sample above or left). A line that leaves a block ends on an edge of the border that
the neighbour's line begins on: joining is a look-up of integers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr import errors

__all__ = ["Block", "Rings", "trace"]

IntArray = npt.NDArray[np.int64]
DoubleArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

GAP = 1e-6
"""A vertex keeps this distance, in pixels, from the samples: rings then neither touch nor degenerate."""


class Block(NamedTuple):
    """A piece of the raster; blocks come row by row, each row from left to right, and cover the raster."""

    row: int
    column: int
    values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rings:
    """Closed lines, one after the other, each begun at its smallest edge number, sorted by it.

    Rings run with the higher values on their left as seen on a map (rows downward): outer rings are anticlockwise.
    """

    edges: IntArray
    """(n_vertices,) number of the edge: 2 * (row * width + column) + (1 if it runs down, 0 if it runs right)."""
    t: DoubleArray
    """(n_vertices,) place on the edge, 0..1."""
    missing: BoolArray
    """(n_vertices,) whether one of the edge's samples is missing."""
    offsets: IntArray
    """(n_rings + 1,) where each ring begins."""
    width: int
    """Columns of the padded raster."""

    @property
    def starts(self) -> IntArray:
        """Where each ring begins, without the last offset."""
        return self.offsets[:-1]

    def __len__(self) -> int:
        return self.offsets.size - 1

    def locate(self, x: tuple[float, float], y: tuple[float, float]) -> tuple[DoubleArray, DoubleArray]:
        """Give the coordinates (x, y) of the vertices, from the first pixel centre and the step of both axes.

        The centre first, then the place on the edge: so the same edge of a larger raster gets the same digits.
        """
        sample = self.edges >> 1
        down = (self.edges & 1).astype(bool)
        at_x = x[0] + (sample % self.width - 1) * x[1] + np.where(down, 0.0, self.t * x[1])
        at_y = y[0] + (sample // self.width - 1) * y[1] + np.where(down, self.t * y[1], 0.0)
        return np.asarray(at_x, np.float64), np.asarray(at_y, np.float64)


class _Lines(NamedTuple):
    edges: IntArray
    t: DoubleArray
    missing: BoolArray


def trace(blocks: Iterable[Block], shape: tuple[int, int], level: float) -> Rings:
    """Trace the lines at `level`; a sample equal to it counts as inside, a missing one (NaN) as 0 and outside.

    Parameters
    ----------
    blocks
        Pieces of the raster in order; only one row of samples is kept between them.
    shape
        Rows and columns of the raster.
    level
        Threshold, above 0.
    """
    width = shape[1] + 2
    closed: list[_Lines] = []
    open_lines: list[_Lines] = []
    for block in _overlapping(blocks, shape):
        for line in _lines(block, width, level):
            (closed if line.edges[0] == line.edges[-1] else open_lines).append(line)
    return _rings([*closed, *_join(open_lines)], width)


def _overlapping(blocks: Iterable[Block], shape: tuple[int, int]) -> Iterator[Block]:
    """Add to each block the last row above it and the last column left of it, and the padding at the outer border.

    Rows and columns are now those of the padded raster.
    """
    rows, columns = shape
    above = np.full(columns + 2, np.nan, np.float32)
    below = above.copy()
    left = np.empty(0, np.float32)
    for row, column, values in blocks:
        height, width = values.shape
        last_row, last_column = row + height == rows, column + width == columns
        if column == 0:
            above, below = below, np.full_like(below, np.nan)
            left = np.full(height, np.nan, np.float32)
        whole = np.empty((1 + height + last_row, 1 + width + last_column), np.float32)
        whole[0] = above[column : column + whole.shape[1]]
        whole[1 : height + 1, 0] = left
        whole[1 : height + 1, 1 : width + 1] = values
        whole[height + 1 :] = np.nan
        whole[:, width + 1 :] = np.nan
        left = whole[1 : height + 1, width].copy()
        below[column + 1 : column + 1 + width] = values[-1]
        yield Block(row, column, whole)


def _lines(block: Block, width: int, level: float) -> Iterator[_Lines]:
    """Trace the lines of one block; one that leaves the block ends on an edge of its border."""
    inside = block.values >= np.float32(level)
    sample, down = _crossed(inside)
    if not sample.size:
        return
    t, missing = _places(block.values, sample, down, level)
    order, offsets = _walk(*_following(block.values, inside, sample, down, level))
    row, column = np.divmod(sample, block.values.shape[1])
    edges = 2 * ((row + block.row) * width + column + block.column) + down
    edges, t, missing = edges[order], t[order], missing[order]
    for begin, end in itertools.pairwise(offsets):
        yield _Lines(edges[begin:end], t[begin:end], missing[begin:end])


def _crossed(inside: BoolArray) -> tuple[IntArray, BoolArray]:
    """Find the crossed edges: number of the first sample in the block, and whether it runs down; sorted by edge."""
    columns = inside.shape[1]
    right = np.flatnonzero(inside[:, :-1] != inside[:, 1:])
    right += right // (columns - 1)  # numbers of samples
    below = np.flatnonzero(inside[:-1] != inside[1:])
    edge = np.concatenate([2 * right, 2 * below + 1])
    edge.sort(kind="stable")  # merges two sorted runs
    return edge >> 1, (edge & 1).astype(bool)


def _places(
    values: npt.NDArray[np.float32], sample: IntArray, down: BoolArray, level: float
) -> tuple[DoubleArray, BoolArray]:
    """Interpolate where each edge is crossed, and tell whether one of its samples is missing."""
    flat = values.ravel()
    first = flat[sample].astype(np.float64)
    second = flat[sample + np.where(down, values.shape[1], 1)].astype(np.float64)
    missing = np.isnan(first) | np.isnan(second)
    first, second = np.nan_to_num(first, nan=0.0), np.nan_to_num(second, nan=0.0)
    low, high = min(first.min(), second.min()), max(first.max(), second.max())
    if low < 0 or high > 1 + 1e-3:
        raise errors.VectorError(
            f"The values reach from {low:g} to {high:g}: not probabilities (0 to 1); scale them first"
        )
    return np.clip((level - first) / (second - first), GAP, 1 - GAP), missing


_NORTH, _EAST, _SOUTH, _WEST = range(4)
# of the cell that a line enters, from its upper left sample: where the sample ahead on the left and on the right lies
_AHEAD_LEFT = np.array([(0, 0), (0, 1), (1, 1), (1, 0)])
_AHEAD_RIGHT = np.array([(0, 1), (1, 1), (1, 0), (0, 0)])
# the edge by which a line leaves the cell: its first sample, and whether it runs down
_EXIT = np.array([(0, 0), (0, 1), (1, 0), (0, 0)])
_EXIT_DOWN = np.array([0, 1, 0, 1])


def _following(
    values: npt.NDArray[np.float32], inside: BoolArray, sample: IntArray, down: BoolArray, level: float
) -> tuple[list[int], list[int]]:
    """Find for each vertex the next one of its line (-1 where it leaves the block), and the vertices that begin one.

    With the inside on its left, a line crosses an edge in one sense only, which gives the cell that it enters. There
    it goes straight on if the sample ahead on the left is inside and that on the right is not, else it turns right
    if the right one is inside, else left. Where only the right one is inside the cell is a saddle: the line turns
    right if the mean of the four samples is inside.
    """
    rows, columns = inside.shape
    flat = inside.ravel()
    heading = np.where(flat[sample], np.where(down, _EAST, _NORTH), np.where(down, _WEST, _SOUTH))
    # a cell has the number of its upper left sample; those of the last row and column are no cells
    row, column = np.divmod(sample, columns)
    row -= heading == _NORTH
    column -= heading == _WEST
    stays = (row >= 0) & (row < rows - 1) & (column >= 0) & (column < columns - 1)
    heading, cell = heading[stays], (row * columns + column)[stays]

    def at(places: npt.NDArray[np.int_], heading: IntArray) -> IntArray:
        return np.asarray(cell + (places @ (columns, 1))[heading], np.int64)

    left, right = flat[at(_AHEAD_LEFT, heading)], flat[at(_AHEAD_RIGHT, heading)]
    saddle = np.flatnonzero(right & ~left)
    joined = left.copy()
    joined[saddle] = _middle(values, cell[saddle]) >= level
    turn = np.where(right & joined, 1, np.where(left, 0, 3))
    heading = (heading + turn) % 4
    leaves = 2 * at(_EXIT, heading) + _EXIT_DOWN[heading]

    following = np.full(sample.size, -1, np.int64)
    following[stays] = np.searchsorted(2 * sample + down, leaves)
    entered = np.zeros(sample.size, bool)
    entered[following[stays]] = True
    return following.tolist(), np.flatnonzero(~entered).tolist()


def _middle(values: npt.NDArray[np.float32], cell: IntArray) -> DoubleArray:
    corners = [values.ravel()[cell + i * values.shape[1] + j].astype(np.float64) for i in (0, 1) for j in (0, 1)]
    a, b, c, d = (np.nan_to_num(corner, nan=0.0) for corner in corners)
    return np.asarray((a + b + c + d) / 4)


def _walk(following: list[int], starts: list[int]) -> tuple[IntArray, list[int]]:
    """Follow the lines: vertices in order (a closed line ends with its first), and where each line begins.

    A plain loop: 0.1 microseconds a vertex, less than any way to do it with whole arrays. `following` is used up: a
    vertex that was passed leads nowhere, so a closed line stops when it is back at its first.
    """
    order: list[int] = []
    offsets = [0]

    def walk(vertex: int) -> None:
        while vertex >= 0:
            order.append(vertex)
            following[vertex], vertex = -1, following[vertex]
        offsets.append(len(order))

    for start in starts:
        walk(start)
    for start, after in enumerate(following):  # what has not been passed is closed
        if after >= 0:
            walk(start)
    return np.array(order, np.int64), offsets


def _join(lines: list[_Lines]) -> Iterator[_Lines]:
    """Join lines end to start until they close."""
    follower = {int(line.edges[0]): number for number, line in enumerate(lines)}
    used = np.zeros(len(lines), bool)
    for number in range(len(lines)):
        if used[number]:
            continue
        chain = []
        current = number
        while not used[current]:
            used[current] = True
            chain.append(lines[current])
            current = follower[int(lines[current].edges[-1])]
        # each line ends with the vertex that the next begins with
        parts = [_Lines(line.edges[:-1], line.t[:-1], line.missing[:-1]) for line in chain]
        first = _Lines(chain[0].edges[:1], chain[0].t[:1], chain[0].missing[:1])
        yield _Lines(*(np.concatenate(field) for field in zip(*parts, first, strict=True)))


def _rings(lines: list[_Lines], width: int) -> Rings:
    """Lay closed lines one after the other, each from its smallest edge, in the order of these."""
    if not lines:
        empty = np.empty(0, np.int64)
        return Rings(empty, np.empty(0), np.empty(0, bool), np.zeros(1, np.int64), width)
    lines = sorted(lines, key=lambda line: int(line.edges.min()))
    sizes = np.array([line.edges.size - 1 for line in lines], np.int64)  # the last vertex repeats the first
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    edges = np.concatenate([line.edges[:-1] for line in lines])
    smallest = np.repeat(np.minimum.reduceat(edges, offsets[:-1]), sizes)
    first = np.flatnonzero(edges == smallest) - offsets[:-1]  # an edge is crossed once
    place = np.arange(edges.size) - np.repeat(offsets[:-1], sizes)
    order = np.repeat(offsets[:-1], sizes) + (place + np.repeat(first, sizes)) % np.repeat(sizes, sizes)
    t = np.concatenate([line.t[:-1] for line in lines])
    missing = np.concatenate([line.missing[:-1] for line in lines])
    return Rings(edges[order], t[order], missing[order], offsets, width)
