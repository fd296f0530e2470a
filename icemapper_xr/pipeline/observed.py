"""Whether a map observed the ground of a polygon: ice that nobody looked for is neither gone nor new."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from icemapper_xr import conventions as cv
from icemapper_xr import store
from icemapper_xr.pipeline import sheets, tiled
from icemapper_xr.pipeline.sheets import Sheet

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

__all__ = ["LEAST_SHARE", "shares", "sheets_of"]

LEAST_SHARE: Final = 0.5
"""Ground counts as observed in a year if at least this share of it was (a judgement)."""
_SAMPLES: Final = 512
"""Pixels looked at along a side of a polygon: a share needs no more, whatever the ice cap."""


def sheets_of(folder: Path, year: int) -> Sequence[Sheet]:
    """Return the rasters of a year; none where the folder has no map of it.

    Raises
    ------
    StoreError
        The year is not finished.
    """
    if tiled.is_region(folder):
        known = {one for facts in tiled.provenances(folder).values() for one in facts["years"]}
        return sheets.of_region(folder, [year]).sheets if year in known else ()
    cube = store.cube_of(folder)
    there = store.exists(cube) and year in store.status(cube)
    return sheets.of_store(cube, [year]).sheets if there else ()


def shares(polygons: gpd.GeoSeries, there: Sequence[Sheet], year: int) -> npt.NDArray[np.float64]:
    """Return the share of each polygon that has a probability in a year, 0 outside the rasters."""
    found = np.zeros(len(polygons))
    for sheet in there:
        near = np.flatnonzero(sheet.near(polygons.to_frame("geometry"), 0.0))
        plane = sheet.probability.sel({cv.YEAR: year})
        local = polygons.iloc[near].to_crs(plane.rio.crs.to_wkt()).to_numpy()
        good = np.isfinite(shapely.bounds(local)).all(axis=1)  # the far side of the Earth is nowhere
        if not good.any():
            continue
        counted = sheet.cut(None)
        extent = shapely.box(*plane.rio.bounds())
        if counted is not None:
            extent = extent.intersection(counted.iloc[0])
        with sheet.reading():
            for number, polygon in zip(near[good], local[good], strict=True):
                whole = shapely.make_valid(polygon)
                found[number] += _seen(plane, whole.intersection(extent)) / whole.area
    return found


def _seen(plane: xr.DataArray, shape: Any) -> float:
    """Area of a shape within the raster that has a probability, m2; by a sample of its pixels."""
    if not shape.area > 0:
        return 0.0
    left, bottom, right, top = shape.bounds
    size = abs(plane.rio.resolution()[0])
    inside = plane.sel({cv.X: slice(left - size, right + size), cv.Y: slice(top + size, bottom - size)})
    step = max(1, max(inside.shape) // _SAMPLES)
    window = inside.isel({cv.Y: slice(step // 2, None, step), cv.X: slice(step // 2, None, step)})
    x, y = np.meshgrid(window[cv.X].values, window[cv.Y].values)
    shapely.prepare(shape)
    within = np.asarray(shapely.contains_xy(shape, x, y))
    there = np.isfinite(window.values)
    # one narrower than the distance of pixels holds none: those around it tell
    return float((there[within] if within.any() else there).mean() * shape.area)
