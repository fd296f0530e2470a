"""Rates of many glaciers at once: where so many are tested, some seem to change by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from icemapper_xr.analysis import rates
from icemapper_xr.analysis.series import Acquisition
from icemapper_xr.errors import AnalysisError, OptionError

__all__ = ["benjamini_hochberg", "glacier_rates"]

Array = npt.NDArray[np.float64]

MIN_YEARS = 3
"""Years below which a line says nothing of its own error."""


def glacier_rates(
    years: npt.ArrayLike,
    areas: npt.ArrayLike,
    *,
    names: Sequence[Any] | None = None,
    acquisitions: Sequence[Acquisition] | None = None,
    level: float = 0.05,
) -> pd.DataFrame:
    """Fit a trend to each glacier, with false-discovery control over all of them.

    Parameters
    ----------
    years
        (n,) years.
    areas
        (glaciers, n) areas, km2; NaN where a glacier has none in a year.
    names
        (glaciers,) index of the table; None numbers them from 0.
    acquisitions
        (n,) as in `rates.trend`; None: the same throughout.
    level
        Share of false discoveries accepted among the glaciers called changing, between 0 and 1.

    Returns
    -------
    pandas.DataFrame
        One row a glacier: `rate` (km2 a-1), `lower`, `upper` (95 %, Student), `theil_sen` (km2 a-1), `relative_rate`
        (a-1, of the mean area), `n_years`, `lack_of_fit`, `p_value`, `p_adjusted`, `changing` (p_adjusted <= level).
        A glacier with fewer than three years has NaN and is not changing.

    Raises
    ------
    AnalysisError
        As in `rates.trend`, for the first glacier concerned.
    OptionError
        The level lies outside 0..1, or the shapes do not fit.
    """
    t, a = np.asarray(years, dtype=np.float64), np.asarray(areas, dtype=np.float64)
    if a.ndim != 2 or t.ndim != 1 or a.shape[1] != t.size:
        raise OptionError(f"there are {t.shape} years and areas of shape {a.shape}; pass areas (glaciers, years)")
    if not 0 < level < 1:
        raise OptionError(f"level={level} lies outside 0..1; 0.05 is the default")
    index = list(range(len(a))) if names is None else list(names)
    for what, given, expected in (("names", index, len(a)), ("acquisitions", acquisitions, t.size)):
        if given is not None and len(given) != expected:
            raise OptionError(f"there are {len(given)} {what} for areas of shape {a.shape}; pass {expected}")
    rows = [_glacier(t, row, acquisitions, name) for row, name in zip(a, index, strict=True)]
    table = pd.DataFrame(rows, index=pd.Index(index, name="glacier"), columns=_COLUMNS)
    table["p_adjusted"] = benjamini_hochberg(table["p_value"].to_numpy(dtype=np.float64))
    table["changing"] = (table["p_adjusted"] <= level).to_numpy(dtype=bool)
    return table.astype({"n_years": int})


_COLUMNS = ["rate", "lower", "upper", "theil_sen", "relative_rate", "n_years", "lack_of_fit", "p_value"]


def _glacier(
    t: Array, row: Array, acquisitions: Sequence[Acquisition] | None, name: Any
) -> tuple[float, float, float, float, float, int, float, float]:
    seen = np.isfinite(row)
    n = np.unique(t[seen]).size
    if n < MIN_YEARS:
        return np.nan, np.nan, np.nan, np.nan, np.nan, n, np.nan, np.nan
    kinds = None if acquisitions is None else [kind for kind, keep in zip(acquisitions, seen, strict=True) if keep]
    try:
        found = rates.trend(t[seen], row[seen], acquisitions=kinds)
    except AnalysisError as error:
        raise AnalysisError(f"glacier {name}: {error}") from error
    assert found.student is not None
    mean = float(row[seen].mean())
    relative = found.rate / mean if mean > 0 else np.nan
    return found.rate, *found.student, found.theil_sen, relative, n, found.lack_of_fit, found.p_value


def benjamini_hochberg(p_values: npt.ArrayLike) -> Array:
    """Return p-values adjusted for many tests: those at most q have a false-discovery rate of at most q.

    Parameters
    ----------
    p_values
        (n,) p-values, 0..1; NaN is no test and stays NaN.

    Raises
    ------
    OptionError
        A p-value lies outside 0..1.

    Notes
    -----
    Benjamini and Hochberg (1995), doi:10.1111/j.2517-6161.1995.tb02031.x; valid for independent tests and for
    positively dependent ones (Benjamini and Yekutieli 2001), as neighbouring glaciers are.
    """
    from scipy import stats

    p = np.asarray(p_values, dtype=np.float64)
    tested = ~np.isnan(p)
    if np.any((p[tested] < 0) | (p[tested] > 1)):
        raise OptionError("a p-value lies outside 0..1; pass p-values, not test statistics")
    adjusted = np.full(p.shape, np.nan)
    if tested.any():
        adjusted[tested] = stats.false_discovery_control(p[tested], method="bh")
    return adjusted
