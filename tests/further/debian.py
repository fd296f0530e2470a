"""What the further targets need of the system: installed from Debian where we are root, else skipped with a reason."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
from collections.abc import Sequence

import pytest

__all__ = ["need", "need_root", "program"]

_PATHS = ("/usr/sbin", "/sbin", "/usr/lib/postgresql/*/bin")


def program(name: str) -> str | None:
    """Path of a program, also where only root looks."""
    found = shutil.which(name)
    for pattern in _PATHS:
        for folder in sorted(glob.glob(pattern), reverse=True):
            found = found or shutil.which(name, path=folder)
    return found


def need(programs: Sequence[str], packages: Sequence[str], *, files: Sequence[str] = ()) -> None:
    """See to it that programs (and files, by pattern) are there, or skip the module."""

    def missing() -> list[str]:
        return [name for name in programs if program(name) is None] + [name for name in files if not glob.glob(name)]

    if not missing():
        return
    remedy = f"apt-get install {' '.join(packages)}"
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        pytest.skip(f"{', '.join(missing())} missing: as root, {remedy}", allow_module_level=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        done = subprocess.run([apt, *arguments], capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            pytest.skip(f"{remedy} failed: {done.stderr.strip()[-300:]}", allow_module_level=True)
    if missing():
        pytest.skip(f"{', '.join(missing())} missing even after {remedy}", allow_module_level=True)


def need_root(why: str) -> None:
    """Skip the module where we are not root."""
    if os.geteuid() != 0:
        pytest.skip(f"needs root: {why}", allow_module_level=True)
