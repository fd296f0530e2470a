from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import numpy as np
import pytest
from distributed import Client, Nanny, Scheduler, SpecCluster

from icemapper_xr import cluster, models, prediction, progress, store
from icemapper_xr.cluster import clients, devices
from icemapper_xr.errors import ClusterError, IcemapperError, OptionError, WeightsError
from icemapper_xr.testing import FakeSegmenter
from tests import cluster_support, scenes
from tests.test_prediction import make_cube, on_the_lattice

pytestmark = pytest.mark.filterwarnings("ignore:.*socket.*:ResourceWarning", "ignore:.*lost.*")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two worker processes, of which only the second declares a GPU."""
    options = {"nthreads": 1, "memory_limit": "2GiB"}
    workers = {
        "plain": {"cls": Nanny, "options": options},
        "gpu": {"cls": Nanny, "options": {**options, "resources": {"GPU": 1}}},
    }
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": ":0"}}
    with SpecCluster(scheduler=scheduler, workers=workers) as running, Client(running) as opened:
        opened.wait_for_workers(2)
        yield opened


# -- connecting -------------------------------------------------------------------------------------------------------
def test_threads_need_no_cluster() -> None:
    with cluster.connect("threads") as client:
        assert client is None
    assert cluster.placement(None) == {}
    assert cluster.slots(None) == 1


def test_the_active_client_is_taken(client: Client) -> None:
    with cluster.connect(None) as taken:
        assert taken is client


def test_an_address_and_a_scheduler_file(client: Client, tmp_path: Path) -> None:
    import json

    address = client.scheduler.address
    with cluster.connect(address) as opened:
        assert opened is not None
        assert opened.submit(sum, (1, 2)).result() == 3
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": address, "type": "Scheduler", "id": "x", "workers": {}}))
    with cluster.connect(str(file)) as opened:
        assert opened.scheduler.address == address


@pytest.mark.parametrize(
    ("spec", "options", "error", "match"),
    [
        (
            "tcp://127.0.0.1:1",
            {"wait": 0.5},
            ClusterError,
            "no scheduler answers at tcp://127.0.0.1:1 .*dask scheduler",
        ),
        ("no/such.json", {}, ClusterError, "no scheduler file no/such.json"),
        ("nonsense", {}, OptionError, "'nonsense' is unknown; use one of threads, local, cuda, slurm"),
        ("local", {"workers": 0}, OptionError, "workers=0"),
        ("local", {"threads": -1}, OptionError, "threads=-1"),
        ("local", {"memory": "much"}, OptionError, "memory='much'"),
        ("local", {"memory": "1MB"}, OptionError, "less than a worker"),
        ("local", {"gpus": 2}, OptionError, "gpus=2"),
        ("local", {"wait": 0}, OptionError, "wait=0"),
        ("local", {"nonsense": 1}, OptionError, "'nonsense' is no option of a cluster"),
        ("threads", {"workers": 2}, OptionError, "workers needs a cluster"),
        ("local", {"gpus": 1, "queue": "gpu"}, OptionError, "gpus=1 means nothing to cluster 'local'; .*cluster slurm"),
        (
            "cuda",
            {"interface": "ib0"},
            OptionError,
            "interface=ib0 .* 'cuda'; it is for cluster local or cluster slurm",
        ),
        ("local", {"workers": float("nan")}, OptionError, "workers=nan must be a whole number"),
        ("local", {"memory": "1e400GB"}, OptionError, "memory='1e400GB' is no amount of memory"),
        ("tcp://127.0.0.1:1", {"workers": 2}, OptionError, "workers cannot be changed on a running cluster"),
    ],
)
def test_what_cannot_be_had_is_said_in_a_line(spec: str, options: dict, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as caught, cluster.connect(spec, **options):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{}", "{", "[]", '{"address": 5}'])
def test_a_file_that_is_no_schedulers(tmp_path: Path, content: str) -> None:
    (tmp_path / "s.json").write_text(content)
    with (
        pytest.raises(ClusterError, match=r"s\.json is no scheduler file, it holds no address"),
        cluster.connect(str(tmp_path / "s.json")),
    ):
        pass


@pytest.mark.filterwarnings("ignore")
def test_an_interface_that_is_not_there() -> None:
    with (
        pytest.raises(ClusterError, match=r"cluster local does not start .*nope0"),
        cluster.connect("local", workers=1, threads=1, memory="1GiB", interface="nope0"),
    ):
        pass


def test_a_scheduler_without_workers(tmp_path: Path) -> None:
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": ":0"}}
    with (
        SpecCluster(scheduler=scheduler, workers={}) as empty,
        pytest.raises(ClusterError, match=r"no worker came .* within 0.3 s; start some: dask worker tcp://"),
        cluster.connect(empty.scheduler_address, wait=0.3),
    ):
        pass


def test_slurm_and_cuda_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(ClusterError, match=r"icemapper-xr\[slurm\]"), cluster.connect("slurm"):
        pass
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(ClusterError, match=r"no NVIDIA device is visible.*--cluster local"), cluster.connect("cuda"):
        pass


def answering(monkeypatch: pytest.MonkeyPatch, folder: Path, sbatch: str) -> None:
    """Put programs in the place of SLURM's: what they are sent starts no worker."""
    pytest.importorskip("dask_jobqueue", reason="the extra slurm is not installed")
    for name, line in {"sbatch": sbatch, "scancel": "exit 0"}.items():
        (folder / name).write_text(f"#!/bin/sh\ncd {folder}\n{line}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


REFUSED = 'echo "sbatch: error: invalid partition specified: nowhere" >&2; exit 1'


def test_what_sbatch_refuses_is_told_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answering(monkeypatch, tmp_path, REFUSED)
    with (
        pytest.raises(
            ClusterError, match=r"took no job \(sbatch: error: invalid partition specified: nowhere\); check"
        ),
        cluster.connect("slurm", queue="nowhere", interface="lo", wait=3000.0),
    ):
        pass


def test_jobs_that_slurm_took_go_on_without_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answering(monkeypatch, tmp_path, f"mkdir once 2>/dev/null || {{ {REFUSED}; }}\necho Submitted batch job 7")
    progress.enable()
    try:
        with (
            pytest.raises(ClusterError, match=r"no worker came to the cluster slurm within 0\.5 s"),
            cluster.connect("slurm", workers=3, interface="lo", wait=0.5),
        ):
            pass
    finally:
        progress.enable(False)
    told = capsys.readouterr().err
    assert "SLURM took 1 of 3 jobs (sbatch: error: invalid partition specified: nowhere); going on with those" in told


def test_slurm_takes_from_the_site_what_is_not_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answering(monkeypatch, tmp_path, "echo Submitted batch job 7")

    def script(**options: Any) -> str:
        made = clients._slurm(cluster.ClusterOptions(interface="lo", **options))
        try:
            return str(made.job_script())
        finally:
            made.close()

    plain = script()
    assert "--cpus-per-task=4" in plain
    assert "--mem=8G" in plain
    site = {"cores": 7, "memory": "21GiB", "job_extra_directives": ["--qos=ice"], "worker_extra_args": ["--no-nanny"]}
    with dask.config.set({"jobqueue.slurm": {**dask.config.get("jobqueue.slurm"), **site}}):
        theirs = script(gpus=1, job_options=("--exclusive",))
        ours = script(threads=2, memory="3GiB")
    for line in (
        "--cpus-per-task=7",
        "--mem=21G",
        "--qos=ice",
        "--gres=gpu:1",
        "--exclusive",
        "--no-nanny --resources",
    ):
        assert line in theirs
    assert "--cpus-per-task=2" in ours
    assert "--mem=3G" in ours


def test_the_shape_of_a_local_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    import dask.system
    import distributed.system

    monkeypatch.setattr(dask.system, "cpu_count", lambda: 16)
    for gigabytes, options, shape in (
        (64, {}, (4, 4)),
        (8, {}, (2, 8)),  # memory for two
        (1, {}, (1, 16)),
        (64, {"threads": 1}, (16, 1)),
        (64, {"threads": 1, "memory": "16GiB"}, (4, 1)),
        (64, {"workers": 3}, (3, 5)),
    ):
        monkeypatch.setattr(distributed.system, "MEMORY_LIMIT", gigabytes * 2**30)
        assert clients.local_shape(cluster.ClusterOptions(**options)) == shape


def test_a_plan_has_the_workers_that_slurm_would_give() -> None:
    from icemapper_xr.pipeline import planning

    jobqueue = dask.config.get("jobqueue.slurm", {})
    for cores, options, shape in ((7, {}, (1, 7)), (7, {"workers": 3, "threads": 2}, (3, 2)), (None, {}, (1, 4))):
        with dask.config.set({"jobqueue.slurm": {**jobqueue, "cores": cores}}):
            assert planning._shape("slurm", cluster.ClusterOptions(**options)) == shape


# -- devices ----------------------------------------------------------------------------------------------------------
def test_devices_are_those_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for named, found in (("0,2", ["0", "2"]), ("", []), ("-1", []), ("GPU-8932f937", ["GPU-8932f937"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert devices.visible_devices() == found


def test_a_plan_has_a_worker_for_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    from icemapper_xr.pipeline import planning

    for named, options, shape in (
        ("0,1,2", {}, (3, 4)),
        ("0,1,2", {"workers": 2, "threads": 8}, (2, 8)),
        ("", {}, (1, 4)),  # a plan made where there is none
        ("", {"workers": 8}, (8, 4)),
    ):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert planning._shape("cuda", cluster.ClusterOptions(**options)) == shape


def test_without_dask_cuda_each_worker_sees_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")

    with pytest.raises(OptionError, match="3 workers are wanted, but there are 2 GPUs"):
        devices.open_cluster(cluster.ClusterOptions(workers=3))
    with cluster.connect("cuda", threads=1) as client:
        assert client is not None
        client.wait_for_workers(2)
        assert sorted(client.run(cluster_support.visible_device).values()) == ["3", "5"]
        assert cluster.placement(client) == {"GPU": 0.5}
        assert cluster.slots(client) == 2


# -- placement and models ---------------------------------------------------------------------------------------------
def test_tasks_of_the_network_run_only_where_there_is_a_gpu(client: Client) -> None:
    assert cluster.placement(client) == {"GPU": 0.5}
    assert cluster.slots(client) == 1
    futures = client.map(cluster_support.name_of_worker, range(20), pure=False, resources=cluster.placement(client))
    assert set(client.gather(futures)) == {"gpu"}
    free = client.map(cluster_support.name_of_worker, range(200), pure=False)
    assert "plain" in client.gather(free)


def test_one_model_on_every_worker_that_has_a_gpu_and_none_elsewhere(client: Client, tmp_path: Path) -> None:
    segmenter = models.load_model(scenes.write_weights(tmp_path / "tiny.h5"), engine="openvino")
    cluster.one_model(client, segmenter)
    held = {info["name"]: address for address, info in client.scheduler_info()["workers"].items()}
    found = client.run(cluster_support.networks)
    assert found[held["gpu"]] == (1, 1)  # one network, one thread as the worker has
    assert found[held["plain"]][0] == 0
    x = np.zeros((1, 15, 32, 32, 1), np.float32)
    answers = client.map(segmenter, [x] * 4, pure=False, resources=cluster.placement(client))
    for answer in client.gather(answers):
        np.testing.assert_allclose(answer, segmenter(x), atol=1e-6)
    assert client.run(cluster_support.networks)[held["gpu"]] == (1, 1)


def test_a_worker_without_the_weights_file(client: Client, tmp_path: Path) -> None:
    logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)
    file = scenes.write_weights(tmp_path / "gone.h5", seed=77)
    segmenter = models.load_model(file, engine="openvino")
    file.unlink()
    with pytest.raises(WeightsError, match=r"a worker cannot run the network: weights file .*gone.h5 is not on this"):
        cluster.one_model(client, segmenter)


def test_fakes_need_no_preparation(client: Client) -> None:
    cluster.one_model(client, SimpleNamespace(digest="x"))


def test_a_lost_scheduler_is_one_line() -> None:
    from distributed.comm import CommClosedError

    with pytest.raises(ClusterError, match="the cluster is gone"), cluster.lost(object()):  # type: ignore[arg-type]
        raise CommClosedError("in <TCP>: Stream is closed")
    with pytest.raises(FileNotFoundError), cluster.lost(object()):  # type: ignore[arg-type]
        raise FileNotFoundError("x")
    assert issubclass(ClusterError, IcemapperError)


def test_a_killed_worker_of_this_machine_comes_back_however_long_it_takes() -> None:
    """Dask gave it up after 15 s, in which a busy machine starts none: the map waited, maybe for ever."""
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "10ms"}),
        cluster.connect("local", workers=1, threads=1) as client,
    ):
        assert client is not None
        pid = client.submit(os.getpid).result()
        os.kill(pid, signal.SIGKILL)
        assert client.submit(os.getpid, pure=False).result(timeout=120) != pid
        assert len(client.cluster.workers) == 1


# -- stores -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("resources", [None, {"GPU": 1}])
def test_workers_share_the_windows_at_the_borders_of_pieces(
    client: Client, tmp_path: Path, resources: dict[str, float] | None, caplog: pytest.LogCaptureFixture
) -> None:
    cube = on_the_lattice(make_cube((380, 330)), 40)
    lazy = prediction.probability(cube.chunk(y=64, x=64), FakeSegmenter(window=32))
    with dask.config.set(scheduler="threads"):
        whole, windows = dask.compute(lazy.result, lazy.windows)
    before = client.run(prediction.tally)
    store.write(lazy.result, tmp_path / "a.zarr", year=2023, chunk=64, piece_units=4, resources=resources)
    after = client.run(prediction.tally)
    evaluated = {worker: sum(after[worker]) - sum(before[worker]) for worker in after}
    assert sum(evaluated.values()) == windows.sum()
    if resources:
        with_gpu = [name for name, facts in client.scheduler_info()["workers"].items() if facts["resources"]]
        assert [name for name, number in evaluated.items() if number] == with_gpu
    assert "run_spec" not in caplog.text  # no two tasks under one key
    np.testing.assert_array_equal(store.open_store(tmp_path / "a.zarr").probability[0], whole.probability)
