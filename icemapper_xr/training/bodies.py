"""Scores by surface class, by object, by size of the glacier and by kind of terminus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["SIZES", "Bodies", "Glaciers", "by_class", "look_at"]

BoolArray = npt.NDArray[np.bool_]

SIZES: Final = (0.01, 0.1, 0.5, 1.0, 5.0, 20.0)
"""Lower ends of the size classes of glaciers, km2; the last is open."""
SMALLEST_OBJECT: Final = 0.01
"""Objects below this many km2 are not counted one by one."""
FOUND: Final = 0.5
"""Share of an object that is called glacier from which the object counts as called glacier."""
TERMINI: Final = {"marine": ("sea", "melange"), "lake": ("lake",)}
"""Surface classes that make a terminus; what touches none of them ends on land."""
EIGHT: Final = np.ones((3, 3), int)


@dataclass
class Tally:
    """Objects and pixels of one group."""

    objects: int = 0
    called: int = 0
    """Objects of which at least half is called glacier."""
    pixels: int = 0
    called_pixels: int = 0

    def add(self, pixels: int, called: int) -> None:
        """Add one object."""
        self.objects += 1
        self.called += called >= FOUND * pixels
        self.pixels += pixels
        self.called_pixels += called

    def numbers(self) -> dict[str, Any]:
        """Return plain numbers: how many, and the shares of objects and of pixels that are called glacier."""
        return {
            "objects": self.objects,
            "called_objects": self.called / self.objects if self.objects else None,
            "pixels": self.pixels,
            "called_pixels": self.called_pixels / self.pixels if self.pixels else None,
        }


@dataclass(frozen=True, eq=False)
class Glaciers:
    """True glaciers that are told apart where they touch: those of an inventory, which divides cut from one another."""

    labels: npt.NDArray[np.int32]
    """`(y, x)`: the number of each pixel's glacier, from 1 on; 0 where there is none."""
    km2: Mapping[int, float]
    """Area of each glacier by its number, what lies outside the scene included."""
    termini: Mapping[int, str] | None = None
    """How each of them ends; None where nobody knows."""


@dataclass
class Bodies:
    """Sums over all scenes."""

    classes: dict[str, Tally] = field(default_factory=dict)
    """By surface class; objects are 8-connected patches of it of at least `SMALLEST_OBJECT`."""
    sizes: dict[str, Tally] = field(default_factory=dict)
    """True glacier bodies by area."""
    termini: dict[str, Tally] = field(default_factory=dict)
    """True glacier bodies by what they end in."""

    def numbers(self) -> dict[str, Any]:
        """Return plain numbers: recall where the truth is glacier, false positives where it is not."""
        sizes = dict(sorted(self.sizes.items(), key=lambda one: float(one[0].split()[0])))
        return {
            name: {key: tally.numbers() for key, tally in group.items()}
            for name, group in (("classes", self.classes), ("sizes_km2", sizes), ("termini", self.termini))
        }


def size_class(km2: float) -> str:
    """Return the name of a glacier's size class."""
    lower = max((low for low in SIZES if km2 >= low), default=0.0)
    upper = next((high for high in SIZES if high > lower), None)
    return f"{lower:g} and more" if upper is None else f"{lower:g} to {upper:g}"


def look_at(
    bodies: Bodies,
    mapped: BoolArray,
    truth: BoolArray,
    known: BoolArray,
    pixel_size: float,
    classes: npt.NDArray[np.uint8] | None = None,
    legend: Mapping[int, str] | None = None,
    glaciers: Glaciers | None = None,
) -> None:
    """Add one scene.

    Without `glaciers` all ice that hangs together is one, and one that the scene's edge cuts has the size of what of it
    is inside.
    """
    km2 = (pixel_size / 1000) ** 2
    names = dict(legend or {})
    touching = {
        kind: ndimage.binary_dilation(np.isin(classes, [code for code, name in names.items() if name in found]), EIGHT)
        for kind, found in TERMINI.items()
        if classes is not None
    }
    ice = truth & known
    labels = ndimage.label(ice, EIGHT)[0] if glaciers is None else np.where(ice, glaciers.labels, 0)
    for number, where in enumerate(ndimage.find_objects(labels), 1):
        if where is None:  # of no pixel that is known
            continue
        body = labels[where] == number
        pixels, called = int(body.sum()), int(mapped[where][body].sum())
        area = pixels * km2 if glaciers is None else glaciers.km2[number]
        bodies.sizes.setdefault(size_class(area), Tally()).add(pixels, called)
        kind = None
        if glaciers is not None and glaciers.termini is not None:
            kind = glaciers.termini[number]
        elif classes is not None:
            kind = next((kind for kind, mask in touching.items() if mask[where][body].any()), "land")
        if kind is not None:
            bodies.termini.setdefault(kind, Tally()).add(pixels, called)
    if classes is not None:
        by_class(bodies, mapped, known, classes, names, SMALLEST_OBJECT / km2)


def by_class(
    bodies: Bodies,
    mapped: BoolArray,
    known: BoolArray,
    classes: npt.NDArray[np.uint8],
    legend: Mapping[int, str],
    smallest: float,
) -> None:
    """Add the patches of each surface class; those below `smallest` pixels count as pixels only."""
    for code, name in legend.items():
        mask = (classes == code) & known
        if not mask.any():
            continue
        tally = bodies.classes.setdefault(name, Tally())
        labels, count = ndimage.label(mask, EIGHT)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
        called = np.bincount(labels[mapped].ravel(), minlength=count + 1)[1:]
        large = sizes >= smallest
        tally.objects += int(large.sum())
        tally.called += int((called[large] >= FOUND * sizes[large]).sum())
        tally.pixels += int(sizes.sum())
        tally.called_pixels += int(called.sum())
