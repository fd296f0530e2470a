"""Maps from a server that fails as servers do: the same map, or what is missing named; no token anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import icemapper_xr as ix
from icemapper_xr import pipeline, store
from icemapper_xr.cube import remote
from icemapper_xr.errors import IcemapperError
from icemapper_xr.testing import FakeSegmenter
from tests import faulty, scenes

ROOT = Path(__file__).resolve().parents[1]
SEGMENTER = FakeSegmenter(window=32)


@pytest.fixture(scope="module")
def undisturbed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "map"
    run(folder, out)
    return out


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE_SECONDS", 0.05)
    monkeypatch.setitem(remote._ENV, "GDAL_HTTP_RETRY_DELAY", "0.05")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def served(folder: Path, url: str, path: Path) -> Path:
    """The catalogue of the rasters, on a server."""
    items = ix.search(folder).items
    for item in items:
        for asset in item.assets.values():
            asset.href = f"{url}/c/{Path(asset.href).name}"
    features = [item.to_dict(include_self_link=False) for item in items]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def run(source: Path, out: Path, **options: Any) -> pipeline.MapReport:
    return pipeline.map_glaciers(
        catalog=source,
        weights=SEGMENTER,
        out=out,
        bounds=scenes.inner(),
        crs=f"EPSG:{scenes.EPSG}",
        years=(2023,),
        **options,
    )


def values(out: Path) -> Any:
    return store.open_store(out / "glaciers.zarr").load()


@pytest.mark.parametrize("reader", ["stackstac", "odc"])
def test_a_server_that_fails_gives_the_same_map(folder: Path, undisturbed: Path, tmp_path: Path, reader: str) -> None:
    faults = faulty.Faults(busy=0.2, drop=0.1, truncate=0.1, stalls=1, stall_seconds=5.0, seed=3)
    with faulty.serve(folder, faults) as url:
        report = run(served(folder, url, tmp_path / "items.json"), tmp_path / "map", reader=reader)
    assert all(faults.asked[fate] > 0 for fate in ("busy", "drop", "truncate", "stall", "ok")), faults.asked
    assert report.years[0].unreadable == ()
    here, there = values(undisturbed), values(tmp_path / "map")
    np.testing.assert_array_equal(here.probability, there.probability)
    np.testing.assert_array_equal(here.n_obs, there.n_obs)


def test_dates_that_are_never_served_are_missing_steps(folder: Path, undisturbed: Path, tmp_path: Path) -> None:
    lost = [f"{when:%Y%m%dT%H%M%S}" for when in (scenes.passes()[4], scenes.passes()[9])]
    with faulty.serve(folder, faulty.Faults(never=tuple(lost))) as url:
        source = served(folder, url, tmp_path / "items.json")
        with pytest.warns(UserWarning, match="2 items could not be read"):
            report = run(source, tmp_path / "map")
    here, there = values(undisturbed), values(tmp_path / "map")
    np.testing.assert_array_equal(here.n_obs - there.n_obs, 2)
    assert np.isfinite(there.probability).all()
    named = report.years[0].unreadable
    assert len(named) == 2
    assert all(any(date in item for item in named) for date in lost)
    log = next((tmp_path / "map" / "logs").glob("*.jsonl")).read_text()
    assert all(item in log for item in named)
    # The map lacks them for good, so that later runs, of that year or another, and `status` say so.
    with pytest.warns(UserWarning, match=r"2 items could not be read.*--overwrite maps the year anew"):
        assert run(source, tmp_path / "map").years[0].unreadable == named
    for path in (tmp_path / "map" / "logs").iterdir():
        path.unlink()
    assert pipeline.status_of_run(tmp_path / "map").unreadable == named
    assert run(folder, tmp_path / "map", overwrite=True).years[0].unreadable == ()
    assert pipeline.status_of_run(tmp_path / "map").unreadable == ()


def test_too_much_missing_fails_the_unit(folder: Path, tmp_path: Path) -> None:
    lost = tuple(f"{when:%Y%m%dT%H%M%S}" for when in scenes.passes()[2:7])
    with faulty.serve(folder, faulty.Faults(never=lost)) as url:
        source = served(folder, url, tmp_path / "items.json")
        with pytest.raises(IcemapperError, match=r"5 of 15 rasters stayed unreadable.*503"):
            run(source, tmp_path / "map")


SCRIPT = """
import logging, sys
from tests import scenes, test_reading_faults as faults
from pathlib import Path
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
logging.getLogger("rasterio").setLevel(logging.DEBUG)
report = faults.run(Path(sys.argv[1]), Path(sys.argv[2]))
print(report)
"""


def test_tokens_that_live_two_seconds_leave_no_trace(folder: Path, undisturbed: Path, tmp_path: Path) -> None:
    """The signer of Planetary Computer itself: its token service and its storage are on loopback, through a proxy."""
    faults = faulty.Faults(token_seconds=2.0, busy=0.1, seed=1)
    storage = "http://sentinel1euwestrtc.blob.core.windows.net"
    with faulty.serve(folder, faults) as url:
        source = served(folder, storage, tmp_path / "items.json")
        environment = {**os.environ, "http_proxy": url, "no_proxy": "127.0.0.1", "PC_SDK_SAS_URL": f"{url}/token"}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(source), str(tmp_path / "map")],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT), "CPL_DEBUG": "OFF"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(faults.tokens) > 5
    np.testing.assert_array_equal(values(undisturbed).probability, values(tmp_path / "map").probability)
    ix.search(source).to_file(tmp_path / "list.json")
    assert faults.secret not in done.stdout + done.stderr
    searched = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(searched) > 8
    assert [path for path in searched if faults.secret.encode() in path.read_bytes()] == []
