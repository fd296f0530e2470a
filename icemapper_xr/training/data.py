"""The batches of a training, by number. Batch i depends on the seed and i alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from icemapper_xr._types import FloatArray
from icemapper_xr.training import patches
from icemapper_xr.training.config import TrainingConfig
from icemapper_xr.training.samples import Sample

__all__ = ["Batches"]


class Batches:
    """Random, augmented batches `(x, y)`: x `(batch, T, y, x, C)`, y `(batch, y, x, 2)` one-hot, (0, 0) = unknown.

    Parameters
    ----------
    config
        Settings.
    samples
        Gives the samples that batch i may draw from. It is asked anew for every batch, so that scenes can be added
        while the training runs.
    steps
        Number of batches.
    first
        Number of the first one.
    """

    def __init__(
        self, config: TrainingConfig, samples: Callable[[int], Sequence[Sample]], steps: int, *, first: int = 0
    ) -> None:
        self.config, self.samples, self.steps, self.first = config, samples, steps, first

    def __getitem__(self, index: int) -> tuple[FloatArray, FloatArray]:
        """Return batch `index`; the same one whenever and in whatever order it is asked for."""
        index += self.first
        return patches.batch(self.config, self.samples(index), index, index / self.steps)
