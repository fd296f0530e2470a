"""The metadata of a store: made once, grown by one year at a time, repaired after a kill."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from icemapper_xr import _version, errors
from icemapper_xr import conventions as cv
from icemapper_xr.store import identity, pointer
from icemapper_xr.store.layout import Layout
from icemapper_xr.store.location import Location

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "DECODING",
    "META",
    "add_year",
    "change_year",
    "create",
    "create_arrays",
    "drop_year",
    "geotransform",
    "log",
    "meta",
    "open_group",
    "problem",
    "put_year",
    "repair",
]

DECODING = (RuntimeError, ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError)
"""What zarr, its codecs and xarray raise where bytes are not what was written."""

META = "icemapper_store"
"""Attribute of the group that makes it ours."""
FORMAT = 1
_YEARS_CHUNK = 64
_SEAL = "checksum"


def open_group(location: Location, *, read_only: bool = True) -> Any:
    """Open the group of a store of ours.

    Raises
    ------
    StoreError
        If there is nothing, or something that is not ours.
    """
    import zarr

    with location.plainly():
        kind = location.kind()
    if kind in {"absent", "empty"}:
        raise errors.StoreError(f"There is no store at {location}: make one with `icemapper map` or store.write")
    if kind != "store":
        with location.plainly():
            found = _foreign(location, kind)
        raise errors.StoreError(found)
    try:
        with location.plainly():
            group: Any = zarr.open_group(location.zarr_store(read_only=read_only), mode="r" if read_only else "r+")
    except errors.StoreError:
        raise
    except Exception as error:
        raise errors.StoreError(
            f"The store {location} cannot be opened: its zarr.json is damaged ({error}), so that nothing tells whose "
            "units these are; remove the store and run the same again, or name another one"
        ) from error
    if META not in group.attrs:
        raise errors.StoreError(f"{location} is a zarr group, but not of icemapper_xr: name another path")
    if not _is_sealed(dict(group.attrs)):
        raise errors.StoreError(
            f"The store {location} cannot be opened: what its zarr.json says of its runs was changed or damaged; "
            "remove the store and run the same again, or name another one"
        )
    if meta(group)["format"] != FORMAT:
        raise errors.StoreError(
            f"{location} has format {meta(group)['format']}, this version reads {FORMAT}: use the version that made it"
        )
    return group


def _foreign(location: Location, kind: str) -> str:
    """Say what is there instead of a store: the folder of a map holds one, or says where it is."""
    if kind == "file":
        return f"{location} is a file, not a store of icemapper_xr: name another path"
    cube = None if location.local is None else pointer.pointed(location.local)
    if cube is None and location.below(pointer.CUBE).kind() == "store":
        cube = str(location.below(pointer.CUBE))
    if cube is not None:
        return f"{location} is the folder of a map, not its store: name {cube}"
    return f"{location} is not a store of icemapper_xr: name another path"


def is_unfinished(location: Location, variables: Sequence[str]) -> bool:
    """Tell whether there is a store whose making was cut off: arrays of ours at most, and no attributes yet."""
    import zarr

    try:
        group: Any = zarr.open_group(location.zarr_store(read_only=True), mode="r")
    except (ValueError, KeyError, TypeError):  # `open_group` tells it in words
        return False
    return not dict(group.attrs) and set(group.keys()) <= {*variables, cv.Y, cv.X, cv.YEAR, cv.SPATIAL_REF}


def meta(group: Any) -> dict[str, Any]:
    """Return our attribute of a group."""
    return dict(group.attrs[META])


def create(location: Location, layout: Layout, run: Mapping[str, Any], attrs: Mapping[Any, Any]) -> None:
    """Write the metadata and coordinates of an empty store; the group's own file comes last and makes it valid."""
    import zarr

    group: Any = zarr.create_group(location.zarr_store(), zarr_format=3)
    create_arrays(group, layout)
    crs = layout.grid.epsg
    kept = {str(k): identity.plain(v) for k, v in attrs.items() if k not in identity.YEARLY_ATTRS and k != META}
    ours = {
        "format": FORMAT,
        "fingerprint": identity.digest(run),
        "run": dict(run),
        "area": list(layout.area),
        "unit": layout.unit,
        "variables": [variable.name for variable in layout.variables],
        "created": _now(),
        "versions": _versions(),
        "years": {},
        "history": [f"{_now()} icemapper_xr {_version.__version__}: created"],
    }
    code = {"proj:code": f"EPSG:{crs}"} if crs is not None else {}
    attributes = {
        "Conventions": "CF-1.11",
        **kept,
        cv.ATTR_AREA: list(layout.area),
        **code,
        "proj:wkt2": layout.grid.wkt,
        "spatial:dimensions": [cv.Y, cv.X],
        "spatial:transform": list(layout.grid.transform),
        "spatial:shape": list(layout.grid.shape),
        "spatial:bbox": list(layout.grid.bounds),
        "spatial:registration": "pixel",
        "zarr_conventions": _CONVENTIONS,
    }
    group.update_attributes({**attributes, META: _sealed(attributes, ours)})


