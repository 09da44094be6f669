"""RootSIFT + VLAD: an embedder without weights or download, fitted on the gallery itself.

RootSIFT: Arandjelović & Zisserman, "Three things everyone should know to improve object
retrieval", CVPR 2012. VLAD: Jégou et al., "Aggregating local descriptors into a compact image
representation", CVPR 2010. Per-word normalisation: Arandjelović & Zisserman, "All about VLAD",
CVPR 2013. Whitening: Jégou & Chum, "Negative evidences and co-occurences in image retrieval",
ECCV 2012.

Fitting runs in one thread, because the last bits of k-means and LAPACK depend on the number of
threads.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import faiss
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ...core.disks import unreadable
from ...core.errors import DataError, ModelError, OptionError
from ...core.files import atomic_file, read_json, write_json
from ...core.json_options import SEED, Span, check_fields, count, from_json, to_json
from ...core.types import Image, Vectors
from .record import NO_WEIGHTS

log = logging.getLogger("whichlandmark")

Floats = NDArray[np.float32]

Bytes = NDArray[np.uint8]

SIFT_DIM = 128

MIN_FIT_PHOTOS = 4  # needed to whiten two axes

CONTRAST_THRESHOLD = 0.02  # half of OpenCV's default, because hazy photos have few keypoints

# This share of the largest axis' variance is added to the variance of every axis before whitening.
# With less, whitening separates the photos it was fitted on better than new ones; the calibration,
# fitted on leave-one-out queries of these photos, is then overconfident (benchmarks/LOG.md).
WHITENING_SHRINKAGE = 1.0

# Photos of the fit for each axis. The axes hold what sets the photos of the fit apart, and less of
# what sets a new photo apart, so new photos are more similar to everything. With one axis for every
# two photos, a sixth of the answers that a gallery is sure of were wrong; with eight, one in forty.
PHOTOS_AN_AXIS = 8

# Axes that a small fit may have all the same, up to one for every two photos.
FEW_AXES = 16


SPANS = {  # option → the numbers that it takes
    "size": Span(16, 4096, whole=True, note="pixels"), "features": count(1, 100_000),
    "words": count(1, 65_536), "descriptor_dim": count(1, SIFT_DIM), "dim": count(1, 65_536),
    "most_photos": count(MIN_FIT_PHOTOS), "most_sampled": count(1, 100_000_000), "seed": SEED,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SiftOptions:
    """Options of fitting and describing; saved with the embedder."""

    spans: ClassVar[Mapping[str, Span]] = SPANS

    size: int = 480  # long side in pixels at which keypoints are detected
    features: int = 1500  # maximum number of keypoints of a photo, the strongest
    words: int = 64  # of the vocabulary
    descriptor_dim: int = 64  # RootSIFT's 128 after PCA
    dim: int = 256  # of a vector, at most: see PHOTOS_AN_AXIS
    most_photos: int = 2000  # used for the fit, up to 200 KB of memory each
    most_sampled: int = 200_000  # descriptors used for the vocabulary
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)


class SiftEmbedder:
    """RootSIFT + VLAD with whitening: images of any sizes → (N, dim) unit rows. See `fit`."""

    name = "sift"
    kind = "sift"
    licence = NO_WEIGHTS

    def __init__(self, options: SiftOptions, arrays: dict[str, Floats]) -> None:
        """From fitted arrays; use `fit` or `load`.

        arrays: descriptor_mean (128,), descriptor_axes (d, 128), words (K, d), mean (K·d,), axes
        (dim, K·d) scaled for whitening. Raises ModelError for other names, types or shapes.
        """
        _check_arrays(options, arrays)
        self.options = options
        self.arrays = arrays
        self.dim = len(arrays["axes"])
        self.short_side = options.size
        self.id = f"sift-{_fingerprint(options, arrays)}"

    @classmethod
    def fit(cls, images: Iterable[Image], options: SiftOptions | None = None) -> SiftEmbedder:
        """Fit vocabulary and whitening on photos, usually those of the gallery with distractors.

        One pass over the images, of which `most_photos` random ones are used, so memory is bounded
        (0.4 GB at most). dim is limited to an eighth of the photos (to half of them up to
        FEW_AXES), with a warning: see PHOTOS_AN_AXIS. Raises DataError when there are too few
        photos or keypoints.
        """
        options = options or SiftOptions()
        descriptors = _describe_sample(images, options)
        # At most `most_sampled` random descriptors, equally many of each photo.
        rng = np.random.default_rng(options.seed)
        count = max(1, options.most_sampled // max(1, len(descriptors)))
        parts = [rows[np.sort(rng.permutation(len(rows))[:count])] for rows in descriptors]
        sample = _root_sift(np.concatenate([*parts, np.empty((0, SIFT_DIM), dtype=np.uint8)]))
        min_keypoints = 4 * options.words
        if len(descriptors) < MIN_FIT_PHOTOS or len(sample) < min_keypoints:
            raise DataError(
                f"{len(descriptors)} photos with {len(sample)} keypoints given; sift needs "
                f"{MIN_FIT_PHOTOS} photos and {min_keypoints} keypoints at least: index "
                "more photos, or photos with more detail"
            )
        photos = len(descriptors)
        dim = min(options.dim, max(photos // PHOTOS_AN_AXIS, min(photos // 2, FEW_AXES)))
        if dim < options.dim:
            log.warning(
                "sift: %d photos give %d dimensions, not %d", len(descriptors), dim, options.dim
            )
        arrays = fit_vocabulary(sample, options.words, options.descriptor_dim, options.seed)
        pooled = np.stack([vlad(_root_sift(rows), arrays) for rows in descriptors])
        return cls(options, {**arrays, **fit_whitening(pooled, dim)})

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        """(H, W, 3) uint8 images → (N, dim); all photos without keypoints get the same vector."""
        rows = np.empty((len(images), self.dim), dtype=np.float32)
        with ThreadPoolExecutor() as pool:  # OpenCV releases the GIL
            for row, vector in enumerate(pool.map(self._embed, images)):
                rows[row] = vector
        return rows

    def _embed(self, image: Image) -> Floats:
        pooled = vlad(_root_sift(describe(image, self.options)), self.arrays)
        # einsum, so that a vector does not depend on BLAS threads or the other photos of the call.
        row = np.einsum("ij,j->i", self.arrays["axes"], pooled - self.arrays["mean"])
        if not row.any():  # exactly the mean photo: use an arbitrary unit vector
            row[0] = 1
        return unit_rows(row)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, {self.dim} dimensions)"

    def save(self, folder: Path, /) -> None:
        """Write model.safetensors and embedder.json, each atomically."""
        folder = Path(folder)
        with atomic_file(folder / "model.safetensors") as temporary:
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
        if fault := unreadable(folder / "model.safetensors"):
            raise ModelError(fault)
        try:
            record = read_json(folder / "embedder.json")
            options = from_json(SiftOptions, record["options"])
            arrays = safetensors.numpy.load((folder / "model.safetensors").read_bytes())
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
    """(H, W, 3) uint8 → upright SIFT descriptors (n, 128) uint8 of the strongest keypoints.

    Descriptors are not rotated to the orientation of their keypoint, because photos and buildings
    are upright and, for example, the upper and lower corner of a window must differ. This improved
    accuracy by 10 percentage points on real photos. Tilts of up to 8 degrees still work (see the
    tests).
    """
    scale = min(options.size / max(image.shape[:2]), 2.0)  # enlarge at most twofold
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (width, height), interpolation=interpolation)
    sift = cv2.SIFT.create(nfeatures=options.features, contrastThreshold=CONTRAST_THRESHOLD)
    upright: dict[tuple[Any, ...], cv2.KeyPoint] = {}
    for point in sift.detect(grey, None):  # SIFT repeats points with two orientations
        point.angle = 0
        upright.setdefault((*point.pt, point.size), point)
    if not upright:
        return np.empty((0, SIFT_DIM), dtype=np.uint8)
    _, descriptors = sift.compute(grey, list(upright.values()))
    return np.asarray(descriptors, dtype=np.uint8)  # OpenCV returns integers from 0 to 255


def _root_sift(descriptors: Bytes) -> Floats:
    """(n, 128) uint8 SIFT → RootSIFT (L1-normalised, square root): float32 unit rows."""
    raw = descriptors.astype(np.float32)
    normalised = raw / np.maximum(raw.sum(axis=1, keepdims=True), 1)
    return np.asarray(np.sqrt(normalised), dtype=np.float32)


def _describe_sample(images: Iterable[Image], options: SiftOptions) -> list[Bytes]:
    """Descriptors of a uniform random sample of at most `most_photos` images.

    Reservoir sampling: Vitter, "Random sampling with a reservoir", TOMS 1985 (algorithm R).
    """
    rng = np.random.default_rng(options.seed)
    sample: list[Bytes] = []
    for seen, image in enumerate(images):
        if seen < options.most_photos:
            sample.append(describe(image, options))
        elif (slot := int(rng.integers(seen + 1))) < options.most_photos:
            sample[slot] = describe(image, options)
    return sample


def fit_vocabulary(sample: Floats, words: int, dim: int, seed: int) -> dict[str, Floats]:
    """Fit a visual vocabulary: PCA of descriptors (n, D), then k-means; n ≥ words.

    Returns descriptor_mean (D,), descriptor_axes (dim, D) and words (words, dim).
    """
    mean = sample.mean(axis=0)
    centred = (sample - mean).astype(np.float64)
    with threadpool_limits(1):
        _, vectors = np.linalg.eigh(centred.T @ centred)
    axes = _fix_signs(vectors.T[::-1][:dim])
    reduced = np.ascontiguousarray((sample - mean) @ axes.T, dtype=np.float32)
    kmeans = faiss.Kmeans(
        dim, words, niter=25, seed=seed, min_points_per_centroid=1, max_points_per_centroid=10**9
    )
    with threadpool_limits(1):
        kmeans.train(reduced)
    centres = np.array(kmeans.centroids, dtype=np.float32)
    return {"descriptor_mean": mean, "descriptor_axes": axes, "words": centres}


def vlad(descriptors: Floats, arrays: Mapping[str, Floats]) -> Floats:
    """Aggregate (n, D) descriptors, given K words in d dimensions, to a (K·d,) vector.

    Residuals are summed by nearest word; then unit length per word, signed square root, unit length
    of the whole. Zeros when there are no descriptors.
    """
    words = arrays["words"]
    sums = np.zeros(words.shape, dtype=np.float32)
    if len(descriptors):
        reduced = (descriptors - arrays["descriptor_mean"]) @ arrays["descriptor_axes"].T
        nearest = (reduced @ words.T - 0.5 * (words**2).sum(axis=1)).argmax(axis=1)
        np.add.at(sums, nearest, reduced - words[nearest])
    flat = unit_rows(sums).ravel()
    return unit_rows(np.sign(flat) * np.sqrt(np.abs(flat)))


def fit_whitening(pooled: Floats, dim: int) -> dict[str, Floats]:
    """Fit PCA whitening on (N, D) rows: mean (D,) and scaled principal axes (dim, D); dim ≤ N."""
    mean = pooled.mean(axis=0)
    with threadpool_limits(1):
        _, spread, axes = np.linalg.svd((pooled - mean).astype(np.float64), full_matrices=False)
    # Shrinkage, because the smallest axes of few photos are mostly noise that whitening amplifies.
    scale = np.sqrt(spread[:dim] ** 2 + WHITENING_SHRINKAGE * spread[0] ** 2 + 1e-12)
    return {"mean": mean, "axes": (_fix_signs(axes[:dim]) / scale[:, None]).astype(np.float32)}


def unit_rows(rows: Floats) -> Floats:
    """L2-normalise rows (…, D); a row of zeros stays zeros."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-9), dtype=np.float32)


def _fix_signs(axes: NDArray[np.float64]) -> Floats:
    """Make each axis' largest entry positive, because the sign of a principal axis is arbitrary."""
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return np.ascontiguousarray(axes * np.sign(largest), dtype=np.float32)


def _check_arrays(options: SiftOptions, arrays: dict[str, Floats]) -> None:
    """Raises ModelError unless names, shapes and types of the arrays fit the options."""
    vlad_dim = options.words * options.descriptor_dim
    dim = len(arrays["axes"]) if np.ndim(arrays.get("axes", 0)) else 0
    expected = {
        "descriptor_mean": (SIFT_DIM,),
        "descriptor_axes": (options.descriptor_dim, SIFT_DIM),
        "words": (options.words, options.descriptor_dim),
        "mean": (vlad_dim,),
        "axes": (dim, vlad_dim),
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
