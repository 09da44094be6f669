"""Float → int8, measured, refused when it loses too much."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import DataError, ImageError, ModelError, OptionError
from ..core.files import whole_file
from ..core.hardware import adds_bytes_exactly
from ..core.images import read_image
from ..core.types import Image, Photos, Progress, ProgressFor, Vectors
from ..features.embedders.load import (
    INT8,
    PREFIX,
    PretrainedOptions,
    _folder,
    exported,
    load_exported,
    make_embedder,
    read_record,
    sha256,
    summary_of,
    write_record,
)
from ..features.embedders.onnx_embedder import OnnxEmbedder
from ..features.embedders.runtimes import installed, open_onnx, open_openvino
from ..features.pipeline import Failure, embed
from ..features.preprocessing import Network
from ..gallery.index.exact import nearest
from ..metrics.ranking import gap
from .int8 import Quantizer


def make_int8(
    source: str,
    options: PretrainedOptions,
    out: Path,
    photos: Photos,
    *,
    max_gap_loss: float,
    progress: ProgressFor,
) -> QuantizeResult:
    """Write the int8 embedder of `source` into `out`; photos: labelled. Raises as `quantize`."""
    with tempfile.TemporaryDirectory(prefix="whichlandmark-") as temporary:
        folder = Path(temporary)
        if not source.startswith(PREFIX) and exported(read_record(_folder(source, options))):
            folder = Path(source)
        else:
            make_embedder(source, options, folder)
        made = quantize(folder, out, photos, max_gap_loss=max_gap_loss, progress=progress)
    return QuantizeResult(summary_of(out) | made.counts, made.failures)


CALIBRATION = 96  # photos that the ranges are taken from

TRIAL = 24  # photos that each layer is tried on


@dataclass(frozen=True)
class QuantizeResult:
    """What was measured, as numbers to print, and the photos that could not be read."""

    counts: dict[str, Any]
    failures: list[Failure]


def quantize(
    source: Path,
    out: Path,
    photos: Photos,
    *,
    max_gap_loss: float = 0.01,
    seed: int = 0,
    progress: ProgressFor,
) -> QuantizeResult:
    """Write the int8 embedder of `source` into `out`.

    photos: labelled; some calibrate, all are measured. max_gap_loss: 0 to 1.
    Raises ModelError, and writes nothing, when int8 loses more GAP than that on any runtime;
    DataError when no landmark has two photos; OptionError for a bound out of range, or when
    source and out are the same.
    """
    if not 0 <= max_gap_loss <= 1:
        raise OptionError(f"max_gap_loss {max_gap_loss} given; expected 0 to 1")
    if source.resolve() == out.resolve():
        raise OptionError(f"{out}: holds the float embedder; choose another folder for int8")
    embedder = load_exported(source, runtime="onnxruntime")
    if embedder.record.get("precision") != "float32":
        raise ModelError(f"{source}: is int8 already; give the float embedder it was made from")
    asked = _landmark_queries(photos)
    with tempfile.TemporaryDirectory(prefix="whichlandmark-") as folder:
        chosen = _sample(embedder, photos, seed)
        rounded, floats = _rounded(embedder, chosen, Path(folder), progress("trying layers"))
        runs = {"float": embedder.network, **_networks(rounded)}
        rows, vectors, failures = _embedded(embedder, photos, runs, progress("measuring"))
        seen = photos.take(rows)
        counts = _measured(vectors, seen, _landmark_queries(seen) if failures else asked)
        lost = counts["gap"]["float"] - min(counts["gap"].values())
        if lost > max_gap_loss:
            raise ModelError(
                f"int8 loses {lost:.4f} GAP on these {len(seen)} photos (float "
                f"{counts['gap']['float']:.4f}), more than {max_gap_loss}: nothing was written; "
                "keep the float embedder, or allow more with --max-gap-loss"
            )
        counts |= {"photos": len(seen), "calibrated with": len(chosen), "float layers": floats}
        _write(embedder, rounded, out, counts)
    return QuantizeResult(counts, failures)


def _sample(embedder: OnnxEmbedder, photos: Photos, seed: int) -> list[Image]:
    """Readable photos drawn by chance, as the network's resizing leaves them."""
    images: list[Image] = []
    for row in np.random.default_rng(seed).permutation(len(photos)):
        if len(images) == CALIBRATION:
            break
        try:
            image = read_image(photos.paths[row], short_side=embedder.short_side)
        except ImageError:
            continue  # listed when all photos are embedded
        images.append(image)
    if not images:
        raise DataError(f"none of the {len(photos)} photos could be read; none to calibrate with")
    return images


