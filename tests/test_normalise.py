from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from icemapper_xr import conventions, normalise
from icemapper_xr.errors import CubeError, OptionError, UnitsError
from tests.support import raise_if_dask_computes


def make(values: object = None, *, chunks: object = None) -> xr.Dataset:
    layer = np.full((2, 3, 4), -10.0, np.float32) if values is None else np.asarray(values, np.float32)
    dims = ("time", "y", "x")
    dataset = xr.Dataset(
        {
            "insar": (dims, np.full_like(layer, 0.5), {"units": "1"}),
            "rtc": (dims, layer, {"units": "dB", "long_name": "backscatter", "_FillValue": -9999.0}),
        },
        coords={"x": np.arange(layer.shape[2])},
        attrs={"relative_orbit": 14},
    )
    return dataset if chunks is None else dataset.chunk(chunks)


def test_the_published_range_becomes_zero_to_one() -> None:
    for name, information in conventions.FEATURE_RANGES.items():
        values = np.array([information.minimum, information.maximum], np.float32)
        dataset = xr.Dataset({name: ("x", values, {"units": information.units})})
        np.testing.assert_allclose(normalise.normalise(dataset)[name], [0, 1], atol=1e-7)


def test_nothing_is_clipped_and_gaps_stay() -> None:
    dataset = make([[[np.nan, -200.0, 100.0]]])
    low, high = normalise.normalise(dataset).rtc.values[0, 0, 1:]
    assert np.isnan(normalise.normalise(dataset).rtc.values[0, 0, 0])
    assert low < 0
    assert high > 1


def test_order_attributes_and_type() -> None:
    scaled = normalise.normalise(make())
    assert list(scaled.data_vars) == ["rtc", "insar"]
    assert scaled.rtc.dtype == np.float32
    assert scaled.attrs == {"relative_orbit": 14}
    assert scaled.rtc.attrs["units"] == "1"
    assert scaled.rtc.attrs["long_name"] == "backscatter"
    assert scaled.rtc.attrs[conventions.ATTR_NORMALISED].startswith("rtc: (x - -121.29")
    assert "_FillValue" not in scaled.rtc.attrs
    assert list(normalise.normalise(make(), ["insar"]).data_vars) == ["insar"]


def test_it_is_lazy() -> None:
    with raise_if_dask_computes():
        scaled = normalise.normalise(make(chunks={"x": 2}))
        normalise.denormalise(scaled)
    assert scaled.rtc.chunks is not None


@settings(max_examples=30, deadline=None)
@given(values=hnp.arrays(np.float32, (2, 3, 4), elements=st.floats(-60, 30, width=32)))
def test_back_and_forth(values: np.ndarray) -> None:
    dataset = make(values)
    back = normalise.denormalise(normalise.normalise(dataset))
    np.testing.assert_allclose(back.rtc, dataset.rtc, atol=2e-5)
    assert back.rtc.attrs["units"] == "dB"
    assert conventions.ATTR_NORMALISED not in back.rtc.attrs


@pytest.mark.parametrize(
    ("change", "features", "error", "text"),
    [
        ({"units": None}, None, UnitsError, "rtc has no attribute 'units', 'dB' is wanted; if it is"),
        ({"units": "1"}, None, UnitsError, "rtc is in '1', 'dB' is wanted; take 10 log10"),
        ({"units": "db"}, None, UnitsError, "rtc is in 'db', 'dB' is wanted; they are the same: set"),
        ({}, ["grd"], UnitsError, r"no feature 'grd' \(it has insar, rtc\)"),
        ({}, ["vv"], OptionError, "feature 'vv' is unknown"),
        ({}, ["rtc", "rtc"], OptionError, "repeat"),
        ({}, [], OptionError, "empty"),
        ({conventions.ATTR_NORMALISED: "rtc: ..."}, None, UnitsError, "in model units already"),
    ],
)
def test_wrong_input_is_named(change: dict[str, object], features: object, error: type[Exception], text: str) -> None:
    dataset = make()
    dataset.rtc.attrs.update(change)
    for key, value in change.items():
        if value is None:
            del dataset.rtc.attrs[key]
    with pytest.raises(error, match=text):
        normalise.normalise(dataset, features)  # type: ignore[arg-type]


def test_a_variable_by_itself_and_complex_numbers_are_refused() -> None:
    dataset = make()
    for features in (None, ["rtc"]):
        with pytest.raises(CubeError, match=r"this is a DataArray: make one of it, for example array\.to_dataset"):
            normalise.normalise(dataset.rtc, features)  # type: ignore[arg-type]
    with pytest.raises(UnitsError, match=r"rtc is of type complex64.*take the power or the coherence first"):
        normalise.normalise(dataset.assign(rtc=dataset.rtc.astype("complex64")))


def test_a_dataset_without_features_is_refused() -> None:
    with pytest.raises(UnitsError, match="none of grd, rtc, insar; its variables are probability"):
        normalise.normalise(xr.Dataset({"probability": 1}))
    with pytest.raises(UnitsError, match="not in model units"):
        normalise.denormalise(make())


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("rtc", lambda x: 10 ** (x / 10), "rtc has values .* nearly all above 0 dB: it looks like linear power"),
        ("rtc", lambda x: 10 ** (x / 20), "nearly all above 0 dB"),
        ("rtc", lambda x: x * 100, "no backscatter in dB: divide scaled integers"),
        ("rtc", lambda x: x.where(x > -15, -9999.0), "rtc has values -9999 to .*make what is missing NaN"),
        ("insar", lambda x: x * 100, "insar has values .*coherence lies between 0 and 1: divide percent by 100"),
        ("insar", lambda x: x.where(x > 0.5, -9999.0), "insar has values -9999"),
    ],
)
@pytest.mark.parametrize("chunks", [None, {"y": 40}])
def test_values_of_no_such_unit_are_refused_when_they_are_computed(
    name: str, change: Callable[[xr.DataArray], xr.DataArray], message: str, chunks: dict[str, int] | None
) -> None:
    """Attributes outlive arithmetic; such cubes were mapped as land without ice."""
    rng = np.random.default_rng(0)
    values = rng.normal(-12, 4, (15, 80, 120)) if name == "rtc" else rng.random((15, 80, 120))
    units = conventions.FEATURE_RANGES[name].units
    cube = xr.Dataset({name: (("time", "y", "x"), values.astype(np.float32), {"units": units})})
    cube[name][:, :5] = np.nan
    good = normalise.normalise(cube.chunk(chunks) if chunks else cube).compute()
    assert bool(good[name][:, 5:].notnull().all())
    wrong = cube.assign({name: change(cube[name]).assign_attrs(cube[name].attrs)})
    with pytest.raises(UnitsError, match=message):
        normalise.normalise(wrong.chunk(chunks) if chunks else wrong).compute()
