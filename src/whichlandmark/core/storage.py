"""Bytes by address: a path, a URL (through fsspec), or a photo inside a tar. Nothing is decoded.

A photo inside a tar is addressed as `images_000.tar#a/b/c/abc1.jpg@1536+20481`. Behind the `@`
stand the first byte of its data within the tar and its size in bytes, so reading needs no index of
the tar. The tar's own header just before the data must name this photo and this size: an address
can read nothing but one whole member, and a tar that was replaced is noticed. The tar may lie
behind a URL. Reads are bounded in bytes, requests to a store in time.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import ImageError, OptionError

MAX_BYTES = 20_000_000  # of a photo file

TAR_BLOCK = 512  # bytes: a tar's headers and data begin at multiples of it

SCHEMES = ("s3", "gs", "az", "abfs", "file", "memory")

REQUEST_SECONDS = 60.0  # for one request, where the store's library takes a time limit

TRIES, RETRY_SECONDS = 3, 0.5  # before the second try; twice as long before the third

STAMP_REQUESTS = 16  # at once

_URL = re.compile(r"([a-z][a-z0-9]{0,9})://.", re.ASCII | re.DOTALL)

_URL_AS_PATH = re.compile(rf"({'|'.join(SCHEMES)}):/(?=[^/])", re.ASCII)

_MEMBER = re.compile(r"(.+?\.tar)#(.+)@(\d{1,18})\+(\d{1,18})", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class File:
    """A file on this machine."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Url:
    """A file in an object store."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class TarMember:
    """tar: path or URL of the archive; name: within it; offset, size: of the data, in bytes."""

    tar: str
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.tar}#{self.name}@{self.offset}+{self.size}"


Address = File | Url | TarMember


def parse(address: str | Path) -> Address:
    """What an address names. Nothing is opened; whatever has no other form is a path."""
    text = as_text(address)
    if ".tar#" in text and (parts := _MEMBER.fullmatch(text)):
        return TarMember(parts[1], parts[2], int(parts[3]), int(parts[4]))
    return Url(text) if is_url(text) else File(text)


def as_text(path: str | Path) -> str:
    """A path or URL as text: `Path("s3://a/b")` has lost a slash, and gets it back."""
    text = os.fspath(path)
    if isinstance(path, Path) and (found := _URL_AS_PATH.match(text)):
        root = "/" if found[1] == "file" else ""
        return f"{found[1]}://{root}{text[found.end() :]}"
    return text


def is_url(path: str | Path) -> bool:
    """Is this a URL, of whatever scheme? Everything else is a path on this machine."""
    text = as_text(path)
    return "://" in text and _URL.match(text) is not None


def read_bytes(address: str | Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a photo file, of a photo inside a tar, or of a file behind a URL.

    Raises ImageError when it is missing, out of reach or larger than `limit` bytes; for a tar also
    when it is no plain file, ends too early, or has no such photo at that place (it was replaced).
    """
    match parse(address):
        case File(path):
            data = _read_file(path, limit + 1)
        case Url(url):
            data = read_range(url, 0, limit + 1)
        case TarMember() as member:
            return _read_member(member, limit)
    if len(data) > limit:
        raise ImageError(f"{as_text(address)}: larger than {limit // 10**6} MB")
    return data


