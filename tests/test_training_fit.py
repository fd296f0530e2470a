"""The loop on tiny scenes: it learns, resumes after a kill to the same weights, and its files are right."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import filelock
import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from icemapper_xr import conventions, errors
from icemapper_xr.conventions import Feature
from icemapper_xr.training import ahead, config, fit, optimiser, patches, samples, scenes, sources, state, verbs
from icemapper_xr.training.config import TrainingConfig
from tests.support import files_of_at_most
from tests.test_training_parts import write_set

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras.*"),
    pytest.mark.filterwarnings("ignore:no applicability for these weights"),  # three scenes are too few to describe
]


def make(seed: int, size: int, features: tuple[Feature, ...]) -> tuple[np.ndarray, npt.NDArray[np.bool_]]:
    """Make a scene in a few milliseconds: glacier is darker in summer and less coherent."""
    rng = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(rng.normal(size=(size, size)), size / 8) > 0
    cube = np.empty((15, size, size, len(features)), np.float32)
    for channel, feature in enumerate(features):
        noise = rng.normal(size=(15, size, size))
        summer = np.isin(np.arange(15), (6, 7, 8))[:, None, None]
        cube[..., channel] = (
            np.clip(0.5 - 0.25 * truth + 0.1 * noise, 0, 1) if feature == "insar" else -12 - 6 * truth * summer + noise
        )
    cube[0, :4] = np.nan
    cube[:, :2, :2] = np.nan
    return cube, truth


def tiny(**changes: object) -> TrainingConfig:
    values: dict[str, object] = {
        "features": ("rtc",),
        "filters": 2,
        "levels": 1,
        "window": 16,
        "batch": 2,
        "steps": 6,
        "validate_every": 3,
        "estimate_batches": 3,
        "scenes": {"number": 3, "size": 32, "validation": 1, "first": 1, "every": 2},
    }
    if "data" in changes:  # scenes would have no effect
        del values["scenes"]
    return TrainingConfig.model_validate({**values, **changes})


# -- data -------------------------------------------------------------------------------------------------------------
def test_scene_goes_through_the_cache(tmp_path: Path) -> None:
    wanted = scenes.SceneSet(tiny(), tmp_path, make)
    wanted.fill()
    assert not wanted.missing()
    [scene] = wanted.validation()
    cube, truth = make(900_000, 32, ("rtc",))
    crop = samples.Crop(1, 2, 8)
    got = scene.read("rtc", np.array([3, 0]), crop)
    expected = samples.scale(cube[[3, 0], 1:9, 2:10, 0], "rtc")
    assert np.allclose(got, expected, atol=1e-4, equal_nan=True)
    assert np.isnan(got).any()
    assert np.array_equal(scene.truth(crop), truth[1:9, 2:10])


def test_trainings_of_other_features_share_a_scene(tmp_path: Path) -> None:
    radar = scenes.SceneSet(tiny(), tmp_path, make)
    radar.fill()
    [seen] = radar.validation()  # has the files open
    asked = []

    def make_lacking(seed: int, size: int, features: tuple[Feature, ...]) -> tuple[np.ndarray, npt.NDArray[np.bool_]]:
        asked.append(features)
        return make(seed, size, features)

    both = scenes.SceneSet(tiny(features=("rtc", "insar")), tmp_path, make_lacking)
    both.fill()
    assert set(asked) == {("insar",)}
    assert not radar.missing()
    [scene] = both.validation()
    crop, dates = samples.Crop(0, 0, 32), np.arange(15)
    assert np.array_equal(scene.read("rtc", dates, crop), seen.read("rtc", dates, crop), equal_nan=True)
    assert np.isfinite(scene.read("insar", dates, crop)).any()
    assert [path.name for path in tmp_path.glob(".scene-*")] == []


def test_scenes_of_a_step_depend_on_the_step_alone(tmp_path: Path) -> None:
    wanted = scenes.SceneSet(tiny(), tmp_path, make)
    wanted.fill()
    assert [len(wanted.at(step)) for step in (0, 1, 2, 3, 4, 100)] == [1, 1, 2, 2, 3, 3]


def test_missing_scene_is_an_error_after_a_while(tmp_path: Path) -> None:
    wanted = scenes.SceneSet(tiny(), tmp_path, make, patience=0.1)
    with pytest.raises(errors.OptionError, match="scene 900000 did not appear"):
        wanted.validation()


def test_a_scene_that_cannot_be_simulated_is_told_to_those_who_wait(tmp_path: Path) -> None:
    def broken(seed: int, size: int, features: tuple[Feature, ...]) -> tuple[np.ndarray, npt.NDArray[np.bool_]]:
        raise ValueError("no glacier\nhere")

    wanted = scenes.SceneSet(tiny(), tmp_path, broken)
    with pytest.raises(ValueError, match="no glacier"):
        wanted.fill()
    began = time.monotonic()
    with pytest.raises(
        errors.OptionError, match=r"scene 900000 could not be simulated \(ValueError: no glacier here\)"
    ):
        wanted.validation()
    assert time.monotonic() - began < 60 < wanted.patience
    wanted.forget_failures()
    scenes.SceneSet(tiny(), tmp_path, make).fill()
    assert len(wanted.validation()) == 1


def test_infinite_values_are_gaps(tmp_path: Path) -> None:
    def dark(seed: int, size: int, features: tuple[Feature, ...]) -> tuple[np.ndarray, npt.NDArray[np.bool_]]:
        cube, truth = make(seed, size, features)
        cube[3:5, 6:20, 6:20] = -np.inf
        return cube, truth

    wanted = scenes.SceneSet(tiny(), tmp_path, dark)
    wanted.fill()
    for index in range(6):
        x, _ = patches.batch(tiny(), wanted.at(9), index, 0.5)
        assert np.isfinite(x).all()
    assert all(np.isfinite(x).all() for x, _ in patches.windows(wanted.validation()[0], tiny()))


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimiser.KerasStep, "train", lambda *_: float("nan"))
    with pytest.raises(errors.OptionError, match=r"the loss of step 0 is nan: give a smaller learning_rate.* data$"):
        fit.train(tiny(), tmp_path, make=make)
    assert not (tmp_path / "checkpoint.npz").exists()
    losses = iter([0.5, 0.5, float("nan")])
    monkeypatch.setattr(optimiser.KerasStep, "train", lambda *_: next(losses))
    with pytest.raises(errors.OptionError, match=r"step 2 is nan: .*; the checkpoint in .* is of an earlier step$"):
        fit.train(tiny(checkpoint_minutes=0), tmp_path, make=make)
    assert (tmp_path / "checkpoint.npz").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 99])
def test_a_damaged_checkpoint_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(content)
    with pytest.raises(errors.OptionError, match=r"checkpoint\.npz cannot be read .*delete it"):
        fit.train(tiny(), tmp_path, make=make, resume=True)


def test_a_checkpoint_that_finds_no_room_leaves_the_old_one(tmp_path: Path) -> None:
    path, old = tmp_path / "checkpoint.npz", state.State(step=4, weights=[np.ones(3)])
    state.write_state(path, old, "digest")
    with (
        files_of_at_most(20_000),
        pytest.raises(errors.StoreError, match=r"checkpoint\.npz cannot be written \(File too large\).*with --resume"),
    ):
        state.write_state(path, state.State(step=8, weights=[np.ones(9000)]), "digest")
    assert list(tmp_path.iterdir()) == [path]
    assert state.read_state(path, "digest").step == 4
    with files_of_at_most(10), pytest.raises(errors.StoreError, match=r"log\.csv cannot be written"):
        state.write_csv(tmp_path / "log.csv", [{"step": 100.0, "seconds": 100.0}])
    (tmp_path / "taken.npz").mkdir()
    with pytest.raises(errors.StoreError, match=r"taken\.npz cannot be written"):
        state.write_state(tmp_path / "taken.npz", old, "digest")


def test_a_checkpoint_of_other_scenes_or_without_numbers(tmp_path: Path) -> None:
    """A new version of the simulator makes other scenes of the same seeds; NaN would be all that is left."""
    path, good = tmp_path / "checkpoint.npz", state.State(step=4, weights=[np.ones(3)])
    state.write_state(path, good, "digest", "old")
    assert state.read_state(path, "digest", "old").step == state.read_state(path, "digest").step == 4
    with pytest.raises(errors.OptionError, match=r"another version of the simulator \(old, now new\).*another --out"):
        state.read_state(path, "digest", "new")
    with pytest.raises(errors.OptionError, match=r"weights of step 5 are not all numbers: .* is of an earlier step"):
        state.write_state(path, state.State(step=5, weights=[np.array([1, np.nan])]), "digest", "old")
    assert state.read_state(path, "digest", "old").step == 4
    state.write_state(path, good, "digest")  # of a data set, or of a version that did not say
    assert state.read_state(path, "digest", "new").step == 4


def test_a_damaged_scene_of_the_cache_is_named(tmp_path: Path) -> None:
    settings = tiny()
    wanted = scenes.SceneSet(settings, tmp_path, make)
    wanted.fill()
    folder = next(path for path in sorted(tmp_path.iterdir()) if (path / "rtc.npy").exists())
    for content in (b"", (folder / "rtc.npy").read_bytes()[:-100]):
        (folder / "rtc.npy").write_bytes(content)
        sample = scenes.CachedScene(folder)
        with pytest.raises(
            errors.OptionError, match=rf"scene .*{folder.name} is damaged \(rtc.npy: .*delete that folder"
        ):
            sample.read("rtc", np.arange(2), samples.Crop(0, 0, 8))


def test_what_a_kill_left_of_a_checkpoint_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.0123abcd.part.npz").write_bytes(b"half")
    state.write_state(tmp_path / "checkpoint.npz", state.State(), "digest")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_a_folder_is_of_one_training_at_a_time(tmp_path: Path) -> None:
    with (
        filelock.FileLock(tmp_path / ".lock"),
        pytest.raises(errors.OptionError, match=r"another training writes to .*: wait until it ends, or choose"),
    ):
        fit.train(tiny(), tmp_path, make=make)
    (tmp_path / ".lock").touch()  # as a kill leaves it
    fit.train(tiny(), tmp_path, make=make)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.is_dir()) == ["checkpoint.npz", "log.csv"]


def test_batches_are_the_same_in_any_order_and_have_no_gaps(tmp_path: Path) -> None:
    from icemapper_xr.training import data

    settings = tiny(features=("rtc", "insar"))
    wanted = scenes.SceneSet(settings, tmp_path, make)
    wanted.fill()
    batches = data.Batches(settings, wanted.at, 6)
    forward = [batches[i] for i in range(6)]
    x, y = batches[2]
    assert np.array_equal(x, forward[2][0])
    assert np.array_equal(y, forward[2][1])
    assert not np.array_equal(forward[1][0], forward[2][0])
    assert x.shape == (2, 15, 16, 16, 2)
    assert y.shape == (2, 16, 16, 2)
    assert x.dtype == y.dtype == np.float32
    assert all(np.isfinite(x).all() for x, _ in forward)
    assert set(np.unique(np.concatenate([y.sum(axis=-1) for _, y in forward]))) <= {0.0, 1.0}


def test_never_observed_pixels_have_no_label(tmp_path: Path) -> None:
    wanted = scenes.SceneSet(tiny(), tmp_path, make)
    wanted.fill()
    sample = wanted.validation()[0]
    zeros, images = (list(patches.windows(sample, tiny(unobserved=how))) for how in conventions.UNOBSERVED)
    assert len(zeros) == len(images) == 4
    for x, y in (zeros[0], images[0]):
        assert (y[:2, :2] == 0).all()
        assert (y.sum(axis=-1) > 0).sum() == 16 * 16 - 4
        np.testing.assert_array_equal(x[:, 2:], zeros[0][0][:, 2:])
    assert (zeros[0][0][:, :2, :2] == 0).all()
    seen = images[0][0]
    # the hole's inner pixel is as near to the row below as to the column beside it
    assert any(np.array_equal(seen[:, 1, 1], seen[:, *image]) for image in ((3, 1), (1, 3)))


# -- loss -------------------------------------------------------------------------------------------------------------
def test_loss_by_hand() -> None:
    from icemapper_xr.training.losses import SegmentationLoss

    y = np.zeros((1, 1, 3, 2), np.float32)
    y[0, 0, 0, 1] = y[0, 0, 1, 0] = 1  # glacier, background, unknown
    p = np.array([[[[0.2, 0.8], [0.6, 0.4], [0.1, 0.9]]]], np.float32)
    focal = -(0.2**2 * np.log(0.8) + 0.4**2 * np.log(0.6)) / 2
    assert float(SegmentationLoss(gamma=2)(y, p)) == pytest.approx(focal, rel=1e-5)
    smooth = SegmentationLoss(gamma=0, smoothing=0.1)
    expected = -(0.95 * np.log(0.8) + 0.05 * np.log(0.2) + 0.95 * np.log(0.6) + 0.05 * np.log(0.4)) / 2
    assert float(smooth(y, p)) == pytest.approx(expected, rel=1e-5)
    half = np.array([[[[0, 0.5]]]], np.float32)  # known to a half: a pixel that labels were interpolated in
    assert float(smooth(half, p[:, :, :1])) == pytest.approx(-0.5 * (0.95 * np.log(0.8) + 0.05 * np.log(0.2)), rel=1e-5)
    dice = 1 - (2 * 0.8 + 1) / (1 + 1.2 + 1)
    assert float(SegmentationLoss(gamma=2, dice=1.0)(y, p)) == pytest.approx(dice, rel=1e-5)
    mixed = float(SegmentationLoss(gamma=2, dice=0.25)(y, p))
    assert mixed == pytest.approx(0.75 * focal + 0.25 * dice, rel=1e-5)


# -- schedule ---------------------------------------------------------------------------------------------------------
def test_rates() -> None:
    cosine = config.Schedule(warmup=0.1, floor=0.01)
    assert fit.rate(0.05, cosine) == pytest.approx(0.5)
    assert fit.rate(0.1, cosine) == pytest.approx(1)
    assert fit.rate(1.0, cosine) == pytest.approx(0.01)
    restarts = config.original().schedule
    starts = [fit.rate(epoch / 150, restarts) for epoch in (0, 10, 30, 70)]
    assert starts == pytest.approx([1, 1, 1, 1])
    assert fit.rate(50 / 150, restarts) == pytest.approx(0.5)
    assert fit.rate(29.99 / 150, restarts) < 1e-4


# -- the loop ---------------------------------------------------------------------------------------------------------
def weights_of(trained: fit.Trained) -> list[np.ndarray]:
    return state.arrays_of(trained.model.weights)


def test_training_ends_with_a_log_and_the_best_weights(tmp_path: Path) -> None:
    with (
        pytest.warns(UserWarning, match="no applicability for these weights"),
        pytest.warns(UserWarning, match=r"checkpoint\.npz to go on from: the training begins anew"),
    ):
        trained = fit.train(tiny(), tmp_path, make=make, resume=True)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("step,seconds,learning_rate,loss,val_iou_pixels")
    assert 0 <= trained.scores["val_iou_pixels"] <= 1
    assert not list(tmp_path.glob("*.tmp"))
    with pytest.raises(errors.OptionError, match="--resume"):
        fit.train(tiny(), tmp_path, make=make)
    with pytest.raises(errors.OptionError, match="other settings"):
        fit.train(tiny(seed=2), tmp_path, make=make, resume=True)


KILLED = """
import sys
from pathlib import Path
from tests.test_training_fit import make, tiny
from icemapper_xr.training import fit
fit.train(tiny(checkpoint_minutes=0), Path(sys.argv[1]), make=make, resume=True)
"""


@pytest.mark.slow
def test_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    settings = tiny(checkpoint_minutes=0)
    undisturbed = weights_of(fit.train(settings, tmp_path / "whole", make=make))
    folder = tmp_path / "killed"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], env=environment)
    checkpoint = folder / "checkpoint.npz"
    until = time.monotonic() + 300
    while not checkpoint.exists() or state.read_state(checkpoint, settings.digest).step < 2:
        assert time.monotonic() < until
        assert process.poll() in (None, 0)
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = fit.train(settings, folder, make=make, resume=True)
    for ours, theirs in zip(weights_of(resumed), undisturbed, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"freeze_norms": 0.5}, marks=pytest.mark.slow),
        # Patches of 16, 32, 16, ... px: what is resumed after the third step begins with the other size.
        pytest.param({"stages": [{"until": 0.99, "windows": [16, 32], "batch": 2}]}, marks=pytest.mark.slow),
    ],
)
def test_interrupted_training_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    settings = tiny(checkpoint_minutes=0, **changes)
    undisturbed = weights_of(fit.train(settings, tmp_path / "whole", make=make))
    saved = fit._save
    calls = []

    def save_then_die(*arguments: object) -> None:
        saved(*arguments)  # type: ignore[arg-type]
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(fit, "_save", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        fit.train(settings, tmp_path / "killed", make=make)
    monkeypatch.setattr(fit, "_save", saved)
    resumed = fit.train(settings, tmp_path / "killed", make=make, resume=True)
    assert [row["step"] for row in resumed.rows] == [3, 6]
    for ours, theirs in zip(weights_of(resumed), undisturbed, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_frozen_statistics_are_kept_while_the_kernels_learn(tmp_path: Path) -> None:
    from icemapper_xr.training import export

    first = fit.train(tiny(), tmp_path / "a", make=make)
    path = export.export(first, tiny(), tmp_path)
    second = fit.train(tiny(warm_start=path, freeze_norms=0.0, seed=2), tmp_path / "b", make=make)
    for one, other in zip(*(optimiser.batch_norms(run.model) for run in (first, second)), strict=True):
        for ours, theirs in zip(state.arrays_of(one.weights), state.arrays_of(other.weights), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    kernels = [np.asarray(run.model.get_layer("encoder_0").convolutions[0].kernel) for run in (first, second)]
    assert not np.allclose(*kernels)


def test_there_must_be_statistics_to_be_kept() -> None:
    with pytest.raises(ValueError, match="freeze_norms=0 keeps the statistics of warm_start: name that"):
        tiny(freeze_norms=0.0)


def test_published_data_set_trains(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_set(tmp_path / f"{part}.hdf5")
    settings = tiny(data=tmp_path, features=("rtc", "insar"), steps=None, epochs=1)
    trained = fit.train(settings, tmp_path / "run", make=make)
    # two samples of 64 x 64 px hold 32 windows of 16 px: 16 batches of 2
    assert trained.rows[-1]["step"] == 16
    large = settings.model_copy(update={"window": 128})
    told = r"sample SVAL-10-38_2020_ro14 in .*train\.hdf5 is 64 x 64 px, smaller than a window of 128 px: set a smaller"
    with pytest.raises(errors.OptionError, match=told):
        fit.train(large, tmp_path / "other", make=make)


def test_statistics_are_the_mean_over_the_batches(tmp_path: Path) -> None:
    from icemapper_xr.training import data

    settings = tiny()
    wanted = scenes.SceneSet(settings, tmp_path, make)
    wanted.fill()
    batches = data.Batches(settings, wanted.at, 4)
    model = fit.network(settings)
    optimiser.KerasStep(model).estimate(lambda index: batches[index][0], 4)
    first = model.get_layer("encoder_0")
    inputs = [np.asarray(first.convolutions[0](batches[i][0])) for i in range(4)]
    expected = np.mean([x.mean(axis=(0, 1, 2, 3)) for x in inputs], axis=0)
    assert np.allclose(np.asarray(first.norms[0].moving_mean), expected, atol=1e-5)
    assert first.norms[0].momentum == 0.99


def test_patches_change_their_size_by_stages(tmp_path: Path) -> None:
    from icemapper_xr.training import data

    settings = tiny(stages=[{"until": 0.5, "windows": [8]}, {"until": 0.8, "windows": [8, 32]}])
    wanted = scenes.SceneSet(settings, tmp_path, make)
    wanted.fill()
    shapes = [data.Batches(settings, wanted.at, 20)[i][0].shape for i in range(20)]
    assert {shape[:3] for shape in shapes[:10]} == {(8, 15, 8)}  # as many pixels as 2 patches of 16 px
    assert {shape[:3] for shape in shapes[10:16]} == {(8, 15, 8), (1, 15, 32)}
    assert {shape[:3] for shape in shapes[16:]} == {(2, 15, 16)}


def test_a_stage_can_have_its_own_batch(tmp_path: Path) -> None:
    from icemapper_xr.training import data

    settings = tiny(stages=[{"until": 0.5, "windows": [8], "batch": 3}])
    wanted = scenes.SceneSet(settings, tmp_path, make)
    wanted.fill()
    shapes = [data.Batches(settings, wanted.at, 4)[i][0].shape[:3] for i in range(4)]
    assert shapes == [(3, 15, 8)] * 2 + [(2, 15, 16)] * 2


# -- processes --------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_weights_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    alone, helped = (fit.train(tiny(), tmp_path / str(n), make=make, workers=n) for n in (0, 2))
    for ours, theirs in zip(weights_of(alone), weights_of(helped), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_batch_in_shared_memory_stays_until_the_next_is_asked_for(tmp_path: Path) -> None:
    settings = tiny(steps=8, stages=[{"until": 0.5, "windows": [8], "batch": 3}])
    with sources.open_data(settings, tmp_path, make) as data:
        options = {"first": 1, "share": lambda index: index / 8}
        with ahead.batches(data, 8, **options) as stream:
            alone = list(stream)
        with ahead.batches(data, 8, **options, workers=1) as stream:
            for wanted in alone:
                given = next(stream)
                time.sleep(0.2)  # all that is under way meanwhile gets done
                for ours, theirs in zip(given, wanted, strict=True):
                    np.testing.assert_array_equal(ours, theirs)
            assert next(stream, None) is None
    assert len(alone) == 7


def test_workers_cannot_be_negative(tmp_path: Path) -> None:
    with pytest.raises(errors.OptionError, match="workers=-1: give the number of processes, 0 for none"):
        fit.train(tiny(), tmp_path, make=make, workers=-1)


def die(*_: object) -> None:
    """End the process without a word, as the system does when memory runs out."""
    os._exit(1)


def test_a_worker_that_dies_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_prepare", die)
    with pytest.raises(errors.OptionError, match="go on with --resume and fewer --workers"):
        fit.train(tiny(), tmp_path, make=make, workers=1)


def test_a_scene_in_the_hands_of_another_process_is_left_to_it_until_that_ends(tmp_path: Path) -> None:
    made = []
    wanted = scenes.SceneSet(tiny(), tmp_path, lambda *what: made.append(what[0]) or make(*what))
    (tmp_path / "locks").mkdir()
    with filelock.FileLock(tmp_path / "locks" / "0100001", thread_local=False) as other:
        filling = threading.Thread(target=wanted.fill, daemon=True)
        filling.start()
        filling.join(4 * scenes.POLL_SECONDS)
        assert filling.is_alive()
        assert made == [900_000, 100_000, 100_002]
        other.release()  # as the system does when that process is killed
        filling.join(60)
    assert made == [900_000, 100_000, 100_002, 100_001]
    assert not wanted.missing()


def test_a_scene_that_another_process_could_not_simulate_stops_none_of_the_others(tmp_path: Path) -> None:
    wanted = sources.scene_set(tiny(), tmp_path, make)
    wanted._failure(100_000).parent.mkdir(parents=True)
    wanted._failure(100_000).write_text("no memory")
    wanted.fill()
    assert wanted.missing() == [100_000]
    with pytest.raises(errors.OptionError, match=r"scene 100000 could not be simulated \(no memory\)"):
        wanted.at(9)
    with sources.open_data(tiny(), tmp_path, make):  # a training that begins tries again
        assert not wanted.missing()


def test_a_process_that_hangs_is_not_waited_for_without_end(tmp_path: Path) -> None:
    wanted = scenes.SceneSet(tiny(), tmp_path, make, patience=0.2)
    (tmp_path / "locks").mkdir()
    with filelock.FileLock(tmp_path / "locks" / "0100001"):
        wanted.fill()
    assert wanted.missing() == [100_001]
    with pytest.raises(errors.OptionError, match="scene 100001 did not appear"):
        wanted.at(9)


# -- patches around surface classes -----------------------------------------------------------------------------------
def lakes(seed: int, size: int) -> npt.NDArray[np.uint8]:
    """A lake of four pixels in a third of the scenes, at the far corner; the rest is tundra."""
    out = np.full((size, size), 2, np.uint8)
    if seed % 3 == 0:
        out[-2:, -2:] = 1
    return out


def focused(**focus: float) -> TrainingConfig:
    chosen = {"number": 3, "size": 32, "validation": 1, "seed": 300, "focus": focus}
    return tiny(scenes=chosen, mixed=0.0, augmentation={"border": 0.0, "rotation": 0.0, "gap_chance": 0.0})


def test_focus_draws_patches_that_hold_the_class(tmp_path: Path) -> None:
    from icemapper_xr.training import data, patches

    settings = focused(lake=0.5)
    wanted = scenes.SceneSet(settings, tmp_path, make, lakes)
    wanted.fill()
    found = [patches._focus(np.random.default_rng(k), wanted.at(0), settings, 16) for k in range(400)]
    hits = [one for one in found if one is not None]
    assert 160 < len(hits) < 240
    for sample, crop in hits:
        assert sample.name == "0000300"
        assert min(crop.y, crop.x) + crop.size > 30  # it holds a pixel of the lake
    batches = data.Batches(settings, wanted.at, 4)
    assert np.array_equal(batches[1][0], batches[1][0])


def test_focus_on_a_class_that_no_scene_has_draws_from_everywhere(tmp_path: Path) -> None:
    from icemapper_xr.training import data, patches

    settings = focused(melange=1.0)
    wanted = scenes.SceneSet(settings, tmp_path, make, lakes)
    wanted.fill()
    assert patches._focus(np.random.default_rng(1), wanted.at(0), settings, 16) is None
    assert data.Batches(settings, wanted.at, 1)[0][0].shape == (2, 15, 16, 16, 1)


def test_classes_are_added_to_scenes_that_are_there(tmp_path: Path) -> None:
    plain = scenes.SceneSet(tiny(scenes={"number": 3, "size": 32, "validation": 1, "seed": 300}), tmp_path, make)
    plain.fill()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/rtc.npy")}
    wanted = scenes.SceneSet(focused(lake=0.5), tmp_path, make, lakes)
    assert len(wanted.missing()) == 4
    wanted.fill()
    assert not wanted.missing()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_classes_are_those_of_the_simulated_scene() -> None:
    from icemapper_xr.simulate.classes import is_glacier

    _, truth = scenes.simulated(300_000, 64, ("rtc",))
    assert np.array_equal(is_glacier(scenes.simulated_classes(300_000, 64)), truth)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenes": {"focus": {"seaweed": 0.1}}}, "seaweed: choose from sea, lake"),
        ({"scenes": {"focus": {"sea": 0.7, "lake": 0.4}}}, "add up to 1.1: give at most 1"),
        ({"data": "somewhere", "scenes": {"focus": {"sea": 0.1}}}, "focus needs simulated scenes"),
    ],
)
def test_bad_focus_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig.model_validate(changes)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"until": 0.5, "windows": [8]}, {"until": 0.5, "windows": [16]}], "rising order"),
        ([{"until": 0.5, "windows": [9]}], "multiple of 2"),
        ([{"until": 0.5, "windows": [64]}], "larger than scenes.size"),
    ],
)
def test_bad_stages_are_refused(stages: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(stages=stages)


TORCH = """
import numpy as np
import torch
from icemapper_xr.training import fit, optimiser, state, torch_graphs, torch_step
from tests.test_training_fit import tiny
rng = np.random.default_rng(3)
y = np.zeros((2, 16, 16, 2), np.float32)
y[..., :9, 0] = y[..., 9:14, 1] = 1
for pooling in ("maxpool", "tweightedpool"):
    settings = tiny(features=("rtc", "insar"), pooling=pooling, levels=2, loss={"dice": 0.3, "smoothing": 0.1})
    left, right = fit._model(settings), fit._model(settings)
    keras_steps, torch_steps = optimiser.KerasStep(left), torch_step.TorchStep(right)
    assert isinstance(optimiser.steps_of(left), torch_step.TorchStep)
    for _ in range(3):
        x = rng.random((2, 15, 16, 16, 2), np.float32)
        losses = [one.train(x, y) for one in (keras_steps, torch_steps)]
        np.testing.assert_allclose(*losses, rtol=1e-4)
    batches = [rng.random((2, 15, 16, 16, 2), np.float32) for _ in range(2)]
    for one in (keras_steps, torch_steps):
        one.estimate(lambda k: batches[k], 2)
        one.freeze()
    kept = [state.arrays_of([norm.moving_mean, norm.gamma]) for norm in optimiser.batch_norms(right)]
    for _ in range(3):
        x = rng.random((2, 15, 16, 16, 2), np.float32)
        losses = [one.train(x, y) for one in (keras_steps, torch_steps)]
        np.testing.assert_allclose(*losses, rtol=1e-4)
    for norm, before in zip(optimiser.batch_norms(right), kept, strict=True):
        np.testing.assert_array_equal(state.arrays_of([norm.moving_mean, norm.gamma]), before)
    np.testing.assert_allclose(
        torch_step._loss(right.loss, torch_steps.forward(torch.from_numpy(x))[0], torch.from_numpy(y)).item(),
        right.evaluate(x, y, verbose=0), rtol=1e-4, err_msg="what a frozen step sees is what the network answers",
    )
    for a, b, variable in zip(*map(state.arrays_of, (left.weights, right.weights)), left.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3, rtol=2e-3, err_msg=variable.path)
    lower = optimiser.steps_of(left, precision="bfloat16")
    lower.freeze()
    losses = [one.train(x, y) for one in (lower, torch_steps)]
    assert losses[0] != losses[1]
    np.testing.assert_allclose(*losses, rtol=0.02, err_msg="bfloat16 has three digits")
