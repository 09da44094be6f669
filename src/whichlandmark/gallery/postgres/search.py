"""Search in PostgreSQL by pgvector, and build its HNSW indexes.

The server finds candidates; their cosines are computed from the stored vectors by this program.
HNSW: Malkov & Yashunin, "Efficient and robust approximate nearest neighbor search using HNSW
graphs", 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg import errors

from ...core.types import Neighbours, Vectors
from ..checksums import BLOBS
from .connection import LANDMARK_PREFIX, Sql, is_valid_text

MAX_PHOTOS_COMPARED = 20_000  # up to here all photos are compared, without an index

EXTRA_CANDIDATES = 10  # beyond k, because the server rounds similarities differently

QUERIES_PER_STATEMENT = 256

# pgvector's HNSW index: dimensions; links of a photo (m); candidates for the links of each photo
# (ef_construction); candidates of a search (ef_search), of which pgvector allows 1000; photos
# scanned for one query with a filter (max_scan_tuples).
MAX_INDEXED_DIM = 4_000
HNSW_LINKS = 16
HNSW_BUILD_EFFORT = 100
MIN_SEARCH_EFFORT, MAX_SEARCH_EFFORT = 200, 1000
MAX_SCANNED_PHOTOS = 200_000

INDEXES = {"NOT bank": "vectors_hnsw", "bank": "vectors_hnsw_bank"}  # of rows; bank: distractors

OF_LANDMARKS = (
    f"SELECT number FROM photos WHERE left(landmark, {LANDMARK_PREFIX}) "
    "= ANY(%(prefixes)s) AND landmark = ANY(%(names)s)"
)

# Queries as text → one row each, with its place; OFFSET 0: parsed once.
QUERIES = (
    "(SELECT text::{} AS query, at FROM unnest(%(queries)s::text[]) "
    "WITH ORDINALITY AS u (text, at) OFFSET 0) q"
)


@dataclass(frozen=True)
class SearchScope:
    """Which photos are searched.

    kind: condition on `vectors`, a key of INDEXES; names: only photos of these landmarks, None =
    all; numbers: row numbers of these photos, if there are at most MAX_PHOTOS_COMPARED.
    """

    kind: str
    names: list[str] | None = None
    numbers: list[int] | None = None

    def values(self) -> dict[str, object]:
        """The parameters of OF_LANDMARKS."""
        names = self.names or []
        return {"names": names, "prefixes": [name[:LANDMARK_PREFIX] for name in names]}


def search_scope(
    sql: Sql, distractors: bool, landmarks: Collection[str] | None
) -> SearchScope | None:
    """The scope of a search; None = no photo can match. See `base.Gallery.nearest`."""
    kind = "bank" if distractors else "NOT bank"
    if landmarks is None or (distractors and "" in landmarks):
        return SearchScope(kind)
    names = sorted(name for name in landmarks if name and is_valid_text(name))
    if distractors or not names:
        return None
    scope = SearchScope(kind, names)
    values = {**scope.values(), "most": MAX_PHOTOS_COMPARED + 1}
    numbers = [row[0] for row in sql.execute(f"{OF_LANDMARKS} LIMIT %(most)s", values)]
    return SearchScope(kind, names, numbers) if len(numbers) <= MAX_PHOTOS_COMPARED else scope


def nearest(
    sql: Sql,
    queries: Vectors,
    k: int,
    scope: SearchScope | None,
    vectors_at: Callable[[NDArray[np.int64]], NDArray[np.float16]],
) -> Neighbours:
    """Row numbers and cosines of the k nearest photos of each query, in an open transaction.

    Queries for which the HNSW index finds fewer than k photos are repeated without the index.

    scope: the photos to search, None = none; vectors_at: (n,) row numbers → (n, D) stored vectors.
    """
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)
    use_graph = scope is not None and scope.numbers is None and _has_graph(sql, scope.kind)
    for start in range(0, len(queries) if scope else 0, QUERIES_PER_STATEMENT):
        assert scope is not None
        part = slice(start, start + QUERIES_PER_STATEMENT)
        found = _candidates(sql, queries[part], k, scope, use_graph)
        if use_graph and (short := np.flatnonzero((found >= 0).sum(axis=1) < k)).size:
            exact = _candidates(sql, queries[part][short], k, scope, False)
            found[short] = -1
            found[short, : exact.shape[1]] = exact[:, : found.shape[1]]
        rows[part], similarity[part] = _ranked(vectors_at, queries[part], found, k)
    return Neighbours(rows, similarity)


def _has_graph(sql: Sql, kind: str) -> bool:
    query = (
        "SELECT 1 FROM pg_index JOIN pg_class c ON c.oid = indexrelid "
        "WHERE indrelid = 'vectors'::regclass AND indisvalid AND relname = %s"
    )
    return sql.execute(query, (INDEXES[kind],)).fetchone() is not None


def _candidates(
    sql: Sql, queries: Vectors, k: int, scope: SearchScope, use_graph: bool
) -> NDArray[np.int64]:
    """(Q, R) row numbers of the likely nearest photos, −1 = no more."""
    most = 2 * k + EXTRA_CANDIDATES if use_graph else k + EXTRA_CANDIDATES
    sql.execute(f"SET LOCAL enable_sort = {'off' if use_graph else 'on'}")
    if use_graph:  # PostgreSQL uses the index, because it may not sort
        sql.execute(
            f"SET LOCAL hnsw.ef_search = {min(MAX_SEARCH_EFFORT, max(MIN_SEARCH_EFFORT, most))}"
        )
        sql.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
        sql.execute(f"SET LOCAL hnsw.max_scan_tuples = {MAX_SCANNED_PHOTOS}")
    texts = ["[" + ",".join(map(repr, row.tolist())) + "]" for row in queries]
    values = {"queries": texts, "most": most, "numbers": scope.numbers, **scope.values()}
    found = np.full((len(queries), most), -1, dtype=np.int64)
    taken = np.zeros(len(queries), dtype=np.int64)
    statement = _graph_query(scope) if use_graph else _exact_query(scope)
    for at, number in sql.execute(statement, values, binary=True):
        found[at - 1, taken[at - 1]] = number
        taken[at - 1] += 1
    return found


def _graph_query(scope: SearchScope) -> str:
    also = f" AND number IN ({OF_LANDMARKS})" if scope.names is not None else ""
    return (
        f"SELECT q.at, n.number FROM {QUERIES.format('halfvec')} CROSS JOIN LATERAL "
        f"(SELECT number FROM vectors WHERE {scope.kind}{also} "
        "ORDER BY data <#> q.query LIMIT %(most)s) n"
    )


def _exact_query(scope: SearchScope) -> str:
    """SQL that compares all photos with float32 queries; few photos are converted only once."""
    first, source, data = "", f"vectors WHERE {scope.kind}", "data::vector"
    if scope.numbers is not None:
        first = (f"WITH chosen AS MATERIALIZED (SELECT number, {data} AS data FROM {source} "
                 "AND number = ANY(%(numbers)s)) ")  # fmt: skip
        source, data = "chosen", "data"
    elif scope.names is not None:
        source += f" AND number IN ({OF_LANDMARKS})"
    return (
        f"{first}SELECT q.at, n.number FROM {QUERIES.format('vector')} CROSS JOIN LATERAL "
        f"(SELECT number FROM {source} ORDER BY {data} <#> q.query, number LIMIT %(most)s) n"
    )


def _ranked(
    vectors_at: Callable[[NDArray[np.int64]], NDArray[np.float16]],
    queries: Vectors,
    found: NDArray[np.int64],
    k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best of each query's candidates, ties by lower row number."""
    numbers = np.unique(found[found >= 0])
    vectors = vectors_at(numbers).astype(np.float32)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for at, query in enumerate(queries):
        own = found[at][found[at] >= 0]
        cosines = vectors[np.searchsorted(numbers, own)] @ query
        best = np.lexsort((own, -cosines))[:k]
        rows[at, : len(best)], similarity[at, : len(best)] = own[best], cosines[best]
    return rows, similarity


