"""Address, connection, tables and errors of a gallery in PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from ...core.errors import BusyError, GalleryError, OptionError, install_command
from ..checksums import BLOBS, Meta, damaged, meta_sum

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

SECRET_PARAMETERS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key",
                     "scram_server_key")  # fmt: skip

DEFAULTS = {"connect_timeout": "10", "keepalives_idle": "30", "keepalives_interval": "10",
            "keepalives_count": "3", "fallback_application_name": "whichlandmark"}  # fmt: skip

# Settings whose value is the second become the third. A server or role may set other time limits,
# but a commit returns when it is on the server's disk.
SETTINGS = (("statement_timeout", "0", "60s"), ("lock_timeout", "0", "10s"),
            ("idle_in_transaction_session_timeout", "0", "5min"),
            ("synchronous_commit", "off", "on"))  # fmt: skip

# For the statements of one transaction, because reading all photos may take long.
LIFT_TIMEOUT = "SET LOCAL statement_timeout = 0"

FORMAT = 3

MIN_PGVECTOR = (0, 8)  # halfvec came with 0.7, iterative index scans with 0.8

MAX_DIM = 16_000  # of a halfvec

LANDMARK_PREFIX, HASH_PREFIX = 200, 16  # characters in the indexes: at most 800 bytes

META_COLUMNS = ", ".join((*Meta._fields, "sum"))

INDEX_OF_HASHES = (
    f"CREATE INDEX IF NOT EXISTS photos_by_hash ON photos ((left(hash, {HASH_PREFIX})))"
)

CHANGES = (  # from an older format; the index first, because readers wait after ALTER TABLE
    INDEX_OF_HASHES,
    "ALTER TABLE photos ADD COLUMN IF NOT EXISTS source text NOT NULL DEFAULT ''",
    "ALTER TABLE photos ADD COLUMN IF NOT EXISTS licence_url text NOT NULL DEFAULT ''",
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
    "sum bigint NOT NULL, source text NOT NULL DEFAULT '', "
    "licence_url text NOT NULL DEFAULT '', "
    "CONSTRAINT one_photo_an_id EXCLUDE USING hash (id WITH =))",
    INDEX_OF_HASHES,
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
        secret = parts.password or any(key in SECRET_PARAMETERS for key, _ in pairs)
        why = "an invalid address" if secret else one_line(error)  # because it may be repeated
        raise OptionError(f"{shown}: {why}; {EXPECTED}") from None
    return Address(names[0], shown, {**DEFAULTS, **given})


def _shown(place: str, path: str, pairs: list[tuple[str, str]]) -> str:
    user, at, host = place.rpartition("@")
    kept = [pair for pair in pairs if pair[0] not in SECRET_PARAMETERS]
    query = urlencode(kept, quote_via=quote)
    return f"postgresql://{user.partition(':')[0]}{at}{host}{path}{'?' if query else ''}{query}"


def connect(address: Address, new: tuple[str, int] | None = None) -> Sql:
    """A connection to the tables of a gallery, with time limits on statements and locks.

    new: create the gallery, for vectors of this embedder and these dimensions.

    Raises:
        GalleryError: when the server cannot be reached, or has no such gallery, or, with `new`,
            has it already; BusyError when it takes no connections.
    """
    try:
        connection: Sql = psycopg.connect(**address.parameters, autocommit=True)
    except psycopg.OperationalError as error:
        raise _connection_error(error, address.shown) from None
    try:
        with gallery_errors(address.shown):
            connection.execute(
                "SELECT set_config(name, value, false) FROM pg_settings JOIN unnest(%s::text[], "
                "%s::text[], %s::text[]) AS n (name, setting, value) USING (name, setting)",
                [list(column) for column in zip(*SETTINGS, strict=True)],
            )
            if new:
                _create_schema(connection, address, *new)
            _use_schema(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


def one_line(error: Exception) -> str:
    """The text of an error of psycopg without the statement, which is of this program."""
    return " ".join(str(error).partition("\nLINE ")[0].split())


def _connection_error(error: psycopg.Error, name: str) -> GalleryError:
    """The error for a failed connection; libpq gives the reason only as text."""
    text = one_line(error)
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
    text = one_line(error)
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


def is_valid_text(text: str) -> bool:
    """Whether PostgreSQL can represent this text; it takes no zero bytes and no lone surrogates."""
    try:
        return "\0" not in text and text.encode() is not None
    except UnicodeEncodeError:
        return False


def _create_schema(connection: Sql, address: Address, embedder_id: str, dim: int) -> None:
    """Create an empty gallery. Raises GalleryError when there is one of this name."""
    if not 1 <= dim <= MAX_DIM:
        raise GalleryError(f"vectors of {dim} dimensions; pgvector stores 1 to {MAX_DIM}")
    if _pgvector_schema(connection, address) is None:
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except errors.Error as error:
            raise GalleryError(
                f"{address.shown}: pgvector is not in this database and could not be added "
                f"({one_line(error)}); let its owner install pgvector and run "
                "CREATE EXTENSION vector"
            ) from None
    meta = Meta(embedder_id, dim, 0, 1, 0, 0, 0, 0)
    with connection.transaction():
        try:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(address.schema)))
        except (errors.DuplicateSchema, errors.UniqueViolation):
            raise GalleryError(
                f"{address.shown}: there is a gallery already; open it, or choose another name"
            ) from None
        halfvec = sql.Identifier(_set_search_path(connection, address), "halfvec")
        for table in TABLES:
            connection.execute(sql.SQL(table).format(halfvec=halfvec, dim=sql.Literal(dim)))
        connection.execute(
            f"INSERT INTO meta (one, format, {META_COLUMNS}) "
            f"VALUES (1, %s{', %s' * (len(meta) + 1)})",
            (FORMAT, *meta, meta_sum(meta)),
        )


def _use_schema(connection: Sql, address: Address) -> None:
    """Set the search path to the gallery's tables, and bring these to FORMAT."""
    _set_search_path(connection, address)
    header = sql.Identifier(address.schema, "meta")  # no table `meta` of another schema
    found = connection.execute(sql.SQL("SELECT format FROM {}").format(header)).fetchall()
    if found == [(FORMAT,)]:
        return
    given = found[0][0] if found else "unknown"
    text = f"{address.shown}: a gallery of format {given}; this program reads format {FORMAT}"
    if given not in (1, 2):
        raise GalleryError(f"{text}: index the photos again under another name")
    try:
        with connection.transaction():
            connection.execute(LIFT_TIMEOUT)
            connection.execute("SELECT format FROM meta FOR UPDATE")  # no writer meanwhile
            for statement in CHANGES:
                connection.execute(statement)
            connection.execute("UPDATE meta SET format = %s", (FORMAT,))
    except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction) as error:
        raise GalleryError(
            f"{text}: let the owner of its tables open it once with this program, e.g. by "
            f"`whichlandmark gallery list` ({one_line(error)})"
        ) from None


def _set_search_path(connection: Sql, address: Address) -> str:
    """Find tables of the gallery, and pgvector, by their names; returns pgvector's schema."""
    extension_schema = _pgvector_schema(connection, address) or "public"
    path = sql.SQL(", ").join(
        map(sql.Identifier, dict.fromkeys((address.schema, extension_schema)))
    )
    connection.execute(sql.SQL("SET search_path TO {}").format(path))
    return extension_schema


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
