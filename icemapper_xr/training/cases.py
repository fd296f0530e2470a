"""What is scored: mapped scenes with their truth, from the simulator or the published data set."""

from __future__ import annotations

import fnmatch
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from icemapper_xr import conventions, errors, progress, tiling, whole
from icemapper_xr._types import FloatArray, Segmenter
from icemapper_xr.conventions import Feature
from icemapper_xr.prediction import core
from icemapper_xr.training import bodies, patches, samples, scenes
from icemapper_xr.training.config import CALIBRATION_SEEDS, SEEDS

__all__ = [
    "CALIBRATION_SEEDS",
    "SEEDS",
    "Case",
    "Change",
    "World",
    "probability",
    "published",
    "simulated",
    "world",
]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class World:
    """A simulated scene: what is observed, and what is true."""

    cube: FloatArray
    """`(T, y, x, C)`, dB or coherence, NaN = gap."""
    truth: BoolArray
    """`(y, x)`, True on glacier."""
    classes: npt.NDArray[np.uint8] | None = None
    """Surface class of each pixel."""
    region: str = "simulated"


@dataclass(frozen=True)
class Case:
    """A mapped scene and its truth, all `(y, x)`."""

    name: str
    region: str
    probability: FloatArray
    """Of glacier, NaN where nothing was observed."""
    truth: BoolArray
    known: BoolArray
    """Where both the truth and the map are known; nothing else is scored."""
    pixel_size: float
    """Metres."""
    classes: npt.NDArray[np.uint8] | None = None
    """Surface class of each pixel, of simulated scenes."""
    legend: Mapping[int, str] = field(default_factory=dict)
    glaciers: bodies.Glaciers | None = None
    """Which glacier each pixel of the truth belongs to; None where that is not told."""
    threshold: float = conventions.THRESHOLD
    """Probability from which the map says glacier; the default is the class of the higher one."""

    @property
    def mapped(self) -> BoolArray:
        """Where the map says glacier: at the threshold and above, as outlines and areas have it."""
        return np.asarray(self.probability >= np.float32(self.threshold)) & self.known


Change = Callable[[FloatArray, int], FloatArray]
"""Changes a cube `(T, y, x, C)`, of the scene with this seed, before it is mapped."""


def world(seed: int, size: int, features: tuple[Feature, ...], *, shift_days: int = 0) -> World:
    """Simulate one scene with its surface classes.

    Parameters
    ----------
    seed, size, features
        Seed, side in pixels, and channels.
    shift_days
        By how much the series starts later (negative: earlier) than this scene would.
    """
    import dataclasses
    import datetime as dt

    from icemapper_xr import simulate
    from icemapper_xr.simulate import training as recipe

    settings = recipe.training_settings(seed, size=size, features=features)
    year = settings.years[-1]
    if shift_days:
        start = settings.start(year) + dt.timedelta(days=shift_days)
        settings = dataclasses.replace(settings, start_month_day=(start.month, start.day))
    made = simulate.scene(settings)
    return World(made.arrays(year), made.truth(year), made.classes(year), str(getattr(settings, "world", "simulated")))


def simulated(
    segmenter: Segmenter,
    *,
    seeds: Sequence[int] = SEEDS,
    size: int = 512,
    change: Change | None = None,
    shift_days: int = 0,
    make: Callable[..., World] = world,
    cache: Path | None = None,
) -> Iterator[Case]:
    """Map simulated scenes that no training has seen.

    Parameters
    ----------
    segmenter
        The network, such as `load_model` gives.
    seeds, size
        Scenes, and their side in pixels.
    change
        What is done to a scene before it is mapped; None does nothing.
    shift_days
        Shift of the series' start.
    make
        Makes a scene, as `world` does.
    cache
        Folder in which scenes are kept, with all features, for the next weights; None keeps none.
    """
    from icemapper_xr import simulate

    for seed in progress.track(seeds, "evaluate", len(seeds)):
        made = _cached(cache, seed, size, segmenter.features, shift_days, make)
        cube = made.cube if change is None else change(made.cube.copy(), seed)
        seen = np.asarray(np.isfinite(made.cube).any(axis=0).all(axis=-1))
        yield Case(
            name=str(seed),
            region=made.region,
            probability=np.where(seen, probability(cube, segmenter), np.float32(np.nan)),
            truth=made.truth,
            known=seen,
            pixel_size=segmenter.pixel_size,
            classes=made.classes,
            legend=simulate.LEGEND if made.classes is not None else {},
        )


