"""Uncertainty of mapped areas: the published block bootstrap, and one that resamples the map's errors.

The published method resamples the AREAS of tiles: it measures how glacier cover varies over the landscape, which a
census does not need to know. `error_draws` resamples the map's ERRORS against a reference instead and subtracts their
mean (a difference estimator); `common_bias_draws` adds what resampling of blocks cannot see, a bias that all blocks of
an orbit, a sensor or a year share. `estimate` joins such draws into a signed bias and an interval.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from icemapper_xr.analysis.dependence import Design
from icemapper_xr.errors import AnalysisError, OptionError

__all__ = [
    "AreaEstimate",
    "CommonBias",
    "between_groups",
    "common_bias_draws",
    "error_draws",
    "estimate",
    "published_draws",
]

Array = npt.NDArray[np.float64]

PUBLISHED_DRAWS: Final = 10_000
PUBLISHED_SEED: Final = 42
N_DRAWS: Final = 2000
CONFIDENCE: Final = 0.95
MIN_BLOCKS: Final = 10
"""Reference blocks below which no interval is given (a judgement)."""

_BATCH: Final = 2_000_000
"""Numbers held at once."""
_FEWEST = 2
"""Blocks that a reference counts for at least: of one alone no scatter is known."""


# -- the published bootstrap ------------------------------------------------------------------------------------------
def published_draws(areas: npt.ArrayLike, *, n_draws: int = PUBLISHED_DRAWS) -> Array:
    """Draw the total area by resampling the areas of tiles, as published.

    Parameters
    ----------
    areas
        (n,) or (years, n) area of each tile, km2, in the order of `blocks.blocks`: row by row from north to south,
        in a row from west to east. The draws depend on it. A year's row must hold the same tiles: then a column of
        the answer is one resampling seen in all years.
    n_draws
        Draws; 10 000 in the publication.

    Returns
    -------
    numpy.ndarray
        (n_draws,) or (years, n_draws), km2.

    Notes
    -----
    Draw k = 0, 1, ... is `numpy.random.default_rng(42 * (k + 1)).choice(areas, size=n, replace=True).sum()` (Maslov et
    al. 2025, doi:10.31223/X5472T): equal seeds, equal draws.

    Raises
    ------
    AnalysisError
        There is no tile, or an area is not a number.
    OptionError
        `n_draws` is below 1.
    """
    a = np.asarray(areas, dtype=np.float64)
    if a.ndim not in {1, 2} or not a.shape[-1] or not np.isfinite(a).all():
        raise AnalysisError(
            f"areas of tiles have the shape {a.shape} or hold NaN; pass (tiles,) or (years, tiles), km2"
        )
    if n_draws < 1:
        raise OptionError(f"n_draws={n_draws} is no number of draws; the publication takes {PUBLISHED_DRAWS}")
    rows = np.atleast_2d(a)
    n, totals = rows.shape[1], np.empty((rows.shape[0], n_draws))
    for k in range(n_draws):
        # What Generator.choice(areas, size=n, replace=True) does; drawn as indices it serves all years.
        index = np.random.default_rng(PUBLISHED_SEED * (k + 1)).integers(0, n, size=n, dtype=np.int64)
        for row, total in zip(rows, totals, strict=True):
            total[k] = row[index].sum()  # one year at a time: equal to the last bit
    return totals[0] if a.ndim == 1 else totals


# -- resampling errors ------------------------------------------------------------------------------------------------
def error_draws(
    errors: npt.ArrayLike,
    exposure: npt.ArrayLike,
    target_exposure: npt.ArrayLike,
    *,
    inside: npt.ArrayLike | None = None,
    design: Design | None = None,
    n_draws: int = N_DRAWS,
    seed: int | np.random.Generator = 42,
    confidence: float = CONFIDENCE,
) -> Array:
    """Draw the total error (map minus truth) of a region from the errors of blocks that have a reference.

    Parameters
    ----------
    errors
        (n,) or (years, n) map minus reference of each reference block, km2; the same blocks in all years, so that
        errors which persist from year to year stay paired.
    exposure
        (n,) or (years, n) what a block's error grows with, above 0: the length of glacier margin in it (best), or its
        area inside the region, so that blocks cut by the region's edge count with their share. Where years have gaps
        it is what each of them saw, 0 for a block that it did not see.
    target_exposure
        (m,) or (years, m) the same of the region's blocks that have no reference; 0 is allowed.
    inside
        (n,) bool: reference blocks that are part of the region. Their errors are known and are added as they are.
        None: none is.
    design
        How much neighbouring blocks depend on each other (`dependence.design`); None: not at all.
    n_draws
        Draws.
    seed
        Seed of `numpy.random.default_rng`, or a generator.
    confidence
        Of the central interval that few blocks widen, between 0 and 1.

    Returns
    -------
    numpy.ndarray
        (n_draws,) or (years, n_draws), km2. Subtract from the mapped area (`estimate`).

    Notes
    -----
    Ratio estimator of the error per exposure, r = sum(e) / sum(x) (Cochran 1977, ch. 6; difference estimator for maps:
    Olofsson et al. 2014, doi:10.1016/j.rse.2014.02.015). A draw resamples the reference blocks for r and gives every
    block of the region an error r x + sqrt(x) z, z resampled from the residuals by the blocks' exposure, so that many
    blocks where next to nothing can be wrong do not hide the scatter of the others: the region's own scatter counts.
    Deviations are widened by sqrt(n / (n - 1)), n = sum(x)^2 / sum(x^2), and by Student's t over the normal quantile,
    so that the central interval of that confidence keeps its meaning for few blocks. Blocks that are not far
    longer than the errors' correlation reaches need their `design`: it widens the deviations once more, and takes
    Student's t with the degrees of freedom left.

    Raises
    ------
    AnalysisError
        Fewer than 10 reference blocks in a year, or a number is not finite.
    OptionError
        Shapes differ, an exposure is negative, or that of a reference block is 0 in all years.
    """
    e, x, target = _checked(errors, exposure, target_exposure)
    (years, n), m = x.shape, target.shape[1]
    known = np.zeros(n, dtype=bool) if inside is None else np.asarray(inside).astype(bool)
    if known.shape != (n,):
        raise OptionError(f"inside has the shape {known.shape}, not ({n},); pass one flag a reference block")
    rng = np.random.default_rng(seed)
    ratio = e.sum(axis=1) / x.sum(axis=1)
    often = x.mean(axis=0) / x.mean(axis=0).sum()  # residuals are drawn by the blocks' exposure
    z, root, total = _residuals(e, x, ratio, often), np.sqrt(target)[:, :, None], target.sum(axis=1)
    mean = ratio * total + e[:, known].sum(axis=1)
    widen = _widening(x, design, confidence)
    draws = np.empty((years, n_draws))
    step = max(1, _BATCH // max(1, years * max(n, m)))
    for start in range(0, n_draws, step):
        k = min(step, n_draws - start)
        times = rng.multinomial(n, np.full(n, 1 / n), size=k)  # how often each block is drawn
        drawn = x @ times.T
        again = np.divide(e @ times.T, drawn, out=np.repeat(ratio[:, None], k, axis=1), where=drawn > 0)
        own = (z[:, rng.choice(n, (k, m), p=often)] @ root)[..., 0]
        draws[:, start : start + k] = mean[:, None] + widen[:, None] * ((again - ratio[:, None]) * total[:, None] + own)
    return draws[0] if np.ndim(errors) == 1 else draws


def _residuals(e: Array, x: Array, ratio: Array, often: Array) -> Array:
    """(years, n) residuals by the root of the exposure, of weighted mean 0; 0 where a year did not see the block.

    They are drawn with the blocks, `often` (n,) of the time each, the same ones in all years; a year that saw few of
    them would seem too sure by the zeros among them, so its own are enlarged.
    """
    seen = x > 0
    weight = np.where(seen, often, 0.0)
    share = weight.sum(axis=1, keepdims=True)
    z = np.divide(e - ratio[:, None] * x, np.sqrt(x), out=np.zeros_like(e), where=seen)
    z = np.where(seen, z - (weight * z).sum(axis=1, keepdims=True) / share, 0.0)
    return np.asarray(z / np.sqrt(share))


def _checked(errors: Any, exposure: Any, target_exposure: Any) -> tuple[Array, Array, Array]:
    """Return errors (years, n), exposures (years, n) and exposures of the targets (years, m)."""
    e, x, target = (np.atleast_2d(np.asarray(v, dtype=np.float64)) for v in (errors, exposure, target_exposure))
    rows = (1, e.shape[0])
    if not e.ndim == x.ndim == target.ndim == 2 or x.shape[1] != e.shape[1] or {len(x), len(target)} - set(rows):
        raise OptionError(
            f"errors {e.shape}, exposure {x.shape} and target_exposure {target.shape} do not fit; "
            "pass (years, n), (n,) and (m,), the latter two also by years"
        )
    if not (np.isfinite(e).all() and np.isfinite(x).all() and np.isfinite(target).all()):
        raise AnalysisError("an error or an exposure is not a number; leave out blocks not observed in all years")
    if np.any(x < 0) or np.any(target < 0) or not np.all(np.any(x > 0, axis=0)):
        raise OptionError("exposure has to be above 0 in reference blocks, in one year at least, and never negative")
    fewest = int((x > 0).sum(axis=1).min())
    if fewest < MIN_BLOCKS:
        raise AnalysisError(
            f"{fewest} reference blocks are too few for an interval; at least {MIN_BLOCKS} are needed in each year: "
            "use smaller blocks if their errors are uncorrelated, or more reference data"
        )
    return e, np.broadcast_to(x, e.shape), np.broadcast_to(target, (e.shape[0], target.shape[1]))


def _widening(x: Array, design: Design | None, confidence: float) -> Array:
    """(years,) what deviations are widened by.

    Residuals are drawn by exposure: their mean square has the expectation 1 - 1 / n of the variance, and n - 1 degrees
    of freedom, with n = sum(x)^2 / sum(x^2) (Kish), to which blocks where next to nothing can be wrong add none.
    """
    from scipy import stats

    blocks = (x > 0).sum(axis=1)
    n = np.maximum(x.sum(axis=1) ** 2 / np.sum(x**2, axis=1), _FEWEST)
    inflation, dof = (1.0, blocks - 1) if design is None else design
    end = (1 + confidence) / 2
    freedom = np.maximum(dof * (n - 1) / (blocks - 1), _FEWEST - 1)
    return np.asarray(inflation * np.sqrt(n / (n - 1)) * stats.t.ppf(end, freedom) / stats.norm.ppf(end))


# -- a bias that blocks share -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class CommonBias:
    """A shift of the mapped margin that everything with the same label shares."""

    sigma_m: float
    """Standard deviation of the shift over labels, metres (positive outward)."""
    labels: Sequence[Any]
    """(years,) what shares a shift: the relative orbit or sensor of each year, or the year itself."""


def common_bias_draws(
    margin_km: npt.ArrayLike,
    biases: Mapping[str, CommonBias],
    *,
    n_draws: int = N_DRAWS,
    seed: int | np.random.Generator = 42,
) -> Array:
    """Draw area errors that come from a common shift of the margin.

    Parameters
    ----------
    margin_km
        (years,) length of the glacier margin, km.
    biases
        By name ("orbit", "sensor", "year"): how large, and who shares it. A bias shared by all years cancels in a
        trend, one by year does not.
    n_draws
        Draws.
    seed
        Seed of `numpy.random.default_rng`, or a generator. The same seed gives a label the same shifts, whatever other
        labels are there: the draws of regions, or of maps of other years, can then be added column by column.

    Returns
    -------
    numpy.ndarray
        (years, n_draws), km2: margin length times the sum of the shifts.

    Notes
    -----
    First order in the shift: 10 m along a margin of 16 900 km are 169 km2. The sigma is an input: from a reference in
    several years (`between_groups` of the yearly biases), from overlapping orbits, or a judgement to be named.

    Raises
    ------
    OptionError
        Not one label a year, or a negative sigma.
    """
    length = np.asarray(margin_km, dtype=np.float64)
    if length.ndim != 1 or not np.all(length >= 0):
        raise OptionError(f"margin_km has the shape {length.shape} or is negative or NaN; pass one length a year, km")
    base = int(np.random.default_rng(seed).integers(2**63))
    shift = np.zeros((length.size, n_draws))
    for name, bias in biases.items():
        if len(bias.labels) != length.size or not bias.sigma_m >= 0:
            raise OptionError(
                f"common bias {name!r} has {len(bias.labels)} labels for {length.size} years and sigma_m "
                f"{bias.sigma_m}; pass one label a year and a sigma of 0 or more"
            )
        drawn = {
            label: np.random.default_rng([base, zlib.crc32(f"{name} {label}".encode())]).normal(
                0, bias.sigma_m, n_draws
            )
            for label in dict.fromkeys(bias.labels)
        }
        shift += np.stack([drawn[label] for label in bias.labels])
    return np.asarray(length[:, None] * shift / 1000)


def between_groups(values: npt.ArrayLike, sigma: npt.ArrayLike) -> float:
    """Estimate the standard deviation of the true values of groups from noisy ones, in their unit.

    Parameters
    ----------
    values
        (g,) e.g. the margin's bias in each year, metres; two or more.
    sigma
        (g,) standard error of each.

    Raises
    ------
    AnalysisError
        Fewer than two values, one that is no number, or not an error above 0 for each.

    Notes
    -----
    Method of moments (DerSimonian and Laird 1986, doi:10.1016/0197-2456(86)90046-2); 0 where the scatter is no larger
    than the errors explain.
    """
    v, s = np.asarray(values, dtype=np.float64), np.asarray(sigma, dtype=np.float64)
    if v.ndim != 1 or v.size < 2 or s.shape != v.shape or not np.all(s > 0) or not np.isfinite(v).all():
        raise AnalysisError(f"between_groups needs two or more values with errors above 0; got {v.shape} and {s.shape}")
    w = 1 / s**2
    scatter = np.sum(w * (v - np.sum(w * v) / w.sum()) ** 2)
    return float(np.sqrt(max(0.0, (scatter - (v.size - 1)) / (w.sum() - np.sum(w**2) / w.sum()))))


# -- the result -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class AreaEstimate:
    """An area with its bias and interval, km2."""

    mapped: float
    """As mapped."""
    bias: float
    """Signed bias of the map, map minus truth: the mean of the error draws."""
    bias_interval: tuple[float, float]
    """Of the map's error."""
    adjusted: float
    """mapped - bias."""
    interval: tuple[float, float]
    """Of the true area."""
    sigma: float
    """Standard deviation of the total error."""
    components: Mapping[str, float]
    """Standard deviation of each source of error."""


