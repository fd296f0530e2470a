"""Maps that replace, resume or meet other maps: nothing of one may be taken for another's, or go without a word."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from rasterio.warp import transform_bounds

from icemapper_xr import catalog, pipeline, progress, regions, store
from icemapper_xr import cluster as clusters
from icemapper_xr import conventions as cv
from icemapper_xr.catalog import api
from icemapper_xr.errors import CatalogDownError, CubeError, IcemapperError, OptionError, StoreError
from icemapper_xr.pipeline import homes, mapping, pools, records, units
from icemapper_xr.store import lease, lock
from icemapper_xr.store.location import Location
from icemapper_xr.testing import FakeSegmenter
from tests import scenes
from tests.map_support import chunk_files

AREA = {"bounds": scenes.inner(), "crs": f"EPSG:{scenes.EPSG}"}
UNIT = 11520.0
"""Metres along a unit; its edges are multiples of it."""


def across_units(folder: Path, count: int = 2) -> dict[str, Any]:
    """Write a catalogue of one year whose rasters meet two units, and name an area of `count` units in a row."""
    edge = 44 * UNIT
    for k, when in enumerate(scenes.passes()):
        path = folder / f"rtc_S1A_IW_HH_ro014_{when:%Y%m%dT%H%M%S}.tif"
        scenes.write_raster(path, scenes.values(k), left=edge - 700, top=scenes.TOP)
    bounds = (edge - 600, scenes.TOP - 1300, edge - 600 + UNIT * (count - 1), scenes.TOP - 200)
    return {"bounds": bounds, "crs": f"EPSG:{scenes.EPSG}", "years": (2023,)}


@contextlib.contextmanager
def stopped_after(monkeypatch: pytest.MonkeyPatch, done: int) -> Iterator[None]:
    """Press Ctrl-C once so many units are done, of one at a time: a second thread may be as far."""

    @contextlib.contextmanager
    def bar(_: str) -> Iterator[Any]:
        def advance(now: int, *_: Any) -> None:
            if now >= done:
                raise KeyboardInterrupt

        yield advance

    with monkeypatch.context() as patched:
        patched.setattr(progress, "units_bar", bar)
        patched.setattr(units, "AT_ONCE", 1)
        with pytest.raises(KeyboardInterrupt):
            yield


# -- overwrite --------------------------------------------------------------------------------------------------------
def test_a_year_that_is_replaced_keeps_the_orbit_of_the_others(tmp_path: Path) -> None:
    """2023 alone is covered better by orbit 22: chosen anew, it took the place of all years."""
    for year in (2021, 2022):
        scenes.write_rtc(tmp_path / "data", year=year, orbit=14)
    scenes.write_rtc(tmp_path / "data", year=2023, orbit=14, drop=(13, 14))
    scenes.write_rtc(tmp_path / "data", year=2023, orbit=22)
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "weights": FakeSegmenter(window=32), "out": tmp_path / "out", **AREA}
    pipeline.map_glaciers(years=(2021, 2022, 2023), **options)
    again = pipeline.map_glaciers(years=(2023,), overwrite=True, **options)
    assert [(year.relative_orbit, year.units) for year in again.years] == [(14, 1)]
    assert set(store.status(again.store)) == {2021, 2022, 2023}
    other = pipeline.map_glaciers(years=(2023,), overwrite=True, orbit=22, **options)  # it is named
    assert set(store.status(other.store)) == {2023}


def test_a_year_with_another_first_day_is_refused(tmp_path: Path) -> None:
    scenes.write_rtc(tmp_path / "data", year=2022)
    scenes.write_rtc(tmp_path / "data", year=2023)
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "weights": FakeSegmenter(window=32), "out": tmp_path / "out", **AREA}
    pipeline.map_glaciers(years=2022, **options)
    with pytest.raises(StoreError, match="first_day is 01-01 there and 01-05 here"):
        pipeline.map_glaciers(years=(2023,), start="01-05", **options)
    assert list(store.status(tmp_path / "out" / "glaciers.zarr")) == [2022]
    named = {**options, "out": tmp_path / "named"}
    dates = [f"{day:%Y-%m-%d}" for day in pd.date_range("2022-01-11", periods=15, freq="24D")]
    pipeline.map_glaciers(times=dates, **named)
    with pytest.raises(StoreError, match="first_day is named there and 01-01 here"):
        pipeline.map_glaciers(years=(2023,), **named)


def test_outlines_in_the_place_of_the_map_s_own_are_noted(tmp_path: Path) -> None:
    for year in (2022, 2023):
        scenes.write_rtc(tmp_path / "data", year=year)
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "weights": FakeSegmenter(window=32), "out": tmp_path / "out", **AREA}
    pipeline.map_glaciers(years="2022:2023", **options)
    own = tmp_path / "out" / "outlines.gpkg"
    pipeline.outlines_of_run(tmp_path / "out", own, threshold=0.8)
    assert records.settings_of(tmp_path / "out")["threshold"] == 0.8
    with pytest.raises(OptionError, match=r"has the outlines of all years of the map \(2023, too\)"):
        pipeline.outlines_of_run(tmp_path / "out", own, year=2022)
    (tmp_path / "out" / "run.json").write_text("{broken")
    pipeline.outlines_of_run(tmp_path / "out", threshold=0.7)
    pipeline.map_glaciers(years=(2022,), **options)
    assert records.settings_of(tmp_path / "out")["years"] == [2022, 2023]


def test_an_interrupted_overwrite_leaves_units_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"weights": FakeSegmenter(window=32), "out": tmp_path / "out", "catalog": tmp_path / "data"}
    options |= across_units(tmp_path / "data")
    catalog.build(tmp_path / "data", quantity="gamma0", scale="power")
    report = pipeline.map_glaciers(**options)
    assert [year.units for year in report.years] == [2]
    with stopped_after(monkeypatch, 1):
        pipeline.map_glaciers(overwrite=True, **options)
    found = pipeline.status_of_run(tmp_path / "out")
    assert [(year.done, year.units) for year in found.years] == [(2, 2)]  # of the old one, which stays till then
    assert not found.complete
    assert found.replaced == (str(report.store),)
    assert [year.units for year in pipeline.map_glaciers(**options).years] == [1]
    assert pipeline.status_of_run(tmp_path / "out").complete
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, CubeError])
def test_an_overwrite_that_fails_before_its_first_unit_leaves_the_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """The units went at once, the store with them, and the folder was then refused as not ours."""
    scenes.write_rtc(tmp_path / "data")
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "weights": FakeSegmenter(window=32), "out": tmp_path / "out", **AREA}
    report = pipeline.map_glaciers(years=(2023,), **options)
    before = chunk_files(tmp_path / "out" / "glaciers.zarr")

    def fail(_: Any) -> None:
        raise error("stopped")

    with monkeypatch.context() as patched:
        patched.setattr(units, "evaluate", fail)
        with pytest.raises(error):
            pipeline.map_glaciers(years=(2023,), overwrite=True, **options)
    assert chunk_files(tmp_path / "out" / "glaciers.zarr") == before
    assert not list((tmp_path / "out").glob(".*"))
    assert [year.area_km2 for year in pipeline.map_glaciers(years=(2023,), **options).years] == [
        report.years[0].area_km2
    ]


def test_a_folder_whose_cube_is_gone_is_still_ours(tmp_path: Path) -> None:
    scenes.write_rtc(tmp_path / "data")
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "weights": FakeSegmenter(window=32), "out": tmp_path / "out", **AREA}
    report = pipeline.map_glaciers(years=(2023,), **options)
    shutil.rmtree(report.store)
    assert [year.units for year in pipeline.map_glaciers(years=(2023,), **options).years] == [1]
    shutil.rmtree(report.store)
    (tmp_path / "out" / "run.json").write_text('{"catalog": "of another program"}')
    with pytest.raises(StoreError, match="holds files that are not ours"):
        pipeline.map_glaciers(years=(2023,), **options)


def test_a_failed_unit_leaves_the_other_years_of_an_overwrite(tmp_path: Path) -> None:
    for year in (2022, 2023):
        scenes.write_rtc(tmp_path / "data", year=year)
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "out": tmp_path / "out", "years": (2022, 2023), **AREA}
    pipeline.map_glaciers(weights=FakeSegmenter(window=32), **options)
    broken = next((tmp_path / "data").glob("*_2022*.tif"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[:3000])
    other = FakeSegmenter(window=32, context=0.5)
    with pytest.raises(CubeError, match=r"2022: .*--retry-failed"):
        pipeline.map_glaciers(weights=other, overwrite=True, **options)
    there = store.provenance(tmp_path / "out" / "glaciers.zarr")
    assert there["run"]["weights_digest"] == other.digest
    assert store.status(tmp_path / "out" / "glaciers.zarr")[2023] == (1, 1)
    broken.write_bytes(whole)
    pipeline.map_glaciers(weights=other, retry_failed=True, **options)
    assert store.status(tmp_path / "out" / "glaciers.zarr") == {2022: (1, 1), 2023: (1, 1)}


def test_status_tells_of_an_unfinished_replacement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"out": tmp_path / "out", "catalog": tmp_path / "data", **across_units(tmp_path / "data")}
    catalog.build(tmp_path / "data", quantity="gamma0", scale="power")
    pipeline.map_glaciers(weights=FakeSegmenter(window=32), **options)
    assert pipeline.status_of_run(tmp_path / "out").complete
    other = FakeSegmenter(window=32, context=0.5)
    with stopped_after(monkeypatch, 1):
        pipeline.map_glaciers(weights=other, overwrite=True, **options)
    found = pipeline.status_of_run(tmp_path / "out")
    assert not found.complete
    assert found.replaced == (str(tmp_path / "out" / "glaciers.zarr"),)
    pipeline.map_glaciers(weights=other, overwrite=True, **options)
    assert pipeline.status_of_run(tmp_path / "out").complete


# -- resume -----------------------------------------------------------------------------------------------------------
def test_a_catalogue_built_anew_with_another_scale_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"weights": FakeSegmenter(window=32), "out": tmp_path / "out", "catalog": tmp_path / "data"}
    options |= across_units(tmp_path / "data")
    catalog.build(tmp_path / "data", quantity="gamma0", scale="amplitude")
    with stopped_after(monkeypatch, 1):
        pipeline.map_glaciers(**options)
    catalog.build(tmp_path / "data", quantity="gamma0", scale="power")
    with pytest.raises(
        StoreError, match=r"2023 .* another run: the files of rtc are others, .* or read otherwise here"
    ):
        pipeline.map_glaciers(**options)
    catalog.build(tmp_path / "data", quantity="gamma0", scale="amplitude")
    assert [year.units_kept for year in pipeline.map_glaciers(**options).years] == [1]


def result(year: int, item: str) -> xr.Dataset:
    cells = np.arange(64) + 0.5
    found = xr.Dataset(
        {cv.PROBABILITY: ((cv.Y, cv.X), np.zeros((64, 64), np.float32))},
        {cv.Y: 8_700_000 - 10 * cells, cv.X: 500_000 + 10 * cells},
        {cv.ATTR_YEAR: year, cv.ATTR_ITEMS: [item], cv.ATTR_SETTINGS: "{}"},
    )
    return found.rio.write_crs(scenes.EPSG)


def test_a_late_task_of_a_stopped_run_writes_into_no_other_year(tmp_path: Path) -> None:
    path, values = tmp_path / "s.zarr", [np.full((64, 64), 0.9, np.float32)]
    with pytest.raises(KeyboardInterrupt), store.session(result(2023, "a"), path, year=2023) as first:
        raise KeyboardInterrupt
    with store.session(result(2024, "b"), path, year=2024) as second:
        with pytest.raises(StoreError, match="its year 2023, was replaced by another run"):
            store.write_unit(first.target, second.units[0], values)
        assert second.units == second.missing
        store.write_unit(second.target, second.units[0], values)
    assert store.status(path) == {2024: (1, 1)}


def test_tasks_of_two_maps_on_one_scheduler_have_names_of_their_own() -> None:
    """The scheduler gave the second map what the first one's task of the same name had answered."""
    keys = []

    class Client:
        loop = None

        def submit(self, *_: Any, key: str, **__: Any) -> object:
            keys.append(key)
            return object()

    class Taken:
        def add(self, _: object) -> None: ...

    place = units.Place.__new__(units.Place)
    object.__setattr__(place, "block", (3, 4))
    for _ in range(2):
        pool = pools.Workers.__new__(pools.Workers)
        pool._client, pool._places, pool._ended, pool._gpus = Client(), {}, Taken(), False
        pool.submit(units.evaluate, None, place, network=False)
    assert len(set(keys)) == 2
    assert all(key.startswith("icemapper-evaluate-3-4-") for key in keys)


