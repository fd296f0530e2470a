"""What a map will cost before it is begun: observations, bytes, windows, time, memory, disk; and what cannot fit."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from icemapper_xr import addresses, conventions, models, progress, regions
from icemapper_xr import catalog as catalogs
from icemapper_xr import cluster as clusters
from icemapper_xr._types import Bounds, Segmenter
from icemapper_xr.cube import extent, footprints, select
from icemapper_xr.errors import OptionError
from icemapper_xr.pipeline import estimates, execution, homes, mapping, orbits, trust, units, verbs
from icemapper_xr.pipeline.region import parts_of
from icemapper_xr.settings import MapSettings, listed_years

__all__ = ["Plan", "YearPlan", "plan_map"]

ENGINE_BYTES = 1.0e9
"""Memory of a worker with a network, before the first block (measured 0.8 GB with OpenVINO, 1.3 with TensorFlow)."""
BLOCK_COPIES = 4.0
"""Copies of a block that lie in memory at once: the frames, the cube, the filled cube, a batch of windows."""
PIXEL_BYTES = 5
"""Bytes of a pixel in the store, uncompressed: float32 probability, uint8 n_obs."""
LIKENESS_BYTES = 4
"""And of the float32 applicability, where the weights have its numbers."""
MEASURED_WINDOWS = 2
"""Windows that are run, after one to warm up, to measure the rate."""


@dataclass(frozen=True)
class YearPlan:
    """One year of a plan."""

    year: int
    items: dict[str, int]
    """Items that the catalogue has for the area and time by mode of the instrument, "?" where it does not tell. What is
    known to be of another mode than IW is not mapped."""
    rasters: int
    """Rasters that will be read, of the orbits chosen."""
    steps: tuple[int, int]
    """Fewest and most steps with a pass, over the tiles."""
    orbits: tuple[int | None, ...]
    gigabytes: float
    """To be read, uncompressed, the margins of the blocks included."""
    without: int = 0
    """Tiles for which there is nothing to read."""


@dataclass(frozen=True)
class Plan:
    """What `plan_map` found."""

    years: tuple[YearPlan, ...]
    tiles: int
    area_km2: float
    """Area of the units to be mapped."""
    units: int
    """Units of work a year."""
    windows: int
    """Windows a year, if nothing in them is empty."""
    rate: float
    """Windows per second of one worker."""
    measured: bool
    """Whether the rate was measured on this machine now."""
    workers: int
    memory_per_worker: float
    """Bytes that a worker needs."""
    memory_there: float | None
    """Bytes that a worker has; None where that is not known."""
    disk: float
    """Bytes of the output at most, all years."""
    disk_free: float | None
    problems: tuple[str, ...] = field(default=())
    """Why it cannot be run like this."""

    @property
    def seconds(self) -> float:
        """Expected time of the network for all years, on all workers."""
        return self.windows * len(self.years) / (self.rate * self.workers)


def plan_map(
    *,
    catalog: str | Path,
    weights: str | Path | Segmenter,
    out: str | Path | None = None,
    bbox: Sequence[float] | None = None,
    bounds: Sequence[float] | None = None,
    crs: Any = None,
    geometry: Any = None,
    region: Any = None,
    mask: str | Path | None = None,
    mask_buffer: float = conventions.MASK_BUFFER,
    tile: int = conventions.TILE_CHUNKS,
    years: Sequence[int] = (),
    rate: float | None = None,
    cluster: str | None = None,
    cluster_options: clusters.ClusterOptions | None = None,
    **options: Any,
) -> Plan:
    """Tell what a map will cost; nothing is read but the catalogue, and nothing is written.

    Parameters
    ----------
    catalog, weights, bbox, bounds, crs, geometry, years, cluster, cluster_options, **options
        As in `map_glaciers`.
    out
        Where the map would be written: its disk is looked at, or that of ``store``; a bucket is not.
    region, tile
        An area in tiles instead, and the side of a tile in chunks, as in `map_region`.
    mask, mask_buffer
        File of polygons outside of which there cannot be ice, of an area or of a region; metres by which it is grown.
    rate
        Windows per second of one worker; None measures some windows here, with the threads that a worker would have.

    Returns
    -------
    Plan
        Its `problems` say why it cannot be run like this, if so.

    Raises
    ------
    IcemapperError
        What `map_glaciers` would refuse.
    """
    chosen = MapSettings.checked(
        catalog=str(catalog),
        weights=mapping.name_of(weights),
        area=mapping.area_of(bbox, bounds, crs, geometry),
        years=listed_years(years),
        mask=None if mask is None else str(mask),
        mask_buffer=mask_buffer,
        tile=tile,
        **options,
    )
    if region is not None:
        _check_region(chosen)
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise OptionError(f"rate={rate} must be a number of windows per second above 0")
    run = clusters.ClusterOptions() if cluster_options is None else cluster_options
    clusters.check(cluster, run)
    cube = None
    if out is not None and region is not None:
        homes.local_folder(out)
    elif out is not None:
        cube = homes.home_of(out, chosen.store).cube
    segmenter = models.loaded(weights, engine=chosen.engine, precision=chosen.precision, features=chosen.features)
    workers, threads = _shape(cluster, run)
    if region is None:
        counted, rows = _one_area(chosen, segmenter, cube)
    else:
        counted, rows = _many_tiles(chosen, segmenter, region)
    pixel_bytes = PIXEL_BYTES + (0 if trust.likeness_of(segmenter) is None else LIKENESS_BYTES)
    disk = sum(count.units for count in counted) * conventions.LATTICE**2 * pixel_bytes * len(rows)
    speed = rate or _measure(segmenter, threads)
    need, there = _memory(segmenter), _memory_there(cluster, run, workers)
    target = chosen.store or out
    free = None if target is None or addresses.is_remote(target) else _free(addresses.local_path(target))
    pixel_km2 = (segmenter.pixel_size / 1000) ** 2
    return Plan(
        years=tuple(rows),
        tiles=len(counted),
        area_km2=sum(count.pixels for count in counted) * pixel_km2,
        units=sum(count.units for count in counted),
        windows=sum(count.windows for count in counted),
        rate=speed,
        measured=rate is None,
        workers=workers,
        memory_per_worker=need,
        memory_there=there,
        disk=disk,
        disk_free=free,
        problems=tuple(_problems(need, there, disk, free)),
    )


def _shape(cluster: str | None, options: clusters.ClusterOptions) -> tuple[int, int]:
    """Workers and threads of each that the run would have."""
    from dask.system import cpu_count

    if cluster is None or cluster == "threads":
        return 1, max(1, int(cpu_count()))
    if cluster == "local":
        return clusters.local_shape(options)
    if cluster == "slurm":
        return clusters.slurm_shape(options)
    if "://" in cluster or cluster.endswith(".json"):
        with clusters.connect(cluster, options) as client:
            return clusters.slots(client), clusters.threads(client)
    return clusters.cuda_shape(options)


def _check_region(chosen: MapSettings) -> None:
    """Refuse what a map of a region refuses."""
    if chosen.area.named:
        raise OptionError("region and bbox, bounds or geometry are both given: name the area by one of them")
    if chosen.store is not None:
        raise OptionError(f"store is {chosen.store}, but the tiles of a region lie in its folder: leave store out")


def _one_area(
    chosen: MapSettings, segmenter: Segmenter, cube: str | None
) -> tuple[list[estimates.Size], list[YearPlan]]:
    """Plan an area by the very choice that the map would make, into the cube that is there."""
    rows: list[YearPlan] = []
    counted: list[estimates.Size] = []
    planned = mapping.planned(chosen, segmenter, mapping.years_of(chosen), cube_=cube)
    index = _search(chosen, segmenter, bbox=extent.lonlat_box(planned[0][1].area))  # that of all years
    for label, series in planned:
        grid = execution.map_area(series, segmenter)
        mask = mapping.mask_of(chosen, series)
        execution.template_of(  # refuses the cubes that `predict` does
            series, grid, segmenter, gap=chosen.gap, overlap=chosen.overlap, resample=chosen.resample, mask=mask
        )
        place = estimates.Place(grid.epsg or grid.wkt, grid.bounds, mask)
        counted = [estimates.size(place, segmenter, overlap=chosen.overlap)]
        boxes = [footprints.extent(one, series.area.grid) for one in series.observations]
        pixels = estimates.read(place, boxes, segmenter, overlap=chosen.overlap)
        steps = int(series.attrs.get("steps_valid", 0))
        orbit, _ = orbits.known_series(series.attrs)
        gigabytes = pixels * 4 * (segmenter.pixel_size / series.area.grid.resolution) ** 2 / 1e9
        items = _of_year(index, chosen, label).items
        rows.append(YearPlan(label, items, len(series.observations), (steps, steps), (orbit,), gigabytes))
    return counted, rows


def _many_tiles(chosen: MapSettings, segmenter: Segmenter, region: Any) -> tuple[list[estimates.Size], list[YearPlan]]:
    """Plan a region from the boxes of its items: the search is made once, and no footprint is cut with a tile."""
    progress.note("cutting the region into tiles")
    parts = parts_of(chosen, region, segmenter.pixel_size)
    counted = [
        estimates.size(estimates.Place(part.epsg, part.bounds, part.mask), segmenter, overlap=chosen.overlap)
        for part in parts
    ]
    progress.note(f"{len(parts)} tiles; reading the catalogue")
    # an API answers for a place; of files all is read, and no footprint cut with the region
    where = {"geometry": regions.resolve(region)} if catalogs.is_api(chosen.catalog) else {}
    index = _search(chosen, segmenter, **where)
    boxes = [part.lonlat() for part in parts]
    rows = []
    useful: set[int] = set()
    for year in mapping.years_of(chosen):
        with progress.bar(f"{year}: tiles", total=len(parts)) as advance:
            row, found_in = _tiles_of_year(chosen, segmenter, year, counted, boxes, index, advance)
        rows.append(row)
        useful |= found_in
    # a map skips tiles of which no year has anything; where that are all, it says so itself
    return [count for number, count in enumerate(counted) if number in useful or not useful], rows


def _search(chosen: MapSettings, segmenter: Segmenter, **where: Any) -> estimates.Index:
    """Search once for all years."""
    periods = [verbs.period(year, mapping.start_of(chosen, year), chosen.times) for year in mapping.years_of(chosen)]
    found = catalogs.search(
        chosen.catalog,
        features=tuple(chosen.features or segmenter.features),
        datetime=(min(first for first, _ in periods), max(last for _, last in periods)),
        **where,
    )
    return estimates.Index.of(found.observations)


def _of_year(index: estimates.Index, chosen: MapSettings, year: int) -> estimates.Index:
    """Keep what lies in the series of a year."""
    return index.within(select.steps(year=year, start=mapping.start_of(chosen, year), times=chosen.times).start)


def _tiles_of_year(
    chosen: MapSettings,
    segmenter: Segmenter,
    year: int,
    counted: Sequence[estimates.Size],
    boxes: Sequence[Bounds],
    index: estimates.Index,
    advance: Any,
) -> tuple[YearPlan, set[int]]:
    """Plan one year; returns the tiles that have data in it, too."""
    features = chosen.features or segmenter.features
    factor = estimates.margin_factor(segmenter, chosen.overlap)
    in_year = _of_year(index, chosen, year)
    rasters, gigabytes = 0, 0.0
    useful: set[int] = set()
    orbits: set[int | None] = set()
    steps: list[int] = []
    for number, (count, box) in enumerate(zip(counted, boxes, strict=True)):
        choice = in_year.choose(box, features=features, orbit=chosen.orbit, polarisation=chosen.polarisation)
        advance()
        if choice is None:
            continue
        useful.add(number)
        rasters += choice.rasters
        gigabytes += choice.share * count.pixels * 4 * factor / 1e9
        orbits.add(choice.orbit)
        steps.append(choice.steps)
    spread = (min(steps), max(steps)) if steps else (0, 0)
    without = len(counted) - len(useful)
    return YearPlan(year, in_year.items, rasters, spread, tuple(sorted(orbits, key=str)), gigabytes, without), useful


def _measure(segmenter: Segmenter, threads: int) -> float:
    """Run some windows of noise and return windows per second."""
    progress.note(f"measuring {MEASURED_WINDOWS} windows on {threads} threads")
    if hasattr(segmenter, "prepare"):
        segmenter.prepare(threads=threads)
    shape = (1, segmenter.n_steps, segmenter.window, segmenter.window, len(segmenter.features))
    window = np.random.default_rng(0).random(shape, dtype=np.float32)
    segmenter(window)
    started = time.perf_counter()
    for _ in range(MEASURED_WINDOWS):
        segmenter(window)
    return MEASURED_WINDOWS / max(time.perf_counter() - started, 1e-9)


def _memory(segmenter: Segmenter) -> float:
    """Bytes that a worker needs: the engine, and the blocks that are under way at once."""
    side = conventions.LATTICE + segmenter.window
    block = side**2 * segmenter.n_steps * len(segmenter.features) * 4
    return ENGINE_BYTES + units.AT_ONCE * BLOCK_COPIES * block


def _memory_there(cluster: str | None, options: clusters.ClusterOptions, workers: int) -> float | None:
    if options.memory is not None:
        return float(clusters.memory_bytes(options.memory))
    if cluster in (None, "threads", "local"):
        from distributed.system import MEMORY_LIMIT

        return float(MEMORY_LIMIT) / workers
    return None


def _free(path: Path) -> float | None:
    while not path.exists():
        if path == path.parent:
            return None
        path = path.parent
    return float(shutil.disk_usage(path).free) if os.access(path, os.W_OK) else None


def _problems(need: float, there: float | None, disk: float, free: float | None) -> Iterator[str]:
    if there is not None and need > there:
        yield (
            f"a worker needs {need / 1e9:.1f} GB of memory and has {there / 1e9:.1f} GB: use fewer workers, or give "
            "each more (--workers, --memory)"
        )
    if free is not None and disk > free:
        yield f"the output takes up to {disk / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: name another disk (--out)"
