"""An embedder around a torch network: preprocessing, device, saving and loading.

Its folder has `model.safetensors` (all weights), `model.onnx` (the same network for runtimes
without torch) and `embedder.json` (kind "timm", architecture, preprocessing, id, hashes). The id is
a hash of weights, architecture and preprocessing, so equal ids mean comparable vectors.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch
from numpy.typing import NDArray

from ...core.disks import unreadable
from ...core.errors import DataError, ModelError, OptionError
from ...core.files import atomic_file
from ...core.hardware import check_device
from ...core.json_options import from_json, to_json
from ...core.types import Image, Vectors
from ..preprocessing import InputPipeline, Preprocessing, Views
from . import lite0
from .place_evidence import PlaceEvidence
from .record import FLOAT_FILE, WEIGHTS_FILE, copy_folder, onnx_file, read_record, write_record
from .torch_export import export_onnx
from .torch_network import Architecture, EmbeddingNet, lite0_network, new_network

log = logging.getLogger("whichlandmark")


class TorchEmbedder:
    """A network with its preprocessing: (H, W, 3) uint8 images → (N, dim) unit rows.

    device: "cpu", "cuda", "cuda:1" … or "auto" (a GPU if there is one).
    batch_size: maximum number of images in a pass, all of equal resized shape.
    views: multi-scale and flip augmentation; None = one view. licence: of the weights, or "".
    place_evidence: what ImageNet's classifier says of its vectors; None = nothing.
    """

    kind = "timm"

    def __init__(
        self,
        net: EmbeddingNet,
        preprocessing: Preprocessing,
        *,
        device: str = "auto",
        batch_size: int = 32,
        views: Views | None = None,
        licence: str = "",
        place_evidence: PlaceEvidence | None = None,
    ) -> None:
        # Convolutions are up to 1.5 times as fast in this memory layout, on CPUs and GPUs.
        self.net = net.to(memory_format=torch.channels_last)
        self.input_pipeline = InputPipeline(preprocessing, views or Views(), batch_size)
        self.device = pick_device(device)
        self.licence, self.place_evidence = licence, place_evidence
        self._id: str | None = None
        self._folder: tuple[Path, dict[str, Any]] | None = None  # of lite0: where it came from

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self.net.dim

    @property
    def name(self) -> str:
        """The backbone's name."""
        return str(self._folder[1]["name"]) if self._folder else self.net.architecture.backbone

    @property
    def default_fit(self) -> dict[str, Any] | None:
        """Coefficients for galleries that are too small to fit their own; None = none."""
        return self._folder[1].get("default_fit") if self._folder else None

    @property
    def preprocessing(self) -> Preprocessing:
        return self.input_pipeline.preprocessing

    @property
    def views(self) -> Views:
        return self.input_pipeline.views

    @property
    def short_side(self) -> int:
        """Minimum short side, in pixels, of a decoded photo; see `Preprocessing.short_side`."""
        return self.input_pipeline.short_side

    @property
    def id(self) -> str:
        """Backbone name and hash of weights, architecture and preprocessing.

        Computed once, so create a new embedder when the weights have changed.
        """
        if self._id is None:
            self._id = f"{self.name}-{_fingerprint(self.net, self.input_pipeline.settings())}"
        return self._id

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """(H, W, 3) uint8 RGB images of any sizes → (N, dim) float32, unit rows."""
        self.net.to(self.device).eval()
        return self.input_pipeline(images, self.run_network, self.dim)

    def run_network(self, photos: NDArray[np.float32]) -> Vectors:
        """(n, 3, h, w) normalised pixels → (n, dim) unit rows."""
        with torch.inference_mode():
            pixels = torch.from_numpy(photos).to(self.device, memory_format=torch.channels_last)
            vectors: Vectors = self.net(pixels).cpu().numpy()
        return vectors

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, {self.dim} dimensions)"

    def save(self, folder: Path, /, *, export: bool = True) -> None:
        """Write model.safetensors, model.onnx and embedder.json, each atomically.

        export: False skips model.onnx, which takes seconds to write; used during training. A
        backbone that cannot be written as ONNX is saved without it, with a warning: such a folder
        needs torch.
        """
        folder = Path(folder)
        if self._folder:
            return copy_folder(self._folder[0], folder, self._folder[1])
        with atomic_file(folder / WEIGHTS_FILE) as temporary:
            safetensors.torch.save_file(_weights(self.net), temporary)
        record = {
            "kind": self.kind,
            "name": self.name,
            "id": self.id,
            "dim": self.dim,
            "precision": "float32",
            "architecture": to_json(self.net.architecture),
            **self.input_pipeline.settings(),
            "licence": self.licence,
            "versions": {"torch": str(torch.__version__), "timm": timm.__version__},
        }
        files = [WEIGHTS_FILE]
        if self.place_evidence:
            record |= self.place_evidence.save(folder)
            files.append(PlaceEvidence.FILE)
        write_record(folder, record, files)  # from now on torch can load the folder
        (folder / FLOAT_FILE).unlink(missing_ok=True)  # of the previous weights
        if export:
            self.export(folder)

    def export(self, folder: Path) -> None:
        """Add model.onnx to the folder of this embedder, unless the folder has one.

        The file takes any height and width that the network takes, else the one size of squares
        that photos are resized to. If both fail, a warning is logged and the folder needs torch.
        """
        record = read_record(folder)
        if onnx_file(record):
            return
        views = self.views.expand(self.preprocessing)
        sizes = {view.target_shape(1, 1) for view in views if view.fit in ("squash", "crop")}
        multiple = self.preprocessing.multiple if self.preprocessing.strict else None
        for size in [None, *(sizes if len(sizes) == 1 else ())]:
            try:
                export_onnx(self.net, folder / FLOAT_FILE, size=size, multiple=multiple)
            except (ModelError, OptionError) as error:
                reason = error
            else:
                return write_record(folder, record, [*record["files"], FLOAT_FILE])
        log.warning("%s; this embedder needs torch wherever it is used", reason)

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto") -> TorchEmbedder:
        """Open a folder written by `save`. Raises ModelError when it is damaged."""
        record = read_record(Path(folder))
        if record.get("kind") == lite0.NAME:
            return cls._load_lite0(Path(folder), record, device)
        if fault := unreadable(Path(folder) / WEIGHTS_FILE):
            raise ModelError(fault)
        try:
            architecture = from_json(Architecture, record["architecture"])
            preprocessing = from_json(Preprocessing, record["preprocessing"])
            views = from_json(Views, record.get("views", {}))
            net = new_network(architecture)
            data = (Path(folder) / WEIGHTS_FILE).read_bytes()  # some disks map no files
            net.load_state_dict(safetensors.torch.load(data))
        except (DataError, ModelError):
            raise
        except Exception as error:  # the libraries raise many kinds of error on damaged files
            raise ModelError(f"{folder}: damaged embedder folder ({error})") from None
        licence = str(record.get("licence", ""))
        evidence = PlaceEvidence.load(Path(folder), record)
        embedder = cls(
            net, preprocessing, device=device, views=views, licence=licence, place_evidence=evidence
        )
        if embedder.id != record.get("id"):
            raise ModelError(
                f"{folder}: weights or preprocessing are not those of embedder.json "
                f"(recorded id {record.get('id')!r}, actual id {embedder.id!r}); make the folder "
                "again"
            )
        return embedder

    @classmethod
    def _load_lite0(cls, folder: Path, record: dict[str, Any], device: str) -> TorchEmbedder:
        """`lite0` with the weights of its package, because its folder has none for torch."""
        architecture = Architecture(backbone=lite0.BACKBONE, dim=None, gem_p=1.0, square_roots=True)
        embedder = cls(
            lite0_network(architecture, pooling=record.get("pooling")),
            from_json(Preprocessing, record["preprocessing"]),
            device=device,
            views=from_json(Views, record.get("views", {})),
            licence=str(record.get("licence", "")),
            place_evidence=PlaceEvidence.load(folder, record),
        )
        embedder._id, embedder._folder = str(record["id"]), (folder, record)
        return embedder


def pick_device(wanted: str) -> torch.device:
    """The torch device; "auto" = a GPU if there is one, else the CPU.

    Raises OptionError for an unknown device, or a GPU that torch cannot use.
    """
    check_device(wanted)
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"device {wanted!r} given, but torch sees no GPU; use auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OptionError(
            f"device {wanted!r} given, but torch sees {torch.cuda.device_count()} GPU(s); the "
            "first is cuda:0"
        )
    return device


def _weights(net: EmbeddingNet) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}


def _fingerprint(net: EmbeddingNet, input_settings: dict[str, Any]) -> str:
    description = {"architecture": to_json(net.architecture), **input_settings}
    if net.pool.averages:  # because older embedders with gem_p = 1 clamped negative features
        description["pooling"] = "mean"
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for key, value in sorted(_weights(net).items()):
        digest.update(key.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
