"""Local descriptors of a photo → one whitened row: vocabulary, VLAD, whitening. Arrays only.

VLAD: Jégou et al., "Aggregating local descriptors into a compact image representation", CVPR
2010. Per-word normalisation: Arandjelović & Zisserman, "All about VLAD", CVPR 2013. Whitening:
Jégou & Chum, "Negative evidences and co-occurences in image retrieval", ECCV 2012.

Fitting runs in one thread: the last bits of k-means and LAPACK depend on how many share the work.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ...core.errors import DataError, ModelError, OptionError
from ...core.files import read_json, whole_file, write_json
from ...core.json_options import from_json, to_json
from ...core.types import Image, Vectors

Floats = NDArray[np.float32]

# Of the largest axis' variance, added to every axis' before dividing by it. With less, photos that
# the axes were fitted on lie further apart than others do, and a gallery, which is asked about
# itself to learn how sure a score makes it, learns to be too sure (benchmarks/LOG.md).
SHRINK = 1.0


def vocabulary(sample: Floats, words: int, dim: int, seed: int) -> dict[str, Floats]:
    """PCA of descriptors (n, D), then k-means in that space; n ≥ words.

    Returns descriptor_mean (D,), descriptor_axes (dim, D) and words (words, dim).
    """
    mean = sample.mean(axis=0)
    centred = (sample - mean).astype(np.float64)
    with threadpool_limits(1):
        _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = _signed(vectors.T[::-1][:dim])
    reduced = np.ascontiguousarray((sample - mean) @ axes.T, dtype=np.float32)
    means = faiss.Kmeans(
        dim, words, niter=25, seed=seed, min_points_per_centroid=1, max_points_per_centroid=10**9
    )
    with threadpool_limits(1):
        means.train(reduced)
    centres = np.array(means.centroids, dtype=np.float32)
    return {"descriptor_mean": mean, "descriptor_axes": axes, "words": centres}


def vlad(descriptors: Floats, arrays: Mapping[str, Floats]) -> Floats:
    """(n, D) descriptors and a vocabulary of K words in d dimensions → (K·d,).

    Residuals summed by nearest word, each word's sum to unit length, signed square root, unit
    length. Without descriptors: zeros.
    """
    words = arrays["words"]
    sums = np.zeros(words.shape, dtype=np.float32)
    if len(descriptors):
        reduced = (descriptors - arrays["descriptor_mean"]) @ arrays["descriptor_axes"].T
        near = (reduced @ words.T - 0.5 * (words**2).sum(axis=1)).argmax(axis=1)
        np.add.at(sums, near, reduced - words[near])
    flat = unit(sums).ravel()
    return unit(np.sign(flat) * np.sqrt(np.abs(flat)))


def whitening(pooled: Floats, dim: int) -> dict[str, Floats]:
    """(N, D) rows → mean (D,), and axes (dim, D): principal axes over their spread; dim ≤ N."""
    mean = pooled.mean(axis=0)
    with threadpool_limits(1):
        _, spread, axes = np.linalg.svd((pooled - mean).astype(np.float64), full_matrices=False)
    # The smallest axes of few photos are mostly noise: shrinking keeps them from being blown up.
    scale = np.sqrt(spread[:dim] ** 2 + SHRINK * spread[0] ** 2 + 1e-12)
    return {"mean": mean, "axes": (_signed(axes[:dim]) / scale[:, None]).astype(np.float32)}


def unit(rows: Floats) -> Floats:
    """Rows (…, D) to unit length; a row of zeros stays zeros."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-9), dtype=np.float32)


def _signed(axes: NDArray[np.float64]) -> Floats:
    """An axis and its negative are equally right: the largest entry is made positive."""
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return np.ascontiguousarray(axes * np.sign(largest), dtype=np.float32)


log = logging.getLogger("whichlandmark")

Bytes = NDArray[np.uint8]

SIFT_DIM = 128

LEAST_PHOTOS = 4  # to whiten two axes

CONTRAST = 0.02  # weaker keypoints than OpenCV's 0.04: hazy photos have few


