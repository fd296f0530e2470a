"""Compare `predict` with calls of the bare engine, in one run: what the toolkit costs on top of the network.

    python benchmarks/bare_engine.py [--side 1536] [--filters 32] [--rounds 3]

Prints the median seconds of a bare OpenVINO call and of a bare TensorFlow call on one window of 384 px, the wall time
of `predict` on a cube on one thread of Dask for overlap 0.5 and 0.25, and the ratios. The bare calls are taken before,
between and after, so that a machine whose speed drifts does not favour one side.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import dask
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from suite import common

from icemapper_xr import models, prediction


def bare(segmenter: models.ModelSegmenter, x: np.ndarray, calls: int = 3) -> list[float]:
    """Seconds of each of some calls on one window."""
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        segmenter(x)
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1536)
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()

    path = common.weights(options.filters)
    openvino = models.load_model(path, engine="openvino")
    tensorflow = models.load_model(path, engine="tensorflow")
    x = np.random.default_rng(0).uniform(0.6, 0.9, (1, 15, 384, 384, 1)).astype("f4")
    bare(openvino, x, 1)
    bare(tensorflow, x, 1)
    n = np.random.default_rng(1).uniform(size=(2000, 2000)).astype("f4")
    start = time.perf_counter()
    n @ n
    print(f"sgemm 2000: {2 * 2000**3 / (time.perf_counter() - start) / 1e9:.0f} GFLOP/s")
    cube = common.cube(options.side)
    calls = {"openvino": bare(openvino, x), "tensorflow": bare(tensorflow, x)}
    scenes: dict[float, list[float]] = {0.5: [], 0.25: []}
    windows = {}
    for _ in range(options.rounds):
        for overlap, seconds in scenes.items():
            lazy = prediction.probability(cube, openvino, overlap=overlap)
            start = time.perf_counter()
            with dask.config.set(scheduler="threads", num_workers=1):
                _, counts = dask.compute(lazy.result, lazy.windows)
            seconds.append(time.perf_counter() - start)
            windows[overlap] = int(counts[..., 0].sum())
            calls["openvino"] += bare(openvino, x)
    calls["tensorflow"] += bare(tensorflow, x)
    single = {name: statistics.median(values) for name, values in calls.items()}
    for name, value in single.items():
        print(f"bare {name}: {value:.2f} s a window (median of {len(calls[name])})")
    for overlap, seconds in scenes.items():
        wall, count = statistics.median(seconds), windows[overlap]
        print(
            f"overlap {overlap}: {count} windows in {wall:.1f} s; {wall / (count * single['openvino']):.3f} x bare "
            f"OpenVINO, {count * single['tensorflow'] / wall:.2f} times as fast as bare TensorFlow"
        )


if __name__ == "__main__":
    main()
