"""Advance and retreat of a terminus by the box method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from icemapper_xr.errors import AnalysisError, OptionError

if TYPE_CHECKING:
    import geopandas as gpd
    import shapely

__all__ = ["box_lengths", "terminus_box"]

COVERED: Final = 0.99
"""Share of the upstream side that ice has to cover (a judgement)."""
TOUCHED: Final = 1e-6
"""Share of the downstream side up to which ice does not reach it: rounding."""


def terminus_box(x: float, y: float, *, azimuth: float, width: float, length: float) -> shapely.Polygon:
    """Make a box along the flow: it begins at a point up the glacier and ends beyond every terminus.

    Parameters
    ----------
    x, y
        Middle of the upstream side, in a projected CRS, metres.
    azimuth
        Direction of flow, degrees clockwise from the grid's north.
    width
        Side across the flow, metres: somewhat less than the glacier's width.
    length
        Side along the flow, metres.

    Raises
    ------
    OptionError
        A side is not above 0 and finite, or place or direction is no number.
    """
    import shapely

    if not (0 < width < np.inf and 0 < length < np.inf):
        raise OptionError(f"width={width} and length={length} of a terminus box must be above 0, and finite")
    if not np.isfinite([x, y, azimuth]).all():
        raise OptionError(f"x={x}, y={y}, azimuth={azimuth} of a terminus box must be numbers")
    angle = np.radians(azimuth)
    along, across = np.array([np.sin(angle), np.cos(angle)]), np.array([np.cos(angle), -np.sin(angle)])
    start = np.array([x, y])
    corners = [(0, -0.5), (length, -0.5), (length, 0.5), (0, 0.5)]
    return shapely.Polygon([start + a * along + b * width * across for a, b in corners])


def box_lengths(
    outlines: gpd.GeoDataFrame, box: shapely.Polygon, *, width: float, column: str = "year"
) -> pd.DataFrame:
    """Measure the mean position of a terminus in each year: the glacier's area inside a fixed box over its width.

    Parameters
    ----------
    outlines
        One or more polygons a year, in the projected CRS of the box; invalid ones are mended.
    box
        From `terminus_box`; the same for all years.
    width
        Side of the box across the flow, metres.
    column
        Column that holds the year.

    Returns
    -------
    pandas.DataFrame
        Index year, ascending; `area_km2` (geodesic, of the ice inside the box), `length_m` (mean distance from the
        upstream side to the terminus), `leaves_box` (the ice reaches the downstream side, or does not cover all of the
        upstream side: the length is then no measure of the terminus). `rates.trend` of `length_m` is in m a-1.

    Raises
    ------
    AnalysisError
        No CRS, a geographic one, no column of years, or no ice in the box in any year.
    OptionError
        The width is not above 0.

    Notes
    -----
    Moon and Joughin (2008), doi:10.1029/2007JF000927; unlike a centre line the box does not depend on where along the
    front one looks.
    """
    import pyproj
    import shapely

    if outlines.crs is None or outlines.crs.is_geographic:
        raise AnalysisError(
            "terminus boxes need outlines in a projected CRS; bring them there with outlines.to_crs(...)"
        )
    if column not in outlines:
        raise AnalysisError(f"the outlines have no column {column!r}; name the one with the year by column=")
    if not width > 0:
        raise OptionError(f"width={width} of a terminus box must be above 0")
    corners = np.asarray(box.exterior.coords)
    upstream, downstream = (shapely.LineString(corners[[i, j]]) for i, j in ((0, 3), (1, 2)))
    geod, geographic = pyproj.Geod(ellps="WGS84"), pyproj.Transformer.from_crs(outlines.crs, 4326, always_xy=True)
    scale = geod.line_length(*geographic.transform(*corners[[0, 3]].T)) / upstream.length
    rows = []
    for year, group in outlines.groupby(column):
        whole = shapely.union_all(shapely.make_valid(group.geometry.values))
        ice = shapely.intersection(whole, box)
        parts = [part for part in shapely.get_parts(ice) if part.geom_type == "Polygon"]
        area = sum((_geodesic(part, geod, geographic) for part in parts), 0.0)
        # Of the ice uncut: what was cut to the box ends beside the lines of its sides, by rounding.
        across = [whole.intersection(side).length / side.length for side in (upstream, downstream)]
        off = across[0] < COVERED or across[1] > TOUCHED
        rows.append((year, area / 1e6, area / (width * scale), bool(off)))
    table = pd.DataFrame(rows, columns=[column, "area_km2", "length_m", "leaves_box"]).set_index(column).sort_index()
    if not table["area_km2"].gt(0).any():
        raise AnalysisError("no outline meets the terminus box in any year; check its place and its CRS")
    return table


def _geodesic(part: Any, geod: Any, geographic: Any) -> float:
    import shapely

    fine = shapely.segmentize(shapely.orient_polygons(part), 1000.0)  # edges straight in the grid bend on the ellipsoid
    there = shapely.transform(fine, geographic.transform, interleaved=False)
    return float(abs(geod.geometry_area_perimeter(there)[0]))
