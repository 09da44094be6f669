"""Verbs around a recognizer: index, recognize, evaluate, report, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import console
from .app import Device, Json, Out, RecognizerFolder, RulesFile, ScoreName, Source, app


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where everything is written.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Another seed draws another world.")] = 0,
) -> None:
    """Draw a world of landmarks; clean, train, index, recognize, evaluate, report."""
    from ..demo import run_demo

    with console.progress() as progress:
        run_demo(folder, seed=seed, say=console.say, progress=progress)


@app.command()
def index(
    source: Source,
    out: Out,
    embedder: Annotated[
        str, typer.Option(help="An embedder folder, timm:NAME, or sift, which needs no weights.")
    ] = "sift",
    distractors: Annotated[
        Path | None, typer.Option(help="Photos without a landmark: photos.csv or a folder.")
    ] = None,
    rules: RulesFile = None,
    score: ScoreName = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Embed photos into a recognizer folder. The same command resumes an interrupted run."""
    from ..data.folders import read_photos_or_folder
    from ..indexing import index_photos

    photos = read_photos_or_folder(source)
    bank = read_photos_or_folder(distractors, labelled=False) if distractors else None
    chosen = console.rules_given(rules, score)
    with console.progress() as progress:
        result = index_photos(
            photos, bank, out, embedder, rules=chosen, device=device, progress=progress
        )
    console.result(result.counts, as_json, title=str(out))
    console.finish_with_failures({f.id: f.reason for f in result.failures})


@app.command()
def recognize(
    photos: Annotated[list[Path], typer.Argument(help="One photo or several.")],
    recognizer: RecognizerFolder,
    rules: RulesFile = None,
    score: ScoreName = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Which landmark is in each photo, or none?"""
    from ..errors import ImageError
    from ..recognition import load

    opened = load(recognizer, rules=console.rules_given(rules, score, recognizer), device=device)
    failures: dict[str, str] = {}
    for path in photos:
        try:
            console.prediction(path, opened(path), as_json)
        except ImageError as error:
            failures[str(path)] = str(error)
    console.finish_with_failures(failures, nothing_done=len(failures) == len(photos))


@app.command()
def evaluate(
    source: Source,
    recognizer: RecognizerFolder,
    out: Annotated[Path, typer.Option("-o", "--out", help="Where predictions go.")] = Path(
        "predictions.csv"
    ),
    submission: Annotated[
        Path | None, typer.Option(help="Also write a Kaggle-style submission.csv.")
    ] = None,
    rules: RulesFile = None,
    score: ScoreName = None,
    all_scores: Annotated[bool, typer.Option(help="Also print the GAP of every score.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Ask about photos whose answers are known: GAP, top-1, recall, and every prediction."""
    import dataclasses

    from ..data.folders import read_photos_or_folder
    from ..evaluation import examine
    from ..files import write_json
    from ..predictions import write_predictions, write_submission
    from ..recognition import load
    from ..scoring import SCORES

    photos = read_photos_or_folder(source)
    opened = load(recognizer, rules=console.rules_given(rules, score, recognizer), device=device)
    with console.progress() as progress:
        evaluation = examine(
            opened, photos, also=SCORES if all_scores else (), progress=progress("evaluating")
        )
    write_predictions(out, evaluation.predictions)
    write_json(out.with_suffix(".scores.json"), dataclasses.asdict(evaluation.scores))
    if submission:
        write_submission(submission, evaluation.predictions)
    failures = {f.id: f.reason for f in evaluation.failures}
    leaks = dict.fromkeys(evaluation.leaked, "its id or content is in the gallery: left out")
    console.result(dataclasses.asdict(evaluation.scores), as_json, title=str(out))
    console.finish_with_failures(failures | leaks)


@app.command()
def report(
    predictions: Annotated[Path, typer.Argument(help="predictions.csv from evaluate")],
    out: Out,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Landmark recognition",
) -> None:
    """One self-contained page: what was right, what was wrong, and how sure it was."""
    from ..report import report_file

    report_file(predictions, out, title=title)
    console.say(str(out))
