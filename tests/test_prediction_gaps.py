"""What the network is fed where nothing was observed, and that the edges of a scene leave no marks on its map."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from icemapper_xr import conventions, prediction, store, tiling
from icemapper_xr.errors import StoreError
from icemapper_xr.testing import FakeSegmenter
from tests.test_prediction import STEPS, make_cube, on_the_lattice

SIDE = 48


def window(seed: int = 0, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(STEPS, SIDE, SIDE, channels)).astype(np.float32)


def filled(stack: np.ndarray, *observed: np.ndarray) -> np.ndarray:
    out = np.where(np.stack(observed, axis=-1), stack, np.float32(0))
    prediction.mirror(out, observed)
    return out


@pytest.mark.parametrize("width", [2, 3, 10, 24, 40, 47])
@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_a_straight_edge_is_mirrored_as_often_as_the_window_needs(width: int, side: str) -> None:
    stack = window()
    axis = 1 if side in ("top", "bottom") else 2
    last = side in ("bottom", "right")
    span = slice(SIDE - width, None) if last else slice(width)
    seen = np.zeros((SIDE, SIDE), bool)
    seen[(slice(None),) * (axis - 1) + (span,)] = True
    strip = stack[(slice(None),) * axis + (span,)]
    pad = [(0, 0)] * 4
    pad[axis] = (SIDE - width, 0) if last else (0, SIDE - width)
    np.testing.assert_array_equal(filled(stack, seen), np.pad(strip, pad, mode="reflect"))


def test_a_corner_is_mirrored_across_both_edges() -> None:
    stack = window()
    seen = np.zeros((SIDE, SIDE), bool)
    seen[:30, :20] = True
    out = filled(stack, seen)
    np.testing.assert_array_equal(out[:, 30:, :20], stack[:, 28:10:-1, :20])
    np.testing.assert_array_equal(out[:, 35, 25], stack[:, 23, 13])


def test_any_shape_is_filled_from_what_was_observed() -> None:
    rng = np.random.default_rng(3)
    y, x = np.indices((SIDE, SIDE))
    for seen in (
        y + 2 * x < 70,
        (y - 20) ** 2 + (x - 30) ** 2 < 90,
        rng.uniform(size=(SIDE, SIDE)) < 0.02,
        (y == 7) & (x == 9),
        y == 11,
    ):
        stack = window()
        out = filled(stack, seen)
        np.testing.assert_array_equal(out[:, seen], stack[:, seen])
        known = {series.tobytes() for series in stack[:, seen, 0].T}
        assert all(series.tobytes() in known for series in out.reshape(STEPS, -1).T)


def test_across_a_slanted_edge_the_image_is_as_far_away_as_the_pixel() -> None:
    y, x = np.indices((SIDE, SIDE))
    seen = y + x < 50
    stack = np.broadcast_to(np.stack([y, x], axis=-1), (STEPS, SIDE, SIDE, 2)).astype(np.float32)
    out = filled(stack, seen, seen)
    distance = (y + x - 49) / 2
    for row, column in ((30, 30), (26, 29), (40, 16)):
        image = out[0, row, column]
        np.testing.assert_allclose(image, [row - 2 * distance[row, column], column - 2 * distance[row, column]], atol=1)


def test_features_are_mirrored_by_what_is_known_of_each() -> None:
    stack = window(channels=3)
    one, other, none = np.zeros((3, SIDE, SIDE), bool)
    one[:, :30] = True
    other[:10] = True
    out = filled(stack, one, other, none)
    for channel, seen in enumerate((one, other)):
        alone = filled(stack[..., channel : channel + 1], seen)
        np.testing.assert_array_equal(out[..., channel], alone[..., 0])
    assert not out[..., 2].any()


def mirrored_oracle(cube: xr.Dataset, segmenter: FakeSegmenter, overlap: float) -> np.ndarray:
    """One window after the other; what hangs over the array's end is `numpy.pad`'s reflection of the window's part."""
    side, stride = segmenter.window, tiling.stride_of(segmenter.window, overlap)
    stack = np.stack([cube[feature].values for feature in segmenter.features], axis=-1)
    _, height, width, _ = stack.shape
    total, weights = np.zeros((2, height + side, width + side))
    line = tiling.gaussian(side)
    for top in range(0, height, stride):
        for left in range(0, width, stride):
            part = stack[:, top : top + side, left : left + side]
            short = [(0, side - size) for size in part.shape[1:3]]
            seen = np.pad(part, ((0, 0), *short, (0, 0)), mode="reflect")
            place = (slice(top, top + side), slice(left, left + side))
            total[place] += np.outer(line, line) * segmenter(seen[None])[0]
            weights[place] += np.outer(line, line)
    return (total / np.where(weights > 0, weights, 1))[:height, :width]


