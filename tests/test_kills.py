"""Runs that are killed at random moments and go on: the same bits, and little done twice. `make test-slow`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from icemapper_xr import store
from icemapper_xr.pipeline import pools
from tests.map_support import chunk_files

ROOT = Path(__file__).resolve().parents[1]
RUNS = 20
WINDOWS, UNITS = 49, 16
"""Of the map, and what a unit owns of the windows at most."""
WINDOWS_OF_UNIT = 4
BURN = "0.05"
WORKERS = 2

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as opened,
    ):
        opened.run_on_scheduler(_endure)
        yield opened


def _endure(dask_scheduler: object) -> None:
    """Let a task outlive more worker deaths than by default."""
    dask_scheduler.allowed_failures = 50  # type: ignore[attr-defined]


def start(folder: Path, where: Path, address: str) -> subprocess.Popen[str]:
    arguments = [str(folder), str(where / "a.zarr"), str(where / "trace"), address, BURN]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.kill_driver", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )


def begun(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "start"


def at_unit(process: subprocess.Popen[str], number: int) -> None:
    """Wait until a driver has told of so many units."""
    assert process.stdout is not None
    assert number == 0 or f"unit {number}\n" in process.stdout  # reads up to that line


def ended(process: subprocess.Popen[str]) -> int:
    """Wait for the end of a driver; its output is read, so that it cannot stall on a full pipe."""
    process.communicate()
    return process.returncode


def evaluated(where: Path) -> list[str]:
    trace = where / "trace"
    return [line.split()[0] for line in trace.read_text().splitlines()] if trace.exists() else []


def test_twenty_killed_runs_end_with_the_bits_of_an_undisturbed_one(
    client: Client, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = client.scheduler.address
    calm = tmp_path / "calm"
    calm.mkdir()
    process = start(folder, calm, address)
    begun(process)
    assert ended(process) == 0
    expected = chunk_files(calm / "a.zarr")
    assert len(evaluated(calm)) == len(set(evaluated(calm))) == WINDOWS

    rng = random.Random(20_261)
    rows = []
    for number in range(RUNS):
        where = tmp_path / f"run{number:02d}"
        where.mkdir()
        victim = "driver" if number % 2 == 0 else "worker"
        process = start(folder, where, address)
        begun(process)
        at_unit(process, rng.randrange(UNITS - 1))  # a moment by the clock would mostly fall before or after the work
        time.sleep(rng.uniform(0, 0.3))
        done = store.status(where / "a.zarr").get(2023, (0, 0))[0] if store.is_store(where / "a.zarr") else 0
        if victim == "driver":
            process.send_signal(signal.SIGKILL)
            ended(process)
            process = start(folder, where, address)
        else:
            os.kill(rng.choice(list(client.run(os.getpid).values())), signal.SIGKILL)
        assert ended(process) == 0
        client.wait_for_workers(WORKERS, timeout=120)
        assert chunk_files(where / "a.zarr") == expected
        assert store.status(where / "a.zarr") == {2023: (UNITS, UNITS)}
        assert sorted(path.name for path in where.iterdir()) == ["a.zarr", "logs", "trace"]
        windows = evaluated(where)
        assert set(windows) == set(evaluated(calm))
        repeated = len(windows) - len(set(windows))
        rows.append((number, victim, done, repeated))
        # What was under way when the kill came is done again, and no more.
        assert repeated <= WINDOWS_OF_UNIT * pools.PER_WORKER * WORKERS
    with capsys.disabled():
        print(f"\n{UNITS} units, {WINDOWS} windows; {pools.PER_WORKER * WORKERS} units in flight")
        for number, victim, done, repeated in rows:
            units = -(-repeated // WINDOWS_OF_UNIT)
            print(
                f"run {number:2d}: {victim} killed with {done:2d} units done; "
                f"{repeated:2d} windows (at least {units} units) evaluated twice; equal"
            )
