"""A mapped folder as a package for RGI or GLIMS, and the check of both."""

from __future__ import annotations

import datetime as dt
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from icemapper_xr import addresses, conventions, inventory, store, vectorise
from icemapper_xr._version import __version__
from icemapper_xr.errors import OptionError, StoreError
from icemapper_xr.pipeline import divided, sheets, tables, tiled
from icemapper_xr.pipeline.entities import given_glaciers, glaciers_of, without_outlines
from icemapper_xr.pipeline.outlining import OUTLINES, drawing_of
from icemapper_xr.pipeline.records import settings_of
from icemapper_xr.pipeline.sheets import Sheet

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

__all__ = ["ExportReport", "export_of_run", "qc_of"]

Product = Literal["rgi", "glims"]
SEASON_END: Final = {"north": "08-31", "south": "02-28"}
"""Month and day that an outline stands for: the end of the ablation season of its year."""


@dataclass(frozen=True)
class ExportReport:
    """What `export_of_run` wrote."""

    folder: Path
    year: int
    outlines: int
    area_km2: float
    left_out: dict[str, tuple[str, ...]]
    """Glaciers that were left out, by the reason: `edge`, `size`."""


def export_of_run(
    source: str | Path,
    out: str | Path | None = None,
    *,
    product: Product,
    submission: str | Path | inventory.Submission,
    year: int | None = None,
    dem: str | Path | None = None,
    dem_source: str | None = None,
    reference: str | Path | None = None,
    keep_edge: bool = False,
    partial: bool = False,
) -> ExportReport:
    """Write the glaciers of one mapped year as a package for RGI or GLIMS.

    Parameters
    ----------
    source
        Output folder of `map_glaciers` after `divides_of_run`.
    out
        Folder to write; None is ``<product>_<year>`` in the source. An older package there is replaced.
    product
        "rgi": glacier, complex and intersects products of RGI 7 with attributes, hypsometry, links, submission info.
        "glims": a shapefile of outlines and rock with GLIMS' fields.
    submission
        File with the answers to `inventory.FORM`: who made the outlines, and where they belong.
    year
        Which year; None is the last of the glaciers, with a warning if the map has a later one.
    dem, dem_source
        Raster of elevation for the topography, and what to call it; without one there are missing values.
    reference
        RGI 7 outlines to link to ("rgi" only).
    keep_edge
        Whether to keep glaciers of which a part ends where the data end; their areas are not those of the glaciers.
    partial
        Whether glaciers that the DEM does not cover may have missing values; else they are an error.

    Returns
    -------
    ExportReport

    Raises
    ------
    OptionError
        If an answer of the form is missing, the year is not there, no glacier of it is to be exported, or the place is
        closed.
    StoreError
        If the folder was not divided, or its outlines were drawn anew since, or if its glaciers lack what a package is
        made of, or something else lies in the way.
    VectorError
        If the DEM does not cover the glaciers.
    """
    if product not in ("rgi", "glims"):
        raise OptionError(f"product={product!r} is unknown; name rgi or glims")
    answers = submission if isinstance(submission, inventory.Submission) else inventory.read_submission(submission)
    folder = addresses.local_path(source)
    path, every = glaciers_of(folder)
    if path.name == OUTLINES:
        raise StoreError(f"{folder} is not divided into glaciers: run `icemapper divides {folder}` first")
    every = divided.required(divided.sound(every, path), path)
    chosen = _year(every, year, path)
    later = [] if year is not None else [one for one in without_outlines(folder, [chosen]) if one > chosen]
    if later:
        warnings.warn(
            f"the package is of {chosen}, the last year of {path}; the map has {', '.join(map(str, later))}, too: run "
            f"`icemapper divides {folder}` again for a package of it, or name the year",
            UserWarning,
            stacklevel=2,
        )
    glaciers = every[every[conventions.YEAR] == chosen].reset_index(drop=True)
    kept, left_out = _kept(glaciers, keep_edge=keep_edge)
    if not len(kept):
        edge, small = (len(left_out[reason]) for reason in ("edge", "size"))
        raise OptionError(
            f"of the {len(glaciers)} polygons of {chosen} in {path} {edge} are of glaciers that end where the data end "
            f"and {small} are below {conventions.MIN_AREA_KM2} km2, so there is nothing to export: map a larger area, "
            "or keep those at the edge with keep_edge (--keep-edge)"
        )
    facts = _facts(path.parent, chosen)
    facts |= {
        "product": product,
        "left_out": {reason: list(rows["id"]) for reason, rows in left_out.items()},
        "left_out_km2": float(sum(rows["area_km2"].sum() for rows in left_out.values())),
    }
    about = _about(facts, answers, dem, dem_source)
    provenance = {"format": 1, **facts, "src_date": about.src_date, "dem": about.dem_source}
    target = path.parent / f"{product}_{chosen}" if out is None else addresses.local_path(out)
    tables.check_place(target)
    table, bands = inventory.topography(kept, None if dem is None else str(dem), partial=partial)
    if product == "glims":
        inventory.write_glims(target, product=inventory.glims_product(kept, table, about), provenance=provenance)
    else:
        made = inventory.glacier_product(kept, table, about)
        inventory.write_rgi(
            target,
            product=made,
            glaciers=kept,
            bands=bands,
            facts=about,
            links=_links(reference, made),
            provenance=provenance,
        )
    names = {reason: tuple(rows["id"]) for reason, rows in left_out.items() if len(rows)}
    return ExportReport(target, chosen, len(kept), float(kept["area_km2"].sum()), names)


