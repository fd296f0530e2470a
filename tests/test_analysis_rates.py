from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from icemapper_xr.analysis import glaciers, rates, series
from icemapper_xr.errors import AnalysisError, OptionError

YEARS = np.arange(2016, 2025)
ASCENDING = series.Acquisition(14, "HH", "S1A")
OTHER = series.Acquisition(174, "HH", "S1A")
THIRD = series.Acquisition(174, "HH", "S1C")


def test_published_rate_to_2016():
    # 32 570.49 km2 at the area-weighted mean year 2006.312, 31 889.28 km2 in 2016 (FACTS: about -70.3 km2 a-1)
    assert rates.rate_between(2006.312, 32570.49, 2016, 31889.28) == pytest.approx(-70.3, abs=0.05)


def test_published_interval_is_that_of_independent_years():
    # Nine years: var(slope) = sigma^2 / 60, so +- 74.571 means a standard error of 294.7 km2 for each annual area.
    sigma = 74.571 / 1.96 * np.sqrt(60)
    assert sigma == pytest.approx(294.7, abs=0.05)
    areas = 31889.28 - 227.627 * (YEARS - 2016)
    found = rates.trend(YEARS, areas, sigma=np.full(9, sigma))
    assert found.rate == pytest.approx(-227.627)
    assert found.independent == pytest.approx((-227.627 - 74.571, -227.627 + 74.571))
    assert found.paired is None
    # The same errors, drawn once for all years, cancel: the published size is not that of paired draws.
    common = np.random.default_rng(0).normal(0, sigma, 4000)
    both = rates.trend(YEARS, areas, draws=areas[:, None] + common)
    assert both.independent[1] - both.rate == pytest.approx(74.571, rel=0.03)
    assert both.paired[1] - both.rate < 1e-6
    apart = areas[:, None] + np.random.default_rng(1).normal(0, sigma, (9, 4000))
    assert rates.trend(YEARS, areas, draws=apart).paired[1] + 227.627 == pytest.approx(74.571, rel=0.04)


def test_student_interval_equals_scipy_and_uses_2_365():
    rng = np.random.default_rng(2)
    areas = 100 - 0.5 * (YEARS - 2016) + rng.normal(0, 0.3, 9)
    found = rates.trend(YEARS, areas)
    truth = stats.linregress(YEARS, areas)
    assert found.rate == pytest.approx(truth.slope)
    assert found.p_value == pytest.approx(truth.pvalue)
    assert (found.student[1] - found.rate) / truth.stderr == pytest.approx(2.365, abs=5e-4)
    line = rates.ols(YEARS, areas)
    assert line.dof == 7
    assert line.level + line.rate * (2016 - line.centre) == pytest.approx(truth.intercept + truth.slope * 2016)
    assert found.theil_sen == pytest.approx(stats.theilslopes(areas, YEARS)[0])
    assert found.theil_sen_interval[0] < found.theil_sen < found.theil_sen_interval[1]


def test_student_interval_covers_and_the_normal_one_does_not():
    rng = np.random.default_rng(3)
    c = (YEARS - 2020) / 60
    noise = rng.normal(0, 1, (20_000, 9))
    slope = noise @ c
    fitted = noise.mean(1, keepdims=True) + slope[:, None] * (YEARS - 2020)
    error = np.sqrt(((noise - fitted) ** 2).sum(1) / 7 / 60)
    assert np.mean(np.abs(slope) < 2.3646 * error) == pytest.approx(0.95, abs=0.006)
    assert np.mean(np.abs(slope) < 1.96 * error) < 0.92


def test_theil_sen_stands_an_outlier():
    areas = 100 - 0.5 * (YEARS - 2016.0)
    areas[8] += 30
    assert rates.trend(YEARS, areas).theil_sen == pytest.approx(-0.5)
    assert rates.trend(YEARS, areas).rate > 0


