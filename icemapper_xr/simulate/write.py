"""Write a scene as the files that a real archive would hold: COGs by date and feature, a catalogue, and the truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions, errors, progress, whole
from icemapper_xr.conventions import Feature
from icemapper_xr.simulate import radar
from icemapper_xr.simulate.scenes import Scene, Step

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["TRUTH", "write_catalog"]

TRUTH = "truth"
"""Subfolder of the truth; `catalog.build` does not index it."""
BLOCK = 512
"""Tile of the COGs, pixels."""
WRITERS = 2
"""Threads that compress and write; GDAL releases the GIL."""


def write_catalog(
    scene: Scene,
    folder: str | os.PathLike[str],
    *,
    features: Sequence[Feature] | None = None,
    years: Sequence[int] | None = None,
) -> Path:
    """Write COGs of every date and feature, index them as a STAC catalogue, and put the truth beside them.

    Backscatter is linear power (gamma0 for rtc, sigma0 for grd), coherence 12-day pairs; float32, NaN where not
    observed. Names carry feature, platform, mode, polarisation, relative orbit and dates; GeoTIFF tags
    `ICEMAPPER_*` say the same and more. `truth/truth_<year>.tif` holds the class of each pixel (uint8; 7 to
    11 are glacier), `truth/truth.gpkg` the outlines of all
    years, `truth/dem.tif` the surface of the first year, metres. Every file appears whole or not at all.

    Parameters
    ----------
    scene
        What to write.
    folder
        Made if it is not there; files of the same names are replaced.
    features, years
        Which to write; None is those of the scene's settings.

    Returns
    -------
    Path
        The folder, which is a catalogue: `open_cube(catalog=folder, ...)`.

    Raises
    ------
    icemapper_xr.errors.OptionError
        A year is not of the scene, a feature is unknown, or the folder is a file.
    """
    from icemapper_xr import catalog

    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise errors.OptionError(f"{target} is a file; name a folder for the scene")
    wanted = conventions.listed(scene.settings.features if features is None else features)
    chosen = tuple(scene.settings.years if years is None else years)
    (target / TRUTH).mkdir(parents=True, exist_ok=True)
    total = len(chosen) * scene.settings.n_steps * len(wanted)
    with progress.bar("simulating", total) as advance, ThreadPoolExecutor(WRITERS) as pool:
        pending: list[Any] = []
        for year in chosen:
            for step in scene.observe(year, wanted):
                pending.append(pool.submit(_write_step, target, scene, year, step))
                if len(pending) > 2 * WRITERS:  # bounded memory: wait for the oldest
                    pending.pop(0).result()
                advance()
        for task in pending:
            task.result()
    _write_truth(target / TRUTH, scene, chosen)
    catalog.build(target)
    return target


def _write_step(folder: Path, scene: Scene, year: int, step: Step) -> None:
    name = scene.item_id(year, step.number, step.feature)
    _write_raster(folder / f"{name}.tif", step.values, scene, _tags(scene, year, step), nodata=float("nan"))


def _tags(scene: Scene, year: int, step: Step) -> dict[str, str]:
    """Facts of one file, as GeoTIFF tags."""
    settings = scene.settings
    tags = {
        "FEATURE": step.feature,
        "POLARISATION": settings.polarisation,
        "RELATIVE_ORBIT": str(settings.relative_orbit),
        "ORBIT_STATE": settings.orbit_state,
        "PLATFORM": settings.platform,
        "MODE": "IW",
        "SIMULATED": "yes",
        "SEED": str(settings.seed),
    }
    if step.feature == "insar":
        first, second = settings.pairs(year)[step.number]
        looks = radar.estimator_size(scene.site.window) ** 2
        tags |= {
            "QUANTITY": "coherence",
            "SCALE": "1",
            "PLATFORM": f"{settings.platform}/{settings.platform}",
            "ACQUIRED": (first + (second - first) / 2).isoformat(),
            "REFERENCE": first.isoformat(),
            "SECONDARY": second.isoformat(),
            "LOOKS": str(looks),
        }
    else:
        tags |= {
            "QUANTITY": "gamma0" if step.feature == "rtc" else "sigma0",
            "SCALE": "power",
            "ACQUIRED": settings.passes(year)[step.number].isoformat(),
            "LOOKS": f"{scene.looks(step.feature):.1f}",
        }
    return {f"ICEMAPPER_{key}": value for key, value in tags.items()}


def _write_raster(
    path: Path, values: npt.NDArray[Any], scene: Scene, tags: dict[str, str], *, nodata: float | None
) -> None:
    """Write one cloud-optimised GeoTIFF under a temporary name, then rename it."""
    import rasterio
    import rasterio.shutil
    from affine import Affine

    settings = scene.settings
    overviews = "AUTO" if min(values.shape) > BLOCK else "NONE"
    # speckle does not compress: the fastest level is as small as the best
    layout = {"compress": "ZSTD", "level": 1, "predictor": "YES", "blocksize": BLOCK, "overviews": overviews}
    with rasterio.MemoryFile() as memory, whole.appearing(path) as part:
        with memory.open(
            driver="GTiff",
            width=values.shape[1],
            height=values.shape[0],
            count=1,
            dtype=values.dtype.name,
            crs=f"EPSG:{settings.epsg}",
            transform=Affine(*settings.grid.transform),
            nodata=nodata,
        ) as raster:
            raster.write(values, 1)
            raster.update_tags(**tags)
        with memory.open() as raster:
            try:
                rasterio.shutil.copy(raster, str(part), driver="COG", num_threads="1", **layout)
            except Exception as error:  # GDAL's own have no common name in rasterio
                raise OSError(errors.one_line(error)) from error


def _write_truth(folder: Path, scene: Scene, years: Sequence[int]) -> None:
    """Write the DEM, and the class rasters and the outlines of all years."""
    import geopandas
    import pandas as pd

    frames: list[GeoDataFrame] = []
    tags = {"ICEMAPPER_SIMULATED": "yes", "UNITS": "m", "YEAR": str(scene.settings.years[0])}
    _write_raster(folder / "dem.tif", scene.dem, scene, tags, nodata=None)
    for year in years:
        legend = {f"CLASS_{code}": name for code, name in scene.legend.items()}
        tags = legend | {"ICEMAPPER_SIMULATED": "yes", "YEAR": str(year)}
        _write_raster(folder / f"truth_{year}.tif", scene.classes(year).astype(np.uint8), scene, tags, nodata=None)
        frames.append(scene.outlines(year))
    outlines = geopandas.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=frames[0].crs)
    with whole.appearing(folder / "truth.gpkg") as part:
        whole.write_layer(outlines, part, driver="GPKG", layer="glaciers")
