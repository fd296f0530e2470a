"""Choose the observations of a series, and open them as a lazy cube: the pipeline of this stage."""

from __future__ import annotations

import collections
import datetime as dt
import functools
import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from icemapper_xr import addresses, conventions
from icemapper_xr._types import Bounds, Observation, Signer
from icemapper_xr.cube import checks, footprints, loaders, passes, read, select
from icemapper_xr.cube.faults import Faults
from icemapper_xr.cube.grid import AreaGrid

__all__ = ["Series", "build", "plan"]


@dataclass(frozen=True)
class Series:
    """The observations chosen for a cube, and how to read them: small, pickles, opens as a lazy cube anywhere."""

    area: AreaGrid
    slices: Mapping[conventions.Feature, tuple[tuple[Observation, ...], ...]]
    """Per feature and step the frames to mosaic; an empty tuple where the step is missing."""
    engine: str
    resampling: conventions.Resampling | None
    chunk: int | None
    """Pixels between chunk edges, counted from the origin of the CRS; None is one chunk."""
    sign: Signer | None
    attrs: Mapping[str, Any]
    """Attributes of the cube."""
    coordinates: Mapping[str, Any] = field(repr=False)
    """Coordinates on time."""

    @property
    def observations(self) -> tuple[Observation, ...]:
        """All rasters, in the order of features and steps."""
        return tuple(frame for steps in self.slices.values() for frames in steps for frame in frames)

    @functools.cached_property
    def boxes(self) -> dict[Observation, Bounds]:
        """Box of every raster in the CRS of the cube, outside of which it is not opened."""
        return {one: footprints.bounds(one, self.area.grid) for one in self.observations}

    def cut(self, area: AreaGrid) -> Series:
        """Return the series on a part of the grid, read in one chunk, with only the rasters that meet it.

        Parameters
        ----------
        area
            The part and its grid, of the same CRS and pixel size; what of it lies beyond the grid of the series is
            read too, as far as the rasters that meet that grid reach.
        """
        edges = area.grid.bounds
        near = {one for one, box in self.boxes.items() if _meets(box, edges, self.area.grid.bounds)}
        slices = {
            feature: tuple(tuple(frame for frame in frames if frame in near) for frames in steps)
            for feature, steps in self.slices.items()
        }
        where = {conventions.ATTR_AREA: [float(edge) for edge in area.area], conventions.ATTR_MARGIN: area.margin}
        kept = {name: self.attrs[name] for name in (conventions.ATTR_READING,) if name in self.attrs}
        coordinates = {conventions.TIME: self.coordinates[conventions.TIME]}
        return replace(self, area=area, slices=slices, chunk=None, attrs={**kept, **where}, coordinates=coordinates)

    def facts(self) -> xr.Dataset:
        """Return what the cube says of itself, without its variables: dims (time,)."""
        return xr.Dataset(coords=dict(self.coordinates), attrs=dict(self.attrs))

    def open(self, *, faults: Faults | None = None) -> xr.Dataset:
        """Open the lazy cube; see `build`.

        Parameters
        ----------
        faults
            Collects what could not be read when the cube is computed in this process; None only logs it.
        """
        reader = loaders.loader(self.engine)
        dataset = self.facts()
        for feature, frames in self.slices.items():
            linear = reader.load(
                frames,
                self.area.grid,
                chunk=self.chunk,
                resampling=self.resampling,
                sign=self.sign,
                faults=faults,
            )
            dataset[feature] = _variable(linear, feature, self.observations)
        return _georeferenced(dataset, self.area)


def _meets(box: Bounds, edges: Bounds, grid: Bounds) -> bool:
    """Whether a box that is clipped to a grid meets a part, which may reach beyond the grid."""
    left, bottom = (low if low > edge else -np.inf for low, edge in zip(box[:2], grid[:2], strict=True))
    right, top = (high if high < edge else np.inf for high, edge in zip(box[2:], grid[2:], strict=True))
    return not box.empty and left < edges.right and right > edges.left and bottom < edges.top and top > edges.bottom


