"""Compute what a store lacks, in bounded pieces, and write it unit by unit."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from icemapper_xr import conventions as cv
from icemapper_xr import errors
from icemapper_xr.store import identity, lock, reading, skeleton, staging
from icemapper_xr.store import layout as layouts
from icemapper_xr.store.layout import Layout, Unit
from icemapper_xr.store.location import Location

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

__all__ = ["Report", "write"]

PIECE_UNITS = 16
"""Units computed at once by default: enough to keep workers busy, few enough to bound memory and graph."""


@dataclass(frozen=True)
class Report:
    """What one call of `write` did."""

    path: str
    year: int
    units: int
    """Units of the year in all."""
    written: int
    """Units computed and written now."""
    kept: int
    """Units that were there already."""
    seconds: float


def write(
    result: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    year: int,
    chunk: int = cv.LATTICE,
    shard: int | None = None,
    overwrite: bool | Literal["year"] = False,
    piece_units: int = PIECE_UNITS,
    on_unit: Callable[[Unit], None] | None = None,
) -> Report:
    """Write one year of a result, or what is missing of it.

    Parameters
    ----------
    result
        Dims (y, x), or (year, y, x) of which `year` is taken; lazy or not. Every variable on (y, x) is stored; others
        are left out. Only what is missing in the store is computed.
    path
        Folder, or a URL that fsspec understands. Made if absent; a store of the same run gets what it lacks.
    year
        Calendar year of the result.
    chunk
        Side of a zarr chunk in pixels, anchored at the CRS's origin.
    shard
        Side of a shard in pixels, a multiple of `chunk`; None writes each chunk as a file of its own.
    overwrite
        True replaces a store of another run, as a whole, once the new year is complete; of the same run, it computes
        the year anew. ``"year"`` does only the latter, for the later years of one run. Whatever is not a store of ours
        is never replaced.
    piece_units
        Units computed at once: bounds memory and the size of the graph.
    on_unit
        Called in this process with each unit that was written.

    Returns
    -------
    Report
        Units written and kept.

    Raises
    ------
    StoreError
        If the path is something else, belongs to another run, is locked by another run, or cannot be written to. Units
        that were written stay; a store or a year without any is taken away again.
    OptionError
        If an option is out of range.
    """
    started = time.monotonic()
    if piece_units < 1:
        raise errors.OptionError(f"piece_units={piece_units}: must be at least 1")
    location = Location.parse(path)
    selected = layouts.select_year(result, year)
    layout = layouts.of_result(selected, chunk=chunk, shard=shard)
    run, facts = identity.of_run(selected.attrs, layout), identity.of_year(selected.attrs)
    with lock.hold(location):
        place = staging.prepare(location, layout, run, selected.attrs, overwrite=overwrite is True)
        afresh = bool(overwrite) and not place.staged
        try:
            index = _begin_year(place.location, year, facts, selected.attrs, afresh=afresh)
            group = skeleton.open_group(place.location)
            units = tuple(layout.all_units())
            missing = units if afresh else reading.missing_units(place.location, group, year)
            target = Target(place.location.url, layout, index)
            written = _write_missing(selected, target, missing, piece_units, on_unit, kept=len(units) - len(missing))
            if written:
                skeleton.log(skeleton.open_group(place.location, read_only=False), f"year {year} complete")
            place.finish()
        except BaseException as error:
            _take_back(place.location, year)
            if isinstance(error, OSError):
                raise _explained(error, location) from error
            raise
    return Report(location.url, year, len(units), written, len(units) - written, time.monotonic() - started)


@dataclass(frozen=True)
class Target:
    """Where a worker writes: travels in the graph."""

    url: str
    layout: Layout
    index: int
    """Position of the year in the store."""


def _begin_year(
    location: Location, year: int, facts: Mapping[str, Any], attrs: Mapping[Any, Any], *, afresh: bool
) -> int:
    group = skeleton.open_group(location, read_only=False)
    known = skeleton.meta(group)["years"].get(str(year))
    if known is None:
        return skeleton.add_year(group, year, facts, attrs)
    if identity.digest(known["identity"]) == identity.digest(facts):
        return int(known["index"])
    if not afresh and reading.begun(location, group, year):
        identity.check(known["identity"], facts, what=f"The year {year} in the store {location}")
    # The old units go before the new identity comes: a kill in between leaves an older year with units to do.
    for name in skeleton.meta(group)["variables"]:
        location.delete(key for _, key in list(reading.unit_keys(location, name, known["index"])))
    skeleton.change_year(group, year, facts, attrs)
    return int(known["index"])


def _take_back(location: Location, year: int) -> None:
    """Remove a year of which no unit was written, and the store if it has no other: they would only be in the way."""
    with contextlib.suppress(OSError, errors.StoreError):
        group = skeleton.open_group(location, read_only=False)
        if reading.begun(location, group, year):
            return
        if set(skeleton.meta(group)["years"]) <= {str(year)}:
            location.delete()
        else:
            skeleton.drop_year(group, year)


def _write_missing(
    result: xr.Dataset,
    target: Target,
    missing: Sequence[Unit],
    piece_units: int,
    on_unit: Callable[[Unit], None] | None,
    *,
    kept: int,
) -> int:
    written = 0
    total = kept + len(missing)

    def count(unit: Unit) -> None:
        nonlocal written
        written += 1
        if on_unit is not None:
            on_unit(unit)

    arrays = _aligned(result, target.layout)
    for piece in layouts.pieces(missing, piece_units):
        try:
            _compute(arrays, target, piece, count)
        except errors.StoreError as error:
            raise errors.StoreError(
                f"{error}; {kept + written} of {total} units are written and stay: mend this and run again"
            ) from error
    return written


def _aligned(result: xr.Dataset, layout: Layout) -> dict[str, da.Array]:
    """Turn the variables into dask arrays whose chunks are the parts of the units inside the area."""
    import dask.array as da

    chunks = layout.area_chunks()
    arrays: dict[str, da.Array] = {}
    for variable in layout.variables:
        data = result[variable.name].transpose(cv.Y, cv.X).data
        arrays[variable.name] = data.rechunk(chunks) if isinstance(data, da.Array) else da.from_array(data, chunks)
    return arrays


def _compute(
    arrays: Mapping[str, da.Array], target: Target, piece: Sequence[Unit], count: Callable[[Unit], None]
) -> None:
    """Compute and write the units of one piece, all variables in one graph."""
    import dask
    import dask.array as da
    from dask.callbacks import Callback

    rows = slice(min(u.row for u in piece), max(u.row for u in piece) + 1)
    columns = slice(min(u.column for u in piece), max(u.column for u in piece) + 1)
    cut = [array.blocks[rows, columns] for array in arrays.values()]
    done = da.map_blocks(
        _write_unit,
        *cut,
        target=target,
        first=Unit(rows.start, columns.start),
        chunks=tuple((1,) * n for n in cut[0].numblocks),
        dtype=np.uint8,
        meta=np.empty((0, 0), np.uint8),
        name=f"write-unit-{dask.base.tokenize(target, rows, columns, [array.name for array in cut])}",
    )
    keys = {(done.name, u.row - rows.start, u.column - columns.start): u for u in piece}
    told: set[Unit] = set()

    class Tell(Callback):
        def _posttask(self, key: Any, *_: Any) -> None:
            if key in keys:
                told.add(keys[key])
                count(keys[key])

    with cast(Any, Tell)():  # only the local schedulers call it
        dask.base.compute_as_if_collection(da.Array, done.__dask_graph__(), list(keys))
    for unit in piece:
        if unit not in told:
            count(unit)


def _write_unit(*blocks: Any, target: Target, first: Unit, block_id: tuple[int, int]) -> Any:
    """Write the chunks of one unit, on the worker that computed them; the last variable completes the unit."""
    layout = target.layout
    unit = Unit(first.row + block_id[0], first.column + block_id[1])
    side = layout.unit
    inside = layouts.area_slices(layout)
    rows, columns = (
        slice(max(cut.start - position * side, 0), min(cut.stop - position * side, side))
        for cut, position in zip((inside[cv.Y], inside[cv.X]), unit, strict=True)
    )
    location = Location(target.url)
    try:
        group = _open_for_units(location)
        for variable, block in zip(layout.variables, blocks, strict=True):
            whole = np.full((1, side, side), variable.fill, dtype=variable.dtype)
            whole[0, rows, columns] = block
            start = (unit.row * side, unit.column * side)
            group[variable.name][target.index, start[0] : start[0] + side, start[1] : start[1] + side] = whole[0]
    except OSError as error:
        raise _explained(error, location) from error
    return np.ones((1, 1), np.uint8)


def _open_for_units(location: Location) -> Any:
    import zarr

    with zarr.config.set({"array.write_empty_chunks": True}):  # a unit of fill values is done, too
        return zarr.open_group(location.zarr_store(), mode="r+")


def _explained(error: OSError, location: Location) -> errors.StoreError:
    reason = error.strerror or str(error)
    return errors.StoreError(f"Cannot write to the store {location}: {reason}")
