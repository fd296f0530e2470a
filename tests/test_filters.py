from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from icemapper_xr import calibrate, filters
from icemapper_xr.errors import AnalysisError, OptionError
from tests.support import raise_if_dask_computes

YEARS = np.arange(2016, 2025)
probabilities = st.floats(0, 1, width=32)
series = hnp.arrays(np.float32, st.integers(1, 12), elements=probabilities)
series_with_gaps = hnp.arrays(np.float32, st.integers(1, 12), elements=probabilities | st.just(np.nan))


def one_by_one(values, years, reach):
    """The definition, pixel by pixel: medians of three observed years until nothing changes."""
    x = list(map(float, values))
    while True:
        new = list(x)
        for k, value in enumerate(x):
            before = [i for i in range(k) if x[i] == x[i]]
            after = [i for i in range(k + 1, len(x)) if x[i] == x[i]]
            if value != value or not before or not after:
                continue
            i, j = before[-1], after[0]
            if years[k] - years[i] <= reach and years[j] - years[k] <= reach:
                new[k] = sorted([x[i], value, x[j]])[1]
        if np.array_equal(new, x, equal_nan=True):
            return np.array(x, np.float32)
        x = new


@settings(max_examples=200, deadline=None)
@given(series_with_gaps, st.sets(st.integers(2014, 2030), min_size=12, max_size=12), st.integers(1, 4))
def test_equal_to_the_definition_with_gaps_and_missing_years(values, years, reach):
    t = np.sort(list(years))[: values.size]
    np.testing.assert_array_equal(
        filters.filter_series(values, t, max_gap_years=reach), one_by_one(values, t, reach), strict=True
    )


@given(series)
def test_a_series_that_only_falls_or_only_rises_is_left_to_the_last_bit(values):
    """Retreat and surges: whenever they come and however fast they are."""
    t = np.arange(values.size)
    for monotone in (np.sort(values), np.sort(values)[::-1]):
        np.testing.assert_array_equal(filters.filter_series(monotone, t), monotone)


@given(series)
def test_a_second_time_does_nothing_and_time_may_run_backwards(values):
    t = np.arange(values.size)
    once = filters.filter_series(values, t)
    np.testing.assert_array_equal(filters.filter_series(once, t), once)
    np.testing.assert_array_equal(filters.filter_series(values[::-1], t)[::-1], once)
    assert set(once.tolist()) <= set(values.tolist())  # no value that was not mapped


@pytest.mark.parametrize("year", range(1, 8))
def test_one_year_of_flicker_goes_and_two_years_stay(year):
    for state, other in ((0.95, 0.1), (0.05, 0.8)):
        flicker = np.full(9, state, np.float32)
        flicker[year] = other
        np.testing.assert_array_equal(filters.filter_series(flicker, YEARS), np.full(9, state, np.float32))
        event = flicker.copy()
        event[year : year + 2] = other  # a surge that comes and goes within two years is no flicker
        np.testing.assert_array_equal(filters.filter_series(event, YEARS), event)


def test_alternating_years_end_in_a_root_and_the_ends_are_kept():
    alternating = np.array([0, 1, 0, 1, 0, 1, 0], np.float32)
    np.testing.assert_array_equal(filters.filter_series(alternating, np.arange(7)), np.zeros(7))
    ends = np.array([1, 0, 0, 0, 1], np.float32)
    np.testing.assert_array_equal(filters.filter_series(ends, np.arange(5)), ends)


def test_a_moving_margin_keeps_its_place_and_noise_goes():
    """A front that retreats 30 m a year and a surge of 800 m in one year, with flicker of 3 % of the pixels."""
    rng = np.random.default_rng(0)
    x = np.arange(400) * 10.0
    front = np.array([3000 - 30.0 * k for k in range(4)] + [3700 - 30.0 * k for k in range(5)])
    truth = x[None, :] < front[:, None]
    clean = np.repeat(np.where(truth, 0.97, 0.03)[:, None], 50, axis=1).astype(np.float32)
    changed = (filters.filter_series(clean, YEARS) != clean)[:, 0]
    one_year = np.zeros(changed.shape, bool)  # bared in the last summer before the surge; the tip of the surge
    one_year[3], one_year[4] = (x >= front[3]) & (x < front[2]), (x >= front[5]) & (x < front[4])
    np.testing.assert_array_equal(changed, one_year)
    noisy = np.where(rng.random(clean.shape) < 0.03, 1 - clean, clean)
    wrong = (filters.filter_series(noisy, YEARS) >= 0.5) != (clean >= 0.5)
    assert wrong[1:-1].mean() < 0.01  # of 3 %: two years in a row, and flicker beside a change, stay
    assert wrong[[0, -1]].mean() == pytest.approx(0.03, abs=0.003)  # the ends are not filtered


