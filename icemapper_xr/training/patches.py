"""Patches of samples: draw a crop, choose dates, augment, fill gaps. A batch depends on the seed and its number alone.

Without Keras, so that a process that does nothing else starts quickly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import N_STEPS, Unobserved
from icemapper_xr.prediction import core, gaps
from icemapper_xr.training import augment
from icemapper_xr.training.config import TrainingConfig
from icemapper_xr.training.samples import Crop, Sample

__all__ = ["Shapes", "batch", "known_labels", "laid", "patch", "windows"]

Shapes = tuple[tuple[int, ...], tuple[int, ...]]
"""Of the two arrays of a batch."""

TRIES = 8
"""Draws after which a patch of one class only is taken as it is."""
SIZES = 2**31
"""Tells the draw of a batch's size from those of its patches."""
MIXED = (0.02, 0.98)
"""Share of glacier in a patch that has both classes."""


def batch(
    config: TrainingConfig, samples: Sequence[Sample], index: int, share: float, *, memory: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Draw batch `index`, random and augmented, when a share of the training is done, on which its size depends.

    It is put at the beginning of `memory`, one dimension of float32, where that is given.

    Returns
    -------
    x, y
        `(batch, T, y, x, C)` without NaN, and `(batch, y, x, 2)` one-hot, (0, 0) = unknown.
    """
    number, size = config.patches_at(share, np.random.default_rng([config.seed, index, SIZES]))
    shapes = (number, N_STEPS, size, size, len(config.features)), (number, size, size, 2)
    x, y = laid(np.empty(sum(map(math.prod, shapes)), np.float32) if memory is None else memory, shapes)
    for item in range(number):
        stack, labels = draw(np.random.default_rng([config.seed, index, item]), samples, config, size)
        assert stack.shape == x.shape[1:]  # else one step would fill fifteen
        x[item], y[item] = stack, labels
    return x, y


def laid(memory: FloatArray, shapes: Shapes) -> tuple[FloatArray, FloatArray]:
    """Return the arrays of these shapes that lie one behind the other at the beginning of `memory`."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    x, y = (part.reshape(shape) for part, shape in zip(np.split(memory, ends)[:2], shapes, strict=True))
    return x, y


def draw(
    rng: np.random.Generator, samples: Sequence[Sample], config: TrainingConfig, size: int
) -> tuple[FloatArray, FloatArray]:
    """Draw a sample and a crop of `size` px, uniformly or around a surface class of `scenes.focus`, and augment it."""
    around = _focus(rng, samples, config, size)
    if around is not None:
        return patch(rng, *around, config)
    mixed = rng.random() < config.mixed
    for _ in range(TRIES if mixed else 1):
        sample = samples[int(rng.integers(len(samples)))]
        rows, columns = sample.inner
        y, x = (int(rng.integers(side.start, max(side.start, side.stop - size) + 1)) for side in (rows, columns))
        crop = Crop(min(y, sample.shape[0] - size), min(x, sample.shape[1] - size), size)
        if not mixed or MIXED[0] < sample.truth(crop).mean() < MIXED[1]:
            break
    return patch(rng, sample, crop, config)


def _focus(
    rng: np.random.Generator, samples: Sequence[Sample], config: TrainingConfig, size: int
) -> tuple[Sample, Crop] | None:
    """Draw a crop that holds a pixel of a surface class; None where the draw falls on no class, or no sample has it."""
    classes = config.scenes.focus
    if not classes:
        return None
    drawn = int(np.searchsorted(np.cumsum(list(classes.values())), rng.random(), side="right"))
    if drawn == len(classes):
        return None
    surface = list(classes)[drawn]
    for number in rng.permutation(len(samples)):
        sample = samples[int(number)]
        if len(pixels := sample.pixels(surface)):
            at = np.unravel_index(int(rng.choice(pixels)), sample.shape)
            y, x = (
                int(np.clip(pixel - rng.integers(size), 0, side - size))
                for pixel, side in zip(at, sample.shape, strict=True)
            )
            return sample, Crop(y, x, size)
    return None


def patch(
    rng: np.random.Generator, sample: Sample, crop: Crop, config: TrainingConfig
) -> tuple[FloatArray, FloatArray]:
    """Read one crop of a sample and augment it.

    Returns
    -------
    stack, labels
        `(T, y, x, C)` without NaN, and `(y, x, 2)`.
    """
    features, settings = config.features, config.augmentation
    base = {feature: sample.base[feature] for feature in features}
    dates = augment.choose_dates(rng, base, sample.dates, settings)
    stack = _together([sample.read(feature, dates[feature], crop) for feature in features])
    labels = known_labels(sample, stack, crop)
    augment.hide_border(rng, stack, labels, settings)
    augment.drop_steps(rng, stack, settings)
    stack, labels = augment.geometry(rng, stack, labels, settings)
    missing = ~np.isfinite(stack)  # infinite is what dB of nothing are
    gappy = missing.any()  # most patches have no gap, and filling costs as much as all the rest
    if gappy:
        stack = np.where(missing, np.float32(np.nan), stack)
    stack = augment.radiometry(rng, np.ascontiguousarray(stack), settings)
    stack = augment.speckle(rng, stack, features, settings)
    stack = augment.coarsen(rng, stack, features, settings)
    if gappy:
        stack = fill(np.where(missing, np.float32(np.nan), stack), config.unobserved)
    return stack, np.ascontiguousarray(labels)


def _together(stacks: Sequence[FloatArray]) -> FloatArray:
    """Make `(T, y, x, C)` of `(T, y, x)` for each feature; no copy of a single one."""
    return stacks[0][..., None] if len(stacks) == 1 else np.stack(stacks, axis=-1)


def known_labels(sample: Sample, stack: FloatArray, crop: Crop) -> FloatArray:
    """Return one-hot labels, (0, 0) where a feature was never observed, and in the padding."""
    glacier = sample.truth(crop)
    labels = np.stack([~glacier, glacier], axis=-1).astype(np.float32)
    known = np.zeros(glacier.shape, bool)
    known[crop.unpadded(sample.inner)] = True
    labels[~(known & np.isfinite(stack).any(axis=0).all(axis=-1))] = 0
    return labels


def fill(stack: FloatArray, unobserved: Unobserved) -> FloatArray:
    """Fill the gaps of `(T, y, x, C)` as the prediction does: the pixel's nearest valid step, else by `unobserved`."""
    channels = [gaps.fill_gaps(stack[..., channel], "nearest") for channel in range(stack.shape[-1])]
    filled = np.stack(channels, axis=-1)
    if unobserved == "mirror":
        gaps.mirror(filled, [core.observed([stack[..., channel]]) for channel in range(stack.shape[-1])])
    return filled


def windows(sample: Sample, config: TrainingConfig) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Cut a sample into whole windows side by side, without augmentation; what is left at the edges is dropped."""
    size = config.window
    for y in range(0, sample.shape[0] - size + 1, size):
        for x in range(0, sample.shape[1] - size + 1, size):
            crop = Crop(y, x, size)
            stack = _together([sample.read(feature, sample.base[feature], crop) for feature in config.features])
            labels = known_labels(sample, stack, crop)
            yield fill(stack, config.unobserved), labels
