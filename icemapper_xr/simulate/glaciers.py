"""Ice on the bed: an ice surface from hypsometry, outlines known exactly for every year, and the facies on it.

The ice surface is the smoothed bed, raised where the surroundings lie high above the equilibrium line and lowered
where they lie below it. Ice is where that surface is above the bed: it fills hollows and valleys first, drapes
plateaus, leaves ridges and nunataks free, and ends as a tongue where its catchment no longer feeds it. Numbers without
a source are judgements.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from icemapper_xr import conventions
from icemapper_xr._types import FloatArray
from icemapper_xr.simulate import fields, ground, terrain, worlds
from icemapper_xr.simulate.classes import SurfaceClass
from icemapper_xr.simulate.settings import SceneSettings

__all__ = ["Landscape", "build", "class_map", "on_surface"]

Mask = npt.NDArray[np.bool_]
CLIFF = 25.0
"""Ice that stands in the sea is at least this thick, metres: it calves before it thins further (judgement)."""
ACCUMULATION = (0.35, 0.65)
"""Share of the ice above the equilibrium line, of glaciers near balance or losing mass (judgement)."""
FAR = 1e5
"""Signed distance to the margin where there is no glacier, metres."""


@dataclass(frozen=True)
class Landscape:
    """Everything about the ground and the ice at the scene's resolution; arrays are `(y, x)`."""

    bed: FloatArray
    """Ground under the ice, metres above the sea."""
    dem: FloatArray
    """Surface in the first year: ice, land or sea level, metres."""
    distance: FloatArray
    """Signed distance to the first year's margin, metres, positive on the ice."""
    retreat: FloatArray
    """Horizontal retreat of the margin, metres a year; negative where it advances."""
    reference: float
    """Height to which the climate refers, metres above the sea: the equilibrium line, or the median without ice."""
    facies: npt.NDArray[np.uint8]
    """Class that the pixel has when it is glacier."""
    ground: npt.NDArray[np.uint8]
    """Class that the pixel has when it is not glacier."""


@dataclass(frozen=True)
class _Coarse:
    bed: FloatArray
    surface: FloatArray
    ela: float


def build(settings: SceneSettings, *, snow: bool = True) -> Landscape:
    """Make the landscape of a scene, glaciers of the first year included; `snow` allows perennial snow patches."""
    world = worlds.WORLDS[settings.world]
    rng = fields.generator(settings.seed, "glaciers")
    extent = max(settings.shape) * settings.resolution
    shore = world.shore if rng.random() < world.sea else None
    coarse_bed = terrain.build(settings.seed, extent=extent, shore=shore, relief=world.relief, steepest=world.steepest)
    if not world.glaciated:
        return _without_ice(settings, rng, coarse_bed, snow)
    coarse = _ice_surface(rng, coarse_bed, target=float(rng.uniform(0.2, 0.5)))
    share = settings.glacier_share
    if share is None:
        share = float(rng.uniform(0.25, 0.6))
    origin = _place(rng, coarse, settings, share)
    step = terrain.CELL / settings.resolution
    bed = fields.enlarge(coarse.bed, settings.shape, step, origin, order=3)
    surface = fields.enlarge(coarse.surface, settings.shape, step, origin, order=3)
    bed = _detail(settings, bed)
    thick = surface - bed
    distance = _signed_distance(settings, bed, thick)
    dem = np.where(distance > 0, np.maximum(surface, bed), np.maximum(bed, 0)).astype(np.float32)
    dem = np.maximum(dem, 0)
    return Landscape(
        bed=bed,
        dem=dem,
        distance=distance,
        retreat=_retreat(settings, dem, coarse.ela, bed),
        reference=coarse.ela,
        facies=_facies(settings, dem, bed, thick, distance, coarse.ela),
        ground=ground.beside_ice(settings, bed, distance, coarse.ela),
    )


