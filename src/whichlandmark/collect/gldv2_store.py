"""The store of Google Landmarks v2: fetch ranges of its files, whole files, and tars.

A whole file goes on where an earlier run stopped: X.part is what is there of it, X.part.etag tells
which file it is.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ..core.disks import flush, read_error, require_space, write_error
from ..core.errors import DataError
from ..core.progress import StartPhase
from ..core.storage import TAR_BLOCK
from ..data.gldv2 import SUBSET_FOLDER
from ..data.gldv2_tables import MAX_PHOTO_BYTES, TAR_BYTES, TARS, Place
from ..data.import_tools import Problems
from ..data.photo_locations import photo_path, tar_members
from .gldv2_tars import Span, TarSearch, UnorderedError, id_of, photo_in, spans, tar_name
from .http_client import PoliteClient, RefusedError

MAX_TAR_BYTES = 20_000_000_000

MAX_MD5_BYTES = 10_000

CONNECTIONS = 4  # at once, to fetch ranges

SECONDS_TO_STOP = 5.0  # that requests may take after the command was stopped

GROUP = 16  # photos of one tar that one thread searches for

SHOWN_BYTES = 5_000_000  # progress of a file is shown every so many

Show = Callable[[str], None]

Asked = TypeVar("Asked")

Found = TypeVar("Found")


def read_range(client: PoliteClient, key: str, start: int, end: int) -> tuple[bytes, int]:
    """Bytes start … end − 1 of a file of the store, fewer where it ends, and its size.

    Raises RefusedError when the store does not give them, asked twice.
    """
    try:
        return _range(client, key, start, end)
    except RefusedError as error:
        if error.status:
            raise
        return _range(client, key, start, end)


def _range(client: PoliteClient, key: str, start: int, end: int) -> tuple[bytes, int]:
    url = f"{client.sites.gldv2}/{key}"
    with client.stream(url, start=start, end=end, what=key) as (head, chunks):
        data = b"".join(chunks)
        return data, head.total


def save(
    client: PoliteClient, key: str, target: Path, most: int, *, md5: str = "",
    show: Show | None = None, rename: bool = True,
) -> None:  # fmt: skip
    """Fetch a whole file; what an earlier run left in X.part is not fetched again.

    Args:
        client: of the store.
        key: of the file in it.
        target: the file to make, complete or not at all.
        most: bytes that it may have.
        md5: of the file; "" = not compared. A wrong one is fetched once more.
        show: called with how far it is.
        rename: False = leave the whole file as X.part.

    Raises:
        RefusedError: when the store does not have it, or gives another one twice.
        DataError: when the disk is full.
    """
    part, found = target.with_name(f"{target.name}.part"), ""
    for _ in range(2):
        try:
            _fill(client, key, part, most, show)
            with open(part, "rb+") as file:
                flush(file.fileno())
                found = hashlib.file_digest(file, "md5").hexdigest() if md5 else ""
            if found == md5:
                if rename:
                    os.replace(part, target)
                    drop_part(target)
                return
            drop_part(target)
        except OSError as error:
            raise write_error(target, error) from None
    raise RefusedError(f"{key}: md5 {found}, expected {md5}, fetched twice: damaged in the store")


def drop_part(target: Path) -> None:
    """Delete X.part and X.part.etag, where they are."""
    for end in ("part", "part.etag"):
        target.with_name(f"{target.name}.{end}").unlink(missing_ok=True)


def _fill(client: PoliteClient, key: str, part: Path, most: int, show: Show | None) -> None:
    """Fetch a file into X.part, from where it ends. X.part.etag holds the file's tag and size."""
    mark = part.with_name(f"{part.name}.etag")
    have, etag = 0, ""
    with suppress(OSError, ValueError):
        tag, total = mark.read_text(encoding="utf-8").split("\n")
        if (size := part.stat().st_size) == int(total):
            return
        have, etag = (size, tag) if size < int(total) else (0, "")
    try:
        _append(client, key, part, most, show, (have, etag))
    except RefusedError as error:
        if not have or error.status not in (0, 416):
            raise
        _append(client, key, part, most, show, (0, ""))  # another file now, or no ranges


def _append(
    client: PoliteClient, key: str, part: Path, most: int, show: Show | None,
    known: tuple[int, str],
) -> None:  # fmt: skip
    have, etag = known
    url = f"{client.sites.gldv2}/{key}"
    if show:
        show(key.rpartition("/")[2])
    with client.stream(url, start=have, etag=etag, what=key) as (head, chunks):
        if head.total > most:
            raise RefusedError(f"{key}: {head.total:,} bytes; at most {most:,}")
        part.parent.mkdir(parents=True, exist_ok=True)
        require_space(part.parent, head.total - have, part.stem)
        with open(part, "ab" if have else "wb") as file:
            if head.etag and not have:
                part.with_name(f"{part.name}.etag").write_text(f"{head.etag}\n{head.total}")
            for chunk in chunks:
                file.write(chunk)
                have += len(chunk)
                if show and have // SHOWN_BYTES != (have - len(chunk)) // SHOWN_BYTES:
                    name = key.rpartition("/")[2]
                    show(f"{name}, {have // 10**6:,} of {head.total // 10**6:,} MB")


