"""Read a file's bytes by path, by URL (through fsspec) or by address inside a tar.

A photo inside a tar has an address such as `images_000.tar#a/b/c/abc1.jpg@1536+20481`: after the
`@` come the offset of its data in the tar and its size, both in bytes, so reading needs no index of
the tar. The tar header just before the data must have the photo's name and size. Because of that,
an address can read nothing but one whole member, and a replaced tar is detected. The tar may also
be at a URL. Reads have a limit in bytes, requests to an object store a limit in seconds.
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

from .disks import read_error, special_kind
from .errors import ImageError, OptionError, TooLargeError, install_command
from .files import file_url, local_path, text_of_bytes, valid_text
from .hardware import MEGAPIXELS_VARIABLE, max_file_bytes

TAR_BLOCK = 512  # bytes: a tar's headers and data begin at multiples of this

SCHEMES = ("s3", "gs", "az", "abfs", "file", "memory")

REQUEST_SECONDS = 60.0  # for one request, where the store's library takes a time limit

MAX_TRIES = 3

RETRY_SECONDS = 0.5  # wait before the second try; twice as long before the third

STAMP_REQUESTS = 16  # sent to a store at once

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
    """A file inside a tar.

    Attributes:
        tar: path or URL of the tar.
        name: the member's name.
        offset, size: position and length of its data in the tar, in bytes.
    """

    tar: str
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.tar}#{self.name}@{self.offset}+{self.size}"


Address = File | Url | TarMember


def parse(address: str | Path) -> Address:
    """Parse an address; text that is neither a URL nor a tar member's address is a path.

    Opens nothing. A `file:` URL is a path on this machine.
    """
    text = as_text(address)
    if ".tar#" in text and (parts := _MEMBER.fullmatch(text)):
        return TarMember(local_path(parts[1]), parts[2], int(parts[3]), int(parts[4]))
    text = local_path(text)
    return Url(text) if is_url(text) else File(text)


def as_text(path: str | Path) -> str:
    """A path or URL as text; restores the slash that `Path("s3://a/b")` has lost."""
    text = os.fspath(path)
    if isinstance(path, Path) and (found := _URL_AS_PATH.match(text)):
        root = "/" if found[1] == "file" else ""
        return f"{found[1]}://{root}{text[found.end() :]}"
    return text


def is_url(path: str | Path) -> bool:
    """Is this a URL, of any scheme? Everything else is a path on this machine."""
    text = as_text(path)
    return "://" in text and _URL.match(text) is not None


def read_bytes(address: str | Path, limit: int | None = None) -> bytes:
    """The bytes of a file, of a file at a URL, or of a photo inside a tar.

    Pipes, sockets and devices are never opened, because reading them may wait forever.

    Args:
        address: a path, URL or address inside a tar.
        limit: the largest size that is read, in bytes; None = that of a photo.

    Raises:
        ImageError: when the file is missing, cannot be reached or is larger than `limit`; for a
            tar also when it is no plain file, is too short, or has another member at that offset
            (because it was replaced).
        OptionError: when a URL needs a library that is not installed.
    """
    if limit is None:
        limit = max_file_bytes()
    match parse(address):
        case File(path):
            data = _read_file(path, limit + 1)
        case Url(url):
            data = read_range(url, 0, limit + 1)
        case TarMember() as member:
            return _read_member(member, limit)
    if len(data) > limit:
        raise _too_large(as_text(address), limit)
    return data


def _too_large(name: str, limit: int) -> TooLargeError:
    option = f"; {MEGAPIXELS_VARIABLE} raises the limit" if limit == max_file_bytes() else ""
    return TooLargeError(f"{name}: larger than {limit // 10**6} MB{option}")


def _read_file(path: str, size: int) -> bytes:
    try:
        if kind := special_kind(os.stat(path).st_mode):  # before it is opened
            raise ImageError(f"{path}: is {kind}, not a file; it is not opened")
        with open(path, "rb", opener=_open_without_blocking) as file:
            before = os.fstat(file.fileno())
            if kind := special_kind(before.st_mode):  # it was replaced since
                raise ImageError(f"{path}: is {kind}, not a file")
            data = file.read(size)
            after = os.fstat(file.fileno())
    except OSError as error:
        raise ImageError(read_error(path, error)) from None
    except ValueError as error:  # a path with a zero byte
        raise ImageError(f"{path!r}: not a path ({error})") from None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ImageError(f"{path}: changed while it was read; is it still being copied?")
    return data


def _read_member(member: TarMember, limit: int) -> bytes:
    """Read header and data together, so that a tar at a URL takes one request."""
    if member.size > limit:
        raise _too_large(str(member), limit)
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
        if kind := special_kind(os.stat(member.tar).st_mode):
            raise ImageError(f"{member}: {member.tar} is {kind}, not a plain file")
        with open(member.tar, "rb", opener=_open_without_blocking) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{member}: {member.tar} is not a plain file")
            if member.offset + member.size > status.st_size:
                raise ImageError(f"{member}: {member.tar} ends at byte {status.st_size}")
            _check_offset(member)
            file.seek(member.offset - TAR_BLOCK)
            return file.read(TAR_BLOCK + member.size)
    except OSError as error:
        raise ImageError(read_error(str(member), error)) from None


def _open_without_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # opening a pipe would block


def _check_offset(member: TarMember) -> None:
    if member.offset < TAR_BLOCK or member.offset % TAR_BLOCK:
        raise ImageError(
            f"{member}: the data of a tar's members begin at multiples of {TAR_BLOCK}, from "
            f"{TAR_BLOCK}"
        )


def _is_header_of(member: TarMember, block: bytes) -> bool:
    """Does this tar header belong to the member?

    Names of 100 bytes or more are not compared, because the header has them cut off or not at all
    (an extra header before it has the name).
    """
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    name = os.path.basename(header.name)
    names = (name, text_of_bytes(name))  # an address has bytes that are not UTF-8 as %XX
    same_name = os.path.basename(member.name) in names or len(os.fsencode(header.name)) >= 100
    return header.isreg() and header.size == member.size and same_name


def read_range(url: str, start: int, end: int) -> bytes:
    """The bytes start … end − 1 of the file at a URL; fewer when the file is shorter.

    A failed request is repeated, `MAX_TRIES` times in all.

    Raises:
        ImageError: when the file is missing or cannot be reached, or the URL's scheme is none of
            `SCHEMES`.
        OptionError: when a library is not installed.
    """
    store, path = open_store(url)
    data: bytes = _request(store, url, "cat_file", path, start=start, end=end)
    return data


def open_store(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the file's path in it. Raises as `read_range`.

    Credentials and endpoints come from the environment variables and files of the store's library
    and of fsspec (such as `FSSPEC_S3_ENDPOINT_URL`).
    """
    found = _URL.match(url)
    scheme = found[1] if found else ""
    if scheme not in SCHEMES or "::" in url:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ImageError(f"{url}: not a supported URL; expected one of {known}")
    store = _file_system(scheme)
    return store, str(store._strip_protocol(url))


