"""Areas as a catalogue takes them, and as a catalogue implies them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icemapper_xr import conventions, lonlat
from icemapper_xr._types import Bounds, Observation
from icemapper_xr.cube.grid import AreaGrid, projected
from icemapper_xr.errors import OptionError

__all__ = ["extent", "is_south", "lonlat_box", "read_area"]


def lonlat_box(area: AreaGrid) -> Bounds:
    """Return the longitude/latitude box of all that is read for an area, its margin included.

    Parameters
    ----------
    area
        The area and its grid.

    Returns
    -------
    Bounds
        West, south, east, north in degrees; west > east if the box crosses the antimeridian.
    """
    import pyproj

    crs = pyproj.CRS.from_wkt(area.grid.wkt)
    box = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform_bounds(*area.grid.bounds)
    return Bounds(*map(float, box))


def is_south(area: AreaGrid) -> bool:
    """Whether the middle of an area lies south of the equator, where winter is in July."""
    box = lonlat_box(area)
    return box.bottom + box.top < 0


def extent(observations: Sequence[Observation], *, crs: Any = None) -> tuple[Bounds, Any]:
    """Return the bounds that the rasters of some observations cover together, and the CRS that they are in.

    Parameters
    ----------
    observations
        With their own CRS, transform and shape.
    crs
        CRS of the bounds, anything pyproj takes; None is the rasters' own, which must then be one and the same.

    Raises
    ------
    OptionError
        If the rasters do not say where they are, or lie in several CRSs and none is named.
    """
    import pyproj

    placed = [o for o in observations if o.epsg is not None and o.transform is not None and o.shape is not None]
    if not placed:
        raise OptionError(
            "the catalogue does not say where its rasters are, by an EPSG code, a transform and a shape; name the area "
            "by bbox, or by bounds and crs"
        )
    codes = sorted({int(o.epsg) for o in placed if o.epsg is not None})
    if crs is None and len(codes) > 1:
        names = ", ".join(f"EPSG:{code}" for code in codes)
        raise OptionError(f"the catalogue's rasters lie in {names}; name one with crs, or an area by bbox")
    target = pyproj.CRS.from_epsg(codes[0]) if crs is None else projected(crs)
    boxes = [_box(observation, target) for observation in placed]
    left, bottom, right, top = zip(*boxes, strict=True)
    return Bounds(min(left), min(bottom), max(right), max(top)), target.to_string()


def _box(observation: Observation, target: Any) -> Bounds:
    import pyproj

    assert observation.epsg is not None
    assert observation.transform is not None
    assert observation.shape is not None
    a, _, left, _, e, top = observation.transform
    box = Bounds(left, top + e * observation.shape.y, left + a * observation.shape.x, top)
    if target == pyproj.CRS.from_epsg(observation.epsg):
        return box
    transformer = pyproj.Transformer.from_crs(observation.epsg, target, always_xy=True)
    return Bounds(*transformer.transform_bounds(*box))


def read_area(path: str | Path) -> dict[str, Any]:
    """Read the union of a vector file's polygons as a GeoJSON geometry in longitude and latitude.

    Parameters
    ----------
    path
        GeoJSON, GPKG, Shapefile or GeoParquet.

    Raises
    ------
    OptionError
        If the file cannot be read, has no CRS, or no polygon.
    """
    import geopandas as gpd

    path = Path(path)
    try:
        frame = gpd.read_parquet(path) if path.suffix.lower() in conventions.PARQUET else gpd.read_file(path)
    except Exception as error:
        raise OptionError(f"the area {path} cannot be read as a vector file ({error}); give GeoJSON or GPKG") from error
    if not isinstance(frame, gpd.GeoDataFrame):
        raise OptionError(f"the area {path} is a table without shapes; give a file of polygons")
    if frame.crs is None:
        raise OptionError(f"the area {path} has no CRS; assign one, for example with ogr2ogr -a_srs EPSG:4326")
    shapes = frame.geometry.explode(ignore_index=True)  # the parts of collections, too
    polygons = shapes[shapes.geom_type.isin(["Polygon", "MultiPolygon"])]
    if polygons.empty:
        raise OptionError(f"the area {path} has no polygon; give a file with one")
    degrees = frame.crs.is_geographic
    shape = polygons.to_crs(4326).make_valid().union_all() if degrees else lonlat.projected(polygons)
    geometry: dict[str, Any] = shape.__geo_interface__
    return geometry
