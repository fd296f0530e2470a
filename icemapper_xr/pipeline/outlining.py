"""The outlines of a mapped folder, of one store or of a region's tiles: of its finished years, in one file."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from icemapper_xr import addresses, calibrate, conventions, inventory, progress, store, vectorise
from icemapper_xr.errors import OptionError, StoreError
from icemapper_xr.pipeline import calibrations, flown, records, tables, tiled
from icemapper_xr.settings import MapSettings

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["CALIBRATION", "OUTLINES", "Drawing", "drawing_of", "outlines_of_map", "outlines_of_run"]

OUTLINES: Final = "outlines.gpkg"
CALIBRATION: Final = "band_calibration"
"""Column that says which calibration the band's levels have."""


class Draw(Protocol):
    """Draws the outlines of one year, in degrees."""

    def __call__(
        self, year: int, *, threshold: float = ..., min_area_km2: float = ..., min_hole_km2: float = ...
    ) -> gpd.GeoDataFrame:
        """Return the columns of `icemapper_xr.vectorise.outlines`."""
        ...


@dataclass(frozen=True, eq=False)
class Drawing:
    """A finished map as something that outlines are drawn from."""

    years: tuple[int, ...]
    """That are finished and wanted."""
    facts: Mapping[str, Any]
    """Provenance of its store, of a region that of its first tile."""
    draw: Draw

    def band(
        self, outlines: gpd.GeoDataFrame, *, threshold: float, calibration: str | Path, min_hole_km2: float = 0.0
    ) -> vectorise.Band:
        """Measure the band between the 5 % and the 95 % outline; a column says by which calibration.

        Parameters
        ----------
        outlines
            Drawn from this map at the threshold.
        threshold
            Probability of the map, before calibration.
        calibration
            As in `outlines_of_run`.
        min_hole_km2
            Of the outlines: smaller holes are filled in both lines, too.
        """
        model, words = calibrations.calibration_of(calibration, self.facts)
        at = None if model is None else calibrate.reached_at(model, vectorise.LEVELS)

        def draw(level: float, year: int | None) -> gpd.GeoDataFrame:
            years = self.years if year is None else (year,)  # where there is no ice no outline names a year
            options = {"threshold": level, "min_area_km2": 0.0, "min_hole_km2": min_hole_km2}
            return _joined([self.draw(one, **options) for one in years])

        found = vectorise.band(draw, outlines, threshold=threshold, at=at)
        told = words or "not calibrated"
        return vectorise.Band(*(table.assign(**{CALIBRATION: told}) for table in found))


def drawing_of(source: str | Path, *, year: int | None = None) -> Drawing:
    """Open a map to draw outlines from: output folder of `map_glaciers` or `map_region`, or a zarr cube.

    Raises
    ------
    StoreError
        If there is no map, or it lacks the year, or the year is unfinished, or its tiles are of different runs.
    """
    folder = addresses.local_path(source)
    if tiled.is_region(folder):
        known = tiled.standings(folder)
        status = tiled.summed(known)
        years = _years(folder, status, year, {one: ", ".join(tiled.unfinished(known, one)[:3]) for one in status})
        facts = next(iter(tiled.provenances(folder).values()))
        _tell_gaps(folder, {one: tiled.never_asked(folder, known, one) for one in years})
        return Drawing(years, facts, functools.partial(tiled.draw, folder))
    cube = store.cube_of(source)
    state = store.state(cube)
    stored = store.open_store(cube)

    def draw(
        year: int,
        *,
        threshold: float = conventions.THRESHOLD,
        min_area_km2: float = conventions.MIN_AREA_KM2,
        min_hole_km2: float = 0.0,
    ) -> gpd.GeoDataFrame:
        options: dict[str, float] = {"min_area_km2": min_area_km2, "min_hole_km2": min_hole_km2}
        with store.steady(cube, state, [year]):
            return vectorise.outlines(stored.sel(year=year), threshold=threshold, year=year, **options)

    return Drawing(_years(cube, store.status(cube), year), store.provenance(cube), draw)


