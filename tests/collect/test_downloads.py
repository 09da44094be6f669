"""Files that the HTTP client fetches: photos, which are there whole or not at all, and ranges."""

from __future__ import annotations

import hashlib
import os
import resource
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.web_doubles import JPEG, client_of, names_in, only_this_machine, replies, reply
from whichlandmark.collect.http_client import PoliteClient, RefusedError, Sites
from whichlandmark.core.errors import DataError, NetworkError
from whichlandmark.core.files import atomic_file

SITES = Sites.wikimedia()
PHOTO = "https://upload.wikimedia.org/wikipedia/commons/thumb/a/ab/N%C3%A9f%2FChoir.jpg/960px-N.jpg"
TAR = f"{SITES.gldv2}/train/images_000.tar"
WHOLE = bytes(range(256)) * 400


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    only_this_machine(monkeypatch)


def download(client: PoliteClient, target: Path, most: int = 10**6) -> Any:
    return client.download(PHOTO, target, max_bytes=most, what="photo 7")


def test_a_photo_is_written_whole_with_its_sums(tmp_path: Path) -> None:
    target = tmp_path / "photos" / "Q243" / "7.jpg"
    with client_of(replies((200, {"content-type": "image/jpeg"}, JPEG))) as (client, net):
        media = download(client, target)
        assert download(client, target) == media  # replaces it
    assert target.read_bytes() == JPEG
    assert media.sha256 == hashlib.sha256(JPEG).hexdigest()
    assert media.sha1 == hashlib.sha1(JPEG).hexdigest()
    assert (media.bytes, media.content_type) == (len(JPEG), "image/jpeg")
    assert names_in(tmp_path) == ["photos/Q243/7.jpg"]
    assert str(net.requests[0].url) == PHOTO
    assert net.requests[0].headers["accept-encoding"] == "identity"


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    for name in (".7.jpg.ab_3xyz9", ".77.jpg.ab_3xyz9", ".7.jpg", "7.jpg.ab_3xyz9"):
        (tmp_path / name).touch()
    with client_of(replies(JPEG)) as (client, _):
        download(client, tmp_path / "7.jpg")
    assert names_in(tmp_path) == [".7.jpg", ".77.jpg.ab_3xyz9", "7.jpg", "7.jpg.ab_3xyz9"]


NO_PHOTO = {
    "page": ((200, {"content-type": "image/jpeg"}, b"<!DOCTYPE html><html>Moved"), "web page"),
    "page with a beginning": (b" \n<html>" + b"x" * 9000, "web page"),
    "JSON": ({"error": {"code": "x"}}, "no photo came, but text"),
    "empty": (b"", "an empty file"),
    "zeros": (bytes(9000), "only zero bytes"),
    "movie": (b"\x1a\x45\xdf\xa3" + bytes(900), "video"),
    "program": (b"\x7fELF" + bytes(900), "program"),
    "junk": (b"\x93\x8f\xfe" * 300, "no known kind"),
    "missing": ((404, {}, b"<html>Not found"), "HTTP 404: Not found"),
    "no longer": ((410, {}, b""), "HTTP 410"),
    "width": ((400, {}, b"Use thumbnail steps listed"), "HTTP 400: Use thumbnail steps"),
    "broken thumbnail": ((500, {}, b"Error generating thumbnail"), "HTTP 500: Error generating"),
    "part": ((206, {"content-range": "bytes 0-9/99"}, JPEG), "HTTP 206"),
    "large": (JPEG + bytes(10**6), "more than 1,000,000 bytes"),
    "large by its header": ((200, {"content-length": "1000001"}, JPEG), "more than 1,000,000"),
    "packed": ((200, {"content-encoding": "gzip"}, JPEG), "packed as 'gzip'"),
    "packed twice": ((200, {"content-encoding": "identity, br"}, JPEG), "packed as 'br'"),
}


@pytest.mark.parametrize(("answer", "reason"), NO_PHOTO.values(), ids=[*NO_PHOTO])
def test_what_is_no_photo_is_refused_and_the_old_file_stays(
    answer: Any, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "7.jpg").write_bytes(b"old")
    with client_of(replies(answer)) as (client, _):
        with pytest.raises(RefusedError, match=f"^photo 7: .*{reason}") as error:
            download(client, tmp_path / "7.jpg")
        assert client.counts["media"] == (5 if "500" in reason else 1)
    assert "same command" not in str(error.value)  # others may be fetched
    assert (tmp_path / "7.jpg").read_bytes() == b"old"
    assert names_in(tmp_path) == ["7.jpg"]


