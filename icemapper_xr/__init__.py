"""Map glaciers from Sentinel-1 time series with Dask and xarray.

>>> import icemapper_xr as ix
>>> ds = ix.open_cube(bbox=(15.0, 78.0, 16.5, 78.5), year=2023, catalog="planetary-computer")  # doctest: +SKIP
>>> ds.icemapper.predict(weights="tweightedpool_rtc").icemapper.to_zarr("svalbard.zarr")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from icemapper_xr._version import __version__

if TYPE_CHECKING:
    from icemapper_xr.models import load_model
    from icemapper_xr.pipeline import (
        apply,
        coverage,
        map_glaciers,
        open_cube,
        open_rasters,
        outlines,
        predict,
        search,
        to_zarr,
    )
    from icemapper_xr.store import open_store

__all__ = [
    "__version__",
    "apply",
    "coverage",
    "load_model",
    "map_glaciers",
    "open_cube",
    "open_rasters",
    "open_store",
    "outlines",
    "predict",
    "search",
    "to_zarr",
]

_HOME = {"load_model": "icemapper_xr.models", "open_store": "icemapper_xr.store"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing the package stays quick."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME.get(name, "icemapper_xr.pipeline")), name)


def __dir__() -> list[str]:
    return sorted(__all__)


# `ds.icemapper` and `ds.rio` work after `import icemapper_xr`. The command line imports them command by command: it
# answers --help at once, where xarray alone takes more than a second to import.
if PurePath(sys.argv[0] if sys.argv else "").stem != "icemapper":
    import rioxarray  # noqa: F401

    import icemapper_xr.accessor  # noqa: F401