def _rounded(
    embedder: OnnxEmbedder, images: Sequence[Image], work: Path, progress: Progress
) -> tuple[Path, list[str]]:
    """The int8 file, and the names of its layers that stay float."""
    looking = embedder.looking
    batches = [batch for image in images for batch in looking.batches([image])]
    quantizer = Quantizer(embedder.path, work, batches)
    trial = images[:TRIAL]
    expected = embedder(trial)

    def error(path: Path) -> float:
        found = looking(trial, open_onnx(path), embedder.dim)
        return float(1 - np.sum(found * expected, axis=1).mean())

    floats = quantizer.best(error, progress)
    quantizer.write(work / INT8, floats)
    return work / INT8, floats


def _networks(path: Path) -> dict[str, Network]:
    openers = {"onnxruntime": open_onnx, "openvino": open_openvino}
    return {name: openers[name](path) for name in installed() if name in openers}


@dataclass(frozen=True)
class _SideBySide:
    """Several networks behind one look at the photos: their rows side by side."""

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
        looking, dim = self.embedder.looking, self.embedder.dim
        return np.hstack([looking(images, network, dim) for network in self.networks])

    def save(self, folder: Path, /) -> None:
        raise NotImplementedError  # lives for one measurement


def _embedded(
    embedder: OnnxEmbedder, photos: Photos, runs: dict[str, Network], progress: Progress
) -> tuple[list[int], dict[str, Vectors], list[Failure]]:
    """Rows of the photos that could be read, their vectors by each network, and what failed."""
    rows: list[int] = []
    parts: list[Vectors] = []
    failures: list[Failure] = []
    for batch in embed(_SideBySide(embedder, list(runs.values())), photos, progress=progress):
        rows += batch.rows.tolist()
        parts.append(batch.vectors)
        failures += batch.failures
    columns = np.split(np.vstack(parts), len(runs), axis=1)
    return rows, dict(zip(runs, map(np.ascontiguousarray, columns), strict=True)), failures


def _measured(vectors: dict[str, Vectors], photos: Photos, asked: int) -> dict[str, Any]:
    found: dict[str, Any] = {"cosine to float, mean": {}, "cosine to float, 1st percentile": {}}
    for name, rows in vectors.items():
        if name == "float":
            continue
        cosines = np.sum(rows.astype(np.float64) * vectors["float"], axis=1)
        found["cosine to float, mean"][name] = float(cosines.mean())
        found["cosine to float, 1st percentile"][name] = float(np.percentile(cosines, 1))
    found["gap"] = {name: _gap(rows, photos, asked) for name, rows in vectors.items()}
    return found


def _gap(vectors: Vectors, photos: Photos, asked: int) -> float:
    """Each photo asks for its nearest among the others; M = photos whose landmark has another."""
    found = nearest(vectors, vectors, 2)
    own = found.rows[:, 0] == np.arange(len(vectors))
    column = own.astype(np.int64)  # the second, where the first is the photo itself
    every = np.arange(len(vectors))
    answers = photos.landmarks[found.rows[every, column]]
    right = (answers == photos.landmarks) & (photos.landmarks != "")
    score = found.similarity[every, column].astype(np.float64)
    return gap(score, np.asarray(right, dtype=bool), asked, predicted=answers != "")


def _landmark_queries(photos: Photos) -> int:
    photos.require_one_landmark("measuring int8")
    names, counts = np.unique(photos.landmarks[photos.landmarks != ""], return_counts=True)
    if not len(names) or counts.max() < 2:
        raise DataError(
            f"{len(photos)} photos of {len(names)} landmarks given, none with two photos; int8 is "
            "measured by asking each photo for another one of its landmark"
        )
    return int(counts[counts > 1].sum())


def _write(embedder: OnnxEmbedder, rounded: Path, out: Path, counts: dict[str, Any]) -> None:
    with whole_file(out / INT8) as temporary:
        temporary.write_bytes(rounded.read_bytes())
    record = {key: value for key, value in embedder.record.items() if key not in ("files", "sum")}
    record |= {
        "id": f"{embedder.id}-int8-{sha256(out / INT8)[:8]}",
        "precision": "int8",
        "float_id": embedder.id,
        "bits_of_weights": 8 if adds_bytes_exactly() else 7,
        "measured": counts,
    }
    write_record(out, record, [INT8])
