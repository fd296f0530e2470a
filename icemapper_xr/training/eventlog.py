"""The log of a training for TensorBoard, where its package is installed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from icemapper_xr import progress

__all__ = ["write"]


def write(folder: Path, rows: Sequence[Mapping[str, float]]) -> bool:
    """Write all rows of the log as events, replacing what is there: a resumed training has no row twice.

    Returns
    -------
    bool
        False, and nothing written, where the package `tensorboard` is not installed or the folder cannot be replaced.
    """
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        return False
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    writer = EventFileWriter(str(part))
    for row in rows:
        values = [
            summary_pb2.Summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name not in ("step", "seconds")
        ]
        summary = summary_pb2.Summary(value=values)
        writer.add_event(event_pb2.Event(step=int(row["step"]), wall_time=row["seconds"], summary=summary))
    writer.close()
    try:
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except OSError as error:  # a folder that somebody reads over a network cannot be emptied; the training goes on
        progress.note(f"the log for TensorBoard is not written ({error}): the same rows are in the table beside it")
        shutil.rmtree(part, ignore_errors=True)
        return False
    return True
