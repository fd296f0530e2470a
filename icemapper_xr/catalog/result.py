"""What a search gives."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from icemapper_xr._types import Observation

if TYPE_CHECKING:
    import pystac

__all__ = ["SearchResult", "table"]


def table(observations: Sequence[Observation]) -> str:
    """Summarise observations as text: one line per feature, orbit, platform, mode and polarisation."""

    def key(one: Observation) -> tuple[str, int, str, str, str, str, str]:
        state = {"ascending": "asc", "descending": "desc"}.get(one.orbit_state or "", "-")
        quantity = f"{one.quantity}, {one.scale}" + ("" if one.geocoded else ", not geocoded")
        orbit = one.relative_orbit or 0
        return one.feature, orbit, state, one.platform or "-", one.mode or "-", one.polarisation or "-", quantity

    header = ("feature", "orbit", "pass", "platform", "mode", "pol", "dates", "first", "last", "rasters", "values")
    rows: list[tuple[str, ...]] = [header]
    for (feature, orbit, *rest, quantity), group in itertools.groupby(sorted(observations, key=key), key=key):
        members = list(group)
        days = sorted({member.acquired.date().isoformat() for member in members})
        counts = (str(len(days)), days[0], days[-1], str(len(members)))
        rows.append((feature, str(orbit or "-"), *(str(part) for part in rest), *counts, quantity))
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


@dataclass(frozen=True, repr=False)
class SearchResult:
    """Items of a catalogue that fit, and the observations in them."""

    items: list[pystac.Item]
    """In the order of time, then of id; hrefs absolute, with the tokens without which a server does not give them."""
    observations: tuple[Observation, ...]
    """One per feature asset and polarisation, in the order of the items."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """How many items each filter removed, in the order in which the filters were applied."""
    source: str = ""
    """Preset, URL (without tokens) or path of the catalogue."""
    truncated: bool = False
    """Whether `limit` cut the list."""

    def __len__(self) -> int:
        """Count the items."""
        return len(self.items)

    def table(self) -> str:
        """Return a summary as text: dates by feature, relative orbit, platform, mode and polarisation."""
        return table(self.observations)

    def __repr__(self) -> str:
        lost = ", ".join(f"{count} by {name}" for name, count in self.dropped.items() if count)
        head = (
            f"<SearchResult: {len(self.items)} items, {len(self.observations)} observations from {self.source or '?'}"
        )
        head += f"; dropped {lost}" if lost else ""
        head += "; cut by limit" if self.truncated else ""
        return f"{head}>\n{self.table()}" if self.observations else f"{head}>"

    def to_file(self, path: str | Path) -> Path:
        """Write the items as an item collection (.json, .geojson) or stac-geoparquet (.parquet).

        Hrefs lose signatures, tokens and passwords: rasters that need them are read from the catalogue itself.

        Parameters
        ----------
        path : str or Path
            An existing file is replaced, in one step.

        Returns
        -------
        Path
            Where it was written.

        Raises
        ------
        CatalogError
            The suffix is another, or the file cannot be written.
        """
        from icemapper_xr.catalog import files

        path = Path(path)
        files.write(path, self.items, relative_to=None)
        return path
