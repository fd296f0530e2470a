"""What the results' verbs read: a finished map with its calibration and acquisitions, glaciers, regions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from icemapper_xr import calibrate, store, vectorise
from icemapper_xr import conventions as cv
from icemapper_xr.analysis.series import Acquisition
from icemapper_xr.errors import AnalysisError, StoreError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["GLACIERS", "Run", "open_run", "read_glaciers", "read_polygons"]

STORE: Final = "glaciers.zarr"
TILES: Final = "tiles"
"""Folder of a region's stores, one a tile."""
GLACIERS: Final = "glaciers.gpkg"
"""Glaciers of a map with their ids, as `icemapper divides` writes them into its folder."""
ID_COLUMNS: Final = ("glacier_id", "rgi_id", "glac_id", "id")
NAME_COLUMNS: Final = ("name", "glac_name")
TERM_TYPES: Final = {0: "land", 1: "marine", 2: "lake"}
"""RGI 7's `term_type`; every other number is unknown."""
TERMINI: Final = ("marine", "land", "lake", "unknown")


@dataclass(frozen=True, eq=False)
class Run:
    """A finished map, ready to be measured."""

    folder: Path
    """Where its results go."""
    probability: xr.DataArray
    """Dims (year, y, x), lazy; calibrated if `calibration` says so."""
    years: tuple[int, ...]
    acquisitions: tuple[Acquisition, ...]
    """Orbit, polarisation and sensor of each year."""
    calibration: str | None
    """Which calibration was applied, in words; None: none."""
    notes: tuple[str, ...]
    """What a reader of any number of this map has to know."""


def open_run(source: str | Path, *, years: Sequence[int] | None = None, calibration: str | Path | None = "auto") -> Run:
    """Open a map for measuring.

    Parameters
    ----------
    source
        Output folder of `map_glaciers`, or its zarr cube.
    years
        Years to take; None takes all.
    calibration
        `"auto"` takes the one that ships with the weights of the map, if there is one; a path one that
        `calibrate.write` wrote; None none.

    Raises
    ------
    StoreError
        There is no store, or a year is not in it or not finished.
    OptionError
        The calibration cannot be read.
    """
    folder = Path(source)
    path = folder if store.is_store(folder) else folder / STORE
    tiles = sorted((folder / TILES).glob("*.zarr"))
    if tiles and not path.exists():
        raise StoreError(
            f"{folder} is a map in {len(tiles)} tiles; measure each, for example {tiles[0]}, with --region"
        )
    dataset = store.open_store(path)
    chosen = _years(path, [int(year) for year in dataset[cv.YEAR].values], years)
    facts = store.provenance(path)
    model, words = _calibration(calibration, facts)
    probability = dataset[cv.PROBABILITY].sel({cv.YEAR: list(chosen)})
    if model is not None:
        probability = calibrate.calibrate(probability, model)[cv.CALIBRATED]
    notes = [] if words is not None else ["the probabilities are not calibrated: soft areas are no unbiased estimate"]
    kinds, told = _acquisitions(facts, chosen)
    out = folder if path != folder else folder.parent
    return Run(
        out,
        probability,
        chosen,
        kinds,
        words,
        (*notes, *told),
    )


def _years(path: Path, there: list[int], wanted: Sequence[int] | None) -> tuple[int, ...]:
    chosen = tuple(there) if wanted is None else tuple(sorted(set(wanted)))
    missing = [year for year in chosen if year not in there]
    if missing:
        raise StoreError(f"{path} has the years {', '.join(map(str, there))}, not {missing[0]}; map that year first")
    if not chosen:
        raise StoreError(f"{path} has no year; map one first")
    for year in chosen:
        left = len(store.todo(path, year))
        if left:
            raise StoreError(
                f"{path}: {left} units of the year {year} are not done, its areas would be too small; run the same "
                "`icemapper map` again, or choose other years with --years"
            )
    return chosen


def _calibration(wanted: str | Path | None, facts: Mapping[str, Any]) -> tuple[calibrate.Model | None, str | None]:
    if wanted is None:
        return None, None
    if wanted != "auto":
        return calibrate.read(wanted), f"calibrated by {Path(wanted).name}"
    from icemapper_xr.models import own

    digest = facts["run"].get(cv.ATTR_WEIGHTS_DIGEST)
    numbers = next((entry.get("calibration") for entry in own.read_index() if entry["digest"] == digest), None)
    if not isinstance(numbers, dict):
        return None, None
    model = calibrate.from_dict(numbers)
    return model, f"calibrated by the map that ships with the weights ({model.source or model.kind})"


