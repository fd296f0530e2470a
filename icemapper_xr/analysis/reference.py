"""What a reference in part of a region says of the errors of all of it, for any group of pieces.

The error of a block (map minus reference) is carried to the rest of the region by its exposure, as in
`bootstrap.error_draws`. Exposure is the length of mapped margin plus a little for the area, so that a glacier that the
map missed, in a block without any margin, still counts. A year counts with what it saw: one with gaps has less
exposure, and less error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from icemapper_xr.analysis import bootstrap, pieces, variogram
from icemapper_xr.analysis import dependence as dependence_
from icemapper_xr.analysis.bootstrap import CommonBias
from icemapper_xr.analysis.dependence import Dependence
from icemapper_xr.errors import AnalysisError

__all__ = ["AREA_EXPOSURE", "ErrorModel", "error_draws", "fit", "residual_block"]

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

AREA_EXPOSURE: Final = 0.05
"""Exposure of an area without margin, km of margin per km2, where the reference has none such, and the most that is
taken (a judgement: a fifth of the mean of Svalbard, 0.28)."""
MAX_LAG: Final = 5000.0
"""Largest distance of the residuals' variogram, units of the CRS (a judgement: beyond it orbits and snow rule)."""
SHORTEST: Final = 5
"""Coarse cells along the shortest block (a judgement)."""
WANTED_BLOCKS: Final = 20
"""Reference blocks that the longest block leaves (a judgement)."""
SMALLEST_M: Final = 1e-6
"""Standard error of a shift below which it counts as known, metres."""
SMALLEST_KM: Final = 1e-9
"""Exposure without a reference up to which there is none, km: rounding."""
MIN_CELLS: Final = 50
"""Coarse cells with margin below which no variogram is taken."""
OBSERVED: Final = "observed_area"


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """Errors of the reference blocks, and what they say of the margin."""

    reference_years: tuple[int, ...]
    """Years with a reference."""
    errors: Array
    """(reference years, blocks) map minus reference, km2."""
    exposure: Array
    """(reference years, blocks) km of margin and its equivalents, as far as the year saw them."""
    bias_m: Array
    """(reference years,) error per exposure as a shift of the margin, metres, positive outward."""
    between_m: float
    """Standard deviation of the true shift between years, metres; NaN with a single reference year."""
    scatter: float
    """Standard deviation of what is a block's own error in one year alone, beyond the shift, by the root of its
    exposure, km2 / sqrt(km); NaN with a single reference year."""
    places: IntArray
    """(blocks, 3) grid, row and column."""
    dependence: Dependence | None = None
    """How the errors of neighbouring blocks hang together; None: not at all."""
    area_exposure: float = AREA_EXPOSURE
    """Exposure of an area without margin, km of margin per km2."""

    def year_of(self, year: int) -> int:
        """Index of the reference year nearest to a year, the earlier one of two."""
        return int(np.argmin([abs(year - known) for known in self.reference_years]))


def fit(table: pieces.Pieces, reference_years: Sequence[int], *, dependence: Dependence | None = None) -> ErrorModel:
    """Collect the errors of the blocks that have a reference.

    Parameters
    ----------
    table
        With `error`, `reference_margin_km` and `reference_area` of the reference years.
    reference_years
        Ascending.
    dependence
        How the errors of neighbouring blocks hang together, from the variogram of `residual_block`; None: not at all.

    Raises
    ------
    AnalysisError
        Fewer than 10 blocks have a reference, in one of its years or in all of them together.
    """
    error, margin, area = (table.by_block(name) for name in pieces.OF_REFERENCE)
    of_area = _area_exposure(error, margin, area, table.layout.size)
    whole, seen = _exposure(margin, area, of_area)
    some = whole > 0
    e, x = error[:, some], (whole * seen)[:, some]
    years = tuple(int(year) for year in reference_years)
    for year, count in zip(years, (x > 0).sum(axis=1), strict=True):
        _refuse_few(count, table.layout.size, f"in {year}")
    between, scatter = np.nan, np.nan
    if len(years) > 1:
        all_years = (x > 0).all(axis=0)
        _refuse_few(all_years.sum(), table.layout.size, f"in all of the years {', '.join(map(str, years))}")
        between, scatter = _changes(e[:, all_years], x[:, all_years])
    ratio = e.sum(axis=1) / x.sum(axis=1)
    places = table.layout.places()[some]
    return ErrorModel(years, e, x, 1000 * ratio, between, scatter, places, dependence, of_area)


