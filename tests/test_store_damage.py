"""Stores cut off in mid write: whatever file is damaged, `map` completes with the same bits or says what to do."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import xarray as xr

import icemapper_xr as ix
from icemapper_xr import pipeline, store
from icemapper_xr.errors import StoreError
from icemapper_xr.pipeline import execution, verbs
from icemapper_xr.pipeline.outcomes import Outcome, Written
from icemapper_xr.store.location import Location
from icemapper_xr.testing import FakeSegmenter
from tests import scenes, store_cases
from tests.map_support import CHUNK, Tracing, chunk_files
from tests.test_cli import refused, run

AREA = {"bounds": scenes.inner(), "crs": f"EPSG:{scenes.EPSG}"}


@pytest.fixture(scope="module")
def folder(two_years: Path) -> Path:
    return two_years


@pytest.fixture(scope="module")
def series(folder: Path) -> Any:
    return verbs.plan_cube(catalog=folder, year=2023, margin=32, **AREA)


def map_on(series: Any, path: Path, **options: Any) -> Written:
    """Map in units of 32 px, of which the area has 4 x 4."""
    return execution.map_cube(series, FakeSegmenter(window=32), path, year=2023, chunk=CHUNK, **options)


class Means(FakeSegmenter):
    """Keeps the mean of each window."""

    found: ClassVar[list[float]] = []

    def __call__(self, x: Any, /) -> Any:
        self.found.extend(float(one.mean()) for one in x)
        return super().__call__(x)


@pytest.fixture(scope="module")
def broken_off(series: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a map in which one window failed, so that its neighbours wait for strips, and a whole one."""
    where = tmp_path_factory.mktemp("maps")
    execution.map_cube(series, Means(window=32), where / "whole.zarr", year=2023, chunk=CHUNK)
    highest = sorted(Means.found)[-2:]
    poisoned = Tracing(trace=str(where / "trace"), poison=sum(highest) / 2)
    (where / "cut").mkdir()
    written = execution.map_cube(series, poisoned, where / "cut" / "a.zarr", year=2023, chunk=CHUNK)
    assert len(written.failed) == 1
    assert written.written < 16
    return where


