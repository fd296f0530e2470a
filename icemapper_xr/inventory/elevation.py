"""Elevation for glaciers: windows of a DEM on a metric grid."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from icemapper_xr import addresses, progress
from icemapper_xr._types import Bounds, FloatArray
from icemapper_xr.errors import VectorError
from icemapper_xr.lonlat import METRES_PER_DEGREE
from icemapper_xr.plane import stretch

if TYPE_CHECKING:
    import geopandas as gpd
    import pyproj
    import xarray as xr

__all__ = ["CELLS", "TRUE_TO_SCALE", "Dem", "Relief", "beneath", "metres", "sample", "stretch", "utm"]

CELLS: Final = (0.5, 1000.0)
"""Sizes of a cell that are taken, metres: finer ones fill the memory, coarser ones hold no slope of a glacier."""
TRUE_TO_SCALE: Final = 0.005
"""How far a length in a CRS may be off that on the ground for slopes and lengths to be measured in it (1 % of area)."""
_UNITS: Final = (
    dict.fromkeys(("", "m", "metre", "meter", "metres", "meters"), 1.0)
    | dict.fromkeys(("ft", "foot", "feet"), 0.3048)
    | dict.fromkeys(("us-ft", "us survey foot", "us survey feet"), 1200 / 3937)
)
"""Units of a band that are understood, in metres; a band without one is in metres."""


_PLAUSIBLE: Final = (-500.0, 9000.0)
"""Heights of the Earth's surface, metres; what lies beyond is a fill value that the file does not declare."""
_TILE: Final = 256
"""Side, in cells, of what is warped at once: it bounds what is read of a DEM far finer than the cells."""


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

    def burn(self, geometries: Any, values: Any = None, *, all_touched: bool = False) -> npt.NDArray[np.int32]:
        """Rasterise polygons by cell centres (or all cells they touch): 1, or the values given, inside, 0 outside."""
        from rasterio.features import rasterize

        numbers = [1] * len(geometries) if values is None else [int(value) for value in values]
        if not numbers:
            return np.zeros(self.z.shape, np.int32)
        pairs = zip(geometries, numbers, strict=True)
        burnt = rasterize(pairs, self.z.shape, transform=self.transform, fill=0, all_touched=all_touched, dtype="int32")
        return np.asarray(burnt, np.int32)

    def centres(self, row: Any, column: Any) -> tuple[Any, Any]:
        """Coordinates (x, y) of cell centres."""
        return self.left + (np.asarray(column) + 0.5) * self.cell, self.top - (np.asarray(row) + 0.5) * self.cell


