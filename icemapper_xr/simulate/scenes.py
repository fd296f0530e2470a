"""A simulated scene: landscape, truth, and the cube that a satellite would have given."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from icemapper_xr import conventions, errors
from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import Feature
from icemapper_xr.simulate import classes as surface
from icemapper_xr.simulate import fields, glaciers, radar, seasons, tables
from icemapper_xr.simulate.settings import SceneSettings

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["Scene", "Step", "scene"]

GRD_LOOKS = 4.4
"""Equivalent looks of IW GRD at 10 m (SCIENCE 2)."""


class Step(NamedTuple):
    """One observation of one feature: linear power or coherence, `(y, x)` float32, NaN where not observed."""

    number: int
    feature: Feature
    values: FloatArray


@dataclass(frozen=True)
class Scene:
    """One simulated place through the years; made by `scene`. All arrays are `(y, x)` on `settings.grid`."""

    settings: SceneSettings
    """What was asked for."""
    landscape: glaciers.Landscape
    """Bed, surface, margins and facies."""
    geometry: radar.Geometry
    """The pass: incidence, layover and shadow."""
    site: tables.Site
    """Class means and radar that this scene drew."""

    @property
    def dem(self) -> FloatArray:
        """Surface elevation in the first year, metres, float32."""
        return self.landscape.dem

    @property
    def legend(self) -> dict[int, str]:
        """Class code to class name."""
        return dict(surface.LEGEND)

    def classes(self, year: int) -> npt.NDArray[np.uint8]:
        """Surface class of each pixel in a year, uint8 (see `legend`)."""
        return glaciers.class_map(self.landscape, self.settings, self._checked(year))

    def truth(self, year: int) -> npt.NDArray[np.bool_]:
        """Whether each pixel is glacier in a year: firn, superimposed, bare, crevassed or debris-covered ice.

        Nunataks, perennial snow patches, ice-cored moraine (dead ice), melange and lakes are not (SCIENCE 4).
        """
        return surface.is_glacier(self.classes(year))

    def outlines(self, year: int) -> GeoDataFrame:
        """Glacier polygons of a year, nunataks as holes, along pixel edges, in the scene's CRS."""
        import geopandas
        import rasterio.features
        import shapely

        mask = self.truth(year)
        shapes = rasterio.features.shapes(mask.astype(np.uint8), mask=mask, connectivity=4, transform=self._affine)
        polygons = [shapely.geometry.shape(geometry) for geometry, _ in shapes]
        return geopandas.GeoDataFrame(
            {"year": np.full(len(polygons), year), "area_km2": [p.area / 1e6 for p in polygons]},
            geometry=polygons,
            crs=f"EPSG:{self.settings.epsg}",
        )

    def looks(self, feature: Feature) -> float:
        """Equivalent looks of a backscatter feature."""
        return GRD_LOOKS if feature == "grd" and self.settings.looks is None else self.site.looks

    def observe(self, year: int, features: Sequence[Feature] | None = None) -> Iterator[Step]:
        """Yield the observations of a year step by step: gamma0 (rtc) or sigma0 (grd) as power, or coherence.

        Every step and feature has its own random stream: leaving one out does not change the others.
        """
        wanted = self._features(features)
        state = _Year(self, self._checked(year))
        for index in range(self.settings.n_steps):
            for feature in wanted:
                yield Step(index, feature, state.observe(index, feature))

    def arrays(self, year: int, features: Sequence[Feature] | None = None) -> FloatArray:
        """Return `(time, y, x, feature)` float32: dB (floor `NOISE_FLOOR_DB`) or coherence, NaN where not observed."""
        wanted = self._features(features)
        out = np.empty((self.settings.n_steps, *self.settings.shape, len(wanted)), np.float32)
        for step in self.observe(year, wanted):
            values = step.values if step.feature == "insar" else to_db(step.values)
            out[step.number, :, :, wanted.index(step.feature)] = values
        return out

    def cube(self, year: int, features: Sequence[Feature] | None = None) -> xr.Dataset:
        """Return a year's cube, in memory, as `open_cube` would: dims (time, y, x), dB and coherence, float32."""
        import rioxarray  # noqa: F401

        wanted = self._features(features)
        y, x = self.settings.grid.coords()
        time = _stamps(self.settings.centres(year))
        data = {name: np.empty((len(time), *self.settings.shape), np.float32) for name in wanted}
        for step in self.observe(year, wanted):
            data[step.feature][step.number] = step.values if step.feature == "insar" else to_db(step.values)
        cube = xr.Dataset(
            {name: ((conventions.TIME, conventions.Y, conventions.X), data[name]) for name in wanted},
            coords={conventions.TIME: time, conventions.Y: y, conventions.X: x},
        )
        for name in wanted:
            meaning = conventions.FEATURE_RANGES[name]
            cube[name].attrs.update(units=meaning.units, long_name=meaning.long_name)
            cube = cube.assign_coords(self._step_coords(year, name))
        cube.attrs.update(self._attributes(year, wanted))
        return cube.rio.write_crs(f"EPSG:{self.settings.epsg}")  # type: ignore[no-any-return]

    def _step_coords(self, year: int, feature: Feature) -> dict[str, tuple[str, Any]]:
        settings = self.settings
        n = settings.n_steps
        passes, pairs = settings.passes(year), settings.pairs(year)
        coords: dict[str, tuple[str, Any]] = {}
        if feature == "insar":
            passes = [first + (second - first) / 2 for first, second in pairs]
            coords[conventions.PAIR_REFERENCE] = (conventions.TIME, _stamps([first for first, _ in pairs]))
            coords[conventions.PAIR_SECONDARY] = (conventions.TIME, _stamps([second for _, second in pairs]))
            coords[conventions.PAIR_BASELINE] = (conventions.TIME, np.full(n, conventions.CYCLE_DAYS, np.int16))
        offsets = [(p - c).total_seconds() / 86_400 for p, c in zip(passes, settings.centres(year), strict=True)]
        items = [self.item_id(year, k, feature) for k in range(n)]
        platform = settings.platform if feature != "insar" else f"{settings.platform}/{settings.platform}"
        coords |= {
            conventions.ACQUIRED.format(feature=feature): (conventions.TIME, _stamps(passes)),
            conventions.ITEMS.format(feature=feature): (conventions.TIME, np.array(items)),
            conventions.PLATFORM.format(feature=feature): (conventions.TIME, np.full(n, platform)),
            conventions.RELATIVE_ORBIT.format(feature=feature): (
                conventions.TIME,
                np.full(n, settings.relative_orbit, np.int16),
            ),
            conventions.OFFSET.format(feature=feature): (conventions.TIME, np.array(offsets, np.float32)),
        }
        return coords

    def item_id(self, year: int, step: int, feature: Feature) -> str:
        """Name of one observation, without suffix: feature, platform, mode, polarisation, orbit and dates."""
        settings = self.settings
        head = f"{feature}_{settings.platform}_IW_{settings.polarisation}_ro{settings.relative_orbit:03d}"
        if feature == "insar":
            first, second = settings.pairs(year)[step]
            return f"{head}_{first:%Y%m%d}_{second:%Y%m%d}"
        return f"{head}_{settings.passes(year)[step]:%Y%m%dT%H%M%S}"

    def _attributes(self, year: int, features: Sequence[Feature]) -> dict[str, Any]:
        settings = self.settings
        return {
            conventions.ATTR_ORBIT: settings.relative_orbit,
            conventions.ATTR_ORBIT_STATE: settings.orbit_state,
            conventions.ATTR_POLARISATION: settings.polarisation,
            conventions.ATTR_YEAR: year,
            conventions.ATTR_START: settings.start(year).date().isoformat(),
            conventions.ATTR_STEPS_MISSING: json.dumps({name: [] for name in features}),
            conventions.ATTR_CATALOG: f"simulated, seed {settings.seed}",
        }

    def _checked(self, year: int) -> int:
        if year not in self.settings.years:
            known = ", ".join(map(str, self.settings.years))
            raise errors.OptionError(f"year {year} is not one of the scene's years ({known}); name it in SceneSettings")
        return year

    def _features(self, features: Sequence[Feature] | None) -> tuple[Feature, ...]:
        wanted = tuple(self.settings.features if features is None else features)
        unknown = [name for name in wanted if name not in conventions.FEATURES]
        if unknown or not wanted:
            raise errors.OptionError(f"features is {wanted}; choose from {', '.join(conventions.FEATURES)}")
        return wanted

    @property
    def _affine(self) -> Any:
        from affine import Affine

        return Affine(*self.settings.grid.transform)


