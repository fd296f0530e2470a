"""The filters of a search, and the account of what each removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from icemapper_xr import conventions
from icemapper_xr._types import Observation, is_whole
from icemapper_xr.catalog import area, observe, orbits
from icemapper_xr.catalog.facts import MODES, POLARISATIONS
from icemapper_xr.conventions import FEATURES, Feature
from icemapper_xr.errors import CatalogError

if TYPE_CHECKING:
    import pystac
    from shapely.geometry.base import BaseGeometry

__all__ = ["FILTERS", "Sieve", "check_features"]

FILTERS: Final = ("area", "time", "feature", "polarisation", "orbit", "mode")
"""In the order in which they are applied."""


def _checked(name: str, value: str | None, allowed: Iterable[str]) -> str | None:
    if value is not None and value.upper() not in allowed:
        raise CatalogError(f"{name} {value!r} is unknown: choose among {', '.join(allowed)}")
    return value.upper() if value is not None else None


def check_features(features: Sequence[Feature] | Feature) -> tuple[Feature, ...]:
    """Return the features asked for in the order of the channels.

    Raises
    ------
    CatalogError
        One is unknown, or there are none.
    """
    wanted = conventions.listed(features)
    for feature in wanted or ("",):
        if feature not in FEATURES:
            raise CatalogError(f"feature {feature!r} is unknown: choose among {', '.join(FEATURES)}")
    return tuple(feature for feature in FEATURES if feature in wanted)


@dataclass
class Sieve:
    """Lets through what fits and remembers what it held back."""

    where: BaseGeometry | None
    """Area in longitude/latitude; None for everywhere."""
    when: area.Period
    features: tuple[Feature, ...]
    polarisation: str | None = None
    orbit: int | None = None
    mode: str | None = None
    lost: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in FILTERS})
    """For each filter the items, or the observations of the items, that it removed; one entry an item."""

    def __post_init__(self) -> None:
        """Check the values.

        Raises
        ------
        CatalogError
            One is unknown or out of range.
        """
        self.polarisation = _checked("polarisation", self.polarisation, POLARISATIONS)
        self.mode = _checked("mode", self.mode, MODES)
        if self.orbit is not None and not (is_whole(self.orbit) and 1 <= self.orbit <= orbits.REPEAT):
            raise CatalogError(f"orbit {self.orbit!r} is no relative orbit of Sentinel-1: give 1 to {orbits.REPEAT}")

    @property
    def dropped(self) -> dict[str, int]:
        """Number of items that each filter removed."""
        return {name: len(items) for name, items in self.lost.items()}

    def sift(self, item: pystac.Item, source: str) -> list[Observation]:
        """Return the observations of an item that fit; an item counts for the first filter that leaves nothing."""
        shape = area.item_shape(item, source=source) if self.where is not None else None
        if shape is not None and self.where is not None and not shape.intersects(self.where):
            self.lost["area"].append(item)
            return []
        if not self.when.overlaps(area.item_period(item, source=source)):
            self.lost["time"].append(item)
            return []
        found = list(observe.observations(item, source=source))
        for name, fits in self._tests():
            left = [one for one in found if fits(one)]
            if not left:
                self.lost[name].append(found)
                return []
            found = left
        return found

    def _tests(self) -> tuple[tuple[str, Callable[[Observation], bool]], ...]:
        return (
            ("feature", lambda one: one.feature in self.features),
            ("polarisation", lambda one: _fits(self.polarisation, one, one.polarisation)),
            ("orbit", lambda one: _fits(self.orbit, one, one.relative_orbit)),
            ("mode", lambda one: self.mode in (None, one.mode)),
        )

    def account(self) -> str:
        """Say how many items each filter removed, what was asked for, and what there is instead."""
        asked = {
            "area": "",
            "time": self.when.days,
            "feature": ", ".join(self.features),
            "polarisation": self.polarisation or "",
            "orbit": str(self.orbit or ""),
            "mode": self.mode or "",
        }
        parts = []
        for name, items in self.lost.items():
            if items:
                wanted = f"asked {asked[name]}, " if asked[name] else ""
                parts.append(f"{len(items)} by {name} ({wanted}there is {_range(name, items)})")
        return ", ".join(parts)


def _fits(asked: Any, one: Observation, there: Any) -> bool:
    """Tell whether a value is the one asked for.

    Names of coherence products need not tell orbit and polarisation: what is not known there fits, and the cube takes
    it if it finds nothing better (and says so).
    """
    return asked is None or there == asked or (one.feature == "insar" and there is None)


def _range(name: str, items: list[Any]) -> str:
    """Describe what the items removed by a filter have."""
    if name == "area":
        import shapely

        shapes = [shape for shape in map(area.item_shape, items) if shape is not None]
        return " ".join(f"{edge:.4g}" for edge in shapely.total_bounds(shapes)) if shapes else "no footprint"
    if name == "time":
        periods = [area.item_period(item) for item in items]
        starts = sorted(one.start.date().isoformat() for one in periods if one.start)
        ends = sorted(one.end.date().isoformat() for one in periods if one.end)
        return f"{starts[0]} to {ends[-1]}" if starts and ends else "no date"
    attribute = "relative_orbit" if name == "orbit" else name
    values = {getattr(one, attribute) for found in items for one in found}
    known = sorted((value for value in values if value is not None), key=lambda value: (isinstance(value, str), value))
    text = [str(value) for value in known[:12]] + (["..."] if len(known) > 12 else [])
    if None in values:
        option = name.replace("orbit", "relative-orbit")
        text.append(f"unknown: tell it with `icemapper catalog build --{option}`")
    return ", ".join(text) or "neither backscatter nor coherence of Sentinel-1"
