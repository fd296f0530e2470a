"""Results where not everything was seen, or not everything is of one year: what must not look like change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from icemapper_xr import pipeline
from icemapper_xr.errors import AnalysisError, OptionError, VectorError
from tests import results_support as rs

QUICK = {"n_draws": 200, "landscape_draws": 100, "temporal": False}
WEST = np.s_[:, :220]
"""Holds glacier A wholly, and nothing of B."""


def row(table: pd.DataFrame, **where: object) -> pd.Series:
    for name, value in where.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


def without_west(*years: int) -> dict[int, np.ndarray]:
    planes = {year: rs.probability(year) for year in rs.YEARS}
    for year in years:
        planes[year][WEST] = np.nan
    return planes


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rs.write_map(tmp_path_factory.mktemp("whole") / "map")


@pytest.fixture(scope="module")
def glaciers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glaciers") / "g.gpkg"
    rs.glaciers().to_file(path)
    return path


# -- the reference ----------------------------------------------------------------------------------------------------
def test_a_reference_whose_years_are_of_other_glaciers_is_refused(whole: Path, tmp_path: Path) -> None:
    """Glacier A mapped in 2016, B in 2020, both perfectly: A had a bias of its whole area in 2020."""
    full = rs.glaciers(years=(2016, 2020))
    full.to_file(tmp_path / "full.gpkg")
    mixed = full[(full["glacier_id"] == "A") == (full["year"] == 2016)]
    mixed.to_file(tmp_path / "mixed.gpkg")
    options = {"years": (2016, 2018, 2020), "block_size": 800, **QUICK}
    with pytest.raises(AnalysisError, match=r"100% of the ice of 2016 .*mixed.gpkg meet none of 2020.*reference-area"):
        pipeline.areas_of_run(whole, reference=tmp_path / "mixed.gpkg", **options)
    rs.glaciers(extra=1500.0).query("glacier_id == 'A'").to_file(tmp_path / "around_a.gpkg")
    found = pipeline.areas_of_run(
        whole, reference=tmp_path / "full.gpkg", reference_area=tmp_path / "around_a.gpkg", **options
    )
    assert abs(row(found.table, id="region", year=2020)["bias_km2"]) < 0.3
    again = pipeline.areas_of_run(
        whole,
        reference=tmp_path / "mixed.gpkg",
        reference_year=2016,
        reference_area=tmp_path / "around_a.gpkg",
        **options,
    )
    for year in options["years"]:
        assert abs(row(again.table, id="region", year=year)["bias_km2"]) < 0.3


def test_the_year_of_a_reference_chooses_its_rows(whole: Path, tmp_path: Path) -> None:
    rs.glaciers(years=(2016, 2020, 2030)).to_file(tmp_path / "full.gpkg")
    options = {"years": (2016, 2020), "reference": tmp_path / "full.gpkg", "block_size": 800, **QUICK}
    every = pipeline.areas_of_run(whole, **options)
    assert "the reference has years that the map has not, which are not used: 2030 (2 rows)" in every.notes
    one = pipeline.areas_of_run(whole, reference_year=2020, **options)
    for name in ("bias_km2", "adjusted_km2"):
        found, expected = (row(report.table, id="region", year=2020)[name] for report in (one, every))
        assert found == pytest.approx(expected, abs=0.05)
    with pytest.raises(OptionError, match=r"reference_year=2018: .*full.gpkg has the years 2016, 2020, 2030; name one"):
        pipeline.areas_of_run(whole, reference_year=2018, **options)


def test_one_reference_year_gives_no_interval_of_others(whole: Path, tmp_path: Path) -> None:
    """The margin's yearly shift is unknown then: the interval was of width zero, 0.5 km2 from the truth."""
    rs.glaciers(years=(2016,)).to_file(tmp_path / "one.gpkg")
    rs.glaciers(years=(2016, 2020)).to_file(tmp_path / "two.gpkg")
    options = {"years": (2016, 2018, 2020), "block_size": 800, **QUICK}
    found = pipeline.areas_of_run(whole, reference=tmp_path / "one.gpkg", **options)
    table = found.table[found.table["kind"] == "region"].set_index("year")
    assert table["lower_km2"].notna().tolist() == [True, False, False]
    assert table["adjusted_km2"].notna().all()
    assert any("no interval of the areas of other years" in note for note in found.notes)
    for more in ({"reference": tmp_path / "two.gpkg"}, {"reference": tmp_path / "one.gpkg", "year_bias_m": 10}):
        known = pipeline.areas_of_run(whole, **more, **options).table
        assert known[known["kind"] == "region"]["lower_km2"].notna().all()


# -- what was not seen ------------------------------------------------------------------------------------------------
def test_what_another_map_never_saw_is_no_year(tmp_path: Path, glaciers: Path) -> None:
    """Orbit 118 sees the east alone: its zeros in the west were lifted to the level of orbit 14 and counted."""
    first = rs.write_map(tmp_path / "ro14", range(2016, 2021))
    other = rs.write_map(tmp_path / "ro118", range(2019, 2025), orbit=118, planes=without_west(*rs.YEARS))
    options = {"glaciers": glaciers, **QUICK}
    with pytest.raises(AnalysisError, match=r"the maps see 205 and 92.23 km2 of the region.*--region"):
        pipeline.rates_of_run(first, others=[other], **options)
    east = rs.glaciers(extra=400.0).query("glacier_id == 'B'")
    east.to_file(tmp_path / "east.gpkg")
    alone = pipeline.rates_of_run(first, out=tmp_path / "1.csv", **options).table
    both = pipeline.rates_of_run(
        first, others=[other], out=tmp_path / "2.csv", region=tmp_path / "east.gpkg", **options
    ).table
    a, b = (row(both, id=name) for name in "AB")
    assert (a["n_years"], b["n_years"]) == (0, 9)
    assert b["rate"] == pytest.approx(row(alone, id="B")["rate"], rel=0.03)
    assert b["mean_km2"] == pytest.approx(np.mean([rs.true_area("B", year) for year in rs.YEARS]), rel=0.01)
    assert np.isnan(a["rate"])


