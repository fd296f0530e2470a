"""Real Sentinel-1 data through the whole chain; skipped where the data is not beside the checkout."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio

import icemapper_xr as ix
from icemapper_xr import catalog, cli
from icemapper_xr.errors import CubeError
from icemapper_xr.testing import FakeSegmenter
from tests import scenes
from tests.support import raise_if_dask_computes

BURST = "T137-292320-IW2"


@pytest.fixture(scope="module")
def opera(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Index the real OPERA RTC-S1 folder; the catalogue lies in a folder of its own, for the data is read-only."""
    folder = tmp_path_factory.mktemp("opera")
    for path in (shared / "real" / "opera_rtc").glob("*.tif"):
        (folder / path.name).symlink_to(path)
    catalog.build(folder)
    return folder


def files(folder: Path, polarisation: str = "VV") -> list[Path]:
    return sorted(folder.glob(f"*{BURST}*_{polarisation}.tif"), key=lambda path: path.name.split("_")[4])


def dates(folder: Path) -> list[str]:
    """Return 15 dates of the burst."""
    days = [path.name.split("_")[4] for path in files(folder)][-15:]
    return [f"{day[:4]}-{day[4:6]}-{day[6:8]}" for day in days]


def area(folder: Path) -> dict:
    with rasterio.open(files(folder)[0]) as file:
        return {"bounds": tuple(file.bounds), "crs": str(file.crs)}


@pytest.mark.parametrize("engine", ["stackstac", "odc"])
def test_the_cube_equals_the_files_pixel_by_pixel(opera: Path, engine: str) -> None:
    with raise_if_dask_computes(), pytest.warns(UserWarning, match="melt season"):
        ds = ix.open_cube(
            catalog=opera, times=dates(opera), resolution=30, margin=10, polarisation="VV", engine=engine, **area(opera)
        )
    loaded = ds.rtc.compute()
    assert ds.attrs["relative_orbit"] == 137
    for k, day in enumerate(dates(opera)):
        path = next(path for path in files(opera) if day.replace("-", "") in path.name.split("_")[4])
        with rasterio.open(path) as file:
            power, left, top = file.read(1), file.bounds.left, file.bounds.top
        expected = np.full_like(power, np.nan)
        expected[power > 0] = 10 * np.log10(power[power > 0])
        expected[power <= 0] = -35
        rows = np.abs(ds.y.values - (top - 15)).argmin()
        columns = np.abs(ds.x.values - (left + 15)).argmin()
        found = loaded[k, rows : rows + power.shape[0], columns : columns + power.shape[1]]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_year_with_gaps_is_refused_without_leave_and_counted_with_it(opera: Path) -> None:
    options = {"catalog": opera, "year": 2023, "resolution": 30, "margin": 44, "polarisation": "VV", **area(opera)}
    with pytest.raises(CubeError, match="min_steps"):
        ix.open_cube(**options)
    with pytest.warns(UserWarning, match="melt season"), pytest.warns(UserWarning, match="missing"):
        ds = ix.open_cube(min_steps=5, **options)
    valid = int((~np.isnat(ds.rtc_time)).sum())
    assert 5 <= valid < 11
    result = ix.predict(ds, weights=FakeSegmenter(window=128), resample="bilinear")
    assert int(result.n_obs.max()) == valid


@pytest.mark.filterwarnings("default::UserWarning")
def test_map_runs_on_named_dates(opera: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = scenes.write_weights(tmp_path / "tiny.h5")
    where = area(opera)
    command = [
        *("map", "--catalog", str(opera), "--bounds", *map(str, where["bounds"]), "--crs", where["crs"]),
        *("--times", *dates(opera), "--features", "rtc", "--resolution", "30", "--resample", "bilinear"),
        *("--polarisation", "VV", "--weights", str(weights), "--out", str(tmp_path / "out")),
    ]
    cli.main(command)
    captured = capsys.readouterr()
    assert "137" in captured.out
    assert "warning: 0 valid steps in the melt season" in captured.err
    stored = ix.open_store(tmp_path / "out" / "glaciers.zarr")
    assert dict(stored.sizes) == {"year": 1, "y": 300, "x": 300}
    assert stored.rio.crs.to_epsg() == 32611
    assert np.isfinite(stored.probability).all()
    assert "geometry" in gpd.read_file(tmp_path / "out" / "outlines.gpkg")


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_map_of_a_city_without_snow_says_that_the_weights_do_not_know_it(
    opera: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with rasterio.open(next(opera.glob("*T137-292319-IW2*_VV.tif"))) as file:
        command = [
            *("map", "--catalog", str(opera), "--bounds", *map(str, file.bounds), "--crs", str(file.crs)),
            *("--times", *dates(opera), "--features", "rtc", "--resolution", "10", "--resampling", "bilinear"),
            *("--polarisation", "VV", "--weights", "tweightedpool_rtc_simulated", "--out", str(tmp_path / "out")),
        ]
    cli.main(command)
    told = capsys.readouterr().out
    assert "of the observed area is unlike the weights' training data" in told
    assert "these weights are not for this place" in told
    stored = ix.open_store(tmp_path / "out" / "glaciers.zarr").isel(year=0)
    assert float((stored.applicability < 0.01).mean()) > 0.3
    assert float((stored.probability >= 0.5).mean()) <= 0.002


@pytest.mark.slow
@pytest.mark.parametrize("case", ["apply", "apply_shifted"])
@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_apply_equals_the_original_program(shared: Path, tmp_path: Path, case: str, engine: str) -> None:
    folder = shared / "parity" / case
    out = ix.apply(
        tmp_path / "out.tif",
        grd=sorted(folder.glob("grd_*.tif")),
        insar=sorted(folder.glob("insar_*.tif")),
        weights=shared / "parity" / "apply" / "ICEmapper_tweightedpool_grdinsar.h5",
        engine=engine,
    )
    with rasterio.open(out) as mine, rasterio.open(folder / "expected_probs.tif") as theirs:
        assert (mine.crs, mine.transform, mine.shape) == (theirs.crs, theirs.transform, theirs.shape)
        difference = np.abs(mine.read() - theirs.read())
    assert difference.max() <= 1e-4
    assert difference.mean() <= 1e-5
