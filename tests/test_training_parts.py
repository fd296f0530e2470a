"""Settings, samples, augmentation, losses and scores: everything of the training but the loop."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from icemapper_xr import errors
from icemapper_xr.conventions import FEATURE_RANGES
from icemapper_xr.training import augment, config, hdf5, metrics, patches, samples
from icemapper_xr.training.config import Augmentation, TrainingConfig

CALM = Augmentation(
    start_jitter=0,
    step_jitter=0,
    gap_chance=0,
    border=0,
    vertical_flip=0,
    horizontal_flip=0,
    rotation=0,
    gamma=0,
    shift=0,
)


# -- settings ---------------------------------------------------------------------------------------------------------
def test_shipped_settings_are_valid() -> None:
    folder = Path(__file__).parents[1] / "weights" / "configs"
    names = {config.load(path).name for path in folder.glob("*.toml")}
    assert "ICEmapper_tweightedpool_rtcinsar_simulated" in names
    assert "ICEmapper_tweightedpool_rtc_simulated" in names


def test_original_has_the_published_numbers() -> None:
    original = config.original(features=("rtc",))
    assert (original.window, original.batch, original.epochs, original.learning_rate) == (384, 8, 150, 5e-4)
    assert np.allclose(np.array(original.schedule.cycles) * 150, [10, 30, 70, 150])
    assert (original.loss.gamma, original.loss.smoothing) == (2.0, 0.1)


def test_preset_is_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('preset = "original"\nfeatures = ["insar"]\ndata = "set"\n')
    loaded = config.load(path)
    assert loaded.filters == 32
    assert loaded.data == tmp_path / "set"


def test_a_table_of_the_preset_keeps_what_is_not_named(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('preset = "original"\n[augmentation]\nshift_sigma = 0.01\n[schedule]\nfloor = 0.1\n')
    for changed in (
        config.load(path),
        config.original(augmentation={"shift_sigma": 0.01}, schedule={"floor": 0.1}),
    ):
        published = config.original()
        assert changed.augmentation == published.augmentation.model_copy(update={"shift_sigma": 0.01})
        assert changed.schedule == published.schedule.model_copy(update={"floor": 0.1})


def test_a_schedule_of_another_kind_leaves_that_of_the_preset_behind() -> None:
    changed = config.original(schedule={"kind": "cosine", "warmup": 0.1})
    assert changed.schedule == config.Schedule(warmup=0.1)
    for settings in (changed, config.original(), config.TrainingConfig(features=("rtc",))):
        assert config.TrainingConfig.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("windows = 3", "windows"),
        ('features = ["insar", "rtc"]', "order"),
        ("window = 100", "multiple of 8"),
        ("epochs = 3\nsteps = 3", "either"),
        ('[schedule]\nkind = "restarts"\ncycles = [0.5]', "1.0"),
        ("[schedule]\ncycles = [0.5, 1.0]", r"cycles=\(0.5, 1.0\) has no effect with kind='cosine'"),
        ('[schedule]\nkind = "restarts"\nwarmup = 0.1', "warmup=0.1 has no effect with kind='restarts'"),
        ('[schedule]\nkind = "constant"\nfloor = 0.1', "floor=0.1 has no effect with kind='constant'"),
        ("[scenes]\nvalidation_seed = 100001", "among the seeds"),
        ('preset = "other"', "original"),
        ("window = ", "cannot read"),
        ("data = 5", "data = 5 must be a path"),
        ("warm_start = true", "warm_start = True must be a path"),
        ("seed = -1", "seed"),
        ("seed = 20261129120000", "seed = 20261129120000: should be less than 4294967296"),
        ("pixel_size = 30.0", "simulated scenes have 10 m"),
        ("window = 16\n[scenes]\nsize = 16", "scenes.size"),
        ("[scenes]\nseed = -5", "scenes.seed"),
        ("filterz = 8", "filterz: unknown key; did you mean filters\\? there are features, pooling, filters,"),
        ("[loss]\ngama = 2", "loss.gama: unknown key; did you mean gamma\\? there are gamma, smoothing, dice$"),
        ("[[stages]]\nuntil = 1\nwindow = 8", r"stages\[0\].windows is missing: give it"),
        (
            "[[stages]]\nuntil = 1\nwindows = []",
            r"stages\[0\].windows = \[\]: the list should have at least 1 item, not 0",
        ),
        ("learning_rate = -1", r"a\.toml: learning_rate = -1: should be greater than 0$"),
        ('features = "rtc"', r"features = 'rtc': should be a list"),
        ('features = ["rtc", "sar"]', r"features\[1\] = 'sar': should be 'grd', 'rtc' or 'insar'"),
        ("loss = 3", "loss = 3: should be a table"),
        ("filters = 7", r"a\.toml: filters=7 must be even"),
        ("steps = true", "steps = True: a number is wanted"),
        ('steps = "100"', "steps = '100': a number is wanted, without quotes"),
        ("[augmentation]\nscale = true", "augmentation.scale = True: a number is wanted"),
        ('[schedule]\nkind = "restarts"\ncycles = ["0.5", 1]', r"schedule.cycles\[0\] = '0.5': a number is wanted"),
        ('data = "x"\n[scenes]\nnumber = 3\nsize = 64', "scenes.number, scenes.size would have no effect beside data="),
        ("window = 320", "half of it must divide 1152 px; give one of 8, 16, 24, 32,"),
        ("[scenes]\nseed = 699990", "699990 to 700053 meet the seeds 700001 to 700020, which are for evaluation"),
        ("[scenes]\nvalidation_seed = 800010", "800010 to 800013 meet the seeds 800001 to 800012, which are for cal"),
        ("learning_rate = inf", "learning_rate"),
        ("pixel_size = inf", "pixel_size"),
        ("[augmentation]\nshift_sigma = inf", "shift_sigma"),
        ("", "holds no settings: name the features"),
        (
            'features = ["grd"]\n[augmentation]\ncoarse = 0.2',
            "coarse changes rtc alone, and features are grd",
        ),
        ('features = ["insar"]\n[augmentation]\nspeckle = 0.2', "speckle changes grd and rtc alone"),
    ],
)
def test_bad_settings_are_named_in_one_line(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(errors.OptionError, match=part) as caught:
        config.load(path)
    assert "\n" not in str(caught.value)


def test_whole_numbers_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("steps = 3.0\nlearning_rate = 1\n[augmentation]\nscale = 0\n")
    assert config.load(path) == TrainingConfig(steps=3, learning_rate=1.0)


def test_the_mark_with_which_windows_begins_a_text_is_no_setting(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("steps = 3\n", encoding="utf-8-sig")
    assert config.load(path) == TrainingConfig(steps=3)


# -- scaling ----------------------------------------------------------------------------------------------------------
def test_scale_maps_the_published_range_and_keeps_gaps() -> None:
    low, high = FEATURE_RANGES["rtc"].minimum, FEATURE_RANGES["rtc"].maximum
    values = samples.scale(np.array([low, high, np.nan], np.float32), "rtc")
    assert np.allclose(values[:2], [0, 1], atol=1e-6)
    assert np.isnan(values[2])


# -- augmentation -----------------------------------------------------------------------------------------------------
def _coded(size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Make a patch in which every value says its time, row and column, with labels of the same code."""
    time, y, x = np.meshgrid(np.arange(15), np.arange(size), np.arange(size), indexing="ij")
    stack = (time * 10_000 + y * 100 + x).astype(np.float32)[..., None]
    return np.repeat(stack, 2, axis=-1), np.repeat((y[0] * 100 + x[0]).astype(np.float32)[..., None], 2, axis=-1)


