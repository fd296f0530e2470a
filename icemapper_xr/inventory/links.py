"""Which polygon of one inventory is which of another: overlaps, and what became of each."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from icemapper_xr import conventions as cv
from icemapper_xr.errors import OptionError, VectorError
from icemapper_xr.inventory import names, shapes

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["COLUMNS", "KINDS", "Kind", "link", "link_years"]

Kind = Literal["same", "split", "merge", "mixed", "new", "gone", "unobserved"]
"""One to one; one became several; several became one; several became several; in the second only; in the first only.

Polygons do not tell what was looked at: `unobserved` is for who knows the map (`icemapper_xr.pipeline.links_of_run`).
"""
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

COLUMNS: Final = (
    "id_1", "id_2", "kind", "overlap_km2", "share_1", "share_2", "area_1_km2", "area_2_km2", "n_1", "n_2", "cluster",
)  # fmt: skip
"""Columns of a table of links, in order."""

LEAST_OVERLAP_KM2: Final = 2e-4
"""Overlaps below this are slivers of misfit: RGI 7 lists those above 200 m2 (its user guide)."""
LEAST_SHARE: Final = 0.01
"""... and below this share of the smaller polygon."""


def link(
    first: gpd.GeoDataFrame,
    second: gpd.GeoDataFrame,
    *,
    least_overlap_km2: float = LEAST_OVERLAP_KM2,
    least_share: float = LEAST_SHARE,
    called: tuple[str, str] = ("the first inventory", "the second inventory"),
) -> pd.DataFrame:
    """Link the polygons of two inventories by their overlap.

    Parameters
    ----------
    first, second
        The older and the younger inventory, any CRS; ids as in `divide`'s reference (`id` where there is no other).
        Rows of one id are one glacier. Invalid geometry is mended with a warning; rows of GLIMS' files that are no
        glaciers (`line_type`) are left out with one.
    least_overlap_km2
        Overlaps below this do not link.
    least_share
        Nor do overlaps below this share of the smaller of the two.
    called
        What the two are in messages, such as their files.

    Returns
    -------
    pandas.DataFrame
        One row a link, and one for each polygon without any: `id_1`, `id_2` (None where there is no counterpart),
        `kind`, `overlap_km2`, `share_1` and `share_2` (of the area of each), `area_1_km2`, `area_2_km2` (WGS 84),
        `n_1` (how many of the first share the second one), `n_2` (how many of the second share the first one),
        `cluster` (polygons that hang together by links). Sorted by `id_1`, then `id_2`.

    Raises
    ------
    OptionError
        If a bound is out of range.
    VectorError
        If an inventory has no CRS or no ids, or the same ice in several years.
    """
    if not least_overlap_km2 >= 0 or not 0 <= least_share < 1:
        raise OptionError(
            f"least_overlap_km2={least_overlap_km2:g} must be 0 or more, and least_share={least_share:g} from 0 to 1"
        )
    a, b = (_units(frame, what) for frame, what in zip((first, second), called, strict=True))
    crs = shapes.plane_of(a, b)
    flat_a, flat_b = (np.asarray(frame.geometry.to_crs(crs).values, dtype=object) for frame in (a, b))
    area_a, area_b = shapely.area(flat_a) / 1e6, shapely.area(flat_b) / 1e6
    i, j, overlap = _overlaps(flat_a, flat_b)
    enough = (overlap >= least_overlap_km2) & (overlap >= least_share * np.minimum(area_a[i], area_b[j]))
    i, j, overlap = i[enough], j[enough], overlap[enough]
    table = _rows(i, j, overlap, area_a, area_b)
    for name, number, frame in (("id_1", "i", a), ("id_2", "j", b)):
        ids = [*frame["id"], None]  # -1 is None
        table[name] = [ids[k] for k in table.pop(number)]
    ordered = table.sort_values(["id_1", "id_2"], na_position="last", kind="stable")
    return ordered.reset_index(drop=True)[list(COLUMNS)]


def _units(frame: gpd.GeoDataFrame, what: str) -> gpd.GeoDataFrame:
    """Return one row a glacier: id and geometry."""
    good = shapes.usable(frame, what)
    shapes.require_one_year(good, what)
    if not len(good):
        empty = good[[]].copy()
        empty["id"] = pd.Series(dtype=object)
        return empty.set_geometry(good.geometry)
    column = names.id_column(good, what)
    made = good[[column, "geometry"]].rename(columns={column: "id"})
    made["id"] = names.ids_of(made["id"])
    return made.dissolve("id", as_index=False) if made["id"].duplicated().any() else made.reset_index(drop=True)


def _overlaps(
    a: shapes.Geometries, b: shapes.Geometries
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the pairs that share an area, and it in km2."""
    if not a.size or not b.size:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    i, j = shapely.STRtree(b).query(a, predicate="intersects")
    area = shapely.area(shapely.intersection(a[i], b[j])) / 1e6
    shared = area > 0
    return i[shared], j[shared], area[shared]


