"""What every worker gets, and which of them may run the network."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from icemapper_xr.errors import ClusterError, IcemapperError, one_line

if TYPE_CHECKING:
    from distributed import Client, Worker

__all__ = ["GPU", "lost", "one_model", "placement", "present", "quietly", "slots", "threads"]

log = logging.getLogger(__name__)

GPU = "GPU"
"""Resource that workers with a device declare: ``dask worker --resources GPU=1``."""


def _model_plugin(segmenter: Any, *, gpus_only: bool) -> Any:
    """Make the plugin; its class is made here so that importing this module does not import distributed."""
    from distributed import WorkerPlugin

    class OneModel(WorkerPlugin):
        """Makes the network of a worker process before its first task, on as many threads as the worker has."""

        name = f"icemapper-model-{segmenter.digest[:16]}"

        def __init__(self) -> None:
            self.segmenter, self.gpus_only = segmenter, gpus_only

        async def setup(self, worker: Worker) -> None:
            if self.gpus_only and not worker.state.total_resources.get(GPU):
                return
            await asyncio.to_thread(self.segmenter.prepare, threads=worker.state.nthreads)

    return OneModel()


def one_model(client: Client, segmenter: Any) -> None:
    """Let every worker process that may run the network, now and later, hold one.

    Parameters
    ----------
    client
        Of the cluster.
    segmenter
        A `Segmenter`; one that has a method ``prepare(threads=...)`` is prepared on every worker, for as many threads
        as that worker has.

    Raises
    ------
    ClusterError
        If a worker lacks a package.
    WeightsError
        If a worker lacks the weights file.
    """
    if not hasattr(segmenter, "prepare"):
        return
    try:
        client.register_plugin(_model_plugin(segmenter, gpus_only=bool(placement(client))))
    except IcemapperError as error:
        raise type(error)(f"a worker cannot run the network: {error}") from None
    except (ImportError, AttributeError) as error:
        raise ClusterError(
            f"a worker lacks a package of this environment ({error}); install the same icemapper-xr there"
        ) from None


def placement(client: Client | None) -> dict[str, float]:
    """Return the resources that a task with the network must ask for: half a GPU where any worker declares one.

    Half, so that one block is read while the network, which takes one caller at a time, works on another. Resources
    count only when given to ``submit`` or ``compute`` itself, not in an annotation around the building of a lazy
    array: that is dropped when the graph is optimised.
    """
    if client is None:
        return {}
    return {GPU: 0.5} if any(GPU in worker["resources"] for worker in _workers(client).values()) else {}


def slots(client: Client | None) -> int:
    """Return how many workers can run the network: those with a GPU if there are any, else all; 1 without a cluster."""
    if client is None:
        return 1
    workers = _workers(client).values()
    return max(1, sum(GPU in worker["resources"] for worker in workers) or len(workers))


def present(client: Client, *, gpus: bool) -> int:
    """Return how many workers there are at this moment; with `gpus` of those that declare a GPU."""
    return sum(GPU in worker["resources"] for worker in _workers(client).values()) if gpus else len(_workers(client))


def threads(client: Client | None) -> int:
    """Return the fewest threads that a worker has; 1 without a cluster."""
    if client is None:
        return 1
    return min((int(worker["nthreads"]) for worker in _workers(client).values()), default=1)


def _workers(client: Client) -> dict[str, Any]:
    known: dict[str, Any] = client.scheduler_info(n_workers=-1)
    if "workers" not in known:  # what a client says whose scheduler has gone
        raise ClusterError("the cluster is gone (its scheduler does not answer)")
    workers: dict[str, Any] = known["workers"]
    return workers


@contextlib.contextmanager
def lost(client: Client | None) -> Iterator[None]:
    """Turn the loss of the scheduler inside the block into one clear line.

    Raises
    ------
    ClusterError
        The scheduler went while the block ran.
    """
    if client is None:
        yield
        return
    from distributed.comm.core import CommClosedError

    try:
        yield
    except (CommClosedError, asyncio.CancelledError, OSError, TimeoutError) as error:
        if isinstance(error, OSError) and not isinstance(error, CommClosedError | TimeoutError):
            raise
        raise ClusterError(f"the cluster is gone ({one_line(error)})") from error


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Leave out what goes wrong while a cluster that may be gone is told to stop."""
    try:
        yield
    except Exception as error:
        log.info("while stopping: %s", error)
