"""Parameters of MediaWiki's API: several values, integers in a range, and the errors about them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Params = Mapping[str, str]
MAX_VALUES = 50  # titles or ids of an ordinary client


class ApiError(Exception):
    """An `error` member of an answer, which comes with HTTP 200."""

    def __init__(self, code: str, info: str, **more: Any) -> None:
        super().__init__(code)
        self.error = {"code": code, "info": info, **more}


def values_of(params: Params, name: str) -> list[str]:
    """A parameter with several values, at most 50."""
    text = params.get(name, "")
    if not text:
        return []
    separator = "\x1f" if text.startswith("\x1f") else "|"
    values = text.strip(separator).split(separator)
    if len(values) > MAX_VALUES:
        raise ApiError(
            "toomanyvalues",
            f'Too many values supplied for parameter "{name}". The limit is {MAX_VALUES}.',
            limit=MAX_VALUES, lowlimit=MAX_VALUES, highlimit=500,
        )  # fmt: skip
    return values


def number_of(params: Params, name: str, low: int, high: int, default: int | None = None) -> int:
    """An integer that must be in a range; without a default it must be given."""
    text = params.get(name)
    if text is None:
        if default is None:
            raise ApiError("missingparam", f'The "{name}" parameter must be set.')
        return default
    if not re.fullmatch(r"-?\d+", text):
        raise ApiError("badinteger", f'Invalid value "{text}" for integer parameter "{name}".')
    if not low <= int(text) <= high:
        raise ApiError(
            "outofrange", f'The value of "{name}" must be between {low} and {high}.',
            min=low, curmax=high, max=high, highmax=high,
        )  # fmt: skip
    return int(text)
