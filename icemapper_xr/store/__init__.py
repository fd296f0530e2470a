"""The result on disk: a zarr v3 group that is also the list of what is still to do.

Dimensions are (year, y, x). The grid is the area asked for, grown outward to whole zarr chunks of the lattice that is
anchored at the origin of the CRS, so that a chunk holds the same pixels in every store of the same CRS and chunk size.
One zarr chunk (or shard) of all variables is one unit of work. A unit is written atomically, also if it is empty, and
counts as done when the chunks of all variables are there; values never say what is done. A fingerprint of what shaped
the values keeps two runs from being mixed, and a lock keeps two processes from writing one local store at once.
"""

from __future__ import annotations

from icemapper_xr.store.folders import (
    CUBE,
    POINTER,
    cube_of,
    elsewhere,
    exists,
    folder_of,
    plain,
    point,
    same_cube,
    unpoint,
)
from icemapper_xr.store.handover import Handover
from icemapper_xr.store.identity import apart, unlike
from icemapper_xr.store.layout import Unit
from icemapper_xr.store.reading import (
    explained,
    failures,
    finished,
    is_being_replaced,
    is_store,
    leftovers,
    open_store,
    provenance,
    reads_from,
    status,
    todo,
    writer,
)
from icemapper_xr.store.sessions import Session, Target, session, write_unit
from icemapper_xr.store.steady import State, state, steady
from icemapper_xr.store.writing import Report, write

__all__ = [
    "CUBE",
    "POINTER",
    "Handover",
    "Report",
    "Session",
    "State",
    "Target",
    "Unit",
    "apart",
    "cube_of",
    "elsewhere",
    "exists",
    "explained",
    "failures",
    "finished",
    "folder_of",
    "is_being_replaced",
    "is_store",
    "leftovers",
    "open_store",
    "plain",
    "point",
    "provenance",
    "reads_from",
    "same_cube",
    "session",
    "state",
    "status",
    "steady",
    "todo",
    "unlike",
    "unpoint",
    "write",
    "write_unit",
    "writer",
]
