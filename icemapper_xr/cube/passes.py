"""Frames of one pass, or of one coherence pair, belong together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from icemapper_xr._types import Bounds, Observation
from icemapper_xr.cube import footprints
from icemapper_xr.cube.extent import lonlat_box
from icemapper_xr.cube.grid import AreaGrid

__all__ = ["Pass", "began", "passes", "timed"]

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
    """Group frames into passes, in order of time; passes that miss the area, and frames far from the grid, are dropped.

    Frames belong to one pass if feature, relative orbit, direction of flight, platform and polarisation are the same
    and they follow each other within ten minutes; for coherence if the baseline is the same too and the earlier of the
    two times follows so, or is of the same day where frames do not tell the time of day.
    """
    groups: list[list[Observation]] = []
    for observation in sorted(_near(observations, area), key=_order):
        if groups and _series(groups[-1][0]) == _series(observation) and _follows(groups[-1], observation):
            groups[-1].append(observation)
        else:
            groups.append([observation])
    made = (Pass(tuple(group), footprints.share(tuple(group), area.grid, area.area)) for group in groups)
    return tuple(sorted((one for one in made if one.share > 0), key=lambda one: (one.acquired, one.first.item_id)))


def _near(observations: Iterable[Observation], area: AreaGrid) -> list[Observation]:
    """Leave out what is not read: a search without a place brings all frames of a pass, from pole to pole.

    One that is not read but whose box in degrees meets that of the grid stays, as in a search with a place: the frames
    of a step are the fingerprint of a map.
    """
    pad = footprints.PAD_PIXELS * area.grid.resolution
    left, bottom, right, top = area.grid.bounds
    wider = replace(area.grid, bounds=Bounds(left - pad, bottom - pad, right + pad, top + pad))
    box = lonlat_box(replace(area, grid=wider))
    return [
        one
        for one in observations
        if one.bbox is None or footprints.overlap(one.bbox, box) or not footprints.misses(one, area.grid)
    ]


def _series(observation: Observation) -> tuple[Any, ...]:
    return (
        observation.feature,
        observation.relative_orbit or -1,
        observation.orbit_state or "",
        observation.polarisation or "",
        observation.platform or "",
        observation.baseline_days or -1,
    )


def _order(observation: Observation) -> tuple[Any, ...]:
    return (*_series(observation), began(observation), observation.item_id)


def _follows(group: Sequence[Observation], after: Observation) -> bool:
    if began(after) - began(group[-1]) <= _SAME_PASS:
        return True
    # Names of some pairs tell the dates only: they stand at midnight, before what else there is of their day.
    same_day = began(group[0]).date() == began(after).date()
    return after.reference is not None and not timed(group[-1]) and same_day


def began(observation: Observation) -> dt.datetime:
    """Return the time at which the satellite passed, in UTC; of a coherence pair the earlier of the two."""
    pair = (time for time in (observation.reference, observation.secondary) if time is not None)
    return min(pair, default=observation.acquired).astimezone(dt.UTC)


def timed(observation: Observation) -> bool:
    """Whether the time of day is known; names that tell the date only stand at midnight."""
    return began(observation).time() != dt.time()
