"""What the engines share: the request, the networks of this process, batches and threads."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from icemapper_xr import errors
from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import ModelEngine, Precision
from icemapper_xr.models import presets, weights
from icemapper_xr.models.layout import Architecture

__all__ = [
    "Network",
    "Recipe",
    "build_keras",
    "default_threads",
    "fitting_batch",
    "forget_networks",
    "gpu_likely",
    "in_batches",
    "set_default_threads",
    "shared_network",
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """All that a process needs to make a network; this, not the weights, is what travels in a graph."""

    path: Path
    architecture: Architecture
    """With the digest of the weights file."""
    n_steps: int
    engine: ModelEngine
    """As asked for; 'auto' is settled in the process that runs the network."""
    precision: Precision
    batch_size: int | None
    """Windows a call of the engine; None lets the engine choose."""
    threads: int | None
    """None is the Dask worker's own number inside a worker, else all cores of the process."""


class Network(Protocol):
    """A network ready to run in this process."""

    batch: int
    """Windows it takes at once; fewer after its device ran out of memory."""

    @property
    def name(self) -> Literal["tensorflow", "openvino"]:
        """The engine."""

    def __call__(self, x: FloatArray, /) -> FloatArray:
        """`(n, n_steps, y, x, channels)` -> probability `(n, y, x)`; one caller at a time."""


def build_keras(recipe: Recipe, precision: Precision) -> Any:
    """Build the Keras model of a recipe, on whatever backend Keras runs, and load its weights."""
    from icemapper_xr.models import icemapper

    wanted = recipe.architecture
    model = icemapper.build(
        channels=wanted.channels,
        pooling=wanted.pooling,
        filters=wanted.filters,
        levels=wanted.levels,
        n_steps=recipe.n_steps,
        dtype=precision,
    )
    weights.load_into(model, presets.locate(recipe.path, wanted.digest))
    return model


_threads_of_process: int | None = None


def set_default_threads(threads: int | None) -> None:
    """Say how many threads the engines of this process get where a task cannot tell: those of its Dask worker."""
    global _threads_of_process
    _threads_of_process = threads


def default_threads() -> int:
    """Threads for an engine: those of the Dask worker this code runs in, else the cores open to this process."""
    if _threads_of_process is not None:
        return _threads_of_process
    distributed = sys.modules.get("distributed")
    if distributed is not None:
        try:
            return max(1, int(distributed.get_worker().state.nthreads))
        except (ValueError, AttributeError):  # not inside a worker's task
            pass
    from dask.system import cpu_count

    return max(1, int(cpu_count()))


def fitting_batch(n: int, limit: int) -> int:
    """Batch for `n` windows: the limit, or the power of two that holds them all, so that few shapes are compiled.

    >>> [fitting_batch(n, 8) for n in (1, 3, 8, 20)]
    [1, 4, 8, 8]
    """
    return min(limit, 1 << (n - 1).bit_length())


def in_batches(
    x: FloatArray, batch: int, run: Callable[[FloatArray], FloatArray], out_of_memory: Callable[[Exception], bool]
) -> tuple[FloatArray, int]:
    """Run over batches of equal size (the last one padded), halving the batch when the device runs out of memory.

    Returns
    -------
    array
        Probability `(n, y, x)`.
    int
        The batch size that went through; to be remembered.

    Raises
    ------
    OptionError
        If not even one window fits.
    """
    n = x.shape[0]
    result = np.empty((n, *x.shape[2:4]), dtype=np.float32)
    done = 0
    while done < n:
        part = x[done : done + batch]
        short = batch - part.shape[0]
        if short:  # one shape for all calls: the engine compiles once
            part = np.concatenate([part, np.zeros((short, *part.shape[1:]), dtype=part.dtype)])
        try:
            answer = run(part)
        except Exception as error:
            if not out_of_memory(error):
                raise
            if batch == 1:
                raise errors.OptionError(
                    f"the device has no memory for one window of {x.shape[2]} x {x.shape[3]} px: free some, use "
                    "precision='mixed_float16', or run on the CPU with engine='openvino'"
                ) from error
            batch = max(1, batch // 2)
            _log.warning("the device ran out of memory: going on with batches of %d", batch)
            continue
        result[done : done + batch] = answer[: min(batch, n - done)]
        done += batch
    return result, batch


def gpu_likely() -> bool:
    """Whether an NVIDIA device is visible, found out without starting an engine."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1", "NoDevFiles"):
        return False
    folder = Path("/proc/driver/nvidia/gpus")
    return folder.is_dir() and any(folder.iterdir())


_networks: dict[Recipe, Network] = {}
_registry_lock = threading.Lock()
_locks: dict[Recipe, threading.Lock] = {}


def shared_network(recipe: Recipe, make: Callable[[Recipe], Network]) -> tuple[Network, threading.Lock]:
    """Return the network of this process for a recipe, made on first use, and the lock that its callers must hold.

    The engine uses all the threads it is given, so calls are serialised: four Dask threads share one network and its
    cores instead of starting four times as many threads.
    """
    with _registry_lock:
        lock = _locks.setdefault(recipe, threading.Lock())
    with lock:
        if recipe not in _networks:
            _networks[recipe] = make(recipe)
        return _networks[recipe], lock


def forget_networks() -> None:
    """Drop all networks of this process; they are made again on the next call."""
    with _registry_lock:
        _networks.clear()
        _locks.clear()
