"""Where a map goes: its folder, its cube there or elsewhere, and the log of the run that writes them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from icemapper_xr import addresses, store
from icemapper_xr._types import Segmenter
from icemapper_xr.errors import OptionError, StoreError
from icemapper_xr.pipeline import journals, records, tiled
from icemapper_xr.settings import MapSettings

__all__ = ["Home", "home_of", "local_folder", "refuse_foreign", "running"]


class Home(NamedTuple):
    """Where a map goes."""

    folder: Path
    """Folder of outlines, settings and logs."""
    elsewhere: str | None
    """Path or URL of the cube, if it does not lie in the folder."""

    @property
    def cube(self) -> str:
        """Path or URL of the cube."""
        return self.elsewhere or str(self.folder / store.CUBE)


def home_of(out: str | Path, cube: str | Path | None) -> Home:
    """Say where folder and cube of a map lie; nothing is written.

    Raises
    ------
    OptionError, StoreError
        They are no place for a map, or hold something else.
    """
    folder = local_folder(out)
    # A store that is being written, or replaced, or was when its run was killed, is hidden until it is whole.
    ours = any((folder / name).exists() for name in (store.CUBE, f".{store.CUBE}.old", store.POINTER))
    refuse_foreign(folder, ours=ours or _was_mapped(folder), whole=store.CUBE, whose="ours")
    return Home(folder, store.elsewhere(folder, cube))


def _was_mapped(folder: Path) -> bool:
    """Whether a map of one cube wrote its settings into a folder, from which the cube may be gone."""
    with contextlib.suppress(StoreError):
        return not tiled.is_region(folder) and {"catalog", "weights"} <= records.settings_of(folder).keys()
    return False


def local_folder(out: str | Path) -> Path:
    """Return the output folder.

    Raises
    ------
    OptionError
        It is a URL, or its name is not UTF-8: the outlines, drawn when all is mapped, could not be written.
    """
    if addresses.is_remote(out):
        url = store.plain(out)
        raise OptionError(
            f"out is {url}: outlines and logs need a folder on disk, only the cube can lie elsewhere; write "
            f"--out FOLDER --store {url}/{store.CUBE}"
        )
    folder = addresses.local_path(out)
    try:
        os.fspath(folder).encode()
    except UnicodeEncodeError as error:
        name = os.fsencode(folder).decode(errors="backslashreplace")
        raise OptionError(f"out is {name}, which is not UTF-8: rename that folder, or name another one") from error
    return folder


@contextlib.contextmanager
def running(home: Home, chosen: MapSettings, segmenter: Segmenter, where: str) -> Iterator[journals.Journal]:
    """Keep the log of a run; a folder that this run made and left empty is removed again."""
    folder = home.folder
    made = not folder.exists()
    before = set() if made else set(os.listdir(folder))
    try:
        with journals.logged(folder, chosen, segmenter, where) as journal:
            yield journal
    except BaseException:
        if journal.path is None or _certainly_absent(home.cube):
            journal.discard()
            if store.POINTER not in before and _nobody_s(home, before):
                store.unpoint(folder)
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise


def _nobody_s(home: Home, before: set[str]) -> bool:
    """Whether no other run has begun in the folder meanwhile, or is about to; one that was not seen points again."""
    if not home.folder.is_dir() or set(os.listdir(home.folder)) - before - {store.POINTER}:
        return False
    with contextlib.suppress(StoreError, OSError):  # nobody answers
        return store.writer(home.cube) is None
    return True


def _certainly_absent(cube: str) -> bool:
    """Whether nothing was left of a cube; not if nobody answers."""
    try:
        return not store.exists(cube)
    except StoreError:
        return False


def refuse_foreign(folder: Path, *, ours: bool, whole: str, whose: str) -> None:
    """Refuse a file, or a folder that holds something but is not one of ours.

    Parameters
    ----------
    folder
        That a run is to write.
    ours
        Whether it is one already.
    whole
        What a run writes there under a hidden name until it is whole: its beginnings, and logs, are not in the way.
    whose
        What the files there would have to be, in words: "ours".

    Raises
    ------
    StoreError
        It is in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file; name another folder for the output")
    begun = (f".{whole}", journals.LOGS)
    visible = folder.is_dir() and any(not path.name.startswith(begun) for path in folder.iterdir())
    if visible and not ours:
        raise StoreError(f"{folder} holds files that are not {whose}; name an empty or a new folder for the output")
