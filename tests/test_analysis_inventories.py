from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from icemapper_xr.analysis import inventories, surges
from icemapper_xr.errors import AnalysisError, OptionError

RGI7 = inventories.Inventory(32570.49, inventories.RGI7_SVALBARD_YEARS)
S1_2016 = inventories.Inventory(31889.28, {2016: 1.0})


def test_published_composition_of_rgi7():
    assert sum(inventories.RGI7_SVALBARD_YEARS.values()) == pytest.approx(100)
    assert RGI7.effective_years == pytest.approx(2.4886, abs=5e-5)
    assert RGI7.mean_year == pytest.approx(2006.312, abs=5e-4)
    assert S1_2016.effective_years == 1
    assert pytest.approx(0.0075530, abs=5e-8) == inventories.RELATIVE_SIGMA


@settings(max_examples=50, deadline=None)
@given(st.floats(1, 12), st.integers(1, 500))
def test_draw_sizes_follow_the_running_sum(k, n):
    sizes = inventories.draw_sizes(k, n)
    assert set(sizes.tolist()) <= {int(np.floor(k + 1e-9)), int(np.floor(k + 1e-9)) + 1}
    assert abs(sizes.sum() - n * k) < 1 + 1e-6 * n


def test_draw_sizes_of_rgi7():
    k = RGI7.effective_years
    running = np.cumsum(np.r_[0, np.full(99_999, k)])
    np.testing.assert_array_equal(inventories.draw_sizes(k, 100_000), np.floor(running % 1 + k))
    assert inventories.draw_sizes(k, 100_000).mean() == pytest.approx(k, abs=1e-5)


def one_draw_at_a_time(first, second, n, rng, relative_rate=None):
    """The Monte Carlo as it is described, draw by draw."""
    found = np.empty((n, 2))
    for i in range(n):
        x, y = [], []
        for inventory in (first, second):
            k = inventory.effective_years
            area = inventory.area * rng.normal(1, inventory.relative_sigma)
            years, shares = inventory.shares
            drawn = rng.choice(years, size=int(np.floor((i * k) % 1 + k)), p=shares)
            if relative_rate is not None:
                distinct, counts = np.unique(drawn, return_counts=True)
                delta = rng.normal(0, relative_rate, distinct.size)
                area *= 1 + np.sum(delta * counts * (drawn.mean() - distinct)) / counts.sum()
            x.append(drawn.mean())
            y.append(area)
        rate = (y[1] - y[0]) / (x[1] - x[0])
        found[i] = rate, rate / y[0]
    return found


def test_both_stages_equal_the_loop():
    wide = inventories.Inventory(1000.0, {1960: 1, 1970: 1.1, 1980: 2.3}, 0.001)
    later = inventories.Inventory(900.0, {2000: 1, 2004: 1}, 0.001)
    stages = inventories.inventory_rate(wide, later, n_draws=60_000, seed=1)
    first = one_draw_at_a_time(wide, later, 6000, np.random.default_rng(2))
    second = one_draw_at_a_time(wide, later, 6000, np.random.default_rng(3), abs(first[:, 1].mean()))
    for draws, loop in zip(stages, (first, second), strict=True):
        assert stats.ks_2samp(draws.draws, loop[:, 0]).pvalue > 1e-3
        assert stats.ks_2samp(draws.relative, loop[:, 1]).pvalue > 1e-3
        assert draws.half_width == pytest.approx(1.96 * loop[:, 0].std(), rel=0.04)
    assert stages.second.half_width > stages.first.half_width


