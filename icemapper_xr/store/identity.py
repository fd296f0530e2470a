"""What shaped the values of a store, and whether a new run may add to it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from icemapper_xr import _version, errors
from icemapper_xr import conventions as cv
from icemapper_xr.store.layout import Layout

__all__ = ["apart", "check", "digest", "of_run", "of_year", "plain", "same_year", "told", "unlike"]

YEARLY_ATTRS = (
    cv.ATTR_YEAR,
    cv.ATTR_CATALOG,
    cv.ATTR_ITEMS,
    cv.ATTR_FILES,
    cv.ATTR_START,
    cv.ATTR_TIME_OF_DAY,
    cv.ATTR_STEPS_MISSING,
    *cv.ATTRS_OF_SERIES,
)
"""Attributes of a result that belong to one year and not to the run."""

OF_PLACE = (cv.ATTR_ORBIT, cv.ATTR_ORBIT_STATE, cv.ATTR_POLARISATION, "crs", "area")
"""What of a run each tile of a region has for itself, beside the polygons of its mask."""

OF_LAYOUT = ("chunk", "shard", "variables")
"""What of a run says how a store is written, and shapes no probability."""

NOTED_LATER = (cv.ATTR_FIRST_DAY, cv.ATTR_BASELINE, cv.ATTR_PROCESSING)
"""What of a run is not in stores of before: there it cannot tell them apart."""

_SHOWN = 60


def plain(value: Any) -> Any:
    """Turn an attribute into what JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        items = [plain(item) for item in value]
        return sorted(items, key=str) if isinstance(value, set | frozenset) else items
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(value)


def of_run(attrs: Mapping[Any, Any], layout: Layout) -> dict[str, Any]:
    """Collect what must be the same for the whole store: settings, weights, orbit, polarisation, grid, files."""
    run: dict[str, Any] = {
        key: plain(attrs[key])
        for key in (cv.ATTR_WEIGHTS_DIGEST, cv.ATTR_ORBIT, cv.ATTR_ORBIT_STATE, cv.ATTR_POLARISATION, *NOTED_LATER)
        if key in attrs
    }
    if cv.ATTR_PROCESSING in run:
        run[cv.ATTR_PROCESSING] = _parsed(run[cv.ATTR_PROCESSING])
    if cv.ATTR_WEIGHTS_DIGEST not in run and cv.ATTR_WEIGHTS in attrs:
        run[cv.ATTR_WEIGHTS] = plain(attrs[cv.ATTR_WEIGHTS])
    run["settings"] = _parsed(attrs.get(cv.ATTR_SETTINGS))
    version = str(attrs.get(cv.ATTR_VERSION, _version.__version__))
    run["version"] = ".".join(version.split(".")[:2])  # a patch release does not change values
    grid = layout.grid
    run["crs"] = f"EPSG:{grid.epsg}" if grid.epsg is not None else grid.wkt
    run["resolution"] = grid.resolution
    run["area"] = [float(edge) for edge in layout.area]
    run["chunk"], run["shard"] = layout.chunk, layout.shard
    run["variables"] = {variable.name: variable.dtype for variable in layout.variables}
    return run


def as_noted(run: Mapping[str, Any], known: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a run as a store that is there would have noted it; None is a store that is yet to be made.

    What nobody knows of a year's rasters (filter, looks) is what the store's others are.
    """
    if known is None:
        return dict(run)
    noted = {key: value for key, value in run.items() if key in known or key not in NOTED_LATER}
    made, there = noted.get(cv.ATTR_PROCESSING), known.get(cv.ATTR_PROCESSING)
    if isinstance(made, Mapping) and isinstance(there, Mapping):
        noted[cv.ATTR_PROCESSING] = {name: made.get(name, value) for name, value in there.items()}
    return noted


def of_year(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Collect what must be the same for one year of a store: its items, or files in their order, and first day."""
    items = plain(attrs.get(cv.ATTR_ITEMS, []))
    if isinstance(items, str):
        items = [item for item in items.split(";") if item]
    facts = {"items": sorted(items), "start": plain(attrs.get(cv.ATTR_START))}
    if cv.ATTR_FILES in attrs:
        facts["files"] = json.loads(attrs[cv.ATTR_FILES])
    return facts


def same_year(there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Whether a year of a store is the one that is to be written."""
    if there.get("items") and "files" not in there:  # written before what was read of items was noted
        here = {key: value for key, value in here.items() if key != "files"}
    return digest(there) == digest(here)


def digest(identity: Mapping[str, Any]) -> str:
    """Return the sha256 of an identity's canonical JSON, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check(there: Mapping[str, Any], here: Mapping[str, Any], *, what: str) -> None:
    """Refuse to mix two runs.

    Raises
    ------
    StoreError
        If the identities differ; the message says in which keys.
    """
    if digest(there) == digest(here):
        return
    raise errors.StoreError(
        f"{what} belongs to another run: {told(there, here)}. Name another output, or replace it with overwrite"
    )


def told(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Tell in what two identities differ; empty if they are alike."""
    return "; ".join(_differences(there, here))


def unlike(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """Tell in what the runs of two tiles of one region differ that shapes values; empty if they are alike."""
    return told(_of_region(as_noted(there, here)), _of_region(as_noted(here, there)))


def apart(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tell of each of several runs what shapes its values and is not the same in all; empty where they are alike."""
    flat = [dict(_flat({key: v for key, v in _of_region(run).items() if key not in OF_LAYOUT})) for run in runs]
    keys = sorted(set().union(*flat))
    # What one has not noted, or nobody knows of its rasters, does not tell it from the others.
    known = [key for key in keys if all(key in one for one in flat) or key.partition(".")[0] not in NOTED_LATER]
    unlike = [key for key in known if any(one.get(key) != flat[0].get(key) for one in flat)]
    return ["; ".join(f"{key} {_short(one.get(key))}" for key in unlike) for one in flat]


def _of_region(run: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in run.items() if key not in OF_PLACE}
    if isinstance(settings := run.get("settings"), Mapping):
        kept["settings"] = {key: value for key, value in settings.items() if key != "mask"}
    return kept


def _parsed(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return plain(value)


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    old, new = dict(_flat(there)), dict(_flat(here))
    lines = []
    for key in sorted(old.keys() | new.keys()):
        before, now = old.get(key), new.get(key)
        if before == now:
            continue
        if key == "items":
            lines.append(_item_difference(before or [], now or []))
        elif key.startswith("files.") and before and now:
            feature = key.removeprefix("files.")
            lines.append(f"the files of {feature} are others, changed, in another order, or read otherwise here")
        else:
            lines.append(f"{key} is {_short(before)} there and {_short(now)} here")
    return lines


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, item in value.items():
        if isinstance(item, Mapping):
            rows += _flat(item, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", item))
    return rows


def _item_difference(before: list[str], now: list[str]) -> str:
    old, here = Counter(before), Counter(now)
    gone, new = sorted((old - here).elements()), sorted((here - old).elements())
    parts = [
        f"{len(items)} items only {place} ({_short(items[0])}{', ...' if len(items) > 1 else ''})"
        for items, place in ((gone, "there"), (new, "here"))
        if items
    ]
    return " and ".join(parts)


def _short(value: Any) -> str:
    if value is None:
        return "not set"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
