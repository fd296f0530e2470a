"""Where a run stands: what is done, what is missing, what failed and why, and whether somebody is at it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from icemapper_xr import addresses, store
from icemapper_xr.errors import StoreError
from icemapper_xr.pipeline import journals, tiled

__all__ = ["Standing", "YearStanding", "status_of_run"]


@dataclass(frozen=True)
class YearStanding:
    """One year of one store."""

    store: str
    year: int
    units: int
    done: int
    failed: dict[tuple[int, int], str] = field(default_factory=dict)
    """Row and column of the units that failed, and why."""
    strips: tuple[int, int] = (0, 0)
    """Files and bytes beside the store that a run which did not end left: what units hand to each other."""

    @property
    def missing(self) -> int:
        """Units that are neither done nor failed."""
        return self.units - self.done - len(self.failed)


@dataclass(frozen=True)
class Standing:
    """What `status_of_run` found."""

    out: str
    years: tuple[YearStanding, ...]
    writer: str | None
    """Who is writing now; None if nobody is."""
    log: Path | None
    """The newest log."""
    ended: str | None
    """How the newest run that is in the log ended; None if the log breaks off."""
    unreadable: tuple[str, ...]
    """Items that the map lacks somewhere, as they could not be read."""
    listed: bool = True
    """Whether it is known which tiles the map of a region has; not where its index is gone or damaged."""
    replaced: tuple[str, ...] = ()
    """Stores beside which another one lies that is to replace them, unfinished: what is told is of the old ones."""

    @property
    def elsewhere(self) -> str | None:
        """Where the cube lies, if that is not in the folder."""
        stores = {year.store for year in self.years}
        inside = addresses.is_remote(self.out) or any(Path(one).is_relative_to(self.out) for one in stores)
        return None if inside or len(stores) != 1 else stores.pop()

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        done = bool(self.years) and all(year.done == year.units for year in self.years)
        return self.listed and done and not self.replaced


def status_of_run(out: str | Path) -> Standing:
    """Tell where a map stands.

    Parameters
    ----------
    out
        Output folder of `map_glaciers` (or of a map in tiles), or a store.

    Returns
    -------
    Standing
        Units by year and store, failures with their reasons, who is writing, how the last run ended.

    Raises
    ------
    StoreError
        If there is no store.
    """
    paths = list(_stores(out))
    if not paths:
        raise StoreError(f"there is no map in {out} yet: no run has got as far as its first unit; run `icemapper map`")
    last = _LastRun() if addresses.is_remote(out) else _last_run(addresses.local_path(out))
    begun = [row for path in paths for row in _years(path)]
    due = _due(out, begun, last)
    years = tuple(sorted([*begun, *_lacking(begun, due or {})], key=lambda row: (row.store, row.year)))
    writers = (store.writer(path) for path in paths)
    facts = (year for path in paths for year in store.provenance(path)["years"].values())
    unreadable = last.unreadable.union(*(year.get("unreadable", ()) for year in facts))
    return Standing(
        str(out if addresses.is_remote(out) else addresses.local_path(out)),
        years,
        next((one for one in writers if one), None),
        last.log,
        last.ended,
        tuple(sorted(unreadable)),
        listed=due is not None,
        replaced=tuple(str(path) for path in paths if store.is_being_replaced(path)),
    )


def _stores(out: str | Path) -> Iterator[str | Path]:
    cube = store.cube_of(out)
    if store.exists(cube):
        yield cube
    elif not addresses.is_remote(out):
        tiles = sorted((addresses.local_path(out) / tiled.TILES).glob("*.zarr"))
        yield from (path for path in tiles if store.is_store(path))


def _years(path: str | Path) -> Iterator[YearStanding]:
    failed, strips = store.failures(path), store.leftovers(path)
    for year, (done, units) in store.status(path).items():
        reasons = {(unit.row, unit.column): reason for unit, reason in failed.get(year, {}).items()}
        yield YearStanding(str(path), year, units, done, reasons, strips.get(year, (0, 0)))


def _due(
    out: str | Path, begun: Sequence[YearStanding], last: _LastRun
) -> dict[str, dict[int, tuple[int, int]]] | None:
    """Return what was asked for, by stores: of the tiles of a region, or by a run that did not get to its end.

    None if nothing tells.
    """
    folder = addresses.local_path(out)
    if addresses.is_remote(out) or store.exists(store.cube_of(out)):
        asked = () if last.through else last.years
        return {row.store: dict.fromkeys(asked, (0, row.units)) for row in begun}
    try:
        return {str(tiled.store_of(folder, name)): years for name, years in tiled.standings(folder).items()}
    except StoreError:
        return None


def _lacking(begun: Iterable[YearStanding], due: Mapping[str, Mapping[int, tuple[int, int]]]) -> Iterator[YearStanding]:
    """Years that tiles are asked for and have not begun."""
    there = {(row.store, row.year) for row in begun}
    for path, years in due.items():
        for year, (done, units) in years.items():
            if (path, year) not in there:
                yield YearStanding(path, year, units, done)


_WELL = "without an error"


class _LastRun(NamedTuple):
    """What the newest log tells."""

    log: Path | None = None
    ended: str | None = None
    """How; None if the log breaks off."""
    unreadable: frozenset[str] = frozenset()
    """Items that could not be read."""
    years: tuple[int, ...] = ()
    """Years that were asked for."""

    @property
    def through(self) -> bool:
        """Whether it got to its end."""
        return self.ended == _WELL


def _last_run(folder: Path) -> _LastRun:
    """Read the newest log."""
    logs = sorted((folder / journals.LOGS).glob("run-*.jsonl")) if (folder / journals.LOGS).is_dir() else []
    if not logs:
        return _LastRun()
    events = list(_events(logs[-1]))
    unreadable = frozenset(item for event in events for item in event.get("unreadable", ()))
    settings = [event["settings"] for event in events if isinstance(event.get("settings"), dict)]
    years = tuple(settings[-1].get("years") or ()) if settings else ()  # runs of one second share a log
    last: dict[str, Any] = events[-1] if events else {}
    ended = last.get("error", _WELL) if last.get("event") == "end" else None
    return _LastRun(logs[-1], ended, unreadable, years)


def _events(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:  # the last line of a run that was killed
                continue
            if isinstance(event, dict):
                yield event