@given(seed=st.integers(0, 10_000))
def test_geometry_moves_labels_with_pixels_and_leaves_time(seed: int) -> None:
    stack, labels = _coded()
    settings = Augmentation(vertical_flip=0.5, horizontal_flip=0.5, rotation=0.75)
    moved, moved_labels = augment.geometry(np.random.default_rng(seed), stack, labels, settings)
    assert np.array_equal(moved % 10_000, np.broadcast_to(moved_labels, moved.shape))
    assert np.array_equal(moved // 10_000, stack // 10_000)


def test_zoom_keeps_time_and_space_apart() -> None:
    stack, labels = _coded()
    settings = CALM.model_copy(update={"scale": 1.0})
    moved, moved_labels = augment.geometry(np.random.default_rng(2), stack, labels, settings)
    # Bilinear sampling of a plane is exact: each step is the same square, enlarged.
    assert np.allclose(moved - 10_000 * np.arange(15)[:, None, None, None], moved_labels[None], atol=0.05)


def test_gaps_are_whole_steps_of_one_channel() -> None:
    counts = []
    for seed in range(200):
        stack = np.ones((15, 4, 4, 2), np.float32)
        augment.drop_steps(np.random.default_rng(seed), stack, CALM.model_copy(update={"gap_chance": 1.0}))
        gone = np.isnan(stack)
        assert np.array_equal(gone.any(axis=(1, 2)), gone.all(axis=(1, 2)))
        counts.append(gone[:, 0, 0].sum(axis=0))
    assert set(np.ravel(counts)) == {0, 1, 2, 3, 4}
    assert any(first != second for first, second in counts)


def test_dates_move_only_where_they_are_denser_than_steps() -> None:
    settings = Augmentation(start_jitter=1, step_jitter=0.5)
    rng = np.random.default_rng(0)
    steps = np.arange(15)
    assert np.array_equal(augment.choose_dates(rng, {"rtc": steps}, {"rtc": 15}, settings)["rtc"], steps)
    moved = [augment.choose_dates(rng, {"rtc": 2 * steps}, {"rtc": 29}, settings)["rtc"] for _ in range(300)]
    assert np.abs(np.array(moved) - 2 * steps).max() == 2
    assert np.min(moved) >= 0
    assert np.max(moved) <= 28


def test_hidden_border_has_no_label_and_no_value() -> None:
    stack, labels = _coded()
    augment.hide_border(np.random.default_rng(1), stack, labels, CALM.model_copy(update={"border": 1.0}))
    hidden = np.isnan(stack).all(axis=(0, 3))
    assert 0 < hidden.mean() <= augment.MAX_HIDDEN
    assert not labels[hidden].any()


def test_speckle_touches_backscatter_only_and_keeps_the_mean_power() -> None:
    stack = np.full((15, 32, 32, 2), 0.6, np.float32)
    out = augment.speckle(
        np.random.default_rng(3), stack.copy(), ("rtc", "insar"), CALM.model_copy(update={"speckle": 1.0})
    )
    assert np.array_equal(out[..., 1], stack[..., 1])
    limits = FEATURE_RANGES["rtc"]
    power = 10 ** ((out[..., 0] - 0.6) * (limits.maximum - limits.minimum) / 10)
    assert power.mean() == pytest.approx(1, abs=0.02)


def test_a_coarse_product_is_smoother_has_the_power_and_keeps_its_gaps() -> None:
    limits = FEATURE_RANGES["rtc"]
    span = limits.maximum - limits.minimum
    rng = np.random.default_rng(4)
    level = np.where(np.arange(128) < 64, -8.0, -14.0)  # an edge in x
    decibel = level + 10 * np.log10(rng.gamma(4, 1 / 4, (15, 130, 128)))
    stack = np.stack([(decibel - limits.minimum) / span, np.full_like(decibel, 0.5)], axis=-1).astype(np.float32)
    stack[3, :20, :, 0] = np.nan
    settings = CALM.model_copy(update={"coarse": 1.0})
    out = augment.coarsen(np.random.default_rng(5), stack.copy(), ("rtc", "insar"), settings)
    assert np.array_equal(out[..., 1], stack[..., 1])
    assert np.array_equal(np.isnan(out), np.isnan(stack))
    seen = out[..., 0] * span + limits.minimum
    for side, mean in ((slice(4, 60), -8.0), (slice(68, 124), -14.0)):
        there = seen[:, :, side]
        assert 10 * np.log10(np.nanmean(10 ** (there / 10))) == pytest.approx(mean, abs=0.1)
        assert np.nanstd(there) < 0.5 * np.nanstd(decibel[:, :, side])
        neighbours = np.corrcoef(there[4:, :, 1:].ravel(), there[4:, :, :-1].ravel())[0, 1]
        assert neighbours > 0.7  # 0 before: bilinear between pixels of thrice the size
    # beside a gap, no darker: what is missing counts in no mean
    assert 10 * np.log10(np.mean(10 ** (seen[3, 20, 4:60] / 10))) == pytest.approx(-8.0, abs=0.6)


def test_a_coarse_product_is_interpolated_as_by_scipy() -> None:
    coarse = np.random.default_rng(8).random((2, 7, 9)).astype(np.float32)
    fine = augment._threefold(augment._threefold(coarse, 1), 2)
    wanted = ndimage.zoom(coarse, (1, 3, 3), order=1, grid_mode=True, mode="nearest")
    np.testing.assert_allclose(fine, wanted, atol=1e-6)


def test_a_coarse_product_is_of_rtc_alone_and_draws_nothing_where_it_is_not_asked_for() -> None:
    stack = np.random.default_rng(6).random((15, 16, 16, 1), np.float32)
    rng = np.random.default_rng(7)
    assert np.array_equal(augment.coarsen(rng, stack.copy(), ("rtc",), CALM), stack)
    settings = CALM.model_copy(update={"coarse": 1.0})
    assert np.array_equal(augment.coarsen(rng, stack.copy(), ("grd",), settings), stack)
    assert rng.random() == np.random.default_rng(7).random()  # trainings without it draw what they drew


# -- scores -----------------------------------------------------------------------------------------------------------
def test_scores_by_hand() -> None:
    mapped = np.array([1, 1, 1, 0, 0, 0], bool)
    truth = np.array([1, 1, 0, 1, 0, 0], bool)
    one = metrics.count(mapped, truth)
    assert one == metrics.Counts(2, 1, 1, 2)
    assert one.iou == 0.5
    assert one.precision == one.recall == one.f1 == pytest.approx(2 / 3)
    assert one.area_bias == 0
    assert metrics.count(mapped, truth, np.arange(6) < 2).iou == 1


def test_empty_against_empty_is_one() -> None:
    empty = metrics.count(np.zeros(4, bool), np.zeros(4, bool))
    assert empty.iou == empty.f1 == 1
    assert metrics.mean_iou([empty, metrics.Counts(1, 1, 0, 0)]) == 0.75
    assert metrics.total([empty, metrics.Counts(1, 1, 0, 0)]).iou == 0.5


# -- the published data set -------------------------------------------------------------------------------------------
def write_set(path: Path, *, size: int = 64, dates: int = 29) -> None:
    """Write a small file of the published layout: 48 x 40 px of data behind a leading pad of 8 and 16 px."""
    rng = np.random.default_rng(5)
    with h5py.File(path, "w") as file:
        for name in ("SVAL-10-38_2020_ro14", "SVAL-10-39_2020_ro174"):
            group = file.create_group(name)
            truth = rng.random((size, size)) < 0.5
            group["outlines"] = np.stack([~truth, truth], axis=-1).astype(np.uint8)
            for feature in ("rtc", "insar"):
                group[feature] = rng.random((dates, size, size, 1)).astype(np.float32)
                group.attrs[f"{feature}_base_time_idx"] = np.arange(15) * 2
            group.attrs.update(height=size, width=size, orig_height=48, orig_width=40, pad_height=8, pad_width=16)


def test_hdf5_reads_crops_and_dates(tmp_path: Path) -> None:
    path = tmp_path / "train.hdf5"
    write_set(path)
    found = hdf5.open_samples(path, ("rtc", "insar"))
    assert [one.name for one in found] == ["SVAL-10-38_2020_ro14", "SVAL-10-39_2020_ro174"]
    one = found[0]
    assert one.inner == (slice(8, 56), slice(16, 56))
    crop = samples.Crop(3, 5, 16)
    dates = np.array([4, 4, 2, 28])
    with h5py.File(path) as file:
        group = file[one.name]
        assert np.array_equal(one.read("insar", dates, crop), group["insar"][:][dates, 3:19, 5:21, 0])
        assert np.array_equal(one.truth(crop), group["outlines"][3:19, 5:21, 1] == 1)


def test_a_file_in_the_place_of_another_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("test.hdf5")
    write_set(path)
    (before, _) = hdf5.open_samples(path, ("rtc",))
    crop = samples.Crop(0, 0, 8)
    write_set(tmp_path / "new.hdf5", dates=30)
    (tmp_path / "new.hdf5").replace(path)
    (tmp_path / "elsewhere").mkdir()
    write_set(tmp_path / "elsewhere" / "test.hdf5", dates=31)
    (after, _) = hdf5.open_samples(path, ("rtc",))
    assert (before.dates["rtc"], after.dates["rtc"]) == (29, 30)
    monkeypatch.chdir(tmp_path / "elsewhere")
    hdf5.close(tmp_path / path)
    after.read("rtc", np.array([29]), crop)  # of the file that was named, wherever the process has gone
    with pytest.raises(errors.OptionError, match=r"test\.hdf5 was changed while it was read: run this again"):
        before.read("rtc", np.array([0]), crop)
    hdf5.close(tmp_path / path)
    h5py.File(tmp_path / path, "r+").close()


def test_hdf5_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(errors.OptionError, match=r"train\.hdf5"):
        hdf5.open_samples(tmp_path / "train.hdf5", ("rtc",))
    path = tmp_path / "other.hdf5"
    write_set(path)
    with pytest.raises(errors.OptionError, match="has no grd: leave the feature out"):
        hdf5.open_samples(path, ("grd",))
    with h5py.File(tmp_path / "third.hdf5", "w") as file, h5py.File(path) as source:
        source.copy("SVAL-10-38_2020_ro14", file)
        file["SVAL-10-38_2020_ro14"].attrs["rtc_base_time_idx"] = np.arange(15) * 3
    with pytest.raises(errors.OptionError, match="15 whole numbers below 29"):
        hdf5.open_samples(tmp_path / "third.hdf5", ("rtc",))
    with pytest.raises(errors.OptionError, match=r"it is a folder.*such as test\.hdf5"):
        hdf5.open_samples(tmp_path, ("rtc",))


def test_a_damaged_piece_is_named_with_its_sample(tmp_path: Path) -> None:
    path = tmp_path / "test.hdf5"
    write_set(path)
    with h5py.File(path, "r+") as file:
        group = file["SVAL-10-38_2020_ro14"]
        spans = []
        for name, chunks in (("rtc", (1, 32, 32, 1)), ("outlines", (64, 64, 2))):
            whole = group[name][:]
            del group[name]
            stored = group.create_dataset(name, data=whole, chunks=chunks, compression="gzip").id
            spans += [stored.get_chunk_info(0)]
    with path.open("r+b") as raw:
        for span in spans:
            raw.seek(span.byte_offset)
            raw.write(b"\x55" * span.size)
    one = hdf5.open_samples(path, ("rtc",))[0]
    crop = samples.Crop(0, 0, 16)
    told = r"sample SVAL-10-38_2020_ro14 in .*test\.hdf5 cannot be read \(.*the file is damaged; copy it anew"
    with pytest.raises(errors.OptionError, match=f"^rtc of {told}"):
        one.read("rtc", np.array([0]), crop)
    with pytest.raises(errors.OptionError, match=f"^outlines of {told}"):
        one.truth(crop)
    hdf5.close(path)


def test_missing_labels_are_no_background(tmp_path: Path) -> None:
    """In the padding, which is never learned from or scored, they may be missing."""
    path = tmp_path / "train.hdf5"
    write_set(path)
    with h5py.File(path, "r+") as file:
        for name, rows in (("SVAL-10-38_2020_ro14", slice(56, 64)), ("SVAL-10-39_2020_ro174", slice(55, 64))):
            labels = file[name]["outlines"][:].astype(np.float32)
            labels[rows] = np.nan
            del file[name]["outlines"]
            file[name]["outlines"] = labels
    padded, missing = hdf5.open_samples(path, ("rtc",))
    crop = samples.Crop(32, 32, 32)
    assert padded.truth(crop)[:24].any()
    assert not padded.truth(crop)[24:].any()
    with pytest.raises(errors.OptionError, match=r"sample SVAL-10-39_2020_ro174 in .*: outlines are NaN in places"):
        missing.truth(crop)
    assert missing.truth(samples.Crop(0, 0, 32)).any()
    hdf5.close(path)


def test_nothing_is_learned_from_the_padding(tmp_path: Path) -> None:
    """The inside of 48 x 40 px is smaller than a patch of 64 px."""
    write_set(tmp_path / "train.hdf5")
    found = hdf5.open_samples(tmp_path / "train.hdf5", ("rtc",))
    settings = TrainingConfig(features=("rtc",), window=64, mixed=0.0, augmentation=CALM)
    _, labels = patches.draw(np.random.default_rng(0), found[:1], settings, 64)
    inside = np.zeros((64, 64), bool)
    inside[8:56, 16:56] = True
    assert np.array_equal(labels.sum(axis=-1) == 1, inside)
    assert np.array_equal(labels, next(patches.windows(found[0], settings))[1])
    hdf5.close(tmp_path / "train.hdf5")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("outlines", np.zeros((64, 64)), r"outlines are \(64, 64\), \(H, W, 2\) wanted"),
        ("outlines", np.zeros((64, 64, 1)), r"outlines are \(64, 64, 1\)"),
        ("rtc", np.zeros((29, 64, 64)), r"rtc is \(29, 64, 64\), \(T, 64, 64, 1\) wanted"),
        ("@rtc_base_time_idx", None, "rtc_base_time_idx must be 15 whole numbers below 29"),
        ("@rtc_base_time_idx", "a", "rtc_base_time_idx must be"),
        ("@rtc_base_time_idx", np.arange(15) + 0.7, "rtc_base_time_idx must be"),
        ("@rtc_base_time_idx", np.arange(15)[::-1], "the steps must follow one another in time"),
        ("rtc", np.full((29, 64, 64, 1), -12.5), r"rtc has values around -12\.5, model units lie between 0 and 1"),
        ("rtc", np.full((29, 64, 64, 1), b"a"), r"rtc holds \|S1, numbers in model units are wanted"),
        ("@pad_height", -4, "pad_height=-4 and orig_height=48 do not lie within its 64"),
        ("@orig_width", 60, "pad_width=16 and orig_width=60"),
        ("@pad_width", "b", "pad_width is 'b', a whole number is wanted"),
    ],
)
def test_a_sample_that_makes_no_sense_is_told(tmp_path: Path, name: str, value: object, message: str) -> None:
    path = tmp_path / "test.hdf5"
    write_set(path)
    with h5py.File(path, "r+") as file:
        group = file["SVAL-10-38_2020_ro14"]
        if name.startswith("@"):
            del group.attrs[name[1:]]
            if value is not None:
                group.attrs[name[1:]] = value
        else:
            del group[name]
            group[name] = value
    with pytest.raises(errors.OptionError, match=message):
        hdf5.open_samples(path, ("rtc",))


