from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import ndimage

from icemapper_xr import conventions, errors, simulate
from icemapper_xr.simulate import fields, radar, terrain

SMALL = simulate.SceneSettings(seed=11, shape=(96, 120), years=(2022, 2023))


@pytest.fixture(scope="module")
def small() -> simulate.Scene:
    return simulate.scene(SMALL)


@pytest.fixture(scope="module")
def large() -> simulate.Scene:
    return simulate.scene(simulate.SceneSettings(seed=8, shape=(300, 300), years=(2016, 2020, 2024), retreat=25))


# -- seeds ------------------------------------------------------------------------------------------------------------
def test_the_same_seed_gives_the_same_bits(small: simulate.Scene) -> None:
    again = simulate.scene(SMALL)
    np.testing.assert_array_equal(small.dem, again.dem)
    np.testing.assert_array_equal(small.truth(2023), again.truth(2023))
    np.testing.assert_array_equal(small.arrays(2023), again.arrays(2023))


def test_one_seed_keeps_its_scene_from_version_to_version(small: simulate.Scene) -> None:
    # the shipped weights were trained on this simulator: a change here invalidates them, and must be meant
    values = small.arrays(2023)
    assert small.dem.mean() == pytest.approx(315.646, abs=0.05)
    assert small.truth(2022).mean() == pytest.approx(0.2496, abs=0.002)
    assert values[..., 0].mean() == pytest.approx(-11.247, abs=0.02)
    assert values[..., 1].mean() == pytest.approx(0.4213, abs=0.001)
    assert small.arrays(2023, features=("grd",)).mean() == pytest.approx(-14.642, abs=0.02)


def test_another_seed_gives_another_scene(small: simulate.Scene) -> None:
    other = simulate.scene(dataclasses.replace(SMALL, seed=12))
    assert not np.array_equal(small.dem, other.dem)


def test_leaving_a_feature_out_does_not_change_the_others(small: simulate.Scene) -> None:
    both = small.cube(2023, features=("rtc", "insar"))
    np.testing.assert_array_equal(both["insar"], small.cube(2023, features=("insar",))["insar"])
    np.testing.assert_array_equal(both["rtc"], small.cube(2023, features=("grd", "rtc"))["rtc"])


def test_a_year_does_not_depend_on_later_years(small: simulate.Scene) -> None:
    alone = simulate.scene(dataclasses.replace(SMALL, years=(2022,)))
    np.testing.assert_array_equal(small.arrays(2022), alone.arrays(2022))


# -- the landscape ----------------------------------------------------------------------------------------------------
def test_ice_shrinks_inside_itself_when_it_retreats(large: simulate.Scene) -> None:
    first, second, third = (large.truth(year) for year in (2016, 2020, 2024))
    assert first.sum() > second.sum() > third.sum()
    assert not (second & ~first).any()
    assert not (third & ~second).any()


def test_ice_grows_around_itself_when_it_advances() -> None:
    scene = simulate.scene(simulate.SceneSettings(seed=8, shape=(200, 200), years=(2020, 2024), retreat=-25))
    before, after = scene.truth(2020), scene.truth(2024)
    assert after.sum() > before.sum()
    assert not (before & ~after).any()


def test_the_first_year_does_not_depend_on_the_retreat(large: simulate.Scene) -> None:
    still = simulate.scene(dataclasses.replace(large.settings, retreat=0))
    np.testing.assert_array_equal(still.truth(2016), large.truth(2016))
    np.testing.assert_array_equal(still.truth(2024), large.truth(2016))


def test_truth_is_the_glacier_classes(large: simulate.Scene) -> None:
    classes = large.classes(2020)
    np.testing.assert_array_equal(large.truth(2020), np.isin(classes, [int(c) for c in simulate.GLACIER]))
    assert set(np.unique(classes)) <= set(large.legend)


def test_no_glacier_is_smaller_than_the_minimum(large: simulate.Scene) -> None:
    labels, count = ndimage.label(large.truth(2024))
    assert count >= 1
    areas = np.bincount(labels.ravel())[1:] * 1e-4  # km2 of a 10 m pixel
    assert areas.min() >= conventions.MIN_AREA_KM2 - 1e-9


def test_firn_lies_above_bare_ice(large: simulate.Scene) -> None:
    classes, dem = large.classes(2016), large.dem
    ice = dem[classes == simulate.SurfaceClass.ICE]
    accumulation = dem[np.isin(classes, [simulate.SurfaceClass.FIRN, simulate.SurfaceClass.SUPERIMPOSED_ICE])]
    assert ice.size
    assert accumulation.size
    assert np.median(accumulation) > np.median(ice) + 50


