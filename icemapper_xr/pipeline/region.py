"""`map_region`: an area of any size, tile by tile, each with its own orbit, into one folder with one outline file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from icemapper_xr import catalog as catalogs
from icemapper_xr import cluster as clusters
from icemapper_xr import conventions, models, prediction, progress, regions, store
from icemapper_xr._types import Segmenter
from icemapper_xr.errors import CatalogDownError, CatalogError, CubeError, IcemapperError, OptionError
from icemapper_xr.pipeline import (
    execution,
    homes,
    journals,
    listing,
    mapping,
    orbits,
    outlining,
    records,
    tiled,
    trust,
)
from icemapper_xr.pipeline.outcomes import Outcome, Written
from icemapper_xr.settings import Area, MapSettings, listed_years

__all__ = ["RegionReport", "Tile", "as_region", "map_region", "parts_of"]


@dataclass(frozen=True)
class Tile:
    """What became of one tile in one year."""

    name: str
    year: int
    relative_orbit: int | None = None
    polarisation: str | None = None
    steps: int = 0
    """Steps that have a pass of every feature."""
    units: int = 0
    """Units of the store written now."""
    units_kept: int = 0
    unreadable: tuple[str, ...] = ()
    """Items that could not be read somewhere, and are missing steps there."""
    skipped: str = ""
    """Why it was not mapped: there is nothing to map it from."""


@dataclass(frozen=True)
class RegionReport:
    """What `map_region` wrote."""

    out: Path
    outlines: Path
    tiles: tuple[Tile, ...]
    areas: dict[int, tuple[float, int]]
    """For every year of the folder the area of all outlines, km2, and their number."""
    windows: prediction.Windows
    engine: str
    simulated: bool
    """Whether the weights were trained on simulated scenes only, so that no accuracy on real ice is known."""
    unlike: dict[int, trust.Unlike]
    """For every year of the run the shares whose input is unlike the weights' training data, where that is known."""


def map_region(
    *,
    catalog: str | Path,
    weights: str | Path | Segmenter,
    out: str | Path,
    region: Any,
    years: Sequence[int] = (),
    mask: str | Path | None = None,
    mask_buffer: float = conventions.MASK_BUFFER,
    tile: int = conventions.TILE_CHUNKS,
    overwrite: bool = False,
    retry_failed: bool = False,
    cluster: str | None = None,
    cluster_options: clusters.ClusterOptions | None = None,
    **options: Any,
) -> RegionReport:
    """Map the glaciers of an area of any size; run it again to resume.

    The area is cut by UTM zone, and a zone into tiles of its global lattice, so that each tile has the orbit that
    covers it best. Every tile is an ordinary store. Outlines are drawn over the tiles of a zone as if these were one,
    cut at the border of the zone, and joined with those of the next.

    Parameters
    ----------
    catalog, weights, years, overwrite, retry_failed, cluster, cluster_options
        As in `map_glaciers`.
    out
        Folder to write: ``tiles/`` (one store a tile), ``tiles.json``, ``outlines.gpkg``,
        ``orbits.gpkg``, ``run.json``, ``logs``.
    region
        What `icemapper_xr.regions.resolve` takes: code or name of an RGI region, polygon file, west, south, east, north
        in degrees, geometry, or a list of these.
    mask
        File of polygons outside of which there cannot be ice: tiles and blocks outside are not read.
    mask_buffer
        Metres by which the mask is grown.
    tile
        Side of a tile in chunks of 1152 pixels.
    **options
        Fields of `icemapper_xr.settings.MapSettings`; ``orbit`` is better left to each tile.

    Returns
    -------
    RegionReport
        Tiles mapped and skipped, area and number of outlines by year.

    Raises
    ------
    IcemapperError
        Whatever the stages refuse; a tile from which nothing can be made is skipped and named, unless all are.
    """
    if options.get("store") is not None:
        raise OptionError(
            f"store is {options['store']}, but the tiles of a region lie in its folder: leave store out, or map one "
            "area (bbox, bounds, geometry)"
        )
    folder = homes.local_folder(out)
    chosen = MapSettings.checked(
        catalog=str(catalog),
        weights=mapping.name_of(weights),
        area=Area(region=_said(region)),
        years=listed_years(years),
        mask=None if mask is None else str(mask),
        mask_buffer=mask_buffer,
        tile=tile,
        **options,
    )
    known = tiled.is_region(folder) or _has_tiles(folder)
    homes.refuse_foreign(folder, ours=known, whole=tiled.INDEX, whose="of a region's map")
    segmenter = models.loaded(weights, engine=chosen.engine, precision=chosen.precision, features=chosen.features)
    parts, asked = parts_of(chosen, region, segmenter.pixel_size), mapping.years_of(chosen)
    listed = listing.Listing(folder, parts, asked, resolution=segmenter.pixel_size, overwrite=overwrite)
    progress.note(f"{len(parts)} tiles in {len({part.zone.name for part in parts})} UTM zones")
    with (
        clusters.connect(cluster, cluster_options) as client,
        journals.logged(folder, chosen, segmenter, clusters.named(cluster, client)) as journal,
    ):
        run = _Run(chosen, segmenter, listed, client, journal, overwrite=overwrite, retry_failed=retry_failed)
        run.through(parts, asked)
    drawn, finished = outlining.outlines_of_map(folder, chosen)
    mapped = [tile for tile in run.tiles if not tile.skipped]
    there = {*finished, *(tile.year for tile in mapped)}
    records.save(folder, chosen, there=there, made={tile.year for tile in mapped if tile.units})
    return RegionReport(
        out=folder,
        outlines=folder / outlining.OUTLINES,
        tiles=tuple(run.tiles),
        areas={
            int(year): (float(rows["area_km2"].sum()), len(rows)) for year, rows in drawn.groupby("year", sort=True)
        },
        windows=run.windows,
        engine=str(getattr(segmenter, "engine", "own")),
        simulated=mapping.is_simulated(segmenter),
        unlike=_unlike(folder, mapped, threshold=chosen.threshold),
    )


