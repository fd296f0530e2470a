"""The outlines of a mapped folder: of its finished years, in one file."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from icemapper_xr import conventions, inventory, store, vectorise
from icemapper_xr.errors import OptionError, StoreError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["OUTLINES", "STORE", "finished_years", "joined", "outlines_of_run"]

STORE = "glaciers.zarr"
OUTLINES = "outlines.gpkg"


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
    dem: str | Path | None = None,
    sea_level: float = 0.0,
) -> tuple[Path, gpd.GeoDataFrame]:
    """Draw the outlines of a finished map anew and write them.

    Parameters
    ----------
    source
        Output folder of `map_glaciers`, or its zarr cube.
    out
        File to write (.gpkg, .parquet, .geojson); None is ``outlines.gpkg`` beside the cube, ``outlines_<year>.gpkg``
        for one year.
    year
        Only this year; None is all that are finished.
    threshold, min_area_km2, min_hole_km2
        As in `icemapper_xr.vectorise.outlines`.
    simplify
        Metres: vertices that matter less are taken away (`icemapper_xr.vectorise.simplify`); 0 keeps all.
    band
        Whether to measure the band between the 5 % and the 95 % outline (`icemapper_xr.vectorise.band`) and to write
        both beside, to ``<name>_band``.
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
        If there is no store, or it lacks the year, or the year is unfinished.
    """
    if not simplify >= 0:
        raise OptionError(f"simplify={simplify:g}: the tolerance must be 0 m or more")
    folder = Path(source)
    cube_path = folder if store.is_store(folder) else folder / STORE
    stored = store.open_store(cube_path)
    chosen = finished_years(cube_path) if year is None else [_finished_year(cube_path, year)]
    drawn = [
        vectorise.outlines(
            stored.sel(year=one), threshold=threshold, min_area_km2=min_area_km2, min_hole_km2=min_hole_km2, year=one
        )
        for one in chosen
    ]
    name = OUTLINES if year is None else f"{Path(OUTLINES).stem}_{year}{Path(OUTLINES).suffix}"
    target = cube_path.parent / name if out is None else Path(out)
    together = inventory.snow_suspects(joined(drawn))
    if dem is not None:
        together = inventory.sea_ice_suspects(together, str(dem), sea_level=sea_level)
    sides = None
    if band:
        together, sides = vectorise.band(stored, together, threshold=threshold)
    together = vectorise.simplify(together, simplify)
    vectorise.write(together, target)
    if sides is not None:
        vectorise.write(sides, target.with_name(f"{target.stem}_band{target.suffix}"))
    return target, together


def finished_years(path: Path) -> list[int]:
    """Return the years of a store that are complete; the others are named in a warning: half a year has half the ice.

    Raises
    ------
    StoreError
        If no year is complete.
    """
    status = store.status(path)
    done = [year for year, (written, total) in status.items() if written == total]
    half = [f"{year} ({written} of {total} units)" for year, (written, total) in status.items() if written < total]
    if not done:
        raise StoreError(f"{path} has no finished year: {', '.join(half) or 'none was begun'}; run the same map again")
    if half:
        warnings.warn(
            f"{path}: left out because unfinished: {', '.join(half)}; run the same map again to finish",
            UserWarning,
            stacklevel=2,
        )
    return done


def _finished_year(path: Path, year: int) -> int:
    status = store.status(path)
    if year not in status:
        raise StoreError(f"{path} has the years {', '.join(map(str, status))}, not {year}; map that year first")
    written, total = status[year]
    if written < total:
        raise StoreError(f"{path}: {year} is unfinished ({written} of {total} units); run the same map again")
    return year


def joined(drawn: Sequence[gpd.GeoDataFrame]) -> gpd.GeoDataFrame:
    """Put the outlines of several years into one table."""
    import pandas as pd

    return pd.concat(drawn, ignore_index=True) if len(drawn) > 1 else drawn[0]
