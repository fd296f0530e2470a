"""Scores of maps against the truth: pixels, margins, areas, classes, sizes, regions, and how far to trust them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from icemapper_xr import calibrate, conventions, errors
from icemapper_xr.training import bodies, margins, metrics
from icemapper_xr.training.cases import Case

__all__ = ["NEAR_M", "Evaluation", "Trust", "evaluate", "numbers", "reliabilities"]

NEAR_M = 100.0
"""Calibration is also judged within so many metres of the true margins."""
BINS = 100


@dataclass
class Trust:
    """Reliability of one kind of confidence: over all pixels, and near the margins."""

    everywhere: calibrate.Bins | None = None
    near: calibrate.Bins | None = None

    def add(self, confidence: Any, correct: Any, close: npt.NDArray[np.bool_]) -> None:
        """Add one scene's pixels."""
        every = calibrate.bin_confidence(confidence, correct, bins=BINS)
        some = calibrate.bin_confidence(confidence[close], correct[close], bins=BINS)
        self.everywhere = every if self.everywhere is None else self.everywhere + every
        self.near = some if self.near is None else self.near + some

    def numbers(self) -> dict[str, Any]:
        """Expected calibration errors, and the curve: mean confidence, accuracy and pixels of each filled bin."""
        told: dict[str, Any] = {}
        for name, bins in (("all", self.everywhere), ("near_margins", self.near)):
            if bins is None:
                continue
            confidence, accuracy, n = bins.filled()
            told[name] = {
                "error": bins.expected_error if n.size else None,
                "confidence": np.round(confidence, 5).tolist(),
                "accuracy": np.round(accuracy, 5).tolist(),
                "pixels": n.astype(int).tolist(),
            }
        return told


@dataclass
class Evaluation:
    """Sums over the scenes scored so far."""

    calibration: calibrate.Model | None = None
    counts: dict[str, metrics.Counts] = field(default_factory=dict)
    regions: dict[str, metrics.Counts] = field(default_factory=dict)
    signed: list[npt.NDArray[np.float64]] = field(default_factory=list)
    missed: list[npt.NDArray[np.float64]] = field(default_factory=list)
    """Distances of true margins from mapped ones, metres."""
    alone: int = 0
    """Mapped margin pixels of scenes without a true margin, of which there is no distance."""
    parts: bodies.Bodies = field(default_factory=bodies.Bodies)
    trust: dict[str, Trust] = field(default_factory=dict)
    soft: dict[str, float] = field(default_factory=dict)
    """Sum of the probabilities, by kind."""
    by_scene: dict[str, dict[str, Any]] = field(default_factory=dict)
    unobserved: list[str] = field(default_factory=list)
    """Scenes of which nothing is known: they are in no score."""

    def add(self, case: Case) -> None:
        """Score one scene; one of which nothing is known says nothing."""
        if not case.known.any():
            self.unobserved.append(case.name)
            return
        if case.name in self.counts:
            raise errors.OptionError(f"two scenes are called {case.name!r}: give each a name of its own, with name=")
        mapped, truth = case.mapped, case.truth & case.known
        one = metrics.count(mapped, truth, case.known)
        signed = margins.distances(mapped, truth, case.pixel_size, case.known)
        self.counts[case.name] = one
        self.regions[case.region] = self.regions.get(case.region, metrics.Counts()) + one
        self.signed.append(signed)
        away = margins.missed(mapped, truth, case.pixel_size, case.known)
        self.missed.append(away)
        if not away.size:  # one for each pixel of a true margin
            self.alone += int(margins.edge(mapped, case.known).sum())
        self.by_scene[case.name] = {"region": case.region, **numbers(one), "boundary_m": margins.summary(signed)}
        bodies.look_at(self.parts, mapped, truth, case.known, case.pixel_size, case.classes, case.legend, case.glaciers)
        self._trust(case, truth)

    def _trust(self, case: Case, truth: npt.NDArray[np.bool_]) -> None:
        """Bin the confidences of one scene; they are in the class of the higher probability, at any threshold."""
        p = case.probability[case.known]
        right = (p >= conventions.THRESHOLD) == truth[case.known]
        close = margins.near(truth, case.pixel_size, NEAR_M, case.known)[case.known]
        shannon = calibrate.shannon_confidence(p)
        kinds: dict[str, npt.NDArray[Any]] = {"shannon": shannon, "probability": np.maximum(p, 1 - p)}
        soft: dict[str, npt.NDArray[Any]] = {"probability": p}
        if self.calibration is not None:
            kinds["calibrated"] = self.calibration(shannon)
            soft["calibrated"] = calibrate.calibrated_probability(p, self.calibration)
        for name, confidence in kinds.items():
            self.trust.setdefault(name, Trust()).add(confidence, right, close)
        for name, values in soft.items():
            self.soft[name] = self.soft.get(name, 0.0) + float(np.sum(values, dtype=np.float64))

    def report(self) -> dict[str, Any]:
        """Return all scores as plain numbers; see `evaluate`."""
        if not self.counts:
            raise _none("scored", self.unobserved)
        together = metrics.total(self.counts.values())
        true = together.true_positive + together.false_negative
        return {
            "pixels": numbers(together),
            "mean_iou": metrics.mean_iou(self.counts.values()),
            "soft_area_bias": {name: value / true - 1 for name, value in self.soft.items()} if true else {},
            "boundary_m": {
                **margins.summary(np.concatenate(self.signed)),
                "without_true_margin": self.alone,
                "missed": margins.shares(np.concatenate(self.missed)),
            },
            "regions": {name: numbers(one) for name, one in sorted(self.regions.items())},
            **self.parts.numbers(),
            "calibration": {name: trust.numbers() for name, trust in self.trust.items()},
            "scenes": self.by_scene,
            "unobserved": self.unobserved,
        }


