"""What the name of a Sentinel-1 GeoTIFF tells about it.

One table of patterns, tried from the most to the least specific. A pattern that matches says what is certain from the
name alone; whatever it does not tell stays None or "unknown".
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from icemapper_xr._types import Quantity, Scale
from icemapper_xr.catalog import orbits
from icemapper_xr.conventions import Feature

__all__ = ["PATTERNS", "Facts", "Pattern", "is_companion", "parse", "parse_granule", "understood"]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known about one raster; None or "unknown" where nothing is."""

    group: str = ""
    """Name that all polarisations of one acquisition share: the id of the item."""
    product: str | None = None
    """Kind of product, e.g. 'OPERA RTC-S1'."""
    feature: Feature | None = None
    quantity: Quantity = "unknown"
    scale: Scale = "unknown"
    polarisation: str | None = None
    platform: str | None = None
    mode: str | None = None
    acquired: dt.datetime | None = None
    reference: dt.datetime | None = None
    secondary: dt.datetime | None = None
    relative_orbit: int | None = None
    absolute_orbit: int | None = None
    orbit_state: str | None = None
    looks: float | None = None
    filtered: bool | None = None
    """Whether a speckle filter was applied."""
    burst: str | None = None
    processed: dt.datetime | None = None
    geocoded: bool = True

    @property
    def when(self) -> dt.datetime | None:
        """Acquisition time; the middle of the pair for a pair."""
        if self.reference is not None and self.secondary is not None:
            return self.reference + (self.secondary - self.reference) / 2
        return self.acquired


class Pattern(NamedTuple):
    """A kind of name: how it looks to people, to the machine, and where it is documented."""

    title: str
    example: str
    source: str
    regex: re.Pattern[str]
    read: Callable[[re.Match[str]], Facts]


_EXTENSION: Final = r"\.tiff?$"
_POL: Final = r"(?P<pol>VV|VH|HH|HV)"
_SCALES: Final[dict[str, Scale]] = {"p": "power", "a": "amplitude", "d": "dB"}
_QUANTITIES: Final[dict[str, Quantity]] = {"g": "gamma0", "s": "sigma0"}
_SPACING_LOOKS: Final = {"20": 5.0, "40": 20.0, "80": 80.0}
"""Range times azimuth looks of HyP3's 20, 40 and 80 m interferograms (5 x 1, 10 x 2, 20 x 4)."""

_COMPANION: Final = re.compile(
    r"(?:^|[_.-])(?:dem|rgb|inc_map(?:_ell)?|ls_map|area|mask|water_mask|unw_phase|wrapped_phase|amp|conncomp|los_disp|"
    r"vert_disp|lv_theta|lv_phi|lat_rdr|lon_rdr|local_incident_angle|local_incidence_angle|incidence|angle|browse|thumbnail|"
    r"layover|shadow|lia|slope|aspect|truth)(?:_clip)?\.tiff?$",
    re.IGNORECASE,
)


def _utc(text: str) -> dt.datetime | None:
    """Read YYYYMMDD or YYYYMMDDTHHMMSS; None for what is not a date of the Sentinel-1 era."""
    digits = re.sub(r"\D", "", text)
    try:
        when = dt.datetime.strptime(digits, "%Y%m%d%H%M%S" if len(digits) == 14 else "%Y%m%d")
    except ValueError:
        return None
    return when.replace(tzinfo=dt.UTC) if 2014 <= when.year < 2100 else None


def _opera(match: re.Match[str]) -> Facts:
    """OPERA RTC-S1 is gamma0 in linear power."""
    return Facts(
        group=match["base"],
        product="OPERA RTC-S1",
        feature="rtc",
        quantity="gamma0",
        scale="power",
        polarisation=match["pol"].upper(),
        platform=match["platform"].upper(),
        mode="IW",
        acquired=_utc(match["date"]),
        relative_orbit=int(match["track"]),
        filtered=False,
        burst=f"T{match['track']}-{match['burst']}-{match['swath']}".upper(),
        processed=_utc(match["processed"]),
    )


