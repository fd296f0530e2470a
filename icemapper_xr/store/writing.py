"""Compute what a store lacks, in bounded pieces, and write it unit by unit."""

from __future__ import annotations

import contextlib
import copy
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from icemapper_xr import conventions as cv
from icemapper_xr import errors
from icemapper_xr.store import handover as handovers
from icemapper_xr.store import identity, lock, reading, skeleton, staging
from icemapper_xr.store import layout as layouts
from icemapper_xr.store.handover import Handover
from icemapper_xr.store.layout import Layout, Unit
from icemapper_xr.store.location import Location

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

__all__ = ["Report", "Session", "Target", "session", "write", "write_unit"]

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
    resources: Mapping[str, float] | None = None,
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
    resources
        What tasks of the network ask of a Dask worker, for example ``{"GPU": 1}``.
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
    with session(result, path, year=year, chunk=chunk, shard=shard, overwrite=overwrite) as running:
        selected = layouts.select_year(result, year)
        kept = len(running.units) - len(running.missing)
        written = _write_missing(selected, running.target, running.missing, piece_units, resources, on_unit, kept=kept)
    return Report(running.path, year, len(running.units), written, kept, time.monotonic() - started)


@dataclass(frozen=True)
class Session:
    """A year of a store that is open for writing."""

    path: str
    target: Target
    units: tuple[Unit, ...]
    """All units of the year."""
    missing: tuple[Unit, ...]
    """Those that are still to do."""
    handover: Handover
    """What the blocks of a run hand to each other; it outlives a run that is killed."""


@contextlib.contextmanager
def session(
    result: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    year: int,
    chunk: int = cv.LATTICE,
    shard: int | None = None,
    overwrite: bool | Literal["year"] = False,
) -> Iterator[Session]:
    """Open one year of a store for writing, under its lock; whoever asks writes the missing units by `write_unit`.

    Parameters
    ----------
    result, path, year, chunk, shard, overwrite
        As in `write`; of the result only names, types, coordinates and attributes are used.

    Yields
    ------
    Session
        Closed without an error, the year counts as complete if no unit is missing then. A store or a year of which no
        unit was written is taken away again.

    Raises
    ------
    StoreError
        As `write`.
    """
    location = Location.parse(path)
    selected = layouts.select_year(result, year)
    layout = layouts.of_result(selected, chunk=chunk, shard=shard)
    run, facts = identity.of_run(selected.attrs, layout), identity.of_year(selected.attrs)
    with lock.hold(location):
        place = staging.prepare(location, layout, run, selected.attrs, overwrite=overwrite is True)
        afresh = bool(overwrite) and not place.staged
        handover = handovers.of_store(location, identity.digest({"run": run, "year": facts}), year)
        try:
            handovers.sweep(location, year, None if afresh else handover)
            index = _begin_year(place.location, year, facts, selected.attrs, afresh=afresh)
            group = skeleton.open_group(place.location)
            units = tuple(layout.all_units())
            missing = units if afresh else reading.missing_units(place.location, group, year)
            target = Target(place.location.url, layout, index, identity.digest(run))
            yield Session(location.url, target, units, missing, handover)
            if not reading.missing_units(place.location, skeleton.open_group(place.location), year):
                handovers.sweep(location, year, None)
                if missing:
                    skeleton.log(skeleton.open_group(place.location, read_only=False), f"year {year} complete")
                place.finish()
            elif _take_back(place.location, year):
                handovers.sweep(location, year, None)
        except BaseException as error:
            if _take_back(place.location, year):
                handovers.sweep(location, year, None)
            if isinstance(error, OSError):
                raise _explained(error, location) from error
            raise


@dataclass(frozen=True)
class Target:
    """Where a worker writes: travels in the graph."""

    url: str
    layout: Layout
    index: int
    """Position of the year in the store."""
    fingerprint: str
    """Of the run: a worker that outlived a killed run must not write into the store of the next."""


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


def _take_back(location: Location, year: int) -> bool:
    """Remove a year of which no unit was written, and the store if it has no other: they would only be in the way."""
    with contextlib.suppress(OSError, errors.StoreError):
        group = skeleton.open_group(location, read_only=False)
        if reading.begun(location, group, year):
            return False
        if set(skeleton.meta(group)["years"]) <= {str(year)}:
            location.delete()
        else:
            skeleton.drop_year(group, year)
        return True
    return False


