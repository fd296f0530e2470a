"""The OpenVINO engine for CPUs: the network converted once, kept in the cache folder by the weights' digest.

The conversion makes OpenVINO's graph straight from the arrays of the weights file, so a process that runs this engine
needs neither TensorFlow nor Keras; only Keras 3's own files are read by Keras, once.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import logging
import shutil
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from icemapper_xr import errors
from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import Precision
from icemapper_xr.models import presets, published, weights
from icemapper_xr.models.engines import _base

__all__ = ["HINTS", "OpenVinoNetwork", "computes", "converted"]

_log = logging.getLogger(__name__)
FORMAT: Final = 3
"""Counts up when the network or the way of converting changes: older converted files are then left alone."""
BATCH: Final = 1
PLANS_KEPT: Final = 4
HINTS: Final[dict[Precision, str]] = {"float32": "f32", "mixed_bfloat16": "bf16"}
"""What OpenVINO calls the precisions it has here; in half precision (f16) this network's answers are NaN."""
_CHECKSUMS: Final = "checksums.json"
_FILES: Final = ("model.xml", "model.bin")


class OpenVinoNetwork:
    """The network as OpenVINO plans of fixed shape, in full single precision unless bfloat16 is asked for."""

    name: Literal["openvino"] = "openvino"

    def __init__(self, recipe: _base.Recipe) -> None:
        import openvino

        self.threads = recipe.threads or _base.default_threads()
        self.batch = recipe.batch_size or BATCH
        if not computes(recipe.precision):
            raise errors.OptionError(
                f"precision={recipe.precision!r}: this processor does not compute in bfloat16 (AVX512-BF16 or AMX "
                "do); leave precision at 'float32'"
            )
        self._hint = HINTS[recipe.precision]
        self._core = openvino.Core()
        self._model = converted(recipe, self._core)
        self._plans: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        _log.info("network on OpenVINO, %d threads, batches of %d", self.threads, self.batch)

    def __call__(self, x: FloatArray, /) -> FloatArray:
        """`(n, n_steps, y, x, channels)` -> probability `(n, y, x)`."""
        batch = _base.fitting_batch(x.shape[0], self.batch)
        result, _ = _base.in_batches(x, batch, self._run, lambda error: False)
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
                "INFERENCE_PRECISION_HINT": self._hint,
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


@functools.cache
def computes(precision: Precision) -> bool:
    """Whether this process's processor computes in a precision of `HINTS`."""
    if precision == "float32":  # every one does; the client that asks need not import OpenVINO for it
        return True
    import openvino

    return HINTS[precision].upper() in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def converted(recipe: _base.Recipe, core: Any) -> Any:
    """Return the converted network, from the cache folder or converted now; a damaged copy is made again."""
    folder = published.cache_folder() / "openvino" / _key(recipe)
    if _intact(folder):
        return core.read_model(folder / "model.xml")
    model = _convert(recipe)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".convert-", dir=folder.parent, ignore_cleanup_errors=True) as scratch:
            _save(model, Path(scratch) / "made")
            _publish(Path(scratch) / "made", folder)
    except (OSError, RuntimeError) as error:  # OpenVINO tells of a full disk by a RuntimeError
        _log.warning("the converted network cannot be kept in %s (%s): it is for this run only", folder, error)
    return model


def _convert(recipe: _base.Recipe) -> Any:
    """Make the graph from the weights file."""
    from icemapper_xr.models.engines import _graph

    path = presets.locate(recipe.path, recipe.architecture.digest)
    _log.info("converting %s for OpenVINO, once", path.name)
    keras3 = weights.is_keras3(path)
    arrays = weights.arrays_of(_base.build_keras(recipe, "float32")) if keras3 else weights.read_arrays(path)
    return _graph.build(arrays, recipe.architecture, n_steps=recipe.n_steps)


def _save(model: Any, folder: Path) -> None:
    """Write model.xml, model.bin and their checksums."""
    import openvino

    folder.mkdir()
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    sums = {name: weights.sha256(folder / name) for name in _FILES}
    (folder / _CHECKSUMS).write_text(json.dumps(sums), encoding="utf-8")


def _key(recipe: _base.Recipe) -> str:
    """Name of the converted network: what it depends on."""
    parts = {
        "format": FORMAT,
        "digest": recipe.architecture.digest,
        "n_steps": recipe.n_steps,
        "openvino": importlib.metadata.version("openvino"),
    }
    text = json.dumps(parts, sort_keys=True)
    return f"{recipe.architecture.digest[:16]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _intact(folder: Path) -> bool:
    """Whether a converted network is there, whole and unchanged."""
    try:
        sums = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))
        found = {name: weights.sha256(folder / name) for name in _FILES}
    except (OSError, ValueError, errors.WeightsError):  # not there, or not what `_save` wrote
        return False
    return bool(found == sums)


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
    raise OSError("another file or folder is in the way")