def _hyp3_rtc(match: re.Match[str]) -> Facts:
    """Read the letters of a HyP3 RTC name: radiometry, scale and speckle filter."""
    return Facts(
        group=match["base"],
        product="HyP3 RTC",
        feature="rtc",
        quantity=_QUANTITIES[match["radiometry"].lower()],
        scale=_SCALES[match["scale"].lower()],
        polarisation=match["pol"].upper(),
        platform=match["platform"].upper(),
        mode=match["mode"].upper(),
        acquired=_utc(match["date"]),
        filtered=match["filter"].lower() == "f",
    )


def _insar(match: re.Match[str], product: str, **more: object) -> Facts:
    facts = Facts(
        group=match["base"],
        product=product,
        feature="insar",
        quantity="coherence",
        scale="1",
        polarisation=match["pol"].upper(),
        reference=_utc(match["first"]),
        secondary=_utc(match["second"]),
        looks=_SPACING_LOOKS.get(match["spacing"]),
    )
    return dataclasses.replace(facts, **more)  # type: ignore[arg-type]


def _hyp3_insar(match: re.Match[str]) -> Facts:
    """The two letters after S1 are the platforms of the two dates."""
    first, second = (f"S1{letter}" for letter in match["platforms"].upper())
    return _insar(match, "HyP3 InSAR", platform=first if first == second else f"{first}/{second}", mode="IW")


def _hyp3_burst(match: re.Match[str]) -> Facts:
    number = int(match["burst"])
    burst = f"{number:06d}-{match['swath']}".upper()
    return _insar(match, "HyP3 burst InSAR", burst=burst, mode="IW", relative_orbit=orbits.of_burst(number))


def _hyp3_multiburst(match: re.Match[str]) -> Facts:
    platform = orbits.platform_code(match["platform"])
    return _insar(match, "HyP3 multi-burst InSAR", relative_orbit=int(match["track"]), platform=platform, mode="IW")


def _safe(match: re.Match[str]) -> Facts:
    """Level-1 ground range: digital numbers, placed by control points only."""
    absolute = int(match["orbit"])
    platform = match["platform"].upper()
    return Facts(
        group=re.sub(rf"-{match['pol']}-", "-", match["base"], flags=re.IGNORECASE),
        product="Sentinel-1 GRD",
        feature="grd",
        quantity="digital_number",
        scale="amplitude",
        polarisation=match["pol"].upper(),
        platform=platform,
        mode=match["mode"].upper(),
        acquired=_utc(match["date"]),
        absolute_orbit=absolute,
        relative_orbit=orbits.relative_orbit(platform, absolute),
        geocoded=False,
    )


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
_DATE: Final = re.compile(r"(?<!\d)(20\d{2})[-_]?(\d{2})[-_]?(\d{2})(?:[T_]?(\d{6}))?Z?(?!\d)")
_SIDE_PRODUCT: Final = re.compile(r"^OPERA_L\d_|_INT\d{2}_", re.IGNORECASE)
"""Products whose observations have a pattern of their own: another file of theirs is no observation."""
_ORBIT: Final = re.compile(r"(?:^|[_-])(?:ro|relorb|orbit|track)[-_]?(\d{1,3})(?=[_.-]|$)", re.IGNORECASE)


def parse_granule(text: str) -> Facts | None:
    """Read the first name of an ESA granule in `text`: platform, mode, time, absolute and relative orbit."""
    match = _GRANULE.search(text)
    if match is None:
        return None
    platform, absolute = match["platform"].upper(), int(match["orbit"])
    mode = match["mode"].upper()
    return Facts(
        group=match[0],
        platform=platform,
        mode="SM" if re.fullmatch(r"S\d", mode) else mode,
        acquired=_utc(match["date"]),
        absolute_orbit=absolute,
        relative_orbit=orbits.relative_orbit(platform, absolute),
    )


def _dates(stem: str) -> list[dt.datetime]:
    found = (_utc("".join(part for part in match.groups() if part)) for match in _DATE.finditer(stem))
    return sorted({when for when in found if when is not None})


