"""Printing, progress and exit codes of the command line.

Results go to stdout; messages and progress go to stderr. No name of a file or a landmark, whatever
it contains, changes the terminal or stops the printing.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import DataError, WhichLandmarkError
from ..core.json_options import strict_json

if TYPE_CHECKING:
    import typer

    from ..core.progress import StartPhase
    from ..evaluation.scores import Scores
    from ..recognition.folder.tune import Tuned
    from ..recognition.rules import Rules

PARTLY_FAILED = 3

INTERRUPTED = 130

MAX_LISTED = 5  # photos that are named one by one


class ClosedPipeError(Exception):
    """The reader of stdout has closed it, as `| head` does; nobody waits for the rest."""


class PartlyFailedError(Exception):
    """The command finished, but some inputs failed; they are on stderr already."""


@dataclasses.dataclass
class Settings:
    """Options of every verb.

    debug: raise unexpected errors instead of printing one line. quiet: print no progress and no
    notes. resumes: does the verb go on where an interrupted run of it stopped? files_left_out:
    number of files of the given folders that were not used; photos_left_out: photos are among
    them, so that the exit code is 3. not_decoded: photo → reason, of photos of formats that are not
    decoded here, which are counted at the end. until_end: what is held until the command ends.
    """

    debug: bool = False
    quiet: bool = False
    resumes: bool = False
    files_left_out: int = 0
    photos_left_out: bool = False
    not_decoded: dict[str, str] = dataclasses.field(default_factory=dict)
    until_end: ExitStack = dataclasses.field(default_factory=ExitStack)


settings = Settings()


def claim(results: Sequence[tuple[Path, str]], inputs: Sequence[str | Path | None] = ()) -> None:
    """`check_results`, and no other command writes these results until this one ends.

    Raises BusyError, before the work, while another process is writing one of them.
    """
    from ..core.disks import only_writer
    from ..core.results import check_results

    check_results(results, inputs)
    if os.environ.get("RANK", "0") == "0":  # the processes of torchrun have one result together
        for path, _ in results:
            settings.until_end.enter_context(only_writer(path))


def say(text: str) -> None:
    """Print lines of the result on stdout; under torchrun, only process 0 prints."""
    _print(visible(text, keep="\n\t"))


def say_json(value: Any) -> None:
    """Print a JSON value on one line of stdout, with escapes where stdout has no such character."""
    text = strict_json(value)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = strict_json(value, ensure_ascii=True)
    _print(text)


def _print(text: str) -> None:
    if os.environ.get("RANK", "0") != "0":
        return
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise ClosedPipeError from None
    except OSError as error:  # as on a full disk
        raise DataError(f"standard output cannot be written ({error.strerror})") from None


def warn(text: str) -> None:
    """Print lines on stderr."""
    print(visible(text, keep="\n\t"), file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Print lines on stderr that --quiet leaves out: neither an error nor a failed input."""
    if not settings.quiet:
        warn(text)


