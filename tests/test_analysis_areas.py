from __future__ import annotations

import dask.array as da
import geopandas as gpd
import numpy as np
import pyproj
import pytest
import rioxarray  # noqa: F401
import shapely
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from icemapper_xr.analysis import areas, blocks, cells, projecting
from icemapper_xr.errors import AnalysisError, OptionError
from tests.support import raise_if_dask_computes

GEOD = pyproj.Geod(ellps="WGS84")
POINTS = {
    "EPSG:32633": [(500e3, 8.7e6), (300e3, 6.7e6), (800e3, 8.9e6)],
    "EPSG:3413": [(5, 5), (1e6, -1e6), (2.2e6, -2.2e6)],
    "EPSG:6931": [(0, 0), (1e6, -1e6), (2.2e6, -2.2e6)],
    "EPSG:3031": [(1e6, -1e6)],
    "EPSG:32733": [(5e5, 2e6)],
    "EPSG:2263": [(9.8e5, 2e5)],  # US survey feet
    "EPSG:3857": [(1e6, 1e7)],  # sphere formulas on the ellipsoid
    "EPSG:4326": [(15.01, 78.02), (15.01, -78.02)],
}


def area_of_cell_by_geodesics(crs, x, y, h):
    s = np.linspace(-h / 2, h / 2, 20, endpoint=False)
    full = np.full(20, h / 2)
    xs = np.r_[x + s, x + full, x - s, x - full]
    ys = np.r_[y - full, y + s, y + full, y - s]
    lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(xs, ys)
    return abs(GEOD.polygon_area_perimeter(lon, lat)[0])


@pytest.mark.parametrize("crs", POINTS)
def test_cell_areas_equal_geodesic_polygons(crs):
    h = 0.01 if crs == "EPSG:4326" else 1000.0
    for x, y in POINTS[crs]:
        found = cells.cell_areas([y, y - h], [x, x + h], crs)[0, 0]
        assert found == pytest.approx(area_of_cell_by_geodesics(crs, x, y, h), rel=1e-6)


@pytest.mark.parametrize("pole", [90.0, -90.0])
def test_cells_at_the_pole_of_a_geographic_grid(pole):
    h, inward = 0.01, -np.sign(pole)
    y, x = pole + inward * h * (np.arange(12) + 0.5), 15.0 + h * np.arange(3)
    found = cells.cell_areas(y, x, "EPSG:4326")
    expected = [area_of_cell_by_geodesics("EPSG:4326", x[0], value, h) for value in y]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)
    with pytest.raises(AnalysisError, match="outside the area where its CRS"):
        cells.cell_areas(pole - inward * h * (np.arange(3) + 0.5), x, "EPSG:4326")


def raster_around(values, *, crs="EPSG:32633", left=500e3, top=8.7e6, size=10.0, years=None):
    rows, columns = values.shape[-2:]
    coords = {"y": top - (np.arange(rows) + 0.5) * size, "x": left + (np.arange(columns) + 0.5) * size}
    dims = ("y", "x")
    if years is not None:
        coords["year"], dims = years, ("year", "y", "x")
    return xr.Dataset({"probability": (dims, values)}, coords).rio.write_crs(crs)


