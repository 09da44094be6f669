"""Demo."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..core.figures import require_matplotlib
from ..core.files import write_json
from ..core.types import NotedProgress, Photos
from ..data.cleaning.drop import Cleaning, clean, write_cleaning
from ..data.synthetic.plan import DrawnWorld
from ..data.synthetic.world import draw_world
from ..data.table import read_photos, write_photos
from ..evaluation.evaluate import Evaluation, evaluate, evaluate_in_detail
from ..evaluation.predictions import write_predictions, write_submission
from ..evaluation.report import ReportOptions, write_report
from ..features.embedders.histogram import HistogramEmbedder
from ..features.embedders.load import require_torch
from ..recognition.folder.load import build, load
from ..recognition.indexing.index_photos import IndexOptions, index_photos
from ..recognition.recognizer import Recognizer
from ..recognition.rules import Rules
from . import output
from .app import app


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where everything is written.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Another seed draws another world.")] = 0,
) -> None:
    """Draw a world of landmarks; clean, train, index, recognize, evaluate, report."""

    with output.progress() as progress:
        run_demo(folder, seed=seed, say=output.say, progress=progress)


# Small enough for two cores and a few minutes; docs/training.md has the settings for real photos.
# Photos are embedded larger than they were trained on: random crops show things enlarged (Touvron
# et al., "Fixing the train-test resolution discrepancy", NeurIPS 2019).
TRAINING = {
    "backbone": "resnet10t", "options": {"channels": [32, 64, 128, 256], "stem_width": 16},
    "dim": 128, "size": 160, "crop": 96, "least_area": 0.5, "epochs": 22, "workers": 1,
    "landmarks_per_batch": 12, "photos_per_landmark": 4, "subspaces": 4,
    "loss": "both", "optimizer": "adamw", "lr": 3e-3, "weight_decay": 2e-2,
}  # fmt: skip

Bars = Callable[[str], NotedProgress]

# As with real collections, most questions show no landmark: that is what a bank is for.
WORLD = {"nonlandmark_queries": 1000, "distractors": 600}


@dataclasses.dataclass(frozen=True)
class CleanWorld:
    """The drawn tables after cleaning."""

    train: Photos
    bank: Photos
    queries: Photos


def run_demo(folder: Path, *, seed: int, say: Callable[[str], None], progress: Bars) -> None:
    """Run every stage into `folder`, saying what each found; writes scores.json and report.html.

    Raises OptionError at once when torch or matplotlib is missing.
    """
    require_torch()  # both now, not after minutes of work
    require_matplotlib("the demo's report")
    from ..training.config import TrainConfig
    from ..training.train import train

    started = time.monotonic()
    world = _draw_and_clean(folder, seed, say, progress)
    config = TrainConfig(**TRAINING, seed=seed)  # type: ignore[arg-type]
    random_gap, histogram_gap = _baselines(world, config, say)

    say(f"train    {config.backbone} from random weights, {config.epochs} epochs")
    train(world.train, config, out=folder / "embedder", report=progress("training"))
    recognizer = _index(folder, world, say, progress)
    trained = evaluate_in_detail(
        recognizer,
        world.queries,
        also=("cosine", "query_penalty", "both_penalties"),
        progress=progress("evaluating"),
    )
    gaps = trained.scores.gap_by_score
    top1 = evaluate(recognizer.with_rules(Rules().with_score("cosine")), world.queries).top1
    scores = {
        "gap_random": random_gap,
        "gap_histogram": histogram_gap,
        "gap_trained": gaps["cosine"],
        "gap_seed_penalty": gaps["query_penalty"],
        "gap_both_penalties": gaps["both_penalties"],
        "gap_learned": trained.scores.gap,
        "top1_trained": top1,
        "seconds": round(time.monotonic() - started, 1),
    }
    _write_results(folder, trained, scores)
    _tell(folder, world, scores, trained, say)


def _draw_and_clean(
    folder: Path, seed: int, say: Callable[[str], None], progress: Bars
) -> CleanWorld:
    world = DrawnWorld(**WORLD, seed=seed)
    data = folder / "world"
    draw_world(data, world, progress=progress("drawing"))
    photos, bank, queries = (
        read_photos(data / f"{name}.csv") for name in ("photos", "distractors", "queries")
    )
    say(f"draw     {photos!r}; {len(bank)} distractors, {len(queries)} queries")
    result = clean(photos, Cleaning(), progress=progress("cleaning"))
    write_photos(folder / "clean.csv", result.kept)
    write_cleaning(folder / "clean.cleaning.csv", result)
    dropped = ", ".join(f"{count} {reason}" for reason, count in result.counts().items())
    say(f"clean    {len(result.kept)} kept; {dropped}")
    return CleanWorld(result.kept, bank, queries)


def _baselines(
    world: CleanWorld, config: object, say: Callable[[str], None]
) -> tuple[float, float]:
    """GAP by cosine of the untrained network, and of colour histograms."""
    from ..features.embedders.torch_embedder import TorchEmbedder
    from ..training.build import new_embedder
    from ..training.config import TrainConfig

    assert isinstance(config, TrainConfig)
    untrained: TorchEmbedder = new_embedder(config)
    gaps = []
    for name, embedder in (("random weights", untrained), ("histograms", HistogramEmbedder())):
        recognizer = build(
            embedder, world.train, distractors=world.bank, rules=Rules().with_score("cosine")
        )
        gaps.append(evaluate(recognizer, world.queries).gap)
        say(f"baseline GAP {gaps[-1]:.3f} with {name}")
    return gaps[0], gaps[1]


def _index(
    folder: Path, world: CleanWorld, say: Callable[[str], None], progress: Bars
) -> Recognizer:
    target = folder / "recognizer.wl"
    index_photos(
        world.train, world.bank, target, folder / "embedder", IndexOptions(rules=Rules()),
        progress=progress,
    )  # fmt: skip
    opened = load(target)
    say(f"index    {len(opened.index.ids)} photos, {len(opened.index.bank)} distractors → {target}")
    return opened


def _write_results(folder: Path, trained: Evaluation, scores: dict[str, float]) -> None:
    write_predictions(folder / "predictions.csv", trained.predictions)
    write_submission(folder / "submission.csv", trained.predictions)
    write_report(
        trained.predictions,
        folder / "report.html",
        ReportOptions(
            title="Landmarks of a drawn world",
            protocol=trained.scores.protocol,
            scores={f"GAP by {k}": f"{v:.3f}" for k, v in trained.scores.gap_by_score.items()},
        ),
    )
    write_json(folder / "scores.json", scores)


def _one_of_each(queries: Photos, known: set[str]) -> dict[str, int]:
    """The first query of each kind, whatever the answer to it is."""
    rows: dict[str, int] = {}
    for row, landmark in enumerate(queries.landmarks):
        kind = "a known landmark" if landmark in known else "an unknown one"
        rows.setdefault(kind if landmark else "no landmark", row)
    return rows


def _tell(
    folder: Path,
    world: CleanWorld,
    scores: dict[str, float],
    trained: Evaluation,
    say: Callable[[str], None],
) -> None:
    found = trained.scores
    say(
        f"evaluate {found.queries} queries: {found.known} of known landmarks, {found.unknown} of "
        f"unknown ones, {found.no_landmark} of none; {found.accuracy:.1%} answered rightly"
    )
    for name, value in scores.items():
        say(f"  {name:<22} {value:.3f}" if name != "seconds" else f"  {name:<22} {value:.0f}")
    recognizer = load(folder / "recognizer.wl")
    for kind, row in _one_of_each(world.queries, set(recognizer.index.names)).items():
        photo = world.queries[row]
        answer = recognizer(photo.path)
        say(
            f"recognize {photo.path.name} ({kind}: {photo.landmark or 'none'}) → "
            f"{answer.landmark or answer.decision}, confidence {answer.confidence:.2f}"
        )
    say(f"report   {folder / 'report.html'}")
