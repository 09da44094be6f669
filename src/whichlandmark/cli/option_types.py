"""Checks of the options of all verbs: numbers in a span, words of a list, devices, blank values.

They refuse a value when the command line is read, before any file is, with one line that says what
was given and what is expected.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

import typer

from ..core.errors import OptionError
from ..core.hardware import check_device
from ..core.json_options import Span

BETWEEN = Span(0, 1, above=True, below=True)  # a share, without its ends

# Options that may be blank; another blank value comes from a shell variable that is not set.
MAY_BE_BLANK = ("--to", "--landmark", "--title", "--tiles", "--tiles-by")


def within(span: Span) -> Callable[..., Any]:
    """A callback for an option: raises OptionError for a number outside the span."""

    def check(param: typer.CallbackParam, value: Any) -> Any:
        if value is not None and value not in span:
            raise OptionError(f"{_name(param)} {value:g} given; expected {span}")
        return value

    check.span = span  # type: ignore[attr-defined]  # for the test of all options
    return check


def one_of(*words: str, old: str = "") -> Callable[..., Any]:
    """A callback for an option: raises OptionError for a word that is none of these.

    old: a word of earlier versions, which is still taken.
    """

    def check(param: typer.CallbackParam, value: Any) -> Any:
        if value is not None and value not in words and (not old or value != old):
            near = difflib.get_close_matches(str(value).lower(), words, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            listed = f"{', '.join(words[:-1])} or {words[-1]}"
            shown = value if value and value.strip() == value else repr(value)
            raise OptionError(f"{_name(param)} {shown} given; expected {listed}{hint}")
        return value

    check.words = words  # type: ignore[attr-defined]
    return check


def each_of(*words: str, also: tuple[str, ...] = ()) -> Callable[..., Any]:
    """As `one_of`, for an option that may be repeated. also: beginnings of other words."""
    check_one = one_of(*words)

    def check(param: typer.CallbackParam, value: Any) -> Any:
        for one in value or []:
            if not one.startswith(also) or one in also:
                check_one(param, one)
        return value

    check.words = words  # type: ignore[attr-defined]
    return check


def complete_words(*words: str) -> Callable[[str], list[str]]:
    """Completion in the shell for an option that takes one of these words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def complete_recognizers(incomplete: str) -> list[str]:
    """Completion in the shell for a recognizer folder: such folders, and others on the way, which
    end with a slash.
    """
    above, start = os.path.split(incomplete)
    found = []
    with suppress(OSError), os.scandir(os.path.expanduser(above) or ".") as entries:
        for entry in entries:
            if entry.name.startswith(start or "") and entry.is_dir() and entry.name[0] != ".":
                path = os.path.join(above, entry.name)
                is_one = os.path.isfile(os.path.join(entry.path, "recognizer.json"))
                found.append(path if is_one else path + os.sep)
    return sorted(found)


def device(value: str | None) -> str | None:
    """A callback for --device: raises OptionError for a word that names no device."""
    if value is not None:
        check_device(value)
    return value


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


def _name(param: typer.CallbackParam) -> str:
    return max(param.opts, key=len)


def usage_error(error: Any, arguments: Sequence[str]) -> str:
    """One line about an error of the parser of the command line."""
    param: Any = getattr(error, "param", None)
    if span := getattr(getattr(param, "callback", None), "span", None):
        given = _value_of(param.opts, arguments)
        return f"{_name(param)} {given!r} given; expected {span}"
    said = " ".join(error.format_message().split()).rstrip(".?")
    if said.startswith("Missing") and getattr(param, "name", None) in ("recognizer", "folder"):
        said += ": a recognizer folder, as `whichlandmark index PHOTOS -o FOLDER` makes one"
        if param.name == "recognizer":
            said += '; -r names it, or recognizer = "…" in whichlandmark.toml'
    if said.startswith("Missing") and getattr(param, "name", None) == "library":
        said += ": the folder of a photo library"
    context = getattr(error, "ctx", None)
    name = context.command_path if context else "whichlandmark"
    return f"{said}; `{name} --help` says what it takes"


def _value_of(names: Sequence[str], arguments: Sequence[str]) -> str:
    """The value that a command line gives to an option of these names; "" when it gives none."""
    for here, following in zip(arguments, (*arguments[1:], ""), strict=True):
        option, equals, value = here.partition("=")
        if option in names:
            return value if equals else following
    return ""


def is_said(option: str) -> bool:
    """Does the command line give this option? One of a config file fits every use of its verb."""
    return any(text == option or text.startswith(f"{option}=") for text in sys.argv[1:])


def refuse_blanks(arguments: Sequence[str]) -> None:
    """Raises OptionError when an argument, or the value of an option, is blank.

    A blank path would be the current folder.
    """
    for before, here in zip(("", *arguments), arguments, strict=False):
        option, equals, value = here.partition("=")
        if here.startswith("--") and equals:
            before, here = option, value
        if here.strip() or before in MAY_BE_BLANK:
            continue
        what = before if before.startswith("-") else "an argument"
        raise OptionError(
            f"{what} {here!r} given; expected a value that is not blank (is a variable of the "
            "shell not set?)"
        )
