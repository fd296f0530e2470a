"""What outlines cost against GDAL's polygons of the whole raster, as a ratio.

Each runs in a fresh process. Processor time, so that other work on the machine does not count; ours includes reading
the chunks, projecting to degrees and the areas and lengths on the ellipsoid, GDAL's only the polygons.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

SIDE, BODIES = 10_000, 4_500

GDAL = """
import numpy as np, rasterio, zarr
from rasterio.features import shapes
def load(path):
    return zarr.open_array(path, mode="r")[:]
def run(p):
    inside = p >= 0.5
    return len(list(shapes(inside.astype("uint8"), mask=inside, transform=rasterio.Affine(10, 0, 5e5, 0, -10, 8.7e6))))
"""

OURS = """
import dask, dask.array as da, numpy as np, rioxarray, xarray as xr, geopandas
from icemapper_xr import vectorise
dask.config.set(num_workers=2)
def load(path):
    data = da.from_zarr(path)
    axis = 5.0 + 10.0 * np.arange(data.shape[0])
    grid = xr.DataArray(data, dims=("y", "x"), coords={"y": 8.7e6 - axis, "x": 5e5 + axis}).rio.write_crs(32633)
    vectorise.outlines(grid[:64, :64])  # imports
    return grid
def run(grid):
    return len(vectorise.outlines(grid, min_area_km2=0.0))
"""

MEASURE = """
import json, statistics, sys, time
def memory(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) / 1024
base = memory("VmRSS")
raster = load(sys.argv[1])
times = []
for _ in range(3):
    begin = time.process_time()
    count = run(raster)
    times.append(time.process_time() - begin)
print(json.dumps({"count": count, "seconds": statistics.median(times), "peak_mib": memory("VmHWM") - base}))
"""


def bodies(side: int, count: int) -> np.ndarray:
    """Draw lobed bodies of 5 to 60 pixels' radius with soft margins."""
    rng = np.random.default_rng(0)
    p = np.zeros((side, side), np.float32)
    for k in range(count):
        radius = rng.uniform(5, 60)
        row, column = rng.uniform(100, side - 100, 2)
        half = int(1.3 * radius + 12)
        y, x = np.mgrid[int(row) - half : int(row) + half, int(column) - half : int(column) + half]
        y, x = np.clip(y, 0, side - 1), np.clip(x, 0, side - 1)
        rim = radius * (1 + 0.2 * np.sin(3 * np.arctan2(y - row, x - column) + k))
        value = 1 / (1 + np.exp(np.clip(np.hypot(y - row, x - column) - rim, -30, 30)))
        box = p[y[0, 0] : y[-1, 0] + 1, x[0, 0] : x[0, -1] + 1]
        np.maximum(box, value[: box.shape[0], : box.shape[1]], out=box)
    return p


def measure(program: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-c", program + MEASURE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.slow
def test_time_and_memory_against_whole_array_polygons(tmp_path: Path) -> None:
    path = tmp_path / "p.zarr"
    array = zarr.create_array(path, shape=(SIDE, SIDE), chunks=(1152, 1152), dtype="float32")
    array[:] = bodies(SIDE, BODIES)
    theirs, ours = measure(GDAL, path), measure(OURS, path)
    print(f"\nwhole array: {theirs}\noutlines:    {ours}")
    print({key: round(ours[key] / theirs[key], 2) for key in ("seconds", "peak_mib")})
    assert ours["count"] == pytest.approx(theirs["count"], rel=0.01)
    assert ours["seconds"] <= 1.0 * theirs["seconds"]
    assert ours["peak_mib"] <= theirs["peak_mib"] / 3