def test_rate_to_2016_by_monte_carlo_surrounds_the_central_value():
    stages = inventories.inventory_rate(RGI7, S1_2016)
    assert stages.first.draws.size == stages.second.draws.size == 100_000
    central = (S1_2016.area - RGI7.area) / (2016 - RGI7.mean_year)
    for draws in stages:
        assert draws.percentiles[1] == pytest.approx(central, abs=1.5)
        assert draws.percentiles[0] < draws.mean < draws.percentiles[2]
        # area noise alone: sqrt(s1^2 + s2^2) / 9.7 a
        noise = 1.96 * inventories.RELATIVE_SIGMA * np.hypot(RGI7.area, S1_2016.area) / (2016 - RGI7.mean_year)
        assert noise < draws.half_width < 1.2 * noise
    again = inventories.inventory_rate(RGI7, S1_2016)
    np.testing.assert_array_equal(again.second.draws, stages.second.draws)


def test_dates_of_each_glacier_beat_the_mean_year():
    rng = np.random.default_rng(4)
    years_1 = rng.choice([1990.0, 2005.0], 300, p=[0.5, 0.5])
    rate = -rng.gamma(2, 0.05, 300)
    areas_1 = rng.gamma(1, 20, 300) + 10
    areas_2 = areas_1 + rate * (2016 - years_1)
    draws = inventories.inventory_rate_by_glacier(areas_1, years_1, areas_2, np.full(300, 2016.0), relative_sigma=0)
    np.testing.assert_allclose(draws.draws, rate.sum())
    noisy = inventories.inventory_rate_by_glacier(
        areas_1, years_1, areas_2, np.full(300, 2016.0), relative_sigma=0.002, glacier_sigma=0.02, seed=1
    )
    dt = 2016 - years_1
    common = 0.002 * np.hypot((areas_1 / dt).sum(), (areas_2 / dt).sum())
    own = 0.02 * np.sqrt(np.sum((areas_1 / dt) ** 2) + np.sum((areas_2 / dt) ** 2))
    assert noisy.half_width == pytest.approx(1.96 * np.hypot(common, own), rel=0.03)
    assert noisy.mean == pytest.approx(rate.sum(), abs=4 * np.hypot(common, own) / 100)


def test_acceleration_of_the_published_rates():
    past = np.random.default_rng(5).normal(-68, 10, 100_000)
    found = inventories.acceleration(-227.627, 74.571 / 1.96, past)
    assert found.median == pytest.approx(227.627 / 68, rel=0.01)
    assert found.lower < found.median < found.upper
    assert found.p_above_one == pytest.approx(stats.norm.sf((68 - 227.627) / np.hypot(38.05, 10)), abs=1e-3)
    assert found.p_other_sign < 1e-4
    flipped = inventories.acceleration(-10, 10, past)
    assert flipped.p_other_sign == pytest.approx(stats.norm.cdf(-1), abs=0.01)


def test_bad_inventories_have_a_clear_line():
    with pytest.raises(OptionError, match="positive shares"):
        inventories.Inventory(10, {})
    with pytest.raises(OptionError, match="an area above 0"):
        inventories.Inventory(0, {2000: 1})
    with pytest.raises(AnalysisError, match="years overlap"):
        inventories.inventory_rate(RGI7, inventories.Inventory(1, {2005: 1}))
    with pytest.raises(AnalysisError, match="glacier 1 "):
        inventories.inventory_rate_by_glacier([1, 1], [2000, 2010], [1, 1], [2010, 2010])
    with pytest.raises(AnalysisError, match="differ in length"):
        inventories.inventory_rate_by_glacier([1, 1], [2000], [1, 1], [2010, 2010])
    with pytest.raises(AnalysisError, match="must be numbers"):
        inventories.acceleration(1, 1, [])


# -- surging against the rest -----------------------------------------------------------------------------------------
def landscape(seed, effect=0.0, n=300):
    """Glaciers whose rates depend on size and place, as does surging; and an effect of surging itself."""
    rng = np.random.default_rng(seed)
    block = rng.integers(0, 6, n)
    area = np.exp(rng.normal(2, 1, n))
    surging = rng.random(n) < 1 / (1 + np.exp(-(np.log(area) - 2 + 0.6 * (block - 2.5))))
    rate = -0.01 + 0.004 * np.log(area) + 0.004 * block + effect * surging + 0.01 * rng.standard_t(3, n)
    return rate, surging, area, block


