from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import xarray as xr

from icemapper_xr import errors, inventory, pipeline, progress, vectorise
from icemapper_xr.analysis.glaciers import glacier_rates
from icemapper_xr.inventory import conditioning, flags, flowsheds, names, regions, routing, shapes
from icemapper_xr.pipeline import runs
from tests import results_support as rs

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

EPSG = 32633
LEFT, TOP, CELL = 500_000.0, 8_700_000.0, 20.0


# -- flow -------------------------------------------------------------------------------------------------------------
def slope(rows: int = 24, columns: int = 15) -> np.ndarray:
    return np.add.outer(np.arange(rows, 0, -1.0), np.zeros(columns)).astype(np.float32)


@pytest.mark.parametrize("method", ["d8", "dinf", "mfd"])
def test_water_is_neither_lost_nor_made(method: routing.Routing) -> None:
    z = slope() + np.random.default_rng(0).normal(0, 0.2, (24, 15)).astype(np.float32)
    domain = np.zeros(z.shape, bool)
    domain[1:-1, 1:-1] = True
    sinks = np.zeros_like(domain)
    sinks[-2, 1:-1] = True
    water, receiver = routing.accumulate(z, domain, sinks, routing=method)
    assert water[sinks].sum() == pytest.approx(domain.sum(), rel=1e-6)
    assert water[~domain].sum() == 0
    ends = np.unravel_index(routing.endings(receiver).reshape(z.shape)[domain], z.shape)
    assert set(ends[0].tolist()) == {22}


def test_an_even_slope_runs_straight_down() -> None:
    z = slope()
    domain = np.zeros(z.shape, bool)
    domain[1:-1, 1:-1] = True
    sinks = np.zeros_like(domain)
    sinks[-2] = domain[-2]
    for method in routing.ROUTINGS[:2]:
        water, receiver = routing.accumulate(z, domain, sinks, routing=method)
        np.testing.assert_allclose(water[5, 1:-1], 5.0)
        assert np.unravel_index(routing.endings(receiver).reshape(z.shape)[3, 4], z.shape) == (22, 4)


def test_a_plane_stays_a_plane_and_noise_goes() -> None:
    y, x = np.mgrid[:60, :60] * CELL
    plane = (0.1 * y - 0.05 * x + 500).astype(np.float32)
    inner = np.s_[5:-5, 5:-5]
    np.testing.assert_allclose(conditioning.smooth(plane, CELL)[inner], plane[inner], atol=1e-3)
    noisy = plane + np.random.default_rng(1).normal(0, 1, plane.shape).astype(np.float32)
    left = conditioning.smooth(noisy, CELL)[inner] - plane[inner]
    assert left.std() < 0.5
    roof = (500 - 0.8 * np.abs(x - 30 * CELL)).astype(np.float32)  # a ridge keeps its edge
    assert conditioning.smooth(roof, CELL)[30, 30] == pytest.approx(500, abs=1.0)


def test_pits_are_filled_to_their_outlet() -> None:
    z = np.full((9, 9), 10.0, np.float32)
    z[4, 4] = 2.0
    z[4, 5:] = [7.0, 6.0, 5.0, 4.0]
    assert conditioning.fill_pits(z)[4, 4] == 7.0


def test_slivers_join_the_neighbour_with_the_longest_border() -> None:
    labels = np.ones((20, 20), np.int32)
    labels[:, 10:] = 2
    labels[8:10, 9:14] = 3  # borders: 2 on five cells twice and one side, 1 on three sides
    merged = regions.merge_slivers(labels, 10.0, small=2000.0, thin=2000.0, compactness=0.5)
    assert set(np.unique(merged)) == {1, 2}
    assert merged[8, 12] == merged[8, 9] == 2
    kept = regions.merge_slivers(labels, 10.0, small=500.0, thin=500.0, compactness=0.5)
    assert set(np.unique(kept)) == {1, 2, 3}
    thin = regions.merge_slivers(labels, 10.0, small=0.0, thin=2000.0, compactness=1.1)
    assert set(np.unique(thin)) == {1, 2}
    small = regions.merge_slivers(labels, 10.0, small=2000.0, thin=0.0, compactness=0.5)  # whatever counts as thin
    np.testing.assert_array_equal(small, merged)


# -- two valley glaciers that share a divide --------------------------------------------------------------------------
def saddle() -> tuple[np.ndarray, np.ndarray]:
    """An ice field over a straight ridge at column 75: it flows west and east in valleys."""
    y, x = np.mgrid[:100, :150]
    z = 900 - 2.0 * np.abs(x - 75) + 0.05 * (y - 50) ** 2
    ice = (np.abs(x - 75) < 55) & (np.abs(y - 50) < 25)
    return z.astype(np.float32), ice


def dem_of(z: np.ndarray) -> xr.DataArray:
    y, x = TOP - CELL * (np.arange(z.shape[0]) + 0.5), LEFT + CELL * (np.arange(z.shape[1]) + 0.5)
    return xr.DataArray(z, dims=("y", "x"), coords={"y": y, "x": x}, name="made").rio.write_crs(EPSG)


def box(left: float, top: float, right: float, bottom: float) -> shapely.Polygon:
    """A box given in cells."""
    return shapely.box(LEFT + CELL * left, TOP - CELL * bottom, LEFT + CELL * right, TOP - CELL * top)


def frame(*boxes: shapely.Polygon, year: int | None = 2020, crs: object = EPSG, **columns: object) -> gpd.GeoDataFrame:
    made = gpd.GeoDataFrame({"year": [year] * len(boxes), **columns}, geometry=list(boxes), crs=EPSG)
    return made.to_crs(crs)


