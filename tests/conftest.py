from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dask
import pytest

from icemapper_xr import catalog
from tests import s3, scenes

dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"})  # as clusters of ours have it, for those of the tests

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and of the original program's answers, beside the checkout; not part of the project."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the folder ../shared with real data is not here")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An indexed folder of a year of backscatter."""
    where = tmp_path_factory.mktemp("catalogue")
    scenes.write_rtc(where)
    catalog.build(where)
    return where


@pytest.fixture(scope="module")
def two_years(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An indexed folder of two years of backscatter."""
    where = tmp_path_factory.mktemp("catalogue")
    for year in (2022, 2023):
        scenes.write_rtc(where, year=year, seed=year)
    catalog.build(where)
    return where


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """Address of an S3 server on loopback."""
    with s3.server() as url:
        yield url


@pytest.fixture
def prefix(bucket: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of an empty place in a bucket of that server."""
    import fsspec

    for name, value in {**s3.KEYS, "AWS_ENDPOINT_URL": bucket}.items():
        monkeypatch.setenv(name, value)
    filesystem = fsspec.filesystem("s3")
    if not filesystem.exists(s3.BUCKET):
        filesystem.mkdir(s3.BUCKET)
    yield f"s3://{s3.BUCKET}/{request.node.name.replace('[', '-').replace(']', '')}"
    s3.ask_for_keys(bucket, strict=False)