def _without_ice(settings: SceneSettings, rng: np.random.Generator, coarse_bed: FloatArray, snow: bool) -> Landscape:
    """Make a landscape of a world that has no glaciers."""
    origin = tuple(
        float(rng.uniform(2, max(3, n - k * settings.resolution / terrain.CELL - 4)))
        for n, k in zip(coarse_bed.shape, settings.shape, strict=True)
    )
    bed = fields.enlarge(
        coarse_bed, settings.shape, terrain.CELL / settings.resolution, (origin[0], origin[1]), order=3
    )
    bed = _detail(settings, bed)
    nothing = np.zeros(settings.shape, np.float32)
    return Landscape(
        bed=bed,
        dem=np.maximum(bed, 0),
        distance=nothing - np.float32(FAR),
        retreat=nothing,
        reference=float(np.median(np.maximum(bed, 0))),
        facies=np.full(settings.shape, SurfaceClass.ICE, np.uint8),
        ground=ground.without_ice(settings, bed, snow=snow),
    )


def on_surface(settings: SceneSettings, surface: FloatArray, ice: Mask) -> Landscape:
    """Make the landscape of a known surface (metres above the sea) and known ice, both `(y, x)`.

    The bed is not known: the ice is taken to be as thick as a parabola of perfect plasticity with a yield stress of
    1 bar, h = sqrt(2 tau d / (rho g)) at the distance d from the margin (Nye 1952, doi:10.3189/S0022143000034006).
    """
    rng = fields.generator(settings.seed, "glaciers")
    distance = _signed(ice, settings.resolution)
    thick = np.where(ice, np.sqrt(22.2 * np.maximum(distance, 0)), 0).astype(np.float32)
    bed = _dry(np.asarray(surface - thick, dtype=np.float32), sea=~ice & (surface <= 0))
    accumulation = rng.uniform(*ACCUMULATION)
    ela = float(np.quantile(surface[ice], 1 - accumulation)) if ice.any() else float(surface.max())
    dem = np.maximum(surface, 0).astype(np.float32)
    return Landscape(
        bed=bed,
        dem=dem,
        distance=distance,
        retreat=_retreat(settings, dem, ela, bed),
        reference=ela,
        facies=_facies(settings, dem, bed, thick, distance, ela),
        ground=ground.beside_ice(settings, bed, distance, ela),
    )


def _dry(bed: FloatArray, *, sea: Mask) -> FloatArray:
    """Raise a bed that lies below the sea, but out of its reach, to just above it: no front calves into dry ground."""
    below = (bed <= 0) | sea
    basins, _ = ndimage.label(below, np.ones((3, 3)))
    reached = np.isin(basins, np.unique(basins[sea]))
    return np.where(below & ~reached, np.float32(0.1), bed).astype(np.float32)


def _ice_surface(rng: np.random.Generator, bed: FloatArray, *, target: float) -> _Coarse:
    """Find the ice surface that covers the share `target` of the world's land, by bisection of its feeding level."""
    near = terrain.smooth(bed, rng.uniform(800, 1_300))
    catchment = terrain.smooth(bed, rng.uniform(1_600, 2_600))
    thickness = rng.uniform(90, 180)
    spread = rng.uniform(50, 150)  # metres of catchment height from a starved to a well-fed glacier
    gentle = 1 / (1 + (terrain.slope(near, terrain.CELL) / 0.45) ** 4)  # no ice stays on walls

    bumps = terrain.smooth(bed, 200)
    climate = 50 * fields.fractal(rng, bed.shape, longest=6_000 / terrain.CELL, shortest=1_000 / terrain.CELL)

    def surface(level: float) -> FloatArray:
        # fed ice fills the hollows and thickens; starved ice sinks below the ground, so that tongues end in valleys
        fed = fields.sigmoid(2 * (catchment + climate - level) / spread)
        filled = near - bumps + thickness * gentle
        return np.asarray(bumps + fed * filled - 40 * (1 - fed), dtype=np.float32)

    land = bed > 0
    low, high = float(catchment.min()) - 500, float(catchment.max()) + 500
    for _ in range(14):
        middle = (low + high) / 2
        covered = float((surface(middle) > bed)[land].mean())
        low, high = (middle, high) if covered > target else (low, middle)
    top = surface((low + high) / 2)
    ice = top > bed
    accumulation = rng.uniform(*ACCUMULATION)
    ela = float(np.quantile(top[ice], 1 - accumulation)) if ice.any() else float(bed.max())
    return _Coarse(bed, top, ela)


