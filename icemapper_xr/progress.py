"""Progress on the terminal: silent in a library, switched on by the command line. Imports only `redact`."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

from icemapper_xr import redact

__all__ = ["bar", "dask_bar", "duration", "enable", "enabled", "note", "track", "units_bar"]

T = TypeVar("T")
_enabled = False


def enable(on: bool = True) -> None:
    """Switch progress output on or off for this process."""
    global _enabled
    _enabled = on


def enabled() -> bool:
    """Whether progress is shown."""
    return _enabled


def note(message: str) -> None:
    """Print one line to the terminal's error stream if progress is on."""
    if _enabled:
        print(redact.text(message), file=sys.stderr, flush=True)


@contextlib.contextmanager
def bar(description: str, total: float | None = None) -> Iterator[Callable[..., None]]:
    """Show a bar; yields `advance(amount=1, total=None)`."""
    if not _enabled:
        yield lambda amount=1, total=None: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total)

        def advance(amount: float = 1, total: float | None = None) -> None:
            progress.update(task, advance=amount, total=total)

        yield advance


@contextlib.contextmanager
def units_bar(description: str) -> Iterator[Callable[[int, int, int], None]]:
    """Show units done, windows per second and the time left; yields `advance(done, total, windows_more)`."""
    if not _enabled:
        yield lambda done, total, windows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("units  {task.fields[speed]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(description, total=None, speed="", left="")
        started, state = time.monotonic(), {"windows": 0, "first": -1}

        def advance(done: int, total: int, windows: int) -> None:
            state["windows"] += windows
            if state["first"] < 0:
                state["first"] = max(done - 1, 0)
            seconds = time.monotonic() - started
            now = done - state["first"]
            left = f"{duration(seconds / now * (total - done))} left" if now > 0 else ""
            speed = f"{state['windows'] / seconds:.2g} windows/s" if seconds > 0 else ""
            shown.update(task, completed=done, total=total, speed=speed, left=left)

        yield advance


def duration(seconds: float) -> str:
    """Write a duration as people say it.

    >>> duration(42), duration(7200), duration(1e6)
    ('42 s', '2.0 h', '11.6 days')
    """
    if seconds < 120:
        return f"{math.ceil(seconds)} s"
    if seconds < 7000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86_400 else f"{seconds / 86_400:.1f} days"


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(description, total) as advance:
        for item in items:
            yield item
            advance()


@contextlib.contextmanager
def dask_bar(description: str) -> Iterator[None]:
    """Show the tasks of whatever Dask's local schedulers compute inside the block."""
    if not _enabled:
        yield
        return
    from dask.callbacks import Callback

    with bar(description) as advance:

        class _Tasks(Callback):
            def _start_state(self, dsk: object, state: dict[str, Sized]) -> None:
                advance(0, total=len(state["ready"]) + len(state["waiting"]))

            def _posttask(self, *_: object) -> None:
                advance(1)

        with _Tasks():  # type: ignore[no-untyped-call]
            yield
