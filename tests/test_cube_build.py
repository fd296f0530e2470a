from __future__ import annotations

import dataclasses
import datetime as dt
import json
import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr

import icemapper_xr as ix
from icemapper_xr import catalog, conventions, cube
from icemapper_xr._types import Bounds, Observation
from icemapper_xr.cube import extent, passes, read, select
from icemapper_xr.cube.build import _warn_of_season
from icemapper_xr.errors import CubeError, OptionError, UnitsError
from tests.cube_data import AREA, describe, observe, opera, utc, write
from tests.support import raise_if_dask_computes

ENGINES = ("stackstac", "odc")


def scene(folder: Path, *, steps: int = 15, shape: tuple[int, int] = (40, 40), **fields: Any) -> list[Observation]:
    """Write a series of power rasters, one every 24 days at the steps' centres of 2023."""
    random = np.random.default_rng(5)
    found = []
    for k in range(steps):
        moment = utc(2023, 1, 13, 6) + dt.timedelta(days=24 * k)
        path = write(folder / f"rtc_{moment:%Y%m%d}.tif", random.gamma(4, 0.03, shape))
        found.append(observe(path, moment, **fields))
    return found


def pairs(folder: Path) -> list[Observation]:
    random = np.random.default_rng(6)
    found = []
    for k in range(15):
        first = utc(2023, 1, 7, 6) + dt.timedelta(days=24 * k)
        second = first + dt.timedelta(days=12)
        path = write(folder / f"coh_{first:%Y%m%d}.tif", random.uniform(0, 1, (40, 40)))
        middle = first + dt.timedelta(days=6)
        fields = {"feature": "insar", "quantity": "coherence", "scale": "1", "reference": first, "secondary": second}
        found.append(observe(path, middle, **fields))
    return found


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):  # the rasters are tiny: threads would only wait for each other
        yield


@pytest.fixture(scope="module")
def area() -> cube.AreaGrid:
    return cube.area_grid(bounds=AREA, crs=32633, margin=6)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cube_is_lazy_and_follows_the_conventions(tmp_path: Path, area: cube.AreaGrid, engine: str) -> None:
    observations = scene(tmp_path) + pairs(tmp_path)
    with raise_if_dask_computes():
        ds = cube.build(
            observations, area=area, features=("insar", "rtc"), year=2023, engine=engine, chunk=32, source="here"
        )
    assert list(ds.data_vars) == ["rtc", "insar"]
    assert dict(ds.sizes) == {"time": 15, "y": 52, "x": 52}
    for name, units in (("rtc", "dB"), ("insar", "1")):
        assert ds[name].dims == ("time", "y", "x")
        assert ds[name].dtype == np.float32
        assert ds[name].attrs["units"] == units
        assert ds[name].chunks is not None
        assert ds[name].chunks[0] == (15,)
        np.testing.assert_array_equal(
            ds[conventions.ITEMS.format(feature=name)][0],
            next(one.item_id for one in observations if one.feature == name),
        )
    assert ds.time.dtype == "datetime64[ns]"
    assert str(ds.time.values[0])[:10] == "2023-01-13"
    np.testing.assert_allclose(ds.rtc_offset_days, 0.25)
    np.testing.assert_array_equal(ds.insar_baseline_days, 12)
    assert str(ds.insar_reference_time.values[0])[:10] == "2023-01-07"
    assert ds.rio.crs.to_epsg() == 32633
    assert ds.attrs[conventions.ATTR_AREA] == list(AREA)
    assert ds.attrs[conventions.ATTR_MARGIN] == 6
    assert ds.attrs[conventions.ATTR_ORBIT] == 14
    assert ds.attrs[conventions.ATTR_POLARISATION] == "VV"
    assert ds.attrs[conventions.ATTR_CATALOG] == "here"
    assert json.loads(ds.attrs[conventions.ATTR_STEPS_MISSING]) == {"rtc": [], "insar": []}
    assert json.loads(json.dumps(ds.attrs)) == ds.attrs
    with rasterio.open(observations[3].href) as dataset:
        expected = 10 * np.log10(dataset.read(1))
    ds = ds.compute()
    np.testing.assert_allclose(ds.rtc[3, 6:-6, 6:-6], expected, rtol=1e-6)
    assert np.isnan(ds.rtc[:, :6]).all()
    with rasterio.open(observations[17].href) as dataset:
        np.testing.assert_array_equal(ds.insar[2, 6:-6, 6:-6], dataset.read(1))


def test_both_engines_give_the_same_cube(tmp_path: Path, area: cube.AreaGrid) -> None:
    observations = scene(tmp_path)
    one, other = (cube.build(observations, area=area, year=2023, engine=engine, chunk=32) for engine in ENGINES)
    xr.testing.assert_identical(one.compute(), other.compute())
    assert one.chunks == other.chunks


