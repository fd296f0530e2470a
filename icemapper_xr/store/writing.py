"""Compute what a store lacks, in bounded pieces, and write it unit by unit."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np

from icemapper_xr import conventions as cv
from icemapper_xr import errors
from icemapper_xr.store import layout as layouts
from icemapper_xr.store import sharing
from icemapper_xr.store.layout import Layout, Unit
from icemapper_xr.store.location import Location
from icemapper_xr.store.sessions import Target, session, write_unit

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

__all__ = ["Report", "write"]

PIECE_UNITS = 16
"""Units computed at once by default, at most: enough to keep workers busy, few enough to bound memory."""


_ALIKE: Final = 1e-3
"""What engines and numbers of threads make of the same windows differs by less."""


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
        the year anew, which takes the place of the old one once it is complete (in a bucket the old one goes first).
        ``"year"`` does only the latter, for the later years of one run. Whatever is not a store of ours is never
        replaced.
    piece_units
        Units computed at once, at most; fewer where a row of them keeps all workers busy. Bounds memory.
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
        If the path is something else, belongs to another run, is locked by another run, or cannot be written to, or if
        values in memory are not those that are there. Units that were written stay; a store or a year without any is
        taken away again.
    OptionError
        If an option is out of range.
    """
    started = time.monotonic()
    if piece_units < 1:
        raise errors.OptionError(f"piece_units={piece_units}: must be at least 1")
    with session(result, path, year=year, chunk=chunk, shard=shard, overwrite=overwrite) as running:
        selected = layouts.select_year(result, year)
        kept = sorted(set(running.units) - set(running.missing))
        _refuse_changed(selected, running.target, kept)
        written = _write_missing(
            selected, running.target, running.missing, piece_units, resources, on_unit, kept=len(kept)
        )
    return Report(running.path, year, len(running.units), written, len(kept), time.monotonic() - started)


def _refuse_changed(result: xr.Dataset, target: Target, kept: Sequence[Unit]) -> None:
    """Refuse values in memory that are not those that are there: these would stay without a word.

    Of lazy ones nothing is known before they are computed.
    """
    import zarr

    layout = target.layout
    given = {one.name: result[one.name].transpose(cv.Y, cv.X) for one in layout.variables}
    loaded = {name: array.values for name, array in given.items() if isinstance(array.data, np.ndarray)}
    if not kept or not loaded:
        return
    group: Any = zarr.open_group(Location(target.url).zarr_store(read_only=True), mode="r")
    for unit in kept:
        part, stored = layouts.unit_slices(layout, unit)
        for name, values in loaded.items():
            there = np.asarray(group[name][(target.index, *stored)])
            if not np.allclose(values[part], there, rtol=0, atol=_ALIKE, equal_nan=values.dtype.kind == "f"):
                raise errors.StoreError(
                    f"The year {target.year} of {target.url} has other values of {name} than the result, which was "
                    "changed since it was mapped: overwrite=True replaces them, or write to another store"
                )


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

    if not missing:
        return 0
    writing = _writing(_aligned(result, target.layout), target, missing)
    first = _first(missing)
    pieces = [_keys(writing, piece, first) for piece in layouts.pieces(missing, piece_units, workers=_workers())]
    client = _client()
    whole = _placed(writing.__dask_graph__(), resources)
    graph = sharing.SharedGraph(whole, [list(keys) for keys in pieces], held=client is not None)
    for number, keys in enumerate(pieces):
        try:
            _compute(graph, number, keys, count, client)
        except errors.StoreError as error:
            raise errors.StoreError(
                f"{error}; {kept + written} of {total} units are written and stay: mend this and run again"
            ) from error
    return written


def _workers() -> int:
    """Return how many tasks are computed at a time, by the Dask client there is or by threads."""
    import dask
    from dask.system import CPU_COUNT

    client = _client()
    if client is not None:
        return max(1, sum(int(threads) for threads in client.nthreads().values()))
    return int(dask.config.get("num_workers", None) or CPU_COUNT)


