"""What a training sample is, wherever it comes from: a stack of dates per feature, and the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import FEATURE_RANGES, Feature

__all__ = ["Crop", "Sample", "scale"]

IntArray = npt.NDArray[np.int64]


class Crop(NamedTuple):
    """A square of a sample."""

    y: int
    x: int
    size: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.y, self.y + self.size), slice(self.x, self.x + self.size)

    def unpadded(self, inner: tuple[slice, slice]) -> tuple[slice, slice]:
        """Rows and columns of the square that are no padding, counted from its corner; `inner` as of the sample."""
        rows, columns = inner
        return _from(rows, self.y), _from(columns, self.x)


def _from(span: slice, begin: int) -> slice:
    return slice(max(0, span.start - begin), max(0, span.stop - begin))


class Sample(Protocol):
    """One scene of one year and orbit, read piece by piece."""

    @property
    def name(self) -> str:
        """Name for messages."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, padding included."""
        ...

    @property
    def inner(self) -> tuple[slice, slice]:
        """Rows and columns that are no padding."""
        ...

    @property
    def base(self) -> Mapping[Feature, IntArray]:
        """For each feature the indices of the 15 steps among its dates."""
        ...

    @property
    def dates(self) -> Mapping[Feature, int]:
        """Number of dates of each feature."""
        ...

    def read(self, feature: Feature, dates: IntArray, crop: Crop) -> FloatArray:
        """Return `(len(dates), size, size)` in model units, NaN where not observed; a date may be named twice.

        The array is new: the caller may change it.
        """
        ...

    def truth(self, crop: Crop) -> npt.NDArray[np.bool_]:
        """Return `(size, size)`, True on glacier."""
        ...

    def pixels(self, surface: str) -> IntArray:
        """Return the flat indices of the pixels of a surface class; none where only glaciers are known."""
        ...


def scale(values: npt.NDArray[np.floating], feature: Feature) -> FloatArray:
    """Bring a feature from its unit (dB, 1) to model units, without clipping; NaN stays."""
    limits = FEATURE_RANGES[feature]
    scaled: FloatArray = np.subtract(values, limits.minimum, dtype=np.float32)
    scaled /= limits.maximum - limits.minimum
    return scaled
