"""The folder of a region's map as it is read: which tile is where, what a zone owns, and the outlines over all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from icemapper_xr import conventions, regions, store, vectorise
from icemapper_xr._types import Bounds
from icemapper_xr.errors import StoreError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = [
    "INDEX",
    "TILES",
    "draw",
    "is_region",
    "never_asked",
    "overlap",
    "provenances",
    "read_index",
    "standings",
    "store_of",
    "summed",
    "unfinished",
    "zones_of",
]

TILES: Final = "tiles"
"""Folder of the stores, one a tile."""
INDEX: Final = "tiles.json"
"""Which tile is where, which years it was asked for, and why one was not mapped."""


def is_region(folder: str | Path) -> bool:
    """Whether a folder is the output of `map_region`."""
    return (Path(folder) / INDEX).is_file()


def zones_of(folder: Path) -> dict[regions.Zone, list[Path]]:
    """Return the zones of a region's map and the stores in each; a tile that is not begun has none."""
    import shapely

    if not is_region(folder):
        raise StoreError(f"{folder} is no map of a region: run `icemapper map --region` first")
    content = read_index(folder)
    found: dict[regions.Zone, list[Path]] = {}
    for name, row in content["zones"].items():
        code = int(row["epsg"])
        owned = shapely.segmentize(shapely.from_geojson(row["owned"]), regions.EDGE_DEGREES)
        paths = [store_of(folder, tile) for tile, facts in content["tiles"].items() if facts["zone"] == name]
        found[regions.Zone(code % 100, code < 32700, owned)] = [path for path in paths if path.exists()]
    return found


def store_of(folder: Path, tile: str) -> Path:
    """Return where the store of a tile lies."""
    return folder / TILES / f"{tile}.zarr"


def overlap(one: Bounds, other: Bounds) -> bool:
    """Whether two boxes of one CRS share more than an edge, to a centimetre."""
    across = min(one.right, other.right) - max(one.left, other.left)
    up = min(one.top, other.top) - max(one.bottom, other.bottom)
    return min(across, up) > 0.01


def read_index(folder: Path) -> dict[str, Any]:
    """Return what ``tiles.json`` says: `zones`, `tiles` and what was `skipped`.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    path = folder / INDEX
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({error}); run the same map again, it writes it anew") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in ("zones", "tiles")):
        raise StoreError(f"{path} does not list the tiles of a map; run the same map again, it writes it anew")
    return {"skipped": {}, **content}


def standings(folder: Path) -> dict[str, dict[int, tuple[int, int]]]:
    """Tell units done and units in all of each tile and year.

    A year that a tile was asked for and has not begun counts with no unit done, unless the tile was skipped in it. An
    older index does not say what was asked: all years that any tile has.
    """
    content = read_index(folder)
    there = {name: _status(store_of(folder, name)) for name in content["tiles"]}
    every = {year for years in there.values() for year in years}
    found = {}
    for name, row in content["tiles"].items():
        begun = there[name]
        units = max((total for _, total in begun.values()), default=int(row.get("units", 1)))
        due = {int(year) for year in row.get("years", every) if f"{name} {year}" not in content["skipped"]}
        found[name] = {year: begun.get(year, (0, units)) for year in sorted(due | set(begun))}
    return found


def _status(path: Path) -> dict[int, tuple[int, int]]:
    return store.status(path) if path.exists() else {}


def summed(known: Mapping[str, Mapping[int, tuple[int, int]]]) -> dict[int, tuple[int, int]]:
    """Add up units done and units in all of each year, over the `standings` of all tiles."""
    found: dict[int, tuple[int, int]] = {}
    for years in known.values():
        for year, (written, total) in years.items():
            done, units = found.get(year, (0, 0))
            found[year] = (done + written, units + total)
    return dict(sorted(found.items()))


def unfinished(known: Mapping[str, Mapping[int, tuple[int, int]]], year: int) -> list[str]:
    """Name the tiles that have units to do in a year."""
    return [name for name, years in known.items() if year in years and years[year][0] < years[year][1]]


def never_asked(folder: Path, known: Mapping[str, Mapping[int, tuple[int, int]]], year: int) -> list[str]:
    """Name the tiles that nobody asked to be mapped in a year: neither in its standings nor skipped."""
    skipped = read_index(folder)["skipped"]
    return [name for name, years in known.items() if year not in years and f"{name} {year}" not in skipped]


def provenances(folder: Path) -> dict[Path, dict[str, Any]]:
    """Return the provenance of all tiles of a region's map.

    Raises
    ------
    StoreError
        There is no map of a region, no tile of it is begun, or its tiles are of different runs.
    """
    facts = {path: store.provenance(path) for paths in zones_of(folder).values() for path in paths}
    if not facts:
        raise StoreError(f"no tile of {folder} is begun; run the same map again")
    first, *others = facts
    for other in others:
        if told := store.unlike(facts[first]["run"], facts[other]["run"]):
            raise StoreError(
                f"{first} and {other} were mapped in different ways ({told}: there the first, here the second), so "
                "they are no one map; map the region anew with --overwrite"
            )
    return facts


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
        states = {path: found for path in paths if year in (found := store.state(path, [year]))}
        if not states:
            continue
        with contextlib.ExitStack() as reading:
            for path, state in states.items():
                reading.enter_context(store.steady(path, state, [year]))
            plane = regions.mosaic(list(states), year=year)
            outlined = vectorise.outlines(
                plane, threshold=threshold, min_area_km2=0, min_hole_km2=min_hole_km2, crs_out=None
            )
            drawn.append((zone, outlined))
    if not drawn:
        raise StoreError(f"none of the tiles of {folder} has the year {year}; map that year first")
    return regions.join(drawn, min_area_km2=min_area_km2)
