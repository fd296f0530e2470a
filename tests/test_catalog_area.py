from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st

from icemapper_xr._types import Bounds
from icemapper_xr.catalog import area, observe, raster
from icemapper_xr.errors import CatalogError
from tests.test_catalog_observe import item

longitudes = st.floats(-180, 180, allow_nan=False)
latitudes = st.floats(-90, 90, allow_nan=False)


@given(longitudes, longitudes, latitudes, latitudes)
def test_the_parts_of_a_box_cover_its_width(west: float, east: float, south: float, north: float) -> None:
    assume(south < north and west != east)
    assume(not (west == 180 and east == -180))
    parts = area.boxes((west, south, east, north))
    width = sum(part.right - part.left for part in parts)
    assert width == pytest.approx((east - west) % 360 or 360)
    assert all(-180 <= part.left < part.right <= 180 for part in parts)
    assert all((part.bottom, part.top) == (south, north) for part in parts)
    assert len(parts) == (1 if west < east else 2 if west < 180 and east > -180 else 1)


@pytest.mark.parametrize(
    ("bbox", "message"),
    [
        ((15, 78.5, 16, 78), "upside down"),
        ((15, 78, 16, 91), "latitude outside"),
        ((15, 78, 196, 79), "longitude outside"),
        ((15, 78, 16), "four numbers"),
        ((15, 78, 16, float("nan")), "four numbers"),
        (("a", 78, 16, 79), "four numbers"),
        (7, "four numbers"),
        ((15, 78, 15, 79), "no area"),
        ((15, 78, 16, 78), "no area"),
    ],
)
def test_bad_boxes(bbox: tuple[float, ...], message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        area.boxes(bbox)


def test_geometry_from_shapely_mapping_and_feature() -> None:
    square = shapely.box(15, 78, 16, 79)
    mapping = shapely.geometry.mapping(square)
    for geometry in (square, mapping, {"type": "Feature", "geometry": mapping, "properties": {}}):
        assert area.clean_geometry(geometry).equals(square)


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        (shapely.Polygon(), "empty"),
        (shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), "not valid"),
        (shapely.box(500000, 8700000, 510000, 8710000), "EPSG:4326"),
        ({"type": "Nonsense"}, "GeoJSON"),
        ("POLYGON", "not str"),
    ],
)
def test_bad_geometries(geometry: object, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        area.clean_geometry(geometry)


def test_bbox_and_geometry_exclude_each_other() -> None:
    with pytest.raises(CatalogError, match="one of them"):
        area.region((0, 0, 1, 1), shapely.box(0, 0, 1, 1))


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("2023", "2023-01-01T00:00:00Z/2023-12-31T23:59:59Z"),
        (2023, "2023-01-01T00:00:00Z/2023-12-31T23:59:59Z"),
        ("2024-02", "2024-02-01T00:00:00Z/2024-02-29T23:59:59Z"),
        ("2023-06-05", "2023-06-05T00:00:00Z/2023-06-05T23:59:59Z"),
        ("20230605", "2023-06-05T00:00:00Z/2023-06-05T23:59:59Z"),
        ("20230605/20230701", "2023-06-05T00:00:00Z/2023-07-01T23:59:59Z"),
        ("2023-06-05/2023-07-01", "2023-06-05T00:00:00Z/2023-07-01T23:59:59Z"),
        (("2023", "2024"), "2023-01-01T00:00:00Z/2024-12-31T23:59:59Z"),
        ((dt.date(2023, 6, 5), None), "2023-06-05T00:00:00Z/.."),
        ("../2023-06-05", "../2023-06-05T23:59:59Z"),
        ("2023-06-05T12:00:00+02:00/..", "2023-06-05T10:00:00Z/.."),
        (dt.datetime(2023, 6, 5, 12), "2023-06-05T12:00:00Z/2023-06-05T12:00:00Z"),
        (None, "../.."),
    ],
)
def test_periods(given_: object, expected: str) -> None:
    assert str(area.period(given_)) == expected


