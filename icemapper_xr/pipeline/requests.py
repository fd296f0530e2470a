"""What is asked of a finished map, and the vectors that go in: glaciers, region, reference."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pydantic
import xarray as xr

from icemapper_xr import conventions as cv
from icemapper_xr import dates, filters, progress, vectorise
from icemapper_xr import settings as settings_
from icemapper_xr.analysis import blocks, bootstrap, cells, domains, margins, reference
from icemapper_xr.analysis.dependence import Dependence
from icemapper_xr.errors import AnalysisError, OptionError
from icemapper_xr.inventory import shapes
from icemapper_xr.pipeline import divided, runs
from icemapper_xr.pipeline.runs import Run
from icemapper_xr.pipeline.sheets import Sheet

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["MeasureSettings", "Truth", "block_size", "glaciers_of", "region_of", "truth_of"]

Array = npt.NDArray[np.float64]

ALONE: Final = 0.2
"""Share of the ice of a reference year without ice of another year from which they are of different glaciers (a
judgement: glaciers that came or went between two years are fewer)."""
COARSE: Final = 10
"""Pixels along a cell in which errors along the margin are added up before their variogram is taken."""


class MeasureSettings(settings_.Strict):
    """What `areas_of_run` and `rates_of_run` are asked for."""

    years: tuple[int, ...] | None = None
    """Years to take; None takes all of the map."""
    glaciers: Path | None = None
    """Glacier polygons with ids; None takes ``glaciers.gpkg`` in the map's folder if it is there."""
    reach: float = pydantic.Field(default=domains.REACH_M, ge=0)
    """How far a glacier's domain reaches beyond its polygon, metres."""
    region: Path | None = None
    """Polygons of the area of interest; None takes the whole map."""
    excluded: Path | None = None
    """Raster of layover and shadow (0 is clear): areas are given without it, too; rates do not use it."""
    reference: Path | None = None
    """True outlines of a part of the region, with a column `year` or `reference_year`."""
    reference_area: Path | None = None
    """Polygons in which the reference is complete; None: the box around its outlines, grown by `reach`."""
    reference_year: int | None = None
    """Year of a reference without the column; of one with it, whose rows are taken."""
    calibration: str = "auto"
    """`auto` (that of the weights), `none`, or a file of `calibrate.write`."""
    threshold: float = pydantic.Field(default=cv.THRESHOLD, gt=0, lt=1)
    """Probability from which a cell counts in the hard area."""
    temporal: bool = True
    """Whether to give filtered areas beside the unfiltered ones, from three years on."""
    max_gap_years: int = pydantic.Field(default=filters.MAX_GAP_YEARS, ge=1)
    """As in `filters.temporal`."""
    common: bool = False
    """Whether only cells observed in all years count."""
    block_size: float | None = pydantic.Field(default=None, gt=0)
    """Side of the reference's blocks, metres; None: from the residuals' variogram."""
    orbit_bias_m: float = pydantic.Field(default=0.0, ge=0)
    """Standard deviation of a margin shift that all years of one orbit share, metres."""
    sensor_bias_m: float = pydantic.Field(default=0.0, ge=0)
    """The same that all years of one sensor share."""
    year_bias_m: float = pydantic.Field(default=0.0, ge=0)
    """The same of each year."""
    n_draws: int = pydantic.Field(default=bootstrap.N_DRAWS, ge=100)
    """Draws of the errors."""
    landscape_draws: int = pydantic.Field(default=bootstrap.PUBLISHED_DRAWS, ge=100)
    """Draws of the published bootstrap."""
    seed: int = pydantic.Field(default=42, ge=0)
    confidence: float = pydantic.Field(default=0.95, gt=0, lt=1)
    """Of the areas' intervals, and of a rate's by Student and by Theil-Sen; its others are 1.96 sigma, as published."""


# -- what goes in -----------------------------------------------------------------------------------------------------
def glaciers_of(run: Run, settings: MeasureSettings, notes: list[str]) -> gpd.GeoDataFrame | None:
    """Read the glaciers that were named, or those in the map's folder; None if there are none."""
    path = settings.glaciers
    if path is None:
        path = run.folder / runs.GLACIERS
        if not path.is_file():
            return None
        divided.refuse_stale(path)
        notes.append(f"glaciers of {path.name} in the map's folder")
    table, told = runs.read_glaciers(path)
    notes.extend(told)
    if not len(table):
        notes.append(f"{path.name} holds no glacier")
    return table


def region_of(settings: MeasureSettings, notes: list[str]) -> gpd.GeoDataFrame | None:
    """Read the area of interest; None is the whole map."""
    if settings.region is None:
        return None
    region, told = vectorise.read_polygons(settings.region, what="region")
    notes.extend(told)
    if not len(region):
        raise AnalysisError(f"the region {settings.region} holds no polygon; name a file with one")
    return region


