"""`areas`, `rates` and `qc` on maps in tiles and zones: every square metre once, and the numbers of one raster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely
import xarray as xr

from icemapper_xr import conventions as cv
from icemapper_xr import pipeline, store
from icemapper_xr.analysis import pieces
from icemapper_xr.cli import main
from icemapper_xr.errors import AnalysisError, StoreError, VectorError
from icemapper_xr.pipeline import sheets
from icemapper_xr.regions import Zone, zones
from tests import results_support as rs

QUICK = {"n_draws": 200, "landscape_draws": 200}
CHUNK = 160
PIXEL = 40.0
YEARS = (2020, 2021, 2022)
RADII = {2020: 4000.0, 2021: 3900.0, 2022: 3800.0}
CENTRE = (12.03, 70.0)
"""Of a round glacier that the border of UTM 32 and 33 cuts."""
AREA = shapely.box(11.85, 69.94, 12.21, 70.06)
BLUR = 60.0


def write_tile(
    folder: Path, zone: Zone, name: str, bounds: Any, values: Any, year: int, *, orbit: int = 14, **attrs: Any
) -> None:
    """Write one year of one tile; values by (year, y, x)."""
    left, bottom, right, top = bounds
    y, x = np.arange(top - PIXEL / 2, bottom, -PIXEL), np.arange(left + PIXEL / 2, right, PIXEL)
    plane = values(year, y, x).astype(np.float32)
    result = xr.Dataset(
        {cv.PROBABILITY: ((cv.Y, cv.X), plane), cv.N_OBS: ((cv.Y, cv.X), np.full(plane.shape, 15, np.uint8))},
        {cv.Y: y, cv.X: x},
        {
            cv.ATTR_ORBIT: orbit,
            cv.ATTR_POLARISATION: "HH",
            cv.ATTR_WEIGHTS_DIGEST: "none",
            cv.ATTR_ITEMS: [f"item-{name}-{year}"],
            "first_date": f"{year}-01-03",
            "last_date": f"{year}-12-20",
            "platforms": json.dumps({"rtc": {"S1A": 15}}),
            **attrs,
        },
    ).rio.write_crs(zone.epsg)
    store.write(result, folder / "tiles" / f"{name}.zarr", year=year, chunk=CHUNK)


def write_index(folder: Path, tiles: dict[str, Zone], skipped: dict[str, str] | None = None) -> Path:
    owned = {zone.name: {"epsg": zone.epsg, "owned": shapely.to_geojson(zone.owned)} for zone in tiles.values()}
    places = {
        name: {
            "zone": zone.name,
            "bounds": [],
            "years": sorted(store.provenance(folder / "tiles" / f"{name}.zarr")["years"]),
        }
        for name, zone in tiles.items()
    }
    (folder / "tiles.json").write_text(json.dumps({"zones": owned, "tiles": places, "skipped": skipped or {}}))
    return folder


def disc(zone: Zone) -> Any:
    """Probability of the round glacier in the CRS of a zone, by geodesic distance."""
    back = pyproj.Transformer.from_crs(zone.epsg, 4326, always_xy=True)
    local = pyproj.Transformer.from_crs(
        4326, f"+proj=aeqd +lon_0={CENTRE[0]} +lat_0={CENTRE[1]} +datum=WGS84", always_xy=True
    )

    def values(year: int, y: Any, x: Any) -> Any:
        xx, yy = np.meshgrid(x, y)
        east, north = local.transform(*back.transform(xx, yy))
        return 1 / (1 + np.exp(-(RADII[year] - np.hypot(east, north)) / BLUR))

    return values


def snapped(bounds: Any, step: float) -> tuple[float, float, float, float]:
    left, bottom, right, top = bounds
    return (
        np.floor(left / step) * step,
        np.floor(bottom / step) * step,
        np.ceil(right / step) * step,
        np.ceil(top / step) * step,
    )


@pytest.fixture(scope="module")
def two_zones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A region of two zones, each one tile, mapped four pixels and more past the border."""
    folder = tmp_path_factory.mktemp("region")
    tiles = {}
    for zone in zones(AREA):
        name = f"{zone.name}_all"
        tiles[name] = zone
        bounds = snapped(shapely.buffer(zone.project(zone.owned), 4 * PIXEL).bounds, PIXEL)
        for year in YEARS:
            write_tile(folder, zone, name, bounds, disc(zone), year)
    write_index(folder, tiles)
    pipeline.outlines_of_run(folder)
    outline = shapely.Point(0, 0).buffer(RADII[2020], 256)
    local = f"+proj=aeqd +lon_0={CENTRE[0]} +lat_0={CENTRE[1]} +datum=WGS84"
    gpd.GeoDataFrame({"glacier_id": ["G"], "name": ["Ours"]}, geometry=[outline], crs=local).to_crs(4326).to_file(
        folder / "ours.gpkg"
    )
    return folder


