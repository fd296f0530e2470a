"""The training loop: seeded, resumable, the best weights kept."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, SupportsFloat

import filelock
import numpy as np

from icemapper_xr import conventions, errors, progress
from icemapper_xr.training import ahead, eventlog, likeness, metrics, optimiser, patches, places, scenes, sources, state
from icemapper_xr.training.config import Schedule, TrainingConfig
from icemapper_xr.training.data import Batches
from icemapper_xr.training.samples import Sample
from icemapper_xr.training.sources import Data
from icemapper_xr.training.state import Row, State

if TYPE_CHECKING:
    import keras

    from icemapper_xr.applicability import Likeness


__all__ = ["Trained", "network", "rate", "train"]

CHECKPOINT = "checkpoint.npz"
LOG = "log.csv"
EVENTS = "tensorboard"


@dataclass(frozen=True)
class Trained:
    """What a training leaves."""

    model: keras.Model
    """The network with the weights that were kept."""
    rows: list[Row]
    """The log, one row per validation."""
    scores: dict[str, float]
    """Scores of the kept weights on the validation samples."""
    folder: Path
    likeness: Likeness | None = None
    """What the training data look like; None where they are too few to tell."""


def train(
    config: TrainingConfig,
    folder: str | Path,
    *,
    cache: str | Path | None = None,
    resume: bool = False,
    make: scenes.SceneMaker = scenes.simulated,
    beside: Path | None = None,
    workers: int = 0,
    describe: bool = True,
) -> Trained:
    """Train a network.

    Parameters
    ----------
    config
        Settings.
    folder
        Where the checkpoint and the log go.
    cache
        Folder of simulated scenes; None is `folder/scenes`.
    resume
        Go on from the checkpoint in `folder`. Without it a checkpoint there is refused.
    make
        Makes simulated scenes.
    beside
        Settings file from which processes beside this one fill the cache; None simulates all scenes first, in this
        process.
    workers
        Processes that prepare patches, and as many that simulate; 0 is a thread, and one that simulates. An accelerator
        waits for its patches without them. The weights do not depend on it.
    describe
        Whether to describe the training data, for `applicability`; half a second a scene.

    Returns
    -------
    Trained
        The network with the best weights, statistics of the batch normalisation estimated anew.

    Raises
    ------
    OptionError
        If there is a checkpoint already, or none that fits, another training writes to the folder, data are missing,
        or `workers` is below 0.

    Warns
    -----
    UserWarning
        If `resume` finds no checkpoint to go on from, or there are too few data to describe.
    """
    if workers < 0:
        raise errors.OptionError(f"workers={workers}: give the number of processes, 0 for none")
    folder = places.folder(Path(folder))
    scenes_in = Path(cache) if cache else folder / "scenes"
    # First all that can be wrong with the settings: the data may be minutes of simulation away.
    model = _model(config)
    stepper = optimiser.steps_of(model, precision=config.precision)
    with _alone(folder):
        current = _begin(config, folder, model, resume)
        with sources.open_data(config, scenes_in, make, beside, processes=max(1, workers)) as data:
            _loop(config, folder, model, stepper, data, current, workers)
            return _finish(config, folder, model, data, current, describe)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a folder to one training: two would replace each other's checkpoints and logs."""
    lock = filelock.FileLock(folder / ".lock", blocking=False)  # the system drops it with its process
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise errors.OptionError(
            f"another training writes to {folder}: wait until it ends, or choose another --out"
        ) from error
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def total_steps(config: TrainingConfig, data: Data) -> int:
    """Return the steps of the whole training: given, or the epochs times the whole windows of all samples."""
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    if config.data is None:  # some scenes may still have to be simulated, but all have one size
        wanted = sources.scene_set(config, data.source.cache, data.source.make)
        whole = wanted.number * (config.scenes.size // config.window) ** 2
    else:
        whole = sum(math.prod(side // config.window for side in sample.shape) for sample in data.training(0))
    return config.epochs * max(1, whole // config.batch)


def rate(share: float, schedule: Schedule) -> float:
    """Return the learning rate as a share of its peak, when a share of the training is done."""
    if schedule.kind == "constant":
        return 1.0
    begin = 0.0
    if schedule.kind == "cosine":
        if share < schedule.warmup:
            return max(share / schedule.warmup, 1e-3)
        begin, end = schedule.warmup, 1.0
    else:
        end = next(cycle for cycle in schedule.cycles if share < cycle or cycle == schedule.cycles[-1])
        begin = max((cycle for cycle in schedule.cycles if cycle < end), default=0.0)
    inside = min(max((share - begin) / (end - begin), 0.0), 1.0)
    return schedule.floor + (1 - schedule.floor) * 0.5 * (1 + math.cos(math.pi * inside))


def network(config: TrainingConfig) -> keras.Model:
    """Build the network with fresh weights that depend on the seed alone."""
    import keras

    from icemapper_xr.models import icemapper

    keras.utils.set_random_seed(config.seed)
    return icemapper.build(
        channels=len(config.features), pooling=config.pooling, filters=config.filters, levels=config.levels
    )


def _model(config: TrainingConfig) -> keras.Model:
    """Build and compile the network, warm if asked for."""
    import keras

    from icemapper_xr.training import losses, warm

    model = network(config)
    if config.warm_start is None:
        warm.balance(model, config.features)
    else:
        warm.check_left_out(config)
        warm.check_validation(config)
        warm.start(model, config.warm_start, config.features)
    for norm in optimiser.batch_norms(model):
        norm.momentum = config.momentum
    loss = losses.SegmentationLoss(**config.loss.model_dump())
    optimizer = keras.optimizers.Adam(config.learning_rate, global_clipnorm=config.clip_norm)
    # Just-in-time compilation of this network takes minutes and runs slower (TensorFlow and torch on CPUs).
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    optimizer.build(model.trainable_variables)
    return model


def _begin(config: TrainingConfig, folder: Path, model: keras.Model, resume: bool) -> State:
    """Start from nothing, or from the checkpoint."""
    path = folder / CHECKPOINT
    if not resume:
        if path.exists():
            raise errors.OptionError(f"{path} exists: go on with --resume, or choose another --out")
        return State()
    if not path.exists():
        warnings.warn(f"there is no {path} to go on from: the training begins anew", UserWarning, stacklevel=3)
        return State()
    current = state.read_state(path, config.digest, scenes.simulator_of(config))
    state.assign(model.weights, current.weights)
    state.assign(model.optimizer.variables, current.optimizer)
    return current


def _loop(
    config: TrainingConfig,
    folder: Path,
    model: keras.Model,
    stepper: optimiser.Steps,
    data: Data,
    current: State,
    workers: int,
) -> None:
    """Take the steps that are left."""
    steps = total_steps(config, data)

    def reached(index: int) -> float:
        return max(index / steps, _share(config, current, steps))

    # Batches that no step sees, drawn from the scenes of the current step, on the windows that are validated.
    whole = config.model_copy(update={"stages": ()})
    fresh = Batches(whole, lambda index: data.training(current.step), config.estimate_batches, first=steps)
    estimate = functools.partial(stepper.estimate, lambda index: fresh[index][0], config.estimate_batches)
    due: list[SupportsFloat] = []

    def settle(*, but: int = 0) -> None:
        """Read the losses that are due but for the last ones: a device is told of a step during the one before."""
        while len(due) > but:
            step, loss = current.step - len(due), float(due.pop(0))
            if not math.isfinite(loss):
                kept = (folder / CHECKPOINT).exists()
                raise errors.OptionError(
                    f"the loss of step {step} is {loss}: give a smaller learning_rate, and look for odd values in the "
                    f"data{f'; the checkpoint in {folder} is of an earlier step' if kept else ''}"
                )
            current.losses.append(loss)

    if current.frozen:
        stepper.freeze()
    last_saved = time.monotonic()
    began = last_saved - current.elapsed
    with (
        progress.bar("train", steps) as advance,
        ahead.batches(data, steps, first=current.step, share=reached, workers=workers) as prepared,
    ):
        advance(current.step)
        while (share := _share(config, current, steps)) < 1:
            if not current.frozen and share >= config.freeze_norms:
                if current.step:  # else those of warm_start are kept
                    estimate()
                stepper.freeze()
                current.frozen = True
            x, y = next(prepared)
            model.optimizer.learning_rate = config.learning_rate * rate(share, config.schedule)
            due.append(stepper.train(x, y))
            current.step += 1
            settle(but=1)
            current.elapsed = time.monotonic() - began - stepper.compiling
            advance()
            if current.step % config.validate_every == 0 or _share(config, current, steps) >= 1:
                settle()
                if not current.frozen:
                    estimate()
                _validate(config, folder, model, data.validation, current, share)
            if time.monotonic() - last_saved >= 60 * config.checkpoint_minutes:
                settle()
                _save(config, folder, model, current)
                last_saved = time.monotonic()
    _save(config, folder, model, current)


def _share(config: TrainingConfig, current: State, steps: int) -> float:
    """Return the share of the training that is done, by steps or by time, whichever is further."""
    by_time = current.elapsed / (60 * config.minutes) if config.minutes is not None else 0.0
    return max(current.step / steps, by_time)


def _save(config: TrainingConfig, folder: Path, model: keras.Model, current: State) -> None:
    """Write the checkpoint."""
    current.weights = state.arrays_of(model.weights)
    current.optimizer = state.arrays_of(model.optimizer.variables)
    state.write_state(folder / CHECKPOINT, current, config.digest, scenes.simulator_of(config))


def _validate(
    config: TrainingConfig,
    folder: Path,
    model: keras.Model,
    held_out: Sequence[Sample],
    current: State,
    share: float,
) -> None:
    """Score the held-out samples, log a row, keep the weights if they are the best."""
    scores = score(model, held_out, config)
    value = scores[f"val_iou_{config.monitor}"]
    row = {
        "step": float(current.step),
        "seconds": current.elapsed,
        "learning_rate": config.learning_rate * rate(share, config.schedule),
        "loss": float(np.mean(current.losses)),
        **scores,
    }
    current.rows.append(row)
    current.losses = []
    if value > current.best:
        current.best, current.best_weights = value, state.arrays_of(model.weights)
    state.write_csv(folder / LOG, current.rows)
    eventlog.write(folder / EVENTS, current.rows)
    progress.note(" ".join(f"{key} {number:.4g}" for key, number in row.items()))


def score(model: keras.Model, held_out: Sequence[Sample], config: TrainingConfig) -> dict[str, float]:
    """Score a network in inference mode on whole windows side by side, read a batch at a time.

    Windows of which nothing is known say nothing: without glacier and answer they would count as right.
    """
    counts: list[metrics.Counts] = []
    for sample in held_out:
        windows = patches.windows(sample, config)
        while some := list(itertools.islice(windows, config.batch)):
            answers = model.predict_on_batch(np.stack([x for x, _ in some]))
            for (_, y), answer in zip(some, answers, strict=True):
                known = y.sum(axis=-1) > 0
                if known.any():
                    counts.append(metrics.count(answer[..., 1] > conventions.THRESHOLD, y[..., 1] > 0.5, known))
    if not counts:
        raise errors.OptionError("nothing was observed in the validation samples: name others")
    together = metrics.total(counts)
    return {
        "val_iou_pixels": together.iou,
        "val_iou_patches": metrics.mean_iou(counts),
        "val_precision": together.precision,
        "val_recall": together.recall,
        "val_area_bias": together.area_bias,
    }


def _finish(
    config: TrainingConfig, folder: Path, model: keras.Model, data: Data, current: State, describe: bool
) -> Trained:
    """Load the best weights, with the statistics that were validated, and score them once more."""
    if current.best_weights:
        state.assign(model.weights, current.best_weights)
    scores = score(model, data.validation, config)
    seen = None
    try:
        if describe:
            seen = likeness.describe(data.training(current.step), config, sources.training_set(config))
    except errors.OptionError as error:
        warnings.warn(f"no applicability for these weights: {error}", UserWarning, stacklevel=3)
    return Trained(model, current.rows, scores, folder, seen)
