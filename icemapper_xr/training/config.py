"""Settings of a training, read from TOML; nothing that shapes the weights stands anywhere else."""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self

import pydantic
from pydantic import BeforeValidator, Field

from icemapper_xr import errors
from icemapper_xr.conventions import FEATURES, LATTICE, N_STEPS, PIXEL_SIZE, Feature, Pooling, Unobserved

if TYPE_CHECKING:
    import numpy as np
    from pydantic_core import ErrorDetails

__all__ = [
    "CALIBRATION_SEEDS",
    "ORIGINAL",
    "SEEDS",
    "Augmentation",
    "LossSettings",
    "SceneSettings",
    "Schedule",
    "Stage",
    "StepPrecision",
    "TrainingConfig",
    "load",
    "original",
]


def _number(value: Any) -> Any:
    """Refuse what pydantic would take for a number: `true` would train for one step."""
    if isinstance(value, bool | str):
        raise ValueError("a number is wanted, without quotes" if isinstance(value, str) else "a number is wanted")
    return value


Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number)]
Probability = Annotated[Number, Field(ge=0, le=1)]
Positive = Annotated[Whole, Field(ge=1)]
StepPrecision = Literal["float32", "bfloat16"]

SEEDS = tuple(range(700_001, 700_021))
"""Seeds of the scenes for evaluation; no training and no validation uses them, nor do tests or the demo."""
CALIBRATION_SEEDS = tuple(range(800_001, 800_013))
"""Seeds of the scenes that calibrations are fitted on; neither trained on nor evaluated."""