# -- what can happen to a file ----------------------------------------------------------------------------------------
def gone(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def noise(path: Path) -> None:
    path.write_bytes(random.Random(path.name).randbytes(path.stat().st_size))


def flip(path: Path) -> None:
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def kinds_of_file(where: Path) -> dict[str, Path]:
    """One file of each kind of a map that was broken off."""
    strips = sorted((where / ".a.zarr.work").rglob("*_*.*"))
    found = {path.suffix: path for path in strips}
    chunks = {name: sorted((where / "a.zarr" / name).rglob("c/0/*/*"))[2] for name in ("probability", "n_obs")}
    metadata = {str(p.relative_to(where / "a.zarr")): p for p in (where / "a.zarr").glob("*/zarr.json")}
    coordinates = {f"{name}/c": next((where / "a.zarr" / name / "c").rglob("*")) for name in ("y", "x", "year")}
    return {**found, **chunks, **metadata, **coordinates, "zarr.json": where / "a.zarr" / "zarr.json"}


KINDS = (
    *(".below", ".right", ".corner", ".core", ".seen", ".n_obs"),
    *("probability", "n_obs", "y/c", "x/c", "year/c", "zarr.json"),
    *(f"{name}/zarr.json" for name in ("probability", "n_obs", "y", "x", "year", "spatial_ref")),
)
DAMAGES: tuple[Callable[[Path], None], ...] = (gone, empty, cut, noise, flip)
QUICK = [(kind, DAMAGES[position % len(DAMAGES)]) for position, kind in enumerate(KINDS)]
QUICK += [("probability", flip), ("probability", cut), ("x/c", flip), ("zarr.json", gone), (".core", flip)]


def test_all_kinds_of_files_are_there(broken_off: Path) -> None:
    assert set(KINDS) == set(kinds_of_file(broken_off / "cut"))


def check(series: Any, broken_off: Path, where: Path, kind: str, damage: Callable[[Path], None]) -> None:
    shutil.copytree(broken_off / "cut", where, dirs_exist_ok=True)
    damage(kinds_of_file(where)[kind])
    if kind == "zarr.json":
        with pytest.raises(StoreError, match=r"a\.zarr .*remove .*run the same again, or name another"):
            map_on(series, where / "a.zarr")
        shutil.rmtree(where / "a.zarr")
    map_on(series, where / "a.zarr", retry_failed=True)
    assert chunk_files(where / "a.zarr") == chunk_files(broken_off / "whole.zarr")
    xr.testing.assert_identical(ix.open_store(where / "a.zarr").load(), ix.open_store(broken_off / "whole.zarr").load())
    assert [path.name for path in where.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize(("kind", "damage"), QUICK)
def test_a_damaged_file_is_made_anew_or_told(
    series: Any, broken_off: Path, tmp_path: Path, kind: str, damage: Callable[[Path], None]
) -> None:
    check(series, broken_off, tmp_path, kind, damage)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_any_damage_to_any_file_is_made_anew_or_told(
    series: Any, broken_off: Path, tmp_path: Path, kind: str, damage: Callable[[Path], None]
) -> None:
    check(series, broken_off, tmp_path, kind, damage)


@pytest.mark.slow
def test_a_bit_anywhere_in_the_metadata_is_never_silent(series: Any, broken_off: Path, tmp_path: Path) -> None:
    """Readers and writers alike: the right values, or an error that can be mended."""
    whole = broken_off / "whole.zarr"
    right = ix.open_store(whole).load()
    luck = random.Random(0)
    for number in range(150):
        path = tmp_path / f"{number}.zarr"
        shutil.copytree(whole, path)
        file = luck.choice([*sorted(path.glob("*/zarr.json")), path / "zarr.json", *sorted(path.glob("[xy]*/c/0"))])
        content = bytearray(file.read_bytes())
        content[luck.randrange(len(content))] ^= 1 << luck.randrange(8)
        file.write_bytes(content)
        for act in (lambda path=path: ix.open_store(path), lambda path=path: map_on(series, path)):
            try:
                act()
                found = ix.open_store(path).load()
            except StoreError:
                continue
            for name in ("probability", "n_obs", "y", "x", "year"):
                np.testing.assert_array_equal(found[name], right[name])
            assert found.rio.crs == right.rio.crs
        shutil.rmtree(path)


# -- through the command ----------------------------------------------------------------------------------------------
def test_a_damaged_chunk_is_told_by_readers_and_mended_by_map(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "out": out, **AREA}
    pipeline.map_glaciers(years=(2022, 2023), **options)
    before = ix.open_store(out / "glaciers.zarr").load()
    flip(out / "glaciers.zarr" / "probability" / "c" / "1" / "0" / "0")
    line = refused(capsys, "outlines", out)
    assert "1 units of 2023 are damaged, the first at row 0, column 0: run the same `map` of 2023 again" in line
    with pytest.raises(StoreError, match="1 units of 2023 are damaged"):
        pipeline.map_glaciers(years=(2022,), **options)
    report = pipeline.map_glaciers(years=(2022, 2023), **options)
    assert [(year.units, year.units_kept) for year in report.years] == [(0, 1), (1, 0)]
    xr.testing.assert_identical(ix.open_store(out / "glaciers.zarr").load(), before)
    gone(out / "glaciers.zarr" / "x" / "c" / "0")  # would read as zeros
    assert "the coordinate x is wrong" in refused(capsys, "outlines", out)
    pipeline.map_glaciers(years=(2023,), **options)
    assert run(capsys, "outlines", out)[0] == 0
    xr.testing.assert_identical(ix.open_store(out / "glaciers.zarr").load(), before)
    cut(out / "glaciers.zarr" / "zarr.json")
    assert "remove the store and run the same again" in refused(capsys, "outlines", out)
    with pytest.raises(StoreError, match="remove the store and run the same again"):
        pipeline.map_glaciers(years=(2023,), **options)


def test_damage_in_a_bucket_is_mended_too(prefix: str) -> None:
    import fsspec

    cube = f"{prefix}/a.zarr"
    store.write(store_cases.result(), cube, year=2023, chunk=64)
    before = store.open_store(cube).load()
    filesystem = fsspec.filesystem("s3")
    chunk = f"{cube}/probability/c/0/0/1"
    content = filesystem.cat_file(chunk)
    filesystem.pipe_file(chunk, content[: len(content) // 2])
    filesystem.rm(f"{cube}/y/c/0")
    with pytest.raises(StoreError, match="the coordinate y is wrong"):
        store.open_store(cube)
    report = store.write(store_cases.result(), cube, year=2023, chunk=64)
    assert (report.written, report.kept) == (1, 3)
    xr.testing.assert_identical(store.open_store(cube).load(), before)
    filesystem.pipe_file(f"{cube}/zarr.json", b'{"zarr')
    with pytest.raises(StoreError, match=r"a\.zarr cannot be opened: its zarr\.json is damaged"):
        store.write(store_cases.result(), cube, year=2023, chunk=64, overwrite=True)


def test_a_store_of_an_older_version_is_read_and_resumed(tmp_path: Path) -> None:
    """Without the checksum in its attributes."""
    import zarr

    path = tmp_path / "a.zarr"
    store.write(store_cases.result(), path, year=2023, chunk=64)
    group = zarr.open_group(path, mode="r+")
    ours = dict(group.attrs["icemapper_store"])
    del ours["checksum"]
    group.update_attributes({"icemapper_store": ours})
    (path / "probability/c/0/0/1").unlink()
    assert store.status(path) == {2023: (3, 4)}
    assert store.write(store_cases.result(), path, year=2023, chunk=64).written == 1


# -- strips that nobody takes up --------------------------------------------------------------------------------------
def left(path: Path) -> list[str]:
    home = path.with_name(f".{path.name}.work")
    return sorted(one.name.partition("-")[0] for one in home.iterdir()) if home.exists() else []


def test_strips_of_a_run_that_is_replaced_go_with_it(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    plans = {year: verbs.plan_cube(catalog=folder, year=year, margin=32, **AREA) for year in (2022, 2023)}

    def stop(outcome: Outcome, total: Written) -> None:
        if total.written == 3:
            raise RuntimeError("stop")

    def begin(year: int, segmenter: FakeSegmenter, **options: Any) -> None:
        with pytest.raises(RuntimeError, match="stop"):
            execution.map_cube(plans[year], segmenter, path, year=year, chunk=CHUNK, on_outcome=stop, **options)

    one, other = FakeSegmenter(window=32), FakeSegmenter(window=32, context=0.5)
    begin(2022, one)
    begin(2023, one)
    assert left(path) == ["2022", "2023"]
    # Another run that has not ended replaces nothing yet: both can be taken up.
    begin(2023, other, overwrite=True)
    assert left(path) == ["2022", "2023", "2023"]
    execution.map_cube(plans[2023], other, path, year=2023, chunk=CHUNK, overwrite=True)
    assert store.provenance(path)["run"]["weights_digest"] == "fake-32-0.5"
    assert left(path) == []
    assert [one.name for one in tmp_path.iterdir()] == ["a.zarr"]
    # The replacement is given up: what it left goes when the old run ends.
    begin(2022, one, overwrite=True)
    assert left(path) == ["2022"]
    execution.map_cube(plans[2023], other, path, year=2023, chunk=CHUNK)
    assert left(path) == []
    assert [one.name for one in tmp_path.iterdir()] == ["a.zarr"]


def test_strips_of_a_store_that_was_removed_by_hand_go_with_the_next_run(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    stray = Location.parse(path).sibling(".work").below("2019-0123456789abcdef")
    stray.put_file("0_0.core", b"x")
    assert left(path) == ["2019"]
    store.write(store_cases.result(), path, year=2023)
    assert left(path) == []


def test_status_tells_of_the_strips(series: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(outcome: Outcome, total: Written) -> None:
        if total.written == 6:
            raise RuntimeError("stop")

    path = tmp_path / "glaciers.zarr"
    with pytest.raises(RuntimeError, match="stop"):
        map_on(series, path, on_outcome=stop)
    files = [one for one in (tmp_path / ".glaciers.zarr.work").rglob("*") if one.is_file()]
    size = sum(one.stat().st_size for one in files)
    assert store.leftovers(path) == {2023: (len(files), size)}
    text = run(capsys, "status", tmp_path)[1]
    assert f"strips between units of 2023: {len(files)} files, {size / 1e6:.1f} MB in .glaciers.zarr.work" in text
    map_on(series, path)
    assert "strips" not in run(capsys, "status", tmp_path)[1]
