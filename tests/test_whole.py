"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

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
