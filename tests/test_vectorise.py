from __future__ import annotations

from typing import Any

import dask
import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyproj
import pytest
import rioxarray  # noqa: F401
import shapely
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icemapper_xr import errors, vectorise
from icemapper_xr.vectorise import measures

# rioxarray multiplies transforms the way affine 3.1 is about to deprecate
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

NO_LIMITS: dict[str, Any] = {"min_area_km2": 0.0}


def raster(
    values: npt.ArrayLike, *, left: float = 500_000.0, top: float = 8_700_000.0, crs: Any = 32633, chunks: Any = None
) -> xr.DataArray:
    """A probability raster of 10 m pixels."""
    p = np.asarray(values, dtype=np.float32)
    y, x = top - 5 - 10.0 * np.arange(p.shape[0]), left + 5 + 10.0 * np.arange(p.shape[1])
    data = xr.DataArray(p, dims=("y", "x"), coords={"y": y, "x": x}, name="probability").rio.write_crs(crs)
    return data if chunks is None else data.chunk(dict(zip(("y", "x"), chunks, strict=True)))


def distance(shape: tuple[int, int], row: float, column: float) -> npt.NDArray[np.float64]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(y - row, x - column)


def disc(shape: tuple[int, int], row: float, column: float, radius: float) -> npt.NDArray[np.float64]:
    """A disc whose rim falls from 1 to 0 over a pixel (anti-aliased)."""
    return np.clip(radius - distance(shape, row, column) + 0.5, 0, 1)


def same(a: gpd.GeoDataFrame, b: gpd.GeoDataFrame) -> bool:
    """Bit for bit the same table."""
    geometry = len(a) == len(b) and bool(shapely.equals_identical(a.geometry.values, b.geometry.values).all())
    return geometry and a.equals(b)


# -- analytic answers -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("radius", [20.0, 57.3, 140.0])
def test_disc(radius: float) -> None:
    found = vectorise.outlines(raster(disc((300, 320), 150.3, 160.7, radius)), crs_out=None)
    assert len(found) == 1
    assert found.area.item() == pytest.approx(np.pi * (10 * radius) ** 2, rel=1e-3)
    assert found.length.item() == pytest.approx(2 * np.pi * 10 * radius, rel=1e-2)
    assert found.n_holes.item() == 0
    assert not found.touches_edge.item()
    centre = found.geometry.item().centroid
    assert (centre.x, centre.y) == pytest.approx((500_005 + 1607, 8_700_000 - 5 - 1503), abs=0.2)


def test_ellipse() -> None:
    y, x = np.mgrid[:300, :420]
    a, b = 170.0, 60.0
    u, v = x - 208.2, y - 149.6
    q = np.hypot(u / a, v / b)
    slope = np.hypot(u / a**2, v / b**2) / np.maximum(q, 1e-9)
    p = np.clip((1 - q) / np.maximum(slope, 1e-9) + 0.5, 0, 1)  # distance to the rim, to first order
    found = vectorise.outlines(raster(p), crs_out=None)
    h = ((a - b) / (a + b)) ** 2
    circumference = np.pi * (a + b) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))  # Ramanujan
    assert found.area.item() == pytest.approx(np.pi * a * b * 100, rel=1e-3)
    assert found.length.item() == pytest.approx(circumference * 10, rel=1e-2)


def test_disc_with_a_hole() -> None:
    p = disc((200, 200), 100.2, 99.1, 80) * (1 - disc((200, 200), 110.4, 90.0, 30))
    found = vectorise.outlines(raster(p), crs_out=None)
    assert found.area.item() == pytest.approx(np.pi * 100 * (80**2 - 30**2), rel=1e-3)
    assert found.length.item() == pytest.approx(2 * np.pi * 10 * 110, rel=1e-2)
    assert found.n_holes.item() == 1
    assert len(found.geometry.item().interiors) == 1
    filled = vectorise.outlines(raster(p), crs_out=None, min_hole_km2=0.3)
    assert filled.n_holes.item() == 0
    assert filled.area.item() == pytest.approx(np.pi * 100 * 80**2, rel=1e-3)


