"""Gradient caching: exact gradients of a batch that does not fit into memory."""

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

    Gao, Zhang, Han, Callan, "Scaling deep contrastive learning batch size under memory limited
    setup", RepL4NLP 2021. A first forward pass without graph gives all embeddings; the loss gives
    the gradient at each embedding; a second forward pass, chunk by chunk with graph, propagates
    these gradients into the network. This costs one additional forward pass.

    The result is exact if the embedding of a photo does not depend on the other photos: with
    GroupNorm or LayerNorm, and with BatchNorms in eval mode (`optimizer.train_mode(net,
    frozen_statistics=True)`). In train mode, BatchNorms use the statistics of a chunk instead of
    those of the batch. Layers that need the whole batch, such as a head with BatchNorm, can be part
    of `loss`. Dropout uses the same random numbers in both passes; running statistics are updated
    in the first pass only.

    Args:
        net: The network; its parameters get gradients.
        chunks: Pixels, in order; the sizes may differ.
        loss: All embeddings (B, D) → scalar; its parameters (ArcFace) get gradients, too.
        no_sync: Entered around every chunk but the last, for wrappers that exchange gradients
            between processes at each backward.

    Returns:
        The loss and the embeddings (B, D), both detached.
    """
    states, chunk_embeddings = [], []
    with torch.no_grad():
        for chunk in chunks:
            state = [torch.get_rng_state()]
            if chunk.device.type == "cuda":
                state.append(torch.cuda.get_rng_state(chunk.device))
            states.append(state)
            chunk_embeddings.append(net(chunk))
    embeddings = torch.cat(chunk_embeddings).detach().requires_grad_()
    value = loss(embeddings)
    value.backward()  # type: ignore[no-untyped-call]
    gradient = embeddings.grad
    if gradient is not None:  # None: the loss does not depend on the embeddings
        chunk_gradients = torch.split(gradient, [len(part) for part in chunk_embeddings])
        with _running_statistics_frozen(net):
            for number, (chunk, state, chunk_gradient) in enumerate(
                zip(chunks, states, chunk_gradients, strict=True)
            ):
                with no_sync() if number + 1 < len(chunks) else nullcontext():
                    _backward(net, chunk, state, chunk_gradient)
    return value.detach(), embeddings.detach()


def _backward(net: nn.Module, chunk: Tensor, state: list[Tensor], gradient: Tensor) -> None:
    devices = [chunk.device] if chunk.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.set_rng_state(state[0])
        if devices:
            torch.cuda.set_rng_state(state[1], chunk.device)
        embeddings = net(chunk)
    if embeddings.requires_grad:  # False: the whole network is frozen
        embeddings.backward(gradient)


@contextmanager
def _running_statistics_frozen(net: nn.Module) -> Iterator[None]:
    """BatchNorms in train mode use the statistics of a chunk without updating the running ones."""
    batch_norms = [m for m in net.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for module in batch_norms:
        module.track_running_stats = not module.training
    try:
        yield
    finally:
        for module in batch_norms:
            module.track_running_stats = True
