"""Length of the mapped margin in each cell: what errors of an area grow with."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from icemapper_xr import conventions as cv
from icemapper_xr.analysis import cells

__all__ = ["margin_length"]

_CROFTON: Final = np.pi / 8
"""Four directions, 45 degrees apart: length = pi / 8 (d (across + down) + d / sqrt(2) (both diagonals))."""


def margin_length(probability: xr.DataArray, *, threshold: float = cv.THRESHOLD) -> xr.DataArray:
    """Measure the length of the glacier margin by cell, lazily if the probability is lazy.

    Parameters
    ----------
    probability
        Dims (year,) y, x, with a CRS; NaN is no margin's other side.
    threshold
        Probability at which the margin is drawn.

    Returns
    -------
    xarray.DataArray
        `margin_length`, float32, m, of the same dims. The length between two cells is given to the upper left one.

    Notes
    -----
    Cauchy-Crofton over four directions (Legland, Kieu and Devaux 2007, doi:10.5566/ias.v26.p83-92): within 5 % of a
    straight line of any direction, and right in the mean over directions. It needs no outlines.
    """
    y, x = (cells.spacing(probability[dim], dim) for dim in (cv.Y, cv.X))
    array = probability.transpose(..., cv.Y, cv.X)
    scale = np.sqrt(cells.cell_area(array) / (y * x)) * np.sqrt(y * x)
    data: Any = array.data
    if array.chunks is None:
        counted = _block(np.asarray(_padded(data)), threshold=threshold)
    else:
        import dask.array as da

        last = (array.ndim - 2, array.ndim - 1)
        counted = da.map_overlap(
            _block, data, depth=dict.fromkeys(last, 1), boundary=np.nan, trim=False, threshold=threshold,
            dtype=np.float32, chunks=data.chunks, meta=np.empty((0,) * array.ndim, np.float32), allow_rechunk=True,
        )  # fmt: skip
    found: xr.DataArray = array.copy(data=counted) * scale.astype(np.float32)
    found.attrs = {"units": "m", "long_name": "length of the glacier margin in the cell"}
    return found.rename("margin_length").astype(np.float32)


def _padded(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    edges = [(0, 0)] * (values.ndim - 2) + [(1, 1), (1, 1)]
    return np.pad(values.astype(np.float32), edges, constant_values=np.nan)


def _block(values: npt.NDArray[Any], *, threshold: float) -> npt.NDArray[np.float32]:
    """Length in cells of the inner cells of a block with one more cell on each side."""
    inside, seen = values >= threshold, ~np.isnan(values)

    def crossed(down: int, right: int) -> npt.NDArray[np.float32]:
        rows, columns = inside.shape[-2], inside.shape[-1]
        here = (..., slice(1, rows - 1), slice(1, columns - 1))
        there = (..., slice(1 + down, rows - 1 + down), slice(1 + right, columns - 1 + right))
        return np.asarray((inside[here] != inside[there]) & seen[here] & seen[there], dtype=np.float32)

    straight = crossed(0, 1) + crossed(1, 0)
    diagonal = crossed(1, 1) + crossed(1, -1)
    return np.asarray(_CROFTON * (straight + diagonal / np.sqrt(2)), dtype=np.float32)
