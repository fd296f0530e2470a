"""Scenes for training: small, quick, and as different from one another as the settings allow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import Feature
from icemapper_xr.simulate import fields, worlds
from icemapper_xr.simulate.scenes import scene
from icemapper_xr.simulate.settings import SceneSettings

__all__ = ["training_scene", "training_settings"]

ICE_FREE = 0.25
"""Share of the scenes that lie in a world without glaciers."""
COAST = 0.2
"""Share of those that lie off or along a coast."""
POLAR = 0.75
"""Share of the scenes with glaciers that are like Svalbard; the rest is alpine."""
COARSE = 0.15
"""Share whose backscatter comes from a product of 30 m."""
BORDER = 0.03
"""Chance that an acquisition's edge crosses the scene."""


def training_settings(seed: int, *, size: int, features: Sequence[Feature]) -> SceneSettings:
    """Draw the settings of one training scene: place, orbit, platform, polarisation, start of the series, retreat."""
    rng = fields.generator(seed, "training settings")
    ice_free = rng.random() < ICE_FREE
    inland = [name for name in worlds.WORLDS if name not in (*worlds.GLACIATED, "coast")]
    world = str(rng.choice(inland)) if ice_free else ("polar" if rng.random() < POLAR else "alpine")
    if ice_free and fields.generator(seed, "coast").random() < COAST:
        world = "coast"
    start = int(rng.integers(-12, 13))  # start jitter of 12 days (SCIENCE 1.1)
    return SceneSettings(
        seed=seed,
        world=world,
        shape=(size, size),
        years=(2022, 2023),
        relative_orbit=int(rng.integers(1, 176)),
        orbit_state=str(rng.choice(["ascending", "descending"])),
        polarisation=str(rng.choice(["HH", "VV"])),
        platform=str(rng.choice(["S1A", "S1B", "S1C"])),
        start_month_day=(1, 1 + start) if start >= 0 else (12, 32 + start),
        retreat=float(rng.uniform(-40, 80)),
        glacier_share=float(rng.uniform(0.08, 0.70)),
        border=BORDER,
        posting=3 if rng.random() < COARSE else 1,
        features=tuple(features),
    )


def training_scene(
    seed: int, *, size: int = 256, features: Sequence[Feature] = ("rtc", "insar")
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Make one training scene.

    Parameters
    ----------
    seed
        Seed; training uses seeds that the tests and the demo do not.
    size
        Rows and columns, pixels of 10 m.
    features
        Channels, in order.

    Returns
    -------
    cube
        `(15, size, size, len(features))` float32: dB or coherence, NaN where not observed; no gaps applied.
    truth
        `(size, size)` bool, True on glaciers.
    """
    made = scene(training_settings(seed, size=size, features=features))
    year = made.settings.years[-1]
    return made.arrays(year), made.truth(year)