def _year(glaciers: gpd.GeoDataFrame, year: int | None, path: Path) -> int:
    known = inventory.years_of(glaciers)
    if not known:
        raise OptionError(f"{path} has no glaciers of a year: there is nothing to export")
    if year is not None and year not in known:
        raise OptionError(f"{path} has the years {', '.join(map(str, known))}, not {year}")
    return known[-1] if year is None else year


def _kept(glaciers: gpd.GeoDataFrame, *, keep_edge: bool) -> tuple[gpd.GeoDataFrame, dict[str, gpd.GeoDataFrame]]:
    # All parts of a glacier at the edge: a fragment of it that lies inside is not the glacier.
    cut = glaciers.loc[glaciers["touches_edge"], "glacier_id"]
    edge = glaciers["glacier_id"].isin(cut).to_numpy() & (not keep_edge)
    small = (glaciers["area_km2"].to_numpy(dtype=float) < conventions.MIN_AREA_KM2) & ~edge
    kept = glaciers[~edge & ~small].reset_index(drop=True)
    return kept, {"edge": glaciers[edge], "size": glaciers[small]}


def _links(reference: str | Path | None, product: gpd.GeoDataFrame) -> pd.DataFrame | None:
    if reference is None:
        return None
    return inventory.link(given_glaciers(reference, product), product[["rgi_id", "geometry"]])


def _about(
    facts: dict[str, Any], answers: inventory.Submission, dem: str | Path | None, dem_source: str | None
) -> inventory.Facts:
    text = answers.proc_desc or (
        f"icemapper_xr {facts.get('version', __version__)}: ICEmapper network (Maslov et al. 2025, "
        f"doi:10.31223/X5472T), weights {facts.get('weights', 'unknown')}, "
        f"Sentinel-1 orbit {facts.get('relative_orbit')}, {facts.get('polarisation')}, "
        f"threshold {facts.get('threshold')}"
    )
    return inventory.Facts(
        year=int(facts["year"]),
        src_date=_src_date(facts, answers),
        anlys_time=str(facts.get("created") or dt.datetime.now(dt.UTC).date())[:10],
        proc_desc=text,
        submission=answers,
        dem_source="" if dem is None else dem_source or Path(dem).stem,
    )


def _src_date(facts: dict[str, Any], answers: inventory.Submission) -> str:
    day = answers.src_date or SEASON_END["south" if facts.get("southern") else "north"]
    first, last = facts.get("first_date") or "", facts.get("last_date") or "9999"
    year = int(facts["year"])
    try:
        usual = dt.date.fromisoformat(f"{year}-{day}")
    except ValueError as error:
        raise OptionError(f"src_date is {day!r}: {error}; write month and day, 08-31") from None
    # A series over new year has the end of its season in a year beside the one it is named after.
    dates = [usual.isoformat(), *(f"{other}{usual:-%m-%d}" for other in (year + 1, year - 1))]
    return next((date for date in dates if first <= date <= last), dates[0])


