from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from icemapper_xr import conventions, cube
from icemapper_xr.errors import CubeError, OptionError
from tests.support import raise_if_dask_computes


def make(size: float, area: tuple[float, ...], margin: int, values: Any = None, chunks: Any = None) -> xr.Dataset:
    left, bottom, right, top = (
        area[0] - margin * size, area[1] - margin * size, area[2] + margin * size, area[3] + margin * size,
    )  # fmt: skip
    rows, columns = round((top - bottom) / size), round((right - left) / size)
    if values is None:
        values = np.random.default_rng(1).gamma(4, 0.03, (2, rows, columns))
    decibel = (10 * np.log10(values)).astype(np.float32)
    ds = xr.Dataset(
        {
            "rtc": (("time", "y", "x"), decibel, {"units": "dB"}),
            "insar": (("time", "y", "x"), np.clip(values, 0, 1).astype(np.float32), {"units": "1"}),
        },
        coords={
            "time": [0, 1],
            "y": top - size * (np.arange(rows) + 0.5),
            "x": left + size * (np.arange(columns) + 0.5),
            "rtc_items": ("time", ["a", "b"]),
        },
        attrs={conventions.ATTR_AREA: [float(edge) for edge in area], conventions.ATTR_MARGIN: margin},
    ).rio.write_crs(32633)
    return ds.chunk(chunks or {"time": -1, "y": -1, "x": -1})


AREA = (500_010.0, 8_699_010.0, 500_310.0, 8_699_610.0)


