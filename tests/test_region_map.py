"""Maps of regions: across zones, tile by tile, resumed, masked; the outlines are those of the area asked for."""

from __future__ import annotations

import contextlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely

from icemapper_xr import applicability, catalog, load_model, pipeline, regions, store, vectorise
from icemapper_xr._types import FloatArray
from icemapper_xr.cli import main, mapping
from icemapper_xr.errors import CubeError, IcemapperError, OptionError, StoreError
from icemapper_xr.pipeline import execution, units
from icemapper_xr.testing import FakeSegmenter
from tests import scenes
from tests.test_applicability import places
from tests.test_regions import area_km2

BOX = (11.985, 66.0, 12.015, 66.012)
"""Across the border of UTM 32 and 33, 1.36 x 1.34 km."""


@dataclass(frozen=True)
class Bright(FakeSegmenter):
    """Glacier where the mean over time is bright; `always` makes it glacier everywhere."""

    window: int = 32
    always: bool = False

    def __call__(self, x: FloatArray, /) -> FloatArray:
        mean = x.mean(axis=(1, 4))
        return np.full_like(mean, 0.9) if self.always else np.clip(0.5 + (mean - 0.66) * 20, 0, 1).astype(np.float32)

    def __dask_tokenize__(self) -> Any:
        return (*super().__dask_tokenize__(), self.always)


def write_year(folder: Path, year: int, *, orbit: int = 14, columns: slice = slice(0, 320), mode: str = "IW") -> None:
    """Write a year of one orbit in UTM 33, a bright disc of 400 m on the border of the zones."""
    to_utm = pyproj.Transformer.from_crs(4326, 32633, always_xy=True)
    east, north = to_utm.transform(12.0, 66.006)
    left, top = round((east - 1600) / 10) * 10.0, round((north + 1500) / 10) * 10.0
    y, x = np.mgrid[:300, :320]
    disc = np.hypot(left + 10 * x + 5 - east, top - 10 * y - 5 - north)
    power = (0.05 + 0.45 / (1 + np.exp((disc - 400) / 20))).astype(np.float32)
    for when in scenes.passes(year):
        scenes.write_raster(
            folder / f"rtc_S1A_{mode}_HH_ro{orbit:03d}_{when:%Y%m%dT%H%M%S}.tif",
            power[:, columns],
            left=left + 10 * columns.start,
            top=top,
            feature="rtc",
            quantity="gamma0",
            scale="power",
            polarisation="HH",
            relative_orbit=str(orbit),
            orbit_state="ascending",
            platform="S1A",
            mode=mode,
            acquired=when.isoformat(),
        )


@pytest.fixture(scope="module")
def rasters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rasters")
    write_year(folder, 2023)
    catalog.build(folder)
    return folder


