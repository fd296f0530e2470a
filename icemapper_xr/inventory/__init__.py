"""From outlines to an inventory: ice divides, glaciers with lasting ids, links, RGI and GLIMS products, checks."""

from __future__ import annotations

from icemapper_xr.inventory.entities import METHODS, divide
from icemapper_xr.inventory.flowsheds import FlowshedOptions
from icemapper_xr.inventory.links import link, link_years

__all__ = ["METHODS", "FlowshedOptions", "divide", "link", "link_years"]
