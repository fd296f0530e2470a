"""`map_cube`: from the observations chosen to the units of a store, in bounded pieces, every window once.

The area is cut into blocks (`prediction.lattice`). A few blocks per worker are under way at any time, row by row; what
a block's windows add to its neighbours lies in the store's handover until the neighbours are written. So neither the
graph nor the scheduler nor a worker holds more for a larger area, and a run that was killed goes on with the blocks
that were under way and those not begun.
"""

from __future__ import annotations

import collections
import functools
import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from icemapper_xr import applicability, conventions, cube, prediction, store
from icemapper_xr._types import Bounds, Grid, Segmenter
from icemapper_xr.conventions import Gap, Resampling
from icemapper_xr.errors import (
    ClusterError,
    CubeError,
    IcemapperError,
    OptionError,
    StoreError,
    WeightsError,
    one_line,
)
from icemapper_xr.pipeline import journals, pools, trust, units, verbs
from icemapper_xr.pipeline.outcomes import Outcome, Written
from icemapper_xr.prediction import Block

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["map_area", "map_cube", "template_of"]

log = logging.getLogger(__name__)

FATAL = (ClusterError, OptionError, StoreError, WeightsError)
"""What would befall every other block too, so that the run ends; anything else fails one unit."""
MOST_FAILED = 10
"""Failures without a single success after which the run ends: then it is no matter of single units."""

MOST_LOST = 3
"""Times that a block is evaluated again because its strips are gone."""


def map_cube(
    series: cube.Series,
    segmenter: Segmenter,
    path: str | Path,
    *,
    year: int,
    gap: Gap = "nearest",
    overlap: float = conventions.OVERLAP,
    resample: Resampling | None = None,
    mask: Any = None,
    overwrite: bool | Literal["year"] = False,
    retry_failed: bool = False,
    beside: Iterable[Path] = (),
    chunk: int = conventions.LATTICE,
    client: Client | None = None,
    journal: journals.Journal | None = None,
    on_outcome: Callable[[Outcome, Written], None] | None = None,
) -> Written:
    """Map a series into one year of a store, computing only what is missing there.

    Parameters
    ----------
    series
        What `verbs.plan_cube` chose, with the margin that the segmenter's window needs.
    segmenter
        The model.
    path
        Folder or URL of the store; every worker must see it.
    year
        Year of the store to write.
    gap, overlap, resample
        As in `predict`.
    mask
        None, or a small object that pickles, with ``digest`` and ``on(grid)`` -> bool array (y, x): blocks without a
        True are neither read nor evaluated.
    overwrite
        As in `store.write`.
    retry_failed
        Whether to try again the units that failed in an earlier run; they are left alone otherwise.
    beside
        As in `store.session`.
    chunk
        Side of a block and of a unit of the store, pixels; a multiple of the stride.
    client
        Where to run; None is the active client, or threads of this process.
    journal
        Where to log what is done.
    on_outcome
        Called in this process with the outcome of each block and the sum so far.

    Returns
    -------
    Written
        Units, windows, times, failures.

    Raises
    ------
    StoreError, WeightsError, ClusterError, OptionError
        If the run as a whole cannot go on; what was done stays.
    CubeError
        If units could not be read, after all others are done.
    """
    started = time.monotonic()
    journal = journal or journals.Journal()
    area = map_area(series, segmenter)
    lattice = prediction.lattice(
        Bounds(*area.bounds), area.resolution, window=segmenter.window, overlap=overlap, chunk=chunk
    )
    likeness = trust.likeness_of(segmenter)
    template = template_of(series, area, segmenter, gap=gap, overlap=overlap, resample=resample, mask=mask)
    if likeness is not None:
        template = _with_applicability(template, likeness)
    with store.session(template, path, year=year, chunk=chunk, overwrite=overwrite, beside=beside) as session:
        written = Written(session.path, year, len(session.units), len(session.units) - len(session.missing))
        written.unreadable |= set(session.unreadable)
        run = _Run(session, lattice, written, journal, on_outcome, retry_failed=retry_failed)
        run.job = functools.partial(
            _job,
            series=series,
            segmenter=segmenter,
            stride=lattice.stride,
            gap=gap,
            resample=resample,
            mask=mask,
            likeness=likeness,
        )
        if run.todo or run.unfinished:
            journal.begin(path, year=year, units=len(session.units), missing=len(session.missing))
            try:
                run.through(pools.open_pool(client, segmenter))
            except FATAL as error:
                done = f"{written.kept + written.written} of {written.units} units are done and stay"
                journal.event("stopped", reason=str(error))
                raise type(error)(f"{error}; {done}: mend this and run the same again") from error
            except (KeyboardInterrupt, SystemExit) as stop:
                by = "the user" if isinstance(stop, KeyboardInterrupt) else "SIGTERM"
                journal.event("stopped", reason=f"by {by}", written=written.written)
                raise
        written.seconds = time.monotonic() - started
        journal.end(written)
        if written.failed and not (written.written or written.kept):
            raise run.first_error or CubeError(next(iter(written.failed.values())))
    return written