class Dem:
    """A DEM that is read window by window; use it in a `with`.

    Parameters
    ----------
    source
        Path of a raster, or a DataArray (y, x) with a CRS; elevation in metres, or in feet where the band says so.
    lonlat
        (longitude, latitude) of the area: chooses the UTM zone to which a DEM in degrees, or in a CRS that is not true
        to scale there (web Mercator; polar stereographic far from its parallel), is warped (bilinear).
    cell
        Cell size, metres; None is that of the DEM.

    Raises
    ------
    VectorError
        If the file is missing, is no raster, has no CRS, a unit that is not understood, or cells of no size that makes
        sense.
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
        self._raw, self._given = raw, cell
        unit = None if isinstance(source, str | os.PathLike) else source.attrs.get("units")  # to_raster drops it
        self._factor, self._offset = metres(raw, f"the DEM {self.name}", unit=unit)
        self._own = pyproj.CRS.from_user_input(raw.crs.to_wkt())
        self._proj = pyproj.Proj(self._own)
        self._metric = self._own.is_projected and all(axis.unit_name == "metre" for axis in self._own.axis_info)
        self.settle(lonlat)

    def settle(self, lonlat: tuple[float, float]) -> None:
        """Choose the plane and the cells anew, for another place."""
        raw = self._raw
        square = np.isclose(raw.transform.a, -raw.transform.e, rtol=1e-6) and raw.transform.b == raw.transform.d == 0
        self.crs: pyproj.CRS = self.plane_at(lonlat)
        own = self.crs is self._own
        self.cell = float(self._given or (raw.transform.a if own and square else self._ground_cell(lonlat)))
        if not CELLS[0] <= self.cell <= CELLS[1]:
            raise VectorError(f"The DEM {self.name} has cells of {self.cell:g} m: give one of 1 to 1000 m")
        self._direct = bool(own and square and np.isclose(self.cell, raw.transform.a, rtol=1e-6))

    def plane_at(self, lonlat: tuple[float, float]) -> pyproj.CRS:
        """Return the DEM's own CRS where it is metric and true to scale, else that of the UTM zone."""
        true = self._metric and abs(stretch(self._proj, lonlat) - 1) <= TRUE_TO_SCALE
        return self._own if true else utm(*lonlat)

    def _path(self, source: Any) -> Any:
        if isinstance(source, str | os.PathLike):
            if not addresses.is_remote(source) and not addresses.local_path(source).is_file():
                raise VectorError(f"There is no DEM {source}: name a raster of elevation")
            return addresses.for_gdal(source)
        from rasterio.io import MemoryFile

        if source.rio.crs is None:
            raise VectorError("The DEM has no CRS: set it with .rio.write_crs(...)")
        memory = self._stack.enter_context(MemoryFile())
        source.rio.to_raster(memory.name)
        return memory.name

    def _ground_cell(self, lonlat: tuple[float, float]) -> float:
        """Size of a cell on the ground, metres."""
        size = abs(self._raw.transform.e)
        if self._raw.crs.is_geographic:
            return float(round(size * METRES_PER_DEGREE, 1))
        # Far outside of a DEM's zone the factor makes no sense; that the DEM does not cover the ice is told later.
        factor = np.clip(stretch(self._proj, lonlat), 0.2, 20.0)
        return float(round(size * self._raw.crs.linear_units_factor[1] / factor, 3))

    def __enter__(self) -> Dem:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def read(self, box: Bounds, *, pad: float = 0.0) -> Relief:
        """Read the cells that meet a box, `pad` metres more on every side; outside of the DEM they are NaN."""
        anchor_x, anchor_y = (self._raw.transform.c, self._raw.transform.f) if self._direct else (0.0, 0.0)
        first = int(np.floor((box.left - pad - anchor_x) / self.cell))
        last = int(np.ceil((box.right + pad - anchor_x) / self.cell))
        upper = int(np.floor((anchor_y - box.top - pad) / self.cell))
        lower = int(np.ceil((anchor_y - box.bottom + pad) / self.cell))
        shape = (max(1, lower - upper), max(1, last - first))
        made = Relief(np.empty(0, np.float32), anchor_x + first * self.cell, anchor_y - upper * self.cell, self.cell)
        z = self._heights(first, upper, shape) if self._direct else self._warped(made.transform, shape)
        return Relief(z, made.left, made.top, self.cell)

    def _heights(self, column: int, row: int, shape: tuple[int, int]) -> FloatArray:
        """Read pixels of the raster itself, metres; NaN outside of it and where they are no heights."""
        from rasterio.windows import Window

        z = np.full(shape, np.nan, np.float32)
        top, left = max(row, 0), max(column, 0)
        rows, columns = min(row + shape[0], self._raw.height) - top, min(column + shape[1], self._raw.width) - left
        if rows > 0 and columns > 0:
            # Not boundless: filled with NaN it takes nodata for heights, and of a turned raster it reads other cells.
            window = Window(left, top, columns, rows)
            raw = self._raw.read(1, window=window, masked=True, fill_value=np.nan, out_dtype="float32")
            z[top - row :, left - column :][:rows, :columns] = raw.filled()
        z *= np.float32(self._factor)
        z += np.float32(self._offset)
        z[(z < _PLAUSIBLE[0]) | (z > _PLAUSIBLE[1])] = np.nan
        return z

    def _warped(self, transform: Any, shape: tuple[int, int]) -> FloatArray:
        """Warp the raster's heights onto a grid.

        What is no height is taken out of the raster's own pixels: once fill values are mixed into those around them,
        nothing tells them from terrain.
        """
        import pyproj
        from affine import Affine
        from rasterio.enums import Resampling
        from rasterio.warp import reproject

        to_own = pyproj.Transformer.from_crs(self.crs, self._own, always_xy=True)
        z = np.full(shape, np.nan, np.float32)
        for row, column in itertools.product(range(0, shape[0], _TILE), range(0, shape[1], _TILE)):
            part = z[row : row + _TILE, column : column + _TILE]
            onto = transform * Affine.translation(column, row)
            beneath = self._beneath(part.shape, onto, to_own)
            if beneath is None:
                continue
            heights, own = beneath
            reproject(
                heights,
                part,
                src_transform=own,
                src_crs=self._raw.crs,
                src_nodata=np.nan,
                dst_transform=onto,
                dst_crs=self.crs.to_wkt(),
                dst_nodata=np.nan,
                resampling=Resampling.bilinear,
            )
        return z

    def _beneath(self, shape: tuple[int, ...], onto: Any, to_own: pyproj.Transformer) -> tuple[FloatArray, Any] | None:
        """Read the raster's heights under a grid, and their transform; None where it does not lie.

        A raster in degrees goes on at the meridian opposite to its middle with its first column.
        """
        from affine import Affine

        y, x = (np.linspace(0, size, 9) for size in shape)
        column, row = ~self._raw.transform * to_own.transform(*(onto * np.meshgrid(x, y)))
        seen = np.isfinite(column) & np.isfinite(row)
        column, row = column[seen], row[seen]
        if not column.size:
            return None
        turn = 0
        if self._raw.crs.is_geographic and self._raw.transform.b == self._raw.transform.d == 0:
            turn = round(360 / self._raw.transform.a)
            column = column % turn
            if np.ptp(column) > turn / 2:
                column = np.where(column < turn / 2, column + turn, column)
        # A bilinear kernel reaches one cell, of the coarser of both grids.
        reach = 2 + int(np.ceil(max(np.ptp(column), np.ptp(row)) / min(shape)))
        (left, right), (upper, lower) = (
            (int(np.floor(of.min())) - reach, int(np.ceil(of.max())) + reach) for of in (column, row)
        )
        heights = self._heights(left, upper, (lower - upper, right - left))
        for around in (turn, -turn) if turn else ():
            if left + around < self._raw.width and right + around > 0:
                there = self._heights(left + around, upper, heights.shape)
                np.copyto(heights, there, where=np.isnan(heights))
        own = self._raw.transform * Affine.translation(left, upper)
        if turn:  # degrees that GDAL takes for these places
            middle = own.c + own.a * (right - left) / 2
            own = Affine.translation(-360 * np.floor((middle + 180) / 360), 0) * own
        return (heights, own) if np.isfinite(heights).any() else None

    def reaches(self, relief: Relief) -> npt.NDArray[np.bool_]:
        """Tell which cells of a window lie within the raster, whether they have an elevation or not."""
        import pyproj

        row, column = np.indices(relief.z.shape)
        x, y = relief.centres(row, column)
        if self.crs is not self._own:
            x, y = pyproj.Transformer.from_crs(self.crs, self._own, always_xy=True).transform(x, y)
        column, row = ~self._raw.transform * (x, y)
        return np.asarray((column >= 0) & (column < self._raw.width) & (row >= 0) & (row < self._raw.height))


