"""The first weights: balanced between the features, or taken from another network, channels added or dropped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from icemapper_xr import errors
from icemapper_xr.conventions import FEATURES, Feature

if TYPE_CHECKING:
    import keras

__all__ = ["balance", "features_of", "start"]

FIRST = ("encoder_0/conv_0/kernel", "encoder_0/projection/kernel")
"""The two kernels that see the input's channels, on their last but one axis."""

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

    arrays = weights.read_arrays(path)
    given = features_of(path)
    units = icemapper.units(model)
    table: dict[str, Any] = {f"head/{v.name}": v for v in units.head.weights}
    for unit in (*units.encoder, *units.pooling, *units.up, *units.decoder):
        table |= {"/".join((unit.name, *v.path.split("/")[-2:])): v for v in unit.weights}
    # Pooling with weights and pooling without differ in these alone.
    differ = {role for role in set(arrays) ^ set(table) if "_pool_" not in role}
    if differ:
        raise errors.OptionError(f"warm_start={path} is of another depth than the network to be trained")
    from icemapper_xr.training import state

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


def features_of(path: Path) -> tuple[Feature, ...]:
    """Return the features of a weights file, from its attributes or its published name."""
    from icemapper_xr.models import weights

    named = weights.read_attrs(path).get("features")
    if named is None:
        token = path.stem.split("_")[2] if path.stem.count("_") >= 2 else ""
        named = [feature for feature in FEATURES if feature in token]
        if "".join(named) != token or not named:
            raise errors.OptionError(
                f"warm_start={path} does not say its features: name the file ICEmapper_<pooling>_<features>.h5"
            )
    return cast("tuple[Feature, ...]", tuple(named))


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
