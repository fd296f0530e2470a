"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["appearing"]

_OF_SQLITE: Final = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a file that is open."""


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path` to write to, which takes the place of `path` if the block succeeds.

    Else nothing is left of it, and what was at `path` stays. Its suffix is that of `path`, from which GDAL knows a
    format; no other process or thread has the same name.
    """
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
