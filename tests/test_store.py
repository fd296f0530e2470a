from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pyproj
import pytest
import rioxarray  # noqa: F401
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icemapper_xr import conventions as cv
from icemapper_xr import errors, store
from icemapper_xr.store import identity, staging
from icemapper_xr.store import layout as layouts
from icemapper_xr.store.location import Location
from tests import store_cases, support

CHUNK = 32
# rioxarray multiplies transforms the way affine 3.1 is about to deprecate
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


def write(result: xr.Dataset, path: Path, **options: Any) -> store.Report:
    return store.write(result, path, **{"year": 2023, "chunk": CHUNK, **options})


def chunk_files(path: Path) -> dict[str, bytes]:
    """All chunk files of a store."""
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("c/**/*") if f.is_file()}


# -- round trip -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("chunks", [None, (32, 32), (29, 9), (70, 90)])
def test_what_is_written_is_read(tmp_path: Path, chunks: Any) -> None:
    expected = store_cases.result()
    report = write(store_cases.result(chunks=chunks), tmp_path / "a.zarr")
    opened = store.open_store(tmp_path / "a.zarr")
    assert opened.probability.dims == ("year", "y", "x")
    for name in ("probability", "n_obs"):
        assert opened[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(opened[name].values[0], expected[name].values)
    np.testing.assert_array_equal(opened.x, expected.x)
    np.testing.assert_array_equal(opened.y, expected.y)
    assert opened.year.values.tolist() == [2023]
    assert (report.units, report.written, report.kept) == (12, 12, 0)


def test_crs_and_attributes_survive(tmp_path: Path) -> None:
    result = store_cases.result()
    write(result, tmp_path / "a.zarr")
    opened = store.open_store(tmp_path / "a.zarr")
    assert opened.rio.crs.to_epsg() == 32633
    assert "spatial_ref" in opened.coords
    assert opened.rio.bounds() == result.rio.bounds()
    assert opened.rio.transform() == result.rio.transform()
    assert opened.probability.attrs["units"] == "1"
    for key in ("weights_digest", "icemapper_settings", "item_ids", "year", "start", "relative_orbit"):
        assert opened.attrs[key] == result.attrs[key]
    attrs = json.loads((tmp_path / "a.zarr/zarr.json").read_text())["attributes"]
    assert attrs["proj:code"] == "EPSG:32633"
    assert pyproj.CRS(attrs["proj:wkt2"]).to_epsg() == 32633
    left, top = attrs["spatial:transform"][2], attrs["spatial:transform"][5]
    assert attrs["spatial:bbox"] == [left, top - 10 * 96, left + 10 * 128, top]


def test_a_crs_without_a_code_survives(tmp_path: Path) -> None:
    crs = "+proj=laea +lat_0=80 +lon_0=15 +datum=WGS84 +units=m"
    write(store_cases.result(crs=crs), tmp_path / "a.zarr")
    assert pyproj.CRS(store.open_store(tmp_path / "a.zarr").rio.crs).equals(pyproj.CRS(crs), ignore_axis_order=True)


def test_plain_xarray_and_the_chunks_lie_on_the_lattice(tmp_path: Path) -> None:
    write(store_cases.result(), tmp_path / "a.zarr")
    plain = xr.open_zarr(tmp_path / "a.zarr", consolidated=False, decode_coords="all")
    whole = store.open_store(tmp_path / "a.zarr", crop=False)
    assert whole.sizes == plain.sizes == {"year": 1, "y": 96, "x": 128}
    assert plain.rio.crs.to_epsg() == 32633
    by_default = xr.open_zarr(tmp_path / "a.zarr", consolidated=False)
    assert by_default.rio.crs.to_epsg() == by_default.probability.rio.crs.to_epsg() == 32633
    assert (whole.x.values[0] - 5) % (CHUNK * 10) == 0
    assert (whole.y.values[0] + 5) % (CHUNK * 10) == 0
    outside = np.ones((96, 128), bool)
    outside[tuple(layouts.area_slices(layouts.of_result(store_cases.result(), chunk=CHUNK, shard=None)).values())] = 0
    assert np.isnan(whole.probability.values[0][outside]).all()
    assert (whole.n_obs.values[0][outside] == 0).all()


def test_what_is_opened_can_be_rechunked_and_written_by_plain_xarray(tmp_path: Path) -> None:
    write(store_cases.result(), tmp_path / "a.zarr")
    opened = store.open_store(tmp_path / "a.zarr")
    for number, cube in enumerate((opened.load(), store.open_store(tmp_path / "a.zarr").chunk(y=50, x=50))):
        cube.to_zarr(tmp_path / f"{number}.zarr", consolidated=False)
        again = xr.open_zarr(tmp_path / f"{number}.zarr", consolidated=False)
        np.testing.assert_array_equal(again.probability, opened.probability)


def test_a_grid_off_the_lattice_is_anchored_at_its_corner(tmp_path: Path) -> None:
    result = store_cases.result(left=500_003.0, top=8_700_001.0)
    write(result, tmp_path / "a.zarr")
    whole = store.open_store(tmp_path / "a.zarr", crop=False)
    assert whole.x.values[0] == result.x.values[0]
    assert whole.y.values[0] == result.y.values[0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 200),
    columns=st.integers(1, 200),
    row=st.integers(-500, 500),
    column=st.integers(-500, 500),
    chunk=st.integers(1, 64),
)
def test_layout_covers_the_area_with_whole_units(rows: int, columns: int, row: int, column: int, chunk: int) -> None:
    result = store_cases.result(rows=rows, columns=columns, left=10.0 * column, top=-10.0 * row)
    layout = layouts.of_result(result, chunk=chunk, shard=None)
    assert layout.grid.index[0] % chunk == layout.grid.index[1] % chunk == 0
    assert layout.area_shape == (rows, columns)
    by_y, by_x = layout.area_chunks()
    assert (sum(by_y), sum(by_x)) == (rows, columns)
    assert (len(by_y), len(by_x)) == layout.units
    assert min(by_y) > 0  # no unit without a pixel of the area
    assert min(by_x) > 0
    inside = layouts.area_slices(layout)
    y, x = layout.grid.coords()
    np.testing.assert_allclose(y[inside["y"]], result.y)
    np.testing.assert_allclose(x[inside["x"]], result.x)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    size=st.integers(1, 40),
    workers=st.integers(1, 40),
    done=st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11))),
)
def test_pieces_hold_each_unit_once(
    rows: int, columns: int, size: int, workers: int, done: set[tuple[int, int]]
) -> None:
    units = [store.Unit(i, j) for i in range(rows) for j in range(columns) if (i, j) not in done]
    pieces = list(layouts.pieces(units, size, workers=workers))
    assert sorted(unit for piece in pieces for unit in piece) == units
    assert all(1 <= len(piece) <= size for piece in pieces)


