"""Backscatter and coherence by class and season, with the spread between sites, and one scene's draw from them.

The numbers are those of SCIENCE 2 (anchors there: Langley 2008, Jezek 1993, Koenig 2002, Winsvold 2018, Mannerfelt
2025, Lippl 2018, Strozzi 2018, Rouyet 2021, OPERA RTC-S1); gamma0 co-polarised at 39 degrees in dB, true coherence of
12-day pairs. Where a row is split or filled in by judgement a comment says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icemapper_xr._types import FloatArray
from icemapper_xr.simulate import fields
from icemapper_xr.simulate.classes import SurfaceClass as S

__all__ = ["REFERENCE_INCIDENCE", "Site", "draw_site"]

REFERENCE_INCIDENCE = 39.0
"""Incidence angle of the table, degrees (SCIENCE 2)."""

# class: (winter, melt, late summer) as (mean, spread between sites)
GAMMA0: dict[S, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    S.FIRN: ((-4, 2.5), (-16, 3), (-13, 3)),
    S.SUPERIMPOSED_ICE: ((-9, 2), (-16, 3), (-12, 2.5)),
    S.ICE: ((-13, 2.5), (-17, 3), (-11, 3)),
    S.CREVASSED: ((-6, 3), (-10, 3), (-7, 3)),
    S.DEBRIS_COVERED: ((-10, 2.5), (-15, 3), (-9, 2.5)),
    S.ICE_CORED_MORAINE: ((-10, 2.5), (-15, 3), (-9, 2.5)),
    S.ROCK: ((-10, 2.5), (-15, 3), (-9, 2)),
    S.TUNDRA: ((-13, 2), (-18, 2.5), (-10, 2)),
    S.SNOW_PATCH: ((-11, 2.5), (-18, 3), (-15, 3)),
    S.SEA: ((-15, 0), (-15, 0), (-15, 0)),  # drawn per date
    S.MELANGE: ((-11, 3), (-12, 3), (-10, 4)),
    S.LAKE: ((-12, 5), (-16, 4), (-19, 5)),  # floating -8 or bedfast -17 in winter: one draw between them
}
COHERENCE: dict[S, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    S.FIRN: ((0.45, 0.20), (0.05, 0.03), (0.10, 0.06)),
    S.SUPERIMPOSED_ICE: ((0.45, 0.20), (0.05, 0.03), (0.15, 0.08)),
    S.ICE: ((0.45, 0.20), (0.05, 0.03), (0.10, 0.08)),
    S.CREVASSED: ((0.10, 0.08), (0.03, 0.02), (0.03, 0.02)),
    S.DEBRIS_COVERED: ((0.50, 0.20), (0.10, 0.05), (0.30, 0.20)),  # the row's .55/.10/.35, lower: it moves
    S.ICE_CORED_MORAINE: ((0.58, 0.18), (0.10, 0.05), (0.45, 0.20)),  # the same row, higher: it only melts
    S.ROCK: ((0.60, 0.15), (0.10, 0.05), (0.65, 0.15)),
    S.TUNDRA: ((0.55, 0.15), (0.10, 0.05), (0.50, 0.15)),
    S.SNOW_PATCH: ((0.40, 0.20), (0.05, 0.03), (0.10, 0.06)),
    S.SEA: ((0, 0), (0, 0), (0, 0)),
    S.MELANGE: ((0, 0), (0, 0), (0, 0)),
    S.LAKE: ((0.30, 0.15), (0, 0), (0, 0)),
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
}
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
    S.SEA: 0.5,
    S.MELANGE: 2.0,
    S.LAKE: 0.6,
}
SPREAD = 0.25
"""Factor on the spreads between sites; fixed by the random-forest test of SCIENCE 2 before any training."""
COMMON = 0.6
"""Share of a class's draw that its seasons have in common (judgement: rough ice is rough all year)."""


@dataclass(frozen=True)
class Site:
    """What one scene drew: arrays by class code, and by season (winter, melt, late summer)."""

    gamma0: FloatArray
    """dB at the reference incidence, `(season, class)`."""
    coherence: FloatArray
    """True coherence, `(season, class)`."""
    slope: FloatArray
    """sigma0 dB per degree, `(dry or wet, class)`."""
    texture: FloatArray
    """Standard deviation of the texture, dB, `(class,)`."""
    looks: float
    """Equivalent looks of backscatter."""
    speckle_correlation: float
    """Correlation of the speckle between neighbouring pixels."""
    window: float
    """Side of the coherence window, metres."""
    noise_floor: float
    """Noise-equivalent backscatter, dB."""
    onset: float
    """Day of the year on which melt starts at sea level."""
    freeze: float
    """Day of the year on which the surface refreezes at sea level."""
    fast_ice: bool
    """Whether the fjord freezes over in winter."""


def draw_site(seed: int, *, polarisation: str, looks: float | None) -> Site:
    """Draw one scene's class means and radar."""
    rng = fields.generator(seed, "site")
    classes = list(S)
    gamma0 = np.zeros((3, len(classes)), np.float32)
    coherence = np.zeros_like(gamma0)
    everywhere = rng.normal(0, 0.06)  # a windy or a calm site: coherence of all snow-covered ground together
    for c in classes:
        shared, shared_coherence = rng.normal(size=2)
        own = rng.normal(size=(2, 3))
        for season in range(3):
            z = COMMON**0.5 * shared + (1 - COMMON) ** 0.5 * own[0, season]
            mean, spread = GAMMA0[c][season]
            gamma0[season, c] = mean + SPREAD * spread * float(np.clip(z, -2, 2))
            z = COMMON**0.5 * shared_coherence + (1 - COMMON) ** 0.5 * own[1, season]
            mean, spread = COHERENCE[c][season]
            coherence[season, c] = mean + SPREAD * spread * float(np.clip(z, -2, 2)) + (season == 0) * everywhere
    coherence[:, S.SEA] = 0
    coherence[:, S.MELANGE] = 0
    if polarisation == "HH":
        gamma0[:, S.SEA] -= rng.uniform(3, 5)  # SCIENCE 2: HH 3-5 dB lower over open sea
        gamma0[2, S.LAKE] -= 2
    slope = np.array([[INCIDENCE_SLOPE[c][k] for c in classes] for k in range(2)], np.float32)
    if polarisation == "HH":
        slope[:, S.SEA] = -0.6
    texture = np.array([TEXTURE[c] for c in classes], np.float32) * rng.uniform(0.7, 1.3, len(classes))
    looks_drawn = float(np.exp(rng.uniform(np.log(3.0), np.log(30.0))))
    return Site(
        gamma0=gamma0,
        coherence=coherence.clip(0, 0.95),
        slope=slope,
        texture=texture.astype(np.float32),
        looks=looks_drawn if looks is None else looks,
        speckle_correlation=float(rng.uniform(0.5, 0.7)),  # FACTS 9: 0.6-0.7 in GRD, 0.55-0.65 in HyP3
        window=float(rng.uniform(40, 60)),  # SCIENCE 2
        noise_floor=float(rng.uniform(-28, -22)),  # SCIENCE 2
        onset=float(rng.uniform(146, 162)),
        freeze=float(rng.uniform(268, 284)),
        fast_ice=bool(rng.random() < 0.5),
    )
