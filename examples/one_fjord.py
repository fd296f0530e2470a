"""Map one fjord, step by step: what `icemapper demo` does, in Python.

Run it from anywhere: `python examples/one_fjord.py [FOLDER]`. It needs no network: the "satellite" is a simulator. For
real data, name another catalogue (`catalog="planetary-computer"`, features=("rtc",)) and leave the simulation out.
"""

import sys
from pathlib import Path

import icemapper_xr as ix
from icemapper_xr import simulate
from icemapper_xr.simulate.write import write_catalog


def main(folder: Path, *, size: int = 500, weights: str = "tweightedpool_rtcinsar_simulated") -> float:
    """Simulate, map and draw; returns the mapped glacier area in km2."""
    # A year of Sentinel-1 over a landscape whose glaciers are known: GeoTIFFs and a STAC catalogue in a folder.
    scene = simulate.scene(simulate.SceneSettings(seed=7, shape=(size, size), years=(2023,)))
    catalog = write_catalog(scene, folder / "rasters")

    # What is there? Search tells before anything is read.
    found = ix.search(catalog, features=("rtc", "insar"))
    print(found.table())

    # A lazy cube of 15 steps. The margin is what the weights' windows need around the area; not all of it is observed.
    model = ix.load_model(weights)
    left, bottom, right, top = scene.settings.grid.bounds
    edge = 128 * scene.settings.resolution
    ds = ix.open_cube(
        catalog=catalog,
        bounds=(left + edge, bottom + edge, right - edge, top - edge),
        crs="EPSG:32633",
        year=2023,
        features=("rtc", "insar"),
        margin=model.window,
    )
    print(ds.icemapper.coverage()[["feature", "date", "relative_orbit", "share"]].head())

    # Still lazy. Nothing is read or computed before the store is written.
    result = ds.icemapper.predict(weights=model)
    result.icemapper.to_zarr(folder / "glaciers.zarr", year=2023)

    # From the store to outlines: sub-pixel polygons with nunataks as holes, geodesic areas.
    outlines = ix.open_store(folder / "glaciers.zarr").sel(year=2023).icemapper.outlines(min_area_km2=0.01)
    outlines.to_file(folder / "outlines.gpkg")
    area = float(outlines["area_km2"].sum())
    print(f"{len(outlines)} outlines, {area:.2f} km2 of glacier")
    return area


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "one_fjord"))