@pytest.mark.parametrize("status", [403, 429])
def test_a_refusal_of_all_photos_stops(status: int, tmp_path: Path) -> None:
    with client_of(replies((status, {}, b"Too many"))) as (client, _):
        with pytest.raises(NetworkError) as error:
            download(client, tmp_path / "7.jpg")
        assert not isinstance(error.value, RefusedError)


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    with client_of(replies(JPEG)) as (client, _):
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, kept[1]))
        try:
            with pytest.raises(DataError, match=r"7.jpg: cannot be written.*free some space"):
                download(client, tmp_path / "7.jpg")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, kept)
        assert client.counts["media"] == 1
        assert names_in(tmp_path) == []
        download(client, tmp_path / "7.jpg")  # the connection was given back
        with pytest.raises(DataError, match="is a file, not a folder"):
            download(client, tmp_path / "7.jpg" / "8.jpg")


def test_a_redirect_to_another_media_host_is_followed(tmp_path: Path) -> None:
    def answer(request: httpx2.Request, number: int) -> httpx2.Response:
        if request.url.host == "upload.wikimedia.org":
            return reply(200, {}, JPEG)
        return reply(
            302, {"location": "//upload.wikimedia.org/wikipedia/commons/a/ab/%D0%A1.jpg"}, b""
        )

    with client_of(answer) as (client, net):
        client.download("https://commons.wikimedia.org/wiki/Special:FilePath/С.jpg",
                        tmp_path / "7.jpg", max_bytes=10**6, what="photo 7")  # fmt: skip
    assert str(net.requests[1].url).endswith("/a/ab/%D0%A1.jpg")


def test_many_threads_leave_the_permissions_of_new_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    umask, real = os.umask(0o027), os.umask
    start = threading.Barrier(4)

    def slow(mask: int) -> int:
        before = real(mask)
        time.sleep(0.001)  # another thread comes between
        return before

    def write(number: int) -> None:
        start.wait(5)
        for one in range(5):
            with atomic_file(tmp_path / f"{number}-{one}") as file:
                file.touch()

    monkeypatch.setattr(os, "umask", slow)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))
        assert real(0o027) == 0o027
    finally:
        real(umask)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}


# Ranges


