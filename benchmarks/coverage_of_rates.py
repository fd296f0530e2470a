"""Which interval of a rate covers the truth, and how wide it is: nine years, 200 blocks, errors of several kinds.

A world is a set of blocks with margin in them, a true area that shrinks by 0.5 % a year, and a map of it whose errors
are a shift of the margin (by year, as the arm says), a persistent error of each block and one of each block and year.
The reference covers 40 % of the blocks in 2016, 2020 and 2024. Everything after the errors is the code of `icemapper
rates`. Prints a table of docs/statistics.md:

    python -m benchmarks.coverage_of_rates --worlds 500
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from icemapper_xr.analysis import bootstrap, pieces, rates, reference
from icemapper_xr.analysis.series import Acquisition

YEARS = np.arange(2016, 2025)
BLOCKS = 200
ALL = np.ones(BLOCKS, bool)
KINDS = ("student", "theil_sen_interval", "independent", "paired", "published independent", "published paired")
ORBITS = (Acquisition(14, "HH", "S1A"), Acquisition(174, "HH", "S1A"))
SHIFT, SCATTER = 1e-3, 0.02
"""Metres of margin to km; error of a block and year, km2 per root of a km of margin."""


class Arm(NamedTuple):
    """One kind of error."""

    name: str
    shift: Callable[[np.random.Generator], Any]
    """Shift of the margin in each year, metres outward."""
    reference_years: tuple[int, ...] = (2016, 2020, 2024)
    family: str = "normal"
    overlap: int = 0
    """Years mapped with both orbits before the change in 2020; 0: the change, if any, is not marked."""


def steps(rng: np.random.Generator) -> Any:
    return np.where(YEARS < 2020, 0.0, 15.0)


ARMS = (
    Arm("no bias", lambda rng: np.zeros(9)),
    Arm("constant bias 10 m", lambda rng: np.full(9, 10.0)),
    Arm("drift 1 m/a", lambda rng: 1.0 * (YEARS - 2016)),
    Arm("drift 1 m/a, reference in 2020 alone", lambda rng: 1.0 * (YEARS - 2016), (2020,)),
    Arm("shift of each year, 2 m", lambda rng: rng.normal(0, 2.0, 9)),
    Arm("orbit change of 15 m, not marked", steps),
    Arm("orbit change of 15 m, 2 years of both", steps, (2016, 2020, 2024), "normal", 2),
    Arm("no bias, heavy tails", lambda rng: np.zeros(9), (2016, 2020, 2024), "heavy tails"),
    Arm("no bias, non-stationary", lambda rng: np.zeros(9), (2016, 2020, 2024), "non-stationary"),
)


def noise(rng: np.random.Generator, family: str, shape: tuple[int, ...]) -> Any:
    """Errors of variance near 1."""
    if family == "heavy tails":
        return rng.standard_t(3, shape) / np.sqrt(3)
    spread = np.linspace(0.3, 2, BLOCKS) if family == "non-stationary" else 1.0
    return spread * rng.normal(size=shape)


def table(years: Any, errors: Any, margin: Any, known: Any, reference_years: tuple[int, ...]) -> pieces.Pieces:
    """Tables as `pieces.measure` gives them."""
    rows = np.searchsorted(years, reference_years)
    area = np.full(errors.shape, 10.24)
    position = np.c_[np.zeros(BLOCKS, np.int64), np.arange(BLOCKS)]
    number, none = np.arange(BLOCKS), np.zeros(BLOCKS, np.int64)
    nowhere: Any = None
    layout = pieces.Layout(nowhere, number + 1, none, number, position, 3200.0, None)
    values = {
        pieces.MARGIN: np.tile(margin, (len(years), 1)),
        "observed_area": area,
        pieces.ERROR: (errors * known)[rows],
        pieces.REFERENCE_MARGIN: np.tile(margin * known, (rows.size, 1)),
        pieces.REFERENCE_AREA: area[rows] * known,
    }
    return pieces.Pieces(layout, values)


def drawn_errors(years: Any, errors: Any, margin: Any, known: Any, reference_years: tuple[int, ...], seed: int) -> Any:
    """(years, draws) of the error of all blocks together, as `icemapper rates` draws them."""
    there = tuple(year for year in reference_years if year in years)
    found = table(years, errors, margin, known, there)
    model = reference.fit(found, there)
    return sum(reference.error_draws(model, found, years.tolist(), ALL, n_draws=400, seed=seed).values())


def one_world(arm: Arm, seed: int) -> list[tuple[float, float]]:
    """Whether each kind of interval covers the true rate, and its width, % of the area a year; NaN: there is none."""
    rng = np.random.default_rng([seed, *map(ord, arm.name)])
    margin = rng.gamma(2, 1.5, BLOCKS)
    ice = rng.uniform(0, 1, BLOCKS) * 10.24
    truth = ice * (1 - 0.005 * (YEARS - 2016))[:, None]
    own = SCATTER * np.sqrt(margin) * (noise(rng, arm.family, (BLOCKS,)) + noise(rng, arm.family, (9, BLOCKS)))
    errors = own + SHIFT * margin * arm.shift(rng)[:, None]
    known = rng.random(BLOCKS) < 0.4
    maps = [(YEARS, errors)]
    kinds = None
    if arm.overlap:  # the first orbit until 2019; the second from two years before, with its shift in all of them
        late = own + SHIFT * 15.0 * margin
        late[YEARS < 2020] += SCATTER * np.sqrt(margin) * rng.normal(size=((YEARS < 2020).sum(), BLOCKS))
        first, second = YEARS < 2020, 2020 - arm.overlap <= YEARS
        maps = [(YEARS[first], errors[first]), (YEARS[second], late[second])]
        kinds = [orbit for orbit, (years, _) in zip(ORBITS, maps, strict=True) for _ in years]
    parts = [drawn_errors(t, e, margin, known, arm.reference_years, seed) for t, e in maps]
    tiles = [truth[np.searchsorted(YEARS, t)] + e for t, e in maps]
    published = np.concatenate([bootstrap.published_draws(tile, n_draws=200) for tile in tiles])
    years, drawn = np.concatenate([t for t, _ in maps]), np.concatenate(parts)
    mapped = np.concatenate([tile.sum(axis=1) for tile in tiles])
    plain = rates.trend(years, mapped, draws=published, acquisitions=kinds)
    adjusted = rates.trend(years, mapped - drawn.mean(axis=1), draws=mapped[:, None] - drawn, acquisitions=kinds)
    intervals = (plain.student, plain.theil_sen_interval, adjusted.independent, adjusted.paired)
    rate = float(np.polyfit(YEARS, truth.sum(axis=1), 1)[0])
    scale = 100 / truth.sum(axis=1).mean()
    ends = [*intervals, plain.independent, plain.paired]
    return [
        (np.nan, np.nan) if end is None else (float(end.lower <= rate <= end.upper), (end.upper - end.lower) * scale)
        for end in ends
    ]


def lines(worlds: int) -> Iterator[str]:
    """The table, row by row."""
    yield "| errors | " + " | ".join(kind.removesuffix("_interval").replace("_", "-") for kind in KINDS) + " |"
    yield "|---" * (len(KINDS) + 1) + "|"
    for arm in ARMS:
        rows = np.array([one_world(arm, seed) for seed in range(worlds)])
        cells = ["-" if np.isnan(hit) else f"{100 * hit:.0f} %, {width:.3f}" for hit, width in rows.mean(axis=0)]
        yield f"| {arm.name} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table; coverage of nominal 95 %, mean width in % of the area a year."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=500)
    for line in lines(parser.parse_args().worlds):
        print(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
