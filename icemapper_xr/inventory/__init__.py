"""From outlines to an inventory: ice divides, glaciers with lasting ids, links, RGI and GLIMS products, checks."""

from __future__ import annotations

from icemapper_xr.inventory.entities import METHODS, Method, divide
from icemapper_xr.inventory.flags import marine, sea_area_km2, sea_ice_suspects, snow_suspects
from icemapper_xr.inventory.flowsheds import FlowshedOptions
from icemapper_xr.inventory.links import KINDS, LEAST_OVERLAP_KM2, LEAST_SHARE, link, link_years

__all__ = [
    "KINDS",
    "LEAST_OVERLAP_KM2",
    "LEAST_SHARE",
    "METHODS",
    "FlowshedOptions",
    "Method",
    "divide",
    "link",
    "link_years",
    "marine",
    "sea_area_km2",
    "sea_ice_suspects",
    "snow_suspects",
]
