"""Areas, margins and errors of every glacier's part in every block: read once, added up as often as needed.

A piece is what one glacier (or the ground outside all) has in one block of the global grid. Regions, glaciers, groups
of glaciers and reference blocks are all sums of pieces, so that their areas add up exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from icemapper_xr import conventions as cv
from icemapper_xr.analysis import areas, domains, margins

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Layout", "Part", "Pieces", "areas_of", "joined", "layout", "measure"]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

AREA_MEASURES: Final = tuple(areas.MEASURES)
MARGIN: Final = "margin_km"
ERROR: Final = "error"
REFERENCE_MARGIN: Final = "reference_margin_km"
REFERENCE_AREA: Final = "reference_area"
"""Observed area in which a reference exists, km2."""
OF_REFERENCE: Final = (ERROR, REFERENCE_MARGIN, REFERENCE_AREA)
"""Measures that have the reference's years."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Which cell belongs to which piece."""

    regions: xr.DataArray | None
    """(y, x) number of the piece; None: pieces of several rasters (`joined`)."""
    numbers: IntArray
    """(n,) the pieces' numbers."""
    glacier: IntArray
    """(n,) row of the glacier table plus 1; 0 is outside all."""
    block: IntArray
    """(n,) index into `position`."""
    position: IntArray
    """(blocks, 2) row and column on the global grid."""
    size: float
    """Side of a block in the units of the CRS."""
    share: xr.DataArray | None
    """(y, x) share of each cell inside the region; None: the whole raster."""
    kind: IntArray | None = None
    """(n,) which of several acquisitions mapped the piece, from 0; None: all the same."""
    grid: IntArray | None = None
    """(blocks,) number of the grid of each block; None: all on one."""

    def places(self) -> IntArray:
        """(blocks, 3) grid, row and column of each block."""
        grid = np.zeros(len(self.position), dtype=np.int64) if self.grid is None else self.grid
        return np.column_stack([grid, self.position])


@dataclass(frozen=True, eq=False)
class Pieces:
    """Tables of (years, pieces): areas in km2, lengths in km."""

    layout: Layout
    values: Mapping[str, Array]

    def total(self, name: str, chosen: npt.NDArray[Any] | None = None) -> Array:
        """Sum of a measure over chosen pieces (bool or index; None: all), by year."""
        table = self.values[name]
        return np.asarray((table if chosen is None else table[:, chosen]).sum(axis=1))

    def by_block(self, name: str, chosen: npt.NDArray[np.bool_] | None = None) -> Array:
        """(years, blocks) sums of a measure by block."""
        table = self.values[name] if chosen is None else np.where(chosen, self.values[name], 0.0)
        n = len(self.layout.position)
        return np.stack([np.bincount(self.layout.block, weights=row, minlength=n) for row in table])


def layout(
    like: xr.DataArray,
    *,
    size: float,
    glaciers: gpd.GeoDataFrame | gpd.GeoSeries | None = None,
    reach: float = domains.REACH_M,
    region: gpd.GeoDataFrame | gpd.GeoSeries | None = None,
) -> Layout:
    """Lay out the pieces of a raster, lazily if it is lazy.

    Parameters
    ----------
    like
        Raster with y, x and a projected CRS.
    size
        Side of a block, in the units of the CRS.
    glaciers
        One row a glacier; None: no glacier, everything is outside.
    reach
        As in `domains.glacier_domains`.
    region
        Polygons to which everything is cut, cells on the edge with their share; None: the whole raster.
    """
    blocks, position = domains.block_numbers(like, size=size)
    n = len(position)
    if glaciers is None or not len(glaciers):
        numbers = np.arange(1, n + 1, dtype=np.int64)
        regions, glacier, block = blocks, np.zeros(n, np.int64), np.arange(n)
    else:
        regions = domains.glacier_domains(glaciers, like, reach=reach).astype(np.int64) * n + blocks
        pairs = _pairs(glaciers, like, reach, position, size)
        glacier = np.concatenate([np.zeros(n, np.int64), pairs[:, 0]])
        block = np.concatenate([np.arange(n), pairs[:, 1]])
        numbers = glacier * n + block + 1
    share = None if region is None else domains.shares(region, like)
    return Layout(regions, numbers, glacier, block, position, size, share)


def _pairs(glaciers: Any, like: xr.DataArray, reach: float, position: IntArray, size: float) -> IntArray:
    """Glacier (from 1) and block of all pieces that the glaciers' grown bounds allow."""
    import shapely

    bounds = shapely.bounds(domains.local_shapes(glaciers, like)).reshape(-1, 4)
    first, last = position.min(axis=0), position.max(axis=0)
    width = int(last[1] - first[1]) + 1
    found = []
    for i in np.flatnonzero(~np.isnan(bounds).any(axis=1)):
        left, bottom, right, top = bounds[i] + np.array([-1, -1, 1, 1]) * (reach + 1e-6)
        rows = np.arange(max(first[0], np.floor(-top / size)), min(last[0], np.floor(-bottom / size)) + 1)
        columns = np.arange(max(first[1], np.floor(left / size)), min(last[1], np.floor(right / size)) + 1)
        row, column = (v.ravel().astype(np.int64) for v in np.meshgrid(rows, columns, indexing="ij"))
        index = (row - first[0]) * width + column - first[1]
        found.append(np.c_[np.full(index.size, i + 1), index])
    return np.concatenate(found).astype(np.int64) if found else np.empty((0, 2), np.int64)


