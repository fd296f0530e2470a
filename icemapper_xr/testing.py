"""Stand-ins for the network, for tests, benchmarks and the profiling of everything around the model."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import Feature, Unobserved

__all__ = ["CallCounter", "FakeSegmenter"]


@dataclass(frozen=True)
class FakeSegmenter:
    """A `Segmenter` whose answer depends on the whole window, as the temporal weights of the real one do.

    The answer is a sigmoid of the mean over time and features, shifted by the mean of the window: were a window
    evaluated with other surroundings, or blended wrongly, the result would differ.
    """

    features: tuple[Feature, ...] = ("rtc",)
    n_steps: int = 15
    window: int = 64
    pixel_size: float = 10.0
    unobserved: Unobserved = "zero"
    context: float = 1.0
    """How strongly the answer depends on the window's mean."""
    burn: float = 0.0
    """CPU seconds to spend per window, for tests of scaling."""
    counter: CallCounter | None = field(default=None, compare=False)

    @property
    def digest(self) -> str:
        """What stands for the weights' digest."""
        return f"fake-{self.window}-{self.context}"

    @property
    def name(self) -> str:
        """Name in provenance attrs."""
        return "fake"

    def __call__(self, x: FloatArray, /) -> FloatArray:
        """Return glacier probability (n, H, W) of scaled input (n, T, H, W, C)."""
        if not np.isfinite(x).all():
            raise ValueError("the network was fed NaN")
        if self.counter is not None:
            self.counter.add(x.shape[0])
        until = time.thread_time() + self.burn * x.shape[0]
        while time.thread_time() < until:
            pass
        mean = x.mean(axis=(1, 4), dtype=np.float64)
        around = mean.mean(axis=(1, 2), keepdims=True)
        answer: FloatArray = (1 / (1 + np.exp(-4 * (mean - self.context * around)))).astype(np.float32)
        return answer

    def __dask_tokenize__(self) -> Any:
        """Equal settings, equal keys."""
        how = (self.unobserved, self.context, self.burn)
        return (type(self).__name__, self.features, self.n_steps, self.window, self.pixel_size, *how)


class CallCounter:
    """Counts windows over all threads of a process."""

    def __init__(self) -> None:
        self.windows = 0
        self._lock = threading.Lock()

    def add(self, windows: int) -> None:
        """Count some more windows."""
        with self._lock:
            self.windows += windows
