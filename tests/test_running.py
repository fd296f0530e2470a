"""`plan`, `status`, and what stops a run: one line each, and what was done stays."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely

from icemapper_xr import catalog, cli, pipeline, regions, store, vectorise
from icemapper_xr._types import Bounds, Observation
from icemapper_xr.cube import read
from icemapper_xr.errors import ClusterError, CubeError, OptionError, StoreError
from icemapper_xr.pipeline import estimates, execution, journals, planning, verbs
from icemapper_xr.pipeline.outcomes import Outcome, Written
from icemapper_xr.store import handover
from icemapper_xr.store.location import Location
from icemapper_xr.testing import FakeSegmenter
from tests import map_support, scenes
from tests.map_support import CHUNK, Tracing

ROOT = Path(__file__).resolve().parents[1]


def where() -> dict:
    return {"bounds": scenes.inner(), "crs": f"EPSG:{scenes.EPSG}"}


# -- SIGTERM ----------------------------------------------------------------------------------------------------------
HANG = """
import multiprocessing, os, signal, sys, time
from pathlib import Path
from icemapper_xr import cli, whole
from icemapper_xr.store import lock
from icemapper_xr.store.location import Location

@cli.app.command
def hang(out: Path) -> None:
    with lock.hold(Location.parse(out / "a.zarr")), whole.appearing(out / "outlines.gpkg") as part:
        part.write_text("half")
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        while child.is_alive():  # a signal that comes while Python forks is lost
            child.terminate()
            child.join(0.2)
        print(child.exitcode, part.exists(), flush=True)
        try:
            time.sleep(60)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # schedulers send it more than once

fail = cli._fail

def late(*said: object) -> None:  # a signal that comes when all is cleaned up
    os.kill(os.getpid(), signal.SIGTERM)
    fail(*said)

cli._fail = late
cli.main(["hang", sys.argv[1]])
"""


def test_sigterm_ends_a_command_as_ctrl_c_does(tmp_path: Path) -> None:
    """SLURM sends it at the time limit; hidden files of what was being written stayed for ever."""
    process = subprocess.Popen(
        [sys.executable, "-c", HANG, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    # A process that was forked ends at once, and cleans up nothing of its parent's.
    assert process.stdout.readline() == f"{-signal.SIGTERM} True\n"
    assert len(list(tmp_path.iterdir())) == 2
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert said == (
        "icemapper: stopped by SIGTERM; the same command again goes on where it was (of `train`: with --resume)\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_command_leaves_sigterm_as_it_was() -> None:
    before = signal.getsignal(signal.SIGTERM)
    cli.main(["--version"])
    assert signal.getsignal(signal.SIGTERM) is before


# -- plan -------------------------------------------------------------------------------------------------------------
def test_a_plan_counts_what_the_map_then_does(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, raw = [], read._raw

    def counted(*args: object) -> tuple[np.ndarray, np.ndarray]:
        values, observed = raw(*args)
        pixels.append(int(observed.sum()))
        return values, observed

    monkeypatch.setattr(read, "_raw", counted)
    segmenter = FakeSegmenter(window=32)
    plan = pipeline.plan_map(
        catalog=folder, weights=segmenter, out=tmp_path / "out", years=(2023,), rate=7.0, **where()
    )
    assert not (tmp_path / "out").exists()
    report = pipeline.map_glaciers(catalog=folder, weights=segmenter, out=tmp_path / "out", years=(2023,), **where())
    assert plan.windows == report.windows.evaluated == 49
    assert plan.units == report.years[0].units == 1
    assert plan.area_km2 == pytest.approx(90 * 80 * 1e-4)
    assert (plan.years[0].items, plan.years[0].rasters, plan.years[0].steps) == ({"IW": 15}, 15, (15, 15))
    assert plan.years[0].orbits == (14,)
    assert plan.years[0].gigabytes == pytest.approx(4 * sum(pixels) / 1e9)  # float32
    assert plan.seconds == pytest.approx(49 / 7.0)
    assert plan.problems == ()


def test_a_plan_is_of_the_orbit_of_the_years_that_are_there(tmp_path: Path) -> None:
    """As the map, which would fake change with another; a folder that has no map yet gets the orbit of most steps."""
    scenes.write_rtc(tmp_path / "data", year=2022)
    scenes.write_rtc(tmp_path / "data", year=2023, drop=(3,))
    scenes.write_rtc(tmp_path / "data", year=2023, orbit=116)
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "weights": FakeSegmenter(window=32), **where()}
    pipeline.map_glaciers(out=tmp_path / "out", years=(2022,), **options)
    orbits = {
        out: pipeline.plan_map(out=tmp_path / out, years=(2023,), rate=1.0, **options).years[0].orbits
        for out in ("out", "new")
    }
    assert orbits == {"out": (14,), "new": (116,)}
    assert pipeline.map_glaciers(out=tmp_path / "out", years=(2023,), **options).years[0].relative_orbit == 14


def test_a_year_that_another_run_ends_while_outlines_are_drawn_is_drawn_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that ended last wrote outlines without the other's year."""
    for year in (2022, 2023):
        scenes.write_rtc(tmp_path / "data", year=year)
    catalog.build(tmp_path / "data")
    options = {"catalog": tmp_path / "data", "weights": FakeSegmenter(window=32), "out": tmp_path / "out", **where()}
    write = vectorise.write

    def held(*args: object, **more: object) -> None:
        monkeypatch.setattr(vectorise, "write", write)
        pipeline.map_glaciers(years=(2023,), **options)
        write(*args, **more)

    monkeypatch.setattr(vectorise, "write", held)
    pipeline.map_glaciers(years=(2022,), **options)
    assert set(gpd.read_file(tmp_path / "out" / "outlines.gpkg")["year"]) == {2022, 2023}


