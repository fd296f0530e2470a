"""Contour lines of a raster that comes block by block. Numpy and contourpy only.

The raster is padded by one missing sample on every side, so that every line closes. A vertex lies on a grid edge, the
piece of a row or column between two neighbouring samples, and is described by the number of that edge and by its
place `t` on it (0..1 from the sample above or left). A line that leaves a block ends on an edge of the border that
the neighbour's line begins on: joining is a look-up of integers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr import errors

__all__ = ["Block", "Rings", "trace"]

IntArray = npt.NDArray[np.int64]
DoubleArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

TILE = 256
"""Side of the tiles of a block, cells: one without a crossing is skipped at the price of a comparison."""
GAP = 1e-6
"""Values nearer to the threshold than this are moved away to it.

A vertex then never falls on a sample, so rings neither touch nor degenerate; it moves by about 1e-6 of a pixel.
"""


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
    for tile, row, column in _tiles(_overlapping(blocks, shape), level):
        for line in _contour(tile, row, column, width, level):
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
        whole = np.full((1 + height + last_row, 1 + width + last_column), np.nan, np.float32)
        if column == 0:
            above, below = below, np.full_like(below, np.nan)
        else:
            whole[1 : height + 1, 0] = left
        whole[0] = above[column : column + whole.shape[1]]
        whole[1 : height + 1, 1 : width + 1] = values
        left = whole[1 : height + 1, width].copy()
        below[column + 1 : column + 1 + width] = values[-1]
        yield Block(row, column, whole)


def _tiles(blocks: Iterable[Block], level: float) -> Iterator[tuple[npt.NDArray[np.float32], int, int]]:
    """Cut blocks into tiles that share a row and a column of samples; leave out those without a crossing."""
    for row, column, values in blocks:
        inside = values >= np.float32(level)
        height, width = values.shape[0], values.shape[1]
        for i in range(0, height - 1, TILE):
            for j in range(0, width - 1, TILE):
                part = (slice(i, i + TILE + 1), slice(j, j + TILE + 1))
                count = np.count_nonzero(inside[part])
                if 0 < count < inside[part].size:
                    yield values[part], row + i, column + j


def _contour(values: npt.NDArray[np.float32], row: int, column: int, width: int, level: float) -> Iterator[_Lines]:
    """Contour one tile whose first sample is (row, column) of the padded raster."""
    import contourpy

    z = _prepared(values, level)
    x, y = _sample_grid(z.shape)
    kind = contourpy.LineType.ChunkCombinedOffset
    generator = contourpy.contour_generator(x, y, z, name="serial", line_type=kind)
    found: Any = generator.lines(level)
    points, offsets = found[0][0], found[1][0]
    x, y = points[:, 0], points[:, 1]
    near = np.rint(x)
    # interpolation between equal coordinates may be a bit off the integer; t is at least GAP away from one
    down = np.abs(x - near) < 1e-9
    r0 = np.where(down, np.floor(y), np.rint(y)).astype(np.intp)
    c0 = np.where(down, near, np.floor(x)).astype(np.intp)
    r1, c1 = r0 + down, c0 + ~down
    # contourpy's own place depends on the direction it comes from; this one does not
    z0 = z[r0, c0]
    t = (level - z0) / (z[r1, c1] - z0)
    edges = 2 * ((r0 + row).astype(np.int64) * width + (c0 + column)) + down
    missing = np.isnan(values[r0, c0]) | np.isnan(values[r1, c1])
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        # turned round: contourpy goes anticlockwise around what is high where y points up, our rows point down
        turned = slice(end - 1, begin - 1 if begin else None, -1)
        yield _Lines(edges[turned], t[turned], missing[turned])


def _prepared(values: npt.NDArray[np.float32], level: float) -> DoubleArray:
    """Fill what is missing with 0, and move values away from the level; most tiles need neither."""
    low, high = values.min(), values.max()
    if np.isnan(low):
        values = np.nan_to_num(values, nan=0.0)
        low, high = values.min(), values.max()
    if low < 0 or high > 1 + 1e-3:
        raise errors.VectorError(
            f"The values reach from {low:g} to {high:g}: not probabilities (0 to 1); scale them first"
        )
    z = values.astype(np.float64)
    if ((values > np.float32(level - 2 * GAP)) & (values < np.float32(level + 2 * GAP))).any():
        z = np.where(z >= level, np.maximum(z, level + GAP), np.minimum(z, level - GAP))
    return z


@functools.lru_cache(maxsize=16)
def _sample_grid(shape: tuple[int, int]) -> tuple[DoubleArray, DoubleArray]:
    """Column and row of each sample of a tile; nearly all tiles have the same shape."""
    x, y = np.meshgrid(np.arange(shape[1], dtype=np.float64), np.arange(shape[0], dtype=np.float64))
    return x, y


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