def build(observations: Sequence[Observation], *, faults: Faults | None = None, **options: Any) -> xr.Dataset:
    """Build the lazy cube of a year: one relative orbit, one polarisation, 15 steps.

    Parameters
    ----------
    observations, **options
        As in `plan`.
    faults
        As in `Series.open`.

    Returns
    -------
    xarray.Dataset
        `(time, y, x)` float32, NaN = not observed; backscatter in dB, coherence in 1; one chunk over time; nothing is
        read before it is computed. Coordinates and attributes as in `conventions`.

    Raises
    ------
    OptionError, CubeError, UnitsError
        An option is out of range; the observations do not make a valid cube (`checks`, `select`).
    """
    return plan(observations, **options).open(faults=faults)


def plan(
    observations: Sequence[Observation],
    *,
    area: AreaGrid,
    features: Sequence[str] = ("rtc",),
    year: int | None = None,
    start: Any = None,
    times: Sequence[Any] | None = None,
    orbit: int | None = None,
    polarisation: str | None = None,
    baseline: int | None = conventions.CYCLE_DAYS,
    min_steps: int = conventions.MIN_STEPS,
    engine: str = "stackstac",
    resampling: conventions.Resampling | None = None,
    chunk: int = conventions.LATTICE,
    sign: Signer | None = None,
    source: str = "",
) -> Series:
    """Choose the observations of a year: one relative orbit, one polarisation, 15 steps.

    Parameters
    ----------
    observations
        What a catalogue found, of any feature, orbit and date.
    area
        Where: the area and the grid read around it.
    features
        Some of 'grd', 'rtc', 'insar'.
    year, start, times
        When: a calendar year, the first day of the first step (None is 1 January), or 15 dates, which override both.
    orbit, polarisation
        Relative orbit 1..175 and 'VV' or 'HH'; None takes the best covered.
    baseline
        Days between the dates of a coherence pair; None refuses a mixture.
    min_steps
        Valid steps below which the cube is refused.
    engine
        'stackstac' or 'odc'.
    resampling
        'nearest', 'bilinear' or 'average' for data of another pixel size or in degrees, refused without.
    chunk
        Pixels between chunk edges, counted from the origin of the CRS.
    sign
        Makes an href readable, at read time.
    source
        Name of the catalogue, for the record.

    Returns
    -------
    Series
        Opens as the lazy cube; nothing is read.

    Raises
    ------
    OptionError, CubeError, UnitsError
        An option is out of range; the observations do not make a valid cube (`checks`, `select`).
    """
    wanted = checks.features(features)
    loaders.loader(engine)
    axis = select.steps(year=year, start=start, times=times)
    found = {feature: checks.usable(observations, feature) for feature in wanted}
    selection = select.choose(
        found, area, axis, orbit=orbit, polarisation=polarisation, baseline=baseline, min_steps=min_steps
    )
    _warn_of_season(axis, south=selection.south)
    coordinates: dict[str, Any] = {conventions.TIME: np.array(axis.centres, dtype="datetime64[ns]")}
    slices: dict[conventions.Feature, tuple[tuple[Observation, ...], ...]] = {}
    for feature in wanted:
        row = selection.passes[feature]
        slices[feature] = tuple(() if one is None else one.frames for one in row)
        checks.pixel_sizes([frame for group in slices[feature] for frame in group], area.grid, resampling)
        coordinates |= _coordinates(feature, row, axis)
    reading = {"resolution": area.grid.resolution, "resampling": resampling}
    attrs = {
        **_attributes(selection, area),
        conventions.ATTR_FILES: json.dumps(
            {feature: _digest(steps) for feature, steps in slices.items()}, sort_keys=True
        ),
        conventions.ATTR_CATALOG: source,
        conventions.ATTR_READING: json.dumps(reading, sort_keys=True),
    }
    return Series(area, slices, engine, resampling, chunk, sign, attrs, coordinates)