# -- years and tiles of which nothing is known ------------------------------------------------------------------------
def test_years_that_cannot_be_mapped_are_named_before_the_first_is(tmp_path: Path) -> None:
    for year in (2021, 2023):
        scenes.write_rtc(tmp_path / "data", year=year)
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "weights": FakeSegmenter(window=32), "out": tmp_path / "out", **AREA}
    with pytest.raises(
        CubeError, match=r"2022: .*; 2024: .*\. Nothing was mapped: mend this, or leave those years out"
    ):
        pipeline.map_glaciers(years=(2021, 2022, 2023, 2024), **options)
    assert not (tmp_path / "out").exists()


def test_a_server_that_is_down_makes_no_tile_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenes.write_rtc(tmp_path / "data")
    catalog.build(tmp_path / "data")
    box = transform_bounds(scenes.EPSG, 4326, *scenes.inner(50))
    options = {
        "catalog": tmp_path / "data",
        "weights": FakeSegmenter(window=32),
        "out": tmp_path / "out",
        "region": box,
    }
    real, calls = mapping.plan_year, itertools.count()

    def plan(*args: Any, **named: Any) -> Any:
        if next(calls) == 0:
            raise api.down("https://stac.example", type("Busy", (Exception,), {"status_code": 503})("busy"))
        return real(*args, **named)

    monkeypatch.setattr(mapping, "plan_year", plan)
    with pytest.raises((CubeError, CatalogDownError), match=r"stac\.example does not answer"):
        pipeline.map_region(years=(2022, 2023), **options)
    found = pipeline.status_of_run(tmp_path / "out")
    assert not found.complete
    assert {row.year: row.done for row in found.years}[2023] == 1


