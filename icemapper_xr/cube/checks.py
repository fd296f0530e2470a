"""What an observation must be to enter a cube; refuses the rest with the item and the remedy."""

from __future__ import annotations

import collections
import datetime as dt
import functools
import math
import warnings
from collections.abc import Iterable, Sequence

from icemapper_xr import conventions
from icemapper_xr._types import Grid, Observation
from icemapper_xr.cube import resample
from icemapper_xr.errors import CubeError, OptionError, UnitsError

__all__ = ["FILTERED", "features", "pixel_sizes", "suits", "usable"]

_PIXEL_TOLERANCE = 0.01
_QUANTITIES: dict[conventions.Feature, tuple[str, ...]] = {
    "grd": ("sigma0", "gamma0", "beta0"),
    "rtc": ("gamma0",),
    "insar": ("coherence",),
}
_SCALES = ("power", "amplitude", "dB")
FILTERED = {True: "speckle-filtered", False: "unfiltered"}
"""What a raster is called by whether it was filtered."""


def features(names: Sequence[str]) -> tuple[conventions.Feature, ...]:
    """Return the features in the order of the channels.

    Raises
    ------
    OptionError
        A name is unknown, given twice, or there is none.
    """
    known = ", ".join(conventions.FEATURES)
    if not isinstance(names, Iterable):
        raise OptionError(f"features is {names!r}; use some of {known}")
    names = (names,) if isinstance(names, str) else tuple(names)
    for name in names:
        if name not in conventions.FEATURES:
            raise OptionError(f"feature {name!r} is unknown; use some of {known}")
    if not names or len(set(names)) < len(names):
        raise OptionError(f"features {names} are empty or repeat themselves; use some of {known}")
    return tuple(feature for feature in conventions.FEATURES if feature in names)


def suits(observation: Observation) -> bool:
    """Whether a cube can take an observation, whatever its units: what `usable` leaves out it cannot."""
    return _refusal(observation) is None and observation.polarisation not in ("VH", "HV")


def usable(observations: Sequence[Observation], feature: conventions.Feature) -> tuple[Observation, ...]:
    """Return the observations of a feature that a cube can take.

    Raw ground-range data, other modes than IW and cross-polarised backscatter are left out, with a warning for the
    first two; if nothing else is there, that is an error. Of several processings of a burst the newest counts.

    Raises
    ------
    CubeError
        There is no observation of the feature, or none that can be used.
    UnitsError
        Quantity or scale are unknown, do not suit the feature, or differ between items, or some of them only are
        speckle-filtered.
    """
    found = [observation for observation in observations if observation.feature == feature]
    if not found:
        others = collections.Counter(observation.feature for observation in observations)
        there = ", ".join(f"{name} ({count})" for name, count in sorted(others.items())) or "nothing"
        raise CubeError(
            f"no observations of feature {feature!r}; the catalogue has {there}: change features (--features)"
        )
    reasons = [_refusal(observation) for observation in found]
    kept = [observation for observation, reason in zip(found, reasons, strict=True) if reason is None]
    refused = [(observation, reason) for observation, reason in zip(found, reasons, strict=True) if reason]
    if not kept:
        observation, reason = refused[0]
        raise CubeError(f"item {observation.item_id}: {reason}")
    if refused:
        observation, reason = refused[0]
        warnings.warn(
            f"{len(refused)} of {len(found)} observations of {feature} left out, first item {observation.item_id}: "
            f"{reason}",
            UserWarning,
            stacklevel=2,
        )
    kept = [observation for observation in kept if suits(observation)]
    if not kept:
        raise CubeError(f"item {found[0].item_id}: cross-polarised; {feature} wants VV or HH, search for those")
    kept = _newest(kept)
    _check_units(kept, feature)
    return tuple(kept)


def _newest(observations: Sequence[Observation]) -> list[Observation]:
    """Of several processings of one burst, date, platform and polarisation keep the newest."""
    latest: dict[tuple[object, ...], dt.datetime] = {}
    for one in observations:
        if one.burst is not None and one.processed is not None:
            latest[_acquisition(one)] = max(latest.get(_acquisition(one), one.processed), one.processed)
    return [one for one in observations if one.processed in (None, latest.get(_acquisition(one), one.processed))]


def _acquisition(one: Observation) -> tuple[object, ...]:
    return one.burst, one.acquired.date(), one.platform, one.polarisation


def _refusal(observation: Observation) -> str | None:
    if not observation.geocoded or observation.quantity == "digital_number":
        return (
            "raw level-1 data on ground range (digital numbers, control points) is neither calibrated nor "
            "terrain-geocoded; use feature rtc, or process it first"
        )
    if observation.mode is not None and observation.mode != "IW":
        size = " (40 m)" if observation.mode == "EW" else ""
        return f"mode {observation.mode}{size} is not what the weights were trained on; search for mode IW"
    return None


