"""`areas`, `rates`, `surges`, `termini` and `inventories`: from maps to what is published."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from icemapper_xr.cli._app import Files, app
from icemapper_xr.conventions import THRESHOLD

MEASURING = Group("Measuring")


@Parameter(name="*", group=MEASURING)
@dataclass(frozen=True)
class MeasureOptions:
    """What is measured, and what is known of the errors."""

    years: Annotated[str | None, Parameter(alias="--year")] = None
    """2023, 2016:2024 or 2016,2020; default: all years of the map."""
    glaciers: Path | None = None
    """Glacier polygons with ids (glacier_id, rgi_id ...); default: glaciers.gpkg in the folder, if it is there."""
    reach: float = 500.0
    """How far a glacier's domain reaches beyond its polygon, metres; never into another glacier's."""
    region: Path | None = None
    """Polygons of the area of interest; default: the whole map."""
    excluded: Path | None = None
    """Raster of layover and shadow (0 is clear): `areas` gives areas without it, too; rates do not use it."""
    reference: Path | None = None
    """True outlines of a part of the region: gives the signed bias and the interval."""
    reference_area: Path | None = None
    """Polygons in which the reference is complete; default: the box around its outlines, grown by --reach."""
    reference_year: int | None = None
    """Year of a reference that has no column year; of one that has it, the year whose rows are taken."""
    calibration: str = "auto"
    """auto (that of the weights), none, or a file written by calibrate."""
    threshold: float = THRESHOLD
    """Probability from which a cell counts in the hard area."""
    temporal: Annotated[bool, Parameter(negative_bool=("no-",))] = True
    """Give areas of the temporally filtered map beside the unfiltered ones, from three years on."""
    max_gap_years: int = 2
    """Years to a neighbour beyond which it says nothing of flicker."""
    block_size: float | None = None
    """Side of the blocks whose errors are resampled, metres; default: from the residuals' variogram."""
    orbit_bias_m: float = 0.0
    """Standard deviation of a shift of the margin that one orbit's years share, metres."""
    sensor_bias_m: float = 0.0
    """The same that one sensor's years share."""
    year_bias_m: float = 0.0
    """The same of each year."""
    n_draws: int = 2000
    """Draws of the errors."""
    landscape_draws: int = 10_000
    """Draws of the published block bootstrap."""
    seed: int = 42
    """Seed of the draws."""
    confidence: float = 0.95
    """Of the areas' intervals, and of a rate's by Student and by Theil-Sen; its others are 1.96 sigma, as published."""

    def keywords(self) -> dict[str, Any]:
        """Keywords of `areas_of_run` and `rates_of_run`."""
        from icemapper_xr import settings

        values = asdict(self)
        values["years"] = None if self.years is None else settings.parse_years(self.years)
        return values


DEFAULTS = MeasureOptions()


@app.command
def areas(source: Path, out: Path | None = None, *, common: bool = False, measuring: MeasureOptions = DEFAULTS) -> None:
    """Measure glacier areas of a finished map: by region, group and glacier, year by year, with intervals.

    Parameters
    ----------
    source
        Folder that `map` wrote, or a glaciers.zarr.
    out
        .csv (the method in lines that begin with #), .gpkg or .json; default: areas.csv in the folder.
    common
        Count only cells that were observed in all years.
    """
    from icemapper_xr import pipeline

    report = pipeline.areas_of_run(source, out=out, common=common, **measuring.keywords())
    print(report.summary())
    print(f"wrote {report.out}")


@app.command
def rates(
    source: Path,
    out: Path | None = None,
    *,
    other: Files = None,
    level: float = 0.05,
    every_cell: bool = False,
    measuring: MeasureOptions = DEFAULTS,
) -> None:
    """Fit rates of change to a finished map: every kind of interval, unfiltered and filtered side by side.

    Parameters
    ----------
    source
        Folder that `map` wrote, with two years or more.
    out
        .csv (the method in lines that begin with #), .gpkg or .json; default: rates.csv in the folder.
    other
        Maps of the same place from another orbit, polarisation or sensor, or by other weights; years in common give
        the offset.
    level
        Share of false discoveries among the glaciers called changing.
    every_cell
        Count cells that were not observed in some year, too.
    """
    from icemapper_xr import pipeline

    report = pipeline.rates_of_run(
        source, out=out, others=other or (), level=level, common=not every_cell, **measuring.keywords()
    )
    print(report.summary())
    print(f"wrote {report.out}")


