from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely

from icemapper_xr import errors, vectorise
from tests.support import files_of_at_most
from tests.test_vectorise import disc, raster

# rioxarray multiplies transforms the way affine 3.1 is about to deprecate
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


@pytest.fixture(scope="module")
def found() -> gpd.GeoDataFrame:
    p = disc((200, 300), 60, 60, 25) + disc((200, 300), 150, 100, 30) - disc((200, 300), 150, 100, 9)
    return vectorise.outlines(raster(p), year=2023)


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".geojson", ".GPKG"])
def test_what_is_written_is_read(tmp_path: Path, found: gpd.GeoDataFrame, suffix: str) -> None:
    path = vectorise.write(found, tmp_path / "deep" / f"outlines{suffix}")
    again = vectorise.read(path)
    assert list(again.columns) == list(vectorise.COLUMNS)
    assert again.crs.to_epsg() == 4326
    assert again.id.tolist() == found.id.tolist()
    assert again.year.tolist() == [2023, 2023]
    assert again.n_holes.tolist() == [0, 1]
    assert again.touches_edge.tolist() == [False, False]
    np.testing.assert_allclose(again.area_km2, found.area_km2)
    assert again.geometry.geom_equals_exact(found.geometry, 1e-9).all()
    assert os.listdir(tmp_path / "deep") == [path.name]


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".geojson"])
def test_no_outlines_are_a_valid_file(tmp_path: Path, suffix: str) -> None:
    empty = vectorise.outlines(raster(np.zeros((5, 5))))
    again = vectorise.read(vectorise.write(empty, tmp_path / f"none{suffix}"))
    assert len(again) == 0
    assert set(again.columns) >= {"geometry"}


def test_parquet_can_be_searched(tmp_path: Path, found: gpd.GeoDataFrame) -> None:
    path = vectorise.write(found, tmp_path / "a.parquet")
    one = gpd.read_parquet(path, bbox=tuple(found.geometry.iloc[1].bounds))
    assert one.id.tolist() == [found.id[1]]


def test_geojson_is_in_degrees(tmp_path: Path, found: gpd.GeoDataFrame) -> None:
    path = vectorise.write(found.to_crs(32633), tmp_path / "a.geojson")
    first = json.loads(path.read_text())["features"][0]["geometry"]["coordinates"][0][0]
    assert first == pytest.approx(found.geometry.iloc[0].exterior.coords[0], abs=1e-7)
    assert vectorise.read(vectorise.write(found.to_crs(32633), tmp_path / "a.gpkg")).crs.to_epsg() == 32633


def test_geojson_of_a_plane_is_cut_at_180_degrees(tmp_path: Path) -> None:
    x, y = pyproj.Transformer.from_crs(4326, 32601, always_xy=True).transform(180.0, 71.0)
    values = raster(disc((200, 200), 100, 100, 80), left=round(x) - 1000.0, top=round(y) + 1000.0, crs=32601)
    drawn = vectorise.outlines(values, crs_out=None)
    again = vectorise.read(vectorise.write(drawn, tmp_path / "a.geojson"))
    assert again.geom_type.tolist() == ["MultiPolygon"]
    assert again.is_valid.all()
    assert vectorise.areas_km2(again) == pytest.approx(drawn["area_km2"].to_numpy(), rel=1e-5)
    assert all(part.bounds[2] - part.bounds[0] < 1 for part in again.geometry.item().geoms)


@pytest.mark.parametrize("name", ["a.shp", "a.txt", "a"])
def test_unknown_suffix(tmp_path: Path, found: gpd.GeoDataFrame, name: str) -> None:
    with pytest.raises(errors.VectorError, match=r"use one of .parquet, .gpkg, .geojson") as caught:
        vectorise.write(found, tmp_path / name)
    assert ("shapefile" in str(caught.value)) == name.endswith(".shp")
    assert os.listdir(tmp_path) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, found: gpd.GeoDataFrame) -> None:
    path = vectorise.write(found, tmp_path / "a.gpkg")
    before = path.read_bytes()
    broken = found.assign(bad=[1j, 2j])
    for name in ("a.gpkg", "a.parquet"):
        with pytest.raises(errors.VectorError, match=r"Cannot write .*; make room for it or name another file"):
            vectorise.write(broken, tmp_path / name)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.gpkg"]
    (tmp_path / "folder.gpkg").mkdir()
    with pytest.raises(errors.VectorError, match="Is a directory"):
        vectorise.write(found, tmp_path / "folder.gpkg")


