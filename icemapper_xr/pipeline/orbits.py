"""Orbits of a map: what all its years have to share, and which satellites flew them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icemapper_xr import conventions, hours, store
from icemapper_xr.errors import CubeError
from icemapper_xr.settings import MapSettings

__all__ = ["Shared", "known_series", "platforms_text", "satellites"]


def known_series(attrs: Mapping[Any, Any]) -> tuple[int | None, str | None]:
    """Return relative orbit and polarisation of a cube or a store; None where its rasters' names did not tell."""
    orbit, polarisation = (attrs.get(name) for name in (conventions.ATTR_ORBIT, conventions.ATTR_POLARISATION))
    return (int(orbit) if orbit is not None and orbit > 0 else None), (str(polarisation) if polarisation else None)


def satellites(attrs: Mapping[Any, Any]) -> tuple[str, ...]:
    """Return the satellites that flew one year's series, those of coherence pairs too; none where nobody knows."""
    return tuple(sorted(set(re.findall(r"S1[A-D]", str(attrs.get(conventions.ATTR_PLATFORMS))))))


def platforms_text(attrs: Mapping[Any, Any]) -> str | None:
    """Write the steps of one year's series by feature and platform, of coherence by its pair.

    >>> platforms_text({"platforms": '{"insar": {"S1A/S1A": 15}, "rtc": {"S1A": 12, "S1B": 3}}'})
    'insar S1A/S1A 15; rtc S1A 12, S1B 3'

    What others wrote there is left as it is.
    """
    told = attrs.get(conventions.ATTR_PLATFORMS)
    try:
        features = sorted(json.loads(told or "{}").items())
        steps = [f"{feature} " + ", ".join(f"{name} {n}" for name, n in one.items()) for feature, one in features]
    except (AttributeError, TypeError, ValueError):
        return str(told)
    return "; ".join(steps) or None


@dataclass(frozen=True)
class Shared:
    """What the years of a map share, as far as it is known; chosen anew for each year it would fake change (docs/data).

    Each year adds to it what the next ones have to be like.
    """

    orbit: int | None
    """Relative orbit; None where the first year is to choose."""
    polarisation: str | None
    hours: Mapping[int, str] = field(default_factory=dict)
    """Times of day of the years of unknown orbit."""

    @classmethod
    def of(cls, chosen: MapSettings, cube: str | Path | None, *, replaced: Collection[int] = ()) -> Shared:
        """Return what a map's settings ask for, and the years of its store, if it has one, have.

        Where years stay beside those that are replaced, these are of the same: with another orbit they would take the
        place of all.
        """
        asked = cls(chosen.orbit, chosen.polarisation)
        if cube is None or not store.is_store(cube):
            return asked
        there = store.provenance(cube)
        kept = {year: facts for year, facts in there["years"].items() if year not in replaced}
        if not kept:
            return asked
        orbit, polarisation = known_series(there["run"])
        return cls(chosen.orbit or orbit, chosen.polarisation or polarisation, hours.of_years(kept))

    def with_year(self, attrs: Mapping[Any, Any], year: int) -> Shared:
        """Return what the years share with one more of them.

        Raises
        ------
        CubeError
            The time of day of its passes is not that of the others: it is of another orbit.
        """
        hour = attrs.get(conventions.ATTR_TIME_OF_DAY)
        if wrong := hours.clash(year, hour, self.hours):
            raise CubeError(wrong)
        return Shared(*known_series(attrs), self.hours if hour is None else {**self.hours, year: hour})
