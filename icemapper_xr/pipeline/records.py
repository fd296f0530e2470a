"""``run.json``: what the years of an output folder were made with."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from icemapper_xr import conventions, store
from icemapper_xr.errors import StoreError
from icemapper_xr.pipeline import tables
from icemapper_xr.settings import MapSettings

__all__ = ["RUN", "redrawn", "save", "settings_of", "threshold_of"]

RUN: Final = "run.json"
MADE: Final = "runs"
"""Key under which the settings of each year lie; the others are those of the last run, which drew the outlines."""


def settings_of(folder: Path) -> dict[str, Any]:
    """Return what `save` wrote: the settings of the last run; none where the folder does not say.

    Raises
    ------
    StoreError
        The file cannot be read.
    """
    path = folder / RUN
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"Cannot read {path}: {error}; run the same map again") from error
    return found if isinstance(found, dict) else {}


def threshold_of(source: str | Path) -> float:
    """Return at which probability the outlines of a map were drawn; the default where nothing says so.

    Parameters
    ----------
    source
        Output folder, or its cube. Of a cube that lies in the folder of another the settings there say nothing.

    Raises
    ------
    StoreError
        The settings cannot be read.
    """
    folder = store.folder_of(source)
    own = store.same_cube(source, folder)
    return float(settings_of(folder).get("threshold", conventions.THRESHOLD) if own else conventions.THRESHOLD)


def save(folder: Path, chosen: MapSettings, *, there: Iterable[int], made: Collection[int]) -> None:
    """Write the settings of a run, and keep those of the years that other runs made.

    Parameters
    ----------
    folder
        Output folder.
    chosen
        Settings of this run. They stand at the top, since all outlines are drawn with them; `years` there are all
        years of the map.
    there
        Years that are mapped.
    made
        Those of which this run wrote a unit. A year of which nothing else is known counts as this run's, too: then
        one with the same settings wrote it and did not come to its end.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    years = sorted(there)
    now = _plain(chosen.model_dump(mode="json"))
    before = _by_year(folder)
    by_year = {year: now if year in made or year not in before else before[year] for year in years}
    runs: list[dict[str, Any]] = []
    for year, settings in by_year.items():
        same = next((run for run in runs if {**run, "years": 0} == {**settings, "years": 0}), None)
        if same is None:
            runs.append({**settings, "years": [year]})
        else:
            same["years"].append(year)
    _write(folder, {**now, "years": years, MADE: runs})


def redrawn(folder: Path, **drawing: float) -> None:
    """Note with which settings the outlines of a folder were drawn, also where no run came to its end yet.

    A damaged file stays as it is: the next `save` writes it anew, and until then whoever reads it says so.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    try:
        before = settings_of(folder)
    except StoreError:
        return
    if (after := {**before, **drawing}) != before:
        _write(folder, after)


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    tables.write_bytes(folder / RUN, (json.dumps(content, indent=2) + "\n").encode())


def _by_year(folder: Path) -> dict[int, dict[str, Any]]:
    """Settings by year, of this form and of the one that had the last run's only; none if the file is damaged."""
    try:
        found = settings_of(folder)
        rows = found.get(MADE, [{name: value for name, value in found.items() if name != MADE}])
        return {int(year): dict(row) for row in rows for year in row.get("years", ())}
    except (StoreError, TypeError, ValueError, AttributeError):
        return {}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(settings)))