def test_outlines_hold_exactly_the_true_pixels(large: simulate.Scene) -> None:
    outlines = large.outlines(2020)
    assert outlines.crs.to_epsg() == 32633
    assert outlines.geometry.is_valid.all()
    assert outlines.area.sum() == pytest.approx(large.truth(2020).sum() * 100.0)
    on_the_ground = outlines.to_crs(6931).area.sum() / 1e6  # an equal-area plane; UTM is 0.08 % off here
    assert outlines["area_km2"].sum() == pytest.approx(on_the_ground, rel=1e-6)
    _, holes = ndimage.label(~np.pad(large.truth(2020), 1, constant_values=False), np.ones((3, 3)))
    assert sum(len(p.interiors) for p in outlines.geometry) >= holes - 1


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_asked_for_is_met_roughly(share: float) -> None:
    found = [
        simulate.scene(simulate.SceneSettings(seed=s, shape=(200, 200), years=(2023,), glacier_share=share))
        .truth(2023)
        .mean()
        for s in range(4)
    ]
    assert abs(np.mean(found) - share) < 0.1


# -- geometry ---------------------------------------------------------------------------------------------------------
def _ramp(tangent: float, n: int = 80) -> np.ndarray:
    """Ground that rises toward the east."""
    return np.tile(np.arange(n, dtype=np.float32) * np.float32(10 * tangent), (n, 1))


def test_flat_ground_has_the_incidence_of_the_pass() -> None:
    look = radar.geometry(1, np.zeros((40, 40), np.float32), 10.0, "ascending")
    np.testing.assert_allclose(look.local, look.incidence, atol=1e-3)
    assert not look.layover.any()
    assert not look.shadow.any()


def test_slopes_that_face_the_radar_have_smaller_angles() -> None:
    # an ascending pass looks to the east-north-east: ground that rises eastward faces it
    middle = np.s_[20:60, 20:60]
    rising = radar.geometry(1, _ramp(0.3), 10.0, "ascending")
    falling = radar.geometry(1, -_ramp(0.3), 10.0, "ascending")
    assert (rising.local[middle] < rising.incidence - 10).all()
    assert (falling.local[middle] > falling.incidence + 10).all()
    descending = radar.geometry(1, _ramp(0.3), 10.0, "descending")
    assert (descending.local[middle] > descending.incidence + 10).all()