def disc(crs, lat, *, radius=10e3, size=50.0, lon=15.0):
    """Probability of a geodesic disc, the edge's cells by their distance to it; and the disc's true area, km2."""
    x0, y0 = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)
    half = 1.15 * radius
    left, top = np.floor((x0 - half) / size) * size, np.ceil((y0 + half) / size) * size
    n = int(2 * half / size) + 2
    raster = raster_around(np.zeros((n, n), np.float32), crs=crs, left=left, top=top, size=size)
    xx, yy = np.meshgrid(raster.x, raster.y)
    lons, lats = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(xx, yy)
    distance = GEOD.inv(np.full(lons.shape, lon), np.full(lons.shape, lat), lons, lats)[2]
    raster.probability.values[:] = np.clip((radius - distance) / size + 0.5, 0, 1)
    azimuths = np.linspace(0, 360, 7200, endpoint=False)
    around = GEOD.fwd(np.full(7200, lon), np.full(7200, lat), azimuths, np.full(7200, radius))
    return raster, abs(GEOD.polygon_area_perimeter(around[0], around[1])[0]) / 1e6


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3413", "EPSG:6931"])
@pytest.mark.parametrize("lat", [60, 70, 80])
def test_spherical_cap(crs, lat):
    raster, truth = disc(crs, lat)
    table = areas.areas(raster)
    assert float(table.soft_area.squeeze()) == pytest.approx(truth, rel=5e-4)
    assert float(table.hard_area.squeeze()) == pytest.approx(truth, rel=5e-4)
    if crs == "EPSG:3413" and lat != 70:
        counted = float(raster.probability.sum()) * 50**2 / 1e6
        assert abs(counted / truth - 1) > 0.04  # what pixel counting would have given


def test_areas_are_lazy_independent_of_chunks_and_count_what_was_not_seen():
    rng = np.random.default_rng(0)
    values = rng.random((2, 60, 50)).astype(np.float32)
    values[1, :10, :5] = np.nan
    values[0, 20, 20] = 1e-9
    raster = raster_around(values, years=[2020, 2021])
    regions = xr.DataArray(rng.integers(0, 4, (60, 50)) * 10, {"y": raster.y, "x": raster.x}, ("y", "x"))
    eager = areas.areas(raster, regions=regions)
    assert eager.region.values.tolist() == [10, 20, 30]
    weight = cells.cell_areas(raster.y, raster.x, 32633)
    inside = regions.values == 20
    p = np.nan_to_num(values[1].astype(float))
    assert float(eager.soft_area.sel(year=2021, region=20)) == pytest.approx(np.sum((p * weight)[inside]) / 1e6)
    hard = np.sum(weight[inside & (values[1] >= 0.5)]) / 1e6
    assert float(eager.hard_area.sel(year=2021, region=20)) == pytest.approx(hard)
    gone = np.sum(weight[inside & np.isnan(values[1])]) / 1e6
    assert float(eager.unobserved_area.sel(year=2021, region=20)) == pytest.approx(gone)
    for chunks in ({"year": 1, "y": 17, "x": 50}, {"year": 2, "y": 60, "x": 7}):
        with raise_if_dask_computes():
            lazy = areas.areas(raster.chunk(chunks), regions=regions.chunk(y=13), labels=[30, 10, 20])
        assert isinstance(lazy.soft_area.data, da.Array)
        xr.testing.assert_allclose(lazy.compute().sel(region=[10, 20, 30]), eager, rtol=1e-12)


def test_whole_raster_is_the_sum_of_its_regions_and_polygons():
    rng = np.random.default_rng(1)
    raster = raster_around(rng.random((40, 60)).astype(np.float32))
    whole = areas.areas(raster).isel(region=0)
    regions = xr.DataArray(rng.integers(1, 5, (40, 60)), {"y": raster.y, "x": raster.x}, ("y", "x"))
    parts = areas.areas(raster, regions=regions).sum("region")
    left, right = 500e3 - 50, 500e3 + 650
    bottom, top = 8.7e6 - 450, 8.7e6 + 50
    cut = shapely.LineString([(left, bottom + 77), (500e3 + 203.3, 8.7e6 - 211.7), (right, top - 33)])
    pieces = shapely.ops.split(shapely.box(left, bottom, right, top), cut)
    frame = gpd.GeoSeries(list(pieces.geoms), crs=32633)
    for supersample in (1, 4):
        tiles = areas.polygon_areas(raster, frame, supersample=supersample).sum("polygon")
        for name in areas.MEASURES:
            assert float(parts[name]) == pytest.approx(float(whole[name]))
            assert float(tiles[name]) == pytest.approx(float(whole[name]))


