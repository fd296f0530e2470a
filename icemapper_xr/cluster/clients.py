"""From a word or an address to a client."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icemapper_xr import progress
from icemapper_xr.cluster import devices
from icemapper_xr.cluster.options import ClusterOptions, memory_bytes
from icemapper_xr.errors import ClusterError, OptionError, one_line

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["KINDS", "active_client", "check", "connect", "local_shape", "named", "slurm_shape"]

log = logging.getLogger(__name__)

KINDS = ("threads", "local", "cuda", "slurm")
"""What a cluster is named by, besides an address or the scheduler's file."""
_WORKER_OPTIONS = ("workers", "threads", "memory", "wait")
_TAKEN = {
    "local": (*_WORKER_OPTIONS, "interface"),
    "cuda": _WORKER_OPTIONS,
    "slurm": (*_WORKER_OPTIONS, "interface", "gpus", "queue", "account", "walltime", "job_options"),
}
"""Options that each kind of cluster takes."""
WORKER_CORES = 4
"""Cores of a local worker process by default: the network runs on several threads, reading waits for the network."""
WORKER_MEMORY = 4 * 2**30
"""Bytes that a local worker process gets at least, by default: the network (1.5 GB) and two blocks of a cube."""
_RESTART = {"distributed.deploy.lost-worker-timeout": "1h"}
"""Dask's 15 s end the process that restarts a killed worker of this machine before a busy one has started it anew."""


def active_client() -> Client | None:
    """Return the client that the caller has opened, if any."""
    import sys

    if "distributed" not in sys.modules:  # nobody can have opened one
        return None
    from distributed import default_client

    try:
        return default_client()  # type: ignore[no-any-return]
    except ValueError:
        return None


@contextlib.contextmanager
def connect(spec: str | None = None, options: ClusterOptions | None = None, **changes: Any) -> Iterator[Client | None]:
    """Open a client for the block, and close afterwards what was started for it.

    Parameters
    ----------
    spec
        ``"local"`` (worker processes here), ``"cuda"`` (one worker a GPU of this machine), ``"slurm"`` (workers as
        jobs), an address (``tcp://``, ``tls://``, ``ucx://``), the scheduler's JSON file, ``"threads"`` (no cluster);
        None takes the active client, or threads.
    options, **changes
        `ClusterOptions`, or its fields.

    Yields
    ------
    distributed.Client or None
        With at least one worker; None for threads of this process.

    Raises
    ------
    ClusterError
        If there is no scheduler, no worker, no GPU, or a package is missing; the message says what to do.
    OptionError
        If the spec is unknown, or an option does not belong to it.

    Examples
    --------
    >>> with connect("threads") as client:
    ...     print(client)
    None
    """
    chosen = _chosen(options, changes)
    check(spec, chosen)
    if spec is None or spec == "threads":
        yield active_client() if spec is None else None
        return
    with contextlib.ExitStack() as stack:
        client = _open(spec, chosen, stack)
        _wait(client, spec, chosen)
        yield client


def named(spec: str | None, client: Client | None) -> str:
    """Say in a word where a run computes; `spec` as `connect` took it, `client` as it gave it.

    Examples
    --------
    >>> named("slurm", None), named(None, None)
    ('slurm', 'threads')
    """
    return spec or ("active client" if client is not None else "threads")


def _chosen(options: ClusterOptions | None, changes: dict[str, Any]) -> ClusterOptions:
    known = {field.name for field in fields(ClusterOptions)}
    for name in changes:
        if name not in known:
            raise OptionError(f"{name!r} is no option of a cluster; there are: {', '.join(sorted(known))}")
    return replace(options or ClusterOptions(), **changes)


