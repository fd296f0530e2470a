"""``tiles.json`` as a run writes it: before its first tile and after each, so that a run which breaks off can go on."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from icemapper_xr import conventions, progress, regions, store
from icemapper_xr._types import Bounds
from icemapper_xr.errors import StoreError
from icemapper_xr.pipeline import tables, tiled

__all__ = ["Listing"]


class Listing:
    """The tiles of a run, among those that earlier runs have mapped into the same folder.

    Parameters
    ----------
    folder
        Output folder of the map.
    parts
        Tiles of this run.
    years
        Years it is asked to map.
    resolution
        Pixel size of the map, metres.
    overwrite
        Whether what earlier runs have mapped of these tiles is replaced.

    Raises
    ------
    StoreError
        A tile would share pixels with one of another name that is there.
    """

    def __init__(
        self, folder: Path, parts: Sequence[regions.Part], years: Iterable[int], *, resolution: float, overwrite: bool
    ) -> None:
        self.folder, self._overwrite = folder, overwrite
        self._zones = {part.zone.name: _zone_row(part.zone) for part in parts}
        self._tiles = {part.name: _tile_row(part, years, resolution) for part in parts}
        self._skipped: dict[str, str] = {}
        self._done: dict[str, None] = {}
        self._previous: bytes | None = None
        self._written = b""
        before = _pruned(folder, _read(folder))
        self._old = tuple(before["tiles"])
        self._refuse_overlap(parts, before["tiles"])
        if not overwrite:
            self._keep_years(before["tiles"])
        if not before["tiles"]:
            self._tell_unlisted()

    def beside(self, name: str) -> Iterator[Path]:
        """Iterate over the stores that a tile must be of one run with: all others that stay in the map."""
        known = {**self._done, **dict.fromkeys(self._old), **self._tiles}
        for one in known:
            replaced = self._overwrite and one in self._tiles and one not in self._done
            path = tiled.store_of(self.folder, one)
            if one != name and not replaced and path.exists():
                yield path

    def begin(self) -> None:
        """Write the index before the first tile; what an earlier run never came to goes, unless it is ours, too."""
        path = self.folder / tiled.INDEX
        self._previous = path.read_bytes() if path.is_file() else None
        there = _read(self.folder)
        self._save(there, _pruned(self.folder, there))

    def withdraw(self) -> None:
        """Put the index back as it was: the run ended before it had written anything."""
        path = self.folder / tiled.INDEX
        if not path.is_file() or path.read_bytes() != self._written:  # another process maps into the folder
            return
        if self._previous is not None:
            tables.write_bytes(path, self._previous)
            return
        path.unlink()
        for made in (self.folder / tiled.TILES, self.folder):
            if made.is_dir() and not any(made.iterdir()):
                made.rmdir()

    def skip(self, name: str, year: int, reason: str) -> None:
        """Say that nothing can be made of a tile in a year."""
        self._skipped[f"{name} {year}"] = reason
        self.save()

    def mapped(self, name: str, year: int) -> None:
        """Say that a tile has a year."""
        self._done[name] = None
        self._skipped[f"{name} {year}"] = ""  # it may have been before
        self.save()

    def save(self) -> None:
        """Write the index in one step; what another process maps into the folder meanwhile stays listed."""
        there = _read(self.folder)
        for name in self._tiles.keys() & there["tiles"].keys():
            years = self._tiles[name]["years"]
            years[:] = sorted({*years, *there["tiles"][name].get("years", ())})
        self._save(there, there)

    def _save(self, there: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
        """Write what is kept of the index that is there, and ours, if that says anything else."""
        tiles = {**kept["tiles"], **self._tiles}
        self._zones = _united(kept["zones"], self._zones)
        noted = {**kept["skipped"], **self._skipped}
        skipped = {key: reason for key, reason in noted.items() if reason and key.split()[0] in tiles}
        content = {"zones": self._zones, "tiles": tiles, "skipped": skipped}
        if content != there:
            self._written = (json.dumps(content, indent=1) + "\n").encode()
            tables.write_bytes(self.folder / tiled.INDEX, self._written)

    def _refuse_overlap(self, parts: Sequence[regions.Part], before: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse tiles that share pixels with others: outlines and areas could not tell whose these are."""
        for name in (one for one in self._old if one not in self._tiles):
            zone, bounds = before[name]["zone"], before[name]["bounds"]
            box = Bounds(*(bounds or store.open_store(tiled.store_of(self.folder, name)).rio.bounds()))
            met = next((part for part in parts if part.zone.name == zone and tiled.overlap(part.bounds, box)), None)
            if met is not None:
                raise StoreError(
                    f"the tile {met.name} would overlap the tile {name}, which another run has mapped into "
                    f"{self.folder}; name another folder for the output"
                )

    def _keep_years(self, before: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep the years that earlier runs were asked for, unless nobody has begun them.

        An index that is gone, or of before it had the years, leaves it to the stores: all years that any of them has.
        """
        stores = (tiled.store_of(self.folder, name) for name in {**before, **self._tiles})
        begun = {year for path in stores if path.exists() for year in _years_in(path)}
        for name, row in self._tiles.items():
            if name in before or not before:
                asked = before.get(name, {}).get("years", begun)
                row["years"] = sorted({*row["years"], *(begun & set(asked))})

    def _tell_unlisted(self) -> None:
        """Name stores that no index lists: nothing says which part of the region they own."""
        stores = (path.stem for path in sorted((self.folder / tiled.TILES).glob("*.zarr")))
        if unlisted := [name for name in stores if name not in self._tiles]:
            progress.note(
                f"{self.folder / tiled.INDEX} was lost: {', '.join(unlisted)} are not of this region and are left out "
                "until theirs is mapped here again"
            )


def _read(folder: Path) -> dict[str, Any]:
    """Return what the index says; nothing if it is not there, or damaged: the stores are what counts."""
    try:
        return tiled.read_index(folder)
    except StoreError:
        return {"zones": {}, "tiles": {}, "skipped": {}}


def _pruned(folder: Path, index: Mapping[str, Any]) -> dict[str, Any]:
    """Leave only tiles that are begun, and zones that have one."""
    tiles = {name: row for name, row in index["tiles"].items() if tiled.store_of(folder, name).exists()}
    used = {row["zone"] for row in tiles.values()}
    return {**index, "zones": {name: row for name, row in index["zones"].items() if name in used}, "tiles": tiles}


def _zone_row(zone: regions.Zone) -> dict[str, Any]:
    import shapely

    # Without the vertices that only the projection needs.
    return {"epsg": zone.epsg, "owned": shapely.to_geojson(shapely.simplify(zone.owned, 0))}


def _tile_row(part: regions.Part, years: Iterable[int], resolution: float) -> dict[str, Any]:
    units = _units(part.bounds, resolution)
    return {"zone": part.zone.name, "bounds": list(part.bounds), "units": units, "years": sorted(set(years))}


def _united(before: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Put together what each zone owns by this run and by others."""
    import shapely

    zones = {**before, **ours}
    for name in set(before) & set(ours):
        if before[name]["owned"] != ours[name]["owned"]:
            owned = shapely.union_all([shapely.from_geojson(one[name]["owned"]) for one in (ours, before)])
            zones[name] = {**ours[name], "owned": shapely.to_geojson(owned)}
    return zones


def _units(bounds: Bounds, resolution: float) -> int:
    """Count the cells of the lattice that a tile meets, each a unit of its store."""
    side = conventions.LATTICE * resolution
    left, bottom, right, top = bounds
    return (math.ceil(right / side) - math.floor(left / side)) * (math.ceil(top / side) - math.floor(bottom / side))


def _years_in(path: Path) -> set[int]:
    """Return the years of a store; none if it cannot be read: the run that comes to it says so."""
    try:
        return set(store.provenance(path)["years"])
    except StoreError:
        return set()