def test_a_plan_of_an_area_knows_its_mask(folder: Path, tmp_path: Path) -> None:
    """The polygon of the area and the file of the mask leave the windows that the map then evaluates."""
    west, south, east, north = (round(edge, 4) for edge in lonlat())
    land = str(tmp_path / "land.geojson")
    gpd.GeoDataFrame(geometry=[shapely.box(west - 1, south - 1, west + 0.01, north + 1)], crs=4326).to_file(land)
    triangle = shapely.Polygon([(west, south), (east, south), (west, north)])
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "years": (2023,)}
    areas = (
        {**where(), "mask": land, "mask_buffer": 0.0},
        {**where(), "mask": land, "mask_buffer": 200.0},
        {"geometry": triangle, "mask": land, "mask_buffer": 0.0},
        {"geometry": triangle},
        where(),
    )
    planned = [pipeline.plan_map(**options, rate=1.0, **area).windows for area in areas]
    reports = [pipeline.map_glaciers(**options, out=tmp_path / f"{k}", **area) for k, area in enumerate(areas)]
    assert planned == [report.windows.evaluated for report in reports]
    assert planned[0] < planned[1] < planned[4]
    assert planned[2] < planned[3] < planned[4]
    with pytest.raises(OptionError, match=r"the mask /nonexistent\.gpkg does not exist"):
        pipeline.plan_map(**options, rate=1.0, mask="/nonexistent.gpkg", **where())


def lonlat() -> tuple[float, float, float, float]:
    """Box of the area in degrees."""
    return pyproj.Transformer.from_crs(scenes.EPSG, 4326, always_xy=True).transform_bounds(*scenes.inner())


def test_the_command_plan_takes_the_mask_of_map(folder: Path, tmp_path: Path, capsys) -> None:
    weights = scenes.write_weights(tmp_path / "tiny.h5")
    bounds = [str(edge) for edge in scenes.inner()]
    options = ["--catalog", folder, "--bounds", *bounds, "--crs", f"EPSG:{scenes.EPSG}", "--year", 2023]
    plan = ["plan", *map(str, options), "--weights", str(weights), "--rate", "1"]
    west, south, _, north = lonlat()
    land = tmp_path / "land.geojson"
    gpd.GeoDataFrame(geometry=[shapely.box(west - 1, south, west + 0.004, north)], crs=4326).to_file(land)
    cli.main([*plan, "--mask", str(land), "--mask-buffer", "0"])
    masked = capsys.readouterr().out
    cli.main(plan)
    windows = [int(text.partition("windows")[2].split()[0]) for text in (masked, capsys.readouterr().out)]
    assert 0 < windows[0] < windows[1] == 49
    for more, words in (
        (["--mask", "/nonexistent.gpkg"], "the mask /nonexistent.gpkg does not exist"),
        (["--region", "07"], "region and bounds, crs are both given"),
    ):
        with pytest.raises(SystemExit, match="2"):
            cli.main([*plan, *more])
        assert words in capsys.readouterr().err


