"""Lists of GeoTIFFs as the published program reads them, step by step (Maslov et al. 2025, doi:10.31223/X5472T).

Scale, reproject with zeros outside and NaN spreading, then zeros for what is not a number.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from icemapper_xr import conventions
from icemapper_xr._types import FloatArray
from icemapper_xr.cube import rasterfiles
from icemapper_xr.errors import CubeError

__all__ = ["parity_stack"]

_N = conventions.N_STEPS
_OUTLIER = 100.0
"""Scaled values above this are zeroed by the published program."""
_LARGE = 1e6
"""Scaled values below minus this are no fill value in dB that a sum of single precision bears."""
_REMEDY = "write NaN instead, for example `gdalwarp -dstnodata nan IN OUT`"


def parity_stack(
    *,
    grd: Sequence[rasterfiles.PathLike] | None = None,
    rtc: Sequence[rasterfiles.PathLike] | None = None,
    insar: Sequence[rasterfiles.PathLike] | None = None,
    reference: rasterfiles.PathLike | None = None,
) -> tuple[FloatArray, dict[str, Any]]:
    """Read lists of 15 GeoTIFFs as the published program does, into memory.

    Every raster (dB, coherence) is scaled to model units, reprojected to the reference (bilinear; zeros outside the
    source; NaN is not nodata, so it spreads through the kernel), then NaN, infinity and values above 100 become 0.
    The reference is a raster that the user names, of whatever grid, else the first of the first list, which is not
    resampled itself. A raster is refused if most of what is sampled of it is of another unit; outliers are not. What
    that program takes as it is, though the files say otherwise, or has nothing of, is warned of.

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
    lists = rasterfiles.lists_of(grd=grd, rtc=rtc, insar=insar)
    target = rasterfiles.checked_reference(lists, reference, any_grid=True)
    for feature, paths in lists.items():
        for path in paths:
            rasterfiles.check_raster(path, feature, "dB" if feature != "insar" else "1", outliers=True)
    filled, tagged = list[str](), list[str]()
    stack = np.zeros((_N, target.rows, target.columns, len(lists)), np.float32)
    for channel, (feature, paths) in enumerate(lists.items()):
        for step, path in enumerate(paths):
            own_grid = reference is None and channel == 0 and step == 0
            stack[step, ..., channel] = _as_published(path, feature, target, filled, tagged, resample=not own_grid)
        if not stack[..., channel].any():
            warnings.warn(
                f"none of the {_N} files of {feature} ({paths[0]}, ...) has a value on the grid of {target.path}: the "
                "network is fed zeros in their place, and the answer means nothing; check the list and the reference",
                stacklevel=3,
            )
    _warn_of_nodata(filled)
    _warn_of_tags(tagged)
    return stack, target.profile


def _check_sums(scaled: FloatArray, path: str) -> None:
    """Refuse what makes the network's answers no numbers: the largest negative number, as some write for missing."""
    lowest = float(np.min(scaled, initial=0, where=np.isfinite(scaled)))
    if lowest < -_LARGE:
        raise CubeError(f"{path} has values down to {lowest:g} in model units, where sums are lost: {_REMEDY}")


def _warn_of_nodata(filled: Sequence[str]) -> None:
    """Warn of values that a file declares to be missing, and that are taken as they are."""
    if filled:
        warnings.warn(
            f"{len(filled)} rasters have pixels of the value that they declare as nodata ({filled[0]}, ...), which "
            f"the original program, and this command, take as any other value: {_REMEDY}",
            stacklevel=4,
        )


def _warn_of_tags(tagged: Sequence[str]) -> None:
    """Warn of tags by which values are to be scaled, and are not."""
    if tagged:
        warnings.warn(
            f"{len(tagged)} rasters say that their values are to be scaled ({tagged[0]}, ...), which the original "
            "program, and this command, do not do: write the values themselves with `gdal_translate -unscale -ot "
            "Float32 IN OUT`",
            stacklevel=4,
        )


def _as_published(
    path: str,
    feature: conventions.Feature,
    target: rasterfiles.Reference,
    filled: list[str],
    tagged: list[str],
    *,
    resample: bool,
) -> FloatArray:
    """Read a raster onto the target.

    Note it in `filled` if declared nodata goes in as a value, in `tagged` if GDAL's tags would scale its values.
    """
    import rasterio.errors
    from rasterio.enums import Resampling
    from rasterio.warp import reproject

    information = conventions.FEATURE_RANGES[feature]
    with rasterfiles.opened(path) as dataset:
        try:
            values = dataset.read(1, out_dtype="float32")
        except rasterio.errors.RasterioError as error:
            raise rasterfiles.damaged(path, error) from error
        transform, crs, nodata = dataset.transform, dataset.crs, dataset.nodata
        if (dataset.scales[0], dataset.offsets[0]) != (1, 0):
            tagged.append(path)
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = (values - np.float32(information.minimum)) / np.float32(information.maximum - information.minimum)
    _check_sums(scaled, path)
    taken = scaled[values == np.float32(np.nan if nodata is None else nodata)]
    if np.any(np.isfinite(taken) & (taken != 0) & (taken <= _OUTLIER)):  # what else there is becomes 0, as gaps do
        filled.append(path)
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