@lru_cache(maxsize=len(SCHEMES))
def _file_system(scheme: str) -> Any:
    try:
        import fsspec
    except ImportError:
        raise OptionError(
            f"{scheme}:// needs fsspec, which is not installed; "
            f"install it with: {install_command('cluster')}"
        ) from None
    try:  # no cached listings, because files may change while this process runs
        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        raise OptionError(f"{scheme}:// needs another library ({error})") from None


def _request(store: Any, url: str, method: str, *arguments: Any, **options: Any) -> Any:
    """Send one request, repeat it when it fails, and turn every store's errors into ImageError."""
    for attempt in range(MAX_TRIES):
        if attempt:
            time.sleep(RETRY_SECONDS * 2 ** (attempt - 1))
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
        except Exception as error:  # because each store's library raises its own classes
            reason = str(error) or type(error).__name__
    raise ImageError(f"{url}: cannot be read ({reason})")


def stamp(address: str) -> str:
    """A text that changes when the file changes, found without reading the file.

    Made of a file's size and modification time; for a photo in a tar, of the tar's and the photo's
    offset and size; for a URL, of the size and the store's ETag, checksum or time.

    Returns:
        At most about 200 characters; "" when the file is missing or cannot be reached.
    """
    parsed = parse(address)
    file = _file_of(parsed)
    return _stamp_of(parsed, url_stamp(file) if is_url(file) else _file_stamp(file))


