from __future__ import annotations

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from icemapper_xr.analysis import areas, blocks, cells, domains, margins, pieces, projecting, reference
from icemapper_xr.errors import AnalysisError, OptionError
from tests.support import raise_if_dask_computes
from tests.test_analysis_areas import GEOD, raster_around

LEFT, TOP = 500e3, 8.7e6


def like(rows=60, columns=70, **options):
    return raster_around(np.zeros((rows, columns), np.float32), **options).probability


def circles(rng, n, extent=(700, 600)):
    points = rng.uniform((0, -extent[1]), (extent[0], 0), (n, 2)) + np.array([LEFT, TOP])
    return gpd.GeoSeries(shapely.buffer(shapely.points(points), rng.uniform(20, 120, n)), crs=32633)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**31), st.integers(9, 60), st.integers(9, 70), st.sampled_from([0.0, 35.0, 150.0]))
def test_domains_are_lazy_and_independent_of_chunks(seed, rows, columns, reach):
    raster = like()
    shapes = circles(np.random.default_rng(seed), 6)
    whole = domains.glacier_domains(shapes, raster, reach=reach)
    with raise_if_dask_computes():
        lazy = domains.glacier_domains(shapes, raster.chunk(y=rows, x=columns), reach=reach)
    np.testing.assert_array_equal(lazy.values, whole.values)
    np.testing.assert_array_equal(
        domains.shares(shapes, raster.chunk(y=rows, x=columns)).values, domains.shares(shapes, raster).values
    )


def test_a_domain_reaches_as_far_as_said_and_never_into_another_glacier():
    raster = like(80, 120)
    a, b = (
        shapely.box(LEFT + 200, TOP - 500, LEFT + 400, TOP - 300),
        shapely.box(LEFT + 460, TOP - 500, LEFT + 700, TOP - 300),
    )
    found = domains.glacier_domains(gpd.GeoSeries([a, b], crs=32633), raster, reach=100.0).values
    x, y = np.meshgrid(raster.x, raster.y)
    centres = shapely.points(x, y)
    d = np.stack([shapely.distance(centres, shape) for shape in (a, b)])
    sure = np.abs(d[0] - d[1]) > 20  # cells count by their centres
    assert (found[(d[0] == 0)] == 1).all()
    assert (found[(d[1] == 0)] == 2).all()
    near = d.min(axis=0)
    np.testing.assert_array_equal(found[sure & (near < 85)], (d.argmin(axis=0) + 1)[sure & (near < 85)])
    assert (found[near > 105] == 0).all()
    with pytest.raises(OptionError, match="reach=-1"):
        domains.glacier_domains(gpd.GeoSeries([a], crs=32633), raster, reach=-1)
    with pytest.raises(AnalysisError, match="no CRS"):
        domains.glacier_domains(gpd.GeoSeries([a]), raster)


def test_shares_count_overlaps_once_and_add_up_to_the_area():
    raster = like(80, 120)
    shapes = circles(np.random.default_rng(3), 8, (1200, 800))
    inside = shapely.union_all(shapes.to_numpy()) & shapely.box(*raster.rio.bounds())
    found = domains.shares(shapes, raster)
    assert float(found.sum()) * 100 == pytest.approx(inside.area, rel=2e-3)
    assert float(found.max()) == 1


def test_long_edges_in_degrees_are_those_of_the_parallels():
    box = shapely.box(12, 78, 18, 79)
    raster = raster_around(np.zeros((800, 800), np.float32), left=420e3, top=8.80e6, size=200.0).probability
    found = domains.shares(gpd.GeoSeries([box], crs=4326), raster)
    true = abs(GEOD.geometry_area_perimeter(box.segmentize(0.01))[0])
    share = float((found * cells.cell_area(raster)).sum())
    assert share == pytest.approx(true, rel=1e-5)  # by its four corners: 26 km2 less, 306 km2 elsewhere
    lon, lat = (np.array(v) for v in zip((12.05, 78.5), (15, 78.002), (15, 78.998), (15, 79.002), strict=True))
    x, y = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(lon, lat)
    at = found.sel(x=xr.DataArray(x), y=xr.DataArray(y), method="nearest")
    np.testing.assert_array_equal(at, [1, 1, 1, 0])
    table = areas.polygon_areas(raster.fillna(1.0) + 1, gpd.GeoSeries([box], crs=4326))
    assert float(table.soft_area.squeeze()) * 1e6 == pytest.approx(true, rel=1e-5)
    flat = gpd.GeoSeries([shapely.box(400e3, 8.6e6, 600e3, 8.7e6)], crs=32633)
    np.testing.assert_array_equal(projecting.project(flat, 32633).values, flat.values)