def _acquisitions(facts: Mapping[str, Any], years: Sequence[int]) -> tuple[tuple[Acquisition, ...], list[str]]:
    """Orbit, polarisation and sensor of each year; platforms that share a year count as one sensor."""
    run = facts["run"]
    platforms = [_platforms(facts["years"].get(year, {}).get("attrs", {}).get("platforms")) for year in years]
    if not all(platforms):
        platforms = [set() for _ in years]  # a platform that is not known is no change
    groups: list[set[str]] = []
    for names in platforms:
        met = [group for group in groups if group & names]
        groups = [group for group in groups if group not in met] + [names.union(*met)]
    kinds = []
    for names in platforms:
        sensor = next((group for group in groups if names and names <= group), set())
        kinds.append(
            Acquisition(run.get(cv.ATTR_ORBIT), run.get(cv.ATTR_POLARISATION), "+".join(sorted(sensor)) or None)
        )
    found = {"+".join(sorted(names)) for names in platforms if names}
    told = [f"platforms differ between the years ({', '.join(sorted(found))})"] if len(found) > 1 else []
    return tuple(kinds), told


def _platforms(value: Any) -> set[str]:
    """S1A, S1B ... out of a year's attribute."""
    return set(re.findall(r"S1[A-D]", str(value)))


# -- vectors ----------------------------------------------------------------------------------------------------------
def read_polygons(path: str | Path, *, what: str) -> tuple[gpd.GeoDataFrame, tuple[str, ...]]:
    """Read polygons of any CRS, mended where they are invalid.

    Returns
    -------
    tuple
        The polygons, empty geometries left out, and notes on what was mended.

    Raises
    ------
    VectorError
        The file cannot be read.
    AnalysisError
        It has no CRS, or geometries that are no polygons.
    """
    import shapely

    frame = vectorise.read(path)
    if frame.crs is None:
        raise AnalysisError(f"{what} {path} has no CRS; write the one it is in into the file")
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)].copy()
    kinds = sorted(set(frame.geom_type) - {"Polygon", "MultiPolygon"})
    if kinds:
        raise AnalysisError(f"{what} {path} holds {kinds[0]} geometries; polygons are wanted")
    bad = ~frame.geometry.is_valid.to_numpy()
    if bad.any():
        mended = shapely.make_valid(frame.geometry.to_numpy()[bad], method="structure", keep_collapsed=False)
        frame.loc[bad, frame.geometry.name] = mended
    note = (f"{int(bad.sum())} invalid geometries of {what} {Path(path).name} were mended",) if bad.any() else ()
    return frame, note


def read_glaciers(path: str | Path) -> tuple[gpd.GeoDataFrame, tuple[str, ...]]:
    """Read a table of glaciers: one row an id.

    Parameters
    ----------
    path
        Polygons with `glacier_id` (else `rgi_id`, `glac_id`, `id`, or the row's number); rows of one id, of all years,
        are united. Optional: `name` or `glac_name`; `terminus` (land, marine, lake) or RGI 7's `term_type`.

    Returns
    -------
    tuple
        GeoDataFrame with index `glacier_id` (str), columns `name`, `terminus` (marine, land, lake or unknown), and
        notes.
    """
    import geopandas as gpd
    import pandas as pd

    frame, notes = read_polygons(path, what="glaciers")
    column = next((name for name in ID_COLUMNS if name in frame), None)
    ids = frame[column].astype(str) if column else pd.Series([str(k + 1) for k in range(len(frame))], frame.index)
    if column is None and len(frame):
        notes = (*notes, f"{Path(path).name} has none of {', '.join(ID_COLUMNS)}: glaciers are numbered by row")
    named = next((name for name in NAME_COLUMNS if name in frame), None)
    table = gpd.GeoDataFrame(
        {
            "glacier_id": ids.to_numpy(),
            "name": frame[named].fillna("").astype(str).to_numpy() if named else np.full(len(frame), "", object),
            "terminus": _termini(frame),
        },
        geometry=frame.geometry.to_numpy(),
        crs=frame.crs,
    )
    if table["glacier_id"].duplicated().any():
        return table.dissolve(by="glacier_id", aggfunc="last", sort=True), notes
    return table.set_index("glacier_id").sort_index(), notes


def _termini(frame: gpd.GeoDataFrame) -> list[str]:
    if "terminus" in frame:
        words = [str(value).strip().lower() for value in frame["terminus"]]
        return [word if word in TERMINI else "unknown" for word in words]
    if "term_type" in frame:
        import pandas as pd

        numbers = pd.to_numeric(frame["term_type"], errors="coerce").fillna(9).astype(int)
        return [TERM_TYPES.get(int(number), "unknown") for number in numbers]
    return ["unknown"] * len(frame)
