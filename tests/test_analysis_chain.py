"""From a calibrated result to a rate: the parts fit together, and a known retreat comes out."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely

from icemapper_xr import calibrate
from icemapper_xr.analysis import areas, blocks, bootstrap, cells, glaciers, rates, series
from tests.support import raise_if_dask_computes
from tests.test_analysis_areas import raster_around

YEARS = np.arange(2016, 2025)
RADIUS = 3000.0 - 20.0 * (YEARS - 2016)  # a disc that loses 20 m a year


def retreating_disc(rng):
    """Probabilities of a network that is right about the class, cautious, and never below 0.1; and the truth."""
    size, n = 40.0, 200
    x = (np.arange(n) + 0.5) * size
    distance = np.hypot(x - 4000, x[:, None] - 4000)
    inside = distance < RADIUS[:, None, None]
    logit = (RADIUS[:, None, None] - distance) / 60 + 0.5 * rng.normal(size=inside.shape)
    probability = 0.1 + 0.85 / (1 + np.exp(-0.4 * logit))
    raster = raster_around(probability.astype(np.float32), size=size, years=YEARS)
    return raster, inside


def test_a_known_retreat_goes_from_probability_to_rate():
    raster, inside = retreating_disc(np.random.default_rng(0))
    model = calibrate.fit_monotone(calibrate.reliability(raster.probability.values[:2], inside[:2]))
    region = gpd.GeoSeries([shapely.box(500e3 + 100, 8.7e6 - 7900, 500e3 + 7900, 8.7e6 - 100)], crs=32633)
    with raise_if_dask_computes():
        result = calibrate.calibrate(raster.chunk(year=5, y=110, x=200), model)
        table = areas.polygon_areas(result, blocks.blocks(region, size=1600.0))
    table = table.compute()
    mapped = table.soft_area.sum("polygon").values
    scale = float(cells.cell_areas(raster.y, raster.x, 32633).mean()) / 40.0**2
    truth = np.pi * RADIUS**2 / 1e6 * scale
    # 1.3 % remain: a map of confidence alone cannot mend what differs between glacier and background.
    np.testing.assert_allclose(mapped, truth, rtol=0.02)
    raw = areas.areas(raster).soft_area.squeeze().values
    assert np.abs(raw / truth - 1).min() > 0.05  # what the uncalibrated sum would say

    draws = bootstrap.published_draws(table.soft_area.values, n_draws=500)
    same = [series.Acquisition(14, "HH", "S1A")] * 9
    trend = rates.trend(table.year.values, mapped, draws=draws, acquisitions=same)
    assert trend.rate == pytest.approx(np.polyfit(YEARS, truth, 1)[0], rel=0.02)
    assert trend.student[0] < np.polyfit(YEARS, truth, 1)[0] < trend.student[1]
    assert trend.paired[1] - trend.paired[0] < (trend.independent[1] - trend.independent[0]) / 3


def test_errors_against_a_reference_bring_a_biased_map_back():
    raster, inside = retreating_disc(np.random.default_rng(1))
    region = gpd.GeoSeries([shapely.box(500e3, 8.7e6 - 8000, 500e3 + 8000, 8.7e6)], crs=32633)
    tiles = blocks.blocks(region, size=400.0)
    table = areas.polygon_areas(raster.isel(year=0), tiles)  # uncalibrated: too large by far
    reference = areas.polygon_areas(raster_around(inside[0].astype(np.float32), size=40.0), tiles)
    truth = float(reference.soft_area.sum())
    error = (table.soft_area - reference.soft_area).values
    known = np.random.default_rng(2).random(len(tiles)) < 0.4
    exposure = tiles.fraction.to_numpy()
    draws = bootstrap.error_draws(error[known], exposure[known], exposure[~known], inside=np.ones(known.sum(), bool))
    found = bootstrap.estimate(float(table.soft_area.sum()), {"sampling": draws})
    assert abs(found.mapped / truth - 1) > 0.05
    assert found.interval[0] < truth < found.interval[1]
    assert abs(found.adjusted / truth - 1) < 0.02
    assert found.bias == pytest.approx(found.mapped - truth, abs=2 * found.sigma)


def test_real_retreat_around_ny_alesund(shared):
    outlines = gpd.read_file(shared / "real" / "svalbard" / "post_svalbard.gpkg")
    left, bottom, right, top = outlines.total_bounds
    size = 20.0
    ones = np.ones((int((top - bottom) / size) + 3, int((right - left) / size) + 3), np.float32)
    raster = raster_around(ones, left=left - size, top=top + size, size=size)
    outlines["km2"] = areas.polygon_areas(raster, outlines).hard_area.values
    outlines["own_km2"] = outlines.to_crs(6931).area / 1e6  # equal-area: the polygon's own
    mapped, own = (outlines.pivot(index="name", columns="year", values=v) for v in ("km2", "own_km2"))
    assert mapped.columns.tolist() == [1936, 1990, 2007]
    table = glaciers.glacier_rates(mapped.columns, mapped.to_numpy(), names=mapped.index)
    truth = glaciers.glacier_rates(own.columns, own.to_numpy(), names=own.index)
    assert (table.rate < 0).all()  # all five have retreated
    np.testing.assert_allclose(table.rate, truth.rate, rtol=0.01)
    np.testing.assert_allclose(mapped, own, rtol=3e-3)
    assert -0.012 < table.relative_rate.min() < table.relative_rate.max() < -0.002