def _client() -> Any:
    """Return the Dask client that would compute a graph now; None where this process does."""
    import dask

    get = dask.base.get_scheduler()
    owner = getattr(get, "__self__", None)
    return owner if hasattr(owner, "gather") else None


def _aligned(result: xr.Dataset, layout: Layout) -> dict[str, da.Array]:
    """Turn the variables into dask arrays whose chunks are the parts of the units inside the area."""
    import dask.array as da

    chunks = layout.area_chunks()
    arrays: dict[str, da.Array] = {}
    for variable in layout.variables:
        data = result[variable.name].transpose(cv.Y, cv.X).data
        arrays[variable.name] = data.rechunk(chunks) if isinstance(data, da.Array) else da.from_array(data, chunks)
    return arrays


def _writing(arrays: Mapping[str, da.Array], target: Target, units: Sequence[Unit]) -> da.Array:
    """Write units when computed, all variables in one task: a block a unit."""
    import dask.array as da
    from dask.base import tokenize

    first = _first(units)
    rows = slice(first.row, max(unit.row for unit in units) + 1)
    columns = slice(first.column, max(unit.column for unit in units) + 1)
    cut = [array.blocks[rows, columns] for array in arrays.values()]
    written: da.Array = da.map_blocks(
        _write_block,
        *cut,
        target=target,
        first=first,
        chunks=tuple((1,) * n for n in cut[0].numblocks),
        dtype=np.uint8,
        meta=np.empty((0, 0), np.uint8),
        name=f"icemapper-write-{tokenize(target, rows, columns, [array.name for array in cut])}",
    )
    return written


def _first(units: Sequence[Unit]) -> Unit:
    """Return the upper left corner of the box around units."""
    return Unit(min(unit.row for unit in units), min(unit.column for unit in units))


def _keys(writing: da.Array, piece: Sequence[Unit], first: Unit) -> dict[tuple[Any, ...], Unit]:
    """Name the tasks of `_writing` that write the units of a piece."""
    return {(writing.name, unit.row - first.row, unit.column - first.column): unit for unit in piece}


def _compute(
    shared: sharing.SharedGraph,
    number: int,
    keys: Mapping[tuple[Any, ...], Unit],
    count: Callable[[Unit], None],
    client: Any,
) -> None:
    """Compute and write the units of one piece."""
    import dask
    import dask.array as da
    from dask.callbacks import Callback

    told: set[Unit] = set()

    class Tell(Callback):  # of use to the local schedulers only
        def _posttask(self, key: Any, *_: Any) -> None:
            if key in keys:
                told.add(keys[key])
                count(keys[key])

    graph, later = shared.piece(number)
    wanted = [list(keys), later]
    if client is None:
        with cast(Any, Tell)():
            _, answers = dask.base.compute_as_if_collection(da.Array, graph, wanted)
    else:
        # Fused, tasks of two pieces would differ under the same keys, and lose the resources that they ask for.
        with dask.config.set({"optimization.fuse.active": False}):
            written, answers = dask.base.compute_as_if_collection(da.Array, graph, wanted, sync=False)
        client.gather(written)
    shared.take(later, answers)
    for unit in keys.values():
        if unit not in told:
            count(unit)


def _placed(graph: Any, resources: Mapping[str, float] | None) -> Any:
    """Let the tasks of the network ask for resources of their worker.

    An annotation made while the graph was built would be gone: Dask drops it where it fuses tasks. So it is made
    here, on the layers of the network, and `_compute` lets nothing be fused on a cluster.
    """
    from dask.highlevelgraph import HighLevelGraph

    if not resources:
        return graph
    layers = {name: copy.copy(layer) for name, layer in graph.layers.items()}
    for name, layer in layers.items():
        if name.startswith(cv.NETWORK_LAYER):
            layer.annotations = {**(layer.annotations or {}), "resources": dict(resources)}
    return HighLevelGraph(layers, graph.dependencies)


def _write_block(*blocks: Any, target: Target, first: Unit, block_id: tuple[int, int]) -> Any:
    write_unit(target, Unit(first.row + block_id[0], first.column + block_id[1]), blocks)
    return np.ones((1, 1), np.uint8)
