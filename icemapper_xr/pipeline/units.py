"""What a worker does with one block of a map: read, evaluate the windows, hand strips over, write the unit.

Everything here may be repeated: files appear in one step and hold the same bits whoever writes them, so a block that
was cut off, by a kill or a lost worker, is simply done again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from icemapper_xr import addresses, applicability, conventions, cube, normalise, prediction, store
from icemapper_xr._types import Bounds, FloatArray, Grid, Segmenter
from icemapper_xr.conventions import Gap, Resampling
from icemapper_xr.errors import CubeError
from icemapper_xr.pipeline import verbs
from icemapper_xr.pipeline.outcomes import Outcome
from icemapper_xr.prediction import Block

__all__ = ["Job", "Place", "Stopped", "evaluate", "finish", "halt", "parts"]

AT_ONCE = 2
"""Blocks that a process works on at once: one is read while the network, which takes one caller, has the other."""
REMOTE_READERS = 8
"""Threads that read a block over the network, where waiting is most of the work."""


_turns = threading.BoundedSemaphore(AT_ONCE)
_halted = threading.Event()


class Stopped(Exception):  # noqa: N818  (no error: the user asked for it)
    """The run was stopped while this block was under way."""


def halt(on: bool = True) -> None:
    """Let the blocks of this process stop at their next window, or go on again."""
    if on:
        _halted.set()
    else:
        _halted.clear()


@dataclass(frozen=True)
class Place:
    """A block within its map: what it receives, gives and writes."""

    block: Block
    spans: tuple[prediction.Span, prediction.Span]
    """Along y and x."""
    weights: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] = field(repr=False)
    unit: store.Unit | None
    """What the block writes; None for one that only hands strips over."""
    receives: Mapping[str, Block]
    """Strips that the unit needs, and the blocks that they come from."""
    gives: tuple[str, ...]
    """Strips that other units still need."""
    target: store.Target
    handover: store.Handover

    @property
    def own(self) -> tuple[int, int]:
        """Rows and columns of the block's own pixels."""
        return self.spans[0].stop - self.spans[0].start, self.spans[1].stop - self.spans[1].start

    @property
    def kept(self) -> tuple[slice, slice]:
        """Where the pixels of the area lie among the own ones."""
        rows, columns = (
            slice(span.keep[0] - span.start, span.keep[1] - span.start) if span.keep else slice(0, 0)
            for span in self.spans
        )
        return rows, columns

    def name(self, what: str, block: Block | None = None) -> str:
        """Name of an array in the handover."""
        row, column = block or self.block
        return f"{row}_{column}.{what}"


@dataclass(frozen=True)
class Job:
    """All that a worker needs to evaluate a block: small, and of the block only."""

    place: Place
    series: cube.Series = field(repr=False)
    segmenter: Segmenter
    stride: int
    gap: Gap
    resample: Resampling | None
    mask: Any
    """None, or an object whose ``on(grid)`` gives a bool array (y, x), True where the map is wanted."""
    likeness: applicability.Likeness | None = field(default=None, repr=False)
    """What the training data look like; None where nobody knows: then the map has no `applicability`."""
    unreadable_share: float = cube.MAX_UNREADABLE
    """Share of the rasters of a block that may stay unreadable."""


def evaluate(job: Job) -> Outcome:
    """Evaluate the windows of a block; write its unit, if all strips for it are there, else keep its sums.

    Raises
    ------
    IcemapperError
        If the block cannot be read, evaluated or written.
    """
    with _turns:
        return _evaluate(job)


def _evaluate(job: Job) -> Outcome:
    place = job.place
    started = time.perf_counter()
    wanted = None if job.mask is None else np.asarray(job.mask.on(_region(job)), bool)
    features, unreadable = (None, ()) if wanted is not None and not wanted.any() else _read(job)
    read = time.perf_counter()
    if features is None:
        shape = (place.spans[0].read - place.spans[0].start, place.spans[1].read - place.spans[1].start)
        features = [np.full((1, *shape), np.nan, np.float32)] * len(job.segmenter.features)
    partial = prediction.evaluate(
        *features,
        segmenter=job.segmenter,
        stride=job.stride,
        gap=job.gap,
        mask=wanted,
        last=(place.spans[0].last, place.spans[1].last),
        on_windows=_check_halted,
    )
    evaluated = time.perf_counter()
    for strip in place.gives:
        place.handover.put(place.name(strip), getattr(partial, strip))
    written = place.unit is not None and _finish_or_keep(job, partial.core, features, wanted)
    return Outcome(
        place.block,
        place.unit,
        written,
        partial.windows,
        read - started,
        evaluated - read,
        time.perf_counter() - evaluated,
        unreadable=unreadable,
        worker=_worker(),
    )


def _worker() -> str:
    """Name of the worker, or of the thread, that this runs on."""
    import sys

    if "distributed" in sys.modules:
        from distributed import get_worker

        try:
            return str(get_worker().address)
        except ValueError:
            pass
    return threading.current_thread().name


def _check_halted(_done: int, _total: int) -> None:
    if _halted.is_set():
        raise Stopped


def _region(job: Job) -> Grid:
    """Grid of all that the block reads, in the model's pixels."""
    rows, columns = job.place.spans
    size = job.segmenter.pixel_size
    grid = job.series.area.grid
    return Grid(
        grid.epsg,
        grid.wkt,
        size,
        Bounds(columns.start * size, -rows.read * size, columns.read * size, -rows.start * size),
    )