def estimate(mapped: float, errors: Mapping[str, npt.ArrayLike], *, confidence: float = 0.95) -> AreaEstimate:
    """Join error draws into an adjusted area with its interval and the signed bias.

    Parameters
    ----------
    mapped
        Mapped area, km2.
    errors
        By name: (n,) draws of map minus truth, km2, independent between names (`error_draws`, `common_bias_draws` of
        one year).
    confidence
        Of the intervals, between 0 and 1.

    Raises
    ------
    OptionError
        No draws, draws of different length, or a confidence outside 0..1.
    """
    parts = {name: np.asarray(draws, dtype=np.float64) for name, draws in errors.items()}
    shapes = {part.shape for part in parts.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1 or next(iter(shapes))[0] < 2:
        raise OptionError(f"the error draws have the shapes {sorted(shapes)}; pass (n,) draws of one year each")
    if not 0 < confidence < 1:
        raise OptionError(f"confidence={confidence} lies outside 0..1; 0.95 is the default")
    total = np.sum(list(parts.values()), axis=0)
    bias = float(total.mean())
    low, high = (float(v) for v in np.quantile(total, [(1 - confidence) / 2, (1 + confidence) / 2]))
    return AreaEstimate(
        mapped=float(mapped),
        bias=bias,
        bias_interval=(low, high),
        adjusted=float(mapped) - bias,
        interval=(float(mapped) - high, float(mapped) - low),
        sigma=float(total.std(ddof=1)),
        components={name: float(part.std(ddof=1)) for name, part in parts.items()},
    )
