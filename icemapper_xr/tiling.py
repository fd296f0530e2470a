"""The window lattice: where windows lie, what each pixel weighs, and which chunks are legal. Plain numpy.

A scene is mapped by overlapping square windows whose corners lie every `stride` pixels; a window's answer is weighted
by a separable Gaussian, and the probability of a pixel is the weighted mean over the windows that cover it (Maslov et
al. 2025). Along one axis everything follows from an `Axis`: how much of the array is used, how many windows there are,
and which part of the result is kept. Rows and columns are two independent axes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions
from icemapper_xr.errors import OptionError

__all__ = [
    "Axis",
    "anchored_axis",
    "cut",
    "gaussian",
    "global_axis",
    "legal_chunks",
    "stride_of",
    "weight_sum",
]


@dataclass(frozen=True)
class Axis:
    """Windows along one axis of an array.

    The windows cover the *region*: pixels `begin` .. `begin + length` of the array, which may run past its end (then
    the missing pixels are padded). The area whose probability is wanted is `keep` within the region.
    """

    window: int
    """Side of a window, pixels."""
    stride: int
    """Pixels from one window's corner to the next one's."""
    begin: int
    """First pixel of the array that belongs to the region."""
    count: int
    """Number of windows."""
    keep: tuple[int, int]
    """Start and stop, within the region, of the pixels that are kept."""

    @property
    def halo(self) -> int:
        """Pixels that a window reaches past its own stride cell."""
        return self.window - self.stride

    @property
    def length(self) -> int:
        """Pixels of the region."""
        return self.count * self.stride + self.halo


def stride_of(window: int, overlap: float) -> int:
    """Return the stride of windows that overlap by a share `overlap` of their side.

    Parameters
    ----------
    window
        Side of a window in pixels, a multiple of 8.
    overlap
        Share of a window that the next one covers too, 0 to 0.5.

    Raises
    ------
    OptionError
        If the overlap is out of range, or the stride is no whole number of pixels.

    Examples
    --------
    >>> stride_of(384, 0.5), stride_of(384, 0.25), stride_of(384, 0)
    (192, 288, 384)
    """
    if not isinstance(overlap, int | float | np.number) or not 0 <= overlap <= 0.5:
        raise OptionError(f"overlap is {overlap!r}, but must be a number from 0 to 0.5; 0.5 is the published value")
    stride = window * (1 - float(overlap))
    if abs(stride - round(stride)) > 1e-6:
        raise OptionError(
            f"overlap {overlap} of a {window} px window gives a stride of {stride:g} px, which is no whole number; "
            "use 0.5, 0.25 or 0"
        )
    return round(stride)


def gaussian(window: int) -> npt.NDArray[np.float64]:
    """Return the blend weight along one axis: exp(-u^2 / (2 sigma^2)), u from -1 to 1 across the window.

    The two-dimensional weight is the product of two of these. The formula is that of the published system (Maslov et
    al. 2025, doi:10.31223/X5472T).
    """
    u = np.linspace(-1.0, 1.0, window)
    return np.exp(-(u**2) / (2 * conventions.BLEND_SIGMA**2))


def weight_sum(axis: Axis) -> npt.NDArray[np.float64]:
    """Return the sum of all windows' weights along the axis, one value a pixel of the region.

    The sum over both axes is the product of the two, so that it need not be computed per chunk nor travel.
    """
    kernel = gaussian(axis.window)
    total = np.zeros(axis.length)
    for k in range(axis.count):
        total[k * axis.stride : k * axis.stride + axis.window] += kernel
    return total


def anchored_axis(size: int, *, window: int, stride: int) -> Axis:
    """Lay windows from the array's own corner while their corner lies inside, as the original program does."""
    if size < 1:
        raise OptionError("the array has no pixels: choose a larger area")
    return Axis(window, stride, 0, -(-size // stride), (0, size))


def global_axis(
    first: int, size: int, area: tuple[int, int], *, window: int, stride: int, lattice: int = conventions.LATTICE
) -> Axis:
    """Lay windows on the lattice anchored at the CRS's origin, so that the answer does not depend on the area.

    Parameters
    ----------
    first
        Index of the array's first pixel, counted from the CRS's origin.
    size
        Pixels of the array.
    area
        Start and stop of the area asked for, counted from the CRS's origin.
    window, stride, lattice
        Pixels; the stride must divide the lattice.

    Raises
    ------
    OptionError
        If the stride does not divide the lattice, or windows that touch the area would leave the array.
    """
    if lattice % stride:
        raise OptionError(
            f"a stride of {stride} px does not divide the lattice of {lattice} px, so the result would depend on the "
            "area; choose another overlap, or weights with a window that fits"
        )
    start, stop = area
    corner = ((start - window) // stride + 1) * stride
    last = (-(-stop // stride) - 1) * stride
    if start < first or stop > first + size:
        raise OptionError(
            "the cube was cut after it was opened, and no longer holds the area that it was opened for: open it for "
            f"the smaller area, or remove ds.attrs[{conventions.ATTR_AREA!r}], so that windows begin at its own corner"
        )
    if corner < first or last + window > first + size:
        margin = max(first - corner + (start - first), last + window - stop)
        raise OptionError(
            f"windows of {window} px need {margin} px of data around the area, but the cube has {start - first} px "
            f"before and {first + size - stop} px behind it; open the cube with margin={window}"
        )
    return Axis(window, stride, corner - first, (last - corner) // stride + 1, (start - corner, stop - corner))


def cut(first: int, length: int, side: int) -> tuple[int, ...]:
    """Return the sizes of the pieces of `length` pixels, of which the first has the number `first`, between multiples.

    Parameters
    ----------
    first
        Number of the first pixel, counted from where the lattice begins; may be negative.
    length
        Pixels to cut, at least 1.
    side
        Pixels between the cuts.

    Examples
    --------
    >>> cut(-5, 20, 8), cut(0, 16, 8)
    ((5, 8, 7), (8, 8))
    """
    edges = [first, *range((first // side + 1) * side, first + length, side), first + length]
    return tuple(int(after - before) for before, after in itertools.pairwise(edges))


def legal_chunks(chunks: Sequence[int], axis: Axis) -> tuple[int, ...]:
    """Move the edges between chunks to the nearest multiples of the stride.

    Parameters
    ----------
    chunks
        Chunk sizes along the region; their sum is `axis.length`.
    axis
        The windows.

    Returns
    -------
    tuple of int
        Chunk sizes of the same sum. Every chunk owns the windows whose corner lies in it, at least one; the last
        chunk also holds what the last windows reach beyond their stride cells. Equal to `chunks` if those were legal.
    """
    if sum(chunks) != axis.length:
        raise ValueError(f"chunks sum to {sum(chunks)}, the region has {axis.length} pixels")
    edges = np.cumsum(chunks)[:-1]
    # Halves go down, not to even: the rule must not depend on where the region begins.
    moved = np.ceil(edges / axis.stride - 0.5).astype(int) * axis.stride
    inside = sorted({int(edge) for edge in moved if 0 < edge < axis.count * axis.stride})
    bounds = [0, *inside, axis.length]
    return tuple(b - a for a, b in itertools.pairwise(bounds))