def _area_exposure(error: Array, margin_km: Array, area_km2: Array, size: float) -> float:
    """Exposure of an area without margin, km of margin per km2, by the errors of reference blocks (years, n) without.

    Sea and bare ground, where the map does not err, would else be given the error of so much margin. One more block,
    with the errors that `AREA_EXPOSURE` expects, is put to those that were looked at (a rule of succession).
    """
    bare = (margin_km == 0).all(axis=0)
    along, length = float(np.abs(error[:, ~bare]).sum()), float(margin_km.sum())
    if not along > 0:
        return AREA_EXPOSURE
    # In km of margin with as large errors.
    equivalent = min(float(np.abs(error[:, bare]).sum()) / along * length, AREA_EXPOSURE * area_km2[:, bare].sum())
    one = len(error) * (size / 1000) ** 2
    return float((equivalent + AREA_EXPOSURE * one) / (area_km2[:, bare].sum() + one))


def _refuse_few(count: int, size: float, when: str) -> None:
    if count < bootstrap.MIN_BLOCKS:
        raise AnalysisError(
            f"the reference covers {count} blocks of {size:g} m that the map saw {when}; at least "
            f"{bootstrap.MIN_BLOCKS} are needed for an interval: give more reference, leave the year of gaps out, or "
            "take smaller blocks if their errors are uncorrelated"
        )


def _changes(e: Array, x: Array) -> tuple[float, float]:
    """What changes from reference year to reference year: the shift's standard deviation (m), and blocks' own scatter.

    A block's error that stays through the years moves the shifts of all years alike, so it says nothing of how well
    their differences are known: only the part that changes does.
    """
    years, n = e.shape
    ratio = e.sum(axis=1) / x.sum(axis=1)
    residual = e - ratio[:, None] * x
    changing = (residual - residual.mean(axis=0)) * np.sqrt(years / (years - 1))
    sigma = np.sqrt(np.sum(changing**2, axis=1) * n / (n - 1)) / x.sum(axis=1)
    between = bootstrap.between_groups(1000 * ratio, np.maximum(1000 * sigma, SMALLEST_M))
    # The difference of two years has twice the variance of what each has of its own.
    scatter = np.sqrt(np.sum(np.diff(residual, axis=0) ** 2) * n / (n - 1) / np.sum(x[1:] + x[:-1]))
    return between, float(scatter)


def error_draws(
    model: ErrorModel,
    table: pieces.Pieces,
    years: Sequence[int],
    chosen: npt.NDArray[np.bool_],
    *,
    n_draws: int = bootstrap.N_DRAWS,
    seed: int = 42,
    confidence: float = bootstrap.CONFIDENCE,
) -> Mapping[str, Array]:
    """Draw the total error (map minus truth) of a group of pieces in every year.

    Parameters
    ----------
    model
        From `fit` of the same table.
    table
        Of all pieces.
    years
        Years of the table. One without a reference takes the errors of the nearest year that has one, and in addition
        what has changed since: a shift (`between_m`, the same for all groups) and a scatter (`scatter`) of its own,
        less those of that year, which all years that take its errors share.
    chosen
        (pieces,) bool: the group. Where it has a reference itself its error is known and is added as it is, in a year
        without one as far as it saw the same.
    n_draws, seed, confidence
        As in `bootstrap.error_draws`. The same seed gives every group the same shifts of years.

    Returns
    -------
    dict
        `sampling` and `year`: (years, n_draws) km2, paired over the years.
    """
    index = np.array([model.year_of(year) for year in years])
    measures = table.values[pieces.MARGIN], table.values[OBSERVED]
    whole, seen = (part[..., chosen] for part in _exposure(*measures, model.area_exposure))
    then = seen[_rows(model, years)][index]  # in the year whose errors are taken
    both = np.minimum(seen, then)
    share = np.divide(both, then, out=np.zeros_like(both), where=then > 0)
    known = (table.values[pieces.ERROR][index][:, chosen] * share).sum(axis=1)
    exposure = whole * seen
    unseen = np.maximum(exposure - whole * both * _referenced(model, table, years)[chosen], 0.0)
    sampling = known[:, None] + bootstrap.error_draws(
        model.errors[index],
        model.exposure[index],
        unseen[:, (unseen > SMALLEST_KM).any(axis=0)],
        design=_design(model, table.layout, chosen, unseen),
        n_draws=n_draws,
        seed=seed,
        confidence=confidence,
    )
    known_in = [model.reference_years[k] for k in index]

    def since(name: str, sigma_m: float) -> Array:
        """Draw the change since the year whose errors are taken, km2 a km of margin; 0 in a reference year."""
        both = {name: CommonBias(sigma_m, [*years, *known_in])}
        drawn = bootstrap.common_bias_draws(np.ones(2 * len(years)), both, n_draws=n_draws, seed=seed + 1)
        return drawn[: len(years)] - drawn[len(years) :]

    if np.isnan(model.between_m):
        return {"sampling": sampling, "year": np.zeros_like(sampling)}
    own = table.total(pieces.MARGIN, chosen)[:, None] * since("year", model.between_m)
    return {
        "sampling": sampling,
        "year": own + _scatter(model, table.layout, chosen, exposure)[:, None] * since("scatter", 1000.0),
    }


