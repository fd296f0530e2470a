"""What one scene draws for itself: class means, coherence, radar, climate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from icemapper_xr._types import FloatArray
from icemapper_xr.simulate import fields, tables, worlds
from icemapper_xr.simulate.classes import SurfaceClass as S

__all__ = ["Climate", "Site", "draw_site"]

SPREAD = 0.45
"""Factor on the spreads between sites of SCIENCE 2."""
SITE = 0.35
"""Share of that variance that all classes of a scene have in common (judgement: snowpack, calibration, geometry)."""
SEASONS = 0.6
"""Share of a class's draw that its seasons have in common (judgement: rough ice is rough all year)."""
WIDEST = 2.0
"""Draws are kept within so many spreads: the table describes usual ground."""


@dataclass(frozen=True)
class Climate:
    """Days of the year at the reference level, and days per metre of height above it."""

    onset: float
    onset_lapse: float
    melt: float
    melt_lapse: float
    freeze: float
    freeze_lapse: float
    sea_ice: str
    """Winter of the sea: 'open', 'fast' or 'drift'."""
    wind: float
    """Change of the open sea's backscatter from date to date, dB."""
    gusts: float
    """The same from place to place, over about a kilometre, dB."""


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
    """Equivalent looks of terrain-corrected backscatter."""
    grd_looks: float
    """Equivalent looks of GRD."""
    speckle_correlation: float
    """Correlation of the speckle between neighbouring pixels."""
    coarse_correlation: float
    """The same between pixels of a coarser product."""
    window: float
    """Side of the coherence window, metres."""
    noise_floor: float
    """Noise-equivalent backscatter, dB."""
    strain: float
    """Share of its coherence that ice loses in the shear margins of fast glaciers."""
    climate: Climate


def draw_site(seed: int, *, polarisation: str, looks: float | None, world: worlds.World) -> Site:
    """Draw one scene's class means, radar and climate."""
    rng = fields.generator(seed, "site")
    gamma0 = _draw(rng, tables.GAMMA0)
    coherence = _draw(rng, tables.COHERENCE).clip(0, 0.93)
    coherence[:, [S.SEA, S.MELANGE]] = 0
    slope = np.array([[tables.INCIDENCE_SLOPE[c][k] for c in S] for k in range(2)], np.float32)
    if polarisation == "HH":
        gamma0[:, S.SEA] -= rng.uniform(3, 5)  # SCIENCE 2: HH 3-5 dB lower over open sea
        gamma0[2, S.LAKE] -= 2
        slope[:, S.SEA] = -0.6
    texture = tables.by_class(tables.TEXTURE) * rng.uniform(0.7, 1.3, len(S))
    looks_drawn = float(np.exp(rng.uniform(np.log(3.0), np.log(30.0))))
    return Site(
        gamma0=gamma0,
        coherence=coherence,
        slope=slope,
        texture=texture.astype(np.float32),
        looks=looks_drawn if looks is None else looks,
        grd_looks=float(rng.uniform(3.0, 4.6)) if looks is None else looks,  # FACTS 9: 3-4.4, nominal 4.4
        speckle_correlation=float(rng.uniform(0.5, 0.7)),  # FACTS 9: 0.6-0.7 in GRD, 0.55-0.65 in HyP3
        coarse_correlation=float(rng.uniform(0.1, 0.65)),  # FACTS 9: 0.1-0.27 in OPERA, 0.55-0.65 in HyP3
        window=float(rng.uniform(40, 60)),  # SCIENCE 2
        noise_floor=float(rng.uniform(-28, -22)),  # SCIENCE 2
        strain=float(rng.uniform(0, 0.7)),
        climate=_draw_climate(fields.generator(seed, "climate"), world),
    )


def _draw(rng: np.random.Generator, table: dict[S, tables.Triple]) -> FloatArray:
    """Draw `(season, class)` means: what the whole scene has in common, what a class keeps all year, and the rest."""
    common = rng.normal(size=3) * (1 - SEASONS) ** 0.5 + rng.normal() * SEASONS**0.5
    out = np.zeros((3, len(S)), np.float32)
    for c in S:
        own = rng.normal(size=3) * (1 - SEASONS) ** 0.5 + rng.normal() * SEASONS**0.5
        z = np.clip(SITE**0.5 * common + (1 - SITE) ** 0.5 * own, -WIDEST, WIDEST)
        means, spreads = np.array(table[c]).T
        out[:, c] = means + SPREAD * spreads * z
    return out


def _draw_climate(rng: np.random.Generator, world: worlds.World) -> Climate:
    snow = rng.random() < world.snow
    drawn = Climate(
        onset=float(rng.uniform(*world.onset)),
        onset_lapse=float(rng.uniform(*world.onset_lapse)),
        melt=float(rng.uniform(*world.melt)),
        melt_lapse=float(rng.uniform(*world.melt_lapse)),
        freeze=float(rng.uniform(*world.freeze)),
        freeze_lapse=float(rng.uniform(*world.freeze_lapse)),
        sea_ice=str(rng.choice(["open", "fast", "drift"], p=world.sea_ice)),
        wind=float(rng.uniform(*tables.WIND)),
        gusts=float(rng.uniform(*tables.GUSTS)),
    )
    if snow:
        return drawn
    # bare ground all year
    return replace(drawn, onset=-500.0, onset_lapse=0.0, melt=0.0, melt_lapse=0.0, freeze=900.0, freeze_lapse=0.0)
