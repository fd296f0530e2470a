"""A whole STAC API, PostgreSQL and pgstac behind it: every search right, and the map the same as from files.

`make test-pgstac` starts and stops all of it. The server has an environment of its own (ICEMAPPER_PGSTAC names its
Python), so that its packages and ours need not agree.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icemapper_xr as ix
from icemapper_xr import store
from icemapper_xr.errors import CatalogError
from tests import faulty, scenes
from tests.catalog_support import free_port
from tests.further import debian

pytestmark = pytest.mark.further

PYTHON = os.path.abspath(os.environ["ICEMAPPER_PGSTAC"]) if "ICEMAPPER_PGSTAC" in os.environ else ""
if not PYTHON:
    pytest.skip("run by `make test-pgstac`", allow_module_level=True)
debian.need(
    ["initdb", "pg_ctl", "createdb"],
    ["postgresql", "postgresql-15-postgis-3"],
    files=["/usr/share/postgresql/*/extension/postgis.control"],
)

COLLECTION = "sentinel-1-rtc"


class Database:
    """A PostgreSQL server of our own in a temporary folder; as root it runs as the user `postgres`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user is not None:
            os.chown(folder, pwd.getpwnam(self.user).pw_uid, -1)

    def run(self, name: str, *arguments: str) -> None:
        path = debian.program(name)
        assert path is not None
        done = subprocess.run(
            [path, *arguments], user=self.user, cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{name}: {done.stdout[-500:]} {done.stderr[-500:]}"

    @property
    def environment(self) -> dict[str, str]:
        there = {"HOST": "127.0.0.1", "PORT": str(self.port), "USER": "postgres", "DATABASE": "stac", "PASSWORD": "x"}
        api = {"POSTGRES_USER": "postgres", "POSTGRES_PASS": "x", "POSTGRES_DBNAME": "stac"}
        api |= {f"POSTGRES_HOST{kind}": "127.0.0.1" for kind in ("", "_READER", "_WRITER")}
        return {**os.environ, **{f"PG{k}": v for k, v in there.items()}, **api, "POSTGRES_PORT": str(self.port)}

    def start(self) -> None:
        data = str(self.folder / "data")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        self.run("initdb", "-D", data, "-A", "trust", "-U", "postgres")
        self.run("pg_ctl", "-D", data, "-o", options, "-l", str(self.folder / "log"), "-w", "start")
        self.run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "stac")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", "fast", "-w", "stop")


def pypgstac(database: Database, *arguments: str) -> None:
    program = Path(PYTHON).with_name("pypgstac")
    done = subprocess.run(
        [str(program), *arguments], env=database.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-1000:]


def described(number: int) -> dict[str, Any]:
    """An item that need not exist: pages of them around the antimeridian, 12 days apart."""
    when = dt.datetime(2016, 1, 1, 5, 0, tzinfo=dt.UTC) + dt.timedelta(hours=6 * number)
    west = [175.0, 178.5, -179.5, -176.0][number % 4]
    box = [west, 70.0, west + 1.0, 71.0]
    ring = [[box[0], 70.0], [box[2], 70.0], [box[2], 71.0], [box[0], 71.0], [box[0], 70.0]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": f"described-{number:04d}",
        "collection": COLLECTION,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": box,
        "properties": {
            "datetime": when.isoformat().replace("+00:00", "Z"),
            "platform": "SENTINEL-1A",
            "sat:relative_orbit": 1 + number % 175,
            "sat:orbit_state": "ascending",
            "sar:instrument_mode": "IW",
            "sar:polarizations": ["HH", "HV"],
            "icemapper:feature": "rtc",
            "icemapper:scale": "power",
        },
        "links": [],
        "assets": {"hh": {"href": f"https://example.com/{number}.tif", "type": "image/tiff", "roles": ["data"]}},
    }


@pytest.fixture(scope="module")
def files(folder: Path) -> Iterator[str]:
    """The address of a server of the rasters."""
    with faulty.serve(folder, faulty.Faults()) as url:
        yield url