def _plain(match: re.Match[str]) -> Facts:
    """Gather the words of a plain name; only its date is needed."""
    stem = match["base"]
    if _SIDE_PRODUCT.search(stem):
        return Facts()
    granule = parse_granule(stem)
    rest = _GRANULE.sub("", stem) if granule else stem
    dates = _dates(rest)
    if granule is None and not dates:
        return Facts()
    words = [word for word in re.split(r"[_.-]+", rest) if word]
    lower = [word.lower() for word in words]

    def first(table: dict[str, str]) -> str | None:
        return next((table[word] for word in lower if word in table), None)

    feature = next((_FEATURE_WORDS[word] for word in lower if word in _FEATURE_WORDS), None)
    orbit = _ORBIT.search(rest)
    pols = [word for word in words if word.upper() in ("VV", "VH", "HH", "HV")]
    pair = granule is None and len(dates) >= 2 and feature in (None, "insar")
    coherence = feature == "insar"
    return Facts(
        group="_".join(word for word in re.split(r"[_]+", stem) if word not in pols) or stem,
        product=None,
        feature=feature,
        quantity="coherence" if coherence else (first(_QUANTITY_WORDS) or "unknown"),  # type: ignore[arg-type]
        scale="1" if coherence else (first(_SCALE_WORDS) or "unknown"),  # type: ignore[arg-type]
        polarisation=pols[0].upper() if pols else None,
        platform=granule.platform if granule else next(filter(None, map(orbits.platform_code, words)), None),
        mode=granule.mode if granule else next((word for word in words if word in ("IW", "EW", "SM", "WV")), None),
        acquired=granule.acquired if granule else dates[0],
        reference=dates[0] if pair else None,
        secondary=dates[1] if pair else None,
        relative_orbit=int(orbit[1]) if orbit else (granule.relative_orbit if granule else None),
        absolute_orbit=granule.absolute_orbit if granule else None,
        orbit_state=first(_STATE_WORDS),
    )


_HYP3_DOCS: Final = "https://hyp3-docs.asf.alaska.edu/guides/"

