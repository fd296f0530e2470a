"""Value types and Protocols that travel between the stages. Imports only `conventions`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from icemapper_xr.conventions import Feature

__all__ = [
    "Bounds",
    "FloatArray",
    "Grid",
    "Observation",
    "Quantity",
    "Scale",
    "Segmenter",
    "Shape",
    "Signer",
    "days_apart",
    "is_whole",
]

FloatArray = npt.NDArray[np.float32]
Signer = Callable[[str], str]
"""Turns an href into one that can be read now; called at read time, never stored."""

Quantity = Literal["gamma0", "sigma0", "beta0", "coherence", "digital_number", "unknown"]
Scale = Literal["power", "amplitude", "dB", "1", "unknown"]


def days_apart(one: dt.datetime, other: dt.datetime) -> int:
    """Return the days between the two dates of a pair: not of the calendar, as a pass at midnight jitters over it."""
    days = abs((other - one) / dt.timedelta(days=1))
    if abs(days - round(days)) < 0.01:
        return round(days)
    return abs((other.date() - one.date()).days)  # the time of day of one of them is unknown


def is_whole(value: object) -> bool:
    """Tell whether a value is a whole number; text of digits is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


class Bounds(NamedTuple):
    """Edges of a box, in the units of its CRS."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def empty(self) -> bool:
        """Whether nothing lies between the edges."""
        return self.right <= self.left or self.top <= self.bottom


class Shape(NamedTuple):
    """Rows and columns."""

    y: int
    x: int


@dataclass(frozen=True)
class Grid:
    """A north-up pixel grid whose edges lie on multiples of the resolution."""

    epsg: int | None
    """EPSG code; None where the CRS has none (then `wkt` tells)."""
    wkt: str
    """The CRS as WKT 2."""
    resolution: float
    """Pixel size in metres, the same in x and y."""
    bounds: Bounds
    """Outer edges."""

    @property
    def crs(self) -> str:
        """The CRS as rasterio and pyproj take it: its EPSG code, or the WKT of one that has none."""
        return self.wkt if self.epsg is None else f"EPSG:{self.epsg}"

    @property
    def shape(self) -> Shape:
        """Rows and columns."""
        return Shape(
            round((self.bounds.top - self.bounds.bottom) / self.resolution),
            round((self.bounds.right - self.bounds.left) / self.resolution),
        )

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Affine coefficients (a, b, c, d, e, f) from pixel corner to CRS."""
        return (self.resolution, 0.0, self.bounds.left, 0.0, -self.resolution, self.bounds.top)

    @property
    def index(self) -> tuple[int, int]:
        """(row, column) of the upper left pixel, counted from the CRS's origin, rows downward."""
        return (round(-self.bounds.top / self.resolution), round(self.bounds.left / self.resolution))

    def coords(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Pixel centres (y descending, x ascending)."""
        rows, columns = self.shape
        half = self.resolution / 2
        y = self.bounds.top - half - np.arange(rows, dtype=np.float64) * self.resolution
        x = self.bounds.left + half + np.arange(columns, dtype=np.float64) * self.resolution
        return y, x


@dataclass(frozen=True)
class Observation:
    """One raster of one feature, polarisation and acquisition (or pair), described well enough to be read.

    `catalog` makes these from STAC items and file names; `cube` chooses among them and reads. What is not known is
    None or "unknown", never guessed.
    """

    item_id: str
    feature: Feature
    href: str
    """Address or path of the raster (single band unless `band` says otherwise), unsigned where a preset signs it."""
    acquired: dt.datetime
    """UTC, timezone-aware; for coherence the middle of the pair."""
    polarisation: str | None = None
    """'VV', 'HH', 'VH' or 'HV'."""
    relative_orbit: int | None = None
    orbit_state: str | None = None
    """'ascending' or 'descending'."""
    absolute_orbit: int | None = None
    platform: str | None = None
    """'S1A' ... 'S1D'; 'S1A/S1B' for a pair."""
    mode: str | None = None
    """'IW', 'EW', 'SM' or 'WV'."""
    quantity: Quantity = "unknown"
    scale: Scale = "unknown"
    nodata: float | None = None
    """Value that stands for 'no data' where the file itself does not say so."""
    reference: dt.datetime | None = None
    """First date of a coherence pair."""
    secondary: dt.datetime | None = None
    """Second date of a coherence pair."""
    looks: float | None = None
    filtered: bool | None = None
    """Whether a speckle filter was applied."""
    burst: str | None = None
    """Burst of the swath, the same in every processing of it."""
    processed: dt.datetime | None = None
    """When the raster was made, UTC."""
    bbox: Bounds | None = None
    """Longitude/latitude box of the footprint (left > right across the antimeridian)."""
    epsg: int | None = None
    transform: tuple[float, float, float, float, float, float] | None = None
    shape: Shape | None = None
    geocoded: bool = True
    """False for slant- or ground-range rasters with control points."""
    band: int = 1
    source: str = ""
    """Preset, URL or path of the catalogue it came from."""
    footprint: str | None = None
    """What of the raster was observed: the catalogue's geometry in longitude/latitude, as WKT."""

    @property
    def baseline_days(self) -> int | None:
        """Days between the two dates of a pair; None for backscatter."""
        if self.reference is None or self.secondary is None:
            return None
        return days_apart(self.reference, self.secondary)

    @property
    def pixel_size(self) -> float | None:
        """Pixel size in the units of its own CRS; None where the catalogue does not say."""
        return None if self.transform is None else abs(self.transform[0])


@runtime_checkable
class Segmenter(Protocol):
    """What `predict` needs of a model: a callable with five facts. `load_model` makes one; `testing` has fakes.

    Called with scaled float32 `(n, n_steps, H, W, len(features))`, H and W multiples of 8, it returns float32
    glacier probability `(n, H, W)`. It must pickle as a recipe (path and digest), never as its weights.

    It may also have `unobserved`, one of `conventions.UNOBSERVED`: what it is to be fed where a pixel has no valid
    step; without it that is "zero". And `batch_size`, the windows it takes at once where it runs; without it they are
    as many as fit in a few MB.
    """

    @property
    def features(self) -> tuple[Feature, ...]: ...
    @property
    def n_steps(self) -> int: ...
    @property
    def window(self) -> int: ...
    @property
    def pixel_size(self) -> float: ...
    @property
    def digest(self) -> str: ...

    def __call__(self, x: FloatArray, /) -> FloatArray: ...

    def __dask_tokenize__(self) -> Any: ...
