"""The embedding network: timm backbone → pooling → linear → BatchNorm → unit rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...core.json_options import LATER
from . import lite0
from .place_evidence import STRUCTURES
from .torch_weights import create_backbone, open_backbone


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Settings from which the network is rebuilt before its weights are loaded."""

    backbone: str = "resnet101"  # any name that timm.list_models() knows
    options: dict[str, Any] = field(default_factory=dict)  # passed to timm.create_model
    dim: int | None = 512  # None = pooled features, without linear layer and BatchNorm
    gem_p: float = 3.0  # start of the exponent, which is trained; 1 = average pooling, fixed
    # "gem": GeM of all positions; "cls": the class token; "model": the backbone's own head up to
    # its classifier (class token, attention pooling, last norm, layer behind the pooling).
    pool: Literal["gem", "cls", "model"] = field(default="gem", metadata=LATER)
    # Square roots of the pooled features (Arandjelović & Zisserman, CVPR 2012), as `lite0` has
    # them; for features that are never negative.
    square_roots: bool = field(default=False, metadata=LATER)


class GeM(nn.Module):
    """Generalised mean over all positions: f = (mean_x max(x, smallest)^p)^(1/p).

    Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation", TPAMI
    2019. (N, C, *positions) → (N, C). p = 1 is the plain mean, without clamping, and stays 1 in
    training. Any other p is trained along with the weights; features are then clamped at
    `smallest`, as in the paper, because a real power of a negative number is not defined. The
    clamp discards the negative features of backbones that do not end in a ReLU (ViT, ConvNeXt,
    EfficientNet). p = 1 is not trained because the first step away from 1 would switch the clamp
    on and change the pooled vector abruptly.
    """

    def __init__(self, p: float = 3.0, smallest: float = 1e-6) -> None:
        super().__init__()
        self.averages = p == 1
        self.p = nn.Parameter(torch.tensor(float(p)), requires_grad=not self.averages)
        self.smallest = smallest

    def forward(self, features: Tensor) -> Tensor:
        # float32, because x^p overflows half precision.
        flat = features.float().flatten(2)
        if self.averages:
            return flat.mean(dim=2)
        return flat.clamp(min=self.smallest).pow(self.p).mean(dim=2).pow(1 / self.p)


class EmbeddingNet(nn.Module):
    """(N, 3, H, W) normalised pixels → (N, dim) unit rows."""

    def __init__(self, architecture: Architecture, backbone: nn.Module) -> None:
        super().__init__()
        width = int(backbone.num_features)  # type: ignore[arg-type]
        if architecture.pool == "model":  # a layer behind the pooling may have another width
            width = int(getattr(backbone, "head_hidden_size", width))
        self.architecture = architecture
        self.dim = architecture.dim or width
        self.backbone = backbone
        self.pool = GeM(architecture.gem_p)
        self.structure_pooling: StructurePooling | None = None  # in the place of `pool`
        self.head: nn.Module = SquareRoots() if architecture.square_roots else nn.Identity()
        if architecture.dim is not None:
            self.head = nn.Sequential(
                *([self.head] if architecture.square_roots else []),
                nn.Linear(width, architecture.dim, bias=False),  # BatchNorm has the bias
                nn.BatchNorm1d(architecture.dim),
            )

    def forward(self, pixels: Tensor) -> Tensor:
        return self.embed_pooled(self.pool_features(pixels))

    def pool_features(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, C), without the head.

        With the backbone's BatchNorms in eval mode, photos do not influence each other.
        """
        pooled: Tensor
        if self.architecture.pool == "gem":
            pooled = (self.structure_pooling or self.pool)(self.feature_map(pixels))
            return pooled
        features = self.backbone.forward_features(pixels)  # type: ignore[operator]
        if self.architecture.pool == "cls":
            pooled = features[:, 0]
        else:
            pooled = self.backbone.forward_head(features, pre_logits=True)  # type: ignore[operator]
        return pooled.flatten(1).float()

    def embed_pooled(self, pooled: Tensor) -> Tensor:
        """(N, C) → (N, dim) unit rows; in training the head's BatchNorm uses the whole batch."""
        return functional.normalize(self.head(pooled).float(), dim=1)

    def feature_map(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, C, *positions), for every layout that timm backbones return."""
        return self.positions(self.backbone.forward_features(pixels))  # type: ignore[operator]

    def positions(self, features: Tensor) -> Tensor:
        """What the backbone's `forward_features` returns → (N, C, *positions)."""
        if features.ndim == 3:  # transformer tokens (N, L, C), class tokens first
            prefix = int(getattr(self.backbone, "num_prefix_tokens", 0))
            return features[:, prefix:].transpose(1, 2)
        channels = self.backbone.num_features
        if features.shape[1] != channels and features.shape[-1] == channels:  # N, H, W, C
            return features.movedim(-1, 1)
        return features


