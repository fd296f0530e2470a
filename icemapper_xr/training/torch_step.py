"""One step of the optimiser in plain torch: the same arithmetic as the Keras network's, in fewer passes over memory.

Used where Keras runs on torch. Keras assembles batch normalisation from elementary operations and lays arrays out anew
around each convolution; here they stay channels-last and normalise in one fused operation (on accelerators
`torch_stacked` has the network). The variables are those of the Keras network and its optimiser, so checkpoints and
weight files do not know the difference.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat

from icemapper_xr._types import FloatArray
from icemapper_xr.models import icemapper, layers
from icemapper_xr.training.config import StepPrecision
from icemapper_xr.training.losses import SegmentationLoss
from icemapper_xr.training.torch_kernels import bias_of, kernel_of

if TYPE_CHECKING:
    import keras

    from icemapper_xr.training import torch_graphs

__all__ = ["TorchStep"]

Tensor = Any
"""A torch tensor; torch is no dependency of ours."""
Forward = Callable[[Tensor], tuple[Tensor, list[tuple[Tensor, Tensor]]]]
"""Called with `(n, time, y, x, channel)`, returns what `TorchStep.forward` does."""


class TorchStep:
    """Trains a compiled Keras network, and estimates the statistics of its batch normalisations.

    Parameters
    ----------
    model
        A network of `icemapper.build`, compiled with `SegmentationLoss`, on Keras's torch backend.
    precision
        What the steps convolve in; statistics are estimated in float32.
    """

    def __init__(self, model: keras.Model, *, precision: StepPrecision = "float32") -> None:
        self.model = model
        self.precision = precision
        self.units = icemapper.units(model)
        self.frozen = False
        self._compiled: list[torch_graphs.Compiled] = []
        self.norms = [norm for block in self.units.encoder for norm in block.norms]
        for up, block in zip(self.units.up, self.units.decoder, strict=True):
            self.norms += [up.norm, *block.norms]
        self.device = self.units.head.kernel.value.device
        self._bring, self._apply, self._step = self._ways()

    @property
    def compiling(self) -> float:
        """Seconds spent so far in compiling for a device."""
        return sum(one.compiling for one in self._compiled)

    def train(self, x: FloatArray, y: FloatArray) -> SupportsFloat:
        """Take one step; returns the loss before it, which on a GPU is there once the step is done."""
        loss: SupportsFloat = self._step(self._put(x), self._put(y))
        return loss

    def _ways(self) -> tuple[Callable[[Tensor], Tensor], Forward, Callable[[Tensor, Tensor], Tensor]]:
        """Return how arrays are brought to the device, how the network is applied and how a step is taken there."""
        if self.device.type != "cuda":
            return lambda array: array.to(self.device), self.forward, self._take
        from icemapper_xr.training import torch_graphs, torch_stacked

        compiled = torch_graphs.Compiled(functools.partial(torch_stacked.forward, frozen=self.frozen))
        self._compiled.append(compiled)
        return (
            torch_graphs.Copies(self.device),
            # Gathered anew: a view's derivative is taken where the view was made, which a record has to hold.
            lambda x: compiled(torch_stacked.network_of(self.units), x),
            torch_graphs.Recorded(self._take),
        )

    def _take(self, x: Tensor, y: Tensor) -> Tensor:
        """Take one step, without waiting for anything."""
        import torch

        lower = torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16", cache_enabled=False
        )
        with torch.enable_grad():
            with lower:
                logits, statistics = self._apply(x)
            logits = logits.float()
            loss = _loss(self.model.loss, logits, y)
            variables = self.model.trainable_variables
            gradients = torch.autograd.grad(loss, [variable.value for variable in variables])
        with torch.no_grad():
            _adam(self.model.optimizer, variables, gradients)
            for norm, (mean, variance) in zip(self.norms, statistics, strict=not self.frozen):
                for moving, value in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
                    moving.value.copy_(moving.value * norm.momentum + value * (1 - norm.momentum))
        return loss.detach()

    def estimate(self, batches: Callable[[int], FloatArray], number: int) -> None:
        """Set the statistics of the batch normalisations to their mean over `number` batches."""
        import torch

        if not number:
            return
        with torch.no_grad():
            runs = [self.forward(self._put(batches(k)))[1] for k in range(number)]
            for norm, found in zip(self.norms, zip(*runs, strict=True), strict=True):
                means, variances = zip(*found, strict=True)
                norm.moving_mean.assign(sum(means) / number)
                norm.moving_variance.assign(sum(variances) / number)

    def freeze(self) -> None:
        """Normalise by the moving statistics from now on, and leave the normalisations as they are."""
        self.frozen = True
        for norm in self.norms:
            norm.trainable = False
        self._bring, self._apply, self._step = self._ways()  # what was recorded normalises otherwise

    def _put(self, array: FloatArray) -> Tensor:
        """Bring an array to where the network is."""
        import torch

        return self._bring(torch.from_numpy(array))

    def forward(self, x: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Return the logits `(n, y, x, 2)`, and mean and variance of what each norm saw; none where it is frozen."""
        import torch

        if self.device.type != "cpu":
            from icemapper_xr.training import torch_stacked

            return torch_stacked.forward(torch_stacked.network_of(self.units), x, frozen=self.frozen)
        found: list[tuple[Tensor, Tensor]] = []
        convolved = _folded if self.frozen else functools.partial(_normalised, found=found)
        skips = []
        x = x.permute(0, 4, 1, 2, 3)  # (n, channel, time, y, x), in memory still channels-last
        for level, block in enumerate(self.units.encoder):
            x = _block(x, block, convolved)
            skip, *down = self.units.pooling[2 * level : 2 * level + 2]
            merged, halved = _merge_and_halve(x, skip, halve=bool(down))
            skips.append(merged)
            if down:
                x = _merge_pairs(halved, down[0])
        y = skips.pop()
        for up, block in zip(self.units.up, self.units.decoder, strict=True):
            y = torch.cat([_up(y, up, convolved), skips.pop()], 1)
            y = _block(y, block, convolved)
        head = self.units.head
        return y.permute(0, 2, 3, 1) @ head.kernel.value + head.bias.value, found


