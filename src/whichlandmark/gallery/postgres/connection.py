"""Address, connection, retries, schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from psycopg import errors, sql

from ...core.errors import BusyError, GalleryError, OptionError
from ..checksums import Meta, damaged, meta_sum

try:
    import psycopg
    from psycopg import conninfo, errors
except ImportError:
    raise OptionError(
        "a gallery on PostgreSQL needs psycopg; install it with: "
        "pip install 'whichlandmark[cluster]'"
    ) from None

Sql = psycopg.Connection[tuple[Any, ...]]

EXPECTED = "expected postgresql://USER@HOST:PORT/DATABASE?gallery=NAME"

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")  # behind "whichlandmark_" within PostgreSQL's 63 bytes

SECRETS = ("password", "sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key")

DEFAULTS = {"connect_timeout": "10", "keepalives_idle": "30", "keepalives_interval": "10",
            "keepalives_count": "3", "fallback_application_name": "whichlandmark"}  # fmt: skip

TIMEOUTS = {"statement_timeout": "60s", "lock_timeout": "10s",
            "idle_in_transaction_session_timeout": "5min"}  # where the server has none  # fmt: skip


@dataclass(frozen=True)
class Address:
    """gallery: its name; parameters: libpq's own, secrets among them; shown: without them."""

    gallery: str
    shown: str
    parameters: dict[str, Any] = field(repr=False)

    @property
    def schema(self) -> str:
        """The PostgreSQL schema that holds the gallery."""
        return f"whichlandmark_{self.gallery}"


def address_of(text: str) -> Address:
    """postgresql://…?gallery=NAME → its parts. All other parameters are libpq's.

    Raises OptionError, in words without the password.
    """
    try:
        parts = urlsplit(text)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        shown = _shown(parts.netloc, parts.path, pairs)
    except ValueError:
        raise OptionError(f"an address that cannot be read given; {EXPECTED}") from None
    names = [value for key, value in pairs if key == "gallery"]
    if len(names) != 1 or not NAME.fullmatch(names[0]):
        raise OptionError(
            f"{shown}: gallery {' and '.join(map(repr, names)) or 'not named'}; {EXPECTED}, NAME "
            "of at most 40 small letters, digits and underscores, a letter first"
        )
    rest = urlencode([pair for pair in pairs if pair[0] != "gallery"], quote_via=quote)
    try:
        given = conninfo.conninfo_to_dict(urlunsplit(parts._replace(query=rest, fragment="")))
    except psycopg.ProgrammingError as error:
        raise OptionError(f"{shown}: {_without_secrets(error, text)}; {EXPECTED}") from None
    return Address(names[0], shown, {**DEFAULTS, **given})


def _shown(place: str, path: str, pairs: list[tuple[str, str]]) -> str:
    user, at, host = place.rpartition("@")
    kept = [pair for pair in pairs if pair[0] not in SECRETS]
    query = urlencode(kept, quote_via=quote)
    return f"postgresql://{user.partition(':')[0]}{at}{host}{path}{'?' if query else ''}{query}"


def _without_secrets(error: Exception, address: str) -> str:
    """libpq may repeat the address in its complaint: then nothing of it is said."""
    text = str(error).strip()
    user = urlsplit(address).netloc.rpartition("@")[0]
    values = [user.partition(":")[2]]
    values += [value for key, value in parse_qsl(urlsplit(address).query) if key in SECRETS]
    secrets = {one for value in values if value for one in (value, unquote(value))}
    if address in text or any(secret in text for secret in secrets):
        return "an address that cannot be read"
    return text


def connect(address: Address) -> Sql:
    """A new connection, in which every statement and every wait has an end.

    The server's or the role's own timeouts stay where there are any; a commit returns when it is
    on the server's disk, whatever the server's default. Raises GalleryError.
    """
    try:
        sql: Sql = psycopg.connect(**address.parameters, autocommit=True)
    except psycopg.OperationalError as error:
        raise _refused(error, address.shown) from None
    with translated(address.shown):
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


def _refused(error: psycopg.Error, name: str) -> GalleryError:
    """libpq tells why a connection was refused in words alone."""
    text = " ".join(str(error).split())
    if any(words in text for words in ("starting up", "shutting down", "too many", "slots")):
        return BusyError(f"{name}: the server takes no connection now ({text}); wait for it")
    return GalleryError(
        f"{name}: the server cannot be reached or refuses ({text}); look at the address, and "
        "whether the server runs"
    )


@contextmanager
def translated(name: str) -> Iterator[None]:
    """psycopg's errors as ours."""
    try:
        yield
    except psycopg.Error as error:
        raise in_our_words(error, name) from None


KNOWN: tuple[tuple[tuple[type[psycopg.Error], ...], type[GalleryError], str], ...] = (
    ((errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure), BusyError,
     "another process is writing to it; wait for it, then try again"),
    ((errors.QueryCanceled,), GalleryError,
     "a statement took longer than statement_timeout allows; a large gallery is searched through "
     "an index: call `optimize`, or raise the timeout (&options=-c%20statement_timeout%3D10min)"),
    ((errors.DiskFull,), GalleryError,
     "the server's disk is full; nothing of this batch was written"),
    ((errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction), GalleryError,
     "this role may not do that here; ask the database's owner for the right"),
    ((errors.UndefinedTable, errors.InvalidSchemaName), GalleryError,
     "no gallery there; make one with `whichlandmark index`, or look at the name"),
)  # fmt: skip


def in_our_words(error: psycopg.Error, name: str) -> GalleryError:
    """What went wrong, and what to do about it."""
    text = " ".join(str(error).split())
    for kinds, ours, words in KNOWN:
        if isinstance(error, kinds):
            return ours(f"{name}: {words} ({text})")
    if isinstance(error, (errors.DataCorrupted, errors.IndexCorrupted)):
        return damaged(name, text)
    if isinstance(error, psycopg.OperationalError):
        return GalleryError(
            f"{name}: the connection was lost ({text}); what was being written is not in the "
            "gallery; try again when the server runs"
        )
    return GalleryError(f"{name}: PostgreSQL says: {text}")


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
