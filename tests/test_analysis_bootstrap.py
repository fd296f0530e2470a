from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from icemapper_xr.analysis import areas, blocks, bootstrap, dependence, rates, variogram
from icemapper_xr.errors import AnalysisError, OptionError
from tests.test_analysis_areas import raster_around


# -- blocks -----------------------------------------------------------------------------------------------------------
def test_blocks_lie_on_the_grid_row_by_row_with_exact_shares():
    region = gpd.GeoSeries([shapely.box(-50, -30, 250, 120), shapely.box(250, 90, 260, 120)], crs=32633)
    found = blocks.blocks(region, size=100)
    assert list(zip(found.row, found.column, strict=True)) == [
        (-2, -1), (-2, 0), (-2, 1), (-2, 2), (-1, -1), (-1, 0), (-1, 1), (-1, 2), (0, -1), (0, 0), (0, 1), (0, 2),
    ]  # fmt: skip
    np.testing.assert_allclose(found.fraction, [0.1, 0.2, 0.2, 0.12, 0.5, 1, 1, 0.51, 0.15, 0.3, 0.3, 0.15], atol=1e-12)
    np.testing.assert_allclose(found.area, found.fraction * 100**2)
    whole = blocks.blocks(region, size=100, clip=False)
    np.testing.assert_allclose(whole.area, 100**2)
    assert whole.geometry.iloc[0].bounds == (-100, 100, 0, 200)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(200, 3000))
def test_blocks_tile_any_region_exactly(seed, size):
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    radius = 4000 * (1 + 0.3 * np.sin(5 * angle + rng.random()) + 0.05 * rng.normal(size=400))
    star = shapely.Polygon(np.c_[radius * np.cos(angle) + 333, radius * np.sin(angle) - 777])
    region = gpd.GeoSeries([star - shapely.Point(0, 0).buffer(900)], crs=32633)
    found = blocks.blocks(region, size=size)
    assert found.area.sum() == pytest.approx(region.area.sum())
    np.testing.assert_allclose(found.area, found.fraction * size**2, rtol=1e-9)
    assert set(found.geom_type) <= {"Polygon", "MultiPolygon"}
    order = np.lexsort((found.column, found.row))
    np.testing.assert_array_equal(order, np.arange(len(found)))


def test_areas_of_blocks_add_up_to_the_region():
    rng = np.random.default_rng(0)
    raster = raster_around(rng.random((80, 90)).astype(np.float32), left=500e3, top=8.7e6)
    region = gpd.GeoSeries([shapely.Point(500e3 + 450, 8.7e6 - 400).buffer(350)], crs=32633)
    parts = areas.polygon_areas(raster, blocks.blocks(region, size=160))
    whole = areas.polygon_areas(raster, region).isel(polygon=0)
    assert float(parts.soft_area.sum()) == pytest.approx(float(whole.soft_area), rel=1e-4)
    assert float(parts.observed_area.sum()) == pytest.approx(float(whole.observed_area), rel=1e-4)


def test_bad_regions_have_a_clear_line():
    box = shapely.box(0, 0, 1, 1)
    with pytest.raises(AnalysisError, match="no CRS"):
        blocks.blocks(gpd.GeoSeries([box]))
    with pytest.raises(AnalysisError, match="in degrees"):
        blocks.blocks(gpd.GeoSeries([box], crs=4326))
    with pytest.raises(OptionError, match="size=0"):
        blocks.blocks(gpd.GeoSeries([box], crs=32633), size=0)
    assert len(blocks.blocks(gpd.GeoSeries([shapely.Polygon()], crs=32633))) == 0


# -- the published bootstrap ------------------------------------------------------------------------------------------
def test_published_draws_equal_numpy_as_defined():
    tiles = np.random.default_rng(0).gamma(1, 2, (3, 137))
    found = bootstrap.published_draws(tiles, n_draws=50)
    for k in range(50):
        for year in range(3):
            seeded = np.random.default_rng(42 * (k + 1))
            assert found[year, k] == seeded.choice(tiles[year], size=137, replace=True).sum()
    np.testing.assert_array_equal(bootstrap.published_draws(tiles[1], n_draws=50), found[1])
    shuffled = bootstrap.published_draws(tiles[0, ::-1], n_draws=50)
    assert not np.allclose(shuffled, found[0])  # the order of the tiles is part of the method


