"""One writer at a time on an object store: a lease, which ends by itself when its holder is gone."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from icemapper_xr import errors
from icemapper_xr.store.location import Location

__all__ = ["hold", "writer"]

LEASE_SECONDS = 120.0
"""How long a lease lives that nobody renews."""
RENEW_SECONDS = 30.0
_SETTLE_SECONDS = 1.0
"""After taking over a lease that has ended: time for another run that does the same to show itself."""
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def hold(location: Location) -> Iterator[Callable[[], None]]:
    """Hold the lease of a store while the block runs, and renew it meanwhile.

    The object is made by a conditional write, which of two runs at once only one can do. Clocks of the machines must
    agree to a minute.

    Yields
    ------
    callable
        Raises a `StoreError` once another run has taken the lease, which ended while this process slept.

    Raises
    ------
    StoreError
        Another run holds the lease.
    """
    place = location.sibling(".lock")
    token = secrets.token_hex(8)
    since = dt.datetime.now(dt.UTC).isoformat("T", "seconds")
    _take(place, token, since, location)
    done, lost = threading.Event(), threading.Event()
    renewer = threading.Thread(
        target=_renew, args=(place, token, since, done, lost), daemon=True, name="icemapper-lease"
    )
    renewer.start()

    def held() -> None:
        if lost.is_set():
            raise errors.StoreError(
                f"The lease of the store {location} ended while this process slept, and another run has it now: wait "
                "until that run ends, then run the same again"
            )

    try:
        yield held
    finally:
        done.set()
        renewer.join(timeout=5)
        with contextlib.suppress(Exception):  # a lease that cannot be given back ends by itself
            if (_note(place) or {}).get("token") == token:
                place.delete()


def writer(location: Location) -> str | None:
    """Tell who holds the lease of a store now; None if nobody does."""
    note = _note(location.sibling(".lock"))
    if note is None or time.time() >= note["ends"]:
        return None
    return f"process {note['pid']} on {note['host']} (since {note['since']})"


def _take(place: Location, token: str, since: str, location: Location) -> None:
    if place.create(_content(token, since)):
        return
    note = _note(place)
    if note is not None and time.time() < float(note["ends"]):
        raise errors.StoreError(
            f"The store {location} is being written by process {note['pid']} on {note['host']} (since "
            f"{note['since']}); wait until that run ends, or name another output. If that run is dead, its lease "
            f"ends in {max(1, round(float(note['ends']) - time.time()))} s"
        )
    place.put(_content(token, since))
    time.sleep(_SETTLE_SECONDS)
    if (_note(place) or {}).get("token") != token:
        raise errors.StoreError(f"The store {location} was taken by another run in this moment; try again later")


def _renew(place: Location, token: str, since: str, done: threading.Event, lost: threading.Event) -> None:
    while not done.wait(RENEW_SECONDS):
        try:
            there = _note(place)
            if there is not None and there.get("token") != token:  # taken by another, as it had ended
                lost.set()
                return
            place.put(_content(token, since))
        except Exception as error:  # the next time may do; the lease outlives three failures
            _log.warning("the lease %s could not be renewed: %s", place, error)


def _content(token: str, since: str) -> bytes:
    note = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": since,
        "ends": time.time() + LEASE_SECONDS,
        "token": token,
    }
    return json.dumps(note).encode()


def _note(place: Location) -> dict[str, Any] | None:
    """Read a lease; None if there is none, or if it says nothing."""
    content = place.read()
    try:
        note = json.loads(content or b"")
        return {
            **note,
            "ends": float(note["ends"]),
            "pid": int(note["pid"]),
            "host": str(note["host"]),
            "since": str(note["since"]),
        }
    except (ValueError, KeyError, TypeError):
        return None