def test_lack_of_fit_sees_a_curve_and_not_a_line():
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 0.2, 9)
    assert rates.trend(YEARS, -(YEARS - 2016.0) + noise).lack_of_fit > 0.05
    assert rates.trend(YEARS, -0.3 * (YEARS - 2016.0) ** 2 + noise).lack_of_fit < 0.001
    assert rates.trend(YEARS, 3.0 * (YEARS - 2016)).lack_of_fit == 1.0
    values = [rates.trend(YEARS, row).lack_of_fit for row in rng.normal(0, 1, (400, 9))]
    assert stats.kstest(values, "uniform").pvalue > 0.01


def test_years_missing_in_the_middle_are_noted_and_order_does_not_matter():
    years = np.array([2016, 2024, 2017, 2018, 2021, 2023])
    found = rates.trend(years, 50 - 2.0 * (years - 2016))
    assert found.rate == pytest.approx(-2)
    assert found.years == (2016, 2017, 2018, 2021, 2023, 2024)
    assert found.notes == ("no area for 2019, 2020, 2022: the line is fitted to the other years",)
    assert rates.trend(YEARS, YEARS).notes == ()


def test_two_years_give_a_rate_without_a_student_interval():
    found = rates.trend([2016, 2020], [10.0, 8.0], sigma=[0.1, 0.1])
    assert found.rate == -0.5
    assert found.student is None
    assert found.theil_sen_interval is None
    assert np.isnan(found.p_value)
    assert found.independent[1] + 0.5 == pytest.approx(1.96 * 0.1 * np.sqrt(2) / 4)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_theil_sen_has_an_interval_only_where_slopes_of_pairs_can_hold_that_much(n):
    """The slopes of all pairs lie on one side of the true one with probability 1/n!, on either with 2/n!."""
    rng = np.random.default_rng(n)
    years, found = YEARS[:n], rates.theil_sen(YEARS[:n], rng.normal(size=n))[1]
    assert (found is not None) == (n >= 5)
    assert (rates.theil_sen(years, rng.normal(size=n), confidence=0.9)[1] is not None) == (n >= 4)
    if found is not None:
        held = [low < 0 < high for _, (low, high) in (rates.theil_sen(years, row) for row in rng.normal(size=(600, n)))]
        assert np.mean(held) > 0.93


@pytest.mark.parametrize("n", [5, 6, 9, 14])
def test_theil_sen_interval_is_sens_for_any_confidence(n):
    rng = np.random.default_rng(n)
    years, areas = 2000.0 + np.arange(n), rng.normal(size=n).round(1)  # some ties
    widths = []
    for confidence in (0.1, 0.3, 0.49, 0.51, 0.7, 0.9, 0.95):
        slope, (low, high) = rates.theil_sen(years, areas, confidence=confidence)
        assert low <= slope <= high
        widths.append(high - low)
        if confidence > 0.5:
            scipys = stats.theilslopes(areas, years, alpha=confidence)
            assert (slope, low, high) == pytest.approx((scipys.slope, scipys.low_slope, scipys.high_slope))
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.1, 95, float("nan")])
def test_theil_sen_refuses_what_is_no_confidence(confidence):
    with pytest.raises(OptionError, match=r"confidence=.* lies outside 0\.\.1"):
        rates.theil_sen(YEARS, YEARS, confidence=confidence)


def test_bad_series_have_a_clear_line():
    with pytest.raises(AnalysisError, match="at least two years; only 2020 is given"):
        rates.trend([2020], [1.0])
    with pytest.raises(AnalysisError, match="none is given"):
        rates.trend([], [])
    with pytest.raises(AnalysisError, match="the year 2020 occurs twice"):
        rates.trend([2020, 2020, 2021], [1.0, 1.0, 2.0])
    with pytest.raises(AnalysisError, match="not a number"):
        rates.trend([2020, 2021], [1.0, np.nan])
    with pytest.raises(OptionError, match="one area a year"):
        rates.trend([2020, 2021], [1.0])
    with pytest.raises(OptionError, match="sigma has the shape"):
        rates.trend([2020, 2021], [1.0, 2.0], sigma=[1.0])
    with pytest.raises(OptionError, match="draws has the shape"):
        rates.trend([2020, 2021], [1.0, 2.0], draws=np.ones((3, 10)))
    with pytest.raises(OptionError, match="confidence=2"):
        rates.trend([2020, 2021], [1.0, 2.0], confidence=2)
    with pytest.raises(AnalysisError, match="two different years"):
        rates.rate_between(2000, 1, 2000, 2)


