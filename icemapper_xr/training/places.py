"""Where a verb writes: tried before its work, which may take hours."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from icemapper_xr import addresses, errors

__all__ = ["file", "folder", "folders"]


def folder(path: Path) -> Path:
    """Make a folder, if it is not there, and return it.

    Raises
    ------
    OptionError
        If it cannot be made, or not be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.OptionError(
            f"{path} cannot be made a folder ({error.strerror}): name another place to write to"
        ) from error
    if not os.access(path, os.W_OK):
        raise errors.OptionError(f"{path} cannot be written to: name another folder")
    return path


@contextlib.contextmanager
def folders(*paths: str | Path | None) -> Iterator[None]:
    """Make those folders that are named; those that the work inside leaves empty when it fails are taken away again."""
    named = [addresses.local_path(path) for path in paths if path is not None]
    missing = {one for path in named for one in (path, *path.parents) if not one.exists()}
    try:
        for path in named:
            folder(path)
        yield
    except BaseException:
        for one in sorted(missing, key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):  # not empty
                one.rmdir()
        raise


def file(path: Path) -> Path:
    """Return the path of a file that is to be written.

    Raises
    ------
    OptionError
        If it is a folder.
    """
    if path.is_dir():
        raise errors.OptionError(f"{path} is a folder: name a file to write")
    return path
