"""From outlines to an inventory: ice divides, glaciers with lasting ids, links, RGI and GLIMS products, checks."""

from __future__ import annotations

from icemapper_xr.inventory.attributes import topography
from icemapper_xr.inventory.entities import METHODS, Method, divide
from icemapper_xr.inventory.flags import sea_area_km2, sea_ice_suspects, snow_suspects, termini
from icemapper_xr.inventory.flowsheds import FlowshedOptions
from icemapper_xr.inventory.links import KINDS, LEAST_OVERLAP_KM2, LEAST_SHARE, link, link_years
from icemapper_xr.inventory.package import is_package, write_glims, write_rgi
from icemapper_xr.inventory.products import Facts, glacier_product, glims_product
from icemapper_xr.inventory.qc import RULES, Finding, Report, check
from icemapper_xr.inventory.subject import Subject, of_package, of_table, years_of
from icemapper_xr.inventory.submission import FORM, Person, Submission, read_submission

__all__ = [
    "FORM",
    "KINDS",
    "LEAST_OVERLAP_KM2",
    "LEAST_SHARE",
    "METHODS",
    "RULES",
    "Facts",
    "Finding",
    "FlowshedOptions",
    "Method",
    "Person",
    "Report",
    "Subject",
    "Submission",
    "check",
    "divide",
    "glacier_product",
    "glims_product",
    "is_package",
    "link",
    "link_years",
    "of_package",
    "of_table",
    "read_submission",
    "sea_area_km2",
    "sea_ice_suspects",
    "snow_suspects",
    "termini",
    "topography",
    "write_glims",
    "write_rgi",
    "years_of",
]
