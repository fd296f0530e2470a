"""Read from a GeoTIFF what an index needs: grid, footprint, nodata, tags; never its pixels."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from icemapper_xr import lonlat
from icemapper_xr._types import Bounds, Shape
from icemapper_xr.errors import CatalogError

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

__all__ = ["Footprint", "Raster", "footprint", "open_raster"]

EDGE_POINTS: Final = 11
"""Points per edge of a footprint: straight in the projection is not straight in degrees."""


@dataclass(frozen=True)
class Footprint:
    """Outline in longitude/latitude."""

    geometry: dict[str, Any]
    """GeoJSON Polygon, or MultiPolygon across the antimeridian."""
    bbox: Bounds
    """Left > right across the antimeridian."""


@dataclass(frozen=True)
class Raster:
    """Header of a GeoTIFF."""

    path: Path
    epsg: int | None
    wkt: str | None
    """The CRS as WKT 2."""
    transform: tuple[float, float, float, float, float, float] | None
    shape: Shape
    bounds: Bounds | None
    """In its own CRS; None for a raster with control points."""
    nodata: float | None
    dtype: str
    tags: dict[str, str]
    bands: tuple[str, ...]
    """Descriptions of the bands, '' where there is none."""
    factors: tuple[tuple[float, float], ...]
    """Scale and offset of each band by GDAL's tags, (1, 0) where its numbers are the values."""
    geocoded: bool
    footprint: Footprint | None
    """None for a raster that does not say where it lies."""


def open_raster(path: Path) -> Raster:
    """Read the header of a GeoTIFF.

    Raises
    ------
    CatalogError
        It is no raster, it is cut short, or nobody knows where its CRS lies.
    """
    import rasterio
    from pyproj.exceptions import ProjError
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as dataset:
                _check_complete(dataset, path)
                return _describe(dataset, path)
    except RasterioError as error:
        raise CatalogError(f"{path} cannot be read as a raster ({error}): download it again or remove it") from error
    except ProjError as error:
        raise CatalogError(
            f"{path} has a CRS from which no longitude and latitude can be had ({error}): assign another "
            "(gdal_edit.py -a_srs) or remove it"
        ) from error


def _check_complete(dataset: Any, path: Path) -> None:
    """Fail if a block lies beyond the end of the file: the header of a broken download reads well."""
    from rasterio.enums import Interleaving

    size = path.stat().st_size
    rows, columns = dataset.block_shapes[0]
    blocks = itertools.product(
        range(math.ceil(dataset.height / rows)),
        range(math.ceil(dataset.width / columns)),
        # Interleaved by pixel all bands lie in the same blocks.
        dataset.indexes if dataset.interleaving == Interleaving.band else (1,),
    )
    for row, column, band in blocks:
        offset = dataset.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=band)
        length = dataset.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=band)
        if offset is not None and length is not None and int(offset) + int(length) > size:
            raise CatalogError(f"{path} is cut short ({size} bytes, its pixels go on): download it again or remove it")


def _describe(dataset: Any, path: Path) -> Raster:
    import pyproj

    gcps, gcp_crs = dataset.gcps
    geocoded = dataset.crs is not None and not dataset.transform.is_identity
    wkt = pyproj.CRS.from_user_input(dataset.crs.to_wkt()).to_wkt() if geocoded else None
    place = footprint(wkt, Bounds(*dataset.bounds)) if wkt else _gcp_footprint(gcps, gcp_crs) if gcps else None
    return Raster(
        path=path,
        epsg=dataset.crs.to_epsg() if geocoded else None,
        wkt=wkt,
        transform=tuple(float(value) for value in dataset.transform[:6]) if geocoded else None,  # type: ignore[arg-type]
        shape=Shape(dataset.height, dataset.width),
        bounds=Bounds(*dataset.bounds) if geocoded else None,
        nodata=dataset.nodata,
        dtype=dataset.dtypes[0],
        tags={key.upper(): value for key, value in dataset.tags().items()},
        bands=tuple(description or "" for description in dataset.descriptions),
        factors=tuple(zip(dataset.scales, dataset.offsets, strict=True)),
        geocoded=geocoded,
        footprint=place,
    )


def _gcp_footprint(gcps: list[Any], crs: Any) -> Footprint:
    import pyproj
    import shapely

    transformer = pyproj.Transformer.from_crs(crs.to_wkt() if crs else "EPSG:4326", "EPSG:4326", always_xy=True)
    longitudes, latitudes = transformer.transform([gcp.x for gcp in gcps], [gcp.y for gcp in gcps])
    hull = shapely.MultiPoint(list(zip(longitudes, latitudes, strict=True))).convex_hull.buffer(0.001)
    return _from_ring(shapely.get_coordinates(hull))


def footprint(crs: str, bounds: Bounds) -> Footprint:
    """Outline of a box of a projected or geographic CRS in longitude/latitude.

    Parameters
    ----------
    crs : str
        Anything pyproj takes.
    bounds : Bounds
        In units of the CRS.

    Returns
    -------
    Footprint
        A box over a pole becomes the cap down to its lowest latitude.
    """
    import pyproj

    transformer = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    x = np.linspace(bounds.left, bounds.right, EDGE_POINTS)
    y = np.linspace(bounds.bottom, bounds.top, EDGE_POINTS)
    ring_x = np.concatenate([x[:-1], np.full(EDGE_POINTS - 1, x[-1]), x[:0:-1], np.full(EDGE_POINTS, x[0])])
    ring_y = np.concatenate([np.full(EDGE_POINTS - 1, y[0]), y[:-1], np.full(EDGE_POINTS - 1, y[-1]), y[::-1]])
    longitude, latitude = transformer.transform(ring_x, ring_y)
    return _from_ring(np.column_stack([longitude, latitude]))


def _from_ring(ring: npt.NDArray[np.float64]) -> Footprint:
    """Unwrap a closed ring of longitudes and latitudes and cut it at the antimeridian."""
    import shapely
    import shapely.geometry

    longitude, latitude = lonlat.unwrapped(ring).T
    low, high = float(latitude.min()), float(latitude.max())
    if abs(longitude[-1] - longitude[0]) > 180:  # the ring runs around a pole
        box = Bounds(-180.0, low, 180.0, 90.0) if high > 0 else Bounds(-180.0, -90.0, 180.0, high)
        return Footprint(shapely.geometry.mapping(shapely.box(*box)), box)
    polygon = shapely.Polygon(np.column_stack([longitude, latitude]).round(7))
    left, _, right, _ = (round(value, 7) for value in polygon.bounds)
    if left >= -180 and right <= 180:
        shape: BaseGeometry = shapely.orient_polygons(polygon)
    else:
        shape = shapely.orient_polygons(lonlat.cut(polygon))
        left, right = (left + 180) % 360 - 180, (right + 180) % 360 - 180
    return Footprint(_jsonable(shapely.geometry.mapping(shape)), Bounds(left, round(low, 7), right, round(high, 7)))


def _jsonable(value: Any) -> Any:
    """Turn tuples into lists, so that what is written equals what is read."""
    if isinstance(value, dict):
        return {key: _jsonable(inner) for key, inner in value.items()}
    return [_jsonable(inner) for inner in value] if isinstance(value, tuple | list) else value
