"""Times of day of satellite passes: where the relative orbit is unknown, they alone tell one orbit from another."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from icemapper_xr import conventions

__all__ = ["SAME_ORBIT", "clash", "of_years", "shift"]

SAME_ORBIT: Final = dt.timedelta(minutes=4)
"""Times of day of one relative orbit over one place differ by less; those of its neighbours by 8.2 min and more."""

_DAY: Final = dt.timedelta(days=1)


def shift(moment: dt.datetime, other: dt.datetime) -> dt.timedelta:
    """Return by how much the time of day of a moment is later than another's, from -12 to 12 hours round the clock."""
    return (moment - other + _DAY / 2) % _DAY - _DAY / 2


def of_years(entries: Mapping[Any, Mapping[str, Any]]) -> dict[int, str]:
    """Return the times of day of the years of a store that tell one, from their entries in its metadata."""
    told = {int(year): entry["attrs"].get(conventions.ATTR_TIME_OF_DAY) for year, entry in entries.items()}
    return {year: hour for year, hour in told.items() if hour is not None}


def clash(year: int, hour: str | None, others: Mapping[int, str]) -> str | None:
    """Tell why a year of unknown orbit may not go into one map with others.

    Parameters
    ----------
    year
        Which.
    hour
        UTC time of day of its passes, HH:MM:SS; None where its orbit is known, or its names do not tell.
    others
        Those of the years of the map; an entry of the year itself does not matter.

    Returns
    -------
    str or None
        What to tell the user; None if nothing speaks against it.
    """
    if hour is None:
        return None
    for other, there in others.items():
        if other != year and abs(shift(_moment(hour), _moment(there))) > SAME_ORBIT:
            return (
                f"the relative orbit of {year} is unknown, and the times of day say that it is not that of {other} "
                f"({hour[:5]} and {there[:5]} UTC); of two orbits the years of a map may not be: give each orbit a "
                "folder of its own and its number with `icemapper catalog build --relative-orbit`, or name another "
                "output for this year"
            )
    return None


def _moment(hour: str) -> dt.datetime:
    return dt.datetime.combine(dt.date(2000, 1, 1), dt.time.fromisoformat(hour))
