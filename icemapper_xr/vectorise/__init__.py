"""From a chunked raster of probability to seam-free outlines.

The outline is the line on which the probability, interpolated linearly between pixel centres, equals the threshold
(marching squares). The raster is read once, block by block; lines that end on the border of a block are joined by the
grid edge on which they end, so nothing is dissolved or snapped, and the polygons do not depend on the chunks.
"""

from __future__ import annotations

from icemapper_xr.vectorise.antimeridian import cut as cut_at_antimeridian
from icemapper_xr.vectorise.band import BAND_COLUMNS, LEVELS, Band, band
from icemapper_xr.vectorise.edges import at_data_edge
from icemapper_xr.vectorise.files import metadata, read, read_polygons, suffix_of, write
from icemapper_xr.vectorise.measures import areas_km2, total_area_km2
from icemapper_xr.vectorise.outlines import COLUMNS, body_ids, outlines
from icemapper_xr.vectorise.simplify import check_tolerance, simplify

__all__ = [
    "BAND_COLUMNS",
    "COLUMNS",
    "LEVELS",
    "Band",
    "areas_km2",
    "at_data_edge",
    "band",
    "body_ids",
    "check_tolerance",
    "cut_at_antimeridian",
    "metadata",
    "outlines",
    "read",
    "read_polygons",
    "simplify",
    "suffix_of",
    "total_area_km2",
    "write",
]
