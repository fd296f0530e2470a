from __future__ import annotations

import json

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from icemapper_xr import calibrate, conventions
from icemapper_xr.errors import AnalysisError, OptionError, StoreError
from tests.support import raise_if_dask_computes


def make_validation_set(n=400_000, seed=0, logit_scale=0.4):
    """Pixels whose true probability is known, and the under-confident probability that a network gives them."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 4, n)
    truth = rng.random(n) < 1 / (1 + np.exp(-logit))
    return 1 / (1 + np.exp(-logit_scale * logit)), truth


def test_shannon_confidence_of_known_probabilities():
    c = calibrate.shannon_confidence([0.5, 0.25, 0.75, 0.0, 1.0, np.nan])
    assert c[0] == 0
    assert c[1] == c[2] == pytest.approx(1 - (2 - 0.75 * np.log2(3)))
    assert c[3] == pytest.approx(c[4], abs=1e-15)
    assert c[3] == pytest.approx(1 - 2.13743e-5, abs=1e-9)  # H2(1e-6)
    assert np.isnan(c[5])


def test_published_map_equals_the_original_at_its_check_points(shared):
    numbers = json.loads((shared / "parity" / "calibration_grdinsar.json").read_text())
    model = calibrate.published()
    assert list(model.x) == numbers["x"]
    assert list(model.dual_coef) == numbers["dual_coef"]
    check = numbers["check"]
    answer = model.unclipped(check["confidence"])
    assert np.abs(answer - check["calibrated_unclipped"]).max() < 1e-11
    assert calibrate.from_dict(numbers) == calibrate.KernelRidge(model.x, model.dual_coef, model.gamma)


def test_kernel_sum_by_two_terms_equals_the_full_sum():
    rng = np.random.default_rng(1)
    for gamma in (0.3, 1.0, 500.0):
        x = np.sort(rng.random(20))
        model = calibrate.KernelRidge(tuple(x), tuple(rng.normal(0, 30, 20)), gamma)
        c = np.r_[rng.random(200), x, 0.0, 1.0]
        full = np.exp(-gamma * np.abs(c[:, None] - x)) @ np.asarray(model.dual_coef)
        np.testing.assert_allclose(model.unclipped(c), full, atol=1e-11)
    assert np.isnan(model(np.nan))


def test_published_map_flips_the_class_near_one_half_and_the_default_does_not():
    p = np.linspace(0.4, 0.6, 2001)
    q = calibrate.calibrated_probability(p, calibrate.published())
    flipped = (p >= 0.5) != (q >= 0.5)
    assert flipped.any()
    assert 0.031 < np.abs(p[flipped] - 0.5).max() < 0.033

    bins = calibrate.reliability(*make_validation_set())
    kept = calibrate.calibrated_probability(p, calibrate.fit_monotone(bins))
    assert not ((p >= 0.5) != (kept >= 0.5)).any()
    recipe = calibrate.calibrated_probability(p, calibrate.fit_kernel_ridge(bins))
    assert ((p >= 0.5) != (recipe >= 0.5)).any()  # the flaw is the recipe's, not that of one fit


def test_kernel_ridge_recipe_equals_scikit_learn():
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern

    bins = calibrate.reliability(*make_validation_set())
    model = calibrate.fit_kernel_ridge(bins)
    x, y, n = bins.filled()
    alpha = 0.01 * (1 - np.r_[1.0, (n / n.max()) ** 0.1, 1.0])
    # A Gaussian process mean is kernel ridge regression with one ridge a sample; Matern 1/2 is the Laplacian kernel.
    process = GaussianProcessRegressor(Matern(nu=0.5), alpha=alpha + 1e-15, optimizer=None)
    process.fit(np.r_[0.0, x, 1.0][:, None], np.r_[0.0, y, 1.0])
    c = np.linspace(0, 1, 301)
    np.testing.assert_allclose(model.unclipped(c), process.predict(c[:, None]), atol=1e-9)
    assert model(0.0) == pytest.approx(0, abs=1e-12)
    assert model(1.0) == pytest.approx(1, abs=1e-12)


def test_both_fits_bring_the_calibration_error_down_on_unseen_pixels():
    bins = calibrate.reliability(*make_validation_set(seed=0))
    p, truth = make_validation_set(seed=1)
    c, correct = calibrate.shannon_confidence(p), (p >= 0.5) == truth
    before = calibrate.expected_calibration_error(c, correct)
    assert before == pytest.approx(bins.expected_error, abs=3e-3)
    assert before > 0.3
    monotone = calibrate.expected_calibration_error(calibrate.fit_monotone(bins)(c), correct)
    recipe = calibrate.expected_calibration_error(calibrate.fit_kernel_ridge(bins)(c), correct)
    assert monotone < 4e-3
    assert monotone < recipe < before / 10


def test_monotone_fit_finds_the_true_probability():
    p, truth = make_validation_set(n=2_000_000)
    model = calibrate.fit_monotone(calibrate.reliability(p, truth))
    logit = np.array([-6.0, -2.0, -0.5, 0.5, 2.0, 6.0])
    q = calibrate.calibrated_probability(1 / (1 + np.exp(-0.4 * logit)), model)
    np.testing.assert_allclose(q, 1 / (1 + np.exp(-logit)), atol=0.01)


def test_expected_error_by_hand():
    # two bins of ten: 0.15 with accuracy 1/2, 0.95 with accuracy 1
    error = calibrate.expected_calibration_error([0.15, 0.15, 0.95, 0.95], [True, False, True, True], bins=10)
    assert error == pytest.approx((0.35 + 0.05) / 2)
    assert calibrate.expected_calibration_error([1.0, 1.0], [True, True]) == 0  # the last bin includes 1
    assert np.isnan(calibrate.expected_calibration_error([np.nan], [True]))


def test_an_unknown_truth_is_left_out_and_no_ice():
    p, truth = np.array([0.9, 0.9, 0.1, 0.1, 0.7]), np.array([1, np.nan, 0, np.nan, 1])
    known = ~np.isnan(truth)
    for found in (
        calibrate.reliability(p, truth),
        calibrate.bin_confidence(calibrate.shannon_confidence(p), np.where(known, 1.0, np.nan)),
    ):
        expected = calibrate.reliability(p[known], truth[known].astype(bool))
        np.testing.assert_array_equal(found.count, expected.count)
        np.testing.assert_array_equal(found.correct, expected.correct)
    assert calibrate.expected_calibration_error([0.5, 0.6], [1.0, np.nan]) == 0.5
    with pytest.raises(OptionError, match="glacier holds 255; give 1 and 0, and NaN where it is unknown"):
        calibrate.reliability([0.2, 0.8], np.array([0, 255], np.uint8))
    with pytest.raises(OptionError, match="correct holds 2"):
        calibrate.bin_confidence([0.2, 0.8], [0, 2])


def test_percent_is_no_probability():
    result = xr.Dataset({"probability": (("y", "x"), np.array([[20.0, 50.0, 80.0]]))})
    model = calibrate.Monotone((0.0, 0.5), (0.5, 1.0))
    for refused in (
        lambda: calibrate.shannon_confidence([20.0, 50.0]),
        lambda: calibrate.reliability([20.0, 80.0], [0, 1]),
        lambda: calibrate.calibrate(result, model),
        lambda: calibrate.calibrate(result.chunk(), model).compute(),
    ):
        with pytest.raises(OptionError, match=r"probability runs from .* it has to lie in 0\.\.1"):
            refused()
    rounded = np.array([0.0, 1.0 + 1e-7, -1e-9])  # by a rounding error
    assert np.ptp(calibrate.shannon_confidence(rounded)) < 1e-12
    assert calibrate.shannon_confidence([]).size == 0


def test_bins_of_two_parts_add_up():
    p, truth = make_validation_set(n=10_000)
    whole = calibrate.reliability(p, truth)
    parts = calibrate.reliability(p[:3000], truth[:3000]) + calibrate.reliability(p[3000:], truth[3000:])
    np.testing.assert_array_equal(whole.count, parts.count)
    assert whole.expected_error == pytest.approx(parts.expected_error)
    with pytest.raises(OptionError, match="equal numbers"):
        whole + calibrate.reliability(p, truth, bins=10)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.booleans(), st.integers(1, 50)),
        min_size=1,
        max_size=30,
    )
)
def test_any_monotone_fit_rises_stays_above_half_and_keeps_every_class(rows):
    p = np.repeat([row[0] for row in rows], [row[2] for row in rows])
    truth = np.repeat([row[1] for row in rows], [row[2] for row in rows])
    model = calibrate.fit_monotone(calibrate.reliability(p, truth))
    c = np.linspace(0, 1, 101)
    assert np.all(np.diff(model(c)) >= 0)
    assert model(c).min() >= 0.5
    half = np.float32(0.5)
    near = np.array([np.nextafter(half, np.float32(0)), half, np.nextafter(half, np.float32(1))])
    every = np.r_[np.linspace(0, 1, 201, dtype=np.float32), near, p.astype(np.float32)]
    q = calibrate.calibrate(xr.DataArray(every, dims="x"), model)[conventions.CALIBRATED].values
    np.testing.assert_array_equal(q >= 0.5, every >= 0.5)
    assert calibrate.from_dict(json.loads(json.dumps(calibrate.to_dict(model)))) == model


def test_calibrate_is_lazy_independent_of_chunks_and_keeps_nan():
    rng = np.random.default_rng(0)
    values = rng.random((2, 30, 40)).astype(np.float32)
    values[0, 3:6, 7] = np.nan
    coords = {"year": [2020, 2021], "y": np.arange(30.0), "x": np.arange(40.0)}
    eager = xr.Dataset({"probability": (("year", "y", "x"), values)}, coords, {"weights": "w"})
    model = calibrate.fit_monotone(calibrate.reliability(*make_validation_set(n=50_000)))
    wanted = calibrate.calibrate(eager, model)
    with raise_if_dask_computes():
        lazy = calibrate.calibrate(eager.chunk(year=1, y=7, x=13), model)
        again = calibrate.calibrate(eager.chunk(year=1, y=7, x=13), model)
    for name in (conventions.CONFIDENCE, conventions.CALIBRATED):
        assert isinstance(lazy[name].data, da.Array)
        assert lazy[name].dtype == wanted[name].dtype == np.float32
        assert lazy[name].data.name == again[name].data.name
        assert lazy[name].chunks == ((1, 1), (7, 7, 7, 7, 2), (13, 13, 13, 1))
        np.testing.assert_array_equal(lazy[name].values, wanted[name].values)
        np.testing.assert_array_equal(np.isnan(wanted[name].values), np.isnan(values))
        assert lazy[name].attrs["units"] == "1"
        assert lazy[name].attrs[conventions.ATTR_CALIBRATION].startswith("monotone, ")
    assert lazy.attrs == {"weights": "w"}
    conf = wanted[conventions.CONFIDENCE].values
    q = wanted[conventions.CALIBRATED].values
    np.testing.assert_allclose(np.fmax(q, 1 - q), conf, atol=1e-7)
    dask.base.normalize_token(model)


@pytest.mark.parametrize("model", [calibrate.Monotone((0.0,), (0.5,)), calibrate.KernelRidge((0.5,), (0.9,))])
def test_a_map_of_one_knot_keeps_nan(model):
    result = calibrate.calibrate(xr.DataArray(np.float32([0.2, np.nan, 0.8]), dims="x"), model)
    for name in (conventions.CONFIDENCE, conventions.CALIBRATED):
        np.testing.assert_array_equal(np.isnan(result[name].values), [False, True, False])


def test_files_hold_plain_numbers(tmp_path):
    bins = calibrate.reliability(*make_validation_set(n=20_000))
    for model in (calibrate.fit_monotone(bins, source="20 scenes"), calibrate.fit_kernel_ridge(bins, gamma=2.0)):
        calibrate.write(model, tmp_path / "c.json")
        assert calibrate.read(tmp_path / "c.json") == model
        assert set(json.loads((tmp_path / "c.json").read_text())) <= {"kind", "x", "y", "dual_coef", "gamma", "source"}


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"kind": "spline", "x": [0], "y": [1]}, "'spline' is unknown"),
        ({"kind": "monotone", "x": [0, 1]}, "needs the numbers 'y'"),
        ({"kind": "monotone", "x": [0, 1], "y": [0.4, 1]}, "rise from 0.5"),
        ({"kind": "monotone", "x": [0, 1], "y": [0.9, 0.8]}, "rise from 0.5"),
        ({"kind": "monotone", "x": [1, 0], "y": [0.5, 0.8]}, "must rise"),
        ({"kind": "kernel_ridge", "x": [0, 1], "dual_coef": [1]}, "as many dual_coef as x"),
        ({"kind": "monotone", "x": 5, "y": [1]}, "plain numbers"),
        ({"kind": "monotone", "x": [0, None], "y": [0.5, 1]}, "plain numbers"),
        ({"kind": "kernel_ridge", "x": [0, 1], "dual_coef": [1, "a"]}, "plain numbers"),
        ({"kind": "kernel_ridge", "x": [0, 1], "dual_coef": [1, 1], "gamma": -1}, "gamma"),
        ({"kind": "monotone", "x": "01", "y": "11"}, "'01' is no list"),
        ({"kind": "monotone", "x": ["0", "1"], "y": [0.5, 1]}, "is no list"),
        ({"kind": "monotone", "x": [0, 2], "y": [0.5, 1]}, "reach from 0 to 2; confidence is 0 to 1"),
        ({"kind": "kernel_ridge", "x": [-1, 1], "dual_coef": [1, 1]}, "reach from -1 to 1"),
        ({"kernel": "rbf", "x": [0, 1], "dual_coef": [1, 1]}, "kernel 'rbf'"),
    ],
)
def test_numbers_that_make_no_map_are_refused(numbers, words):
    with pytest.raises(OptionError, match=words):
        calibrate.from_dict(numbers)


def test_bad_input_has_a_clear_line(tmp_path):
    with pytest.raises(OptionError, match="cannot be read"):
        calibrate.read(tmp_path / "missing.json")
    (tmp_path / "flat.json").write_text('{"kind": "monotone", "x": [0, 1], "y": [0.4, 1]}')
    with pytest.raises(OptionError, match=r"calibration .*flat\.json: the y of a monotone"):
        calibrate.read(tmp_path / "flat.json")
    with pytest.raises(OptionError, match="no variable 'probability'"):
        calibrate.calibrate(xr.Dataset({"a": 1}), calibrate.published())
    with pytest.raises(AnalysisError, match="all bins are empty"):
        calibrate.fit_monotone(calibrate.reliability([np.nan], [True]))
    with pytest.raises(OptionError, match="it has to lie in"):
        calibrate.bin_confidence([1.2], [True])
    with pytest.raises(OptionError, match="differ in shape"):
        calibrate.reliability([0.5, 0.5], [True])
    for bins in (0, 2.5, "2"):
        with pytest.raises(OptionError, match=f"bins={bins} is no number of bins; use a whole number"):
            calibrate.reliability([0.5], [True], bins=bins)
    for gamma in (0, -1, np.nan):
        with pytest.raises(OptionError, match=rf"gamma={gamma:g} makes no map; it must be above 0"):
            calibrate.fit_kernel_ridge(calibrate.reliability([0.7], [True]), gamma=gamma)


def test_a_file_that_is_no_calibration_is_named(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"years": [2023]}')
    with pytest.raises(OptionError, match=r"^\S*run\.json is no calibration: make one with `icemapper calibrate`$"):
        calibrate.read(path)
    with pytest.raises(OptionError, match="these numbers are no calibration"):
        calibrate.from_dict({})


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path, model = tmp_path / "c.json", calibrate.Monotone((0.0, 1.0), (0.5, 1.0))
    calibrate.write(model, path)

    def full(self, text, **_):
        with self.open("w") as file:
            file.write(text[:5])
        raise OSError(28, "No space left on device", str(self))

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.write_text", full)
        with pytest.raises(StoreError, match=r"calibration .*c\.json cannot be written \(No space left on device\)"):
            calibrate.write(model, path)
    assert calibrate.read(path) == model
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(StoreError, match=r"missing/c\.json cannot be written .*name a file in a folder that is there"):
        calibrate.write(model, tmp_path / "missing" / "c.json")


def test_a_model_that_is_none_is_told():
    from icemapper_xr.pipeline import trust

    for model in (None, 5):
        with pytest.raises(OptionError, match=f"model={model}: give 'auto', a file written by `icemapper calibrate`"):
            trust.calibrate(xr.Dataset({"probability": ("x", [0.2, 0.8])}), model=model)


def test_a_variable_alone_names_no_weights():
    from icemapper_xr.pipeline import trust

    result = xr.Dataset({"probability": ("x", [0.2, 0.8])}, attrs={conventions.ATTR_WEIGHTS_DIGEST: "of others"})
    with pytest.raises(OptionError, match="does not name its weights: pass the dataset of `predict`"):
        trust.calibrate(result.probability)
    with pytest.raises(OptionError, match="no calibration ships with the weights of this result"):
        trust.calibrate(result)