def _warn_of_season(axis: select.Steps, *, south: bool) -> None:
    """Tell of a series that begins in another season than those that networks learn from: they go by its order."""
    if axis.named:
        return
    month = 7 if south else 1  # the middle of winter
    days = (axis.start - dt.date(axis.start.year, month, 1)).days
    days = abs((days + 182) % 365 - 182)
    if days > conventions.START_SHIFT_DAYS:
        here = ", which is 07-01 here" if south else ""
        warnings.warn(
            f"the series begins on {axis.start:%m-%d}, {days} days from the middle of winter{here}; networks are "
            f"trained on series that begin there (within {conventions.START_SHIFT_DAYS} days) and miss ice in others: "
            f"begin it on {month:02d}-01 (start)",
            UserWarning,
            stacklevel=4,
        )


def _digest(steps: Sequence[Sequence[Observation]]) -> str:
    """Return a digest of the rasters of a feature and of how they are read, which a catalogue can be built anew with.

    The size of a local file stands for what is in it; its time of change would make a year that is finished another one
    when its files are copied.
    """
    told = [
        (
            one.item_id,
            one.band,
            one.quantity,
            one.scale,
            repr(one.nodata),
            _size(one.href),
        )
        for frames in steps
        for one in frames
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _size(href: str) -> int | None:
    path = addresses.local_path(href)
    return None if addresses.is_remote(href) or not path.is_file() else path.stat().st_size


def _variable(linear: xr.DataArray, feature: conventions.Feature, observations: Sequence[Observation]) -> xr.DataArray:
    array = linear.rename({loaders.SLICE: conventions.TIME}).rename(feature)
    information = conventions.FEATURE_RANGES[feature]
    attributes: dict[str, Any] = {"units": information.units, "long_name": information.long_name}
    quantities = {one.quantity for one in observations if one.feature == feature}
    attributes["quantity"] = next(iter(quantities), "unknown")
    if feature != "insar":
        array = array.copy(
            data=array.data.map_blocks(read.decibel, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))
        )
        attributes["noise_floor"] = f"{conventions.NOISE_FLOOR_DB:g} dB for values of 0 and below"
    return array.assign_attrs(attributes)


def _coordinates(feature: conventions.Feature, row: Sequence[select.Pass | None], axis: select.Steps) -> dict[str, Any]:
    """What was taken for every step; '' / NaT / -1 where it is missing."""
    acquired = [None if one is None else _utc(one.acquired) for one in row]
    offsets = [
        np.nan if moment is None else (moment - centre) / dt.timedelta(days=1)
        for moment, centre in zip(acquired, axis.centres, strict=True)
    ]
    columns: dict[str, Any] = {
        conventions.ACQUIRED: _times(acquired),
        conventions.ITEMS: _text(["" if one is None else ";".join(f.item_id for f in one.frames) for one in row]),
        conventions.PLATFORM: _text(["" if one is None else one.first.platform or "" for one in row]),
        conventions.RELATIVE_ORBIT: np.array(
            [-1 if one is None else one.first.relative_orbit or -1 for one in row], np.int16
        ),
        conventions.OFFSET: np.array(offsets, np.float32),
        conventions.SHARE: np.array([0.0 if one is None else one.share for one in row], np.float32),
    }
    if feature == "insar":
        firsts = [None if one is None else one.first for one in row]
        columns[conventions.PAIR_REFERENCE] = _times([_utc(f.reference) if f and f.reference else None for f in firsts])
        columns[conventions.PAIR_SECONDARY] = _times([_utc(f.secondary) if f and f.secondary else None for f in firsts])
        days = [-1 if f is None or f.baseline_days is None else f.baseline_days for f in firsts]
        columns[conventions.PAIR_BASELINE] = np.array(days, np.int16)
    return {name.format(feature=feature): (conventions.TIME, values) for name, values in columns.items()}


def _utc(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC).replace(tzinfo=None)


