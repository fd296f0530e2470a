"""Areas larger than one cube: named regions, lists of areas, UTM zones, tiles, masks, and the outlines of all of it.

A cube has one CRS and one relative orbit. A region is cut so that every piece has: first by UTM zone, then into tiles
of the zone's global lattice. Each point of the Earth belongs to one zone (with the exceptions of MGRS for Norway and
Svalbard) and each pixel of a zone to one tile, so that nothing is mapped twice and nothing is left out. Zones are
mapped some pixels past their border; outlines are cut exactly there and joined with those of the neighbour.
"""

from __future__ import annotations

from icemapper_xr.regions.mask import Mask, mask_of_file, wanted
from icemapper_xr.regions.named import NAMED, Named, find
from icemapper_xr.regions.seams import join
from icemapper_xr.regions.shape import listed, resolve
from icemapper_xr.regions.tiles import Part, parts
from icemapper_xr.regions.together import mosaic
from icemapper_xr.regions.utm import EDGE_DEGREES, Zone, degrees_around, turned, zones

__all__ = [
    "EDGE_DEGREES",
    "NAMED",
    "Mask",
    "Named",
    "Part",
    "Zone",
    "degrees_around",
    "find",
    "join",
    "listed",
    "mask_of_file",
    "mosaic",
    "parts",
    "resolve",
    "turned",
    "wanted",
    "zones",
]
