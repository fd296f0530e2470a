"""How many workers, how large, and what the batch system is to be told."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from icemapper_xr.errors import OptionError

__all__ = ["ClusterOptions", "memory_bytes"]


@dataclass(frozen=True)
class ClusterOptions:
    """How many workers, how large, and what the batch system is to be told; None leaves it to the kind of cluster."""

    workers: int | None = None
    """Worker processes (local), or jobs (slurm)."""
    threads: int | None = None
    """Threads of a worker: those that read, and those the network runs on."""
    memory: str | None = None
    """Memory of a worker, for example '8GiB'; a worker that needs more is restarted."""
    gpus: int = 0
    """GPUs of a SLURM job: 0 or 1."""
    queue: str | None = None
    """Partition of SLURM."""
    account: str | None = None
    walltime: str | None = None
    """Longest time of a SLURM job, for example '04:00:00'."""
    interface: str | None = None
    """Network interface over which scheduler and workers talk, for example 'ib0'."""
    job_options: tuple[str, ...] = ()
    """More lines for SLURM, for example '--constraint=a100'."""
    wait: float = 120.0
    """Seconds to wait for the first worker."""

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises
        ------
        OptionError
            If one is.
        """
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value == int(value) and value >= 1):
                raise OptionError(f"{name}={value} must be a whole number, at least 1")
        if self.gpus not in (0, 1):
            raise OptionError(f"gpus={self.gpus}: a worker has one model and so 0 or 1 GPU; ask for more workers")
        if not (math.isfinite(self.wait) and self.wait > 0):
            raise OptionError(f"wait={self.wait} must be a number of seconds above 0")
        if self.memory is not None and memory_bytes(self.memory) < 2**28:
            raise OptionError(f"memory={self.memory!r} is less than a worker can start with; give some GiB")

    def given(self) -> list[str]:
        """Names of the options that are not at their default."""
        return [field.name for field in fields(self) if getattr(self, field.name) != field.default]


def memory_bytes(text: str) -> int:
    """Read '8GiB'.

    Raises
    ------
    OptionError
        If it is no amount of memory.
    """
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(text))
    except (OverflowError, ValueError):
        raise OptionError(f"memory={text!r} is no amount of memory; write it as 8GiB or 500MB") from None
