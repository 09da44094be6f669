"""An exponential moving average of the weights, to validate and to save instead of them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..errors import OptionError

Tensors = tuple[Tensor, ...] | list[Tensor]


def new_average(net: nn.Module, decay: float) -> AveragedModel:
    """A copy of a network that follows its weights: w̄ ← d·w̄ + (1 − d)·w at every update.

    Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", 1992; here with
    exponential weights: about the last 1 / (1 − decay) updates count. d rises to `decay` as
    (1 + t) / (10 + t) at the t-th update, so that short runs are not held back by the first
    weights. Buffers (BatchNorm's statistics) are those of the network, not averaged.

    Call `.update_parameters(net)` after each step of the optimizer; `.module` is the averaged
    network; `.state_dict()` and `.load_state_dict()` keep the number of updates too.
    net: as it is, without wrappers for other processes. decay: 0 to below 1, usually 0.99 to
    0.9999. Raises OptionError outside that range.
    """
    if not 0 <= decay < 1:
        raise OptionError(f"EMA decay {decay} given; expected 0 to below 1, such as 0.999")

    def average(averaged: Tensors, current: Tensors, updates: Tensor | int) -> None:
        t = int(updates)
        step = get_ema_multi_avg_fn(min(decay, (1 + t) / (10 + t)))  # type: ignore[no-untyped-call]
        step(averaged, current, t)

    model = AveragedModel(net, multi_avg_fn=average)
    model.requires_grad_(False)
    return model
