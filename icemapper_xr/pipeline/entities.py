"""Glaciers of a mapped folder: divides, and links through the years and to an inventory."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from icemapper_xr import addresses, conventions, inventory, store, vectorise, whole
from icemapper_xr.errors import OptionError, StoreError, VectorError, not_written
from icemapper_xr.inventory import links, names, shapes
from icemapper_xr.pipeline import divided, observed, outlining, tables, tiled
from icemapper_xr.pipeline.outlining import OUTLINES
from icemapper_xr.pipeline.records import settings_of
from icemapper_xr.pipeline.runs import GLACIERS

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

__all__ = [
    "LinkReport",
    "divides_of_run",
    "given_glaciers",
    "glaciers_of",
    "links_of_run",
    "without_outlines",
    "write_table",
]

LAYER = "glaciers"
LINKS_YEARS = "links_years.csv"
LINKS_INVENTORY = "links_inventory.csv"


def divides_of_run(
    source: str | Path,
    out: str | Path | None = None,
    *,
    reference: str | Path | None = None,
    dem: str | Path | None = None,
    method: inventory.Method = "auto",
    options: inventory.FlowshedOptions | None = None,
    cell: float | None = None,
    min_area_km2: float = conventions.MIN_AREA_KM2,
    partial: bool = False,
    sea_level: float | None = None,
    calibration: str | Path = "auto",
) -> tuple[Path, gpd.GeoDataFrame]:
    """Divide the outlines of a finished map into glaciers, with the same divides in all years, and write them.

    Parameters
    ----------
    source
        Output folder of `map_glaciers` or `map_region`, or a file of outlines.
    out
        File to write (.gpkg, .parquet, .geojson); None is ``glaciers.gpkg`` beside the outlines.
    reference
        File of glaciers whose divides and ids are copied, for example RGI 7.
    dem
        Raster of elevation, metres.
    method, options, cell, min_area_km2, partial, sea_level
        As in `icemapper_xr.inventory.divide`.
    calibration
        Of the band of outlines that have none yet, as in `outlines_of_run`.

    Returns
    -------
    tuple of Path and GeoDataFrame
        The file and its content, as of `icemapper_xr.inventory.divide`; in a folder with its cube also the width of
        the margins and the interval of the areas (`icemapper_xr.vectorise.band`).

    Raises
    ------
    StoreError
        If the folder has no outlines.
    OptionError, VectorError
        As `icemapper_xr.inventory.divide`; or the file is one that a map keeps for itself.
    """
    path = _outlines_path(addresses.local_path(source))
    target = path.parent / GLACIERS if out is None else addresses.local_path(out)
    vectorise.suffix_of(target)  # before minutes of work
    tables.check_target(target, own=tables.GLACIERS)
    plain = _placed(vectorise.read(path), path)
    drawn = _with_band(path, plain, calibration)
    if drawn is plain and str(calibration) not in ("auto", "none"):
        raise OptionError(
            f"calibration={calibration}: {path} has its margins' band already, or no map beside it to measure one in; "
            "leave calibration out"
        )
    table = inventory.divide(
        drawn,
        reference=None if reference is None else given_glaciers(reference, drawn),
        dem=None if dem is None else str(dem),
        method=method,
        options=options,
        cell=cell,
        min_area_km2=min_area_km2,
        partial=partial,
        sea_level=sea_level,
    )
    table = _at_edge(path, table)
    if outlining.CALIBRATION in drawn and len(drawn):
        table = table.assign(**{outlining.CALIBRATION: str(drawn[outlining.CALIBRATION].iloc[0])})
    said = divided.origin(plain) if path.name == OUTLINES else None
    return vectorise.write(table, target, layer=LAYER, metadata=said), table


def _with_band(path: Path, drawn: gpd.GeoDataFrame, calibration: str | Path) -> gpd.GeoDataFrame:
    """Measure the margins of outlines whose map lies beside them, where that was not done."""
    if path.name != OUTLINES or "half_width_m" in drawn:
        return drawn
    if not (tiled.is_region(path.parent) or store.exists(store.cube_of(path.parent))):
        return drawn
    made = settings_of(path.parent)
    how = {name: float(made[name]) for name in ("threshold", "min_hole_km2") if name in made}
    how.setdefault("threshold", conventions.THRESHOLD)
    return outlining.drawing_of(path.parent).band(drawn, calibration=calibration, **how).outlines


def _at_edge(path: Path, table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Tell the pieces of an outline at the data's edge that lie there from those that do not; not in a region."""
    there = table["touches_edge"].to_numpy(dtype=bool, copy=True)
    if path.name != OUTLINES or not there.any() or not store.exists(cube := store.cube_of(path.parent)):
        return table
    years = [int(year) for year in table[conventions.YEAR].unique()]
    with store.steady(cube, store.state(cube, years), years):
        there[there] = vectorise.at_data_edge(store.open_store(cube), table[there])
    return table.assign(touches_edge=there)