def test_dark_values_get_the_floor_and_gaps_stay_gaps(tmp_path: Path, area: cube.AreaGrid) -> None:
    observations = scene(tmp_path)
    with rasterio.open(observations[0].href, "r+") as dataset:
        values = dataset.read(1)
        values[5, 5], values[6, 6], values[7, 7], values[8, 8] = 0, -0.01, np.nan, 1e-6
        dataset.write(values, 1)
    layer = cube.build(observations, area=area, year=2023).rtc[0, 6:-6, 6:-6].values
    assert layer[5, 5] == layer[6, 6] == conventions.NOISE_FLOOR_DB
    assert np.isnan(layer[7, 7])
    assert layer[8, 8] == pytest.approx(-60)


def test_missing_steps_are_gaps_and_recorded(tmp_path: Path, area: cube.AreaGrid) -> None:
    observations = scene(tmp_path)
    del observations[4], observations[0]
    ds = cube.build(observations, area=area, year=2023)
    assert json.loads(ds.attrs[conventions.ATTR_STEPS_MISSING]) == {"rtc": [0, 4]}
    assert ds.attrs["steps_valid"] == 13
    ds = ds.compute()
    assert np.isnan(ds.rtc[[0, 4]]).all()
    assert list(ds.rtc_items[[0, 4]].values) == ["", ""]
    assert np.isnat(ds.rtc_time[[0, 4]].values).all()
    assert list(ds.rtc_relative_orbit[[0, 4]].values) == [-1, -1]
    assert np.isfinite(ds.rtc[1, 6:-6, 6:-6]).all()


def test_a_cube_survives_a_pickle_and_zarr(tmp_path: Path, area: cube.AreaGrid) -> None:
    ds = cube.build(scene(tmp_path), area=area, year=2023, chunk=32)
    again = pickle.loads(pickle.dumps(ds))
    values = ds.compute()
    xr.testing.assert_identical(again.compute(), values)
    whole = ds.assign({"rtc": ds.rtc.drop_encoding().chunk({"time": -1, "y": -1, "x": -1})})
    whole.to_zarr(tmp_path / "cube.zarr", zarr_format=3, consolidated=False)
    back = xr.open_zarr(tmp_path / "cube.zarr", consolidated=False, decode_coords="all")
    assert back.attrs == ds.attrs
    assert back.rio.crs == ds.rio.crs
    np.testing.assert_array_equal(back.rtc, values.rtc)


def test_another_pixel_size_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    observations = scene(tmp_path)
    area = cube.area_grid(bounds=AREA, crs=32633, resolution=20, margin=0)
    with pytest.raises(CubeError, match=r"pixels of 10 m, the cube has 20 m; name a resampling \(--resampling\)"):
        cube.build(observations, area=area, year=2023)
    with pytest.raises(OptionError, match="resampling 'cubic' is unknown"):
        cube.build(observations, area=area, year=2023, resampling="cubic")  # type: ignore[arg-type]
    ds = cube.build(observations, area=area, year=2023, resampling="average")
    with rasterio.open(observations[0].href) as dataset:
        expected = 10 * np.log10(dataset.read(1).reshape(20, 2, 20, 2).mean(axis=(1, 3)))
    np.testing.assert_allclose(ds.rtc[0], expected, atol=1e-4)


def test_rasters_in_degrees_are_refused_unless_it_is_said_how_to_resample_them(tmp_path: Path) -> None:
    """Pixels of 0.005 degrees (556 x 115 m here) became a cube of 10 m, every pixel of it finite."""
    options = {"left": 14.9, "top": 78.5, "size": 0.005, "epsg": 4326}
    power = np.random.default_rng(3).gamma(4, 0.03, (60, 80))
    observations = [
        observe(write(tmp_path / f"{k}.tif", power, **options), utc(2023, 1, 13, 6) + dt.timedelta(days=24 * k))
        for k in range(15)
    ]
    area = cube.area_grid(bbox=(15.0, 78.3, 15.05, 78.31), margin=0)
    words = r"\d+\.tif \(item \d+\) has pixels of 0\.005 degrees, the cube has 10 m; name a resampling"
    with pytest.raises(CubeError, match=words):
        cube.build(observations, area=area, year=2023)
    unknown = [dataclasses.replace(one, epsg=None, transform=None, shape=None) for one in observations]
    for engine in ("stackstac", "odc"):
        ds = cube.build(unknown, area=area, year=2023, engine=engine)  # the catalogue does not say: the file does
        with pytest.raises(CubeError, match=words):
            ds.compute()
    assert np.isfinite(cube.build(observations, area=area, year=2023, resampling="bilinear").rtc[0]).all()