PATTERNS: Final[tuple[Pattern, ...]] = (
    Pattern(
        "OPERA RTC-S1",
        "OPERA_L2_RTC-S1_T137-292319-IW2_20211119T015858Z_20250830T120333Z_S1A_30_v1.0_VV.tif",
        "OPERA RTC-S1 product specification, JPL D-108758",
        re.compile(
            r"(?P<base>OPERA_L2_RTC-S1_T(?P<track>\d{3})-(?P<burst>\d{6})-(?P<swath>IW[123])_(?P<date>\d{8}T\d{6})Z_"
            rf"(?P<processed>\d{{8}}T\d{{6}})Z_(?P<platform>S1[A-D])_(?P<spacing>\d+)_v[\d.]+)_{_POL}{_EXTENSION}",
            re.IGNORECASE,
        ),
        _opera,
    ),
    Pattern(
        "HyP3 RTC",
        "S1A_IW_20230105T060000_DVP_RTC10_G_gpuned_AB12_VV.tif",
        f"{_HYP3_DOCS}rtc_product_guide/",
        re.compile(
            r"(?P<base>(?P<platform>S1[A-D])_(?P<mode>IW|EW|SM|WV)_(?P<date>\d{8}T\d{6})_[DS][HV][PRO]_RTC(?P<spacing>\d{2})_"
            rf"[A-Z]_(?P<radiometry>[gs])(?P<scale>[pad])[uw](?P<filter>[nf])[ec][dm]_[0-9A-F]{{4}})_{_POL}{_EXTENSION}",
            re.IGNORECASE,
        ),
        _hyp3_rtc,
    ),
    Pattern(
        "HyP3 InSAR",
        "S1AA_20230105T060000_20230117T060000_HHP012_INT40_G_ueF_AB12_corr.tif",
        f"{_HYP3_DOCS}insar_product_guide/",
        re.compile(
            rf"(?P<base>S1(?P<platforms>[A-D]{{2}})_(?P<first>\d{{8}}T\d{{6}})_(?P<second>\d{{8}}T\d{{6}})_{_POL}[PRO]"
            rf"(?P<days>\d{{3,4}})_INT(?P<spacing>\d{{2}})_[A-Z]_[a-z]{{2}}\w+_[0-9A-F]{{4}})_corr(?:_clip)?{_EXTENSION}",
            re.IGNORECASE,
        ),
        _hyp3_insar,
    ),
    Pattern(
        "HyP3 burst InSAR",
        "S1_136231_IW2_20200604_20200616_VV_INT80_10C1_corr.tif",
        f"{_HYP3_DOCS}burst_insar_product_guide/",
        re.compile(
            r"(?P<base>S1_(?P<burst>\d{6})_(?P<swath>IW[123])_(?P<first>\d{8})_(?P<second>\d{8})_"
            rf"{_POL}_INT(?P<spacing>\d{{2}})_[0-9A-F]{{4}})_corr(?:_clip)?{_EXTENSION}",
            re.IGNORECASE,
        ),
        _hyp3_burst,
    ),
    Pattern(
        "HyP3 multi-burst InSAR",
        "S1_064_000000s1n00-136231s2n02-000000s3n00_IW_20200604_20200616_VV_INT80_77F1_corr.tif",
        f"{_HYP3_DOCS}burst_insar_product_guide/",
        re.compile(
            r"(?P<base>(?P<platform>S1[A-D]?)_(?P<track>\d{3})_(?:\d{6}s1n\d\d-\d{6}s2n\d\d-\d{6}s3n\d\d_IW|[EW]\d{3}_\d_[NS]\d{2}_\d_"
            rf"[EW]\d{{3}}_\d_[NS]\d{{2}}_\d)_(?P<first>\d{{8}})_(?P<second>\d{{8}})_{_POL}_INT(?P<spacing>\d{{2}})_[0-9A-F]{{4}})"
            rf"_corr(?:_clip)?{_EXTENSION}",
            re.IGNORECASE,
        ),
        _hyp3_multiburst,
    ),
    Pattern(
        "Sentinel-1 GRD measurement",
        "s1a-iw-grd-hh-20230105t060000-20230105t060025-046643-0596e1-001.tiff",
        "Sentinel-1 product specification, S1-RS-MDA-52-7441",
        re.compile(
            r"(?P<base>(?P<platform>s1[a-d])-(?P<mode>iw|ew|s[1-6])-grd-(?P<pol>vv|vh|hh|hv)-(?P<date>\d{8}t\d{6})-\d{8}t\d{6}-"
            rf"(?P<orbit>\d{{6}})-[0-9a-f]{{6}}-\d{{3}}(?:-cog)?){_EXTENSION}",
            re.IGNORECASE,
        ),
        _safe,
    ),
    Pattern(
        "plain name with a date",
        "rtc_S1A_IW_HH_ro014_20230105T055900.tif, insar_S1A_IW_HH_ro014_20230105_20230117.tif or 20230105_VV.tif",
        "words between underscores in any order; the date as YYYYMMDD or YYYY-MM-DD, two dates for a pair",
        re.compile(rf"(?P<base>.+){_EXTENSION}", re.IGNORECASE),
        _plain,
    ),
)
"""The names understood, from the most to the least specific."""


def understood() -> str:
    """Return the patterns as one line of text for messages."""
    return "; ".join(f"{pattern.title} ({pattern.example})" for pattern in PATTERNS)


def is_companion(name: str) -> bool:
    """Whether a file is a side product (DEM, incidence angle, mask, unwrapped phase ...) and not an observation."""
    return _COMPANION.search(PurePosixPath(name).name) is not None


def parse(name: str) -> Facts | None:
    """Read a file's name.

    Parameters
    ----------
    name : str
        Name, path or URL of a GeoTIFF; only the last part counts.

    Returns
    -------
    Facts or None
        None where the name is not understood, or where it is a side product such as a DEM.

    Examples
    --------
    >>> facts = parse("S1A_IW_20230105T060000_DVP_RTC10_G_gpuned_AB12_VV.tif")
    >>> facts.feature, facts.quantity, facts.scale, facts.polarisation
    ('rtc', 'gamma0', 'power', 'VV')
    """
    last = PurePosixPath(name.split("?", maxsplit=1)[0]).name
    if is_companion(last):
        return None
    for pattern in PATTERNS:
        match = pattern.regex.fullmatch(last)
        if match is not None:
            facts = pattern.read(match)
            return facts if facts.when is not None else None
    return None
