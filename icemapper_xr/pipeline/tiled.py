"""The folder of a region's map as it is read: which tile is where, what a zone owns, and the outlines over all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from icemapper_xr import conventions, regions, store, vectorise
from icemapper_xr.errors import StoreError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["INDEX", "TILES", "draw", "is_region", "read_index", "standing", "store_of", "zones_of"]

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
        paths = [store_of(folder, tile) for tile, facts in content["tiles"].items() if facts["zone"] == name]
        found[regions.Zone(code % 100, code < 32700, owned)] = paths
    return found


def store_of(folder: Path, tile: str) -> Path:
    """Return where the store of a tile lies."""
    return folder / TILES / f"{tile}.zarr"


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


def standing(folder: Path) -> dict[int, tuple[int, int]]:
    """Tell units done and units in all of each year, over the tiles that have begun it."""
    found: dict[int, tuple[int, int]] = {}
    for paths in zones_of(folder).values():
        for path in paths:
            for year, (written, total) in store.status(path).items():
                done, units = found.get(year, (0, 0))
                found[year] = (done + written, units + total)
    return dict(sorted(found.items()))


def draw(
    folder: Path,
    year: int,
    *,
    threshold: float = conventions.THRESHOLD,
    min_area_km2: float = conventions.MIN_AREA_KM2,
    min_hole_km2: float = 0.0,
) -> gpd.GeoDataFrame:
    """Draw the outlines of one year of a region's map, across tiles and zones, as `vectorise.outlines` does of a store.

    Raises
    ------
    StoreError
        If there is no map of a region, or none of its tiles has the year.
    """
    drawn = []
    for zone, paths in zones_of(folder).items():
        there = [path for path in paths if year in store.status(path)]
        if there:
            plane = regions.mosaic(there, year=year)
            outlined = vectorise.outlines(
                plane, threshold=threshold, min_area_km2=0, min_hole_km2=min_hole_km2, crs_out=None
            )
            drawn.append((zone, outlined))
    if not drawn:
        raise StoreError(f"none of the tiles of {folder} has the year {year}; map that year first")
    return regions.join(drawn, min_area_km2=min_area_km2)
