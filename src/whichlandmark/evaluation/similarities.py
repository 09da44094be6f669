"""Similarities of others as ILIAS keeps them, {query: {photo: score}}: read, measured, written.

The file is `similarities.json` of ilias-vrg/ilias (knn_search/src/utils.py, save_results_json;
evaluation/src/dataset.py, _evaluate_json). One query is in memory at a time, so that a file of any
size can be read; a new one is written in the same way.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from ..core.benchmark import Benchmark
from ..core.disks import read_error, refuse_special
from ..core.errors import DataError
from ..core.files import atomic_file
from ..core.types import Floats, Rows, Vectors
from .protocol_ranks import CHUNK_BYTES, QueryRanks
from .protocols import Measured, ProtocolResult

BLOCK = 1 << 20  # characters that are read at a time

MAX_QUERY_CHARACTERS = 400_000_000  # of the photos of one query

KIND = "file of similarities"

TIES_OF_FILE = "equal scores are one step; their order in the file decides nothing"


def measure_similarities(path: Path, benchmark: Benchmark) -> ProtocolResult:
    """Measure the rankings in a file of similarities.

    A query without an entry counts 0; the script of the authors leaves it out, so that the figure
    over the others is a note.

    Raises:
        DataError: For a file of another form, a query or photo twice, a score that is no number, or
            queries of another data set.
    """
    started = time.monotonic()
    rows = {str(each): row for row, each in enumerate(benchmark.queries.ids)}
    photos = {str(each): row for row, each in enumerate(benchmark.database.ids)}
    found: dict[int, QueryRanks] = {}
    texts = others = most = 0
    for query, scores in read_similarities(path):
        if _is_text(query):
            texts += 1
            continue
        if query not in rows:
            raise DataError(
                f"{path}: query {query[:80]!r} is not one of {benchmark.name}; expected such as "
                f"{benchmark.queries.ids[0]!r}"
            )
        if rows[query] in found:
            raise DataError(f"{path}: query {query!r} occurs twice")
        found[rows[query]] = _ranks(query, scores, photos, path)
        others += sum(each not in photos for each in scores)
        most = max(most, len(scores))
    if not found:
        raise DataError(f"{path}: no query of {benchmark.name} in it")
    notes = [*benchmark.notes, f"{others} entries are of photos that show no object: distractors"]
    if texts:
        notes.append(f"{texts} text queries are left out")
    if most < (benchmark.k or 0):
        notes.append(f"at most {most} photos a query; {benchmark.measure} looks at {benchmark.k}")
    ranked = np.array(sorted(found), dtype=np.int64)
    figures = Measured(benchmark, ranked, [found[row] for row in ranked.tolist()])
    precision = figures.average_precision()
    if absent := len(rows) - len(found):
        mean = float(np.mean([
            precision[name][str(benchmark.queries.ids[row])]
            for name in precision for row in ranked.tolist()
        ]))  # fmt: skip
        notes.append(
            f"{absent} queries have no entry and count 0; the authors' script leaves them out: "
            f"{benchmark.measure} of the others is {100 * mean:.2f}"
        )
    return ProtocolResult(
        protocol=benchmark.name, rows=figures.rows(0), embedder=path.name, licence="unknown",
        image_size="unknown", dim=0, queries=len(rows), database=len(photos), distractors=0,
        average_precision=precision, with_distractors={},
        left_out={name: int((~each.counted).sum()) for name, each in benchmark.settings.items()},
        tied_queries=figures.tied_queries(), missing=[], unreadable={},
        seconds={"reading": round(time.monotonic() - started, 3)},
        rules=[*benchmark.rules, TIES_OF_FILE], notes=notes, part=benchmark.part,
    )  # fmt: skip


def _is_text(query: str) -> bool:
    name = query.rpartition("/")[2]
    return name.startswith("T") and name.endswith(".txt")


def _ranks(query: str, scores: dict[str, float], photos: dict[str, int], path: Path) -> QueryRanks:
    """The ranks of all photos of the database that the file names for a query."""
    values = np.empty(len(scores))
    rows, places = [], []
    for place, (photo, score) in enumerate(scores.items()):
        if isinstance(score, bool) or not isinstance(score, int | float) or not _finite(score):
            raise DataError(
                f"{path}: query {query!r}: {photo[:80]!r} has the score {str(score)[:40]}; "
                "expected a number"
            )
        values[place] = score
        if photo in photos:
            rows.append(photos[photo])
            places.append(place)
    order = np.argsort(rows)
    named: Rows = np.array(rows, dtype=np.int64)[order]
    at = np.array(places, dtype=np.int64)[order]
    keys: Floats = values[at]
    ascending = np.sort(values)
    above = len(values) - np.searchsorted(ascending, keys, side="right")
    tied = np.searchsorted(ascending, keys, side="right") - np.searchsorted(ascending, keys)
    before = [int((values[:place] == key).sum()) for place, key in zip(at, keys, strict=True)]
    return QueryRanks(named, keys, above, tied, np.array(before, dtype=np.int64))


def _finite(score: float) -> bool:
    try:
        return math.isfinite(score)
    except OverflowError:  # a whole number beyond all floats
        return False


def read_similarities(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each query and its photos with their scores, in the order of the file.

    Raises DataError where the file is no object of objects, or names a photo twice for a query.
    """
    refuse_special(path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from _Stream(file, path).queries()
    except OSError as error:
        raise DataError(read_error(path, error)) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8 ({error})") from None


class _Stream:
    """A JSON object of objects, of which one member is in memory at a time."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._file, self._path, self._text, self._at = file, path, "", 0
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant
        )

    def queries(self) -> Iterator[tuple[str, dict[str, Any]]]:
        self._expect("{")
        if self._next() == "}":
            self._at += 1
        else:
            while True:
                query = self._value()
                self._expect(":")
                photos = self._value()
                if not isinstance(query, str) or not isinstance(photos, dict):
                    raise self._error("expected {query: {photo: score}}")
                yield query, photos
                if self._next() == "}":
                    self._at += 1
                    break
                self._expect(",")
        if self._next():
            raise self._error(f"{self._next()!r} after the end of the object")

    def _value(self) -> Any:
        """The next value; more is read until it is complete."""
        wanted = BLOCK
        self._next()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._at > MAX_QUERY_CHARACTERS:
                    raise self._error("more photos for one query than are read") from None
                if not self._fill(wanted):
                    raise self._error(str(error)) from None
                wanted *= 2
                continue
            if end < len(self._text) or not self._fill(BLOCK):
                self._text, self._at = self._text[end:], 0
                return value

    def _next(self) -> str:
        """The next character that is no white space, not taken; "" = the end."""
        while True:
            while self._at < len(self._text):
                if not self._text[self._at].isspace():
                    return self._text[self._at]
                self._at += 1
            if not self._fill(BLOCK):
                return ""

    def _expect(self, mark: str) -> None:
        if self._next() != mark:
            raise self._error(f"expected {mark!r}, found {self._next()!r}")
        self._at += 1

    def _fill(self, characters: int) -> bool:
        more = self._file.read(characters)
        self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for at, name in enumerate(names) if name in names[:at])
            raise DataError(f"{self._path}: {twice[:80]!r} occurs twice for one query")
        return found

    def _constant(self, text: str) -> float:
        raise DataError(f"{self._path}: a score is {text}; expected numbers")

    def _error(self, what: str) -> DataError:
        return DataError(
            f"{self._path}: not a file of similarities ({what}); expected JSON "
            '{"query": {"photo": score}}'
        )


class NearestPhotos:
    """The k photos most similar to each query, from chunks of vectors that pass by once.

    ids, queries: of the queries, and their (Q, D) unit rows. Of equal similarities, those that came
    first are kept.
    """

    def __init__(self, ids: Sequence[str], queries: Vectors, k: int) -> None:
        self.ids = list(ids)
        self._queries = np.asarray(queries, dtype=np.float32)
        self._k = k
        self._scores = [np.empty(0, dtype=np.float32) for _ in queries]
        self._ids: list[NDArray[np.object_]] = [np.empty(0, dtype=object) for _ in queries]

    def add(self, ids: Sequence[str], vectors: Vectors) -> None:
        """Look at more photos. vectors: (n, D) unit rows."""
        names = np.empty(len(ids), dtype=object)
        names[:] = ids
        at_once = max(1, CHUNK_BYTES // (4 * max(1, len(vectors))))
        for start in range(0, len(self._queries), at_once):
            similar = self._queries[start : start + at_once] @ vectors.T
            for query, scores in enumerate(similar, start):
                self._merge(query, scores, names)

    def _merge(self, query: int, scores: NDArray[Any], names: NDArray[np.object_]) -> None:
        kept = self._scores[query]
        if len(scores) > self._k:
            least = np.partition(scores, len(scores) - self._k)[len(scores) - self._k]
        else:
            least = -np.inf
        if len(kept) == self._k:
            least = max(least, kept[-1])
        near = np.flatnonzero(scores >= least)
        both = np.concatenate([kept, scores[near]])
        order = np.argsort(-both, kind="stable")[: self._k]
        self._scores[query] = both[order]
        self._ids[query] = np.concatenate([self._ids[query], names[near]])[order]

    def of_query(self, query: int) -> dict[str, float]:
        """Id → similarity, most similar first."""
        return {
            str(name): float(score)
            for name, score in zip(self._ids[query], self._scores[query], strict=True)
        }


def write_similarities(path: Path, nearest: NearestPhotos) -> None:
    """Write {query: {photo: score}}, one query a line."""
    with atomic_file(path, KIND) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write("{")
        for row, query in enumerate(nearest.ids):
            file.write(",\n" if row else "\n")
            file.write(f"{json.dumps(query)}: {json.dumps(nearest.of_query(row))}")
        file.write("\n}\n")
