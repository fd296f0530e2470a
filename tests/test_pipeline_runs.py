"""Several runs into one folder: years that follow, settings that differ, and runs that were cut off."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.warp import transform_bounds

import icemapper_xr as ix
from icemapper_xr import catalog, pipeline, store
from icemapper_xr.errors import CatalogError, CubeError, OptionError, StoreError
from icemapper_xr.pipeline import execution, records, units
from icemapper_xr.testing import CallCounter, FakeSegmenter
from tests import scenes

AREA = {"bounds": scenes.inner(), "crs": f"EPSG:{scenes.EPSG}"}


@pytest.fixture(scope="module")
def folder(two_years: Path) -> Path:
    return two_years


def plain(folder: Path, year: int, *, orbit: str = "", coherence: bool = False, later: int = 0) -> None:
    """Rasters whose names tell feature, quantity, scale and date, and no more."""
    for k, when in enumerate(scenes.passes(year)):
        day = f"{when + dt.timedelta(days=later):%Y%m%d}"
        scenes.write_raster(folder / f"rtc_gamma0_power{orbit}_{day}.tif", scenes.values(year + k))
        if coherence:
            name = f"coherence_{when:%Y%m%d}_{when + dt.timedelta(days=12):%Y%m%d}.tif"
            scenes.write_raster(folder / name, np.random.default_rng(k).uniform(0.1, 0.9, scenes.SHAPE))


# -- what names do not tell -------------------------------------------------------------------------------------------


def test_plain_names_are_mapped_year_by_year_and_resumed(tmp_path: Path) -> None:
    for year, later in ((2022, 0), (2023, 1)):  # 366 days, as a satellite comes back
        plain(tmp_path / "data", year, later=later)
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "weights": FakeSegmenter(window=32), "out": tmp_path / "out", **AREA}
    report = pipeline.map_glaciers(years=(2022, 2023), **options)
    assert [(year.relative_orbit, year.polarisation, year.steps) for year in report.years] == [(None, None, 15)] * 2
    again = pipeline.map_glaciers(years=(2023,), **options)
    assert [(year.units, year.units_kept) for year in again.years] == [(0, 1)]


@pytest.mark.filterwarnings("ignore:the relative orbit of the coherence pairs is unknown")
def test_coherence_of_unknown_orbit_stays_where_an_orbit_is_named(tmp_path: Path) -> None:
    for year in (2022, 2023):
        plain(tmp_path / "data", year, orbit="_S1A_HH_ro014", coherence=True)
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "weights": FakeSegmenter(features=("rtc", "insar"), window=32), **AREA}
    both = pipeline.map_glaciers(years=(2022, 2023), out=tmp_path / "out", **options)
    named = pipeline.map_glaciers(years=(2023,), orbit=14, polarisation="HH", out=tmp_path / "named", **options)
    assert [(year.relative_orbit, year.steps) for year in (*both.years, *named.years)] == [(14, 15)] * 3
    with pytest.raises(CatalogError, match=r"16 by orbit \(asked 15, there is 14\)"):
        pipeline.map_glaciers(years=(2023,), orbit=15, out=tmp_path / "none", **options)


def of_hour(folder: Path, year: int, clock: str) -> None:
    """Rasters whose names tell the time of day, too, but no orbit."""
    hours, minutes = map(int, clock.split(":"))
    for k, when in enumerate(scenes.passes(year)):
        passed = when.replace(hour=hours, minute=minutes)
        scenes.write_raster(folder / f"rtc_gamma0_power_{passed:%Y%m%dT%H%M%S}.tif", scenes.values(year + k))


@pytest.mark.parametrize(("one", "other", "same"), [("06:00", "15:30", False), ("23:59", "00:01", True)])
def test_years_of_an_unknown_orbit_are_of_one_time_of_day(tmp_path: Path, one: str, other: str, same: bool) -> None:
    of_hour(tmp_path / "data", 2020, one)
    of_hour(tmp_path / "data", 2023, other)
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "weights": FakeSegmenter(window=32), **AREA}
    ways: dict[str, list[dict[str, Any]]] = {
        "run": [{"years": (2020, 2023)}],
        "later": [{"years": (2020,)}, {"years": (2020,)}, {"years": (2023,)}],
        "over": [{"years": (2020,)}, {"years": (2023,), "overwrite": True}],
    }
    for name, runs in ways.items():
        for asked in runs[:-1]:
            pipeline.map_glaciers(out=tmp_path / name, **asked, **options)
        if same:
            pipeline.map_glaciers(out=tmp_path / name, **runs[-1], **options)
        else:
            with pytest.raises(CubeError, match=r"2023 .* not that of 2020 \(15:30 and 06:00 UTC\).*--relative-orbit"):
                pipeline.map_glaciers(out=tmp_path / name, **runs[-1], **options)
        if not same and name == "run":  # nothing is mapped before all years are chosen
            assert not (tmp_path / name).exists()
            continue
        there = store.status(tmp_path / name / "glaciers.zarr")
        assert there == ({2020: (1, 1), 2023: (1, 1)} if same else {2020: (1, 1)})
    pipeline.map_glaciers(out=tmp_path / "later", years=(2020,), overwrite=True, **options)


def test_years_written_one_by_one_are_of_one_time_of_day(tmp_path: Path) -> None:
    """`open_cube`, `predict` and `to_zarr` by hand, where no run looks at all years."""
    for year, clock in ((2020, "06:00"), (2021, "06:03"), (2023, "15:30")):
        of_hour(tmp_path / "data", year, clock)
    catalog.build(tmp_path / "data")

    def result(year: int) -> xr.Dataset:
        return ix.open_cube(catalog=tmp_path / "data", year=year, **AREA).icemapper.predict(
            weights=FakeSegmenter(window=32)
        )

    for year in (2020, 2021, 2020):
        result(year).icemapper.to_zarr(tmp_path / "c.zarr")
    for overwrite in (False, True):  # which replaces the year, and leaves the others
        with pytest.raises(StoreError, match=r"2023 is not added .*c\.zarr.* not that of 2020 \(15:30 and 06:00 UTC\)"):
            result(2023).icemapper.to_zarr(tmp_path / "c.zarr", overwrite=overwrite)
    assert set(store.status(tmp_path / "c.zarr")) == {2020, 2021}
    assert store.provenance(tmp_path / "c.zarr")["years"][2021]["attrs"]["time_of_day"] == "06:03:00"


def test_a_tile_of_a_region_keeps_its_time_of_day(tmp_path: Path) -> None:
    """Years of a catalogue each; within one, a region looks at all years at once."""
    for year, clock in ((2020, "06:00"), (2021, "06:02"), (2023, "15:30")):
        of_hour(tmp_path / str(year), year, clock)
        catalog.build(tmp_path / str(year))
    options = {
        "weights": FakeSegmenter(window=32),
        "out": tmp_path / "out",
        "region": transform_bounds(scenes.EPSG, 4326, *scenes.inner(50)),
    }
    for year in (2020, 2021):
        report = pipeline.map_region(catalog=tmp_path / str(year), years=(year,), **options)
        assert [(tile.year, tile.skipped) for tile in report.tiles] == [(year, "")]
    with pytest.raises(CubeError, match=r"2023 .* not that of 2020 \(15:30 and 06:00 UTC\)"):
        pipeline.map_region(catalog=tmp_path / "2023", years=(2023,), **options)


# -- overwrite --------------------------------------------------------------------------------------------------------


def test_overwrite_reaches_every_year(folder: Path, tmp_path: Path) -> None:
    counter = CallCounter()
    options = {"catalog": folder, "out": tmp_path / "out", "years": (2022, 2023), **AREA}
    pipeline.map_glaciers(weights=FakeSegmenter(window=32, counter=counter), **options)
    once, counter.windows = counter.windows, 0
    report = pipeline.map_glaciers(weights=FakeSegmenter(window=32, counter=counter), overwrite=True, **options)
    assert counter.windows == once
    assert [year.units for year in report.years] == [1, 1]
    # Of another run: the first year replaces the store, the second joins it.
    report = pipeline.map_glaciers(weights=FakeSegmenter(window=32, context=0.5), overwrite=True, **options)
    assert [year.units for year in report.years] == [1, 1]
    assert store.status(report.store) == {2022: (1, 1), 2023: (1, 1)}
    assert store.provenance(report.store)["run"]["weights_digest"] == "fake-32-0.5"


def test_overwrite_of_a_later_year_never_replaces_the_years_before_it(tmp_path: Path) -> None:
    scenes.write_rtc(tmp_path / "data", year=2022)
    for path in scenes.write_rtc(tmp_path / "data", year=2023):
        with rasterio.open(path, "r+") as file:
            file.update_tags(ICEMAPPER_ORBIT_STATE="descending")  # as of another run
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "weights": FakeSegmenter(window=32), "out": tmp_path / "out", **AREA}
    with pytest.raises(StoreError, match="orbit_state"):
        pipeline.map_glaciers(years=(2022, 2023), overwrite=True, **options)
    assert store.status(tmp_path / "out" / "glaciers.zarr") == {2022: (1, 1)}


# -- what shapes the values belongs to the fingerprint ----------------------------------------------------------------


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rasters of 20 m."""
    where = tmp_path_factory.mktemp("coarse")
    for k, when in enumerate(scenes.passes()):
        scenes.write_raster(where / f"rtc_gamma0_power_{when:%Y%m%d}.tif", scenes.values(k), resolution=20.0)
    catalog.build(where)
    return where


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        (
            {"resolution": 20, "resample": "bilinear"},
            {"resolution": 20, "resample": "nearest"},
            r"settings.reading.resampled is .*bilinear.* there and .*nearest.* here",
        ),
        ({"resampling": "bilinear"}, {"resampling": "nearest"}, "settings.reading.resampling is bilinear there"),
        (
            {"resampling": "bilinear"},
            {"resolution": 20, "resample": "bilinear"},
            r"settings.reading.resolution is 10.0 there and 20.0 here",
        ),
    ],
)
def test_ways_of_resampling_are_not_mixed(
    coarse: Path, tmp_path: Path, first: dict[str, Any], second: dict[str, Any], match: str
) -> None:
    left, top = scenes.LEFT, scenes.TOP
    area = {"bounds": (left + 600, top - 1600, left + 1600, top - 600), "crs": f"EPSG:{scenes.EPSG}"}
    options = {"catalog": coarse, "weights": FakeSegmenter(window=32), "out": tmp_path / "out", "years": (2023,)}
    pipeline.map_glaciers(**options, **area, **first)
    settings = (tmp_path / "out" / "run.json").read_text()
    with pytest.raises(StoreError, match=match):
        pipeline.map_glaciers(**options, **area, **second)
    assert (tmp_path / "out" / "run.json").read_text() == settings


