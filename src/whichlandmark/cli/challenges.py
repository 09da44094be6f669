"""`evaluate --protocol gldv2-…` and `report`: recognition, submissions of others, tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import OptionError
from . import output

if TYPE_CHECKING:
    from ..core.challenge_files import Task
    from .protocol import ProtocolOptions

TASKS: dict[str, Task] = {"gldv2-recognition": "recognition", "gldv2-retrieval": "retrieval"}

SubmissionIn = Annotated[
    Path | None,
    typer.Option(
        "--submission-in",
        help="With --protocol gldv2-…: score this submission (id,landmarks or id,images) in place "
        "of a model; no photo is read.",
    ),
]


def score_submission_file(name: str, source: Path, options: ProtocolOptions) -> None:
    """Score a submission by the solution of the data; photos and models take no part."""
    from ..core.challenge_files import read_solution, read_submission
    from ..data.gldv2_protocols import index_ids, solution_file
    from ..evaluation.challenges import score_submission
    from .protocol import write_results

    if (task := TASKS.get(name)) is None:
        raise OptionError(
            f"--submission-in with --protocol {name} given; expected {' or '.join(TASKS)}"
        )
    if (file := options.submission_in) is None:
        raise OptionError("no submission given; expected --submission-in FILE")
    output.claim(options.results(), [source, file, options.ground_truth])
    solution = read_solution(solution_file(source, task, options.ground_truth), task)
    known = index_ids(source) if task == "retrieval" and source.is_dir() else None
    submission = read_submission(file, solution, set(known) if known else None)
    write_results(name, score_submission(solution, submission, file.name), options)


def recognize_test(source: Path, options: ProtocolOptions) -> None:
    """Recognize the test photos of Google Landmarks v2, and measure as its authors do."""
    from ..core.challenge_files import read_solution
    from ..data.gldv2_protocols import recognition_photos, solution_file
    from ..evaluation.predictions import write_submission
    from ..evaluation.recognition_protocol import run_recognition
    from ..recognition.folder.load import load
    from .protocol import write_results

    if options.recognizer is None:
        raise OptionError(
            "--protocol gldv2-recognition without a recognizer; expected -r FOLDER, made by "
            "`whichlandmark index` of the training photos, or --submission-in FILE"
        )
    results = options.results()
    if options.submission:
        results.append((options.submission, "submission"))
    output.claim(results, [source, options.ground_truth, options.rules])
    solution = read_solution(
        solution_file(source, "recognition", options.ground_truth), "recognition"
    )
    rules = output.rules_given(options.rules, options.score, options.recognizer)
    opened = load(options.recognizer, rules=rules, device=options.device)
    with output.progress() as progress:
        test = recognition_photos(source, solution, progress=progress("listing"))
        run = run_recognition(
            opened,
            solution,
            test.photos,
            missing=test.missing,
            part=test.part,
            notes=test.notes,
            progress=progress("recognizing"),
        )
    if options.submission:
        write_submission(options.submission, run.predictions)
    write_results("gldv2-recognition", run.result, options)
    output.finish_with_failures(run.result.unreadable)


def table_of_results(files: list[Path], out: Path) -> None:
    """Join result files of earlier runs as a table."""
    from ..evaluation.results_table import read_result
    from ..evaluation.table_formats import KIND, check_table_name, write_table

    check_table_name(out)
    output.claim([(out, KIND)], files)
    write_table(out, [read_result(file) for file in files])
    output.say(str(out))