@pytest.mark.parametrize(
    "box",
    [
        shapely.box(178, 70, 183, 71),
        shapely.MultiPolygon([shapely.box(178, 70, 180, 71), shapely.box(-180, 70, -177, 71)]),
        shapely.Polygon([(178, 70), (-177, 70), (-177, 71), (178, 71)]),
    ],
)
def test_polygons_across_the_antimeridian_keep_their_place_however_they_are_written(box):
    local = projecting.project(gpd.GeoSeries([box], index=["a"], crs=4326), 32601)
    assert list(local.index) == ["a"]
    expected = gpd.GeoSeries([shapely.box(178, 70, 183, 71).segmentize(0.01)], crs=4326).to_crs(32601)[0]
    assert local["a"].symmetric_difference(expected).area < 1e-6 * expected.area


def test_a_box_around_the_earth_is_no_line():
    ring = projecting.project(gpd.GeoSeries([shapely.box(-180, 60, 180, 80)], crs=4326), 6931)[0]
    cap = 2 * np.pi * 6371007**2 * (np.sin(np.radians(80)) - np.sin(np.radians(60)))
    assert ring.area == pytest.approx(cap, rel=0.01)


def test_block_numbers_are_those_of_the_blocks():
    raster = like(80, 120, left=LEFT + 50, top=TOP + 30)
    number, position = domains.block_numbers(raster.chunk(y=33), size=300.0)
    square = gpd.GeoSeries([shapely.box(*raster.rio.bounds())], crs=32633)
    expected = blocks.blocks(square, size=300.0)
    np.testing.assert_array_equal(position, expected[["row", "column"]])
    count = np.bincount(number.values.ravel())[1:]
    np.testing.assert_allclose(count * 100, expected.area)


# -- margins ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("angle", [0, 10, 26, 45, 63, 90])
def test_margin_of_a_line_is_within_five_percent_of_its_length(angle):
    n = 200
    y, x = np.mgrid[:n, :n] - n / 2 + 0.137
    normal = np.radians(angle)
    raster = raster_around((x * np.cos(normal) + y * np.sin(normal) > 0).astype(np.float32))
    inner = slice(20, -20)
    found = float(margins.margin_length(raster.probability).isel(y=inner, x=inner).sum())
    length = 160 * 10 / max(abs(np.cos(normal)), abs(np.sin(normal)))
    assert found == pytest.approx(length, rel=0.06)


