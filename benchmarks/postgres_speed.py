"""Measure photos written, read and searched a second in a gallery on PostgreSQL.

    python benchmarks/postgres_speed.py [--photos 100000] [--dim 512] [--batch 1000] [--address …]

Starts its own server (fsync on), unless the address of a new gallery is given. Vectors are from
`random_vectors.py`, a tenth of them distractors. Searches 200 new photos, one by one and all at
once, first exactly and then with the HNSW graph, whose recall@10 is measured against exact
search.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

import tests_on_path  # noqa: F401
from tests.support.own_postgres import own_postgres
from tests.support.random_vectors import RandomVectors, long_tail
from whichlandmark.core.types import Neighbours, Vectors
from whichlandmark.gallery.postgres.store import PostgresGallery
from whichlandmark.gallery.records import GalleryRow

ASKED = 200


def timed(what: str, act: Callable[[], object], photos: int = 0) -> object:
    """Run a function and print its seconds."""
    start = time.perf_counter()
    result = act()
    took = time.perf_counter() - start
    rate = f", {photos / took:,.0f} photos/s" if photos else ""
    print(f"{what}: {took:.2f} s{rate}", flush=True)
    return result


def load(gallery: PostgresGallery, codes: np.ndarray, made: RandomVectors, batch: int) -> None:
    vectors = made.around_float16(codes, 7)
    for start in range(0, len(codes), batch):
        gallery.put([
            GalleryRow(f"p{i}", f"/p{i}.jpg", "" if i % 10 == 3 else f"l{codes[i]}", f"h{i}", "1:2",
                       vectors[i].astype(np.float32))
            for i in range(start, min(start + batch, len(codes)))
        ])  # fmt: skip


def ask(gallery: PostgresGallery, queries: Vectors) -> Neighbours:
    """Time 50 queries one by one, then all queries at once."""
    took = []
    for query in queries[:50]:
        start = time.perf_counter()
        gallery.nearest(query[None], 10)
        took.append(time.perf_counter() - start)
    print(f"  one question: median {1e3 * np.median(took):.1f} ms, "
          f"95th percentile {1e3 * np.percentile(took, 95):.1f} ms")  # fmt: skip
    start = time.perf_counter()
    found = gallery.nearest(queries, 10)
    print(f"  {len(queries)} at once: {len(queries) / (time.perf_counter() - start):,.0f} a second")
    return found


@contextmanager
def place(address: str | None) -> Iterator[str]:
    if address:
        yield address
        return
    with own_postgres("shared_buffers=512MB", "max_wal_size=4GB") as server:
        yield server.address("speed")


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of a gallery on PostgreSQL")
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--address")
    given = parser.parse_args()
    codes = long_tail(given.photos, max(10, given.photos // 20))
    made = RandomVectors(int(codes.max()) + 1, given.dim)
    wanted = np.random.default_rng(1).integers(0, len(made.centres), ASKED)
    queries = made.around(wanted, 99)
    count = given.photos
    print(f"{count:,} photos of {given.dim} numbers, batches of {given.batch:,}")
    with (
        place(given.address) as address,
        PostgresGallery.create(address, "made", given.dim) as gallery,
    ):
        timed("put", lambda: load(gallery, codes, made, given.batch), count)
        timed("table", gallery.table, count)
        timed("labels", gallery.labels, count)
        timed("faults", gallery.faults, count)
        print("all compared:")
        exact = ask(gallery, queries)
        print(*timed("optimize", gallery.optimize, count), sep="\n  ")  # type: ignore[misc]
        print("after it:")
        found = ask(gallery, queries)
        pairs = zip(found.rows.tolist(), exact.rows.tolist(), strict=True)
        print(f"  recall@10 {np.mean([len(set(a) & set(b)) for a, b in pairs]) / 10:.4f}")
        with gallery._tables("statement") as tables:
            for name, size in tables.sql.execute(
                "SELECT relname, pg_size_pretty(pg_relation_size(oid)) FROM pg_class WHERE "
                "relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'i') "
                "ORDER BY pg_relation_size(oid) DESC LIMIT 6"
            ):
                print(f"  {name}: {size}")


if __name__ == "__main__":
    main()
