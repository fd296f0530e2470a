"""From outlines of ice to glaciers: divides that stay, and ids that last through the years."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import shapely

from icemapper_xr import conventions as cv
from icemapper_xr import progress
from icemapper_xr._types import Bounds
from icemapper_xr.errors import OptionError, VectorError
from icemapper_xr.inventory import copied, cutting, flags, flowsheds, shapes
from icemapper_xr.inventory.elevation import CELLS, Dem, Relief
from icemapper_xr.inventory.flowsheds import FlowshedOptions
from icemapper_xr.inventory.names import Reference

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["COLUMNS", "METHODS", "Method", "divide"]

Method = Literal["auto", "copy", "flowsheds", "bodies"]
"""Copy the divides of a reference; draw them by flow over a DEM; or none: each body of ice is a glacier."""
METHODS: Final[tuple[Method, ...]] = get_args(Method)

COLUMNS: Final = ("glacier_id", "id", cv.YEAR, "part", "name", "terminus", "area_km2", "touches_edge", "geometry")
"""Columns of the table of glaciers, in order; further columns of the outlines follow before the geometry."""

SEA: Final = ("sea_km2", "sea_ice_suspect")
"""Columns of the outlines that hold for the whole body: its glaciers have their own, from the DEM, or none."""

_INTERVAL: Final = ("area_low_km2", "area_high_km2")
_GEOPACKAGE: Final = ("fid", "geom")
"""Columns that a GeoPackage has of its own."""

CELL: Final = 20.0
"""Metres: cells on which divides are carried on where no DEM gives the size."""


class _Plan(NamedTuple):
    """How one body of ice, of all years together, is divided."""

    ids: list[str]
    """Id of each label; None of the labels is 0, the first is 1."""
    lines: Any
    """Where to cut; None where there is one glacier only."""
    label: Any
    """Tells the label of points."""


class _Piece(NamedTuple):
    """A piece of a year's outline that belongs to one glacier."""

    row: int
    """Row of the outlines."""
    glacier_id: str
    shape: Any
    margin: float
    """Share of the outline's margin that the piece has."""


@dataclass(frozen=True)
class _Work:
    reference: Reference | None
    dem: Dem | None
    method: Method
    options: FlowshedOptions
    smallest: float
    partial: bool
    sea_level: float | None = None
    undivided: list[float] = field(default_factory=list)
    """Area of the bodies that the DEM does not cover, m2."""
    beside_gaps: list[float] = field(default_factory=list)
    """Area of the bodies that border on cells without elevation, m2."""