@dataclass(frozen=True, kw_only=True)
class SiftOptions:
    """Flat; saved with the embedder."""

    size: int = 480  # long side in pixels at which keypoints are looked for
    features: int = 1500  # strongest keypoints of a photo
    words: int = 64  # of the vocabulary
    descriptor_dim: int = 64  # RootSIFT's 128 after PCA
    dim: int = 256  # of an embedding; fewer when there are too few photos to whiten so many
    most_photos: int = 2000  # that the fit holds at once, at up to 200 KB each
    most_sampled: int = 200_000  # descriptors that the vocabulary is fitted on
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("size", "features", "words", "descriptor_dim", "dim", "most_sampled"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} {getattr(self, name)} given; expected 1 or more")
        if self.descriptor_dim > SIFT_DIM:
            raise OptionError(f"descriptor_dim {self.descriptor_dim} given; SIFT has {SIFT_DIM}")
        if self.most_photos < LEAST_PHOTOS:
            raise OptionError(
                f"most_photos {self.most_photos} given; expected {LEAST_PHOTOS} or more"
            )


class SiftEmbedder:
    """Made by `fit` or `load`: images of any sizes → (N, dim) float32, unit rows."""

    name = "sift"
    kind = "sift"

    def __init__(self, options: SiftOptions, arrays: dict[str, Floats]) -> None:
        """arrays: descriptor_mean (128,), descriptor_axes (d, 128), words (K, d),
        mean (K·d,), axes (dim, K·d) scaled for whitening.

        Raises ModelError when their names, types or shapes differ from these.
        """
        _check(options, arrays)
        self.options = options
        self.arrays = arrays
        self.dim = len(arrays["axes"])
        self.short_side = options.size
        self.id = f"sift-{_fingerprint(options, arrays)}"

    @classmethod
    def fit(cls, images: Iterable[Image], options: SiftOptions | None = None) -> SiftEmbedder:
        """Vocabulary and whitening from photos (the gallery's; distractors do no harm).

        One pass over the images; `most_photos` of them, drawn at random, are learned from, so
        memory is bounded (0.4 GB at most). dim is at most half the number of photos, and a
        warning says so: more axes cannot be told from noise.
        Raises DataError when there are too few photos or keypoints.
        """
        options = options or SiftOptions()
        described = _drawn(images, options)
        sample = _sampled(described, options)
        least = 4 * options.words
        if len(described) < LEAST_PHOTOS or len(sample) < least:
            raise DataError(
                f"{len(described)} photos with {len(sample)} keypoints given; sift needs "
                f"{LEAST_PHOTOS} photos and {least} keypoints at least: index more photos, or "
                "with structure in them"
            )
        dim = min(options.dim, len(described) // 2)
        if dim < options.dim:
            log.warning(
                "sift: %d photos give %d dimensions, not %d", len(described), dim, options.dim
            )
        arrays = vocabulary(sample, options.words, options.descriptor_dim, options.seed)
        pooled = np.stack([vlad(_root(found), arrays) for found in described])
        return cls(options, {**arrays, **whitening(pooled, dim)})

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """(H, W, 3) uint8 images → (N, dim). Photos without keypoints share one row."""
        rows = np.empty((len(images), self.dim), dtype=np.float32)
        with ThreadPoolExecutor() as pool:  # OpenCV leaves Python free while it works
            for row, vector in enumerate(pool.map(self._embed, images)):
                rows[row] = vector
        return rows

    def _embed(self, image: Image) -> Floats:
        pooled = vlad(_root(describe(image, self.options)), self.arrays)
        # einsum, for a row must not depend on threads or on the other photos of the call.
        row = np.einsum("ij,j->i", self.arrays["axes"], pooled - self.arrays["mean"])
        if not row.any():  # exactly the mean photo: any direction is as good
            row[0] = 1
        return unit(row)

    def save(self, folder: Path, /) -> None:
        """Write model.safetensors and embedder.json, each whole or not at all."""
        folder = Path(folder)
        with whole_file(folder / "model.safetensors") as temporary:
            safetensors.numpy.save_file(self.arrays, temporary)
        write_json(
            folder / "embedder.json",
            {
                "kind": self.kind,
                "name": self.name,
                "id": self.id,
                "dim": self.dim,
                "options": to_json(self.options),
                "versions": {"opencv": cv2.__version__, "faiss": faiss.__version__},
            },
        )

    @classmethod
    def load(cls, folder: Path) -> SiftEmbedder:
        """Open a folder written by `save`. Raises ModelError when it is missing or damaged."""
        folder = Path(folder)
        try:
            record = read_json(folder / "embedder.json")
            options = from_json(SiftOptions, record["options"])
            arrays = safetensors.numpy.load_file(folder / "model.safetensors")
        except (
            DataError,
            OptionError,
            OSError,
            KeyError,
            ValueError,
            AttributeError,
            safetensors.SafetensorError,
        ) as error:
            raise ModelError(f"{folder}: missing or damaged embedder folder ({error})") from None
        try:
            embedder = cls(options, arrays)
        except ModelError as error:
            raise ModelError(f"{folder}: {error}") from None
        if embedder.id != record.get("id"):
            raise ModelError(
                f"{folder}: model.safetensors is not the one of embedder.json "
                f"(id {record.get('id')!r}); make the folder again"
            )
        return embedder


def describe(image: Image, options: SiftOptions) -> Bytes:
    """(H, W, 3) uint8 → SIFT descriptors (n, 128) uint8 of the strongest keypoints, upright.

    Descriptors are not turned to their keypoint's own direction: photos and buildings stand
    upright, and a window's upper corner is not its lower one. On real photos this named one
    in ten more rightly. Photos may still be tilted by 8 degrees (see the tests).
    """
    scale = min(options.size / max(image.shape[:2]), 2.0)  # small photos at most doubled
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (width, height), interpolation=interpolation)
    sift = cv2.SIFT.create(nfeatures=options.features, contrastThreshold=CONTRAST)
    upright: dict[tuple[Any, ...], cv2.KeyPoint] = {}
    for point in sift.detect(grey, None):  # a point of two directions comes twice
        point.angle = 0
        upright.setdefault((*point.pt, point.size), point)
    if not upright:
        return np.empty((0, SIFT_DIM), dtype=np.uint8)
    _, found = sift.compute(grey, list(upright.values()))
    return np.asarray(found, dtype=np.uint8)  # whole numbers from 0 to 255