def map_area(series: cube.Series, segmenter: Segmenter) -> Grid:
    """Return the grid of the map: the area of the series in the model's pixels, a coarser pixel snapped outward."""
    grid, size = series.area.grid, segmenter.pixel_size
    left, bottom, right, top = (edge / size for edge in series.area.area)
    edges = (np.floor(left + 1e-6), np.floor(bottom + 1e-6), np.ceil(right - 1e-6), np.ceil(top - 1e-6))
    return Grid(grid.epsg, grid.wkt, size, Bounds(*(float(edge) * size for edge in edges)))


def template_of(
    series: cube.Series, area: Grid, segmenter: Segmenter, *, gap: Gap, overlap: float, resample: Any, mask: Any
) -> xr.Dataset:
    """Return what the result says of itself, with values that take no memory.

    The lazy result of one corner of the area says it, so that checks, units and provenance are those of `predict`.
    """
    own = series.area.grid.resolution
    side = 2 * max(own, segmenter.pixel_size)
    left, top = area.bounds.left, area.bounds.top
    corner = Bounds(left, top - side, left + side, top)
    reach = series.area.margin * own
    around = Bounds(corner.left - reach, corner.bottom - reach, corner.right + reach, corner.top + reach)
    cut = series.cut(replace(series.area, area=corner, grid=replace(series.area.grid, bounds=around)))
    where = {name: cut.attrs[name] for name in (conventions.ATTR_AREA, conventions.ATTR_MARGIN)}
    whole = replace(cut, attrs={**series.attrs, **where}, coordinates=series.coordinates)
    said = verbs.predict(whole.open(), weights=segmenter, gap=gap, overlap=overlap, resample=resample)
    y, x = area.coords()
    shape = (y.size, x.size)
    result = xr.Dataset(
        {
            name: (said[name].dims, np.broadcast_to(np.zeros((), said[name].dtype), shape), said[name].attrs)
            for name in said.data_vars
        },
        coords={conventions.Y: y, conventions.X: x, conventions.SPATIAL_REF: said[conventions.SPATIAL_REF]},
        attrs={**said.attrs, conventions.ATTR_AREA: list(area.bounds)},
    )
    if mask is not None:
        settings = json.loads(result.attrs[conventions.ATTR_SETTINGS])
        settings["mask"] = mask.digest
        result.attrs[conventions.ATTR_SETTINGS] = json.dumps(settings, sort_keys=True)
    return result


def _with_applicability(template: xr.Dataset, likeness: applicability.Likeness) -> xr.Dataset:
    """Announce that the map tells, too, where its input is unlike the training data."""
    like = template[conventions.PROBABILITY]
    attrs = {**conventions.VARIABLE_ATTRIBUTES[conventions.APPLICABILITY], "training": likeness.source}
    return template.assign({conventions.APPLICABILITY: (like.dims, like.values, attrs)})


