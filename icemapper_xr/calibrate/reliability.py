"""Shannon confidence of a map, and how reliable it is: sums over bins of confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions
from icemapper_xr.errors import OptionError

__all__ = ["Bins", "bin_confidence", "expected_calibration_error", "reliability", "shannon_confidence"]

Array = npt.NDArray[np.float64]

N_BINS: Final = 100
"""Equal bins of confidence in fits and in the expected calibration error (Maslov et al. 2025)."""
P_CLIP: Final = 1e-6
"""Probabilities are clipped to [P_CLIP, 1 - P_CLIP] before the entropy (Maslov et al. 2025); what lies farther than
this outside 0..1 is none (percent, a fill value), and clipped would pass as certain."""


def shannon_confidence(probability: npt.ArrayLike) -> Array:
    """Return the Shannon confidence 1 - H2(p), H2 being the binary entropy in bits.

    Parameters
    ----------
    probability
        Glacier probability, 0..1, any shape; clipped to [1e-6, 1 - 1e-6]. NaN stays NaN.

    Returns
    -------
    numpy.ndarray
        float64, 0 (p = 0.5) to 0.99998 (p = 0 or 1), unit 1.

    Raises
    ------
    OptionError
        A probability lies outside 0..1.

    Notes
    -----
    Maslov et al. (2025), doi:10.31223/X5472T.

    Examples
    --------
    >>> shannon_confidence([0.5, 0.75]).round(4)
    array([0.    , 0.1887])
    """
    given = np.asarray(probability, dtype=np.float64)
    low, high = np.fmin.reduce(given, axis=None, initial=1.0), np.fmax.reduce(given, axis=None, initial=0.0)
    if low < -P_CLIP or high > 1 + P_CLIP:
        raise OptionError(f"probability runs from {low:g} to {high:g}; it has to lie in 0..1 (percent: divide by 100)")
    p = np.clip(given, P_CLIP, 1 - P_CLIP)
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return np.asarray(np.maximum(1 - entropy, 0.0))


@dataclass(frozen=True, eq=False)
class Bins:
    """Sums over equal bins of confidence from 0 to 1; those of two parts of a validation set can be added."""

    count: npt.NDArray[np.int64]
    """(n,) pixels in each bin [i / n, (i + 1) / n); the last bin includes 1."""
    confidence_sum: Array
    """(n,) sum of their confidence."""
    correct: Array
    """(n,) how many of them have the right class."""

    def __add__(self, other: Bins) -> Bins:
        if self.count.size != other.count.size:
            raise OptionError(
                f"reliability in {self.count.size} and {other.count.size} bins cannot be added; use equal numbers"
            )
        return Bins(self.count + other.count, self.confidence_sum + other.confidence_sum, self.correct + other.correct)

    def filled(self) -> tuple[Array, Array, Array]:
        """Mean confidence, accuracy and count of the bins that are not empty."""
        some = self.count > 0
        n = self.count[some].astype(np.float64)
        return self.confidence_sum[some] / n, self.correct[some] / n, n

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean over all pixels of |accuracy - mean confidence| of their bin; unit 1."""
        confidence, accuracy, n = self.filled()
        return float(np.sum(n * np.abs(accuracy - confidence)) / np.sum(n)) if n.size else float("nan")


def bin_confidence(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = N_BINS) -> Bins:
    """Sort pixels into equal bins of confidence.

    Parameters
    ----------
    confidence
        Confidence in the mapped class, 0..1, any shape; pixels with NaN are left out.
    correct
        Whether the mapped class is right, bool (or 0 and 1, NaN = unknown and left out), same shape.
    bins
        Number of bins.

    Raises
    ------
    OptionError
        The shapes differ, a confidence lies outside 0..1, `correct` is more than yes and no, or there is no bin.
    """
    c, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct)
    if c.shape != right.shape:
        raise OptionError(f"confidence {c.shape} and correct {right.shape} differ in shape; pass one flag per pixel")
    if not isinstance(bins, int | np.integer) or bins < 1:
        raise OptionError(f"bins={bins} is no number of bins; use a whole number, 1 or more")
    right = _flags(right, "correct")
    known = ~np.isnan(c) & ~np.isnan(right)
    c, right = c[known], right[known]
    if c.size and (c.min() < 0 or c.max() > 1):
        raise OptionError(f"confidence runs from {c.min():g} to {c.max():g}; it has to lie in 0..1")
    index = np.minimum((c * bins).astype(np.int64), bins - 1)
    return Bins(
        np.bincount(index, minlength=bins),
        np.bincount(index, weights=c, minlength=bins).astype(np.float64),
        np.bincount(index, weights=right, minlength=bins).astype(np.float64),
    )


def reliability(probability: npt.ArrayLike, glacier: npt.ArrayLike, *, bins: int = N_BINS) -> Bins:
    """Bin the Shannon confidence of a map against the truth: what both fits take.

    Parameters
    ----------
    probability
        Uncalibrated glacier probability, 0..1, any shape; pixels with NaN are left out.
    glacier
        The truth, bool (or 0 and 1, NaN = unknown and left out), same shape.
    bins
        Number of equal bins of confidence.

    Raises
    ------
    OptionError
        The shapes differ, a probability lies outside 0..1, or the truth has other values than 0 and 1.
    """
    p, truth = np.asarray(probability, dtype=np.float64), np.asarray(glacier)
    if p.shape != truth.shape:
        raise OptionError(f"probability {p.shape} and glacier {truth.shape} differ in shape; pass one truth per pixel")
    truth = _flags(truth, "glacier")
    correct = np.where(np.isnan(truth), np.nan, (p >= conventions.THRESHOLD) == truth)
    return bin_confidence(shannon_confidence(p), correct, bins=bins)


def _flags(values: npt.NDArray[np.generic], name: str) -> Array:
    """Return yes and no as 1 and 0, NaN where nobody knows; as bool a NaN and a fill value of 255 would mean yes."""
    flags = values.astype(np.float64)
    other = ~np.isnan(flags) & (flags != 0) & (flags != 1)
    if other.any():
        raise OptionError(f"{name} holds {flags[other][0]:g}; give 1 and 0, and NaN where it is unknown")
    return flags


def expected_calibration_error(confidence: npt.ArrayLike, correct: npt.ArrayLike, *, bins: int = N_BINS) -> float:
    """Return the mean distance of accuracy from confidence over equal bins of confidence, weighted by pixels.

    Parameters
    ----------
    confidence
        Confidence in the mapped class, 0..1: `shannon_confidence(p)` before, `model(shannon_confidence(p))` after.
    correct
        Whether the mapped class is right, bool, same shape.
    bins
        Number of bins; the published errors (0.80909 before, 0.00360 after) use 100.
    """
    return bin_confidence(confidence, correct, bins=bins).expected_error