def _read(job: Job) -> tuple[list[FloatArray], tuple[str, ...]]:
    """Read the features of a block in model units, (time, y, x), with threads of this process."""
    import dask.base

    region = _region(job)
    faults = cube.Faults()
    scaled = verbs.model_units(job.series.open(faults=faults), job.segmenter, resample=job.resample)
    size = job.segmenter.pixel_size
    top, left = (float(scaled[axis].values[0]) for axis in (conventions.Y, conventions.X))
    row = round((top + size / 2 - region.bounds.top) / size)
    column = round((region.bounds.left - (left - size / 2)) / size)
    cut = {
        conventions.Y: slice(row, row + region.shape.y),
        conventions.X: slice(column, column + region.shape.x),
    }
    missing = [feature for feature in job.segmenter.features if feature not in scaled]
    if missing:
        raise CubeError(f"the cube has no {', '.join(missing)}, which the weights want")
    lazy = [scaled[feature].isel(cut).data for feature in job.segmenter.features]
    over_network = any(addresses.is_remote(one.href) for one in job.series.observations)
    # Not by dask.config, which is one for all threads: blocks that overlap would leave each other's setting behind.
    how = {"scheduler": "threads", "num_workers": REMOTE_READERS} if over_network else {"scheduler": "synchronous"}
    features = list(dask.base.compute(*lazy, **how))
    faults.check(len(job.series.observations), share=job.unreadable_share)
    return features, faults.items


def _finish_or_keep(
    job: Job, own: prediction.SumArray, features: list[FloatArray], wanted: npt.NDArray[np.bool_] | None
) -> bool:
    """Write the unit if the neighbours' strips are there; else keep the block's sums for `finish`."""
    place = job.place
    rows, columns = place.kept
    inside = [feature[:, rows, columns] for feature in features]
    # A block without a wanted pixel is not read: what is not wanted counts as not seen in the others, too.
    mask = np.True_ if wanted is None else wanted[rows, columns]
    kept: dict[str, npt.NDArray[Any]] = {
        "core": own,
        "seen": prediction.observed(inside) & mask,
        conventions.N_OBS: prediction.valid_steps(inside) * mask,
    }
    if job.likeness is not None:
        kept[conventions.APPLICABILITY] = np.where(mask, _likeness(job, job.likeness, features), np.float32(np.nan))
    strips, lost = _received(place)
    if lost:
        for what, array in reversed(kept.items()):  # the sums last: with them the block is whole
            place.handover.put(place.name(what), array)
        return False
    _write(place, kept, strips)
    return True


def _received(place: Place) -> tuple[dict[str, prediction.SumArray], list[prediction.Block]]:
    """Return the neighbours' strips that are in the handover, and the blocks whose strip is not, or is damaged."""
    found = {strip: place.handover.get(place.name(strip, source)) for strip, source in place.receives.items()}
    strips = {strip: array for strip, array in found.items() if array is not None}
    return strips, [source for strip, source in place.receives.items() if strip not in strips]


def _likeness(job: Job, model: applicability.Likeness, features: list[FloatArray]) -> FloatArray:
    """Score the pixels of the unit, in squares on the lattice whatever the block's own corner is."""
    place = job.place
    before = [span.start % applicability.BLOCK for span in place.spans]
    pad = ((0, 0), (before[0], 0), (before[1], 0))
    rows, columns = place.own
    stacks = [
        np.pad(normalise.in_units(feature[:, :rows, :columns], name), pad, constant_values=np.nan)
        for feature, name in zip(features, job.segmenter.features, strict=True)
    ]
    return applicability.score(*stacks, model=model)[before[0] :, before[1] :][place.kept]


def finish(place: Place) -> Outcome:
    """Write the unit of a block whose own sums and whose neighbours' strips are in the handover.

    Returns
    -------
    Outcome
        Not written, and the blocks that are to be evaluated again, where something is not there or damaged.
    """
    started = time.perf_counter()
    kept = {what: place.handover.get(place.name(what)) for what in parts(place.target)}
    strips, lost = _received(place)
    if any(array is None for array in kept.values()):
        lost.append(place.block)
    if lost:
        return Outcome(place.block, place.unit, False, lost=tuple(lost))
    _write(place, kept, strips)
    return Outcome(place.block, place.unit, True, writing=time.perf_counter() - started)


def parts(target: store.Target) -> tuple[str, ...]:
    """Name what a block keeps in the handover until its unit can be written: sums, and what the unit has besides."""
    others = (one.name for one in target.layout.variables if one.name != conventions.PROBABILITY)
    return ("core", "seen", *others)


def _write(place: Place, kept: Mapping[str, Any], strips: Mapping[str, prediction.SumArray]) -> None:
    """Write the unit, then remove what was handed over for it."""
    assert place.unit is not None
    mapped = prediction.probability_of(kept["core"], strips, place.weights)[place.kept]
    values = {**kept, conventions.PROBABILITY: np.where(kept["seen"], mapped, np.float32(np.nan))}
    store.write_unit(place.target, place.unit, [values[one.name] for one in place.target.layout.variables])
    place.handover.drop(place.name(strip, source) for strip, source in place.receives.items())
    place.handover.drop(place.name(what) for what in parts(place.target))
