"""A map beside a user's outlines: what `evaluate --outlines` scores."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions, dates, errors, vectorise
from icemapper_xr.analysis import projecting
from icemapper_xr.inventory import names, shapes
from icemapper_xr.training import bodies
from icemapper_xr.training.cases import Case

if TYPE_CHECKING:
    import geopandas as gpd
    import xarray as xr

__all__ = ["Outlines", "compared", "meeting", "read"]

_NUMBER, _KM2, _TERMINUS = "_number", "_km2", "_terminus"


@dataclass(frozen=True, eq=False)
class Outlines:
    """A user's outlines, and where they are complete."""

    path: Path
    glaciers: gpd.GeoDataFrame
    """With columns for the glacier that an outline is, or is a part of: its `_number`, `_km2` and `_terminus`."""
    area: gpd.GeoDataFrame
    year: int | None = None
    """Year that the outlines are of; None where they do not say."""


def read(path: Path, *, crs: Any, area: Path | None = None, year: int | None = None) -> Outlines:
    """Read outlines to compare maps with.

    Parameters
    ----------
    path
        Polygons of the glaciers, any CRS.
    crs
        Of the map: of the box around the outlines where no area is named.
    area
        Polygons of the area in which the outlines are complete; None: the box around them.
    year
        Of outlines that have a column `year`, those of this year are taken.

    Raises
    ------
    OptionError
        If the outlines are of several years, but none of `year`.
    AnalysisError
        If a row has no whole year where others have one.
    VectorError
        If a file cannot be read, has no CRS, no polygons, or other shapes.

    Warns
    -----
    UserWarning
        If the outlines are of another year, had to be mended, or have rows that are no glaciers, which are left out.
    """
    import geopandas as gpd
    import shapely

    glaciers, rock = shapes.only_glaciers(_polygons(path, "outlines"), f"the outlines {path}")
    for note in rock:
        warnings.warn(note, UserWarning, stacklevel=3)
    glaciers, found = _of_year(glaciers, year, path)
    glaciers = _numbered(glaciers)
    if area is not None:
        return Outlines(path, glaciers, _polygons(area, "area"), found)
    box = gpd.GeoSeries([shapely.box(*glaciers.to_crs(crs).total_bounds)], crs=crs)
    return Outlines(path, glaciers, gpd.GeoDataFrame(geometry=box), found)


def compared(
    layer: xr.DataArray,
    outlines: Outlines,
    *,
    within: gpd.GeoSeries | gpd.GeoDataFrame | None = None,
    name: str = "map",
    region: str | None = None,
) -> Case:
    """Compare a map with outlines.

    Parameters
    ----------
    layer
        Probability, dims (y, x), with a CRS.
    outlines
        Of `read`; a pixel is glacier if its centre lies in one.
    within
        Polygons of what of the map counts; None: all of it.
    name, region
        What the case is called, and what it is a part of (None: the name).
    """
    import rasterio.features
    import rioxarray  # noqa: F401

    crs, transform, shape = layer.rio.crs, layer.rio.transform(), layer.shape
    values = np.asarray(layer.values, np.float32)

    def burn(frame: gpd.GeoSeries | gpd.GeoDataFrame, numbers: Sequence[int] | None = None) -> npt.NDArray[np.int32]:
        numbered = zip(projecting.project(frame, crs), numbers or [1] * len(frame), strict=True)
        drawn = [(one, number) for one, number in numbered if one is not None and not one.is_empty]
        if not drawn:
            return np.zeros(shape, np.int32)
        burnt: npt.NDArray[np.int32] = rasterio.features.rasterize(drawn, shape, transform=transform, dtype="int32")
        return burnt

    known = (burn(outlines.area) > 0) & np.isfinite(values)
    if within is not None:
        known &= burn(within) > 0
    glaciers = outlines.glaciers
    numbers, ends = glaciers[_NUMBER].tolist(), glaciers[_TERMINUS]
    labels = burn(glaciers, numbers)
    return Case(
        name,
        region or name,
        values,
        labels > 0,
        known,
        float(abs(transform.a)),
        glaciers=bodies.Glaciers(
            labels,
            dict(zip(numbers, glaciers[_KM2], strict=True)),
            None if ends.isna().any() else dict(zip(numbers, ends, strict=True)),
        ),
    )


def _numbered(outlines: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Number the glacier of each outline, with its area and terminus, the latter None if that of no glacier is known.

    Outlines of one id are parts of one glacier. A mere `id` may be what nobody filled in: then, and without a column of
    ids, each outline is one.
    """
    import pandas as pd

    column = names.glacier_column(outlines)
    ids = range(len(outlines)) if column is None else names.ids_of(outlines[column])
    numbered = outlines.reset_index(drop=True)
    numbers = pd.Series(pd.factorize(np.asarray(ids))[0] + 1)
    whole = numbered if numbers.is_unique else numbered.dissolve(by=numbers)  # outlines of one ice do not add up
    km2 = dict(zip(sorted(set(numbers)), vectorise.areas_km2(whole), strict=True))
    ends = pd.Series(names.termini_of(numbered))
    ends = ends.where(ends != "unknown").groupby(numbers).transform("first")
    if ends.notna().any():
        ends = ends.fillna("unknown")
    return numbered.assign(**{_NUMBER: numbers, _KM2: numbers.map(km2), _TERMINUS: ends})


def meeting(found: Iterable[Case], outlines: Outlines) -> Iterator[Case]:
    """Pass maps on, one by one, and refuse in the end if none lies where the outlines do: scores would mean nothing.

    A tile that has values, but none where the outlines are complete, is not one of those that are compared.

    Raises
    ------
    OptionError
        If no map has a known pixel in an outline.
    """
    met = False
    for case in found:
        met = met or bool((case.truth & case.known).any())
        if case.known.any() or not np.isfinite(case.probability).any():
            yield case
    if not met:
        raise errors.OptionError(
            f"{outlines.path} does not meet the map, or the area in which it is complete: compare with outlines of the "
            "same place"
        )


def _of_year(outlines: Any, year: int | None, path: Path) -> tuple[Any, int | None]:
    """Take the outlines of a year from a table that has years, with that year; of one other year all, and warn."""
    column = next((name for name in outlines.columns if str(name).lower() == conventions.YEAR), None)
    if year is None or column is None or outlines[column].isna().all():
        return outlines, None
    found = dates.whole_years(outlines[column], what=f"the outlines {path}")
    there = sorted(set(found))
    if len(there) == 1:
        if there != [year]:
            warnings.warn(
                f"{path} has outlines of {there[0]}, the map is of {year}: what changed between counts as an error",
                UserWarning,
                stacklevel=4,
            )
        return outlines, int(there[0])
    if year not in there:
        named = ", ".join(map(str, there))
        raise errors.OptionError(f"{path} has outlines of {named}, none of {year}: compare a map of one of these")
    return outlines[found == year], year


def _polygons(path: Path, what: str) -> gpd.GeoDataFrame:
    """Read polygons, at least one."""
    frame, notes = vectorise.read_polygons(path, what=what)
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=4)
    if frame.empty:
        raise errors.VectorError(f"{what} {path} has no polygons: name a file that has some")
    return frame
