"""Which orbit mapped what, and when: a layer of areas beside the outlines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from icemapper_xr import addresses, lonlat, regions, store, vectorise
from icemapper_xr import conventions as cv
from icemapper_xr.errors import StoreError
from icemapper_xr.pipeline import orbits, tiled

if TYPE_CHECKING:
    import geopandas as gpd
    from shapely.geometry.base import BaseGeometry

__all__ = ["ORBITS", "orbits_of_run"]

ORBITS: Final = "orbits.gpkg"
"""Beside the outlines of a map."""
LAYER: Final = "orbits"


def orbits_of_run(source: str | Path, out: str | Path | None = None) -> tuple[Path, gpd.GeoDataFrame]:
    """Write which orbit mapped what; `map` does this itself, and `outlines` when it draws a folder's outlines anew.

    Parameters
    ----------
    source
        Output folder of `map_glaciers` or `map_region`, or a zarr cube.
    out
        File to write (.gpkg, .parquet, .geojson); None is ``orbits.gpkg`` beside the cube.

    Returns
    -------
    tuple of Path and GeoDataFrame
        The file and its content: a row for each year that is finished in a store (a region has one a tile, which may
        have years that others lack), with its area (EPSG:4326; of a tile what its UTM zone owns of it, so that no place
        is in two of them), `year`, `tile` (the name of the store), `relative_orbit` (<NA> where nobody knows),
        `orbit_state`, `polarisation`, `platforms`, `first_date`, `last_date`, `scenes` and `steps_valid` (of 15). The
        area is that of the store: what a mask or a polygon leaves out of it was not mapped.

    Raises
    ------
    StoreError
        If there is no map, or it has no finished year.
    """
    import geopandas as gpd

    folder = addresses.local_path(source)
    rows = list(_of_region(folder) if tiled.is_region(folder) else _of_store(store.cube_of(source)))
    if not rows:
        raise StoreError(f"{source} has no finished year; run the same map again")
    rows.sort(key=lambda row: (row["year"], row["tile"]))
    flown = gpd.GeoDataFrame(rows, geometry="geometry", crs="EPSG:4326")
    flown = flown.astype({"relative_orbit": "Int16", "year": "int32", "scenes": "Int32", "steps_valid": "Int16"})
    target = store.folder_of(source) / ORBITS if out is None else addresses.local_path(out)
    vectorise.write(flown, target, layer=LAYER)
    return target, flown


def _of_region(folder: Path) -> Iterator[dict[str, Any]]:
    for zone, paths in tiled.zones_of(folder).items():
        for path in paths:
            yield from _of_store(path, zone)


def _of_store(path: str | Path, zone: regions.Zone | None = None) -> Iterator[dict[str, Any]]:
    """Tell one store, cut to what its zone owns."""
    finished = store.finished(path)
    if not finished:
        return
    facts = store.provenance(path)
    orbit, polarisation = orbits.known_series(facts["run"])
    area = _area(facts["run"], zone)
    if not area.area:  # only what was mapped past the border of the zone
        return
    for year in finished:
        one = facts["years"][year]
        attrs = one["attrs"]
        yield {
            "year": year,
            "tile": Path(str(path)).name.removesuffix(".zarr"),
            "relative_orbit": orbit,
            "orbit_state": facts["run"].get(cv.ATTR_ORBIT_STATE) or None,
            "polarisation": polarisation,
            "platforms": orbits.platforms_text(attrs),
            "first_date": attrs.get("first_date"),
            "last_date": attrs.get("last_date"),
            "scenes": len(one["identity"].get("items", ())) or None,
            "steps_valid": attrs.get("steps_valid"),
            "geometry": area,
        }


def _area(run: Mapping[str, Any], zone: regions.Zone | None) -> BaseGeometry:
    import geopandas as gpd
    import shapely

    area = lonlat.projected(gpd.GeoSeries([shapely.box(*run["area"])], crs=run["crs"]))
    return area if zone is None else shapely.intersection(area, zone.owned)
