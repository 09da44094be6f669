"""Verbs that answer and measure: recognize, evaluate, report, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import OptionError
from . import output
from .app import (
    Device,
    Json,
    RecognizerFolder,
    RecognizerUnlessProtocol,
    RulesFile,
    ScoreName,
    Source,
    app,
    read_source,
)
from .challenges import SubmissionIn, table_of_results
from .given_vectors import DatabaseVectors, ExportedVectors, QueryVectors
from .protocol import (
    ExtraPhotos,
    GroundTruth,
    ProtocolEmbedder,
    ProtocolName,
    ProtocolOptions,
    ResultsTable,
    evaluate_protocol,
)

if TYPE_CHECKING:
    from ..evaluation.compare import ChangedQueries, Comparison
    from ..recognition.rules import Rules


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
    from ..evaluation.scores import stored_titles

    runs = read_predictions(a), read_predictions(b)
    titles = None if as_json else stored_titles(b) | stored_titles(a)
    found = compare_runs(*runs, names=(str(a), str(b)), common=common, titles=titles)
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
        better = f"{m.b_better:.1%} of resamples" if m.difference or low != high else "equal"
        output.say(
            f"{name:<20}{m.a:>8.4f}{m.b:>8.4f}{m.difference:>+9.4f}   "
            f"{low:+.4f} to {high:+.4f}   {better}"
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


FiftyOneFile = Annotated[
    Path | None,
    typer.Option(
        "--fiftyone", help="Also write a labels.json for FiftyOne; with --evidence, with boxes."
    ),
]

LabelStudioFile = Annotated[
    Path | None,
    typer.Option(
        "--label-studio",
        help="Also write tasks with predictions for Label Studio, and X.xml, the labeling "
        "configuration; with --evidence, with boxes.",
    ),
]


@app.command()
def recognize(
    photos: Annotated[
        list[str],
        typer.Argument(
            help="Photos, folders, patterns such as 'trip/**/*.jpg', photo tables (.csv), URLs."
        ),
    ],
    recognizer: RecognizerFolder,
    rules: RulesFile = None,
    score: ScoreName = None,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", help="Also write the answers into this csv file, one row a photo."),
    ] = None,
    fiftyone: FiftyOneFile = None,
    label_studio: LabelStudioFile = None,
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
    """Name the landmark in each photo, or say that there is none.

    One photo gets a sentence and its nearest photos, several get a table.
    """
    from ..core.hardware import without_garbage_collection

    with without_garbage_collection():
        from ..core.figures import require_matplotlib
        from ..library.exports import AnswerFiles
        from ..recognition.folder.load import load_to_answer
        from .answers import photos_of_arguments, recognize_photos

    given = photos_of_arguments(photos)
    picture = explain is not None and explain.suffix.lower() == ".png"
    files = AnswerFiles(csv_file, fiftyone, label_studio)
    results = [(explain, "picture" if picture else "page")] if explain else []
    output.claim([*results, *files.results()], [*given.paths, rules])
    if picture:
        require_matplotlib("--explain with a .png")
    with without_garbage_collection():
        given_rules = output.rules_given(rules, score, recognizer)
        opened = load_to_answer(recognizer, rules=given_rules, device=device)
    recognize_photos(
        opened, given, evidence=evidence, explain=explain, files=files, as_json=as_json
    )


@app.command()
def evaluate(
    source: Source,
    recognizer: RecognizerUnlessProtocol = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="The predictions to write (predictions.csv); the scores go beside them. With "
            "--protocol: its results, as JSON.",
        ),
    ] = None,
    submission: Annotated[
        Path | None,
        typer.Option(help="Also write a submission, as Kaggle or the benchmark's authors take it."),
    ] = None,
    rules: RulesFile = None,
    score: ScoreName = None,
    all_scores: Annotated[
        bool, typer.Option(help="Also print the GAP of every published score.")
    ] = False,
    protocol: ProtocolName = None,
    embedder: ProtocolEmbedder = None,
    ground_truth: GroundTruth = None,
    distractors: ExtraPhotos = None,
    table: ResultsTable = None,
    submission_in: SubmissionIn = None,
    query_descriptors: QueryVectors = None,
    database_descriptors: DatabaseVectors = None,
    export_descriptors: ExportedVectors = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure a recognizer on labelled photos: GAP, top-1, recall, …; write every prediction.

    With --protocol: measure an embedder on a benchmark of the field, such as revisited Oxford.
    """
    options = ProtocolOptions(
        data=source, embedder=embedder, ground_truth=ground_truth, distractors=distractors,
        out=out, table=table, recognizer=recognizer, rules=rules, score=score,
        submission=submission, submission_in=submission_in, query_descriptors=query_descriptors,
        database_descriptors=database_descriptors, export_descriptors=export_descriptors,
        device=device, as_json=as_json,
    )  # fmt: skip
    if protocol is not None:
        evaluate_protocol(protocol, source, options)
        return
    options.refuse_without_protocol()
    if recognizer is None:
        raise OptionError(
            "no recognizer given; expected -r FOLDER, a recognizer folder as `whichlandmark index "
            "PHOTOS -o FOLDER` makes one (whichlandmark.toml may name it), or --protocol NAME"
        )
    _evaluate_recognizer(
        source, recognizer, out or Path("predictions.csv"), submission=submission,
        rules=output.rules_given(rules, score, recognizer), rules_file=rules,
        all_scores=all_scores, device=device, as_json=as_json,
    )  # fmt: skip