def test_a_saddle_is_divided_on_its_ridge() -> None:
    z, ice = saddle()
    labels = flowsheds.flowsheds(z, ice, CELL, flowsheds.FlowshedOptions(keep=1.0))
    assert labels.max() == 2
    assert set(np.unique(labels[ice & (np.arange(150) < 73)[None]])) == {labels[50, 30]}
    assert set(np.unique(labels[ice & (np.arange(150) > 77)[None]])) == {labels[50, 120]}
    assert not labels[~ice].any()


def test_no_flowshed_of_steepest_descent_crosses_the_ridge() -> None:
    z, ice = saddle()
    labels = flowsheds.flowsheds(z, ice, CELL, flowsheds.FlowshedOptions(keep=1.0, routing="d8"))
    west, east = (set(np.unique(labels[ice & side[None]])) for side in (np.arange(150) < 73, np.arange(150) > 77))
    assert labels.max() >= 2
    assert not west & east


def test_one_cirque_is_one_glacier() -> None:
    y, x = np.mgrid[:100, :100]
    z = (1000 - 5.0 * y + 0.05 * (x - 50) ** 2).astype(np.float32)
    ice = np.hypot(y - 50, x - 50) < 30
    assert flowsheds.flowsheds(z, ice, CELL).max() == 1


def test_flowsheds_keep_the_area_and_the_divides_through_the_years() -> None:
    z, _ = saddle()
    years = [frame(box(20, 25, 130, 75)), frame(box(25, 28, 128, 72), year=2021)]
    outlines = gpd.pd.concat([one.to_crs(4326) for one in years], ignore_index=True)
    made = inventory.divide(outlines, dem=dem_of(z), options=inventory.FlowshedOptions(keep=1.0))
    assert made["glacier_id"].nunique() == 2
    assert len(made) == 4
    areas = made.groupby("year")["area_km2"].sum()
    own = outlines.set_geometry(outlines.geometry).groupby("year").apply(vectorise.total_area_km2, include_groups=False)
    np.testing.assert_allclose(areas, own, rtol=1e-7)
    for _, rows in made.groupby("year"):
        assert shapely.coverage_is_valid(rows.geometry.values)
        flat = rows.to_crs(EPSG)
        shared = flat.geometry.iloc[0].intersection(flat.geometry.iloc[1])
        assert abs(shared.centroid.x - (LEFT + CELL * 75.5)) < 1.5 * CELL
    assert made["glacier_id"].str.match(r"G\d{6}E\d{5}N").all()


def test_without_a_dem_or_reference_each_body_is_a_glacier_with_one_id_for_all_years() -> None:
    older = frame(box(10, 10, 40, 40), box(60, 10, 80, 40), year=2016)
    younger = frame(box(10, 10, 20, 40), box(25, 10, 40, 40), box(90, 60, 99, 70), year=2024)
    made = inventory.divide(gpd.pd.concat([older, younger], ignore_index=True))
    assert made["glacier_id"].nunique() == 3
    split = made[made["year"] == 2024].set_index("id")
    assert split["part"].tolist().count(2) == 1
    first = made[(made["year"] == 2016)]["glacier_id"].tolist()
    assert sum(name in first for name in made[made["year"] == 2024]["glacier_id"]) == 2
    assert not made.duplicated(["year", "id"]).any()


# -- copied divides ---------------------------------------------------------------------------------------------------
def test_divides_are_copied_and_carried_on_downhill() -> None:
    z, _ = saddle()
    reference = frame(
        box(40, 20, 80, 80), box(80, 20, 110, 80), rgi_id=["west", "east"], glac_name=["Vest", None], term_type=[1, 0]
    )
    ice = frame(box(20, 20, 130, 80), box(140, 90, 145, 95))
    made = inventory.divide(ice, reference=reference.to_crs(3413), dem=dem_of(z))
    flat = made.to_crs(EPSG).set_index("glacier_id")
    assert set(flat.index) == {"west", "east", made["glacier_id"].iloc[0]}  # and the body that no reference has
    assert made["area_km2"].sum() == pytest.approx(vectorise.total_area_km2(ice), rel=1e-7)
    # inside the reference its own divide (column 80), although the ridge runs at 75
    assert flat.geometry["west"].intersection(box(41, 26, 109, 74)).area == pytest.approx(39 * 48 * CELL**2, rel=1e-6)
    # beyond it downhill: all the western tongue is west's
    assert flat.geometry["west"].contains(box(20.5, 30, 39, 70))
    assert flat.geometry["east"].contains(box(111, 30, 129.5, 70))
    assert flat["name"].to_dict()["west"] == "Vest"
    assert flat["terminus"].to_dict() | {made["glacier_id"].iloc[0]: "unknown"} == flat["terminus"].to_dict()
    assert flat.loc["west", "terminus"] == "marine"
    assert flat.loc["east", "terminus"] == "land"


def test_copied_ids_stay_when_the_ice_retreats() -> None:
    reference = frame(box(10, 10, 40, 60), box(40, 10, 80, 60), glacier_id=["a", "b"])
    outlines = [frame(box(12 + k, 12, 78 - 2 * k, 58), year=2016 + k) for k in range(4)]
    made = inventory.divide(gpd.pd.concat(outlines, ignore_index=True), reference=reference)
    table = made.pivot_table(index="glacier_id", columns="year", values="area_km2", aggfunc="sum")
    expected = {"a": [(40 - 12 - k) * 46 for k in range(4)], "b": [(78 - 2 * k - 40) * 46 for k in range(4)]}
    for name, cells in expected.items():
        np.testing.assert_allclose(table.loc[name], np.array(cells) * CELL**2 / 1e6, rtol=2e-3)  # scale of UTM