def test_a_body_in_a_hole_of_a_body_in_a_hole() -> None:
    r = distance((200, 200), 100.0, 100.0)
    p = (r < 90) & (r > 70) | (r < 50) & (r > 30) | (r < 10)
    found = vectorise.outlines(raster(p), crs_out=None)
    assert found.n_holes.tolist() == [1, 1, 0]
    assert found.is_valid.all()
    assert found.area.sum() == pytest.approx(p.sum() * 100, rel=0.01)
    big = vectorise.outlines(raster(p), crs_out=None, min_area_km2=0.1)
    assert big.n_holes.tolist() == [1, 1]


def test_a_filled_hole_takes_the_bodies_in_it_along() -> None:
    r = distance((200, 200), 100.0, 100.0)
    p = (r < 90) & (r > 70) | (r < 50) & (r > 30) | (r < 10)
    areas = [float(shapely.Polygon(ring).area) for ring in shapely.get_parts(_rings(p))]
    everything = vectorise.outlines(raster(p), crs_out=None, min_hole_km2=2.0)
    assert len(everything) == 1
    assert everything.n_holes.item() == 0
    assert everything.area.item() == pytest.approx(max(areas))
    assert everything.area_km2.item() == pytest.approx(max(areas) / 1e6, rel=1e-3)
    inner = vectorise.outlines(raster(p), crs_out=None, min_hole_km2=0.5)  # the outer hole stays, that of the ring goes
    assert inner.n_holes.tolist() == [1, 0]
    assert shapely.union_all(inner.geometry.values).area == pytest.approx(inner.area.sum())


def _rings(p: npt.NDArray[np.bool_]) -> Any:
    found = vectorise.outlines(raster(p), crs_out=None, **NO_LIMITS)
    return shapely.MultiLineString([ring for body in found.geometry for ring in (body.exterior, *body.interiors)])


def test_raster_area_is_kept_where_nothing_is_interpolated() -> None:
    """A block of ones among zeros: the line runs half way between the centres, with corners cut by 1/8 pixel."""
    p = np.zeros((12, 15))
    p[3:7, 4:10] = 1
    found = vectorise.outlines(raster(p), crs_out=None, **NO_LIMITS)
    assert found.area.item() == pytest.approx((24 - 4 / 8) * 100)


@pytest.mark.parametrize("diagonal", ["down", "up"])
def test_touching_corners(diagonal: str) -> None:
    p = np.zeros((40, 40))
    p[5:20, 5:20] = p[20:35, 20:35] = 1
    p = p if diagonal == "down" else p[:, ::-1]
    found = vectorise.outlines(raster(p), crs_out=None, **NO_LIMITS)
    assert found.is_valid.all()
    assert found.area.sum() == pytest.approx(2 * 15 * 15 * 100, rel=0.01)


def test_values_equal_to_the_threshold() -> None:
    """Samples on the threshold count as inside and give valid polygons that do not touch themselves."""
    p = np.zeros((20, 20))
    p[5, 5:10] = p[5:10, 7] = 0.5
    p[12:16, 3:8] = 0.5
    p[13, 4] = 0.0
    found = vectorise.outlines(raster(p), crs_out=None, **NO_LIMITS)
    assert found.is_valid.all()
    assert len(found) == 2
    assert not vectorise.outlines(raster(np.full((9, 9), 0.5)), **NO_LIMITS).empty
    assert vectorise.outlines(raster(np.full((9, 9), 0.49999)), **NO_LIMITS).empty


def test_a_body_across_four_chunks_has_no_seam() -> None:
    p = disc((128, 128), 63.6, 64.2, 50)
    whole = vectorise.outlines(raster(p), crs_out=None)
    cut = vectorise.outlines(raster(p, chunks=(64, 64)), crs_out=None)
    assert len(cut) == 1
    assert same(cut, whole)
    x, y = shapely.get_coordinates(cut.geometry.item()).T
    steps = np.hypot(np.diff(x), np.diff(y))
    assert steps.max() < 10 * np.sqrt(2) + 1e-6  # a seam would be a long straight edge


# -- chunks -----------------------------------------------------------------------------------------------------------
@st.composite
def chunkings(draw: st.DrawFn, size: int) -> tuple[int, ...]:
    cuts = sorted(draw(st.sets(st.integers(1, size - 1), max_size=6)))
    return tuple(int(n) for n in np.diff([0, *cuts, size]))


