"""API keys: a file of their hashes. A key itself is shown once, when it is made.

Keys are 256 random bits, so that a plain SHA-256 is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..core.errors import DataError, OptionError
from ..core.files import read_json, write_json

Scope = Literal["read", "write"]

SCOPES: tuple[Scope, ...] = get_args(Scope)

FORMAT = 1

PREFIX = "wl_"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Key:
    """name: how logs call its owner; digest: SHA-256 in hexadecimal; scope: "write" may also read;
    rate: photos a minute, None = the server's.
    """

    name: str
    digest: str
    scope: Scope
    rate: int | None = None

    def allows(self, scope: Scope) -> bool:
        """May its owner do what needs `scope`?"""
        return self.scope == "write" or scope == "read"


def digest_of(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def find(keys: Sequence[Key], given: str) -> Key | None:
    """The key that was given. Takes as long whichever it is, and whether there is one."""
    digest, found = digest_of(given), None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def read_keys(path: Path) -> list[Key]:
    """The keys of a file. Raises DataError when it is missing, empty or damaged."""
    keys = _read(path)
    if not keys:
        raise DataError(f"{path}: no keys; make one with `whichlandmark keys add {path} NAME`")
    return keys


def add_key(path: Path, name: str, scope: str, rate: int | None = None) -> str:
    """A new key in a file, which is made when it is missing. Returns the key: it is not kept.

    Raises OptionError for a name that is there already or cannot be, and for an unknown scope.
    """
    known = get_args(Scope)
    if scope not in known:
        raise OptionError(f"scope {scope!r} given; expected {' or '.join(known)}")
    if not _NAME.fullmatch(name):
        raise OptionError(f"name {name!r} given; expected up to 64 letters, digits, '.', '_', '-'")
    if rate is not None and rate < 1:
        raise OptionError(f"rate {rate} given; expected 1 photo a minute or more")
    keys = _read(path) if path.exists() else []
    if name in [key.name for key in keys]:
        raise OptionError(f"{path}: has a key {name!r} already; remove it first, or choose a name")
    secret = PREFIX + secrets.token_urlsafe(32)
    allowed: Scope = "write" if scope == "write" else "read"
    _write(path, [*keys, Key(name, digest_of(secret), allowed, rate)])
    return secret


def remove_key(path: Path, name: str) -> None:
    """Forget a key. Raises DataError when there is none of that name."""
    keys = _read(path)
    if name not in [key.name for key in keys]:
        raise DataError(f"{path}: no key {name!r}; it has {', '.join(k.name for k in keys) or '-'}")
    _write(path, [key for key in keys if key.name != name])


def list_keys(path: Path) -> list[Key]:
    """What a file holds, which may be nothing. Raises DataError when it is missing or damaged."""
    return _read(path)


def _read(path: Path) -> list[Key]:
    entries: Any = read_json(path).get("keys")
    try:
        keys = [Key(**entry) for entry in entries]
        assert all(re.fullmatch("[0-9a-f]{64}", k.digest) and k.scope in SCOPES for k in keys)
    except (TypeError, AssertionError):
        raise DataError(f"{path}: no file of keys; `whichlandmark keys add` makes one") from None
    return keys


def _write(path: Path, keys: Sequence[Key]) -> None:
    write_json(path, {"format": FORMAT, "keys": [vars(key) for key in keys]})
    os.chmod(path, 0o600)  # names and rates are nobody's business