def test_masks_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    ds = ix.open_cube(catalog=folder, year=2023, margin=32, **AREA)
    mask = xr.zeros_like(ds.rtc[0], dtype=bool).compute()
    mask[60:100, 60:100] = True
    results = [ix.predict(ds, weights=FakeSegmenter(window=32), mask=one) for one in (mask, mask.copy(), ~mask, None)]
    digests = [json.loads(one.attrs["icemapper_settings"])["mask"] for one in results]
    assert digests[0] == digests[1]
    assert len({digests[0], digests[2], digests[3]}) == 3
    results[0].icemapper.to_zarr(tmp_path / "a.zarr")
    for other in results[2:]:
        with pytest.raises(StoreError, match=r"settings.mask"):
            other.icemapper.to_zarr(tmp_path / "a.zarr")
    assert results[1].icemapper.to_zarr(tmp_path / "a.zarr").written == 0


@pytest.fixture(scope="module")
def joined(folder: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """The cubes of two years in one, and what was predicted from both, with the attributes of the first year."""
    cubes = [ix.open_cube(catalog=folder, year=year, margin=32, **AREA).compute() for year in (2022, 2023)]
    years = xr.DataArray([2022, 2023], dims="year", name="year")
    results = [one.icemapper.predict(weights=FakeSegmenter(window=32)) for one in cubes]
    return xr.concat(cubes, "time", combine_attrs="override"), xr.concat(results, years, combine_attrs="override")


def test_a_year_of_joined_results_is_not_stored_as_the_first(
    joined: tuple[xr.Dataset, xr.Dataset], tmp_path: Path
) -> None:
    """`concat` keeps the attributes of the first year: its items and dates are not those of the second."""
    _, results = joined
    second = results.sel(year=2023)
    for result, options in ((second, {}), (second, {"year": 2023}), (results, {"year": 2023})):
        with pytest.raises(StoreError, match=r"values of 2023 have the attributes .* of 2022.*before joining"):
            result.icemapper.to_zarr(tmp_path / "a.zarr", **options)
    with pytest.raises(OptionError, match="year=2023, but the result is of 2022"):
        results.isel(year=0).icemapper.to_zarr(tmp_path / "a.zarr", year=2023)
    assert not (tmp_path / "a.zarr").exists()
    assert results.sel(year=2022).icemapper.to_zarr(tmp_path / "a.zarr").year == 2022


def test_a_year_of_a_store_says_its_year(joined: tuple[xr.Dataset, xr.Dataset], folder: Path, tmp_path: Path) -> None:
    for year in (2022, 2023):
        cube = ix.open_cube(catalog=folder, year=year, margin=32, **AREA)
        cube.icemapper.predict(weights=FakeSegmenter(window=32)).icemapper.to_zarr(tmp_path / "a.zarr")
    found = ix.open_store(tmp_path / "a.zarr").sel(year=2023)
    assert found.icemapper.to_zarr(tmp_path / "b.zarr").year == 2023
    np.testing.assert_array_equal(ix.open_store(tmp_path / "b.zarr").sel(year=2023).probability, found.probability)
    odd = found.assign_coords(year=np.datetime64("2023-01-01", "ns"))
    with pytest.raises(OptionError, match=r"type datetime64\[ns\].*dt\.year"):
        odd.icemapper.to_zarr(tmp_path / "c.zarr")


def test_a_cube_of_other_dates_than_its_attributes_is_not_mapped(joined: tuple[xr.Dataset, xr.Dataset]) -> None:
    cubes, _ = joined
    weights = FakeSegmenter(window=32)
    for cube in (cubes.sel(time="2023"), cubes.isel(time=slice(8, 23)), cubes.isel(time=[*range(7), *range(22, 30)])):
        with pytest.raises(CubeError, match=r"begins on 2022-01-01 \(year 2022\).*before joining"):
            cube.icemapper.predict(weights=weights)
    assert cubes.isel(time=slice(15)).icemapper.predict(weights=weights).attrs["year"] == 2022


def test_features_that_were_merged_are_of_one_orbit_and_told_of_both(tmp_path: Path) -> None:
    features = ("rtc", "insar")
    for orbit in (14, 87):
        scenes.write_rtc(tmp_path / str(orbit), orbit=orbit)
        scenes.write_coherence(tmp_path / str(orbit), orbit=orbit)
        catalog.build(tmp_path / str(orbit))

    def opened(orbit: int, *features: str) -> xr.Dataset:
        return ix.open_cube(catalog=tmp_path / str(orbit), year=2023, features=features, margin=32, **AREA)

    weights = FakeSegmenter(features=features, window=32)
    for how in ("override", "drop_conflicts"):
        two = xr.merge([opened(14, "rtc"), opened(87, "insar")], compat="no_conflicts", combine_attrs=how)
        with pytest.raises(CubeError, match=r"several relative orbits \(14 in rtc, 87 in insar\).*orbit=14"):
            two.icemapper.predict(weights=weights)
        assert two.icemapper.predict(weights=FakeSegmenter(window=32)) is not None  # the other feature is not used
    parts = [opened(14, "rtc"), opened(14, "insar")]
    with pytest.raises(CubeError, match=r"tell of rtc only, not of insar.*open them together.*drop_conflicts"):
        xr.merge(parts, compat="no_conflicts", combine_attrs="override").icemapper.predict(weights=weights)
    merged = xr.merge(parts, compat="no_conflicts", combine_attrs="drop_conflicts").icemapper.predict(weights=weights)
    together = opened(14, *features).icemapper.predict(weights=weights)
    assert merged.attrs["item_ids"] == together.attrs["item_ids"]
    assert merged.icemapper.to_zarr(tmp_path / "a.zarr").year == 2023
    np.testing.assert_array_equal(merged.probability, together.probability)


def rasters(folder: Path, level: float) -> list[Path]:
    """A list of rasters in dB whose names do not sort as their dates do."""
    return [
        scenes.write_raster(folder / f"g{k + 1}.tif", 10 * np.log10(scenes.values(k)) + level + k) for k in range(15)
    ]


def test_lists_of_other_files_or_in_another_order_are_not_mixed(tmp_path: Path) -> None:
    """Their sorted names were all that a store knew of them."""
    first, anew = rasters(tmp_path / "first", 0.0), rasters(tmp_path / "anew", -3.0)

    def write(files: list[Path], year: int = 2023, **options: Any) -> int:
        result = ix.predict(ix.open_rasters(rtc=files), weights=FakeSegmenter(window=32))
        return result.icemapper.to_zarr(tmp_path / "a.zarr", year=year, **options).written

    assert write(first) == 1
    assert write(first) == 0
    moved = [Path(shutil.copy2(path, tmp_path)) for path in first]  # as cp -a: with their times
    assert write(moved) == 0
    for others in ([first[1], first[0], *first[2:]], anew):
        with pytest.raises(StoreError, match=r"files of rtc are others, changed, in another order.*overwrite"):
            write(others)
    assert write(anew, year=2024) == 1  # each year has files of its own
    assert write(anew, overwrite=True) == 1
    assert write(anew) == 0
    os.utime(anew[7])  # as a file that was made anew
    with pytest.raises(StoreError, match="files of rtc"):
        write(anew)


# -- runs that were cut off -------------------------------------------------------------------------------------------


def cut(path: Path) -> bytes:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return whole


def test_a_failed_read_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    files = [scenes.write_rtc(tmp_path / "data", year=year) for year in (2022, 2023)]
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "out": tmp_path / "out", **AREA}
    segmenter = FakeSegmenter(window=32)
    whole = cut(files[0][3])
    with pytest.raises(CubeError, match=files[0][3].name):
        pipeline.map_glaciers(years=(2022,), weights=segmenter, **options)
    assert not (tmp_path / "out").exists()
    files[0][3].write_bytes(whole)

    cut(files[1][3])
    with pytest.raises(CubeError, match=files[1][3].name):
        pipeline.map_glaciers(years=(2022, 2023), weights=segmenter, **options)
    assert store.status(tmp_path / "out" / "glaciers.zarr") == {2022: (1, 1)}