def optimize(sql: Sql, dim: int, memory: str, workers: int) -> list[str]:
    """Vacuum the tables and build missing search indexes, with a connection for this alone.

    Building a graph at once takes minutes where adding photo by photo takes hours. It is several
    times faster when the graph fits in `memory`: about (2·dim + 350) bytes per photo.
    """
    settings = {"statement_timeout": "0", "maintenance_work_mem": memory,
                "max_parallel_maintenance_workers": str(workers)}  # fmt: skip
    for name, value in settings.items():
        sql.execute("SELECT set_config(%s, %s, false)", (name, value))
    for table in ("photos", "landmarks", "meta", *BLOBS):
        sql.execute(f"VACUUM (ANALYZE) {table}")
    return [_build_index(sql, kind, dim) for kind in INDEXES]


def _build_index(sql: Sql, kind: str, dim: int) -> str:
    """Build an index where it is missing and saves time; returns a line about it."""
    count = sql.execute(f"SELECT count(*) FROM vectors WHERE {kind}").fetchall()[0][0]
    what = f"{count:,} {'distractors' if kind == 'bank' else 'photos with a landmark'}"
    if _has_graph(sql, kind):
        return f"{what}: the index exists"
    if count <= MAX_PHOTOS_COMPARED:
        why = f"an index saves time from {MAX_PHOTOS_COMPARED:,} on"
        return f"{what}: all of them are compared; {why}"
    if dim > MAX_INDEXED_DIM:
        most = f"at most {MAX_INDEXED_DIM:,} dimensions, these have {dim:,}"
        return f"{what}: all of them are compared; pgvector indexes vectors of {most}"
    try:
        _create_index(sql, kind)
    except errors.InsufficientPrivilege:
        return f"{what}: only the owner of its tables may build an index; ask for that"
    return f"{what}: index built"


def _create_index(sql: Sql, kind: str) -> None:
    """Build an index, in one process if shared memory is too small for several.

    A container has only 64 MB of shared memory by default.
    """
    statement = (
        f"CREATE INDEX {INDEXES[kind]} ON vectors USING hnsw (data halfvec_ip_ops) "
        f"WITH (m = {HNSW_LINKS}, ef_construction = {HNSW_BUILD_EFFORT}) WHERE {kind}"
    )
    try:
        sql.execute(statement)
    except errors.DiskFull:
        sql.execute("SET max_parallel_maintenance_workers = 0")
        sql.execute(statement)
