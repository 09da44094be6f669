"""Make an embedder of a pretrained backbone as its makers use it: pooling, sizes, preprocessing.

What a backbone can do is found out by running it, because timm's models do not all say so. What
was served rightly from the start (plain CNNs: average pooling, photos of any size) keeps its
preprocessing, so that its id stays.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ...core.errors import ModelError, OptionError
from ..preprocessing import Fit, Interpolation, Preprocessing, Views
from .place_evidence import PlaceEvidence, typical_length
from .record import UNSTATED
from .torch_embedder import TorchEmbedder
from .torch_network import Architecture, EmbeddingNet, GeM, pretrained_network
from .torch_weights import open_backbone

if TYPE_CHECKING:
    from .load import PretrainedOptions

log = logging.getLogger("whichlandmark")

CHECKED_PHOTO = (480, 640)  # height and width of the photo that a new embedder must embed

ANY_STEP = 32  # sides of networks without patches are multiples of this

DINOV3_SIZE = 768  # trained at 256 pixels, used at 768 by the ILIAS benchmark


@dataclass(frozen=True)
class Traits:
    """What a backbone takes and returns.

    step: sides must be multiples of it. any_size: takes every multiple. side: pixels of the square
    photos that it was trained on. trained_on_squares: its positions were learned at that size, as
    those of transformers are. signed: its features can be negative. tokens: they are tokens.
    averages: its own head is the mean over positions.
    """

    step: int
    any_size: bool
    side: int
    trained_on_squares: bool
    signed: bool
    tokens: bool
    class_token: bool
    averages: bool


def embedder_of_backbone(
    name: str, options: PretrainedOptions, *, device: str = "auto"
) -> TorchEmbedder:
    """An embedder of the pooled, normalised features of a pretrained backbone.

    name: timm's, "hf-hub:OWNER/NAME" or "local-dir:PATH". Raises ModelError for an unknown name,
    weights that do not fit, an unreachable hub, or a backbone that cannot embed a photo, and
    OptionError for options that do not suit the backbone.
    """
    architecture = Architecture(backbone=name, options=options.options, dim=None, gem_p=1.0)
    checkpoint = Path(options.checkpoint) if options.checkpoint else None
    net = pretrained_network(architecture, checkpoint=checkpoint, any_size=True)
    traits = traits_of(net)
    said = net.backbone.pretrained_cfg.get("license")  # type: ignore[operator,union-attr]
    licence = options.licence or (UNSTATED if checkpoint else said or "")
    net = EmbeddingNet(pooled_as(options, net.architecture, traits), net.backbone)
    embedder = TorchEmbedder(
        net,
        preprocessing_of(options, net, traits),
        device=device,
        views=Views(scales=options.scales, flip=options.flip),
        licence=licence,
        place_evidence=_place_evidence(replace(net.architecture, backbone=name), checkpoint),
    )
    _check(embedder, traits)
    if not traits.any_size and options.fit is None:
        log.warning(
            "%s takes photos of %d × %d pixels only: photos are squashed to squares",
            embedder.name, traits.side, traits.side,
        )  # fmt: skip
    return embedder


def traits_of(net: EmbeddingNet) -> Traits:
    """What a network's backbone takes and returns, by running it on noise.

    One that takes an oblong of 5 × 7 patches takes every multiple of its patches.
    """
    backbone = net.backbone.eval()
    config: dict[str, Any] = backbone.pretrained_cfg  # type: ignore[assignment]
    squares = bool(config.get("fixed_input_size")) or hasattr(backbone, "num_prefix_tokens")
    step = _reduction(backbone) if squares else ANY_STEP
    side = _side(net.architecture.options.get("img_size") or config["input_size"][1:])
    features, any_size = _features(backbone, 5 * step, 7 * step), True
    if features is None:
        features, any_size = _features(backbone, side, side), False
    if features is None:
        raise ModelError(
            f"backbone {net.architecture.backbone!r} does not run on photos of its own size, "
            f"{side} × {side} pixels; its --option settings may not fit each other"
        )
    positions = net.positions(features) if isinstance(features, Tensor) else None
    return Traits(
        step=step,
        any_size=any_size,
        side=side,
        trained_on_squares=squares,
        signed=positions is None or bool((positions < 0).any()),
        tokens=positions is None or positions.ndim == 3,
        class_token=positions is not None and positions.ndim == 3 and _has_class_token(backbone),
        averages=positions is not None and _averages(backbone, features, positions),
    )


def pooled_as(
    options: PretrainedOptions, architecture: Architecture, traits: Traits
) -> Architecture:
    """The architecture with the pooling that was asked for, else the one that its makers use.

    A backbone whose own head is the mean has "gem" with p = 1, as before there was a choice.
    Raises OptionError when the backbone cannot be pooled like this.
    """
    name, pool, p = architecture.backbone, options.pool, options.gem_p
    if p is not None and pool not in (None, "gem"):
        raise OptionError(f"--gem-p {p:g} and --pool {pool} given; expected one of them")
    if pool is None and p is None:
        # Its makers retrieve with the class token, though timm's default is the mean of patches.
        pool = "cls" if "dinov3" in name and traits.class_token else "model"
    if pool == "cls" and not traits.class_token:
        raise OptionError(f"{name}: --pool cls given, but it has no class token; use --pool model")
    if pool in ("cls", "model") and not (pool == "model" and traits.averages):
        return replace(architecture, pool=pool)
    p = 1.0 if pool in ("mean", "model") else 3.0 if p is None else p
    if p != 1 and (traits.tokens or traits.signed):
        what = "are tokens" if traits.tokens else "can be negative"
        raise OptionError(
            f"{name}: GeM pooling with exponent {p:g} given, but its features {what}, and GeM sets "
            "negative ones to 0; leave it out, or use --pool model or --pool mean"
        )
    return replace(architecture, gem_p=p)


def preprocessing_of(
    options: PretrainedOptions, net: EmbeddingNet, traits: Traits
) -> Preprocessing:
    """Size, fit and normalisation: as given, else as its makers use the backbone.

    Raises OptionError when the backbone does not take such photos.
    """
    config: dict[str, Any] = net.backbone.pretrained_cfg  # type: ignore[assignment]
    name, squares = net.architecture.backbone, traits.trained_on_squares
    if not traits.any_size:
        _check_fixed_size(options, name, traits.side)
    fit: Fit = "pad" if squares else "keep"
    size = _usual_size(name, traits.side) if squares else traits.side
    if not traits.any_size:
        fit, size = "squash", traits.side
    fit, size = options.fit or fit, options.size or size
    if squares and traits.any_size and fit != "pad-center":
        size = max(traits.step, round(size / traits.step) * traits.step)
    as_before = net.architecture.pool == "gem" and not squares
    trained: Interpolation = "bilinear" if config.get("interpolation") == "bilinear" else "bicubic"
    return Preprocessing(
        size=size,
        fit=fit,
        multiple=min(traits.step, size),
        mean=options.mean or tuple(config["mean"]),
        std=options.std or tuple(config["std"]),
        interpolation=options.interpolation or ("bilinear" if as_before else trained),
        crop=float(config.get("crop_pct") or 1) if fit == "crop" else 1.0,
        strict=squares and traits.any_size,
    )


def _place_evidence(architecture: Architecture, checkpoint: Path | None) -> PlaceEvidence | None:
    """What the backbone's ImageNet classifier says of its vectors; None = it has none."""
    found = imagenet_classifier(architecture, checkpoint=checkpoint)
    if found is None:
        return None
    weight, bias = (part.detach().float().numpy() for part in found)
    return PlaceEvidence(weight, bias, typical_length(weight, bias))


