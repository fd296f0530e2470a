"""Packages for RGI and GLIMS, and the rules that they are checked by."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
import shapely.affinity
import xarray as xr
from affine import Affine

from icemapper_xr import errors, inventory, pipeline, store
from icemapper_xr._types import Bounds
from icemapper_xr.inventory import attributes, elevation, qc, schema, shapes
from icemapper_xr.pipeline import divided, packages
from tests.support import files_of_at_most
from tests.test_inventory_margins import soft_disc

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

LEFT, TOP, SIDE = 518_400.0, 8_697_600.0, 400
FORM = """
o1region = "07"
o2region = "07-01"
chief_affl = "Institute of Tests"
geolocation_m = 8.0
[[analysts]]
surname = "Example"
given = "Ada"
affiliation = "Institute of Tests"
country = "NO"
[[submitters]]
surname = "Beispiel"
given = "Bø"
affiliation = "Institute of Tests"
country = "DE"
"""


def axes() -> tuple[np.ndarray, np.ndarray]:
    return TOP - 5 - 10.0 * np.arange(SIDE), LEFT + 5 + 10.0 * np.arange(SIDE)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mapped folder: two glaciers that touch, a nunatak, one apart, one at the data's edge."""
    folder = tmp_path_factory.mktemp("run")
    y, x = axes()
    discs = [(150, 130, 60), (150, 240, 70), (320, 90, 30), (395, 300, 40)]
    p = np.max([soft_disc((SIDE, SIDE), row, column, radius, 6) for row, column, radius in discs], axis=0)
    p = np.minimum(p, 1 - soft_disc((SIDE, SIDE), 150, 250, 12, 6)).astype(np.float32)
    result = xr.Dataset(
        {"probability": (("y", "x"), p), "n_obs": (("y", "x"), np.full(p.shape, 15, np.uint8))},
        coords={"y": y, "x": x},
        attrs={
            "year": 2023,
            "relative_orbit": 14,
            "polarisation": "HH",
            "first_date": "2023-01-06",
            "last_date": "2023-12-20",
            "item_ids": ["S1A_one", "S1A_two"],
            "weights": "ICEmapper_test.h5",
            "weights_digest": "0" * 64,
        },
    ).rio.write_crs(32633)
    store.write(result.chunk({"y": 200, "x": 200}), folder / "glaciers.zarr", year=2023)
    pipeline.outlines_of_run(folder)
    z = 1000 - 2.0 * np.arange(SIDE)[:, None] + 0.001 * (np.arange(SIDE)[None] - 200) ** 2
    dem = xr.DataArray(z.astype(np.float32), dims=("y", "x"), coords={"y": y, "x": x}).rio.write_crs(32633)
    dem.rio.to_raster(folder / "dem.tif")
    box = gpd.GeoDataFrame(
        {"rgi_id": ["RGI2000-v7.0-G-07-00001", "RGI2000-v7.0-G-07-00002"], "glac_name": ["Vestbreen", "Østbreen"]},
        geometry=[
            shapely.box(LEFT, TOP - 2500, LEFT + 1800, TOP - 500),
            shapely.box(LEFT + 1800, TOP - 2500, LEFT + 3600, TOP - 500),
        ],
        crs=32633,
    )
    box.to_file(folder / "reference.gpkg")
    (folder / "submission.toml").write_text(FORM, encoding="utf-8")
    pipeline.divides_of_run(folder, reference=folder / "reference.gpkg")
    return folder


@pytest.fixture(scope="module")
def rgi(run: Path) -> Path:
    report = pipeline.export_of_run(
        run,
        product="rgi",
        submission=run / "submission.toml",
        dem=run / "dem.tif",
        dem_source="TEST",
        reference=run / "reference.gpkg",
    )
    assert report.folder == run / "rgi_2023"
    assert len(report.left_out["edge"]) == 1
    return report.folder


@pytest.fixture(scope="module")
def glims(run: Path) -> Path:
    return pipeline.export_of_run(run, product="glims", submission=run / "submission.toml", dem=run / "dem.tif").folder


RGI7 = (
    "rgi_id o1region o2region glims_id anlys_id subm_id src_date cenlon cenlat utm_zone area_km2 primeclass conn_lvl "
    "surge_type term_type glac_name is_rgi6 termlon termlat zmin_m zmax_m zmed_m zmean_m slope_deg aspect_deg "
    "aspect_sec dem_source lmax_m"
)
"""The attributes of RGI 7's glacier product, from its user guide."""


# -- what is written --------------------------------------------------------------------------------------------------
def kinds(table: pd.DataFrame, fields: tuple[schema.Field, ...]) -> None:
    for field in fields:
        column = table[field.name].dropna()
        if field.datatype == "int":
            assert pd.api.types.is_integer_dtype(column), field.name
        elif field.datatype == "float":
            assert pd.api.types.is_float_dtype(column), field.name
        else:
            assert all(isinstance(value, str) for value in column), field.name


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"southern": True, "first_date": "2023-07-05", "last_date": "2024-06-20"}, "2024-02-28"),
        ({"southern": True, "first_date": "2023-01-05", "last_date": "2023-12-20"}, "2023-02-28"),
        ({"southern": False, "first_date": "2022-12-27", "last_date": "2023-12-20"}, "2023-08-31"),
        ({"southern": False, "first_date": "2023-12-27", "last_date": "2024-12-20"}, "2024-08-31"),
        ({"southern": False, "first_date": None, "last_date": None}, "2023-08-31"),
    ],
)
def test_the_season_ends_within_the_series(facts: dict[str, object], expected: str) -> None:
    """A series over new year has the end of its season in the year after the one it is named by."""
    answers = inventory.Submission.model_construct(src_date=None)
    assert packages._src_date({"year": 2023, **facts}, answers) == expected


def test_the_rgi_products_have_the_documented_fields(rgi: Path) -> None:
    glaciers = gpd.read_file(rgi / "ICM2023-v1.0-G-07.shp")
    assert list(glaciers.columns) == [*(field.name for field in schema.GLACIER), "geometry"]
    assert " ".join(glaciers.columns[:-1]) == RGI7
    kinds(glaciers, schema.GLACIER)
    assert len(glaciers) == 3
    assert glaciers.crs.to_epsg() == 4326
    assert glaciers.is_valid.all()
    assert glaciers["rgi_id"].tolist() == [f"ICM2023-v1.0-G-07-{n:05d}" for n in (1, 2, 3)]
    assert set(glaciers["glac_name"].fillna("")) == {"Vestbreen", "Østbreen", ""}
    assert (glaciers["src_date"] == "2023-08-31T00:00:00").all()
    assert (glaciers["utm_zone"] == 33).all()
    assert glaciers["cenlon"].is_monotonic_increasing
    assert shapely.contains_xy(glaciers.geometry.values, glaciers["cenlon"], glaciers["cenlat"]).all()
    assert (glaciers["dem_source"] == "TEST").all()
    attributes_ = pd.read_csv(rgi / "ICM2023-v1.0-G-07-attributes.csv")
    assert list(attributes_.columns) == list(glaciers.columns[:-1])
    np.testing.assert_allclose(attributes_["area_km2"], glaciers["area_km2"], rtol=1e-8)
    described = json.loads((rgi / "ICM2023-v1.0-G-07-attributes_metadata.json").read_text())
    assert list(described) == list(glaciers.columns[:-1])
    assert described["area_km2"]["units"] == "km2"