def test_geojson_whose_end_found_no_room_does_not_replace_the_old_file(tmp_path: Path, found: gpd.GeoDataFrame) -> None:
    """GDAL writes the end when it closes the file, and pyogrio says nothing if that fails."""
    path = vectorise.write(found, tmp_path / "a.geojson")
    before = path.read_bytes()
    for lacking in (3, len(before) // 2):
        with (
            files_of_at_most(len(before) - lacking),
            pytest.raises(errors.VectorError, match=r"Cannot write .*a\.geojson: .*; make room for it"),
        ):
            vectorise.write(found, path)
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["a.geojson"]


def test_edits_of_an_open_program_are_not_written_into_the_new_file(tmp_path: Path, found: gpd.GeoDataFrame) -> None:
    """A GIS keeps its edits in -wal beside a GeoPackage: SQLite would write those of the old file into the new one."""
    path = vectorise.write(found.assign(note="old"), tmp_path / "outlines.gpkg")
    open_there = sqlite3.connect(path)
    open_there.execute("pragma journal_mode=wal")
    open_there.execute("create table edits (text)")
    open_there.execute("insert into edits values (?)", ("x" * 100_000,))
    open_there.commit()
    assert (tmp_path / "outlines.gpkg-wal").stat().st_size > 0
    vectorise.write(found.assign(note="new"), path)
    open_there.close()
    assert set(gpd.read_file(path)["note"]) == {"new"}
    with contextlib.closing(sqlite3.connect(path)) as again:
        assert again.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert not again.execute("select name from sqlite_master where name = 'edits'").fetchall()


def test_a_geometry_of_any_name_is_the_geometry(tmp_path: Path, found: gpd.GeoDataFrame) -> None:
    found.rename_geometry("geom").assign(geometry="a column").to_parquet(tmp_path / "geom.parquet")
    again = vectorise.read(tmp_path / "geom.parquet")
    assert again.geometry.name == "geometry"
    assert again.geometry.geom_equals(found.geometry).all()


def test_an_undefined_plane_is_no_crs(tmp_path: Path, found: gpd.GeoDataFrame) -> None:
    plane = (
        'ENGCRS["Undefined Cartesian SRS",EDATUM[""],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["m",1]]'
    )
    found.set_crs(plane, allow_override=True).to_parquet(tmp_path / "plane.parquet")
    assert vectorise.read(tmp_path / "plane.parquet").crs is None
    with pytest.raises(errors.VectorError, match="has no CRS; write the one it is in into the file"):
        vectorise.read_polygons(tmp_path / "plane.parquet")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(errors.VectorError, match="There is no file"):
        vectorise.read(tmp_path / "a.gpkg")
    for name in ("a.gpkg", "a.parquet"):
        (tmp_path / name).write_text("not this")
        with pytest.raises(errors.VectorError, match="Cannot read outlines from"):
            vectorise.read(tmp_path / name)
    (tmp_path / "table.csv").write_text("id,area\n1,2\n")
    with pytest.raises(errors.VectorError, match=r"table\.csv is a table without shapes"):
        vectorise.read(tmp_path / "table.csv")


def many(count: int) -> gpd.GeoDataFrame:
    """Small discs, so many that their spatial index takes pages of its own."""
    rng = np.random.default_rng(0)
    shapes = shapely.buffer(shapely.points(rng.uniform(10, 20, count), rng.uniform(60, 70, count)), 0.01)
    return gpd.GeoDataFrame({"id": [f"G{k}" for k in range(count)]}, geometry=shapes, crs=4326)


def test_a_geopackage_without_room_for_its_index_is_told(tmp_path: Path) -> None:
    shapes = many(700)
    full = vectorise.write(shapes, tmp_path / "full.gpkg").stat().st_size
    told = []
    for room in range(full - 160_000, full + 8192, 8192):
        path = tmp_path / f"{room}.gpkg"
        try:
            with files_of_at_most(room):
                vectorise.write(shapes, path)
        except errors.VectorError as error:
            told.append(str(error))
        else:
            with contextlib.closing(sqlite3.connect(path)) as file:
                assert file.execute("select count(*) from rtree_outlines_geom_rowid").fetchone() == (700,)
    assert any("no room for its spatial index" in one for one in told)


def test_what_belongs_together_is_replaced_together(tmp_path: Path, found: gpd.GeoDataFrame) -> None:
    path, band = tmp_path / "outlines.gpkg", tmp_path / "outlines_band.gpkg"
    vectorise.write(found, path, beside={band: found})
    before = path.read_bytes(), band.read_bytes()
    room = path.stat().st_size + 20_000
    with (
        files_of_at_most(room),
        pytest.raises(errors.VectorError, match=r"Cannot write .*outlines_band\.gpkg: .* room"),
    ):
        vectorise.write(found[:1], path, beside={band: many(3000)})
    assert (path.read_bytes(), band.read_bytes()) == before
    assert sorted(os.listdir(tmp_path)) == [path.name, band.name]
