"""Lists of GeoTIFFs, as the original program's users have them, as a lazy cube in which a gap stays a gap."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from icemapper_xr import conventions, tiling
from icemapper_xr._types import FloatArray
from icemapper_xr.cube import frames, rasterfiles, read, resample, select, timeaxis
from icemapper_xr.errors import OptionError

__all__ = ["open_rasters"]

_N = conventions.N_STEPS


def open_rasters(
    *,
    grd: Sequence[rasterfiles.PathLike] | None = None,
    rtc: Sequence[rasterfiles.PathLike] | None = None,
    insar: Sequence[rasterfiles.PathLike] | None = None,
    reference: rasterfiles.PathLike | None = None,
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
        The 15 dates of the files, ascending; None numbers the steps from 0.
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
        There is no list, one has not 15 files, the dates do not ascend, or an option is unknown.
    CubeError
        A file is missing, not a raster, has several bands, no CRS, or is not north-up.
    UnitsError
        The values are not what `scale` says, or GDAL's tags scale them.

    Notes
    -----
    A truncated file shows when its part is computed; the error then names it.
    """
    lists = rasterfiles.lists_of(grd=grd, rtc=rtc, insar=insar)
    if scale not in ("dB", "power", "amplitude"):
        raise OptionError(f"scale {scale!r} is unknown; use dB, power or amplitude")
    if resampling not in conventions.RESAMPLINGS:
        raise OptionError(f"resampling {resampling!r} is unknown; use {', '.join(conventions.RESAMPLINGS)}")
    chunk = frames.whole_chunk(chunk)
    time = None if times is None else _dates(times, lists)
    target = rasterfiles.checked_reference(lists, reference)
    for feature, paths in lists.items():
        for path in paths:
            rasterfiles.check_raster(path, feature, scale if feature != "insar" else "1")
    variables: dict[str, xr.DataArray] = {}
    for feature, paths in lists.items():
        own = scale if feature != "insar" else "1"
        data = _lazy(paths, own, target, resampling, chunk)
        variables[feature] = _variable(data, feature, quantity)
    dataset = _dataset(variables, lists, target, time)
    reading = {"resolution": target.transform.a, "resampling": resampling, "scale": scale}
    dataset.attrs[conventions.ATTR_READING] = json.dumps(reading, sort_keys=True)
    # Names and their sorted list do not tell the order, which is all that dates the files, nor files made anew. Not in
    # ATTR_READING, which all years of a store share: each year has files of its own.
    files = {feature: rasterfiles.digest(paths) for feature, paths in lists.items()}
    dataset.attrs[conventions.ATTR_FILES] = json.dumps(files, sort_keys=True)
    return dataset


# -- the cube ---------------------------------------------------------------------------------------------------------


def _dates(times: Sequence[Any], lists: Mapping[conventions.Feature, list[str]]) -> Any:
    """Return the dates of the files, which have the order of their files: to sort them alone would mislabel these."""
    days = [timeaxis.day_of(time, "times") for time in times]
    axis = select.steps(times=days)
    paths = next(iter(lists.values()))
    for k, (before, after) in enumerate(itertools.pairwise(days)):
        if after <= before:
            raise OptionError(
                f"times do not ascend: {before} of {paths[k]} comes before {after} of {paths[k + 1]}; put the files "
                "and their dates in order of time"
            )
    return np.array(axis.centres, dtype="datetime64[ns]")


def _lazy(paths: Sequence[str], scale: str, target: rasterfiles.Reference, resampling: str, chunk: int) -> Any:
    import dask.array as da

    sources = tuple(read.Source(path, Path(path).name, scale, resampling=resampling) for path in paths)
    sides = [tiling.cut(0, length, chunk) for length in (target.rows, target.columns)]
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
    target: rasterfiles.Reference,
    dates: Any,
) -> xr.Dataset:
    import rioxarray  # noqa: F401  (registers .rio)

    size, _, left, _, _, top = tuple(target.transform)[:6]
    time = np.arange(_N) if dates is None else dates
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
    if dates is not None:
        attributes[conventions.ATTR_START] = str(time[0])[:10]
        attributes[conventions.ATTR_YEAR] = int(str(time[_N // 2])[:4])
    dataset = xr.Dataset(dict(variables), coords=coordinates, attrs=attributes)
    dataset = dataset.rio.write_crs(target.crs).rio.write_coordinate_system()
    return dataset.rio.write_transform()  # type: ignore[no-any-return]
