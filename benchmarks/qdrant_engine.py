"""Measure how exactly Qdrant's engine stores vectors and how well it finds them.

    python benchmarks/qdrant_engine.py --photos 20000 --dim 512

Runs on Qdrant Edge, the engine in this process. Vectors are from `random_vectors.py`, a tenth of
them distractors. Prints how many rows are returned with other bits under the inner product and
under the cosine, and the largest error of the engine's scores. Then for each quantisation of the
presets, with a graph: photos synced a second, seconds of building, recall@10 against exact search,
the share of queries whose first photo shows the same landmark, and milliseconds a query.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
from qdrant_client import models

import tests_on_path  # noqa: F401
from tests.support.edge_qdrant import EdgeClient
from tests.support.qdrant_stand_in import index_over
from tests.support.random_vectors import RandomVectors, long_tail
from whichlandmark.core.types import Vectors
from whichlandmark.gallery.index.exact import nearest
from whichlandmark.gallery.qdrant.collection import QdrantConfig
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.gallery.sqlite.store import SqliteGallery

BATCH, K = 1000, 10
PRESETS = {"none": 1_000_000, "scalar": 100_000_000, "binary": 1_000_000_000}


def given_back(vectors: np.ndarray, distance: models.Distance) -> tuple[int, float]:
    """The number of rows that differ in any bit, and the largest error of a score."""
    with EdgeClient() as client:
        client.create_collection("x", models.VectorParams(size=vectors.shape[1], distance=distance))
        client.upsert("x", [models.PointStruct(id=n, vector=row.astype(float).tolist(), payload={})
                            for n, row in enumerate(vectors)])  # fmt: skip
        found = client.retrieve("x", list(range(len(vectors))), False, True)
        kept = np.empty_like(vectors)
        for one in found:
            kept[one.id] = one.vector
        asked = vectors[:50].astype(np.float64) + np.random.default_rng(1).normal(
            size=(50, vectors.shape[1])) / 60  # fmt: skip
        asked /= np.linalg.norm(asked, axis=1, keepdims=True)
        requests = [models.QueryRequest(query=row.tolist(), limit=K, params=None) for row in asked]
        answers = client.query_batch_points("x", requests)
    lengths = 1.0
    if distance == models.Distance.COSINE:
        lengths = np.linalg.norm(kept.astype(np.float64), axis=1)
    errors = [
        abs(one.score - kept[one.id].astype(np.float64) @ row / np.broadcast_to(
            lengths, len(kept))[one.id])
        for row, answer in zip(asked, answers, strict=True) for one in answer.points
    ]  # fmt: skip
    return int((kept.view(np.uint16) != vectors.view(np.uint16)).any(axis=1).sum()), max(errors)


def rows_of(vectors: Vectors, codes: np.ndarray) -> list[GalleryRow]:
    """Gallery rows; the photos of every tenth landmark are distractors."""
    return [
        GalleryRow(
            f"p{n}", f"/photos/{n}.jpg", f"l{code}" if code % 10 else "", f"h{n}", "1:2", row
        )
        for n, (row, code) in enumerate(zip(vectors, codes, strict=True))
    ]


def measured(name: str, gallery: SqliteGallery, queries: Vectors) -> str:
    """Measure one quantisation; returns a line of the table."""
    config = replace(QdrantConfig.for_size(PRESETS[name]), exact_below=0, indexing_threshold=1000,
                     replicas=1, write_consistency=1)  # fmt: skip
    table, state = gallery.table(), gallery.state()
    kept = np.flatnonzero(table.landmarks != "")
    exact = table.rows[kept][nearest(queries, table.vectors[kept], K).rows]
    with EdgeClient() as client:
        index = index_over(client, "paris", config)
        began = time.perf_counter()
        index.sync(gallery)
        filled = time.perf_counter()
        client.optimize("paris")
        built = time.perf_counter()
        found = index.nearest(state, queries, 2 * K, distractors=False)
        asked = time.perf_counter()
    # The best K of the candidates by their exact cosines, as a recognizer takes them.
    vectors = table.vectors[np.searchsorted(table.rows, found)].astype(np.float32)
    best = np.argsort(-np.einsum("qd,qkd->qk", queries, vectors), axis=1)[:, :K]
    rows = np.take_along_axis(found, best, axis=1)
    shared = np.mean([len(set(a) & set(b)) for a, b in zip(rows, exact, strict=True)]) / K
    landmark = dict(zip(table.rows.tolist(), table.landmarks, strict=True))
    same = np.mean([landmark[a] == landmark[b] for a, b in zip(rows[:, 0], exact[:, 0],
                                                             strict=True)])  # fmt: skip
    return (
        f"{name:7} synced {len(table.rows) / (filled - began):6.0f} photos/s, built in "
        f"{built - filled:5.1f} s, recall@10 {shared:.4f}, same landmark first {same:.4f}, "
        f"{1000 * (asked - built) / len(queries):.2f} ms a question"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=500)
    asked = parser.parse_args()
    codes = long_tail(asked.photos, asked.photos // 10)
    made = RandomVectors(asked.photos // 10, asked.dim)
    vectors = made.around(codes, 1)
    for distance in (models.Distance.DOT, models.Distance.COSINE):
        wrong, error = given_back(vectors[:2000].astype(np.float16), distance)
        print(
            f"{distance.value:7} {wrong} of 2000 rows not back bit for bit, "
            f"scores off by {error:.1e} at most"
        )
    rows = rows_of(vectors, codes)
    queries = made.around(np.random.default_rng(2).choice(codes, asked.queries), 3)
    gallery = SqliteGallery.create(None, "made", asked.dim)
    for start in range(0, len(rows), BATCH):
        gallery.put(rows[start : start + BATCH])
    for name in PRESETS:
        print(measured(name, gallery, queries), flush=True)


if __name__ == "__main__":
    main()
