"""Make and replace stores so that the path holds either nothing, the old store, or a valid new one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from icemapper_xr import errors, progress
from icemapper_xr.store import identity, mending, reading, skeleton
from icemapper_xr.store.layout import Layout
from icemapper_xr.store.location import Location

__all__ = ["Place", "of_year", "prepare"]

_CREATING = ".creating"
"""Ends the name under which a store, or what is to replace it or one of its years, is made."""
_WHOLE = "whole"
"""Marks a staged year of which all units are done, so that putting it in its place is finished after a kill."""
_OF = "of"
"""Tells of which store a staged year is: the path may come to hold another one before it is done."""


@dataclass(frozen=True)
class Place:
    """Where to write now, and where it belongs in the end."""

    location: Location
    final: Location
    year: int | None = None
    """The only year that is to be replaced; None: the store as a whole."""

    @property
    def staged(self) -> bool:
        """Whether the units are written beside the final place."""
        return self.location != self.final

    def finish(self) -> None:
        """Put a staged store, or year, in its final place, in place of the old one."""
        if not self.staged:
            return
        if self.year is not None:
            _put_year(self.location, self.final)
            return
        old = self.final.sibling(".old")
        _discard(old)
        Path(self.final.url).rename(old.url)
        Path(self.location.url).rename(self.final.url)
        _discard(old)
        for year in reading.staged_years(self.final):  # of the store that is gone
            _discard(year)


def prepare(
    location: Location,
    layout: Layout,
    run: Mapping[str, Any],
    attrs: Mapping[Any, Any],
    *,
    overwrite: bool | Literal["year"],
) -> Place:
    """Make, open or begin to replace the store at `location`; call it under the lock.

    With `overwrite="year"` a replacement that was begun goes on, but none is begun.

    Raises
    ------
    StoreError
        If the path holds something that is not ours, or another run's store and `overwrite` is not set.
    """
    try:
        _recover(location)
        kind = location.kind()
        if kind in {"absent", "empty"}:
            _create(location, layout, run, attrs)
            return Place(location, location)
        if kind != "store":
            what = "a file" if kind == "file" else "a folder that is not a store"
            if kind == "other" and any(location.get_file(f"{one.name}/zarr.json") for one in layout.variables):
                raise errors.StoreError(
                    f"The store {location} has lost its zarr.json, so that nothing tells whose units these are: remove "
                    "it and run the same again, or name another output (nothing was changed)"
                )
            raise errors.StoreError(f"{location} exists and is {what}: name another output (nothing was changed)")
        if location.local is None and skeleton.is_unfinished(location, [v.name for v in layout.variables]):
            location.delete()  # the run that made it was killed while it did
            _create(location, layout, run, attrs)
            return Place(location, location)
        location.sweep()
        group = skeleton.open_group(location, read_only=False)
        there = skeleton.meta(group)["run"]
        if identity.digest(there) == identity.digest(run):
            _mend(location, layout, group)
            if location.local is not None:
                _discard(location.sibling(".new"))
            return Place(location, location)
        if not any(reading.begun(location, group, int(year)) for year in skeleton.meta(group)["years"]):
            location.delete()  # of a run that was killed before its first unit: nothing is lost
            _create(location, layout, run, attrs)
            return Place(location, location)
        goes_on = bool(overwrite) and _replaces(location, run)
        if overwrite is not True and not goes_on:
            identity.check(there, run, what=f"The store {location}")
        if not goes_on:
            years = ", ".join(sorted(skeleton.meta(group)["years"]))
            progress.note(
                f"{location} is of another run ({identity.told(there, run)}): all of it is replaced ({years})"
            )
        return _replace(location, layout, run, attrs)
    except OSError as error:
        reason = error.strerror or str(error)
        raise errors.StoreError(
            f"Cannot write to the store {location}: {reason}; mend this or name another output"
        ) from error


def of_year(
    location: Location,
    layout: Layout,
    run: Mapping[str, Any],
    attrs: Mapping[Any, Any],
    *,
    year: int,
    facts: Mapping[str, Any],
    overwrite: bool,
) -> tuple[Place, bool]:
    """Say where one year of a store of this run is to be written, after `prepare` and under the lock.

    A year that has units is replaced beside the store, and stays readable until the new one is whole. A replacement
    that was begun goes on without `overwrite`; with it the year is begun anew.

    Returns
    -------
    tuple of Place and bool
        The place, and whether nothing that is there of the year is to be kept.
    """
    if location.local is None:  # an object store has no rename: the old units go before the new ones come
        return Place(location, location), overwrite
    fresh = location.sibling(f".{year}.new")
    try:
        belongs = _belongs(fresh, location)
        if not overwrite and belongs and _holds(fresh, run, year, facts):
            fresh.sweep()
            _mend(fresh, layout, skeleton.open_group(fresh, read_only=False))
            return Place(fresh, location, year), False
        if overwrite or not belongs or _holds(location, run, year, facts):
            _discard(fresh)
        if not overwrite or not reading.begun(location, skeleton.open_group(location), year):
            return Place(location, location), overwrite
        _create(fresh, layout, run, attrs, beside=location)
        Path(fresh.url, _OF).write_text(_made(location), encoding="utf-8")
    except OSError as error:
        raise errors.StoreError(
            f"Cannot write beside the store {location}: {error.strerror or error}; mend this or name another output"
        ) from error
    return Place(fresh, location, year), True


def _holds(location: Location, run: Mapping[str, Any], year: int, facts: Mapping[str, Any]) -> bool:
    """Whether a store of this run has a year of the same items."""
    with contextlib.suppress(errors.StoreError):
        ours = skeleton.meta(skeleton.open_group(location))
        known = ours["years"].get(str(year))
        same = identity.digest(ours["run"]) == identity.digest(run)
        return same and known is not None and identity.same_year(known["identity"], facts)
    return False


def _made(location: Location) -> str:
    """Return what tells a store from others that lie, or lay, at the same place."""
    ours = skeleton.meta(skeleton.open_group(location))
    return f"{ours['created']} {identity.digest(ours['run'])}"


def _belongs(fresh: Location, final: Location) -> bool:
    """Whether a staged year is of the store that is there now, not of one that was removed or replaced meanwhile."""
    with contextlib.suppress(errors.StoreError, OSError):
        return Path(fresh.url, _OF).read_text(encoding="utf-8") == _made(final)
    return False


def _put_year(fresh: Location, final: Location) -> None:
    """Put a staged year in the place of the old one by renaming; if it is cut off, it goes on when it is called again.

    The old units are all gone before the first new one comes, so that at no moment units of both count as one year.
    """
    Path(fresh.url, _WHOLE).touch()
    group = skeleton.open_group(final, read_only=False)
    ours = skeleton.meta(group)
    ((year, known),) = skeleton.meta(skeleton.open_group(fresh))["years"].items()
    index = ours["years"][year]["index"]
    moves = [
        (Path(fresh.url, name, "c", str(known["index"])), Path(final.url, name, "c", str(index)))
        for name in ours["variables"]
    ]
    for new, there in moves:
        if new.exists() and there.exists():
            there.rename(new.with_name("old"))
    skeleton.put_year(group, int(year), {**known, "index": index})
    for new, there in moves:
        if new.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            new.rename(there)
    Path(fresh.url, "zarr.json").unlink()  # from here on it is no store, whatever is left of it when this is cut off
    _discard(fresh)


def _mend(location: Location, layout: Layout, group: Any) -> None:
    """Mend what a kill, or a disk, did to the metadata of a store."""
    mended = mending.mend(location, layout)
    if mended:
        progress.note(f"{location}: what describes {', '.join(mended)} was damaged and is written anew")
    skeleton.repair(group)


def _create(
    location: Location,
    layout: Layout,
    run: Mapping[str, Any],
    attrs: Mapping[Any, Any],
    *,
    beside: Location | None = None,
) -> None:
    """Make an empty store, perhaps one that is staged beside another; a local one appears in one step."""
    if location.local is None:
        skeleton.create(location, layout, run, attrs)
        return
    fresh = (beside or location).sibling(_CREATING)
    for year in reading.staged_years(location):  # of a store that was here before, perhaps a second ago
        _discard(year)
    try:
        skeleton.create(fresh, layout, run, attrs)
        Path(fresh.url).rename(location.url)
    except BaseException:
        with contextlib.suppress(OSError):
            _discard(fresh)
        raise


def _replaces(location: Location, run: Mapping[str, Any]) -> bool:
    """Whether a store of this run that is to replace the one at `location` was begun."""
    if location.local is None:
        return False
    with contextlib.suppress(errors.StoreError):
        return identity.digest(skeleton.meta(skeleton.open_group(location.sibling(".new")))["run"]) == identity.digest(
            run
        )
    return False


def _replace(location: Location, layout: Layout, run: Mapping[str, Any], attrs: Mapping[Any, Any]) -> Place:
    """Begin, or go on with, a store that is to replace another."""
    if location.local is None:  # an object store has no rename
        location.delete()
        _create(location, layout, run, attrs)
        return Place(location, location)
    fresh = location.sibling(".new")
    if _replaces(location, run):
        fresh.sweep()
        _mend(fresh, layout, skeleton.open_group(fresh, read_only=False))
    else:
        _discard(fresh)
        _create(fresh, layout, run, attrs, beside=location)
    return Place(fresh, location)


def _recover(location: Location) -> None:
    """Finish a replacement that was cut off between its renames; remove what was cut off as it was made."""
    if location.local is None:
        return
    _discard(location.sibling(_CREATING))
    for year in reading.staged_years(location):
        if not reading.is_store(year.url):  # all of it is in its place already
            _discard(year)
        elif Path(year.url, _WHOLE).exists() and location.kind() == "store":
            if _belongs(year, location):
                _put_year(year, location)
            else:
                _discard(year)
    old, fresh = location.sibling(".old"), location.sibling(".new")
    if old.kind() == "absent":
        return
    if location.kind() == "absent":
        Path((fresh if fresh.kind() == "store" else old).url).rename(location.url)
    _discard(old)


def _discard(location: Location) -> None:
    if location.kind() != "absent":
        location.delete()
