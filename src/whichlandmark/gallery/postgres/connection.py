"""Address, connection, tables and errors of a gallery in PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from ...core.errors import BusyError, GalleryError, OptionError, install_command
from ..checksums import Meta, damaged, meta_sum

try:
    import psycopg
    from psycopg import conninfo, errors, sql
except ImportError:
    raise OptionError(
        f"a gallery on PostgreSQL needs psycopg; install it with: {install_command('cluster')}"
    ) from None

Sql = psycopg.Connection[tuple[Any, ...]]

EXPECTED = "expected postgresql://USER@HOST:PORT/DATABASE?gallery=NAME"

# With the prefix "whichlandmark_" a name stays within PostgreSQL's 63 bytes.
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

SECRET_PARAMETERS = (
    "password",
    "sslpassword",
    "oauth_client_secret",
    "scram_client_key",
    "scram_server_key",
)

DEFAULTS = {"connect_timeout": "10", "keepalives_idle": "30", "keepalives_interval": "10",
            "keepalives_count": "3", "fallback_application_name": "whichlandmark"}  # fmt: skip

TIMEOUTS = {"statement_timeout": "60s", "lock_timeout": "10s",
            "idle_in_transaction_session_timeout": "5min"}  # if the server sets none  # fmt: skip

FORMAT = 1

MIN_PGVECTOR = (0, 8)  # halfvec came with 0.7, iterative index scans with 0.8

MAX_DIM = 16_000  # of a halfvec

MAX_INDEXED_DIM = 4_000  # of a halfvec in an HNSW index

LANDMARK_PREFIX = 200  # characters of a landmark in the index: at most 800 bytes

# Tables of blobs, in the order of the checksums in `photos`; looks: perceptual fingerprints.
BLOBS = ("vectors", "keypoints", "looks", "thumbnails")

META_COLUMNS = (
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
    f"CREATE INDEX photos_by_landmark ON photos ((left(landmark, {LANDMARK_PREFIX})), number)",
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

INDEXES = {  # name of a search index → condition on its rows of `vectors`; bank: distractors
    "vectors_hnsw": "NOT bank",
    "vectors_hnsw_bank": "bank",
}


@dataclass(frozen=True)
class Address:
    """A parsed address.

    gallery: its name; shown: the address without secrets; parameters: for libpq, with secrets.
    """

    gallery: str
    shown: str
    parameters: dict[str, Any] = field(repr=False)

    @property
    def schema(self) -> str:
        """The PostgreSQL schema that holds the gallery."""
        return f"whichlandmark_{self.gallery}"


def address_of(text: str) -> Address:
    """Parse postgresql://…?gallery=NAME; all other parameters are passed to libpq.

    Raises:
        OptionError: for an invalid address; the text holds no password.
    """
    try:
        parts = urlsplit(text)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        shown = _shown(parts.netloc, parts.path, pairs)
    except ValueError:
        raise OptionError(f"an invalid address given; {EXPECTED}") from None
    names = [value for key, value in pairs if key == "gallery"]
    if len(names) != 1 or not NAME.fullmatch(names[0]):
        raise OptionError(
            f"{shown}: gallery {' and '.join(map(repr, names)) or 'not named'}; {EXPECTED}, NAME "
            "of at most 40 lower-case letters, digits and underscores, a letter first"
        )
    rest = urlencode([pair for pair in pairs if pair[0] != "gallery"], quote_via=quote)
    try:
        given = conninfo.conninfo_to_dict(urlunsplit(parts._replace(query=rest, fragment="")))
    except psycopg.ProgrammingError as error:
        raise OptionError(f"{shown}: {_without_secrets(error, text)}; {EXPECTED}") from None
    return Address(names[0], shown, {**DEFAULTS, **given})


def _shown(place: str, path: str, pairs: list[tuple[str, str]]) -> str:
    user, at, host = place.rpartition("@")
    kept = [pair for pair in pairs if pair[0] not in SECRET_PARAMETERS]
    query = urlencode(kept, quote_via=quote)
    return f"postgresql://{user.partition(':')[0]}{at}{host}{path}{'?' if query else ''}{query}"


def _without_secrets(error: Exception, address: str) -> str:
    """The text of an error of libpq, replaced if it repeats the address or a secret of it."""
    text = str(error).strip()
    user = urlsplit(address).netloc.rpartition("@")[0]
    values = [user.partition(":")[2]]
    values += [
        value for key, value in parse_qsl(urlsplit(address).query) if key in SECRET_PARAMETERS
    ]
    secrets = {one for value in values if value for one in (value, unquote(value))}
    if address in text or any(secret in text for secret in secrets):
        return "an invalid address"
    return text


def connect(address: Address) -> Sql:
    """Open a connection with time limits on statements and locks.

    Time limits set by the server or the role take precedence. A commit returns when it is on the
    server's disk, whatever the server's default.

    Raises:
        GalleryError: when the server cannot be reached; BusyError when it takes no connections.
    """
    try:
        sql: Sql = psycopg.connect(**address.parameters, autocommit=True)
    except psycopg.OperationalError as error:
        raise _connection_error(error, address.shown) from None
    with gallery_errors(address.shown):
        try:
            for name, limit in TIMEOUTS.items():
                sql.execute(
                    "SELECT set_config(name, %s, false) FROM pg_settings "
                    "WHERE name = %s AND setting = '0'", (limit, name),
                )  # fmt: skip
            sql.execute(
                "SELECT set_config(name, 'on', false) FROM pg_settings "
                "WHERE name = 'synchronous_commit' AND setting = 'off'"
            )
        except BaseException:
            sql.close()
            raise
    return sql


def _connection_error(error: psycopg.Error, name: str) -> GalleryError:
    """The error for a failed connection; libpq gives the reason only as text."""
    text = " ".join(str(error).split())
    if any(words in text for words in ("starting up", "shutting down", "too many", "slots")):
        return BusyError(f"{name}: the server takes no connection now ({text}); try again later")
    return GalleryError(
        f"{name}: the server cannot be reached or refuses ({text}); check the address, and "
        "whether the server runs"
    )


@contextmanager
def gallery_errors(name: str) -> Iterator[None]:
    """Raise errors of psycopg as GalleryError."""
    try:
        yield
    except psycopg.Error as error:
        raise gallery_error(error, name) from None


ERROR_TEXTS: tuple[tuple[tuple[type[psycopg.Error], ...], type[GalleryError], str], ...] = (
    ((errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure), BusyError,
     "another process is writing to it; wait for it, then try again"),
    ((errors.QueryCanceled,), GalleryError,
     "a statement took longer than statement_timeout allows; a large gallery is searched through "
     "an index: call `optimize`, or raise the timeout (&options=-c%20statement_timeout%3D10min)"),
    ((errors.DiskFull,), GalleryError,
     "the server's disk is full; nothing of this batch was written"),
    ((errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction), GalleryError,
     "this role lacks the permission; ask the database's owner for it"),
    ((errors.UndefinedTable, errors.InvalidSchemaName), GalleryError,
     "no gallery there; make one with `whichlandmark index`, or check the name"),
)  # fmt: skip


def gallery_error(error: psycopg.Error, name: str) -> GalleryError:
    """The GalleryError for an error of psycopg, with advice."""
    text = " ".join(str(error).split())
    for kinds, error_class, advice in ERROR_TEXTS:
        if isinstance(error, kinds):
            return error_class(f"{name}: {advice} ({text})")
    if isinstance(error, (errors.DataCorrupted, errors.IndexCorrupted)):
        return damaged(name, text)
    if isinstance(error, psycopg.OperationalError):
        return GalleryError(
            f"{name}: the connection was lost ({text}); what was being written is not in the "
            "gallery; try again when the server runs"
        )
    return GalleryError(f"{name}: PostgreSQL says: {text}")


def create_schema(connection: Sql, address: Address, embedder_id: str, dim: int) -> None:
    """Create an empty gallery. Raises GalleryError when there is one of this name."""
    if not 1 <= dim <= MAX_DIM:
        raise GalleryError(f"vectors of {dim} dimensions; pgvector stores 1 to {MAX_DIM}")
    meta = Meta(embedder_id, dim, 0, 1, 0, 0, 0, 0)
    extension_schema = _pgvector_schema(connection, address) or _add_pgvector(connection, address)
    halfvec = sql.Identifier(extension_schema, "halfvec")
    with connection.transaction():
        try:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(address.schema)))
        except (errors.DuplicateSchema, errors.UniqueViolation):
            raise GalleryError(
                f"{address.shown}: there is a gallery already; open it, or choose another name"
            ) from None
        _set_search_path(connection, address, extension_schema, local=True)
        for table in TABLES:
            connection.execute(sql.SQL(table).format(halfvec=halfvec, dim=sql.Literal(dim)))
        connection.execute(
            f"INSERT INTO meta (one, format, {META_COLUMNS}, sum) "
            f"VALUES (1, %s{', %s' * (len(meta) + 1)})",
            (FORMAT, *meta, meta_sum(meta)),
        )


def use_schema(connection: Sql, address: Address) -> None:
    """Set the connection's search path to the gallery's tables.

    Raises:
        GalleryError: when there is no gallery, or one of another format.
    """
    extension_schema = _pgvector_schema(connection, address)
    known = connection.execute(
        "SELECT 1 FROM pg_namespace WHERE nspname = %s", (address.schema,)
    ).fetchone()
    if extension_schema is None or known is None:
        raise GalleryError(
            f"{address.shown}: no gallery there; make one with `whichlandmark index`, or check "
            "the name"
        )
    _set_search_path(connection, address, extension_schema, local=False)
    found = connection.execute("SELECT format FROM meta").fetchall()
    if found != [(FORMAT,)]:
        given = found[0][0] if found else "unknown"
        raise GalleryError(
            f"{address.shown}: a gallery of format {given}; this program reads format {FORMAT}: "
            "index the photos again under another name"
        )


def _set_search_path(
    connection: Sql, address: Address, extension_schema: str, *, local: bool
) -> None:
    path = sql.SQL(", ").join(
        map(sql.Identifier, dict.fromkeys((address.schema, extension_schema)))
    )
    how = sql.SQL("LOCAL " if local else "")
    connection.execute(sql.SQL("SET {}search_path TO {}").format(how, path))


def _pgvector_schema(connection: Sql, address: Address) -> str | None:
    """The PostgreSQL schema of pgvector, None if not installed. Raises GalleryError if too old."""
    found = connection.execute(
        "SELECT nspname, extversion FROM pg_extension "
        "JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'"
    ).fetchone()
    if found is None:
        return None
    if tuple(map(int, found[1].split(".")[:2])) < MIN_PGVECTOR:
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
    return _pgvector_schema(connection, address) or ""