def probability(cube: FloatArray, segmenter: Segmenter) -> FloatArray:
    """Map a cube `(T, y, x, C)` in dB or 1, NaN = gap; returns glacier probability `(y, x)`.

    As in the field: running windows that overlap by half, blended by a Gaussian. Beyond the scene's edges its pixels
    are mirrored: the scene is to be scored, not what lies around it.
    """
    side = segmenter.window
    half = side // 2
    shape = cube.shape[1:3]
    axes = [tiling.anchored_axis(size + 2 * half, window=side, stride=half) for size in shape]
    beyond = [(0, axis.length - size - 2 * half) for axis, size in zip(axes, shape, strict=True)]
    features = []
    for channel, feature in enumerate(segmenter.features):
        scaled = samples.scale(cube[..., channel], feature)
        around = np.pad(scaled, ((0, 0), (half, half), (half, half)), mode="symmetric")
        features.append(np.pad(around, ((0, 0), *beyond), constant_values=np.nan))
    # Windows that lie in what was added alone say nothing of the scene.
    mask = np.zeros(features[0].shape[1:], bool)
    mask[tuple(slice(half, half + size) for size in shape)] = True
    summed = core.evaluate(*features, segmenter=segmenter, stride=half, gap="nearest", mask=mask).core
    blended = core.divide(summed, *(tiling.weight_sum(axis) for axis in axes))
    return blended[tuple(slice(half, half + size) for size in shape)]


def published(segmenter: Segmenter, path: Path, *, only: str = "*") -> Iterator[Case]:
    """Map the samples of a file in the published layout, by its definitions (Maslov et al. 2025).

    Only windows that lie wholly in the padded sample are evaluated; the padding is cropped; the class is the argmax.

    Parameters
    ----------
    segmenter
        The network.
    path
        `test.hdf5`, for example.
    only
        Pattern of the names to score, such as 'SVAL-10-*'.

    Raises
    ------
    OptionError
        If the file cannot be read, no name fits, or a sample is smaller than the window.
    """
    from icemapper_xr.training import hdf5

    try:
        found = hdf5.open_samples(path, segmenter.features, segmenter.n_steps)
        wanted = [sample for sample in found if fnmatch.fnmatchcase(sample.name, only)]
        if not wanted:
            raise errors.OptionError(f"no sample of {path} is named {only!r}: the first one is {found[0].name!r}")
        for sample in progress.track(wanted, "evaluate", len(wanted)):
            if min(sample.shape) < segmenter.window:
                raise errors.OptionError(
                    f"sample {sample.name} is {sample.shape[0]} x {sample.shape[1]} px, smaller than the weights' "
                    f"window of {segmenter.window} px: choose weights of a smaller window"
                )
            blended, truth, seen = _whole_windows(sample, segmenter)
            inner = sample.inner
            yield Case(
                name=sample.name,
                region=sample.name.split("_")[0],
                probability=blended[inner],
                truth=truth[inner],
                known=seen[inner],
                pixel_size=segmenter.pixel_size,
            )
    finally:
        hdf5.close(path)


def _whole_windows(sample: samples.Sample, segmenter: Segmenter) -> tuple[FloatArray, BoolArray, BoolArray]:
    """Blend the windows that lie wholly in a padded sample; probability (NaN where none), truth, and what is known."""
    side, (rows, columns) = segmenter.window, sample.shape
    line = tiling.gaussian(side)
    kernel = np.outer(line, line)
    total, weight, seen = np.zeros((rows, columns)), np.zeros((rows, columns)), np.zeros((rows, columns), bool)
    truth = np.zeros((rows, columns), bool)
    for y in range(0, rows - side + 1, side // 2):
        for x in range(0, columns - side + 1, side // 2):
            crop = samples.Crop(y, x, side)
            read = [sample.read(feature, sample.base[feature], crop) for feature in segmenter.features]
            seen[crop.slices] |= core.observed(read)
            stack = patches.fill(np.stack(read, axis=-1), core.unobserved(segmenter, "nearest"))
            answers = segmenter(stack[None])
            core.check_answers(answers, stack[None])
            total[crop.slices] += kernel * answers[0]
            weight[crop.slices] += kernel
            truth[crop.slices] = sample.truth(crop)
    with np.errstate(invalid="ignore"):
        blended = (total / np.where(weight > 0, weight, np.nan)).astype(np.float32)
    return blended, truth, seen & (weight > 0)


def _cached(
    cache: Path | None,
    seed: int,
    size: int,
    features: tuple[Feature, ...],
    shift_days: int,
    make: Callable[..., World],
) -> World:
    """Make a scene, or take it from the cache."""
    options = {"shift_days": shift_days} if shift_days else {}
    if cache is None:
        return make(seed, size, features, **options)
    path = cache / f"evaluation_{scenes.simulator_digest()}" / f"{seed}_{size}px_{shift_days:+d}d.npz"
    if path.exists():
        try:
            return _kept(path, features)
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
            progress.note(f"{path} is damaged: the scene is simulated anew")
    made = make(seed, size, conventions.FEATURES, **options)
    coded = np.zeros(0, np.uint8) if made.classes is None else made.classes
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole.appearing(path) as part:
            np.savez(part, cube=made.cube.astype(np.float16), truth=made.truth, classes=coded, region=made.region)
    except OSError as error:
        raise errors.StoreError(f"Cannot keep the scene {path}: {errors.not_written(error, other='cache')}") from error
    return _kept(path, features)


def _kept(path: Path, features: tuple[Feature, ...]) -> World:
    """Read a scene from the cache."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
        channels = [conventions.FEATURES.index(feature) for feature in features]
        classes = kept["classes"] if kept["classes"].size else None
        return World(kept["cube"][..., channels].astype(np.float32), kept["truth"], classes, str(kept["region"]))