def test_real_retreat_around_ny_alesund(shared: Path) -> None:
    """Divides copied from 1936 give each glacier of 1990 and 2007 its own area, to rounding."""
    real = gpd.read_file(shared / "real" / "svalbard" / "post_svalbard.gpkg")
    real["year"] = real["year"].astype(int)
    made = inventory.divide(real, reference=real[real["year"] == 1936])
    own = real.set_geometry(real.geometry.to_crs(shapes.plane_of(real)))
    own_areas = (own.assign(area=own.area / 1e6).groupby(["year", "name"])["area"].sum()).to_numpy()
    found = made.groupby(["year", "glacier_id"])["area_km2"].sum()
    np.testing.assert_allclose(found.to_numpy(), own_areas, rtol=1e-8)
    areas = found.unstack("year")
    rates = glacier_rates([1936, 1990, 2007], areas.to_numpy(), names=areas.index.tolist())["rate"]
    lines = np.polyfit([1936, 1990, 2007], own_areas.reshape(3, 5), 1)[0]
    np.testing.assert_allclose(rates, lines, rtol=1e-6)
    assert (rates < 0).all()
    by_year = found.groupby("year").sum()
    np.testing.assert_allclose(by_year, [32.908, 26.244, 24.948], atol=1e-3)
    years = inventory.link_years(real.rename(columns={"name": "id"}))
    assert (years["kind"] == "same").all()
    assert years.groupby("year_1").size().to_dict() == {1936: 5, 1990: 5}


