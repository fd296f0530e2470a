"""Maps in units: every window once, the same bits whatever the units, the order, the workers and the interruptions."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from distributed import Client, Nanny, Scheduler, SpecCluster
from hypothesis import given, settings
from hypothesis import strategies as st

import icemapper_xr as ix
from icemapper_xr import applicability, conventions, prediction, store, tiling
from icemapper_xr._types import Bounds, FloatArray
from icemapper_xr.cube import read
from icemapper_xr.errors import CubeError, OptionError, StoreError
from icemapper_xr.pipeline import execution, journals, pools, trust, units, verbs
from icemapper_xr.pipeline.outcomes import Outcome, Written
from icemapper_xr.testing import CallCounter, FakeSegmenter
from tests import map_support, scenes
from tests.map_support import CHUNK, Tracing, chunk_files
from tests.test_prediction import make_cube, on_the_lattice


@pytest.fixture
def series(folder: Path) -> ix.pipeline.cube.Series:
    return verbs.plan_cube(catalog=folder, year=2023, margin=32, bounds=scenes.inner(), crs=scenes.EPSG)


@pytest.fixture
def run(series, tmp_path: Path):
    """`map_cube` in units of 32 px, of which the area has 4 x 4."""
    return functools.partial(execution.map_cube, series, path=tmp_path / "a.zarr", year=2023, chunk=CHUNK)


@pytest.fixture
def traced(tmp_path: Path) -> Tracing:
    return Tracing(trace=str(tmp_path / "trace"))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two worker processes, of which only the second declares a GPU."""
    options = {"nthreads": 1, "memory_limit": "2GiB"}
    workers = {
        "plain": {"cls": Nanny, "options": options},
        "gpu": {"cls": Nanny, "options": {**options, "resources": {"GPU": 1}}},
    }
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": ":0"}}
    with SpecCluster(scheduler=scheduler, workers=workers) as running, Client(running, set_as_default=False) as opened:
        opened.wait_for_workers(2)
        yield opened


def eager(series, segmenter) -> xr.Dataset:
    return ix.predict(series.open().compute(), weights=segmenter)


# -- blocks -----------------------------------------------------------------------------------------------------------
@settings(max_examples=30, deadline=None)
@given(
    area=st.tuples(st.integers(-400, 400), st.integers(-400, 400), st.integers(1, 150), st.integers(1, 150)),
    overlap=st.sampled_from([0.5, 0.25, 0.0]),
    cells=st.integers(1, 4),
)
def test_blocks_give_the_bits_of_the_whole_and_each_window_once(area, overlap: float, cells: int) -> None:
    left, bottom, width, height = area
    bounds = Bounds(10.0 * left, 10.0 * bottom, 10.0 * (left + width), 10.0 * (bottom + height))
    counter = CallCounter()
    segmenter = FakeSegmenter(window=32, counter=counter)
    cube = on_the_lattice(make_cube((height + 64, width + 64)), 32)
    cube = cube.assign_coords(
        y=bounds.top + 320 - 5 - 10.0 * np.arange(cube.sizes["y"]),
        x=bounds.left - 320 + 5 + 10.0 * np.arange(cube.sizes["x"]),
    ).assign_attrs(icemapper_area=list(bounds))
    expected = prediction.probability(cube, segmenter, overlap=overlap).result.probability.values
    whole, counter.windows = counter.windows, 0

    stride = tiling.stride_of(32, overlap)
    lattice = prediction.lattice(bounds, 10.0, window=32, overlap=overlap, chunk=96 * cells)
    origin = (round(-bounds.top / 10) - 32, round(bounds.left / 10) - 32)
    padded = np.pad(cube.rtc.values, ((0, 0), (0, 64), (0, 64)), constant_values=np.nan)
    partials = {}
    for block in lattice.blocks:
        rows, columns = lattice.rows[block.row], lattice.columns[block.column]
        values = padded[
            :, rows.start - origin[0] : rows.read - origin[0], columns.start - origin[1] : columns.read - origin[1]
        ]
        last = (rows.last, columns.last)
        partials[block] = prediction.evaluate(values, segmenter=segmenter, stride=stride, gap="nearest", last=last)
        assert sum(partials[block].windows) == lattice.windows(block)
    assert counter.windows == whole
    seen = np.zeros(expected.shape, bool)
    for block in lattice.blocks:
        rows, columns = lattice.rows[block.row], lattice.columns[block.column]
        if rows.keep is None or columns.keep is None:
            continue
        strips = {name: getattr(partials[source], name) for name, source in lattice.sources(block).items()}
        mapped = prediction.probability_of(partials[block].core, strips, lattice.weights_of(block))
        own = tuple(slice(s.keep[0] - s.start, s.keep[1] - s.start) for s in (rows, columns))
        there = (
            slice(rows.keep[0] - origin[0] - 32, rows.keep[1] - origin[0] - 32),
            slice(columns.keep[0] - origin[1] - 32, columns.keep[1] - origin[1] - 32),
        )
        known = np.isfinite(expected[there])
        np.testing.assert_array_equal(mapped[own][known], expected[there][known])
        assert not seen[there].any()
        seen[there] = True
    assert seen.all()


