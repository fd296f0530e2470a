"""Polygons of projected CRSs in longitude and latitude: straight edges, the antimeridian, poles."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pyproj
import pytest
import shapely
import shapely.geometry

from icemapper_xr import lonlat, vectorise
from icemapper_xr.cube import extent
from icemapper_xr.errors import OptionError


def series(shape: shapely.Geometry, crs: int) -> gpd.GeoSeries:
    return gpd.GeoSeries([shape], crs=crs)


def area_km2(shape: shapely.Geometry) -> float:
    return float(vectorise.areas_km2(gpd.GeoDataFrame(geometry=[shape], crs=4326)).sum())


@pytest.mark.parametrize(("crs", "side"), [(32633, 100e3), (3413, 200e3)])
def test_edges_stay_where_they_were_drawn(crs: int, side: float) -> None:
    """With its corners moved alone, the larger square would lie up to 4 km off."""
    left, bottom = (500e3, 8600e3) if crs == 32633 else (900e3, -900e3)
    square = shapely.box(left, bottom, left + side, bottom + side)
    back = series(lonlat.projected(series(square, crs)), 4326).to_crs(crs).iloc[0]
    assert back.symmetric_difference(square).area < 1e-5 * square.area
    assert shapely.hausdorff_distance(back, square) < 10


def test_a_shape_across_the_antimeridian_is_cut_there_and_not_turned_inside_out(tmp_path: Path) -> None:
    x, y = pyproj.Transformer.from_crs(4326, 3413, always_xy=True).transform(180, 71.2)
    hole = shapely.box(x - 10e3, y - 10e3, x + 10e3, y + 10e3)
    ring = shapely.box(x - 70e3, y - 70e3, x + 70e3, y + 70e3).difference(hole)
    gpd.GeoDataFrame(geometry=[ring], crs=3413).to_file(tmp_path / "wrangel.gpkg")
    found = shapely.geometry.shape(extent.read_area(tmp_path / "wrangel.gpkg"))
    assert len(found.geoms) == 2
    west, _, east, _ = found.bounds
    assert (west, east) == (-180, 180)
    assert all(found.contains(shapely.Point(lon, 71.2)) for lon in (179, -179))
    assert not any(found.contains(shapely.Point(lon, 71.2)) for lon in (179.9, -179.9, 0, 90))
    on_the_ground = series(ring, 3413).segmentize(1000).to_crs(6931).area.iloc[0]  # an equal-area plane
    assert area_km2(found) == pytest.approx(on_the_ground / 1e6, rel=1e-4)


@pytest.mark.parametrize("crs", [3413, 3031])
def test_a_shape_around_a_pole_encloses_it(crs: int) -> None:
    sign = 1 if crs == 3413 else -1
    ring = shapely.Point(3e3, 2e3).buffer(300e3).difference(shapely.Point(0, 0).buffer(100e3))
    found = lonlat.projected(series(ring, crs))
    assert found.is_valid
    assert found.bounds[::2] == (-180, 180)
    for lon in (-179, -60, 45, 170):
        assert found.contains(shapely.Point(lon, sign * 88))
        assert not found.contains(shapely.Point(lon, sign * 89.9))
        assert not found.contains(shapely.Point(lon, sign * 85))


def test_parts_of_collections_count_and_lines_do_not(tmp_path: Path) -> None:
    mixed = shapely.GeometryCollection([shapely.box(15, 78, 16, 79), shapely.LineString([(0, 0), (1, 1)])])
    for name in ("area.geojson", "area.geoparquet"):
        frame = gpd.GeoDataFrame(geometry=[mixed], crs=4326)
        frame.to_file(tmp_path / name) if name.endswith("json") else frame.to_parquet(tmp_path / name)
        assert shapely.geometry.shape(extent.read_area(tmp_path / name)).bounds == (15, 78, 16, 79)
    gpd.GeoDataFrame(geometry=[shapely.Point(15, 78)], crs=4326).to_file(tmp_path / "point.geojson")
    with pytest.raises(OptionError, match=r"point\.geojson has no polygon"):
        extent.read_area(tmp_path / "point.geojson")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(OptionError, match=r"table\.csv is a table without shapes"):
        extent.read_area(tmp_path / "table.csv")