class Breaks(httpx2.SyncByteStream):
    """Some bytes, then the connection is reset."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __iter__(self) -> Iterator[bytes]:
        yield self.data
        raise httpx2.ReadError("Connection reset by peer")


def store(*, after: int | None = None, breaks: int = 0, tags: tuple[str, ...] = ('"a1"',)) -> Any:
    """A store that serves ranges of WHOLE, and breaks off the first answers after so many bytes."""

    def answer(request: httpx2.Request, number: int) -> httpx2.Response:
        tag = tags[min(number, len(tags)) - 1]
        headers, first, last, status = {"etag": tag} if tag else {}, 0, len(WHOLE) - 1, 200
        if (wanted := request.headers.get("range")) and request.headers.get("if-range", tag) == tag:
            start, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last, status = int(start), min(int(end or last), last), 206
            headers["content-range"] = f"bytes {first}-{last}/{len(WHOLE)}"
        body = WHOLE[first : last + 1]
        headers["content-length"] = str(len(body))
        if number <= breaks:
            return httpx2.Response(status, headers=headers, stream=Breaks(body[:after]))
        return reply(status, headers, body)

    return answer


@pytest.mark.parametrize(("start", "end"), [(0, None), (0, 10), (7, 9), (100, None), (50, 10**9)])
def test_a_range_comes_as_asked(start: int, end: int | None) -> None:
    with (
        client_of(store()) as (client, net),
        client.stream(TAR, start=start, end=end, what="images_000.tar") as (head, chunks),
    ):
        assert b"".join(chunks) == WHOLE[start:end]
    assert (head.start, head.end) == (start, min(end or len(WHOLE), len(WHOLE)))
    assert (head.total, head.etag) == (len(WHOLE), '"a1"')
    assert head.status == (206 if start or end else 200)
    assert head.headers["etag"] == '"a1"'
    asked = None if (start, end) == (0, None) else f"bytes={start}-{'' if end is None else end - 1}"
    assert net.requests[0].headers.get("range") == asked


@pytest.mark.parametrize(("start", "end"), [(0, None), (1000, 90_000)])
def test_what_breaks_off_goes_on_where_it_stopped(start: int, end: int | None) -> None:
    with (
        client_of(store(after=30_000, breaks=2)) as (client, net),
        client.stream(TAR, start=start, end=end, what="images_000.tar") as (_, chunks),
    ):
        assert b"".join(chunks) == WHOLE[start:end]
        assert client.counts["bytes"] == len(WHOLE[start:end])
    assert [r.headers.get("if-range") for r in net.requests] == [None, '"a1"', '"a1"']
    assert net.requests[2].headers["range"].startswith(f"bytes={start + 60_000}-")


@pytest.mark.parametrize(
    ("tags", "told"),
    [(('"a1"', '"b2"'), "has changed"), (("",), "breaks off"), (('W/"a1"',), "breaks off")],
)
def test_another_file_is_never_continued(tags: tuple[str, ...], told: str) -> None:
    with (
        client_of(store(after=30_000, breaks=1, tags=tags)) as (client, _),
        client.stream(TAR, what="images_000.tar") as (_, chunks),
        pytest.raises(NetworkError, match=told),
    ):
        b"".join(chunks)


def test_a_file_that_has_changed_since_an_earlier_run_is_noticed() -> None:
    with (
        client_of(store()) as (client, net),
        pytest.raises(RefusedError, match="has changed; fetch it from its beginning"),
        client.stream(TAR, start=10, etag='"older"', what="images_000.tar"),
    ):
        pass
    assert net.requests[0].headers["if-range"] == '"older"'


RANGES = {
    "whole": ((200, {"content-length": "102400"}, WHOLE), "the whole file, not the part"),
    "other start": ((206, {"content-range": "bytes 11-19/99"}, b"x" * 9), "bytes 11-19/99"),
    "longer": ((206, {"content-range": "bytes 10-99/102400"}, b"x" * 90), "bytes 10-99/102400"),
    "shorter": ((206, {"content-range": "bytes 10-15/102400"}, b"x" * 6), "bytes 10-15"),
    "no range": ((206, {}, b"x" * 10), "no Content-Range"),
    "unknown length": ((206, {"content-range": "bytes 10-19/*"}, b"x" * 10), "bytes 10-19/.*"),
    "several": ((206, {"content-type": "multipart/byteranges; boundary=x"}, b"x"), "no Content-R"),
    "false length": ((206, {"content-range": "bytes 10-19/99", "content-length": "11"}, b"x" * 11),
                     "bytes 10-19/99"),
    "packed": ((206, {"content-range": "bytes 10-19/99", "content-encoding": "gzip"}, b"x" * 10),
               "packed"),
    "behind the end": ((416, {}, b""), "HTTP 416"),
    "missing": ((403, {}, b"<Error><Code>AccessDenied</Code>"), "HTTP 403: AccessDenied"),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "told"), RANGES.values(), ids=[*RANGES])
def test_another_range_than_asked_is_told(answer: Any, told: str) -> None:
    with (
        client_of(replies(answer)) as (client, _),
        pytest.raises(RefusedError, match=f"^images_000.tar: .*{told}"),
        client.stream(TAR, start=10, end=20, what="images_000.tar"),
    ):
        pass


def test_more_or_less_than_the_range_is_no_range() -> None:
    for size in (9, 11):
        body = (206, {"content-range": "bytes 10-19/99"}, b"x" * size)
        with (
            client_of(replies(body)) as (client, _),
            client.stream(TAR, start=10, end=20, what="x") as (_, chunks),
            pytest.raises(NetworkError, match=r"breaks off|more than 10 bytes"),
        ):
            b"".join(chunks)


def test_a_file_without_a_length_is_not_fetched() -> None:
    with (
        client_of(replies(WHOLE)) as (client, _),
        pytest.raises(RefusedError, match="does not say how long"),
        client.stream(TAR, what="x"),
    ):
        pass
    with client_of(replies(WHOLE)) as (client, _), pytest.raises(ValueError, match="no bytes"):
        client.stream(TAR, start=5, end=5, what="x").__enter__()