def imagenet_classifier(
    architecture: Architecture, *, checkpoint: Path | None = None
) -> tuple[Tensor, Tensor] | None:
    """(1000, C) weight and (1000,) bias of the ImageNet classifier that was trained on the pooled
    features (before they are normalised) of a pretrained backbone; None = there is none.

    architecture, checkpoint: as of `pretrained_network`, with `dim` None; the pooling must be the
    one that the classifier saw. Raises ModelError as `pretrained_network` does.
    """
    if architecture.dim is not None:
        return None
    opened = open_backbone(
        architecture.backbone, architecture.options, checkpoint, with_classifier=True
    )
    if opened.classifier is None:
        return None
    net = EmbeddingNet(replace(architecture, backbone=opened.name), opened.module)
    saw_these = architecture.pool == "model" or (net.pool.averages and traits_of(net).averages)
    weight, bias = opened.classifier
    return (weight, bias) if saw_these and weight.shape == (1000, net.dim) else None


def _reduction(backbone: nn.Module) -> int:
    """Pixels of a patch, or of a position of the last features where they are larger."""
    stages = getattr(backbone, "feature_info", None)
    if isinstance(stages, list) and stages and isinstance(stages[-1], dict):
        return max(1, int(stages[-1].get("reduction") or ANY_STEP))
    patch = getattr(getattr(backbone, "patch_embed", None), "patch_size", None)
    return _side(patch) if patch else ANY_STEP


