"""The time axis of a cube: 15 steps of 24 days, or dates that the user names."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from icemapper_xr import conventions
from icemapper_xr.errors import OptionError

__all__ = ["Steps", "day_of", "midnight", "steps"]

_N = conventions.N_STEPS
_STEP = conventions.STEP_DAYS


@dataclass(frozen=True)
class Steps:
    """The time axis."""

    centres: tuple[dt.datetime, ...]
    """Centres of the steps, or the dates that the user named; naive, UTC."""
    start: dt.date
    """First day of the first step, or the first date named."""
    year: int
    named: bool = False
    """Whether the user named the dates."""


def steps(
    *, year: int | None = None, start: Any = None, times: Sequence[Any] | None = None, today: dt.date | None = None
) -> Steps:
    """Make the time axis of a year, of a start date, or of dates that the user names.

    Parameters
    ----------
    year
        Calendar year; the series starts on 1 January unless `start` says otherwise.
    start
        First day of the first step, as `day_of` takes it.
    times
        15 dates, which override `year` and `start`, in any order.
    today
        For tests; None is the clock's.

    Raises
    ------
    OptionError
        Nothing is named, the year lies in the future or before 2014, no day of it comes after `start`, or there are
        not 15 different dates.
    """
    today = today or dt.datetime.now(dt.UTC).date()
    if times is not None:
        if not isinstance(times, Iterable) or isinstance(times, str):
            raise OptionError(f"times is {times!r}; give a list of {_N} dates")
        times = list(times)
        days = sorted({day_of(time, "times") for time in times})
        if len(days) != len(times) or len(days) != _N:
            raise OptionError(f"times has {len(times)} dates, {len(days)} of them different; {_N} are wanted")
        _check_year(days[0].year, days[0], today)
        if days[-1] > today:
            raise OptionError(f"times: {days[-1]} lies in the future; name dates up to {today}")
        return Steps(tuple(midnight(day) for day in days), days[0], days[_N // 2].year, named=True)
    if start is None and year is None:
        raise OptionError("name year=, start= or times=")
    first = dt.date(_whole_year(year), 1, 1) if start is None else day_of(start, "start")
    _check_year(first.year if year is None else _whole_year(year), first, today)
    end = first + dt.timedelta(days=_STEP * _N - 1)
    if year is not None and not first.year <= year <= end.year:
        raise OptionError(
            f"start {first} makes a series until {end}, which has no day of the year {year}; leave one of them out"
        )
    centres = tuple(midnight(first) + dt.timedelta(days=_STEP * (k + 0.5)) for k in range(_N))
    return Steps(centres, first, centres[_N // 2].year if year is None else int(year))


def _whole_year(year: Any) -> int:
    number = isinstance(year, int | float | np.number) and not isinstance(year, bool)
    if number and dt.MINYEAR <= year <= dt.MAXYEAR and year == int(year):
        return int(year)
    raise OptionError(f"year {year!r} is not a year; give a whole number such as 2023")


def _check_year(year: int, first: dt.date, today: dt.date) -> None:
    earliest = conventions.FIRST_YEAR
    if year > today.year or first > today:
        raise OptionError(f"the year {max(year, first.year)} lies in the future; take one up to {today.year}")
    if year < earliest or first.year < earliest - 1:
        raise OptionError(f"the year {min(year, first.year)} is before Sentinel-1; take one from {earliest} on")


def day_of(value: Any, name: str) -> dt.date:
    """Return the day of a date, in UTC.

    Parameters
    ----------
    value
        An ISO date as text, or a date, datetime, numpy.datetime64 or pandas.Timestamp; with a time zone it is
        converted to UTC.
    name
        What to call it in an error.

    Raises
    ------
    OptionError
        It is none of these. Other text is not guessed at: 01.07.2023 is July to some and January to others.

    Examples
    --------
    >>> day_of("2023-07-01", "start")
    datetime.date(2023, 7, 1)
    """
    if isinstance(value, xr.DataArray) and value.ndim == 0:  # an element of the times of another cube
        value = value.values[()]
    day = value.astype("datetime64[D]").item() if isinstance(value, np.datetime64) else value
    if isinstance(day, dt.datetime):  # a pandas.Timestamp too
        day = (day if day.tzinfo is None else day.astimezone(dt.UTC)).date()
    if isinstance(day, str):
        with contextlib.suppress(ValueError):
            return dt.date.fromisoformat(day)
    if isinstance(day, dt.date) and not isinstance(day, dt.datetime):  # as NaT still is
        return day
    leap = str(value).endswith("-02-29")
    remedy = "that year has no 29 February" if leap else "write YYYY-MM-DD, for example 2023-07-01"
    raise OptionError(f"{name}: {value!r} is not a date; {remedy}")


def midnight(day: dt.date) -> dt.datetime:
    """Return the beginning of a day, naive, UTC."""
    return dt.datetime(day.year, day.month, day.day)
