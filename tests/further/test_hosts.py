"""Three hosts on one machine: scheduler and two workers in network namespaces; one loses its cable in mid run.

`make test-hosts` makes the namespaces and the bridge between them, and removes them.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from icemapper_xr import catalog, cluster, store
from icemapper_xr.errors import ClusterError
from icemapper_xr.pipeline import execution, verbs
from icemapper_xr.testing import FakeSegmenter
from tests import scenes
from tests.further import debian

pytestmark = pytest.mark.further

debian.need_root("network namespaces are made")
debian.need(["ip"], ["iproute2"])

ROOT = Path(__file__).resolve().parents[2]
NAME = f"ice{os.getpid() % 10_000}"
NET = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
PORT = 8786
IMPATIENT = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "30s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "60s",
}


def ip(*arguments: str, check: bool = True) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"ip {' '.join(arguments)}: {done.stderr}"


class Hosts:
    """A bridge here, and namespaces that hang on it by a cable (a veth pair) each."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.address = {name: f"{NET}.{number}" for number, name in enumerate(names, 2)}

    def __enter__(self) -> Hosts:
        try:
            ip("link", "add", f"{NAME}br", "type", "bridge")
            ip("addr", "add", f"{NET}.1/24", "dev", f"{NAME}br")
            ip("link", "set", f"{NAME}br", "up")
            for number, (name, address) in enumerate(self.address.items()):
                space, outside, inside = f"{NAME}{name}", f"{NAME}o{number}", f"{NAME}i{number}"
                ip("netns", "add", space)
                ip("link", "add", outside, "type", "veth", "peer", "name", inside)
                ip("link", "set", inside, "netns", space)
                ip("link", "set", outside, "master", f"{NAME}br")
                ip("link", "set", outside, "up")
                for command in (["addr", "add", f"{address}/24", "dev", inside], ["link", "set", inside, "up"]):
                    ip("-n", space, *command)
                ip("-n", space, "link", "set", "lo", "up")
        except BaseException as error:
            self.__exit__()
            if isinstance(error, AssertionError):
                pytest.skip(f"network namespaces cannot be made here: {error}")
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for number, name in enumerate(self.address):
            ip("netns", "del", f"{NAME}{name}", check=False)
            ip("link", "del", f"{NAME}o{number}", check=False)
        ip("link", "del", f"{NAME}br", check=False)

    def cut(self, name: str) -> None:
        """Pull the cable of a host."""
        ip("link", "set", f"{NAME}o{list(self.address).index(name)}", "down")

    @contextlib.contextmanager
    def run(self, name: str, *arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Run a Python program on a host until the end of the block."""
        command = ["ip", "netns", "exec", f"{NAME}{name}", sys.executable, "-m", *arguments]
        environment = {**os.environ, **IMPATIENT, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with log.open("w") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """The hosts with a scheduler and two workers on them."""
    with Hosts(("s", "a", "b")) as hosts, contextlib.ExitStack() as stack:
        scheduler = f"tcp://{hosts.address['s']}:{PORT}"
        own = ["--host", hosts.address["s"], "--port", str(PORT), "--no-dashboard", "--no-show"]
        stack.enter_context(hosts.run("s", "dask", "scheduler", *own, log=tmp_path / "scheduler.log"))
        for name in ("a", "b"):
            own = ["--host", hosts.address[name], "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name]
            stack.enter_context(hosts.run(name, "dask", "worker", scheduler, *own, log=tmp_path / f"{name}.log"))
        yield hosts


def wait(condition: Callable[[], Any], what: str, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} after {seconds:g} s"
        time.sleep(0.3)


def chunk_files(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("c/**/*")) if f.is_file()}


def test_the_map_survives_a_cable_that_is_cut(hosts: Hosts, tmp_path: Path) -> None:
    folder = tmp_path / "rasters"
    scenes.write_rtc(folder)
    catalog.build(folder)
    series = verbs.plan_cube(catalog=folder, year=2023, margin=32, bounds=scenes.inner(), crs=scenes.EPSG)
    segmenter = FakeSegmenter(window=32, burn=0.15)
    execution.map_cube(series, FakeSegmenter(window=32), tmp_path / "here.zarr", year=2023, chunk=32)
    cut: list[str] = []

    def pull(outcome: Any, total: Any) -> None:
        if total.written >= 2 and not cut:
            cut.append(f"after {total.written} of {total.units} units")
            hosts.cut("b")

    with cluster.connect(f"tcp://{hosts.address['s']}:{PORT}", wait=90.0) as client:
        assert client is not None
        wait(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 2, "second worker")
        written = execution.map_cube(
            series, segmenter, tmp_path / "there.zarr", year=2023, chunk=32, client=client, on_outcome=pull
        )
        left = [worker["name"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    assert cut
    assert written.units == written.written
    assert not written.failed
    assert left == ["a"]
    here, there = chunk_files(tmp_path / "here.zarr"), chunk_files(tmp_path / "there.zarr")
    assert here == there
    print(f"the cable was cut {cut[0]}; {written.windows.evaluated} windows, {written.seconds:.0f} s")
    np.testing.assert_array_equal(
        store.open_store(tmp_path / "here.zarr").probability, store.open_store(tmp_path / "there.zarr").probability
    )


def test_a_scheduler_out_of_reach_is_said(hosts: Hosts) -> None:
    hosts.cut("s")
    with (
        pytest.raises(ClusterError, match="no scheduler answers at tcp://"),
        cluster.connect(f"tcp://{hosts.address['s']}:{PORT}", wait=5.0),
    ):
        pass
