from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from shapely import affinity

from icemapper_xr.analysis import rates, termini
from icemapper_xr.errors import AnalysisError, OptionError

X, Y = 500e3, 8.7e6


def tongue(length, azimuth, slant=0.0):
    """A tongue 2 km wide from (X, Y), its front slanted by `slant` metres to either side."""
    shape = shapely.Polygon([(-1000, -2000), (-1000, length - slant), (1000, length + slant), (1000, -2000)])
    return affinity.translate(affinity.rotate(shape, -azimuth, origin=(0, 0)), X, Y)


@pytest.mark.parametrize("azimuth", [0, 37, 180, 290])
def test_retreat_of_a_slanted_front(azimuth):
    years = np.array([2016, 2018, 2019, 2022])
    lengths = 4000 - 75.0 * (years - 2016)
    frame = gpd.GeoDataFrame({"year": years}, geometry=[tongue(v, azimuth, 120) for v in lengths], crs=32633)
    box = termini.terminus_box(X, Y, azimuth=azimuth, width=1200, length=6000)
    assert box.area == pytest.approx(1200 * 6000)
    table = termini.box_lengths(frame.iloc[::-1], box, width=1200)
    np.testing.assert_allclose(table.length_m, lengths / 0.9996, rtol=1e-5)  # scale of UTM on its central meridian
    assert not table.leaves_box.any()
    trend = rates.trend(table.index.to_numpy(), table.length_m.to_numpy())
    assert trend.rate == pytest.approx(-75 / 0.9996, rel=1e-4)
    assert trend.notes == ("no area for 2017, 2020, 2021: the line is fitted to the other years",)


def test_two_pieces_of_a_year_count_together_and_a_front_outside_is_flagged():
    box = termini.terminus_box(X, Y, azimuth=0, width=1000, length=3000)
    whole = tongue(2500, 0)
    left, right = (whole & shapely.box(a, 0, b, 1e7) for a, b in ((0, X + 100), (X + 100, 1e6)))
    frame = gpd.GeoDataFrame(
        {"year": [1, 1, 2, 3]}, geometry=[left, right, tongue(9000, 0), tongue(-500, 0)], crs=32633
    )
    table = termini.box_lengths(frame, box, width=1000)
    assert table.length_m[1] == pytest.approx(2500 / 0.9996, rel=1e-5)
    assert table.leaves_box.tolist() == [False, True, True]
    assert table.area_km2[3] == 0


@pytest.mark.parametrize("azimuth", np.random.default_rng(0).uniform(0, 360, 40))
def test_what_leaves_a_box_does_not_depend_on_its_direction(azimuth):
    box = termini.terminus_box(X, Y, azimuth=azimuth, width=1200, length=3000)
    covers = affinity.translate(
        affinity.rotate(shapely.box(-597, -500, 600, 2000), -azimuth, origin=(0, 0)), X, Y
    )  # 99.75 % of the upstream side
    lacks = affinity.translate(affinity.rotate(shapely.box(-580, -500, 600, 2000), -azimuth, origin=(0, 0)), X, Y)
    frame = gpd.GeoDataFrame(
        {"year": range(5)},
        geometry=[tongue(2900, azimuth), tongue(3000, azimuth, 5), tongue(4000, azimuth), covers, lacks],
        crs=32633,
    )
    found = termini.box_lengths(frame, box, width=1200)
    assert found.leaves_box.tolist() == [False, True, True, False, True]


def test_bad_boxes_have_a_clear_line():
    frame = gpd.GeoDataFrame({"year": [1]}, geometry=[tongue(1000, 0)], crs=32633)
    box = termini.terminus_box(X, Y, azimuth=0, width=100, length=100)
    with pytest.raises(OptionError, match="above 0"):
        termini.terminus_box(X, Y, azimuth=0, width=0, length=1)
    with pytest.raises(AnalysisError, match="projected CRS"):
        termini.box_lengths(frame.to_crs(4326), box, width=100)
    with pytest.raises(AnalysisError, match="no column 'date'"):
        termini.box_lengths(frame, box, width=100, column="date")
    with pytest.raises(AnalysisError, match="no outline meets"):
        termini.box_lengths(frame, termini.terminus_box(0, 0, azimuth=0, width=1, length=1), width=1)


@pytest.mark.parametrize("option", ["x", "y", "azimuth", "width", "length"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_box_of_no_numbers_is_refused(option, value):
    with pytest.raises(OptionError, match=f"{option}={value}"):
        termini.terminus_box(**{"x": X, "y": Y, "azimuth": 0.0, "width": 10.0, "length": 10.0, option: value})


def test_an_invalid_outline_is_mended():
    box = termini.terminus_box(X, Y, azimuth=0, width=1000, length=3000)
    corners = [*tongue(2500, 0).exterior.coords]
    spike = shapely.Polygon([*corners[:2], (X - 900, Y - 5000), (X - 800, Y - 100), *corners[2:]])
    assert not spike.is_valid
    frame = gpd.GeoDataFrame({"year": [1, 1]}, geometry=[spike, tongue(2500, 0)], crs=32633)
    assert termini.box_lengths(frame, box, width=1000).length_m[1] == pytest.approx(2500 / 0.9996, rel=1e-5)
