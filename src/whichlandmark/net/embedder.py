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
from numpy.typing import NDArray

from ..errors import DataError, ModelError, OptionError
from ..files import read_json, whole_file, write_json
from ..options import from_json, to_json
from ..preprocessing import Preprocessing, Views
from ..types import Image, Vectors
from .network import Architecture, EmbeddingNet, new_network


class NetEmbedder:
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
        self.preprocessing = preprocessing
        self.views = views or Views()
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
        return max(view.short_side for view in self.views.of(self.preprocessing))

    @property
    def id(self) -> str:
        """Name and hash of weights, architecture and preprocessing (computed once)."""
        if self._id is None:
            self._id = f"{self.name}-{_fingerprint(self.net, self._looking())}"
        return self._id

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """(H, W, 3) uint8 RGB images of any sizes → (N, dim) float32, unit rows."""
        self.net.to(self.device).eval()
        looks = [self._look(images, view) for view in self.views.of(self.preprocessing)]
        if len(looks) == 1 and not self.views.flip:
            return looks[0]
        rows = np.sum(looks, axis=0, dtype=np.float64)
        lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return np.asarray(rows / lengths, dtype=np.float32)

    def _look(self, images: Sequence[Image], view: Preprocessing) -> Vectors:
        """The rows of one size; a photo and its mirror image are added."""
        rows = np.zeros((len(images), self.dim), dtype=np.float32)
        by_shape: dict[tuple[int, int], list[int]] = {}
        for row, image in enumerate(images):
            by_shape.setdefault(view.target(*image.shape[:2]), []).append(row)
        for group in by_shape.values():
            for start in range(0, len(group), self.batch):
                part = group[start : start + self.batch]
                rows[part] = self._embed(np.stack([view(images[row]) for row in part]))
        return rows

    def _embed(self, photos: NDArray[np.float32]) -> Vectors:
        pixels = torch.from_numpy(photos)
        with torch.inference_mode():
            pixels = pixels.to(self.device, memory_format=torch.channels_last)
            found = self.net(pixels)
            if self.views.flip:
                found = found + self.net(pixels.flip(3))
            vectors: Vectors = found.cpu().numpy()
        return vectors

    def _looking(self) -> dict[str, Any]:
        """All that is done to a photo before the network sees it, as JSON."""
        looking: dict[str, Any] = {"preprocessing": to_json(self.preprocessing)}
        if self.views != Views():  # ids of embedders with one view stay what they were
            looking["views"] = to_json(self.views)
        return looking

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
                **self._looking(),
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
            views = from_json(Views, record.get("views", {}))
            net = new_network(architecture)
            net.load_state_dict(safetensors.torch.load_file(Path(folder) / "model.safetensors"))
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
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for key, value in sorted(_weights(net).items()):
        digest.update(key.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