def _times(moments: Sequence[dt.datetime | None]) -> Any:
    missing = np.datetime64("NaT", "ns")
    return np.array([missing if one is None else np.datetime64(one) for one in moments], "datetime64[ns]")


def _text(values: Sequence[str]) -> Any:
    # Objects: zarr 3 has a specified type for strings of any length, but none for numpy's fixed length.
    return np.array(values, dtype=object)


def _attributes(selection: select.Selection, area: AreaGrid) -> dict[str, Any]:
    chosen = [one for row in selection.passes.values() for one in row if one is not None]
    missing = {feature: [k for k, one in enumerate(row) if one is None] for feature, row in selection.passes.items()}
    platforms = {
        feature: collections.Counter(one.first.platform or "unknown" for one in row if one is not None)
        for feature, row in selection.passes.items()
    }
    frames = [frame for one in chosen for frame in one.frames]
    dates = [day for frame in frames for day in _dates(frame)]
    told = next((frame for frame in frames if passes.timed(frame)), None) if selection.orbit is None else None
    return {
        conventions.ATTR_AREA: [float(edge) for edge in area.area],
        conventions.ATTR_MARGIN: area.margin,
        conventions.ATTR_ORBIT: -1 if selection.orbit is None else selection.orbit,
        conventions.ATTR_ORBIT_STATE: selection.orbit_state or "",
        conventions.ATTR_POLARISATION: selection.polarisation or "",
        conventions.ATTR_YEAR: selection.steps.year,
        conventions.ATTR_START: selection.steps.start.isoformat(),
        **_of_all_years(selection, frames),
        conventions.ATTR_STEPS_MISSING: json.dumps(missing),
        conventions.ATTR_ITEMS: sorted({frame.item_id for frame in frames}),
        **({} if told is None else {conventions.ATTR_TIME_OF_DAY: f"{passes.began(told):%H:%M:%S}"}),
        "steps_valid": sum(selection.valid),
        "steps_valid_in_melt_season": select.melt_steps(selection),
        conventions.ATTR_PLATFORMS: json.dumps(platforms, sort_keys=True),
        "first_date": min(dates).isoformat(),
        "last_date": max(dates).isoformat(),
    }


def _of_all_years(selection: select.Selection, frames: Sequence[Observation]) -> dict[str, Any]:
    """Return what the years of a map must share beside orbit and polarisation, or their areas cannot be compared."""
    pairs = {frame.baseline_days for frame in frames if frame.feature == "insar" and frame.baseline_days is not None}
    first = {conventions.ATTR_FIRST_DAY: "named" if selection.steps.named else f"{selection.steps.start:%m-%d}"}
    made = {conventions.ATTR_PROCESSING: json.dumps(_processing(frames), sort_keys=True)}
    return first | made | ({conventions.ATTR_BASELINE: pairs.pop()} if len(pairs) == 1 else {})


def _processing(frames: Sequence[Observation]) -> dict[str, str | float]:
    """Return what is known of how the rasters were made; within a year it is all the same (`checks`, `select`)."""
    told: dict[str, str | float] = {}
    for frame in frames:
        told[f"{frame.feature} quantity"] = frame.quantity
        if frame.filtered is not None:
            told[f"{frame.feature} filter"] = checks.FILTERED[frame.filtered]
        if frame.looks is not None:
            told[f"{frame.feature} looks"] = frame.looks
    return told


def _dates(frame: Observation) -> list[dt.date]:
    moments = (frame.reference, frame.secondary) if frame.reference and frame.secondary else (frame.acquired,)
    return [_utc(moment).date() for moment in moments]


def _georeferenced(dataset: xr.Dataset, area: AreaGrid) -> xr.Dataset:
    """Write the CRS as CF `spatial_ref`, and what x and y are."""
    import rioxarray  # noqa: F401  (registers .rio)

    dataset = dataset.rio.write_crs(area.grid.crs).rio.write_coordinate_system()
    return dataset.rio.write_transform()  # type: ignore[no-any-return]