def _write_missing(
    result: xr.Dataset,
    target: Target,
    missing: Sequence[Unit],
    piece_units: int,
    resources: Mapping[str, float] | None,
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
            _compute(arrays, target, piece, count, resources)
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
    arrays: Mapping[str, da.Array],
    target: Target,
    piece: Sequence[Unit],
    count: Callable[[Unit], None],
    resources: Mapping[str, float] | None,
) -> None:
    """Compute and write the units of one piece, all variables in one graph."""
    import dask
    import dask.array as da
    from dask.callbacks import Callback

    rows = slice(min(u.row for u in piece), max(u.row for u in piece) + 1)
    columns = slice(min(u.column for u in piece), max(u.column for u in piece) + 1)
    cut = [array.blocks[rows, columns] for array in arrays.values()]
    done = da.map_blocks(
        _write_block,
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

    with cast(Any, Tell)(), _placed(done, resources) as graph:  # only the local schedulers call `Tell`
        dask.base.compute_as_if_collection(da.Array, graph, list(keys))
    for unit in piece:
        if unit not in told:
            count(unit)


@contextlib.contextmanager
def _placed(array: da.Array, resources: Mapping[str, float] | None) -> Iterator[Any]:
    """Yield the graph of an array in which the tasks of the network ask for resources of their worker.

    An annotation made while the graph was built would be gone: Dask drops it where it fuses tasks. So it is made
    here, on the layers of the network, and nothing is fused below them.
    """
    import dask
    from dask.highlevelgraph import HighLevelGraph

    graph: Any = array.__dask_graph__()
    if not resources:
        yield graph
        return
    layers = {name: copy.copy(layer) for name, layer in graph.layers.items()}
    for name, layer in layers.items():
        if name.startswith(cv.NETWORK_LAYER):
            layer.annotations = {**(layer.annotations or {}), "resources": dict(resources)}
    with dask.config.set({"optimization.fuse.active": False}):
        yield HighLevelGraph(layers, graph.dependencies)


def _write_block(*blocks: Any, target: Target, first: Unit, block_id: tuple[int, int]) -> Any:
    write_unit(target, Unit(first.row + block_id[0], first.column + block_id[1]), blocks)
    return np.ones((1, 1), np.uint8)


def write_unit(target: Target, unit: Unit, blocks: Sequence[Any]) -> None:
    """Write the chunks of one unit, on the worker that computed them; the last variable completes the unit.

    Parameters
    ----------
    target
        Of the session.
    unit
        Which.
    blocks
        For each variable of the layout the part of the unit that lies in the area, dims (y, x).

    Raises
    ------
    StoreError
        If the store cannot be written to, or is another run's by now.
    """
    import zarr

    layout = target.layout
    side = layout.unit
    inside = layouts.area_slices(layout)
    rows, columns = (
        slice(max(cut.start - position * side, 0), min(cut.stop - position * side, side))
        for cut, position in zip((inside[cv.Y], inside[cv.X]), unit, strict=True)
    )
    location = Location(target.url)
    try:
        group: Any = zarr.open_group(location.zarr_store(), mode="r+")
        if skeleton.meta(group)["fingerprint"] != target.fingerprint:
            raise errors.StoreError(f"The store {location} was replaced by another run: this unit is not written")
        for variable, block in zip(layout.variables, blocks, strict=True):
            whole = np.full((1, side, side), variable.fill, dtype=variable.dtype)
            whole[0, rows, columns] = block
            start = (unit.row * side, unit.column * side)
            # A unit of fill values is done, too. (zarr's global setting would be one for all threads.)
            array = group[variable.name].with_config({"write_empty_chunks": True})
            array[target.index, start[0] : start[0] + side, start[1] : start[1] + side] = whole[0]
    except OSError as error:
        raise _explained(error, location) from error


def _explained(error: OSError, location: Location) -> errors.StoreError:
    reason = error.strerror or str(error)
    return errors.StoreError(f"Cannot write to the store {location}: {reason}")
