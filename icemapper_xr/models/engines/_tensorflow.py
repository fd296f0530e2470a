"""The TensorFlow engine: one graph function a window size, on GPUs where there are any."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from typing import Any, Final, Literal

import numpy as np

from icemapper_xr import errors
from icemapper_xr._types import FloatArray
from icemapper_xr.models.engines import _base

__all__ = ["TensorFlowNetwork", "gpus"]

_log = logging.getLogger(__name__)
GPU_BATCH: Final = 8
"""Windows a call on a GPU, before memory says otherwise."""
CPU_BATCH: Final = 1
"""More than one window a call brings nothing on a CPU and costs memory."""
GRAPHS_KEPT: Final = 4


def gpus() -> list[Any]:
    """GPUs that TensorFlow sees, set to take memory as they need it instead of all at once."""
    # TensorFlow reports a missing CUDA as errors: of interest only where there is a GPU
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1" if _base.gpu_likely() else "3")
    import tensorflow as tf

    devices: list[Any] = tf.config.list_physical_devices("GPU")
    for device in devices:
        try:
            tf.config.experimental.set_memory_growth(device, True)
        except RuntimeError:  # TensorFlow is running already, with the setting of whoever started it
            _log.debug("memory growth of %s cannot be changed any more", device)
    return devices


def _build(recipe: _base.Recipe) -> Any:
    """Build the Keras model; refuses another backend of Keras than TensorFlow."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise errors.OptionError(
            f"engine 'tensorflow' needs Keras on TensorFlow, but it runs on {keras.backend.backend()!r} here: unset "
            "KERAS_BACKEND, or use engine='openvino'"
        )
    return _base.build_keras(recipe, recipe.precision)


class TensorFlowNetwork:
    """The network as TensorFlow graphs of fixed shape."""

    name: Literal["tensorflow"] = "tensorflow"

    def __init__(self, recipe: _base.Recipe) -> None:
        on_gpu = bool(gpus())
        self.threads = recipe.threads or _base.default_threads()
        _set_threads(self.threads)
        self.batch = recipe.batch_size or (GPU_BATCH if on_gpu else CPU_BATCH)
        if recipe.precision == "float32":
            _without_tf32()
        elif not on_gpu:
            _log.warning(
                "precision=%r without a GPU takes ten to forty times as long as 'float32', unless the processor "
                "computes in it",
                recipe.precision,
            )
        self._model = _build(recipe)
        self._graphs: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        _log.info(
            "network on TensorFlow, %s, batches of %d", "GPU" if on_gpu else f"{self.threads} threads", self.batch
        )

    def __call__(self, x: FloatArray, /) -> FloatArray:
        """`(n, n_steps, y, x, channels)` -> probability `(n, y, x)`."""
        batch = _base.fitting_batch(x.shape[0], self.batch)
        result, used = _base.in_batches(x, batch, self._run, _out_of_memory)
        if used < batch:
            self.batch = used
        return result

    def _run(self, x: FloatArray) -> FloatArray:
        import tensorflow as tf

        return np.asarray(self._graph(x.shape)(tf.constant(x)).numpy())

    def _graph(self, shape: tuple[int, ...]) -> Any:
        """Concrete function for one shape; few are kept, since each holds its own plan."""
        import tensorflow as tf

        if shape not in self._graphs:
            graph = tf.function(lambda x: self._model(x, training=False)[..., 1], autograph=False)
            self._graphs[shape] = graph.get_concrete_function(tf.TensorSpec(shape, tf.float32))
            while len(self._graphs) > GRAPHS_KEPT:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(shape)
        return self._graphs[shape]


def _without_tf32() -> None:
    """Have GPUs multiply in float32, as asked for.

    By default they round to 10 bits: on an H100 this network's probabilities were wrong by up to 5e-4 for it.
    """
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(False)


def _set_threads(threads: int) -> None:
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        _log.info("TensorFlow is running already in this process: it keeps its number of threads")


def _out_of_memory(error: Exception) -> bool:
    import tensorflow as tf

    if isinstance(error, tf.errors.ResourceExhaustedError):
        return True
    text = str(error).lower()
    signs = ("out of memory", "failed to allocate", "alloc_failed", "oom when allocating")
    return isinstance(error, tf.errors.InternalError | tf.errors.UnknownError) and any(sign in text for sign in signs)
