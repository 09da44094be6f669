"""An `Embedder` around the network: its preprocessing, its device, its folder on disk.

Folder: `model.safetensors` (all weights) and `embedder.json` (kind "timm", architecture,
preprocessing, id). The id hashes weights, architecture and preprocessing: equal ids mean
comparable vectors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch

from ..errors import DataError, ModelError, OptionError
from ..files import read_json, whole_file, write_json
from ..options import from_json, to_json
from ..preprocessing import Preprocessing
from ..types import Image, Vectors
from .network import Architecture, EmbeddingNet, new_network


class NetEmbedder:
    """A network with its preprocessing: (H, W, 3) uint8 images → (N, dim) unit rows.

    device: "cpu", "cuda", "cuda:1" … or "auto" (a GPU when there is one).
    batch: most images in one pass; photos of equal resized shape share a pass.
    """

    kind = "timm"

    def __init__(
        self,
        net: EmbeddingNet,
        preprocessing: Preprocessing,
        *,
        device: str = "auto",
        batch: int = 32,
    ) -> None:
        # Convolutions run up to half as fast again in this memory layout, on CPUs and GPUs.
        self.net = net.to(memory_format=torch.channels_last)
        self.preprocessing = preprocessing
        self.device = pick_device(device)
        self.batch = batch
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
    def short_side(self) -> int:
        """Pixels of the short side that a photo needs; see `Preprocessing`."""
        return self.preprocessing.short_side

    @property
    def id(self) -> str:
        """Name and hash of weights, architecture and preprocessing (computed once)."""
        if self._id is None:
            self._id = f"{self.name}-{_fingerprint(self.net, self.preprocessing)}"
        return self._id

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """(H, W, 3) uint8 RGB images of any sizes → (N, dim) float32, unit rows."""
        rows = np.zeros((len(images), self.dim), dtype=np.float32)
        by_shape: dict[tuple[int, int], list[int]] = {}
        for row, image in enumerate(images):
            height, width = image.shape[:2]
            by_shape.setdefault(self.preprocessing.target(height, width), []).append(row)
        self.net.to(self.device).eval()
        for group in by_shape.values():
            for start in range(0, len(group), self.batch):
                part = group[start : start + self.batch]
                rows[part] = self._embed([images[row] for row in part])
        return rows

    def _embed(self, images: list[Image]) -> Vectors:
        pixels = torch.from_numpy(np.stack([self.preprocessing(image) for image in images]))
        with torch.inference_mode():
            pixels = pixels.to(self.device, memory_format=torch.channels_last)
            vectors: Vectors = self.net(pixels).cpu().numpy()
        return vectors

    def save(self, folder: Path, /) -> None:
        """Write model.safetensors and embedder.json; each file whole or not at all."""
        folder = Path(folder)
        with whole_file(folder / "model.safetensors") as temporary:
            safetensors.torch.save_file(_weights(self.net), temporary)
        write_json(
            folder / "embedder.json",
            {
                "kind": self.kind,
                "name": self.name,
                "id": self.id,
                "dim": self.dim,
                "architecture": to_json(self.net.architecture),
                "preprocessing": to_json(self.preprocessing),
                "versions": {"torch": str(torch.__version__), "timm": timm.__version__},
            },
        )

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto") -> NetEmbedder:
        """Open a folder written by `save`. Raises ModelError when it is damaged."""
        record = read_json(Path(folder) / "embedder.json")
        try:
            architecture = from_json(Architecture, record["architecture"])
            preprocessing = from_json(Preprocessing, record["preprocessing"])
            net = new_network(architecture)
            net.load_state_dict(safetensors.torch.load_file(Path(folder) / "model.safetensors"))
        except (DataError, ModelError):
            raise
        except Exception as error:  # any damage to either file ends here
            raise ModelError(f"{folder}: damaged embedder folder ({error})") from None
        embedder = cls(net, preprocessing, device=device)
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


def _fingerprint(net: EmbeddingNet, preprocessing: Preprocessing) -> str:
    description: dict[str, Any] = {
        "architecture": to_json(net.architecture), "preprocessing": to_json(preprocessing),
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for key, value in sorted(_weights(net).items()):
        digest.update(key.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
