"""The OpenVINO engine for CPUs: the network converted once, kept in the cache folder by the weights' digest.

A process that finds the converted network there starts without TensorFlow and Keras. The conversion runs in a process
of its own, so that TensorFlow's threads and memory never enter this one.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from icemapper_xr import errors
from icemapper_xr._types import FloatArray
from icemapper_xr.models import presets, published, weights
from icemapper_xr.models.engines import _base

__all__ = ["OpenVinoNetwork", "convert", "converted"]

_log = logging.getLogger(__name__)
FORMAT: Final = 2
"""Counts up when the network or the way of converting changes: older converted files are then left alone."""
BATCH: Final = 1
PLANS_KEPT: Final = 4
_CHECKSUMS: Final = "checksums.json"
_CONVERT_TIMEOUT: Final = 900.0
"""Seconds after which a conversion counts as stuck."""


class OpenVinoNetwork:
    """The network as OpenVINO plans of fixed shape, in full single precision."""

    name: Literal["openvino"] = "openvino"

    def __init__(self, recipe: _base.Recipe) -> None:
        import openvino

        self.threads = recipe.threads or _base.default_threads()
        self.batch = recipe.batch_size or BATCH
        self._core = openvino.Core()
        self._model = converted(recipe, self._core)
        self._plans: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        _log.info("network on OpenVINO, %d threads, batches of %d", self.threads, self.batch)

    def __call__(self, x: FloatArray, /) -> FloatArray:
        """`(n, n_steps, y, x, channels)` -> probability `(n, y, x)`."""
        result, _ = _base.in_batches(x, min(self.batch, x.shape[0]), self._run, lambda error: False)
        return result

    def _run(self, x: FloatArray) -> FloatArray:
        request = self._plan(x.shape)
        # the input is read in place; the answer is copied out, since the request's buffer is used again
        request.infer([np.ascontiguousarray(x)], share_inputs=True)
        return np.array(request.get_output_tensor(0).data, dtype=np.float32)

    def _plan(self, shape: tuple[int, ...]) -> Any:
        """Inference request for one shape: a fixed shape runs faster than an open one; few are kept."""
        if shape not in self._plans:
            model = self._model.clone()
            model.reshape(list(shape))
            options = {
                "INFERENCE_PRECISION_HINT": "f32",
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": self.threads,
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,  # other workers share the cores
            }
            self._plans[shape] = self._core.compile_model(model, "CPU", options).create_infer_request()
            while len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
        self._plans.move_to_end(shape)
        return self._plans[shape]


def converted(recipe: _base.Recipe, core: Any) -> Any:
    """Return the converted network, from the cache folder or converted now; a damaged copy is made again."""
    folder = published.cache_folder() / "openvino" / _key(recipe)
    if _intact(folder):
        return core.read_model(folder / "model.xml")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        home = folder.parent
    except OSError as error:
        _log.warning(
            "cache folder %s cannot be written (%s): the network is converted for this run only", folder, error
        )
        home = None
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=home, ignore_cleanup_errors=True) as scratch:
        made = Path(scratch) / "made"
        _convert_apart(recipe, made)
        if home is None:
            return _read_into_memory(core, made)
        _publish(made, folder)
    return core.read_model(folder / "model.xml")


def convert(recipe: _base.Recipe, folder: Path) -> None:
    """Convert by TensorFlow and Keras in this process; writes model.xml, model.bin and their checksums."""
    import openvino
    import tensorflow as tf

    from icemapper_xr.models.engines import _tensorflow

    model = _tensorflow.build_keras(recipe)
    shape = (None, recipe.n_steps, None, None, recipe.architecture.channels)

    signature = [tf.TensorSpec(shape, tf.float32)]
    graph = tf.function(lambda x: model(x, training=False)[..., 1], autograph=False, input_signature=signature)
    made = openvino.convert_model(graph, input=[openvino.PartialShape([-1 if s is None else s for s in shape])])
    folder.mkdir(parents=True)
    openvino.save_model(made, folder / "model.xml", compress_to_fp16=False)
    sums = {name: weights.sha256(folder / name) for name in ("model.xml", "model.bin")}
    (folder / _CHECKSUMS).write_text(json.dumps(sums), encoding="utf-8")


def _key(recipe: _base.Recipe) -> str:
    """Name of the converted network: what it depends on."""
    parts = {
        "format": FORMAT,
        "digest": recipe.architecture.digest,
        "n_steps": recipe.n_steps,
        "openvino": importlib.metadata.version("openvino"),
        "keras": importlib.metadata.version("keras"),
    }
    text = json.dumps(parts, sort_keys=True)
    return f"{recipe.architecture.digest[:16]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _intact(folder: Path) -> bool:
    """Whether a converted network is there, whole and unchanged."""
    try:
        sums = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))
        found = {name: weights.sha256(folder / name) for name in sums}
    except (OSError, ValueError):
        return False
    return bool(sums) and found == sums


def _publish(made: Path, folder: Path) -> None:
    """Give the converted network its place in one step; another process may have been faster."""
    for _ in range(3):
        try:
            made.rename(folder)
        except OSError:
            if _intact(folder):
                return
            shutil.rmtree(folder, ignore_errors=True)
        else:
            return
    raise errors.WeightsError(f"the converted network cannot be written to {folder}: delete that folder and try again")


def _read_into_memory(core: Any, folder: Path) -> Any:
    """Read a model whose files will be gone soon."""
    import openvino

    content = (folder / "model.bin").read_bytes()
    tensor = openvino.Tensor(np.frombuffer(content, dtype=np.uint8).copy())
    return core.read_model((folder / "model.xml").read_text(encoding="utf-8"), tensor)


def _convert_apart(recipe: _base.Recipe, folder: Path) -> None:
    """Convert in a fresh process on Keras's TensorFlow backend, without GPUs."""
    local = presets.locate(recipe.path, recipe.architecture.digest)
    _log.info("converting %s for OpenVINO, once", local.name)
    environment = os.environ | {
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    program = (
        "import pickle, sys; from icemapper_xr.models.engines import _openvino; "
        "_openvino.convert(*pickle.load(sys.stdin.buffer))"
    )
    job = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps((recipe, folder)),
        env=environment,
        capture_output=True,
        timeout=_CONVERT_TIMEOUT,
        check=False,
    )
    if job.returncode:
        lines = job.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {job.returncode}"]
        raise errors.WeightsError(
            f"weights file {local} cannot be converted for OpenVINO ({lines[-1]}): use engine='tensorflow'"
        )
