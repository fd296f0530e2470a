"""One lazy raster of all tiles of a zone, for what must not see the tiles' edges."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from icemapper_xr import conventions as cv
from icemapper_xr import store
from icemapper_xr.errors import StoreError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["mosaic"]

PathLike = str | os.PathLike[str]


def mosaic(paths: Sequence[PathLike], *, year: int) -> xr.DataArray:
    """Put the probabilities of the stores of one zone side by side on the zone's lattice, lazily.

    Parameters
    ----------
    paths
        Stores of the same CRS, resolution and chunk, none of which share a pixel.
    year
        Calendar year; a store that lacks it stays NaN, but the raster reaches over all stores.

    Returns
    -------
    xarray.DataArray
        Dims (y, x), float32, NaN where no store has a value; CRS in `.rio.crs`.

    Raises
    ------
    StoreError
        There is no store, or they do not fit together.
    """
    import dask.array as da
    import xarray as xr

    if not paths:
        raise StoreError("there is no store to put together; map the region first")
    opened = {str(path): store.open_store(path) for path in paths}
    first = next(iter(opened.values()))
    crs, size, chunk = first.rio.crs, abs(float(first.rio.resolution()[0])), _chunk(paths[0])
    for path, dataset in opened.items():
        same = dataset.rio.crs == crs and abs(float(dataset.rio.resolution()[0])) == size
        if not same or _chunk(path) != chunk:
            raise StoreError(f"{path} has another CRS, resolution or chunk than {paths[0]}; map the region anew")
    boxes = {path: _pixels(dataset, size) for path, dataset in opened.items()}
    there = {path: boxes[path] for path, dataset in opened.items() if year in dataset[cv.YEAR].values}
    if not there:
        raise StoreError(f"none of the {len(opened)} stores has the year {year}; map that year first")
    top = min(box[0] for box in boxes.values()) // chunk
    left = min(box[1] for box in boxes.values()) // chunk
    bottom = math.ceil(max(box[2] for box in boxes.values()) / chunk)
    right = math.ceil(max(box[3] for box in boxes.values()) / chunk)
    table = _table(there, chunk, top, left)
    data = da.map_blocks(
        _read,
        table=table,
        year=year,
        chunk=chunk,
        size=size,
        origin=(top, left),
        chunks=((chunk,) * (bottom - top), (chunk,) * (right - left)),
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
    )
    y = -(np.arange(top * chunk, bottom * chunk) + 0.5) * size
    x = (np.arange(left * chunk, right * chunk) + 0.5) * size
    array = xr.DataArray(data, dims=(cv.Y, cv.X), coords={cv.Y: y, cv.X: x}, name=cv.PROBABILITY)
    return array.rio.write_crs(crs).assign_attrs({cv.ATTR_YEAR: year})  # type: ignore[no-any-return]


def _chunk(path: str | os.PathLike[str]) -> int:
    return int(store.provenance(path)["run"]["chunk"])


def _pixels(dataset: xr.Dataset, size: float) -> tuple[int, int, int, int]:
    """First row and column and those after the last, counted from the origin of the CRS."""
    y, x = dataset[cv.Y].values, dataset[cv.X].values
    row, column = round(-float(y[0]) / size - 0.5), round(float(x[0]) / size - 0.5)
    return row, column, row + y.size, column + x.size


def _table(
    boxes: Mapping[str, tuple[int, int, int, int]], chunk: int, top: int, left: int
) -> dict[tuple[int, int], tuple[str, ...]]:
    """For each block of the mosaic the stores that reach into it."""
    table: dict[tuple[int, int], tuple[str, ...]] = {}
    for path, (row, column, last_row, last_column) in boxes.items():
        for i in range(row // chunk, math.ceil(last_row / chunk)):
            for j in range(column // chunk, math.ceil(last_column / chunk)):
                key = (i - top, j - left)
                table[key] = (*table.get(key, ()), path)
    return table


def _read(
    *,
    table: Mapping[tuple[int, int], tuple[str, ...]],
    year: int,
    chunk: int,
    size: float,
    origin: tuple[int, int],
    block_id: tuple[int, int],
) -> Any:
    """Read one block; pixels that no store has are NaN."""
    out = np.full((chunk, chunk), np.nan, np.float32)
    row, column = ((place + start) * chunk for place, start in zip(block_id, origin, strict=True))
    for path in table.get((block_id[0], block_id[1]), ()):
        dataset = store.open_store(path)
        first_row, first_column, last_row, last_column = _pixels(dataset, size)
        rows = slice(max(row, first_row), min(row + chunk, last_row))
        columns = slice(max(column, first_column), min(column + chunk, last_column))
        values = dataset[cv.PROBABILITY].sel({cv.YEAR: year})[
            rows.start - first_row : rows.stop - first_row, columns.start - first_column : columns.stop - first_column
        ]
        part = out[rows.start - row : rows.stop - row, columns.start - column : columns.stop - column]
        np.copyto(part, values.load(scheduler="synchronous").values, where=np.isnan(part))
    return out
