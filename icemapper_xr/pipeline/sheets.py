"""What of a map is measured at a time: its one raster, or the tiles of a region, each with what it alone counts."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from icemapper_xr import addresses, lonlat, regions, store
from icemapper_xr import conventions as cv
from icemapper_xr._types import Bounds
from icemapper_xr.analysis import projecting
from icemapper_xr.analysis.series import Acquisition
from icemapper_xr.errors import StoreError
from icemapper_xr.pipeline import orbits, tiled

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Opened", "Sheet", "composite", "of_region", "of_store", "sensors", "united", "years_in"]


@dataclass(frozen=True, eq=False)
class Sheet:
    """A raster of one CRS, orbit and polarisation."""

    name: str
    """Of the tile; empty for a map in one store."""
    path: Path | str
    """Path or URL of its store."""
    probability: xr.DataArray
    """Dims (year, y, x), lazy. Of a tile with a pixel of its neighbours, which margins are measured to."""
    acquisitions: tuple[Acquisition, ...]
    """Orbit, polarisation and sensor of each year."""
    years: tuple[int, ...]
    """Years that it was mapped in; in the others of `probability` it is empty."""
    state: store.State
    """Of its store, as it was opened."""
    zone: regions.Zone | None = None
    """UTM zone and what it owns of the region; None: all of the raster counts."""
    box: Bounds | None = None
    """What of the raster is the tile's own."""

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Compute from the raster: a damaged unit is named, and a year that is replaced meanwhile is refused."""
        return store.steady(self.path, self.state, self.years)

    @property
    def grid(self) -> int:
        """Number of the grid that blocks lie on: the EPSG code of the zone; 0 for a map in one store."""
        return 0 if self.zone is None else self.zone.epsg

    def cut(self, region: gpd.GeoDataFrame | None) -> gpd.GeoDataFrame | gpd.GeoSeries | None:
        """Return the polygons in which the raster's cells count, within an area of interest; None: all of them.

        The area of a tile's map is that of `united`.
        """
        if self.zone is None or self.box is None:
            return region
        import geopandas as gpd
        import shapely

        there = self.zone.owned
        if region is not None:
            there = shapely.intersection(there, shapely.union_all(region.to_crs(4326).geometry.to_numpy()))
        # Some pixels more than the tile: it is cut exactly only in the CRS of its pixels.
        around = shapely.buffer(shapely.box(*self.box), 10_000.0).segmentize(1000.0)
        parts = [shapely.intersection(there, shape) for shape in _turned(self.zone.to_degrees(around))]
        local = shapely.intersection(self.zone.project(shapely.union_all(parts)), shapely.box(*self.box))
        return gpd.GeoSeries([local], crs=self.probability.rio.crs.to_wkt())

    def near(self, frame: gpd.GeoDataFrame, reach: float) -> Any:
        """Tell which rows of a table of polygons may come within a distance (metres) of the raster: (rows,) bool."""
        if self.box is None or self.zone is None or not len(frame):
            return np.ones(len(frame), dtype=bool)
        import shapely

        around = shapely.buffer(shapely.box(*self.box), reach + 1000.0).segmentize(1000.0)
        boxes = [shapely.box(*shape.bounds) for shape in _turned(self.zone.to_degrees(around))]
        edges = frame.geometry.to_crs(4326).bounds.to_numpy()
        return shapely.intersects(shapely.box(*edges.T)[:, None], np.array(boxes, dtype=object)[None, :]).any(axis=1)


def _turned(shape: Any) -> list[Any]:
    """Return a shape whose longitudes run on across the antimeridian once where it is, and a turn to each side."""
    return [regions.turned(shape, turn) for turn in (-360.0, 0.0, 360.0)]


def united(region: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Unite polygons in degrees, their edges straight in their own CRS, cut at the antimeridian."""
    import geopandas as gpd
    import shapely

    if region.crs.is_geographic:
        fine = projecting.unrolled(region.geometry).segmentize(regions.EDGE_DEGREES).to_crs(4326)
        whole = lonlat.cut(shapely.union_all(shapely.make_valid(fine.to_numpy())))
    else:
        whole = lonlat.projected(region.geometry)
    return gpd.GeoDataFrame(geometry=[whole], crs=4326)


class Opened(NamedTuple):
    """A finished map."""

    sheets: tuple[Sheet, ...]
    years: tuple[int, ...]
    facts: Mapping[str, Any]
    """Provenance of the store, of a region that of its first tile."""
    notes: tuple[str, ...]


def years_in(source: Path | str) -> tuple[int, ...]:
    """Return the years of a map, finished or not: those of its store, or of any tile of a region.

    Raises
    ------
    StoreError
        There is no store.
    """
    folder = addresses.local_path(source)
    if tiled.is_region(folder):
        return _of_tiles(tiled.provenances(folder))
    return _of_cube(store.open_store(store.cube_of(source)))


def _of_tiles(facts: Mapping[Path, Mapping[str, Any]]) -> tuple[int, ...]:
    return tuple(sorted({int(year) for one in facts.values() for year in one["years"]}))


