"""Where a map is wanted: small recipes that are turned into pixels where they are needed."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions, cube
from icemapper_xr._types import Grid
from icemapper_xr.cube import extent
from icemapper_xr.errors import OptionError
from icemapper_xr.regions import shape as shapes
from icemapper_xr.regions import utm

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["Mask", "mask_of_file", "project_onto", "wanted"]

_SLACK_M = 5_550.0
"""Metres beyond the buffer within which polygons are brought to a zone, so that none is cut where it is grown."""
_SIMPLER = 0.05
"""Tolerance to which a mask is simplified before and after it is grown, as a share of the buffer: glacier outlines have
a vertex every 10 m. It is grown by as much more, so that nothing is lost; without a buffer it stays as it is."""


@dataclass(frozen=True)
class Mask:
    """Polygons in the CRS of a grid: what a worker needs to know which pixels are wanted. Travels in graphs."""

    wkb: bytes
    touched: bool = True
    """Whether a pixel is wanted if the polygons touch it; else only if they hold its centre."""

    @classmethod
    def of(cls, shape: BaseGeometry, *, touched: bool = True) -> Mask:
        """Make a mask of polygons in the CRS of the grids that it will be asked about."""
        import shapely

        return cls(shapely.to_wkb(shapely.normalize(shape)), touched)

    @property
    def digest(self) -> str:
        """Sha256 of the polygons, for the fingerprint of a store."""
        return hashlib.sha256(self.wkb + (b"" if self.touched else b"centres")).hexdigest()

    @property
    def shape(self) -> BaseGeometry:
        """The polygons."""
        return _shape(self.wkb)

    def on(self, grid: Grid) -> npt.NDArray[np.bool_]:
        """Return the pixels of a grid that are wanted, (y, x)."""
        import shapely
        from affine import Affine
        from rasterio.features import rasterize

        box = shapely.box(*grid.bounds)
        if not shapely.intersects(self.shape, box):
            return np.zeros(grid.shape, bool)
        if shapely.contains_properly(self.shape, box):
            return np.ones(grid.shape, bool)
        inside = shapely.intersection(self.shape, box)
        burnt = rasterize(
            [inside],
            grid.shape,
            transform=Affine(*grid.transform),
            all_touched=self.touched,
            fill=0,
            default_value=1,
            dtype="uint8",
        )
        return np.asarray(burnt, bool)

    def __dask_tokenize__(self) -> str:
        return self.digest


@functools.lru_cache(maxsize=16)
def _shape(wkb: bytes) -> BaseGeometry:
    import shapely

    shape: BaseGeometry = shapely.from_wkb(wkb)
    shapely.prepare(shape)
    return shape


def mask_of_file(path: str | Path) -> BaseGeometry:
    """Read the polygons outside of which there cannot be ice, in longitude and latitude.

    Raises
    ------
    OptionError
        The file cannot be read, has no CRS or no polygon.
    """
    if not Path(path).exists():
        raise OptionError(f"the mask {path} does not exist; give a file of land or glacier polygons")
    return shapes.geometry(extent.read_area(path))


def project_onto(mask: BaseGeometry, zone: Any, *, buffer_m: float) -> BaseGeometry:
    """Bring the part of a mask near a zone's own part of the area into the zone, and grow it.

    Parameters
    ----------
    mask
        Polygons in longitude and latitude.
    zone
        A `Zone`, or what else has its `owned` and `project`.
    buffer_m
        Metres to grow by; what comes out reaches so far at the least, and up to a fifth farther.
    """
    import shapely

    west, south, east, north = zone.owned.bounds
    reach, wide = utm.degrees_around(zone.owned.bounds, buffer_m + _SLACK_M)
    parts = shapely.get_parts(mask)
    edges = shapely.bounds(parts)
    pieces = []
    for turn in (-360.0, 0.0, 360.0):
        box = (west - wide - turn, max(south - reach, -90.0), east + wide - turn, min(north + reach, 90.0))
        near = (edges[:, 0] < box[2]) & (edges[:, 2] > box[0]) & (edges[:, 1] < box[3]) & (edges[:, 3] > box[1])
        if near.any():
            clipped = shapely.clip_by_rect(parts[near], *box)
            pieces.append(utm.turned(clipped, turn))
    if not pieces:
        return shapely.MultiPolygon()
    flat = zone.project(shapely.segmentize(np.concatenate(pieces), 0.05))
    simpler = _SIMPLER * buffer_m
    simple = shapely.make_valid(shapely.simplify(flat, simpler))  # one by one, as the union of all is large
    grown = shapely.buffer(simple, buffer_m + 2 * simpler, quad_segs=4)
    return shapely.simplify(shapely.union_all(grown), simpler)


def wanted(
    area: cube.AreaGrid,
    *,
    geometry: Any = None,
    mask: str | Path | None = None,
    mask_buffer: float = conventions.MASK_BUFFER,
) -> Mask | None:
    """Return what of an area is to be mapped: inside its polygon, and where the mask leaves a chance of ice.

    Parameters
    ----------
    area
        The area and its grid.
    geometry
        Polygon of the area in longitude and latitude; None where the whole of `area` is wanted.
    mask
        File of polygons outside of which there cannot be ice; None for none.
    mask_buffer
        Metres by which the mask is grown.

    Raises
    ------
    OptionError
        Nothing is left.
    """
    import shapely

    if geometry is None and mask is None:
        return None
    box = shapely.box(*area.area)
    flat = _Flat(area)
    left: BaseGeometry = box
    if geometry is not None:
        inside = flat.project(shapely.segmentize(shapes.geometry(geometry), utm.EDGE_DEGREES))
        left = shapely.intersection(left, shapely.make_valid(inside))
    if mask is not None:
        left = shapely.intersection(left, project_onto(mask_of_file(mask), flat, buffer_m=mask_buffer))
    if left.is_empty:
        raise OptionError("the mask leaves nothing of the area; check that both are where you think they are")
    return None if shapely.contains(left, box) else Mask.of(left, touched=False)


class _Flat:
    """An area as `project_onto` takes it: what it covers in degrees, and the way into its CRS."""

    def __init__(self, area: cube.AreaGrid) -> None:
        import pyproj
        import shapely

        self._forward: Any = pyproj.Transformer.from_crs("EPSG:4326", area.grid.wkt, always_xy=True)
        west, south, east, north = extent.lonlat_box(area)
        self.owned = shapely.box(west, south, east + 360 if west > east else east, north)

    def project(self, geometry: Any) -> Any:
        """Bring geometries into the CRS of the area."""
        import shapely

        return shapely.transform(geometry, self._forward.transform, interleaved=False)
