"""Fetch the published weight files into the cache folder, checked by git blob id."""

from __future__ import annotations

import contextlib
import errno
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from icemapper_xr import errors, redact
from icemapper_xr import progress as progress_
from icemapper_xr.models import published

__all__ = ["fetch"]

_log = logging.getLogger(__name__)
TIMEOUT: Final = 30.0
"""Seconds without an answer after which a server counts as gone."""
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of the disk, not of the network."""


def fetch(name: str, *, url: str | None = None, cache: str | Path | None = None, progress: bool = True) -> Path:
    """Fetch a published weights file, unless a good copy is in the cache folder already.

    Parameters
    ----------
    name
        Short name (`tweightedpool_rtc`) or file name (`ICEmapper_tweightedpool_rtc.h5`).
    url
        Mirror: the folder that holds the file, or the file itself if it ends with '.h5'; what follows a '?' stays
        behind the name. None is the public repository.
    cache
        Cache folder; None is $ICEMAPPER_CACHE, else the user's cache folder.
    progress
        Show a bar, where the program shows progress at all.

    Returns
    -------
    Path
        The file, whose content has the git blob id of the published one.

    Raises
    ------
    WeightsError
        If the name is none of the published ones, the server cannot be reached, or what it sends is not the published
        file; nothing half-written stays behind.
    """
    file = _file_name(name)
    folder = published.cache_folder(cache)
    target = folder / file
    if target.is_file():
        if published.blob_id(target) == published.FILES[file]:
            _log.info("%s is in the cache already: %s", file, target)
            return target
        _log.warning("%s is damaged and is fetched again", target)
    base, mark, query = (url or published.BASE_URL).partition("?")
    if not (base.endswith(".h5") or query.endswith(".h5")):
        base = f"{base.rstrip('/')}/{file}"
    source = base + mark + query
    _download(source, target, show=progress)
    _log.info("fetched %s from %s to %s", file, redact.text(source), target)
    return target


def _file_name(name: str) -> str:
    variant = published.parse_name(str(name))
    if variant is None or variant.simulated or variant.published_file not in published.FILES:
        why = "is shipped with the package" if variant is not None and variant.simulated else "is not published"
        raise errors.WeightsError(f"weights {name!r} {why}: files to fetch are {', '.join(published.FILES)}")
    return variant.published_file


def _download(source: str, target: Path, *, show: bool) -> None:
    """Download into a folder of its own beside the target, check, then give the file its name."""
    import pooch

    _make_folder(target.parent)
    by_hand = f"get {target.name} by other means and put it at {target}, or name a mirror with --url"
    try:
        with (
            tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder,
            _quiet_pooch(),
            _bar(target.name, show) as bar,
        ):
            part = pooch.retrieve(
                source, known_hash=None, fname=target.name, path=folder, downloader=_checked(target.name, bar)
            )
            Path(part).chmod(0o644)  # pooch's temporary files are for their owner only, a cache may be a group's
            Path(part).replace(target)
    except errors.WeightsError as error:
        raise errors.WeightsError(redact.text(f"{source} {error}; nothing was kept: {by_hand}")) from error
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a bad URL is a ValueError
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise errors.WeightsError(
                f"{target} cannot be written ({error.strerror}): make room for it, or name another cache folder with "
                "--cache or $ICEMAPPER_CACHE"
            ) from error
        reason = errors.one_line(error, most=300)
        message = f"{source} cannot be fetched ({reason}); offline? Then {by_hand}"
        raise errors.WeightsError(redact.text(message)) from error


def _make_folder(folder: Path) -> None:
    """Make the cache folder, and see that a file can be put there: a download that has no place is none."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise errors.WeightsError(
            f"nothing can be written to the cache folder {folder} ({error.strerror}); name another with --cache or "
            "$ICEMAPPER_CACHE"
        ) from error


def _checked(file: str, bar: Any) -> Callable[[str, Any, Any], None]:
    """Make a pooch downloader that refuses content with another git blob id before the file gets its name."""
    import pooch

    def download(url: str, output: Any, pup: Any) -> None:
        answers: list[Any] = []  # pooch leaves the connection open when a transfer breaks
        http = pooch.HTTPDownloader(
            progressbar=bar, timeout=TIMEOUT, hooks={"response": lambda r, **_: answers.append(r)}
        )
        try:
            http(url, output, pup)
        finally:
            for answer in answers:
                answer.close()
        found, wanted = published.blob_id(output), published.FILES[file]
        if found != wanted:
            size = Path(output).stat().st_size
            raise errors.WeightsError(
                f"sent {size} bytes that are not the published file (git blob id {found}, {wanted} wanted)"
            )

    return download


class _Bar:
    """What pooch wants of a progress bar, on top of ours."""

    def __init__(self, advance: Callable[..., None]) -> None:
        self._advance = advance
        self._total = 0
        self._done = 0

    @property
    def total(self) -> int:
        """Bytes to come."""
        return self._total

    @total.setter
    def total(self, value: int) -> None:
        self._total = value
        self._advance(0, total=value)

    def update(self, amount: int) -> None:
        """Advance by that many bytes."""
        self._done += amount
        self._advance(amount)

    def reset(self) -> None:
        """Start again; pooch calls this at the end and then advances by the total."""
        self.update(-self._done)

    def close(self) -> None:
        """End."""


@contextlib.contextmanager
def _bar(name: str, show: bool) -> Any:
    if not show or not progress_.enabled():
        yield False
        return
    with progress_.bar(f"fetching {name}") as advance:
        yield _Bar(advance)


@contextlib.contextmanager
def _quiet_pooch() -> Any:
    """Keep pooch from asking the user to paste a hash: the blob id is the check."""
    import pooch

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
