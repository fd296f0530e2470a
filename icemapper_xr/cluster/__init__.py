"""Workers to run on: processes of this machine, GPUs, SLURM jobs, or a scheduler that is running already.

`connect` gives a `distributed.Client` for a word or an address and takes down in the end what it started itself.
`one_model` sees to it that every worker process holds one network, also workers that join later. `placement` says
where the network may run: on a cluster with workers that declare the resource ``GPU``, on these only.
"""

from __future__ import annotations

from icemapper_xr.cluster.clients import (
    active_client,
    check,
    connect,
    local_shape,
    named,
    slurm_shape,
)
from icemapper_xr.cluster.devices import cuda_shape
from icemapper_xr.cluster.options import ClusterOptions, memory_bytes
from icemapper_xr.cluster.workers import GPU, lost, one_model, placement, present, quietly, slots, threads

__all__ = [
    "GPU",
    "ClusterOptions",
    "active_client",
    "check",
    "connect",
    "cuda_shape",
    "local_shape",
    "lost",
    "memory_bytes",
    "named",
    "one_model",
    "placement",
    "present",
    "quietly",
    "slots",
    "slurm_shape",
    "threads",
]
