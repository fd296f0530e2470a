"""Windows of one block, in plain numpy."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions, tiling
from icemapper_xr._types import FloatArray, Segmenter
from icemapper_xr.conventions import Gap, Unobserved
from icemapper_xr.errors import WeightsError
from icemapper_xr.prediction import gaps

__all__ = [
    "Partial",
    "SumArray",
    "Windows",
    "blend",
    "check_answers",
    "divide",
    "evaluate",
    "observed",
    "tally",
    "unobserved",
    "valid_steps",
]

log = logging.getLogger(__name__)

BATCH_BYTES = 32 * 2**20
"""Input of one call at most, unless one window alone is larger, of a segmenter that does not say its `batch_size`."""


UNIT = 2.0**40
"""What stands for a weight of 1 in the sums: they are whole numbers, so that the order of adding does not matter.

Floating-point sums differ in the last bit with the order in which windows and the neighbours' strips come, and with
it a map with the chunks. A whole number of 2^-40 is exact to 1e-12, far below what float32 can tell.
"""

SumArray = npt.NDArray[np.int64]
"""Sums of weighted probabilities, (y, x), in multiples of 1 / UNIT."""


class Windows(NamedTuple):
    """How many windows were evaluated, and how many skipped because nothing in them is observed or wanted."""

    evaluated: int = 0
    skipped: int = 0

    def plus(self, other: Windows) -> Windows:
        """Return the sums of both numbers."""
        return Windows(self.evaluated + other.evaluated, self.skipped + other.skipped)


class _Tally:
    """Windows of this process so far, over all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sum = Windows()

    def add(self, windows: Windows) -> None:
        with self._lock:
            self._sum = self._sum.plus(windows)

    def read(self) -> Windows:
        with self._lock:
            return self._sum


_TALLY = _Tally()


def tally() -> Windows:
    """Return how many windows this process has evaluated and skipped so far."""
    return _TALLY.read()


class Partial(NamedTuple):
    """Weighted sums of one chunk's windows: its own pixels, and the strips that belong to its neighbours."""

    core: SumArray
    below: SumArray
    right: SumArray
    corner: SumArray
    windows: Windows


def unobserved(segmenter: Segmenter, gap: Gap) -> Unobserved:
    """Return what the network is fed where a feature has no valid step at all, as its weights were made for it.

    Segmenters that do not say take zeros, as the original program does; so do all where `gap` is "zero".
    """
    said: Unobserved = getattr(segmenter, "unobserved", "zero")
    return said if gap == "nearest" else "zero"


def observed(features: list[FloatArray]) -> npt.NDArray[np.bool_]:
    """Return where every feature has at least one valid step; features have shape (T, y, x)."""
    seen = [np.isfinite(stack).any(axis=0) for stack in features]
    together: npt.NDArray[np.bool_] = np.logical_and.reduce(seen)
    return together


def valid_steps(features: list[FloatArray]) -> npt.NDArray[np.uint8]:
    """Return in how many steps every feature is valid; features have shape (T, y, x)."""
    valid = np.logical_and.reduce([np.isfinite(stack) for stack in features])
    steps: npt.NDArray[np.uint8] = valid.sum(axis=0).astype(np.uint8)
    return steps


def _corners(shape: tuple[int, int], window: int, stride: int) -> Iterator[tuple[int, int]]:
    """Corners of the windows that lie wholly in a block, row by row."""
    for y in range(0, shape[0] - window + 1, stride):
        for x in range(0, shape[1] - window + 1, stride):
            yield y, x