def test_a_store_without_a_unit_does_not_block_another_run(folder: Path, tmp_path: Path) -> None:
    ds = ix.open_cube(catalog=folder, year=2023, margin=32, **AREA)
    first, second = (ix.predict(ds, weights=FakeSegmenter(window=32, context=c)) for c in (1.0, 0.5))
    first.icemapper.to_zarr(tmp_path / "a.zarr")
    for chunk in (tmp_path / "a.zarr").rglob("c/*/*/*"):
        chunk.unlink()  # as a kill before the first unit leaves it
    assert second.icemapper.to_zarr(tmp_path / "a.zarr").written == 1
    assert store.provenance(tmp_path / "a.zarr")["run"]["weights_digest"] == "fake-32-0.5"


def test_outlines_of_unfinished_years_are_refused_or_left_out(folder: Path, tmp_path: Path) -> None:
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "out": tmp_path / "out", **AREA}
    report = pipeline.map_glaciers(years=(2022, 2023), **options)
    next((report.store / "probability").rglob("c/1/*/*")).unlink()
    with pytest.raises(StoreError, match=r"2023 is unfinished \(0 of 1 units\)"):
        pipeline.outlines_of_run(tmp_path / "out", year=2023)
    with pytest.warns(UserWarning, match=r"left out because unfinished: 2023 \(0 of 1 units\)"):
        target, drawn = pipeline.outlines_of_run(tmp_path / "out")
    assert set(drawn.year) == set(gpd.read_file(target).year) == {2022}
    with pytest.warns(UserWarning, match="unfinished: 2023"):
        pipeline.map_glaciers(years=(2022,), **options)
    next((report.store / "probability").rglob("c/0/*/*")).unlink()
    with pytest.raises(StoreError, match="no finished year"):
        pipeline.outlines_of_run(tmp_path / "out")