def _side(size: int | Sequence[int]) -> int:
    return int(size) if isinstance(size, int) else int(max(size))


def _usual_size(name: str, trained: int) -> int:
    """The long side that the ILIAS benchmark gives to a transformer trained on such squares."""
    if "dinov3" in name:
        return DINOV3_SIZE
    if trained < 300:
        return 384
    return 512 if trained < 450 else round(1.4 * trained)


def _features(backbone: nn.Module, height: int, width: int) -> Any:
    """The features of noise; None = the backbone does not take this size."""
    pixels = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            features = backbone.forward_features(pixels)  # type: ignore[operator]
            pooled = backbone.forward_head(features, pre_logits=True)  # type: ignore[operator]
    except Exception:  # backbones raise many kinds of error at a size that they do not take
        return None
    return features if bool(torch.isfinite(pooled).all()) else None


def _averages(backbone: nn.Module, features: Tensor, positions: Tensor) -> bool:
    """Whether the backbone's own head is the plain mean over positions."""
    with torch.inference_mode():
        own = backbone.forward_head(features, pre_logits=True)  # type: ignore[operator]
        mean = GeM(1.0)(positions)
    if own.shape != mean.shape:
        return False
    return torch.allclose(own, mean, rtol=1e-4, atol=1e-5 * float(mean.abs().max()))


def _has_class_token(backbone: nn.Module) -> bool:
    if not getattr(backbone, "num_prefix_tokens", 0):
        return False
    holders = (backbone, getattr(backbone, "embeds", None))
    return any(getattr(holder, "cls_token", None) is not None for holder in holders)


def _check_fixed_size(options: PretrainedOptions, name: str, side: int) -> None:
    """Raises OptionError for options that a backbone of one input size does not allow."""
    only = f"{name} takes photos of {side} × {side} pixels only"
    if options.fit in ("keep", "pad", "pad-center"):
        raise OptionError(f"{only}, but --fit {options.fit} was given; use --fit squash")
    if options.size not in (None, side):
        raise OptionError(
            f"{only}, but --size {options.size} was given; leave it out, or rebuild the backbone "
            f"with --option img_size={options.size} if its positions can be resampled"
        )
    if options.scales != (1.0,):
        raise OptionError(f"{only}, but --scales were given; leave them out")


def _check(embedder: TorchEmbedder, traits: Traits) -> None:
    """Embed a photo of noise. Raises ModelError, naming the option that helps, when that fails."""
    photo = np.random.default_rng(0).integers(0, 256, (*CHECKED_PHOTO, 3), dtype=np.uint8)
    try:
        row = embedder([photo])[0]
        reason = "" if abs(float(np.linalg.norm(row)) - 1) < 1e-3 else "its vector is not finite"
    except Exception as error:  # backbones raise many kinds of error
        reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
    if reason:
        size = traits.side if traits.any_size else embedder.preprocessing.size
        raise ModelError(
            f"{embedder.name} cannot embed a photo of 640 × 480 pixels ({reason[:200]}); try "
            f"--fit squash --size {size}, or another --pool"
        )
