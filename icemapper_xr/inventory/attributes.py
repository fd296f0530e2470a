"""What an inventory tells of each glacier: where it is, how high, how steep, which way it faces, how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from icemapper_xr._types import Bounds
from icemapper_xr.errors import VectorError
from icemapper_xr.inventory import shapes
from icemapper_xr.inventory.elevation import Dem, Relief, beneath, sample

if TYPE_CHECKING:
    import geopandas as gpd
    import pyproj

__all__ = ["BIN_M", "aspect_sector", "centres", "hypsometry", "topography"]

BIN_M: Final = 50
"""Height of a band of the hypsometry, metres (RGI 7)."""
LEAST_KNOWN: Final = 0.9
"""Share of a glacier's cells of which the DEM must know the elevation."""
TOPOGRAPHY: Final = (
    "termlon", "termlat", "zmin_m", "zmax_m", "zmed_m", "zmean_m", "slope_deg", "aspect_deg", "aspect_sec", "lmax_m",
)  # fmt: skip


def centres(glaciers: gpd.GeoDataFrame) -> npt.NDArray[np.float64]:
    """Return (n, 2) longitude and latitude of a point inside each polygon, as far from its margin as it gets."""
    if not len(glaciers):
        return np.empty((0, 2))
    metric = shapes.plane_of(glaciers)
    flat = np.asarray(glaciers.geometry.to_crs(metric).values, dtype=object)
    coarse = shapely.simplify(flat, 20.0)  # the circle of a large glacier takes minutes at full detail
    usable = shapely.is_valid(coarse) & ~shapely.is_empty(coarse)
    circles = shapely.maximum_inscribed_circle(np.where(usable, coarse, flat), tolerance=20.0)
    points = shapely.get_point(circles, 0)
    inside = shapely.contains_properly(flat, points)
    points = np.where(inside, points, shapely.point_on_surface(flat))
    import geopandas as gpd

    return np.asarray(shapely.get_coordinates(gpd.GeoSeries(points, crs=metric).to_crs(4326).values))