def test_frames_far_away_are_no_part_of_a_cube_that_a_search_without_a_place_brings(tmp_path: Path) -> None:
    """A map begun from the folder could not be resumed from a search: it named the files of the next burst, too."""
    power = np.random.default_rng(3).gamma(4, 0.03, (40, 40))
    for k in range(15):
        moment = utc(2023, 1, 13, 6) + dt.timedelta(days=24 * k)
        for frame in range(2):
            time = moment + dt.timedelta(seconds=3 * frame)
            name = f"rtc_S1A_IW_VV_ro014_{time:%Y%m%dT%H%M%S}_gamma0_power.tif"
            write(tmp_path / name, power, top=8_720_000.0 - 20_000 * frame)
    catalog.build(tmp_path)
    options: dict[str, Any] = {"bounds": AREA, "crs": 32633, "year": 2023, "margin": 16}
    expected = ix.open_cube(catalog=tmp_path, **options)
    found = ix.open_cube(catalog=ix.search(tmp_path), **options)
    assert len(found.attrs["item_ids"]) == 15
    xr.testing.assert_identical(found.drop_attrs(deep=False), expected.drop_attrs(deep=False))
    assert {**found.attrs, "icemapper_catalog": ""} == {**expected.attrs, "icemapper_catalog": ""}


def test_a_frame_that_a_search_of_the_place_brings_stays_though_it_is_not_read(tmp_path: Path) -> None:
    """The box in degrees of a grid that is askew in it is larger than the grid: maps of before have these frames."""
    area = cube.area_grid(bounds=(700_000, 8_600_000, 760_000, 8_660_000), crs=32633, margin=0)
    box = extent.lonlat_box(area)
    beside = {"transform": (10.0, 0.0, 690_000.0, 0.0, -10.0, 8_600_000.0)}
    frames = [describe(utc(2023, 1, 13), transform=(10.0, 0.0, 700_000.0, 0.0, -10.0, 8_660_000.0), item_id="in")]
    corner = Bounds(box.left, box.bottom, box.left + 0.01, box.bottom + 0.01)
    frames += [describe(utc(2023, 1, 13, 0, 0, 2), **beside, bbox=corner, item_id="corner")]
    beyond = Bounds(box.left - 3, box.bottom - 1, box.left - 2.5, box.bottom - 0.5)
    frames += [describe(utc(2023, 1, 13, 0, 0, 4), **beside, bbox=beyond, item_id="beyond")]
    (one,) = passes.passes(frames, area)
    assert [frame.item_id for frame in one.frames] == ["in", "corner"]


def test_metres_that_a_projection_stretches_are_refused_unless_it_is_said_how_to_resample_them(tmp_path: Path) -> None:
    """Pixels of 10 m in EPSG:3857 are 2 m on the ground at 78 N: one in 23 was taken, and all speckle stayed."""
    power = np.random.default_rng(3).gamma(4, 0.03, (200, 200))
    options = {"left": 1_728_000.0, "top": 14_390_000.0, "size": 10.0, "epsg": 3857}
    raster = write(tmp_path / "0.tif", power, **options)
    observations = [observe(raster, utc(2023, 1, 13, 6) + dt.timedelta(days=24 * k)) for k in range(15)]
    to = pyproj.Transformer.from_crs(3857, 32633, always_xy=True)
    x, y = to.transform(1_729_000, 14_389_000)
    area = cube.area_grid(bounds=(x - 100, y - 100, x + 100, y + 100), crs=32633, margin=0)
    words = r"item 0\) has pixels of 10 m in its own projection, which are 2\.\d\d x 2\.\d\d m in the plane of the cube"
    with pytest.raises(CubeError, match=r"item 0 has pixels of 10 m in EPSG:3857, which are 2\.\d\d x 2\.\d\d m"):
        cube.build(observations, area=area, year=2023)
    unknown = [dataclasses.replace(one, epsg=None, transform=None, shape=None) for one in observations]
    with pytest.raises(CubeError, match=words):
        cube.build(unknown, area=area, year=2023).compute()
    averaged = 10 ** (cube.build(observations, area=area, year=2023, resampling="average").rtc[0].values / 10)
    assert averaged.std() < 0.4 * power.std()


@pytest.mark.parametrize(
    ("epsg", "start", "told"),
    [
        (32633, "2023-01-01", None),
        (32633, "2022-12-20", None),
        (32633, "2023-01-14", "begins on 01-14, 13 days from the middle of winter; .* begin it on 01-01"),
        (32633, "2022-07-01", "begins on 07-01, 18[01] days from the middle of winter"),
        (32733, "2022-07-01", None),
        (
            32733,
            "2023-01-01",
            "18[01] days from the middle of winter, which is 07-01 here; .* begin it on 07-01",
        ),
    ],
)
def test_a_series_that_begins_in_another_season_is_told(epsg: int, start: str, told: str | None) -> None:
    """Networks go by the order of the seasons: from July on, half of Svalbard's ice is not found."""
    here = cube.area_grid(bounds=(500_000, 4_000_000, 500_400, 4_000_400), crs=epsg, resolution=10)
    axis = select.steps(start=start)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _warn_of_season(axis, south=extent.is_south(here))
    assert len(caught) == (told is not None)
    if told is not None:
        assert re.search(told, str(caught[0].message))


