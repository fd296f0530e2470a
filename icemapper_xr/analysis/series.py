"""Annual areas as one series: refused or joined where orbit, polarisation or sensor change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr.errors import AnalysisError, OptionError

__all__ = ["Acquisition", "Merged", "Offset", "merge", "one_series"]

Array = npt.NDArray[np.float64]


class Acquisition(NamedTuple):
    """What has to stay the same for two annual areas to be compared."""

    relative_orbit: int | None
    polarisation: str | None
    sensor: str | None
    made: str = ""
    """What else is not as in a map that it is joined with, such as the weights; empty: nothing."""

    def __str__(self) -> str:
        made = f" ({self.made})" if self.made else ""
        return f"orbit {self.relative_orbit}, {self.polarisation}, {self.sensor}{made}"


class Offset(NamedTuple):
    """What was taken off the areas of one acquisition to bring them to the level of another."""

    share: Array
    """(n,) how much of the offset's error is in each year of the series, 0..1."""
    sigma: float
    """Standard error of the offset, km2, from its scatter over the years in common; 0 with one such year."""
    n_common: int
    """Years in common."""
    in_draws: float = 0.0
    """Standard deviation of the offset over the series' draws, which take it off draw by draw, km2."""

    @property
    def beyond_draws(self) -> float:
        """What of `sigma` the draws do not hold, km2."""
        return float(np.sqrt(max(0.0, self.sigma**2 - self.in_draws**2)))


@dataclass(frozen=True, eq=False)
class Merged:
    """One area a year, in the order of the years."""

    years: Array
    """(n,)."""
    areas: Array
    """(n,) km2, at the level of the acquisition that has most years."""
    sigma: Array | None
    """(n,) standard errors, km2."""
    draws: Array | None
    """(n, k) km2."""
    spread: Array | None = None
    """(n,) standard deviation of the draws before offsets were taken off them, which years share, km2."""
    offsets: tuple[Offset, ...] = ()
    """Of the other acquisitions."""
    notes: tuple[str, ...] = ()
    """One line an offset."""


def one_series(
    years: npt.ArrayLike,
    areas: npt.ArrayLike,
    acquisitions: Sequence[Acquisition] | None = None,
    *,
    sigma: npt.ArrayLike | None = None,
    draws: npt.ArrayLike | None = None,
) -> Merged:
    """Sort annual areas, check their shapes, and join acquisitions (`merge`) if they are given.

    Parameters
    ----------
    years, areas
        (n,) years and km2.
    acquisitions
        (n,) orbit, polarisation and sensor; None: the same throughout.
    sigma, draws
        (n,) standard errors and (n, k) draws, km2.

    Raises
    ------
    AnalysisError
        A year occurs twice and no acquisitions tell why, or they cannot be joined (`merge`).
    OptionError
        Not one area, standard error, row of draws or acquisition a year.
    """
    t, a = np.asarray(years, dtype=np.float64), np.asarray(areas, dtype=np.float64)
    s = None if sigma is None else np.asarray(sigma, dtype=np.float64)
    d = None if draws is None else np.asarray(draws, dtype=np.float64)
    if t.ndim != 1 or a.shape != t.shape:
        raise OptionError(f"there are {t.shape} years and {a.shape} areas; pass one area a year")
    if s is not None and s.shape != t.shape:
        raise OptionError(f"sigma has the shape {s.shape}; one standard error a year is wanted, {t.shape}")
    if d is not None and (d.ndim != 2 or d.shape[0] != t.size or d.shape[1] < 2):
        raise OptionError(f"draws has the shape {d.shape}; ({t.size}, k) with k of 2 or more is wanted")
    if acquisitions is not None:
        return merge(t, a, acquisitions, sigma=s, draws=d)
    if np.unique(t).size < t.size:
        twice = sorted({float(y) for y in t if np.sum(t == y) > 1})
        raise AnalysisError(f"the year {twice[0]:g} occurs twice; keep one area a year, or pass acquisitions=")
    rows = np.argsort(t)
    apart = None if d is None else d[rows]
    return Merged(t[rows], a[rows], None if s is None else s[rows], apart, _spread(apart))