def visible(text: str, *, keep: str = "") -> str:
    """The text with escapes for characters that control a terminal or that no encoding has.

    keep: control characters that stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escaped(character) if character not in keep and _controls(character) else character
        for character in text
    )


def _escaped(character: str) -> str:
    """As Python writes it; a byte of a file name that is not UTF-8 as \\xe9."""
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def _controls(character: str) -> bool:
    """Is it a control character, a separator of lines, a surrogate, or a change of direction?"""
    bidirectional = unicodedata.bidirectional(character)
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or bidirectional in (
        "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
    )  # fmt: skip


def named(label: str | None, titles: Mapping[str, str]) -> str:
    """A landmark as people read it: its title, else its label without underscores.

    titles: label → title, for landmarks that have one.
    """
    return visible(titles.get(label or "", (label or "").replace("_", " ")))


def result(values: dict[str, Any], as_json: bool, *, title: str, missing: str = "none") -> None:
    """Print a result: as a JSON object, or as a title and a list of names and values.

    Files of the given folders that were not used are counted in it. missing: what None is printed
    as.
    """
    if settings.files_left_out:
        values = {**values, "files not used": settings.files_left_out}
    if as_json:
        say_json(values)
        return
    say(title)
    for name, value in values.items():
        if isinstance(value, dict):
            for key, inner in value.items():
                say(f"  {name + ' · ' + key:<32} {_shown(inner, missing)}")
        else:
            say(f"  {name:<32} {_shown(value, missing)}")


def with_notes(counts: Mapping[str, Any], notes: Sequence[str], as_json: bool) -> dict[str, Any]:
    """Print notes on stderr; returns the counts, for JSON with the notes as `warnings`."""
    for note in notes:
        warn(note)
    return {**counts, "warnings": list(notes)} if as_json else dict(counts)


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
        say_json({"table": rows, "chosen": chosen, "promises": found.promises})
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
    from ..data.left_out import without_command

    kinds: Counter[str] = Counter()
    settings.not_decoded |= failures
    for name, reason in failures.items():
        reason = without_command(reason)
        kind = reason.partition(": ")[2].partition(" (")[0] or reason
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


def left_out_list(table: Path) -> Path:
    """The list beside a table X.csv of the files that are not in it: X.left_out.csv."""
    return table.with_name(f"{table.stem}.left_out.csv")


def name_left_out(left_out: dict[str, str], table: Path | None = None) -> bool:
    """Count the files that were not used on stderr, by reason; True = photos are among them.

    Sidecars are named in the list only, because a labelled library has one beside each photo.

    table: X.csv, the list of all of them is written beside it as X.left_out.csv.
    """
    from ..data.left_out import (
        SIDECAR_FILE,
        counted,
        lost_photos,
        without_command,
        write_left_out,
    )

    settings.not_decoded |= left_out
    full = left_out_list(table) if table else None
    if full:
        write_left_out(full, left_out)
    else:
        left_out = {path: why for path, why in left_out.items() if why != SIDECAR_FILE}
    if left_out:
        where = f" (all of them: {full})" if full else ""
        files = "1 file was" if len(left_out) == 1 else f"{len(left_out)} files were"
        warn(f"{files} not used{where}:")
        shown = {path: without_command(reason) for path, reason in left_out.items()}
        for line in counted(shown, named=5):
            warn(f"  {line}")
    return bool(lost_photos(left_out))


def progress() -> AbstractContextManager[StartPhase]:
    """Start progress on stderr, as `shown_progress` does; with --quiet nothing is shown."""
    from ..core.progress import shown_progress  # loads numpy

    return shown_progress(quiet=settings.quiet)


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

    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):  # of another type, or closed
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    vars(settings).update(vars(Settings()))
    try:
        refuse_blanks(sys.argv[1:])
        code = typer.main.get_command(app)(standalone_mode=False, prog_name="whichlandmark")
        sys.stdout.flush()
        code = code or PARTLY_FAILED * settings.photos_left_out
    except PartlyFailedError:
        code = PARTLY_FAILED
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except (ClosedPipeError, BrokenPipeError, SystemExit) as ended:
        # Typer raises SystemExit(1) on a closed pipe, and SystemExit(0) after --show-completion.
        if not isinstance(ended, SystemExit) or ended.code:
            with suppress(OSError, ValueError):  # Python would fail to flush stdout when it ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        code = _report_error(error)
    _count_formats()
    if code == INTERRUPTED:
        saved = "; finished work is saved, and the same command resumes from there"
        warn("interrupted" + (saved if settings.resumes else ""))
    sys.exit(code or 0)


def _count_formats() -> None:
    """At the end of a command, one line for each format of which photos were not decoded."""
    if settings.not_decoded:
        from ..data.left_out import formats_not_decoded

        for line in formats_not_decoded(settings.not_decoded):
            warn(line)


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
        from ..core.disks import read_error

        warn(f"error: {read_error(error.filename, error)}")
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
