"""Where answers are wrong, photo by photo; and how poolings, features and rules compare.

    python benchmarks/better_answers.py errors FOLDER --recognizer paris.wl
    python benchmarks/better_answers.py choices FOLDER [--only TEXT] [--report]

FOLDER is laid out as for real_photos.py. "errors" lists the queries that are wrong, refused, or
doubted without reason, each with its best candidates: nearest photo, inliers, agreement, features.

"choices" compares ways to answer without the queries, by four figures. "split": landmarks of index
are drawn at random, six in ten are the gallery; photos of train are queries, those of the others as
unknown landmarks; 100 distractors are the bank, the rest queries without a landmark (means of 8
draws). "full": all of index, photos of train and distractors as queries (2 draws). "loo":
leave-one-out queries of index. "unknown" are AUROCs of unknown landmarks. Photos of train that look
like one of index are left out. --report adds the queries of query, unknown and nonlandmark, which
must not choose anything. Photos are embedded once into FOLDER-named files under --work.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import whichlandmark.recognition.candidates as candidates_module
import whichlandmark.recognition.decision as decision
import whichlandmark.recognition.fitting.fit as fit
from whichlandmark.core.images import read_image
from whichlandmark.features.embedders import lite0
from whichlandmark.features.embedders.place_evidence import STRUCTURES, PlaceEvidence
from whichlandmark.features.local.keypoints import Keypoints, unpack
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.gallery.records import GalleryTable
from whichlandmark.metrics.calibration_error import calibration_error
from whichlandmark.metrics.open_set import auroc
from whichlandmark.metrics.ranking import gap
from whichlandmark.recognition.candidates import FEATURES, GEOMETRY_FEATURES
from whichlandmark.recognition.decision import Answers, Decider
from whichlandmark.recognition.folder.load import load
from whichlandmark.recognition.query import Queries, read_query
from whichlandmark.recognition.rules import Rules
from whichlandmark.recognition.spatial_verification import (
    MATCHING_SIDE,
    SpatialVerifier,
    local_features,
)

PARTS = ("index", "distractors", "train", "query", "unknown", "nonlandmark")

SPLITS, FULLS = 8, 2

MOST_ALIKE = 0.92  # cosine of a photo of train to one of index, above which it is left out

KNOWN, UNKNOWN, NONE = 0, 1, 2


def paths_of(folder: Path, part: str) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted((folder / part).rglob("*.jpg"))]


def landmark_of(photo: str) -> str:
    part, landmark = photo.split("/")[:2]
    return landmark if part in ("index", "train", "query", "unknown") else ""


# --- errors -----------------------------------------------------------------------------------


def list_errors(folder: Path, recognizer: Path) -> None:
    used = load(recognizer)
    for part in ("query", "unknown", "nonlandmark"):
        photos = paths_of(folder, part)
        side = max(used.embedder.short_side, MATCHING_SIDE)  # type: ignore[attr-defined]
        read = [read_query(folder / photo, short_side=side) for photo in photos]
        vectors = np.concatenate([used.embedder([one.image]) for one in read])
        answers = used.decider.answer(Queries.of(vectors, read))
        for row, photo in enumerate(photos):
            truth = landmark_of(photo) if part == "query" else ""
            code, confidence = answers.codes[row], answers.confidence[row]
            guess = str(answers.index.names[code]) if code >= 0 else ""
            wrong = guess != truth or confidence < 0.5 if truth else confidence >= 0.25
            if wrong:
                print(f"{photo}: {guess or 'none'} {confidence:.2f}{place(answers, row, truth)}")
                print_candidates(answers, row)


def place(answers: Answers, row: int, truth: str) -> str:
    codes = answers.found.codes[row]
    right = np.flatnonzero(np.append(answers.index.names, "")[codes] == truth) if truth else []
    return f", nearest right photo at {right[0] + 1 if len(right) else 'more than 30'}" * bool(
        truth
    )


def print_candidates(answers: Answers, row: int, most: int = 3) -> None:
    found, made = answers.found, answers.candidates
    if made is None or answers.logits is None:
        return
    for t in np.argsort(-answers.logits[row], kind="stable")[:most]:
        if (code := made.codes[row, t]) < 0:
            continue
        near = answers.index.ids[found.neighbours.rows[row, made.ranks[row, t]]]
        matches = [m for rank, m in answers.verified[row].items() if found.codes[row, rank] == code]
        compared = ", ".join(f"{m.inliers} ({m.agreement:.1f})" for m in matches) or "none"
        values = zip(FEATURES, made.features[row, t], strict=True)
        print(f"    {answers.logits[row, t]:6.2f} {near}; inliers (agreement): {compared}")
        print("           " + ", ".join(f"{name} {value:.2f}" for name, value in values))


# --- choices ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class World:
    """Ids of a gallery, its distractors and its queries, with their kinds."""

    gallery: Sequence[str]
    bank: Sequence[str]
    queries: Sequence[str]
    kinds: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Choice:
    """pooling: column of vectors. geometry: features beside the plain ones."""

    name: str
    pooling: str = "structures 1.5"
    rules: Rules = field(default_factory=Rules)
    geometry: tuple[str, ...] = GEOMETRY_FEATURES


CHOICES = (
    Choice(name="average, homographies only", pooling="average", geometry=GEOMETRY_FEATURES[:3]),
    Choice(name="average", pooling="average"),
    *(Choice(name=f"pooling: {pooling}", pooling=pooling)
      for pooling in ("GeM 3", "centre", "structures 0", "structures 1.5", "structures 3.35",
                      "structures 1.5, centre")),
    Choice(name="no geometry", rules=Rules(verify=0)),
    Choice(name="homographies only", geometry=GEOMETRY_FEATURES[:3]),
    Choice(name="agreement only", geometry=GEOMETRY_FEATURES[3:]),
    *(Choice(name=f"verify {count}", rules=Rules(verify=count)) for count in (6, 12, 20)),
    Choice(name="sure_above 0.999", rules=Rules(sure_above=0.999)),
    *(Choice(name=f"shrinkage {s}", rules=Rules(whitening_shrinkage=s)) for s in (0.05, 0.1, 0.4)),
    *(Choice(name=f"dimensions {d}", rules=Rules(whitening_dim=d)) for d in (128, 480)),
)  # fmt: skip


def pooled(features: np.ndarray, tensors: lite0.Tensors) -> dict[str, np.ndarray]:
    """(c, h, w) → one vector (c,) for each pooling, before roots."""
    channels, height, width = features.shape
    flat = features.reshape(channels, -1)
    y, x = (np.mgrid[:height, :width] + 0.5) / [[[height]], [[width]]] - 0.5
    centre = np.exp(-(x**2 + y**2) / (2 * 0.35**2)).ravel()
    found = {"average": flat.mean(axis=1), "GeM 3": (flat**3).mean(axis=1) ** (1 / 3),
             "centre": flat @ centre / centre.sum()}  # fmt: skip
    ys, xs = range(0, height, 2), range(0, width, 2)
    blocks = np.stack(
        [features[:, i : i + 2, j : j + 2].mean(axis=(1, 2)) for i in ys for j in xs], axis=1
    )
    near = np.array([centre.reshape(height, width)[i : i + 2, j : j + 2].mean() for i in ys
                     for j in xs])  # fmt: skip
    logits = tensors["classifier.weight"] @ blocks + tensors["classifier.bias"][:, None]
    odds = np.exp(logits - logits.max(axis=0))
    structure = odds[list(STRUCTURES)].sum(axis=0)
    for raised in (0.0, 1.5, 3.35):
        more = structure * np.exp(raised)
        weight = more / (odds.sum(axis=0) - structure + more) + lite0.LEAST_WEIGHT
        found[f"structures {raised:g}"] = blocks @ weight / weight.sum()
        if raised == 1.5:
            found["structures 1.5, centre"] = blocks @ (weight * near) / (weight * near).sum()
    return found


class Photos:
    """Vectors of each pooling and keypoints of all photos, computed once and kept in `work`."""

    def __init__(self, folder: Path, work: Path, parts: Sequence[str]) -> None:
        self.vectors: dict[str, dict[str, np.ndarray]] = {}
        self.keypoints: dict[str, bytes] = {}
        for part in parts:
            kept = np.load(self._made(folder, work, part))
            ids, ends = kept["ids"].tolist(), np.cumsum(kept["lengths"])
            packed = kept["keypoints"].tobytes()
            for photo, start, end in zip(ids, [0, *ends[:-1]], ends, strict=True):
                self.keypoints[photo] = packed[start:end]
            for name in kept.files:
                if name not in ("ids", "lengths", "keypoints"):
                    self.vectors.setdefault(name, {}).update(zip(ids, kept[name], strict=True))

    def of(self, pooling: str, ids: Sequence[str]) -> np.ndarray:
        rows = np.array([self.vectors[pooling][photo] for photo in ids], dtype=np.float32)
        return rows.reshape(len(ids), -1)

    @staticmethod
    def _made(folder: Path, work: Path, part: str) -> Path:
        target = work / f"{part}-{hashlib.sha1(str(folder).encode()).hexdigest()[:8]}.npz"
        if target.exists():
            return target
        import onnx
        import onnxruntime

        tensors = lite0.read_tensors()
        model = onnx.load_from_string(lite0.onnx_model(tensors))
        (pool,) = (node for node in model.graph.node if node.op_type == "AveragePool")
        model.graph.output.append(onnx.helper.make_tensor_value_info(pool.input[0], 1, None))
        session = onnxruntime.InferenceSession(model.SerializeToString())
        prepare = lite0.default_preprocessing()
        rows: dict[str, list[np.ndarray]] = {}
        ids, packed = paths_of(folder, part), []
        for photo in ids:
            image = read_image((folder / photo).read_bytes(), short_side=768, name=photo)
            (features,) = session.run([pool.input[0]], {"pixels": prepare(image)[None]})
            for name, values in pooled(features[0], tensors).items():
                roots = np.sqrt(values)
                rows.setdefault(name, []).append(roots / np.linalg.norm(roots))
            packed.append(local_features(image))
        work.mkdir(parents=True, exist_ok=True)
        np.savez(target, ids=ids, lengths=[len(one) for one in packed],
                 keypoints=np.frombuffer(b"".join(packed), np.uint8), **rows)  # fmt: skip
        print(f"{part}: {len(ids)} photos embedded", flush=True)
        return target


class KeptVerifier(SpatialVerifier):
    """Compares keypoints that are in memory; each pair once."""

    def __init__(self, photos: Photos) -> None:
        self.photos, self.pairs = photos, {}  # type: ignore[var-annotated]

    def keypoints(self, ids):  # type: ignore[no-untyped-def]
        return [unpack(self.photos.keypoints[photo]) for photo in ids]

    def verify(self, query: Keypoints, ids):  # type: ignore[no-untyped-def]
        key = hashlib.sha1(query.descriptors.tobytes()).digest()
        if missing := [photo for photo in ids if (key, photo) not in self.pairs]:
            for photo, match in zip(missing, super().verify(query, missing), strict=True):
                self.pairs[key, photo] = match
        return [self.pairs[key, photo] for photo in ids]


def worlds(folder: Path, photos: Photos) -> dict[str, list[World]]:
    index, bank = paths_of(folder, "index"), paths_of(folder, "distractors")
    train = np.array(paths_of(folder, "train"))
    alike = (photos.of("average", train) @ photos.of("average", index).T).max(axis=1)
    train = train[alike < MOST_ALIKE]
    of = np.array([landmark_of(photo) for photo in train])
    names = np.unique([landmark_of(photo) for photo in index])
    made: dict[str, list[World]] = {"split": [], "full": []}
    for kind, draws, share, each in (("split", SPLITS, 0.6, 6), ("full", FULLS, 1.0, 8)):
        for draw in range(draws):
            rng = np.random.default_rng([draw, len(kind)])
            kept = set(rng.permutation(names)[: round(share * len(names))].tolist())
            others = rng.permutation(bank)
            asked = {name: rng.permutation(train[of == name])[:each].tolist() for name in names}
            known = [photo for name in names if name in kept for photo in asked[name]]
            unknown = [photo for name in names if name not in kept for photo in asked[name]]
            none = others[100:].tolist()
            kinds = np.repeat([KNOWN, UNKNOWN, NONE], [len(known), len(unknown), len(none)])
            gallery = [photo for photo in index if landmark_of(photo) in kept]
            made[kind].append(World(gallery, sorted(others[:100]), known + unknown + none, kinds))
    return made


def real_queries(folder: Path) -> World:
    parts = [paths_of(folder, part) for part in ("query", "unknown", "nonlandmark")]
    kinds = np.repeat([KNOWN, UNKNOWN, NONE], [len(part) for part in parts])
    return World(
        paths_of(folder, "index"),
        paths_of(folder, "distractors"),
        [*parts[0], *parts[1], *parts[2]],
        kinds,
    )


def measure(choice: Choice, world: World, photos: Photos, verifier: SpatialVerifier) -> dict:
    ids = np.array([*world.gallery, *world.bank], dtype=object)
    names = np.array([*map(landmark_of, world.gallery), *[""] * len(world.bank)], dtype=object)
    vectors = photos.of(choice.pooling, ids.tolist()).astype(np.float16)
    tensors = lite0.read_tensors()
    evidence = PlaceEvidence(tensors["classifier.weight"], tensors["classifier.bias"],
                             lite0.TYPICAL_LENGTH, square_roots=True)  # fmt: skip
    index = dataclasses.replace(
        GalleryIndex.of(GalleryTable(ids, ids, names, ids, vectors)),
        place_evidence=evidence, default_fit=lite0._data("lite0_fit.json"),
    )  # fmt: skip
    used = verifier if choice.rules.verify else None
    fitted, held_out = fit.fit_and_score(index, choice.rules, verifier=used)
    queries = photos.of(choice.pooling, world.queries).astype(np.float16).astype(np.float32)
    answers = Decider(index, choice.rules, fitted, used).answer(
        Queries(queries, keypoints_of=lambda row: verifier.keypoints([world.queries[row]])[0])
    )
    truth = np.array([landmark_of(photo) for photo in world.queries])
    known = world.kinds == KNOWN
    right = (np.append(index.names, "")[answers.codes] == truth) & known
    own = {kind: answers.scores[world.kinds == kind] for kind in (KNOWN, UNKNOWN, NONE)}
    held = {kind: held_out.scores[held_out.kind == kind] for kind in (KNOWN, UNKNOWN)}
    return {
        "gap": gap(answers.scores, right, int(known.sum())), "top1": right[known].mean(),
        "unknown": area(own[KNOWN], own[UNKNOWN]),
        "ece": calibration_error(answers.confidence, right), "loo": held_out.gap(),
        "loo unknown": area(held[KNOWN], held[UNKNOWN]),
    }  # fmt: skip


def area(known: np.ndarray, unknown: np.ndarray) -> float:
    return auroc(known, unknown) if len(known) and len(unknown) else float("nan")


def use_geometry(names: tuple[str, ...]) -> None:
    """Fit and answer with these features of geometry only."""
    kept = [GEOMETRY_FEATURES.index(name) for name in names]
    whole = candidates_module.add_geometry if not _WHOLE else _WHOLE[0]
    _WHOLE[:] = [whole]

    def chosen(*arguments):  # type: ignore[no-untyped-def]
        features = whole(*arguments)
        plain = features.shape[2] - len(GEOMETRY_FEATURES)
        return features[:, :, [*range(plain), *(plain + i for i in kept)]]

    for module in (candidates_module, fit):
        module.GEOMETRY_FEATURES = names  # type: ignore[attr-defined]
    fit.add_geometry = decision.add_geometry = chosen  # type: ignore[attr-defined]


_WHOLE: list = []


def compare(folder: Path, work: Path, only: str, report: bool) -> None:
    photos = Photos(folder, work, PARTS if report else PARTS[:3])
    verifier, drawn = KeptVerifier(photos), worlds(folder, photos)
    head = "split: GAP  top-1  unknown   full: GAP  top-1   loo: GAP  unknown"
    queries = "   queries: GAP  top-1  unknown  ECE" if report else ""
    print(f"{'':28}{head}{queries}")
    for choice in CHOICES:
        if only not in choice.name:
            continue
        use_geometry(choice.geometry)
        found = {kind: [measure(choice, world, photos, verifier) for world in made]
                 for kind, made in drawn.items()}  # fmt: skip
        mean = {kind: {name: np.mean([row[name] for row in rows]) for name in rows[0]}
                for kind, rows in found.items()}  # fmt: skip
        split, full = mean["split"], mean["full"]
        line = (f"{choice.name:28}{split['gap']:10.4f} {split['top1']:6.4f}  {split['unknown']:.4f}"
                f" {full['gap']:11.4f} {full['top1']:6.4f}")  # fmt: skip
        real = measure(choice, real_queries(folder), photos, verifier) if report else full
        line += f" {real['loo']:10.4f}  {real['loo unknown']:.4f}"
        if report:
            line += (
                f" {real['gap']:14.4f} {real['top1']:6.4f}  {real['unknown']:.4f} {real['ece']:.4f}"
            )
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("errors", "choices"))
    parser.add_argument("photos", type=lambda text: Path(text).resolve())
    parser.add_argument("--recognizer", type=Path)
    parser.add_argument("--work", type=Path, help="folder of what was embedded")
    parser.add_argument("--only", default="", help="only choices whose name contains this")
    parser.add_argument("--report", action="store_true", help="also the queries")
    options = parser.parse_args()
    if options.what == "errors":
        if not options.recognizer:
            raise SystemExit("errors needs --recognizer, a folder that `index` made")
        list_errors(options.photos, options.recognizer)
        return
    with tempfile.TemporaryDirectory() as temporary:
        compare(options.photos, options.work or Path(temporary), options.only, options.report)


if __name__ == "__main__":
    main()
