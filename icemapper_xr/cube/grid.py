"""From an area in any description to a pixel grid: CRS, edges on multiples of the resolution, margin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions
from icemapper_xr._types import Bounds, Grid
from icemapper_xr.cube import footprints
from icemapper_xr.errors import OptionError

__all__ = ["AreaGrid", "area_grid", "plain", "projected", "utm_epsg", "utm_zone"]

_EDGE_POINTS = 1001
"""Points an edge is divided into before it is transformed: a parallel over 60 degrees is then off by 1 m at most."""
_SNAP = 1e-6
"""Share of a pixel by which an edge may miss a multiple of the resolution and still count as lying on it."""
_POLAR_NORTH = "EPSG:3413, EPSG:6931 or EPSG:32661"
_POLAR_SOUTH = "EPSG:3031 or EPSG:32761"


@dataclass(frozen=True)
class AreaGrid:
    """The area asked for, and the grid that is read: the area with a margin of pixels on every side."""

    area: Bounds
    """The area in the CRS of the grid, edges on multiples of the resolution."""
    grid: Grid
    """What is read: `area` and `margin` pixels on every side."""
    margin: int
    """Pixels read around the area."""


def area_grid(
    *,
    bbox: Sequence[float] | None = None,
    bounds: Sequence[float] | None = None,
    crs: Any = None,
    geometry: Any = None,
    resolution: float = conventions.PIXEL_SIZE,
    margin: int = conventions.WINDOW,
) -> AreaGrid:
    """Make the grid of an area.

    Parameters
    ----------
    bbox
        West, south, east, north in degrees; west > east crosses the antimeridian. Exactly one of `bbox`, `bounds`
        and `geometry` is given.
    bounds
        Left, bottom, right, top in the units of `crs`, which must be given too.
    crs
        CRS of the grid, anything pyproj takes; it must be projected, in metres. None is the UTM zone of the area,
        with the exceptions of MGRS for Norway (32V) and Svalbard (31X, 33X, 35X, 37X).
    geometry
        GeoJSON mapping, shapely geometry or anything with `__geo_interface__`, in longitude and latitude.
    resolution
        Pixel size in metres.
    margin
        Pixels to read around the area on every side.

    Returns
    -------
    AreaGrid
        The area is snapped outward to multiples of the resolution.

    Raises
    ------
    OptionError
        The area is upside down, empty, out of range or not finite; it lies in two UTM zones or beyond UTM and no
        CRS is named; the CRS is not in metres; not exactly one description of the area is given.
    """
    if sum(given is not None for given in (bbox, bounds, geometry)) != 1:
        raise OptionError("name the area by exactly one of bbox, bounds (with crs) and geometry")
    if not (_is_number(resolution) and resolution > 0):
        raise OptionError(f"resolution {resolution!r} is not a positive number of metres")
    if not (_is_number(margin) and margin >= 0 and margin == int(margin)):
        raise OptionError(f"margin {margin!r} is not a number of pixels; give 0 or more")
    if bounds is not None:
        if crs is None:
            raise OptionError(
                "bounds needs crs (--crs) to say what its numbers mean; longitude and latitude go into bbox (--bbox)"
            )
        target = projected(crs)
        edges = _checked_bounds(bounds)
    else:
        lon, lat = _outline(bbox) if bbox is not None else _geometry_outline(geometry)
        target = projected(crs if crs is not None else utm_epsg(lon, lat))
        edges = _transform(lon, lat, target)
    return _snapped(edges, target, float(resolution), int(margin))


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def utm_zone(lon: float, lat: float) -> int:
    """Return the UTM zone of a point, with the exceptions of MGRS for Norway and Svalbard.

    Parameters
    ----------
    lon, lat
        Degrees; longitudes beyond 180 are wrapped.
    """
    lon = (lon + 180.0) % 360.0 - 180.0
    if 56 <= lat < 64 and 3 <= lon < 12:
        return 32
    if 72 <= lat <= 84 and 0 <= lon < 42:
        return 31 if lon < 9 else 33 if lon < 21 else 35 if lon < 33 else 37
    return int((lon + 180.0) // 6) + 1


def utm_epsg(lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]) -> int:
    """Return the EPSG code of the UTM zone that holds all points of an outline.

    Raises
    ------
    OptionError
        The points lie in more than one zone (the message names the candidates), or beyond 84 N or 80 S.
    """
    if lat.max() > 84:
        raise OptionError(f"the area reaches {lat.max():g} N, beyond UTM (84 N); name a CRS: crs={_POLAR_NORTH}")
    if lat.min() < -80:
        raise OptionError(f"the area reaches {-lat.min():g} S, beyond UTM (80 S); name a CRS: crs={_POLAR_SOUTH}")
    # Points on the eastern and northern edge belong to the neighbours in the half-open zones: step inside first.
    inside_lon = lon - (lon - lon.mean()) * 1e-9
    inside_lat = lat - (lat - lat.mean()) * 1e-9
    zones = sorted({utm_zone(float(x), float(y)) for x, y in zip(inside_lon, inside_lat, strict=True)})
    hemisphere = 32600 if lat.mean() >= 0 else 32700
    if len(zones) > 1:
        names = " or ".join(f"crs=EPSG:{hemisphere + zone}" for zone in zones)
        listed = " and ".join(str(zone) for zone in zones)
        raise OptionError(
            f"the area lies in UTM zones {listed}; name the one to use: {names}; or map it as a region: --region"
        )
    return hemisphere + zones[0]


def _numbers(values: Sequence[float], name: str) -> tuple[float, float, float, float]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise OptionError(f"{name} {values!r} is not four numbers") from error
    if len(numbers) != 4 or not all(math.isfinite(value) for value in numbers):
        raise OptionError(f"{name} {tuple(values)} is not four finite numbers")
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _checked_bounds(bounds: Sequence[float]) -> Bounds:
    left, bottom, right, top = _numbers(bounds, "bounds")
    if left >= right or bottom >= top:
        raise OptionError(f"bounds {tuple(bounds)} are upside down or empty; the order is left, bottom, right, top")
    return Bounds(left, bottom, right, top)


def _outline(bbox: Sequence[float]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points on the edges of a longitude/latitude box; longitudes run on beyond 180 across the antimeridian."""
    west, south, east, north = _numbers(bbox, "bbox")
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise OptionError(
            f"bbox {tuple(bbox)} is out of range; the order is west, south, east, north in degrees "
            "(coordinates of a projection go into bounds= with crs=)"
        )
    if south >= north or west == east:
        raise OptionError(f"bbox {tuple(bbox)} is upside down or empty; the order is west, south, east, north")
    if west > east:
        east += 360
        if east - west > 180:
            raise OptionError(
                f"bbox {tuple(bbox)} has its west east of its east; the order is west, south, east, north "
                "(west > east only across the antimeridian)"
            )
    return footprints.ring(west, south, east, north, _EDGE_POINTS)


