"""Maps in small units, for the tests of runs; imports little, since worker processes import it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from icemapper_xr._types import Bounds, FloatArray, Grid
from icemapper_xr.cube import AreaGrid, Series
from icemapper_xr.errors import CubeError
from icemapper_xr.testing import FakeSegmenter

CHUNK = 32
"""Side of a unit in these tests: two strides of the windows."""


@dataclass(frozen=True)
class Tracing(FakeSegmenter):
    """Writes a line per window into a file: a digest of the input, and the worker."""

    window: int = 32
    trace: str = ""
    poison: float = -1.0
    """Refuses windows whose mean lies above it."""

    def __call__(self, x: FloatArray, /) -> FloatArray:
        """Trace, then answer."""
        for window in x:
            if 0 <= self.poison < float(window.mean()):
                raise CubeError("this window is poisoned")
            line = f"{hashlib.sha256(window.tobytes()).hexdigest()[:16]} {worker_name()} {os.getpid()}\n"
            handle = os.open(self.trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(handle, line.encode())
            os.close(handle)
        return super().__call__(x)

    def __dask_tokenize__(self) -> Any:
        return (*super().__dask_tokenize__(), self.trace, self.poison)

    def lines(self) -> list[tuple[str, str]]:
        """Digest of each window evaluated so far, and the worker."""
        path = Path(self.trace)
        rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [(row[0], row[1]) for row in rows]


def worker_name() -> str:
    """Name of the Dask worker that this runs on."""
    from distributed import get_worker

    try:
        return str(get_worker().name)
    except ValueError:
        return "here"


def chunk_files(path: Path) -> dict[str, bytes]:
    """All chunk files of a store."""
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("c/**/*")) if f.is_file()}


def half_mask(bounds: Any) -> Any:
    """Mask of the western half of some bounds."""
    return WestOf((bounds[0] + bounds[2]) / 2)


@dataclass(frozen=True)
class WestOf:
    """True where x lies west of a meridian of the grid."""

    x: float

    @property
    def digest(self) -> str:
        """For the fingerprint."""
        return f"west-of-{self.x}"

    def on(self, grid: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return (y, x)."""
        _, x = grid.coords()
        return np.broadcast_to(x < self.x, tuple(grid.shape))


# -- maps of any size without a file ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Synthetic(Series):
    """A series that makes its pixels from their coordinates."""

    def open(self, *, faults: Any = None) -> Any:
        """Open as a lazy cube of one chunk."""
        import dask.array as da

        y, x = self.area.grid.coords()
        data = da.map_blocks(
            _pixels,
            y,
            x,
            dtype=np.float32,
            chunks=((15,), (y.size,), (x.size,)),
            new_axis=(0, 1, 2),
            meta=np.empty((0, 0, 0), np.float32),
        )
        dataset = self.facts().assign(rtc=(("time", "y", "x"), data, {"units": "dB"}))
        return dataset.assign_coords(y=y, x=x).rio.write_crs(f"EPSG:{self.area.grid.epsg}").rio.write_transform()


def _pixels(y: Any, x: Any) -> Any:
    steps = np.arange(15, dtype=np.float32)[:, None, None]
    rows, columns = (y % 7919).astype(np.float32), (x % 104_729).astype(np.float32)
    field = np.sin(rows / 900)[:, None] * np.cos(columns / 1300)[None, :]
    return (-12 + 5 * field[None] + 0.3 * steps).astype(np.float32)


def synthetic(pixels: int, *, margin: int = 384) -> Synthetic:
    """A square of the lattice, `pixels` wide."""
    import pyproj

    left, top = 11_520.0 * 40, 11_520.0 * 750
    area = Bounds(left, top - 10 * pixels, left + 10 * pixels, top)
    edge = 10.0 * margin
    around = Bounds(area.left - edge, area.bottom - edge, area.right + edge, area.top + edge)
    grid = Grid(32633, pyproj.CRS(32633).to_wkt(), 10.0, around)
    time = np.datetime64("2023-01-13", "ns") + np.arange(15) * np.timedelta64(24, "D")
    attrs = {
        "icemapper_area": list(area),
        "icemapper_margin_px": margin,
        "relative_orbit": 14,
        "polarisation": "HH",
        "year": 2023,
        "start": "2023-01-01",
    }
    where = AreaGrid(area, grid, margin)
    coordinates = {"time": time, "rtc_items": ("time", np.array([f"i{k}" for k in range(15)], object))}
    return Synthetic(where, {"rtc": ((),) * 15}, "stackstac", None, None, None, attrs, coordinates)
