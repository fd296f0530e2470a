from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from icemapper_xr import conventions, cube
from icemapper_xr.errors import CubeError, OptionError, UnitsError
from tests.cube_data import write
from tests.support import raise_if_dask_computes

LEFT, TOP = 500_000.0, 8_700_000.0


def lists(folder: Path, shape: tuple[int, int] = (30, 40)) -> tuple[list[Path], list[Path]]:
    random = np.random.default_rng(2)
    backscatter = [write(folder / f"grd_{k:02}.tif", random.normal(-12, 3, shape)) for k in range(15)]
    coherence = [write(folder / f"insar_{k:02}.tif", random.uniform(0, 1, shape)) for k in range(15)]
    return backscatter, coherence


def read(path: Path) -> Any:
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def test_lists_become_a_lazy_cube(tmp_path: Path) -> None:
    backscatter, coherence = lists(tmp_path)
    with raise_if_dask_computes():
        ds = cube.open_rasters(grd=backscatter, insar=coherence, chunk=16)
    assert dict(ds.sizes) == {"time": 15, "y": 30, "x": 40}
    assert ds.grd.attrs["units"] == "dB"
    assert ds.grd.chunks is not None
    assert ds.grd.chunks[0] == (15,)
    np.testing.assert_allclose(ds.grd[3], read(backscatter[3]), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(ds.insar[7], read(coherence[7]))
    assert ds.rio.crs.to_epsg() == 32633
    assert float(ds.x[0]) == LEFT + 5
    assert float(ds.y[0]) == TOP - 5
    assert conventions.ATTR_AREA not in ds.attrs
    assert ds.grd_items.values[0] == "grd_00.tif"


def test_gaps_stay_gaps_and_dark_pixels_get_the_floor(tmp_path: Path) -> None:
    backscatter, _ = lists(tmp_path)
    values = read(backscatter[0])
    values[3:6, 4:9], values[10, 10], values[12, 12] = np.nan, -np.inf, 0.0
    write(backscatter[0], values)
    layer = cube.open_rasters(grd=backscatter).grd[0].values
    np.testing.assert_array_equal(np.isnan(layer), np.isnan(values))
    assert layer[10, 10] == conventions.NOISE_FLOOR_DB
    assert layer[12, 12] == 0


def test_other_grids_are_resampled_in_power_to_the_first(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:30, :40]
    ramp = 0.05 + 0.002 * columns + 0.001 * rows
    paths = [write(tmp_path / f"{k}.tif", 10 * np.log10(ramp), left=LEFT + (3.7 if k else 0)) for k in range(15)]
    ds = cube.open_rasters(rtc=paths)
    np.testing.assert_allclose(10 ** (ds.rtc[0] / 10), ramp, rtol=1e-5)
    inner = np.s_[1:-1, 1:-1]
    expected = ramp - 0.002 * 0.37
    np.testing.assert_allclose(10 ** (ds.rtc[1].values[inner] / 10), expected[inner], rtol=1e-4)
    other = write(tmp_path / "reference.tif", ramp[:10, :10], left=LEFT + 50)
    assert cube.open_rasters(rtc=paths, reference=other).rtc.shape == (15, 10, 10)


def test_scales_and_dates(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    linear = random.gamma(4, 0.03, (30, 40)).astype(np.float32)
    paths = [write(tmp_path / f"{k}.tif", np.sqrt(linear)) for k in range(15)]
    days = [f"2023-{1 + k // 2:02}-{1 + 14 * (k % 2):02}" for k in range(15)]
    ds = cube.open_rasters(rtc=paths, scale="amplitude", times=days)
    np.testing.assert_allclose(ds.rtc[0], 10 * np.log10(linear), atol=1e-4)
    assert [str(day)[:10] for day in ds.time.values] == days
    assert ds.attrs[conventions.ATTR_YEAR] == 2023


def test_the_published_program_takes_outliers_and_any_grid(tmp_path: Path) -> None:
    """Scaled values above 100 become 0, negative ones stay; only what is of another unit as a whole is refused."""
    backscatter, coherence = lists(tmp_path)
    values = read(coherence[3]).copy()
    values[4, 5], values[6, 7] = 150, -9999
    odd = write(tmp_path / "odd.tif", values)
    stack, _ = cube.parity_stack(grd=backscatter, insar=[*coherence[:3], odd, *coherence[4:]], reference=backscatter[0])
    assert stack[3, 4, 5, 1] == 0
    assert stack[3, 6, 7, 1] < -9000
    with pytest.raises(UnitsError, match="coherence lies between"):
        cube.open_rasters(grd=backscatter, insar=[*coherence[:3], odd, *coherence[4:]])
    for fill, odd in ((-9999.0, coherence), (np.finfo(np.float32).min, backscatter)):
        values = read(odd[3]).copy()
        values[6, 7] = fill
        tagged = write(tmp_path / "tagged.tif", values, nodata=float(fill))
        told = [*odd[:3], tagged, *odd[4:]]
        if odd is coherence:
            with pytest.warns(UserWarning, match=r"1 rasters have pixels .*tagged\.tif.*gdalwarp -dstnodata nan"):
                assert cube.parity_stack(insar=told)[0][3, 6, 7, 0] < -9000
            continue
        with pytest.raises(CubeError, match=r"tagged\.tif has values down to -\d.*e\+36.*sums are lost: write NaN"):
            cube.parity_stack(grd=told)
    turned = tmp_path / "south_up.tif"
    with rasterio.open(backscatter[0]) as source:
        profile = source.profile | {"transform": rasterio.Affine(10.02, 0, LEFT, 0, 9.99, TOP - 300)}
    with rasterio.open(turned, "w", **profile) as target:
        target.write(read(backscatter[0])[None])
    flipped, profile = cube.parity_stack(grd=iter(backscatter), reference=turned)
    straight, _ = cube.parity_stack(grd=backscatter)
    assert profile["transform"].e > 0
    assert np.corrcoef(flipped[1, ::-1, :, 0].ravel(), straight[1, ..., 0].ravel())[0, 1] > 0.9
    with pytest.raises(CubeError, match="north-up"):
        cube.open_rasters(grd=backscatter, reference=turned)


@pytest.mark.parametrize("reader", [cube.open_rasters, cube.parity_stack])
def test_bad_lists_name_the_file(tmp_path: Path, reader: Any) -> None:
    backscatter, coherence = lists(tmp_path)

    def refused(error: type[Exception], text: str, **options: Any) -> None:
        with pytest.raises(error, match=text) as caught:
            reader(**options)
        assert "\n" not in str(caught.value)

    refused(OptionError, "name 15 files")
    refused(OptionError, "grd has 14 files, 15 are wanted", grd=backscatter[:14])
    refused(OptionError, "grd is one path", grd=str(backscatter[0]))
    refused(CubeError, r"gone\.tif does not exist", grd=[*backscatter[:14], tmp_path / "gone.tif"])
    text = tmp_path / "text.tif"
    text.write_text("not a raster")
    refused(CubeError, r"text\.tif is not a raster", grd=[*backscatter[:14], text])
    two = write(tmp_path / "two.tif", np.zeros((2, 30, 40)))
    refused(CubeError, r"two\.tif has 2 bands", grd=[*backscatter[:14], two])
    bare = write(tmp_path / "bare.tif", read(backscatter[0]), epsg=None)
    refused(CubeError, r"bare\.tif has no coordinate system", grd=[*backscatter[:14], bare])
    linear = write(tmp_path / "linear.tif", np.full((30, 40), 0.1))
    refused(UnitsError, r"linear\.tif \(grd\).*looks like linear power or coherence", grd=[*backscatter[:14], linear])
    refused(UnitsError, r"grd_00\.tif \(insar\).*coherence lies between", grd=backscatter, insar=backscatter)
    cut = tmp_path / "cut.tif"
    cut.write_bytes(backscatter[0].read_bytes()[:2000])
    refused(CubeError, r"cut\.tif is damaged or truncated", grd=[*backscatter[:14], cut], insar=coherence)


def test_bad_options(tmp_path: Path) -> None:
    backscatter, _ = lists(tmp_path)
    with pytest.raises(OptionError, match="scale 'linear' is unknown"):
        cube.open_rasters(grd=backscatter, scale="linear")
    with pytest.raises(OptionError, match="resampling 'cubic' is unknown"):
        cube.open_rasters(grd=backscatter, resampling="cubic")  # type: ignore[arg-type]
    with pytest.raises(UnitsError, match="looks like dB, not power"):
        cube.open_rasters(grd=backscatter, scale="power")
    for chunk in (0, -5, 10.5, "64", float("inf"), None):
        with pytest.raises(OptionError, match="is not a number of pixels; give a whole number"):
            cube.open_rasters(grd=backscatter, chunk=chunk)  # type: ignore[arg-type]


def test_dates_that_do_not_ascend_are_refused_with_their_files(tmp_path: Path) -> None:
    """Sorted without their files they named each file by the date of another."""
    backscatter, _ = lists(tmp_path)
    days = [f"2023-{1 + k // 2:02}-{1 + 14 * (k % 2):02}" for k in range(15)]
    for files, times, pair in (
        (backscatter[::-1], days[::-1], r"2023-08-01 of \S*grd_14.tif comes before 2023-07-15 of \S*grd_13.tif"),
        (backscatter, [days[1], days[0], *days[2:]], r"2023-01-15 of \S*grd_00.tif comes before 2023-01-01"),
    ):
        with pytest.raises(OptionError, match=pair):
            cube.open_rasters(grd=files, times=times)


def test_values_that_tags_scale_are_refused(tmp_path: Path) -> None:
    """-12.5 dB as an int16 of -1250 with a scale of 0.01 was a gap."""
    stored = np.full((30, 40), -1250)
    paths = [write(tmp_path / f"{k:02}.tif", stored, dtype="int16", nodata=-32768) for k in range(15)]
    for scale, offset in ((0.01, 0.0), (1.0, -3.0)):
        with rasterio.open(paths[4], "r+") as dataset:
            dataset.scales, dataset.offsets = (scale,), (offset,)
        with pytest.raises(UnitsError, match=rf"04.tif says .* by {scale:g} and {offset:g} added.*translate -unscale"):
            cube.open_rasters(rtc=paths)
    with pytest.warns(UserWarning, match=r"1 rasters say .* scaled \(.*04\.tif, \.\.\.\).*gdal_translate -unscale"):
        stack, _ = cube.parity_stack(rtc=paths)  # the original program reads what is stored
    np.testing.assert_allclose(stack, scaled(-1250, "rtc"), rtol=1e-6)
    with rasterio.open(paths[4], "r+") as dataset:
        dataset.scales, dataset.offsets = (1.0,), (0.0,)
    cube.open_rasters(rtc=paths)


# -- the published program --------------------------------------------------------------------------------------------


def scaled(values: Any, feature: conventions.Feature) -> Any:
    information = conventions.FEATURE_RANGES[feature]
    return (values - information.minimum) / (information.maximum - information.minimum)


def test_parity_scales_and_zeroes_what_is_not_a_number(tmp_path: Path) -> None:
    backscatter, coherence = lists(tmp_path)
    values = read(backscatter[0])
    values[3, 4], values[5, 6], values[7, 8], values[9, 9] = np.nan, -np.inf, 1e6, -1e4
    write(backscatter[0], values)
    stack, profile = cube.parity_stack(grd=backscatter, insar=coherence)
    assert stack.shape == (15, 30, 40, 2)
    assert stack.dtype == np.float32
    assert (profile["height"], profile["width"]) == (30, 40)
    expected = np.where(np.isfinite(values) & (values < 1e5), scaled(values, "grd"), 0)
    np.testing.assert_allclose(stack[0, ..., 0], expected, rtol=1e-5)
    assert stack[0, 9, 9, 0] < -10  # negative outliers stay
    np.testing.assert_allclose(stack[4, ..., 1], scaled(read(coherence[4]), "insar"), atol=1e-6)


def test_parity_is_zero_outside_a_source_and_gaps_spread_through_the_kernel(tmp_path: Path) -> None:
    backscatter, coherence = lists(tmp_path)
    values = read(coherence[1])
    values[10, 10] = np.nan
    write(coherence[1], values, left=LEFT + 103.7, top=TOP - 3.7)
    stack, _ = cube.parity_stack(grd=backscatter, insar=coherence)
    layer = stack[1, ..., 1]
    assert (layer[:, :10] == 0).all()
    assert (layer[10:12, 20:22] == 0).all()  # one missing pixel reaches the four that it is a neighbour of
    assert (layer[12:, 22:] != 0).all()


def test_parity_takes_the_grid_of_a_named_reference(tmp_path: Path) -> None:
    backscatter, _ = lists(tmp_path)
    reference = write(tmp_path / "reference.tif", np.zeros((5, 6)), left=LEFT + 50, top=TOP - 50)
    stack, profile = cube.parity_stack(grd=backscatter, reference=reference)
    assert profile["transform"].c == LEFT + 50
    np.testing.assert_allclose(stack[2, ..., 0], scaled(read(backscatter[2]), "grd")[5:10, 5:11], rtol=1e-5)


def test_parity_warns_of_lists_without_a_value_on_the_grid(tmp_path: Path) -> None:
    backscatter, coherence = lists(tmp_path)
    elsewhere = write(tmp_path / "reference.tif", np.zeros((5, 6)), left=LEFT + 90_000)
    with pytest.warns(UserWarning, match="the answer means nothing") as told:
        stack, _ = cube.parity_stack(grd=backscatter, insar=coherence, reference=elsewhere)
    assert not stack.any()
    for feature, warning in zip(("grd", "insar"), told, strict=True):
        assert f"none of the 15 files of {feature} (" in str(warning.message)
        assert f"has a value on the grid of {elsewhere}" in str(warning.message)


def test_parity_of_the_shifted_example(shared: Path) -> None:
    folder = shared / "parity" / "apply_shifted"
    backscatter, coherence = (sorted(folder.glob(f"{name}_*.tif")) for name in ("grd", "insar"))
    stack, profile = cube.parity_stack(grd=backscatter, insar=coherence)
    with rasterio.open(folder / "expected_probs.tif") as dataset:
        assert (dataset.height, dataset.width) == (profile["height"], profile["width"]) == stack.shape[1:3]
        assert dataset.transform == profile["transform"]
        assert dataset.crs == profile["crs"]
    assert np.isfinite(stack).all()
    assert stack.max() < 1.1


def test_coherence_in_the_place_of_backscatter_is_refused(tmp_path: Path) -> None:
    coherence = np.random.default_rng(0).uniform(0, 1, (30, 40))
    coherence[0, 0] = 0  # as in real products
    paths = [write(tmp_path / f"{k}.tif", coherence) for k in range(15)]
    with pytest.raises(UnitsError, match=r"0\.tif \(grd\) has values 0 to .*linear power or coherence, not dB"):
        cube.open_rasters(grd=paths)