def evaluate(cases: Iterable[Case], *, calibration: calibrate.Model | None = None) -> dict[str, Any]:
    """Score mapped scenes.

    Parameters
    ----------
    cases
        From `cases.simulated`, `cases.published` or `reference.compared`; taken one by one.
    calibration
        Judged beside the network's own probability; None judges that alone.

    Returns
    -------
    dict
        Plain numbers. 'pixels': accuracy, precision, recall, f1, iou and signed area bias over all pixels; 'scenes':
        the same by scene; 'mean_iou': mean over the scenes (one without glacier and without a mapped pixel counts 1);
        'regions'; 'soft_area_bias': sum of the probabilities against the true area; 'boundary_m': median, 95 % and
        signed median distance of the mapped margins from the true ones (positive: mapped outside), mapped margin pixels
        in scenes that have no true one, and in 'missed' the share of the true margins with none mapped within 60 and
        within 300 m, which those distances do not tell; 'classes': share of
        each surface class, and of its patches above 0.01 km2, that is called glacier (a false positive, or the recall
        of a class of ice); 'sizes_km2' and 'termini': the same of the true glaciers by area and by terminus;
        'calibration': for each kind of confidence the expected error and the curve, over all pixels and within 100 m
        of the true margins; 'unobserved': names of the scenes in which nothing was observed, which are in no score.

    Warns
    -----
    UserWarning
        If there are such scenes.
    """
    scores = Evaluation(calibration)
    for case in cases:
        scores.add(case)
    report = scores.report()
    _warn_of(scores.unobserved, len(scores.counts), "score")
    return report


def _none(verb: str, unobserved: list[str]) -> errors.OptionError:
    """Say why there is nothing that could be scored or fitted to."""
    if not unobserved:
        return errors.OptionError(f"no scene was {verb}: name at least one seed or sample")
    return errors.OptionError(
        f"no scene was {verb}: nothing was observed in any of {len(unobserved)} ({_listed(unobserved)}); name scenes "
        "or samples that have values in every feature"
    )


def _warn_of(unobserved: list[str], others: int, what: str) -> None:
    """Tell of scenes that are left out, as nothing is known of them."""
    if unobserved:
        warnings.warn(
            f"nothing was observed in {len(unobserved)} of {len(unobserved) + others} scenes, which are in no {what}: "
            f"{_listed(unobserved)}",
            UserWarning,
            stacklevel=3,
        )


def _listed(names: list[str], most: int = 5) -> str:
    """Name some, and how many others there are.

    >>> _listed(["a", "b"]), _listed(["a", "b", "c"], 2)
    ('a, b', 'a, b and 1 more')
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def reliabilities(cases: Iterable[Case]) -> calibrate.Bins:
    """Return the reliability of the Shannon confidence over all scenes: what calibrations are fitted to.

    Raises
    ------
    OptionError
        If there is no scene, or nothing was observed in any.

    Warns
    -----
    UserWarning
        If nothing was observed in some.
    """
    total: calibrate.Bins | None = None
    seen, unobserved = 0, list[str]()
    for case in cases:
        if not case.known.any():
            unobserved.append(case.name)
            continue
        seen += 1
        p, truth = case.probability[case.known], case.truth[case.known]
        bins = calibrate.bin_confidence(
            calibrate.shannon_confidence(p), (p >= conventions.THRESHOLD) == truth, bins=BINS
        )
        total = bins if total is None else total + bins
    if total is None:
        raise _none("fitted to", unobserved)
    _warn_of(unobserved, seen, "fit")
    return total


def numbers(counts: metrics.Counts) -> dict[str, float | None]:
    """Scores for JSON, which knows no NaN: the area bias of a scene without glacier is None."""
    return {name: None if np.isnan(value) else value for name, value in counts.scores().items()}