def test_a_glacier_across_zones_has_a_band_and_keeps_the_rules(two_zones: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(two_zones, tmp_path / "copy")
    _, made = pipeline.divides_of_run(folder)
    assert made["half_width_m"].to_numpy() == pytest.approx(BLUR * np.log(19), rel=0.01)  # p = 0.05 and 0.95
    report = pipeline.qc_of(folder)
    assert report.broken == (), report.text()
    known = {finding.rule for finding in report.findings if finding.ok}
    assert {"total", "scenes", "dates", "series", "uncertainty", "interval"} <= known
    outlines = gpd.read_file(folder / "outlines.gpkg")
    assert not outlines["snow_suspect"].any()


def test_an_area_across_zones_is_that_of_its_outlines(two_zones: Path) -> None:
    found = pipeline.areas_of_run(two_zones, glaciers=two_zones / "ours.gpkg", **QUICK)
    outlines = gpd.read_file(two_zones / "outlines.gpkg").set_index("year")
    assert len(outlines) == len(YEARS)  # one body a year
    plain = found.table[found.table["filter"] == "none"]
    region, glacier = (plain[plain["kind"] == kind].set_index("year") for kind in ("region", "glacier"))
    assert list(glacier["id"]) == ["G"] * 3  # one glacier across the border
    for year in YEARS:
        drawn = float(outlines.loc[year, "area_km2"])
        soft_edge = np.pi * (np.pi**2 / 3) * BLUR**2 / 1e6
        assert region.loc[year, "hard_km2"] == pytest.approx(drawn, rel=1e-3)
        assert region.loc[year, "soft_km2"] == pytest.approx(drawn + soft_edge, rel=1e-3)
        assert glacier.loc[year, "soft_km2"] == pytest.approx(region.loc[year, "soft_km2"], rel=1e-3)
        whole = abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shapely.segmentize(AREA, 0.01))[0]) / 1e6
        assert region.loc[year, "observed_km2"] == pytest.approx(whole, rel=1e-4)
        assert region.loc[year, "margin_km"] == pytest.approx(2 * np.pi * RADII[year] / 1000, rel=0.02)
    assert any("2 tiles in 2 UTM zones" in line for line in found.method)
    assert not [note for note in found.notes if "beyond" in note or "outside" in note]  # both halves make a whole


def test_rates_of_a_region_are_those_of_the_disc(two_zones: Path, tmp_path: Path) -> None:
    found = pipeline.rates_of_run(two_zones, out=tmp_path / "r.gpkg", glaciers=two_zones / "ours.gpkg", **QUICK).table
    true = np.polyfit(YEARS, [np.pi * RADII[year] ** 2 / 1e6 for year in YEARS], 1)[0]
    for kind in ("region", "glacier"):
        row = found[(found["kind"] == kind) & (found["filter"] == "none")].iloc[0]
        assert row["rate"] == pytest.approx(true, rel=5e-3)
    assert gpd.read_file(tmp_path / "r.gpkg").crs.to_epsg() == 4326


def test_a_region_of_interest_cuts_across_zones(two_zones: Path, tmp_path: Path) -> None:
    half = gpd.GeoSeries([shapely.box(11.9, 69.9, CENTRE[0], 70.1)], crs=4326)  # the western half of the disc
    half.to_file(tmp_path / "half.gpkg")
    options: Any = {"region": tmp_path / "half.gpkg", "glaciers": two_zones / "ours.gpkg", "years": (2020,), **QUICK}
    found = pipeline.areas_of_run(two_zones, out=tmp_path / "h.csv", **options)
    assert any("reach beyond the region or the map" in note and "(G 50% inside)" in note for note in found.notes)
    table = found.table
    whole = np.pi * (RADII[2020] ** 2 + np.pi**2 / 3 * BLUR**2) / 1e6
    assert table["soft_km2"].iloc[0] == pytest.approx(whole / 2, rel=2e-3)


