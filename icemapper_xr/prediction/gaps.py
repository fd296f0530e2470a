"""What the network is fed where nothing was observed: it takes numbers only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import Gap

__all__ = ["fill_gaps", "mirror"]

FOLDS = 64
"""Mirrorings after which a pixel takes the nearest observed one: between small islands an image can go to and fro."""

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.intp]


def fill_gaps(stack: FloatArray, gap: Gap) -> FloatArray:
    """Replace missing steps by what the network is to be fed there.

    Parameters
    ----------
    stack : ndarray, shape (T, y, x)
        One feature in model units; NaN = not observed.
    gap : {"nearest", "zero"}
        The nearest valid step of that pixel, ties to the earlier one; or 0 in model units, as the original program
        does (0 means about -146 dB there, so a missing slice looks extremely dark).

    Returns
    -------
    ndarray, shape (T, y, x)
        Without NaN. Pixels without any valid step are 0; see `mirror`. The input itself if nothing was missing.
    """
    valid = np.isfinite(stack)
    if valid.all():
        return stack
    if gap == "zero":
        return np.where(valid, stack, np.float32(0))
    return _nearest(stack, valid)


def _nearest(stack: FloatArray, valid: BoolArray) -> FloatArray:
    """Fill from the nearest valid step, ties to the earlier one, step by step: temporaries are planes, not cubes."""
    steps = len(stack)
    filled = stack.copy()
    behind = np.zeros(stack.shape, np.int16)
    value = np.zeros(stack.shape[1:], stack.dtype)
    # Steps back to a valid one; whatever is `steps` or more means that there is none.
    distance = np.full(stack.shape[1:], steps, np.int16)
    for t in range(steps):
        distance = np.where(valid[t], np.int16(0), distance + np.int16(1))
        np.copyto(value, stack[t], where=valid[t])
        np.copyto(filled[t], value, where=~valid[t])
        behind[t] = distance
    # The same ahead; without a valid step there it stays larger than any distance behind, and what is filled stays.
    distance = np.full(stack.shape[1:], 3 * steps, np.int16)
    for t in reversed(range(steps)):
        distance = np.where(valid[t], np.int16(0), distance + np.int16(1))
        np.copyto(value, stack[t], where=valid[t])
        np.copyto(filled[t], value, where=distance < behind[t])
    return filled


def mirror(window: FloatArray, observed: Sequence[BoolArray]) -> None:
    """Fill the pixels that have no valid step with the mirror image of what was observed, in place.

    The temporal weights come from a window's mean, which zeros past the edge of a scene would shift for the pixels
    inside it: the map would bear the marks of the windows that hang over. Each pixel takes the one that lies as far on
    the other side of the nearest observed pixel; where that was not observed either, it is mirrored again. Only the
    window is looked at, so the answer does not depend on chunks.

    Parameters
    ----------
    window : ndarray, shape (T, y, x, features)
        Without NaN.
    observed : sequence of ndarray of bool, shape (y, x)
        For each feature where it has a valid step; a feature without any stays as it is.
    """
    found: list[tuple[BoolArray, tuple[IntArray, IntArray]]] = []
    for channel, seen in enumerate(observed):
        if seen.all() or not seen.any():
            continue
        # Features mostly share their edges, and finding the images takes longer than copying them.
        images = next((images for other, images in found if np.array_equal(seen, other)), None)
        if images is None:
            images = _images(seen)
            found.append((seen, images))
        window[:, ~seen, channel] = window[:, *images, channel]


def _images(seen: BoolArray) -> tuple[IntArray, IntArray]:
    """Rows and columns of the observed pixels whose values the pixels that were not observed take."""
    nearest = ndimage.distance_transform_edt(~seen, return_distances=False, return_indices=True)
    last = np.array(seen.shape)[:, None] - 1
    images = np.argwhere(~seen).T
    fallback = nearest[:, *images]
    hidden = np.arange(images.shape[1])
    for _ in range(FOLDS):
        there = images[:, hidden]
        # What falls outside the window comes back in: its border mirrors, too.
        there = last - np.abs(last - np.abs(2 * nearest[:, *there] - there))
        images[:, hidden] = there
        hidden = hidden[~seen[*there]]
        if not hidden.size:
            break
    images[:, hidden] = fallback[:, hidden]
    return images[0], images[1]
