"""GeoTIFFs that are whole or not there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from icemapper_xr import whole
from icemapper_xr._types import FloatArray
from icemapper_xr.errors import StoreError

__all__ = ["write"]

_LAYOUT = {"driver": "GTiff", "dtype": "float32", "compress": "deflate", "predictor": 3, "tiled": True}


def write(path: Path, bands: Mapping[str, FloatArray], *, crs: Any, transform: Any) -> None:
    """Write float32 bands; the file takes the place of another one when it is whole.

    Parameters
    ----------
    path
        File to write or replace.
    bands
        Arrays (y, x) by the band's description.
    crs, transform
        As rasterio takes them.

    Raises
    ------
    StoreError
        If it cannot be written. What was there stays.
    """
    import rasterio

    height, width = next(iter(bands.values())).shape
    size = {"count": len(bands), "height": height, "width": width, "bigtiff": "if_safer"}
    try:
        with whole.appearing(path) as part:
            with rasterio.open(part, "w", crs=crs, transform=transform, **size, **_LAYOUT) as dataset:
                for band, (name, values) in enumerate(bands.items(), 1):
                    dataset.write(values, band)
                    dataset.set_band_description(band, name)
            _read_back(part, bands)
    except (OSError, rasterio.errors.RasterioError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{path} could not be written ({reason}); check the folder's rights and free space") from error


def _read_back(path: Path, bands: Mapping[str, FloatArray]) -> None:
    """Refuse a file that is not whole.

    GDAL writes the last blocks when it closes a file, and rasterio does not tell if the disk was full then.
    """
    import rasterio

    with rasterio.open(path) as dataset:
        for band, values in enumerate(bands.values(), 1):
            if not np.array_equal(dataset.read(band), values, equal_nan=True):
                raise OSError("it does not read back as it was written")