def test_coarser_is_the_mean_of_power_on_the_coarse_lattice() -> None:
    ds = make(5, AREA, 4)
    with raise_if_dask_computes():
        out = cube.to_pixel_size(ds, 10, method="average")
    assert out.attrs[conventions.ATTR_AREA] == list(AREA)
    assert out.attrs[conventions.ATTR_MARGIN] == 2
    power = 10 ** (ds.rtc.values.astype(float) / 10)
    rows, columns = power.shape[1:]
    expected = 10 * np.log10(power.reshape(2, rows // 2, 2, columns // 2, 2).mean(axis=(2, 4)))
    np.testing.assert_allclose(out.rtc, expected, atol=1e-5)
    np.testing.assert_allclose(out.x, AREA[0] - 20 + 10 * (np.arange(columns // 2) + 0.5))
    np.testing.assert_allclose(out.y, AREA[3] + 20 - 10 * (np.arange(rows // 2) + 0.5))
    assert list(out.rtc_items.values) == ["a", "b"]
    assert out.rio.resolution() == (10, -10)
    assert out.rtc.dtype == np.float32


def test_a_coarser_area_is_snapped_outward() -> None:
    odd = (500_005.0, 8_699_005.0, 500_105.0, 8_699_105.0)
    with_margin = cube.to_pixel_size(make(5, odd, 5), 10, method="average")
    assert with_margin.attrs[conventions.ATTR_AREA] == [500_000.0, 8_699_000.0, 500_110.0, 8_699_110.0]
    assert with_margin.attrs[conventions.ATTR_MARGIN] == 2
    assert np.isfinite(with_margin.rtc).all()
    without = cube.to_pixel_size(make(5, odd, 0), 10, method="average")
    assert without.rtc.shape == (2, 11, 11)
    assert np.isfinite(without.rtc).all()  # the mean of what there is


def test_gaps_do_not_spread_into_means() -> None:
    values = np.full((2, 128, 68), 0.1)
    values[0, 10:12, 10:12] = np.nan
    values[1, 10, 10] = np.nan
    out = cube.to_pixel_size(make(5, AREA, 4, values), 10, method="average").rtc
    assert np.isnan(out[0]).sum() == 1
    np.testing.assert_allclose(out[1], -10, atol=1e-5)


def test_nearest_repeats() -> None:
    ds = make(30, AREA, 2)
    out = cube.to_pixel_size(ds, 10, method="nearest")
    np.testing.assert_array_equal(out.rtc, np.repeat(np.repeat(ds.rtc, 3, axis=1), 3, axis=2))
    assert out.attrs[conventions.ATTR_MARGIN] == 6
    assert out.attrs[conventions.ATTR_AREA] == list(AREA)


def test_bilinear_is_exact_on_a_ramp_of_power_and_keeps_gaps() -> None:
    rows, columns = np.mgrid[:24, :14]
    ramp = 0.1 + 0.01 * columns + 0.02 * rows
    values = np.stack([ramp, ramp])
    values[1, 5, 5] = np.nan
    out = cube.to_pixel_size(make(30, AREA, 2, values), 10, method="bilinear").rtc
    fine_rows, fine_columns = (np.mgrid[: 24 * 3, : 14 * 3] + 0.5) / 3 - 0.5
    expected = 0.1 + 0.01 * fine_columns + 0.02 * fine_rows
    inner = np.s_[2:-2, 2:-2]
    np.testing.assert_allclose(10 ** (out[0].values[inner] / 10), expected[inner], rtol=1e-5)
    np.testing.assert_array_equal(np.isnan(out[1]), np.repeat(np.repeat(np.isnan(values[1]), 3, axis=0), 3, axis=1))


@settings(max_examples=10, deadline=None)
@given(y=st.integers(1, 30), x=st.integers(1, 30), method=st.sampled_from(["bilinear", "nearest", "average"]))
def test_chunks_do_not_matter(y: int, x: int, method: Literal["bilinear", "nearest", "average"]) -> None:
    size, wanted = (5, 15) if method == "average" else (30, 10)
    ds = make(size, AREA, 2)
    whole = cube.to_pixel_size(ds, wanted, method=method).compute()
    np.testing.assert_allclose(
        cube.to_pixel_size(ds.chunk({"y": y, "x": x}), wanted, method=method).rtc, whole.rtc, atol=1e-5
    )
    eager = cube.to_pixel_size(ds.compute(), wanted, method=method)
    np.testing.assert_allclose(eager.rtc, whole.rtc, atol=1e-5)


@pytest.mark.parametrize(("size", "wanted", "method"), [(30, 10, "nearest"), (30, 10, "bilinear"), (5, 10, "average")])
def test_chunk_edges_lie_on_the_lattice(size: float, wanted: float, method: Any) -> None:
    edge = conventions.LATTICE * wanted
    area = (43 * edge - 600, 755 * edge - 600, 43 * edge + 600, 755 * edge + 600)
    out = cube.to_pixel_size(make(size, area, 2), wanted, method=method)
    assert out.rtc.chunks is not None
    assert out.rtc.chunks[0] == (2,)
    assert sum(out.rtc.chunks[1]) == out.sizes["y"]
    for axis, first in ((1, round(-(area[3] + 2 * size) / wanted)), (2, round((area[0] - 2 * size) / wanted))):
        edges = first + np.cumsum(out.rtc.chunks[axis])[:-1]
        assert conventions.LATTICE in np.gcd(edges, conventions.LATTICE) if wanted > size else len(edges) >= 1


def test_without_the_lattice_blocks_begin_at_the_corner() -> None:
    ds = make(5, (500_005.0, 8_699_005.0, 500_120.0, 8_699_105.0), 0)
    ds.attrs.clear()
    out = cube.to_pixel_size(ds, 10, method="average")
    assert out.rtc.shape == (2, 10, 12)
    assert float(out.x[0]) == 500_010.0
    assert conventions.ATTR_AREA not in out.attrs


def test_same_size_is_the_same_cube() -> None:
    ds = make(10, AREA, 2)
    assert cube.to_pixel_size(ds, 10, method="nearest") is ds


@pytest.mark.parametrize(
    ("size", "wanted", "method", "text"),
    [
        (30, 20, "bilinear", r"no whole ratio; open the cube with resolution=20 and resampling="),
        (30, 10, "average", "use 'bilinear' or 'nearest'"),
        (5, 10, "nearest", "use 'average'"),
        (10, -1, "nearest", "not a positive"),
        (10, 10, "cubic", "resampling 'cubic' is unknown"),
    ],
)
def test_bad_requests_are_refused(size: float, wanted: float, method: Any, text: str) -> None:
    with pytest.raises(OptionError, match=text):
        cube.to_pixel_size(make(size, AREA, 2), wanted, method=method)


def test_a_dataset_that_is_no_cube_is_refused() -> None:
    with pytest.raises(CubeError, match="no coordinate x"):
        cube.to_pixel_size(xr.Dataset(), 10, method="nearest")
