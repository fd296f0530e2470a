"""Where a verb writes: tried before its work, which may take hours."""

from __future__ import annotations

import os
from pathlib import Path

from icemapper_xr import errors

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


def folders(*paths: str | Path | None) -> None:
    """Make those folders that are named."""
    for path in paths:
        if path is not None:
            folder(Path(path))


def file(path: Path) -> Path:
    """Make the folder of a file that is to be written, and return the file's path.

    Raises
    ------
    OptionError
        If it is a folder, or its own cannot be made or not be written to.
    """
    if path.is_dir():
        raise errors.OptionError(f"{path} is a folder: name a file to write")
    folder(path.parent)
    return path