def test_complexes_and_intersects(rgi: Path) -> None:
    glaciers = gpd.read_file(rgi / "ICM2023-v1.0-G-07.shp")
    compound = gpd.read_file(rgi / "ICM2023-v1.0-C-07.shp")
    borders = gpd.read_file(rgi / "ICM2023-v1.0-I-07.shp")
    kinds(compound, schema.COMPLEX)
    kinds(borders, schema.INTERSECTS)
    assert len(compound) == 2
    assert compound["area_km2"].sum() == pytest.approx(glaciers["area_km2"].sum(), rel=1e-7)
    members = json.loads((rgi / "ICM2023-v1.0-C-07-CtoG_links.json").read_text())
    assert sorted(len(names) for names in members.values()) == [1, 2]
    assert sorted(name for names in members.values() for name in names) == glaciers["rgi_id"].tolist()
    pair = next(names for names in members.values() if len(names) == 2)
    assert borders[["rgi_g_id_1", "rgi_g_id_2"]].to_numpy().tolist() == [sorted(pair)]
    # the chord at column 179.5 of the disc of radius 70 around column 240, which is wider there than the other one
    assert borders["length_m"].item() == pytest.approx(2 * np.sqrt(70**2 - 60.5**2) * 10, rel=0.01)


def test_hypsometry_links_and_people(rgi: Path) -> None:
    bands = pd.read_csv(rgi / "ICM2023-v1.0-G-07-hypsometry.csv")
    heights = bands.drop(columns=["rgi_id", "area_km2"])
    assert (heights.sum(axis=1) == 1000).all()
    assert [int(name) % 50 for name in heights.columns] == [25] * heights.shape[1]
    glaciers = gpd.read_file(rgi / "ICM2023-v1.0-G-07.shp")
    middle = np.array([float(name) for name in heights.columns])
    np.testing.assert_allclose((heights * middle).sum(axis=1) / 1000, glaciers["zmean_m"], atol=12.5)
    links = pd.read_csv(rgi / "ICM2023-v1.0-G-07-rgi7_links.csv")
    assert len(links) == 2
    assert (links["kind"] == "same").all()
    assert (links["area_fraction"] > 0.99).all()
    info = pd.read_csv(rgi / "ICM2023-v1.0-G-07-submission_info.csv").iloc[0]
    assert (info["analysts"], info["submitters"]) == ("Example, Ada", "Beispiel, Bø")
    assert info["n_outlines"] == 3
    assert "ICEmapper_test.h5" in info["proc_desc"]
    assert pd.read_csv(rgi / "scenes.csv")["scene_id"].tolist() == ["S1A_one", "S1A_two"]


def test_glims_ids_are_those_of_the_reference(run: Path, tmp_path: Path) -> None:
    reference = gpd.read_file(run / "reference.gpkg").assign(glims_id=["G015123E77456N", "G015321E77456N"])
    reference.to_file(tmp_path / "glims.gpkg")
    path, _ = pipeline.divides_of_run(run / "outlines.gpkg", tmp_path / "g.gpkg", reference=tmp_path / "glims.gpkg")
    glaciers = gpd.read_file(path)
    table, _ = inventory.topography(glaciers, None)
    answers = inventory.read_submission(run / "submission.toml")
    made = inventory.glacier_product(glaciers, table, inventory.Facts(2023, "2023-08-31", "2024-01-01", "", answers))
    assert {"G015123E77456N", "G015321E77456N"} <= set(made["glims_id"])
    assert made["glims_id"].map(shapes.is_glims).all()


def test_glims_fields(glims: Path, rgi: Path) -> None:
    every = gpd.read_file(glims / "glaciers.shp")
    assert list(every.columns) == [*(field.name for field in schema.GLIMS), "geometry"]
    assert all(len(name) <= 10 for name in every.columns)
    kinds(every, schema.GLIMS)
    assert every["line_type"].value_counts().to_dict() == {"glac_bound": 3, "intrnl_rock": 1}
    bounds, rock = every[every["line_type"] == "glac_bound"], every[every["line_type"] == "intrnl_rock"]
    assert bounds["area"].sum() == pytest.approx(gpd.read_file(rgi / "ICM2023-v1.0-G-07.shp")["area_km2"].sum())
    assert rock["area"].item() == pytest.approx(np.pi * 0.12**2, rel=0.02)
    assert rock["glac_id"].item() in bounds["glac_id"].tolist()
    np.testing.assert_allclose(bounds["loc_unc_x"], 27.0, rtol=0.05)  # 5 to 95 % of a rim of six pixels of 10 m
    assert (every["glob_unc_x"] == 8.0).all()
    assert (bounds["area_low"] < bounds["area"]).all()
    assert (bounds["area"] < bounds["area_high"]).all()


# -- topography -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("azimuth", [0.0, 45.0, 160.0, 270.0])
def test_a_tilted_plane(azimuth: float) -> None:
    y, x = axes()
    east, north = np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))
    z = 1000 - np.tan(np.radians(10)) * ((x[None] - x.mean()) * east + (y[:, None] - y.mean()) * north)
    dem = xr.DataArray(z.astype(np.float32), dims=("y", "x"), coords={"y": y, "x": x}).rio.write_crs(32633)
    disc = shapely.Point(x.mean(), y.mean()).buffer(1000, quad_segs=64)
    table, bands = inventory.topography(gpd.GeoDataFrame(geometry=[disc], crs=32633), dem)
    row = table.iloc[0]
    drop = 1000 * np.tan(np.radians(10))
    assert (row["zmin_m"], row["zmax_m"]) == (pytest.approx(1000 - drop, abs=3), pytest.approx(1000 + drop, abs=3))
    assert row["zmean_m"] == pytest.approx(1000, abs=0.5)
    assert row["zmed_m"] == pytest.approx(1000, abs=0.5)
    assert row["slope_deg"] == pytest.approx(10, abs=0.01)
    lon, lat = pyproj.Transformer.from_crs(32633, 4326, always_xy=True).transform(x.mean(), y.mean())
    turned = (lon - 15) * np.sin(np.radians(lat))  # the grid's north lies this far east of true north
    assert (row["aspect_deg"] - azimuth - turned + 180) % 360 - 180 == pytest.approx(0, abs=0.1)
    assert row["aspect_sec"] == attributes.aspect_sector(row["aspect_deg"])
    end = shapely.Point(
        pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(row["termlon"], row["termlat"])
    )
    along = (end.x - x.mean()) * east + (end.y - y.mean()) * north
    assert 1000 - 15 < along <= 1000  # within a cell of the lowest point
    assert row["lmax_m"] == pytest.approx(2000, rel=0.06)
    assert bands.sum(axis=1).item() == 1000


