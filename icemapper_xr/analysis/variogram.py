"""How far errors of a map hang together: variogram of a residual field, block length, error of a total.

Everything runs on a regular grid of residuals (map minus reference, NaN where there is none) by Fourier transforms,
over all pairs of cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr.errors import AnalysisError, OptionError

__all__ = ["Empirical", "Variogram", "block_length", "empirical", "fit", "total_sigma"]

Array = npt.NDArray[np.float64]

UNCORRELATED: Final = 0.05
"""Correlation below which blocks count as independent (a judgement: the practical range of geostatistics)."""


SIGNIFICANT: Final = 9.21
"""Gain in chi square from which a correlated part is believed (99 % of chi square with two more parameters)."""


class Empirical(NamedTuple):
    """Semivariance by distance."""

    lag: Array
    """(n,) mean distance of the pairs in each bin, in the unit of the spacing."""
    semivariance: Array
    """(n,) half the mean squared difference, in the residual's unit squared."""
    pairs: Array
    """(n,) pairs."""


@dataclass(frozen=True)
class Variogram:
    """Exponential model: nugget + sill (1 - exp(-lag / length)), 0 at lag 0."""

    nugget: float
    """Variance without spatial correlation."""
    sill: float
    """Variance that is correlated."""
    length: float
    """Distance over which the correlation falls to 1 / e, in the unit of the lags."""

    def __call__(self, lag: npt.ArrayLike) -> Array:
        """Return the semivariance at a distance."""
        h = np.asarray(lag, dtype=np.float64)
        return np.where(h > 0, self.nugget + self.sill * (1 - np.exp(-h / self.length)), 0.0)

    def covariance(self, lag: npt.ArrayLike) -> Array:
        """Return the covariance at a distance."""
        h = np.asarray(lag, dtype=np.float64)
        return np.where(h > 0, 0.0, self.nugget) + self.sill * np.exp(-h / self.length)


def empirical(residual: npt.ArrayLike, spacing: float, *, max_lag: float, n_bins: int = 15) -> Empirical:
    """Compute the semivariance of a residual field in rings of distance.

    Parameters
    ----------
    residual
        (rows, columns) map minus reference, any unit, mean removed by the pairs themselves; NaN is left out.
    spacing
        Distance of neighbouring cells, m or km.
    max_lag
        Largest distance, same unit; at most half the extent is well founded.
    n_bins
        Rings of equal width.

    Raises
    ------
    AnalysisError
        Fewer than two cells have a residual within reach of each other.
    OptionError
        The residuals are no (rows, columns), the spacing is not above 0, `max_lag` is below it, or there is no ring.

    Notes
    -----
    Matheron's estimator over all pairs; sums by FFT (Marcotte 1996, doi:10.1016/S0098-3004(96)00026-X).
    """
    z = np.asarray(residual, dtype=np.float64)
    if z.ndim != 2 or not spacing > 0 or not max_lag >= spacing or n_bins < 1:
        raise OptionError(
            f"residual has {z.ndim} dims, spacing={spacing}, max_lag={max_lag}, n_bins={n_bins}; pass (rows, columns), "
            "a spacing above 0 and a max_lag of at least that"
        )
    seen = np.isfinite(z)
    m = seen.astype(np.float64)
    if not seen.any():
        raise AnalysisError("the residual field is empty; pass one with reference data")
    filled = np.where(seen, z - z[seen].mean(), 0.0)
    reach = int(max_lag / spacing)
    shape = tuple(n + min(reach, n) for n in z.shape)  # no wrap-around up to the reach
    f, f2, fm = (np.fft.rfft2(v, shape) for v in (filled, filled**2, m))
    pairs = np.fft.irfft2(fm.conj() * fm, shape)
    squares = np.fft.irfft2(f2.conj() * fm + fm.conj() * f2 - 2 * f.conj() * f, shape)
    distance = _distances(shape, spacing)
    usable = (pairs > 0.5) & (distance > 0) & (distance <= max_lag)
    if not usable.any():
        raise AnalysisError(f"no two residuals lie within max_lag={max_lag:g} of each other; take a longer one")
    ring = np.minimum((distance[usable] / max_lag * n_bins).astype(np.int64), n_bins - 1)
    n = np.bincount(ring, np.round(pairs[usable]), n_bins)
    some = n > 0
    gamma = np.bincount(ring, squares[usable], n_bins)[some] / (2 * n[some])
    lag = np.bincount(ring, np.round(pairs[usable]) * distance[usable], n_bins)[some] / n[some]
    return Empirical(lag, np.maximum(gamma, 0.0), n[some] / 2)  # every pair was met from both ends


