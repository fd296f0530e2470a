"""The fields of RGI 7 and of GLIMS: what they mean, their types, and how wide they are in a shapefile."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

__all__ = ["COMPLEX", "GLACIER", "GLIMS", "INTERSECTS", "SUBMISSION", "Field"]


class Field(NamedTuple):
    """One field of a table."""

    name: str
    long_name: str
    description: str
    datatype: Literal["str", "int", "float"]
    units: str = ""
    width: int | None = 80
    """Bytes (UTF-8) that a shapefile keeps of a text; None where the table is no shapefile."""
    required: bool = True
    """Whether every row must have a value."""


def _optional(
    name: str, long_name: str, text: str, kind: Literal["str", "int", "float"], units: str = "", width: int = 80
) -> Field:
    return Field(name, long_name, text, kind, units, width, required=False)


_ID: Final = Field("rgi_id", "RGI identifier", "Provisional: the RGI gives its own when it takes the outline.", "str")
_PLACE: Final = (
    Field("o1region", "First-order region", "Code of the RGI region.", "str", width=2),
    Field("o2region", "Second-order region", "Code of the RGI subregion.", "str", width=5),
)
_CENTRE: Final = (
    Field("cenlon", "Centre longitude", "Of a point inside the outline, far from its margin.", "float", "degrees"),
    Field("cenlat", "Centre latitude", "Of a point inside the outline, far from its margin.", "float", "degrees"),
    Field("utm_zone", "UTM zone", "Zone of the centre; the geometry is in WGS 84.", "int"),
    Field("area_km2", "Area", "Area on the WGS 84 ellipsoid, nunataks left out.", "float", "km2"),
)

GLACIER: Final[tuple[Field, ...]] = (
    _ID,
    *_PLACE,
    Field("glims_id", "GLIMS identifier", "The same for all parts of a glacier, and in all years.", "str", width=14),
    _optional("anlys_id", "Analysis identifier", "Given by GLIMS; 0 before.", "int"),
    _optional("subm_id", "Submission identifier", "Given by GLIMS; 0 before.", "int"),
    Field("src_date", "Date of the outline", "Day that the outline stands for, ISO 8601.", "str", "date", 19),
    *_CENTRE,
    _optional("primeclass", "Primary classification", "WGMS class; 0: not classified here.", "int"),
    _optional("conn_lvl", "Connectivity level", "To the Greenland ice sheet; 0: none.", "int"),
    _optional(
        "surge_type", "Evidence for surging", "0 none, 1 possible, 2 probable, 3 observed, 9 not assigned.", "int"
    ),
    _optional("term_type", "Terminus type", "0 land, 1 marine, 2 lake, 3 shelf, 9 not assigned.", "int"),
    _optional("glac_name", "Name", "From the reference inventory, where it has one.", "str"),
    _optional("is_rgi6", "Same as in RGI 6", "0: mapped anew.", "int"),
    _optional("termlon", "Terminus longitude", "Lowest point of the outline.", "float", "degrees"),
    _optional("termlat", "Terminus latitude", "Lowest point of the outline.", "float", "degrees"),
    _optional("zmin_m", "Minimum elevation", "Of the DEM's cells inside.", "float", "m"),
    _optional("zmax_m", "Maximum elevation", "Of the DEM's cells inside.", "float", "m"),
    _optional("zmed_m", "Median elevation", "Of the DEM's cells inside.", "float", "m"),
    _optional("zmean_m", "Mean elevation", "Of the DEM's cells inside.", "float", "m"),
    _optional("slope_deg", "Mean slope", "Of the DEM's cells inside.", "float", "degrees"),
    _optional(
        "aspect_deg", "Aspect", "Direction of the mean vector down the slope, from true north.", "float", "degrees"
    ),
    _optional("aspect_sec", "Aspect sector", "1 north, 2 north-east ... 8 north-west, 9 not assigned.", "int"),
    _optional("dem_source", "DEM", "What the elevations are from.", "str"),
    _optional("lmax_m", "Length", "Longest of the shortest ways inside from the terminus.", "float", "m"),
)
"""RGI 7, glacier product (its user guide, rgi_user_guide/products/glacier_product)."""

COMPLEX: Final[tuple[Field, ...]] = (_ID, *_PLACE, *_CENTRE)
"""RGI 7, glacier complex product: glaciers that touch are one."""

INTERSECTS: Final[tuple[Field, ...]] = (
    _ID,
    Field("rgi_g_id_1", "Glacier on one side", "rgi_id in the glacier product.", "str"),
    Field("rgi_g_id_2", "Glacier on the other side", "rgi_id in the glacier product.", "str"),
    Field("length_m", "Length", "Of the common border, on the WGS 84 ellipsoid.", "float", "m"),
)
"""RGI 7, intersects product: the borders between glaciers."""

SUBMISSION: Final[tuple[Field, ...]] = (
    _optional("subm_id", "Submission identifier", "Given by GLIMS; 0 before.", "int"),
    Field("n_outlines", "Number of outlines", "In the glacier product.", "int"),
    Field("area_km2", "Area", "Of all outlines.", "float", "km2"),
    Field("anlys_time", "Time of the analysis", "When the outlines were drawn, ISO 8601.", "str", "date"),
    _optional("release_dt", "Release date", "Set by GLIMS.", "str", "date"),
    Field("proc_desc", "Processing", "How the outlines were made.", "str", width=None),
    Field("chief_affl", "Affiliation", "Institution that answers for the data.", "str", width=None),
    Field("submitters", "Submitters", "Who submits.", "str", width=None),
    Field("analysts", "Analysts", "Who made the outlines.", "str", width=None),
    _optional("rc_id", "Regional centre", "GLIMS regional centre.", "int"),
)
"""RGI 7, submission info."""

GLIMS: Final[tuple[Field, ...]] = (
    Field("line_type", "Kind of line", "glac_bound: outline, holes left open; intrnl_rock: a hole.", "str", width=20),
    Field("glac_id", "GLIMS identifier", "Of the place; the same for all parts and years.", "str", width=14),
    Field("local_id", "Identifier of ours", "Unique in a year.", "str", width=40),
    _optional("glac_name", "Name", "From the reference inventory, where it has one.", "str", width=60),
    Field("anlys_time", "Time of the analysis", "When the outlines were drawn.", "str", "date", 19),
    Field("src_date", "Date of the outline", "Day that the outline stands for.", "str", "date", 19),
    Field("rec_status", "Record status", "okay, as GLIMS writes.", "str", width=10),
    Field("area", "Area", "On the WGS 84 ellipsoid.", "float", "km2"),
    _optional("length", "Length", "Longest of the shortest ways inside from the terminus.", "float", "m"),
    _optional("width", "Width", "Area over length.", "float", "m"),
    _optional("primeclass", "Primary classification", "WGMS class; 0: not classified here.", "int"),
    _optional("min_elev", "Minimum elevation", "Of the DEM's cells inside.", "float", "m"),
    _optional("mean_elev", "Mean elevation", "Of the DEM's cells inside.", "float", "m"),
    _optional("max_elev", "Maximum elevation", "Of the DEM's cells inside.", "float", "m"),
    Field("loc_unc_x", "Local uncertainty, x", "Half-width of the margin.", "float", "m"),
    Field("loc_unc_y", "Local uncertainty, y", "Half-width of the margin.", "float", "m"),
    Field("glob_unc_x", "Global uncertainty, x", "Standard error of the map's position.", "float", "m"),
    Field("glob_unc_y", "Global uncertainty, y", "Standard error of the map's position.", "float", "m"),
    Field("area_low", "Area, lower", "Inside the 95 % outline.", "float", "km2"),
    Field("area_high", "Area, upper", "Inside the 5 % outline.", "float", "km2"),
    Field("term_type", "Terminus type", "0 land, 1 marine, 2 lake, 3 shelf, 9 not assigned.", "int"),
    Field("data_edge", "At the data's edge", "1: the data end along the outline.", "int"),
    Field("proc_desc", "Processing", "How the outlines were made.", "str", width=254),
    Field("chief_affl", "Affiliation", "Institution that answers for the data.", "str", width=254),
    _optional("rc_id", "Regional centre", "GLIMS regional centre.", "int"),
    Field("submitters", "Submitters", "Who submits.", "str", width=254),
    Field("analysts", "Analysts", "Who made the outlines.", "str", width=254),
)
"""GLIMS: the fields of its data transfer and download files (glims.org/MapsAndDocs), and three of ours."""
