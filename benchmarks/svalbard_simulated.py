"""Score weights on simulated radar over the real terrain and glaciers around Longyearbyen.

`python benchmarks/svalbard_simulated.py SHARED WEIGHTS [--side 500]`; SHARED holds `real/svalbard`. The outlines there
(Norwegian Polar Institute) have their nunataks filled in, so the truth of this scene has ice on that rock too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import rasterio

import icemapper_xr as ix
from icemapper_xr import conventions, simulate


def score(shared: Path, weights: str, *, side: int, seed: int) -> tuple[float, float, float]:
    """Return IoU, true and mapped glacier share of a square in the middle of the DEM."""
    folder = shared / "real" / "svalbard"
    dem = folder / "Longyearbyen_DEM_1995.tif"
    with rasterio.open(dem) as file:
        left, bottom, right, top = file.bounds
    half = side * conventions.PIXEL_SIZE / 2
    x, y = (left + right) / 2, (bottom + top) / 2
    model = ix.load_model(weights)
    scene = simulate.scene_of(
        dem,
        folder / "svalbard_glacier.gpkg",
        bounds=(x - half, y - half, x + half, y + half),
        settings=simulate.SceneSettings(seed=seed, years=(2023,), features=tuple(model.features)),
    )
    found = ix.predict(scene.cube(2023), weights=model).probability.values >= conventions.THRESHOLD
    truth = scene.truth(2023)
    return np.count_nonzero(found & truth) / np.count_nonzero(found | truth), truth.mean(), found.mean()


def main() -> None:
    """Print the scores of a few seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--side", type=int, default=500, help="pixels of 10 m")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    for seed in options.seeds:
        iou, true, mapped = score(options.shared, options.weights, side=options.side, seed=seed)
        print(f"seed {seed}: IoU {iou:.3f}, glacier {true:.3f} true, {mapped:.3f} mapped")


if __name__ == "__main__":
    main()
