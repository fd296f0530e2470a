"""Read years of a store that another process may be making anew: what was read of both is nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from icemapper_xr import errors
from icemapper_xr.store import reading, skeleton
from icemapper_xr.store.location import Location

__all__ = ["State", "state", "steady"]

PathLike = str | os.PathLike[str]
State = Mapping[int, tuple[Any, ...]]
"""By year what changes when it is made anew: of which run it is, when it was begun, and what it has to do."""


def state(path: PathLike, years: Iterable[int] | None = None) -> State:
    """Return the state of years of a store (None: of all), to be taken before it is opened for reading.

    Raises
    ------
    StoreError
        If there is no store of ours.
    """
    location = Location.parse(path)
    group = skeleton.open_group(location)
    ours = skeleton.meta(group)
    wanted = set(map(int, ours["years"])) if years is None else set(years)
    return {
        int(year): (
            *(ours["created"], ours["fingerprint"], facts["index"], facts["fingerprint"], facts["started"]),
            len(reading.missing_units(location, group, int(year))),
        )
        for year, facts in ours["years"].items()
        if int(year) in wanted
    }


@contextlib.contextmanager
def steady(path: PathLike, since: State, years: Iterable[int]) -> Iterator[None]:
    """Compute from years of a store that have to stay as they are; a damaged unit is named (`reading.explained`).

    A chunk that is missing for the moment reads as not observed, so that only a look afterwards tells of it.

    Raises
    ------
    StoreError
        A year has not the state any more that it had, or a unit is damaged.
    """
    try:
        with reading.explained(path):
            yield
    except Exception as error:
        _refuse_changed(path, since, years, error)
        raise
    _refuse_changed(path, since, years)


def _refuse_changed(path: PathLike, since: State, years: Iterable[int], error: Exception | None = None) -> None:
    wanted = sorted(set(years))
    now = state(path, wanted) if reading.is_store(path) else {}
    changed = [year for year in wanted if since.get(year) != now.get(year)]
    if changed:
        named = ", ".join(map(str, changed))
        raise errors.StoreError(
            f"{path}: the map of {named} was being replaced while it was read; run this again once the map is done"
        ) from error
