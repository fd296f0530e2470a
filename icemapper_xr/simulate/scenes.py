"""A simulated scene: landscape, truth, and the cube that a satellite would have given."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from icemapper_xr import conventions, errors, vectorise
from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import Feature
from icemapper_xr.simulate import classes as surface
from icemapper_xr.simulate import glaciers, observed, radar, worlds
from icemapper_xr.simulate import site as sites
from icemapper_xr.simulate.settings import COARSE_LOOKS, SceneSettings

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["Scene", "Step", "assemble", "draw_site", "scene", "to_db"]

SNOWY = 60.0
"""Day of melt onset after which a world without glaciers may have perennial snow patches (judgement)."""


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
    site: sites.Site
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
        """Glacier polygons of a year, nunataks as holes, along pixel edges, in the scene's CRS; areas are geodesic."""
        import geopandas
        import rasterio.features
        import shapely

        mask = self.truth(year)
        shapes = rasterio.features.shapes(mask.astype(np.uint8), mask=mask, connectivity=4, transform=self._affine)
        polygons = [shapely.geometry.shape(geometry) for geometry, _ in shapes]
        frame = geopandas.GeoDataFrame(
            {"year": np.full(len(polygons), year)}, geometry=polygons, crs=f"EPSG:{self.settings.epsg}"
        )
        frame.insert(1, "area_km2", vectorise.areas_km2(frame))
        return frame

    def looks(self, feature: Feature) -> float:
        """Equivalent looks of a backscatter feature."""
        if feature == "grd":
            return self.site.grd_looks
        return self.site.looks if self.settings.posting == 1 else float(np.clip(self.site.looks, *COARSE_LOOKS))

    def observe(self, year: int, features: Sequence[Feature] | None = None) -> Iterator[Step]:
        """Yield the observations of a year step by step: gamma0 (rtc) or sigma0 (grd) as power, or coherence.

        Every step and feature has its own random stream: leaving one out does not change the others.
        """
        wanted = self._features(features)
        state = observed.Year(self, self._checked(year))
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
        wanted = conventions.listed(self.settings.features if features is None else features)
        unknown = [name for name in wanted if name not in conventions.FEATURES]
        if unknown or not wanted:
            raise errors.OptionError(f"features is {wanted}; choose from {', '.join(conventions.FEATURES)}")
        return wanted

    @property
    def _affine(self) -> Any:
        from affine import Affine

        return Affine(*self.settings.grid.transform)


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
        arrays on one kind of processor with the same NumPy and SciPy.
    """
    wanted = SceneSettings() if settings is None else settings
    site = draw_site(wanted)
    return assemble(wanted, glaciers.build(wanted, snow=site.climate.onset > SNOWY), site)


def draw_site(settings: SceneSettings) -> sites.Site:
    """Draw class means, radar and climate of a scene."""
    world = worlds.WORLDS[settings.world]
    return sites.draw_site(settings.seed, polarisation=settings.polarisation, looks=settings.looks, world=world)


def assemble(settings: SceneSettings, landscape: glaciers.Landscape, site: sites.Site) -> Scene:
    """Put a landscape under the radar."""
    geometry = radar.geometry(settings.seed, landscape.dem, settings.resolution, settings.orbit_state)
    return Scene(settings=settings, landscape=landscape, geometry=geometry, site=site)


def to_db(power: FloatArray) -> FloatArray:
    """Convert linear power to dB as a cube does: zero and below become the recorded noise floor, NaN stays."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.float32(10) * np.log10(power)
    values[power <= 0] = conventions.NOISE_FLOOR_DB
    return np.asarray(values, dtype=np.float32)


def _stamps(moments: Sequence[dt.datetime]) -> npt.NDArray[np.datetime64]:
    return np.array([m.replace(tzinfo=None) for m in moments], dtype="datetime64[ns]")