def _read_file(path: str, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from None


def _read_member(member: TarMember, limit: int) -> bytes:
    """Header and data are read together: one request where the tar lies behind a URL."""
    if member.size > limit:
        raise ImageError(f"{member}: larger than {limit // 10**6} MB")
    if is_url(member.tar):
        _check_offset(member)
        data = read_range(member.tar, member.offset - TAR_BLOCK, member.offset + member.size)
    else:
        data = _read_from_local_tar(member)
    if not _is_header_of(member, data[:TAR_BLOCK]) or len(data) != TAR_BLOCK + member.size:
        raise ImageError(f"{member}: the tar has no such photo there; import it again")
    return data[TAR_BLOCK:]


def _read_from_local_tar(member: TarMember) -> bytes:
    try:
        with open(member.tar, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{member}: {member.tar} is not a plain file")
            if member.offset + member.size > status.st_size:
                raise ImageError(f"{member}: {member.tar} ends at byte {status.st_size}")
            _check_offset(member)
            file.seek(member.offset - TAR_BLOCK)
            return file.read(TAR_BLOCK + member.size)
    except FileNotFoundError:
        raise ImageError(f"{member}: no such file") from None
    except OSError as error:
        raise ImageError(f"{member}: cannot be read ({error.strerror})") from None


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait for a writer


def _check_offset(member: TarMember) -> None:
    if member.offset < TAR_BLOCK or member.offset % TAR_BLOCK:
        raise ImageError(
            f"{member}: the data of a tar's members begin at multiples of {TAR_BLOCK}, from "
            f"{TAR_BLOCK}"
        )


def _is_header_of(member: TarMember, block: bytes) -> bool:
    """Does this tar header announce the member? It holds a name over 100 bytes cut off, or not at
    all (a header before it has the name then): such names are not compared.
    """
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    name = os.path.basename(header.name)
    named = name == os.path.basename(member.name) or len(os.fsencode(header.name)) >= 100
    return header.isreg() and header.size == member.size and named


def read_range(url: str, start: int, end: int) -> bytes:
    """Bytes from `start` up to `end` of a file behind a URL, fewer where it ends earlier.

    A request that fails is tried again. Raises ImageError when the file is missing, cannot be
    reached, or its scheme is none of `SCHEMES`; OptionError when a library is not installed.
    """
    store, path = open_store(url)
    data: bytes = _request(store, url, "cat_file", path, start=start, end=end)
    return data


def open_store(url: str) -> tuple[Any, str]:
    """The store of a URL as an fsspec file system, and the path within. Raises as `read_range`.

    Credentials and endpoints come from the store's own environment variables and files, and from
    fsspec's (`FSSPEC_S3_ENDPOINT_URL` …).
    """
    found = _URL.match(url)
    scheme = found[1] if found else ""
    if scheme not in SCHEMES or "::" in url:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ImageError(f"{url}: not a URL that is read; expected one of {known}")
    store = _file_system(scheme)
    return store, str(store._strip_protocol(url))


@lru_cache(maxsize=len(SCHEMES))
def _file_system(scheme: str) -> Any:
    try:
        import fsspec
    except ImportError:
        raise OptionError(
            f"{scheme}:// needs fsspec, which is not installed; "
            "install it with: pip install 'whichlandmark[cluster]'"
        ) from None
    try:  # no cached listings, because files may change while this process runs
        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        raise OptionError(f"{scheme}:// needs another library ({error})") from None


def _request(store: Any, url: str, method: str, *arguments: Any, **options: Any) -> Any:
    """One request, tried again when it fails; every store's errors become ImageError."""
    for turn in range(TRIES):
        if turn:
            time.sleep(RETRY_SECONDS * 2 ** (turn - 1))
        try:
            if not getattr(store, "async_impl", False):
                return getattr(store, method)(*arguments, **options)
            from fsspec.asyn import sync

            call = getattr(store, f"_{method}")
            return sync(store.loop, call, *arguments, timeout=REQUEST_SECONDS, **options)
        except (FileNotFoundError, IsADirectoryError):
            raise ImageError(f"{url}: no such file") from None
        except PermissionError as error:
            raise ImageError(f"{url}: may not be read ({error})") from None
        except Exception as error:  # every store's library raises its own kinds
            reason = str(error) or type(error).__name__
    raise ImageError(f"{url}: cannot be read ({reason})")


def stamp(address: str) -> str:
    """Differs when the file has changed, without reading it; "" = missing or out of reach.

    Size and time of a file; for a photo in a tar those of the tar, and where in it the photo lies;
    behind a URL, size and what the store gives to tell contents apart.
    """
    one = parse(address)
    file = _file_of(one)
    return _stamp_at(one, url_stamp(file) if is_url(file) else _file_stamp(file))


def stamps(addresses: Iterable[str]) -> list[str]:
    """The stamp of each; a store is asked once for each of its files, several at a time."""
    parsed = [parse(address) for address in addresses]
    files = [_file_of(one) for one in parsed]
    urls = list(dict.fromkeys(file for file in files if is_url(file)))
    with ThreadPoolExecutor(STAMP_REQUESTS, thread_name_prefix="stamp") as pool:
        found = dict(zip(urls, pool.map(url_stamp, urls), strict=True))
    return [
        _stamp_at(one, found[file] if file in found else _file_stamp(file))
        for one, file in zip(parsed, files, strict=True)
    ]


def _file_of(address: Address) -> str:
    return address.tar if isinstance(address, TarMember) else str(address)


def _stamp_at(address: Address, found: str) -> str:
    if found and isinstance(address, TarMember):
        return f"{found}:{address.offset}+{address.size}"
    return found


def url_stamp(url: str) -> str:
    """Size and the store's own mark of a content (etag, or time); "" = missing, not reached."""
    try:
        store, path = open_store(url)
        info = _request(store, url, "info", path)
    except ImageError:
        return ""
    marks = (info.get(key) for key in ("ETag", "etag", "md5Hash", "LastModified", "last_modified",
                                       "mtime", "updated", "created"))  # fmt: skip
    mark = next((str(mark) for mark in marks if mark), "")
    return f"{info.get('size')}:{mark}"[:150]


def _file_stamp(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"


def absolute_path(name: str, folder: str) -> str:
    """A path or address as a table in `folder` has it → absolute and normalised; a URL stays."""
    if is_url(name):
        return name
    if ".tar#" in name and (parts := _MEMBER.fullmatch(name)):  # what follows the # is no path
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
    match parse(name):
        case Url():
            return name
        case TarMember(tar):
            if is_url(tar):
                return name
            path = tar
        case File(path):
            pass
    try:
        seen = os.path.relpath(path, folder).replace(os.sep, "/")
    except ValueError:  # another drive: there is no way from one to the other
        seen = path.replace(os.sep, "/")
    return seen + name[len(path) :]
