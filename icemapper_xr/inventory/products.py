"""The tables of an inventory in RGI 7's form and in GLIMS'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import shapely

from icemapper_xr.errors import OptionError
from icemapper_xr.inventory import attributes, schema, shapes
from icemapper_xr.inventory.names import TERMINI
from icemapper_xr.inventory.submission import Person, Submission

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Facts", "complexes", "glacier_product", "glims_product", "intersects", "submission_info", "uncertainty"]

_TERM_TYPES: Final = {name: number for number, name in TERMINI.items()}
UNCERTAINTY: Final = ("rgi_id", "half_width_m", "area_low_km2", "area_high_km2", "touches_edge")
"""Columns of the table of uncertainties, which RGI 7 does not have."""


@dataclass(frozen=True)
class Facts:
    """What is said of all glaciers of a package."""

    year: int
    src_date: str
    """ISO date that the outlines stand for."""
    anlys_time: str
    """ISO date on which the outlines were drawn."""
    proc_desc: str
    submission: Submission
    dem_source: str = ""

    def rgi_id(self, product: str, number: int) -> str:
        """Provisional identifier: year and version of ours, in RGI's form, so that it cannot be taken for RGI's."""
        return f"{self.stem(product)}-{number:05d}"

    def stem(self, product: str) -> str:
        """Begin a file name."""
        return f"ICM{self.year}-v{self.submission.version}-{product}-{self.submission.o1region}"


def glacier_product(glaciers: gpd.GeoDataFrame, topography: pd.DataFrame, facts: Facts) -> gpd.GeoDataFrame:
    """Give the glaciers of one year RGI 7's fields; from west to east.

    Parameters
    ----------
    glaciers
        Of `divide`, one year, EPSG:4326.
    topography
        Of `attributes.topography`, the same rows.
    facts
        Of the package.

    Returns
    -------
    geopandas.GeoDataFrame
        The fields of `schema.GLACIER` with their types, and `local_id`: the glaciers' `id`.
    """
    import geopandas as gpd

    places = attributes.centres(glaciers)
    topography = topography.reset_index(drop=True)
    rows = glaciers.reset_index(drop=True)
    made = pd.DataFrame(
        {
            "o1region": facts.submission.o1region,
            "o2region": facts.submission.o2region,
            "glims_id": _glims_ids(rows, places),
            "anlys_id": 0,
            "subm_id": 0,
            "src_date": f"{facts.src_date}T00:00:00",
            "cenlon": places[:, 0],
            "cenlat": places[:, 1],
            "utm_zone": _zones(places),
            "area_km2": rows["area_km2"].astype(float),
            "primeclass": 0,
            "conn_lvl": 0,
            "surge_type": 9,
            "term_type": [_TERM_TYPES.get(str(end), 9) for end in rows["terminus"]],
            "glac_name": [name if isinstance(name, str) else "" for name in rows["name"]],
            "is_rgi6": 0,
            "dem_source": facts.dem_source,
            "local_id": rows["id"].astype(str),
        },
        index=rows.index,
    ).join(topography)
    order = np.lexsort((places[:, 1], places[:, 0]))
    made = made.iloc[order].reset_index(drop=True)
    made["rgi_id"] = [facts.rgi_id("G", number + 1) for number in range(len(made))]
    geometry = np.asarray(rows.geometry.values, dtype=object)[order]
    columns = [*(field.name for field in schema.GLACIER), "local_id"]
    return gpd.GeoDataFrame(typed(made, schema.GLACIER)[columns], geometry=geometry, crs=rows.crs)


def _zones(places: Any) -> Any:
    return ((places[:, 0] + 180) % 360 // 6).astype(int) + 1


def _glims_ids(rows: gpd.GeoDataFrame, places: Any) -> list[str]:
    """Return GLIMS ids: the reference's, else the glacier's own if it is one, else of the largest part's place."""
    first = rows["glacier_id"].astype(str)
    made = dict(zip(first[::-1], shapes.glims_ids(shapely.points(places))[::-1], strict=True))
    given = rows["glims_id"].astype(str) if "glims_id" in rows else first
    return [
        next((name for name in (known, own) if shapes.is_glims(name)), made[own])
        for known, own in zip(given, first, strict=True)
    ]


