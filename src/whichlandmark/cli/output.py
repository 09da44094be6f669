"""What the command line prints, where, and how it exits.

stdout: results only. stderr: progress (on a terminal only) and messages.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import DataError, OptionError, WhichLandmarkError

if TYPE_CHECKING:
    import typer

    from ..core.types import NotedProgress, Prediction
    from ..recognition.folder.tune import Tuned
    from ..recognition.rules import Rules

PARTLY_FAILED = 3

INTERRUPTED = 130


class PartlyFailedError(Exception):
    """The command finished, but some inputs failed (they are listed already)."""


@dataclasses.dataclass
class Settings:
    """Options that hold for every verb."""

    debug: bool = False


settings = Settings()


def say(text: str) -> None:
    """One line of result on stdout; of several processes (torchrun), the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
        print(text, flush=True)


def warn(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)


def result(values: dict[str, Any], as_json: bool, *, title: str) -> None:
    """A result: a JSON object, or a titled list of names and values."""
    if as_json:
        say(json.dumps(values, ensure_ascii=False))
        return
    say(title)
    for name, value in values.items():
        if isinstance(value, dict):
            for key, inner in value.items():
                say(f"  {name + ' · ' + key:<32} {_shown(inner)}")
        else:
            say(f"  {name:<32} {_shown(value)}")


def prediction(
    path: Path, answer: Prediction, told: Mapping[str, object] | None, titles: Mapping[str, str]
) -> None:
    """One answer: a JSON line, or a sentence and the nearest photos.

    told: the answer as JSON, None = in words; titles: how landmarks are called, where that is not
    their label.
    """
    if told is not None:
        say(json.dumps(told, ensure_ascii=False))
        return
    from ..recognition.answer import answer_in_words  # loads numpy

    say(f"{path}: {answer_in_words(answer, titles)} (confidence {answer.confidence:.2f})")
    for seen in answer.landmarks:
        if seen.box or seen is not answer.landmarks[0]:
            place = " ".join(f"{side:.2f}" for side in seen.box) if seen.box else ""
            name = titles.get(seen.landmark, seen.landmark)
            say(f"    in the photo: {name} ({seen.confidence:.2f}) at {place}")
    for match in answer.matches[:3]:
        inliers = "" if match.inliers is None else f"  {match.inliers} inliers"
        say(f"    {match.similarity:.3f}  {match.landmark}  {match.photo_id}{inliers}")


def tuned(folder: Path, found: Tuned, as_json: bool) -> None:
    """The table that rules were chosen from, and what they promise."""
    rows = [
        {"rules": row.name, "gap": row.gap, "top1": row.top1, "answered_at_1_percent": row.answered}
        for row in found.rows
    ]
    if as_json:
        chosen = dataclasses.asdict(found.chosen.rules)
        say(json.dumps({"table": rows, "chosen": chosen, "promises": found.promises}))
        return
    say(f"{folder!s:<52} {'GAP':>6} {'top-1':>6} {'at 1 %':>6}")
    for row in found.rows:
        say(f"  {row.name:<50} {row.gap:6.3f} {row.top1:6.3f} {row.answered:6.3f}")
    say(f"by questions of the gallery to itself, held out; {found.photos} training photos")
    say(f"chosen: {found.chosen.name}")
    for promise in found.promises:
        say(promise)


def finish_with_failures(failures: dict[str, str], *, nothing_done: bool = False) -> None:
    """List what failed on stderr; exit code 3, or 4 when nothing at all could be done."""
    for name, reason in failures.items():
        warn(reason if name in reason else f"{name}: {reason}")
    if failures and nothing_done:
        raise DataError(f"none of the {len(failures)} photos could be read")
    if failures:
        raise PartlyFailedError


@contextmanager
def progress() -> Iterator[Callable[[str], NotedProgress]]:
    """Yields name → a callback (done, all[, text]) that moves a bar on stderr.

    Off a terminal nothing is shown.
    """
    if not sys.stderr.isatty():
        yield lambda name: lambda *numbers: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:

        def start(name: str) -> NotedProgress:
            task = bars.add_task(name, total=None, note="")

            def move(done: int, total: int, note: str = "") -> None:
                bars.update(task, completed=done, total=total, note=note, visible=done < total)

            return move

        yield start


def three_numbers(text: str | None, option: str) -> list[float] | None:
    """ "0.5" or "0.485,0.456,0.406" → three numbers. Raises OptionError for anything else."""
    if text is None:
        return None
    given = numbers(text, option)
    if len(given) not in (1, 3):
        raise OptionError(f"{option} {text!r} given; expected one number, or three with commas")
    return given * 3 if len(given) == 1 else given


def numbers(text: str, option: str) -> list[float]:
    """ "0.71,1" → its numbers. Raises OptionError for anything else."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(f"{option} {text!r} given; expected numbers with commas") from None


def rules_given(
    path: Path | None, score: str | None, recognizer: Path | None = None
) -> Rules | None:
    """Rules from a JSON file and --score; None when neither is given (then the stored ones)."""
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
    """Run the app; every way to end has its documented exit code and one clear line."""
    import typer

    try:
        code = typer.main.get_command(app)(standalone_mode=False)
    except PartlyFailedError:
        code = PARTLY_FAILED
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of stdout went away, as `| head` does
        sys.stderr.close()
        code = 0
    except Exception as error:
        code = _failed(error)
    if code == INTERRUPTED:
        warn("interrupted; what was finished is saved, and the same command goes on from there")
    sys.exit(code or 0)


def _failed(error: Exception) -> int:
    if hasattr(error, "exit_code") and hasattr(error, "show"):  # usage errors of the parser
        error.show()
        return int(error.exit_code)
    if settings.debug:
        raise error
    if isinstance(error, WhichLandmarkError):
        warn(f"error: {error}")
        return error.exit_code
    warn(f"unexpected {type(error).__name__}: {error}; `whichlandmark --debug …` shows where")
    return 1


def _shown(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
