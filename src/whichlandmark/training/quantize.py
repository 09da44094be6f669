"""Convert a float embedder to int8, measure the loss of accuracy, refuse it if too large."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import DataError, ImageError, ModelError, OptionError
from ..core.files import atomic_file
from ..core.hardware import has_exact_int8
from ..core.images import read_image
from ..core.types import Image, Photos, Progress, ProgressFor, Vectors, one_landmark_each
from ..features.embedders import lite0
from ..features.embedders.foreign_onnx import ONNX_PREFIX
from ..features.embedders.load import (
    TIMM_PREFIX,
    PretrainedOptions,
    embedder_folder,
    embedder_summary,
    load_onnx,
    make_embedder,
)
from ..features.embedders.onnx_embedder import OnnxEmbedder, SessionOpener
from ..features.embedders.place_evidence import PlaceEvidence
from ..features.embedders.record import (
    INT8_FILE,
    onnx_file,
    read_record,
    sha256,
    verified_path,
    write_record,
)
from ..features.embedders.runtimes import installed_runtimes, open_onnx, open_openvino
from ..features.pipeline import Failure, embed
from ..features.preprocessing import Network
from ..gallery.index.exact import nearest
from ..metrics.ranking import gap
from .int8 import Quantizer

CALIBRATION_PHOTOS = 96  # used to measure the ranges of activations

TRIAL_PHOTOS = 24  # used to measure the effect of each layer


@dataclass(frozen=True)
class QuantizeResult:
    """Measured numbers, for printing, and the photos that could not be read."""

    counts: dict[str, Any]
    failures: list[Failure]


def make_int8(
    source: str,
    options: PretrainedOptions,
    out: Path,
    photos: Photos,
    *,
    max_gap_loss: float,
    progress: ProgressFor,
) -> QuantizeResult:
    """`quantize` for any source: "lite0", "timm:NAME", "onnx:FILE", or an embedder folder."""
    with tempfile.TemporaryDirectory(prefix="whichlandmark-") as temporary:
        is_new = source == lite0.NAME or source.startswith((TIMM_PREFIX, ONNX_PREFIX))
        if not is_new and onnx_file(read_record(embedder_folder(source, options))):
            folder = Path(source)
        else:
            folder = Path(temporary)
            make_embedder(source, options, folder)
            if onnx_file(read_record(folder)) is None:
                raise ModelError(
                    f"{source}: its network cannot be written as ONNX, from which int8 is made; "
                    "keep the float embedder, which runs with torch"
                )
        result = quantize(folder, out, photos, max_gap_loss=max_gap_loss, progress=progress)
    return QuantizeResult(embedder_summary(out) | result.counts, result.failures)


def quantize(
    source: Path,
    out: Path,
    photos: Photos,
    *,
    max_gap_loss: float = 0.01,
    seed: int = 0,
    progress: ProgressFor,
) -> QuantizeResult:
    """Write the int8 version of an embedder, if it is accurate enough.

    The loss is measured as leave-one-out GAP on `photos`, with every installed runtime.

    Args:
        source: A float embedder folder with an ONNX file.
        out: The folder to write.
        photos: Labelled photos. A random sample calibrates, all are measured.
        max_gap_loss: Maximum loss of GAP, 0 to 1.
        seed: Of the calibration sample.
        progress: Called with the name of a step; returns its progress function.

    Raises:
        ModelError: When int8 loses more GAP with any runtime (nothing is written then), or when the
            source is int8.
        DataError: When no landmark has two photos, or none can be read.
        OptionError: When `max_gap_loss` is out of range, or source and out are the same.
    """
    if not 0 <= max_gap_loss <= 1:
        raise OptionError(f"max_gap_loss {max_gap_loss} given; expected 0 to 1")
    if source.resolve() == out.resolve():
        raise OptionError(f"{out}: holds the float embedder; choose another folder for int8")
    embedder = load_onnx(source, runtime="onnxruntime")
    if embedder.record.get("precision") != "float32":
        raise ModelError(f"{source}: is int8 already; give the float embedder it was made from")
    if embedder.interface and embedder.interface.half:
        raise ModelError(f"{source}: a float16 network; int8 is made of a float32 one")
    photos = one_landmark_each(photos)
    query_count = _count_queries(photos)
    with tempfile.TemporaryDirectory(prefix="whichlandmark-") as folder:
        calibration = _calibration_images(embedder, photos, seed)
        int8_file, float_layers = _quantize_network(
            embedder, calibration, Path(folder), progress("trying layers")
        )
        networks = {"float": embedder.network, **_open_runtimes(embedder, int8_file)}
        rows, vectors, failures = _embed_with_all(embedder, photos, networks, progress("measuring"))
        readable = photos.take(rows)
        counts = _compare(vectors, readable, _count_queries(readable) if failures else query_count)
        lost = counts["gap"]["float"] - min(counts["gap"].values())
        if lost > max_gap_loss:
            raise ModelError(
                f"int8 loses {lost:.4f} GAP on these {len(readable)} photos (float "
                f"{counts['gap']['float']:.4f}), more than {max_gap_loss}: nothing was written; "
                "keep the float embedder, or allow more with --max-gap-loss"
            )
        counts |= {
            "photos": len(readable),
            "calibrated with": len(calibration),
            "float layers": float_layers,
        }
        _write_embedder(embedder, int8_file, out, counts)
    return QuantizeResult(counts, failures)


def _calibration_images(embedder: OnnxEmbedder, photos: Photos, seed: int) -> list[Image]:
    """A random sample of readable photos, decoded as for the embedder."""
    images: list[Image] = []
    for row in np.random.default_rng(seed).permutation(len(photos)):
        if len(images) == CALIBRATION_PHOTOS:
            break
        try:
            image = read_image(photos.paths[row], short_side=embedder.short_side)
        except ImageError:
            continue  # reported later, when all photos are embedded
        images.append(image)
    if not images:
        raise DataError(f"none of the {len(photos)} photos could be read for calibration")
    return images


def _quantize_network(
    embedder: OnnxEmbedder, images: Sequence[Image], work_folder: Path, progress: Progress
) -> tuple[Path, list[str]]:
    """The path of the int8 file, and the names of its layers that stay float."""
    input_pipeline = embedder.input_pipeline
    batches = [batch for image in images for batch in input_pipeline.batches([image])]
    if interface := embedder.interface:
        batches = [np.repeat(batch, interface.batch or 1, axis=0) for batch in batches]
    quantizer = Quantizer(embedder.path, work_folder, batches)
    trial = images[:TRIAL_PHOTOS]
    expected = embedder(trial)

    def error(path: Path) -> float:
        rows = input_pipeline(trial, embedder.opened(path, open_onnx), embedder.dim)
        return float(1 - np.sum(rows * expected, axis=1).mean())

    float_layers = quantizer.sensitive_layers(error, progress)
    quantizer.write(work_folder / INT8_FILE, float_layers)
    return work_folder / INT8_FILE, float_layers


def _open_runtimes(embedder: OnnxEmbedder, path: Path) -> dict[str, Network]:
    """Open an ONNX file with every installed runtime that can run it."""
    openers: dict[str, SessionOpener] = {"onnxruntime": open_onnx, "openvino": open_openvino}
    return {
        name: embedder.opened(path, openers[name])
        for name in installed_runtimes()
        if name in openers
    }


@dataclass(frozen=True)
class _SeveralNetworks:
    """An embedder that concatenates the rows of several networks, to decode each photo once.

    Divided by the root of their number, so that these rows have unit length too.
    """

    embedder: OnnxEmbedder
    networks: Sequence[Network]
    name: str = "several"
    id: str = "several"

    @property
    def dim(self) -> int:
        return self.embedder.dim * len(self.networks)

    @property
    def short_side(self) -> int:
        return self.embedder.short_side

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        input_pipeline, dim = self.embedder.input_pipeline, self.embedder.dim
        rows = np.hstack([input_pipeline(images, network, dim) for network in self.networks])
        return np.asarray(rows / np.sqrt(len(self.networks)), dtype=np.float32)

    def save(self, folder: Path, /) -> None:
        raise ModelError(f"{folder}: networks that are measured side by side cannot be saved")


def _embed_with_all(
    embedder: OnnxEmbedder, photos: Photos, networks: dict[str, Network], progress: Progress
) -> tuple[list[int], dict[str, Vectors], list[Failure]]:
    """Rows of the readable photos, their vectors from each network, and the failures."""
    rows: list[int] = []
    parts: list[Vectors] = []
    failures: list[Failure] = []
    several = _SeveralNetworks(embedder, list(networks.values()))
    for batch in embed(several, photos, progress=progress):
        rows += batch.rows.tolist()
        parts.append(batch.vectors)
        failures += batch.failures
    together = np.vstack(parts) * np.float32(np.sqrt(len(networks)))
    columns = map(np.ascontiguousarray, np.split(together, len(networks), axis=1))
    return rows, dict(zip(networks, columns, strict=True)), failures


def _compare(vectors: dict[str, Vectors], photos: Photos, query_count: int) -> dict[str, Any]:
    """Cosine to the float vectors, and GAP, of each runtime."""
    report: dict[str, Any] = {"cosine to float, mean": {}, "cosine to float, 1st percentile": {}}
    for name, rows in vectors.items():
        if name == "float":
            continue
        cosines = np.sum(rows.astype(np.float64) * vectors["float"], axis=1)
        report["cosine to float, mean"][name] = float(cosines.mean())
        report["cosine to float, 1st percentile"][name] = float(np.percentile(cosines, 1))
    report["gap"] = {
        name: _leave_one_out_gap(rows, photos, query_count) for name, rows in vectors.items()
    }
    return report


def _leave_one_out_gap(vectors: Vectors, photos: Photos, query_count: int) -> float:
    """GAP of nearest neighbours, with each photo as a query against all others.

    query_count: M of GAP, the photos whose landmark has another photo.
    """
    found = nearest(vectors, vectors, 2)
    queries = np.arange(len(vectors))
    # The second neighbour if the first is the photo itself.
    column = (found.rows[:, 0] == queries).astype(np.int64)
    answers = photos.landmarks[found.rows[queries, column]]
    right = (answers == photos.landmarks) & (photos.landmarks != "")
    score = found.similarity[queries, column].astype(np.float64)
    return gap(score, np.asarray(right, dtype=bool), query_count, predicted=answers != "")


def _count_queries(photos: Photos) -> int:
    """Number of photos whose landmark has another photo. Raises DataError when it is 0."""
    names, counts = np.unique(photos.landmarks[photos.landmarks != ""], return_counts=True)
    if not len(names) or counts.max() < 2:
        raise DataError(
            f"{len(photos)} photos of {len(names)} landmarks given, none with two photos; int8 is "
            "measured by searching, for each photo, another one of its landmark"
        )
    return int(counts[counts > 1].sum())


def _write_embedder(
    embedder: OnnxEmbedder, int8_file: Path, out: Path, counts: dict[str, Any]
) -> None:
    with atomic_file(out / INT8_FILE) as temporary:
        temporary.write_bytes(int8_file.read_bytes())
    record = {key: value for key, value in embedder.record.items() if key not in ("files", "sum")}
    record |= {
        "id": f"{embedder.id}-int8-{sha256(out / INT8_FILE)[:8]}",
        "precision": "int8",
        "float_id": embedder.id,
        "bits_of_weights": 8 if has_exact_int8() else 7,
        "measured": counts,
    }
    files = [INT8_FILE]
    if PlaceEvidence.FILE in embedder.record["files"]:
        source = verified_path(embedder.folder, embedder.record, PlaceEvidence.FILE)
        with atomic_file(out / PlaceEvidence.FILE) as temporary:
            temporary.write_bytes(source.read_bytes())
        files.append(PlaceEvidence.FILE)
    write_record(out, record, files)
