"""What an address names: a path of this machine, a URL, or what GDAL reads over a network. Imports nothing of ours."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote

__all__ = ["for_gdal", "is_remote", "is_url", "local_path", "scheme", "unfolded"]

PathLike = str | os.PathLike[str]

_URL: Final = re.compile(
    r"(?P<scheme>(?:[a-z][a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+):(?P<slashes>/+)(?P<rest>.*)", re.IGNORECASE | re.DOTALL
)
"""A URL, also of fsspec's chains (``simplecache::s3://``); a drive has one letter, a time in a name no slash."""

_FILE: Final = re.compile(r"file:(?://localhost(?=/))?/+", re.IGNORECASE)


def is_url(address: PathLike) -> bool:
    """Whether an address is a URL, also one of a file, or one whose slashes `pathlib` has folded.

    Examples
    --------
    >>> is_url("s3://ice/svalbard"), is_url(Path("s3://ice/svalbard")), is_url("file:///ice"), is_url("C:/svalbard")
    (True, True, True, False)
    >>> is_url("S1A_20230106T06:15:01.tif")
    False
    """
    return _URL.match(os.fspath(address)) is not None


def scheme(address: PathLike) -> str:
    """Return the scheme of a URL in lower case; empty for a path.

    Examples
    --------
    >>> scheme("HTTPS://a.net/items.json"), scheme("items.json")
    ('https', '')
    """
    found = _URL.match(os.fspath(address))
    return found["scheme"].lower() if found else ""


def is_remote(address: PathLike) -> bool:
    """Whether an address is none of this machine's files: a URL, or one of GDAL's virtual ones.

    Examples
    --------
    >>> is_remote("https://a.net/vv.tif"), is_remote("/vsis3/ice/vv.tif"), is_remote("s3:/ice/svalbard")
    (True, True, True)
    >>> is_remote("file:///ice/vv.tif"), is_remote("NETCDF:/ice/scenes.nc:vv")
    (False, False)
    """
    text = os.fspath(address)
    found = _URL.match(text)
    if found is None:
        return text.startswith("/vsi")
    driver = found["slashes"] == "/" and found["scheme"].isupper()  # of GDAL's, before a path
    return found["scheme"].lower() != "file" and not driver


def local_path(address: PathLike) -> Path:
    """Return the path of a place on this machine, also if a file URL names it (RFC 8089).

    Examples
    --------
    >>> local_path("file:///ice/ny%20is.zarr").as_posix(), local_path("file://localhost/ice").as_posix()
    ('/ice/ny is.zarr', '/ice')
    >>> local_path("ice/ny%20is.zarr").as_posix()
    'ice/ny%20is.zarr'
    """
    if scheme(address) != "file":
        return Path(address).expanduser()
    return Path(unquote(_FILE.sub("/", os.fspath(address))))


def for_gdal(address: PathLike) -> str:
    """Return the address as GDAL understands it, which takes the %20 of a file URL for a part of the name.

    Examples
    --------
    >>> for_gdal("file:///ice/ny%20is.tif"), for_gdal("NETCDF:/ice/scenes.nc:vv")
    ('/ice/ny is.tif', 'NETCDF:/ice/scenes.nc:vv')
    """
    own = is_remote(address) or scheme(address) not in ("", "file")
    return os.fspath(address) if own else str(local_path(address))


def unfolded(address: PathLike) -> str:
    """Return a URL with both of its slashes, and a path as it is.

    Examples
    --------
    >>> unfolded(Path("s3://ice/svalbard")), unfolded("ice/svalbard")
    ('s3://ice/svalbard', 'ice/svalbard')
    """
    text = os.fspath(address)
    found = _URL.match(text)
    return f"{found['scheme']}://{found['rest']}" if found and found["slashes"] == "/" else text
