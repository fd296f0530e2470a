"""The first weights: balanced between the features, or taken from another network, channels added or dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from icemapper_xr import errors
from icemapper_xr.conventions import FEATURES, Feature
from icemapper_xr.training.config import SceneSettings, TrainingConfig

if TYPE_CHECKING:
    import keras

__all__ = ["balance", "check_left_out", "check_validation", "features_of", "has_seen", "start", "unsure"]

FIRST = ("encoder_0/conv_0/kernel", "encoder_0/projection/kernel")
"""The two kernels that see the input's channels, on their last but one axis."""

UNSURE = "left_out_unsure"
"""Attribute of a weights file: patterns that it left out, but that what it was begun with may have learned from."""

SPREAD: dict[Feature, float] = {"grd": 0.03, "rtc": 0.03, "insar": 0.2}
"""Standard deviation of a feature over time and space, in model units (of simulated scenes, rounded)."""


def balance(model: keras.Model, features: tuple[Feature, ...]) -> None:
    """Scale the first kernel's channels so that all features weigh the same in what it gives.

    In model units backscatter varies by 0.03 and coherence by 0.2: with equal kernels the batch normalisation that
    follows would pass on the coherence and a sixth of the backscatter, which then is learned slowly or not at all.
    """
    from icemapper_xr.training import state

    spread = np.array([SPREAD[feature] for feature in features])
    kernel = model.get_layer("encoder_0").convolutions[0].kernel
    scaled = state.arrays_of([kernel])[0] * (spread.max() / spread)[:, None]
    kernel.assign(scaled.astype(np.float32))


def start(model: keras.Model, path: Path, features: tuple[Feature, ...]) -> None:
    """Load weights into a network whose features may differ.

    Kernels of features that the file lacks keep their fresh values, but backscatter of one kind (grd, rtc) begins
    with the other's; kernels of features too many are dropped. The pooling's weights are dropped, or stay fresh, where
    the two differ in the kind of pooling. All else must agree.

    Raises
    ------
    OptionError
        If the file's features are unknown, or it is of another kind or size than the network.
    """
    from icemapper_xr.models import icemapper, weights
    from icemapper_xr.training import state

    arrays = weights.read_arrays(path)
    given = features_of(path)
    table = weights.variables(model)
    # Pooling with weights and pooling without differ in these alone.
    differ = {role for role in set(arrays) ^ set(table) if "_pool_" not in role}
    if differ:
        levels = weights.read_architecture(path).levels
        raise errors.OptionError(
            f"warm_start={path} is of another depth, {levels} levels, than the network to be trained, "
            f"{len(icemapper.units(model).decoder)}: set levels = {levels}, or begin with other weights"
        )
    for role, variable in table.items():
        if role not in arrays:
            continue
        value: npt.NDArray[Any] = arrays[role]
        if role in FIRST:
            fresh = state.arrays_of([variable])[0]
            value = _match(value, given, fresh, features)
        if value.shape != tuple(variable.shape):
            raise errors.OptionError(
                f"warm_start={path}: {role} is {value.shape}, the network wants {tuple(variable.shape)}; "
                "use the same number of filters"
            )
        variable.assign(value)


def check_left_out(config: TrainingConfig) -> None:
    """Refuse to begin with weights that have learned from what is to be scored later.

    Raises
    ------
    OptionError
        If the weights say that they left out less than `leave_out`.
    """
    if has_seen(config):
        raise errors.OptionError(
            f"warm_start={config.warm_start} has learned from what leave_out={list(config.leave_out)} keeps for "
            "scoring: begin with weights that left it out too, or without"
        )


def check_validation(config: TrainingConfig) -> None:
    """Refuse to validate on scenes that the first weights have learned from.

    Raises
    ------
    OptionError
        If they say that they have.
    """
    if config.data is not None:
        return
    ((begin, end),) = seeds_in(config.scenes)[1]
    for first, last in seeds_before(config)[0]:
        if begin <= last and first <= end:
            raise errors.OptionError(
                f"scenes.validation_seed={begin}: {config.warm_start} has learned from the scenes of seeds "
                f"{first} to {last}, so they cannot tell which step is best; begin elsewhere"
            )


