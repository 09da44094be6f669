"""Printing, progress bars and exit codes of the command line.

Results go to stdout; messages, and progress on a terminal, go to stderr.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import DataError, OptionError, WhichLandmarkError
from ..core.json_options import strict_json

if TYPE_CHECKING:
    import typer

    from ..core.json_options import Span
    from ..core.types import NotedProgress, Prediction
    from ..evaluation.scores import Scores
    from ..recognition.folder.tune import Tuned
    from ..recognition.rules import Rules

PARTLY_FAILED = 3

INTERRUPTED = 130

MAX_LISTED = 5  # photos that are named one by one


class PartlyFailedError(Exception):
    """The command finished, but some inputs failed; they are on stderr already."""


@dataclasses.dataclass
class Settings:
    """Options of every verb. debug: raise unexpected errors instead of printing one line."""

    debug: bool = False


settings = Settings()


def say(text: str) -> None:
    """Print a line of the result on stdout; under torchrun, only process 0 prints."""
    if os.environ.get("RANK", "0") == "0":
        print(text, flush=True)


def warn(text: str) -> None:
    """Print a line on stderr."""
    print(text, file=sys.stderr, flush=True)


def result(values: dict[str, Any], as_json: bool, *, title: str, missing: str = "none") -> None:
    """Print a result: as a JSON object, or as a title and a list of names and values.

    missing: what None is printed as.
    """
    if as_json:
        say(strict_json(values))
        return
    say(title)
    for name, value in values.items():
        if isinstance(value, dict):
            for key, inner in value.items():
                say(f"  {name + ' · ' + key:<32} {_shown(inner, missing)}")
        else:
            say(f"  {name:<32} {_shown(value, missing)}")


def prediction(
    path: Path,
    answer: Prediction,
    as_object: Mapping[str, object] | None,
    titles: Mapping[str, str],
) -> None:
    """Print an answer: a JSON line, or a sentence with boxes and the three nearest photos.

    as_object: the answer as a JSON object, None = print the sentence. titles: label → title, for
    landmarks that have one.
    """
    if as_object is not None:
        say(strict_json(as_object))
        return
    from ..recognition.answer import answer_and_confidence  # loads numpy

    say(f"{path}: {answer_and_confidence(answer, titles)}")
    for detection in answer.landmarks:
        if detection.box or detection is not answer.landmarks[0]:
            sides = " ".join(f"{side:.2f}" for side in detection.box or ())
            name = titles.get(detection.landmark, detection.landmark)
            box = f" at {sides}" if sides else ""
            say(f"    in the photo: {name} ({detection.confidence:.2f}){box}")
    for match in answer.matches[:3]:
        inliers = "" if match.inliers is None else f"  {match.inliers} inliers"
        say(f"    {match.similarity:.3f}  {match.landmark}  {match.photo_id}{inliers}")


def evaluation(scores: Scores, out: Path, titles: Mapping[str, str], wrong: list[str]) -> None:
    """Print the Scores: a sentence, what it does not say, wrong answers, and every number.

    titles: label → title, for landmarks that have one. wrong: a line for each wrong name.
    """
    say(scores.summary)
    for note in scores.notes:
        for label in sorted(titles, key=len, reverse=True):
            note = note.replace(repr(label), f"{label!r} ({titles[label]})")
        say(f"note: {note}")
    for line in wrong[:MAX_LISTED]:
        say(f"  wrong: {line}")
    if len(wrong) > MAX_LISTED:
        say(f"  and {len(wrong) - MAX_LISTED} more named wrongly; all answers are in {out}")
    values = dataclasses.asdict(scores)
    del values["summary"], values["notes"]
    result(values, False, title=f"\n{out}", missing="not measured")


def tuned(folder: Path, found: Tuned, as_json: bool) -> None:
    """Print the table that rules were chosen from, the chosen ones and their false-answer rates."""
    rows = [
        {"rules": row.name, "gap": row.gap, "top1": row.top1, "answered_at_1_percent": row.answered}
        for row in found.rows
    ]
    if as_json:
        chosen = dataclasses.asdict(found.chosen.rules)
        say(strict_json({"table": rows, "chosen": chosen, "promises": found.promises}))
        return
    say(f"{folder!s:<52} {'GAP':>6} {'top-1':>6} {'at 1 %':>6}")
    for row in found.rows:
        at = f"{'–':>6}" if row.answered is None else f"{row.answered:6.3f}"
        say(f"  {row.name:<50} {row.gap:6.3f} {row.top1:6.3f} {at}")
    unmeasured = any(row.answered is None for row in found.rows)
    say(
        "measured on leave-one-out queries of the gallery; the whitening was fitted with "
        f"{found.photos} more training photos\n"
        "at 1 %: share of known queries answered correctly where 1 % of the photos without a "
        "landmark are answered"
        + (" (–: not measured: it takes 99 distractors)" if unmeasured else "")
    )
    say(f"chosen: {found.chosen.name}")
    for promise in found.promises:
        say(promise)


def finish_with_failures(
    failures: dict[str, str], *, nothing_done: bool = False, listed: Path | None = None
) -> None:
    """List failures (name → reason) on stderr and end with exit code 3; without any, do nothing.

    nothing_done: not one input could be used: exit code 4. listed: a file that holds all of them,
    so that only the first of each kind are printed.
    """
    kinds: Counter[str] = Counter()
    for name, reason in failures.items():
        kind = reason.rpartition(": ")[2]
        kinds[kind] += 1
        if listed is None or kinds[kind] <= MAX_LISTED:
            warn(reason if name in reason else f"{name}: {reason}")
    if listed is not None and failures:
        counts = "; ".join(f"{count} {kind}" for kind, count in kinds.most_common(MAX_LISTED))
        warn(f"{len(failures)} photos left out ({counts}); all are in {listed}")
    if failures and nothing_done:
        raise DataError(f"none of the {len(failures)} photos could be read")
    if failures:
        raise PartlyFailedError


@contextmanager
def progress() -> Iterator[Callable[[str], NotedProgress]]:
    """Yield a function that starts a progress bar on stderr, by its name.

    It returns a callback (done, total[, note]) that moves the bar. Nothing is shown where stderr is
    not a terminal.
    """
    if not sys.stderr.isatty():
        yield lambda name: lambda *numbers: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as ProgressBars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with ProgressBars(*columns, console=Console(stderr=True), transient=True) as bars:

        def start(name: str) -> NotedProgress:
            task = bars.add_task(name, total=None, note="")

            def move(done: int, total: int, note: str = "") -> None:
                bars.update(task, completed=done, total=total, note=note, visible=done < total)

            return move

        yield start


def three_numbers(text: str | None, option: str, span: Span) -> list[float] | None:
    """Parse one or three numbers, "0.5" or "0.485,0.456,0.406", into three.

    Raises OptionError for anything else.
    """
    given = numbers(text, option, span, lengths=(1, 3)) if text is not None else None
    return given * 3 if given and len(given) == 1 else given


def numbers(
    text: str, option: str, span: Span, *, lengths: Collection[int] = range(1, 10)
) -> list[float]:
    """Parse numbers with commas between them, "0.71,1". Raises OptionError for anything else."""
    found = [span.parse(part) for part in text.split(",")]
    if None in found or len(found) not in lengths:
        how_many = (
            "one, or three with commas"
            if 3 in lengths and 2 not in lengths
            else ("several with commas between them")
        )
        raise OptionError(f"{option} {text} given; expected {span}; {how_many}")
    return [number for number in found if number is not None]


def rules_given(
    path: Path | None, score: str | None, recognizer: Path | None = None
) -> Rules | None:
    """Rules from --rules and --score; None when neither is given.

    recognizer: the folder whose stored rules --score changes; None = the default rules.
    """
    if path is None and score is None:
        return None
    from ..core.files import read_json
    from ..core.json_options import from_json
    from ..recognition.folder.settings import read_settings
    from ..recognition.rules import Rules

    if path is not None:
        rules = from_json(Rules, read_json(path))
    else:
        rules = read_settings(recognizer)[0] if recognizer else Rules()
    return rules.with_score(from_json(Rules, {"score": score}).score) if score else rules


def exit_with(app: typer.Typer) -> None:
    """Run the app; end with a documented exit code, and one line on stderr for an error."""
    import typer

    from .option_types import refuse_blanks

    try:
        refuse_blanks(sys.argv[1:])
        code = typer.main.get_command(app)(standalone_mode=False, prog_name="whichlandmark")
    except PartlyFailedError:
        code = PARTLY_FAILED
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of stdout has closed it, as `| head` does
        sys.stderr.close()
        code = 0
    except Exception as error:
        code = _report_error(error)
    if code == INTERRUPTED:
        warn("interrupted; finished work is saved, and the same command resumes from there")
    sys.exit(code or 0)


def _report_error(error: Exception) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # type: ignore[attr-defined]
        return 2
    if hasattr(error, "exit_code") and hasattr(error, "format_message"):  # errors of the parser
        from .option_types import usage_error

        warn(f"error: {usage_error(error, sys.argv[1:])}")
        return int(error.exit_code)
    if settings.debug:
        raise error
    if isinstance(error, WhichLandmarkError):
        warn(f"error: {error}")
        return error.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        warn(f"error: {os.fspath(error.filename)!s}: {error.strerror or error}")
        return DataError.exit_code
    warn(
        f"unexpected {type(error).__name__}: {error}; `whichlandmark --debug …` shows the traceback"
    )
    return 1


def _shown(value: Any, missing: str) -> str:
    """A value as it is printed: 4 digits of a number, the ends of an interval."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return missing
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        between = " to " if isinstance(value, tuple) and len(value) == 2 else ", "
        return between.join(_shown(part, missing) for part in value) or "none"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
