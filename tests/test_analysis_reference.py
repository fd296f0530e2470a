"""What a reference in some years says of the others, on tables of blocks whose errors are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from icemapper_xr.analysis import bootstrap, dependence, pieces, reference
from icemapper_xr.analysis.bootstrap import CommonBias
from icemapper_xr.analysis.variogram import Variogram

YEARS = list(range(2016, 2025))


def table(errors, margin, known, reference_years):
    """Pieces of one block each; errors and margin (years, blocks), known (blocks,)."""
    rows = [YEARS.index(year) for year in reference_years]
    n = margin.shape[1]
    number, none = np.arange(n), np.zeros(n, int)
    layout = pieces.Layout(None, number + 1, none, number, np.c_[none, number], 3200.0, None)
    area = np.full((9, n), 1e-9)
    values = {
        pieces.MARGIN: margin,
        "observed_area": area,
        pieces.ERROR: (errors * known)[rows],
        pieces.REFERENCE_MARGIN: (margin * known)[rows],
        pieces.REFERENCE_AREA: (area * known)[rows],
    }
    return pieces.Pieces(layout, values)


def drawn(model, of, seed=1, **options):
    chosen = np.ones(of.layout.glacier.size, bool)
    return reference.error_draws(model, of, YEARS, chosen, n_draws=4000, seed=seed, **options)


def test_years_that_borrow_from_one_year_share_what_was_its_own():
    """Their errors change from that year's by their own shift less that year's: sqrt(2) of it, half of it shared."""
    rng = np.random.default_rng(0)
    margin = np.tile(rng.uniform(1, 5, 60), (9, 1))
    of = table(rng.normal(0, 1e-9, margin.shape), margin, np.ones(60, bool), (2016, 2024))
    model = replace(reference.fit(of, (2016, 2024)), between_m=6.0, scatter=0.0)
    year = drawn(model, of)["year"]
    one = 0.006 * margin[0].sum()
    assert not year[[0, 8]].any()  # measured there
    np.testing.assert_allclose(year[1:8].std(axis=1), np.sqrt(2) * one, rtol=0.05)
    together = np.corrcoef(year[1:8])  # 2017 to 2020 borrow from 2016, 2021 to 2023 from 2024
    assert together[0, 3] == pytest.approx(0.5, abs=0.05)
    assert together[0, 6] == pytest.approx(0.0, abs=0.05)
    own = drawn(replace(model, between_m=0.0, scatter=0.02), of)["year"]
    np.testing.assert_allclose(own[1:8].std(axis=1), np.sqrt(2) * 0.02 * np.sqrt(margin[0].sum()), rtol=0.05)
    assert np.corrcoef(own[1:8])[0, 3] == pytest.approx(0.5, abs=0.05)


def test_scatter_of_blocks_that_hang_together_adds_up_to_more():
    rng = np.random.default_rng(0)
    margin = np.tile(rng.uniform(1, 5, 60), (9, 1))
    of = table(rng.normal(0, 0.02, margin.shape) * np.sqrt(margin), margin, np.ones(60, bool), (2016, 2024))
    hang = dependence.Dependence(Variogram(0.0, 1.0, 3200.0), 1.0, 3200.0)
    free = replace(reference.fit(of, (2016, 2024)), between_m=0.0)
    spread = [drawn(model, of)["year"][3].std() for model in (free, replace(free, dependence=hang))]
    root = np.sqrt(margin[0])
    correlation = hang.correlation(np.zeros((60, 60)), np.subtract.outer(np.arange(60), np.arange(60)))
    expected = np.sqrt(root @ correlation @ root / margin[0].sum())
    assert expected > 1.3
    assert spread[1] / spread[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("persistent", [0.0, 0.02, 0.1])
def test_the_spread_of_shifts_is_found_whatever_stays_through_the_years(persistent):
    years = (2016, 2018, 2020, 2022, 2024)
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        margin = np.tile(rng.uniform(1, 5, 200), (9, 1))
        shift = rng.normal(0, 0.002, 9)[:, None]
        errors = shift * margin
        errors += np.sqrt(margin) * (rng.normal(0, persistent, 200) + rng.normal(0, 0.01, (9, 200)))
        model = reference.fit(table(errors, margin, rng.random(200) < 0.4, years), years)
        found.append(model.between_m)
        assert model.scatter == pytest.approx(0.01, rel=0.25)
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(2.0, rel=0.15)
    assert np.mean(np.array(found) == 0) < 0.05


def test_a_shift_that_is_the_same_in_all_blocks_is_known_exactly():
    margin = np.tile(np.linspace(1, 5, 30), (9, 1))
    errors = np.linspace(-0.004, 0.004, 9)[:, None] * margin
    model = reference.fit(table(errors, margin, np.ones(30, bool), (2016, 2020, 2024)), (2016, 2020, 2024))
    assert model.between_m == pytest.approx(np.std([-4, 0, 4], ddof=1), rel=1e-6)


def test_what_is_known_is_taken_as_it_is_where_the_margin_shortens():
    rng = np.random.default_rng(3)
    margin = np.linspace(1, 0.6, 9)[:, None] * rng.uniform(1, 5, 20)
    errors = rng.normal(0.05, 0.02, margin.shape) * margin
    of = table(errors, margin, np.ones(20, bool), (2024,))
    sampling = drawn(reference.fit(of, (2024,)), of)["sampling"]
    np.testing.assert_allclose(sampling[8], errors[8].sum(), rtol=1e-9)
    half = np.arange(20) < 12
    part = table(errors, margin, half, (2024,))
    carried = drawn(reference.fit(part, (2024,)), part)["sampling"]
    exposure = margin.mean(axis=0)
    ratio = errors[8, half].sum() / margin[8, half].sum()
    assert carried[8].mean() == pytest.approx(errors[8, half].sum() + ratio * exposure[~half].sum(), rel=0.03)


def test_a_label_has_the_same_shifts_in_every_map():
    first = bootstrap.common_bias_draws([1.0, 1.0], {"year": CommonBias(2.0, [2016, 2017])})
    second = bootstrap.common_bias_draws([1.0, 1.0], {"year": CommonBias(2.0, [np.int64(2017), 2018])})
    np.testing.assert_array_equal(first[1], second[0])
    assert abs(np.corrcoef(first[0], second[0])[0, 1]) < 0.1
    orbit = bootstrap.common_bias_draws([1.0], {"orbit": CommonBias(2.0, [2017])})
    assert not np.array_equal(orbit[0], second[0])
