"""The glaciers that `divides` wrote, read again.

By hand or in another program they may have become something else, and their map may have been made anew since.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

from icemapper_xr import conventions as cv
from icemapper_xr import dates, vectorise
from icemapper_xr.errors import StoreError
from icemapper_xr.inventory import names
from icemapper_xr.inventory.shapes import one_side
from icemapper_xr.pipeline.outlining import OUTLINES

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

__all__ = ["origin", "refuse_stale", "required", "sound"]

ORIGIN: Final = "ICEMAPPER_OUTLINES"
"""What is said with glaciers of the outlines that they were divided from."""

_EDGE: Final = "touches_edge"
_COLUMNS: Final = ("glacier_id", "id", cv.YEAR, "name", "terminus", "area_km2", _EDGE)
"""What a package is made of."""
_TRUTHS: Final = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
"""How files without booleans write them."""


def origin(outlines: gpd.GeoDataFrame) -> dict[str, str]:
    """Return what is to be said with glaciers of the outlines that they are divided from: a digest a year.

    Ids and areas tell outlines apart, whatever made them others: the map, the threshold, what was simplified. Years
    that are added later leave those of before as they are.
    """
    if not {"id", "area_km2", cv.YEAR} <= set(outlines.columns):
        return {}
    rows = zip(outlines[cv.YEAR].astype(str), outlines["id"].astype(str), outlines["area_km2"], strict=True)
    of_year: dict[str, list[str]] = {}
    for year, name, area in rows:
        of_year.setdefault(year, []).append(f"{name} {area:.6f}")
    told = {year: hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest() for year, lines in of_year.items()}
    return {ORIGIN: json.dumps(told, sort_keys=True)}


def refuse_stale(path: Path) -> None:
    """Refuse the glaciers of a map's folder whose outlines were drawn anew since, otherwise than they were.

    Files that do not say what they were divided from, and folders without outlines, go on.

    Raises
    ------
    StoreError
        The outlines beside the file are others than those that it was divided from.
    """
    outlines = path.parent / OUTLINES
    told = vectorise.metadata(path).get(ORIGIN)
    if told is None or not outlines.is_file():
        return
    before = json.loads(told)
    now = json.loads(origin(vectorise.read(outlines)).get(ORIGIN, "{}"))
    if changed := [year for year, digest in before.items() if now.get(year) != digest]:
        raise StoreError(
            f"{path} was divided from other outlines of {', '.join(changed)} than {outlines.name} has now: the map, or "
            f"its outlines, were made anew since; run `icemapper divides {path.parent}` again"
        )


def sound(table: gpd.GeoDataFrame, path: Path) -> gpd.GeoDataFrame:
    """Return glaciers or outlines in EPSG:4326, with whole years; polygons of one part as such.

    Parameters
    ----------
    table
        As read from a file, in which other programs may have made one CRS of another, or MultiPolygons of polygons.
    path
        The file, for messages.

    Raises
    ------
    StoreError
        There is no CRS, a row without a polygon, or a year is not whole.
    """
    if table.crs is None:
        raise StoreError(f"{path} has no CRS; {_again(path)}")
    shapes = np.array(table.geometry.values, dtype=object)
    none = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    if none.any():
        raise StoreError(f"{int(none.sum())} of {len(table)} rows of {path} have no polygon; {_again(path)}")
    kinds = sorted(set(table.geom_type) - {"Polygon", "MultiPolygon"})
    if kinds:
        raise StoreError(f"{path} holds {kinds[0]} geometries, polygons are wanted; {_again(path)}")
    single = shapely.get_num_geometries(shapes) == 1
    shapes[single] = shapely.get_geometry(shapes[single], 0)
    made: gpd.GeoDataFrame = table.set_geometry(shapes, crs=table.crs).to_crs(4326)
    made = made.set_geometry(one_side(np.array(made.geometry.values, dtype=object)), crs=4326)
    if _EDGE in made and made[_EDGE].notna().all():
        made = made.assign(**{_EDGE: _truths(made[_EDGE], path)})
    return made.assign(**{cv.YEAR: _years(made[cv.YEAR], path)}) if cv.YEAR in made else made


def required(table: gpd.GeoDataFrame, path: Path) -> gpd.GeoDataFrame:
    """Return glaciers (`sound`) that have all that a package is made of, in its type.

    Raises
    ------
    StoreError
        A column is missing or has gaps, an id occurs twice in a year, or a glacier is of several parts.
    """
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        raise StoreError(f"{path} has no column {missing[0]!r}; {_again(path)}")
    several = np.flatnonzero(shapely.get_num_geometries(np.asarray(table.geometry.values, dtype=object)) > 1)
    if several.size:
        name = table["id"].iloc[several[0]]
        raise StoreError(f"{path} has a MultiPolygon of several parts (id {name}), not a row a part; {_again(path)}")
    for name in ("glacier_id", "id"):
        _refuse(names.blank(table[name]), table[name], path)
    if (twice := table.duplicated([cv.YEAR, "id"])).any():
        row = table[twice].iloc[0]
        raise StoreError(
            f"{path} has the id {row['id']} twice in {row[cv.YEAR]}: give each part of a glacier an id of its own; "
            f"{_again(path)}"
        )
    return table.assign(area_km2=_numbers(table["area_km2"], path), touches_edge=_truths(table[_EDGE], path))


def _years(column: pd.Series, path: Path) -> pd.Series:
    found = dates.years(column)
    _refuse(column.notna() & found.isna(), column, path)
    return found.astype("Int32")


def _numbers(column: pd.Series, path: Path) -> pd.Series:
    import pandas as pd

    found = pd.to_numeric(column, errors="coerce").astype(float)
    _refuse(~found.between(0, np.inf, inclusive="left"), column, path)
    return found


def _truths(column: pd.Series, path: Path) -> pd.Series:
    found = column.astype(str).str.strip().str.lower().map(_TRUTHS)
    _refuse(found.isna(), column, path)
    return found.astype(bool)


def _refuse(wrong: pd.Series, column: pd.Series, path: Path) -> None:
    if wrong.any():
        given = column[wrong].tolist()[0]
        raise StoreError(
            f"{int(wrong.sum())} of {len(column)} rows of {path} have no valid {column.name}, the first has {given!r}; "
            f"{_again(path)}"
        )


def _again(path: Path) -> str:
    return f"mend the file, or run `icemapper divides {path.parent}` again"