def fit(points: Empirical) -> Variogram:
    """Fit the exponential model by weighted least squares.

    Weights are the pairs over the squared model (Cressie 1985, doi:10.1007/BF01032109), found in two rounds; for each
    of 200 lengths the nugget and the sill, not negative, are exact. If a correlated part does not improve the fit
    significantly there is none: a sliver of it with a long range would multiply the error of a total.

    Raises
    ------
    AnalysisError
        Fewer than three points.
    """
    if points.lag.size < 3:
        raise AnalysisError(f"{points.lag.size} lags are too few for a variogram; use more bins or a longer max_lag")
    level = float(np.average(points.semivariance, weights=points.pairs))
    if level == 0:
        return Variogram(0.0, 0.0, float(points.lag[0]))
    flat = Variogram(level, 0.0, float(points.lag[0]))
    model = flat
    for _ in range(2):
        weight = np.sqrt(points.pairs) / np.maximum(model(points.lag), 1e-6 * level)
        model = _fit_weighted(points, weight)
    gain = _misfit(points, flat) - _misfit(points, model)
    return model if gain > SIGNIFICANT else flat


def _fit_weighted(points: Empirical, weight: Array) -> Variogram:
    from scipy import optimize

    best, model = np.inf, Variogram(0.0, 0.0, float(points.lag[0]))
    for length in np.geomspace(points.lag.min() / 5, points.lag.max(), 200):
        design = np.c_[np.ones(points.lag.size), 1 - np.exp(-points.lag / length)]
        (nugget, sill), rest = optimize.nnls(design * weight[:, None], points.semivariance * weight)
        if rest < best:
            best, model = rest, Variogram(float(nugget), float(sill), float(length))
    return model


def _misfit(points: Empirical, model: Variogram) -> float:
    """Chi square: the variance of a semivariance is 2 gamma^2 / pairs where the pairs are independent."""
    gamma = np.maximum(model(points.lag), 1e-6 * points.semivariance.max())
    return float(np.sum(points.pairs * (points.semivariance - gamma) ** 2 / (2 * gamma**2)))


def block_length(model: Variogram, *, correlation: float = UNCORRELATED, multiple_of: float | None = None) -> float:
    """Propose the side of a block: where the correlated part of the errors has fallen to `correlation`.

    Parameters
    ----------
    model
        Of the residuals (`fit`).
    correlation
        Between 0 and 1; 0.05 gives three correlation lengths.
    multiple_of
        Round up to a multiple of this, such as the pixel size; None does not.

    Raises
    ------
    OptionError
        The correlation is not between 0 and 1.
    """
    if not 0 < correlation < 1:
        raise OptionError(f"correlation={correlation} lies outside 0..1; {UNCORRELATED} is the default")
    length = -model.length * np.log(correlation) if model.sill > 0 else 0.0
    if multiple_of is None:
        return float(length)
    return float(max(1.0, np.ceil(length / multiple_of)) * multiple_of)


def total_sigma(model: Variogram, weights: npt.ArrayLike, spacing: float) -> float:
    """Return the standard deviation of a weighted sum of a stationary error field.

    Parameters
    ----------
    model
        Of the residuals in each cell.
    weights
        (rows, columns) what an error of 1 in a cell adds to the sum, e.g. the cell's area in km2 for residuals of
        probability; 0 outside the region.
    spacing
        Distance of neighbouring cells, in the unit of the model.

    Returns
    -------
    float
        sqrt(sum_ij w_i w_j C(d_ij)), over all pairs exactly, by FFT; in the unit of weight times residual.

    Raises
    ------
    OptionError
        The weights are no (rows, columns) of numbers, or the spacing is not above 0.
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 2 or not np.isfinite(w).all() or not spacing > 0:
        raise OptionError(f"weights have {w.ndim} dims or hold NaN, spacing={spacing}; pass (rows, columns), 0 outside")
    shape = tuple(2 * n for n in w.shape)
    spectrum = np.fft.rfft2(w, shape)
    pairs = np.fft.irfft2(np.abs(spectrum) ** 2, shape)
    distance = _distances(shape, spacing)
    return float(np.sqrt(max(0.0, float(np.sum(pairs * model.covariance(distance))))))


def _distances(shape: tuple[int, ...], spacing: float) -> Array:
    """Return the distance of every lag of a transform, which goes on from its last row and column at the first."""
    dy, dx = (np.minimum(np.arange(n), n - np.arange(n)) for n in shape)
    return np.hypot(dy[:, None], dx[None, :]) * spacing