def raster(rng):
    values = rng.random((9, 30, 40)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    coords = {"year": YEARS, "y": np.arange(30) * -10.0, "x": np.arange(40) * 10.0}
    attrs = {"units": "1", "grid_mapping": "spatial_ref"}
    return xr.DataArray(values, coords, ("year", "y", "x"), "probability", attrs)


@pytest.mark.parametrize("chunks", [{"year": 1, "y": 7, "x": 40}, {"year": 4, "y": 30, "x": 11}])
def test_lazy_and_independent_of_chunks(chunks):
    array = raster(np.random.default_rng(1))
    eager = filters.temporal(array)
    with raise_if_dask_computes():
        lazy = filters.temporal(array.chunk(chunks))
    assert isinstance(lazy.data, da.Array)
    xr.testing.assert_identical(lazy.compute(), eager)
    assert eager.dtype == np.float32
    assert eager.attrs["units"] == "1"
    assert "3R" in eager.attrs[filters.ATTR_FILTER]
    turned = filters.temporal(array.transpose("y", "x", "year"))
    np.testing.assert_array_equal(turned.transpose("year", "y", "x"), eager)


def test_a_dataset_is_filtered_with_its_calibration_and_the_order_does_not_matter():
    model = calibrate.Monotone((0.0, 0.3, 0.9), (0.5, 0.8, 0.97))
    both = raster(np.random.default_rng(2)).to_dataset().assign(n_obs=("year", np.arange(9)))
    after = calibrate.calibrate(filters.temporal(both), model)
    before = filters.temporal(calibrate.calibrate(both, model))
    np.testing.assert_allclose(after.calibrated_probability, before.calibrated_probability, atol=1e-6)
    np.testing.assert_array_equal(after.n_obs, both.n_obs)


def test_missing_years_are_bridged_as_far_as_said():
    years = [2016, 2017, 2019, 2020]
    values = np.array([0.9, 0.1, 0.9, 0.9])
    assert filters.filter_series(values, years).tolist() == [0.9, 0.9, 0.9, 0.9]
    assert filters.filter_series(values, years, max_gap_years=1).tolist() == values.tolist()
    assert filters.filter_series(values[:1], years[:1]).tolist() == [0.9]


def test_years_that_are_dates_and_whole_numbers_are_not_passed_through_unfiltered():
    values = np.array([90, 10, 90], np.uint8)
    np.testing.assert_array_equal(filters.filter_series(values, [2019, 2020, 2023]), [90, 10, 90])
    np.testing.assert_array_equal(filters.filter_series(values, [2019, 2020, 2021]), [90, 90, 90])
    with pytest.raises(AnalysisError, match="the probability is uint8, but floats"):
        filters.temporal(xr.DataArray(values, {"year": [2019, 2020, 2023]}, "year"))
    dates = np.array(["2019-07-01", "2020-07-01", "2021-07-01"], "datetime64[ns]")
    with pytest.raises(AnalysisError, match="the years of the probability are datetime64"):
        filters.temporal(xr.DataArray([0.9, 0.1, 0.9], {"year": dates}, "year"))
    with pytest.raises(OptionError, match="max_gap_years=nan"):
        filters.temporal(xr.DataArray([0.9, 0.1, 0.9], {"year": [2019, 2020, 2021]}, "year"), max_gap_years=np.nan)


def test_bad_input_has_a_clear_line():
    array = raster(np.random.default_rng(3))
    with pytest.raises(AnalysisError, match="needs the dimension 'year'"):
        filters.temporal(array.isel(year=0))
    with pytest.raises(AnalysisError, match="do not ascend"):
        filters.temporal(array.isel(year=[1, 0]))
    with pytest.raises(AnalysisError, match="no variable 'probability'"):
        filters.temporal(array.to_dataset(name="p"))
    with pytest.raises(OptionError, match="max_gap_years=0"):
        filters.temporal(array, max_gap_years=0)
