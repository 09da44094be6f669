"""Search in PostgreSQL by pgvector, and build its HNSW indexes.

The server finds candidates; their cosines are computed from the stored vectors by this program.
HNSW: Malkov & Yashunin, "Efficient and robust approximate nearest neighbor search using HNSW
graphs", 2018.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg import errors
from psycopg import sql as compose

from ...core.types import Neighbours, Vectors
from .connection import BLOBS, INDEXES, LANDMARK_PREFIX, MAX_INDEXED_DIM, Sql
from .queries import is_valid_text, vectors_of

MAX_PHOTOS_COMPARED = 20_000  # up to here all photos are compared, without an index

EXTRA_CANDIDATES = 10  # beyond k, because the server rounds similarities differently

MIN_SEARCH_EFFORT = 200  # smallest hnsw.ef_search that is used

MAX_SEARCH_EFFORT = 1000  # largest hnsw.ef_search that pgvector allows

MAX_SCANNED_PHOTOS = 200_000  # for one query with a filter (hnsw.max_scan_tuples)

QUERIES_PER_STATEMENT = 256

HNSW_LINKS = 16  # of a photo in the graph (HNSW's M)

HNSW_BUILD_EFFORT = 100  # candidates for the links of each photo (HNSW's ef_construction)

NUMBERS_OF_LANDMARKS = (
    f"SELECT number FROM photos WHERE left(landmark, {LANDMARK_PREFIX}) "
    "= ANY(%(prefixes)s) AND landmark = ANY(%(names)s)"
)


@dataclass(frozen=True)
class SearchScope:
    """Which photos are searched.

    kind: SQL condition for landmark photos or distractors; names: only photos of these landmarks,
    None = all; numbers: row numbers of these photos, if there are at most MAX_PHOTOS_COMPARED.
    """

    kind: str
    names: list[str] | None = None
    numbers: list[int] | None = None


def nearest(
    sql: Sql,
    queries: Vectors,
    k: int,
    scope: SearchScope,
    dim: int,
    name: str,
) -> Neighbours:
    """The k photos of highest cosine for each query, inside an open transaction.

    Queries for which the HNSW index finds fewer than k photos are repeated without the index.

    Args:
        sql: the connection.
        queries: (Q, D) unit rows.
        k: photos per query.
        scope: the photos to search.
        dim: dimensions of a vector.
        name: the gallery's address.

    Returns:
        Row numbers and cosines, (Q, k), descending; −1 and −inf where fewer are found.
    """
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)
    use_graph = scope.numbers is None and _has_graph(sql, scope.kind)
    for start in range(0, len(queries), QUERIES_PER_STATEMENT):
        part = slice(start, start + QUERIES_PER_STATEMENT)
        found = _candidates(sql, queries[part], k, scope, use_graph)
        if use_graph and (short := np.flatnonzero(_counts(found) < k)).size:
            exact = _candidates(sql, queries[part][short], k, scope, False)
            found[short] = -1
            found[short, : exact.shape[1]] = exact[:, : found.shape[1]]
        rows[part], similarity[part] = _ranked(sql, queries[part], found, k, dim, name)
    return Neighbours(rows, similarity)


def search_scope(
    sql: Sql, distractors: bool, landmarks: Collection[str] | None
) -> SearchScope | None:
    """The scope of a search; None = no photo can match. See `base.Gallery.nearest`."""
    kind = "v.bank" if distractors else "NOT v.bank"
    if landmarks is None:
        return SearchScope(kind)
    names = sorted(
        name for name in landmarks if (name == "") == distractors and is_valid_text(name)
    )
    if distractors:
        return SearchScope(kind) if names else None
    if not names:
        return None
    values = {**_landmark_values(names), "most": MAX_PHOTOS_COMPARED + 1}
    numbers = [row[0] for row in sql.execute(f"{NUMBERS_OF_LANDMARKS} LIMIT %(most)s", values)]
    return SearchScope(kind, names, numbers if len(numbers) <= MAX_PHOTOS_COMPARED else None)


def _landmark_values(names: list[str]) -> dict[str, object]:
    return {"names": names, "prefixes": [name[:LANDMARK_PREFIX] for name in names]}


def _has_graph(sql: Sql, kind: str) -> bool:
    name = next(index for index, of in INDEXES.items() if of == kind.replace("v.", ""))
    query = (
        "SELECT 1 FROM pg_index JOIN pg_class c ON c.oid = indexrelid "
        "WHERE indrelid = 'vectors'::regclass AND indisvalid AND relname = %s"
    )
    return sql.execute(query, (name,)).fetchone() is not None


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
    values = {
        "queries": ["[" + ",".join(map(repr, row.tolist())) + "]" for row in queries],
        "most": most, "numbers": scope.numbers, **_landmark_values(scope.names or []),
    }  # fmt: skip
    found = np.full((len(queries), most), -1, dtype=np.int64)
    taken = np.zeros(len(queries), dtype=np.int64)
    statement = _graph_query(scope) if use_graph else _exact_query(scope)
    for at, number in sql.execute(statement, values, binary=True):
        found[at - 1, taken[at - 1]] = number
        taken[at - 1] += 1
    return found


def _graph_query(scope: SearchScope) -> str:
    also = f" AND v.number IN ({NUMBERS_OF_LANDMARKS})" if scope.names is not None else ""
    return (
        "SELECT q.at, n.number FROM (SELECT text::halfvec AS query, at FROM "
        "unnest(%(queries)s::text[]) WITH ORDINALITY AS u (text, at) OFFSET 0) q "
        f"CROSS JOIN LATERAL (SELECT v.number FROM vectors v WHERE {scope.kind}{also} "
        "ORDER BY v.data <#> q.query LIMIT %(most)s) n"
    )


def _exact_query(scope: SearchScope) -> str:
    """SQL that compares all photos with float32 queries; few photos are converted only once."""
    first, table, where = "", "vectors", f"WHERE {scope.kind}"
    data = "v.data::vector"
    if scope.numbers is not None:
        first = ("WITH chosen AS MATERIALIZED (SELECT v.number, v.data::vector AS data FROM "
                 f"vectors v {where} AND v.number = ANY(%(numbers)s)) ")  # fmt: skip
        table, where, data = "chosen", "", "v.data"
    elif scope.names is not None:
        where += f" AND v.number IN ({NUMBERS_OF_LANDMARKS})"
    return (
        f"{first}SELECT q.at, n.number FROM (SELECT text::vector AS query, at FROM "
        "unnest(%(queries)s::text[]) WITH ORDINALITY AS u (text, at) OFFSET 0) q "
        f"CROSS JOIN LATERAL (SELECT v.number FROM {table} v {where} "
        f"ORDER BY {data} <#> q.query, v.number LIMIT %(most)s) n"
    )


def _counts(found: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray((found >= 0).sum(axis=1), dtype=np.int64)


def _ranked(
    sql: Sql, queries: Vectors, found: NDArray[np.int64], k: int, dim: int, name: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best of each query's candidates, ties by lower row number."""
    numbers = np.unique(found[found >= 0])
    vectors = vectors_of(sql, numbers, dim, name).astype(np.float32)
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)
    for at, query in enumerate(queries):
        own = found[at][found[at] >= 0]
        cosines = vectors[np.searchsorted(numbers, own)] @ query
        best = np.lexsort((own, -cosines))[:k]
        rows[at, : len(best)], similarity[at, : len(best)] = own[best], cosines[best]
    return rows, similarity


