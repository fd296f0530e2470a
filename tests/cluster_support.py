"""What the tests of clusters run on the workers; imports little, since every worker imports it."""

from __future__ import annotations

import os


def name_of_worker(_: int = 0) -> str:
    """Name of the worker that runs this."""
    from distributed import get_worker

    return str(get_worker().name)


def networks(_: int = 0) -> tuple[int, int]:
    """Networks that this process holds, and threads that its engines get."""
    from icemapper_xr.models.engines import _base

    return len(_base._networks), _base.default_threads()


def visible_device(_: int = 0) -> str:
    """What the worker may see of the devices."""
    return os.environ["CUDA_VISIBLE_DEVICES"]
