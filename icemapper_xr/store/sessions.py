"""Open a year of a store for writing, and write its units, wherever these are computed."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from icemapper_xr import conventions as cv
from icemapper_xr import errors, hours, progress
from icemapper_xr.store import handover as handovers
from icemapper_xr.store import identity, lock, reading, skeleton, staging
from icemapper_xr.store import layout as layouts
from icemapper_xr.store.handover import Handover
from icemapper_xr.store.layout import Layout, Unit
from icemapper_xr.store.location import Location

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Session", "Target", "session", "write_unit"]

_log = logging.getLogger(__name__)
_NAMED = 6


@dataclass(frozen=True)
class Session:
    """A year of a store that is open for writing."""

    path: str
    target: Target
    units: tuple[Unit, ...]
    """All units of the year."""
    missing: tuple[Unit, ...]
    """Those that are still to do."""
    handover: Handover
    """What the blocks of a run hand to each other; it outlives a run that is killed."""
    held: Callable[[], None]
    """Raises a `StoreError` once another run has taken the lease of a store in a bucket."""

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Items that could not be read for some units of the year, in this run or an earlier one."""
        return skeleton.unreadable(skeleton.open_group(Location(self.target.url)), self.target.year)

    def note_unreadable(self, items: Iterable[str]) -> None:
        """Keep the names of items that could not be read: `n_obs` alone would know."""
        group = skeleton.open_group(Location(self.target.url), read_only=False)
        skeleton.note_unreadable(group, self.target.year, items)


@contextlib.contextmanager
def session(
    result: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    year: int,
    chunk: int = cv.LATTICE,
    shard: int | None = None,
    overwrite: bool | Literal["year"] = False,
    beside: Iterable[str | os.PathLike[str]] = (),
) -> Iterator[Session]:
    """Open one year of a store for writing, under its lock; whoever asks writes the missing units by `write_unit`.

    Parameters
    ----------
    result, path, year, chunk, shard, overwrite
        As in `write`; of the result only names, types, coordinates and attributes are used.
    beside
        Stores of the other tiles of a region, there or not: its tiles must be of one run, each with its own orbit.

    Yields
    ------
    Session
        Closed without an error, the year counts as complete if no unit is missing then. A store or a year of which no
        unit was ever written is taken away again.

    Raises
    ------
    StoreError
        As `write`; or a store beside it is another run's.
    """
    location = Location.parse(path)
    selected = layouts.select_year(result, year)
    layout = layouts.of_result(selected, chunk=chunk, shard=shard)
    run = identity.as_noted(identity.of_run(selected.attrs, layout), _known_run(location))
    facts = identity.of_year(selected.attrs)
    _refuse_mixture(run, map(Location.parse, beside))
    if overwrite and reading.reads_from(selected, path):
        raise errors.StoreError(
            f"The result is read from the store {location}, which it is to replace: write it to another one, or "
            "load it first (result.load())"
        )
    with lock.hold(location) as held:
        place = staging.prepare(location, layout, run, selected.attrs, overwrite=overwrite)
        handover = handovers.of_store(location, _digest_of_year(run, facts), year)
        known, afresh = _has_units(place.location, year), False
        try:
            _refuse_hour(place.location, year, selected.attrs)
            if not place.staged:
                place, afresh = staging.of_year(
                    location, layout, run, selected.attrs, year=year, facts=facts, overwrite=bool(overwrite)
                )
                known = known and not place.staged
            if afresh:
                handover.remove()
            index, noted = _begin_year(place.location, year, facts, selected.attrs, afresh=afresh)
            _sweep(location, keep=(handover,))
            units = tuple(layout.all_units())
            missing = units if afresh else _missing(place.location, year)
            target = Target(place.location.url, layout, index, identity.digest(run), year, noted)
            yield Session(location.url, target, units, missing, handover, held)
            held()
            if not reading.missing_units(place.location, skeleton.open_group(place.location), year):
                if missing:
                    place.location.sweep()  # of workers that were killed in this run
                    skeleton.log(skeleton.open_group(place.location, read_only=False), f"year {year} complete")
                place.finish()
                _sweep(location)
            elif not known and _take_back(place.location, year):
                _sweep(location)
        except BaseException as error:
            if not known and _take_back(place.location, year):
                with contextlib.suppress(OSError, errors.StoreError):
                    _sweep(location)
            if isinstance(error, OSError):
                raise errors.StoreError(f"{_explained(error, location)}; mend this and run again") from error
            raise


