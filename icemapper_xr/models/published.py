"""The published weight files: names, git blob ids, and where a fetched copy lies.

Names and ids as in the public repository `konstantin-a-maslov/icemapper` (GPL-2.0), Maslov et al. (2025),
doi:10.31223/X5472T.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from icemapper_xr.conventions import FEATURES, POOLINGS, Feature, Pooling

__all__ = ["BASE_URL", "CACHE_ENV", "FILES", "Variant", "blob_id", "cache_folder", "parse_name"]

BASE_URL: Final = "https://raw.githubusercontent.com/konstantin-a-maslov/icemapper/main/weights"
CACHE_ENV: Final = "ICEMAPPER_CACHE"
"""Environment variable that names another cache folder."""

FILES: Final[dict[str, str]] = {
    "ICEmapper_maxpool_grd.h5": "a96b2b5253eeced173da77d45c1748bacce94b5d",
    "ICEmapper_tweightedpool_grd.h5": "24d4f648b9f7346ae830da4978fd280a9adb7ff1",
    "ICEmapper_tweightedpool_grdinsar.h5": "3d9abd0fe324a25cc99f9121bffd3493a8e75fc5",
    "ICEmapper_tweightedpool_insar.h5": "7251f30658b2f58e4c8c3f600ac6fe5467bbb78a",
    "ICEmapper_tweightedpool_rtc.h5": "a89bbd766435f65a65ebcd1fef94336e53325d14",
    "ICEmapper_tweightedpool_rtcinsar.h5": "12e1d52552eb9a0be90985dccedb81eb8262a2cc",
}
"""File name -> git blob id."""

_NAME: Final = re.compile(
    rf"(?:ICEmapper_)?(?P<pooling>{'|'.join(POOLINGS)})_(?P<features>(?:{'|'.join(FEATURES)})+)"
    r"(?P<simulated>_simulated)?(?P<suffix>\.h5)?"
)


@dataclass(frozen=True)
class Variant:
    """What a name such as `ICEmapper_tweightedpool_rtcinsar_simulated.h5` says."""

    pooling: Pooling
    features: tuple[Feature, ...]
    simulated: bool
    """Ours, trained on simulated scenes."""
    full: bool
    """The whole file name was given, not a short one."""

    @property
    def published_file(self) -> str:
        """Name of the published file of this variant (which need not exist)."""
        return f"ICEmapper_{self.pooling}_{''.join(self.features)}.h5"

    @property
    def own_file(self) -> str:
        """Name of our file of this variant (which need not exist)."""
        return f"ICEmapper_{self.pooling}_{''.join(self.features)}_simulated.h5"


def parse_name(name: str) -> Variant | None:
    """Read a short or full name; None if it is not of the pattern `[ICEmapper_]<pooling>_<features>[_simulated][.h5]`.

    >>> parse_name("tweightedpool_rtcinsar").features
    ('rtc', 'insar')
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    features = tuple(f for f in re.findall("|".join(FEATURES), match["features"]))
    pooling: Pooling = "maxpool" if match["pooling"] == "maxpool" else "tweightedpool"
    return Variant(pooling, features, match["simulated"] is not None, match["suffix"] is not None)


def blob_id(path: Path | str) -> str:
    """Git's id of a file's content: SHA-1 of `blob <size>`, a zero byte and the content, hexadecimal."""
    content = Path(path).read_bytes()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def cache_folder(cache: Path | str | None = None) -> Path:
    """Folder of fetched and converted files: `cache`, else $ICEMAPPER_CACHE, else the user's cache folder."""
    if cache is not None:
        return Path(cache).expanduser()
    if os.environ.get(CACHE_ENV):
        return Path(os.environ[CACHE_ENV]).expanduser()
    import pooch

    return Path(pooch.os_cache("icemapper_xr"))
