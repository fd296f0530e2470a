"""Stores that meet a kill, a second run, a full disk and missing rights; each in a process of its own."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from icemapper_xr import errors, store
from icemapper_xr.store import location as locations
from icemapper_xr.store import lock
from tests import store_cases
from tests.test_store import chunk_files

ROOT = Path(__file__).resolve().parents[1]

WRITER = """
import sys, time
import dask, dask.array as da, numpy as np
from icemapper_xr import store
from tests import store_cases

def slow(block):
    time.sleep({pause})
    return block

result = store_cases.result(left=500160.0, top=8700160.0)
data = da.map_blocks(slow, da.from_array(result.probability.values, 32), dtype="f4", meta=np.empty((0, 0), "f4"))
result = result.assign(probability=(("y", "x"), data))
{before}
print("start", flush=True)
try:
    with dask.config.set(scheduler="threads", num_workers=2):
        store.write(result, sys.argv[1], year=2023, chunk=32, piece_units=4, on_unit=lambda u: print(u, flush=True))
except Exception as error:
    print(type(error).__name__, error, flush=True)
"""


def start(path: Path, *, pause: float = 0.0, before: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER.format(pause=pause, before=before), str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline() for _ in range(count)]


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("whole") / "a.zarr"
    store.write(store_cases.result(left=500_160.0, top=8_700_160.0), path, year=2023, chunk=32)
    return chunk_files(path)


def test_resume_after_kills_gives_the_same_files(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    path = tmp_path / "a.zarr"
    process = start(path, pause=0.3)  # time to see it and to kill it on a busy machine
    lines(process, 1 + 2)
    kill(process)
    done, total = store.status(path)[2023]
    assert 2 <= done < total == 9
    partial = path / "probability/c/0/0/.0.1-2.partial"
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(b"half a chunk")
    told: list[store.Unit] = []
    result = store_cases.result(left=500_160.0, top=8_700_160.0)
    report = store.write(result, path, year=2023, chunk=32, on_unit=told.append)
    assert report.written == len(told) == total - done
    assert chunk_files(path) == undisturbed
    assert not partial.exists()
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_what_a_killed_worker_left_half_written_goes_with_the_end_of_the_year(tmp_path: Path) -> None:
    partial = tmp_path / "a.zarr/probability/c/0/0/.0.1-2.partial"

    def die(_: store.Unit) -> None:
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(b"half a chunk")

    store.write(store_cases.result(), tmp_path / "a.zarr", year=2023, chunk=32, on_unit=die)
    assert not partial.exists()


@pytest.mark.slow
def test_twenty_kills_at_any_moment(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    """Also before the store is there, between the variables of a unit, and while the year is added."""
    path = tmp_path / "a.zarr"
    for number in range(20):
        process = start(path, pause=0.002)
        lines(process, 1)
        time.sleep(0.02 * number)
        kill(process)
        if path.exists():
            for name, content in chunk_files(path).items():
                assert ".partial" in name or content == undisturbed[name]
        if number % 5 == 4:
            path.rename(tmp_path / f"{number}.zarr") if path.exists() else None
    result = store_cases.result(left=500_160.0, top=8_700_160.0)
    for folder in (path, *tmp_path.glob("*.zarr")):
        store.write(result, folder, year=2023, chunk=32)
        assert chunk_files(folder) == undisturbed


def test_two_runs_at_once(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    path = tmp_path / "a.zarr"
    process = start(path, pause=0.3)
    lines(process, 2)
    with pytest.raises(errors.StoreError, match=rf"is being written by process {process.pid} on .*wait until"):
        store.write(store_cases.result(), path, year=2023, chunk=32, overwrite=True)
    kill(process)
    assert (tmp_path / ".a.zarr.lock").exists()  # a dead run leaves the note, but not the lock
    store.write(store_cases.result(left=500_160.0, top=8_700_160.0), path, year=2023, chunk=32)
    assert chunk_files(path) == undisturbed
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_whoever_asks_for_the_writer_does_not_stop_one(tmp_path: Path) -> None:
    """The question holds the lock for a moment."""
    location = locations.Location.parse(tmp_path / "a.zarr")
    handle = os.open(location.sibling(".lock").url, os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_SH)
    threading.Timer(0.2, lambda: os.close(handle)).start()
    with lock.hold(location):
        assert lock.writer(location)


def test_the_lock_in_one_process(tmp_path: Path) -> None:
    place = locations.Location.parse(tmp_path / "a.zarr")
    with lock.hold(place):
        with pytest.raises(errors.StoreError, match=f"process {os.getpid()}"), lock.hold(place):
            pass
        with lock.hold(locations.Location.parse(tmp_path / "b.zarr")):
            pass
    with lock.hold(place):
        pass
    assert os.listdir(tmp_path) == []


def test_a_disk_that_takes_no_more(tmp_path: Path, undisturbed: dict[str, bytes]) -> None:
    """A limit on the size of a file stands for a full disk: the write fails in mid file."""
    path = tmp_path / "a.zarr"
    result = store_cases.result(left=500_160.0, top=8_700_160.0)
    store.write(result, path, year=2023, chunk=32)
    for chunk in ("0/0", "1/0", "1/1"):  # the first holds NaN and is small
        (path / f"probability/c/0/{chunk}").unlink()
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))"
    output, _ = start(path, before=limit).communicate(timeout=120)
    assert "StoreError Cannot write to the store" in output
    assert "File too large" in output
    assert "of 9 units are written and stay: mend this and run again" in output
    assert not list(path.rglob("*.partial"))
    assert store.status(path)[2023][0] in (6, 7)  # the small one may have come first
    store.write(result, path, year=2023, chunk=32)
    assert chunk_files(path) == undisturbed


@pytest.mark.parametrize("rights", [0o555, 0o000])
def test_a_folder_without_rights(tmp_path: Path, rights: int) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    store.write(store_cases.result(left=500_160.0, top=8_700_160.0), folder / "a.zarr", year=2023, chunk=32)
    (folder / "a.zarr/probability/c/0/0/0").unlink()
    before = ""
    if os.geteuid() == 0:  # rights do not bind root; import everything while we are
        before = (
            "store.write(result, 'memory://warm', year=2023, chunk=32)\nimport os\nos.setgid(65534)\nos.setuid(65534)"
        )
        for part in (tmp_path, *tmp_path.parents):
            part.chmod(part.stat().st_mode | 0o011)
            if part.name.startswith("pytest-of-"):
                break
    folder.chmod(rights)
    try:
        output, _ = start(folder / "a.zarr", before=before).communicate(timeout=120)
    finally:
        folder.chmod(0o755)
    assert "StoreError Cannot write in the folder" in output
    assert "Permission denied" in output
    assert store.status(folder / "a.zarr") == {2023: (8, 9)}
