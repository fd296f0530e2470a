"""From observations to a lazy cube: grid, choice of orbit and steps, loading, dB; lists of rasters; coverage.

`area_grid` and `build` make the cube of an area and a year; `open_rasters` that of the user's own files.
"""

from __future__ import annotations

from icemapper_xr.cube.build import Series, build, plan
from icemapper_xr.cube.coverage import coverage, coverage_of
from icemapper_xr.cube.faults import MAX_UNREADABLE, Fault, Faults
from icemapper_xr.cube.grid import AreaGrid, area_grid
from icemapper_xr.cube.parity import parity_stack
from icemapper_xr.cube.rasters import open_rasters
from icemapper_xr.cube.regrid import to_pixel_size

__all__ = [
    "MAX_UNREADABLE",
    "AreaGrid",
    "Fault",
    "Faults",
    "Series",
    "area_grid",
    "build",
    "coverage",
    "coverage_of",
    "open_rasters",
    "parity_stack",
    "plan",
    "to_pixel_size",
]
