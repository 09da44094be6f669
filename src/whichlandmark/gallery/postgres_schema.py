"""A gallery's tables in a PostgreSQL schema of its own: made, opened, indexed for search.

Words and sums of a photo stand in `photos`; its vector and its other blobs in tables of their own,
so that labels are read without vectors and a new label writes no vector anew. What ties them is
the sums, not foreign keys: those cost a query for every row written, and say less. B-tree entries
have 2,704 bytes at most, words up to 4,000: ids are kept apart by hash, labels found by their
first letters.
"""

from __future__ import annotations

from psycopg import errors, sql

from ..errors import GalleryError
from .checks import Meta, meta_sum
from .postgres_connection import Address, Sql

FORMAT = 1
LEAST = (0, 8)  # pgvector: halfvec since 0.7, scans that go on until enough is found since 0.8
WIDEST = 16_000  # numbers of a halfvec
WIDEST_INDEXED = 4_000  # numbers of a halfvec that an HNSW index takes
PREFIX = 200  # characters of a label in the index: 800 bytes at most
BLOBS = ("vectors", "keypoints", "looks", "thumbnails")  # in the order of the sums in `photos`
META = (
    "embedder, dim, generation, next_row, photos, photo_digest, landmarks, landmark_digest, stale"
)

TABLES = (
    "CREATE TABLE meta (one integer PRIMARY KEY CHECK (one = 1), format integer NOT NULL, "
    "embedder text NOT NULL, dim bigint NOT NULL, generation bigint NOT NULL, "
    "next_row bigint NOT NULL, photos bigint NOT NULL, photo_digest bigint NOT NULL, "
    "landmarks bigint NOT NULL, landmark_digest bigint NOT NULL, stale bigint NOT NULL, "
    "sum bigint NOT NULL)",
    "CREATE TABLE photos (number bigint PRIMARY KEY, id text NOT NULL, path text NOT NULL, "
    "landmark text NOT NULL, hash text NOT NULL, stamp text NOT NULL, author text NOT NULL, "
    "licence text NOT NULL, vectors bigint, keypoints bigint, looks bigint, thumbnails bigint, "
    "sum bigint NOT NULL, CONSTRAINT one_photo_an_id EXCLUDE USING hash (id WITH =))",
    f"CREATE INDEX photos_by_landmark ON photos ((left(landmark, {PREFIX})), number)",
    "CREATE TABLE landmarks (name text NOT NULL, record text NOT NULL, sum bigint NOT NULL, "
    "CONSTRAINT one_record_a_landmark EXCLUDE USING hash (name WITH =))",
    "CREATE TABLE vectors (number bigint PRIMARY KEY, bank boolean NOT NULL, "
    "data {halfvec}({dim}) NOT NULL)",
    "CREATE INDEX vectors_of_the_bank ON vectors (number) WHERE bank",
    *(
        f"CREATE TABLE {kind} (number bigint PRIMARY KEY, data bytea STORAGE EXTERNAL NOT NULL)"
        for kind in BLOBS[1:]
    ),
)
INDEXES = {  # of search; which photos each holds
    "vectors_hnsw": "NOT bank",
    "vectors_hnsw_bank": "bank",
}


def make(connection: Sql, address: Address, embedder_id: str, dim: int) -> None:
    """A new, empty gallery. Raises GalleryError when there is one of this name."""
    if not 1 <= dim <= WIDEST:
        raise GalleryError(f"vectors of {dim} numbers; PostgreSQL keeps 1 to {WIDEST}")
    meta = Meta(embedder_id, dim, 0, 1, 0, 0, 0, 0)
    home = _pgvector(connection, address) or _add_pgvector(connection, address)
    halfvec = sql.Identifier(home, "halfvec")
    with connection.transaction():
        try:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(address.schema)))
        except (errors.DuplicateSchema, errors.UniqueViolation):
            raise GalleryError(
                f"{address.shown}: there is a gallery already; open it, or choose another name"
            ) from None
        _look_into(connection, address, home, local=True)
        for table in TABLES:
            connection.execute(sql.SQL(table).format(halfvec=halfvec, dim=sql.Literal(dim)))
        connection.execute(
            f"INSERT INTO meta (one, format, {META}, sum) VALUES (1, %s{', %s' * (len(meta) + 1)})",
            (FORMAT, *meta, meta_sum(meta)),
        )


def look_into(connection: Sql, address: Address) -> None:
    """From here on this connection sees the gallery's tables. Raises GalleryError when there are
    none, or those of another format.
    """
    home = _pgvector(connection, address)
    known = connection.execute(
        "SELECT 1 FROM pg_namespace WHERE nspname = %s", (address.schema,)
    ).fetchone()
    if home is None or known is None:
        raise GalleryError(
            f"{address.shown}: no gallery there; make one with `whichlandmark index`, or look at "
            "the name"
        )
    _look_into(connection, address, home, local=False)
    found = connection.execute("SELECT format FROM meta").fetchall()
    if found != [(FORMAT,)]:
        given = found[0][0] if found else "unknown"
        raise GalleryError(
            f"{address.shown}: a gallery of format {given}; this program reads format {FORMAT}: "
            "index the photos again under another name"
        )


def _look_into(connection: Sql, address: Address, home: str, *, local: bool) -> None:
    path = sql.SQL(", ").join(map(sql.Identifier, dict.fromkeys((address.schema, home))))
    how = sql.SQL("LOCAL " if local else "")
    connection.execute(sql.SQL("SET {}search_path TO {}").format(how, path))


def _pgvector(connection: Sql, address: Address) -> str | None:
    """The schema that pgvector stands in, if it is there. Raises GalleryError when too old."""
    found = connection.execute(
        "SELECT nspname, extversion FROM pg_extension "
        "JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'"
    ).fetchone()
    if found is None:
        return None
    if tuple(map(int, found[1].split(".")[:2])) < LEAST:
        raise GalleryError(
            f"{address.shown}: pgvector {found[1]} found; 0.8 or later is needed: install it, then "
            "ALTER EXTENSION vector UPDATE"
        )
    return str(found[0])


def _add_pgvector(connection: Sql, address: Address) -> str:
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except errors.Error as error:
        raise GalleryError(
            f"{address.shown}: pgvector is not in this database and could not be added "
            f"({' '.join(str(error).split())}); let its owner install pgvector and run "
            "CREATE EXTENSION vector"
        ) from None
    return _pgvector(connection, address) or ""