def typed(table: pd.DataFrame, fields: Sequence[schema.Field]) -> pd.DataFrame:
    """Bring columns to the types of their fields.

    Raises
    ------
    OptionError
        If a text is longer than a shapefile keeps.
    """
    made = table.copy()
    for field in fields:
        column = made[field.name]
        if field.datatype == "str":
            made[field.name] = column.fillna("").astype(str)
            _require_width(made[field.name], field)
        else:
            made[field.name] = column.astype("int64" if field.datatype == "int" else "float64")
    return made


def _require_width(column: pd.Series, field: schema.Field) -> None:
    size = column.str.encode("utf-8").str.len()
    if field.width is not None and len(column) and size.max() > field.width:
        text = str(column[size > field.width].iloc[0])
        raise OptionError(
            f"{field.name} has {size.max()} bytes (UTF-8), a shapefile keeps {field.width}: give a shorter one than "
            f"{text[:60]!r}{' ...' if len(text) > 60 else ''}"
        )


def complexes(glaciers: gpd.GeoDataFrame, facts: Facts) -> tuple[gpd.GeoDataFrame, dict[str, list[str]]]:
    """Dissolve glaciers that share a border; returns the complexes, and which glaciers each is made of."""
    import geopandas as gpd

    geometry = np.asarray(glaciers.geometry.values, dtype=object)
    parts = np.asarray(shapely.get_parts(shapely.union_all(geometry)), dtype=object)
    made = gpd.GeoDataFrame(geometry=parts, crs=glaciers.crs)
    places = attributes.centres(made)
    order = np.lexsort((places[:, 1], places[:, 0]))
    made, places = made.iloc[order].reset_index(drop=True), places[order]
    made["rgi_id"] = [facts.rgi_id("C", number + 1) for number in range(len(made))]
    made["o1region"], made["o2region"] = facts.submission.o1region, facts.submission.o2region
    made["cenlon"], made["cenlat"] = places[:, 0], places[:, 1]
    made["utm_zone"] = _zones(places)
    made["area_km2"] = shapes.areas_km2(made)
    links: dict[str, list[str]] = {name: [] for name in made["rgi_id"]}
    if len(made):
        inside = shapely.STRtree(np.asarray(made.geometry.values)).query_nearest(
            shapely.point_on_surface(geometry), all_matches=False
        )[1]
        for name, number in zip(glaciers["rgi_id"], inside, strict=True):
            links[made["rgi_id"].iloc[number]].append(str(name))
    columns = [field.name for field in schema.COMPLEX]
    return gpd.GeoDataFrame(typed(made, schema.COMPLEX)[[*columns, "geometry"]], crs=glaciers.crs), links


def intersects(glaciers: gpd.GeoDataFrame, facts: Facts) -> gpd.GeoDataFrame:
    """Return the borders between glaciers, single lines."""
    import geopandas as gpd
    import pyproj

    lines = shapely.boundary(np.asarray(glaciers.geometry.values, dtype=object))
    i, j = shapely.STRtree(lines).query(lines, predicate="intersects") if lines.size else (np.empty(0, int),) * 2
    i, j = i[i < j], j[i < j]
    shared = shapely.line_merge(shapely.intersection(lines[i], lines[j]))
    parts, pair = shapely.get_parts(shared, return_index=True)
    single = shapely.get_type_id(parts) == shapely.GeometryType.LINESTRING
    parts, pair = parts[single], pair[single]
    geod = pyproj.Geod(ellps="WGS84")
    names = glaciers["rgi_id"].to_numpy(dtype=object)
    table = pd.DataFrame(
        {
            "rgi_id": [facts.rgi_id("I", number + 1) for number in range(parts.size)],
            "rgi_g_id_1": names[i[pair]],
            "rgi_g_id_2": names[j[pair]],
            "length_m": [geod.geometry_length(part) for part in parts],
        }
    )
    made = typed(table, schema.INTERSECTS)[[field.name for field in schema.INTERSECTS]]
    return gpd.GeoDataFrame(made, geometry=parts, crs=glaciers.crs)


