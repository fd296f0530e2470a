"""What lies where there is no glacier: land cover, snow patches, dead ice, lakes, sea and melange."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from icemapper_xr._types import FloatArray
from icemapper_xr.simulate import fields, terrain, worlds
from icemapper_xr.simulate.classes import SurfaceClass
from icemapper_xr.simulate.settings import SceneSettings

__all__ = ["beside_ice", "without_ice"]

Codes = npt.NDArray[np.uint8]
LARGEST_PATCH = 0.08
"""Perennial snow of this area, km2, would flow and be a glacier (judgement)."""


def beside_ice(settings: SceneSettings, bed: FloatArray, distance: FloatArray, ela: float) -> Codes:
    """Class of each pixel of a glaciated scene were it not glacier; `distance` is positive on the ice."""
    rng = fields.generator(settings.seed, "ground")
    px = settings.resolution
    shape = bed.shape
    steep = terrain.slope(terrain.smooth(bed, 20, px), px)
    vegetation = bed + 250 * steep + 50 * fields.smooth_noise(rng, shape, length=600 / px)
    valley_floor = max(float(np.quantile(bed, 0.05)), 0.0)
    green = valley_floor + rng.uniform(60, 280)  # tundra grows up to here on level ground
    cover = worlds.WORLDS[settings.world].cover
    plants = _cover(settings, cover, bed, steep) if cover else np.uint8(SurfaceClass.TUNDRA)
    out = np.where(vegetation < green, plants, SurfaceClass.ROCK).astype(np.uint8)
    # fresh till in front of the ice
    out[(distance > -rng.uniform(50, 300)) & (bed > 0)] = SurfaceClass.ROCK
    _snow_patches(rng, out, bed, steep, ela, px, (distance < -40) & (bed > 80))

    beyond = rng.uniform(40, 220) * np.clip(fields.smooth_noise(rng, shape, length=500 / px), 0, 1.8)
    dead = (distance > -beyond) & (bed < ela - 80) & (steep < 0.45)
    out[dead & (bed > 0)] = SurfaceClass.ICE_CORED_MORAINE

    basin = _lakes(rng, out, bed, steep, px, distance < -30)
    if rng.random() < 0.4:  # lakes that a glacier dams: hollows along its flanks (judgement: two scenes in five)
        dammed = (distance > -rng.uniform(80, 300)) & (steep < 0.25) & (bed > 5) & (basin > rng.uniform(0.9, 1.8))
        out[dammed] = SurfaceClass.LAKE

    water = bed <= 0
    out[water] = SurfaceClass.SEA
    floes = rng.uniform(150, 800) * (1 + 0.5 * fields.smooth_noise(rng, shape, length=300 / px))
    out[water & (fields.distance_to(water & (np.abs(distance) < 2 * px)) * px < floes)] = SurfaceClass.MELANGE
    return out


def without_ice(settings: SceneSettings, bed: FloatArray, *, snow: bool) -> Codes:
    """Class of each pixel of a scene in a world without glaciers."""
    rng = fields.generator(settings.seed, "ground")
    px = settings.resolution
    steep = terrain.slope(terrain.smooth(bed, 20, px), px)
    cover = worlds.WORLDS[settings.world].cover
    if cover:
        out = _cover(settings, cover, bed, steep)
    else:
        height = bed + 250 * steep + 50 * fields.smooth_noise(rng, bed.shape, length=600 / px)
        limit = float(np.quantile(height, rng.uniform(0.2, 0.95)))
        out = np.where(height < limit, SurfaceClass.TUNDRA, SurfaceClass.ROCK).astype(np.uint8)
    if snow:
        line = float(np.quantile(bed, 0.95))
        _snow_patches(rng, out, bed, steep, line, px, bed > np.quantile(bed, 0.5))
    _lakes(rng, out, bed, steep, px, bed > 0)
    out[bed <= 0] = SurfaceClass.SEA
    return out


def _cover(settings: SceneSettings, cover: dict[SurfaceClass, float], bed: FloatArray, steep: FloatArray) -> Codes:
    """Share the land among kinds of cover: patches of a few hundred metres to kilometres, by slope and height."""
    rng = fields.generator(settings.seed, "cover")
    low, high = np.quantile(bed, [0.02, 0.98])
    height = np.clip((bed - low) / max(float(high - low), 1.0), 0, 1)
    length = float(np.exp(rng.uniform(np.log(250), np.log(2_000)))) / settings.resolution
    scores = []
    for kind, weight in cover.items():
        score = 1.2 * fields.smooth_noise(rng, bed.shape, length=length)
        score += 0.35 * fields.smooth_noise(rng, bed.shape, length=length / 5) + np.log(weight) + rng.normal(0, 0.8)
        scores.append(score + _liking(kind, height, steep))
    kinds = np.array([int(kind) for kind in cover], np.uint8)
    return np.asarray(kinds[np.argmax(scores, axis=0)], dtype=np.uint8)


def _liking(kind: SurfaceClass, height: FloatArray, steep: FloatArray) -> npt.NDArray[np.floating[Any]] | float:
    """Where a kind of cover is found: rock high and steep, fields and towns where it is level."""
    if kind == SurfaceClass.ROCK:
        return 1.5 * height + 2.5 * np.minimum(steep, 1.2) - 1.5
    if kind in (SurfaceClass.FARMLAND, SurfaceClass.CITY):
        return -8 * np.minimum(steep, 1.0)
    if kind == SurfaceClass.FOREST:
        return -1.5 * height
    return 0.0


def _snow_patches(
    rng: np.random.Generator,
    out: Codes,
    bed: FloatArray,
    steep: FloatArray,
    snowline: float,
    px: float,
    where: npt.NDArray[np.bool_],
) -> None:
    """Put perennial snow into hollows, the more the higher they lie."""
    hollow = terrain.smooth(bed, 120, px) - terrain.smooth(bed, 30, px)
    patch = hollow / 4 + 1.2 * fields.smooth_noise(rng, bed.shape, length=250 / px) + (bed - snowline) / 250
    patch += np.where(steep > 0.9, -3, 0)
    snow = (patch > rng.uniform(3.0, 4.6)) & where
    labels, _ = ndimage.label(snow)
    small = np.bincount(labels.ravel()) * (px / 1000) ** 2 < LARGEST_PATCH
    small[0] = False
    out[small[labels]] = SurfaceClass.SNOW_PATCH


def _lakes(
    rng: np.random.Generator,
    out: Codes,
    bed: FloatArray,
    steep: FloatArray,
    px: float,
    where: npt.NDArray[np.bool_],
) -> FloatArray:
    """Fill level ground with lakes here and there; returns the field that tells where water gathers."""
    basin = fields.smooth_noise(rng, bed.shape, length=rng.uniform(300, 900) / px)
    out[(steep < 0.14) & (bed > 5) & where & (basin > rng.uniform(1.1, 2.4))] = SurfaceClass.LAKE
    return basin
