"""Random changes of training patches, in numpy. Patches are `(T, y, x, C)` in model units, labels `(y, x, 2)`.

Time and space are never mixed: every function says which axis it touches.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import FEATURE_RANGES, Feature
from icemapper_xr.training.config import Augmentation
from icemapper_xr.training.samples import IntArray

__all__ = ["choose_dates", "coarsen", "drop_steps", "geometry", "hide_border", "radiometry", "speckle"]

Random = np.random.Generator

COARSE = 3
"""Pixels to a side of a pixel of a coarser product: 30 m to 10 m."""
MAX_HIDDEN = 0.5
"""Largest share of a patch that `hide_border` hides."""


def choose_dates(
    rng: Random, base: Mapping[Feature, IntArray], dates: Mapping[Feature, int], settings: Augmentation
) -> dict[Feature, IntArray]:
    """Choose the date of each step of each feature.

    All features start earlier or later together; then single steps move by one date. Where dates are no denser than
    steps nothing moves: a neighbouring date would be another step.
    """
    dense = {feature: bool(np.median(np.diff(index)) > 1) for feature, index in base.items()}
    reach = settings.start_jitter if all(dense.values()) else 0
    start = int(rng.integers(-reach, reach + 1)) if reach else 0
    chosen: dict[Feature, IntArray] = {}
    for feature, index in base.items():
        move = np.zeros(index.shape, np.int64)
        if dense[feature]:
            move = rng.choice([-1, 0, 1], index.shape, p=_three(settings.step_jitter)) + start
        chosen[feature] = np.clip(index + move, 0, dates[feature] - 1)
    return chosen


def drop_steps(rng: Random, stack: FloatArray, settings: Augmentation) -> FloatArray:
    """Set up to `gaps` whole steps of each channel to NaN; `stack` is changed in place."""
    if settings.gaps == 0 or rng.random() >= settings.gap_chance:
        return stack
    steps, channels = stack.shape[0], stack.shape[-1]
    for channel in range(channels):
        missing = rng.permutation(steps)[: rng.integers(0, min(settings.gaps, steps - 1) + 1)]
        stack[missing, :, :, channel] = np.nan
    return stack


def hide_border(rng: Random, stack: FloatArray, labels: FloatArray, settings: Augmentation) -> None:
    """Set one side of the patch to 'never observed', label (0, 0), in place, as at the edge of a scene."""
    if rng.random() >= settings.border:
        return
    size = stack.shape[1]
    width = int(rng.integers(1, int(size * MAX_HIDDEN) + 1))
    edge = slice(0, width) if rng.random() < 0.5 else slice(size - width, size)
    rows, columns = (edge, slice(None)) if rng.random() < 0.5 else (slice(None), edge)
    stack[:, rows, columns] = np.nan
    labels[rows, columns] = 0


def geometry(
    rng: Random, stack: FloatArray, labels: FloatArray, settings: Augmentation
) -> tuple[FloatArray, FloatArray]:
    """Flip, turn and zoom patch and labels alike; time is left alone."""
    if rng.random() < settings.vertical_flip:
        stack, labels = stack[:, ::-1], labels[::-1]
    if rng.random() < settings.horizontal_flip:
        stack, labels = stack[:, :, ::-1], labels[:, ::-1]
    if rng.random() < settings.rotation:
        turns = int(rng.integers(1, 4))
        stack, labels = np.rot90(stack, turns, axes=(1, 2)), np.rot90(labels, turns, axes=(0, 1))
    if rng.random() < settings.scale:
        stack, labels = _zoom(rng, stack, labels)
    return stack, labels


def radiometry(rng: Random, stack: FloatArray, settings: Augmentation) -> FloatArray:
    """Raise channels to a power and shift them; the same for all times and pixels of a patch."""
    channels = stack.shape[-1]
    if rng.random() < settings.gamma:
        power = np.asarray(rng.uniform(0.8, 1.2, channels), np.float32)
        # A value below the published minimum has no real power.
        stack = np.maximum(stack, 0) ** power
    if rng.random() < settings.shift:
        stack = stack + np.asarray(rng.normal(0, settings.shift_sigma, channels), np.float32)
    return stack


def speckle(rng: Random, stack: FloatArray, features: tuple[Feature, ...], settings: Augmentation) -> FloatArray:
    """Multiply backscatter by gamma noise of 8 to 64 looks (in model units: add its scaled decibel value)."""
    if rng.random() >= settings.speckle:
        return stack
    looks = float(np.exp(rng.uniform(np.log(8), np.log(64))))
    for channel, feature in enumerate(features):
        limits = FEATURE_RANGES[feature]
        if limits.units == "dB":
            noise = rng.gamma(looks, 1 / looks, stack.shape[:-1]).astype(np.float32)
            stack[..., channel] += 10 * np.log10(noise) / (limits.maximum - limits.minimum)
    return stack


def coarsen(rng: Random, stack: FloatArray, features: tuple[Feature, ...], settings: Augmentation) -> FloatArray:
    """See `rtc` as in a product of 30 m that a cube brings to 10 m: means of its power, interpolated bilinearly.

    Such a product has more looks and no texture below its pixel: networks that have seen few take smooth ground for
    ice. Speckle of 12 to 100 looks is added to that of the means. What is not finite stays so, and counts in no mean.
    """
    if settings.coarse == 0 or "rtc" not in features or rng.random() >= settings.coarse:
        return stack
    channel, limits = features.index("rtc"), FEATURE_RANGES["rtc"]
    span, sides = limits.maximum - limits.minimum, stack.shape[1:3]
    before = rng.integers(0, COARSE, 2)  # where the coarse grid lies
    pad = [(0, 0), *((int(k), int(-(k + side) % COARSE)) for k, side in zip(before, sides, strict=True))]
    inner = tuple(slice(int(k), int(k) + side) for k, side in zip(before, sides, strict=True))
    looks = float(np.exp(rng.uniform(np.log(12), np.log(100))))

    def seen(field: npt.NDArray[np.float32], *, noisy: bool = False) -> npt.NDArray[np.float32]:
        padded = np.pad(field, pad, mode="edge")
        rows = padded[:, 0::COARSE] + padded[:, 1::COARSE] + padded[:, 2::COARSE]
        blocks = (rows[..., 0::COARSE] + rows[..., 1::COARSE] + rows[..., 2::COARSE]) / COARSE**2
        if noisy:
            blocks *= rng.gamma(looks, 1 / looks, blocks.shape).astype(np.float32)
        return _threefold(_threefold(blocks, 1), 2)[:, *inner]

    level = stack[..., channel]
    known = np.isfinite(level)
    power = np.where(known, 10 ** ((level * span + limits.minimum) / 10), 0).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = 1 if known.all() else seen(known.astype(np.float32))
        mean = 10 * np.log10(seen(power, noisy=True) / share)
    stack[..., channel] = np.where(known, (mean - limits.minimum) / span, level)
    return stack


def _threefold(field: npt.NDArray[np.float32], axis: int) -> npt.NDArray[np.float32]:
    """Refine an axis by three (`COARSE`), linearly between the middles of its pixels; constant past the outermost."""
    fine = np.empty((*field.shape[:axis], COARSE * field.shape[axis], *field.shape[axis + 1 :]), field.dtype)
    parts, lines = np.moveaxis(fine, axis, 0), np.moveaxis(field, axis, 0)
    parts[1::COARSE] = lines
    for first, beside in ((0, np.concatenate([lines[:1], lines[:-1]])), (2, np.concatenate([lines[1:], lines[-1:]]))):
        parts[first::COARSE] = (beside + 2 * lines) / COARSE
    return fine


def _zoom(rng: Random, stack: FloatArray, labels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Enlarge a random square of 0.8 to 1 of the side to the whole patch, bilinearly, every step by itself."""
    size = stack.shape[1]
    side = int(rng.uniform(0.8, 1.0) * size)
    y, x = rng.integers(0, size - side + 1, 2)
    at = [np.linspace(corner, corner + side - 1, size) for corner in (y, x)]
    grid = np.meshgrid(*at, indexing="ij")

    def sample(plane: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return np.asarray(ndimage.map_coordinates(plane, grid, order=1, mode="nearest", output=np.float32))

    out = np.empty_like(stack)
    for step in range(stack.shape[0]):
        for channel in range(stack.shape[-1]):
            out[step, :, :, channel] = sample(stack[step, :, :, channel])
    return out, np.stack([sample(labels[..., k]) for k in range(labels.shape[-1])], axis=-1).astype(np.float32)


def _three(chance: float) -> list[float]:
    """Probabilities of -1, 0 and 1."""
    return [chance / 2, 1 - chance, chance / 2]
