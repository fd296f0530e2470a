"""Steps in torch, where it is installed: in a process of their own, as torch and TensorFlow do not always share one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is an accelerator for those who have it")
def test_steps_in_torch() -> None:
    tests = Path(__file__).with_name("torch_steps.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    run = subprocess.run(command, cwd=tests.parents[1], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:]