def _years(
    path: Path | str, status: Mapping[int, tuple[int, int]], year: int | None, tiles: Mapping[int, str] | None = None
) -> tuple[int, ...]:
    """Return the years that are complete; the others are named in a warning: half a year has half the ice.

    `tiles` names by year those of a region that have units to do.
    """
    if year is not None and year not in status:
        raise StoreError(f"{path} has the years {', '.join(map(str, status))}, not {year}; map that year first")
    done = tuple(one for one, (written, total) in status.items() if written == total)
    half = {
        one: f"{written} of {total} units" + (f", to do in {tiles[one]}" if tiles else "")
        for one, (written, total) in status.items()
        if written < total
    }
    if year is not None:
        if year in half:
            raise StoreError(f"{path}: {year} is unfinished ({half[year]}); run the same map again")
        return (year,)
    named = ", ".join(f"{one} ({words})" for one, words in half.items())
    if not done:
        raise StoreError(f"{path} has no finished year: {named or 'none was begun'}; run the same map again")
    if half:
        warnings.warn(
            f"{path}: left out because unfinished: {named}; run the same map again to finish",
            UserWarning,
            stacklevel=4,
        )
    return done


def _tell_gaps(folder: Path, gaps: Mapping[int, Sequence[str]]) -> None:
    """Warn of years that were asked of a part of the region only: the folder grew by another run."""
    named = [f"{', '.join(names)} in {year}" for year, names in gaps.items() if names]
    if named:
        warnings.warn(
            f"{folder}: some tiles were not mapped in all years, there are no outlines of {'; '.join(named)}; map "
            "their region in that year, too, before years are compared",
            UserWarning,
            stacklevel=4,
        )


