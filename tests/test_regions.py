"""Regions: whatever names an area, the zones and tiles that own it, masks, and outlines joined across borders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import rioxarray  # noqa: F401
import shapely
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from icemapper_xr import regions, vectorise
from icemapper_xr._types import Bounds, Grid
from icemapper_xr.errors import OptionError
from icemapper_xr.regions import utm

GEOD = pyproj.Geod(ellps="WGS84")


CYLINDER = pyproj.Transformer.from_crs("EPSG:4326", "+proj=cea +ellps=WGS84", always_xy=True)


def area_km2(shape: Any) -> float:
    """Area of polygons whose edges are straight in longitude and latitude: planar on an equal-area cylinder."""

    def flat(xy: Any) -> Any:
        y = CYLINDER.transform(np.zeros(len(xy)), xy[:, 1])[1]
        return np.column_stack([np.radians(xy[:, 0]) * 6_378_137.0, y])

    return shapely.transform(shape, flat).area / 1e6


def raster(part: regions.Part, inside: Any, *, resolution: float) -> xr.DataArray:
    """A probability of 1 where `inside(lon, lat)` is, smooth at its edge, NaN where the part is not wanted."""
    grid = Grid(part.epsg, "", resolution, part.bounds)
    y, x = grid.coords()
    lon, lat = pyproj.Transformer.from_crs(part.epsg, 4326, always_xy=True).transform(*np.meshgrid(x, y))
    values = np.clip(inside(lon, lat), 0, 1).astype(np.float32)
    if part.mask is not None:
        values[~part.mask.on(grid)] = np.nan
    array = xr.DataArray(values, dims=("y", "x"), coords={"y": y, "x": x}, attrs={"year": 2023}, name="probability")
    return array.rio.write_crs(part.epsg)


def mapped(box: tuple[float, ...], inside: Any, *, resolution: float, min_area_km2: float = 0.01) -> gpd.GeoDataFrame:
    drawn = []
    for part in regions.parts(regions.resolve(box), resolution=resolution, tile=1000):
        plane = raster(part, inside, resolution=resolution)
        drawn.append((part.zone, vectorise.outlines(plane, min_area_km2=0, crs_out=None)))
    return regions.join(drawn, min_area_km2=min_area_km2)


def everywhere(lon: Any, lat: Any) -> Any:
    return np.ones_like(lon)


def disc(lon0: float, lat0: float, radius: float) -> Any:
    """Probability that falls through 0.5 at a geodesic distance of `radius` metres."""

    def inside(lon: Any, lat: Any) -> Any:
        distance = GEOD.inv(np.full_like(lon, lon0), np.full_like(lat, lat0), lon, lat)[2]
        return 0.5 + (radius - distance) / 400.0

    return inside


def test_the_zones_own_the_earth_once() -> None:
    every = shapely.box(-180, -80, 180, 84)
    assert sum(shapely.area(list(utm.cells().values()))) == pytest.approx(every.area, rel=1e-12)
    assert shapely.union_all(list(utm.cells().values())).equals(every)


@pytest.mark.parametrize(
    ("lon", "lat", "name"),
    [
        (5.0, 60.0, "utm32n"),
        (2.9, 60.0, "utm31n"),
        (10.0, 75.0, "utm33n"),
        (25.0, 80.0, "utm35n"),
        (14.0, -5.0, "utm33s"),
        (-179.9, 71.0, "utm01n"),
        (179.9, 71.0, "utm60n"),
    ],
)
def test_the_exceptions_of_mgrs_hold(lon: float, lat: float, name: str) -> None:
    found = regions.zones(shapely.box(lon - 0.01, lat - 0.01, lon + 0.01, lat + 0.01))
    assert [zone.name for zone in found] == [name]
    assert pyproj.CRS(found[0].epsg).name == f"WGS 84 / UTM zone {int(name[3:5])}{name[5].upper()}"


@settings(max_examples=12, deadline=None)
@given(st.floats(-180, 180), st.floats(50, 83), st.floats(0.5, 8), st.floats(0.5, 3))
def test_the_zones_of_an_area_add_up_to_it(west: float, south: float, width: float, height: float) -> None:
    east, north = west + width, min(south + height, 90.0)
    area = regions.resolve((west, south, east if east <= 180 else east - 360, north))
    owned = [zone.owned for zone in regions.zones(area)]
    assert sum(map(area_km2, owned)) == pytest.approx(area_km2(area), rel=1e-9)
    assert area_km2(area) == pytest.approx(area_km2(shapely.box(0, south, width, min(north, 84.0))), rel=1e-9)


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 3), st.sampled_from([(11.2, 66.0, 12.6, 66.7), (178.9, 70.6, -176.5, 71.7), (-21, 83, -17, 85)]))
def test_tiles_share_no_pixel_and_leave_none_out(tile: int, box: tuple[float, ...]) -> None:
    area = regions.resolve(box)
    by_zone: dict[str, list[regions.Part]] = {}
    for part in regions.parts(area, resolution=40, tile=tile):
        assert all(edge % 40 == 0 for edge in part.bounds)
        by_zone.setdefault(part.zone.name, []).append(part)
    assert len({part.name for parts in by_zone.values() for part in parts}) == sum(map(len, by_zone.values()))
    for parts in by_zone.values():
        boxes = [shapely.box(*part.bounds) for part in parts]
        together = shapely.union_all(boxes)
        assert together.area == pytest.approx(sum(shapely.area(boxes)), rel=1e-12)
        wanted = parts[0].zone.project(parts[0].zone.owned)
        assert shapely.difference(wanted, together).area == pytest.approx(0, abs=1e-3)


def test_an_area_across_utm_32_and_33_is_mapped_once() -> None:
    box = (11.9, 66.0, 12.1, 66.08)
    outlines = mapped(box, everywhere, resolution=20)
    assert len(outlines) == 1
    shape = outlines.geometry.iloc[0]
    assert outlines["area_km2"].iloc[0] == pytest.approx(area_km2(shapely.box(*box)), rel=1e-7)
    assert shape.bounds == pytest.approx(box, abs=1e-9)
    assert shape.geom_type == "Polygon"
    assert not shape.interiors
    assert outlines["touches_edge"].all()


def test_a_glacier_across_utm_32_and_33_is_one_outline_of_the_right_area() -> None:
    outlines = mapped((11.9, 66.05, 12.1, 66.15), disc(12.01, 66.1, 2000.0), resolution=20)
    assert len(outlines) == 1
    assert outlines["area_km2"].iloc[0] == pytest.approx(np.pi * 4, rel=1e-4)
    assert outlines["perimeter_km"].iloc[0] == pytest.approx(4 * np.pi, rel=2e-3)
    assert not outlines["touches_edge"].any()
    assert outlines.geometry.is_valid.all()


def test_a_small_body_halved_by_a_border_is_kept_whole() -> None:
    """Each half is under the smallest area, both together are over it."""
    outlines = mapped((11.98, 66.0, 12.02, 66.02), disc(12.0, 66.01, 70.0), resolution=10, min_area_km2=0.012)
    assert len(outlines) == 1
    assert outlines["area_km2"].iloc[0] == pytest.approx(np.pi * 0.07**2, rel=0.03)


def test_wrangel_island_across_the_antimeridian_is_mapped_once() -> None:
    box = (178.0, 70.7, -177.0, 71.7)
    outlines = mapped(box, everywhere, resolution=80)
    assert len(outlines) == 1
    shape = outlines.geometry.iloc[0]
    halves = [shapely.box(178.0, 70.7, 180.0, 71.7), shapely.box(-180.0, 70.7, -177.0, 71.7)]
    assert shape.geom_type == "MultiPolygon"
    assert outlines["area_km2"].iloc[0] == pytest.approx(sum(map(area_km2, halves)), rel=1e-7)
    west, south, east, north = shape.bounds
    assert (west, south, east, north) == pytest.approx((-180, 70.7, 180, 71.7), abs=1e-9)
    assert shapely.symmetric_difference(shape, shapely.union_all(halves)).area == pytest.approx(0, abs=1e-8)


def test_a_glacier_on_the_antimeridian_is_one_body_of_two_parts() -> None:
    outlines = mapped((179.6, 71.0, -179.6, 71.3), disc(180.0, 71.15, 4000.0), resolution=40)
    assert len(outlines) == 1
    assert outlines.geometry.iloc[0].geom_type == "MultiPolygon"
    assert len(outlines.geometry.iloc[0].geoms) == 2
    assert outlines["area_km2"].iloc[0] == pytest.approx(np.pi * 16, rel=1e-4)
    assert outlines["perimeter_km"].iloc[0] == pytest.approx(8 * np.pi, rel=2e-3)


def test_near_84_north_the_area_ends_with_utm() -> None:
    box = (-33.0, 83.4, -31.0, 84.6)
    outlines = mapped(box, everywhere, resolution=40)
    want = area_km2(shapely.box(-33.0, 83.4, -31.0, 84.0))
    assert outlines["area_km2"].sum() == pytest.approx(want, rel=1e-7)
    with pytest.raises(OptionError, match="beyond 84 N"):
        regions.resolve((-33.0, 84.1, -31.0, 84.6))


def test_bodies_are_ordered_and_named_by_where_they_are() -> None:
    def two(lon: Any, lat: Any) -> Any:
        return np.maximum(disc(11.95, 66.05, 500)(lon, lat), disc(12.05, 66.02, 500)(lon, lat))

    outlines = mapped((11.9, 66.0, 12.1, 66.08), two, resolution=20)
    assert len(outlines) == 2
    assert outlines["id"].str.match(r"^G\d{8}E\d{7}N$").all()
    assert outlines.geometry.bounds["maxy"].is_monotonic_decreasing
    assert list(outlines.columns) == list(vectorise.COLUMNS)


def test_named_regions_hold_their_glaciers(shared: Path) -> None:
    glaciers = gpd.read_file(shared / "real" / "svalbard" / "svalbard_glacier.gpkg").to_crs(4326)
    assert shapely.within(glaciers.geometry.values, regions.resolve("07").buffer(1e-9)).all()


@pytest.mark.parametrize("name", ["7", "07", "rgi07", "RGI-07", "Svalbard_Jan_Mayen", "svalbard-jan-mayen"])
def test_a_region_has_many_names(name: str) -> None:
    assert regions.find(name) is regions.NAMED["07"]


def test_regions_of_the_arctic_are_there() -> None:
    assert list(regions.NAMED) == ["01", "03", "04", "05", "06", "07", "08", "09", "10"]
    whole = regions.resolve(list(regions.NAMED))
    for lon, lat in [(-177.7, 71.2), (178.9, 71.1), (16.0, 78.5), (-8.2, 71.0), (65.0, 80.5), (-32.5, 83.5), (-65, 59)]:
        assert whole.contains(shapely.Point(lon, lat)), (lon, lat)


def test_areas_are_united(tmp_path: Path) -> None:
    path = tmp_path / "north.gpkg"
    gpd.GeoDataFrame(geometry=[shapely.box(14.0, 78.0, 16.0, 79.0)], crs=4326).to_crs(32633).to_file(path)
    united = regions.resolve(
        [path, "15,78,17,79", {"type": "Polygon", "coordinates": [list(shapely.box(13, 78, 14.5, 79).exterior.coords)]}]
    )
    assert area_km2(united) == pytest.approx(area_km2(shapely.box(13, 78, 17, 79)), rel=1e-3)


@pytest.mark.parametrize(
    ("area", "message"),
    [
        ("02", "region 02 is not shipped"),
        ("no_such.gpkg", "no_such.gpkg"),
        ((10, 79, 12, 78), "upside down"),
        ((10, 78, 400, 79), "out of range"),
        ((10, -85, 12, -82), "80 S"),
        ([], "no area is named"),
        ({"type": "Point", "coordinates": [1, 2]}, "no polygon"),
        ({"type": "Nonsense"}, "not a GeoJSON"),
        (shapely.box(500_000, 8_000_000, 500_100, 8_000_100), "not longitude and latitude"),
    ],
)
def test_areas_that_are_none_are_refused(area: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        regions.resolve(area)


def test_a_mask_skips_what_cannot_be_ice(shared: Path) -> None:
    path = shared / "real" / "svalbard" / "svalbard_glacier.gpkg"
    area = regions.resolve((15.0, 77.0, 17.0, 78.0))
    every = regions.parts(area, tile=1)
    masked = regions.parts(area, tile=1, mask=regions.mask_of_file(path), mask_buffer=500)
    assert {part.name for part in masked} < {part.name for part in every}
    glaciers = gpd.read_file(path).to_crs(32633)
    glaciers = glaciers[glaciers.intersects(shapely.box(*gpd.GeoSeries([area], crs=4326).to_crs(32633).total_bounds))]
    together = shapely.union_all([part.mask.shape if part.mask else shapely.box(*part.bounds) for part in masked])
    own = masked[0].zone.project(shapely.segmentize(area, 0.01))
    lost = shapely.difference(shapely.intersection(shapely.union_all(glaciers.geometry.make_valid()), own), together)
    assert lost.area == pytest.approx(0, abs=1.0)  # no glacier pixel is ruled out
    assert together.area < 0.9 * own.area
    with pytest.raises(OptionError, match="mask leaves nothing"):
        regions.parts(regions.resolve((100, 60, 101, 61)), mask=regions.mask_of_file(path))


def test_a_mask_is_small_and_the_same_wherever_it_is_asked() -> None:
    part = regions.parts(regions.resolve((11.95, 66.0, 12.05, 66.05)))[0]
    assert part.mask is not None
    whole = part.mask.on(Grid(part.epsg, "", 10.0, part.bounds))
    left, bottom, right, top = part.bounds
    middle = round((left + right) / 20) * 10.0
    halves = [Bounds(left, bottom, middle, top), Bounds(middle, bottom, right, top)]
    put = np.hstack([part.mask.on(Grid(part.epsg, "", 10.0, half)) for half in halves])
    np.testing.assert_array_equal(whole, put)
    y, x = Grid(part.epsg, "", 10.0, part.bounds).coords()
    lon, lat = pyproj.Transformer.from_crs(part.epsg, 4326, always_xy=True).transform(*np.meshgrid(x, y))
    own = (lon < 12.0) & (lon >= 11.95) & (lat >= 66.0) & (lat < 66.05)
    assert whole[own].all()  # every pixel that the zone owns
    assert 0.9 < own.sum() / whole.sum() < 1  # and hardly more
    assert regions.Mask(part.mask.wkb).digest == part.mask.digest


def test_a_region_of_one_tile_is_one_part() -> None:
    (part,) = regions.parts(regions.resolve((15.0, 78.0, 15.5, 78.2)))
    assert part.name == "utm33n_all"
    with pytest.raises(OptionError, match="tile=0"):
        regions.parts(regions.resolve((15.0, 78.0, 15.5, 78.2)), tile=0)
    with pytest.raises(OptionError, match="mask_buffer=-1"):
        regions.parts(regions.resolve((15.0, 78.0, 15.5, 78.2)), mask_buffer=-1)


def test_a_catalogue_of_files_is_searched_as_far_around_a_tile_in_the_south() -> None:
    from types import SimpleNamespace

    from icemapper_xr import catalog
    from icemapper_xr.pipeline import region

    item = SimpleNamespace(bbox=(5.0, -80.0, 6.0, -79.0))  # 4 degrees beside, 80 km at 80 S
    part = SimpleNamespace(name="t", lonlat=lambda: Bounds(0.0, -80.0, 1.0, -60.0))
    index = region._Index(catalog.SearchResult([], (item,)))  # type: ignore[arg-type]
    assert index.near(part, 100_000.0).observations == (item,)  # type: ignore[arg-type]


def test_a_store_of_one_pixel_has_its_place(tmp_path: Path) -> None:
    from icemapper_xr import store
    from tests import store_cases

    result = store_cases.result(rows=1, columns=1)
    result["probability"][:] = 0.25
    store.write(result, tmp_path / "a.zarr", year=2023, chunk=16)
    plane = regions.mosaic([tmp_path / "a.zarr"], year=2023)
    place = plane.sel(x=result.x.item(), y=result.y.item())
    assert float(place) == 0.25
    assert int(plane.notnull().sum()) == 1