def stamps(addresses: Iterable[str]) -> list[str]:
    """The `stamp` of each address, with one request per file at a URL, several at a time."""
    parsed = [parse(address) for address in addresses]
    files = [_file_of(each) for each in parsed]
    urls = list(dict.fromkeys(file for file in files if is_url(file)))
    with ThreadPoolExecutor(STAMP_REQUESTS, thread_name_prefix="stamp") as pool:
        url_stamps = dict(zip(urls, pool.map(url_stamp, urls), strict=True))
    return [
        _stamp_of(each, url_stamps[file] if file in url_stamps else _file_stamp(file))
        for each, file in zip(parsed, files, strict=True)
    ]


def _file_of(address: Address) -> str:
    return address.tar if isinstance(address, TarMember) else str(address)


def _stamp_of(address: Address, file_stamp: str) -> str:
    """An address's stamp from that of its file, which for a tar member is the whole tar's."""
    if file_stamp and isinstance(address, TarMember):
        return f"{file_stamp}:{address.offset}+{address.size}"
    return file_stamp


def url_stamp(url: str) -> str:
    """Size and ETag, checksum or time of the file at a URL; "" when it cannot be reached."""
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
    except (OSError, ValueError):
        return ""
    return f"{status.st_size}:{status.st_mtime_ns}"


def absolute_path(name: str, folder: str) -> str:
    """Make a path or tar address absolute and normalised; a URL is returned unchanged.

    A `file:` URL becomes the path in it where that is valid Unicode. folder: where relative names
    start.
    """
    if is_url(name) or name.startswith("file:/"):
        return _without_file_scheme(name)
    if ".tar#" in name and (parts := _MEMBER.fullmatch(name)):  # only the part before # is a path
        return _joined(parts[1], folder) + name[parts.end(1) :]
    parent, slash, last = name.rpartition("/")
    if last in ("", ".", "..") or not slash:
        return os.path.normpath(os.path.join(folder, name))
    parent = _joined(parent + slash, folder)
    return parent + last if parent.endswith(os.sep) else parent + os.sep + last


def _without_file_scheme(url: str) -> str:
    parts = _MEMBER.fullmatch(url) if ".tar#" in url else None
    file, member = (parts[1], url[parts.end(1) :]) if parts else (url, "")
    return (valid_text(path) if (path := local_path(file)) != file else file) + member


@lru_cache(maxsize=16_384)  # because millions of photos share a few thousand folders or tars
def _joined(name: str, folder: str) -> str:
    return os.path.normpath(os.path.join(folder, name))


def relative_path(name: str, folder: str) -> str:
    """Make a path or tar address relative to `folder`, with forward slashes; the inverse of
    `absolute_path`. Both arguments are absolute; a URL is returned unchanged.
    """
    if is_url(name):
        return name
    parts = _MEMBER.fullmatch(name) if ".tar#" in name else None
    name, member = (parts[1], name[parts.end(1) :]) if parts else (name, "")
    try:
        relative = os.path.relpath(name, folder).replace(os.sep, "/")
    except ValueError:  # on another drive of Windows, so no relative path exists
        relative = name.replace(os.sep, "/")
    if (not relative.isascii() and valid_text(name) != name) or relative != relative.strip():
        relative = file_url(name)  # because a table's cells are UTF-8, without outer blanks
    return relative + member
