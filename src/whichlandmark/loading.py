"""Open an embedder: a folder, or a pretrained backbone by name. Torch loads only when needed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import DataError, ModelError, OptionError
from .files import read_json
from .preprocessing import Preprocessing, Views
from .types import Embedder

if TYPE_CHECKING:
    from .net.embedder import NetEmbedder

PREFIX = "timm:"


@dataclass(frozen=True, kw_only=True)
class PretrainedOptions:
    """How a pretrained backbone becomes an embedder. None = as the backbone was trained."""

    checkpoint: str | None = None  # local weights in timm's format; None = from the model hub
    options: dict[str, Any] = field(default_factory=dict)  # for timm.create_model
    size: int | None = None  # pixels of the long side
    fit: Literal["keep", "squash"] = "keep"  # hold the aspect ratio, or make squares
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    scales: tuple[float, ...] = (1.0,)  # each photo is looked at in these sizes (1 = `size`)
    flip: bool = False  # and mirrored
    gem_p: float = 1.0  # average pooling: what an ImageNet classifier was trained on


def load_embedder(source: str | Path, *, device: str = "auto") -> Embedder:
    """An embedder folder, or "timm:NAME" for a pretrained backbone from the model hub.

    Raises DataError when the folder is not there, ModelError when it is damaged,
    OptionError when it needs torch and torch is not installed.
    """
    if str(source).startswith(PREFIX):
        return pretrained(str(source), PretrainedOptions(), device=device)
    folder = Path(source)
    if not (folder / "embedder.json").is_file():
        raise DataError(
            f"{folder}: no embedder there (embedder.json is missing); give a folder made by "
            "`whichlandmark train` or `embedder`, or timm:NAME, or sift"
        )
    kind = read_json(folder / "embedder.json").get("kind")
    if kind == "sift":
        from .embedders.sift import SiftEmbedder

        return SiftEmbedder.load(folder)
    if kind == "timm":
        require_torch()
        from .net.embedder import NetEmbedder

        return NetEmbedder.load(folder, device=device)
    raise ModelError(f"{folder}: embedder of kind {kind!r}; expected 'timm' or 'sift'")


def pretrained(source: str, options: PretrainedOptions, *, device: str = "auto") -> NetEmbedder:
    """ "timm:NAME" → a headless pretrained backbone: pooled features, unit rows.

    Raises ModelError for an unknown name, unfitting weights or an unreachable hub.
    """
    if not source.startswith(PREFIX):
        raise OptionError(f"{source!r} given; expected timm:NAME, such as timm:resnet50")
    require_torch()
    from .net.embedder import NetEmbedder
    from .net.network import Architecture, pretrained_network

    architecture = Architecture(
        backbone=source.removeprefix(PREFIX), options=options.options, dim=None,
        gem_p=options.gem_p,
    )  # fmt: skip
    checkpoint = Path(options.checkpoint) if options.checkpoint else None
    net = pretrained_network(architecture, checkpoint=checkpoint)
    made_for: Any = net.backbone.pretrained_cfg
    preprocessing = Preprocessing(
        size=options.size or max(made_for["input_size"][1:]),
        fit=options.fit,
        mean=options.mean or tuple(made_for["mean"]),
        std=options.std or tuple(made_for["std"]),
    )
    views = Views(scales=options.scales, flip=options.flip)
    return NetEmbedder(net, preprocessing, device=device, views=views)


def parse_options(pairs: list[str]) -> dict[str, Any]:
    """["pad_type=same", "drop_rate=0.1"] → {"pad_type": "same", "drop_rate": 0.1}.

    A value is read as JSON where it is JSON, else as a word. Raises OptionError without "=".
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise OptionError(f"option {pair!r} given; expected KEY=VALUE")
        try:
            parsed[key] = json.loads(value)
        except ValueError:
            parsed[key] = value
    return parsed


def require_torch() -> None:
    """Raises OptionError with the install command when torch or timm is missing."""
    try:
        import timm
        import torch
    except ImportError as error:
        raise OptionError(
            f"this embedder needs {error.name}; install it with: pip install 'whichlandmark[train]'"
        ) from None
    del timm, torch