@pytest.mark.parametrize("west", [0.0, 1e-10, 1e-3])
def test_an_aspect_of_north_is_below_360(west: float) -> None:
    """On the central meridian the grid's north is true north but for a rounding error."""
    y, x = axes()
    x += 500_000 - x.mean()
    z = np.broadcast_to(1000 - 0.2 * (y[:, None] - y.mean()), (y.size, x.size))
    dem = xr.DataArray(z, dims=("y", "x"), coords={"y": y, "x": x}).rio.write_crs(32633)
    disc = shapely.Point(500_000 - west, y.mean()).buffer(500)
    row = inventory.topography(gpd.GeoDataFrame(geometry=[disc], crs=32633), dem)[0].iloc[0]
    assert 0 <= row["aspect_deg"] < 360
    assert (row["aspect_deg"] + 180) % 360 == pytest.approx(180, abs=1e-6)
    assert row["aspect_sec"] == 1


def slope_of(crs: object, cell: float, across: int) -> tuple[xr.DataArray, gpd.GeoDataFrame]:
    """A DEM in any CRS of a plane that falls by 1:10 to the south of 78 N (60 N in 3413), and a disc of 1 km on it."""
    lat = 60.0 if crs == 3413 else 78.0
    lon = -45.0 if crs == 3413 else 15.0
    true = pyproj.CRS.from_proj4(f"+proj=laea +lat_0={lat} +lon_0={lon} +datum=WGS84 +units=m")
    left, top = pyproj.Transformer.from_crs(true, crs, always_xy=True).transform(0, 0)
    steps = cell * (np.arange(across) - across / 2 + 0.5)
    x, y = left + steps, top - steps
    north = pyproj.Transformer.from_crs(crs, true, always_xy=True).transform(*np.meshgrid(x, y))[1]
    z = xr.DataArray((500 + 0.1 * north).astype(np.float32), dims=("y", "x"), coords={"y": y, "x": x}).rio.write_crs(
        crs
    )
    return z, gpd.GeoDataFrame(geometry=[shapely.Point(0, 0).buffer(1000, quad_segs=64)], crs=true).to_crs(4326)


@pytest.mark.parametrize(("crs", "cell"), [(32633, 20.0), (3857, 100.0), (3413, 22.0)])
def test_lengths_are_those_on_the_ground_in_any_crs(crs: int, cell: float) -> None:
    dem, disc = slope_of(crs, cell, 200)
    row = inventory.topography(disc, dem)[0].iloc[0]
    assert row["slope_deg"] == pytest.approx(np.degrees(np.arctan(0.1)), abs=0.03)
    assert row["lmax_m"] == pytest.approx(2000, rel=0.06)
    sea = inventory.sea_area_km2(disc, dem * 0 - 5)
    assert sea.item() == pytest.approx(np.pi, rel=0.012)


def test_glaciers_on_both_sides_of_180_degrees_have_planes_of_their_own() -> None:
    lon, lat = np.arange(-179.99, 180, 0.02), np.arange(71.07, 70.95, -0.0005)
    z = np.repeat(300 + (lat[:, None] - 71) * 11_157.0, lon.size, axis=1).astype(np.float32)
    dem = xr.DataArray(z, dims=("y", "x"), coords={"y": lat, "x": lon}).rio.write_crs(4326)
    boxes = [shapely.segmentize(shapely.box(west, 71, west + 0.05, 71.02), 0.001) for west in (179.9, -179.95)]
    table = inventory.topography(gpd.GeoDataFrame(geometry=boxes, crs=4326), dem)[0]
    np.testing.assert_allclose(table["slope_deg"], np.degrees(np.arctan(0.1)), atol=0.03)
    np.testing.assert_allclose(table["aspect_deg"], 180, atol=0.5)
    assert elevation.utm(*shapes.centre_of(gpd.GeoDataFrame(geometry=boxes, crs=4326))).to_epsg() in (32601, 32660)


def test_scale_offset_and_unit_of_a_dem_are_applied(tmp_path: Path) -> None:
    dem, disc = slope_of(32633, 20.0, 200)
    own = inventory.topography(disc, dem)[0]["zmean_m"].item()
    dem.rio.to_raster(tmp_path / "m.tif")

    def rewritten(name: str, factor: float, **about: object) -> float:
        with rasterio.open(tmp_path / "m.tif") as source:
            values, profile = source.read() * factor, source.profile
        with rasterio.open(tmp_path / name, "w", **profile) as target:
            target.write(values.astype(np.float32) - np.float32(about.get("offsets", (0,))[0] * factor))
            for key, value in about.items():
                setattr(target, key, value)
        return float(inventory.topography(disc, tmp_path / name)[0]["zmean_m"].item())

    assert rewritten("scaled.tif", 10.0, scales=(0.1,)) == pytest.approx(own, abs=0.01)
    assert rewritten("shifted.tif", 1.0, offsets=(40.0,)) == pytest.approx(own, abs=0.01)
    assert rewritten("ft.tif", 1 / 0.3048, units=("ft",)) == pytest.approx(own, abs=0.01)
    feet = (dem / 0.3048).assign_attrs(units="ft")
    assert inventory.topography(disc, feet)[0]["zmean_m"].item() == pytest.approx(own, abs=0.01)
    with pytest.raises(errors.VectorError, match="heights in 'fathom': give one in metres"):
        rewritten("fathom.tif", 1.0, units=("fathom",))


@pytest.mark.parametrize("lon", [179.95, -179.97, 10.0])
@pytest.mark.parametrize("cell", [40.0, 220.0])
def test_a_dem_in_degrees_goes_on_at_180(tmp_path: Path, lon: float, cell: float) -> None:
    """A strip of up to 800 m beside the meridian was empty."""
    x, y = (np.arange(36_000) + 0.5) * 0.01 - 180, 79.3 - (np.arange(60) + 0.5) * 0.01
    z = (500 + 200 * np.sin(np.deg2rad(x))[None, :] + 100 * (y[:, None] - 79)).astype(np.float32)
    told = {"driver": "GTiff", "count": 1, "dtype": "float32", "height": 60, "width": 36_000, "crs": "EPSG:4326"}
    with rasterio.open(
        tmp_path / "dem.tif", "w", transform=rasterio.transform.from_origin(-180, 79.3, 0.01, 0.01), **told
    ) as file:
        file.write(z, 1)
    with elevation.Dem(tmp_path / "dem.tif", lonlat=(lon, 79.0), cell=cell) as dem:
        plane = pyproj.Transformer.from_crs(4326, dem.crs, always_xy=True)
        left, top = plane.transform(lon, 79.0)
        relief = dem.read(Bounds(left - 8e3, top - 8e3, left + 8e3, top + 8e3))
    rows, columns = np.mgrid[: relief.z.shape[0], : relief.z.shape[1]]
    there = plane.transform(*relief.centres(rows, columns), direction="INVERSE")
    true = 500 + 200 * np.sin(np.deg2rad(there[0])) + 100 * (there[1] - 79)
    np.testing.assert_allclose(relief.z, true, atol=0.2)