def test_outlines_of_one_year_leave_the_file_of_all_years_alone(folder: Path, tmp_path: Path) -> None:
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "out": tmp_path / "out", **AREA}
    report = pipeline.map_glaciers(years=(2022, 2023), **options)
    target, drawn = pipeline.outlines_of_run(tmp_path / "out", year=2022)
    assert target.name == "outlines_2022.gpkg"
    assert set(drawn.year) == set(gpd.read_file(target).year) == {2022}
    assert set(gpd.read_file(report.outlines).year) == {2022, 2023}


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_year_that_fails_leaves_the_others(folder: Path, tmp_path: Path, monkeypatch, overwrite: bool) -> None:
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "years": (2022, 2023), **AREA}
    if overwrite:
        pipeline.map_glaciers(**{**options, "weights": FakeSegmenter(window=32, context=0.5)}, out=tmp_path / "out")
    really = units._read

    def read(job: units.Job) -> object:
        if max(one.acquired.year for one in job.series.observations) == 2022:
            raise CubeError("could not be read")
        return really(job)

    with monkeypatch.context() as patched:
        patched.setattr(units, "_read", read)
        with pytest.raises(CubeError, match=r"^2022: could not be read; mend this .* --retry-failed$"):
            pipeline.map_glaciers(**options, out=tmp_path / "out", overwrite=overwrite)
    done = store.status(tmp_path / "out" / "glaciers.zarr")
    assert {year: units == total for year, (units, total) in done.items()} == {2023: True}
    report = pipeline.map_glaciers(**options, out=tmp_path / "out", retry_failed=True)
    assert [year.units_kept for year in report.years] == [0, 1]
    assert set(gpd.read_file(report.outlines).year) == {2022, 2023}


