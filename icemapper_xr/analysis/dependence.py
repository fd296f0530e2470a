"""How much less a set of neighbouring blocks knows than as many independent ones.

Blocks that are no longer than the reach of errors hang together: their mean scatters more than the scatter among them
tells, and that scatter itself is known from fewer independent numbers. Both follow from the variogram of the errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr.analysis.variogram import Variogram

__all__ = ["Dependence", "Design", "design", "sum_inflation"]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FEWEST: Final = 2.0
"""Degrees of freedom below which none are counted: Student's t has no variance there (a judgement)."""
POINTS: Final = 6
"""Points along a block over which a correlation is averaged."""
NEGLIGIBLE: Final = 1e-3
"""Correlation of points that counts as none."""
DENSE: Final = 1500
"""Reference blocks up to which degrees of freedom are computed from all pairs."""


@dataclass(frozen=True)
class Dependence:
    """Correlation of the errors of blocks, each error by the root of its exposure."""

    model: Variogram
    """Of the errors in small cells, by the root of their exposure."""
    cells: float
    """Cells with an exposure in a block."""
    side: float
    """Side of a block, in the unit of the model."""

    @property
    def reach(self) -> int:
        """Blocks beyond which there is no correlation."""
        if not self.model.sill > 0:
            return 0
        return int(np.ceil(-np.log(NEGLIGIBLE) * self.model.length / self.side))

    def correlation(self, down: npt.ArrayLike, across: npt.ArrayLike) -> Array:
        """Return the correlation of two blocks by their distance in rows and columns; 1 of a block with itself."""
        rows, columns = np.abs(np.asarray(down, dtype=np.int64)), np.abs(np.asarray(across, dtype=np.int64))
        n = self.reach + 1
        inside = (rows < n) & (columns < n)
        table = self._table(n)
        found = np.where(inside, table[np.minimum(rows, n - 1), np.minimum(columns, n - 1)], 0.0)
        return np.asarray(found)

    def _table(self, n: int) -> Array:
        """(n, n) correlation by distance."""
        points = (np.arange(POINTS) + 0.5) / POINTS
        # All differences of a point in one block and one in the other, and how often each occurs.
        steps, times = np.unique(np.round((points[:, None] - points[None, :]) * POINTS).astype(int), return_counts=True)
        offset, weight = steps / POINTS, times / POINTS**2
        lag = np.arange(n)[:, None] + offset[None, :]
        h = np.hypot(lag[:, None, :, None], lag[None, :, None, :]) * self.side
        mean = np.einsum("abij,i,j->ab", np.exp(-h / self.model.length), weight, weight)
        shared = self.model.sill * self.cells * mean
        own = self.model.nugget + shared[0, 0]
        found = shared / own if own > 0 else np.zeros((n, n))
        found[0, 0] = 1.0
        return np.asarray(found)


class Design(NamedTuple):
    """What dependence does to an estimate from n reference blocks."""

    inflation: float
    """Standard error over that of independent blocks."""
    dof: float
    """Degrees of freedom of the scatter among the reference blocks; n - 1 if they are independent."""


def design(
    dependence: Dependence,
    reference: npt.ArrayLike,
    exposure: npt.ArrayLike,
    target: npt.ArrayLike,
    target_exposure: npt.ArrayLike,
) -> Design:
    """Compute the design effect of carrying errors from reference blocks to others.

    Parameters
    ----------
    dependence
        Of the errors.
    reference, target
        (n, 3) and (m, 3) grid, row and column of the blocks; blocks of different grids are independent.
    exposure, target_exposure
        (n,) and (m,), above 0.

    Notes
    -----
    With errors sqrt(x_i) u_i, u of correlation R: the error of the estimate is the sum of sqrt(x) u over the targets
    less sum(x_target) / sum(x) times that over the reference; its variance is a quadratic form in R. The scatter of n
    residuals has the expectation (n - sqrt(x)' R sqrt(x) / sum(x)) / (n - 1) of the variance and tr(MR)^2 / tr(MRMR)
    degrees of freedom (Satterthwaite 1946, doi:10.2307/3002019), M taking the ratio out.
    """
    x, t = np.asarray(exposure, dtype=np.float64), np.asarray(target_exposure, dtype=np.float64)
    here, there = np.asarray(reference, dtype=np.int64).reshape(-1, 3), np.asarray(target, np.int64).reshape(-1, 3)
    n = x.size
    effect = _quadratic(dependence, here, np.sqrt(x)) / x.sum()
    carried = t.sum() / x.sum()
    both = np.concatenate([carried * np.sqrt(x), -np.sqrt(t)])
    independent = carried**2 * x.sum() + t.sum()
    variance = _quadratic(dependence, np.concatenate([here, there]), both) / independent if t.sum() > 0 else 1.0
    left = max(n - effect, 1.0)
    return Design(float(np.sqrt(variance * (n - 1) / left)), _dof(dependence, here, x, effect))


def sum_inflation(dependence: Dependence, position: npt.ArrayLike, exposure: npt.ArrayLike) -> float:
    """Return the standard deviation of a sum of errors over blocks, over that of independent blocks.

    Parameters
    ----------
    dependence
        Of the errors.
    position
        (n, 3) grid, row and column of the blocks.
    exposure
        (n,), 0 or more.
    """
    x = np.asarray(exposure, dtype=np.float64)
    where = np.asarray(position, dtype=np.int64).reshape(-1, 3)[x > 0]
    x = x[x > 0]
    return float(np.sqrt(_quadratic(dependence, where, np.sqrt(x)) / x.sum())) if x.size else 1.0


def _quadratic(dependence: Dependence, position: IntArray, weight: Array) -> float:
    """Sum of w_i w_j R_ij over all pairs."""
    from scipy.spatial import cKDTree

    total = float(np.sum(weight**2))
    if dependence.reach == 0 or len(position) < 2:
        return total
    apart = position.astype(np.float64)
    apart[:, 0] *= 1e7  # grids never meet
    pairs = cKDTree(apart).query_pairs(dependence.reach + 0.5, output_type="ndarray")
    i, j = pairs[:, 0], pairs[:, 1]
    lag = position[i, 1:] - position[j, 1:]
    return total + 2 * float(np.sum(weight[i] * weight[j] * dependence.correlation(lag[:, 0], lag[:, 1])))


def _dof(dependence: Dependence, position: IntArray, x: Array, effect: float) -> float:
    n = x.size
    if dependence.reach == 0:
        return float(n - 1)
    if n > DENSE:
        return float(max((n - 1) / effect, FEWEST))
    lag = position[:, None, 1:] - position[None, :, 1:]
    same = position[:, None, 0] == position[None, :, 0]
    r = np.where(same, dependence.correlation(lag[..., 0], lag[..., 1]), 0.0)
    u = np.sqrt(x / x.sum())
    mr = r - np.outer(u, u @ r)
    return float(max(np.trace(mr) ** 2 / np.sum(mr * mr.T), FEWEST))
