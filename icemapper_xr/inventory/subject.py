"""What is checked: the glaciers of one year of a map, or of a package, under the same names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from icemapper_xr import conventions as cv
from icemapper_xr.errors import StoreError
from icemapper_xr.inventory import package, schema

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Subject", "of_package", "of_table", "years_of"]


@dataclass(frozen=True)
class Subject:
    """Glaciers to check, and what is said of them."""

    glaciers: gpd.GeoDataFrame
    """`id`, `geometry`, and as far as they are known `area_km2`, `area_low_km2`, `area_high_km2`, `half_width_m`,
    `touches_edge`, `src_date`, `cenlon`, `cenlat`."""
    facts: dict[str, Any]
    """Of the run: year, crs, resolution, chunk, first_date, last_date, scenes, relative_orbit, polarisation,
    raster_km2, adjusted_km2, left_out_km2."""
    people: dict[str, str] | None = None
    """Submitters, analysts, affiliation; None where nobody is asked for (a map)."""
    tables: tuple[tuple[str, pd.DataFrame, tuple[schema.Field, ...]], ...] = field(default=())
    """Tables with their fields: file name, content, what it should have."""

    def name(self, number: int) -> str:
        """Id of a row."""
        return str(self.glaciers["id"].iloc[number])


def of_table(glaciers: gpd.GeoDataFrame, facts: dict[str, Any]) -> Subject:
    """Take the glaciers of one year of a map."""
    return Subject(glaciers.reset_index(drop=True), facts)


def of_package(folder: Path) -> Subject:
    """Read a package.

    Raises
    ------
    StoreError
        If files are missing or cannot be read.
    """
    facts = package.read_facts(folder)
    return _rgi(folder, facts) if facts.get("product") == "rgi" else _glims(folder, facts)


def _rgi(folder: Path, facts: dict[str, Any]) -> Subject:
    found = {key: _one(folder, f"*-{key}-*.shp") for key in "GCI"}
    stem = found["G"].stem
    glaciers = _read(found["G"])
    certainty = _table(folder / f"{stem}-uncertainty.csv")
    joined = glaciers.merge(certainty, on="rgi_id", how="left", validate="many_to_many")
    info = _table(folder / f"{stem}-submission_info.csv")
    people = {name: str(info[name].iloc[0]) if len(info) and name in info else "" for name in _PEOPLE}
    tables = (
        (found["G"].name, glaciers, schema.GLACIER),
        (found["C"].name, _read(found["C"]), schema.COMPLEX),
        (found["I"].name, _read(found["I"]), schema.INTERSECTS),
    )
    return Subject(joined.rename(columns={"rgi_id": "id"}), facts, people, tables)


_PEOPLE = ("submitters", "analysts", "chief_affl")


def _glims(folder: Path, facts: dict[str, Any]) -> Subject:
    path = _one(folder, "glaciers.shp")
    every = _read(path)
    bounds = every[every["line_type"] == "glac_bound"].reset_index(drop=True) if "line_type" in every else every
    names = {
        "local_id": "id",
        "area": "area_km2",
        "area_low": "area_low_km2",
        "area_high": "area_high_km2",
        "loc_unc_x": "half_width_m",
        "data_edge": "touches_edge",
    }
    people = {name: str(bounds[name].iloc[0] or "") if len(bounds) and name in bounds else "" for name in _PEOPLE}
    return Subject(bounds.rename(columns=names), facts, people, ((path.name, every, schema.GLIMS),))


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise StoreError(f"{folder} has {len(found)} files {pattern}, not one: export the package again")
    return found[0]


def _read(path: Path) -> gpd.GeoDataFrame:
    import geopandas as gpd

    try:
        return gpd.read_file(path)
    except Exception as error:  # each driver has its own
        raise StoreError(f"Cannot read {path}: {error}; export the package again") from error


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise StoreError(f"Cannot read {path}: {error}; export the package again") from error


def years_of(glaciers: gpd.GeoDataFrame) -> list[int]:
    """Return the years of a table, ascending."""
    return sorted({int(year) for year in glaciers[cv.YEAR].dropna()}) if cv.YEAR in glaciers else []