def noise(seed: int, kind: str, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    z = rng.random(shape)
    if kind != "white":
        z = ndimage.gaussian_filter(z, 2)
        z = (z - z.min()) / (z.max() - z.min())
    if kind == "steps":
        z = np.round(4 * z) / 4  # many samples on the threshold, many saddles
    if kind == "holes":
        z[rng.random(shape) < 0.03] = np.nan
    return z


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["white", "smooth", "steps", "holes"]),
    rows=chunkings(70),
    columns=chunkings(90),
    threshold=st.sampled_from([0.5, 0.25, 0.9, 0.123456789]),
)
def test_any_chunking_gives_the_same_polygons(
    seed: int, kind: str, rows: tuple[int, ...], columns: tuple[int, ...], threshold: float
) -> None:
    p = noise(seed, kind, (70, 90))
    options = {"threshold": threshold, "crs_out": None, **NO_LIMITS}
    with dask.config.set(scheduler="synchronous"):
        cut = vectorise.outlines(raster(p, chunks=(rows, columns)), **options)
    whole = vectorise.outlines(raster(p), **options)
    assert same(cut, whole)
    assert whole.is_valid.all()
    assert whole.geometry.map(lambda g: g.exterior.is_ccw).all()
    # the samples inside are those at or above the threshold: no body lost, none made up
    inside = shapely.contains_xy(shapely.union_all(whole.geometry.values), *_centres(p.shape))
    np.testing.assert_array_equal(inside.reshape(p.shape), p >= np.float32(threshold))


def _centres(shape: tuple[int, int]) -> tuple[Any, Any]:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return 500_005 + 10.0 * x.ravel(), 8_699_995 - 10.0 * y.ravel()


def test_the_area_asked_for_does_not_move_the_outline() -> None:
    """An inner body has the same coordinates in a larger raster."""
    p = disc((200, 200), 90.3, 111.8, 40)
    whole = vectorise.outlines(raster(p), crs_out=None)
    part = vectorise.outlines(raster(p[30:170, 50:190], left=500_500.0, top=8_699_700.0), crs_out=None)
    assert same(whole, part)


@pytest.mark.parametrize("kind", ["white", "smooth", "holes"])
def test_another_implementation_draws_the_same(kind: str) -> None:
    """Vertex by vertex what contourpy draws on the whole raster (zeros where missing and around it)."""
    import contourpy

    p = noise(5, kind, (120, 130)).astype(np.float32)
    z = np.pad(np.nan_to_num(p.astype(float)), 1)
    lines = contourpy.contour_generator(z=z, line_type="Separate").lines(0.5)
    found = vectorise.outlines(raster(p, chunks=(50, 40), left=-5.0, top=5.0), crs_out=None, **NO_LIMITS)
    rings = [ring for g in found.geometry for ring in (g.exterior, *g.interiors)]
    # contourpy's first sample is the padding; its rows point down
    theirs = {frozenset((round((x - 1) * 10, 5), round((1 - y) * 10, 5)) for x, y in line) for line in lines}
    ours = {frozenset((round(x, 5), round(y, 5)) for x, y in ring.coords) for ring in rings}
    assert ours == theirs


def test_each_block_is_read_once_and_few_at_a_time() -> None:
    import dask.array as da

    reads: list[tuple[int, int]] = []

    def read(block: Any, block_id: Any = None) -> Any:
        reads.append(block_id)
        return block

    p = da.map_blocks(
        read, da.from_array(noise(1, "smooth", (90, 70)).astype("f4"), 16), dtype="f4", meta=np.empty((0, 0), "f4")
    )
    lazy = raster(np.zeros((90, 70))).copy(data=p)
    vectorise.outlines(lazy)
    assert len(reads) == len(set(reads)) == 30


# -- the data's edge --------------------------------------------------------------------------------------------------
def test_outlines_that_touch_the_edge() -> None:
    p = np.zeros((100, 100))
    p[:20, 40:60] = 1  # the raster's edge
    p[40:60, 40:60] = 1
    p[50:55, 60:65] = np.nan  # beside a gap
    p[70:90, 10:30] = 1
    p[78:82, 18:22] = np.nan  # around a gap
    p[70:90, 60:80] = 1  # free
    p[72:74, 90:92] = np.nan  # a gap in what is no glacier
    found = vectorise.outlines(raster(p), crs_out=None)
    assert found.touches_edge.tolist() == [True, True, True, False]
    assert found.is_valid.all()
    assert found.area.sum() == pytest.approx((1600 - 16) * 100, rel=0.02)