def uncertainty(product: gpd.GeoDataFrame, glaciers: gpd.GeoDataFrame) -> pd.DataFrame:
    """Return the uncertainty of each row of the glacier product."""
    columns = [name for name in UNCERTAINTY if name != "rgi_id"]
    known = glaciers.set_index("id").reindex(columns=columns).reindex(product["local_id"].to_numpy())
    known.insert(0, "rgi_id", product["rgi_id"].to_numpy())
    return pd.DataFrame(known.reset_index(drop=True))


def submission_info(product: gpd.GeoDataFrame, facts: Facts) -> pd.DataFrame:
    """Return one row on who made the outlines, and how."""
    asked = facts.submission
    row = {
        "subm_id": 0,
        "n_outlines": len(product),
        "area_km2": float(product["area_km2"].sum()),
        "anlys_time": facts.anlys_time,
        "release_dt": "",
        "proc_desc": facts.proc_desc,
        "chief_affl": asked.chief_affl,
        "submitters": people(asked.submitters),
        "analysts": people(asked.analysts),
        "rc_id": asked.rc_id or 0,
    }
    return typed(pd.DataFrame([row]), schema.SUBMISSION)


def people(persons: Sequence[Person]) -> str:
    """Write names in one line."""
    return "; ".join(map(str, persons))


def glims_product(glaciers: gpd.GeoDataFrame, topography: pd.DataFrame, facts: Facts) -> gpd.GeoDataFrame:
    """Give the glaciers of one year GLIMS' fields: outlines with their holes open, and the holes as rock."""
    import geopandas as gpd

    product = glacier_product(glaciers, topography, facts)
    known = glaciers.set_index("id").reindex(product["local_id"].to_numpy())
    asked = facts.submission
    made = pd.DataFrame(
        {
            "line_type": "glac_bound",
            "glac_id": product["glims_id"],
            "local_id": product["local_id"],
            "glac_name": product["glac_name"],
            "anlys_time": facts.anlys_time,
            "src_date": product["src_date"],
            "rec_status": "okay",
            "area": product["area_km2"],
            "length": product["lmax_m"],
            "width": product["area_km2"] * 1e6 / product["lmax_m"].where(product["lmax_m"] > 0),
            "primeclass": 0,
            "min_elev": product["zmin_m"],
            "mean_elev": product["zmean_m"],
            "max_elev": product["zmax_m"],
            "glob_unc_x": asked.geolocation_m,
            "glob_unc_y": asked.geolocation_m,
            "term_type": product["term_type"],
            "proc_desc": facts.proc_desc,
            "chief_affl": asked.chief_affl,
            "rc_id": asked.rc_id or 0,
            "submitters": people(asked.submitters),
            "analysts": people(asked.analysts),
        },
        index=product.index,
    )
    for name, column in {
        "loc_unc_x": "half_width_m",
        "loc_unc_y": "half_width_m",
        "area_low": "area_low_km2",
        "area_high": "area_high_km2",
    }.items():
        made[name] = known[column].to_numpy(dtype=float) if column in known else np.nan
    made["data_edge"] = known["touches_edge"].to_numpy(dtype=bool).astype(int)
    bounds = gpd.GeoDataFrame(made, geometry=product.geometry.values, crs=product.crs)
    whole = pd.concat([bounds, _rock(bounds)], ignore_index=True) if len(bounds) else bounds
    return gpd.GeoDataFrame(
        typed(whole, schema.GLIMS)[[*(field.name for field in schema.GLIMS), "geometry"]], crs=product.crs
    )


def _rock(bounds: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the holes, as rows of their own."""
    rings = [(number, ring) for number, shape in enumerate(bounds.geometry) for ring in shape.interiors]
    rows = bounds.iloc[[number for number, _ in rings]].reset_index(drop=True)
    made = rows.set_geometry([shapely.Polygon(ring) for _, ring in rings], crs=bounds.crs)
    if not len(made):
        return made
    missing = ["length", "width", "min_elev", "mean_elev", "max_elev"]
    area = shapes.areas_km2(made)
    return made.assign(
        line_type="intrnl_rock", area=area, area_low=area, area_high=area, **dict.fromkeys(missing, np.nan)
    )
