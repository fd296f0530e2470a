"""Settings of a run: validated, stored with the output, and read back to resume it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from typing import Any, Literal, Self

import pydantic
from pydantic_core import PydanticCustomError

from icemapper_xr import conventions, redact
from icemapper_xr.errors import OptionError

__all__ = ["Area", "MapSettings", "Strict", "check_years", "parse_years"]

_MONTH_DAY = re.compile(r"\d\d-\d\d")
_LEAP_YEAR = 2024


class Strict(pydantic.BaseModel):
    """Settings that refuse unknown names and cannot be changed."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @classmethod
    def checked(cls, **values: Any) -> Self:
        """Make settings, or say in one line which value is wrong.

        Raises
        ------
        OptionError
            If a value is out of range or unknown.
        """
        try:
            return cls(**values)
        except pydantic.ValidationError as error:
            problem = error.errors()[0]
            name = ".".join(str(part) for part in problem["loc"]) or "settings"
            if problem["type"] == "extra_forbidden" and len(problem["loc"]) == 1:
                raise OptionError(f"{name} is no setting; there are {', '.join(cls.model_fields)}") from None
            raise OptionError(
                f"{name} is {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
            ) from None


class Area(Strict):
    """An area to map: exactly one of `bbox`, `bounds` with `crs`, `geometry`, and `region`; or none.

    None is the extent of a local catalogue.
    """

    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees; what is mapped is the rectangle around it in the CRS of the map."""
    bounds: tuple[float, float, float, float] | None = None
    """Left, bottom, right, top in the units of `crs`."""
    crs: str | None = None
    """CRS of the map, anything pyproj takes; None is the UTM zone of the area."""
    geometry: dict[str, Any] | None = None
    """GeoJSON geometry in longitude and latitude."""

    region: tuple[Any, ...] | None = None
    """Names of regions, polygon files, boxes or geometries, together."""

    @property
    def named(self) -> bool:
        """Whether an area is named at all."""
        return any(value is not None for value in (self.bbox, self.bounds, self.geometry, self.region))


class MapSettings(Strict):
    """Everything that `map_glaciers` is asked for; stored in `run.json` in the output folder."""

    model_config = pydantic.ConfigDict(allow_inf_nan=False)

    catalog: str
    """Preset, STAC URL, or path of a catalogue."""
    weights: str
    """Name or path of the weights."""
    area: Area = Area()
    years: tuple[int, ...] = ()
    """Years to map, ascending."""
    start: str | None = None
    """Month and day (MM-DD) of the first step of every year; None is 1 January. In the south 07-01 is winter."""
    times: tuple[str, ...] | None = None
    """The 15 dates to use, instead of the rules on year and steps."""
    features: tuple[conventions.Feature, ...] | None = None
    """Features to read; None is what the weights want."""
    resolution: float | None = pydantic.Field(default=None, gt=0)
    """Pixel size of the cube in metres; None is the weights' pixel size."""
    resample: conventions.Resampling | None = None
    """How to bring a cube of another pixel size to the weights' one; None refuses."""
    resampling: conventions.Resampling | None = None
    """How the reader brings rasters of another pixel size, or in degrees, to `resolution`; None refuses."""
    orbit: int | None = pydantic.Field(default=None, ge=1, le=175)
    """Relative orbit; None is the best covered of the first year."""
    polarisation: Literal["VV", "HH"] | None = None
    baseline: int = pydantic.Field(default=conventions.CYCLE_DAYS, ge=1)
    """Days between the two dates of a coherence pair."""
    min_steps: int = pydantic.Field(default=conventions.MIN_STEPS, ge=1, le=conventions.N_STEPS)
    """Valid steps below which a cube is refused."""
    gap: conventions.Gap = "nearest"
    overlap: float = pydantic.Field(default=conventions.OVERLAP, ge=0, le=0.5)
    reader: conventions.LoadEngine = "stackstac"
    """Library that reads the rasters."""
    engine: conventions.ModelEngine = "auto"
    """Library that runs the network."""
    precision: conventions.Precision = "float32"
    """What the network computes in."""
    threshold: float = pydantic.Field(default=conventions.THRESHOLD, gt=0, lt=1)
    """Probability at which an outline is drawn."""
    min_area_km2: float = pydantic.Field(default=conventions.MIN_AREA_KM2, ge=0)
    """Smallest outline that is kept."""

    mask: str | None = None
    """File of polygons outside of which there cannot be ice."""
    mask_buffer: float = pydantic.Field(default=conventions.MASK_BUFFER, ge=0)
    """Metres by which the mask is grown."""
    tile: int = pydantic.Field(default=conventions.TILE_CHUNKS, ge=1)
    """Side of a region's tile in chunks of 1152 pixels."""
    store: str | None = None
    """Path or URL of the cube; None is `glaciers.zarr` in the output folder."""

    @pydantic.field_serializer("catalog", "weights", "mask", "store")
    def _without_tokens(self, value: str | None) -> str | None:
        """What is stored and logged holds no token of a URL; in memory it stays, to be read with."""
        return None if value is None else redact.text(value)

    @pydantic.field_validator("features", mode="before")
    @classmethod
    def _one_is_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @pydantic.field_validator("start")
    @classmethod
    def _month_and_day(cls, value: str | None) -> str | None:
        try:
            if value is None or (_MONTH_DAY.fullmatch(value) and dt.date.fromisoformat(f"{_LEAP_YEAR}-{value}")):
                return value
        except ValueError:
            pass
        raise PydanticCustomError("month_day", "Not a month and day; write MM-DD, for example 07-01")


def parse_years(text: str) -> tuple[int, ...]:
    """Read '2023', '2016:2024' (both ends included) or '2016,2020'.

    Raises
    ------
    OptionError
        If the text is none of these, or a range runs backwards.

    Examples
    --------
    >>> parse_years("2016:2018,2023")
    (2016, 2017, 2018, 2023)
    """
    years: set[int] = set()
    for part in text.split(","):
        first, colon, last = part.strip().partition(":")
        try:
            ends = int(first), int(last if colon else first)
        except ValueError:
            raise OptionError(f"years is {text!r}; write 2023, 2016:2024 or 2016,2020,2024") from None
        check_years(ends)  # before a range of a billion years is gone through
        if not (span := range(ends[0], ends[1] + 1)):
            raise OptionError(f"years is {text!r}: {first} comes after {last}; write the earlier year first")
        years.update(span)
    return check_years(sorted(years))


def check_years(years: list[int] | tuple[int, ...]) -> tuple[int, ...]:
    """Return the years, each once, if Sentinel-1 can have seen them.

    Raises
    ------
    OptionError
        If a year lies before the first data or in the future.
    """
    now = dt.datetime.now(dt.UTC).year
    for year in years:
        if year > now:
            raise OptionError(f"year {year} lies in the future; the latest year that can be mapped is {now}")
        if year < conventions.FIRST_YEAR:
            raise OptionError(
                f"year {year} is before the first Sentinel-1 data of {conventions.FIRST_YEAR}; choose a later year"
            )
    return tuple(dict.fromkeys(years))


def listed_years(years: int | str | Iterable[int] | None) -> tuple[int, ...]:
    """Return years as a tuple, whether one or several are named, or a text of them as `parse_years` takes it."""
    if isinstance(years, str):
        return parse_years(years)
    return () if years is None else tuple(years) if isinstance(years, Iterable) else (years,)
