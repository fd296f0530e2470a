"""A DEM made fit for flow: noise off, breaks of slope kept, pits filled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from icemapper_xr._types import FloatArray

__all__ = ["fill_pits", "smooth"]

FILTER: int = 7
"""Cells of the smoothing window (FACTS: the published tool's setting)."""
MAX_ANGLE: float = 15.0
"""Neighbours whose normal differs by more than this, degrees, do not take part (Lindsay et al. 2019)."""
ITERATIONS: int = 3
"""How often the elevations are moved towards the smoothed normals."""


def smooth(z: FloatArray, cell: float, *, size: int = FILTER) -> FloatArray:
    """Smooth a DEM, but not its ridges.

    Parameters
    ----------
    z
        (rows, columns) elevation, metres; NaN where unknown.
    cell
        Cell size, metres.
    size
        Cells of the window, odd; 1 changes nothing.

    Returns
    -------
    numpy.ndarray
        float32; NaN where `z` is.

    Notes
    -----
    Feature-preserving smoothing (Lindsay, Francioni and Cockburn 2019, doi:10.3390/rs11161926): the field of surface
    normals is smoothed with weights (cos(angle) - cos(MAX_ANGLE))^2, then each elevation becomes the weighted mean of
    those that the planes of its eight neighbours give for it.
    """
    if size <= 1 or not np.isfinite(z).any():
        return z
    known = np.isfinite(z)
    height = np.where(known, z, 0.0).astype(np.float32)
    slope_y, slope_x = _slopes(np.where(known, z, np.nan), cell)
    half, limit = size // 2, float(np.cos(np.radians(MAX_ANGLE)))
    steps = [(i, j) for i in range(-half, half + 1) for j in range(-half, half + 1)]
    mean_y, mean_x = _weighted(steps, slope_y, slope_x, known, limit)
    around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    for _ in range(ITERATIONS):
        total, weight = np.zeros_like(height), np.zeros_like(height)
        for i, j in around:
            w = _likeness(mean_y, mean_x, _shift(mean_y, i, j), _shift(mean_x, i, j), limit) * _shift(known, i, j)
            # what the neighbour's plane says of this cell
            total += w * (_shift(height, i, j) - cell * (i * _shift(mean_y, i, j) + j * _shift(mean_x, i, j)))
            weight += w
        moved = known & (weight > 0)
        height = np.where(moved, total / np.where(moved, weight, 1), height)
    return np.where(known, height, np.nan).astype(np.float32)


def _slopes(z: FloatArray, cell: float) -> tuple[FloatArray, FloatArray]:
    """Rise per metre down the rows and along the columns; 0 beside unknown cells."""
    if min(z.shape) < 2:
        return np.zeros_like(z), np.zeros_like(z)
    down, right = np.gradient(z, cell)
    return np.asarray(np.nan_to_num(down), np.float32), np.asarray(np.nan_to_num(right), np.float32)


def _weighted(
    steps: list[tuple[int, int]],
    slope_y: FloatArray,
    slope_x: FloatArray,
    known: npt.NDArray[np.bool_],
    limit: float,
) -> tuple[FloatArray, FloatArray]:
    """Mean of the slopes of the cells at these steps, weighted by the likeness of their normals."""
    sum_y, sum_x = np.zeros_like(slope_y), np.zeros_like(slope_x)
    weight = np.full_like(slope_y, 1e-12)
    for i, j in steps:
        there_y, there_x = _shift(slope_y, i, j), _shift(slope_x, i, j)
        w = _likeness(slope_y, slope_x, there_y, there_x, limit) * _shift(known, i, j)
        weight += w
        sum_y += w * there_y
        sum_x += w * there_x
    return np.asarray(sum_y / weight, np.float32), np.asarray(sum_x / weight, np.float32)


def _likeness(ay: FloatArray, ax: FloatArray, by: FloatArray, bx: FloatArray, limit: float) -> FloatArray:
    """Squared excess of the cosine between two normals over that of the largest angle."""
    cosine = (ay * by + ax * bx + 1) / np.sqrt((ay**2 + ax**2 + 1) * (by**2 + bx**2 + 1))
    return np.asarray(np.clip(cosine - limit, 0, None) ** 2, np.float32)


def _shift(array: npt.NDArray, i: int, j: int) -> npt.NDArray:  # type: ignore[type-arg]
    """Return the value of the cell i rows down and j columns right; the edge repeats."""
    rows, columns = array.shape
    row = np.clip(np.arange(rows) + i, 0, rows - 1)
    column = np.clip(np.arange(columns) + j, 0, columns - 1)
    return array[row][:, column]


def fill_pits(z: FloatArray) -> FloatArray:
    """Raise pits to their lowest outlet; water leaves at the border and at unknown cells."""
    from skimage.morphology import reconstruction

    known = np.isfinite(z)
    if not known.any():
        return z
    low = float(np.nanmin(z)) - 1.0
    mask = np.where(known, z, low)
    seed = np.full_like(mask, float(np.nanmax(z)))
    seed[~known] = low
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        seed[edge] = mask[edge]
    filled = reconstruction(seed, mask, method="erosion")
    return np.where(known, filled, np.nan).astype(np.float32)
