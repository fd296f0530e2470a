"""Outlines with dates, and inventories of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from icemapper_xr import conventions as cv
from icemapper_xr import vectorise
from icemapper_xr.analysis import inventories
from icemapper_xr.dates import whole_years
from icemapper_xr.errors import AnalysisError
from icemapper_xr.inventory import names, shapes

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

__all__ = ["compared", "counted", "inventory", "read"]

_KM2: Final = "_km2"
APART: Final = 0.05
"""Share of an inventory's area without a counterpart from which a reader is told (a judgement)."""


def read(path: Path, year: int | None, which: str, notes: list[str]) -> gpd.GeoDataFrame:
    """Read an inventory with the year and the area of each outline, refused if it has the same ice more than once.

    Parameters
    ----------
    path
        Polygons with `year` or `src_date`.
    year
        Year to take; None takes all.
    which
        `first` or `second`, for messages.
    notes
        What a reader has to know is added to it.
    """
    frame, told = vectorise.read_polygons(path, what="inventory")
    frame, rock = shapes.only_glaciers(frame, f"the inventory {path}")
    notes.extend((*told, *rock))
    frame = frame.reset_index(drop=True)
    if cv.YEAR in frame:
        dates = frame[cv.YEAR]
    elif "src_date" in frame:
        dates = _days(frame["src_date"])
    else:
        raise AnalysisError(
            f"the inventory {path} has neither 'year' nor 'src_date'; the date of each outline is needed"
        )
    years = whole_years(dates, what=f"the inventory {path}")
    frame = frame.assign(**{cv.YEAR: years, _KM2: vectorise.areas_km2(frame)})
    if year is not None:
        frame = frame[years == year]
        if not len(frame):
            there = ", ".join(map(str, sorted(set(years))))
            raise AnalysisError(f"the inventory {path} has no outline of {year}; it has those of {there}")
    _refuse_doubles(frame, path, f"name the year to take with {which}_year (--{which}-year)")
    return frame


def _days(column: pd.Series) -> pd.Series:
    """Return the dates of a column; what is none stays as it is written, for the message.

    Numbers are years or days as they read (2001, 20010801): pandas takes them for nanoseconds since 1970.
    """
    import pandas as pd

    written = column.map(lambda one: f"{one:.15g}" if isinstance(one, int | float | np.number) else one)
    numbers = pd.to_numeric(written, errors="coerce").notna() & ~written.astype(str).str.fullmatch(r"\d{4}|\d{8}")
    found = pd.to_datetime(written.mask(numbers), errors="coerce", format="mixed")
    return found.astype(object).where(found.notna(), column)


def _refuse_doubles(frame: gpd.GeoDataFrame, path: Path, remedy: str) -> None:
    """Refuse an inventory in which the same ice counts more than once."""
    for column in (name for name in names.OF_GLACIERS if name in frame):
        years = frame[~names.blank(frame[column])].groupby(column)[cv.YEAR].unique()
        several = years[years.map(len) > 1]
        if len(several):
            named = f"{column} {several.index[0]}: {', '.join(map(str, sorted(several.iloc[0])))}"
            raise AnalysisError(
                f"{len(several)} glaciers of {path} have outlines of several years ({named}), an inventory has each "
                f"once; {remedy}"
            )
    row, other = shapes.within_others(np.asarray(frame.geometry.values, dtype=object))
    if frame[_KM2].iloc[np.unique(row)].sum() > shapes.DOUBLE * frame[_KM2].sum():
        one, two = ((int(frame.index[k[0]]) + 1, int(frame[cv.YEAR].iloc[k[0]])) for k in (row, other))
        raise AnalysisError(
            f"{np.unique(row).size} of {len(frame)} outlines of {path} lie mostly in others (row {one[0]}, of "
            f"{one[1]}, in row {two[0]}, of {two[1]}), an inventory has the same ice once; {remedy}, or leave the "
            "doubles out"
        )


def compared(frames: Sequence[gpd.GeoDataFrame], paths: Sequence[Path], notes: list[str]) -> None:
    """Look whether two inventories are of one place: ice that one of them does not cover counts as change.

    Raises
    ------
    AnalysisError
        No outline of one meets one of the other.
    """
    import shapely

    plane = shapes.plane_of(frames[0])
    one, two = (np.asarray(frame.geometry.to_crs(plane).values, dtype=object) for frame in frames)
    i, j = shapely.STRtree(two).query(one, predicate="intersects")
    if not i.size and one.size and two.size:
        raise AnalysisError(f"no outline of {paths[0]} meets one of {paths[1]}; name two inventories of one place")
    ends = ((frames[0], i, *paths, "lost"), (frames[1], j, *reversed(paths), "new"))
    for frame, met, path, other, what in ends:
        areas = frame[_KM2].to_numpy(dtype=float)
        alone = np.delete(areas, np.unique(met)).sum()
        if alone > APART * areas.sum():
            notes.append(
                f"{alone:.2f} km2 of {path.name} ({alone / areas.sum():.0%}) meet no outline of {other.name} and count "
                f"as {what}: leave them out if {other.name} does not cover them"
            )


def counted(
    frames: Sequence[gpd.GeoDataFrame], min_area_km2: float, notes: list[str]
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Leave small glaciers out: by id those that are small in both inventories, without ids each file by itself."""
    import pandas as pd

    one, two = frames
    if not min_area_km2 > 0:
        return one, two
    column = names.glacier_column(*frames)
    # As text: the same ids may be whole numbers in one file and decimals, or text, in the other.
    ids = [] if column is None else [pd.Index(names.ids_of(frame[column])) for frame in frames]
    if column is None or ids[0].intersection(ids[1]).empty:
        notes.append(
            f"glaciers below {min_area_km2:g} km2 are left out of each inventory by itself: one that shrinks below it "
            f"counts as lost with all its area (the same ids in both files, {' or '.join(names.OF_GLACIERS)}, would "
            "avoid that)"
        )
        return one[one[_KM2] >= min_area_km2], two[two[_KM2] >= min_area_km2]
    sums = [frame[_KM2].set_axis(each).groupby(level=0).sum() for frame, each in zip(frames, ids, strict=True)]
    large = [name for each in sums for name in each.index[each >= min_area_km2]]
    notes.append(f"a glacier counts if it has {min_area_km2:g} km2 in either inventory (by {column})")
    return one[ids[0].isin(large)], two[ids[1].isin(large)]


def inventory(frame: gpd.GeoDataFrame, path: Path, min_area_km2: float, sigma: float) -> inventories.Inventory:
    """Add up the outlines that count, year by year."""
    shares = frame.groupby(cv.YEAR)[_KM2].sum()
    if not shares.sum() > 0:
        raise AnalysisError(f"the inventory {path} has no glacier of {min_area_km2:g} km2 or more")
    by_year = dict(zip(shares.index.tolist(), shares.tolist(), strict=True))
    return inventories.Inventory(float(shares.sum()), by_year, sigma)
