"""The kinds of world a scene may lie in: relief, land cover and climate, with and without glaciers.

A network that has only ever seen glaciated fjords learns that rough, bright, stable ground is ice. So a part of the
training draw has no glacier at all: mountains with a snow season, dry hills, deserts, forests, farmland, cities.
Numbers are judgements unless a source is named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from icemapper_xr.simulate.classes import SurfaceClass as S

__all__ = ["GLACIATED", "WORLDS", "World"]

Range = tuple[float, float]


@dataclass(frozen=True)
class World:
    """Ranges from which a scene of this kind is drawn."""

    glaciated: bool
    relief: Range
    """Height of the mountains above the valleys, metres."""
    steepest: Range
    """Angle at which walls crumble, degrees."""
    sea: float
    """Probability of a coast."""
    onset: Range
    """Day of the year on which melt starts at the reference level (the equilibrium line; without glaciers the
    median height); far before the year's beginning where it never snows."""
    onset_lapse: Range
    """Days later per metre of height."""
    melt: Range
    """Days from the onset of melt to bare ground at the reference level."""
    melt_lapse: Range
    """Days longer per metre of height."""
    freeze: Range
    """Day of the year on which winter returns at the reference level."""
    freeze_lapse: Range
    """Days earlier per metre of height."""
    sea_ice: tuple[float, float, float]
    """Probabilities of a winter with open water, fast ice and drift ice."""
    snow: float = 1.0
    """Probability of a snow season at all."""
    shore: Range = (-20, 90)
    """Height of the middle of a world that has a coast above the sea, metres; less where the relief is gentle."""
    cover: dict[S, float] = field(default_factory=dict)
    """Land cover by weight, for what does not follow from height; empty is tundra and rock by height."""


_DRY = (-500.0, -400.0)

WORLDS: Final[dict[str, World]] = {
    # melt from early June at sea level, ELA 200-600 m; bare at the ELA by the end of August (Svalbard, judgement)
    "polar": World(
        glaciated=True,
        relief=(350, 850),
        steepest=(30, 38),
        sea=0.6,
        onset=(157, 173),
        onset_lapse=(0.015, 0.03),
        melt=(22, 40),
        melt_lapse=(0.01, 0.03),
        freeze=(258, 276),
        freeze_lapse=(0.01, 0.02),
        sea_ice=(0.4, 0.4, 0.2),
    ),
    # Scandinavia, Alaska, the Alps: a longer summer, shrubs and forest below the ice, steeper
    "alpine": World(
        glaciated=True,
        relief=(600, 1_200),
        steepest=(33, 42),
        sea=0.25,
        onset=(125, 160),
        onset_lapse=(0.02, 0.04),
        melt=(30, 55),
        melt_lapse=(0.01, 0.03),
        freeze=(272, 305),
        freeze_lapse=(0.01, 0.03),
        sea_ice=(1.0, 0.0, 0.0),
        cover={S.FOREST: 1.0, S.SHRUB: 1.0, S.TUNDRA: 1.0},
    ),
    "mountains": World(
        glaciated=False,
        relief=(400, 1_400),
        steepest=(32, 42),
        sea=0.2,
        onset=(40, 150),
        onset_lapse=(0.02, 0.06),
        melt=(10, 45),
        melt_lapse=(0.01, 0.03),
        freeze=(290, 350),
        freeze_lapse=(0.01, 0.05),
        sea_ice=(1.0, 0.0, 0.0),
        snow=0.7,
        cover={S.FOREST: 1.0, S.SHRUB: 1.0, S.ROCK: 1.0, S.TUNDRA: 0.5},
    ),
    "hills": World(
        glaciated=False,
        relief=(120, 500),
        steepest=(22, 34),
        sea=0.3,
        onset=(20, 90),
        onset_lapse=(0.02, 0.06),
        melt=(5, 20),
        melt_lapse=(0.01, 0.03),
        freeze=(320, 360),
        freeze_lapse=(0.01, 0.05),
        sea_ice=(1.0, 0.0, 0.0),
        snow=0.3,
        cover={S.SHRUB: 2.0, S.ROCK: 1.0, S.FOREST: 0.4, S.FARMLAND: 0.4, S.CITY: 0.2},
    ),
    "desert": World(
        glaciated=False,
        relief=(40, 800),
        steepest=(20, 38),
        sea=0.1,
        onset=_DRY,
        onset_lapse=(0, 0),
        melt=(0, 0),
        melt_lapse=(0, 0),
        freeze=(900, 901),
        freeze_lapse=(0, 0),
        sea_ice=(1.0, 0.0, 0.0),
        snow=0.0,
        cover={S.DESERT: 2.0, S.ROCK: 1.0, S.SHRUB: 0.4},
    ),
    "forest": World(
        glaciated=False,
        relief=(30, 350),
        steepest=(20, 32),
        sea=0.2,
        onset=(70, 130),
        onset_lapse=(0.02, 0.04),
        melt=(15, 30),
        melt_lapse=(0.01, 0.03),
        freeze=(300, 345),
        freeze_lapse=(0.01, 0.03),
        sea_ice=(0.8, 0.1, 0.1),
        snow=0.7,
        cover={S.FOREST: 3.0, S.SHRUB: 0.6, S.FARMLAND: 0.4, S.TUNDRA: 0.4},
    ),
    "lowland": World(
        glaciated=False,
        relief=(5, 120),
        steepest=(10, 20),
        sea=0.3,
        onset=(20, 90),
        onset_lapse=(0.02, 0.04),
        melt=(5, 15),
        melt_lapse=(0.01, 0.03),
        freeze=(330, 360),
        freeze_lapse=(0.01, 0.03),
        sea_ice=(1.0, 0.0, 0.0),
        snow=0.5,
        cover={S.FARMLAND: 2.0, S.CITY: 1.0, S.FOREST: 0.7, S.SHRUB: 0.3},
    ),
    "tundra": World(
        glaciated=False,
        relief=(20, 450),
        steepest=(20, 34),
        sea=0.4,
        onset=(130, 165),
        onset_lapse=(0.015, 0.03),
        melt=(12, 30),
        melt_lapse=(0.01, 0.03),
        freeze=(260, 290),
        freeze_lapse=(0.01, 0.02),
        sea_ice=(0.2, 0.5, 0.3),
    ),
    # a map's windows reach far off the coast: sea from edge to edge, or with skerries and low shores
    "coast": World(
        glaciated=False,
        relief=(30, 450),
        steepest=(20, 34),
        sea=1.0,
        onset=(60, 165),
        onset_lapse=(0.015, 0.04),
        melt=(10, 30),
        melt_lapse=(0.01, 0.03),
        freeze=(260, 340),
        freeze_lapse=(0.01, 0.03),
        sea_ice=(0.6, 0.2, 0.2),
        snow=0.6,
        shore=(-400, -60),
        cover={S.TUNDRA: 1.0, S.ROCK: 1.0, S.SHRUB: 0.5},
    ),
}
"""Kinds of world by name."""

GLACIATED: Final = tuple(name for name, world in WORLDS.items() if world.glaciated)
"""Worlds that have glaciers."""
