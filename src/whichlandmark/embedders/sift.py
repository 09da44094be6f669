"""RootSIFT + VLAD: an embedder without weights or download, fitted on the gallery itself.

RootSIFT: Arandjelović & Zisserman, "Three things everyone should know to improve object
retrieval", CVPR 2012. VLAD: Jégou et al., "Aggregating local descriptors into a compact image
representation", CVPR 2010. Per-word normalisation: Arandjelović & Zisserman, "All about VLAD",
CVPR 2013. Whitening: Jégou & Chum, "Negative evidences and co-occurences in image retrieval",
ECCV 2012.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import faiss
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from ..errors import DataError, ModelError
from ..files import read_json, whole_file, write_json
from ..options import from_json, to_json
from ..types import Image, Vectors

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SiftOptions:
    """Flat; saved with the embedder."""

    size: int = 480  # long side in pixels at which keypoints are looked for
    features: int = 800  # strongest keypoints of a photo
    words: int = 64  # of the vocabulary
    descriptor_dim: int = 64  # RootSIFT's 128 after PCA
    dim: int = 256  # of an embedding; fewer when there are too few photos to whiten so many
    sample: int = 200  # descriptors of each photo that the vocabulary is fitted on
    most_sampled: int = 200_000
    seed: int = 0


class SiftEmbedder:
    """Made by `fit` or `load`: images of any sizes → (N, dim) float32, unit rows."""

    name = "sift"
    kind = "sift"

    def __init__(self, options: SiftOptions, arrays: dict[str, Floats]) -> None:
        """arrays: descriptor_mean (128,), descriptor_axes (d, 128), words (K, d),
        mean (K·d,), axes (dim, K·d) scaled for whitening.
        """
        self.options = options
        self.arrays = arrays
        self.dim = len(arrays["axes"])
        self.short_side = options.size
        self.id = f"sift-{_fingerprint(options, arrays)}"

    @classmethod
    def fit(cls, images: Iterable[Image], options: SiftOptions | None = None) -> SiftEmbedder:
        """Vocabulary and whitening from photos (the gallery's; distractors do no harm).

        One pass over the images; their descriptors are kept (about 400 KB a photo) until
        the whitening is fitted. dim is at most half the number of photos: more axes cannot be told
        from noise. Raises DataError when the photos have too few keypoints.
        """
        options = options or SiftOptions()
        described = [describe(image, options) for image in images]
        sample = _sampled(described, options)
        if len(sample) < 4 * options.words:
            raise DataError(
                f"{len(described)} photos with {len(sample)} keypoints given; a vocabulary of "
                f"{options.words} words needs {4 * options.words} at least: index more photos, "
                "or with structure in them"
            )
        arrays = _vocabulary(sample, options)
        pooled = np.stack([_vlad(d, arrays) for d in described])
        return cls(options, {**arrays, **_whitening(pooled, min(options.dim, len(pooled) // 2))})

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """(H, W, 3) uint8 images → (N, dim). A photo without keypoints gives a fixed row."""
        if not images:
            return np.empty((0, self.dim), dtype=np.float32)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            pooled = np.stack(list(pool.map(self._pooled, images)))
        turned = (pooled - self.arrays["mean"]) @ self.arrays["axes"].T
        rows = _unit(turned.astype(np.float32))
        rows[~rows.any(axis=1), 0] = 1  # exactly the mean photo: any direction is as good
        return rows

    def _pooled(self, image: Image) -> Floats:
        return _vlad(describe(image, self.options), self.arrays)

    def save(self, folder: Path, /) -> None:
        """Write model.safetensors and embedder.json, each whole or not at all."""
        folder = Path(folder)
        with whole_file(folder / "model.safetensors") as temporary:
            safetensors.numpy.save_file(self.arrays, temporary)
        write_json(
            folder / "embedder.json",
            {
                "kind": self.kind, "name": self.name, "id": self.id, "dim": self.dim,
                "options": to_json(self.options),
                "versions": {"opencv": cv2.__version__, "faiss": faiss.__version__},
            },
        )  # fmt: skip

    @classmethod
    def load(cls, folder: Path) -> SiftEmbedder:
        """Open a folder written by `save`. Raises ModelError when it is damaged."""
        record = read_json(Path(folder) / "embedder.json")
        try:
            options = from_json(SiftOptions, record["options"])
            arrays = safetensors.numpy.load_file(Path(folder) / "model.safetensors")
            embedder = cls(options, arrays)
        except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
            raise ModelError(f"{folder}: damaged embedder folder ({error})") from None
        if embedder.id != record.get("id"):
            raise ModelError(
                f"{folder}: model.safetensors is not the one of embedder.json "
                f"(id {record.get('id')!r}); make the folder again"
            )
        return embedder


def describe(image: Image, options: SiftOptions) -> Floats:
    """(H, W, 3) uint8 → RootSIFT descriptors (n, 128): SIFT, L1-normalised, square root."""
    scale = min(options.size / max(image.shape[:2]), 2.0)  # small photos at most doubled
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=interpolation)
    sift = cv2.SIFT.create(nfeatures=options.features, contrastThreshold=0.02)
    _, found = sift.detectAndCompute(grey, None)
    if found is None or not len(found):
        return np.empty((0, 128), dtype=np.float32)
    shares = found / np.maximum(found.sum(axis=1, keepdims=True), 1e-9)
    return np.asarray(np.sqrt(shares), dtype=np.float32)


def _sampled(described: list[Floats], options: SiftOptions) -> Floats:
    rng = np.random.default_rng(options.seed)
    each = min(options.sample, options.most_sampled // max(1, len(described)) + 1)
    parts = [d[np.sort(rng.permutation(len(d))[:each])] for d in described]
    return np.concatenate([*parts, np.empty((0, 128), dtype=np.float32)])


def _vocabulary(sample: Floats, options: SiftOptions) -> dict[str, Floats]:
    mean = sample.mean(axis=0)
    centred = (sample - mean).astype(np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = _signed(vectors.T[::-1][: options.descriptor_dim])
    reduced = np.ascontiguousarray((sample - mean) @ axes.T, dtype=np.float32)
    means = faiss.Kmeans(
        options.descriptor_dim, options.words, niter=25, seed=options.seed,
        min_points_per_centroid=1, max_points_per_centroid=10**9,
    )  # fmt: skip
    means.train(reduced)
    words = np.array(means.centroids, dtype=np.float32)
    return {"descriptor_mean": mean, "descriptor_axes": axes, "words": words}


def _vlad(descriptors: Floats, arrays: dict[str, Floats]) -> Floats:
    """(n, 128) → (K·d,): residuals summed by nearest word, normalised by word, power, L2."""
    words = arrays["words"]
    sums = np.zeros(words.shape, dtype=np.float32)
    if len(descriptors):
        reduced = (descriptors - arrays["descriptor_mean"]) @ arrays["descriptor_axes"].T
        near = (reduced @ words.T - 0.5 * (words**2).sum(axis=1)).argmax(axis=1)
        np.add.at(sums, near, reduced - words[near])
    flat = _unit(sums).ravel()
    flat = np.sign(flat) * np.sqrt(np.abs(flat))
    return np.asarray(_unit(flat[None])[0])


def _whitening(pooled: Floats, dim: int) -> dict[str, Floats]:
    """Mean, and the first `dim` principal axes divided by their spread."""
    mean = pooled.mean(axis=0)
    _, spread, axes = np.linalg.svd((pooled - mean).astype(np.float64), full_matrices=False)
    dim = max(1, dim)
    # The smallest axes of few photos are mostly noise: a floor keeps them from being blown up.
    scale = np.sqrt(spread[:dim] ** 2 + 0.1 * spread[0] ** 2)
    return {"mean": mean, "axes": (_signed(axes[:dim]) / scale[:, None]).astype(np.float32)}


def _signed(axes: NDArray[np.float64]) -> Floats:
    """An axis and its negative are equally right: the largest entry is made positive."""
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return np.ascontiguousarray(axes * np.sign(largest), dtype=np.float32)


def _unit(rows: Floats) -> Floats:
    """Unit rows; a row of zeros stays zeros."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-9), dtype=np.float32)


def _fingerprint(options: SiftOptions, arrays: dict[str, Floats]) -> str:
    digest = hashlib.sha256(json.dumps(to_json(options), sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(name.encode() + arrays[name].astype("<f4").tobytes())
    return digest.hexdigest()[:12]
