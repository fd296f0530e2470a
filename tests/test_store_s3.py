"""Stores in a bucket: the same store, resumed, locked by a lease, and a clear line when something is missing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import xarray as xr

from icemapper_xr import errors, store
from icemapper_xr.store import lease
from icemapper_xr.store.location import Location
from tests import s3, store_cases


def write(path: str, **options: Any) -> store.Report:
    return store.write(store_cases.result(), path, year=2023, chunk=64, **options)


def test_a_store_in_a_bucket_equals_a_local_one(prefix: str, tmp_path: Path) -> None:
    assert write(f"{prefix}/a.zarr").written == 4
    write(str(tmp_path / "a.zarr"))
    there, here = store.open_store(f"{prefix}/a.zarr"), store.open_store(tmp_path / "a.zarr")
    xr.testing.assert_identical(there.load(), here.load())
    assert there.rio.crs == here.rio.crs
    assert store.status(f"{prefix}/a.zarr") == {2023: (4, 4)}


def test_a_store_in_a_bucket_is_resumed_unit_by_unit(prefix: str) -> None:
    write(f"{prefix}/a.zarr")
    filesystem = fsspec.filesystem("s3")
    filesystem.rm(f"{prefix}/a.zarr/probability/c/0/0/1")
    assert store.todo(f"{prefix}/a.zarr", 2023) == (store.Unit(0, 1),)
    report = write(f"{prefix}/a.zarr")
    assert (report.written, report.kept) == (1, 3)
    np.testing.assert_array_equal(
        store.open_store(f"{prefix}/a.zarr").probability.values[0], store_cases.result().probability.values
    )


def test_another_run_is_refused_or_replaces_it(prefix: str) -> None:
    write(f"{prefix}/a.zarr")
    other = store_cases.result(weights_digest="other")
    with pytest.raises(errors.StoreError, match="weights_digest"):
        store.write(other, f"{prefix}/a.zarr", year=2023, chunk=64)
    assert store.write(other, f"{prefix}/a.zarr", year=2023, chunk=64, overwrite=True).written == 4


def test_a_store_cut_off_while_it_was_made_is_made_anew(prefix: str) -> None:
    import zarr

    zarr.create_group(Location.parse(f"{prefix}/a.zarr").zarr_store(), zarr_format=3)
    assert write(f"{prefix}/a.zarr").written == 4


def test_a_foreign_group_is_left_alone(prefix: str) -> None:
    import zarr

    group = zarr.create_group(Location.parse(f"{prefix}/a.zarr").zarr_store(), zarr_format=3)
    group.create_array("theirs", shape=(3,), dtype="i4")
    with pytest.raises(errors.StoreError, match="not of icemapper_xr"):
        write(f"{prefix}/a.zarr", overwrite=True)


def test_two_runs_at_once_are_refused_and_a_dead_one_is_not_waited_for(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Location.parse(f"{prefix}/a.zarr")
    with lease.hold(place), pytest.raises(errors.StoreError, match=r"being written by process \d+ on .*its lease ends"):
        write(f"{prefix}/a.zarr")
    assert place.sibling(".lock").read() is None
    monkeypatch.setattr(lease, "_SETTLE_SECONDS", 0.0)
    note = {"pid": 1, "host": "gone", "since": "2026", "ends": time.time() - 1, "token": "dead"}
    place.sibling(".lock").put(json.dumps(note).encode())
    assert write(f"{prefix}/a.zarr").written == 4


def test_a_lease_is_renewed_while_it_is_held(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    place = Location.parse(f"{prefix}/a.zarr")
    with lease.hold(place):
        first = json.loads(place.sibling(".lock").read() or b"")["ends"]
        time.sleep(0.5)
        assert json.loads(place.sibling(".lock").read() or b"")["ends"] > first


def test_a_bucket_without_rights(prefix: str, bucket: str) -> None:
    write(f"{prefix}/a.zarr")
    s3.ask_for_keys(bucket, strict=True)
    for action in (lambda: write(f"{prefix}/b.zarr"), lambda: store.open_store(f"{prefix}/a.zarr")):
        with pytest.raises(
            errors.StoreError, match=r"s3://ice/.*access denied.*check the account and its rights"
        ) as caught:
            action()
        assert "\n" not in str(caught.value)


def test_a_bucket_that_is_not_there(prefix: str) -> None:
    with pytest.raises(errors.StoreError, match=r"s3://nowhere/a\.zarr.*bucket does not exist"):
        write("s3://nowhere/a.zarr")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}, "cannot be reached .*AWS_ENDPOINT_URL"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "check the account"),
    ],
)
def test_no_server_and_no_account(
    prefix: str, changed: dict[str, str | None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in changed.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(errors.StoreError, match=rf"s3://ice/.*{message}"):
        write("s3://ice/a.zarr")
    fsspec.filesystem("s3").clear_instance_cache()


def test_a_scheme_without_a_library() -> None:
    with pytest.raises(errors.StoreError, match=r"needs a library for gs://"):
        store.write(store_cases.result(), "gs://ice/a.zarr", year=2023)
