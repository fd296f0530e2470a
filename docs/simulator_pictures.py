"""Make the pictures and the table of docs/simulator.md: `python docs/simulator_pictures.py [SHARED] [--out FOLDER]`.

Pictures of simulated scenes go to docs/images. With the folder of real data (`shared`, which holds
`real/opera_rtc`), real and simulated land and sea are put side by side in `real_and_simulated.png`, and their numbers
are printed as a table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import rasterio
from PIL import Image

from icemapper_xr import simulate
from icemapper_xr.simulate import statistics
from icemapper_xr.simulate.scenes import to_db

BURSTS = {
    "city": "T137-292319-IW2",
    "mountains": "T137-292320-IW2",
    "dry hills": "T137-292323-IW2",
    "hills": "T137-292325-IW1",
    "sea": "T137-292320-IW1",
}
LIKE = {"city": "lowland", "mountains": "mountains", "dry hills": "hills", "hills": "hills", "sea": "coast"}
WINTER, MELT, LATE = 1, 7, 10
"""Steps that the pictures show: February, June or July, September."""


def scene(world: str, seed: int, side: int = 320, **changes: object) -> simulate.Scene:
    """Make a scene of 2023."""
    settings = {"seed": seed, "shape": (side, side), "years": (2023,), "world": world, **changes}
    return simulate.scene(simulate.SceneSettings(**settings))  # type: ignore[arg-type]


def hillshade(dem: np.ndarray) -> np.ndarray:
    """Light from the north-west."""
    dy, dx = np.gradient(dem, 10.0)
    shade: np.ndarray = (1 - 0.6 * dx + 0.6 * dy) / np.sqrt(1 + dx * dx + dy * dy)
    return shade


def show(axis: plt.Axes, image: np.ndarray, title: str, low: float, high: float, colours: str = "gray") -> None:
    """Draw one image without axes."""
    axis.imshow(image, vmin=low, vmax=high, cmap=colours, interpolation="nearest")
    axis.set_title(title, fontsize=7)
    axis.axis("off")


def worlds(path: Path, rows: dict[str, int]) -> None:
    """One row a world: ground, classes, backscatter in three seasons, coherence in two."""
    figure, axes = plt.subplots(len(rows), 7, figsize=(10.5, 1.62 * len(rows)), squeeze=False)
    for line, (world, seed) in zip(axes, rows.items(), strict=True):
        made = scene(world, seed)
        values = made.arrays(2023)
        show(line[0], hillshade(made.dem), f"{world}, {made.dem.min():.0f} to {made.dem.max():.0f} m", 0, 2)
        show(line[1], made.classes(2023), "classes", 0, 16, "tab20")
        seasons = {"winter": WINTER, "melt": MELT, "late summer": LATE}
        for axis, (name, step) in zip(line[2:5], seasons.items(), strict=True):
            show(axis, values[step, ..., 0], f"gamma0, {name}", -25, 2)
        for axis, (name, step) in zip(line[5:], (("winter", WINTER), ("late summer", LATE)), strict=True):
            show(axis, values[step, ..., 1], f"coherence, {name}", 0, 1)
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=68)
    plt.close(figure)
    with Image.open(path) as picture:  # 48 colours are enough for grey speckle, and half the size
        small = picture.convert("RGB").quantize(48)
    small.save(path, optimize=True)


def real(shared: Path, burst: str) -> np.ndarray:
    """Return the last 15 whole images of a burst, linear VV."""
    images = []
    for file in sorted((shared / "real" / "opera_rtc").glob(f"*{burst}*_VV.tif"))[-15:]:
        with rasterio.open(file) as raster:
            image = raster.read(1)
        if np.isfinite(image).all():
            images.append(image)
    return np.array(images)


def simulated(world: str, seed: int) -> np.ndarray:
    """Return a year of a 30 m product of about 9 looks, linear VV."""
    made = scene(world, seed, 300, posting=3, polarisation="VV", looks=9.0)
    return np.array([step.values for step in made.observe(2023, ("rtc",))])[:, 1::3, 1::3]


def compare(shared: Path, path: Path) -> None:
    """Draw real and simulated land side by side, and print their numbers."""
    stacks = {f"OPERA, {name}": real(shared, burst) for name, burst in BURSTS.items()}
    for name, world in LIKE.items():
        stacks[f"simulated {world}, for {name}"] = simulated(world, 1 + len(stacks))
    figure, axes = plt.subplots(3, len(stacks), figsize=(1.8 * len(stacks), 5.6))
    print("| | looks | lag x | lag y | 1 % dB | 50 % | 99 % | pixel std | scene std | spatial std |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for column, (name, power) in zip(axes.T, stacks.items(), strict=True):
        numbers = statistics.stack(power).row().values()
        print(f"| {name} | " + " | ".join(f"{number:.2f}" for number in numbers) + " |")
        for axis, step in zip(column, (0, len(power) // 2, len(power) - 1), strict=True):
            show(axis, to_db(power[step]), name, -20, 2)
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    """Make what can be made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", nargs="?", type=Path, help="folder that holds real/opera_rtc")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images")
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    worlds(options.out / "simulated_glaciers.png", {"polar": 5, "alpine": 8})
    ice_free = {"mountains": 4, "hills": 2, "desert": 3, "lowland": 3, "tundra": 10, "coast": 3}
    worlds(options.out / "simulated_without_ice.png", ice_free)
    if options.shared is not None:
        compare(options.shared, options.out / "real_and_simulated.png")


if __name__ == "__main__":
    main()
