"""Engines: the original's answers from both, batches, threads, pickling, and the cache of converted networks."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dask
import numpy as np
import pytest
from dask.base import tokenize

from icemapper_xr import _types, errors
from icemapper_xr.models import load_model, loaded, presets, weights
from icemapper_xr.models.engines import _base, _openvino, forget_networks
from tests import models_support as support

ENGINES = ("tensorflow", "openvino")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One cache folder for the module, so that each network is converted once."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ICEMAPPER_CACHE", str(folder))
        yield folder


def model(variant="tweightedpool_grdinsar", engine="tensorflow", **options):
    answer = support.answer(variant)
    return load_model(answer.path, engine=engine, features=answer.features, **options)


def need(engine):
    if engine == "openvino":
        pytest.importorskip("openvino")


# -- answers ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("variant", support.VARIANTS)
def test_the_original_answers(variant, engine):
    need(engine)
    answer = support.answer(variant)
    found = model(variant, engine)(answer.x)
    assert found.dtype == np.float32
    support.assert_parity(found, answer.y[..., 1])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_the_original_answers_at_full_size(shared, engine):
    need(engine)
    folder = shared / "parity" / "apply"
    with np.load(folder / "io_64px.npz") as io:
        found = load_model(folder / "ICEmapper_tweightedpool_grdinsar.h5", engine=engine)(io["x"].astype(np.float32))
        support.assert_parity(found, io["y"][..., 1])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shape", [(3, 16, 40), (5, 24, 8)])
def test_any_number_and_extent(engine, shape):
    """Batches of two, the last one padded, against one window at a time."""
    need(engine)
    n, height, width = shape
    x = np.random.default_rng(3).normal(0.6, 0.2, size=(n, 15, height, width, 2)).astype(np.float32)
    together = model(engine=engine, batch_size=2)(x)
    alone = np.concatenate([model(engine=engine)(x[i : i + 1]) for i in range(n)])
    assert together.shape == shape
    np.testing.assert_allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_windows_asked_for_reach_the_engine(engine):
    """`predict` hands over as many windows as the engine takes, or the option would be without effect."""
    need(engine)
    assert model(engine=engine).batch_size == 1  # on CPUs
    assert model(engine=engine, batch_size=5).batch_size == 5


def test_engines_agree():
    need("openvino")
    x = np.random.default_rng(4).normal(0.6, 0.3, size=(2, 15, 32, 48, 2)).astype(np.float32)
    one, other = (model(engine=engine)(x) for engine in ENGINES)
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("variant", support.VARIANTS)
@pytest.mark.parametrize(("precision", "bits"), [("mixed_float16", 11), ("mixed_bfloat16", 8)])
def test_mixed_precision_is_close(precision, bits, variant):
    answer = support.answer(variant)
    found = model(variant, precision=precision)(answer.x)
    assert found.dtype == np.float32
    difference = np.abs(found - answer.y[..., 1])
    # Rounding errors double with every bit of the mantissa that is given up.
    assert 0 < difference.max() < 0.05 * 2 ** (11 - bits)
    assert difference.mean() < 0.005 * 2 ** (11 - bits)


@pytest.mark.parametrize(("precision", "said"), [("float32", False), ("mixed_float16", True)])
def test_half_precision_on_a_processor_is_slow_and_said_to_be(precision, said, caplog):
    forget_networks()
    model(precision=precision)(np.zeros((1, 15, 8, 8, 2), np.float32))
    assert ("without a GPU takes ten to forty times as long" in caplog.text) is said


@pytest.mark.parametrize("variant", support.VARIANTS)
def test_openvino_computes_in_bfloat16_where_the_processor_does(variant):
    need("openvino")
    answer = support.answer(variant)
    segment = model(variant, engine="openvino", precision="mixed_bfloat16")
    if not _openvino.computes("mixed_bfloat16"):
        with pytest.raises(errors.OptionError, match="precision='mixed_bfloat16': this processor does not compute"):
            segment(answer.x)
        return
    found = segment(answer.x)
    difference = np.abs(found - answer.y[..., 1])
    assert found.dtype == np.float32
    assert 0 < difference.max() < 0.4  # as TensorFlow in bfloat16, above
    assert difference.mean() < 0.04


def test_bfloat16_is_refused_on_a_processor_without_it(monkeypatch):
    need("openvino")
    forget_networks()
    monkeypatch.setattr(_openvino, "computes", lambda precision: precision == "float32")
    with pytest.raises(errors.OptionError, match="leave precision at 'float32'"):
        model(engine="openvino", precision="mixed_bfloat16")(np.zeros((1, 15, 8, 8, 2), np.float32))


def test_strided_and_other_types_are_taken():
    x = support.answer("maxpool_grd").x
    segment = model("maxpool_grd")
    wanted = segment(x)
    np.testing.assert_array_equal(segment(np.asfortranarray(x)), wanted)
    np.testing.assert_array_equal(segment(x.astype(np.float64)), wanted)
    assert segment(x[:0]).shape == (0, 48, 48)


# -- what it is -------------------------------------------------------------------------------------------------------
def test_it_is_a_segmenter_and_tells_what_it_is():
    segment = model(engine="tensorflow", window=48)
    assert isinstance(segment, _types.Segmenter)
    assert (segment.features, segment.n_steps, segment.window, segment.pixel_size) == (("grd", "insar"), 15, 48, 10.0)
    assert segment.digest == weights.sha256(support.answer("tweightedpool_grdinsar").path)
    told = json.loads(json.dumps(segment.describe()))
    assert (told["engine"], told["digest"], told["features"]) == ("tensorflow", segment.digest, ["grd", "insar"])


@pytest.mark.parametrize(
    "shape", [(1, 15, 12, 8, 2), (1, 15, 0, 8, 2), (1, 14, 8, 8, 2), (1, 15, 8, 8, 1), (15, 8, 8, 2)]
)
def test_a_wrong_shape_is_told(shape):
    with pytest.raises(errors.OptionError, match=r"wanted"):
        model()(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "options",
    [
        {"engine": "onnx"},
        {"precision": "float16"},
        {"batch_size": 0},
        {"batch_size": 2.0},
        {"threads": -1},
        {"threads": 1.5},
        {"engine": "openvino", "precision": "mixed_float16"},
    ],
)
def test_options_out_of_range(options):
    with pytest.raises(errors.OptionError, match=next(iter({"precision"} & set(options) or options))):
        model(**options)


def test_nothing_heavy_is_imported_before_the_first_call():
    program = (
        "import sys, icemapper_xr.models as m\n"
        f"s = m.load_model({str(support.answer('maxpool_grd').path)!r}, features=['grd'], engine='tensorflow')\n"
        "m.list_weights(); repr(s); s.describe()\n"
        "heavy = {'tensorflow', 'keras', 'openvino', 'pooch', 'distributed'} & set(sys.modules)\n"
        "assert not heavy - {'pooch'}, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_auto_chooses_and_says_so(monkeypatch, caplog):
    caplog.set_level("INFO")
    need("openvino")
    monkeypatch.setattr(_base, "gpu_likely", lambda: False)
    segment = model(engine="auto")
    assert segment.engine == "openvino"
    segment(np.zeros((1, 15, 8, 8, 2), np.float32))
    assert "engine 'auto' chose openvino" in caplog.text
    assert model(engine="auto", precision="mixed_float16").engine == "tensorflow"
    for able, wanted in ((True, "openvino"), (False, "tensorflow")):
        monkeypatch.setattr(_openvino, "computes", lambda precision, able=able: able or precision == "float32")
        assert model(engine="auto", precision="mixed_bfloat16").engine == wanted


# -- travelling -------------------------------------------------------------------------------------------------------
def test_it_travels_as_a_recipe_and_shares_one_network():
    segment = model()
    x = support.answer("tweightedpool_grdinsar").x
    wanted = segment(x)
    load = pickle.dumps(segment)
    assert len(load) < 2500
    before = dict(_base._networks)
    np.testing.assert_array_equal(pickle.loads(load)(x), wanted)
    assert _base._networks == before


def test_tokens_say_what_is_computed(tmp_path):
    answer = support.answer("tweightedpool_grdinsar")
    shutil.copy(answer.path, tmp_path / "copy.h5")
    same = load_model(tmp_path / "copy.h5", features=answer.features, engine="tensorflow", threads=1)
    assert tokenize(model()) == tokenize(same) == tokenize(pickle.loads(pickle.dumps(same)))
    others = [model(engine="auto"), model(window=48), model(precision="mixed_float16"), model("maxpool_grd")]
    assert len({tokenize(other) for other in [same, *others]}) == 5


def test_a_changed_file_on_the_other_side_is_told(tmp_path):
    answer = support.answer("maxpool_grd")
    path = tmp_path / "a.h5"
    shutil.copy(answer.path, path)
    segment = pickle.loads(pickle.dumps(load_model(path, features=["grd"], engine="tensorflow")))
    network = support.network("maxpool", 1)
    weights.load_into(network, path)
    weights.write(network, path, attrs={"note": "changed"})
    with pytest.raises(errors.WeightsError, match="call load_model again"):
        segment(answer.x)
    path.unlink()
    with pytest.raises(errors.WeightsError, match="not on this machine"):
        segment(answer.x)


def test_threads_of_one_process_share_the_network():
    segment = model(threads=1)
    x = support.answer("tweightedpool_grdinsar").x
    wanted = segment(x)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(segment, [x] * 8):
            np.testing.assert_array_equal(found, wanted)


def test_default_threads_are_the_open_cores():
    assert 1 <= _base.default_threads() <= (os.cpu_count() or 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_process_builds_the_network_once_with_its_own_threads(tmp_path):
    from distributed import Client, LocalCluster

    answer = support.answer("maxpool_grd")
    segment = model("maxpool_grd", "tensorflow")

    def call(i):
        segment(answer.x)
        return os.getpid(), len(_base._networks), next(iter(_base._networks.values())).threads

    with (
        dask.config.set({"distributed.worker.daemon": False, "temporary-directory": str(tmp_path)}),
        LocalCluster(n_workers=1, threads_per_worker=3, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        found = client.gather(client.map(call, range(6), pure=False))
    assert len(set(found)) == 1
    pid, networks, threads = found[0]
    assert pid != os.getpid()
    assert (networks, threads) == (1, 3)


# -- memory -----------------------------------------------------------------------------------------------------------
class Small:
    """A device that has memory for so many windows."""

    def __init__(self, room):
        self.room = room
        self.calls = []

    def __call__(self, x):
        self.calls.append(x.shape[0])
        if x.shape[0] > self.room:
            raise MemoryError("full")
        return x[:, 0, :, :, 0]


def full(error):
    return isinstance(error, MemoryError)


def test_the_batch_is_halved_and_remembered(caplog):
    x = np.random.default_rng(0).normal(size=(11, 1, 8, 8, 1)).astype(np.float32)
    device = Small(2)
    found, batch = _base.in_batches(x, 8, device, full)
    np.testing.assert_array_equal(found, x[:, 0, :, :, 0])
    assert batch == 2
    assert device.calls == [8, 4, 2, 2, 2, 2, 2, 2]
    assert "batches of 2" in caplog.text


def test_not_even_one_window_fits():
    with pytest.raises(errors.OptionError, match="no memory for one window of 8 x 16 px"):
        _base.in_batches(np.zeros((2, 1, 8, 16, 1), np.float32), 2, Small(0), full)


def test_other_errors_are_not_swallowed():
    with pytest.raises(MemoryError):
        _base.in_batches(np.zeros((2, 1, 8, 16, 1), np.float32), 2, Small(0), lambda error: False)


def test_float32_is_float32_on_a_gpu_too():
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(True)  # as TensorFlow begins
    model("maxpool_grd", threads=3)(support.answer("maxpool_grd").x)
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


def test_what_tensorflow_says_when_memory_is_out():
    import tensorflow as tf

    from icemapper_xr.models.engines import _tensorflow

    assert _tensorflow._out_of_memory(tf.errors.ResourceExhaustedError(None, None, "OOM"))
    assert _tensorflow._out_of_memory(tf.errors.InternalError(None, None, "Failed to allocate 3 GiB"))
    assert not _tensorflow._out_of_memory(tf.errors.InternalError(None, None, "broken"))
    assert not _tensorflow._out_of_memory(ValueError("out of memory"))


# -- the cache of converted networks ----------------------------------------------------------------------------------
def run_apart(tmp_path: Path, cache: Path) -> set[str]:
    """Call the model in a fresh process; returns which heavy packages it imported."""
    answer = support.answer("maxpool_grd")
    np.save(tmp_path / "x.npy", answer.x)
    program = (
        "import json, sys, numpy as np\n"
        "from icemapper_xr.models import load_model\n"
        f"segment = load_model({str(answer.path)!r}, features=['grd'], engine='openvino')\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, segment(np.load({str(tmp_path / 'x.npy')!r})))\n"
        "print(json.dumps([name for name in ('tensorflow', 'keras', 'openvino') if name in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    support.assert_parity(np.load(tmp_path / "y.npy"), answer.y[..., 1])
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_a_cpu_worker_starts_without_tensorflow(tmp_path, cache):
    need("openvino")
    model("maxpool_grd", "openvino").prepare()
    assert run_apart(tmp_path, cache) == {"openvino"}
    left = [path.name for path in (cache / "openvino").iterdir() if path.name.startswith(".")]
    assert left == []


@pytest.mark.parametrize("name", ["model.xml", "model.bin", "checksums.json"])
@pytest.mark.parametrize("how", ["truncated", "changed", "gone"])
def test_a_damaged_copy_is_made_again(tmp_path, monkeypatch, name, how):
    need("openvino")
    monkeypatch.setenv("ICEMAPPER_CACHE", str(tmp_path))
    recipe = model("maxpool_grd", "openvino")._recipe
    folder = tmp_path / "openvino" / _openvino._key(recipe)
    _openvino.OpenVinoNetwork(recipe)
    content = (folder / name).read_bytes()
    if how == "gone":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content[:-7] if how == "truncated" else content[:-7] + b"\0" + content[-6:])
    answer = support.answer("maxpool_grd")
    support.assert_parity(_openvino.OpenVinoNetwork(recipe)(answer.x), answer.y[..., 1])
    assert _openvino._intact(folder)


def test_checksums_of_some_files_are_not_enough(tmp_path, monkeypatch):
    need("openvino")
    monkeypatch.setenv("ICEMAPPER_CACHE", str(tmp_path))
    recipe = model("maxpool_grd", "openvino")._recipe
    folder = tmp_path / "openvino" / _openvino._key(recipe)
    _openvino.OpenVinoNetwork(recipe)
    sums = json.loads((folder / "checksums.json").read_text())
    (folder / "checksums.json").write_text(json.dumps({"model.xml": sums["model.xml"]}))
    (folder / "model.bin").unlink()
    _openvino.OpenVinoNetwork(recipe)
    assert _openvino._intact(folder)


@pytest.mark.parametrize("reason", ["no folder", "full disk"])
def test_without_a_cache_folder_it_converts_for_this_run(tmp_path, monkeypatch, cache, caplog, reason):
    need("openvino")
    if reason == "no folder":
        (tmp_path / "file").touch()
        monkeypatch.setenv("ICEMAPPER_CACHE", str(tmp_path / "file"))
    else:
        monkeypatch.setenv("ICEMAPPER_CACHE", str(tmp_path))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python itself does where it can
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    answer = support.answer("maxpool_grd")
    recipe = model("maxpool_grd", "openvino")._recipe
    if reason == "full disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        network = _openvino.OpenVinoNetwork(recipe)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    support.assert_parity(network(answer.x), answer.y[..., 1])
    assert "for this run only" in caplog.text


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")
def test_keras_3_files_run_on_both_engines(tmp_path, suffix):
    need("openvino")
    answer = support.answer("tweightedpool_grdinsar")
    network = support.network()
    weights.load_into(network, answer.path)
    path = tmp_path / f"a{suffix}"
    network.save(path) if suffix == ".keras" else network.save_weights(path)
    for engine in ENGINES:
        found = load_model(path, features=answer.features, engine=engine)(answer.x)
        support.assert_parity(found, answer.y[..., 1])


def test_weights_can_be_resolved_first(tmp_path):
    answer = support.answer("maxpool_grd")
    file = presets.resolve(answer.path, features=answer.features, window=48)
    assert load_model(file, engine="tensorflow").window == 48


def test_a_loaded_model_is_passed_through_and_not_changed():
    segment = load_model(support.answer("maxpool_grd").path, features=["grd"], window=48)
    assert loaded(segment) is segment
    assert loaded(segment, features=("grd",), engine="auto", precision="float32") is segment
    with pytest.raises(errors.OptionError, match="engine, features cannot be changed on a loaded model"):
        loaded(segment, engine="tensorflow", features=("rtc",))