def test_a_plan_refuses_what_cannot_fit(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from icemapper_xr.cluster import ClusterOptions

    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "years": (2023,), "rate": 1.0, **where()}
    plan = pipeline.plan_map(cluster="local", cluster_options=ClusterOptions(workers=2, memory="500MB"), **options)
    assert plan.workers == 2
    assert len(plan.problems) == 1
    assert "a worker needs 1.7 GB of memory and has 0.5 GB" in plan.problems[0]
    monkeypatch.setattr(planning, "_free", lambda _: 1e6)
    plan = pipeline.plan_map(out=tmp_path / "out", **options)
    assert "the output takes up to 0.0 GB and 0.0 GB are free: name another disk" in plan.problems[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"crs": "EPSG:3857"}, r"pixels of 10 m in its projection are 2\.03 m on the ground"),
        ({"resolution": 20}, r"pixels are 20 m, the weights were trained on 10 m.*--resample bilinear"),
        ({"resolution": 15, "resample": "bilinear"}, r"pixels of 15 m, 10 m are wanted, which is no whole ratio"),
    ],
)
def test_a_plan_refuses_the_pixels_that_the_map_refuses(folder: Path, tmp_path: Path, more: dict, message: str) -> None:
    options = {"catalog": folder, "weights": FakeSegmenter(window=32), "years": (2023,), "bbox": lonlat()}
    for verb in (functools.partial(pipeline.plan_map, rate=1.0), pipeline.map_glaciers):
        with pytest.raises((CubeError, OptionError), match=message):
            verb(out=tmp_path / "out", resampling="average", **options, **more)


def test_a_rate_is_measured_on_the_weights(folder: Path) -> None:
    plan = pipeline.plan_map(catalog=folder, weights=FakeSegmenter(window=32, burn=0.05), years=(2023,), **where())
    assert plan.measured
    assert 0 < plan.rate <= 20  # a busy machine may take its time
    with pytest.raises(OptionError, match="rate=0"):
        pipeline.plan_map(catalog=folder, weights=FakeSegmenter(window=32), years=(2023,), rate=0, **where())


def observation(k: int, *, orbit: int, day: int, west: float, south: float, size: float = 2.0) -> Observation:
    acquired = dt.datetime(2023, 1, 1, 6, tzinfo=dt.UTC) + dt.timedelta(days=day)
    box = Bounds(west, south, west + size, south + size)
    return Observation(
        f"item{k}", "rtc", f"/x/{k}.tif", acquired, polarisation="HH", relative_orbit=orbit, bbox=box, platform="S1A"
    )


def test_a_tile_takes_the_orbit_with_the_most_steps_and_one_pass_a_step() -> None:
    box = Bounds(15.0, 78.0, 16.0, 78.5)
    full = [observation(k, orbit=14, day=12 * k + 2, west=14.5, south=77.5) for k in range(30)]
    half = [observation(100 + k, orbit=87, day=24 * k + 5, west=14.5, south=77.5) for k in range(7)]
    far = [observation(200 + k, orbit=3, day=24 * k + 5, west=100.0, south=70.0) for k in range(15)]
    index = estimates.Index.of([*full, *half, *far]).within(dt.date(2023, 1, 1))
    assert index.choose(box, features=("rtc",), orbit=None, polarisation=None) == (14, 15, 15, 15.0)
    assert index.choose(box, features=("rtc",), orbit=87, polarisation=None) == (87, 7, 7, 7.0)
    assert index.choose(box, features=("rtc",), orbit=99, polarisation=None) is None
    crossed = [dataclasses.replace(one, polarisation="HV", relative_orbit=5) for one in full]
    assert estimates.Index.of(crossed).choose(box, features=("rtc",), orbit=None, polarisation=None) is None
    across = estimates.Index.of([observation(0, orbit=1, day=3, west=179.0, south=70.0)]).within(dt.date(2023, 1, 1))
    beyond = across.choose(Bounds(-179.9, 70.5, -179.5, 71.0), features=("rtc",), orbit=None, polarisation=None)
    assert beyond is not None
    assert beyond.share == pytest.approx(1.0)


