"""What all years of a map have to share: relative orbit and polarisation, or, where it is unknown, the time of day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from icemapper_xr import conventions, cube, store
from icemapper_xr.cube import passes, select
from icemapper_xr.errors import CubeError

__all__ = ["hours_of", "known_series", "one_orbit", "with_hour"]

_DAY: Final = dt.timedelta(days=1)


def known_series(attrs: Mapping[Any, Any]) -> tuple[int | None, str | None]:
    """Return relative orbit and polarisation of a cube or a store; None where its rasters' names did not tell."""
    orbit, polarisation = (attrs.get(name) for name in (conventions.ATTR_ORBIT, conventions.ATTR_POLARISATION))
    return (int(orbit) if orbit is not None and orbit > 0 else None), (str(polarisation) if polarisation else None)


def hours_of(path: str | Path, *, replaced: Collection[int] = ()) -> dict[int, str]:
    """Return the times of day of the years of unknown orbit that a store has, less those that are to be replaced."""
    if not store.is_store(path):
        return {}
    of_year = {year: facts["attrs"] for year, facts in store.provenance(path)["years"].items() if year not in replaced}
    return {
        year: attrs[conventions.ATTR_TIME_OF_DAY]
        for year, attrs in of_year.items()
        if conventions.ATTR_TIME_OF_DAY in attrs
    }


def one_orbit(attrs: Mapping[Any, Any], year: int, hours: Mapping[int, str]) -> dict[int, str]:
    """Return the times of day of the years of a map with that of one more year, where its orbit is unknown.

    Raises
    ------
    CubeError
        It is not that of the others, so that the year is of another orbit.
    """
    hour = attrs.get(conventions.ATTR_TIME_OF_DAY)
    if hour is None:
        return dict(hours)
    for other, there in hours.items():
        if other != year and _apart(hour, there) > select.SAME_ORBIT:
            raise CubeError(
                f"the relative orbit of {year} is unknown, and the times of day say that it is not that of {other} "
                f"({hour[:5]} and {there[:5]} UTC); of two orbits the years of a map may not be: give each orbit a "
                "folder of its own and its number with `icemapper catalog build --relative-orbit`, or name another "
                "output for this year"
            )
    return {**hours, year: hour}


def _apart(one: str, other: str) -> dt.timedelta:
    """Return how far two times of day are apart, by the shorter way round the clock."""
    first, second = (dt.datetime.fromisoformat(f"2000-01-01T{text}") for text in (one, other))
    return min((first - second) % _DAY, (second - first) % _DAY)


def with_hour(series: cube.Series) -> cube.Series:
    """Say at what time of day the passes of an unknown orbit come: it alone tells whether another year is of it."""
    orbit, _ = known_series(series.attrs)
    told = next((one for one in series.observations if passes.timed(one)), None)
    if orbit is not None or told is None:
        return series
    return replace(series, attrs={**series.attrs, conventions.ATTR_TIME_OF_DAY: f"{passes.began(told):%H:%M:%S}"})
