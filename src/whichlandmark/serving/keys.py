"""API keys, stored as SHA-256 hashes in a JSON file. A key is shown only once, when it is created.

A plain hash without salt is enough because a key has 256 random bits and cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..core.errors import DataError, OptionError
from ..core.files import atomic_file, read_json

Scope = Literal["read", "write"]

SCOPES: tuple[Scope, ...] = get_args(Scope)

FORMAT = 1

PREFIX = "wl_"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Key:
    """A stored key.

    Args:
        name: of its owner, as logged.
        digest: SHA-256 of the key, hexadecimal.
        scope: "read", or "write", which includes reading.
        rate: photos per minute; None = the server's default.
    """

    name: str
    digest: str
    scope: Scope
    rate: int | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether the key grants `scope`."""
        return self.scope == "write" or scope == "read"


def digest_of(key: str) -> str:
    """SHA-256 of a key, hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def find_key(keys: Sequence[Key], given: str) -> Key | None:
    """The stored key that matches `given`, or None. Takes constant time for a given list."""
    digest, found = digest_of(given), None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def read_keys(path: Path) -> list[Key]:
    """The keys of a file. Raises DataError when it is missing, empty or damaged."""
    keys = list_keys(path)
    if not keys:
        raise DataError(f"{path}: no keys; create one with `whichlandmark keys add {path} NAME`")
    return keys


def add_key(path: Path, name: str, scope: str, rate: int | None = None) -> str:
    """Add a key to a file, which is created when missing.

    Returns:
        The key itself, which is not stored.

    Raises:
        OptionError: the name is taken or invalid, the scope unknown, or the rate below 1.
    """
    known = get_args(Scope)
    if scope not in known:
        raise OptionError(f"scope {scope!r} given; expected {' or '.join(known)}")
    if not _NAME.fullmatch(name):
        raise OptionError(f"name {name!r} given; expected up to 64 letters, digits, '.', '_', '-'")
    if rate is not None and rate < 1:
        raise OptionError(f"rate {rate} given; expected 1 photo per minute or more")
    keys = list_keys(path) if path.exists() else []
    if name in [key.name for key in keys]:
        raise OptionError(
            f"{path}: has a key {name!r} already; remove it first, or choose another name"
        )
    secret = PREFIX + secrets.token_urlsafe(32)
    allowed: Scope = "write" if scope == "write" else "read"
    _write(path, [*keys, Key(name, digest_of(secret), allowed, rate)])
    return secret


def remove_key(path: Path, name: str) -> None:
    """Remove a key. Raises DataError when there is none of that name."""
    keys = list_keys(path)
    if name not in [key.name for key in keys]:
        raise DataError(f"{path}: no key {name!r}; it has {', '.join(k.name for k in keys) or '-'}")
    _write(path, [key for key in keys if key.name != name])


def list_keys(path: Path) -> list[Key]:
    """The keys of a file, possibly none. Raises DataError when it is missing or damaged."""
    entries: Any = read_json(path).get("keys")
    try:
        keys = [Key(**entry) for entry in entries]
        assert all(re.fullmatch("[0-9a-f]{64}", k.digest) and k.scope in SCOPES for k in keys)
    except (TypeError, AssertionError):
        raise DataError(f"{path}: not a key file; `whichlandmark keys add` creates one") from None
    return keys


def _write(path: Path, keys: Sequence[Key]) -> None:
    text = json.dumps({"format": FORMAT, "keys": [vars(key) for key in keys]}, indent=2)
    with atomic_file(path, private=True) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