def test_failures_end_a_run_only_if_nothing_else_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One unit is good but slow; ten that fail at once, or those of earlier runs, said that all would."""
    options = {"weights": FakeSegmenter(window=32), "out": tmp_path / "out", "catalog": tmp_path / "data"}
    options |= across_units(tmp_path / "data", 15)
    catalog.build(tmp_path / "data", quantity="gamma0", scale="power")
    real, tried = units.evaluate, []

    def evaluate(job: Any) -> Any:
        column = job.place.block.column
        tried.append(column)
        if column == 0:
            time.sleep(1.0)
        elif column <= 10:
            raise CubeError("a bad raster")
        return real(job)

    monkeypatch.setattr(units, "evaluate", evaluate)
    with pytest.raises(CubeError, match=r"10 of 15 units failed|a bad raster"):
        pipeline.map_glaciers(**options)
    assert set(tried) == set(range(15))
    # All but the ten, and the one that waits for strips of the tenth.
    assert store.status(tmp_path / "out" / "glaciers.zarr") == {2023: (4, 15)}


# -- leases, places, boxes --------------------------------------------------------------------------------------------
def test_a_lease_that_was_lost_is_not_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("LEASE_SECONDS", 0.5), ("RENEW_SECONDS", 2.5), ("_SETTLE_SECONDS", 0.05)):
        monkeypatch.setattr(lease, name, seconds)
    place = Location.parse("memory://bucket/lost.zarr")
    with lock.hold(place) as asleep:
        time.sleep(0.7)  # longer than the lease, shorter than the next renewal
        with lease.hold(place):
            second = lease._note(place.sibling(".lock"))
            time.sleep(2.8)  # past the renewal, which finds the other one
            with pytest.raises(StoreError, match="another run has it now"):
                asleep()
            assert (lease._note(place.sibling(".lock")) or {}).get("token") == (second or {})["token"]


def test_a_lease_says_since_when_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    location = Location.parse("memory://bucket/since.zarr")
    place = location.sibling(".lock")
    with lease.hold(location):
        first = lease._note(place) or {}
        time.sleep(1.2)  # to the second
        later = lease._note(place) or {}
        assert later["ends"] > first["ends"]
        assert later["since"] == first["since"]
    place.put(b'{"pid": 1, "host": "a", "ends": 1e12, "token": "t"}')
    assert lease.writer(location) is None
    with lease.hold(location):
        assert "since" in (lease.writer(location) or "")


def test_what_goes_wrong_under_a_lease_is_told_as_it_is() -> None:
    for error in (FileNotFoundError("/data/dem.nc"), ImportError("No module named 'h5netcdf'")):
        with pytest.raises(type(error)) as told, lock.hold(Location.parse("memory://bucket/y.zarr")):
            raise error
        assert told.value is error


def test_home_and_file_are_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert homes.local_folder("~/map") == tmp_path / "map"
    assert homes.local_folder(f"file://{tmp_path}/map") == tmp_path / "map"


def test_a_folder_whose_name_is_not_utf_8_is_refused_before_anything_is_mapped() -> None:
    """All was mapped, and then no outlines could be written."""
    with pytest.raises(OptionError, match=r"^out is maps/sval_\\xe4, which is not UTF-8: rename that folder"):
        homes.home_of(os.fsdecode(b"maps/sval_\xe4"), None)
    assert homes.local_folder("maps/sval_\u00e4") == Path("maps/sval_\u00e4")


def test_a_box_of_a_region_whose_sides_are_swapped_is_refused() -> None:
    with pytest.raises(OptionError, match="359 degrees wide: the order is west, south, east, north"):
        regions.resolve([16, 78, 15, 78.5])
    assert regions.resolve([179, 70, -179, 71]).area == pytest.approx(2)


# -- plan, and dates --------------------------------------------------------------------------------------------------
def test_a_plan_of_a_region_asks_an_api_for_its_place_and_years(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them an API refuses to be searched, so that no region could be planned with one."""
    scenes.write_rtc(tmp_path / "data")
    catalog.build(tmp_path / "data")
    here, asked = catalog.search(tmp_path / "data"), []

    def search(name: str, **options: Any) -> Any:
        asked.append((name, options))
        return here

    monkeypatch.setattr(catalog, "search", search)
    box = transform_bounds(scenes.EPSG, 4326, *scenes.inner(50))
    options = {"weights": FakeSegmenter(window=32), "region": box, "rate": 1.0}
    plan = pipeline.plan_map(catalog="planetary-computer", years=(2021, 2023), **options)
    assert [year.year for year in plan.years] == [2021, 2023]
    ((name, found),) = asked
    assert (name, found["features"]) == ("planetary-computer", ("rtc",))
    assert found["geometry"].bounds == pytest.approx(box)
    first, last = found["datetime"]
    assert (first.year, last.year) == (2020, 2024)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"cluster": "foo"}, "cluster 'foo' is unknown; use one of"),
        ({"cluster_options": clusters.ClusterOptions(workers=3)}, "workers needs a cluster"),
        ({"cluster": "local", "cluster_options": clusters.ClusterOptions(queue="gpu")}, "queue=gpu means nothing to"),
        ({"out": __file__}, "is a file; name another folder"),
        ({"times": [f"2023-{month:02d}-01" for month in range(1, 13)] + ["2023-12-10", "2023-12-20", "2023-12-30"],
          "years": (2020,)}, "of 2023, but years is 2020; leave years out"),
        ({"times": [f"2023-{month:02d}-01" for month in range(1, 13)] + ["2023-12-10", "2023-12-20", "2023-12-30"],
          "years": (), "start": "03-01"}, "start is 03-01, but times names the dates"),
    ],
)  # fmt: skip
def test_a_plan_refuses_what_the_map_does(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    scenes.write_rtc(tmp_path / "data")
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "weights": FakeSegmenter(window=32), "years": (2023,), "rate": 1.0, **AREA}
    with pytest.raises(IcemapperError, match=message):
        pipeline.plan_map(**{**options, **more})