def aspect_sector(degrees: float) -> int:
    """Return RGI's sector: 1 north, 2 north-east ... 8 north-west, 9 where the aspect is unknown.

    Examples
    --------
    >>> [aspect_sector(a) for a in (0.0, 359.0, 45.0, 180.0, float("nan"))]
    [1, 1, 2, 5, 9]
    """
    return 9 if np.isnan(degrees) else int((degrees + 22.5) % 360 // 45) + 1


def topography(glaciers: gpd.GeoDataFrame, dem: Any, *, partial: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure each glacier on a DEM.

    Parameters
    ----------
    glaciers
        Single polygons.
    dem
        Path of a DEM or a DataArray (y, x) with a CRS; metres above the sea. None gives missing values.
    partial
        Whether glaciers that the DEM does not cover may have missing values; else they are an error.

    Returns
    -------
    attributes : pandas.DataFrame
        `zmin_m`, `zmax_m`, `zmed_m`, `zmean_m`; `slope_deg` (mean); `aspect_deg` (of the mean vector, from true north)
        and `aspect_sec`; `termlon`, `termlat` (the lowest point of the outline); `lmax_m` (the longest of the shortest
        ways inside the glacier from there; a centre line is somewhat longer).
    hypsometry : pandas.DataFrame
        One column a band of 50 m, named by its middle: thousandths of the area, whole numbers that add up to 1000.

    Raises
    ------
    VectorError
        If the DEM lacks more than a tenth of a glacier, or one is no single polygon.
    """
    empty = dict.fromkeys(TOPOGRAPHY, np.nan) | {"aspect_sec": 9}
    if dem is None or not len(glaciers):
        table = pd.DataFrame([empty] * len(glaciers), columns=list(TOPOGRAPHY))
        return table, pd.DataFrame(index=range(len(glaciers)))
    several = np.flatnonzero(glaciers.geom_type != "Polygon")
    if several.size:
        raise VectorError(
            f"glacier {several[0] + 1} of {len(glaciers)} is a {glaciers.geom_type.iloc[several[0]]}: give single "
            "polygons, for example with explode()"
        )
    rows: list[dict[str, Any]] = []
    heights = []
    for source, shape in beneath(dem, glaciers, "Topography"):
        row, z = _one(shape, source)
        if row is None and not partial:
            raise VectorError(
                f"The DEM {source.name} lacks over {1 - LEAST_KNOWN:.0%} of glacier {len(rows) + 1} of {len(glaciers)}"
                ": give a DEM that covers all glaciers, or let their values be missing with partial "
                "(--partial)"
            )
        rows.append(empty if row is None else row)
        heights.append(z)
    return pd.DataFrame(rows, columns=list(TOPOGRAPHY)), hypsometry(heights)


def _one(shape: Any, source: Dem) -> tuple[dict[str, float] | None, npt.NDArray[np.float32]]:
    relief = source.read(Bounds(*shape.bounds), pad=2 * source.cell)
    inside = relief.burn([shape]) > 0
    if not inside.any():  # smaller than a cell
        x, y = shape.representative_point().coords[0]
        inside[int((relief.top - y) / relief.cell), int((x - relief.left) / relief.cell)] = True
    z = relief.z[inside]
    known = z[np.isfinite(z)]
    if known.size < LEAST_KNOWN * z.size:
        return None, known[:0]
    slope, aspect = _facing(relief, inside)
    lowest = _lowest(shape, relief)
    lon, lat = _lonlat(source.crs, *lowest)
    centre = shape.representative_point()
    # Twice: the remainder of what lies a rounding error below 0 is 360.0 itself.
    azimuth = (aspect + _convergence(source.crs, centre.x, centre.y)) % 360 % 360
    return {
        "termlon": lon,
        "termlat": lat,
        "zmin_m": float(known.min()),
        "zmax_m": float(known.max()),
        "zmed_m": float(np.median(known)),
        "zmean_m": float(known.mean(dtype=float)),
        "slope_deg": slope,
        "aspect_deg": azimuth,
        "aspect_sec": aspect_sector(azimuth),
        "lmax_m": max(_length(inside, relief, lowest), _farthest(shape, lowest)),
    }, known


def _facing(relief: Relief, inside: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Mean slope, degrees, and direction of the mean vector down the slope, degrees from the grid's north."""
    south, east = (np.asarray(rise, np.float64) for rise in np.gradient(relief.z, relief.cell))  # per metre
    rise = np.hypot(south, east)
    use = inside & np.isfinite(rise)
    if not use.any():
        return float("nan"), float("nan")
    slope = float(np.degrees(np.arctan(rise[use])).mean(dtype=float))
    tilted = use & (rise > 0)
    to_east, to_north = -east[tilted] / rise[tilted], south[tilted] / rise[tilted]
    if not tilted.any() or np.hypot(to_east.sum(dtype=float), to_north.sum(dtype=float)) < 1e-6 * tilted.sum():
        return slope, float("nan")
    return slope, float(np.degrees(np.arctan2(to_east.sum(dtype=float), to_north.sum(dtype=float))))


def _lowest(shape: Any, relief: Relief) -> tuple[float, float]:
    outline = shapely.get_coordinates(shapely.segmentize(shape.exterior, relief.cell))  # simplified ones have few
    z = sample(relief, outline[:, 0], outline[:, 1])
    k = int(np.nanargmin(z)) if np.isfinite(z).any() else 0
    return float(outline[k, 0]), float(outline[k, 1])


def _farthest(shape: Any, start: tuple[float, float]) -> float:
    """Distance to the outline's farthest vertex: no way inside is shorter, however coarse the cells."""
    return float(np.hypot(*(shapely.get_coordinates(shape.exterior) - start).T).max())


_STEPS: Final = [
    (i, j) for i in range(-2, 3) for j in range(-2, 3) if max(abs(i), abs(j)) == 1 or sorted((abs(i), abs(j))) == [1, 2]
]
"""Steps to the 16 nearest cells in all directions: ways come out at most 3 % too long, with 8 it would be 8 %."""


def _length(inside: npt.NDArray[np.bool_], relief: Relief, start: tuple[float, float]) -> float:
    """Longest of the shortest ways from the terminus, on cells as RGI sizes them: 14 sqrt(A) + 10 m, at most 100 m."""
    from skimage.measure import block_reduce

    area = float(inside.sum()) * relief.cell**2 / 1e6
    step = max(1, int(min(100.0, 14 * np.sqrt(area) + 10) // relief.cell))
    coarse = block_reduce(inside, (step, step), np.max)
    rows, columns = np.nonzero(coarse)
    at = np.array([relief.top - start[1], start[0] - relief.left]) / (relief.cell * step) - 0.5
    nearest = int(np.argmin(np.hypot(rows - at[0], columns - at[1])))
    ways = _ways(coarse, nearest)
    return float(ways[np.isfinite(ways)].max(initial=0.0) * relief.cell * step)


def _ways(inside: npt.NDArray[np.bool_], start: int) -> npt.NDArray[np.float64]:
    """Shortest way from one cell to each, by cells that are inside, in cells; numbered as `np.nonzero` does."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    number = np.full(np.add(inside.shape, 4), -1, np.int64)
    number[2:-2, 2:-2][inside] = np.arange(inside.sum())
    here = number[2:-2, 2:-2]
    pairs = []
    for i, j in _STEPS:
        there = number[2 + i : 2 + i + inside.shape[0], 2 + j : 2 + j + inside.shape[1]]
        both = (here >= 0) & (there >= 0)
        pairs.append((here[both], there[both], np.full(int(both.sum()), np.hypot(i, j))))
    source, target, length = (np.concatenate(part) for part in zip(*pairs, strict=True))
    graph = coo_matrix((length, (source, target)), shape=(int(inside.sum()),) * 2).tocsr()
    return np.asarray(dijkstra(graph, indices=start), np.float64)


def _lonlat(crs: pyproj.CRS, x: float, y: float) -> tuple[float, float]:
    import pyproj

    lon, lat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    return float(lon), float(lat)


def _convergence(crs: pyproj.CRS, x: float, y: float) -> float:
    """Degrees from true north to the grid's north, clockwise."""
    import pyproj

    return float(pyproj.Proj(crs).get_factors(*_lonlat(crs, x, y)).meridian_convergence)


def hypsometry(heights: list[npt.NDArray[np.float32]]) -> pd.DataFrame:
    """Count elevations in bands of 50 m: thousandths of each glacier, whole numbers that add up to 1000.

    Parameters
    ----------
    heights
        Elevations of the cells of each glacier, metres; an empty array gives missing values.
    """
    known = [z for z in heights if z.size]
    if not known:
        return pd.DataFrame(index=range(len(heights)))
    low = int(min(np.floor(z.min() / BIN_M) for z in known))
    high = int(max(np.floor(z.max() / BIN_M) for z in known))
    names = [str(BIN_M * k + BIN_M // 2) for k in range(low, high + 1)]
    rows = [_thousandths(z, low, high) if z.size else [pd.NA] * len(names) for z in heights]
    return pd.DataFrame(rows, columns=names).astype("Int64")


def _thousandths(z: npt.NDArray[np.float32], low: int, high: int) -> list[int]:
    count = np.bincount(np.floor(z / BIN_M).astype(int) - low, minlength=high - low + 1)
    exact = count / count.sum() * 1000
    whole = np.floor(exact).astype(int)
    left = np.argsort(-(exact - whole), kind="stable")[: 1000 - int(whole.sum())]  # the largest remainders
    whole[left] += 1
    return [int(one) for one in whole]
