"""SLURM on this machine: two jobs with a made-up GPU each, workers that come through dask-jobqueue, the same map.

`make test-slurm` starts and stops munge, the controller and the node's daemon, all in a temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icemapper_xr as ix
from icemapper_xr import cluster, store
from icemapper_xr.errors import ClusterError
from tests import scenes
from tests.catalog_support import free_port
from tests.further import debian

pytestmark = pytest.mark.further

debian.need_root("SLURM's daemons run jobs as their users")
debian.need(["slurmctld", "slurmd", "sbatch", "munged", "mungekey"], ["slurmctld", "slurmd", "slurm-client", "munge"])
pytest.importorskip("dask_jobqueue", reason="dask-jobqueue missing: pip install 'icemapper-xr[slurm]'")

ROOT = Path(__file__).resolve().parents[2]
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
InactiveLimit=0
KillWait=5
MinJobAge=300
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1 \
RealMemory={memory} Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
"""


def _start(stack: contextlib.ExitStack, folder: Path, *command: str) -> subprocess.Popen[bytes]:
    """Start a daemon in the foreground; it ends with the stack."""
    path = debian.program(command[0])
    assert path is not None
    log = stack.enter_context((folder / f"{command[0]}.out").open("w"))
    process = subprocess.Popen([path, *command[1:]], stdout=log, stderr=log)

    def stop() -> None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()

    stack.callback(stop)
    return process


def _ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _wait(condition: Any, what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"no {what} after {seconds:g} s"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running SLURM with one node, two GPUs that are none, and enough cores for two jobs."""
    folder = tmp_path_factory.mktemp("slurm")
    for part in ("spool", "state"):
        (folder / part).mkdir()
    folder.chmod(0o755)  # munge wants a socket that others can reach
    host = socket.gethostname().split(".")[0]
    cores = os.cpu_count() or 1
    values = {
        "host": host,
        "folder": folder,
        "controller": free_port(),
        "daemon": free_port(),
        "cpus": cores,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 100,
    }
    (folder / "slurm.conf").write_text(CONF.format(**values))
    (folder / "gres.conf").write_text("".join(f"NodeName={host} Name=gpu File=/dev/{d}\n" for d in ("zero", "null")))
    before = {name: os.environ.get(name) for name in ("SLURM_CONF", "PYTHONPATH")}
    with contextlib.ExitStack() as stack:
        subprocess.run([debian.program("mungekey") or "", "-c", "-k", str(folder / "munge.key")], check=True)
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid"}
        files |= {"log-file": "munge.log", "seed-file": "munge.seed"}
        _start(stack, folder, "munged", "--foreground", "--force", *(f"--{k}={folder / v}" for k, v in files.items()))
        _wait((folder / "munge.socket").exists, "munge")
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        os.environ["PYTHONPATH"] = str(ROOT)
        _start(stack, folder, "slurmctld", "-D", "-f", str(folder / "slurm.conf"))
        _start(stack, folder, "slurmd", "-D", "-f", str(folder / "slurm.conf"), "-N", host)
        try:
            _wait(lambda: "idle" in _ask("sinfo", "-h", "-o", "%t"), "idle node")
            yield folder
        finally:
            _ask("scancel", "--state=RUNNING")
            _ask("scancel", "--state=PENDING")
            _wait(lambda: not _ask("squeue", "-h").strip(), "end of the jobs", 30)
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


def options(folder: Path, **changes: Any) -> dict[str, Any]:
    extra = (f"--output={folder}/job-%j.out", "--overcommit")
    return {
        "workers": 2,
        "threads": 1,
        "memory": "1GiB",
        "gpus": 1,
        "interface": "lo",
        "job_options": extra,
        "wait": 240.0,
        **changes,
    }


def test_two_jobs_come_with_a_gpu_each(slurm: Path) -> None:
    with cluster.connect("slurm", **options(slurm)) as client:
        assert client is not None
        client.wait_for_workers(2, timeout=240)
        workers = client.scheduler_info(n_workers=-1)["workers"]
        assert [worker["resources"] for worker in workers.values()] == [{"GPU": 1}] * 2
        gpus = client.run(lambda: (os.environ["SLURM_JOB_ID"], os.environ["SLURM_JOB_GPUS"]))
        assert len({job for job, _ in gpus.values()}) == 2
        assert {gpu for _, gpu in gpus.values()} == {"0", "1"}
        assert len(_ask("squeue", "-h", "-t", "RUNNING").splitlines()) == 2
    _wait(lambda: not _ask("squeue", "-h", "-t", "RUNNING").strip(), "end of the jobs")


def test_the_map_of_slurm_is_that_of_threads(slurm: Path, folder: Path, tmp_path: Path) -> None:
    weights = scenes.write_weights(tmp_path / "w.h5")
    command = [sys.executable, "-m", "icemapper_xr", "map", "--catalog", str(folder), "--weights", str(weights)]
    command += [
        "--bounds",
        *(f"{edge:g}" for edge in scenes.inner()),
        "--crs",
        f"EPSG:{scenes.EPSG}",
        "--years",
        "2023",
    ]
    chosen = options(slurm)
    jobs = ["--cluster", "slurm", "--workers", "2", "--threads", "1", "--memory", "1GiB", "--gpus", "1"]
    jobs += ["--interface", "lo", "--wait", "240", *(f"--job-option={line}" for line in chosen["job_options"])]
    for name, more in (("slurm", jobs), ("threads", [])):
        done = subprocess.run(
            [*command, "--out", str(tmp_path / name), *more], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
    one, other = (store.open_store(tmp_path / name / "glaciers.zarr").load() for name in ("slurm", "threads"))
    np.testing.assert_array_equal(one.probability.values, other.probability.values)
    np.testing.assert_array_equal(one.n_obs.values, other.n_obs.values)


def test_a_queue_that_is_not_there_is_said(slurm: Path) -> None:
    with (
        pytest.raises(ClusterError, match=r"SLURM took no job \(sbatch: error: .*invalid partition specified: nowhere"),
        cluster.connect("slurm", **options(slurm, queue="nowhere")),
    ):
        pass


def test_the_public_functions_run_on_slurm(slurm: Path, folder: Path, tmp_path: Path) -> None:
    weights = scenes.write_weights(tmp_path / "w.h5")
    cube = {"catalog": folder, "bounds": scenes.inner(), "crs": scenes.EPSG, "year": 2023, "margin": scenes.WINDOW}
    with cluster.connect("slurm", **options(slurm)):
        there = ix.open_cube(**cube).icemapper.predict(weights=weights).compute()
    here = ix.open_cube(**cube).icemapper.predict(weights=weights).compute()
    np.testing.assert_array_equal(there.probability.values, here.probability.values)
