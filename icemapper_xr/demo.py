"""`icemapper demo`: simulate a scene in two years, map both, compare with the truth, draw the map."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from icemapper_xr import addresses, conventions, pipeline, plot, progress, simulate, store
from icemapper_xr._types import Bounds
from icemapper_xr.errors import OptionError, StoreError
from icemapper_xr.pipeline import geotiff
from icemapper_xr.simulate import write

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["DemoReport", "DemoYear", "run"]

YEARS = (2016, 2024)
WEIGHTS = "tweightedpool_rtcinsar_simulated"
MARGIN = 128
"""Pixels simulated around the mapped area.

Windows at its edge reach up to 256 px further and see mirror images there, as at the edge of every archive; simulating
those, too, would take twice as long."""
GLACIER_SHARE = 0.5
"""Share of the scene that is ice in the first year: that of Svalbard."""
RESOLUTION = conventions.PIXEL_SIZE
MARKER = "icemapper-demo.txt"
"""Tells a folder that the demo made, and may replace, from one that is somebody's."""
SMALLEST = 200
LARGEST = 4000


@dataclass(frozen=True)
class DemoYear:
    """One year of the demo against its truth."""

    year: int
    area_km2: float
    """Glacier area of the outlines, geodesic."""
    true_km2: float
    """Glacier area of the simulated truth, geodesic."""
    iou: float
    """Intersection over union of the mapped and the true glacier pixels."""
    glaciers: int


@dataclass(frozen=True)
class DemoReport:
    """What the demo found."""

    out: Path
    years: tuple[DemoYear, ...]
    store: Path | str
    outlines: Path
    picture: Path

    @property
    def change(self) -> float:
        """Mapped change of area from the first to the last year, km2."""
        return self.years[-1].area_km2 - self.years[0].area_km2

    @property
    def true_change(self) -> float:
        """True change of area, km2."""
        return self.years[-1].true_km2 - self.years[0].true_km2

    @property
    def lowest_iou(self) -> float:
        """Lowest intersection over union of the years."""
        return min(year.iou for year in self.years)

    def table(self) -> str:
        """Text with a line a year; the last line is the lowest IoU."""
        lines = ["year   area km2   true km2   outlines    IoU"]
        lines += [
            f"{y.year}   {y.area_km2:8.2f}   {y.true_km2:8.2f}   {y.glaciers:8d}   {y.iou:.3f}" for y in self.years
        ]
        lines += [
            f"change {self.years[0].year}-{self.years[-1].year}: {self.change:+.2f} km2 (true {self.true_change:+.2f})",
            f"cube      {self.store}",
            f"outlines  {self.outlines}",
            f"elevation {self.out / 'dem.tif'}",
            f"picture   {self.picture}",
            f"lowest IoU: {self.lowest_iou:.2f}",
        ]
        return "\n".join(lines)


def run(
    *,
    out: str | Path = "demo",
    seed: int = 20_261,
    size: int = 1000,
    weights: str | Path = WEIGHTS,
    keep_rasters: bool = False,
) -> DemoReport:
    """Simulate, search, map, vectorise, compare and draw.

    Parameters
    ----------
    out
        Folder to write; one that an earlier demo made is replaced.
    seed
        Seed of the scene; the training never saw the default.
    size
        Rows and columns of the mapped area, pixels of 10 m, 200 to 4000.
    weights
        Name or path of weights for ``("rtc", "insar")``.
    keep_rasters
        Whether to keep the simulated radar rasters (some hundred MB).

    Returns
    -------
    DemoReport

    Raises
    ------
    OptionError
        If the size or the seed is out of range.
    StoreError
        If the folder holds something else.
    """
    if not SMALLEST <= size <= LARGEST:
        raise OptionError(f"size is {size} px, but must lie between {SMALLEST} and {LARGEST}")
    if seed < 0:
        raise OptionError(f"seed is {seed}, but must be 0 or more")
    folder = _fresh(addresses.local_path(out))
    progress.note("simulating two years of a Sentinel-1 scene")
    side = size + 2 * MARGIN
    settings = simulate.SceneSettings(
        seed=seed, shape=(side, side), years=YEARS, features=("rtc", "insar"), glacier_share=GLACIER_SHARE
    )
    scene = simulate.scene(settings)
    catalog = write.write_catalog(scene, folder / "rasters")
    _write_elevation(scene, folder / "dem.tif")
    report = pipeline.map_glaciers(
        catalog=catalog,
        weights=weights,
        out=folder / "map",
        bounds=_inner(settings.grid.bounds),
        crs=f"EPSG:{settings.epsg}",
        years=YEARS,
    )
    mapped = store.open_store(report.store)
    drawn = _read(report.outlines)
    years = tuple(_compare(mapped, drawn, scene, year) for year in YEARS)
    picture = _draw(mapped, drawn, scene, folder / "map.png")
    if not keep_rasters:
        shutil.rmtree(catalog)
    return DemoReport(folder, years, report.store, report.outlines, picture)


