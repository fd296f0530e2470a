"""Rates of change of annual areas: trends with the interval that is meant, refused where they would mean nothing.

Three intervals, never mixed: Student's t from the scatter of the years about the line (what nine years can tell), and,
where the areas have errors, the spread of the slope if the years' errors are independent (the published way) or kept
paired as they were drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr.analysis import series
from icemapper_xr.analysis.bootstrap import CONFIDENCE
from icemapper_xr.analysis.series import Acquisition
from icemapper_xr.errors import AnalysisError, OptionError

__all__ = [
    "Interval",
    "Line",
    "Trend",
    "ols",
    "rate_between",
    "theil_sen",
    "trend",
]

Array = npt.NDArray[np.float64]

PUBLISHED_Z: Final = 1.96
"""Normal quantile of the published intervals (Maslov et al. 2025, doi:10.31223/X5472T)."""


class Interval(NamedTuple):
    """Lower and upper end, in the unit of the estimate."""

    lower: float
    upper: float


@dataclass(frozen=True)
class Line:
    """Least-squares line through annual areas."""

    rate: float
    """Slope, km2 a-1."""
    level: float
    """Area at `centre`, km2."""
    centre: float
    """Mean year."""
    sigma: float
    """Standard error of the slope from the scatter about the line, km2 a-1; NaN for two years."""
    dof: int
    """Degrees of freedom of `sigma`: n - 2."""


@dataclass(frozen=True)
class Trend:
    """A rate and its intervals, km2 a-1."""

    rate: float
    """Least-squares slope."""
    student: Interval | None
    """Student's t from the scatter about the line, n - 2 degrees of freedom; None for two years."""
    p_value: float
    """Two-sided, of no trend, by the same t; NaN for two years."""
    independent: Interval | None
    """rate +- 1.96 sigma, the errors of the years independent: the published way; None without errors."""
    paired: Interval | None
    """rate +- 1.96 sigma over the draws, each fitted with all its years; None without draws."""
    theil_sen: float
    """Median of the slopes of all pairs of years."""
    theil_sen_interval: Interval | None
    """Of the median slope, after Sen (1968); None where too few years can hold the confidence (95 %: below five), and
    where an offset between acquisitions was taken off: the ranks of the slopes know nothing of its error."""
    lack_of_fit: float
    """p-value of a quadratic term beside the line (F test); small: the years do not lie on a line. NaN below 4."""
    years: tuple[float, ...]
    """The years used."""
    notes: tuple[str, ...] = ()
    """What a reader has to know: gaps, offsets."""


# -- lines ------------------------------------------------------------------------------------------------------------
def ols(years: npt.ArrayLike, areas: npt.ArrayLike) -> Line:
    """Fit a line by ordinary least squares.

    Parameters
    ----------
    years
        (n,) years, a; at least two different ones.
    areas
        (n,) areas, km2.

    Raises
    ------
    AnalysisError
        Fewer than two years, or a number is not finite.
    """
    t, a = _series(years, areas)
    centre, dof = float(t.mean()), t.size - 2
    slope, level = float(_weights(t) @ a), float(a.mean())
    residual = a - level - slope * (t - centre)
    sigma = np.sqrt(residual @ residual / dof / np.sum((t - centre) ** 2)) if dof > 0 else np.nan
    return Line(slope, level, centre, float(sigma), dof)


def theil_sen(
    years: npt.ArrayLike, areas: npt.ArrayLike, *, confidence: float = CONFIDENCE
) -> tuple[float, Interval | None]:
    """Return the median slope of all pairs of years and its interval, km2 a-1.

    Parameters
    ----------
    years, areas
        As in `ols`.
    confidence
        Of the interval, between 0 and 1.

    Notes
    -----
    Sen (1968), doi:10.1080/01621459.1968.10480934. The interval takes the years' errors as independent. The widest one
    possible, from the least to the largest slope, holds with probability 1 - 2 / n!: 66.7 % for three years, 91.7 %
    for four. Where that is less than `confidence` there is none: 95 % need five years.

    Raises
    ------
    OptionError
        The confidence lies outside 0..1.
    """
    _refuse_confidence(confidence)
    t, a = _series(years, areas)
    later, earlier = np.nonzero(t[:, None] > t)
    slopes = np.sort((a[later] - a[earlier]) / (t[later] - t[earlier]))
    # All slopes of pairs lie on one side of the true one with probability 2 / n!: no interval of them can hold more.
    widest = 1 - 2 / math.factorial(t.size)
    return float(np.median(slopes)), _between(slopes, t, a, confidence) if widest >= confidence else None


