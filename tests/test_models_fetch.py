"""Fetching over loopback: a good, a truncated, a tampered and no file; nothing half-written stays."""

from __future__ import annotations

import contextlib
import functools
import http.server
import subprocess
import threading
from pathlib import Path

import pytest

from icemapper_xr import errors
from icemapper_xr.models import fetch, presets, published
from tests import models_support as support
from tests.support import files_of_at_most

FILE = "ICEmapper_maxpool_grd.h5"
CONTENT = support.answer("maxpool_grd").path.read_bytes()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves /good, /truncated (fewer bytes than announced), /short (fewer, announced so) and /tampered."""

    requests: list[str]

    def do_GET(self):
        self.requests.append(self.path)
        kind = self.path.split("/")[1]
        if kind not in ("good", "truncated", "short", "tampered"):
            self.send_error(404)
            return
        body = {"short": CONTENT[:1000], "tampered": CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])}.get(kind, CONTENT)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:50_000] if kind == "truncated" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    requests: list[str] = []
    handler = type("Recording", (Handler,), {"requests": requests})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield functools.partial("http://127.0.0.1:{port}/{kind}".format, port=httpd.server_port), requests
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def small_file_as_published(monkeypatch, tmp_path):
    """The real files are not here: a small one of the same format stands for one of them."""
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    monkeypatch.setitem(published.FILES, FILE, published.blob_id(path))


def test_blob_id_is_git_s(tmp_path):
    path = support.answer("maxpool_grd").path
    git = subprocess.run(["git", "hash-object", path], capture_output=True, text=True, check=False)
    if git.returncode:
        pytest.skip("git is not here")
    assert published.blob_id(path) == git.stdout.strip()


@pytest.mark.parametrize("name", ["maxpool_grd", FILE])
def test_a_good_file_arrives_once(server, tmp_path, name):
    url, requests = server
    cache = tmp_path / "cache"
    path = fetch.fetch(name, url=url(kind="good"), cache=cache)
    assert path == cache / FILE
    assert path.read_bytes() == CONTENT
    assert fetch.fetch(name, url=url(kind="good"), cache=cache) == path
    assert requests == [f"/good/{FILE}"]
    assert [entry.name for entry in cache.iterdir()] == [FILE]
    assert path.stat().st_mode & 0o777 == 0o644
    found = presets.resolve("maxpool_grd", cache=cache)
    assert (found.origin, found.features, found.window, found.pixel_size) == ("published", ("grd",), 384, 10.0)


def test_a_url_that_names_the_file_itself(server, tmp_path):
    url, requests = server
    fetch.fetch("maxpool_grd", url=url(kind="good") + "/other-name.h5", cache=tmp_path / "cache")
    assert requests == ["/good/other-name.h5"]


@pytest.mark.parametrize(
    ("mirror", "asked"),
    [
        ("/?token=x", f"/{FILE}?token=x"),
        ("?token=x/y", f"/{FILE}?token=x/y"),
        ("/other.h5?token=x", "/other.h5?token=x"),
        ("/get?file=other.h5", "/get?file=other.h5"),
    ],
)
def test_the_query_of_a_mirror_stays_behind_the_name(server, tmp_path, mirror, asked):
    """The name went behind the token: the server was asked for the folder, with a token that it does not know."""
    url, requests = server
    fetch.fetch("maxpool_grd", url=url(kind="good") + mirror, cache=tmp_path / "cache")
    assert requests == [f"/good{asked}"]


@pytest.mark.parametrize("kind", ["truncated", "short", "tampered", "missing"])
def test_a_bad_file_leaves_nothing(server, tmp_path, kind):
    url, _ = server
    cache = tmp_path / "cache"
    with pytest.raises(errors.WeightsError) as error:
        fetch.fetch("maxpool_grd", url=url(kind=kind), cache=cache)
    text = str(error.value)
    assert "\n" not in text
    assert url(kind=kind) in text
    assert str(cache / FILE) in text
    assert list(cache.iterdir()) == []


def test_a_damaged_copy_is_refused_and_fetched_again(server, tmp_path):
    url, _ = server
    path = tmp_path / FILE
    path.write_bytes(CONTENT[:-1])
    (row,) = [row for row in presets.list_weights(cache=tmp_path) if row["file"] == FILE]
    assert not row["here"]
    with pytest.raises(errors.WeightsError, match=r"damaged.*icemapper weights fetch"):
        presets.resolve("maxpool_grd", cache=tmp_path)
    with pytest.raises(errors.WeightsError):
        fetch.fetch("maxpool_grd", url=url(kind="tampered"), cache=tmp_path)
    assert path.read_bytes() == CONTENT[:-1]  # what was there stays until something better has arrived
    assert fetch.fetch("maxpool_grd", url=url(kind="good"), cache=tmp_path).read_bytes() == CONTENT


def test_a_full_disk_is_not_taken_for_the_network(server, tmp_path):
    url, _ = server
    with (
        files_of_at_most(len(CONTENT) // 2),
        pytest.raises(errors.WeightsError, match=rf"cache/{FILE} cannot be written \(File too large\): make room"),
    ):
        fetch.fetch("maxpool_grd", url=url(kind="good"), cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_offline_says_where_to_put_the_file(tmp_path):
    with pytest.raises(errors.WeightsError, match=r"offline\? Then get ICEmapper_maxpool_grd.h5 .* put it at") as error:
        fetch.fetch("maxpool_grd", url="http://127.0.0.1:9/weights", cache=tmp_path)
    assert str(tmp_path / FILE) in str(error.value)


def test_a_cache_folder_that_is_none_is_told_before_anything_is_fetched(server, tmp_path):
    url, requests = server
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.WeightsError, match=r"cache folder .*file .*name another with --cache"):
        fetch.fetch("maxpool_grd", url=url(kind="good"), cache=tmp_path / "file")
    assert not requests


def test_a_mirror_s_password_is_not_printed(tmp_path):
    with pytest.raises(errors.WeightsError, match=r"http://\*\*\*@127") as error:
        fetch.fetch("maxpool_grd", url="http://user:secret@127.0.0.1:9/weights?token=hidden", cache=tmp_path)
    assert "secret" not in str(error.value)
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize("name", ["maxpool_insar", "tweightedpool_rtc_simulated", "resnet", "../x"])
def test_only_published_names(tmp_path, name):
    with pytest.raises(errors.WeightsError, match=r"ICEmapper_tweightedpool_rtc\.h5"):
        fetch.fetch(name, cache=tmp_path)


def test_progress_shows_a_bar(server, tmp_path, capsys):
    from icemapper_xr import progress

    url, _ = server
    progress.enable()
    try:
        fetch.fetch("maxpool_grd", url=url(kind="good"), cache=tmp_path / "cache")
    finally:
        progress.enable(False)
    assert f"fetching {FILE}" in capsys.readouterr().err


def test_the_bar_ends_at_its_total(server, tmp_path, monkeypatch):
    done = []

    @contextlib.contextmanager
    def bar(_):
        yield lambda amount=1, total=None: done.append(amount)

    monkeypatch.setattr(fetch.progress_, "enabled", lambda: True)
    monkeypatch.setattr(fetch.progress_, "bar", bar)
    fetch.fetch("maxpool_grd", url=server[0](kind="good"), cache=tmp_path / "cache")
    assert sum(done) == len(CONTENT)


def test_the_cache_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ICEMAPPER_CACHE", str(tmp_path))
    assert published.cache_folder() == tmp_path
    assert published.cache_folder("x") == Path("x")
    assert published.cache_folder("~/x") == Path.home() / "x"
    monkeypatch.delenv("ICEMAPPER_CACHE")
    assert published.cache_folder().name == "icemapper_xr"