def test_published_draws_have_the_spread_of_the_tiles():
    tiles = np.random.default_rng(1).gamma(1, 2, 400)
    found = bootstrap.published_draws(tiles, n_draws=3000)
    assert found.std() == pytest.approx(np.sqrt(400) * tiles.std(), rel=0.04)
    assert found.mean() == pytest.approx(tiles.sum(), rel=0.005)
    with pytest.raises(AnalysisError, match="hold NaN"):
        bootstrap.published_draws([1.0, np.nan])
    with pytest.raises(AnalysisError, match="shape"):
        bootstrap.published_draws([])


@pytest.mark.slow
def test_published_interval_comes_out_of_svalbards_landscape(shared):
    """The +- 74.57 km2 a-1 is the scatter of glacier cover between 3.2 km tiles, with independent years."""
    outlines = gpd.read_file(shared / "real" / "svalbard" / "svalbard_glacier.gpkg")
    found = blocks.blocks(outlines)
    tiles = found.area.to_numpy() / 1e6
    assert tiles.sum() == pytest.approx(outlines.union_all().area / 1e6, rel=1e-4)
    draws = np.tile(bootstrap.published_draws(tiles, n_draws=2000), (9, 1))
    trend = rates.trend(np.arange(2016, 2025), draws.mean(axis=1), draws=draws)
    assert 60 < trend.independent[1] - trend.rate < 90  # 68 with these tiles; more with empty ones around
    assert trend.paired[1] - trend.rate < 1e-6  # nothing of it is left where the same tiles are drawn in all years


# -- resampling errors ------------------------------------------------------------------------------------------------
def world(rng, n, m, *, bias=0.02, tail="normal"):
    """Errors of n reference blocks and the total of m others: bias and scatter grow with the margin in a block."""
    exposure = rng.gamma(3, 2, n + m)
    noise = {"normal": rng.normal(size=n + m), "t3": rng.standard_t(3, n + m) / np.sqrt(3)}[tail]
    error = bias * exposure + 0.1 * np.sqrt(exposure) * noise
    return error[:n], exposure[:n], exposure[n:], error[n:].sum()


def coverage(n_worlds, n, m, n_draws, tail="normal"):
    hits, width = [], []
    for seed in range(n_worlds):
        rng = np.random.default_rng(seed)
        error, x, target, truth = world(rng, n, m, tail=tail)
        draws = bootstrap.error_draws(error, x, target, n_draws=n_draws, seed=rng)
        low, high = np.quantile(draws, [0.025, 0.975])
        hits.append(low <= truth <= high)
        width.append(high - low)
    return np.mean(hits), np.mean(width)


