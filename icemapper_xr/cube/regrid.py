"""Bring a cube to another pixel size, by whole factors: lazily, in linear power, without regard to chunks."""

from __future__ import annotations

import json
import math
from typing import Any, Literal

import numpy as np
import xarray as xr

from icemapper_xr import conventions, pixels, tiling
from icemapper_xr._types import Bounds, FloatArray
from icemapper_xr.errors import CubeError, OptionError

__all__ = ["to_pixel_size"]

_TOLERANCE = 1e-4


def to_pixel_size(
    dataset: xr.Dataset, pixel_size: float, *, method: Literal["bilinear", "nearest", "average"]
) -> xr.Dataset:
    """Resample a cube to another pixel size.

    Parameters
    ----------
    dataset
        A cube, backscatter in dB.
    pixel_size
        Metres; the present pixel size divided by a whole number (then `method` is 'nearest' or 'bilinear'), or
        multiplied by one (then it is 'average').
    method
        How; backscatter is resampled in linear power. A finer pixel is NaN where the coarse one is that holds it;
        a coarser one is the mean of its valid pixels.

    Returns
    -------
    xarray.Dataset
        The cube on the new grid, lazy as before, attributes and coordinates kept, area and margin brought up to
        date (a coarser area is snapped outward, without data where the cube has none).

    Raises
    ------
    OptionError
        The method is unknown, the ratio is not whole, or the method does not suit it.
    CubeError
        The dataset has no regular grid of square pixels.
    """
    if method not in conventions.RESAMPLINGS:
        raise OptionError(f"resampling {method!r} is unknown; use {', '.join(conventions.RESAMPLINGS)}")
    own = pixels.size(dataset)
    if not (math.isfinite(pixel_size) and pixel_size > 0):
        raise OptionError(f"pixel size {pixel_size} is not a positive number of metres")
    finer, coarser = own / pixel_size, pixel_size / own
    if abs(finer - 1) < _TOLERANCE:
        return dataset
    if round(finer) > 1 and abs(finer - round(finer)) < _TOLERANCE:
        _check_method(method, ("bilinear", "nearest"), own, pixel_size)
        return _recorded(_finer(dataset, round(finer), method), own, pixel_size, method)
    if round(coarser) > 1 and abs(coarser - round(coarser)) < _TOLERANCE:
        _check_method(method, ("average",), own, pixel_size)
        return _recorded(_coarser(dataset, round(coarser)), own, pixel_size, method)
    raise OptionError(
        f"the cube has pixels of {own:g} m, {pixel_size:g} m are wanted, which is no whole ratio; "
        f"open the cube with resolution={pixel_size:g} and resampling="
    )


def _recorded(dataset: xr.Dataset, own: float, pixel_size: float, method: str) -> xr.Dataset:
    reading = json.loads(dataset.attrs.get(conventions.ATTR_READING, "{}"))
    reading["resampled"] = [*reading.get("resampled", []), [own, pixel_size, method]]
    return dataset.assign_attrs({conventions.ATTR_READING: json.dumps(reading, sort_keys=True)})


def _check_method(method: str, allowed: tuple[str, ...], own: float, wanted: float) -> None:
    if method not in allowed:
        names = " or ".join(repr(name) for name in allowed)
        raise OptionError(f"method {method!r} does not take pixels of {own:g} m to {wanted:g} m; use {names}")


def _edges(dataset: xr.Dataset, size: float) -> Bounds:
    x, y = dataset[conventions.X].values, dataset[conventions.Y].values
    half = size / 2
    return Bounds(float(x[0] - half), float(y[-1] - half), float(x[-1] + half), float(y[0] + half))


def _on_lattice(dataset: xr.Dataset) -> bool:
    return conventions.ATTR_AREA in dataset.attrs and conventions.ATTR_MARGIN in dataset.attrs


# -- finer ------------------------------------------------------------------------------------------------------------