def _evaluate_recognizer(
    source: Path,
    recognizer: Path,
    out: Path,
    *,
    submission: Path | None,
    rules: Rules | None,
    rules_file: Path | None,
    all_scores: bool,
    device: str,
    as_json: bool,
) -> None:
    """Predict every photo, print the scores and write both."""
    import dataclasses

    from ..core.files import write_json
    from ..evaluation.evaluate import evaluate_in_detail
    from ..evaluation.predictions import write_predictions, write_submission, wrong_names
    from ..evaluation.scores import scores_file
    from ..recognition.folder.load import load
    from ..recognition.rules import FORMULAS

    scores_path = out.with_suffix(".scores.json")
    results = [(out, "table of predictions"), (scores_path, "file of scores")]
    results += [(submission, "submission")] if submission else []
    output.claim(results, [source, rules_file])
    photos = read_source(source)
    opened = load(recognizer, rules=rules, device=device)
    with output.progress() as progress:
        evaluation = evaluate_in_detail(
            opened,
            photos,
            other_scores=FORMULAS if all_scores else (),
            progress=progress("evaluating"),
        )
    found, scores = evaluation.predictions, evaluation.scores
    write_predictions(out, found)
    titles, made = opened.titles(), {"questions": str(source), "recognizer": str(recognizer)}
    photos_of = opened.index.photos_of()
    facts = scores_file(scores, found, titles=titles, gallery_photos=photos_of, made=made)
    write_json(scores_path, facts, "file of scores")
    if submission:
        write_submission(submission, found)
    failures = {f.id: f.reason for f in evaluation.failures}
    leaks = {leak.id: leak.reason for leak in evaluation.leaks}
    for note in opened.notes[len(opened.warnings) :]:  # the others are on stderr already
        output.warn(note)
    if as_json:
        more = {"warnings": list(opened.notes), "unfinished": opened.unfinished}
        output.result(dataclasses.asdict(scores) | more, True, title="")
    else:
        output.evaluation(scores, out, titles, wrong_names(found, titles))
    output.finish_with_failures(failures | leaks, nothing_done=len(failures) == len(photos))


@app.command()
def report(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            help="predictions.csv, written by evaluate; or result files of evaluate --protocol, "
            "for a table."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--out",
            help="The HTML page to write; of result files a table: .md, .tex or .csv.",
        ),
    ],
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Landmark recognition",
) -> None:
    """Write one self-contained HTML page: scores, plots, and right and wrong answers.

    The credits of gallery photos are below them, while the recognizer is where `evaluate` found it.
    Of result files of benchmarks (.json), a table as papers have it is written.
    """
    if all(path.suffix.lower() == ".json" for path in predictions):
        table_of_results(predictions, out)
        return
    from ..evaluation.report import report_file

    if len(predictions) > 1:
        raise OptionError(
            f"{len(predictions)} files given; expected one predictions.csv, or result files "
            "(.json) of `evaluate --protocol`"
        )

    output.claim([(out, "page")], predictions)
    report_file(predictions[0], out, title=title)
    output.say(str(out))
