"""Names without a product's pattern: words in any order, ESA granules, dates."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Final

from icemapper_xr._types import Quantity, Scale
from icemapper_xr.catalog import orbits
from icemapper_xr.catalog.facts import MODES, POLARISATIONS, Facts
from icemapper_xr.conventions import Feature

__all__ = ["parse_granule", "parse_words", "polarisations", "utc"]

_FEATURE_WORDS: Final[dict[str, Feature]] = {
    "rtc": "rtc",
    "grd": "grd",
    "insar": "insar",
    "coh": "insar",
    "coherence": "insar",
    "corr": "insar",
}
_QUANTITY_WORDS: Final[dict[str, Quantity]] = {
    "gamma0": "gamma0",
    "g0": "gamma0",
    "sigma0": "sigma0",
    "s0": "sigma0",
    "beta0": "beta0",
}
_SCALE_WORDS: Final[dict[str, Scale]] = {
    "db": "dB",
    "power": "power",
    "linear": "power",
    "lin": "power",
    "amplitude": "amplitude",
}
_STATE_WORDS: Final = {"asc": "ascending", "ascending": "ascending", "desc": "descending", "descending": "descending"}

_GRANULE: Final = re.compile(
    r"(?P<platform>S1[A-D])_(?P<mode>IW|EW|SM|WV|S[1-6])_(?P<type>SLC_|GRD[FHM]|OCN_|RAW_)_\d[SA](?P<pols>SH|SV|DH|DV|HH|HV|VV|VH)_"
    r"(?P<date>\d{8}T\d{6})_\d{8}T\d{6}_(?P<orbit>\d{6})_[0-9A-F]{6}(?:_[0-9A-F]{4})?",
    re.IGNORECASE,
)
_DATE: Final = re.compile(r"(?<!\d)(20\d{2})[-_]?(\d{2})[-_]?(\d{2})(?:([T_]?)(\d{6}))?Z?(?!\d)", re.IGNORECASE)
_SIDE_PRODUCT: Final = re.compile(r"^OPERA_L\d_|_INT\d{2}_", re.IGNORECASE)
"""Products whose observations have a pattern of their own: another file of theirs is no observation."""
_POLARISED: Final = re.compile(r"(?<![a-z])(VV|VH|HH|HV)(?![a-z])", re.IGNORECASE)
_POLARISATION: Final = re.compile(r"(?:^|[_.-])(?:VV|VH|HH|HV)(?=[_.-]|$)", re.IGNORECASE)
_ORBIT: Final = re.compile(r"(?:^|[_-])(?:ro|relorb|orbit|track)[-_]?(\d{1,3})(?=[_.-]|$)", re.IGNORECASE)


def parse_granule(text: str) -> Facts | None:
    """Read the first name of an ESA granule in `text`: platform, mode, time, absolute and relative orbit."""
    match = _GRANULE.search(text)
    return None if match is None else _granule(match)


def _granule(match: re.Match[str]) -> Facts:
    platform, absolute = match["platform"].upper(), int(match["orbit"])
    mode = match["mode"].upper()
    return Facts(
        group=match[0],
        platform=platform,
        mode="SM" if re.fullmatch(r"S\d", mode) else mode,
        acquired=utc(match["date"]),
        absolute_orbit=absolute,
        relative_orbit=orbits.relative_orbit(platform, absolute),
    )


def polarisations(text: str) -> tuple[str, ...]:
    """Return the polarisations that a name tells, in its order; what has two is a ratio, say, or has two bands."""
    return tuple(dict.fromkeys(found.upper() for found in _POLARISED.findall(text)))


def _dates(stem: str) -> list[dt.datetime]:
    found = (_date(match) for match in _DATE.finditer(stem))
    return sorted({when for when in found if when is not None})


def _date(match: re.Match[str]) -> dt.datetime | None:
    """Read a date and the time behind it; six digits that are no time of day are an absolute orbit, say."""
    *day, separator, time = match.groups(default="")
    return utc("".join(day) + time) or (utc("".join(day)) if separator == "_" else None)


def parse_words(stem: str) -> Facts:
    """Gather the words of a plain name; only its date is needed."""
    if _SIDE_PRODUCT.search(stem):
        return Facts()
    granules = [_granule(match) for match in _GRANULE.finditer(stem)]
    granule = granules[0] if granules else None
    rest = _GRANULE.sub("", stem)
    dates = _dates(rest)
    if granule is None and not dates:
        return Facts()
    words = [word for word in re.split(r"[_.-]+", rest) if word]
    lower = [word.lower() for word in words]

    def first(table: dict[str, str]) -> str | None:
        return next((table[word] for word in lower if word in table), None)

    feature = next((_FEATURE_WORDS[word] for word in lower if word in _FEATURE_WORDS), None)
    orbit = _ORBIT.search(rest)
    pols = {word.upper() for word in words} & set(POLARISATIONS)
    # Of two granules a pair is made; the dates beside a single one are those of its processing, say.
    passes = _of_days([one.acquired for one in granules if one.acquired] if granule else dates)
    pair = len(passes) >= 2 and feature in (None, "insar")
    platforms = [one.platform for one in granules] or map(orbits.platform_code, words)
    coherence = feature == "insar"
    return Facts(
        group=_POLARISATION.sub("", stem).strip("_.-") or stem,
        product=None,
        feature=feature,
        quantity="coherence" if coherence else (first(_QUANTITY_WORDS) or "unknown"),  # type: ignore[arg-type]
        scale="1" if coherence else (first(_SCALE_WORDS) or "unknown"),  # type: ignore[arg-type]
        polarisation=pols.pop() if len(pols) == 1 else None,
        platform="/".join(dict.fromkeys(filter(None, platforms))) or None,
        mode=granule.mode if granule else next((word for word in words if word in MODES), None),
        acquired=granule.acquired if granule else dates[0],
        reference=passes[0] if pair else None,
        secondary=passes[1] if pair else None,
        relative_orbit=int(orbit[1]) if orbit else (granule.relative_orbit if granule else None),
        absolute_orbit=granule.absolute_orbit if granule else None,
        orbit_state=first(_STATE_WORDS),
    )


def _of_days(moments: Sequence[dt.datetime]) -> list[dt.datetime]:
    """Return the first moment of every day: names tell when a pass ended, and of which slices it is made, too."""
    return sorted({moment.date(): moment for moment in sorted(moments, reverse=True)}.values())


def utc(text: str) -> dt.datetime | None:
    """Read YYYYMMDD or YYYYMMDDTHHMMSS; None for what is not a date of the Sentinel-1 era."""
    digits = re.sub(r"\D", "", text)
    try:
        when = dt.datetime.strptime(digits, "%Y%m%d%H%M%S" if len(digits) == 14 else "%Y%m%d")
    except ValueError:
        return None
    return when.replace(tzinfo=dt.UTC) if 2014 <= when.year < 2100 else None