# -- tiles of one zone ------------------------------------------------------------------------------------------------
def _chunked(folder: Path, *, orbits: tuple[int, int] = (14, 14), years: Any = rs.YEARS[:3], **options: Any) -> Path:
    """The map of results_support as two tiles."""
    side = CHUNK * PIXEL
    left, top = rs.LEFT, rs.TOP
    right, bottom = left + rs.COLUMNS * rs.SIZE, top - rs.ROWS * rs.SIZE
    middle = np.ceil((left + 6000) / side) * side  # through glacier A
    (zone,) = zones(gpd.GeoSeries([shapely.box(left, bottom, right, top)], crs=rs.EPSG).to_crs(4326)[0].buffer(0.1))
    owned = zone.to_degrees(shapely.box(left, bottom, right, top).segmentize(500))
    zone = Zone(zone.number, zone.north, owned)
    planes = {year: rs.probability(year, noise=1.0, shift=10.0) for year in years}

    def values(year: int, y: Any, x: Any) -> Any:
        rows = np.round((top - y) / rs.SIZE - 0.5).astype(int)
        columns = np.round((x - left) / rs.SIZE - 0.5).astype(int)
        return planes[year][np.ix_(rows, columns)]

    tiles = {"west": (left, bottom, middle, top), "east": (middle, bottom, right, top)}
    for (name, bounds), orbit in zip(tiles.items(), orbits, strict=True):
        for k, year in enumerate(years):
            if (name, year) not in options.get("without", ()):
                told = (
                    {"platforms": json.dumps({"rtc": {options["platforms"][name][k]: 15}})}
                    if "platforms" in options
                    else {}
                )
                write_tile(folder, zone, name, bounds, values, year, orbit=orbit, **told)
    return write_index(folder, dict.fromkeys(tiles, zone))


@pytest.fixture(scope="module")
def in_tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _chunked(tmp_path_factory.mktemp("tiles"))


@pytest.fixture(scope="module")
def in_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rs.write_map(tmp_path_factory.mktemp("one"), rs.YEARS[:3], noise=1.0, shift=10.0)


def test_tiles_of_one_zone_give_the_numbers_of_one_store(in_tiles: Path, in_one: Path, tmp_path: Path) -> None:
    rs.glaciers().to_file(tmp_path / "glaciers.gpkg")
    truth = rs.glaciers(years=(2016, 2018))
    truth[truth.glacier_id == "A"].to_file(tmp_path / "truth.gpkg")
    options = {
        "glaciers": tmp_path / "glaciers.gpkg",
        "reference": tmp_path / "truth.gpkg",
        "block_size": 1000.0,
        "orbit_bias_m": 2.0,
        "year_bias_m": 1.0,
        **QUICK,
    }
    one, two = (pipeline.rates_of_run(folder, out=tmp_path / "r.csv", **options) for folder in (in_one, in_tiles))
    pd.testing.assert_frame_equal(one.table, two.table, rtol=1e-6)
    tables = [pipeline.areas.area_table(found.measured[0]) for found in (one, two)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-6)
    assert tables[0]["margin_km"].iloc[0] > 30


def test_glaciers_of_a_region_are_compared_within_blocks_of_kilometres(in_tiles: Path, tmp_path: Path) -> None:
    """Shapes of a region are in degrees, and 7.5 km are no part of a block of 50 000 degrees."""
    rs.glaciers().to_file(tmp_path / "glaciers.gpkg")
    (tmp_path / "list.txt").write_text("A\n")
    options = {"glaciers": tmp_path / "glaciers.gpkg", "n_strata": 1, "temporal": False, **QUICK}
    far = {"out": tmp_path / "s.json", "block_km": 2000.0, **options}
    assert pipeline.surges_of_run(in_tiles, tmp_path / "list.txt", **far).tests["none"].n_cells == 1
    with pytest.raises(AnalysisError, match=r"none of the 2 cells \(n_strata=1 .* has both .*--block-km"):
        pipeline.surges_of_run(in_tiles, tmp_path / "list.txt", **{**far, "block_km": 3.0})


