"""Real places without glaciers: what share of them some weights call glacier, and whether applicability tells.

`python benchmarks/negative_control.py FOLDER [WEIGHTS ...]`, where FOLDER holds `opera_rtc/` (OPERA RTC-S1 crops of
Southern California, 30 m) and `snow/` (three dates of seasonal snow in Idaho, HyP3). Writes a line a place.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from scipy import ndimage

import icemapper_xr as ix
from icemapper_xr import applicability, conventions
from icemapper_xr.pipeline import trust
from icemapper_xr.training import cases

STEPS = conventions.N_STEPS
FACTOR = 3
"""30 m to 10 m."""


def bursts(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each burst's 15 of its dates, VV, `(T, y, x)` in dB at 10 m."""
    files = sorted(folder.glob("*_VV.tif"), key=lambda path: path.name.split("_")[4])
    for burst in sorted({path.name.split("_")[3] for path in files}):
        mine = [path for path in files if path.name.split("_")[3] == burst]
        chosen = [mine[round(k)] for k in np.linspace(0, len(mine) - 1, STEPS)]
        stack = []
        for path in chosen:
            with rasterio.open(path) as file:
                stack.append(finer(decibel(file.read(1))))
        yield f"{burst}, {len(mine)} dates", np.stack(stack)


def snow(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the snow series: three dates at their steps of the year, all other steps gaps; at 10 m."""
    import h5py

    with h5py.File(path) as file:
        data = file["rtc_amplitude"]
        names = [data.file[data.attrs["DIMENSION_LIST"][axis][0]].name.lstrip("/") for axis in range(data.ndim)]
        bands = [name.decode() for name in file["band"][()]]
        amplitude = np.take(data[()], bands.index("VV"), axis=names.index("band")).astype(np.float32)
    stack = np.full((STEPS, amplitude.shape[1] * FACTOR, amplitude.shape[2] * FACTOR), np.nan, np.float32)
    # 25 February, 9 and 21 March lie in the second to the fourth step of a year that begins on 1 January.
    for number, plane in enumerate(amplitude, 1):
        stack[number] = finer(decibel(plane**2))
    yield f"seasonal snow, Idaho, {len(amplitude)} dates", stack


def decibel(power: np.ndarray) -> np.ndarray:
    """As a cube does: nothing observed is NaN, zero and below the noise floor."""
    out = np.full(power.shape, np.nan, np.float32)
    known = np.isfinite(power)
    out[known] = np.maximum(10 * np.log10(np.maximum(power[known], 1e-10)), conventions.NOISE_FLOOR_DB)
    return out


def finer(plane: np.ndarray) -> np.ndarray:
    """Bring 30 m to 10 m, bilinearly in power; NaN stays NaN."""
    known = np.isfinite(plane)
    power = np.where(known, 10 ** (np.nan_to_num(plane) / 10), 0)
    fine = ndimage.zoom(power, FACTOR, order=1, grid_mode=True, mode="nearest")
    share = ndimage.zoom(known.astype(float), FACTOR, order=1, grid_mode=True, mode="nearest")
    with np.errstate(invalid="ignore", divide="ignore"):
        out = 10 * np.log10(fine / share)
    return np.where(known.repeat(FACTOR, 0).repeat(FACTOR, 1), out, np.nan).astype(np.float32)


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("weights", nargs="*", default=["tweightedpool_rtc_simulated"])
    parser.add_argument("--out", type=Path, help="file for the numbers, JSON")
    options = parser.parse_args()
    rows = []
    for name in options.weights:
        segmenter = ix.load_model(name)
        likeness = trust.likeness_of(name)
        places = [*bursts(options.folder / "opera_rtc"), *snow(options.folder / "snow" / "spicy_2_img_ds.nc")]
        for place, stack in places:
            seen = np.isfinite(stack).any(axis=0)
            ice = cases.probability(stack[..., None], segmenter)[seen] > conventions.THRESHOLD
            row = {"weights": name, "place": place, "pixels": int(seen.sum()), "glacier": float(ice.mean())}
            if likeness is not None:
                scores = applicability.score(stack, model=likeness)
                scores = scores[np.isfinite(scores)]
                row["unlike"] = float((scores < applicability.UNLIKE).mean()) if scores.size else None
            rows.append(row)
            unlike = "-" if row.get("unlike") is None else f"{100 * row['unlike']:.1f} %"
            print(
                f"{name}: {place:<40} glacier {100 * row['glacier']:6.2f} %  unlike the training {unlike}", flush=True
            )
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