@dataclass(frozen=True)
class Target:
    """Where a worker writes: travels in the graph."""

    url: str
    layout: Layout
    index: int
    """Position of the year in the store."""
    fingerprint: str
    """Of the run: a worker that outlived a killed run must not write into the store of the next."""
    year: int
    year_fingerprint: str
    """Of the year, for the same reason: where a year is taken back another one may come into its place."""


def _refuse_mixture(run: Mapping[str, Any], beside: Iterable[Location]) -> None:
    """Refuse a tile that is not made as those of its region; one of them tells, as each was compared when it came."""
    there = next(((place, known) for place in beside if (known := _known_run(place, begun=True)) is not None), None)
    if there is not None and (told := identity.unlike(there[1], run)):
        raise errors.StoreError(
            f"The store {there[0]} of the same map belongs to another run: {told}. Name another output, or replace the "
            "whole map with overwrite"
        )


def _known_run(location: Location, *, begun: bool = False) -> Mapping[str, Any] | None:
    """Return the run of a store; None if there is none or, of one that is to be begun, nothing in it."""
    with contextlib.suppress(errors.StoreError):
        group = skeleton.open_group(location)
        ours = skeleton.meta(group)
        if not begun or any(reading.begun(location, group, int(year)) for year in ours["years"]):
            known: Mapping[str, Any] = ours["run"]
            return known
    return None


