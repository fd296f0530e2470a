"""Rates between two inventories whose glaciers were mapped in different years, and how much a rate has risen.

The Monte Carlo is that of Maslov et al. (2025), doi:10.31223/X5472T: noise on both areas and on the effective year of
each inventory, and in a second stage areas brought to the drawn mean year at the rate found in the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr.errors import AnalysisError, OptionError

__all__ = [
    "RGI7_SVALBARD_YEARS",
    "Acceleration",
    "Inventory",
    "RateDraws",
    "Stages",
    "acceleration",
    "inventory_rate",
    "inventory_rate_by_glacier",
]

Array = npt.NDArray[np.float64]

RELATIVE_SIGMA: Final = 500 / 33775 / 1.96
"""Relative standard error of an inventory's area, 0.0075530 (Maslov et al. 2025)."""
N_DRAWS: Final = 100_000
RGI7_SVALBARD_YEARS: Final[dict[int, float]] = {
    2001: 11.835, 2002: 7.673, 2003: 1.480, 2004: 4.279, 2005: 1.559,
    2006: 0.121, 2007: 11.881, 2008: 60.455, 2009: 0.047, 2010: 0.670,
}  # fmt: skip
"""Year composition of RGI 7, Svalbard, glaciers above 2 km2: % of the area (Maslov et al. 2025)."""


@dataclass(frozen=True)
class Inventory:
    """Total area of an inventory and the years its glaciers were mapped in."""

    area: float
    """Total area, km2."""
    years: Mapping[int, float]
    """Share of the area by year; any positive numbers, scaled to sum 1."""
    relative_sigma: float = RELATIVE_SIGMA
    """Relative standard error of the area."""

    def __post_init__(self) -> None:
        shares = np.array(list(self.years.values()), dtype=np.float64)
        if not shares.size or not np.all(np.isfinite(shares)) or shares.min() < 0 or shares.sum() <= 0:
            raise OptionError(f"the years of an inventory need positive shares of its area; got {dict(self.years)}")
        if not self.area > 0 or not 0 <= self.relative_sigma < np.inf:
            raise OptionError(
                f"an inventory needs an area above 0 and a relative_sigma of 0 or more, finite; got {self.area} km2 "
                f"and {self.relative_sigma}"
            )

    @property
    def shares(self) -> tuple[Array, Array]:
        """The years, ascending, and their shares of the area, sum 1."""
        years = sorted(self.years)
        shares = np.array([self.years[year] for year in years], dtype=np.float64)
        return np.array(years, dtype=np.float64), shares / shares.sum()

    @property
    def mean_year(self) -> float:
        """Area-weighted mean year."""
        years, shares = self.shares
        return float(years @ shares)

    @property
    def effective_years(self) -> float:
        """k_eff = 1 / sum(share^2): how many equally large years would spread the area as much."""
        _, shares = self.shares
        return float(1 / np.sum(shares**2))


@dataclass(frozen=True, eq=False)
class RateDraws:
    """Draws of a rate of area change."""

    draws: Array
    """(n,) km2 a-1."""
    relative: Array
    """(n,) a-1: the rate as a share of the first inventory's area."""

    @property
    def mean(self) -> float:
        """Mean rate, km2 a-1."""
        return float(self.draws.mean())

    @property
    def half_width(self) -> float:
        """1.96 standard deviations, km2 a-1: what is reported after the +-."""
        return float(1.96 * self.draws.std(ddof=1))

    @property
    def percentiles(self) -> tuple[float, float, float]:
        """2.5, 50 and 97.5 %, km2 a-1."""
        low, middle, high = np.percentile(self.draws, [2.5, 50, 97.5])
        return float(low), float(middle), float(high)


class Stages(NamedTuple):
    """Both stages of the Monte Carlo; the second is the result."""

    first: RateDraws
    second: RateDraws


