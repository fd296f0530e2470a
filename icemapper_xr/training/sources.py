"""What a training learns from and is validated on: scenes simulated beside it, or the published data set."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from icemapper_xr import errors
from icemapper_xr.training import scenes, warm
from icemapper_xr.training.config import TrainingConfig
from icemapper_xr.training.samples import Sample

__all__ = ["Data", "Source", "open_data", "scene_set", "training_set"]


@dataclass(frozen=True)
class Source:
    """Where the samples of a training lie; another process opens the same ones by it."""

    config: TrainingConfig
    cache: Path
    """Folder of simulated scenes."""
    make: scenes.SceneMaker = scenes.simulated

    def training(self) -> Callable[[int], Sequence[Sample]]:
        """Return what gives the samples that a step draws from; simulated ones are waited for."""
        if self.config.data is None:
            return scene_set(self.config, self.cache, self.make).at
        samples = _published(self.config, "train", "learn from")
        return lambda step: samples


@dataclass(frozen=True)
class Data:
    """Samples to learn from (as a function of the step) and to validate on."""

    source: Source
    training: Callable[[int], Sequence[Sample]]
    validation: list[Sample]


@contextlib.contextmanager
def open_data(
    config: TrainingConfig,
    cache: Path,
    make: scenes.SceneMaker = scenes.simulated,
    beside: Path | None = None,
    *,
    processes: int = 1,
) -> Iterator[Data]:
    """Open the data set, or the scenes with the processes that simulate them (`beside` is their settings file)."""
    source = Source(config, cache, make)
    if config.data is not None:
        try:
            _check_left_out(config)
            yield Data(source, source.training(), _published(config, "val", "validate on"))
        finally:
            _close(config.data)
        return
    wanted = scene_set(config, cache, make)
    if beside is None:
        wanted.forget_failures()
        wanted.fill()
    with scenes.producer(wanted, beside, processes=processes):
        yield Data(source, wanted.at, list(wanted.validation()))


def scene_set(config: TrainingConfig, cache: Path, make: scenes.SceneMaker = scenes.simulated) -> scenes.SceneSet:
    """Return the scenes of a training, in the cache folder of this simulator and this size."""
    version = scenes.simulator_digest() if make is scenes.simulated else "made"
    return scenes.SceneSet(config, cache / f"{version}_{config.scenes.size}px", make)


def _check_left_out(config: TrainingConfig) -> None:
    """Refuse a pattern that leaves nothing out: its region would be learned from after all."""
    from icemapper_xr.training import hdf5

    assert config.data is not None
    if not config.leave_out:
        return
    parts = (config.data / f"{part}.hdf5" for part in ("train", "val"))
    names = [sample.name for part in parts for sample in hdf5.open_samples(part, config.features)]
    for pattern in config.leave_out:
        if not fnmatch.filter(names, pattern):
            raise errors.OptionError(
                f"leave_out: {pattern!r} fits no sample of {config.data}, where the first one is {names[0]!r}"
            )


def _published(config: TrainingConfig, part: str, use: str) -> list[Sample]:
    """Open a part of the published data set, less the regions that are to be scored later."""
    from icemapper_xr.training import hdf5

    assert config.data is not None
    path = config.data / f"{part}.hdf5"
    found = hdf5.open_samples(path, config.features)
    samples: list[Sample] = [sample for sample in found if not config.leaves_out(sample.name)]
    if not samples:
        raise errors.OptionError(f"leave_out={config.leave_out} leaves no sample to {use}: name fewer")
    for sample in samples:
        if min(sample.shape) < max(config.sizes):
            raise errors.OptionError(
                f"sample {sample.name} in {path} is {sample.shape[0]} x {sample.shape[1]} px, smaller than a window of "
                f"{max(config.sizes)} px: set a smaller window, and none that is larger in stages"
            )
    return samples


def _close(folder: Path) -> None:
    """Close the files of a data set."""
    from icemapper_xr.training import hdf5

    for part in ("train", "val"):
        hdf5.close(folder / f"{part}.hdf5")


def training_set(config: TrainingConfig) -> str:
    """Say in words what the weights learned from."""
    without = f" but those of {', '.join(config.leave_out)}" if config.leave_out else ""
    if config.warm_start is not None and warm.has_seen(config) is None:
        without += f" (which {config.warm_start.name}, with which it began, may have seen)"
    if config.data is not None:
        return f"data set of the published layout in {config.data.name}{without}"
    last = config.scenes.seed + config.scenes.number - 1
    return (
        f"{config.scenes.number} simulated Sentinel-1 scenes of {config.scenes.size} x {config.scenes.size} px "
        f"(seeds {config.scenes.seed} to {last}){without}; no accuracy on real ice is known"
    )