def _fresh(folder: Path) -> Path:
    """Make the folder, replacing only what an earlier demo wrote."""
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; name another folder with --out")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise StoreError(f"{folder} holds files that the demo did not write; name another folder with --out")
        for path in folder.iterdir():  # not the folder itself: it may be the one that the user works in, or a link
            if path.name != MARKER:  # without which what a kill leaves would be none of ours
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("Made by `icemapper demo`, which replaces this folder when it runs again.\n")
    return folder


def _write_elevation(scene: simulate.Scene, path: Path) -> None:
    """Write the scene's elevation, which divides and inventories take."""
    from rasterio.transform import from_origin

    bounds = scene.settings.grid.bounds
    geotiff.write(
        path,
        {"elevation": np.asarray(scene.dem, dtype=np.float32)},
        crs=f"EPSG:{scene.settings.epsg}",
        transform=from_origin(bounds.left, bounds.top, RESOLUTION, RESOLUTION),
    )


def _inner(bounds: Bounds) -> tuple[float, float, float, float]:
    edge = MARGIN * RESOLUTION
    return (bounds.left + edge, bounds.bottom + edge, bounds.right - edge, bounds.top - edge)


def _read(path: Path) -> gpd.GeoDataFrame:
    import geopandas as gpd

    return gpd.read_file(path)


def _truth(scene: simulate.Scene, year: int, like: xr.DataArray) -> xr.DataArray:
    """Return the true mask on the mapped area's pixels."""
    y, x = scene.settings.grid.coords()
    mask = xr.DataArray(scene.truth(year), dims=(conventions.Y, conventions.X), coords={"y": y, "x": x})
    return mask.sel(y=like.y, x=like.x, method="nearest", tolerance=RESOLUTION / 100)


def _compare(mapped: xr.Dataset, drawn: gpd.GeoDataFrame, scene: simulate.Scene, year: int) -> DemoYear:
    probability = mapped[conventions.PROBABILITY].sel(year=year).load()
    truth = _truth(scene, year, probability).values
    found = probability.values >= conventions.THRESHOLD
    shapes = drawn[drawn[conventions.YEAR] == year]
    union = np.count_nonzero(found | truth)
    return DemoYear(
        year=year,
        area_km2=float(shapes["area_km2"].sum()),
        true_km2=_area_km2(truth, probability, scene.settings.epsg),
        iou=np.count_nonzero(found & truth) / union if union else 1.0,
        glaciers=len(shapes),
    )


def _area_km2(truth: np.ndarray, like: xr.DataArray, epsg: int) -> float:
    """Area of the true pixels: their number times the geodesic area of the mean pixel of the scene."""
    import pyproj
    import shapely

    half = RESOLUTION / 2
    x, y = like.x.values, like.y.values
    box = shapely.box(x.min() - half, y.min() - half, x.max() + half, y.max() + half)
    densified = shapely.segmentize(box, 1000)
    to_degrees = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)
    ring = to_degrees.transform(*shapely.get_coordinates(densified).T)
    area = abs(pyproj.Geod(ellps="WGS84").polygon_area_perimeter(*ring)[0])
    return float(truth.sum() / truth.size * area / 1e6)


def _draw(mapped: xr.Dataset, drawn: gpd.GeoDataFrame, scene: simulate.Scene, path: Path) -> Path:
    """Draw the last year: late-summer backscatter, probability, outlines against the truth."""
    year = YEARS[-1]
    probability = mapped[conventions.PROBABILITY].sel(year=year).load()
    late_summer = scene.cube(year, features=("rtc",))["rtc"].isel(time=10)
    backscatter = late_summer.sel(y=probability.y, x=probability.x, method="nearest")
    figure = plot.map_figure(
        backscatter,
        probability,
        drawn[drawn[conventions.YEAR] == year],
        truth=scene.outlines(year),
        title=f"Simulated scene {scene.settings.seed}, {year}",
        credit=plot.CREDIT_SIMULATED,
    )
    return plot.save(figure, path)
