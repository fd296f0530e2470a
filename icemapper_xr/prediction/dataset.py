"""The xarray skin: checks, the region that the windows cover, and what the result says of itself."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from icemapper_xr import conventions, pixels, tiling
from icemapper_xr._types import Segmenter
from icemapper_xr._version import __version__
from icemapper_xr.conventions import Gap
from icemapper_xr.errors import CubeError, OptionError, UnitsError
from icemapper_xr.prediction import core

__all__ = ["Prediction", "probability"]

log = logging.getLogger(__name__)

_ALIGNED = 1e-3
"""Share of a pixel by which a mask may be shifted and still count as on the cube's grid."""


class Prediction(NamedTuple):
    """Result of `probability`."""

    result: xr.Dataset
    """Lazy Dataset with `probability` and `n_obs`, dims (y, x)."""
    windows: Any
    """Array (chunks in y, chunks in x, 2) of windows evaluated and skipped; lazy where the cube is.

    Compute it together with the result: alone it costs as much as the result.
    """


def _axes(cube: xr.Dataset, window: int, stride: int) -> tuple[tiling.Axis, tiling.Axis]:
    """Windows in y and x: on the global lattice if the cube says where its area lies, else from its own corner."""
    height, width = cube.sizes[conventions.Y], cube.sizes[conventions.X]
    area = cube.attrs.get(conventions.ATTR_AREA)
    if area is None:
        return (
            tiling.anchored_axis(height, window=window, stride=stride),
            tiling.anchored_axis(width, window=window, stride=stride),
        )
    size = pixels.size(cube)
    left, bottom, right, top = area
    spans = ((round(-top / size), round(-bottom / size)), (round(left / size), round(right / size)))
    rows, columns = (
        tiling.global_axis(start, length, span, window=window, stride=stride)
        for start, length, span in zip(pixels.first(cube, size), (height, width), spans, strict=True)
    )
    return rows, columns


def _check(cube: xr.Dataset, segmenter: Segmenter, gap: str) -> None:
    """Refuse what would give a wrong map."""
    if gap not in conventions.GAPS:
        raise OptionError(f"gap is {gap!r}, but must be one of {', '.join(map(repr, conventions.GAPS))}")
    missing = [feature for feature in segmenter.features if feature not in cube]
    if missing:
        wanted = tuple(segmenter.features)
        raise CubeError(
            f"the weights want {', '.join(wanted)}, but the cube has no {', '.join(missing)}: open it with "
            f"features={wanted} (--features {' '.join(wanted)}), or choose weights for "
            f"{', '.join(map(str, cube.data_vars))}"
        )
    for feature in segmenter.features:
        if conventions.ATTR_NORMALISED not in cube[feature].attrs:
            raise UnitsError(f"{feature} is not in model units: pass the cube through icemapper_xr.normalise first")
        if cube[feature].dims != (conventions.TIME, conventions.Y, conventions.X):
            raise CubeError(f"{feature} has dims {cube[feature].dims}; {_to_dims(cube[feature])}")
    steps = cube.sizes[conventions.TIME]
    if steps != segmenter.n_steps:
        raise CubeError(f"the cube has {steps} time steps, the weights want {segmenter.n_steps}: choose the dates anew")
    times = cube[conventions.TIME].values
    if not np.all(times[1:] > times[:-1]):
        raise CubeError(
            "the cube's times do not ascend, and the network takes steps in order: ds.sortby('time'); of a time that "
            "is there twice leave one step out and choose another"
        )
    _check_year(cube)
    _check_together(cube, segmenter)
    found = pixels.size(cube)
    if not np.isclose(found, segmenter.pixel_size, rtol=1e-3):
        raise CubeError(
            f"the cube's pixels are {found:g} m, the weights were trained on {segmenter.pixel_size:g} m: open the cube "
            f"with resolution={segmenter.pixel_size:g} (--resolution {segmenter.pixel_size:g}), or say how to resample "
            "it with resample='bilinear' (--resample bilinear)"
        )
    pixels.require_true(cube, segmenter.pixel_size)