def measure(
    where: Layout,
    probability: xr.DataArray,
    *,
    threshold: float = cv.THRESHOLD,
    reference: xr.DataArray | None = None,
) -> dict[str, Any]:
    """Prepare the tables of one probability, lazily if it is lazy; compute several together.

    Parameters
    ----------
    where
        From `layout`, of the same raster.
    probability
        Dims year, y, x.
    threshold
        Of hard areas and the margin.
    reference
        True share of glacier in each cell, dims year (a subset) and y, x, NaN where there is no reference.

    Returns
    -------
    dict
        Lazy arrays (years, pieces): `soft_area`, ... (km2), `margin_km`; with a reference also `error` (probability
        minus reference, km2), `reference_margin_km`, `reference_area` (km2), which have the reference's years.
    """
    options: dict[str, Any] = {"regions": where.regions, "labels": where.numbers.tolist(), "share": where.share}
    table = areas.areas(probability, threshold=threshold, **options)
    margin = margins.margin_length(probability, threshold=threshold) / np.float32(1000)
    found = {name: table[name].data for name in AREA_MEASURES}
    found[MARGIN] = areas.sums(margin, **options).data
    if reference is not None:
        seen = probability.sel({cv.YEAR: reference[cv.YEAR]})
        both = seen.notnull() & reference.notnull()
        # Errors have two signs: one area above 0 and one below.
        over = (seen - reference).where(both)
        found[ERROR] = _signed_area(over, options)
        inside = areas.areas(both.astype(np.float32).where(both), **options)
        found[REFERENCE_AREA] = inside["observed_area"].data
        found[REFERENCE_MARGIN] = areas.sums(margin.sel({cv.YEAR: reference[cv.YEAR]}).where(both), **options).data
    return found


def areas_of(where: Layout, probability: xr.DataArray) -> dict[str, Any]:
    """Prepare `soft_area` and `observed_area` (years, pieces), km2, alone."""
    options: dict[str, Any] = {"regions": where.regions, "labels": where.numbers.tolist(), "share": where.share}
    table = areas.areas(probability, **options)
    return {name: table[name].data for name in ("soft_area", "observed_area")}


def _signed_area(field: xr.DataArray, options: Mapping[str, Any]) -> Any:
    over, under = (
        areas.areas(part.where(part > 0, 0.0).where(field.notnull()), **options)["soft_area"].data
        for part in (field, -field)
    )
    return over - under


# -- several rasters --------------------------------------------------------------------------------------------------
class Part(NamedTuple):
    """Pieces of one of several rasters."""

    table: Pieces
    grid: int
    """Number of the grid its blocks lie on."""
    kind: int
    """Number of its acquisition."""
    glaciers: IntArray
    """(rows,) for each row of the glacier table it was laid out with the row of the whole table."""


def joined(parts: Sequence[Part]) -> Pieces:
    """Put the pieces of several rasters together; what lies in one block and one glacier becomes one piece.

    Parameters
    ----------
    parts
        At least one; blocks of the same size, the same measures and years. Cells that several rasters hold must count
        in one of them alone.

    Returns
    -------
    Pieces
        Glacier by glacier, grid by grid, blocks from north to south and west to east; pieces in which nothing counts
        are left out. A block that two acquisitions share has a piece of each.
    """
    keys = np.concatenate([_keys(part) for part in parts])
    values = {
        name: np.concatenate([part.table.values[name] for part in parts], axis=1) for name in parts[0].table.values
    }
    some = np.any([np.any(table != 0, axis=0) for table in values.values()], axis=0)
    unique, index = np.unique(keys[some], axis=0, return_inverse=True)
    index, n = index.reshape(-1), len(unique)
    tables = {
        name: np.stack([np.bincount(index, weights=row[some], minlength=n) for row in table]).astype(np.float64)
        for name, table in values.items()
    }
    blocks, block = np.unique(unique[:, 1:4], axis=0, return_inverse=True)
    layout_ = Layout(
        regions=None,
        numbers=np.arange(1, n + 1, dtype=np.int64),
        glacier=unique[:, 0],
        block=block.reshape(-1),
        position=blocks[:, 1:],
        size=parts[0].table.layout.size,
        share=None,
        kind=unique[:, 4],
        grid=blocks[:, 0],
    )
    return Pieces(layout_, tables)


def _keys(part: Part) -> IntArray:
    """Glacier, grid, row and column of the block, acquisition of each piece."""
    where = part.table.layout
    rows = np.concatenate([[0], part.glaciers + 1])  # 0 is outside all
    same = np.ones(where.glacier.size, dtype=np.int64)
    return np.column_stack(
        [rows[where.glacier], part.grid * same, where.position[where.block], part.kind * same]
    ).astype(np.int64)
