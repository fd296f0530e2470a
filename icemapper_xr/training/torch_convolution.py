"""Convolutions in bfloat16 on processors, whose derivatives by the kernel are not taken on trust.

oneDNN's kernels for matrix units (AMX, as of torch 2.14) give wrong ones for some shapes: up to thousands of times too
large, and others in every call. 32 to 64 channels over 4 x 64 x 64 pixels, which a window of 256 px brings, are one. A
network that is trained on them unlearns, and nothing says so. Each shape is therefore checked at first and then every
few steps, as what is wrong is right at times, and taken in float32 from when it is off by more than rounding.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch.nn import functional

from icemapper_xr import progress

__all__ = ["convolve"]

Tensor = Any
"""A torch tensor: torch has no types where it is not installed."""

FIRST, EVERY = 5, 4
"""A shape is checked in its first uses, and in every so many later ones: what is wrong can look right at times."""
SUMS: Final = 3
"""Random sums, others in every check, by which a derivative is judged."""
MOST_APART: Final = 0.02
"""Relative difference of derivatives that rounding does not explain: it makes 0.005 at most, wrong ones are 0.03 and
more off."""
MATRIX: Final = 16
"""Channels from which on the derivative by a kernel of one pixel is taken as a matrix product. As a convolution it is
wrong now and then, 32 to 64 channels over 4 x 64 x 64 pixels in every other call; with fewer channels a convolution is
quicker, and was never wrong."""

_used: collections.Counter[tuple[Any, ...]] = collections.Counter()
_wrong: set[tuple[Any, ...]] = set()


def convolve(x: Tensor, kernel: Tensor, bias: Tensor | None = None, *, padding: int | Sequence[int] = 0) -> Tensor:
    """Convolve in bfloat16, in as many dimensions as the kernel has.

    Parameters
    ----------
    x
        `(n, channel, ...)`.
    kernel
        `(out, in, ...)`.
    bias
        `(out,)`, or None.
    padding
        Pixels of zeros on each side, one number or one an axis.

    Returns
    -------
    tensor
        bfloat16; the derivatives have the types of what they are by.
    """
    rank = kernel.ndim - 2
    pads = [padding] * rank if isinstance(padding, int) else list(padding)
    return _Convolution.apply(x, kernel, bias, pads)


class _Convolution(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, bias: Tensor | None, pads: list[int]) -> Tensor:
        low, weights = x.to(torch.bfloat16), kernel.to(torch.bfloat16)
        ctx.save_for_backward(low, weights)
        ctx.pads, ctx.types = pads, (x.dtype, kernel.dtype)
        ctx.bias = None if bias is None else bias.dtype
        ones, zeros = [1] * len(pads), [0] * len(pads)
        low_bias = None if bias is None else bias.to(low.dtype)
        return torch.ops.aten.convolution(low, weights, low_bias, ones, pads, ones, False, zeros, 1)

    @staticmethod
    def backward(ctx: Any, by_y: Tensor) -> tuple[Tensor | None, ...]:
        x, kernel = ctx.saved_tensors
        by_y = by_y.to(x.dtype)
        shape = (*x.shape, *kernel.shape)
        wanted = ctx.needs_input_grad[:2]
        by_x, by_kernel, _ = _backward(by_y, x, kernel, ctx.pads, (wanted[0], wanted[1] and shape not in _wrong))
        if wanted[1]:
            by_kernel = _trusted(by_kernel, shape, by_y, x, kernel, ctx.pads)
        return (
            None if by_x is None else by_x.to(ctx.types[0]),
            None if by_kernel is None else by_kernel.to(ctx.types[1]),
            None if ctx.bias is None else by_y.sum((0, *range(2, by_y.ndim)), dtype=torch.float32).to(ctx.bias),
            None,
        )


def _trusted(
    found: Tensor | None, shape: tuple[Any, ...], by_y: Tensor, x: Tensor, kernel: Tensor, pads: list[int]
) -> Tensor:
    """Return the derivative by a kernel if it is right, else that in float32."""
    _used[shape] += 1
    if found is not None:
        if _used[shape] > FIRST and _used[shape] % EVERY:
            return found
        if _apart(found, by_y, x, pads, _used[shape]) <= MOST_APART:
            return found
    _, exact, _ = _backward(by_y.float(), x.float(), kernel.float(), pads, (False, True))
    size = float(exact.norm())
    if found is None or size == 0 or not math.isfinite(size):  # the loss, too, is no number then, and said to be none
        return exact
    apart = float((found.float() - exact).norm()) / size
    if apart <= MOST_APART:
        return found
    _wrong.add(shape)
    progress.note(
        f"derivatives by a kernel of {tuple(kernel.shape)} over {tuple(x.shape)} are wrong in bfloat16 on this "
        f"processor (by {apart:.2g} times): they are taken in float32"
    )
    return exact


def _apart(found: Tensor, by_y: Tensor, x: Tensor, pads: list[int], number: int) -> float:
    """Estimate the relative error of a derivative by a kernel.

    With signs u and v of the channels, the sum of u d v at one pixel of the kernel is the product of two planes, of the
    sums u y and v x, one of them shifted by that pixel. It takes little work, and differs by about the error's norm
    (Freivalds, 1977).
    """
    chance = torch.Generator().manual_seed(number)
    taps = found.abs().amax((0, 1)).flatten().nonzero().flatten()  # others lie past the edges, or nothing is there
    missed = size = 0.0
    for first in range(0, SUMS if len(taps) else 0, max(1, len(taps))):
        signs = [1 - 2.0 * torch.randint(2, (side,), generator=chance) for side in found.shape[:2]]
        planes, given = (
            (one.movedim(1, -1) @ sign.to(one.dtype)).float() for one, sign in zip((by_y, x), signs, strict=True)
        )
        given = functional.pad(given, [pad for pad in reversed(pads) for _ in range(2)])
        for tap in taps[torch.randperm(len(taps), generator=chance)][: SUMS - first]:
            at = torch.unravel_index(tap, found.shape[2:])
            derivative = found[:, :, *at].float()
            shifted = given[:, *(slice(int(k), int(k) + side) for k, side in zip(at, planes.shape[1:], strict=True))]
            expected = float(torch.dot(planes.reshape(-1), shifted.reshape(-1)))
            missed += (float(signs[0] @ derivative @ signs[1]) - expected) ** 2
            size += float(derivative.square().sum())
    return math.sqrt(missed / size) if size else math.inf


def _backward(
    by_y: Tensor, x: Tensor, kernel: Tensor, pads: list[int], wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Any, None]:
    product = wanted[1] and kernel.shape[2:].numel() == 1 and min(kernel.shape[:2]) >= MATRIX
    by_kernel = _columns(by_y).t() @ _columns(x) if product else None
    if by_kernel is not None and not wanted[0]:
        return None, by_kernel.view(kernel.shape), None
    ones, zeros = [1] * len(pads), [0] * len(pads)
    by_x, found, _ = torch.ops.aten.convolution_backward(
        by_y, x, kernel, None, ones, pads, ones, False, zeros, 1, [wanted[0], wanted[1] and not product, False]
    )
    return by_x, found if by_kernel is None else by_kernel.view(kernel.shape), None


def _columns(x: Tensor) -> Tensor:
    """Bring `(n, channel, ...)` to `(pixel, channel)`, without a copy where it is channels-last."""
    return x.movedim(1, -1).flatten(0, -2)
