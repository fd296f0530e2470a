"""The network's building blocks, in Keras 3 layers and `keras.ops` only, so that every Keras backend runs them.

Shapes are channels-last: `(n, time, y, x, channels)` in the encoder, `(n, y, x, channels)` in the decoder. The blocks
are those of Maslov et al. (2025), doi:10.31223/X5472T.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

__all__ = ["LEAKY_SLOPE", "DropTime", "MaxPooling", "ResidualBlock", "TemporalWeightedPooling", "UpConv"]

LEAKY_SLOPE = 0.3
"""Slope of the leaky rectifier below zero."""

Extent = Literal["step", "all"]
"""What a pooling merges: pairs of time steps and 2 x 2 pixels ('step'), or all time steps and no pixels ('all')."""

_PACKAGE = "icemapper_xr"
Shape = tuple[int | None, ...]


def _pad_time(x: Any) -> Any:
    """Repeat the last step if the number of steps is odd.

    A repeated step changes neither the maximum nor the mean of the last pair, which is what 'same' padding does in
    TensorFlow; padded so, all backends agree.
    """
    return ops.concatenate([x, x[:, -1:]], axis=1) if x.shape[1] % 2 else x


def _max_pool(x: Any, steps: Literal[1, 2]) -> Any:
    """Maximum over pairs of time steps (or single ones) and 2 x 2 pixels."""
    if keras.backend.standardize_dtype(x.dtype) != "float16":
        extent = (steps, 2, 2)
        return ops.max_pool(x, extent, extent, padding="valid", data_format="channels_last")
    # TensorFlow pools half precision in 3-D on GPUs only; this runs everywhere
    if steps == 2:
        x = ops.maximum(x[:, 0::2], x[:, 1::2])
    x = ops.maximum(x[:, :, 0::2], x[:, :, 1::2])
    return ops.maximum(x[:, :, :, 0::2], x[:, :, :, 1::2])


def _pooled_shape(shape: Shape, extent: Extent) -> Shape:
    """Shape after a pooling of that extent."""
    n, steps, height, width, channels = shape
    if extent == "all":
        return (n, 1, height, width, channels)
    assert steps is not None
    half = [None if size is None else size // 2 for size in (height, width)]
    return (n, -(-steps // 2), *half, channels)


class _Pooling(keras.layers.Layer):  # type: ignore[misc]
    """What the two poolings share: the extent and the shape."""

    def __init__(self, extent: Extent, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.extent: Extent = extent

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return `(n, time, y, x, channels)` after the pooling."""
        return _pooled_shape(tuple(input_shape), self.extent)

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "extent": self.extent}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class MaxPooling(_Pooling):
    """Maximum over (2, 2, 2) time steps and pixels, or over all time steps."""

    def call(self, x: Any) -> Any:
        """Pool `(n, time, y, x, channels)`."""
        if self.extent == "all":
            return ops.max(x, axis=1, keepdims=True)
        return _max_pool(_pad_time(x), 2)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class TemporalWeightedPooling(_Pooling):
    """Weigh every time step and channel by a factor that depends on the whole window, then average over time.

    The factors come from the window's mean of each step and channel through two convolutions along time, so they
    depend on the window's extent.
    """

    def build(self, input_shape: Shape) -> None:
        """Create the two convolutions along time."""
        channels = input_shape[-1]
        assert channels is not None
        shape = (input_shape[0], input_shape[1], 1, 1)
        self.squeeze = self._convolution(channels // 2, "swish", "squeeze")
        self.excite = self._convolution(channels, "sigmoid", "excite")
        self.squeeze.build((*shape, channels))
        self.excite.build((*shape, channels // 2))
        super().build(input_shape)

    def _convolution(self, filters: int, activation: str, name: str) -> Any:
        return keras.layers.Conv3D(
            filters, (3, 1, 1), padding="same", activation=activation, name=name, dtype=self.dtype_policy
        )

    def call(self, x: Any) -> Any:
        """Pool `(n, time, y, x, channels)`."""
        if self.extent == "step":
            x = _max_pool(x, 1)
        x = x * self.excite(self.squeeze(ops.mean(x, axis=(2, 3), keepdims=True)))
        if self.extent == "all":
            return ops.mean(x, axis=1, keepdims=True)
        x = _pad_time(x)
        return 0.5 * (x[:, 0::2] + x[:, 1::2])


@keras.saving.register_keras_serializable(package=_PACKAGE)
class ResidualBlock(keras.layers.Layer):  # type: ignore[misc]
    """Two times [3-wide convolution, batch normalisation, leaky rectifier], plus a 1x1 projection of the input."""

    def __init__(self, filters: int, rank: Literal[2, 3], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.rank = rank
        convolution = keras.layers.Conv3D if rank == 3 else keras.layers.Conv2D
        options = {"dtype": self.dtype_policy}
        self.convolutions = [convolution(filters, 3, padding="same", name=f"conv_{i}", **options) for i in range(2)]
        self.norms = [keras.layers.BatchNormalization(name=f"norm_{i}", **options) for i in range(2)]
        self.activation = keras.layers.LeakyReLU(negative_slope=LEAKY_SLOPE, **options)
        self.projection = keras.layers.Dense(filters, use_bias=False, name="projection", **options)

    def build(self, input_shape: Shape) -> None:
        """Create the weights."""
        shape = tuple(input_shape)
        self.projection.build(shape)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            convolution.build(shape)
            shape = (*shape[:-1], self.filters)
            norm.build(shape)
        super().build(input_shape)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Return `(..., filters)`, of the same extent."""
        y = x
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            y = self.activation(norm(convolution(y), training=training))
        return y + self.projection(x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the input's shape with the block's filters."""
        return (*tuple(input_shape)[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "filters": self.filters, "rank": self.rank}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class UpConv(keras.layers.Layer):  # type: ignore[misc]
    """Double the extent by nearest neighbour, then a bias-free 2x2 convolution and batch normalisation."""

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        options = {"dtype": self.dtype_policy}
        self.upsampling = keras.layers.UpSampling2D(2, interpolation="nearest", **options)
        self.convolution = keras.layers.Conv2D(filters, 2, padding="same", use_bias=False, name="conv", **options)
        self.norm = keras.layers.BatchNormalization(name="norm", **options)

    def build(self, input_shape: Shape) -> None:
        """Create the weights."""
        self.convolution.build((*self.compute_output_shape(input_shape)[:-1], input_shape[-1]))
        self.norm.build(self.compute_output_shape(input_shape))
        super().build(input_shape)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Return `(n, 2 y, 2 x, filters)`."""
        return self.norm(self.convolution(self.upsampling(x)), training=training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return `(n, 2 y, 2 x, filters)`."""
        n, height, width, _ = tuple(input_shape)
        double = [None if size is None else 2 * size for size in (height, width)]
        return (n, *double, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class DropTime(keras.layers.Layer):  # type: ignore[misc]
    """Drop the time axis of length one."""

    def call(self, x: Any) -> Any:
        """Return `(n, y, x, channels)`."""
        return ops.squeeze(x, axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape without the time axis."""
        return (input_shape[0], *tuple(input_shape)[2:])
