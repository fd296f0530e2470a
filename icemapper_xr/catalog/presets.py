"""The public catalogues: what each serves, in which quantity and scale, and what account it needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from icemapper_xr import redact
from icemapper_xr._types import Quantity, Scale, Signer
from icemapper_xr.conventions import FEATURES, Feature
from icemapper_xr.errors import CatalogError

__all__ = ["PRESETS", "Preset", "Served", "describe", "get", "renewed", "require", "sign", "signer_of", "unsigned"]

_COHERENCE_REMEDY: Final = (
    "no public catalogue serves coherence: order HyP3 InSAR products (12-day pairs) at ASF, unpack them into a folder, "
    "run `icemapper catalog build DIR` and name that folder as the catalogue"
)
_RTC_REMEDY: Final = (
    "take --catalog planetary-computer for rtc, or index a folder of OPERA RTC-S1 or HyP3 RTC files "
    "with `icemapper catalog build DIR`"
)
_RAW_GRD: Final = (
    "raw digital numbers in ground range, placed by control points: neither calibrated nor terrain-geocoded, "
    "so they can be listed but not mapped; use rtc, or process them and index the folder with "
    "`icemapper catalog build DIR`"
)


@dataclass(frozen=True)
class Served:
    """One feature of a public catalogue."""

    collection: str
    """Id of the STAC collection."""
    quantity: Quantity
    scale: Scale
    nodata: float | None
    """Value that stands for 'no data' where item and file do not say so."""
    geocoded: bool
    note: str = ""


@dataclass(frozen=True)
class Preset:
    """A public catalogue."""

    name: str
    title: str
    url: str
    """Root of its STAC API."""
    served: Mapping[Feature, Served]
    remedies: Mapping[Feature, str]
    """What to do for a feature that it does not serve."""
    account: str
    """What is needed to search and to read."""


_GRD: Final = Served("sentinel-1-grd", "digital_number", "amplitude", 0.0, False, _RAW_GRD)

PRESETS: Final[Mapping[str, Preset]] = {
    "planetary-computer": Preset(
        name="planetary-computer",
        title="Microsoft Planetary Computer",
        url="https://planetarycomputer.microsoft.com/api/stac/v1",
        served={
            "rtc": Served("sentinel-1-rtc", "gamma0", "power", -32768.0, True, "10 m, IW, VV+VH or HH+HV"),
            "grd": _GRD,
        },
        remedies={"insar": _COHERENCE_REMEDY},
        account=(
            "search: none; reading: hrefs are signed when they are read; if the service asks for a key, set "
            "PC_SDK_SUBSCRIPTION_KEY"
        ),
    ),
    "earth-search": Preset(
        name="earth-search",
        title="Earth Search by Element 84 (AWS)",
        url="https://earth-search.aws.element84.com/v1",
        served={"grd": _GRD},
        remedies={"rtc": _RTC_REMEDY, "insar": _COHERENCE_REMEDY},
        account=(
            "search: none; reading: an AWS account (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            "AWS_REQUEST_PAYER=requester: the reader pays for the transfer)"
        ),
    ),
    "cdse": Preset(
        name="cdse",
        title="Copernicus Data Space Ecosystem",
        url="https://stac.dataspace.copernicus.eu/v1",
        served={"grd": _GRD},
        remedies={"rtc": _RTC_REMEDY, "insar": _COHERENCE_REMEDY},
        account=(
            "search: none; reading: S3 keys of a free account (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            "AWS_S3_ENDPOINT=eodata.dataspace.copernicus.eu, AWS_VIRTUAL_HOSTING=FALSE)"
        ),
    ),
}
"""Public catalogues by name."""

_PC_ACCOUNTS: Final = ("sentinel1euwest", "sentinel1euwestrtc")


def get(name: str) -> Preset:
    """Return a preset by its name.

    Raises
    ------
    CatalogError
        There is no such preset.
    """
    if name not in PRESETS:
        raise CatalogError(f"no catalogue preset is called {name!r}: there are {', '.join(PRESETS)}")
    return PRESETS[name]


def require(preset: Preset, features: tuple[Feature, ...]) -> dict[Feature, Served]:
    """Return what the preset serves of `features`.

    Raises
    ------
    CatalogError
        It does not serve one of them; the message has the remedy.
    """
    for feature in features:
        if feature not in preset.served:
            raise CatalogError(f"{preset.name} does not serve {feature}: {preset.remedies[feature]}")
    return {feature: preset.served[feature] for feature in features}


def describe() -> str:
    """Return what each preset serves, and what account it needs, as text."""
    lines = []
    for preset in PRESETS.values():
        lines += [f"{preset.name}: {preset.title}, {preset.url}", f"  account  {preset.account}"]
        for feature in FEATURES:
            served = preset.served.get(feature)
            if served is None:
                lines.append(f"  {feature:7}  not served: {preset.remedies[feature]}")
            else:
                lines.append(f"  {feature:7}  {served.collection}: {served.quantity}, {served.scale}; {served.note}")
    return "\n".join(lines)


def signer_of(href: str) -> str | None:
    """Name of the preset whose signer reads `href`; None if it can be read as it is.

    Examples
    --------
    >>> signer_of("https://sentinel1euwestrtc.blob.core.windows.net/sentinel1-grd-rtc/x.tiff")
    'planetary-computer'
    """
    parts = urlsplit(href)
    host = parts.hostname or ""
    if host.endswith(".blob.core.windows.net") and host.split(".")[0] in _PC_ACCOUNTS:
        return "planetary-computer"
    if parts.scheme == "s3":
        return {"eodata": "cdse", "sentinel-s1-l1c": "earth-search"}.get(host)
    return None


def unsigned(href: str) -> str:
    """Return `href` without signatures, tokens, keys, user names and passwords.

    Examples
    --------
    >>> unsigned("https://a.blob.core.windows.net/c/x.tif?st=2026&se=2027&sig=abc%3D")
    'https://a.blob.core.windows.net/c/x.tif'
    """
    href = redact.USERINFO.sub(r"\1", href)  # of /vsicurl/https://..., too
    parts = urlsplit(href)
    query = parse_qsl(parts.query, keep_blank_values=True)
    gone = {key for key, _ in query if redact.secret(key)}
    expiry = {name for key in gone for name in redact.EXPIRY.get(key.lower(), ())}
    kept = [(key, value) for key, value in query if key not in gone and key.lower() not in expiry]
    return urlunsplit(parts._replace(query=urlencode(kept))) if gone else href


def renewed(href: str) -> str:
    """Return `href` without its signature if a signer makes a new one when it is read; else it is kept as it is.

    Examples
    --------
    >>> renewed("https://sentinel1euwest.blob.core.windows.net/x.tif?sig=old"), renewed("https://a.net/x.tif?token=mine")
    ('https://sentinel1euwest.blob.core.windows.net/x.tif', 'https://a.net/x.tif?token=mine')
    """
    return href if signer_of(href) is None else unsigned(href)


def _sign_planetary_computer(href: str) -> str:
    import planetary_computer

    try:
        return str(planetary_computer.sign_url(unsigned(href)))
    except Exception as error:  # the library lets errors of requests, of json and of pydantic through
        raise CatalogError(
            f"Planetary Computer gave no access token for {href} ({error}): check the network, "
            "or set PC_SDK_SUBSCRIPTION_KEY"
        ) from error


def _need_s3_keys(preset: Preset) -> Signer:
    def check(href: str) -> str:
        if href.startswith("s3://") and not (os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_PROFILE")):
            raise CatalogError(f"{href} cannot be read without S3 keys of {preset.name}; {preset.account}")
        return href

    return check


def sign(name: str) -> Signer:
    """Return the function that makes the hrefs of a preset readable now; call it when reading, never store its answer.

    Planetary Computer: adds a short-lived token. CDSE and Earth Search: the href stays as it is; GDAL takes the S3 keys
    from the environment, and the function fails if there are none.

    Parameters
    ----------
    name : str
        Name of the preset, as of `signer_of`.

    Raises
    ------
    CatalogError
        There is no such preset; or, when called, no token or no keys can be had.
    """
    preset = get(name)
    return _sign_planetary_computer if name == "planetary-computer" else _need_s3_keys(preset)
