"""Scores of a network on whole scenes that no training has seen.

Scenes are mapped as in the field: running windows that overlap by half, blended by a Gaussian.

`python -m icemapper_xr.training.evaluate WEIGHTS [--out SCORES.json]` prints and writes the scores of a weights file.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from icemapper_xr import conventions, progress
from icemapper_xr._types import FloatArray, Segmenter
from icemapper_xr.prediction import core
from icemapper_xr.training import data, metrics, samples, scenes

__all__ = ["SEEDS", "boundary_distances", "evaluate", "main", "probability"]

SEEDS = tuple(range(700_001, 700_021))
"""Seeds of the scenes for evaluation; no training and no validation uses them, nor do tests or the demo."""


def evaluate(
    segmenter: Segmenter,
    *,
    seeds: Sequence[int] = SEEDS,
    size: int = 512,
    make: scenes.SceneMaker = scenes.simulated,
    path: str | Path | None = None,
) -> dict[str, Any]:
    """Score a network on simulated scenes.

    Parameters
    ----------
    segmenter
        The network, such as `load_model` gives.
    seeds, size
        Scenes, and their side in pixels.
    make
        Makes the scenes.
    path
        Where to write the scores as JSON; None does not.

    Returns
    -------
    dict
        'pixels': scores over all pixels of all scenes; 'scenes': the same per scene, by seed; 'mean_iou': mean over
        the scenes; 'boundary_m': median, 95 % and signed median distance of the mapped margins from the true ones in
        metres (positive: mapped outside), over the margin pixels of all scenes.
    """
    counts: dict[int, metrics.Counts] = {}
    distances = []
    for seed in progress.track(seeds, "evaluate", len(seeds)):
        cube, truth = make(seed, size, segmenter.features)
        mapped = probability(cube, segmenter) > conventions.THRESHOLD
        counts[seed] = metrics.count(mapped, truth)
        distances.append(boundary_distances(mapped, truth, segmenter.pixel_size))
    signed = np.concatenate(distances)
    report: dict[str, Any] = {
        "digest": segmenter.digest,
        "size": size,
        "pixels": metrics.total(counts.values()).scores(),
        "mean_iou": metrics.mean_iou(counts.values()),
        "boundary_m": _summary(signed),
        "scenes": {str(seed): one.scores() for seed, one in counts.items()},
    }
    if path is not None:
        Path(path).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def probability(cube: FloatArray, segmenter: Segmenter) -> FloatArray:
    """Map a cube `(T, y, x, C)` in dB or 1, NaN = gap; returns glacier probability `(y, x)`.

    Beyond the scene's edges its pixels are mirrored: the scene is to be scored, not what lies around it.
    """
    stack = np.stack(
        [samples.scale(cube[..., channel], feature) for channel, feature in enumerate(segmenter.features)], axis=-1
    )
    half = segmenter.window // 2
    rows, columns = cube.shape[1:3]
    padded = np.pad(data.fill(stack), ((0, 0), (half, half), (half, half), (0, 0)), mode="symmetric")
    return core.blend(padded, segmenter)[half : half + rows, half : half + columns]


def boundary_distances(
    mapped: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], pixel_size: float
) -> npt.NDArray[np.float64]:
    """Return the signed distance of every mapped margin pixel from the nearest true margin, metres.

    A margin pixel is a glacier pixel with a 4-neighbour that is none; positive lies outside the true glacier. Empty if
    either map has no margin.
    """
    ours, true = _margin(mapped), _margin(truth)
    if not ours.any() or not true.any():
        return np.zeros(0)
    distance = ndimage.distance_transform_edt(~true) * pixel_size
    sign = np.where(truth, -1.0, 1.0)
    signed: npt.NDArray[np.float64] = (distance * sign)[ours]
    return signed


def _margin(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the glacier pixels with a neighbour that is none; the array's edge is no margin."""
    inner: npt.NDArray[np.bool_] = mask & ~ndimage.binary_erosion(mask, border_value=1)
    return inner


def _summary(signed: npt.NDArray[np.float64]) -> dict[str, float | None]:
    if signed.size == 0:
        return {"median": None, "p95": None, "signed_median": None}
    return {
        "median": float(np.median(np.abs(signed))),
        "p95": float(np.percentile(np.abs(signed), 95)),
        "signed_median": float(np.median(signed)),
    }


def main(arguments: list[str] | None = None) -> None:
    """Score a weights file from the command line."""
    from icemapper_xr import load_model

    parser = argparse.ArgumentParser(prog="python -m icemapper_xr.training.evaluate", description=__doc__)
    parser.add_argument("weights", help="name or path")
    parser.add_argument("--out", type=Path, help="file for the scores, JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--size", type=int, default=512, help="side of the scenes, pixels")
    options = parser.parse_args(arguments)
    progress.enable()
    report = evaluate(load_model(options.weights), seeds=options.seeds, size=options.size, path=options.out)
    for seed, scores in report["scenes"].items():
        print(f"{seed}: IoU {scores['iou']:.4f}  area bias {scores['area_bias']:+.4f}")
    print(f"all: IoU {report['pixels']['iou']:.4f}  area bias {report['pixels']['area_bias']:+.4f}")
    print(f"margins, m: {report['boundary_m']}")


if __name__ == "__main__":
    main()
