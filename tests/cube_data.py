"""Rasters on disk and observations of them, for the tests of the cube."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from icemapper_xr._types import Bounds, Observation, Shape

OPERA = re.compile(r"OPERA_L2_RTC-S1_T(\d+)-(\d+)-(IW\d)_(\d{8}T\d{6})Z_.*_(S1[A-D])_30_v1.0_(V[VH])\.tif")
UTM33 = 32633


def utc(*args: int) -> dt.datetime:
    return dt.datetime(*args, tzinfo=dt.UTC)  # type: ignore[arg-type,misc]


def write(
    path: Path,
    values: Any,
    *,
    left: float = 500_000.0,
    top: float = 8_700_000.0,
    size: float = 10.0,
    epsg: int | None = UTM33,
    nodata: float | None = None,
    dtype: str = "float32",
) -> Path:
    """Write a single-band GeoTIFF; values (y, x) or (band, y, x)."""
    values = np.asarray(values)
    bands = values[None] if values.ndim == 2 else values
    profile = {
        "driver": "GTiff",
        "dtype": dtype,
        "count": len(bands),
        "height": bands.shape[1],
        "width": bands.shape[2],
        "transform": Affine(size, 0, left, 0, -size, top),
        "nodata": nodata,
    }
    if epsg is not None:
        profile["crs"] = f"EPSG:{epsg}"
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(bands.astype(dtype))
    return path


def observe(path: Path | str, acquired: dt.datetime, **fields: Any) -> Observation:
    """Describe a raster on disk as an observation of gamma0 power in mode IW, VV, orbit 14."""
    with rasterio.open(path) as dataset:
        found = {
            "epsg": dataset.crs.to_epsg() if dataset.crs else None,
            "transform": tuple(dataset.transform)[:6],
            "shape": Shape(*dataset.shape),
        }
    known = {
        "item_id": Path(path).stem,
        "feature": "rtc",
        "polarisation": "VV",
        "relative_orbit": 14,
        "orbit_state": "ascending",
        "platform": "S1A",
        "mode": "IW",
        "quantity": "gamma0",
        "scale": "power",
    }
    return Observation(href=str(path), acquired=acquired, **{**known, **found, **fields})


def describe(acquired: dt.datetime, **fields: Any) -> Observation:
    """Describe a raster that need not exist: 40 x 40 px of 10 m at 500 000 E, 8 700 000 N."""
    known = {
        "item_id": f"item-{acquired:%Y%m%dT%H%M%S}",
        "feature": "rtc",
        "href": f"/nowhere/{acquired:%Y%m%dT%H%M%S}.tif",
        "polarisation": "VV",
        "relative_orbit": 14,
        "orbit_state": "ascending",
        "platform": "S1A",
        "mode": "IW",
        "quantity": "gamma0",
        "scale": "power",
        "epsg": UTM33,
        "transform": (10.0, 0.0, 500_000.0, 0.0, -10.0, 8_700_000.0),
        "shape": Shape(40, 40),
    }
    return Observation(acquired=acquired, **{**known, **fields})


AREA = Bounds(500_000.0, 8_699_600.0, 500_400.0, 8_700_000.0)
"""The area that `describe` covers."""


def opera(folder: Path, burst: str = "292320-IW2", polarisations: tuple[str, ...] = ("VV",)) -> list[Observation]:
    """Describe the real OPERA RTC-S1 crops of one burst."""
    found = []
    for path in sorted(folder.glob(f"*{burst}*.tif")):
        match = OPERA.match(path.name)
        assert match is not None
        orbit, _, _, time, platform, polarisation = match.groups()
        if polarisation in polarisations:
            acquired = dt.datetime.strptime(time, "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC)
            found.append(
                observe(
                    path,
                    acquired,
                    platform=platform,
                    polarisation=polarisation,
                    relative_orbit=int(orbit),
                    item_id=path.stem.removesuffix(f"_{polarisation}"),
                    orbit_state=None,
                )
            )
    return found
