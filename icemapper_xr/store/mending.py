"""Mend the arrays' metadata and coordinates of a store from the layout of the run that goes on with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from icemapper_xr import conventions as cv
from icemapper_xr.store import skeleton
from icemapper_xr.store.layout import Layout
from icemapper_xr.store.location import Location

__all__ = ["mend"]

_WITHOUT_VALUES = ("level", "checksum")
"""Settings of codecs that do not matter to who decodes."""


def mend(location: Location, layout: Layout) -> tuple[str, ...]:
    """Write anew what was cut off, removed or changed of the arrays; the chunks of the units stay.

    All of it follows from the layout, which the fingerprint of the run fixes.

    Returns
    -------
    tuple of str
        Names of the arrays that were mended.
    """
    import zarr
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    right: Any = zarr.create_group(MemoryStore(files), zarr_format=3)
    skeleton.create_arrays(right, layout)
    group: Any = zarr.open_group(location.zarr_store(read_only=True), mode="r")
    mended = tuple(name for name in sorted(right.keys()) if not _same(group, right[name], name))
    for name in mended:
        for key in [key for key in files if key.startswith(f"{name}/")]:
            location.put_file(key, files[key].to_bytes())
    return mended


def _same(group: Any, right: Any, name: str) -> bool:
    """Whether an array is what it has to be; the number of years is not looked at here."""
    try:
        array = group[name]
        if _facts(array, name) != _facts(right, name):
            return False
        if name == cv.YEAR:
            array[...]
            return True
        return name not in (cv.Y, cv.X, cv.SPATIAL_REF) or np.array_equal(array[...], right[...])
    except skeleton.DECODING:
        return False


def _facts(array: Any, name: str) -> dict[str, Any]:
    """Return what decides on the values that a reader finds."""
    facts: dict[str, Any] = array.metadata.to_dict()
    growing = name not in (cv.Y, cv.X, cv.SPATIAL_REF)
    attributes = dict(facts.pop("attributes", {}))
    known = attributes if name == cv.SPATIAL_REF else ("grid_mapping", "coordinates")
    return {
        **facts,
        "shape": list(facts["shape"])[1:] if growing else list(facts["shape"]),
        "codecs": [_codec(dict(codec)) for codec in facts["codecs"]],
        "fill_value": repr(facts["fill_value"]),  # NaN is no NaN's equal
        "attributes": {key: attributes.get(key) for key in known},
    }


def _codec(codec: dict[str, Any]) -> dict[str, Any]:
    settings = dict(codec.get("configuration", {}))
    return {**codec, "configuration": {key: value for key, value in settings.items() if key not in _WITHOUT_VALUES}}
