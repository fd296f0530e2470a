"""The same windows block by block, without a graph: for runs whose area is larger than any graph should be.

A block is a cell of the lattice of chunks with the windows whose corner lies in it. It reads its own pixels and a
halo below and to the right, as in `graph`; the difference is who hands the strips over: here whoever runs the blocks.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions, tiling
from icemapper_xr._types import Bounds, FloatArray
from icemapper_xr.errors import OptionError
from icemapper_xr.prediction import core

__all__ = ["Block", "Lattice", "Span", "lattice", "probability_of"]


class Block(NamedTuple):
    """A cell of the lattice: row and column of blocks, counted from the upper left one that has a window."""

    row: int
    column: int


@dataclass(frozen=True)
class Span:
    """A block along one axis; pixels are counted from the origin of the CRS, rows downward."""

    start: int
    """First own pixel."""
    stop: int
    """End of the own pixels."""
    read: int
    """End of the pixels that are read: the own ones and the halo."""
    keep: tuple[int, int] | None
    """Start and stop of the own pixels that belong to the area, counted from the origin; None if none does."""
    unit: int
    """Index of the cell: pixels of the lattice from `unit * chunk`."""
    last: bool
    """Whether no block follows: then the halo belongs to the own pixels."""


@dataclass(frozen=True)
class Lattice:
    """All blocks of an area."""

    window: int
    stride: int
    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    axes: tuple[tiling.Axis, tiling.Axis]
    """Windows along y and x, of the region from the first block's first pixel on."""

    @functools.cached_property
    def weights(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Sums of the weights along y and x, of the same region."""
        row_axis, column_axis = self.axes
        return tiling.weight_sum(row_axis), tiling.weight_sum(column_axis)

    @property
    def blocks(self) -> Iterator[Block]:
        """All blocks, row by row."""
        return (Block(i, j) for i in range(len(self.rows)) for j in range(len(self.columns)))

    def sources(self, block: Block) -> dict[str, Block]:
        """Return the blocks whose strips reach into a block, by the strip's name."""
        row, column = block
        around = {
            "below": Block(row - 1, column),
            "right": Block(row, column - 1),
            "corner": Block(row - 1, column - 1),
        }
        return {strip: one for strip, one in around.items() if min(one) >= 0}

    def targets(self, block: Block) -> dict[str, Block]:
        """Return the blocks that a block's strips reach into, by the strip's name."""
        row, column = block
        around = {
            "below": Block(row + 1, column),
            "right": Block(row, column + 1),
            "corner": Block(row + 1, column + 1),
        }
        ends = (len(self.rows), len(self.columns))
        return {strip: one for strip, one in around.items() if one.row < ends[0] and one.column < ends[1]}

    def windows(self, block: Block) -> int:
        """Return the number of windows whose corner lies in a block."""
        row, column = self.rows[block.row], self.columns[block.column]
        down, across = ((span.read - span.start - self.window) // self.stride + 1 for span in (row, column))
        return down * across

    def weights_of(self, block: Block) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the sums of the weights along y and x of a block's own pixels."""
        cuts = []
        for spans, index, weights in zip((self.rows, self.columns), block, self.weights, strict=True):
            own, first = spans[index], spans[0].start
            cuts.append(weights[own.start - first : (own.read if own.last else own.stop) - first])
        return cuts[0], cuts[1]


def lattice(
    area: Bounds,
    resolution: float,
    *,
    window: int,
    overlap: float = conventions.OVERLAP,
    chunk: int = conventions.LATTICE,
) -> Lattice:
    """Lay the blocks of an area.

    Parameters
    ----------
    area
        Edges on multiples of the resolution, in the CRS of the map.
    resolution
        Pixel size of the model, in the units of the CRS.
    window
        Side of the model's window, pixels.
    overlap
        Share of a window that the next one covers too.
    chunk
        Side of a block, pixels; a multiple of the stride.

    Raises
    ------
    OptionError
        If the stride does not divide the chunk or the lattice.
    """
    stride = tiling.stride_of(window, overlap)
    if chunk % stride or chunk < stride:
        raise OptionError(f"chunk={chunk} is no multiple of the stride of {stride} px between windows")
    left, bottom, right, top = (edge / resolution for edge in area)
    rows, row_axis = _spans((round(-top), round(-bottom)), window, stride, chunk)
    columns, column_axis = _spans((round(left), round(right)), window, stride, chunk)
    return Lattice(window, stride, rows, columns, (row_axis, column_axis))


def _spans(area: tuple[int, int], window: int, stride: int, chunk: int) -> tuple[tuple[Span, ...], tiling.Axis]:
    start, stop = area
    # An array that holds a window before and behind the area holds all windows that touch it.
    axis = tiling.global_axis(
        start - window, stop - start + 2 * window, area, window=window, stride=stride, lattice=_lattice_of(chunk)
    )
    first = start - window + axis.begin
    sizes = tiling.legal_chunks(tiling.cut(first, axis.length, chunk), axis)
    spans = []
    begin = first
    for position, size in enumerate(sizes):
        last = position == len(sizes) - 1
        here = (max(begin, start), min(begin + size, stop))
        spans.append(
            Span(
                start=begin,
                stop=begin + size,
                read=begin + size + (0 if last else axis.halo),
                keep=here if here[0] < here[1] else None,
                unit=begin // chunk,
                last=last,
            )
        )
        begin += size
    return tuple(spans), axis


def _lattice_of(chunk: int) -> int:
    """What the stride must divide: the lattice of the project, or the chunk where that is another one."""
    return conventions.LATTICE if conventions.LATTICE % chunk == 0 else chunk


def probability_of(
    own: core.SumArray,
    strips: Mapping[str, core.SumArray],
    weights: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
) -> FloatArray:
    """Add the strips of the neighbours to a block's own sums and divide by the weights.

    Parameters
    ----------
    own : ndarray, shape (y, x)
        `core.Partial.core`.
    strips
        By the name it has in the block that made it: ``"below"`` of the block above, ``"right"`` of the one to the
        left, ``"corner"`` of the one across the corner.
    weights
        `Lattice.weights_of`.

    Returns
    -------
    ndarray, shape (y, x)
        Glacier probability, float32.
    """
    total = own.copy()
    for strip in strips.values():
        total[: strip.shape[0], : strip.shape[1]] += strip
    return core.divide(total, *weights)