@pytest.mark.parametrize("values", [np.zeros((5, 6)), np.full((5, 6), np.nan), np.zeros((5, 1)), np.zeros((1, 1))])
def test_nothing_to_outline(values: Any) -> None:
    found = vectorise.outlines(raster(values))
    assert list(found.columns) == list(vectorise.COLUMNS)
    assert found.empty
    assert found.crs.to_epsg() == 4326
    assert vectorise.total_area_km2(found) == 0


def test_all_glacier() -> None:
    found = vectorise.outlines(raster(np.ones((50, 60))), crs_out=None)
    assert found.touches_edge.tolist() == [True]
    assert found.area.item() == pytest.approx(50 * 60 * 100, rel=1e-2)


# -- geodesic measures ------------------------------------------------------------------------------------------------
def laea_cap(crs: str, lat: float, lon: float, radius: float) -> tuple[xr.DataArray, float]:
    """Rasterise, in any CRS, what lies within `radius` metres of a point by an equal-area projection; exact area."""
    there = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)
    half = int(radius * 1.35 / 10)
    left, top = round(there[0] / 10) * 10 - half * 10, round(there[1] / 10) * 10 + half * 10
    grid = raster(np.zeros((2 * half, 2 * half)), left=left, top=top, crs=crs)
    x, y = np.meshgrid(grid.x.values, grid.y.values)
    laea = f"+proj=laea +lat_0={lat} +lon_0={lon} +ellps=WGS84"
    u, v = pyproj.Transformer.from_crs(crs, laea, always_xy=True).transform(x, y)
    return grid.copy(data=np.clip((radius - np.hypot(u, v)) / 10 + 0.5, 0, 1).astype("f4")), np.pi * radius**2 / 1e6


@pytest.mark.parametrize("lat", [60.0, 70.0, 80.0])
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3413", "EPSG:6931"])
def test_area_of_a_cap(lat: float, crs: str) -> None:
    grid, expected = laea_cap(crs, lat, 17.0, 3000.0)
    found = vectorise.outlines(grid)
    assert found.area_km2.item() == pytest.approx(expected, rel=5e-4)
    assert vectorise.total_area_km2(found) == pytest.approx(expected, rel=5e-4)
    assert found.perimeter_km.item() == pytest.approx(2 * np.pi * 3.0, rel=1e-2)


def test_measures_equal_geodesics() -> None:
    p = disc((200, 200), 100.2, 99.1, 80) * (1 - disc((200, 200), 110.4, 90.0, 30))
    found = vectorise.outlines(raster(p))
    area, outer = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(found.geometry.item())
    inner = pyproj.Geod(ellps="WGS84").geometry_length(found.geometry.item().interiors[0])
    assert found.area_km2.item() == pytest.approx(area / 1e6, rel=1e-7)
    assert found.perimeter_km.item() == pytest.approx((outer + inner) / 1e3, rel=1e-7)
    assert vectorise.total_area_km2(found.to_crs(3413)) == pytest.approx(area / 1e6, rel=1e-9)