@pytest.mark.parametrize(("unit", "fill"), [(1.0, -32768.0), (1.0, 99_999.0), (0.3048, -9999.0)])
def test_a_fill_value_that_is_not_declared_is_not_mixed_into_the_terrain(
    unit: float, fill: float, tmp_path: Path
) -> None:
    """A DEM in degrees is warped: what no file declares was blended with the cells around it before it was seen."""
    lon, lat = np.arange(14.9, 15.1, 0.001), np.arange(78.02, 77.98, -0.0002)
    north = (lat[:, None] - 78) * 111_600.0 + 0 * lon
    z = (500 + 0.1 * north + 5 * np.sin(lon * 700)).astype(np.float32) / np.float32(unit)
    gap = np.zeros(z.shape, bool)
    gap[:, 60:75] = True
    gap[::37, ::23] = True
    told = {
        "driver": "GTiff",
        "count": 1,
        "dtype": "float32",
        "height": lat.size,
        "width": lon.size,
        "crs": "EPSG:4326",
    }
    transform = rasterio.transform.from_origin(lon[0] - 0.0005, lat[0] + 0.0001, 0.001, 0.0002)

    def written(name: str, values: np.ndarray, nodata: float | None) -> str:
        with rasterio.open(tmp_path / name, "w", transform=transform, nodata=nodata, **told) as target:
            target.write(values.astype(np.float32), 1)
            target.units = ("m" if unit == 1 else "ft",)
        return str(tmp_path / name)

    holed = np.where(gap, np.float32(fill), z)
    paths = [written("whole.tif", z, None), written("told.tif", holed, fill), written("untold.tif", holed, None)]
    x, y = pyproj.Transformer.from_crs(4326, 32633, always_xy=True).transform(15.0, 78.0)
    box = (x - 1500, y - 1500, x + 1500, y + 1500)
    read = []
    for path in paths:
        with elevation.Dem(path, lonlat=(15.0, 78.0)) as dem:
            read.append(dem.read(elevation.Bounds(*box)).z)
    whole, declared, found = read
    np.testing.assert_array_equal(found, declared)
    there = np.isfinite(found)
    assert 0.6 < there.mean() < 1
    assert np.abs(found - whole)[there].max() < 5  # metres; the fill value blended would be hundreds


@pytest.mark.parametrize("turned", [0.0, 30.0])
@pytest.mark.parametrize(("dtype", "fill"), [("int16", 0), ("uint16", 0), ("float32", -99.0), ("float64", -1.7e308)])
def test_what_a_dem_declares_as_nodata_is_no_height(dtype: str, fill: float, turned: float, tmp_path: Path) -> None:
    """A nodata value that could be a height was one, and a raster that is turned was read in the wrong place."""
    around = Affine.translation(5e5, 8.66e6) * Affine.rotation(turned) * Affine.scale(20, -20)
    transform = around * Affine.translation(-150, -150)
    row, column = np.indices((300, 300))
    x, y = transform * (column + 0.5, row + 0.5)
    gap = np.hypot(x - 5.003e5, y - 8.66e6) < 150
    values = np.where(gap, fill, 600 + 0.1 * (x - 5e5)).astype(dtype)
    told = {"driver": "GTiff", "count": 1, "height": 300, "width": 300, "crs": "EPSG:32633", "transform": transform}
    with rasterio.open(tmp_path / "dem.tif", "w", dtype=dtype, nodata=fill, **told) as file:
        file.write(values, 1)
    disc = shapely.Point(5e5, 8.66e6).buffer(1000)
    known = disc - shapely.Point(5.003e5, 8.66e6).buffer(150)
    table = inventory.topography(gpd.GeoDataFrame(geometry=[disc], crs=32633), tmp_path / "dem.tif")[0].iloc[0]
    assert table["zmin_m"] == pytest.approx(500, abs=3)
    assert table["zmax_m"] == pytest.approx(700, abs=3)
    assert table["zmean_m"] == pytest.approx(600 + 0.1 * (known.centroid.x - 5e5), abs=0.8)
    assert table["slope_deg"] == pytest.approx(np.degrees(np.arctan(0.1)), abs=0.1)
    with elevation.Dem(tmp_path / "dem.tif", lonlat=(15.0, 78.0)) as dem:
        assert np.isnan(dem.read(Bounds(5.1e5, 8.66e6, 5.11e5, 8.661e6)).z).all()  # beyond it


