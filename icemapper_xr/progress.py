"""Progress on the terminal: silent in a library, switched on by the command line. Imports nothing of ours."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

__all__ = ["bar", "dask_bar", "enable", "enabled", "note", "track"]

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
        print(message, file=sys.stderr, flush=True)


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