def test_polygon_areas_lazy_in_another_crs_with_overlap_and_empty():
    raster = raster_around(np.full((90, 80), 0.25, np.float32), years=None)
    small = shapely.Point(500e3 + 400, 8.7e6 - 450).buffer(200, 64)
    large = shapely.Point(500e3 + 450, 8.7e6 - 450).buffer(300, 64) - small.buffer(-100)
    outside = shapely.Point(600e3, 8.7e6).buffer(100)
    frame = gpd.GeoDataFrame(
        {"geometry": [small, large, outside, shapely.Polygon()]}, index=["a", "b", "far", "none"], crs=32633
    )
    eager = areas.polygon_areas(raster, frame)
    scale = float(cells.cell_areas(raster.y, raster.x, 32633).mean()) / 100
    truth = frame.area.to_numpy() * scale / 1e6 * [1, 1, 0, 1]
    np.testing.assert_allclose(eager.observed_area.values, truth, rtol=2e-3)
    np.testing.assert_allclose(eager.soft_area.values, truth / 4, rtol=2e-3)
    assert (eager.hard_area == 0).all()
    assert eager.polygon.values.tolist() == ["a", "b", "far", "none"]
    with raise_if_dask_computes():
        lazy = areas.polygon_areas(raster.chunk(y=31, x=23), frame.to_crs(4326))
    np.testing.assert_allclose(lazy.soft_area.values, eager.soft_area.values, rtol=1e-3)
    lazy = areas.polygon_areas(raster.chunk(y=31, x=23), frame)
    np.testing.assert_allclose(lazy.soft_area.values, eager.soft_area.values, rtol=1e-12)


@settings(max_examples=12, deadline=None)
@given(st.integers(4, 31), st.integers(4, 33), st.integers(0, 2**31))
def test_cell_area_does_not_depend_on_chunks(rows, columns, seed):
    rng = np.random.default_rng(seed)
    left, top = rng.integers(-200, 200, 2) * 10_000.0
    raster = raster_around(np.zeros((31, 33)), crs="EPSG:3413", left=left, top=top, size=1000.0)
    whole = cells.cell_area(raster)
    assert whole.attrs["units"] == "m2"
    pieces = cells.cell_area(raster.chunk(y=rows, x=columns))
    np.testing.assert_array_equal(pieces.values, whole.values)


def test_zero_polygons_and_zero_regions_give_empty_tables():
    raster = raster_around(np.zeros((5, 5), np.float32))
    for data in (raster, raster.chunk(y=2)):
        none = areas.polygon_areas(data, gpd.GeoSeries([], crs=4326)).compute()
        assert none.soft_area.shape == (0,)
    regions = xr.zeros_like(raster.probability, dtype=int)
    assert areas.areas(raster, regions=regions).soft_area.shape == (0,)


def test_what_the_network_is_sure_of_is_no_ice_after_calibration():
    """p <= 1e-8 counts 0: 1e-3, to which a calibration maps it, would be 2.5 km2 of sea in a region of 50 km."""
    raster = raster_around(np.array([[0.0, 1e-9, 0.5], [1.0, np.nan, 1e-6]]))
    raster["calibrated_probability"] = 0.001 + 0.99 * raster.probability
    table = areas.areas(raster)
    plain = areas.areas(raster.probability)
    expected = (0.496 + 0.991 + 0.00100099) / (0.5 + 1 + 1e-6) * plain.soft_area
    np.testing.assert_allclose(table.soft_area, expected, rtol=1e-5)
    np.testing.assert_array_equal(table.observed_area, plain.observed_area)


def test_calibrated_probability_is_preferred():
    raster = raster_around(np.full((5, 5), 0.25, np.float32))
    raster["calibrated_probability"] = 2 * raster.probability
    assert areas.areas(raster).attrs["variable"] == "calibrated_probability"
    half, plain, array = (
        float(found.soft_area.squeeze())
        for found in (areas.areas(raster), areas.areas(raster, variable="probability"), areas.areas(raster.probability))
    )
    assert half == pytest.approx(2 * plain)
    assert plain == array


