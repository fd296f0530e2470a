"""What could not be read: collected while a cube is computed, told afterwards."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from icemapper_xr.errors import CubeError, OptionError

__all__ = ["MAX_UNREADABLE", "Fault", "Faults"]

MAX_UNREADABLE = 0.2
"""Share of the rasters of a unit that may stay unreadable: 3 of 15 steps (a judgement)."""
_NAMED = 6


class Fault(NamedTuple):
    """A raster that stayed unreadable."""

    item_id: str
    href: str
    """Unsigned."""
    reason: str
    """What the last attempt said, tokens taken out."""


class Faults:
    """Collects the rasters that stay unreadable in this process; give one to a loader, ask it after computing.

    Safe to use from several threads. It stays in the process: a copy that travels to another worker collects there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, Fault] = {}

    def add(self, fault: Fault) -> None:
        """Note a raster; once, however many pieces of it are missing."""
        with self._lock:
            self._found.setdefault(fault.href, fault)

    @property
    def found(self) -> tuple[Fault, ...]:
        """One entry a raster, in order of the items."""
        with self._lock:
            return tuple(sorted(self._found.values()))

    @property
    def items(self) -> tuple[str, ...]:
        """Ids of the items, each once."""
        return tuple(sorted({fault.item_id for fault in self.found}))

    def check(self, total: int, *, share: float = MAX_UNREADABLE) -> None:
        """Refuse a unit of which too much is missing.

        Parameters
        ----------
        total
            Rasters that the unit needs.
        share
            Share of them, 0 to 1, that may stay unreadable.

        Raises
        ------
        CubeError
            More are missing; the message names the items and why.
        OptionError
            `share` is out of range.
        """
        if not 0 <= share <= 1:
            raise OptionError(f"the share of unreadable rasters is {share!r}; give 0 to 1")
        found = self.found
        if len(found) <= share * total:
            return
        names = ", ".join(self.items[:_NAMED]) + (", ..." if len(self.items) > _NAMED else "")
        raise CubeError(
            f"{len(found)} of {total} rasters stayed unreadable, more than the share of {share:g} that may "
            f"(items {names}; {found[0].reason}); try again later, or allow more"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (Faults, ())

    def __dask_tokenize__(self) -> str:
        return "icemapper-faults"  # what is collected does not change what is read
