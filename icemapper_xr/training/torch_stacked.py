"""The network in torch for accelerators: time steps side by side as channels, so that all convolutions are of planes.

One over 15 steps of 16 channels is one between 240 channels whose kernel is zero where steps are no neighbours. That is
up to five times the arithmetic, and quicker: matrix units idle where channels are few, and libraries know convolutions
of planes best. Arrays are `(n, step * channel, y, x)`, in memory channels-last. It reads tensors alone, no Keras, so
that torch can compile it: what lies between the convolutions is as much work as they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn import functional

from icemapper_xr.models import layers
from icemapper_xr.training.torch_kernels import bias_of, kernel_of

__all__ = ["Network", "forward", "network_of"]

Tensor = Any
"""A torch tensor: torch has no types where it is not installed."""

MULTIPLE = 8
"""Matrix units take channels in eights: channels of the input are filled up with zeros."""


class Convolution(NamedTuple):
    """A convolution and the normalisation behind it."""

    kernel: Tensor
    """`(out, in, time, y, x)`, or without time in the decoder."""
    bias: Tensor | None
    gamma: Tensor
    beta: Tensor
    mean: Tensor
    variance: Tensor
    epsilon: float


class Block(NamedTuple):
    """A residual block."""

    convolutions: list[Convolution]
    projection: Tensor
    """`(in, out)`."""


class Weighing(NamedTuple):
    """Kernels `(out, in, time)` and biases that make the factors of a temporal weighted pooling."""

    squeeze: Tensor
    squeeze_bias: Tensor
    excite: Tensor
    excite_bias: Tensor


class Network(NamedTuple):
    """The tensors of a network, in the order of `icemapper.Units`."""

    encoder: list[Block]
    pooling: list[Weighing | None]
    """None where the maximum is taken."""
    up: list[Convolution]
    decoder: list[Block]
    head: Tensor
    head_bias: Tensor


def network_of(units: Any) -> Network:
    """Gather the tensors of `icemapper.Units`; they are the variables themselves, not copies."""
    return Network(
        [_block_of(block) for block in units.encoder],
        [_weighing_of(pooling) for pooling in units.pooling],
        [_convolution_of(up.convolution, up.norm) for up in units.up],
        [_block_of(block) for block in units.decoder],
        units.head.kernel.value,
        units.head.bias.value,
    )


def forward(network: Network, x: Tensor, *, frozen: bool) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Apply the network.

    Parameters
    ----------
    network
        Its tensors.
    x
        `(n, time, y, x, channel)` in model units.
    frozen
        Whether to normalise by the moving statistics, instead of those of the batch.

    Returns
    -------
    tuple
        Logits `(n, y, x, 2)`, and mean and variance of what each norm saw; none where it is frozen.
    """
    found: list[tuple[Tensor, Tensor]] | None = None if frozen else []
    steps = x.shape[1]
    planes = x.permute(0, 2, 3, 1, 4).flatten(3)
    planes = functional.pad(planes, (0, -planes.shape[-1] % MULTIPLE)).permute(0, 3, 1, 2)
    skips = []
    for level, block in enumerate(network.encoder):
        planes = _block(planes, block, steps, found)
        skip, *down = network.pooling[2 * level : 2 * level + 2]
        skips.append(_merge(planes, skip, steps))
        if down:
            planes, steps = _merge_pairs(functional.max_pool2d(planes, 2), down[0], steps)
    y = skips.pop()
    for up, block in zip(network.up, network.decoder, strict=True):
        doubled = functional.interpolate(y, scale_factor=2, mode="nearest")
        risen = _convolve(functional.pad(doubled, (0, 1, 0, 1)), up, 1, found, padding=0)
        y = _block(torch.cat([risen, skips.pop()], 1), block, 1, found)
    return y.permute(0, 2, 3, 1) @ network.head + network.head_bias, found or []


def spread(kernel: Tensor, steps: int, channels: int) -> Tensor:
    """Make the kernel between steps as channels, `(steps * out, channels, y, x)`, of one over time.

    Parameters
    ----------
    kernel
        `(out, in, time, y, x)`; its middle step lies on the step that is computed.
    steps
        Number of time steps; nothing lies before the first and after the last.
    channels
        Channels that come in; those past `steps * in` count for nothing.
    """
    length = kernel.shape[2]
    step, tap = torch.arange(steps, device=kernel.device), torch.arange(length, device=kernel.device)
    meets = step - step[:, None] + length // 2 == tap[:, None, None]  # (tap, step out, step in)
    wide = torch.einsum("tab,ijtyx->aibjyx", meets.to(kernel.dtype), kernel).flatten(2, 3).flatten(0, 1)
    return functional.pad(wide, (0, 0, 0, 0, 0, channels - wide.shape[1]))


