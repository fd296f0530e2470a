"""Small GeoTIFFs and STAC servers on loopback for the tests of the catalogue."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import from_origin

SVALBARD = (500000.0, 8700000.0)
"""Upper left corner of the test rasters in UTM zone 33."""


def write_tif(
    path: Path,
    *,
    origin: tuple[float, float] = SVALBARD,
    crs: str = "EPSG:32633",
    pixel: float = 10.0,
    size: int = 12,
    tags: Mapping[str, str] | None = None,
    bands: tuple[str, ...] = ("",),
    nodata: float | None = float("nan"),
    dtype: str = "float32",
) -> Path:
    """Write a GeoTIFF of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "width": size,
        "height": size,
        "count": len(bands),
        "dtype": dtype,
        "crs": crs,
        "transform": from_origin(*origin, pixel, pixel),
        "nodata": nodata,
    }
    values = np.random.default_rng(1).random((len(bands), size, size), dtype=np.float32)
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values.astype(dtype))
        dataset.update_tags(**(tags or {}))
        for number, name in enumerate(bands, 1):
            if name:
                dataset.set_band_description(number, name)
    return path


def write_gcp_tif(path: Path) -> Path:
    """Write a uint16 GeoTIFF that is placed by control points only, as a raw GRD is."""
    corners = ((0, 0, 15.0, 78.5), (0, 20, 16.0, 78.5), (20, 0, 15.0, 78.0), (20, 20, 16.0, 78.0))
    points = [GroundControlPoint(row=row, col=col, x=x, y=y, z=0.0) for row, col, x, y in corners]
    profile = {"driver": "GTiff", "width": 20, "height": 20, "count": 1, "dtype": "uint16"}
    with rasterio.open(path, "w", gcps=points, crs="EPSG:4326", **profile) as dataset:
        dataset.write(np.ones((1, 20, 20), np.uint16))
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def stac_api(*paths: Path) -> Iterator[str]:
    """Serve item collections as a STAC API."""
    program = shutil.which("rustac", path=str(Path(sys.executable).parent)) or shutil.which("rustac")
    if program is None:
        pytest.skip("the STAC server rustac is not installed")
    url = f"http://127.0.0.1:{free_port()}"
    command = [program, "serve", "--create-collections", "-a", url.removeprefix("http://"), *map(str, paths)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
                    answer.read()
                    break
                time.sleep(0.05)
            yield url
        finally:
            server.terminate()


@contextlib.contextmanager
def http_folder(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
