"""Scores of a binary map against the truth, per sample and over all pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Counts", "count", "mean_iou", "total"]


@dataclass(frozen=True)
class Counts:
    """Pixels of the class glacier: agreed, mapped only, in the truth only, in neither."""

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Add the pixels of two samples."""
        return Counts(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
            self.true_negative + other.true_negative,
        )

    @property
    def accuracy(self) -> float:
        """Share of pixels in the right class; 1 without pixels."""
        every = self.true_positive + self.false_positive + self.false_negative + self.true_negative
        return _ratio(self.true_positive + self.true_negative, every)

    @property
    def precision(self) -> float:
        """Share of the mapped pixels that are glacier; 1 if nothing is mapped."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Share of the glacier that is mapped; 1 if there is none."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 if there is no glacier and none is mapped."""
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    @property
    def iou(self) -> float:
        """Intersection over union; 1 if there is no glacier and none is mapped."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive + self.false_negative)

    @property
    def area_bias(self) -> float:
        """Signed error of the area as a share of the true one; NaN without glacier."""
        truth = self.true_positive + self.false_negative
        return (self.false_positive - self.false_negative) / truth if truth else float("nan")

    def scores(self) -> dict[str, float]:
        """Return all scores by name."""
        names = ("accuracy", "precision", "recall", "f1", "iou", "area_bias")
        return {name: float(getattr(self, name)) for name in names}


def count(
    mapped: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_] | None = None
) -> Counts:
    """Count the pixels of one sample; `known` leaves out those without a truth or an answer."""
    if mapped.shape != truth.shape:
        raise ValueError(f"map {mapped.shape} and truth {truth.shape} differ in shape")
    if known is not None:
        mapped, truth = mapped[known], truth[known]
    both = int((mapped & truth).sum())
    false_positive, false_negative = int(mapped.sum()) - both, int(truth.sum()) - both
    return Counts(both, false_positive, false_negative, mapped.size - both - false_positive - false_negative)


def total(counts: Iterable[Counts]) -> Counts:
    """Add the counts of many samples."""
    return sum(counts, Counts())


def mean_iou(counts: Iterable[Counts]) -> float:
    """Mean of the samples' IoU, as the published training monitors it (a sample without glacier or answer is 1)."""
    values = [one.iou for one in counts]
    return float(np.mean(values)) if values else float("nan")


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
