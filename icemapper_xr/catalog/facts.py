"""What is known about one raster before it is read."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Final

from icemapper_xr._types import Quantity, Scale
from icemapper_xr.conventions import Feature

__all__ = ["MODES", "POLARISATIONS", "Facts", "in_utc"]

POLARISATIONS: Final = ("VV", "VH", "HH", "HV")
MODES: Final = ("IW", "EW", "SM", "WV")
"""Interferometric wide swath, extra wide swath, strip map and wave."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known about one raster; None or "unknown" where nothing is."""

    group: str = ""
    """Name that all polarisations of one acquisition share: the id of the item."""
    product: str | None = None
    """Kind of product, e.g. 'OPERA RTC-S1'."""
    feature: Feature | None = None
    quantity: Quantity = "unknown"
    scale: Scale = "unknown"
    polarisation: str | None = None
    platform: str | None = None
    mode: str | None = None
    acquired: dt.datetime | None = None
    reference: dt.datetime | None = None
    secondary: dt.datetime | None = None
    relative_orbit: int | None = None
    absolute_orbit: int | None = None
    orbit_state: str | None = None
    looks: float | None = None
    filtered: bool | None = None
    """Whether a speckle filter was applied."""
    burst: str | None = None
    processed: dt.datetime | None = None
    geocoded: bool = True
    nodata: float | None = None
    """Value of 'no data' that the product has but its files do not state."""

    @property
    def when(self) -> dt.datetime | None:
        """Acquisition time; the middle of the pair for a pair."""
        if self.reference is not None and self.secondary is not None:
            return self.reference + (self.secondary - self.reference) / 2
        return self.acquired


def in_utc(moment: dt.datetime) -> dt.datetime:
    """Return a moment in UTC, aware of it; one that names no time zone is meant in UTC."""
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
