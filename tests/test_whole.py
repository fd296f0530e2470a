"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import geopandas as gpd
import pytest

from icemapper_xr import whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_place_when_the_block_is_done(tmp_path: Path) -> None:
    path = tmp_path / "outlines.gpkg"
    path.write_text("old")
    with whole.appearing(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
        assert (part.suffix, part.parent) == (path.suffix, path.parent)
    assert path.read_text() == "new"
    assert names(tmp_path) == ["outlines.gpkg"]


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "areas.csv"
    path.write_text("old")

    def interrupted() -> None:
        with whole.appearing(path) as part:
            part.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["areas.csv"]


def test_what_a_killed_process_left_long_ago_goes(tmp_path: Path) -> None:
    path = tmp_path / "outlines.gpkg"
    old, young = (tmp_path / f".outlines.{mark * 8}.part.gpkg" for mark in "ab")
    other = tmp_path / ".outlines_2023.cccccccc.part.gpkg"
    for part in (old, young, other):
        part.write_text("half")
    for part in (old, other):
        os.utime(part, (0, 0))
    with whole.appearing(path) as part:
        part.write_text("new")
    assert names(tmp_path) == sorted([young.name, other.name, path.name])


def test_a_block_that_writes_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole.appearing(tmp_path / "areas.csv"):
        pass
    assert names(tmp_path) == []


def test_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path, both = tmp_path / "classes.npy", threading.Barrier(2)

    def write(text: str) -> None:
        with whole.appearing(path) as part:
            both.wait()  # both have their name
            part.write_text(text)
            both.wait()  # both have written
            assert part.read_text() == text

    writers = [threading.Thread(target=write, args=(text * 1000,)) for text in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert names(tmp_path) == ["classes.npy"]


@pytest.mark.parametrize(("first", "warned"), [("icemapper_xr.models", False), ("tensorflow", True)])
def test_a_layer_is_written_whichever_library_is_loaded_first(tmp_path: Path, first: str, warned: bool) -> None:
    """TensorFlow's SQLite has no spatial index; a process that imports it first was told of a full disk."""
    program = (
        f"import {first}, tensorflow, warnings, sys, pathlib, geopandas, pyogrio\n"
        "from icemapper_xr import whole\n"
        "frame = geopandas.GeoDataFrame(geometry=geopandas.points_from_xy([1], [2], crs=4326))\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "with warnings.catch_warnings(record=True) as told:\n"
        "    warnings.simplefilter('always', UserWarning)\n"
        "    whole.write_layer(frame, path, driver='GPKG')\n"
        "words = ' '.join(str(one.message) for one in told if one.category is UserWarning)\n"
        "assert ('have no spatial index, as tensorflow was' in words) is bool(int(sys.argv[2])), words\n"
        "assert bool(pyogrio.read_info(path)['capabilities']['fast_spatial_filter']) is not bool(int(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "x.gpkg"), str(int(warned))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(gpd.read_file(tmp_path / "x.gpkg")) == 1
