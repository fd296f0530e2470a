from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
import shapely.geometry
import xarray as xr

from icemapper_xr import catalog, cube
from icemapper_xr._types import Shape
from icemapper_xr.errors import CubeError
from tests.cube_data import AREA, describe, utc
from tests.support import raise_if_dask_computes
from tests.test_cube_build import pairs, scene


def test_passes_are_listed_from_metadata_alone() -> None:
    area = cube.area_grid(bounds=AREA, crs=32633, margin=0)
    half = (10.0, 0.0, 500_200.0, 0.0, -10.0, 8_700_000.0)
    observations = [
        describe(utc(2023, 1, 25, 6), platform="S1A"),
        describe(utc(2023, 1, 13, 6), relative_orbit=174, polarisation="HH", transform=half),
        describe(utc(2023, 1, 13, 7), relative_orbit=None, mode="EW", platform=None),
    ]
    table = cube.coverage(observations, area=area)
    assert list(table["share"]) == [0.5, 1.0, 1.0]
    assert [str(day)[:10] for day in table["date"]] == ["2023-01-13", "2023-01-13", "2023-01-25"]
    assert list(table["polarisation"]) == ["HH", "VV", "VV"]
    assert list(table["relative_orbit"].fillna(-1)) == [174, -1, 14]
    assert list(table["mode"]) == ["IW", "EW", "IW"]
    assert len(cube.coverage([], area=area)) == 0


def test_a_longitude_latitude_footprint_counts_too() -> None:
    area = cube.area_grid(bbox=(15, 78, 15.5, 78.2), margin=0)
    fields = {"epsg": None, "transform": None, "shape": None}
    whole = describe(utc(2023, 1, 1), bbox=(14, 77, 17, 79), **fields)
    west = describe(utc(2023, 1, 2), bbox=(14, 77, 15.25, 79), **fields)
    unknown = describe(utc(2023, 1, 3), **fields)
    table = cube.coverage([whole, west, unknown], area=area)
    assert table["share"].tolist() == [1.0, pytest.approx(0.5, abs=0.05), 1.0]


def test_footprints_across_the_antimeridian() -> None:
    area = cube.area_grid(bbox=(179.8, 71, -179.8, 71.2), crs=3413, margin=0)
    fields = {"epsg": None, "transform": None, "shape": None}
    across = describe(utc(2023, 1, 1), bbox=(178, 70, -178, 72), **fields)
    west = describe(utc(2023, 1, 2), bbox=(178, 70, 180, 72), **fields)
    assert cube.coverage([across, west], area=area)["share"].tolist() == [1.0, pytest.approx(0.5, abs=0.1)]


def test_what_a_cube_took(tmp_path: Path) -> None:
    area = cube.area_grid(bounds=AREA, crs=32633, margin=4)
    observations = scene(tmp_path)[1:] + pairs(tmp_path)
    ds = cube.build(observations, area=area, features=("rtc", "insar"), year=2023)
    with raise_if_dask_computes():
        table = cube.coverage_of(ds)
    assert len(table) == 30
    rtc = table[table["feature"] == "rtc"]
    assert rtc["share"].tolist() == [0.0] + [1.0] * 14
    assert rtc["relative_orbit"].tolist() == [-1] + [14] * 14
    assert np.isnat(rtc["date"].values[0])
    assert rtc["date"].iloc[1].date() == dt.date(2023, 2, 6)
    exact = cube.coverage_of(ds, exact=True)
    assert exact[exact["feature"] == "rtc"]["valid"].tolist() == [0.0] + [1.0] * 14
    with pytest.raises(CubeError, match="pass a cube"):
        cube.coverage_of(xr.Dataset())
    with pytest.raises(CubeError, match=r"dims \('y', 'x'\); it lacks time: a cube has \(time, y, x\)"):
        cube.coverage_of(ds.isel(time=0))