@pytest.mark.parametrize("piece", [1, 7, 40, 1000])
def test_measures_by_pieces_are_those_of_all_rings(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    offsets = np.cumsum([0, 3, 40, 5, 3, 12, 8])
    lon, lat = 15 + 1e-3 * rng.random(offsets[-1]), 78 + 1e-3 * rng.random(offsets[-1])
    whole = measures.ring_measures(lon, lat, offsets)
    monkeypatch.setattr(measures, "PIECE", piece)
    for ours, theirs in zip(measures.ring_measures(lon, lat, offsets), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_areas_of_long_edges_are_those_of_straight_lines_on_the_map() -> None:
    # In an equal-area CRS the area on the map is that on the ellipsoid; between geodesics it would be 0.8 % more.
    boxes = gpd.GeoDataFrame(geometry=[shapely.box(-1e6, -2e6, 1e6, -1e6), shapely.box(0, 0, 1e5, 1e5)], crs=6931)
    np.testing.assert_allclose(vectorise.areas_km2(boxes), [2e6, 1e4], rtol=1e-6)
    assert vectorise.total_area_km2(boxes) == pytest.approx(2.01e6, rel=1e-6)


def test_measures_across_180_degrees() -> None:
    lon, lat = np.array([179.99, -179.99, -179.99, 179.99]), np.array([70.0, 70.0, 70.01, 70.01])
    area, length = measures.ring_measures(lon, lat, np.array([0, 4]))
    box = shapely.Polygon(zip(lon % 360, lat, strict=True))
    expected = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(box)
    assert area[0] == pytest.approx(expected[0], rel=1e-5)
    assert length[0] == pytest.approx(expected[1], rel=1e-5)


@pytest.mark.parametrize("crs", [3413, 3031])
def test_a_body_around_a_pole_is_one(crs: int) -> None:
    values = disc((400, 400), 200.3, 190.6, 150) * (1 - disc((400, 400), 205.2, 198.4, 40))  # the hole holds the pole
    values = np.maximum(values, disc((400, 400), 204.1, 200.2, 20))  # ice around the pole in it
    low = vectorise.outlines(raster(values, left=-2000, top=2000, crs=crs), crs_out=None)
    # An equal-area plane around the pole: the truth of areas and lengths.
    truth = low.to_crs(f"+proj=laea +lat_0={90 if crs == 3413 else -90} +datum=WGS84").geometry
    assert low["area_km2"].to_numpy() == pytest.approx(truth.area.to_numpy() / 1e6, rel=1e-6)
    assert low["perimeter_km"].to_numpy() == pytest.approx(truth.length.to_numpy() / 1e3, rel=1e-6)
    assert vectorise.areas_km2(low) == pytest.approx(low["area_km2"].to_numpy(), rel=1e-6)
    found = vectorise.outlines(raster(values, left=-2000, top=2000, crs=crs))
    assert found.is_valid.all()
    assert found.drop(columns="geometry").equals(low.drop(columns="geometry"))
    assert vectorise.areas_km2(found) == pytest.approx(low["area_km2"].to_numpy(), rel=1e-4)
    back = shapely.make_valid(found.to_crs(crs).geometry.to_numpy(), method="structure", keep_collapsed=False)
    apart = shapely.area(shapely.symmetric_difference(back, low.geometry.to_numpy()))
    assert (apart < 1e-3 * low.geometry.area.to_numpy()).all()
    simple = vectorise.simplify(found, 10.0)
    assert simple.is_valid.all()
    assert vectorise.areas_km2(simple) == pytest.approx(low["area_km2"].to_numpy(), rel=0.02)


# -- table ------------------------------------------------------------------------------------------------------------
def test_a_body_across_180_degrees_is_cut_there() -> None:
    x, y = pyproj.Transformer.from_crs(4326, 32601, always_xy=True).transform(180.0, 71.0)
    left, top = round(x) - 1000.0, round(y) + 1000.0
    values = disc((200, 200), 100, 100, 80)
    values[90:110, 90:110] = 0  # a nunatak on the line
    values[:14, :14] = 1  # a body beside it
    found = vectorise.outlines(raster(values, left=left, top=top, crs=32601))
    assert sorted(found.geom_type) == ["MultiPolygon", "Polygon"]
    assert found.is_valid.all()
    body = found[found.geom_type == "MultiPolygon"].geometry.item()
    spans = sorted((round(part.bounds[0], 3), round(part.bounds[2], 3)) for part in body.geoms)
    assert spans == [(-180.0, pytest.approx(-179.978, abs=2e-3)), (pytest.approx(179.978, abs=2e-3), 180.0)]
    # The same area and rows as in the projection, where nothing is cut.
    whole = vectorise.outlines(raster(values, left=left, top=top, crs=32601), crs_out=None)
    assert found.drop(columns="geometry").equals(whole.drop(columns="geometry"))
    back = found.to_crs(32601).geometry
    assert back.area.to_numpy() == pytest.approx(whole.area.to_numpy(), rel=1e-4)
    assert shapely.union_all(back.values).symmetric_difference(shapely.union_all(whole.geometry.values)).area < 50


def test_columns_order_and_ids() -> None:
    p = disc((200, 300), 50, 250, 20) + disc((200, 300), 60, 60, 25) + disc((200, 300), 150, 100, 30)
    found = vectorise.outlines(raster(p), year=2023)
    assert list(found.columns) == list(vectorise.COLUMNS)
    assert found.year.tolist() == [2023] * 3
    assert found.crs.to_epsg() == 4326
    assert found.id.is_unique
    assert found.id.str.fullmatch(r"G\d{8}E\d{7}N").all()
    north = shapely.bounds(found.geometry.values)[:, 3]
    assert (np.diff(north) < 0).all()
    assert (found.area_km2 > 0).all()


@pytest.mark.parametrize("lon", [0.0, 4e-6, -4e-6, 360.0, 359.999996])
def test_ids_at_greenwich_begin_with_zero(lon: float) -> None:
    assert vectorise.body_ids(np.array([lon]), np.array([-52.5])) == ["G00000000E5250000S"]


def test_small_bodies_are_left_out() -> None:
    p = disc((200, 300), 60, 60, 5.5) + disc((200, 300), 150, 100, 5.8)  # 0.0095 and 0.0106 km2
    assert len(vectorise.outlines(raster(p))) == 1
    assert len(vectorise.outlines(raster(p), min_area_km2=0.0)) == 2


def test_years() -> None:
    planes = [raster(disc((80, 80), 40, 40, r)) for r in (30, 20)]
    both = xr.concat(planes, xr.Variable("year", [2016, 2020]))
    found = vectorise.outlines(both)
    assert found.year.tolist() == [2016, 2020]
    assert found.index.tolist() == [0, 1]
    one = vectorise.outlines(both, year=2020)
    assert one.geometry.item() == found.geometry.iloc[1]
    with pytest.raises(errors.VectorError, match=r"has the years \[2016, 2020\], not '2016'"):
        vectorise.outlines(both, year="2016")  # type: ignore[arg-type]
    with pytest.raises(errors.VectorError, match=r"has the years \[2016, 2020\], not 2018"):
        vectorise.outlines(both, year=2018)
    empty_first = xr.concat([planes[0] * 0, planes[1]], xr.Variable("year", [2016, 2020])).rio.write_crs(32633)
    assert vectorise.outlines(empty_first).year.tolist() == [2020]


def test_a_dataset_and_its_year() -> None:
    data = raster(disc((80, 80), 40, 40, 30)).to_dataset()
    data.attrs["year"] = 2021
    assert vectorise.outlines(data).year.tolist() == [2021]
    assert "year" not in data.probability.attrs  # the input stays as it was
    with pytest.raises(errors.VectorError, match="of the year 2021, not 2020"):
        vectorise.outlines(data, year=2020)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0.0}, "threshold=0.0: must lie between 0 and 1"),
        ({"threshold": float("nan")}, "threshold=nan"),
        ({"threshold": "0.5"}, "threshold='0.5'"),
        ({"crs_out": "nonsense"}, "crs_out='nonsense' is no CRS"),
        ({"min_area_km2": -1}, "min_area_km2=-1"),
        ({"min_hole_km2": float("nan")}, "min_hole_km2=nan"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.OptionError, match=message):
        vectorise.outlines(raster(np.zeros((5, 5))), **options)