def _geometry_outline(geometry: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points on the outline of a geometry in longitude and latitude, parts beyond the antimeridian moved by 360."""
    import shapely
    import shapely.geometry

    try:
        shape: Any = geometry if isinstance(geometry, shapely.Geometry) else shapely.geometry.shape(plain(geometry))
    except Exception as error:
        raise OptionError(f"geometry of type {type(geometry).__name__} is not a GeoJSON geometry: {error}") from error
    if shape.is_empty or shape.area == 0:
        raise OptionError("geometry is empty or has no area; give a polygon in longitude and latitude")
    west, south, east, north = shape.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise OptionError(f"geometry with bounds {shape.bounds} is not in longitude and latitude")
    hull = shapely.segmentize(shape, max(east - west, north - south) / _EDGE_POINTS)
    lon, lat = shapely.get_coordinates(hull).T
    if east - west > 180:
        lon = np.where(lon < 0, lon + 360, lon)
    return lon, lat


def plain(geometry: Any) -> Any:
    """Return the GeoJSON geometry of a geometry, a feature or a collection of features."""
    mapping = getattr(geometry, "__geo_interface__", geometry)
    if mapping["type"] == "Feature":
        return mapping["geometry"]
    if mapping["type"] == "FeatureCollection":
        return {"type": "GeometryCollection", "geometries": [part["geometry"] for part in mapping["features"]]}
    return mapping


def projected(crs: Any) -> Any:
    """Return a CRS that a map can have.

    Raises
    ------
    OptionError
        pyproj does not know it, or it is no projection in metres.
    """
    import pyproj

    try:
        target = pyproj.CRS.from_user_input(crs)
    except pyproj.exceptions.CRSError as error:
        raise OptionError(f"crs {crs!r} is not one that pyproj knows: {str(error).splitlines()[0]}") from error
    units = {axis.unit_name for axis in target.axis_info}
    if not target.is_projected or units != {"metre"}:
        raise OptionError(f"crs {crs!r} is not a projection in metres; name a projected CRS such as EPSG:32633")
    return target


def _transform(lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64], target: Any) -> Bounds:
    import pyproj

    transformer = pyproj.Transformer.from_crs("EPSG:4326", target, always_xy=True)
    x, y = transformer.transform((lon + 180.0) % 360.0 - 180.0, lat)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise OptionError(f"the area cannot be projected to {target.name!r}; name another crs=")
    return Bounds(float(x.min()), float(y.min()), float(x.max()), float(y.max()))


def _snapped(edges: Bounds, target: Any, resolution: float, margin: int) -> AreaGrid:
    if edges.right - edges.left < resolution or edges.top - edges.bottom < resolution:
        size = f"{edges.right - edges.left:g} x {edges.top - edges.bottom:g} m"
        raise OptionError(f"the area is {size}, smaller than a pixel of {resolution:g} m; name a larger one")
    left, bottom = (math.floor(edge / resolution + _SNAP) for edge in edges[:2])
    right, top = (math.ceil(edge / resolution - _SNAP) for edge in edges[2:])
    area = Bounds(*(index * resolution for index in (left, bottom, right, top)))
    read = (left - margin, bottom - margin, right + margin, top + margin)
    grid = Grid(target.to_epsg(), target.to_wkt(), resolution, Bounds(*(index * resolution for index in read)))
    return AreaGrid(area, grid, margin)
