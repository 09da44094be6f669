"""Read and write flat dataclasses of options as JSON; unknown keys raise with a suggestion."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from .errors import OptionError

Options = TypeVar("Options")

# Metadata of a field that JSON leaves out at its default, because an embedder's id is a hash of
# that JSON: those made before there was such a field keep their ids.
LATER = {"later": True}


def from_json(cls: type[Options], values: Mapping[str, Any]) -> Options:
    """Build the dataclass `cls` from a JSON object.

    Raises:
        OptionError: for an unknown key (naming the nearest known one), and for a value whose type
            does not fit the field.
    """
    if not isinstance(values, Mapping):
        raise OptionError(f"{cls.__name__}: {values!r} given; expected a JSON object")
    hints = typing.get_type_hints(cls)
    for key, value in values.items():
        if key not in hints:
            raise OptionError(unknown_message(key, hints, f"option of {cls.__name__}"))
        hint = hints[key]
        if not _fits(value, hint):
            expected = getattr(hint, "__name__", hint)
            parts = (hint, *typing.get_args(hint))
            for choice in (part for part in parts if typing.get_origin(part) is typing.Literal):
                expected = "one of " + ", ".join(repr(v) for v in typing.get_args(choice))
            raise OptionError(f"option {key!r} of {cls.__name__} is {value!r}; expected {expected}")
    return cls(**{key: _convert(value, hints[key]) for key, value in values.items()})


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
    near = difflib.get_close_matches(given, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of: {', '.join(names)}"
    return f"unknown {kind}: {given!r}; {hint}"


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
    return isinstance(value, origin or hint)


def _convert(value: Any, hint: Any) -> Any:
    """A JSON value as the field's type: lists as tuples, ints as floats."""
    parts = (hint, *typing.get_args(hint))
    if isinstance(value, list) and any(typing.get_origin(part) is tuple for part in parts):
        return tuple(value)
    return float(value) if hint is float else value


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
