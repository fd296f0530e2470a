"""Steps on a CUDA device that the processor does not wait for, nor is waited for.

A step of this network is a thousand small operations. Told one by one they take a processor longer than they take the
device; so they are recorded once for each size of the patches, and replayed. Before that torch compiles the network,
which joins what lies between its convolutions to few passes over memory.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo
import torch._functorch.config

from icemapper_xr import errors, progress

__all__ = ["Compiled", "Copies", "Recorded"]

Tensor = Any
"""A torch tensor: torch has no types where it is not installed."""

FIRST = 3
"""Steps of each size that are taken one operation after the other: cuDNN looks for its quickest kernels, and
memory is found. They are steps like all others."""
SHAPES = 64
"""Shapes that a function is compiled for; torch stops at eight."""


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
        Called with an array last, and before it with tensors, or tuples and lists of them.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        torch._dynamo.config.recompile_limit = max(SHAPES, torch._dynamo.config.recompile_limit)
        self.compiled = torch.compile(function, fullgraph=True, dynamic=False)
        self.compiling = 0.0
        """Seconds that the first calls with each shape took."""
        self.shapes: set[tuple[int, ...]] = set()

    def __call__(self, *given: Any) -> Any:
        """Call the function."""
        shape = tuple(given[-1].shape)
        if shape in self.shapes or self.compiled is self.function:
            return self.compiled(*given)
        self.shapes.add(shape)
        began = time.monotonic()
        try:
            with warnings.catch_warnings(), _derivatives_ahead():
                warnings.filterwarnings("ignore", "TensorFloat32")  # inductor: no product in float32 takes any time
                return self.compiled(*given)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of any of the compilers that torch calls
            progress.note(f"the network is not compiled, and steps are slower: {errors.one_line(error, most=300)}")
            self.compiled = self.function
        finally:
            self.compiling += time.monotonic() - began
        return self.function(*given)


def _derivatives_ahead() -> contextlib.AbstractContextManager[Any]:
    """Have torch compile derivatives with the function, not when they are first wanted."""
    settings, name = torch._functorch.config, "force_non_lazy_backward_lowering"
    return settings.patch(name, True) if hasattr(settings, name) else contextlib.nullcontext()


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
