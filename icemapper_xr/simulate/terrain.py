"""A fractal landscape of U-shaped valleys, ridges, plateaus, fjords: the bed on which the ice lies.

The world is larger than the scene (30 km and more, at 60 m), so that a small scene is a window on a whole landscape.
Numbers are judgements, chosen so that hillshades look like Svalbard.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from icemapper_xr._types import FloatArray
from icemapper_xr.simulate import fields

__all__ = ["CELL", "build", "slope", "smooth"]

CELL = 60.0
"""Cell of the coarse world, metres (judgement: the ice surface varies over hundreds of metres)."""
TALUS_STEPS = 14
"""Cells by which a wall may draw back (judgement: walls of some hundred metres)."""
WORLD = 30_720.0
"""Least extent of the world, metres (judgement: several glaciers of 5 km)."""


def build(
    seed: int,
    *,
    extent: float,
    shore: tuple[float, float] | None,
    relief: tuple[float, float],
    steepest: tuple[float, float],
) -> FloatArray:
    """Draw the ground of a world at least `extent` metres wide.

    Returns its elevation, metres above the sea, `(y, x)`, cells of CELL metres. `shore` is the range of the height of
    the middle of a world with a coast, metres; None has none. `relief` is that of the mountains' height above the
    valleys, metres, `steepest` that of the angle at which walls crumble, degrees.
    """
    rng = fields.generator(seed, "terrain")
    n = int(np.ceil(max(WORLD, extent + 6_000) / CELL))
    shape = (n, n)
    metres = 1 / CELL
    height_range = float(rng.uniform(*relief))
    gentle = min(1.0, height_range / 250)  # plains are flat on every scale
    base = _base(rng, shape, shore, gentle)
    spacing = rng.uniform(9_000, 16_000)  # between valley axes
    valley = np.abs(fields.fractal(rng, shape, longest=spacing * metres, shortest=3_500 * metres, exponent=4.5))
    side = np.abs(fields.fractal(rng, shape, longest=spacing * 0.5 * metres, shortest=1_200 * metres, exponent=4.0))
    width = rng.uniform(0.35, 0.6)
    # a U: flat floor, steep walls, rounded shoulders; side valleys hang above the main ones
    shoulder = 1 - np.exp(-((valley / width) ** 2.4))
    hanging = 1 - 0.45 * np.exp(-((side / 0.4) ** 2.0)) * shoulder
    ridge = 1 - 0.5 * np.abs(fields.fractal(rng, shape, longest=6_000 * metres, shortest=600 * metres, exponent=3.8))
    plateau = rng.uniform(0.2, 0.75)  # 0: alpine ridges, 1: flat tops
    height = shoulder * hanging * (plateau + (1 - plateau) * ridge.clip(-0.3, 1.2))
    rough = fields.fractal(rng, shape, longest=3_500 * metres, shortest=4, exponent=3.8)
    plains = fields.fractal(rng, shape, longest=14_000 * metres, shortest=4_000 * metres, exponent=4)
    height *= fields.sigmoid(3 * (plains + rng.uniform(0.2, 1.6)))  # lowlands, strandflats and wide valleys
    bed = base + height_range * height + gentle * rough * rng.uniform(8, 30) * (0.25 + shoulder)
    return _crumble(np.asarray(bed, dtype=np.float32), float(np.tan(np.deg2rad(rng.uniform(*steepest)))))


def _crumble(bed: FloatArray, tangent: float) -> FloatArray:
    """Lower what is steeper than scree can be: the surface becomes the highest one below it that is nowhere steeper.

    The Longyearbyen DEM (Norwegian Polar Institute, 20 m) has slopes of 14 degrees in the median, 32 and 36 at the
    90th and 97th percentile.
    """
    for _ in range(TALUS_STEPS):
        padded = np.pad(bed, 1, mode="edge")
        rows, columns = bed.shape
        for dy in (0, 1, 2):
            for dx in (0, 1, 2):
                rise = np.float32(tangent * CELL * np.hypot(dy - 1, dx - 1))
                np.minimum(bed, padded[dy : dy + rows, dx : dx + columns] + rise, out=bed)
    return bed


def _base(
    rng: np.random.Generator, shape: tuple[int, int], shore: tuple[float, float] | None, gentle: float
) -> FloatArray:
    """Elevation of the valley floors: rising from the coast inland."""
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    tilt = x * np.cos(angle) + y * np.sin(angle)
    broad = fields.fractal(rng, shape, longest=20_000 / CELL, shortest=8_000 / CELL, exponent=4)
    base = gentle * (rng.uniform(120, 330) * tilt + rng.uniform(50, 130) * broad)
    level = gentle * rng.uniform(*shore) if shore else rng.uniform(60, 150) - float(base.min())
    return np.asarray(base + level, dtype=np.float32)


def slope(elevation: FloatArray, cell: float) -> FloatArray:
    """Return the steepest slope, tangent."""
    dy, dx = np.gradient(elevation, np.float32(cell))
    return np.asarray(np.hypot(dy, dx), dtype=np.float32)


def smooth(field: FloatArray, metres: float, cell: float = CELL) -> FloatArray:
    """Gaussian mean with a standard deviation in metres."""
    return np.asarray(ndimage.gaussian_filter(field, metres / cell, mode="nearest", truncate=3), dtype=np.float32)
