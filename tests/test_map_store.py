"""Maps whose cube lies in a bucket or on another disk, and what run.json says of the years."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import fsspec
import geopandas as gpd
import pytest
import xarray as xr

import icemapper_xr as ix
from icemapper_xr import conventions, pipeline, store
from icemapper_xr.conventions import MIN_STEPS
from icemapper_xr.errors import OptionError, StoreError
from icemapper_xr.pipeline import execution, mapping, records, units
from icemapper_xr.pipeline.outcomes import Outcome, Written
from icemapper_xr.settings import MapSettings
from icemapper_xr.testing import CallCounter, FakeSegmenter
from tests import map_support, s3, scenes
from tests.catalog_support import http_folder
from tests.test_cli import refused, run

AREA = {"bounds": scenes.inner(), "crs": f"EPSG:{scenes.EPSG}"}
OPTIONS = ["--bounds", *map(str, map(int, scenes.inner())), "--crs", f"EPSG:{scenes.EPSG}"]


@pytest.fixture(scope="module")
def folder(two_years: Path) -> Path:
    return two_years


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- buckets ----------------------------------------------------------------------------------------------------------
def test_a_map_into_a_bucket_is_the_map_on_disk_and_every_verb_finds_it(
    folder: Path, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cube, out, here = f"{prefix}/glaciers.zarr", tmp_path / "out", tmp_path / "here"
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "years": (2022, 2023), **AREA}
    pipeline.map_glaciers(out=out, store=cube, **options)
    assert names(out) == ["logs", "orbits.gpkg", "outlines.gpkg", "run.json", "store.json"]
    pipeline.map_glaciers(out=here, **options)
    xr.testing.assert_identical(ix.open_store(cube).load(), ix.open_store(here / "glaciers.zarr").load())
    assert gpd.read_file(out / "outlines.gpkg").equals(gpd.read_file(here / "outlines.gpkg"))
    assert sorted(fsspec.filesystem("s3").ls(prefix, detail=False)) == [cube.removeprefix("s3://")]
    said = json.loads((out / "run.json").read_text())
    assert said["store"] == cube
    assert json.loads((here / "run.json").read_text())["store"] is None

    # The folder remembers: the same command needs no --store.
    again = pipeline.map_glaciers(out=out, **options)
    assert (again.store, again.windows.evaluated) == (cube, 0)
    code, text, err = run(capsys, "status", out)
    assert code == 0, err
    assert f"the cube is {cube}\n" in text
    assert text.endswith("complete\n")
    for arguments, written in (
        (["outlines", "--threshold", "0.4"], "outlines.gpkg"),
        (["areas"], "areas.csv"),
        (["rates"], "rates.csv"),
        (["divides"], "glaciers.gpkg"),
    ):
        results = [run(capsys, arguments[0], place, *arguments[1:]) for place in (out, here)]
        assert [code for code, _, _ in results] == [0, 0], results
        one, other = (text.replace(str(place), "") for (_, text, _), place in zip(results, (out, here), strict=True))
        assert one == other
        assert (out / written).is_file()
    assert (out / "areas.csv").read_bytes() == (here / "areas.csv").read_bytes()
    code, text, err = run(capsys, "qc", out)
    assert code == run(capsys, "qc", here)[0], err
    assert not (out / "glaciers.zarr").exists()


def test_a_map_into_a_bucket_is_resumed_and_no_other_run_mixes_in(folder: Path, prefix: str, tmp_path: Path) -> None:
    counter = CallCounter()
    options = {"catalog": folder, "years": (2023,), "out": tmp_path / "out", **AREA}
    segmenter = FakeSegmenter(window=32, counter=counter)
    cube = f"{prefix}/glaciers.zarr"
    report = pipeline.map_glaciers(weights=segmenter, store=cube, **options)
    assert report.store == cube
    before = ix.open_store(cube).load()
    fsspec.filesystem("s3").rm(f"{cube}/n_obs/c/0/0/0")
    counter.windows = 0
    again = pipeline.map_glaciers(weights=segmenter, **options)
    assert [(year.units, year.units_kept) for year in again.years] == [(1, 0)]
    assert counter.windows > 0
    xr.testing.assert_identical(ix.open_store(cube).load(), before)
    other = FakeSegmenter(window=32, context=0.5)
    for out in (tmp_path / "out", tmp_path / "new"):
        with pytest.raises(StoreError, match=rf"The store {cube} belongs to another run: .*digest"):
            pipeline.map_glaciers(weights=other, store=cube, **{**options, "out": out})
    assert not (tmp_path / "new").exists()
    xr.testing.assert_identical(ix.open_store(cube).load(), before)
    pipeline.map_glaciers(weights=other, overwrite=True, **options)
    assert store.provenance(cube)["run"]["weights_digest"] == "fake-32-0.5"


def test_strips_in_a_bucket_outlive_a_run_that_breaks_off(folder: Path, prefix: str, tmp_path: Path) -> None:
    series = pipeline.verbs.plan_cube(catalog=folder, year=2023, margin=32, **AREA)
    traced = map_support.Tracing(trace=str(tmp_path / "trace"))
    cube = f"{prefix}/glaciers.zarr"

    def stop(outcome: Outcome, total: Written) -> None:
        if total.written == 6:
            raise RuntimeError("stop")

    options: dict[str, Any] = {"year": 2023, "chunk": map_support.CHUNK}
    with pytest.raises(RuntimeError, match="stop"):
        execution.map_cube(series, traced, cube, on_outcome=stop, **options)
    assert fsspec.filesystem("s3").exists(f"{prefix}/.glaciers.zarr.work")
    execution.map_cube(series, traced, cube, **options)
    digests = [digest for digest, _ in traced.lines()]
    assert len(digests) - len(set(digests)) <= 4 * units.AT_ONCE
    execution.map_cube(series, FakeSegmenter(window=32), tmp_path / "here.zarr", **options)
    xr.testing.assert_identical(
        ix.open_store(cube).drop_attrs().load(), ix.open_store(tmp_path / "here.zarr").drop_attrs().load()
    )
    assert fsspec.filesystem("s3").ls(prefix, detail=False) == [cube.removeprefix("s3://")]


def test_a_bucket_without_rights_is_a_line_and_what_was_done_stays(
    folder: Path, prefix: str, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, cube = tmp_path / "out", f"{prefix}/glaciers.zarr"
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), **AREA}
    pipeline.map_glaciers(out=out, store=cube, years=(2022,), **options)
    s3.ask_for_keys(bucket, strict=True)
    denied = rf"{cube}: access denied .*check the account and its rights"
    for verb in ("status", "outlines", "areas", "divides"):
        assert re.search(denied, refused(capsys, verb, out))
    with pytest.raises(StoreError, match=denied):
        pipeline.map_glaciers(out=out, years=(2023,), **options)
    with pytest.raises(StoreError, match=denied):
        pipeline.map_glaciers(out=tmp_path / "new", store=cube, years=(2023,), **options)
    assert not (tmp_path / "new").exists()
    assert names(out) == ["logs", "orbits.gpkg", "outlines.gpkg", "run.json", "store.json"]
    s3.ask_for_keys(bucket, strict=False)
    assert store.status(cube) == {2022: (1, 1)}
    pipeline.map_glaciers(out=out, years=(2023,), **options)
    assert store.status(cube) == {2022: (1, 1), 2023: (1, 1)}
    assert set(gpd.read_file(out / "outlines.gpkg").year) == {2022, 2023}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "s3://ice/map"], "write --out FOLDER --store s3://ice/map/glaciers.zarr"),
        (["--out", "new", "--store", "s3://ice"], "name a place in the bucket, for example s3://ice/glaciers.zarr"),
        (["--out", "new", "--store", "s3://ice/a.zarr", "--region", "14,77,18,79"], "the tiles of a region lie in its"),
        (["--out", "s3://ice/map", "--region", "14,77,18,79"], "write --out FOLDER"),
        (["--out", "new", "--store", "https://me:secret@ice.org/a.zarr"], "leave tokens out"),
        (["--out", "new", "--store", "https://ice.org/a.zarr?sig=secret"], "leave tokens out"),
    ],
)
def test_what_is_no_place_for_a_map_is_refused(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = scenes.write_weights(tmp_path / "tiny.h5")
    area = [] if "--region" in arguments else OPTIONS
    line = refused(capsys, "map", "--catalog", folder, *area, "--weights", weights, "--year", "2023", *arguments)
    assert words in line
    assert "secret" not in line
    assert names(tmp_path) == ["tiny.h5"]


def test_results_of_a_cube_in_a_bucket_need_a_file_or_its_folder(
    folder: Path, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cube = f"{prefix}/a.zarr"
    pipeline.map_glaciers(
        catalog=folder, weights=FakeSegmenter(window=32), out=tmp_path / "out", store=cube, years=(2023,), **AREA
    )
    assert "name the local output folder of its map, or a file to write" in refused(capsys, "outlines", cube)
    assert run(capsys, "outlines", cube, tmp_path / "drawn.gpkg")[0] == 0
    drawn, before = (gpd.read_file(path) for path in (tmp_path / "drawn.gpkg", tmp_path / "out" / "outlines.gpkg"))
    assert drawn[list(before)].equals(before)
    assert "complete" in run(capsys, "status", cube)[1]


# -- another disk -----------------------------------------------------------------------------------------------------
def test_a_folder_has_one_cube(folder: Path, tmp_path: Path) -> None:
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "years": (2023,), **AREA}
    big = tmp_path / "big" / "cube.zarr"
    report = pipeline.map_glaciers(out=tmp_path / "out", store=big, **options)
    assert report.store == str(big)
    assert store.cube_of(tmp_path / "out") == str(big)
    with pytest.raises(StoreError, match=rf"the cube of .*out is {big}, not .*other\.zarr: name another folder"):
        pipeline.map_glaciers(out=tmp_path / "out", store=tmp_path / "other.zarr", **options)
    moved = big.rename(tmp_path / "moved.zarr")
    with pytest.raises(StoreError, match=rf"a cube that was moved: write its place into .*{store.POINTER}"):
        pipeline.map_glaciers(out=tmp_path / "out", store=moved, **options)
    for verb in (pipeline.status_of_run, lambda out: pipeline.map_glaciers(out=out, **options)):
        with pytest.raises(StoreError, match=rf"out is not at {big}: mount that disk; if it was moved, write"):
            verb(tmp_path / "out")
    assert not big.exists()
    (tmp_path / "out" / store.POINTER).write_text(json.dumps({"store": str(moved)}))
    (kept,) = pipeline.map_glaciers(out=tmp_path / "out", store=moved, **options).years
    assert kept.units == 0
    pipeline.map_glaciers(out=tmp_path / "here", **options)
    with pytest.raises(StoreError, match=r"here has a cube of its own \(glaciers\.zarr\)"):
        pipeline.map_glaciers(out=tmp_path / "here", store=tmp_path / "other.zarr", **options)
    pipeline.map_glaciers(out=tmp_path / "here", store=tmp_path / "here" / "glaciers.zarr", **options)
    assert names(tmp_path / "here") == ["glaciers.zarr", "logs", "orbits.gpkg", "outlines.gpkg", "run.json"]
    (tmp_path / "out" / "store.json").write_text("{")
    with pytest.raises(StoreError, match=r"store\.json does not say where the cube is"):
        pipeline.status_of_run(tmp_path / "out")


def test_where_a_folder_says_its_cube_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cube, pointer = tmp_path / "a.zarr", tmp_path / "out" / store.POINTER
    cube.mkdir()
    pointer.parent.mkdir()
    for said in ("~/a.zarr", cube.as_uri(), f"{cube}/"):  # written by hand
        pointer.write_text(json.dumps({"store": said}))
        assert store.cube_of(pointer.parent) == str(cube)
        assert store.elsewhere(pointer.parent, None) == store.elsewhere(pointer.parent, cube) == str(cube)
    for name in (".a.zarr.old", ".a.zarr.2023.new"):  # being replaced
        hidden = cube.rename(tmp_path / name)
        assert store.cube_of(pointer.parent) == str(cube)
        hidden.rename(cube)
    for name in ("alpha.zarr", "a.zarr.bak", "a.zarr-2023"):
        cube.rename(tmp_path / name)
        with pytest.raises(StoreError, match=rf"out is not at {cube}: mount that disk"):
            store.cube_of(pointer.parent)
        (tmp_path / name).rename(cube)


def test_a_folder_whose_cube_is_gone_is_no_matter_of_another_cube(folder: Path, tmp_path: Path) -> None:
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "years": (2023,), **AREA}
    cube = Path(str(pipeline.map_glaciers(out=tmp_path / "out", **options).store))
    other = tmp_path / "other"
    other.mkdir()
    (other / store.POINTER).write_text(json.dumps({"store": str(tmp_path / "gone.zarr")}))
    lying_there = cube.rename(other / "own.zarr")
    assert records.threshold_of(lying_there) == conventions.THRESHOLD
    pipeline.outlines_of_run(lying_there)


def test_a_run_that_is_refused_leaves_neither_folder_nor_pointer(folder: Path, tmp_path: Path) -> None:
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "years": (2023,), **AREA}
    with pytest.raises(OptionError, match=r"FOLDER --store s3://ice/x/glaciers\.zarr"):
        pipeline.map_glaciers(out=Path("s3://ice/x"), **options)
    file = tmp_path / "file.zarr"
    file.write_text("a file")
    with pytest.raises(StoreError, match=r"file\.zarr exists and is a file"):
        pipeline.map_glaciers(out=tmp_path / "out", store=file, **options)
    assert names(tmp_path) == ["file.zarr"]


def test_a_run_that_is_refused_for_the_lock_leaves_the_pointer_of_the_one_that_has_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had seen no pointer before it planned, and took back that of the other one, which then failed at its end."""
    out, cube = tmp_path / "out", tmp_path / "big" / "cube.zarr"
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "years": (2023,), **AREA}
    under_way, go_on, reports = threading.Event(), threading.Event(), []
    first = threading.Thread(target=lambda: reports.append(pipeline.map_glaciers(out=out, store=cube, **options)))
    really_evaluated, really_planned = units.evaluate, mapping.planned

    def evaluate(job: Any) -> Any:
        under_way.set()
        assert go_on.wait(60)
        return really_evaluated(job)

    def planned(*args: Any, **named: Any) -> Any:
        found = really_planned(*args, **named)
        if threading.current_thread() is threading.main_thread():  # the second one, while it plans
            first.start()
            assert under_way.wait(60)
        return found

    monkeypatch.setattr(units, "evaluate", evaluate)
    monkeypatch.setattr(mapping, "planned", planned)
    try:
        with pytest.raises(StoreError, match="is being written by"):
            pipeline.map_glaciers(out=out, store=cube, **options)
        assert store.cube_of(out) == str(cube)
    finally:
        go_on.set()
        first.join()
    assert [report.store for report in reports] == [str(cube)]
    assert names(out) == ["logs", "orbits.gpkg", "outlines.gpkg", "run.json", "store.json"]