def _placed(frame: gpd.GeoDataFrame, path: Path) -> gpd.GeoDataFrame:
    """Refuse polygons of a file that says not where they are."""
    if frame.crs is None:
        raise VectorError(
            f"{path} has no CRS: write the one it is in, for example `ogr2ogr -a_srs EPSG:32633 placed.gpkg {path}`"
        )
    return frame


def _outlines_path(source: Path) -> Path:
    if source.is_file():
        return source
    path = source / OUTLINES
    if not path.is_file():
        raise StoreError(f"{source} has no {OUTLINES}: name an output folder of `icemapper map`, or a file of outlines")
    return path


def glaciers_of(source: str | Path) -> tuple[Path, gpd.GeoDataFrame]:
    """Return the file of glaciers of a folder, of outlines where it was not divided, or the file that is named.

    Raises
    ------
    StoreError
        If there is none, or if the outlines of the folder were drawn anew since it was divided.
    """
    folder = addresses.local_path(source)
    path = folder / GLACIERS
    if not path.is_file():
        path = _outlines_path(folder)
        return path, vectorise.read(path)
    divided.refuse_stale(path)
    return path, vectorise.read(path)


@dataclass(frozen=True)
class LinkReport:
    """What `links_of_run` found."""

    years: pd.DataFrame
    """Links from each year to the next."""
    inventory: pd.DataFrame | None
    """Links from the inventory to the year chosen; None without an inventory."""
    year: int | None
    """The year linked to the inventory."""
    written: tuple[Path, ...]
    """Files."""

    def counts(self) -> list[dict[str, object]]:
        """One row a comparison: what was compared, and the number of glaciers of each kind."""
        rows = []
        for (one, two), table in self.years.groupby(["year_1", "year_2"]):
            rows.append({"from": one, "to": two, **_count(table)})
        if self.inventory is not None:
            rows.append({"from": "inventory", "to": self.year, **_count(self.inventory)})
        return rows


def _count(table: pd.DataFrame) -> dict[str, int]:
    """Count clusters, so that a split in three is one split."""
    kinds = table.groupby("cluster")["kind"].first().value_counts()
    return {kind: int(kinds.get(kind, 0)) for kind in inventory.KINDS}


def links_of_run(
    source: str | Path,
    *,
    inventory_file: str | Path | None = None,
    inventory_year: int | None = None,
    year: int | None = None,
    out: str | Path | None = None,
    least_overlap_km2: float = inventory.LEAST_OVERLAP_KM2,
    least_share: float = inventory.LEAST_SHARE,
) -> LinkReport:
    """Link the glaciers of each mapped year to the next, and to a given inventory, and write the tables.

    Of the glaciers of a map's folder, one that is in one year only is `unobserved`, not `gone` or `new`, if the map
    observed less than half of its ground in the other; so is one of the inventory that the map has no counterpart of.

    Parameters
    ----------
    source
        Output folder of `map_glaciers`: its glaciers if `divides_of_run` made them, else its outlines; or a file.
    inventory_file
        File of glaciers to link to, for example RGI 7.
    inventory_year
        Which year of it (its column `year`); None takes all, refused where they hold the same ice.
    year
        Year linked to the inventory; None is the last one.
    out
        Folder for ``links_years.csv`` and ``links_inventory.csv``; None is that of the glaciers.
    least_overlap_km2, least_share
        As in `icemapper_xr.inventory.link`.

    Returns
    -------
    LinkReport

    Raises
    ------
    StoreError
        If there are no glaciers.
    OptionError
        If there is but one year and no inventory, or a year is not there, or the folder is closed.
    VectorError
        As in `icemapper_xr.inventory.link`.
    """
    path, glaciers = glaciers_of(source)
    _placed(glaciers, path)
    folder = path.parent if out is None else addresses.local_path(out)
    tables.check_place(folder / LINKS_YEARS)
    years = shapes.whole_years(glaciers, f"the glaciers of {path}")
    known = sorted({int(one) for one in years if one is not None})
    if inventory_year is not None and inventory_file is None:
        raise OptionError(f"inventory_year={inventory_year} but there is no inventory: name one, or leave the year out")
    if inventory_file is None and len(known) < 2:
        told = f"one year only ({known[0]})" if known else "no year (in a column 'year')"
        raise OptionError(f"{path} has {told}: name an inventory to link it to (--inventory), or map another year")
    chosen = known[-1] if year is None and known else year
    if year is not None and year not in known:
        raise OptionError(f"{path} has the years {', '.join(map(str, known))}, not {year}")
    if bare := without_outlines(addresses.local_path(source), known):
        warnings.warn(
            f"{path} has no outline of {', '.join(map(str, bare))}, which the map has: no ice was found then, or it "
            "was not drawn; links pass over such years, so that what vanished in one is no glacier gone",
            UserWarning,
            stacklevel=2,
        )
    to = None
    if inventory_file is not None:  # first of all: what is wrong with it leaves no table of the years behind
        of_year = glaciers if chosen is None else glaciers[years == chosen]
        given = given_glaciers(inventory_file, of_year, year=inventory_year)
        called = (f"the glaciers of {inventory_file}", f"the glaciers of {path}")
        to = inventory.link(given, of_year, least_overlap_km2=least_overlap_km2, least_share=least_share, called=called)
    through = links.none()
    if known:
        through = inventory.link_years(glaciers, least_overlap_km2=least_overlap_km2, least_share=least_share)
    if addresses.local_path(source).is_dir() or path.name in (OUTLINES, GLACIERS):
        by_year = {year: glaciers[years == year] for year in known}
        through = _unobserved_years(through, by_year, path.parent)
        if to is not None and chosen is not None:
            to = _unobserved(to, "gone", given, names.id_column(given, called[0]), path.parent, chosen)
    written = [write_table(through, folder / LINKS_YEARS)] if len(known) > 1 else []
    if to is not None:
        written.append(write_table(to, folder / LINKS_INVENTORY))
    return LinkReport(through, to, chosen, tuple(written))


