"""The score of likeness: uniform on the training data, zero far from it, the same for all chunks."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import dask
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr

from icemapper_xr import applicability as likeness
from icemapper_xr import conventions, errors
from tests.support import raise_if_dask_computes

STEPS = np.arange(15)
SEASON = np.exp(-0.5 * ((STEPS - 8) / 2) ** 2)


def series(
    rng: np.random.Generator, rows: int, columns: int, *, drop: float = -8.0, level: float = -11.0
) -> np.ndarray:
    """Backscatter in dB: a level that differs from place to place, a drop in summer, speckle."""
    place = rng.normal(level, 2, (rows // 16, columns // 16)).repeat(16, 0).repeat(16, 1)
    noise = rng.normal(0, 1.5, (15, rows, columns)) + rng.normal(0, 0.5, (15, 1, 1))
    return (place + drop * SEASON[:, None, None] + noise).astype(np.float32)


def places(rng: np.random.Generator, number: int) -> list[np.ndarray]:
    """Stacks of 64 x 64 px, half of them with up to four gaps."""
    stacks = [series(rng, 64, 64) for _ in range(number)]
    for stack in stacks[::2]:
        stack[rng.permutation(15)[: rng.integers(1, 5)]] = np.nan
    return stacks


@pytest.fixture(scope="module")
def model() -> likeness.Likeness:
    parts = [likeness.summaries([stack]).reshape(-1, 8) for stack in places(np.random.default_rng(1), 120)]
    return likeness.fit(parts, features=("rtc",), pixel_size=10.0, source="a test")


def cube_of(data: np.ndarray, chunks: dict[str, int] | None = None, area: bool = False) -> xr.Dataset:
    _, rows, columns = data.shape
    coords = {"y": 8_000_000 - 5 - 10.0 * np.arange(rows), "x": 500_035 + 10.0 * np.arange(columns)}
    ds = xr.Dataset({"rtc": (("time", "y", "x"), data, {"units": "dB"})}, coords=coords)
    if area:
        ds.attrs[conventions.ATTR_AREA] = [500_030.0, 8_000_000.0 - 10 * rows, 500_030.0 + 10 * columns, 8_000_000.0]
    return ds.chunk(chunks) if chunks else ds


def test_summary_of_a_known_course() -> None:
    angle = 2 * np.pi * (STEPS + 0.5) / 15
    course = -10 + 3 * np.cos(angle) - 2 * np.sin(2 * angle)
    stack = np.broadcast_to(course[:, None, None], (15, 16, 32)).astype(np.float32)
    numbers = likeness.summaries([stack])
    assert numbers.shape == (1, 2, 8)
    # the ridge takes a tenth off the harmonics: 7.5 / (7.5 + 0.05 * 15)
    assert numbers[0, 0, :5] == pytest.approx([-10, 3 / 1.1, 0, 0, -2 / 1.1], abs=1e-4)
    left = np.sqrt((3**2 + 2**2) / 2) * (1 - 1 / 1.1)
    assert numbers[0, 0, 5] == pytest.approx(np.log(left + 1e-3), abs=1e-3)
    assert numbers[0, 0, 6] == pytest.approx(np.log(1e-3), abs=0.5)
    assert numbers[0, 0, 7] == pytest.approx(np.median(course) - np.sort(course)[:3].mean(), abs=1e-4)


def test_a_square_of_which_a_step_shows_a_pixel_or_two_says_nothing(model: likeness.Likeness) -> None:
    """One pixel has no texture, and nothing in the training data lacks one: that is a gap, not an unlike place."""
    whole = series(np.random.default_rng(5), 64, 64)
    for seen in range(1, 7):
        stack = np.full_like(whole, np.nan)
        stack.reshape(15, 4, 16, 4, 16)[:, :, 0, :, :seen] = whole.reshape(15, 4, 16, 4, 16)[:, :, 0, :, :seen]
        score = model.score(likeness.summaries([stack]))
        assert np.isnan(score).all() if seen < likeness.FEWEST else np.isfinite(score).all()


def test_a_season_without_melt_is_unlike_however_usual_all_else(model: likeness.Likeness) -> None:
    """A fall of a third of the usual one is no outlier in the joint density, but no training data fell so little."""
    shallow = likeness.summaries([series(np.random.default_rng(8), 256, 256, drop=-0.5)])
    usual = likeness.summaries([series(np.random.default_rng(9), 256, 256)])
    usual[..., 7] = shallow[..., 7]
    assert np.mean(model.score(usual) < likeness.UNLIKE) > 0.9
    without = dataclasses.replace(model, dips=tuple(np.linspace(-99, -98, len(model.dips)).tolist()))
    assert np.mean(without.score(usual) < likeness.UNLIKE) < 0.1


def test_coherence_alone_has_no_dip() -> None:
    rng = np.random.default_rng(10)
    parts = [rng.normal(size=(40, 8)) for _ in range(20)]
    found = likeness.fit(parts, features=("insar",), pixel_size=10.0)
    assert found.dips == ()
    deep = rng.normal(size=(100, 8))
    deep[:, 7] = -50
    assert np.mean(found.score(deep) < likeness.UNLIKE) < 0.1


def test_scores_of_unseen_data_like_the_training_are_uniform(model: likeness.Likeness) -> None:
    unseen = places(np.random.default_rng(2), 240)
    scores = np.concatenate([likeness.score(stack, model=model)[::16, ::16].ravel() for stack in unseen])
    assert np.mean(scores < 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.mean(scores < 0.5) == pytest.approx(0.5, abs=0.12)
    assert np.mean(scores < likeness.UNLIKE) < 0.04


@pytest.mark.parametrize("change", [{"drop": 0.0}, {"level": 20.0}])
def test_other_data_are_unlike(model: likeness.Likeness, change: dict[str, float]) -> None:
    rng = np.random.default_rng(3)
    scores = likeness.score(series(rng, 64, 64, **change), model=model)
    assert np.mean(scores < likeness.UNLIKE) > 0.9


def test_gaps_do_not_make_data_unlike(model: likeness.Likeness) -> None:
    data = series(np.random.default_rng(4), 64, 64)
    data[[1, 4, 12]] = np.nan
    assert np.mean(likeness.score(data, model=model) < likeness.UNLIKE) < 0.15
    data[3:] = np.nan
    assert np.isnan(likeness.score(data, model=model)).all()


@pytest.mark.parametrize("area", [False, True])
def test_lazy_and_the_same_for_all_chunks(model: likeness.Likeness, area: bool) -> None:
    data = series(np.random.default_rng(5), 96, 112)
    data[:, :5, :7] = np.nan
    expected = likeness.applicability(cube_of(data, area=area), model)
    assert expected.name == "applicability"
    assert expected.dtype == np.float32
    assert expected.shape == (96, 112)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    for chunks in ({"y": 96, "x": 112}, {"y": 40, "x": 33}, {"y": 7, "x": 112, "time": 4}):
        with dask.config.set(scheduler=never):
            lazy = likeness.applicability(cube_of(data, chunks, area), model)
        np.testing.assert_array_equal(lazy.compute(scheduler="synchronous").values, expected.values)
    step = 16 if not area else 13  # 500 030 m is three pixels from the lattice
    assert np.unique(expected.values[20, :step]).size == 1
    assert expected.values[20, step - 1] != expected.values[20, step]


def test_files_are_numbers(model: likeness.Likeness, tmp_path: Path) -> None:
    path = likeness.beside(tmp_path / "a.h5")
    likeness.write(model, path)
    assert likeness.read(path) == model
    path.write_text("{}")
    with pytest.raises(errors.OptionError, match="fit it anew"):
        likeness.read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"means": 3}, r"means has the shape \(3, 7\), \(6, 7\) finite"),
        ({"precisions": [[[1.0]]] * 6}, "precisions has the shape"),
        ({"densities": 5}, "densities has the shape"),
        ({"densities": [float("nan")] * 17}, "densities has the shape"),
        ({"shares": [1.0, 0.5] + [2.0] * 15}, "shares must not fall"),
        ({"dips": []}, "dips has the shape"),
        ({"weights": [-1.0] * 6}, "and so must the weights"),
        ({"features": ["x"]}, "are not some of"),
        ({"features": []}, "are not some of"),
        ({"means": [["a"] * 7] * 6}, "could not convert"),
    ],
)
def test_numbers_that_describe_nothing_are_refused(
    model: likeness.Likeness, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    path = tmp_path / "a.json"
    likeness.write(model, path)
    told = json.loads(path.read_text())
    cut = {name: told[name][:value] if isinstance(value, int) else value for name, value in changes.items()}
    path.write_text(json.dumps({**told, **cut}))
    with pytest.raises(errors.OptionError, match=rf"a\.json cannot be read .*{message}.*fit it anew"):
        likeness.read(path)


def test_a_description_of_other_weights_is_left_out(model: likeness.Likeness, tmp_path: Path) -> None:
    import shutil

    from icemapper_xr.models import own, weights
    from icemapper_xr.pipeline import trust

    path = tmp_path / "mine.h5"
    shutil.copy(own.folder() / "ICEmapper_tweightedpool_rtc_simulated.h5", path)
    for digest, told in ((weights.sha256(path), True), ("", True), ("0" * 64, False)):
        likeness.write(dataclasses.replace(model, digest=digest), likeness.beside(path))
        assert (trust.likeness_of(path) is not None) == told


def test_it_stands_next_to_the_probability(
    model: likeness.Likeness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import icemapper_xr as ix
    from icemapper_xr.pipeline import trust
    from icemapper_xr.testing import FakeSegmenter

    monkeypatch.setattr(trust, "likeness_of", lambda weights: model)
    ds = cube_of(series(np.random.default_rng(6), 96, 112), {"y": 96, "x": 112}).rio.write_crs("EPSG:32633")
    result = ds.icemapper.predict(weights=FakeSegmenter(features=("rtc",), window=32), applicability=True)
    np.testing.assert_array_equal(result.applicability.values, likeness.applicability(ds, model).values)
    ix.to_zarr(result, tmp_path / "a.zarr", year=2023)
    stored = ix.open_store(tmp_path / "a.zarr").sel(year=2023)
    np.testing.assert_array_equal(stored.applicability.values, result.applicability.values)
    monkeypatch.setattr(trust, "likeness_of", lambda weights: None)
    with pytest.raises(errors.OptionError, match="nothing is known of the training data"):
        ds.icemapper.applicability(weights=FakeSegmenter(features=("rtc",), window=32))


def test_bad_cubes_are_refused(model: likeness.Likeness) -> None:
    ds = cube_of(np.zeros((15, 32, 32), np.float32))
    with pytest.raises(errors.CubeError, match="no rtc"):
        likeness.applicability(ds.rename(rtc="grd"), model)
    ds.rtc.attrs[conventions.ATTR_NORMALISED] = "yes"
    with pytest.raises(errors.UnitsError, match="before it is normalised"):
        likeness.applicability(ds, model)
    with pytest.raises(errors.OptionError, match="too few"):
        likeness.fit([np.zeros((9, 8))] * 9, features=("rtc",), pixel_size=10.0)


def test_other_steps_and_units_are_refused(model: likeness.Likeness) -> None:
    """Shuffled or half a year looks unlike the training data, linear power unlike everything."""
    stack = places(np.random.default_rng(4), 1)[0]
    times = np.datetime64("2023-01-01", "ns") + np.arange(15) * np.timedelta64(24, "D")
    cube = xr.Dataset(
        {"rtc": (("time", "y", "x"), stack, {"units": "dB"})},
        {"time": times, "y": -10.0 * np.arange(64), "x": 10.0 * np.arange(64)},
    ).rio.write_crs(32633)
    assert np.isfinite(likeness.applicability(cube, model)).any()
    for wrong, kind, message in (
        (cube.isel(time=slice(8)), errors.CubeError, "8 steps, the training data 15"),
        (cube.isel(time=np.r_[3, 0:3, 4:15]), errors.CubeError, "do not ascend"),
        (cube.assign(rtc=cube.rtc.assign_attrs(units="power")), errors.UnitsError, "units 'power', 'dB' is wanted"),
    ):
        with pytest.raises(kind, match=message):
            likeness.applicability(wrong, model)


def test_pixels_of_another_size_are_refused(model: likeness.Likeness) -> None:
    """Squares of 16 pixels of 30 m have another texture than those of the training: all looked unlike, or all alike."""
    cube = cube_of(series(np.random.default_rng(2), 64, 64))
    coarse = cube.assign_coords(y=8_000_000 + 3 * (cube.y - 8_000_000), x=3 * cube.x)
    with pytest.raises(errors.CubeError, match="pixels are 30 m, those of the training data 10 m"):
        likeness.applicability(coarse, model)
    for turned in (cube.sortby("y"), cube.assign_coords(x=2 * cube.x)):
        told = r'with ds\.sortby\("y", ascending=False\), or regrid it|regrid it to square pixels'
        with pytest.raises(errors.CubeError, match=told):
            likeness.applicability(turned, model)
    with pytest.raises(errors.CubeError, match=r"1 pixel\(s\) along y"):
        likeness.applicability(cube.isel(y=[0]), model)
    with pytest.raises(errors.CubeError, match=r"pixels of 10 m in its projection are \d\.\d+ m on the ground"):
        likeness.applicability(cube.rio.write_crs(3857), model)


@pytest.mark.parametrize("first", ["lazy", "loaded"])
def test_one_feature_lazy_and_one_loaded_are_scored_lazily(first: str) -> None:
    rng = np.random.default_rng(5)
    stacks = [(a, np.clip(a / -30, 0, 1)) for a in (series(rng, 64, 64) for _ in range(60))]
    parts = [likeness.summaries(list(pair)).reshape(-1, 16) for pair in stacks]
    both = likeness.fit(parts, features=("rtc", "insar"), pixel_size=10.0, source="a test")
    cube = cube_of(stacks[0][0])
    cube["insar"] = (("time", "y", "x"), stacks[0][1], {"units": "1"})
    mixed = cube.copy()
    name = "rtc" if first == "lazy" else "insar"
    mixed[name] = mixed[name].chunk(y=20)
    with raise_if_dask_computes():
        found = likeness.applicability(mixed, both)
    xr.testing.assert_allclose(found.compute(), likeness.applicability(cube, both))


def test_whole_numbers_and_other_dims(model: likeness.Likeness) -> None:
    cube = cube_of(series(np.random.default_rng(2), 64, 64)[:, :61].round().astype(np.int16))
    np.testing.assert_array_equal(
        likeness.applicability(cube.chunk(y=20), model).compute(), likeness.applicability(cube, model)
    )
    with pytest.raises(errors.CubeError, match=r"rtc has dims \('time', 'lat', 'x'\); name and cut them"):
        likeness.applicability(cube.rename(y="lat"), model)