def _place(rng: np.random.Generator, coarse: _Coarse, settings: SceneSettings, share: float) -> tuple[float, float]:
    """Choose the scene's upper left corner in the world (coarse cells), so that its glacier share is near `share`."""
    n = coarse.bed.shape[0]
    size = [int(np.ceil(k * settings.resolution / terrain.CELL)) for k in settings.shape]
    margin = 12
    limit = [n - k - 2 * margin for k in size]
    ice = np.where(coarse.bed > 0, coarse.surface > coarse.bed, _stands_in_sea(coarse.surface - coarse.bed, coarse.bed))
    total = np.pad(np.cumsum(np.cumsum(ice, axis=0), axis=1), ((1, 0), (1, 0)))
    rows = margin + rng.integers(0, max(1, limit[0]), 256)
    columns = margin + rng.integers(0, max(1, limit[1]), 256)
    inside = (
        total[rows + size[0], columns + size[1]]
        - total[rows, columns + size[1]]
        - total[rows + size[0], columns]
        + total[rows, columns]
    ) / (size[0] * size[1])
    best = int(np.argmin(np.abs(inside - share)))
    return float(rows[best]), float(columns[best])


def _detail(settings: SceneSettings, bed: FloatArray) -> FloatArray:
    """Add what the coarse world cannot hold: rough ground."""
    rng = fields.generator(settings.seed, "detail")
    rough = fields.fractal(rng, bed.shape, longest=400 / settings.resolution, exponent=3.0)
    steep = np.clip(terrain.slope(bed, settings.resolution), 0.05, 0.8)
    amplitude = rng.uniform(3, 9)
    return np.asarray(bed + amplitude * rough * (0.1 + steep) * np.clip((bed + 20) / 60, 0, 1), dtype=np.float32)


def _stands_in_sea(thick: FloatArray, bed: FloatArray) -> Mask:
    """Whether ice over a bed below sea level is thick enough not to have calved."""
    return np.asarray(thick > CLIFF + 0.6 * np.maximum(-bed, 0))


def _signed_distance(settings: SceneSettings, bed: FloatArray, thick: FloatArray) -> FloatArray:
    """Distance to the margin of the first year, metres; specks and pinholes below the minimum area are no ice."""
    ice = np.where(bed > 0, thick > 0, _stands_in_sea(thick, bed))
    ice = ndimage.binary_opening(ice, iterations=2)
    ice = _without_small(ice, settings.resolution, conventions.MIN_AREA_KM2 * 2)
    ice = ~_without_small(~ice, settings.resolution, 0.002)  # holes of a few pixels are no nunataks
    return _signed(ice, settings.resolution)


def _signed(ice: Mask, resolution: float) -> FloatArray:
    """Distance to the margin, metres, positive on the ice, hardly smoothed so that it runs along no pixel edges."""
    signed = np.where(ice, fields.distance_to(~ice) - 0.5, 0.5 - fields.distance_to(ice)).astype(np.float32)
    return np.asarray(ndimage.gaussian_filter(signed, 1.2) * resolution, dtype=np.float32)