def _loss(loss: SegmentationLoss, logits: Tensor, y_true: Tensor) -> Tensor:
    """The terms of `SegmentationLoss`, from logits."""
    log_p = logits.log_softmax(-1)
    p = log_p.exp()
    known = y_true.sum(-1, keepdim=True)
    target = y_true * (1 - loss.smoothing) + known * loss.smoothing / y_true.shape[-1]
    focal = -(target * (1 - p) ** loss.gamma * log_p).sum() / known.sum().clamp(min=1)
    if loss.dice == 0:
        return focal
    glacier, answer = y_true[..., 1], (p * known)[..., 1]
    overlap = (2 * (glacier * answer).sum() + 1) / (glacier.sum() + answer.sum() + 1)
    return (1 - loss.dice) * focal + loss.dice * (1 - overlap)


def _adam(optimizer: Any, variables: Sequence[Any], gradients: Sequence[Tensor]) -> None:
    """One step of Keras's Adam on its own variables, clipped by the norm of all gradients.

    Keras brings its constants to the device one by one, which can be neither recorded nor done without waiting.
    """
    import torch

    # As the variables lie in memory: for lists of tensors alike in that, CUDA has one operation for all of them.
    gradients = [
        gradient if gradient.stride() == variable.value.stride() else torch.empty_like(variable.value).copy_(gradient)
        for gradient, variable in zip(gradients, variables, strict=True)
    ]
    if optimizer.global_clipnorm is not None:
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        gradients = torch._foreach_mul(gradients, optimizer.global_clipnorm / norm.clamp(min=optimizer.global_clipnorm))
    own = [optimizer._get_variable_index(variable) for variable in variables]
    momentums, velocities = ([kept[k].value for k in own] for kept in (optimizer._momentums, optimizer._velocities))
    count = optimizer.iterations.value.add_(1).float()
    beta_1, beta_2 = optimizer.beta_1, optimizer.beta_2
    shares = [-torch.expm1(count * math.log(beta)) for beta in (beta_1, beta_2)]  # 1 - beta ** count
    rate = optimizer._learning_rate.value * shares[1].sqrt() / shares[0]
    torch._foreach_lerp_(momentums, gradients, 1 - beta_1)
    torch._foreach_mul_(velocities, beta_2)
    torch._foreach_addcmul_(velocities, gradients, gradients, 1 - beta_2)
    below = torch._foreach_add(torch._foreach_sqrt(velocities), optimizer.epsilon)
    moves = torch._foreach_mul(torch._foreach_div(momentums, below), rate)
    torch._foreach_sub_([variable.value for variable in variables], moves)


Convolved = Callable[..., Tensor]
"""Convolves, and normalises what comes out: called with an array, a convolution and its norm, and torch's options."""


