"""Which photo did they mean? The message for ids that a gallery does not know."""

from __future__ import annotations

import difflib
import sqlite3
from collections.abc import Sequence

FEW = 20_000  # photos: up to here every id is compared

SHOWN = 5


def unknown_ids(sql: sqlite3.Connection, ids: Sequence[str], name: str) -> str:
    """A message naming the unknown ids, each with the nearest id that is there."""
    known = [row[0] for row in sql.execute("SELECT id FROM photos ORDER BY id LIMIT ?", (FEW + 1,))]
    if len(known) > FEW:
        known = sorted({near for one in ids[:SHOWN] for near in _near(sql, one)})
    return unknown_message(ids, known, name)


def unknown_message(ids: Sequence[str], known: Sequence[str], name: str) -> str:
    """The same; known: ids that are there, all or those that are likely meant."""
    shown = [repr(photo_id) + _hint(photo_id, known) for photo_id in ids[:SHOWN]]
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return (
        f"{name}: no photo of id {', '.join(shown)}{more}; nothing was changed "
        "(`whichlandmark gallery list` shows what is there)"
    )


def _hint(photo_id: str, known: Sequence[str]) -> str:
    if inside := [one for one in known if photo_id and photo_id in one]:
        return f" (did you mean {min(inside, key=len)!r}?)"
    near = difflib.get_close_matches(photo_id, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _near(sql: sqlite3.Connection, photo_id: str) -> list[str]:
    """Some ids of a large gallery: beside it in order, or holding it."""
    queries = (
        "SELECT id FROM photos WHERE id > ? ORDER BY id LIMIT 50",
        "SELECT id FROM photos WHERE id < ? ORDER BY id DESC LIMIT 50",
        "SELECT id FROM photos WHERE instr(id, ?) LIMIT 50",
    )
    return sorted({row[0] for query in queries for row in sql.execute(query, (photo_id,))})
