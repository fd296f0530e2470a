"""What Sentinel-1 sees: geometry, backscatter and coherence of one pass over a landscape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from icemapper_xr._types import FloatArray
from icemapper_xr.simulate import fields, tables, terrain
from icemapper_xr.simulate.site import Site
from icemapper_xr.simulate.tables import REFERENCE_INCIDENCE

__all__ = ["Geometry", "coherence", "gamma0", "geometry", "static_pattern"]

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Geometry:
    """One radar geometry over a DEM; arrays are `(y, x)`."""

    incidence: float
    """Incidence on flat ground at the scene's centre, degrees."""
    azimuth: float
    """Direction in which the radar looks, radians clockwise from north."""
    local: FloatArray
    """Local incidence angle, degrees, clipped to 5..85."""
    residual: FloatArray
    """What terrain correction leaves because its DEM is wrong, dB."""
    layover: Mask
    shadow: Mask
    step: FloatArray
    """Noise floor against the scene's, dB: a step where two sub-swaths meet."""


def geometry(seed: int, dem: FloatArray, resolution: float, orbit_state: str) -> Geometry:
    """Look at a DEM along one pass of Sentinel-1 IW, right-looking, at 31 to 44 degrees."""
    rng = fields.generator(seed, "geometry")
    theta = float(rng.uniform(31, 44))  # IW: 29-46 (SCIENCE 2), less the outermost degrees
    # it looks to the right of a heading of -30 (ascending) or -150 degrees, as near 72 N; at 78 N to 46, at 46 N to 75
    azimuth = np.deg2rad(60.0 if orbit_state == "ascending" else -60.0)
    smooth = terrain.smooth(dem, 12, resolution)
    dy, dx = np.gradient(smooth, np.float32(resolution))
    along = dx * np.sin(azimuth) - dy * np.cos(azimuth)  # slope in look direction; rows run southward
    t = np.deg2rad(theta)
    # a slope that rises along the look direction faces the radar: smaller angle
    cosine = (np.cos(t) + along * np.sin(t)) / np.sqrt(1 + dx * dx + dy * dy)
    local = np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).clip(5, 85).astype(np.float32)
    # DEM errors of a few degrees of slope, worse on steep ground: +-1-2 dB (SCIENCE 2)
    error = fields.smooth_noise(rng, dem.shape, length=60 / resolution)
    residual = np.clip(error * (0.3 + 2.0 * np.hypot(dy, dx)), -4, 4).astype(np.float32)
    layover, shadow = _occlusion(smooth, resolution, t, float(azimuth))
    # where slopes are folded onto each other no correction can part them (judgement: +-3 dB)
    residual[layover] = 3 * error[layover]
    step = _subswath(rng, dem.shape, float(azimuth))
    return Geometry(theta, float(azimuth), local, residual, layover, shadow, step)


def _subswath(rng: np.random.Generator, shape: tuple[int, int], azimuth: float) -> FloatArray:
    """Rise of the noise floor beyond the seam of two sub-swaths, dB; FACTS 9: -26..-32 with a step.

    A seam runs along the track; every fourth scene has one (judgement: swaths of 80 km, scenes of 5 to 20).
    """
    if rng.random() >= 0.25:
        return np.zeros(shape, np.float32)
    longest = max(shape)
    rows, columns = (np.linspace(-0.5, 0.5, n, dtype=np.float32) * np.float32(n / longest) for n in shape)
    across = columns[None, :] * np.sin(azimuth) - rows[:, None] * np.cos(azimuth)
    return np.asarray((across > rng.uniform(-0.4, 0.4)) * rng.uniform(1, 4) * rng.choice([-1, 1]), dtype=np.float32)


