"""API keys, stored as SHA-256 hashes in a JSON file. A key is shown only once, when it is created.

A plain hash without salt is enough because a key has 256 random bits and cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..core.disks import only_writer
from ..core.errors import DataError, OptionError
from ..core.files import atomic_file, read_json

log = logging.getLogger("whichlandmark.serving")

Scope = Literal["read", "write"]

SCOPES: tuple[Scope, ...] = get_args(Scope)

FORMAT = 1

PREFIX = "wl_"

SETTLED_SECONDS = 1.0  # after which a further change gives a file another time, on any disk

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


class KeyFile:
    """The keys of a file, read again when the file has changed.

    While the file is missing or damaged no key is right, because one that was removed must not live
    on in a copy of the old file.
    """

    def __init__(self, path: Path) -> None:
        """Raises DataError when the file is missing, empty or damaged."""
        self.path, self.trouble = path, ""  # trouble: why no key can be checked; "" = they can
        self._state = self._read_state()
        self._keys: Sequence[Key] = read_keys(path)
        if self._state and self._state[-1] & stat.S_IWOTH and os.name == "posix":
            log.warning(
                "%s: may be written by every user of this machine, who could add keys; "
                "chmod o-w takes that away", path,
            )  # fmt: skip

    def find(self, given: str) -> Key | None:
        """The key that matches `given`, as the file is now; None = none, or there is `trouble`."""
        self.refresh()
        return None if self.trouble else find_key(self._keys, given)

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        state = self._read_state()
        if state is not None and state == self._state:
            return
        try:
            keys = list_keys(self.path)
        except DataError as error:
            if str(error) != self.trouble:
                log.error("every key is refused until the key file is readable again: %s", error)
            self._keys, self._state, self.trouble = (), None, str(error)
            return
        if self.trouble or keys != self._keys:
            log.info("the key file was read again: %d keys", len(keys))
        self._keys, self._state, self.trouble = keys, state, ""

    def _read_state(self) -> tuple[int, ...] | None:
        """What changes with the file; None = it is gone, or was changed only just now."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        if abs(time.time() - found.st_mtime) < SETTLED_SECONDS:
            return None  # one more change could leave the same time: read it once more
        return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode)


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
    secret = PREFIX + secrets.token_urlsafe(32)
    allowed: Scope = "write" if scope == "write" else "read"
    with only_writer(path):  # else two at once could bring a removed key back
        keys = list_keys(path) if path.exists() else []
        if name in [key.name for key in keys]:
            raise OptionError(
                f"{path}: has a key {name!r} already; remove it first, or choose another name"
            )
        _write(path, [*keys, Key(name, digest_of(secret), allowed, rate)])
    return secret


def remove_key(path: Path, name: str) -> None:
    """Remove a key. Raises DataError when there is none of that name."""
    with only_writer(path):
        keys = list_keys(path)
        if name not in [key.name for key in keys]:
            names = ", ".join(key.name for key in keys) or "-"
            raise DataError(f"{path}: no key {name!r}; it has {names}")
        _write(path, [key for key in keys if key.name != name])


def list_keys(path: Path) -> list[Key]:
    """The keys of a file, possibly none. Raises DataError when it is missing or damaged."""
    entries: Any = read_json(path).get("keys")
    try:
        keys = [Key(**entry) for entry in entries]
        assert all(
            key.name and isinstance(key.name, str) and key.scope in SCOPES
            and re.fullmatch("[0-9a-f]{64}", key.digest)
            and (key.rate is None or (type(key.rate) is int and key.rate > 0))
            for key in keys
        )  # fmt: skip
    except (TypeError, AssertionError):
        raise DataError(f"{path}: not a key file; `whichlandmark keys add` creates one") from None
    return keys


def _write(path: Path, keys: Sequence[Key]) -> None:
    text = json.dumps({"format": FORMAT, "keys": [vars(key) for key in keys]}, indent=2)
    with atomic_file(path, private=True) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