def _without_small(mask: Mask, resolution: float, km2: float) -> Mask:
    """Drop 4-connected bodies below an area."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    keep = sizes * (resolution / 1000) ** 2 >= km2
    keep[0] = False
    return np.asarray(keep[labels])


def _retreat(settings: SceneSettings, dem: FloatArray, ela: float, bed: FloatArray) -> FloatArray:
    """Retreat of each margin: full at the lowest tongues and in the sea, a tenth above the equilibrium line."""
    low = float(np.quantile(dem, 0.02))
    height = np.clip((ela + 100 - dem) / max(ela + 100 - low, 50.0), 0, 1)
    weight = 0.1 + 0.9 * height**1.5
    return np.asarray(settings.retreat * np.where(bed <= 0, 1.2, weight), dtype=np.float32)


def _facies(
    settings: SceneSettings, dem: FloatArray, bed: FloatArray, thick: FloatArray, distance: FloatArray, ela: float
) -> npt.NDArray[np.uint8]:
    """Class of each pixel were it glacier."""
    rng = fields.generator(settings.seed, "facies")
    px = settings.resolution
    shape = dem.shape
    wobble = 35 * fields.smooth_noise(rng, shape, length=900 / px) + 12 * fields.smooth_noise(
        rng, shape, length=150 / px
    )
    snowline = ela + wobble
    width = rng.uniform(30, 120)  # metres of elevation between the equilibrium line and the firn line
    out = np.full(shape, SurfaceClass.ICE, dtype=np.uint8)
    out[dem > snowline] = SurfaceClass.SUPERIMPOSED_ICE
    out[dem > snowline + width] = SurfaceClass.FIRN

    # debris: strips along the flanks of the tongues, medial moraines along their middle lines
    tongue = fields.sigmoid((ela - 60 - dem) / 40)
    patchy = fields.smooth_noise(rng, shape, length=700 / px)
    debris_share = rng.uniform(0, 1)
    flank = rng.uniform(20, 120) * np.clip(0.9 * patchy + 0.1, 0, 2) * tongue
    debris = (distance < flank) & (bed > 0)
    ridge = ndimage.gaussian_filter(distance + 25 * fields.smooth_noise(rng, shape, length=500 / px), 40 / px)
    medial = (terrain.slope(ridge, px) < rng.uniform(0.1, 0.25)) & (distance > 150) & (patchy > 1.6 - debris_share)
    debris |= medial & (dem < ela - 60)
    out[debris] = SurfaceClass.DEBRIS_COVERED

    # crevasses: where the surface is steep and the ice thick, at ice falls, and behind calving fronts
    surface_slope = terrain.slope(terrain.smooth(dem, 60, px), px)
    strain = surface_slope * np.clip(thick, 0, 150) / 150 + 0.07 * fields.smooth_noise(rng, shape, length=300 / px)
    front = fields.distance_to((bed <= 0) & (distance <= 0)) * px  # the sea of a user's DEM lies at 0
    reach = rng.uniform(300, 1_500)
    calving = (front < reach * (1 + 0.4 * patchy)) & (dem < 150)
    crevassed = (strain > rng.uniform(0.28, 0.45)) | calving
    if rng.random() < 0.15:  # a surge: the whole lower glacier broken up
        crevassed |= (dem < ela + 50) & (fields.smooth_noise(rng, shape, length=3_000 / px) > 0.8)
    out[crevassed & ~debris & (distance > 0)] = SurfaceClass.CREVASSED
    return out


def class_map(landscape: Landscape, settings: SceneSettings, year: int) -> npt.NDArray[np.uint8]:
    """Return the class of each pixel in a year, uint8 `(y, x)`.

    Ice of a later year lies inside that of an earlier one (outside it for an advance): the margin is the contour of
    the signed distance at the distance retreated. Ice lost on land leaves till, in the sea melange.
    """
    gone = landscape.retreat * (year - settings.years[0])
    ice = _without_small(landscape.distance > gone, settings.resolution, conventions.MIN_AREA_KM2)
    out = np.where(ice, landscape.facies, landscape.ground).astype(np.uint8)
    lost = ~ice & (landscape.distance > 0)
    out[lost & (landscape.bed > 0)] = SurfaceClass.ROCK
    out[lost & (landscape.bed <= 0)] = SurfaceClass.MELANGE
    return out