def _to_dims(array: xr.DataArray) -> str:
    """Say how to bring an array to the dims of a cube."""
    wanted = (conventions.TIME, conventions.Y, conventions.X)
    others = [str(dim) for dim in array.dims if dim not in wanted]
    lacking = [dim for dim in wanted if dim not in array.dims]
    if others and lacking:
        return f"rename {', '.join(others)} to {', '.join(lacking)}: a cube has (time, y, x), in metres"
    if others:
        return f"choose one {', one '.join(others)} with .isel: a cube has (time, y, x)"
    if lacking:
        return f"it lacks {', '.join(lacking)}: a cube has (time, y, x)"
    return "transpose it to (time, y, x)"


def _check_year(cube: xr.Dataset) -> None:
    """Refuse a cube whose attributes are of other dates: the map would have the year and the facts of another one."""
    times, start = cube[conventions.TIME].values, cube.attrs.get(conventions.ATTR_START)
    if start is None or not np.issubdtype(times.dtype, np.datetime64):
        return
    year, named = cube.attrs.get(conventions.ATTR_YEAR), cube.attrs.get(conventions.ATTR_FIRST_DAY, "named") == "named"
    begin, length = np.datetime64(start, "ns"), np.timedelta64(conventions.N_STEPS * conventions.STEP_DAYS, "D")
    first, last = (int(str(time)[:4]) for time in times[[0, -1]])
    # Dates that the user named may be any; those of a year lie in its steps.
    within = (year is None or first <= year <= last) if named else times[-1] < begin + length
    if times[0] >= begin and within:
        return
    raise CubeError(
        f"the cube's steps are of {str(times[0])[:10]} to {str(times[-1])[:10]}, but its attributes are of a series "
        f"that begins on {start} (year {year}), as joined cubes have those of the first: "
        "predict each year's cube before joining them, or open the cube of these dates (year, start or times)"
    )


def _check_together(cube: xr.Dataset, segmenter: Segmenter) -> None:
    """Refuse features that were not opened together and are of two orbits, or of which the attributes tell nothing."""
    orbits = {feature: _orbits(cube, feature) for feature in segmenter.features}
    if len(set().union(*orbits.values())) > 1:
        named = ", ".join(f"{', '.join(map(str, sorted(found)))} in {name}" for name, found in orbits.items() if found)
        raise CubeError(
            f"the cube has several relative orbits ({named}), which see slopes from different sides: open it of one, "
            f"with features={tuple(segmenter.features)} and orbit={min(set().union(*orbits.values()))}, for example"
        )
    told = cube.attrs.get(conventions.ATTR_FILES)
    files = json.loads(told) if isinstance(told, str) else segmenter.features
    alone = [feature for feature in segmenter.features if feature not in files]
    if alone:
        raise CubeError(
            f"the cube's attributes tell of {', '.join(files)} only, not of {', '.join(alone)}, as those of cubes that "
            f"were merged do: open them together, with features={tuple(segmenter.features)}, or merge them with "
            "combine_attrs='drop_conflicts', so that nothing is said that is true of one feature alone; with data of "
            f"your own, del ds.attrs['{conventions.ATTR_FILES}']"
        )


def _orbits(cube: xr.Dataset, feature: str) -> set[int]:
    """Return the relative orbits that a feature is known to be of."""
    name = conventions.RELATIVE_ORBIT.format(feature=feature)
    return {int(orbit) for orbit in np.unique(cube[name].values) if orbit > 0} if name in cube.coords else set()


def _region(array: xr.DataArray, axes: tuple[tiling.Axis, tiling.Axis], fill: float) -> xr.DataArray:
    """Cut the region that the windows cover, padding what runs past the array's lower and right edges."""
    for dim, axis in zip((conventions.Y, conventions.X), axes, strict=True):
        array = array.isel({dim: slice(axis.begin, axis.begin + axis.length)})
        short = axis.length - array.sizes[dim]
        if short:
            array = array.pad({dim: (0, short)}, constant_values=fill)
    return array


def _rechunk(array: Any, chunks: tuple[tuple[int, ...], tuple[int, ...]]) -> Any:
    """Put a dask array (..., y, x) on spatial chunks, all other dims in one."""
    lead = dict.fromkeys(range(array.ndim - 2), -1)
    return array.rechunk({**lead, array.ndim - 2: chunks[0], array.ndim - 1: chunks[1]})