def test_confounding_by_size_and_place_is_taken_out():
    rejected, naive = [], []
    for seed in range(120):
        rate, surging, area, block = landscape(seed)
        rejected.append(surges.surge_test(rate, surging, area, block, n_permutations=199, seed=seed).p_value < 0.05)
        naive.append(stats.mannwhitneyu(rate[surging], rate[~surging]).pvalue < 0.05)
    assert np.mean(naive) > 0.8  # what an unstratified test finds although there is nothing
    assert np.mean(rejected) < 0.15  # some confounding by size is left inside a stratum


def test_p_values_are_uniform_where_labels_are_exchangeable():
    rng = np.random.default_rng(0)
    p = []
    for seed in range(200):
        area, block = np.exp(rng.normal(2, 1, 80)), rng.integers(0, 3, 80)
        p.append(
            surges.surge_test(
                rng.normal(size=80), rng.random(80) < 0.3, area, block, n_permutations=199, seed=seed
            ).p_value
        )
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_an_effect_is_found_with_its_size():
    found = [surges.surge_test(*landscape(seed, 0.012), n_permutations=499, n_strata=6) for seed in range(10)]
    assert np.mean([f.p_value < 0.05 for f in found]) >= 0.9
    assert np.mean([f.difference for f in found]) == pytest.approx(0.012, abs=0.002)
    assert all(f.cliffs_delta > 0 for f in found)
    assert np.mean([f.raw_difference for f in found]) > 0.015


def test_cliffs_delta_and_the_p_value_by_enumeration():
    rate = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 9.0, 9.0])
    surging = np.array([1, 1, 0, 0, 0, 1, 1], bool)
    block = np.array([0, 0, 0, 0, 0, 1, 1])  # the second block has no others: left out
    found = surges.surge_test(rate, surging, np.ones(7), block, n_strata=1, n_permutations=20_000)
    assert found.cliffs_delta == 1
    assert found.p_value == pytest.approx(2 / 10, abs=0.01)  # 2 of the 10 ways to choose 2 of 5 are as extreme
    assert (found.n_surging, found.n_other, found.n_left_out, found.n_cells) == (2, 3, 2, 1)
    assert found.difference == pytest.approx(4.5 - 2)
    pairs = np.sign(rate[:2][:, None] - rate[2:5]).mean()
    assert found.cliffs_delta == pytest.approx(pairs)


def test_spatial_blocks_number_squares():
    labels = surges.spatial_blocks([0, 10e3, 60e3, -1.0], [0, 10e3, 0, 0], size_km=50)
    assert labels[0] == labels[1]
    assert len(set(labels.tolist())) == 3


def test_surge_test_refuses_what_says_nothing():
    with pytest.raises(AnalysisError, match="3 of 3 glaciers with a rate are surging; give some of either kind"):
        surges.surge_test([1, 2, 3], [True] * 3, [1, 1, 1])
    with pytest.raises(AnalysisError, match=r"none of the 2 cells \(n_strata=2 .*has both .*\(2 and 1 with a rate\)"):
        surges.surge_test([1, 2, 3], [True, False, True], [1, 1, 1], ["east", "west", "east"], n_strata=2)
    with pytest.raises(AnalysisError, match="no glacier has a rate"):
        surges.surge_test([np.nan], [True], [1])
    with pytest.raises(OptionError, match="no area above 0"):
        surges.surge_test([1, 2], [True, False], [1, 0])
    with pytest.raises(OptionError, match="differ"):
        surges.surge_test([1, 2], [True], [1, 1])
    with pytest.raises(OptionError, match="1 or more"):
        surges.surge_test([1, 2], [True, False], [1, 1], n_strata=0)
