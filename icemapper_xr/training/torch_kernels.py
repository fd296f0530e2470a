"""Kernels of Keras as torch has them; without torch, which is no dependency of ours."""

from __future__ import annotations

from typing import Any

__all__ = ["bias_of", "kernel_of"]


def kernel_of(variable: Any) -> Any:
    """Bring a Keras kernel `(..., in, out)` to torch's `(out, in, ...)`, without a copy."""
    value = variable.value
    return value.permute(value.ndim - 1, value.ndim - 2, *range(value.ndim - 2))


def bias_of(convolution: Any) -> Any:
    """Return the bias `(out,)` of a Keras convolution; None of one that has none."""
    return None if convolution.bias is None else convolution.bias.value