def create_arrays(group: Any, layout: Layout) -> None:
    """Make all arrays of a store without a year."""
    for variable in layout.variables:
        _create_variable(group, variable.name, layout)
    y, x = layout.grid.coords()
    for name, values, axis in ((cv.Y, y, "Y"), (cv.X, x, "X")):
        named = {"standard_name": f"projection_{name}_coordinate", "units": "m", "axis": axis}
        _put(group, name, values, (name,), {**named, "long_name": f"pixel centre, {name}"})
    _put(group, cv.SPATIAL_REF, np.array(0, dtype="int64"), (), _crs_attrs(layout))
    years = {"long_name": "calendar year of the time series", "units": "1"}
    group.create_array(
        cv.YEAR,
        shape=(0,),
        chunks=(_YEARS_CHUNK,),
        dtype="int32",
        compressors=_codecs(),
        dimension_names=(cv.YEAR,),
        attributes=years,
    )


def _codecs() -> list[Any]:
    """Compression with a checksum, so that a byte that changes on disk is an error and no other value."""
    from zarr.codecs import ZstdCodec

    return [ZstdCodec(level=3, checksum=True)]


def _sealed(attributes: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Return our attribute with a checksum of itself, the grid and the CRS."""
    plain = {name: value for name, value in ours.items() if name != _SEAL}
    return {**plain, _SEAL: identity.digest({**_of_the_grid(attributes), META: plain})}


def _is_sealed(attributes: Mapping[str, Any]) -> bool:
    """Whether the checksum is right; also where an older version made none."""
    ours = attributes[META]
    return isinstance(ours, Mapping) and (_SEAL not in ours or _sealed(attributes, ours)[_SEAL] == ours[_SEAL])


def _of_the_grid(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if name.startswith(("spatial:", "proj:"))}


_CONVENTIONS = [
    {"uuid": "f17cb550-5864-4468-aeb7-f3180cfb622f", "name": "proj:", "description": "CRS of the arrays"},
    {"uuid": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "name": "spatial:", "description": "Affine transform of the grid"},
]
"""The geo-proj and spatial conventions for zarr (geozarr.org/conventions), for viewers that do not know CF."""


def add_year(group: Any, year: int, facts: Mapping[str, Any], attrs: Mapping[Any, Any]) -> int:
    """Append a year; returns its index. The group's attributes come last: until then the year does not exist."""
    ours = meta(group)
    index = len(ours["years"])
    _resize(group, [*_years(ours), year])
    ours["years"] = {**ours["years"], str(year): _year_entry(index, facts, attrs)}
    log(group, f"year {year} added", ours)
    return index


def change_year(group: Any, year: int, facts: Mapping[str, Any], attrs: Mapping[Any, Any]) -> None:
    """Give a year that has no units any more a new identity."""
    put_year(group, year, _year_entry(meta(group)["years"][str(year)]["index"], facts, attrs))


def put_year(group: Any, year: int, entry: Mapping[str, Any]) -> None:
    """Put another entry in the place of that of a year, which has no units any more."""
    ours = meta(group)
    ours["years"] = {**ours["years"], str(year): dict(entry)}
    log(group, f"year {year} replaced", ours)


def unreadable(group: Any, year: int) -> tuple[str, ...]:
    """Return the items of a year that could not be read somewhere."""
    return tuple(meta(group)["years"].get(str(year), {}).get("unreadable", ()))


def note_unreadable(group: Any, year: int, items: Iterable[str]) -> None:
    """Add to the items of a year that could not be read somewhere."""
    ours, known = meta(group), set(unreadable(group, year))
    if new := sorted(set(items) - known):
        entry = {**ours["years"][str(year)], "unreadable": sorted({*known, *new})}
        ours["years"] = {**ours["years"], str(year): entry}
        log(group, f"year {year}: could not read {', '.join(new)}", ours)


def drop_year(group: Any, year: int) -> None:
    """Undo `add_year`, for the year added last; any other stays."""
    ours = meta(group)
    known = ours["years"].get(str(year))
    if known is None or known["index"] != len(ours["years"]) - 1:
        return
    ours["years"] = {name: entry for name, entry in ours["years"].items() if name != str(year)}
    log(group, f"year {year} taken back: no unit of it was written", ours)
    repair(group)


def _year_entry(index: int, facts: Mapping[str, Any], attrs: Mapping[Any, Any]) -> dict[str, Any]:
    yearly = {str(k): identity.plain(attrs[k]) for k in identity.YEARLY_ATTRS if k in attrs}
    return {
        "index": index,
        "fingerprint": identity.digest(facts),
        "identity": dict(facts),
        "attrs": yearly,
        "started": _now(),
    }


def log(group: Any, text: str, ours: dict[str, Any] | None = None) -> None:
    """Add a line to the history and save our attribute."""
    ours = meta(group) if ours is None else ours
    ours["history"] = [*ours["history"], f"{_now()} icemapper_xr {_version.__version__}: {text}"]
    group.update_attributes({META: _sealed(dict(group.attrs), ours)})


def repair(group: Any) -> None:
    """Undo what a killed run began: arrays grown by a year that the group does not know."""
    years = _years(meta(group))
    if [int(year) for year in group[cv.YEAR][:]] != years or any(
        group[name].shape[0] != len(years) for name in meta(group)["variables"]
    ):
        _resize(group, years)


def problem(dataset: xr.Dataset, group: Any) -> str | None:
    """Tell what of an opened store is not as its own file says; None if all is."""
    ours = meta(group)
    names = [*ours["variables"], cv.Y, cv.X, cv.YEAR, cv.SPATIAL_REF]
    missing = [name for name in names if name not in dataset.variables]
    if missing:
        return f"{missing[0]} is missing"
    dims = dict.fromkeys(ours["variables"], (cv.YEAR, cv.Y, cv.X)) | {n: (n,) for n in (cv.Y, cv.X, cv.YEAR)}
    turned = [name for name, wanted in dims.items() if dataset[name].dims != wanted]
    if turned:
        return f"the dimensions of {turned[0]} are wrong"
    step, _, left, _, _, top = group.attrs["spatial:transform"][:6]
    rows, columns = group.attrs["spatial:shape"]
    for name, edge, size, sign in ((cv.Y, top, rows, -1), (cv.X, left, columns, 1)):
        right = edge + sign * step * (np.arange(size) + 0.5)
        if dataset[name].shape != right.shape or not np.allclose(dataset[name].values, right, rtol=0, atol=step / 1e3):
            return f"the coordinate {name} is wrong"
    years = _years(ours)
    if [int(year) for year in dataset[cv.YEAR].values[: len(years)]] != years:
        return "the coordinate year is wrong"
    wrong = [name for name in ours["variables"] if dataset[name].shape[1:] != (rows, columns)]
    if wrong:
        return f"the shape of {wrong[0]} is wrong"
    if dataset[cv.SPATIAL_REF].attrs.get("spatial_ref") != group.attrs["proj:wkt2"]:
        return "the CRS is wrong"
    return None


def geotransform(left: float, top: float, resolution: float) -> str:
    """Write GDAL's six numbers as rioxarray reads them."""
    return f"{left!r} {resolution!r} 0.0 {top!r} 0.0 {-resolution!r}"


def _years(ours: Mapping[str, Any]) -> list[int]:
    rows = sorted(ours["years"].items(), key=lambda item: item[1]["index"])
    return [int(year) for year, _ in rows]


def _resize(group: Any, years: Sequence[int]) -> None:
    for name in meta(group)["variables"]:
        group[name].resize((len(years), *group[name].shape[1:]))
    group[cv.YEAR].resize((len(years),))
    group[cv.YEAR][:] = np.asarray(years, dtype="int32")


def _create_variable(group: Any, name: str, layout: Layout) -> None:
    variable = next(v for v in layout.variables if v.name == name)
    shape = layout.grid.shape
    group.create_array(
        name,
        shape=(0, *shape),
        chunks=(1, layout.chunk, layout.chunk),
        shards=None if layout.shard is None else (1, layout.shard, layout.shard),
        dtype=variable.dtype,
        fill_value=variable.fill,
        compressors=_codecs(),
        dimension_names=(cv.YEAR, cv.Y, cv.X),
        # As `coordinates` too: readers that do not decode `grid_mapping` find the CRS by it (xarray by default).
        attributes={
            **identity.plain(dict(variable.attrs)),
            "grid_mapping": cv.SPATIAL_REF,
            "coordinates": cv.SPATIAL_REF,
        },
    )


def _put(group: Any, name: str, values: Any, dims: tuple[str, ...], attrs: dict[str, Any]) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape or (),
        dtype=values.dtype,
        compressors=_codecs(),
        dimension_names=dims,
        attributes=attrs,
    )
    array[...] = values


def _crs_attrs(layout: Layout) -> dict[str, Any]:
    import pyproj

    crs = pyproj.CRS.from_wkt(layout.grid.wkt)
    bounds, res = layout.grid.bounds, layout.grid.resolution
    attrs = {key: identity.plain(value) for key, value in crs.to_cf().items()}
    return {**attrs, "spatial_ref": layout.grid.wkt, "GeoTransform": geotransform(bounds.left, bounds.top, res)}


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _versions() -> dict[str, str]:
    names = ("xarray", "dask", "zarr", "numpy", "rioxarray", "pyproj")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"icemapper_xr": _version.__version__, "python": platform.python_version(), **found}
