"""Where and when: checks what the user asks for and makes one form of it."""

from __future__ import annotations

import calendar
import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from icemapper_xr import lonlat
from icemapper_xr._types import Bounds
from icemapper_xr.catalog import observe
from icemapper_xr.catalog.facts import in_utc
from icemapper_xr.errors import CatalogError

if TYPE_CHECKING:
    import pystac
    from shapely.geometry.base import BaseGeometry

__all__ = ["Period", "boxes", "clean_geometry", "item_period", "item_shape", "period", "region"]

_PART: Final = re.compile(r"^(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?$")
_COMPACT: Final = re.compile(r"^(\d{4})(\d{2})(\d{2})$")


@dataclass(frozen=True)
class Period:
    """A closed interval of time in UTC; None on a side that is open."""

    start: dt.datetime | None
    end: dt.datetime | None

    def overlaps(self, other: Period) -> bool:
        """Whether the two intervals have an instant in common."""
        starts_late = self.end is not None and other.start is not None and other.start > self.end
        ends_early = self.start is not None and other.end is not None and other.end < self.start
        return not (starts_late or ends_early)

    @property
    def days(self) -> str:
        """Return the interval as people read it."""
        first, last = ("..." if side is None else side.date().isoformat() for side in (self.start, self.end))
        return first if first == last else f"{first} to {last}"

    def __str__(self) -> str:
        """Return the interval as STAC APIs take it."""
        return "/".join(
            ".." if side is None else side.strftime("%Y-%m-%dT%H:%M:%SZ") for side in (self.start, self.end)
        )


def boxes(bbox: Sequence[float]) -> tuple[Bounds, ...]:
    """Check a longitude/latitude box and split it where it crosses the antimeridian.

    Parameters
    ----------
    bbox : sequence of four floats
        (west, south, east, north) in degrees; west > east means that it crosses the antimeridian.

    Returns
    -------
    tuple of Bounds
        One box, or two that meet at 180 degrees.

    Raises
    ------
    CatalogError
        Not four numbers, out of range, without area, or upside down.

    Examples
    --------
    >>> boxes((170, 60, -170, 70))
    (Bounds(left=170.0, bottom=60.0, right=180.0, top=70.0), Bounds(left=-180.0, bottom=60.0, right=-170.0, top=70.0))
    """
    try:
        values = [float(value) for value in bbox]
    except (TypeError, ValueError):
        values = []
    if len(values) != 4 or not all(math.isfinite(value) for value in values):
        raise CatalogError(f"bbox must be four numbers, west south east north in degrees, but is {bbox!r}")
    box = Bounds(*values)
    shown = " ".join(f"{value:g}" for value in box)
    if not (-90 <= box.bottom <= 90 and -90 <= box.top <= 90):
        raise CatalogError(f"bbox {shown} has a latitude outside -90..90: give west south east north in degrees")
    if not (-180 <= box.left <= 180 and -180 <= box.right <= 180):
        raise CatalogError(f"bbox {shown} has a longitude outside -180..180: give west south east north in degrees")
    if box.bottom > box.top:
        raise CatalogError(
            f"bbox {shown} is upside down (south {box.bottom:g} > north {box.top:g}): swap the latitudes"
        )
    if box.bottom == box.top or box.left == box.right:
        raise CatalogError(f"bbox {shown} has no area: west and east, south and north must differ")
    if box.left < box.right:
        return (box,)
    halves = (Bounds(box.left, box.bottom, 180.0, box.top), Bounds(-180.0, box.bottom, box.right, box.top))
    return tuple(half for half in halves if half.left < half.right)


def clean_geometry(geometry: Any) -> BaseGeometry:
    """Return a shapely geometry in longitude/latitude from one, or from a GeoJSON mapping (Feature or geometry).

    Raises
    ------
    CatalogError
        It is no geometry, it is empty or invalid, or it is not in degrees.
    """
    import shapely
    import shapely.geometry
    from shapely.geometry.base import BaseGeometry

    if isinstance(geometry, Mapping):
        inner = geometry.get("geometry", geometry) if geometry.get("type") == "Feature" else geometry
        try:
            geometry = shapely.geometry.shape(dict(inner))
        except Exception as error:  # shapely raises whatever it stumbles upon
            raise CatalogError(f"geometry is not a GeoJSON geometry ({error}): give a Polygon in degrees") from error
    if not isinstance(geometry, BaseGeometry):
        raise CatalogError(f"geometry must be a shapely geometry or a GeoJSON mapping, not {type(geometry).__name__}")
    if geometry.is_empty:
        raise CatalogError("geometry is empty: give a polygon in longitude/latitude")
    if not geometry.is_valid:
        raise CatalogError(
            f"geometry is not valid ({shapely.is_valid_reason(geometry)}): repair it with shapely.make_valid"
        )
    left, bottom, right, top = geometry.bounds
    if left < -180 or right > 180 or bottom < -90 or top > 90:
        raise CatalogError(
            f"geometry spans {left:g} {bottom:g} {right:g} {top:g}, which is not longitude/latitude in degrees: "
            "transform it to EPSG:4326, and cut it at the antimeridian if it crosses it"
        )
    return geometry


