"""Which UTM zone owns which part of the Earth, and of an area."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from icemapper_xr.cube import grid
from icemapper_xr.errors import OptionError
from icemapper_xr.regions import shape as shapes

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["EDGE_DEGREES", "PARALLELS", "STEP", "Zone", "cells", "degrees_around", "turned", "zones"]

_BANDS: Final = ((-80.0, 0.0), (0.0, 56.0), (56.0, 64.0), (64.0, 72.0), (72.0, 84.0))
"""Latitudes between which the zones' borders are meridians."""
PARALLELS: Final = tuple(sorted({edge for band in _BANDS for edge in band}))
STEP: Final = 3.0
"""All borders, those of the exceptions too, lie on multiples of 3 degrees."""
_SHORTEST_DEGREE_M: Final = 110_574.0
"""A degree of a meridian at the equator (WGS84), the shortest there is: what is to reach far enough is told by it."""
EDGE_DEGREES: Final = 0.01
"""Length into which edges are divided before they are projected: a parallel at 80 N is then off by a millimetre."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Zone:
    """The part of an area that one UTM zone owns."""

    number: int
    north: bool
    owned: Any
    """Polygons in longitude and latitude, -180 to 180; edges of 0.01 degrees at most."""

    @property
    def epsg(self) -> int:
        """EPSG code of the zone."""
        return (32600 if self.north else 32700) + self.number

    @property
    def name(self) -> str:
        """Return a short name, for files."""
        return f"utm{self.number:02d}{'n' if self.north else 's'}"

    @property
    def cell(self) -> BaseGeometry:
        """What the zone owns of the whole Earth."""
        return cells()[self.number, self.north]

    @property
    def meridian(self) -> float:
        """Central meridian, degrees."""
        return self.number * 6.0 - 183.0

    def project(self, geometry: Any) -> Any:
        """Bring geometries (or an array of them) from longitude and latitude to metres in the zone."""
        import shapely

        return shapely.transform(geometry, _transformer(self.epsg, True).transform, interleaved=False)

    def to_degrees(self, geometry: Any) -> Any:
        """Bring geometries to longitude and latitude; longitudes run on across the antimeridian."""
        import shapely

        def there(xy: Array) -> Array:
            lon, lat = _transformer(self.epsg, False).transform(xy[:, 0], xy[:, 1])
            return np.column_stack([(lon - self.meridian + 180.0) % 360.0 - 180.0 + self.meridian, lat])

        return shapely.transform(geometry, there)


def degrees_around(bounds: Sequence[float], metres: float) -> tuple[float, float]:
    """Return the degrees of latitude and of longitude that reach as far around a box, at least.

    Parameters
    ----------
    bounds
        West, south, east, north, degrees.
    metres
        How far.

    Examples
    --------
    >>> degrees_around((0.0, -60.0, 3.0, 0.0), 110_574.0)[0]
    1.0
    >>> [round(degrees_around(box, 110_574.0)[1], 1) for box in ((0, -60, 3, 0), (0, 0, 3, 60))]
    [2.1, 2.1]
    """
    _, south, _, north = bounds
    reach = metres / _SHORTEST_DEGREE_M
    # The side nearer to a pole, where a degree of longitude is shortest, but not its zero at the pole itself.
    steepest = min(max(abs(south), abs(north)) + reach, 89.0)
    return reach, reach / max(math.cos(math.radians(steepest)), 0.02)


def turned(geometry: Any, degrees: float) -> Any:
    """Return geometries with all longitudes moved by a number of degrees."""
    import shapely

    return shapely.transform(geometry, lambda xy: xy + np.array([degrees, 0.0]))


@functools.cache
def _transformer(epsg: int, forward: bool) -> Any:
    import pyproj

    ends = ("EPSG:4326", f"EPSG:{epsg}") if forward else (f"EPSG:{epsg}", "EPSG:4326")
    return pyproj.Transformer.from_crs(*ends, always_xy=True)


@functools.cache
def cells() -> dict[tuple[int, bool], BaseGeometry]:
    """Return what each zone (number, north) owns of the Earth between 80 S and 84 N: no gap, no overlap."""
    import shapely

    found: dict[tuple[int, bool], list[Any]] = {}
    for south, north in _BANDS:
        for west in np.arange(-180.0, 180.0, STEP):
            number = grid.utm_zone(west + STEP / 2, (south + north) / 2)
            found.setdefault((number, north > 0), []).append(shapely.box(west, south, west + STEP, north))
    return {key: shapely.union_all(boxes) for key, boxes in sorted(found.items())}


def zones(area: BaseGeometry) -> tuple[Zone, ...]:
    """Cut an area by UTM zone.

    Parameters
    ----------
    area
        Polygons in longitude and latitude (`resolve`).

    Returns
    -------
    tuple of Zone
        In order of their numbers; what they own adds up to the area.

    Raises
    ------
    OptionError
        The area has no part between 80 S and 84 N.
    """
    import shapely

    shapely.prepare(area)
    found = []
    for (number, north), cell in cells().items():
        if not shapely.intersects(area, cell):
            continue
        owned = shapes.polygons(shapely.intersection(area, cell))
        if not owned.is_empty:
            found.append(Zone(number, north, shapely.segmentize(owned, EDGE_DEGREES)))
    if not found:
        raise OptionError("the area has no part between 80 S and 84 N, where UTM is defined")
    return tuple(found)
