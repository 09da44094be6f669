"""Distributed training: gather embeddings with gradients; BatchNorm over all processes.

Together they give a batch that is split over processes the same loss and gradients as in one
process. All functions do nothing when there is only one process.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


def world_size() -> int:
    """Number of training processes."""
    started = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if started else 1


def gather_rows(rows: Tensor) -> Tensor:
    """(b, D) rows of each of W processes → (W·b, D) rows of all, in the order of the processes.

    In backward, the gradient of this process's rows is multiplied by W, because
    DistributedDataParallel averages gradients over W processes. The result is the gradient of the
    whole batch.
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


class _AllReduceSum(torch.autograd.Function):
    """Sum over processes; the gradient of each process is the sum over processes, too."""

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

    torch's SyncBatchNorm does the same, but only on GPUs. Ioffe & Szegedy, "Batch normalization",
    ICML 2015. The variance is computed around the mean in a second pass, to avoid cancellation in
    float32. `drop` and `act` are those of timm's fused layers.
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
        mean = _all_reduce_sum(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = _all_reduce_sum(centred.square().sum(axes)) / count
        if self.track_running_stats:
            self._update_running_statistics(
                mean.detach(), variance.detach() * count / max(1, count - 1)
            )
        scaled = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)
        return self.act(self.drop(scaled.to(input.dtype)))  # type: ignore[no-any-return]

    def _update_running_statistics(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def share_batch_norms(net: nn.Module) -> nn.Module:
    """Replace every BatchNorm in `net` by a SharedBatchNorm; the state_dict keys stay the same."""
    if world_size() == 1:
        return net
    for name, child in net.named_children():
        if isinstance(child, _BatchNorm):
            setattr(net, name, SharedBatchNorm(child))
        else:
            share_batch_norms(child)
    return net


def _all_reduce_sum(values: Tensor) -> Tensor:
    total: Tensor = _AllReduceSum.apply(values)
    return total


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum over processes, in place, without gradients: merges partly filled arrays."""
    if world_size() > 1:
        distributed.all_reduce(values)
    return values


def average_gradients(net: nn.Module) -> None:
    """Average every parameter's gradient over processes, as DistributedDataParallel does."""
    if world_size() == 1:
        return
    for parameter in net.parameters():
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= world_size()
