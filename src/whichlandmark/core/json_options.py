"""Options as flat dataclasses: checked values, read from and written to JSON.

`check_fields` is what every such dataclass calls in its `__post_init__`, so that a setting is
refused with the same words from a JSON file, from the command line and from Python.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import numbers
import types
import typing
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from .errors import OptionError

Options = TypeVar("Options")

# Metadata of a field that JSON leaves out at its default, because an embedder's id is a hash of
# that JSON: those made before there was such a field keep their ids.
LATER = {"later": True}


@dataclasses.dataclass(frozen=True)
class Span:
    """The numbers that an option takes: `low` to `high`; above, below: without that end.

    whole: whole numbers only. note: more about what is expected, for the error message.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False
    whole: bool = False
    note: str = ""

    def __contains__(self, value: object) -> bool:
        """Whether a number is in the span; NaN never is."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.whole and not isinstance(value, int):
            return False
        over = value > self.low or (value == self.low and not self.above)
        return over and (value < self.high or (value == self.high and not self.below))

    def __str__(self) -> str:
        kind, low, high = "a whole number" if self.whole else "a number", self.low, self.high
        if high == math.inf:
            ends = f"above {low:g}" if self.above else f"{low:g} or more"
        elif self.above or self.below:
            ends = f"above {low:g}" if self.above else f"{low:g}"
            ends += f" to below {high:.6g}" if self.below else f", at most {high:,.12g}"
        else:
            ends = f"{low:g} to {high:,.12g}"
        return f"{kind}, {ends}" + (f" ({self.note})" if self.note else "")

    def parse(self, text: str) -> int | float | None:
        """The number that a text gives; None = none in the span."""
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            return None
        return value if value in self else None


SEED = Span(0, 2**32 - 1, whole=True)  # what numpy and torch both take

SHARE = Span(0, 1)  # both ends included


def count(low: int = 1, high: int = 1_000_000, note: str = "") -> Span:
    """A span of whole numbers."""
    return Span(low, high, whole=True, note=note)


def from_json(cls: type[Options], values: Mapping[str, Any]) -> Options:
    """Build the dataclass `cls` from a JSON object.

    Raises:
        OptionError: for an unknown key (naming the nearest known one), and for a value whose type
            does not fit the field.
    """
    if not isinstance(values, Mapping):
        raise OptionError(f"{cls.__name__}: {values!r} given; expected a JSON object")
    hints = _hints(cls)  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in hints:
            raise OptionError(unknown_message(key, hints, f"option of {cls.__name__}"))
        if not _fits(value, hints[key]):
            raise _not_fitting(key, value, hints[key], getattr(cls, "spans", {}).get(key))
    return cls(**{key: _convert(value, hints[key]) for key, value in values.items()})


def check_fields(options: Any) -> None:
    """Check the type of every field of a dataclass of options, and the range of its numbers.

    Lists become tuples, and numpy's numbers Python's. A number without a span must be finite.

    Args:
        options: The dataclass, called from its `__post_init__`. Its class variable `spans` has
            field → the numbers that it takes; of a tuple, that each of its numbers is one of.

    Raises:
        OptionError: For a value of another type, or outside its span; the message says which field,
            what was given and what is expected.
    """
    for field, hint in _hints(type(options)).items():  # type: ignore[arg-type]
        value, span = _plain(getattr(options, field)), options.spans.get(field)
        if not _fits(value, hint):
            raise _not_fitting(field, value, hint, span)
        object.__setattr__(options, field, _convert(value, hint))
        for part in value if isinstance(value, list | tuple) else [value]:
            is_number = isinstance(part, int | float) and not isinstance(part, bool)
            if is_number and not (part in span if span else math.isfinite(part)):
                raise _not_fitting(field, value, hint, span)


def strict_json(value: Any, **settings: Any) -> str:
    """A value as JSON text, with null for a number that is not finite: JSON has no NaN.

    settings: of `json.dumps`.
    """

    def finite(part: Any) -> Any:
        if isinstance(part, float) and not math.isfinite(part):
            return None
        if isinstance(part, Mapping):
            return {key: finite(inner) for key, inner in part.items()}
        return [finite(inner) for inner in part] if isinstance(part, list | tuple) else part

    return json.dumps(finite(value), **({"ensure_ascii": False, "allow_nan": False} | settings))


def to_json(options: Any) -> dict[str, Any]:
    """The dataclass as a JSON object; tuples become lists, fields of `LATER` may be left out."""
    values = dataclasses.asdict(options)
    for one in dataclasses.fields(options):
        if one.metadata.get("later") and values[one.name] == one.default:
            del values[one.name]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def unknown_message(given: str, known: typing.Iterable[str], kind: str) -> str:
    """An error message "unknown KIND: …" that suggests the nearest known name, or lists all."""
    names = sorted(known)
    by_case = {name.lower(): name for name in names}
    near = difflib.get_close_matches(given, names, n=1) or [
        by_case[match] for match in difflib.get_close_matches(given.lower(), by_case, n=1)
    ]
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of: {', '.join(names)}"
    return f"unknown {kind}: {given!r}; {hint}"


@functools.cache
def _hints(cls: Hashable) -> dict[str, Any]:
    """The types of the fields of a dataclass; kept, because reading them takes a millisecond."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}  # type: ignore[arg-type]


