"""Resampling against closed forms, and the same whatever the piece."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyproj
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import warp

from icemapper_xr import conventions
from icemapper_xr.cube import resample

LEFT, TOP = 500_000.0, 8_700_000.0
SOURCE = Affine(10, 0, LEFT, 0, -10, TOP)


def field(shape: tuple[int, int] = (120, 140)) -> Any:
    return np.random.default_rng(3).gamma(4, 0.03, shape).astype(np.float32)


def piece(crs: str, left: float, top: float, size: float, rows: int, columns: int) -> resample.Piece:
    return resample.Piece(crs, left, top, size, rows, columns)


def test_whole_ratios_on_aligned_pixels_are_block_means_of_what_is_valid() -> None:
    values = field()
    values[4, 4] = values[10:20, 10:20] = np.nan
    found = resample.onto(values, SOURCE, "EPSG:32633", piece("EPSG:32633", LEFT, TOP, 50, 24, 28), "average")
    blocks = values.reshape(24, 5, 28, 5)
    with np.errstate(invalid="ignore"):
        expected = np.nansum(blocks, axis=(1, 3)) / np.isfinite(blocks).sum(axis=(1, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.isnan(found).sum() == 4


@pytest.mark.parametrize("method", ["average", "bilinear"])
def test_means_over_other_ratios_keep_the_mean_of_a_field(method: str) -> None:
    rows, columns = np.mgrid[:120, :140]
    ramp = (1 + 0.01 * columns + 0.02 * rows).astype(np.float32)
    target = piece("EPSG:32633", LEFT + 103, TOP - 97, 37, 20, 20)
    found = resample.onto(ramp, SOURCE, "EPSG:32633", target, method)
    x = (103 + 37 * (np.arange(20) + 0.5)) / 10 - 0.5
    y = (97 + 37 * (np.arange(20) + 0.5)) / 10 - 0.5
    np.testing.assert_allclose(found, 1 + 0.01 * x[None] + 0.02 * y[:, None], atol=0.005)


@settings(max_examples=15, deadline=None)
@given(
    row=st.integers(0, 25),
    column=st.integers(0, 25),
    size=st.sampled_from([5.0, 10.0, 30.0]),
    method=st.sampled_from(["nearest", "bilinear", "average"]),
    crs=st.sampled_from(["EPSG:32632", "EPSG:32633", "EPSG:3413"]),
)
def test_a_piece_is_the_same_as_its_part_of_the_whole(
    row: int, column: int, size: float, method: str, crs: str
) -> None:
    values = field()
    values[50:60, 50:70] = np.nan
    to = pyproj.Transformer.from_crs(32633, crs, always_xy=True)
    x, y = (round(v / size) * size for v in to.transform(LEFT + 700, TOP - 600))
    whole = piece(crs, x - 20 * size, y + 20 * size, size, 40, 40)
    part = piece(crs, whole.left + column * size, whole.top - row * size, size, 15, 14)
    expected = resample.onto(values, SOURCE, "EPSG:32633", whole, method)[row : row + 15, column : column + 14]
    window = resample.source_window(SOURCE, "EPSG:32633", values.shape, part)
    assert window is not None
    first_row, first_column, rows, columns = window
    cut = values[first_row : first_row + rows, first_column : first_column + columns]
    shifted = SOURCE * Affine.translation(first_column, first_row)
    found = resample.onto(cut, shifted, "EPSG:32633", part, method)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_coordinates_between_the_nodes_are_exact_to_a_thousandth_of_a_pixel() -> None:
    # A field that is its own column number: what comes out is the position that was used.
    columns = np.broadcast_to(np.arange(3000, dtype=np.float32), (3000, 3000))
    to = pyproj.Transformer.from_crs(32633, 3413, always_xy=True)
    x, y = (round(v / 10) * 10 for v in to.transform(LEFT + 15_000, TOP - 15_000))
    target = piece("EPSG:3413", x - 3000, y + 3000, 10, 600, 600)
    found = resample.onto(columns, SOURCE, "EPSG:32633", target, "bilinear")
    u, v = np.meshgrid(x - 3000 + 10 * (np.arange(600) + 0.5), y + 3000 - 10 * (np.arange(600) + 0.5))
    back = pyproj.Transformer.from_crs(3413, 32633, always_xy=True)
    exact = (back.transform(u, v)[0] - LEFT) / 10 - 0.5
    np.testing.assert_allclose(found, exact, atol=1e-3)


@pytest.mark.parametrize("west", [179.9, -180.1, 180.9, -179.1, 539.9])
@pytest.mark.parametrize("method", ["nearest", "bilinear", "average"])
def test_a_raster_in_degrees_is_read_beyond_the_antimeridian(west: float, method: str) -> None:
    """Longitudes of a raster may run on beyond 180 or begin at 0; the place is the same a turn further."""
    source = Affine(0.0005, 0, west, 0, -0.0005, 71.05)
    values = np.broadcast_to(np.arange(400, dtype=np.float32), (200, 400))
    longitude = west + 0.0005 * 200
    x, y = pyproj.Transformer.from_crs(4326, 32601, always_xy=True).transform(longitude, 71.0)
    target = piece("EPSG:32601", round(x / 40) * 40 - 800, round(y / 40) * 40 + 800, 40, 40, 40)
    first_row, first_column, rows, columns = resample.source_window(source, "EPSG:4326", values.shape, target)
    part = values[first_row : first_row + rows, first_column : first_column + columns]
    there = source * Affine.translation(first_column, first_row)
    found = resample.onto(part, there, "EPSG:4326", target, method)
    assert np.isfinite(found).all()
    assert columns < 150
    assert found.mean() == pytest.approx(200, abs=3)
    assert (np.diff(found.mean(axis=0)) > 0).all()


def gdal_average(values: Any, transform: Affine, crs: str, target: resample.Piece) -> Any:
    """Return what GDAL makes of the same."""
    found = np.full((target.rows, target.columns), np.nan, np.float32)
    warp.reproject(
        values,
        found,
        src_transform=transform,
        src_crs=crs,
        dst_transform=Affine(target.resolution, 0, target.left, 0, -target.resolution, target.top),
        dst_crs=target.crs,
        resampling=warp.Resampling.average,
        src_nodata=np.nan,
        dst_nodata=np.nan,
    )
    return found


def at_78_north(crs: str, size: float, shape: tuple[int, int]) -> tuple[Any, Affine, resample.Piece]:
    """Speckle at 15.5 E, 78 N, and 40 x 40 pixels of 10 m in the middle of it."""
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(15.53, 78.0)
    u, v = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(15.53, 78.0)
    source = Affine(size, 0, x - size * shape[1] / 2, 0, -size, y + size * shape[0] / 2)
    target = piece("EPSG:32633", round(u / 10) * 10 - 200, round(v / 10) * 10 + 200, 10, 40, 40)
    return np.random.default_rng(3).gamma(4.4, 1 / 4.4, shape).astype(np.float32), source, target


@pytest.mark.parametrize("method", ["average", "bilinear"])
@pytest.mark.parametrize(("crs", "size", "shape"), [("EPSG:4326", 0.00009, (80, 400)), ("EPSG:3857", 10, (320, 320))])
def test_a_pixel_is_the_mean_of_those_it_covers_however_a_projection_stretches_them(
    method: str, crs: str, size: float, shape: tuple[int, int]
) -> None:
    """At 78 degrees pixels of 0.00009 degrees are 10 m by 2 m, those of 10 m in EPSG:3857 2 m by 2 m."""
    values, source, target = at_78_north(crs, size, shape)
    found = resample.onto(values, source, crs, target, method)
    expected = gdal_average(values, source, crs, target)
    assert found.mean() == pytest.approx(expected.mean(), abs=0.005)
    assert found.var() == pytest.approx(expected.var(), rel=0.2)  # thrice as much when one sample in five was taken
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.93


@pytest.mark.parametrize("method", ["average", "bilinear"])
def test_a_piece_of_degrees_is_the_same_as_its_part_of_the_whole(method: str) -> None:
    """Across a line of the lattice, beyond which pixels get other samples."""
    values, source, target = at_78_north("EPSG:4326", 0.00009, (80, 400))
    line = math.floor(target.top / 60 / conventions.LATTICE) * conventions.LATTICE * 60
    whole = target._replace(resolution=60.0, left=target.left // 60 * 60, top=line + 20 * 60.0)
    x, y = pyproj.Transformer.from_crs(32633, 4326, always_xy=True).transform(whole.left + 1200, line)
    # At row 13 the samples would change, were they those of a piece's middle.
    there = resample.sides(source, "EPSG:4326", 400, whole._replace(rows=26))
    size = source.a * there.across / (25 * 1.1)
    source = Affine(size, 0, x - 200 * size, 0, -size, y + 40 * size)
    cells = [tile.cell for tile in resample._tiles(whole)]
    assert len({resample._samples(resample.sides(source, "EPSG:4326", 400, cell), method, 1.1) for cell in cells}) == 2
    expected = resample.onto(values, source, "EPSG:4326", whole, method)
    assert np.isfinite(expected[15:25]).any(axis=1).sum() > 8
    for row, rows in ((0, 20), (13, 15), (20, 20)):
        part = whole._replace(top=whole.top - row * 60, rows=rows)
        found = resample.onto(values, source, "EPSG:4326", part, method)
        np.testing.assert_allclose(found, expected[row : row + rows], atol=1e-6)


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3413", "EPSG:3995"])
def test_equal_pixels_of_projections_of_maps_count_as_of_one_size(crs: str) -> None:
    to = pyproj.Transformer.from_crs(32633, crs, always_xy=True)
    for y in (7_000_000, 8_700_000, 9_200_000):
        u, v = to.transform(LEFT, y)
        assert resample.other_size(SOURCE, "EPSG:32633", 100, piece(crs, u, v, 10, 10, 10)) is None


def test_a_piece_beside_the_source_needs_nothing() -> None:
    assert resample.source_window(SOURCE, "EPSG:32633", (100, 100), piece("EPSG:32633", 0, 0, 10, 5, 5)) is None
