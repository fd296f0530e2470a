"""The one reading of a map: areas, margins and errors of all pieces, sheet by sheet, unfiltered and filtered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from icemapper_xr import conventions as cv
from icemapper_xr import filters, progress
from icemapper_xr.analysis import blocks, pieces
from icemapper_xr.pipeline import layover, sheets
from icemapper_xr.pipeline.requests import MeasureSettings, Truth
from icemapper_xr.pipeline.runs import Run
from icemapper_xr.pipeline.sheets import Sheet

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["FILTERED", "UNFILTERED", "Survey", "planes_of", "survey"]

Array = npt.NDArray[np.float64]

UNFILTERED: Final = "none"
FILTERED: Final = "median"
LEFT_OUT: Final = "left_out_area"
"""What was observed in some years, but not in all, where only cells observed in all count."""


class Survey(NamedTuple):
    """What a map holds, by filter."""

    tables: Mapping[str, pieces.Pieces]
    landscape: Mapping[str, Array]
    """(years, tiles) soft areas of the published bootstrap's tiles, grid by grid, row by row; km2."""


def planes_of(run: Run, settings: MeasureSettings) -> tuple[str, ...]:
    """Name the filters that areas are given with."""
    return (UNFILTERED, FILTERED) if settings.temporal and len(run.years) > 2 else (UNFILTERED,)


def survey(
    run: Run,
    settings: MeasureSettings,
    *,
    size: float,
    glaciers: gpd.GeoDataFrame | None,
    region: gpd.GeoDataFrame | None,
    truth: Truth | None,
) -> Survey:
    """Read a map once and add up what every glacier has in every block.

    Parameters
    ----------
    size
        Side of a block, metres.
    glaciers, region, truth
        Of `requests.glaciers_of`, `region_of` and `truth_of`.
    """
    names = planes_of(run, settings)
    if region is not None and run.in_tiles:
        region = sheets.united(region)
    kinds = list(dict.fromkeys(sheet.acquisitions for sheet in run.sheets))
    parts: dict[str, list[pieces.Part]] = {name: [] for name in names}
    tiles: dict[str, list[pieces.Part]] = {name: [] for name in names}
    for k, sheet in enumerate(run.sheets, 1):
        if len(run.sheets) > 1:
            progress.note(f"tile {k} of {len(run.sheets)}: {sheet.name}")
        rows = np.empty(0, np.int64) if glaciers is None else np.flatnonzero(sheet.near(glaciers, settings.reach))
        near = None if glaciers is None else glaciers.iloc[rows]
        found = _one(sheet, settings, names, size=size, glaciers=near, region=region, truth=truth)
        kind = kinds.index(sheet.acquisitions)
        for name, (table, tile) in found.items():
            parts[name].append(pieces.Part(table, sheet.grid, kind, rows))
            tiles[name].append(pieces.Part(tile, sheet.grid, 0, np.empty(0, np.int64)))
    tables, landscape = {}, {}
    for name in names:
        tables[name] = pieces.joined(parts[name])
        together = pieces.joined(tiles[name]).values
        landscape[name] = together["soft_area"][:, together["observed_area"].sum(axis=0) > 0]
    return Survey(tables, landscape)


def _one(
    sheet: Sheet,
    settings: MeasureSettings,
    names: Sequence[str],
    *,
    size: float,
    glaciers: gpd.GeoDataFrame | None,
    region: gpd.GeoDataFrame | None,
    truth: Truth | None,
) -> dict[str, tuple[pieces.Pieces, pieces.Pieces]]:
    """Pieces of one sheet, and tiles of the published bootstrap, by filter."""
    from dask.base import compute

    p = sheet.probability
    ever = None
    if settings.common:
        seen = p.notnull()
        ever = (seen.any(cv.YEAR) & ~seen.all(cv.YEAR)).astype(np.float32)
        p = p.where(seen.all(cv.YEAR))
    cut = sheet.cut(region)
    where = pieces.layout(p, size=size, glaciers=glaciers, reach=settings.reach, region=cut)
    tiles = pieces.layout(p, size=blocks.TILE_SIZE, region=cut)
    reference = None if truth is None else truth.on(sheet)
    clear = None if settings.excluded is None else ~layover.flagged(p, settings.excluded)
    lazy = {name: _lazy(_plane(p, name, settings), where, tiles, settings, reference, clear) for name in names}
    if ever is not None:
        left_out = pieces.areas_of(where, ever.where(ever > 0).expand_dims({cv.YEAR: p[cv.YEAR].values[:1]}))
        for table, _ in lazy.values():
            table[LEFT_OUT] = left_out["observed_area"]
    with progress.dask_bar("Areas"), sheet.reading():
        (done,) = compute(lazy)
    blank = np.zeros((0 if truth is None else len(truth.years), where.numbers.size))
    found = {}
    for name, (table, tile) in done.items():
        values = {key: np.asarray(value) for key, value in table.items()}
        if LEFT_OUT in values:
            values[LEFT_OUT] = np.repeat(values[LEFT_OUT], p.sizes[cv.YEAR], axis=0)
        if truth is not None and reference is None:
            values |= dict.fromkeys(pieces.OF_REFERENCE, blank)
        found[name] = (
            pieces.Pieces(where, values),
            pieces.Pieces(tiles, {key: np.asarray(value) for key, value in tile.items()}),
        )
    return found


def _plane(p: xr.DataArray, name: str, settings: MeasureSettings) -> xr.DataArray:
    return p if name == UNFILTERED else filters.temporal(p, max_gap_years=settings.max_gap_years)


def _lazy(
    plane: xr.DataArray,
    where: pieces.Layout,
    tiles: pieces.Layout,
    settings: MeasureSettings,
    reference: xr.DataArray | None,
    clear: xr.DataArray | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    table = pieces.measure(where, plane, threshold=settings.threshold, reference=reference)
    if clear is not None:
        part = pieces.measure(where, plane.where(clear), threshold=settings.threshold)
        table |= {f"clear_{key}": part[key] for key in ("soft_area", "hard_area", "observed_area")}
    return table, pieces.areas_of(tiles, plane)
