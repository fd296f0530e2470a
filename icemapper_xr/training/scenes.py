"""Simulated scenes as training samples: simulated once, kept in a cache folder, read by memory mapping.

A training simulates in a process beside it, and takes every scene as soon as it is there.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions, errors, progress, whole
from icemapper_xr._types import FloatArray
from icemapper_xr.conventions import Feature
from icemapper_xr.training import samples
from icemapper_xr.training.config import TrainingConfig
from icemapper_xr.training.samples import Crop, IntArray

__all__ = ["CachedScene", "SceneMaker", "SceneSet", "producer", "simulated", "simulator_digest"]

SceneMaker = Callable[[int, int, tuple[Feature, ...]], tuple[FloatArray, npt.NDArray[np.bool_]]]
"""Called with seed, size and features; returns the cube `(T, y, x, C)` in dB or 1, NaN = gap, and the truth."""

ClassMaker = Callable[[int, int], npt.NDArray[np.uint8]]
"""Called with seed and size; returns the surface class of each pixel, a code of `simulate.classes`."""

WorldOf = Callable[[int], str]
"""Called with a seed; returns the name of the world that its scene lies in, without simulating it."""

POLL_SECONDS = 0.5
"""How often a training looks for a scene that it waits for."""


def simulated(seed: int, size: int, features: tuple[Feature, ...]) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Make one scene by the project's simulator."""
    from icemapper_xr import simulate

    return simulate.training_scene(seed, size=size, features=features)


def simulated_classes(seed: int, size: int) -> npt.NDArray[np.uint8]:
    """Make the surface classes of the scene that `simulated` makes, without its radar."""
    from icemapper_xr import simulate
    from icemapper_xr.simulate import training

    made = simulate.scene(training.training_settings(seed, size=size, features=("rtc",)))
    return made.classes(made.settings.years[-1])


def simulated_world(seed: int) -> str:
    """Tell in which world the scene that `simulated` makes lies."""
    from icemapper_xr.simulate import training

    return str(training.training_settings(seed, size=64, features=("rtc",)).world)


