"""Numbers for a plan without opening a raster: units, windows and rasters of many tiles, from boxes and dates."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions, prediction, regions, tiling
from icemapper_xr._types import Bounds, Observation, Segmenter
from icemapper_xr.cube import checks

if TYPE_CHECKING:
    import shapely

__all__ = ["Choice", "Index", "Place", "Size", "margin_factor", "read", "size"]

Edges = npt.NDArray[np.int64]
"""First and end of intervals (n, 2), pixels from the origin of the CRS."""
_AT_ONCE: Final = 64
_TURNS: Final = np.array([-360.0, 0.0, 360.0])


@dataclass(frozen=True)
class Place:
    """A tile: what is mapped as one cube."""

    crs: Any
    bounds: Bounds
    """In the CRS."""
    mask: regions.Mask | None
    """Pixels wanted; None for all of them."""


class Size(NamedTuple):
    """How much work a tile is."""

    units: int
    windows: int
    pixels: int
    """Of the units that have something of the mask in what they read."""


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
    """Count units, windows and pixels of a tile; windows and blocks that its mask leaves out count for nothing."""
    lattice = prediction.lattice(place.bounds, segmenter.pixel_size, window=segmenter.window, overlap=overlap)
    axes = lattice.rows, lattice.columns
    kept = [np.array([_kept(span) for span in axis]) for axis in axes]
    pixels = np.outer(*kept)
    units = int(np.count_nonzero(pixels))
    rows, columns = (_windows(axis, lattice) for axis in axes)
    if place.mask is None:
        return Size(units, len(rows) * len(columns), int(pixels.sum()))
    blocks = _met(place.mask, *_reads(lattice), segmenter.pixel_size)
    windows = _count_met(place.mask, rows, columns, segmenter.pixel_size)
    return Size(units, windows, int(pixels[blocks].sum()))


def read(place: Place, boxes: Sequence[Bounds], segmenter: Segmenter, *, overlap: float) -> float:
    """Count the pixels that the blocks of a tile read of rasters in these boxes, halos included."""
    lattice = prediction.lattice(place.bounds, segmenter.pixel_size, window=segmenter.window, overlap=overlap)
    down, across = _reads(lattice)
    met = 1 if place.mask is None else _met(place.mask, down, across, segmenter.pixel_size)
    total = 0.0
    for left, bottom, right, top in np.array(boxes) / segmenter.pixel_size:
        rows = np.minimum(down[:, 1], -bottom) - np.maximum(down[:, 0], -top)
        columns = np.minimum(across[:, 1], right) - np.maximum(across[:, 0], left)
        total += float((np.outer(rows.clip(0), columns.clip(0)) * met).sum())
    return total


def _kept(span: prediction.Span) -> int:
    return 0 if span.keep is None else span.keep[1] - span.keep[0]


def _reads(lattice: prediction.Lattice) -> tuple[Edges, Edges]:
    """Edges of what the blocks read, along rows and columns."""
    down, across = (np.array([(span.start, span.read) for span in axis]) for axis in (lattice.rows, lattice.columns))
    return down, across


def _windows(spans: Sequence[prediction.Span], lattice: prediction.Lattice) -> Edges:
    """Edges of all windows along an axis."""
    starts = [np.arange(span.start, span.read - lattice.window + 1, lattice.stride) for span in spans]
    return np.array([(start, start + lattice.window) for start in np.concatenate(starts)])


def _boxes(mask: regions.Mask, rows: Edges, columns: Edges, size: float) -> Any:
    """Boxes (row, column) in the CRS, as far as a mask looks at their pixels."""
    import shapely

    inset = 0.0 if mask.touched else 0.5  # the centre of a pixel counts, not its edge
    left, right = (columns[:, 0] + inset) * size, (columns[:, 1] - inset) * size
    top, bottom = -(rows[:, 0] + inset) * size, -(rows[:, 1] - inset) * size
    return shapely.box(left[None, :], bottom[:, None], right[None, :], top[:, None])


def _met(mask: regions.Mask, rows: Edges, columns: Edges, size: float) -> npt.NDArray[np.bool_]:
    """Which boxes (row, column) have a pixel of the mask."""
    import shapely

    met: npt.NDArray[np.bool_] = shapely.intersects(mask.shape, _boxes(mask, rows, columns, size))
    return met


def _count_met(mask: regions.Mask, rows: Edges, columns: Edges, size: float) -> int:
    """Count such boxes: by halves, since of the millions of a region most lie wholly in the mask or out of it."""
    import shapely

    if len(rows) * len(columns) <= _AT_ONCE:
        return int(np.count_nonzero(_met(mask, rows, columns, size)))
    down, across = (np.array([(edges[0, 0], edges[-1, 1])]) for edges in (rows, columns))
    around = _boxes(mask, down, across, size)[0, 0]
    if not shapely.intersects(mask.shape, around):
        return 0
    if shapely.contains(mask.shape, around):
        return len(rows) * len(columns)
    if len(rows) >= len(columns):
        return sum(_count_met(mask, half, columns, size) for half in np.array_split(rows, 2))
    return sum(_count_met(mask, rows, half, size) for half in np.array_split(columns, 2))


@dataclass(frozen=True)
class Index:
    """Observations as columns of numbers."""

    boxes: npt.NDArray[np.float64]
    """West, south, east, north; east runs on beyond 180 across the antimeridian."""
    days: npt.NDArray[np.float64]
    """Days since 1970."""
    groups: npt.NDArray[np.int64]
    """Number of the pair of relative orbit and polarisation; -1 of what no cube takes."""
    features: npt.NDArray[np.str_]
    item_numbers: npt.NDArray[np.int64]
    modes: npt.NDArray[np.str_]
    """Mode of the instrument, "?" where it is not known."""
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
            pair = (one.relative_orbit, one.polarisation)
            groups[k] = names.setdefault(pair, len(names)) if checks.suits(one) else -1
            numbers[k] = items.setdefault(one.item_id, len(items))
        features = np.array([one.feature for one in observations], dtype="U8")
        modes = np.array([one.mode or "?" for one in observations], dtype="U2")
        return cls(boxes, days, groups, features, numbers, modes, tuple(names))

    @property
    def items(self) -> dict[str, int]:
        """Number of different items of each mode."""
        return {str(mode): np.unique(self.item_numbers[self.modes == mode]).size for mode in np.unique(self.modes)}

    def within(self, start: dt.date) -> Index:
        """Keep the observations of the series that begins on a day."""
        first = float((start - dt.date(1970, 1, 1)).days)
        span = conventions.N_STEPS * conventions.STEP_DAYS
        kept = (self.days >= first - conventions.STEP_TOLERANCE_DAYS) & (self.days < first + span)
        return Index(
            self.boxes[kept],
            self.days[kept],
            self.groups[kept],
            self.features[kept],
            self.item_numbers[kept],
            self.modes[kept],
            self.names,
            first,
        )

    def choose(
        self, box: Bounds, *, features: Sequence[str], orbit: int | None, polarisation: str | None
    ) -> Choice | None:
        """Choose the orbit of a tile by the boxes alone: most steps over the largest share, then fewest rasters."""
        rows, shares = self._shares(box)
        best: tuple[float, Choice] | None = None
        there = np.unique(self.groups[rows])
        for group in there[there >= 0]:
            number, name = self.names[group]
            if (orbit is not None and number != orbit) or (polarisation is not None and name != polarisation):
                continue
            own = self.groups[rows] == group
            score, choice = self._series(rows[own], shares[own], features, number)
            if best is None or score > best[0]:
                best = score, choice
        return None if best is None else best[1]

    @functools.cached_property
    def _tree(self) -> shapely.STRtree:
        """The boxes for searching, three times over: as they are, and a turn of the globe to the west and east."""
        import shapely

        west, south, east, north = self.boxes.T
        return shapely.STRtree(np.concatenate([shapely.box(west + turn, south, east + turn, north) for turn in _TURNS]))

    def _shares(self, box: Bounds) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Return the observations that have a part of a box, ascending, and which share of it each covers."""
        import shapely

        west, south, east, north = box
        east = east + 360 if east < west else east
        turn, rows = np.divmod(self._tree.query(shapely.box(west, south, east, north)), max(len(self.boxes), 1))
        left, bottom, right, top = self.boxes[rows].T
        left, right = left + _TURNS[turn], right + _TURNS[turn]
        width = np.maximum(np.minimum(right, east) - np.maximum(left, west), 0)
        height = np.maximum(np.minimum(top, north) - np.maximum(bottom, south), 0)
        found, place = np.unique(rows, return_inverse=True)
        shares = np.bincount(place, width * height, found.size) / ((east - west) * (north - south))
        return found[shares > 0], shares[shares > 0]

    def _series(
        self, rows: npt.NDArray[np.int64], shares: npt.NDArray[np.float64], features: Sequence[str], orbit: int | None
    ) -> tuple[float, Choice]:
        """One pass a step, of the day that covers most; the earliest of equal ones."""
        score, steps, rasters, share = 0.0, conventions.N_STEPS, 0, 0.0
        for feature in features:
            own = self.features[rows] == feature
            days, place, number = np.unique(
                np.floor(self.days[rows[own]]).astype(int), return_inverse=True, return_counts=True
            )
            covered = np.bincount(place, shares[own], days.size)
            step = np.floor((days - self.start) / conventions.STEP_DAYS).astype(int)
            known = np.flatnonzero((step >= 0) & (step < conventions.N_STEPS))
            order = known[np.lexsort((days[known], -np.minimum(covered[known], 1.0), step[known]))]
            filled, first = np.unique(step[order], return_index=True)
            chosen = order[first]
            rasters += int(number[chosen].sum())
            share += float(covered[chosen].sum())
            score += float(np.minimum(covered[chosen], 1.0).sum())
            steps = min(steps, filled.size)
        return score, Choice(orbit, steps, rasters, share)
