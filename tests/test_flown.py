"""`orbits.gpkg`: which orbit mapped what. Of a region: tests/test_region_map.py."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from icemapper_xr import pipeline
from icemapper_xr.errors import StoreError, VectorError
from tests import results_support as rs

BOX = shapely.box(rs.LEFT, rs.TOP - rs.ROWS * rs.SIZE, rs.LEFT + rs.COLUMNS * rs.SIZE, rs.TOP)


def test_each_year_of_a_map_is_a_row_with_its_platforms(tmp_path: Path) -> None:
    rs.write_map(tmp_path, (2020, 2023), platforms=("S1B", "S1A"), attrs={"first_date": "2020-01-04"})
    pipeline.outlines_of_run(tmp_path)
    flown = gpd.read_file(tmp_path / "orbits.gpkg", layer="orbits")
    assert flown[["year", "tile", "relative_orbit", "platforms", "scenes"]].to_numpy().tolist() == [
        [2020, "glaciers", 14, "rtc S1B 15", 1],
        [2023, "glaciers", 14, "rtc S1A 15", 1],
    ]
    assert set(flown.first_date) == {"2020-01-04"}
    assert [shape.symmetric_difference(BOX).area for shape in flown.to_crs(rs.EPSG).geometry] == pytest.approx(
        [0, 0], abs=2.0
    )


def test_what_nobody_knows_is_empty_and_what_others_wrote_is_left(tmp_path: Path) -> None:
    rs.write_map(tmp_path, (2023,), orbit=-1, attrs={"platforms": "Sentinel-1, both", "polarisation": ""})
    _, flown = pipeline.orbits_of_run(tmp_path)
    assert flown.relative_orbit.isna().all()
    assert flown.platforms.tolist() == ["Sentinel-1, both"]
    again = gpd.read_file(tmp_path / "orbits.gpkg")
    assert pd.isna(again.relative_orbit[0])
    assert again.polarisation[0] is None
    # Areas take nothing from it either.
    assert len(pipeline.areas_of_run(tmp_path, n_draws=100).table)


def test_the_folder_of_a_bare_cube_is_not_ours(tmp_path: Path) -> None:
    rs.write_map(tmp_path, (2023,))
    mine = tmp_path / "orbits.gpkg"
    mine.write_text("footprints of my own")
    pipeline.outlines_of_run(tmp_path / "glaciers.zarr")
    assert mine.read_text() == "footprints of my own"
    path, _ = pipeline.orbits_of_run(tmp_path / "glaciers.zarr", tmp_path / "flown.parquet")
    assert len(gpd.read_parquet(path)) == 1


def test_what_cannot_be_told_or_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        pipeline.orbits_of_run(tmp_path / "nowhere")
    rs.write_map(tmp_path, (2023,))
    (tmp_path / "orbits.gpkg").mkdir()
    with pytest.raises(VectorError, match=r"Cannot write .*orbits.gpkg: .*; make room for it or name another file"):
        pipeline.outlines_of_run(tmp_path)
    assert (tmp_path / "outlines.gpkg").is_file()
