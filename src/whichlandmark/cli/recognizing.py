"""Verbs around a recognizer: index, recognize, evaluate, report, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import console
from .app import (
    Device,
    GalleryAddress,
    Json,
    Out,
    RecognizerFolder,
    RulesFile,
    ScoreName,
    SearchWhere,
    Source,
    app,
    require_gallery,
)
from .shard_options import Engine, Load, OneShard, ShardPlace, Shards, shard_plan


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
    features: Annotated[
        bool, typer.Option(help="Keep local features, for geometry and evidence: 34 KB a photo.")
    ] = True,
    shards: Shards = None,
    shard: OneShard = None,
    engine: Engine = None,
    shard_folder: ShardPlace = None,
    load: Load = False,
    gallery: GalleryAddress = None,
    search: SearchWhere = "here",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Embed photos into a recognizer folder. The same command resumes an interrupted run."""
    from ..data.folders import read_photos_or_folder
    from ..indexing import IndexOptions, index_photos

    plan = shard_plan(shards, shard, engine, shard_folder, load)
    require_gallery(gallery, search)
    options = IndexOptions(
        rules=console.rules_given(rules, score), features=features, device=device, gallery=gallery,
        search=search, shards=plan.shards, shard=plan.shard, shard_folder=shard_folder,
        engine=plan.engine,
    )  # fmt: skip
    photos = read_photos_or_folder(source)
    bank = read_photos_or_folder(distractors, labelled=False) if distractors else None
    with console.progress() as progress:
        result = index_photos(photos, bank, out, embedder, options, progress=progress)
    console.result(result.counts, as_json, title=str(out))
    console.finish_with_failures({f.id: f.reason for f in result.failures})


@app.command()
def recognize(
    photos: Annotated[list[Path], typer.Argument(help="One photo or several.")],
    recognizer: RecognizerFolder,
    rules: RulesFile = None,
    score: ScoreName = None,
    explain: Annotated[
        Path | None, typer.Option(help="Write why: a page .html or a picture .png, of one photo.")
    ] = None,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Where it stands, and what stands beside it.")
    ] = False,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Which landmark is in each photo, or none?"""
    from ..answer_object import Facts, answer_object
    from ..errors import ImageError, OptionError
    from ..explaining import explained
    from ..explanation import write_explanation
    from ..figures import require_matplotlib
    from ..recognition import prediction
    from ..recognizer_folder import load

    if explain and len(photos) > 1:
        raise OptionError(f"--explain with {len(photos)} photos; give one photo")
    if explain and explain.suffix.lower() == ".png":
        require_matplotlib("--explain with a .png")
    opened = load(recognizer, rules=console.rules_given(rules, score, recognizer), device=device)
    facts = Facts.of(opened)
    failures: dict[str, str] = {}
    for path in photos:
        try:
            photo = opened.read(path)
            wanted = evidence or explain is not None
            answers = opened.answer(opened.embed([photo]), evidence=wanted)
            answer = prediction(answers, 0)
            told = answer_object(str(path), answer, facts) if as_json else None
            console.prediction(path, answer, told, facts.titles)
            if explain:
                write_explanation(explained(opened, answers, 0, photo, name=path.name), explain)
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
    all_scores: Annotated[
        bool, typer.Option(help="Also print the GAP of published formulas.")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Ask about photos whose answers are known: GAP, top-1, recall, and every prediction."""
    import dataclasses

    from ..data.folders import read_photos_or_folder
    from ..evaluation import examine
    from ..files import write_json
    from ..predictions import write_predictions, write_submission
    from ..recognizer_folder import load
    from ..rules import FORMULAS

    photos = read_photos_or_folder(source)
    opened = load(recognizer, rules=console.rules_given(rules, score, recognizer), device=device)
    with console.progress() as progress:
        evaluation = examine(
            opened, photos, also=FORMULAS if all_scores else (), progress=progress("evaluating")
        )
    write_predictions(out, evaluation.predictions)
    write_json(out.with_suffix(".scores.json"), dataclasses.asdict(evaluation.scores))
    if submission:
        write_submission(submission, evaluation.predictions)
    failures = {f.id: f.reason for f in evaluation.failures}
    leaks = {leak.id: leak.reason for leak in evaluation.leaks}
    console.result(dataclasses.asdict(evaluation.scores), as_json, title=str(out))
    console.finish_with_failures(failures | leaks)


@app.command()
def tune(
    recognizer: Annotated[Path, typer.Argument(help="A folder made by index.")],
    photos: Annotated[
        Path | None, typer.Option(help="More labelled photos that teach the whitening.")
    ] = None,
    false_answers: Annotated[
        float | None, typer.Option(help="Answer this share of non-landmarks at most: 0.01.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Choose whitening and score on queries held out from the gallery; print and store them."""
    from ..data.folders import read_photos_or_folder
    from ..tuning import tune as tune_folder

    extra = read_photos_or_folder(photos) if photos else None
    with console.progress() as progress:
        tuned = tune_folder(
            recognizer, extra, false_answers=false_answers, device=device, progress=progress
        )
    console.tuned(recognizer, tuned, as_json)
    failures = {f.id: f.reason for f in tuned.failures}
    console.finish_with_failures(failures | {leak.id: leak.reason for leak in tuned.leaks})


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
