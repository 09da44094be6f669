"""TrainConfig: all settings of a training run; recipes are named sets of settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..core.errors import DataError, ModelError, OptionError
from ..core.hardware import check_device
from ..core.json_options import (
    SEED,
    SHARE,
    Span,
    check_fields,
    count,
    from_json,
    short_repr,
    to_json,
    unknown_message,
)
from ..features.embedders import lite0
from ..features.embedders.record import RECORD_FILE, read_record

RECIPES = ("seed", "strong", "finetune")

WEIGHTS = ("random", lite0.NAME, "hub")  # any other weights are a file or a folder


MAX_BATCH = 65_536  # photos

BLANK_MEANS = {
    "weights": "expected random, lite0, hub, a file in timm's format, or an embedder folder",
    "backbone": "expected the name of a timm model, such as resnet10t",
}

_PIXELS = Span(16, 4096, whole=True, note="pixels")

SPANS = {  # setting → the numbers that it takes
    "dim": count(1, 65_536), "gem_p": Span(0.1, 20, note="1 is average pooling, 3 is usual"),
    "mean": SHARE, "std": Span(0, 1, above=True), "size": _PIXELS, "crop": _PIXELS,
    "first_crop": count(0, 4096), "least_area": Span(0.01, 1), "jitter": SHARE,
    "epochs": count(1, 100_000), "landmarks_per_batch": count(2, MAX_BATCH),
    "photos_per_landmark": count(1, MAX_BATCH), "subspaces": count(), "regroup_every": count(0),
    "centre_photos": count(0),
    "margin": Span(0, 2), "arcface_scale": Span(0, 1000, above=True),
    "arcface_margin": Span(0, math.pi / 2, below=True, note="radians"),
    "arcface_centres": count(1, 100),
    "lr": Span(0, math.inf, above=True, below=True), "backbone_lr": Span(0, 100),
    "momentum": Span(0, 1, below=True), "weight_decay": Span(0, 10), "warmup": SHARE,
    "accumulate": count(1, 10_000), "chunk": count(0), "frozen_stages": count(-1, 100),
    "ema": Span(0, 1, below=True), "validation": Span(0, 1, above=True, below=True),
    "patience": count(0), "checkpoint_every": count(1, 1_000_000_000), "seed": SEED,
    "workers": count(0, 256),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a run, saved as JSON. The defaults train from random weights on a laptop.

    Attributes:
        backbone: Any name of a timm model; None = that of the weights, or resnet10t.
        options: Keyword arguments for timm.create_model.
        weights: Initial weights: "random"; "lite0" (ImageNet's, of a package that pip brings);
            "hub" (downloads timm's); a file in timm's format; or an embedder folder, to train on.
        dim: Length of an embedding; None = the pooled features, without a linear layer.
        gem_p: Initial exponent of GeM pooling (Radenović et al., TPAMI 2019), trained with the
            weights; 1 = average pooling, not trained.
        pool: "gem"; "cls" = the class token; "model" = the backbone's own pooling.
        head: How the linear layer starts: "random"; or "whitened" = by the learned whitening of the
            training photos' pooled features, for trained weights.
        mean: Of the red, green and blue of pixels, 0 to 1 …
        std: … and their standard deviation; None = those that the weights were trained with, or
            ImageNet's for random ones.
        size: Long side in pixels of a photo when it is embedded; None = that of an embedder folder
            given as `weights`, else 256.
        crop: Side of the training crops in pixels.
        first_crop: Side in the first epoch in pixels, which grows to `crop` by half of the run
            (EfficientNetV2, ICML 2021); 0 = `crop` from the start.
        shapes: Do the crops of a batch get the aspect ratio of its photos, at the same area?
        least_area: Smallest crop, as a share of the photo's area, above 0 to 1.
        jitter: Largest relative change of brightness and contrast; three quarters of it for
            saturation. 0 = none.
        epochs: Passes over the photos, 1 or more.
        landmarks_per_batch: P, 2 or more; a batch has P × K photos.
        photos_per_landmark: K, 1 or more.
        batches: "subspaces" = P × K from one group of look-alike landmarks (Wang et al., ICCVW
            2017); "mixed" = P × K from all landmarks; "shuffled" = photos in random order, for the
            loss "arcface" only.
        subspaces: Groups of look-alike landmarks, 1 or more.
        regroup_every: Epochs between two groupings; 0 = group once, before the first epoch.
        centre_photos: Photos of each landmark that are embedded for a grouping, at most, where the
            validation does not embed them all anyway (a database of its own); 0 = all.
        loss: "triplet", "arcface", or "both" = their sum.
        mining: Which triplets count: "batch_hard", "batch_all" (Hermans et al., 2017) or
            "semi_hard" (FaceNet, CVPR 2015).
        margin: Of the triplets, as a distance of unit vectors, 0 to 2; None = soft margin.
        arcface_scale: Factor of the cosines, above 0 (ArcFace, CVPR 2019).
        arcface_margin: Radians, 0 to below π/2.
        arcface_centres: Directions of each landmark, 1 or more (sub-centre ArcFace, ECCV 2020).
        dynamic_margin: Margins of 0.05 to 0.5 radians, larger for rare landmarks, in place of
            `arcface_margin` (Ha et al., arXiv:2010.05350)?
        class_weights: Do rare landmarks get a higher weight in ArcFace, 1 / log(1 + photos)?
        optimizer: "sgd" or "adamw".
        lr: Highest learning rate, above 0.
        backbone_lr: Learning rate of the backbone, as a share of `lr`.
        momentum: Of SGD, 0 to below 1.
        weight_decay: Of matrices and kernels, 0 or more; biases, norms and GeM have none.
        warmup: Share of all steps with rising learning rate, 0 to 1; then a cosine to zero.
        accumulate: Batches per step of the optimizer, 1 or more.
        chunk: Photos in memory at once, with cached gradients (Gao et al., RepL4NLP 2021); 0 = the
            whole batch.
        frozen_stages: First stages of the backbone that are not trained; −1 = all of it.
        frozen_norms: Do the BatchNorms of the backbone keep their statistics?
        ema: Decay of the moving average of the weights, which is then what is saved, 0 to below 1;
            0 = off.
        precision: "float32", "bf16" or "fp16" (mixed precision).
        compile: Use torch.compile? Needs a C++ compiler on CPUs.
        validation: Share of each landmark's photos that is held out for validation, above 0 and
            below 1.
        patience: Stop after this many epochs without a better validation GAP; 0 = never.
        checkpoint_every: Steps of the optimizer between two checkpoints, 1 or more.
        seed: Of weights, crops and batches; the same seed trains the same embedder on the same
            machine.
        device: "auto" = a GPU if there is one, else the CPU; "cpu"; "cuda", "cuda:1" ….
        workers: Processes that decode and augment photos; 0 = none besides the training process.
        cache: Folder of photos re-encoded at a short side of 1.25 × `crop`, created if missing;
            "" = none.

    Raises:
        OptionError: For a value out of its range, or values that do not fit together.
    """

    spans: ClassVar[Mapping[str, Span]] = SPANS

    # The network
    backbone: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    weights: str = "random"
    dim: int | None = 256
    gem_p: float = 3.0
    pool: Literal["gem", "cls", "model"] = "gem"
    head: Literal["random", "whitened"] = "random"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    # Photos
    size: int | None = None
    crop: int = 224
    first_crop: int = 0
    shapes: bool = False
    least_area: float = 0.3
    jitter: float = 0.4
    # Batches
    epochs: int = 4
    landmarks_per_batch: int = 12
    photos_per_landmark: int = 8
    batches: Literal["subspaces", "mixed", "shuffled"] = "subspaces"
    subspaces: int = 20
    regroup_every: int = 1
    centre_photos: int = 0
    # Loss
    loss: Literal["triplet", "arcface", "both"] = "both"
    mining: Literal["batch_hard", "batch_all", "semi_hard"] = "batch_hard"
    margin: float | None = None
    arcface_scale: float = 16.0
    arcface_margin: float = 0.1
    arcface_centres: int = 1
    dynamic_margin: bool = False
    class_weights: bool = False
    # Optimizer
    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: float = 1e-3
    backbone_lr: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 2e-2
    warmup: float = 0.05
    accumulate: int = 1
    chunk: int = 0
    frozen_stages: int = 0
    frozen_norms: bool = False
    ema: float = 0.0
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    compile: bool = False
    # The run
    validation: float = 0.1
    patience: int = 0
    checkpoint_every: int = 100
    seed: int = 0
    device: str = "auto"
    workers: int = 2
    cache: str = ""

    def __repr__(self) -> str:
        return short_repr(self)

    def __post_init__(self) -> None:
        check_fields(self)
        check_device(self.device)
        batch = self.landmarks_per_batch * self.photos_per_landmark
        if batch > MAX_BATCH:
            raise OptionError(
                f"landmarks_per_batch {self.landmarks_per_batch} × photos_per_landmark "
                f"{self.photos_per_landmark} given: {batch:,} photos in a batch; expected at most "
                f"{MAX_BATCH:,}"
            )
        for name in ("weights", "backbone"):
            if getattr(self, name) == "":
                raise OptionError(f"{name} '' given; {BLANK_MEANS[name]}")
        if self.first_crop and not 32 <= self.first_crop <= self.crop:
            raise OptionError(
                f"first_crop {self.first_crop} given with crop {self.crop}; expected 0 (off), or "
                f"a number of pixels from 32 to crop"
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


def chosen_config(given: Mapping[str, Any], *, recipe_name: str | None = None) -> TrainConfig:
    """The settings of a recipe, overridden by the given ones.

    When the given weights are an embedder folder, they take the place of the recipe's network.
    Raises OptionError for unknown settings and for contradictions, DataError or ModelError for a
    folder that cannot be trained on.
    """
    settings = recipe(recipe_name) if recipe_name else {}
    weights = given.get("weights", settings.get("weights"))
    if isinstance(weights, str) and (folder := start_folder(weights)):
        settings = {**_defaults_of_folder(folder), **settings, **_decided_by_folder(folder, given)}
    return from_json(TrainConfig, {**settings, **given})


def settled(config: TrainConfig) -> TrainConfig:
    """The config with the settings that follow from its weights: network and preprocessing.

    A setting at its default counts as not given. Raises as `chosen_config` does.
    """
    default = to_json(TrainConfig())
    given = {k: v for k, v in to_json(config).items() if v != default[k]}
    settings: dict[str, Any] = {"backbone": "resnet10t", "size": 256}
    if config.weights == lite0.NAME:
        settings["backbone"] = lite0.BACKBONE
    if folder := start_folder(config.weights):
        settings |= {**_defaults_of_folder(folder), **_decided_by_folder(folder, given)}
    made = from_json(TrainConfig, {**settings, **given})
    if made.weights == lite0.NAME and made.backbone != lite0.BACKBONE:
        raise OptionError(
            f"weights 'lite0' with backbone {made.backbone!r} given: they are the weights of "
            f"{lite0.BACKBONE}; leave backbone out, or take its weights from 'hub' or a file"
        )
    return made


def start_folder(weights: str) -> Path | None:
    """The embedder folder that `weights` names, if it names one."""
    is_folder = bool(weights.strip()) and weights not in WEIGHTS and Path(weights).is_dir()
    return Path(weights) if is_folder else None


def _defaults_of_folder(folder: Path) -> dict[str, Any]:
    """Settings that an embedder folder has, but a run may change: a head can be put on top."""
    return {"size": _settings_of_folder(folder)["size"], "dim": None}


def _decided_by_folder(folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that its weights fit. Raises OptionError when a given one differs."""
    found = _settings_of_folder(folder)
    names = [name for name in ("backbone", "options", "dim", "gem_p", "pool", "mean", "std")
             if name != "dim" or found["dim"] is not None]  # fmt: skip
    decided = {name: found[name] for name in names}
    comparable = {k: list(v) if isinstance(v, tuple) else v for k, v in given.items()}
    if differing := [k for k in decided if k in given and comparable[k] != decided[k]]:
        changes = "; ".join(f"{k}: {given[k]!r} given, {decided[k]!r} there" for k in differing)
        raise OptionError(
            f"{folder}: this embedder was made with other settings ({changes}); leave them out, "
            "because its weights fit its own"
        )
    return decided


def _settings_of_folder(folder: Path) -> dict[str, Any]:
    """Architecture and preprocessing of a folder whose network can be trained."""
    if not (folder / RECORD_FILE).is_file():
        raise DataError(
            f"{folder}: no embedder in this folder ({RECORD_FILE} is missing); weights can be "
            "random, lite0, hub, a file in timm's format, or a folder of `train` or `embedder`"
        )
    record = read_record(folder)
    if record.get("name") == lite0.NAME:  # its weights are those of the package
        network: dict[str, Any] = {
            "backbone": lite0.BACKBONE, "options": {}, "dim": None, "gem_p": 1.0,
        }  # fmt: skip
        return {"pool": "gem", **network, **record["preprocessing"]}
    if record.get("kind") != "timm":
        raise ModelError(
            f"{folder}: an embedder of kind {record.get('kind')!r} cannot be trained; expected a "
            "folder of `train` or of `embedder timm:NAME`"
        )
    if record.get("precision") == "int8":
        raise ModelError(
            f"{folder}: an int8 embedder cannot be trained; give the float embedder that it was "
            "made from"
        )
    return {"pool": "gem", **record["architecture"], **record["preprocessing"]}