def _occlusion(dem: FloatArray, resolution: float, theta: float, azimuth: float) -> tuple[Mask, Mask]:
    """Layover and shadow by running extremes along the look direction, on a turned grid."""
    rows, columns = dem.shape
    n = int(np.ceil(np.hypot(rows, columns))) + 2
    s, c = np.sin(azimuth), np.cos(azimuth)
    # output axis 1 = ground range (look direction), axis 0 = along track
    matrix = np.array([[s, -c], [c, s]])
    centre = np.array([(rows - 1) / 2, (columns - 1) / 2])
    offset = centre - matrix @ np.array([(n - 1) / 2, (n - 1) / 2])
    turned = ndimage.affine_transform(dem, matrix, offset, (n, n), order=1, mode="nearest", output=np.float32)
    ground = np.arange(n, dtype=np.float32) * np.float32(resolution)
    slant = ground * np.sin(theta) - turned * np.cos(theta)
    before = np.maximum.accumulate(slant, axis=1) > slant + 0.5 * resolution
    after = np.minimum.accumulate(slant[:, ::-1], axis=1)[:, ::-1] < slant - 0.5 * resolution
    height = ground * np.cos(theta) + turned * np.sin(theta)
    dark = np.maximum.accumulate(height, axis=1) > height + 0.5 * resolution
    inverse = matrix.T
    back = np.array([(n - 1) / 2, (n - 1) / 2]) - inverse @ centre

    def turn_back(mask: Mask) -> Mask:
        turned_back = ndimage.affine_transform(
            mask.astype(np.uint8), inverse, back, (rows, columns), order=0, mode="constant", cval=0
        )
        return np.asarray(turned_back.astype(bool))

    return turn_back(before | after), turn_back(dark)


def static_pattern(seed: int, classes: npt.NDArray[np.uint8], site: Site, resolution: float) -> FloatArray:
    """What stays from date to date, dB: texture by class, drift within a class, azimuth anisotropy."""
    rng = fields.generator(seed, "texture")
    shape = classes.shape
    fine = fields.smooth_noise(rng, shape, length=25 / resolution)
    middle = fields.smooth_noise(rng, shape, length=80 / resolution)
    broad = fields.smooth_noise(rng, shape, length=900 / resolution)
    anisotropy = fields.smooth_noise(rng, shape, length=350 / resolution)
    texture = site.texture[classes] * (0.75 * fine + 0.66 * middle)
    drift = tables.by_class(tables.DRIFT, tables.USUAL_DRIFT)[classes]
    # anisotropy 1-2 dB peak to peak (SCIENCE 2)
    return np.asarray(texture + drift * broad + rng.uniform(0.3, 0.6) * anisotropy, dtype=np.float32)


def incidence_effect(classes: npt.NDArray[np.uint8], look: Geometry, site: Site) -> tuple[FloatArray, FloatArray]:
    """Change of gamma0 with local incidence against the table's 39 degrees, dB, for dry and for wet surfaces.

    gamma0 = sigma0 - 10 log10(cos theta); sigma0 is linear in the angle (SCIENCE 2).
    """
    angle = look.local.clip(15, 75)
    lift = 10 * np.log10(np.cos(np.deg2rad(REFERENCE_INCIDENCE)) / np.cos(np.deg2rad(angle)))
    away = angle - REFERENCE_INCIDENCE
    dry, wet = (np.asarray(site.slope[k][classes] * away + lift, dtype=np.float32) for k in range(2))
    return dry, wet


def gamma0(
    rng: np.random.Generator, mean_db: FloatArray, *, looks: float, correlation: float, noise_floor: float | FloatArray
) -> FloatArray:
    """Observe mean backscatter (dB) through speckle and noise; returns linear power, float32.

    Speckle is gamma distributed with `looks` equivalent looks (a correlated Gaussian field through the cube-root
    transform of Wilson and Hilferty 1931) and correlated by `correlation` between neighbours, by its fourth power at
    two pixels (FACTS 9: 0.6-0.7 and 0.1-0.3). On the discrete grid it comes out lower: 0.68 for a `correlation` of 0.7,
    0.43 for 0.5, 0.11 for 0.25. The noise floor has been subtracted, as in products: dark pixels keep its fluctuation
    and may fall to zero or below.
    """
    sigma = 0.5 / np.sqrt(-np.log(correlation))  # exp(-1 / (4 sigma^2)) = correlation
    field = ndimage.gaussian_filter(fields.white(rng, mean_db.shape), sigma, truncate=3)
    gain = _gain(sigma)
    speckle = np.maximum(1 - 1 / (9 * looks) + field * np.float32(gain / (3 * np.sqrt(looks))), 0.02) ** 3
    noise = np.asarray(10 ** (np.asarray(noise_floor) / 10), dtype=np.float32)
    power = np.exp(mean_db * np.float32(np.log(10) / 10))
    return np.asarray((power + noise) * speckle - noise, dtype=np.float32)


