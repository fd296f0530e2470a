"""`termini_of_run`: advance and retreat of termini of a finished map, by the box method."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from icemapper_xr import conventions as cv
from icemapper_xr import dates, regions, vectorise
from icemapper_xr.analysis import rates, termini
from icemapper_xr.analysis.series import Acquisition
from icemapper_xr.errors import AnalysisError
from icemapper_xr.inventory.shapes import only_glaciers
from icemapper_xr.pipeline import runs, tables
from icemapper_xr.pipeline.outlining import OUTLINES
from icemapper_xr.pipeline.sheets import Sheet

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    import xarray as xr

__all__ = ["TerminusReport", "termini_of_run"]

_EDGE: Final = "touches_edge"
_NUMBERS: Final = {"azimuth": "degrees", "width": "metres above 0", "length": "metres above 0"}
"""Columns of a box, and what they are."""


@dataclass(frozen=True, eq=False)
class TerminusReport:
    """Lengths by box and year, and the retreat of each box."""

    lengths: pd.DataFrame
    """`id`, `year`, `length_m`, `area_km2`, `leaves_box`."""
    retreat: pd.DataFrame
    """`id`, `n_years`, `rate` (m a-1, below 0: retreat), `lower`, `upper`, `p_value` (Student), `theil_sen`, `note`."""
    out: Path | None

    def summary(self) -> str:
        """Text: a line a box."""
        names = ("id", "n_years", "rate", "lower", "upper", "theil_sen", "note")
        rows = [list(row) for row in self.retreat[list(names)].itertuples(index=False, name=None)]
        header = ("id", "years", "m/a", "95 % from", "to", "Theil-Sen", "note")
        method = "- box method (Moon and Joughin 2008): ice area in a fixed box over its width; negative is retreat"
        return "\n".join([tables.text(rows, header), method])


def termini_of_run(
    source: str | Path, boxes: str | Path, *, outlines: str | Path | None = None, out: str | Path | None = None
) -> TerminusReport:
    """Measure the positions of termini by the box method, and their rates.

    Parameters
    ----------
    source
        Output folder of `map_glaciers` or `map_region`.
    boxes
        Points, each the middle of a box's upstream side, with `azimuth` (degrees clockwise from the grid's north, in
        the CRS of the map, of a region's map in that of the UTM zone that the point lies in), `width` and `length`
        (metres), and an `id`.
    outlines
        Outlines with a column `year`; None is ``outlines.gpkg`` in the map's folder. Where they say that they end where
        the data do (`touches_edge`), a year whose ice in the box does is left out.
    out
        File to write (.csv or .json); None is ``termini.csv`` in the map's folder.

    Returns
    -------
    TerminusReport
        Lengths by box and year (metres), the retreat of each box (m a-1), and the file.

    Raises
    ------
    AnalysisError
        A column is missing or holds what is no number, or a box begins outside the map, or meets no outline.
    """
    import pandas as pd

    target = tables.target(source, out, "termini.csv")
    run = runs.open_run(source, calibration=None)
    points = _points(Path(boxes))
    drawn = outlines or run.folder / OUTLINES
    shapes, told = vectorise.read_polygons(drawn, what="outlines")
    shapes, rock = only_glaciers(shapes, f"the outlines {drawn}")
    notes = (*told, *rock)
    if cv.YEAR not in shapes:
        raise AnalysisError(f"the outlines {drawn} have no column 'year'; give each its year there")
    shapes = shapes.assign(**{cv.YEAR: dates.whole_years(shapes[cv.YEAR], what=f"the outlines {drawn}")})
    outlines_in = functools.cache(shapes.to_crs)
    lengths, retreat = [], []
    reach = float((points["length"] + points["width"]).max()) if len(points) else 0.0
    near = [sheet.near(points, reach) for sheet in run.sheets]
    with contextlib.ExitStack() as reading:
        for tile, close in zip(run.sheets, near, strict=True):
            if close.any():
                reading.enter_context(tile.reading())
        for k, row in enumerate(points.itertuples()):
            sheets = [sheet for sheet, close in zip(run.sheets, near, strict=True) if close[k]]
            seen, rate = _measured(row, points.geometry.iloc[[k]], sheets, outlines_in, run.years)
            lengths.append(seen)
            retreat.append(rate)
    columns = ["id", cv.YEAR, "length_m", "area_km2", "leaves_box"]
    table = pd.concat(lengths, ignore_index=True)[columns] if lengths else pd.DataFrame(columns=columns)
    rows = pd.DataFrame(retreat, columns=["id", "n_years", "rate", "lower", "upper", "p_value", "theil_sen", "note"])
    about = {
        "method": ["box method (Moon and Joughin 2008), metres"],
        "notes": notes,
        "retreat": rows.to_dict("records"),
    }
    tables.write(table, target, about=about)
    return TerminusReport(table, rows, target)


def _measured(
    row: Any,
    place: gpd.GeoSeries,
    sheets: Sequence[Sheet],
    outlines_in: Callable[[str], gpd.GeoDataFrame],
    years: Sequence[int],
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Measure one box: its lengths in the years that tell them, and its retreat."""
    import geopandas as gpd

    try:
        sheet, point = _sheet_of(sheets, place)
        crs = sheet.probability.rio.crs.to_wkt()
        box = termini.terminus_box(point.x, point.y, azimuth=row.azimuth, width=row.width, length=row.length)
        outlines = outlines_in(crs)
        found = termini.box_lengths(outlines, box, width=row.width).reset_index()
    except AnalysisError as error:
        raise AnalysisError(f"box {row.id}: {error}") from error
    there = set(found[cv.YEAR])
    gone = _not_mapped(sheets, gpd.GeoSeries([box], crs=crs), years) & there
    short = _cut_short(sheets, outlines, box) & there - gone
    seen = found[~found[cv.YEAR].isin(gone | short)]
    kinds = dict(zip(years, sheet.acquisitions, strict=True))
    notes = [
        f"{what} in {', '.join(map(str, sorted(left_out)))}"
        for what, left_out in (("not mapped", gone), ("the ice ends where the map does", short))
        if left_out
    ]
    return seen.assign(id=row.id), _retreat(row.id, seen, notes, kinds)


