"""The grid, the chunks and the units of a store. No input or output here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from icemapper_xr import conventions as cv
from icemapper_xr import errors
from icemapper_xr._types import Bounds, Grid, Shape

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Layout", "Unit", "Variable", "area_slices", "moved", "of_result", "pieces", "select_year", "unit_slices"]


class Unit(NamedTuple):
    """One unit of work: its row and column on the store's own lattice of chunks (or shards)."""

    row: int
    column: int


@dataclass(frozen=True)
class Variable:
    """One variable of the store."""

    name: str
    dtype: str
    """numpy's name of the type."""
    attrs: tuple[tuple[str, Any], ...] = ()

    @property
    def fill(self) -> Any:
        """Value outside the area: NaN for floats, else 0."""
        return np.dtype(self.dtype).type(np.nan if np.dtype(self.dtype).kind == "f" else 0)


@dataclass(frozen=True)
class Layout:
    """What the files of a store look like."""

    grid: Grid
    """The stored grid: the area grown outward to whole units."""
    area: Bounds
    """The area asked for."""
    chunk: int
    """Side of a zarr chunk, pixels."""
    shard: int | None
    """Side of a shard, pixels; None for no shards."""
    variables: tuple[Variable, ...]

    @property
    def unit(self) -> int:
        """Side of a unit of work, pixels."""
        return self.shard or self.chunk

    @property
    def units(self) -> Shape:
        """Rows and columns of units."""
        rows, columns = self.grid.shape
        return Shape(rows // self.unit, columns // self.unit)

    @property
    def offset(self) -> Shape:
        """Rows and columns of the stored grid above and left of the area."""
        res = self.grid.resolution
        return Shape(
            round((self.grid.bounds.top - self.area.top) / res), round((self.area.left - self.grid.bounds.left) / res)
        )

    @property
    def area_shape(self) -> Shape:
        """Rows and columns of the area."""
        return Grid(None, "", self.grid.resolution, self.area).shape

    def area_chunks(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Cut the area along the borders of the units: sizes along y and x."""
        return (
            _cut(self.offset.y, self.area_shape.y, self.unit, self.units.y),
            _cut(self.offset.x, self.area_shape.x, self.unit, self.units.x),
        )

    def all_units(self) -> Iterator[Unit]:
        """Iterate over all units, row by row."""
        return (Unit(row, column) for row in range(self.units.y) for column in range(self.units.x))


def _cut(offset: int, size: int, unit: int, count: int) -> tuple[int, ...]:
    edges = np.clip(np.arange(count + 1) * unit - offset, 0, size)
    return tuple(int(n) for n in np.diff(edges))


def area_slices(layout: Layout) -> dict[str, slice]:
    """Where the area lies in the stored grid."""
    (top, left), (rows, columns) = layout.offset, layout.area_shape
    return {cv.Y: slice(top, top + rows), cv.X: slice(left, left + columns)}


def unit_slices(layout: Layout, unit: Unit) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where the part of a unit that lies in the area is, as rows and columns: of the area, and of the stored grid."""
    inside = area_slices(layout)
    stored = [
        slice(max(place * layout.unit, cut.start), min((place + 1) * layout.unit, cut.stop))
        for place, cut in zip(unit, (inside[cv.Y], inside[cv.X]), strict=True)
    ]
    rows, columns = (moved(cut, -by) for cut, by in zip(stored, layout.offset, strict=True))
    return (rows, columns), (stored[0], stored[1])


def moved(cut: slice, by: int) -> slice:
    """Move a slice."""
    return slice(cut.start + by, cut.stop + by)


def select_year(result: xr.Dataset, year: int) -> xr.Dataset:
    """Take one year of a result; one without a `year` dimension is that year's.

    Raises
    ------
    StoreError
        If the result has years, but not this one, or if its attributes are those of another year: its items and dates
        would be stored with the values of this one.
    """
    years = [int(value) for value in result[cv.YEAR].values] if cv.YEAR in result.dims else None
    if years is not None and year not in years:
        raise errors.StoreError(f"The result has the years {years}, not {year}: name one of them")
    told = result.attrs.get(cv.ATTR_YEAR)
    if told is not None and int(told) != year:
        raise errors.StoreError(
            f"the values of {year} have the attributes (item ids, dates) of {int(told)}, as joined years have those of "
            "the first: write each year before joining them, or what was predicted from the cube of that year alone"
        )
    if years is None:
        return result.drop_vars(cv.YEAR, errors="ignore")
    return result.isel({cv.YEAR: years.index(year)}, drop=True)


def of_result(result: xr.Dataset, *, chunk: int, shard: int | None) -> Layout:
    """Lay out the store of a result with dims (y, x).

    Raises
    ------
    StoreError
        If the result has no CRS, no (y, x) variable, or is not on a regular north-up grid with square pixels.
    OptionError
        If `chunk` or `shard` is out of range.
    """
    if chunk < 1:
        raise errors.OptionError(f"chunk={chunk}: the side of a chunk must be at least 1 pixel")
    if shard is not None and (shard < chunk or shard % chunk):
        raise errors.OptionError(f"shard={shard}: must be a multiple of chunk={chunk}")
    variables = tuple(_variables(result))
    if not variables:
        raise errors.StoreError(f"The result has no variable with dims (y, x); it has {sorted(map(str, result))}")
    area = _area_grid(result)
    unit = shard or chunk
    row, column = area.index if _on_lattice(area) else (0, 0)
    above, left = row % unit, column % unit
    rows, columns = (_up(above + area.shape.y, unit), _up(left + area.shape.x, unit))
    res, bounds = area.resolution, area.bounds
    west, north = bounds.left - left * res, bounds.top + above * res
    stored = Bounds(west, north - rows * res, west + columns * res, north)
    return Layout(Grid(area.epsg, area.wkt, res, stored), bounds, chunk, shard, variables)


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _on_lattice(grid: Grid) -> bool:
    """Whether the edges are multiples of the resolution; if not, the grid is anchored at its own corner."""
    edges = (grid.bounds.left / grid.resolution, grid.bounds.top / grid.resolution)
    return all(abs(edge - round(edge)) < 1e-6 for edge in edges)


def _variables(result: xr.Dataset) -> Iterator[Variable]:
    for name, data in result.data_vars.items():
        if not {cv.Y, cv.X} <= set(data.dims):
            continue  # a variable without the grid has no chunk in a unit
        if set(data.dims) != {cv.Y, cv.X}:
            raise errors.StoreError(f"Variable {name!r} has dims {data.dims}, expected ('y', 'x'): drop or reduce it")
        attrs = {**cv.VARIABLE_ATTRIBUTES.get(str(name), {}), **data.attrs}
        kept = {k: v for k, v in attrs.items() if k not in {"grid_mapping", "_FillValue", "coordinates"}}
        yield Variable(str(name), str(data.dtype), tuple(sorted(kept.items())))


def _area_grid(result: xr.Dataset) -> Grid:
    import pyproj
    import rioxarray  # noqa: F401  (registers .rio)

    crs = result.rio.crs
    if crs is None:
        raise errors.StoreError("The result has no CRS: set it with result.rio.write_crs(...)")
    wkt = pyproj.CRS.from_user_input(crs.to_wkt()).to_wkt()
    area = result.attrs.get(cv.ATTR_AREA)
    xres, x0 = _axis(result, cv.X, None if area is None else (area[0], area[2]))
    yres, y0 = _axis(result, cv.Y, None if area is None else (area[3], area[1]))
    if yres >= 0 or xres <= 0 or not math.isclose(xres, -yres, rel_tol=1e-9):
        raise errors.StoreError(
            f"The grid's steps are x {xres:g}, y {yres:g}: expected square pixels, x ascending and y descending; "
            "resample the result first"
        )
    left, top = x0 - xres / 2, y0 + xres / 2
    bounds = Bounds(left, top - result.sizes[cv.Y] * xres, left + result.sizes[cv.X] * xres, top)
    return Grid(crs.to_epsg(), wkt, xres, bounds)


def _axis(result: xr.Dataset, name: str, edges: Sequence[float] | None) -> tuple[float, float]:
    """Step and first pixel centre of an axis."""
    if name not in result.coords or not result.sizes[name]:
        raise errors.StoreError(f"The result has no pixel along {name!r}: an empty area cannot be stored")
    values = np.asarray(result[name].values, dtype=float)
    if values.size > 1:
        step = float((values[-1] - values[0]) / (values.size - 1))
        if np.abs(np.diff(values) - step).max() > 1e-6 * abs(step):
            raise errors.StoreError(f"The coordinate {name!r} is not regular: resample the result first")
    elif edges is not None:
        step = float(edges[1] - edges[0])
    else:
        raise errors.StoreError(f"A result with one pixel along {name!r} needs the attribute {cv.ATTR_AREA!r}")
    return round(step, 9), float(values[0])


def pieces(units: Sequence[Unit], size: int, *, workers: int = 1) -> Iterator[tuple[Unit, ...]]:
    """Cut units into groups of neighbours, at most `size` each: as few rows as keep all workers busy.

    A group reads the row below, too, for what its windows see of it, so that single rows are read twice. Squares read
    less, but the blocks that Dask holds for them at a time grow with their side, and with them the memory by a third.
    """
    if not units:
        return
    first_row, first_column = (min(along) for along in zip(*units, strict=True))
    columns = max(unit.column for unit in units) - first_column + 1
    height = max(1, min(math.ceil(workers / columns), size // columns))
    width = size // height
    groups: dict[tuple[int, int], list[Unit]] = {}
    for unit in units:
        groups.setdefault(((unit.row - first_row) // height, (unit.column - first_column) // width), []).append(unit)
    for key in sorted(groups):
        yield tuple(groups[key])