def _gain(sigma: float) -> float:
    """Factor that gives Gaussian-filtered white noise a standard deviation of one."""
    radius = int(3 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    return float(1 / np.sum(kernel**2))


SAMPLE: Final = 10.0
"""Metres between independent complex samples: about the side of a resolution cell of IW."""


def estimator_size(window: float, resolution: float = SAMPLE) -> int:
    """Rows and columns of the window over which coherence is estimated; its looks are their product."""
    return max(2, round(window / resolution))


def _samples(rng: np.random.Generator, shape: tuple[int, int], shared: int) -> FloatArray:
    """Draw independent samples, each shared by so many pixels a side."""
    if shared == 1:
        return fields.white(rng, shape)
    few = fields.white(rng, (-(-shape[0] // shared), -(-shape[1] // shared)))
    return np.repeat(np.repeat(few, shared, 0), shared, 1)[: shape[0], : shape[1]]


def _nearest(n: int, resolution: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return along one side the pixel that holds each sample's centre, and the sample that holds each pixel's."""
    samples = math.ceil(n * resolution / SAMPLE)
    there = (np.arange(samples) + 0.5) * (SAMPLE / resolution)
    back = (np.arange(n) + 0.5) * (resolution / SAMPLE)
    return there.astype(np.intp).clip(max=n - 1), back.astype(np.intp)


def coherence(
    rng: np.random.Generator, true: FloatArray, power: FloatArray, *, window: float, resolution: float
) -> FloatArray:
    """Estimate coherence as a processor does: two complex images, averaged over a window.

    Each pixel of 10 m holds one independent complex sample of both images (about the area of a resolution cell of IW),
    with the true coherence between them; the estimate is |<a b*>| / sqrt(<|a|^2> <|b|^2>) over the window. Bias,
    spread, spatial correlation and blurred margins follow from that (SCIENCE 1.8 gives the bias, checked in the tests).
    Coarser pixels hold several samples a side, finer ones share them, so that the looks are those of the window
    whatever the pixel; where neither is a whole number, each pixel takes the nearest of a grid of samples.
    """
    ratio = max(resolution / SAMPLE, SAMPLE / resolution)
    if abs(ratio - round(ratio)) > 1e-6:
        there, back = zip(*(_nearest(n, resolution) for n in true.shape), strict=True)
        sampled = coherence(rng, true[np.ix_(*there)], power[np.ix_(*there)], window=window, resolution=SAMPLE)
        return sampled[np.ix_(*back)]
    split, shared = max(1, round(resolution / SAMPLE)), max(1, round(SAMPLE / resolution))
    if split > 1:
        fine, weights = (np.repeat(np.repeat(field, split, 0), split, 1) for field in (true, power))
        estimated = coherence(rng, fine, weights, window=window, resolution=resolution / split)
        return estimated[split // 2 :: split, split // 2 :: split]
    shape = true.shape
    amplitude = np.sqrt(power / 2, dtype=np.float32)
    real, imaginary, other_real, other_imaginary = (_samples(rng, shape, shared) for _ in range(4))
    rest = np.sqrt(1 - true * true, dtype=np.float32)
    second_real = (true * real + rest * other_real) * amplitude
    second_imaginary = (true * imaginary + rest * other_imaginary) * amplitude
    real *= amplitude
    imaginary *= amplitude
    size = estimator_size(window, resolution)

    def mean(field: FloatArray) -> FloatArray:
        return np.asarray(ndimage.uniform_filter(field, size, mode="nearest"))

    cross = np.hypot(
        mean(real * second_real + imaginary * second_imaginary), mean(imaginary * second_real - real * second_imaginary)
    )
    norm = mean(real**2 + imaginary**2) * mean(second_real**2 + second_imaginary**2)
    return np.asarray((cross / np.sqrt(np.maximum(norm, 1e-30))).clip(0, 1), dtype=np.float32)
