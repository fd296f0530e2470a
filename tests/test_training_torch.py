"""What steps in torch do on processors, where torch is installed."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is an accelerator for those who have it")

from icemapper_xr.training import torch_convolution  # noqa: E402


def derivatives(x: Any, kernel: Any, bias: Any, by_y: Any, *, low: bool, padding: Any) -> list[Any]:
    """By input, kernel and bias: in bfloat16 as trained, or in float32 of the same rounded numbers."""
    given = [one.clone().requires_grad_() for one in (x, kernel, bias)]
    if low:
        y = torch_convolution.convolve(*given, padding=padding)
        assert y.dtype == torch.bfloat16
    else:
        rank = kernel.ndim - 2
        y = (torch.nn.functional.conv3d if rank == 3 else torch.nn.functional.conv2d)(*given, padding=padding)
    return [one.float() for one in torch.autograd.grad(y, given, by_y.to(y.dtype))]


@pytest.mark.parametrize(
    ("samples", "channels", "filters", "size", "kernel", "padding"),
    [
        (2, 32, 64, (4, 64, 64), (3, 3, 3), 1),  # wrong by 60 times in oneDNN's AMX kernels of torch 2.14
        (8, 32, 64, (4, 64, 64), (1, 1, 1), 0),
        (2, 16, 16, (15, 32, 32), (3, 3, 3), 1),
        (2, 16, 8, (15, 1, 1), (3, 1, 1), (1, 0, 0)),
        (2, 64, 32, (33, 33), (2, 2), 0),
    ],
)
def test_derivatives_in_bfloat16_are_those_of_float32(
    samples: int, channels: int, filters: int, size: tuple[int, ...], kernel: tuple[int, ...], padding: Any
) -> None:
    torch.manual_seed(0)
    lasting = torch.channels_last_3d if len(size) == 3 else torch.channels_last

    def rounded(*shape: int) -> Any:
        return torch.randn(*shape).bfloat16().float()

    x, weights, bias = rounded(samples, channels, *size), rounded(filters, channels, *kernel), rounded(filters)
    x = x.to(memory_format=lasting)
    pads = [padding] * len(size) if isinstance(padding, int) else list(padding)
    out = [side + 2 * pad - k + 1 for side, pad, k in zip(size, pads, kernel, strict=True)]
    by_y = rounded(samples, filters, *out).to(memory_format=lasting)
    expected = derivatives(x, weights, bias, by_y, low=False, padding=padding)
    for _ in range(6):  # past the first uses, which are compared
        for found, exact in zip(derivatives(x, weights, bias, by_y, low=True, padding=padding), expected, strict=True):
            assert float((found - exact).norm() / exact.norm()) < 0.02


def test_a_shape_whose_derivative_is_wrong_goes_to_float32(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, wrong_from = torch_convolution._backward, [0]

    def backward(by_y: Any, x: Any, kernel: Any, pads: list[int], wanted: Any) -> Any:
        by_x, by_kernel, nothing = real(by_y, x, kernel, pads, wanted)
        if x.dtype == torch.bfloat16 and by_kernel is not None:
            wrong_from[0] -= 1
            by_kernel = by_kernel * (1.0 if wrong_from[0] >= 0 else 1.2)
        return by_x, by_kernel, nothing

    monkeypatch.setattr(torch_convolution, "_backward", backward)
    monkeypatch.setattr(torch_convolution, "EVERY", 5)
    torch.manual_seed(1)
    for right, channels in ((0, 3), (7, 5)):  # at once, and only later on
        wrong_from[0] = right
        x, kernel = torch.randn(2, channels, 6, 6, 6), torch.randn(4, channels, 3, 3, 3)
        by_y, bias = torch.randn(2, 4, 6, 6, 6), torch.zeros(4)
        expected = derivatives(x, kernel, bias, by_y, low=False, padding=1)[1]
        apart = []
        for _ in range(15):
            found = derivatives(x, kernel, bias, by_y, low=True, padding=1)[1]
            apart.append(float((found - expected).norm() / expected.norm()))
        assert max(apart[:right] + apart[10:]) < 0.02
        assert (2, channels, 6, 6, 6, *kernel.shape) in torch_convolution._wrong
