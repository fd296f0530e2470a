"""Numbers for a plan without opening a raster: units, windows and rasters of many tiles, from boxes and dates."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions, prediction, tiling
from icemapper_xr._types import Bounds, Observation, Segmenter

__all__ = ["Choice", "Index", "Place", "Size", "margin_factor", "seconds_text", "size"]


@dataclass(frozen=True)
class Place:
    """A tile: what is mapped as one cube."""

    crs: Any
    bounds: Bounds
    """In the CRS."""
    mask: Any
    """None, or an object with polygons in the CRS as `shape`."""

    @property
    def area(self) -> float:
        """Square metres of the bounds."""
        return (self.bounds.right - self.bounds.left) * (self.bounds.top - self.bounds.bottom)


class Size(NamedTuple):
    """How much work a tile is."""

    units: int
    windows: int
    pixels: int
    """Of the units that are to be mapped."""


class Choice(NamedTuple):
    """What a tile would be mapped from."""

    orbit: int | None
    steps: int
    rasters: int
    share: float
    """Sum over the rasters of the share of the tile that each covers."""


def margin_factor(segmenter: Segmenter, overlap: float) -> float:
    """Return how much more is read than mapped: a block reads its halo, too."""
    halo = segmenter.window - tiling.stride_of(segmenter.window, overlap)
    return ((conventions.LATTICE + halo) / conventions.LATTICE) ** 2


def size(place: Place, segmenter: Segmenter, *, overlap: float) -> Size:
    """Count units, windows and pixels of a tile; blocks that its mask leaves out count for nothing."""
    lattice = prediction.lattice(place.bounds, segmenter.pixel_size, window=segmenter.window, overlap=overlap)
    rows, columns = lattice.rows, lattice.columns
    down = np.array([_windows(span, lattice) for span in rows])
    across = np.array([_windows(span, lattice) for span in columns])
    kept = [
        np.array([0 if span.keep is None else span.keep[1] - span.keep[0] for span in axis]) for axis in (rows, columns)
    ]
    wanted = np.ones((len(rows), len(columns)), bool) if place.mask is None else _meets(place, lattice, segmenter)
    pixels = np.outer(*kept)
    return Size(
        units=int(np.count_nonzero(pixels)),
        windows=int((np.outer(down, across) * wanted).sum()),
        pixels=int((pixels * wanted).sum()),
    )


def _kept(span: prediction.Span) -> int:
    return 0 if span.keep is None else span.keep[1] - span.keep[0]


def _windows(span: prediction.Span, lattice: prediction.Lattice) -> int:
    return (span.read - span.start - lattice.window) // lattice.stride + 1


def _meets(place: Place, lattice: prediction.Lattice, segmenter: Segmenter) -> npt.NDArray[np.bool_]:
    """Which blocks have something of the mask in what they read."""
    import shapely

    resolution = segmenter.pixel_size
    left, right = (np.array([getattr(s, end) for s in lattice.columns]) * resolution for end in ("start", "read"))
    top, bottom = (-np.array([getattr(s, end) for s in lattice.rows]) * resolution for end in ("start", "read"))
    shape = place.mask.shape
    shapely.prepare(shape)
    cells = shapely.box(left[None, :], bottom[:, None], right[None, :], top[:, None])
    met: npt.NDArray[np.bool_] = shapely.intersects(shape, cells)
    return met


@dataclass(frozen=True)
class Index:
    """Observations as columns of numbers."""

    boxes: npt.NDArray[np.float64]
    """West, south, east, north; east runs on beyond 180 across the antimeridian."""
    days: npt.NDArray[np.float64]
    """Days since 1970."""
    groups: npt.NDArray[np.int64]
    """Number of the pair of relative orbit and polarisation."""
    features: npt.NDArray[np.str_]
    item_numbers: npt.NDArray[np.int64]
    names: tuple[tuple[int | None, str | None], ...]
    """Relative orbit and polarisation of each group."""
    start: float = 0.0

    @classmethod
    def of(cls, observations: Sequence[Observation]) -> Index:
        """Take what is needed of observations; one without a box covers everything."""
        names: dict[tuple[int | None, str | None], int] = {}
        items: dict[str, int] = {}
        boxes = np.empty((len(observations), 4))
        days, groups = np.empty(len(observations)), np.empty(len(observations), np.int64)
        numbers = np.empty(len(observations), np.int64)
        for k, one in enumerate(observations):
            west, south, east, north = one.bbox or (-180.0, -90.0, 180.0, 90.0)
            boxes[k] = west, south, east + 360 if east < west else east, north
            days[k] = one.acquired.timestamp() / 86_400
            groups[k] = names.setdefault((one.relative_orbit, one.polarisation), len(names))
            numbers[k] = items.setdefault(one.item_id, len(items))
        features = np.array([one.feature for one in observations], dtype="U8")
        return cls(boxes, days, groups, features, numbers, tuple(names))

    @property
    def items(self) -> int:
        """Number of different items."""
        return int(np.unique(self.item_numbers).size)

    def within(self, start: str) -> Index:
        """Keep the observations of the series that begins on a day."""
        first = dt.datetime.fromisoformat(start).replace(tzinfo=dt.UTC).timestamp() / 86_400
        span = conventions.N_STEPS * conventions.STEP_DAYS
        kept = (self.days >= first - conventions.STEP_TOLERANCE_DAYS) & (self.days < first + span)
        return Index(
            self.boxes[kept],
            self.days[kept],
            self.groups[kept],
            self.features[kept],
            self.item_numbers[kept],
            self.names,
            first,
        )

    def choose(
        self, box: Bounds, *, features: Sequence[str], orbit: int | None, polarisation: str | None
    ) -> Choice | None:
        """Choose the orbit of a tile by the boxes alone: most steps over the largest share, then fewest rasters."""
        west, south, east, north = box
        east = east + 360 if east < west else east
        shares = np.zeros(len(self.boxes))
        for turn in (-360.0, 0.0, 360.0):
            width = np.minimum(self.boxes[:, 2] + turn, east) - np.maximum(self.boxes[:, 0] + turn, west)
            height = np.minimum(self.boxes[:, 3], north) - np.maximum(self.boxes[:, 1], south)
            shares += np.where((width > 0) & (height > 0), width * height, 0) / ((east - west) * (north - south))
        rows = np.flatnonzero(shares)
        best: tuple[float, Choice] | None = None
        for group in np.unique(self.groups[rows]):
            number, name = self.names[group]
            if (orbit is not None and number != orbit) or (polarisation is not None and name != polarisation):
                continue
            own = rows[self.groups[rows] == group]
            score, choice = self._series(own, shares, features, number)
            if best is None or score > best[0]:
                best = score, choice
        return None if best is None else best[1]

    def _series(
        self, own: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], features: Sequence[str], orbit: int | None
    ) -> tuple[float, Choice]:
        """One pass a step, of the cycle that fills more steps."""
        score, steps, rasters, share = 0.0, conventions.N_STEPS, 0, 0.0
        for feature in features:
            rows = own[self.features[own] == feature]
            step = np.floor((self.days[rows] - self.start) / conventions.STEP_DAYS).astype(int)
            day = np.floor(self.days[rows]).astype(int)
            filled = 0
            for k in range(conventions.N_STEPS):
                inside = rows[step == k]
                if not inside.size:
                    continue
                days = day[step == k]
                totals = {one: shares[inside[days == one]].sum() for one in np.unique(days)}
                chosen = max(totals, key=lambda one: (min(totals[one], 1.0), -one))
                filled += 1
                rasters += int((days == chosen).sum())
                share += float(totals[chosen])
                score += min(float(totals[chosen]), 1.0)
            steps = min(steps, filled)
        return score, Choice(orbit, steps, rasters, share)


def seconds_text(seconds: float) -> str:
    """Write a duration as people say it.

    >>> seconds_text(50), seconds_text(7200), seconds_text(1e6)
    ('50 s', '2.0 h', '11.6 days')
    """
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    if seconds < 7000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86_400 else f"{seconds / 86_400:.1f} days"
