"""The weather of a year: melt and refreeze by elevation, rain, snowfall, wind, wet ground, and each date's error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from icemapper_xr._types import FloatArray
from icemapper_xr.simulate import fields, tables
from icemapper_xr.simulate.classes import SurfaceClass
from icemapper_xr.simulate.site import Climate

__all__ = ["Calendar", "Weather", "calendar", "draw_weather", "growth", "season_shares"]

QUIET = (0.05, 0.2)
"""Chance that a pair has a snowfall or a gale outside high summer, drawn per year (judgement)."""


@dataclass(frozen=True)
class Weather:
    """What a year drew, per step."""

    error: FloatArray
    """Error common to the whole scene, dB."""
    rain: FloatArray
    """Elevation below which winter rain has wetted the snow on the date, metres; -1 for none."""
    crusts: FloatArray
    """Ice layers that rain events before the date have left, dB."""
    wet_ground: FloatArray
    """Rise of snow-free ground after rain, dB."""
    disturbed: FloatArray
    """Factor on the coherence of the whole scene's pair: snowfall, wind, rain between its dates."""
    sea: FloatArray
    """Backscatter of the open sea relative to its mean, dB."""
    shift: FloatArray
    """Change of the class means from year to year, dB, `(class,)`."""


@dataclass(frozen=True)
class Calendar:
    """Days of the year of melt onset, of bare ground and of refreeze, per pixel `(y, x)`."""

    onset: FloatArray
    bare: FloatArray
    freeze: FloatArray


def draw_weather(seed: int, year: int, days: FloatArray, climate: Climate) -> Weather:
    """Draw the weather of a year with passes on the given days of the year."""
    rng = fields.generator(seed, "weather", year)
    n = len(days)
    winter = (days < min(climate.onset, 130)) | (days > climate.freeze + 15)
    events = np.sort(
        rng.choice(np.r_[1:125, 290:365], size=rng.integers(1, 4), replace=False)
    )  # 1-3 a year (SCIENCE 2)
    since = days[:, None] - events[None, :]
    same_winter = (days > 200)[:, None] == (events > 200)[None, :]
    if (turn := np.diff(days) < 0).any():  # a series that begins before December: its winter goes on from that autumn
        later = (np.arange(n) > np.argmax(turn))[:, None] & (events > 200)[None, :]
        since, same_winter = since + 365 * later, same_winter | later
    wet = ((since >= 0) & (since <= 5)).any(axis=1) & winter
    crusts = ((since > 5) & same_winter).sum(axis=1) * rng.uniform(0.3, 1.0)
    spanned = (np.abs(since) <= 8).any(axis=1)
    calm = np.where((days > 175) & (days < 262), 0.4, 1.0)  # fewer in high summer
    stormy = rng.random(n) < rng.uniform(*QUIET) * calm
    disturbed = np.where(stormy | spanned, rng.uniform(0.3, 0.6, n), rng.uniform(0.85, 1.0, n))  # SCIENCE 2: 0.3-0.6
    ground = np.where(rng.random(n) < 0.25, rng.uniform(2, 3, n), 0.0)  # SCIENCE 2, FACTS 9: +2..+3 dB
    return Weather(
        error=rng.normal(0, rng.uniform(0.5, 1.0), n).astype(np.float32),  # SCIENCE 2: 0.5-1 dB
        rain=np.where(wet, rng.uniform(150, 700, n), -1).astype(np.float32),
        crusts=crusts.astype(np.float32),
        wet_ground=ground.astype(np.float32),
        disturbed=disturbed.astype(np.float32),
        sea=(climate.wind * rng.normal(0, 1, n).clip(-1.6, 1.6)).astype(np.float32),
        shift=rng.normal(0, 0.3, len(SurfaceClass)).astype(np.float32),
    )


def calendar(
    climate: Climate,
    seed: int,
    year: int,
    height: FloatArray,
    classes: npt.NDArray[np.uint8],
    resolution: float,
) -> Calendar:
    """Days of melt onset, end of the snow and refreeze, by height above the reference level, with 5 days of noise.

    Lapses and durations are the climate's (`worlds`); the noise is SCIENCE 2's. Wind-swept ground loses its snow
    earlier than hollows and glaciers.
    """
    rng = fields.generator(seed, "calendar", year)
    length = 700 / resolution
    noise = [4 * fields.smooth_noise(rng, height.shape, length=length) for _ in range(3)]
    patchy = 4 * fields.smooth_noise(rng, height.shape, length=120 / resolution)
    year_shift = rng.normal(0, 4, 3)
    onset = climate.onset + year_shift[0] + height * climate.onset_lapse + noise[0]
    melt = np.maximum(climate.melt + height * climate.melt_lapse, 5)
    bare = onset + melt + year_shift[1] + noise[1] + patchy + tables.by_class(tables.SNOW)[classes]
    freeze = climate.freeze + year_shift[2] - height * climate.freeze_lapse + noise[2]
    return Calendar(*(np.asarray(a, dtype=np.float32) for a in (onset, bare, freeze)))


def season_shares(days: Calendar, day: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Shares of winter, wet-snow and late-summer state of each pixel on a day; they sum to one.

    The wet-snow share rises within days of the onset and falls over weeks as the surface roughens and clears: the
    U of the wet-snow season. Refreeze brings winter back.
    """
    wet = fields.sigmoid((day - days.onset) / 3) * fields.sigmoid((days.freeze - day) / 3)
    late = wet * fields.sigmoid((day - days.bare) / 6)
    return np.asarray(1 - wet), np.asarray(wet - late), late


def growth(day: float) -> float:
    """Growing season, 0 to 1, highest in mid-July."""
    return float(max(0.0, np.cos(2 * np.pi * (day - 196) / 365)))