def _root(descriptors: Bytes) -> Floats:
    """RootSIFT: L1-normalised, square root. (n, 128) uint8 → float32, rows of unit length."""
    found = descriptors.astype(np.float32)
    shares = found / np.maximum(found.sum(axis=1, keepdims=True), 1)
    return np.asarray(np.sqrt(shares), dtype=np.float32)


def _drawn(images: Iterable[Image], options: SiftOptions) -> list[Bytes]:
    """Descriptors of at most `most_photos` images, each image as likely as any other.

    Reservoir sampling: Vitter, "Random sampling with a reservoir", TOMS 1985 (algorithm R).
    """
    rng = np.random.default_rng(options.seed)
    kept: list[Bytes] = []
    for count, image in enumerate(images):
        if count < options.most_photos:
            kept.append(describe(image, options))
        elif (place := int(rng.integers(count + 1))) < options.most_photos:
            kept[place] = describe(image, options)
    return kept


def _sampled(described: list[Bytes], options: SiftOptions) -> Floats:
    """RootSIFT (n, 128) of at most `most_sampled` descriptors, as many of each photo."""
    rng = np.random.default_rng(options.seed)
    each = max(1, options.most_sampled // max(1, len(described)))
    parts = [found[np.sort(rng.permutation(len(found))[:each])] for found in described]
    return _root(np.concatenate([*parts, np.empty((0, SIFT_DIM), dtype=np.uint8)]))


def _check(options: SiftOptions, arrays: dict[str, Floats]) -> None:
    """Raises ModelError unless the arrays are those that the options ask for."""
    wide = options.words * options.descriptor_dim
    dim = len(arrays["axes"]) if np.ndim(arrays.get("axes", 0)) else 0
    expected = {
        "descriptor_mean": (SIFT_DIM,),
        "descriptor_axes": (options.descriptor_dim, SIFT_DIM),
        "words": (options.words, options.descriptor_dim),
        "mean": (wide,),
        "axes": (dim, wide),
    }
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes != expected or not 1 <= dim <= options.dim:
        raise ModelError(f"arrays of shapes {shapes} given; expected {expected}")
    for name, array in arrays.items():
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise ModelError(f"array {name!r}: expected finite float32 numbers")


def _fingerprint(options: SiftOptions, arrays: dict[str, Floats]) -> str:
    digest = hashlib.sha256(json.dumps(to_json(options), sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(name.encode() + arrays[name].astype("<f4").tobytes())
    return digest.hexdigest()[:12]
