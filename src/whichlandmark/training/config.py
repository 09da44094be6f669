"""TrainConfig: all settings of a training run; recipes are named sets of settings."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

from ..core.errors import OptionError
from ..core.json_options import unknown_message

RECIPES = ("seed", "strong", "finetune")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a run, saved as JSON. The defaults train from random weights on a laptop."""

    # The network
    backbone: str = "resnet10t"  # any timm name
    options: dict[str, Any] = field(default_factory=dict)  # for timm.create_model
    weights: str = "random"  # "random", "hub" (downloads), or a checkpoint file
    dim: int | None = 256  # length of an embedding; None = pooled features, no linear layer
    gem_p: float = 3.0  # initial exponent of GeM; 1 = average pooling, not trained
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of the pixels, 0 to 1
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    # Photos
    size: int = 256  # long side of a photo when it is embedded
    crop: int = 224  # side of the training crops
    first_crop: int = 0  # side in the first epoch, growing to `crop` by half of the run; 0 = `crop`
    shapes: bool = False  # crops of each batch get the aspect ratio of its photos, at the same area
    least_area: float = 0.3  # smallest crop, as a share of the photo's area
    jitter: float = 0.4  # of brightness, contrast and saturation
    # Batches
    epochs: int = 4
    landmarks_per_batch: int = 12  # P
    photos_per_landmark: int = 8  # K
    batches: Literal["subspaces", "mixed", "shuffled"] = "subspaces"  # "shuffled": not P × K
    subspaces: int = 20  # groups of look-alike landmarks
    regroup_every: int = 1  # epochs between two groupings; 0 = group once, before the first epoch
    # Loss
    loss: Literal["triplet", "arcface", "both"] = "both"  # "both" = their sum
    mining: Literal["batch_hard", "batch_all", "semi_hard"] = "batch_hard"
    margin: float | None = None  # of the triplets; None = soft margin
    arcface_scale: float = 16.0
    arcface_margin: float = 0.1  # radians
    arcface_centres: int = 1  # sub-centres of a landmark
    dynamic_margin: bool = False  # 0.05 to 0.5, larger for rare landmarks; replaces arcface_margin
    class_weights: bool = False  # rare landmarks get a higher weight in ArcFace
    # Optimizer
    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: float = 1e-3
    backbone_lr: float = 1.0  # of the backbone, as a share of lr
    momentum: float = 0.9  # of SGD
    weight_decay: float = 2e-2
    warmup: float = 0.05  # share of all steps with rising lr; then a cosine to zero
    accumulate: int = 1  # batches per step of the optimizer
    chunk: int = 0  # photos in memory at once, with cached gradients; 0 = the whole batch
    frozen_stages: int = 0  # first stages of the backbone that are not trained
    frozen_norms: bool = False  # the backbone's BatchNorms keep their statistics
    ema: float = 0.0  # decay of the moving average of the weights, which is then saved; 0 = off
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    compile: bool = False  # torch.compile; needs a C++ compiler on CPUs
    # The run
    validation: float = 0.1  # share of each landmark's photos kept for validation
    patience: int = 0  # stop after this many epochs without a better GAP; 0 = never
    checkpoint_every: int = 100  # steps of the optimizer between checkpoints
    seed: int = 0
    device: str = "auto"
    workers: int = 2  # processes that decode and augment
    cache: str = ""  # folder of re-encoded photos, created if missing; "" = none

    def __post_init__(self) -> None:
        minimum = {"epochs": 1, "landmarks_per_batch": 2, "photos_per_landmark": 1, "subspaces": 1,
                 "accumulate": 1, "checkpoint_every": 1, "arcface_centres": 1, "regroup_every": 0,
                 "chunk": 0, "frozen_stages": -1, "patience": 0, "workers": 0,
                 "first_crop": 0}  # fmt: skip
        for name, value in minimum.items():
            if getattr(self, name) < value:
                raise OptionError(f"{name} {getattr(self, name)} given; expected {value} or more")
        if not 0 < self.validation < 1:
            raise OptionError(f"validation {self.validation} given; expected between 0 and 1")
        if not 0 <= self.ema < 1:
            raise OptionError(f"ema {self.ema} given; expected 0 to below 1")
        if self.lr <= 0 or not 0 < self.least_area <= 1:
            raise OptionError(
                f"lr {self.lr}, least_area {self.least_area} given; expected lr above 0 and "
                "least_area above 0, at most 1"
            )
        if self.loss != "arcface" and self.batches == "shuffled":
            raise OptionError(
                "batches 'shuffled' with triplets given: shuffled batches hold few pairs of one "
                "landmark; use loss 'arcface', or batches 'subspaces' or 'mixed'"
            )


# Fields that do not change the result, so they may differ when an interrupted run is resumed.
FIELDS_WITHOUT_EFFECT = ("device", "workers", "cache", "compile")


def recipe(name: str) -> dict[str, Any]:
    """The settings of a recipe: "seed", "strong" or "finetune" (recipes/NAME.json).

    Raises OptionError for an unknown name.
    """
    if name not in RECIPES:
        raise OptionError(unknown_message(name, RECIPES, "recipe"))
    text = resources.files(__package__).joinpath(f"recipes/{name}.json").read_text(encoding="utf-8")
    settings: dict[str, Any] = json.loads(text)
    return settings
