"""Results to store, for the tests of the store and of what reads it."""

from __future__ import annotations

import json
from typing import Any

import dask.array as da
import numpy as np
import rioxarray  # noqa: F401
import xarray as xr


def result(
    *,
    rows: int = 70,
    columns: int = 90,
    left: float = 500_070.0,
    top: float = 8_700_130.0,
    chunks: Any = None,
    seed: int = 0,
    crs: str = "EPSG:32633",
    **attrs: Any,
) -> xr.Dataset:
    """Make a result of random probabilities with a block of NaN."""
    rng = np.random.default_rng(seed)
    probability = rng.random((rows, columns), dtype=np.float32)
    probability[: rows // 3, : columns // 3] = np.nan
    n_obs = rng.integers(0, 16, (rows, columns)).astype(np.uint8)
    if chunks is not None:
        probability, n_obs = da.from_array(probability, chunks), da.from_array(n_obs, chunks)
    y = top - 5.0 - 10.0 * np.arange(rows)
    x = left + 5.0 + 10.0 * np.arange(columns)
    dataset = xr.Dataset(
        {"probability": (("y", "x"), probability), "n_obs": (("y", "x"), n_obs)}, coords={"y": y, "x": x}
    ).rio.write_crs(crs)
    dataset.attrs = {
        "icemapper_area": [left, top - 10.0 * rows, left + 10.0 * columns, top],
        "weights": "fake",
        "weights_digest": "abc",
        "icemapper_settings": json.dumps({"gap": "nearest", "window": 16}),
        "icemapper_version": "0.1.0",
        "relative_orbit": np.int16(14),
        "polarisation": "HH",
        "item_ids": ["a", "b"],
        "year": 2023,
        "start": "2023-01-01",
        **attrs,
    }
    return dataset
