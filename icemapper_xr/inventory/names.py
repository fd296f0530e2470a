"""What reference glaciers are called, and how they end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from icemapper_xr import conventions as cv
from icemapper_xr.errors import VectorError
from icemapper_xr.inventory.shapes import Geometries, is_glims, require_one_year

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

__all__ = [
    "ID_COLUMNS",
    "NAME_COLUMNS",
    "OF_GLACIERS",
    "TERMINI",
    "Reference",
    "all_one",
    "blank",
    "glacier_column",
    "id_column",
    "ids_of",
    "name_column",
    "termini_of",
]

OF_GLACIERS: Final = ("glacier_id", "rgi_id", "RGIId", "glac_id")
"""Columns that name a glacier; parts of what was one may share a `glims_id`, and a mere `id` may number the rows."""
ID_COLUMNS: Final = (*OF_GLACIERS, "glims_id", "id", "name", "Name")
"""Where an id is looked for: the first column that is there and has no gaps."""
PLAIN: Final = ("id", "name", "Name")
"""Of these, one that repeats itself is passed over for a later one that does not; the others may repeat for parts."""
GLIMS_COLUMNS: Final = ("glims_id", "GLIMSId", "glac_id")
NAME_COLUMNS: Final = ("glac_name", "name", "Name")
TERMINI: Final = {0: "land", 1: "marine", 2: "lake", 3: "shelf", 9: "unknown"}
"""RGI 7's `term_type`."""


def id_column(frame: gpd.GeoDataFrame, what: str) -> str:
    """Return the column of the ids.

    Raises
    ------
    VectorError
        If there is none, a row has no id, or names, for want of ids, are those of several glaciers.
    """
    there = [name for name in ID_COLUMNS if name in frame and not blank(frame[name]).any()]
    if there:
        candidates = there if there[0] in PLAIN else there[:1]
        chosen = next((name for name in candidates if frame[name].is_unique), there[0])
        if chosen in NAME_COLUMNS:
            _require_parts(frame, chosen, what)
        return chosen
    empty = [name for name in ID_COLUMNS if name in frame]
    hint = f" (rows without one in {', '.join(empty)})" if empty else ""
    raise VectorError(f"{what} have no column of ids{hint}: name one {', '.join(ID_COLUMNS[:4])} or id")


def glacier_column(*frames: gpd.GeoDataFrame) -> str | None:
    """Return the first of `OF_GLACIERS` that all tables have without a gap; None if they share none."""
    return next((n for n in OF_GLACIERS if all(n in f and not blank(f[n]).any() for f in frames)), None)


def name_column(frame: gpd.GeoDataFrame) -> str | None:
    """Return the first column of names that names something."""
    return next((name for name in NAME_COLUMNS if name in frame and not blank(frame[name]).all()), None)


def ids_of(column: pd.Series) -> list[str]:
    """Return ids as text, whole numbers without decimals: a column of them that once had a gap is read as 1.0, 2.0."""
    return [str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in column.tolist()]


def all_one(frame: gpd.GeoDataFrame, column: str, what: str) -> tuple[str, ...]:
    """Return a note if all rows, of a year, have one id, as programs that fill a column of ids with 0 write them."""
    if "part" in frame or not len(frame) or frame[column].nunique() > 1:
        return ()
    rows = int(frame[cv.YEAR].value_counts(dropna=False).max()) if cv.YEAR in frame else len(frame)
    one = ids_of(frame[column])[0]
    told = f"all {rows} rows of {what} have the {column} {one} and are one glacier: give each its own if they are not"
    return (told,) if rows > 1 else ()


def blank(column: pd.Series) -> Any:
    """Tell which rows of a column hold nothing: missing, or blanks."""
    return column.isna() | (column.astype(str).str.strip() == "")