def test_bad_input_is_refused(tmp_path: Path, area: cube.AreaGrid) -> None:
    observations = scene(tmp_path)
    with pytest.raises(OptionError, match="engine 'other' is unknown"):
        cube.build(observations, area=area, year=2023, engine="other")
    with pytest.raises(CubeError, match="no observations of feature 'rtc'; the catalogue has nothing"):
        cube.build([], area=area, year=2023)
    with pytest.raises(CubeError, match="0 of 15 steps are valid"):
        cube.build(observations, area=area, year=2021)
    mixed = [dataclasses.replace(one, quantity="sigma0") if k > 7 else one for k, one in enumerate(observations)]
    with pytest.raises(UnitsError, match="quantity sigma0"):
        cube.build(mixed, area=area, year=2023)


def test_decibel_of_everything() -> None:
    values = np.array([[np.nan, 0.0, -1.0, 1.0, 10.0, np.inf]], np.float32)
    found = read.decibel(values)
    np.testing.assert_array_equal(found, np.array([[np.nan, -35, -35, 0, 10, np.inf]], np.float32))
    assert found.dtype == np.float32


@pytest.mark.parametrize("engine", ENGINES)
def test_fifteen_real_dates_equal_rasterio(shared: Path, engine: str) -> None:
    observations = opera(shared / "real" / "opera_rtc", polarisations=("VV", "VH"))
    days = sorted({str(one.acquired.date()) for one in observations})[:15]
    with rasterio.open(observations[0].href) as dataset:
        area = cube.area_grid(bounds=dataset.bounds, crs=dataset.crs, resolution=30, margin=10)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*melt season")
        ds = cube.build(observations, area=area, times=days, engine=engine)
    assert ds.attrs[conventions.ATTR_ORBIT] == 137
    assert [str(day)[:10] for day in ds.time.values] == days
    wanted = {one.item_id: one for one in observations if one.polarisation == "VV"}
    ds = ds.compute()
    for step, item in enumerate(ds.rtc_items.values):
        with rasterio.open(wanted[item].href) as dataset:
            expected = 10 * np.log10(dataset.read(1))
        np.testing.assert_allclose(ds.rtc[step, 10:-10, 10:-10], expected, rtol=1e-6)


def test_a_real_year_with_gaps_is_refused_or_counted(shared: Path) -> None:
    observations = opera(shared / "real" / "opera_rtc")
    with rasterio.open(observations[0].href) as dataset:
        area = cube.area_grid(bounds=dataset.bounds, crs=dataset.crs, resolution=30, margin=0)
    with pytest.raises(CubeError, match=r"5 of 15 steps are valid on orbit 137 VV, 2023.*min_steps=5"):
        cube.build(observations, area=area, year=2023)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        ds = cube.build(observations, area=area, year=2023, min_steps=5)
    assert json.loads(ds.attrs[conventions.ATTR_STEPS_MISSING]) == {"rtc": list(range(1, 11))}
    np.testing.assert_array_equal(np.isfinite(ds.rtc).all(("y", "x")), [k in (0, 11, 12, 13, 14) for k in range(15)])


def test_neighbouring_bursts_of_a_pass_are_mosaicked(shared: Path) -> None:
    folder = shared / "real" / "opera_rtc"
    first, second = opera(folder, "292319-IW2"), opera(folder, "292320-IW2")
    observations = first + second
    area = cube.area_grid(bounds=(242_070, 3_813_660, 247_920, 3_835_110), crs=32611, resolution=30, margin=0)
    days = [str(one.acquired.date()) for one in second][:15]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*melt season")
        ds = cube.build(observations, area=area, times=days, chunk=200)
    assert all(";" in item for item in ds.rtc_items.values)
    layer = ds.rtc[0].values
    for one in (first[0], second[0]):
        with rasterio.open(one.href) as dataset:
            row, column = (3_835_110 - dataset.bounds.top) / 30, (dataset.bounds.left - 242_070) / 30
            there = layer[int(row) : int(row) + 100, int(column) : int(column) + 100]
            np.testing.assert_allclose(there, 10 * np.log10(dataset.read(1)), rtol=1e-6)
    assert np.isfinite(layer).sum() == 2 * 100 * 100
