"""predictions.csv → one self-contained HTML page: what was right, what was wrong, how sure it was.

No script, nothing fetched: style and pictures are inside the page.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ImageError
from .files import write_text
from .images import read_image
from .metrics import gap, recall_at_k
from .plots import precision_recall_plot, reliability_plot, score_histogram
from .predictions import Predictions

THUMBNAIL = 200  # pixels of the long side


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """title: of the page; protocol: what the numbers belong to, shown as a table."""

    title: str = "Landmark recognition"
    protocol: dict[str, Any] = field(default_factory=dict)
    each: int = 8  # pairs in a grid
    seed: int = 0  # of the samples


@dataclass(frozen=True)
class Pair:
    """A query beside its nearest neighbour, ready to print."""

    query: str  # data: URI, "" = the file is gone
    nearest: str
    shows: str
    guess: str
    score: float
    confidence: float
    decision: str
    right: bool


@dataclass(frozen=True)
class Grid:
    """One of the five grids."""

    title: str
    tells: str
    pairs: list[Pair]


@dataclass(frozen=True)
class LandmarkRow:
    """One landmark's results."""

    name: str
    queries: int
    right: int
    confidence: float
    confused: str


def write_report(
    predictions: Predictions, path: str | Path, options: ReportOptions | None = None
) -> None:
    """Write the page, atomically. A photo whose file is gone gets a placeholder."""
    from jinja2 import Environment

    options = options or ReportOptions()
    source = resources.files(__package__).joinpath("templates/report.html")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        source.read_text(encoding="utf-8")
    )
    known = int(predictions.known.sum())
    page = template.render(
        options=options,
        cards=_cards(predictions),
        answers=_answers(predictions),
        grids=_grids(predictions, options),
        histogram=score_histogram(predictions),
        curve=precision_recall_plot(predictions) if known else "",
        reliability=reliability_plot(predictions),
        landmarks=_landmarks(predictions),
    )
    write_text(path, page)


def _cards(p: Predictions) -> list[tuple[str, str, str]]:
    """(name, value, what it is) of the headline numbers."""
    known = int(p.known.sum())
    counts = f"{known} of known landmarks, {int(_unknown(p).sum())} of unknown ones, "
    counts += f"{int((p.truth == '').sum())} of none"
    cards = [("Queries", str(len(p)), counts)]
    if known:
        value = gap(p.score, p.right, known, predicted=p.predicted)
        cards += [
            ("GAP", f"{value:.3f}", "global average precision, ties broken both ways"),
            ("Top-1", f"{p.right[p.known].mean():.3f}", "best guess right, known landmarks"),
            ("Recall@5", f"{recall_at_k(p.rank[p.known], 5):.3f}",
             "a right photo among the 5 nearest"),
        ]  # fmt: skip
    named = p.decision == "landmark"
    accuracy = np.where(p.known, named & p.right, ~named).mean() if len(p) else 0.0
    return [*cards, ("Answered rightly", f"{accuracy:.1%}", "named if known, refused if not")]


def _answers(p: Predictions) -> list[tuple[str, int, int, int, int]]:
    """What was answered to which kind of query: (kind, queries, right, wrong, not answered)."""
    named = p.decision == "landmark"
    kinds = [("known landmark", p.known), ("unknown landmark", _unknown(p)),
             ("no landmark", p.truth == "")]  # fmt: skip
    return [
        (kind, int(of.sum()), int((of & named & p.right).sum()),
         int((of & named & ~p.right).sum()), int((of & ~named).sum()))
        for kind, of in kinds
    ]  # fmt: skip


def _unknown(p: Predictions) -> NDArray[np.bool_]:
    return np.asarray((p.truth != "") & ~p.known, dtype=bool)


def _grids(p: Predictions, options: ReportOptions) -> list[Grid]:
    """The five grids: by score, the right answers from both ends, the wrong from the top."""
    order = np.lexsort((p.ids.astype(str), -p.score))
    order = order[p.predicted[order]]
    right, wrong = order[p.right[order]], order[~p.right[order]]
    n, rng = options.each, np.random.default_rng(options.seed)
    # Samples are drawn from what the first grids do not show.
    confident = wrong[n : max(n, (len(wrong) + n) // 2)]
    between = right[n : max(n, len(right) - n)]
    chosen = [
        ("Most confident, right", "The highest scores of all.", right[:n]),
        ("Least confident, right", "Right answers that the ranking puts last.",
         right[max(n, len(right) - n) :][::-1]),
        ("Most confident, wrong", "The mistakes that cost most: each pushes right answers down.",
         wrong[:n]),
        ("More confident, wrong", "A sample of the next ones, from the upper half of the mistakes.",
         np.sort(rng.permutation(len(confident))[:n])),
        ("More right", "A sample of the right answers in between.",
         np.sort(rng.permutation(len(between))[:n])),
    ]  # fmt: skip
    rows = [chosen[0][2], chosen[1][2], chosen[2][2], confident[chosen[3][2]],
            between[chosen[4][2]]]  # fmt: skip
    return [
        Grid(title, tells, [_pair(p, int(row)) for row in picked])
        for (title, tells, _), picked in zip(chosen, rows, strict=True)
    ]


def _pair(p: Predictions, row: int) -> Pair:
    truth = p.truth[row]
    shows = truth or "no landmark"
    return Pair(
        query=_thumbnail(p.path[row]),
        nearest=_thumbnail(p.nearest_path[row]),
        shows=shows if p.known[row] or not truth else f"{shows} (not in the gallery)",
        guess=p.guess[row],
        score=float(p.score[row]),
        confidence=float(p.confidence[row]),
        decision=p.decision[row].replace("_", " "),
        right=bool(p.right[row]),
    )


def _thumbnail(path: str) -> str:
    from PIL import Image as Pillow

    if not path:
        return ""
    try:
        picture = Pillow.fromarray(read_image(path, short_side=THUMBNAIL))
    except ImageError:
        return ""
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def _landmarks(p: Predictions) -> list[LandmarkRow]:
    """Results of each known landmark, worst first."""
    table = []
    for name in sorted(set(p.truth[p.known])):
        of = p.truth == name
        wrong = Counter(guess for guess in p.guess[of & ~p.right] if guess)
        confused = min(wrong, key=lambda guess: (-wrong[guess], guess)) if wrong else ""
        table.append(
            LandmarkRow(
                name,
                int(of.sum()),
                int(p.right[of].sum()),
                float(p.confidence[of].mean()),
                confused,
            )
        )
    return sorted(table, key=lambda row: (row.right / row.queries, -row.queries, row.name))