def test_both_methods_on_the_real_dem(shared: Path) -> None:
    folder = shared / "real" / "svalbard"
    outlines = gpd.read_file(folder / "svalbard_glacier.gpkg").to_crs(25833)
    within = shapely.box(502_810, 8_654_330, 529_450, 8_674_030).buffer(-150)
    ice = outlines.clip(shapely.box(524_000, 8_664_000, *within.bounds[2:])).explode()[["geometry"]]
    ice = ice[ice.area > 1e4]
    dem = folder / "Longyearbyen_DEM_1995.tif"
    flow = inventory.divide(ice, dem=dem)
    assert flow["area_km2"].sum() == pytest.approx(vectorise.total_area_km2(ice), rel=1e-6)
    assert len(ice) < len(flow) < 3 * len(ice)
    assert flow.is_valid.all()
    assert shapely.coverage_is_valid(flow.geometry.values)
    smaller = flow.to_crs(25833)
    smaller["geometry"] = smaller.buffer(-60)
    copied = inventory.divide(ice, reference=smaller[~smaller.is_empty], dem=dem)
    pairs = flow.set_index("glacier_id")["area_km2"], copied.set_index("glacier_id")["area_km2"]
    both = pairs[0].index.intersection(pairs[1].index)
    assert len(both) > 0.8 * len(flow)
    np.testing.assert_allclose(pairs[1][both].sum(), pairs[0][both].sum(), rtol=0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    outlines = gpd.pd.concat(
        [frame(box(20, 25, 130, 75)), frame(box(25, 25, 120, 75), year=2021)], ignore_index=True
    ).to_crs(4326)
    outlines["id"] = ["x", "y"]
    outlines["area_km2"] = 1.0
    outlines["touches_edge"] = False
    vectorise.write(outlines, tmp_path / "outlines.gpkg")
    dem_of(saddle()[0]).rio.to_raster(tmp_path / "dem.tif")
    return tmp_path


# -- what inventories hold ---------------------------------------------------------------------------------------------
def test_a_sea_without_elevation_is_still_where_valleys_drain_to() -> None:
    y, x = np.mgrid[:390, :360] * CELL  # two valleys, 3 km apart, that fall to a shore at row 300
    axis = np.abs(np.abs(x - 180 * CELL) - 1500)
    land = 5 + 0.08 * (300 * CELL - y) + 0.06 * axis
    ice = frame(box(40, 0.5, 320, 300))
    seas = {name: np.where(y < 300 * CELL, land, sea).astype(np.float32) for name, sea in (("0", 0.0), ("gap", np.nan))}
    made = {name: inventory.divide(ice, dem=dem_of(z), sea_level=0.0) for name, z in seas.items()}
    assert made["gap"]["glacier_id"].nunique() == made["0"]["glacier_id"].nunique() == 2
    np.testing.assert_allclose(made["gap"]["area_km2"], made["0"]["area_km2"], rtol=0.02)
    assert set(made["0"]["terminus"]) == {"marine"}
    assert set(made["gap"]["terminus"]) == {"unknown"}
    beyond = inventory.divide(frame(box(900, 0, 930, 30)), dem=dem_of(seas["0"]), method="bodies", sea_level=0.0)
    assert beyond["terminus"].tolist() == ["unknown"]


def test_ice_between_the_cells_ends_where_the_cells_around_it_say() -> None:
    z = np.full((60, 60), 500.0, np.float32)
    z[:, 40:] = 0.0
    sliver = shapely.box(LEFT + 211, TOP - 201, LEFT + 229, TOP - 900)  # between two columns of cell centres
    at_sea = shapely.box(LEFT + 40.2 * CELL, TOP - 211, LEFT + 45 * CELL, TOP - 229)
    assert flags.termini(frame(sliver, at_sea, box(2, 2, 30, 30)), dem_of(z)) == ["land", "marine", "land"]
    made = inventory.divide(
        frame(sliver, box(14, 2, 30, 30)), reference=frame(box(2, 2, 30, 50), id=["a"]), dem=dem_of(z), sea_level=0.0
    )
    assert set(made["terminus"]) == {"land"}


def test_cells_beside_the_ice_without_elevation_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    z, _ = saddle()
    z[:, :15] = np.nan
    progress.enable()
    try:
        inventory.divide(frame(box(15, 25, 130, 75)), dem=dem_of(z))
    finally:
        progress.enable(False)
    assert "1 bodies of ice border on cells without elevation" in capsys.readouterr().err


def glims_rows() -> gpd.GeoDataFrame:
    """A glacier with a nunatak as GLIMS stores it: the hole once more, as a row of its own."""
    disc, hole = shapely.Point(LEFT, TOP).buffer(1000), shapely.Point(LEFT, TOP).buffer(400)
    rows = {"line_type": ["glac_bound", "intrnl_rock"], "glac_id": ["G015000E77456N"] * 2, "term_type": [1, 9]}
    return gpd.GeoDataFrame(rows, geometry=[disc - hole, hole], crs=EPSG)


def test_rock_of_glims_is_no_ice() -> None:
    rows = glims_rows()
    ice = rows[["geometry"]].iloc[:1].assign(id=["q"])
    with pytest.warns(UserWarning, match=r"the first inventory: 1 rows that are no glaciers .*intrnl_rock"):
        link = inventory.link(rows, ice).iloc[0]
    assert link["area_1_km2"] == pytest.approx(np.pi * (1 - 0.16), rel=2e-3)
    assert link["share_1"] == pytest.approx(1, rel=1e-6)
    with pytest.warns(UserWarning, match="the reference: 1 rows"):
        made = inventory.divide(ice, reference=rows)
    assert made["terminus"].tolist() == ["marine"]
    with pytest.raises(errors.VectorError, match="hold no glacier, only the line_type intrnl_rock"):
        inventory.link(rows.iloc[1:], ice)


def test_years_of_the_same_ice_are_not_united(shared: Path, folder: Path) -> None:
    path = shared / "real" / "svalbard" / "post_svalbard.gpkg"
    real = gpd.read_file(path)
    latest = real[real["year"].astype(int) == 2007]
    with pytest.raises(errors.VectorError, match=r"several years \(1936, 1990, 2007\).*--inventory-year"):
        inventory.link(real, latest)
    apart = frame(box(0, 0, 10, 10), box(20, 0, 30, 10), id=["a", "b"]).assign(year=[2001, 2005])
    assert (inventory.link(apart, apart)["kind"] == "same").all()  # each glacier has its own date
    vectorise.write(latest.rename(columns={"name": "id"}), folder / "latest.gpkg")
    linked = pipeline.links_of_run(folder / "latest.gpkg", inventory_file=path, inventory_year=2007).inventory
    assert linked is not None
    np.testing.assert_allclose(linked["area_1_km2"], linked["area_2_km2"], rtol=1e-6)
    with pytest.raises(errors.OptionError, match="1936, 1990, 2007, not 2008"):
        pipeline.links_of_run(folder / "latest.gpkg", inventory_file=path, inventory_year=2008)
    with pytest.raises(errors.OptionError, match="there is no inventory"):
        pipeline.links_of_run(folder, inventory_year=2008)


def test_margins_of_other_years_are_no_divides() -> None:
    ice = frame(box(0, 0, 60, 30))
    years = frame(box(0, 0, 80, 30), box(0, 0, 50, 30)).assign(year=[1936, 2007])
    with pytest.raises(
        errors.VectorError, match=r"reference glaciers hold the same ice in several years \(1936, 2007\)"
    ):
        inventory.divide(ice, reference=years.assign(id=["1936-1", "2007-1"]))
    made = inventory.divide(ice, reference=years.assign(id=["1", "1"]))  # glaciers that keep their id, as ours do
    assert made["glacier_id"].tolist() == ["1"]
    assert made["area_km2"].iloc[0] == pytest.approx(1200 * 600 / 1e6, rel=1e-3)


def test_glims_ids_of_the_reference_are_kept() -> None:
    reference = frame(box(0, 0, 30, 30), box(30, 0, 60, 30), rgi_id=["a", "b"], glims_id=["G015123E77456N", None])
    made = inventory.divide(frame(box(0, 0, 60, 30)), reference=reference).set_index("glacier_id")
    assert made.loc["a", "glims_id"] == "G015123E77456N"
    assert made.loc["b", "glims_id"] is None
    by_glims = inventory.divide(
        frame(box(0, 0, 9, 9)), reference=glims_rows().iloc[:1].assign(geometry=[box(0, 0, 9, 9)])
    )
    assert by_glims["glims_id"].tolist() == ["G015000E77456N"]


def test_a_glacier_at_180_degrees_keeps_its_polygons() -> None:
    sides = [
        shapely.segmentize(shapely.box(*ends), 0.001) for ends in ((179.97, 71, 180, 71.02), (-180, 71, -179.98, 71.02))
    ]
    ice = gpd.GeoDataFrame({"year": [2024]}, geometry=[shapely.MultiPolygon(sides)], crs=4326)
    made = inventory.divide(ice)
    assert made.is_valid.all()
    assert sorted(made.bounds["maxx"].round(6)) == [-179.98, 180.0]
    assert sorted(made.bounds["minx"].round(6)) == [-180.0, 179.97]
    assert inventory.link(ice.assign(id="x"), made)["overlap_km2"].sum() == pytest.approx(
        made["area_km2"].sum(), rel=1e-5
    )


def test_blank_and_repeated_ids_do_not_merge_glaciers() -> None:
    apart = [box(0, 0, 9, 9), box(20, 0, 29, 9), box(40, 0, 49, 9)]
    with pytest.raises(errors.VectorError, match=r"no column of ids \(rows without one in name\)"):
        inventory.link(frame(*apart, name=["A", "", " "]), frame(*apart, id=["a", "b", "c"]))
    repeated = frame(*apart, id=[1, 1, 2], name=["A", "B", "C"])
    assert inventory.link(repeated, repeated)["id_1"].tolist() == ["A", "B", "C"]
    with pytest.raises(errors.VectorError, match="2 rows that do not touch have the name 'A'"):
        inventory.link(frame(*apart, name=["A", "A", "C"]), repeated)
    touching = frame(box(0, 0, 9, 9), box(9, 0, 20, 9), name=["A", "A"])
    assert inventory.link(touching, touching)["id_1"].tolist() == ["A"]


def test_ids_and_termini_read_the_same_for_divides_and_areas(tmp_path: Path) -> None:
    kinds = ["shelf", "Marine ", "land", "calving"]
    given = frame(*(box(40 * k, 0, 40 * k + 30, 30) for k in range(4)), id=[1.0, 2.0, 3.0, 4.0], terminus=kinds)
    read = ["shelf", "marine", "land", "unknown"]
    divided = inventory.divide(given, reference=given).sort_values("glacier_id")
    assert divided["glacier_id"].tolist() == ["1", "2", "3", "4"]
    assert divided["terminus"].tolist() == read
    given.to_file(tmp_path / "glaciers.gpkg")
    measured, _ = runs.read_glaciers(tmp_path / "glaciers.gpkg")
    assert measured.index.tolist() == ["1", "2", "3", "4"]
    assert measured["terminus"].tolist() == read
    rgi = given.drop(columns="terminus").assign(term_type=["Shelf-terminating", 1, "0", 9.0])
    assert names.termini_of(rgi) == ["shelf", "marine", "land", "unknown"]


def test_a_name_or_terminus_in_any_row_of_a_glacier_is_its_own(tmp_path: Path) -> None:
    apart = [box(0, 0, 9, 9), box(20, 0, 29, 9), box(40, 0, 49, 9)]
    given = frame(
        *apart, glacier_id=["g", "g", "h"], glac_name=["Foo", None, " "], terminus=["marine", "unknown", "land"]
    )
    made = inventory.divide(frame(*apart), reference=given).set_index("glacier_id")
    assert set(made.loc["g", "name"]) == {"Foo"}
    assert set(made.loc["g", "terminus"]) == {"marine"}
    assert made.loc["h", "name"] is None
    given.to_file(tmp_path / "glaciers.gpkg")
    table, _ = runs.read_glaciers(tmp_path / "glaciers.gpkg")
    assert table.loc["g", ["name", "terminus"]].tolist() == ["Foo", "marine"]


def test_two_inventories_without_years_are_linked(tmp_path: Path) -> None:
    apart = [box(0, 0, 9, 9), box(20, 0, 29, 9)]
    for name, ids in (("rgi6", ["a", "b"]), ("rgi7", ["c", "d"])):
        frame(*apart, rgi_id=ids).drop(columns="year").to_file(tmp_path / f"{name}.gpkg")
    report = pipeline.links_of_run(tmp_path / "rgi7.gpkg", inventory_file=tmp_path / "rgi6.gpkg", out=tmp_path)
    assert report.inventory[["id_1", "id_2", "kind"]].to_numpy().tolist() == [["a", "c", "same"], ["b", "d", "same"]]
    assert [path.name for path in report.written] == ["links_inventory.csv"]
    (row,) = report.counts()
    assert (row["same"], row["gone"]) == (2, 0)


def test_made_ids_are_none_of_the_reference() -> None:
    ice = frame(box(0, 0, 30, 30), box(100, 0, 130, 30))
    own = inventory.divide(ice)["glacier_id"]
    made = inventory.divide(ice, reference=frame(box(100, 0, 130, 30), glac_id=[own.min()]))
    assert made["glacier_id"].nunique() == 2


def test_the_year_of_outlines_must_be_whole() -> None:
    for wrong in (2024.5, "abc", 20240801):
        with pytest.raises(errors.VectorError, match=r"have the year .*whole years in the column 'year'"):
            inventory.divide(frame(box(0, 0, 9, 9), year=wrong))
    for right in (2024.0, "2024", "2024-08-01", gpd.pd.Timestamp("2024-08-01")):
        assert inventory.divide(frame(box(0, 0, 9, 9), year=right))["year"].tolist() == [2024]
    assert inventory.divide(frame(box(0, 0, 9, 9), year=None))["year"].isna().tolist() == [True]


# -- bad input --------------------------------------------------------------------------------------------------------
def test_no_ice_is_an_empty_table() -> None:
    made = inventory.divide(frame(box(0, 0, 9, 9)).iloc[:0])
    assert len(made) == 0
    assert made.crs.to_epsg() == 4326
    assert {"glacier_id", "year", "area_km2", "terminus"} <= set(made.columns)


def test_invalid_geometry_is_mended_and_said() -> None:
    bow = shapely.Polygon([(LEFT, TOP), (LEFT + 1000, TOP - 1000), (LEFT + 1000, TOP), (LEFT, TOP - 1000)])
    with pytest.warns(UserWarning, match="1 invalid geometries mended"):
        made = inventory.divide(frame(bow))
    assert made.is_valid.all()
    assert made["area_km2"].sum() == pytest.approx(0.5, rel=0.01)


def test_a_dem_that_does_not_cover_is_refused_or_leaves_ice_undivided() -> None:
    z, _ = saddle()
    ice = frame(box(20, 25, 130, 75), box(400, 25, 420, 45))
    with pytest.raises(errors.VectorError, match="lacks 100% of the ice body"):
        inventory.divide(ice, dem=dem_of(z))
    made = inventory.divide(ice, dem=dem_of(z), options=inventory.FlowshedOptions(keep=1.0), partial=True)
    assert len(made) == 3


def test_refusals(tmp_path: Path) -> None:
    ice = frame(box(0, 0, 9, 9))
    with pytest.raises(errors.VectorError, match="no CRS"):
        inventory.divide(ice.set_crs(None, allow_override=True))
    with pytest.raises(errors.OptionError, match="needs a DEM"):
        inventory.divide(ice, method="flowsheds")
    with pytest.raises(errors.OptionError, match="'bodies' does not use the reference: leave it out"):
        inventory.divide(ice, reference=ice, method="bodies")
    with pytest.raises(errors.OptionError, match="needs reference"):
        inventory.divide(ice, method="copy")
    with pytest.raises(errors.VectorError, match="no DEM"):
        inventory.divide(ice, dem=tmp_path / "missing.tif")
    with pytest.raises(errors.VectorError, match="no column of ids"):
        inventory.divide(ice, reference=ice[["geometry"]])
    with pytest.raises(errors.OptionError, match="odd number"):
        inventory.FlowshedOptions(smoothing=4)
    for idle, message in (
        ({"options": inventory.FlowshedOptions(routing="d8")}, "routing='d8' counts for nothing with method='bodies'"),
        ({"cell": 30.0}, "cell=30.0 counts for nothing with method='bodies'"),
        ({"partial": True}, "partial leaves ice undivided that the DEM does not cover: give dem"),
    ):
        with pytest.raises(errors.OptionError, match=message):
            inventory.divide(ice, **idle)
    with pytest.raises(errors.OptionError, match="buffer=500 counts for nothing with method='copy'"):
        inventory.divide(ice, reference=ice.assign(id="a"), options=inventory.FlowshedOptions(buffer=500))
    naked = tmp_path / "naked.tif"
    with rasterio.open(
        naked,
        "w",
        driver="GTiff",
        width=4,
        height=4,
        count=1,
        dtype="float32",
        transform=dem_of(saddle()[0]).rio.transform(),
    ) as target:
        target.write(np.zeros((1, 4, 4), np.float32))
    with pytest.raises(errors.VectorError, match="has no CRS"):
        inventory.divide(ice, dem=naked)


def test_a_dem_in_degrees_is_warped() -> None:
    z, _ = saddle()
    degrees = dem_of(z).rio.reproject(4326, resolution=0.0002)
    made = inventory.divide(
        frame(box(20, 25, 130, 75)), dem=degrees, cell=20.0, options=inventory.FlowshedOptions(keep=1.0)
    )
    assert made["glacier_id"].nunique() == 2


# -- links ------------------------------------------------------------------------------------------------------------
def test_every_kind_of_link() -> None:
    first = frame(
        box(0, 0, 10, 10), box(20, 0, 40, 10), box(50, 0, 60, 10), box(60, 0, 70, 10), box(80, 0, 90, 10),
        box(0, 50, 20, 60), box(20, 50, 40, 60),
        id=["same", "splits", "merges 1", "merges 2", "gone", "mixed 1", "mixed 2"],
    )  # fmt: skip
    second = frame(
        box(1, 1, 9, 9), box(20, 0, 29, 10), box(31, 0, 40, 10), box(50, 0, 70, 10), box(100, 0, 110, 10),
        box(0, 50, 10, 60), box(10, 50, 40, 60),
        id=["A", "B1", "B2", "C", "new", "M1", "M2"],
    )  # fmt: skip
    table = inventory.link(first, second.to_crs(4326))
    kinds = {(one, two): kind for one, two, kind in table[["id_1", "id_2", "kind"]].itertuples(index=False)}
    assert kinds == {
        ("same", "A"): "same",
        ("splits", "B1"): "split",
        ("splits", "B2"): "split",
        ("merges 1", "C"): "merge",
        ("merges 2", "C"): "merge",
        ("gone", None): "gone",
        (None, "new"): "new",
        ("mixed 1", "M1"): "mixed",
        ("mixed 1", "M2"): "mixed",
        ("mixed 2", "M2"): "mixed",
    }
    same = table[table["id_1"] == "same"].iloc[0]
    assert (same["share_1"], same["share_2"]) == (pytest.approx(0.64, rel=1e-3), pytest.approx(1.0, rel=1e-6))
    splits = table[table["id_1"] == "splits"]
    assert splits["n_2"].tolist() == [2, 2]
    assert splits["n_1"].tolist() == [1, 1]
    assert splits["share_1"].tolist() == pytest.approx([0.45, 0.45], rel=1e-3)
    assert table.groupby("cluster").ngroups == 6


def test_slivers_do_not_link() -> None:
    first, second = frame(box(0, 0, 10, 10), id=["a"]), frame(box(9.95, 0, 20, 10), id=["b"])
    assert inventory.link(first, second)["kind"].tolist() == ["gone", "new"]
    assert inventory.link(first, second, least_overlap_km2=0, least_share=0)["kind"].tolist() == ["same"]
    with pytest.raises(errors.OptionError, match="least_share"):
        inventory.link(first, second, least_share=1.5)


def test_years_given_as_text_or_dates_link_and_others_are_refused(tmp_path: Path) -> None:
    both = gpd.pd.concat([frame(box(0, 0, 9, 9), year=2020, id=["a"]), frame(box(0, 0, 8, 8), year=2024, id=["b"])])
    expected = inventory.link_years(both)
    assert expected["kind"].tolist() == ["same"]
    text = both["year"].astype(str)
    for name, written in (("text", text), ("dated", text + "-08-01"), ("dates", gpd.pd.to_datetime(text))):
        again = both.assign(year=written)
        gpd.pd.testing.assert_frame_equal(inventory.link_years(again), expected)
        path = tmp_path / f"{name}.gpkg"
        again.to_file(path)
        found = pipeline.links_of_run(path, inventory_file=path, inventory_year=2020)
        assert found.year == 2024
        assert found.inventory is not None
        assert found.inventory["kind"].tolist() == ["same"]
    both["year"] = [2020.5, 2024]
    with pytest.raises(errors.VectorError, match=r"have the year 2020\.5 .*whole years"):
        inventory.link_years(both)


def test_ids_that_are_numbers_are_whole_in_links() -> None:
    """As `divides` and `areas` write them: a column that once had a gap is of floats."""
    first, second = frame(box(0, 0, 10, 10), id=[7.0]), frame(box(0, 0, 9, 9), rgi_id=[12.0])
    assert inventory.link(first, second)[["id_1", "id_2"]].to_numpy().tolist() == [["7", "12"]]


@pytest.mark.parametrize(
    "options", [{"buffer": np.inf}, {"buffer": 1e5}, {"buffer": np.nan}, {"c": np.inf}, {"sliver": np.inf}]
)
def test_options_of_flowsheds_have_bounds(options) -> None:
    with pytest.raises(errors.OptionError, match=rf"{next(iter(options))}=.*: must be"):
        inventory.FlowshedOptions(**options)


@pytest.mark.parametrize("cell", [np.inf, 1e-3, 0.0, np.nan])
def test_cells_of_divides_have_bounds(cell: float) -> None:
    with pytest.raises(errors.OptionError, match=r"cell=.*: the cell size must lie between 0\.5 and 1000 m"):
        inventory.divide(frame(box(0, 0, 10, 10)), reference=frame(box(0, 0, 10, 10), id=["a"]), cell=cell)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_verbs_on_files_without_crs_or_year_name_them(tmp_path: Path) -> None:
    rows = frame(box(0, 0, 10, 10), box(20, 0, 30, 10), id=["a", "b"])
    rows.set_crs(None, allow_override=True).to_file(tmp_path / "bare.gpkg")
    rows.drop(columns="year").to_file(tmp_path / "undated.gpkg")
    for verb in (pipeline.links_of_run, pipeline.divides_of_run):
        with pytest.raises(errors.VectorError, match=r"bare\.gpkg has no CRS: write .*ogr2ogr -a_srs"):
            verb(tmp_path / "bare.gpkg")
    with pytest.raises(errors.OptionError, match=r"undated\.gpkg has no year \(in a column 'year'\): name an inv"):
        pipeline.links_of_run(tmp_path / "undated.gpkg")


def test_links_of_nothing() -> None:
    some, none = frame(box(0, 0, 10, 10), id=["a"]), frame(box(0, 0, 9, 9), id=["x"]).iloc[:0]
    assert inventory.link(some, none)["kind"].tolist() == ["gone"]
    assert inventory.link(none, some)["kind"].tolist() == ["new"]
    assert inventory.link(none, none).empty
    assert inventory.link_years(some).empty


# -- on a folder ------------------------------------------------------------------------------------------------------
def test_a_folder_is_divided_and_linked(folder: Path) -> None:
    path, made = pipeline.divides_of_run(folder, dem=folder / "dem.tif", options=inventory.FlowshedOptions(keep=1.0))
    again = gpd.read_file(path, layer="glaciers")
    assert path == folder / "glaciers.gpkg"
    assert again["id"].tolist() == made["id"].tolist()
    report = pipeline.links_of_run(folder, inventory_file=path, inventory_year=2021, year=2020)
    assert [row["same"] for row in report.counts()] == [2, 2]
    assert {file.name for file in report.written} == {"links_years.csv", "links_inventory.csv"}
    with pytest.raises(errors.OptionError, match="years 2020, 2021, not 1999"):
        pipeline.links_of_run(folder, year=1999)
    with pytest.raises(errors.StoreError, match=r"no outlines\.gpkg"):
        pipeline.divides_of_run(folder / "nowhere")


def test_columns_of_the_source_give_way_to_ours_and_keep_their_values(tmp_path: Path) -> None:
    boxes = [box(20, 25, 60, 75), box(80, 25, 130, 75)]
    source = frame(*boxes, Id=[7, 8], Name=["a", "b"], NAME=["c", "d"], fid=[1, 1], Slope=[3.0, 4.0])
    vectorise.write(source, tmp_path / "in.parquet")
    path, made = pipeline.divides_of_run(tmp_path / "in.parquet", tmp_path / "out.gpkg")
    again = gpd.read_file(path)
    for table in (made, again):
        found = table.sort_values("Id_source")
        assert found["Id_source"].tolist() == [7, 8]
        assert found["Name_source"].tolist() == ["a", "b"]
        assert found["NAME_source_source"].tolist() == ["c", "d"]
        assert found["fid_source"].tolist() == [1, 1]
        assert found["Slope"].tolist() == [3.0, 4.0]
        assert not {"Id", "Name", "NAME"} & set(found)
    assert again["id"].tolist() == made["id"].tolist()


def test_links_say_which_mapped_years_have_no_outline(tmp_path: Path) -> None:
    years = (2016, 2017, 2018)
    ice = rs.probability(2016)
    rs.write_map(tmp_path, years, planes={2016: ice, 2017: np.zeros_like(ice), 2018: ice})
    pipeline.outlines_of_run(tmp_path)
    with pytest.warns(UserWarning, match=r"outlines\.gpkg has no outline of 2017, which the map has: no ice was found"):
        report = pipeline.links_of_run(tmp_path)
    assert [(row["from"], row["to"], row["same"]) for row in report.counts()] == [(2016, 2018, 2)]


def test_a_glacier_that_was_not_observed_is_neither_gone_nor_new(tmp_path: Path) -> None:
    years = (2016, 2017, 2018)
    ice = rs.probability(2016)
    hidden, melted = ice.copy(), ice.copy()
    hidden[:, rs.COLUMNS // 2 :] = np.nan  # around B, whose column of pixels is 287
    melted[:, rs.COLUMNS // 2 :] = 0
    rs.write_map(tmp_path, years, planes={2016: ice, 2017: hidden, 2018: melted})
    pipeline.outlines_of_run(tmp_path)
    report = pipeline.links_of_run(tmp_path)
    counts = [{kind: row[kind] for kind in ("same", "gone", "new", "unobserved")} for row in report.counts()]
    assert counts[0] == {"same": 1, "gone": 0, "new": 0, "unobserved": 1}
    assert counts[1] == {"same": 1, "gone": 0, "new": 0, "unobserved": 0}
    rs.write_map(tmp_path / "back", years, planes={2016: melted, 2017: hidden, 2018: ice})
    pipeline.outlines_of_run(tmp_path / "back")
    assert [row["unobserved"] for row in pipeline.links_of_run(tmp_path / "back").counts()] == [0, 1]
    rs.write_map(tmp_path / "gone", years[:2], planes={2016: ice, 2017: melted})
    pipeline.outlines_of_run(tmp_path / "gone")
    assert [(row["gone"], row["unobserved"]) for row in pipeline.links_of_run(tmp_path / "gone").counts()] == [(1, 0)]


def test_a_glacier_of_an_inventory_beyond_the_map_is_not_gone(tmp_path: Path) -> None:
    rs.write_map(tmp_path, (2016,))
    pipeline.outlines_of_run(tmp_path)
    theirs = rs.glaciers().to_crs(rs.EPSG)
    bare = shapely.Point(rs.LEFT + 8000, rs.TOP - 1500).buffer(300)
    beyond = shapely.Point(rs.LEFT - 5000, rs.TOP - 1500).buffer(300)
    more = gpd.GeoDataFrame({"glacier_id": ["bare", "beyond"]}, geometry=[bare, beyond], crs=rs.EPSG)
    pd.concat([theirs, more]).to_file(tmp_path / "theirs.gpkg")
    found = pipeline.links_of_run(tmp_path, inventory_file=tmp_path / "theirs.gpkg").inventory
    kinds = dict(zip(found["id_1"], found["kind"], strict=True))
    assert kinds == {"A": "same", "B": "same", "bare": "gone", "beyond": "unobserved"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (frame(box(0, 0, 9, 9)), "no column of ids"),
        (frame(box(20, 25, 60, 75), box(20, 25, 60, 74), id=["a", "b"]).assign(year=[2001, 2005]), "several years"),
        (frame(box(0, 0, 9, 9), id=["a"]).set_geometry([shapely.Point(LEFT, TOP)]), "hold no polygon"),
        (frame(box(0, 0, 9, 9), id=["a"]).iloc[:0], "holds no glacier"),
        (frame(shapely.box(600_000, 5e6, 601_000, 5.001e6), id=["a"]), "lie elsewhere than the map's"),
    ],
)
def test_glaciers_of_others_are_refused_by_the_name_of_their_file(
    folder: Path, rows: gpd.GeoDataFrame, message: str
) -> None:
    rows.to_file(folder / "theirs.gpkg")
    with pytest.raises(errors.VectorError, match=rf"theirs\.gpkg.*{message}"):
        pipeline.links_of_run(folder, inventory_file=folder / "theirs.gpkg")
    assert not list(folder.glob("links_*"))  # nothing half done
    if message != "several years":  # divides may come from several
        with pytest.raises(errors.VectorError, match=rf"theirs\.gpkg.*{message}"):
            pipeline.divides_of_run(folder, reference=folder / "theirs.gpkg")
    assert not (folder / "glaciers.gpkg").exists()


def test_a_reference_whose_rows_all_have_one_id_is_told_to_be_one_glacier(folder: Path) -> None:
    """A column of ids that a program filled with 0 made one glacier of all, without a word."""
    rows = frame(box(20, 25, 75, 75), box(75, 25, 130, 75), id=[0, 0])
    rows.to_file(folder / "theirs.gpkg")
    with pytest.warns(UserWarning, match=r"all 2 rows of the glaciers of .*theirs\.gpkg have the id 0 and are one"):
        _, made = pipeline.divides_of_run(folder, reference=folder / "theirs.gpkg")
    assert set(made["glacier_id"]) == {"0"}
    rows.assign(id=[0, 1]).to_file(folder / "theirs.gpkg")
    _, made = pipeline.divides_of_run(folder, reference=folder / "theirs.gpkg")
    assert set(made["glacier_id"]) == {"0", "1"}
