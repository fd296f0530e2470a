"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["appearing"]

_OF_SQLITE: Final = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file that is open."""
_ABANDONED: Final = 24 * 3600.0
"""Seconds after which nobody writes to a hidden file any more."""


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path` to write to, which takes the place of `path` if the block succeeds.

    Else nothing is left of it, and what was at `path` stays. Its suffix is that of `path`, from which GDAL knows a
    format; no other process or thread has the same name. What a killed process left of the same file goes after a day.
    """
    _sweep(path)
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield part
        if path.suffix.lower() == ".gpkg":
            for trace in _OF_SQLITE:  # of the old file, in another program; SQLite would write them into the new one
                path.with_name(path.name + trace).unlink(missing_ok=True)
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove what processes that were killed long ago left half written of a file."""
    pattern = f".{glob.escape(path.stem)}.{'[0-9a-f]' * 8}.part{glob.escape(path.suffix)}"
    with contextlib.suppress(OSError):  # it is no matter if one stays
        for part in path.parent.glob(pattern):
            if time.time() - part.stat().st_mtime > _ABANDONED:
                part.unlink()