def _legal(array: Any, axes: tuple[tiling.Axis, tiling.Axis]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Legal chunks near the array's own, and a word in the log where they differ."""
    rows, columns = (tiling.legal_chunks(sizes, axis) for sizes, axis in zip(array.chunks[-2:], axes, strict=True))
    if (rows, columns) != tuple(array.chunks[-2:]):
        log.info("re-chunked the cube to %d x %d chunks on multiples of %d px", len(rows), len(columns), axes[0].stride)
    return rows, columns


def probability(
    cube: xr.Dataset,
    segmenter: Segmenter,
    *,
    gap: Gap = "nearest",
    overlap: float = conventions.OVERLAP,
    mask: xr.DataArray | None = None,
) -> Prediction:
    """Compute the glacier probability of a normalised cube, lazily where the cube is lazy.

    Parameters
    ----------
    cube : Dataset, dims (time, y, x)
        Features in model units (`normalise.normalise`), NaN = not observed.
    segmenter
        The model; see `icemapper_xr.load_model`.
    gap : {"nearest", "zero"}
        What the network is fed where a step is missing; see `fill_gaps`. Pixels without any step, as past the edge of
        a scene, are what the weights were made for, see `unobserved`; with "zero" always 0.
    overlap : float
        Share of a window that the next one covers too: 0.5 (published), 0.25 or 0.
    mask : DataArray of bool, dims (y, x), optional
        On the cube's grid, to a thousandth of a pixel. Windows without any True are not evaluated, and pixels that are
        False become NaN.

    Returns
    -------
    Prediction
        `result` is a Dataset with `probability` (y, x), float32, NaN where a feature has no valid step or the mask is
        False, and `n_obs` (y, x), uint8, the steps in which every feature is valid, 0 where the mask is False;
        cropped to the area the cube was opened for. `windows` counts windows evaluated and skipped.

    Raises
    ------
    OptionError, CubeError, UnitsError
        If an option or the cube does not fit the weights.
    """
    _check(cube, segmenter, gap)
    stride = tiling.stride_of(segmenter.window, overlap)
    overlap = float(overlap)  # numpy's numbers cannot be written with the settings
    axes = _axes(cube, segmenter.window, stride)
    features = [_region(cube[feature], axes, np.nan) for feature in segmenter.features]
    region_mask = None if mask is None else _region(_aligned(mask, cube), axes, False)
    how: dict[str, Any] = {"segmenter": segmenter, "stride": stride, "gap": gap}
    lazy = any(feature.chunks is not None for feature in features)
    values, n_obs, windows = (_lazily if lazy else _in_memory)(features, region_mask, axes, how)
    keep = tuple(slice(*axis.keep) for axis in axes)
    dims = (conventions.Y, conventions.X)
    template = {
        dim: cube[dim].isel({dim: slice(axis.begin + axis.keep[0], axis.begin + axis.keep[1])})
        for dim, axis in zip(dims, axes, strict=True)
    }
    result = xr.Dataset(
        {
            conventions.PROBABILITY: (dims, values[keep]),
            conventions.N_OBS: (dims, n_obs[keep]),
        },
        coords={**template, conventions.SPATIAL_REF: cube[conventions.SPATIAL_REF]}
        if conventions.SPATIAL_REF in cube.coords
        else template,
    )
    settings = _settings(cube, segmenter, mask, gap=gap, overlap=overlap)
    return Prediction(_describe(result, cube, segmenter, settings), windows)


def _aligned(mask: xr.DataArray, cube: xr.Dataset) -> xr.DataArray:
    """Return the mask in the order of the cube's dims, which it is then applied by."""
    dims = (conventions.Y, conventions.X)
    if not isinstance(mask, xr.DataArray) or set(mask.dims) != set(dims):
        given = f"has dims {mask.dims}" if isinstance(mask, xr.DataArray) else f"is of type {type(mask).__name__}"
        raise OptionError(
            f"the mask {given}, but must be a DataArray (y, x): xr.DataArray(values, {{'y': ds.y, 'x': ds.x}})"
        )
    tolerance = _ALIGNED * pixels.size(cube)
    for dim in dims:
        same = mask.sizes[dim] == cube.sizes[dim]
        if not same or not np.allclose(mask[dim].values, cube[dim].values, rtol=0, atol=tolerance):
            raise OptionError(f"the mask's {dim} coordinates are not the cube's; put it on the cube's grid first")
    if mask.dtype != bool:
        raise OptionError(f"the mask is {mask.dtype}, but must be bool: True where the map is wanted")
    return mask.transpose(*dims)


def _in_memory(
    features: list[xr.DataArray],
    mask: xr.DataArray | None,
    axes: tuple[tiling.Axis, tiling.Axis],
    settings: dict[str, Any],
) -> tuple[Any, Any, Any]:
    """Return probability, number of valid steps and window counts, computed now."""
    blocks = [feature.to_numpy() for feature in features]
    wanted = None if mask is None else mask.to_numpy()
    partial = core.evaluate(*blocks, mask=wanted, **settings)
    values = core.divide(partial.core, *(tiling.weight_sum(axis) for axis in axes))
    seen, steps = core.observed(blocks), core.valid_steps(blocks)
    if wanted is not None:
        seen, steps = seen & wanted, steps * wanted
    counts = np.array(partial.windows, dtype=np.int64).reshape(1, 1, 2)
    return np.where(seen, values, np.float32(np.nan)), steps, counts


def _lazily(
    features: list[xr.DataArray],
    mask: xr.DataArray | None,
    axes: tuple[tiling.Axis, tiling.Axis],
    settings: dict[str, Any],
) -> tuple[Any, Any, Any]:
    """Return the same as `_in_memory`, as dask arrays."""
    import dask.array as da

    from icemapper_xr.prediction import graph

    chunked = next(feature for feature in features if feature.chunks is not None)
    chunks = _legal(chunked.data, axes)
    arrays = [_rechunk(da.asarray(feature.data), chunks) for feature in features]
    masked = None if mask is None else _rechunk(da.asarray(mask.data), chunks)
    return graph.map_windows(arrays, masked, axes, settings)


def _settings(
    cube: xr.Dataset, segmenter: Segmenter, mask: xr.DataArray | None, *, gap: Gap, overlap: float
) -> dict[str, Any]:
    """Collect all that shapes the values beside weights and items: two maps that differ in it may not be mixed."""
    return {
        "features": list(segmenter.features),
        "gap": gap,
        "unobserved": core.unobserved(segmenter, gap),
        "overlap": overlap,
        "window": segmenter.window,
        "pixel_size": segmenter.pixel_size,
        "precision": getattr(segmenter, "precision", "float32"),
        "mask": None if mask is None else _digest(mask),
        "reading": json.loads(cube.attrs.get(conventions.ATTR_READING, "null")),
    }


def _digest(mask: xr.DataArray) -> str:
    """Digest of a mask's values; a lazy one is not read for it, the names of its tasks stand for the values."""
    if mask.chunks is not None:
        from dask.base import tokenize

        return f"dask:{tokenize(mask.data)}"
    values = np.ascontiguousarray(mask.values)
    return hashlib.sha256(str(values.shape).encode() + np.packbits(values).tobytes()).hexdigest()


def _describe(result: xr.Dataset, cube: xr.Dataset, segmenter: Segmenter, settings: dict[str, Any]) -> xr.Dataset:
    """Write units and provenance where the result is born."""
    for name in result.data_vars:
        result[name].attrs = dict(conventions.VARIABLE_ATTRIBUTES[str(name)])
        if conventions.SPATIAL_REF in result.coords:
            result[name].attrs["grid_mapping"] = conventions.SPATIAL_REF
    kept = {
        key: value
        for key, value in cube.attrs.items()
        if key not in (conventions.ATTR_MARGIN, conventions.ATTR_READING)
    }
    result.attrs = {
        **kept,
        conventions.ATTR_WEIGHTS: str(getattr(segmenter, "name", type(segmenter).__name__)),
        conventions.ATTR_WEIGHTS_DIGEST: segmenter.digest,
        conventions.ATTR_SETTINGS: json.dumps(settings, sort_keys=True),
        conventions.ATTR_VERSION: __version__,
        conventions.ATTR_ITEMS: _items(cube, segmenter),
    }
    return result


def _items(cube: xr.Dataset, segmenter: Segmenter) -> list[str]:
    """Return ids of all items that went into the cube, sorted."""
    names = [conventions.ITEMS.format(feature=feature) for feature in segmenter.features]
    joined = (str(value) for name in names if name in cube.coords for value in cube[name].values)
    return sorted({item for text in joined for item in text.split(";") if item})