def test_a_fine_dem_is_warped_as_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles bound what is read at once, and leave no seam."""
    dem, _ = slope_of(3857, 100.0, 200)
    box = None
    read = []
    for tile in (7, 10_000):
        monkeypatch.setattr(elevation, "_TILE", tile)
        with elevation.Dem(dem, lonlat=(15.0, 78.0), cell=60.0) as opened:
            if box is None:
                x, y = pyproj.Transformer.from_crs(4326, opened.crs, always_xy=True).transform(15.0, 78.0)
                box = elevation.Bounds(x - 1200, y - 1500, x + 3000, y + 900)
            read.append(opened.read(box).z)
    np.testing.assert_allclose(read[0], read[1], atol=0.5)
    assert np.isfinite(read[1]).any()


def test_hypsometry_sums_to_a_thousand() -> None:
    table = attributes.hypsometry([np.array([10.0, 60, 110], np.float32), np.array([60.0], np.float32)])
    assert table.to_numpy().tolist() == [[334, 333, 333], [0, 1000, 0]]
    assert table.columns.tolist() == ["25", "75", "125"]


def test_a_dem_that_does_not_cover_the_glaciers(run: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.tif"
    y, x = axes()
    half = xr.DataArray(
        np.zeros((SIDE, 195), np.float32), dims=("y", "x"), coords={"y": y, "x": x[:195]}
    ).rio.write_crs(32633)
    half.rio.to_raster(small)
    options = {"product": "rgi", "submission": run / "submission.toml", "dem": small}
    with pytest.raises(errors.VectorError, match="lacks over 10% of glacier"):
        pipeline.export_of_run(run, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    report = pipeline.export_of_run(run, tmp_path / "out", partial=True, **options)
    made = gpd.read_file(next(report.folder.glob("*-G-*.shp")))
    assert made["zmean_m"].isna().sum() == 1


def test_the_smallest_glacier_is_as_long_as_its_outline() -> None:
    dem, disc = slope_of(32633, 100.0, 60)
    small = disc.to_crs(32633)
    small["geometry"] = small.centroid.buffer(60)
    assert inventory.topography(small, dem)[0]["lmax_m"].item() == pytest.approx(120, rel=0.05)


def test_the_terminus_of_a_coarse_outline_is_its_lowest_point() -> None:
    y, x = axes()
    z = 1000 + 0.1 * (y[:, None] - y.mean()) + 0.2 * np.abs(x[None] - x.mean())  # a valley that falls to the south
    dem = xr.DataArray(z.astype(np.float32), dims=("y", "x"), coords={"y": y, "x": x}).rio.write_crs(32633)
    square = shapely.box(x.mean() - 1000, y.mean() - 1000, x.mean() + 1000, y.mean() + 1000)
    row = inventory.topography(gpd.GeoDataFrame(geometry=[square], crs=32633), dem)[0].iloc[0]
    to_grid = pyproj.Transformer.from_crs(4326, 32633, always_xy=True)
    end = np.array(to_grid.transform(row["termlon"], row["termlat"]))
    assert np.hypot(*(end - (x.mean(), y.mean() - 1000))) < 15  # a corner is 1000 m away
    assert row["lmax_m"] == pytest.approx(np.hypot(1000, 2000), rel=0.03)


def test_several_polygons_in_a_row_have_no_topography() -> None:
    dem, disc = slope_of(32633, 100.0, 60)
    flat = disc.to_crs(32633).geometry.item()
    pair = shapely.MultiPolygon([flat, shapely.affinity.translate(flat, 3000)])
    with pytest.raises(errors.VectorError, match=r"glacier 2 of 2 is a MultiPolygon.*explode"):
        inventory.topography(gpd.GeoDataFrame(geometry=[flat, pair], crs=32633), dem)


# -- people are asked for ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("geolocation_m = 8.0", ""), "geolocation_m: field required"),
        (('surname = "Example"', 'surname = ""'), r"analysts\.0\.surname: string should have at least 1"),
        (('country = "DE"', 'country = "Germany"'), r"submitters\.0\.country"),
        (('o1region = "07"', 'o1region = "Svalbard"'), "o1region"),
        (('o2region = "07-01"', 'o2region = "08-01"'), r"o2region: .*'08-01' is no part of o1region '07'.*07-"),
        (("geolocation_m = 8.0", "geolocation_m ="), "is not read as TOML"),
        (("geolocation_m = 8.0", "geolocation_m = 8.0\nnonsense = 1"), "nonsense: extra inputs"),
    ],
)
def test_the_form_must_be_filled_in(change: tuple[str, str], message: str, run: Path, tmp_path: Path) -> None:
    form = tmp_path / "form.toml"
    form.write_text(FORM.replace(*change), encoding="utf-8")
    with pytest.raises(errors.OptionError, match=message):
        pipeline.export_of_run(run, tmp_path / "out", product="rgi", submission=form)
    assert not (tmp_path / "out").exists()


def many(run: Path, **answers: object) -> inventory.Submission:
    """A form with twenty analysts."""
    form = inventory.read_submission(run / "submission.toml")
    people = [form.analysts[0].model_copy(update={"surname": f"Surname{k:02d}"}) for k in range(30)]
    return form.model_copy(update={"analysts": tuple(people), **answers})


def test_people_are_named_whole_or_refused(run: Path, tmp_path: Path) -> None:
    rgi = pipeline.export_of_run(run, tmp_path / "rgi", product="rgi", submission=many(run)).folder
    info = pd.read_csv(next(rgi.glob("*-submission_info.csv"))).iloc[0]
    assert info["analysts"].endswith("; Surname29, Ada")
    with pytest.raises(errors.OptionError, match=r"analysts has \d+ bytes \(UTF-8\), a shapefile keeps 254"):
        pipeline.export_of_run(run, tmp_path / "glims", product="glims", submission=many(run))
    form = inventory.read_submission(run / "submission.toml").model_copy(update={"chief_affl": "Ø" * 200})
    with pytest.raises(errors.OptionError, match="chief_affl has 400 bytes"):
        pipeline.export_of_run(run, tmp_path / "glims", product="glims", submission=form)
    assert not (tmp_path / "glims").exists()


def test_a_package_is_written_anew_from_within(rgi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "package"
    shutil.copytree(rgi, folder)
    facts = inventory.package.read_facts(folder)
    glaciers = gpd.read_file(folder / "ICM2023-v1.0-G-07.shp")[["geometry"]]
    monkeypatch.chdir(folder)
    inventory.write_glims(Path("."), product=glaciers, provenance=facts)
    assert (folder / "glaciers.shp").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["package"]
    monkeypatch.chdir(tmp_path)

    def full(self: Path, target: Path) -> None:
        if self.suffix == ".partial":
            raise OSError(28, "No space left on device")
        os.rename(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(errors.VectorError, match="No space left"):
        inventory.write_glims(folder, product=glaciers, provenance=facts)
    assert (folder / "glaciers.shp").is_file()  # the older one is still there
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


@pytest.mark.parametrize("lacking", [2, 20_000])
def test_a_package_that_finds_no_room_leaves_the_old_one(run: Path, glims: Path, tmp_path: Path, lacking: int) -> None:
    """GDAL writes the last outline when it closes a shapefile, and pyogrio says nothing if that fails."""
    folder = shutil.copytree(glims, tmp_path / "glims")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with (
        files_of_at_most(len(before["glaciers.shp"]) - lacking),
        pytest.raises(errors.VectorError, match=r"Cannot write .*glims: .*; make room for it or name another folder"),
    ):
        pipeline.export_of_run(run, folder, product="glims", submission=run / "submission.toml")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert os.listdir(tmp_path) == ["glims"]


def test_what_a_killed_export_left_goes_after_a_day(run: Path, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from icemapper_xr import pipeline; from icemapper_xr.inventory import package\n"
        "package._common = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "pipeline.export_of_run(sys.argv[1], sys.argv[2], product='glims', submission=sys.argv[1] + '/submission.toml')"
    )
    out = tmp_path / "glims"
    assert subprocess.run([sys.executable, "-c", script, run, out], check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    options = {"product": "glims", "submission": run / "submission.toml"}
    pipeline.export_of_run(run, out, **options)
    assert sorted(tmp_path.iterdir()) == [left, out]  # another process may be writing there
    os.utime(left, (0, 0))
    pipeline.export_of_run(run, out, **options)
    assert list(tmp_path.iterdir()) == [out]


def test_a_form_filled_in_with_notepad_is_read(run: Path, tmp_path: Path) -> None:
    """It begins the text with a mark, which was called an empty answer."""
    text = (run / "submission.toml").read_text(encoding="utf-8")
    (tmp_path / "form.toml").write_text(text, encoding="utf-8-sig")
    assert inventory.read_submission(tmp_path / "form.toml") == inventory.read_submission(run / "submission.toml")


def test_the_empty_form_is_refused_by_its_first_gap(tmp_path: Path) -> None:
    form = tmp_path / "form.toml"
    form.write_text(inventory.FORM, encoding="utf-8")
    with pytest.raises(errors.OptionError, match="is not read as TOML"):
        inventory.read_submission(form)
    with pytest.raises(errors.OptionError, match="icemapper export form"):
        inventory.read_submission(tmp_path / "missing.toml")


def test_refusals(run: Path, tmp_path: Path) -> None:
    form = run / "submission.toml"
    with pytest.raises(errors.OptionError, match="years 2023, not 1999"):
        pipeline.export_of_run(run, product="rgi", submission=form, year=1999)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(errors.StoreError, match="no package of ours"):
        pipeline.export_of_run(run, tmp_path / "mine", product="glims", submission=form)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"
    shutil.copy(run / "outlines.gpkg", tmp_path / "outlines.gpkg")
    with pytest.raises(errors.StoreError, match="is not divided"):
        pipeline.export_of_run(tmp_path, product="rgi", submission=form)
    with pytest.raises(errors.StoreError, match="no outlines"):
        pipeline.qc_of(tmp_path / "nothing")


# -- checks -----------------------------------------------------------------------------------------------------------
def test_packages_and_the_map_keep_the_rules(run: Path, rgi: Path, glims: Path) -> None:
    for folder in (rgi, glims):
        report = pipeline.qc_of(folder)
        assert report.passed, report.text()
        unknown = {finding.rule for finding in report.findings if finding.ok is None}
        assert unknown == (set() if folder == rgi else {"centre"})
        assert pipeline.qc_of(folder, year=2023).passed
        with pytest.raises(errors.OptionError, match="is a package of the year 2023, not 1999: leave the year out"):
            pipeline.qc_of(folder, year=1999)
    on_map = pipeline.qc_of(run)
    assert on_map.broken == ("edge",)  # the package left that one out
    assert "NO   edge" in on_map.text()


def rewrite(folder: Path, change: Callable[[gpd.GeoDataFrame], gpd.GeoDataFrame]) -> None:
    path = next(folder.glob("*-G-*.shp"))
    changed = change(gpd.read_file(path))
    for part in folder.glob(f"{path.stem}.*"):
        part.unlink()
    changed.to_file(path, driver="ESRI Shapefile", engine="pyogrio", index=False, encoding="UTF-8")


def column(folder: Path, name: str, value: object, row: int = 1, end: str = "uncertainty") -> None:
    path = next(folder.glob(f"*-{end}.csv"))
    table = pd.read_csv(path)
    table[name] = table[name].astype(object)
    table.loc[row, name] = value
    table.to_csv(path, index=False)


def fact(folder: Path, **values: object) -> None:
    path = folder / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def with_area(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return table.assign(area_km2=shapes.areas_km2(table))


def bow_tie(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Cross two neighbouring vertices of the outer ring: the area hardly changes."""
    ring = shapely.get_coordinates(table.geometry.iloc[1].exterior)
    ring[[40, 41]] = ring[[41, 40]]
    holes = table.geometry.iloc[1].interiors
    return replaced(table, 1, shapely.Polygon(ring, holes))


