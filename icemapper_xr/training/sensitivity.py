"""How a network's answer changes when its input is not what it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from icemapper_xr import progress
from icemapper_xr._types import FloatArray, Segmenter
from icemapper_xr.conventions import FEATURE_RANGES, FEATURES, Feature
from icemapper_xr.training import cases, metrics, scoring

__all__ = ["CHANGES", "coarser", "gaps", "sensitivity", "shuffled", "without_melt"]

MELT_STEPS: Final = (6, 7, 8, 9)
"""Steps of 24 days from 1 January that lie in the melt season: 25 May to 28 August."""
SHIFTS: Final = (-12, 12)
"""Shifts of the series' start, days."""

Changer = Callable[[FloatArray, tuple[Feature, ...], int], FloatArray]
"""Changes a cube `(T, y, x, C)` of these features, of the scene with this seed."""


def shuffled(cube: FloatArray, features: tuple[Feature, ...], seed: int) -> FloatArray:
    """Put the time steps in a random order, the same for all features."""
    order = np.random.default_rng(1).permutation(cube.shape[0])
    return np.ascontiguousarray(cube[order])


def without_melt(cube: FloatArray, features: tuple[Feature, ...], seed: int) -> FloatArray:
    """Take out all steps of the melt season."""
    cube[list(MELT_STEPS)] = np.nan
    return cube


def gaps(number: int, *, draw: int = 0) -> Changer:
    """Take out so many random steps, other ones in each scene and feature.

    The steps of `number` gaps are among those of one gap more: what another gap costs is not which steps were drawn.

    Parameters
    ----------
    number
        Steps to take out of each feature.
    draw
        Number of the draw: another one takes out other steps.
    """

    def change(cube: FloatArray, features: tuple[Feature, ...], seed: int) -> FloatArray:
        for channel, feature in enumerate(features):
            order = np.random.default_rng([seed, draw, FEATURES.index(feature)]).permutation(cube.shape[0])
            cube[order[:number], ..., channel] = np.nan
        return cube

    return change


def coarser(cube: FloatArray, features: tuple[Feature, ...], seed: int, factor: int = 3) -> FloatArray:
    """Average squares of `factor` pixels (backscatter in power), as a product of 30 m brought back to 10 m."""
    steps, rows, columns = cube.shape[:3]
    more = ((0, 0), (0, -rows % factor), (0, -columns % factor), (0, 0))
    padded = np.pad(cube, more, mode="edge")
    small = padded.shape[1] // factor, padded.shape[2] // factor
    out = np.empty_like(padded)
    for channel, feature in enumerate(features):
        decibel = FEATURE_RANGES[feature].units == "dB"
        for step in range(steps):
            plane = padded[step, ..., channel]
            power = 10 ** (plane / 10) if decibel else plane
            mean = power.reshape(small[0], factor, small[1], factor).mean((1, 3))
            value = 10 * np.log10(mean) if decibel else mean
            out[step, ..., channel] = value.repeat(factor, 0).repeat(factor, 1)
    return out[:, :rows, :columns]


CHANGES: Final[dict[str, Changer]] = {
    "steps shuffled": shuffled,
    "melt season removed": without_melt,
    **{f"{number} {'gap' if number == 1 else 'gaps'}": gaps(number) for number in (1, 2, 3, 4)},
    "30 m input": coarser,
}


def sensitivity(segmenter: Segmenter, *, seeds: Sequence[int], size: int = 512, **options: Any) -> dict[str, Any]:
    """Score a network on changed scenes.

    Parameters
    ----------
    segmenter, seeds, size
        As in `cases.simulated`.
    **options
        `make` and `cache` of `cases.simulated`.

    Returns
    -------
    dict
        For each change, by name, the scores over all pixels; 'unchanged' first.
    """

    def score(**changed: Any) -> dict[str, float | None]:
        made = cases.simulated(segmenter, seeds=seeds, size=size, **options, **changed)
        return scoring.numbers(metrics.total(metrics.count(case.mapped, case.truth, case.known) for case in made))

    table: dict[str, Any] = {"unchanged": score()}
    for name, change in CHANGES.items():
        progress.note(f"sensitivity: {name}")
        table[name] = score(change=lambda cube, seed, change=change: change(cube, segmenter.features, seed))
    for days in SHIFTS:
        progress.note(f"sensitivity: start {days:+d} days")
        table[f"start shifted by {days:+d} days"] = score(shift_days=days)
    return table
