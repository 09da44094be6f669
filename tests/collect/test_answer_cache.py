"""The cache of what was fetched: what it keeps, whom it refuses, and what survives a kill."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from whichlandmark.collect.answer_cache import AnswerCache, FetchedPhoto
from whichlandmark.core.errors import BusyError, DataError
from whichlandmark.gallery.sqlite import own_file

URL = "https://commons.wikimedia.org/w/api.php"


def test_answers_and_photos_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "commons.sqlite"
    photo = FetchedPhoto(
        7, "https://x/ü.jpg", "photos/Q1/7.jpg", "aa", "bb", 9, "done", "'; DROP--"
    )
    with closing(AnswerCache(path)) as cache:
        cache.keep_answer(URL, {"b": "2", "a": "1"}, b"one" * 10_000)
        cache.keep_answer(URL, {"a": "1", "b": "2"}, b"two" * 10_000)
        cache.record_photo(FetchedPhoto(7, "u", "p", "s", state="failed", why="gone"))
        cache.record_photo(photo)
    with closing(AnswerCache(path)) as cache:
        assert cache.answer(URL, {"a": "1", "b": "2"}) == b"two" * 10_000
        assert cache.answer(URL, {"a": "12", "b": ""}) is None
        assert cache.answer(URL + "?a=1&b=2", {}) is None
        assert (cache.photo(7), cache.photo(8)) == (photo, None)
    assert path.stat().st_size < 100_000
    assert [one.name for one in path.parent.iterdir()] == ["commons.sqlite"]


def test_a_cache_without_a_file_forgets() -> None:
    with closing(AnswerCache()) as cache:
        cache.keep_answer(URL, {}, b"x")
        assert cache.answer(URL, {}) == b"x"


def test_a_second_user_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_file, "BUSY_SECONDS", 0.1)
    path = tmp_path / "commons.sqlite"
    with closing(AnswerCache(path)), pytest.raises(BusyError, match="another process"):
        AnswerCache(path)
    AnswerCache(path).close()
    program = f"""
        from whichlandmark.collect import answer_cache
        from whichlandmark.gallery.sqlite import own_file
        own_file.BUSY_SECONDS = 0.1
        answer_cache.AnswerCache(answer_cache.Path({str(path)!r}))
    """
    with closing(AnswerCache(path)):
        ran = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True,
                             text=True)  # fmt: skip
    assert "BusyError" in ran.stderr


def test_other_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "commons.sqlite"

    def refused(match: str) -> None:
        before = path.read_bytes()
        with pytest.raises(DataError, match=match):
            AnswerCache(path)
        assert path.read_bytes() == before

    path.write_bytes(b"id,path,landmark\n" * 100)
    refused(r"commons.sqlite: damaged, or no file of this program .*move it away")
    path.unlink()
    with closing(sqlite3.connect(path)) as sql:
        sql.execute("CREATE TABLE mine (x)")
    refused("an SQLite file of another program; choose another folder")
    path.unlink()
    AnswerCache(path).close()
    with closing(sqlite3.connect(path)) as sql:
        sql.execute("PRAGMA journal_mode = DELETE")
        sql.execute("PRAGMA user_version = 9")
    refused("written by a newer version of this program .format 9; this one reads format 1.")
    with closing(sqlite3.connect(path)) as sql:
        sql.execute("PRAGMA user_version = 1")
        sql.execute("DROP TABLE media")
    refused("damaged, .*its tables are not those of a cache")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="a named pipe"):
        AnswerCache(path)
    with pytest.raises(DataError, match="a folder; expected the name of a file"):
        AnswerCache(tmp_path)
    with pytest.raises(DataError, match="is a file, not a folder"):
        AnswerCache(Path(__file__) / "commons.sqlite")


def test_an_empty_file_becomes_a_cache(tmp_path: Path) -> None:
    (tmp_path / "c").touch()
    with closing(AnswerCache(tmp_path / "c")) as cache:
        cache.keep_answer(URL, {}, b"{}")
    with closing(AnswerCache(tmp_path / "c")) as cache:
        assert cache.answer(URL, {}) == b"{}"


def test_damaged_pages_are_told_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "commons.sqlite"
    with closing(AnswerCache(path)) as cache:
        for number in range(400):
            cache.keep_answer(URL, {"n": str(number)}, os.urandom(900))
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xa5" * (len(data) - 8192)
    path.write_bytes(data)

    def read_all() -> None:
        with closing(AnswerCache(path)) as cache:
            for number in range(400):
                cache.answer(URL, {"n": str(number)})

    with pytest.raises(DataError, match=r"damaged.*move it away, then give the same command again"):
        read_all()


def test_a_damaged_answer_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "commons.sqlite"
    with closing(AnswerCache(path)) as cache:
        cache.keep_answer(URL, {}, b"x" * 1000)
        for broken in (b"", b"junk", "text", cache._file.sql.execute(
                "SELECT answer FROM answers").fetchone()[0][:-3]):  # fmt: skip
            cache._file.sql.execute("UPDATE answers SET answer = ?", (broken,))
            assert cache.answer(URL, {}) is None
        assert caplog.text.count("a damaged answer is asked for again") == 4


def test_a_full_disk_is_told_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "commons.sqlite"
    with closing(AnswerCache(path)) as cache:
        cache.keep_answer(URL, {}, b"kept")
        cache._file.sql.execute("PRAGMA max_page_count = 10")
        with pytest.raises(
            DataError, match="the disk is full; free some space, then give the same"
        ):
            cache.keep_answer(URL, {"big": "1"}, os.urandom(100_000))
        cache._file.sql.execute("PRAGMA max_page_count = 1000")
        cache.keep_answer(URL, {"big": "1"}, b"later")
    with closing(AnswerCache(path)) as cache:
        assert (cache.answer(URL, {}), cache.answer(URL, {"big": "1"})) == (b"kept", b"later")


def test_what_was_written_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "commons.sqlite"
    program = f"""
        import os
        from pathlib import Path
        from whichlandmark.collect.answer_cache import AnswerCache, FetchedPhoto
        cache = AnswerCache(Path({str(path)!r}))
        first = int(os.environ["FIRST"])
        for number in range(first, first + 10**6):
            cache.keep_answer({URL!r}, {{"n": str(number)}}, str(number).encode() * 99)
            cache.record_photo(FetchedPhoto(number, "u", "p", "s"))
            print(number, flush=True)
    """
    written: list[int] = []
    for lines in (1, 40, 77):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "FIRST": str(len(written) and written[-1] + 1)},
        )  # fmt: skip
        assert process.stdout
        told = [int(process.stdout.readline()) for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        told += [int(line) for line in process.stdout.read().split("\n")[:-1]]
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        written += told
        with closing(AnswerCache(path)) as cache:  # the lock has gone with the process
            for number in written:
                assert cache.answer(URL, {"n": str(number)}) == str(number).encode() * 99
                assert cache.photo(number) is not None
