"""What the blocks of a running map hand to each other, in a hidden folder beside the store.

Windows reach over the border of the block that evaluates them. Their share of the neighbours' sums lies here from the
moment the block is evaluated until the neighbours are written: so every window is evaluated once in a run, however
few units are in flight, and a run that resumes after a kill finds the strips of what it does not repeat. What is left
when the year is complete is removed with the folder. A file that is damaged counts as absent; its block is then
evaluated again.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from icemapper_xr import errors
from icemapper_xr.store.layout import Unit
from icemapper_xr.store.location import Location

__all__ = ["Handover", "of_store", "sweep", "years"]

_FAILED = "failed/"


@dataclass(frozen=True)
class Handover:
    """The folder of one year of one run; travels to the workers."""

    location: Location

    def put(self, name: str, array: npt.NDArray[Any]) -> None:
        """Keep an array; one that is zero all over takes no room."""
        payload = b"" if not array.any() else np.ascontiguousarray(array).tobytes()
        head = {"shape": array.shape, "dtype": str(array.dtype), "crc": zlib.crc32(payload), "bytes": len(payload)}
        try:
            self.location.put_file(name, json.dumps(head).encode() + b"\n" + payload)
        except OSError as error:
            raise errors.StoreError(f"Cannot write to {self.location}: {error.strerror or error}") from error

    def get(self, name: str) -> npt.NDArray[Any] | None:
        """Return an array; None if it is not there or damaged."""
        content = self.location.get_file(name)
        if content is None:
            return None
        first, _, payload = content.partition(b"\n")
        try:
            head = json.loads(first)
            if (len(payload), zlib.crc32(payload)) != (head["bytes"], head["crc"]):
                return None
            if not payload:
                return np.zeros(head["shape"], head["dtype"])
            return np.frombuffer(payload, head["dtype"]).reshape(head["shape"])
        except (ValueError, KeyError):
            return None

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
            if key.startswith(_FAILED):
                row, column = key.removeprefix(_FAILED).split("_")
                reason = self.location.get_file(key) or b""
                found[Unit(int(row), int(column))] = reason.decode(errors="replace")
        return dict(sorted(found.items()))

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
    return {int(name.partition("-")[0]): Handover(_home(location).below(name)) for name in _home(location).folders()}


def sweep(location: Location, year: int, kept: Handover | None) -> None:
    """Remove what other runs left for a year, and the home of all years once it is empty."""
    home = _home(location)
    names = home.folders()
    for name in names:
        folder = home.below(name)
        if name.startswith(f"{year}-") and (kept is None or folder != kept.location):
            folder.delete()
    if names and not home.folders():
        home.delete()


def _home(location: Location) -> Location:
    return location.sibling(".work")
