"""Backscatter and coherence by class and season, with the spread between sites.

The numbers are those of SCIENCE 2 (anchors there: Langley 2008, Jezek 1993, Koenig 2002, Winsvold 2018, Mannerfelt
2025, Lippl 2018, Strozzi 2018, Rouyet 2021, OPERA RTC-S1); gamma0 co-polarised at 39 degrees in dB, true coherence of
12-day pairs. Where a row is split, filled in or added by judgement a comment says so. `docs/simulator.md` lists them.
"""

from __future__ import annotations

import numpy as np

from icemapper_xr._types import FloatArray
from icemapper_xr.simulate.classes import SurfaceClass as S

__all__ = ["COHERENCE", "GAMMA0", "INCIDENCE_SLOPE", "REFERENCE_INCIDENCE", "TEXTURE", "by_class"]

REFERENCE_INCIDENCE = 39.0
"""Incidence angle of the table, degrees (SCIENCE 2)."""

Triple = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]

GAMMA0: dict[S, Triple] = {
    # class: (winter, melt, late summer) as (mean, spread between sites)
    S.FIRN: ((-4, 2.5), (-16, 3), (-13, 3)),
    S.SUPERIMPOSED_ICE: ((-9, 2), (-16, 3), (-12, 2.5)),
    S.ICE: ((-13, 2.5), (-17, 3), (-11, 3)),
    S.CREVASSED: ((-6, 3), (-10, 3), (-7, 3)),
    S.DEBRIS_COVERED: ((-10, 2.5), (-15, 3), (-9, 2.5)),
    S.ICE_CORED_MORAINE: ((-10, 2.5), (-15, 3), (-9, 2.5)),
    S.ROCK: ((-10, 2.5), (-15, 3), (-9, 2)),
    S.TUNDRA: ((-13, 2), (-18, 2.5), (-10, 2)),
    S.SNOW_PATCH: ((-11, 2.5), (-18, 3), (-15, 3)),
    S.SEA: ((-15, 3), (-15, 3), (-15, 3)),  # SCIENCE 2: +-5, here from place to place and by WIND from date to date
    S.MELANGE: ((-11, 3), (-12, 3), (-10, 4)),
    S.LAKE: ((-8, 3), (-16, 4), (-19, 5)),  # winter: floating ice; where the lake is frozen to its bed see BEDFAST
    # land without glaciers, judgement: C band, VV; OPERA RTC-S1 land -16..0 dB, hills -8.7..-9.5 (FACTS 9)
    S.FOREST: ((-8.5, 1.5), (-11, 2), (-7.5, 1.2)),
    S.SHRUB: ((-10.5, 2), (-15, 2.5), (-9.5, 2)),
    S.FARMLAND: ((-12, 2), (-16, 2.5), (-10.5, 2)),
    S.DESERT: ((-13, 3.5), (-15, 3), (-13, 3.5)),
    S.CITY: ((-5, 2), (-8, 2), (-5, 2)),
}
BEDFAST = -9.0
"""Winter backscatter of a lake frozen to its bed, against one with floating ice: -17 and -8 dB (SCIENCE 2)."""

COHERENCE: dict[S, Triple] = {
    S.FIRN: ((0.45, 0.20), (0.05, 0.03), (0.10, 0.05)),
    S.SUPERIMPOSED_ICE: ((0.45, 0.20), (0.05, 0.03), (0.15, 0.05)),
    S.ICE: ((0.45, 0.20), (0.05, 0.03), (0.10, 0.05)),
    S.CREVASSED: ((0.10, 0.08), (0.03, 0.02), (0.03, 0.02)),
    S.DEBRIS_COVERED: ((0.50, 0.20), (0.10, 0.05), (0.28, 0.15)),  # the row's .55/.10/.35, lower: it moves
    S.ICE_CORED_MORAINE: ((0.58, 0.18), (0.10, 0.05), (0.48, 0.15)),  # the same row, higher: it only melts
    S.ROCK: ((0.60, 0.15), (0.10, 0.05), (0.65, 0.15)),
    S.TUNDRA: ((0.55, 0.15), (0.10, 0.05), (0.50, 0.15)),
    S.SNOW_PATCH: ((0.40, 0.20), (0.05, 0.03), (0.10, 0.05)),
    S.SEA: ((0, 0), (0, 0), (0, 0)),
    S.MELANGE: ((0, 0), (0, 0), (0, 0)),
    S.LAKE: ((0.30, 0.20), (0, 0), (0, 0)),
    # judgement; stable urban ground .62-.67 (FACTS 9)
    S.FOREST: ((0.30, 0.12), (0.12, 0.05), (0.20, 0.10)),
    S.SHRUB: ((0.50, 0.15), (0.12, 0.05), (0.45, 0.15)),
    S.FARMLAND: ((0.45, 0.15), (0.12, 0.05), (0.35, 0.15)),
    S.DESERT: ((0.75, 0.12), (0.20, 0.10), (0.75, 0.12)),
    S.CITY: ((0.66, 0.05), (0.45, 0.10), (0.66, 0.05)),
}