def divide(
    outlines: gpd.GeoDataFrame,
    *,
    reference: gpd.GeoDataFrame | None = None,
    dem: Any = None,
    method: Method = "auto",
    options: FlowshedOptions | None = None,
    cell: float | None = None,
    min_area_km2: float = cv.MIN_AREA_KM2,
    partial: bool = False,
    sea_level: float | None = None,
) -> gpd.GeoDataFrame:
    """Divide ice into glaciers, with the same divides in all years.

    The divides are drawn once, on all ice that any year has, and every year's outlines are cut along them: a change of
    area is never one of the divides.

    Parameters
    ----------
    outlines
        Outlines of one year or several (column `year`), as `vectorise.outlines` gives, or any polygons, any CRS.
    reference
        Glaciers whose divides and ids are copied, for example RGI 7: any CRS, id in the first of `glacier_id`,
        `rgi_id`, `RGIId`, `glac_id`, `glims_id`, `id`, `name` and `Name` that has no gaps, name in `glac_name` or
        `name`, terminus in `term_type`. In several years (column `year`) a glacier must have the same id.
    dem
        Path of a DEM or a DataArray (y, x), any CRS. Needed by "flowsheds"; "copy" uses it where ice lies outside the
        reference, and without it gives such ice to the nearest glacier.
    method
        "copy" (the default with a reference), "flowsheds" (the default with a DEM alone), "bodies" (each body of ice
        is a glacier; the default without either).
    options
        Numbers of the flowshed method.
    cell
        Cell size for the divides, metres; None is the DEM's, 20 m without one.
    min_area_km2
        A piece below this that a divide cuts off is given to its neighbour.
    partial
        Whether bodies of ice that the DEM does not cover may stay undivided; else they are an error.
    sea_level
        Height of the sea in the DEM, metres: glaciers with 100 m of their margin at or below it end in the sea, others
        on land, where the reference does not tell; those beside cells without elevation stay unknown. Such cells
        within the DEM are taken for sea when flow is followed. None leaves all unknown.

    Returns
    -------
    geopandas.GeoDataFrame
        EPSG:4326, one polygon a row: `glacier_id` (lasts through the years; of the reference, or made of the place as
        GLIMS does), `id` (unique in a year: `glacier_id`, with `.2`, `.3` ... for further parts), `year`, `part`
        (1 is the largest), `name`, `terminus` (land, marine, lake, shelf, unknown), `area_km2` (WGS 84),
        `touches_edge`, `glims_id` where the reference has any, and the outlines' other columns; `sea_km2` and
        `sea_ice_suspect` anew where the DEM and `sea_level` are given. Another column whose name is one of these but
        for its case, such as `Id`, is `Id_source`: a GeoPackage ignores case. The areas of a year add up to those of
        its outlines.

    Raises
    ------
    OptionError
        If the method lacks what it needs, or an option is out of range or counts for nothing.
    VectorError
        If there is no CRS, the DEM does not cover the ice, or the reference has the same ice under other ids in other
        years.

    Notes
    -----
    "flowsheds": Kienholz et al. (2013), doi:10.3189/2013JoG12J138; "copy": watershed from the reference glaciers.
    """
    chosen = _method(method, reference, dem)
    _refuse_idle(chosen, dem, options or FlowshedOptions(), cell, partial)
    if not min_area_km2 >= 0:
        raise OptionError(f"min_area_km2={min_area_km2:g}: must be 0 or more")
    ice = shapes.usable(outlines, "the outlines")
    if not len(ice):
        return _empty()
    with _metric(dem, ice, cell) or contextlib.nullcontext() as plane:
        crs = plane.crs if plane is not None else shapes.plane_of(ice)
        known = None
        if reference is not None and chosen == "copy":
            known = Reference.of(shapes.usable(reference, "the reference"), crs)
        work = _Work(known, plane, chosen, options or FlowshedOptions(), min_area_km2 * 1e6, partial, sea_level)
        flat = ice.to_crs(crs)
        table = _assemble(ice, flat, list(_pieces(flat, work, cell or (plane.cell if plane else CELL))), work)
    if sea_level is not None:
        table = _ends(table, dem, sea_level)
    if SEA[0] in outlines:
        table = _over_sea(table, dem, sea_level)
    if work.undivided:
        progress.note(f"{len(work.undivided)} bodies of ice lie outside the DEM and stay undivided")
    if work.beside_gaps:
        progress.note(
            f"{len(work.beside_gaps)} bodies of ice border on cells without elevation, to which nothing drains: "
            "glaciers that end there may stay one. Where they are sea give its height with "
            "sea_level (--sea-level), else a larger DEM"
        )
    return table


def _method(method: Method, reference: Any, dem: Any) -> Method:
    if method not in METHODS:
        raise OptionError(f"method={method!r} is unknown; name one of {', '.join(METHODS)}")
    if method == "auto":
        return "copy" if reference is not None else "flowsheds" if dem is not None else "bodies"
    if method == "copy" and reference is None:
        raise OptionError("method='copy' needs reference glaciers: give reference, or method='flowsheds' with a DEM")
    if method != "copy" and reference is not None:
        raise OptionError(f"method={method!r} does not use the reference: leave it out, or give method='copy'")
    if method == "flowsheds" and dem is None:
        raise OptionError("method='flowsheds' needs a DEM: give dem")
    return method


