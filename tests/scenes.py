"""Small catalogues and weights for the tests of the whole chain."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

EPSG = 32633
LEFT, TOP = 520_000.0, 8_690_000.0
SHAPE = (150, 140)
"""Rows and columns of the rasters, 10 m."""
WINDOW = 32
"""Window of the tiny weights."""


def passes(year: int = 2023, count: int = 15) -> list[dt.datetime]:
    """Every second 12-day cycle of one orbit."""
    first = dt.datetime(year, 1, 11, 5, 59, tzinfo=dt.UTC)
    return [first + dt.timedelta(days=24 * k) for k in range(count)]


def values(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Linear backscatter with a bright disc, so that maps have a shape."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    disc = np.hypot(y - shape[0] / 2, x - shape[1] / 2) < min(shape) / 4
    return (np.where(disc, 0.5, 0.03) * rng.gamma(8, 1 / 8, shape)).astype(np.float32)


def write_raster(
    path: Path, array: np.ndarray, *, left: float = LEFT, top: float = TOP, resolution: float = 10.0, **tags: str
) -> Path:
    """Write one GeoTIFF with the tags that the catalogue builder reads."""
    profile = {
        "driver": "GTiff",
        "count": 1,
        "dtype": "float32",
        "height": array.shape[0],
        "width": array.shape[1],
        "crs": f"EPSG:{EPSG}",
        "transform": from_origin(left, top, resolution, resolution),
        "nodata": float("nan"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(array.astype(np.float32), 1)
        dataset.update_tags(**{f"ICEMAPPER_{key.upper()}": value for key, value in tags.items()})
    return path


def write_rtc(
    folder: Path,
    *,
    year: int = 2023,
    drop: tuple[int, ...] = (),
    orbit: int = 14,
    polarisation: str = "HH",
    seed: int = 0,
) -> list[Path]:
    """Write a year of backscatter rasters, one a step."""
    return [
        write_raster(
            folder / f"rtc_S1A_IW_{polarisation}_ro{orbit:03d}_{when:%Y%m%dT%H%M%S}.tif",
            values(seed + k),
            feature="rtc",
            quantity="gamma0",
            scale="power",
            polarisation=polarisation,
            relative_orbit=str(orbit),
            orbit_state="ascending",
            platform="S1A",
            mode="IW",
            acquired=when.isoformat(),
        )
        for k, when in enumerate(passes(year))
        if k not in drop
    ]


def write_coherence(folder: Path, *, year: int = 2023, baseline: int = 12, orbit: int = 14) -> list[Path]:
    """Write a year of coherence rasters, one a step."""
    files = []
    for k, when in enumerate(passes(year)):
        first, second = when, when + dt.timedelta(days=baseline)
        rng = np.random.default_rng(1000 + k)
        files.append(
            write_raster(
                folder / f"insar_S1A_IW_HH_ro{orbit:03d}_{first:%Y%m%d}_{second:%Y%m%d}.tif",
                rng.uniform(0.1, 0.9, SHAPE),
                feature="insar",
                quantity="coherence",
                scale="1",
                polarisation="HH",
                relative_orbit=str(orbit),
                platform="S1A",
                mode="IW",
                reference=first.isoformat(),
                secondary=second.isoformat(),
            )
        )
    return files


def write_weights(
    path: Path,
    *,
    features: tuple[str, ...] = ("rtc",),
    pooling: str = "maxpool",
    seed: int = 0,
    said: tuple[str, ...] = ("features", "window", "pixel_size", "n_steps", "training"),
) -> Path:
    """Write a tiny untrained network in the original's file format, with the attributes `said`."""
    import keras

    from icemapper_xr.models import icemapper, weights

    keras.utils.set_random_seed(seed)
    model = icemapper.build(channels=len(features), pooling=pooling, filters=2)
    known = {"features": list(features), "window": WINDOW, "pixel_size": 10.0, "n_steps": 15, "training": "none"}
    weights.write(model, path, attrs={name: known[name] for name in said})
    return path


def inner(pixels: int = 30) -> tuple[float, float, float, float]:
    """Bounds of the rasters less an edge."""
    edge = pixels * 10.0
    return (LEFT + edge, TOP - SHAPE[0] * 10 + edge, LEFT + SHAPE[1] * 10 - edge, TOP - edge)
