"""Measure a finished map: areas and errors of its region and glaciers in every year, unfiltered and filtered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from icemapper_xr import filters, progress
from icemapper_xr.analysis import blocks, bootstrap, pieces, projecting, reference
from icemapper_xr.analysis.bootstrap import CommonBias
from icemapper_xr.analysis.dependence import Dependence
from icemapper_xr.analysis.series import Acquisition
from icemapper_xr.inventory.names import TERMINI
from icemapper_xr.pipeline import inside, layover, requests, runs, sheets, surveying
from icemapper_xr.pipeline.requests import MeasureSettings, Truth
from icemapper_xr.pipeline.runs import Run
from icemapper_xr.pipeline.surveying import FILTERED, UNFILTERED

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["FILTERED", "UNFILTERED", "Measured", "Series", "measure_run"]

Array = npt.NDArray[np.float64]

MIN_TILES: Final = 10
"""Tiles below which the published bootstrap is left out (a judgement)."""


@dataclass(frozen=True, eq=False)
class Series:
    """One region, group or glacier through the years, filtered or not; arrays (years,), km2."""

    kind: str
    """region, outside, glacier, or a kind of terminus: land, marine, lake, shelf, unknown (where there are several)."""
    id: str
    name: str
    terminus: str
    filter: str
    """`none` or `median`."""
    areas: Mapping[str, Array]
    """`soft_area`, `hard_area`, `observed_area`, `unobserved_area`, `margin_km`, perhaps `clear_soft_area` ..."""
    errors: Mapping[str, Array]
    """By source: (years, draws) of map minus truth, km2; empty if nothing says how wrong the map is."""
    landscape: Array | None
    """(years, draws) of the published bootstrap; of the region only."""


@dataclass(frozen=True, eq=False)
class Measured:
    """All series of a map."""

    run: Run
    settings: MeasureSettings
    series: tuple[Series, ...]
    shapes: gpd.GeoDataFrame
    """Geometry by id."""
    method: tuple[str, ...]
    notes: tuple[str, ...]
    changing_errors: bool
    """Whether anything is known of how errors change from year to year: without it a paired interval means nothing."""
    reference_years: tuple[int, ...]
    """Years with a reference."""

    @property
    def acquisitions(self) -> tuple[Acquisition, ...]:
        """Orbit, polarisation and sensor of each year."""
        return self.run.acquisitions


def measure_run(source: str | Path, settings: MeasureSettings, *, confidence: float = bootstrap.CONFIDENCE) -> Measured:
    """Measure areas and errors of a map, everything in one reading of its cube.

    Parameters
    ----------
    source, settings
        Of the verb.
    confidence
        The confidence of the central interval of the errors' draws, which few blocks widen by Student's t.

    Raises
    ------
    IcemapperError
        The map is not finished, a file cannot be read, or the reference is too small.
    """
    run = runs.open_run(source, years=settings.years, calibration=settings.calibration)
    notes = list(run.notes)
    glaciers = requests.glaciers_of(run, settings, notes)
    region = requests.region_of(settings, notes)
    if region is not None and settings.region is not None:
        notes.extend(inside.notes_on_region(run, region, settings.region))
    if glaciers is not None:
        notes.extend(inside.notes_on_glaciers(run, glaciers, region))
    truth = requests.truth_of(run, settings, notes)
    if settings.excluded is not None:
        layover.check([sheet.probability for sheet in run.sheets], settings.excluded)
    size, dependence, words = requests.block_size(run, truth, settings)
    survey = surveying.survey(run, settings, size=size, glaciers=glaciers, region=region, truth=truth)
    found = tuple(_series(run, settings, glaciers, survey, truth, dependence, confidence))
    method = (*_method(run, settings, truth is not None), *words)
    changing = _known_to_change(run, settings, truth)
    if truth is None and not changing and len(run.years) > 1 and (settings.orbit_bias_m or settings.sensor_bias_m):
        notes.append(
            "the common bias is shared by all years, so nothing is known of errors that change from year to year: no "
            "paired interval of a rate, unless year_bias_m says how much the margin shifts"
        )
    return Measured(
        run,
        settings,
        found,
        _shapes(run, region, glaciers),
        method,
        tuple(notes),
        changing,
        () if truth is None else truth.years,
    )


def _known_to_change(run: Run, settings: MeasureSettings, truth: Truth | None) -> bool:
    """Whether anything says how errors differ between years: shifts of years, several references, or a step.

    A bias of the orbit or sensor counts where a raster's years differ in it. In a single map that is the sensor, as all
    its years are of one orbit; across maps the shift is the offset that their common years take off.
    """
    steps = ((settings.orbit_bias_m, "relative_orbit"), (settings.sensor_bias_m, "sensor"))
    differs = any(
        len({getattr(kind, name) for kind in sheet.acquisitions}) > 1
        for sigma, name in steps
        if sigma > 0
        for sheet in run.sheets
    )
    return settings.year_bias_m > 0 or (truth is not None and len(truth.years) > 1) or differs


def _series(
    run: Run,
    settings: MeasureSettings,
    glaciers: gpd.GeoDataFrame | None,
    survey: surveying.Survey,
    truth: Truth | None,
    dependence: Dependence | None,
    confidence: float,
) -> Iterator[Series]:
    tables, landscape = survey
    models = {}
    if truth is not None:
        models = {name: reference.fit(table, truth.years, dependence=dependence) for name, table in tables.items()}
    groups = list(_groups(next(iter(tables.values())).layout, glaciers))
    for (kind, identity, label, terminus), chosen in progress.track(groups, "Groups"):
        for name, table in tables.items():
            errors: dict[str, Array] = {}
            if truth is not None:
                how: dict[str, Any] = {"n_draws": settings.n_draws, "seed": settings.seed, "confidence": confidence}
                errors |= reference.error_draws(models[name], table, run.years, chosen, **how)
            errors |= _common(run, settings, _margins(table, chosen), _positions(name, tables, chosen))
            measures = {key: table.total(key, chosen) for key in table.values if key not in pieces.OF_REFERENCE}
            draws = None
            if kind == "region" and landscape[name].shape[1] >= MIN_TILES:
                draws = bootstrap.published_draws(landscape[name], n_draws=settings.landscape_draws)
            yield Series(kind, identity, label, terminus, name, measures, errors, draws)


def _groups(
    where: pieces.Layout, glaciers: gpd.GeoDataFrame | None
) -> Iterator[tuple[tuple[str, str, str, str], npt.NDArray[np.bool_]]]:
    yield ("region", "region", "", ""), np.ones(where.glacier.size, dtype=bool)
    if glaciers is None:
        return
    yield ("outside", "outside", "ground outside all glaciers", ""), where.glacier == 0
    termini = glaciers["terminus"].to_numpy()
    for kind in TERMINI.values():
        members = np.flatnonzero(termini == kind) + 1
        if members.size and np.unique(termini).size > 1:
            yield (kind, kind, f"{members.size} glaciers", kind), np.isin(where.glacier, members)
    for i, (identity, row) in enumerate(glaciers.iterrows(), start=1):
        yield ("glacier", str(identity), str(row["name"]), str(row["terminus"])), where.glacier == i


def _margins(table: pieces.Pieces, chosen: npt.NDArray[np.bool_]) -> Array:
    """(years, acquisitions) length of margin by what mapped it, km."""
    kind = table.layout.kind
    if kind is None:
        return table.total(pieces.MARGIN, chosen)[:, None]
    return np.stack([table.total(pieces.MARGIN, chosen & (kind == k)) for k in range(int(kind.max()) + 1)], axis=1)


def _positions(name: str, tables: Mapping[str, pieces.Pieces], chosen: npt.NDArray[np.bool_]) -> Array | None:
    """(years,) position of the unfiltered margin (area over length, km), from which a filtered map's shifts start."""
    if name != FILTERED:
        return None
    plain = tables[UNFILTERED]
    length = float(plain.total(pieces.MARGIN, chosen).mean())
    return plain.total("soft_area", chosen) / length if length > 0 else None