# -- change of orbit, polarisation or sensor --------------------------------------------------------------------------
def test_a_change_of_orbit_without_common_years_is_refused():
    kinds = [ASCENDING] * 5 + [OTHER] * 4
    with pytest.raises(AnalysisError, match="orbit 14, HH, S1A to orbit 174, HH, S1A without a year mapped with both"):
        rates.trend(YEARS, 50 - 2.0 * (YEARS - 2016), acquisitions=kinds)
    same = rates.trend(YEARS, 50 - 2.0 * (YEARS - 2016), acquisitions=[ASCENDING] * 9)
    assert same.rate == pytest.approx(-2)
    assert same.notes == ()


def test_common_years_give_the_offset():
    truth = dict(zip(YEARS.tolist(), (500 - 2.0 * (YEARS - 2016)).tolist(), strict=True))
    rows = [(y, truth[y], ASCENDING) for y in range(2016, 2022)]
    rows += [(y, truth[y] + 7, OTHER) for y in range(2020, 2024)]
    rows += [(y, truth[y] - 3, THIRD) for y in range(2023, 2025)]  # overlaps with the second one only
    years, areas, kinds = zip(*rows, strict=True)
    found = rates.trend(years, areas, acquisitions=kinds)
    assert found.years == tuple(YEARS)
    assert found.rate == pytest.approx(-2)
    assert found.notes[0].startswith("orbit 174, HH, S1A: +7 km2 against orbit 14, HH, S1A in 2 common year(s)")
    assert found.notes[1].endswith("its error is unknown and in no interval")
    merged = series.merge(years, areas, kinds)
    np.testing.assert_allclose(merged.areas, list(truth.values()))
    assert [o.n_common for o in merged.offsets] == [2, 1]
    np.testing.assert_array_equal(merged.offsets[0].share, [0, 0, 0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(merged.offsets[1].share, [0, 0, 0, 0, 0, 0, 0, 0, 1])


def test_interval_with_an_offset_is_honest_about_it():
    rng = np.random.default_rng(5)
    years = np.r_[2016:2021, 2018:2025]
    kinds = [ASCENDING] * 5 + [OTHER] * 7
    sigma, found = 1.0, []
    for _ in range(400):
        areas = -2.0 * (years - 2016) + 30 * (np.arange(12) >= 5) + rng.normal(0, sigma, 12)
        result = rates.trend(years, areas, sigma=np.full(12, sigma), acquisitions=kinds)
        found.append((result.rate, result.student, result.independent))
    slopes = np.array([f[0] for f in found])
    assert slopes.mean() == pytest.approx(-2, abs=0.05)
    covers = np.mean([f[1][0] < -2 < f[1][1] for f in found])
    assert 0.90 < covers < 0.99
    without = 1.96 / np.sqrt(60)  # what the line alone would claim
    assert np.mean([f[2][1] - f[0] for f in found]) > 1.2 * without


def test_intervals_with_an_offset_from_draws_hold_the_rate():
    """The offset's error is shared by all years of an orbit: taken as each year's own it would seem smaller."""
    years, kinds = np.r_[2016:2021, 2019:2025], [ASCENDING] * 5 + [OTHER] * 6
    held, widths = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        areas = 100 - 1.0 * (years - 2016) + 7 * (np.arange(11) > 4) + rng.normal(0, 1, 11)
        draws = areas[:, None] + rng.normal(0, 1, (11, 400))
        found = rates.trend(years, areas, draws=draws, acquisitions=kinds)
        given = rates.trend(years, areas, sigma=np.ones(11), acquisitions=kinds)
        assert found.theil_sen_interval is None  # the ranks of slopes know nothing of the offset's error
        ends = np.array([found.independent, found.paired])
        held.append((ends[:, 0] <= -1) & (ends[:, 1] >= -1))
        widths.append([*np.diff(ends).ravel(), np.diff(given.independent)[0]])
    assert np.mean(held, axis=0) == pytest.approx([0.95, 0.95], abs=0.035)
    independent, paired, _ = np.mean(widths, axis=0)
    assert independent == pytest.approx(paired, rel=0.1)


def test_draws_and_sigma_travel_with_their_years():
    years = [2018, 2016, 2017, 2017]
    merged = series.one_series(
        years,
        [3.0, 1.0, 2.0, 12.0],
        [ASCENDING, ASCENDING, ASCENDING, OTHER],
        sigma=[0.3, 0.1, 0.2, 9.0],
        draws=np.array([[3.0, 4], [1, 2], [2, 3], [12, 13]]),
    )
    np.testing.assert_array_equal(merged.years, [2016, 2017, 2018])
    np.testing.assert_array_equal(merged.sigma, [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(merged.draws, [[1, 2], [2, 3], [3, 4]])
    with pytest.raises(AnalysisError, match="occurs twice for orbit 14"):
        series.merge([2016, 2016], [1, 2], [ASCENDING, ASCENDING])
    with pytest.raises(OptionError, match="2 years and 1 acquisitions"):
        series.merge([2016, 2017], [1, 2], [ASCENDING])


# -- many glaciers ----------------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values_reject_what_the_step_up_rule_rejects(p):
    p = np.array(p)
    adjusted = glaciers.benjamini_hochberg(p)
    n = p.size
    for q in (0.05, 0.2):
        order = np.argsort(p)
        passes = np.flatnonzero(p[order] <= q * np.arange(1, n + 1) / n + 1e-15)
        rejected = np.zeros(n, bool)
        rejected[order[: passes[-1] + 1 if passes.size else 0]] = True
        near = np.abs(adjusted - q) < 1e-12
        np.testing.assert_array_equal((adjusted <= q)[~near], rejected[~near])
    assert np.all(adjusted >= p - 1e-15)


def test_false_discoveries_are_controlled_over_glaciers():
    rng = np.random.default_rng(6)
    areas = 10 + rng.normal(0, 0.1, (400, 9))
    areas[:100] -= 0.15 * (YEARS - 2016)
    areas[399, :7] = np.nan
    areas[398, 3] = np.nan
    table = glaciers.glacier_rates(YEARS, areas, names=[f"g{i}" for i in range(400)])
    changing = table.changing.to_numpy()
    assert changing[:100].mean() > 0.95
    assert changing[100:].sum() / changing.sum() < 0.10
    assert (table.p_value.to_numpy()[100:398] < 0.05).sum() > 8  # without control
    assert table.loc["g399", "n_years"] == 2
    assert np.isnan(table.loc["g399", "rate"])
    assert not table.loc["g399", "changing"]
    assert table.loc["g398", "n_years"] == 8
    assert table.relative_rate.iloc[:100].mean() == pytest.approx(-0.15 / 9.4, rel=0.05)


def test_zero_glaciers_give_an_empty_table():
    table = glaciers.glacier_rates(YEARS, np.empty((0, 9)))
    assert len(table) == 0
    assert "p_adjusted" in table
    assert glaciers.benjamini_hochberg([np.nan]).tolist() == pytest.approx([np.nan], nan_ok=True)
    with pytest.raises(OptionError, match="p-value lies outside"):
        glaciers.benjamini_hochberg([2.0])
    areas = np.ones((2, 9))
    areas[0, :7] = np.nan
    kinds = [ASCENDING] * 5 + [OTHER] * 4
    with pytest.raises(AnalysisError, match="glacier b: the areas change from"):
        glaciers.glacier_rates(YEARS, areas, names="ab", acquisitions=kinds)


def test_names_and_acquisitions_of_glaciers_are_counted():
    areas = np.ones((2, 9))
    with pytest.raises(OptionError, match=r"there are 3 names for areas of shape \(2, 9\); pass 2"):
        glaciers.glacier_rates(YEARS, areas, names=["a", "b", "c"])
    with pytest.raises(OptionError, match=r"there are 1 acquisitions for areas of shape \(2, 9\); pass 9"):
        glaciers.glacier_rates(YEARS, areas, acquisitions=[series.Acquisition(1, "HH", "S1A")])