def without_outlines(source: Path, known: Collection[int]) -> list[int]:
    """Return the finished years of a map that are not among those of its outlines, or glaciers."""
    if not source.is_dir():
        return []
    try:
        with warnings.catch_warnings(action="ignore"):
            mapped = outlining.drawing_of(source).years
    except StoreError:  # outlines stand for themselves
        return []
    return [year for year in mapped if year not in known]


def _unobserved_years(through: pd.DataFrame, by_year: dict[int, gpd.GeoDataFrame], folder: Path) -> pd.DataFrame:
    """Tell glaciers that are gone or new from those that were not looked for in the other year."""
    import pandas as pd

    tables = []
    for one, two in itertools.pairwise(by_year):
        told = through[through["year_1"] == one]
        for kind, year, other in (("gone", one, two), ("new", two, one)):
            rows = by_year[year]
            column = "id" if "id" in rows else names.id_column(rows, f"the glaciers of {year}")
            told = _unobserved(told, kind, rows, column, folder, other)
        tables.append(told)
    return pd.concat(tables) if tables else through


def _unobserved(
    table: pd.DataFrame, kind: str, rows: gpd.GeoDataFrame, column: str, folder: Path, year: int
) -> pd.DataFrame:
    """Call glaciers of a kind unobserved if the map did not see their ground, which lies in `rows`, in a year."""
    of = "id_1" if kind == "gone" else "id_2"
    lone = table[table["kind"] == kind]
    there = observed.sheets_of(folder, year) if len(lone) else ()
    if not there:
        return table
    named = rows[[rows.geometry.name]].assign(**{of: names.ids_of(rows[column])})
    ground = named[named[of].isin(lone[of]) & rows.geometry.notna()].dissolve(of).geometry
    unseen = ground.index[observed.shares(ground, there, year) < observed.LEAST_SHARE]
    return table.assign(kind=table["kind"].mask((table["kind"] == kind) & table[of].isin(unseen), "unobserved"))


def given_glaciers(path: str | Path, ours: gpd.GeoDataFrame, *, year: int | None = None) -> gpd.GeoDataFrame:
    """Read the glaciers of somebody else's file that are to be compared with ours.

    Parameters
    ----------
    path
        Polygons with ids.
    ours
        Outlines or glaciers of the map.
    year
        Which year of the file; None takes all.

    Raises
    ------
    OptionError
        If the year is not there.
    VectorError
        If the file has no CRS, no polygon or no ids, or lies elsewhere; names it.
    """
    what = f"the glaciers of {path}"
    found = shapes.usable(_of_year(vectorise.read(path), year, Path(path)), what)
    if not len(found):
        raise VectorError(f"{path} holds no glacier: name another file")
    for note in names.all_one(found, names.id_column(found, what), what):
        warnings.warn(note, stacklevel=2)
    if len(ours) and not _meet(found, ours):
        raise VectorError(f"{what} lie elsewhere than the map's, none is near them: check the file and its CRS")
    return found


def _meet(one: gpd.GeoDataFrame, other: gpd.GeoDataFrame) -> bool:
    """Whether any polygon meets the box around others."""
    import numpy as np
    import shapely

    plane = shapes.plane_of(other)
    around = shapely.box(*other.to_crs(plane).total_bounds)
    edges = one.to_crs(plane).bounds.to_numpy()
    boxes = shapely.box(*edges[np.isfinite(edges).all(axis=1)].T)  # the far side of the Earth is nowhere
    return bool(shapely.intersects(boxes, around).any())


def _of_year(given: gpd.GeoDataFrame, year: int | None, path: Path) -> gpd.GeoDataFrame:
    if year is None:
        return given
    if conventions.YEAR not in given:
        raise OptionError(f"inventory_year={year}: {path} has no column 'year'; leave the year out")
    years = shapes.year_names(given)
    if str(year) not in years:
        raise OptionError(f"inventory_year={year}: {path} has the years {', '.join(sorted(set(years)))}, not {year}")
    return given[years == str(year)]


def write_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a CSV file that appears in one step.

    Raises
    ------
    VectorError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole.appearing(path) as part:
            table.to_csv(part, index=False, float_format="%.9g", encoding="utf-8")
    except OSError as error:
        raise VectorError(f"Cannot write {path}: {not_written(error, other='folder')}") from error
    return path
