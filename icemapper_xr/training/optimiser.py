"""One step of the optimiser, and the statistics of the batch normalisation, on whatever backend Keras has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, SupportsFloat

from icemapper_xr import errors
from icemapper_xr._types import FloatArray
from icemapper_xr.training.config import StepPrecision

if TYPE_CHECKING:
    import keras

__all__ = ["KerasStep", "Steps", "batch_norms", "steps_of"]


class Steps(Protocol):
    """Changes a compiled network in place."""

    @property
    def compiling(self) -> float:
        """Seconds spent so far in compiling for a device, which are no training."""
        ...

    def train(self, x: FloatArray, y: FloatArray) -> SupportsFloat:
        """Take one step; returns the loss before it. `float` waits for it where a device is still at the step."""
        ...

    def estimate(self, batches: Callable[[int], FloatArray], number: int) -> None:
        """Set the statistics of the batch normalisations to their mean over `number` batches."""
        ...

    def freeze(self) -> None:
        """Normalise by the moving statistics from now on, and leave the normalisations as they are."""
        ...


def steps_of(model: keras.Model, *, precision: StepPrecision = "float32") -> Steps:
    """Return the quickest way to train a network on the backend that Keras runs on.

    Raises
    ------
    OptionError
        If the backend's steps have float32 alone.
    """
    import keras

    if (backend := keras.backend.backend()) == "torch":
        from icemapper_xr.training import torch_step

        return torch_step.TorchStep(model, precision=precision)
    if precision != "float32":
        raise errors.OptionError(f"precision={precision!r} needs --backend torch, and Keras runs on {backend}")
    return KerasStep(model)


class KerasStep:
    """Steps by Keras itself, on any backend."""

    compiling = 0.0

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self._step = _compiled(model)

    def train(self, x: FloatArray, y: FloatArray) -> float:
        """Take one step; returns the loss before it."""
        # Keras averages the loss over the calls since the last reset.
        self.model.reset_metrics()
        return float(self._step(x, y))

    def estimate(self, batches: Callable[[int], FloatArray], number: int) -> None:
        """Set the statistics of the batch normalisations to their mean over `number` batches."""
        norms = batch_norms(self.model)
        before = [norm.momentum for norm in norms]
        for k in range(number):
            for norm in norms:
                norm.momentum = k / (k + 1)
            # Called eagerly: a compiled function would keep the first momentum.
            self.model(batches(k), training=True)
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum

    def freeze(self) -> None:
        """Normalise by the moving statistics from now on, and leave the normalisations as they are."""
        for norm in batch_norms(self.model):
            norm.trainable = False  # which in Keras also means: no statistics of the batch
        self.model.train_function = None
        self._step = _compiled(self.model)


def _compiled(model: keras.Model) -> Callable[[FloatArray, FloatArray], Any]:
    """Return what takes one step and answers with the loss.

    On TensorFlow Keras compiles a function that it makes more general once patches have a second size. What it
    computes then differs in the last bits with the sizes that this process has seen, so that a training that was
    stopped would go on to other weights. Here each size has a function of its own.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return model.train_on_batch  # type: ignore[no-any-return]
    import tensorflow as tf

    step = tf.function(lambda x, y: model.train_step((x, y)), reduce_retracing=False)
    return lambda x, y: step(tf.constant(x), tf.constant(y))["loss"]


def batch_norms(model: keras.Model) -> list[Any]:
    """Return all batch normalisations of a network."""
    import keras

    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