def test_orbits_of_tiles_share_no_bias_and_years_do(tmp_path: Path, in_tiles: Path) -> None:
    folder = _chunked(tmp_path, orbits=(14, 174), years=rs.YEARS[:2])
    options = {"temporal": False, "n_draws": 4000, "landscape_draws": 100}
    spread = {}
    for name, bias in {"orbit": {"orbit_bias_m": 5.0}, "year": {"year_bias_m": 5.0}}.items():
        for which, source in {"two": folder, "one": in_tiles}.items():
            found = pipeline.areas_of_run(source, out=tmp_path / "a.csv", years=(2016,), **options, **bias)
            region = next(s for s in found.measured.series if s.kind == "region")
            spread[name, which] = float(region.errors[f"common_{name}"][0].std())
            mixed = any("2 tiles of 2 kinds (orbit 14 HH, orbit 174 HH)" in note for note in found.notes)
            assert mixed == (which == "two")
    assert spread["year", "two"] == pytest.approx(spread["year", "one"], rel=1e-6)
    parts = []
    for name in ("west", "east"):
        tile = folder / "tiles" / f"{name}.zarr"
        alone = pipeline.areas_of_run(tile, out=tmp_path / "b.csv", years=(2016,), **options)
        parts.append(float(alone.table["margin_km"].iloc[0]) * 5e-3)
    assert spread["orbit", "two"] == pytest.approx(np.hypot(*parts), rel=0.05)  # independent
    assert spread["orbit", "one"] == pytest.approx(sum(parts), rel=0.05)  # the same shift


@pytest.mark.parametrize("crs", [3571, 4326])
def test_a_region_across_the_antimeridian_is_itself_and_not_its_complement(crs: int) -> None:
    """100 x 100 km at Wrangel Island, in a polar CRS; in degrees with an edge that leaps from 179 E to 179 W."""
    there = gpd.GeoSeries([shapely.Point(180, 71.2)], crs=4326).to_crs(3571).iloc[0].buffer(50e3, cap_style="square")
    square = gpd.GeoSeries([there], crs=3571)
    if crs == 4326:
        square = square.segmentize(1000.0).to_crs(4326)
    whole = sheets.united(gpd.GeoDataFrame(geometry=square)).geometry
    assert whole.to_crs(6931).area.iloc[0] == pytest.approx(1e10, rel=2e-3)
    zones = [shapely.box(174, 66, 180, 76), shapely.box(-180, 66, -174, 76)]
    parts = [gpd.GeoSeries([whole.iloc[0] & zone], crs=4326).to_crs(6931).area.iloc[0] for zone in zones]
    assert parts == pytest.approx([5e9, 5e9], rel=0.02)


def test_tiles_that_share_a_satellite_share_its_bias(tmp_path: Path) -> None:
    """A tile that saw S1B once has the sensor "S1A+S1B", which is that of the tile of S1A alone, too."""
    spread = {}
    for name, east in (("alike", ("S1A", "S1A")), ("mixed", ("S1A", "S1A/S1B"))):
        folder = _chunked(tmp_path / name, years=rs.YEARS[:2], platforms={"west": ("S1A", "S1A"), "east": east})
        options = {"temporal": False, "n_draws": 4000, "landscape_draws": 100, "sensor_bias_m": 5.0}
        found = pipeline.areas_of_run(folder, out=tmp_path / f"{name}.csv", **options)
        region = next(s for s in found.measured.series if s.kind == "region")
        spread[name] = region.errors["common_sensor"].std(axis=1)
    np.testing.assert_allclose(spread["mixed"], spread["alike"], rtol=0.05)


def test_a_tile_without_a_year_is_named_and_does_not_look_like_a_loss(tmp_path: Path) -> None:
    folder = _chunked(tmp_path, without={("east", rs.YEARS[1])})
    found = pipeline.rates_of_run(folder, **QUICK)
    assert any(f"east was not mapped in {rs.YEARS[1]}" in note for note in found.notes)
    west = pipeline.rates_of_run(folder / "tiles" / "west.zarr", out=tmp_path / "w.csv", **QUICK)
    assert found.table["rate"].iloc[0] == pytest.approx(west.table["rate"].iloc[0], rel=1e-6)
    areas = pipeline.areas_of_run(folder, **QUICK).table
    plain = areas[areas["filter"] == "none"].set_index("year")
    assert plain.loc[rs.YEARS[1], "unobserved_km2"] > 20
    assert plain.loc[rs.YEARS[0], "unobserved_km2"] == 0


