"""A photo inside a tar is addressed like a file: `images_000.tar#a/b/c/abc1.jpg@1536+20481`.

Behind the `@` stand the first byte of the photo's data within the tar, and its size in bytes:
reading needs no index of the tar. The name must be that of the tar's own header just before
the data, so that an address can reach nothing but one whole member. The tar, like any photo, may
lie behind a URL (`remote.py`).
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .errors import ImageError
from .remote import as_text, is_url, read_range, url_stamp, url_stamps

BLOCK = 512  # bytes: a tar's headers and data begin at its multiples
_ADDRESS = re.compile(r"(.+?\.tar)#(.+)@(\d{1,18})\+(\d{1,18})", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class Member:
    """tar: path of the archive; name: within it; offset, size: of the data, in bytes."""

    tar: str
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.tar}#{self.name}@{self.offset}+{self.size}"


def member_of(path: str | Path) -> Member | None:
    """The parts of an address, or None for the path of a plain file."""
    text = as_text(path)
    if ".tar#" not in text:  # the quick answer for nearly every path
        return None
    parts = _ADDRESS.fullmatch(text)
    return Member(parts[1], parts[2], int(parts[3]), int(parts[4])) if parts else None


def read_member(member: Member, limit: int) -> bytes:
    """The bytes of one photo in a tar.

    Raises ImageError when it is larger than `limit` bytes, when the tar is missing, is no plain
    file or ends too early, or when the tar has no such member there (it was replaced, say).
    """
    if member.size > limit:
        raise ImageError(f"{member}: larger than {limit // 10**6} MB")
    data = _from_store(member) if is_url(member.tar) else _from_disk(member)
    if not _heads(data[:BLOCK], member) or len(data) != BLOCK + member.size:
        raise ImageError(f"{member}: the tar has no such photo there; import it again")
    return data[BLOCK:]


def _from_store(member: Member) -> bytes:
    """Header and data, in one request: a tar that ends too early gives fewer bytes."""
    _check(member)
    return read_range(member.tar, member.offset - BLOCK, member.offset + member.size)


def _from_disk(member: Member) -> bytes:
    """Header and data."""
    try:
        with open(member.tar, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{member}: {member.tar} is not a plain file")
            if member.offset + member.size > status.st_size:
                raise ImageError(f"{member}: {member.tar} ends at byte {status.st_size}")
            _check(member)
            file.seek(member.offset - BLOCK)
            return file.read(BLOCK + member.size)
    except FileNotFoundError:
        raise ImageError(f"{member}: no such file") from None
    except OSError as error:
        raise ImageError(f"{member}: cannot be read ({error.strerror})") from None


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for a writer


def _check(member: Member) -> None:
    if member.offset < BLOCK or member.offset % BLOCK:
        raise ImageError(
            f"{member}: the data of a tar's members begin at multiples of {BLOCK}, from {BLOCK}"
        )


def _heads(block: bytes, member: Member) -> bool:
    """Is this the header of that member? A name over 100 bytes stands cut there, or elsewhere."""
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    name = os.path.basename(header.name)
    named = name == os.path.basename(member.name) or len(os.fsencode(header.name)) >= 100
    return header.isreg() and header.size == member.size and named


def stamp(path: str) -> str:
    """Tells a file that has changed from one that has not, without reading it; "" = missing.

    Size and time of the file; for a photo in a tar those of the tar, and where it lies. Behind a
    URL, what the store says of it.
    """
    member = member_of(path)
    file = member.tar if member else path
    return _placed(url_stamp(file) if is_url(file) else _file_stamp(file), member)


def stamps(paths: Iterable[str]) -> list[str]:
    """The stamp of each; a store is asked once for each of its files, several at a time."""
    paths = list(paths)
    members = [member_of(path) for path in paths]
    files = [m.tar if m else path for path, m in zip(paths, members, strict=True)]
    seen = url_stamps(file for file in files if is_url(file))
    return [
        _placed(seen[file] if file in seen else _file_stamp(file), member)
        for file, member in zip(files, members, strict=True)
    ]


def _file_stamp(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"


def _placed(found: str, member: Member | None) -> str:
    return f"{found}:{member.offset}+{member.size}" if member and found else found


def absolute_path(name: str, folder: str) -> str:
    """A path or address as a table in `folder` has it → absolute and normalised; a URL stays."""
    if is_url(name):
        return name
    if ".tar#" in name and (parts := _ADDRESS.fullmatch(name)):  # what follows the # is no path
        return _normal(parts[1], folder) + name[parts.end(1) :]
    above, slash, last = name.rpartition("/")
    if last in ("", ".", "..") or not slash:
        return os.path.normpath(os.path.join(folder, name))
    above = _normal(above + slash, folder)
    return above + last if above.endswith(os.sep) else above + os.sep + last


@lru_cache(maxsize=16_384)  # millions of photos lie in a few thousand folders or tars
def _normal(name: str, folder: str) -> str:
    return os.path.normpath(os.path.join(folder, name))


def relative_path(name: str, folder: str) -> str:
    """`name` as seen from `folder` (both absolute), with forward slashes; a URL stays."""
    if is_url(name):
        return name
    member = member_of(name)
    path = member.tar if member else name
    try:
        seen = os.path.relpath(path, folder).replace(os.sep, "/")
    except ValueError:  # another drive: there is no way from one to the other
        seen = path.replace(os.sep, "/")
    return seen + name[len(path) :]