@pytest.mark.parametrize("overlap", [0.5, 0.25, 0.0])
@pytest.mark.parametrize("shape", [(150, 130), (66, 98), (20, 50)])
def test_windows_past_the_edge_see_mirror_images(shape: tuple[int, int], overlap: float) -> None:
    cube = make_cube(shape, features=("rtc", "insar"), missing=0).fillna(0.25)
    segmenter = FakeSegmenter(features=("rtc", "insar"), window=32, unobserved="mirror")
    found = prediction.probability(cube, segmenter, overlap=overlap).result
    np.testing.assert_allclose(found.probability, mirrored_oracle(cube, segmenter, overlap), atol=1e-6)


@pytest.mark.parametrize("overlap", [0.5, 0.25])
def test_mirrored_maps_do_not_depend_on_chunks_or_area(overlap: float) -> None:
    cube = make_cube((300, 280), features=("rtc", "insar"))
    y, x = np.indices((300, 280))
    swath = xr.DataArray(y + 2 * x < 600, dims=("y", "x"), coords={"y": cube.y, "x": cube.x})
    cube = cube.assign(rtc=cube.rtc.where(swath).assign_attrs(cube.rtc.attrs))
    segmenter = FakeSegmenter(features=("rtc", "insar"), window=32, unobserved="mirror")
    wide = prediction.probability(on_the_lattice(cube, 32), segmenter, overlap=overlap).result
    for chunk in ({"y": 64, "x": 64}, {"y": 37, "x": 130}):
        lazy = prediction.probability(on_the_lattice(cube, 32).chunk(chunk), segmenter, overlap=overlap).result
        np.testing.assert_array_equal(lazy.probability, wide.probability)
    inner = on_the_lattice(cube.isel(y=slice(41, 250), x=slice(37, 231)), 32)
    narrow = prediction.probability(inner, segmenter, overlap=overlap).result
    np.testing.assert_array_equal(narrow.probability, wide.probability.sel(y=narrow.y, x=narrow.x))
    plain = prediction.probability(on_the_lattice(cube, 32), FakeSegmenter(features=("rtc", "insar"), window=32))
    if overlap == 0.5:
        apart = np.abs(plain.result.probability.values - wide.probability.values)
        assert np.nanmax(apart) > 0.01
        assert np.nanmax(apart[100:, :60]) == 0  # no window there reaches what was not observed


def test_zero_gaps_are_the_originals_whatever_the_weights_say() -> None:
    cube = make_cube((90, 70))
    maps = [
        prediction.probability(cube, FakeSegmenter(window=32, unobserved=how), gap="zero").result
        for how in conventions.UNOBSERVED
    ]
    np.testing.assert_array_equal(maps[0].probability, maps[1].probability)
    blended = [
        prediction.blend(cube.rtc.fillna(0).values[..., None], FakeSegmenter(window=32, unobserved=how))
        for how in conventions.UNOBSERVED
    ]
    np.testing.assert_array_equal(*blended)


def test_maps_made_with_and_without_mirror_images_are_not_mixed(tmp_path: object) -> None:
    cube = on_the_lattice(make_cube((200, 190)), 32).chunk(y=64, x=64)
    zero, mirror = (
        prediction.probability(cube, FakeSegmenter(window=32, unobserved=how)).result for how in ("zero", "mirror")
    )
    store.write(zero, f"{tmp_path}/a.zarr", year=2023, chunk=64)
    with pytest.raises(StoreError, match="unobserved is zero there and mirror here"):
        store.write(mirror, f"{tmp_path}/a.zarr", year=2024, chunk=64)