@dataclass(frozen=True, eq=False)
class Truth:
    """A reference in a part of the area."""

    outlines: Mapping[int, gpd.GeoDataFrame]
    """True outlines by year, ascending."""
    within: gpd.GeoDataFrame | gpd.GeoSeries
    """Polygons in which they are complete."""

    @property
    def years(self) -> tuple[int, ...]:
        """Years with a reference."""
        return tuple(self.outlines)

    def on(self, sheet: Sheet) -> xr.DataArray | None:
        """Return the share of reference glacier in each cell, (year, y, x), NaN where there is no reference.

        None where the sheet lies apart from it.
        """
        within = self.within[sheet.near(self.within, 0.0)]
        if not len(within):
            return None
        like = sheet.probability.isel({cv.YEAR: 0}, drop=True)
        inside = domains.shares(within, like) > 0.5
        planes = [domains.shares(part[sheet.near(part, 0.0)], like).where(inside) for part in self.outlines.values()]
        return xr.concat(planes, xr.IndexVariable(cv.YEAR, list(self.outlines)))


def truth_of(run: Run, settings: MeasureSettings, notes: list[str]) -> Truth | None:
    """Read the reference; None if there is none."""
    import geopandas as gpd
    import pandas as pd
    import shapely

    if settings.reference is None:
        for name in ("reference_area", "reference_year"):
            if getattr(settings, name) is not None:
                raise OptionError(f"{name} is given without reference; name the file of the true outlines, too")
        return None
    frame, told = vectorise.read_polygons(settings.reference, what="reference")
    frame, rock = shapes.only_glaciers(frame, f"the reference {settings.reference}")
    notes.extend((*told, *rock))
    by_year = _by_year(frame, run, settings, notes)
    if settings.reference_area is None:
        crs = {sheet.probability.rio.crs.to_wkt() for sheet in run.sheets}
        if len(crs) > 1:
            raise OptionError(
                f"the map is in {len(crs)} UTM zones, so there is no box around the reference: give the polygons in "
                "which it is complete with reference_area (--reference-area)"
            )
        local = pd.concat(list(by_year.values())).to_crs(crs.pop())
        # At the box itself the soft edge of the map would count on one side only.
        within: Any = gpd.GeoSeries(
            [shapely.box(*local.total_bounds).buffer(settings.reach, join_style="mitre")], crs=local.crs
        )
        notes.append(f"the reference is taken as complete within {settings.reach:g} m of the box around its outlines")
    else:
        within, told = vectorise.read_polygons(settings.reference_area, what="reference area")
        notes.extend(told)
    _require_whole_years(by_year, within, settings.reference)
    if len(by_year) == 1 < len(run.years):
        notes.append(
            "the reference has one year, so nothing is known of errors that change from year to year: no interval of "
            "the areas of other years and no paired one of a rate, unless year_bias_m says how much the margin shifts"
        )
    return Truth(by_year, within)


def _require_whole_years(by_year: Mapping[int, gpd.GeoDataFrame], within: Any, path: Path) -> None:
    """Refuse years of a reference that are of different glaciers: what one lacks would count as mapped wrongly.

    Raises
    ------
    AnalysisError
        More than a fifth of one year's ice, where the reference is said to be complete, meets no ice of another year.
    """
    import shapely

    plane = shapes.plane_of(*by_year.values())
    complete = shapely.union_all(within.to_crs(plane).geometry.make_valid().to_numpy())
    ice = {}
    for year, rows in by_year.items():
        polygons = np.asarray(rows.geometry.to_crs(plane).make_valid().to_numpy(), dtype=object)
        ice[year] = polygons[shapely.intersects(polygons, complete)]
    for year, other in itertools.permutations(ice, 2):
        met = np.unique(shapely.STRtree(ice[other]).query(ice[year], predicate="intersects")[0])
        area = shapely.area(ice[year])
        alone = 1 - float(area[met].sum() / area.sum()) if area.sum() > 0 else 0.0
        if alone > ALONE:
            raise AnalysisError(
                f"{alone:.0%} of the ice of {year} in the reference {path} meet none of {other}: its years are of "
                f"different glaciers, and what {other} lacks would count as mapped wrongly. Take one year with "
                "reference_year (--reference-year) and say with reference_area (--reference-area) where it is complete"
            )


def _by_year(
    frame: gpd.GeoDataFrame, run: Run, settings: MeasureSettings, notes: list[str]
) -> dict[int, gpd.GeoDataFrame]:
    """Return the outlines of each year that the map has, too."""
    if cv.YEAR in frame:
        years = dates.whole_years(frame[cv.YEAR], what=f"the reference {settings.reference}")
        parts = {int(year): part for year, part in frame.groupby(years)}
        if settings.reference_year is not None:
            if settings.reference_year not in parts:
                raise OptionError(
                    f"reference_year={settings.reference_year}: {settings.reference} has the years "
                    f"{', '.join(map(str, sorted(parts)))}; name one of these, or none to take all"
                )
            parts = {settings.reference_year: parts[settings.reference_year]}
    elif settings.reference_year is not None:
        parts = {settings.reference_year: frame}
    else:
        raise OptionError(
            f"the reference {settings.reference} has no column 'year'; say its year with reference_year "
            "(--reference-year)"
        )
    known = {year: part for year, part in sorted(parts.items()) if year in run.years}
    if not known:
        raise AnalysisError(
            f"the reference {settings.reference} is of {', '.join(map(str, sorted(parts)))}, the map {run.folder} of "
            f"{', '.join(map(str, run.years))}; they need a year in common: map a year of the reference, or leave it "
            "out"
        )
    if unused := {year: len(part) for year, part in sorted(parts.items()) if year not in known}:
        listed = ", ".join(f"{year} ({rows} rows)" for year, rows in unused.items())
        notes.append(f"the reference has years that the map has not, which are not used: {listed}")
    return known


