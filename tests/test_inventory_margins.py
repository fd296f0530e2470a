"""Bands, simplified outlines and flags."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely
import xarray as xr

from icemapper_xr import calibrate, errors, inventory, pipeline, vectorise
from tests import results_support as rs
from tests.test_inventory_divides import CELL, box, dem_of, frame
from tests.test_vectorise import distance, noise, raster

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")


def soft_disc(shape: tuple[int, int], row: float, column: float, radius: float, width: float) -> np.ndarray:
    """A disc whose probability falls in a straight line from 1 to 0 over `width` pixels."""
    return np.clip((radius - distance(shape, row, column)) / width + 0.5, 0, 1)


def test_the_band_of_a_soft_disc_is_as_wide_as_its_rim() -> None:
    p = raster(soft_disc((300, 300), 150.2, 149.7, 100, 20))
    drawn = vectorise.outlines(p, year=2020)
    found, sides = vectorise.band(p, drawn)
    # 5 % and 95 % lie 9 pixels of 10 m outside and inside
    assert found["half_width_m"].item() == pytest.approx(90.0, rel=0.01)
    scale = drawn["area_km2"].item() / (np.pi * 1.0**2)  # of UTM
    assert found["area_low_km2"].item() == pytest.approx(np.pi * 0.91**2 * scale, rel=1e-3)
    assert found["area_high_km2"].item() == pytest.approx(np.pi * 1.09**2 * scale, rel=1e-3)
    assert sides["level"].tolist() == [0.05, 0.95]
    assert sides.geometry.iloc[0].contains(drawn.geometry.item())
    assert drawn.geometry.item().contains(sides.geometry.iloc[1])


def test_bodies_in_one_outer_line_share_what_lies_between_them() -> None:
    p = np.maximum(soft_disc((200, 400), 100, 110, 60, 40), soft_disc((200, 400), 100, 250, 60, 40))
    data = raster(p)
    found, sides = vectorise.band(data, vectorise.outlines(data))
    assert len(found) == 2
    assert (sides["level"] == 0.05).sum() == 1
    outer = sides.loc[sides["level"] == 0.05, "area_km2"].item()
    assert found["area_high_km2"].sum() == pytest.approx(outer)
    np.testing.assert_allclose(found["area_high_km2"], outer / 2, rtol=1e-3)


def test_a_body_that_is_nowhere_sure_has_a_lower_bound_of_nothing() -> None:
    p = raster(0.9 * soft_disc((120, 120), 60, 60, 30, 4))
    found, _ = vectorise.band(p, vectorise.outlines(p))
    assert found["area_low_km2"].item() == 0
    assert found["area_high_km2"].item() > found["area_km2"].item()


def test_levels_that_a_calibration_never_reaches() -> None:
    p = raster(soft_disc((120, 120), 60, 60, 30, 4))
    timid = calibrate.reached_at(calibrate.Monotone((0.0, 1.0), (0.5, 0.9)), (0.05, 0.95))
    assert timid == (None, None)
    found, sides = vectorise.band(p, vectorise.outlines(p), at=timid)
    assert found["area_low_km2"].item() == 0
    assert np.isnan(found["area_high_km2"].item())
    assert np.isnan(found["half_width_m"].item())
    assert sides.empty
    published = calibrate.published()  # it is not monotone near 0.5
    low, high = calibrate.reached_at(published, (0.05, 0.95))
    assert calibrate.calibrated_probability([low, high], published) == pytest.approx([0.05, 0.95], abs=1e-3)


def test_the_band_of_nothing_and_of_wrong_levels() -> None:
    p = raster(np.zeros((20, 20)))
    found, sides = vectorise.band(p, vectorise.outlines(p))
    assert found.empty
    assert sides.empty
    assert set(vectorise.BAND_COLUMNS) <= set(found.columns)
    with pytest.raises(errors.OptionError, match="below the threshold"):
        vectorise.band(p, vectorise.outlines(p), levels=(0.6, 0.9))


def test_simplified_outlines_keep_area_and_common_edges() -> None:
    p = raster(soft_disc((300, 300), 150.2, 149.7, 100, 4))
    drawn = vectorise.outlines(p)
    light = vectorise.simplify(drawn, 20.0)
    assert shapely.get_num_coordinates(light.geometry.item()) < shapely.get_num_coordinates(drawn.geometry.item()) / 3
    # chords of c m make triangles of c^3 / 2r m2: those up to c go, so that chords of 2c may stay, which cut off
    # (2c)^2 / 6r^2 of the disc
    c = (2 * 1000 * 20.0**2) ** (1 / 3)
    assert 0 < 1 - light["area_km2"].item() / drawn["area_km2"].item() < (2 * c) ** 2 / (6 * 1000**2)
    assert light["area_km2"].item() == pytest.approx(vectorise.total_area_km2(light), rel=1e-6)
    assert light["perimeter_km"].item() == pytest.approx(drawn["perimeter_km"].item(), rel=1e-2)
    assert light.crs == drawn.crs
    y = np.linspace(0, 3000, 301)
    wavy = np.c_[500_000 + 1500 + 60 * np.sin(y / 90), 8_690_000 + y]
    west = shapely.Polygon([*wavy, (500_000, 8_693_000), (500_000, 8_690_000)])
    east = shapely.Polygon([*wavy, (503_000, 8_693_000), (503_000, 8_690_000)])
    pair = gpd.GeoDataFrame(geometry=[west, east], crs=32633)
    thin = vectorise.simplify(pair, 40.0)
    assert shapely.coverage_is_valid(thin.geometry.values)
    assert shapely.get_num_coordinates(thin.geometry.values).sum() < 200
    assert vectorise.simplify(pair, 0.0) is pair
    with pytest.raises(errors.OptionError, match="tolerance"):
        vectorise.simplify(pair, -1.0)


def test_simplified_outlines_keep_the_least_area_and_the_width_of_their_band(tmp_path: Path) -> None:
    """What is left of bodies that were just large enough is no outline; the band lies around the row's area."""
    from icemapper_xr import pipeline, store

    p = np.maximum(soft_disc((240, 240), 120, 120, 60, 10), soft_disc((240, 240), 25, 25, 6, 2))
    p = np.maximum(p, 0.8 * soft_disc((240, 240), 210, 210, 20, 10))  # nowhere at 95 %
    result = raster(p.astype(np.float32)).to_dataset(name="probability")
    result = result.assign(n_obs=(("y", "x"), np.full(p.shape, 15, np.uint8))).assign_attrs(year=2020)
    store.write(result, tmp_path / "glaciers.zarr", year=2020)
    _, drawn = pipeline.outlines_of_run(tmp_path, band=True, calibration="none")
    least = float(drawn["area_km2"].min())
    assert len(drawn) == 3
    path, light = pipeline.outlines_of_run(tmp_path, band=True, calibration="none", simplify=20.0, min_area_km2=least)
    assert gpd.read_file(path)["area_km2"].min() >= least
    kept = drawn[drawn["id"].isin(light["id"])].reset_index(drop=True)
    assert light["id"].tolist() == kept["id"].tolist()
    assert len(light) == 2
    moved = light["area_km2"] - kept["area_km2"]
    assert (moved.abs() > 1e-4).all()
    np.testing.assert_allclose(light["area_high_km2"] - light["area_km2"], kept["area_high_km2"] - kept["area_km2"])
    low = light["area_low_km2"].to_numpy()
    np.testing.assert_allclose(low, np.where(kept["area_low_km2"] > 0, kept["area_low_km2"] + moved, 0))
    assert (low == 0).sum() == 1


