"""Rasters behind HTTP: read by range, signed anew at every attempt, retried, denied or recorded as missing."""

from __future__ import annotations

import functools
import http.server
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from RangeHTTPServer import RangeRequestHandler

from icemapper_xr import cube, redact
from icemapper_xr.cube import loaders, remote
from icemapper_xr.errors import CubeError, OptionError
from tests import faulty
from tests.cube_data import observe, utc, write

TOKEN = "token=good"


class _Handler(RangeRequestHandler):  # type: ignore[misc]
    """Serves files by range to those who bring the token; the rest is denied."""

    def send_head(self) -> Any:
        if not self.path.endswith(TOKEN):
            return self.send_error(403)
        self.path = self.path.removesuffix(f"?{TOKEN}")
        return super().send_head()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(_Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0.0)
    monkeypatch.setitem(remote._ENV, "GDAL_HTTP_RETRY_DELAY", "0.01")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def _sign(href: str) -> str:
    return f"{href}?{TOKEN}"


def _array(engine: str, folder: Path, server: str, name: str = "a.tif", sign: Any = _sign) -> tuple[Any, Any]:
    values = np.random.default_rng(4).gamma(4, 0.03, (40, 50)).astype(np.float32)
    here = observe(write(folder / "a.tif", values), utc(2023, 1, 1), item_id="remote")
    there = type(here)(**{**vars(here), "href": f"{server}/{name}"})
    area = cube.area_grid(bounds=(500_000, 8_699_600, 500_500, 8_700_000), crs=32633, margin=0)
    return loaders.loader(engine).load([[there]], area.grid, chunk=20, sign=sign), values


@pytest.mark.parametrize("engine", ["stackstac", "odc"])
def test_signed_rasters_are_read(engine: str, tmp_path: Path, server: str) -> None:
    array, values = _array(engine, tmp_path, server)
    np.testing.assert_array_equal(array.compute(scheduler="synchronous").values[0], values)


def test_signatures_that_grow_old_are_renewed(tmp_path: Path, server: str) -> None:
    calls: list[str] = []

    def sign(href: str) -> str:
        calls.append(href)
        return f"{href}?token=old{len(calls)}" if len(calls) < 3 else _sign(href)

    array, values = _array("odc", tmp_path, server, sign=sign)
    np.testing.assert_array_equal(array.compute(scheduler="synchronous").values[0], values)
    assert len(calls) >= 3


def test_denied_access_is_an_error_not_a_gap(tmp_path: Path, server: str) -> None:
    array, _ = _array("odc", tmp_path, server, sign=None)
    with pytest.raises(CubeError, match=r"a\.tif \(item remote\): access denied"):
        array.compute(scheduler="synchronous")


def test_a_raster_that_is_not_there_is_recorded_as_missing(
    tmp_path: Path, server: str, caplog: pytest.LogCaptureFixture
) -> None:
    array, _ = _array("stackstac", tmp_path, server, name="gone.tif")
    with caplog.at_level(logging.WARNING):
        assert np.isnan(array.compute(scheduler="synchronous")).all()
    assert "item remote" in caplog.text
    assert "recorded as missing" in caplog.text


def _served(folder: Path, url: str, *, faults: cube.Faults | None = None, sign: Any = None) -> tuple[Any, Any]:
    """A raster behind a faulty server, as a lazy array, and its values."""
    values = np.random.default_rng(4).gamma(4, 0.03, (40, 50)).astype(np.float32)
    here = observe(write(folder / "a.tif", values), utc(2023, 1, 1), item_id="remote")
    there = type(here)(**{**vars(here), "href": f"{url}/a.tif"})
    area = cube.area_grid(bounds=(500_000, 8_699_600, 500_500, 8_700_000), crs=32633, margin=0)
    array = loaders.loader("stackstac").load([[there]], area.grid, chunk=20, sign=sign, faults=faults)
    return array, values


def test_a_missing_raster_is_asked_for_once_and_told(tmp_path: Path) -> None:
    with faulty.serve(tmp_path, server := faulty.Faults()) as url:
        found = cube.Faults()
        array, _ = _served(tmp_path, url, faults=found)
        (tmp_path / "a.tif").unlink()
        assert np.isnan(array.compute(scheduler="synchronous")).all()
        pieces = array.data.npartitions
    assert server.paths["/a.tif"] <= 2 * pieces  # a HEAD and a GET at most for each piece of the grid, and no more
    assert found.items == ("remote",)
    assert found.found[0].href == f"{url}/a.tif"
    assert "404" in found.found[0].reason


