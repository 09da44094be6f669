"""An `Embedder` around the network: its preprocessing, its device, its folder on disk.

Folder: `model.safetensors` (all weights), `model.onnx` (the same network for runtimes without
torch) and `embedder.json` (kind "timm", architecture, preprocessing, id, hashes). The id hashes
weights, architecture and preprocessing: equal ids mean comparable vectors.
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

from ...core.errors import DataError, ModelError, OptionError
from ...core.files import whole_file
from ...core.json_options import from_json, to_json
from ...core.types import Image, Vectors
from ..preprocessing import InputPipeline, Preprocessing, Views
from .load import FLOAT, WEIGHTS, exported, read_record, write_record
from .torch_export import export_onnx
from .torch_network import Architecture, EmbeddingNet, new_network

log = logging.getLogger("whichlandmark")


class TorchEmbedder:
    """A network with its preprocessing: (H, W, 3) uint8 images → (N, dim) unit rows.

    device: "cpu", "cuda", "cuda:1" … or "auto" (a GPU when there is one).
    batch: most images in one pass; photos of equal resized shape share a pass.
    views: None = each photo is looked at once.
    """

    kind = "timm"

    def __init__(
        self,
        net: EmbeddingNet,
        preprocessing: Preprocessing,
        *,
        device: str = "auto",
        batch: int = 32,
        views: Views | None = None,
    ) -> None:
        # Convolutions run up to half as fast again in this memory layout, on CPUs and GPUs.
        self.net = net.to(memory_format=torch.channels_last)
        self.looking = InputPipeline(preprocessing, views or Views(), batch)
        self.device = pick_device(device)
        self._id: str | None = None

    @property
    def dim(self) -> int:
        """Length of a row."""
        return self.net.dim

    @property
    def name(self) -> str:
        """The backbone's name."""
        return self.net.architecture.backbone

    @property
    def preprocessing(self) -> Preprocessing:
        return self.looking.preprocessing

    @property
    def views(self) -> Views:
        return self.looking.views

    @property
    def short_side(self) -> int:
        """Pixels of the short side that a photo needs; see `Preprocessing`."""
        return self.looking.short_side

    @property
    def id(self) -> str:
        """Name and hash of weights, architecture and preprocessing (computed once)."""
        if self._id is None:
            self._id = f"{self.name}-{_fingerprint(self.net, self.looking.described())}"
        return self._id

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """(H, W, 3) uint8 RGB images of any sizes → (N, dim) float32, unit rows."""
        self.net.to(self.device).eval()
        return self.looking(images, self.rows, self.dim)

    def rows(self, photos: NDArray[np.float32]) -> Vectors:
        """(n, 3, h, w) normalised pixels → (n, dim) unit rows."""
        with torch.inference_mode():
            pixels = torch.from_numpy(photos).to(self.device, memory_format=torch.channels_last)
            vectors: Vectors = self.net(pixels).cpu().numpy()
        return vectors

    def save(self, folder: Path, /, *, export: bool = True) -> None:
        """Write model.safetensors, model.onnx and embedder.json; each whole or not at all.

        export: False leaves model.onnx out, which takes seconds: while a network still learns.
        A backbone that ONNX has no words for is saved without it too, with a warning: such a
        folder needs torch.
        """
        folder = Path(folder)
        with whole_file(folder / WEIGHTS) as temporary:
            safetensors.torch.save_file(_weights(self.net), temporary)
        record = {
            "kind": self.kind,
            "name": self.name,
            "id": self.id,
            "dim": self.dim,
            "precision": "float32",
            "architecture": to_json(self.net.architecture),
            **self.looking.described(),
            "versions": {"torch": str(torch.__version__), "timm": timm.__version__},
        }
        write_record(folder, record, [WEIGHTS])  # from here on it is whole, for torch
        (folder / FLOAT).unlink(missing_ok=True)  # of other weights, saved here before
        if export:
            self.export(folder)

    def export(self, folder: Path) -> None:
        """Add model.onnx to the folder that this embedder was saved into, unless it is there.

        For any height and width, where the network can; else for the one that photos are squashed
        to. Where it cannot at all, a warning says so.
        """
        record = read_record(folder)
        if exported(record):
            return
        sizes = {view.size for view in self.views.of(self.preprocessing) if view.fit == "squash"}
        tries = [None, *((side, side) for side in sizes if len(sizes) == 1)]
        for size in tries:
            try:
                export_onnx(self.net, folder / FLOAT, size=size)
            except (ModelError, OptionError) as error:
                reason = error
            else:
                return write_record(folder, record, [WEIGHTS, FLOAT])
        log.warning("%s; this embedder needs torch wherever it is used", reason)

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto") -> TorchEmbedder:
        """Open a folder written by `save`. Raises ModelError when it is damaged."""
        record = read_record(Path(folder))
        try:
            architecture = from_json(Architecture, record["architecture"])
            preprocessing = from_json(Preprocessing, record["preprocessing"])
            views = from_json(Views, record.get("views", {}))
            net = new_network(architecture)
            net.load_state_dict(safetensors.torch.load_file(Path(folder) / WEIGHTS))
        except (DataError, ModelError):
            raise
        except Exception as error:  # any damage to either file ends here
            raise ModelError(f"{folder}: damaged embedder folder ({error})") from None
        embedder = cls(net, preprocessing, device=device, views=views)
        if embedder.id != record.get("id"):
            raise ModelError(
                f"{folder}: weights or preprocessing are not those of embedder.json "
                f"(id {record.get('id')!r} there, {embedder.id!r} found); make the folder again"
            )
        return embedder


def pick_device(wanted: str) -> torch.device:
    """ "auto" → a GPU when there is one, else the CPU. Raises OptionError when unavailable."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise OptionError(f"device {wanted!r} given; expected auto, cpu or cuda") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"device {wanted!r} given, but torch sees no GPU; use auto or cpu")
    return device


def _weights(net: EmbeddingNet) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}


def _fingerprint(net: EmbeddingNet, looking: dict[str, Any]) -> str:
    description = {"architecture": to_json(net.architecture), **looking}
    if net.pool.averages:  # embedders of gem_p = 1 once clamped features: their ids are others
        description["pooling"] = "mean"
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for key, value in sorted(_weights(net).items()):
        digest.update(key.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
