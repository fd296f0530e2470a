"""Platforms and orbits of Sentinel-1: plain arithmetic on names and numbers."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["REPEAT", "checked", "of_burst", "platform_code", "relative_orbit"]

REPEAT: Final = 175
"""Orbits of one 12-day repeat cycle."""

BURSTS_PER_CYCLE: Final = 375887
"""Burst ids of one repeat cycle (ESA's Sentinel-1 burst id map)."""

_OFFSETS: Final = {"S1A": 73, "S1B": 27, "S1D": 42}
_S1C_MOVED: Final = 8018
"""Last absolute orbit of S1C before it moved to its final place in the constellation."""

_PLATFORM: Final = re.compile(r"^s(?:entinel)?[-_ ]?1[-_ ]?([a-d])$", re.IGNORECASE)


def platform_code(name: str | None) -> str | None:
    """Return 'S1A' ... 'S1D' for any common spelling of a platform's name, None if it is not Sentinel-1.

    Examples
    --------
    >>> platform_code("SENTINEL-1A"), platform_code("sentinel-1b"), platform_code("S1C"), platform_code("landsat-8")
    ('S1A', 'S1B', 'S1C', None)
    """
    match = _PLATFORM.match(name.strip()) if name else None
    return f"S1{match.group(1).upper()}" if match else None


def checked(relative: object) -> int:
    """Read a relative orbit, a number or its text; columns of whole numbers that have gaps hold 14.0.

    Raises
    ------
    ValueError
        It is no whole number, or none between 1 and 175.
    """
    try:
        number = float(str(relative))
    except ValueError:
        raise ValueError("no whole number") from None
    if not number.is_integer():
        raise ValueError("no whole number")
    if not 1 <= number <= REPEAT:
        raise ValueError(f"not between 1 and {REPEAT}")
    return int(number)


def relative_orbit(platform: str | None, absolute: int | None) -> int | None:
    """Relative orbit, 1..175, of an absolute orbit; None where platform or orbit is unknown.

    ``(absolute - k) mod 175 + 1`` with k = 73 (S1A), 27 (S1B), 172 (S1C up to orbit 8018) and 99 (after), 42 (S1D).

    Examples
    --------
    >>> relative_orbit("S1A", 58252), relative_orbit("S1B", 20000)
    (80, 24)
    """
    code = platform_code(platform)
    if code is None or absolute is None or absolute < 1:
        return None
    offset = (172 if absolute <= _S1C_MOVED else 99) if code == "S1C" else _OFFSETS[code]
    return (absolute - offset) % REPEAT + 1


def of_burst(burst: int) -> int | None:
    """Relative orbit of an ESA burst id, 1..375887; None next to the equator, where two orbits meet.

    Burst ids run on without a gap through the 175 orbits of a cycle, each starting at the ascending node.

    Examples
    --------
    >>> of_burst(136231), of_burst(292319)
    (64, 137)
    """
    if not 1 <= burst <= BURSTS_PER_CYCLE:
        return None
    position = (burst - 1) * REPEAT / BURSTS_PER_CYCLE
    # The ids are counted from 2.3 s before the first node on, so that the three bursts at a node may belong to either.
    if abs(position - round(position)) * BURSTS_PER_CYCLE / REPEAT < 3:
        return None
    return int(position) + 1
