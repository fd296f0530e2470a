"""Rules that an inventory must keep, one a line: yes or no, with the glaciers that break it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from icemapper_xr import conventions as cv
from icemapper_xr.inventory import shapes
from icemapper_xr.inventory.subject import Subject

__all__ = ["RULES", "Finding", "Report", "check"]

SLIVER_M2: Final = 1.0
"""Overlap of two outlines below this is rounding of the files."""
SEAM_PIXELS: Final = 20
"""Pixels of outline in one straight line along the border of a chunk that no nature draws."""
SEAM_DISTANCE: Final = 0.6
"""Distance from the border, pixels."""
TOTAL: Final = 1e-3
"""Relative difference between the outlines' and the raster's area; for little ice the rounding of its margin to whole
pixels (`rounding_km2`) may be more."""


class Outcome(NamedTuple):
    """What a rule says."""

    ok: bool | None
    """None: what the rule needs is not known."""
    ids: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """One rule and what it found."""

    rule: str
    title: str
    ok: bool | None
    ids: tuple[str, ...]
    note: str

    def line(self) -> str:
        """One line: the answer, the rule, what breaks it."""
        answer = {True: "yes", False: "NO ", None: "?  "}[self.ok]
        shown = ", ".join(self.ids[:5]) + (f" and {len(self.ids) - 5} more" if len(self.ids) > 5 else "")
        remarks = "; ".join(part for part in (self.note, shown) if part)
        return f"{answer}  {self.rule:<12}{self.title}" + (f": {remarks}" if remarks else "")


@dataclass(frozen=True)
class Report:
    """All rules, in order."""

    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether no rule is broken; a rule that lacks what it needs does not count."""
        return all(finding.ok is not False for finding in self.findings)

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of the rules that are broken."""
        return tuple(finding.rule for finding in self.findings if finding.ok is False)

    def text(self) -> str:
        """One line a rule, and a last one."""
        unknown = sum(finding.ok is None for finding in self.findings)
        last = f"{len(self.broken)} of {len(self.findings)} rules broken" if self.broken else "all rules kept"
        last += f", {unknown} not known" if unknown else ""
        return "\n".join([*(finding.line() for finding in self.findings), last])


def check(*subjects: Subject) -> Report:
    """Apply every rule to every subject.

    Parameters
    ----------
    *subjects
        Glaciers of one year each; ids of several years are written year:id, and so are notes that differ.
    """
    findings = []
    for name, (title, rule) in RULES.items():
        outcomes = [rule(subject) for subject in subjects]
        known = [outcome.ok for outcome in outcomes if outcome.ok is not None]
        ids = [
            f"{subject.facts.get('year')}:{one}" if len(subjects) > 1 else one
            for subject, outcome in zip(subjects, outcomes, strict=True)
            for one in outcome.ids
        ]
        told = [(subject.facts.get("year"), o.note) for subject, o in zip(subjects, outcomes, strict=True) if o.note]
        alike = len({note for _, note in told}) <= 1
        notes = [note for _, note in told][:1] if alike else [f"{year}: {note}" for year, note in told]
        findings.append(Finding(name, title, all(known) if known else None, tuple(ids), "; ".join(notes)))
    return Report(tuple(findings))


def _flagged(subject: Subject, bad: Any, note: str = "") -> Outcome:
    where = np.flatnonzero(np.asarray(bad, dtype=bool))
    return Outcome(not where.size, tuple(subject.name(int(k)) for k in where), note if where.size else "")


def _missing(subject: Subject, *columns: str) -> Outcome | None:
    lacking = [name for name in columns if name not in subject.glaciers]
    return Outcome(None, note=f"no {', '.join(lacking)}") if lacking else None


def _geometry(subject: Subject) -> shapes.Geometries:
    return np.asarray(subject.glaciers.geometry.values, dtype=object)


def _single(geometry: shapes.Geometries) -> npt.NDArray[np.bool_]:
    return np.asarray(~shapely.is_missing(geometry) & (shapely.get_type_id(geometry) == shapely.GeometryType.POLYGON))


def _sound(geometry: shapes.Geometries) -> npt.NDArray[np.bool_]:
    """Tell single polygons whose outer ring is valid."""
    good = _single(geometry) & ~shapely.is_empty(geometry)
    rings = shapely.get_exterior_ring(geometry[good])
    good[good] = shapely.is_valid(shapely.polygons(rings))
    return good


def _flat(subject: Subject) -> shapes.Geometries:
    """Return the polygons on an equal-area plane; those that are not sound are mended."""
    frame = subject.glaciers
    flat = np.asarray(frame.geometry.to_crs(shapes.plane_of(frame)).values, dtype=object)
    return np.asarray(shapely.make_valid(flat, method="structure", keep_collapsed=False), dtype=object)


# -- the rules ---------------------------------------------------------------------------------------------------------
def _polygons(subject: Subject) -> Outcome:
    return _flagged(subject, ~_sound(_geometry(subject)))


WGS84: Final = "World Geodetic System 1984"
"""Name of the datum, that of the ensemble begins so too; WGS 72 is another, metres away."""


def _crs(subject: Subject) -> Outcome:
    crs = subject.glaciers.crs
    datum = str(crs.datum.name if crs is not None and crs.datum is not None else "")
    named = crs is not None and (crs.to_epsg() == 4326 or (crs.is_geographic and datum.startswith(WGS84)))
    if not named:
        return Outcome(False, note=f"CRS is {crs.name if crs is not None else 'unknown'}")
    bounds = subject.glaciers.bounds
    beyond = (bounds["minx"] < -180) | (bounds["maxx"] > 360) | (bounds[["miny", "maxy"]].abs() > 90).any(axis=1)
    return _flagged(subject, beyond)


def _size(subject: Subject) -> Outcome:
    # A shapefile's rounding must not make an outline of just 0.01 km2 too small.
    lack = _missing(subject, "area_km2")
    if lack:
        return lack
    small = subject.glaciers["area_km2"] < cv.MIN_AREA_KM2 * (1 - 1e-6)
    return _flagged(subject, small, f"below {cv.MIN_AREA_KM2} km2")


def _area(subject: Subject) -> Outcome:
    lack = _missing(subject, "area_km2")
    if lack:
        return lack
    sound = _single(_geometry(subject)) & shapely.is_valid(_geometry(subject))
    own = shapely.area(_flat(subject)) / 1e6
    given = subject.glaciers["area_km2"].to_numpy(dtype=float)
    return _flagged(subject, sound & ~(np.abs(given - own) <= 1e-3 * own + 1e-6))


def _overlap(subject: Subject) -> Outcome:
    flat = _flat(subject)
    i, j = shapely.STRtree(flat).query(flat, predicate="intersects") if flat.size else (np.empty(0, int),) * 2
    pair = i < j
    i, j = i[pair], j[pair]
    shared = shapely.area(shapely.intersection(flat[i], flat[j])) > SLIVER_M2
    bad = np.zeros(flat.size, bool)
    bad[i[shared]] = bad[j[shared]] = True
    return _flagged(subject, bad)


def _holes(subject: Subject) -> Outcome:
    geometry = _geometry(subject)
    sound = _sound(geometry)
    bad = np.zeros(geometry.size, bool)
    bad[sound] = ~shapely.is_valid(geometry[sound])
    return _flagged(subject, bad)


def _seams(subject: Subject) -> Outcome:
    facts = subject.facts
    if not all(facts.get(key) for key in ("crs", "resolution", "chunk")):
        return Outcome(None, note="the run's grid is not known")
    pixel, step = float(facts["resolution"]), float(facts["resolution"]) * int(facts["chunk"])
    flat = np.asarray(subject.glaciers.geometry.to_crs(facts["crs"]).values, dtype=object)
    rings = [shapely.get_rings(shapely.get_parts(shape)) for shape in flat]
    bad = [_runs_along(*shapely.get_coordinates(ring, return_index=True), pixel, step) for ring in rings]
    edge = subject.glaciers.get("touches_edge", pd.Series(False, index=subject.glaciers.index))
    return _flagged(subject, np.array(bad, dtype=bool) & ~edge.fillna(False).to_numpy(dtype=bool))


def _runs_along(coordinates: npt.NDArray[np.float64], ring: npt.NDArray[np.int64], pixel: float, step: float) -> bool:
    """Tell whether an outline runs straight along a border of the chunks for too long."""
    same = ring[1:] == ring[:-1]
    for axis in (0, 1):
        value = coordinates[:, axis] / step
        line = np.rint(value)
        on = np.abs(value - line) * step <= SEAM_DISTANCE * pixel
        along = same & on[1:] & on[:-1] & (line[1:] == line[:-1])
        length = np.where(along, np.abs(np.diff(coordinates[:, 1 - axis])), 0.0)
        total = np.cumsum(length)
        before = np.maximum.accumulate(np.where(along, 0.0, total))  # the sum up to the last break
        if length.size and (total - before).max() >= SEAM_PIXELS * pixel:
            return True
    return False


def _edge(subject: Subject) -> Outcome:
    lack = _missing(subject, "touches_edge")
    return lack or _flagged(subject, subject.glaciers["touches_edge"].fillna(False).astype(bool))


def _dates(subject: Subject) -> Outcome:
    first, last = subject.facts.get("first_date"), subject.facts.get("last_date")
    if not first or not last:
        return Outcome(None, note="the dates of the scenes are not known")
    if "src_date" not in subject.glaciers:
        return Outcome(str(first) <= str(last), note="" if str(first) <= str(last) else f"{first} is after {last}")
    day = subject.glaciers["src_date"].astype(str).str.slice(0, 10)
    return _flagged(subject, ~((day >= str(first)) & (day <= str(last))), f"not within {first} to {last}")


def _scenes(subject: Subject) -> Outcome:
    scenes = subject.facts.get("scenes")
    if scenes is None:
        return Outcome(None, note="the run is not known")
    return Outcome(bool(scenes), note="" if scenes else "none")


def _series(subject: Subject) -> Outcome:
    facts = subject.facts
    if "relative_orbit" not in facts and "polarisation" not in facts:
        return Outcome(None, note="the run is not known")
    lacking = [
        f"{name} is {facts.get(key)}"
        for key, name in (("relative_orbit", "orbit"), ("polarisation", "polarisation"))
        if not isinstance(facts.get(key), int | str) or isinstance(facts.get(key), bool) or not facts.get(key)
    ]
    return Outcome(not lacking, note=", ".join(lacking))


def _uncertainty(subject: Subject) -> Outcome:
    lack = _missing(subject, "half_width_m", "area_low_km2", "area_high_km2")
    if lack:
        return Outcome(False, note=lack.note)
    found = subject.glaciers[["half_width_m", "area_low_km2", "area_high_km2"]].astype(float)
    return _flagged(subject, found.isna().any(axis=1) | ~(found["half_width_m"] > 0))


def _interval(subject: Subject) -> Outcome:
    lack = _missing(subject, "area_km2", "area_low_km2", "area_high_km2")
    if lack:
        return lack
    area, low, high = (subject.glaciers[n].to_numpy(dtype=float) for n in ("area_km2", "area_low_km2", "area_high_km2"))
    known = np.isfinite(low) & np.isfinite(high)
    room = 1e-9 + 1e-6 * area
    return _flagged(subject, known & ~((low <= area + room) & (area <= high + room)))


def _total(subject: Subject) -> Outcome:
    lack = _missing(subject, "area_km2")
    if lack:
        return lack
    raster = subject.facts.get("raster_km2")
    if raster is None:
        return Outcome(None, note="the raster's area is not known")
    expected = float(raster) + float(subject.facts.get("adjusted_km2", 0.0))
    left_out = float(subject.facts.get("left_out_km2", 0.0))
    drawn = float(subject.glaciers["area_km2"].sum()) + left_out
    difference = abs(drawn - expected) / expected if expected > 0 else float(drawn > 0)
    room = max(TOTAL, float(subject.facts.get("rounding_km2", 0.0)) / expected) if expected > 0 else TOTAL
    note = f"{drawn:.3f} km2 against {expected:.3f} ({difference:.3%})"
    return Outcome(difference <= room, note=note)


def _ids(subject: Subject) -> Outcome:
    ids = subject.glaciers["id"]
    return _flagged(subject, ids.isna() | (ids.astype(str).str.strip() == "") | ids.duplicated(keep=False))


def _centre(subject: Subject) -> Outcome:
    if not {"cenlon", "cenlat"} <= set(subject.glaciers.columns):
        return Outcome(None, note="no centre points")
    geometry = _geometry(subject)
    good = _single(geometry) & shapely.is_valid(geometry)
    points = shapely.points(subject.glaciers[["cenlon", "cenlat"]].to_numpy(dtype=float))
    bad = np.zeros(geometry.size, bool)
    bad[good] = ~shapely.intersects(geometry[good], points[good])
    return _flagged(subject, bad)


def _fields(subject: Subject) -> Outcome:
    if not subject.tables:
        return Outcome(None, note="a map has no fields of a submission")
    problems = [problem for name, table, fields in subject.tables for problem in _of_table(name, table, fields)]
    return Outcome(not problems, note="; ".join(problems[:3]) + (" ..." if len(problems) > 3 else ""))


def _of_table(name: str, table: pd.DataFrame, fields: tuple[Any, ...]) -> list[str]:
    long = [column for column in table.columns if column != "geometry" and len(column) > 10]
    found = [f"{name}: {column} has more than 10 characters" for column in long]
    for field in fields:
        if field.name not in table:
            found.append(f"{name}: no {field.name}")
            continue
        column = table[field.name]
        text = field.datatype == "str"
        if len(table) and (text == pd.api.types.is_numeric_dtype(column) or _broken(column, field.datatype)):
            found.append(f"{name}: {field.name} is not {field.datatype}")
        elif text and column.dropna().astype(str).str.encode("utf-8").str.len().max() > field.width:
            found.append(f"{name}: {field.name} is longer than {field.width} bytes")
        elif field.required and field.name not in _ELSEWHERE and (column.isna() | (column.astype(str) == "")).any():
            found.append(f"{name}: {field.name} is empty")
    return found


def _broken(column: pd.Series, datatype: str) -> bool:
    """Whether a column of whole numbers holds fractions: a file with a gap in it has them as floats."""
    return datatype == "int" and bool((column.dropna() % 1 != 0).any())


_ELSEWHERE: Final = {
    "rgi_id", "local_id", "submitters", "analysts", "chief_affl", "loc_unc_x", "loc_unc_y", "area_low", "area_high",
    "cenlon", "cenlat", "area_km2", "area", "data_edge",
}  # fmt: skip
"""Fields whose gaps are the matter of another rule."""


def _people(subject: Subject) -> Outcome:
    if subject.people is None:
        return Outcome(None, note="a map names nobody")
    lacking = [name for name, text in subject.people.items() if not text.strip() or text in ("nan", "None")]
    return Outcome(not lacking, note=f"no {', '.join(lacking)}" if lacking else "")


RULES: Final[dict[str, tuple[str, Callable[[Subject], Outcome]]]] = {
    "ids": ("every outline has an id of its own", _ids),
    "polygons": ("single polygons, outer ring valid", _polygons),
    "holes": ("holes inside, apart from each other", _holes),
    "crs": ("WGS 84", _crs),
    "size": ("at least 0.01 km2", _size),
    "area": ("area given is that of the outline", _area),
    "overlap": ("no two outlines overlap", _overlap),
    "seams": ("no straight edge along a chunk's border", _seams),
    "edge": ("no outline ends where the data end", _edge),
    "centre": ("centre point inside", _centre),
    "dates": ("date within those of the scenes", _dates),
    "scenes": ("scenes listed", _scenes),
    "series": ("one orbit and one polarisation", _series),
    "uncertainty": ("uncertainties present", _uncertainty),
    "interval": ("interval contains the area", _interval),
    "total": ("sum within 0.1 % of the raster", _total),
    "fields": ("fields present, of their type and width", _fields),
    "people": ("people named", _people),
}
"""Name, what is asked, and the rule."""