@pytest.mark.parametrize("given_", ["", " ", "summer", "2023-13", "2023-02-30", "2023/2024/2025", "2024/2023", ()])
def test_bad_periods(given_: object) -> None:
    with pytest.raises(CatalogError, match="datetime"):
        area.period(given_)


def test_footprint_of_a_utm_box_encloses_its_corners() -> None:
    import pyproj

    bounds = Bounds(500000, 8690000, 610000, 8800000)
    place = raster.footprint("EPSG:32633", bounds)
    polygon = shapely.geometry.shape(place.geometry)
    to_degrees = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    for x, y in ((500100, 8690100), (609900, 8690100), (609900, 8799900), (555000, 8745000)):
        assert polygon.contains(shapely.Point(to_degrees.transform(x, y)))
    assert polygon.bounds == pytest.approx(place.bbox)
    assert polygon.exterior.is_ccw


def test_footprint_across_the_antimeridian() -> None:
    place = raster.footprint("EPSG:32601", Bounds(280000, 7700000, 420000, 7800000))
    assert place.bbox.left > place.bbox.right
    shape = shapely.geometry.shape(place.geometry)
    assert shape.geom_type == "MultiPolygon"
    assert len(shape.geoms) == 2
    assert shape.bounds[0] == -180
    assert shape.bounds[2] == 180
    assert shape.is_valid


@pytest.mark.parametrize(
    ("ring", "bbox"),
    [
        ([[179, 70], [-179, 70], [-179, 71], [179, 71], [179, 70]], [179, 70, -179, 71]),  # jumps
        ([[179, 70], [181, 70], [181, 71], [179, 71], [179, 70]], [179, 70, -179, 71]),  # runs on
        ([[179, 70], [181, 70], [181, 71], [179, 71], [179, 70]], None),
        ([[-181, 70], [-179, 70], [-179, 71], [-181, 71], [-181, 70]], None),
    ],
)
def test_an_item_that_is_not_cut_at_the_antimeridian(ring: list[list[float]], bbox: list[float] | None) -> None:
    shape = area.item_shape(item(geometry={"type": "Polygon", "coordinates": [ring]}, bbox=bbox))
    assert shape is not None
    assert shape.area == pytest.approx(2)
    assert shape.intersects(shapely.box(179.5, 70.2, 180, 70.5))
    assert shape.intersects(shapely.box(-180, 70.2, -179.5, 70.5))
    assert not shape.intersects(shapely.box(10, 70.2, 11, 70.5))


def test_an_item_that_is_cut_at_the_antimeridian_stays_as_it_is() -> None:
    place = raster.footprint("EPSG:32601", Bounds(280000, 7700000, 420000, 7800000))
    shape = area.item_shape(item(geometry=place.geometry, bbox=list(place.bbox)))
    assert shape is not None
    assert shape.symmetric_difference(shapely.geometry.shape(place.geometry)).area < 1e-9


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"bbox": [15, 78, 16]}, "bbox"),
        ({"bbox": [15, 78, 15, 78]}, "bbox"),
        ({"bbox": [185, 78, 190, 79]}, "bbox"),
        ({"geometry": {"type": "Polygon", "coordinates": [[15, 78]]}}, "geometry or bbox"),
        ({"geometry": {"type": "Polygon", "coordinates": [[[15, 78]]]}}, "geometry or bbox"),
        ({"geometry": {"type": "Foo", "coordinates": []}}, "geometry or bbox"),
    ],
)
def test_a_damaged_place_of_an_item_is_named(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(
        CatalogError, match=rf"^item A1 of x\.json has a {what} that cannot be read .*take the item out"
    ):
        area.item_shape(item(id="A1", **changes), source="x.json")
    if "geometry" in changes:
        with pytest.raises(CatalogError, match=r"item A1 of x\.json has a field that cannot be read"):
            observe.observations(item(id="A1", **changes), source="x.json")


def test_footprint_over_the_pole() -> None:
    place = raster.footprint("EPSG:3413", Bounds(-1e6, -1e6, 1e6, 1e6))
    assert place.bbox.left == -180
    assert place.bbox.right == 180
    assert place.bbox.top == 90
    assert 75 < place.bbox.bottom < 82
