"""What all years of a map have to share: relative orbit and polarisation, or, where it is unknown, the time of day."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from icemapper_xr import conventions, hours, store
from icemapper_xr.errors import CubeError

__all__ = ["hours_of", "known_series", "one_orbit"]


def known_series(attrs: Mapping[Any, Any]) -> tuple[int | None, str | None]:
    """Return relative orbit and polarisation of a cube or a store; None where its rasters' names did not tell."""
    orbit, polarisation = (attrs.get(name) for name in (conventions.ATTR_ORBIT, conventions.ATTR_POLARISATION))
    return (int(orbit) if orbit is not None and orbit > 0 else None), (str(polarisation) if polarisation else None)


def hours_of(path: str | Path, *, replaced: Collection[int] = ()) -> dict[int, str]:
    """Return the times of day of the years of unknown orbit that a store has, less those that are to be replaced."""
    if not store.is_store(path):
        return {}
    kept = {year: facts for year, facts in store.provenance(path)["years"].items() if year not in replaced}
    return hours.of_years(kept)


def one_orbit(attrs: Mapping[Any, Any], year: int, of_years: Mapping[int, str]) -> dict[int, str]:
    """Return the times of day of the years of a map with that of one more year, where its orbit is unknown.

    Raises
    ------
    CubeError
        It is not that of the others, so that the year is of another orbit.
    """
    hour = attrs.get(conventions.ATTR_TIME_OF_DAY)
    if wrong := hours.clash(year, hour, of_years):
        raise CubeError(wrong)
    return dict(of_years) if hour is None else {**of_years, year: hour}