def _sheet_of(sheets: Sequence[Sheet], place: gpd.GeoSeries) -> tuple[Sheet, Any]:
    """Return the raster in whose CRS a box is laid, and the box's point there."""
    import shapely

    for sheet in sheets:
        point = place.to_crs(sheet.probability.rio.crs.to_wkt()).iloc[0]
        counted = sheet.cut(None)
        if counted is None or shapely.intersects(counted.iloc[0], point):
            return sheet, point
    point = place.iloc[0]
    raise AnalysisError(f"it begins at {point.x:.6g}, {point.y:.6g}, where the map has no tile: check its coordinates")


def _not_mapped(sheets: Sequence[Sheet], box: gpd.GeoSeries, years: Sequence[int]) -> set[int]:
    """Years in which a tile that the box reaches was not mapped: missing ice is no retreat."""
    import shapely

    gone: set[int] = set()
    for sheet in sheets:
        counted = sheet.cut(None)
        if counted is not None and shapely.intersects(counted.iloc[0], box.to_crs(counted.crs).iloc[0]):
            gone |= set(years) - set(sheet.years)
    return gone


def _cut_short(sheets: Sequence[Sheet], shapes: gpd.GeoDataFrame, box: Any) -> set[int]:
    """Years whose ice in a box ends where the data end: what was not observed is no retreat, and no steady front.

    Outlines that say nothing of it (`touches_edge`) were not drawn from a map.
    """
    if _EDGE not in shapes:
        return set()
    near = shapes[shapes[_EDGE].fillna(False).astype(bool) & shapes.intersects(box)]
    if not len(near):
        return set()
    short: set[int] = set()
    ice = near[[cv.YEAR, near.geometry.name]].set_geometry(near.intersection(box))
    for year in sorted(set(ice[cv.YEAR])):
        for plane, counted in _planes(sheets, year):
            local = ice[ice[cv.YEAR] == year].to_crs(plane.rio.crs.to_wkt())
            if counted is not None:
                local = local.set_geometry(local.intersection(counted))
            local = local.explode(ignore_index=True)
            local = local[local.geom_type == "Polygon"]
            # Long edges of simplified outlines run along unobserved pixels, too, not only their vertices.
            local = local.set_geometry(local.segmentize(abs(plane.rio.resolution()[0])))
            if vectorise.at_data_edge(plane, local).any():
                short.add(year)
    return short