def test_shards_are_the_units(tmp_path: Path) -> None:
    result = store_cases.result()
    report = write(result, tmp_path / "a.zarr", chunk=16, shard=32)
    assert report.units == 12
    array = zarr.open_array(tmp_path / "a.zarr/probability", mode="r")
    assert (array.chunks, array.shards) == ((1, 16, 16), (1, 32, 32))
    np.testing.assert_array_equal(store.open_store(tmp_path / "a.zarr").probability[0], result.probability)


def test_a_url(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/a.zarr"
    result = store_cases.result(chunks=(32, 32))
    assert write(result, url).written == 12  # type: ignore[arg-type]
    assert write(result, url).written == 0  # type: ignore[arg-type]
    assert store.status(url) == {2023: (12, 12)}
    np.testing.assert_array_equal(store.open_store(url).probability[0], result.probability)
    with pytest.raises(errors.StoreError, match="weights_digest is abc there and other here"):
        write(store_cases.result(weights_digest="other"), url)  # type: ignore[arg-type]
    write(store_cases.result(weights_digest="other"), url, overwrite=True)  # type: ignore[arg-type]
    assert store.provenance(url)["run"]["weights_digest"] == "other"


# -- laziness and what is done ----------------------------------------------------------------------------------------
def counting(result: xr.Dataset, seen: list[tuple[int, int]]) -> xr.Dataset:
    """Make a result whose blocks tell when they are computed."""

    def look(block: Any, block_id: Any = None) -> Any:
        seen.append(block_id)
        return block

    data = da.from_array(result.probability.values, (32, 32))
    data = da.map_blocks(look, data, dtype="f4", meta=np.empty((0, 0), "f4"))
    return result.assign(probability=(("y", "x"), data))


def test_only_missing_units_are_computed(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    result = store_cases.result(left=500_160.0, top=8_700_160.0)  # on the lattice: blocks are units
    write(result, path)
    before = chunk_files(path)
    (path / "probability/c/0/1/2").unlink()
    (path / "n_obs/c/0/0/0").unlink()
    assert store.todo(path, 2023) == ((0, 0), (1, 2))
    assert store.status(path) == {2023: (7, 9)}
    seen: list[tuple[int, int]] = []
    told: list[store.Unit] = []
    report = write(counting(result, seen), path, on_unit=told.append)
    assert (report.written, report.kept) == (2, 7)
    assert sorted(seen) == sorted(told) == [(0, 0), (1, 2)]
    assert chunk_files(path) == before
    with support.raise_if_dask_computes():
        assert write(counting(result, seen), path).written == 0


def test_empty_units_are_written(tmp_path: Path) -> None:
    result = store_cases.result()
    result["probability"][:] = np.nan
    result["n_obs"][:] = 0
    write(result, tmp_path / "a.zarr")
    assert store.todo(tmp_path / "a.zarr", 2023) == ()


def test_pieces_bound_what_is_computed_at_once(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    result = store_cases.result(left=500_160.0, top=8_700_160.0)
    report = write(counting(result, seen), tmp_path / "a.zarr", piece_units=2)
    assert report.written == 9
    assert len(seen) == len(set(seen)) == 9
    np.testing.assert_array_equal(store.open_store(tmp_path / "a.zarr").probability[0], result.probability)


def test_variables_share_one_computation(tmp_path: Path) -> None:
    calls: list[int] = []

    def look(block: Any) -> Any:
        calls.append(1)
        return block

    base = da.map_blocks(look, da.from_array(np.zeros((64, 64), "f4"), 32), dtype="f4", meta=np.empty((0, 0), "f4"))
    result = store_cases.result(rows=64, columns=64, left=500_160.0, top=8_700_160.0)
    result = result.assign(probability=(("y", "x"), base), n_obs=(("y", "x"), (base + 1).astype("u1")))
    write(result, tmp_path / "a.zarr")
    assert len(calls) == 4


def test_a_failing_unit_leaves_the_others(tmp_path: Path) -> None:
    def fail(block: Any, block_id: Any = None) -> Any:
        if block_id == (2, 2):
            raise errors.WeightsError("the weights are gone")
        return block

    result = store_cases.result(left=500_160.0, top=8_700_160.0)
    data = da.map_blocks(fail, da.from_array(result.probability.values, 32), dtype="f4", meta=np.empty((0, 0), "f4"))
    path = tmp_path / "a.zarr"
    with (
        dask.config.set(scheduler="synchronous"),
        pytest.raises(errors.WeightsError, match="the weights are gone"),
    ):
        write(result.assign(probability=(("y", "x"), data)), path, piece_units=1)
    assert store.todo(path, 2023) == ((2, 2),)
    assert write(result, path).written == 1


# -- years and identity -----------------------------------------------------------------------------------------------
def test_years_are_appended_and_sorted(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    results = {year: store_cases.result(seed=year, year=year, item_ids=[f"i{year}"]) for year in (2020, 2016, 2018)}
    for year, result in results.items():
        write(result, path, year=year)
    opened = store.open_store(path)
    assert opened.year.values.tolist() == [2016, 2018, 2020]
    for year, result in results.items():
        np.testing.assert_array_equal(opened.probability.sel(year=year), result.probability)
    assert store.status(path) == {2016: (12, 12), 2018: (12, 12), 2020: (12, 12)}
    assert len(store.todo(path, 2017)) == 12
    assert "item_ids" not in opened.attrs
    assert store.provenance(path)["years"][2016]["identity"]["items"] == ["i2016"]


def test_a_result_with_years(tmp_path: Path) -> None:
    both = xr.concat([store_cases.result(seed=s) for s in (1, 2)], xr.Variable("year", [2019, 2020]))
    both.attrs = store_cases.result().attrs
    with pytest.raises(errors.StoreError, match=r"values of 2020 have the attributes .* of 2023"):
        write(both, tmp_path / "a.zarr", year=2020)
    assert not (tmp_path / "a.zarr").exists()
    del both.attrs["year"]
    write(both, tmp_path / "a.zarr", year=2020)
    np.testing.assert_array_equal(
        store.open_store(tmp_path / "a.zarr").probability[0], store_cases.result(seed=2).probability
    )
    with pytest.raises(errors.StoreError, match=r"has the years \[2019, 2020\], not 2021"):
        write(both, tmp_path / "a.zarr", year=2021)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights_digest": "def"}, "weights_digest is abc there and def here"),
        ({"icemapper_settings": '{"gap": "zero", "window": 16}'}, "settings.gap is nearest there and zero here"),
        ({"relative_orbit": 174}, "relative_orbit is 14 there and 174 here"),
        ({"polarisation": "VV"}, "polarisation is HH there and VV here"),
        ({"icemapper_version": "0.2.0"}, "version is 0.1 there and 0.2 here"),
        ({"crs": "EPSG:32634"}, "crs is EPSG:32633 there and EPSG:32634 here"),
        ({"columns": 91}, "area is"),
        ({"item_ids": ["a", "c"]}, r"1 items only there \(b\) and 1 items only here \(c\)"),
        ({"start": "2023-01-13"}, "start is 2023-01-01 there and 2023-01-13 here"),
    ],
)
def test_another_run_is_refused_with_what_differs(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "a.zarr"
    write(store_cases.result(), path)
    before = chunk_files(path)
    with pytest.raises(errors.StoreError, match=message) as caught:
        write(store_cases.result(**change), path)
    assert "overwrite" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert chunk_files(path) == before
    assert sorted(os.listdir(tmp_path)) == ["a.zarr"]


def test_a_patch_release_or_a_renamed_weights_file_goes_on(tmp_path: Path) -> None:
    write(store_cases.result(), tmp_path / "a.zarr")
    assert write(store_cases.result(icemapper_version="0.1.7", weights="moved"), tmp_path / "a.zarr").written == 0


def test_another_chunk_or_another_variable_is_refused(tmp_path: Path) -> None:
    write(store_cases.result(), tmp_path / "a.zarr")
    with pytest.raises(errors.StoreError, match="chunk is 32 there and 16 here"):
        write(store_cases.result(), tmp_path / "a.zarr", chunk=16)
    with pytest.raises(errors.StoreError, match=r"variables.n_obs is uint8 there and not set here"):
        write(store_cases.result().drop_vars("n_obs"), tmp_path / "a.zarr")


def test_overwrite_replaces_another_run_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write(store_cases.result(), path)
    before = chunk_files(path)
    other = store_cases.result(seed=5, weights_digest="other", chunks=(32, 32))
    while_writing: list[bool] = []
    report = write(other, path, overwrite=True, on_unit=lambda _: while_writing.append(chunk_files(path) == before))
    assert report.written == 12
    assert all(while_writing)
    assert sorted(os.listdir(tmp_path)) == ["a.zarr"]
    np.testing.assert_array_equal(store.open_store(path).probability[0], other.probability)
    second = store_cases.result(seed=6, weights_digest="other", year=2024)
    write(second, path, year=2024, overwrite=True)  # the next year of the same run joins the first
    assert store.status(path) == {2023: (12, 12), 2024: (12, 12)}


def test_overwrite_of_the_same_run_computes_the_year_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write(store_cases.result(), path)
    write(store_cases.result(year=2024), path, year=2024)
    kept = {k: v for k, v in chunk_files(path).items() if "/c/1/" in k}
    assert write(store_cases.result(), path, overwrite=True).written == 12
    changed = store_cases.result(seed=9, item_ids=["z"])
    assert write(changed, path, overwrite=True).written == 12
    np.testing.assert_array_equal(store.open_store(path).probability.sel(year=2023), changed.probability)
    assert store.provenance(path)["years"][2023]["identity"]["items"] == ["z"]
    assert {k: v for k, v in chunk_files(path).items() if "/c/1/" in k} == kept


class Cut(BaseException):
    """A kill."""


@pytest.mark.parametrize("renames", range(5))
def test_a_year_whose_replacement_is_cut_off_is_put_in_its_place_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """Two variables: two folders go, two come."""
    path, new = tmp_path / "a.zarr", store_cases.result(seed=9, item_ids=["z"])
    write(store_cases.result(), path)
    write(store_cases.result(year=2024), path, year=2024)
    real, calls = Path.rename, itertools.count()

    def rename(self: Path, target: Path) -> Path:
        if self.parent.name == "c" and next(calls) == renames:
            raise Cut
        return real(self, target)

    with monkeypatch.context() as patched, contextlib.suppress(Cut):
        patched.setattr(Path, "rename", rename)
        write(new, path, overwrite=True)
    done, units = store.status(path)[2023]
    assert done in ((12,) if renames in (0, 4) else (0,))  # never units of both
    assert write(new, path).written == 0
    np.testing.assert_array_equal(store.open_store(path).probability.sel(year=2023), new.probability)
    assert store.status(path) == {2023: (units, units), 2024: (12, 12)}
    assert os.listdir(tmp_path) == ["a.zarr"]


@pytest.mark.parametrize("moment", ["begun", "whole"])
@pytest.mark.parametrize("at_once", [False, True])
def test_a_replacement_is_of_the_store_that_it_was_begun_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, at_once: bool
) -> None:
    """The store was removed meanwhile: its replacement was put into the next one, or could be put nowhere."""
    if at_once:  # in the same second, by which stores are told apart
        monkeypatch.setattr(staging, "_made", lambda _: "2026-11-28T22:26:49 of one run")
    path, new = tmp_path / "a.zarr", store_cases.result(seed=9, item_ids=["z"])
    write(store_cases.result(), path)

    def stop(*_: object) -> None:
        raise Cut

    with monkeypatch.context() as patched, contextlib.suppress(Cut):
        if moment == "whole":
            patched.setattr(Path, "rename", lambda self, to: stop() if self.parent.name == "c" else self.replace(to))
        write(new, path, overwrite=True, **({"piece_units": 1, "on_unit": stop} if moment == "begun" else {}))
    assert store.is_being_replaced(path)
    shutil.rmtree(path)
    for _ in range(2):
        report = write(store_cases.result(seed=4, item_ids=["z"]), path)
    assert report.kept == 12
    again = store_cases.result(seed=4, item_ids=["z"])
    np.testing.assert_array_equal(store.open_store(path).probability.sel(year=2023), again.probability)
    assert os.listdir(tmp_path) == ["a.zarr"]


@pytest.mark.parametrize("attrs", [{"item_ids": ["z"]}, {"relative_orbit": 22}])
def test_a_replacement_that_was_killed_as_it_was_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attrs: dict[str, object]
) -> None:
    path = tmp_path / "a.zarr"
    write(store_cases.result(), path)
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name.endswith(".creating"):
            raise Cut
        return real(self, target)

    with monkeypatch.context() as patched, contextlib.suppress(Cut):
        patched.setattr(Path, "rename", rename)
        patched.setattr(staging, "_discard", lambda _: None)  # whoever is killed cleans nothing up
        write(store_cases.result(seed=9, **attrs), path, overwrite=True)
    assert len(os.listdir(tmp_path)) == 2
    assert write(store_cases.result(), path).kept == 12
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_what_is_left_of_a_replacement_that_was_put_in_its_place_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while the old units were removed: the year was made anew, and could be put nowhere."""
    path, new = tmp_path / "a.zarr", store_cases.result(seed=9, item_ids=["z"])
    write(store_cases.result(), path)
    real = staging._discard

    def discard(location: Location) -> None:
        if location.kind() == "other":
            Path(location.url, "whole").unlink()
            raise Cut
        real(location)

    monkeypatch.setattr(staging, "_discard", discard)
    with pytest.raises(Cut):
        write(new, path, overwrite=True)
    monkeypatch.undo()
    assert write(new, path).kept == 12
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_a_year_is_replaced_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write(store_cases.result(), path)
    before, seen = chunk_files(path), []
    changed = store_cases.result(seed=9, item_ids=["z"], chunks=(32, 32))
    write(changed, path, overwrite=True, on_unit=lambda _: seen.append(chunk_files(path) == before))
    assert seen == [True] * 12
    np.testing.assert_array_equal(store.open_store(path).probability[0], changed.probability)


def test_a_replacement_of_a_year_goes_on_or_is_given_up(tmp_path: Path) -> None:
    """It goes on with the rasters it was begun with; a run with those of the year that is there gives it up."""
    path, old, new = tmp_path / "a.zarr", store_cases.result(), store_cases.result(seed=9, item_ids=["z"])
    other = store_cases.result(item_ids=["y"])
    write(old, path)
    before = chunk_files(path)

    def begin() -> None:
        def stop(_: store.Unit) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write(new, path, overwrite=True, piece_units=1, on_unit=stop)
        assert chunk_files(path) == before
        assert store.is_being_replaced(path)

    begin()
    with pytest.raises(errors.StoreError, match="belongs to another run"):
        write(other, path)
    assert store.is_being_replaced(path)
    assert write(new, path).kept == 1
    assert write(old, path, overwrite=True).written == 12
    begin()
    assert write(old, path).kept == 12
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_a_result_that_reads_the_store_it_would_replace_is_refused(tmp_path: Path) -> None:
    """In a bucket its units go before they are computed anew, and would be computed of what is gone."""
    write(store_cases.result(), tmp_path / "a.zarr")
    opened = store.open_store(tmp_path / "a.zarr").sel(year=2023)
    smoothed = opened.rolling(x=3, min_periods=1).mean().assign_attrs(opened.attrs)
    before = chunk_files(tmp_path / "a.zarr")
    assert store.reads_from(smoothed, tmp_path / "a.zarr")
    with pytest.raises(errors.StoreError, match=r"is read from the store .*a\.zarr, which it is to replace.*load\(\)"):
        write(smoothed, tmp_path / "a.zarr", overwrite=True)
    assert chunk_files(tmp_path / "a.zarr") == before
    assert write(smoothed, tmp_path / "b.zarr").written == 12
    write(smoothed.load(), tmp_path / "a.zarr", overwrite=True)
    np.testing.assert_array_equal(
        store.open_store(tmp_path / "a.zarr").probability, store.open_store(tmp_path / "b.zarr").probability
    )


def test_a_store_behind_a_link_is_replaced_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "a.zarr").symlink_to(tmp_path / "disk" / "a.zarr")
    write(store_cases.result(), tmp_path / "a.zarr")
    write(store_cases.result(weights_digest="other"), tmp_path / "a.zarr", overwrite=True)
    assert (tmp_path / "a.zarr").is_symlink()
    assert store.provenance(tmp_path / "disk" / "a.zarr")["run"]["weights_digest"] == "other"
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["a.zarr"]


@pytest.mark.parametrize(("name", "value"), [(cv.ATTR_FIRST_DAY, "03-01"), (cv.ATTR_BASELINE, 6)])
def test_years_of_another_season_or_baseline_do_not_mix(tmp_path: Path, name: str, value: Any) -> None:
    usual = {cv.ATTR_FIRST_DAY: "01-01", cv.ATTR_BASELINE: 12}
    write(store_cases.result(**usual), tmp_path / "a.zarr")
    with pytest.raises(errors.StoreError, match=rf"{name} is {usual[name]} there and {value} here"):
        write(store_cases.result(**{**usual, name: value, "year": 2024}), tmp_path / "a.zarr", year=2024)
    write(store_cases.result(), tmp_path / "older.zarr")  # of a version that did not note them
    assert write(store_cases.result(**usual), tmp_path / "older.zarr").kept == 12


def test_years_whose_rasters_were_made_in_other_ways_do_not_mix(tmp_path: Path) -> None:
    def made(**told: Any) -> dict[str, Any]:
        known = {"insar looks": 20.0, "rtc filter": "unfiltered", "rtc quantity": "gamma0"}
        return {cv.ATTR_PROCESSING: json.dumps({k: v for k, v in {**known, **told}.items() if v is not None})}

    write(store_cases.result(**made()), tmp_path / "a.zarr")
    for told, message in (
        ({"insar looks": 80.0}, r"processing.insar looks is 20.0 there and 80.0 here"),
        ({"rtc filter": "speckle-filtered"}, r"processing.rtc filter is unfiltered there and speckle-filtered here"),
        ({"rtc quantity": "sigma0"}, r"processing.rtc quantity is gamma0 there and sigma0 here"),
    ):
        with pytest.raises(errors.StoreError, match=message):
            write(store_cases.result(**made(**told), year=2024), tmp_path / "a.zarr", year=2024)
    write(
        store_cases.result(**made(**{"insar looks": None}), year=2024), tmp_path / "a.zarr", year=2024
    )  # nobody knows
    write(store_cases.result(), tmp_path / "older.zarr")  # of a version that did not note them
    assert write(store_cases.result(**made()), tmp_path / "older.zarr").kept == 12


def test_an_unfinished_year_of_an_older_store_is_finished(tmp_path: Path) -> None:
    """One that did not note which files its items were read from yet."""
    path, result = tmp_path / "a.zarr", store_cases.result(rows=32, columns=32, left=500_000.0, top=8_700_000.0)
    blocks = [result["probability"].values[:16, :16], result["n_obs"].values[:16, :16]]
    with store.session(result, path, year=2023, chunk=16) as session:
        store.write_unit(session.target, session.missing[0], blocks)
    again = result.assign_attrs({cv.ATTR_FILES: json.dumps({"rtc": "0123"})})
    with store.session(again, path, year=2023, chunk=16) as session:
        assert (len(session.units), len(session.missing)) == (4, 3)
        for unit in session.missing:
            store.write_unit(session.target, unit, blocks)
    assert not store.todo(path, 2023)


@pytest.mark.parametrize("name", ["probability", "n_obs"])
def test_values_that_were_changed_do_not_stay_outside_without_a_word(tmp_path: Path, name: str) -> None:
    write(store_cases.result(), tmp_path / "a.zarr")
    before = chunk_files(tmp_path / "a.zarr")
    changed = store_cases.result()
    changed[name][-1, -1] = 20
    with pytest.raises(errors.StoreError, match=rf"2023 of .*a\.zarr has other values of {name} than .*overwrite=True"):
        write(changed, tmp_path / "a.zarr")
    assert chunk_files(tmp_path / "a.zarr") == before
    rounded = store_cases.result()
    rounded["probability"] += np.float32(1e-6)  # as another number of threads may
    assert write(rounded, tmp_path / "a.zarr").kept == 12
    write(changed, tmp_path / "a.zarr", overwrite=True)
    assert store.open_store(tmp_path / "a.zarr")[name].values[0, -1, -1] == 20


def test_provenance(tmp_path: Path) -> None:
    write(store_cases.result(), tmp_path / "a.zarr")
    facts = store.provenance(tmp_path / "a.zarr")
    assert facts["run"]["settings"] == {"gap": "nearest", "window": 16}
    assert facts["run"]["weights_digest"] == "abc"
    assert facts["years"][2023]["identity"]["items"] == ["a", "b"]
    assert set(facts["versions"]) >= {"icemapper_xr", "zarr", "xarray", "python"}
    assert facts["attrs"]["weights"] == "fake"
    assert "created" in facts["history"][0]
    assert len(facts["fingerprint"]) == 64


# -- what is refused --------------------------------------------------------------------------------------------------
def test_what_is_not_ours_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/thesis.txt").write_text("mine")
    zarr.create_group(tmp_path / "group.zarr", zarr_format=3, attributes={"mine": True})
    for name, message in (("file", "is a file"), ("folder", "not a store"), ("group.zarr", "not of icemapper_xr")):
        for overwrite in (False, True):
            with pytest.raises(errors.StoreError, match=message):
                write(store_cases.result(), tmp_path / name, overwrite=overwrite)
        with pytest.raises(errors.StoreError):
            store.open_store(tmp_path / name)
        assert not store.is_store(tmp_path / name)
    assert (tmp_path / "file").read_text() == (tmp_path / "folder/thesis.txt").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "group.zarr"]


def test_the_folder_of_a_map_is_told_from_its_store(tmp_path: Path) -> None:
    write(store_cases.result(), tmp_path / "map" / store.CUBE)
    (tmp_path / "other").mkdir()
    store.point(tmp_path / "other", "s3://ice/a.zarr")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    for name, message in (
        ("map", f"is the folder of a map, not its store: name {tmp_path / 'map' / store.CUBE}$"),
        ("other", "is the folder of a map, not its store: name s3://ice/a.zarr$"),
        ("mine", "mine is not a store of icemapper_xr: name another path$"),
    ):
        with pytest.raises(errors.StoreError, match=message):
            store.open_store(tmp_path / name)


def test_an_item_that_is_there_twice_is_a_difference() -> None:
    assert identity._differences({"items": ["a", "a"]}, {"items": ["a"]}) == ["1 items only there (a)"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    assert write(store_cases.result(), tmp_path / "a.zarr").written == 12


def test_nothing_there(tmp_path: Path) -> None:
    for function in (store.open_store, store.status, store.provenance, lambda p: store.todo(p, 2023)):
        with pytest.raises(errors.StoreError, match="There is no store at"):
            function(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"chunk": 0}, errors.OptionError, "chunk=0"),
        ({"chunk": 32, "shard": 48}, errors.OptionError, "multiple of chunk=32"),
        ({"piece_units": 0}, errors.OptionError, "piece_units=0"),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        write(store_cases.result(), tmp_path / "a.zarr", **options)
    assert os.listdir(tmp_path) == []


def test_results_that_cannot_be_stored(tmp_path: Path) -> None:
    good = store_cases.result()
    cases = {
        "no CRS": good.drop_vars("spatial_ref"),
        "square pixels": good.assign_coords(y=good.y * 2),
        "not regular": good.assign_coords(x=good.x**2),
        "no variable": good.drop_vars(["probability", "n_obs"]),
        "expected .'y', 'x'.": good.expand_dims(band=2),
        "no pixel": good.isel(x=slice(0)),
        "y descending": good.isel(y=slice(None, None, -1)),
    }
    for message, result in cases.items():
        with pytest.raises(errors.StoreError, match=message):
            write(result, tmp_path / "a.zarr")
    assert os.listdir(tmp_path) == []


def test_one_pixel(tmp_path: Path) -> None:
    result = store_cases.result(rows=1, columns=1)
    result["probability"][:] = 0.25
    write(result, tmp_path / "a.zarr")
    opened = store.open_store(tmp_path / "a.zarr")
    assert opened.sizes == {"year": 1, "y": 1, "x": 1}
    assert opened.probability.values.item() == np.float32(0.25)


def test_a_year_cut_off_while_it_was_added_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write(store_cases.result(), path)
    group = zarr.open_group(path, mode="r+")
    group["probability"].resize((2, *group["probability"].shape[1:]))  # type: ignore[union-attr]
    with pytest.raises(errors.StoreError, match="cut off or damaged"):
        store.open_store(path)
    assert write(store_cases.result(), path).written == 0
    assert store.open_store(path).sizes["year"] == 1


def test_a_replacement_cut_off_between_its_renames_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write(store_cases.result(), path)
    path.rename(tmp_path / ".a.zarr.old")
    write(store_cases.result(seed=3), tmp_path / "b.zarr")
    (tmp_path / "b.zarr").rename(tmp_path / ".a.zarr.new")
    assert write(store_cases.result(seed=3), path).written == 0
    np.testing.assert_array_equal(store.open_store(path).probability[0], store_cases.result(seed=3).probability)
    assert os.listdir(tmp_path) == ["a.zarr"]


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=st.tuples(st.integers(5, 70), st.integers(5, 90)), piece=st.integers(1, 20))
def test_files_do_not_depend_on_chunks_and_pieces(chunks: tuple[int, int], piece: int) -> None:
    with tempfile.TemporaryDirectory() as folder, dask.config.set(scheduler="synchronous"):
        write(store_cases.result(chunks=chunks), Path(folder) / "a.zarr", piece_units=piece)
        write(store_cases.result(), Path(folder) / "b.zarr")
        assert chunk_files(Path(folder) / "a.zarr") == chunk_files(Path(folder) / "b.zarr")


def test_names_follow_the_conventions(tmp_path: Path) -> None:
    write(store_cases.result(), tmp_path / "a.zarr")
    opened = store.open_store(tmp_path / "a.zarr")
    assert opened.attrs[cv.ATTR_AREA] == store_cases.result().attrs[cv.ATTR_AREA]
    assert opened.probability.attrs["long_name"] == cv.VARIABLE_ATTRIBUTES[cv.PROBABILITY]["long_name"]


@pytest.mark.slow
def test_worker_processes_write_the_same_files(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    write(store_cases.result(), tmp_path / "a.zarr")
    told: list[store.Unit] = []
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster):
        report = write(store_cases.result(chunks=(32, 32)), tmp_path / "b.zarr", piece_units=5, on_unit=told.append)
    assert report.written == len(set(told)) == 12
    assert chunk_files(tmp_path / "a.zarr") == chunk_files(tmp_path / "b.zarr")
