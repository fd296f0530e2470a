from __future__ import annotations

import json
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401
import shapely
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from icemapper_xr import conventions, pixels, prediction, store, tiling
from icemapper_xr._types import FloatArray
from icemapper_xr.errors import CubeError, OptionError, UnitsError, WeightsError
from icemapper_xr.testing import CallCounter, FakeSegmenter
from tests.support import raise_if_dask_computes

STEPS = conventions.N_STEPS


def make_cube(
    shape: tuple[int, int] = (200, 170),
    *,
    features: tuple[str, ...] = ("rtc",),
    seed: int = 0,
    missing: float = 0.2,
    resolution: float = 10.0,
) -> xr.Dataset:
    """A normalised cube with gaps, anchored at its own corner."""
    rng = np.random.default_rng(seed)
    y, x = shape
    values = {}
    for feature in features:
        stack = rng.uniform(0, 1, (STEPS, y, x)).astype(np.float32)
        stack[rng.uniform(size=stack.shape) < missing] = np.nan
        stack[3, : y // 2] = np.nan
        stack[:, : y // 8, : x // 8] = np.nan
        attrs = {conventions.ATTR_NORMALISED: feature, "units": "1"}
        values[feature] = (("time", "y", "x"), stack, attrs)
    coords = {
        "time": np.datetime64("2023-01-13", "ns") + np.arange(STEPS) * np.timedelta64(24, "D"),
        "y": 8_700_000 - resolution / 2 - np.arange(y) * resolution,
        "x": 500_000 + resolution / 2 + np.arange(x) * resolution,
    }
    return xr.Dataset(values, coords=coords).rio.write_crs(32633)


def on_the_lattice(cube: xr.Dataset, margin: int, resolution: float = 10.0) -> xr.Dataset:
    """The same cube, opened for the area inside a margin."""
    y, x = cube.y.values, cube.x.values
    half, m = resolution / 2, margin * resolution
    area = [x[0] - half + m, y[-1] - half + m, x[-1] + half - m, y[0] + half - m]
    return cube.assign_attrs({conventions.ATTR_AREA: area, conventions.ATTR_MARGIN: margin})


def oracle(cube: xr.Dataset, segmenter: FakeSegmenter, overlap: float = 0.5, gap: str = "nearest") -> np.ndarray:
    """One window after the other over the whole array in double precision, as the publication describes it."""
    side = segmenter.window
    stride = round(side * (1 - overlap))
    stack = np.stack([naive_fill(cube[f].values, gap) for f in segmenter.features], axis=-1)
    _, height, width, _ = stack.shape
    total, weights = np.zeros((height + side, width + side)), np.zeros((height + side, width + side))
    padded = np.zeros((STEPS, height + side, width + side, stack.shape[-1]), np.float32)
    padded[:, :height, :width] = stack
    u = np.linspace(-1, 1, side)
    kernel = np.exp(-(u[:, None] ** 2 + u[None] ** 2) / (2 * 0.5**2))
    for top in range(0, height, stride):
        for left in range(0, width, stride):
            window = (slice(top, top + side), slice(left, left + side))
            total[window] += kernel * segmenter(padded[(slice(None), *window)][None])[0]
            weights[window] += kernel
    probability = total[:height, :width] / weights[:height, :width]
    seen = np.logical_and.reduce([np.isfinite(cube[f].values).any(axis=0) for f in segmenter.features])
    return np.where(seen, probability, np.nan)


def naive_fill(stack: np.ndarray, gap: str) -> np.ndarray:
    out = np.zeros_like(stack)
    for (t, y, x), value in np.ndenumerate(stack):
        valid = np.flatnonzero(np.isfinite(stack[:, y, x]))
        if np.isfinite(value):
            out[t, y, x] = value
        elif gap == "nearest" and valid.size:
            out[t, y, x] = stack[min(valid, key=lambda k: (abs(k - t), k)), y, x]
    return out


@pytest.mark.parametrize("gap", ["nearest", "zero"])
def test_fill_gaps_equals_a_loop_over_pixels(gap: str) -> None:
    rng = np.random.default_rng(1)
    stack = rng.normal(size=(STEPS, 6, 7)).astype(np.float32)
    stack[rng.uniform(size=stack.shape) < 0.6] = np.nan
    stack[:, 0, 0] = np.nan
    np.testing.assert_array_equal(prediction.fill_gaps(stack, gap), naive_fill(stack, gap))


def test_fill_gaps_takes_the_earlier_of_two_equally_near_steps() -> None:
    stack = np.array([1, np.nan, 3], np.float32).reshape(3, 1, 1)
    assert prediction.fill_gaps(stack, "nearest")[1, 0, 0] == 1


@pytest.mark.parametrize("features", [("rtc",), ("rtc", "insar")])
@pytest.mark.parametrize("overlap", [0.5, 0.25, 0.0])
def test_equals_the_oracle_without_dask_and_for_three_chunkings(features: tuple, overlap: float) -> None:
    cube = make_cube((150, 130), features=features)
    segmenter = FakeSegmenter(features=features, window=32)
    expected = oracle(cube, segmenter, overlap)
    eager = prediction.probability(cube, segmenter, overlap=overlap).result
    np.testing.assert_allclose(eager.probability, expected, atol=1e-6)
    for chunk in ({"y": 64, "x": 64}, {"y": 37, "x": 130}, {"y": 16, "x": 48, "time": 4}):
        lazy = prediction.probability(cube.chunk(chunk), segmenter, overlap=overlap).result
        np.testing.assert_array_equal(lazy.probability, eager.probability)  # bit by bit: the sums are whole numbers
        np.testing.assert_array_equal(lazy.n_obs, eager.n_obs)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 120), st.integers(2, 120)),
    chunk=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    overlap=st.sampled_from([0.5, 0.25, 0.0]),
)
def test_any_chunking_gives_the_eager_result_and_evaluates_each_window_once(
    shape: tuple[int, int], chunk: tuple[int, int], overlap: float
) -> None:
    cube = make_cube(shape, missing=0).fillna(0.5)
    counter = CallCounter()
    segmenter = FakeSegmenter(window=32, counter=counter)
    stride = tiling.stride_of(32, overlap)
    every = -(-shape[0] // stride) * -(-shape[1] // stride)
    eager = prediction.probability(cube, segmenter, overlap=overlap)
    assert counter.windows == every
    lazy = prediction.probability(cube.chunk(y=chunk[0], x=chunk[1]), segmenter, overlap=overlap)
    result = lazy.result.compute()
    assert counter.windows == 2 * every
    np.testing.assert_array_equal(result.probability, eager.result.probability)
    assert lazy.windows.compute().sum() == every


@pytest.mark.parametrize("overlap", [0.5, 0.25, 0.0])
@pytest.mark.parametrize(("piece", "chunk"), [(1, 64), (4, 64), (4, 192), (100, 64)])
def test_a_store_shares_the_windows_at_the_borders_of_its_pieces(
    tmp_path: Path, piece: int, chunk: int, overlap: float
) -> None:
    cube = on_the_lattice(make_cube((380, 330)), 40)
    counter = CallCounter()
    lazy = prediction.probability(
        cube.chunk(y=chunk, x=chunk), FakeSegmenter(window=32, counter=counter), overlap=overlap
    )
    whole = lazy.result.compute()
    windows = counter.windows
    store.write(lazy.result, tmp_path / "a.zarr", year=2023, chunk=64, piece_units=piece)
    assert counter.windows == 2 * windows
    stored = store.open_store(tmp_path / "a.zarr").sel(year=2023)
    np.testing.assert_array_equal(stored.probability, whole.probability)
    np.testing.assert_array_equal(stored.n_obs, whole.n_obs)


def test_a_resumed_store_evaluates_only_the_windows_of_what_is_missing(tmp_path: Path) -> None:
    cube = on_the_lattice(make_cube((380, 330)), 40)
    counter = CallCounter()
    lazy = prediction.probability(cube.chunk(y=64, x=64), FakeSegmenter(window=32, counter=counter))
    done: list[store.Unit] = []

    def stop(unit: store.Unit) -> None:
        done.append(unit)
        if len(done) == 20:
            raise KeyboardInterrupt

    with dask.config.set(scheduler="synchronous"), pytest.raises(KeyboardInterrupt):
        store.write(lazy.result, tmp_path / "a.zarr", year=2023, chunk=64, piece_units=4, on_unit=stop)
    counter.windows = 0
    report = store.write(lazy.result, tmp_path / "a.zarr", year=2023, chunk=64, piece_units=4)
    assert report.written < report.units
    assert counter.windows < lazy.windows.compute().sum()
    stored = store.open_store(tmp_path / "a.zarr").sel(year=2023)
    np.testing.assert_array_equal(stored.probability, lazy.result.probability)


def test_the_answer_at_a_pixel_does_not_depend_on_the_area() -> None:
    cube = make_cube((600, 500))
    segmenter = FakeSegmenter(window=64)
    wide = prediction.probability(on_the_lattice(cube, 64).chunk(y=200, x=200), segmenter).result.compute()
    inner = cube.isel(y=slice(101, 480), x=slice(77, 411))
    narrow = prediction.probability(on_the_lattice(inner, 64), segmenter).result
    assert narrow.sizes == {"y": 379 - 128, "x": 334 - 128}
    np.testing.assert_array_equal(narrow.probability, wide.probability.sel(y=narrow.y, x=narrow.x))


def test_a_network_that_answers_with_no_numbers_is_refused() -> None:
    class Broken(FakeSegmenter):
        def __call__(self, x: FloatArray, /) -> FloatArray:
            answer = super().__call__(x)
            answer[:, 0, 0] = np.nan
            return answer

    with pytest.raises(WeightsError, match="no numbers"):
        prediction.probability(make_cube((64, 64)), Broken(window=32))


@pytest.mark.parametrize(("said", "sizes"), [(4, [4, 4, 4, 4]), (None, [16])])
def test_a_segmenter_gets_the_windows_at_once_that_it_says(said: int | None, sizes: list[int]) -> None:
    called: list[int] = []

    class Noting(FakeSegmenter):
        batch_size = said

        def __call__(self, x: FloatArray, /) -> FloatArray:
            called.append(len(x))
            return super().__call__(x)

    cube = make_cube((64, 64))
    found = prediction.probability(cube, Noting(window=32)).result
    assert called == sizes
    xr.testing.assert_identical(
        found.probability, prediction.probability(cube, FakeSegmenter(window=32)).result.probability
    )


def test_a_margin_smaller_than_the_window_is_refused() -> None:
    with pytest.raises(OptionError, match="margin=64"):
        prediction.probability(on_the_lattice(make_cube(), 20), FakeSegmenter(window=64))


def test_nothing_is_computed_before_compute() -> None:
    class Unread:
        shape, dtype, ndim = (STEPS, 128, 128), np.dtype("f4"), 3

        def __getitem__(self, key: object) -> np.ndarray:
            raise AssertionError("read before compute")

    lazy = da.from_array(Unread(), chunks=(STEPS, 64, 64), meta=np.empty((0, 0, 0), "f4"))
    cube = make_cube((128, 128))
    cube = cube.assign(rtc=(("time", "y", "x"), lazy, cube.rtc.attrs))
    with raise_if_dask_computes():
        result = prediction.probability(cube, FakeSegmenter(window=32)).result
    assert result.probability.dtype == np.float32
    assert result.n_obs.dtype == np.uint8
    assert result.rio.crs.to_epsg() == 32633


def test_equal_settings_give_equal_keys() -> None:
    cube = make_cube().chunk(y=64, x=64)
    names = [prediction.probability(cube, FakeSegmenter(window=w)).result.probability.data.name for w in (32, 32, 64)]
    assert names[0] == names[1] != names[2]


def test_observations_are_counted_where_every_feature_is_valid() -> None:
    cube = make_cube(features=("rtc", "insar"))
    result = prediction.probability(cube, FakeSegmenter(features=("rtc", "insar"), window=32)).result
    both = np.isfinite(cube.rtc.values) & np.isfinite(cube.insar.values)
    np.testing.assert_array_equal(result.n_obs, both.sum(axis=0))


def test_windows_without_observations_or_outside_the_mask_are_skipped() -> None:
    cube = make_cube((256, 256), missing=0).fillna(0.5)
    cube = cube.assign(rtc=cube.rtc.where(cube.x > cube.x[127]).assign_attrs(cube.rtc.attrs))
    counter = CallCounter()
    segmenter = FakeSegmenter(window=32, counter=counter)
    half = prediction.probability(cube.chunk(y=64, x=64), segmenter)
    result, counts = dask.compute(half.result, half.windows)
    counts = counts.sum(axis=(0, 1))
    assert counter.windows == counts[0]
    assert counts.sum() == 16 * 16
    assert counts[1] == 16 * 7
    assert np.isnan(result.probability[:, :128]).all()
    assert np.isfinite(result.probability[:, 128:]).all()

    mask = xr.zeros_like(cube.rtc[0], dtype=bool).drop_vars("time")
    mask[100:120, 200:220] = True
    for candidate in (cube, cube.chunk(y=64, x=64)):
        masked = prediction.probability(candidate, segmenter, mask=mask)
        values = masked.result.probability.compute()
        np.testing.assert_array_equal(np.isfinite(values), mask)
        inside = result.probability.where(mask)
        np.testing.assert_allclose(values, inside, atol=1e-6)


def test_an_identity_model_returns_its_input() -> None:
    class Mean(FakeSegmenter):
        def __call__(self, x: np.ndarray, /) -> np.ndarray:
            return x.mean(axis=(1, 4))

    cube = make_cube((130, 97), missing=0)
    filled = prediction.fill_gaps(cube.rtc.values, "nearest").mean(axis=0)
    result = prediction.probability(cube.chunk(y=50, x=50), Mean(window=32)).result
    np.testing.assert_allclose(result.probability, np.where(result.n_obs > 0, filled, np.nan), atol=1e-6)


def test_blend_is_the_original_procedure() -> None:
    cube = make_cube((110, 75), missing=0).fillna(0)
    segmenter = FakeSegmenter(window=32)
    stack = cube.rtc.values[..., None]
    np.testing.assert_allclose(prediction.blend(stack, segmenter), oracle(cube, segmenter), atol=1e-6)


def bad_units() -> xr.Dataset:
    cube = make_cube()
    cube.rtc.attrs = {"units": "dB"}
    return cube


def in_crs(crs: int) -> xr.Dataset:
    return make_cube().rio.write_crs(crs)


def curved() -> xr.Dataset:
    cube = make_cube()
    return cube.drop_vars("x").assign_coords(x=(("y", "x"), np.zeros((cube.sizes["y"], cube.sizes["x"]))))


def uneven() -> xr.Dataset:
    return make_cube().isel(y=[0, 1, 2, 5, 6])


def shifted_row() -> xr.Dataset:
    """A row a hundredth of a pixel off its place."""
    cube = make_cube()
    return cube.assign_coords(y=np.where(np.arange(cube.sizes["y"]) == 5, cube.y - 0.1, cube.y))


def oblong() -> xr.Dataset:
    """Pixels of 10.1 x 10 m."""
    return make_cube().assign_coords(x=make_cube().x * 1.01)


@pytest.mark.parametrize(
    ("cube", "options", "error", "match"),
    [
        (make_cube(features=("insar",)), {}, CubeError, "no rtc"),
        (bad_units(), {}, UnitsError, "normalise"),
        (make_cube().isel(time=slice(14)), {}, CubeError, "14 time steps"),
        (make_cube(resolution=30), {}, CubeError, r"30 m.*10 m.*resolution=10"),
        (make_cube().isel(y=slice(None, None, -1)), {}, CubeError, "descending"),
        (make_cube().isel(time=slice(None, None, -1)), {}, CubeError, "times do not ascend"),
        (make_cube().isel(time=[0, 0, *range(1, 14)]), {}, CubeError, "times do not ascend.*twice leave one step out"),
        (uneven(), {}, CubeError, "evenly"),
        (shifted_row(), {}, CubeError, "evenly"),
        (oblong(), {}, CubeError, r"pixels are 10\.1 x 10 m; regrid it to square pixels"),
        (make_cube().drop_vars("x"), {}, CubeError, "no coordinate x: give it the centres"),
        (curved(), {}, CubeError, "no coordinate x: give it the centres"),
        (in_crs(4326), {}, CubeError, "is in WGS 84, in the unit degree: warp its rasters to a CRS in metres"),
        (in_crs(2263), {}, CubeError, "US survey foot"),
        (in_crs(3857), {}, CubeError, r"pixels of 10 m in its projection are 4\.8 m on the ground.*without crs"),
        (make_cube(), {"gap": "mean"}, OptionError, "'mean'"),
        (make_cube(), {"overlap": 0.7}, OptionError, r"0\.7"),
        (make_cube(), {"overlap": "0.5"}, OptionError, r"overlap is '0\.5', but must be a number"),
        (make_cube().transpose("y", "x", "time"), {}, CubeError, "transpose"),
        (make_cube().rename(y="lat", x="lon"), {}, CubeError, r"rename lat, lon to y, x: a cube has .*in metres"),
        (make_cube().expand_dims("band"), {}, CubeError, r"choose one band with \.isel"),
        (make_cube().isel(time=0), {}, CubeError, "it lacks time"),
    ],
)
def test_what_would_give_a_wrong_map_is_refused(
    cube: xr.Dataset, options: dict, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        prediction.probability(cube, FakeSegmenter(window=32), **options)


def test_a_polar_stereographic_cube_is_true_enough_to_scale() -> None:
    """At 78 N its pixels of 10 m are 10.2 m."""
    cube = make_cube((64, 64)).rio.write_crs(3413)
    cube = cube.assign_coords(x=cube.x + 600_000, y=cube.y - 9_400_000)
    assert pixels.on_ground(cube) == pytest.approx(10.2, abs=0.05)
    prediction.probability(cube, FakeSegmenter(window=32))


def test_a_cube_that_was_cut_after_it_was_opened_is_told_from_one_without_margin() -> None:
    cube = make_cube((128, 128))
    cube.attrs[conventions.ATTR_AREA] = [float(edge) for edge in cube.rio.bounds()]
    with pytest.raises(OptionError, match=r"px of data around the area.*margin=32"):
        prediction.probability(cube, FakeSegmenter(window=32))
    cube.attrs[conventions.ATTR_AREA] = list(shapely.box(*cube.rio.bounds()).buffer(-320).bounds)
    prediction.probability(cube, FakeSegmenter(window=32))
    with pytest.raises(OptionError, match=r"was cut after it was opened.*ds\.attrs\['icemapper_area'\]"):
        prediction.probability(cube.isel(x=slice(40, 90)), FakeSegmenter(window=32))


@pytest.mark.parametrize("overlap", [np.float32(0.25), np.int64(0), 1 / 3])
def test_any_number_is_an_overlap(overlap: float) -> None:
    cube = make_cube((96, 96))
    result = prediction.probability(cube, FakeSegmenter(window=24), overlap=overlap).result
    assert json.loads(result.attrs[conventions.ATTR_SETTINGS])["overlap"] == float(overlap)


def test_answers_that_are_no_probability_a_pixel_are_refused() -> None:
    class Pair(FakeSegmenter):
        def __call__(self, x: np.ndarray, /) -> np.ndarray:
            return np.zeros((*x.shape[:1], *x.shape[2:4], 2), np.float32)

    class Nothing(FakeSegmenter):
        def __call__(self, x: np.ndarray, /) -> np.ndarray:
            return np.full(x.shape[:1] + x.shape[2:4], np.nan, np.float32)

    cube = make_cube((64, 64))
    with pytest.raises(WeightsError, match=r"shape \(\d+, 32, 32, 2\) to windows .* one probability a pixel is wanted"):
        prediction.probability(cube, Pair(window=32))
    with pytest.raises(WeightsError, match=r"no numbers to an input of .* mend the rasters"):
        prediction.probability(cube, Nothing(window=32))


def test_a_mask_must_lie_on_the_pixels_of_the_cube() -> None:
    cube = make_cube((64, 64))
    mask = xr.ones_like(cube.rtc[0], dtype=bool).drop_vars("time")
    for shift in ({"y": 85.0}, {"x": 4.0}, {"x": 0.02}):
        moved = mask.assign_coords({dim: mask[dim] + metres for dim, metres in shift.items()})
        with pytest.raises(OptionError, match=f"mask's {next(iter(shift))} coordinates are not the cube's"):
            prediction.probability(cube, FakeSegmenter(window=32), mask=moved)
    for bad, words in (
        (mask.values, "is of type ndarray"),
        (xr.ones_like(cube.rtc, dtype=bool), r"has dims \('time', 'y', 'x'\)"),
        (mask[0], r"has dims \('x',\)"),
    ):
        with pytest.raises(OptionError, match=f"the mask {words}, but must be a DataArray"):
            prediction.probability(cube, FakeSegmenter(window=32), mask=bad)
    near = mask.assign_coords(x=mask.x + 0.005).transpose("x", "y")
    prediction.probability(cube, FakeSegmenter(window=32), mask=near)


@pytest.mark.parametrize(
    ("said", "fits"),
    [
        ({"start": "2023-01-01", "first_day": "01-01", "year": 2023}, True),
        ({"start": "2022-12-20", "first_day": "12-20", "year": 2022}, False),  # ends before the last step
        ({"start": "2023-02-01", "first_day": "02-01", "year": 2023}, False),
        ({"start": "2023-01-13", "first_day": "named", "year": 2023}, True),
        ({"start": "2022-01-13", "year": 2022}, False),  # named dates, of files
        ({"start": "2023-01-13"}, True),
    ],
)
def test_attributes_of_other_dates_than_the_steps_are_refused(said: dict[str, object], fits: bool) -> None:
    cube, segmenter = make_cube((40, 40)).assign_attrs(said), FakeSegmenter(window=32)
    if fits:
        assert prediction.probability(cube, segmenter).result.attrs["start"] == said["start"]
        return
    with pytest.raises(CubeError, match=rf"of 2023-01-13 to 2023-12-15, but .* begins on {said['start']}"):
        prediction.probability(cube, segmenter)
