"""Where the blocks of a map run: threads of this process, or the workers of a Dask cluster. A few at a time."""

from __future__ import annotations

import concurrent.futures
import logging
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from icemapper_xr import cluster
from icemapper_xr.pipeline import units
from icemapper_xr.pipeline.outcomes import Outcome

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Pool", "open_pool"]

log = logging.getLogger(__name__)

PER_WORKER = 3
"""Blocks in flight per worker: one or two under way, one that waits, so that no worker is idle."""
PATIENCE = 20.0
"""Seconds without a block that ended after which somebody looks whether there are workers at all."""


class Pool(Protocol):
    """Runs functions of blocks, a few at a time, in whatever order they end."""

    @property
    def busy(self) -> int:
        """Number of functions that have not been fetched by `next` yet."""

    def room(self) -> bool:
        """Whether more should be submitted now."""

    def submit(self, function: Callable[[Any], Outcome], job: Any, place: units.Place, *, network: bool) -> None:
        """Begin; `network` says whether the network is needed."""

    def next(self) -> tuple[units.Place, Outcome | Exception]:
        """Wait for one to end, and fetch its outcome or what it raised."""

    def stop(self) -> None:
        """End as soon as may be, whatever is under way."""


def open_pool(client: Client | None, segmenter: Any) -> Pool:
    """Return the pool of a client; of this process for None."""
    if client is None:
        return Threads()
    cluster.one_model(client, segmenter)
    return Workers(client)


class Threads:
    """Threads of this process: one block is read while the network has another."""

    def __init__(self) -> None:
        units.halt(False)
        self._executor = concurrent.futures.ThreadPoolExecutor(units.AT_ONCE, "icemapper-block")
        self._places: dict[concurrent.futures.Future[Outcome], units.Place] = {}

    @property
    def busy(self) -> int:
        return len(self._places)

    def room(self) -> bool:
        return self.busy < units.AT_ONCE

    def submit(self, function: Callable[[Any], Outcome], job: Any, place: units.Place, *, network: bool) -> None:
        self._places[self._executor.submit(function, job)] = place

    def next(self) -> tuple[units.Place, Outcome | Exception]:
        ended, _ = concurrent.futures.wait(self._places, return_when=concurrent.futures.FIRST_COMPLETED)
        future = next(iter(ended))
        place = self._places.pop(future)
        error = future.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        return place, error or future.result()

    def stop(self) -> None:
        units.halt()
        self._executor.shutdown(wait=True, cancel_futures=True)


class Workers:
    """Workers of a Dask cluster; blocks with the network go where the GPUs are, if there are any."""

    def __init__(self, client: Client) -> None:
        from distributed import as_completed

        self._client = client
        self._places: dict[Any, units.Place] = {}
        self._ended = as_completed(loop=client.loop)
        self._gpus = False
        """Whether a block asked for a GPU, so that workers without one are no help."""

    @property
    def busy(self) -> int:
        return len(self._places)

    def room(self) -> bool:
        return self.busy < PER_WORKER * cluster.slots(self._client)

    def submit(self, function: Callable[[Any], Outcome], job: Any, place: units.Place, *, network: bool) -> None:
        row, column = place.block
        with cluster.lost(self._client):
            resources = cluster.placement(self._client) if network else {}
            self._gpus |= bool(resources)
            future = self._client.submit(
                function,
                job,
                # Never the same twice: a scheduler that serves two maps would take the one's result for the other's.
                key=f"icemapper-{function.__name__}-{row}-{column}-{uuid.uuid4().hex}",
                resources=resources or None,
                priority=0 if network else 1,
            )
        self._places[future] = place
        self._ended.add(future)

    def next(self) -> tuple[units.Place, Outcome | Exception]:
        with cluster.lost(self._client):
            self._wait()
            future = next(self._ended)
            place = self._places.pop(future)
            if future.status == "cancelled":
                future.result()
            try:
                return place, future.result()
            except Exception as error:
                if future.status == "cancelled":
                    raise
                return place, error
            finally:
                future.release()

    def _wait(self) -> None:
        """Wait for a block to end; say so, ever less often, where no worker is left that could.

        For how long one may be missing nobody but the user knows: a job may wait in its queue for hours.
        """
        patience = PATIENCE
        looked = time.monotonic()
        while not self._ended.has_ready():
            time.sleep(0.02)
            if time.monotonic() - looked < patience:
                continue
            if cluster.present(self._client, gpus=self._gpus) == 0:
                log.warning(
                    "the cluster has no worker%s now, and %d blocks wait for one: start some, or stop here (what is "
                    "done stays, the same command goes on from there)",
                    " with a GPU" if self._gpus else "",
                    self.busy,
                )
                patience *= 2
            looked = time.monotonic()

    def stop(self) -> None:
        with cluster.quietly():
            self._client.cancel(list(self._places), force=True)
        self._places.clear()
