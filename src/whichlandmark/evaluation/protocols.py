"""Run a retrieval benchmark as its authors do: rank the database for each query, measure, state.

`protocol_vectors` makes the vectors of the photos; others may come from files. Distractors pass by
in chunks, so that a million of them take no memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.benchmark import Benchmark, Judgements
from ..core.errors import DataError
from ..core.types import Floats, Progress, Rows
from ..metrics.bootstrap import bootstrap_interval
from ..metrics.retrieval import (
    cut_off_ap,
    first_position,
    precision_at,
    precision_of_k,
    trapezoid_ap,
)
from .protocol_ranks import QueryRanks, RankCounter, chunk_rows, unit_rows
from .protocol_vectors import BenchmarkVectors

TIES = "equal similarities are in the order of the database, distractors last"

MEAN_POSITION, MEDIAN_POSITION = "mean position", "median position"

POSITIONS = (MEAN_POSITION, MEDIAN_POSITION)  # measures that are no share

NO_RANKS: Rows = np.empty(0, dtype=np.int64)

Chunks = Iterable[NDArray[Any]]

OfQuery = Callable[[Judgements, int], float]

Average = Callable[[Floats], Any]


@dataclass(frozen=True, kw_only=True)
class ProtocolRow:
    """One figure. distractors: the photos added to the database; queries: those counted.

    mean_over_orders: the value as the mean over all orders of equal similarities; None = not
    computed (mP@k).
    """

    setting: str
    measure: str
    value: float
    interval: tuple[float, float]
    queries: int
    distractors: int = 0
    mean_over_orders: float | None = None


@dataclass(frozen=True, kw_only=True)
class ProtocolResult:
    """The figures of a protocol, and everything that they depend on.

    Attributes:
        rows: first without, then with distractors.
        name, embedder: of the embedder, as people call it, and its id.
        average_precision: setting → query id → AP, of the queries counted; with_distractors: the
            same with distractors, {} without any.
        left_out: setting → queries that are not counted there.
        tied_queries: queries for which a photo that is right and one that is not are equally
            similar in some setting.
        missing: photos that the ground truth names and that are not there.
        unreadable: id → reason.
        seconds: stage → seconds.
        part: which part of the data set was measured, in words; "" = all of it.
    """

    protocol: str
    rows: list[ProtocolRow]
    embedder: str
    licence: str
    image_size: str
    dim: int
    queries: int
    database: int
    distractors: int
    average_precision: dict[str, dict[str, float]]
    with_distractors: dict[str, dict[str, float]]
    left_out: dict[str, int]
    tied_queries: int
    missing: list[str]
    unreadable: dict[str, str]
    seconds: dict[str, float]
    rules: list[str]
    notes: list[str]
    name: str = ""
    part: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """What the figures depend on, in words: rules, ties, what is left out, time, notes."""
        found = [f"rule: {rule}" for rule in self.rules]
        means = [
            f"{row.setting} {100 * row.mean_over_orders:.2f}"
            for row in self.rows
            if row.mean_over_orders is not None and row.distractors == self.distractors
        ]
        if self.tied_queries and means:
            found.append(
                f"ties: for {self.tied_queries} queries a right photo and a wrong one are equally "
                f"similar; as the mean over all their orders, {self.rows[0].measure} is "
                + ", ".join(means)
            )
        found += [
            f"left out: {count} {'query' if count == 1 else 'queries'} of {setting}"
            for setting, count in self.left_out.items()
            if count
        ]
        if self.missing:
            found.append(
                f"missing: {len(self.missing)} of the photos of the ground truth, such as "
                f"{self.missing[0]}; a query counts 0, a photo is never retrieved"
            )
        found += [f"note: {note}" for note in self.notes]
        seconds = ", ".join(f"{stage} {taken:.1f} s" for stage, taken in self.seconds.items())
        return [*found, f"time: {seconds}"]


def run_protocol(
    benchmark: Benchmark,
    vectors: BenchmarkVectors,
    *,
    distractors: Chunks | None = None,
    progress: Progress | None = None,
) -> ProtocolResult:
    """Rank the database for each query and measure, without and with distractors.

    Args:
        benchmark: Who is right, and how it is counted.
        vectors: Of its photos. Rows of another length than 1 are normalised, and it is said.
        distractors: (n, D) arrays of vectors of further photos, none of which is right.
        progress: Called with (rows ranked, rows of the database).

    Raises:
        DataError: When too many photos are missing, when vectors do not fit, or no query counts.
    """
    started = time.monotonic()
    notes = [*benchmark.notes]
    vectors.check(benchmark)
    ranked = benchmark.ranked_queries()
    ranked = ranked[vectors.query_present[ranked]]
    queries, changed = unit_rows(vectors.queries[ranked], "queries")
    marked = [_marked(benchmark, int(query)) for query in ranked]
    counter = RankCounter(queries, marked, vectors.database, vectors.database_present)
    changed += _add_database(counter, vectors, progress)
    plain = Measured(benchmark, ranked, counter.ranks())
    rows_found, extra, added, waited = plain.rows(0), plain, 0, 0.0
    if distractors is not None:
        added, other, waited = _add_distractors(counter, distractors, queries.shape[1])
        changed += other
        extra = Measured(benchmark, ranked, counter.ranks())
        rows_found = [*rows_found, *extra.rows(added)]
    if changed:
        notes.append(
            f"{changed} vectors did not have length 1 and were given it, because similarity is "
            "their cosine"
        )
    seconds = {"embedding": vectors.seconds or 0.0, "distractors": waited,
               "ranking": time.monotonic() - started - waited}  # fmt: skip
    return ProtocolResult(
        protocol=benchmark.name, rows=rows_found, name=vectors.name, embedder=vectors.embedder,
        licence=vectors.licence, image_size=vectors.image_size, dim=int(queries.shape[1]),
        queries=len(benchmark.queries), database=len(benchmark.database), distractors=added,
        average_precision=plain.average_precision(),
        with_distractors=extra.average_precision() if extra is not plain else {},
        left_out={name: int((~each.counted).sum()) for name, each in benchmark.settings.items()},
        tied_queries=extra.tied_queries(), missing=list(benchmark.missing),
        unreadable=dict(vectors.unreadable),
        seconds={stage: round(taken, 3) for stage, taken in seconds.items() if taken},
        rules=[*benchmark.rules, *_rule_of_ties(benchmark)], notes=notes, part=benchmark.part,
    )  # fmt: skip


def _rule_of_ties(benchmark: Benchmark) -> list[str]:
    return [] if benchmark.average_precision == "cut_off_tied" else [TIES]


class Measured:
    """The figures of all queries, from the ranks of what is right.

    ranked: rows of the queries that `ranks` has. A counted query without ranks, because it has no
    positive or no vector, counts 0.
    """

    def __init__(self, benchmark: Benchmark, ranked: Rows, ranks: Sequence[QueryRanks]) -> None:
        self.benchmark = benchmark
        self.found: dict[int, QueryRanks] = dict(zip(ranked.tolist(), ranks, strict=True))

    def rows(self, distractors: int) -> list[ProtocolRow]:
        rows = []
        for name, judged in self.benchmark.settings.items():
            counted = np.flatnonzero(judged.counted)
            if not len(counted):
                raise DataError(f"{self.benchmark.name}, setting {name}: no query is counted")
            for measure, of_query, average in self._measures():
                values = np.array([of_query(judged, query) for query in counted.tolist()])
                over_orders = None
                if of_query == self._ap:
                    each = [self._mean_ap(judged, query) for query in counted.tolist()]
                    over_orders = float(np.mean(each))
                rows.append(
                    ProtocolRow(
                        setting=name,
                        measure=measure,
                        value=float(average(values)),
                        interval=interval(values, average),
                        queries=len(counted),
                        distractors=distractors,
                        mean_over_orders=over_orders,
                    )
                )
        return rows

    def _measures(self) -> list[tuple[str, OfQuery, Average]]:
        """Name of each measure, its value for a query, and how the values are averaged."""
        found: list[tuple[str, OfQuery, Average]] = [(self.benchmark.measure, self._ap, np.mean)]
        if self.benchmark.average_precision == "trapezoid":
            found += [
                (f"mP@{k}", self._of_ranks(partial(precision_at, k=k)), np.mean)
                for k in self.benchmark.precision_at
            ]
        else:
            found += [
                (f"P@{k}", self._of_ranks(partial(precision_of_k, k=k)), np.mean)
                for k in self.benchmark.precision_at
            ]
        if self.benchmark.positions:
            position = self._of_ranks(partial(first_position, k=self.benchmark.k or 100))
            found += [(MEAN_POSITION, position, np.mean), (MEDIAN_POSITION, position, np.median)]
        return found

    def average_precision(self) -> dict[str, dict[str, float]]:
        ids = self.benchmark.queries.ids
        return {
            name: {
                str(ids[query]): self._ap(judged, query)
                for query in np.flatnonzero(judged.counted).tolist()
            }
            for name, judged in self.benchmark.settings.items()
        }

    def tied_queries(self) -> int:
        return sum(
            any(
                judged.counted[query] and ranks.groups(judged, query).matter
                for judged in self.benchmark.settings.values()
            )
            for query, ranks in self.found.items()
        )

    def _ap(self, judged: Judgements, query: int) -> float:
        positives = len(judged.positives[query])
        if query not in self.found or not positives:
            return 0.0
        if self.benchmark.average_precision == "cut_off_tied":
            groups = self.found[query].groups(judged, query)
            return groups.tied_cut_off_ap(positives, self.benchmark.k or 0)
        ranks = self.found[query].ranks(judged, query)
        if self.benchmark.k is None:
            return trapezoid_ap(ranks, positives)
        return cut_off_ap(ranks, positives, self.benchmark.k)

    def _mean_ap(self, judged: Judgements, query: int) -> float:
        positives = len(judged.positives[query])
        if query not in self.found or not positives:
            return 0.0
        groups = self.found[query].groups(judged, query)
        if not groups.matter:
            return self._ap(judged, query)
        if self.benchmark.k is None:
            return groups.mean_trapezoid_ap(positives)
        return groups.mean_cut_off_ap(positives, self.benchmark.k)

    def _of_ranks(self, measure: Callable[[Rows], float]) -> OfQuery:
        """A measure of the ranks of what is right, as one of a query."""

        def of_query(judged: Judgements, query: int) -> float:
            found = self.found.get(query)
            return measure(NO_RANKS if found is None else found.ranks(judged, query))

        return of_query


def interval(values: Floats, average: Average = np.mean) -> tuple[float, float]:
    """The 95 % interval of an average over queries, by the bootstrap."""
    return bootstrap_interval(lambda rows: float(average(values[rows])), len(values))


def _marked(benchmark: Benchmark, query: int) -> Rows:
    """The rows whose ranks are needed for this query, in any setting."""
    rows = [
        part[query]
        for judged in benchmark.settings.values()
        for part in (judged.positives, judged.ignored)
    ]
    return np.unique(np.concatenate(rows)).astype(np.int64)


def _add_database(
    counter: RankCounter, vectors: BenchmarkVectors, progress: Progress | None
) -> int:
    """Count the database; returns how many of its vectors had to be normalised."""
    changed, size, step = 0, len(vectors.database), chunk_rows(vectors.database.shape[1])
    for start in range(0, size, step):
        rows, other = unit_rows(vectors.database[start : start + step], "database")
        counter.add(rows, vectors.database_present[start : start + step])
        changed += other
        if progress:
            progress(min(start + step, size), size)
    return changed


def _add_distractors(counter: RankCounter, chunks: Chunks, dim: int) -> tuple[int, int, float]:
    """Count distractors; returns their number, those normalised, and the seconds of making them."""
    added, changed, waited = 0, 0, 0.0
    began = time.monotonic()
    for chunk in chunks:
        waited += time.monotonic() - began
        if chunk.ndim != 2 or chunk.shape[1] != dim:
            raise DataError(
                f"distractors of shape {chunk.shape} given; expected vectors of {dim} numbers, as "
                "those of the queries"
            )
        step = chunk_rows(dim)
        for start in range(0, len(chunk), step):
            rows, other = unit_rows(chunk[start : start + step], "distractors")
            counter.add(rows)
            added, changed = added + len(rows), changed + other
        began = time.monotonic()
    return added, changed, waited + time.monotonic() - began
