"""`apply`: the original program's job, to the letter, for its users."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from icemapper_xr import addresses, cube, models, prediction, progress
from icemapper_xr._types import Segmenter
from icemapper_xr.conventions import ModelEngine
from icemapper_xr.cube import rasterfiles
from icemapper_xr.errors import OptionError, StoreError
from icemapper_xr.pipeline import geotiff

__all__ = ["apply"]


def apply(
    out: str | Path,
    *,
    weights: str | Path | Segmenter,
    grd: Sequence[str | Path] | None = None,
    rtc: Sequence[str | Path] | None = None,
    insar: Sequence[str | Path] | None = None,
    reference: str | Path | None = None,
    engine: ModelEngine = "auto",
    overwrite: bool = False,
) -> Path:
    """Map lists of 15 GeoTIFFs as the original ICEmapper program does.

    Gaps, NaN, infinities and what lies outside a raster are fed to the network as 0, windows start at the raster's
    corner, and the answer has no mask. `predict` treats missing data better; this is for comparison and for those
    whose results have to equal the original's.

    Parameters
    ----------
    out
        GeoTIFF to write: two float32 bands, background and glacier probability, on the reference's grid.
    weights
        Name or path of the weights, or a loaded model.
    grd, rtc
        15 rasters of backscatter in dB, in time order.
    insar
        15 rasters of coherence, in time order.
    reference
        Raster whose grid is mapped; None is the first backscatter raster.
    engine
        Library that runs the network.
    overwrite
        Whether to replace an existing file.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    OptionError
        If the lists do not fit the weights.
    CubeError, UnitsError
        If a raster cannot be read or is in another unit.
    StoreError
        If `out` exists, or cannot be written.

    Warns
    -----
    UserWarning
        If declared nodata or tags that scale are not heeded, as in the original, if a list has no value on the
        reference's grid, or if its pixels are of another size than the weights'.
    """
    target = addresses.local_path(out)
    _check_target(target, overwrite)
    given = rasterfiles.lists_of(grd=grd, rtc=rtc, insar=insar)
    asked = tuple(given) if isinstance(weights, str | Path) else None  # a loaded model knows its own
    segmenter = models.loaded(weights, engine=engine, features=asked)
    if tuple(given) != segmenter.features:
        raise OptionError(
            f"the weights want {' and '.join(segmenter.features)}, but the rasters are {' and '.join(given)}; "
            "give the lists that the weights want, or name other weights"
        )
    progress.note(f"reading {sum(map(len, given.values()))} rasters")
    stack, profile = cube.parity_stack(**given, reference=reference)
    _warn_of_pixels(profile, segmenter)
    with progress.bar("mapping windows") as advance:
        glacier = prediction.blend(stack, segmenter, on_windows=lambda done, total: advance(done, total=total))
    bands = {"background": np.float32(1) - glacier, "glacier": glacier}
    geotiff.write(target, bands, crs=profile["crs"], transform=profile["transform"])
    return target


def _warn_of_pixels(profile: dict[str, Any], segmenter: Segmenter) -> None:
    """Warn of pixels that the weights have not learned from; the original program takes any."""
    crs, grid = profile["crs"], profile["transform"]
    sides = np.hypot([grid.a, grid.b], [grid.d, grid.e])  # of a grid that is turned, too
    if crs.is_geographic or not np.allclose(sides * crs.linear_units_factor[1], segmenter.pixel_size, rtol=0.01):
        unit = "degrees" if crs.is_geographic else crs.linear_units
        size = " x ".join(dict.fromkeys(f"{side:g}" for side in sides))
        warnings.warn(
            f"the rasters have pixels of {size} {unit}, the weights were trained on "
            f"{segmenter.pixel_size:g} m and tested on no others; warp the rasters to {segmenter.pixel_size:g} m",
            stacklevel=3,
        )


def _check_target(target: Path, overwrite: bool) -> None:
    if target.exists() and not overwrite:
        raise StoreError(f"{target} exists already; name another file, or allow it to be replaced with overwrite")
    if target.suffix.lower() not in {".tif", ".tiff"}:
        raise StoreError(f"{target} is to be a GeoTIFF; give it a name that ends in .tif")
    if not target.parent.is_dir():
        raise StoreError(f"the folder {target.parent} does not exist; make it first")
