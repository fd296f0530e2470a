"""A training's state on disk: weights, optimiser, step and log, written whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from icemapper_xr import errors, whole

__all__ = ["Row", "State", "arrays_of", "assign", "read_state", "write_csv", "write_state"]

Row = dict[str, float]
"""One validation: step, elapsed seconds, losses, scores."""


@dataclass
class State:
    """All that the next step depends on; batches depend on the seed and the step alone."""

    step: int = 0
    """Steps done."""
    elapsed: float = 0.0
    """Seconds of training, all runs together."""
    best: float = -1.0
    """Highest monitored score so far."""
    losses: list[float] = field(default_factory=list)
    """Losses since the last validation."""
    rows: list[Row] = field(default_factory=list)
    weights: list[npt.NDArray[Any]] = field(default_factory=list)
    """The network's variables, in its order."""
    optimizer: list[npt.NDArray[Any]] = field(default_factory=list)
    """The optimiser's variables, in its order."""
    best_weights: list[npt.NDArray[Any]] = field(default_factory=list)
    frozen: bool = False
    """Whether the batch normalisations are frozen."""


def arrays_of(variables: Sequence[Any]) -> list[npt.NDArray[Any]]:
    """Copy Keras variables to numpy."""
    from keras import ops

    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]


def assign(variables: Sequence[Any], values: Sequence[npt.NDArray[Any]]) -> None:
    """Set Keras variables."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def write_state(path: Path, state: State, digest: str, simulator: str | None = None) -> None:
    """Write a checkpoint; a kill at any moment leaves the old one or the new one.

    Raises
    ------
    OptionError
        If a weight is not a number, so that nothing could be trained on from it; the old checkpoint stays.
    StoreError
        If it cannot be written; the old checkpoint stays.
    """
    if not all(np.isfinite(value).all() for value in (*state.weights, *state.optimizer)):
        raise errors.OptionError(
            f"the weights of step {state.step} are not all numbers: give a smaller learning_rate, and look for odd "
            f"values in the data; the checkpoint {path} is of an earlier step, if there is one"
        )
    facts = {
        "digest": digest,
        "simulator": simulator,
        "step": state.step,
        "elapsed": state.elapsed,
        "best": state.best,
        "losses": state.losses,
        "rows": state.rows,
        "frozen": state.frozen,
    }
    groups = {"weights": state.weights, "optimizer": state.optimizer, "best": state.best_weights}
    arrays = {f"{name}_{i:04d}": value for name, values in groups.items() for i, value in enumerate(values)}
    for left in path.parent.glob(f".{path.stem}.*.part{path.suffix}"):  # of a run that was killed while it wrote
        left.unlink(missing_ok=True)
    with _told(path), whole.appearing(path) as part, part.open("wb") as file:
        np.savez(file, facts=np.array(json.dumps(facts)), **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say which file could not be written, and how to go on."""
    try:
        yield
    except OSError as error:
        raise errors.StoreError(
            f"{path} cannot be written ({error.strerror or error}), an older one stays: make room for it and go on "
            "with --resume"
        ) from error


def read_state(path: Path, digest: str, simulator: str | None = None) -> State:
    """Read a checkpoint of those settings, and where it is said of that simulator.

    Raises
    ------
    OptionError
        If it is damaged, or was written by a training with other settings or on scenes of another simulator.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            groups = {
                name: [file[key] for key in sorted(file.files) if key.startswith(f"{name}_")]
                for name in ("weights", "optimizer", "best")
            }
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise errors.OptionError(
            f"checkpoint {path} cannot be read ({errors.one_line(error)}): delete it to begin anew"
        ) from error
    if facts["digest"] != digest:
        raise errors.OptionError(
            f"checkpoint {path} is of other settings: choose another --out, or the settings that began it"
        )
    if simulator is not None and facts.get("simulator") not in (None, simulator):
        raise errors.OptionError(
            f"checkpoint {path} learned from scenes of another version of the simulator ({facts['simulator']}, now "
            f"{simulator}): go on with the version of icemapper_xr that began it, or begin anew in another --out"
        )
    return State(
        facts["step"],
        facts["elapsed"],
        facts["best"],
        facts["losses"],
        facts["rows"],
        groups["weights"],
        groups["optimizer"],
        groups["best"],
        facts["frozen"],
    )


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write the log, one row per validation.

    Raises
    ------
    StoreError
        If it cannot be written; the old log stays.
    """
    if not rows:
        return
    with _told(path), whole.appearing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in rows)