def test_a_year_that_a_tile_was_asked_for_and_has_not_is_unfinished(tmp_path: Path) -> None:
    folder = _chunked(tmp_path, years=rs.YEARS[:2], without={("east", rs.YEARS[1])})
    content = json.loads((folder / "tiles.json").read_text())
    for row in content["tiles"].values():
        del row["years"]  # as the index of an older run, which broke off in the second tile
    (folder / "tiles.json").write_text(json.dumps(content))
    with pytest.warns(
        UserWarning, match=rf"left out because unfinished: {rs.YEARS[1]} \(\d+ of \d+ units, to do in east"
    ):
        _, drawn = pipeline.outlines_of_run(folder)
    assert set(drawn["year"]) == {rs.YEARS[0]}
    with pytest.raises(StoreError, match=rf"{rs.YEARS[1]} is unfinished"):
        pipeline.outlines_of_run(folder, year=rs.YEARS[1])
    with pytest.raises(StoreError, match=rf"east.zarr: \d+ units of the year {rs.YEARS[1]} are not done"):
        pipeline.areas_of_run(folder, **QUICK)
    assert len(pipeline.areas_of_run(folder, years=(rs.YEARS[0],), **QUICK).table) == 1
    found = pipeline.status_of_run(folder)
    assert not found.complete
    assert [(Path(row.store).stem, row.year) for row in found.years if not row.done] == [("east", rs.YEARS[1])]
    content["skipped"] = {f"east {rs.YEARS[1]}": "no items"}
    (folder / "tiles.json").write_text(json.dumps(content))
    assert pipeline.status_of_run(folder).complete
    assert set(pipeline.outlines_of_run(folder)[1]["year"]) == set(rs.YEARS[:2])


def test_tiles_of_two_runs_are_no_one_map(tmp_path: Path) -> None:
    """Another gap, and the same weights: what the tiles hold is not the same quantity."""
    year = rs.YEARS[0]
    folder = _chunked(tmp_path, years=(year,))
    (zone,) = pipeline.tiled.zones_of(folder)
    bounds = store.open_store(folder / "tiles" / "east.zarr").rio.bounds()
    shutil.rmtree(folder / "tiles" / "east.zarr")
    settings = {cv.ATTR_SETTINGS: json.dumps({"gap": "zero"})}
    write_tile(folder, zone, "east", bounds, lambda _, y, x: np.zeros((y.size, x.size)), year, **settings)
    for verb in (pipeline.outlines_of_run, pipeline.areas_of_run):
        with pytest.raises(StoreError, match=r"mapped in different ways \(.*gap is not set there and zero here"):
            verb(folder)


def test_tiles_that_share_pixels_are_not_counted(tmp_path: Path) -> None:
    folder = _chunked(tmp_path, years=rs.YEARS[:1])
    (zone,) = pipeline.tiled.zones_of(folder)
    left, bottom, right, _ = store.open_store(folder / "tiles" / "east.zarr").rio.bounds()
    bounds = (left, bottom, right, bottom + CHUNK * PIXEL)
    write_tile(folder, zone, "more", bounds, lambda _, y, x: np.zeros((y.size, x.size)), rs.YEARS[0])
    write_index(folder, dict.fromkeys(("west", "east", "more"), zone))
    with pytest.raises(StoreError, match=r"east.zarr and .*more.zarr overlap"):
        pipeline.areas_of_run(folder, **QUICK)


def test_regions_that_cannot_be_measured_are_refused(two_zones: Path, tmp_path: Path, capsys: Any) -> None:
    rs.glaciers(years=(2020,)).to_file(tmp_path / "truth.gpkg")
    folder = _chunked(tmp_path / "sensor", years=rs.YEARS[:2])
    (zone,) = pipeline.tiled.zones_of(folder)
    for name, platform in {"west": "S1A", "east": "S1C"}.items():
        bounds = store.open_store(folder / "tiles" / f"{name}.zarr").rio.bounds()
        write_tile(folder, zone, name, bounds, lambda _, y, x: np.zeros((y.size, x.size)), 2018, platforms=platform)
    with pytest.raises(AnalysisError, match=r"tile east: .* S1A to orbit 14, HH, S1C without a year"):
        pipeline.rates_of_run(folder, **QUICK)
    with pytest.raises(StoreError, match="not 2015; map that year first"):
        pipeline.areas_of_run(two_zones, years=(2015,), **QUICK)
    with pytest.raises(SystemExit) as stopped:
        main(["areas", str(two_zones), "--reference", str(tmp_path / "truth.gpkg"), "--reference-year", "2020"])
    assert stopped.value.code == 2
    assert "2 UTM zones, so there is no box around the reference" in capsys.readouterr().err