def replaced(table: gpd.GeoDataFrame, row: int, shape: object) -> gpd.GeoDataFrame:
    geometry = np.asarray(table.geometry.values, dtype=object).copy()
    geometry[row] = shape
    return table.set_geometry(geometry, crs=table.crs)


def with_hole(table: gpd.GeoDataFrame) -> int:
    return int(np.flatnonzero([len(shape.interiors) > 0 for shape in table.geometry])[0])


def hole_outside(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    row = with_hole(table)
    shape = table.geometry.iloc[row]
    inner = shapely.get_coordinates(shape.interiors[0])
    # half way across the outer ring: a hole that is quite outside is read as a polygon of its own
    reach = shapely.get_coordinates(shape.exterior)[:, 1].max() - inner[:, 1].mean()
    return replaced(table, row, shapely.Polygon(shape.exterior, [inner + np.array([0.0, reach])]))


def straight_edge(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Cut a strip off along a border of the chunks, as a seam would."""
    flat = table.to_crs(32633)
    step = 1152 * 10.0
    line = 45 * step  # x = 518400: the western border of the area
    shape = flat.geometry.iloc[1]
    moved = shapely.affinity.translate(shape, line - shape.bounds[0] - 100)
    kept = moved.intersection(shapely.box(line, 0, line + 1e5, 1e7))
    return with_area(replaced(flat, 1, kept).to_crs(4326)).pipe(centred)


def centred(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    points = attributes.centres(table)
    return table.assign(cenlon=points[:, 0], cenlat=points[:, 1])


def overlapping(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Move the lone glacier onto the next one, all else right."""
    row = int(table["area_km2"].argmin())
    target = table.geometry.iloc[int(table["area_km2"].argmax())].representative_point()
    shape = table.geometry.iloc[row]
    moved = shapely.affinity.translate(shape, target.x - shape.centroid.x, target.y - shape.centroid.y)
    return centred(with_area(replaced(table, row, moved)))


def tiny(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    row = int(table["area_km2"].argmin())
    flat = table.to_crs(32633)
    return centred(with_area(replaced(flat, row, flat.geometry.iloc[row].centroid.buffer(40)).to_crs(4326)))


def fit(folder: Path) -> None:
    """After a change of geometry: intervals around the new areas, and the raster's sum as it now is."""
    table = gpd.read_file(next(folder.glob("*-G-*.shp")))
    path = next(folder.glob("*-uncertainty.csv"))
    known = pd.read_csv(path)
    known["area_low_km2"], known["area_high_km2"] = table["area_km2"] * 0.9, table["area_km2"] * 1.1
    known.to_csv(path, index=False)
    fact(folder, raster_km2=float(table["area_km2"].sum()), adjusted_km2=0.0, left_out_km2=0.0)


DEFECTS: dict[str, Callable[[Path], None]] = {
    "polygons": lambda folder: rewrite(folder, bow_tie),
    "holes": lambda folder: rewrite(folder, hole_outside),
    "overlap": lambda folder: (rewrite(folder, overlapping), fit(folder))[1],
    "size": lambda folder: (rewrite(folder, tiny), fit(folder))[1],
    "seams": lambda folder: (rewrite(folder, straight_edge), fit(folder))[1],
    "area": lambda folder: rewrite(folder, lambda t: t.assign(area_km2=t["area_km2"] * [1.003, 0.9985, 1])),
    "ids": lambda folder: (
        rewrite(folder, lambda t: t.assign(rgi_id=[t["rgi_id"][0], *t["rgi_id"][[0, 2]]])),
        column(folder, "area_low_km2", 0.0, row=0),
        column(folder, "area_high_km2", 9.0, row=0),
    )[1],
    "edge": lambda folder: column(folder, "touches_edge", True),
    "centre": lambda folder: rewrite(folder, lambda t: t.assign(cenlat=t["cenlat"] + [0, 1, 0])),
    "dates": lambda folder: rewrite(folder, lambda t: t.assign(src_date=["2022-08-31T00:00:00", *t["src_date"][1:]])),
    "scenes": lambda folder: fact(folder, scenes=[]),
    "series": lambda folder: fact(folder, relative_orbit=[14, 174]),
    "uncertainty": lambda folder: column(folder, "half_width_m", np.nan),
    "interval": lambda folder: column(folder, "area_high_km2", 0.02),
    "total": lambda folder: fact(folder, raster_km2=99.0),
    "fields": lambda folder: rewrite(folder, lambda t: t.drop(columns="aspect_sec")),
    "people": lambda folder: column(folder, "analysts", "", row=0, end="submission_info"),
}


@pytest.mark.parametrize("rule", DEFECTS)
@pytest.mark.filterwarnings("ignore:.*invalid value encountered:RuntimeWarning")
def test_each_defect_is_found_by_its_rule_alone(rule: str, rgi: Path, tmp_path: Path) -> None:
    folder = tmp_path / "package"
    shutil.copytree(rgi, folder)
    DEFECTS[rule](folder)
    assert pipeline.qc_of(folder).broken == (rule,), pipeline.qc_of(folder).text()


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda table: table.assign(utm_zone=[33.5, 33, 33]), "utm_zone is not int"),
        (lambda table: table.assign(src_date=["", *table["src_date"][1:]]), "src_date is empty"),
    ],
)
def test_fields_are_of_their_type_and_filled(rgi: Path, tmp_path: Path, change, note: str) -> None:
    folder = tmp_path / "package"
    shutil.copytree(rgi, folder)
    rewrite(folder, change)
    (found,) = [one for one in pipeline.qc_of(folder).findings if one.rule == "fields"]
    assert found.ok is False
    assert note in found.note


