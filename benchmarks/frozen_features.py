"""Pooled features of a frozen Lite0, computed once, so that a head trains in seconds.

Used by training_scale.py. Of each photo of a large world: the features of the whole photo, and, of
training photos, those of random crops, made by the package's augmentation. Memory-mapped; two
minutes of processor time for 22,400 photos.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from large_world import TRAINING, PixelStore
from whichlandmark.core.files import atomic_file
from whichlandmark.core.types import Rows
from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
from whichlandmark.features.embedders.torch_network import EmbeddingNet
from whichlandmark.training.augment import Augmentation
from whichlandmark.training.build import new_embedder
from whichlandmark.training.config import TrainConfig
from whichlandmark.training.head import PooledNet

CROPS = 2  # of each training photo, beside the whole one
SIZE, CROP, LEAST_AREA = 96, 64, 0.5
PHOTOS_AT_ONCE = 256


class FeatureStore:
    """(1 + CROPS, photos, 1280) float16 features of a world; the first ones of whole photos."""

    def __init__(self, root: Path) -> None:
        file = root / "features.npy"
        if not file.exists():
            _compute(PixelStore(root), file)
        self.features = np.load(file, mmap_mode="r")
        self.row = PixelStore(root).row

    def whole(self, ids: NDArray[np.object_]) -> NDArray[np.float32]:
        """(N, 1280) of the whole photos."""
        return self.features[0][[self.row[id_] for id_ in ids]].astype(np.float32)

    def batches(
        self, ids: NDArray[np.object_], batches: list[Rows], seed: tuple[int, int]
    ) -> Iterator[Tensor]:
        """(B, 1280, 1, 1) for each batch of rows of `ids`: the whole photo or a crop, at random."""
        rows = np.array([self.row[id_] for id_ in ids])
        rng = np.random.default_rng(seed)
        for batch in batches:
            drawn = self.features[rng.integers(0, 1 + CROPS, len(batch)), rows[batch]]
            yield torch.from_numpy(drawn.astype(np.float32))[..., None, None]


class HeadOnly(nn.Module):
    """The head of a network, on features in the shape of pixels: (B, C, 1, 1) → (B, dim)."""

    def __init__(self, net: EmbeddingNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, features: Tensor) -> Tensor:
        return self.net.embed_pooled(features.flatten(1))


def _compute(store: PixelStore, file: Path) -> None:
    embedder = new_embedder(
        TrainConfig(weights="lite0", dim=128, gem_p=1.0, size=SIZE, device="cpu")
    )
    augment = Augmentation(embedder.preprocessing, LEAST_AREA, 0.0)
    pooled = TorchEmbedder(PooledNet.of(embedder.net), embedder.preprocessing, device="cpu")
    pooled.net.eval()
    ids = list(store.row)
    features = np.zeros((1 + CROPS, len(ids), pooled.dim), dtype=np.float16)
    for first in range(0, len(ids), PHOTOS_AT_ONCE):
        some = ids[first : first + PHOTOS_AT_ONCE]
        images = [store.image(id_) for id_ in some]
        part = slice(first, first + len(some))
        features[0, part] = pooled(images)
        trained = [i for i, id_ in enumerate(some) if int(id_.rsplit("/", 1)[1]) < TRAINING]
        for crop in range(CROPS if trained else 0):
            crops = [augment(images[i], (CROP, CROP), (first + i) * CROPS + crop) for i in trained]
            found = pooled.run_network(torch.stack(crops).numpy())
            features[1 + crop, [first + i for i in trained]] = found
    with atomic_file(file) as temporary, open(temporary, "wb") as opened:
        np.save(opened, features)