def _convolve(
    x: Tensor, convolution: Convolution, steps: int, found: list[tuple[Tensor, Tensor]] | None, *, padding: int
) -> Tensor:
    """Convolve and normalise; by the batch's own statistics, noted in `found`, unless that is None."""
    kernel, bias, gamma, beta, mean, variance, epsilon = convolution
    if found is None:  # the kernel holds the normalisation: no pass over memory for it
        factor = gamma * (variance + epsilon).rsqrt()
        bias = beta - factor * (mean if bias is None else mean - bias)
        return _spread_convolve(x, kernel * factor.view(-1, *(1,) * (kernel.ndim - 1)), bias, steps, padding)
    y = _spread_convolve(x, kernel, bias, steps, padding).unflatten(1, (steps, -1))
    variance, mean = torch.var_mean(y.float(), (0, 1, 3, 4), correction=0)
    found.append((mean.detach(), variance.detach()))
    factor = gamma * (variance + epsilon).rsqrt()
    return (y * factor[:, None, None] + (beta - mean * factor)[:, None, None]).to(y.dtype).flatten(1, 2)


def _spread_convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, steps: int, padding: int) -> Tensor:
    """Convolve planes by a kernel over time, or by one of planes."""
    if kernel.ndim == 5:
        with torch.autocast(
            x.device.type, enabled=False
        ):  # compiled, the derivative is rounded to bfloat16 all the same
            kernel = spread(kernel, steps, x.shape[1])
        bias = None if bias is None else bias.repeat(steps)
    return functional.conv2d(x, kernel, bias, padding=padding)


def _block(x: Tensor, block: Block, steps: int, found: list[tuple[Tensor, Tensor]] | None) -> Tensor:
    """Residual block."""
    y = x
    for convolution in block.convolutions:
        y = functional.leaky_relu(_convolve(y, convolution, steps, found, padding=1), layers.LEAKY_SLOPE)
    projection = block.projection.t()[..., None, None]
    return y + _spread_convolve(x, projection[..., None] if steps > 1 else projection, None, steps, 0)


def _factors(x: Tensor, weighing: Weighing) -> Tensor:
    """Factors of a temporal weighted pooling of `(n, time, channel, y, x)`, of the shape `(n, time, channel, 1, 1)`."""
    means = x.mean((3, 4)).transpose(1, 2)
    means = functional.silu(functional.conv1d(means, weighing.squeeze, weighing.squeeze_bias, padding=1))
    means = torch.sigmoid(functional.conv1d(means, weighing.excite, weighing.excite_bias, padding=1))
    return means.transpose(1, 2)[..., None, None]


def _merge(x: Tensor, weighing: Weighing | None, steps: int) -> Tensor:
    """Pool all time steps: `(n, channel, y, x)`."""
    x = x.unflatten(1, (steps, -1))
    return x.amax(1) if weighing is None else (x * _factors(x, weighing)).mean(1)


def _merge_pairs(x: Tensor, weighing: Weighing | None, steps: int) -> tuple[Tensor, int]:
    """Pool pairs of time steps whose pixels are merged already; returns the planes and how many steps they hold."""
    x = x.unflatten(1, (steps, -1))
    if weighing is not None:
        x = x * _factors(x, weighing)
    if steps % 2:
        x = torch.cat([x, x[:, -1:]], 1)
    first, second = x[:, 0::2], x[:, 1::2]
    merged = torch.maximum(first, second) if weighing is None else 0.5 * (first + second)
    return merged.flatten(1, 2), merged.shape[1]


def _convolution_of(convolution: Any, norm: Any) -> Convolution:
    return Convolution(
        kernel_of(convolution.kernel),
        bias_of(convolution),
        norm.gamma.value,
        norm.beta.value,
        norm.moving_mean.value,
        norm.moving_variance.value,
        norm.epsilon,
    )


def _block_of(block: Any) -> Block:
    pairs = zip(block.convolutions, block.norms, strict=True)
    return Block([_convolution_of(*pair) for pair in pairs], block.projection.kernel.value)


def _weighing_of(pooling: Any) -> Weighing | None:
    if not isinstance(pooling, layers.TemporalWeightedPooling):
        return None
    parts = (pooling.squeeze, pooling.excite)
    kernels = [kernel_of(part.kernel)[..., 0, 0] for part in parts]
    return Weighing(kernels[0], parts[0].bias.value, kernels[1], parts[1].bias.value)
