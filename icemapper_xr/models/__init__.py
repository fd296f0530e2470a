"""The network, its weight files and the engines that run it.

Names are loaded on first use: importing this package imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pyogrio  # noqa: F401 - before TensorFlow: GDAL would take its SQLite, which has no spatial index, for its own

if TYPE_CHECKING:
    from icemapper_xr.models.engines import ModelSegmenter, load_model, loaded
    from icemapper_xr.models.fetch import fetch as fetch_weights
    from icemapper_xr.models.presets import WeightsFile, info, list_weights, resolve

__all__ = ["ModelSegmenter", "WeightsFile", "fetch_weights", "info", "list_weights", "load_model", "loaded", "resolve"]

_HOMES = {
    "ModelSegmenter": ("icemapper_xr.models.engines", "ModelSegmenter"),
    "WeightsFile": ("icemapper_xr.models.presets", "WeightsFile"),
    "fetch_weights": ("icemapper_xr.models.fetch", "fetch"),
    "info": ("icemapper_xr.models.presets", "info"),
    "list_weights": ("icemapper_xr.models.presets", "list_weights"),
    "load_model": ("icemapper_xr.models.engines", "load_model"),
    "loaded": ("icemapper_xr.models.engines", "loaded"),
    "resolve": ("icemapper_xr.models.presets", "resolve"),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, attribute = _HOMES[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
