"""A temporal filter over yearly glacier probabilities: one-year flicker goes, retreat and surges stay.

The filter behind the published areas is not public (Maslov et al. 2025, doi:10.31223/X5472T). Ours is the running
median of three years, repeated until nothing changes (Tukey 1977, Exploratory Data Analysis, ch. 7: "3R"; the end
points are kept). It works on each pixel's series alone, so it is lazy and does not depend on chunks.

Why this one: a median of three leaves every series that only rises or only falls as it is, to the last bit, so a
margin that retreats or a surge that advances is neither delayed nor smoothed; a state that lasts two years stays; a
single year that differs from both its neighbours gets the nearer one's value. Repeated, it ends in a series that it
no longer changes (a root; Gallagher and Wise 1981, doi:10.1109/TASSP.1981.1163708), also where single years alternate.
It commutes with every rising map of probability: calibrating before or after it is the same.

What it cannot do: tell flicker from change in the first and the last year of a series, which it leaves alone; and
keep what truly lasted one year, such as the strip that was bared in the last summer before a surge. Rates from filtered
areas belong beside those from unfiltered ones: the filter correlates neighbouring years.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from icemapper_xr import conventions as cv
from icemapper_xr.errors import AnalysisError, OptionError

__all__ = ["ATTR_FILTER", "DESCRIPTION", "MAX_GAP_YEARS", "filter_series", "temporal"]

ATTR_FILTER: Final = "temporal_filter"
"""On a filtered variable: what was done, in words."""
MAX_GAP_YEARS: Final = 2
"""Years to a neighbour beyond which it says nothing of flicker: one missing year is bridged (a judgement)."""
DESCRIPTION: Final = (
    "running median of three years, repeated until nothing changes (Tukey 1977, 3R), first and last year kept; "
    "neighbours up to {gap} years away"
)
FILTERED: Final = (cv.PROBABILITY, cv.CALIBRATED)
"""Variables of a result that `temporal` filters."""

AnyArray = npt.NDArray[Any]
Result = TypeVar("Result", xr.Dataset, xr.DataArray)


def temporal(result: Result, *, max_gap_years: int = MAX_GAP_YEARS) -> Result:
    """Filter yearly probabilities in time, lazily if they are lazy.

    Parameters
    ----------
    result
        Probability, dims (year, y, x) in any order, 0..1, NaN = not observed; or a Dataset with `probability` and
        perhaps `calibrated_probability`, whose other variables stay as they are. Years ascending, gaps allowed.
    max_gap_years
        A year's neighbours are the nearest years before and after it in which the pixel was observed, if they are at
        most this far away; 1 or more. A year without a neighbour on either side is kept.

    Returns
    -------
    xarray.Dataset or xarray.DataArray
        As given, float type kept, NaN where it was NaN. The attribute `temporal_filter` says what was done.

    Raises
    ------
    AnalysisError
        There is no dimension `year`, no probability, the years do not ascend or are dates, or the probability is of
        whole numbers, which have no NaN.
    OptionError
        `max_gap_years` is below 1.

    Examples
    --------
    >>> import xarray as xr
    >>> years = [2019, 2020, 2021, 2022, 2023]
    >>> p = xr.DataArray([0.9, 0.9, 0.2, 0.9, 0.1], {"year": years}, "year")
    >>> temporal(p).values
    array([0.9, 0.9, 0.9, 0.2, 0.1])
    """
    if isinstance(result, xr.Dataset):
        names = [name for name in FILTERED if name in result]
        if not names:
            found = ", ".join(map(str, result)) or "none"
            raise AnalysisError(f"the dataset has no variable {cv.PROBABILITY!r} to filter (it has {found})")
        return result.assign({name: temporal(result[name], max_gap_years=max_gap_years) for name in names})
    if not max_gap_years >= 1:
        raise OptionError(f"max_gap_years={max_gap_years} reaches no neighbour; {MAX_GAP_YEARS} is the default")
    if result.dtype.kind != "f":
        raise AnalysisError(
            f"the probability is {result.dtype}, but floats 0..1 with NaN = not observed are wanted; bring it there"
        )
    years = _years(result)
    lazy = result.chunk({cv.YEAR: -1}) if result.chunks is not None else result
    filtered: xr.DataArray = xr.apply_ufunc(
        _last_axis,
        lazy,
        input_core_dims=[[cv.YEAR]],
        output_core_dims=[[cv.YEAR]],
        kwargs={"years": years, "max_gap_years": max_gap_years},
        dask="parallelized",
        output_dtypes=[result.dtype],
    ).transpose(*result.dims)
    filtered.attrs = {**result.attrs, ATTR_FILTER: DESCRIPTION.format(gap=max_gap_years)}
    filtered.encoding = {}
    return filtered


def filter_series(values: npt.ArrayLike, years: npt.ArrayLike, *, max_gap_years: int = MAX_GAP_YEARS) -> AnyArray:
    """Filter series whose first axis is the year.

    Parameters
    ----------
    values
        (years, ...) any numbers; NaN is left out and stays NaN. Whole numbers come back as floats.
    years
        (years,) ascending.
    max_gap_years
        As in `temporal`.
    """
    x = np.array(values, copy=True)
    x = x if x.dtype.kind == "f" else x.astype(np.float64)
    t = np.asarray(years, dtype=np.float64)
    passes = max(0, (t.size - 1) // 2)  # a root is reached after (n - 2) / 2 passes (Gallagher and Wise 1981)
    seen = ~np.isnan(x)
    whole = bool(seen.all()) and (t.size < 2 or float(np.diff(t).max()) <= max_gap_years)
    for _ in range(passes):
        before = x.copy()
        if whole:
            x[1:-1] = _median(before[:-2], before[1:-1], before[2:])
        else:
            last = _carried(before, seen, t, max_gap_years)
            following = _carried(before[::-1], seen[::-1], -t[::-1], max_gap_years)[::-1]
            inner = ~(np.isnan(last) | np.isnan(following)) & seen
            x = np.where(inner, _median(last, before, following), before)
        if np.array_equal(x, before, equal_nan=True):
            break
    return x


def _median(a: AnyArray, b: AnyArray, c: AnyArray) -> AnyArray:
    return np.asarray(np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c)))


def _carried(x: AnyArray, seen: AnyArray, t: AnyArray, reach: float) -> AnyArray:
    """Value of the nearest earlier year that was observed, NaN where there is none within reach."""
    found = np.full_like(x, np.nan)
    value = np.full_like(x[0], np.nan)
    when = np.full(x.shape[1:], -np.inf)
    for k in range(t.size):
        found[k] = np.where(t[k] - when <= reach, value, np.nan)
        value, when = np.where(seen[k], x[k], value), np.where(seen[k], t[k], when)
    return found


def _last_axis(values: AnyArray, *, years: AnyArray, max_gap_years: int) -> AnyArray:
    return np.moveaxis(filter_series(np.moveaxis(values, -1, 0), years, max_gap_years=max_gap_years), 0, -1)


def _years(array: xr.DataArray) -> AnyArray:
    if cv.YEAR not in array.dims or cv.YEAR not in array.coords:
        raise AnalysisError(f"a temporal filter needs the dimension {cv.YEAR!r}; the array has {array.dims}")
    years = np.asarray(array[cv.YEAR].values)
    if years.dtype.kind not in "iuf":
        # Dates would count in nanoseconds: no year would have a neighbour within reach, and nothing be filtered.
        raise AnalysisError(f"the years of the probability are {years.dtype}; make them numbers, such as 2023")
    years = years.astype(np.float64)
    if years.size > 1 and np.diff(years).min() <= 0:
        raise AnalysisError("the years of the probability do not ascend or repeat; sort them with .sortby('year')")
    return years