def optimize(sql: Sql, dim: int, memory: str, workers: int) -> list[str]:
    """Vacuum the tables and build missing search indexes; see `PostgresGallery.optimize`.

    Building a graph at once takes minutes where adding photo by photo takes hours. It is several
    times faster when the graph fits in `memory`: about (2·dim + 350) bytes per photo.
    """
    settings = {"statement_timeout": "0", "maintenance_work_mem": memory,
                "max_parallel_maintenance_workers": str(workers)}  # fmt: skip
    before = {name: _change_setting(sql, name, value) for name, value in settings.items()}
    try:
        for table in ("photos", "landmarks", "meta", *BLOBS):
            sql.execute(compose.SQL("VACUUM (ANALYZE) {}").format(compose.Identifier(table)))
        return [line for name in INDEXES for line in _build_index(sql, name, dim)]
    finally:
        if not sql.closed:
            for name, value in before.items():
                _change_setting(sql, name, value)


def _change_setting(sql: Sql, name: str, value: str) -> str:
    """Change a setting of this connection, and return its old value."""
    before = sql.execute("SELECT current_setting(%s)", (name,)).fetchall()[0][0]
    sql.execute("SELECT set_config(%s, %s, false)", (name, value))
    return str(before)


def _build_index(sql: Sql, name: str, dim: int) -> list[str]:
    known = "SELECT 1 FROM pg_indexes WHERE schemaname = current_schema() AND indexname = %s"
    condition = INDEXES[name]
    count = sql.execute(f"SELECT count(*) FROM vectors WHERE {condition}").fetchall()[0][0]
    kind = "distractors" if condition == "bank" else "photos with a landmark"
    if sql.execute(known, (name,)).fetchone():
        return [f"{count:,} {kind}: the index exists"]
    if count <= MAX_PHOTOS_COMPARED:
        return [
            f"{count:,} {kind}: all of them are compared; an index saves time from "
            f"{MAX_PHOTOS_COMPARED:,} on"
        ]
    if dim > MAX_INDEXED_DIM:
        return [
            f"{count:,} {kind}: all of them are compared; pgvector indexes vectors of at most "
            f"{MAX_INDEXED_DIM:,} dimensions, these have {dim:,}"
        ]
    try:
        _create_index(sql, name)
    except errors.InsufficientPrivilege:
        return [f"{count:,} {kind}: only the owner of its tables may build an index; ask for that"]
    return [f"{count:,} {kind}: index built"]


def _create_index(sql: Sql, name: str) -> None:
    """Build an index, in one process if shared memory is too small for several.

    A container has only 64 MB of shared memory by default.
    """
    statement = (
        f"CREATE INDEX {name} ON vectors USING hnsw (data halfvec_ip_ops) "
        f"WITH (m = {HNSW_LINKS}, ef_construction = {HNSW_BUILD_EFFORT}) WHERE {INDEXES[name]}"
    )
    try:
        sql.execute(statement)
    except errors.DiskFull:
        _change_setting(sql, "max_parallel_maintenance_workers", "0")
        sql.execute(statement)
