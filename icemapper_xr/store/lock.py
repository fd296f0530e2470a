"""One writer at a time on a store, by a lock that dies with its process or soon after it."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from icemapper_xr import errors, progress
from icemapper_xr.store import lease
from icemapper_xr.store.location import Location

__all__ = ["hold", "writer"]

_PATIENCE = 1.0
"""Seconds for which a lock that is held is asked for again."""
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


@contextlib.contextmanager
def hold(location: Location) -> Iterator[Callable[[], None]]:
    """Hold the only leave to write a store while the block runs.

    The lock belongs to the open file, so the system drops it when its process ends in whatever way: no dead run keeps
    it. The file beside the store tells who holds it. An object store has no such locks: there an object beside the
    store is a lease that its holder renews; a lease that a dead run left ends after two minutes.

    Yields
    ------
    callable
        Raises a `StoreError` once another run has taken the lease; a lock cannot be taken.

    Raises
    ------
    StoreError
        If another run holds the lock, or the folder cannot be written to.
    """
    if location.local is None:
        with contextlib.ExitStack() as stack:
            with location.plainly():
                held = stack.enter_context(lease.hold(location))
            yield held
        return
    path = Path(location.sibling(".lock").url)
    handle = _acquire(path, location)
    try:
        yield lambda: None
    finally:
        # Removed before it is released: whoever opened this file in between finds another inode and tries again.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)


def writer(location: Location) -> str | None:
    """Tell who is writing a store now; None if nobody is, or if that cannot be told."""
    if location.local is None:
        return lease.writer(location)
    path = Path(location.sibling(".lock").url)
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except ImportError:
        return None
    except OSError as error:
        return _holder(path) if error.errno in {errno.EWOULDBLOCK, errno.EACCES} else None
    finally:
        os.close(handle)
    return None


def _acquire(path: Path, location: Location) -> int:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise errors.StoreError(
                f"Cannot write in the folder {path.parent}: {error.strerror}; name another output or mend its rights"
            ) from error
        try:
            if not _lock_soon(handle):
                raise errors.StoreError(
                    f"The store {location} is being written by {_holder(path)}; "
                    "wait until that run ends, or name another output"
                )
            if _same_file(handle, path):
                break
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    note = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": dt.datetime.now(dt.UTC).isoformat("T", "seconds"),
    }
    os.ftruncate(handle, 0)
    with contextlib.suppress(OSError):  # a full disk must not hide behind a note
        os.write(handle, json.dumps(note).encode())
    return handle


def _lock_soon(handle: int) -> bool:
    """Lock, waiting a little: whoever asks for the writer of a store holds its lock for a moment."""
    until = time.monotonic() + _PATIENCE
    while not _try_lock(handle):
        if time.monotonic() > until:
            return False
        time.sleep(_PATIENCE / 20)
    return True


def _try_lock(handle: int) -> bool:
    """Lock without waiting; True also where the file system has no locks (said once)."""
    try:
        import fcntl
    except ImportError:  # Windows
        return _try_lock_windows(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            progress.note("This file system has no locks: see to it that only one run writes this store")
            return True
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True


def _try_lock_windows(handle: int) -> bool:
    import importlib

    msvcrt = importlib.import_module("msvcrt")
    try:
        os.lseek(handle, 1 << 20, os.SEEK_SET)  # past the note, so that others can read it
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    finally:
        os.lseek(handle, 0, os.SEEK_SET)
    return True


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        note = json.loads(path.read_text())
        return f"process {note['pid']} on {note['host']} (since {note['since']})"
    except (OSError, ValueError, KeyError):
        return "another process"