def outlines_of_run(
    source: str | Path,
    out: str | Path | None = None,
    *,
    year: int | None = None,
    threshold: float = conventions.THRESHOLD,
    min_area_km2: float = conventions.MIN_AREA_KM2,
    min_hole_km2: float = 0.0,
    simplify: float = 0.0,
    band: bool = False,
    calibration: str | Path = "auto",
    dem: str | Path | None = None,
    sea_level: float = 0.0,
) -> tuple[Path, gpd.GeoDataFrame]:
    """Draw the outlines of a finished map anew and write them; `map` itself does this with what it has mapped.

    Parameters
    ----------
    source
        Output folder of `map_glaciers` or `map_region` (across its tiles and zones), or a zarr cube.
    out
        File to write (.gpkg, .parquet, .geojson); None is ``outlines.gpkg`` beside the cube, ``outlines_<year>.gpkg``
        for one year. With ``outlines.gpkg`` in the folder of a map goes ``orbits.gpkg`` (`orbits_of_run`).
    year
        Only this year; None is all that are finished.
    threshold, min_area_km2, min_hole_km2
        As in `icemapper_xr.vectorise.outlines`; the threshold is one of the map's own probability.
    simplify
        Metres: vertices that matter less are taken away (`icemapper_xr.vectorise.simplify`), and bodies that are
        smaller than `min_area_km2` then; 0 keeps all.
    band
        Whether to measure the band between the 5 % and the 95 % outline (`icemapper_xr.vectorise.band`) and to write
        both beside, to ``<name>_band``.
    calibration
        Of the band's 5 and 95 %: "auto" (that of the weights, if there is one), "none", or a file of
        `icemapper_xr.calibrate.write`. The column `band_calibration` says which it was.
    dem, sea_level
        Raster of elevation, and the height of the sea in it, metres: flags outlines over the sea; None flags none.

    Returns
    -------
    tuple of Path and GeoDataFrame
        The file and its content: the columns of `icemapper_xr.vectorise.outlines`, those of the band, `years_seen`,
        `snow_suspect`, and with a DEM `sea_km2` and `sea_ice_suspect`.

    Raises
    ------
    OptionError
        If an option is out of range.
    StoreError
        If there is no map, or it lacks the year, or the year is unfinished.
    """
    vectorise.check_tolerance(simplify)  # before minutes of drawing
    if not math.isfinite(sea_level):
        raise OptionError(f"sea_level={sea_level:g}: give a height in metres")
    name = OUTLINES if year is None else f"{Path(OUTLINES).stem}_{year}{Path(OUTLINES).suffix}"
    target = store.folder_of(source) / name if out is None else addresses.local_path(out)
    vectorise.suffix_of(target)
    tables.check_target(target, own=tables.OUTLINES)
    own = _is_drawing(target, source)
    if own and year is not None and (others := [one for one in drawing_of(source).years if one != year]):
        raise OptionError(
            f"{target} has the outlines of all years of the map ({', '.join(map(str, others))}, too), and is not "
            f"replaced by those of {year} alone: name another file, or leave the year out"
        )
    if calibration != "auto" and not band:
        raise OptionError(f"calibration={calibration} tells where the band lies: ask for the band, too (--band)")
    source_ = drawing_of(source, year=year)
    drawn = []
    for one in source_.years:
        progress.note(f"{one}: drawing outlines")
        drawn.append(source_.draw(one, threshold=threshold, min_area_km2=min_area_km2, min_hole_km2=min_hole_km2))
    together = inventory.snow_suspects(_joined(drawn), mapped=source_.years)
    if dem is not None:
        together = inventory.sea_ice_suspects(together, str(dem), sea_level=sea_level)
    sides = None
    if band:
        together, sides = source_.band(
            together, threshold=threshold, calibration=calibration, min_hole_km2=min_hole_km2
        )
    together = vectorise.simplify(together, simplify)
    if simplify:  # which takes bodies below what is kept
        together = together[together["area_km2"] >= min_area_km2].reset_index(drop=True)
    beside = {} if sides is None else {target.with_name(f"{target.stem}_band{target.suffix}"): sides}
    vectorise.write(together, target, beside=beside)
    if own and store.same_cube(source, target.parent):
        # what `divides`, `export` and `qc` take for the drawing of the folder; not of a cube that lies in it by chance
        drawing = {"threshold": threshold, "min_area_km2": min_area_km2, "min_hole_km2": min_hole_km2}
        records.redrawn(target.parent, **drawing)
    if own and not store.is_store(source):  # of a bare cube its folder is not ours
        flown.orbits_of_run(source)
    return target, together


def outlines_of_map(folder: Path, chosen: MapSettings) -> tuple[gpd.GeoDataFrame, tuple[int, ...]]:
    """Draw the outlines of a map that a run has ended, of the years of earlier runs, too.

    Stores are locked while they are written, not while they are drawn: a run of another year that ended meanwhile may
    have written its outlines before these, which lack that year.

    Returns
    -------
    tuple of GeoDataFrame and tuple of int
        What was written, and the years that are finished.
    """
    while True:
        there = _finished(folder)
        _, drawn = outlines_of_run(folder, threshold=chosen.threshold, min_area_km2=chosen.min_area_km2)
        if _finished(folder) == there:
            return drawn, there


def _finished(folder: Path) -> tuple[int, ...]:
    if not tiled.is_region(folder):
        return store.finished(store.cube_of(folder))
    return tuple(year for year, (done, total) in tiled.summed(tiled.standings(folder)).items() if done == total)


def _is_drawing(target: Path, source: str | Path) -> bool:
    """Whether a file is where a map has its outlines; a cube in a bucket tells no folder."""
    if addresses.is_remote(source):
        return False
    return target.absolute() == (store.folder_of(source) / OUTLINES).absolute()


def _joined(drawn: Sequence[gpd.GeoDataFrame]) -> gpd.GeoDataFrame:
    """Put the outlines of several years into one table."""
    import pandas as pd

    return pd.concat(drawn, ignore_index=True) if len(drawn) > 1 else drawn[0]
