"""Worlds with and without glaciers, products of a coarser posting, and real data beside simulated data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from icemapper_xr import simulate
from icemapper_xr.simulate import glaciers, observed, radar, seasons, statistics, terrain, training, worlds
from icemapper_xr.simulate.classes import SurfaceClass as S

BURSTS = {
    "city": "T137-292319-IW2",
    "mountains": "T137-292320-IW2",
    "dry hills": "T137-292323-IW2",
    "hills": "T137-292325-IW1",
}
ICE_FREE = [name for name in worlds.WORLDS if name not in worlds.GLACIATED]


def world(name: str, seed: int = 1, **changes: object) -> simulate.Scene:
    settings = {"seed": seed, "shape": (150, 150), "years": (2023,), "world": name, **changes}
    return simulate.scene(simulate.SceneSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ICE_FREE)
def test_worlds_without_glaciers_have_none(name: str) -> None:
    scene = world(name)
    assert not scene.truth(2023).any()
    assert len(scene.outlines(2023)) == 0
    values = scene.arrays(2023)
    assert np.isfinite(values).all()
    assert values[..., 0].min() > -100
    assert 0 <= values[..., 1].min() <= values[..., 1].max() <= 1


def test_worlds_keep_their_scenes_from_version_to_version() -> None:
    # as for glaciers (test_simulate.py): the shipped weights were trained on these draws
    for name, level, coherence in (("mountains", -11.164, 0.4064), ("lowland", -9.036, 0.4725)):
        values = world(name, 3, shape=(64, 64)).arrays(2023)
        assert values[..., 0].mean() == pytest.approx(level, abs=0.02)
        assert values[..., 1].mean() == pytest.approx(coherence, abs=0.001)


def test_kinds_of_cover_are_where_they_belong() -> None:
    lowland = np.concatenate([world("lowland", seed).classes(2023).ravel() for seed in range(4)])
    assert np.isin(lowland, [S.FARMLAND, S.CITY, S.FOREST, S.SHRUB, S.LAKE, S.SEA]).all()
    assert (lowland == S.FARMLAND).mean() > 0.05
    desert = np.concatenate([world("desert", seed).classes(2023).ravel() for seed in range(4)])
    assert not np.isin(desert, [S.FARMLAND, S.CITY, S.FOREST, S.SNOW_PATCH]).any()


def test_land_without_snow_has_no_seasons() -> None:
    days = seasons.Calendar(*(np.full((2, 2), v, np.float32) for v in (-500, -480, 900)))
    for day in (-12.0, 20.0, 200.0, 370.0):
        winter, melt, late = seasons.season_shares(days, day)
        np.testing.assert_allclose([winter.max(), melt.max(), late.min()], [0, 0, 1], atol=1e-5)


def test_the_training_draw_holds_its_shares_and_its_seeds() -> None:
    drawn = [training.training_settings(seed, size=64, features=("rtc",)) for seed in range(400)]
    ice_free = np.mean([one.world not in worlds.GLACIATED for one in drawn])
    assert ice_free == pytest.approx(training.ICE_FREE, abs=0.07)
    assert {one.world for one in drawn} == set(worlds.WORLDS)
    assert np.mean([one.posting == 3 for one in drawn]) == pytest.approx(training.COARSE, abs=0.06)
    assert {one.polarisation for one in drawn} == {"HH", "VV"}
    assert {one.orbit_state for one in drawn} == {"ascending", "descending"}


def test_walls_are_no_steeper_than_scree_and_svalbards_slopes_are_met() -> None:
    # Longyearbyen DEM (Norwegian Polar Institute, 20 m): 14, 25, 32 degrees at 50, 75, 90 %; the simulated world is
    # known to be steeper by 4 to 7 degrees (docs/simulator.md)
    quantiles = []
    for seed in range(5):
        land = glaciers.build(simulate.SceneSettings(seed=seed, shape=(200, 200), years=(2023,)))
        angles = np.rad2deg(np.arctan(terrain.slope(land.dem, 10.0)))
        quantiles.append(np.quantile(angles, [0.5, 0.75, 0.9]))
    np.testing.assert_allclose(np.mean(quantiles, axis=0), [14.4 + 4, 25.1 + 5, 31.7 + 7], atol=3)
    ridge = -np.abs(np.arange(-10, 11, dtype=np.float32))[None, :] * np.ones((21, 1), np.float32) * 90
    slopes = terrain.slope(terrain._crumble(ridge.copy(), 0.7), terrain.CELL)
    assert terrain.slope(ridge, terrain.CELL).max() == pytest.approx(1.5)
    assert slopes.max() == pytest.approx(0.7, abs=1e-3)


def test_a_coarse_product_is_what_bilinear_resampling_makes_of_it() -> None:
    scene = world("hills", posting=3)
    power = next(iter(scene.observe(2023, ("rtc",)))).values
    centres = power[1::3, 1::3]  # the fine pixels at the centres of the coarse ones hold the product's own values
    between = (centres[:, :-1] * 2 + centres[:, 1:]) / 3
    np.testing.assert_allclose(power[1::3, 2:-3:3], between, rtol=2e-5, atol=1e-8)
    assert scene.looks("rtc") >= 7


def test_block_means_of_the_coarse_grid_lie_on_its_pixels() -> None:
    field = np.add.outer(np.arange(6), np.arange(9)).astype(np.float32)
    np.testing.assert_allclose(observed._block_mean(field, 3), [[2, 5, 8], [5, 8, 11]])


def test_seams_of_sub_swaths_run_along_the_track() -> None:
    steps = [radar.geometry(seed, np.zeros((60, 60), np.float32), 10.0, "ascending") for seed in range(24)]
    with_seam = [one for one in steps if one.step.any() and np.ptp(one.step) > 0]
    assert 2 <= len(with_seam) <= 12
    for one in with_seam:
        assert len(np.unique(one.step)) == 2
        assert 1 <= np.abs(one.step).max() <= 4


@pytest.mark.parametrize("shape", [(60, 60), (40, 240), (240, 40)])
def test_a_seam_lies_across_the_look_direction_whatever_the_scene_is_like(shape: tuple[int, int]) -> None:
    angles = []
    for seed in range(40):
        step = radar.geometry(seed, np.zeros(shape, np.float32), 10.0, "ascending").step
        jumps = np.argwhere(np.diff(step, axis=1) != 0)
        if len(jumps) > 15 and np.ptp(jumps[:, 1]) > 5:
            rows_a_column = np.polyfit(jumps[:, 1], jumps[:, 0], 1)[0]
            angles.append(np.rad2deg(np.arctan2(1, -rows_a_column)) % 180)  # clockwise from north
    assert angles
    assert np.allclose(angles, 150, atol=4)  # the look is to 60


def test_lakes_frozen_to_their_bed_are_darker_than_floating_ice() -> None:
    for seed in range(30):
        scene = world("tundra", seed)
        lake = scene.classes(2023) == S.LAKE
        year = observed.Year(scene, 2023)
        levels = year._winter_level[lake]
        if lake.sum() > 200 and np.ptp(levels) > 8:
            return
    pytest.fail("no lake is frozen to its bed in thirty scenes")


def test_fields_change_from_date_to_date_and_forests_do_not() -> None:
    scene = world("lowland", 3)
    year = observed.Year(scene, 2023)
    codes = year.codes
    change = year.mean_db(8) - year.mean_db(9)
    assert (codes == S.FARMLAND).sum() > 300
    assert change[codes == S.FARMLAND].std() > 1.2
    if (codes == S.FOREST).any():
        assert change[codes == S.FOREST].std() < 1.0


# -- the same numbers of real and of simulated data -------------------------------------------------------------------
def test_statistics_of_known_speckle() -> None:
    level = np.full((200, 200), -10.0, np.float32)
    power = np.array(
        [radar.gamma0(np.random.default_rng(k), level, looks=9, correlation=0.6, noise_floor=-60) for k in range(4)]
    )
    found = statistics.stack(power)
    assert found.looks == pytest.approx(9, rel=0.1)
    # the mean that is taken off over 9 pixels takes some of a broad correlation with it
    assert found.lag_x == pytest.approx(0.6 - 0.06, abs=0.03)
    assert found.lag_y == pytest.approx(0.6 - 0.06, abs=0.03)
    assert found.p50 == pytest.approx(-10.16, abs=0.1)
    assert found.pixel_std == pytest.approx(1.3, abs=0.3)
    assert found.scene_std < 0.05


def real_stack(shared: Path, burst: str) -> np.ndarray:
    images = []
    for path in sorted((shared / "real" / "opera_rtc").glob(f"*{burst}*_VV.tif"))[-15:]:
        with rasterio.open(path) as file:
            image = file.read(1)
        if np.isfinite(image).all():
            images.append(image)
    return np.array(images)


def simulated_stack(name: str, seed: int) -> np.ndarray:
    """A stack as OPERA makes it: 30 m, about 9 looks, and of snow-free dates, as all dates of the real bursts are."""
    scene = world(name, seed, shape=(210, 210), posting=3, polarisation="VV", looks=9.0)
    every = np.array([step.values for step in scene.observe(2023, ("rtc",))])[:, 1::3, 1::3]
    year = observed.Year(scene, 2023)
    bare = [k for k, day in enumerate(year.days) if seasons.season_shares(year.calendar, float(day))[2].mean() > 0.9]
    return every[bare]


def test_simulated_land_without_ice_is_like_opera(shared: Path) -> None:
    """FACTS 9 by one code on both: each number of the simulated scenes in the range of the real ones, widened a bit."""
    real = [statistics.stack(real_stack(shared, burst)).row() for burst in BURSTS.values()]
    made = []
    for name in ("mountains", "hills", "lowland"):
        for seed in range(2):
            images = simulated_stack(name, seed)
            if len(images) >= 4:
                made.append(statistics.stack(images).row())
    assert len(made) >= 4
    # widened by: the drawn correlation also covers HyP3's 0.65; a whole year has more weather than two winters
    room = {"looks": 2.0, "lag_x": 0.45, "lag_y": 0.4, "p1": 3.0, "p50": 2.5, "p99": 4.0}
    room |= {"pixel_std": 0.5, "scene_std": 0.7, "spatial_std": 1.2}
    for key, more in room.items():
        low, high = (f(one[key] for one in real) for f in (min, max))
        middle = float(np.median([one[key] for one in made]))
        assert low - more <= middle <= high + more, (key, low, middle, high)


def test_towns_keep_their_coherence() -> None:
    # FACTS 9: stable urban ground .62-.67, pixel standard deviation .11-.13; simulated towns are known to be lower by
    # 0.04 to 0.12, for even a quiet pair loses up to 15 % to the weather (docs/simulator.md)
    means = []
    for seed in range(8):
        scene = world("lowland", seed)
        town = scene.classes(2023) == S.CITY
        if town.sum() < 500:
            continue
        year = observed.Year(scene, 2023)
        quiet = [k for k in range(15) if year.weather.disturbed[k] > 0.8]
        values = np.array([year.observe(k, "insar") for k in quiet])[:, town]
        means.append((values.mean(), values.std(axis=1).mean()))
        if len(means) == 3:
            break
    mean, spread = np.mean(means, axis=0)
    assert mean == pytest.approx(0.645 - 0.08, abs=0.05)
    assert spread == pytest.approx(0.13, abs=0.04)
