"""What both loaders share: the frames of a mosaic, chunks anchored at the origin of the CRS, the merging."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from icemapper_xr import conventions, tiling
from icemapper_xr._types import FloatArray, Grid, Observation
from icemapper_xr.cube import footprints, read
from icemapper_xr.errors import OptionError

__all__ = ["SLICE", "Frame", "anchored_chunks", "blank", "first_valid", "of_slices", "whole_chunk", "wrap"]

SLICE = "slice"
"""Dimension of what a loader returns: one entry per group of observations asked for."""

Chunks = tuple[int, ...]


def anchored_chunks(grid: Grid, chunk: int | None) -> tuple[Chunks, Chunks]:
    """Return chunk sizes (rows, columns) with inner edges on multiples of `chunk` pixels from the CRS origin.

    None is one chunk.

    Raises
    ------
    OptionError
        The chunk is no whole number above 0.
    """
    if chunk is None:
        return (grid.shape.y,), (grid.shape.x,)
    side = whole_chunk(chunk)
    return tuple(tiling.cut(first, length, side) for first, length in zip(grid.index, grid.shape, strict=True))  # type: ignore[return-value]


def whole_chunk(chunk: Any) -> int:
    """Return the side of a chunk in pixels.

    Raises
    ------
    OptionError
        It is no whole number above 0.
    """
    if isinstance(chunk, int | float | np.number) and math.isfinite(chunk) and chunk == int(chunk) and chunk >= 1:
        return int(chunk)
    raise OptionError(f"chunk {chunk!r} is not a number of pixels; give a whole number such as {conventions.LATTICE}")


class Frame:
    """One observation with its slice, its recipe and the box (in the grid's CRS) outside of which it is not opened."""

    def __init__(self, index: int, observation: Observation, grid: Grid, resampling: str | None) -> None:
        self.index = index
        self.source = read.Source.of(observation, resampling)
        self.box = footprints.bounds(observation, grid)


def of_slices(slices: Sequence[Sequence[Observation]], grid: Grid, resampling: str | None) -> list[Frame]:
    """Return the frames of all slices that meet the grid, slice by slice."""
    frames = [Frame(i, observation, grid, resampling) for i, group in enumerate(slices) for observation in group]
    return [frame for frame in frames if not frame.box.empty]


def wrap(data: Any, grid: Grid) -> xr.DataArray:
    """Name the axes of an array `(slice, y, x)` on a grid."""
    y, x = grid.coords()
    return xr.DataArray(
        data,
        dims=(SLICE, conventions.Y, conventions.X),
        coords={conventions.Y: y, conventions.X: x},
        name="observations",
    )


def blank(count: int, grid: Grid, chunk: int | None) -> Any:
    """Make a Dask array `(count, y, x)` of NaN."""
    import dask.array as da

    chunks = ((count,), *anchored_chunks(grid, chunk))
    return da.full((count, *grid.shape), np.float32("nan"), dtype=np.float32, chunks=chunks)


def first_valid(blocks: Sequence[FloatArray], groups: tuple[int, ...], shape: tuple[int, int, int]) -> FloatArray:
    """Merge frames, each `(1, y, x)`, into slices `(slice, y, x)` of this shape: the first valid pixel wins."""
    out = np.full(shape, np.nan, np.float32)
    for (frame,), group in zip(blocks, groups, strict=True):
        np.copyto(out[group], frame, where=np.isnan(out[group]))
    return out