def block_size(
    run: Run, truth: Truth | None, settings: MeasureSettings
) -> tuple[float, Dependence | None, tuple[str, ...]]:
    """Return the side of a block, how the errors of blocks hang together, and how both were found in words."""
    if truth is None:
        return settings.block_size or blocks.TILE_SIZE, None, ()
    pixel = cells.spacing(run.sheets[0].probability[cv.X], "x")
    cell = COARSE * pixel
    parts = [part for sheet in run.sheets if (part := _residuals(sheet, truth, settings.threshold, pixel)) is not None]
    if not parts:
        raise AnalysisError("the reference lies outside the map; check its place and its CRS")
    error, length, seen = _apart(parts, reference.MAX_LAG / cell)
    error = np.where(seen > 0, error * pixel**2 / 1e6, np.nan)
    side, model = reference.residual_block(error, length / 1000, cell)
    how = "from"
    if settings.block_size is not None:
        side, how = settings.block_size, "as asked for;"
    known = np.isfinite(error)
    with_margin = float(np.mean(length[known] > 0)) if known.any() else 0.0
    dependence = Dependence(model, cells=max(1.0, with_margin * (side / cell) ** 2), side=side)
    return (
        side,
        dependence,
        (
            f"blocks of the reference: {side:g} m, {how} the variogram of its errors along the margin (correlation "
            f"length {model.length:.0f} m, {100 * model.sill / max(model.sill + model.nugget, 1e-300):.0f} % of the "
            f"variance); neighbouring blocks correlate by {dependence.correlation(0, 1):.2f}, which widens the "
            "intervals and leaves fewer degrees of freedom (dependence.design)",
        ),
    )


class _Part(NamedTuple):
    """Coarse cells of one sheet, on multiples of their size from the origin of its CRS."""

    grid: int
    row: int
    column: int
    fields: Array
    """(3, rows, columns) errors in pixels, metres of margin, pixels with a reference."""


def _residuals(sheet: Sheet, truth: Truth, threshold: float, pixel: float) -> _Part | None:
    """Add up errors and margin of the last reference year in coarse cells of a sheet; None without a reference."""
    from dask.base import compute

    shares = truth.on(sheet)
    if shares is None:
        return None
    last = sheet.probability.sel({cv.YEAR: truth.years[-1]})
    residual = last - shares.isel({cv.YEAR: -1})
    own = sheet.cut(None)
    if own is not None:  # what two sheets see counts once
        residual = residual.where(domains.shares(own, last) > 0.5)
    margin = margins.margin_length(last, threshold=threshold).where(residual.notnull())
    row, column = int(np.floor(-float(last[cv.Y][0]) / pixel)), int(np.floor(float(last[cv.X][0]) / pixel))
    before = {cv.Y: (row % COARSE, 0), cv.X: (column % COARSE, 0)}
    coarse = {cv.Y: COARSE, cv.X: COARSE}
    planes = (residual.fillna(0.0), margin.fillna(0.0), residual.notnull().astype(np.float32))
    with progress.dask_bar("Residuals"), sheet.reading():
        found = compute(
            *(
                plane.drop_vars([cv.Y, cv.X])
                .pad(before, constant_values=0.0)
                .coarsen(coarse, boundary="pad")
                .sum()
                .data
                for plane in planes
            )
        )
    fields = np.stack([np.asarray(field, dtype=np.float64) for field in found])
    return _Part(sheet.grid, row // COARSE, column // COARSE, fields)


def _apart(parts: Sequence[_Part], reach: float) -> Array:
    """Put coarse cells together, (3, rows, columns); grids side by side, so far apart that no two are within reach."""
    found = []
    for grid in dict.fromkeys(part.grid for part in parts):
        mine = [part for part in parts if part.grid == grid]
        first = min(part.row for part in mine), min(part.column for part in mine)
        last = (
            max(part.row + part.fields.shape[1] for part in mine),
            max(part.column + part.fields.shape[2] for part in mine),
        )
        whole = np.zeros((3, last[0] - first[0], last[1] - first[1]))
        for part in mine:
            top, left = part.row - first[0], part.column - first[1]
            whole[:, top : top + part.fields.shape[1], left : left + part.fields.shape[2]] += part.fields
        found.append(whole)
    rows, gap = max(field.shape[1] for field in found), int(np.ceil(reach)) + 1
    padded = [np.pad(f, ((0, 0), (0, rows - f.shape[1]), (0, gap))) for f in found]
    return np.concatenate(padded, axis=2) if len(found) > 1 else found[0]