def test_tiles_count_only_blocks_that_their_mask_meets() -> None:
    bounds = Bounds(0.0, 0.0, 4 * 11_520.0, 4 * 11_520.0)
    whole, corner = (
        estimates.size(estimates.Place(32633, bounds, mask), FakeSegmenter(window=384), overlap=0.5)
        for mask in (None, regions.Mask.of(shapely.box(0, 0, 11_000, 11_000)))
    )
    assert whole.units == corner.units == 16
    assert whole.pixels == (4 * 1152) ** 2
    assert corner.pixels == 2 * 1152**2  # the cell itself, and the one to the left whose halo reaches into it: below 0
    assert whole.windows == 25 * 25
    assert corner.windows == 7 * 7  # of 3840 m every 1920 m from -1920 m on


# -- status -----------------------------------------------------------------------------------------------------------
def test_status_tells_done_missing_failed_and_why(folder: Path, tmp_path: Path, capsys) -> None:
    series = verbs.plan_cube(catalog=folder, year=2023, margin=32, **where())
    out = tmp_path / "out"

    def stop(outcome: Outcome, total: Written) -> None:
        if total.written == 5:
            raise RuntimeError("stop")

    segmenter = Tracing(trace=str(tmp_path / "trace"))
    out.mkdir()
    with pytest.raises(RuntimeError):
        execution.map_cube(series, segmenter, out / "glaciers.zarr", year=2023, chunk=CHUNK, on_outcome=stop)
    left = handover.years(Location.parse(out / "glaciers.zarr"))[2023]
    left.fail(store.Unit(3, 3), "two of the dates cannot be read")
    found = pipeline.status_of_run(out)
    [row] = found.years
    assert (row.year, row.units, row.done + row.missing) == (2023, 16, 15)
    assert 5 <= row.done < 15  # the unit that was being computed beside the fifth may have been written as well
    assert row.failed == {(3, 3): "two of the dates cannot be read"}
    assert not found.complete
    cli.main(["status", str(out)])
    text = capsys.readouterr().out
    assert f"2023  16     {row.done:<4}  {row.missing:<7}  1" in text
    assert "failed: 2023, unit at row 3, column 3: two of the dates cannot be read" in text
    assert "the same map command again goes on (failed units: with --retry-failed)" in text
    execution.map_cube(series, segmenter, out / "glaciers.zarr", year=2023, chunk=CHUNK, retry_failed=True)
    assert pipeline.status_of_run(out / "glaciers.zarr").complete


def test_status_of_nothing(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["status", str(tmp_path)])
    assert "there is no map in" in capsys.readouterr().err


def test_status_tells_who_is_writing_and_how_the_last_run_ended(folder: Path, tmp_path: Path) -> None:
    series = verbs.plan_cube(catalog=folder, year=2023, margin=32, **where())
    seen = []

    def look(outcome: Outcome, total: Written) -> None:
        if total.written:
            seen.append(pipeline.status_of_run(tmp_path).writer)

    journal = journals.Journal(tmp_path)
    execution.map_cube(
        series,
        FakeSegmenter(window=32),
        tmp_path / "glaciers.zarr",
        year=2023,
        chunk=CHUNK,
        on_outcome=look,
        journal=journal,
    )
    assert f"process {os.getpid()} on" in str(seen[0])
    assert pipeline.status_of_run(tmp_path).writer is None
    assert pipeline.status_of_run(tmp_path).ended is None  # the log breaks off
    journal.event("end", error="ClusterError: gone")
    journal.close()
    assert pipeline.status_of_run(tmp_path).ended == "ClusterError: gone"


