"""The surface classes of a simulated scene, and which of them count as glacier.

Glacier is what moves or is fed as one body of ice: firn, superimposed ice, bare and crevassed ice, and ice under
debris that is still part of the glacier. Not glacier: nunataks (rock), perennial snow patches, dead ice under
moraine (ice-cored moraine), melange and icebergs, lakes (SCIENCE 4).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["GLACIER", "LEGEND", "SurfaceClass", "is_glacier"]


class SurfaceClass(IntEnum):
    """Code of each class in the class raster (uint8)."""

    SEA = 0
    LAKE = 1
    TUNDRA = 2
    ROCK = 3
    SNOW_PATCH = 4
    ICE_CORED_MORAINE = 5
    MELANGE = 6
    FIRN = 7
    SUPERIMPOSED_ICE = 8
    ICE = 9
    CREVASSED = 10
    DEBRIS_COVERED = 11
    FOREST = 12
    SHRUB = 13
    FARMLAND = 14
    DESERT = 15
    CITY = 16


LEGEND: Final[dict[int, str]] = {int(c): c.name.lower().replace("_", " ") for c in SurfaceClass}
"""Code: name."""

GLACIER: Final[tuple[SurfaceClass, ...]] = (
    SurfaceClass.FIRN,
    SurfaceClass.SUPERIMPOSED_ICE,
    SurfaceClass.ICE,
    SurfaceClass.CREVASSED,
    SurfaceClass.DEBRIS_COVERED,
)
"""The classes that count as glacier."""


def is_glacier(classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Tell glacier from everything else, pixel by pixel."""
    return np.asarray((classes >= min(GLACIER)) & (classes <= max(GLACIER)))