def test_error_draws_cover_the_true_total():
    found, width = coverage(150, 25, 60, 400)
    assert 0.92 < found < 0.98
    sigma = 0.1 * np.sqrt(60 * 6 * (1 + 60 / 25))  # scatter of the region's own blocks, and of the ratio
    assert width == pytest.approx(2 * 2.06 * sigma, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("tail", ["normal", "t3"])
def test_error_draws_cover_95_percent_of_2000_worlds(tail):
    found, _ = coverage(2000, 30, 80, 1000, tail)
    assert 0.94 <= found <= 0.96


def test_signed_bias_is_found_and_taken_off():
    rng = np.random.default_rng(3)
    error, x, target, truth = world(rng, 200, 800, bias=0.05)
    draws = bootstrap.error_draws(error, x, target)
    found = bootstrap.estimate(1000 + truth, {"sampling": draws})
    assert found.bias == pytest.approx(0.05 * target.sum(), rel=0.15)
    assert found.interval[0] < 1000 < found.interval[1]
    assert found.adjusted == pytest.approx(found.mapped - found.bias)
    assert found.mapped > found.interval[1]  # the map as it is lies outside
    assert found.bias_interval[0] > 0


def test_errors_that_persist_cancel_in_paired_years():
    rng = np.random.default_rng(4)
    error, x, target, _ = world(rng, 60, 200)
    years = np.arange(2016, 2025)
    same = bootstrap.error_draws(np.tile(error, (9, 1)), x, target, n_draws=300)
    mapped = 500 - 3.0 * (years - 2016)
    trend = rates.trend(years, mapped, draws=mapped[:, None] - same)
    assert trend.paired[1] - trend.rate < 1e-6
    assert trend.independent[1] - trend.rate > 0.5
    changing = error + rng.normal(0, 0.2, (9, 60))
    trend = rates.trend(years, mapped, draws=mapped[:, None] - bootstrap.error_draws(changing, x, target, n_draws=300))
    assert trend.paired[1] - trend.rate > 0.1


def test_reference_blocks_of_the_region_are_known():
    rng = np.random.default_rng(5)
    error, x, target, _ = world(rng, 50, 100)
    everything = bootstrap.error_draws(error, x, target[:0], inside=np.ones(50, bool), n_draws=50)
    np.testing.assert_allclose(everything, error.sum())
    half = bootstrap.error_draws(error, x, target, inside=np.arange(50) < 25, n_draws=400)
    none = bootstrap.error_draws(error, x, target, n_draws=400)
    np.testing.assert_allclose(half - none, error[:25].sum())


def test_bad_errors_have_a_clear_line():
    ok = np.ones(12)
    with pytest.raises(AnalysisError, match="9 reference blocks are too few"):
        bootstrap.error_draws(ok[:9], ok[:9], ok)
    with pytest.raises(AnalysisError, match="not a number"):
        bootstrap.error_draws(ok * np.nan, ok, ok)
    with pytest.raises(OptionError, match="above 0"):
        bootstrap.error_draws(ok, ok * 0, ok)
    with pytest.raises(OptionError, match="do not fit"):
        bootstrap.error_draws(ok, ok[:5], ok)
    with pytest.raises(OptionError, match="one flag"):
        bootstrap.error_draws(ok, ok, ok, inside=[True])
    with pytest.raises(OptionError, match="shapes"):
        bootstrap.estimate(1.0, {"a": np.ones(5), "b": np.ones(6)})
    with pytest.raises(OptionError, match="one label a year"):
        bootstrap.common_bias_draws([1.0, 2.0], {"orbit": bootstrap.CommonBias(1.0, [14])})


# -- common bias ------------------------------------------------------------------------------------------------------
def test_common_bias_has_the_size_of_margin_times_shift():
    # Svalbard: 16 900 km of margin, 10 m of bias are 169 km2; 1 m a year are 17 km2 a-1
    draws = bootstrap.common_bias_draws([16_900.0], {"all": bootstrap.CommonBias(10.0, ["x"])}, n_draws=40_000)
    assert draws.std() == pytest.approx(169, rel=0.02)


def test_common_bias_of_an_orbit_cancels_in_a_trend_and_that_of_years_does_not():
    years = np.arange(2016, 2025)
    margin = np.full(9, 16_900.0)
    shared = bootstrap.common_bias_draws(margin, {"orbit": bootstrap.CommonBias(10.0, [14] * 9)})
    assert rates.trend(years, years, draws=years[:, None] - shared).paired[1] == pytest.approx(1)
    yearly = bootstrap.common_bias_draws(margin, {"year": bootstrap.CommonBias(1.0, years)}, n_draws=20_000)
    trend = rates.trend(years, years, draws=years[:, None] - yearly)
    assert trend.paired[1] - 1 == pytest.approx(1.96 * 16.9 / np.sqrt(60), rel=0.03)
    sensor = bootstrap.common_bias_draws(margin, {"sensor": bootstrap.CommonBias(1.0, ["S1A"] * 8 + ["S1C"])})
    assert np.corrcoef(sensor[0], sensor[7])[0, 1] == pytest.approx(1)
    assert abs(np.corrcoef(sensor[0], sensor[8])[0, 1]) < 0.1


def test_between_groups_finds_the_true_spread():
    rng = np.random.default_rng(6)
    found = [
        bootstrap.between_groups(rng.normal(0, 3, 12) + rng.normal(0, s), s) for s in rng.uniform(0.5, 2, (400, 12))
    ]
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(3, rel=0.05)
    assert bootstrap.between_groups([1.0, 1.1, 0.9], [1.0, 1.0, 1.0]) == 0


def test_estimate_joins_independent_sources():
    rng = np.random.default_rng(7)
    parts = {"sampling": rng.normal(5, 3, 50_000), "common": rng.normal(0, 4, 50_000)}
    found = bootstrap.estimate(100, parts)
    assert found.sigma == pytest.approx(5, rel=0.02)
    assert found.components == pytest.approx({"sampling": 3, "common": 4}, rel=0.02)
    assert found.interval == pytest.approx((95 - 9.8, 95 + 9.8), abs=0.25)


# -- variogram --------------------------------------------------------------------------------------------------------
def field(rng, n, length, spacing, nugget=0.0):
    """Exponential field on an n x n grid (circulant embedding), sill 1."""
    size = 4 * n
    d = np.minimum(np.arange(size), size - np.arange(size)) * spacing
    spectrum = np.fft.fft2(np.exp(-np.hypot(d[:, None], d[None, :]) / length)).real
    noise = rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))
    values = np.fft.fft2(np.sqrt(np.maximum(spectrum, 0)) * noise).real[:n, :n] / size
    return values + np.sqrt(nugget) * rng.normal(size=(n, n))


