"""What the tests of the models share: the original's answers, small networks, and a cache folder of the session."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DATA = Path(__file__).parent / "data" / "parity_small"
FEATURES = {"maxpool_grd": ("grd",), "tweightedpool_grdinsar": ("grd", "insar")}
VARIANTS = tuple(FEATURES)


class Answer(NamedTuple):
    """A weights file of the original program, an input, and what the original answered."""

    path: Path
    features: tuple[str, ...]
    x: np.ndarray
    """(2, 15, 48, 48, C) float32."""
    y: np.ndarray
    """(2, 48, 48, 2) float32."""


def answer(variant: str) -> Answer:
    with np.load(DATA / f"io_{variant}_f4.npz") as io:
        x, y = io["x"].astype(np.float32), io["y"]
    return Answer(DATA / f"ICEmapper_{variant}_f4.h5", FEATURES[variant], x, y)


def network(pooling: str = "tweightedpool", channels: int = 2, filters: int = 4, levels: int = 3, seed: int = 1) -> Any:
    """A small network with random weights, moving statistics too."""
    from icemapper_xr.models import icemapper

    model = icemapper.build(channels=channels, pooling=pooling, filters=filters, levels=levels)
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        spread = (
            rng.uniform(0.5, 1.5, variable.shape) if "variance" in variable.path else rng.normal(0, 0.3, variable.shape)
        )
        variable.assign(spread.astype(np.float32))
    return model


def assert_parity(found: np.ndarray, wanted: np.ndarray) -> None:
    difference = np.abs(found - wanted)
    assert difference.max() <= 1e-5, f"maximum difference {difference.max():.2e}"
    assert difference.mean() <= 1e-6, f"mean difference {difference.mean():.2e}"
