"""Errors that a user can mend.

Every message says what is wrong, names the value, the file or the item, and gives the remedy. The command line
prints such an error as one line and exits with code 2; anything else that escapes is a defect of ours.
"""

from __future__ import annotations

from icemapper_xr import redact

__all__ = [
    "AnalysisError",
    "CatalogDownError",
    "CatalogError",
    "ClusterError",
    "CubeError",
    "IcemapperError",
    "OptionError",
    "StoreError",
    "UnitsError",
    "VectorError",
    "WeightsError",
    "first_line",
    "not_written",
    "one_line",
    "shortened",
]


def one_line(error: BaseException, *, most: int | None = None) -> str:
    """Return what an error says, in one line, cut before the word at `most` characters; its kind if it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if most is None else shortened(text, most)


def shortened(text: str, most: int) -> str:
    """Return a text cut before the word at `most` characters."""
    return text if len(text) <= most else f"{text[:most].rsplit(' ', 1)[0]} ..."


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says; its kind where it says nothing."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def not_written(error: OSError, *, other: str) -> str:
    """Say why a file or folder was not written, and what to do: the disk may be full, or the place be closed."""
    return f"{error.strerror or error}; make room for it or name another {other}"


class IcemapperError(ValueError):
    """Base of all errors that the user can mend; what they say holds no token."""

    def __init__(self, message: object = "") -> None:
        super().__init__(redact.text(message))


class OptionError(IcemapperError):
    """An option has a value outside its range, or options contradict each other."""


class CatalogError(IcemapperError):
    """A catalogue cannot be read, or has nothing that fits."""


class CatalogDownError(CatalogError):
    """A catalogue does not answer: what it has is not known, so that nothing follows from what it did not tell."""


class ClusterError(IcemapperError):
    """There is no scheduler, no worker or no device, or they were lost."""


class CubeError(IcemapperError):
    """The observations found do not make a valid cube."""


class UnitsError(IcemapperError):
    """Values are in a unit, quantity or scale that the step cannot take."""


class WeightsError(IcemapperError):
    """A weights file is unknown, damaged, or of another architecture."""


class StoreError(IcemapperError):
    """An output exists already, belongs to another run, or cannot be written."""


class VectorError(IcemapperError):
    """Outlines cannot be made, read or written."""


class AnalysisError(IcemapperError):
    """The data cannot give the calibration, area, rate or test asked for."""
