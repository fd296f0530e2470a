"""Map glaciers from Sentinel-1 time series with Dask and xarray."""

from __future__ import annotations

from icemapper_xr._version import __version__

__all__ = ["__version__"]
