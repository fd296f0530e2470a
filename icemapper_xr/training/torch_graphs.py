"""Steps on a CUDA device that the processor does not wait for, nor is waited for.

A step of this network is some two thousand small operations. Told one by one they take a processor longer than they
take the device; so they are recorded once for each size of the patches, and replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from icemapper_xr import progress

__all__ = ["Copies", "Recorded"]

Tensor = Any
"""A torch tensor: torch has no types where it is not installed."""

FIRST = 3
"""Steps of each size that are taken one operation after the other: cuDNN looks for its quickest kernels, and
memory is found. They are steps like all others."""


class Copies:
    """Brings arrays to the device while it computes.

    Parameters
    ----------
    device
        The device.
    """

    def __init__(self, device: Any) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def __call__(self, array: Tensor) -> Tensor:
        """Return a copy on the device; the array may be changed as soon as this returns."""
        with torch.cuda.stream(self.stream):
            there = array.to(self.device)
        now = torch.cuda.current_stream(self.device)
        now.wait_stream(self.stream)
        there.record_stream(now)
        return there


class Recorded:
    """A step that is recorded as a CUDA graph, one for each shape of its arrays.

    Parameters
    ----------
    step
        Called with two arrays; returns one number on the device. Changes in place what it keeps, and waits for nothing.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor]) -> None:
        torch.backends.cudnn.benchmark = True
        self.step = step
        self.taken: dict[tuple[int, ...], int] = {}
        self.records: dict[tuple[int, ...], _Record] = {}
        self.recordable = True

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Take the step; returns its number, which is there once the device has done it."""
        shape = tuple(x.shape)
        self.taken[shape] = self.taken.get(shape, 0) + 1
        if self.recordable and self.taken[shape] > FIRST and shape not in self.records:
            try:
                self.records[shape] = _Record(self.step, x, y)
            except RuntimeError as error:  # nothing has been computed
                self.recordable = False
                progress.note(f"steps are told one operation after the other, and slower: recording failed ({error})")
        if shape in self.records:
            return self.records[shape].replay(x, y)
        return self.step(x, y)


class _Record:
    """A recorded step, and the memory that it reads and writes."""

    def __init__(self, step: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> None:
        self.graph = torch.cuda.CUDAGraph()
        self.x, self.y = x.clone(), y.clone()
        with torch.cuda.graph(self.graph):  # computes nothing yet
            self.number = step(self.x, self.y)

    def replay(self, x: Tensor, y: Tensor) -> Tensor:
        """Take the step with other arrays."""
        self.x.copy_(x)
        self.y.copy_(y)
        self.graph.replay()
        return self.number.clone()
