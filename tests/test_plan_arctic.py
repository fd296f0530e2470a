"""`plan` for all glacier regions of the Arctic on 10^5 items. `make test-slow`."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import arctic, scenes

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def test_plan_of_the_arctic_takes_less_than_two_minutes_and_two_gigabytes(tmp_path: Path, capsys) -> None:
    catalogue = arctic.write(tmp_path / "items.parquet")
    weights = scenes.write_weights(tmp_path / "tiny.h5")
    started = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = ["plan", "--catalog", str(catalogue), "--weights", str(weights), "--year", "2023", "--rate", "1"]
    regions = ["--region", "01", "03", "04", "05", "06", "07", "08", "09", "10"]
    done = subprocess.run(
        [sys.executable, "-m", "icemapper_xr", *arguments, *regions],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with capsys.disabled():
        print(
            f"\n{done.stdout}{done.stderr}\n{seconds:.0f} s, {cpu:.0f} s of processor, {after.ru_maxrss / 1e6:.2f} GB"
        )
    assert done.returncode == 0
    assert "100000" in done.stdout
    assert min(seconds, cpu) < 120
    assert after.ru_maxrss * 1024 < 2e9
