"""The application, the options that commands share, and how results become lines."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from cyclopts import App, Group, Parameter, convert

from icemapper_xr._version import __version__
from icemapper_xr.conventions import CYCLE_DAYS, MIN_STEPS, OVERLAP

__all__ = [
    "ANYWHERE",
    "AREA",
    "CLUSTER",
    "HERE",
    "USUAL",
    "AreaOptions",
    "Box",
    "FeatureName",
    "Files",
    "Rasters",
    "RunOptions",
    "SeriesOptions",
    "app",
    "belonging",
    "one_line",
    "table",
]

Files = Annotated[list[Path] | None, Parameter(consume_multiple=True)]
Rasters = Annotated[list[str] | None, Parameter(consume_multiple=True)]
"""Paths or URLs: a `Path` would take a slash out of `https://`."""
Box = tuple[float, float, float, float]
FeatureName = Literal["grd", "rtc", "insar"]


def _converted(type_: Any, tokens: Any) -> Any:
    """Convert as cyclopts does, which would round 13.6 to the whole number 14."""
    kinds = {type_, *get_args(type_)}
    if int in kinds and not kinds & {float, str, dict}:
        for token in tokens:
            with contextlib.suppress(ValueError):  # no number at all: cyclopts says so
                if not float(token.value).is_integer():
                    raise TypeError(f"{token.value} is no whole number: give one")
    return convert(type_, tokens)


app = App(
    name="icemapper",
    version=__version__,
    help="Map glaciers from Sentinel-1 time series.",
    help_format="markdown",
    default_parameter=Parameter(negative_iterable=(), negative_bool=(), converter=_converted),
    suppress_keyboard_interrupt=False,  # cyclopts would end the program without a word; `main` says how to go on
)

AREA = Group("Area")


@Parameter(name="*", group=AREA)
@dataclass(frozen=True)
class AreaOptions:
    """Where to look; without any, the whole extent of a local catalogue."""

    bbox: Annotated[Box | None, Parameter(allow_leading_hyphen=True)] = None
    """West, south, east, north in degrees; west > east crosses the antimeridian. Maps are of its rectangle in --crs."""
    bounds: Annotated[Box | None, Parameter(allow_leading_hyphen=True)] = None
    """Left, bottom, right, top in the units of --crs."""
    crs: str | None = None
    """CRS of the map, for example EPSG:32633; default: the UTM zone of the area."""
    geometry: Path | None = None
    """File with a polygon of the area (GeoJSON, GPKG, GeoParquet)."""

    def keywords(self) -> dict[str, Any]:
        """Keywords of `open_cube` and `map_glaciers`."""
        values: dict[str, Any] = {"bbox": self.bbox, "bounds": self.bounds, "crs": self.crs}
        if self.geometry is not None:
            from icemapper_xr.cube import extent

            values["geometry"] = extent.read_area(self.geometry)
        return {name: value for name, value in values.items() if value is not None}


ANYWHERE = AreaOptions()


@Parameter(name="*")
@dataclass(frozen=True)
class SeriesOptions:
    """Which observations a map is made of, and how the network goes over them."""

    years: Annotated[str | None, Parameter(alias="--year")] = None
    """2023, 2016:2024 or 2016,2020."""
    start: str | None = None
    """Month and day (MM-DD) of the first step; default 01-01. Weights know series from winter on (south: 07-01)."""
    features: Annotated[tuple[FeatureName, ...] | None, Parameter(consume_multiple=True)] = None
    """What to read, in the order of the channels; default: what the weights want."""
    resolution: float | None = None
    """Pixel size of the cube in metres; default: the weights'."""
    resample: Literal["nearest", "bilinear", "average"] | None = None
    """How to bring the cube to the weights' pixel size."""
    resampling: Literal["nearest", "bilinear", "average"] | None = None
    """How to read rasters of another pixel size than the cube's, or in degrees."""
    orbit: int | None = None
    """Relative orbit; default: the best covered."""
    polarisation: Literal["VV", "HH"] | None = None
    """Default: the best covered."""
    baseline: int = CYCLE_DAYS
    """Days between the two dates of a coherence pair."""
    min_steps: int = MIN_STEPS
    """Fewest valid steps with which to go on."""
    overlap: float = OVERLAP
    """Share of a window that the next one covers: 0.5, 0.25 or 0."""
    engine: Literal["auto", "tensorflow", "openvino"] = "auto"
    """Library that runs the network."""
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    """What the network computes in; mixed_bfloat16 is faster and less exact where the hardware has it."""

    def keywords(self) -> dict[str, Any]:
        """Keywords of `map_glaciers` and `plan_map`."""
        from icemapper_xr import settings

        years = () if self.years is None else settings.parse_years(self.years)
        return {**vars(self), "years": years}


USUAL = SeriesOptions()

CLUSTER = Group("Cluster")


@Parameter(name="*", group=CLUSTER)
@dataclass(frozen=True)
class RunOptions:
    """Where to run; without any, in threads of this process."""

    cluster: str | None = None
    """local, cuda, slurm, a scheduler's address (tcp://host:8786) or its JSON file; default: threads."""
    workers: int | None = None
    """Worker processes, or SLURM jobs."""
    threads: int | None = None
    """Threads of a worker."""
    memory: str | None = None
    """Memory of a worker, for example 8GiB."""
    gpus: int = 0
    """GPUs of a SLURM job, 0 or 1."""
    queue: str | None = None
    """SLURM partition."""
    account: str | None = None
    """SLURM account."""
    walltime: str | None = None
    """Longest time of a SLURM job, for example 04:00:00."""
    interface: str | None = None
    """Network interface between scheduler and workers, for example ib0."""
    job_options: Annotated[tuple[str, ...], Parameter(name="job-option", allow_leading_hyphen=True)] = ()
    """One more line for SLURM, for example --job-option=--constraint=a100; may be repeated."""
    wait: float = 120.0
    """Seconds to wait for the first worker."""

    def keywords(self) -> dict[str, Any]:
        """Keywords of `map_glaciers`."""
        from icemapper_xr.cluster import ClusterOptions

        options = {field.name: getattr(self, field.name) for field in fields(ClusterOptions)}
        return {"cluster": self.cluster, "cluster_options": ClusterOptions(**options)}


HERE = RunOptions()


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """Set rows in columns."""
    cells = [list(columns)] + [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[k]) for line in cells) for k in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "+".join(map(str, value))
    return "" if value is None else str(value)


def belonging(to: str, *, given: bool, **options: Any) -> dict[str, Any]:
    """Return the options that were given, as keywords; the others have the defaults of what is called.

    Raises
    ------
    OptionError
        One was given without the option that it belongs to, and would count for nothing.
    """
    from icemapper_xr.errors import OptionError

    there = {name: value for name, value in options.items() if value is not None}
    if there and not given:
        name, value = next(iter(there.items()))
        raise OptionError(f"--{name.replace('_', '-')} {value} counts with {to} only: give that, too, or leave it out")
    return there


def one_line(message: object) -> str:
    """Fold a message into one line."""
    return " ".join(str(message).split())
