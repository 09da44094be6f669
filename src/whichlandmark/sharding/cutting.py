"""A table cut into shards: rows that follow one another, the same wherever it is cut."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..embedding import SECTION
from ..errors import OptionError

MOST = 100_000  # shards
_ONE = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)


@dataclass(frozen=True)
class Shard:
    """Rows `first` up to `end` of a table, the shard `number` (from 0) of so many."""

    number: int
    of: int
    first: int
    end: int

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.number:05}-of-{self.of:05}"


def cut(rows: int, shards: int, section: int | None = None) -> list[Shard]:
    """A table of so many rows → its shards, of sizes as equal as whole sections allow.

    section: None = that of `embed`, so that a photo's vector is the same to the last bit as in a
      run without shards: the numbers of a network may depend on who shares a pass, and passes end
      with a section. Where there are fewer sections than shards, some are empty.
    Raises OptionError unless 1 ≤ shards ≤ 100,000.
    """
    if not 1 <= shards <= MOST:
        raise OptionError(f"--shards {shards} given; expected 1 to {MOST}")
    section = section or SECTION
    sections = -(-rows // section)
    borders = [min(-(-i * sections // shards) * section, rows) for i in range(shards + 1)]
    return [Shard(i, shards, borders[i], borders[i + 1]) for i in range(shards)]


def one_of(text: str, shards: int | None) -> tuple[int, int]:
    """ "3/8", and what --shards says (None = nothing) → (3, 8).

    Raises OptionError for another form, for a number that is not among them, or where the two
    do not agree.
    """
    found = _ONE.fullmatch(text.strip())
    if not found:
        raise OptionError(f"--shard {text!r} given; expected i/N, as 0/8 to 7/8")
    number, of = int(found[1]), int(found[2])
    if not number < of:
        raise OptionError(f"--shard {text} given; of {of} shards the first is 0, the last {of - 1}")
    if shards is not None and shards != of:
        raise OptionError(f"--shards {shards} and --shard {text} given; expected the same number")
    return number, of
