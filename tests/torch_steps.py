"""What steps in torch do on processors; `test_training_torch` runs this in a process whose Keras runs on torch."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

from icemapper_xr import progress
from icemapper_xr.conventions import POOLINGS, Pooling
from icemapper_xr.training import fit, torch_convolution, torch_graphs, torch_stacked, torch_step
from icemapper_xr.training.config import TrainingConfig


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
    monkeypatch: pytest.MonkeyPatch,
    samples: int,
    channels: int,
    filters: int,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    padding: Any,
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
    monkeypatch.setattr(torch_convolution, "EVERY", 1)
    missed = 0  # an estimate that was low by chance: the next one is not
    for _ in range(12):
        for found, exact in zip(derivatives(x, weights, bias, by_y, low=True, padding=padding), expected, strict=True):
            apart = float((found - exact).norm() / exact.norm())
            missed += apart >= 0.02
            assert apart < 0.5
    assert missed <= 2


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


@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 1, 1), (3, 1, 1), (2, 2)])
def test_the_error_of_a_derivative_is_estimated(kernel: tuple[int, ...]) -> None:
    torch.manual_seed(4)
    pads = [side // 2 if side == 3 else 0 for side in kernel]
    x = torch.randn(3, 32, *(9,) * len(kernel)).bfloat16()
    by_y = torch.randn(3, 16, *(9 + 2 * pad - side + 1 for pad, side in zip(pads, kernel, strict=True))).bfloat16()
    exact = torch_convolution._backward(by_y.float(), x.float(), torch.zeros(16, 32, *kernel), pads, (False, True))[1]
    noise = torch.randn(exact.shape) * exact.norm() / exact.numel() ** 0.5
    for error in (0.0, 0.1, 5.0):
        estimates = [torch_convolution._apart(exact + error * noise, by_y, x, pads, k) for k in range(20)]
        middle = sorted(estimates)[10]
        assert middle < 0.01 if error == 0 else 0.5 < middle / (error / (1 + error**2) ** 0.5) < 2


# -- time steps as channels, as on accelerators ----------------------------------------------------------------------
def stepper(pooling: Pooling, features: list[str], *, frozen: bool) -> torch_step.TorchStep:
    settings = {"features": features, "pooling": pooling, "filters": 4, "levels": 2, "window": 16, "steps": 1}
    step = torch_step.TorchStep(fit._model(TrainingConfig.model_validate(settings)))
    for norm in step.norms:  # as after a training, so that forgetting one is seen
        for values in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance):
            values.assign(torch.rand(values.shape) + 0.5)
    if frozen:
        step.freeze()
    return step


def flow(step: torch_step.TorchStep, apply: Any, x: Any) -> tuple[Any, list[Any], list[Any]]:
    """Logits, derivatives by all that is trained, and the statistics of the normalisations."""
    with torch.enable_grad():
        logits, statistics = apply(x)
        by_logits = torch.linspace(-1, 1, logits.numel()).reshape(logits.shape)
        trained = [variable.value for variable in step.model.trainable_variables]
        gradients = torch.autograd.grad(logits, trained, by_logits)
    return logits.detach(), list(gradients), [value for pair in statistics for value in pair]


def apart(found: Any, expected: Any, scale: float) -> float:
    return float((found - expected).norm()) / scale


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("features", [["rtc"], ["rtc", "insar"]])
def test_steps_as_channels_are_the_same_network(pooling: Pooling, features: list[str], frozen: bool) -> None:
    torch.manual_seed(2)
    step = stepper(pooling, features, frozen=frozen)
    x = torch.rand(2, 15, 16, 24, len(features))
    logits, gradients, statistics = flow(step, step.forward, x)
    network = torch_stacked.network_of(step.units)
    found, by, seen = flow(step, lambda x: torch_stacked.forward(network, x, frozen=frozen), x)
    assert apart(found, logits, float(logits.norm())) < 1e-5
    assert len(seen) == len(statistics) == (0 if frozen else 2 * len(step.norms))
    for one, other in zip(seen, statistics, strict=True):
        assert apart(one, other, float(other.norm())) < 1e-4
    scale = max(float(gradient.norm()) for gradient in gradients)
    for one, other in zip(by, gradients, strict=True):
        assert one.shape == other.shape
        assert apart(one, other, scale) < 1e-4


@pytest.mark.parametrize(("steps", "length"), [(1, 3), (2, 3), (5, 3), (5, 1)])
def test_a_kernel_between_steps_is_that_over_time(steps: int, length: int) -> None:
    torch.manual_seed(3)
    x, kernel = torch.randn(2, 3, steps, 6, 7), torch.randn(4, 3, length, 3, 3)
    expected = torch.nn.functional.conv3d(x, kernel, padding=(length // 2, 1, 1))
    planes = torch.nn.functional.pad(x.transpose(1, 2).flatten(1, 2), (0, 0, 0, 0, 0, 5))
    wide = torch_stacked.spread(kernel, steps, planes.shape[1])
    found = torch.nn.functional.conv2d(planes, wide, padding=1).unflatten(1, (steps, 4)).transpose(1, 2)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")  # of the compiler's own
@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize(("pooling", "frozen"), [("tweightedpool", True), ("maxpool", False)])
def test_torch_can_compile_the_stacked_network(
    monkeypatch: pytest.MonkeyPatch, pooling: Pooling, frozen: bool, low: bool
) -> None:
    """In one piece: all but the last compiler, which takes minutes on a processor."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **options: compiler(f, backend="aot_eager", **options))
    step = stepper(pooling, ["rtc"], frozen=frozen)
    compiled = torch_graphs.Compiled(functools.partial(torch_stacked.forward, frozen=frozen))
    x = torch.rand(2, 15, 16, 16, 1)

    def applied(function: Any) -> Any:
        def apply(x: Any) -> Any:
            with torch.autocast("cpu", torch.bfloat16, enabled=low, cache_enabled=False):
                logits, statistics = function(torch_stacked.network_of(step.units), x)
            return logits.float(), statistics

        return apply

    expected, gradients, _ = flow(step, applied(compiled.function), x)
    found, by, _ = flow(step, applied(compiled), x)
    assert compiled.compiled is not compiled.function
    assert compiled.compiling > 0
    within = 0.02 if low else 1e-4
    assert apart(found, expected, float(expected.norm())) < within
    scale = max(float(gradient.norm()) for gradient in gradients)
    assert max(apart(*pair, scale) for pair in zip(by, gradients, strict=True)) < within
    before = compiled.compiling
    flow(step, applied(compiled), x)
    assert compiled.compiling == before


def test_what_cannot_be_compiled_is_called_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_compiler(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no C++\ncompiler")

    monkeypatch.setattr(torch, "compile", lambda f, **_: no_compiler)
    monkeypatch.setattr(progress, "_enabled", True)
    compiled = torch_graphs.Compiled(lambda x: x + 1)
    assert [float(compiled(torch.tensor(k))) for k in (1, 2)] == [2, 3]
    notes = capsys.readouterr().err
    assert notes.count("the network is not compiled, and steps are slower: no C++ compiler") == 1

    def no_memory(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch, "compile", lambda f, **_: no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        torch_graphs.Compiled(lambda x: x + 1)(torch.tensor(1))
    assert not capsys.readouterr().err
