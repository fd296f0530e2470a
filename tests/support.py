"""Helpers that several test modules share."""

from __future__ import annotations

import contextlib
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
