"""Calendar years of outlines, from whatever column a file has them in."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import numpy as np

from icemapper_xr.errors import AnalysisError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["whole_years", "years"]

_FIRST, _LAST = 1000, 9999
"""Numbers that can be years: 20160801 is none."""
_REMEDY: Final = "give a whole year (2016) or a date in each row, or leave those rows out"


def whole_years(column: pd.Series, *, what: str) -> pd.Series:
    """Return the calendar year of each row.

    Parameters
    ----------
    column
        Whole years or dates (of which the year is taken), as such or as text (2016-08-01). A decimal year is refused:
        whether 2005.9 is meant as a day of 2005 or as an epoch near 2006 only its author knows.
    what
        Whose years they are, with the file, for messages.

    Returns
    -------
    pandas.Series
        int, the index of the column.

    Raises
    ------
    AnalysisError
        A year is missing or not whole, or no year of four digits.
    """
    missing = column.isna()
    if missing.any():
        raise AnalysisError(f"{int(missing.sum())} of {len(column)} rows of {what} have no {column.name}; {_REMEDY}")
    found = years(column)
    wrong = found.isna()
    if wrong.any():
        raise AnalysisError(
            f"{int(wrong.sum())} of {len(column)} rows of {what} have no whole {column.name}, the first has "
            f"{column[wrong].iloc[0]}; {_REMEDY}"
        )
    return found.astype(int)


def years(column: pd.Series) -> pd.Series:
    """Return the calendar year of each row as in `whole_years`, float, NaN where a row has none."""
    found = column.astype(object).map(_year).astype(float)
    return found.where(found.between(_FIRST, _LAST) & (found == np.floor(found)))


def _year(value: object) -> float:
    """Return the year of a number, a date or the text of one, NaN if it is none of these."""
    if isinstance(value, dt.date):
        return float(value.year)
    for read in (float, lambda text: float(dt.datetime.fromisoformat(text).year)):
        try:
            return read(str(value).strip())
        except ValueError:
            continue
    return float("nan")
