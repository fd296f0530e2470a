"""Confidence, its reliability, and calibration maps kept as plain numbers.

Everything is a function of the Shannon confidence c = 1 - H2(p) of a pixel's glacier probability p: a map turns c into
the probability that the mapped class (glacier where p >= 0.5) is right. Two kinds of map:

- `KernelRidge`, the recipe of Maslov, Schellenberger, Persello and Stein (2025), doi:10.31223/X5472T, for comparison.
  Its anchor (0, 0) takes it below 0.5 where p is near 0.5, and a confidence below 0.5 in the mapped class says that
  the other class is the likelier one: the calibrated probability there lies on the other side of 0.5.
- `Monotone`, the default: isotonic regression on the same bins, never below 0.5, so that no pixel changes its class.
"""

from __future__ import annotations

from icemapper_xr.calibrate.cube import calibrate, calibrated_probability, reached_at
from icemapper_xr.calibrate.fits import fit_kernel_ridge, fit_monotone
from icemapper_xr.calibrate.maps import (
    KernelRidge,
    Model,
    Monotone,
    choose,
    from_dict,
    published,
    read,
    to_dict,
    write,
)
from icemapper_xr.calibrate.reliability import (
    Bins,
    bin_confidence,
    expected_calibration_error,
    reliability,
    shannon_confidence,
)

__all__ = [
    "Bins",
    "KernelRidge",
    "Model",
    "Monotone",
    "bin_confidence",
    "calibrate",
    "calibrated_probability",
    "choose",
    "expected_calibration_error",
    "fit_kernel_ridge",
    "fit_monotone",
    "from_dict",
    "published",
    "reached_at",
    "read",
    "reliability",
    "shannon_confidence",
    "to_dict",
    "write",
]
