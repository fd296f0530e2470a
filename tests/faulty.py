"""A file server on loopback that fails as servers do: 503, dropped connections, cut-off answers, stalls, old tokens."""

from __future__ import annotations

import collections
import contextlib
import http.server
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["Faults", "serve"]


@dataclass
class Faults:
    """What goes wrong, as shares of the requests; and what was asked."""

    busy: float = 0.0
    """Share answered with 503."""
    drop: float = 0.0
    """Share whose connection is reset without an answer."""
    truncate: float = 0.0
    """Share whose body ends half-way."""
    stalls: int = 0
    """So many requests are answered after `stall_seconds` only, one in ten at most."""
    stall_seconds: float = 5.0
    never: tuple[str, ...] = ()
    """Parts of names of files that are never served: 503."""
    token_seconds: float | None = None
    """Life of a token; None asks for none."""
    seed: int = 0
    asked: collections.Counter[str] = field(default_factory=collections.Counter)
    """Requests by what became of them: 'ok', 'busy', 'drop', 'truncate', 'stall', 'never', 'denied', 'token'."""
    paths: collections.Counter[str] = field(default_factory=collections.Counter)
    """Requests by path."""
    tokens: list[str] = field(default_factory=list)
    """All tokens given out."""
    secret: str = "s3cr3t"

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._seen = 0

    def fate(self, path: str) -> str:
        """Draw what becomes of a request."""
        with self._lock:
            self._seen += 1
            self.paths[path] += 1
            if any(part in path for part in self.never):
                fate = "never"
            elif self.stalls > self.asked["stall"] and self._seen % 10 == 5:
                fate = "stall"
            else:
                # By file and number, not from one stream whose order threads make: a seed fails alike each time.
                draw = random.Random(f"{self.seed} {path} {self.paths[path]}").random()
                edges = (("busy", self.busy), ("drop", self.drop), ("truncate", self.truncate))
                fate = "ok"
                for name, share in edges:
                    if draw < share:
                        fate = name
                        break
                    draw -= share
            self.asked[fate] += 1
            return fate

    def token(self) -> tuple[str, float]:
        """Give out a token and the time at which it ends."""
        end = time.time() + (self.token_seconds or 3600.0)
        with self._lock:
            self.asked["token"] += 1
            token = f"{self.secret}{len(self.tokens):05d}x{end:.3f}"
            self.tokens.append(token)
        return token, end

    def valid(self, query: str) -> bool:
        """Whether a query has a token that has not ended."""
        if self.token_seconds is None:
            return True
        token = parse_qs(query).get("sig", [""])[0]
        return token in self.tokens and time.time() < float(token.rsplit("x", 1)[1])


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path
    faults: Faults

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if path.startswith("/token"):
            return self._token()
        if not self.faults.valid(parts.query):
            self.faults.asked["denied"] += 1
            return self._empty(403)
        file = self.folder / path.rsplit("/", 1)[-1]
        if not file.is_file():
            self.faults.paths[path] += 1
            return self._empty(404)
        fate = self.faults.fate(path)
        if fate in ("busy", "never"):
            return self._empty(503)
        if fate == "drop":
            # With unread data pending, or linger 0, closing resets the connection.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            self.close_connection = True
            self.connection.close()
            return None
        if fate == "stall":
            time.sleep(self.faults.stall_seconds)
        return self._file(file.read_bytes(), body=body, cut=fate == "truncate")

    def _file(self, content: bytes, *, body: bool, cut: bool) -> None:
        first, last, status = 0, len(content) - 1, 200
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes="):
            start, _, end = asked.removeprefix("bytes=").partition("-")
            first, last, status = int(start), min(int(end or last), last), 206
            if first > last:
                return self._empty(416)
        part = content[first : last + 1]
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "image/tiff")
        self.send_header("Content-Length", str(len(part)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        if body:
            with contextlib.suppress(OSError):
                self.wfile.write(part[: len(part) // 2] if cut else part)
        if cut:
            self.close_connection = True
        return None

    def _token(self) -> None:
        """As Planetary Computer's service answers."""
        import datetime as dt
        import json

        token, end = self.faults.token()
        expiry = dt.datetime.fromtimestamp(end, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        content = json.dumps({"msft:expiry": expiry, "token": f"sv=2026&sig={token}"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _empty(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that we broke ourselves are no news."""


@contextlib.contextmanager
def serve(folder: Path, faults: Faults) -> Iterator[str]:
    """Serve the files of a folder by range; yields the root URL."""
    handler = type("Handler", (_Handler,), {"folder": folder, "faults": faults})
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
