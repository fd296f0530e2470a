"""Maps of regions: across zones, tile by tile, resumed, masked; the outlines are those of the area asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely

from icemapper_xr import applicability, catalog, load_model, pipeline, regions, store
from icemapper_xr._types import FloatArray
from icemapper_xr.cli import mapping
from icemapper_xr.errors import IcemapperError, OptionError, StoreError
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


@pytest.fixture(scope="module")
def rasters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A year of one orbit in UTM 33, a bright disc of 400 m on the border of the zones."""
    folder = tmp_path_factory.mktemp("rasters")
    to_utm = pyproj.Transformer.from_crs(4326, 32633, always_xy=True)
    east, north = to_utm.transform(12.0, 66.006)
    left, top = round((east - 1600) / 10) * 10.0, round((north + 1500) / 10) * 10.0
    y, x = np.mgrid[:300, :320]
    disc = np.hypot(left + 10 * x + 5 - east, top - 10 * y - 5 - north)
    power = (0.05 + 0.45 / (1 + np.exp((disc - 400) / 20))).astype(np.float32)
    for when in scenes.passes():
        scenes.write_raster(
            folder / f"rtc_S1A_IW_HH_ro014_{when:%Y%m%dT%H%M%S}.tif",
            power,
            left=left,
            top=top,
            feature="rtc",
            quantity="gamma0",
            scale="power",
            polarisation="HH",
            relative_orbit="14",
            orbit_state="ascending",
            platform="S1A",
            mode="IW",
            acquired=when.isoformat(),
        )
    catalog.build(folder)
    return folder


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


def test_a_mask_leaves_out_what_cannot_be_ice(rasters: Path, tmp_path: Path) -> None:
    half = tmp_path / "land.geojson"
    gpd.GeoDataFrame(geometry=[shapely.box(11.98, 65.9, 11.995, 66.1)], crs=4326).to_file(half)
    report = run(rasters, tmp_path / "m", Bright(always=True), mask=half, mask_buffer=0)
    assert [tile.name for tile in report.tiles] == ["utm32n_all"]
    outlines = gpd.read_file(tmp_path / "m" / "outlines.gpkg")
    wanted = area_km2(shapely.box(11.985, 66.0, 11.995, 66.012))
    assert wanted <= outlines.area_km2.sum() <= 1.3 * wanted  # the mask is grown by 100 m for its own simplification
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