def inventory_rate(
    first: Inventory, second: Inventory, *, n_draws: int = N_DRAWS, seed: int | np.random.Generator = 42
) -> Stages:
    """Draw the rate between two inventories of mixed dates.

    Parameters
    ----------
    first, second
        The older and the younger inventory, the same glaciers in both.
    n_draws
        Draws of each stage; 100 000 in the publication.
    seed
        Seed of `numpy.random.default_rng`, or a generator.

    Returns
    -------
    Stages
        First stage: (y2 - y1) / (x2 - x1) with y = A N(1, s) and x the mean of m years drawn by their share of the
        area. Second: the same with fresh draws, and y *= 1 + sum(delta count (x - year)) / sum(count), one
        delta ~ N(0, |mean relative rate of stage 1|) for each distinct year drawn. m is floor or ceiling of
        k_eff = 1 / sum(share^2), so that its mean is k_eff.

    Raises
    ------
    AnalysisError
        The years of the inventories overlap so far that a draw has them in the wrong order.
    OptionError
        Fewer than two draws, or a seed below 0.
    """
    if n_draws < 2:
        raise OptionError(f"n_draws={n_draws} is too few; the publication takes {N_DRAWS}")
    rng = _generator(seed)
    stage_1 = _stage(first, second, n_draws, rng, None)
    return Stages(stage_1, _stage(first, second, n_draws, rng, abs(float(stage_1.relative.mean()))))


def _generator(seed: int | np.random.Generator) -> np.random.Generator:
    if not isinstance(seed, np.random.Generator) and seed < 0:
        raise OptionError(f"seed={seed}: give a whole number of 0 or more")
    return np.random.default_rng(seed)


def _stage(
    first: Inventory, second: Inventory, n: int, rng: np.random.Generator, relative_rate: float | None
) -> RateDraws:
    x1, y1 = _draw(first, n, rng, relative_rate)
    x2, y2 = _draw(second, n, rng, relative_rate)
    if not np.all(x2 > x1):
        raise AnalysisError(
            f"the inventories' years overlap: {np.mean(x2 <= x1):.1%} of the draws have no time between them; give the "
            "older one first; where the date of each glacier is known, inventory_rate_by_glacier (in Python) takes it"
        )
    rate = (y2 - y1) / (x2 - x1)
    return RateDraws(rate, rate / y1)


def _draw(inventory: Inventory, n: int, rng: np.random.Generator, relative_rate: float | None) -> tuple[Array, Array]:
    """Effective year and area of each draw."""
    area = inventory.area * rng.normal(1, inventory.relative_sigma, n)
    years, shares = inventory.shares
    counts = _counts(shares, inventory.effective_years, n, rng)
    total = counts.sum(axis=1)
    mean_year = counts @ years / total
    if relative_rate is not None:
        delta = rng.normal(0, relative_rate, counts.shape)  # a year that was not drawn has count 0
        area = area * (1 + np.sum(delta * counts * (mean_year[:, None] - years), axis=1) / total)
    return mean_year, area


