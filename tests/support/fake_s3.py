"""A stand-in for the public store of Google Landmarks v2, on loopback, with faults on demand.

It answers as S3 does: byte ranges with 206, Content-Range and ETag; 416 behind the end of a file;
If-Range; 404 as XML. It counts requests and bytes. `fail` makes it misbehave for the next requests.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import tarfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple

import numpy as np
from PIL import Image as Pillow

from tests.support.gldv2_layout import WIKI, Gldv2Set, Item, photo_path
from tests.support.photos import picture

BUCKET = "/google-landmark/"

TARS = {"train": 500, "index": 100, "test": 20}

Object = bytes | Callable[[], bytes]  # made when it is first asked for


class Asked(NamedTuple):
    """One request. range: (start, end), None = the whole file. sent: bytes of its body."""

    method: str
    key: str
    range: tuple[int, int] | None
    status: int
    sent: int


@dataclass
class FakeS3:
    """Serves `objects` (key → bytes) while it is entered. log: all requests, in their order."""

    objects: dict[str, Object]
    log: list[Asked] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    now: int = 0  # requests that are being answered
    most_at_once: int = 0
    counting: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> FakeS3:
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.base = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def content(self, key: str) -> bytes | None:
        """The file; None = there is none."""
        found = self.objects.get(key)
        if callable(found):
            found = self.objects[key] = found()
        return found

    def fail(self, key: str, fault: str, times: int = 1) -> None:
        """Answer the next requests for a key with a fault.

        slowdown: 503 SlowDown. cut: half of the bytes, then the connection ends. whole: 200 and
        the whole file for a range. shifted: 206 with another Content-Range. changed: another ETag
        and another first byte. short: 206 for fewer bytes than asked. forbidden: 403.
        """
        self.faults[key] += [fault] * times

    def photos_sent(self) -> int:
        """Bytes that were sent of tars."""
        return sum(one.sent for one in self.log if one.key.endswith(".tar"))

    def asked(self, suffix: str) -> list[Asked]:
        """The requests for keys with this ending."""
        return [one for one in self.log if one.key.endswith(suffix)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *request: object) -> None:  # the client has closed the connection
        pass


def _handler(fake: FakeS3) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            with fake.counting:
                fake.now += 1
                fake.most_at_once = max(fake.most_at_once, fake.now)
            try:
                self._answer(with_body=True)
            finally:
                with fake.counting:
                    fake.now -= 1

        def _answer(self, *, with_body: bool) -> None:
            key = self.path.partition("?")[0].removeprefix(BUCKET)
            fault = fake.faults[key].pop(0) if fake.faults[key] else ""
            data = fake.content(key) if self.path.startswith(BUCKET) else None
            if fault == "slowdown":
                return self._error(503, "SlowDown", key)
            if fault == "forbidden":
                return self._error(403, "AccessDenied", key)
            if data is None:
                return self._error(404, "NoSuchKey", key)
            if fault == "changed":
                data = bytes([data[0] ^ 1]) + data[1:]
            etag = f'"{hashlib.md5(data).hexdigest()}-7"'  # of several parts: no md5 of the file
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if asked and self.headers.get("If-Range", etag) != etag:
                asked = None
            start, end = 0, len(data)
            if asked and fault != "whole":
                start = int(asked[1])
                end = min(int(asked[2]) + 1 if asked[2] else len(data), len(data))
                if start >= len(data):
                    return self._error(416, "InvalidRange", key)
            if fault == "short":
                end = start + (end - start) // 2
            body = data[start:end] if with_body else b""
            ranged = bool(asked) and fault != "whole"
            self.send_response(206 if ranged else 200)
            self.send_header("ETag", etag)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Type", "binary/octet-stream")
            self.send_header("Content-Length", str(end - start))
            if ranged:
                move = 512 if fault == "shifted" else 0
                self.send_header(
                    "Content-Range", f"bytes {start + move}-{end - 1 + move}/{len(data)}"
                )
            self.end_headers()
            sent = body[: len(body) // 2] if fault == "cut" else body
            fake.log.append(Asked(self.command, key, (start, end) if ranged else None,
                                  206 if ranged else 200, len(sent)))  # fmt: skip
            with suppress(OSError):  # the client has read enough
                self.wfile.write(sent)
            if fault == "cut":
                self.close_connection = True

        def _error(self, status: int, code: str, key: str) -> None:
            text = f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Key>{key}</Key></Error>'
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            fake.log.append(Asked(self.command, key, None, status, len(text)))
            if self.command != "HEAD":
                with suppress(OSError):
                    self.wfile.write(text.encode())

    return Handler


def tar_of(items: Sequence[Item]) -> bytes:
    """A tar of photos in the given order, with entries of their folders."""
    buffer, made = io.BytesIO(), set[str]()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for item in items:
            for depth in (1, 3, 5):
                folder = photo_path(item.id)[:depth]
                if folder not in made:
                    made.add(folder)
                    entry = tarfile.TarInfo(folder)
                    entry.type = tarfile.DIRTYPE
                    tar.addfile(entry)
            entry = tarfile.TarInfo(photo_path(item.id))
            entry.size = len(item.data)
            tar.addfile(entry, io.BytesIO(item.data))
    return buffer.getvalue()


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode()


def bucket_of(photos: Gldv2Set, *, ordered: bool = True) -> dict[str, Object]:
    """The store of a data set: all tables, and as many tars as the real one has.

    ordered: tars and their members are in the order of ids, as the real ones seem to be.
    """
    found: dict[str, Object] = {}
    for part, items in (("train", photos.train), ("index", photos.index), ("test", photos.test)):
        count = TARS[part]
        by_id = sorted(items, key=lambda item: item.id)
        cuts = np.linspace(0, len(by_id), count + 1).astype(int).tolist()
        for number in range(count):
            some = by_id[cuts[number] : cuts[number + 1]] if ordered else by_id[number::count][::-1]
            key = f"{part}/images_{number:03d}.tar"
            found[key] = lambda some=some: tar_of(some)  # type: ignore[misc]
            found[f"md5sum/{part}/md5.images_{number:03d}.txt"] = lambda some=some, key=key: (  # type: ignore[misc]
                f"{hashlib.md5(tar_of(some)).hexdigest()}  {key.rpartition('/')[2]}\n".encode()
            )
    return found | _tables(photos)


def _tables(photos: Gldv2Set) -> dict[str, Object]:
    clean: dict[str, list[str]] = defaultdict(list)
    for item in photos.train:
        if item.clean:
            clean[item.landmark].append(item.id)
    page = "https://commons.wikimedia.org/wiki/File:{}.jpg"
    by_sa = "https://creativecommons.org/licenses/by-sa/3.0/"
    names = [(key, WIKI + name.replace(" ", "_")) for key, name in photos.names.items()]
    tables = {
        "metadata/train.csv": (
            ("id", "url", "landmark_id"),
            [(i.id, f"http://upload.invalid/{i.id}", i.landmark) for i in photos.train]),
        "metadata/train_clean.csv": (
            ("landmark_id", "images"), [(key, " ".join(ids)) for key, ids in clean.items()]),
        "metadata/train_attribution.csv": (
            ("id", "url", "author", "license", "title"),
            [(i.id, page.format(i.id), f"Author of {i.id}", by_sa, f"File:{i.id}.jpg")
             for i in photos.train]),
        "metadata/train_label_to_category.csv": (("landmark_id", "category"), names),
        "metadata/index.csv": (("id",), [(i.id,) for i in photos.index]),
        "metadata/index_image_to_landmark.csv": (
            ("id", "landmark_id"), [(i.id, i.landmark) for i in photos.index]),
        "metadata/index_label_to_category.csv": (("landmark_id", "category"), names),
        "metadata/test.csv": (("id",), [(i.id,) for i in photos.test]),
        "ground_truth/recognition_solution_v2.1.csv": (
            ("id", "landmarks", "Usage"), [(i.id, i.landmark, i.usage) for i in photos.test]),
    }  # fmt: skip
    return {key: csv_bytes(*table) for key, table in tables.items()}


def drawn_world(*, per_tar: int = 6, landmarks: int = 150) -> Gldv2Set:
    """A data set of tiny photos: per_tar × 500 of train, 200 of index, 60 of test.

    Landmark "1" has the most train photos, then "2" and so on; about two of three are clean.
    """
    rng = np.random.default_rng(0)
    drawn = [_jpeg(seed) for seed in range(20)]

    def items(count: int, names: Sequence[str], usage: str = "") -> list[Item]:
        ids = [f"{number:016x}" for number in rng.integers(0, 2**63, count).tolist()]
        return [
            Item(one, name, drawn[int(one[:6], 16) % 20] + one.encode(), usage, one[7] < "a")
            for one, name in zip(ids, names, strict=True)
        ]  # fmt: skip

    sizes = 1 / np.arange(3, landmarks + 3)
    order = np.sort(rng.choice(landmarks, per_tar * 500, p=sizes / sizes.sum())) + 1
    return Gldv2Set(
        train=items(len(order), [str(one) for one in order]),
        index=items(200, [str(900 + one % 40) for one in range(200)]),
        test=items(60, ["" if one % 3 else str(one % 5 + 1) for one in range(60)], "Public"),
        names={str(one): f"Tower {one}" for one in range(1, landmarks + 1)}
        | {"3": "Café d'Été (Paris)", "7": "Tour_Eiffel", "901": "Pont Neuf"},
    )


def _jpeg(seed: int) -> bytes:
    """A photo of 1 to 8 kB."""
    buffer = io.BytesIO()
    Pillow.fromarray(picture(seed, seed, (24 + 3 * seed, 40))).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
