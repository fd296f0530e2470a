"""Training, evaluation and export of weights, from simulated scenes or from a data set of the published layout.

TensorFlow is the supported trainer. On torch the steps are this project's own (`torch_step`), elsewhere Keras's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyogrio  # noqa: F401 - before TensorFlow, as in `icemapper_xr.models`

__all__ = ["TrainingConfig", "evaluate", "train"]

if TYPE_CHECKING:
    from icemapper_xr.training.config import TrainingConfig
    from icemapper_xr.training.fit import train
    from icemapper_xr.training.scoring import evaluate


def __getattr__(name: str) -> Any:
    """Load on first use: Keras is slow to import."""
    import importlib

    modules = {"TrainingConfig": "config", "evaluate": "scoring", "train": "fit"}
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{modules[name]}"), name)
