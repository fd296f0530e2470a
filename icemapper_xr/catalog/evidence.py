"""Add to the facts of a name: GeoTIFF tags, side-car files, and what the user says."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from icemapper_xr._types import Quantity, Scale
from icemapper_xr.catalog import names, orbits
from icemapper_xr.catalog.facts import MODES, POLARISATIONS, in_utc
from icemapper_xr.conventions import FEATURES
from icemapper_xr.errors import CatalogError

__all__ = ["check_options", "fill", "from_sidecars", "from_tags"]

_STATES: Final = ("ascending", "descending")


def _one_of(*allowed: str) -> Callable[[str], str]:
    """Return a reader that accepts one of some words in any case."""
    by_lower = {word.lower(): word for word in allowed}

    def read(text: str) -> str:
        if str(text).lower() not in by_lower:
            raise ValueError(f"not one of {', '.join(allowed)}")
        return by_lower[str(text).lower()]

    return read


def _platform(text: str) -> str:
    codes = [orbits.platform_code(part) for part in str(text).split("/")]
    if None in codes:
        raise ValueError("not S1A, S1B, S1C or S1D, or two of them joined by '/'")
    return "/".join(code for code in codes if code)


def _time(text: str) -> dt.datetime:
    return in_utc(dt.datetime.fromisoformat(text))


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "feature": _one_of(*FEATURES),
    "quantity": _one_of(*get_args(Quantity)),
    "scale": _one_of(*get_args(Scale)),
    "polarisation": _one_of(*POLARISATIONS),
    "relative_orbit": orbits.checked,
    "orbit_state": _one_of(*_STATES),
    "platform": _platform,
    "mode": _one_of(*MODES),
    "acquired": _time,
    "reference": _time,
    "secondary": _time,
    "looks": float,
}
"""How each fact is read from text; also the tags `ICEMAPPER_<NAME>`."""


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Read the facts that the user gives as options; None is left out.

    Raises
    ------
    CatalogError
        A value is not allowed.
    """
    checked = {}
    for name, value in options.items():
        if value is None:
            continue
        try:
            checked[name] = _READERS[name](value)
        except (TypeError, ValueError) as error:
            raise CatalogError(f"{name} {value!r} is {error}") from error
    return checked


def fill(facts: names.Facts, options: Mapping[str, Any]) -> names.Facts:
    """Put the user's facts where neither name nor tags tell."""
    missing = {name: value for name, value in options.items() if getattr(facts, name) in (None, "unknown")}
    filled = dataclasses.replace(facts, **missing)
    if filled.feature in ("grd", "rtc"):
        # Two dates in the name of backscatter are no pair, e.g. start and end of the pass.
        filled = dataclasses.replace(filled, reference=None, secondary=None)
    if filled.feature == "insar" and filled.quantity == "unknown":
        filled = dataclasses.replace(filled, quantity="coherence", scale="1")
    return filled


def from_tags(facts: names.Facts, tags: Mapping[str, str], path: Path) -> names.Facts:
    """Overlay what the GeoTIFF's own tags say: ours (`ICEMAPPER_*`) over those of OPERA over the name.

    Raises
    ------
    CatalogError
        One of our tags has a value that is not allowed.
    """
    told: dict[str, Any] = _opera_tags(tags)
    for name, read in _READERS.items():
        text = tags.get(f"ICEMAPPER_{name.upper()}")
        if text:
            try:
                told[name] = read(text)
            except ValueError as error:
                raise CatalogError(f"{path}: tag ICEMAPPER_{name.upper()} is {text!r}, {error}") from error
    return dataclasses.replace(facts, **told)


def _opera_tags(tags: Mapping[str, str]) -> dict[str, Any]:
    """Read the tags of OPERA RTC-S1 GeoTIFFs (its file metadata)."""
    told: dict[str, Any] = {}
    direction = tags.get("ORBIT_PASS_DIRECTION", "").lower()
    if direction in _STATES:
        told["orbit_state"] = direction
    if tags.get("ABSOLUTE_ORBIT_NUMBER", "").isdigit():
        told["absolute_orbit"] = int(tags["ABSOLUTE_ORBIT_NUMBER"])
    return told


_TIMESTAMP: Final = re.compile(r"_(\d{8}T\d{6})_")


def from_sidecars(facts: names.Facts, path: Path) -> names.Facts:
    """Overlay what the text files of a HyP3 product say: orbit, pass, looks, exact times of a pair."""
    if facts.product is None or not facts.product.startswith("HyP3"):
        return facts
    told: dict[str, Any] = {}
    parameters = _parameters(path.parent / f"{facts.group}.txt")
    readme = path.parent / f"{facts.group}.README.md.txt"
    reference = parameters.get("reference granule", "")
    text = reference or (readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else "")
    granule = names.parse_granule(text)
    if granule is not None:
        told |= {
            "absolute_orbit": granule.absolute_orbit,
            "relative_orbit": granule.relative_orbit,
            "mode": granule.mode,
        }
        told["platform"] = facts.platform or granule.platform
    elif parameters.get("reference orbit number", "").isdigit():
        told["absolute_orbit"] = int(parameters["reference orbit number"])
    direction = parameters.get("reference pass direction", "").lower()
    if direction in _STATES:
        told["orbit_state"] = direction
    with contextlib.suppress(KeyError, ValueError):
        told["looks"] = float(parameters["range looks"]) * float(parameters["azimuth looks"])
    if facts.reference is not None:
        told |= _exact_times(facts, reference, parameters.get("secondary granule", ""))
    return dataclasses.replace(facts, **told)


def _parameters(path: Path) -> dict[str, str]:
    """Read the lines 'Name: value' of a HyP3 parameter file."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip().lower(): value.strip() for key, value in pairs}


def _exact_times(facts: names.Facts, reference: str, secondary: str) -> dict[str, dt.datetime]:
    """Times of day from the granules of a pair whose name has only dates."""
    told = {}
    for key, text in (("reference", reference), ("secondary", secondary)):
        stamps = sorted(_TIMESTAMP.findall(text))
        day = getattr(facts, key)
        if stamps and day is not None:
            moment = dt.datetime.strptime(stamps[0], "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC)
            if moment.date() == day.date():
                told[key] = moment
    return told
