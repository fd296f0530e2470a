"""Distances of mapped margins from the true ones, and what lies near a margin."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["distances", "edge", "missed", "near", "shares", "summary"]

BoolArray = npt.NDArray[np.bool_]


def edge(mask: BoolArray, known: BoolArray | None = None) -> BoolArray:
    """Return glacier pixels with a 4-neighbour that is none.

    The array's edge is no margin, nor is what lies within a pixel of what is not `known`: that is the data's edge.
    """
    margin: BoolArray = mask & ~ndimage.binary_erosion(mask, border_value=1)
    if known is not None and not known.all():
        margin &= ndimage.binary_erosion(known, np.ones((3, 3)), border_value=1)
    return margin


def distances(
    mapped: BoolArray, truth: BoolArray, pixel_size: float, known: BoolArray | None = None
) -> npt.NDArray[np.float64]:
    """Return the signed distance of every mapped margin pixel from the nearest true margin, metres.

    A margin pixel is a glacier pixel with a 4-neighbour that is none; positive lies outside the true glacier. Empty if
    either map has no margin; the data's edge is none.
    """
    ours, true = edge(mapped, known), edge(truth, known)
    if not ours.any() or not true.any():
        return np.zeros(0)
    distance = ndimage.distance_transform_edt(~true) * pixel_size
    sign = np.where(truth, -1.0, 1.0)
    signed: npt.NDArray[np.float64] = (distance * sign)[ours]
    return signed


def missed(
    mapped: BoolArray, truth: BoolArray, pixel_size: float, known: BoolArray | None = None
) -> npt.NDArray[np.float64]:
    """Return the distance of every true margin pixel from the nearest mapped margin, metres, infinite without any.

    `distances` alone would not notice a glacier that was not mapped.
    """
    ours, true = edge(mapped, known), edge(truth, known)
    if not ours.any():
        return np.full(int(true.sum()), np.inf)
    away: npt.NDArray[np.float64] = ndimage.distance_transform_edt(~ours)[true] * pixel_size
    return away


def near(truth: BoolArray, pixel_size: float, reach: float = 100.0, known: BoolArray | None = None) -> BoolArray:
    """Return the pixels within `reach` metres of a true margin, on both sides; the data's edge is none."""
    margin = edge(truth, known)
    if not margin.any():
        return np.zeros(truth.shape, bool)
    return np.asarray(ndimage.distance_transform_edt(~margin) * pixel_size <= reach)


def shares(away: npt.NDArray[np.float64]) -> dict[str, float | int | None]:
    """Share of true margin pixels farther from all mapped ones than 60 and 300 m; None where there are none."""
    far = {f"beyond_{limit}": float(np.mean(away > limit)) if away.size else None for limit in (60, 300)}
    return {**far, "pixels": int(away.size)}


def summary(signed: npt.NDArray[np.float64]) -> dict[str, float | int | None]:
    """Median, 95 % and signed median of signed distances, metres; None where there are none."""
    if signed.size == 0:
        return {"median": None, "p95": None, "signed_median": None, "pixels": 0}
    return {
        "median": float(np.median(np.abs(signed))),
        "p95": float(np.percentile(np.abs(signed), 95)),
        "signed_median": float(np.median(signed)),
        "pixels": int(signed.size),
    }