def _not_fitting(name: str, value: Any, hint: Any, span: Span | None = None) -> OptionError:
    """What is wrong with a value, in the words of the field."""
    words = _words(hint, span)
    value = list(value) if isinstance(value, tuple) else value
    near = ""
    if isinstance(value, str):
        choices = [c for part in (hint, *typing.get_args(hint)) for c in typing.get_args(part)]
        texts = [choice for choice in choices if isinstance(choice, str)]
        close = difflib.get_close_matches(value.lower(), texts, n=1)
        near = f"; did you mean {close[0]!r}?" if close else ""
    shown = f"{value:g}" if isinstance(value, float) else repr(value)
    return OptionError(f"{name} {shown} given; expected {words}{near}")


def _words(hint: Any, span: Span | None) -> str:
    """A type in the words of a user: "a whole number from 1 to 8, or null"."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return ", or ".join(_words(part, span) for part in parts)
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(part) for part in parts)
    if origin is tuple:
        inner = _words(parts[0], span).removeprefix("a ")
        if parts[1:] == (...,):
            return f"a list, each {_words(parts[0], span)}"
        example = ", ".join(["0.5" if parts[0] is float else "32"] * len(parts))
        return f"a list of {len(parts)}, such as [{example}], each a {inner}"
    if hint in (int, float) and span:
        return str(span)
    known = {int: "a whole number", float: "a number", bool: "true or false", str: "a text",
             dict: "a JSON object", type(None): "null", list: "a list"}  # fmt: skip
    return known.get(origin or hint, getattr(hint, "__name__", str(hint)))


def _plain(value: Any) -> Any:
    """A number of numpy, or a list of them, as Python's."""
    if isinstance(value, list | tuple):
        return (
            type(value)(_plain(part) for part in value) if type(value) in (list, tuple) else value
        )
    if isinstance(value, numbers.Number) and not isinstance(value, int | float | complex):
        return value.item() if hasattr(value, "item") else value
    return value


def _fits(value: Any, hint: Any) -> bool:
    """Does a JSON value fit a field's type hint? A list fits a tuple, an int fits a float."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin is tuple:
        parts = typing.get_args(hint)
        if not isinstance(value, list | tuple):
            return False
        parts = parts[:1] * len(value) if parts[1:] == (...,) else parts
        return len(parts) == len(value) and all(map(_fits, value, parts))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is type(None):
        return value is None
    if hint is Any:
        return True
    return isinstance(value, (str, hint) if hint is Path else origin or hint)


def _convert(value: Any, hint: Any) -> Any:
    """A JSON value as the field's type: lists as tuples, ints as floats."""
    parts = (hint, *typing.get_args(hint))
    if isinstance(value, list) and any(typing.get_origin(part) is tuple for part in parts):
        return tuple(value)
    is_number = float in parts and isinstance(value, int) and not isinstance(value, bool)
    return float(value) if is_number and int not in parts else value


def short_repr(options: Any) -> str:
    """A dataclass of options on one line: only the fields that differ from their defaults."""
    changed = []
    for one in dataclasses.fields(options):
        value, default = getattr(options, one.name), one.default
        if one.default_factory is not dataclasses.MISSING:
            default = one.default_factory()
        if value != default:
            changed.append(f"{one.name}={value!r}")
    return f"{type(options).__name__}({', '.join(changed)})"
