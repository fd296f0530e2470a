"""What a simulated scene is asked to be: geometry, dates, radar and retreat. Everything else is drawn from the seed."""

from __future__ import annotations

import datetime as dt
import functools
import math
import numbers
from dataclasses import dataclass

from icemapper_xr import conventions, errors
from icemapper_xr._types import Bounds, Grid
from icemapper_xr.simulate import worlds

__all__ = ["COARSE_LOOKS", "SceneSettings"]

COARSE_LOOKS = (7.0, 25.0)
"""Equivalent looks of RTC products of 30 m: OPERA 7-11, HyP3 9-25 (FACTS 9)."""
ANCHOR_PASS = dt.datetime(2023, 1, 5, 15, 20, tzinfo=dt.UTC)
"""A pass of relative orbit 14; other orbits and dates follow from the repeat cycle (judgement)."""
ANCHOR_ORBIT = 14
ORBITS_PER_CYCLE = 175
"""Orbits in one 12-day repeat cycle of Sentinel-1 (SCIENCE 1.6)."""


@dataclass(frozen=True)
class SceneSettings:
    """Settings of one simulated scene; equal settings give bit-equal arrays on one kind of processor.

    Raises
    ------
    icemapper_xr.errors.OptionError
        If a value is outside its range.
    """

    seed: int = 0
    """Seed of everything that is random: terrain, ice, class means, weather, speckle. Not negative."""
    shape: tuple[int, int] = (1000, 1000)
    """Rows and columns, at least 32 each."""
    world: str = "polar"
    """Kind of world, a name of `worlds.WORLDS`; 'polar' and 'alpine' have glaciers, the others none."""
    resolution: float = conventions.PIXEL_SIZE
    """Pixel size, metres (5 to 40)."""
    epsg: int = 32633
    """EPSG code of the CRS (metres); UTM 33N covers Svalbard."""
    left: float = 520_000.0
    """Left edge, metres, a multiple of the resolution."""
    top: float = 8_690_000.0
    """Upper edge, metres, a multiple of the resolution."""
    years: tuple[int, ...] = (2022, 2023)
    """Years that the scene covers, ascending; the outline of the first is the one before any retreat."""
    relative_orbit: int = 14
    """Relative orbit, 1 to 175; sets the dates of the passes."""
    orbit_state: str = "ascending"
    """'ascending' or 'descending'; sets the look direction."""
    polarisation: str = "HH"
    """Co-polarisation, 'HH' or 'VV'; differs over open water (SCIENCE 2)."""
    platform: str = "S1A"
    """'S1A', 'S1B', 'S1C' or 'S1D'."""
    n_steps: int = conventions.N_STEPS
    """Steps of a year, 24 days each."""
    start_month_day: tuple[int, int] = (1, 1)
    """Month and day on which the first step begins; from July on, in the year before."""
    retreat: float = 6.0
    """Retreat of the lowest margins, metres a year; less at high ones, negative for advance; -200 to 200.

    The default loses about 1 % of the area a year (judgement: Svalbard's rate in FACTS 7 is 0.7 % a year).
    """
    glacier_share: float | None = None
    """Share of the scene that is glacier in the first year, 0.02 to 0.9, met roughly; None draws it from the seed."""
    looks: float | None = None
    """Equivalent looks of the backscatter, 3 to 30 (7 to 25 with a posting above 1); None draws them from the seed."""
    posting: int = 1
    """Pixels of the grid to one of the RTC product, 1 to 4; a coarser product is brought to the grid bilinearly.

    3 is a product of 30 m, such as OPERA's, on a grid of 10 m.
    """
    features: tuple[conventions.Feature, ...] = ("rtc", "insar")
    """Features that `Scene.cube` gives by default."""
    mask_shadow: bool = False
    """Whether layover and shadow are NaN (as in a masked product) instead of dark or bright observations."""
    border: float = 0.0
    """Probability that an acquisition's edge crosses the scene, with NaN beyond it; 0 to 1."""

    def __post_init__(self) -> None:
        """Check every value."""
        for name in ("seed", "posting", "relative_orbit", "n_steps"):
            _require(
                isinstance(getattr(self, name), numbers.Integral),
                f"{name} is {getattr(self, name)}; give a whole number",
            )
        for name in ("left", "top"):
            _require(math.isfinite(getattr(self, name)), f"{name} is {getattr(self, name)}; give a finite number")
        _require(self.seed >= 0, f"seed is {self.seed}; give an integer of at least 0")
        _require(min(self.shape) >= 32, f"shape is {self.shape}; give at least 32 rows and columns")
        _require(5 <= self.resolution <= 40, f"resolution is {self.resolution} m; give 5 to 40")
        for name, edge in (("left", self.left), ("top", self.top)):
            _require(
                abs(edge / self.resolution - round(edge / self.resolution)) < 1e-6,
                f"{name} is {edge}; give a multiple of the resolution ({self.resolution} m)",
            )
        _require(self.world in worlds.WORLDS, f"world is {self.world!r}; choose from {', '.join(worlds.WORLDS)}")
        _require(1 <= self.posting <= 4, f"posting is {self.posting}; give 1 to 4")
        _require(len(self.years) > 0, "years is empty; name at least one year")
        _require(
            all(1000 <= year <= 9998 for year in self.years),
            f"years is {self.years}; give calendar years of four digits, up to 9998",
        )
        _require(
            all(a < b for a, b in zip(self.years, self.years[1:], strict=False)),
            f"years is {self.years}; give each year once, in ascending order",
        )
        _require(
            1 <= self.relative_orbit <= ORBITS_PER_CYCLE, f"relative_orbit is {self.relative_orbit}; give 1 to 175"
        )
        _require(
            self.orbit_state in ("ascending", "descending"),
            f"orbit_state is {self.orbit_state!r}; give 'ascending' or 'descending'",
        )
        _require(self.polarisation in ("HH", "VV"), f"polarisation is {self.polarisation!r}; give 'HH' or 'VV'")
        _require(
            self.platform in ("S1A", "S1B", "S1C", "S1D"), f"platform is {self.platform!r}; give S1A, S1B, S1C or S1D"
        )
        _require(1 <= self.n_steps <= 15, f"n_steps is {self.n_steps}; give 1 to 15")
        _require(-200 <= self.retreat <= 200, f"retreat is {self.retreat} m/a; give -200 to 200")
        _require(
            self.glacier_share is None or 0.02 <= self.glacier_share <= 0.9,
            f"glacier_share is {self.glacier_share}; give 0.02 to 0.9, or None",
        )
        _require(self.looks is None or 3 <= self.looks <= 30, f"looks is {self.looks}; give 3 to 30, or None")
        low, high = COARSE_LOOKS
        _require(
            self.looks is None or self.posting == 1 or low <= self.looks <= high,
            f"looks is {self.looks} with posting {self.posting}; a coarser product has {low:g} to {high:g}, or None",
        )
        _require(0 <= self.border <= 1, f"border is {self.border}; give 0 to 1")
        unknown = set(self.features) - set(conventions.FEATURES)
        _require(
            not unknown and len(set(self.features)) == len(self.features) > 0,
            f"features is {self.features}; choose from {', '.join(conventions.FEATURES)}, each once",
        )
        _require(_is_metric(self.epsg), f"epsg is {self.epsg!r}; give the code of a projected CRS in metres, as 32633")
        try:
            dt.date(2023, *self.start_month_day)
        except ValueError as error:
            raise errors.OptionError(f"start_month_day is {self.start_month_day}; give a month and a day") from error

    @property
    def grid(self) -> Grid:
        """The pixel grid of the scene."""
        from pyproj import CRS

        rows, columns = self.shape
        bounds = Bounds(self.left, self.top - rows * self.resolution, self.left + columns * self.resolution, self.top)
        return Grid(self.epsg, CRS.from_epsg(self.epsg).to_wkt(), self.resolution, bounds)

    def start(self, year: int) -> dt.datetime:
        """First moment of the first step of a year, UTC."""
        month, day = self.start_month_day
        return dt.datetime(year - (month >= 7), month, day, tzinfo=dt.UTC)

    def centres(self, year: int) -> list[dt.datetime]:
        """Centres of the steps of a year, UTC."""
        half = conventions.STEP_DAYS / 2
        return [self.start(year) + dt.timedelta(days=half + conventions.STEP_DAYS * k) for k in range(self.n_steps)]

    def passes(self, year: int) -> list[dt.datetime]:
        """Acquisition times, one a step: every second cycle of the orbit, at most 6 days from the centres."""
        orbit = dt.timedelta(days=conventions.CYCLE_DAYS) / ORBITS_PER_CYCLE
        cycle = dt.timedelta(days=conventions.CYCLE_DAYS)
        anchor = ANCHOR_PASS + (self.relative_orbit - ANCHOR_ORBIT) * orbit
        if self.orbit_state == "descending":
            anchor -= dt.timedelta(hours=9)  # the other side of the orbit, seen over Svalbard in the morning
        anchor = anchor.replace(microsecond=0)
        first = self.centres(year)[0]
        nearest = anchor + round((first - anchor) / cycle) * cycle
        return [nearest + dt.timedelta(days=conventions.STEP_DAYS * k) for k in range(self.n_steps)]

    def pairs(self, year: int) -> list[tuple[dt.datetime, dt.datetime]]:
        """Both dates of each step's 12-day pair: the pair whose middle is nearest to the step's centre."""
        cycle = dt.timedelta(days=conventions.CYCLE_DAYS)
        return [
            (passed - cycle, passed) if passed > centre else (passed, passed + cycle)
            for passed, centre in zip(self.passes(year), self.centres(year), strict=True)
        ]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise errors.OptionError(f"SceneSettings: {message}")


@functools.cache
def _is_metric(epsg: int) -> bool:
    """Whether a code is that of a projected CRS in metres."""
    from icemapper_xr.cube import grid

    try:
        grid.projected(f"EPSG:{epsg}")
    except errors.OptionError:
        return False
    return True
