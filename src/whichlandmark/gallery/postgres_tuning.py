"""A gallery on PostgreSQL after a large load: search indexes built at once, space given back."""

from __future__ import annotations

from psycopg import errors
from psycopg import sql as compose

from .postgres_connection import Sql
from .postgres_schema import BLOBS, INDEXES, WIDEST_INDEXED
from .postgres_search import FEW

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
