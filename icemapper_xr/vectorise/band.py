"""How wide a margin is: outlines at a low and a high probability around those at the threshold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from icemapper_xr import conventions as cv
from icemapper_xr import errors
from icemapper_xr.vectorise import outlines as drawing

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

    Draw = Callable[[float, int | None], gpd.GeoDataFrame]

__all__ = ["BAND_COLUMNS", "LEVELS", "Band", "band"]

LEVELS: Final = (0.05, 0.95)
"""Probabilities of the outer and the inner outline."""
BAND_COLUMNS: Final = ("half_width_m", "area_low_km2", "area_high_km2")
"""What a band adds to outlines."""


class Band(NamedTuple):
    """Outlines with the width of their margins, and the lines on both sides."""

    outlines: gpd.GeoDataFrame
    """The outlines, with `half_width_m`, `area_low_km2` and `area_high_km2`."""
    sides: gpd.GeoDataFrame
    """Outlines at both levels: the columns of the outlines, and `level`."""


def band(
    result: xr.Dataset | xr.DataArray | Draw,
    outlines: gpd.GeoDataFrame,
    *,
    levels: tuple[float, float] = LEVELS,
    threshold: float = cv.THRESHOLD,
    at: tuple[float | None, float | None] | None = None,
    min_hole_km2: float = 0.0,
) -> Band:
    """Measure the band between the outlines at two probabilities.

    Parameters
    ----------
    result
        What the outlines were drawn from; or a function of a probability and a year that draws all of it in the CRS of
        the outlines.
    outlines
        Of `vectorise.outlines`, of one year or several of the result.
    levels
        Probabilities of the outer and the inner outline, on both sides of the threshold.
    threshold
        Probability at which the outlines were drawn.
    at
        Probabilities of the result at which its calibrated ones reach the levels (`calibrate.reached_at`), so that the
        lines stay nested; None: the levels themselves. A level that is None is reached nowhere.
    min_hole_km2
        Of the outlines: holes below it are filled in both lines, too, else they would count as doubtful ice. A function
        in the place of the result fills them itself.

    Returns
    -------
    Band
        `area_low_km2`: the ice inside the inner outline; 0 for a body that nowhere reaches its probability.
        `area_high_km2`: the ice inside the outer one; where it goes around several bodies, what it has beyond them is
        shared by their perimeters. `half_width_m`: half the mean width of the band, (high - low) / (2 perimeter).
        Both are missing where no probability is low enough for the outer outline.

    Raises
    ------
    OptionError
        If the levels do not lie on both sides of the threshold.
    VectorError
        If the outlines are not such as `vectorise.outlines` draws.
    """
    import pandas as pd

    lacking = [name for name in drawing.COLUMNS if name not in outlines]
    if lacking:
        raise errors.VectorError(
            f"the outlines lack the column {lacking[0]!r}, which those of a map have: draw them anew with "
            "`icemapper outlines`"
        )
    low, high = levels if at is None else at
    if not ((low is None or 0 < low < threshold) and (high is None or threshold < high < 1)):
        raise errors.OptionError(
            f"levels={low}, {high}: the first must lie below the threshold {threshold:g}, the second above it"
            + ("" if at is None else f" (where the calibrated probability is {levels[0]:g} and {levels[1]:g})")
        )
    draw: Draw = result if callable(result) else _drawing(result, outlines.crs, min_hole_km2)
    years = [None] if outlines[cv.YEAR].isna().all() else sorted({int(year) for year in outlines[cv.YEAR].dropna()})
    tables, sides = [], []
    for year in years:
        of_year = outlines if year is None else outlines[outlines[cv.YEAR] == year]
        inner = of_year.iloc[:0] if high is None else draw(high, year)
        outer = of_year.iloc[:0] if low is None else draw(low, year)
        measured = _measured(of_year, outer, inner)
        if low is None:
            measured = measured.assign(half_width_m=np.nan, area_high_km2=np.nan)
        tables.append(measured)
        columns = list(drawing.COLUMNS)
        sides += [outer[columns].assign(level=levels[0]), inner[columns].assign(level=levels[1])]
    filled = [side for side in sides if len(side)] or sides[:1]
    measured = pd.concat(tables, ignore_index=True) if tables else outlines.assign(**dict.fromkeys(BAND_COLUMNS, 0.0))
    order = [*drawing.COLUMNS[:-1], *BAND_COLUMNS]
    rest = [name for name in measured.columns if name not in (*order, "geometry")]
    around = pd.concat(filled, ignore_index=True) if filled else outlines.assign(level=levels[0])
    return Band(measured[[*order, *rest, "geometry"]], around)


def _drawing(result: xr.Dataset | xr.DataArray, crs: Any, min_hole_km2: float) -> Draw:
    def draw(level: float, year: int | None) -> gpd.GeoDataFrame:
        options = {"min_area_km2": 0.0, "min_hole_km2": min_hole_km2}
        return drawing.outlines(result, threshold=level, year=year, crs_out=crs, **options)

    return draw


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
    # a body across the antimeridian has several parts, the first of which does
    points = shapely.get_point(shapely.get_exterior_ring(shapely.get_geometry(small, 0)), 0)
    i, j = shapely.STRtree(large).query(points, predicate="intersects")
    _, first = np.unique(i, return_index=True)
    return i[first], j[first]
