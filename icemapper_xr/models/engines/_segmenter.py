"""The model as the stages see it: a callable with five facts that travels as a recipe."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from icemapper_xr import conventions, errors
from icemapper_xr._types import FloatArray, Segmenter
from icemapper_xr.conventions import MODEL_ENGINES, Feature, ModelEngine, Precision, Unobserved
from icemapper_xr.models import presets
from icemapper_xr.models.engines import _base

__all__ = ["ModelSegmenter", "load_model", "loaded"]

_log = logging.getLogger(__name__)


def load_model(
    weights: str | Path | presets.WeightsFile,
    *,
    engine: ModelEngine = "auto",
    features: Sequence[str] | None = None,
    window: int | None = None,
    pixel_size: float | None = None,
    batch_size: int | None = None,
    threads: int | None = None,
    precision: Precision = "float32",
) -> ModelSegmenter:
    """Make a model from a weights file; the network itself is built on the first call, in the process that calls.

    Parameters
    ----------
    weights
        Name or path, as in `presets.resolve`, or what that returned.
    engine
        'openvino' (CPUs), 'tensorflow' (CPUs and GPUs), or 'auto': TensorFlow where a GPU is visible, else OpenVINO
        where it is installed, else TensorFlow; settled in the process that runs the network, and logged there.
    features, window, pixel_size
        What the file itself cannot tell, as in `presets.resolve`.
    batch_size
        Windows a call of the engine; None lets the engine choose. Halved when a device runs out of memory.
    threads
        Threads of the engine; None is the Dask worker's number inside a worker, else all cores of the process.
    precision
        'float32'; or 'mixed_bfloat16', which is faster and less exact on GPUs and on processors that multiply in it
        (with OpenVINO); or 'mixed_float16' (TensorFlow only).

    Returns
    -------
    ModelSegmenter
        Callable on `(n, 15, H, W, C)` float32 in model units.

    Raises
    ------
    WeightsError
        If the weights are unknown, missing or damaged.
    OptionError
        If an option is out of its range, or the engine is not installed.
    """
    _check(engine=engine, batch_size=batch_size, threads=threads, precision=precision)
    if not isinstance(weights, presets.WeightsFile):
        file = presets.resolve(weights, features=features, window=window, pixel_size=pixel_size)
    elif features is None and window is None and pixel_size is None:
        file = weights
    else:
        file = presets.resolve(
            weights.path,
            features=weights.features if features is None else features,
            window=weights.window if window is None else window,
            pixel_size=weights.pixel_size if pixel_size is None else pixel_size,
        )
    recipe = _base.Recipe(
        path=file.path.resolve(),
        architecture=file.architecture,
        n_steps=file.n_steps,
        engine=engine,
        precision=precision,
        batch_size=batch_size,
        threads=threads,
    )
    return ModelSegmenter(recipe, file)


def loaded(
    weights: str | Path | presets.WeightsFile | Segmenter, *, features: Sequence[str] | None = None, **options: Any
) -> Segmenter:
    """Load weights by name or path with options of `load_model`; pass a loaded model through as it is.

    Raises
    ------
    OptionError
        If a loaded model is to be another than it is.
    """
    if isinstance(weights, str | Path | presets.WeightsFile):
        return load_model(weights, features=features, **options)
    if not callable(weights) or not hasattr(weights, "features"):
        raise errors.OptionError(f"weights={weights!r} are neither a name, a path nor a loaded model: see load_model")
    changed = [name for name, value in options.items() if value not in (None, "auto", "float32")]
    asked = (features,) if isinstance(features, str) else features
    if asked is not None and tuple(asked) != tuple(weights.features):
        changed.append("features")
    if changed:
        raise errors.OptionError(
            f"{', '.join(changed)} cannot be changed on a loaded model; give it to load_model instead"
        )
    return weights


class ModelSegmenter:
    """A network with known features, window and pixel size; implements `_types.Segmenter`.

    It pickles as a recipe (path, digest, options). All copies in one process share one network, and calls are
    serialised: the engine uses all the threads it is given.
    """

    def __init__(self, recipe: _base.Recipe, file: presets.WeightsFile) -> None:
        self._recipe = recipe
        self._file = file

    @property
    def name(self) -> str:
        """Name of the weights file, for provenance."""
        return self._file.name

    @property
    def path(self) -> Path:
        """The weights file."""
        return self._file.path

    @property
    def features(self) -> tuple[Feature, ...]:
        """Features in the order of the channels."""
        return self._file.features

    @property
    def n_steps(self) -> int:
        """Time steps."""
        return self._recipe.n_steps

    @property
    def window(self) -> int:
        """Window to apply the network on, pixels."""
        return self._file.window

    @property
    def pixel_size(self) -> float:
        """Pixel size of the training data, metres."""
        return self._file.pixel_size

    @property
    def unobserved(self) -> Unobserved:
        """What the network is to be fed where a pixel has no valid step."""
        return self._file.unobserved

    @property
    def digest(self) -> str:
        """SHA-256 of the weights file, hexadecimal."""
        return self._file.digest

    @property
    def weights(self) -> presets.WeightsFile:
        """The weights file: its name, origin, training set and calibration."""
        return self._file

    @property
    def engine(self) -> Literal["tensorflow", "openvino"]:
        """The engine in this process; what 'auto' comes to here."""
        return _choose(self._recipe)

    @property
    def precision(self) -> Precision:
        """Arithmetic of the network; shapes the values in their last digits."""
        return self._recipe.precision

    @property
    def batch_size(self) -> int:
        """Windows that the network takes at once in this process, which builds it if need be."""
        return _base.shared_network(self._recipe, _make)[0].batch

    def describe(self) -> dict[str, Any]:
        """Plain data for provenance: weights, digest, origin, features, window, engine and precision."""
        facts = asdict(self._file)
        network = ("name", "digest", "origin", "features", "pooling", "filters")
        described = {key: facts[key] for key in (*network, "window", "pixel_size", "unobserved", "training")}
        described["features"] = list(self.features)
        return described | {"n_steps": self.n_steps, "engine": self.engine, "precision": self._recipe.precision}

    def __call__(self, x: FloatArray, /) -> FloatArray:
        """Glacier probability.

        Parameters
        ----------
        x
            `(n, 15, H, W, C)` in model units, float32; H and W multiples of 8; NaN spreads.

        Returns
        -------
        array
            `(n, H, W)` float32 in 0..1.

        Raises
        ------
        OptionError
            If the shape is not what the network takes.
        """
        x = self._checked(x)
        if x.shape[0] == 0:
            return np.empty((0, *x.shape[2:4]), dtype=np.float32)
        network, lock = _base.shared_network(self._recipe, _make)
        with lock:
            return network(x)

    def prepare(self, *, threads: int | None = None) -> None:
        """Build the network in this process now, instead of on the first call.

        Parameters
        ----------
        threads
            For the engines of this process from now on, where `load_model` was told no number; None leaves it.

        Raises
        ------
        WeightsError
            If the weights file is not on this machine, or is another one.
        """
        if threads is not None:
            _base.set_default_threads(threads)
        _base.shared_network(self._recipe, _make)

    def _checked(self, x: FloatArray) -> FloatArray:
        shape = np.shape(x)
        wanted = (self.n_steps, len(self.features))
        multiple = self._recipe.architecture.multiple
        if len(shape) != 5 or (shape[1], shape[4]) != wanted:
            raise errors.OptionError(
                f"input of shape {shape} given, (n, {wanted[0]}, height, width, {wanted[1]}) wanted: one channel for "
                f"each of {', '.join(self.features)}"
            )
        if any(size == 0 or size % multiple for size in shape[2:4]):
            raise errors.OptionError(
                f"input of {shape[2]} x {shape[3]} px given, multiples of {multiple} wanted: pad it"
            )
        return np.asarray(x, dtype=np.float32)

    def __reduce__(self) -> tuple[Any, ...]:
        # the calibration is of use to the client only, and may be long
        return (ModelSegmenter, (self._recipe, replace(self._file, calibration=None)))

    def __dask_tokenize__(self) -> Any:
        options = (self._recipe.engine, self._recipe.precision)
        return ("icemapper_xr.ModelSegmenter", self.digest, self.features, self.window, self.pixel_size, *options)

    def __repr__(self) -> str:
        return (
            f"<ModelSegmenter {self._file.name} ({self._file.origin}), features {', '.join(self.features)}, "
            f"window {self.window} px, {self.pixel_size:g} m, engine {self._recipe.engine}>"
        )


# -- choosing and making ----------------------------------------------------------------------------------------------
def _choose(recipe: _base.Recipe) -> Literal["tensorflow", "openvino"]:
    """Settle 'auto' in this process."""
    if recipe.engine != "auto":
        return recipe.engine
    if not _installed("openvino"):
        return "tensorflow"
    if _base.gpu_likely():
        from icemapper_xr.models.engines import _tensorflow

        if _tensorflow.gpus():
            return "tensorflow"
    from icemapper_xr.models.engines import _openvino

    return "openvino" if recipe.precision in _openvino.HINTS and _openvino.computes(recipe.precision) else "tensorflow"


def _make(recipe: _base.Recipe) -> _base.Network:
    engine = _choose(recipe)
    if recipe.engine == "auto":
        _log.info("engine 'auto' chose %s", engine)
    if engine == "openvino":
        from icemapper_xr.models.engines import _openvino

        return _openvino.OpenVinoNetwork(recipe)
    from icemapper_xr.models.engines import _tensorflow

    return _tensorflow.TensorFlowNetwork(recipe)


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _check(*, engine: str, batch_size: int | None, threads: int | None, precision: str) -> None:
    """Refuse options out of range and engines that are not there."""
    for name, value, known in (("engine", engine, MODEL_ENGINES), ("precision", precision, conventions.PRECISIONS)):
        if value not in known:
            raise errors.OptionError(f"{name}={value!r} is unknown: use one of {', '.join(known)}")
    for name, number in (("batch_size", batch_size), ("threads", threads)):
        if number is not None and not (isinstance(number, int | np.integer) and number >= 1):
            raise errors.OptionError(f"{name}={number!r} must be a whole number, at least 1, or None")
    if engine == "openvino":
        if not _installed("openvino"):
            raise errors.OptionError(
                "engine='openvino' is not installed: pip install 'icemapper-xr[openvino]', or use engine='tensorflow'"
            )
        if precision == "mixed_float16":
            raise errors.OptionError(
                f"precision={precision!r} needs engine='tensorflow': openvino runs in float32 or mixed_bfloat16"
            )
    elif engine == "tensorflow" and not _installed("tensorflow"):
        raise errors.OptionError("engine='tensorflow' is not installed: pip install tensorflow")
