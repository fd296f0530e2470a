"""What the training data look like, for `applicability`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from icemapper_xr import applicability, normalise, progress
from icemapper_xr.conventions import Feature
from icemapper_xr.training import augment
from icemapper_xr.training.config import Augmentation, TrainingConfig
from icemapper_xr.training.samples import Crop, Sample

__all__ = ["describe", "summaries_of", "write_beside"]

SQUARES = 400
"""Squares drawn from a sample."""
GAPS = Augmentation(gaps=4, gap_chance=0.5)
"""Half of the samples lose up to four steps a feature, as cubes do in the field."""


def summaries_of(samples: Sequence[Sample], features: tuple[Feature, ...]) -> list[npt.NDArray[np.float64]]:
    """Summarise random squares of the samples that have glaciers: `(squares, numbers)` each.

    A training also sees places without any ice, to learn what is none. Those are not what the weights are for: a map
    of such a place is to be told unlike.
    """
    found = []
    block = applicability.BLOCK
    for number, sample in enumerate(progress.track(samples, "describe", len(samples))):
        rng = np.random.default_rng(number)
        rows, columns = sample.inner
        side = min(rows.stop - rows.start, columns.stop - columns.start) // block * block
        crop = Crop(rows.start, columns.start, side)
        if side == 0 or not sample.truth(crop).any():
            continue
        stack = np.stack([normalise.in_units(sample.read(f, sample.base[f], crop), f) for f in features], axis=-1)
        stack = augment.drop_steps(rng, stack, GAPS)
        numbers = applicability.summaries([stack[..., channel] for channel in range(len(features))])
        flat = numbers.reshape(-1, numbers.shape[-1])
        flat = flat[np.isfinite(flat).all(-1)]
        found.append(flat[rng.permutation(len(flat))[:SQUARES]])
    return found


def describe(samples: Sequence[Sample], config: TrainingConfig, source: str) -> applicability.Likeness:
    """Describe the data of a training."""
    return applicability.fit(
        summaries_of(samples, config.features), features=config.features, pixel_size=config.pixel_size, source=source
    )


def write_beside(path: Path, described: applicability.Likeness) -> Path:
    """Write the numbers beside the weights file that learned from these data; returns their path."""
    from icemapper_xr.models import weights

    beside = applicability.beside(path)
    applicability.write(dataclasses.replace(described, digest=weights.sha256(path)), beside)
    return beside