def _rows(model: ErrorModel, years: Sequence[int]) -> list[int]:
    """Rows of the table of the years that have a reference."""
    return [list(years).index(year) for year in model.reference_years]


def _referenced(model: ErrorModel, table: pieces.Pieces, years: Sequence[int]) -> Array:
    """(pieces,) share of the exposure that has a reference, both in the years that have one: a margin may shorten."""
    there = _rows(model, years)
    every = _sum(table.values[pieces.MARGIN][there], table.values[OBSERVED][there], model.area_exposure)
    part = _sum(table.values[pieces.REFERENCE_MARGIN], table.values[pieces.REFERENCE_AREA], model.area_exposure)
    return np.clip(np.divide(part, every, out=np.zeros_like(part), where=every > 0), 0.0, 1.0)


def _scatter(model: ErrorModel, where: pieces.Layout, chosen: npt.NDArray[np.bool_], exposure: Array) -> Array:
    """(years,) standard deviation of what is a group's own error in one year alone, km2."""
    independent = model.scatter * np.sqrt(exposure.sum(axis=1))
    if model.dependence is None:
        return np.asarray(independent)
    blocks = np.bincount(where.block[chosen], weights=exposure.mean(axis=0), minlength=len(where.position))
    return np.asarray(independent * dependence_.sum_inflation(model.dependence, where.places(), blocks))


def _design(
    model: ErrorModel, where: pieces.Layout, chosen: npt.NDArray[np.bool_], unseen: Array
) -> dependence_.Design | None:
    """Return what the dependence of blocks does to the error of a group."""
    if model.dependence is None:
        return None
    target = np.bincount(where.block[chosen], weights=unseen.mean(axis=0), minlength=len(where.position))
    some, here = target > SMALLEST_KM, model.exposure.mean(axis=0)
    return dependence_.design(model.dependence, model.places, here, where.places()[some], target[some])


def _exposure(margin_km: Array, area_km2: Array, of_area: float) -> tuple[Array, Array]:
    """Mean exposure (n,) of what is ever seen, and the share (years, n) of it that each year saw."""
    most = area_km2.max(axis=0)
    seen = np.divide(area_km2, most, out=np.zeros_like(area_km2), where=most > 0)
    shares = seen.sum(axis=0)
    every = _sum(margin_km, area_km2, of_area)
    return np.divide(every, shares, out=np.zeros_like(every), where=shares > 0), seen


def _sum(margin_km: Array, area_km2: Array, of_area: float) -> Array:
    """(n,) exposure of all years together."""
    return np.asarray(margin_km.sum(axis=0) + of_area * area_km2.sum(axis=0))


def residual_block(
    error: npt.NDArray[np.floating], margin_km: npt.NDArray[np.floating], cell: float
) -> tuple[float, variogram.Variogram]:
    """Propose the side of a block from how far the errors along the margin hang together.

    Parameters
    ----------
    error
        (rows, columns) map minus reference summed over coarse cells, km2; NaN where there is no reference.
    margin_km
        (rows, columns) length of mapped margin in them, km.
    cell
        Side of a coarse cell, in the units of the CRS.

    Returns
    -------
    tuple
        The side, a multiple of the cell, and the variogram. At least 5 cells, because a variogram of few cells
        overlooks correlation more often than it invents it; at most so large that 20 blocks have a reference.

    Notes
    -----
    The variogram is that of (error - ratio times exposure) / sqrt(exposure) where there is margin. That of the raw
    residuals would tell how wide the strips of wrong pixels along the margin are, not how far errors reach along it.

    Raises
    ------
    AnalysisError
        No cell has both an error and margin.
    """
    exposure = np.where(margin_km > 0, margin_km + AREA_EXPOSURE * (cell / 1000) ** 2, np.nan)
    seen = np.isfinite(error) & np.isfinite(exposure)
    if not seen.any():
        raise AnalysisError("the reference has no mapped margin within it; check its place, its years and its CRS")
    e, x = np.where(seen, error, np.nan), np.where(seen, exposure, np.nan)
    z = (e - np.nansum(e) / np.nansum(x) * x) / np.sqrt(x)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    z = z[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    largest = max(np.floor(np.sqrt(np.isfinite(error).sum() / WANTED_BLOCKS)), 1) * cell
    smallest = min(SHORTEST * cell, largest)
    if min(z.shape) < 8 or seen.sum() < MIN_CELLS:
        return float(smallest), variogram.Variogram(0.0, 0.0, cell)
    points = variogram.empirical(z, cell, max_lag=max(min(MAX_LAG, cell * min(z.shape) / 2), 4 * cell))
    model = variogram.fit(points)
    return float(np.clip(variogram.block_length(model, multiple_of=cell), smallest, largest)), model