def _counts(shares: Array, k: float, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(n, years) how often each year is drawn."""
    return rng.multinomial(draw_sizes(k, n), shares)


def draw_sizes(k: float, n: int) -> npt.NDArray[np.int64]:
    """Return n whole numbers around k with mean k: m_i = floor(frac(i k) + k), i the number of draws before.

    Parameters
    ----------
    k
        1 or more.
    n
        How many.

    Examples
    --------
    >>> draw_sizes(2.5, 4)
    array([2, 3, 2, 3])
    """
    # floor(frac(r) + k) = floor(r + k) - floor(r): as a difference of one running sum the mean stays k whatever is
    # rounded. 1e-9: a sum of 3 that is 2.9999999999999996 by rounding means 3.
    running = np.floor(np.arange(n + 1, dtype=np.float64) * k + 1e-9).astype(np.int64)
    return np.maximum(np.diff(running), 1)


# -- the date of each glacier known -----------------------------------------------------------------------------------
def inventory_rate_by_glacier(
    areas_1: npt.ArrayLike,
    years_1: npt.ArrayLike,
    areas_2: npt.ArrayLike,
    years_2: npt.ArrayLike,
    *,
    relative_sigma: float = RELATIVE_SIGMA,
    glacier_sigma: float = 0.0,
    n_draws: int = 10_000,
    seed: int | np.random.Generator = 42,
) -> RateDraws:
    """Draw the sum of the glaciers' own rates, where the date of each outline is known.

    Nothing is lost to mean years: each glacier changes over its own time. The errors are those of the areas alone.

    Parameters
    ----------
    areas_1, areas_2
        (n,) area of each glacier in the two inventories, km2.
    years_1, years_2
        (n,) decimal year of each outline; years_2 > years_1.
    relative_sigma
        Relative standard error common to all glaciers of an inventory (operator, sensor).
    glacier_sigma
        Relative standard error of each glacier, independent.
    n_draws
        Draws.
    seed
        Seed of `numpy.random.default_rng`, or a generator.

    Raises
    ------
    AnalysisError
        A glacier has no time between its outlines, or numbers are missing.
    """
    a1, t1, a2, t2 = (np.asarray(v, dtype=np.float64) for v in (areas_1, years_1, areas_2, years_2))
    if not a1.shape == t1.shape == a2.shape == t2.shape or a1.ndim != 1 or not a1.size:
        raise AnalysisError(
            f"areas and years differ in length: {a1.shape}, {t1.shape}, {a2.shape}, {t2.shape}; one each a glacier"
        )
    if not np.isfinite([a1, t1, a2, t2]).all() or not np.all(t2 > t1):
        bad = int(np.flatnonzero(~(t2 > t1) | ~np.isfinite([a1, t1, a2, t2]).all(axis=0))[0])
        raise AnalysisError(f"glacier {bad} (from 0) has no time between its outlines or no number; leave it out")
    rng = _generator(seed)
    w1, w2 = a1 / (t2 - t1), a2 / (t2 - t1)
    common = rng.normal(1, relative_sigma, (2, n_draws))
    # The sum of independent glacier errors is normal: drawn as one number.
    own = rng.normal(0, glacier_sigma * np.sqrt([np.sum(w1**2), np.sum(w2**2)])[:, None], (2, n_draws))
    rate = w2.sum() * common[1] + own[1] - w1.sum() * common[0] - own[0]
    return RateDraws(rate, rate / (a1.sum() * common[0]))


# -- acceleration -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Acceleration:
    """Recent rate over historical rate."""

    median: float
    """Median factor."""
    lower: float
    """2.5 %."""
    upper: float
    """97.5 %."""
    p_above_one: float
    """P(factor > 1): share of the draws in which the recent rate is the larger one, with the same sign."""
    p_other_sign: float
    """Share of the draws with rates of opposite sign, for which a factor means nothing; the percentiles include
    them as negative factors."""


def acceleration(
    recent_rate: float,
    recent_sigma: float,
    historical: npt.ArrayLike,
    *,
    seed: int | np.random.Generator = 42,
) -> Acceleration:
    """Compare a recent rate with draws of a historical one.

    Parameters
    ----------
    recent_rate, recent_sigma
        Rate and its standard error, km2 a-1 (half a 95 % interval / 1.96, not the interval).
    historical
        (n,) draws of the historical rate, km2 a-1, as of `inventory_rate`.
    seed
        Seed of `numpy.random.default_rng`, or a generator.

    Notes
    -----
    N(recent rate, its sigma) / draws of the historical rate (Maslov et al. 2025). The ratio of two noisy numbers has
    no mean: median and percentiles are given.

    Raises
    ------
    AnalysisError
        No draws, or a number is not finite.
    """
    past = np.asarray(historical, dtype=np.float64).ravel()
    if not past.size or not np.isfinite(past).all() or not np.isfinite([recent_rate, recent_sigma]).all():
        raise AnalysisError("the recent rate and every draw of the historical one must be numbers; there are others")
    if recent_sigma < 0 or np.any(past == 0):
        raise AnalysisError("the recent sigma is below 0 or a historical draw is exactly 0; a factor needs neither")
    factor = _generator(seed).normal(recent_rate, recent_sigma, past.size) / past
    lower, median, upper = np.percentile(factor, [2.5, 50, 97.5])
    above, other = float(np.mean(factor > 1)), float(np.mean(factor < 0))
    return Acceleration(float(median), float(lower), float(upper), above, other)
