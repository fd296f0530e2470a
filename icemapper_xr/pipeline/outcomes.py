"""What became of a block of a map, and of all blocks of a year."""

from __future__ import annotations

from dataclasses import dataclass, field

from icemapper_xr import prediction, store
from icemapper_xr.prediction import Block

__all__ = ["Outcome", "Written"]


@dataclass(frozen=True)
class Outcome:
    """What became of a block."""

    block: Block
    unit: store.Unit | None
    written: bool
    """Whether its unit is written now."""
    windows: prediction.Windows = field(default_factory=prediction.Windows)
    reading: float = 0.0
    """Seconds for reading and scaling."""
    network: float = 0.0
    """Seconds for windows and blending."""
    writing: float = 0.0
    """Seconds for handing over and writing."""
    lost: tuple[Block, ...] = ()
    """Blocks whose strips are not there (any more): they must be evaluated again."""
    unreadable: tuple[str, ...] = ()
    """Items that could not be read and are missing in the block."""
    worker: str = ""


@dataclass
class Written:
    """What a call of `map_cube` did."""

    path: str
    year: int
    units: int
    """Units of the year in all."""
    kept: int
    """Units that were there already."""
    written: int = 0
    """Units written now."""
    windows: prediction.Windows = field(default_factory=prediction.Windows)
    """Windows evaluated and skipped now, on all workers."""
    repeated: int = 0
    """Blocks evaluated that are evaluated again for their strips only."""
    seconds: float = 0.0
    reading: float = 0.0
    """Seconds spent reading, over all workers; likewise for the next two."""
    network: float = 0.0
    writing: float = 0.0
    failed: dict[store.Unit, str] = field(default_factory=dict)
    """Units that failed now, or before and were left alone, and why."""
    unreadable: set[str] = field(default_factory=set)
    """Items that could not be read somewhere, now or in earlier runs, and are missing there."""

    def failures(self) -> str:
        """Say how many units failed, of which there are some, and why the first did."""
        unit, reason = next(iter(self.failed.items()))
        return (
            f"{len(self.failed)} of {self.units} units failed, the first at row {unit.row}, column {unit.column}: "
            f"{reason}; {self.kept + self.written} units are done and stay"
        )