def _between(slopes: Array, t: Array, a: Array, confidence: float) -> Interval:
    """Return the slopes between which the true one lies, by their ranks (Sen 1968, eq. 2.6).

    Own, as scipy's takes a confidence below 0.5 for one minus it.
    """
    from scipy import stats

    ties = [np.unique(values, return_counts=True)[1] for values in (t, a)]
    several = sum(float(np.sum(k * (k - 1) * (2 * k + 5))) for k in ties)
    sigma = math.sqrt(max(t.size * (t.size - 1) * (2 * t.size + 5) - several, 0) / 18)
    half = float(stats.norm.ppf((1 + confidence) / 2)) * sigma
    lower = max(round((slopes.size - half) / 2) - 1, 0)
    upper = min(round((slopes.size + half) / 2), slopes.size - 1)
    return Interval(float(slopes[lower]), float(slopes[upper]))


def _refuse_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise OptionError(f"confidence={confidence} lies outside 0..1; 0.95 is the default")


def rate_between(year_1: float, area_1: float, year_2: float, area_2: float) -> float:
    """Return (area_2 - area_1) / (year_2 - year_1), km2 a-1.

    Raises
    ------
    AnalysisError
        The two years are the same.

    Examples
    --------
    >>> round(rate_between(2006.312, 32570.49, 2016, 31889.28), 2)
    -70.31
    """
    if year_1 == year_2:
        raise AnalysisError(f"a rate needs two different years; both are {year_1:g}")
    return (area_2 - area_1) / (year_2 - year_1)


def _weights(t: Array) -> Array:
    """Weights c of the least-squares slope, sum(c a)."""
    d = t - t.mean()
    return np.asarray(d / (d @ d))


def _series(years: npt.ArrayLike, areas: npt.ArrayLike) -> tuple[Array, Array]:
    t, a = np.asarray(years, dtype=np.float64), np.asarray(areas, dtype=np.float64)
    if t.ndim != 1 or a.shape != t.shape:
        raise AnalysisError(f"there are {t.shape} years and {a.shape} areas; pass one area a year")
    if not (np.isfinite(t).all() and np.isfinite(a).all()):
        raise AnalysisError("a year or an area is not a number; leave the years without an area out")
    if np.unique(t).size < 2:
        found = f"only {t[0]:g} is given" if t.size else "none is given"
        raise AnalysisError(f"a rate needs at least two years; {found}: map more years")
    return t, a


