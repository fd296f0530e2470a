"""A finished map of two round glaciers that retreat, with known areas, for the tests of what is made of maps."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
import xarray as xr

from icemapper_xr import conventions as cv
from icemapper_xr import store
from icemapper_xr.analysis import cells

EPSG = 32633
SIZE = 40.0
ROWS, COLUMNS = 320, 400
LEFT, TOP = 512_000.0, 8_704_000.0
CENTRES = {"A": (LEFT + 4000, TOP - 6000), "B": (LEFT + 11_500, TOP - 6500)}
RADII = {"A": 3000.0, "B": 2200.0}
RETREAT = {"A": 20.0, "B": 10.0}
YEARS = tuple(range(2016, 2025))
SCALE = float(cells.cell_areas([TOP, TOP - SIZE], [LEFT, LEFT + SIZE], EPSG).mean()) / SIZE**2
"""True area of a square metre of the grid."""


def radius(name: str, year: int) -> float:
    return RADII[name] - RETREAT[name] * (year - YEARS[0])


def true_area(name: str, year: int) -> float:
    return np.pi * radius(name, year) ** 2 / 1e6 * SCALE


def probability(year: int, *, blur: float = 60.0, noise: float = 0.0, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    """Probability by the distance to the margin; `shift` moves the margin outward, metres, `noise` is of the logit."""
    rng = np.random.default_rng([seed, year])
    x, y = LEFT + (np.arange(COLUMNS) + 0.5) * SIZE, TOP - (np.arange(ROWS) + 0.5) * SIZE
    inward = np.max(
        [radius(n, year) + shift - np.hypot(x - cx, y[:, None] - cy) for n, (cx, cy) in CENTRES.items()], axis=0
    )
    logit = inward / blur + noise * rng.normal(size=inward.shape)
    return (1 / (1 + np.exp(-logit))).astype(np.float32)


def write_map(folder: Path, years=YEARS, *, orbit=14, platforms=None, planes=None, attrs=None, **options) -> Path:
    """Write the store of a map; `planes` gives the probability by year instead of `probability`."""
    for k, year in enumerate(years):
        values = probability(year, **options) if planes is None else planes[year]
        platform = "S1A" if platforms is None else platforms[k]
        result = xr.Dataset(
            {cv.PROBABILITY: ((cv.Y, cv.X), values), cv.N_OBS: ((cv.Y, cv.X), np.full(values.shape, 15, np.uint8))},
            {cv.Y: TOP - (np.arange(ROWS) + 0.5) * SIZE, cv.X: LEFT + (np.arange(COLUMNS) + 0.5) * SIZE},
            {
                cv.ATTR_ORBIT: orbit,
                cv.ATTR_POLARISATION: "HH",
                cv.ATTR_WEIGHTS_DIGEST: "none",
                cv.ATTR_ITEMS: [f"item-{year}"],
                "platforms": json.dumps({"rtc": {platform: 15}}),
                **(attrs or {}),
            },
        ).rio.write_crs(EPSG)
        store.write(result, folder / "glaciers.zarr", year=year, chunk=160)
    return folder


def glaciers(*, years=(2016,), extra: float = 0.0) -> gpd.GeoDataFrame:
    """Outlines of both glaciers with ids, in degrees."""
    rows = [
        {"glacier_id": name, "year": year, "terminus": {"A": "marine", "B": "land"}[name], "name": f"Glacier {name}"}
        for year in years
        for name in CENTRES
    ]
    shapes = [
        shapely.Point(CENTRES[row["glacier_id"]]).buffer(radius(row["glacier_id"], row["year"]) + extra, 128)
        for row in rows
    ]
    return gpd.GeoDataFrame(rows, geometry=shapes, crs=EPSG).to_crs(4326)
