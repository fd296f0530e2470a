from __future__ import annotations

import math

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icemapper_xr.cube import grid
from icemapper_xr.errors import OptionError


def test_area_is_snapped_outward_and_the_margin_is_around_it() -> None:
    made = grid.area_grid(bounds=(500_001, 8_600_009, 500_995, 8_600_999), crs=32633, resolution=10, margin=3)
    assert made.area == (500_000, 8_600_000, 501_000, 8_601_000)
    assert made.grid.bounds == (499_970, 8_599_970, 501_030, 8_601_030)
    assert made.grid.shape == (106, 106)
    assert made.grid.epsg == 32633
    assert made.margin == 3


def test_edges_on_multiples_are_not_pushed_outward() -> None:
    bounds = (242_070.0000001, 3_832_110.0, 245_070.0, 3_835_109.9999999)
    assert grid.area_grid(bounds=bounds, crs=32611, resolution=30, margin=0).area == (
        242_070,
        3_832_110,
        245_070,
        3_835_110,
    )


def test_a_box_in_degrees_lies_inside_its_area_along_the_whole_edge() -> None:
    box = (15.0, 78.0, 16.5, 78.5)
    made = grid.area_grid(bbox=box, resolution=10, margin=0)
    assert made.grid.epsg == 32633
    lon = np.linspace(box[0], box[2], 5000)
    to_utm = pyproj.Transformer.from_crs(4326, 32633, always_xy=True)
    for lat in (box[1], box[3]):
        x, y = to_utm.transform(lon, np.full_like(lon, lat))
        assert made.area.left - 1 <= x.min()
        assert x.max() <= made.area.right + 1
        assert made.area.bottom - 1 <= y.min()
        assert y.max() <= made.area.top + 1


@pytest.mark.parametrize(
    ("lon", "lat", "zone"),
    [
        (15, 78, 33), (8.9, 78, 31), (9, 78, 33), (20.9, 78, 33), (21, 78, 35), (32.9, 79, 35), (33, 79, 37),
        (5, 60, 32), (2.9, 60, 31), (5, 65, 31), (-180, 0, 1), (179.9, 0, 60), (180, 10, 1), (-50, 70, 22),
        (41.9, 75, 37), (42.1, 75, 38), (5, 71.9, 31),
    ],
)  # fmt: skip
def test_zone_with_the_exceptions_for_norway_and_svalbard(lon: float, lat: float, zone: int) -> None:
    assert grid.utm_zone(lon, lat) == zone


def test_box_that_ends_on_a_zone_edge_is_in_one_zone() -> None:
    assert grid.area_grid(bbox=(12, 60, 18, 61)).grid.epsg == 32633
    assert grid.area_grid(bbox=(12, -61, 18, -60)).grid.epsg == 32733
    assert grid.area_grid(bbox=(9, 78, 21, 79)).grid.epsg == 32633


def test_two_zones_name_the_candidates() -> None:
    with pytest.raises(OptionError, match=r"zones 33 and 35.*EPSG:32633 or crs=EPSG:32635"):
        grid.area_grid(bbox=(20, 78, 22, 78.5))
    assert grid.area_grid(bbox=(20, 78, 22, 78.5), crs="EPSG:32633").grid.epsg == 32633


def test_beyond_utm_names_polar_projections() -> None:
    with pytest.raises(OptionError, match=r"85 N.*EPSG:3413"):
        grid.area_grid(bbox=(10, 83, 12, 85))
    with pytest.raises(OptionError, match=r"81 S.*EPSG:3031"):
        grid.area_grid(bbox=(10, -81, 12, -79))
    assert grid.area_grid(bbox=(10, 83, 12, 85), crs=3413).grid.epsg == 3413


def test_antimeridian_box_is_small() -> None:
    made = grid.area_grid(bbox=(179, 71, -179, 71.5), crs="EPSG:3413", margin=0)
    assert made.area.right - made.area.left < 150_000
    across = {
        "type": "MultiPolygon",
        "coordinates": [
            [[[179, 71], [180, 71], [180, 71.5], [179, 71.5], [179, 71]]],
            [[[-180, 71], [-179, 71], [-179, 71.5], [-180, 71.5], [-180, 71]]],
        ],
    }
    assert grid.area_grid(geometry=across, crs="EPSG:3413", margin=0).area == made.area
    with pytest.raises(OptionError, match="zones 1 and 60"):
        grid.area_grid(bbox=(179, 71, -179, 71.5))