@functools.cache
def simulator_digest() -> str:
    """Fingerprint of the simulator's source: scenes of two versions are never mixed in one cache.

    Read once: checkpoints and weights of a training are of the source that it began with.
    """
    from icemapper_xr import simulate

    digest = hashlib.sha256()
    for source in sorted(Path(simulate.__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def simulator_of(config: TrainingConfig) -> str | None:
    """Fingerprint of the simulator that a training learns from; None if it learns from data."""
    return simulator_digest() if config.data is None else None


@dataclass(frozen=True)
class CachedScene:
    """One scene on disk: `<feature>.npy` float16 `(T, y, x)` in dB or 1, and `truth.npy`."""

    folder: Path

    @property
    def name(self) -> str:
        """Name of the folder: the seed."""
        return self.folder.name

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self._truth.shape
        return rows, columns

    @property
    def inner(self) -> tuple[slice, slice]:
        """All of it: a simulated scene has no padding."""
        return slice(0, self.shape[0]), slice(0, self.shape[1])

    @functools.cached_property
    def dates(self) -> Mapping[Feature, int]:
        """Number of dates of each feature."""
        return {feature: stack.shape[0] for feature, stack in self._stacks.items()}

    @functools.cached_property
    def base(self) -> Mapping[Feature, IntArray]:
        """Every date is a step."""
        return {feature: np.arange(count) for feature, count in self.dates.items()}

    def read(self, feature: Feature, dates: IntArray, crop: Crop) -> FloatArray:
        """Return `(len(dates), size, size)` in model units, NaN where not observed."""
        part = self._stacks[feature][:, *crop.slices]
        return samples.scale(part if np.array_equal(dates, self.base[feature]) else part[dates], feature)

    def truth(self, crop: Crop) -> npt.NDArray[np.bool_]:
        """Return `(size, size)`, True on glacier."""
        return np.asarray(self._truth[crop.slices])

    def pixels(self, surface: str) -> IntArray:
        """Return the flat indices of the pixels of a surface class."""
        code = surface_codes()[surface]
        if not self._counts[code]:
            return np.empty(0, np.int64)
        return np.flatnonzero(np.load(self.folder / "classes.npy") == code)

    @functools.cached_property
    def _counts(self) -> IntArray:
        """Number of pixels of each surface class; all zero where the classes are not there."""
        path = self.folder / "classes.npy"
        classes = _loaded(path) if path.exists() else np.empty(0, np.uint8)
        return np.bincount(classes.ravel(), minlength=len(surface_codes()))

    @functools.cached_property
    def _stacks(self) -> dict[Feature, npt.NDArray[np.float16]]:
        paths = {feature: self.folder / f"{feature}.npy" for feature in conventions.FEATURES}
        return {feature: _loaded(path, mmap_mode="r") for feature, path in paths.items() if path.exists()}

    @functools.cached_property
    def _truth(self) -> npt.NDArray[np.bool_]:
        mask: npt.NDArray[np.bool_] = _loaded(self.folder / "truth.npy", mmap_mode="r")
        return mask


def _loaded(path: Path, **options: Any) -> npt.NDArray[Any]:
    """Open an array of a scene.

    Raises
    ------
    OptionError
        It is damaged.
    """
    try:
        array: npt.NDArray[Any] = np.load(path, **options)
    except (OSError, EOFError, ValueError) as error:
        raise errors.OptionError(
            f"the simulated scene {path.parent} is damaged ({path.name}: {' '.join(str(error).split())}): delete that "
            "folder, and run the training again with --resume"
        ) from error
    return array


@dataclass(frozen=True)
class SceneSet:
    """The scenes of a training in their cache, some perhaps still to be simulated."""

    config: TrainingConfig
    cache: Path
    """Folder of one version of the simulator and one size of scenes."""
    make: SceneMaker = simulated
    classes: ClassMaker = simulated_classes
    world: WorldOf = simulated_world
    patience: float = 900.0
    """Seconds to wait for one scene before giving up, and for any that other processes simulate."""

    @property
    def seeds(self) -> list[int]:
        """Seeds in the order in which scenes are needed: validation first."""
        return [*self._validation, *self._training]

    @functools.cached_property
    def _validation(self) -> list[int]:
        scenes = self.config.scenes
        return self._kept(range(scenes.validation_seed, scenes.validation_seed + scenes.validation), "validate on")

    @functools.cached_property
    def _training(self) -> list[int]:
        scenes = self.config.scenes
        return self._kept(range(scenes.seed, scenes.seed + scenes.number), "learn from")

    def _kept(self, seeds: range, use: str) -> list[int]:
        """Leave out the scenes of the worlds that are to be scored later."""
        if not self.config.leave_out:
            return list(seeds)
        kept = [seed for seed in seeds if not self.config.leaves_out(self.world(seed))]
        if not kept:
            raise errors.OptionError(f"leave_out={self.config.leave_out} leaves no scene to {use}: name fewer worlds")
        return kept

    @property
    def number(self) -> int:
        """Number of scenes to learn from, those still to be simulated among them."""
        return len(self._training)

    def validation(self) -> list[CachedScene]:
        """Return the validation scenes; waits for them."""
        return [self._wait(seed) for seed in self._validation]

    def at(self, step: int) -> list[CachedScene]:
        """Return the scenes that a step draws from; waits for them. Depends on the step alone."""
        scenes, seeds = self.config.scenes, self._training
        count = len(seeds) if scenes.every == 0 else scenes.first + step // scenes.every
        return [self._wait(seed) for seed in seeds[:count]]

    def missing(self) -> list[int]:
        """Return the seeds that are not in the cache yet."""
        return [seed for seed in self.seeds if not self._there(seed)]

    def fill(self, *, alive: Callable[[], bool] = lambda: True) -> None:
        """Simulate what is missing, scene by scene, while `alive()`; returns when all is there.

        What is in the hands of another process is passed over, and looked at again: that process may end before the
        scene is there. Those that it could not simulate, or that do not come for `patience` seconds, are left to those
        who wait for them to tell.
        """
        locks = self.cache / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        wanted = self.missing()
        with progress.bar("simulate scenes", len(wanted)) as advance:
            shown, moved = 0, time.monotonic()
            while missing := [seed for seed in self.missing() if not self._failure(seed).exists()]:
                for seed in missing:
                    if not alive():
                        return
                    if self._simulate(seed, locks) or seed == missing[-1]:
                        done = sum(map(self._there, wanted))  # others may be at it, too
                        if done > shown:
                            advance(done - shown)
                            shown, moved = done, time.monotonic()
                if time.monotonic() - moved >= self.patience:
                    return
                if not all(map(self._there, missing)):
                    time.sleep(POLL_SECONDS)

    def _simulate(self, seed: int, locks: Path) -> bool:
        """Simulate a scene, unless it is there or in the hands of another process; returns whether it was done."""
        if self._there(seed):
            return False
        lock = filelock.FileLock(locks / f"{seed:07d}", blocking=False)  # the system drops it with its process
        with contextlib.suppress(filelock.Timeout), lock, self._telling(seed):
            if not self._whole(seed):
                self._store(seed)
            if not self._there(seed):
                self._store_classes(seed)
            return True
        return False

    @contextlib.contextmanager
    def _telling(self, seed: int) -> Iterator[None]:
        """Leave a note if a scene cannot be simulated, for those who wait for it."""
        try:
            yield
        except Exception as error:
            reason = str(error) if isinstance(error, errors.IcemapperError) else f"{type(error).__name__}: {error}"
            self._failure(seed).parent.mkdir(exist_ok=True)
            self._failure(seed).write_text(" ".join(reason.split()), encoding="utf-8")
            raise

    def forget_failures(self) -> None:
        """Remove the notes that an earlier run has left."""
        for seed in self.seeds:
            self._failure(seed).unlink(missing_ok=True)

    def _failure(self, seed: int) -> Path:
        return self.cache / "failed" / f"{seed:07d}"

    def _folder(self, seed: int) -> Path:
        return self.cache / f"{seed:07d}"

    def _there(self, seed: int) -> bool:
        return self._whole(seed) and (not self.config.scenes.focus or (self._folder(seed) / "classes.npy").exists())

    def _whole(self, seed: int) -> bool:
        return all((self._folder(seed) / f"{feature}.npy").exists() for feature in self._features)

    @property
    def _features(self) -> tuple[Feature, ...]:
        return self.config.scenes.features or self.config.features

    def _store(self, seed: int) -> None:
        """Simulate what a scene lacks: a folder appears whole or not at all, one that others use is added to."""
        lacking = tuple(f for f in self._features if not (self._folder(seed) / f"{f}.npy").exists())
        cube, truth = self.make(seed, self.config.scenes.size, lacking)
        with tempfile.TemporaryDirectory(dir=self.cache, prefix=".scene-") as folder:
            part = Path(folder) / "part"
            part.mkdir()
            for channel, feature in enumerate(lacking):
                # Half precision resolves 0.02 dB at -20 dB, far below the speckle.
                np.save(part / f"{feature}.npy", cube[..., channel].astype(np.float16))
            np.save(part / "truth.npy", truth.astype(bool))
            with contextlib.suppress(OSError):  # it is there, with other features: their radar is the same
                part.rename(self._folder(seed))
                return
            for feature in lacking:
                (part / f"{feature}.npy").replace(self._folder(seed) / f"{feature}.npy")

    def _store_classes(self, seed: int) -> None:
        """Add the surface classes to a scene."""
        with whole.appearing(self._folder(seed) / "classes.npy") as part:
            np.save(part, self.classes(seed, self.config.scenes.size))

    def _wait(self, seed: int) -> CachedScene:
        key = self._folder(seed), self._features, bool(self.config.scenes.focus)
        known = _scenes.get(key)
        if known is not None:
            return known
        until = time.monotonic() + self.patience
        while not self._there(seed):
            if self._failure(seed).exists():
                raise errors.OptionError(
                    f"scene {seed} could not be simulated ({self._failure(seed).read_text(encoding='utf-8')}): "
                    "mend that, and run the training again with --resume"
                )
            if time.monotonic() > until:
                raise errors.OptionError(
                    f"scene {seed} did not appear in {self.cache} within {self.patience:.0f} s: "
                    "look at the messages of the simulation, and run the training again with --resume"
                )
            time.sleep(POLL_SECONDS)
        return _scenes.setdefault(key, CachedScene(self._folder(seed)))


def surface_codes() -> dict[str, int]:
    """Return the code of each surface class."""
    from icemapper_xr.simulate.classes import LEGEND

    return {name: code for code, name in LEGEND.items()}


_scenes: dict[tuple[Path, tuple[Feature, ...], bool], CachedScene] = {}
"""Scenes opened by this process, by what of them is wanted: their memory maps are made once."""


@contextlib.contextmanager
def producer(scenes: SceneSet, settings: Path | None, *, processes: int = 1) -> Iterator[None]:
    """Simulate missing scenes in processes beside this one for the time of the block.

    Parameters
    ----------
    scenes
        What is wanted; nothing is started if it is all there.
    settings
        The TOML file of the training.
    processes
        How many; they share the work, also with those of another training on the same cache.
    """
    if not scenes.missing() or settings is None:
        yield
        return
    scenes.cache.mkdir(parents=True, exist_ok=True)
    scenes.forget_failures()
    # The folder is named outright: the other process must not fill another one because the source changed meanwhile.
    command = [sys.executable, "-m", __name__.rpartition(".")[0], str(settings), "--simulate-into", str(scenes.cache)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(processes):
            shown = progress.enabled() and number == 0  # what all of them make, in one bar
            started.append(subprocess.Popen(command + ([] if shown else ["--quiet"]), env=environment))
        yield
    finally:
        for process in started:
            process.terminate()  # which `--simulate-into` takes for an exit, so that it leaves no scene half made
        for process in started:
            process.wait()


def parent_alive() -> Callable[[], bool]:
    """Return a test that turns False when the process that started this one has ended."""
    parent = os.getppid()
    return lambda: os.getppid() == parent