def test_what_cannot_be_outlined() -> None:
    good = raster(disc((30, 30), 15, 15, 9))
    cases = {
        "no variable 'probability'": good.rename("other").to_dataset(),
        "no CRS": good.drop_vars("spatial_ref"),
        "has dims": good.expand_dims(time=2),
        "not regular": good.assign_coords(x=good.x**2),
        "north-up": good.isel(y=slice(None, None, -1)),
        "not probabilities": good * 100,
    }
    for message, data in cases.items():
        with pytest.raises(errors.VectorError, match=message):
            vectorise.outlines(data)


def test_the_year_column_is_of_one_type() -> None:
    assert vectorise.outlines(raster(np.zeros((5, 5)))).year.dtype == pd.Int32Dtype()


def test_measures_without_a_crs_and_years_that_are_dates_have_a_clear_line() -> None:
    bare = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)])
    with pytest.raises(errors.VectorError, match="no CRS, so their areas are unknown"):
        vectorise.areas_km2(bare)
    with pytest.raises(errors.VectorError, match="no CRS, so a tolerance in metres"):
        vectorise.simplify(bare, 10.0)
    dated = raster(np.zeros((5, 5))).expand_dims(year=pd.to_datetime(["2020-01-01"]))
    with pytest.raises(errors.VectorError, match=r"of the type datetime64.*: give whole numbers"):
        vectorise.outlines(dated)