class _Settings(pydantic.BaseModel):
    """A mistyped key and a number that is none are errors, and settings do not change under a run."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SceneSettings(_Settings):
    """Simulated scenes to learn from; a scene is simulated once and kept in a cache."""

    number: Positive = 64
    """Scenes of the training set."""
    size: Annotated[Whole, Field(ge=32)] = 384
    """Side of a scene, pixels."""
    seed: Annotated[Whole, Field(ge=0)] = 100_000
    """Scene i of the training set is simulated with `seed + i`."""
    validation: Positive = 4
    """Scenes of the validation set."""
    validation_seed: Annotated[Whole, Field(ge=0)] = 900_000
    """Validation scene i is simulated with `validation_seed + i`."""
    first: Positive = 8
    """Scenes that must be there before the first step."""
    features: tuple[Feature, ...] = ()
    """Features that are simulated and kept; empty: those of the network. Several trainings can then share a cache."""
    focus: dict[str, Probability] = {}
    """Share of the patches that are drawn around a pixel of a surface class, by class, such as `{"snow patch": 0.1}`.

    What is small or rare (snow patches, lakes, debris-covered ice) is else seen too seldom to be learned.
    """
    every: Annotated[Whole, Field(ge=0)] = 0
    """Steps after which one scene more is drawn from; 0 waits for all of them before the first step.

    The scenes that step i may draw from depend on i alone, not on the simulator's speed: if one is late, the step
    waits. So a training can start while its scenes are being simulated, and is repeatable all the same.
    """

    @pydantic.field_validator("focus")
    @classmethod
    def _known(cls, focus: dict[str, float]) -> dict[str, float]:
        from icemapper_xr.simulate.classes import LEGEND

        if unknown := set(focus) - set(LEGEND.values()):
            raise ValueError(f"{', '.join(sorted(unknown))}: choose from {', '.join(LEGEND.values())}")
        if (total := sum(focus.values())) > 1:
            raise ValueError(f"the shares add up to {total:g}: give at most 1 in all")
        return focus


class Augmentation(_Settings):
    """How patches are changed at random, in this order but for the border, which is hidden before steps go missing.

    The defaults are for simulated scenes.
    """

    start_jitter: Annotated[Whole, Field(ge=0)] = 1
    """All steps move together by up to so many dates of the sample, as far as it reaches."""
    step_jitter: Probability = 0.25
    """Chance that a step of a feature is taken from the date before or after, where dates are denser than steps."""
    gaps: Annotated[Whole, Field(ge=0, le=14)] = 4
    """Largest number of steps of a feature that go missing; the number is drawn uniformly from 0 to this."""
    gap_chance: Probability = 0.5
    """Chance that a patch has gaps at all."""
    border: Probability = 0.15
    """Chance that one side of the patch is not observed, as at the edge of a scene."""
    vertical_flip: Probability = 0.5
    horizontal_flip: Probability = 0.5
    rotation: Probability = 0.75
    """Chance of a turn by 90, 180 or 270 degrees."""
    scale: Probability = 0.0
    """Chance of cutting out a square of 0.8 to 1 of the side and enlarging it to the patch, bilinearly."""
    gamma: Probability = 0.25
    """Chance of raising a channel to a power of 0.8 to 1.2."""
    shift: Probability = 0.25
    """Chance of adding one normal number to a channel of the patch."""
    shift_sigma: Annotated[Number, Field(ge=0)] = 0.025
    """Standard deviation of that number, in model units (0.025 is about 4 dB)."""
    speckle: Probability = 0.0
    """Chance of multiplying backscatter by fresh gamma noise of 8 to 64 looks, uncorrelated."""
    coarse: Probability = 0.0
    """Chance that `rtc` is seen as in a product of three times the pixel size, interpolated bilinearly."""


class LossSettings(_Settings):
    """Focal loss, optionally mixed with a soft Dice loss of the class glacier."""

    gamma: Annotated[Number, Field(ge=0)] = 2.0
    """Exponent of the focal term; 0 is cross-entropy."""
    smoothing: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """Label smoothing, in training only."""
    dice: Probability = 0.0
    """Share of the Dice loss in the sum."""


class Schedule(_Settings):
    """Learning rate as a function of the share of the training that is done."""

    kind: Literal["cosine", "restarts", "constant"] = "cosine"
    """'cosine': linear warm-up, then half a cosine down to `floor`; 'restarts': cosine cycles ending at `cycles`."""
    warmup: Annotated[Number, Field(ge=0, lt=1)] = 0.05
    """Share of the steps over which the rate rises from zero; of 'cosine'."""
    floor: Annotated[Number, Field(ge=0, le=1)] = 0.01
    """Last rate as a share of the peak; not of 'constant'."""
    cycles: tuple[Number, ...] = (1.0,)
    """Ends of the cycles as shares of the training, rising, the last one 1; of 'restarts'."""

    @pydantic.model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        for name, kinds in (("warmup", ("cosine",)), ("floor", ("cosine", "restarts")), ("cycles", ("restarts",))):
            if getattr(self, name) != type(self).model_fields[name].default and self.kind not in kinds:
                raise ValueError(
                    f"{name}={getattr(self, name)} has no effect with kind={self.kind!r}: leave it out, or give "
                    f"kind={kinds[0]!r}"
                )
        return self

    @pydantic.model_validator(mode="after")
    def _cycles_rise(self) -> Self:
        if (
            not self.cycles
            or self.cycles[-1] != 1
            or list(self.cycles) != sorted(set(self.cycles))
            or self.cycles[0] <= 0
        ):
            raise ValueError(f"cycles={self.cycles} must rise from above 0 and end with 1.0")
        return self


class Stage(_Settings):
    """A part of the training in which patches have other sizes than `window`."""

    until: Annotated[Number, Field(gt=0, le=1)]
    """End of the stage as a share of the training."""
    windows: Annotated[tuple[Positive, ...], Field(min_length=1)]
    """Sides of the patches, pixels; each batch draws one of them."""
    batch: Positive | None = None
    """Patches in a step; None is as many as have about as many pixels as `batch` windows, at least one."""


class TrainingConfig(_Settings):
    """One training: data, network, optimisation, and what is kept.

    Either `data` names a folder in the published layout (`train.hdf5`, `val.hdf5`), or scenes are simulated.
    """

    features: tuple[Feature, ...] = ("rtc", "insar")
    """Channels of the network, backscatter first."""
    pooling: Pooling = "tweightedpool"
    filters: Positive = 8
    levels: Positive = 3
    window: Positive = 128
    """Side of the windows on which the weights are to be applied, and validated, pixels; of the patches too, where no
    stage says otherwise."""
    stages: tuple[Stage, ...] = ()
    """Sizes of the patches by parts of the training, in order; what follows the last has patches of `window` px.

    Small patches show more of the scenes in the same time; the temporal weights depend on a window's extent, so the
    last stage should have the window that the weights are applied on, or sizes around it.
    """
    pixel_size: Annotated[Number, Field(gt=0)] = PIXEL_SIZE
    """Metres; simulated scenes have 10 m."""
    unobserved: Unobserved = "mirror"
    """What the network is fed, here and wherever the weights are applied, where a pixel has no valid step: the mirror
    image of what was observed around it, or 0 in model units as published."""
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 1
    """Fixes the first weights, the draws and the augmentation."""
    data: Path | None = None
    """Folder with `train.hdf5` and `val.hdf5`; None simulates."""
    leave_out: tuple[str, ...] = ()
    """Patterns of what is neither learned from nor validated on: of names of samples of `data`, such as 'SVAL-10-*', a
    region to be scored afterwards by `icemapper evaluate --data ... --only 'SVAL-10-*'`; or of the simulator's worlds,
    such as 'alpine', which `icemapper evaluate` scores as a region of its own."""
    scenes: SceneSettings = SceneSettings()
    augmentation: Augmentation = Augmentation()
    loss: LossSettings = LossSettings()
    schedule: Schedule = Schedule()
    learning_rate: Annotated[Number, Field(gt=0)] = 2e-3
    """Peak of the schedule (Adam)."""
    clip_norm: Annotated[Number, Field(gt=0)] | None = 1.0
    """Largest norm of the gradient over all weights; None does not clip."""
    batch: Positive = 4
    """Patches of `window` px in a step."""
    steps: Positive | None = 3000
    """Steps of the optimiser; None takes `epochs` over the data."""
    epochs: Positive | None = None
    """An epoch is floor(sum over samples of whole windows / batch) steps."""
    minutes: Annotated[Number, Field(gt=0)] | None = None
    """End the schedule after so many minutes even if `steps` are not done, compiling for a GPU not counted. The weights
    then depend on the machine's speed; None is repeatable."""
    mixed: Probability = 0.5
    """Chance that a patch is drawn anew (up to 8 times) until it has both classes."""
    precision: StepPrecision = "float32"
    """Arithmetic of the training steps; 'bfloat16', on torch only, convolves in it. Weights stay float32."""
    momentum: Annotated[Number, Field(gt=0, lt=1)] = 0.97
    """Momentum of the batch normalisation's moving statistics between the estimates (Keras: 0.99, slow)."""
    estimate_batches: Annotated[Whole, Field(ge=0)] = 20
    """Batches from which the statistics of the batch normalisation are estimated before each validation.

    0 keeps the moving ones, which lag behind the weights. The features' means are up to 20 times their standard
    deviations in model units: a small step of the first kernels moves the means of what they give by many sigma.
    """
    freeze_norms: Probability = 1.0
    """Share of the training after which the batch normalisations keep the statistics that are estimated then.

    By its own statistics a patch of sea alone looks as varied as a fjord, and what a network learns from that does not
    hold where it is applied. So freeze them before patches grow so large that a batch holds few. 0 keeps the statistics
    of `warm_start`; 1 never freezes any.
    """
    validate_every: Positive = 200
    """Steps between validations."""
    monitor: Literal["pixels", "patches"] = "pixels"
    """IoU that chooses the weights to keep: over all pixels, or the mean over windows as published."""
    checkpoint_minutes: Annotated[Number, Field(ge=0)] = 2.0
    """Minutes between checkpoints; 0 writes one after every step."""
    warm_start: Path | None = None
    """Weights to begin with. Kernels of features that they lack are drawn afresh, of features too many dropped."""

    @property
    def name(self) -> str:
        """Name of the weights in `weights/`, without suffix."""
        source = "simulated" if self.data is None else "trained"
        return f"ICEmapper_{self.pooling}_{''.join(self.features)}_{source}"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides of all windows that occur, pixels."""
        return (self.window, *(size for stage in self.stages for size in stage.windows))

    def patches_at(self, share: float, rng: np.random.Generator) -> tuple[int, int]:
        """Draw number and side (pixels) of the patches of one step when a share of the training is done."""
        stage = next((stage for stage in self.stages if share < stage.until), None)
        if stage is None:
            return self.batch, self.window
        size = int(rng.choice(stage.windows))
        return self._number(stage, size), size

    def _number(self, stage: Stage, size: int) -> int:
        """Patches of that side in a step."""
        return stage.batch or max(1, round(self.batch * (self.window / size) ** 2))

    @property
    def batch_bytes(self) -> int:
        """Memory that a batch takes at most, float32: its patches, and the one-hot labels of two classes."""
        pixels = [self.batch * self.window**2]
        for stage in self.stages:
            pixels += [self._number(stage, size) * size**2 for size in stage.windows]
        return 4 * max(pixels) * (N_STEPS * len(self.features) + 2)

    @property
    def digest(self) -> str:
        """Fingerprint: a checkpoint is resumed only by the settings that began it, wherever its files lie."""
        names = {key: path.name for key in ("data", "warm_start") if (path := getattr(self, key)) is not None}
        text = self.model_copy(update=names).model_dump_json(warnings=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def leaves_out(self, name: str) -> bool:
        """Whether a sample, or a world of the simulator, is one to be scored later."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.leave_out)

    # What goes together, in the order in which these stand: the first fault is told.

    @pydantic.model_validator(mode="after")
    def _a_network(self) -> Self:
        if not self.features or list(self.features) != [name for name in FEATURES if name in self.features]:
            raise ValueError(f"features={self.features} must be some of {FEATURES}, in this order")
        if self.filters % 2:
            raise ValueError(f"filters={self.filters} must be even")
        return self

    @pydantic.model_validator(mode="after")
    def _windows_fit(self) -> Self:
        ends = [stage.until for stage in self.stages]
        if ends != sorted(set(ends)):
            raise ValueError(f"stages end at {ends}: give `until` in rising order")
        for size in self.sizes:
            if size % 2**self.levels:
                raise ValueError(f"a window of {size} px must be a multiple of {2**self.levels}")
            if self.data is None and size > self.scenes.size:
                raise ValueError(f"a window of {size} px is larger than scenes.size={self.scenes.size}")
        if LATTICE % (self.window / 2):
            legal = [side for side in range(2**self.levels, LATTICE + 1, 2**self.levels) if LATTICE % (side / 2) == 0]
            raise ValueError(
                f"weights of a window of {self.window} px could not map: half of it must divide {LATTICE} px; give one "
                f"of {', '.join(map(str, legal))}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _features_are_there(self) -> Self:
        if missing := set(self.features) - set(self.scenes.features or self.features):
            raise ValueError(f"scenes.features={self.scenes.features} lacks {', '.join(sorted(missing))}")
        radar = {"coarse": {"rtc"}, "speckle": {"grd", "rtc"}}
        for name, seen in radar.items():
            if getattr(self.augmentation, name) and not seen & set(self.features):
                raise ValueError(
                    f"augmentation.{name} changes {' and '.join(sorted(seen))} alone, and features are "
                    f"{', '.join(self.features)}: leave it out"
                )
        return self

    @pydantic.model_validator(mode="after")
    def _ends_and_freezes(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs, and leave the other one out")
        if self.freeze_norms == 0 and self.warm_start is None:
            raise ValueError("freeze_norms=0 keeps the statistics of warm_start: name that, or freeze later")
        return self

    @pydantic.model_validator(mode="after")
    def _simulated_or_given(self) -> Self:
        if self.scenes.focus and self.data is not None:
            raise ValueError("scenes.focus needs simulated scenes: the published layout knows glaciers only")
        if self.data is not None and (idle := _changes(self.scenes)):
            raise ValueError(f"{', '.join(idle)} would have no effect beside data={self.data}: leave one of them out")
        if self.data is None and self.pixel_size != PIXEL_SIZE:
            raise ValueError(f"pixel_size={self.pixel_size:g}: simulated scenes have {PIXEL_SIZE:g} m; leave it out")
        if self.data is None and self.leave_out:
            from icemapper_xr.simulate.worlds import WORLDS

            for pattern in self.leave_out:
                if not fnmatch.filter(WORLDS, pattern):
                    raise ValueError(f"leave_out: {pattern!r} fits no simulated world; they are {', '.join(WORLDS)}")
        return self

    @pydantic.model_validator(mode="after")
    def _seeds_apart(self) -> Self:
        learned = range(self.scenes.seed, self.scenes.seed + self.scenes.number)
        validated = range(self.scenes.validation_seed, self.scenes.validation_seed + self.scenes.validation)
        if set(validated) & set(learned):
            raise ValueError("scenes.validation_seed lies among the seeds of the training scenes")
        for name, seeds in (("seed", learned), ("validation_seed", validated)):
            for use, kept in (("evaluation", SEEDS), ("calibration", CALIBRATION_SEEDS)):
                if self.data is None and set(seeds) & set(kept):
                    raise ValueError(
                        f"scenes.{name}={seeds.start}: {seeds.start} to {seeds[-1]} meet the seeds {kept[0]} to "
                        f"{kept[-1]}, which are for {use} alone; begin elsewhere"
                    )
        return self


def _changes(scenes: SceneSettings) -> list[str]:
    """Name the settings of scenes that are not the default ones."""
    usual = SceneSettings()
    return [f"scenes.{name}" for name in SceneSettings.model_fields if getattr(scenes, name) != getattr(usual, name)]


ORIGINAL: dict[str, Any] = {
    "features": ("grd", "insar"),
    "filters": 32,
    "window": 384,
    "unobserved": "zero",
    "batch": 8,
    "steps": None,
    "epochs": 150,
    "learning_rate": 5e-4,
    "clip_norm": None,
    "momentum": 0.99,
    "estimate_batches": 0,
    "mixed": 0.0,
    "monitor": "patches",
    "schedule": {"kind": "restarts", "floor": 0.0, "cycles": (10 / 150, 30 / 150, 70 / 150, 1.0)},
    "loss": {"gamma": 2.0, "smoothing": 0.1, "dice": 0.0},
    "augmentation": {
        "start_jitter": 0,
        "gaps": 0,
        "gap_chance": 0.0,
        "border": 0.0,
        "scale": 0.25,
    },
}
"""Settings of Maslov et al. (2025), doi:10.31223/X5472T; their data set is `data`."""


def original(**changes: Any) -> TrainingConfig:
    """Return the settings of the published training, with changes such as `data=` and `features=`."""
    return _validated(_changed(ORIGINAL, changes), "the preset 'original'")


def load(path: str | Path) -> TrainingConfig:
    """Read settings from a TOML file.

    A key `preset = "original"` begins with the published settings instead of the defaults. Relative paths are
    relative to the file's folder.

    Raises
    ------
    OptionError
        If the file cannot be read, a key is unknown or a value is out of range.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise errors.OptionError(f"cannot read the training settings {path}: {error}; give a TOML file") from error
    if not values:
        raise errors.OptionError(
            f"{path} holds no settings: name the features (features = ['rtc']), or preset = 'original'"
        )
    preset = values.pop("preset", None)
    if preset not in (None, "original"):
        raise errors.OptionError(f"preset={preset!r} in {path} is unknown: use 'original' or leave it out")
    for key in ("data", "warm_start"):
        if key in values:
            if not isinstance(values[key], str):
                raise errors.OptionError(f"{path}: {key} = {values[key]!r} must be a path, in quotes")
            values[key] = path.parent / values[key]
    if preset and "steps" in values:
        values.setdefault("epochs", None)
    elif "epochs" in values:
        values.setdefault("steps", None)
    return _validated(_changed(ORIGINAL, values) if preset else values, str(path))


def _changed(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change settings, in tables key by key: what one does not name stays, unless it becomes one of another kind."""
    changed = {**settings, **changes}
    for key, table in settings.items():
        if isinstance(table, dict) and isinstance(changes.get(key), Mapping):
            another_kind = changes[key].get("kind", table.get("kind")) != table.get("kind")
            changed[key] = {**({} if another_kind else table), **changes[key]}
    return changed


def _validated(values: dict[str, Any], origin: str) -> TrainingConfig:
    """Check settings, with the first fault in one line."""
    try:
        return TrainingConfig.model_validate(values)
    except pydantic.ValidationError as error:
        raise errors.OptionError(f"{origin}: {_fault(error.errors()[0])}") from error


def _fault(found: ErrorDetails) -> str:
    """Say in a line which setting is wrong, how it is written, and what is wanted, in the words of TOML."""
    *tables, last = found["loc"] or ("",)
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"]).lstrip(".")
    if found["type"] == "missing":
        return f"{key} is missing: give it"
    if found["type"] == "extra_forbidden":
        return f"{key}: unknown key; {_instead(str(last), tables)}"
    reason = found["msg"].removeprefix("Value error, ").removeprefix("Input ")
    for words, plain in _PLAIN.items():
        reason = re.sub(words, plain, reason)
    value = found["input"]
    if isinstance(value, Mapping | pydantic.BaseModel):  # a table: the reason says which of its keys
        return f"{key}: {reason}" if key else reason
    return f"{key} = {value!r}: {reason}"


_PLAIN: Final = {
    "valid dictionary( or instance of .*)?$": "table",
    "valid tuple": "list",
    "Tuple should": "the list should",
    " after validation": "",
}
"""What pydantic calls things, and what they are called in TOML."""


def _instead(key: str, tables: Sequence[int | str]) -> str:
    """Say what an unknown key may have been meant to be, and which there are."""
    model: type[pydantic.BaseModel] = TrainingConfig
    for part in tables:
        if isinstance(part, str):  # a table; a number tells which of the stages
            model = _TABLES[part]
    known = list(model.model_fields)
    near = difflib.get_close_matches(key, known, n=1)
    return f"{f'did you mean {near[0]}? ' if near else ''}there are {', '.join(known)}"


_TABLES: Final[dict[str, type[pydantic.BaseModel]]] = {
    "scenes": SceneSettings,
    "augmentation": Augmentation,
    "loss": LossSettings,
    "schedule": Schedule,
    "stages": Stage,
}