def _facts(folder: Path, year: int) -> dict[str, Any]:
    """Return what is known of one year of a map; only the year without its cube."""
    region, path = tiled.is_region(folder), store.cube_of(folder)
    if not region and not store.exists(path):
        return {"year": year}
    opened = sheets.of_region(folder, [year]) if region else sheets.of_store(path, [year])
    stores = [store.provenance(sheet.path) for sheet in opened.sheets]
    first, of_year = stores[0], [one["years"].get(year, {}).get("attrs", {}) for one in stores]
    run = first["run"]
    threshold = float(settings_of(folder).get("threshold", conventions.THRESHOLD))
    raster, adjusted, rounding = _raster(opened.sheets, folder, year, threshold)
    dates = [[str(attrs[name]) for attrs in of_year if attrs.get(name)] for name in ("first_date", "last_date")]
    facts = {
        "year": year,
        "crs": run["crs"],
        "resolution": run["resolution"],
        "chunk": run["chunk"],
        "first_date": min(dates[0], default=None),
        "last_date": max(dates[1], default=None),
        "scenes": sorted({item for attrs in of_year for item in attrs.get(conventions.ATTR_ITEMS, [])}),
        "relative_orbit": _one_or_all([one["run"].get("relative_orbit") for one in stores]),
        "polarisation": _one_or_all([one["run"].get("polarisation") for one in stores]),
        "platforms": _one_or_all([attrs.get(conventions.ATTR_PLATFORMS) for attrs in of_year]),
        "weights": first["attrs"].get(conventions.ATTR_WEIGHTS),
        "weights_digest": run.get("weights_digest"),
        "threshold": threshold,
        "created": max(str(one["years"].get(year, {}).get("started") or one["created"]) for one in stores),
        "version": first["attrs"].get(conventions.ATTR_VERSION, __version__),
        "raster_km2": raster,
        "adjusted_km2": adjusted,
        "rounding_km2": rounding,
        "southern": bool(_latitude(opened.sheets[0].probability) < 0),
    }
    if region:  # one chunk lattice a zone: the rule on seams knows one
        facts |= {"crs": None, "chunk": None, "tiles": [sheet.name for sheet in opened.sheets]}
    return facts


def _one_or_all(values: list[Any]) -> Any:
    """Return what all tiles have in common, or every value, in words; None if some tile lacks it."""
    distinct = list(dict.fromkeys(values))
    if len(distinct) == 1 or None in distinct:
        return distinct[0] if len(distinct) == 1 else None
    return f"{', '.join(sorted(map(str, distinct)))} (one in each tile)"


def _latitude(cube: Any) -> float:
    import pyproj

    to_degrees = pyproj.Transformer.from_crs(cube.rio.crs, 4326, always_xy=True)
    return float(to_degrees.transform(float(cube.x.mean()), float(cube.y.mean()))[1])


def _raster(opened: Sequence[Sheet], folder: Path, year: int, threshold: float) -> tuple[float, float, float]:
    """Return the raster's ice, what the outlines leave out of it (small bodies) or add (holes), its rounding; km2."""
    from icemapper_xr.analysis import areas, domains

    raster = 0.0
    for sheet in opened:
        plane, cut = sheet.probability.sel({conventions.YEAR: year}), sheet.cut(None)
        share = None if cut is None else domains.shares(cut, plane)
        with sheet.reading():
            raster += float(areas.areas(plane, threshold=threshold, share=share)["hard_area"].sum())
    drawn = vectorise.read(folder / OUTLINES)
    kept = float(drawn.loc[drawn[conventions.YEAR] == year, "area_km2"].sum())
    whole = drawing_of(folder, year=year).draw(year, threshold=threshold, min_area_km2=0.0)
    # A margin of n pixels rounds the area by sqrt(n) / 3 pixels (one standard deviation; measured on random discs).
    pixel = abs(float(opened[0].probability.rio.resolution()[0])) / 1e3
    one_sigma = math.sqrt(float(whole["perimeter_km"].sum()) / pixel) / 3 * pixel**2
    return raster, kept - float(whole["area_km2"].sum()), 3 * one_sigma


def qc_of(source: str | Path, *, year: int | None = None) -> inventory.Report:
    """Check a package, or the glaciers of a mapped folder, rule by rule.

    Parameters
    ----------
    source
        Folder of a package, or output folder of `map_glaciers` (its glaciers, or its outlines before `divides`).
    year
        Which year of a map; None is all. A package has one, its own.

    Returns
    -------
    inventory.Report
        One finding a rule: kept, broken with the ids that break it, or not known.

    Raises
    ------
    StoreError
        If there is nothing to check.
    OptionError
        If the year is not there.
    """
    folder = addresses.local_path(source)
    if inventory.is_package(folder):
        subject = inventory.of_package(folder)
        own = subject.facts.get("year")
        if year is not None and year != own:
            raise OptionError(f"{folder} is a package of the year {own}, not {year}: leave the year out")
        return inventory.check(subject)
    path, glaciers = glaciers_of(folder)
    glaciers = divided.sound(glaciers, path)
    known = inventory.years_of(glaciers)
    if year is not None and year not in known:
        raise OptionError(f"{path} has the years {', '.join(map(str, known)) or 'none'}, not {year}")
    wanted = known if year is None else [year]
    if not wanted:
        return inventory.check(inventory.of_table(glaciers, {}))
    subjects = [
        inventory.of_table(glaciers[glaciers[conventions.YEAR] == one], _facts(path.parent, one)) for one in wanted
    ]
    return inventory.check(*subjects)
