"""One year of a scene as the radar sees it, step by step: mean backscatter, true coherence, and their observation."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import Feature
from icemapper_xr.simulate import classes as surface
from icemapper_xr.simulate import fields, radar, seasons, tables
from icemapper_xr.simulate.classes import SurfaceClass as S

if TYPE_CHECKING:
    from icemapper_xr.simulate.scenes import Scene

__all__ = ["Year"]

LOG10 = np.float32(np.log(10) / 10)
DECEMBER, YEAR = 31, np.float32(365)
"""Days."""
FIELD = (80.0, 400.0)
"""Sides of fields, metres (judgement)."""


class Year:
    """One year's fields, from which its steps are observed."""

    def __init__(self, scene: Scene, year: int) -> None:
        self.scene, self.year = scene, year
        settings, site = scene.settings, scene.site
        self.codes = scene.classes(year)
        self.days = _days(settings.passes(year), year)
        self.weather = seasons.draw_weather(settings.seed, year, self.days, site.climate)
        self.height = scene.dem - np.float32(scene.landscape.reference)
        self.calendar = seasons.calendar(
            site.climate, settings.seed, year, self.height, self.codes, settings.resolution
        )
        self.pattern = radar.static_pattern(settings.seed, self.codes, site, settings.resolution)
        self.dry, self.wet = radar.incidence_effect(self.codes, scene.geometry, site)

    def observe(self, index: int, feature: Feature) -> FloatArray:
        """Return one observation: linear power or coherence, NaN where there is none."""
        values = self._coherence(index) if feature == "insar" else self._backscatter(index, feature)
        return self._masked(values, index, feature)

    def _rng(self, purpose: str, index: int) -> np.random.Generator:
        return fields.generator(self.scene.settings.seed, purpose, self.year, index)

    def _noise(self, rng: np.random.Generator, metres: float) -> FloatArray:
        return fields.smooth_noise(rng, self.codes.shape, length=metres / self.scene.settings.resolution)

    # -- backscatter --------------------------------------------------------------------------------------------------
    @cached_property
    def _winter_level(self) -> FloatArray:
        level = self._level(0) + self.dry
        lake = self.codes == S.LAKE
        if lake.any():  # lakes frozen to their bed are dark, those with floating ice bright (SCIENCE 2)
            bedfast = self._noise(fields.generator(self.scene.settings.seed, "lakes"), 500) > 0
            level = np.where(lake & bedfast, level + np.float32(tables.BEDFAST), level)
        return level

    def _level(self, season: int) -> FloatArray:
        means = self.scene.site.gamma0[season] + self.weather.shift
        return np.asarray(means.astype(np.float32)[self.codes])

    @cached_property
    def _melt_level(self) -> FloatArray:
        return self._level(1) + self.wet

    @cached_property
    def _late_level(self) -> FloatArray:
        return self._level(2) + self.wet

    def mean_db(self, index: int) -> FloatArray:
        """Expected gamma0 of a step, dB, without speckle."""
        weather, day = self.weather, float(self.days[index])
        rng = self._rng("date", index)
        winter, melt, late = seasons.season_shares(self.calendar, day)
        winter_level = self._winter_level + weather.crusts[index] * _LAND[self.codes]
        if weather.rain[index] >= 0:  # rain wets the winter snow: -5 dB (SCIENCE 2)
            wetted = fields.sigmoid((weather.rain[index] - self.scene.dem) / 30)
            winter_level -= 5 * wetted * _LAND[self.codes]
        growth = (seasons.growth(day) * _GROWTH_DB)[self.codes]
        late_level = self._late_level + weather.wet_ground[index] * _BARE[self.codes] + growth
        level = winter * winter_level + melt * self._melt_level + late * late_level
        level = self._water(level, index, rng)
        level += self._fields_db(index)
        level += self.pattern + self.scene.geometry.residual + weather.error[index] + 0.5 * self._noise(rng, 1_200)
        return np.asarray(level, dtype=np.float32)

    def _water(self, level: FloatArray, index: int, rng: np.random.Generator) -> FloatArray:
        """Open sea by the wind of the date, or the ice of a winter that has it (SCIENCE 2); bergs near the fronts."""
        sea = self.codes == S.SEA
        if not sea.any():
            return level
        site, day = self.scene.site, self.days[index]
        wind = self.weather.sea[index] + site.climate.gusts * self._noise(rng, 1_500)
        onset = site.climate.onset
        kind = site.climate.sea_ice if day < onset + 5 or day > site.climate.freeze + 50 else "open"
        if kind == "fast":  # rougher or smoother from fjord to fjord, the same all winter
            ice = (-16.0 if day < onset - 20 else -14.0) + self._ice_pattern
        elif kind == "drift":  # floes and leads, new on every date
            ice = -11 + 0.4 * wind + 3 * self._noise(rng, 150)
        else:
            ice = site.gamma0[0, S.SEA] + wind
        level = np.where(sea, ice + self.dry, level).astype(np.float32)
        if (self.codes == S.MELANGE).any() and kind == "open":
            level += 12 * self._bergs(rng) * sea
        return level

    @cached_property
    def _ice_pattern(self) -> FloatArray:
        return 2 * self._noise(fields.generator(self.scene.settings.seed, "sea ice", self.year), 800)

    def _bergs(self, rng: np.random.Generator) -> FloatArray:
        """Bright points adrift, one in a few thousand pixels, 10 to 40 m (judgement)."""
        points = (rng.random(self.codes.shape, dtype=np.float32) < rng.uniform(0, 6e-4)).astype(np.float32)
        return np.asarray(ndimage.maximum_filter(points, 2), dtype=np.float32)

    @cached_property
    def _field_ids(self) -> npt.NDArray[np.int64] | None:
        """Number of the field that each pixel of farmland lies in, or None."""
        if not (self.codes == S.FARMLAND).any():
            return None
        rng = fields.generator(self.scene.settings.seed, "farmland")
        angle, metres = rng.uniform(0, np.pi / 2), rng.uniform(*FIELD, 2)
        rows, columns = (np.arange(n, dtype=np.float32) * self.scene.settings.resolution for n in self.codes.shape)
        bend = 20 * self._noise(rng, 600)
        along = columns[None, :] * np.cos(angle) + rows[:, None] * np.sin(angle) + bend
        across = rows[:, None] * np.cos(angle) - columns[None, :] * np.sin(angle)
        strip = np.floor(across / metres[0])
        return np.asarray(strip * 31 + np.floor(along / metres[1] + strip * 0.37)).astype(np.int64) % 4096

    def _fields_db(self, index: int) -> FloatArray | float:
        """Each field has its own crop and its own tillage, dB (judgement: 1.5 dB lasting, 1.2 dB by date)."""
        if self._field_ids is None:
            return 0.0
        lasting = fields.generator(self.scene.settings.seed, "crops", self.year).normal(0, 1.5, 4096)
        dated = lasting + self._rng("tillage", index).normal(0, 1.2, 4096)
        return np.where(self.codes == S.FARMLAND, dated.astype(np.float32)[self._field_ids], np.float32(0))

    def _backscatter(self, index: int, feature: Feature) -> FloatArray:
        scene = self.scene
        level = self.mean_db(index)
        if feature == "grd":
            # without terrain correction: the area that a pixel of the ellipsoid receives, sigma0 instead of gamma0
            angle = np.deg2rad(scene.geometry.local.clip(12, 80))
            flat = np.deg2rad(scene.geometry.incidence)
            level = level + 10 * np.log10(np.tan(flat) / np.tan(angle) * np.cos(flat))
        level = np.where(scene.geometry.shadow, np.float32(-60), level).astype(np.float32)
        floor = scene.site.noise_floor + scene.geometry.step
        rng = self._rng(feature, index)
        looks, correlation = scene.looks(feature), scene.site.speckle_correlation
        if feature == "grd" or scene.settings.posting == 1:
            return radar.gamma0(rng, level, looks=looks, correlation=correlation, noise_floor=floor)
        return self._coarse(rng, level, floor, looks)

    def _coarse(self, rng: np.random.Generator, level: FloatArray, floor: FloatArray, looks: float) -> FloatArray:
        """Observe on the product's coarser grid, then interpolate the power bilinearly, as a user's cube does."""
        n = self.scene.settings.posting
        power = np.exp(level * LOG10)
        pad = [(n, n + (-k) % n) for k in level.shape]
        means = [_block_mean(np.pad(field, pad, mode="edge"), n) for field in (power, floor)]
        correlation = self.scene.site.coarse_correlation
        made = radar.gamma0(rng, 10 * np.log10(means[0]), looks=looks, correlation=correlation, noise_floor=means[1])
        # fine pixel i has its centre at (i - (n - 1) / 2) / n of the coarse ones, of which one was added in front
        start = 1 - (n - 1) / (2 * n)
        return fields.enlarge(made, level.shape, n, (start, start))

    # -- coherence ----------------------------------------------------------------------------------------------------
    @cached_property
    def _lasting_coherence(self) -> FloatArray:
        """Factor on coherence that stays: moisture, vegetation and rock from place to place; strain on the ice."""
        rng = fields.generator(self.scene.settings.seed, "coherence pattern")
        factor = 1 + 0.12 * self._noise(rng, 700) + 0.10 * self._noise(rng, 120)
        inside = np.maximum(self.scene.landscape.distance, 0)
        fast = fields.sigmoid(2 * self._noise(rng, 2_500))  # which trunks flow fast
        # shear between the trunk and its walls tears the speckle apart, the middle moves as a block
        sheared = self.scene.site.strain * fast * np.exp(-(((inside - 120) / 120) ** 2))
        return np.asarray(factor * np.where(surface.is_glacier(self.codes), 1 - sheared, 1), dtype=np.float32)

    @cached_property
    def _weights(self) -> FloatArray:
        """Power by which a pixel counts in the coherence window."""
        return np.exp((self.pattern + self._winter_level).clip(-30, 5) * LOG10)

    def _coherence(self, index: int) -> FloatArray:
        scene = self.scene
        settings, site = scene.settings, scene.site
        first, second = settings.pairs(self.year)[index]
        days = _days([first, second], self.year)
        days[1] += YEAR * (days[1] < days[0])  # of a pair with one date on either side of that December
        rng = self._rng("coherence", index)
        shares = [seasons.season_shares(self.calendar, float(day)) for day in days]
        winter = np.minimum(shares[0][0], shares[1][0])
        late = np.minimum(shares[0][2], shares[1][2])
        means = [site.coherence[season][self.codes] for season in range(3)]
        growth = (1 - seasons.growth(float(days.mean())) * _GROWTH_LOSS)[self.codes]
        true = winter * means[0] + late * means[2] * growth + (1 - winter - late) * means[1]
        true *= self._lasting_coherence
        if site.climate.sea_ice == "fast" and days[1] < site.climate.onset - 15:
            true = np.where(self.codes == S.SEA, 0.30, true)  # SCIENCE 2, fast first-year ice
        if self._field_ids is not None:  # tilled, mown or left alone between the dates
            left = rng.uniform(0.3, 1.2, 4096).astype(np.float32)
            true = np.where(self.codes == S.FARMLAND, true * left[self._field_ids], true)
        # snowfall, wind and rain act on the whole scene, unevenly; the same on ice, rock and snow
        uneven = 0.15 * self._noise(rng, 1_500) + 0.10 * self._noise(rng, 250)
        factor = np.clip(self.weather.disturbed[index] * (1 + uneven), 0.1, 1.2)
        true = np.clip(true * factor, 0, 0.97).astype(np.float32)
        true[scene.geometry.layover] *= 0.5  # two slopes in one cell, each a part of the signal (judgement)
        true[scene.geometry.shadow] = 0
        return radar.coherence(rng, true, self._weights, window=site.window, resolution=settings.resolution)

    def _masked(self, values: FloatArray, index: int, feature: Feature) -> FloatArray:
        settings = self.scene.settings
        if settings.mask_shadow and feature != "grd":
            values[self.scene.geometry.shadow | self.scene.geometry.layover] = np.nan
        rng = self._rng(f"border {feature}", index)
        if rng.random() < settings.border:
            rows, columns = settings.shape
            share = rng.uniform(0.02, 0.4)
            edge = np.arange(columns)[None, :] + np.arange(rows)[:, None] * rng.uniform(0.2, 0.4)
            edge = edge if rng.random() < 0.5 else edge.max() - edge
            values[edge < share * columns] = np.nan
        return values


_LAND = tables.by_class(dict.fromkeys(tables.WATER, 0.0), default=1.0)
_BARE = tables.by_class(dict.fromkeys(tables.BARE, 1.0))
_GROWTH_DB = tables.by_class({c: db for c, (db, _) in tables.GROWTH.items()})
_GROWTH_LOSS = tables.by_class({c: loss for c, (_, loss) in tables.GROWTH.items()})


def _block_mean(field: FloatArray, n: int) -> FloatArray:
    rows, columns = (k // n for k in field.shape)
    return np.asarray(field[: rows * n, : columns * n].reshape(rows, n, columns, n).mean(axis=(1, 3)), dtype=np.float32)


def _days(moments: Sequence[dt.datetime], year: int) -> FloatArray:
    """Days since the year's 1 January, fractions included; days before the December before count in a year like it.

    A series that begins in July has the end of the last summer in it; that summer is as this one.
    """
    first = dt.datetime(year, 1, 1, tzinfo=dt.UTC)
    days = np.array([(m - first).total_seconds() / 86_400 for m in moments], dtype=np.float32)
    return np.where(days < -DECEMBER, days + YEAR, days).astype(np.float32)