def at_once(work: Callable[[Asked], Found], items: Sequence[Asked]) -> Iterator[Found]:
    """What `work` makes of each item, as it is made, by a few threads.

    When the caller stops or an item fails, what is on its way may end within a few seconds. The
    threads are daemons, because one that a silent server keeps waiting must not hold the program.
    """
    waiting, done = SimpleQueue[Asked](), SimpleQueue[tuple[Found | None, BaseException | None]]()
    for item in items:
        waiting.put(item)
    stopped = threading.Event()

    def run() -> None:
        with suppress(Empty):
            while not stopped.is_set():
                item = waiting.get_nowait()
                try:
                    done.put((work(item), None))
                except BaseException as error:
                    done.put((None, error))

    threads = [threading.Thread(target=run, daemon=True) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    try:
        for _ in items:
            found, error = done.get()
            if error is not None:
                raise error
            yield cast("Found", found)
    finally:
        stopped.set()
        end = time.monotonic() + SECONDS_TO_STOP
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0.01))


@dataclass(eq=False)
class Fetching:
    """A fetch into the folder `out`. counts: what was done; problems: what could not be had."""

    out: Path
    client: PoliteClient
    problems: Problems
    phase: StartPhase
    counts: dict[str, int] = field(default_factory=dict)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def count(self, name: str, number: int = 1) -> None:
        """Add to a count, from any thread."""
        with self._counting:
            self.counts[name] = self.counts.get(name, 0) + number

    def leave_out(self, part: str, photo_id: str, reason: str) -> None:
        """Count and list a photo that cannot be had."""
        self.count("photos left out")
        self.problems.add("photo", photo_id, f"of {part}: {reason}")

    def keep(self, part: str, photo_id: str, photo: bytes | str) -> str:
        """Write a photo; returns what is wrong with it, "" = it is written."""
        if isinstance(photo, str):
            return photo
        path = photo_path(self.out / part, photo_id)
        temporary = path.with_name(f"{path.name}.part")  # what a killed run left, this one replaces
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(photo)
                file.flush()
                flush(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            raise write_error(path, error) from None
        self.count("photos fetched")
        return ""

    def read(self, part: str, tar: int, start: int, end: int) -> tuple[bytes, int]:
        """Bytes of a tar, and its size; as `read_range`."""
        return read_range(self.client, f"{part}/{tar_name(tar)}", start, end)

    def fetch_known(self, part: str, places: dict[str, Place]) -> dict[str, str]:
        """Fetch photos at known offsets; returns those that are not there, with what is."""

        def fetch(span: Span) -> dict[str, str]:
            try:
                data, _ = self.read(part, span.tar, span.start, span.end)
            except RefusedError as error:
                return dict.fromkeys(span.ids, str(error))
            found = {}
            for one in span.ids:
                at = places[one].offset - TAR_BLOCK - span.start
                if reason := self.keep(part, one, photo_in(data, at, one, places[one].size)):
                    found[one] = f"{part}/{tar_name(span.tar)}: {reason}"
            return found

        wrong: dict[str, str] = {}
        show, requests = self.phase(f"fetching photos of {part}"), spans(places)
        for number, found in enumerate(at_once(fetch, requests)):
            show(number, len(requests))
            wrong |= found
        return wrong

    def search(self, part: str, wanted: Collection[str], ids: NDArray[np.bytes_]) -> None:
        """Search for photos in the tars, and fetch them. ids: all of the part, sorted."""
        own, unordered = threading.local(), list[str]()

        def fetch(group: list[str]) -> dict[str, str]:
            if not hasattr(own, "search"):
                own.search = TarSearch(ids, TARS[part], partial(self.read, part))
            reasons = {}
            for one in group if not unordered else ():
                try:
                    found = own.search.find(one)
                    photo = photo_in(found[1], 0, one, found[0].size) if found else "in no tar"
                    reasons[one] = self.keep(part, one, photo)
                except RefusedError as error:
                    reasons[one] = str(error)
                except UnorderedError as error:
                    unordered.append(str(error))
                    break
            return reasons

        show, groups, done = self.phase(f"searching for photos of {part}"), [], 0
        place = np.searchsorted(ids, np.array(order := sorted(wanted), dtype=np.bytes_))
        tars = (place * TARS[part] // len(ids)).tolist()
        for _, group in groupby(zip(tars, order, strict=True), key=lambda pair: pair[0]):
            same = [one for _, one in group]
            groups += [same[at : at + GROUP] for at in range(0, len(same), GROUP)]
        for reasons in at_once(fetch, groups):
            show(done := done + len(reasons), len(order))
            for one, reason in reasons.items():
                if reason:
                    self.leave_out(part, one, reason)
        if unordered:
            self.count("photos left out", len(order) - done)
            self.problems.add(
                "tars", part, f"{len(order) - done:,} photos cannot be searched for, because "
                f"{unordered[0]}; --offsets TABLE says where they are, or --whole-tars fetches all "
                f"{TARS[part]} tars, {TARS[part] * TAR_BYTES[part] / 1e9:,.0f} GB")  # fmt: skip

    def fetch_whole(self, part: str) -> None:
        """Fetch all tars of a part."""
        show = self.phase(f"fetching tars of {part}")
        for number in range(TARS[part]):
            if (self.out / part / tar_name(number)).is_file():
                self.count("tars here before")
            else:
                self._tar(part, number, partial(show, number, TARS[part]))

    def unpack_from_tars(self, part: str, wanted: Collection[str], asked: Collection[str]) -> None:
        """Fetch tars one after the other, and keep only the wanted photos of each.

        Ends when all were found. asked: all photos of the same command, those before included: the
        tars that it has read once are not fetched again. They are read as X.part, so that one that
        a killed run has left is not taken for a tar of the user, which stays.
        """
        show, rest = self.phase(f"fetching tars of {part}"), set(wanted)
        digest = hashlib.sha256("\n".join(sorted(asked)).encode()).hexdigest()[:16]
        marks = self.out / SUBSET_FOLDER / f"{part}_tars.txt"
        done = marks.read_text(encoding="utf-8").splitlines() if marks.is_file() else []
        for number in range(TARS[part]):
            tar = self.out / part / tar_name(number)
            source = tar if (here := tar.is_file()) else tar.with_name(f"{tar.name}.part")
            if not rest or (not here and f"{tar.name} {digest}" in done):
                continue
            if here or self._tar(part, number, partial(show, number, TARS[part]), rename=False):
                rest -= self._unpack(part, source, rest)
                if not here:
                    drop_part(tar)
                    with open(marks, "a", encoding="utf-8") as file:
                        file.write(f"{tar.name} {digest}\n")
        for one in sorted(rest):
            self.leave_out(part, one, "in no tar")

    def _tar(self, part: str, number: int, show: Show, *, rename: bool = True) -> bool:
        """Fetch a tar, as `save`; False = it cannot be had, and is listed."""
        name = tar_name(number)
        try:
            md5 = self._md5(part, number)
            save(self.client, f"{part}/{name}", self.out / part / name, MAX_TAR_BYTES,
                 md5=md5, show=show, rename=rename)  # fmt: skip
        except RefusedError as error:
            self.problems.add("tar", f"{part}/{name}", str(error))
            return False
        self.count("tars fetched")
        return True

    def _md5(self, part: str, number: int) -> str:
        """The MD5 of a tar, from its file in the store; "" = it has none."""
        name = f"md5.{tar_name(number)[:-4]}.txt"
        path = self.out / "md5sum" / part / name
        try:
            if not path.is_file():
                save(self.client, f"md5sum/{part}/{name}", path, MAX_MD5_BYTES)
            found = (path.read_text(errors="replace").split() or [""])[0].lower()
            if re.fullmatch("[0-9a-f]{32}", found):
                return found
            path.unlink()
            reason = "holds no md5"
        except RefusedError as error:
            reason = str(error)
        self.problems.add("md5", f"{part}/{name}", f"{reason}; the tar is not compared with it")
        return ""

    def _unpack(self, part: str, tar: Path, wanted: set[str]) -> set[str]:
        """Write the wanted photos of a tar; returns their ids. Names decide nothing but the id."""
        found = set[str]()
        try:
            with open(tar, "rb") as headers, open(tar, "rb") as file:
                for name, offset, size in tar_members(headers):
                    one = id_of(name)
                    if one not in wanted or one in found or not 0 < size <= MAX_PHOTO_BYTES:
                        continue
                    file.seek(offset - TAR_BLOCK)
                    data = file.read(TAR_BLOCK + size)
                    if reason := self.keep(part, one, photo_in(data, 0, one, size)):
                        self.leave_out(part, one, reason)
                    found.add(one)
        except (tarfile.TarError, ValueError) as error:
            name = f"{part}/{tar.name.removesuffix('.part')}"
            self.problems.add("tar", name, f"damaged: {error}")
        except OSError as error:
            raise DataError(read_error(tar, error)) from None
        return found
