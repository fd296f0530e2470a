"""Square blocks on the global grid, cut to a region: what both bootstraps resample.

Block edges lie on multiples of the block's size from the origin of the CRS, so that two regions, two years and two
people get the same blocks. At the region's edge a block counts with its exact share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from icemapper_xr.analysis import projecting
from icemapper_xr.errors import AnalysisError, OptionError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["TILE_SIZE", "blocks"]

TILE_SIZE: Final = 3200.0
"""Side of the published bootstrap's tiles, metres (Maslov et al. 2025, doi:10.31223/X5472T)."""
_DIRECT: Final = 6
"""Squares along an axis that are cut at once."""
_FEW: Final = 200
"""Vertices of a polygon that is cut at once whatever its size."""


def blocks(
    region: gpd.GeoDataFrame | gpd.GeoSeries, *, size: float = TILE_SIZE, crs: Any = None, clip: bool = True
) -> gpd.GeoDataFrame:
    """Cut a region into square blocks.

    Parameters
    ----------
    region
        Polygons, which must not overlap; any CRS.
    size
        Side of a block in the units of `crs`; 3200 m in the publication. `variogram.block_length` proposes one.
    crs
        Projected CRS of the blocks; None takes the region's.
    clip
        Whether the geometry is the block's part inside the region (for areas of the region alone), or the whole
        square (as in the publication, where every tile that meets the area of interest counts whole).

    Returns
    -------
    geopandas.GeoDataFrame
        `row`, `column` (grid index from the origin of the CRS, rows counted from north to south), `fraction` (share
        of the square inside the region, above 0) and the geometry; row by row from north to south, in a row from
        west to east. This order is part of the published method: its draws depend on it.

    Raises
    ------
    AnalysisError
        The region has no CRS, or the CRS is geographic.
    OptionError
        The size is not above 0.
    """
    import geopandas as gpd
    import shapely

    if region.crs is None:
        raise AnalysisError("the region has no CRS; set the one it is in with region.set_crs(...)")
    local = region.geometry if crs is None else projecting.project(region, crs)
    if local.crs.is_geographic:
        raise AnalysisError(f"blocks need a projected CRS, {local.crs.name!r} is in degrees; pass crs=")
    if not size > 0:
        raise OptionError(f"size={size} is no size of a block; {TILE_SIZE:g} m is that of the publication")
    shapes = np.asarray(local.values, dtype=object)
    shapes = shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))]
    pieces = [_pieces(shape, size) for shape in shapes]
    if not pieces:
        empty: dict[str, Any] = {"row": np.empty(0, int), "column": np.empty(0, int), "fraction": np.empty(0)}
        return gpd.GeoDataFrame(empty, geometry=gpd.GeoSeries([], crs=local.crs), crs=local.crs)
    index = np.concatenate([p[0] for p in pieces])
    parts = np.concatenate([p[1] for p in pieces])
    cells, which = np.unique(index, axis=0, return_inverse=True)
    which = which.reshape(-1)
    fraction = np.minimum(np.bincount(which, weights=shapely.area(parts)) / size**2, 1.0)
    if clip:
        order = np.argsort(which, kind="stable")
        groups = np.split(parts[order], np.flatnonzero(np.diff(which[order])) + 1)
        geometry = [group[0] if len(group) == 1 else shapely.union_all(group) for group in groups]
    else:
        geometry = list(_squares(cells, size))
    columns = {"row": cells[:, 0], "column": cells[:, 1], "fraction": fraction}
    return gpd.GeoDataFrame(columns, geometry=geometry, crs=local.crs)


def _squares(index: Any, size: float) -> Any:
    import shapely

    row, column = index[:, 0].astype(np.float64), index[:, 1].astype(np.float64)
    return shapely.box(column * size, -(row + 1) * size, (column + 1) * size, -row * size)


def _pieces(shape: Any, size: float) -> tuple[Any, Any]:
    """(row, column) of the squares that share area with one polygon, and what they share."""
    import shapely

    left, bottom, right, top = shapely.bounds(shape) / size
    first, last = (int(np.floor(-top)), int(np.floor(left))), (int(np.ceil(-bottom)), int(np.ceil(right)))
    rows, columns = last[0] - first[0], last[1] - first[1]
    if max(rows, columns) > _DIRECT and shapely.get_num_coordinates(shape) > _FEW:
        # Halve along a grid line first: every square cut out of 40 000 vertices would look at all of them.
        if rows >= columns:
            line = -(first[0] + rows // 2) * size
            halves = (left * size, line, right * size, top * size), (left * size, bottom * size, right * size, line)
        else:
            line = (first[1] + columns // 2) * size
            halves = (left * size, bottom * size, line, top * size), (line, bottom * size, right * size, top * size)
        cut = [_polygonal(shapely.intersection(shape, shapely.box(*half))) for half in halves]
        found = [_pieces(part, size) for part in cut if not shapely.is_empty(part)]
        return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])
    row, column = np.meshgrid(np.arange(first[0], last[0]), np.arange(first[1], last[1]), indexing="ij")
    index = np.c_[row.ravel(), column.ravel()]
    parts = shapely.intersection(shape, _squares(index, size))
    parts = np.array([_polygonal(part) for part in parts], dtype=object)
    some = shapely.area(parts) > 0
    return index[some], parts[some]


def _polygonal(shape: Any) -> Any:
    """Leave out the points and lines in which a polygon only touches a square."""
    import shapely

    if shapely.get_type_id(shape) != shapely.GeometryType.GEOMETRYCOLLECTION:
        return shape
    parts = shapely.get_parts(shape)
    return shapely.multipolygons(shapely.get_parts(parts[shapely.get_dimensions(parts) == 2]))
