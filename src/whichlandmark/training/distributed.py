"""Several training processes as one: rows gathered with their gradients, BatchNorm shared.

With both, a batch that is spread over processes has the loss and the gradients of the same
batch in one process. Everything here does nothing where there is one process.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


def world_size() -> int:
    """Processes that train together."""
    started = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if started else 1


def gather_rows(rows: Tensor) -> Tensor:
    """(b, D) of each process → (W·b, D) of all, in the order of the processes.

    The gradient of this process's rows comes back W times as large: DistributedDataParallel
    then averages over W processes, and what is left is the gradient of the whole batch.
    """
    return rows if world_size() == 1 else _Gather.apply(rows)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        distributed.all_gather(parts, rows.contiguous())
        ctx.count = len(rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        start = distributed.get_rank() * ctx.count
        return gradient[start : start + ctx.count] * world_size()


class _Sum(torch.autograd.Function):
    """The sum over processes; each process's gradient is the sum of all their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


class SharedBatchNorm(_BatchNorm):
    """BatchNorm over the batches of all processes, on any device.

    torch's SyncBatchNorm does the same on GPUs alone. Ioffe & Szegedy, "Batch normalization",
    ICML 2015; two passes (mean, then squares about it) keep float32 from cancelling.
    `drop` and `act` are those of timm's fused layers.
    """

    def __init__(self, replaced: _BatchNorm) -> None:
        super().__init__(replaced.num_features, replaced.eps, replaced.momentum, replaced.affine)
        self.weight, self.bias = replaced.weight, replaced.bias
        self.running_mean, self.running_var = replaced.running_mean, replaced.running_var
        self.num_batches_tracked = replaced.num_batches_tracked
        self.drop: nn.Module = getattr(replaced, "drop", nn.Identity())
        self.act: nn.Module = getattr(replaced, "act", nn.Identity())
        self.train(replaced.training)

    def _check_input_dim(self, input: Tensor) -> None:
        return

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, …) → the same shape."""
        if not self.training or world_size() == 1:
            return self.act(self.drop(super().forward(input)))  # type: ignore[no-any-return]
        axes = [axis for axis in range(input.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(input.ndim)]
        count = input.numel() // input.shape[1] * world_size()
        half = input.dtype in (torch.float16, torch.bfloat16)
        values = input.float() if half else input
        mean = _sum(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = _sum(centred.square().sum(axes)) / count
        if self.track_running_stats:
            self._remember(mean.detach(), variance.detach() * count / max(1, count - 1))
        scaled = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        return self.act(self.drop(scaled.to(input.dtype)))  # type: ignore[no-any-return]

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def share_batch_norms(net: nn.Module) -> nn.Module:
    """Replace every BatchNorm inside `net` by one that all processes share; keys stay."""
    if world_size() == 1:
        return net
    for name, child in net.named_children():
        if isinstance(child, _BatchNorm):
            setattr(net, name, SharedBatchNorm(child))
        else:
            share_batch_norms(child)
    return net


def _sum(values: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(values)
    return total


def same_everywhere(values: Tensor) -> Tensor:
    """The sum over processes, without gradients: how partly filled arrays become whole."""
    if world_size() > 1:
        distributed.all_reduce(values)
    return values


def average_gradients(net: nn.Module) -> None:
    """Every parameter's gradient becomes the mean of all processes': what DDP does by itself."""
    if world_size() == 1:
        return
    for parameter in net.parameters():
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= world_size()
