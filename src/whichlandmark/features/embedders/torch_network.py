"""The embedding network: timm backbone → GeM pooling → linear → BatchNorm → unit rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from ...core.errors import ModelError
from ...core.json_options import unknown_message


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Settings from which the network is rebuilt before its weights are loaded."""

    backbone: str = "resnet101"  # any name that timm.list_models() knows
    options: dict[str, Any] = field(default_factory=dict)  # passed to timm.create_model
    dim: int | None = 512  # None = pooled features, without linear layer and BatchNorm
    gem_p: float = 3.0  # start of the exponent, which is trained; 1 = average pooling, fixed


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
        self.architecture = architecture
        self.dim = architecture.dim or width
        self.backbone = backbone
        self.pool = GeM(architecture.gem_p)
        self.head: nn.Module = nn.Identity()
        if architecture.dim is not None:
            self.head = nn.Sequential(
                nn.Linear(width, architecture.dim, bias=False),  # BatchNorm has the bias
                nn.BatchNorm1d(architecture.dim),
            )

    def forward(self, pixels: Tensor) -> Tensor:
        return self.embed_pooled(self.pool_features(pixels))

    def pool_features(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, C), without the head.

        With the backbone's BatchNorms in eval mode, photos do not influence each other.
        """
        pooled: Tensor = self.pool(self.feature_map(pixels))
        return pooled

    def embed_pooled(self, pooled: Tensor) -> Tensor:
        """(N, C) → (N, dim) unit rows; in training the head's BatchNorm uses the whole batch."""
        return functional.normalize(self.head(pooled).float(), dim=1)

    def feature_map(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, C, *positions), for every layout that timm backbones return."""
        features: Tensor = self.backbone.forward_features(pixels)  # type: ignore[operator]
        if features.ndim == 3:  # transformer tokens (N, L, C), class tokens first
            prefix = int(getattr(self.backbone, "num_prefix_tokens", 0))
            return features[:, prefix:].transpose(1, 2)
        channels = self.backbone.num_features
        if features.shape[1] != channels and features.shape[-1] == channels:  # N, H, W, C
            return features.movedim(-1, 1)
        return features


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
        return EmbeddingNet(architecture, _create(architecture, pretrained=False))


def pretrained_network(
    architecture: Architecture, *, checkpoint: Path | None = None, seed: int = 0
) -> EmbeddingNet:
    """A network whose backbone has pretrained weights; its head, if any, is random.

    checkpoint: a local file in timm's format (.safetensors, .pth, .bin); None = download the
      weights of the backbone from the model hub.
    Raises ModelError for an unknown backbone, a checkpoint that is missing or does not fit, and
    when the hub cannot be reached.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = _create(architecture, pretrained=checkpoint is None)
        if checkpoint is not None:
            _load_backbone(backbone, checkpoint, architecture.backbone)
        return EmbeddingNet(architecture, backbone)


def _create(architecture: Architecture, *, pretrained: bool) -> nn.Module:
    name = architecture.backbone
    if not timm.is_model(name):
        raise ModelError(unknown_message(name, timm.list_models(), "timm backbone"))
    try:
        model: nn.Module = timm.create_model(
            name, pretrained=pretrained, num_classes=0, **architecture.options
        )
    except OSError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"weights of {name!r} could not be fetched from the model hub ({reason}); "
            "connect, or give a local file with --checkpoint"
        ) from None
    except (TypeError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"backbone {name!r} with options {architecture.options} cannot be built: {error}"
        ) from None
    return model


def _load_backbone(backbone: nn.Module, checkpoint: Path, name: str) -> None:
    from timm.models import load_state_dict

    try:
        weights = load_state_dict(str(checkpoint), weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"{checkpoint}: no such checkpoint file") from None
    except Exception as error:  # safetensors and torch raise many kinds of error on a damaged file
        raise ModelError(f"{checkpoint}: not readable as weights ({error})") from None
    fitting = {key: value for key, value in weights.items() if _fits(backbone, key, value)}
    missing = backbone.load_state_dict(fitting, strict=False).missing_keys
    unused = [key for key in weights if key not in fitting and not _is_classifier(backbone, key)]
    if missing or unused:
        raise ModelError(
            f"{checkpoint}: these are not the weights of {name!r}: {len(missing)} layers "
            f"missing, {len(unused)} that do not fit (first: {', '.join((missing + unused)[:3])}); "
            "name the backbone, and the options, that the file was made for"
        )


def _is_classifier(backbone: nn.Module, key: str) -> bool:
    """Whether a weight belongs to the classifier, which the network does not use."""
    classifier: Any = backbone.default_cfg.get("classifier", "classifier")  # type: ignore[operator,union-attr]
    layers = [classifier] if isinstance(classifier, str) else list(classifier or [])
    return key.startswith(tuple(f"{layer}." for layer in layers))


def _fits(backbone: nn.Module, key: str, value: Tensor) -> bool:
    own = backbone.state_dict().get(key)
    return own is not None and own.shape == value.shape