class _Year:
    """One year's fields, from which its steps are observed."""

    def __init__(self, scene: Scene, year: int) -> None:
        self.scene, self.year = scene, year
        settings, site = scene.settings, scene.site
        self.codes = scene.classes(year)
        self.days = _days(settings.passes(year), year)
        self.weather = seasons.draw_weather(settings.seed, year, self.days, site.freeze)
        self.calendar = seasons.calendar(site, settings.seed, year, scene.dem, settings.resolution)
        self.pattern = radar.static_pattern(settings.seed, self.codes, site, settings.resolution)
        self.dry, self.wet = radar.incidence_effect(self.codes, scene.geometry, site)

    def observe(self, index: int, feature: Feature) -> FloatArray:
        values = self._coherence(index) if feature == "insar" else self._backscatter(index, feature)
        return self._masked(values, index, feature)

    def _rng(self, purpose: str, index: int) -> np.random.Generator:
        return fields.generator(self.scene.settings.seed, purpose, self.year, index)

    @cached_property
    def _winter_level(self) -> FloatArray:
        return self._level(0) + self.dry

    def _level(self, season: int) -> FloatArray:
        means = self.scene.site.gamma0[season] + self.weather.shift
        return np.asarray(means.astype(np.float32)[self.codes])

    def mean_db(self, index: int) -> FloatArray:
        """Expected gamma0 of a step, dB, without speckle."""
        weather = self.weather
        rng = self._rng("date", index)
        winter, melt, late = seasons.season_shares(self.calendar, float(self.days[index]))
        land = _LAND[self.codes]
        if weather.rain[index] >= 0:  # rain wets the winter snow: -5 dB (SCIENCE 2)
            wetted = fields.sigmoid((weather.rain[index] - self.scene.dem) / 30) * land
            winter_level = self._winter_level - 5 * wetted
        else:
            winter_level = self._winter_level
        winter_level = winter_level + weather.crusts[index] * land
        level = winter * winter_level + melt * (self._level(1) + self.wet)
        level += late * (self._level(2) + self.wet + weather.wet_ground[index] * _BARE[self.codes])
        level = self._water(level, index, rng)
        passing = 0.5 * fields.smooth_noise(rng, level.shape, length=1_200 / self.scene.settings.resolution)
        return np.asarray(
            level + self.pattern + self.scene.geometry.residual + weather.error[index] + passing, dtype=np.float32
        )

    def _water(self, level: FloatArray, index: int, rng: np.random.Generator) -> FloatArray:
        """Open sea by the wind of the date, or fast ice in the winter of a scene that has it (SCIENCE 2)."""
        site, day = self.scene.site, self.days[index]
        wind = self.weather.sea[index] + 1.5 * fields.smooth_noise(
            rng, level.shape, length=1_500 / self.scene.settings.resolution
        )
        frozen = site.fast_ice and day < 165
        ice = -16.0 if day < 135 else -14.0
        sea = self.codes == surface.SurfaceClass.SEA
        replacement = ice + 0.4 * wind + self.dry if frozen else site.gamma0[0, 0] + wind + self.dry
        return np.where(sea, replacement, level).astype(np.float32)

    def _backscatter(self, index: int, feature: Feature) -> FloatArray:
        scene = self.scene
        level = self.mean_db(index)
        shade = scene.geometry.shadow
        if feature == "grd":
            # without terrain correction: the area that a pixel of the ellipsoid receives, sigma0 instead of gamma0
            angle = np.deg2rad(scene.geometry.local.clip(12, 80))
            flat = np.deg2rad(scene.geometry.incidence)
            level = level + 10 * np.log10(np.tan(flat) / np.tan(angle) * np.cos(flat))
        level = np.where(shade, np.float32(-60), level)
        return radar.gamma0(
            self._rng(feature, index),
            level.astype(np.float32),
            looks=scene.looks(feature),
            correlation=scene.site.speckle_correlation,
            noise_floor=scene.site.noise_floor,
        )

    def _coherence(self, index: int) -> FloatArray:
        scene = self.scene
        settings, site = scene.settings, scene.site
        first, second = settings.pairs(self.year)[index]
        days = _days([first, second], self.year)
        rng = self._rng("coherence", index)
        shares = [seasons.season_shares(self.calendar, float(day)) for day in days]
        winter = np.minimum(shares[0][0], shares[1][0])
        late = np.minimum(shares[0][2], shares[1][2])
        table = site.coherence
        true = winter * table[0][self.codes] + late * table[2][self.codes] + (1 - winter - late) * table[1][self.codes]
        if site.fast_ice and days[1] < 140:
            true = np.where(self.codes == surface.SurfaceClass.SEA, 0.30, true)  # SCIENCE 2, fast first-year ice
        # snowfall, wind and rain act on the whole scene, unevenly; the same on ice, rock and snow
        uneven = 0.15 * fields.smooth_noise(rng, true.shape, length=1_500 / settings.resolution)
        uneven += 0.10 * fields.smooth_noise(rng, true.shape, length=250 / settings.resolution)
        factor = np.clip(self.weather.disturbed[index] * (1 + uneven), 0.1, 1.2)
        true = np.clip(true * factor, 0, 0.97).astype(np.float32)
        true[scene.geometry.layover | scene.geometry.shadow] = 0
        power = np.exp((self.pattern + self._winter_level).clip(-30, 5) * np.float32(np.log(10) / 10))
        return radar.coherence(rng, true, power, window=site.window, resolution=settings.resolution)

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