def test_a_body_across_180_degrees_is_simplified_as_one() -> None:
    x, y = pyproj.Transformer.from_crs(4326, 32601, always_xy=True).transform(180.0, 71.0)
    values = soft_disc((200, 200), 100, 100, 80, 4)
    drawn = vectorise.outlines(raster(values, left=round(x) - 1000.0, top=round(y) + 1000.0, crs=32601))
    assert drawn.geom_type.item() == "MultiPolygon"
    light = vectorise.simplify(drawn, 10.0)
    assert light.geom_type.item() == "MultiPolygon"
    assert light.is_valid.all()
    assert shapely.get_num_coordinates(light.geometry.item()) < shapely.get_num_coordinates(drawn.geometry.item()) / 3
    assert light["area_km2"].item() == pytest.approx(drawn["area_km2"].item(), rel=5e-3)
    assert light["perimeter_km"].item() == pytest.approx(drawn["perimeter_km"].item(), rel=5e-3)
    assert light["area_km2"].item() == pytest.approx(vectorise.total_area_km2(light), rel=1e-6)


def test_simplified_outlines_are_valid_in_degrees() -> None:
    """Samples on the threshold bring rings 10 micrometres from themselves: bent edges cross there."""
    drawn = vectorise.outlines(raster(noise(2, "steps", (200, 200))), min_area_km2=0.01)
    assert drawn.is_valid.all()
    light = vectorise.simplify(drawn, 10.0)
    assert light.is_valid.all()
    assert light["area_km2"].to_numpy() == pytest.approx(vectorise.areas_km2(light), rel=1e-6)


