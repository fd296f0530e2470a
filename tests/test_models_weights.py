"""Weight files: read by the rules of the numbering, written as the original writes them, and every error told."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icemapper_xr import errors
from icemapper_xr.models import layout, weights
from tests import models_support as support

# Keras itself, when it saves: its variables do not know the copy keyword of numpy 2 yet
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")


def names_of(path: Path) -> dict[str, list[str]]:
    with h5py.File(path) as file:
        return {group: [str(name) for name in file[group].attrs["weight_names"]] for group in file}


@pytest.mark.parametrize("variant", support.VARIANTS)
def test_architecture_comes_from_the_shapes(variant):
    answer = support.answer(variant)
    found = weights.read_architecture(answer.path)
    assert (found.channels, found.filters, found.levels) == (len(answer.features), 4, 3)
    assert found.pooling == variant.split("_")[0]
    assert found.digest == weights.sha256(answer.path)


def test_a_full_size_file(shared):
    found = weights.read_architecture(shared / "parity" / "apply" / "ICEmapper_tweightedpool_grdinsar.h5")
    assert (found.channels, found.filters, found.levels, found.pooling) == (2, 32, 3, "tweightedpool")


@pytest.mark.parametrize("variant", support.VARIANTS)
def test_written_as_the_original_wrote_it(tmp_path, variant):
    """Names, their order (by which Keras 2 loads), types, root attributes and every bit."""
    answer = support.answer(variant)
    model = support.network(variant.split("_")[0], len(answer.features))
    weights.load_into(model, answer.path)
    weights.write(model, tmp_path / "ours.h5")
    assert names_of(tmp_path / "ours.h5") == names_of(answer.path)
    with h5py.File(answer.path) as theirs, h5py.File(tmp_path / "ours.h5") as ours:
        for name in theirs.attrs:
            np.testing.assert_array_equal(theirs.attrs[name], ours.attrs[name])
            assert theirs.attrs.get_id(name).dtype == ours.attrs.get_id(name).dtype
        for group, names in names_of(answer.path).items():
            kinds = [file[group].attrs.get_id("weight_names") for file in (theirs, ours)]
            assert kinds[0].dtype == kinds[1].dtype
            assert kinds[0].shape == kinds[1].shape
            for name in names:
                assert ours[group][name].dtype == theirs[group][name].dtype == np.float32
                np.testing.assert_array_equal(ours[group][name][()], theirs[group][name][()])


@pytest.mark.parametrize("pooling", ["maxpool", "tweightedpool"])
@pytest.mark.parametrize("channels", [1, 2])
def test_round_trip_is_bit_equal(tmp_path, pooling, channels):
    one, other = (support.network(pooling, channels, seed=seed) for seed in (1, 2))
    weights.write(one, tmp_path / "a.h5")
    weights.load_into(other, tmp_path / "a.h5")
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    weights.write(other, tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_attributes_go_round(tmp_path):
    attrs = {"features": ["rtc", "insar"], "window": 128, "pixel_size": 10.0, "n_steps": 15, "training": "simulated"}
    weights.write(support.network(), tmp_path / "a.h5", attrs=attrs)
    assert weights.read_attrs(tmp_path / "a.h5") == attrs
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["features"] == '["rtc", "insar"]'


def test_numpy_s_numbers_and_nothing_are_attributes_too(tmp_path):
    attrs = {"window": np.int64(64), "pixel_size": np.float32(10), "training": None, "seeds": np.arange(3)}
    weights.write(support.network(), tmp_path / "a.h5", attrs=attrs)
    told = weights.read_attrs(tmp_path / "a.h5")
    assert {name: told[name] for name in ("window", "pixel_size")} == {"window": 64, "pixel_size": 10.0}
    with h5py.File(tmp_path / "a.h5") as file:
        assert "training" not in file.attrs
        assert file.attrs["seeds"] == "[0, 1, 2]"


def test_a_place_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "folder.h5").mkdir()
    for path in (tmp_path / "nowhere" / "a.h5", tmp_path / "folder.h5"):
        with pytest.raises(errors.WeightsError, match=f"weights file {path} cannot be written"):
            weights.write(support.network(), path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.h5"]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(b"before")
    with pytest.raises(TypeError):
        weights.write(support.network(), path, attrs={"training": object()})
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


# -- numbering --------------------------------------------------------------------------------------------------------
@settings(max_examples=40, deadline=None)
@given(
    pooling=st.sampled_from(["maxpool", "tweightedpool"]),
    levels=st.integers(1, 4),
    offsets=st.fixed_dictionaries(
        {kind: st.integers(0, 99) for kind in ("unit", "conv", "norm", "dense", "pool", "up")}
    ),
    data=st.data(),
)
def test_counters_and_listed_order_do_not_matter(pooling, levels, offsets, data):
    """Counters that start anywhere (9 -> 10 within one file) and names in any order give the same roles."""
    architecture = layout.Architecture(2, 4, levels, pooling)
    kinds = {
        "residual_with_projection": "unit",
        "conv3d": "conv",
        "conv2d": "conv",
        "batch_normalization": "norm",
        "dense": "dense",
        "temporal_weighted_pooling": "pool",
        "up_conv": "up",
    }

    def renumber(part: str) -> str:
        kind, _, number = part.rpartition("_")
        if not number.isdigit():
            kind, number = part, "0"
        if kind not in kinds:
            return part
        total = int(number) + offsets[kinds[kind]]
        return f"{kind}_{total}" if total else kind

    wanted, listed = {}, {}
    for group, names in layout.keras2_names(architecture).items():
        renamed = {role: "/".join(renumber(part) for part in name.split("/")) for role, name in names.items()}
        wanted |= {role: (group, name) for role, name in renamed.items()}
        listed[group] = data.draw(st.permutations(list(renamed.values())))
    assert layout.roles_of_names(listed) == wanted


@pytest.mark.parametrize("kind", [np.bytes_, str])
def test_strings_of_either_kind_and_any_order(tmp_path, kind):
    answer = support.answer("tweightedpool_grdinsar")
    path = tmp_path / "a.h5"
    shutil.copy(answer.path, path)
    with h5py.File(path, "a") as file:
        for group in (layout.ENCODER, layout.DECODER):
            names = [str(name) for name in reversed(file[group].attrs["weight_names"])]
            del file[group].attrs["weight_names"]
            file[group].attrs["weight_names"] = np.array(names, "S") if kind is np.bytes_ else names
    one, other = weights.read_arrays(answer.path), weights.read_arrays(path)
    assert list(one) == list(other)
    assert all(np.array_equal(one[role], other[role]) for role in one)


# -- Keras 3's own files ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
@pytest.mark.parametrize("pooling", ["maxpool", "tweightedpool"])
def test_keras_3_files_are_read(tmp_path, suffix, pooling):
    one, other = (support.network(pooling, channels=1, filters=6, levels=2, seed=seed) for seed in (1, 2))
    path = tmp_path / f"a{suffix}"
    one.save_weights(path) if suffix == ".weights.h5" else one.save(path)
    found = weights.read_architecture(path)
    assert (found.channels, found.filters, found.levels, found.pooling) == (1, 6, 2, pooling)
    weights.load_into(other, path)
    for a, b in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_a_keras_3_file_of_another_network_is_refused(tmp_path):
    support.network(channels=1).save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(
        errors.WeightsError, match=r"encoder_0/conv_0/kernel .*shape \(3, 3, 3, 1, 4\), \(3, 3, 3, 2, 4\) wanted"
    ):
        weights.load_into(support.network(channels=2), tmp_path / "a.weights.h5")
    import keras

    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save_weights(tmp_path / "b.weights.h5")
    with pytest.raises(errors.WeightsError, match="kernels of shape"):
        weights.read_architecture(tmp_path / "b.weights.h5")


def test_a_damaged_keras_3_file_is_refused(tmp_path):
    path = tmp_path / "a.weights.h5"
    one, other = (support.network(channels=1, seed=seed) for seed in (1, 2))
    before = [np.array(value) for value in other.weights]
    one.weights[-1].assign(np.full(one.weights[-1].shape, np.nan, np.float32))
    one.save_weights(path)
    with pytest.raises(errors.WeightsError, match="not finite"):
        weights.load_into(other, path)
    for value, variable in zip(before, other.weights, strict=True):
        np.testing.assert_array_equal(value, np.asarray(variable))
    support.network(channels=1).save_weights(path)
    with h5py.File(path, "r+") as file:
        kernels = [d for d in weights._datasets(file["layers"]).values() if d.shape == (4, 2)]
        assert len(kernels) == 1
        parent, name = kernels[0].parent, kernels[0].name.rpartition("/")[2]
        del parent[name]
        parent[name] = np.zeros((4, 3), np.float32)
    with pytest.raises(errors.WeightsError, match=r"shape \(4, 2\) wanted \(head/kernel has it\).*left over: \(4, 3\)"):
        weights.read_architecture(path)


# -- errors -----------------------------------------------------------------------------------------------------------
def one_line(error: pytest.ExceptionInfo[errors.WeightsError], path: Path) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def damaged(tmp_path: Path, how: str) -> Path:
    source, path = support.answer("tweightedpool_grdinsar").path, tmp_path / "bad.h5"
    if how == "folder":
        path.mkdir()
    elif how == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
    elif how == "empty":
        path.touch()
    elif how == "zip":
        import zipfile

        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "nothing of Keras")
    elif how == "truncated":
        path.write_bytes(source.read_bytes()[:200_000])
    elif how == "other":
        with h5py.File(path, "w") as file:
            file["a"] = [1.0]
    return path


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("missing", "does not exist"),
        ("folder", "is a folder"),
        ("text", "is not an HDF5 file"),
        ("empty", "is not an HDF5 file"),
        ("zip", "cannot be read"),
        ("truncated", "truncated"),
        ("other", "Conv3DResUNetEncoder"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, how, says):
    path = damaged(tmp_path, how)
    with pytest.raises(errors.WeightsError, match=says) as error:
        weights.read_architecture(path)
    assert "icemapper weights fetch" in one_line(error, path)


def edited(tmp_path: Path, edit) -> Path:
    path = tmp_path / "edited.h5"
    shutil.copy(support.answer("tweightedpool_grdinsar").path, path)
    with h5py.File(path, "a") as file:
        edit(file[layout.ENCODER], file[layout.DECODER])
    return path


def reshape_dense(encoder, decoder):
    del decoder["dense_7/kernel:0"]
    decoder["dense_7/kernel:0"] = np.zeros((4, 3), np.float32)


def drop_variance(encoder, decoder):
    del encoder["residual_with_projection_1/conv3d_batch_norm_act_x2_1/batch_normalization_2/moving_variance:0"]


def add_layer(encoder, decoder):
    encoder["attention_1/kernel:0"] = np.zeros(3)


def drop_pooling(encoder, decoder):
    del encoder["temporal_weighted_pooling_3"]


def not_finite(encoder, decoder):
    decoder["dense_7/bias:0"][0] = np.nan


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (reshape_dense, r"head/kernel has shape \(4, 3\), \(4, 2\) wanted"),
        (drop_variance, r"encoder_1/norm_0/moving_variance is missing, shape \(8,\) wanted"),
        (add_layer, "attention_1/kernel:0 found, which no ICEmapper network has"),
        (drop_pooling, "6 temporal_weighted_pooling layers .* 0 or 7 wanted"),
    ],
)
def test_another_architecture_is_told_by_layer_and_shape(tmp_path, edit, says):
    path = edited(tmp_path, edit)
    with pytest.raises(errors.WeightsError, match=says) as error:
        weights.read_architecture(path)
    one_line(error, path)


def test_values_that_are_not_finite(tmp_path):
    path = edited(tmp_path, not_finite)
    model = support.network()
    before = [np.asarray(variable).copy() for variable in model.weights]
    with pytest.raises(errors.WeightsError, match=r"head/bias .*not finite"):
        weights.load_into(model, path)
    for variable, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), value)


def test_a_network_of_another_size_names_layer_and_shapes():
    path = support.answer("tweightedpool_grdinsar").path
    with pytest.raises(
        errors.WeightsError, match=r"encoder_0/conv_0/kernel .*\(3, 3, 3, 2, 4\), \(3, 3, 3, 1, 4\) wanted"
    ):
        weights.load_into(support.network(channels=1), path)
    with pytest.raises(errors.WeightsError, match="which this network has not"):
        weights.load_into(support.network("maxpool"), path)