def _planes(sheets: Sequence[Sheet], year: int) -> Iterator[tuple[xr.DataArray, Any]]:
    """Iterate over the map of a year as (probability, polygon of what counts of it; None: all).

    The tiles of a zone are one raster: their borders are no end of the data.
    """
    import shapely

    there = [sheet for sheet in sheets if year in sheet.years]
    for grid in sorted({sheet.grid for sheet in there}):
        tiles = [sheet for sheet in there if sheet.grid == grid]
        counted = [part.iloc[0] for part in (sheet.cut(None) for sheet in tiles) if part is not None]
        if counted:
            yield regions.mosaic([sheet.path for sheet in tiles], year=year), shapely.union_all(counted)
        else:
            yield tiles[0].probability.sel({cv.YEAR: year}), None


def _points(path: Path) -> gpd.GeoDataFrame:
    points = vectorise.read(path, what="boxes")
    missing = [name for name in _NUMBERS if name not in points]
    if missing:
        raise AnalysisError(
            f"the boxes {path} lack the column {missing[0]!r}; azimuth (degrees), width, length (m) are wanted"
        )
    if points.crs is None or set(points.geom_type) - {"Point"} or points.geometry.is_empty.any():
        raise AnalysisError(f"the boxes {path} must be points with a CRS: the middle of each box's upstream side")
    if "id" not in points:
        points = points.assign(id=[str(k + 1) for k in range(len(points))])
    return points.assign(**{name: _numbers(points, name, path) for name in _NUMBERS})


def _numbers(points: gpd.GeoDataFrame, name: str, path: Path) -> pd.Series:
    """Return a column as numbers, refusing what is none."""
    import pandas as pd

    values: pd.Series = pd.to_numeric(points[name], errors="coerce").astype(float)
    wrong = ~np.isfinite(values) if name == "azimuth" else ~(np.isfinite(values) & (values > 0))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        given = points[name].iloc[row]
        shown = repr(given) if isinstance(given, str) else str(given)
        raise AnalysisError(f"box {points['id'].iloc[row]}: its {name} is {shown}; give {_NUMBERS[name]} in {path}")
    return values


def _retreat(identity: Any, found: pd.DataFrame, why: list[str], kinds: dict[int, Acquisition]) -> dict[str, Any]:
    inside = found[~found["leaves_box"]]
    years = inside[cv.YEAR].to_numpy(dtype=np.float64)
    left = len(found) - len(inside)
    notes = [*([f"{left} years leave the box and are not used"] if left else []), *why]
    note = "; ".join(notes)
    row: dict[str, Any] = {"id": identity, "n_years": len(years), "note": note}
    if len(years) < 2:
        return {**row, "note": f"{note or 'too few years'}: no rate"}
    same = [kinds[int(year)] for year in years] if all(int(year) in kinds for year in years) else None
    try:
        trend = rates.trend(years, inside["length_m"].to_numpy(), acquisitions=same)
    except AnalysisError as error:  # another sensor, and no year of both: the lengths are right all the same
        return {**row, "note": "; ".join([*notes, f"no rate: {error}"])}
    low, high = trend.student or (np.nan, np.nan)
    row |= {"rate": trend.rate, "lower": low, "upper": high, "p_value": trend.p_value, "theil_sen": trend.theil_sen}
    return {**row, "note": "; ".join([*notes, *trend.notes])}
