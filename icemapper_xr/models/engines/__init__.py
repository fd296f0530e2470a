"""Engines that run the network: `load_model` gives a `ModelSegmenter` on TensorFlow or OpenVINO."""

from __future__ import annotations

from icemapper_xr.models.engines._base import default_threads, forget_networks
from icemapper_xr.models.engines._segmenter import ModelSegmenter, load_model, loaded

__all__ = ["ModelSegmenter", "default_threads", "forget_networks", "load_model", "loaded"]