pooling = torch_steps.units.pooling[0]
given = torch.from_numpy(rng.random((2, 15, 6, 70, 2), np.float32)).permute(0, 4, 1, 2, 3).requires_grad_()
asked = [given, *(variable.value for variable in pooling.trainable_variables)]
def whole(x, pooling, *, halve):
    merged = (x * torch_step._weights(x.mean((3, 4), keepdim=True), pooling)).mean(2)
    return merged, torch.nn.functional.max_pool3d(x, (1, 2, 2)) if halve else None
for halve in (True, False):
    found = []
    for pool in (torch_step._merge_and_halve, whole):
        answers = [one for one in pool(given, pooling, halve=halve) if one is not None]
        score = sum((one * torch.linspace(0, 1, one.numel()).view(one.shape)).sum() for one in answers)
        down = torch.autograd.grad(score, asked)
        found.append([one.detach().numpy() for one in (*answers, *down)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * abs(b).max(), err_msg="plane by plane, and whole")
for one in (left, right):
    for variable in one.optimizer.variables[2:]:
        variable.assign(variable * 0)
    one.optimizer.learning_rate = 0.01
start = state.arrays_of(left.trainable_variables)
state.assign(right.trainable_variables, start)
for size in (0.001, 3.0, 0.1):  # of the gradients: the norm is clipped at 1
    gradients = [torch.from_numpy(size * rng.normal(size=one.shape).astype("f4")) for one in start]
    left.optimizer.apply(gradients, left.trainable_variables)
    with torch.no_grad():
        torch_step._adam(right.optimizer, right.trainable_variables, gradients)
assert int(left.optimizer.iterations) == int(right.optimizer.iterations)
for a, b, c in zip(*(state.arrays_of(one.trainable_variables) for one in (left, right)), start, strict=True):
    np.testing.assert_allclose(a - c, b - c, rtol=1e-3, atol=1e-7, err_msg="Adam is Keras's")
steps, notes = [], []
torch_graphs._Record = lambda *_: torch.ones(2) @ torch.ones(3)  # a device that cannot record
torch_graphs.progress.note = notes.append
recorded = torch_graphs.Recorded(lambda x, y: steps.append(x) or x.sum())
assert [float(recorded(torch.full((2,), k), None)) for k in range(6)] == [0, 2, 4, 6, 8, 10]
assert len(steps) == 6 and len(notes) == 1 and "recording failed" in notes[0]
print("agree")
"""


def agree_on_torch(script: str) -> None:
    """Run a script in a process whose Keras runs on torch: a process has one backend."""
    environment = {**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": str(Path(__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout.strip().endswith("agree"), run.stderr


def test_steps_by_torch_are_those_by_keras() -> None:
    pytest.importorskip("torch", reason="torch is an accelerator for those who have it")
    agree_on_torch(TORCH)


RECORDED = """
import numpy as np
from icemapper_xr.training import fit, optimiser, state, torch_graphs
from tests.test_training_fit import tiny
rng = np.random.default_rng(1)
y = (rng.random((4, 4, 64, 64, 1)) < 0.4) == [True, False]
batches = [(rng.random((4, 15, 64, 64, 1), np.float32), one.astype(np.float32)) for one in y]
for precision in ("float32", "bfloat16"):
    ended = []
    for told in (10**9, 3):
        torch_graphs.FIRST = told
        model = fit._model(tiny(precision=precision, filters=16, levels=3))
        steps = optimiser.steps_of(model, precision=precision)
        steps.freeze()
        losses = [float(steps.train(*batches[k % 4])) for k in range(9)]
        ended.append((losses, *state.arrays_of(model.weights)))
    assert len(steps._step.records) == 1
    for a, b in zip(*ended, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4, err_msg=precision)
print("agree")
"""


def test_recorded_steps_are_those_that_are_told() -> None:
    torch = pytest.importorskip("torch", reason="torch is an accelerator for those who have it")
    if not torch.cuda.is_available():
        pytest.skip("steps are recorded on CUDA devices alone")
    agree_on_torch(RECORDED)


def test_half_precision_needs_torch(tmp_path: Path) -> None:
    with pytest.raises(errors.OptionError, match="precision='bfloat16' needs --backend torch, and Keras runs on tens"):
        fit.train(tiny(precision="bfloat16"), tmp_path, make=make)
    assert not (tmp_path / "scenes").exists()  # said before anything is simulated


def test_a_refused_training_leaves_no_folder(tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('features = ["rtc"]\npooling = "maxpool"\nfilters = 4\nsteps = 1\nprecision = "bfloat16"\n')
    (tmp_path / "kept").mkdir()
    with pytest.raises(errors.OptionError, match="needs --backend torch"):
        verbs.train_weights(
            settings, out=tmp_path / "kept" / "run", export=tmp_path / "weights", cache=tmp_path / "a" / "b"
        )
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["kept", "settings.toml"]


# -- files ------------------------------------------------------------------------------------------------------------
def test_export_and_warm_start(tmp_path: Path) -> None:
    from icemapper_xr.models import weights
    from icemapper_xr.training import export, warm

    both = tiny(features=("rtc", "insar"))
    trained = fit.train(both, tmp_path / "both", make=make)
    path = export.export(trained, both, tmp_path / "weights")
    assert path.name == "ICEmapper_tweightedpool_rtcinsar_simulated.h5"
    attrs = weights.read_attrs(path)
    assert attrs["features"] == ["rtc", "insar"]
    assert (attrs["window"], attrs["pixel_size"]) == (16, 10.0)
    assert (tmp_path / "weights" / "logs" / "ICEmapper_tweightedpool_rtcinsar_simulated.csv").exists()
    alone = tiny(features=("insar",))
    model = fit.network(alone)
    warm.start(model, path, alone.features)
    ours = state.arrays_of(model.get_layer("encoder_0").convolutions[0].weights)[0]
    theirs = state.arrays_of(trained.model.get_layer("encoder_0").convolutions[0].weights)[0]
    assert np.array_equal(ours[..., 0, :], theirs[..., 1, :])
    deep = [state.arrays_of(one.get_layer("decoder_0").weights) for one in (model, trained.model)]
    assert all(np.array_equal(a, b) for a, b in zip(*deep, strict=True))
    from_run = export.from_checkpoint(both, tmp_path / "both", tmp_path / "again")
    assert weights.read_architecture(from_run).channels == 2
    other = export.export(trained, tiny(features=("rtc", "insar"), seed=both.seed + 1), tmp_path / "other")
    before = other.read_bytes()
    with pytest.raises(errors.OptionError, match=r"holds weights of another training \(of other seed\): name another"):
        export.from_checkpoint(both, tmp_path / "both", tmp_path / "other")
    assert other.read_bytes() == before
    icefree = dataclasses.replace(trained, scores={"val_iou_pixels": 1.0, "val_area_bias": float("nan")})
    told = weights.read_attrs(export.export(icefree, both, tmp_path / "weights"))["validation"]
    assert told == {"val_iou_pixels": 1.0, "val_area_bias": None}


def test_features_weigh_the_same_at_first() -> None:
    from icemapper_xr.training import warm

    model = fit.network(tiny(features=("rtc", "insar")))
    layer = model.get_layer("encoder_0").convolutions[0]
    before = state.arrays_of([layer.kernel])[0]
    warm.balance(model, ("rtc", "insar"))
    after = state.arrays_of([layer.kernel])[0]
    assert np.allclose(after[..., 1, :], before[..., 1, :])
    assert np.allclose(after[..., 0, :] * 0.03, before[..., 0, :] * 0.2)


def test_warm_start_of_another_size_is_refused(tmp_path: Path) -> None:
    from icemapper_xr.models import weights
    from icemapper_xr.training import warm

    path = tmp_path / "a.h5"
    weights.write(fit.network(tiny()), path, attrs={"features": ["rtc"]})
    with pytest.raises(errors.OptionError, match="filters"):
        warm.start(fit.network(tiny(filters=4)), path, ("rtc",))
    with pytest.raises(errors.OptionError, match=r"a\.h5 is of another depth, 1 levels, than .* 2: set levels = 1"):
        warm.start(fit.network(tiny(levels=2)), path, ("rtc",))


def test_warm_start_takes_a_feature_that_is_written_as_plain_text(tmp_path: Path) -> None:
    from icemapper_xr.models import weights
    from icemapper_xr.training import warm

    given, new = fit.network(tiny(seed=5)), fit.network(tiny())
    weights.write(given, tmp_path / "a.h5", attrs={"features": "rtc"})
    assert warm.features_of(tmp_path / "a.h5") == ("rtc",)
    warm.start(new, tmp_path / "a.h5", ("rtc",))
    kernels = [state.arrays_of([one.get_layer("encoder_0").convolutions[0].kernel])[0] for one in (given, new)]
    assert np.array_equal(*kernels)


def test_scenes_that_the_first_weights_learned_from_are_no_validation(tmp_path: Path) -> None:
    from icemapper_xr.models import weights
    from icemapper_xr.training import warm

    learned = {"learned_seeds": [[300_000, 300_799], [400_000, 400_099]], "chosen_seeds": [[900_000, 900_007]]}
    weights.write(fit.network(tiny()), tmp_path / "a.h5", attrs={"features": ["rtc"], **learned})

    def begun(seed: int) -> TrainingConfig:
        scenes = {"number": 3, "size": 32, "validation": 1, "first": 1, "every": 2, "validation_seed": seed}
        return tiny(warm_start=tmp_path / "a.h5", scenes=scenes)

    for seed in (300_799, 400_000):
        with pytest.raises(errors.OptionError, match=rf"validation_seed={seed}: .*a.h5 has learned from the scenes"):
            fit.train(begun(seed), tmp_path / "run", make=make)
    assert not (tmp_path / "run" / fit.CHECKPOINT).exists()
    for seed in (300_800, 900_000):
        warm.check_validation(begun(seed))


def test_warm_start_must_not_have_seen_what_is_left_out(tmp_path: Path) -> None:
    from icemapper_xr.models import weights
    from icemapper_xr.training import export, sources, warm

    def begun(name: str, **attrs: object) -> TrainingConfig:
        weights.write(fit.network(tiny()), tmp_path / name, attrs={"features": ["rtc"], **attrs})
        return tiny(leave_out=("alpine",), warm_start=tmp_path / name)

    seen = begun("seen.h5", **export.attributes(tiny(), {}))
    with pytest.raises(errors.OptionError, match=r"seen\.h5 has learned from what leave_out=\['alpine'\] keeps"):
        fit.train(seen, tmp_path / "run", make=make)
    spared = begun("spared.h5", **export.attributes(tiny(leave_out=("alpine", "coast")), {}))
    warm.check_left_out(spared)
    assert "but those of alpine; no accuracy" in sources.training_set(spared)
    unknown = begun("unknown.h5")
    warm.check_left_out(unknown)
    assert "but those of alpine (which unknown.h5, with which it began, may have seen);" in sources.training_set(
        unknown
    )


def test_what_nobody_knows_of_the_first_weights_nobody_knows_of_later_ones(tmp_path: Path) -> None:
    from icemapper_xr.models import weights
    from icemapper_xr.training import export, sources, warm

    def written(name: str, settings: TrainingConfig | None, left_out: tuple[str, ...]) -> TrainingConfig:
        """Write weights of a training, and return the settings of one that begins with them."""
        attrs = {"features": ["rtc"]} if settings is None else export.attributes(settings, {})
        weights.write(fit.network(tiny()), tmp_path / name, attrs=attrs)
        return tiny(leave_out=left_out, warm_start=tmp_path / name)

    second = written("first.h5", None, ("alpine", "coast"))
    third = written("second.h5", second, ("alpine",))
    fourth = written("third.h5", third, ("alpine",))
    for settings in (second, third, fourth):
        assert warm.has_seen(settings) is None
        assert "may have seen" in sources.training_set(settings)
    assert warm.has_seen(third.model_copy(update={"leave_out": ("sea",)})) is True
    assert warm.has_seen(written("known.h5", tiny(leave_out=("alpine",)), ("alpine",))) is False


def test_weights_remember_their_scenes_when_they_go_on_with_a_data_set(tmp_path: Path) -> None:
    from icemapper_xr.models import weights
    from icemapper_xr.training import export, warm

    def begun(name: str, settings: TrainingConfig) -> Path:
        weights.write(fit.network(tiny()), tmp_path / name, attrs=export.attributes(settings, {}))
        return tmp_path / name

    first = begun("simulated.h5", tiny())
    told = warm.seeds_of(weights.read_attrs(first))
    assert told == ([[100_000, 100_002]], [[900_000, 900_000]])
    tuned = begun("tuned.h5", TrainingConfig(features=("rtc",), data=tmp_path, warm_start=first))
    again = begun("again.h5", TrainingConfig(features=("rtc",), data=tmp_path, warm_start=tuned))
    assert warm.seeds_of(weights.read_attrs(again)) == told
    fresh = export.attributes(TrainingConfig(features=("rtc",), data=tmp_path), {})
    assert warm.seeds_of(fresh) == ([], [])
    assert "learned_seeds" not in fresh


def test_windows_of_which_nothing_is_known_are_not_scored(tmp_path: Path) -> None:
    class Half:
        """Glacier in the upper half, and only the left half inside."""

        name, shape, inner = "half", (32, 32), (slice(0, 32), slice(0, 16))
        base: ClassVar = {"rtc": np.arange(15)}

        def read(self, feature: Feature, dates: np.ndarray, crop: samples.Crop) -> np.ndarray:
            return np.full((len(dates), crop.size, crop.size), 0.6, np.float32)

        def truth(self, crop: samples.Crop) -> np.ndarray:
            return np.broadcast_to(np.arange(32)[:, None] < 16, (32, 32))[crop.slices]

    class Never:
        """Answers that there is no glacier."""

        def predict_on_batch(self, x: np.ndarray) -> np.ndarray:
            return np.stack([np.ones(x.shape[:1] + x.shape[2:4]), np.zeros(x.shape[:1] + x.shape[2:4])], axis=-1)

    scores = fit.score(Never(), [Half()], tiny())  # type: ignore[list-item]
    assert scores["val_iou_patches"] == 0.5  # of the two windows inside one has a glacier
    outside = Half()
    outside.inner = (slice(0, 0), slice(0, 0))
    with pytest.raises(errors.OptionError, match="nothing was observed in the validation samples"):
        fit.score(Never(), [outside], tiny())  # type: ignore[list-item]


def test_warm_start_leaves_out_the_pooling_where_its_kind_differs(tmp_path: Path) -> None:
    from icemapper_xr.models import weights
    from icemapper_xr.training import warm

    def arrays(model: object, part: str) -> list[np.ndarray]:
        return [a for layer in model.layers if part in layer.name for a in state.arrays_of(layer.weights)]  # type: ignore[attr-defined]

    given, plain, back = fit.network(tiny(seed=5)), fit.network(tiny(pooling="maxpool")), fit.network(tiny())
    fresh = arrays(back, "_pool_")
    for model, target in ((given, plain), (plain, back)):
        weights.write(model, tmp_path / "a.h5", attrs={"features": ["rtc"]})
        warm.start(target, tmp_path / "a.h5", ("rtc",))
    pairs = [(arrays(back, "coder_"), arrays(given, "coder_")), (arrays(back, "_pool_"), fresh)]
    assert all(np.array_equal(a, b) for left, right in pairs for a, b in zip(left, right, strict=True))
