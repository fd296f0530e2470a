"""What a stack of radar images of one place is like, in numbers that real and simulated data can be compared by."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage
from scipy.special import polygamma

from icemapper_xr._types import FloatArray

__all__ = ["CoherenceStatistics", "StackStatistics", "coherence", "stack"]

WINDOW = 9
"""Side of the window whose mean is taken off before speckle is looked at, pixels."""
LOWEST = 1e-4
"""Power to which darker values are lifted before the logarithm (-40 dB)."""


@dataclass(frozen=True)
class StackStatistics:
    """Backscatter of one place on several dates."""

    looks: float
    """Equivalent looks of the speckle, from the ratio of successive dates."""
    lag_x: float
    """Correlation of the speckle between neighbours in a row."""
    lag_y: float
    """The same in a column."""
    p1: float
    """1 % of the values are darker, dB."""
    p50: float
    """Median, dB."""
    p99: float
    """1 % are brighter, dB."""
    pixel_std: float
    """Standard deviation in time of a pixel, median over the pixels, dB."""
    scene_std: float
    """Standard deviation in time of the scene's mean, dB."""
    spatial_std: float
    """Standard deviation over the scene of the mean in time, dB."""

    def row(self) -> dict[str, float]:
        """Numbers by name."""
        return asdict(self)


def stack(power: FloatArray) -> StackStatistics:
    """Describe a stack of linear backscatter.

    Speckle is seen in the ratio of two dates, in which the ground, if it stayed as it was, is gone: the logarithm of
    gamma-distributed power with L looks has the variance psi'(L), that of the ratio twice as much. Change between the
    dates adds to it, so that the looks are rather too few. The mean over 9 pixels that is
    taken off first lowers broad correlations: 0.6 is found as 0.54.

    Parameters
    ----------
    power
        `(time, y, x)`, at least two dates, linear, finite.
    """
    logarithm = np.log(np.maximum(power, LOWEST))
    decibel = logarithm * (10 / np.log(10))
    ratios = [_ratio(a, b) for a, b in itertools.pairwise(logarithm)]
    variance, lag_x, lag_y = np.median(ratios, axis=0)
    return StackStatistics(
        looks=_looks(float(variance)),
        lag_x=float(lag_x),
        lag_y=float(lag_y),
        p1=float(np.quantile(decibel, 0.01)),
        p50=float(np.median(decibel)),
        p99=float(np.quantile(decibel, 0.99)),
        pixel_std=float(np.median(decibel.std(axis=0))),
        scene_std=float(decibel.mean(axis=(1, 2)).std()),
        spatial_std=float(decibel.mean(axis=0).std()),
    )


def _ratio(one: FloatArray, other: FloatArray) -> tuple[float, float, float]:
    """Variance of the speckle's logarithm, and its correlation at lag one in x and in y."""
    field = one - other
    field = field - ndimage.uniform_filter(field, WINDOW)
    square = float((field * field).mean())
    # what the window's mean took: its own share of the variance, and as much of each covariance
    lost = square / (WINDOW * WINDOW - 1)
    x = float((field[:, 1:] * field[:, :-1]).mean())
    y = float((field[1:] * field[:-1]).mean())
    total = square + lost
    return total / 2, (x + lost) / total, (y + lost) / total


def _looks(variance: float) -> float:
    """Invert psi'(L) = variance, between 0.5 and 200 looks."""
    known = np.geomspace(0.5, 200, 2_000)
    return float(np.interp(-variance, -polygamma(1, known), known))


@dataclass(frozen=True)
class CoherenceStatistics:
    """Coherence of one place over several pairs."""

    mean: float
    std: float
    """Standard deviation over the pixels of a pair, mean over the pairs."""
    lowest: float
    """Lowest value of a pair, mean over the pairs."""


def coherence(values: FloatArray) -> CoherenceStatistics:
    """Describe a stack of coherence images `(time, y, x)`."""
    return CoherenceStatistics(
        mean=float(values.mean()),
        std=float(values.std(axis=(1, 2)).mean()),
        lowest=float(values.min(axis=(1, 2)).mean()),
    )