def _of_cube(dataset: xr.Dataset) -> tuple[int, ...]:
    return tuple(int(year) for year in dataset[cv.YEAR].values)


def _chosen(source: Path | str, there: Sequence[int], years: Sequence[int] | None) -> tuple[int, ...]:
    """Return the years of a map that were asked for, all where none were.

    Raises
    ------
    StoreError
        It lacks one, or has none at all.
    """
    chosen = tuple(there) if years is None else tuple(sorted(set(years)))
    missing = [year for year in chosen if year not in there]
    if missing:
        raise StoreError(f"{source} has the years {', '.join(map(str, there))}, not {missing[0]}; map that year first")
    if not chosen:
        raise StoreError(f"{source} has no year; map one first")
    return chosen


# -- one store --------------------------------------------------------------------------------------------------------
def of_store(path: Path | str, years: Sequence[int] | None) -> Opened:
    """Open the finished years of a map in one store.

    Raises
    ------
    StoreError
        There is no store, or a year is not in it or not finished.
    """
    state = store.state(path, years)
    dataset = store.open_store(path)
    chosen = _chosen(path, _of_cube(dataset), years)
    for year in chosen:
        _refuse_unfinished(path, year, len(store.todo(path, year)))
    facts = store.provenance(path)
    kinds, told = _acquisitions(facts, chosen)
    probability = dataset[cv.PROBABILITY].sel({cv.YEAR: list(chosen)})
    return Opened((Sheet("", path, probability, kinds, chosen, state),), chosen, facts, tuple(told))


def _refuse_unfinished(path: Path | str, year: int, left: int) -> None:
    if left:
        raise StoreError(
            f"{path}: {left} units of the year {year} are not done, its areas would be too small; run the same "
            "`icemapper map` again, or choose other years with --years"
        )


def _acquisitions(facts: Mapping[str, Any], years: Sequence[int]) -> tuple[tuple[Acquisition, ...], list[str]]:
    """Orbit, polarisation and sensor of each year; platforms that share a year count as one sensor."""
    run = facts["run"]
    platforms = [set(orbits.satellites(facts["years"].get(year, {}).get("attrs", {}))) for year in years]
    if not all(platforms):
        platforms = [set() for _ in years]  # a platform that is not known is no change
    orbit, polarisation = run.get(cv.ATTR_ORBIT), run.get(cv.ATTR_POLARISATION)
    kinds = [Acquisition(orbit, polarisation, sensor) for sensor in sensors(platforms)]
    found = {"+".join(sorted(names)) for names in platforms if names}
    told = [f"platforms differ between the years ({', '.join(sorted(found))})"] if len(found) > 1 else []
    return tuple(kinds), told


def sensors(platforms: Sequence[set[str]]) -> list[str | None]:
    """Name the sensor of each set of platforms: those with a platform in common are one sensor; None for an empty set.

    >>> sensors([{"S1A"}, {"S1A", "S1B"}, {"S1C"}, set()])
    ['S1A+S1B', 'S1A+S1B', 'S1C', None]
    """
    groups: list[set[str]] = []
    for names in platforms:
        met = [group for group in groups if group & names]
        groups = [group for group in groups if group not in met] + [names.union(*met)]
    named = {name: "+".join(sorted(group)) for group in groups for name in group}
    return [named[min(names)] if names else None for names in platforms]


# -- the tiles of a region --------------------------------------------------------------------------------------------
def of_region(folder: Path, years: Sequence[int] | None) -> Opened:
    """Open the finished tiles of a region's map.

    Raises
    ------
    StoreError
        No tile has a year, a tile is not finished in one, or the tiles overlap or are of different runs.
    """
    zones, facts = tiled.zones_of(folder), tiled.provenances(folder)
    chosen = _chosen(folder, _of_tiles(facts), years)
    for name, known in tiled.standings(folder).items():
        for year, (done, units) in known.items():
            if year in chosen:
                _refuse_unfinished(tiled.store_of(folder, name), year, units - done)
    found, told = [], list(_told(folder, facts, chosen))
    for zone, paths in zones.items():
        for sheet, notes in _of_zone(zone, paths, facts, chosen):
            found.append(sheet)
            told += [f"{sheet.name}: {note}" for note in notes]
    return Opened(tuple(found), chosen, next(iter(facts.values())), tuple(told))


def _told(folder: Path, facts: Mapping[Path, Mapping[str, Any]], years: Sequence[int]) -> Iterator[str]:
    kinds = {(one["run"].get(cv.ATTR_ORBIT), one["run"].get(cv.ATTR_POLARISATION)) for one in facts.values()}
    if len(kinds) > 1:
        named = ", ".join(f"orbit {orbit} {polarisation}" for orbit, polarisation in sorted(kinds, key=str))
        yield f"{len(facts)} tiles of {len(kinds)} kinds ({named}); each tile keeps its own through the years"
    for path, one in facts.items():
        gone = [year for year in years if year not in one["years"]]
        if gone:
            yield (
                f"{path.stem} was not mapped in {', '.join(map(str, gone))}: its area is missing there "
                "(unobserved_km2), and it counts in no year where only cells observed in all years do"
            )
    skipped = {name.split()[0] for name in tiled.read_index(folder).get("skipped", {})}
    never = skipped - {path.stem for path in facts}
    if never:
        yield f"tiles that could not be mapped count nowhere: {', '.join(sorted(never))}"