def _common(run: Run, settings: MeasureSettings, margin_km: Array, position_km: Array | None) -> dict[str, Array]:
    """Draws of margin shifts that orbit, sensor or year share; the same shifts for every group, tile and zone.

    With the position of the margin in each year the temporal filter is inside every draw: the running median of a map
    with a margin is a map with the running median of its positions (a median commutes with thresholds: Fitch, Coyle
    and Gallagher 1984, IEEE Trans. ASSP 32), so a shift of one year is filtered as the map was.
    """
    kinds = list(dict.fromkeys(sheet.acquisitions for sheet in run.sheets))[: margin_km.shape[1]]
    every = [kind for together in zip(*kinds, strict=True) for kind in together]  # year by year
    labels: dict[str, tuple[float, Sequence[Any]]] = {
        "orbit": (settings.orbit_bias_m, [kind.relative_orbit for kind in every]),
        # What one tile saw together is one sensor for the others, too.
        "sensor": (
            settings.sensor_bias_m,
            sheets.sensors([set((kind.sensor or "").split("+")) - {""} for kind in every]),
        ),
        "year": (settings.year_bias_m, [year for year in run.years for _ in kinds]),
    }
    found = {}
    for k, (name, (sigma, shared)) in enumerate(labels.items()):
        if sigma > 0:
            bias, seed = {name: CommonBias(sigma, shared)}, settings.seed + 10 + k
            one_km = bootstrap.common_bias_draws(np.ones(len(every)), bias, n_draws=settings.n_draws, seed=seed)
            shift = one_km.reshape(*margin_km.shape, settings.n_draws)
            if position_km is not None:
                shift = _filtered(shift, position_km, run.years, settings.max_gap_years)
            found[f"common_{name}"] = (margin_km[..., None] * shift).sum(axis=1)
    return found


