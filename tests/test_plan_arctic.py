"""`plan` for all glacier regions of the Arctic on 10^5 items. `make test-slow`."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests import arctic

ROOT = Path(__file__).resolve().parents[1]

WEIGHTS = "tweightedpool_rtc_simulated"
"""Windows of 384 px, as the published ones: of a small window there are tens of times as many to count."""
REGIONS = ["01", "03", "04", "05", "06", "07", "08", "09", "10"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_plan_of_the_arctic_takes_little_longer_than_its_catalogue_and_two_gigabytes(tmp_path: Path, capsys) -> None:
    catalogue = arctic.write(tmp_path / "items.parquet")
    read = f"from icemapper_xr import catalog; catalog.search({str(catalogue)!r}, features=('rtc',))"
    reading, _ = _processor("-c", read)
    arguments = ["plan", "--catalog", str(catalogue), "--weights", WEIGHTS, "--year", "2023", "--rate", "1"]
    planning, told = _processor("-m", "icemapper_xr", *arguments, "--region", *REGIONS)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    with capsys.disabled():
        print(f"\n{told}\n{planning:.0f} s of processor, {reading:.0f} of them for the catalogue, {peak / 1e9:.2f} GB")
    assert "100000" in told
    assert planning < 2 * reading
    assert peak < 2e9


def _processor(*arguments: str) -> tuple[float, str]:
    """Run Python; returns seconds of processor, whatever else the machine does, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout
