"""The log of a run: one JSON object a line, in the folder ``logs`` of the output."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from icemapper_xr import redact
from icemapper_xr._version import __version__

if TYPE_CHECKING:
    from icemapper_xr._types import Segmenter
    from icemapper_xr.pipeline.outcomes import Outcome, Written
    from icemapper_xr.settings import MapSettings

__all__ = ["LOGS", "Journal", "logged", "told"]

LOGS = "logs"


def told(error: BaseException) -> str:
    """Say what ended a run.

    Examples
    --------
    >>> told(ValueError("no dates")), told(KeyboardInterrupt())
    ('ValueError: no dates', 'stopped by hand (KeyboardInterrupt)')
    """
    if isinstance(error, KeyboardInterrupt):
        return "stopped by hand (KeyboardInterrupt)"
    if isinstance(error, SystemExit):
        return f"stopped from outside (exit code {error.code})"
    return f"{type(error).__name__}: {error}"


class Journal:
    """Writes events as JSON lines; without a folder it writes nothing.

    The file is made with the first event after `begin`: a run that is refused leaves none. Every line is on disk as
    soon as it is written, so that the log of a killed run ends with what it did last. Addresses are written without
    their tokens.
    """

    def __init__(self, folder: Path | None = None, **facts: Any) -> None:
        self._folder, self._facts = folder, facts
        self._file: TextIO | None = None
        self.path: Path | None = None

    def begin(self, store: Any, **facts: Any) -> None:
        """Open the log, if it is not open yet, and say what is to be done."""
        if self._folder is None:
            return
        if self._file is None:
            folder = self._folder / LOGS
            folder.mkdir(parents=True, exist_ok=True)
            moment = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S")
            self.path = folder / f"run-{moment}-{os.getpid()}.jsonl"
            self._file = self.path.open("a", encoding="utf-8")
            machine = {"host": socket.gethostname(), "pid": os.getpid(), "python": platform.python_version()}
            self.event("run", version=__version__, **machine, **self._facts)
        self.event("year", store=str(store), **facts)

    def event(self, kind: str, **facts: Any) -> None:
        """Write one event."""
        if self._file is None:
            return
        moment = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": moment, "event": kind, **facts}, default=str)
        self._file.write(redact.text(line) + "\n")
        self._file.flush()

    def outcome(self, outcome: Outcome) -> None:
        """Write what became of a block."""
        self.event(
            "block",
            block=list(outcome.block),
            unit=None if outcome.unit is None else list(outcome.unit),
            written=outcome.written,
            windows=outcome.windows.evaluated,
            skipped=outcome.windows.skipped,
            reading_s=round(outcome.reading, 3),
            network_s=round(outcome.network, 3),
            writing_s=round(outcome.writing, 3),
            worker=outcome.worker,
            **({"unreadable": list(outcome.unreadable)} if outcome.unreadable else {}),
            **({"lost": [list(block) for block in outcome.lost]} if outcome.lost else {}),
        )

    def end(self, written: Written) -> None:
        """Write the summary of a year."""
        self.event(
            "summary",
            year=written.year,
            units=written.units,
            kept=written.kept,
            written=written.written,
            failed={f"{unit.row},{unit.column}": reason for unit, reason in written.failed.items()},
            windows=written.windows.evaluated,
            skipped=written.windows.skipped,
            seconds=round(written.seconds, 1),
            reading_s=round(written.reading, 1),
            network_s=round(written.network, 1),
            writing_s=round(written.writing, 1),
            unreadable=sorted(written.unreadable),
        )

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        """Close the file and remove it: the run left nothing that it would tell about."""
        self.close()
        if self.path is not None and self._folder is not None:
            self.path.unlink(missing_ok=True)
            folder = self._folder / LOGS
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


@contextlib.contextmanager
def logged(folder: Path, chosen: MapSettings, segmenter: Segmenter, where: str) -> Iterator[Journal]:
    """Keep the log of a run of some settings on some cluster; its last line says how the run ended."""
    facts = {"settings": chosen.model_dump(mode="json"), "weights_digest": segmenter.digest, "cluster": where}
    journal = Journal(folder, **facts)
    try:
        yield journal
    except BaseException as error:
        with contextlib.suppress(OSError):  # of a disk that is full, say, as the error itself
            journal.event("end", error=told(error))
        raise
    else:
        journal.event("end")
    finally:
        journal.close()