@pytest.fixture(scope="module")
def items(folder: Path, files: str) -> list[dict[str, Any]]:
    """The items of the rasters, on the file server, and 900 more."""
    own = []
    for item in ix.search(folder, features=("rtc",)).items:
        for asset in item.assets.values():
            asset.href = f"{files}/{Path(asset.href).name}"
        own.append({**item.to_dict(include_self_link=False), "collection": COLLECTION, "links": []})
    return own + [described(number) for number in range(900)]


@pytest.fixture(scope="module")
def api(items: list[dict[str, Any]]) -> Iterator[str]:
    """The address of the API with all items in it."""
    # Not in pytest's folder, which only its owner may enter.
    base = Path(tempfile.mkdtemp(prefix="icemapper-pgstac-"))
    base.chmod(0o755)
    database = Database(base)
    database.start()
    try:
        collection = {
            "type": "Collection",
            "id": COLLECTION,
            "stac_version": "1.0.0",
            "description": "test",
            "license": "other",
            "links": [],
            "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        }
        (base / "collection.json").write_text(json.dumps(collection))
        (base / "items.ndjson").write_text("\n".join(json.dumps(item) for item in items))
        pypgstac(database, "migrate")
        pypgstac(database, "load", "collections", str(base / "collection.json"), "--method", "insert")
        pypgstac(database, "load", "items", str(base / "items.ndjson"), "--method", "insert")
        with server(database, base) as url:
            yield url
    finally:
        database.stop()
        shutil.rmtree(base, ignore_errors=True)


@contextlib.contextmanager
def server(database: Database, base: Path) -> Iterator[str]:
    url = f"http://127.0.0.1:{free_port()}"
    command = [PYTHON, "-m", "uvicorn", "--factory", "stac_fastapi.pgstac.app:create_app", "--host", "127.0.0.1"]
    with (
        (base / "uvicorn.log").open("w") as log,
        subprocess.Popen(
            [*command, "--port", url.rpartition(":")[2]], env=database.environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            for _ in range(300):
                with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
                    answer.read()
                    break
                assert process.poll() is None, (base / "uvicorn.log").read_text()[-2000:]
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def collection_file(items: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path


@pytest.mark.parametrize(
    "query",
    [
        {"bbox": (178.0, 69.0, -178.0, 72.0)},
        {"bbox": (174.0, 69.0, 176.5, 72.0), "datetime": "2016-02/2016-05"},
        {"bbox": (178.0, 69.0, -175.5, 72.0), "orbit": 17},
        {"bbox": (-180.0, -90.0, 180.0, 90.0), "datetime": "2023"},
        {"bbox": (178.0, 69.0, -178.0, 72.0), "polarisation": "HH", "datetime": "../2016-06"},
    ],
)
def test_every_search_finds_what_a_file_does(api: str, collection_file: Path, query: dict[str, Any]) -> None:
    there = ix.search(api, **query)
    here = ix.search(collection_file, **query)
    assert {item.id for item in there.items} == {item.id for item in here.items}
    assert len(there.items) == len(here.items) > 0
    assert there.table() == here.table()


def test_pages_are_followed_to_the_end(api: str) -> None:
    found = ix.search(api, bbox=(174.0, 69.0, -174.0, 72.0), datetime="2016")
    assert len(found.items) == 900
    assert len({item.id for item in found.items}) == 900


def test_nothing_found_is_said(api: str) -> None:
    with pytest.raises(CatalogError, match="but none from 2019"):
        ix.search(api, bbox=(174.0, 69.0, 176.5, 72.0), datetime="2019")


def test_the_map_is_the_same_as_from_files(api: str, folder: Path, tmp_path: Path) -> None:
    weights = scenes.write_weights(tmp_path / "w.h5")
    bounds = scenes.inner()
    for name, source in (("api", api), ("files", str(folder))):
        ix.map_glaciers(
            catalog=source, weights=weights, out=tmp_path / name, bounds=bounds, crs=scenes.EPSG, years=(2023,)
        )
    one, other = (store.open_store(tmp_path / name / "glaciers.zarr").load() for name in ("api", "files"))
    np.testing.assert_array_equal(one.probability.values, other.probability.values)
    np.testing.assert_array_equal(one.n_obs.values, other.n_obs.values)
    assert int(one.n_obs.max()) == 15
