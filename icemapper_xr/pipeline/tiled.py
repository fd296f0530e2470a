"""The folder of a region's map as it is read: which tile is where, what a zone owns, and the outlines over all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from icemapper_xr import conventions, regions, store, vectorise
from icemapper_xr.errors import StoreError
from icemapper_xr.pipeline import outlining

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["INDEX", "TILES", "is_region", "outlines_of_region", "read_index", "zones_of"]

TILES: Final = "tiles"
"""Folder of the stores, one a tile."""
INDEX: Final = "tiles.json"
"""Which tile is where, and why one was not mapped."""


def is_region(folder: str | Path) -> bool:
    """Whether a folder is the output of `map_region`."""
    return (Path(folder) / INDEX).is_file()


def zones_of(folder: Path) -> dict[regions.Zone, list[Path]]:
    """Return the zones of a region's map and the stores in each."""
    import shapely

    if not is_region(folder):
        raise StoreError(f"{folder} is no map of a region: run `icemapper map --region` first")
    content = read_index(folder)
    found: dict[regions.Zone, list[Path]] = {}
    for name, row in content["zones"].items():
        code = int(row["epsg"])
        owned = shapely.segmentize(shapely.from_geojson(row["owned"]), regions.EDGE_DEGREES)
        paths = [folder / TILES / f"{tile}.zarr" for tile, facts in content["tiles"].items() if facts["zone"] == name]
        found[regions.Zone(code % 100, code < 32700, owned)] = paths
    return found


def read_index(folder: Path) -> dict[str, Any]:
    """Return what ``tiles.json`` says: `zones`, `tiles` and what was `skipped`.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    try:
        content: dict[str, Any] = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder / INDEX} cannot be read ({error}); run the same map again") from error
    return content


def outlines_of_region(
    source: str | Path,
    out: str | Path | None = None,
    *,
    year: int | None = None,
    threshold: float = conventions.THRESHOLD,
    min_area_km2: float = conventions.MIN_AREA_KM2,
    min_hole_km2: float = 0.0,
) -> tuple[Path, gpd.GeoDataFrame]:
    """Draw the outlines of a region's map, across tiles and zones, and write them.

    Parameters
    ----------
    source
        Output folder of `map_region`.
    out
        File to write; None is ``outlines.gpkg`` in the folder (``outlines_<year>.gpkg`` if a year is named).
    year
        Only this year; None is all that some tile has finished.
    threshold, min_area_km2, min_hole_km2
        As in `icemapper_xr.vectorise.outlines`.

    Returns
    -------
    tuple of Path and GeoDataFrame
        The file and its content.

    Raises
    ------
    StoreError
        If there is no map of a region, or none of its tiles has the year.
    """
    folder = Path(source)
    zones = zones_of(folder)
    finished = sorted({one for paths in zones.values() for path in paths for one in _finished(path)})
    if year is not None and year not in finished:
        raise StoreError(f"{folder} has the years {', '.join(map(str, finished)) or 'none'}, not {year}: map it first")
    chosen = finished if year is None else [year]
    if not chosen:
        raise StoreError(f"{folder} has no finished year; run the same map again")
    drawn = [_joined(zones, one, threshold, min_area_km2, min_hole_km2) for one in chosen]
    name = outlining.OUTLINES if year is None else f"outlines_{year}.gpkg"
    target = folder / name if out is None else Path(out)
    together = outlining.joined(drawn)
    vectorise.write(together, target)
    return target, together


def _finished(path: Path) -> list[int]:
    return [year for year, (written, total) in store.status(path).items() if written == total]


def _joined(
    zones: dict[regions.Zone, list[Path]], year: int, threshold: float, min_area: float, min_hole: float
) -> gpd.GeoDataFrame:
    drawn = []
    for zone, paths in zones.items():
        there = [path for path in paths if year in _finished(path)]
        if there:
            plane = regions.mosaic(there, year=year)
            outlined = vectorise.outlines(
                plane, threshold=threshold, min_area_km2=0, min_hole_km2=min_hole, crs_out=None
            )
            drawn.append((zone, outlined))
    return regions.join(drawn, min_area_km2=min_area)