def _unlike(folder: Path, tiles: Sequence[Tile], *, threshold: float) -> dict[int, trust.Unlike]:
    """Return the shares of unlike input by year, over all tiles of a run."""
    shares = {}
    for year in sorted({tile.year for tile in tiles}):
        names = [tile.name for tile in tiles if tile.year == year]
        cubes = (
            store.open_store(tiled.store_of(folder, name)).sel(year=year)
            for name in progress.track(names, f"compare {year} with the training data", len(names))
        )
        share = trust.unlike_share(*cubes, threshold=threshold)
        if share is not None:
            shares[year] = share
    return shares


def as_region(where: Mapping[str, Any], region: Sequence[Any] | None) -> Any:
    """Return the areas to map tile by tile; None where one cube is to hold the area.

    Raises
    ------
    OptionError
        A region is named, and an area in another way too.
    """
    if region is None:
        return None
    if where:
        raise OptionError(f"region and {', '.join(where)} are both given: name the area by one of them")
    return list(region)


def _said(region: Any) -> tuple[Any, ...]:
    """Return the region as it can be stored."""
    import shapely.geometry

    listed = regions.listed(region)
    plain = []
    for one in listed:
        shape = getattr(one, "__geo_interface__", None)
        plain.append(shapely.geometry.mapping(shapely.geometry.shape(shape)) if shape is not None else one)
    return tuple(tuple(one) if isinstance(one, list) else str(one) if isinstance(one, Path) else one for one in plain)


def parts_of(chosen: MapSettings, region: Any, pixel_size: float) -> tuple[regions.Part, ...]:
    """Cut the region of some settings into tiles."""
    return regions.parts(
        regions.resolve(region),
        resolution=pixel_size,
        tile=chosen.tile,
        mask=None if chosen.mask is None else regions.mask_of_file(chosen.mask),
        mask_buffer=chosen.mask_buffer,
    )


def _has_tiles(folder: Path) -> bool:
    """Whether there is a folder of tiles with nothing else in it: their index can be lost, they stay."""
    tiles = folder / tiled.TILES
    return tiles.is_dir() and all(".zarr" in path.name for path in tiles.iterdir())