def test_margin_of_a_disc_is_its_circumference_for_any_chunks():
    n = 300
    y, x = np.mgrid[:n, :n] - n / 2
    values = (np.hypot(x, y) < 100).astype(np.float32)
    raster = raster_around(np.stack([values, values]), years=[2020, 2021]).probability
    found = margins.margin_length(raster)
    true = 2 * np.pi * 1000 / 0.9996
    np.testing.assert_allclose(found.sum(("y", "x")), [true] * 2, rtol=0.01)
    for chunks in ({"y": 37, "x": 300, "year": 1}, {"y": 290, "x": 50}):
        with raise_if_dask_computes():
            lazy = margins.margin_length(raster.chunk(chunks))
        np.testing.assert_array_equal(lazy.values, found.values)
    values[:, n // 2 :] = np.nan
    half = margins.margin_length(raster_around(values).probability)
    assert float(half.sum()) == pytest.approx(true / 2, rel=0.01)  # the edge of what was observed is no margin


# -- pieces and errors ------------------------------------------------------------------------------------------------
def world(rng, *, rows=240, columns=240, bias=0.0, years=(2020, 2021, 2022)):
    """A truth of blobs, and a map of it whose errors sit at the margins."""
    height = ndimage.gaussian_filter(rng.normal(size=(rows, columns)), 12)
    truth = height > 0
    shift = bias + 0.004 * ndimage.gaussian_filter(rng.normal(size=(len(years), rows, columns)), (0, 4, 4)) * 40
    mapped = (height + shift * height.std() > 0).astype(np.float32)
    raster = raster_around(mapped, years=list(years)).probability
    true = raster_around(np.repeat(truth[None].astype(np.float32), len(years), 0), years=list(years)).probability
    return raster, true


def test_pieces_add_up_to_the_region_whatever_the_glaciers_and_the_chunks():
    rng = np.random.default_rng(0)
    raster, _ = world(rng)
    region = gpd.GeoSeries([shapely.Point(LEFT + 1200, TOP - 1200).buffer(1000)], crs=32633)
    shapes = circles(rng, 9, (2400, 2400))
    whole = areas.polygon_areas(raster, region).isel(polygon=0)
    for probability in (raster, raster.chunk(year=2, y=100, x=77)):
        where = pieces.layout(probability, size=320.0, glaciers=shapes, reach=60.0, region=region)
        table = pieces.Pieces(where, {k: np.asarray(v) for k, v in pieces.measure(where, probability).items()})
        for name in ("soft_area", "observed_area"):
            np.testing.assert_allclose(table.total(name), whole[name], rtol=1e-9)
            np.testing.assert_allclose(table.by_block(name).sum(axis=1), whole[name], rtol=1e-9)
        number = domains.glacier_domains(shapes, raster, reach=60.0)
        expected = areas.areas(raster, regions=number, labels=range(1, 10), share=domains.shares(region, raster))
        for i in range(9):
            np.testing.assert_allclose(
                table.total("soft_area", where.glacier == i + 1), expected.soft_area[:, i], rtol=1e-9, atol=1e-12
            )


def measured(raster, true, known, size):
    where = pieces.layout(raster, size=size)
    part = true.where(xr.DataArray(known, {"x": true.x}, "x"))
    found = pieces.measure(where, raster, reference=part)
    return pieces.Pieces(where, {k: np.asarray(v) for k, v in found.items()})


def test_errors_against_the_reference_are_those_of_the_cells():
    raster, true = world(np.random.default_rng(1), bias=0.05)
    table = measured(raster, true, np.arange(240) < 120, 240.0)
    expected = (raster - true).values[:, :, :120].sum(axis=(1, 2)) * 1e-4
    np.testing.assert_allclose(table.total(pieces.ERROR), expected, rtol=1e-3)
    assert table.total(pieces.REFERENCE_AREA)[0] == pytest.approx(table.total("observed_area")[0] / 2, rel=1e-6)


def coarse(values):
    return values.reshape(24, 10, 24, 10).sum(axis=(1, 3))


def test_the_bias_found_in_one_half_is_most_of_that_of_the_whole():
    """How often intervals cover is asked in tests/test_analysis_coverage.py and benchmarks/end_to_end_rates.py."""
    raw, left = [], []
    for seed in range(8):
        raster, true = world(np.random.default_rng(seed), bias=0.03, years=(2020,))
        error = (raster - true).values
        margin = margins.margin_length(raster.isel(year=-1)).values
        side, _ = reference.residual_block(coarse(error[-1])[:, :12] * 1e-4, coarse(margin)[:, :12] / 1000, 100.0)
        assert 300 <= side <= 400  # 20 blocks in the half
        table = measured(raster, true, np.arange(240) < 120, side)
        model = reference.fit(table, (2020,))
        assert model.bias_m[0] > 0  # outward
        everything = np.ones(table.layout.glacier.size, bool)
        drawn = reference.error_draws(model, table, (2020,), everything, n_draws=200, seed=seed)["sampling"]
        raw.append(error.sum() * 1e-4)
        left.append(raw[-1] - drawn.mean())
    assert np.sqrt(np.mean(np.square(left))) < 0.4 * np.sqrt(np.mean(np.square(raw)))
    assert abs(np.mean(left)) < 0.15 * np.mean(raw)


def test_years_without_a_reference_get_the_nearest_ones_errors_and_more_doubt():
    raster, true = world(np.random.default_rng(5), years=(2020, 2021, 2022, 2023, 2024))
    where = pieces.layout(raster, size=240.0)
    known = true.sel(year=[2020, 2024])
    table = pieces.Pieces(where, {k: np.asarray(v) for k, v in pieces.measure(where, raster, reference=known).items()})
    model = reference.fit(table, (2020, 2024))
    assert [model.year_of(year) for year in (2020, 2022, 2023, 2030)] == [0, 0, 1, 1]
    drawn = reference.error_draws(model, table, (2020, 2021, 2022, 2023, 2024), np.ones(where.glacier.size, bool))
    spread = (drawn["sampling"] + drawn["year"]).std(axis=1)
    assert spread[[0, 4]].max() < spread[1:4].min() / 20  # known everywhere
    one = pieces.measure(where, raster, reference=true.sel(year=[2022]))
    single = reference.fit(pieces.Pieces(where, {k: np.asarray(v) for k, v in one.items()}), (2022,))
    assert np.isnan(single.between_m)
    big = pieces.layout(raster, size=2400.0)
    few = pieces.measure(big, raster, reference=known)
    with pytest.raises(AnalysisError, match="at least 10 are needed"):
        reference.fit(pieces.Pieces(big, {k: np.asarray(v) for k, v in few.items()}), (2020, 2024))


def test_a_block_is_as_long_as_the_errors_hang_together():
    rng = np.random.default_rng(7)
    margin = rng.gamma(2, 0.1, (80, 80))
    margin[rng.random(margin.shape) < 0.3] = 0
    root = np.sqrt(margin + reference.AREA_EXPOSURE * 0.01)
    smooth = ndimage.gaussian_filter(rng.normal(size=(80, 80)), 3)
    side, model = reference.residual_block(root * smooth / smooth.std(), margin, 100.0)
    assert model.sill > 0
    assert 500 <= side <= 2000
    side, model = reference.residual_block(root * rng.normal(size=(80, 80)), margin, 100.0)
    assert side == 500  # the shortest
    biased, _ = reference.residual_block(root * rng.normal(size=(80, 80)) + 5 * root**2, margin, 100.0)
    assert biased == 500  # what exposure explains is no correlation
    with pytest.raises(AnalysisError, match="no mapped margin within"):
        reference.residual_block(np.full((80, 80), np.nan), margin, 100.0)
    assert reference.residual_block(root[:5], margin[:5], 100.0)[0] == 400
