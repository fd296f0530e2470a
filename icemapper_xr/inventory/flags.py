"""What may not be a glacier: sea ice in front of one, and patches of snow."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from icemapper_xr import conventions as cv
from icemapper_xr._types import Bounds
from icemapper_xr.errors import OptionError, VectorError
from icemapper_xr.inventory import shapes
from icemapper_xr.inventory.elevation import Relief, beneath

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["MARINE_M", "SEA_KM2", "SNOW_KM2", "sea_area_km2", "sea_ice_suspects", "snow_suspects", "termini"]

SNOW_KM2: Final = 0.1
"""Bodies below this may be perennial snow (a judgement; Paul et al. 2009 doubt outlines below 0.1 km2)."""
SEEN_SHARE: Final = 0.3
"""A body is seen in another year if that year's ice covers this share of it."""
FEW_YEARS: Final = 3
"""With fewer years than this, years cannot tell snow from ice: all small bodies are suspects."""
SEA_KM2: Final = 0.05
"""Ice over the sea above this area is a suspect (a judgement): fast ice, melange, or an advance since the DEM."""
KNOWN_SHARE: Final = 0.5
"""Of an outline the DEM has to know at least this share to tell whether it lies over the sea (a judgement)."""
MARINE_M: Final = 100.0
"""A glacier ends in the sea if at least this much of its margin borders on it, metres."""


def snow_suspects(outlines: gpd.GeoDataFrame, *, mapped: Collection[int] | None = None) -> gpd.GeoDataFrame:
    """Flag bodies that are small and seen in few years.

    Parameters
    ----------
    outlines
        Columns `year` and `area_km2`.
    mapped
        Years that were mapped, also those in which no ice was found; None: those of the outlines.

    Returns
    -------
    geopandas.GeoDataFrame
        With `years_seen` (years whose ice covers at least 30 % of the body, its own counted; missing for bodies of
        0.1 km2 and more) and `snow_suspect`: below 0.1 km2, and seen in at most half of the years, or fewer than
        three years were mapped.
    """
    small = np.flatnonzero(outlines["area_km2"].to_numpy(dtype=float) < SNOW_KM2)
    years = sorted({int(year) for year in outlines[cv.YEAR].dropna()}) or [0]
    year_of = outlines[cv.YEAR].fillna(0).to_numpy(dtype=int)
    flat = np.asarray(outlines.geometry.to_crs(shapes.plane_of(outlines)).values, dtype=object)
    seen = np.zeros(len(outlines), int)
    for year in years:
        ice = flat[year_of == year]
        if small.size and ice.size:
            i, j = shapely.STRtree(ice).query(flat[small], predicate="intersects")
            shared = np.bincount(i, shapely.area(shapely.intersection(flat[small][i], ice[j])), minlength=small.size)
            seen[small] += shared >= SEEN_SHARE * shapely.area(flat[small])
    count = len(years) if mapped is None else len(set(mapped) | set(years))
    suspect = np.zeros(len(outlines), bool)
    suspect[small] = (count < FEW_YEARS) | (seen[small] <= count / 2)
    counted = pd.array([pd.NA] * len(outlines), dtype="Int16")
    counted[small] = seen[small]
    return outlines.assign(years_seen=counted, snow_suspect=suspect)


def sea_area_km2(outlines: gpd.GeoDataFrame, dem: Any, *, sea_level: float = 0.0) -> npt.NDArray[np.float64]:
    """Return the area of each polygon over the sea: cells at or below the sea level; unknown cells are not counted.

    Missing where the DEM knows less than half of a polygon: 0 would say that it looked.

    Raises
    ------
    VectorError
        If the DEM knows no cell beneath any polygon.

    Warns
    -----
    UserWarning
        How many the DEM does not cover.
    """
    found, known = np.zeros(len(outlines)), np.ones(len(outlines))
    for number, relief, cells, _ in _windows(outlines, dem, sea_level):
        found[number] = float((cells & (relief.z <= sea_level)).sum()) * relief.cell**2 / 1e6
        body = cells if cells.any() else np.ones_like(cells)
        known[number] = float(np.isfinite(relief.z[body]).mean())
    _tell_unknown(known, dem)
    return np.where(known < KNOWN_SHARE, np.nan, found)


def _tell_unknown(known: npt.NDArray[np.float64], dem: Any) -> None:
    what = dem if isinstance(dem, str | os.PathLike) else "that was given"
    if known.size and not known.any():
        raise VectorError(f"The DEM {what} covers none of the {known.size} outlines: give one of their place")
    few = int((known < KNOWN_SHARE).sum())
    if few:
        warnings.warn(
            f"The DEM {what} covers less than half of {few} of {known.size} outlines: whether these lie over the sea "
            "is missing; give one that covers them",
            stacklevel=3,
        )


def sea_ice_suspects(outlines: gpd.GeoDataFrame, dem: Any, *, sea_level: float = 0.0) -> gpd.GeoDataFrame:
    """Flag outlines that lie over the sea, in part or as a whole.

    Parameters
    ----------
    outlines
        Polygons.
    dem
        Path of a DEM or a DataArray, whose sea is at or below `sea_level`.
    sea_level
        Metres in the DEM's own heights: 0 above a geoid, some tens of metres above the ellipsoid.

    Returns
    -------
    geopandas.GeoDataFrame
        With `sea_km2` and `sea_ice_suspect` (more than 0.05 km2 over the sea), both as `sea_area_km2`: missing, and
        not suspect, where the DEM knows too little.
    """
    area = sea_area_km2(outlines, dem, sea_level=sea_level)
    return outlines.assign(sea_km2=area, sea_ice_suspect=area > SEA_KM2)


def termini(outlines: gpd.GeoDataFrame, dem: Any, *, sea_level: float = 0.0) -> list[str]:
    """Tell how each ends.

    "marine" if it borders on the sea, or lies over it, for at least 100 m of its margin; "unknown" if the DEM lacks it
    or 100 m beside it; else "land".
    """
    found = []
    for _, relief, cells, ring in _windows(outlines, dem, sea_level):
        low, gaps = relief.z <= sea_level, np.isnan(relief.z)
        if any(float((part & low).sum()) * relief.cell >= MARINE_M for part in (ring, cells)):
            found.append("marine")
        elif float((ring & gaps).sum()) * relief.cell >= MARINE_M or (cells.any() and gaps[cells].all()):
            found.append("unknown")  # many DEMs have no value over the sea
        else:
            found.append("land")
    return found


def _windows(outlines: gpd.GeoDataFrame, dem: Any, sea_level: float) -> Any:
    """Iterate over (row, window of the DEM, cells inside, cells just outside).

    Ice so narrow that it lies between the centres of cells has none inside; outside are those around what it touches.
    """
    from scipy import ndimage

    if not np.isfinite(sea_level):
        raise OptionError(f"sea_level={sea_level}: give a height in metres")
    for number, (source, shape) in enumerate(beneath(dem, outlines, "Sea")):
        relief: Relief = source.read(Bounds(*shape.bounds), pad=3 * source.cell)
        cells = relief.burn([shape]) > 0
        body = cells if cells.any() else relief.burn([shape], all_touched=True) > 0
        ring = ndimage.binary_dilation(ndimage.binary_fill_holes(body), np.ones((3, 3), bool)) & ~body
        yield number, relief, cells, ring