def _open(spec: str, options: ClusterOptions, stack: contextlib.ExitStack) -> Client:
    from dask import config
    from distributed import Client

    if "://" in spec or spec.endswith(".json"):
        joined: Client = stack.enter_context(_join(spec, options))
        return joined
    openers = {"local": _local, "cuda": devices.open_cluster, "slurm": _slurm}
    progress.note(f"starting workers ({spec})")
    if spec != "slurm":  # there the job of a lost worker is over
        stack.enter_context(config.set(_RESTART))
    try:
        opened = openers[spec](options)
    except RuntimeError as error:  # of dask, on what it learns only when it starts: an interface that is not there
        raise ClusterError(f"the cluster {spec} does not start ({one_line(error)}); mend that option") from None
    cluster = stack.enter_context(_quiet_end(opened))
    client: Client = stack.enter_context(Client(cluster))
    return client


def check(spec: str | None, options: ClusterOptions) -> None:
    """Refuse a cluster that is none, and options that a kind of cluster would leave unheeded; nothing is started.

    Raises
    ------
    OptionError
        The spec is unknown, or an option does not belong to it.
    """
    if spec is None or spec == "threads":
        if options.given():
            raise OptionError(f"{', '.join(options.given())} needs a cluster: name one of local, cuda, slurm")
        return
    address = "://" in spec or spec.endswith(".json")
    if not address and spec not in _TAKEN:
        raise OptionError(f"cluster {spec!r} is unknown; use one of {', '.join(KINDS)}, or an address tcp://host:port")
    for name in () if address else options.given():
        if name not in _TAKEN[spec]:
            takers = " or ".join(f"cluster {other}" for other, taken in _TAKEN.items() if name in taken)
            raise OptionError(f"{name}={getattr(options, name)} means nothing to cluster {spec!r}; it is for {takers}")


@contextlib.contextmanager
def _quiet_end(cluster: Any) -> Iterator[Any]:
    """Close a cluster at the end, whatever state its processes are in."""
    try:
        yield cluster
    finally:
        _close(cluster)


def _close(cluster: Any) -> None:
    """Close a cluster; where SLURM refused a job, dask ends everything but then trips over the job that never was."""
    from distributed.deploy.cluster import Cluster

    try:
        cluster.close()
    except Exception as error:
        log.debug("closing %s: %s", cluster, error)
        with contextlib.suppress(Exception):
            cluster.sync(Cluster._close, cluster)


def _join(spec: str, options: ClusterOptions) -> Client:
    """Connect to a scheduler that somebody else started."""
    from distributed import Client

    foreign = [name for name in options.given() if name != "wait"]
    if foreign:
        raise OptionError(
            f"{', '.join(foreign)} cannot be changed on a running cluster ({spec}); set it where its workers start"
        )
    timeout = min(options.wait, 30.0)
    try:
        if spec.endswith(".json"):
            return Client(_address_in(Path(spec)), timeout=timeout)
        return Client(spec, timeout=timeout)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no scheduler answers at {spec} ({one_line(error)}); check the address, or start one with "
            "`dask scheduler` and workers with `dask worker`"
        ) from None


def _address_in(path: Path) -> str:
    """Return the address that a scheduler's file holds."""
    remedy = "one comes from dask scheduler --scheduler-file"
    if not path.is_file():
        raise ClusterError(f"there is no scheduler file {path}; {remedy}")
    try:
        address = json.loads(path.read_text(encoding="utf-8"))["address"]
    except (OSError, ValueError, KeyError, TypeError):
        address = None
    if not isinstance(address, str):
        raise ClusterError(f"{path} is no scheduler file, it holds no address; {remedy}")
    return address


def _wait(client: Client, spec: str, options: ClusterOptions) -> None:
    """Wait for the first worker."""
    try:
        client.wait_for_workers(1, timeout=options.wait)
    except TimeoutError:
        remedy = {
            "slurm": "look at `squeue` and at the job's output (slurm-*.out); the queue may be full: --wait",
            "local": "the processes did not start: look at the messages above",
            "cuda": "the processes did not start: look at the messages above",
        }.get(spec, f"start some: dask worker {client.scheduler.address if client.scheduler else spec}")
        raise ClusterError(f"no worker came to the cluster {spec} within {options.wait:g} s; {remedy}") from None
    log.info("cluster %s: %s", spec, client)