def test_numbers_may_be_arrays_of_one_and_other_things_are_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "test.hdf5"
    write_set(path)
    with h5py.File(path, "r+") as file:
        file["SVAL-10-38_2020_ro14"].attrs["pad_height"] = np.array([8])
    assert hdf5.open_samples(path, ("rtc",))[0].inner[0] == slice(8, 56)
    other = tmp_path / "other.hdf5"
    write_set(other)
    with h5py.File(other, "r+") as file:
        file["version"] = 3
    with pytest.raises(errors.OptionError, match=r"sample version in .* has no rtc, outlines: choose another"):
        hdf5.open_samples(other, ("rtc",))
    hdf5.close(other)
    with h5py.File(other, "r+") as file:
        del file["version"]
        del file["SVAL-10-38_2020_ro14"]["outlines"]
    with pytest.raises(errors.OptionError, match="has no outlines: choose another data set"):
        hdf5.open_samples(other, ("rtc",))


def test_window_of_the_settings_must_fit_its_scenes() -> None:
    with pytest.raises(ValueError, match=r"scenes\.size"):
        TrainingConfig(window=512)


# -- command line -----------------------------------------------------------------------------------------------------
def test_command_line_names_the_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from icemapper_xr import progress
    from icemapper_xr.training import __main__ as command

    try:
        assert command.main([str(tmp_path / "none.toml")]) == 2
        (tmp_path / "a.toml").write_text("steps = 5\n")
        assert command.main([str(tmp_path / "a.toml"), "--out", str(tmp_path), "--export-only"]) == 2
    finally:
        progress.enable(False)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "error"]
    assert "none.toml" in lines[0]
    assert "checkpoint.npz does not exist yet" in lines[1]
