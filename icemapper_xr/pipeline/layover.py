"""Rasters of layover and shadow, where the radar does not see the ground."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from icemapper_xr import conventions as cv
from icemapper_xr.errors import OptionError

__all__ = ["check", "flagged"]


def check(rasters: Sequence[xr.DataArray], path: Path) -> None:
    """Refuse a raster of layover and shadow that meets none of a map's rasters: it would leave all of them clear.

    Raises
    ------
    OptionError
        It cannot be read, has no CRS, or lies elsewhere.
    """
    import rasterio
    import shapely
    from rasterio.warp import transform_bounds

    try:
        with rasterio.open(path) as source:
            crs, own = source.crs, shapely.box(*source.bounds)
    except (OSError, rasterio.errors.RasterioError) as error:
        raise OptionError(f"the raster of layover and shadow {path} cannot be read: {error}") from error
    if crs is None:
        raise OptionError(f"the raster of layover and shadow {path} has no CRS; write the one it is in into the file")
    turns = (-360.0, 0.0, 360.0) if crs.is_geographic else (0.0,)
    for like in rasters:
        left, bottom, right, top = transform_bounds(like.rio.crs, crs, *like.rio.bounds())
        right += 360.0 if right < left else 0.0  # across the antimeridian
        if any(own.intersects(shapely.box(left + turn, bottom, right + turn, top)) for turn in turns):
            return
    raise OptionError(
        f"the raster of layover and shadow {path} lies outside the map, nothing of which it would exclude; check its "
        "place and its CRS"
    )


def flagged(like: xr.DataArray, path: Path) -> xr.DataArray:
    """Read where layover or shadow is: (y, x) bool on the cells of a raster."""
    import rasterio
    import rioxarray
    from rasterio.vrt import WarpedVRT

    try:
        with (
            rasterio.open(path) as source,
            WarpedVRT(
                source,
                crs=like.rio.crs,
                transform=like.rio.transform(),
                width=like.sizes[cv.X],
                height=like.sizes[cv.Y],
            ) as warped,
        ):
            opened: Any = rioxarray.open_rasterio(warped, masked=True)
            flags: xr.DataArray = opened.isel(band=0, drop=True).load()
    except (OSError, rasterio.errors.RasterioError) as error:
        raise OptionError(f"the raster of layover and shadow {path} cannot be read: {error}") from error
    found = (flags.notnull() & (flags != 0)).assign_coords({cv.Y: like[cv.Y], cv.X: like[cv.X]})
    sizes = {dim: like.chunksizes[dim] for dim in (cv.Y, cv.X) if dim in like.chunksizes}
    return found.drop_vars(cv.SPATIAL_REF, errors="ignore").chunk(sizes) if sizes else found