@pytest.fixture(scope="module")
def two_years(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("years")
    for year in (2022, 2023):
        write_year(folder, year)
    catalog.build(folder)
    return folder


def stopped(monkeypatch: pytest.MonkeyPatch, rasters: Path, out: Path, *, after: int, **options: Any) -> None:
    """Map until Ctrl-C comes when so many tiles and years are done."""
    real, done = execution.map_cube, []

    def map_cube(*args: Any, **more: Any) -> Any:
        if len(done) == after:
            raise KeyboardInterrupt
        done.append(args)
        return real(*args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(execution, "map_cube", map_cube)
        with pytest.raises(KeyboardInterrupt):
            run(rasters, out, Bright(always=True), **options)


def run(rasters: Path, out: Path, segmenter: FakeSegmenter, **options: Any) -> pipeline.RegionReport:
    return pipeline.map_region(
        **{"catalog": rasters, "weights": segmenter, "out": out, "region": BOX, "years": (2023,), **options}
    )


def test_an_area_across_zones_is_mapped_once(rasters: Path, tmp_path: Path) -> None:
    report = run(rasters, tmp_path / "m", Bright(always=True))
    assert [tile.name for tile in report.tiles] == ["utm32n_all", "utm33n_all"]
    assert {tile.steps for tile in report.tiles} == {15}
    outlines = gpd.read_file(tmp_path / "m" / "outlines.gpkg")
    assert len(outlines) == 1
    assert outlines.area_km2[0] == pytest.approx(area_km2(shapely.box(*BOX)), rel=1e-7)
    assert outlines.geometry[0].bounds == pytest.approx(BOX, abs=1e-9)
    assert report.areas == {2023: (pytest.approx(outlines.area_km2[0]), 1)}


def test_a_layer_says_which_orbit_mapped_what(tmp_path: Path) -> None:
    rasters, out = tmp_path / "rasters", tmp_path / "m"
    write_year(rasters, 2023, orbit=14, columns=slice(0, 200))
    write_year(rasters, 2023, orbit=87, columns=slice(120, 320))
    catalog.build(rasters)
    run(rasters, out, Bright(always=True))
    flown = gpd.read_file(out / "orbits.gpkg").set_index("tile")
    assert flown.relative_orbit.to_dict() == {"utm32n_all": 14, "utm33n_all": 87}
    assert set(flown.year) == {2023}
    assert set(flown.platforms) == {"rtc S1A 15"}
    west, east = flown.geometry
    assert (west.bounds[2], east.bounds[0]) == pytest.approx((12.0, 12.0), abs=1e-9)
    assert area_km2(west) + area_km2(east) == pytest.approx(area_km2(shapely.box(*BOX)), rel=1e-6)
    # Drawn anew it comes back; alone it can be written elsewhere.
    (out / "orbits.gpkg").unlink()
    main(["outlines", str(out)])
    path, again = pipeline.orbits_of_run(out, tmp_path / "flown.geojson")
    assert gpd.read_file(path).relative_orbit.tolist() == again.relative_orbit.tolist() == [14, 87]
    assert (out / "orbits.gpkg").is_file()


def test_a_tile_that_fails_leaves_the_others(rasters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = units._read

    def read(job: units.Job) -> object:
        if job.series.area.grid.epsg == 32632:
            raise CubeError("could not be read")
        return really(job)

    with monkeypatch.context() as patched:
        patched.setattr(units, "_read", read)
        with pytest.raises(CubeError, match="utm32n_all, 2023: could not be read; the other tiles are done; mend"):
            run(rasters, tmp_path / "m", Bright(always=True))
    report = run(rasters, tmp_path / "m", Bright(always=True), retry_failed=True)
    assert [(tile.name, tile.units > 0, tile.units_kept > 0) for tile in report.tiles] == [
        ("utm32n_all", True, False),
        ("utm33n_all", False, True),
    ]
    assert report.areas[2023][0] == pytest.approx(area_km2(shapely.box(*BOX)), rel=1e-7)


def test_a_glacier_across_zones_is_one_outline(rasters: Path, tmp_path: Path) -> None:
    run(rasters, tmp_path / "m", Bright())
    outlines = gpd.read_file(tmp_path / "m" / "outlines.gpkg")
    assert len(outlines) == 1
    whole = outlines.geometry[0]
    halves = [shapely.intersection(whole, shapely.box(west, 65, west + 1, 67)) for west in (11.0, 12.0)]
    one, other = map(area_km2, halves)
    assert one == pytest.approx(other, rel=0.01)  # the disc lies on the border
    assert not outlines.touches_edge[0]


def test_a_region_is_resumed_and_another_run_refused(rasters: Path, tmp_path: Path) -> None:
    first = run(rasters, tmp_path / "m", Bright())
    assert {(tile.units, tile.units_kept) for tile in first.tiles} <= {(1, 0), (2, 0), (4, 0)}
    log = next((tmp_path / "m" / "logs").glob("*.jsonl")).read_text().splitlines()
    assert (json.loads(log[0])["cluster"], json.loads(log[-1])["event"]) == ("threads", "end")
    again = run(rasters, tmp_path / "m", Bright())
    assert {tile.units for tile in again.tiles} == {0}
    with pytest.raises(StoreError, match="another run"):
        run(rasters, tmp_path / "m", Bright(context=2.0))
    assert run(rasters, tmp_path / "m", Bright(context=2.0), overwrite=True).tiles[0].units > 0


def test_a_region_tells_where_its_input_is_unlike_the_training(rasters: Path, tmp_path: Path) -> None:
    weights = scenes.write_weights(tmp_path / "w.h5")
    learnt = [applicability.summaries([one]).reshape(-1, 8) for one in places(np.random.default_rng(1), 60)]
    model = applicability.fit(learnt, features=("rtc",), pixel_size=10.0, source="places that melt in summer")
    applicability.write(model, applicability.beside(weights))
    report = run(rasters, tmp_path / "m", load_model(weights), tile=1)
    assert len(report.tiles) >= 2
    assert report.unlike[2023].observed > 0.9  # nothing changes in these rasters
    assert any("of the observed area is unlike" in line for line in mapping._region_summary(report).splitlines())
    assert run(rasters, tmp_path / "n", Bright()).unlike == {}


def test_tiles_do_not_show_in_the_outlines(rasters: Path, tmp_path: Path) -> None:
    """Tiles of one chunk: the lattice of zone 33 has no line here, so the same area is cut by hand."""
    (zone,) = [zone for zone in regions.zones(regions.resolve(BOX)) if zone.number == 33]
    report = run(rasters, tmp_path / "m", Bright(), tile=1)
    assert {tile.name.split("_")[0] for tile in report.tiles} == {"utm32n", zone.name}
    one = gpd.read_file(tmp_path / "m" / "outlines.gpkg")
    run(rasters, tmp_path / "n", Bright())
    other = gpd.read_file(tmp_path / "n" / "outlines.gpkg")
    assert one.area_km2.sum() == pytest.approx(other.area_km2.sum(), rel=1e-6)


def test_what_no_observation_covers_is_skipped_and_named(rasters: Path, tmp_path: Path) -> None:
    report = run(rasters, tmp_path / "m", Bright(), region=[BOX, (20.0, 66.0, 20.01, 66.01)])
    (missing,) = [tile for tile in report.tiles if tile.skipped]
    assert missing.name.startswith("utm34n")
    assert json.loads((tmp_path / "m" / "tiles.json").read_text())["skipped"]
    with pytest.raises(IcemapperError):
        run(rasters, tmp_path / "n", Bright(), region=(20.0, 66.0, 20.01, 66.01))


def test_a_plan_leaves_out_tiles_without_data(rasters: Path, tmp_path: Path) -> None:
    region = [BOX, (20.0, 66.0, 20.01, 66.01)]
    plan = pipeline.plan_map(catalog=rasters, weights=Bright(), rate=1.0, years=(2023,), region=region)
    report = run(rasters, tmp_path / "m", Bright(), region=region)
    assert {tile.name for tile in report.tiles if tile.skipped} == {"utm34n_all"}
    assert plan.tiles == 2
    assert plan.windows == report.windows.evaluated
    assert plan.years[0].without == 1


def test_a_plan_tells_the_items_by_mode_and_counts_on_iw_alone(tmp_path: Path) -> None:
    """EW covers all of the area and IW a part of it: the map takes IW."""
    write_year(tmp_path / "data", 2023, columns=slice(100, 320))
    write_year(tmp_path / "data", 2023, orbit=88, mode="EW")
    catalog.build(tmp_path / "data")
    options: dict[str, Any] = {"catalog": tmp_path / "data", "weights": Bright(), "rate": 1.0, "years": (2023,)}
    plan = pipeline.plan_map(**options, region=BOX)
    assert (plan.years[0].orbits, plan.years[0].items) == ((14,), {"EW": 15, "IW": 15})
    with pytest.warns(UserWarning, match="15 of 30 observations of rtc left out"):
        plan = pipeline.plan_map(**options, bbox=(12.0, 66.0, 12.015, 66.012))
    assert (plan.years[0].orbits, plan.years[0].items) == ((14,), {"EW": 15, "IW": 15})


def test_a_mask_leaves_out_what_cannot_be_ice(rasters: Path, tmp_path: Path) -> None:
    half = tmp_path / "land.geojson"
    gpd.GeoDataFrame(geometry=[shapely.box(11.98, 65.9, 11.995, 66.1)], crs=4326).to_file(half)
    report = run(rasters, tmp_path / "m", Bright(always=True), mask=half, mask_buffer=0)
    assert [tile.name for tile in report.tiles] == ["utm32n_all"]
    outlines = gpd.read_file(tmp_path / "m" / "outlines.gpkg")
    wanted = area_km2(shapely.box(11.985, 66.0, 11.995, 66.012))
    assert outlines.area_km2.sum() == pytest.approx(
        wanted, rel=0.03
    )  # a buffer of 0 is the mask itself; pixels of 10 m
    with pytest.raises(OptionError, match="does not exist"):
        run(rasters, tmp_path / "n", Bright(), mask=tmp_path / "none.gpkg")


def test_a_plan_of_a_region_knows_its_mask(rasters: Path, tmp_path: Path) -> None:
    land = tmp_path / "land.geojson"
    gpd.GeoDataFrame(geometry=[shapely.box(11.98, 65.9, 11.992, 66.1)], crs=4326).to_file(land)
    options = {"mask": land, "years": (2023,), "region": BOX}
    for buffer in (0.0, 400.0):
        plan = pipeline.plan_map(catalog=rasters, weights=Bright(), rate=1.0, mask_buffer=buffer, **options)
        report = run(rasters, tmp_path / f"{buffer:g}", Bright(), mask_buffer=buffer, **options)
        assert plan.windows == report.windows.evaluated
        assert plan.tiles == len(report.tiles)
    with pytest.raises(OptionError, match="the tiles of a region lie in its folder"):
        pipeline.plan_map(catalog=rasters, weights=Bright(), rate=1.0, store="a.zarr", **options)
    with pytest.raises(OptionError, match="start: '2023-02-29' is not a date"):
        pipeline.plan_map(catalog=rasters, weights=Bright(), rate=1.0, start="02-29", **options)


def test_outlines_are_drawn_anew(rasters: Path, tmp_path: Path) -> None:
    run(rasters, tmp_path / "m", Bright())
    target, drawn = pipeline.outlines_of_run(tmp_path / "m", tmp_path / "high.parquet", threshold=0.9)
    assert target.suffix == ".parquet"
    assert 0 < drawn.area_km2.sum() < gpd.read_file(tmp_path / "m" / "outlines.gpkg").area_km2.sum()
    with pytest.raises(StoreError, match="not 2019"):
        pipeline.outlines_of_run(tmp_path / "m", year=2019)
    with pytest.raises(StoreError, match="zarr"):
        pipeline.outlines_of_run(tmp_path)


def test_a_foreign_folder_is_left_alone(rasters: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "letter.txt").write_text("dear")
    with pytest.raises(StoreError, match="not of a region's map"):
        run(rasters, tmp_path / "m", Bright())
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["letter.txt"]


def test_the_polygon_of_an_area_is_its_mask(rasters: Path, tmp_path: Path) -> None:
    triangle = shapely.Polygon([(12.002, 66.001), (12.012, 66.001), (12.002, 66.009)])
    report = pipeline.map_glaciers(
        catalog=rasters, weights=Bright(always=True), out=tmp_path / "m", geometry=triangle, years=(2023,)
    )
    assert report.years[0].area_km2 == pytest.approx(area_km2(triangle), rel=0.03)
    inside = np.isfinite(store.open_store(tmp_path / "m" / "glaciers.zarr").probability.values)
    assert 0.4 < inside.mean() < 0.6


# -- runs that break off, and runs that do not go together ------------------------------------------------------------
@pytest.mark.parametrize("index", ["whole", "gone", "cut"])
def test_a_first_run_that_breaks_off_goes_on(
    rasters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: str
) -> None:
    out = tmp_path / "m"
    stopped(monkeypatch, rasters, out, after=1)
    listed = json.loads((out / "tiles.json").read_text())["tiles"]
    assert list(listed) == ["utm32n_all", "utm33n_all"]
    assert [path.name for path in (out / "tiles").glob("*.zarr")] == ["utm32n_all.zarr"]
    with pytest.raises(StoreError, match=r"no finished year: 2023 \(\d of \d units, to do in utm33n_all"):
        pipeline.outlines_of_run(out)
    if index == "gone":  # as runs of before the index came first left it
        (out / "tiles.json").unlink()
    elif index == "cut":
        whole = (out / "tiles.json").read_text()
        (out / "tiles.json").write_text(whole[: len(whole) // 2])
    assert not pipeline.status_of_run(out).complete
    again = run(rasters, out, Bright(always=True))
    assert [bool(tile.units) for tile in again.tiles] == [False, True]
    assert again.areas[2023][0] == pytest.approx(area_km2(shapely.box(*BOX)), rel=1e-7)
    assert pipeline.status_of_run(out).complete
    assert json.loads((out / "tiles.json").read_text())["tiles"] == listed


def test_a_damaged_index_is_one_line_and_the_same_map_mends_it(
    rasters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m"
    before = run(rasters, out, Bright())
    (out / "tiles.json").write_text("null")
    with pytest.raises(SystemExit):
        main(["outlines", str(out)])
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "tiles.json does not list the tiles of a map; run the same map again" in told[0]
    assert run(rasters, out, Bright()).areas == before.areas


@pytest.mark.parametrize("option", ["overwrite", "retry_failed"])
def test_a_run_that_broke_off_can_be_replaced_or_tried_again(
    rasters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    stopped(monkeypatch, rasters, tmp_path / "m", after=1)
    (tmp_path / "m" / "tiles.json").unlink()
    assert run(rasters, tmp_path / "m", Bright(always=True), **{option: True}).areas[2023][1] == 1


def test_a_run_that_wrote_nothing_leaves_nothing(
    rasters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(monkeypatch, rasters, tmp_path / "m", after=0)
    assert not (tmp_path / "m").exists()
    with pytest.raises(IcemapperError):
        run(rasters, tmp_path / "m", Bright(), region=(20.0, 66.0, 20.01, 66.01))
    assert not (tmp_path / "m").exists()


def test_half_a_year_of_a_region_is_no_finished_year(
    two_years: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, years = tmp_path / "m", (2022, 2023)
    run(two_years, out, Bright(always=True), years=(2022,))
    stopped(monkeypatch, two_years, out, after=2, years=years)  # both years of the first tile
    with pytest.warns(UserWarning, match=r"unfinished: 2023 \(\d of \d units, to do in utm33n_all\)"):
        _, drawn = pipeline.outlines_of_run(out)
    assert list(drawn["year"]) == [2022]
    found = pipeline.status_of_run(out)
    assert not found.complete
    assert [(Path(row.store).stem, row.year, row.done) for row in found.years if row.missing] == [
        ("utm33n_all", 2023, 0)
    ]
    units = {row.store: row.units for row in found.years if row.year == 2022}
    assert all(row.units == units[row.store] for row in found.years)
    with pytest.warns(UserWarning, match="unfinished: 2023"):  # the other year alone does not make it whole
        run(two_years, out, Bright(always=True), years=(2022,))
    again = run(two_years, out, Bright(always=True), years=years)
    assert again.areas[2023] == pytest.approx(again.areas[2022])
    assert pipeline.status_of_run(out).complete


def test_a_year_that_was_asked_for_and_never_begun_is_forgotten(
    two_years: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(monkeypatch, two_years, tmp_path / "m", after=1, years=(2022, 2023), region=(12.0, 66.0, 12.015, 66.012))
    assert not pipeline.status_of_run(tmp_path / "m").complete
    run(two_years, tmp_path / "m", Bright(always=True), region=(12.0, 66.0, 12.015, 66.012), years=(2022,))
    assert pipeline.status_of_run(tmp_path / "m").complete


def test_a_year_that_another_run_of_the_region_ends_while_outlines_are_drawn_is_drawn_too(
    two_years: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that ended last wrote outlines without the other's year."""
    write = vectorise.write

    def held(*args: object, **more: object) -> None:
        monkeypatch.setattr(vectorise, "write", write)
        run(two_years, tmp_path / "m", Bright(always=True), years=(2023,))
        write(*args, **more)

    monkeypatch.setattr(vectorise, "write", held)
    found = run(two_years, tmp_path / "m", Bright(always=True), years=(2022,))
    assert list(gpd.read_file(tmp_path / "m" / "outlines.gpkg")["year"]) == [2022, 2023]
    assert list(found.areas) == [2022, 2023]


@pytest.mark.parametrize("broken", [2022, 2023])
def test_what_two_runs_of_a_region_at_once_were_asked_for_stays_due(
    two_years: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: int
) -> None:
    """One breaks off after its first tile, the one that began first or the other: its year is half a year."""
    out, real = tmp_path / "m", execution.map_cube

    def map_cube(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(execution, "map_cube", real)
        if broken == 2023:
            stopped(monkeypatch, two_years, out, after=1, years=(2023,))
            return real(*args, **more)
        run(two_years, out, Bright(always=True), years=(2023,))
        written = real(*args, **more)
        monkeypatch.setattr(execution, "map_cube", interrupted)
        return written

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(execution, "map_cube", map_cube)
    with warnings.catch_warnings(), contextlib.suppress(KeyboardInterrupt):
        warnings.simplefilter("ignore", UserWarning)  # the first may see that the second broke off
        run(two_years, out, Bright(always=True), years=(2022,))
    with pytest.warns(UserWarning, match=f"unfinished: {broken}"):
        _, drawn = pipeline.outlines_of_run(out)
    assert not pipeline.status_of_run(out).complete
    assert list(drawn["year"]) == [4045 - broken]


def test_a_region_is_of_one_run(rasters: Path, tmp_path: Path) -> None:
    """East of the border with other settings than west of it: neither may be added to the other."""
    out, west, east = tmp_path / "m", (11.985, 66.0, 12.0, 66.012), (12.0, 66.0, 12.015, 66.012)
    run(rasters, out, Bright(), region=west)
    index = (out / "tiles.json").read_text()
    for segmenter, options, difference in (
        (Bright(context=2.0), {}, "weights_digest"),
        (Bright(), {"gap": "zero"}, "settings.gap is nearest there and zero here"),
        (Bright(context=2.0), {"overwrite": True}, "weights_digest"),  # the western tile would stay
    ):
        with pytest.raises(StoreError, match=f"utm32n_all.zarr of the same map belongs to another run: .*{difference}"):
            run(rasters, out, segmenter, region=east, **options)
        assert (out / "tiles.json").read_text() == index
        assert [path.name for path in (out / "tiles").iterdir()] == ["utm32n_all.zarr"]
    assert len(run(rasters, out, Bright(), region=east).areas) == 1
    assert list(json.loads((out / "tiles.json").read_text())["tiles"]) == ["utm32n_all", "utm33n_all"]
    assert pipeline.status_of_run(out).complete
    whole = run(rasters, out, Bright(context=2.0), overwrite=True)
    assert all(tile.units for tile in whole.tiles)


def test_a_region_grows_by_parts_and_says_what_is_missing(two_years: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    run(two_years, out, Bright(always=True), region=(11.985, 66.0, 12.0, 66.012), years=(2022,))
    with pytest.warns(UserWarning, match="no outlines of utm32n_all in 2023"):
        run(two_years, out, Bright(always=True), region=(12.0, 66.0, 12.015, 66.012), years=(2022, 2023))
    assert pipeline.status_of_run(out).complete
    _, drawn = pipeline.outlines_of_run(out, year=2022)
    assert drawn["area_km2"].sum() == pytest.approx(area_km2(shapely.box(*BOX)), rel=1e-7)


def test_tiles_of_one_region_do_not_share_pixels(rasters: Path, tmp_path: Path) -> None:
    triangle = shapely.Polygon([(12.002, 66.001), (12.012, 66.001), (12.002, 66.009)])
    out = tmp_path / "m"
    run(rasters, out, Bright(), region=triangle)
    index = (out / "tiles.json").read_text()
    wide = (12.001, 66.0, 12.3, 66.012)  # more than a tile of one chunk
    with pytest.raises(StoreError, match=r"tile utm33n_e\S+ would overlap the tile utm33n_all, .* another folder"):
        run(rasters, out, Bright(), region=wide, tile=1)
    assert (out / "tiles.json").read_text() == index
    assert run(rasters, tmp_path / "n", Bright(), region=wide, tile=1).areas[2023][1] == 1
