"""The verb demo: every stage on a synthetic data set, with one line of results for each."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.json_options import SEED
from . import output
from .app import app
from .option_types import within

if TYPE_CHECKING:
    from ..core.types import NotedProgress, Photos
    from ..evaluation.evaluate import Evaluation
    from ..training.config import TrainConfig

    StartBar = Callable[[str], NotedProgress]


# Fine-tuning of lite0: small crops and its last stages only, so that it takes a minute or two on
# two cores; docs/training.md has the settings for real photos.
FINETUNE_SETTINGS = {
    "weights": "lite0", "dim": 128, "gem_p": 1.0, "head": "whitened",
    "size": 256, "crop": 128, "least_area": 0.5, "epochs": 4, "workers": 1,
    "landmarks_per_batch": 12, "photos_per_landmark": 4, "batches": "mixed",
    "loss": "both", "arcface_margin": 0.2, "optimizer": "adamw", "lr": 1e-3, "backbone_lr": 0.5,
    "frozen_stages": 3, "frozen_norms": True,
}  # fmt: skip

# A small network from random weights. Photos are embedded larger than they were trained on: random
# crops show things enlarged (Touvron et al., "Fixing the train-test resolution discrepancy",
# NeurIPS 2019).
SCRATCH_SETTINGS = {
    "backbone": "resnet10t", "options": {"channels": [32, 64, 128, 256], "stem_width": 16},
    "dim": 128, "size": 160, "crop": 96, "least_area": 0.5, "epochs": 22, "workers": 1,
    "landmarks_per_batch": 12, "photos_per_landmark": 4, "subspaces": 4,
    "loss": "both", "optimizer": "adamw", "lr": 3e-3, "weight_decay": 2e-2,
}  # fmt: skip

FROZEN_SIZE = 256  # pixels of the long side for lite0 as it is: little more than the photos have

# As many queries show no landmark as show one: distractors are for these queries.
WORLD_SETTINGS = {"photos": 1600, "nonlandmark_queries": 400, "distractors": 400}


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder that everything is written into.")] = Path(
        "demo"
    ),
    seed: Annotated[
        int, typer.Option(callback=within(SEED), help="Another seed draws another data set.")
    ] = 0,
    from_scratch: Annotated[
        bool,
        typer.Option(
            "--from-scratch", help="Train a small network from random weights, not from lite0's."
        ),
    ] = False,
) -> None:
    """Draw a synthetic data set; clean it, index, evaluate; fine-tune, index, evaluate, report.

    It takes about five minutes on two cores. Needs the extras train and report.
    """
    with output.progress() as progress:
        run_demo(folder, seed=seed, from_scratch=from_scratch, say=output.say, progress=progress)


@dataclasses.dataclass(frozen=True)
class CleanWorld:
    """The tables of the synthetic data set, after cleaning."""

    train: Photos
    distractors: Photos
    queries: Photos


def run_demo(
    folder: Path,
    *,
    seed: int,
    from_scratch: bool = False,
    say: Callable[[str], None],
    progress: StartBar,
) -> None:
    """Run every stage in `folder`, which ends with scores.json and report.html.

    say: receives the lines of results. progress: name → callback (done, total). Raises OptionError
    at once when torch, matplotlib or the weights of lite0 are missing.
    """
    import numpy as np

    from ..core.disks import require_writable
    from ..core.figures import require_matplotlib
    from ..features.embedders.lite0 import weights_file
    from ..features.embedders.load import PretrainedOptions, require_torch, write_lite0

    require_writable(folder, folder=True)
    require_torch()  # checked first, because all are needed only after minutes of work
    require_matplotlib("the demo's report")
    weights_file()
    from ..training.config import TrainConfig
    from ..training.train import train

    started = time.monotonic()
    world = _draw_and_clean(folder, seed, say, progress)
    scratch = TrainConfig(**SCRATCH_SETTINGS, seed=seed)  # type: ignore[arg-type]
    scores = _baselines(world, scratch, say)

    write_lite0(folder / "lite0", PretrainedOptions(size=FROZEN_SIZE))
    frozen = _index_and_evaluate(folder, "lite0", "frozen.wl", world, say, progress)
    config = scratch
    if not from_scratch:
        config = TrainConfig(**FINETUNE_SETTINGS, seed=seed)  # type: ignore[arg-type]
    start = f"{config.backbone} from random weights" if from_scratch else "from lite0's weights"
    say(f"train    {start}, {config.epochs} epochs")
    known, asked = world.train.split(test=config.validation, seed=seed)
    some = known.take(np.arange(0, len(known), 8))  # embedded after every epoch, so an eighth
    train(
        known, config, out=folder / "embedder", validation=(some, asked),
        report=progress("training"),
    )  # fmt: skip
    tuned = _index_and_evaluate(folder, "embedder", "recognizer.wl", world, say, progress)

    gaps, name = tuned.scores.gap_by_score, "trained" if from_scratch else "finetuned"
    scores |= {
        "gap_frozen": frozen.scores.gap,
        f"gap_{name}": tuned.scores.gap,
        "gap_seed_penalty": gaps["query_penalty"],
        "gap_both_penalties": gaps["both_penalties"],
        "top1_frozen": frozen.scores.top1,
        f"top1_{name}": tuned.scores.top1,
        "seconds": round(time.monotonic() - started, 1),
    }
    _write_results(folder, frozen, tuned, scores)
    _say_results(folder, world, scores, (frozen, tuned), say)


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
) -> dict[str, Any]:
    """GAP of an untrained network and of colour histograms, by cosine, and of sift.

    None uses spatial verification, because it compares details, not embeddings.
    """
    from ..core.images import read_image
    from ..evaluation.evaluate import evaluate
    from ..features.embedders.histogram import HistogramEmbedder
    from ..features.embedders.sift import SiftEmbedder, SiftOptions
    from ..recognition.folder.load import build
    from ..recognition.rules import Rules
    from ..training.build import new_embedder

    # The drawn photos have no more details than this; a third of them is enough for a vocabulary.
    options = SiftOptions(size=FROZEN_SIZE)
    vocabulary = (read_image(path) for path in world.train.paths[::3])
    cosine = Rules().with_score("cosine")
    learned = dataclasses.replace(Rules(), verify=0)
    baselines = (
        ("random", "random weights", new_embedder(config), cosine),
        ("histogram", "histograms", HistogramEmbedder(), cosine),
        ("sift", "sift", SiftEmbedder.fit(vocabulary, options), learned),
    )
    gaps = {}
    for name, words, embedder, rules in baselines:
        recognizer = build(embedder, world.train, distractors=world.distractors, rules=rules)
        gaps[f"gap_{name}"] = evaluate(recognizer, world.queries).gap
        say(f"baseline GAP {gaps[f'gap_{name}']:.3f} with {words}")
    return gaps


def _index_and_evaluate(
    folder: Path,
    embedder: str,
    name: str,
    world: CleanWorld,
    say: Callable[[str], None],
    progress: StartBar,
) -> Evaluation:
    """Index with an embedder folder into the recognizer folder `name`, and answer the queries."""
    from ..evaluation.evaluate import evaluate_in_detail
    from ..recognition.folder.load import load
    from ..recognition.indexing.index_photos import IndexOptions, index_photos
    from ..recognition.rules import Rules

    index_photos(
        world.train, world.distractors, folder / name, folder / embedder,
        IndexOptions(rules=Rules()), progress=progress,
    )  # fmt: skip
    opened = load(folder / name)
    distractors = len(opened.index.distractor_vectors)
    say(f"index    {len(opened.index.ids)} photos, {distractors} distractors → {folder / name}")
    found = evaluate_in_detail(
        opened,
        world.queries,
        other_scores=("cosine", "query_penalty", "both_penalties"),
        progress=progress("evaluating"),
    )
    measured = found.scores
    say(
        f"evaluate {measured.queries} queries: {measured.known} of known landmarks, "
        f"{measured.unknown} of unknown ones, {measured.no_landmark} of none; GAP "
        f"{measured.gap:.3f}, {measured.accuracy:.1%} answered correctly"
    )
    return found


def _write_results(
    folder: Path, frozen: Evaluation, tuned: Evaluation, scores: dict[str, Any]
) -> None:
    from ..core.files import write_json
    from ..evaluation.predictions import write_predictions, write_submission
    from ..evaluation.report import ReportOptions, write_report

    write_predictions(folder / "frozen.csv", frozen.predictions)
    write_predictions(folder / "predictions.csv", tuned.predictions)
    write_submission(folder / "submission.csv", tuned.predictions)
    write_report(
        tuned.predictions,
        folder / "report.html",
        ReportOptions(
            title="Landmarks of a synthetic data set",
            protocol=tuned.scores.protocol,
            scores={f"GAP by {k}": f"{v:.3f}" for k, v in tuned.scores.gap_by_score.items()},
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
    scores: dict[str, Any],
    runs: tuple[Evaluation, Evaluation],
    say: Callable[[str], None],
) -> None:
    from ..evaluation.compare import compare
    from ..recognition.answer import answer_and_confidence
    from ..recognition.folder.load import load

    for name, value in scores.items():
        say(f"  {name:<22} {value:.3f}" if name != "seconds" else f"  {name:<22} {value:.0f}")
    gained = compare(*(run.predictions for run in runs)).measures["gap"]
    low, high = gained.interval
    say(f"training added {gained.difference:+.3f} GAP (95 % between {low:+.3f} and {high:+.3f})")
    recognizer = load(folder / "recognizer.wl")
    for kind, row in _one_of_each(world.queries, set(recognizer.index.names)).items():
        photo = world.queries[row]
        answer = recognizer(photo.path)
        say(
            f"recognize {photo.path.name} ({kind}: {photo.landmark or 'none'}) → "
            f"{answer_and_confidence(answer)}"
        )
    say(f"report   {folder / 'report.html'}")
