"""The ICEmapper network: a 3-D residual encoder over time and space, a 2-D decoder, one probability a pixel.

Architecture after Maslov et al. (2025), doi:10.31223/X5472T, written for Keras 3 on any backend.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras

from icemapper_xr import errors
from icemapper_xr.conventions import N_STEPS, POOLINGS, Pooling
from icemapper_xr.models import layers, layout

__all__ = ["Units", "build", "units"]


class Units(NamedTuple):
    """The parts of a network that have weights, each kind in the order of creation in the original program."""

    encoder: list[Any]
    """Residual blocks, from shallow to deep; the last is the bottleneck."""
    pooling: list[Any]
    """For each level first the skip's pooling, then the pooling to the next level; the bottleneck's skip is last."""
    up: list[Any]
    """Up-convolutions, from deep to shallow."""
    decoder: list[Any]
    """Residual blocks, from deep to shallow."""
    head: Any


def build(
    *,
    channels: int,
    pooling: Pooling,
    filters: int = 32,
    levels: int = 3,
    n_steps: int = N_STEPS,
    dtype: str | None = None,
) -> keras.Model:
    """Build the network with fresh weights.

    Parameters
    ----------
    channels
        Number of features, at least 1.
    pooling
        'tweightedpool' (temporal weights from the whole window) or 'maxpool'.
    filters
        Filters of the first level; level k has `filters * 2**k`. The temporal weights use half as many, rounded down.
    levels
        Levels above the bottleneck; the input's height and width must be multiples of `2**levels`.
    n_steps
        Time steps.
    dtype
        Keras dtype policy of the layers, such as 'mixed_float16'; None is Keras's global policy. The output is
        float32 whatever the policy.

    Returns
    -------
    keras.Model
        Takes `(n, n_steps, y, x, channels)` float32 in model units, returns `(n, y, x, 2)` float32: the softmax over
        (background, glacier).

    Raises
    ------
    OptionError
        If an option is out of its range.
    """
    _check(channels=channels, pooling=pooling, filters=filters, levels=levels, n_steps=n_steps)
    pool = layers.TemporalWeightedPooling if pooling == "tweightedpool" else layers.MaxPooling
    options = {"dtype": dtype}
    x = inputs = keras.Input((n_steps, None, None, channels), name="inputs", dtype="float32")
    skips = []
    for level in range(levels + 1):
        x = layers.ResidualBlock(filters * 2**level, 3, name=f"encoder_{level}", **options)(x)
        skip = pool("all", name=f"skip_pool_{level}", **options)(x)
        skips.append(layers.DropTime(name=f"skip_{level}", **options)(skip))
        if level < levels:
            x = pool("step", name=f"down_pool_{level}", **options)(x)
    y = skips.pop()
    for level in reversed(range(levels)):
        y = layers.UpConv(filters * 2**level, name=f"up_{level}", **options)(y)
        y = keras.layers.Concatenate(name=f"concatenate_{level}", **options)([y, skips.pop()])
        y = layers.ResidualBlock(filters * 2**level, 2, name=f"decoder_{level}", **options)(y)
    logits = keras.layers.Dense(layout.N_CLASSES, name="head", dtype="float32")(y)
    outputs = keras.layers.Softmax(name="probability", dtype="float32")(logits)
    return keras.Model(inputs, outputs, name=f"icemapper_{pooling}")


def units(model: keras.Model) -> Units:
    """Find the parts that have weights in a network made by `build` (or loaded from a file of one)."""
    names = {layer.name for layer in model.layers}
    levels = sum(name.startswith("up_") for name in names)
    return Units(
        encoder=[model.get_layer(f"encoder_{level}") for level in range(levels + 1)],
        pooling=[model.get_layer(name) for name, _ in layout.pools(levels)],
        up=[model.get_layer(f"up_{level}") for level in reversed(range(levels))],
        decoder=[model.get_layer(f"decoder_{level}") for level in reversed(range(levels))],
        head=model.get_layer("head"),
    )


def _check(*, channels: int, pooling: str, filters: int, levels: int, n_steps: int) -> None:
    """Refuse options that make no network."""
    if pooling not in POOLINGS:
        raise errors.OptionError(f"pooling={pooling!r} is unknown: use one of {', '.join(POOLINGS)}")
    for name, value in (("channels", channels), ("filters", filters), ("levels", levels), ("n_steps", n_steps)):
        if value < 1:
            raise errors.OptionError(f"{name}={value} must be at least 1")
    if filters < 2 and pooling == "tweightedpool":
        raise errors.OptionError(f"filters={filters} must be at least 2: the temporal weights use half as many")
