"""What the name of a Sentinel-1 GeoTIFF tells about it.

One table of patterns, tried from the most to the least specific. A pattern that matches says what is certain from the
name alone; whatever it does not tell stays None or "unknown".
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from icemapper_xr._types import Quantity, Scale
from icemapper_xr.catalog import orbits, plain
from icemapper_xr.catalog.facts import Facts
from icemapper_xr.catalog.plain import parse_granule, polarisations

__all__ = ["PATTERNS", "Facts", "Pattern", "is_companion", "parse", "parse_granule", "polarisations", "understood"]


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
        acquired=plain.utc(match["date"]),
        relative_orbit=int(match["track"]),
        filtered=False,
        burst=f"T{match['track']}-{match['burst']}-{match['swath']}".upper(),
        processed=plain.utc(match["processed"]),
    )


def _planetary_computer(match: re.Match[str]) -> Facts:
    """Planetary Computer's RTC is gamma0 in linear power; its name is that of the folder above."""
    granule = parse_granule(match["granule"])
    return dataclasses.replace(
        granule or Facts(),
        group=f"{match['granule']}_rtc",
        product="Planetary Computer RTC",
        feature="rtc",
        quantity="gamma0",
        scale="power",
        polarisation=match["pol"].upper(),
        filtered=False,
        nodata=-32768.0,
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
        acquired=plain.utc(match["date"]),
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
        reference=plain.utc(match["first"]),
        secondary=plain.utc(match["second"]),
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
        acquired=plain.utc(match["date"]),
        absolute_orbit=absolute,
        relative_orbit=orbits.relative_orbit(platform, absolute),
        geocoded=False,
    )


_HYP3_DOCS: Final = "https://hyp3-docs.asf.alaska.edu/guides/"

PATTERNS: Final[tuple[Pattern, ...]] = (
    Pattern(
        "OPERA RTC-S1",
        "OPERA_L2_RTC-S1_T137-292319-IW2_20211119T015858Z_20250830T120333Z_S1A_30_v1.0_VV.tif",
        f"{_HYP3_DOCS}opera_rtc_product_guide/",
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
        "HyP3 RTC before 2020",
        "S1A_IW_RT30_20190105T060000_G_gpn_VV.tif",
        "README of the products of ASF's RTC service",
        re.compile(
            r"(?P<base>(?P<platform>S1[A-D])_(?P<mode>IW|EW|SM|WV)_RT(?P<spacing>\d{2})_(?P<date>\d{8}T\d{6})_"
            rf"[A-Z]_(?P<radiometry>[gs])(?P<scale>[pa])(?P<filter>[nf])(?:_[0-9A-F]{{4}})?)_{_POL}{_EXTENSION}",
            re.IGNORECASE,
        ),
        _hyp3_rtc,
    ),
    Pattern(
        "Planetary Computer RTC",
        "S1A_IW_GRDH_1SDV_20250311T044231_20250311T044249_058252_073302_F851/measurement/iw-vv.rtc.tiff",
        "hrefs of the collection sentinel-1-rtc; the folders are part of the name",
        re.compile(
            r"(?P<granule>S1[A-D]_(?:IW|EW)_GRD[FHM]_\w+)/measurement/"
            rf"(?:iw|ew)-(?P<pol>vv|vh|hh|hv)\.rtc{_EXTENSION}",
            re.IGNORECASE,
        ),
        _planetary_computer,
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
        lambda match: plain.parse_words(match["base"]),
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
        Name, path or URL of a GeoTIFF; the last part counts, and for Planetary Computer the folders above it.

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
    path = PurePosixPath(name.split("?", maxsplit=1)[0])
    if is_companion(path.name):
        return None
    for pattern in PATTERNS:
        # A pattern with folders in it is matched against as many of the last folders.
        depth = pattern.example.count("/") + 1
        match = pattern.regex.fullmatch("/".join(path.parts[-depth:]))
        if match is not None:
            facts = pattern.read(match)
            return facts if facts.when is not None else None
    return None