def _of_zone(
    zone: regions.Zone, paths: Sequence[Path], facts: Mapping[Path, Mapping[str, Any]], years: Sequence[int]
) -> Iterator[tuple[Sheet, list[str]]]:
    boxes = {path: Bounds(*store.open_store(path).rio.bounds()) for path in paths}
    _refuse_overlap(boxes)
    for path in paths:
        own = [year for year in years if year in facts[path]["years"]]
        if not own:
            continue
        state = store.state(path, own)
        around = [other for other in paths if _touch(boxes[path], boxes[other])]
        kinds, notes = _acquisitions(facts[path], own)
        by_year = dict(zip(own, kinds, strict=True))
        yield (
            Sheet(
                name=path.stem,
                path=path,
                probability=_window(path, around, {other: facts[other]["years"] for other in around}, years),
                acquisitions=tuple(by_year.get(year, kinds[0]) for year in years),
                years=tuple(own),
                state=state,
                zone=zone,
                box=boxes[path],
            ),
            notes,
        )


def _touch(one: Bounds, other: Bounds) -> bool:
    return one.left <= other.right and other.left <= one.right and one.bottom <= other.top and other.bottom <= one.top


def _refuse_overlap(boxes: Mapping[Path, Bounds]) -> None:
    """Refuse tiles that share pixels: `map` lets none come about, but folders of before it did may have them."""
    for (one, box), (other, near) in itertools.combinations(boxes.items(), 2):
        if tiled.overlap(box, near):
            raise StoreError(
                f"{one} and {other} overlap, so that ice there would count twice; map the whole region into another "
                "folder"
            )


def _window(path: Path, around: Sequence[Path], there: Mapping[Path, Any], years: Sequence[int]) -> xr.DataArray:
    """Return a tile and what margins need of the tiles around it, (year, y, x), lazily.

    That is a pixel more to the left, to the right and below (`margins.margin_length`), where there is a tile.
    """
    import dask.array as da

    own = store.open_store(path)[cv.PROBABILITY].reindex({cv.YEAR: list(years)}).astype(np.float32)
    if len(around) == 1:
        return own
    planes = {year: regions.mosaic(around, year=year) for year in years if any(year in there[one] for one in around)}
    like = next(iter(planes.values()))
    y, x = like[cv.Y].values, like[cv.X].values
    top, left = _place(own[cv.Y].values, y), _place(own[cv.X].values, x)
    bottom, right = top + own.sizes[cv.Y], left + own.sizes[cv.X]
    columns = slice(max(left - 1, 0), min(right + 1, x.size))

    def piece(rows: slice, columns: slice) -> Any:
        blank = da.full(like[rows, columns].shape, np.nan, dtype=np.float32)
        return da.stack([planes[year][rows, columns].data if year in planes else blank for year in years])

    rows = slice(top, bottom)
    sides = [piece(rows, slice(columns.start, left)), own.data, piece(rows, slice(right, columns.stop))]
    data = da.concatenate([side for side in sides if side.shape[-1]], axis=2)
    if bottom < y.size:
        data = da.concatenate([data, piece(slice(bottom, bottom + 1), columns)], axis=1)
    data = data.rechunk({1: _without_slivers(data.chunks[1]), 2: _without_slivers(data.chunks[2])})
    where = {cv.YEAR: list(years), cv.Y: y[top : top + data.shape[1]], cv.X: x[columns]}
    found = xr.DataArray(data, where, (cv.YEAR, cv.Y, cv.X), cv.PROBABILITY)
    return found.rio.write_crs(like.rio.crs)  # type: ignore[no-any-return]


def _place(own: Any, every: Any) -> int:
    """Position of the first of some centres among others."""
    size = abs(float(every[1] - every[0]))
    return int(np.flatnonzero(np.abs(every - own[0]) < size / 2)[0])


def _without_slivers(chunks: tuple[int, ...]) -> tuple[int, ...]:
    """Join chunks of one pixel with the next one."""
    sizes = list(chunks)
    if len(sizes) > 1 and sizes[0] == 1:
        sizes[:2] = [sizes[0] + sizes[1]]
    if len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [sizes[-2] + sizes[-1]]
    return tuple(sizes)


def composite(sheets: Sequence[Sheet]) -> tuple[Acquisition, ...]:
    """Return what the areas of a map as a whole were acquired with, year by year."""
    kinds = list(dict.fromkeys(sheet.acquisitions for sheet in sheets))
    if len(kinds) == 1:
        return kinds[0]
    found = []
    for together in zip(*kinds, strict=True):
        parts = [sorted({str(kind[k]) for kind in together}) for k in range(3)]
        orbit = together[0].relative_orbit if len(parts[0]) == 1 else None
        sensor = f"orbits {', '.join(parts[0])}: {', '.join(parts[2])}" if orbit is None else ", ".join(parts[2])
        found.append(Acquisition(orbit, ", ".join(parts[1]), sensor))
    return tuple(found)
