"""Where the cube of an output folder lies: in it, or where a small file in it says."""

from __future__ import annotations

import contextlib
import glob
import json
import os
from pathlib import Path

from icemapper_xr import addresses, errors, redact
from icemapper_xr.store import reading
from icemapper_xr.store.location import Location, replace_file
from icemapper_xr.store.pointer import CUBE, POINTER, pointed

__all__ = ["CUBE", "POINTER", "cube_of", "elsewhere", "exists", "folder_of", "plain", "point", "same_cube", "unpoint"]

PathLike = str | os.PathLike[str]


def plain(path: PathLike) -> str:
    """Write a path or URL as it was meant; a local path absolute.

    Examples
    --------
    >>> plain(Path("s3://ice/svalbard/"))
    's3://ice/svalbard'
    """
    return Location.parse(path).url


def cube_of(source: PathLike) -> str:
    """Say where the cube of an output folder lies, or lies once it is made.

    Parameters
    ----------
    source
        Output folder of `map_glaciers`, or a cube itself; path or URL.

    Returns
    -------
    str
        Path or URL of the cube: what ``store.json`` in the folder says, else ``glaciers.zarr`` in it.

    Raises
    ------
    StoreError
        ``store.json`` cannot be read, or there is nothing on this machine's disks where it says.
    """
    cube, there = _said(source)
    if there:
        _refuse_moved(addresses.local_path(source), cube)
    return cube


def same_cube(one: PathLike, other: PathLike) -> bool:
    """Tell whether two folders, or cubes, mean the same cube, be it there or not.

    Raises
    ------
    StoreError
        ``store.json`` cannot be read.
    """
    return plain(_said(one)[0]) == plain(_said(other)[0])


def _said(source: PathLike) -> tuple[str, bool]:
    """Return the cube of a folder, or the one named itself, and whether ``store.json`` says so."""
    if addresses.is_remote(source):
        url = plain(source)
        return url if url.endswith(".zarr") or reading.is_store(url) else f"{url}/{CUBE}", False
    folder = addresses.local_path(source)
    if reading.is_store(folder):
        return str(folder), False
    there = pointed(folder)
    return there or str(folder / CUBE), there is not None


def folder_of(source: PathLike) -> Path:
    """Return the folder for the results of a map: the output folder, or the one that holds a cube named itself.

    Raises
    ------
    OptionError
        The cube is named by a URL.
    """
    if addresses.is_remote(source):
        raise errors.OptionError(
            f"{plain(source)} is no folder for results: name the local output folder of its map, or a file to write"
        )
    folder = addresses.local_path(source)
    return folder.parent if folder.suffix == ".zarr" or reading.is_store(folder) else folder


def exists(path: PathLike) -> bool:
    """Tell whether anything is where a cube is to be.

    Raises
    ------
    StoreError
        It cannot be told: no account, no right, no answer.
    """
    location = Location.parse(path)
    with location.plainly():
        return location.kind() not in {"absent", "empty"}


def elsewhere(folder: Path, cube: PathLike | None) -> str | None:
    """Return where the cube of an output folder is to lie, if that is not in it; nothing is written.

    Parameters
    ----------
    folder
        Output folder; it need not be there.
    cube
        What the user wishes; None is what the folder says.

    Raises
    ------
    OptionError
        It is no place for a cube, or holds a token.
    StoreError
        The folder has another cube, or its cube is no longer where it says.
    """
    there = pointed(folder)
    if cube is None:
        if there is not None:
            _refuse_moved(folder, there)
        return there
    url = plain(cube)
    if redact.text(url) != url or "?" in url:
        raise errors.OptionError(f"store is {redact.text(url)}: leave tokens out, give the account by the environment")
    if addresses.is_remote(url) and not url.partition("://")[2].partition("/")[2]:
        raise errors.OptionError(f"store is {url}: name a place in the bucket, for example {url}/{CUBE}")
    own = plain(folder / CUBE)
    if there not in (None, url):
        raise errors.StoreError(
            f"the cube of {folder} is {there}, not {url}: name another folder, or leave store out; a cube that was "
            f"moved: write its place into {folder / POINTER}"
        )
    if url == own:
        return None
    if exists(own):
        raise errors.StoreError(
            f"{folder} has a cube of its own ({CUBE}), not {url}: name another folder, or leave store out"
        )
    return url


def _refuse_moved(folder: Path, cube: str) -> None:
    """Refuse a folder of whose cube nothing is left on a disk, nor hidden beside its place while it is made."""
    path = Location.parse(cube).local
    if path is None or path.exists() or any(path.parent.glob(f".{glob.escape(path.name)}.*")):
        return
    raise errors.StoreError(
        f"the cube of {folder} is not at {cube}: mount that disk; if it was moved, write its place into "
        f"{folder / POINTER}; if it is to be made anew, map it with --store {cube}"
    )


def point(folder: Path, cube: PathLike) -> None:
    """Write into a folder that its cube lies elsewhere, if it does not say so.

    Raises
    ------
    StoreError
        The folder cannot be written to.
    """
    with contextlib.suppress(errors.StoreError):  # what cannot be read is written anew
        if pointed(folder) == plain(cube):
            return
    try:
        replace_file(folder / POINTER, (json.dumps({"store": plain(cube)}) + "\n").encode())
    except OSError as error:
        raise errors.StoreError(
            f"{folder} cannot be written to ({error.strerror}); name another folder for the output"
        ) from error


def unpoint(folder: Path) -> None:
    """Take back what `point` wrote."""
    (folder / POINTER).unlink(missing_ok=True)
