"""What `predict` costs around the network, and how its memory grows with the scene."""

from __future__ import annotations

import dask

from icemapper_xr import models, prediction
from icemapper_xr.testing import FakeSegmenter
from suite import common


class Overhead:
    """Everything but the network: reading, gaps, windows, blending."""

    params = ([0.5, 0.25, 0.0],)
    param_names = ("overlap",)
    timeout = 600

    def setup(self, overlap: float) -> None:
        self.result = prediction.probability(common.cube(2304), FakeSegmenter(window=384), overlap=overlap).result

    def time_predict(self, overlap: float) -> None:
        with dask.config.set(scheduler="threads", num_workers=2):
            self.result.probability.data.sum().compute()


class Scene:
    """A scene through a small network, by overlap."""

    params = ([0.5, 0.25, 0.0],)
    param_names = ("overlap",)
    timeout = 600

    def setup(self, overlap: float) -> None:
        segmenter = models.load_model(common.weights(4, window=128))
        self.result = prediction.probability(common.cube(768), segmenter, overlap=overlap).result

    def time_predict(self, overlap: float) -> None:
        with dask.config.set(scheduler="threads", num_workers=1):
            self.result.probability.data.sum().compute()


class Memory:
    """Peak memory must not grow with the area."""

    params = ([3000, 6000],)
    param_names = ("side",)
    timeout = 900

    def setup(self, side: int) -> None:
        self.result = prediction.probability(common.cube(side), FakeSegmenter(window=384), overlap=0.5).result

    def peakmem_predict(self, side: int) -> None:
        with dask.config.set(scheduler="threads", num_workers=2):
            self.result.probability.data.sum().compute()
