"""Compare subspaces, random batches and ArcFace by number of landmarks, for equal processor time.

    python benchmarks/training_scale.py DIR [--network head|small] [--plan] [--report]
        [--only WORD] [--part 1/2] [--pilot]

A drawn world of 2,000 landmarks (large_world.py) and two networks: "head", a new linear layer on a
frozen Lite0 of ImageNet, whose features are computed once (frozen_features.py); and "small", a
ResNet-10-T of 0.3 million weights trained as a whole, from weights that ArcFace trained on another
drawn world, because triplets collapse from random ones. Every run of a network starts from the
same weights. Each finished run is saved in DIR/runs-NETWORK, so the command resumes; --plan lists
what is left; --part 1/2 and 2/2 share the runs between two processes (one thread each).

The budget of a run is a number of passes over its training photos. A photo embedded for a refresh
of the subspaces costs a third of one trained on (measured for "small": 0.37 ms and 1.08 ms), so
that runs with refreshed subspaces have fewer steps. The processor time of each run is saved too:
for "small" it is the same for all methods; a head trains so fast that there it says nothing. The
learning rate ends at zero when the budget does. Validation is not part of a budget.

Measured: held-out photos of the landmarks trained on against a gallery of their training photos,
with unknown landmarks and photos without one among the queries (0.3 of the known ones each); and
the mAP of 300 landmarks that no run trained on, each photo against the others. A seed changes the
landmarks (where 2,000 suffice), crops and batches. Intervals: 95 %, from draws of landmarks with
all their queries, the same ones for the methods that are compared.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frozen_features import FeatureStore, HeadOnly
from large_world import LargeWorld, PixelStore, draw_large_world
from training_scale_report import report
from whichlandmark.core.files import write_json
from whichlandmark.core.types import Photos, Rows, Vectors
from whichlandmark.data.table import read_photos
from whichlandmark.training.checkpoint import RunState
from whichlandmark.training.config import TrainConfig
from whichlandmark.training.trainer import Trainer

WORLD = LargeWorld()
START = LargeWorld(landmarks=400, unseen=60, scenes=240, seeds=(21, 22))
START_EPOCHS = 60
BASES = {
    "small": TrainConfig(
        backbone="resnet10t", options={"channels": [16, 32, 64, 128], "stem_width": 8}, dim=128,
        size=96, crop=64, least_area=0.5, jitter=0.0, workers=0, landmarks_per_batch=12,
        photos_per_landmark=4, subspaces=20, device="cpu", epochs=1,
    ),
    "head": TrainConfig(
        weights="lite0", dim=128, gem_p=1.0, frozen_stages=-1, frozen_norms=True, size=96, crop=64,
        workers=0, landmarks_per_batch=12, photos_per_landmark=4, subspaces=20, arcface_margin=0.2,
        device="cpu", epochs=1,
    ),
}  # fmt: skip
# Learning rates, chosen on the landmarks of the other world (--pilot), which no table reports.
RATES = {
    "small": {"triplet": 1e-3, "arcface": 3e-3, "both": 3e-3},
    "head": {"triplet": 1e-3, "arcface": 1e-3, "both": 1e-3},
}
RANDOM = "triplets, random batches"
NOTHING = "none: the start"
WHITENED = "none: the whitened start"
METHODS: dict[str, dict[str, Any]] = {
    NOTHING: {"loss": "triplet", "batches": "mixed"},
    RANDOM: {"loss": "triplet", "batches": "mixed"},
    "triplets, frozen subspaces": {"loss": "triplet", "regroup_every": 0},
    "triplets, refreshed subspaces": {"loss": "triplet", "regroup_every": 1},
    "ArcFace": {"loss": "arcface", "batches": "shuffled"},
    "both, random batches": {"loss": "both", "batches": "mixed"},
    "both, refreshed subspaces": {"loss": "both", "regroup_every": 1},
    # Of the head alone, because the small network has one already:
    WHITENED: {"loss": "triplet", "batches": "mixed", "head": "whitened"},
    "ArcFace, whitened start": {"loss": "arcface", "batches": "shuffled", "head": "whitened"},
}
EMBED_PRICE = 1 / 3  # of a photo embedded; one trained on costs 1


class Size(NamedTuple):
    landmarks: int
    passes: float
    seeds: int


SIZES = {
    "head": (Size(2000, 10, 3), Size(200, 10, 5), Size(500, 10, 4), Size(1000, 10, 3),
             Size(48, 10, 8), Size(2000, 40, 1)),
    "small": (Size(2000, 8, 2), Size(500, 12, 2), Size(200, 20, 2), Size(48, 20, 3)),
}  # fmt: skip
QUERIES_AT_ONCE = 1000
NOT_KNOWN = 0.3  # queries of unknown landmarks, and those without one, per query of a known one


class Run(NamedTuple):
    network: str
    landmarks: int
    passes: float
    method: str
    seed: int

    @property
    def file(self) -> str:
        words = "".join(c if c.isalnum() else "-" for c in self.method.lower())
        return f"{self.landmarks:04}-{self.passes:g}-{words}-{self.seed}"


class Tables(NamedTuple):
    train: Photos
    queries: Photos
    unseen: Photos


class PricedTrainer(Trainer):
    """A training run that ends when its budget is spent, on photos in memory."""

    store: PixelStore
    budget = 1.0
    spent = 0.0

    def embed(self, photos: Photos, *, pooled: bool = False) -> tuple[Vectors, dict[str, str]]:
        """Vectors of photos in memory; their price is part of the budget."""
        self.spent += len(photos) * EMBED_PRICE
        return self.vectors(photos, pooled=pooled), {}

    def vectors(self, photos: Photos, *, pooled: bool = False) -> Vectors:
        """(N, dim) unit rows."""
        assert not pooled
        embedder = self._current_embedder()
        return np.concatenate(
            [
                embedder([self.store.image(id_) for id_ in photos.ids[first : first + 256]])
                for first in range(0, len(photos), 256)
            ]
        )

    def _prepare_network(self) -> None:
        super()._prepare_network()
        self.data.reader = StoredPhotos(self.store, self.data.train)

    def _step(self, done: float) -> None:
        super()._step(min(1.0, self.spent / self.budget))


class HeadTrainer(PricedTrainer):
    """The same for a head on features that a frozen network gave once."""

    features: FeatureStore

    def vectors(self, photos: Photos, *, pooled: bool = False) -> Vectors:
        """(N, dim) unit rows; pooled: the features themselves."""
        found = self.features.whole(photos.ids)
        if pooled:
            return found
        self.net.eval()
        with torch.inference_mode():
            rows: Vectors = self.net.embed_pooled(torch.from_numpy(found)).numpy()
        return rows

    def _prepare_network(self) -> None:
        super()._prepare_network()
        self.wrapped = HeadOnly(self.net)

    def load(self, batches: list[Rows], state: RunState) -> Iterator[Tensor]:
        """Sets train mode; yields the features of each batch in the shape of pixels."""
        super().load(batches, state)
        seed = (self.config.seed, state.epoch)
        return self.features.batches(self.data.train.ids, batches, seed)


class StoredPhotos:
    """Reads the photos of a table from memory."""

    def __init__(self, store: PixelStore, photos: Photos) -> None:
        self.store, self.ids = store, photos.ids

    def read(self, row: int) -> NDArray[np.uint8]:
        return self.store.image(self.ids[row])


def tables_of(root: Path, landmarks: int, seed: int, *, world: LargeWorld = WORLD) -> Tables:
    """The photos of a slice of the landmarks, of which each seed has another while there are any.

    Unknown queries and those without a landmark are the first ones, the same for all seeds.
    """
    first = seed * landmarks if (seed + 1) * landmarks <= world.landmarks else 0
    train, queries, unseen = (
        read_photos(root / f"{name}.csv") for name in ("train", "queries", "unseen")
    )
    names = {world.label(place) for place in range(first, first + landmarks)}
    of_slice = np.array([name in names for name in queries.landmarks])
    others = max(20, round(NOT_KNOWN * of_slice.sum()))
    unknown = np.flatnonzero(np.isin(queries.ids, unseen.ids))[:others]
    none = np.flatnonzero(queries.landmarks == "")[:others]
    return Tables(
        train.take(np.array([name in names for name in train.landmarks])),
        queries.take(np.concatenate([np.flatnonzero(of_slice), unknown, none])),
        unseen,
    )


def config_of(at: Path, run: Run) -> TrainConfig:
    """The settings of a run."""
    settings = METHODS[run.method]
    rate = RATES[run.network][settings["loss"]]
    base = BASES[run.network]
    weights = str(at / "start") if run.network == "small" else base.weights
    return replace(base, weights=weights, seed=run.seed, lr=rate, **settings)


def train_priced(
    tables: Tables, root: Path, config: TrainConfig, passes: float
) -> tuple[PricedTrainer, dict[str, float]]:
    """Train until the budget is spent; returns the run with its network, and what it did.

    root: of the drawn world.
    """
    kind = HeadTrainer if config.weights == "lite0" else PricedTrainer
    with tempfile.TemporaryDirectory() as folder:
        run = kind(config, Path(folder), tables.train, (tables.train, tables.queries))
        run.store = PixelStore(root)
        if isinstance(run, HeadTrainer):
            run.features = FeatureStore(root)
        state = run.resume()  # embeds all photos, and groups the landmarks
        began = time.process_time()
        run.budget, grouped = passes * len(tables.train), config.batches == "subspaces"
        run.spent = EMBED_PRICE * len(tables.train) if grouped else 0.0
        losses, wrong = _epochs(run, state)
        seconds = time.process_time() - began
    tenth = max(1, len(losses) // 10)
    return run, {
        "steps": len(losses), "cpu_seconds": seconds,
        "first_loss": statistics.mean(losses[:tenth] or [0.0]),
        "last_loss": statistics.mean(losses[-tenth:] or [0.0]),
        "wrong_anchors": statistics.mean(wrong[-tenth:] or [0.0]),
        "subspaces": float(len(np.unique(state.groups))),
    }  # fmt: skip


def _epochs(run: PricedTrainer, state: RunState) -> tuple[list[float], list[float]]:
    """Loss and share of anchors ranked wrong of all steps until the budget is spent."""
    losses: list[float] = []
    wrong: list[float] = []
    while run.spent < run.budget:
        batches: list[Rows] = run.data.batches(state)
        for step, pixels in enumerate(run.load(batches, state)):
            state.step = step
            run.spent += len(pixels)
            loss, wrong_share = run.train_step(pixels, batches[step], state, len(batches))
            losses.append(loss)
            wrong.append(wrong_share)
            if run.spent >= run.budget:
                return losses, wrong
        if run.config.batches == "subspaces" and run.config.regroup_every:
            run.regroup(state, run.embed(run.data.train)[0])
        state.next_epoch()
    return losses, wrong


def ranked(
    queries: Vectors, gallery: Vectors, labels: NDArray[Any], true: NDArray[Any], *, leave_out: bool
) -> dict[str, NDArray[Any]]:
    """Of each query: best cosine, is its landmark right, and AP@100 (NaN without a landmark).

    leave_out: the queries are the gallery, in order, and do not answer themselves.
    """
    scores, rights, precisions = [], [], []
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        similarity = queries[first : first + QUERIES_AT_ONCE] @ gallery.T
        rows = np.arange(len(similarity))
        if leave_out:
            similarity[rows, first + rows] = -2
        near = np.argpartition(-similarity, 100, axis=1)[:, :100]
        order = np.argsort(-np.take_along_axis(similarity, near, 1), axis=1, kind="stable")
        near = np.take_along_axis(near, order, 1)
        own = true[first + rows]
        hit = labels[near] == own[:, None]
        relevant = np.array([(labels == name).sum() for name in own]) - leave_out
        precision = np.cumsum(hit, axis=1) / np.arange(1, 101)
        with np.errstate(invalid="ignore", divide="ignore"):
            precisions.append((precision * hit).sum(1) / np.minimum(relevant, 100))
        scores.append(similarity[rows, near[:, 0]])
        rights.append(hit[:, 0])
    return {"score": np.concatenate(scores), "right": np.concatenate(rights),
            "ap": np.concatenate(precisions)}  # fmt: skip


def evaluate(run: PricedTrainer, tables: Tables) -> dict[str, NDArray[Any]]:
    """Answers of all queries against the training photos, and of the landmarks not trained on."""
    gallery, queries, unseen = (run.vectors(table) for table in tables)
    names, labels = np.unique(tables.train.landmarks, return_inverse=True)
    code = {name: i for i, name in enumerate(names)}
    true = np.array([code.get(name, -1) for name in tables.queries.landmarks])
    found = ranked(queries, gallery, labels, true, leave_out=False)
    _, own = np.unique(tables.unseen.landmarks, return_inverse=True)
    apart = ranked(unseen, unseen, own, own, leave_out=True)
    return {**found, "landmark": true, "shows": tables.queries.landmarks != "",
            "unseen_ap": apart["ap"], "unseen_landmark": own}  # fmt: skip


def summary(answers: dict[str, NDArray[Any]], facts: dict[str, float]) -> str:
    known = answers["landmark"] >= 0
    return (
        f"{facts['steps']} steps, {facts['cpu_seconds']:.0f} s, loss {facts['first_loss']:.3f} → "
        f"{facts['last_loss']:.3f}, wrong anchors {facts['wrong_anchors']:.3f}, "
        f"top-1 {answers['right'][known].mean():.4f}, mAP "
        f"{answers['ap'][known].mean():.4f}, unseen {answers['unseen_ap'].mean():.4f}"
    )


def finish(at: Path, run: Run) -> None:
    """Train and measure one run, and save it."""
    tables = tables_of(at / "world", run.landmarks, run.seed)
    passes = 0.0 if run.method in (NOTHING, WHITENED) else run.passes
    trained, facts = train_priced(tables, at / "world", config_of(at, run), passes)
    answers = evaluate(trained, tables)
    np.savez_compressed(runs_of(at, run.network) / f"{run.file}.npz", **answers)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    facts = {**run._asdict(), **facts, "peak_mb": peak}
    write_json(runs_of(at, run.network) / f"{run.file}.json", facts)
    print(f"{run.file}: {summary(answers, facts)}", flush=True)


def runs_of(at: Path, network: str) -> Path:
    return at / f"runs-{network}"


def prepare(at: Path, network: str) -> None:
    """Draw the worlds, train the initial weights of the small network: once."""
    draw_large_world(at / "world", WORLD)
    draw_large_world(at / "other", START)
    runs_of(at, network).mkdir(exist_ok=True)
    if network == "small" and not (at / "start" / "embedder.json").exists():
        tables = tables_of(at / "other", START.landmarks, 0, world=START)
        config = replace(BASES["small"], loss="arcface", batches="shuffled", lr=3e-3, seed=7)
        trained, facts = train_priced(tables, at / "other", config, START_EPOCHS)
        print(f"initial weights: {summary(evaluate(trained, tables), facts)}", flush=True)
        trained._current_embedder().save(at / "start", export=False)


def all_runs(network: str, only: str) -> list[Run]:
    """In the order of a first seed of every size, then the others."""
    runs = [
        Run(network, size.landmarks, size.passes, method, seed)
        for seed in range(max(size.seeds for size in SIZES[network]))
        for size in SIZES[network]
        if seed < size.seeds
        for method in METHODS
        if network == "head" or "whitened" not in method
    ]
    return [run for run in runs if only in f"{run.landmarks} {run.passes:g} {run.method}"]


def pilot(at: Path, network: str) -> None:
    """Learning rates of each loss, on the landmarks of the start, which no table reports."""
    tables = tables_of(at / "other", START.landmarks, 0, world=START)
    for method in (RANDOM, "triplets, refreshed subspaces", "ArcFace", "both, random batches"):
        for rate in (3e-4, 1e-3, 3e-3):
            config = replace(config_of(at, Run(network, 400, 5, method, 0)), lr=rate)
            trained, facts = train_priced(tables, at / "other", config, 5)
            words = summary(evaluate(trained, tables), facts)
            print(f"{method}, lr {rate}: {words}", flush=True)


def seconds_of(run: Run) -> float:
    """About how long a run takes on an idle core."""
    photo = 1.1e-3 if run.network == "small" else 0.07e-3
    return run.landmarks * (8 * run.passes * photo + 6e-3) + 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=tuple(BASES), default="head")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--pilot", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--part", default="1/1")
    options = parser.parse_args()
    at = options.folder.resolve()
    torch.set_num_threads(1)
    if options.report:
        print(report(runs_of(at, options.network)))
        return
    part, parts = map(int, options.part.split("/"))
    runs = all_runs(options.network, options.only)[part - 1 :: parts]
    left = [run for run in runs if not (runs_of(at, run.network) / f"{run.file}.json").exists()]
    minutes = sum(map(seconds_of, left)) / 60
    print(
        f"{len(left)} of {len(runs)} runs left, about {minutes:.0f} minutes of a core", flush=True
    )
    if options.plan:
        print("\n".join(run.file for run in left))
        return
    prepare(at, options.network)
    if options.pilot:
        pilot(at, options.network)
        return
    for run in left:
        finish(at, run)


if __name__ == "__main__":
    main()