def test_layover_and_shadow_on_the_right_sides_of_a_ridge() -> None:
    n = 160
    x = np.arange(n, dtype=np.float32) - n / 2
    ridge = np.maximum(0, 300 - np.abs(x) * 10 * 2.5).astype(np.float32)  # flanks of 68 degrees
    look = radar.geometry(1, np.tile(ridge, (n, 1)), 10.0, "ascending")
    row = n // 2
    assert look.layover[row, n // 2 - 6]
    assert look.shadow[row, n // 2 + 10]
    assert not look.shadow[row, : n // 2 - 20].any()
    gentle = radar.geometry(1, _ramp(0.2), 10.0, "ascending")
    assert not gentle.layover.any()
    assert not gentle.shadow.any()


# -- speckle and noise ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("looks", [3.0, 4.4, 10.0, 30.0])
def test_speckle_has_its_looks_its_mean_and_its_correlation(looks: float) -> None:
    rng = np.random.default_rng(0)
    level = np.full((500, 500), -10.0, np.float32)
    power = radar.gamma0(rng, level, looks=looks, correlation=0.6, noise_floor=-60) / 0.1
    assert power.mean() == pytest.approx(1, abs=0.01)
    assert 1 / power.var() == pytest.approx(looks, rel=0.05)
    centred = power - power.mean()
    lags = [float((centred[:, lag:] * centred[:, : 500 - lag]).mean() / power.var()) for lag in (1, 2)]
    assert lags[0] == pytest.approx(0.6, abs=0.04)
    assert 0.08 < lags[1] < 0.3  # FACTS 9: 0.1-0.3


def test_logarithm_of_four_looks_has_the_published_bias() -> None:
    # SCIENCE 2: 4.4 looks have a log-mean bias of -0.5 dB and a standard deviation of 2.2 dB
    level = np.zeros((600, 600), np.float32)
    power = radar.gamma0(np.random.default_rng(1), level, looks=4.4, correlation=0.5, noise_floor=-60)
    db = 10 * np.log10(power)
    assert db.mean() == pytest.approx(-0.5, abs=0.05)
    assert db.std() == pytest.approx(2.2, abs=0.1)


def test_dark_ground_keeps_the_fluctuation_of_the_noise() -> None:
    level = np.full((300, 300), -60.0, np.float32)
    power = radar.gamma0(np.random.default_rng(2), level, looks=4.4, correlation=0.6, noise_floor=-24)
    assert (power <= 0).mean() > 0.3
    assert abs(power.mean()) < 2e-4


# -- coherence --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("window", "bias"), [(40, 0.22), (50, 0.177), (60, 0.148)])
def test_coherence_of_nothing_has_the_bias_of_its_looks(window: float, bias: float) -> None:
    # E|g| = sqrt(pi) / 2 * Gamma(L) / Gamma(L + 1/2) at zero coherence (Touzi 1999); 20 looks give 0.20 (SCIENCE 1.8)
    shape = (300, 300)
    ones = np.ones(shape, np.float32)
    found = radar.coherence(np.random.default_rng(3), 0 * ones, ones, window=window, resolution=10.0)
    assert found.mean() == pytest.approx(bias, abs=0.006)


@pytest.mark.parametrize("resolution", [5, 7, 10, 12, 15, 20, 25, 30, 40])
def test_the_looks_of_coherence_do_not_depend_on_the_pixel(resolution: int) -> None:
    """Sea and wet snow looked as coherent (0.46) as winter firn in pixels of 20 m and more."""
    nothing = np.zeros((4000 // resolution,) * 2, np.float32)
    found = radar.coherence(
        np.random.default_rng(1), nothing, np.ones_like(nothing), window=50, resolution=float(resolution)
    )
    assert found.shape == nothing.shape
    assert found.mean() == pytest.approx(0.178, abs=0.012)  # sqrt(pi / (4 * 25))


def test_coherence_is_estimated_with_its_spread_and_correlation() -> None:
    shape = (400, 400)
    true = np.full(shape, 0.4, np.float32)
    ones = np.ones(shape, np.float32)
    found = radar.coherence(np.random.default_rng(4), true, ones, window=40, resolution=10.0)
    assert found.mean() == pytest.approx(0.4, abs=0.04)
    assert found.std() == pytest.approx(0.165, abs=0.03)  # SCIENCE 1.8: 0.19, 0.15, 0.13 for 6, 12, 20 looks
    centred = found - found.mean()
    lag = float((centred[:, 1:] * centred[:, :-1]).mean() / found.var())
    assert lag > 0.6
    strong = radar.coherence(np.random.default_rng(4), true + 0.5, ones, window=40, resolution=10.0)
    assert strong.mean() == pytest.approx(0.9, abs=0.01)


# -- the cube ---------------------------------------------------------------------------------------------------------
def test_the_cube_follows_the_conventions(small: simulate.Scene) -> None:
    cube = small.cube(2023, features=("grd", "rtc", "insar"))
    assert dict(cube.sizes) == {"time": 15, "y": 96, "x": 120}
    assert {name: cube[name].dims for name in cube} == dict.fromkeys(("grd", "rtc", "insar"), ("time", "y", "x"))
    assert all(cube[name].dtype == np.float32 for name in cube)
    assert all(cube[name].attrs["units"] == conventions.FEATURE_RANGES[name].units for name in cube)
    assert cube.rio.crs.to_epsg() == 32633
    assert float(cube.x[0]) == 520_005.0
    assert float(cube.y[0]) == 8_689_995.0
    assert (np.diff(cube.time.values) == np.timedelta64(24, "D")).all()
    assert cube.attrs[conventions.ATTR_YEAR] == 2023
    assert cube.attrs[conventions.ATTR_START] == "2023-01-01"
    assert cube.attrs[conventions.ATTR_ORBIT] == 14
    for name in ("rtc", "insar"):
        offset = cube[conventions.OFFSET.format(feature=name)].values
        assert np.ptp(offset) == 0  # locked to every second cycle
        assert abs(offset[0]) <= conventions.STEP_TOLERANCE_DAYS
        taken = cube[conventions.ACQUIRED.format(feature=name)].values - cube.time.values
        np.testing.assert_allclose(taken / np.timedelta64(1, "D"), offset, atol=1e-4)
    assert (cube[conventions.PAIR_BASELINE] == 12).all()


def test_values_are_in_a_radar_range(small: simulate.Scene) -> None:
    cube = small.cube(2022)
    rtc, insar = cube["rtc"].values, cube["insar"].values
    assert np.isfinite(rtc).all()
    assert np.isfinite(insar).all()
    lit = rtc[:, ~small.geometry.shadow]
    assert np.quantile(lit, 0.01) > -25
    assert np.quantile(lit, 0.99) < 2
    assert insar.min() >= 0
    assert insar.max() <= conventions.FEATURE_RANGES["insar"].maximum
    assert 0.05 < np.quantile(insar, 0.1) < 0.35


def test_wet_snow_darkens_the_firn_and_refreeze_brightens_it() -> None:
    scene = simulate.scene(simulate.SceneSettings(seed=2, shape=(300, 300), years=(2023,)))
    firn = scene.classes(2023) == simulate.SurfaceClass.FIRN
    assert firn.sum() > 200
    db = scene.arrays(2023, features=("rtc",))[..., 0][:, firn].mean(axis=1)
    winter, summer, refrozen = db[:4].mean(), db[7:10].min(), db[13:].mean()
    assert summer < winter - 5
    assert refrozen > summer + 4


def test_rock_outlives_ice_in_the_coherence_of_late_summer_only() -> None:
    contrast = []
    winter = []
    for seed in range(4):
        scene = simulate.scene(simulate.SceneSettings(seed=seed, shape=(200, 200), years=(2023,)))
        classes = scene.classes(2023)
        insar = scene.arrays(2023, features=("insar",))[..., 0]
        rock, ice = classes == simulate.SurfaceClass.ROCK, scene.truth(2023)
        contrast.append(insar[9, rock].mean() - insar[9, ice].mean())
        winter.append(insar[:4, ice].mean())
    assert np.mean(contrast) > 0.15
    assert max(winter) > 0.3  # cold ice keeps its coherence: no shortcut (SCIENCE 2)


def test_bad_dates_take_the_coherence_of_ice_and_of_rock_alike() -> None:
    scene = simulate.scene(simulate.SceneSettings(seed=5, shape=(200, 200), years=(2023,)))
    insar = scene.arrays(2023, features=("insar",))[:5, ..., 0]
    classes = scene.classes(2023)
    means = [insar[:, classes == c].mean(axis=1) for c in (simulate.SurfaceClass.ROCK, simulate.SurfaceClass.ICE)]
    assert np.ptp(means[0]) > 0.1
    assert np.corrcoef(*means)[0, 1] > 0.9


def test_shadow_can_be_masked_and_borders_left_out() -> None:
    settings = simulate.SceneSettings(seed=4, shape=(200, 200), years=(2023,), mask_shadow=True, world="mountains")
    scene = simulate.scene(settings)
    hidden = scene.geometry.layover | scene.geometry.shadow
    assert hidden.any()
    missing = np.isnan(scene.cube(2023)["rtc"].values)
    np.testing.assert_array_equal(missing, np.broadcast_to(hidden, missing.shape))
    bordered = simulate.scene(dataclasses.replace(SMALL, border=1.0)).cube(2023)
    assert np.isnan(bordered["rtc"]).any(dim=("y", "x")).all()
    assert not np.isnan(bordered["rtc"]).all(dim=("y", "x")).any()


# -- settings ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": -1}, "seed"),
        ({"shape": (10, 100)}, "shape"),
        ({"resolution": 1.0}, "resolution"),
        ({"left": 3.0}, "left"),
        ({"left": float("nan")}, "left is nan; give a finite number"),
        ({"seed": 1.5}, "seed is 1.5; give a whole number"),
        ({"n_steps": 7.5}, "n_steps is 7.5; give a whole number"),
        ({"epsg": 4326}, "epsg is 4326; give the code of a projected CRS in metres"),
        ({"epsg": 999999}, "epsg is 999999; give"),
        ({"years": ()}, "years"),
        ({"years": (2023, 2022)}, "ascending order"),
        ({"relative_orbit": 176}, "relative_orbit"),
        ({"orbit_state": "up"}, "orbit_state"),
        ({"polarisation": "HV"}, "polarisation"),
        ({"platform": "S2A"}, "platform"),
        ({"retreat": 1e4}, "retreat"),
        ({"looks": 1.0}, "looks"),
        ({"glacier_share": 0.99}, "glacier_share"),
        ({"border": 2.0}, "border"),
        ({"features": ("sar",)}, "features"),
        ({"start_month_day": (2, 30)}, "start_month_day"),
        ({"n_steps": 16}, "n_steps"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(change: dict[str, object], says: str) -> None:
    with pytest.raises(errors.OptionError, match=says) as caught:
        simulate.SceneSettings(**change)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_an_unknown_year_or_feature_is_refused(small: simulate.Scene) -> None:
    with pytest.raises(errors.OptionError, match="year 2030"):
        small.cube(2030)
    with pytest.raises(errors.OptionError, match="features"):
        small.cube(2023, features=("slc",))  # type: ignore[arg-type]


def test_passes_follow_the_repeat_cycle() -> None:
    for orbit in (1, 14, 100, 175):
        for state in ("ascending", "descending"):
            settings = simulate.SceneSettings(relative_orbit=orbit, orbit_state=state)
            every = settings.passes(2022) + settings.passes(2023)
            days = [(b - a).total_seconds() / 86_400 for a, b in itertools.pairwise(every)]
            assert all(day % 12 == 0 for day in days)
            for year in (2022, 2023):
                for moment, pair, centre in zip(
                    settings.passes(year), settings.pairs(year), settings.centres(year), strict=True
                ):
                    assert abs((moment - centre).total_seconds()) <= 6 * 86_400
                    middle = pair[0] + (pair[1] - pair[0]) / 2
                    assert abs((middle - centre).total_seconds()) <= 6 * 86_400


def test_a_series_may_start_in_the_december_before() -> None:
    settings = simulate.SceneSettings(start_month_day=(12, 20))
    assert settings.start(2023).isoformat() == "2022-12-20T00:00:00+00:00"


# -- fields and training ----------------------------------------------------------------------------------------------
def test_a_series_that_begins_in_summer_has_that_summer() -> None:
    """July to November of the year before were the dry winter of this year."""
    settings = dataclasses.replace(SMALL, start_month_day=(7, 1), years=(2023,))
    scene = simulate.scene(settings)
    assert [when.year for when in settings.passes(2023)][:7] == [2022] * 7
    ice = scene.truth(2023)
    coherence = scene.arrays(2023)[:, ice, 1].mean(axis=1)
    assert coherence[:3].max() < 0.28 < coherence[8:11].min()  # July and August, January to March


def test_ice_layers_of_an_autumn_last_through_the_winter_that_follows() -> None:
    """They were lost on 1 December, and rain in December of the series was none of its autumn's."""
    from icemapper_xr.simulate import observed, seasons

    settings = dataclasses.replace(SMALL, start_month_day=(9, 1), years=(2023,))
    days = observed._days(settings.passes(2023), 2023)
    autumn, winter = days > 300, days < 60
    kept = 0
    for seed in range(40):
        crusts = seasons.draw_weather(seed, 2023, days, simulate.scene(settings).site.climate).crusts
        assert crusts[winter].min() >= crusts[autumn].max()
        kept += crusts[autumn].max() > 0
    assert kept > 5
    july = observed._days(dataclasses.replace(settings, start_month_day=(7, 1)).passes(2023), 2023)
    for seed in range(20):
        climate = simulate.scene(settings).site.climate
        first, alone = (seasons.draw_weather(seed, 2023, each, climate).crusts[0] for each in (july, july[:1]))
        assert first == alone  # the autumn is still to come


@pytest.mark.parametrize("length", [2.5, 6.0, 40.0])
def test_smooth_noise_has_unit_variance(length: float) -> None:
    samples = [fields.smooth_noise(np.random.default_rng(k), (200, 200), length=length) for k in range(20)]
    assert np.std(samples) == pytest.approx(1, abs=0.25)


def test_fractals_are_standardised_and_rough_at_the_shortest_wavelength_only() -> None:
    field = fields.fractal(np.random.default_rng(1), (128, 128), longest=64, shortest=16)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-4)
    assert terrain.slope(field, 1.0).max() < 2 * np.pi / 16 * 5


def test_training_scenes_are_arrays_with_their_truth() -> None:
    cube, truth = simulate.training_scene(77, size=64)
    assert cube.shape == (15, 64, 64, 2)
    assert cube.dtype == np.float32
    assert truth.shape == (64, 64)
    assert truth.dtype == bool
    again, _ = simulate.training_scene(77, size=64)
    np.testing.assert_array_equal(cube, again)