def merge(
    years: npt.ArrayLike,
    areas: npt.ArrayLike,
    acquisitions: Sequence[Acquisition],
    *,
    sigma: Array | None = None,
    draws: Array | None = None,
) -> Merged:
    """Join areas mapped from several orbits, polarisations or sensors by the years they have in common.

    The acquisition with most years stays as it is. Another one is lowered by its mean difference over the years in
    common, which then count once; two or more such years give the standard error of that offset by their scatter.

    Parameters
    ----------
    years, areas
        (n,) years and km2; a year occurs once for each acquisition.
    acquisitions
        (n,) orbit, polarisation and sensor.
    sigma, draws
        (n,) standard errors and (n, k) draws of the areas, km2. From the draws the offset is taken off anew in each: a
        bias of one orbit, which the years in common tell, is then in no draw.

    Raises
    ------
    AnalysisError
        An acquisition has no year in common with the others, or a year occurs twice for one.
    OptionError
        Not one acquisition a year.
    """
    t, a = np.asarray(years, dtype=np.float64), np.asarray(areas, dtype=np.float64)
    groups = _groups(t, acquisitions)
    order = sorted(groups, key=lambda kind: (-len(groups[kind]), min(groups[kind])))
    rows = dict(groups[order[0]])  # year -> row of the input
    level = dict.fromkeys(rows, 0.0)  # year -> what is taken off it
    drawn = np.zeros((t.size, 1)) if draws is None else draws
    drawn_level = dict.fromkeys(rows, np.zeros(drawn.shape[1]))  # the same in each draw: what both orbits err by goes
    share = {year: np.zeros(len(order)) for year in rows}  # year -> how it depends on each offset
    found: dict[int, tuple[float, int, float]] = {}
    notes: list[str] = []
    while len(found) < len(order) - 1:
        left = [g for g in range(1, len(order)) if g not in found]
        g = max(left, key=lambda k: len(groups[order[k]].keys() & rows.keys()))
        here = groups[order[g]]
        common = sorted(here.keys() & rows.keys())
        if not common:
            raise AnalysisError(
                f"the areas change from {order[0]} to {order[g]} without a year mapped with both, so a rate would mix "
                "that change with the ice's; map a year with both, or fit each alone"
            )
        differences = np.array([a[here[y]] - (a[rows[y]] - level[y]) for y in common])
        error = float(np.std(differences, ddof=1) / np.sqrt(len(common))) if len(common) > 1 else 0.0
        in_draws = np.mean([drawn[here[y]] - (drawn[rows[y]] - drawn_level[y]) for y in common], axis=0)
        alone = np.mean([drawn[here[y]] - drawn[rows[y]] for y in common], axis=0)
        found[g] = (error, len(common), float(alone.std()))
        through = np.mean([share[y] for y in common], axis=0)
        through[g] = 1.0
        for year in here.keys() - rows.keys():
            rows[year], level[year], share[year] = here[year], float(differences.mean()), through
            drawn_level[year] = in_draws
        notes.append(_note(order[g], order[0], float(differences.mean()), error, len(common)))
    kept = sorted(rows)
    index = np.array([rows[y] for y in kept])
    off = np.array([level[y] for y in kept])
    offsets = tuple(Offset(np.array([share[y][g] for y in kept]), *found[g]) for g in sorted(found))
    return Merged(
        np.array(kept),
        a[index] - off,
        None if sigma is None else sigma[index],
        None if draws is None else draws[index] - np.stack([drawn_level[y] for y in kept]),
        None if draws is None else _spread(draws[index]),
        offsets,
        tuple(notes),
    )


def _spread(draws: Array | None) -> Array | None:
    return None if draws is None else np.asarray(draws.std(axis=1, ddof=1))


def _groups(t: Array, acquisitions: Sequence[Any]) -> dict[Acquisition, dict[float, int]]:
    """Row of the input by acquisition and year."""
    if len(acquisitions) != t.size:
        raise OptionError(f"there are {t.size} years and {len(acquisitions)} acquisitions; pass one a year")
    groups: dict[Acquisition, dict[float, int]] = {}
    for i, fields in enumerate(acquisitions):
        kind = Acquisition(*fields)
        rows = groups.setdefault(kind, {})
        if float(t[i]) in rows:
            raise AnalysisError(f"the year {t[i]:g} occurs twice for {kind}; keep one area")
        rows[float(t[i])] = i
    return groups


def _note(kind: Acquisition, reference: Acquisition, shift: float, error: float, n: int) -> str:
    known = f"+- {error:.4g} km2" if n > 1 else "its error is unknown and in no interval"
    return f"{kind}: {shift:+.4g} km2 against {reference} in {n} common year(s), {known}"