def _refuse_idle(method: Method, dem: Any, options: FlowshedOptions, cell: float | None, partial: bool) -> None:
    """Refuse what would count for nothing."""
    given = {
        one.name: getattr(options, one.name) for one in fields(options) if getattr(options, one.name) != one.default
    }
    idle = {} if method == "flowsheds" else given
    if method == "copy" and dem is not None:
        idle.pop("smoothing", None)
    if method == "bodies" and cell is not None:
        idle["cell"] = cell
    if idle:
        name, value = next(iter(idle.items()))
        raise OptionError(f"{name}={value!r} counts for nothing with method={method!r}: leave it out")
    if partial and dem is None:
        raise OptionError("partial leaves ice undivided that the DEM does not cover: give dem, or leave partial out")


def _ends(table: gpd.GeoDataFrame, dem: Any, sea_level: float) -> gpd.GeoDataFrame:
    """Tell from the DEM how glaciers end; one that ends in the sea in one year or part is marine in all."""
    if dem is None:
        raise OptionError(f"sea_level={sea_level:g} needs the DEM that it belongs to: give dem")
    ends: dict[str, set[str]] = {}
    for name, end in zip(table["glacier_id"], flags.termini(table, dem, sea_level=sea_level), strict=True):
        ends.setdefault(name, set()).add(end)
    known = table["terminus"] != "unknown"
    found = [next(end for end in ("marine", "unknown", "land") if end in ends[name]) for name in table["glacier_id"]]
    return table.assign(terminus=table["terminus"].where(known, found))


def _over_sea(table: gpd.GeoDataFrame, dem: Any, sea_level: float | None) -> gpd.GeoDataFrame:
    """Measure what lies over the sea for each glacier, where outlines had it for the body."""
    if sea_level is None:
        progress.note(
            "sea_km2 of the outlines is left out: give the DEM and the sea's height to have it of each glacier"
        )
        return table
    found = flags.sea_ice_suspects(table, dem, sea_level=sea_level)
    return found[[*table.columns[:-1], *SEA, "geometry"]]


def _metric(dem: Any, ice: gpd.GeoDataFrame, cell: float | None) -> Dem | None:
    if cell is not None and not CELLS[0] <= cell <= CELLS[1]:
        raise OptionError(f"cell={cell:g}: the cell size must lie between {CELLS[0]:g} and {CELLS[1]:g} m")
    if dem is None:
        return None
    return Dem(dem, lonlat=shapes.centre_of(ice), cell=cell)


def _pieces(flat: gpd.GeoDataFrame, work: _Work, cell: float) -> Iterator[_Piece]:
    """Iterate over the pieces of all outlines."""
    polygons, rows = _single(flat)
    shares = _shares_of_rows(polygons, rows)
    bodies = _bodies(polygons, work.reference)
    tree = shapely.STRtree(bodies)
    body_of = tree.query_nearest(shapely.point_on_surface(polygons), all_matches=False)[1]
    members = np.split(np.argsort(body_of, kind="stable"), np.cumsum(np.bincount(body_of, minlength=bodies.size))[:-1])
    fresh = _Fresh(flat.crs, work.reference.ids if work.reference else ())
    for number in progress.track(range(bodies.size), "Glaciers"):
        if not members[number].size:
            continue  # reference glaciers without ice
        mine = polygons[members[number]]
        plan = _plan(bodies[number], mine, work, cell, fresh)
        for k, shape in zip(members[number], mine, strict=True):
            if plan.lines is None:
                yield _Piece(int(rows[k]), plan.ids[0], shape, float(shares[k]))
                continue
            cut = cutting.cut(shape, plan.lines, plan.label, smallest=work.smallest)
            for (label, piece), share in zip(cut, _margin_shares([piece for _, piece in cut]), strict=True):
                yield _Piece(int(rows[k]), plan.ids[label - 1], piece, share * float(shares[k]))


