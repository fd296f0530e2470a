"""What an output folder says of its cube: the name of the one in it, or a small file that says where it lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from icemapper_xr import errors
from icemapper_xr.store.location import Location

__all__ = ["CUBE", "POINTER", "pointed"]

CUBE: Final = "glaciers.zarr"
"""Name of the cube in an output folder."""
POINTER: Final = "store.json"
"""File in an output folder whose cube lies elsewhere; says where."""


def pointed(folder: Path) -> str | None:
    """Return the path, absolute, or URL that the pointer in a folder says; None if there is none."""
    path = folder / POINTER
    try:
        said = str(json.loads(path.read_text(encoding="utf-8"))["store"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.StoreError(
            f'{path} does not say where the cube is ({error}): write {{"store": "s3://..."}} into it'
        ) from error
    return Location.parse(said).url  # it may be written by hand
