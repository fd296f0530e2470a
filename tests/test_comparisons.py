"""`surges`, `termini` and `inventories`: from files to numbers that are known."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely

from icemapper_xr import pipeline
from icemapper_xr.analysis import inventories, surges
from icemapper_xr.cli import main
from icemapper_xr.errors import AnalysisError, IcemapperError, OptionError
from icemapper_xr.pipeline import comparisons
from tests import results_support as rs

YEARS = (2020, 2021, 2022)
QUICK = {"n_draws": 100, "landscape_draws": 100, "temporal": False}


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = rs.write_map(tmp_path_factory.mktemp("map"), YEARS)
    rs.glaciers().to_file(folder / "glaciers.gpkg")
    rs.glaciers(years=YEARS).to_file(folder / "outlines.gpkg")
    return folder


# -- termini ----------------------------------------------------------------------------------------------------------
def boxes(*, azimuth=90.0) -> gpd.GeoDataFrame:
    x, y = rs.CENTRES["A"]
    columns = {"id": ["A east"], "azimuth": [azimuth], "width": [200.0], "length": [5000.0]}
    return gpd.GeoDataFrame(columns, geometry=[shapely.Point(x, y)], crs=rs.EPSG)


def test_retreat_of_a_round_front_is_that_of_its_radius(mapped: Path, tmp_path: Path) -> None:
    boxes().to_file(tmp_path / "boxes.gpkg")
    report = pipeline.termini_of_run(mapped, tmp_path / "boxes.gpkg", out=tmp_path / "t.csv")
    scale = np.sqrt(rs.SCALE)
    assert report.retreat["rate"].iloc[0] == pytest.approx(-rs.RETREAT["A"] * scale, rel=2e-3)
    expected = [(rs.radius("A", year) - 200**2 / 24 / rs.radius("A", year)) * scale for year in YEARS]
    np.testing.assert_allclose(report.lengths["length_m"], expected, rtol=1e-3)
    assert len(pd.read_csv(tmp_path / "t.csv", comment="#")) == 3
    assert "negative is retreat" in report.summary()
    lines = (tmp_path / "t.csv").read_text().splitlines()
    (told,) = [line.removeprefix("# retreat: ") for line in lines if line.startswith("# retreat: ")]
    assert json.loads(told, parse_constant=pytest.fail)["id"] == "A east"


def test_a_change_of_sensor_takes_the_rate_of_a_terminus_and_not_its_lengths(tmp_path: Path) -> None:
    folder = rs.write_map(tmp_path, YEARS, platforms=["S1A", "S1A", "S1C"])
    rs.glaciers(years=YEARS).to_file(folder / "outlines.gpkg")
    boxes().to_file(tmp_path / "boxes.gpkg")
    report = pipeline.termini_of_run(folder, tmp_path / "boxes.gpkg")
    assert len(pd.read_csv(tmp_path / "termini.csv", comment="#")) == len(report.lengths) == 3
    assert report.retreat["rate"].isna().all()
    assert report.retreat["note"].str.match("no rate: .*S1A to .*S1C without a year mapped with both").all()


def test_boxes_that_say_nothing_have_a_clear_line(mapped: Path, tmp_path: Path) -> None:
    boxes().drop(columns="width").to_file(tmp_path / "narrow.gpkg")
    with pytest.raises(AnalysisError, match="lack the column 'width'"):
        pipeline.termini_of_run(mapped, tmp_path / "narrow.gpkg")
    far = boxes()
    far.geometry = far.geometry.translate(1e5, 0)
    far.to_file(tmp_path / "far.gpkg")
    with pytest.raises(AnalysisError, match="box A east: no outline meets"):
        pipeline.termini_of_run(mapped, tmp_path / "far.gpkg")
    short = boxes().assign(length=100.0)
    short.to_file(tmp_path / "short.gpkg")
    report = pipeline.termini_of_run(mapped, tmp_path / "short.gpkg", out=tmp_path / "s.json")
    assert report.retreat["note"].iloc[0] == "3 years leave the box and are not used: no rate"
    half = rs.glaciers(years=YEARS).assign(year=[y + 0.5 for y in YEARS for _ in rs.CENTRES])
    half.to_file(tmp_path / "half.gpkg")
    with pytest.raises(AnalysisError, match=r"6 of 6 rows of the outlines .*half.gpkg have no whole year"):
        pipeline.termini_of_run(mapped, tmp_path / "short.gpkg", outlines=tmp_path / "half.gpkg")
    boxes().iloc[:0].to_file(tmp_path / "none.gpkg")
    assert not len(pipeline.termini_of_run(mapped, tmp_path / "none.gpkg", out=tmp_path / "n.csv").retreat)
    assert not (mapped / "termini.csv").exists()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"azimuth": np.nan}, "box A east: its azimuth is nan"),
        ({"azimuth": [np.inf]}, "box A east: its azimuth is inf"),
        ({"width": ["wide"]}, "box A east: its width is 'wide'"),
        ({"length": [None]}, "box A east: its length is (None|nan)"),
        ({"length": [-5.0]}, "box A east: its length is -5"),
        ({"width": [0.0]}, "box A east: its width is 0"),
    ],
)
def test_boxes_whose_numbers_are_none_are_named(mapped: Path, tmp_path: Path, columns: dict, message: str) -> None:
    boxes().assign(**columns).to_parquet(tmp_path / "boxes.parquet")
    with pytest.raises(AnalysisError, match=message) as error:
        pipeline.termini_of_run(mapped, tmp_path / "boxes.parquet", out=tmp_path / "t.csv")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("geometry", [None, shapely.Point(), shapely.box(0, 0, 1, 1)])
def test_boxes_without_a_point_are_refused(mapped: Path, tmp_path: Path, geometry: object) -> None:
    boxes().set_geometry(gpd.GeoSeries([geometry], crs=rs.EPSG)).to_parquet(tmp_path / "boxes.parquet")
    with pytest.raises(AnalysisError, match="must be points with a CRS"):
        pipeline.termini_of_run(mapped, tmp_path / "boxes.parquet", out=tmp_path / "t.csv")


def test_numbers_of_boxes_may_be_written_as_text(mapped: Path, tmp_path: Path) -> None:
    boxes().assign(width=["200"], length=["5000.0"]).to_file(tmp_path / "boxes.gpkg")
    report = pipeline.termini_of_run(mapped, tmp_path / "boxes.gpkg", out=tmp_path / "t.csv")
    assert report.retreat["rate"].iloc[0] == pytest.approx(-rs.RETREAT["A"] * np.sqrt(rs.SCALE), rel=2e-3)


def test_a_front_that_was_not_observed_is_no_retreat(tmp_path: Path) -> None:
    plane = rs.probability(2020)
    column = round((rs.CENTRES["A"][0] + 2000 - rs.LEFT) / rs.SIZE)
    strip = plane.copy()
    strip[:, column : column + 60] = np.nan
    behind = plane.copy()
    behind[:, column + 60 : column + 120] = np.nan  # beyond the front: water that a mask left out
    planes = {2020: plane, 2021: behind, 2022: strip, 2023: plane}
    folder = rs.write_map(tmp_path / "map", tuple(planes), planes=planes)
    pipeline.outlines_of_run(folder)
    boxes().to_file(tmp_path / "boxes.gpkg")
    report = pipeline.termini_of_run(folder, tmp_path / "boxes.gpkg")
    assert list(report.lengths["year"]) == [2020, 2021, 2023]
    (row,) = report.retreat.itertuples()
    assert row.rate == pytest.approx(0, abs=1e-6)
    assert row.note.startswith("the ice ends where the map does in 2022")
    pipeline.outlines_of_run(folder, out=tmp_path / "few.gpkg", simplify=100.0)
    few = pipeline.termini_of_run(folder, tmp_path / "boxes.gpkg", outlines=tmp_path / "few.gpkg")
    assert list(few.lengths["year"]) == [2020, 2021, 2023]


def test_the_edge_of_the_map_is_no_steady_front(tmp_path: Path) -> None:
    plane = rs.probability(2020)
    plane[100:180, :200] = 1.0
    folder = rs.write_map(tmp_path / "map", YEARS, planes=dict.fromkeys(YEARS, plane))
    pipeline.outlines_of_run(folder)
    west = gpd.GeoDataFrame(
        {"id": ["west"], "azimuth": [270.0], "width": [200.0], "length": [9000.0]},
        geometry=[shapely.Point(rs.LEFT + 4000, rs.TOP - 140 * rs.SIZE)],
        crs=rs.EPSG,
    )
    west.to_file(tmp_path / "boxes.gpkg")
    (row,) = pipeline.termini_of_run(folder, tmp_path / "boxes.gpkg").retreat.itertuples()
    assert row.n_years == 0
    assert row.note == "the ice ends where the map does in 2020, 2021, 2022: no rate"


# -- surges -----------------------------------------------------------------------------------------------------------
def test_surges_are_tested_on_the_rates_of_the_map(mapped: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# fixed in 2015\nA\n")
    report = pipeline.surges_of_run(mapped, tmp_path / "list.txt", out=tmp_path / "s.json", n_strata=1, **QUICK)
    method = json.loads((tmp_path / "s.json").read_text())["method"]
    assert any("1 size strata, blocks of 50 km" in line and "seed 42" in line for line in method)
    assert any("soft areas" in line for line in method)  # how the rates were made
    found = report.tests["none"]
    table = pipeline.rates_of_run(mapped, out=tmp_path / "r.csv", **QUICK).table.set_index("id")
    assert found.difference == pytest.approx(table.loc["A", "relative_rate"] - table.loc["B", "relative_rate"])
    assert (found.n_surging, found.n_other, found.p_value) == (1, 1, 1.0)
    assert json.loads((tmp_path / "s.json").read_text())["tests"]["none"]["n_cells"] == 1
    assert "fixed before the rates are looked at" in report.summary()
    (tmp_path / "wrong.txt").write_text("A\nRGI-17\n")
    with pytest.raises(AnalysisError, match="RGI-17 of"):
        pipeline.surges_of_run(mapped, tmp_path / "wrong.txt", **QUICK)
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(AnalysisError, match="holds no id"):
        pipeline.surges_of_run(mapped, tmp_path / "empty.txt", **QUICK)
    with pytest.raises(OptionError, match="cannot be read"):
        pipeline.surges_of_run(mapped, tmp_path / "nowhere.txt", **QUICK)


PLACES = {
    "arctic": [(15, 78), (15.2, 78.01), (30, 80), (25, 79), (60, 76), (179.99, 71), (-179.99, 71)],
    "antarctic": [(-60, -64), (-60.2, -64.01), (-60, -70), (0, -75), (179.99, -78), (-179.99, -78)],
    "andes": [(-77.6, -9.1), (-77.7, -9.2), (-70, -18), (-68, -16), (-75, 4.8)],
}


@pytest.mark.parametrize("place", PLACES)
def test_blocks_of_glaciers_in_degrees_are_those_of_kilometres(place: str) -> None:
    points = np.array(PLACES[place], dtype=float)
    shapes = gpd.GeoSeries(shapely.buffer(shapely.points(points), 0.01), crs=4326)
    centres = comparisons.centres(shapes)
    x, y = centres.x.to_numpy(), centres.y.to_numpy()
    number = surges.spatial_blocks(x, y)
    assert np.unique(number).size >= 4
    lon, lat = points.T
    for i, k in itertools.combinations(range(len(points)), 2):
        metres = pyproj.Geod(ellps="WGS84").inv(lon[i], lat[i], lon[k], lat[k])[2]
        assert np.hypot(x[i] - x[k], y[i] - y[k]) == pytest.approx(metres, rel=0.2)
        assert number[i] != number[k] or metres < 100e3
    flat = shapes.iloc[:2].to_crs(3413)
    assert centres.crs.is_projected
    assert comparisons.centres(flat).crs == flat.crs  # a projected map keeps its grid


# -- inventories ------------------------------------------------------------------------------------------------------
def squares(areas_km2, years) -> gpd.GeoDataFrame:
    sides = np.sqrt(np.asarray(areas_km2) * 1e6)
    ends = np.cumsum(sides + 1000)
    shapes = [shapely.box(end - side, 0, end, side) for side, end in zip(sides, ends, strict=True)]
    return gpd.GeoDataFrame({"year": years}, geometry=shapes, crs=6931)


def test_the_published_composition_gives_k_eff_and_mean_year_from_files(tmp_path: Path) -> None:
    """RGI 7 in Svalbard (FACTS 7): k_eff 2.4886, mean year 2006.312; about -70.3 km2 a-1 to 2016."""
    shares = np.array(list(inventories.RGI7_SVALBARD_YEARS.values()))
    first = squares(32570.49 * shares / shares.sum(), list(inventories.RGI7_SVALBARD_YEARS))
    first.to_file(tmp_path / "rgi.gpkg")
    squares([31889.28], [2016]).to_file(tmp_path / "s1.gpkg")
    report = pipeline.inventories_of_files(
        tmp_path / "rgi.gpkg", tmp_path / "s1.gpkg", out=tmp_path / "i.json", recent_rate=-227.627,
        recent_half_width=74.571, n_draws=20_000,
    )  # fmt: skip
    assert report.first.effective_years == pytest.approx(2.4886, abs=5e-5)
    assert report.first.mean_year == pytest.approx(2006.312, abs=5e-4)
    assert report.first.area == pytest.approx(32570.49, rel=1e-5)
    assert report.stages.second.percentiles[1] == pytest.approx(-70.3, abs=2.0)
    low, middle, high = report.stages.second.percentiles
    assert low < -70.3 < high
    assert report.factor is not None
    assert report.factor.p_above_one > 0.8
    stored = json.loads((tmp_path / "i.json").read_text())
    assert stored["stage 2"]["percentiles"][1] == pytest.approx(middle)
    assert "k_eff 2.4886" in report.summary()


def test_inventories_without_dates_or_glaciers_are_refused(tmp_path: Path) -> None:
    good = squares([10.0], [2000])
    good.to_file(tmp_path / "good.gpkg")
    good.rename(columns={"year": "src_date"}).assign(src_date="2016-08-01").to_file(tmp_path / "rgi.gpkg")
    good.drop(columns="year").to_file(tmp_path / "undated.gpkg")
    good.assign(year=2000).to_file(tmp_path / "same.gpkg")
    good.iloc[:0].to_file(tmp_path / "nothing.gpkg")
    found = pipeline.inventories_of_files(tmp_path / "good.gpkg", tmp_path / "rgi.gpkg", n_draws=1000)
    assert found.second.mean_year == 2016
    for first, second, options, message in (
        ("good.gpkg", "undated.gpkg", {}, "neither 'year' nor 'src_date'"),
        ("good.gpkg", "same.gpkg", {}, "years overlap"),
        ("good.gpkg", "rgi.gpkg", {"min_area_km2": 20}, "no glacier of 20 km2"),
        ("good.gpkg", "nothing.gpkg", {}, "nothing.gpkg has no glacier of 0 km2"),
        ("good.gpkg", "rgi.gpkg", {"recent_rate": -1.0}, "belong together"),
        ("good.gpkg", "rgi.gpkg", {"out": tmp_path / "x.csv"}, "must end in .json"),
    ):
        with pytest.raises(IcemapperError, match=message):
            pipeline.inventories_of_files(tmp_path / first, tmp_path / second, **options)


def inventory(path: Path, areas_km2, years, **columns) -> Path:
    squares(areas_km2, years).assign(**columns).to_parquet(path)
    return path


def test_rock_of_glims_is_no_area_of_an_inventory(tmp_path: Path) -> None:
    kinds = {"line_type": ["glac_bound", "intrnl_rock"]}
    first = inventory(tmp_path / "glims.parquet", [9.0, 2.0], [2005, 2005], **kinds)
    second = inventory(tmp_path / "second.parquet", [8.0], [2016])
    found = pipeline.inventories_of_files(first, second, n_draws=1000)
    assert found.first.area == pytest.approx(9.0, rel=1e-4)


def test_several_years_of_the_same_ice_are_no_inventory(tmp_path: Path) -> None:
    first = inventory(tmp_path / "first.parquet", [9.0], [2005])
    ice = squares([9.0, 8.9, 8.8], [2016, 2020, 2024])
    ice.geometry = [shapely.box(0, 0, np.sqrt(a * 1e6), np.sqrt(a * 1e6)) for a in (9.0, 8.9, 8.8)]
    ice.to_parquet(tmp_path / "years.parquet")
    with pytest.raises(AnalysisError, match=r"2 of 3 outlines of .*years.parquet lie mostly in .*2016.*second-y"):
        pipeline.inventories_of_files(first, tmp_path / "years.parquet", n_draws=1000)
    with pytest.raises(AnalysisError, match=r"no outline of 2019; it has those of 2016, 2020, 2024"):
        pipeline.inventories_of_files(first, tmp_path / "years.parquet", n_draws=1000, second_year=2019)
    found = pipeline.inventories_of_files(first, tmp_path / "years.parquet", n_draws=1000, second_year=2024)
    assert found.second.area == pytest.approx(8.8, rel=1e-4)
    assert found.stages.first.mean == pytest.approx(-0.2 / 19, abs=0.01)
    apart = inventory(tmp_path / "ids.parquet", [5.0, 5.0, 3.0], [2005, 2010, 2005], glac_id=["G1", "G1", "G2"])
    with pytest.raises(AnalysisError, match=r"1 glaciers .*several years \(glac_id G1: 2005, 2010\).*--first-year"):
        pipeline.inventories_of_files(apart, first, n_draws=1000)
    inventory(tmp_path / "parts.parquet", [5.0, 4.0], [2005, 2005], glac_id=["G1", "G1"])
    ours = squares([9.0, 0.05], [2016, 2016])  # a little that lies double is no reason
    ours.geometry = [shapely.box(0, 0, 3000, 3000), shapely.box(100, 100, 320, 320)]
    ours.to_parquet(tmp_path / "little.parquet")
    found = pipeline.inventories_of_files(tmp_path / "parts.parquet", tmp_path / "little.parquet", n_draws=1000)
    assert found.first.area == pytest.approx(9.0, rel=1e-4)


@pytest.mark.parametrize(
    ("years", "expected"),
    [
        (pd.to_datetime(["2005-08-01", "2008-07-15"]), {2005: 10.0, 2008: 5.0}),
        ([dt.date(2005, 8, 1), dt.date(2008, 7, 15)], {2005: 10.0, 2008: 5.0}),
        (["2005", "2008"], {2005: 10.0, 2008: 5.0}),
        ([2005.0, 2008.0], {2005: 10.0, 2008: 5.0}),
        ([2005.9, 2008.0], "1 of 2 rows of .* no whole year, the first has 2005.9; give a whole year"),
        (["2005", "summer"], "1 of 2 rows of .* the first has summer"),
        ([2005, None], "1 of 2 rows of .* have no year"),
        ([20050801, 20080801], "2 of 2 rows of .* the first has 20050801"),
    ],
)
def test_years_of_an_inventory_are_whole_years_however_they_are_written(tmp_path: Path, years, expected) -> None:
    first = inventory(tmp_path / "first.parquet", [10.0, 5.0], years)
    second = inventory(tmp_path / "second.parquet", [12.0], [2016])
    if isinstance(expected, str):
        with pytest.raises(AnalysisError, match=expected) as error:
            pipeline.inventories_of_files(first, second, n_draws=1000)
        assert "\n" not in str(error.value)
    else:
        found = pipeline.inventories_of_files(first, second, n_draws=1000).first.years
        assert found == pytest.approx(expected, rel=1e-4)


def test_a_glacier_that_shrinks_below_the_smallest_area_is_not_lost(tmp_path: Path) -> None:
    ids = {"rgi_id": ["a", "b", "c"]}
    first = inventory(tmp_path / "first.parquet", [2.05, 9.0, 1.0], [2005] * 3, **ids)
    second = inventory(tmp_path / "second.parquet", [1.95, 8.9, 0.9], [2016] * 3, **ids)
    found = pipeline.inventories_of_files(first, second, n_draws=1000, min_area_km2=2.0)
    assert (found.first.area, found.second.area) == pytest.approx((11.05, 10.85), rel=1e-4)
    assert any("2 km2 in either inventory (by rgi_id)" in note for note in found.notes)
    second = inventory(tmp_path / "second.parquet", [1.95, 8.9, 0.9], [2016] * 3)
    found = pipeline.inventories_of_files(first, second, n_draws=1000, min_area_km2=2.0)
    assert found.second.area == pytest.approx(8.9, rel=1e-4)
    assert "one that shrinks below it counts as lost" in found.summary()
    assert pipeline.inventories_of_files(first, second, n_draws=1000).notes == ()


def test_ids_of_two_inventories_are_the_same_as_numbers_decimals_and_text(tmp_path: Path) -> None:
    first = inventory(tmp_path / "first.parquet", [2.05, 9.0], [2005] * 2, glac_id=[7, 8])
    for ids in ([7.0, 8.0], ["7", "8"]):
        second = inventory(tmp_path / "second.parquet", [1.95, 8.9], [2016] * 2, glac_id=ids)
        found = pipeline.inventories_of_files(first, second, n_draws=1000, min_area_km2=2.0)
        assert (found.first.area, found.second.area) == pytest.approx((11.05, 10.85), rel=1e-4)


@pytest.mark.parametrize("empty", [None, "", " "])
def test_rows_without_an_id_are_not_one_glacier_of_an_inventory(tmp_path: Path, empty: str | None) -> None:
    first = inventory(tmp_path / "first.parquet", [3.0, 5.0, 1.0], [2005, 2008, 2005], glac_id=["G1", empty, empty])
    second = inventory(tmp_path / "second.parquet", [3.0, 5.0, 1.0], [2016] * 3, glac_id=["G1", empty, empty])
    found = pipeline.inventories_of_files(first, second, n_draws=1000, min_area_km2=2.0)
    assert found.first.years == pytest.approx({2005: 3.0, 2008: 5.0}, rel=1e-4)
    assert any("left out of each inventory by itself" in note for note in found.notes)


def test_inventories_of_different_places_are_no_change(tmp_path: Path) -> None:
    first = inventory(tmp_path / "first.parquet", [10.0, 5.0], [2005, 2005])
    away = squares([10.0], [2016]).translate(500_000, 0)
    gpd.GeoDataFrame({"year": [2016]}, geometry=away).to_parquet(tmp_path / "away.parquet")
    with pytest.raises(AnalysisError, match=r"no outline of .*first.parquet meets one of .*away.parquet"):
        pipeline.inventories_of_files(first, tmp_path / "away.parquet", n_draws=1000)
    part = inventory(tmp_path / "part.parquet", [10.0], [2016])
    found = pipeline.inventories_of_files(first, part, n_draws=1000)
    assert any(n.startswith("5.00 km2 of first.parquet (33%) meet no outline of part.parquet") for n in found.notes)
    found = pipeline.inventories_of_files(
        inventory(tmp_path / "old.parquet", [10.0], [2005]),
        inventory(tmp_path / "more.parquet", [10.0, 5.0], [2016, 2016]),
        n_draws=1000,
    )
    assert any("(33%) meet no outline of old.parquet and count as new" in note for note in found.notes)
    with pytest.raises(OptionError, match="min_area_km2=nan: give an area"):
        pipeline.inventories_of_files(first, part, min_area_km2=float("nan"))


def test_the_commands_answer(mapped: Path, tmp_path: Path, capsys) -> None:
    boxes().to_file(tmp_path / "boxes.gpkg")
    main(["termini", str(mapped), str(tmp_path / "boxes.gpkg"), str(tmp_path / "t.csv")])
    assert "A east" in capsys.readouterr().out
    (tmp_path / "list.txt").write_text("A\n")
    small = ["--n-draws", "100", "--landscape-draws", "100", "--no-temporal", "--strata", "1"]
    main(["surges", str(mapped), str(tmp_path / "list.txt"), str(tmp_path / "s.json"), *small])
    assert "Cliff's delta" in capsys.readouterr().out
    squares([10.0], [2000]).to_file(tmp_path / "a.gpkg")
    squares([9.0], [2010]).to_file(tmp_path / "b.gpkg")
    main(["inventories", str(tmp_path / "a.gpkg"), str(tmp_path / "b.gpkg"), "--draws", "1000", "--recent-rate", "-0.2",
          "--recent-half-width", "0.05", "--second-year", "2010"])  # fmt: skip
    assert "acceleration: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ([20050801, 20080715], {2005: 10.0, 2008: 5.0}),
        ([20050801.0, 20080715.0], {2005: 10.0, 2008: 5.0}),
        ([2005, 2008], {2005: 10.0, 2008: 5.0}),
        (["20050801", "2008"], {2005: 10.0, 2008: 5.0}),
        (pd.to_datetime(["2005-08-01", "2008-07-15"]), {2005: 10.0, 2008: 5.0}),
        ([2005.6, 2008.5], r"2 of 2 rows of .*first.parquet have no whole src_date, the first has 2005.6; give"),
        (["20059999", "2008"], r"1 of 2 rows of .* the first has 20059999"),
        (["2005-08-01", None], r"1 of 2 rows of .* have no src_date"),
    ],
)
def test_numbers_in_src_date_are_days_or_years_as_they_read(tmp_path: Path, dates, expected) -> None:
    frame = squares([10.0, 5.0], [2005, 2008]).drop(columns="year")
    frame.assign(src_date=dates).to_parquet(tmp_path / "first.parquet")
    second = inventory(tmp_path / "second.parquet", [12.0], [2016])
    if isinstance(expected, str):
        with pytest.raises(AnalysisError, match=expected):
            pipeline.inventories_of_files(tmp_path / "first.parquet", second, n_draws=1000)
    else:
        found = pipeline.inventories_of_files(tmp_path / "first.parquet", second, n_draws=1000).first.years
        assert found == pytest.approx(expected, rel=1e-4)


def test_an_empty_inventory_with_src_date_has_no_glacier(tmp_path: Path) -> None:
    frame = squares([10.0], [2005]).rename(columns={"year": "src_date"})
    frame.assign(src_date=pd.to_datetime(["2005-08-01"])).iloc[:0].to_parquet(tmp_path / "first.parquet")
    second = inventory(tmp_path / "second.parquet", [12.0], [2016])
    with pytest.raises(AnalysisError, match=r"first.parquet has no glacier of 0 km2"):
        pipeline.inventories_of_files(tmp_path / "first.parquet", second, n_draws=1000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed=-1: give a whole number"),
        ({"relative_sigma": np.inf}, "relative_sigma of 0 or more, finite"),
    ],
)
def test_options_of_inventories_that_give_no_number_are_refused(tmp_path: Path, options, message: str) -> None:
    files = [inventory(tmp_path / f"{year}.parquet", [10.0], [year]) for year in (2005, 2016)]
    with pytest.raises(OptionError, match=message):
        pipeline.inventories_of_files(*files, n_draws=1000, **options)


def test_a_list_of_surges_may_begin_with_a_byte_order_mark(mapped: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes("A\n".encode("utf-8-sig"))
    found = pipeline.surges_of_run(mapped, tmp_path / "list.txt", out=tmp_path / "s.json", n_strata=1, **QUICK)
    assert found.out == tmp_path / "s.json"


def test_termini_of_outlines_without_a_year_name_the_file(mapped: Path, tmp_path: Path) -> None:
    rs.glaciers().drop(columns="year").to_file(tmp_path / "undated.gpkg")
    boxes().to_file(tmp_path / "boxes.gpkg")
    with pytest.raises(AnalysisError, match=r"undated\.gpkg have no column 'year'; give each"):
        pipeline.termini_of_run(mapped, tmp_path / "boxes.gpkg", outlines=tmp_path / "undated.gpkg")
