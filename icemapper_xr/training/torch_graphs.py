"""Steps on a CUDA device that the processor does not wait for, nor is waited for.

A step of this network is a thousand small operations. Told one by one they take a processor longer than they take the
device; so they are recorded once for each size of the patches, and replayed. Before that torch compiles the network,
which joins what lies between its convolutions to few passes over memory.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from icemapper_xr import progress

__all__ = ["Compiled", "Copies", "Recorded"]

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


class Compiled:
    """A function that torch compiles for each shape of its arrays, in a minute; torch keeps what it made between runs.

    Where it cannot be compiled it is called as it is.

    Parameters
    ----------
    function
        Called with tensors, or with tuples and lists of them.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.compiled = torch.compile(function, fullgraph=True, dynamic=False)

    def __call__(self, *given: Any) -> Any:
        """Call the function."""
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "TensorFloat32")  # inductor: no product in float32 takes any time
                return self.compiled(*given)
        except Exception as error:  # of any of the compilers that torch calls
            recording = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
            if self.compiled is self.function or recording:
                raise
            progress.note(f"the network is not compiled, and steps are slower: {' '.join(str(error).split())[:300]}")
            self.compiled = self.function
            return self.function(*given)


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
