"""Surging against other glaciers, and the rate between two inventories: each from files to a report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from icemapper_xr.analysis import inventories, rates, surges
from icemapper_xr.errors import AnalysisError, OptionError
from icemapper_xr.pipeline import dated, inside, measuring, tables
from icemapper_xr.pipeline.rates import fit_rates

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = [
    "InventoryReport",
    "SurgeReport",
    "inventories_of_files",
    "surges_of_run",
]


NORTHERN: Final = "EPSG:6931"
"""EASE-Grid 2.0 of the north (Brodzik et al. 2012, doi:10.3390/ijgi1010032): azimuthal, equal-area."""
SOUTHERN: Final = "EPSG:6932"
"""The same of the south."""
GLOBAL: Final = "EPSG:6933"
"""The same of low latitudes and of both hemispheres together: cylindrical, equal-area."""
POLEWARD: Final = 30.0
"""Latitude from which on a polar grid bends shapes less than the cylindrical one, which is true there."""


# -- surging and other glaciers ---------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class SurgeReport:
    """The test of both maps."""

    tests: dict[str, surges.SurgeTest]
    """By filter, `none` and perhaps `median`."""
    out: Path | None
    notes: tuple[str, ...]

    def summary(self) -> str:
        """Text: a line a filter."""
        header = ("filter", "surging", "others", "cells", "left out", "difference a-1", "raw", "Cliff's delta", "p")
        rows = [
            [name, t.n_surging, t.n_other, t.n_cells, t.n_left_out, f"{t.difference:+.5f}", f"{t.raw_difference:+.5f}",
             f"{t.cliffs_delta:+.3f}", f"{t.p_value:.4f}"]
            for name, t in self.tests.items()
        ]  # fmt: skip
        lines = [tables.text(rows, header), *(f"- {line}" for line in (*_SURGE_METHOD, *self.notes))]
        return "\n".join(lines)


_SURGE_METHOD: Final = (
    "rates relative to each glacier's mean area; labels exchanged only within size strata and spatial blocks "
    "(van Elteren 1960, by permutation); effect size: Cliff's delta",
    "the list has to be fixed before the rates are looked at",
)


def surges_of_run(
    source: str | Path,
    surging: str | Path,
    *,
    out: str | Path | None = None,
    block_km: float = surges.BLOCK_KM,
    n_strata: int = 4,
    n_permutations: int = 9999,
    **options: Any,
) -> SurgeReport:
    """Test whether the surging glaciers of a list change at other relative rates than the rest.

    Parameters
    ----------
    source
        Output folder of `map_glaciers` with two years or more.
    surging
        Text file with one glacier id a line; `#` begins a comment.
    out
        File to write (.json); None is ``surges.json`` in the map's folder.
    block_km
        Side of the spatial blocks, km.
    n_strata, n_permutations
        As in `icemapper_xr.analysis.surges.surge_test`.
    **options
        As in `rates_of_run`; the glaciers are needed.

    Returns
    -------
    SurgeReport
        The test of the unfiltered map, and from three years on of the filtered one; the file, and notes in words.

    Raises
    ------
    AnalysisError
        No glaciers, an id that is not among them, or no cell with both kinds.
    """
    target = _json_target(source, out, "surges.json")
    listed = _listed(Path(surging))
    seed = int(options.get("seed", 42))
    report = fit_rates(source, **options)
    shapes = report.measured[0].shapes
    members = report.table[report.table["kind"] == "glacier"]
    if not len(members):
        raise AnalysisError(f"{source} has no glaciers to compare; name their polygons with glaciers (--glaciers)")
    unknown = sorted(listed - set(members["id"]))
    if unknown:
        raise AnalysisError(f"{unknown[0]} of {surging} is no glacier of this map ({len(unknown)} ids are unknown)")
    without = members[members["relative_rate"].isna() & (members["filter"] == measuring.UNFILTERED)]["id"]
    notes = list(report.notes)
    if len(without):
        of_list = sorted(listed & set(without))
        shown = f", {len(of_list)} of them on the list ({inside.named(of_list)})" if of_list else ""
        notes.append(f"{len(without)} of {members['id'].nunique()} glaciers have no rate and are in no test{shown}")
    if listed <= set(without):
        raise AnalysisError(
            f"none of the {len(listed)} glaciers of {surging} has a rate in this map, so there is nothing to compare: "
            "map more years of them, or leave out with years those that saw little"
        )
    tests = {}
    for name, part in members.groupby("filter", sort=False):
        some = part[part["mean_km2"] > 0]
        places = centres(shapes.geometry.loc[list(some["id"])])
        blocks = surges.spatial_blocks(places.x, places.y, size_km=block_km)
        tests[str(name)] = surges.surge_test(
            some["relative_rate"].to_numpy(dtype=np.float64),
            some["id"].isin(listed).to_numpy(),
            some["mean_km2"].to_numpy(dtype=np.float64),
            blocks,
            n_strata=n_strata,
            n_permutations=n_permutations,
            seed=seed,
        )
    chosen = f"{n_strata} size strata, blocks of {block_km:g} km, {n_permutations} permutations, seed {seed}"
    method = (*_SURGE_METHOD, chosen, *report.method)
    content = {"method": method, "notes": notes, "tests": {k: asdict(v) for k, v in tests.items()}}
    tables.write_bytes(target, tables.as_json(content))
    return SurgeReport(tests, target, tuple(notes))


def centres(shapes: gpd.GeoSeries) -> gpd.GeoSeries:
    """Return a point in each glacier, in metres: shapes in degrees go to an equal-area grid that suits their place."""
    points = shapes.representative_point()
    if not points.crs.is_geographic:
        return points
    degrees = points.to_crs(4326)
    south, north = degrees.y.min(), degrees.y.max()
    grid = NORTHERN if south >= POLEWARD else SOUTHERN if north <= -POLEWARD else GLOBAL
    return degrees.to_crs(grid)


def _listed(path: Path) -> set[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"the list {path} cannot be read: {error}; give a text file with one id a line") from error
    found = {line.partition("#")[0].strip() for line in lines} - {""}
    if not found:
        raise AnalysisError(f"the list {path} holds no id; give one glacier id a line")
    return found


# -- inventories ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class InventoryReport:
    """The rate between two inventories."""

    first: inventories.Inventory
    second: inventories.Inventory
    stages: inventories.Stages
    factor: inventories.Acceleration | None
    out: Path | None
    notes: tuple[str, ...] = ()
    """What a reader has to know."""

    def summary(self) -> str:
        """Text: both inventories, both stages, and the factor."""
        lines = [
            f"{name}: {one.area:.2f} km2, mean year {one.mean_year:.3f}, k_eff {one.effective_years:.4f}"
            for name, one in (("first", self.first), ("second", self.second))
        ]
        for name, stage in (("stage 1", self.stages.first), ("stage 2", self.stages.second)):
            low, middle, high = stage.percentiles
            lines.append(
                f"{name}: {stage.mean:.3f} +- {stage.half_width:.3f} km2/a (1.96 sd); 2.5, 50, 97.5 %: {low:.3f}, "
                f"{middle:.3f}, {high:.3f}"
            )
        if self.factor is not None:
            f = self.factor
            lines.append(
                f"acceleration: {f.median:.2f} ({f.lower:.2f} to {f.upper:.2f}), P(> 1) {f.p_above_one:.3f}, opposite "
                f"signs in {f.p_other_sign:.1%} of the draws"
            )
        lines.append("- Monte Carlo of Maslov et al. (2025), both stages; the second is the result")
        lines += [f"- {line}" for line in self.notes]
        return "\n".join(lines)


def inventories_of_files(
    first: str | Path,
    second: str | Path,
    *,
    out: str | Path | None = None,
    first_year: int | None = None,
    second_year: int | None = None,
    min_area_km2: float = 0.0,
    relative_sigma: float = inventories.RELATIVE_SIGMA,
    recent_rate: float | None = None,
    recent_half_width: float | None = None,
    n_draws: int = inventories.N_DRAWS,
    seed: int = 42,
) -> InventoryReport:
    """Draw the rate of change between two inventories of mixed dates.

    Parameters
    ----------
    first, second
        Outlines of the older and the younger inventory, the same glaciers in both, each once, with its date: a column
        `year` (whole years or dates), or RGI's `src_date`.
    out
        File to write (.json); None writes none.
    first_year, second_year
        Year to take of a file that holds several of the same ice, as `outlines.gpkg` does; None takes all of it.
    min_area_km2
        Smallest glacier that counts, km2: of those with the same id (`glacier_id`, `rgi_id`, `RGIId` or `glac_id`) in
        both files the larger outline decides, otherwise each file by itself.
    relative_sigma
        Relative standard error of an inventory's area.
    recent_rate, recent_half_width
        A recent rate and its 1.96 sd, km2 a-1, for the acceleration factor; both or none.
    n_draws, seed
        As in `icemapper_xr.analysis.inventories.inventory_rate`.

    Returns
    -------
    InventoryReport
        Both inventories, the rate in both stages, the acceleration factor if a recent rate is given, and notes.

    Raises
    ------
    AnalysisError
        A file without dates or glaciers, or with the same ice more than once, or inventories whose years overlap or
        which have no place in common.
    OptionError
        One of the two numbers of the recent rate is missing, or the smallest area is none.
    """
    if not 0 <= min_area_km2 < np.inf:
        raise OptionError(f"min_area_km2={min_area_km2:g}: give an area of 0 km2 or more")
    if (recent_rate is None) != (recent_half_width is None):
        raise OptionError("recent_rate and recent_half_width belong together; give both or none")
    target = None if out is None else _json_target(Path("."), out, "")
    notes: list[str] = []
    asked = ((Path(first), first_year, "first"), (Path(second), second_year, "second"))
    given = [dated.read(*one, notes) for one in asked]
    dated.compared(given, [path for path, *_ in asked], notes)
    frames = dated.counted(given, min_area_km2, notes)
    one, two = (
        dated.inventory(frame, path, min_area_km2, relative_sigma)
        for frame, (path, *_) in zip(frames, asked, strict=True)
    )
    stages = inventories.inventory_rate(one, two, n_draws=n_draws, seed=seed)
    factor = None
    if recent_rate is not None and recent_half_width is not None:
        factor = inventories.acceleration(
            recent_rate, recent_half_width / rates.PUBLISHED_Z, stages.second.draws, seed=seed
        )
    report = InventoryReport(one, two, stages, factor, target, tuple(notes))
    if target is not None:
        rows = {
            name: {"mean": s.mean, "half_width": s.half_width, "percentiles": s.percentiles}
            for name, s in zip(("stage 1", "stage 2"), stages, strict=True)
        }
        content: dict[str, Any] = {"first": asdict(one), "second": asdict(two), **rows}
        content |= {"acceleration": factor and asdict(factor), "notes": notes}
        tables.write_bytes(target, tables.as_json(content))
    return report


def _json_target(source: str | Path, out: str | Path | None, name: str) -> Path:
    path = tables.target(source, out, name)
    if path.suffix.lower() != ".json":
        raise OptionError(f"{path} must end in .json")
    return path