def test_notes_that_differ_between_the_years_tell_which_is_which() -> None:
    frame = gpd.GeoDataFrame({"id": ["a"], "area_km2": [2.0]}, geometry=[shapely.box(15, 78, 15.1, 78.1)], crs=4326)
    years = [inventory.of_table(frame, {"year": year, "raster_km2": year - 2014.0}) for year in (2016, 2017)]
    (found,) = [one for one in inventory.check(*years).findings if one.rule == "total"]
    assert found.note == "2016: 2.000 km2 against 2.000 (0.000%); 2017: 2.000 km2 against 3.000 (33.333%)"
    (alike,) = [one for one in inventory.check(*years[:1], *years[:1]).findings if one.rule == "total"]
    assert alike.note == "2.000 km2 against 2.000 (0.000%)"


def test_wgs_72_is_another_datum() -> None:
    square = gpd.GeoDataFrame({"id": ["a"]}, geometry=[shapely.box(15, 78, 15.1, 78.1)], crs=4326)
    found = {
        crs: next(
            one.ok
            for one in inventory.check(inventory.of_table(square.set_crs(crs, allow_override=True), {})).findings
            if one.rule == "crs"
        )
        for crs in (4326, "OGC:CRS84", 4322, 4258)
    }
    assert found == {4326: True, "OGC:CRS84": True, 4322: False, 4258: False}


def test_another_crs_is_found(rgi: Path, tmp_path: Path) -> None:
    folder = tmp_path / "package"
    shutil.copytree(rgi, folder)
    rewrite(folder, lambda table: table.to_crs(32633))
    assert "crs" in pipeline.qc_of(folder).broken


def test_the_rules_cover_what_was_promised() -> None:
    assert set(DEFECTS) | {"crs"} == set(qc.RULES)


# -- on the command line -----------------------------------------------------------------------------------------------
def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    from icemapper_xr import cli

    try:
        cli.main([str(argument) for argument in arguments])
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_commands_from_outlines_to_a_checked_package(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "map"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("rgi_*", "glims_*", "glaciers.gpkg"))
    code, out, _ = command(capsys, "outlines", folder, "--band", "--simplify", 5, "--dem", folder / "dem.tif")
    assert code == 0
    assert "margins +-" in out
    assert "1 touch the edge of the data" in out
    code, out, _ = command(capsys, "divides", folder, "--reference", folder / "reference.gpkg")
    assert code == 0
    assert out.splitlines()[1].split()[:3] == ["2023", "4", "4"]
    code, out, _ = command(capsys, "link", folder, "--to", folder / "reference.gpkg")
    assert code == 0
    assert out.splitlines()[1].split() == ["inventory", "2023", "2", "0", "0", "0", "2", "0", "0"]
    code, form, _ = command(capsys, "export", "form")
    assert code == 0
    assert form == inventory.FORM
    for product in ("rgi", "glims"):
        code, out, _ = command(capsys, "export", product, folder, "--submission", folder / "submission.toml")
        assert code == 0
        assert "left out: 1 glaciers that end where the data end" in out
        code, out, _ = command(capsys, "qc", folder / f"{product}_2023")
        assert (code, "all rules kept" in out) == (0, True), out
    code, out, _ = command(capsys, "qc", folder)
    assert code == 1
    assert "1 of 18 rules broken" in out


def test_the_commands_refuse_in_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [
        (("divides", run, "--method", "flowsheds"), "needs a DEM"),
        (("divides", run, "--dem", tmp_path / "no.tif"), "There is no DEM"),
        (("divides", run, "--reference", run / "submission.toml"), "Cannot read outlines"),
        (("divides", run, "--dem", run / "dem.tif", "--keep", 7), "keep=7"),
        (("link", run), "one year only"),
        (("export", "rgi", run, "--submission", tmp_path / "no.toml"), "icemapper export form"),
        (("qc", tmp_path / "nowhere"), "has no outlines.gpkg"),
        (("outlines", run, "--simplify", -3), "simplify=-3"),
    ]
    for arguments, message in cases:
        code, out, err = command(capsys, *arguments)
        assert code == 2, arguments
        assert message in err
        assert len(err.splitlines()) == 1
        assert not out


# -- glaciers that were edited ----------------------------------------------------------------------------------------
def edited(run: Path, folder: Path, change) -> Path:
    """A folder of glaciers alone, changed as another program may do."""
    folder.mkdir()
    change(gpd.read_file(run / "glaciers.gpkg")).to_file(folder / "glaciers.gpkg")
    return folder


def multi(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return table.set_geometry([shapely.MultiPolygon([one]) for one in table.geometry], crs=table.crs)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.to_crs(32633),
        multi,
        lambda table: table.assign(year="2023-08-31"),
        lambda table: table.assign(touches_edge=table["touches_edge"].astype(int)),
        lambda table: table.assign(touches_edge=table["touches_edge"].astype(str)),
    ],
    ids=["crs", "multi", "date", "number", "text"],
)
def test_edited_glaciers_are_exported_all_the_same(run: Path, tmp_path: Path, change) -> None:
    plain = edited(run, tmp_path / "plain", lambda table: table)
    other = edited(run, tmp_path / "other", change)
    for product in ("rgi", "glims"):
        made = [
            pipeline.export_of_run(one, product=product, submission=run / "submission.toml") for one in (plain, other)
        ]
        assert made[0].outlines == made[1].outlines == 3
        assert made[0].area_km2 == pytest.approx(made[1].area_km2)
    borders = [gpd.read_file(next((one / "rgi_2023").rglob("*-I-*.shp")))["length_m"] for one in (plain, other)]
    assert borders[1].to_numpy() == pytest.approx(borders[0].to_numpy(), rel=1e-3)
    checked = [[(one.rule, one.ok) for one in pipeline.qc_of(folder).findings] for folder in (plain, other)]
    assert checked[0] == checked[1]


def test_glaciers_at_180_degrees_are_themselves_in_another_crs() -> None:
    west, east = shapely.box(179.9, 71, 180, 71.02), shapely.box(-180, 71, -179.9, 71.02)
    table = gpd.GeoDataFrame({"id": ["a", "b"]}, geometry=[west, east], crs=4326)
    for epsg in (32660, 32601):
        made = divided.sound(table.to_crs(epsg), Path("glaciers.gpkg"))
        np.testing.assert_allclose(made.bounds, table.bounds, atol=1e-6)
        assert made.is_valid.all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.set_crs(None, allow_override=True), "has no CRS"),
        (lambda table: table.drop(columns="touches_edge"), "no column 'touches_edge'"),
        (lambda table: table.drop(columns="area_km2"), "no column 'area_km2'"),
        (lambda table: table.drop(columns="id"), "no column 'id'"),
        (lambda table: table.drop(columns="year"), "no column 'year'"),
        (lambda table: table.assign(year=2022.5), r"4 of 4 rows of .* have no valid year, the first has 2022.5"),
        (lambda table: table.assign(area_km2=[np.nan, 1, 1, 1]), r"1 of 4 rows of .* no valid area_km2"),
        (lambda table: table.assign(touches_edge="perhaps"), "no valid touches_edge, the first has 'perhaps'"),
        (lambda table: table.assign(id=[None, "b", "c", "d"]), "1 of 4 rows of .* no valid id"),
        (lambda table: table.set_geometry([None, *table.geometry[1:]], crs=4326), "1 of 4 rows of .* have no polygon"),
        (lambda table: table.set_geometry(table.centroid), "holds Point geometries"),
        (lambda table: table.dissolve("year", as_index=False), "MultiPolygon of several parts"),
        (lambda table: table.assign(id=["a", "b", "b", "d"]), r"has the id b twice in 2023: give each part"),
    ],
)
@pytest.mark.filterwarnings("ignore:Geometry is in a geographic CRS", "ignore:'crs' was not provided")
def test_glaciers_edited_beyond_use_are_refused_by_name(run: Path, tmp_path: Path, change, message: str) -> None:
    folder = edited(run, tmp_path / "edited", change)
    with pytest.raises(errors.StoreError, match=message) as error:
        pipeline.export_of_run(folder, product="rgi", submission=run / "submission.toml")
    assert "glaciers.gpkg" in str(error.value)
    assert f"`icemapper divides {folder}` again" in str(error.value)


