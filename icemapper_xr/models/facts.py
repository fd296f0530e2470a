"""Settle what the shapes in a weights file cannot tell: features, window, pixel size, what replaces missing pixels.

The file's root attributes go first, then what a published name implies, then what the caller says; where two of them
speak, they must agree.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from icemapper_xr import errors
from icemapper_xr.conventions import FEATURES, N_STEPS, PIXEL_SIZE, UNOBSERVED, WINDOW, Feature, Unobserved
from icemapper_xr.models import published
from icemapper_xr.models.layout import Architecture

__all__ = ["features", "n_steps", "pixel_size", "text", "unobserved", "window"]

_log = logging.getLogger(__name__)


def features(
    path: Path, architecture: Architecture, attrs: dict[str, Any], given: Sequence[str] | None
) -> tuple[Feature, ...]:
    """Settle the features: the file's attribute, else its published name, else what the caller says."""
    variant = published.parse_name(path.name)
    said: Sequence[str] | None = attrs.get("features")
    if said is not None and not (isinstance(said, str) or (isinstance(said, list) and said)):
        raise _damaged(path, "features", said, "no list of names")
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
    chosen = _known(given, "features=")
    if wanted is not None and chosen != wanted:
        raise errors.OptionError(f"features {_join(chosen)} given, but weights file {path} wants {_join(wanted)}")
    if len(chosen) != architecture.channels:
        raise errors.OptionError(
            f"features {_join(chosen)} given, but weights file {path} takes {architecture.channels} channel(s)"
        )
    return chosen


def _known(names: Sequence[str], source: str) -> tuple[Feature, ...]:
    if isinstance(names, Set | Mapping):
        raise errors.OptionError(f"{source} says features {names}, without an order: give them in that of the channels")
    names = [names] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
    known = tuple(feature for name in names for feature in FEATURES if feature == name)
    if len(known) != len(names) or len(set(known)) != len(known) or not known:
        raise errors.OptionError(f"{source} says features {names}: each of {', '.join(FEATURES)} at most once")
    return known


def _join(names: Sequence[str]) -> str:
    return "(" + ", ".join(names) + ")"


def window(path: Path, attrs: dict[str, Any], given: int | None, multiple: int) -> int:
    """Settle the window, pixels: what the caller says, else the attribute, else the published one."""
    said = _whole(path, attrs, "window")
    if given is not None and not isinstance(given, int | np.integer):
        raise errors.OptionError(f"window={given!r} must be a whole number of pixels")
    size = int(given if given is not None else said if said is not None else WINDOW)
    if given is not None and said is not None and said != given:
        _log.warning("window %d px given, but weights file %s was trained on %d px", given, path, said)
    if size < multiple or size % multiple:
        raise errors.OptionError(f"window={size} must be a multiple of {multiple} pixels for weights file {path}")
    return size


def pixel_size(path: Path, attrs: dict[str, Any], given: float | None) -> float:
    """Settle the pixel size, metres: the attribute, else what the caller says, else the published one."""
    said = _number(path, attrs, "pixel_size")
    if given is not None and not isinstance(given, int | float | np.number):
        raise errors.OptionError(f"pixel_size={given!r} must be a positive number of metres")
    size = float(given if given is not None else said if said is not None else PIXEL_SIZE)
    if not (math.isfinite(size) and size > 0):
        raise errors.OptionError(f"pixel_size={size} must be a positive number of metres")
    if given is not None and said is not None and not math.isclose(said, size):
        raise errors.OptionError(f"pixel_size={size} m given, but weights file {path} was trained on {said} m")
    return size


def unobserved(path: Path, attrs: dict[str, Any]) -> Unobserved:
    """Settle what the network is fed where nothing was observed: the attribute, else zeros as in the original."""
    said = attrs.get("unobserved", "zero")
    known: Unobserved | None = next((one for one in UNOBSERVED if one == said), None)
    if known is None:
        raise _damaged(path, "unobserved", said, f"none of {', '.join(UNOBSERVED)}")
    return known


def n_steps(path: Path, attrs: dict[str, Any]) -> int:
    """Settle the number of time steps: the attribute, else the published one."""
    said = _whole(path, attrs, "n_steps")
    if said is not None and said < 1:
        raise _damaged(path, "n_steps", said, "no number of time steps")
    return N_STEPS if said is None else said


def _whole(path: Path, attrs: dict[str, Any], name: str) -> int | None:
    """Whole number of an attribute; None where it is not there."""
    value = _number(path, attrs, name)
    if value is not None and not value.is_integer():
        raise _damaged(path, name, attrs[name], "no whole number")
    return None if value is None else int(value)


def _number(path: Path, attrs: dict[str, Any], name: str) -> float | None:
    """Return the number that an attribute is; None where it is not there."""
    if name not in attrs:
        return None
    try:
        return float(attrs[name])
    except (TypeError, ValueError):
        raise _damaged(path, name, attrs[name], "no number") from None


def _damaged(path: Path, name: str, value: object, why: str) -> errors.WeightsError:
    """Tell of an attribute that cannot be used."""
    return errors.WeightsError(
        f"weights file {path} says {name} {value!r}, which is {why}: it may be of a newer icemapper_xr; update, or "
        "correct its root attribute"
    )


def text(value: Any) -> str | None:
    """Attribute as text; None where it is not there."""
    return None if value is None else value if isinstance(value, str) else json.dumps(value)