def region(bbox: Sequence[float] | None, geometry: Any) -> BaseGeometry | None:
    """Return the area asked for in longitude/latitude; None for everywhere.

    Raises
    ------
    CatalogError
        Both are given, or one is wrong.
    """
    import shapely

    if bbox is not None and geometry is not None:
        raise CatalogError("bbox and geometry are both given: give one of them")
    if geometry is not None:
        return clean_geometry(geometry)
    if bbox is None:
        return None
    return shapely.MultiPolygon([shapely.box(*box) for box in boxes(bbox)])


def _moment(value: object, *, end: bool) -> dt.datetime | None:
    """One side of an interval; a year, month or day stands for its first or its last moment."""
    if value is None or value in ("", ".."):
        return None
    if isinstance(value, dt.datetime):
        return in_utc(value)
    text = value.isoformat() if isinstance(value, dt.date) else _COMPACT.sub(r"\1-\2-\3", str(value))
    match = _PART.match(text)
    if match is None:
        return in_utc(dt.datetime.fromisoformat(text))
    year = int(match[1])
    month = int(match[2] or (12 if end else 1))
    last = calendar.monthrange(year, month)[1]
    day = int(match[3] or (last if end else 1))
    clock = dt.time.max if end else dt.time()
    return dt.datetime.combine(dt.date(year, month, day), clock, dt.UTC)


def period(datetime: Any) -> Period:
    """Read a time span.

    Parameters
    ----------
    datetime : str, int, date, datetime, pair of those, or None
        'YYYY', 'YYYY-MM', 'YYYY-MM-DD', an ISO time, or 'start/end' with '..' for an open side; ends are inclusive.
        None is always.

    Returns
    -------
    Period

    Raises
    ------
    CatalogError
        It cannot be read, or ends before it starts.

    Examples
    --------
    >>> str(period("2023")), str(period("2023-06/.."))
    ('2023-01-01T00:00:00Z/2023-12-31T23:59:59Z', '2023-06-01T00:00:00Z/..')
    """
    if isinstance(datetime, str) and not datetime.strip():
        raise CatalogError("datetime is empty: give YYYY, YYYY-MM-DD or YYYY-MM-DD/YYYY-MM-DD, or leave it out")
    if isinstance(datetime, str):
        sides: Sequence[object] = datetime.split("/")
    elif isinstance(datetime, Sequence):
        sides = datetime
    else:
        sides = (datetime,)
    try:
        if len(sides) > 2:
            raise ValueError("more than two parts")
        span = Period(_moment(sides[0], end=False), _moment(sides[-1], end=True))
    except (ValueError, IndexError) as error:
        raise CatalogError(
            f"datetime {datetime!r} cannot be read ({error}): give YYYY, YYYY-MM-DD or YYYY-MM-DD/YYYY-MM-DD"
        ) from error
    if span.start is not None and span.end is not None and span.start > span.end:
        raise CatalogError(f"datetime {datetime!r} ends before it starts: swap the two dates")
    return span


def item_period(item: pystac.Item, *, source: str = "") -> Period:
    """Return the time that an item covers: its start and end if it has them, else its datetime.

    Raises
    ------
    CatalogError
        One of them cannot be read; the message names the item and `source`, where it came from.
    """
    try:
        start = observe.utc(item.properties.get("start_datetime")) or observe.utc(item.datetime)
        end = observe.utc(item.properties.get("end_datetime")) or observe.utc(item.datetime)
    except CatalogError as error:
        where = f" of {source}" if source else ""
        raise CatalogError(f"item {item.id}{where}: {error}; mend it or take the item out") from error
    return Period(start, end)


def item_shape(item: pystac.Item, *, source: str = "") -> BaseGeometry | None:
    """Return the footprint of an item: its geometry, else its box; None where it has neither.

    A geometry that runs across the antimeridian without being cut there is cut.

    Raises
    ------
    CatalogError
        One of the two cannot be read; the message names the item and `source`, where it came from.
    """
    import shapely
    import shapely.geometry

    try:
        box = observe.footprint_box(item)
        if item.geometry is None:
            return None if box is None else shapely.MultiPolygon([shapely.box(*part) for part in boxes(box)])
        shape = shapely.geometry.shape(item.geometry)
        crosses = box is not None and box.left > box.right
        return _cut(shape if shape.is_valid else shapely.make_valid(shape), crosses=crosses)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, shapely.errors.ShapelyError) as error:
        where = f" of {source}" if source else ""
        what = "bbox" if item.geometry is None else "geometry or bbox"
        raise CatalogError(
            f"item {item.id}{where} has a {what} that cannot be read ({error}): mend it or take the item out"
        ) from error


def _cut(shape: BaseGeometry, *, crosses: bool) -> BaseGeometry:
    """Cut a shape that runs beyond 180 degrees there; one that `crosses` may instead jump from 180 to -180 degrees."""
    import shapely

    west, _, east, _ = shape.bounds
    if crosses and east - west > 180:
        shape = shapely.transform(
            shape, lambda ring: np.column_stack([np.where(ring[:, 0] < 0, 360, 0) + ring[:, 0], ring[:, 1]])
        )
        west, _, east, _ = shape.bounds
    return shape if west >= -180 and east <= 180 else lonlat.cut(shape)
