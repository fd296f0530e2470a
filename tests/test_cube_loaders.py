"""The contract of the loaders: both engines, against rasterio's own reading."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pyproj
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from icemapper_xr import conventions, cube
from icemapper_xr._types import Bounds, Grid
from icemapper_xr.cube import loaders, read
from icemapper_xr.cube import remote as patience
from icemapper_xr.errors import CubeError, OptionError, UnitsError
from tests.cube_data import UTM33, observe, opera, utc, write
from tests.support import raise_if_dask_computes

ENGINES = ("stackstac", "odc")
LEFT, TOP = 500_000.0, 8_700_000.0


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> loaders.Loader:
    return loaders.loader(request.param)


def grid_of(left: float, bottom: float, right: float, top: float, size: float = 10.0, epsg: int = UTM33) -> Grid:
    return Grid(epsg, pyproj.CRS.from_epsg(epsg).to_wkt(), size, Bounds(left, bottom, right, top))


def power(seed: int = 0, shape: tuple[int, int] = (40, 50)) -> Any:
    return np.random.default_rng(seed).gamma(4, 0.03, shape).astype(np.float32)


def values(engine: loaders.Loader, slices: Any, grid: Grid, **options: Any) -> Any:
    with raise_if_dask_computes():
        array = engine.load(slices, grid, **options)
    assert array.dims == (loaders.SLICE, "y", "x")
    assert array.dtype == np.float32
    assert array.chunks is not None
    assert len(array.chunks[0]) == 1
    y, x = grid.coords()
    np.testing.assert_array_equal(array.y, y)
    np.testing.assert_array_equal(array.x, x)
    with dask.config.set(scheduler="synchronous"):
        return array.values


def test_values_equal_the_file_on_its_own_grid(engine: loaders.Loader, tmp_path: Path) -> None:
    files = [power(k) for k in range(3)]
    slices = [[observe(write(tmp_path / f"{k}.tif", file), utc(2023, 1, 1 + k))] for k, file in enumerate(files)]
    grid = grid_of(LEFT, TOP - 400, LEFT + 500, TOP)
    np.testing.assert_array_equal(values(engine, slices, grid), np.stack(files))


@pytest.mark.parametrize("chunk", [7, 16, 1152])
def test_the_grid_may_reach_beyond_the_file_or_lie_inside_it(
    engine: loaders.Loader, tmp_path: Path, chunk: int
) -> None:
    file = power()
    slices = [[observe(write(tmp_path / "a.tif", file), utc(2023, 1, 1))]]
    around = grid_of(LEFT - 60, TOP - 450, LEFT + 530, TOP + 70)
    expected = np.pad(file, ((7, 5), (6, 3)), constant_values=np.nan)
    np.testing.assert_array_equal(values(engine, slices, around, chunk=chunk)[0], expected)
    inside = grid_of(LEFT + 30, TOP - 200, LEFT + 290, TOP - 50)
    np.testing.assert_array_equal(values(engine, slices, inside, chunk=chunk)[0], file[5:20, 3:29])


def test_chunk_edges_are_counted_from_the_origin_of_the_crs(engine: loaders.Loader, tmp_path: Path) -> None:
    slices = [[observe(write(tmp_path / "a.tif", power()), utc(2023, 1, 1))]]
    grid = grid_of(LEFT - 60, TOP - 450, LEFT + 530, TOP + 70)
    array = engine.load(slices, grid, chunk=16)
    assert array.chunks is not None
    for first, chunks in zip(grid.index, array.chunks[1:], strict=True):
        assert all((first + edge) % 16 == 0 for edge in np.cumsum(chunks)[:-1])


def test_a_slice_without_frames_or_beside_the_grid_is_blank(engine: loaders.Loader, tmp_path: Path) -> None:
    here = observe(write(tmp_path / "a.tif", power()), utc(2023, 1, 1))
    away = observe(write(tmp_path / "b.tif", power(), left=LEFT + 90_000), utc(2023, 1, 2))
    grid = grid_of(LEFT, TOP - 400, LEFT + 500, TOP)
    found = values(engine, [[], [here], [away], []], grid)
    assert np.isnan(found[[0, 2, 3]]).all()
    np.testing.assert_array_equal(found[1], power())
    assert np.isnan(values(engine, [[], []], grid)).all()


def test_frames_are_mosaicked_first_valid_wins(engine: loaders.Loader, tmp_path: Path) -> None:
    first, second = power(1), power(2)
    first[:, 25:] = np.nan
    slices = [
        [
            observe(write(tmp_path / "b.tif", first, nodata=np.nan), utc(2023, 1, 1, 6, 0)),
            observe(write(tmp_path / "a.tif", second), utc(2023, 1, 1, 6, 1)),
        ]
    ]
    grid = grid_of(LEFT, TOP - 400, LEFT + 500, TOP)
    expected = np.where(np.isnan(first), second, first)
    np.testing.assert_array_equal(values(engine, slices, grid, chunk=16)[0], expected)


def test_nodata_that_only_the_catalogue_knows_is_masked(engine: loaders.Loader, tmp_path: Path) -> None:
    file = power()
    file[3:5, 4:9] = -32768
    path = write(tmp_path / "a.tif", file)
    grid = grid_of(LEFT, TOP - 400, LEFT + 500, TOP)
    found = values(engine, [[observe(path, utc(2023, 1, 1), nodata=-32768)]], grid)[0]
    np.testing.assert_array_equal(np.isnan(found), file == -32768)


def test_nodata_of_the_file_and_infinity_are_gaps(engine: loaders.Loader, tmp_path: Path) -> None:
    file = power()
    file[3, 4], file[7, 7], file[9, 9] = -9999, np.nan, np.inf
    path = write(tmp_path / "a.tif", file, nodata=-9999)
    grid = grid_of(LEFT, TOP - 400, LEFT + 500, TOP)
    found = values(engine, [[observe(path, utc(2023, 1, 1))]], grid)[0]
    assert np.isnan(found).sum() == 3
    assert np.isnan(found[[3, 7, 9], [4, 7, 9]]).all()


def test_zeros_at_the_border_are_gaps_and_lone_zeros_are_dark(engine: loaders.Loader, tmp_path: Path) -> None:
    file = power()
    file[:6] = 0  # the border
    file[20, 20:22] = 0  # noise subtraction
    file[30, 30] = -0.001
    path = write(tmp_path / "a.tif", file)
    grid = grid_of(LEFT - 50, TOP - 400, LEFT + 500, TOP)
    whole = values(engine, [[observe(path, utc(2023, 1, 1))]], grid)[0][:, 5:]
    assert np.isnan(whole[:6]).all()
    assert np.isfinite(whole[6:]).all()
    np.testing.assert_array_equal(whole[20, 20:22], 0)
    assert whole[30, 30] == np.float32(-0.001)
    np.testing.assert_array_equal(values(engine, [[observe(path, utc(2023, 1, 1))]], grid, chunk=11)[0][:, 5:], whole)


@pytest.mark.parametrize("nodata", [None, np.nan])
def test_minus_infinity_in_db_is_border_where_zeros_are(
    engine: loaders.Loader, tmp_path: Path, nodata: float | None
) -> None:
    linear = power()
    linear[:6], linear[30, 30] = 0, 0
    with np.errstate(divide="ignore"):
        path = write(tmp_path / "a.tif", 10 * np.log10(linear), nodata=nodata)
    grid = grid_of(LEFT, TOP - 400, LEFT + 500, TOP)
    found = values(engine, [[observe(path, utc(2023, 1, 1), scale="dB")]], grid, chunk=11)[0]
    assert np.isnan(found[:6]).all()
    np.testing.assert_allclose(found[6:], linear[6:], rtol=2e-6)
    assert read.decibel(found)[30, 30] == conventions.NOISE_FLOOR_DB


def test_zeros_of_a_file_with_nan_nodata_are_dark(engine: loaders.Loader, tmp_path: Path) -> None:
    file = power()
    file[:12, :12] = 0  # calm sea after noise subtraction
    file[:, 45:] = np.nan
    path = write(tmp_path / "a.tif", file, nodata=np.nan)
    found = values(engine, [[observe(path, utc(2023, 1, 1))]], grid_of(LEFT, TOP - 400, LEFT + 500, TOP))[0]
    np.testing.assert_array_equal(found, file)


@pytest.mark.parametrize("scale", ["amplitude", "dB"])
def test_scales_become_linear_power(engine: loaders.Loader, tmp_path: Path, scale: str) -> None:
    linear = power()
    file = np.sqrt(linear) if scale == "amplitude" else 10 * np.log10(linear)
    path = write(tmp_path / "a.tif", file)
    found = values(engine, [[observe(path, utc(2023, 1, 1), scale=scale)]], grid_of(LEFT, TOP - 400, LEFT + 500, TOP))
    np.testing.assert_allclose(found[0], linear, rtol=2e-6)


@pytest.mark.parametrize("nodata", [None, np.nan])
def test_a_lone_zero_of_coherence_is_a_value(engine: loaders.Loader, tmp_path: Path, nodata: float | None) -> None:
    """The estimate of no coherence is not 0, but 0.12 of 60 looks: squares of zeros are filled in."""
    file = power(4)
    file[3, 4] = file[20:22, 7] = 0
    file[:, 44:] = 0
    observation = observe(
        write(tmp_path / "a.tif", file, nodata=nodata),
        utc(2023, 1, 1),
        feature="insar",
        quantity="coherence",
        scale="1",
    )
    found = values(engine, [[observation]], grid_of(LEFT, TOP - 400, LEFT + 500, TOP), chunk=16)[0]
    border = np.zeros((40, 50), bool)
    border[:, 44:] = nodata is None
    np.testing.assert_array_equal(found, np.where(border, np.nan, file))


def test_zeros_that_fill_the_border_of_db_do_not_hide_the_next_frame(engine: loaders.Loader, tmp_path: Path) -> None:
    first, second = 10 * np.log10(power(1)), 10 * np.log10(power(2))
    first[:, :25] = 0
    first[20, 40] = 0
    slices = [
        [
            observe(write(tmp_path / "a.tif", first), utc(2023, 1, 1, 6, 0), scale="dB"),
            observe(write(tmp_path / "b.tif", second), utc(2023, 1, 1, 6, 1), scale="dB"),
        ]
    ]
    found = values(engine, slices, grid_of(LEFT, TOP - 400, LEFT + 500, TOP), chunk=16)[0]
    expected = np.where(np.arange(50) < 25, second, first)
    np.testing.assert_allclose(found, 10 ** (expected / 10), rtol=1e-5)


@pytest.mark.parametrize(
    ("scale", "change", "told"),
    [
        ("power", lambda file: np.where(np.arange(300) < 2, -9999, file), r"-9999.*declare .*-a_nodata -9999"),
        ("dB", lambda file: np.where(np.arange(300) < 150, -9999, 10 * np.log10(file)), r"declare .*-a_nodata -9999"),
        ("dB", lambda file: np.where(np.arange(300) < 2, -9999, 10 * np.log10(file)), r"declare .*-a_nodata -9999"),
        ("amplitude", lambda file: np.where(np.arange(300) < 2, -32768, file), r"declare .*-a_nodata -32768"),
        ("power", lambda file: 10 * np.log10(file), r"many below -1: it looks like dB, not power.*--scale dB"),
        ("dB", lambda file: file, r"nearly all above 0 dB: it looks like linear power.*--scale power"),
    ],
)
def test_numbers_that_are_not_of_their_scale_are_refused_by_name(
    engine: loaders.Loader, tmp_path: Path, scale: str, change: Callable[[Any], Any], told: str
) -> None:
    path = write(tmp_path / "mixed.tif", change(power(5, (300, 300))))
    one = observe(path, utc(2023, 1, 1), scale=scale, item_id="item-7")
    with pytest.raises(UnitsError, match=rf"mixed\.tif \(item item-7\) has values .*{told}"):
        values(engine, [[one]], grid_of(LEFT, TOP - 3000, LEFT + 3000, TOP))


def test_single_values_that_no_scale_has_are_left(engine: loaders.Loader, tmp_path: Path) -> None:
    """Flattening divides what noise subtraction leaves by small areas."""
    file = power(5)
    file[3, 3], file[4, 4] = -7, 300
    one = observe(write(tmp_path / "a.tif", file), utc(2023, 1, 1))
    np.testing.assert_array_equal(values(engine, [[one]], grid_of(LEFT, TOP - 400, LEFT + 500, TOP))[0], file)


@pytest.mark.parametrize(("wrong", "nodata"), [(60.0, None), (-9999.0, None), (60.0, 255.0)])
def test_coherence_that_is_not_coded_from_0_to_1_is_refused_by_name(
    engine: loaders.Loader, tmp_path: Path, wrong: float, nodata: float | None
) -> None:
    coded = np.full((40, 50), 0.5)
    coded[20, 20] = wrong
    path = write(tmp_path / "percent.tif", coded, nodata=nodata)
    one = observe(path, utc(2023, 1, 1), feature="insar", quantity="coherence", scale="1", item_id="item-7")
    with pytest.raises(UnitsError, match=r"percent\.tif \(item item-7\) has values .*divide percent by 100"):
        values(engine, [[one]], grid_of(LEFT, TOP - 400, LEFT + 500, TOP))


def test_coherence_may_overshoot_and_have_nodata(engine: loaders.Loader, tmp_path: Path) -> None:
    coded = np.full((40, 50), 1.004)
    coded[0, :3] = -9999, np.inf, np.nan
    path = write(tmp_path / "a.tif", coded, nodata=-9999)
    one = observe(path, utc(2023, 1, 1), feature="insar", quantity="coherence", scale="1")
    found = values(engine, [[one]], grid_of(LEFT, TOP - 400, LEFT + 500, TOP))[0]
    assert np.isnan(found[0, :3]).all()
    assert np.isnan(found).sum() == 3


@pytest.mark.parametrize("resampling", [None, "bilinear", "nearest"])
@pytest.mark.parametrize("chunk", [9, 1152])
def test_a_shifted_file_is_resampled_in_power_whatever_the_chunks(
    engine: loaders.Loader, tmp_path: Path, resampling: Any, chunk: int
) -> None:
    rows, columns = np.mgrid[:40, :50]
    ramp = (0.1 + 0.002 * columns + 0.001 * rows).astype(np.float32)
    path = write(tmp_path / "a.tif", 10 * np.log10(ramp), left=LEFT + 3, top=TOP - 4)
    observation = observe(path, utc(2023, 1, 1), scale="dB")
    grid = grid_of(LEFT + 50, TOP - 350, LEFT + 450, TOP - 50)
    found = values(engine, [[observation]], grid, chunk=chunk, resampling=resampling)[0]
    shift = (0, 0) if resampling == "nearest" else (-0.3, -0.4)
    expected = 0.1 + 0.002 * (columns + shift[0]) + 0.001 * (rows + shift[1])
    np.testing.assert_allclose(found, expected[5:35, 5:45], rtol=3e-5)


def test_another_projection_is_resampled_whatever_the_chunks(engine: loaders.Loader, tmp_path: Path) -> None:
    noise = power(3, (120, 140))
    path = write(tmp_path / "a.tif", noise, left=LEFT, top=TOP)
    to_32 = pyproj.Transformer.from_crs(UTM33, 32632, always_xy=True)
    x, y = (round(v / 10) * 10 for v in to_32.transform(LEFT + 700, TOP - 600))
    grid = grid_of(x - 900, y - 800, x + 900, y + 800, epsg=32632)
    observation = [[observe(path, utc(2023, 1, 1))]]
    whole = values(engine, observation, grid)[0]
    np.testing.assert_allclose(values(engine, observation, grid, chunk=23)[0], whole, atol=2e-5)
    columns, rows = np.meshgrid(*reversed(grid.coords()))
    u, v = pyproj.Transformer.from_crs(32632, UTM33, always_xy=True).transform(columns, rows)
    position = np.stack([(TOP - v) / 10 - 0.5, (u - LEFT) / 10 - 0.5])
    exact = ndimage.map_coordinates(noise.astype(float), position, order=1, cval=np.nan)
    inner = np.isfinite(exact)
    assert inner.mean() > 0.4
    np.testing.assert_allclose(whole[inner], exact[inner], atol=2e-5)


def test_an_average_to_a_coarser_grid(engine: loaders.Loader, tmp_path: Path) -> None:
    file = power()
    path = write(tmp_path / "a.tif", file)
    grid = grid_of(LEFT, TOP - 400, LEFT + 500, TOP, size=50)
    observation = observe(path, utc(2023, 1, 1))
    expected = file.reshape(8, 5, 10, 5).mean(axis=(1, 3))
    found = values(engine, [[observation]], grid, resampling="average")[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    with pytest.raises(CubeError, match=r"pixels of 10 m, the cube has 50 m; name a resampling \(--resampling\)"):
        values(engine, [[observation]], grid)


def test_the_memory_of_a_chunk_does_not_grow_with_the_area(engine: loaders.Loader, tmp_path: Path) -> None:
    side, peaks = 100, []
    for tiles in (2, 16):
        names = [tmp_path / f"{tiles}_{t}.tif" for t in range(tiles)]
        places = [write(name, power(t, (side, side)), left=LEFT + 1000 * t) for t, name in enumerate(names)]
        slices = [[observe(place, utc(2023, 1, 1 + k)) for place in places] for k in range(8)]
        grid = grid_of(LEFT, TOP - 1000, LEFT + 1000 * tiles, TOP)
        chunk = engine.load(slices, grid, chunk=side).data.blocks[0, 0, 1]
        chunk.compute(scheduler="synchronous")  # what is imported and opened first
        tracemalloc.start()
        chunk.compute(scheduler="synchronous")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_signing_happens_at_read_time(engine: loaders.Loader, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", power())
    observation = observe(path, utc(2023, 1, 1), item_id="a")
    unsigned = [[type(observation)(**{**vars(observation), "href": f"{path}?unsigned"})]]
    grid = grid_of(LEFT, TOP - 400, LEFT + 500, TOP)
    calls: list[str] = []

    def sign(href: str) -> str:
        calls.append(href)
        return href.removesuffix("?unsigned")

    array = engine.load(unsigned, grid, sign=sign)
    assert calls == []
    np.testing.assert_array_equal(array.compute(scheduler="synchronous").values[0], power())
    assert calls == [f"{path}?unsigned"]


def test_the_graph_can_be_sent_to_another_process(engine: loaders.Loader, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", power())
    array = engine.load([[observe(path, utc(2023, 1, 1))]], grid_of(LEFT, TOP - 400, LEFT + 500, TOP), sign=_as_it_is)
    again = pickle.loads(pickle.dumps(array))
    np.testing.assert_array_equal(again.compute(scheduler="synchronous").values[0], power())


def _as_it_is(href: str) -> str:
    return href


def test_equal_settings_give_equal_keys_and_others_do_not(engine: loaders.Loader, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", power())
    slices = [[observe(path, utc(2023, 1, 1))]]
    grid = grid_of(LEFT, TOP - 400, LEFT + 500, TOP)
    one, same = (engine.load(slices, grid, sign=_as_it_is) for _ in range(2))
    assert one.data.name == same.data.name
    wider = grid_of(LEFT - 100, TOP - 400, LEFT + 500, TOP)
    nearest = engine.load(slices, grid, resampling="nearest", sign=_as_it_is)
    names = {one.data.name, engine.load(slices, wider, sign=_as_it_is).data.name, nearest.data.name}
    assert len(names) == 3
    both = dask.compute(one, engine.load(slices, wider, sign=_as_it_is), scheduler="synchronous")
    np.testing.assert_array_equal(both[1].values[0, :, 10:], both[0].values[0])


def test_a_file_url_is_a_local_file(engine: loaders.Loader, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", power())
    here = observe(path, utc(2023, 1, 1))
    url = type(here)(**{**vars(here), "href": path.as_uri()})
    grid = grid_of(LEFT, TOP - 400, LEFT + 500, TOP)
    np.testing.assert_array_equal(values(engine, [[url]], grid)[0], power())
    path.unlink()
    with pytest.raises(CubeError, match="cannot be read"):
        engine.load([[url]], grid).compute(scheduler="synchronous")


@pytest.mark.parametrize("damage", ["missing", "truncated", "text"])
def test_a_bad_local_file_is_named(engine: loaders.Loader, tmp_path: Path, damage: str) -> None:
    path = write(tmp_path / "a.tif", power())
    observation = observe(path, utc(2023, 1, 1), item_id="the-item")
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    else:
        path.write_text("not a raster")
    array = engine.load([[observation]], grid_of(LEFT, TOP - 400, LEFT + 500, TOP))
    with pytest.raises(CubeError, match=r"a\.tif \(item the-item\) cannot be read") as caught:
        array.compute(scheduler="synchronous")
    assert "\n" not in str(caught.value)


def test_a_remote_raster_that_fails_is_retried_and_recorded_as_missing(
    engine: loaders.Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.0)
    path = write(tmp_path / "a.tif", power())
    observation = observe(path, utc(2023, 1, 1), item_id="gone")
    remote = type(observation)(**{**vars(observation), "href": f"/vsizip/{tmp_path}/none.zip/a.tif"})
    found = engine.load([[remote]], grid_of(LEFT, TOP - 400, LEFT + 500, TOP)).compute(scheduler="synchronous")
    assert np.isnan(found.values).all()
    assert f"attempt {patience.ATTEMPTS - 1} of {patience.ATTEMPTS}: item gone" in caplog.text
    assert "recorded as missing" in caplog.text


def test_raw_data_with_control_points_is_refused(engine: loaders.Loader, tmp_path: Path) -> None:
    from rasterio.control import GroundControlPoint

    path = tmp_path / "grd.tif"
    points = [GroundControlPoint(r, c, 15 + c * 1e-4, 78 - r * 1e-4) for r in (0, 40) for c in (0, 50)]
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "height": 40, "width": 50}
    with rasterio.open(path, "w", gcps=points, crs="EPSG:4326", **profile) as dataset:
        dataset.write(power(), 1)
    here = observe(write(tmp_path / "a.tif", power()), utc(2023, 1, 1))
    observation = type(here)(**{**vars(here), "href": str(path), "item_id": "raw"})
    array = engine.load([[observation]], grid_of(LEFT, TOP - 400, LEFT + 500, TOP))
    with pytest.raises(CubeError, match=r"\(item raw\) has ground control points"):
        array.compute(scheduler="synchronous")


def test_a_crs_without_a_code(tmp_path: Path) -> None:
    crs = pyproj.CRS.from_proj4("+proj=laea +lat_0=78.37 +lon_0=15 +ellps=WGS84 +units=m")
    grid = Grid(None, crs.to_wkt(), 10.0, Bounds(-300, -300, 300, 300))
    slices = [[observe(write(tmp_path / "a.tif", power(), left=LEFT - 200), utc(2023, 1, 1))]]
    with pytest.raises(OptionError, match="engine='odc'"):
        loaders.loader("stackstac").load(slices, grid)
    found = loaders.loader("odc").load(slices, grid).compute(scheduler="synchronous")
    assert np.isfinite(found.values).any()


def test_engines_are_named() -> None:
    with pytest.raises(OptionError, match="engine 'xee' is unknown; use one of stackstac, odc"):
        loaders.loader("xee")
    for chunk in (0, -5, 1.5):
        with pytest.raises(OptionError, match="chunk"):
            loaders.anchored_chunks(grid_of(0, 0, 100, 100), chunk)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(first=st.integers(-3000, 3000), length=st.integers(1, 3000), chunk=st.integers(1, 1200))
def test_anchored_chunks_add_up(first: int, length: int, chunk: int) -> None:
    grid = grid_of(first * 10.0, -(first + length) * 10.0, (first + length) * 10.0, -first * 10.0)
    for chunks in loaders.anchored_chunks(grid, chunk):
        assert sum(chunks) == length
        assert max(chunks) <= chunk
        assert min(chunks) > 0
        assert all((first + edge) % chunk == 0 for edge in np.cumsum(chunks)[:-1])


def test_the_real_opera_bursts_equal_rasterio_pixel_by_pixel(engine: loaders.Loader, shared: Path) -> None:
    observations = opera(shared / "real" / "opera_rtc")[:15]
    with rasterio.open(observations[0].href) as dataset:
        bounds = dataset.bounds
    area = cube.area_grid(bounds=bounds, crs=32611, resolution=30, margin=12)
    found = values(engine, [[one] for one in observations], area.grid)
    for one, layer in zip(observations, found, strict=True):
        with rasterio.open(one.href) as dataset:
            np.testing.assert_array_equal(layer, np.pad(dataset.read(1), 12, constant_values=np.nan))
