"""From a name or a path to a weights file: what is taken, what is said, what is refused."""

from __future__ import annotations

import json
import logging
import re
import shutil

import h5py
import numpy as np
import pytest

from icemapper_xr import errors
from icemapper_xr.models import load_model, loaded, own, presets, published, weights
from tests import models_support as support

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("ICEMAPPER_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two files of ours and one that stands for a published one, written once."""
    folder = tmp_path_factory.mktemp("written")
    for name, features in (("rtc", ["rtc"]), ("rtcinsar", ["rtc", "insar"])):
        attrs = {"features": features, "window": 128, "pixel_size": 10.0, "n_steps": 15, "training": "simulated, v1"}
        path = folder / f"ICEmapper_tweightedpool_{name}_simulated.h5"
        weights.write(support.network(channels=len(features)), path, attrs=attrs)
    weights.write(support.network(channels=1, seed=5), folder / "ICEmapper_tweightedpool_rtc.h5")
    return folder


@pytest.fixture
def ours(tmp_path, monkeypatch, cache, written):
    """A folder of our own with two registered files in it."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(own, "folder", lambda: folder)
    for source in written.glob("*_simulated.h5"):
        path = folder / source.name
        shutil.copy(source, path)
        own.register(path, scores={"iou": 0.93}, calibration={"kind": "isotonic"})
    return folder


@pytest.fixture
def fetched(cache, monkeypatch, written):
    """One published file in the cache folder; a small one stands for it."""
    path = cache / "ICEmapper_tweightedpool_rtc.h5"
    shutil.copy(written / path.name, path)
    monkeypatch.setitem(published.FILES, path.name, published.blob_id(path))
    return path


# -- names ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "pooling", "features", "simulated", "full"),
    [
        ("tweightedpool_rtc", "tweightedpool", ("rtc",), False, False),
        ("ICEmapper_maxpool_grd.h5", "maxpool", ("grd",), False, True),
        ("tweightedpool_rtcinsar_simulated", "tweightedpool", ("rtc", "insar"), True, False),
        ("ICEmapper_tweightedpool_grdinsar_simulated.h5", "tweightedpool", ("grd", "insar"), True, True),
    ],
)
def test_what_a_name_says(name, pooling, features, simulated, full):
    assert published.parse_name(name) == published.Variant(pooling, features, simulated, full)


@pytest.mark.parametrize(
    "name", ["rtc", "meanpool_rtc", "tweightedpool", "tweightedpool_vv", "tweightedpool_rtc.keras"]
)
def test_other_names_say_nothing(name):
    assert published.parse_name(name) is None


def test_a_short_name_means_ours_until_the_published_file_is_there(ours, caplog, request):
    caplog.set_level(logging.INFO)
    found = presets.resolve("tweightedpool_rtc")
    assert (found.origin, found.window, found.features) == ("simulated", 128, ("rtc",))
    assert (found.training, found.calibration) == ("simulated, v1", {"kind": "isotonic"})
    assert "not the published file" in caplog.text
    path = request.getfixturevalue("fetched")
    found = presets.resolve("tweightedpool_rtc")
    assert (found.origin, found.path, found.window, found.pixel_size) == ("published", path, 384, 10.0)
    assert "the published file" in caplog.messages[-1]
    assert presets.resolve("tweightedpool_rtc_simulated").origin == "simulated"


def test_a_full_published_name_is_never_ours(ours):
    with pytest.raises(errors.WeightsError, match=r"weights fetch ICEmapper_tweightedpool_rtc\.h5.*or use 'tweighted"):
        presets.resolve("ICEmapper_tweightedpool_rtc.h5")


@pytest.mark.parametrize("name", ["resnet", "maxpool_insar", "tweightedpool_insar_simulated"])
def test_unknown_names_list_what_there_is(ours, name):
    with pytest.raises(errors.WeightsError) as error:
        presets.resolve(name)
    for part in (
        name,
        "ICEmapper_tweightedpool_rtc_simulated.h5",
        "ICEmapper_maxpool_grd.h5",
        "icemapper weights fetch",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize("name", ["./nowhere.h5", "nowhere.h5", "folder/"])
def test_a_path_that_is_not_there(tmp_path, monkeypatch, cache, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(errors.WeightsError, match=re.escape(name)):
        presets.resolve(name)


# -- what shapes cannot tell ------------------------------------------------------------------------------------------
def test_a_published_name_implies_the_features(tmp_path, cache):
    path = tmp_path / "ICEmapper_tweightedpool_grdinsar.h5"
    shutil.copy(support.answer("tweightedpool_grdinsar").path, path)
    found = presets.resolve(path)
    assert (found.features, found.window, found.pixel_size, found.origin) == (("grd", "insar"), 384, 10.0, "file")
    with pytest.raises(errors.OptionError, match=r"\(rtc, insar\) given.* wants \(grd, insar\)"):
        presets.resolve(path, features=["rtc", "insar"])


def test_any_other_file_needs_features(cache):
    path = support.answer("tweightedpool_grdinsar").path
    with pytest.raises(errors.OptionError, match="give features=, 2 of grd, rtc, insar"):
        presets.resolve(path)
    assert presets.resolve(str(path), features=("rtc", "insar")).features == ("rtc", "insar")
    with pytest.raises(errors.OptionError, match=r"takes 2 channel"):
        presets.resolve(path, features=["grd"])
    for bad in (["grd", "vv"], ["grd", "grd"], []):
        with pytest.raises(errors.OptionError, match="at most once"):
            presets.resolve(path, features=bad)
    for shuffled in ({"grd", "insar"}, {"grd": 1, "insar": 2}):  # its order is another in each process
        with pytest.raises(errors.OptionError, match="without an order: give them in that of the channels"):
            presets.resolve(path, features=shuffled)
    for size in ("ten", [10]):
        with pytest.raises(errors.OptionError, match="must be a positive number of metres"):
            presets.resolve(path, features=("grd", "insar"), pixel_size=size)


def test_a_file_that_says_what_it_is_not(tmp_path, cache):
    weights.write(support.network(channels=2), tmp_path / "a.h5", attrs={"features": ["rtc"]})
    with pytest.raises(errors.WeightsError, match="first layer takes 2 channels"):
        presets.resolve(tmp_path / "a.h5")


def test_window_and_pixel_size(ours, caplog):
    assert presets.resolve("tweightedpool_rtc", window=64).window == 64
    assert "was trained on 128 px" in caplog.text
    for window in (0, 100, -8):
        with pytest.raises(errors.OptionError, match="multiple of 8"):
            presets.resolve("tweightedpool_rtc", window=window)
    for window in (64.5, "64"):
        with pytest.raises(errors.OptionError, match=f"window={window!r} must be a whole number"):
            presets.resolve("tweightedpool_rtc", window=window)
    with pytest.raises(errors.OptionError, match=r"trained on 10\.0 m"):
        presets.resolve("tweightedpool_rtc", pixel_size=20)
    path = support.answer("maxpool_grd").path
    assert presets.resolve(path, features=["grd"], pixel_size=20).pixel_size == 20
    with pytest.raises(errors.OptionError, match="positive"):
        presets.resolve(path, features=["grd"], pixel_size=float("nan"))


def test_what_replaces_pixels_that_were_never_observed(tmp_path, cache):
    network, path = support.network(channels=1), tmp_path / "a.h5"
    for attrs, found in (({}, "zero"), ({"unobserved": "zero"}, "zero"), ({"unobserved": "mirror"}, "mirror")):
        weights.write(network, path, attrs={"features": ["rtc"], **attrs})
        assert presets.resolve(path).unobserved == found
        assert load_model(path).unobserved == found
        assert load_model(path).describe()["unobserved"] == found
    weights.write(network, path, attrs={"features": ["rtc"], "unobserved": "mean"})
    with pytest.raises(errors.WeightsError, match=r"'mean', which is none of zero, mirror.*update"):
        presets.resolve(path)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("window", "abc"),
        ("window", 64.5),
        ("n_steps", "x"),
        ("n_steps", 0),
        ("pixel_size", "ten"),
        ("features", 5),
        ("unobserved", "mean"),
    ],
)
def test_an_attribute_that_cannot_be_used_is_told(tmp_path, cache, attribute, value):
    path = tmp_path / "a.h5"
    weights.write(support.network(channels=1), path, attrs={"features": ["rtc"], attribute: value})
    with pytest.raises(errors.WeightsError, match=f"{path} says {attribute} {value!r}, which is no.*correct its root"):
        presets.resolve(path)


@pytest.mark.parametrize("names", ["rtc", np.array([b"rtc"]), np.array(["rtc"], object), '["rtc"]'])
def test_features_in_any_form_of_hdf5(tmp_path, cache, names):
    path = tmp_path / "a.h5"
    weights.write(support.network(channels=1), path)
    with h5py.File(path, "r+") as file:
        file.attrs["features"] = names
    assert presets.resolve(path).features == ("rtc",)


def test_files_and_options_of_another_type_are_told(tmp_path, cache):
    path = tmp_path / "a.h5"
    weights.write(support.network(channels=1), path, attrs={"features": ["rtc"]})
    for options, message in (({"features": 5}, "features= says features"), ({"threads": "2"}, "threads='2' must be")):
        with pytest.raises(errors.OptionError, match=message):
            load_model(path, **options)
    with pytest.raises(errors.OptionError, match="weights=None: give the name"):
        load_model(None)
    with h5py.File(path, "r+") as file:
        file.attrs["training"] = h5py.Empty("f")
    assert presets.resolve(path).training is None
    with h5py.File(path, "r+") as file:
        file.attrs["training"] = np.bytes_(b"\xff\xfe")
    with pytest.raises(errors.WeightsError, match="cannot be read"):
        presets.resolve(path)
    with h5py.File(path, "r+") as file:
        name = next(iter(file))
        del file[name], file.attrs["training"]
        file[name] = [1.0]
    with pytest.raises(errors.WeightsError, match=f"{path}"):
        presets.resolve(path)


def test_options_reach_a_file_that_is_resolved_already(ours):
    file = presets.resolve("tweightedpool_rtc")
    assert load_model(file, window=64).window == 64
    with pytest.raises(errors.OptionError, match=r"\(insar\) given, but weights file .* wants \(rtc\)"):
        load_model(file, features=["insar"])
    assert loaded(file, engine="tensorflow").engine == "tensorflow"
    with pytest.raises(errors.OptionError, match="weights=5 are neither"):
        loaded(5)


# -- ours -------------------------------------------------------------------------------------------------------------
def test_a_changed_file_of_ours_is_refused(ours):
    path = ours / "ICEmapper_tweightedpool_rtc_simulated.h5"
    weights.write(support.network(channels=1, seed=9), path, attrs=weights.read_attrs(path))
    for name in ("tweightedpool_rtc", path):
        with pytest.raises(errors.WeightsError, match=r"index\.json says .*damaged"):
            presets.resolve(name)


def test_a_broken_index_is_told(ours):
    for text in ("{", "{}", '[{"file": "a"}]'):
        (ours / own.INDEX).write_text(text)
        with pytest.raises(errors.WeightsError, match=r"index .*install the package again"):
            presets.resolve("tweightedpool_rtc")


def test_register_wants_the_attributes(ours):
    path = ours / "ICEmapper_maxpool_rtc_simulated.h5"
    weights.write(support.network("maxpool", 1), path, attrs={"features": ["rtc"]})
    with pytest.raises(errors.OptionError, match="window"):
        own.register(path)


def test_the_index_of_the_project_is_right():
    """Every file listed is there, unchanged, and says the same; every file there is listed."""
    listed = own.read_index()
    for entry in listed:
        found = presets.resolve(own.folder() / entry["file"])
        assert found.digest == entry["digest"]
        assert list(found.features) == entry["features"]
        told = {key: getattr(found, key) for key in ("pooling", "filters", "window", "pixel_size")}
        assert told == {key: entry[key] for key in told}
    assert {entry["file"] for entry in listed} == {path.name for path in own.folder().glob("*.h5")}


# -- plain data -------------------------------------------------------------------------------------------------------
def test_list_and_info_are_plain_data(ours, fetched):
    rows = presets.list_weights()
    assert len(rows) == len(published.FILES) + 2
    by_name = {row["name"]: row for row in json.loads(json.dumps(rows))}
    assert by_name["tweightedpool_rtc"]["here"] is True
    assert by_name["maxpool_grd"]["here"] is False
    assert by_name["tweightedpool_rtcinsar_simulated"]["scores"] == {"iou": 0.93}
    told = json.loads(json.dumps(presets.info("tweightedpool_rtcinsar_simulated")))
    assert (told["features"], told["channels"], told["origin"]) == (["rtc", "insar"], 2, "simulated")
    assert told["scores"] == {"iou": 0.93}
    told = json.loads(json.dumps(presets.info(support.answer("maxpool_grd").path)))
    assert (told["features"], told["channels"], told["filters"]) == (None, 1, 4)


# -- on another machine -----------------------------------------------------------------------------------------------
def test_locate_finds_by_digest(ours, cache, tmp_path):
    path = ours / "ICEmapper_tweightedpool_rtc_simulated.h5"
    digest = weights.sha256(path)
    assert presets.locate(path, digest) == path
    assert presets.locate(tmp_path / "elsewhere" / path.name, digest) == path
    with pytest.raises(errors.WeightsError, match="not on this machine"):
        presets.locate(tmp_path / "a.h5", digest)
    with pytest.raises(errors.WeightsError, match="set up with 000000000000"):
        presets.locate(path, "0" * 64)