def _normalised(
    x: Tensor, convolution: Any, norm: Any, *, found: list[tuple[Tensor, Tensor]], **options: Any
) -> Tensor:
    """Convolve and normalise by the batch's own statistics, and note them."""
    import torch

    y = _convolve(x, kernel_of(convolution.kernel), bias_of(convolution), **options)
    y, mean, inverse = torch.native_batch_norm(
        y, norm.gamma.value, norm.beta.value, None, None, True, 0.0, norm.epsilon
    )
    mean, inverse = mean.detach(), inverse.detach()
    found.append((mean, inverse**-2 - norm.epsilon))
    return y


def _folded(x: Tensor, convolution: Any, norm: Any, **options: Any) -> Tensor:
    """Convolve with a kernel that holds the normalisation by the moving statistics: no pass over memory for it."""
    factor = norm.gamma.value * (norm.moving_variance.value + norm.epsilon).rsqrt()
    kernel = kernel_of(convolution.kernel)
    bias = bias_of(convolution)
    bias = norm.beta.value - factor * (norm.moving_mean.value if bias is None else norm.moving_mean.value - bias)
    return _convolve(x, kernel * factor.view(-1, *(1,) * (kernel.ndim - 1)), bias, **options)


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor | None = None, **options: Any) -> Tensor:
    """Convolve in as many dimensions as the kernel has."""
    import torch
    from torch.nn import functional

    if x.device.type == "cpu" and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"):
        from icemapper_xr.training import torch_convolution

        return torch_convolution.convolve(x, kernel, bias, **options)
    return (functional.conv3d if kernel.ndim == 5 else functional.conv2d)(x, kernel, bias, **options)


def _block(x: Tensor, block: Any, convolved: Convolved) -> Tensor:
    """Residual block."""
    from torch.nn import functional

    y = x
    for convolution, norm in zip(block.convolutions, block.norms, strict=True):
        y = functional.leaky_relu(convolved(y, convolution, norm, padding=1), layers.LEAKY_SLOPE, inplace=True)
    projection = block.projection.kernel.value.t()
    return y + _convolve(x, projection[(..., *(None,) * block.rank)])


def _weights(means: Tensor, pooling: Any) -> Tensor:
    """Factors of a temporal weighted pooling from the means of each step, both `(n, channel, time, 1, 1)`."""
    import torch
    from torch.nn import functional

    for convolution, activate in ((pooling.squeeze, functional.silu), (pooling.excite, torch.sigmoid)):
        means = _convolve(means, kernel_of(convolution.kernel), bias_of(convolution), padding=(1, 0, 0))
        means = activate(means)
    return means


def _weighted(x: Tensor, pooling: Any) -> Tensor:
    """Weigh every step of a temporal weighted pooling."""
    return x * _weights(x.mean((3, 4), keepdim=True), pooling)


def _merge_and_halve(x: Tensor, pooling: Any, *, halve: bool) -> tuple[Tensor, Tensor | None]:
    """Pool all time steps, `(n, channel, y, x)`; and where wanted, of every step 2 x 2 pixels by their maximum."""
    import torch
    from torch.nn import functional

    if isinstance(pooling, layers.TemporalWeightedPooling):
        from icemapper_xr.training import torch_pooling

        trained = [variable.value for variable in pooling.trainable_variables]
        with torch.autocast(x.device.type, enabled=False):
            return torch_pooling.merge_and_halve(x, lambda means: _weights(means, pooling), trained, halve=halve)
    # In two dimensions torch pools channels-last arrays as they lie.
    planes = functional.max_pool2d(x.transpose(1, 2).flatten(0, 1), 2) if halve else None
    return x.amax(2), None if planes is None else planes.unflatten(0, (x.shape[0], -1)).transpose(1, 2)


def _merge_pairs(x: Tensor, pooling: Any) -> Tensor:
    """Pool pairs of time steps whose pixels are merged already."""
    import torch

    weighted = isinstance(pooling, layers.TemporalWeightedPooling)
    if weighted:
        x = _weighted(x, pooling)
    if x.shape[2] % 2:
        x = torch.cat([x, x[:, :, -1:]], 2)
    first, second = x[:, :, 0::2], x[:, :, 1::2]
    return 0.5 * (first + second) if weighted else torch.maximum(first, second)


def _up(x: Tensor, up: Any, convolved: Convolved) -> Tensor:
    """Double the extent, convolve 2 x 2 (Keras's 'same' pads below and to the right), normalise."""
    from torch.nn import functional

    x = functional.pad(functional.interpolate(x, scale_factor=2, mode="nearest"), (0, 1, 0, 1))
    return convolved(x, up.convolution, up.norm)
