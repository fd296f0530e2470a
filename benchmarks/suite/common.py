"""Cubes and weights that the benchmarks share."""

from __future__ import annotations

import tempfile
from pathlib import Path

import dask.array as da
import numpy as np
import rioxarray  # noqa: F401
import xarray as xr

from icemapper_xr import conventions

CORNER = (9_216_000.0, 460_800.0)
"""Upper left corner on the lattice of 1152 px at 10 m."""


def cube(side: int, *, features: tuple[str, ...] = ("rtc",), chunk: int = conventions.LATTICE) -> xr.Dataset:
    """Return a normalised cube of constant values, made block by block when computed."""
    sizes = da.core.normalize_chunks(chunk, (side,))[0]

    def block(block_info: dict | None = None) -> np.ndarray:
        return np.full(block_info[None]["chunk-shape"], 0.7, np.float32)

    variables = {
        feature: (
            (conventions.TIME, conventions.Y, conventions.X),
            da.map_blocks(
                block,
                chunks=((conventions.N_STEPS,), sizes, sizes),
                dtype="f4",
                meta=np.empty((0, 0, 0), "f4"),
                name=f"bench-{feature}-{side}-{chunk}",
            ),
            {conventions.ATTR_NORMALISED: feature, "units": "1"},
        )
        for feature in features
    }
    top, left = CORNER
    coords = {
        conventions.TIME: np.datetime64("2023-01-13", "ns") + np.arange(conventions.N_STEPS) * np.timedelta64(24, "D"),
        conventions.Y: top - 5 - 10 * np.arange(side),
        conventions.X: left + 5 + 10 * np.arange(side),
    }
    return xr.Dataset(variables, coords=coords).rio.write_crs(32633)


def weights(filters: int, *, features: tuple[str, ...] = ("rtc",), window: int = 384) -> Path:
    """Write an untrained network of the published architecture; its map means nothing."""
    import keras

    from icemapper_xr.models import icemapper
    from icemapper_xr.models import weights as files

    keras.utils.set_random_seed(0)
    model = icemapper.build(channels=len(features), pooling="tweightedpool", filters=filters)
    path = Path(tempfile.mkdtemp()) / f"bench_f{filters}.h5"
    files.write(model, path, attrs={"features": list(features), "window": window, "pixel_size": 10.0, "n_steps": 15})
    return path