def _shares_of_rows(polygons: shapes.Geometries, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Share of its row's margin that each single polygon has: a row of several has one interval for all."""
    shares = np.ones(rows.size)
    for row in np.flatnonzero(np.bincount(rows) > 1):
        shares[rows == row] = _margin_shares(list(polygons[rows == row]))
    return shares


def _margin_shares(pieces: list[Any]) -> list[float]:
    """Share of a body's margin that each piece has; divides are not margin."""
    lines = shapely.boundary(np.array(pieces, dtype=object))
    free = shapely.length(lines)
    i, j = shapely.STRtree(lines).query(lines, predicate="intersects")
    other = i != j
    np.subtract.at(free, i[other], shapely.length(shapely.intersection(lines[i[other]], lines[j[other]])))
    free = np.clip(free, 0, None)
    return list(free / free.sum()) if free.sum() > 0 else [1 / len(pieces)] * len(pieces)


def _single(flat: gpd.GeoDataFrame) -> tuple[shapes.Geometries, npt.NDArray[np.int64]]:
    """Return the single polygons, and the row of each."""
    parts, rows = shapely.get_parts(np.asarray(flat.geometry.values, dtype=object), return_index=True)
    return parts, np.asarray(rows, np.int64)


def _bodies(polygons: shapes.Geometries, reference: Reference | None) -> shapes.Geometries:
    """Return what hangs together over all years and the reference."""
    every = polygons if reference is None else np.concatenate([polygons, _touching(reference.polygons, polygons)])
    return np.asarray(shapely.get_parts(shapely.union_all(every)), dtype=object)


def _touching(reference: shapes.Geometries, polygons: shapes.Geometries) -> shapes.Geometries:
    hits = shapely.STRtree(polygons).query(reference, predicate="intersects")[0]
    return np.asarray(reference[np.unique(hits)], dtype=object)


class _Fresh:
    """Ids of glaciers that no reference names, after the place of their ice; each only once."""

    def __init__(self, crs: Any, taken: Iterable[str] = ()) -> None:
        import pyproj

        self._lonlat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
        self._taken = set(taken)

    def ids(self, shapes_: list[Any]) -> list[str]:
        points = shapely.get_coordinates([shape.point_on_surface() for shape in shapes_])
        names = []
        for lon, lat in zip(*self._lonlat.transform(points[:, 0], points[:, 1]), strict=True):
            step = 0.0
            while (name := shapes.glims_ids(shapely.points([[lon + step, lat]]))[0]) in self._taken:
                step += 0.001
            self._taken.add(name)
            names.append(name)
        return names


def _whole(polygons: shapes.Geometries, fresh: _Fresh) -> _Plan:
    """Leave a body undivided."""
    return _Plan(fresh.ids([shapely.union_all(polygons)]), None, None)


def _plan(body: Any, polygons: shapes.Geometries, work: _Work, cell: float, fresh: _Fresh) -> _Plan:
    """Decide how a body is divided."""
    if work.method == "bodies":
        return _whole(polygons, fresh)
    if work.method == "copy":
        assert work.reference is not None
        return _copy(body, polygons, work.reference, work, cell, fresh)
    assert work.dem is not None
    return _by_flow(body, polygons, work.dem, work, fresh)


def _by_flow(body: Any, polygons: shapes.Geometries, dem: Dem, work: _Work, fresh: _Fresh) -> _Plan:
    relief = dem.read(Bounds(*body.bounds), pad=work.options.buffer + 5 * dem.cell)
    ice = relief.burn([body]) > 0
    missing = float(np.isnan(relief.z[ice]).mean()) if ice.any() else 0.0
    if missing > 0:
        _uncovered(body, missing, dem, work)
        return _whole(polygons, fresh)
    z = relief.z
    if work.sea_level is not None:  # many DEMs have no value over the sea
        z = np.where(np.isnan(z) & dem.reaches(relief), np.float32(work.sea_level), z)
    if _margin_m(ice, np.isnan(z), relief.cell) >= flags.MARINE_M:
        work.beside_gaps.append(float(body.area))
    labels = flowsheds.flowsheds(z, ice, relief.cell, work.options)
    if labels.max(initial=0) < 2:
        return _whole(polygons, fresh)
    found = cutting.zones(labels, relief)
    return _Plan(fresh.ids(_largest(body, found, int(labels.max()))), found.divides, found.at)


def _margin_m(ice: npt.NDArray[np.bool_], cells: npt.NDArray[np.bool_], cell: float) -> float:
    """Length of the ice's margin that borders on cells of a kind, metres."""
    from scipy import ndimage

    return float((ndimage.binary_dilation(ice, np.ones((3, 3), bool)) & ~ice & cells).sum()) * cell


def _largest(body: Any, found: cutting.Zones, count: int) -> list[Any]:
    """Return for each label its largest piece of the body: where its id is made of."""
    best: dict[int, Any] = {}
    for label, piece in cutting.cut(body, found.divides, found.at):
        if label not in best or piece.area > best[label].area:
            best[label] = piece
    # a label that smoothing took away has no ice, and its id is never used
    return [best.get(label, body) for label in range(1, count + 1)]


def _uncovered(body: Any, missing: float, dem: Dem, work: _Work) -> None:
    if not work.partial:
        x, y = body.centroid.x, body.centroid.y
        raise VectorError(
            f"The DEM {dem.name} lacks {missing:.0%} of the ice body around x={x:.0f}, y={y:.0f} "
            f"({body.area / 1e6:.2f} km2): give a DEM that covers all ice, or let such bodies stay undivided with "
            "partial (--partial)"
        )
    work.undivided.append(float(body.area))


def _copy(
    body: Any, polygons: shapes.Geometries, reference: Reference, work: _Work, cell: float, fresh: _Fresh
) -> _Plan:
    hit = reference.meeting(body)
    if not hit.size:
        return _whole(polygons, fresh)
    glaciers = np.unique(reference.glacier[hit])
    ids = [reference.ids[g] for g in glaciers]
    if glaciers.size == 1:
        return _Plan(ids, None, None)
    known = reference.polygons[hit]
    label = np.searchsorted(glaciers, reference.glacier[hit]) + 1
    box = Bounds(*body.bounds)
    relief = work.dem.read(box, pad=5 * cell) if work.dem is not None else _flat_grid(box, cell)
    ice = relief.burn([body]) > 0
    missing = float(np.isnan(relief.z[ice]).mean()) if work.dem is not None and ice.any() else 0.0
    if missing > 0:
        assert work.dem is not None
        _uncovered(body, missing, work.dem, work)
    markers = relief.burn(known, label)
    z = None if work.dem is None or missing > 0 else relief.z
    carried = copied.carry_on(z, markers, ice, relief.cell, smoothing=work.options.smoothing)
    return _Plan(ids, *_exact_inside(known, label, cutting.zones(carried, relief), relief.cell))


def _flat_grid(box: Bounds, cell: float) -> Relief:
    pad = 5 * cell
    left, top = np.floor((box.left - pad) / cell) * cell, np.ceil((box.top + pad) / cell) * cell
    rows, columns = np.ceil((top - box.bottom + pad) / cell), np.ceil((box.right + pad - left) / cell)
    return Relief(np.zeros((int(rows), int(columns)), np.float32), float(left), float(top), cell)


def _exact_inside(
    known: shapes.Geometries, label: npt.NDArray[np.int64], beyond: cutting.Zones, cell: float
) -> tuple[Any, Any]:
    """Cut along the reference's own borders inside it, and along the carried-on divides outside."""
    covered = shapely.union_all(known)
    # A few cells of overlap: else a divide that ends just short of the reference would cut nothing.
    outside = shapely.difference(beyond.divides, shapely.buffer(covered, -3 * cell))
    lines = shapely.union_all([*shapely.boundary(known), outside])
    tree = shapely.STRtree(known)

    def at(points: shapes.Geometries) -> npt.NDArray[np.int64]:
        found = beyond.at(points)
        point, polygon = tree.query(points, predicate="within")
        found[point] = label[polygon]
        return found

    return lines, at


def _assemble(ice: gpd.GeoDataFrame, flat: gpd.GeoDataFrame, pieces: list[_Piece], work: _Work) -> gpd.GeoDataFrame:
    """Build the table from the pieces."""
    import geopandas as gpd
    import pandas as pd

    rows = np.array([piece.row for piece in pieces], dtype=int)
    ice = _renamed(ice)
    others = [c for c in ice.columns if c not in (*COLUMNS, "geometry", "perimeter_km", "n_holes", *SEA)]
    columns = [name for name in ("touches_edge", *others) if name in ice]
    table = pd.DataFrame({name: ice[name].to_numpy()[rows] for name in columns})
    table[cv.YEAR] = pd.array(shapes.whole_years(ice, "the outlines")[rows], dtype="Int32")
    if "touches_edge" not in table:
        table["touches_edge"] = False
    table["glacier_id"] = [piece.glacier_id for piece in pieces]
    degrees = gpd.GeoSeries([piece.shape for piece in pieces], crs=flat.crs).to_crs(4326).orient_polygons()
    made = gpd.GeoDataFrame(table, geometry=shapes.one_side(np.asarray(degrees.values, dtype=object)), crs=4326)
    made["area_km2"] = shapes.areas_km2(made)
    _share_interval(made, ice, rows, np.array([piece.margin for piece in pieces]))
    reference = work.reference
    made["name"] = [reference.name_of(g) if reference else None for g in made["glacier_id"]]
    made["terminus"] = [reference.terminus_of(g) if reference else "unknown" for g in made["glacier_id"]]
    if reference is not None and reference.glims:
        made["glims_id"] = [reference.glims.get(g) for g in made["glacier_id"]]
        others = ["glims_id", *(name for name in others if name != "glims_id")]
    made = made.sort_values([cv.YEAR, "glacier_id", "area_km2"], ascending=[True, True, False], kind="stable")
    made = made.reset_index(drop=True)
    made["part"] = made.groupby([cv.YEAR, "glacier_id"], dropna=False).cumcount() + 1
    made["id"] = _ids_of_parts(made["glacier_id"].tolist(), made["part"].tolist())
    last = [name for name in others if name in made]
    return made[[*COLUMNS[:-1], *last, "geometry"]]


def _ids_of_parts(glaciers: list[str], parts: list[int]) -> list[str]:
    """Return an id for each part of a glacier, which is no other glacier's.

    >>> _ids_of_parts(["7", "7", "8"], [1, 2, 1]), _ids_of_parts(["7", "7", "7.2"], [1, 2, 1])
    (['7', '7.2', '8'], ['7', '7.2_', '7.2'])
    """
    taken, found = set(glaciers), []
    for glacier, part in zip(glaciers, parts, strict=True):
        name = f"{glacier}.{part}" if part > 1 else glacier
        while part > 1 and name in taken:
            name += "_"
        found.append(name)
    return found


def _renamed(ice: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Rename columns that differ from one of ours, or from one before, only in case: a GeoPackage has one of them."""
    ours = {*COLUMNS, *SEA, *_INTERVAL, "glims_id"}
    taken = {name.lower() for name in (*ours, *_GEOPACKAGE)}
    names = {}
    for column in ice.columns:
        if column in ours or column == ice.geometry.name:
            continue
        name = str(column)
        while name.lower() in taken:
            name += "_source"
        taken.add(name.lower())
        names[column] = name
    return ice.rename(columns=names)


def _share_interval(
    made: gpd.GeoDataFrame, ice: gpd.GeoDataFrame, rows: npt.NDArray[np.int64], margin: npt.NDArray[np.float64]
) -> None:
    """Give each piece the part of its outline's area interval that its margin has; divides are taken as certain."""
    if not {"area_km2", *_INTERVAL} <= set(ice.columns):
        return
    whole, low, high = (ice[n].to_numpy(dtype=float)[rows] for n in ("area_km2", "area_low_km2", "area_high_km2"))
    made["area_low_km2"] = np.clip(made["area_km2"] - (whole - low) * margin, 0, None)
    made["area_high_km2"] = made["area_km2"] + (high - whole) * margin


def _empty() -> gpd.GeoDataFrame:
    import geopandas as gpd
    import pandas as pd

    table = pd.DataFrame(columns=list(_TYPES)).astype(_TYPES)
    return gpd.GeoDataFrame(table, geometry=gpd.GeoSeries([], crs=4326), crs=4326)[list(COLUMNS)]


_TYPES: Final[dict[str, Any]] = {
    "glacier_id": str,
    "id": str,
    cv.YEAR: "Int32",
    "part": "int64",
    "name": str,
    "terminus": str,
    "area_km2": "float64",
    "touches_edge": bool,
}