def beneath(source: Any, glaciers: gpd.GeoDataFrame, label: str) -> Iterator[tuple[Dem, Any]]:
    """Iterate over (DEM, polygon) of each glacier, in order, both on a plane that is true to scale there.

    Parameters
    ----------
    source
        As of `Dem`.
    glaciers
        Polygons, any CRS; each has the plane of its own place, so that they may lie in many zones.
    label
        Of the progress bar.
    """
    if not len(glaciers):
        return
    box = glaciers.to_crs(4326).bounds.to_numpy()
    places = [(float(west), float(south + north) / 2) for west, south, _, north in box]  # right on both sides of 180
    with Dem(source, lonlat=places[0]) as dem:
        planes = [dem.plane_at(place) for place in places]
        flat = np.empty(len(planes), dtype=object)
        for plane in {id(plane): plane for plane in planes}.values():  # equality of CRS takes long
            rows = [number for number, one in enumerate(planes) if one is plane]
            flat[rows] = np.asarray(glaciers.geometry.iloc[rows].to_crs(plane).values, dtype=object)
        for number in progress.track(range(flat.size), label):
            dem.settle(places[number])
            yield dem, flat[number]


def metres(raster: Any, what: str, *, unit: str | None = None) -> tuple[float, float]:
    """Return the factor and the offset that make metres of the numbers in a raster's first band.

    Parameters
    ----------
    raster
        Opened with rasterio.
    what
        What it is, for messages.
    unit
        Of the numbers, where the band does not tell.

    Raises
    ------
    VectorError
        If the band's unit is not understood.
    """
    told = raster.units[0] or unit or ""
    size = _UNITS.get(str(told).strip().casefold())
    if size is None:
        raise VectorError(
            f"{what} has heights in {told!r}: give one in metres or feet, or name the unit, for example with "
            "`gdal_edit.py -units m`"
        )
    return raster.scales[0] * size, raster.offsets[0] * size


def utm(lon: float, lat: float) -> pyproj.CRS:
    """Return the UTM zone of a place, polar equal-area planes beyond 84 degrees."""
    # A plane to measure in, not one to share a grid: so the zone of six degrees, not the wide ones of Svalbard.
    if abs(lat) > 84:
        return _epsg(6931 if lat > 0 else 6932)
    zone = int((lon + 180) % 360 // 6) + 1
    return _epsg((32600 if lat >= 0 else 32700) + zone)


@functools.cache
def _epsg(code: int) -> pyproj.CRS:
    import pyproj

    return pyproj.CRS.from_epsg(code)


def sample(relief: Relief, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the elevation of the cells that points lie in; NaN outside."""
    column = np.floor((x - relief.left) / relief.cell).astype(int)
    row = np.floor((relief.top - y) / relief.cell).astype(int)
    inside = (row >= 0) & (row < relief.z.shape[0]) & (column >= 0) & (column < relief.z.shape[1])
    found = np.full(np.shape(x), np.nan)
    found[inside] = relief.z[row[inside], column[inside]]
    return found
