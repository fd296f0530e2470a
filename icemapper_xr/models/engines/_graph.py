"""The network as an OpenVINO graph, made straight from the arrays of a weights file.

The Keras model in `icemapper` is the reference; this is the same network for inference only: channels first, batch
normalisation folded into the convolutions, the softmax over two classes as a sigmoid of their difference. Made so, a
process needs neither TensorFlow nor the seconds of a conversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import openvino
from openvino import opset1, opset13

from icemapper_xr._types import FloatArray
from icemapper_xr.models.layout import Architecture

__all__ = ["build"]

EPSILON: Final = 1e-3
"""Of the batch normalisation."""
SLOPE: Final = 0.3
"""Of the leaky rectifier below zero."""
Arrays = Mapping[str, FloatArray]
Node = Any


def build(arrays: Arrays, architecture: Architecture, *, n_steps: int) -> openvino.Model:
    """Build the graph: `(n, n_steps, y, x, channels)` float32 -> glacier probability `(n, y, x)` float32.

    Parameters
    ----------
    arrays
        By role, as `weights.read_arrays` returns them.
    architecture
        The network they belong to.
    n_steps
        Time steps of the input.
    """
    levels = architecture.levels
    source = opset13.parameter(openvino.PartialShape([-1, n_steps, -1, -1, architecture.channels]), np.float32, "x")
    x: Node = opset13.transpose(source, _integers(0, 4, 1, 2, 3))
    skips, steps = [], n_steps
    for level in range(levels + 1):
        x = _residual(arrays, f"encoder_{level}", x)
        skips.append(_pool_all(arrays, f"skip_pool_{level}", x))
        if level < levels:
            x = _pool_step(arrays, f"down_pool_{level}", x, steps)
            steps = -(-steps // 2)
    y = skips.pop()
    for level in reversed(range(levels)):
        up = _convolve(_upsample(y), *_fold(arrays, f"up_{level}/conv", f"up_{level}/norm"), end_only=True)
        y = _residual(arrays, f"decoder_{level}", opset13.concat([up, skips.pop()], 1))
    # softmax over (background, glacier), class 1 = sigmoid of the difference of the two logits
    kernel, bias = (np.diff(arrays[f"head/{name}"], axis=-1) for name in ("kernel", "bias"))
    logit = _convolve(y, kernel[np.newaxis, np.newaxis], bias)
    answer = opset13.squeeze(opset13.sigmoid(logit), _integers(1))
    return openvino.Model([answer], [source], "icemapper")


def _residual(arrays: Arrays, role: str, x: Node) -> Node:
    """Two times [convolution, normalisation, leaky rectifier], plus the projection of the input."""
    y = x
    for i in range(2):
        y = _convolve(y, *_fold(arrays, f"{role}/conv_{i}", f"{role}/norm_{i}"))
        y = opset13.prelu(y, np.array([SLOPE], dtype=np.float32))
    kernel = arrays[f"{role}/projection/kernel"]
    rank = arrays[f"{role}/conv_0/kernel"].ndim - 2
    return opset13.add(y, _convolve(x, kernel.reshape((1,) * rank + kernel.shape), None))


def _fold(arrays: Arrays, conv: str, norm: str) -> tuple[FloatArray, FloatArray]:
    """Kernel and bias of a convolution with the batch normalisation behind it taken in."""
    gamma, beta, mean, variance = (
        arrays[f"{norm}/{name}"].astype(np.float64) for name in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    scale = gamma / np.sqrt(variance + EPSILON)
    bias = np.asarray(arrays.get(f"{conv}/bias", np.zeros(1))).astype(np.float64)
    kernel = arrays[f"{conv}/kernel"].astype(np.float64) * scale
    return kernel.astype(np.float32), ((bias - mean) * scale + beta).astype(np.float32)


def _convolve(x: Node, kernel: FloatArray, bias: FloatArray | None, *, end_only: bool = False) -> Node:
    """Convolution that keeps the extent; `kernel` is (*extent, inputs, outputs) as Keras has it.

    An even kernel is padded at the end only, as 'same' means in Keras.
    """
    extent, rank = kernel.shape[:-2], kernel.ndim - 2
    begin = [0 if end_only else size // 2 for size in extent]
    end = [size - 1 - left for size, left in zip(extent, begin, strict=True)]
    ones = [1] * rank
    y = opset1.convolution(
        x, np.ascontiguousarray(kernel.transpose(-1, -2, *range(rank)), dtype=np.float32), ones, begin, end, ones
    )
    if bias is None:
        return y
    return opset13.add(y, bias.astype(np.float32).reshape(1, -1, *ones))


def _weigh(arrays: Arrays, role: str, x: Node) -> Node:
    """Multiply each step and channel by its factor, which comes from the mean over the whole window."""
    mean = _window_mean(x, arrays[f"{role}/squeeze/kernel"].shape[-2])
    hidden = opset13.swish(_convolve(mean, arrays[f"{role}/squeeze/kernel"], arrays[f"{role}/squeeze/bias"]))
    factor = opset13.sigmoid(_convolve(hidden, arrays[f"{role}/excite/kernel"], arrays[f"{role}/excite/bias"]))
    return opset13.multiply(x, factor)


def _window_mean(x: Node, channels: int) -> Node:
    """Mean over y and x of `(n, channels, time, y, x)`, added up in the order in which TensorFlow does.

    In single precision a sum over a window of 384 x 384 pixels depends on its order in the fifth digit, and the
    weighting carries that to 5e-5 in the answer. TensorFlow, and so the original program, keeps four running sums, of
    every fourth pixel each, with the channels innermost, and adds them at the end.
    """
    last = opset13.transpose(x, _integers(0, 2, 3, 4, 1))
    pixels = opset13.reshape(last, _integers(0, 0, -1, channels), special_zero=True)
    count = opset13.gather(opset13.shape_of(pixels), _integers(2), _integers(0))
    short = opset13.floor_mod(opset13.negative(count), _integers(4))
    none = _integers(0, 0)
    ends = opset13.concat([none, short, _integers(0)], 0)
    padded = opset13.pad(pixels, _integers(0, 0, 0, 0), ends, "constant", np.float32(0))
    fourths = opset13.reshape(padded, _integers(0, 0, -1, 4 * channels), special_zero=True)
    sums = opset13.reduce_sum(fourths, _integers(2), keep_dims=False)
    total = opset13.reduce_sum(
        opset13.reshape(sums, _integers(0, 0, 4, channels), special_zero=True), _integers(2), keep_dims=False
    )
    mean = opset13.divide(total, opset13.convert(count, np.float32))
    return opset13.unsqueeze(opset13.transpose(mean, _integers(0, 2, 1)), _integers(3, 4))


def _pool_all(arrays: Arrays, role: str, x: Node) -> Node:
    """Merge all time steps and drop their axis."""
    if f"{role}/squeeze/kernel" in arrays:
        return opset13.reduce_mean(_weigh(arrays, role, x), _integers(2), keep_dims=False)
    return opset13.reduce_max(x, _integers(2), keep_dims=False)


def _pool_step(arrays: Arrays, role: str, x: Node, steps: int) -> Node:
    """Merge pairs of time steps and 2 x 2 pixels; an odd last step stays alone."""
    odd = steps % 2
    if f"{role}/squeeze/kernel" not in arrays:
        return opset1.max_pool(x, [2, 2, 2], [0, 0, 0], [odd, 0, 0], [2, 2, 2], "floor", "explicit")
    x = opset1.max_pool(x, [1, 2, 2], [0, 0, 0], [0, 0, 0], [1, 2, 2], "floor", "explicit")
    x = _weigh(arrays, role, x)
    return opset1.avg_pool(x, [2, 1, 1], [0, 0, 0], [odd, 0, 0], [2, 1, 1], True, "floor", "explicit")


def _upsample(x: Node) -> Node:
    """Double the extent by nearest neighbour."""
    return opset13.interpolate(
        x,
        np.array([2, 2], dtype=np.float32),
        "nearest",
        "scales",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
        axes=_integers(2, 3),
    )


def _integers(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, dtype=np.int64)