def test_what_the_outlines_are_drawn_with_stands_in_the_settings(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "out": out, **AREA}
    pipeline.map_glaciers(years=(2022,), **options)
    made = records.settings_of(out)
    pipeline.outlines_of_run(out, year=2022, threshold=0.9)
    pipeline.outlines_of_run(out, tmp_path / "elsewhere.gpkg", threshold=0.9)
    assert records.settings_of(out) == made
    pipeline.outlines_of_run(out, threshold=0.75, min_area_km2=0.02)
    drawn = {"threshold": 0.75, "min_area_km2": 0.02, "min_hole_km2": 0.0}
    assert records.settings_of(out) == {**made, **drawn}
    pipeline.map_glaciers(years=(2022,), **options)
    assert records.settings_of(out) == made


def test_years_that_a_stopped_run_did_not_begin_are_not_forgotten(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    map_cube = execution.map_cube

    def stopped(*arguments: Any, year: int, **options: Any) -> Any:
        if year == 2023:
            raise KeyboardInterrupt
        return map_cube(*arguments, year=year, **options)

    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "out": tmp_path / "out", **AREA}
    monkeypatch.setattr(execution, "map_cube", stopped)
    with pytest.raises(KeyboardInterrupt):
        pipeline.map_glaciers(years=(2022, 2023), **options)
    found = pipeline.status_of_run(tmp_path / "out")
    assert [(row.year, row.done, row.missing) for row in found.years] == [(2022, 1, 0), (2023, 0, 1)]
    assert not found.complete
    assert found.ended == "stopped by hand (KeyboardInterrupt)"
    monkeypatch.setattr(execution, "map_cube", map_cube)
    pipeline.map_glaciers(years=(2023,), **options)
    assert pipeline.status_of_run(tmp_path / "out").complete


