"""Lists of GeoTIFFs, as the original program's users have them, as a cube or as the original would feed them.

`open_rasters` makes a lazy cube in which a gap stays a gap. `parity_stack` repeats the published program step by step
(Maslov et al. 2025, doi:10.31223/X5472T): scale, reproject with zeros outside and NaN spreading, then zeros for what
is not a number.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from icemapper_xr import conventions
from icemapper_xr._types import FloatArray
from icemapper_xr.cube import read, resample, select
from icemapper_xr.errors import CubeError, OptionError, UnitsError

__all__ = ["Reference", "open_rasters", "parity_stack", "reference_of"]

PathLike = str | os.PathLike[str]
_N = conventions.N_STEPS
_OUTLIER = 100.0
"""Scaled values above this are zeroed by the published program."""
_SAMPLES = 3
_SAMPLE_PIXELS = 64


class Reference(NamedTuple):
    """The grid of a raster."""

    path: str
    crs: Any
    transform: Any
    rows: int
    columns: int

    @property
    def profile(self) -> dict[str, Any]:
        """What rasterio needs to write a raster on this grid."""
        return {"crs": self.crs, "transform": self.transform, "height": self.rows, "width": self.columns}


def open_rasters(
    *,
    grd: Sequence[PathLike] | None = None,
    rtc: Sequence[PathLike] | None = None,
    insar: Sequence[PathLike] | None = None,
    reference: PathLike | None = None,
    scale: str = "dB",
    quantity: str | None = None,
    times: Sequence[Any] | None = None,
    resampling: conventions.Resampling = "bilinear",
    chunk: int = conventions.LATTICE,
) -> xr.Dataset:
    """Open lists of 15 single-band GeoTIFFs as a lazy cube.

    Parameters
    ----------
    grd, rtc, insar
        15 files in order of time, for every feature that there is.
    reference
        Raster whose grid the cube takes; None is the first raster of the first list.
    scale
        What the backscatter files hold: 'dB', 'power' or 'amplitude'.
    quantity
        What the backscatter is ('gamma0', 'sigma0', 'beta0'), for the record; None is gamma0 for rtc, unknown for
        grd.
    times
        15 dates; None numbers the steps from 0.
    resampling
        For rasters on another grid: 'bilinear' (in linear power), 'nearest' or 'average'.
    chunk
        Pixels between chunk edges, from the upper left corner.

    Returns
    -------
    xarray.Dataset
        `(time, y, x)` float32, backscatter in dB, coherence in 1, NaN = not observed. Without the attributes of the
        global lattice: windows are anchored at its own corner.

    Raises
    ------
    OptionError
        There is no list, one has not 15 files, or an option is unknown.
    CubeError
        A file is missing, not a raster, has several bands, no CRS, or is not north-up.
    UnitsError
        The values are not what `scale` says.

    Notes
    -----
    A truncated file shows when its part is computed; the error then names it.
    """
    lists = _lists(grd=grd, rtc=rtc, insar=insar)
    if scale not in ("dB", "power", "amplitude"):
        raise OptionError(f"scale {scale!r} is unknown; use dB, power or amplitude")
    if resampling not in conventions.RESAMPLINGS:
        raise OptionError(f"resampling {resampling!r} is unknown; use {', '.join(conventions.RESAMPLINGS)}")
    target = _checked_reference(lists, reference)
    for feature, paths in lists.items():
        for path in paths:
            _check_raster(path, feature, scale if feature != "insar" else "1")
    variables: dict[str, xr.DataArray] = {}
    for feature, paths in lists.items():
        own = scale if feature != "insar" else "1"
        data = _lazy(paths, own, target, resampling, chunk)
        variables[feature] = _variable(data, feature, quantity)
    return _dataset(variables, lists, target, times)


def parity_stack(
    *,
    grd: Sequence[PathLike] | None = None,
    rtc: Sequence[PathLike] | None = None,
    insar: Sequence[PathLike] | None = None,
    reference: PathLike | None = None,
) -> tuple[FloatArray, dict[str, Any]]:
    """Read lists of 15 GeoTIFFs as the published program does, into memory.

    Every raster (dB, coherence) is scaled to model units, reprojected to the reference (bilinear; zeros outside the
    source; NaN is not nodata, so it spreads through the kernel), then NaN, infinity and values above 100 become 0.
    The reference is a raster that the user names, else the first of the first list, which is not resampled itself.

    Returns
    -------
    array
        `(15, H, W, C)` float32 in model units, channels in the order backscatter, coherence.
    profile
        `crs`, `transform`, `height` and `width` for rasterio.

    Raises
    ------
    OptionError, CubeError, UnitsError
        As `open_rasters`.
    """
    lists = _lists(grd=grd, rtc=rtc, insar=insar)
    target = _checked_reference(lists, reference)
    for feature, paths in lists.items():
        for path in paths:
            _check_raster(path, feature, "dB" if feature != "insar" else "1")
    stack = np.zeros((_N, target.rows, target.columns, len(lists)), np.float32)
    for channel, (feature, paths) in enumerate(lists.items()):
        for step, path in enumerate(paths):
            own_grid = reference is None and channel == 0 and step == 0
            stack[step, ..., channel] = _as_published(path, feature, target, resample=not own_grid)
    return stack, target.profile


def reference_of(path: PathLike) -> Reference:
    """Return the grid of a raster.

    Raises
    ------
    CubeError
        It cannot be read, has no CRS or is not a north-up grid of square pixels.
    """
    with _opened(path) as dataset:
        a, b, _, d, e, _ = tuple(dataset.transform)[:6]
        if b or d or a <= 0 or not np.isclose(a, -e, rtol=1e-6):
            raise CubeError(f"{path} is not a north-up grid of square pixels; warp it to one first")
        return Reference(str(path), dataset.crs, dataset.transform, dataset.height, dataset.width)


# -- checks -----------------------------------------------------------------------------------------------------------


def _lists(**given: Sequence[PathLike] | None) -> dict[conventions.Feature, list[str]]:
    lists: dict[conventions.Feature, list[str]] = {}
    for feature in conventions.FEATURES:
        paths = given[feature]
        if paths is None or len(paths) == 0:
            continue
        if isinstance(paths, (str, os.PathLike)):
            raise OptionError(f"{feature} is one path, a list of {_N} files is wanted")
        if len(paths) != _N:
            raise OptionError(f"{feature} has {len(paths)} files, {_N} are wanted, one a step in order of time")
        lists[feature] = [os.fspath(path) for path in paths]
    if not lists:
        raise OptionError(f"name {_N} files for some of {', '.join(conventions.FEATURES)}")
    return lists


def _checked_reference(lists: Mapping[conventions.Feature, list[str]], reference: PathLike | None) -> Reference:
    return reference_of(next(iter(lists.values()))[0] if reference is None else reference)


def _opened(path: PathLike) -> Any:
    """Open a raster that has a CRS, or say which file is wrong and why."""
    import warnings

    import rasterio
    import rasterio.errors

    name = os.fspath(path)
    local = "://" not in name and not name.startswith("/vsi")
    if local and not Path(name).is_file():
        raise CubeError(f"{name} does not exist; check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            dataset = rasterio.open(name, sharing=False)
    except (rasterio.errors.RasterioError, OSError) as error:
        reason = " ".join(str(error).split())
        raise CubeError(f"{name} is not a raster that can be read ({reason}); replace it") from error
    if dataset.crs is None:
        dataset.close()
        raise CubeError(f"{name} has no coordinate system; terrain-geocode it, or write its CRS into it")
    return dataset


def _check_raster(path: str, feature: conventions.Feature, scale: str) -> None:
    with _opened(path) as dataset:
        if dataset.count != 1:
            raise CubeError(f"{path} has {dataset.count} bands, one is wanted; extract it first")
        values = _sample(dataset, path)
    if values.size == 0:
        return
    low, high = float(values.min()), float(values.max())
    where = f"{path} ({feature})"
    if feature == "insar":
        if low < -0.01 or high > 1.01:
            raise UnitsError(f"{where} has values {low:g} to {high:g}, coherence lies between 0 and 1; check the list")
    elif scale == "dB" and low > 0 and high < 10:
        raise UnitsError(
            f"{where} has values {low:g} to {high:g}, which looks like linear power, not dB; "
            "use open_rasters(scale='power'), or convert the files with 10 log10"
        )
    elif scale != "dB" and low < -1:
        raise UnitsError(f"{where} has values {low:g} to {high:g}, which looks like dB, not {scale}; set scale='dB'")


def _sample(dataset: Any, path: str) -> FloatArray:
    """Read a few small windows: enough to tell dB from power, whatever the size of the raster."""
    import rasterio.errors
    from rasterio.windows import Window

    side = _SAMPLE_PIXELS
    rows = sorted({int(row) for row in np.linspace(0, max(dataset.height - side, 0), _SAMPLES)})
    columns = sorted({int(column) for column in np.linspace(0, max(dataset.width - side, 0), _SAMPLES)})
    parts = []
    try:
        for row in rows:
            for column in columns:
                window = Window(column, row, min(side, dataset.width - column), min(side, dataset.height - row))
                values = dataset.read(1, window=window, out_dtype="float32")
                observed = np.isfinite(values) & (dataset.read_masks(1, window=window) > 0)
                parts.append(values[observed])
    except rasterio.errors.RasterioError as error:
        reason = " ".join(str(error).split())
        raise CubeError(f"{path} is damaged or truncated ({reason}); replace it") from error
    return np.concatenate(parts)


# -- the cube ---------------------------------------------------------------------------------------------------------


def _lazy(paths: Sequence[str], scale: str, target: Reference, resampling: str, chunk: int) -> Any:
    import dask.array as da

    sources = tuple(read.Source(path, Path(path).name, scale, resampling=resampling) for path in paths)
    sides = [
        tuple(min(chunk, length - start) for start in range(0, length, chunk))
        for length in (target.rows, target.columns)
    ]
    size, _, left, _, _, top = tuple(target.transform)[:6]
    pieces = da.map_blocks(
        _block,
        sources=sources,
        origin=(target.crs.to_wkt(), left, top, size),
        chunks=((1,) * _N, *sides),
        dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
    )
    return pieces.rechunk({0: -1})


def _block(
    sources: tuple[read.Source, ...], origin: tuple[str, float, float, float], block_info: Any = None
) -> FloatArray:
    (step, _), (row, row_end), (column, column_end) = block_info[None]["array-location"]
    crs, left, top, size = origin
    piece = resample.Piece(crs, left + column * size, top - row * size, size, row_end - row, column_end - column)
    return read.onto(sources[step], piece)[None]


def _variable(data: Any, feature: conventions.Feature, quantity: str | None) -> xr.DataArray:
    information = conventions.FEATURE_RANGES[feature]
    attributes = {"units": information.units, "long_name": information.long_name}
    if feature == "insar":
        attributes["quantity"] = "coherence"
    else:
        attributes["quantity"] = quantity or ("gamma0" if feature == "rtc" else "unknown")
        attributes["noise_floor"] = f"{conventions.NOISE_FLOOR_DB:g} dB for values of 0 and below"
        data = data.map_blocks(read.decibel, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))
    return xr.DataArray(data, dims=(conventions.TIME, conventions.Y, conventions.X), attrs=attributes)


def _dataset(
    variables: Mapping[str, xr.DataArray],
    lists: Mapping[conventions.Feature, list[str]],
    target: Reference,
    times: Sequence[Any] | None,
) -> xr.Dataset:
    import rioxarray  # noqa: F401  (registers .rio)

    size, _, left, _, _, top = tuple(target.transform)[:6]
    time: Any = np.arange(_N)
    if times is not None:
        time = np.array(select.steps(times=times).centres, dtype="datetime64[ns]")
    coordinates: dict[str, Any] = {
        conventions.TIME: time,
        conventions.Y: top - size * (np.arange(target.rows) + 0.5),
        conventions.X: left + size * (np.arange(target.columns) + 0.5),
    }
    for feature, paths in lists.items():
        names = np.array([Path(path).name for path in paths], dtype=object)
        coordinates[conventions.ITEMS.format(feature=feature)] = (conventions.TIME, names)
    items = sorted({Path(path).name for paths in lists.values() for path in paths})
    attributes: dict[str, Any] = {conventions.ATTR_ITEMS: items, conventions.ATTR_CATALOG: "rasters"}
    if times is not None:
        attributes[conventions.ATTR_START] = str(time[0])[:10]
        attributes[conventions.ATTR_YEAR] = int(str(time[_N // 2])[:4])
    dataset = xr.Dataset(dict(variables), coords=coordinates, attrs=attributes)
    dataset = dataset.rio.write_crs(target.crs).rio.write_coordinate_system()
    return dataset.rio.write_transform()  # type: ignore[no-any-return]


# -- the published program --------------------------------------------------------------------------------------------


def _as_published(path: str, feature: conventions.Feature, target: Reference, *, resample: bool) -> FloatArray:
    import rasterio.errors
    from rasterio.enums import Resampling
    from rasterio.warp import reproject

    information = conventions.FEATURE_RANGES[feature]
    with _opened(path) as dataset:
        try:
            values = dataset.read(1, out_dtype="float32")
        except rasterio.errors.RasterioError as error:
            reason = " ".join(str(error).split())
            raise CubeError(f"{path} is damaged or truncated ({reason}); replace it") from error
        transform, crs = dataset.transform, dataset.crs
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = (values - np.float32(information.minimum)) / np.float32(information.maximum - information.minimum)
    if resample:
        placed = np.zeros((target.rows, target.columns), np.float32)
        reproject(
            scaled,
            placed,
            src_transform=transform,
            src_crs=crs,
            dst_transform=target.transform,
            dst_crs=target.crs,
            resampling=Resampling.bilinear,
        )
        scaled = placed
    with np.errstate(invalid="ignore"):
        scaled[~np.isfinite(scaled) | (scaled > _OUTLIER)] = 0
    return np.asarray(scaled, np.float32)
