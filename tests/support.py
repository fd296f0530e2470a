"""Helpers that several test modules share."""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Iterator
from typing import Any

import dask


class _Forbidden:
    def __call__(self, dsk: Any, keys: Any, **kwargs: Any) -> Any:
        raise AssertionError("something was computed in a step that must be lazy")


@contextlib.contextmanager
def raise_if_dask_computes() -> Iterator[None]:
    """Fail if anything inside the block computes a Dask graph."""
    with dask.config.set(scheduler=_Forbidden()):
        yield


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file grow beyond some bytes, as a disk that is full in the middle of a file does."""
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