def has_seen(config: TrainingConfig) -> bool | None:
    """Tell whether the weights that a training begins with have learned from what it leaves out; None: nobody knows."""
    spared = _left_out(config)
    if spared is not None and not set(config.leave_out) <= set(spared):
        return True
    return None if unsure(config) else False


def unsure(config: TrainingConfig) -> list[str]:
    """Return the patterns of `leave_out` of which nobody knows whether the first weights have learned from them.

    Nor did anybody know of the weights that those were begun with, however far back.
    """
    if _left_out(config) is None:
        return list(config.leave_out)
    told = _attrs_of_start(config).get(UNSURE)
    return [pattern for pattern in config.leave_out if isinstance(told, list) and pattern in told]


def _left_out(config: TrainingConfig) -> Sequence[str] | None:
    """Return the patterns that the first weights say to have left out of the same kind of data; None: they do not."""
    if config.warm_start is None or not config.leave_out:
        return config.leave_out
    attrs = _attrs_of_start(config)
    settings = attrs.get("settings")
    if not isinstance(settings, dict) or ("simulator" in attrs) != (config.data is None):
        return None
    return tuple(settings.get("leave_out", ()))


def _attrs_of_start(config: TrainingConfig) -> dict[str, Any]:
    """Return what the first weights say of themselves; nothing where there are none."""
    from icemapper_xr.models import weights

    if config.warm_start is None:
        return {}
    try:
        return weights.read_attrs(config.warm_start)
    except errors.WeightsError:  # the file may be gone when the training ends
        return {}


def seeds_before(config: TrainingConfig) -> tuple[list[list[int]], list[list[int]]]:
    """Return `seeds_of` the weights that a training begins with."""
    return seeds_of(_attrs_of_start(config))


def seeds_of(attrs: Mapping[str, Any]) -> tuple[list[list[int]], list[list[int]]]:
    """Return first and last seeds of the scenes that weights learned from, and of those by which they were chosen.

    From the attributes of their file; with what they were begun with, as far as that was told. Empty where nothing is.
    """
    told = attrs.get("learned_seeds"), attrs.get("chosen_seeds")
    if all(isinstance(ranges, list) for ranges in told):  # also of weights that went on with a data set
        return told  # type: ignore[return-value]
    if "simulator" not in attrs:
        return [], []
    try:
        scenes = SceneSettings.model_validate(attrs["settings"]["scenes"])
    except (ValueError, KeyError, TypeError):  # files of others say nothing of it
        return [], []
    return seeds_in(scenes)


def seeds_in(scenes: SceneSettings) -> tuple[list[list[int]], list[list[int]]]:
    """Return the same of the settings of a training alone."""
    learned = [scenes.seed, scenes.seed + scenes.number - 1]
    chosen = [scenes.validation_seed, scenes.validation_seed + scenes.validation - 1]
    return [learned], [chosen]


def features_of(path: Path) -> tuple[Feature, ...]:
    """Return the features of a weights file, from its attributes or its published name."""
    from icemapper_xr.models import facts, weights

    attrs = weights.read_attrs(path)
    if "features" in attrs:
        return facts.features(path, weights.read_architecture(path), attrs, None)
    token = path.stem.split("_")[2] if path.stem.count("_") >= 2 else ""
    named = tuple(feature for feature in FEATURES if feature in token)
    if "".join(named) != token or not named:
        raise errors.OptionError(
            f"warm_start={path} does not say its features: name the file ICEmapper_<pooling>_<features>.h5"
        )
    return named


def _match(
    value: npt.NDArray[Any], given: tuple[Feature, ...], fresh: npt.NDArray[Any], wanted: tuple[Feature, ...]
) -> npt.NDArray[Any]:
    """Sort the channels of a kernel `(..., channels, filters)` by feature."""
    if value.shape[:-2] != fresh.shape[:-2] or value.shape[-1] != fresh.shape[-1]:
        return value
    other: dict[Feature, Feature] = {"grd": "rtc", "rtc": "grd"}
    out = fresh.copy()
    for k, feature in enumerate(wanted):
        source = feature if feature in given else other.get(feature)
        if source in given:
            out[..., k, :] = value[..., given.index(source), :]
    return np.asarray(out, np.float32)
