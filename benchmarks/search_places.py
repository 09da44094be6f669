"""Ask the same 1,000 questions wherever a gallery is searched, and compare the answers.

    python benchmarks/search_places.py --photos 2000 --dim 64 --engines memory grpc
    python benchmarks/search_places.py --photos 20000 --dim 256 --engines edge

A gallery in a file and one on PostgreSQL (a server that this starts), each searched by itself and
by an index in Qdrant: in memory, behind real gRPC messages, and on Qdrant's own engine (Edge),
which searches its graph. The first two are slow, because they read every payload for each query.
Vectors are from `random_vectors.py`, a tenth of the landmarks are distractors; half of the
questions are of landmarks in the gallery. Prints the share of questions with the answer of an exact
search, recall@10 and milliseconds a question; then that an index that is not in step is not
searched, and that the answers stay the same.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import tests_on_path  # noqa: F401
from tests.support.edge_qdrant import EdgeClient
from tests.support.own_postgres import own_postgres
from tests.support.qdrant_stand_in import StandIn, index_over, qdrant_client, serving
from tests.support.random_vectors import RandomVectors, long_tail
from whichlandmark.core.types import Vectors
from whichlandmark.gallery.address import create_at
from whichlandmark.gallery.base import Gallery
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.gallery.index.exact import nearest
from whichlandmark.gallery.index.remote import NotSearchedError, remote_index
from whichlandmark.gallery.qdrant.collection import QdrantConfig
from whichlandmark.gallery.qdrant.search import QdrantIndex
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.recognition.decision import Decider, FallbackDecider, Fitted
from whichlandmark.recognition.fitting.fit import fit
from whichlandmark.recognition.query import Queries
from whichlandmark.recognition.rules import Rules

K, BATCH = 10, 50
RULES = Rules(whitening="none", verify=0)


def rows_of(vectors: Vectors, codes: np.ndarray) -> list[GalleryRow]:
    """Gallery rows; the photos of every tenth landmark are distractors."""
    return [
        GalleryRow(f"p{n}", f"/{n}.jpg", f"l{code}" if code % 10 else "", "h", "1:2", vector)
        for n, (vector, code) in enumerate(zip(vectors, codes, strict=True))
    ]


def questions(made: RandomVectors, landmarks: int, count: int) -> Vectors:
    """(count, D): half around landmarks of the gallery, half around others of the same kind."""
    rng = np.random.default_rng(5)
    known = made.around(rng.integers(0, landmarks, count - count // 2), 6)
    other = RandomVectors(landmarks, made.dim, seed=77).around(
        rng.integers(0, landmarks, count // 2), 7
    )
    return np.concatenate([known, other])


def asked(
    decider: Decider | FallbackDecider, queries: Vectors
) -> tuple[list[tuple[str, str]], np.ndarray, float]:
    """(Decision, landmark) and the K nearest rows of each question; ms a question."""
    answers, rows, began = [], [], time.perf_counter()
    for start in range(0, len(queries), BATCH):
        found = decider.answer(Queries(queries[start : start + BATCH]))
        rows.append(found.found.neighbours.rows[:, :K])
        for code, confidence, score in zip(
            found.codes, found.confidence, found.scores, strict=True
        ):
            name = str(found.index.names[code]) if code >= 0 else ""
            answers.append((found.decider.decide(float(confidence), float(score)), name))
    return answers, np.concatenate(rows), 1000 * (time.perf_counter() - began) / len(queries)


class Counted:
    """A client that counts the searches."""

    def __init__(self, client: Any) -> None:
        self.client, self.searches = client, 0

    def __getattr__(self, name: str) -> Any:
        self.searches += name == "query_batch_points"
        return getattr(self.client, name)


def indexes(
    stack: ExitStack, engines: list[str]
) -> Iterator[tuple[str, QdrantIndex, Callable[[], None]]]:
    """Each kind of server: what it is called, an index there, and what builds its graph."""
    if "memory" in engines:
        memory = qdrant_client.QdrantClient(":memory:")
        yield "in memory", index_over(Counted(memory)), lambda: None
    if "grpc" in engines:
        port = stack.enter_context(serving(StandIn()))
        remote = QdrantIndex.open(f"qdrant://127.0.0.1:{port}/paris")
        remote._client._qdrant = Counted(remote._client.connect())  # type: ignore[assignment]
        yield "real gRPC", remote, lambda: None
    if "edge" in engines:
        edge = stack.enter_context(EdgeClient())
        config = QdrantConfig(exact_below=0, indexing_threshold=1000)
        yield (
            "Edge, graph",
            index_over(Counted(edge), "paris", config),
            lambda: edge.optimize("paris"),
        )


def compared(
    name: str, found: tuple[list[tuple[str, str]], np.ndarray, float],
    right: tuple[list[tuple[str, str]], np.ndarray, float],
) -> None:  # fmt: skip
    same = np.mean([mine == theirs for mine, theirs in zip(found[0], right[0], strict=True)])
    shared = np.mean([
        len(set(mine) & set(theirs)) / K for mine, theirs in zip(found[1], right[1], strict=True)
    ])  # fmt: skip
    print(
        f"{name:34} same landmark and decision {same:.4f}, recall@10 {shared:.4f}, "
        f"{found[2]:6.2f} ms a question", flush=True,
    )  # fmt: skip
    assert same == 1, name
    assert shared >= 0.99, name


def over(gallery: Gallery, fitted: Fitted, index: QdrantIndex | None) -> FallbackDecider:
    """What answers from a gallery: by a search index if there is one; else all are compared."""

    def local() -> Decider:
        return Decider(GalleryIndex.of(gallery.table()), RULES, fitted)

    if index is None:
        opened, rows = remote_index(gallery)
        return FallbackDecider(Decider(opened, RULES, fitted, None, rows), local, None)
    opened, rows = remote_index(gallery, index)
    return FallbackDecider(Decider(opened, RULES, fitted, None, rows), local, None,
                           lambda: FallbackDecider(local(), local, None))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=2_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--engines", nargs="+", default=["memory", "grpc", "edge"])
    parser.add_argument("--questions", type=int, default=1_000)
    given = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # of the client in memory
    landmarks = given.photos // 10
    made, codes = RandomVectors(landmarks, given.dim), long_tail(given.photos, landmarks)
    rows = rows_of(made.around(codes, 1), codes)
    queries = questions(made, landmarks, given.questions)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(own_postgres("fsync=off"))
        for kind, address in (
            ("file", str(Path(folder, "gallery.sqlite"))), ("PostgreSQL", server.address("places")),
        ):  # fmt: skip
            gallery = stack.enter_context(create_at(address, "made", given.dim))
            for start in range(0, len(rows), 1000):
                gallery.put(rows[start : start + 1000])
            gallery.optimize()
            table = gallery.table()
            here = GalleryIndex.of(table)
            fitted = fit(here, RULES)
            right = asked(Decider(here, RULES, fitted), queries)
            exact = nearest(queries, here.vectors, K).rows
            assert np.array_equal(np.sort(exact), np.sort(right[1]))
            if kind == "file":
                first = right
                print(f"{len(here.codes)} photos, {len(here.names)} landmarks, "
                      f"{len(here.distractor_ids)} distractors, {given.dim} dimensions; "
                      f"{sum(decision == 'landmark' for decision, _ in right[0])} of "
                      f"{len(queries)} questions answered with a landmark")  # fmt: skip
            compared(f"{kind}, by itself, exact", right, first)
            if kind == "PostgreSQL":
                compared(f"{kind}, live", asked(over(gallery, fitted, None), queries), first)
            for engine, index, build in indexes(stack, given.engines):
                began = time.perf_counter()
                index.sync(gallery)
                synced = time.perf_counter() - began
                build()
                decider = over(gallery, fitted, index)
                compared(f"{kind} and Qdrant {engine}", asked(decider, queries), first)
                counter: Any = index._client.connect()
                before = counter.searches
                name = str(table.ids[0])
                was = str(table.landmarks[0])
                for label in (was + "x", was):  # the same photos, of another generation
                    gallery.relabel({name: label})
                later = over(gallery, fitted, index)
                again = asked(later, queries[:100])
                try:
                    later.current.answer(Queries(queries[:1]))
                except NotSearchedError as error:
                    said = str(error)
                assert counter.searches == before, "a stale index was searched"
                assert again[0] == first[0][:100]
                print(f"{'':8}{len(rows) / synced:.0f} photos/s synced; stale: 0 searches, {said}",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
