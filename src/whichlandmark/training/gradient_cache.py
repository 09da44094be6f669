"""Exact gradients of a batch that is larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def cached_backward(
    net: nn.Module,
    chunks: Sequence[Tensor],
    loss: Callable[[Tensor], Tensor],
    *,
    no_sync: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[Tensor, Tensor]:
    """Add the gradients of loss(net(all chunks)) to the parameters, one chunk in memory at a time.

    Gao, Zhang, Han, Callan, "Scaling deep contrastive learning batch size under memory
    limited setup", RepL4NLP 2021: forward without a graph gives all embeddings; the loss over
    them gives the gradient at each; forward again, chunk by chunk with a graph, carries these
    into the network. It costs one forward more than the large batch.

    chunks: pixels, in order, of any sizes; loss: all embeddings (B, D) → scalar; its own
      parameters (ArcFace) get their gradients too.
    no_sync: entered around every chunk but the last, for wrappers that exchange gradients
      between processes at each backward.
    Returns the loss and the embeddings (B, D), both detached.

    Exact where a row's embedding depends on nothing but its photo: with GroupNorm or
    LayerNorm, and with BatchNorms in eval mode (`optimizer.train_mode(net,
    frozen_statistics=True)`). In train mode a BatchNorm takes its statistics from a chunk
    instead of from the large batch: a correct gradient, but of that. What must see the whole
    batch, such as a head with its BatchNorm, can be part of `loss`, with `net` the rest.
    Randomness (dropout) is drawn in the first pass and repeated in the second; running
    statistics move in the first pass only.
    """
    states, parts = [], []
    with torch.no_grad():
        for chunk in chunks:
            states.append(_random_state(chunk.device))
            parts.append(net(chunk))
    embeddings = torch.cat(parts).detach().requires_grad_()
    value = loss(embeddings)
    value.backward()  # type: ignore[no-untyped-call]
    gradient = embeddings.grad
    if gradient is not None:  # None: the loss looked at no embedding
        pieces = torch.split(gradient, [len(part) for part in parts])
        with _statistics_kept(net):
            for number, (chunk, state, piece) in enumerate(
                zip(chunks, states, pieces, strict=True)
            ):
                with no_sync() if number + 1 < len(chunks) else nullcontext():
                    _backward(net, chunk, state, piece)
    return value.detach(), embeddings.detach()


def _backward(net: nn.Module, chunk: Tensor, state: list[Tensor], gradient: Tensor) -> None:
    devices = [chunk.device] if chunk.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.set_rng_state(state[0])
        if devices:
            torch.cuda.set_rng_state(state[1], chunk.device)
        again = net(chunk)
    if again.requires_grad:  # False: all of the network is frozen
        again.backward(gradient)


def _random_state(device: torch.device) -> list[Tensor]:
    """The CPU's generator, and the GPU's where the chunk lies on one."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


@contextmanager
def _statistics_kept(net: nn.Module) -> Iterator[None]:
    """Inside, BatchNorms in train mode use a chunk's statistics without remembering them."""
    moving = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for module in moving:
        module.track_running_stats = not module.training
    try:
        yield
    finally:
        for module in moving:
            module.track_running_stats = True