# -- the trend --------------------------------------------------------------------------------------------------------
def trend(
    years: Sequence[float] | npt.NDArray[Any],
    areas: Sequence[float] | npt.NDArray[Any],
    *,
    sigma: npt.ArrayLike | None = None,
    draws: npt.ArrayLike | None = None,
    acquisitions: Sequence[Acquisition] | None = None,
    confidence: float = CONFIDENCE,
) -> Trend:
    """Fit a trend to annual areas, with every interval that the data allow.

    Parameters
    ----------
    years
        (n,) years; missing ones are simply left out and noted. With `acquisitions` a year may occur once for each.
    areas
        (n,) areas, km2.
    sigma
        (n,) standard errors of the areas, km2, for the independent interval; None takes those of the draws.
    draws
        (n, k) areas drawn anew k times, km2, one column for all years (as `bootstrap` gives them).
    acquisitions
        (n,) orbit, polarisation and sensor of each area. If they change, years mapped with both give the offset
        (`series.merge`), otherwise the trend is refused. None: they are the same throughout.
    confidence
        Of the Student and Theil-Sen intervals, between 0 and 1. The other two are 1.96 sigma, as published.

    Returns
    -------
    Trend

    Raises
    ------
    AnalysisError
        A single year, an area that is not a number, a change of orbit, polarisation or sensor without years in
        common, or a year twice.
    OptionError
        The confidence lies outside 0..1, or the shapes do not fit.

    Notes
    -----
    Independent: sigma of the slope = sqrt(sum(c^2 sigma^2)), c = (t - mean t) / sum((t - mean t)^2). The published
    +-74.571 km2 a-1 over nine years is of this kind. Errors common to all years cancel in the slope of paired draws
    only.
    """
    _refuse_confidence(confidence)
    merged = series.one_series(years, areas, acquisitions, sigma=sigma, draws=draws)
    t, a = _series(merged.years, merged.areas)
    line = ols(t, a)
    c = _weights(t)
    spread = merged.spread if merged.sigma is None else merged.sigma
    independent = (
        None if spread is None else _normal(line.rate, np.hypot(np.sqrt(c**2 @ spread**2), _shared(c, merged)))
    )
    student, p_value = _student(line, merged, confidence)
    slope, slope_interval = theil_sen(t, a, confidence=confidence)
    return Trend(
        rate=line.rate,
        student=student,
        p_value=p_value,
        independent=independent,
        paired=None if merged.draws is None else _normal(line.rate, _paired(c, merged)),
        theil_sen=slope,
        theil_sen_interval=None if merged.offsets else slope_interval,
        lack_of_fit=_lack_of_fit(t, a),
        years=tuple(t.tolist()),
        notes=(*merged.notes, *_gaps(t)),
    )


def _normal(rate: float, sigma: Any) -> Interval:
    half = PUBLISHED_Z * float(sigma)
    return Interval(rate - half, rate + half)


def _paired(c: Array, merged: series.Merged) -> float:
    assert merged.draws is not None
    beyond = _of_offsets(c, merged, [offset.beyond_draws for offset in merged.offsets])
    return float(np.hypot(np.std(c @ merged.draws, ddof=1), beyond))


def _shared(c: Array, merged: series.Merged) -> float:
    """Standard error of the slope from the offsets, which all years of an acquisition share, km2 a-1."""
    return _of_offsets(c, merged, [max(offset.sigma, offset.in_draws) for offset in merged.offsets])


def _of_offsets(c: Array, merged: series.Merged, sigma: Sequence[float]) -> float:
    return float(np.sqrt(sum((c @ o.share) ** 2 * s**2 for o, s in zip(merged.offsets, sigma, strict=True))))


def _student(line: Line, merged: series.Merged, confidence: float) -> tuple[Interval | None, float]:
    from scipy import stats

    if line.dof < 1:
        return None, float("nan")
    c = _weights(merged.years)
    known = [offset for offset in merged.offsets if offset.n_common > 1]
    parts = [(line.sigma**2, line.dof)] + [((c @ o.share) ** 2 * o.sigma**2, o.n_common - 1) for o in known]
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return Interval(line.rate, line.rate), 0.0 if line.rate else 1.0
    dof = total**2 / sum(variance**2 / k for variance, k in parts)  # Welch-Satterthwaite; n - 2 without offsets
    half = float(stats.t.ppf((1 + confidence) / 2, dof) * np.sqrt(total))
    return Interval(line.rate - half, line.rate + half), float(2 * stats.t.sf(abs(line.rate) / np.sqrt(total), dof))


def _lack_of_fit(t: Array, a: Array) -> float:
    from scipy import stats

    if t.size < 4:
        return float("nan")
    d = (t - t.mean()) / np.ptp(t)
    rest = [float(np.sum((a - np.polyval(np.polyfit(d, a, k), d)) ** 2)) for k in (1, 2)]
    floor = (1e-12 * np.abs(a).max()) ** 2 * t.size  # rounding is no lack of fit
    if rest[0] <= floor:
        return 1.0
    return float(stats.f.sf((rest[0] - rest[1]) / (max(rest[1], floor) / (t.size - 3)), 1, t.size - 3))


def _gaps(t: Array) -> tuple[str, ...]:
    if not np.allclose(t, np.round(t)):
        return ()
    present = {round(year) for year in t.tolist()}
    missing = [str(year) for year in range(min(present), max(present) + 1) if year not in present]
    return (f"no area for {', '.join(missing)}: the line is fitted to the other years",) if missing else ()
