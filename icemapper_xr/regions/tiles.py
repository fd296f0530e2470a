"""Cut a region into pieces that have one CRS and can have one orbit: tiles of a zone's global lattice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from icemapper_xr import conventions
from icemapper_xr._types import Bounds
from icemapper_xr.errors import OptionError
from icemapper_xr.regions import mask as masks
from icemapper_xr.regions import utm
from icemapper_xr.regions.mask import Mask

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["OVERLAP_PIXELS", "Part", "parts"]

OVERLAP_PIXELS: Final = 4
"""Mapped past the border of a zone and of the area, so that the outlines cross it before they are cut."""


@dataclass(frozen=True)
class Part:
    """A piece of a region: mapped as one cube, into one store."""

    name: str
    """Zone and place of the tile on its lattice: 'utm33n_e005_n094'."""
    zone: utm.Zone
    bounds: Bounds
    """What is mapped, in the zone's CRS, on multiples of the resolution."""
    mask: Mask | None
    """Pixels wanted within the bounds; None for all of them."""

    @property
    def epsg(self) -> int:
        """EPSG code of the CRS."""
        return self.zone.epsg

    def lonlat(self) -> Bounds:
        """Return the longitude/latitude box of the bounds; west > east across the antimeridian."""
        import pyproj

        transformer = pyproj.Transformer.from_crs(self.epsg, 4326, always_xy=True)
        return Bounds(*map(float, transformer.transform_bounds(*self.bounds)))


def parts(
    area: BaseGeometry,
    *,
    resolution: float = conventions.PIXEL_SIZE,
    tile: int = conventions.TILE_CHUNKS,
    mask: BaseGeometry | None = None,
    mask_buffer: float = conventions.MASK_BUFFER,
) -> tuple[Part, ...]:
    """Cut an area into tiles, each in the UTM zone that owns it.

    Parameters
    ----------
    area
        Polygons in longitude and latitude (`resolve`).
    resolution
        Pixel size in metres.
    tile
        Side of a tile in chunks of 1152 pixels. What a zone owns is one part if it is no larger than a tile.
    mask
        Polygons in longitude and latitude outside of which there cannot be ice (`mask_of_file`).
    mask_buffer
        Metres by which the mask is grown.

    Returns
    -------
    tuple of Part
        In order of zone, from south to north and west to east. No pixel of a zone is in two parts; what the zones own
        adds up to the area. Tiles that the mask rules out are left out.

    Raises
    ------
    OptionError
        An option is out of range, or the mask leaves nothing.
    """
    if tile < 1:
        raise OptionError(f"tile={tile}: the side of a tile must be at least 1 chunk")
    if not mask_buffer >= 0:
        raise OptionError(f"mask_buffer={mask_buffer:g}: must be 0 m or more")
    found = tuple(
        part
        for zone in utm.zones(area)
        for part in _of_zone(zone, _wanted(zone, resolution, mask, mask_buffer), resolution, tile)
    )
    if not found:
        raise OptionError("the mask leaves nothing of the area; check that both are where you think they are")
    return found


def _wanted(zone: utm.Zone, resolution: float, mask: BaseGeometry | None, mask_buffer: float) -> BaseGeometry:
    """What of the zone is to be mapped, in its CRS: what it owns and some pixels more, where there may be ice."""
    import shapely

    own: BaseGeometry = shapely.buffer(zone.project(zone.owned), OVERLAP_PIXELS * resolution, join_style="mitre")
    if mask is None:
        return own
    there: BaseGeometry = shapely.intersection(own, masks.project_onto(mask, zone, buffer_m=mask_buffer))
    return there


def _of_zone(zone: utm.Zone, wanted: BaseGeometry, resolution: float, tile: int) -> Iterator[Part]:
    import shapely

    if wanted.is_empty:
        return
    side = tile * conventions.LATTICE * resolution
    left, bottom, right, top = wanted.bounds
    if right - left <= side and top - bottom <= side:
        yield _part(f"{zone.name}_all", zone, wanted, resolution, cell=None)
        return
    for row in range(math.floor(bottom / side), math.ceil(top / side)):
        strip = shapely.clip_by_rect(wanted, left - 1, row * side, right + 1, (row + 1) * side)
        for column in _columns(strip, side):
            cell = Bounds(column * side, row * side, (column + 1) * side, (row + 1) * side)
            inside = shapely.clip_by_rect(strip, *cell)
            if not inside.is_empty and inside.area > 0:
                yield _part(f"{zone.name}_e{column:03d}_n{row:03d}", zone, inside, resolution, cell=cell)


def _columns(strip: BaseGeometry, side: float) -> range:
    if strip.is_empty:
        return range(0)
    return range(math.floor(strip.bounds[0] / side), math.ceil(strip.bounds[2] / side))


def _part(name: str, zone: utm.Zone, wanted: Any, resolution: float, *, cell: Bounds | None) -> Part:
    import shapely

    wanted = wanted if wanted.is_valid else shapely.make_valid(wanted)
    left, bottom, right, top = wanted.bounds
    bounds = Bounds(
        math.floor(left / resolution) * resolution,
        math.floor(bottom / resolution) * resolution,
        math.ceil(right / resolution) * resolution,
        math.ceil(top / resolution) * resolution,
    )
    if cell is not None:  # its edges are multiples of the resolution: only floating point could step over them
        bounds = Bounds(
            max(bounds.left, cell.left),
            max(bounds.bottom, cell.bottom),
            min(bounds.right, cell.right),
            min(bounds.top, cell.top),
        )
    whole = shapely.contains(wanted, shapely.box(*bounds))
    return Part(name, zone, bounds, None if whole else Mask.of(wanted))
