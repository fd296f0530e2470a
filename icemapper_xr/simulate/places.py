"""A scene over real ground: a DEM and glacier outlines that the user gives, seen by the simulated radar."""

from __future__ import annotations

import dataclasses
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from icemapper_xr import addresses, errors
from icemapper_xr._types import FloatArray
from icemapper_xr.inventory import elevation, shapes
from icemapper_xr.simulate import glaciers, scenes, worlds
from icemapper_xr.simulate.settings import SceneSettings

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from rasterio.io import DatasetReader

__all__ = ["scene_of"]

HEIGHTS = (-500.0, 9_000.0)
"""Elevations outside these are a void, whatever nodata value the file declares, metres."""
LARGEST = 6_000
"""Rows or columns of the largest scene, for memory."""
SMALLEST = 32
"""Rows or columns of the smallest scene, as of any."""
MOST_MISSING = 0.95
"""Share of the area without elevation above which the scene is refused; up to it what is missing is sea."""
NOTEWORTHY = 0.005
"""Share without elevation that the user is told about."""


def scene_of(
    dem: str | os.PathLike[str],
    outlines: str | os.PathLike[str],
    *,
    bounds: tuple[float, float, float, float] | None = None,
    settings: SceneSettings | None = None,
) -> scenes.Scene:
    """Make a simulated scene over real terrain with real glacier outlines.

    The margins of the first year are those of the outlines, rounded at corners by about a pixel, which takes away what
    is one or two pixels wide; facies, land cover, weather and radar are drawn from the seed as in any scene. Outlines
    are taken at their word: where they have nunataks filled in, as those of the Norwegian Polar Institute for Svalbard,
    the scene has ice on the rock.

    Parameters
    ----------
    dem
        Raster of elevations in metres (or feet, where the band says so), in a projected CRS with metres that is true to
        scale there; what is missing is taken to be sea level.
    outlines
        File of glacier polygons in any CRS.
    bounds
        Left, bottom, right, top in the DEM's CRS; None takes the whole DEM.
    settings
        Seed, years, radar and so on; `shape`, `left`, `top`, `epsg` and `glacier_share` follow from the files.

    Returns
    -------
    Scene

    Raises
    ------
    icemapper_xr.errors.OptionError
        A file cannot be read, the DEM has no CRS in metres or one that stretches the area, the area lies outside of it
        or has no glacier, or the settings ask for a world without glaciers.

    Warns
    -----
    UserWarning
        More than half a per cent of the area has no elevation and becomes sea, or rows of the outlines are no glaciers.
    """
    asked = SceneSettings() if settings is None else settings
    if asked.world not in worlds.GLACIATED:
        known = " or ".join(worlds.GLACIATED)
        raise errors.OptionError(f"world is {asked.world!r}, which has no glaciers; with outlines choose {known}")
    placed, surface = _surface(addresses.local_path(dem), bounds, asked)
    ice = _ice(addresses.local_path(outlines), placed)
    scene = scenes.assemble(placed, glaciers.on_surface(placed, surface, ice), scenes.draw_site(placed))
    if not scene.truth(placed.years[0]).any():
        raise errors.OptionError(
            f"the outlines {outlines} are narrower than 3 pixels of {placed.resolution:g} m, and vanish on them; give "
            "a finer resolution or another area"
        )
    return scene


def _surface(
    path: Path, bounds: tuple[float, float, float, float] | None, asked: SceneSettings
) -> tuple[SceneSettings, FloatArray]:
    """Read the DEM onto the scene's grid; returns the settings with that grid, and metres above the sea."""
    import rasterio
    from affine import Affine
    from rasterio.warp import Resampling, reproject

    try:
        file = rasterio.open(path)
    except rasterio.errors.RasterioIOError as error:
        raise errors.OptionError(f"cannot read the DEM {path}: {error}; name a raster of elevations") from error
    with file:
        placed = _placed(file, path, bounds, asked)
        try:
            heights = file.read(1).astype(np.float32)
        except rasterio.errors.RasterioIOError as error:
            raise errors.OptionError(f"the DEM {path} is damaged or truncated ({error}); replace it") from error
        if file.nodata is not None:
            heights[heights == np.float32(file.nodata)] = np.nan
        heights = _in_metres(file, path, heights)
        heights[~((heights > HEIGHTS[0]) & (heights < HEIGHTS[1]))] = np.nan
        surface = np.full(placed.shape, np.nan, np.float32)
        reproject(
            heights,
            surface,
            src_transform=file.transform,
            src_crs=file.crs,
            src_nodata=np.nan,
            dst_transform=Affine(*placed.grid.transform),
            dst_crs=file.crs,
            dst_nodata=np.nan,
            resampling=Resampling.bilinear,
        )
    missing = float(np.isnan(surface).mean())
    if missing > MOST_MISSING:
        raise errors.OptionError(
            f"the DEM {path} has no elevation in {missing:.0%} of the area; name other bounds within "
            f"{tuple(round(edge) for edge in file.bounds)}"
        )
    if missing > NOTEWORTHY:
        warnings.warn(
            f"the DEM {path} has no elevation in {missing:.1%} of the area, which is taken for sea",
            UserWarning,
            stacklevel=3,
        )
    return placed, np.nan_to_num(surface, nan=0.0)


def _in_metres(file: DatasetReader, path: Path, heights: FloatArray) -> FloatArray:
    try:
        factor, offset = elevation.metres(file, f"the DEM {path}")
    except errors.VectorError as error:
        raise errors.OptionError(str(error)) from None
    return heights if (factor, offset) == (1.0, 0.0) else (heights * factor + offset).astype(np.float32)