# -- what stops a run -------------------------------------------------------------------------------------------------
def command(folder: Path, out: Path, *more: object) -> list[str]:
    bounds = [str(edge) for edge in scenes.inner()]
    options = ["--catalog", folder, "--bounds", *bounds, "--crs", f"EPSG:{scenes.EPSG}", "--year", 2023, "--out", out]
    return ["map", *map(str, options), *map(str, more)]


def test_a_scheduler_that_is_not_there(folder: Path, tmp_path: Path, capsys) -> None:
    weights = scenes.write_weights(tmp_path / "tiny.h5")
    with pytest.raises(SystemExit, match="2"):
        cli.main(command(folder, tmp_path / "out", "--weights", weights, "--cluster", "tcp://127.0.0.1:1", "--wait", 1))
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("icemapper: no scheduler answers at tcp://127.0.0.1:1")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_leaves_what_was_done(folder: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    series = verbs.plan_cube(catalog=folder, year=2023, margin=32, **where())
    segmenter = Tracing(trace=str(tmp_path / "trace"))
    options = {"year": 2023, "chunk": CHUNK}
    try:
        with pytest.raises(StoreError, match=r"No space left on device; \d+ of 16 units are done and stay"):
            execution.map_cube(series, segmenter, disk / "a.zarr", **options)
        done = store.status(disk / "a.zarr")[2023][0]
        assert 0 < done < 16
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        written = execution.map_cube(series, segmenter, disk / "a.zarr", **options)
        assert (written.kept, written.written) == (done, 16 - done)
        execution.map_cube(series, FakeSegmenter(window=32), tmp_path / "b.zarr", **options)
        assert map_support.chunk_files(disk / "a.zarr") == map_support.chunk_files(tmp_path / "b.zarr")
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_control_c_stops_at_once_and_says_how_to_go_on(folder: Path, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom icemapper_xr import cli, models\nfrom icemapper_xr.prediction import core\n"
        "from tests.map_support import Tracing\n"
        "core.BATCH_BYTES = 1\n"  # a window a call, as large windows have it: a run stops between two calls
        f"models.loaded = lambda *a, **k: Tracing(trace={str(tmp_path / 'trace')!r}, burn=0.3)\n"
        "cli.main(sys.argv[1:])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, *command(folder, tmp_path / "out", "--weights", "fake")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    for _ in range(1200):
        if (tmp_path / "trace").exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert len((tmp_path / "trace").read_text().splitlines()) < 40  # of 49 windows
    told = "icemapper: stopped; the same command again goes on where it was (of `train`: with --resume)"
    assert err.strip().splitlines()[-1] == told


def test_a_cluster_that_goes_away_leaves_what_was_done(folder: Path, tmp_path: Path) -> None:
    from distributed import Client, Nanny, Scheduler, SpecCluster

    series = verbs.plan_cube(catalog=folder, year=2023, margin=32, **where())
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": ":0"}}
    workers = {"one": {"cls": Nanny, "options": {"nthreads": 1}}}
    cluster = SpecCluster(scheduler=scheduler, workers=workers)
    client = Client(cluster, set_as_default=False)

    def leave(outcome: Outcome, total: Written) -> None:
        if total.written == 2:
            cluster.close()

    try:
        with pytest.raises(ClusterError, match=r"the cluster is gone .*; \d+ of 16 units are done and stay"):
            execution.map_cube(
                series,
                FakeSegmenter(window=32),
                tmp_path / "a.zarr",
                year=2023,
                chunk=CHUNK,
                client=client,
                on_outcome=leave,
            )
    finally:
        client.close(timeout=1)
        cluster.close()
    assert 2 <= store.status(tmp_path / "a.zarr")[2023][0] < 16
    execution.map_cube(series, FakeSegmenter(window=32), tmp_path / "a.zarr", year=2023, chunk=CHUNK)
    expected = verbs.predict(series.open().compute(), weights=FakeSegmenter(window=32)).probability
    np.testing.assert_array_equal(store.open_store(tmp_path / "a.zarr").probability[0], expected)
