"""Scenes over the user's DEM and outlines, and the command that writes an archive."""

from __future__ import annotations

import os
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

import icemapper_xr as ix
from icemapper_xr import cli, errors, simulate
from icemapper_xr.simulate import write
from tests.support import files_of_at_most

LEFT, TOP = 500_000.0, 8_700_000.0


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A valley with a disc of ice: a DEM of 20 m with a void, and the outline in degrees."""
    folder = tmp_path_factory.mktemp("ground")
    y, x = np.mgrid[:60, :70].astype(np.float32)
    heights = 200 + 5 * np.abs(x - 35) + 2 * y
    heights[:3, :3] = -9999
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": 60, "width": 70, "nodata": -9999}
    with rasterio.open(
        folder / "dem.tif", "w", crs="EPSG:32633", transform=from_origin(LEFT, TOP, 20, 20), **profile
    ) as file:
        file.write(heights, 1)
    disc = shapely.Point(LEFT + 700, TOP - 600).buffer(300)
    geopandas.GeoDataFrame(geometry=[disc], crs=32633).to_crs(4326).to_file(folder / "ice.gpkg")
    return folder / "dem.tif", folder / "ice.gpkg"


def test_the_ice_is_where_the_outlines_say(ground: tuple[Path, Path]) -> None:
    scene = simulate.scene_of(*ground, settings=simulate.SceneSettings(seed=4, years=(2016, 2020, 2024), retreat=20))
    assert scene.settings.shape == (120, 140)
    assert (scene.settings.left, scene.settings.top, scene.settings.epsg) == (LEFT, TOP, 32633)
    first = scene.truth(2016)
    y, x = np.mgrid[:120, :140]
    disc = np.hypot(x - 69.5, y - 59.5) < 30
    assert np.count_nonzero(first & disc) / np.count_nonzero(first | disc) > 0.97
    areas = [scene.truth(year).sum() for year in (2016, 2020, 2024)]
    assert areas[0] > areas[1] > areas[2]
    assert scene.dem[60, 70] == pytest.approx(200 + 2 * 29.75, abs=6)
    assert scene.dem[0, 0] == 0  # the void is sea level
    assert np.isfinite(scene.arrays(2016)).all()


def test_no_front_calves_into_dry_ground(tmp_path: Path) -> None:
    """Under a plain at 20 to 40 m the bed lies below the sea: what the ice left became melange."""
    y, x = np.mgrid[:80, :80].astype(np.float32)
    disc = shapely.Point(LEFT + 800, TOP - 800).buffer(500)
    geopandas.GeoDataFrame(geometry=[disc], crs=32633).to_file(tmp_path / "ice.gpkg")
    for name, sea in (("plain", False), ("coast", True)):
        heights = 20 + 0.25 * y + (0 if not sea else np.where(x < 30, -40, 0))
        profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": 80, "width": 80, "crs": "EPSG:32633"}
        with rasterio.open(tmp_path / f"{name}.tif", "w", transform=from_origin(LEFT, TOP, 20, 20), **profile) as file:
            file.write(heights.astype(np.float32), 1)
        settings = simulate.SceneSettings(seed=4, years=(2016, 2024), retreat=40)
        scene = simulate.scene_of(tmp_path / f"{name}.tif", tmp_path / "ice.gpkg", settings=settings)
        lost = scene.truth(2016) & ~scene.truth(2024)
        assert lost.sum() > 500
        melange = (scene.classes(2024)[lost] == simulate.SurfaceClass.MELANGE).mean()
        assert melange > 0.2 if sea else melange == 0


def test_a_front_in_a_sea_that_lies_at_zero_is_crevassed(tmp_path: Path) -> None:
    """As the sea of most DEMs does, and that of one with voids."""
    y, x = np.mgrid[:100, :100].astype(np.float32)
    ice = shapely.box(LEFT + 980, TOP - 1600, LEFT + 2000, TOP - 400)
    geopandas.GeoDataFrame(geometry=[ice], crs=32633).to_file(tmp_path / "ice.gpkg")
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": 100, "width": 100, "crs": "EPSG:32633"}
    shares = {}
    for sea in (0.0, -2.0):
        heights = np.where(x < 50, sea, 5 + 0.6 * (x - 50) + 0.1 * y).astype(np.float32)
        with rasterio.open(tmp_path / "dem.tif", "w", transform=from_origin(LEFT, TOP, 20, 20), **profile) as file:
            file.write(heights, 1)
        settings = simulate.SceneSettings(seed=1, years=(2023, 2024))
        scene = simulate.scene_of(tmp_path / "dem.tif", tmp_path / "ice.gpkg", settings=settings)
        behind = scene.classes(2023)[90:150, 101:106]
        shares[sea] = (behind == simulate.SurfaceClass.CREVASSED).mean()
    assert shares[0.0] == pytest.approx(shares[-2.0], abs=0.1)
    assert shares[0.0] > 0.5


def test_a_part_of_the_dem_can_be_cut(ground: tuple[Path, Path]) -> None:
    bounds = (LEFT + 205, TOP - 905, LEFT + 1005, TOP - 95)
    scene = simulate.scene_of(*ground, bounds=bounds, settings=simulate.SceneSettings(seed=4, years=(2023,)))
    grid = scene.settings.grid.bounds
    assert tuple(grid) == (LEFT + 210, TOP - 900, LEFT + 1000, TOP - 100)


def test_what_cannot_be_used_is_refused(ground: tuple[Path, Path], tmp_path: Path) -> None:
    dem, ice = ground
    with pytest.raises(errors.OptionError, match="no glaciers"):
        simulate.scene_of(dem, ice, settings=simulate.SceneSettings(world="desert"))
    with pytest.raises(errors.OptionError, match="cannot read the DEM"):
        simulate.scene_of(tmp_path / "none.tif", ice)
    with pytest.raises(errors.OptionError, match="cannot read the outlines"):
        simulate.scene_of(dem, tmp_path / "none.gpkg")
    (tmp_path / "table.csv").write_text("id,area\n1,2\n")
    with pytest.raises(errors.OptionError, match=r"table\.csv is a table without shapes"):
        simulate.scene_of(dem, tmp_path / "table.csv")
    cut = tmp_path / "cut.tif"
    cut.write_bytes(dem.read_bytes()[:4000])
    with pytest.raises(errors.OptionError, match=r"cut\.tif.*(truncated|cannot read)"):
        simulate.scene_of(cut, ice)
    thread = tmp_path / "thread.gpkg"
    line = shapely.LineString([(LEFT + 300, TOP - 300), (LEFT + 900, TOP - 300)]).buffer(6)
    geopandas.GeoDataFrame(geometry=[line], crs=32633).to_file(thread)
    with pytest.raises(errors.OptionError, match="narrower than 3 pixels"):
        simulate.scene_of(dem, thread)
    with pytest.raises(errors.OptionError, match="left < right"):
        simulate.scene_of(dem, ice, bounds=(LEFT, TOP - 800, np.inf, TOP))
    with pytest.raises(errors.OptionError, match="left < right"):
        simulate.scene_of(dem, ice, bounds=(LEFT + 800, TOP - 800, LEFT, TOP))
    past = (LEFT + 200, TOP - 1000, LEFT + 2000, TOP - 200)
    with pytest.warns(UserWarning, match=r"dem\.tif has no elevation in 3\d\.\d% of the area, which is taken for sea"):
        simulate.scene_of(dem, ice, bounds=past, settings=simulate.SceneSettings(years=(2023,)))
    with pytest.raises(errors.OptionError, match=r"no elevation in 9\d% of the area"):
        simulate.scene_of(dem, ice, bounds=(LEFT - 5000, TOP - 800, LEFT + 100, TOP))
    extent = r"\(500000, 8698800, 501400, 8700000\) of EPSG:32633"
    with pytest.raises(errors.OptionError, match=rf"bounds is \(0, 0, 10, 10\), outside .*dem\.tif, which .* {extent}"):
        simulate.scene_of(dem, ice, bounds=(0, 0, 10, 10))
    with pytest.raises(errors.OptionError, match=rf"over {extent}, has 80 x 31 whole .* 32 x 32 \(320 m a side\)"):
        simulate.scene_of(dem, ice, bounds=(LEFT, TOP - 800, LEFT + 315, TOP))
    with pytest.raises(errors.OptionError, match=r"the DEM .*dem\.tif over .* has 30 x 35 whole pixels of 40 m"):
        simulate.scene_of(dem, ice, settings=simulate.SceneSettings(resolution=40.0))
    for name, shape, only in (("point", shapely.Point(LEFT, TOP), "Point"), ("empty", None, "rows without a shape")):
        geopandas.GeoDataFrame({"a": [1]}, geometry=[shape], crs=32633).to_file(tmp_path / f"{name}.gpkg")
        with pytest.raises(errors.OptionError, match=rf"{name}\.gpkg has no polygons, only {only}"):
            simulate.scene_of(dem, tmp_path / f"{name}.gpkg")
    with pytest.raises(errors.OptionError, match="lies in the area"):
        simulate.scene_of(dem, ice, bounds=(LEFT, TOP - 1200, LEFT + 360, TOP - 800))
    degrees = tmp_path / "degrees.tif"
    with rasterio.open(
        degrees,
        "w",
        driver="GTiff",
        count=1,
        dtype="float32",
        height=9,
        width=9,
        crs="EPSG:4326",
        transform=from_origin(15, 78, 0.001, 0.001),
    ) as file:
        file.write(np.ones((9, 9), np.float32), 1)
    with pytest.raises(errors.OptionError, match="reproject"):
        simulate.scene_of(degrees, ice)


def test_a_dem_that_is_not_true_to_scale_is_refused(ground: tuple[Path, Path], tmp_path: Path) -> None:
    rioxarray = pytest.importorskip("rioxarray")
    mercator = tmp_path / "mercator.tif"
    rioxarray.open_rasterio(ground[0]).rio.reproject(3857, resolution=100).rio.to_raster(mercator)
    with pytest.raises(errors.OptionError, match=r"EPSG:3857.* (4\.[89]|5)\S* times .*gdalwarp -t_srs EPSG:32633"):
        simulate.scene_of(mercator, ground[1])


def test_a_dem_in_feet_or_with_a_scale_is_one_in_metres(ground: tuple[Path, Path], tmp_path: Path) -> None:
    settings = simulate.SceneSettings(seed=4, years=(2023,), resolution=20.0)
    own = simulate.scene_of(*ground, settings=settings).dem
    with rasterio.open(ground[0]) as source:
        heights, profile = source.read(masked=True), source.profile
    for name, about in (("feet.tif", ("units", ("ft",), 0.3048)), ("tenth.tif", ("scales", (0.1,), 0.1))):
        with rasterio.open(tmp_path / name, "w", **profile) as target:
            target.write((heights / about[2]).filled(-9999).astype(np.float32))
            setattr(target, about[0], about[1])
        made = simulate.scene_of(tmp_path / name, ground[1], settings=settings).dem
        np.testing.assert_allclose(made, own, atol=0.01)


def test_outlines_of_several_years_are_refused_and_rock_is_left_out(ground: tuple[Path, Path], tmp_path: Path) -> None:
    disc = geopandas.read_file(ground[1]).to_crs(32633).geometry.item()
    rows = {"line_type": ["glac_bound", "intrnl_rock"]}
    hole = disc.buffer(-200)
    geopandas.GeoDataFrame(rows, geometry=[disc - hole, hole], crs=32633).to_file(tmp_path / "glims.gpkg")
    settings = simulate.SceneSettings(seed=4, years=(2023,))
    with pytest.warns(UserWarning, match=r"1 rows of .*glims\.gpkg are no glaciers \(line_type\) and are left out"):
        scene = simulate.scene_of(ground[0], tmp_path / "glims.gpkg", settings=settings)
    assert scene.truth(2023).sum() * 1e-4 == pytest.approx((disc.area - hole.area) / 1e6, rel=0.05)
    pair = geopandas.GeoDataFrame({"year": [1936, 2007]}, geometry=[disc, hole], crs=32633)
    pair.to_file(tmp_path / "years.gpkg")
    with pytest.raises(errors.OptionError, match=r"years\.gpkg hold the same ice in several years \(1936, 2007\)"):
        simulate.scene_of(ground[0], tmp_path / "years.gpkg", settings=settings)


def test_svalbard_from_its_own_dem_and_outlines(shared: Path) -> None:
    real = shared / "real" / "svalbard"
    with rasterio.open(real / "Longyearbyen_DEM_1995.tif") as file:
        left, bottom, right, top = file.bounds
    middle = ((left + right) / 2, (bottom + top) / 2)
    bounds = (middle[0] - 2000, middle[1] - 2000, middle[0] + 2000, middle[1] + 2000)
    scene = simulate.scene_of(
        real / "Longyearbyen_DEM_1995.tif",
        real / "svalbard_glacier.gpkg",
        bounds=bounds,
        settings=simulate.SceneSettings(seed=5, years=(2023,)),
    )
    outlines = geopandas.read_file(real / "svalbard_glacier.gpkg").to_crs(scene.settings.epsg)
    area = outlines.geometry.intersection(shapely.box(*scene.settings.grid.bounds)).area.sum()
    assert area > 1e5
    assert scene.truth(2023).sum() * 100 == pytest.approx(area, rel=0.03)
    assert 100 < scene.dem.max() < 1_100


# -- the command ------------------------------------------------------------------------------------------------------
def test_the_command_writes_an_archive_that_opens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "archive"
    cli.main(["simulate", str(out), "--size", "64", "--years", "2022:2023", "--retreat", "30", "--features", "rtc"])
    text = capsys.readouterr().out
    assert "km2 a year" in text
    outlines = geopandas.read_file(out / "truth" / "truth.gpkg")
    first, last = (outlines[outlines["year"] == year].area.sum() / 1e6 for year in (2022, 2023))
    assert f"{first:9.3f}" in text
    assert f"{last - first:+9.4f}" in text
    with rasterio.open(out / "truth" / "dem.tif") as file:
        assert file.shape == (64, 64)
    found = ix.search(str(out), features=("rtc",))
    assert len(found) == 30
    assert not list(tmp_path.glob(".*"))


def test_the_command_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    cases = {
        (str(tmp_path / "full"),): "not empty",
        (str(tmp_path / "full" / "file" / "x" / "y"),): "file/x/y cannot be made: ",
        (str(tmp_path / "a"), "--world", "moon"): "choose from polar",
        (str(tmp_path / "a"), "--dem", "dem.tif"): "outlines is missing",
        (str(tmp_path / "a"), "--bounds", "0", "0", "1", "1"): "no DEM",
        (str(tmp_path / "a"), "--size", "8"): "at least 32",
        (str(tmp_path / "a"), "--resolution", "0"): "resolution is 0.0 m; give 5 to 40",
        (str(tmp_path / "a"), "--resolution", "nan"): "resolution is nan m",
        (str(tmp_path / "a"), "--features", "rtc", "rtc"): "each once",
        (str(tmp_path / "a"), "--world", "coast", "--glacier-share", "0.5"): "has no glaciers; leave it out",
    }
    for arguments, says in cases.items():
        with pytest.raises(SystemExit) as stop:
            cli.main(["simulate", *arguments])
        assert stop.value.code == 2
        err = capsys.readouterr().err
        assert says in err
        assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "a").exists()
    assert not list(tmp_path.glob(".*"))


def test_the_folder_one_is_in_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    simulate.simulate(".", size=32, features=("rtc",))
    assert len(list((tmp_path / "here").rglob("*.tif"))) > 15
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize("room", [1000, 20_000])
def test_nothing_is_left_of_an_archive_that_finds_no_room(tmp_path: Path, room: int) -> None:
    with (
        files_of_at_most(room),
        pytest.raises(errors.StoreError, match=r"Cannot write .*out: .*; make room for it or name another folder"),
    ):
        simulate.simulate(tmp_path / "out", size=32, features=("rtc",))
    assert not list(tmp_path.iterdir())


def seeds_of(folder: Path) -> set[str]:
    """The seeds that the rasters of an archive tell."""
    found = set()
    for path in folder.glob("rtc_*.tif"):
        with rasterio.open(path) as file:
            found.add(file.tags()["ICEMAPPER_SEED"])
    return found


@pytest.mark.parametrize("killed", [True, False])
def test_two_that_write_one_folder_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool) -> None:
    out, real = tmp_path / "out", write.write_catalog

    def with_another_run(scene: simulate.Scene, folder: Path) -> Path:
        real(scene, folder)
        if scene.settings.seed == 1:  # the second run begins when the first one has written all
            if killed:
                with pytest.raises(KeyboardInterrupt):
                    simulate.simulate(out, seed=2, size=32, features=("rtc",))
            else:
                simulate.simulate(out, seed=2, size=32, features=("rtc",))
        elif killed:
            raise KeyboardInterrupt
        return folder

    monkeypatch.setattr(write, "write_catalog", with_another_run)
    if killed:
        simulate.simulate(out, seed=1, size=32, features=("rtc",))
    else:
        with pytest.raises(errors.StoreError, match="out is there already and is not empty"):
            simulate.simulate(out, seed=1, size=32, features=("rtc",))
    assert seeds_of(out) == ({"1"} if killed else {"2"})
    assert len(list(out.glob("rtc_*.tif"))) == 15
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_run_left_long_ago_goes(tmp_path: Path) -> None:
    old, young = (tmp_path / f".out.{mark * 8}.part" for mark in "ab")
    for part in (old, young):
        part.mkdir()
    os.utime(old, (0, 0))
    simulate.simulate(tmp_path / "out", size=32, features=("rtc",))
    assert sorted(path.name for path in tmp_path.iterdir()) == [young.name, "out"]