class _Run:
    """The tiles of a run, one after the other."""

    def __init__(
        self,
        chosen: MapSettings,
        segmenter: Segmenter,
        listed: listing.Listing,
        client: Any,
        journal: journals.Journal,
        *,
        overwrite: bool,
        retry_failed: bool,
    ) -> None:
        self.chosen, self.segmenter, self.listed = chosen, segmenter, listed
        self.client, self.journal = client, journal
        self.overwrite, self.retry_failed = overwrite, retry_failed
        self.tiles: list[Tile] = []
        self.windows = prediction.Windows()
        self._first_error: IcemapperError | None = None
        self._failed: list[str] = []
        """Tiles and years of which units failed, and why."""
        self._begun = False
        """Whether a unit was written, or found to be there."""

    def through(self, parts: Sequence[regions.Part], years: Sequence[int]) -> None:
        """Map all tiles in all years; skip, by name, those from which nothing can be made."""
        found = self._local()
        self.listed.begin()
        try:
            for number, part in enumerate(parts, 1):
                progress.note(f"tile {number} of {len(parts)}: {part.name}")
                self._tile(part, years, found)
            if not any(tile.steps for tile in self.tiles):
                assert self._first_error is not None
                raise self._first_error
        except BaseException:
            if not self._begun:
                self.listed.withdraw()
            raise
        self.listed.save()
        if self._failed:
            more = f" (and {len(self._failed) - 1} more tiles and years)" if len(self._failed) > 1 else ""
            raise CubeError(f"{self._failed[0]}{more}; the other tiles are done; {mapping.AGAIN}")

    def _tile(self, part: regions.Part, years: Sequence[int], found: _Index | None) -> None:
        path = tiled.store_of(self.listed.folder, part.name)
        replaced = years if self.overwrite else ()
        shared = orbits.Shared.of(self.chosen, path, replaced=replaced)
        again: bool | Literal["year"] = self.overwrite
        for year in years:
            try:
                reach = self.segmenter.window * self.segmenter.pixel_size
                near = self.chosen.catalog if found is None else found.near(part, reach)
                series = mapping.plan_year(
                    self.chosen,
                    self.segmenter,
                    year,
                    shared,
                    catalog=near,
                    bounds=part.bounds,
                    crs=f"EPSG:{part.epsg}",
                )
                shared = shared.with_year(series.attrs, year)
            except CatalogDownError as error:  # not skipped: another run finds out what there is
                self._fail(part, year, error)
                continue
            except (CatalogError, CubeError) as error:
                self._first_error = self._first_error or error
                self.tiles.append(Tile(part.name, year, skipped=str(error)))
                self.listed.skip(part.name, year, str(error))
                continue
            try:
                self._write(part, path, year, series, again=again)
            except CubeError as error:  # not a unit of it could be mapped
                self._fail(part, year, error)
                if len(self._failed) >= execution.MOST_FAILED and not self._begun:
                    raise
                continue
            again = "year" if self.overwrite else False  # the first year replaces the tile, the others do not

    def _fail(self, part: regions.Part, year: int, error: CatalogError | CubeError) -> None:
        self._first_error = self._first_error or error
        self._failed.append(f"{part.name}, {year}: {error}")

    def _write(self, part: regions.Part, path: Path, year: int, series: Any, *, again: Any) -> None:
        label = int(series.attrs.get(conventions.ATTR_YEAR, year))
        path.parent.mkdir(parents=True, exist_ok=True)
        with progress.units_bar(f"{part.name} {label}") as advance:

            def tell(outcome: Outcome, total: Written) -> None:
                self._begun |= bool(total.written)
                advance(total.kept + total.written, total.units, outcome.windows.evaluated)

            written = execution.map_cube(
                series,
                self.segmenter,
                path,
                year=label,
                gap=self.chosen.gap,
                overlap=self.chosen.overlap,
                resample=self.chosen.resample,
                mask=part.mask,
                overwrite=again,
                retry_failed=self.retry_failed,
                beside=self.listed.beside(part.name),
                client=self.client,
                journal=self.journal,
                on_outcome=tell,
            )
        self._begun = True
        self.listed.mapped(part.name, label)
        orbit, polarisation = orbits.known_series(series.attrs)
        self.windows = self.windows.plus(written.windows)
        self.tiles.append(
            Tile(
                part.name,
                label,
                orbit,
                polarisation,
                int(series.attrs.get("steps_valid", 0)),
                written.written,
                written.kept,
                tuple(sorted(written.unreadable)),
            )
        )
        if written.failed:
            self._failed.append(f"{part.name}, {label}: {written.failures()}")

    def _local(self) -> _Index | None:
        """Read a catalogue of files once; APIs are asked for each tile."""
        if catalogs.is_api(self.chosen.catalog):
            return None
        features = self.chosen.features or self.segmenter.features
        return _Index(catalogs.search(self.chosen.catalog, features=tuple(features)))


class _Index:
    """What a catalogue of files holds, by place."""

    def __init__(self, found: catalogs.SearchResult) -> None:
        self._found = found
        self._boxes = np.array(
            [(-180.0, -90.0, 180.0, 90.0) if o.bbox is None else tuple(o.bbox) for o in found.observations]
        ).reshape(-1, 4)

    def near(self, part: regions.Part, margin: float) -> catalogs.SearchResult:
        """Return what may touch a tile and its margin, metres (all longitudes where it is on the antimeridian)."""
        import dataclasses

        west, south, east, north = part.lonlat()
        reach, wide = regions.degrees_around((west, south, east, north), margin)
        left, bottom, right, top = self._boxes.T
        rows = (bottom <= north + reach) & (top >= south - reach)
        if west <= east:
            rows &= ((left <= east + wide) & (right >= west - wide)) | (left > right)
        else:
            rows &= (right >= west - wide) | (left <= east + wide) | (left > right)
        kept = tuple(self._found.observations[k] for k in np.flatnonzero(rows))
        if not kept:
            raise CatalogError(f"{self._found.source} has no items at the tile {part.name}: widen the catalogue")
        return dataclasses.replace(self._found, observations=kept)