@app.command(name="surges")
def surges_(
    source: Path,
    surging: Path,
    out: Path | None = None,
    *,
    block_km: float = 50.0,
    strata: int = 4,
    permutations: int = 9999,
    measuring: MeasureOptions = DEFAULTS,
) -> None:
    """Test whether surging glaciers change at other rates than the rest, size and place allowed for.

    Parameters
    ----------
    source
        Folder that `map` wrote, with two years or more.
    surging
        Text file with one glacier id a line, fixed before looking at the rates.
    out
        .json; default: surges.json in the folder.
    block_km
        Side of the spatial blocks within which glaciers are compared, km.
    strata
        Size strata.
    permutations
        Permutations of the labels.
    """
    from icemapper_xr import pipeline

    report = pipeline.surges_of_run(
        source,
        surging,
        out=out,
        block_km=block_km,
        n_strata=strata,
        n_permutations=permutations,
        **measuring.keywords(),
    )
    print(report.summary())
    print(f"wrote {report.out}")


@app.command(name="termini")
def termini_(source: Path, boxes: Path, out: Path | None = None, *, outlines: Path | None = None) -> None:
    """Measure advance and retreat of termini by the box method.

    Parameters
    ----------
    source
        Folder that `map` wrote.
    boxes
        Points in the middle of each box's upstream side, with azimuth (degrees from the grid's north), width, length
        (metres) and id.
    out
        .csv (the method in lines that begin with #) or .json; default: termini.csv in the folder.
    outlines
        Outlines with a column year; default: outlines.gpkg in the folder.
    """
    from icemapper_xr import pipeline

    report = pipeline.termini_of_run(source, boxes, outlines=outlines, out=out)
    print(report.summary())
    print(f"wrote {report.out}")


@app.command(name="inventories")
def inventories_(
    first: Path,
    second: Path,
    out: Path | None = None,
    *,
    first_year: int | None = None,
    second_year: int | None = None,
    min_area_km2: float = 0.0,
    relative_sigma: float | None = None,
    recent_rate: Annotated[float | None, Parameter(allow_leading_hyphen=True)] = None,
    recent_half_width: float | None = None,
    draws: int = 100_000,
    seed: int = 42,
) -> None:
    """Rate of change between two inventories of mixed dates, by Monte Carlo; and how much a recent rate exceeds it.

    Parameters
    ----------
    first
        Outlines of the older inventory, with year or src_date.
    second
        Outlines of the younger one, the same glaciers.
    out
        .json; default: none is written.
    first_year
        Year to take of a first file that holds several of the same ice; default: all of it.
    second_year
        The same of the second, for example of outlines.gpkg.
    min_area_km2
        Smallest glacier that counts; with the same ids in both files the larger outline decides.
    relative_sigma
        Relative standard error of an inventory's area; default: that of the publication, 0.00755.
    recent_rate
        Recent rate, km2 a year, for the acceleration factor.
    recent_half_width
        Its 1.96 standard deviations.
    draws
        Draws of each stage.
    seed
        Seed of the draws.
    """
    from icemapper_xr import pipeline

    options: dict[str, Any] = {} if relative_sigma is None else {"relative_sigma": relative_sigma}
    report = pipeline.inventories_of_files(
        first,
        second,
        out=out,
        first_year=first_year,
        second_year=second_year,
        min_area_km2=min_area_km2,
        recent_rate=recent_rate,
        recent_half_width=recent_half_width,
        n_draws=draws,
        seed=seed,
        **options,
    )
    print(report.summary())
    if report.out is not None:
        print(f"wrote {report.out}")
