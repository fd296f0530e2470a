"""Elevation for glaciers: windows of a DEM on a metric grid."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icemapper_xr._types import Bounds, FloatArray
from icemapper_xr.errors import VectorError

if TYPE_CHECKING:
    import pyproj
    import xarray as xr

__all__ = ["Dem", "Relief", "sample"]


@dataclass(frozen=True)
class Relief:
    """A window of a DEM, north-up, square cells."""

    z: FloatArray
    """(rows, columns) elevation, metres; NaN where the DEM has none."""
    left: float
    """Left edge."""
    top: float
    """Upper edge."""
    cell: float
    """Size of a cell, metres."""

    @property
    def transform(self) -> Any:
        """Affine transform from cell corners to the CRS."""
        from rasterio.transform import from_origin

        return from_origin(self.left, self.top, self.cell, self.cell)

    def burn(self, geometries: Any, values: Any = None) -> npt.NDArray[np.int32]:
        """Rasterise polygons by cell centres: 1, or the values given, inside and 0 outside."""
        from rasterio.features import rasterize

        numbers = [1] * len(geometries) if values is None else [int(value) for value in values]
        if not numbers:
            return np.zeros(self.z.shape, np.int32)
        pairs = zip(geometries, numbers, strict=True)
        burnt = rasterize(pairs, out_shape=self.z.shape, transform=self.transform, fill=0, dtype="int32")
        return np.asarray(burnt, np.int32)

    def centres(self, row: Any, column: Any) -> tuple[Any, Any]:
        """Coordinates (x, y) of cell centres."""
        return self.left + (np.asarray(column) + 0.5) * self.cell, self.top - (np.asarray(row) + 0.5) * self.cell


class Dem:
    """A DEM that is read window by window; use it in a `with`.

    Parameters
    ----------
    source
        Path of a raster, or a DataArray (y, x) with a CRS; elevation in metres.
    lonlat
        (longitude, latitude) of the area: chooses the UTM zone to which a DEM in degrees is warped (bilinear).
    cell
        Cell size, metres; None is that of the DEM.

    Raises
    ------
    VectorError
        If the file is missing, is no raster, has no CRS, or its cells have no size that makes sense.
    """

    def __init__(
        self, source: str | os.PathLike[str] | xr.DataArray, *, lonlat: tuple[float, float], cell: float | None = None
    ) -> None:
        self._stack = ExitStack()
        try:
            self._open(source, lonlat, cell)
        except BaseException:
            self._stack.close()
            raise

    def _open(self, source: Any, lonlat: tuple[float, float], cell: float | None) -> None:
        import pyproj
        import rasterio
        from rasterio.errors import RasterioError

        self.name = Path(source).stem if isinstance(source, str | os.PathLike) else str(source.name or "DEM")
        try:
            raw = self._stack.enter_context(rasterio.open(self._path(source)))
        except RasterioError as error:
            raise VectorError(f"Cannot read the DEM {source}: {error}; name a raster of elevation") from error
        if raw.crs is None:
            raise VectorError(f"The DEM {self.name} has no CRS: write it with one")
        own = pyproj.CRS.from_user_input(raw.crs.to_wkt())
        metric = own.is_projected and all(axis.unit_name == "metre" for axis in own.axis_info)
        square = np.isclose(raw.transform.a, -raw.transform.e, rtol=1e-6) and raw.transform.b == raw.transform.d == 0
        self.crs: pyproj.CRS = own if metric else _utm(*lonlat)
        self.cell = float(cell or (raw.transform.a if metric and square else self._metric_cell(raw)))
        if not 0.5 <= self.cell <= 1000:
            raise VectorError(f"The DEM {self.name} has cells of {self.cell:g} m: give one of 1 to 1000 m")
        self._raw = raw
        self._direct = bool(metric and square and np.isclose(self.cell, raw.transform.a, rtol=1e-6))

    def _path(self, source: Any) -> Any:
        if isinstance(source, str | os.PathLike):
            if not Path(source).is_file() and "://" not in str(source) and not str(source).startswith("/vsi"):
                raise VectorError(f"There is no DEM {source}: name a raster of elevation")
            return str(source)
        from rasterio.io import MemoryFile

        if source.rio.crs is None:
            raise VectorError("The DEM has no CRS: set it with .rio.write_crs(...)")
        memory = self._stack.enter_context(MemoryFile())
        source.rio.to_raster(memory.name)
        return memory.name

    @staticmethod
    def _metric_cell(raw: Any) -> float:
        if raw.crs.is_geographic:
            return float(round(abs(raw.transform.e) * 111_000, 1))
        return float(round(abs(raw.transform.e) * raw.crs.linear_units_factor[1], 3))

    def __enter__(self) -> Dem:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def read(self, box: Bounds, *, pad: float = 0.0) -> Relief:
        """Read the cells that meet a box, `pad` metres more on every side; outside of the DEM they are NaN."""
        from rasterio.enums import Resampling
        from rasterio.vrt import WarpedVRT
        from rasterio.windows import Window

        anchor_x, anchor_y = (self._raw.transform.c, self._raw.transform.f) if self._direct else (0.0, 0.0)
        first = int(np.floor((box.left - pad - anchor_x) / self.cell))
        last = int(np.ceil((box.right + pad - anchor_x) / self.cell))
        upper = int(np.floor((anchor_y - box.top - pad) / self.cell))
        lower = int(np.ceil((anchor_y - box.bottom + pad) / self.cell))
        shape = (max(1, lower - upper), max(1, last - first))
        made = Relief(np.empty(0, np.float32), anchor_x + first * self.cell, anchor_y - upper * self.cell, self.cell)
        if self._direct:
            window = Window(first, upper, shape[1], shape[0])
            raw = self._raw.read(1, window=window, boundless=True, masked=True, fill_value=np.nan, out_dtype="float32")
        else:
            with WarpedVRT(
                self._raw,
                crs=self.crs.to_wkt(),
                transform=made.transform,
                height=shape[0],
                width=shape[1],
                resampling=Resampling.bilinear,
                dtype="float32",
                nodata=np.nan,
            ) as warped:
                raw = warped.read(1, masked=True)
        z = np.ma.filled(np.ma.asarray(raw, dtype=np.float32), np.nan)
        z[(z < -500) | (z > 9000)] = np.nan  # the fill values that files do not declare
        return Relief(z, made.left, made.top, self.cell)


def _utm(lon: float, lat: float) -> pyproj.CRS:
    import pyproj

    if abs(lat) > 84:
        return pyproj.CRS.from_epsg(6931 if lat > 0 else 6932)
    zone = int((lon + 180) % 360 // 6) + 1
    return pyproj.CRS.from_epsg((32600 if lat >= 0 else 32700) + zone)


def sample(relief: Relief, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the elevation of the cells that points lie in; NaN outside."""
    column = np.floor((x - relief.left) / relief.cell).astype(int)
    row = np.floor((relief.top - y) / relief.cell).astype(int)
    inside = (row >= 0) & (row < relief.z.shape[0]) & (column >= 0) & (column < relief.z.shape[1])
    found = np.full(np.shape(x), np.nan)
    found[inside] = relief.z[row[inside], column[inside]]
    return found
