"""Convolutions in bfloat16 on processors, whose derivatives by the kernel are not taken on trust.

oneDNN's kernels for matrix units (AMX, as of torch 2.14) give wrong ones for some shapes: up to thousands of times too
large, and others in every call. 32 to 64 channels over 4 x 64 x 64 pixels, which a window of 256 px brings, are one. A
network that is trained on them unlearns, and nothing says so. Each shape is therefore compared with float32 at first
and now and then, and taken in float32 from when they differ by more than rounding.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any, Final

import torch

from icemapper_xr import progress

__all__ = ["convolve"]

Tensor = Any
"""A torch tensor: torch has no types where it is not installed."""

FIRST, EVERY = 3, 100
"""A shape is compared in its first uses, and in every so many later ones: what is wrong can look right at times."""
MOST_APART: Final = 0.03
"""Relative difference of derivatives that rounding does not explain: it makes 0.003, wrong kernels 0.08 and more."""

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
    """Return the derivative by a kernel if its shape has proved right, else that in float32."""
    _used[shape] += 1
    if found is not None and _used[shape] > FIRST and _used[shape] % EVERY:
        return found
    _, exact, _ = _backward(by_y.float(), x.float(), kernel.float(), pads, (False, True))
    size = float(exact.norm())
    if found is None or size == 0:
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


def _backward(
    by_y: Tensor, x: Tensor, kernel: Tensor, pads: list[int], wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Any, None]:
    ones, zeros = [1] * len(pads), [0] * len(pads)
    return torch.ops.aten.convolution_backward(  # type: ignore[no-any-return]
        by_y, x, kernel, None, ones, pads, ones, False, zeros, 1, [*wanted, False]
    )