def test_bad_input_has_a_clear_line():
    raster = raster_around(np.zeros((5, 5), np.float32))
    with pytest.raises(AnalysisError, match="has no CRS"):
        areas.areas(raster.drop_vars("spatial_ref"))
    with pytest.raises(AnalysisError, match="no variable 'probability'"):
        areas.areas(raster.rename(probability="p"))
    with pytest.raises(OptionError, match="threshold=1"):
        areas.areas(raster, threshold=1.5)
    with pytest.raises(AnalysisError, match="other cells"):
        areas.areas(raster, regions=raster.probability.astype(int).assign_coords(x=raster.x + 5))
    with pytest.raises(OptionError, match="pass labels="):
        areas.areas(raster, regions=raster.probability.astype(int).chunk())
    with pytest.raises(AnalysisError, match="1 cell"):
        areas.areas(raster.isel(y=[0]))
    with pytest.raises(AnalysisError, match="not evenly spaced"):
        areas.areas(raster.isel(y=[0, 1, 3]))
    with pytest.raises(AnalysisError, match="polygons have no CRS"):
        areas.polygon_areas(raster, gpd.GeoSeries([shapely.box(0, 0, 1, 1)]))
    with pytest.raises(AnalysisError, match="outside the area where its CRS"):
        cells.cell_areas([2e7, 2e7 + 10], [2e7, 2e7 + 10], 32633)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3413"])
def test_real_outlines_have_their_geodesic_area(shared, crs):
    outlines = gpd.read_file(shared / "real" / "svalbard" / "post_svalbard.gpkg").to_crs(crs)
    left, bottom, right, top = outlines.total_bounds
    size = 40.0
    rows, columns = int((top - bottom) / size) + 3, int((right - left) / size) + 3
    raster = raster_around(np.ones((rows, columns), np.float32), crs=crs, left=left - size, top=top + size, size=size)
    found = areas.polygon_areas(raster.chunk(y=400, x=400), outlines).hard_area.values
    truth = np.array([abs(GEOD.geometry_area_perimeter(g)[0]) for g in outlines.geometry.segmentize(200).to_crs(4326)])
    large = truth > 1e6
    assert large.sum() > 5
    np.testing.assert_allclose(found[large], truth[large] / 1e6, rtol=2e-3)
    assert found.sum() == pytest.approx(truth.sum() / 1e6, rel=2e-4)


@pytest.mark.parametrize(("factor", "shift"), [(100.0, 0.0), (1.0, -1.0), (np.inf, 0.0)])
def test_what_is_no_probability_is_refused_where_it_is_read(factor, shift):
    values = np.full((8, 8), 0.6)
    values[0] = np.nan
    plain = raster_around(values * factor + shift)
    square = gpd.GeoSeries([shapely.box(500e3, 8.69e6, 500050, 8.7e6)], crs="EPSG:32633")
    measures = [areas.areas, lambda result: areas.polygon_areas(result, square)]
    for measure in measures:
        with pytest.raises(AnalysisError, match=r"reach from .*: not probabilities \(0 to 1\); scale them first"):
            measure(plain)
        with raise_if_dask_computes():
            lazy = measure(plain.chunk({"y": 4, "x": 4}))
        with pytest.raises(AnalysisError, match="not probabilities"):
            lazy.compute()


def test_an_unknown_crs_has_a_clear_line():
    region = gpd.GeoSeries([shapely.box(15, 78, 16, 79)], crs=4326)
    for call in (
        lambda: cells.cell_areas([20, 10], [0, 10], "EPSG:99999"),
        lambda: cells.cell_areas([20, 10], [0, 10], 99999),
        lambda: projecting.project(region, "nowhere"),
        lambda: blocks.blocks(region, crs="nowhere"),
    ):
        with pytest.raises(OptionError, match=r"crs=.* is no CRS that pyproj knows: write it as EPSG"):
            call()
