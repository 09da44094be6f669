"""Server-side search, HNSW index."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg import errors
from psycopg import sql as compose

from ...core.types import Neighbours, Vectors
from .connection import BLOBS, INDEXES, PREFIX, WIDEST_INDEXED, Sql
from .queries import can_be, vectors_of

FEW = 20_000  # photos: up to here all of them are compared

SPARE = 10  # candidates beyond k, where the server's last digit may differ from ours

EFFORT = 200  # the shortest list of a graph's scan (hnsw.ef_search)

MOST_EFFORT = 1000  # the longest that pgvector allows

PASSED_OVER = 200_000  # photos that a scan may pass over for a filter (hnsw.max_scan_tuples)

QUERIES = 256  # asked at once

OF_LANDMARKS = (f"SELECT number FROM photos WHERE left(landmark, {PREFIX}) = ANY(%(prefixes)s) "
                "AND landmark = ANY(%(names)s)")  # fmt: skip


@dataclass(frozen=True)
class SearchScope:
    """Which photos are searched. kind: SQL for landmark photos or distractors; names: of these
    landmarks only, None = of all; numbers: row numbers of those, where they are few.
    """

    kind: str
    names: list[str] | None = None
    numbers: list[int] | None = None


def nearest(
    sql: Sql,
    queries: Vectors,
    k: int,
    wanted: SearchScope,
    dim: int,
    name: str,
) -> Neighbours:
    """See `contract.AnyGallery.nearest`; inside one snapshot."""
    rows = np.full((len(queries), k), -1, dtype=np.int64)
    similarity = np.full((len(queries), k), -np.inf, dtype=np.float32)
    through = wanted.numbers is None and _has_graph(sql, wanted.kind)
    for start in range(0, len(queries), QUERIES):
        part = slice(start, start + QUERIES)
        found = _candidates(sql, queries[part], k, wanted, through)
        if through and (short := np.flatnonzero(_counts(found) < k)).size:
            found = _with(found, short, _candidates(sql, queries[part][short], k, wanted, False))
        rows[part], similarity[part] = _ranked(sql, queries[part], found, k, dim, name)
    return Neighbours(rows, similarity)


def wanted_photos(
    sql: Sql, distractors: bool, landmarks: Collection[str] | None
) -> SearchScope | None:
    """What is asked for, by SQL; None = no photo can be meant."""
    kind = "v.bank" if distractors else "NOT v.bank"
    if landmarks is None:
        return SearchScope(kind)
    names = sorted(name for name in landmarks if (name == "") == distractors and can_be(name))
    if distractors:
        return SearchScope(kind) if names else None
    if not names:
        return None
    values = {**_of(names), "most": FEW + 1}
    numbers = [row[0] for row in sql.execute(f"{OF_LANDMARKS} LIMIT %(most)s", values)]
    return SearchScope(kind, names, numbers if len(numbers) <= FEW else None)


def _of(names: list[str]) -> dict[str, object]:
    return {"names": names, "prefixes": [name[:PREFIX] for name in names]}


def _has_graph(sql: Sql, kind: str) -> bool:
    name = next(index for index, of in INDEXES.items() if of == kind.replace("v.", ""))
    query = (
        "SELECT 1 FROM pg_index JOIN pg_class c ON c.oid = indexrelid "
        "WHERE indrelid = 'vectors'::regclass AND indisvalid AND relname = %s"
    )
    return sql.execute(query, (name,)).fetchone() is not None


def _candidates(
    sql: Sql, queries: Vectors, k: int, wanted: SearchScope, through_graph: bool
) -> NDArray[np.int64]:
    """(Q, R) row numbers that are likely the nearest, −1 = no more."""
    most = 2 * k + SPARE if through_graph else k + SPARE
    sql.execute(f"SET LOCAL enable_sort = {'off' if through_graph else 'on'}")
    if through_graph:  # without sorting, nothing but the graph gives an order
        sql.execute(f"SET LOCAL hnsw.ef_search = {min(MOST_EFFORT, max(EFFORT, most))}")
        sql.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
        sql.execute(f"SET LOCAL hnsw.max_scan_tuples = {PASSED_OVER}")
    values = {
        "queries": ["[" + ",".join(map(repr, row.tolist())) + "]" for row in queries],
        "most": most, "numbers": wanted.numbers, **_of(wanted.names or []),
    }  # fmt: skip
    found = np.full((len(queries), most), -1, dtype=np.int64)
    taken = np.zeros(len(queries), dtype=np.int64)
    statement = _through_graph(wanted) if through_graph else _all_compared(wanted)
    for at, number in sql.execute(statement, values, binary=True):
        found[at - 1, taken[at - 1]] = number
        taken[at - 1] += 1
    return found


def _through_graph(wanted: SearchScope) -> str:
    also = f" AND v.number IN ({OF_LANDMARKS})" if wanted.names is not None else ""
    return (
        "SELECT q.at, n.number FROM (SELECT text::halfvec AS query, at FROM "
        "unnest(%(queries)s::text[]) WITH ORDINALITY AS u (text, at) OFFSET 0) q "
        f"CROSS JOIN LATERAL (SELECT v.number FROM vectors v WHERE {wanted.kind}{also} "
        "ORDER BY v.data <#> q.query LIMIT %(most)s) n"
    )


def _all_compared(wanted: SearchScope) -> str:
    """With float32 queries, as they were given. Few photos are widened once for all queries."""
    first, table, where = "", "vectors", f"WHERE {wanted.kind}"
    data = "v.data::vector"
    if wanted.numbers is not None:
        first = ("WITH chosen AS MATERIALIZED (SELECT v.number, v.data::vector AS data FROM "
                 f"vectors v {where} AND v.number = ANY(%(numbers)s)) ")  # fmt: skip
        table, where, data = "chosen", "", "v.data"
    elif wanted.names is not None:
        where += f" AND v.number IN ({OF_LANDMARKS})"
    return (
        f"{first}SELECT q.at, n.number FROM (SELECT text::vector AS query, at FROM "
        "unnest(%(queries)s::text[]) WITH ORDINALITY AS u (text, at) OFFSET 0) q "
        f"CROSS JOIN LATERAL (SELECT v.number FROM {table} v {where} "
        f"ORDER BY {data} <#> q.query, v.number LIMIT %(most)s) n"
    )


def _counts(found: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray((found >= 0).sum(axis=1), dtype=np.int64)


def _with(
    found: NDArray[np.int64], rows: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.int64]:
    """`found` with those rows replaced; `other` may be narrower."""
    found[rows] = -1
    found[rows, : other.shape[1]] = other[:, : found.shape[1]]
    return found


def _ranked(
    sql: Sql, queries: Vectors, found: NDArray[np.int64], k: int, dim: int, name: str
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k best of each query's candidates; equal ones by lower row number."""
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


