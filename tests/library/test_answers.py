"""The answers to a library: made once, again when a photo changes, never lost to a kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.photos import photos_of, picture, write_colour_world, write_photo
from whichlandmark.core.errors import BusyError, DataError, ImageError, OptionError
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.library import answers as answers_module
from whichlandmark.library.answers import Counts, LibraryAnswers
from whichlandmark.library.state import held_state, state_folder
from whichlandmark.recognition.folder.load import build
from whichlandmark.recognition.query import PhotoSource, QueryPhoto
from whichlandmark.recognition.recognizer import Recognizer

NUMBERS = ("confidence", "score", "candidates", "matches", "landmarks")  # differ in rounding

OLD = 1_500_000_000  # seconds: long before now


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    world = write_colour_world(tmp_path_factory.mktemp("world"))
    distractors = photos_of(world / "bank", landmarks=False)
    return build(HistogramEmbedder(), photos_of(world / "gallery"), distractors=distractors)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Six photos in two folders, one of them damaged, and a text."""
    top = tmp_path / "library"
    for number, name in enumerate(["a/1.jpg", "a/2.jpg", "b/3.jpg", "b/ü 4.jpg", "5.jpg"]):
        aged(write_photo(top / name, picture(number, 70)))
    (top / "b" / "broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(500))
    aged(top / "b" / "broken.jpg")
    (top / "notes.txt").write_text("x")
    return top


@pytest.fixture
def opened(library: Path, tmp_path: Path, recognizer: Recognizer) -> Iterator[LibraryAnswers]:
    with LibraryAnswers(library, recognizer, state=tmp_path / "state") as answers:
        yield answers


def aged(path: Path, seconds: int = OLD) -> Path:
    os.utime(path, (seconds, seconds))
    return path


def test_every_photo_is_answered_as_recognize_answers_it(
    opened: LibraryAnswers, library: Path, recognizer: Recognizer
) -> None:
    calls: list[tuple[int, int]] = []
    assert opened.update(lambda *numbers: calls.append(numbers)) == Counts(6, 6, 0, 1, 1)
    assert calls[-1] == (6, 6)
    assert opened.left_out == {str(library / "notes.txt"): "text"}
    rows = list(opened)
    names = ["5.jpg", "a/1.jpg", "a/2.jpg", "b/3.jpg", "b/broken.jpg", "b/ü 4.jpg"]
    assert [row.photo for row in rows] == names
    for row in rows:
        assert row.file == str(library / row.photo)
        if row.photo == "b/broken.jpg":
            assert "broken.jpg" in str(row.error)
            assert row.vector.shape == (0,)
            continue
        expected = recognizer.to_dict(recognizer(library / row.photo))
        assert row.error is None
        assert {**row.answer, **dict.fromkeys(NUMBERS)} == {
            **expected, **dict.fromkeys(NUMBERS), "photo": row.photo
        }  # fmt: skip
        assert row.answer["confidence"] == pytest.approx(expected["confidence"], abs=1e-6)
        assert row.answer["score"] == pytest.approx(expected["score"], abs=1e-5)
        assert row.vector.dtype == np.float16
        assert np.linalg.norm(row.vector.astype(np.float32)) == pytest.approx(1, abs=1e-3)


def test_only_new_and_changed_photos_are_answered_again(
    opened: LibraryAnswers, library: Path
) -> None:
    opened.update()
    assert opened.update() == Counts(6, 0, 0, 1, 1)
    before = {row.photo: row.answer for row in opened}
    aged(write_photo(library / "a" / "1.jpg", picture(3, 71)), OLD + 5)
    aged(write_photo(library / "new" / "6.jpg", picture(1, 71)))
    (library / "a" / "2.jpg").unlink()
    assert opened.update() == Counts(6, 2, 0, 1, 1)
    after = {row.photo: row.answer for row in opened}
    assert sorted({*before} - {*after}) == ["a/2.jpg"]
    assert after["new/6.jpg"]["landmark"] == "place 1"
    assert {photo for photo in before if after.get(photo) != before[photo]} == {
        "a/1.jpg",
        "a/2.jpg",
    }


def test_a_photo_that_was_just_written_is_answered_once_more(
    opened: LibraryAnswers, library: Path
) -> None:
    path = library / "copying.jpg"
    write_photo(path, picture(1, 71))
    os.utime(path, ns=(now := time.time_ns(), now))
    assert opened.update().answered == 7
    # The same size and time, as of a copy whose last part came within one tick of the clock.
    other = picture(2, 71)
    write_photo(path, other)
    os.utime(path, ns=(now, now))
    assert opened.update().answered == 1
    aged(path)
    assert opened.update().answered == 1
    assert opened.update().answered == 0


def test_a_moved_photo_keeps_its_answer(opened: LibraryAnswers, library: Path) -> None:
    opened.update()
    before = {row.photo: row.answer["confidence"] for row in opened if row.error is None}
    (library / "a").rename(library / "trip")
    assert opened.update() == Counts(6, 0, 2, 1, 1)
    after = {row.photo: row.answer["confidence"] for row in opened if row.error is None}
    assert after == {name.replace("a/", "trip/"): value for name, value in before.items()}


def test_another_photo_of_the_same_size_and_time_is_not_a_moved_one(
    opened: LibraryAnswers, library: Path
) -> None:
    opened.update()
    old = library / "a" / "1.jpg"
    size = old.stat().st_size
    old.unlink()
    data = write_photo(library / "other.jpg", picture(9, 9)).read_bytes()
    (library / "other.jpg").write_bytes((data + bytes(size))[:size])
    aged(library / "other.jpg")
    assert opened.update().moved == 0


def test_a_disk_that_is_not_mounted_loses_no_answer(
    opened: LibraryAnswers, library: Path, tmp_path: Path
) -> None:
    opened.update()
    library.rename(tmp_path / "away")
    library.mkdir()
    assert opened.update() == Counts(0, 0, 0, 0, 0)
    assert not list(opened)
    library.rmdir()
    (tmp_path / "away").rename(library)
    assert opened.update() == Counts(6, 0, 0, 1, 1)


def test_a_photo_that_failed_is_tried_again_by_the_next_process_only(
    opened: LibraryAnswers, library: Path, recognizer: Recognizer
) -> None:
    opened.update()
    assert opened.update().answered == 0
    opened.close()
    with LibraryAnswers(library, recognizer, state=opened.state) as again:
        assert again.update().answered == 1
        assert again.update().answered == 0
        shutil.copy2(library / "5.jpg", library / "b" / "broken.jpg")
        assert again.update() == Counts(6, 1, 0, 0, 1)


def test_ctrl_c_keeps_what_is_done(
    opened: LibraryAnswers, monkeypatch: pytest.MonkeyPatch, recognizer: Recognizer
) -> None:
    real = Recognizer.answer_rows

    def interrupted(self: Recognizer, *args: object, **options: object):  # type: ignore[no-untyped-def]
        for number, one in enumerate(real(self, *args, **options)):  # type: ignore[arg-type]
            if number == 4:
                raise KeyboardInterrupt
            yield one

    with monkeypatch.context() as patch:
        patch.setattr(Recognizer, "answer_rows", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened.update()
    assert opened.update().answered == 2


def test_one_process_has_a_library_at_a_time(
    opened: LibraryAnswers, library: Path, recognizer: Recognizer
) -> None:
    with pytest.raises(BusyError, match="another process works on this library"):
        LibraryAnswers(library, recognizer, state=opened.state)
    with pytest.raises(BusyError), held_state(opened.state):
        pass
    opened.close()
    LibraryAnswers(library, recognizer, state=opened.state).close()


def test_the_state_is_private_and_holds_no_pixels(opened: LibraryAnswers) -> None:
    opened.update()
    assert opened.state.stat().st_mode & 0o777 == 0o700
    for file in opened.state.iterdir():
        if file.name != "lock":
            assert file.stat().st_mode & 0o077 == 0, file


def test_a_damaged_file_is_named_with_what_to_do(
    opened: LibraryAnswers, library: Path, recognizer: Recognizer
) -> None:
    opened.update()
    opened.close()
    path = opened.state / "answers.sqlite"
    path.write_bytes(b"SQLite format 3\0" + b"junk" * 2000)
    with pytest.raises(DataError, match=r"answers\.sqlite: damaged.*delete it.*nothing is lost"):
        LibraryAnswers(library, recognizer, state=opened.state)
    path.unlink()
    with LibraryAnswers(library, recognizer, state=opened.state) as again:
        assert again.update().answered == 6


@pytest.mark.parametrize("text", ["{}", "[1]", "nonsense", '{"decision": "landmark"}'])
def test_a_damaged_answer_is_named(opened: LibraryAnswers, text: str) -> None:
    opened.update()
    opened._file.sql.execute("UPDATE photos SET answer = ? WHERE path = ?", (text, b"5.jpg"))
    with pytest.raises(DataError, match=r"answer to 5\.jpg.*delete it"):
        list(opened)


def test_a_full_disk_is_told_and_the_rest_stays(
    opened: LibraryAnswers, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.update()
    monkeypatch.setattr(answers_module, "PHOTOS_AT_ONCE", 1)
    for number in range(16):
        aged(write_photo(library / "more" / f"{number}.jpg", picture(number % 4, 80 + number)))
    pages = opened._file.sql.execute("PRAGMA page_count").fetchone()[0]
    opened._file.sql.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(DataError, match=r"the disk is full.*goes on where it stopped"):
        opened.update()
    opened._file.sql.execute("PRAGMA max_page_count = 100000")
    assert 0 < opened.update().answered < 16


def test_what_cannot_be_written_is_told_before_the_work(
    library: Path, recognizer: Recognizer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="cannot be written"):
        LibraryAnswers(library, recognizer, state=tmp_path / "file" / "state")
    with (
        LibraryAnswers(tmp_path / "gone", recognizer, state=tmp_path / "s") as answers,
        pytest.raises(DataError, match="no such folder"),
    ):
        answers.update()


def test_names_that_are_no_text_are_told_apart(opened: LibraryAnswers, library: Path) -> None:
    raw = os.fsencode(library)
    for name in (b"caf\xe9.jpg", b"caf%E9.jpg"):
        shutil.copyfile(library / "5.jpg", os.path.join(raw, name))
    assert opened.update().photos == 8
    rows = {row.photo: row.file for row in opened}
    assert rows["caf%E9.jpg"] == str(library / "caf%E9.jpg")
    assert rows["caf%E9.jpg~"].startswith("file://")
    assert rows["caf%E9.jpg~"].endswith("caf%E9.jpg")


def test_the_state_folder_is_named_after_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    photos = tmp_path / "My Photos ü"
    photos.mkdir()
    found = state_folder(photos)
    assert found.parent == tmp_path / "state" / "whichlandmark"
    assert found.name.startswith("My_Photos_ü-")
    (tmp_path / "link").symlink_to(photos)
    assert state_folder(tmp_path / "link") == found
    assert state_folder(tmp_path) != found
    assert state_folder("/").name.startswith("library-")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    base = tmp_path / "home" / ".local" / "state" / "whichlandmark"
    assert state_folder(photos) == base / found.name
    assert state_folder(photos, tmp_path / "given") == tmp_path / "given"
    for inside in (photos, photos / "state", tmp_path / "link" / "state"):
        with pytest.raises(OptionError, match="lies in the library"):
            state_folder(photos, inside)
    with held_state(found):
        assert found.stat().st_mode & 0o777 == 0o700
        assert found.parent.stat().st_mode & 0o777 == 0o700


def test_another_recognizer_answers_from_the_vectors(
    library: Path, tmp_path: Path, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = replace(recognizer.rules, answer_above=0.999, sure_below=0.4, sure_above=0.401)
    strict = recognizer.with_rules(rules)  # no photo is compared by local features
    state = tmp_path / "state"
    with LibraryAnswers(library, recognizer, state=state) as answers:
        answers.update()
        before = {row.photo: row for row in answers}
    read: list[str] = []
    real = Recognizer.read

    def counted(self: Recognizer, photo: PhotoSource) -> QueryPhoto:
        read.append(str(photo))
        return real(self, photo)

    monkeypatch.setattr(Recognizer, "read", counted)
    monkeypatch.setattr(Recognizer, "answer_rows", lambda *args, **options: iter(()))
    with LibraryAnswers(library, strict, state=state) as answers:
        calls: list[tuple[int, int]] = []
        (library / "b" / "broken.jpg").unlink()  # it has no vector
        assert answers.update(lambda *numbers: calls.append(numbers)) == Counts(5, 5, 0, 0, 1)
        assert (calls[-1], read) == ((5, 5), [])
        for row in answers:
            told = strict.to_dict(strict(library / row.photo))
            assert row.answer["decision"] == told["decision"]
            assert row.answer["words"] == told["words"]
            assert row.answer["confidence"] == pytest.approx(told["confidence"], abs=2e-3)
            assert row.vector.tobytes() == before[row.photo].vector.tobytes()
        assert any(row.answer["decision"] == "landmark" for row in before.values())
        assert answers.update().answered == 0
    with LibraryAnswers(library, recognizer, state=state) as answers:  # and back
        assert answers.update().answered == 5


def test_a_photo_that_cannot_be_decoded_again_is_read_anew(
    library: Path, tmp_path: Path, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = recognizer.with_rules(replace(recognizer.rules, sure_above=1.0, sure_below=0.0))
    state = tmp_path / "state"
    with LibraryAnswers(library, recognizer, state=state) as answers:
        answers.update()

    def unreadable(self: Recognizer, photo: PhotoSource) -> QueryPhoto:
        raise ImageError("damaged")

    monkeypatch.setattr(Recognizer, "read", unreadable)
    with LibraryAnswers(library, other, state=state) as answers:
        assert answers.update().answered == 6
        expected = dict(zip([row.photo for row in answers], other([row.file for row in answers]),
                            strict=True))  # fmt: skip
        for row in answers:
            assert row.answer.get("decision", "failed") == expected[row.photo].decision
        assert answers.update().answered == 0


def test_a_kill_loses_only_the_last_photos(
    library: Path, tmp_path: Path, recognizer: Recognizer
) -> None:
    recognizer.save(tmp_path / "r.wl")
    program = f"""
        import os, signal
        from whichlandmark.features.embedders.histogram import HistogramEmbedder
        from whichlandmark.library import answers
        from whichlandmark.recognition.folder.load import load
        from whichlandmark.recognition.recognizer import Recognizer

        answers.PHOTOS_AT_ONCE = 2
        real = Recognizer.answer_rows

        def killed(self, *args, **options):
            for number, one in enumerate(real(self, *args, **options)):
                if number == 5:
                    os.kill(os.getpid(), signal.SIGKILL)
                yield one

        Recognizer.answer_rows = killed
        recognizer = load({str(tmp_path / "r.wl")!r}, embedder=HistogramEmbedder())
        state = {str(tmp_path / "s")!r}
        with answers.LibraryAnswers({str(library)!r}, recognizer, state=state) as opened:
            opened.update()
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr.decode()
    with LibraryAnswers(library, recognizer, state=tmp_path / "s") as answers:
        assert answers.update().answered == 2
        assert len(list(answers)) == 6
