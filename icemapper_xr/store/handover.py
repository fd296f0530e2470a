"""What the blocks of a running map hand to each other, in a hidden folder beside the store.

Windows reach over the border of the block that evaluates them. Their share of the neighbours' sums lies here from the
moment the block is evaluated until the neighbours are written: so every window is evaluated once in a run, however
few units are in flight, and a run that resumes after a kill finds the strips of what it does not repeat. What is left
when the year is complete is removed with the folder. A file that is damaged counts as absent; its block is then
evaluated again.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icemapper_xr import errors
from icemapper_xr.store.layout import Unit
from icemapper_xr.store.location import Location

__all__ = ["Handover", "of_store", "sweep", "years"]

_FAILED = "failed/"
_FAILED_UNIT = re.compile(r"failed/(\d+)_(\d+)")
_YEAR = re.compile(r"(\d+)-[0-9a-f]+")
"""Name of the folder of a year: the year, and the fingerprint of run and year."""


@dataclass(frozen=True)
class Handover:
    """The folder of one year of one run; travels to the workers."""

    location: Location

    def put(self, name: str, array: npt.NDArray[Any]) -> None:
        """Keep an array; one that is zero all over takes no room.

        Raises
        ------
        StoreError
            It cannot be written.
        """
        payload = b"" if not array.any() else np.ascontiguousarray(array).tobytes()
        head = json.dumps({"shape": array.shape, "dtype": str(array.dtype)}).encode()
        content = head + b"\n" + payload
        try:
            with self.location.plainly():
                self.location.put_file(name, f"{zlib.crc32(content):08x} ".encode() + content)
        except OSError as error:
            raise errors.StoreError(f"Cannot write to {self.location}: {error.strerror or error}") from error

    def get(self, name: str) -> npt.NDArray[Any] | None:
        """Return an array; None if it is not there or damaged."""
        with self.location.plainly():
            whole = self.location.get_file(name)
        if whole is None:
            return None
        crc, _, content = whole.partition(b" ")
        if crc != f"{zlib.crc32(content):08x}".encode():
            return None
        first, _, payload = content.partition(b"\n")
        head = json.loads(first)
        if not payload:
            return np.zeros(head["shape"], head["dtype"])
        return np.frombuffer(payload, head["dtype"]).reshape(head["shape"])

    def drop(self, names: Iterable[str]) -> None:
        """Remove arrays that nobody needs any more."""
        self.location.drop_files(names)

    def names(self) -> set[str]:
        """Return the names of all arrays."""
        return {name for name in self._keys() if not name.startswith(_FAILED)}

    def fail(self, unit: Unit, reason: str) -> None:
        """Record that a unit failed, and why."""
        self.location.put_file(f"{_FAILED}{unit.row}_{unit.column}", reason.encode())

    def forgive(self, units: Iterable[Unit]) -> None:
        """Remove the records of failed units."""
        self.location.drop_files(f"{_FAILED}{unit.row}_{unit.column}" for unit in units)

    def failed(self) -> dict[Unit, str]:
        """Return the units that failed, and why."""
        found = {}
        for key in self._keys():
            if match := _FAILED_UNIT.fullmatch(key):
                reason = self.location.get_file(key) or b""
                found[Unit(int(match[1]), int(match[2]))] = reason.decode(errors="replace")
        return dict(sorted(found.items()))

    def size(self) -> tuple[int, int]:
        """Count the files of strips, and their bytes."""
        return self.location.sizes()

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        if self.location.kind() != "absent":
            self.location.delete()

    def _keys(self) -> Iterator[str]:
        if self.location.kind() == "absent":
            return iter(())
        return (key.removeprefix("./") for key in self.location.keys("") if not key.endswith(".partial"))


def of_store(location: Location, fingerprint: str, year: int) -> Handover:
    """Return the folder of a year; the fingerprint keeps what another run left from being taken up."""
    return Handover(_home(location).below(f"{year}-{fingerprint[:16]}"))


def years(location: Location) -> dict[int, Handover]:
    """Return the folders that runs which did not end have left, by year."""
    home = _home(location)
    return {int(match[1]): Handover(home.below(name)) for name in home.folders() if (match := _YEAR.fullmatch(name))}


def left(location: Location) -> bool:
    """Tell whether any run has left anything, in however old a form."""
    return _home(location).kind() != "absent"


def sizes(location: Location) -> dict[int, tuple[int, int]]:
    """Tell number and bytes of the files that runs which did not end have left, by year."""
    return {year: folder.size() for year, folder in sorted(years(location).items())}


def sweep(location: Location, kept: Collection[Handover]) -> None:
    """Remove what nobody will take up again, and the home of all years once it is empty."""
    home = _home(location)
    useful = {one.location for one in kept}
    left = 0
    for name in home.folders():
        folder = home.below(name)
        if folder in useful:
            left += 1
        else:
            folder.delete()
    if not left and home.kind() in {"empty", "other"}:
        home.delete()


def _home(location: Location) -> Location:
    return location.sibling(".work")
