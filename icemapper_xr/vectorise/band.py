"""How wide a margin is: outlines at a low and a high probability around those at the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from icemapper_xr import conventions as cv
from icemapper_xr import errors
from icemapper_xr.vectorise import outlines as drawing

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

__all__ = ["BAND_COLUMNS", "LEVELS", "Band", "band"]

LEVELS: Final = (0.05, 0.95)
"""Probabilities of the outer and the inner outline."""
BAND_COLUMNS: Final = ("half_width_m", "area_low_km2", "area_high_km2")
"""What a band adds to outlines."""

DoubleArray = npt.NDArray[np.float64]


class Band(NamedTuple):
    """Outlines with the width of their margins, and the lines on both sides."""

    outlines: gpd.GeoDataFrame
    """The outlines, with `half_width_m`, `area_low_km2` and `area_high_km2`."""
    sides: gpd.GeoDataFrame
    """Outlines at both levels: the columns of the outlines, and `level`."""


def band(
    result: xr.Dataset | xr.DataArray,
    outlines: gpd.GeoDataFrame,
    *,
    levels: tuple[float, float] = LEVELS,
    threshold: float = cv.THRESHOLD,
) -> Band:
    """Measure the band between the outlines at two probabilities.

    Parameters
    ----------
    result
        What the outlines were drawn from; calibrated, if the band is to be read as a probability.
    outlines
        Of `vectorise.outlines`, of one year or several of the result.
    levels
        Probabilities of the outer and the inner outline, on both sides of the threshold.
    threshold
        Probability at which the outlines were drawn.

    Returns
    -------
    Band
        `area_low_km2`: the ice inside the inner outline; 0 for a body that nowhere reaches its probability.
        `area_high_km2`: the ice inside the outer one; where it goes around several bodies, what it has beyond them is
        shared by their perimeters. `half_width_m`: half the mean width of the band, (high - low) / (2 perimeter).

    Raises
    ------
    OptionError
        If the levels do not lie on both sides of the threshold.
    """
    import pandas as pd

    low, high = levels
    if not 0 < low < threshold < high < 1:
        raise errors.OptionError(
            f"levels={low:g}, {high:g}: the first must lie below the threshold {threshold:g}, the second above it"
        )
    years = [None] if outlines[cv.YEAR].isna().all() else sorted({int(year) for year in outlines[cv.YEAR].dropna()})
    tables, sides = [], []
    for year in years:
        of_year = outlines if year is None else outlines[outlines[cv.YEAR] == year]
        outer, inner = (
            drawing.outlines(result, threshold=level, min_area_km2=0.0, year=year, crs_out=outlines.crs)
            for level in levels
        )
        tables.append(_measured(of_year, outer, inner))
        sides += [outer.assign(level=low), inner.assign(level=high)]
    filled = [side for side in sides if len(side)] or sides[:1]
    measured = pd.concat(tables, ignore_index=True) if tables else outlines.assign(**dict.fromkeys(BAND_COLUMNS, 0.0))
    order = [*drawing.COLUMNS[:-1], *BAND_COLUMNS]
    rest = [name for name in measured.columns if name not in (*order, "geometry")]
    around = pd.concat(filled, ignore_index=True) if filled else outlines.assign(level=low)
    return Band(measured[[*order, *rest, "geometry"]], around)


def _measured(drawn: gpd.GeoDataFrame, outer: gpd.GeoDataFrame, inner: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    bodies = np.asarray(drawn.geometry.values, dtype=object)
    area, perimeter = drawn["area_km2"].to_numpy(dtype=float), drawn["perimeter_km"].to_numpy(dtype=float)
    # level sets are nested: a vertex of the inner line lies in the body, a vertex of the body in the outer line
    core, body = _within(np.asarray(inner.geometry.values, dtype=object), bodies)
    low = np.bincount(body, inner["area_km2"].to_numpy(dtype=float)[core], minlength=bodies.size)[: bodies.size]
    member, around = _within(bodies, np.asarray(outer.geometry.values, dtype=object))
    high = area.copy()
    held = np.bincount(around, area[member], minlength=len(outer))
    edge = np.bincount(around, perimeter[member], minlength=len(outer))
    beyond = np.clip(outer["area_km2"].to_numpy(dtype=float) - held, 0, None)
    high[member] += beyond[around] * perimeter[member] / edge[around]
    low = np.minimum(low, area)
    width = np.divide(high - low, perimeter, out=np.zeros_like(area), where=perimeter > 0) * 1e3
    return drawn.assign(half_width_m=width / 2, area_low_km2=low, area_high_km2=high)


def _within(
    small: npt.NDArray[np.object_], large: npt.NDArray[np.object_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return pairs (small, large) by the first vertex of the small one; each small one at most once."""
    if not small.size or not large.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    points = shapely.get_point(shapely.get_exterior_ring(small), 0)
    i, j = shapely.STRtree(large).query(points, predicate="intersects")
    _, first = np.unique(i, return_index=True)
    return i[first], j[first]
