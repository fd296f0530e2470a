"""Fit a calibration map to the bins of a validation set."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from icemapper_xr.calibrate.maps import KernelRidge, Monotone
from icemapper_xr.calibrate.reliability import Bins
from icemapper_xr.errors import AnalysisError, OptionError

__all__ = ["fit_kernel_ridge", "fit_monotone"]

Array = npt.NDArray[np.float64]

RIDGE: Final = 0.01
"""alpha_i = RIDGE (1 - w_i) of the published recipe."""
WEIGHT_POWER: Final = 0.1
"""w_i = (n_i / n_max) ** WEIGHT_POWER of the published recipe."""


def fit_kernel_ridge(bins: Bins, *, gamma: float = 1.0, source: str = "") -> KernelRidge:
    """Fit the published map: kernel ridge regression on the bins, with anchors (0, 0) and (1, 1).

    Parameters
    ----------
    bins
        From `reliability`, 100 of them in the publication.
    gamma
        Inverse length of the Laplacian kernel; 1 in the publication.
    source
        A note of where the data come from, kept with the numbers.

    Notes
    -----
    Solves (K + diag(alpha)) a = y with alpha_i = 0.01 (1 - w_i) and w_i = (n_i / n_max) ** 0.1; the anchors have
    weight 1, so the map goes through them (Maslov et al. 2025, doi:10.31223/X5472T).

    Raises
    ------
    OptionError
        `gamma` is not above 0.
    AnalysisError
        All bins are empty.
    """
    if not (np.isfinite(gamma) and gamma > 0):
        raise OptionError(f"gamma={gamma:g} makes no map; it must be above 0 (1 in the publication)")
    x, y, n = _filled(bins)
    inside = (x > 0) & (x < 1)  # a bin whose mean is an anchor's place would make the system singular
    x, y, w = x[inside], y[inside], (n[inside] / n.max()) ** WEIGHT_POWER
    x, y, w = np.r_[0.0, x, 1.0], np.r_[0.0, y, 1.0], np.r_[1.0, w, 1.0]
    kernel = np.exp(-gamma * np.abs(x[:, None] - x[None, :]))
    dual = np.linalg.solve(kernel + np.diag(RIDGE * (1 - w)), y)
    return KernelRidge(tuple(x.tolist()), tuple(dual.tolist()), gamma, source)


def fit_monotone(bins: Bins, *, source: str = "") -> Monotone:
    """Fit the default map: isotonic regression on the bins, at least 0.5, starting at (0, 0.5).

    At c = 0 both classes are equally likely by definition, hence the anchor. Above the highest confidence seen the
    map stays at its last value: the publication's anchor (1, 1) claims there what no pixel has shown.

    Parameters
    ----------
    bins
        From `reliability`.
    source
        A note of where the data come from, kept with the numbers.

    Notes
    -----
    Pool-adjacent-violators, weighted by the bins' counts (Barlow et al. 1972; Zadrozny and Elkan 2002,
    doi:10.1145/775047.775151).

    Raises
    ------
    AnalysisError
        All bins are empty.
    """
    from sklearn.isotonic import isotonic_regression

    x, y, n = _filled(bins)
    fitted = np.maximum.accumulate(np.clip(isotonic_regression(y, sample_weight=n), 0.5, 1.0))  # rounding of the means
    if x[0] > 0:
        x, fitted = np.r_[0.0, x], np.r_[0.5, fitted]
    else:
        fitted[0] = 0.5
    return Monotone(tuple(x.tolist()), tuple(fitted.tolist()), source)


def _filled(bins: Bins) -> tuple[Array, Array, Array]:
    x, y, n = bins.filled()
    if not n.size:
        raise AnalysisError("no pixel to calibrate on: all bins are empty; pass a validation set with data")
    return x, y, n