def _job(place: units.Place, *, series: cube.Series, segmenter: Segmenter, **options: Any) -> units.Job:
    """Cut the series to what a block reads."""
    rows, columns = place.spans
    size, own = segmenter.pixel_size, series.area.grid.resolution
    # Where pixels are interpolated they need a neighbour; whole pixels of the cube are read in any case.
    margin = 0 if own == size else 2
    edges = (columns.start * size, -rows.read * size, columns.read * size, -rows.start * size)
    left, bottom = (np.floor(edge / own + 1e-6) for edge in edges[:2])
    right, top = (np.ceil(edge / own - 1e-6) for edge in edges[2:])
    area = Bounds(*(float(index) * own for index in (left, bottom, right, top)))
    reach = margin * own
    around = Bounds(area.left - reach, area.bottom - reach, area.right + reach, area.top + reach)
    cut = series.cut(cube.AreaGrid(area, replace(series.area.grid, bounds=around), margin))
    return units.Job(place, cut, segmenter, **options)


class _Run:
    """Which blocks are evaluated, which units can be written, and what is to do next."""

    def __init__(
        self,
        session: store.Session,
        lattice: prediction.Lattice,
        written: Written,
        journal: journals.Journal,
        on_outcome: Callable[[Outcome, Written], None] | None,
        *,
        retry_failed: bool,
    ) -> None:
        self.session, self.lattice, self.written = session, lattice, written
        self.journal, self.on_outcome = journal, on_outcome
        self.job: Callable[[units.Place], units.Job]
        self.first_error: Exception | None = None
        self._failures = 0
        """Units that failed in this run."""
        self._first = (lattice_first(lattice.rows), lattice_first(lattice.columns))
        self.missing = {self.block_of(unit) for unit in session.missing}
        """Blocks whose unit is not written, so that strips for it are kept."""
        failed = session.handover.failed()
        if retry_failed:
            session.handover.forgive(failed)
            failed = {}
        known = {block: unit for unit in failed if (block := self.block_of(unit)) in self.missing}
        blocked = {one for one in self.missing if one in known or known.keys() & set(lattice.sources(one).values())}
        written.failed.update({unit: failed[unit] for unit in known.values()})
        self.unfinished = self.missing - blocked
        """Blocks whose unit this run is still to begin to write."""
        self._lost: collections.Counter[Block] = collections.Counter()
        self.evaluated = self._evaluated_before()
        needed = {source for one in self.unfinished for source in (one, *lattice.sources(one).values())}
        self.todo = collections.deque(sorted(needed - self.evaluated))
        written.repeated = sum(self.unit_of(one) is not None and one not in self.missing for one in self.todo)

    # -- blocks and units ---------------------------------------------------------------------------------------------
    def block_of(self, unit: store.Unit) -> Block:
        """Return the block that writes a unit."""
        return Block(unit.row + self._first[0], unit.column + self._first[1])

    def unit_of(self, block: Block) -> store.Unit | None:
        """Return the unit that a block writes; None where it lies outside the area."""
        rows, columns = self.lattice.rows[block.row], self.lattice.columns[block.column]
        if rows.keep is None or columns.keep is None:
            return None
        return store.Unit(block.row - self._first[0], block.column - self._first[1])

    def place(self, block: Block) -> units.Place:
        """Describe a block to a worker."""
        targets = self.lattice.targets(block)
        return units.Place(
            block=block,
            spans=(self.lattice.rows[block.row], self.lattice.columns[block.column]),
            weights=self.lattice.weights_of(block),
            unit=self.unit_of(block) if block in self.missing else None,
            receives=self.lattice.sources(block),
            gives=tuple(strip for strip, target in targets.items() if target in self.missing),
            target=self.session.target,
            handover=self.session.handover,
        )

    def _evaluated_before(self) -> set[Block]:
        """Blocks of which all that is still needed lies in the handover; what nobody needs any more is removed."""
        names = self.session.handover.names()
        if not names:
            return set()
        useful: dict[Block, set[str]] = collections.defaultdict(set)
        for block in self.missing:
            useful[block] |= {f"{block.row}_{block.column}.{what}" for what in units.parts(self.session.target)}
            for strip, source in self.lattice.sources(block).items():
                useful[source].add(f"{source.row}_{source.column}.{strip}")
        self.session.handover.drop(names - set().union(*useful.values()))
        return {block for block, needed in useful.items() if needed <= names}

    # -- running ------------------------------------------------------------------------------------------------------
    def through(self, pool: pools.Pool) -> None:
        """Run until nothing is left to do."""
        try:
            for block in sorted(self.unfinished & self.evaluated):
                self._finish_if_ready(block, pool)
            while self.todo or pool.busy:
                while self.todo and pool.room() and not self._hopeless():
                    place = self.place(self.todo.popleft())
                    pool.submit(units.evaluate, self.job(place), place, network=True)
                if self._hopeless() and not pool.busy:  # what was begun before the failures came has come back, too
                    raise StoreError(f"the first {self._failures} units failed ({self.first_error})")
                self._take(*pool.next(), pool)
                self.session.held()
        except BaseException:
            pool.stop()
            raise

    def _take(self, place: units.Place, outcome: Outcome | Exception, pool: pools.Pool) -> None:
        if isinstance(outcome, FATAL):
            raise outcome
        if isinstance(outcome, Exception):
            self._failed(place, outcome)
            return
        self._count(outcome)
        if outcome.lost:
            self._again(place.block, outcome.lost)
            return
        self.evaluated.add(place.block)
        if outcome.written:
            self.unfinished.discard(place.block)
            self.missing.discard(place.block)
        for block in (place.block, *self.lattice.targets(place.block).values()):
            self._finish_if_ready(block, pool)

    def _again(self, block: Block, lost: Iterable[Block]) -> None:
        """Evaluate blocks again whose sums or strips are not where they were put, then write the unit."""
        self.unfinished.add(block)
        for one in lost:
            self._lost[one] += 1
            if self._lost[one] > MOST_LOST:
                raise StoreError(
                    f"what is put into {self.session.handover.location} does not stay there (block {tuple(one)}); "
                    "check that all workers see the same folder"
                )
            self.evaluated.discard(one)
            if one not in self.todo:
                self.todo.appendleft(one)

    def _finish_if_ready(self, block: Block, pool: pools.Pool) -> None:
        sources = (block, *self.lattice.sources(block).values())
        if block in self.unfinished and all(source in self.evaluated for source in sources):
            place = self.place(block)
            self.unfinished.discard(block)  # under way: nobody else is to finish it
            pool.submit(units.finish, place, place, network=False)

    def _count(self, outcome: Outcome) -> None:
        total = self.written
        total.windows = total.windows.plus(outcome.windows)
        total.reading += outcome.reading
        total.network += outcome.network
        total.writing += outcome.writing
        if new := set(outcome.unreadable) - total.unreadable:
            total.unreadable |= new
            self.session.note_unreadable(new)
        total.written += outcome.written
        self.journal.outcome(outcome)
        if self.on_outcome is not None:
            self.on_outcome(outcome, total)

    def _failed(self, place: units.Place, error: Exception) -> None:
        """Record the failure of a block; one without a unit to write fails those that wait for its strips."""
        reason = one_line(error)
        if not isinstance(error, IcemapperError):
            reason = f"{type(error).__name__}: {reason}"
        log.warning("block %s failed: %s", place.block, reason)
        self.first_error = self.first_error or error
        own = place.unit
        units_failed = [own] if own is not None else self._waiting(self.lattice.targets(place.block).values())
        for unit in units_failed:
            if unit is None:
                continue
            self.written.failed[unit] = reason
            self.session.handover.fail(unit, reason)
            self.journal.event("failed", unit=list(unit), reason=reason)
            self._failures += 1

    def _hopeless(self) -> bool:
        """Whether nothing but failures came of this run and of those before it."""
        some = self.written.written or self.written.kept or self.evaluated
        return self._failures >= MOST_FAILED and not some

    def _waiting(self, blocks: Iterable[Block]) -> list[store.Unit | None]:
        return [self.unit_of(block) for block in blocks if block in self.unfinished]


def lattice_first(spans: tuple[prediction.Span, ...]) -> int:
    """Return the position of the first block that has a pixel of the area."""
    return next(position for position, span in enumerate(spans) if span.keep is not None)
