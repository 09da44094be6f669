"""Plans of photo libraries, for tests of what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whichlandmark.library.plan import Plan, PlannedLabel
from whichlandmark.library.xmp import Additions, Place

EIFFEL = Place("Eiffel Tower", "Q243", "Paris", "France", "FR", 48.858222, 2.2945)

DECISIONS = {"no_landmark": "no_landmark", "failed": "failed", "not_sure": "uncertain"}

HOSTILE = (
    "<img src=x onerror=alert(1)>.jpg", '"><script>alert(1)</script>.jpg', "a'b\"c&d;.jpg",
    "=cmd|' /C calc'!A0.jpg", "line\nbreak.jpg", "bidi\u202egpj.exe", "a" * 250 + ".jpg",
    "{{ 7 * 7 }}.jpg", "100%.jpg", "javascript:alert(1)", "🏛️ naïve ünïcode 東京タワー.jpg",
)  # fmt: skip


def planned(  # noqa: PLR0913
    photo: str, landmark: str | None, title: str, confidence: float, *, place: Place | None = None,
    wanted: Additions | None = None, state: Any = "write", why: str = "",
    folder: Path = Path("/lib"),
) -> PlannedLabel:  # fmt: skip
    """A row; its sidecar is beside the photo where one is concerned."""
    sidecar = f"{folder}/{photo}.xmp" if state in ("write", "known", "blocked") else ""
    return PlannedLabel(
        photo, f"{folder}/{photo}", DECISIONS.get(state, "landmark"), landmark, title,
        confidence, place, sidecar, wanted or Additions(), state, why,
    )  # fmt: skip


def plan_of(*rows: PlannedLabel, **changes: Any) -> Plan:
    """A plan of these rows."""
    given: dict[str, Any] = {
        "library": "/lib", "recognizer": "paris.wl", "above": 0.97, "notes": ("a note",),
        "left_out": {"/lib/x.heic": "HEIC photo: pip install", "/lib/notes.txt": "text"},
    } | changes  # fmt: skip
    return Plan(rows=rows, **given)


def hostile() -> Plan:
    """A plan whose names, titles and reasons are what an attacker would choose."""
    rows = [
        planned(name, name, name, 0.99, why=name, place=Place(name, name, name, name, name),
                wanted=Additions(keywords=(name,), hierarchy=(name,)))
        for name in HOSTILE
    ]  # fmt: skip
    return plan_of(*rows, library=HOSTILE[0], recognizer=HOSTILE[1], notes=HOSTILE,
                   left_out={name: name for name in HOSTILE})  # fmt: skip
