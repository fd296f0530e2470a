"""Patience with remote files: what is transient is tried again with back-off, what is not is not."""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from icemapper_xr import redact
from icemapper_xr._types import Signer
from icemapper_xr.cube.faults import Fault, Faults
from icemapper_xr.errors import CubeError, IcemapperError, one_line, shortened

__all__ = ["patiently"]

T = TypeVar("T")

ATTEMPTS: Final = 6
PAUSE_SECONDS = 1.0
"""Before the second attempt; doubled each time, give or take a quarter so that threads do not come back all at once."""
_GIVEN_UP_SECONDS: Final = 300.0
"""A raster that stayed unreadable is asked for only once more by every other piece of the grid in this time."""
_ENV: Final = {
    # No probing for side-car files; requests are repeated by GDAL itself before we open the file anew.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_RETRY_CODES": "408,425,429,500,502,503,504",
    # A server that says nothing for half a minute is given up; one that is slow is not.
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
}
_STATUS: Final = re.compile(r"(?:HTTP response code|HTTP error code|response_code)\D{0,3}(\d{3})")
_DENIED: Final = (401, 403)
_DENIED_WORDS: Final = (
    "AccessDenied",
    "Access Denied",
    "InvalidCredentials",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
)
_SAID: Final = 300
"""Characters kept of what an error says."""
_BUSY: Final = (408, 425, 429)
"""The only answers of the 400s that another attempt can change."""
_log = logging.getLogger(__name__)
_lock = threading.Lock()
_given_up: dict[str, float] = {}


def patiently(
    href: str, item_id: str, read: Callable[[str], T], *, sign: Signer | None = None, faults: Faults | None = None
) -> T | None:
    """Read a remote raster, again after a pause where that can help.

    Parameters
    ----------
    href
        Address, unsigned if there is a signer.
    item_id
        For the messages.
    read
        Called with an address that can be read now.
    sign
        Makes the address readable; called at every attempt, so that a signature never grows old.
    faults
        Where to note a raster that stays unreadable.

    Returns
    -------
    object or None
        What `read` returned; None if the raster is not there or stays unreadable: it is then missing, on record.

    Raises
    ------
    CubeError
        Access is denied (401, 403): a whole cube of gaps would hide the reason. With a signer, only after it was asked
        for new signatures.
    """
    # A worker of a cluster logs the arguments of a task that fails, addresses among them.
    redact.watch("rasterio._env", "rasterio._err", "rasterio._io", "rasterio._base", "rasterio", "distributed.worker")
    attempts = 1 if _recently_given_up(href) else ATTEMPTS
    reason = ""
    for attempt in range(attempts):
        try:
            return _attempt(href, read, sign, anew=attempt > 0 or attempts == 1)
        except IcemapperError:
            raise
        except Exception as error:
            if not _is_reading_error(error):
                raise
            reason = _said(error, href)
            status = _status(error)
        denied = status in _DENIED or any(word in reason for word in _DENIED_WORDS)
        last = attempt + 1 == attempts
        if denied and (sign is None or last):
            raise CubeError(
                f"{href} (item {item_id}): access denied ({reason}); "
                "check the account or the signing that this catalogue needs"
            )
        if not denied and status is not None and 400 <= status < 500 and status not in _BUSY:
            break
        if not last:
            _log.warning("attempt %d of %d: item %s: %s", attempt + 1, attempts, item_id, reason)
            time.sleep(PAUSE_SECONDS * 2**attempt * random.uniform(0.75, 1.25))
    shown = redact.text(href)
    _log.warning("item %s (%s) could not be read and is recorded as missing: %s", item_id, shown, reason)
    with _lock:
        _given_up[href] = time.monotonic()
    if faults is not None:
        faults.add(Fault(item_id, shown, reason))
    return None


def _attempt(href: str, read: Callable[[str], T], sign: Signer | None, *, anew: bool) -> T:
    import rasterio

    # GDAL remembers for the life of the process that a file could not be opened: only an attempt that does not use
    # its memory of this file reaches the server at all.
    forget = {"CPL_VSIL_CURL_NON_CACHED": _vsi(href)} if anew else {}
    with rasterio.Env(**_ENV, **forget):
        return read(href if sign is None else sign(href))


def _vsi(href: str) -> str:
    """Return the name that GDAL has for an address."""
    scheme, colon, rest = href.partition("://")
    if not colon or href.startswith("/vsi"):
        return href
    return f"/vsicurl/{href}" if scheme in ("http", "https") else f"/vsi{scheme}/{rest}"


def _is_reading_error(error: Exception) -> bool:
    import rasterio.errors

    return isinstance(error, rasterio.errors.RasterioError | OSError)


def _said(error: BaseException, href: str) -> str:
    """What an error and those behind it say, in one line, with the signed address made the unsigned one."""
    texts: list[str] = []
    current: BaseException | None = error
    while current is not None and len(texts) < 4:
        words = one_line(current)
        if words not in texts:
            texts.append(words)
        current = current.__cause__ or current.__context__
    joined = "; ".join(text for text in texts if text != "Read failed. See previous exception for details.")
    return shortened(redact.text(re.sub(re.escape(href) + r"[?&][^\s'\"]+", href, joined or texts[0])), _SAID)


def _status(error: BaseException) -> int | None:
    current: BaseException | None = error
    while current is not None:
        match = _STATUS.search(str(current))
        if match:
            return int(match[1])
        current = current.__cause__ or current.__context__
    return None


def _recently_given_up(href: str) -> bool:
    with _lock:
        then = _given_up.get(href)
        return then is not None and time.monotonic() - then < _GIVEN_UP_SECONDS
