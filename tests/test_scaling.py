"""Memory, overhead and speed-up of large maps through a stand-in for the network. `make test-slow`."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from distributed import Client, LocalCluster

from icemapper_xr import store
from icemapper_xr.pipeline import execution
from icemapper_xr.pipeline.outcomes import Written
from icemapper_xr.testing import FakeSegmenter
from tests import map_support

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


class Measured(NamedTuple):
    written: Written
    seconds: float
    peaks: list[float]
    """Peak memory of each worker, MB."""
    scheduler_tasks: int
    """Most tasks that the scheduler knew at once."""


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(path: Path, pixels: int, *, workers: int, burn: float) -> Measured:
    options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0}
    most = 0
    with LocalCluster(**options) as cluster, Client(cluster, set_as_default=False) as client:
        series = map_support.synthetic(pixels)
        execution.map_cube(  # what is imported and made once is no part of it
            map_support.synthetic(1152), FakeSegmenter(window=384), path / "warm.zarr", year=2023, client=client
        )

        def look(*_: object) -> None:
            nonlocal most
            most = max(most, len(cluster.scheduler.tasks))

        started = time.monotonic()
        written = execution.map_cube(
            series, FakeSegmenter(window=384, burn=burn), path / "a.zarr", year=2023, client=client, on_outcome=look
        )
        seconds = time.monotonic() - started
        peaks = list(client.run(peak).values())
    done, units = store.status(path / "a.zarr")[2023]
    assert done == units == written.units
    return Measured(written, seconds, peaks, most)


def test_memory_does_not_grow_with_the_area_and_the_overhead_is_small(tmp_path: Path, capsys) -> None:
    small, large = (
        measure(tmp_path / str(pixels), pixels, workers=2, burn=float(os.environ.get("ICEMAPPER_TEST_BURN", "0.0")))
        for pixels in (5_000, 10_000)
    )
    for result, units in ((small, 25), (large, 81)):
        assert result.written.units == units
    blocks = large.written.units
    busy = large.written.reading + large.written.network + large.written.writing
    overhead = (2 * large.seconds - busy) / blocks
    with capsys.disabled():
        for name, result in (("5 000 px", small), ("10 000 px", large)):
            print(
                f"\n{name}: {result.written.units} units, {result.written.windows.evaluated} windows, "
                f"{result.seconds:.0f} s, workers' peaks {', '.join(f'{one:.0f}' for one in result.peaks)} MB, "
                f"at most {result.scheduler_tasks} tasks at the scheduler; seconds over all workers: "
                f"reading {result.written.reading:.1f}, windows {result.written.network:.1f}, "
                f"writing {result.written.writing:.1f}"
            )
        print(f"overhead per unit {overhead:.2f} s of a worker's time, waiting included")
    assert max(large.peaks) <= 1.1 * max(small.peaks)
    assert large.scheduler_tasks <= small.scheduler_tasks + 2


def test_two_workers_take_little_more_than_half_the_time_of_one(tmp_path: Path, capsys) -> None:
    one, two = (measure(tmp_path / str(n), 4_000, workers=n, burn=0.06) for n in (1, 2))
    with capsys.disabled():
        print(f"\none worker {one.seconds:.1f} s, two {two.seconds:.1f} s: {two.seconds / one.seconds:.2f}")
    assert two.seconds <= 0.65 * one.seconds
