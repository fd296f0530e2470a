from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio

import icemapper_xr
from icemapper_xr import errors, simulate
from icemapper_xr.simulate import scenes, write


@pytest.fixture(scope="module")
def scene() -> simulate.Scene:
    return simulate.scene(simulate.SceneSettings(seed=3, shape=(64, 80), years=(2022, 2023)))


@pytest.fixture(scope="module")
def folder(scene: simulate.Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write.write_catalog(scene, tmp_path_factory.mktemp("scene"))


def test_one_file_a_date_and_feature_and_nothing_half_written(folder: Path) -> None:
    assert len(list(folder.glob("rtc_S1A_IW_HH_ro014_*T*.tif"))) == 30
    assert len(list(folder.glob("insar_S1A_IW_HH_ro014_*_*.tif"))) == 30
    assert not [path for path in folder.rglob("*") if ".part" in path.name]


def test_files_hold_power_and_coherence_bit_by_bit(folder: Path, scene: simulate.Scene) -> None:
    cube = scene.cube(2023)
    for step in (0, 9):
        with rasterio.open(folder / f"{scene.item_id(2023, step, 'rtc')}.tif") as raster:
            power = raster.read(1)
            tags = raster.tags()
            assert raster.dtypes == ("float32",)
            assert np.isnan(raster.nodata)
            assert raster.crs.to_epsg() == 32633
            assert raster.transform[:6] == scene.settings.grid.transform
        np.testing.assert_array_equal(scenes.to_db(power), cube["rtc"].values[step])
        assert tags["ICEMAPPER_QUANTITY"] == "gamma0"
        assert tags["ICEMAPPER_SCALE"] == "power"
        assert tags["ICEMAPPER_SIMULATED"] == "yes"
        with rasterio.open(folder / f"{scene.item_id(2023, step, 'insar')}.tif") as raster:
            np.testing.assert_array_equal(raster.read(1), cube["insar"].values[step])
            tags = raster.tags()
        assert tags["ICEMAPPER_REFERENCE"] < tags["ICEMAPPER_ACQUIRED"] < tags["ICEMAPPER_SECONDARY"]


def test_truth_is_beside_the_catalogue(folder: Path, scene: simulate.Scene) -> None:
    with rasterio.open(folder / "truth" / "truth_2023.tif") as raster:
        np.testing.assert_array_equal(raster.read(1), scene.classes(2023))
    outlines = geopandas.read_file(folder / "truth" / "truth.gpkg")
    for year in (2022, 2023):
        area = outlines[outlines["year"] == year].area.sum()
        assert area == pytest.approx(scene.truth(year).sum() * 100)


def test_the_folder_opens_as_a_catalogue_and_gives_the_cube(folder: Path, scene: simulate.Scene) -> None:
    b = scene.settings.grid.bounds
    opened = icemapper_xr.open_cube(
        catalog=str(folder), bounds=tuple(b), crs="EPSG:32633", year=2023, features=("rtc", "insar")
    )
    wanted = scene.cube(2023)
    opened = opened.sel(y=wanted.y, x=wanted.x)
    np.testing.assert_array_equal(opened.time.values, wanted.time.values)
    np.testing.assert_allclose(opened["rtc"].values, wanted["rtc"].values, atol=1e-4)
    np.testing.assert_allclose(opened["insar"].values, wanted["insar"].values, atol=1e-6)


def test_a_file_in_the_way_is_refused(scene: simulate.Scene, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(errors.OptionError, match="is a file"):
        write.write_catalog(scene, tmp_path / "taken")


def test_the_looks_of_coherence_are_those_it_was_made_with() -> None:
    coarse = simulate.scene(simulate.SceneSettings(shape=(64, 64), resolution=40.0, seed=1, years=(2023,)))
    tags = write._tags(coarse, 2023, simulate.scenes.Step(0, "insar", np.zeros((64, 64), np.float32)))
    assert int(tags["ICEMAPPER_LOOKS"]) == round(coarse.site.window / 10) ** 2 == 25


def test_settings_that_could_not_be_kept_are_refused() -> None:
    with pytest.raises(errors.OptionError, match=r"years is \(0,\); give calendar years"):
        simulate.SceneSettings(years=(0,))
    with pytest.raises(errors.OptionError, match="looks is 4 with posting 3; a coarser product has 7 to 25"):
        simulate.SceneSettings(looks=4, posting=3)
    assert simulate.SceneSettings(looks=4).looks == 4


def test_years_and_features_can_be_chosen(scene: simulate.Scene, tmp_path: Path) -> None:
    write.write_catalog(scene, tmp_path / "some", features=("grd",), years=(2022,))
    assert len(list((tmp_path / "some").glob("grd_*.tif"))) == 15
    assert not list((tmp_path / "some").glob("rtc_*.tif"))