def test_a_geometry_takes_its_own_extent() -> None:
    triangle = {"type": "Polygon", "coordinates": [[[15, 78], [16, 78], [15.5, 78.2], [15, 78]]]}
    made = grid.area_grid(geometry={"type": "Feature", "geometry": triangle, "properties": {}}, margin=0)
    box = grid.area_grid(bbox=(15, 78, 16, 78.2), margin=0)
    assert made.grid.epsg == 32633
    assert made.area.top <= box.area.top
    assert made.area.right - made.area.left == pytest.approx(box.area.right - box.area.left, rel=0.01)


def test_a_crs_without_a_code_keeps_its_wkt() -> None:
    crs = pyproj.CRS.from_proj4("+proj=laea +lat_0=78 +lon_0=16 +ellps=WGS84 +units=m")
    made = grid.area_grid(bounds=(0, 0, 1000, 1000), crs=crs, margin=0)
    assert made.grid.epsg is None
    assert pyproj.CRS.from_wkt(made.grid.wkt) == crs


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "exactly one"),
        ({"bbox": (15, 78, 16, 79), "bounds": (0, 0, 1, 1)}, "exactly one"),
        ({"bbox": (15, 79, 16, 78)}, "upside down"),
        ({"bbox": (16.5, 78, 15, 78.5)}, "west east of its east"),
        ({"bbox": (15, 78, 15, 79)}, "upside down or empty"),
        ({"bbox": (15, 78, 16)}, "four finite numbers"),
        ({"bbox": (15, 78, "east", 79)}, "four numbers"),
        ({"bbox": (15, 78, math.nan, 79)}, "four finite numbers"),
        ({"bbox": (15, 78, math.inf, 79)}, "four finite numbers"),
        ({"bbox": (500_000, 8_600_000, 510_000, 8_610_000)}, "out of range"),
        ({"bbox": (15, 78, 15.00001, 78.00001)}, "smaller than a pixel"),
        ({"bounds": (0, 0, 1000, 1000)}, r"needs crs \(--crs\) .* go into bbox \(--bbox\)"),
        ({"bounds": (1000, 0, 0, 1000), "crs": 32633}, "upside down"),
        ({"bounds": (0, 0, 5, 1000), "crs": 32633}, "smaller than a pixel"),
        ({"bounds": (0, 0, 1, 1), "crs": 4326}, "not a projection in metres"),
        ({"bounds": (0, 0, 1, 1), "crs": "EPSG:999999"}, "not one that pyproj knows"),
        ({"bbox": (15, 78, 16, 79), "crs": 2222}, "not a projection in metres"),
        ({"bbox": (15, 78, 16, 79), "resolution": 0}, "resolution 0"),
        ({"bbox": (15, 78, 16, 79), "resolution": math.nan}, "resolution nan"),
        ({"bbox": (15, 78, 16, 79), "resolution": "20"}, "resolution '20' is not a positive number"),
        ({"bbox": (15, 78, 16, 79), "margin": math.nan}, "margin nan is not a number of pixels"),
        ({"bbox": (15, 78, 16, 79), "margin": -1}, "margin -1"),
        ({"geometry": {"type": "Point", "coordinates": [15, 78]}}, "no area"),
        ({"geometry": {"kind": "Polygon"}}, "not a GeoJSON geometry"),
        ({"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [9e5, 0], [9e5, 9e5], [0, 0]]]}}, "not in lon"),
    ],
)  # fmt: skip
def test_bad_areas_have_one_clear_line(options: dict[str, object], text: str) -> None:
    with pytest.raises(OptionError, match=text) as caught:
        grid.area_grid(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@settings(max_examples=30, deadline=None)
@given(
    left=st.floats(-9e5, 9e5),
    bottom=st.floats(-9e6, 9e6),
    width=st.floats(100, 1e5),
    height=st.floats(100, 1e5),
    resolution=st.sampled_from([5.0, 10.0, 20.0, 30.0, 40.0]),
    margin=st.integers(0, 400),
)
def test_edges_lie_on_multiples_and_hold_the_bounds(
    left: float, bottom: float, width: float, height: float, resolution: float, margin: int
) -> None:
    bounds = (left, bottom, left + width, bottom + height)
    made = grid.area_grid(bounds=bounds, crs=32633, resolution=resolution, margin=margin)
    assert all(edge % resolution == 0 for edge in (*made.area, *made.grid.bounds))
    slack = 2e-6 * resolution
    assert made.area.left <= bounds[0] + slack
    assert made.area.bottom <= bounds[1] + slack
    assert made.area.right >= bounds[2] - slack
    assert made.area.top >= bounds[3] - slack
    rows, columns = made.grid.shape
    assert rows == round((made.area.top - made.area.bottom) / resolution) + 2 * margin
    assert columns == round((made.area.right - made.area.left) / resolution) + 2 * margin
