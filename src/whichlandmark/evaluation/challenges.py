"""Figures of the Google Landmarks challenges from predictions alone: GAP, mAP@100, P@k, positions.

The measures are those of `compute_recognition_metrics.py` and `compute_retrieval_metrics.py` of the
data set's authors (tensorflow/models, research/delf/delf/python/datasets/google_landmarks_dataset),
each with a 95 % interval by the bootstrap over test photos.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.challenge_files import MAX_IMAGES, Solution, Submission
from ..core.errors import DataError
from ..core.types import Floats
from ..metrics.bootstrap import bootstrap_interval
from ..metrics.ranking import gap, gap_authors, gap_of_draws
from ..metrics.retrieval import cut_off_ap, first_position, precision_of_k
from .protocols import (
    MEAN_POSITION,
    MEDIAN_POSITION,
    ProtocolResult,
    ProtocolRow,
    interval,
)

PRECISIONS = (1, 5, 10, 50, 100)

GAP = "GAP"  # of equal scores, the mean over all orders

GAP_AUTHORS = "GAP (ties by id)"

GAP_LANDMARKS = "GAP of landmark photos"

TOP_1 = "top-1"

PRESENT = " (photos that are there)"  # after the name of a setting

RECOGNITION_RULES = (
    "GAP = (1/M) Σ P(i)·rel(i) over all predictions by score, M the photos of the solution that "
    "show a landmark; a photo without a landmark that has a prediction takes a rank",
    "any of several true landmarks is right; a landmark that the gallery lacks cannot be found, "
    "and counts in M",
    f"{GAP}: of equal scores the mean over all orders; {GAP_AUTHORS}: equal scores in the order of "
    "photo ids, as the authors' code does",
    f"{GAP_LANDMARKS} and {TOP_1}: over the photos that show a landmark alone",
)

RETRIEVAL_RULES = (
    "mAP@100: AP = Σ P(i)·rel(i) over the first 100, divided by min(R, 100); a query without a "
    "row counts 0; a repeated image keeps its rank and counts once",
    "P@k: right ones among the first k, divided by k; position: of the first right one, 101 where "
    "there is none among the first 100",
)

Predicted = Mapping[str, tuple[str, float]]  # photo id → landmark, score


def recognition_rows(
    solution: Solution, predicted: Predicted, *, missing: Sequence[str] = ()
) -> list[ProtocolRow]:
    """GAP with both rules of ties, GAP of landmark photos and top-1, of each usage and of all.

    Args:
        solution: Of recognition.
        predicted: At most one prediction a photo; photos without one are left out.
        missing: Photos of the solution without a file. They have no prediction; each figure is
            also given over the photos that are there.

    Raises:
        DataError: When no photo of the solution shows a landmark.
    """
    columns = _Columns(solution, predicted)
    rows: list[ProtocolRow] = []
    for name, chosen in solution.settings().items():
        rows += columns.rows(name, chosen)
    if missing:
        absent = set(missing)
        there = np.array([one not in absent for one in solution.ids.tolist()], dtype=bool)
        for name, chosen in solution.settings().items():
            if (chosen & there).any():
                rows += columns.rows(f"{name}{PRESENT}", chosen & there)
    if not rows:
        raise DataError("no photo of the solution shows a landmark; GAP needs at least one")
    return rows


class _Columns:
    """Predictions of all photos of a solution as columns (Q,)."""

    def __init__(self, solution: Solution, predicted: Predicted) -> None:
        self.ids = solution.ids
        guesses = [predicted.get(one, ("", -np.inf)) for one in solution.ids.tolist()]
        self.guess = np.array([guess for guess, _ in guesses], dtype=object)
        self.score = np.array([score for _, score in guesses], dtype=np.float64)
        self.predicted = np.array([one in predicted for one in solution.ids.tolist()], dtype=bool)
        self.landmark = np.array([len(shown) > 0 for shown in solution.truth], dtype=bool)
        self.right = self.predicted & np.array(
            [guess in shown for (guess, _), shown in zip(guesses, solution.truth, strict=True)],
            dtype=bool,
        )

    def rows(self, name: str, chosen: NDArray[np.bool_]) -> list[ProtocolRow]:
        """The figures of some photos; none where none of them shows a landmark."""
        if not (self.landmark & chosen).any():
            return []
        shows = chosen & self.landmark
        return [
            self._gap(name, GAP, chosen),
            self._gap_authors(name, chosen),
            self._gap(name, GAP_LANDMARKS, shows),
            _mean(name, TOP_1, self.right[shows].astype(np.float64)),
        ]

    def _gap(self, name: str, measure: str, chosen: NDArray[np.bool_]) -> ProtocolRow:
        score, right = self.score[chosen], self.right[chosen]
        predicted, landmark = self.predicted[chosen], self.landmark[chosen]
        value = gap(score, right, int(landmark.sum()), predicted=predicted)
        of_draw = gap_of_draws(score, right, landmark, predicted=predicted)
        return ProtocolRow(
            setting=name, measure=measure, value=value,
            interval=bootstrap_interval(of_draw, len(score)), queries=len(score),
        )  # fmt: skip

    def _gap_authors(self, name: str, chosen: NDArray[np.bool_]) -> ProtocolRow:
        named = chosen & self.predicted
        ids, landmarks = self.ids[named].tolist(), int((chosen & self.landmark).sum())
        given = self.score[named].tolist()
        value = gap_authors(
            self.score[named],
            self.right[named],
            landmarks,
            ids=ids,
            classes=self.guess[named].tolist(),
        )
        # Without ties, in the authors' order; a photo drawn twice ties with itself alone.
        order = sorted(range(len(ids)), key=lambda row: (-given[row], ids[row]))
        place = np.empty(len(ids))
        place[order] = -np.arange(len(ids), dtype=np.float64)
        score = np.full(len(self.ids), -np.inf)
        score[named] = place
        of_draw = gap_of_draws(
            score[chosen], self.right[chosen], self.landmark[chosen],
            predicted=self.predicted[chosen],
        )  # fmt: skip
        queries = int(chosen.sum())
        return ProtocolRow(
            setting=name, measure=GAP_AUTHORS, value=value,
            interval=bootstrap_interval(of_draw, queries), queries=queries,
        )  # fmt: skip

    def tied(self) -> int:
        """Right predictions whose score a wrong one has too."""
        wrong = np.unique(self.score[self.predicted & ~self.right])
        return int(np.isin(self.score[self.right], wrong).sum())


def tied_predictions(solution: Solution, predicted: Predicted) -> int:
    """Right predictions whose score a wrong one has too, so that the rule of ties matters."""
    return _Columns(solution, predicted).tied()


def retrieval_rows(
    solution: Solution, images: Mapping[str, Sequence[str]]
) -> tuple[list[ProtocolRow], dict[str, dict[str, float]]]:
    """mAP@100, P@k and positions of each usage and of all; and setting → query → AP.

    Args:
        solution: Of retrieval.
        images: Query → ids of index photos, best first; a missing query counts 0.
    """
    found = {
        one: _ranks(images.get(one, ()), shown)
        for one, shown in zip(solution.ids.tolist(), solution.truth, strict=True)
    }
    of_query = {
        one: cut_off_ap(found[one], len(shown), MAX_IMAGES) if shown else 0.0
        for one, shown in zip(solution.ids.tolist(), solution.truth, strict=True)
    }
    rows, each = [], {}
    for name, chosen in solution.settings().items():
        ids = solution.ids[chosen].tolist()
        each[name] = {one: of_query[one] for one in ids}
        rows.append(_mean(name, f"mAP@{MAX_IMAGES}", np.array(list(each[name].values()))))
        for k in PRECISIONS:
            values = [precision_of_k(found[one], k) for one in ids]
            rows.append(_mean(name, f"P@{k}", np.array(values)))
        positions = np.array([first_position(found[one], MAX_IMAGES) for one in ids])
        rows.append(_mean(name, MEAN_POSITION, positions))
        rows.append(
            ProtocolRow(
                setting=name,
                measure=MEDIAN_POSITION,
                value=float(np.median(positions)),
                interval=interval(positions, np.median),
                queries=len(positions),
            )
        )
    return rows, each


def score_submission(solution: Solution, submission: Submission, name: str) -> ProtocolResult:
    """The figures of a submission as a result of its protocol. name: of whose submission it is."""
    started = time.monotonic()
    each: dict[str, dict[str, float]] = {}
    tied = 0
    if solution.task == "recognition":
        rows, rules = recognition_rows(solution, submission.landmarks), [*RECOGNITION_RULES]
        tied = tied_predictions(solution, submission.landmarks)
    else:
        rows, each = retrieval_rows(solution, submission.images)
        rules = [*RETRIEVAL_RULES]
    return ProtocolResult(
        protocol=f"gldv2-{solution.task}", rows=rows, embedder=name, licence="unknown",
        image_size="unknown", dim=0, queries=len(solution), database=0, distractors=0,
        average_precision=each, with_distractors={}, left_out={"all": len(solution.ignored)},
        tied_queries=tied, missing=[], unreadable={},
        seconds={"scoring": round(time.monotonic() - started, 3)}, rules=rules,
        notes=list(submission.notes),
    )  # fmt: skip


def _ranks(images: Sequence[str], shown: Sequence[str]) -> NDArray[np.int64]:
    """Ranks from 0 of the right images, each where it comes first."""
    right, earlier, ranks = set(shown), set(), []
    for rank, image in enumerate(images[:MAX_IMAGES]):
        if image in right and image not in earlier:
            ranks.append(rank)
            earlier.add(image)
    return np.array(ranks, dtype=np.int64)


def _mean(name: str, measure: str, values: Floats) -> ProtocolRow:
    return ProtocolRow(
        setting=name, measure=measure, value=float(values.mean()),
        interval=interval(values), queries=len(values),
    )  # fmt: skip
