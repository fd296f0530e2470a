"""One worker a GPU of this machine: through dask-cuda where it is installed, else by `CUDA_VISIBLE_DEVICES`."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icemapper_xr.errors import ClusterError, OptionError

if TYPE_CHECKING:
    from icemapper_xr.cluster.options import ClusterOptions

__all__ = ["DASHBOARD", "cuda_shape", "open_cluster", "specification", "visible_devices"]

log = logging.getLogger(__name__)

DASHBOARD = "127.0.0.1:0"
"""Address of the dashboard: any free port of this machine."""
GPU_THREADS = 4
"""Threads of a worker with a GPU: one feeds the device, the others read."""


def open_cluster(options: ClusterOptions) -> Any:
    """Start one worker a device.

    Raises
    ------
    ClusterError
        If no device is visible.
    OptionError
        If more workers are asked for than there are devices.
    """
    found = visible_devices()
    if not found:
        raise ClusterError(
            "no NVIDIA device is visible (nvidia-smi, CUDA_VISIBLE_DEVICES): use --cluster local, or mend the driver"
        )
    if options.workers is not None and options.workers > len(found):
        raise OptionError(f"{options.workers} workers are wanted, but there are {len(found)} GPUs: one worker a GPU")
    found = found[: options.workers]
    _, threads = cuda_shape(options)
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError:
        log.info("dask-cuda is not installed: one worker a device by CUDA_VISIBLE_DEVICES")
    else:
        return LocalCUDACluster(
            CUDA_VISIBLE_DEVICES=found,
            threads_per_worker=threads,
            memory_limit=options.memory or "auto",
            resources={"GPU": 1},
            dashboard_address=DASHBOARD,
        )
    from distributed import Scheduler, SpecCluster

    return SpecCluster(
        scheduler={"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": DASHBOARD}},
        workers=specification(found, threads=threads, memory=options.memory or "auto"),
        silence_logs=logging.WARNING,
    )


def cuda_shape(options: ClusterOptions) -> tuple[int, int]:
    """Return the number of workers, one a GPU, and of threads of each.

    One worker where no GPU is visible: a plan is often made on another machine than the map.
    """
    return options.workers or max(1, len(visible_devices())), options.threads or GPU_THREADS


def specification(found: list[str], *, threads: int, memory: str) -> dict[str, dict[str, Any]]:
    """Describe the workers for a `SpecCluster`: each sees one device and declares it as the resource ``GPU``."""
    from distributed import Nanny

    return {
        f"gpu-{device}": {
            "cls": Nanny,
            "options": {
                "nthreads": threads,
                "memory_limit": memory,
                "resources": {"GPU": 1},
                "env": {"CUDA_VISIBLE_DEVICES": device},
            },
        }
        for device in found
    }


def visible_devices() -> list[str]:
    """Return the devices that may be used, as `CUDA_VISIBLE_DEVICES` names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        parts = [part.strip() for part in named.split(",") if part.strip()]
        return [] if any(part in ("-1", "NoDevFiles") for part in parts) else parts
    if shutil.which("nvidia-smi"):
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return [str(k) for k, _ in enumerate(line for line in answer.stdout.splitlines() if line.startswith("GPU"))]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(k) for k, _ in enumerate(folder.iterdir())] if folder.is_dir() else []
