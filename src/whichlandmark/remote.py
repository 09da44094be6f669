"""Files behind URLs (`s3://bucket/a.jpg`), read through fsspec: bounded in bytes and in time."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import ImageError, OptionError

SCHEMES = ("s3", "gs", "az", "abfs", "file", "memory")
SECONDS = 60.0  # for one request, where the store's library can be held to a time
TRIES, PAUSE = 3, 0.5  # seconds before the second try; twice as many before the third
REQUESTS = 16  # at once, where many files are only looked at
_URL = re.compile(r"([a-z][a-z0-9]{0,9})://.", re.ASCII | re.DOTALL)
_AS_PATH = re.compile(rf"({'|'.join(SCHEMES)}):/(?=[^/])", re.ASCII)


def as_text(path: str | Path) -> str:
    """A path or URL as text: `Path("s3://a/b")` has lost a slash, and gets it back."""
    text = os.fspath(path)
    if isinstance(path, Path) and (found := _AS_PATH.match(text)):
        root = "/" if found[1] == "file" else ""
        return f"{found[1]}://{root}{text[found.end() :]}"
    return text


def is_url(path: str | Path) -> bool:
    """Is this a URL, of whatever scheme? Everything else is a path on this machine."""
    text = as_text(path)
    return "://" in text and _URL.match(text) is not None


def read_url(url: str, limit: int) -> bytes:
    """The whole file. Raises ImageError when it is larger than `limit` bytes, or as `read_range`
    does.
    """
    data = read_range(url, 0, limit + 1)
    if len(data) > limit:
        raise ImageError(f"{url}: larger than {limit // 10**6} MB")
    return data


def read_range(url: str, start: int, end: int) -> bytes:
    """Bytes from `start` up to `end`, fewer where the file ends earlier.

    A request that fails is tried again. Raises ImageError when the file is missing, cannot be
    reached, or its scheme is none of `SCHEMES`; OptionError when a library is not installed.
    """
    store, path = opened(url)
    data: bytes = _asked(store, url, "cat_file", path, start=start, end=end)
    return data


def url_stamp(url: str) -> str:
    """Size and the store's own mark of a content (etag, or time); "" = missing, not reached."""
    try:
        store, path = opened(url)
        info = _asked(store, url, "info", path)
    except ImageError:
        return ""
    marks = (info.get(key) for key in ("ETag", "etag", "md5Hash", "LastModified", "last_modified",
                                       "mtime", "updated", "created"))  # fmt: skip
    mark = next((str(mark) for mark in marks if mark), "")
    return f"{info.get('size')}:{mark}"[:150]


def url_stamps(urls: Iterable[str]) -> dict[str, str]:
    """URL → stamp, several asked for at once."""
    wanted = list(dict.fromkeys(urls))
    with ThreadPoolExecutor(REQUESTS, thread_name_prefix="stamp") as pool:
        return dict(zip(wanted, pool.map(url_stamp, wanted), strict=True))


def opened(url: str) -> tuple[Any, str]:
    """The store of a URL, as fsspec has it, and the path within. Raises as `read_range` does.

    Credentials and endpoints are the store's own business: its environment variables and files,
    and fsspec's (`FSSPEC_S3_ENDPOINT_URL` …).
    """
    found = _URL.match(url)
    scheme = found[1] if found else ""
    if scheme not in SCHEMES or "::" in url:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ImageError(f"{url}: not a URL that is read; expected one of {known}")
    store = _store(scheme)
    return store, str(store._strip_protocol(url))


@lru_cache(maxsize=len(SCHEMES))
def _store(scheme: str) -> Any:
    try:
        import fsspec
    except ImportError:
        raise OptionError(
            f"{scheme}:// needs fsspec, which is not installed; "
            "install it with: pip install 'whichlandmark[cluster]'"
        ) from None
    try:  # what a listing said a while ago may have changed
        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        raise OptionError(f"{scheme}:// needs another library ({error})") from None


def _asked(store: Any, url: str, what: str, *arguments: Any, **options: Any) -> Any:
    """One request, tried again; a store's errors in our words."""
    for turn in range(TRIES):
        if turn:
            time.sleep(PAUSE * 2 ** (turn - 1))
        try:
            return _in_time(store, what, *arguments, **options)
        except (FileNotFoundError, IsADirectoryError):
            raise ImageError(f"{url}: no such file") from None
        except PermissionError as error:
            raise ImageError(f"{url}: may not be read ({error})") from None
        except Exception as error:  # every store's library raises its own kinds
            reason = str(error) or type(error).__name__
    raise ImageError(f"{url}: cannot be read ({reason})")


def _in_time(store: Any, what: str, *arguments: Any, **options: Any) -> Any:
    if not getattr(store, "async_impl", False):
        return getattr(store, what)(*arguments, **options)
    from fsspec.asyn import sync

    return sync(store.loop, getattr(store, f"_{what}"), *arguments, timeout=SECONDS, **options)
