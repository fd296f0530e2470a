"""One shape in longitude and latitude from whatever describes an area."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icemapper_xr import progress
from icemapper_xr.cube import extent, grid
from icemapper_xr.errors import OptionError
from icemapper_xr.regions import named

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["NORTH", "SOUTH", "geometry", "listed", "polygons", "resolve"]

NORTH = 84.0
"""Parallel at which UTM ends; there is no land north of 83.7 N."""
SOUTH = -80.0


def resolve(areas: Any) -> BaseGeometry:
    """Return the union of some areas.

    Parameters
    ----------
    areas
        One of, or a sequence of: code or name of an RGI region ('07', 'svalbard_jan_mayen'); path of a polygon file;
        west, south, east, north in degrees, as numbers or as text with commas (west > east across the antimeridian);
        a geometry in longitude and latitude (shapely, GeoJSON, anything with ``__geo_interface__``).

    Returns
    -------
    shapely geometry
        Polygons in longitude and latitude, -180 to 180, cut at the antimeridian and at 84 N, where UTM ends.

    Raises
    ------
    OptionError
        An area is not understood, out of range, without area, or reaches beyond 80 S.
    """
    import shapely

    shapes = [_one(area) for area in listed(areas)]
    if not shapes:
        raise OptionError("no area is named; give a region, a polygon file, a box or a geometry")
    whole = shapely.union_all(shapes)
    south, north = whole.bounds[1], whole.bounds[3]
    if south < SOUTH:
        raise OptionError(f"the area reaches {-south:g} S, beyond UTM (80 S); map it with bounds and crs=EPSG:3031")
    if north > NORTH:
        progress.note(f"the area reaches {north:g} N: it is cut at 84 N, where UTM ends (there is no land beyond)")
        whole = shapely.intersection(whole, shapely.box(-180, SOUTH, 180, NORTH))
    whole = polygons(whole)
    if whole.is_empty:
        raise OptionError("the area lies beyond 84 N or has no extent; map it with bounds and crs=EPSG:3413")
    return whole


def listed(areas: Any) -> Iterable[Any]:
    """Return areas as a list, whether one or several are named."""
    single = isinstance(areas, str | Path | Mapping) or hasattr(areas, "__geo_interface__") or _is_box(areas)
    return (areas,) if single else areas


def _is_box(area: Any) -> bool:
    return (
        isinstance(area, Sequence)
        and not isinstance(area, str)
        and len(area) == 4
        and all(isinstance(value, int | float) for value in area)
    )


def _one(area: Any) -> BaseGeometry:
    if isinstance(area, named.Named):
        return _boxes(area.boxes)
    if _is_box(area):
        return _boxes([area])
    if isinstance(area, str | Path):
        return _named(str(area))
    return geometry(area)


def _named(text: str) -> BaseGeometry:
    """A region's code or name, four numbers, or a path."""
    numbers = _numbers(text)
    if numbers is not None:
        return _boxes([numbers])
    if Path(text).exists():
        return geometry(extent.read_area(text))
    region = named.find(text)
    if region is not None:
        return _boxes(region.boxes)
    known = ", ".join(f"{one.code} {one.name}" for one in named.NAMED.values())
    raise OptionError(f"area {text!r} is no file, no box (west,south,east,north) and no region; regions: {known}")


def _numbers(text: str) -> list[float] | None:
    fields = text.replace(",", " ").split()
    try:
        values = [float(field) for field in fields]
    except ValueError:
        return None
    return values if len(values) == 4 else None


def _boxes(boxes: Iterable[Sequence[float]]) -> BaseGeometry:
    import shapely

    return shapely.union_all([half for box in boxes for half in _halves(box)])


def _halves(box: Sequence[float]) -> list[BaseGeometry]:
    """Check a box and cut it where it crosses the antimeridian."""
    import shapely

    west, south, east, north = (float(value) for value in box)
    shown = " ".join(f"{value:g}" for value in box)
    if not all(math.isfinite(value) for value in (west, south, east, north)):
        raise OptionError(f"the box {shown} is not four finite numbers")
    if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south <= 90 and -90 <= north <= 90):
        raise OptionError(f"the box {shown} is out of range; the order is west, south, east, north in degrees")
    if south >= north or west == east:
        raise OptionError(f"the box {shown} is upside down or empty; the order is west, south, east, north")
    if west < east:
        return [shapely.box(west, south, east, north)]
    if (wide := east - west + 360) > 180:
        raise OptionError(
            f"the box {shown} would cross the antimeridian and be {wide:g} degrees wide: the order is west, south, "
            "east, north; give two boxes if it is meant"
        )
    halves = [(west, 180.0), (-180.0, east)]
    return [shapely.box(left, south, right, north) for left, right in halves if left < right]


def geometry(area: Any) -> BaseGeometry:
    """Return the polygons of a geometry in longitude and latitude."""
    import shapely
    import shapely.geometry

    try:
        shape: Any = area if isinstance(area, shapely.Geometry) else shapely.geometry.shape(grid.plain(area))
    except Exception as error:  # shapely raises whatever it stumbles upon
        raise OptionError(f"geometry of type {type(area).__name__} is not a GeoJSON geometry: {error}") from error
    found = polygons(shape if shape.is_valid else shapely.make_valid(shape))
    if found.is_empty:
        raise OptionError("the geometry has no polygon with an area; give one in longitude and latitude")
    west, south, east, north = found.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise OptionError(
            f"the geometry spans {west:g} {south:g} {east:g} {north:g}, which is not longitude and latitude; "
            "transform it to EPSG:4326 and cut it at the antimeridian"
        )
    return found


def polygons(shape: BaseGeometry) -> BaseGeometry:
    """Only the polygons of a geometry: intersections leave lines and points behind."""
    import shapely

    if shape.geom_type in ("Polygon", "MultiPolygon"):
        return shape
    kept = [part for part in shapely.get_parts(shape) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(kept) if kept else shapely.MultiPolygon()
