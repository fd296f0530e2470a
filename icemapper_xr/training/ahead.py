"""Batches prepared ahead of the steps that need them, by a thread or by processes of their own."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import functools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

from icemapper_xr import errors
from icemapper_xr._types import FloatArray
from icemapper_xr.training import patches
from icemapper_xr.training.config import TrainingConfig
from icemapper_xr.training.samples import Sample
from icemapper_xr.training.sources import Data, Source

__all__ = ["batches"]

Batch = tuple[FloatArray, FloatArray]
Prepare = Callable[[int, float], Batch]
Training = Callable[[int], Sequence[Sample]]


@contextlib.contextmanager
def batches(
    data: Data, steps: int, *, first: int, share: Callable[[int], float], workers: int = 0
) -> Iterator[Iterator[Batch]]:
    """Give the batches of the steps from `first` on, in order, while the block runs.

    Parameters
    ----------
    data
        What to draw from.
    steps
        Steps of the whole training.
    first
        Number of the first batch.
    share
        Gives the share of the training that is done at a step; asked when its batch is begun.
    workers
        Processes that prepare batches, two ahead for each; 0 prepares one ahead in a thread. The batches are the same.
    """
    pool: concurrent.futures.Executor
    if workers:
        # Spawned: a fork of a process that holds threads and an accelerator cannot be trusted.
        context = multiprocessing.get_context("spawn")
        pool = concurrent.futures.ProcessPoolExecutor(workers, context, _open, (data.source,))
        prepare: Prepare = _prepare
    else:
        pool = concurrent.futures.ThreadPoolExecutor(1)
        prepare = functools.partial(_batch, data.source.config, data.training)
    waiting: collections.deque[Future[Batch]] = collections.deque()

    def refill(begin: int) -> int:
        while begin < steps and len(waiting) < max(1, 2 * workers):
            waiting.append(pool.submit(prepare, begin, share(begin)))
            begin += 1
        return begin

    def stream() -> Iterator[Batch]:
        begin = refill(first)
        while waiting:
            batch = waiting.popleft().result()
            begin = refill(begin)
            yield batch

    try:
        yield stream()
    except BrokenProcessPool as error:
        raise errors.OptionError(
            "a process that prepares patches has ended, perhaps for want of memory: "
            "go on with --resume and fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_opened: tuple[TrainingConfig, Training] | None = None
"""What a process prepares batches from."""


def _open(source: Source) -> None:
    """Open the samples in a process that was just started."""
    global _opened
    _opened = source.config, source.training()


def _prepare(index: int, share: float) -> Batch:
    """Prepare one batch in such a process."""
    assert _opened is not None
    return _batch(*_opened, index, share)


def _batch(config: TrainingConfig, training: Training, index: int, share: float) -> Batch:
    return patches.batch(config, training(index), index, share)