def _sum_windows(
    features: Sequence[FloatArray],
    corners: list[tuple[int, int]],
    segmenter: Segmenter,
    on_windows: Callable[[int, int], None] | None = None,
    seen: Sequence[npt.NDArray[np.bool_]] = (),
) -> SumArray:
    """Evaluate windows in batches and add their weighted answers; features have shape (T, y, x).

    The network's features lie beside each other in its windows; to lay out the whole block so would copy it. What lies
    outside `seen`, where that is given for each feature, is mirrored.
    """
    side = segmenter.window
    line = tiling.gaussian(side)
    kernel = np.outer(line, line) * UNIT
    total = np.zeros(features[0].shape[1:], np.int64)
    shape = (len(features[0]), side, side, len(features))
    batch = getattr(segmenter, "batch_size", None) or max(1, BATCH_BYTES // (math.prod(shape) * 4))
    for k in range(0, len(corners), batch):
        some = corners[k : k + batch]
        windows = np.empty((len(some), *shape), np.float32)
        for window, (y, x) in zip(windows, some, strict=True):
            for channel, feature in enumerate(features):
                window[..., channel] = feature[:, y : y + side, x : x + side]
            gaps.mirror(window, [one[y : y + side, x : x + side] for one in seen])
        answers = segmenter(windows)
        check_answers(answers, windows)
        for (y, x), answer in zip(some, answers, strict=True):
            total[y : y + side, x : x + side] += np.rint(answer * kernel).astype(np.int64)
        if on_windows is not None:
            on_windows(len(some), len(corners))
    return total


def check_answers(answers: FloatArray, windows: FloatArray) -> None:
    """Refuse answers that are no probabilities of the windows' pixels."""
    if answers.shape != windows.shape[:1] + windows.shape[2:4]:
        raise WeightsError(
            f"the network answers with shape {answers.shape} to windows of shape {windows.shape}; one probability a "
            "pixel is wanted, (windows, y, x)"
        )
    if not np.isfinite(answers).all():
        raise WeightsError(
            f"the network answers with values that are no numbers to an input of {windows.min():g} to "
            f"{windows.max():g}: where that is about 0 to 1 its weights are damaged, elsewhere mend the rasters"
        )


def evaluate(
    *blocks: FloatArray,
    segmenter: Segmenter,
    stride: int,
    gap: Gap,
    mask: npt.NDArray[np.bool_] | None = None,
    last: tuple[bool, bool] = (True, True),
    on_windows: Callable[[int, int], None] | None = None,
) -> Partial:
    """Evaluate the windows that a block owns.

    Parameters
    ----------
    *blocks : ndarray, shape (T, y, x)
        One array a feature, in the segmenter's order and in model units, with the halo below and to the right.
    segmenter, gap
        As in `predict`.
    stride
        Pixels from one window to the next.
    mask : ndarray of bool, shape (y, x), optional
        Windows without any True are skipped.
    last
        Whether the block is the last one in y and in x: then its halo belongs to itself.
    on_windows
        Called with the windows just done and the windows in all; what it raises ends the evaluation.

    Returns
    -------
    Partial
        Sums of weighted probabilities, not yet divided by the sum of the weights.
    """
    side = segmenter.window
    features = [np.asarray(block, np.float32) for block in blocks]
    seen = [observed([feature]) for feature in features]
    wanted = np.logical_and.reduce(seen if mask is None else [*seen, mask])
    corners = list(_corners((wanted.shape[0], wanted.shape[1]), side, stride))
    kept = [(y, x) for y, x in corners if wanted[y : y + side, x : x + side].any()]
    windows = Windows(len(kept), len(corners) - len(kept))
    _TALLY.add(windows)
    log.debug("%d windows evaluated, %d skipped", *windows)
    if kept:
        filled = [gaps.fill_gaps(feature, gap) for feature in features]
        mirrored = unobserved(segmenter, gap) == "mirror"
        total = _sum_windows(filled, kept, segmenter, on_windows, seen if mirrored else ())
    else:
        total = np.zeros(wanted.shape, np.int64)
    halo = side - stride
    y, x = (size if final else size - halo for size, final in zip(total.shape, last, strict=True))
    # Copies, so that the strips do not hold the whole block in memory while they wait for their neighbours.
    return Partial(
        core=total[:y, :x].copy(),
        below=total[y:, :x].copy(),
        right=total[:y, x:].copy(),
        corner=total[y:, x:].copy(),
        windows=windows,
    )


def blend(
    stack: FloatArray,
    segmenter: Segmenter,
    *,
    on_windows: Callable[[int, int], None] | None = None,
) -> FloatArray:
    """Map a whole scene in memory as the original program does: windows from its corner on, zeros past the edges.

    Parameters
    ----------
    stack : ndarray, shape (T, y, x, features)
        Scaled float32 without NaN.
    segmenter
        The model.
    on_windows
        Called with the windows just done and the windows in all, for progress.

    Returns
    -------
    ndarray, shape (y, x)
        Glacier probability, float32.
    """
    stride = tiling.stride_of(segmenter.window, conventions.OVERLAP)
    rows, columns = (tiling.anchored_axis(size, window=segmenter.window, stride=stride) for size in stack.shape[1:3])
    padded = np.zeros((stack.shape[0], rows.length, columns.length, stack.shape[3]), np.float32)
    padded[:, : stack.shape[1], : stack.shape[2]] = stack
    corners = list(_corners((rows.length, columns.length), segmenter.window, stride))
    features = [padded[..., channel] for channel in range(padded.shape[3])]
    total = _sum_windows(features, corners, segmenter, on_windows)
    return divide(total, tiling.weight_sum(rows), tiling.weight_sum(columns))[: stack.shape[1], : stack.shape[2]]


def divide(total: SumArray, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]) -> FloatArray:
    """Divide weighted sums (y, x) by the sums of the weights along y and along x."""
    mean = total / (np.outer(rows, columns) * UNIT)
    # The mean of numbers in 0..1 can exceed 1 by a rounding error.
    return np.clip(mean, 0, 1).astype(np.float32)