# -- run.json ---------------------------------------------------------------------------------------------------------
def test_run_json_names_all_years_and_what_made_them(folder: Path, tmp_path: Path) -> None:
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "out": tmp_path / "out", **AREA}
    pipeline.map_glaciers(years=(2023,), min_steps=9, **options)
    pipeline.map_glaciers(years=(2022,), threshold=0.6, **options)
    said = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (said["years"], said["threshold"]) == ([2022, 2023], 0.6)  # all outlines are drawn with the last threshold
    rows = [(run["years"], run["min_steps"], run["threshold"]) for run in said["runs"]]
    assert rows == [([2022], MIN_STEPS, 0.6), ([2023], 9, 0.5)]
    # Nothing is written again, so nothing else is said of what made the years.
    pipeline.map_glaciers(years=(2022, 2023), threshold=0.7, **options)
    again = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (again["years"], again["threshold"]) == ([2022, 2023], 0.7)
    assert again["runs"] == said["runs"]
    # Years that the same settings made share a row.
    pipeline.map_glaciers(years=(2022, 2023), overwrite=True, **options)
    last = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [run["years"] for run in last["runs"]] == [[2022, 2023]]


@pytest.mark.parametrize("text", ['{"years": [2022], "threshold": 0.3}', "{", "[]", '{"runs": 5}'])
def test_a_run_json_of_an_older_version_or_a_damaged_one_is_no_obstacle(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    records.save(tmp_path, MapSettings(catalog="c", weights="w", years=(2023,)), there=(2022, 2023), made=(2023,))
    said = records.settings_of(tmp_path)
    assert (said["years"], said["catalog"]) == ([2022, 2023], "c")
    older = {2022: {"threshold": 0.3, "years": [2022]}} if "threshold" in text else {}
    made = {year: run for run in said["runs"] for year in run["years"]}
    assert made[2023]["catalog"] == "c"
    assert {2022: made[2022]} == older or made[2022] == made[2023]


def test_the_key_of_a_catalogue_is_used_and_not_stored(folder: Path, tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    ix.search(folder).to_file(served / "items.json")
    options = {"weights": FakeSegmenter(window=32), "years": (2023,), "out": tmp_path / "out", **AREA}
    with http_folder(served) as url:
        pipeline.map_glaciers(catalog=f"{url}/items.json?subscription-key=SECRETone", **options)
        again = pipeline.map_glaciers(catalog=f"{url}/items.json?subscription-key=SECRETtwo", **options)
    assert [(year.units, year.units_kept) for year in again.years] == [(0, 1)]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in files if b"SECRET" in path.read_bytes()]
    said = json.loads((tmp_path / "out/run.json").read_text())
    assert said["catalog"] == f"{url}/items.json?subscription-key=***"
    assert len(said["runs"]) == 1