def test_valid_pixels_are_those_of_the_area_in_any_order_and_of_a_whole_cube_only(tmp_path: Path) -> None:
    """Sorted upward a cube had none, and of a crop the share of the crop was told."""
    area = cube.area_grid(bounds=(AREA.left + 100, AREA.bottom, AREA.right + 100, AREA.top), crs=32633, margin=4)
    ds = cube.build(scene(tmp_path), area=area, year=2023)  # 30 of 40 columns are observed

    def valid(dataset: xr.Dataset) -> set[float]:
        return set(cube.coverage_of(dataset, exact=True)["valid"])

    assert valid(ds) == valid(ds.sortby("y")) == valid(ds.sortby("x", ascending=False)) == {0.75}
    assert valid(ds.isel(x=slice(4, -4), y=slice(4, -4))) == {0.75}  # without its margin
    for cut in (ds.isel(x=slice(0, 30)), ds.sortby("y").isel(y=slice(6, None)), ds.isel(x=slice(0, 2))):
        with pytest.raises(CubeError, match=r"cut after it was opened.*remove ds.attrs\['icemapper_area'\]"):
            valid(cut)
    crop = ds.isel(x=slice(4, 34)).drop_attrs(deep=False)
    assert valid(crop.isel(y=slice(4, -4))) == {1.0}


def test_only_what_the_catalogues_geometry_holds_counts_as_covered() -> None:
    area = cube.area_grid(bbox=(15, 78, 15.5, 78.2), margin=0)
    rectangle = {"transform": (10.0, 0.0, 480_000.0, 0.0, -10.0, 8_720_000.0), "shape": Shape(8000, 8000)}
    outlines = {
        "west": "POLYGON ((14 77, 15.25 77, 15.25 79, 14 79, 14 77))",
        "none": "POLYGON ((14 77, 14.9 77, 14.9 79, 14 79, 14 77))",
        "more": "POLYGON ((10 70, 20 70, 20 80, 10 80, 10 70))",
    }
    west, none, more, bare = (
        describe(utc(2023, 1, 1 + k), footprint=outlines.get(name), **rectangle)
        for k, name in enumerate(("west", "none", "more", "bare"))
    )
    table = cube.coverage([west, none, more, bare], area=area)
    assert table["date"].dt.day.tolist() == [1, 3, 4]
    whole = cube.coverage([bare], area=area)["share"][0]
    assert table["share"].tolist() == [pytest.approx(whole / 2, abs=0.05), whole, whole]


@pytest.mark.parametrize("crs", [3413, 32601])
def test_geometries_across_the_antimeridian(crs: int) -> None:
    area = cube.area_grid(bbox=(179.8, 71, -179.8, 71.2), crs=crs, margin=0)
    fields = {"epsg": None, "transform": None, "shape": None}
    parts = "((178 70, 180 70, 180 72, 178 72, 178 70)), ((-180 70, -178 70, -178 72, -180 72, -180 70))"
    uncut = "POLYGON ((178 70, -178 70, -178 72, 178 72, 178 70))"
    half = "POLYGON ((178 70, 180 70, 180 72, 178 72, 178 70))"
    cap = "POLYGON ((-180 60, 180 60, 180 90, -180 90, -180 60))"
    observations = [
        describe(utc(2023, 1, 1 + k), footprint=footprint, **fields)
        for k, footprint in enumerate((f"MULTIPOLYGON ({parts})", uncut, half, cap))
    ]
    shares = cube.coverage(observations, area=area)["share"].tolist()
    assert shares == [pytest.approx(1), pytest.approx(1), pytest.approx(0.5, abs=0.1), 1]


def test_real_items_cover_what_their_geometry_says(shared: Path) -> None:
    """The tiles of the Indigo set are squares of which a swath fills 0.02 to 1."""
    found = catalog.search(shared / "real/stac/rainier_rtc_aws.json", datetime="2017-01", polarisation="VV")
    tile = cube.area_grid(bounds=(499_980, 5_090_220, 609_780, 5_200_020), crs=32610, resolution=20, margin=0)
    table = cube.coverage(found.observations, area=tile)
    to_utm = pyproj.Transformer.from_crs(4326, 32610, always_xy=True)
    for item in found.items[:12]:
        shape = shapely.transform(
            shapely.segmentize(shapely.geometry.shape(item.geometry), 0.05), to_utm.transform, interleaved=False
        )
        expected = shape.intersection(shapely.box(*tile.area)).area / shapely.box(*tile.area).area
        day = np.datetime64(item.datetime.replace(tzinfo=None), "D")
        row = table[(table.date.values.astype("M8[D]") == day) & (table.platform == item.id[:3])]
        assert row["share"].item() == pytest.approx(expected, abs=1e-3)
    assert table["share"].min() < 0.1
