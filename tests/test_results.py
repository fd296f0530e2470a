"""`areas` and `rates` on a finished map whose true areas, errors and rates are known."""

from __future__ import annotations

import json
import os
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import rioxarray  # noqa: F401
import shapely
import xarray as xr

from icemapper_xr import calibrate, pipeline, store, vectorise
from icemapper_xr import conventions as cv
from icemapper_xr.cli import main
from icemapper_xr.errors import AnalysisError, IcemapperError, OptionError, StoreError, VectorError
from icemapper_xr.models import own
from icemapper_xr.pipeline import areas, entities, layover, measuring, outlining, rates, requests, runs, tables
from tests import results_support as rs
from tests.support import files_of_at_most

QUICK = {"n_draws": 300, "landscape_draws": 300}
TRUTH = {year: sum(rs.true_area(name, year) for name in rs.CENTRES) for year in rs.YEARS}
TRUE_RATE = float(np.polyfit(rs.YEARS, list(TRUTH.values()), 1)[0])


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map whose margin lies 10 m too far out, with noise of its own in every year."""
    folder = rs.write_map(tmp_path_factory.mktemp("map"), noise=1.0, shift=10.0)
    rs.glaciers().to_file(folder / "glaciers.gpkg")
    return folder


@pytest.fixture(scope="module")
def reference(mapped: Path) -> Path:
    """True outlines of glacier A in three years."""
    outlines = rs.glaciers(years=(2016, 2020, 2024))
    path = mapped.parent / "reference.gpkg"
    outlines[outlines.glacier_id == "A"].to_file(path)
    return path


@pytest.fixture(scope="module")
def report(mapped: Path, reference: Path) -> pipeline.AreaReport:
    return pipeline.areas_of_run(mapped, out=mapped.parent / "areas.csv", reference=reference, **QUICK)


def rows(table: pd.DataFrame, **where) -> pd.DataFrame:
    for name, value in where.items():
        table = table[table[name] == value]
    return table.set_index("year") if "year" in table else table.set_index("id")


def test_areas_add_up_and_come_near_the_truth(report: pipeline.AreaReport) -> None:
    table = report.table
    assert set(table["kind"]) == {"region", "outside", "marine", "land", "glacier"}
    for name in ("none", "median"):
        region = rows(table, kind="region", filter=name)
        parts = [rows(table, kind="outside", filter=name)] + [rows(table, id=one, filter=name) for one in "AB"]
        for column in ("soft_km2", "hard_km2", "observed_km2", "margin_km"):
            np.testing.assert_allclose(region[column], sum(part[column] for part in parts), rtol=1e-9)
        marine, glacier = rows(table, id="marine", filter=name), rows(table, id="A", filter=name)
        np.testing.assert_allclose(marine["soft_km2"], glacier["soft_km2"])
        discs = np.array([sum(np.pi * (rs.radius(n, y) + 10) ** 2 for n in "AB") for y in rs.YEARS]) / 1e6 * rs.SCALE
        edge = 2 * np.pi * 60.0**2 * (np.pi**2 / 3 + 1) / 1e6  # what the soft, noisy edge of a disc adds
        if name == "none":
            np.testing.assert_allclose(region["soft_km2"], discs + edge, rtol=2e-3)
        np.testing.assert_allclose(region["hard_km2"], discs, rtol=4e-3)
    assert set(rows(table, id="A")["name"]) == {"Glacier A"}
    assert rows(table, id="B")["terminus"].iloc[0] == "land"


def test_the_signed_bias_is_found_on_one_glacier_and_taken_off_the_other(report: pipeline.AreaReport) -> None:
    for identity, truth in {"region": TRUTH, "B": {y: rs.true_area("B", y) for y in rs.YEARS}}.items():
        found = rows(report.table, id=identity, filter="none")
        assert (found["bias_km2"] > 0).all()  # the map is too large
        covered = [found.loc[y, "lower_km2"] < truth[y] < found.loc[y, "upper_km2"] for y in rs.YEARS]
        assert np.mean(covered) > 0.85
        np.testing.assert_allclose(found["adjusted_km2"], list(truth.values()), rtol=6e-3)
    region = rows(report.table, id="region", filter="none")
    assert (region["soft_km2"] - list(TRUTH.values()) > 0.15).all()  # what the map says by itself is outside
    assert (region["upper_km2"] < region["soft_km2"]).all()


def test_the_table_is_written_with_its_method_in_words(report: pipeline.AreaReport) -> None:
    text = report.out.read_text()
    assert "# method: soft area: sum of probability" in text
    assert "NOT calibrated" in text
    read = pd.read_csv(report.out, comment="#", keep_default_na=False, na_values=[""])
    assert list(read) == list(report.table)
    np.testing.assert_allclose(read["soft_km2"], report.table["soft_km2"], rtol=1e-9)
    assert "adjusted" in report.summary().splitlines()[0]


def test_rates_have_every_interval_unfiltered_beside_filtered(mapped: Path, reference: Path) -> None:
    report = pipeline.rates_of_run(mapped, out=mapped.parent / "rates.json", reference=reference, **QUICK)
    table = report.table
    for name in ("none", "median"):
        region = rows(table, kind="region", filter=name).loc["region"]
        if name == "none":  # a filtered map's years hang together: its Student interval is too narrow
            assert region["lower"] < TRUE_RATE < region["upper"]
        assert region["theil_sen"] == pytest.approx(TRUE_RATE, rel=0.03)
        for kind in ("paired", "independent"):
            assert region[f"{kind}_lower"] < TRUE_RATE < region[f"{kind}_upper"]
        wide = region["landscape_independent_upper"] - region["landscape_independent_lower"]
        assert wide > 5 * (region["landscape_paired_upper"] - region["landscape_paired_lower"])
    both = rows(table, kind="glacier", filter="none")
    for one in "AB":
        true = float(np.polyfit(rs.YEARS, [rs.true_area(one, y) for y in rs.YEARS], 1)[0])
        assert both.loc[one, "rate"] == pytest.approx(true, rel=0.05)
        assert both.loc[one, "changing"]
        assert both.loc[one, "p_adjusted"] >= both.loc[one, "p_value"]
    stored = json.loads(report.out.read_text())
    assert stored["rows"][0]["rate"] == pytest.approx(table["rate"].iloc[0])
    assert any("filter is inside every draw" in line for line in stored["method"])


def test_the_draws_of_a_filtered_rate_are_those_of_the_filtered_map(report: pipeline.AreaReport) -> None:
    plain, filtered = (
        next(s for s in report.measured.series if s.kind == "region" and s.filter == name)
        for name in ("none", "median")
    )
    assert not np.allclose(plain.errors["sampling"], filtered.errors["sampling"])
    # The ends are not filtered, so their known error on A is the same; in the middle flicker is gone.
    a = [next(s for s in report.measured.series if s.id == "A" and s.filter == name) for name in ("none", "median")]
    known = [s.errors["sampling"].mean(axis=1) for s in a]
    assert known[0][0] == pytest.approx(known[1][0], abs=0.02)
    assert plain.landscape.shape == (9, 300)


def test_a_glacier_table_of_several_years_is_one_of_domains(mapped: Path, tmp_path: Path) -> None:
    table = pipeline.areas_of_run(mapped, out=tmp_path / "a.csv", temporal=False, **QUICK).table
    rs.glaciers(years=(2016, 2018)).to_file(tmp_path / "years.gpkg")
    again = pipeline.areas_of_run(
        mapped, out=tmp_path / "b.csv", temporal=False, glaciers=tmp_path / "years.gpkg", **QUICK
    ).table
    pd.testing.assert_frame_equal(table, again)  # the younger, smaller outlines add nothing to the domains
    assert set(table["filter"]) == {"none"}


def test_a_region_cuts_with_exact_shares_and_gpkg_opens(mapped: Path, tmp_path: Path) -> None:
    x, y = rs.CENTRES["A"]
    half = shapely.box(x - 3903, y - 5011, x + 7.0, y + 5013)  # a little more than the western half of A
    gpd.GeoSeries([half], crs=rs.EPSG).to_file(tmp_path / "half.gpkg")
    found = pipeline.areas_of_run(
        mapped, out=tmp_path / "h.gpkg", region=tmp_path / "half.gpkg", years=(2016,), **QUICK
    )
    expected = (np.pi * (3010**2 + 60**2 * (np.pi**2 / 3 + 1)) / 2 + 7.0 * 2 * 3010) / 1e6 * rs.SCALE
    region = found.table[found.table["kind"] == "region"].iloc[0]
    assert region["soft_km2"] == pytest.approx(expected, rel=2e-3)
    assert region["observed_km2"] == pytest.approx(half.area / 1e6 * rs.SCALE, rel=2e-3)
    shapes = gpd.read_file(tmp_path / "h.gpkg")
    assert shapes.crs.to_epsg() == 4326
    assert shapes.loc[shapes["id"] == "A", "geometry"].iloc[0].area > 0
    assert "method" in json.loads((tmp_path / "h.json").read_text())


def test_a_table_that_finds_no_room_is_told_in_a_line(mapped: Path, tmp_path: Path) -> None:
    with (
        files_of_at_most(60_000),
        pytest.raises(
            StoreError, match=r"cannot write the table .*a\.gpkg: .{1,200}; make room for it or name another"
        ),
    ):
        pipeline.areas_of_run(mapped, out=tmp_path / "a.gpkg", years=(2016,), **QUICK)
    assert not list(tmp_path.iterdir())


def test_a_closed_place_is_told_before_the_work(mapped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the work was begun")

    for module, name in ((areas.measuring, "measure_run"), (rates, "fit_rates"), (outlining, "drawing_of")):
        monkeypatch.setattr(module, name, never)
    monkeypatch.setattr(entities.inventory, "divide", never)
    blocked, glaciers = tmp_path / "blocked", mapped / "glaciers.gpkg"
    blocked.touch()
    for verb, source, out in (
        (pipeline.areas_of_run, mapped, "a.csv"),
        (pipeline.rates_of_run, mapped, "r.csv"),
        (pipeline.outlines_of_run, mapped, "o.gpkg"),
        (pipeline.divides_of_run, glaciers, "d.gpkg"),
        (pipeline.links_of_run, glaciers, "tables"),
    ):
        with pytest.raises(OptionError, match="blocked is no folder that can be written to; name another one"):
            verb(source, out=blocked / out)
    monkeypatch.setattr(os, "access", lambda *_: False)  # a read-only disk, which root may write to no more than others
    with pytest.raises(OptionError, match=rf"areas\.csv cannot be written: {mapped} is no folder that can be written"):
        pipeline.areas_of_run(mapped)


def test_with_and_without_layover_and_shadow(mapped: Path, tmp_path: Path) -> None:
    flags = np.zeros((100, 100), np.uint8)
    flags[:, 50:] = 2  # layover east of the middle of A
    x, y = rs.CENTRES["A"]
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": 100, "width": 100, "nodata": 255}
    transform = rasterio.Affine(100, 0, x - 5000, 0, -100, y + 5000)
    with rasterio.open(tmp_path / "mask.tif", "w", crs=rs.EPSG, transform=transform, **profile) as file:
        file.write(flags, 1)
    found = pipeline.areas_of_run(
        mapped, out=tmp_path / "m.csv", excluded=tmp_path / "mask.tif", years=(2016,), **QUICK
    )
    a = rows(found.table, id="A").loc[2016]
    assert a["clear_soft_km2"] == pytest.approx(a["soft_km2"] / 2, rel=0.01)
    assert a["clear_hard_km2"] == pytest.approx(a["hard_km2"] / 2, rel=0.01)
    b = rows(found.table, id="B").loc[2016]
    assert b["clear_soft_km2"] == pytest.approx(b["soft_km2"], rel=1e-4)  # a corner of its domain is in the mask


def _flags(path: Path, crs: object, left: float, top: float, size: float, n: int = 100) -> Path:
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": n, "width": n}
    with rasterio.open(path, "w", crs=crs, transform=rasterio.Affine(size, 0, left, 0, -size, top), **profile) as file:
        file.write(np.ones((n, n), np.uint8), 1)
    return path


def test_a_raster_of_layover_that_says_nothing_of_the_map_is_refused(mapped: Path, tmp_path: Path) -> None:
    far = _flags(tmp_path / "far.tif", rs.EPSG, rs.LEFT + 1e5, rs.TOP, 100)
    bare = _flags(tmp_path / "bare.tif", None, rs.LEFT, rs.TOP, 100)
    other = _flags(tmp_path / "other.tif", 4326, -60.0, 70.0, 0.01)
    for path, message in (
        (far, r"far.tif lies outside the map.*check its place and its CRS"),
        (bare, r"bare.tif has no CRS; write"),
        (other, r"other.tif lies outside the map"),
    ):
        with pytest.raises(OptionError, match=message):
            pipeline.areas_of_run(mapped, out=tmp_path / "m.csv", excluded=path, years=(2016,), **QUICK)
    world = _flags(tmp_path / "world.tif", 4326, -180.0, 90.0, 3.6)
    found = pipeline.areas_of_run(mapped, out=tmp_path / "m.csv", excluded=world, years=(2016,), **QUICK)
    assert (found.table["clear_soft_km2"] == 0).all()


@pytest.mark.parametrize("turn", [0.0, 360.0])
def test_a_raster_in_degrees_meets_a_map_at_the_antimeridian(tmp_path: Path, turn: float) -> None:
    x = np.arange(387_000.0, 397_000, 100)  # 180 W lies at 392 km
    like = xr.DataArray(np.zeros((50, 100), np.float32), {"y": 7.9e6 - 100 * np.arange(50), "x": x}, ("y", "x"))
    like = like.rio.write_crs(32601)
    path = _flags(tmp_path / "flags.tif", 4326, -180.0 + turn, 72.0, 0.02)
    layover.check([like], path)
    with pytest.raises(OptionError, match="lies outside the map"):
        layover.check([like], _flags(tmp_path / "far.tif", 4326, 0.0, 72.0, 0.02))


def test_rock_of_glims_is_no_part_of_a_glacier(tmp_path: Path) -> None:
    disc, hole = shapely.Point(500_000, 8_000_000).buffer(1000), shapely.Point(500_000, 8_000_000).buffer(400)
    rows = {"line_type": ["glac_bound", "intrnl_rock"], "glac_id": ["G015000E77456N"] * 2, "term_type": [1, 9]}
    gpd.GeoDataFrame(rows, geometry=[disc - hole, hole], crs=rs.EPSG).to_file(tmp_path / "glims.gpkg")
    table, notes = runs.read_glaciers(tmp_path / "glims.gpkg")
    assert table.area.tolist() == pytest.approx([(disc - hole).area])
    assert table["terminus"].tolist() == ["marine"]
    assert "1 rows that are no glaciers left out (line_type intrnl_rock)" in notes[0]


def test_glaciers_without_ids_are_refused_and_whole_numbers_stay_whole(mapped: Path, tmp_path: Path) -> None:
    plain = rs.glaciers().rename(columns={"glacier_id": "rgi_id"})
    for name, ids in {"text": ["A", None], "number": [1.0, np.nan], "blank": ["A", " "]}.items():
        plain.assign(rgi_id=ids).to_parquet(tmp_path / f"{name}.parquet")
        with pytest.raises(AnalysisError, match=rf"1 of 2 rows of .*{name}.parquet have no rgi_id; .*") as error:
            runs.read_glaciers(tmp_path / f"{name}.parquet")
        assert "\n" not in str(error.value)
    plain.assign(rgi_id=[2.0, 1.0]).to_parquet(tmp_path / "whole.parquet")
    assert list(runs.read_glaciers(tmp_path / "whole.parquet")[0].index) == ["1", "2"]
    plain.assign(rgi_id=[7, 12]).to_file(tmp_path / "whole.gpkg")
    assert set(runs.read_glaciers(tmp_path / "whole.gpkg")[0].index) == {"7", "12"}
    glims = plain.rename(columns={"rgi_id": "glims_id"})
    for ids, also, found in (
        (["G1", "G2"], {}, {"G1", "G2"}),
        (["G1", "G1"], {}, {"1", "2"}),
        (["G1", None], {}, {"1", "2"}),
        (["G1", None], {"id": [7, 8]}, {"7", "8"}),
    ):
        glims.assign(glims_id=ids, **also).to_parquet(tmp_path / "glims.parquet")
        table, notes = runs.read_glaciers(tmp_path / "glims.parquet")
        assert set(table.index) == found
        assert any("numbered by row" in note for note in notes) == (found == {"1", "2"})
    for ids, told in (([0, 0], True), ([0, 1], False)):
        glims.drop(columns="glims_id").assign(id=ids).to_parquet(tmp_path / "zeros.parquet")
        notes = runs.read_glaciers(tmp_path / "zeros.parquet")[1]
        assert any("all 2 rows of zeros.parquet have the id 0 and are one glacier" in note for note in notes) == told
    glims.assign(glac_name=["", None], name=["Alpha", "Beta"]).to_parquet(tmp_path / "glims.parquet")
    assert set(runs.read_glaciers(tmp_path / "glims.parquet")[0]["name"]) == {"Alpha", "Beta"}


def test_glaciers_of_rgi_6_keep_their_ids_and_names(shared: Path) -> None:
    table, notes = runs.read_glaciers(shared / "real" / "stac" / "rainier_glaciers.geojson")
    assert all(name.startswith("RGI60-02.") for name in table.index)
    assert (table["name"] == "Emmons Glacier WA").any()
    assert not any("numbered by row" in note for note in notes)


def test_a_calibration_file_is_applied_and_said(mapped: Path, tmp_path: Path) -> None:
    model = calibrate.Monotone((0.0, 0.9), (0.5, 0.98))
    calibrate.write(model, tmp_path / "model.json")
    found = pipeline.areas_of_run(
        mapped, out=tmp_path / "c.csv", calibration=str(tmp_path / "model.json"), years=(2016,), **QUICK
    )
    assert "calibrated by model.json" in found.method[0]
    assert not any("not calibrated" in note for note in found.notes)
    region = found.table.iloc[0]
    p = store.open_store(mapped / "glaciers.zarr")[cv.PROBABILITY].sel(year=2016).values
    calibrated = np.where(p > 1e-8, calibrate.calibrated_probability(p, model), 0)  # sure ground is none
    assert region["soft_km2"] == pytest.approx(calibrated.sum() * rs.SIZE**2 * rs.SCALE / 1e6, rel=1e-3)
    assert region["soft_km2"] > TRUTH[2016] + 0.2


@pytest.mark.parametrize("shipped", [True, False])
def test_the_calibration_of_the_weights_is_taken_by_their_digest(tmp_path: Path, shipped: bool) -> None:
    entry = next(entry for entry in own.read_index() if (entry["calibration"] is not None) == shipped)
    folder = rs.write_map(tmp_path, (2020,), attrs={cv.ATTR_WEIGHTS_DIGEST: entry["digest"]})
    found = pipeline.areas_of_run(folder, **QUICK)
    plain = pipeline.areas_of_run(folder, out=tmp_path / "p.csv", calibration="none", **QUICK)
    assert "NOT calibrated" in plain.method[0]
    if not shipped:
        assert found.method == plain.method
        return
    assert "the map that ships with the weights" in found.method[0]
    model = calibrate.from_dict(entry["calibration"])
    expected = calibrate.calibrated_probability(rs.probability(2020), model).sum() * rs.SIZE**2 * rs.SCALE / 1e6
    assert found.table["soft_km2"].iloc[0] == pytest.approx(expected, rel=1e-3)


def test_a_map_is_scored_at_the_threshold_of_its_outlines(tmp_path: Path) -> None:
    folder = rs.write_map(tmp_path, (2020,))
    p = store.open_store(folder / "glaciers.zarr")[cv.PROBABILITY].sel(year=2020).values
    rs.glaciers(years=(2020,), extra=500).to_file(tmp_path / "mine.gpkg")

    def score(source: Path = folder) -> dict:
        return pipeline.scores_of_run(source, tmp_path / "mine.gpkg", calibration="none")

    halves = score()
    assert halves["threshold"] == 0.5
    pipeline.outlines_of_run(folder, threshold=0.05)
    wide = score()
    assert (wide["threshold"], score(folder / "glaciers.zarr")["threshold"]) == (0.05, 0.05)
    gained = (wide["pixels"]["area_bias"] - halves["pixels"]["area_bias"]) * sum(
        one["pixels"] for one in wide["sizes_km2"].values()
    )
    assert gained == pytest.approx(((p >= 0.05) & (p < 0.5)).sum(), rel=1e-3)
    assert wide["calibration"] == halves["calibration"]  # a confidence is one in the likelier class


def test_scores_against_outlines_judge_the_calibration_of_the_weights(tmp_path: Path) -> None:
    entry = next(entry for entry in own.read_index() if entry["calibration"] is not None)
    folder = rs.write_map(tmp_path, (2020,), attrs={cv.ATTR_WEIGHTS_DIGEST: entry["digest"]})
    rs.glaciers(years=(2020,)).to_file(tmp_path / "mine.gpkg")
    main(["evaluate", str(folder), "--outlines", str(tmp_path / "mine.gpkg"), "--out", str(tmp_path / "scores")])
    told = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert "calibrated" in told["calibration"]
    assert (told["outlines_year"], told["unobserved"]) == (2020, [])
    rs.glaciers(years=(2016,)).to_file(tmp_path / "old.gpkg")
    with pytest.warns(UserWarning, match=r"old\.gpkg has outlines of 2016, the map is of 2020: what changed between"):
        assert pipeline.scores_of_run(folder, tmp_path / "old.gpkg", calibration="none")["outlines_year"] == 2016
    none = pipeline.scores_of_run(folder, tmp_path / "mine.gpkg", calibration="none")
    assert "calibrated" not in none["calibration"]
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="file cannot be made a folder"):
        pipeline.scores_of_run(folder, tmp_path / "mine.gpkg", out=tmp_path / "file")


def test_a_map_without_ice_is_divided_into_nothing(tmp_path: Path) -> None:
    nothing = np.full((rs.ROWS, rs.COLUMNS), np.float32(0.01))
    folder = rs.write_map(tmp_path, (2020, 2021), planes={2020: nothing, 2021: nothing})
    _, drawn = pipeline.outlines_of_run(folder, band=True)
    assert not len(drawn)
    assert not len(vectorise.read(folder / "outlines_band.gpkg"))
    pipeline.outlines_of_run(folder)
    _, made = pipeline.divides_of_run(folder)
    assert not len(made)
    assert (folder / "glaciers.gpkg").is_file()


def test_damaged_units_are_told_by_all_that_read_them(tmp_path: Path) -> None:
    folder = rs.write_map(tmp_path, (2020, 2021))
    pipeline.outlines_of_run(folder)
    mine = tmp_path / "mine.gpkg"
    rs.glaciers(years=(2020,)).to_file(mine)
    for chunk in (folder / "glaciers.zarr" / "probability" / "c" / "0").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(chunk.read_bytes()[:-20])
    for read in (
        lambda: pipeline.scores_of_run(folder, mine, year=2020),
        lambda: pipeline.qc_of(folder, year=2020),
        lambda: pipeline.areas_of_run(folder, reference=mine, years=(2020,), **QUICK),
    ):
        with pytest.raises(StoreError, match=r"units of 2020 are damaged.*run the same `map` of 2020 again"):
            read()


def test_common_bias_has_the_size_of_margin_times_shift(mapped: Path, tmp_path: Path) -> None:
    options = {"temporal": False, "n_draws": 4000, "landscape_draws": 100}
    found = pipeline.rates_of_run(mapped, out=tmp_path / "y.csv", year_bias_m=3.0, **options)
    region = rows(found.table, kind="region").loc["region"]
    margin = rows(pipeline.areas.area_table(found.measured[0]), kind="region")["margin_km"].mean()
    half = (region["paired_upper"] - region["paired_lower"]) / 2
    assert half == pytest.approx(1.96 * 3e-3 * margin / np.sqrt(60), rel=0.08)
    shared = pipeline.rates_of_run(mapped, out=tmp_path / "o.csv", orbit_bias_m=3.0, **options)
    row = rows(shared.table, kind="region").loc["region"]
    assert row["independent_upper"] - row["independent_lower"] > 1.5 * half
    draws = next(s for s in shared.measured[0].series if s.kind == "region").errors["common_orbit"]
    assert np.polyfit(rs.YEARS, draws, 1)[0].std() * 1.96 < half / 4  # what an orbit's years share cancels ...
    assert np.isnan(row["paired_lower"])  # ... which is no knowledge of what changes
    assert any("shared by all years" in note and "year_bias_m" in note for note in shared.notes)
    assert not any("shared by all years" in note for note in found.notes)


def test_the_filter_is_inside_the_draws_of_shifts(mapped: Path, tmp_path: Path) -> None:
    """Shifts of a year larger than the retreat are filtered like flicker; those smaller than it stay."""
    for metres, left in {0.5: 1.0, 60.0: None}.items():
        found = pipeline.areas_of_run(
            mapped, out=tmp_path / "f.csv", year_bias_m=metres, n_draws=4000, landscape_draws=100
        )
        plain, filtered = (
            next(s for s in found.measured.series if s.kind == "glacier" and s.id == "A" and s.filter == name)
            for name in ("none", "median")
        )
        # by km of margin, of which the filtered map has less: its flicker is gone
        spread, whole = (s.errors["common_year"].std(axis=1) / s.areas["margin_km"] for s in (filtered, plain))
        ratio = spread / whole
        np.testing.assert_allclose(ratio[[0, -1]], 1.0, rtol=0.02)  # the ends are kept
        if left is None:
            assert (ratio[1:-1] < 0.85).all()
            assert ratio[4] < 0.75  # the median of three has 0.67 of the deviation
        else:
            np.testing.assert_allclose(ratio, left, rtol=0.02)  # A retreats by 20 m a year: nothing to filter


@pytest.mark.parametrize(
    ("sensors", "options", "known"),
    [
        (("S1A", "S1A"), {"orbit_bias_m": 5.0, "sensor_bias_m": 5.0}, False),
        (("S1A", "S1C"), {"orbit_bias_m": 5.0}, False),
        (("S1A", "S1C"), {"sensor_bias_m": 5.0}, True),
        (("S1A", "S1A"), {"year_bias_m": 5.0}, True),
        (("S1A", "S1A"), {}, False),
    ],
)
def test_errors_are_known_to_change_where_a_bias_differs_between_the_years(
    tmp_path: Path, sensors: tuple[str, ...], options: dict, known: bool
) -> None:
    folder = rs.write_map(tmp_path, (2020, 2021), platforms=list(sensors))
    settings = measuring.MeasureSettings(**options, **QUICK)
    assert measuring.measure_run(folder, settings).changing_errors == known


# -- years and acquisitions -------------------------------------------------------------------------------------------
def test_years_missing_in_the_middle_are_said(mapped: Path, tmp_path: Path) -> None:
    found = pipeline.rates_of_run(mapped, out=tmp_path / "g.csv", years=(2016, 2017, 2020, 2021, 2024), **QUICK)
    assert "no area for 2018, 2019, 2022, 2023: the line is fitted to the other years" in found.notes
    assert found.table["rate"].iloc[0] == pytest.approx(TRUE_RATE, rel=0.05)


def test_the_confidence_is_that_of_the_intervals_of_a_rate(mapped: Path, tmp_path: Path) -> None:
    tables = [
        pipeline.rates_of_run(mapped, out=tmp_path / f"{level}.csv", confidence=level, **QUICK).table.iloc[0]
        for level in (0.95, 0.5)
    ]
    for kind in ("", "theil_sen_"):
        wide, narrow = (row[f"{kind}upper"] - row[f"{kind}lower"] for row in tables)
        assert 0 < narrow < wide
    assert tables[0]["p_value"] == tables[1]["p_value"]


def test_one_year_has_areas_and_no_rate(mapped: Path, tmp_path: Path) -> None:
    found = pipeline.areas_of_run(mapped, out=tmp_path / "one.csv", years=(2020,), **QUICK)
    assert set(found.table["filter"]) == {"none"}
    assert any("needs three years" in line for line in found.method)
    with pytest.raises(AnalysisError, match="at least two years; the map has 2020 alone"):
        pipeline.rates_of_run(mapped, out=tmp_path / "rate.csv", years=(2020,), **QUICK)
    assert not (tmp_path / "rate.csv").exists()


def test_a_gap_of_one_year_is_no_loss(tmp_path: Path) -> None:
    planes = {year: rs.probability(year) for year in (2020, 2021, 2022)}
    planes[2022][:, : rs.COLUMNS // 4] = np.nan  # a part of glacier A was not observed
    folder = rs.write_map(tmp_path / "gap", (2020, 2021, 2022), planes=planes)
    loss = pipeline.rates_of_run(folder, out=tmp_path / "e.csv", common=False, **QUICK).table["rate"].iloc[0]
    rate = pipeline.rates_of_run(folder, out=tmp_path / "c.csv", **QUICK).table["rate"].iloc[0]
    assert loss < -5
    assert -0.6 < rate < -0.1


def test_a_change_of_orbit_needs_a_year_in_common(tmp_path: Path) -> None:
    first = rs.write_map(tmp_path / "first", (2016, 2017, 2018, 2019))
    later = rs.write_map(tmp_path / "later", (2020, 2021, 2022), orbit=174, shift=20.0)
    with pytest.raises(AnalysisError, match="orbit 14, HH, S1A to orbit 174, HH, S1A without a year mapped with both"):
        pipeline.rates_of_run(first, out=tmp_path / "no.csv", others=[later], **QUICK)
    assert not (tmp_path / "no.csv").exists()
    both = rs.write_map(tmp_path / "both", (2018, 2019, 2020, 2021, 2022), orbit=174, shift=20.0)
    found = pipeline.rates_of_run(first, out=tmp_path / "yes.csv", others=[both], **QUICK)
    years = range(2016, 2023)
    true = np.polyfit(years, [TRUTH[year] for year in years], 1)[0]
    assert found.table["rate"].iloc[0] == pytest.approx(true, rel=0.03)
    assert any("in 2 common year(s)" in note for note in found.notes)
    some = pipeline.rates_of_run(
        first, out=tmp_path / "some.csv", others=[both], years=(2017, 2018, 2019, 2021), **QUICK
    )
    row = some.table.iloc[0]
    assert (row["first_year"], row["last_year"], row["n_years"]) == (2017, 2021, 4)
    with pytest.raises(StoreError, match=r"none of .*first, .*both has the year 2024; map it first, or leave it out"):
        pipeline.rates_of_run(first, out=tmp_path / "no.csv", others=[both], years=(2018, 2024), **QUICK)
    with pytest.raises(StoreError, match=r"both has the years 2018, .*, none of those asked for; leave the map out"):
        pipeline.rates_of_run(first, out=tmp_path / "no.csv", others=[both], years=(2016, 2017), **QUICK)
    assert not (tmp_path / "no.csv").exists()


def test_a_change_of_weights_needs_a_year_in_common(tmp_path: Path) -> None:
    """Two maps of one orbit by different weights were joined as one series: -0.09 km2 a-1 where it was -0.51."""
    first = rs.write_map(tmp_path / "first", (2016, 2017, 2018), attrs={cv.ATTR_WEIGHTS_DIGEST: "one"})
    later = rs.write_map(tmp_path / "later", (2019, 2020, 2021), shift=50.0, attrs={cv.ATTR_WEIGHTS_DIGEST: "two"})
    out = tmp_path / "rates.csv"
    with pytest.raises(AnalysisError, match=r"S1A \(weights_digest one\) to orbit 14, HH, S1A \(weights_digest two\)"):
        pipeline.rates_of_run(first, out=out, others=[later], **QUICK)
    rs.write_map(later, (2018,), shift=50.0, attrs={cv.ATTR_WEIGHTS_DIGEST: "two"})
    found = pipeline.rates_of_run(first, out=out, others=[later], **QUICK)
    true = np.polyfit(range(2016, 2022), [TRUTH[year] for year in range(2016, 2022)], 1)[0]
    assert found.table["rate"].iloc[0] == pytest.approx(true, rel=0.03)
    assert any("(weights_digest one)" in note and "in 1 common year(s)" in note for note in found.notes)
    alike = rs.write_map(tmp_path / "alike", (2019,), attrs={cv.ATTR_WEIGHTS_DIGEST: "one", cv.ATTR_FIRST_DAY: "01-01"})
    assert pipeline.rates_of_run(first, out=out, others=[alike], **QUICK).table["n_years"].iloc[0] == 4


def test_the_years_of_a_map_that_is_too_short_to_filter_are_in_the_filtered_rate(tmp_path: Path) -> None:
    first = rs.write_map(tmp_path / "first", (2016, 2017, 2018))
    later = rs.write_map(tmp_path / "later", (2018, 2019), orbit=174, shift=20.0)
    for source, other in ((first, later), (later, first)):
        table = pipeline.rates_of_run(source, out=tmp_path / "rates.csv", others=[other], **QUICK).table
        assert list(table["filter"]) == ["none", "median"]
        assert list(table["last_year"]) == [2019, 2019]
        assert table["rate"].iloc[1] == pytest.approx(table["rate"].iloc[0], rel=0.01)


def test_the_offset_of_filtered_maps_is_told_apart(tmp_path: Path) -> None:
    first = rs.write_map(tmp_path / "first", (2016, 2017, 2018), noise=1.5)
    later = rs.write_map(tmp_path / "later", (2017, 2018, 2019), orbit=174, noise=1.5, seed=1)
    found = pipeline.rates_of_run(first, out=tmp_path / "rates.csv", others=[later], **QUICK)
    offsets = [note for note in found.notes if "in 2 common year(s)" in note]
    assert [note.split("orbit")[0] for note in offsets] == ["", "filtered: "]


def test_platforms_that_share_a_year_are_one_sensor_and_others_are_not(tmp_path: Path) -> None:
    years = (2020, 2021, 2022, 2023)
    shared = rs.write_map(tmp_path / "s", years, platforms=["S1A", "S1A/S1B", "S1B", "S1A"])
    found = pipeline.rates_of_run(shared, out=tmp_path / "s.csv", **QUICK)
    assert any("platforms differ between the years (S1A, S1A+S1B, S1B)" in note for note in found.notes)
    apart = rs.write_map(tmp_path / "a", years, platforms=["S1A", "S1A", "S1C", "S1C"])
    with pytest.raises(AnalysisError, match="S1A to orbit 14, HH, S1C without a year"):
        pipeline.rates_of_run(apart, out=tmp_path / "a.csv", **QUICK)


# -- nothing, and what is wrong ---------------------------------------------------------------------------------------
def test_zero_glaciers_give_a_valid_table(mapped: Path, tmp_path: Path) -> None:
    rs.glaciers().iloc[:0].to_file(tmp_path / "none.gpkg")
    found = pipeline.rates_of_run(mapped, out=tmp_path / "z.csv", glaciers=tmp_path / "none.gpkg", **QUICK)
    assert set(found.table["kind"]) == {"region", "outside"}
    assert "none.gpkg holds no glacier" in found.notes
    far = rs.glaciers()
    far.geometry = far.geometry.translate(10, 0)
    far.to_file(tmp_path / "far.gpkg")
    found = pipeline.rates_of_run(mapped, out=tmp_path / "f.gpkg", glaciers=tmp_path / "far.gpkg", **QUICK)
    members = found.table[found.table["kind"] == "glacier"]
    assert members["rate"].isna().all()
    assert not members["changing"].any()


def test_what_lies_beyond_the_map_is_said_and_no_area_of_zero(mapped: Path, tmp_path: Path) -> None:
    left, top = rs.LEFT, rs.TOP
    boxes = {
        "far": shapely.box(left + 50_000, top - 9000, left + 54_000, top - 8000),
        "half": shapely.box(left - 3000, top - 9000, left + 3000, top - 8000),
        "inside": shapely.box(left + 4000, top - 9000, left + 6000, top - 8000),
    }
    frame = gpd.GeoDataFrame({"glacier_id": list(boxes)}, geometry=list(boxes.values()), crs=rs.EPSG).to_crs(4326)
    frame.to_file(tmp_path / "boxes.gpkg")
    options = {**QUICK, "years": (2016,), "glaciers": tmp_path / "boxes.gpkg"}
    found = pipeline.areas_of_run(mapped, out=tmp_path / "a.csv", **options)
    table = found.table.set_index("id")
    assert np.isnan(table.loc["far", ["soft_km2", "hard_km2", "margin_km"]].astype(float)).all()
    assert table.loc["far", "observed_km2"] == 0
    assert table.loc["inside", "soft_km2"] > 0
    assert any("1 of 3 glaciers lie outside the map (far)" in note for note in found.notes)
    assert any("1 of 3 glaciers reach beyond the map" in n and "(half 50% inside)" in n for n in found.notes)

    frame[frame.glacier_id == "half"].to_file(tmp_path / "half.gpkg")
    found = pipeline.areas_of_run(mapped, out=tmp_path / "r.csv", region=tmp_path / "half.gpkg", **options)
    assert "50% of the region half.gpkg lie outside the map: what is there is in no number" in found.notes
    assert any("2 of 3 glaciers lie outside the region or the map (far, inside)" in note for note in found.notes)
    frame[frame.glacier_id == "far"].to_file(tmp_path / "far.gpkg")
    with pytest.raises(AnalysisError, match=r"the region .*far.gpkg lies outside the map; check its place"):
        pipeline.areas_of_run(mapped, out=tmp_path / "f.csv", region=tmp_path / "far.gpkg", **options)
    assert not (tmp_path / "f.csv").exists()


def test_glaciers_in_another_crs_and_with_bad_geometry(mapped: Path, tmp_path: Path) -> None:
    plain = pipeline.areas_of_run(mapped, out=tmp_path / "p.csv", years=(2016,), **QUICK).table
    polar = rs.glaciers().to_crs(3413)
    bow = shapely.Polygon([(0, 0), (1000, 1000), (1000, 0), (0, 1000)])
    extra = polar.iloc[[0]].assign(glacier_id="bow").set_geometry([bow], crs=3413)
    pd.concat([polar, extra]).to_file(tmp_path / "polar.gpkg")
    found = pipeline.areas_of_run(
        mapped, out=tmp_path / "q.csv", glaciers=tmp_path / "polar.gpkg", years=(2016,), **QUICK
    )
    assert "1 invalid geometries of glaciers polar.gpkg were mended" in found.notes
    for one in "AB":
        expected = rows(plain, id=one)["soft_km2"].iloc[0]
        assert rows(found.table, id=one)["soft_km2"].iloc[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"glaciers": "nowhere.gpkg"}, VectorError, "no file nowhere.gpkg"),
        ({"years": (2015,)}, StoreError, "not 2015; map that year first"),
        ({"threshold": 2}, OptionError, "threshold is 2"),
        ({"reach": -1}, OptionError, "reach is -1"),
        ({"thresholds": 0.5}, OptionError, "thresholds"),
        ({"reference_year": 2016}, OptionError, "reference_year is given without reference"),
        ({"calibration": "nowhere.json"}, OptionError, "nowhere.json cannot be read"),
        ({"excluded": "nowhere.tif"}, OptionError, "nowhere.tif cannot be read"),
        ({"out": "areas.xlsx"}, OptionError, "must end in one of .csv, .gpkg, .json"),
    ],
)
def test_what_is_wrong_has_a_clear_line(mapped: Path, options: dict, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message) as error:
        pipeline.areas_of_run(mapped, **{**QUICK, **options})
    assert isinstance(error.value, IcemapperError)
    assert not (mapped / "areas.csv").exists()


def test_references_that_say_nothing_are_refused(mapped: Path, reference: Path, tmp_path: Path) -> None:
    frame = vectorise.read(reference)
    frame.drop(columns="year").to_file(tmp_path / "undated.gpkg")
    frame.assign(year=1990).to_file(tmp_path / "old.gpkg")
    for file, options, message in (
        ("undated.gpkg", {}, "no column 'year'"),
        ("old.gpkg", {}, "need a year in common"),
        ("undated.gpkg", {"reference_year": 2016, "block_size": 4000}, "at least 10 are needed"),
    ):
        with pytest.raises(IcemapperError, match=message):
            pipeline.areas_of_run(mapped, reference=tmp_path / file, **{**QUICK, **options})
    found = pipeline.rates_of_run(
        mapped, out=tmp_path / "u.csv", reference=tmp_path / "undated.gpkg", reference_year=2016, **QUICK
    )
    assert any("the reference has one year" in note for note in found.notes)
    region = rows(found.table, kind="region", filter="none").iloc[0]
    assert np.isnan(region["paired_lower"])  # its width would be 0, which is no knowledge
    assert region["independent_lower"] < region["independent_upper"]


@pytest.mark.parametrize(
    ("years", "expected"),
    [
        (["2016", "2020", "2024"], (2016, 2020, 2024)),
        (["2016-08-01", "2020-07-15T00:00:00Z", "2024"], (2016, 2020, 2024)),
        (pd.to_datetime(["2016-08-01", "2020-07-15", "2024-09-01"]), (2016, 2020, 2024)),
        ([2016.2, 2016.8, 2024], "2 of 3 rows of the reference .* have no whole year, the first has 2016.2; give"),
        ([2016, np.nan, 2024], "1 of 3 rows of the reference .* have no year; give"),
        (["2016", "summer 2020", "2024"], "1 of 3 rows of the reference .* the first has summer 2020"),
    ],
)
def test_years_of_a_reference_are_whole_years_however_they_are_written(
    mapped: Path, reference: Path, tmp_path: Path, years: list, expected: object
) -> None:
    path = tmp_path / "dated.parquet"
    vectorise.read(reference).assign(year=years).to_parquet(path)
    settings = requests.MeasureSettings(reference=path, **QUICK)
    run = runs.open_run(mapped)
    if isinstance(expected, str):
        with pytest.raises(AnalysisError, match=expected) as error:
            requests.truth_of(run, settings, [])
        assert "\n" not in str(error.value)
    else:
        assert requests.truth_of(run, settings, []).years == expected


def test_tiles_without_their_index_are_measured_one_by_one(tmp_path: Path) -> None:
    rs.write_map(tmp_path / "tiles", (2020,))
    (tmp_path / "tiles" / "glaciers.zarr").rename(tmp_path / "tiles" / "z33N_1.zarr")
    with pytest.raises(StoreError, match=r"in 1 tiles without a tiles.json: .* for example .*z33N_1.zarr"):
        pipeline.areas_of_run(tmp_path, **QUICK)
    found = pipeline.areas_of_run(tmp_path / "tiles" / "z33N_1.zarr", out=tmp_path / "t.csv", **QUICK)
    assert found.table["soft_km2"].iloc[0] == pytest.approx(TRUTH[2020], rel=5e-3)


def test_an_unfinished_year_is_refused(tmp_path: Path) -> None:
    folder = rs.write_map(tmp_path, (2020, 2021))
    (folder / "glaciers.zarr" / "probability" / "c" / "1" / "0" / "0").unlink()
    with pytest.raises(StoreError, match="1 units of the year 2021 are not done"):
        pipeline.areas_of_run(folder, **QUICK)
    assert len(pipeline.areas_of_run(folder, years=(2020,), **QUICK).table) == 1


def test_the_commands_print_tables_and_one_line_errors(mapped: Path, tmp_path: Path, capsys) -> None:
    small = ["--n-draws", "200", "--landscape-draws", "200", "--years", "2016:2019"]
    main(["areas", str(mapped), str(tmp_path / "a.csv"), *small])
    out = capsys.readouterr().out
    assert out.splitlines()[0].split()[:3] == ["of", "year", "soft"]
    assert "and 2 glaciers in the table" in out
    main(["rates", str(mapped), str(tmp_path / "r.csv"), *small, "--no-temporal"])
    out = capsys.readouterr().out
    assert "Theil-Sen" in out.splitlines()[0]
    assert "median" not in {line.split()[1] for line in out.splitlines() if line.startswith("region")}
    for arguments in (
        ["rates", str(mapped), "--years", "2016"],
        ["areas", str(tmp_path)],
        ["areas", str(mapped), "x.shp"],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_real_retreat_around_ny_alesund(shared: Path, tmp_path: Path) -> None:
    """Outlines of 1936, 1990 and 2007 as maps: areas and rates by glacier are those of the polygons themselves."""
    from icemapper_xr import store
    from icemapper_xr.analysis import domains

    outlines = gpd.read_file(shared / "real" / "svalbard" / "post_svalbard.gpkg")
    left, bottom, right, top = outlines.total_bounds
    size = 40.0
    x, y = np.arange(left - 1000, right + 1000, size), np.arange(top + 1000, bottom - 1000, -size)
    like = xr.DataArray(np.zeros((y.size, x.size), np.float32), {"y": y, "x": x}, ("y", "x")).rio.write_crs(
        outlines.crs
    )
    for year, part in outlines.groupby("year"):
        result = domains.shares(part, like).to_dataset(name=cv.PROBABILITY).assign_attrs({cv.ATTR_ORBIT: 14})
        store.write(result.rio.write_crs(outlines.crs), tmp_path / "map" / "glaciers.zarr", year=int(year))
    table = outlines.rename(columns={"name": "glacier_id"})
    table[["glacier_id", "year", "geometry"]].to_file(tmp_path / "map" / "glaciers.gpkg")
    own = outlines.assign(km2=outlines.to_crs(6931).area / 1e6).pivot(index="name", columns="year", values="km2")

    found = pipeline.areas_of_run(tmp_path / "map", **QUICK).table
    members = found[(found["kind"] == "glacier") & (found["filter"] == "none")]
    mapped = members.pivot(index="id", columns="year", values="soft_km2")
    np.testing.assert_allclose(mapped.to_numpy(), own.to_numpy(), rtol=0.01)  # cells on a divide go to one side
    np.testing.assert_allclose(mapped.sum(), own.sum(), rtol=2e-3)
    rates = pipeline.rates_of_run(tmp_path / "map", **QUICK).table
    slopes = rates[(rates["kind"] == "glacier") & (rates["filter"] == "none")].set_index("id")["rate"]
    truth = [np.polyfit(own.columns.astype(float), own.loc[name], 1)[0] for name in slopes.index]
    assert (slopes < 0).all()
    np.testing.assert_allclose(slopes, truth, rtol=0.03)


@pytest.mark.parametrize(
    "name", ["run.json", "RUN.json", "tiles.json", "store.json", "outlines.gpkg", "orbits.csv", "glaciers.gpkg"]
)
def test_a_map_s_own_files_are_not_replaced_by_tables(tmp_path: Path, name: str) -> None:
    folder = rs.write_map(tmp_path / "map", (2016,))
    with pytest.raises(OptionError, match=rf"{name} is a name that the map in .*map keeps for its own files"):
        pipeline.areas_of_run(folder, out=folder / name)
    assert not (folder / name).exists()
    assert tables.target(folder, tmp_path / name.replace("gpkg", "csv"), "areas.csv").parent == tmp_path


def test_outlines_do_not_replace_the_glaciers_of_their_map(tmp_path: Path) -> None:
    folder = rs.write_map(tmp_path / "map", (2016,))
    with pytest.raises(OptionError, match=r"glaciers\.gpkg is a name that the map"):
        pipeline.outlines_of_run(folder, folder / "glaciers.gpkg")
    pipeline.outlines_of_run(folder)
    with pytest.raises(OptionError, match=r"outlines\.gpkg is a name that the map"):
        pipeline.divides_of_run(folder, folder / "outlines.gpkg")
    assert pipeline.outlines_of_run(folder, folder / "outlines_large.gpkg", min_area_km2=1)[0].exists()


def test_outlines_of_a_map_without_their_columns_are_told(tmp_path: Path) -> None:
    folder = rs.write_map(tmp_path / "map", (2016,))
    path, drawn = pipeline.outlines_of_run(folder)
    vectorise.write(drawn.drop(columns="area_km2"), path)
    with pytest.raises(VectorError, match=r"lack the column 'area_km2', .*draw them anew with `icemapper outlines`"):
        pipeline.divides_of_run(folder)


def test_a_table_in_a_geopackage_comes_with_its_method_or_not_at_all(tmp_path: Path) -> None:
    table, about = pd.DataFrame({"id": ["A"], "km2": [1.5]}), {"method": ["one"]}
    target = tables.target(tmp_path, tmp_path / "x.gpkg", "areas.csv")
    tables.write(table, target, about=about)
    assert tables.target(tmp_path, target, "areas.csv") == target  # may be written again
    tables.write(table, tmp_path / "x.json", about=about)
    with pytest.raises(OptionError, match=r"method of .*x\.gpkg goes to .*x\.json, which is something else"):
        tables.target(tmp_path, target, "areas.csv")
    (tmp_path / "y.json").mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*y\.json: "):
        tables.write(table, tmp_path / "y.gpkg", about=about)
    assert not (tmp_path / "y.gpkg").exists()
    assert not list(tmp_path.glob(".*"))


def test_names_with_marks_of_csv_are_read_as_they_are(tmp_path: Path) -> None:
    names = ["Glacier #3", 'the "big", one', "#", "plain", None]
    table = pd.DataFrame({"id": names, "name #": ["x"] * 5, "km2": [1.5, 2e-7, np.nan, 3.0, 1 / 3]})
    tables.write(table, tmp_path / "t.csv", about={"method": ["one"], "notes": "two"})
    read = pd.read_csv(tmp_path / "t.csv", comment="#")
    assert list(read) == ["id", "name #", "km2"]
    assert read["id"].fillna("none").tolist() == [*names[:-1], "none"]
    assert read["km2"].to_numpy() == pytest.approx(table["km2"].to_numpy(), rel=1e-9, nan_ok=True)
