"""What the results' verbs read: a finished map with its calibration and acquisitions, glaciers, regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr

from icemapper_xr import addresses, calibrate, store, vectorise
from icemapper_xr import conventions as cv
from icemapper_xr.analysis import areas
from icemapper_xr.analysis.series import Acquisition
from icemapper_xr.errors import AnalysisError, StoreError
from icemapper_xr.inventory import names, shapes
from icemapper_xr.pipeline import calibrations, sheets, tiled
from icemapper_xr.pipeline.sheets import Sheet

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

__all__ = ["GLACIERS", "Run", "open_run", "read_glaciers"]

GLACIERS: Final = "glaciers.gpkg"
"""Glaciers of a map with their ids, as `icemapper divides` writes them into its folder."""
_IDS: Final = (*names.OF_GLACIERS, "id")
"""Where an id is looked for: the first column that is there, which may have no gaps."""


@dataclass(frozen=True, eq=False)
class Run:
    """A finished map, ready to be measured."""

    folder: Path
    """Where its results go."""
    sheets: tuple[Sheet, ...]
    """Its raster, or those of a region's tiles; calibrated if `calibration` says so."""
    years: tuple[int, ...]
    acquisitions: tuple[Acquisition, ...]
    """Orbit, polarisation and sensor of each year; of a region what its tiles have together."""
    made: Mapping[str, Any]
    """Weights, settings and grid, as the store has them under `run`; of a region those of its first tile."""
    calibration: str | None
    """Which calibration was applied, in words; None: none."""
    notes: tuple[str, ...]
    """What a reader of any number of this map has to know."""

    @property
    def in_tiles(self) -> bool:
        """Whether it is the map of a region, in tiles that count only where their UTM zone owns the ground."""
        return any(sheet.zone is not None for sheet in self.sheets)

    @property
    def probability(self) -> xr.DataArray:
        """The raster of a map that has one, dims (year, y, x), lazy.

        Raises
        ------
        StoreError
            The map is one of a region, in tiles.
        """
        if self.in_tiles:
            raise StoreError(
                f"{self.folder} is the map of a region in {len(self.sheets)} tiles, which this does not read as one "
                f"raster; name one tile, for example {self.sheets[0].path}"
            )
        return self.sheets[0].probability


def open_run(source: str | Path, *, years: Sequence[int] | None = None, calibration: str | Path | None = "auto") -> Run:
    """Open a map for measuring.

    Parameters
    ----------
    source
        Output folder of `map_glaciers` or `map_region`, or a zarr cube.
    years
        Years to take; None takes all of the map.
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
    folder = addresses.local_path(source)
    if tiled.is_region(folder):
        opened, out = sheets.of_region(folder, years), folder
    else:
        path = store.cube_of(source)
        tiles = sorted((folder / tiled.TILES).glob("*.zarr"))
        if tiles and not store.exists(path):
            raise StoreError(
                f"{folder} is a map in {len(tiles)} tiles without a {tiled.INDEX}: run the same map again to have it "
                f"written, or measure one tile, for example {tiles[0]}"
            )
        opened, out = sheets.of_store(path, years), store.folder_of(source)
    model, words = calibrations.calibration_of(calibration, opened.facts)
    notes = [] if words is not None else ["the probabilities are not calibrated: soft areas are no unbiased estimate"]
    found = opened.sheets if model is None else tuple(_calibrated(sheet, model) for sheet in opened.sheets)
    return Run(out, found, opened.years, sheets.composite(found), opened.facts["run"], words, (*notes, *opened.notes))


def _calibrated(sheet: Sheet, model: calibrate.Model) -> Sheet:
    calibrated = calibrate.calibrate(sheet.probability, model)[cv.CALIBRATED]
    return replace(sheet, probability=areas.floored(calibrated, sheet.probability))


# -- vectors ----------------------------------------------------------------------------------------------------------
def read_glaciers(path: str | Path) -> tuple[gpd.GeoDataFrame, tuple[str, ...]]:
    """Read a table of glaciers: one row an id.

    Parameters
    ----------
    path
        Polygons with `glacier_id` (else `rgi_id`, RGI 6's `RGIId`, `glac_id`, `id`, a `glims_id` of its own in each, or
        the row's number); rows of one id, of all years, are united. Optional: `glac_name`, `name` or `Name`; `terminus`
        (land, marine, lake, shelf) or RGI 7's `term_type`.

    Raises
    ------
    AnalysisError
        A glacier has no id.
    VectorError
        The same ice has other ids in other years: its glaciers would share it between them.

    Returns
    -------
    tuple
        GeoDataFrame with index `glacier_id` (str), columns `name`, `terminus` (as in
        `inventory.names.TERMINI`), and notes.
    """
    import geopandas as gpd

    frame, notes = vectorise.read_polygons(path, what="glaciers")
    frame, rock = shapes.only_glaciers(frame, f"the glaciers {path}")
    notes = (*notes, *rock)
    column = _id_column(frame)
    ids = _ids(frame, column, path)
    shapes.require_one_year(frame, f"the glaciers {path}", same=column)
    if column is None and len(frame):
        notes = (*notes, f"{Path(path).name} has none of {', '.join(_IDS)}: glaciers are numbered by row")
    elif column is not None:
        notes = (*notes, *names.all_one(frame, column, Path(path).name))
    label = names.name_column(frame)
    table = gpd.GeoDataFrame(
        {
            "glacier_id": ids,
            "name": frame[label].fillna("").astype(str).to_numpy() if label else np.full(len(frame), "", object),
            "terminus": names.termini_of(frame),
        },
        geometry=frame.geometry.to_numpy(),
        crs=frame.crs,
    )
    if table["glacier_id"].duplicated().any():
        return table.dissolve(by="glacier_id", aggfunc=_first_told, sort=True), notes
    return table.set_index("glacier_id").sort_index(), notes


def _first_told(values: pd.Series) -> str:
    """Return the first name or terminus that is one: often one row of several has it."""
    return str(next((value for value in values if value not in ("", "unknown")), values.iloc[0]))


def _id_column(frame: gpd.GeoDataFrame) -> str | None:
    """Return the column of the ids; `glims_id` only where it tells all rows apart: parts of what was one share it."""
    column = next((name for name in _IDS if name in frame), None)
    glims = frame.get("glims_id")
    if column is None and glims is not None and glims.is_unique and not names.blank(glims).any():
        return "glims_id"
    return column


def _ids(frame: gpd.GeoDataFrame, column: str | None, path: str | Path) -> list[str]:
    """Return the ids of a column as text; without a column the rows' numbers."""
    if column is None:
        return [str(k + 1) for k in range(len(frame))]
    missing = names.blank(frame[column])
    if missing.any():
        raise AnalysisError(
            f"{int(missing.sum())} of {len(frame)} rows of {path} have no {column}; fill it in, or leave those rows out"
        )
    return names.ids_of(frame[column])