def test_no_part_of_a_glacier_at_the_edge_is_exported_as_the_glacier(run: Path, tmp_path: Path) -> None:
    def split(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
        inside, edge = table.index[~table["touches_edge"]][0], table.index[table["touches_edge"]][0]
        table.loc[inside, ["glacier_id", "id"]] = [table.loc[edge, "glacier_id"], table.loc[edge, "id"] + ".2"]
        return table

    folder = edited(run, tmp_path / "parts", split)
    report = pipeline.export_of_run(folder, product="glims", submission=run / "submission.toml")
    assert report.outlines == 2
    assert len(report.left_out["edge"]) == 2
    kept = pipeline.export_of_run(folder, product="glims", submission=run / "submission.toml", keep_edge=True)
    assert kept.outlines == 4


@pytest.mark.parametrize("product", ["rgi", "glims"])
def test_nothing_to_export_replaces_no_package(run: Path, tmp_path: Path, product) -> None:
    """All glaciers at the edge: an empty package took the place of the last one, and `qc` of the first kind passed."""
    folder = edited(run, tmp_path / "edge", lambda table: table.assign(touches_edge=True))
    options = {"product": product, "submission": run / "submission.toml"}
    kept = pipeline.export_of_run(folder, keep_edge=True, **options)
    before = sorted(path.name for path in kept.folder.iterdir())
    with pytest.raises(
        errors.OptionError, match=r"of the 4 polygons of 2023 .* 4 are of glaciers that end where .*edge"
    ):
        pipeline.export_of_run(folder, **options)
    assert sorted(path.name for path in kept.folder.iterdir()) == before
    assert len(gpd.read_file(next(kept.folder.glob("*G-07.shp" if product == "rgi" else "glaciers.shp")))) >= 4


# -- glaciers and settings of another drawing --------------------------------------------------------------------------
def mapped(folder: Path, *years: int, radius: float = 60.0, orbit: int = 14, overwrite: bool = False) -> Path:
    """The store of one round glacier in some years; its radius stands for the weights."""
    y, x = (axis[:200] for axis in axes())
    for number, year in enumerate(years):
        p = soft_disc((200, 200), 100, 100, radius, 6).astype(np.float32)
        result = xr.Dataset(
            {"probability": (("y", "x"), p), "n_obs": (("y", "x"), np.full(p.shape, 15, np.uint8))},
            coords={"y": y, "x": x},
            attrs={"year": year, "relative_orbit": orbit, "polarisation": "HH", "weights_digest": f"{radius:064g}"},
        ).rio.write_crs(32633)
        store.write(result, folder / "glaciers.zarr", year=year, overwrite=overwrite and number == 0)
    (folder / "submission.toml").write_text(FORM, encoding="utf-8")
    return folder


def test_glaciers_of_other_outlines_of_the_same_map_are_the_user_s_choice(tmp_path: Path) -> None:
    folder = mapped(tmp_path / "map", 2023)
    pipeline.outlines_of_run(folder)
    pipeline.outlines_of_run(folder, folder / "outlines_simple.gpkg", simplify=20)
    path, _ = pipeline.divides_of_run(folder / "outlines_simple.gpkg")
    assert path == folder / "glaciers.gpkg"
    divided.refuse_stale(path)
    for out in (path.resolve(), folder / "glaciers.geojson"):
        assert pipeline.divides_of_run(folder, out)[0] == out


def test_glaciers_of_another_map_are_refused_until_it_is_divided_again(tmp_path: Path) -> None:
    folder = mapped(tmp_path / "map", 2022, 2023)
    pipeline.outlines_of_run(folder)
    pipeline.divides_of_run(folder)

    def export() -> packages.ExportReport:
        return pipeline.export_of_run(folder, product="glims", submission=folder / "submission.toml")

    other = mapped(tmp_path / "other", 2022, 2023, orbit=87)
    draws = {"n_draws": 100, "landscape_draws": 100}
    pipeline.outlines_of_run(folder, band=True, calibration="none")  # the same lines
    assert export().year == 2023
    mapped(folder, 2022, 2023, radius=45.0, overwrite=True)
    pipeline.outlines_of_run(folder)
    for verb in (
        export,
        lambda: pipeline.links_of_run(folder),
        lambda: pipeline.qc_of(folder),
        lambda: pipeline.areas_of_run(folder, **draws),
        lambda: pipeline.rates_of_run(folder, **draws),
        lambda: pipeline.rates_of_run(folder, others=[other], **draws),
    ):
        with pytest.raises(errors.StoreError, match=r"other outlines of 2022, 2023 .*run `icemapper divides .*` again"):
            verb()
    pipeline.divides_of_run(folder)
    assert export().area_km2 == pytest.approx(np.pi * 0.45**2, rel=0.02)
    mapped(folder, 2024, radius=45.0)
    pipeline.outlines_of_run(folder)
    with pytest.warns(UserWarning, match="the package is of 2023, the last year of .*the map has 2024, too"):
        assert export().year == 2023
    pipeline.outlines_of_run(folder, threshold=0.7)
    with pytest.raises(errors.StoreError, match="other outlines"):
        export()
    plain = gpd.read_file(folder / "glaciers.gpkg")
    plain.to_file(folder / "glaciers.gpkg", layer="glaciers")  # a file that does not say, as those of before
    assert (
        pipeline.export_of_run(folder, product="glims", submission=folder / "submission.toml", year=2022).year == 2022
    )


def test_a_folder_without_settings_keeps_those_of_its_outlines(tmp_path: Path) -> None:
    """As one whose last year could not be mapped: nothing wrote run.json."""
    folder = mapped(tmp_path / "map", 2023)
    pipeline.outlines_of_run(folder, threshold=0.7, min_hole_km2=0.02)
    assert json.loads((folder / "run.json").read_text()) == {
        "threshold": 0.7,
        "min_area_km2": 0.01,
        "min_hole_km2": 0.02,
    }
    path, _ = pipeline.divides_of_run(folder)
    half_width = gpd.read_file(path)["half_width_m"].iloc[0]
    report = pipeline.export_of_run(folder, product="glims", submission=folder / "submission.toml")
    said = json.loads((report.folder / "provenance.json").read_text())
    assert said["threshold"] == 0.7
    assert said["raster_km2"] == pytest.approx(report.area_km2, rel=0.01)
    assert half_width > 0
    other = mapped(tmp_path / "other", 2023)
    (other / "glaciers.zarr").rename(other / "own.zarr")
    pipeline.outlines_of_run(other / "own.zarr", threshold=0.7)  # a cube in a folder that is not ours
    assert not (other / "run.json").exists()
