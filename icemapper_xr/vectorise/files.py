"""Outlines in files: GeoParquet, GeoPackage, GeoJSON."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from icemapper_xr import addresses, conventions, errors, whole
from icemapper_xr.vectorise import antimeridian

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["SUFFIXES", "metadata", "read", "read_polygons", "suffix_of", "write"]

SUFFIXES = (".parquet", ".gpkg", ".geojson")
LAYER = "outlines"


def write(
    gdf: gpd.GeoDataFrame,
    path: str | os.PathLike[str],
    *,
    layer: str = LAYER,
    metadata: Mapping[str, str] | None = None,
    beside: Mapping[Path, gpd.GeoDataFrame] | None = None,
) -> Path:
    """Write outlines to a file that appears in one step; an older one is replaced.

    Parameters
    ----------
    gdf
        Outlines. GeoJSON gets them in EPSG:4326, as its standard demands; the others in their own CRS.
    path
        `.parquet` (GeoParquet with a covering bbox, so that readers can search it), `.gpkg` or `.geojson`.
    layer
        Name of the layer in a GeoPackage.
    metadata
        Said of the layer in a GeoPackage (`metadata` reads it); the other formats do not keep it.
    beside
        What belongs to them, by file: nothing is replaced before all could be written.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    VectorError
        If the suffix is none of the three, or the file cannot be written.
    """
    target = one = addresses.local_path(path)
    suffix_of(target)
    try:
        with contextlib.ExitStack() as together:
            for one, table in {target: gdf, **(beside or {})}.items():
                one.parent.mkdir(parents=True, exist_ok=True)
                part = together.enter_context(whole.appearing(one))
                _write(table, part, suffix_of(one), layer, dict(metadata or {}))
    except Exception as error:  # each driver has its own
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise errors.VectorError(f"Cannot write {one}: {reason}; make room for it or name another file") from error
    return target


def suffix_of(path: Path) -> str:
    """Return the suffix of a file of outlines that is to be written.

    Raises
    ------
    VectorError
        If it is none of the three.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return suffix
    hint = " (a shapefile cuts names and types: write .gpkg and convert)" if suffix == ".shp" else ""
    raise errors.VectorError(f"Unknown suffix {path.suffix!r} of {path}: use one of {', '.join(SUFFIXES)}{hint}")


def _write(gdf: gpd.GeoDataFrame, path: Path, suffix: str, layer: str, said: dict[str, str]) -> None:
    if suffix == ".parquet":
        gdf.to_parquet(path, index=False, write_covering_bbox=True)
    elif suffix == ".gpkg":
        whole.write_layer(gdf, path, driver="GPKG", layer=layer, layer_metadata=said or None)
    else:
        degrees = gdf.to_crs(4326)
        parts = antimeridian.cut(np.array(degrees.geometry.values, dtype=object))  # drawn on a plane they had no cut
        whole.write_layer(degrees.set_geometry(parts, crs=4326), path, driver="GeoJSON")


def read(path: str | os.PathLike[str], *, what: str = "outlines") -> gpd.GeoDataFrame:
    """Read outlines, or any other shapes, by the file's suffix.

    Parameters
    ----------
    path
        File that geopandas reads.
    what
        What the shapes are, for messages.

    Raises
    ------
    VectorError
        If the file is missing or cannot be read.
    """
    import geopandas as gpd

    source = addresses.local_path(path)
    if not source.is_file():
        raise errors.VectorError(f"There is no file {source}: name a file of {what}")
    try:
        frame = gpd.read_parquet(source) if source.suffix.lower() in conventions.PARQUET else gpd.read_file(source)
    except Exception as error:  # each driver has its own
        reason = " ".join(str(error).split())
        raise errors.VectorError(
            f"Cannot read {what} from {source}: {reason}; it may be damaged: make it anew, or name another file"
        ) from error
    if not isinstance(frame, gpd.GeoDataFrame):
        raise errors.VectorError(f"{source} is a table without shapes: name a file of {what}")
    return _usual(frame)


def metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return what `write` was told to say of the layer of a GeoPackage; nothing of other files.

    Raises
    ------
    VectorError
        If the file cannot be read.
    """
    import pyogrio

    if Path(path).suffix.lower() != ".gpkg":
        return {}
    try:
        return dict(pyogrio.read_info(path).get("layer_metadata") or {})
    except Exception as error:  # as in `read`
        raise errors.VectorError(
            f"Cannot read {path}: {error}; it may be damaged: make it anew, or name another file"
        ) from error


def _usual(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Call the geometry so, whatever it was called; a CRS that is no place on the Earth is none.

    A GeoPackage whose CRS was never told has an undefined plane.
    """
    name = frame.active_geometry_name
    if name is not None and name != "geometry":
        frame = frame.drop(columns="geometry", errors="ignore").rename_geometry("geometry")
    if name is not None and frame.crs is not None and not (frame.crs.is_geographic or frame.crs.is_projected):
        frame = frame.set_crs(None, allow_override=True)
    return frame


def read_polygons(path: str | os.PathLike[str], *, what: str = "outlines") -> tuple[gpd.GeoDataFrame, tuple[str, ...]]:
    """Read polygons of any CRS, mended where they are invalid.

    Parameters
    ----------
    path
        A file that `read` takes.
    what
        What the polygons are, for messages.

    Returns
    -------
    tuple
        The polygons, empty geometries left out, and notes on what was mended.

    Raises
    ------
    VectorError
        If the file cannot be read, has no CRS, or holds geometries that are no polygons.
    """
    import shapely

    frame = read(path)
    if frame.crs is None:
        raise errors.VectorError(f"{what} {path} has no CRS; write the one it is in into the file")
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)].copy()
    kinds = sorted(set(frame.geom_type) - {"Polygon", "MultiPolygon"})
    if kinds:
        raise errors.VectorError(f"{what} {path} holds {kinds[0]} geometries; polygons are wanted")
    bad = ~frame.geometry.is_valid.to_numpy()
    if bad.any():
        mended = shapely.make_valid(frame.geometry.to_numpy()[bad], method="structure", keep_collapsed=False)
        frame.loc[bad, frame.geometry.name] = mended
    note = (f"{int(bad.sum())} invalid geometries of {what} {Path(path).name} were mended",) if bad.any() else ()
    return frame, note
