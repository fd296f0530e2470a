"""The verbs of the toolkit: the only place, with `accessor`, that knows the order of the stages.

catalog -> cube -> normalise -> prediction (with a model) -> store -> vectorise
"""

from __future__ import annotations

from icemapper_xr.pipeline.areas import AreaReport, areas_of_run
from icemapper_xr.pipeline.comparisons import inventories_of_files, surges_of_run
from icemapper_xr.pipeline.entities import LinkReport, divides_of_run, links_of_run
from icemapper_xr.pipeline.flown import orbits_of_run
from icemapper_xr.pipeline.fronts import termini_of_run
from icemapper_xr.pipeline.mapping import MapReport, YearReport, map_glaciers
from icemapper_xr.pipeline.original import apply
from icemapper_xr.pipeline.outlining import outlines_of_run
from icemapper_xr.pipeline.packages import ExportReport, export_of_run, qc_of
from icemapper_xr.pipeline.planning import Plan, YearPlan, plan_map
from icemapper_xr.pipeline.rates import RateReport, rates_of_run
from icemapper_xr.pipeline.region import RegionReport, as_region, map_region
from icemapper_xr.pipeline.scores import scores_of_run
from icemapper_xr.pipeline.standing import Standing, YearStanding, status_of_run
from icemapper_xr.pipeline.tiled import is_region
from icemapper_xr.pipeline.trust import applicability, calibrate
from icemapper_xr.pipeline.verbs import coverage, normalise, open_cube, open_rasters, outlines, predict, search, to_zarr

__all__ = [
    "AreaReport",
    "ExportReport",
    "LinkReport",
    "MapReport",
    "Plan",
    "RateReport",
    "RegionReport",
    "Standing",
    "YearPlan",
    "YearReport",
    "YearStanding",
    "applicability",
    "apply",
    "areas_of_run",
    "as_region",
    "calibrate",
    "coverage",
    "divides_of_run",
    "export_of_run",
    "inventories_of_files",
    "is_region",
    "links_of_run",
    "map_glaciers",
    "map_region",
    "normalise",
    "open_cube",
    "open_rasters",
    "orbits_of_run",
    "outlines",
    "outlines_of_run",
    "plan_map",
    "predict",
    "qc_of",
    "rates_of_run",
    "scores_of_run",
    "search",
    "status_of_run",
    "surges_of_run",
    "termini_of_run",
    "to_zarr",
]