class SquareRoots(nn.Module):
    """Square roots of features, which must not be negative."""

    def forward(self, features: Tensor) -> Tensor:
        return features.float().clamp(min=1e-12).sqrt()  # at 0 the gradient would be infinite


class StructurePooling(nn.Module):
    """The pooling of `lite0`, by its classifier: (N, C, H, W) → (N, C). See `lite0.py`."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight[:, :, None, None], persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.register_buffer("structures", torch.tensor(list(STRUCTURES)), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        blocks = functional.avg_pool2d(features.float(), 2, ceil_mode=True, count_include_pad=False)
        logits = functional.conv2d(blocks, self.weight, self.bias)  # type: ignore[arg-type]
        chosen = logits[:, self.structures]  # type: ignore[index]
        share = torch.exp(chosen.logsumexp(1, keepdim=True) - logits.logsumexp(1, keepdim=True))
        weight = share + lite0.LEAST_WEIGHT
        return (blocks * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3))


class Pooling(nn.Module):
    """`EmbeddingNet.pool_features` as a module, for gradient caching."""

    def __init__(self, net: EmbeddingNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> Tensor:
        return self.net.pool_features(pixels)


def new_network(architecture: Architecture, *, seed: int = 0) -> EmbeddingNet:
    """A network with random weights, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EmbeddingNet(
            architecture, create_backbone(architecture.backbone, architecture.options)
        )


def lite0_network(
    architecture: Architecture, *, seed: int = 0, pooling: str | None = None
) -> EmbeddingNet:
    """EfficientNet-Lite0 with the ImageNet weights of its package; its head, if any, is random.

    pooling: that of the embedder `lite0` where it is `lite0.POOLING`; None = the architecture's.
    Raises as `lite0.weights_file`.
    """
    net = new_network(architecture, seed=seed)
    tensors = lite0.read_tensors()
    weights = {name: torch.from_numpy(values.copy()) for name, values in tensors.items()}
    kept = {name: value for name, value in weights.items() if not name.startswith("classifier.")}
    missing = net.backbone.load_state_dict(kept, strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing), missing
    if pooling == lite0.POOLING:
        net.structure_pooling = StructurePooling(
            weights["classifier.weight"], torch.from_numpy(lite0.attention_bias(tensors))
        )
    return net


def pretrained_network(
    architecture: Architecture,
    *,
    checkpoint: Path | None = None,
    seed: int = 0,
    any_size: bool = False,
) -> EmbeddingNet:
    """A network whose backbone has pretrained weights; its head, if any, is random.

    architecture: its backbone may also be "hf-hub:OWNER/NAME" or "local-dir:PATH"; that of the
      network has timm's name and options instead, from which it is rebuilt without the hub.
    checkpoint: a local file of weights (.safetensors, .pth, .bin); None = those of the name.
    any_size: lets a transformer take photos of any size, where timm can do that.
    Raises ModelError for an unknown backbone, a checkpoint that is missing or does not fit, and
    when the hub cannot be reached.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        opened = open_backbone(
            architecture.backbone, architecture.options, checkpoint, any_size=any_size
        )
        own = replace(architecture, backbone=opened.name, options=opened.options)
        return EmbeddingNet(own, opened.module)
