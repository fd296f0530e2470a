"""Find Sentinel-1 observations in catalogues, and make catalogues of folders."""

from __future__ import annotations

from icemapper_xr.catalog.builder import BuildReport, build
from icemapper_xr.catalog.files import check_target
from icemapper_xr.catalog.observe import observations
from icemapper_xr.catalog.presets import PRESETS, describe, sign
from icemapper_xr.catalog.query import search
from icemapper_xr.catalog.result import SearchResult
from icemapper_xr.catalog.sources import identify, is_api

__all__ = [
    "PRESETS",
    "BuildReport",
    "SearchResult",
    "build",
    "check_target",
    "describe",
    "identify",
    "is_api",
    "observations",
    "search",
    "sign",
]
