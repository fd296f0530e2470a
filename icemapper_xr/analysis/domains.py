"""Rasters that say which cell counts where: shares of polygons, domains of glaciers, blocks of the global grid.

A glacier's domain is its polygon grown outward, so that an advance beyond the outline and the soft edge of the map are
counted; it never grows into another glacier's polygon, and ground between two glaciers goes to the nearer one. Domains
stay the same through the years: area change is never mixed with a change of divides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from icemapper_xr import conventions as cv
from icemapper_xr.analysis import areas, cells, projecting
from icemapper_xr.errors import OptionError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["REACH_M", "block_numbers", "glacier_domains", "shares"]

Array = npt.NDArray[np.float64]

REACH_M: Final = 500.0
"""How far a glacier's domain reaches beyond its polygon, metres (a judgement: a decade of retreat or advance)."""
SUPERSAMPLE: Final = 4


def shares(polygons: gpd.GeoDataFrame | gpd.GeoSeries, like: xr.DataArray) -> xr.DataArray:
    """Return the share of each cell that lies inside polygons, lazily if `like` is lazy.

    Parameters
    ----------
    polygons
        Any CRS; where they overlap a cell still counts once.
    like
        Raster with y, x and a CRS; its chunks are taken over.

    Returns
    -------
    xarray.DataArray
        (y, x) float32, 0..1, in steps of 1/16.
    """
    shapes = local_shapes(polygons, like)
    return _raster(_share_block, like, np.float32, shapes).rename("share")


def glacier_domains(
    glaciers: gpd.GeoDataFrame | gpd.GeoSeries, like: xr.DataArray, *, reach: float = REACH_M
) -> xr.DataArray:
    """Number the cells by the glacier they belong to, lazily if `like` is lazy.

    Parameters
    ----------
    glaciers
        One row a glacier, any CRS.
    like
        Raster with y, x and a projected CRS; its chunks are taken over.
    reach
        How far a domain reaches beyond the polygon, in the units of the CRS (metres); 0: the polygon's cells alone.

    Returns
    -------
    xarray.DataArray
        (y, x) int32: row of `glaciers` plus 1, 0 beyond the reach of all. Of two glaciers equally near, and where
        polygons overlap, the earlier row counts.

    Raises
    ------
    OptionError
        The reach is negative or not a number.
    """
    if not 0 <= reach < np.inf:
        raise OptionError(f"reach={reach} m is no distance; {REACH_M:g} is the default, 0 takes the polygons alone")
    return _raster(_domain_block, like, np.int32, local_shapes(glaciers, like), reach).rename("domain")


def block_numbers(like: xr.DataArray, *, size: float) -> tuple[xr.DataArray, npt.NDArray[np.int64]]:
    """Number the cells by the block of the global grid that holds their centre.

    Parameters
    ----------
    like
        Raster with y and x.
    size
        Side of a block; edges on its multiples from the origin of the CRS, as `blocks.blocks` has them.

    Returns
    -------
    xarray.DataArray
        (y, x) int64, 1 ... n; lazy if `like` is.
    numpy.ndarray
        (n, 2) row and column of each block on the global grid, in order: north to south, west to east.

    Raises
    ------
    OptionError
        The size is not above 0.
    """
    if not size > 0:
        raise OptionError(f"size={size} is no size of a block; give metres above 0")
    row = np.floor(-np.asarray(like[cv.Y].values, dtype=np.float64) / size).astype(np.int64)
    column = np.floor(np.asarray(like[cv.X].values, dtype=np.float64) / size).astype(np.int64)
    width = int(column.max() - column.min()) + 1
    down = xr.DataArray(row - row.min(), {cv.Y: like[cv.Y]}, cv.Y)
    across = xr.DataArray(column - column.min(), {cv.X: like[cv.X]}, cv.X)
    if cv.Y in like.chunksizes:
        down, across = down.chunk({cv.Y: like.chunksizes[cv.Y]}), across.chunk({cv.X: like.chunksizes[cv.X]})
    index = np.indices((int(row.max() - row.min()) + 1, width)).reshape(2, -1).T
    return (1 + down * width + across).rename("block"), index + np.array([row.min(), column.min()])


# -- what a block does ------------------------------------------------------------------------------------------------
def _share_block(y: Array, x: Array, dy: float, dx: float, shapes: Any) -> npt.NDArray[np.float32]:
    import shapely

    found = np.zeros((y.size, x.size), np.float32)
    square = shapely.box(*_extent(y, x, dy, dx))
    near = shapes[shapely.intersects(shapes, square)] if len(shapes) else shapes
    if not len(near):
        return found
    union = shapely.union_all(shapely.make_valid(near)) if len(near) > 1 else near[0]
    if shapely.contains(union, square):
        found[:] = 1.0
        return found
    found[:] = areas.share_inside(union, y, x, dy, dx, SUPERSAMPLE)
    return found