def _filtered(shift: Array, position_km: Array, years: Sequence[int], max_gap_years: int) -> Array:
    """What is left of shifts (years, ...) of a margin in the filtered map, km."""
    at = position_km.reshape(-1, *[1] * (shift.ndim - 1))
    moved, still = (filters.filter_series(p, years, max_gap_years=max_gap_years) for p in (at + shift, at))
    return np.asarray(moved - still)


# -- what is said -----------------------------------------------------------------------------------------------------
def _shapes(run: Run, region: gpd.GeoDataFrame | None, glaciers: gpd.GeoDataFrame | None) -> gpd.GeoDataFrame:
    import geopandas as gpd
    import shapely

    zones = {sheet.zone.epsg: sheet.zone for sheet in run.sheets if sheet.zone is not None}
    crs: Any = "EPSG:4326" if zones else run.probability.rio.crs.to_wkt()
    if region is not None:
        whole: Any = shapely.union_all(projecting.project(region, crs).to_numpy())
    elif zones:
        whole = shapely.union_all([zone.owned for zone in zones.values()])
    else:
        whole = shapely.box(*run.probability.rio.bounds())
    names, shapes = ["region"], [whole]
    if glaciers is not None and len(glaciers):
        names += list(map(str, glaciers.index))
        shapes += list(projecting.project(glaciers, crs))
    return gpd.GeoDataFrame({}, geometry=shapes, index=names, crs=crs)


def _method(run: Run, settings: MeasureSettings, referenced: bool) -> Iterator[str]:
    yield f"soft area: sum of probability times the cell's area on WGS 84; {run.calibration or 'NOT calibrated'}"
    yield f"hard area: cells with a probability of {settings.threshold:g} or more"
    if FILTERED in surveying.planes_of(run, settings):
        yield f"filter median: {filters.DESCRIPTION.format(gap=settings.max_gap_years)}"
    elif settings.temporal:
        yield "no temporal filter: it needs three years or more"
    if run.in_tiles:
        yield (
            f"{len(run.sheets)} tiles in {len({sheet.grid for sheet in run.sheets})} UTM zones: every cell counts in "
            "one tile, cut at what its zone owns"
        )
    if settings.common:
        yield "only cells that were observed in all years count"
    if referenced:
        yield (
            "interval: errors of blocks against the reference, carried to the rest by the length of margin "
            "(difference estimator), resampled; the signed bias is taken off the adjusted area"
        )
    shifts = [
        f"{value:g} m by {name}"
        for name, value in (
            ("orbit", settings.orbit_bias_m),
            ("sensor", settings.sensor_bias_m),
            ("year", settings.year_bias_m),
        )
        if value
    ]
    if shifts:
        yield f"common bias of the margin, standard deviation as given: {', '.join(shifts)}"
    if not referenced and not shifts:
        yield "no interval of the map's error: give a reference, or the size of a common bias"
    yield (
        f"landscape interval: published block bootstrap of the areas of {blocks.TILE_SIZE / 1000:g} km tiles (Maslov "
        f"et al. 2025), {settings.landscape_draws} draws: how cover varies over the landscape, not how wrong the map is"
    )