_S = surface.SurfaceClass
_LAND = np.ones(len(_S), np.float32)
_LAND[[_S.SEA, _S.MELANGE]] = 0
_BARE = np.zeros(len(_S), np.float32)
_BARE[[_S.TUNDRA, _S.ROCK, _S.DEBRIS_COVERED, _S.ICE_CORED_MORAINE]] = 1


def scene(settings: SceneSettings | None = None) -> Scene:
    """Make a simulated scene.

    Parameters
    ----------
    settings
        What to make; None takes the defaults.

    Returns
    -------
    Scene
        With `dem`, `classes(year)`, `truth(year)`, `outlines(year)` and `cube(year)`. Equal settings give bit-equal
        arrays.
    """
    wanted = SceneSettings() if settings is None else settings
    land = glaciers.build(wanted)
    return Scene(
        settings=wanted,
        landscape=land,
        geometry=radar.geometry(wanted.seed, land.dem, wanted.resolution, wanted.orbit_state),
        site=tables.draw_site(wanted.seed, polarisation=wanted.polarisation, looks=wanted.looks),
    )


def to_db(power: FloatArray) -> FloatArray:
    """Convert linear power to dB as a cube does: zero and below become the recorded noise floor, NaN stays."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.float32(10) * np.log10(power)
    values[power <= 0] = conventions.NOISE_FLOOR_DB
    return np.asarray(values, dtype=np.float32)


def _days(moments: Sequence[dt.datetime], year: int) -> FloatArray:
    """Days since the year's 1 January, fractions included."""
    first = dt.datetime(year, 1, 1, tzinfo=dt.UTC)
    return np.array([(m - first).total_seconds() / 86_400 for m in moments], dtype=np.float32)


def _stamps(moments: Sequence[dt.datetime]) -> npt.NDArray[np.datetime64]:
    return np.array([m.replace(tzinfo=None) for m in moments], dtype="datetime64[ns]")
