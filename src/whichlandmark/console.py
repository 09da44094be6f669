"""What the command line prints, where, and how it exits.

stdout: results only. stderr: progress (on a terminal only) and messages.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DataError, OptionError, WhichLandmarkError

if TYPE_CHECKING:
    import typer

    from .scoring import Rules
    from .types import Prediction

PARTLY_FAILED = 3
INTERRUPTED = 130

Progress = Callable[..., None]  # (done, all) or (done, all, text)


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


def prediction(path: Path, answer: Prediction, as_json: bool) -> None:
    """One answer: a JSON line, or a sentence and the nearest photos."""
    if as_json:
        say(json.dumps({"photo": str(path), **dataclasses.asdict(answer)}, ensure_ascii=False))
        return
    words = {
        "landmark": f"{answer.guess}",
        "uncertain": f"not sure: perhaps {answer.guess}",
        "no_landmark": "no landmark that I know",
    }
    say(f"{path}: {words[answer.decision]} (confidence {answer.confidence:.2f})")
    for match in answer.matches[:3]:
        say(f"    {match.similarity:.3f}  {match.landmark}  {match.photo_id}")


def finish_with_failures(failures: dict[str, str], *, nothing_done: bool = False) -> None:
    """List what failed on stderr; exit code 3, or 4 when nothing at all could be done."""
    for name, reason in failures.items():
        warn(reason if name in reason else f"{name}: {reason}")
    if failures and nothing_done:
        raise DataError(f"none of the {len(failures)} photos could be read")
    if failures:
        raise PartlyFailedError


@contextmanager
def progress() -> Iterator[Callable[[str], Progress]]:
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
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:

        def start(name: str) -> Progress:
            task = bars.add_task(name, total=None, note="")

            def move(done: int, total: int, note: str = "") -> None:
                bars.update(task, completed=done, total=total, note=note, visible=done < total)

            return move

        yield start


def three_numbers(text: str | None, option: str) -> list[float] | None:
    """ "0.5" or "0.485,0.456,0.406" → three numbers. Raises OptionError for anything else."""
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3):
        raise OptionError(f"{option} {text!r} given; expected one number, or three with commas")
    return numbers * 3 if len(numbers) == 1 else numbers


def rules_given(
    path: Path | None, score: str | None, recognizer: Path | None = None
) -> Rules | None:
    """Rules from a JSON file and --score; None when neither is given (then the stored ones)."""
    if path is None and score is None:
        return None
    from dataclasses import replace

    from .files import read_json
    from .options import from_json
    from .recognition import read_settings
    from .scoring import Rules

    if path is not None:
        rules = from_json(Rules, read_json(path))
    else:
        rules = read_settings(recognizer)[0] if recognizer else Rules()
    named = from_json(Rules, {"score": score}).score if score else rules.score
    return replace(rules, score=named)


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