def write_boxes(path: Path, place: tuple[float, float] = CENTRE, **azimuths: float) -> Path:
    columns = {"id": list(azimuths), "azimuth": list(azimuths.values()), "width": 400.0, "length": 5000.0}
    gpd.GeoDataFrame(columns, geometry=[shapely.Point(place)] * len(azimuths), crs=4326).to_file(path)
    return path


def test_a_region_is_scored_against_outlines_across_zones(two_zones: Path, tmp_path: Path, capsys: Any) -> None:
    """The border of two zones cuts the glacier, and both tiles have mapped pixels past it: each counts once."""
    circle = shapely.Point(0, 0).buffer(RADII[2021], quad_segs=64)
    around = shapely.Point(0, 0).buffer(RADII[2021] + 500)
    crs = f"+proj=aeqd +lon_0={CENTRE[0]} +lat_0={CENTRE[1]} +datum=WGS84"
    for name, shape in (("mine", circle), ("area", around), ("gone", shapely.transform(circle, lambda xy: xy + 9e4))):
        gpd.GeoDataFrame(geometry=[shape], crs=crs).to_crs(4326).to_file(tmp_path / f"{name}.gpkg")
    report = pipeline.scores_of_run(
        two_zones, tmp_path / "mine.gpkg", year=2021, area=tmp_path / "area.gpkg", out=tmp_path / "scores"
    )
    assert report["pixels"]["iou"] > 0.97
    assert abs(report["pixels"]["area_bias"]) < 0.005
    assert len(report["scenes"]) == len(report["regions"]) == 2
    cells = sum(report["calibration"]["probability"]["all"]["pixels"])
    assert cells * PIXEL**2 == pytest.approx(around.area, rel=0.01)
    assert (tmp_path / "scores" / "scores.json").exists()
    one = ("evaluate", str(two_zones), "--outlines", str(tmp_path / "mine.gpkg"))
    main([*one, "--year", "2022"])
    assert "IoU" in capsys.readouterr().out
    for arguments, message in (
        (one, "has the years 2020, 2021, 2022"),
        ((*one, "--year", "2019"), "not 2019"),
        (("evaluate", str(two_zones), "--outlines", str(tmp_path / "gone.gpkg"), "--year", "2020"), "does not meet"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        told = capsys.readouterr().err
        assert message in told
        assert len(told.strip().splitlines()) == 1


def test_termini_of_a_region_are_measured_across_zones(two_zones: Path, tmp_path: Path, capsys: Any) -> None:
    boxes = write_boxes(tmp_path / "boxes.gpkg", east=90.0, west=270.0)  # the west one crosses into UTM 32
    main(["termini", str(two_zones), str(boxes), str(tmp_path / "t.csv")])
    assert "negative is retreat" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "t.csv", comment="#").set_index(["id", "year"])
    for name in ("east", "west"):
        for year in YEARS:
            expected = RADII[year] - 400.0**2 / 24 / RADII[year]
            assert table.loc[(name, year), "length_m"] == pytest.approx(expected, rel=1e-3)
    report = pipeline.termini_of_run(two_zones, boxes, out=tmp_path / "again.csv")
    assert report.retreat["rate"].to_numpy() == pytest.approx([-100.0, -100.0], rel=5e-3)
    with pytest.raises(AnalysisError, match=r"box north: it begins at 12\.03, 75.*no tile"):
        pipeline.termini_of_run(two_zones, write_boxes(tmp_path / "far.gpkg", (12.03, 75.0), north=0.0))
    with pytest.raises(VectorError, match=r"There is no file .*missing\.gpkg: name a file of boxes"):
        pipeline.termini_of_run(two_zones, tmp_path / "missing.gpkg")


def test_a_tile_without_a_year_is_no_retreat(two_zones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(two_zones, tmp_path / "copy")
    monkeypatch.setitem(RADII, 2023, 3700.0)
    (east,) = (zone for zone in pipeline.tiled.zones_of(folder) if zone.epsg == 32633)
    bounds = store.open_store(folder / "tiles" / f"{east.name}_all.zarr").rio.bounds()
    write_tile(folder, east, f"{east.name}_all", bounds, disc(east), 2023)
    with pytest.warns(UserWarning, match="no outlines of utm32n_all in 2023"):
        pipeline.outlines_of_run(folder)
    boxes = write_boxes(tmp_path / "boxes.gpkg", east=90.0, west=270.0)
    retreat = pipeline.termini_of_run(folder, boxes).retreat.set_index("id")
    assert retreat["n_years"].to_dict() == {"east": 4, "west": 3}
    assert retreat["rate"].to_numpy() == pytest.approx([-100.0, -100.0], rel=5e-3)
    assert retreat.loc["west", "note"] == "not mapped in 2023"
    assert retreat.loc["east", "note"] == ""


def test_the_border_of_two_tiles_is_no_end_of_the_ice(tmp_path: Path) -> None:
    side = CHUNK * PIXEL
    left, top, right = rs.LEFT, rs.TOP, rs.LEFT + 2 * side
    area = shapely.box(left, top - 2 * side, right, top)
    (zone,) = zones(gpd.GeoSeries([area], crs=rs.EPSG).to_crs(4326)[0].buffer(0.1))
    zone = Zone(zone.number, zone.north, zone.to_degrees(area.segmentize(500)))

    def tongue(year: int, y: Any, x: Any) -> Any:  # from the western edge of the map along the border of the tiles
        front = left + 8000 - 100 * (year - YEARS[0])
        return np.where((np.abs(y - (top - side)) < 2000)[:, None] & (x < front), 0.9, 0.1)

    for name, north in {"north": top, "south": top - side}.items():
        for year in YEARS:
            write_tile(tmp_path, zone, name, (left, north - side, right, north), tongue, year)
    write_index(tmp_path, {"north": zone, "south": zone})
    _, drawn = pipeline.outlines_of_run(tmp_path)
    assert drawn["touches_edge"].all()
    columns = {"id": ["front"], "azimuth": [90.0], "width": [800.0], "length": [6000.0]}
    middle = gpd.GeoDataFrame(columns, geometry=[shapely.Point(left + 5000, top - side)], crs=rs.EPSG)
    middle.to_file(tmp_path / "boxes.gpkg")
    (row,) = pipeline.termini_of_run(tmp_path, tmp_path / "boxes.gpkg").retreat.itertuples()
    assert (row.n_years, row.note) == (3, "")
    assert row.rate == pytest.approx(-100, rel=0.01)
    middle.assign(azimuth=270.0, length=9000.0).to_file(tmp_path / "west.gpkg")  # to where the map ends
    (row,) = pipeline.termini_of_run(tmp_path, tmp_path / "west.gpkg").retreat.itertuples()
    assert row.note == "the ice ends where the map does in 2020, 2021, 2022: no rate"


def test_pieces_of_several_rasters_are_joined_by_block_and_glacier() -> None:
    def part(glacier: list[int], position: list[list[int]], km2: list[float], **facts: int) -> pieces.Part:
        n = len(glacier)
        where = pieces.Layout(
            None, np.arange(1, n + 1), np.array(glacier), np.arange(n), np.array(position), 100.0, None
        )
        return pieces.Part(
            pieces.Pieces(where, {"soft_area": np.array([km2])}), facts["grid"], facts["kind"], np.array([7])
        )

    table = pieces.joined(
        [
            part([0, 1], [[0, 0], [0, 1]], [1.0, 2.0], grid=1, kind=0),
            part([0, 1, 0], [[0, 0], [0, 1], [5, 5]], [4.0, 8.0, 0.0], grid=1, kind=1),
            part([0, 1], [[0, 0], [0, 1]], [16.0, 32.0], grid=2, kind=0),
        ]
    )
    assert table.layout.glacier.tolist() == [0, 0, 0, 8, 8, 8]  # row 7 of the whole table
    np.testing.assert_array_equal(table.values["soft_area"], [[1, 4, 16, 2, 8, 32]])
    np.testing.assert_array_equal(table.by_block("soft_area"), [[5, 10, 16, 32]])
