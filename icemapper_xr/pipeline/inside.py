"""How much of glaciers and regions lies inside what a map counts: what lies beyond it is in no number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from icemapper_xr.analysis import domains, projecting
from icemapper_xr.errors import AnalysisError
from icemapper_xr.inventory import shapes
from icemapper_xr.pipeline import sheets
from icemapper_xr.pipeline.runs import Run

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["named", "notes_on_glaciers", "notes_on_region"]

WHOLE: Final = 0.99
"""Share of its area from which a polygon counts as wholly inside (a judgement: the edge of a map cuts pixels)."""
_NAMED: Final = 5


def notes_on_region(run: Run, region: gpd.GeoDataFrame, path: Path) -> Iterator[str]:
    """Say how much of an area of interest the map has.

    Raises
    ------
    AnalysisError
        It has nothing of it.
    """
    whole = sheets.united(region)
    share = float(_shares(run, whole, None)[0])
    if share == 0:
        raise AnalysisError(f"the region {path} lies outside the map; check its place and its CRS")
    if share < WHOLE:
        yield f"{1 - share:.0%} of the region {path.name} lie outside the map: what is there is in no number"


def notes_on_glaciers(run: Run, glaciers: gpd.GeoDataFrame, region: gpd.GeoDataFrame | None) -> Iterator[str]:
    """Say which glaciers lie beyond the map or the area of interest, wholly or in part."""
    share = _shares(run, glaciers, region)
    what = "the map" if region is None else "the region or the map"
    out, cut = (np.flatnonzero(which) for which in (share == 0, (share > 0) & (share < WHOLE)))
    if out.size:
        yield (
            f"{out.size} of {len(glaciers)} glaciers lie outside {what} ({named(glaciers.index[out])}): they have no "
            "areas, or those of ice within reach"
        )
    if cut.size:
        told = [f"{glaciers.index[k]} {share[k]:.0%}" for k in cut[np.argsort(share[cut], kind="stable")]]
        yield (
            f"{cut.size} of {len(glaciers)} glaciers reach beyond {what}, their areas are those of the part inside "
            f"({named(told)} inside)"
        )


def named(names: Any) -> str:
    """Name the first of some glaciers, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(str, names[:_NAMED])) + more


def _shares(run: Run, frame: gpd.GeoDataFrame, region: gpd.GeoDataFrame | None) -> npt.NDArray[np.float64]:
    """Share of each polygon's area in which cells of the map count, (rows,)."""
    import geopandas as gpd
    import shapely

    if not len(frame):
        return np.empty(0)
    if region is not None and run.in_tiles:
        region = sheets.united(region)
    plane = shapes.plane_of(frame)  # areas of parts in several zones add up there
    flat = shapely.make_valid(np.asarray(projecting.project(frame, plane).values, dtype=object))
    inside = np.zeros(len(frame))
    for sheet in run.sheets:
        rows = np.flatnonzero(sheet.near(frame, 0.0))
        counted: Any = shapely.box(*sheet.probability.rio.bounds())
        cut = sheet.cut(region)
        if cut is not None:
            local = shapely.make_valid(domains.local_shapes(cut, sheet.probability))
            counted = shapely.intersection(counted, shapely.union_all(local))
        there = projecting.project(gpd.GeoSeries([counted], crs=sheet.probability.rio.crs.to_wkt()), plane)
        whole = shapely.make_valid(there.iloc[0])
        shapely.prepare(whole)
        inside[rows] += shapely.area(shapely.intersection(flat[rows], whole))
    area = shapely.area(flat)
    return np.divide(inside, area, out=np.zeros(len(frame)), where=area > 0)