INCIDENCE_SLOPE: dict[S, tuple[float, float]] = {
    # sigma0 dB per degree, (dry, wet): firn, ice, rock, tundra, wet snow and water as in SCIENCE 2; rest judged
    S.FIRN: (-0.10, -0.27),
    S.SUPERIMPOSED_ICE: (-0.15, -0.27),
    S.ICE: (-0.17, -0.27),
    S.CREVASSED: (-0.10, -0.13),
    S.DEBRIS_COVERED: (-0.13, -0.20),
    S.ICE_CORED_MORAINE: (-0.13, -0.20),
    S.ROCK: (-0.13, -0.20),
    S.TUNDRA: (-0.13, -0.27),
    S.SNOW_PATCH: (-0.15, -0.27),
    S.SEA: (-0.40, -0.40),
    S.MELANGE: (-0.20, -0.20),
    S.LAKE: (-0.30, -0.40),
    S.FOREST: (-0.08, -0.10),
    S.SHRUB: (-0.12, -0.20),
    S.FARMLAND: (-0.13, -0.20),
    S.DESERT: (-0.20, -0.20),
    S.CITY: (-0.08, -0.08),
}

WIND = (0.6, 5.0)
"""Backscatter of the open sea from date to date: range of the spread, dB. An OPERA burst off California has 1.3 to 2.0
(15 or 21 dates), SCIENCE 2 gives +-5 over all places."""
GUSTS = (0.2, 1.8)
"""The same from place to place over a kilometre: that burst has 0.2 over 3 km; cat's paws and lee of the coast more
(judgement)."""

TEXTURE: dict[S, float] = {
    # standard deviation of the log-normal texture, dB (judgement: smooth ice, rough ground)
    S.FIRN: 0.5,
    S.SUPERIMPOSED_ICE: 0.6,
    S.ICE: 0.8,
    S.CREVASSED: 2.0,
    S.DEBRIS_COVERED: 1.4,
    S.ICE_CORED_MORAINE: 1.6,
    S.ROCK: 1.6,
    S.TUNDRA: 1.1,
    S.SNOW_PATCH: 0.8,
    S.SEA: 0.3,
    S.MELANGE: 2.0,
    S.LAKE: 0.6,
    S.FOREST: 0.9,
    S.SHRUB: 1.3,
    S.FARMLAND: 0.8,
    S.DESERT: 1.5,
    S.CITY: 3.0,
}

DRIFT: dict[S, float] = {
    # slow change within a class over about a kilometre, dB (judgement: rock types, vegetation, dunes)
    S.ROCK: 1.2,
    S.TUNDRA: 1.0,
    S.FOREST: 0.8,
    S.SHRUB: 1.5,
    S.FARMLAND: 0.7,
    S.DESERT: 3.0,
    S.CITY: 1.2,
    S.SEA: 0.0,
}
USUAL_DRIFT = 0.7
"""Of the classes that are not named, dB."""

SNOW: dict[S, float] = {
    # days by which the snow goes later than on level glacier ice (judgement: wind clears rock, hollows keep snow)
    S.ROCK: -14,
    S.CITY: -14,
    S.ICE_CORED_MORAINE: -10,
    S.DEBRIS_COVERED: -10,
    S.TUNDRA: -7,
    S.SHRUB: -7,
    S.FARMLAND: -7,
    S.DESERT: -14,
    S.SNOW_PATCH: 14,
    S.FIRN: 5,
}

GROWTH: dict[S, tuple[float, float]] = {
    # at the height of the growing season: dB more, and the factor that coherence loses (judgement)
    S.TUNDRA: (0.3, 0.10),
    S.FOREST: (0.5, 0.25),
    S.SHRUB: (0.6, 0.20),
    S.FARMLAND: (1.2, 0.50),
}

BARE = (S.TUNDRA, S.ROCK, S.DEBRIS_COVERED, S.ICE_CORED_MORAINE, S.SHRUB, S.FARMLAND, S.DESERT)
"""Ground that rain makes brighter when it is free of snow."""
WATER = (S.SEA, S.MELANGE, S.LAKE)


def by_class(values: dict[S, float], default: float = 0.0) -> FloatArray:
    """Return a table as an array that is indexed by class code."""
    return np.array([values.get(c, default) for c in S], np.float32)
