"""Lists of GeoTIFFs as the published program reads them, step by step (Maslov et al. 2025, doi:10.31223/X5472T).

Scale, reproject with zeros outside and NaN spreading, then zeros for what is not a number.
"""

from __future__ import annotations

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
    resampled itself. A raster is refused if most of what is sampled of it is of another unit; outliers are not.

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
    stack = np.zeros((_N, target.rows, target.columns, len(lists)), np.float32)
    for channel, (feature, paths) in enumerate(lists.items()):
        for step, path in enumerate(paths):
            own_grid = reference is None and channel == 0 and step == 0
            stack[step, ..., channel] = _as_published(path, feature, target, resample=not own_grid)
    return stack, target.profile


def _as_published(
    path: str, feature: conventions.Feature, target: rasterfiles.Reference, *, resample: bool
) -> FloatArray:
    import rasterio.errors
    from rasterio.enums import Resampling
    from rasterio.warp import reproject

    information = conventions.FEATURE_RANGES[feature]
    with rasterfiles.opened(path) as dataset:
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
