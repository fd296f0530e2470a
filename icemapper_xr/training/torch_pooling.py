"""The temporally weighted pooling of a level in torch, for processors: planes of one step that stay in the cache.

Written out in whole arrays, the two poolings behind a block of the encoder and their derivatives pass a dozen times
over memory that no cache holds, which takes longer than the convolutions. Here each plane is read a few times while it
is there. The arithmetic is that of `layers.TemporalWeightedPooling`, up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

__all__ = ["merge_and_halve"]

Tensor = Any
"""A torch tensor: torch has no types where it is not installed."""

ROW_BYTES = 1 << 16
"""Bytes of one step that are weighed at a time: with 15 steps, about what a core's second cache holds."""

Weigh = Callable[[Tensor], Tensor]
"""Called with the means of each step and channel `(n, channel, time, 1, 1)`, returns factors of the same shape."""


def merge_and_halve(
    x: Tensor, weigh: Weigh, parameters: Sequence[Tensor], *, halve: bool
) -> tuple[Tensor, Tensor | None]:
    """Weigh and average all time steps, and take the maximum of 2 x 2 pixels of every step.

    Parameters
    ----------
    x
        `(n, channel, time, y, x)`, in memory channels-last.
    weigh
        Makes the factors of the weighted average.
    parameters
        The tensors that `weigh` uses and that are trained.
    halve
        Whether the maximum is wanted, too.

    Returns
    -------
    tuple
        The average `(n, channel, y, x)`, and the maxima `(n, channel, time, y // 2, x // 2)` or None.
    """
    merged, halved = _Pooling.apply(x, weigh, halve, *parameters)
    return merged, halved


class _Pooling(torch.autograd.Function):  # type: ignore[misc]
    """Both poolings, so that the derivative by their input is written once.

    In here `x` is `(n, time, y, x * channel)`: the last axis is long and lies in memory as it is.
    """

    @staticmethod
    def forward(
        ctx: Any, given: Tensor, weigh: Weigh, halve: bool, *parameters: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        n, channels, steps, height, width = given.shape
        x = _flat(given)
        sums = torch.stack([_sum_pixels(plane, channels) for plane in x.flatten(0, 1)])
        means = (sums / (height * width)).view(n, steps, channels).transpose(1, 2)[..., None, None]
        with torch.enable_grad():  # of the few numbers that the factors are made from
            means = means.requires_grad_()
            factors = weigh(means)
        ctx.small = (means, factors, parameters)
        ctx.channels = channels
        merged = torch.empty_like(x[:, 0])
        rows = max(1, ROW_BYTES // (x.shape[-1] * x.element_size()))
        for sample, out, row in zip(x, merged, _rows(factors.detach(), x), strict=True):
            for r in range(0, height, rows):
                torch.mean(sample[:, r : r + rows] * row[:, None], 0, out=out[r : r + rows])
        halved, index = None, None
        if halve:
            planes = _planes(x.flatten(0, 1), channels)
            halved, index = torch.ops.aten.max_pool2d_with_indices(planes, [2, 2], [2, 2])
            halved = halved.unflatten(0, (n, steps)).transpose(1, 2)
        ctx.save_for_backward(x, index)
        return _planes(merged, channels), halved

    @staticmethod
    def backward(ctx: Any, by_merged: Tensor, by_halved: Tensor | None) -> tuple[Tensor | None, ...]:
        x, index = ctx.saved_tensors
        n, steps, height, columns = x.shape
        channels = ctx.channels
        by_merged = _flat(by_merged[:, :, None])[:, 0] / steps
        by_factor = torch.stack(
            [_sum_pixels(plane * by, channels) for sample, by in zip(x, by_merged, strict=True) for plane in sample]
        )
        means, factors, parameters = ctx.small
        by_factor = by_factor.view(n, steps, channels).transpose(1, 2)[..., None, None]
        by_mean, *by_parameters = torch.autograd.grad(factors, [means, *parameters], by_factor)
        by_mean = by_mean / (height * columns // channels)
        result = torch.empty_like(x)
        if by_halved is not None:
            by_halved = _planes(_flat(by_halved).flatten(0, 1), channels)
            planes = _planes(x.flatten(0, 1), channels)
        for i, (factor, mean) in enumerate(zip(_rows(factors.detach(), x), _rows(by_mean, x), strict=True)):
            for step in range(steps):
                out = torch.addcmul(mean[step], by_merged[i], factor[step], out=result[i, step])
                if by_halved is not None:
                    one = slice(i * steps + step, i * steps + step + 1)
                    by = torch.ops.aten.max_pool2d_with_indices_backward(
                        by_halved[one], planes[one], [2, 2], [2, 2], [0, 0], [1, 1], False, index[one]
                    )
                    out += by.permute(0, 2, 3, 1).reshape(out.shape)
        given = result.unflatten(3, (-1, channels)).permute(0, 4, 1, 2, 3)
        return given, None, None, *by_parameters


def _flat(x: Tensor) -> Tensor:
    """Bring `(n, channel, time, y, x)` to `(n, time, y, x * channel)`, without a copy where it is channels-last."""
    return x.permute(0, 2, 3, 4, 1).contiguous().flatten(3)


def _planes(x: Tensor, channels: int) -> Tensor:
    """Bring `(n, y, x * channel)` to `(n, channel, y, x)`, without a copy."""
    return x.unflatten(2, (-1, channels)).permute(0, 3, 1, 2)


def _sum_pixels(plane: Tensor, channels: int) -> Tensor:
    """Sum `(y, x * channel)` over the pixels, in float32 at least along x."""
    return plane.sum(0).float().view(-1, channels).sum(0)


def _rows(values: Tensor, x: Tensor) -> Tensor:
    """Repeat `(n, channel, time, 1, 1)` along a row: `(n, time, x * channel)` in the type of `x`."""
    values = values[..., 0, 0].transpose(1, 2).to(x.dtype)
    return values.repeat(1, 1, x.shape[-1] // values.shape[-1])