def _digest_of_year(run: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    return identity.digest({"run": dict(run), "year": dict(facts)})


def _sweep(location: Location, *, keep: Iterable[Handover] = ()) -> None:
    """Remove the strips that nobody will take up again: all but those of unfinished years, also in what replaces any.

    Parameters
    ----------
    location
        Of the store, beside which the strips lie.
    keep
        What is needed in any case.
    """
    if not handovers.left(location):
        return
    useful = set(keep)
    for place in (location, *reading.replacements(location)):
        with contextlib.suppress(errors.StoreError):  # there is none
            group = skeleton.open_group(place)
            ours = skeleton.meta(group)
            useful |= {
                handovers.of_store(location, _digest_of_year(ours["run"], facts["identity"]), int(year))
                for year, facts in ours["years"].items()
                if reading.missing_units(place, group, int(year))
            }
    handovers.sweep(location, useful)


def _missing(location: Location, year: int) -> tuple[Unit, ...]:
    """List the units of a year to do; damaged ones are removed, so that they count as not done from now on."""
    group = skeleton.open_group(location)
    damaged = reading.damaged_units(location, group, year)
    if damaged:
        named = ", ".join(f"row {unit.row} column {unit.column}" for unit in damaged[:_NAMED])
        progress.note(f"{year}: {len(damaged)} units are damaged and are made anew ({named})")
        _log.warning("%s: %d damaged units of %d are made anew: %s", location, len(damaged), year, named)
        location.delete(reading.keys_of(location, group, year, damaged))
    return reading.missing_units(location, group, year)


def _has_units(location: Location, year: int) -> bool:
    """Whether a year of a store has units, however damaged: what holds them is not taken away."""
    return reading.begun(location, skeleton.open_group(location), year)


def _refuse_hour(location: Location, year: int, attrs: Mapping[Any, Any]) -> None:
    """Refuse a year of another time of day than the other years of its store, where no orbit is known."""
    of_years = skeleton.meta(skeleton.open_group(location))["years"]
    if wrong := hours.clash(year, attrs.get(cv.ATTR_TIME_OF_DAY), hours.of_years(of_years)):
        raise errors.StoreError(f"The year {year} is not added to the store {location}: {wrong}")


def _begin_year(
    location: Location, year: int, facts: Mapping[str, Any], attrs: Mapping[Any, Any], *, afresh: bool
) -> tuple[int, str]:
    """Return the place of a year and its fingerprint, as the store has it: an older one did not note all of it."""
    group = skeleton.open_group(location, read_only=False)
    known = skeleton.meta(group)["years"].get(str(year))
    if known is None:
        return skeleton.add_year(group, year, facts, attrs), identity.digest(facts)
    if not afresh and identity.same_year(known["identity"], facts):
        return int(known["index"]), str(known["fingerprint"])
    if not afresh and reading.begun(location, group, year):
        identity.check(known["identity"], facts, what=f"The year {year} in the store {location}")
    # The old units go before the new identity comes: a kill in between leaves an older year with units to do.
    for name in skeleton.meta(group)["variables"]:
        location.delete(key for _, key in list(reading.unit_keys(location, name, known["index"])))
    skeleton.change_year(group, year, facts, attrs)
    return int(known["index"]), identity.digest(facts)


def _take_back(location: Location, year: int) -> bool:
    """Remove a year of which no unit was written, and the store if it has no other: they would only be in the way."""
    with contextlib.suppress(OSError, errors.StoreError):
        group = skeleton.open_group(location, read_only=False)
        if reading.begun(location, group, year):
            return False
        if set(skeleton.meta(group)["years"]) <= {str(year)}:
            location.delete()
        else:
            skeleton.drop_year(group, year)
        return True
    return False


def write_unit(target: Target, unit: Unit, blocks: Sequence[Any]) -> None:
    """Write the chunks of one unit, on the worker that computed them; the last variable completes the unit.

    Parameters
    ----------
    target
        Of the session.
    unit
        Which.
    blocks
        For each variable of the layout the part of the unit that lies in the area, dims (y, x).

    Raises
    ------
    StoreError
        If the store cannot be written to, or is another run's by now.
    """
    _, stored = layouts.unit_slices(target.layout, unit)
    rows, columns = (layouts.moved(cut, -place * target.layout.unit) for cut, place in zip(stored, unit, strict=True))
    location = Location(target.url)
    try:
        with location.plainly():
            _write_chunks(target, location, unit, blocks, (rows, columns))
    except OSError as error:
        raise _explained(error, location) from error


def _write_chunks(
    target: Target, location: Location, unit: Unit, blocks: Sequence[Any], where: tuple[slice, slice]
) -> None:
    import zarr

    side = target.layout.unit
    group: Any = zarr.open_group(location.zarr_store(), mode="r+")
    ours = skeleton.meta(group)
    year = ours["years"].get(str(target.year), {})
    place = ours["fingerprint"], year.get("index"), year.get("fingerprint")
    if place != (target.fingerprint, target.index, target.year_fingerprint):
        raise errors.StoreError(
            f"The store {location}, or its year {target.year}, was replaced by another run: this unit is not written"
        )
    for variable, block in zip(target.layout.variables, blocks, strict=True):
        whole = np.full((1, side, side), variable.fill, dtype=variable.dtype)
        whole[0, *where] = block
        start = (unit.row * side, unit.column * side)
        # A unit of fill values is done, too. (zarr's global setting would be one for all threads.)
        array = group[variable.name].with_config({"write_empty_chunks": True})
        array[target.index, start[0] : start[0] + side, start[1] : start[1] + side] = whole[0]


def _explained(error: OSError, location: Location) -> errors.StoreError:
    reason = error.strerror or str(error)
    return errors.StoreError(f"Cannot write to the store {location}: {reason}")
