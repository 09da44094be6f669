"""The command line: each verb parses, calls one function and prints. Heavy imports stay inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import console

app = typer.Typer(
    name="whichlandmark",
    help="Which landmark is in this photo, or none?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
import_app = typer.Typer(help="Make a photos.csv from photos on disk.", no_args_is_help=True)
app.add_typer(import_app, name="import")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Where the result goes.")]
Source = Annotated[Path, typer.Argument(help="photos.csv, or a folder <landmark>/*.jpg")]
RecognizerFolder = Annotated[
    Path, typer.Option("--recognizer", "-r", help="A folder made by index.")
]
RulesFile = Annotated[
    Path | None, typer.Option("--rules", help="JSON file of rules; see docs/recognition.md.")
]
ScoreName = Annotated[
    str | None,
    typer.Option(help="cosine, query_penalty, gallery_penalty or both_penalties."),
]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    console.settings.debug = debug


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where everything is written.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Another seed draws another world.")] = 0,
) -> None:
    """Draw a world of landmarks; clean, train, index, recognize, evaluate, report."""
    from .demo import run_demo

    with console.progress() as progress:
        run_demo(folder, seed=seed, say=console.say, progress=progress)


@import_app.command("folder")
def import_folder(
    root: Annotated[Path, typer.Argument(help="<root>/<landmark>/*.jpg")],
    out: Out,
    unlabelled: Annotated[bool, typer.Option(help="The photos show no landmark.")] = False,
) -> None:
    """A folder of photos, one sub-folder a landmark → photos.csv."""
    from .data.folders import read_folder
    from .data.table import write_photos

    photos = read_folder(root, labelled=not unlabelled)
    write_photos(out, photos)
    console.say(f"{out}: {photos!r}")


@app.command()
def clean(
    source: Source,
    out: Out,
    min_photos: Annotated[int, typer.Option(help="Fewest photos of a landmark.")] = 4,
    as_json: Json = False,
) -> None:
    """Drop unreadable photos, duplicates and landmarks with too few photos; list every reason."""
    from .data.cleaning import Cleaning, write_cleaning
    from .data.cleaning import clean as clean_photos
    from .data.folders import read_photos_or_folder
    from .data.table import write_photos

    photos = read_photos_or_folder(source)
    with console.progress() as progress:
        result = clean_photos(
            photos, Cleaning(min_photos=min_photos), progress=progress("cleaning")
        )
    write_photos(out, result.kept)
    reasons = out.with_name(f"{out.stem}.cleaning.csv")
    write_cleaning(reasons, result)
    counts = {"photos": len(photos), "kept": len(result.kept), **result.counts()}
    console.result(counts, as_json, title=f"{out} (every drop: {reasons})")


@app.command()
def split(
    source: Source,
    out: Out,
    test: Annotated[float, typer.Option(help="Share of each landmark's photos.")] = 0.1,
    seed: int = 0,
    as_json: Json = False,
) -> None:
    """Cut a table into train.csv and test.csv, within each landmark."""
    from .data.folders import read_photos_or_folder
    from .data.table import write_photos

    parts = read_photos_or_folder(source).split(test=test, seed=seed)
    for name, part in zip(("train", "test"), parts, strict=True):
        write_photos(out / f"{name}.csv", part)
    counts = {"train": len(parts[0]), "test": len(parts[1])}
    console.result(counts, as_json, title=f"{out}/train.csv, {out}/test.csv")


@app.command()
def embedder(
    source: Annotated[str, typer.Argument(help="timm:NAME, such as timm:resnet50")],
    out: Out,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Local weights; without it they are downloaded.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for the backbone; may be repeated.")
    ] = None,
    mean: Annotated[str | None, typer.Option(help="One number, or three with commas.")] = None,
    std: Annotated[str | None, typer.Option(help="One number, or three with commas.")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels of the long side.")] = None,
    fit: Annotated[str, typer.Option(help="keep the aspect ratio, or squash to squares.")] = "keep",
    gem_p: Annotated[float, typer.Option(help="1 = average pooling, 3 = GeM.")] = 1.0,
) -> None:
    """Make an embedder folder from a pretrained backbone, without training."""
    from .loading import PretrainedOptions, parse_options, pretrained
    from .options import from_json

    given = {
        "checkpoint": str(checkpoint) if checkpoint else None, "size": size, "fit": fit,
        "mean": console.three_numbers(mean, "--mean"), "std": console.three_numbers(std, "--std"),
        "gem_p": gem_p, "options": parse_options(option or []),
    }  # fmt: skip
    made = pretrained(source, from_json(PretrainedOptions, given))
    made.save(out)
    console.say(f"{out}: {made.id}, {made.dim} dimensions, {made.preprocessing}")


@app.command()
def train(
    source: Source,
    out: Out,
    config: Annotated[
        Path | None, typer.Option(help="JSON file of settings; see docs/training.md.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE; may be repeated.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the photos.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    as_json: Json = False,
) -> None:
    """Train an embedder on labelled photos. The same command resumes an interrupted run."""
    from .data.folders import read_photos_or_folder
    from .files import read_json
    from .loading import parse_options, require_torch
    from .options import from_json

    require_torch()
    from .train_config import TrainConfig
    from .training import train as train_embedder

    settings: dict[str, Any] = read_json(config) if config else {}
    settings |= parse_options(setting or [])
    flags = {"epochs": epochs, "device": device}
    settings |= {name: value for name, value in flags.items() if value is not None}
    photos = read_photos_or_folder(source)
    with console.progress() as progress:
        made = train_embedder(
            photos, from_json(TrainConfig, settings), out=out, report=progress("training")
        )
    history = console.last_row(out / "training" / "log.csv")
    console.result(history, as_json, title=f"{out}: {made.id}; last epoch")


@app.command()
def index(
    source: Source,
    out: Out,
    embedder: Annotated[str, typer.Option(help="An embedder folder, timm:NAME, or sift.")],
    distractors: Annotated[
        Path | None, typer.Option(help="Photos without a landmark: photos.csv or a folder.")
    ] = None,
    rules: RulesFile = None,
    score: ScoreName = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Embed photos into a recognizer folder. The same command resumes an interrupted run."""
    from .data.folders import read_photos_or_folder
    from .indexing import index_photos

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
    from .errors import ImageError
    from .recognition import load

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

    from .data.folders import read_photos_or_folder
    from .evaluation import examine
    from .files import write_json
    from .predictions import write_predictions, write_submission
    from .recognition import load
    from .scoring import SCORES

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
    from .report import report_file

    report_file(predictions, out, title=title)
    console.say(str(out))


def main() -> None:
    """Run the command line and exit with the documented code."""
    console.exit_with(app)


if __name__ == "__main__":
    main()
