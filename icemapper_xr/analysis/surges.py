"""Do surging glaciers change otherwise than the rest? A permutation test that size and place cannot fool.

Surging glaciers are larger and stand in clusters. Labels are therefore exchanged only between glaciers of the same
size stratum and the same spatial block. The list of surging glaciers has to be fixed before looking at the rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from icemapper_xr.errors import AnalysisError, OptionError

__all__ = ["SurgeTest", "spatial_blocks", "surge_test"]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BLOCK_KM: Final = 50.0
"""Side of the spatial blocks, km (a judgement: larger than a surge cluster's drainage, smaller than a climate zone)."""
_BATCH: Final = 2_000_000


@dataclass(frozen=True)
class SurgeTest:
    """Result of `surge_test`."""

    p_value: float
    """Two-sided, by permutation; the smallest possible is 1 / (n_permutations + 1)."""
    cliffs_delta: float
    """Effect size, -1..1: P(surging > other) - P(surging < other) over pairs of one cell."""
    difference: float
    """Mean difference of the rates, surging minus others, within cells, in the rates' unit."""
    raw_difference: float
    """The same over all glaciers, without strata and blocks: what confounding adds is the distance to `difference`."""
    n_surging: int
    """Surging glaciers that have others in their cell."""
    n_other: int
    """The others in those cells."""
    n_left_out: int
    """Glaciers whose cell has only one kind: they say nothing."""
    n_cells: int
    """Cells (size stratum x spatial block) with both kinds."""


def surge_test(
    rates: npt.ArrayLike,
    surging: npt.ArrayLike,
    areas: npt.ArrayLike,
    blocks: npt.ArrayLike | None = None,
    *,
    n_strata: int = 4,
    n_permutations: int = 9999,
    seed: int | np.random.Generator = 42,
) -> SurgeTest:
    """Test whether surging glaciers change at other relative rates than the rest.

    Parameters
    ----------
    rates
        (n,) relative rate of each glacier, a-1; glaciers with NaN are left out.
    surging
        (n,) bool: on the list, which was fixed beforehand.
    areas
        (n,) area of each, km2, above 0, such as the mean over the years: cut into strata at its quantiles over all
        glaciers.
    blocks
        (n,) any label of the place of each (`spatial_blocks`); None: one block.
    n_strata
        Size strata.
    n_permutations
        Permutations of the labels within cells.
    seed
        Seed of `numpy.random.default_rng`, or a generator.

    Returns
    -------
    SurgeTest

    Raises
    ------
    AnalysisError
        No glacier has a rate, all are of one kind, or no cell has both.
    OptionError
        Shapes differ, an area is not above 0, or a number of strata or permutations is below 1.

    Notes
    -----
    Statistic: the sum over cells of (ranks of the surging ones minus their expectation) / (cell size + 1), the locally
    most powerful weights for a common shift (van Elteren 1960); its distribution by permutation within cells is exact
    whatever the rates' distribution. Effect size: Cliff (1993), doi:10.1037/0033-2909.114.3.494, pooled over cells.
    """
    r, s, cell = _checked(rates, surging, areas, blocks, n_strata, n_permutations)
    raw = float(r[s == 1].mean() - r[s == 0].mean())
    ranks, cell, s, r, left_out = _informative(r, s, cell, n_strata)
    size, treated = np.bincount(cell), np.bincount(cell, weights=s)
    scores = (ranks - (size[cell] + 1) / 2) / (size[cell] + 1)
    observed = float(scores @ s)
    rng = np.random.default_rng(seed)
    extreme = _count_extreme(scores, s, cell, observed, n_permutations, rng)
    pairs = treated * (size - treated)
    wins = np.bincount(cell, weights=(ranks - (size[cell] + 1) / 2) * s)  # = (wins - losses) / 2 of the pairs in a cell
    means = np.bincount(cell, weights=r * s) / treated - np.bincount(cell, weights=r * (1 - s)) / (size - treated)
    weight = pairs / size
    flags = s.astype(bool)
    return SurgeTest(
        p_value=(extreme + 1) / (n_permutations + 1),
        cliffs_delta=float(2 * wins.sum() / pairs.sum()),
        difference=float(means @ weight / weight.sum()),
        raw_difference=raw,
        n_surging=int(flags.sum()),
        n_other=int((~flags).sum()),
        n_left_out=left_out,
        n_cells=size.size,
    )


def spatial_blocks(x: npt.ArrayLike, y: npt.ArrayLike, *, size_km: float = BLOCK_KM) -> IntArray:
    """Number the squares of a grid that points lie in.

    Parameters
    ----------
    x, y
        (n,) coordinates in a projected CRS, metres.
    size_km
        Side of the squares, km; they lie on multiples of it from the CRS's origin.

    Raises
    ------
    OptionError
        The side is not above 0.
    """
    if not size_km > 0:
        raise OptionError(f"size_km={size_km} is no size; {BLOCK_KM:g} is the default")
    index = np.floor(np.c_[np.asarray(y, dtype=np.float64), np.asarray(x, dtype=np.float64)] / (1000 * size_km))
    return np.unique(index, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _checked(
    rates: npt.ArrayLike,
    surging: npt.ArrayLike,
    areas: npt.ArrayLike,
    blocks: npt.ArrayLike | None,
    n_strata: int,
    n_permutations: int,
) -> tuple[Array, Array, IntArray]:
    """Rates, labels (0 or 1) and cell of the glaciers that have a rate."""
    r, a = np.asarray(rates, dtype=np.float64), np.asarray(areas, dtype=np.float64)
    s = np.asarray(surging).astype(bool)
    place = np.zeros(r.shape, dtype=np.int64) if blocks is None else np.asarray(blocks)
    if r.ndim != 1 or not r.shape == s.shape == a.shape == place.shape:
        raise OptionError(
            f"rates {r.shape}, surging {s.shape}, areas {a.shape} and blocks {place.shape} differ; pass one a glacier"
        )
    if n_strata < 1 or n_permutations < 1:
        raise OptionError(f"n_strata={n_strata} and n_permutations={n_permutations} must be 1 or more")
    seen = np.isfinite(r)
    if not np.all(a[seen] > 0):
        raise OptionError("a glacier has no area above 0; leave it out")
    if not seen.any():
        raise AnalysisError("no glacier has a rate; nothing to compare")
    r, s, a, place = r[seen], s[seen], a[seen], place[seen]
    if not 0 < s.sum() < s.size:
        raise AnalysisError(f"{s.sum()} of {s.size} glaciers with a rate are surging; give some of either kind")
    cuts = np.quantile(a, np.arange(1, n_strata) / n_strata)
    stratum = np.searchsorted(cuts, a, side="right")
    _, number = np.unique(place, return_inverse=True)
    _, cell = np.unique(number.reshape(-1) * n_strata + stratum, return_inverse=True)
    return r, s.astype(np.float64), cell.reshape(-1).astype(np.int64)


def _informative(r: Array, s: Array, cell: IntArray, n_strata: int) -> tuple[Array, IntArray, Array, Array, int]:
    """Ranks within cells (ties share), cells, labels and rates of the cells that have both kinds."""
    from scipy import stats

    treated, size = np.bincount(cell, weights=s), np.bincount(cell)
    keep = ((treated > 0) & (treated < size))[cell]
    if not keep.any():
        raise AnalysisError(
            f"none of the {np.count_nonzero(size)} cells (n_strata={n_strata} size strata, by spatial block) has both "
            f"surging and other glaciers ({int(s.sum())} and {int((1 - s).sum())} with a rate); use fewer strata "
            "(--strata) or larger blocks (--block-km)"
        )
    order = np.flatnonzero(keep)[np.argsort(cell[keep], kind="stable")]
    _, cell = np.unique(cell[order], return_inverse=True)
    cell = cell.reshape(-1).astype(np.int64)
    r, s = r[order], s[order]
    ranks = np.concatenate([stats.rankdata(part) for part in np.split(r, np.flatnonzero(np.diff(cell)) + 1)])
    return ranks, cell, s, r, int((~keep).sum())


def _count_extreme(scores: Array, s: Array, cell: IntArray, observed: float, n: int, rng: np.random.Generator) -> int:
    """Count the permutations within cells whose statistic is at least as far from 0; glaciers are sorted by cell."""
    flags = s.astype(bool)
    extreme, step = 0, max(1, _BATCH // s.size)
    for start in range(0, n, step):
        keys = rng.random((min(step, n - start), s.size)) + cell  # sorting them shuffles within the cells
        shuffled = scores[np.argsort(keys, axis=1)]
        extreme += int(np.sum(np.abs(shuffled[:, flags].sum(axis=1)) >= abs(observed) - 1e-12))
    return extreme
