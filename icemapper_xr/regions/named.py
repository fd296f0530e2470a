"""The glacier regions of the Arctic by code and name."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from icemapper_xr.errors import OptionError

__all__ = ["NAMED", "Named", "find"]

_FILE: Final = "rgi_regions.json"


@dataclass(frozen=True)
class Named:
    """A first-order region of the Randolph Glacier Inventory."""

    code: str
    """Two digits, as in RGI 7."""
    name: str
    """RGI 7's long name without the code."""
    boxes: tuple[tuple[float, float, float, float], ...]
    """West, south, east, north in degrees (west > east across the antimeridian); together they hold its glaciers."""


def _load() -> dict[str, Named]:
    text = importlib.resources.files("icemapper_xr").joinpath("_data", _FILE).read_text(encoding="utf-8")
    return {
        code: Named(code, entry["name"], tuple((w, s, e, n) for w, s, e, n in entry["boxes"]))
        for code, entry in json.loads(text)["regions"].items()
    }


NAMED: Final[Mapping[str, Named]] = _load()
"""Regions 01 and 03 to 10 by code."""


def find(name: str) -> Named | None:
    """Return a region by its code or name ('07', '7', 'rgi07', 'svalbard_jan_mayen'); None if it is neither.

    Raises
    ------
    OptionError
        It is the code of an RGI region that is not shipped.

    Examples
    --------
    >>> find("RGI-07").name
    'svalbard_jan_mayen'
    """
    text = name.strip().lower()
    digits = text.removeprefix("rgi").lstrip("-_ ")
    if digits.isdigit() and len(digits) <= 2:
        code = digits.zfill(2)
        if code in NAMED:
            return NAMED[code]
        raise OptionError(
            f"region {name} is not shipped: there are {', '.join(NAMED)}; give RGI's polygon of it as a file"
        )
    return next((region for region in NAMED.values() if region.name == text.replace("-", "_")), None)
