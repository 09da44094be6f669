"""Size, views and square roots of `lite0`, chosen by questions of a gallery to itself.

    python benchmarks/lite0_choices.py FOLDER [--sizes 320 384 448 512 544] [--three]

FOLDER is laid out as for real_photos.py. Only index, train and distractors are read; queries are
not. Each choice is measured as GAP and top-1 of leave-one-out questions (`recognition.fitting`,
default rules without geometry, no default fit) of two galleries: index, and nine photos of each
landmark of train. "features" are pooled features of unit length, "roots" their square roots. Below:
AUROC of the place evidence, index against distractors, for several lengths of the features.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from whichlandmark.core.types import Photos
from whichlandmark.data.folders import read_folder
from whichlandmark.features.embedders.load import PretrainedOptions, load_onnx, make_embedder
from whichlandmark.features.embedders.onnx_embedder import OnnxEmbedder
from whichlandmark.features.embedders.place_evidence import PlaceEvidence
from whichlandmark.features.pipeline import embed
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.gallery.records import GalleryTable
from whichlandmark.metrics.open_set import auroc
from whichlandmark.recognition.fitting.fit import fit_and_score
from whichlandmark.recognition.rules import Rules

PER_LANDMARK = 9  # photos of train

LENGTHS = (4.0, 6.0, 8.5, 12.0, 20.0, 40.0)


def tables(folder: Path) -> dict[str, Photos]:
    """The photos that are embedded, by part."""
    train = read_folder(folder / "train")
    rng = np.random.default_rng(0)
    rows = [rng.permutation(rows)[:PER_LANDMARK] for rows in train.rows_by_landmark().values()]
    return {
        "index": read_folder(folder / "index"),
        "train": train.take(np.sort(np.concatenate(rows))),
        "distractors": read_folder(folder / "distractors", labelled=False),
    }


def vectors_of(embedder: OnnxEmbedder, photos: Photos) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) square roots of the readable photos, and their landmarks."""
    batches = list(embed(embedder, photos))
    rows = np.concatenate([batch.rows for batch in batches])
    return np.concatenate([batch.vectors for batch in batches]), photos.landmarks[rows]


def questions(vectors: np.ndarray, landmarks: np.ndarray, bank: np.ndarray) -> str:
    """GAP and top-1 of the gallery's own questions."""
    rows = np.concatenate([vectors, bank]).astype(np.float16)
    ids = np.array([f"p{i}" for i in range(len(rows))], dtype=object)
    names = np.concatenate([landmarks, np.full(len(bank), "", dtype=object)])
    index = GalleryIndex.of(GalleryTable(ids, ids, names, ids, rows))
    held_out = fit_and_score(index, Rules(verify=0))[1]
    return f"{held_out.gap():8.3f} {held_out.top1():6.3f}"


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=lambda text: Path(text).resolve())
    parser.add_argument("--sizes", type=int, nargs="+", default=[320, 384, 448, 512, 544])
    parser.add_argument("--three", action="store_true", help="also three sizes of 384 pixels")
    options = parser.parse_args()
    parts = tables(options.photos)
    print(f"{'':28}{'index: GAP':>10} {'top-1':>6} {'train: GAP':>10} {'top-1':>6}")
    choices = [PretrainedOptions(size=size) for size in options.sizes]
    if options.three:
        choices.append(PretrainedOptions(size=384, scales=(0.71, 1.0, 1.42)))
    for choice in choices:
        with tempfile.TemporaryDirectory() as folder:
            make_embedder("lite0", choice, Path(folder))
            embedder = load_onnx(Path(folder))
            found = {part: vectors_of(embedder, photos) for part, photos in parts.items()}
            evidence = embedder.place_evidence
        bank = found["distractors"][0]
        for kind in ("features", "roots"):
            scaled = (lambda rows: unit(rows**2)) if kind == "features" else unit
            numbers = [questions(scaled(v), names, scaled(bank))
                       for v, names in (found["index"], found["train"])]  # fmt: skip
            views = "" if choice.scales == (1.0,) else f" × {choice.scales}"
            print(f"{f'{choice.size} px{views}, {kind}':28}{'   '.join(numbers)}", flush=True)
        if choice.size == 512 and evidence is not None:
            rows = {part: found[part][0] for part in ("index", "distractors")}
            for length in LENGTHS:
                other = PlaceEvidence(evidence.weight, evidence.bias, length, square_roots=True)
                area = auroc(other(rows["index"]), other(rows["distractors"]))
                print(f"place evidence, length {length:g}: AUROC {area:.3f}", flush=True)


if __name__ == "__main__":
    main()