def test_semivariance_equals_the_sum_over_pairs():
    rng = np.random.default_rng(8)
    z = rng.normal(3, 1, (9, 7))
    z[2, 3] = z[8, 6] = np.nan
    found = variogram.empirical(z, 10.0, max_lag=45.0, n_bins=5)
    i, j = np.nonzero(np.isfinite(z))
    distance = np.hypot(i[:, None] - i, j[:, None] - j) * 10
    square = (z[i, j][:, None] - z[i, j]) ** 2 / 2
    upper = np.triu(np.ones(distance.shape, bool), 1) & (distance <= 45)
    ring = np.minimum((distance / 9).astype(int), 4)
    for k, (lag, gamma, pairs) in enumerate(zip(*found, strict=True), start=1):  # nothing within 9 m
        here = upper & (ring == k)
        assert pairs == here.sum()
        assert gamma == pytest.approx(square[here].mean())
        assert lag == pytest.approx(distance[here].mean())


def test_correlation_length_and_nugget_are_found():
    rng = np.random.default_rng(9)
    fits = []
    for _ in range(12):
        z = field(rng, 128, 400.0, 100.0, nugget=0.5)
        z[rng.random(z.shape) < 0.3] = np.nan
        fits.append(variogram.fit(variogram.empirical(z, 100.0, max_lag=3000.0, n_bins=20)))
    assert np.median([f.length for f in fits]) == pytest.approx(400, rel=0.2)
    assert np.median([f.nugget for f in fits]) == pytest.approx(0.5, rel=0.25)
    assert np.median([f.sill for f in fits]) == pytest.approx(1, rel=0.15)
    side = variogram.block_length(variogram.Variogram(0.5, 1.0, 400.0), multiple_of=10.0)
    assert side == 1200
    assert variogram.block_length(variogram.Variogram(0.5, 0.0, 400.0), multiple_of=10.0) == 10


def test_sigma_of_a_total_equals_the_double_sum_and_the_simulation():
    rng = np.random.default_rng(10)
    model = variogram.Variogram(0.3, 1.0, 250.0)
    w = rng.random((6, 5))
    i, j = (v.ravel() for v in np.indices(w.shape))
    c = model.covariance(np.hypot(i[:, None] - i, j[:, None] - j) * 100.0)
    assert variogram.total_sigma(model, w, 100.0) == pytest.approx(np.sqrt(w.ravel() @ c @ w.ravel()))
    weights = np.ones((24, 24))
    weights[:8, :8] = 0
    sums = [np.sum(weights * field(rng, 24, 250.0, 100.0, nugget=0.3)) for _ in range(1500)]
    assert np.std(sums) == pytest.approx(variogram.total_sigma(model, weights, 100.0), rel=0.06)


def test_white_noise_has_no_length_and_bad_fields_a_clear_line():
    rng = np.random.default_rng(11)
    models = [variogram.fit(variogram.empirical(rng.normal(size=(64, 64)), 10.0, max_lag=200.0)) for _ in range(10)]
    assert sum(model.sill == 0 for model in models) >= 8
    flat = next(model for model in models if model.sill == 0)
    assert variogram.total_sigma(flat, np.ones((64, 64)), 10.0) == pytest.approx(64, rel=0.05)
    z = rng.normal(size=(64, 64))
    with pytest.raises(AnalysisError, match="empty"):
        variogram.empirical(np.full((3, 3), np.nan), 1.0, max_lag=2)
    with pytest.raises(OptionError, match="max_lag of at least"):
        variogram.empirical(z, 10.0, max_lag=5)
    lonely = np.full((9, 9), np.nan)
    lonely[0, 0] = 1
    with pytest.raises(AnalysisError, match="no two residuals"):
        variogram.empirical(lonely, 1.0, max_lag=3)