def years(*tables: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    made = pd.concat(tables, ignore_index=True)
    return made.assign(area_km2=made.area / 1e6)


def test_small_bodies_of_few_years_may_be_snow() -> None:
    big, often, once = box(0, 0, 100, 100), box(200, 0, 210, 10), box(300, 0, 310, 10)
    table = years(frame(big, often, once, year=2016), frame(big, often, year=2017), frame(big, often, year=2018))
    found = inventory.snow_suspects(table)
    assert found["snow_suspect"].tolist() == [False, False, True, *[False] * 4]
    assert found["years_seen"].isna().tolist() == [True, False, False, True, False, True, False]
    assert found["years_seen"].dropna().tolist() == [3, 1, 3, 3]
    alone = inventory.snow_suspects(table[table["year"] == 2016])
    assert alone["snow_suspect"].tolist() == [False, True, True]  # one year cannot tell


def test_years_without_any_ice_count_among_those_mapped(tmp_path: Path) -> None:
    often = box(200, 0, 210, 10)
    table = years(*(frame(often, year=year) for year in (2016, 2017)))
    assert inventory.snow_suspects(table, mapped=range(2016, 2019))["snow_suspect"].tolist() == [False, False]
    assert inventory.snow_suspects(table, mapped=range(2016, 2020))["snow_suspect"].tolist() == [True, True]
    small = np.zeros((rs.ROWS, rs.COLUMNS), np.float32)
    small[100:105, 100:105] = 1
    rs.write_map(tmp_path, range(2016, 2021), planes={2016 + k: small * (k < 2) for k in range(5)})
    drawn = pipeline.outlines_of_run(tmp_path)[1]
    assert drawn["snow_suspect"].tolist() == [True, True]


def test_a_dem_that_does_not_cover_the_ice_says_so() -> None:
    x = np.mgrid[:100, :150][1]
    dem = dem_of(np.where(x < 50, -1.0, np.where(x < 100, 10.0, np.nan)).astype(np.float32))
    table = years(frame(box(10, 10, 40, 60), box(90, 10, 140, 60), box(60, 10, 90, 60), box(200, 10, 220, 60)))
    with pytest.warns(UserWarning, match=r"covers less than half of 2 of 4 outlines"):
        found = inventory.sea_ice_suspects(table, dem)
    assert found["sea_km2"].isna().tolist() == [False, True, False, True]
    assert found["sea_ice_suspect"].tolist() == [True, False, False, False]
    with pytest.raises(errors.VectorError, match=r"covers none of the 1 outlines"):
        inventory.sea_ice_suspects(years(frame(box(200, 10, 220, 60))), dem)


def test_ice_over_the_sea_is_flagged() -> None:
    x = np.mgrid[:100, :150][1]
    dem = dem_of(np.where(x < 100, 100.0 - x, -1.0).astype(np.float32))
    table = years(frame(box(10, 10, 60, 60), box(70, 20, 130, 60), box(80, 70, 100, 90)))
    found = inventory.sea_ice_suspects(table, dem)
    assert found["sea_km2"].tolist() == pytest.approx([0, 30 * 40 * CELL**2 / 1e6, 0])
    assert found["sea_ice_suspect"].tolist() == [False, True, False]
    assert inventory.termini(table, dem) == ["land", "marine", "marine"]
    divided = inventory.divide(table, dem=dem, method="bodies", sea_level=0.0)
    assert sorted(divided["terminus"]) == ["land", "marine", "marine"]
    with pytest.raises(errors.OptionError, match="needs the DEM"):
        inventory.divide(table, sea_level=0.0)


def test_each_glacier_of_a_body_has_its_own_share_of_the_sea() -> None:
    x = np.mgrid[:100, :150][1]
    dem = dem_of(np.where(x < 100, 100.0 - x, -1.0).astype(np.float32))
    body = inventory.sea_ice_suspects(years(frame(box(70, 20, 130, 60))), dem)
    reference = frame(box(70, 20, 100, 60), box(100, 20, 130, 60), glacier_id=["inland", "afloat"])
    made = inventory.divide(body, reference=reference, dem=dem, sea_level=0.0).set_index("glacier_id")
    assert made["sea_km2"].sum() == pytest.approx(body["sea_km2"].item(), rel=1e-6)
    assert made["sea_ice_suspect"].to_dict() == {"afloat": True, "inland": False}
    assert "sea_km2" not in inventory.divide(body, reference=reference)


def test_the_interval_of_a_body_is_shared_by_its_glaciers() -> None:
    ice = frame(box(0, 0, 100, 50)).to_crs(4326)
    ice["area_km2"], ice["area_low_km2"], ice["area_high_km2"], ice["half_width_m"] = 2.0, 1.7, 2.6, 10.0
    reference = frame(box(-10, -10, 25, 60), box(25, -10, 110, 60), glacier_id=["small", "large"])
    made = inventory.divide(ice, reference=reference).set_index("glacier_id")
    # margin: 25 + 25 + 50 and 75 + 75 + 50 of 300 cells; the divide is none
    np.testing.assert_allclose((made["area_high_km2"] - made["area_km2"])[["small", "large"]], [0.2, 0.4], rtol=1e-3)
    np.testing.assert_allclose((made["area_km2"] - made["area_low_km2"])[["small", "large"]], [0.1, 0.2], rtol=1e-3)
    # one row of two bodies, as across the antimeridian, has one interval for both
    apart = shapely.MultiPolygon([box(0, 0, 25, 25), box(30, 0, 80, 50)])  # margins of 100 and 200 cells
    parts = inventory.divide(frame(apart).assign(area_km2=2.0, area_low_km2=1.7, area_high_km2=2.6))
    parts = parts.sort_values("area_km2")
    np.testing.assert_allclose(parts["area_km2"] - parts["area_low_km2"], [0.1, 0.2], rtol=1e-3)
    np.testing.assert_allclose(parts["area_high_km2"] - parts["area_km2"], [0.2, 0.4], rtol=1e-3)


def test_a_filled_hole_is_no_doubtful_ice(tmp_path: Path) -> None:
    from icemapper_xr import pipeline, store

    p = np.minimum(soft_disc((240, 240), 120, 120, 90, 10), 1 - soft_disc((240, 240), 120, 120, 20, 10))
    solid = soft_disc((240, 240), 120, 120, 90, 10)
    found = []
    for k, values in enumerate((p, solid)):
        result = xr.Dataset(
            {
                "probability": (("y", "x"), values.astype(np.float32)),
                "n_obs": (("y", "x"), np.full(p.shape, 15, np.uint8)),
            },
            coords={"y": 8_697_600.0 - 5 - 10.0 * np.arange(240), "x": 518_400.0 + 5 + 10.0 * np.arange(240)},
            attrs={"year": 2020, "relative_orbit": 14, "polarisation": "HH"},
        ).rio.write_crs(32633)
        found.append(vectorise.band(result, vectorise.outlines(result, min_hole_km2=1.0), min_hole_km2=1.0).outlines)
        store.write(result.chunk({"y": 120, "x": 120}), tmp_path / str(k) / "glaciers.zarr", year=2020)
        found.append(pipeline.outlines_of_run(tmp_path / str(k), band=True, min_hole_km2=1.0)[1])
    for one in found:
        for name in ("area_km2", "area_low_km2", "area_high_km2", "half_width_m"):
            assert one[name].item() == pytest.approx(found[-1][name].item(), rel=1e-6)


def test_outlines_are_not_drawn_for_nothing(tmp_path: Path) -> None:
    from icemapper_xr import pipeline

    with pytest.raises(errors.VectorError, match=r"Unknown suffix '.shp'"):
        pipeline.outlines_of_run(tmp_path, tmp_path / "outlines.shp")
    with pytest.raises(errors.OptionError, match=r"calibration=model.json .* ask for the band, too"):
        pipeline.outlines_of_run(tmp_path, calibration="model.json")
    (tmp_path / "outlines.gpkg").write_bytes(b"SQLite format 3\0 cut")
    with pytest.raises(errors.VectorError, match=r"Unknown suffix '.shp'"):
        pipeline.divides_of_run(tmp_path, out=tmp_path / "glaciers.shp")
    with pytest.raises(errors.VectorError, match=r"outlines.gpkg: .*; it may be damaged: make it anew") as error:
        pipeline.divides_of_run(tmp_path)
    assert "\n" not in str(error.value)


def test_outlines_of_a_folder_with_band_and_flags(tmp_path: Path) -> None:
    from icemapper_xr import pipeline, store

    y = 8_697_600.0 - 5 - 10.0 * np.arange(240)
    x = 518_400.0 + 5 + 10.0 * np.arange(240)
    p = soft_disc((240, 240), 120, 120, 60, 10).astype(np.float32)
    result = xr.Dataset(
        {"probability": (("y", "x"), p), "n_obs": (("y", "x"), np.full(p.shape, 15, np.uint8))},
        coords={"y": y, "x": x},
        attrs={"year": 2020, "relative_orbit": 14, "polarisation": "HH"},
    ).rio.write_crs(32633)
    store.write(result.chunk({"y": 120, "x": 120}), tmp_path / "glaciers.zarr", year=2020)
    path, drawn = pipeline.outlines_of_run(tmp_path, band=True, simplify=10.0)
    assert gpd.read_file(path)["half_width_m"].item() == pytest.approx(45.0, rel=0.02)
    assert gpd.read_file(tmp_path / "outlines_band.gpkg")["level"].tolist() == [0.05, 0.95]
    assert drawn["snow_suspect"].tolist() == [False]
    model = calibrate.Monotone((0.0, 1.0), (0.5, 1.0))  # conf = (1 + sqrt(c)) / 2: surer in the middle
    calibrate.write(model, tmp_path / "model.json")
    path, told = pipeline.outlines_of_run(tmp_path, tmp_path / "c.gpkg", band=True, calibration=tmp_path / "model.json")
    # 0.95 where c = 0.81, that is p = 0.9708: 4.708 of the 5 pixels of the half rim (and the corner of the ramp, which
    # interpolation between pixels rounds)
    assert told["half_width_m"].item() == pytest.approx(47.08, rel=0.02)
    assert set(gpd.read_file(path)["band_calibration"]) == {"calibrated by model.json"}
    assert set(drawn["band_calibration"]) == {"not calibrated"}
    pipeline.outlines_of_run(tmp_path)
    _, glaciers = pipeline.divides_of_run(tmp_path)  # measures the band by itself
    assert glaciers["half_width_m"].item() == pytest.approx(45.0, rel=0.02)
    assert glaciers["band_calibration"].item() == "not calibrated"
    assert glaciers["area_low_km2"].item() < glaciers["area_km2"].item() < glaciers["area_high_km2"].item()
