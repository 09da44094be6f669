"""The verb demo: every stage on a synthetic data set, with one line of results for each."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output
from .app import app

if TYPE_CHECKING:
    from ..core.types import NotedProgress, Photos
    from ..evaluation.evaluate import Evaluation
    from ..recognition.recognizer import Recognizer
    from ..training.config import TrainConfig

    StartBar = Callable[[str], NotedProgress]


# Small enough for two cores and a few minutes; docs/training.md has the settings for real photos.
# Photos are embedded larger than they were trained on: random crops show things enlarged (Touvron
# et al., "Fixing the train-test resolution discrepancy", NeurIPS 2019).
TRAIN_SETTINGS = {
    "backbone": "resnet10t", "options": {"channels": [32, 64, 128, 256], "stem_width": 16},
    "dim": 128, "size": 160, "crop": 96, "least_area": 0.5, "epochs": 22, "workers": 1,
    "landmarks_per_batch": 12, "photos_per_landmark": 4, "subspaces": 4,
    "loss": "both", "optimizer": "adamw", "lr": 3e-3, "weight_decay": 2e-2,
}  # fmt: skip

# Most queries show no landmark, as in real collections: distractors are for these queries.
WORLD_SETTINGS = {"nonlandmark_queries": 1000, "distractors": 600}


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder that everything is written into.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(help="Another seed draws another data set.")] = 0,
) -> None:
    """Draw a synthetic data set; clean it, train, index, recognize, evaluate, report.

    It takes about five minutes on two cores. Needs the extras train and report.
    """
    with output.progress() as progress:
        run_demo(folder, seed=seed, say=output.say, progress=progress)


@dataclasses.dataclass(frozen=True)
class CleanWorld:
    """The tables of the synthetic data set, after cleaning."""

    train: Photos
    distractors: Photos
    queries: Photos


def run_demo(folder: Path, *, seed: int, say: Callable[[str], None], progress: StartBar) -> None:
    """Run every stage in `folder`, which ends with scores.json and report.html.

    say: receives the lines of results. progress: name → callback (done, total). Raises OptionError
    at once when torch or matplotlib is missing.
    """
    from ..core.figures import require_matplotlib
    from ..evaluation.evaluate import evaluate, evaluate_in_detail
    from ..features.embedders.load import require_torch
    from ..recognition.rules import Rules

    require_torch()  # checked first, because both are needed only after minutes of work
    require_matplotlib("the demo's report")
    from ..training.config import TrainConfig
    from ..training.train import train

    started = time.monotonic()
    world = _draw_and_clean(folder, seed, say, progress)
    config = TrainConfig(**TRAIN_SETTINGS, seed=seed)  # type: ignore[arg-type]
    random_gap, histogram_gap = _baselines(world, config, say)

    say(f"train    {config.backbone} from random weights, {config.epochs} epochs")
    train(world.train, config, out=folder / "embedder", report=progress("training"))
    recognizer = _index(folder, world, say, progress)
    trained = evaluate_in_detail(
        recognizer,
        world.queries,
        other_scores=("cosine", "query_penalty", "both_penalties"),
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
    _say_results(folder, world, scores, trained, say)


def _draw_and_clean(
    folder: Path, seed: int, say: Callable[[str], None], progress: StartBar
) -> CleanWorld:
    from ..data.cleaning.drop import CleaningRules, clean, write_cleaning
    from ..data.synthetic.plan import DrawnWorld
    from ..data.synthetic.world import draw_world
    from ..data.table import read_photos, write_photos

    world = DrawnWorld(**WORLD_SETTINGS, seed=seed)
    data = folder / "world"
    draw_world(data, world, progress=progress("drawing"))
    photos, distractors, queries = (
        read_photos(data / f"{name}.csv") for name in ("photos", "distractors", "queries")
    )
    say(f"draw     {photos!r}; {len(distractors)} distractors, {len(queries)} queries")
    result = clean(photos, CleaningRules(), progress=progress("cleaning"))
    write_photos(folder / "clean.csv", result.kept)
    write_cleaning(folder / "clean.cleaning.csv", result)
    dropped = ", ".join(f"{count} {reason}" for reason, count in result.counts().items())
    say(f"clean    {len(result.kept)} kept; {dropped}")
    return CleanWorld(result.kept, distractors, queries)


def _baselines(
    world: CleanWorld, config: TrainConfig, say: Callable[[str], None]
) -> tuple[float, float]:
    """GAP by cosine of the untrained network, and of colour histograms."""
    from ..evaluation.evaluate import evaluate
    from ..features.embedders.histogram import HistogramEmbedder
    from ..recognition.folder.load import build
    from ..recognition.rules import Rules
    from ..training.build import new_embedder

    untrained = new_embedder(config)
    gaps = []
    for name, embedder in (("random weights", untrained), ("histograms", HistogramEmbedder())):
        recognizer = build(
            embedder, world.train, distractors=world.distractors, rules=Rules().with_score("cosine")
        )
        gaps.append(evaluate(recognizer, world.queries).gap)
        say(f"baseline GAP {gaps[-1]:.3f} with {name}")
    return gaps[0], gaps[1]


def _index(
    folder: Path, world: CleanWorld, say: Callable[[str], None], progress: StartBar
) -> Recognizer:
    from ..recognition.folder.load import load
    from ..recognition.indexing.index_photos import IndexOptions, index_photos
    from ..recognition.rules import Rules

    target = folder / "recognizer.wl"
    index_photos(
        world.train, world.distractors, target, folder / "embedder", IndexOptions(rules=Rules()),
        progress=progress,
    )  # fmt: skip
    opened = load(target)
    distractors = len(opened.index.distractor_vectors)
    say(f"index    {len(opened.index.ids)} photos, {distractors} distractors → {target}")
    return opened


def _write_results(folder: Path, trained: Evaluation, scores: dict[str, float]) -> None:
    from ..core.files import write_json
    from ..evaluation.predictions import write_predictions, write_submission
    from ..evaluation.report import ReportOptions, write_report

    write_predictions(folder / "predictions.csv", trained.predictions)
    write_submission(folder / "submission.csv", trained.predictions)
    write_report(
        trained.predictions,
        folder / "report.html",
        ReportOptions(
            title="Landmarks of a synthetic data set",
            protocol=trained.scores.protocol,
            scores={f"GAP by {k}": f"{v:.3f}" for k, v in trained.scores.gap_by_score.items()},
        ),
    )
    write_json(folder / "scores.json", scores)


def _one_of_each(queries: Photos, known: set[str]) -> dict[str, int]:
    """Kind of query → row of the first query of that kind, whether answered correctly or not."""
    rows: dict[str, int] = {}
    for row, landmark in enumerate(queries.landmarks):
        kind = "a known landmark" if landmark in known else "an unknown one"
        rows.setdefault(kind if landmark else "no landmark", row)
    return rows


def _say_results(
    folder: Path,
    world: CleanWorld,
    scores: dict[str, float],
    trained: Evaluation,
    say: Callable[[str], None],
) -> None:
    from ..recognition.folder.load import load

    measured = trained.scores
    say(
        f"evaluate {measured.queries} queries: {measured.known} of known landmarks, "
        f"{measured.unknown} of unknown ones, {measured.no_landmark} of none; "
        f"{measured.accuracy:.1%} answered correctly"
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