LINKS = 16  # of a photo in the graph (HNSW's M)

BUILD_EFFORT = 100  # candidates looked at for each photo's links (HNSW's ef_construction)


def optimize(sql: Sql, dim: int, memory: str, workers: int) -> list[str]:
    """See `PostgresGallery.optimize`. Built at once a graph takes minutes where photo by photo it
    takes hours; in `memory` it is built several times faster than beside it: a graph needs about
    (2·dim + 350) bytes a photo.
    """
    settings = {"statement_timeout": "0", "maintenance_work_mem": memory,
                "max_parallel_maintenance_workers": str(workers)}  # fmt: skip
    before = {name: _set(sql, name, value) for name, value in settings.items()}
    try:
        for table in ("photos", "landmarks", "meta", *BLOBS):
            sql.execute(compose.SQL("VACUUM (ANALYZE) {}").format(compose.Identifier(table)))
        return [line for name in INDEXES for line in _build(sql, name, dim)]
    finally:
        if not sql.closed:
            for name, value in before.items():
                _set(sql, name, value)


def _set(sql: Sql, name: str, value: str) -> str:
    """Change a setting of this connection. Returns what it was."""
    before = sql.execute("SELECT current_setting(%s)", (name,)).fetchall()[0][0]
    sql.execute("SELECT set_config(%s, %s, false)", (name, value))
    return str(before)


def _build(sql: Sql, name: str, dim: int) -> list[str]:
    known = "SELECT 1 FROM pg_indexes WHERE schemaname = current_schema() AND indexname = %s"
    which = INDEXES[name]
    count = sql.execute(f"SELECT count(*) FROM vectors WHERE {which}").fetchall()[0][0]
    kind = "distractors" if which == "bank" else "photos with a landmark"
    if sql.execute(known, (name,)).fetchone():
        return [f"{count:,} {kind}: the index is there"]
    if count <= FEW:
        return [f"{count:,} {kind}: all of them are compared; an index pays from {FEW:,} on"]
    if dim > WIDEST_INDEXED:
        return [
            f"{count:,} {kind}: all of them are compared; pgvector indexes vectors of at most "
            f"{WIDEST_INDEXED:,} numbers, these have {dim:,}"
        ]
    try:
        _create(sql, name)
    except errors.InsufficientPrivilege:
        return [f"{count:,} {kind}: only the owner of its tables may build an index; ask for that"]
    return [f"{count:,} {kind}: index built"]


def _create(sql: Sql, name: str) -> None:
    """Processes side by side need shared memory, of which a container may have little (64 MB where
    nothing was said): then one process does it.
    """
    statement = (
        f"CREATE INDEX {name} ON vectors USING hnsw (data halfvec_ip_ops) "
        f"WITH (m = {LINKS}, ef_construction = {BUILD_EFFORT}) WHERE {INDEXES[name]}"
    )
    try:
        sql.execute(statement)
    except errors.DiskFull:
        _set(sql, "max_parallel_maintenance_workers", "0")
        sql.execute(statement)