def test_a_server_that_was_down_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GDAL remembers a file that it could not open: without care no further attempt would reach the server."""
    with faulty.serve(tmp_path, server := faulty.Faults(never=("a.tif",))) as url:
        monkeypatch.setattr(remote.time, "sleep", lambda _: setattr(server, "never", ()))
        found = cube.Faults()
        array, values = _served(tmp_path, url, faults=found)
        np.testing.assert_array_equal(array.compute(scheduler="synchronous").values[0], values)
    assert server.asked["never"] > 0
    assert found.found == ()


def test_threads_that_failed_at_once_come_back_at_different_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(href: str) -> None:
        raise OSError("no answer")

    pauses: list[float] = []
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 1.0)
    monkeypatch.setattr(remote.time, "sleep", pauses.append)
    for _ in range(2):
        monkeypatch.setattr(remote, "_given_up", {})
        assert remote.patiently("https://example.com/a.tif", "a", fail) is None
    halves = pauses[: remote.ATTEMPTS - 1], pauses[remote.ATTEMPTS - 1 :]
    assert all(one != other for one, other in zip(*halves, strict=True))
    assert all(0.75 <= pause / 2**k <= 1.25 for half in halves for k, pause in enumerate(half))


def test_a_raster_given_up_is_not_waited_for_again(tmp_path: Path) -> None:
    with faulty.serve(tmp_path, server := faulty.Faults(never=("a.tif",))) as url:
        found = cube.Faults()
        array, _ = _served(tmp_path, url, faults=found)
        assert np.isnan(array.compute(scheduler="synchronous")).all()
        first = server.asked["never"]
        assert np.isnan(array.compute(scheduler="synchronous")).all()
        assert server.asked["never"] - first < first
    assert found.items == ("remote",)
    with pytest.raises(CubeError, match=r"1 of 4 rasters stayed unreadable.*remote.*503"):
        found.check(4)
    found.check(5)
    with pytest.raises(OptionError, match="share"):
        found.check(5, share=2)


def test_tokens_stay_out_of_what_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with faulty.serve(tmp_path, server := faulty.Faults(never=("a.tif",), token_seconds=60)) as url:
        found = cube.Faults()
        array, _ = _served(tmp_path, url, faults=found, sign=lambda href: f"{href}?sv=1&sig={server.token()[0]}")
        with caplog.at_level(logging.DEBUG):
            array.compute(scheduler="synchronous")
    assert server.tokens
    assert "remote" in caplog.text
    assert server.secret not in caplog.text
    assert server.secret not in str(found.found)


def test_a_reason_is_cut_between_words() -> None:
    assert remote._said(OSError("word " * 100), "https://a.net/x.tif") == f"{'word ' * 60}..."


@pytest.mark.parametrize(
    "said",
    [
        "/vsicurl/https://a.net/x.tif?se=1&sig=SECRETab%3D&sp=r failed",
        "https://b.s3.amazonaws.com/k?X-Amz-Credential=SECRETid&X-Amz-Signature=SECRETff",
        "https://user:SECRETpw@host/x.tif",
        "Authorization: Bearer SECRETtoken.abc",
        "get https://a.net/x?token=SECRET, then",
        "https://d.cloudfront.net/x.tif?Expires=1&Signature=SECRETsig&Key-Pair-Id=SECRETid",
        "https://storage.googleapis.com/b/x.tif?X-Goog-Credential=SECRET&X-Goog-Signature=SECRET",
        "https://b.s3.amazonaws.com/x.tif?AWSAccessKeyId=SECRETid&Signature=SECRETsig&Expires=1",
        "https://a.net/x?subscription-key=SECRET and https://a.net/x?api_key=SECRET",
        "https://SECRETtoken@host/x and https://:SECRETpw@host/x",
        "Authorization: token SECRETtoken",
        "{'access_token': 'SECRET12345'}",
        "{'Authorization': 'Bearer SECRETtoken'}",
    ],
)
def test_secrets_are_redacted(said: str) -> None:
    assert "SECRET" not in redact.text(said)
    assert (
        redact.text("an item S1A_x at https://a.net/x.tif?year=2023")
        == "an item S1A_x at https://a.net/x.tif?year=2023"
    )