def _finer(dataset: xr.Dataset, factor: int, method: str) -> xr.Dataset:
    own = pixels.size(dataset)
    edges = _edges(dataset, own)
    cut = conventions.LATTICE // factor if conventions.LATTICE % factor == 0 else conventions.LATTICE
    arrays = {}
    for name, array in _features(dataset).items():
        chunks = _anchored(edges, own, array.shape[1:], cut, on_lattice=_on_lattice(dataset))
        data = _as_dask(array).rechunk((-1, *chunks))
        power = array.attrs.get("units") == "dB"
        if method == "nearest":
            arrays[name] = data.map_blocks(
                _repeat, factor=factor, dtype=np.float32, chunks=_scaled_chunks(data.chunks, factor)
            )
        else:
            arrays[name] = _bilinear(data, factor, power)
    result = _rebuilt(dataset, arrays, edges, own / factor)
    if _on_lattice(dataset):
        result.attrs[conventions.ATTR_MARGIN] = int(dataset.attrs[conventions.ATTR_MARGIN]) * factor
    return result


def _repeat(block: FloatArray, factor: int) -> FloatArray:
    return np.repeat(np.repeat(block, factor, axis=1), factor, axis=2)


def _bilinear(data: Any, factor: int, power: bool) -> Any:
    import dask.array as da

    wide = da.overlap.overlap(data, depth={0: 0, 1: 1, 2: 1}, boundary={0: "none", 1: np.nan, 2: np.nan})
    return wide.map_blocks(
        _interpolate, factor=factor, power=power, dtype=np.float32, chunks=_scaled_chunks(data.chunks, factor)
    )


def _interpolate(block: FloatArray, factor: int, power: bool) -> FloatArray:
    """Interpolate `(time, y + 2, x + 2)` between the centres of the valid pixels, one step at a time."""
    steps, rows, columns = block.shape
    out = np.empty((steps, (rows - 2) * factor, (columns - 2) * factor), np.float32)
    by_row, by_column = _weights(rows - 2, factor), _weights(columns - 2, factor)
    for step in range(steps):
        values = _linear(block[step], power)
        valid = np.isfinite(values)
        total = by_row @ np.where(valid, values, 0.0) @ by_column.T
        weight = by_row @ valid.astype(np.float64) @ by_column.T
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = total / weight
        mean[~_repeat(valid[None, 1:-1, 1:-1], factor)[0]] = np.nan
        out[step] = _back(mean, power)
    return out


def _weights(length: int, factor: int) -> Any:
    """Sparse matrix `(length * factor, length + 2)` of linear weights between pixel centres, halo of one pixel."""
    from scipy import sparse

    index = np.arange(length * factor)
    position = (index + 0.5) / factor + 0.5
    lower = np.floor(position).astype(int)
    part = position - lower
    rows = np.concatenate([index, index])
    columns = np.concatenate([lower, lower + 1])
    return sparse.csr_matrix((np.concatenate([1 - part, part]), (rows, columns)), (length * factor, length + 2))


# -- coarser ----------------------------------------------------------------------------------------------------------


