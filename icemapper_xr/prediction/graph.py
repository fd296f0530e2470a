"""The dask skin: every window once, strips to the neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from icemapper_xr import conventions, tiling
from icemapper_xr._types import FloatArray
from icemapper_xr.prediction import core
from icemapper_xr.prediction.blocks import probability_of
from icemapper_xr.prediction.core import Partial, SumArray

__all__ = ["map_windows"]


def _combine(
    rows: npt.NDArray[np.float64],
    columns: npt.NDArray[np.float64],
    own: SumArray,
    above: SumArray | None,
    left: SumArray | None,
    diagonal: SumArray | None,
) -> FloatArray:
    """`blocks.probability_of` of parts that a graph names; None where there is no such neighbour."""
    strips = {"below": above, "right": left, "corner": diagonal}
    handed = {name: strip for name, strip in strips.items() if strip is not None}
    return probability_of(own, handed, (rows, columns))


def _count(partial: Partial) -> npt.NDArray[np.int64]:
    return np.array(partial.windows, dtype=np.int64).reshape(1, 1, 2)


def _evaluate_block(*blocks: Any, masked: bool, block_info: Any = None, **settings: Any) -> Partial:
    """`evaluate`, told by Dask where the block lies."""
    where, count = block_info[0]["chunk-location"][-2:], block_info[0]["num-chunks"][-2:]
    last = tuple(i == n - 1 for i, n in zip(where, count, strict=True))
    mask = blocks[-1] if masked else None
    return core.evaluate(*(blocks[:-1] if masked else blocks), mask=mask, last=last, **settings)


def map_windows(
    arrays: list[da.Array],
    mask: da.Array | None,
    axes: tuple[tiling.Axis, tiling.Axis],
    settings: dict[str, Any],
) -> tuple[da.Array, da.Array, da.Array]:
    """Build the graph of a region.

    Parameters
    ----------
    arrays
        One array (T, y, x) a feature, in model units, with legal chunks (`tiling.legal_chunks`).
    mask
        Array of bool (y, x) on the same chunks, or None.
    axes
        Windows in y and x.
    settings
        Keywords of `core.evaluate`.

    Returns
    -------
    tuple of dask.array.Array
        Probability (y, x), NaN where not observed or not wanted; number of valid steps (y, x), 0 where not wanted;
        windows evaluated and skipped (chunks in y, chunks in x, 2).
    """
    halo = axes[0].halo
    looked = da.map_blocks(
        _look,
        *arrays,
        drop_axis=0,
        new_axis=0,
        chunks=((2,), *arrays[0].chunks[1:]),
        dtype=np.uint8,
        meta=np.empty((0, 0, 0), np.uint8),
    )
    n_obs, seen = looked[0], looked[1].astype(bool)
    blocks = [_with_halo(array, halo, looked) for array in arrays]
    if mask is not None:
        blocks.append(_with_halo(mask, halo, looked))
    partials = _map_partials(blocks, mask is not None, settings)
    mapped, counts = _combine_partials(partials, arrays[0].chunks[1:], axes)
    if mask is not None:
        n_obs, seen = n_obs * mask, seen & mask
    return da.where(seen, mapped, np.float32(np.nan)), n_obs, counts


def _look(*blocks: FloatArray) -> npt.NDArray[np.uint8]:
    """Number of valid steps, and whether each feature has one: `(2, y, x)`."""
    return np.stack([core.valid_steps(list(blocks)), core.observed(list(blocks))])


def _with_halo(array: da.Array, halo: int, looked: da.Array) -> da.Array:
    """Let every block of (..., y, x), one chunk in all other dims, see `halo` pixels more below and to the right.

    The strips are copied out of the neighbours: a view, as `dask.array.overlap` takes it, would keep the neighbour's
    whole block in memory until this block is done, and with it a row of the area. What else reads a block is done
    before: after `looked`, of (2, y, x) on the same chunks, it makes room for its larger copy while that is evaluated.
    """
    if not halo:
        return array
    rows, columns = array.chunks[-2:]
    lead = (0,) * (array.ndim - 2)
    name = "icemapper-halo-" + tokenize(array.name, halo, looked.name)
    strips = {"below": (halo, None), "right": (None, halo), "corner": (halo, halo)}
    layers: dict[str, Any] = {name: {}} | {f"{name}-{side}": {} for side in strips}
    for i, j in np.ndindex(len(rows), len(columns)):
        for side, size in strips.items():
            layers[f"{name}-{side}"][(f"{name}-{side}", *lead, i, j)] = (_strip, (array.name, *lead, i, j), *size)
        below, right = i + 1 < len(rows), j + 1 < len(columns)
        layers[name][(name, *lead, i, j)] = (
            _extend,
            (array.name, *lead, i, j),
            (f"{name}-below", *lead, i + 1, j) if below else None,
            (f"{name}-right", *lead, i, j + 1) if right else None,
            (f"{name}-corner", *lead, i + 1, j + 1) if below and right else None,
            (looked.name, 0, i, j),
        )
    dependencies = {key: {array.name} for key in layers} | {name: {array.name, looked.name, *layers} - {name}}
    graph = HighLevelGraph(
        {**array.dask.layers, **looked.dask.layers, **layers},
        {**array.dask.dependencies, **looked.dask.dependencies, **dependencies},
    )
    chunks = (*array.chunks[:-2], *(tuple(c + halo for c in sizes[:-1]) + sizes[-1:] for sizes in (rows, columns)))
    return da.Array(graph, name, chunks, dtype=array.dtype)


def _strip(block: Any, rows: int | None, columns: int | None) -> Any:
    """Copy the upper rows, the left columns or the upper left corner of a block."""
    return block[..., :rows, :columns].copy()


def _extend(own: Any, below: Any, right: Any, corner: Any, _looked: Any) -> Any:
    """Put the strips of the neighbours below, to the right and across the corner beside a block."""
    if below is None and right is None:
        return own
    y, x = own.shape[-2:]
    more = (0 if below is None else below.shape[-2], 0 if right is None else right.shape[-1])
    extended = np.empty((*own.shape[:-2], y + more[0], x + more[1]), own.dtype)
    extended[..., :y, :x] = own
    for strip, place in ((below, np.s_[..., y:, :x]), (right, np.s_[..., :y, x:]), (corner, np.s_[..., y:, x:])):
        if strip is not None:
            extended[place] = strip
    return extended


def _combine_partials(
    partials: da.Array, chunks: tuple[tuple[int, ...], ...], axes: tuple[tiling.Axis, tiling.Axis]
) -> tuple[da.Array, da.Array]:
    """Hand the strips over; returns the blended probability and the window counts."""
    rows, columns = chunks
    weights = [
        np.split(tiling.weight_sum(axis), np.cumsum(sizes)[:-1]) for axis, sizes in zip(axes, chunks, strict=True)
    ]
    token = tokenize(partials.name, weights)
    name = f"icemapper-{token}"
    parts = {field: f"{conventions.ANSWER_LAYER}-{field}-{token}" for field in Partial._fields}
    layers: dict[str, Any] = {key: {} for key in (name, *parts.values())}
    for i, j in np.ndindex(len(rows), len(columns)):
        block = (partials.name, i, j)
        for position, (field, key) in enumerate(parts.items()):
            if field == "windows":
                layers[key][key, i, j, 0] = (_count, block)
            else:
                layers[key][key, i, j] = (_take, block, position)
        layers[name][name, i, j] = (
            _combine,
            weights[0][i],
            weights[1][j],
            (parts["core"], i, j),
            (parts["below"], i - 1, j) if i else None,
            (parts["right"], i, j - 1) if j else None,
            (parts["corner"], i - 1, j - 1) if i and j else None,
        )
    graph = _join(partials, layers, name, parts)
    mapped = da.Array(graph, name, chunks, dtype=np.float32)
    counts = da.Array(graph, parts["windows"], ((1,) * len(rows), (1,) * len(columns), (2,)), dtype=np.int64)
    return mapped, counts


def _take(partial: Partial, position: int) -> Any:
    return partial[position]


def _map_partials(arrays: list[da.Array], masked: bool, settings: dict[str, Any]) -> da.Array:
    """Map `evaluate` over the blocks; the 'array' that comes back has a `Partial` in each block."""
    mapped: da.Array = da.map_blocks(
        _evaluate_block,
        *arrays,
        masked=masked,
        drop_axis=0,
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
        name=f"{conventions.NETWORK_LAYER}-{tokenize(arrays, masked, settings)}",
        **settings,
    )
    return mapped


def _join(partials: da.Array, layers: Mapping[str, Any], name: str, parts: Mapping[str, str]) -> HighLevelGraph:
    """One high-level graph of the partial sums and the layers that only look up their parts."""
    dependencies: dict[str, set[str]] = {key: {partials.name} for key in parts.values()}
    dependencies[name] = {key for field, key in parts.items() if field != "windows"}
    return HighLevelGraph({**partials.dask.layers, **layers}, {**partials.dask.dependencies, **dependencies})
