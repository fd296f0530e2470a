"""Open a store, and tell what is in it and what is still to do."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from icemapper_xr import conventions as cv
from icemapper_xr import errors
from icemapper_xr._types import Bounds
from icemapper_xr.store import handover, lock, skeleton
from icemapper_xr.store.layout import Unit
from icemapper_xr.store.location import Location

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "begun",
    "damaged_units",
    "done_units",
    "explained",
    "failures",
    "finished",
    "is_store",
    "keys_of",
    "leftovers",
    "missing_units",
    "open_store",
    "provenance",
    "reads_from",
    "status",
    "todo",
    "unit_keys",
    "writer",
]

PathLike = str | os.PathLike[str]


def is_store(path: PathLike) -> bool:
    """Tell whether there is a store of ours at `path`."""
    try:
        skeleton.open_group(Location.parse(path))
    except errors.StoreError:
        return False
    return True


def is_being_replaced(path: PathLike) -> bool:
    """Tell whether a store lies beside one, unfinished, that is to take its place, or that of one of its years."""
    return bool(replacements(Location.parse(path)))


def replacements(location: Location) -> list[Location]:
    """Return the stores beside one that are to take its place, or that of one of its years."""
    if location.local is None:
        return []
    return [one for one in (location.sibling(".new"), *staged_years(location)) if one.kind() == "store"]


def staged_years(location: Location) -> list[Location]:
    """Return the stores beside one that hold a year each, which is to take the place of its own."""
    if location.local is None:
        return []
    pattern = re.compile(rf"\.{re.escape(location.local.name)}\.\d+\.new")
    try:
        names = os.listdir(location.local.parent)  # thousands of tiles may lie there: names alone, which take no time
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [Location(str(location.local.with_name(name))) for name in sorted(names) if pattern.fullmatch(name)]


def open_store(path: PathLike, *, crop: bool = True) -> xr.Dataset:
    """Open a store lazily.

    Parameters
    ----------
    path
        Folder or URL of the store.
    crop
        Cut the grid back to the area that was asked for; False gives whole chunks.

    Returns
    -------
    xarray.Dataset
        Dims (year, y, x), years ascending, CRS in `.rio.crs`; attributes of the run, and those of the year if there
        is only one. Pixels of units that are still to do read as not observed: `todo` tells which these are.

    Raises
    ------
    StoreError
        If there is no store of ours.
    """
    import rioxarray  # noqa: F401  (registers .rio)
    import xarray as xr

    location = Location.parse(path)
    group = skeleton.open_group(location)
    ours = skeleton.meta(group)
    try:
        with warnings.catch_warnings():  # zarr warns of an array that it cannot read: told below, with the remedy
            warnings.filterwarnings("ignore", "Object at .* is not recognized")
            warnings.filterwarnings("error", r"Variable\(s\) referenced in")  # the CRS would be lost with a warning
            dataset = xr.open_zarr(location.zarr_store(read_only=True), consolidated=False, decode_coords="all")
        problem = skeleton.problem(dataset, group)
    except (*skeleton.DECODING, UserWarning) as error:
        problem = str(error) or type(error).__name__
    if problem:
        raise errors.StoreError(
            f"The store {location} was cut off or damaged ({problem}): run the same `map` again, which mends it"
        )
    # A run that was killed may have grown the arrays by a year that it did not enter.
    dataset = dataset.isel({cv.YEAR: slice(len(ours["years"]))})
    dataset.attrs = {k: v for k, v in dataset.attrs.items() if k not in _OF_THE_FILES}
    if len(ours["years"]) == 1:
        dataset.attrs |= next(iter(ours["years"].values()))["attrs"]
    if not dataset.indexes[cv.YEAR].is_monotonic_increasing:
        dataset = dataset.sortby(cv.YEAR)
    dataset = _marked(dataset, location)
    return _crop(dataset, Bounds(*ours["area"]), group) if crop else dataset


def reads_from(result: xr.Dataset, path: PathLike) -> bool:
    """Tell whether computing a result reads a store, opened by `open_store`."""
    layer = _layer_of(Location.parse(path))
    graph = result.__dask_graph__()
    return graph is not None and any(str(name).startswith(layer) for name in getattr(graph, "layers", graph))


def _layer_of(location: Location) -> str:
    return f"icemapper-store-{hashlib.sha256(location.url.encode()).hexdigest()[:16]}-"


def _marked(dataset: xr.Dataset, location: Location) -> xr.Dataset:
    """Name the layers of a graph after the store that they read, so that nobody replaces it under a lazy result."""
    layer = _layer_of(location)
    lazy = {name: array for name, array in dataset.data_vars.items() if array.chunks is not None}
    named = {
        name: array.copy(data=array.data.map_blocks(_as_it_is, name=f"{layer}{array.data.name}", dtype=array.dtype))
        for name, array in lazy.items()
    }
    return dataset.assign(named)


def _as_it_is(block: Any) -> Any:
    return block


_OF_CHUNKS = {"chunks", "preferred_chunks", "shards"}
_OF_THE_FILES = {skeleton.META, "zarr_conventions", "Conventions"} | {
    f"spatial:{key}" for key in ("dimensions", "transform", "shape", "bbox", "registration")
}


def _crop(dataset: xr.Dataset, area: Bounds, group: Any) -> xr.Dataset:
    left, _, _, top = group.attrs["spatial:bbox"]
    res = group.attrs["spatial:transform"][0]
    row, column = round((top - area.top) / res), round((area.left - left) / res)
    rows, columns = round((area.top - area.bottom) / res), round((area.right - area.left) / res)
    cut = dataset.isel({cv.Y: slice(row, row + rows), cv.X: slice(column, column + columns)})
    cut[cv.SPATIAL_REF].attrs["GeoTransform"] = skeleton.geotransform(area.left, area.top, res)
    for array in cut.data_vars.values():  # what was cut is on those chunks no more, and xarray would hold it to them
        array.encoding = {key: value for key, value in array.encoding.items() if key not in _OF_CHUNKS}
    return cut


def provenance(path: PathLike) -> dict[str, Any]:
    """Tell where the values of a store come from.

    Returns
    -------
    dict
        `format`, `created`, `versions`, `history`, `fingerprint`, `run` (settings, weights digest, orbit, polarisation,
        grid), `area`, `unit` (pixels), `variables`, `checksum`, `attrs` (of the run), and `years`: for each its `index`
        in the arrays, `fingerprint`, `identity` (`items`, first day as `start`, perhaps `files`), `attrs`, `started`,
        and perhaps `unreadable` (items that could not be read somewhere).

    Raises
    ------
    StoreError
        If there is no store of ours.
    """
    group = skeleton.open_group(Location.parse(path))
    ours = skeleton.meta(group)
    attrs = {key: value for key, value in dict(group.attrs).items() if key != skeleton.META}
    years = {int(year): facts for year, facts in ours.pop("years").items()}
    return {**ours, "years": years, "attrs": attrs}


def todo(path: PathLike, year: int) -> tuple[Unit, ...]:
    """List the units of a year that are still to do, row by row; all of them if the year was never begun.

    Raises
    ------
    StoreError
        If there is no store of ours.
    """
    location = Location.parse(path)
    return missing_units(location, skeleton.open_group(location), year)


def status(path: PathLike) -> dict[int, tuple[int, int]]:
    """Tell units done and units in all, for each year of a store.

    Raises
    ------
    StoreError
        If there is no store of ours.
    """
    location = Location.parse(path)
    group = skeleton.open_group(location)
    total = len(_all_units(group))
    years = sorted(int(year) for year in skeleton.meta(group)["years"])
    return {year: (total - len(missing_units(location, group, year)), total) for year in years}


def finished(path: PathLike) -> tuple[int, ...]:
    """Return the years of which every unit is done.

    Raises
    ------
    StoreError
        If there is no store of ours.
    """
    return tuple(year for year, (done, total) in status(path).items() if done == total)


def writer(path: PathLike) -> str | None:
    """Tell who is writing a store now; None if nobody is."""
    return lock.writer(Location.parse(path))


def failures(path: PathLike) -> dict[int, dict[Unit, str]]:
    """Tell the units that failed in runs which are not complete, and why, for each year.

    Raises
    ------
    StoreError
        If there is no store of ours.
    """
    location = Location.parse(path)
    group = skeleton.open_group(location)
    found = {}
    for year, folder in sorted(handover.years(location).items()):
        todo = set(missing_units(location, group, year))
        failed = {unit: reason for unit, reason in folder.failed().items() if unit in todo}
        if failed:
            found[year] = failed
    return found


def leftovers(path: PathLike) -> dict[int, tuple[int, int]]:
    """Tell what runs that did not end have left beside a store, for each year: number of files and bytes.

    A run that goes on with the year uses it and removes it in the end.
    """
    return handover.sizes(Location.parse(path))


def missing_units(location: Location, group: Any, year: int) -> tuple[Unit, ...]:
    """List the units that lack a chunk of any variable."""
    ours = skeleton.meta(group)
    units = _all_units(group)
    if str(year) not in ours["years"]:
        return units
    done = done_units(location, ours["variables"], ours["years"][str(year)]["index"])
    return tuple(unit for unit in units if unit not in done)


def damaged_units(location: Location, group: Any, year: int) -> tuple[Unit, ...]:
    """List the units of a year whose chunks are there, but cannot be decoded: cut off, or changed on disk.

    All chunks are read: a map reads them for its outlines in any case.

    Raises
    ------
    OSError
        They cannot be read for another reason.
    """
    from concurrent.futures import ThreadPoolExecutor

    ours = skeleton.meta(group)
    if str(year) not in ours["years"]:
        return ()
    index, side = ours["years"][str(year)]["index"], ours["unit"]
    arrays = [group[name] for name in ours["variables"]]

    def damaged(unit: Unit) -> bool:
        rows, columns = (slice(position * side, (position + 1) * side) for position in unit)
        try:
            for array in arrays:
                array[index, rows, columns]
        except skeleton.DECODING:
            return True
        return False

    done = sorted(done_units(location, ours["variables"], index))
    with ThreadPoolExecutor(_READERS) as pool, location.plainly():
        return tuple(unit for unit, bad in zip(done, pool.map(damaged, done), strict=True) if bad)


_READERS = 8


def keys_of(location: Location, group: Any, year: int, units: Iterable[Unit]) -> Iterator[str]:
    """Iterate over the keys of the chunks of some units of a year."""
    ours, wanted = skeleton.meta(group), set(units)
    index = ours["years"][str(year)]["index"]
    for name in ours["variables"]:
        yield from [key for unit, key in unit_keys(location, name, index) if unit in wanted]


@contextlib.contextmanager
def explained(path: PathLike) -> Iterator[None]:
    """Turn what readers raise where a unit of a store is damaged into a line that names it.

    Raises
    ------
    StoreError
        The block failed, and a unit is damaged.
    """
    try:
        yield
    except errors.IcemapperError:
        raise
    except Exception as error:
        location = Location.parse(path)
        group = skeleton.open_group(location)
        for year in sorted(map(int, skeleton.meta(group)["years"])):
            if bad := damaged_units(location, group, year):
                raise errors.StoreError(
                    f"{location}: {len(bad)} units of {year} are damaged, the first at row {bad[0].row}, column "
                    f"{bad[0].column}: run the same `map` of {year} again, it makes them anew"
                ) from error
        raise


def begun(location: Location, group: Any, year: int) -> bool:
    """Tell whether any chunk of a year is there."""
    ours = skeleton.meta(group)
    if str(year) not in ours["years"]:
        return False
    index = ours["years"][str(year)]["index"]
    return any(True for name in ours["variables"] for _ in unit_keys(location, name, index))


def done_units(location: Location, names: list[str], index: int) -> set[Unit]:
    """Collect the units of a year whose chunks are there in all variables."""
    found = [{unit for unit, _ in unit_keys(location, name, index)} for name in names]
    return set.intersection(*found)


def unit_keys(location: Location, name: str, index: int) -> Iterator[tuple[Unit, str]]:
    """Iterate over the chunks of a variable and year that exist: unit and key."""
    pattern = re.compile(rf"{re.escape(name)}/c/{index}/(\d+)/(\d+)")
    for key in location.keys(f"{name}/c/{index}"):
        if match := pattern.fullmatch(key):
            yield Unit(int(match[1]), int(match[2])), key


def _all_units(group: Any) -> tuple[Unit, ...]:
    unit = skeleton.meta(group)["unit"]
    rows, columns = group.attrs["spatial:shape"]
    return tuple(Unit(row, column) for row in range(rows // unit) for column in range(columns // unit))
