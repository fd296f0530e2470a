from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icemapper_xr import tiling
from icemapper_xr.errors import OptionError

overlaps = st.sampled_from([0.5, 0.25, 0.0])


@pytest.mark.parametrize(("window", "overlap", "stride"), [(384, 0.5, 192), (384, 0.25, 288), (128, 0, 128)])
def test_stride(window: int, overlap: float, stride: int) -> None:
    assert tiling.stride_of(window, overlap) == stride


@pytest.mark.parametrize(("window", "overlap"), [(384, 0.6), (384, -0.1), (384, 0.3), (8, float("nan"))])
def test_stride_refuses(window: int, overlap: float) -> None:
    with pytest.raises(OptionError, match=r"0\.25|0\.5"):
        tiling.stride_of(window, overlap)


def test_gaussian_is_the_published_kernel() -> None:
    kernel = tiling.gaussian(384)
    assert kernel[0] == pytest.approx(np.exp(-2))
    assert kernel[0] * kernel[0] == pytest.approx(np.exp(-4))
    assert kernel.max() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(kernel, kernel[::-1], rtol=1e-14)


@given(count=st.integers(1, 6), overlap=overlaps)
def test_weight_sum_equals_the_windows_added_one_by_one(count: int, overlap: float) -> None:
    stride = tiling.stride_of(64, overlap)
    axis = tiling.Axis(64, stride, 0, count, (0, 1))
    total = np.zeros(axis.length)
    for k in range(count):
        total[k * stride :][:64] += tiling.gaussian(64)
    np.testing.assert_allclose(tiling.weight_sum(axis), total)
    assert (tiling.weight_sum(axis) > 0).all()


@given(size=st.integers(1, 700), overlap=overlaps)
def test_anchored_windows_cover_the_array_from_its_corner(size: int, overlap: float) -> None:
    axis = tiling.anchored_axis(size, window=64, stride=tiling.stride_of(64, overlap))
    assert axis.begin == 0
    assert (axis.count - 1) * axis.stride < size <= axis.length


@given(start=st.integers(-5000, 5000), size=st.integers(1, 900), overlap=overlaps, extra=st.integers(0, 50))
def test_global_windows_are_those_that_touch_the_area(start: int, size: int, overlap: float, extra: int) -> None:
    window, stride = 128, tiling.stride_of(128, overlap)
    first, length = start - window - extra, size + 2 * (window + extra)
    axis = tiling.global_axis(first, length, (start, start + size), window=window, stride=stride)
    corners = [first + axis.begin + k * stride for k in range(axis.count)]
    every = [c for c in range(-7680, 7680, stride) if c + window > start and c < start + size]
    assert corners == every
    assert axis.begin >= 0
    assert axis.begin + axis.length <= length
    assert first + axis.begin + axis.keep[0] == start
    assert axis.keep[1] - axis.keep[0] == size


@pytest.mark.parametrize("area", [(20, 480), (20, 300), (200, 480)], ids=["both ends", "before", "behind"])
def test_global_axis_names_the_margin_that_is_missing(area: tuple[int, int]) -> None:
    with pytest.raises(OptionError, match="margin=128"):
        tiling.global_axis(0, 500, area, window=128, stride=64)


def test_global_axis_refuses_a_stride_off_the_lattice() -> None:
    with pytest.raises(OptionError, match="does not divide"):
        tiling.global_axis(0, 5000, (1000, 2000), window=200, stride=100)


@given(data=st.data(), count=st.integers(1, 12), overlap=overlaps)
def test_legal_chunks(data: st.DataObject, count: int, overlap: float) -> None:
    axis = tiling.Axis(64, tiling.stride_of(64, overlap), 0, count, (0, 1))
    edges = data.draw(st.lists(st.integers(1, axis.length - 1), max_size=8, unique=True))
    bounds = [0, *sorted(edges), axis.length]
    chunks = tuple(np.diff(bounds).tolist())
    legal = tiling.legal_chunks(chunks, axis)
    assert sum(legal) == axis.length
    assert all(edge % axis.stride == 0 for edge in np.cumsum(legal)[:-1])
    assert all(size >= axis.stride for size in legal)
    assert legal[-1] >= axis.window
    assert tiling.legal_chunks(legal, axis) == legal
