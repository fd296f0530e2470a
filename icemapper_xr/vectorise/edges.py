"""Which polygons end where the data end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import shapely

from icemapper_xr import conventions as cv
from icemapper_xr.vectorise import outlines as drawing

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

__all__ = ["at_data_edge"]


def at_data_edge(result: xr.Dataset | xr.DataArray, polygons: gpd.GeoDataFrame) -> npt.NDArray[np.bool_]:
    """Tell for each polygon, which may be a piece of an outline, whether the data end along it.

    Parameters
    ----------
    result
        What the outlines were drawn from, of one year or with years.
    polygons
        Single polygons with a column `year`.

    Returns
    -------
    numpy.ndarray
        Whether one of the four pixels around some vertex was not observed or lies outside the raster.
    """
    found = np.zeros(len(polygons), bool)
    if not len(polygons):
        return found
    years = polygons[cv.YEAR].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    data = drawing.probability_of(result)
    flat = np.asarray(polygons.geometry.to_crs(data.rio.crs).values, dtype=object)
    for year, plane in drawing.planes_of(data, None):
        mine = np.arange(len(polygons)) if year is None else np.flatnonzero(years == year)
        pixels = plane.transpose(cv.Y, cv.X)
        (x0, dx), (y0, dy) = drawing.axes_of(pixels)
        for number in mine:
            coordinates = shapely.get_coordinates(flat[number])
            column = np.floor((coordinates[:, 0] - x0) / dx + 1e-6).astype(int)
            row = np.floor((coordinates[:, 1] - y0) / dy + 1e-6).astype(int)
            found[number] = _missing(pixels, row, column)
    return found


def _missing(plane: xr.DataArray, row: npt.NDArray[np.int_], column: npt.NDArray[np.int_]) -> bool:
    rows, columns = plane.shape
    if row.min() < 0 or column.min() < 0 or row.max() + 1 >= rows or column.max() + 1 >= columns:
        return True
    top, left = int(row.min()), int(column.min())
    window = np.isnan(plane[top : row.max() + 2, left : column.max() + 2].values)
    row, column = row - top, column - left
    return bool(any(window[row + i, column + j].any() for i in (0, 1) for j in (0, 1)))