# -- blocks that hang together ----------------------------------------------------------------------------------------
def exact(length, side, cells, shape):
    """Correlation of the block means of an exponential field, summed cell by cell."""
    rows, columns = np.indices((shape[0] * cells, shape[1] * cells)) * side / cells
    where = np.c_[rows.ravel(), columns.ravel()]
    covariance = np.exp(-np.hypot(*(where[:, None] - where[None]).transpose(2, 0, 1)) / length)
    block = (rows // side * shape[1] + columns // side).astype(int).ravel()
    mean = np.zeros((shape[0] * shape[1], block.size))
    mean[block, np.arange(block.size)] = 1 / cells**2
    found = mean @ covariance @ mean.T
    return found / found[0, 0]


def test_the_correlation_of_blocks_is_that_of_their_cells():
    given = dependence.Dependence(variogram.Variogram(0.0, 1.0, 300.0), cells=36, side=600.0)
    row, column = np.indices((3, 3)).reshape(2, -1)
    found = given.correlation(row[:, None] - row[None], column[:, None] - column[None])
    np.testing.assert_allclose(found, exact(300.0, 600.0, 6, (3, 3)), atol=1e-9)
    half = dependence.Dependence(variogram.Variogram(3.0, 1.0, 300.0), cells=36, side=600.0)
    assert 0 < half.correlation(0, 1) < given.correlation(0, 1)  # a nugget is shared by nobody
    assert dependence.Dependence(variogram.Variogram(1.0, 0.0, 300.0), 36, 600.0).correlation(
        [0, 0], [0, 1]
    ).tolist() == [
        1,
        0,
    ]


def test_the_design_is_that_of_the_covariance_matrix():
    rng = np.random.default_rng(3)
    given = dependence.Dependence(variogram.Variogram(0.0, 1.0, 500.0), cells=36, side=600.0)
    row, column = np.indices((6, 6)).reshape(2, -1)
    place = np.c_[0 * row, row, column]
    known = column < 3
    x = rng.gamma(3, 1, 36)
    found = dependence.design(given, place[known], x[known], place[~known], x[~known])
    covariance = np.sqrt(np.outer(x, x)) * given.correlation(row[:, None] - row[None], column[:, None] - column[None])
    weight = np.where(known, x[~known].sum() / x[known].sum(), -1.0)
    naive = weight**2 @ x
    scatter = 18 - covariance[np.ix_(known, known)].sum() / x[known].sum()  # of the residuals, expected
    assert found.inflation == pytest.approx(np.sqrt(weight @ covariance @ weight / naive * 17 / scatter), rel=1e-3)
    draws = rng.multivariate_normal(np.zeros(18), covariance[np.ix_(known, known)], 40_000) / np.sqrt(x[known])
    share = np.sqrt(x[known] / x[known].sum())
    squares = np.sum((draws - np.outer(draws @ share, share)) ** 2, axis=1)
    assert squares.mean() == pytest.approx(scatter, rel=0.02)
    assert found.dof == pytest.approx(2 * squares.mean() ** 2 / squares.var(), rel=0.05)
    apart = place.copy()
    apart[:, 0] = np.arange(36)  # grids of their own: independent
    alone = dependence.design(given, apart[known], x[known], apart[~known], x[~known])
    assert alone == pytest.approx((1.0, 17.0))


def test_draws_are_as_much_wider_as_the_design_says():
    rng = np.random.default_rng(4)
    error, x, target = rng.normal(size=20), np.ones(20), np.ones(50)
    plain = bootstrap.error_draws(error, x, target, n_draws=4000)
    wide = bootstrap.error_draws(error, x, target, n_draws=4000, design=dependence.Design(2.0, 5.0))
    from scipy import stats

    assert wide.std() / plain.std() == pytest.approx(2 * stats.t.ppf(0.975, 5) / stats.t.ppf(0.975, 19), rel=1e-9)


def test_blocks_where_nothing_can_be_wrong_add_no_degrees_of_freedom():
    errors, none = np.random.default_rng(0).normal(0, 1, 12), np.zeros(200)
    alone, beside = (
        bootstrap.error_draws(np.r_[errors, more], np.r_[np.ones(12), more + 1e-6], [1.0], n_draws=20_000).std()
        for more in (none[:0], none)
    )
    assert beside == pytest.approx(alone, rel=0.05)
