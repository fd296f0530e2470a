"""Lists of 15 GeoTIFFs, one a step: what they must be, and the grid they are brought to."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from icemapper_xr import addresses, conventions, pixels
from icemapper_xr._types import FloatArray
from icemapper_xr.errors import CubeError, OptionError, UnitsError

__all__ = [
    "FILL",
    "PathLike",
    "Reference",
    "check_raster",
    "check_unscaled",
    "checked_reference",
    "damaged",
    "digest",
    "lists_of",
    "opened",
    "reference_of",
]

PathLike = str | os.PathLike[str]
_N = conventions.N_STEPS
_DIGITS = re.compile(r"(\d+)")
FILL = -999.0
"""Values this low are what some programs write for missing ones (-9999, -32768, -3.4e38), in no unit a measurement."""
_SAMPLES = 3
_SAMPLE_PIXELS = 64


class Reference(NamedTuple):
    """The grid of a raster."""

    path: str
    crs: Any
    transform: Any
    rows: int
    columns: int

    @property
    def profile(self) -> dict[str, Any]:
        """What rasterio needs to write a raster on this grid."""
        return {"crs": self.crs, "transform": self.transform, "height": self.rows, "width": self.columns}


def reference_of(path: PathLike, *, any_grid: bool = False) -> Reference:
    """Return the grid of a raster.

    Raises
    ------
    CubeError
        It cannot be read, has no CRS or, unless `any_grid`, is not a north-up grid of square pixels in metres.
    """
    with opened(path) as dataset:
        if not any_grid and not pixels.are_square(dataset.transform):
            raise CubeError(f"{path} is not a north-up grid of square pixels; warp it to one first")
        if not any_grid and not dataset.crs.is_projected:
            raise CubeError(
                f"{path} has pixels of {dataset.transform.a:g} degrees, and gives the cube its grid: name a raster in "
                "metres as reference"
            )
        return Reference(str(path), dataset.crs, dataset.transform, dataset.height, dataset.width)


def lists_of(**given: Iterable[PathLike] | None) -> dict[conventions.Feature, list[str]]:
    """Return the lists given, in the order of the channels, as paths; each must have 15 files.

    A list in the order of the alphabet that is not that of the numbers in its names (g10 before g2) is warned of.
    """
    lists: dict[conventions.Feature, list[str]] = {}
    for feature in conventions.FEATURES:
        named = given[feature]
        if isinstance(named, (str, os.PathLike)):
            raise OptionError(f"{feature} is one path, a list of {_N} files is wanted")
        paths = [] if named is None else list(named)
        if not paths:
            continue
        if len(paths) != _N:
            raise OptionError(f"{feature} has {len(paths)} files, {_N} are wanted, one a step in order of time")
        lists[feature] = [os.fspath(path) for path in paths]
        _warn_of_alphabet(lists[feature], feature)
    if not lists:
        raise OptionError(f"name {_N} files for some of {', '.join(conventions.FEATURES)}")
    return lists


def _warn_of_alphabet(paths: list[str], feature: str) -> None:
    """Warn of what a shell makes of g*.tif where numbers lack leading zeros."""
    names = [Path(path).name for path in paths]
    counted = sorted(names, key=lambda name: [int(part) if part.isdigit() else part for part in _DIGITS.split(name)])
    if names == sorted(names) != counted:
        early, late = next((a, b) for a, b in zip(names, counted, strict=True) if a != b)
        warnings.warn(
            f"{feature}: {early} comes before {late}, as in the alphabet, but the order must be that of time: name the "
            "files one by one, or give their numbers leading zeros",
            stacklevel=3,
        )


def checked_reference(
    lists: Mapping[conventions.Feature, list[str]], reference: PathLike | None, *, any_grid: bool = False
) -> Reference:
    """Return the grid of the reference: the raster named, else the first of the first list."""
    return reference_of(next(iter(lists.values()))[0] if reference is None else reference, any_grid=any_grid)


def opened(path: PathLike) -> Any:
    """Open a raster that has a CRS, or say which file is wrong and why."""
    import rasterio
    import rasterio.errors

    name = os.fspath(path)
    if not addresses.is_remote(name) and not addresses.local_path(name).is_file():
        raise CubeError(f"{name} does not exist; check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            dataset = rasterio.open(addresses.for_gdal(name), sharing=False)
    except (rasterio.errors.RasterioError, OSError) as error:
        reason = " ".join(str(error).split())
        raise CubeError(f"{name} is not a raster that can be read ({reason}); replace it") from error
    if dataset.crs is None:
        dataset.close()
        raise CubeError(f"{name} has no coordinate system; terrain-geocode it, or write its CRS into it")
    return dataset


def digest(paths: Iterable[str]) -> str:
    """Return a digest of files and their order, by which a store tells whether it goes on from the same ones.

    Size and time of change tell a file that was made anew. The folder does not count: files that were moved, or copied
    with their times (``cp -a``), are the same. What is not local tells neither without a request: its address counts.
    """
    return hashlib.sha256(json.dumps([_traits(path) for path in paths]).encode()).hexdigest()[:16]


def _traits(path: str) -> list[str | int]:
    if addresses.is_remote(path):
        return [path]
    local = addresses.local_path(path)
    facts = local.stat()
    return [local.name, facts.st_size, facts.st_mtime_ns]


def check_raster(path: str, feature: conventions.Feature, scale: str, *, outliers: bool = False) -> None:
    """Refuse a raster that is not of one band, or whose values are not what they are said to be.

    With `outliers`, as for the original program: coherence is judged by the middle of its values, single ones may be
    anything, and the tags that scale them do not count.
    """
    with opened(path) as dataset:
        if dataset.count != 1:
            raise CubeError(f"{path} has {dataset.count} bands, one is wanted; extract it first")
        if not outliers:
            check_unscaled(dataset, 1, path)
        values = _sample(dataset, path)
    if values.size == 0:
        return
    low, high = float(values.min()), float(values.max())
    where = f"{path} ({feature})"
    if feature == "insar":
        part = ""
        if outliers:
            low, high = (float(value) for value in np.quantile(values, (0.25, 0.75)))
            part = " (the middle half)"
        if low < -0.01 or high > 1.01:
            raise UnitsError(
                f"{where} has values {low:g} to {high:g}{part}, coherence lies between 0 and 1; check the list"
            )
    elif scale == "dB" and low >= 0 and 0 < high < 10:
        raise UnitsError(
            f"{where} has values {low:g} to {high:g}, which looks like linear power or coherence, not dB; "
            "check the list, or convert the files to dB (10 log10); in Python, open_rasters(scale='power') takes them"
        )
    elif scale != "dB" and low <= FILL:
        raise UnitsError(
            f"{where} has values {low:g} to {high:g}, no {scale} of any backscatter: declare what stands for missing "
            f"as nodata (`gdal_edit.py -a_nodata {low:g} FILE`)"
        )
    elif scale != "dB" and low < -1:
        raise UnitsError(f"{where} has values {low:g} to {high:g}, which looks like dB, not {scale}; set scale='dB'")


def check_unscaled(dataset: Any, band: int, where: str) -> None:
    """Refuse a band whose numbers are to be scaled by GDAL's tags: read as they are they would be another unit.

    Raises
    ------
    UnitsError
        Its scale is not 1, or its offset not 0.
    """
    scale, offset = dataset.scales[band - 1], dataset.offsets[band - 1]
    if (scale, offset) != (1, 0):
        raise UnitsError(
            f"{where} says that its values are to be multiplied by {scale:g} and {offset:g} added, which is not done "
            "here: write the values themselves with `gdal_translate -unscale -ot Float32 IN OUT`"
        )


def _sample(dataset: Any, path: str) -> FloatArray:
    """Read a few small windows: enough to tell dB from power, whatever the size of the raster."""
    import rasterio.errors
    from rasterio.windows import Window

    side = _SAMPLE_PIXELS
    rows = sorted({int(row) for row in np.linspace(0, max(dataset.height - side, 0), _SAMPLES)})
    columns = sorted({int(column) for column in np.linspace(0, max(dataset.width - side, 0), _SAMPLES)})
    parts = []
    try:
        for row in rows:
            for column in columns:
                window = Window(column, row, min(side, dataset.width - column), min(side, dataset.height - row))
                values = dataset.read(1, window=window, out_dtype="float32")
                observed = np.isfinite(values) & (dataset.read_masks(1, window=window) > 0)
                parts.append(values[observed])
    except rasterio.errors.RasterioError as error:
        raise damaged(path, error) from error
    return np.concatenate(parts)


def damaged(path: str, error: Exception) -> CubeError:
    """Return the error that says that the pixels of a file cannot be read."""
    return CubeError(f"{path} is damaged or truncated ({' '.join(str(error).split())}); replace it")