def _coarser(dataset: xr.Dataset, factor: int) -> xr.Dataset:
    own = pixels.size(dataset)
    size = own * factor
    old = _edges(dataset, own)
    new, area, margin = _coarse_edges(dataset, old, size)
    arrays = {}
    for name, array in _features(dataset).items():
        data = _fitted(_as_dask(array), old, new, own)
        shape = data.shape[1:]
        chunks = _anchored(new, own, shape, conventions.LATTICE * factor, on_lattice=area is not None)
        data = data.rechunk((-1, *chunks))
        arrays[name] = data.map_blocks(
            _block_mean,
            factor=factor,
            power=array.attrs.get("units") == "dB",
            dtype=np.float32,
            chunks=(data.chunks[0], *(tuple(n // factor for n in axis) for axis in data.chunks[1:])),
        )
    result = _rebuilt(dataset, arrays, new, size)
    if area is not None:
        result.attrs[conventions.ATTR_AREA] = [float(edge) for edge in area]
        result.attrs[conventions.ATTR_MARGIN] = margin
    return result


def _coarse_edges(dataset: xr.Dataset, old: Bounds, size: float) -> tuple[Bounds, Bounds | None, int]:
    """Edges of the coarse grid, of its area, and the margin that still has data on every side."""
    if not _on_lattice(dataset):
        rows, columns = (math.ceil(span / size - 1e-6) for span in (old.top - old.bottom, old.right - old.left))
        return Bounds(old.left, old.top - rows * size, old.left + columns * size, old.top), None, 0
    left, bottom, right, top = dataset.attrs[conventions.ATTR_AREA]
    area = Bounds(
        math.floor(left / size + 1e-6) * size,
        math.floor(bottom / size + 1e-6) * size,
        math.ceil(right / size - 1e-6) * size,
        math.ceil(top / size - 1e-6) * size,
    )
    room = (area.left - old.left, area.bottom - old.bottom, old.right - area.right, old.top - area.top)
    margin = max(0, math.floor(min(room) / size + 1e-6))
    reach = margin * size
    return Bounds(area.left - reach, area.bottom - reach, area.right + reach, area.top + reach), area, margin


def _fitted(data: Any, old: Bounds, new: Bounds, size: float) -> Any:
    """Crop an array to other edges, or pad it with NaN."""
    import dask.array as da

    top, bottom = round((old.top - new.top) / size), round((new.bottom - old.bottom) / size)
    left, right = round((new.left - old.left) / size), round((old.right - new.right) / size)
    rows, columns = data.shape[1:]
    data = data[:, max(top, 0) : rows - max(bottom, 0), max(left, 0) : columns - max(right, 0)]
    pads = ((0, 0), (max(-top, 0), max(-bottom, 0)), (max(-left, 0), max(-right, 0)))
    return da.pad(data, pads, constant_values=np.nan) if np.any(pads) else data


def _block_mean(block: FloatArray, factor: int, power: bool) -> FloatArray:
    steps, rows, columns = block.shape
    out = np.empty((steps, rows // factor, columns // factor), np.float32)
    for step in range(steps):
        values = _linear(block[step], power).reshape(rows // factor, factor, columns // factor, factor)
        valid = np.isfinite(values)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(valid, values, 0.0).sum(axis=(1, 3)) / valid.sum(axis=(1, 3))
        out[step] = _back(mean, power)
    return out


# -- both -------------------------------------------------------------------------------------------------------------


def _linear(values: FloatArray, power: bool) -> Any:
    wide = values.astype(np.float64)
    return 10 ** (wide / 10) if power else wide


def _back(values: Any, power: bool) -> Any:
    return 10 * np.log10(values) if power else values


def _features(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    dims = (conventions.TIME, conventions.Y, conventions.X)
    found = {name: dataset[name].transpose(*dims) for name in conventions.FEATURES if name in dataset}
    if not found:
        raise CubeError(f"the dataset has none of {', '.join(conventions.FEATURES)}; pass a cube")
    return {str(name): array for name, array in found.items()}


def _as_dask(array: xr.DataArray) -> Any:
    return array.chunk().data if array.chunks is None else array.data


def _scaled_chunks(chunks: Any, factor: int) -> Any:
    return (chunks[0], *(tuple(n * factor for n in axis) for axis in chunks[1:]))


def _anchored(edges: Bounds, size: float, shape: tuple[int, ...], cut: int, *, on_lattice: bool) -> Any:
    """Chunk sizes with inner edges on multiples of `cut` pixels from the CRS origin, or from the array's corner."""
    first = (round(-edges.top / size), round(edges.left / size)) if on_lattice else (0, 0)
    return tuple(tiling.cut(start, length, cut) for start, length in zip(first, shape, strict=True))


def _rebuilt(dataset: xr.Dataset, arrays: dict[str, Any], edges: Bounds, size: float) -> xr.Dataset:
    dims = (conventions.TIME, conventions.Y, conventions.X)
    rows, columns = next(iter(arrays.values())).shape[1:]
    y = edges.top - size / 2 - np.arange(rows) * size
    x = edges.left + size / 2 + np.arange(columns) * size
    spatial = {conventions.Y, conventions.X}
    kept = {name: coord for name, coord in dataset.coords.items() if not spatial & set(coord.dims)}
    variables = {name: (dims, data, dict(dataset[name].attrs)) for name, data in arrays.items()}
    attributes = {conventions.Y: dict(dataset[conventions.Y].attrs), conventions.X: dict(dataset[conventions.X].attrs)}
    result = xr.Dataset(
        variables,
        coords={
            **kept,
            conventions.Y: (conventions.Y, y, attributes[conventions.Y]),
            conventions.X: (conventions.X, x, attributes[conventions.X]),
        },
        attrs=dict(dataset.attrs),
    )
    if conventions.SPATIAL_REF in result.coords:
        import rioxarray  # noqa: F401  (registers .rio)

        result = result.rio.write_transform()
    return result