def _check_units(observations: Sequence[Observation], feature: conventions.Feature) -> None:
    for observation in observations:
        where = f"item {observation.item_id}"
        if observation.quantity == "unknown":
            choices = ", ".join(_QUANTITIES[feature])
            raise UnitsError(
                f"{where}: it is not known what quantity this is ({choices}); say so when the folder is indexed: "
                "`icemapper catalog build FOLDER --quantity ... --scale ...`, or in an item by icemapper:quantity"
            )
        if observation.quantity not in _QUANTITIES[feature]:
            wanted = " or ".join(_QUANTITIES[feature])
            raise UnitsError(
                f"{where}: quantity {observation.quantity}, feature {feature} wants {wanted}; "
                "use another feature or other data"
            )
        if feature != "insar" and observation.scale not in _SCALES:
            raise UnitsError(
                f"{where}: scale {observation.scale!r} of {feature} is not known to be power, amplitude or dB; say so "
                f"when the folder is indexed: `icemapper catalog build FOLDER --scale {'|'.join(_SCALES)}`, or in an "
                "item by icemapper:scale"
            )
    _check_one(feature, [(one.quantity, one.item_id) for one in observations], "quantity")
    _check_one(
        feature, [(FILTERED[one.filtered], one.item_id) for one in observations if one.filtered is not None], "kind"
    )


def _check_one(feature: conventions.Feature, told: Sequence[tuple[str, str]], what: str) -> None:
    """Refuse observations (value, item) that do not all have the same value."""
    first: dict[str, str] = {}
    for value, item in told:
        first.setdefault(value, item)
    if len(first) > 1:
        listed = " and ".join(f"{value} (item {item})" for value, item in first.items())
        raise UnitsError(f"{feature} mixes {listed}; take one {what} only")


def pixel_sizes(observations: Sequence[Observation], grid: Grid, resampling: conventions.Resampling | None) -> None:
    """Refuse a pixel size other than the grid's unless a resampling is named.

    Raises
    ------
    OptionError
        The resampling is unknown.
    CubeError
        No resampling is named, and the pixel sizes differ by more than 1 %, a raster is in degrees, or its projection
        makes other pixels of the same number of metres, as EPSG:3857 does away from the equator.
    """
    if resampling is not None:
        if resampling not in conventions.RESAMPLINGS:
            raise OptionError(f"resampling {resampling!r} is unknown; use {', '.join(conventions.RESAMPLINGS)}")
        return
    for observation in observations:
        size, epsg = observation.pixel_size, observation.epsg
        if size is None or epsg is None:
            continue  # told when it is read
        metres = _metres(epsg)
        if metres is None:
            raise CubeError(
                f"{observation.href} (item {observation.item_id}) has pixels of {size:g} degrees, the cube has "
                f"{grid.resolution:g} m; name a resampling (--resampling): bilinear, nearest or average"
            )
        if not math.isclose(size * metres, grid.resolution, rel_tol=_PIXEL_TOLERANCE):
            raise CubeError(
                f"item {observation.item_id} has pixels of {size * metres:g} m, the cube has {grid.resolution:g} m; "
                f"name a resampling (--resampling): bilinear, nearest or average, or resolution={size * metres:g} "
                f"(--resolution {size * metres:g})"
            )
        other = _other_size(epsg, size, grid)
        if other is not None:
            raise CubeError(
                f"item {observation.item_id} has pixels of {size * metres:g} m in EPSG:{epsg}, which are {other} "
                f"({grid.resolution:g} m): name a resampling (--resampling): average, bilinear or nearest"
            )


@functools.lru_cache
def _metres(epsg: int) -> float | None:
    """Return the length of a CRS's unit; None where it is an angle."""
    import pyproj

    crs = pyproj.CRS.from_epsg(epsg)
    return float(crs.axis_info[0].unit_conversion_factor) if crs.is_projected else None


@functools.lru_cache
def _other_size(epsg: int, size: float, grid: Grid) -> str | None:
    """Tell of pixels of a projection that are of another size in the middle of a grid, or in one of its corners."""
    from affine import Affine

    (left, bottom, right, top), side = grid.bounds, grid.resolution
    corners = [resample.Piece(grid.wkt, x, y, side, 1, 1) for x in (left, right - side) for y in (top, bottom + side)]
    pieces = [resample.Piece(grid.wkt, left, top, side, *grid.shape), *corners]
    found = (resample.other_size(Affine(size, 0, 0, 0, -size, 0), epsg, 1, piece) for piece in pieces)
    return next((told for told in found if told is not None), None)
