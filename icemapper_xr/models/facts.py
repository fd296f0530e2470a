"""Settle what the shapes in a weights file cannot tell: features, window, pixel size, what replaces missing pixels.

The file's root attributes go first, then what a published name implies, then what the caller says; where two of them
speak, they must agree.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icemapper_xr import errors
from icemapper_xr.conventions import FEATURES, PIXEL_SIZE, UNOBSERVED, WINDOW, Feature, Unobserved
from icemapper_xr.models import published
from icemapper_xr.models.layout import Architecture

__all__ = ["features", "pixel_size", "text", "unobserved", "window"]

_log = logging.getLogger(__name__)


def features(
    path: Path, architecture: Architecture, attrs: dict[str, Any], given: Sequence[str] | None
) -> tuple[Feature, ...]:
    """Settle the features: the file's attribute, else its published name, else what the caller says."""
    variant = published.parse_name(path.name)
    said: Sequence[str] | None = attrs.get("features")
    if said is None and variant is not None:
        said = variant.features
    wanted = _known(said, f"weights file {path}") if said is not None else None
    if wanted is not None and len(wanted) != architecture.channels:
        raise errors.WeightsError(
            f"weights file {path} says features {_join(wanted)}, but its first layer takes {architecture.channels} "
            "channels: the file is not what it says"
        )
    if given is None:
        if wanted is None:
            raise errors.OptionError(
                f"weights file {path} does not say its features: give features=, {architecture.channels} of "
                f"{', '.join(FEATURES)} in the order of its channels"
            )
        return wanted
    chosen = _known([given] if isinstance(given, str) else given, "features=")
    if wanted is not None and chosen != wanted:
        raise errors.OptionError(f"features {_join(chosen)} given, but weights file {path} wants {_join(wanted)}")
    if len(chosen) != architecture.channels:
        raise errors.OptionError(
            f"features {_join(chosen)} given, but weights file {path} takes {architecture.channels} channel(s)"
        )
    return chosen


def _known(names: Sequence[str], source: str) -> tuple[Feature, ...]:
    known = tuple(feature for name in names for feature in FEATURES if feature == name)
    if len(known) != len(names) or len(set(known)) != len(known) or not known:
        raise errors.OptionError(f"{source} says features {list(names)}: each of {', '.join(FEATURES)} at most once")
    return known


def _join(names: Sequence[str]) -> str:
    return "(" + ", ".join(names) + ")"


def window(path: Path, attrs: dict[str, Any], given: int | None, multiple: int) -> int:
    """Settle the window, pixels: what the caller says, else the attribute, else the published one."""
    said = attrs.get("window")
    size = int(given if given is not None else said if said is not None else WINDOW)
    if given is not None and said is not None and int(said) != given:
        _log.warning("window %d px given, but weights file %s was trained on %d px", given, path, int(said))
    if size < multiple or size % multiple:
        raise errors.OptionError(f"window={size} must be a multiple of {multiple} pixels for weights file {path}")
    return size


def pixel_size(path: Path, attrs: dict[str, Any], given: float | None) -> float:
    """Settle the pixel size, metres: the attribute, else what the caller says, else the published one."""
    said = attrs.get("pixel_size")
    size = float(given if given is not None else said if said is not None else PIXEL_SIZE)
    if not (math.isfinite(size) and size > 0):
        raise errors.OptionError(f"pixel_size={size} must be a positive number of metres")
    if given is not None and said is not None and not math.isclose(float(said), size):
        raise errors.OptionError(f"pixel_size={size} m given, but weights file {path} was trained on {said} m")
    return size


def unobserved(path: Path, attrs: dict[str, Any]) -> Unobserved:
    """Settle what the network is fed where nothing was observed: the attribute, else zeros as in the original."""
    said = attrs.get("unobserved", "zero")
    known: Unobserved | None = next((one for one in UNOBSERVED if one == said), None)
    if known is None:
        raise errors.WeightsError(
            f"weights file {path} says unobserved {said!r}, which is none of {', '.join(UNOBSERVED)}: it may be of a "
            "newer icemapper_xr; update, or correct its root attribute"
        )
    return known


def text(value: Any) -> str | None:
    """Attribute as text; None where it is not there."""
    return None if value is None else value if isinstance(value, str) else json.dumps(value)