def _local(options: ClusterOptions) -> Any:
    from distributed import LocalCluster

    workers, threads = local_shape(options)
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=threads,
        memory_limit="auto" if options.memory is None else memory_bytes(options.memory),
        processes=True,
        dashboard_address=devices.DASHBOARD,
        **({} if options.interface is None else {"interface": options.interface}),
    )


def local_shape(options: ClusterOptions) -> tuple[int, int]:
    """Return the number of workers and of threads of each, for this machine.

    Examples
    --------
    >>> local_shape(ClusterOptions(workers=2, threads=3))
    (2, 3)
    """
    from dask.system import cpu_count
    from distributed.system import MEMORY_LIMIT

    cores = max(1, int(cpu_count()))
    memory = WORKER_MEMORY if options.memory is None else memory_bytes(options.memory)
    room = max(1, int(MEMORY_LIMIT // memory))
    workers = options.workers or min(room, max(1, cores // (options.threads or WORKER_CORES)))
    return workers, options.threads or max(1, cores // workers)


def slurm_shape(options: ClusterOptions) -> tuple[int, int]:
    """Return the number of SLURM jobs and of threads of each: the site's cores, where none are given.

    Examples
    --------
    >>> slurm_shape(ClusterOptions(workers=8, threads=16))
    (8, 16)
    """
    from dask import config

    with contextlib.suppress(ImportError):  # a plan does without; a run says what to install
        import dask_jobqueue  # noqa: F401  (fills the configuration)
    return options.workers or 1, int(options.threads or config.get("jobqueue.slurm.cores", None) or WORKER_CORES)


def _slurm(options: ClusterOptions) -> Any:
    """Workers as SLURM jobs, one a job; what is not given comes from the configuration of dask-jobqueue first."""
    from dask import config

    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise ClusterError("cluster 'slurm' needs dask-jobqueue: pip install 'icemapper-xr[slurm]'") from None
    if shutil.which("sbatch") is None:
        raise ClusterError("cluster 'slurm' needs `sbatch`, which is not on this machine's PATH: run on a login node")
    site: dict[str, Any] = config.get("jobqueue.slurm", {})  # which importing dask-jobqueue has filled
    gpu = (["--gres=gpu:1"], ["--resources", "GPU=1"]) if options.gpus else ([], [])
    jobs, cores = slurm_shape(options)
    settings: dict[str, Any] = {
        "cores": cores,
        "processes": 1,
        "memory": options.memory or site.get("memory") or f"{2 * WORKER_MEMORY}B",
        "job_extra_directives": [*(site.get("job_extra_directives") or ()), *gpu[0], *options.job_options],
        "worker_extra_args": [*(site.get("worker_extra_args") or ()), *gpu[1]],
        "scheduler_options": {"dashboard_address": ":0"},
    }
    named = {"queue": options.queue, "account": options.account, "walltime": options.walltime}
    settings |= {name: value for name, value in {**named, "interface": options.interface}.items() if value is not None}
    cluster = None
    try:
        cluster = SLURMCluster(**settings)
        cluster.sync(_submit, cluster, jobs)
    except (OSError, RuntimeError, ValueError) as error:
        reason = one_line(error).rpartition("stderr: ")[2]
        if cluster is not None:
            if taken := _taken(cluster):
                progress.note(f"SLURM took {taken} of {jobs} jobs ({reason}); going on with those")
                return cluster
            _close(cluster)
        raise ClusterError(f"SLURM took no job ({reason}); check `sinfo`, and queue, account and walltime") from None
    return cluster


async def _submit(cluster: Any, jobs: int) -> None:
    """Submit jobs and wait for SLURM's answer, which `cluster.scale` would leave to the log of a refused job."""
    for _ in range(jobs):
        cluster.worker_spec.update(cluster.new_worker_spec())
    await cluster._correct_state()


def _taken(cluster: Any) -> int:
    """Forget the jobs that SLURM refused, which would be submitted again; return how many it took."""
    from distributed.core import Status

    for name, job in list(cluster.workers.items()):
        if job.job_id is None:
            job.status = Status.failed
            del cluster.workers[name], cluster.worker_spec[name]
    return len(cluster.workers)
