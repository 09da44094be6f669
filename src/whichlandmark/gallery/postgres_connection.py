"""A connection to PostgreSQL: its address, shown without secrets, its limits, its errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from ..errors import BusyError, GalleryError, OptionError
from .checks import damaged

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
