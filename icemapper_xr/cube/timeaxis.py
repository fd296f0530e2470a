"""The time axis of a cube: 15 steps of 24 days, or dates that the user names."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from icemapper_xr import conventions
from icemapper_xr.errors import OptionError

__all__ = ["Steps", "midnight", "steps"]

FIRST_YEAR = 2014
"""Launch of Sentinel-1A."""
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
        First day of the first step.
    times
        15 dates, which override `year` and `start`.
    today
        For tests; None is the clock's.

    Raises
    ------
    OptionError
        Nothing is named, the year lies in the future or before 2014, or there are not 15 different dates.
    """
    today = today or dt.datetime.now(dt.UTC).date()
    if times is not None:
        days = sorted({_day(time, "times") for time in times})
        if len(days) != len(times) or len(days) != _N:
            raise OptionError(f"times has {len(times)} dates, {len(days)} of them different; {_N} are wanted")
        _check_year(days[0].year, days[0], today)
        if days[-1] > today:
            raise OptionError(f"times: {days[-1]} lies in the future; name dates up to {today}")
        return Steps(tuple(midnight(day) for day in days), days[0], days[_N // 2].year, named=True)
    if start is None and year is None:
        raise OptionError("name year=, start= or times=")
    first = dt.date(_whole_year(year), 1, 1) if start is None else _day(start, "start")
    _check_year(first.year if year is None else _whole_year(year), first, today)
    centres = tuple(midnight(first) + dt.timedelta(days=_STEP * (k + 0.5)) for k in range(_N))
    return Steps(centres, first, centres[_N // 2].year if year is None else int(year))


def _whole_year(year: Any) -> int:
    if isinstance(year, bool) or int(year) != year or not 1 <= int(year) <= 9999:
        raise OptionError(f"year {year!r} is not a year; give a whole number such as 2023")
    return int(year)


def _check_year(year: int, first: dt.date, today: dt.date) -> None:
    if year > today.year or first > today:
        raise OptionError(f"the year {max(year, first.year)} lies in the future; take one up to {today.year}")
    if year < FIRST_YEAR or first.year < FIRST_YEAR - 1:
        raise OptionError(f"the year {min(year, first.year)} is before Sentinel-1; take one from {FIRST_YEAR} on")


def _day(value: Any, name: str) -> dt.date:
    import pandas as pd

    try:
        stamp = pd.Timestamp(value)
    except (TypeError, ValueError) as error:
        raise OptionError(f"{name}: {value!r} is not a date; write 2023-07-01") from error
    if pd.isna(stamp):
        raise OptionError(f"{name}: {value!r} is not a date; write 2023-07-01")
    if stamp.tzinfo is not None:
        stamp = stamp.tz_convert("UTC")
    return stamp.date()


def midnight(day: dt.date) -> dt.datetime:
    """Return the beginning of a day, naive, UTC."""
    return dt.datetime(day.year, day.month, day.day)