# -- file URLs --------------------------------------------------------------------------------------------------------
def test_a_file_url_is_its_folder_in_every_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that `Path.as_uri` writes with %20, of which GDAL makes another name."""
    data, out, here = tmp_path / "radar data", tmp_path / "my map", tmp_path / "here"
    scenes.write_rtc(data)
    here.mkdir()
    monkeypatch.chdir(here)
    items = tmp_path / "items.json"
    catalog.build(data.as_uri(), out=items.as_uri())
    listed = json.loads(items.read_text())
    for item in listed["features"]:
        for asset in item["assets"].values():
            asset["href"] = (items.parent / asset["href"]).resolve().as_uri()
            assert "%20" in asset["href"]
    items.write_text(json.dumps(listed))
    url = out.as_uri()
    options = {"weights": FakeSegmenter(window=32), "years": (2023,), **AREA}
    report = pipeline.map_glaciers(catalog=items.as_uri(), out=url, **options)
    assert [year.steps for year in report.years] == [15]
    pipeline.outlines_of_run(url)
    pipeline.areas_of_run(url, temporal=False, n_draws=100, landscape_draws=100)
    standing = pipeline.status_of_run(url)
    assert standing.complete
    assert standing.elsewhere is None
    assert {path.name for path in out.iterdir()} >= {"glaciers.zarr", "outlines.gpkg", "areas.csv", "run.json"}
    assert [*here.iterdir(), *out.glob(".*.part.*")] == []
    plan = pipeline.plan_map(catalog=items.as_uri(), out=url, **options)
    assert plan.disk_free is not None