def test_a_chunk_that_the_stride_does_not_divide_is_refused() -> None:
    with pytest.raises(OptionError, match="chunk=40 is no multiple of the stride of 16"):
        prediction.lattice(Bounds(0, 0, 1000, 1000), 10.0, window=32, chunk=40)


# -- maps -------------------------------------------------------------------------------------------------------------
def test_a_map_has_the_bits_of_predict_and_evaluates_each_window_once(series, run, traced, tmp_path: Path) -> None:
    written = run(traced)
    assert written.units == written.written == 16
    digests = [digest for digest, _ in traced.lines()]
    assert written.windows.evaluated == len(digests) == len(set(digests)) == 7 * 7
    stored = ix.open_store(tmp_path / "a.zarr").sel(year=2023)
    expected = eager(series, FakeSegmenter(window=32))
    np.testing.assert_array_equal(stored.probability, expected.probability)
    np.testing.assert_array_equal(stored.n_obs, expected.n_obs)
    for name in (conventions.ATTR_AREA, conventions.ATTR_SETTINGS, conventions.ATTR_ITEMS, conventions.ATTR_ORBIT):
        assert stored.attrs[name] == expected.attrs[name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr", "trace"]  # nothing is left of the handover


def test_a_map_tells_where_its_input_is_unlike_the_training(series, run, tmp_path: Path) -> None:
    weights = scenes.write_weights(tmp_path / "w.h5")
    cube = series.open().compute()
    rows = applicability.summaries([cube.rtc.values[:, :96, :96]])
    parts = [rows.reshape(-1, rows.shape[-1])[k::8].repeat(12, axis=0) for k in range(8)]
    model = applicability.fit(parts, features=("rtc",), pixel_size=10.0, source="this place")
    applicability.write(model, applicability.beside(weights))
    segmenter = ix.load_model(weights)

    def stop(outcome: Outcome, total: Written) -> None:
        if total.written == 4:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        run(segmenter, on_outcome=stop)
    run(segmenter)  # what was scored before the break comes from the handover
    stored = ix.open_store(tmp_path / "a.zarr").sel(year=2023)
    expected = ix.predict(cube, weights=weights, applicability=True)
    assert float(expected.applicability.std()) > 0.05
    # the map scores what the network sees: dB, scaled to model units and back
    np.testing.assert_allclose(stored.applicability, expected.applicability, atol=2e-3)
    assert stored.applicability.attrs["training"] == "this place"
    run(segmenter, path=tmp_path / "b.zarr")
    assert chunk_files(tmp_path / "a.zarr") == chunk_files(tmp_path / "b.zarr")
    half = stored.assign(applicability=stored.applicability.where(stored.x > stored.x[stored.x.size // 2 - 1], 0))
    assert trust.unlike_share(half, threshold=0.0) == pytest.approx((0.5, 0.5))
    assert trust.unlike_share(half.assign(probability=half.probability * 0), threshold=0.5) == pytest.approx((0, 0.5))
    assert trust.unlike_share(stored.drop_vars("applicability"), threshold=0.0) is None


def test_threads_leave_the_settings_of_dask_alone(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks set the scheduler of all threads: where they overlapped, it stayed for the rest of the process."""
    seen, decibel = [], read.decibel

    def note(power: FloatArray) -> FloatArray:
        seen.append(dask.config.get("scheduler"))
        return decibel(power)

    monkeypatch.setattr(read, "decibel", note)
    with dask.config.set(scheduler="threads"):
        written = run(FakeSegmenter(window=32))
        assert dask.config.get("scheduler") == "threads"
    assert written.written == 16
    assert set(seen) == {"threads"}


def test_what_predict_wrote_is_resumed_and_has_the_same_files(series, run, tmp_path: Path) -> None:
    segmenter = FakeSegmenter(window=32)
    result = ix.predict(series.open(), weights=segmenter)
    store.write(result, tmp_path / "b.zarr", year=2023, chunk=CHUNK)
    run(segmenter)
    assert chunk_files(tmp_path / "a.zarr") == chunk_files(tmp_path / "b.zarr")
    (tmp_path / "b.zarr/probability/c/0/1/1").unlink()
    assert run(segmenter, path=tmp_path / "b.zarr").written == 1
    assert chunk_files(tmp_path / "a.zarr") == chunk_files(tmp_path / "b.zarr")


def test_resuming_evaluates_what_is_missing_and_its_neighbours_only(run, traced, tmp_path: Path) -> None:
    run(traced)
    before = chunk_files(tmp_path / "a.zarr")
    done = len(traced.lines())
    (tmp_path / "a.zarr/n_obs/c/0/2/1").unlink()
    written = run(traced)
    assert (written.written, written.kept) == (1, 15)
    assert written.repeated == 3  # above, to the left and across the corner: their strips are gone
    assert len(traced.lines()) - done == written.windows.evaluated == 4 * 4
    assert chunk_files(tmp_path / "a.zarr") == before


def test_strips_outlive_a_run_that_breaks_off(run, traced, tmp_path: Path) -> None:
    """What was evaluated before the break is not evaluated again."""

    class Break(Exception):
        pass

    def stop(outcome: Outcome, total: Written) -> None:
        if total.written == 4:
            raise Break

    with pytest.raises(Break):
        run(traced, on_outcome=stop)
    assert (tmp_path / ".a.zarr.work").is_dir()
    run(traced)
    digests = [digest for digest, _ in traced.lines()]
    repeated = len(digests) - len(set(digests))
    assert repeated <= 4 * units.AT_ONCE  # the windows of blocks that were under way
    other = tmp_path / "b.zarr"
    run(FakeSegmenter(window=32), path=other)
    assert chunk_files(tmp_path / "a.zarr") == chunk_files(other)
    assert not (tmp_path / ".a.zarr.work").exists()


def test_a_damaged_strip_is_made_again(run, traced, tmp_path: Path) -> None:
    run(FakeSegmenter(window=32), path=tmp_path / "b.zarr")

    def stop(outcome: Outcome, total: Written) -> None:
        if total.written == 4:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        run(traced, on_outcome=stop)
    for file in (tmp_path / ".a.zarr.work").rglob("*.below"):
        file.write_bytes(file.read_bytes()[:-3])
    run(traced)
    assert chunk_files(tmp_path / "a.zarr") == chunk_files(tmp_path / "b.zarr")


def test_a_mask_skips_what_it_leaves_out(series, run, traced, tmp_path: Path) -> None:
    mask = map_support.half_mask(series.area.area)
    written = run(traced, mask=mask)
    stored = ix.open_store(tmp_path / "a.zarr").sel(year=2023)
    wanted = mask.on(execution.map_area(series, traced))
    cube = series.open().compute()
    whole = xr.DataArray(mask.on(series.area.grid), coords={"y": cube.y, "x": cube.x}, dims=("y", "x"))
    expected = ix.predict(cube, weights=FakeSegmenter(window=32), mask=whole)
    np.testing.assert_array_equal(stored.probability, expected.probability)
    assert np.isnan(stored.probability.values[~wanted]).all()
    lazy = ix.predict(cube.chunk(y=CHUNK, x=CHUNK), weights=FakeSegmenter(window=32), mask=whole)
    for one in (stored, lazy):  # whatever the chunks, also those that are not read at all
        np.testing.assert_array_equal(one.n_obs, expected.n_obs)
    assert (expected.n_obs.values[~wanted] == 0).all()
    assert (expected.n_obs.values[wanted] > 0).any()
    assert written.windows.skipped > 0
    assert written.windows.evaluated == len(traced.lines()) < 7 * 7
    with pytest.raises(StoreError, match="mask"):
        run(traced)


def test_a_unit_that_fails_leaves_the_others_and_is_told(run, traced, tmp_path: Path) -> None:
    means = []
    run(Tracing(trace=str(tmp_path / "t0")), path=tmp_path / "b.zarr")

    class Means(FakeSegmenter):
        def __call__(self, x):
            means.extend(float(one.mean()) for one in x)
            return super().__call__(x)

    run(Means(window=32), path=tmp_path / "c.zarr")
    poisoned = Tracing(trace=traced.trace, poison=float(np.sort(means)[-2:].mean()))  # one window
    written = run(poisoned)
    assert len(written.failed) == 1
    assert "poisoned" in next(iter(written.failed.values()))
    done, total = store.status(tmp_path / "a.zarr")[2023]
    assert total - 4 <= done < total  # and those that need its strips
    assert store.failures(tmp_path / "a.zarr") == {2023: written.failed}
    evaluated = len(traced.lines())
    again = run(traced)  # healed, but it is left alone
    assert again.failed == written.failed
    assert again.written == 0
    assert len(traced.lines()) == evaluated
    last = run(traced, retry_failed=True)
    assert not last.failed
    assert last.written == total - done
    assert last.repeated == 0
    assert chunk_files(tmp_path / "a.zarr") == chunk_files(tmp_path / "b.zarr")
    assert store.failures(tmp_path / "a.zarr") == {}


def test_a_block_that_fails_for_its_strips_fails_the_unit_that_waits(run, traced, tmp_path: Path, monkeypatch) -> None:
    run(traced)
    expected = chunk_files(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "probability" / "c" / "0" / "1" / "1").unlink()
    read_really, failing = units._read, []

    def read_once(job: units.Job) -> object:
        if job.place.unit is None and job.place.gives and not failing:
            failing.append(job.place.block)
            raise CubeError("could not be read")
        return read_really(job)

    monkeypatch.setattr(units, "_read", read_once)
    lost = store.Unit(1, 1)
    assert run(traced).failed == {lost: "could not be read"}
    assert store.failures(tmp_path / "a.zarr") == {2023: {lost: "could not be read"}}
    assert run(traced).failed == {lost: "could not be read"}  # said again, not passed over
    assert not run(traced, retry_failed=True).failed
    assert chunk_files(tmp_path / "a.zarr") == expected


def test_if_all_fails_the_reason_is_the_error_and_nothing_stays(run, tmp_path: Path) -> None:
    with pytest.raises((CubeError, StoreError), match="poisoned"):
        run(Tracing(trace=str(tmp_path / "trace"), poison=0.0))
    assert [path.name for path in tmp_path.iterdir()] == []


def test_the_log_tells_each_block_and_the_sum(run, traced, tmp_path: Path) -> None:
    journal = journals.Journal(tmp_path, settings={"catalog": "https://a.net/x?sig=SECRET&b=1"})
    run(traced, journal=journal)
    journal.close()
    assert journal.path is not None
    text = journal.path.read_text()
    assert "SECRET" not in text
    events = [json.loads(line) for line in text.splitlines()]
    assert [events[0]["event"], events[1]["event"], events[-1]["event"]] == ["run", "year", "summary"]
    blocks = [event for event in events if event["event"] == "block"]
    assert sum(event["windows"] for event in blocks) == events[-1]["windows"] == 49
    assert sum(event["written"] for event in blocks) == events[-1]["written"] == 16


# -- workers ----------------------------------------------------------------------------------------------------------
def test_workers_write_the_same_files_and_only_gpus_run_the_network(client, run, traced, tmp_path: Path) -> None:
    run(FakeSegmenter(window=32), path=tmp_path / "b.zarr")
    written = run(traced, client=client)
    assert written.windows.evaluated == len({digest for digest, _ in traced.lines()}) == len(traced.lines()) == 49
    assert {worker for _, worker in traced.lines()} == {"gpu"}
    assert chunk_files(tmp_path / "a.zarr") == chunk_files(tmp_path / "b.zarr")


def test_the_lazy_way_runs_on_the_active_client_with_the_network_on_gpus(
    client, series, traced, tmp_path: Path
) -> None:
    expected = eager(series, FakeSegmenter(window=32)).probability
    cube = series.open().chunk(y=48, x=48)
    with client.as_current(), dask.config.set(scheduler=client):
        result = cube.icemapper.predict(weights=traced)
        result.icemapper.to_zarr(tmp_path / "lazy.zarr")
    np.testing.assert_array_equal(ix.open_store(tmp_path / "lazy.zarr").probability[0], expected)
    digests = [digest for digest, _ in traced.lines()]
    assert len(digests) == len(set(digests)) == 49
    assert {worker for _, worker in traced.lines()} == {"gpu"}


def test_a_map_whose_workers_are_all_gone_says_what_it_waits_for(run, monkeypatch, caplog, tmp_path: Path) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(pools, "PATIENCE", 0.2)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0") as running,
        Client(running, set_as_default=False) as client,
    ):

        def said_so(record: logging.LogRecord) -> bool:
            if "no worker now" in record.getMessage():
                running.scale(1)
            return True

        left: list[int] = []

        def leave(outcome: Outcome, total: Written) -> None:
            if total.written == 3 and not left:
                left.append(total.written)
                running.scale(0)

        logger = logging.getLogger(pools.__name__)
        logger.addFilter(said_so)
        try:
            written = run(FakeSegmenter(window=32), client=client, on_outcome=leave)
        finally:
            logger.removeFilter(said_so)
    assert written.written == 16
    said = [record.getMessage() for record in caplog.records if record.name == pools.__name__]
    assert said
    assert "blocks wait for one: start some, or stop here" in said[0]


def test_a_lost_worker_costs_nothing_but_its_block(client, run, tmp_path: Path) -> None:
    import os
    import signal

    run(FakeSegmenter(window=32), path=tmp_path / "b.zarr")
    traced = Tracing(trace=str(tmp_path / "trace"), burn=0.02)
    killed: list[int] = []

    def kill(outcome: Outcome, total: Written) -> None:
        if total.written == 3 and not killed:
            line = (tmp_path / "trace").read_text().splitlines()[-1]
            killed.append(int(line.split()[2]))
            os.kill(killed[0], signal.SIGKILL)

    written = run(traced, client=client, on_outcome=kill)
    assert killed
    assert written.written == 16
    digests = [digest for digest, _ in traced.lines()]
    assert len(digests) - len(set(digests)) <= 4 * units.AT_ONCE
    assert chunk_files(tmp_path / "a.zarr") == chunk_files(tmp_path / "b.zarr")