def _domain_block(y: Array, x: Array, dy: float, dx: float, shapes: Any, reach: float) -> npt.NDArray[np.int32]:
    """Nearest glacier of each cell. The distance is taken glacier by glacier: exact, whatever the block."""
    import rasterio
    import rasterio.features
    import shapely
    from scipy import ndimage

    number = np.zeros((y.size, x.size), np.int32)
    best = np.full((y.size, x.size), np.inf)
    halo = np.array([np.ceil(reach / abs(dy)), np.ceil(reach / abs(dx))]).astype(int)
    bounds = shapely.bounds(shapes).reshape(-1, 4)
    rows = np.sort((bounds[:, [1, 3]] - y[0]) / dy, axis=1)
    columns = np.sort((bounds[:, [0, 2]] - x[0]) / dx, axis=1)
    for i in np.flatnonzero(~np.isnan(bounds).any(axis=1)):
        r = _window(rows[i], halo[0], y.size)
        c = _window(columns[i], halo[1], x.size)
        if r[0] >= r[1] or c[0] >= c[1]:
            continue
        # Sources up to the reach outside the window of this block's cells can be the nearest.
        top, left = r[0] - halo[0], c[0] - halo[1]
        shape = (r[1] - r[0] + 2 * halo[0], c[1] - c[0] + 2 * halo[1])
        corner = (x[0] + (left - 0.5) * dx, y[0] + (top - 0.5) * dy)
        transform = rasterio.Affine(dx, 0, corner[0], 0, dy, corner[1])
        with areas.RASTERIZE:
            inside = rasterio.features.rasterize([(shapes[i], 1)], out_shape=shape, transform=transform, dtype="uint8")
        if not inside.any():
            continue
        distance = ndimage.distance_transform_edt(inside == 0, sampling=(abs(dy), abs(dx)))
        distance = distance[halo[0] : shape[0] - halo[0], halo[1] : shape[1] - halo[1]]
        part = (slice(*r), slice(*c))
        nearer = (distance <= reach) & (distance < best[part])
        best[part] = np.where(nearer, distance, best[part])
        number[part] = np.where(nearer, i + 1, number[part])
    return number


def _window(span: Array, halo: int, size: int) -> tuple[int, int]:
    return max(int(np.floor(span[0])) - halo, 0), min(int(np.ceil(span[1])) + halo + 1, size)


def _extent(y: Array, x: Array, dy: float, dx: float) -> tuple[float, float, float, float]:
    ys, xs = sorted((y[0] - dy / 2, y[-1] + dy / 2)), sorted((x[0] - dx / 2, x[-1] + dx / 2))
    return xs[0], ys[0], xs[1], ys[1]


# -- the way there ----------------------------------------------------------------------------------------------------
def local_shapes(polygons: gpd.GeoDataFrame | gpd.GeoSeries, like: xr.DataArray) -> Any:
    return np.asarray(projecting.project(polygons, cells.wkt_of(cells.crs_of(like))).values, dtype=object)


def _raster(function: Any, like: xr.DataArray, dtype: Any, shapes: Any, *extra: Any) -> xr.DataArray:
    y, x = (np.asarray(like[dim].values, dtype=np.float64) for dim in (cv.Y, cv.X))
    dy, dx = (cells.spacing(like[dim], dim, signed=True) for dim in (cv.Y, cv.X))
    data: Any
    if cv.Y in like.chunksizes:
        import dask.array as da
        from dask.delayed import delayed

        data = da.map_blocks(
            _from_block,
            da.from_array(y[:, None], chunks=(like.chunksizes[cv.Y], 1)),
            da.from_array(x[None, :], chunks=(1, like.chunksizes[cv.X])),
            shapes=delayed(shapes, pure=True),  # one copy in the graph, not one a block
            function=function,
            steps=(dy, dx),
            extra=extra,
            chunks=(like.chunksizes[cv.Y], like.chunksizes[cv.X]),  # dask's guess is 1 where an axis has one chunk
            dtype=dtype,
            meta=np.empty((0, 0), dtype),
        )
    else:
        data = function(y, x, dy, dx, shapes, *extra)
    return xr.DataArray(data, {cv.Y: like[cv.Y], cv.X: like[cv.X]}, (cv.Y, cv.X))


def _from_block(y: Array, x: Array, *, shapes: Any, function: Any, steps: Sequence[float], extra: Any) -> Any:
    return function(y[:, 0], x[0], *steps, shapes, *extra)