def _require_parts(frame: gpd.GeoDataFrame, column: str, what: str) -> None:
    """Refuse rows of one name and year that do not touch: they may be glaciers of the same name."""
    keys = [name for name in (column, cv.YEAR) if name in frame]
    for key, rows in frame[frame.duplicated(keys, keep=False)].groupby(keys, dropna=False):
        polygons = np.asarray(rows.geometry.values, dtype=object)
        i, j = shapely.STRtree(polygons).query(polygons, predicate="intersects")
        if np.unique(i[i != j]).size < polygons.size:
            raise VectorError(
                f"{what} have no column of ids, and {len(rows)} rows that do not touch have the {column} {key[0]!r}: "
                f"name each glacier in a column {', '.join(ID_COLUMNS[:4])} or id, the same for all parts of one"
            )


@dataclass(frozen=True)
class Reference:
    """Reference glaciers on the working plane."""

    polygons: Geometries
    """Single polygons."""
    glacier: npt.NDArray[np.int64]
    """Number of each polygon's glacier."""
    ids: list[str]
    """Id of each glacier."""
    names: dict[str, str]
    """Of the glaciers that have one."""
    termini: dict[str, str]
    """The same."""
    glims: dict[str, str]
    """GLIMS id of the glaciers that have one."""

    @classmethod
    def of(cls, frame: gpd.GeoDataFrame, crs: Any) -> Reference:
        """Read the ids, names and termini; several rows of one id, of all years, are one glacier.

        Raises
        ------
        VectorError
            As `id_column`; or the same ice has other ids in other years, whose margins would be taken for divides.
        """
        column = id_column(frame, "the reference glaciers")
        require_one_year(frame, "the reference glaciers", same=column)
        ids = np.array(ids_of(frame[column]), dtype=object)
        unique, number = np.unique(ids, return_inverse=True)
        parts, row = shapely.get_parts(np.asarray(frame.geometry.to_crs(crs).values, dtype=object), return_index=True)
        label = name_column(frame)
        names = dict(_told(ids, frame[label])) if label else {}
        return cls(
            np.asarray(parts, dtype=object),
            np.asarray(number, np.int64)[row],
            [str(one) for one in unique],
            names,
            dict(_told(ids, [word if word != "unknown" else None for word in termini_of(frame)])),
            {
                key: value
                for name in reversed([column for column in GLIMS_COLUMNS if column in frame])
                for key, value in zip(ids, frame[name].astype(str), strict=True)
                if is_glims(value)
            },
        )

    def meeting(self, body: Any) -> npt.NDArray[np.int64]:
        """Return the polygons that share an area with a body."""
        hit = np.flatnonzero(shapely.intersects(self.polygons, body))
        return hit[shapely.area(shapely.intersection(self.polygons[hit], body)) > 0]

    def name_of(self, glacier_id: str) -> str | None:
        """Name of a glacier; None if it has none."""
        return self.names.get(glacier_id)

    def terminus_of(self, glacier_id: str) -> str:
        """How a glacier ends: land, marine, lake, shelf or unknown."""
        return self.termini.get(glacier_id, "unknown")


def _told(ids: Iterable[str], values: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield what each id is told first, in whichever of its rows."""
    told: set[str] = set()
    for key, value in zip(ids, values, strict=True):
        if key not in told and isinstance(value, str) and value.strip():
            told.add(key)
            yield key, value.strip()


def termini_of(frame: gpd.GeoDataFrame) -> list[str]:
    """Return how each row ends, by `terminus` (land, marine, lake, shelf) or RGI's `term_type` (a number, or words)."""
    column = next((name for name in ("terminus", "term_type") if name in frame), None)
    if column is None:
        return ["unknown"] * len(frame)
    return [_terminus(str(value).strip().lower()) for value in frame[column]]


def _terminus(text: str) -> str:
    word = text.split("-", maxsplit=1)[0]  # Marine-terminating
    return word if word in TERMINI.values() else TERMINI.get(int(text[0]) if text[:1].isdigit() else 9, "unknown")
