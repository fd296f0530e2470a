"""What a reference in some years says of the others, on tables of blocks whose errors are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from icemapper_xr.analysis import bootstrap, dependence, pieces, reference
from icemapper_xr.analysis.bootstrap import CommonBias
from icemapper_xr.analysis.variogram import Variogram
from icemapper_xr.errors import AnalysisError

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


def beside_the_sea(errors, *, seen, unseen):
    """2 km blocks of one year: errors of those with 5 km of margin and a reference; then ones without, seen or not."""
    with_margin, n = errors.size, 2 * errors.size + seen + unseen
    margin, known, error = np.zeros(n), np.zeros(n), np.zeros(n)
    margin[: 2 * with_margin], error[:with_margin] = 5.0, errors
    known[:with_margin], known[2 * with_margin : 2 * with_margin + seen] = 1.0, 1.0
    number, none = np.arange(n), np.zeros(n, int)
    layout = pieces.Layout(None, number + 1, none, number, np.c_[none, number], 2000.0, None)
    measures = {pieces.MARGIN: margin, "observed_area": np.full(n, 4.0)}
    of_reference = zip(pieces.OF_REFERENCE, (error, margin * known, 4.0 * known), strict=True)
    return pieces.Pieces(layout, {name: values[None] for name, values in (*measures.items(), *of_reference)})


@pytest.mark.parametrize("unseen", [0, 1000])
def test_ground_where_the_map_does_not_err_takes_no_error_of_the_margins(unseen):
    """A shift of 10 m and 30 m of scatter from block to block, in half of the ice; sea and bare ground around it."""
    rng = np.random.default_rng(0)
    scatter = rng.normal(0, 1, 60)
    errors = 0.05 + 0.15 * (scatter - scatter.mean()) / scatter.std()
    of = beside_the_sea(errors, seen=200, unseen=unseen)
    chosen = np.ones(of.layout.glacier.size, bool)
    sampling = reference.error_draws(reference.fit(of, (2020,)), of, (2020,), chosen, n_draws=4000)["sampling"]
    assert sampling.mean() == pytest.approx(2 * errors.sum(), rel=0.03)
    # Of the mean of 60 blocks, and of the sum of 60 others.
    assert sampling.std() == pytest.approx(errors.std() * np.sqrt(2 * 60), rel=0.1)


def test_ice_that_the_map_missed_counts_where_there_is_no_margin():
    of = beside_the_sea(np.full(60, 0.05), seen=200, unseen=200)
    missed = {**of.values, pieces.ERROR: of.values[pieces.ERROR].copy()}
    missed[pieces.ERROR][0, 120:320:4] = -0.5
    model = reference.fit(pieces.Pieces(of.layout, missed), (2020,))
    assert reference.fit(of, (2020,)).area_exposure == pytest.approx(reference.AREA_EXPOSURE / 201)
    assert model.area_exposure == reference.AREA_EXPOSURE


def gappy(seen, reference_years, known):
    """Blocks alike, mapped 2 km2 (10 %) too large everywhere, of which each year saw a share: seen (3, blocks)."""
    n = seen.shape[1]
    rows, none = [GAPPY.index(year) for year in reference_years], np.zeros(n, int)
    layout = pieces.Layout(None, np.arange(1, n + 1), none, np.arange(n), np.c_[none, 50 * np.arange(n)], 3200.0, None)
    per_block = {pieces.MARGIN: 10.0, "observed_area": 30.0, "soft_area": 20.0}
    of_reference = {pieces.ERROR: 2.0, pieces.REFERENCE_MARGIN: 10.0, pieces.REFERENCE_AREA: 30.0}
    values = {name: value * seen for name, value in per_block.items()}
    values |= {name: value * (seen * known)[rows] for name, value in of_reference.items()}
    return pieces.Pieces(layout, values)


GAPPY = [2016, 2017, 2018]


@pytest.mark.parametrize("reference_years", [(2016, 2017, 2018), (2016, 2017), (2017,)])
@pytest.mark.parametrize(
    "share",
    [
        pytest.param(np.full(40, 0.05), id="a twentieth of every block"),
        pytest.param(np.r_[np.ones(20), np.zeros(20)], id="what has a reference alone"),
        pytest.param(np.r_[np.ones(12), np.zeros(18), np.ones(10)], id="a part of both"),
        pytest.param(np.ones(40), id="everything"),
    ],
)
def test_a_year_of_gaps_has_the_error_of_what_it_saw(share, reference_years):
    seen = np.stack([np.ones(40), np.ones(40), share])
    of = gappy(seen, reference_years, np.arange(40) < 20)
    model = reference.fit(of, reference_years)
    errors = sum(reference.error_draws(model, of, GAPPY, np.ones(40, bool), n_draws=100).values())
    soft = of.total("soft_area")
    np.testing.assert_allclose(errors.mean(axis=1), 0.1 * soft, rtol=1e-6)  # the true area is nine tenths of it
    np.testing.assert_allclose(errors.std(axis=1), 0, atol=1e-6)


def test_a_year_that_saw_no_reference_takes_the_errors_of_another_or_is_refused():
    seen = np.stack([np.ones(40), np.ones(40), np.r_[np.zeros(20), np.ones(20)]])
    known = np.arange(40) < 20
    of = gappy(seen, (2016,), known)
    errors = reference.error_draws(reference.fit(of, (2016,)), of, GAPPY, np.ones(40, bool), n_draws=100)["sampling"]
    np.testing.assert_allclose(errors.mean(axis=1), [80, 80, 40], rtol=1e-6)
    with pytest.raises(AnalysisError, match=r"covers 0 blocks of 3200 m that the map saw in 2018; .* leave the year"):
        reference.fit(gappy(seen, GAPPY, known), GAPPY)
    apart = np.stack([np.r_[np.ones(10), np.zeros(10), np.ones(20)], np.r_[np.zeros(10), np.ones(30)], np.ones(40)])
    with pytest.raises(
        AnalysisError, match="covers 0 blocks of 3200 m that the map saw in all of the years 2016, 2017"
    ):
        reference.fit(gappy(apart, (2016, 2017), known), (2016, 2017))


def test_the_interval_of_a_year_of_gaps_covers_what_it_saw():
    """A year that saw a third of the blocks: 95 % intervals of its error hold the true one, and are its own."""
    held, widths = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        margin = np.tile(rng.uniform(1, 5, 90), (9, 1))
        errors = np.tile(0.02 * margin[0] + np.sqrt(margin[0]) * rng.normal(0, 0.05, 90), (9, 1))
        seen = np.ones((9, 90))
        seen[4] = rng.permutation(np.arange(90) % 3 == 0)
        known = rng.permutation(90) < 60
        of = table(errors * seen, margin * seen, known, YEARS)
        of = pieces.Pieces(
            of.layout,
            {**of.values, "observed_area": seen * 1e-9, pieces.REFERENCE_AREA: seen * known * 1e-9},
        )
        model = replace(reference.fit(of, YEARS), between_m=np.nan)
        chosen = np.ones(90, bool)
        draws = reference.error_draws(model, of, YEARS, chosen, n_draws=400, seed=seed)["sampling"]
        low, high = np.quantile(draws[[0, 4]], [0.025, 0.975], axis=1)
        true = (errors * seen).sum(axis=1)[[0, 4]]
        held.append((low <= true) & (true <= high))
        widths.append(high - low)
    covered = np.mean(held, axis=0)
    assert covered == pytest.approx([0.95, 0.95], abs=0.035)
    assert np.mean(widths, axis=0)[1] < 0.8 * np.mean(widths, axis=0)[0]


def test_a_label_has_the_same_shifts_in_every_map():
    first = bootstrap.common_bias_draws([1.0, 1.0], {"year": CommonBias(2.0, [2016, 2017])})
    second = bootstrap.common_bias_draws([1.0, 1.0], {"year": CommonBias(2.0, [np.int64(2017), 2018])})
    np.testing.assert_array_equal(first[1], second[0])
    assert abs(np.corrcoef(first[0], second[0])[0, 1]) < 0.1
    orbit = bootstrap.common_bias_draws([1.0], {"orbit": CommonBias(2.0, [2017])})
    assert not np.array_equal(orbit[0], second[0])
