"""Frames of one pass, or of one coherence pair, belong together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from icemapper_xr._types import Observation
from icemapper_xr.cube import footprints
from icemapper_xr.cube.grid import AreaGrid

__all__ = ["Pass", "passes"]

_SAME_PASS = dt.timedelta(minutes=10)
"""Frames of one pass follow each other within this; the next pass over the same place is an orbit (99 min) away."""


@dataclass(frozen=True)
class Pass:
    """The frames of one pass (or one coherence pair) over the area."""

    frames: tuple[Observation, ...]
    """In order of acquisition."""
    share: float
    """Share of the area that they cover, from their metadata."""

    @property
    def acquired(self) -> dt.datetime:
        """Time of the first frame, UTC."""
        return self.frames[0].acquired

    @property
    def day(self) -> dt.date:
        """UTC day of the first frame."""
        return self.acquired.astimezone(dt.UTC).date()

    @property
    def first(self) -> Observation:
        """The first frame, for what all frames share."""
        return self.frames[0]


def passes(observations: Iterable[Observation], area: AreaGrid) -> tuple[Pass, ...]:
    """Group frames into passes, in order of time; passes that miss the area are dropped.

    Frames belong to one pass if feature, relative orbit, direction of flight, platform and polarisation are the same
    and they follow each other within ten minutes; for coherence if both dates are the same.
    """
    groups: list[list[Observation]] = []
    for observation in sorted(observations, key=_order):
        if groups and _series(groups[-1][0]) == _series(observation) and _follows(groups[-1][-1], observation):
            groups[-1].append(observation)
        else:
            groups.append([observation])
    made = (Pass(tuple(group), footprints.share(tuple(group), area.grid, area.area)) for group in groups)
    return tuple(sorted((one for one in made if one.share > 0), key=lambda one: (one.acquired, one.first.item_id)))


def _series(observation: Observation) -> tuple[Any, ...]:
    pair = (observation.reference, observation.secondary)
    dates = tuple("" if time is None else time.date().isoformat() for time in pair)
    return (
        observation.feature,
        observation.relative_orbit or -1,
        observation.orbit_state or "",
        observation.polarisation or "",
        observation.platform or "",
        dates,
    )


def _order(observation: Observation) -> tuple[Any, ...]:
    return (*_series(observation), observation.acquired, observation.item_id)


def _follows(before: Observation, after: Observation) -> bool:
    if before.feature == "insar" and before.reference is not None:
        return True
    return after.acquired - before.acquired <= _SAME_PASS