def _placed(
    file: DatasetReader, path: Path, bounds: tuple[float, float, float, float] | None, asked: SceneSettings
) -> SceneSettings:
    """Lay the scene's grid over the area: edges on multiples of the resolution, inside the bounds."""
    epsg = file.crs.to_epsg() if file.crs is not None else None
    if epsg is None or not file.crs.is_projected or file.crs.linear_units not in ("metre", "meter", "m"):
        raise errors.OptionError(
            f"the DEM {path} has the CRS {file.crs}; a projected one with an EPSG code and metres is needed: "
            "reproject it, for example with `gdalwarp -t_srs EPSG:32633`"
        )
    px = asked.resolution
    left, bottom, right, top = file.bounds if bounds is None else bounds
    if not (np.isfinite([left, bottom, right, top]).all() and left < right and bottom < top):
        raise errors.OptionError(f"bounds is {bounds}; give left, bottom, right, top with left < right, bottom < top")
    extent = tuple(round(edge) for edge in file.bounds)
    of_dem = f"the DEM {path}, which reaches over {extent} of EPSG:{epsg}"
    if left >= file.bounds.right or right <= file.bounds.left or bottom >= file.bounds.top or top <= file.bounds.bottom:
        raise errors.OptionError(f"bounds is {bounds}, outside {of_dem}; give left, bottom, right, top within that")
    _require_scale(file, path, ((left + right) / 2, (bottom + top) / 2))
    left, top = np.ceil(left / px) * px, np.floor(top / px) * px
    shape = (int((top - bottom) // px), int((right - left) // px))
    if min(shape) < SMALLEST:
        area = f"the DEM {path} over {extent}" if bounds is None else f"bounds {bounds} of {of_dem},"
        raise errors.OptionError(
            f"{area} has {max(shape[0], 0)} x {max(shape[1], 0)} whole pixels of {px:g} m; give an area of at least "
            f"{SMALLEST} x {SMALLEST} ({SMALLEST * px:g} m a side), or a finer resolution"
        )
    if max(shape) > LARGEST:
        raise errors.OptionError(
            f"the area of {path} has {shape[0]} x {shape[1]} pixels of {px:g} m; give bounds of at most "
            f"{LARGEST} x {LARGEST}, or a coarser resolution"
        )
    return dataclasses.replace(asked, shape=shape, left=float(left), top=float(top), epsg=epsg)


def _require_scale(file: DatasetReader, path: Path, middle: tuple[float, float]) -> None:
    """Refuse a CRS in which a pixel is not as large as on the ground: areas and slopes would be false."""
    import pyproj

    crs = pyproj.CRS.from_user_input(file.crs.to_wkt())
    lonlat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(*middle)
    scale = elevation.stretch(pyproj.Proj(crs), lonlat)
    if not abs(scale - 1) <= elevation.TRUE_TO_SCALE:
        zone = elevation.utm(*lonlat).to_epsg() if np.isfinite(lonlat).all() else 32633
        raise errors.OptionError(
            f"the DEM {path} is in EPSG:{file.crs.to_epsg()}, where lengths in the area are {scale:.3g} times those on "
            f"the ground; reproject it, for example with `gdalwarp -t_srs EPSG:{zone}`"
        )


def _ice(path: Path, placed: SceneSettings) -> npt.NDArray[np.bool_]:
    """Draw the outlines on the scene's grid."""
    import geopandas
    import rasterio.features
    from affine import Affine

    try:
        table = geopandas.read_file(path)
    except Exception as error:  # pyogrio, fiona and GDAL each have their own
        raise errors.OptionError(f"cannot read the outlines {path}: {error}; name a file of polygons") from error
    if not isinstance(table, geopandas.GeoDataFrame):
        raise errors.OptionError(f"{path} is a table without shapes; name a file of polygons")
    if table.crs is None:
        raise errors.OptionError(f"the outlines {path} have no CRS; set one, for example with geopandas.set_crs")
    kinds = set(table.geom_type[~(table.geometry.isna() | table.geometry.is_empty)])
    if not kinds & {"Polygon", "MultiPolygon", "GeometryCollection"}:
        raise errors.OptionError(
            f"{path} has no polygons, only {', '.join(sorted(kinds)) or 'rows without a shape'}; name a file of the "
            "outlines of glaciers"
        )
    table = _glaciers_of_one_year(table, path).to_crs(placed.epsg)
    polygons = [shape for shape in table.geometry if shape is not None and not shape.is_empty]
    transform = Affine(*placed.grid.transform)
    ice = np.zeros(placed.shape, np.uint8)
    if polygons:
        rasterio.features.rasterize(polygons, out=ice, transform=transform, default_value=1)
    if not ice.any():
        bounds = tuple(round(edge) for edge in placed.grid.bounds)
        raise errors.OptionError(f"none of the outlines in {path} lies in the area {bounds} of EPSG:{placed.epsg}")
    return ice.astype(bool)


def _glaciers_of_one_year(table: GeoDataFrame, path: Path) -> GeoDataFrame:
    """Leave out the rock of GLIMS' files, and refuse outlines that have the same ice in several years."""
    glacier = shapes.glacier_rows(table)
    if not glacier.all():
        warnings.warn(
            f"{int((~glacier).sum())} rows of {path} are no glaciers (line_type) and are left out",
            UserWarning,
            stacklevel=4,
        )
    try:
        shapes.require_one_year(table[glacier], f"the outlines {path}")
    except errors.VectorError as error:
        raise errors.OptionError(str(error)) from None
    return table[glacier]
