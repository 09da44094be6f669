"""Verbs that answer and measure: recognize, evaluate, report, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import output
from .app import Device, Json, RecognizerFolder, RulesFile, ScoreName, Source, app

if TYPE_CHECKING:
    from ..evaluation.compare import ChangedQueries, Comparison


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="predictions.csv of one run of evaluate.")],
    b: Annotated[Path, typer.Argument(help="predictions.csv of another run.")],
    common: Annotated[
        bool,
        typer.Option(
            "--common",
            help="Leave out queries that only one file has; without it they are an error.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare two runs on the same queries: differences with intervals, and changed answers."""
    import dataclasses

    from ..evaluation.compare import compare as compare_runs
    from ..evaluation.predictions import read_predictions

    runs = read_predictions(a), read_predictions(b)
    found = compare_runs(*runs, names=(str(a), str(b)), common=common)
    if as_json:
        output.result(dataclasses.asdict(found), True, title="")
        return
    _print(found, a, b)


def _print(found: Comparison, a: Path, b: Path) -> None:
    left_out = found.only_in_a + found.only_in_b
    output.say(f"a = {a}\nb = {b}\n{found.queries} queries, {left_out} in one file only left out")
    if found.known_in_one:
        output.say(
            f"{found.known_in_one} queries show a landmark that only one gallery has: "
            "the two GAPs count different queries"
        )
    output.say(f"\n{'':<20}{'a':>8}{'b':>8}{'b − a':>9}   95 % interval        b better in")
    for name, m in found.measures.items():
        low, high = m.interval
        output.say(
            f"{name:<20}{m.a:>8.4f}{m.b:>8.4f}{m.difference:>+9.4f}   "
            f"{low:+.4f} to {high:+.4f}   {m.b_better:.1%} of resamples"
        )
    _print_changed("best guess, known landmarks", found.guesses)
    _print_changed("answer, all queries", found.answers)


def _print_changed(what: str, changed: ChangedQueries) -> None:
    output.say(f"\n{what}: {changed.fixed} wrong → right, {changed.broken} right → wrong")
    for sign, rows in (("+", changed.first_fixed), ("-", changed.first_broken)):
        for row in rows:
            output.say(
                f"  {sign} {row['path'] or row['id']}  shows {row['truth'] or 'no landmark'}; "
                f"a: {row['a']}, b: {row['b']}"
            )


@app.command()
def recognize(
    photos: Annotated[list[Path], typer.Argument(help="One photo or several.")],
    recognizer: RecognizerFolder,
    rules: RulesFile = None,
    score: ScoreName = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            help="Write a page (.html) or a picture (.png) that explains the answer; for one photo."
        ),
    ] = None,
    evidence: Annotated[
        bool,
        typer.Option(
            "--evidence",
            help="Also print where in the photo the landmark is, and other landmarks in it.",
        ),
    ] = False,
    device: Device = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line, one for each photo.")
    ] = False,
) -> None:
    """Name the landmark in each photo, or say that there is none."""
    from ..core.errors import ImageError, OptionError
    from ..core.figures import require_matplotlib
    from ..recognition.answer import GalleryFacts, answer_object
    from ..recognition.explanation.explain import explain_answer
    from ..recognition.explanation.page import write_explanation
    from ..recognition.folder.load import load
    from ..recognition.recognizer import prediction

    if explain and len(photos) > 1:
        raise OptionError(f"--explain given with {len(photos)} photos; expected one photo")
    if explain and explain.suffix.lower() == ".png":
        require_matplotlib("--explain with a .png")
    opened = load(recognizer, rules=output.rules_given(rules, score, recognizer), device=device)
    facts = GalleryFacts.of(opened)
    for note in facts.notes[len(opened.warnings) :]:  # those of the folder are on stderr already
        output.warn(note)
    failures: dict[str, str] = {}
    for path in photos:
        try:
            photo = opened.read(path)
            wanted = evidence or explain is not None
            answers = opened.answer(opened.embed([photo]), evidence=wanted)
            answer = prediction(answers, 0)
            as_object = answer_object(str(path), answer, facts) if as_json else None
            output.prediction(path, answer, as_object, facts.titles)
            if explain:
                write_explanation(
                    explain_answer(opened, answers, 0, photo, name=path.name), explain
                )
        except ImageError as error:
            failures[str(path)] = str(error)
    output.finish_with_failures(failures, nothing_done=len(failures) == len(photos))


@app.command()
def evaluate(
    source: Source,
    recognizer: RecognizerFolder,
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="The predictions to write; the scores go beside them."),
    ] = Path("predictions.csv"),
    submission: Annotated[
        Path | None, typer.Option(help="Also write a Kaggle-style submission.csv.")
    ] = None,
    rules: RulesFile = None,
    score: ScoreName = None,
    all_scores: Annotated[
        bool, typer.Option(help="Also print the GAP of every published score.")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure a recognizer on labelled photos: GAP, top-1, recall, …; write every prediction."""
    import dataclasses

    from ..core.files import write_json
    from ..data.folders import read_photos_or_folder
    from ..evaluation.evaluate import evaluate_in_detail
    from ..evaluation.predictions import write_predictions, write_submission
    from ..recognition.folder.load import load
    from ..recognition.rules import FORMULAS

    photos = read_photos_or_folder(source)
    opened = load(recognizer, rules=output.rules_given(rules, score, recognizer), device=device)
    with output.progress() as progress:
        evaluation = evaluate_in_detail(
            opened,
            photos,
            other_scores=FORMULAS if all_scores else (),
            progress=progress("evaluating"),
        )
    write_predictions(out, evaluation.predictions)
    write_json(out.with_suffix(".scores.json"), dataclasses.asdict(evaluation.scores))
    if submission:
        write_submission(submission, evaluation.predictions)
    failures = {f.id: f.reason for f in evaluation.failures}
    leaks = {leak.id: leak.reason for leak in evaluation.leaks}
    scores = dataclasses.asdict(evaluation.scores)
    for note in opened.notes[len(opened.warnings) :]:  # the others are on stderr already
        output.warn(note)
    if as_json:
        scores |= {"warnings": list(opened.notes), "unfinished": opened.unfinished}
    output.result(scores, as_json, title=str(out))
    output.finish_with_failures(failures | leaks)


@app.command()
def report(
    predictions: Annotated[Path, typer.Argument(help="predictions.csv, written by evaluate.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The HTML page to write.")],
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Landmark recognition",
) -> None:
    """Write one self-contained HTML page: scores, plots, and right and wrong answers."""
    from ..evaluation.report import report_file

    report_file(predictions, out, title=title)
    output.say(str(out))
