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

from icemapper_xr import cube
from icemapper_xr.cube import loaders, read
from icemapper_xr.errors import CubeError
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
    monkeypatch.setattr(read, "_PAUSE_SECONDS", 0.0)
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