def test_glaciers_of_the_first_map_are_those_of_all(tmp_path: Path, glaciers: Path) -> None:
    maps = [rs.write_map(tmp_path / name, years, orbit=orbit) for name, years, orbit in (
        ("one", range(2016, 2021), 14), ("two", range(2019, 2025), 118),
    )]  # fmt: skip
    frame = rs.glaciers()
    frame.to_file(maps[0] / "glaciers.gpkg")
    frame.assign(glacier_id=["B", "A"]).to_file(maps[1] / "glaciers.gpkg")
    found = pipeline.rates_of_run(maps[0], others=maps[1:], out=tmp_path / "r.csv", **QUICK).table
    for name in "AB":
        years = [(rs.true_area(name, 2024) - rs.true_area(name, 2016)) / 8, row(found, id=name)["rate"]]
        assert years[1] == pytest.approx(years[0], rel=0.05)


def test_a_year_in_which_a_glacier_was_not_seen_is_no_year_without_it(tmp_path: Path, glaciers: Path) -> None:
    folder = rs.write_map(tmp_path / "gap", planes=without_west(2020, 2024))
    every = pipeline.rates_of_run(folder, out=tmp_path / "e.csv", glaciers=glaciers, common=False, **QUICK)
    a = row(every.table, id="A")
    assert (a["n_years"], a["first_year"], a["last_year"]) == (7, 2016, 2023)
    assert a["rate"] == pytest.approx((rs.true_area("A", 2023) - rs.true_area("A", 2016)) / 7, rel=0.05)
    assert a["mean_km2"] == pytest.approx(27, abs=1)


def test_a_year_that_saw_a_part_is_told_where_every_cell_counts(tmp_path: Path, glaciers: Path) -> None:
    """The rate of what was seen, -3.6 km2 a-1 for -0.37, came without a word."""
    planes = without_west()
    planes[2020][:, : rs.COLUMNS // 4] = np.nan  # half of A
    folder = rs.write_map(tmp_path / "gap", (2018, 2019, 2020), planes=planes)
    options = {"out": tmp_path / "e.csv", "glaciers": glaciers, **QUICK}
    every = pipeline.rates_of_run(folder, common=False, **options)
    assert row(every.table, id="A")["rate"] < -5
    told = [note for note in every.notes if "missing from the rate: " in note]
    assert len(told) == 1
    assert "A 50%" in told[0]
    assert "region 25%" in told[0]
    assert "B " not in told[0]
    assert not any("missing from the rate" in note for note in pipeline.rates_of_run(folder, **options).notes)


def test_what_a_rate_leaves_out_is_said(tmp_path: Path, glaciers: Path) -> None:
    folder = rs.write_map(tmp_path / "gap", planes=without_west(2020))
    found = pipeline.rates_of_run(folder, out=tmp_path / "r.csv", glaciers=glaciers, **QUICK)
    region, a, b = (row(found.table, id=name) for name in ("region", "A", "B"))
    assert region["left_out_km2"] / (region["left_out_km2"] + region["observed_km2"]) == pytest.approx(0.55, abs=1e-3)
    assert (a["n_years"], a["observed_km2"], b["left_out_km2"]) == (0, 0, 0)
    assert a["left_out_km2"] > rs.true_area("A", 2016)  # with its domain
    assert b["rate"] == pytest.approx((rs.true_area("B", 2024) - rs.true_area("B", 2016)) / 8, rel=0.05)
    assert any("seen in some years only" in note and "region 55%" in note for note in found.notes)
    areas = pipeline.areas_of_run(folder, out=tmp_path / "a.csv", **QUICK)
    assert "not observed of the region, and in no area: 2020 55%" in areas.notes
    assert not any("not observed" in note for note in pipeline.areas_of_run(
        folder, out=tmp_path / "b.csv", years=(2016, 2024), **QUICK).notes)  # fmt: skip


# -- glaciers ---------------------------------------------------------------------------------------------------------
def test_outlines_of_several_years_are_no_glaciers(whole: Path, tmp_path: Path) -> None:
    """Each body had another id in each year, and the earliest took nearly all of it."""
    frame = rs.glaciers(years=(2016, 2020))
    frame.assign(glacier_id=[f"{k}" for k in range(len(frame))]).to_file(tmp_path / "outlines.gpkg")
    with pytest.raises(VectorError, match=r"outlines.gpkg hold the same ice in several years \(2016, 2020\)"):
        pipeline.areas_of_run(whole, glaciers=tmp_path / "outlines.gpkg", **QUICK)


def test_surging_glaciers_without_a_rate_are_named(tmp_path: Path, glaciers: Path) -> None:
    """They were dropped before the test, which told of none left out."""
    folder = rs.write_map(tmp_path / "gap", planes=without_west(2020))
    (tmp_path / "list.txt").write_text("A\n")
    with pytest.raises(AnalysisError, match=r"none of the 1 glaciers of .*list\.txt has a rate in this map"):
        pipeline.surges_of_run(folder, tmp_path / "list.txt", glaciers=glaciers, **QUICK)
