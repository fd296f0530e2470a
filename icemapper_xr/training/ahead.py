"""Batches prepared ahead of the steps that need them, by a thread or by processes of their own."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import itertools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from icemapper_xr import errors
from icemapper_xr._types import FloatArray
from icemapper_xr.training import patches
from icemapper_xr.training.config import TrainingConfig
from icemapper_xr.training.samples import Sample
from icemapper_xr.training.sources import Data, Source

__all__ = ["batches"]

Batch = tuple[FloatArray, FloatArray]
Training = Callable[[int], Sequence[Sample]]
Begin = Callable[[int, float], Callable[[], Batch]]
"""Begins a batch, of its number and the share of the training that is done; what it returns waits for the batch."""


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
        Processes that prepare batches, two ahead for each; 0 prepares one ahead in a thread. The batches are the same;
        those of processes are to be used, or copied, before the next one is asked for.
    """
    if workers:
        opened = _by_processes(data.source, workers)
    else:
        config, training = data.source.config, data.training
        opened = _by_a_thread(lambda index, share: patches.batch(config, training(index), index, share))
    waiting: collections.deque[Callable[[], Batch]] = collections.deque()
    with opened as begin_one:

        def stream() -> Iterator[Batch]:
            numbers = iter(range(first, steps))

            def refill() -> None:
                for number in itertools.islice(numbers, max(1, 2 * workers) - len(waiting)):
                    waiting.append(begin_one(number, share(number)))

            refill()
            while waiting:
                batch = waiting.popleft()()
                refill()
                yield batch

        yield stream()


@contextlib.contextmanager
def _by_a_thread(prepare: Callable[[int, float], Batch]) -> Iterator[Begin]:
    """Prepare batches in a thread."""
    pool = concurrent.futures.ThreadPoolExecutor(1)
    try:
        yield lambda number, share: pool.submit(prepare, number, share).result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _by_processes(source: Source, workers: int) -> Iterator[Begin]:
    """Prepare batches in processes, in memory that they share with this one: a pipe is slower than a GPU.

    A block of it is taken again when all others have been, by which time its batch is used: of every process two are
    under way, and one batch is in use.
    """
    # Spawned: a fork of a process that holds threads and an accelerator cannot be trusted.
    context = multiprocessing.get_context("spawn")
    size = source.config.batch_bytes
    blocks = [context.RawArray("b", size) for _ in range(2 * workers + 1)]
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, _open, (source, blocks))

    def begin(number: int, share: float) -> Callable[[], Batch]:
        block = number % len(blocks)
        future = pool.submit(_prepare, block, number, share)
        return lambda: patches.laid(np.frombuffer(blocks[block], np.float32), future.result())

    try:
        yield begin
    except BrokenProcessPool as error:
        raise errors.OptionError(
            "a process that prepares patches has ended, perhaps for want of memory: "
            "go on with --resume and fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_opened: tuple[TrainingConfig, Training, list[Any]] | None = None
"""What a process prepares batches from, and the memory it puts them in."""


def _open(source: Source, blocks: list[Any]) -> None:
    """Open the samples in a process that was just started."""
    global _opened
    _opened = source.config, source.training(), blocks


def _prepare(block: int, index: int, share: float) -> patches.Shapes:
    """Prepare one batch in such a process, in the block of that number; returns the shapes of its arrays."""
    assert _opened is not None
    config, training, blocks = _opened
    memory = np.frombuffer(blocks[block], np.float32)
    x, y = patches.batch(config, training(index), index, share, memory=memory)
    return x.shape, y.shape
