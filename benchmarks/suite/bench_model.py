"""Seconds and windows of the network by engine, batch and filters."""

from __future__ import annotations

import numpy as np

from icemapper_xr import models
from suite import common


class Window:
    """One call of an engine."""

    params = (["openvino", "tensorflow"], [1, 4], [(128, 8), (384, 8)])
    param_names = ("engine", "batch", "window_filters")
    timeout = 600

    def setup(self, engine: str, batch: int, window_filters: tuple[int, int]) -> None:
        window, filters = window_filters
        path = common.weights(filters, window=window)
        self.segmenter = models.load_model(path, engine=engine, batch_size=batch)
        self.x = np.random.default_rng(0).uniform(0.6, 0.9, (batch, 15, window, window, 1)).astype("f4")
        self.segmenter(self.x)

    def time_call(self, engine: str, batch: int, window_filters: tuple[int, int]) -> None:
        self.segmenter(self.x)

    def track_windows_per_second(self, engine: str, batch: int, window_filters: tuple[int, int]) -> float:
        from time import perf_counter

        start = perf_counter()
        self.segmenter(self.x)
        return batch / (perf_counter() - start)

    track_windows_per_second.unit = "windows/s"