def _rows(
    i: npt.NDArray[np.int64],
    j: npt.NDArray[np.int64],
    overlap: npt.NDArray[np.float64],
    area_a: npt.NDArray[np.float64],
    area_b: npt.NDArray[np.float64],
) -> pd.DataFrame:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n, m = area_a.size, area_b.size
    graph = coo_matrix((np.ones(i.size), (i, n + j)), shape=(n + m, n + m))
    _, cluster = connected_components(graph, directed=False)
    links_a, links_b = np.bincount(i, minlength=n), np.bincount(j, minlength=m)
    in_first, in_second = np.bincount(cluster[:n], minlength=n + m), np.bincount(cluster[n:], minlength=n + m)
    lone_a, lone_b = np.flatnonzero(links_a == 0), np.flatnonzero(links_b == 0)
    none_a, none_b = np.full(lone_b.size, -1), np.full(lone_a.size, -1)
    kinds = [_kind(in_first[c], in_second[c]) for c in cluster[i]]
    first, second = np.concatenate([i, lone_a, none_a]), np.concatenate([j, none_b, lone_b])
    lone = np.zeros(lone_a.size + lone_b.size)
    shared = np.concatenate([overlap, lone])
    areas_1, areas_2 = np.append(area_a, np.nan)[first], np.append(area_b, np.nan)[second]
    return pd.DataFrame(
        {
            "i": first,
            "j": second,
            "kind": [*kinds, *["gone"] * lone_a.size, *["new"] * lone_b.size],
            "overlap_km2": shared,
            "share_1": shared / areas_1,
            "share_2": shared / areas_2,
            "area_1_km2": areas_1,
            "area_2_km2": areas_2,
            "n_1": np.concatenate([links_b[j], lone]).astype(int),
            "n_2": np.concatenate([links_a[i], lone]).astype(int),
            "cluster": np.concatenate([cluster[i], cluster[lone_a], cluster[n + lone_b]]).astype(int),
        }
    )


def _kind(first: int, second: int) -> Kind:
    if first == 1:
        return "same" if second == 1 else "split"
    return "merge" if second == 1 else "mixed"


def link_years(glaciers: gpd.GeoDataFrame, **bounds: Any) -> pd.DataFrame:
    """Link each year of a table of glaciers or outlines to the next one that it has.

    Parameters
    ----------
    glaciers
        Column `year` (whole years), and one polygon a row; each row is a unit of its own, so that a glacier that falls
        into parts is a split. Ids from `id`, which is unique in a year.
    **bounds
        `least_overlap_km2`, `least_share` as in `link`.

    Returns
    -------
    pandas.DataFrame
        As of `link`, with `year_1` and `year_2` before. Empty if there is one year only.

    Raises
    ------
    VectorError
        If there is no column of years, or a year is not whole.
    """
    if cv.YEAR not in glaciers:
        raise VectorError("the glaciers have no column 'year': give those of several years")
    of_row = shapes.whole_years(glaciers, "the glaciers")
    known = sorted({int(year) for year in of_row if year is not None})
    tables = []
    for one, two in itertools.pairwise(known):
        older, younger = (_units_of(glaciers[of_row == year], year) for year in (one, two))
        table = link(older, younger, **bounds)
        table.insert(0, "year_1", one)
        table.insert(1, "year_2", two)
        tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else none()


def none() -> pd.DataFrame:
    """Return a table of links between years without any."""
    return pd.DataFrame(columns=["year_1", "year_2", *COLUMNS])


def _units_of(rows: gpd.GeoDataFrame, year: int) -> gpd.GeoDataFrame:
    column = "id" if "id" in rows else names.id_column(rows, f"the glaciers of {year}")
    return rows[[column, "geometry"]].rename(columns={column: "id"})
