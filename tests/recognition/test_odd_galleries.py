"""Galleries as people treat them: same names, moved and copied photos, hand edits, killed runs."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from tests.cli.test_commands import json_of, run
from tests.support.photos import photos_of, picture, write_photo
from tests.support.served_world import front
from whichlandmark.core.disks import file_lock
from whichlandmark.core.errors import DataError, GalleryError, OptionError
from whichlandmark.core.images import content_hash
from whichlandmark.core.types import Photos
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.base import Gallery
from whichlandmark.gallery.index.projection import Projection
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.answer import GalleryFacts, answer_object
from whichlandmark.recognition.folder import edit, fill, load, maintain, update
from whichlandmark.recognition.folder.edit import ExistsError, add_photos, relabel_photos
from whichlandmark.recognition.folder.settings import (
    LOCK_FILE,
    read_settings,
    read_state,
    write_settings,
)
from whichlandmark.recognition.folder.update import GalleryUpdate, UpdateOptions
from whichlandmark.recognition.folder.update import fill_gallery as update_gallery
from whichlandmark.recognition.indexing.index_photos import IndexOptions, index_photos
from whichlandmark.recognition.rules import Rules


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, where every embedder is the colour histogram."""
    for home in (fill, edit, load, maintain):
        monkeypatch.setattr(home, "load_embedder", lambda *_, **__: HistogramEmbedder())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def world(
    folder: Path, landmarks: int = 3, photos: int = 4, *, first: int = 0, hue: int = 0
) -> Path:
    for code in range(landmarks):
        for i in range(photos):
            name = folder / f"place {code}" / f"IMG_{i}.jpg"
            write_photo(name, picture(hue + code, first + i))
    return folder


def bank(folder: Path, count: int = 10) -> Path:
    for i in range(count):
        write_photo(folder / f"{i}.jpg", picture(100 + i, i))
    return folder


def index(capfd: Any, source: object, *options: object, code: int = 0, out: str = "R") -> Any:
    return json_of(
        capfd, "index", source, "-o", out, "--embedder", "histogram", *options, code=code
    )


def landmarks(capfd: Any) -> dict[str, int]:
    listed = json_of(capfd, "gallery", "list", "R")["landmarks"]
    return {one["landmark"]: one["photos"] for one in listed}


@pytest.mark.parametrize("verb", ["add", "index"])
def test_photos_of_two_folders_never_replace_one_another(
    root: Path, capfd: pytest.CaptureFixture[str], verb: str
) -> None:
    index(capfd, world(root / "2019/holiday"))
    other = world(root / "2020/holiday", first=100)

    def again() -> Any:
        return (
            json_of(capfd, "gallery", "add", "R", other) if verb == "add" else index(capfd, other)
        )

    done = again()
    assert (done["added"], done["new ids"]) == (12, 12)
    assert (
        "longer id of 12 (holiday/place 0/IMG_0.jpg → 2020/holiday/place 0" in done["warnings"][0]
    )
    assert landmarks(capfd) == {f"place {code}": 8 for code in range(3)}
    assert again()["added"] == 0
    photos = json_of(capfd, "gallery", "list", "R", "--landmark", "place 0")["photos"]
    assert len({one["path"] for one in photos}) == 8


def test_ids_get_longer_until_they_are_free() -> None:
    taken = {"holiday/a.jpg", "2020/holiday/a.jpg"}
    path = "/photos/2020/holiday/a.jpg"
    assert fill.free_id("holiday/a.jpg", path, taken) == "photos/2020/holiday/a.jpg"
    taken |= {"photos/2020/holiday/a.jpg"}
    last = fill.free_id("holiday/a.jpg", path, taken)
    assert last.startswith("holiday/a.jpg~")
    assert last == fill.free_id("holiday/a.jpg", path, taken)
    assert fill.free_id("7", "s3://b/x/7.jpg", {"7"}) == "7.jpg"


def test_a_changed_file_at_the_same_path_is_an_update_that_keeps_what_was_given(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index(capfd, world(root / "photos"))
    name = "photos/place 0/IMG_1.jpg"
    (root / "credits.csv").write_text(f"id,author\n{name},Ann\n")
    json_of(capfd, "gallery", "add", "R", "--credits", "credits.csv")
    json_of(capfd, "gallery", "relabel", "R", name, "--to", "place 1")
    write_photo(root / name, picture(0, 77))
    done = json_of(capfd, "gallery", "add", "R", "photos")
    assert (done["added"], done["replaced"]) == (0, 1)
    assert f"replaced 1 ({name}): the file has changed" in done["warnings"]
    photos = json_of(capfd, "gallery", "list", "R", "--landmark", "place 1")["photos"]
    assert {one["id"]: one["author"] for one in photos}[name] == "Ann"


def test_a_touched_file_is_not_said_to_be_replaced(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index(capfd, world(root / "photos"))
    os.utime(root / "photos/place 0/IMG_1.jpg", (1, 1))
    done = index(capfd, "photos")
    assert "replaced" not in done
    assert done["added"] == 0


def test_a_moved_folder_is_known_by_its_bytes(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index(capfd, world(root / "photos"))
    (root / "photos").rename(root / "archive")
    monkeypatch.setattr(HistogramEmbedder, "__call__", None)  # nothing is embedded again
    done = json_of(capfd, "gallery", "add", "R", "archive")
    assert (done["added"], done["new paths"], done["photos"]) == (0, 12, 12)
    photos = json_of(capfd, "gallery", "list", "R", "--landmark", "place 0")["photos"]
    assert [Path(one["path"]).is_file() for one in photos] == [True] * 4
    assert "new paths" not in json_of(capfd, "gallery", "add", "R", "archive")
    assert run(capfd, "gallery", "verify", "R")[0] in (0, 5)  # no photo file is gone
    assert "is gone" not in run(capfd, "gallery", "verify", "R")[2]


def test_a_copy_of_photos_is_already_there(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    index(capfd, world(root / "photos"))
    shutil.copytree(root / "photos", root / "backup")
    for _ in range(2):
        done = json_of(capfd, "gallery", "add", "R", "backup")
        assert (done["added"], done["already there"], done["photos"]) == (0, 12, 12)
    assert "already there 12 (backup/place 0/IMG_0.jpg = photos/" in done["warnings"][0]


def test_the_same_photo_twice_in_one_table(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world(root / "photos")
    shutil.copy("photos/place 0/IMG_0.jpg", "photos/place 0/copy.jpg")
    assert index(capfd, "photos")["already there"] == 1
    shutil.copy("photos/place 0/IMG_0.jpg", "photos/place 1/copy.jpg")
    for _ in range(2):
        done = index(capfd, "photos", code=3)
        assert (done["photos"], done["other landmark"]) == (12, 1)
    done = index(capfd, "photos", "--relabel", code=3)  # it cannot be of two landmarks
    assert landmarks(capfd) == {f"place {code}": 4 for code in range(3)}


def test_two_rows_of_one_file_are_one_photo(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world(root / "photos", 2, 3)
    rows = "".join(f"{i},photos/place 0/IMG_{i % 3}.jpg,A\n" for i in range(4))
    Path("t.csv").write_text("id,path,landmark\n" + rows + "9,photos/place 1/IMG_0.jpg,B\n")
    done = index(capfd, "t.csv")
    assert (done["photos"], done["already there"]) == (4, 1)
    assert index(capfd, "t.csv")["already there"] == 5


def test_the_same_bytes_under_another_landmark_are_reported_and_moved_when_told(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index(capfd, world(root / "photos"))
    (root / "x/place 9").mkdir(parents=True)
    shutil.copy("photos/place 0/IMG_1.jpg", "x/place 9/a.jpg")
    ended, _, err = run(capfd, "gallery", "add", "R", "x")
    assert ended == 3
    assert "photos/place 0/IMG_1.jpg under landmark 'place 0', not 'place 9'" in err
    assert landmarks(capfd)["place 0"] == 4
    done = json_of(capfd, "gallery", "add", "R", "x", "--relabel")
    assert done["moved"] == 1
    assert landmarks(capfd) == {"place 0": 3, "place 1": 4, "place 2": 4, "place 9": 1}


@pytest.mark.parametrize(
    ("option", "count"),
    [
        (["--landmark", "Mine"], "other landmark"),
        (["--distractors"], "distractors left out"),
    ],
)
def test_known_photos_are_not_moved_by_adding_them_again(
    root: Path, capfd: pytest.CaptureFixture[str], option: list[str], count: str
) -> None:
    index(capfd, world(root / "photos"))
    before = landmarks(capfd)
    done = json_of(capfd, "gallery", "add", "R", "photos", *option, code=3)
    assert (done["added"], done[count]) == (0, 12)
    assert landmarks(capfd) == before


@pytest.mark.parametrize("verb", ["add", "index"])
def test_landmarks_changed_by_hand_are_kept_and_counted(
    root: Path, capfd: pytest.CaptureFixture[str], verb: str
) -> None:
    index(capfd, world(root / "photos"))

    def again(*options: str) -> Any:
        if verb == "add":
            return json_of(capfd, "gallery", "add", "R", "photos", *options)
        return index(capfd, "photos", *options)

    json_of(capfd, "gallery", "relabel", "R", "photos/place 0/IMG_1.jpg", "--to", "place 1")
    json_of(capfd, "gallery", "relabel", "R", "--landmark", "place 2", "--to", "Tower")
    for _ in range(2):
        done = again()
        assert done["kept by hand"] == 5
        assert "kept 5 landmarks changed by hand" in done["warnings"][0]
        assert landmarks(capfd) == {"Tower": 4, "place 0": 3, "place 1": 5}
    write_photo(root / "photos/place 2/new.jpg", picture(2, 50))
    done = again()
    assert "1 new photos of 'place 2' are under its new name, given by hand" in done["warnings"]
    assert landmarks(capfd) == {"Tower": 5, "place 0": 3, "place 1": 5}
    again("--relabel")
    assert landmarks(capfd) == {"place 0": 4, "place 1": 4, "place 2": 5}
    assert "kept by hand" not in again()


def test_a_landmark_changed_in_the_table_is_followed_and_said(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    world(root / "photos", 2, 3)
    rows = [f"{c}{i},photos/place {c}/IMG_{i}.jpg,place {c}\n" for c in range(2) for i in range(3)]
    Path("t.csv").write_text("id,path,landmark\n" + "".join(rows))
    index(capfd, "t.csv")
    Path("t.csv").write_text("id,path,landmark\n" + "".join(rows).replace("place 1\n", "Tower\n"))
    done = index(capfd, "t.csv")
    assert done["moved"] == 3
    assert landmarks(capfd) == {"Tower": 3, "place 0": 3}


def test_photos_removed_by_hand_stay_away_until_they_are_restored(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index(capfd, world(root / "photos"))
    name = "photos/place 0/IMG_1.jpg"
    assert "unless with --restore" in run(capfd, "gallery", "remove", "R", name)[2]
    assert name not in (root / "R/state.json").read_text()  # a removed photo leaves no name
    done = index(capfd, "photos")
    assert (done["photos"], done["removed by hand"]) == (11, 1)
    assert f"left out 1 ({name}): removed by hand" in done["warnings"][0]
    shutil.copytree("photos", "elsewhere")  # by its bytes, too
    assert json_of(capfd, "gallery", "add", "R", "elsewhere")["removed by hand"] == 1
    assert json_of(capfd, "gallery", "add", "R", "photos", "--restore")["added"] == 1
    done = index(capfd, "photos")
    assert (done["photos"], "removed by hand" in done) == (12, False)


def test_a_new_gallery_in_an_old_folder_knows_nothing_of_the_old_one(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index(capfd, world(root / "photos"))
    json_of(capfd, "gallery", "remove", "R", "photos/place 0/IMG_1.jpg")
    (root / "R/gallery.sqlite").unlink()
    assert index(capfd, "photos")["photos"] == 12


def test_a_landmark_is_merged_only_when_told(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    index(capfd, world(root / "photos"))
    words = ["gallery", "relabel", "R", "--landmark", "place 0", "--to", "place 1"]
    ended, _, err = run(capfd, *words)
    assert ended == 2
    assert "there is a landmark 'place 1' already, with 4 photos; --merge puts" in err
    with pytest.raises(ExistsError, match="place 1"):
        relabel_photos(Path("R"), [], "place 0", "place 1")
    assert json_of(capfd, *words, "--merge")["relabelled"] == 4
    assert landmarks(capfd) == {"place 1": 8, "place 2": 4}


def test_removing_what_is_not_there_or_the_last_photo_is_said(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index(capfd, world(root / "photos", 1, 3))
    names = [f"photos/place 0/IMG_{i}.jpg" for i in range(3)]
    ended, _, err = run(capfd, "gallery", "remove", "R", *names, "nobody")
    assert ended == 4
    assert "no photo of id 'nobody'" in err
    assert "nothing was changed" in err
    assert json_of(capfd, "gallery", "remove", "R", names[0], names[0])["removed"] == 1
    assert run(capfd, "gallery", "remove", "R", names[0])[0] == 4
    ended, _, err = run(capfd, "gallery", "remove", "R", "--landmark", "place 0")
    assert ended == 0
    assert "the gallery is empty now" in err
    assert "no photo of a landmark" in run(capfd, "recognize", names[0], "-r", "R")[2]
    ended, _, err = run(capfd, "index", "photos", "-o", "R", "--embedder", "histogram")
    assert ended == 4
    assert "3 were removed by hand (--restore adds them again)" in err


def interrupted(monkeypatch: pytest.MonkeyPatch, photos: int) -> Any:
    """A `put` that stores some photos and is then killed."""
    put = SqliteGallery.put

    def stop(self: SqliteGallery, rows: Any) -> None:
        put(self, rows[:photos])
        raise KeyboardInterrupt

    monkeypatch.setattr(SqliteGallery, "put", stop)
    return lambda: monkeypatch.setattr(SqliteGallery, "put", put)


def test_a_killed_index_is_known_as_unfinished(
    root: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world(root / "photos")
    go_on = interrupted(monkeypatch, 5)
    assert run(capfd, "index", "photos", "-o", "R", "--embedder", "histogram")[0] == 130
    go_on()
    listed = json_of(capfd, "gallery", "list", "R")
    assert listed["unfinished"] == {"photos": 5, "of": 12}
    words = "the gallery is unfinished: 5 of 12 photos are in it, because `index` was interrupted"
    photo = "photos/place 0/IMG_0.jpg"
    assert words in run(capfd, "gallery", "list", "R")[2]
    answer = json_of(capfd, "recognize", photo, "-r", "R")
    assert words in caplog.text  # which the command prints on stderr
    assert words in answer["warnings"][0]
    assert answer["unfinished"] == {"photos": 5, "of": 12}
    scores = json_of(capfd, "evaluate", "photos", "-r", "R", code=3)
    assert scores["unfinished"] == {"photos": 5, "of": 12}
    assert load.load("R").unfinished == {"photos": 5, "of": 12}
    index(capfd, world(root / "others", hue=20))  # another run does not end it
    assert json_of(capfd, "gallery", "list", "R")["unfinished"] is not None
    index(capfd, "photos")
    assert json_of(capfd, "gallery", "list", "R")["unfinished"] is None
    assert load.load("R").warnings == ()


def test_a_killed_add_is_known_and_the_same_command_ends_it(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    index(capfd, world(root / "photos"))
    world(root / "more", hue=20)
    go_on = interrupted(monkeypatch, 2)
    assert run(capfd, "gallery", "add", "R", "more")[0] == 130
    go_on()
    assert (
        "14 of 24 photos are in it, because `gallery add`" in run(capfd, "gallery", "list", "R")[2]
    )
    write_photo(root / "more/place 0/late.jpg", picture(20, 9))  # the folder grew meanwhile
    json_of(capfd, "gallery", "add", "R", "more")
    assert json_of(capfd, "gallery", "list", "R")["unfinished"] is None


def test_a_damaged_state_file_is_said_and_not_overwritten(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index(capfd, world(root / "photos"))
    (root / "R/state.json").write_text("{")
    assert "state.json: damaged" in run(capfd, "gallery", "list", "R")[2]
    ended, _, err = run(capfd, "index", "photos", "-o", "R")
    assert ended == 5
    assert "state.json: damaged" in err
    with pytest.raises(GalleryError, match="damaged"):
        relabel_photos(Path("R"), ["photos/place 0/IMG_1.jpg"], None, "x")


def test_photos_that_failed_are_listed_until_they_are_read(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    world(root / "photos")
    (root / "photos/place 0/bad.jpg").write_text("no photo")
    index(capfd, "photos", code=3)
    listed = json_of(capfd, "gallery", "list", "R")
    assert list(listed["failed"]) == ["photos/place 0/bad.jpg"]
    assert "1 photos could not be read" in run(capfd, "gallery", "list", "R")[2]
    write_photo(root / "photos/place 0/bad.jpg", picture(0, 60))
    index(capfd, "photos")
    assert json_of(capfd, "gallery", "list", "R")["failed"] == {}


@pytest.mark.parametrize("out", ["photos", "home", "photos/place 0", "file"])
def test_a_recognizer_is_not_written_among_other_things(
    root: Path, capfd: pytest.CaptureFixture[str], out: str
) -> None:
    world(root / "photos")
    (root / "home").mkdir()
    (root / "home/letter.txt").write_text("x")
    (root / "file").write_text("x")
    before = sorted(root.rglob("*"))
    ended, _, err = run(capfd, "index", "photos", "-o", out, "--embedder", "histogram")
    assert ended == 2
    assert "holds other things" in err or "is a file" in err
    assert sorted(root.rglob("*")) == before
    index(capfd, "photos")
    assert run(capfd, "gallery", "copy", "R", out)[0] == 2
    with pytest.raises(OptionError, match=r"holds other things|is a file"):
        load.build(HistogramEmbedder(), photos_of(root / "photos")).save(out)


def test_a_gallery_is_not_copied_over_another_one(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index(capfd, world(root / "a/photos"))
    index(capfd, world(root / "b/photos", hue=30), out="S")
    ended, _, err = run(capfd, "gallery", "copy", "R", "S")
    assert ended == 5
    assert "holds 12 photos that are not in" in err
    with SqliteGallery.open(root / "S/gallery.sqlite") as gallery:
        assert "/b/photos/" in gallery.stamps()["photos/place 0/IMG_0.jpg"][0]
    json_of(capfd, "gallery", "relabel", "R", "photos/place 0/IMG_1.jpg", "--to", "place 1")
    json_of(capfd, "gallery", "copy", "R", "T")
    assert read_state(Path("T")).relabelled == {"photos/place 0/IMG_1.jpg": "place 0"}


def test_python_reports_and_moves_as_the_command_does(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index(capfd, world(root / "photos"))
    table = photos_of(root / "photos")
    table.landmarks[:] = "Mine"
    done = add_photos(Path("R"), table)
    assert (done.counts["added"], done.counts["other landmark"]) == (0, 12)
    assert len(done.failures) == 12
    done = add_photos(Path("R"), table, options=UpdateOptions(relabel=True, corrects=False))
    assert done.counts["moved"] == 12


def test_distractors_that_are_gallery_photos_are_left_out_by_name(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    world(root / "photos")
    bank(root / "bank", 3)
    shutil.copy("photos/place 0/IMG_0.jpg", "bank/x.jpg")
    ended, out, err = run(
        capfd, "index", "photos", "-o", "R", "--embedder", "histogram", "--distractors", "bank",
        "--json",
    )  # fmt: skip
    assert ended == 3
    assert json.loads(out)["distractors"] == 3
    assert "bank/x.jpg: its file is that of gallery photo photos/place 0/IMG_0.jpg" in err
    ended, _, err = run(capfd, "gallery", "add", "R", "bank", "--distractors")
    assert ended == 3
    assert "which shows 'place 0': left out" in err


def test_the_photo_folder_as_distractors_leaves_none(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    world(root / "photos")
    done = index(capfd, "photos", "--distractors", "photos", code=3)
    assert (done["photos"], done["distractors"], done["distractors left out"]) == (12, 0, 12)


def test_distractors_of_another_folder_may_have_the_same_ids(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    world(root / "a/photos")
    world(root / "b/photos", hue=40)
    done = index(capfd, "a/photos", "--distractors", "b/photos")
    assert (done["photos"], done["distractors"]) == (12, 12)


def test_distractors_that_show_a_landmark_are_left_out(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same picture saved again, and another photo of the same front; a strange front stays."""

    def save(name: str, picture: Pillow.Image, quality: int = 92) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(root / name, quality=quality)

    for code in range(2):
        for seed in range(2):
            save(f"photos/place {code}/{seed}.jpg", front(code, seed))
    save("bank/again.jpg", front(0, 0), quality=60)
    save("bank/closer.jpg", front(1, 0).crop((60, 40, 330, 250)).resize((400, 311)))
    save("bank/other.jpg", front(50, 0))
    photos, distractors = photos_of(root / "photos"), photos_of(root / "bank", False)
    recognizer = load.build(HistogramEmbedder(), photos, distractors=distractors)
    assert recognizer.index.distractor_ids.tolist() == ["bank/other.jpg"]
    assert "bank/again.jpg: it is the same picture as gallery photo" in caplog.text
    assert "bank/closer.jpg: it shows 'place 1', by" in caplog.text


def answers(recognizer: Any, *photos: np.ndarray) -> list[tuple[str | None, float]]:
    found = [recognizer(photo) for photo in photos]
    return [(one.landmark, one.confidence) for one in found]


def test_without_distractors_nothing_is_almost_certain(root: Path) -> None:
    recognizer = load.build(HistogramEmbedder(), photos_of(world(root / "photos", photos=8)))
    assert "nothing taught it what shows none" in recognizer.notes[-1]
    ((name, confidence),) = answers(recognizer, picture(0, 99))
    assert name == "place 0"
    assert 0.7 < confidence < 0.74
    said = answer_object("q", recognizer(picture(0, 99)), GalleryFacts.of(recognizer))
    assert said["words"] == "place 0, probably"
    assert said["warnings"][: len(recognizer.notes)] == list(recognizer.notes)
    whole = load.build(
        HistogramEmbedder(), photos_of(root / "photos"),
        distractors=photos_of(bank(root / "bank", 30), False),
    )  # fmt: skip
    assert whole.notes == ()
    assert whole(picture(0, 99)).confidence > 0.95


@pytest.mark.parametrize("photos", [2, 4, 12])
@pytest.mark.parametrize("score", ["learned", "cosine"])
def test_one_landmark_is_not_everything(root: Path, photos: int, score: str) -> None:
    table = photos_of(world(root / "photos", 1, photos))
    rules = Rules().with_score(score)  # type: ignore[arg-type]
    recognizer = load.build(HistogramEmbedder(), table, rules=rules)
    own, strange, animal = answers(recognizer, picture(0, 99), picture(60, 1), picture(7, 3))
    assert own[0] == "place 0"
    assert own[1] <= 0.74
    assert strange[0] is None
    assert animal[0] is None
    assert "'place 0' is the only landmark" in recognizer.notes[-1]


@pytest.mark.parametrize("distractors", [0, 10])
def test_one_photo_of_each_landmark_can_be_named(root: Path, distractors: int) -> None:
    table = photos_of(world(root / "photos", 6, 1))
    others = photos_of(bank(root / "bank", distractors), False) if distractors else None
    recognizer = load.build(HistogramEmbedder(), table, distractors=others)
    own, strange = answers(recognizer, picture(0, 99), picture(60, 1))
    assert own[0] == "place 0"
    assert strange[0] is None
    assert "rule of thumb" in recognizer.notes[0]


def test_one_photo_alone_says_what_it_can_name(root: Path) -> None:
    table = photos_of(world(root / "photos", 1, 1))
    recognizer = load.build(HistogramEmbedder(), table)
    assert "only matching points name a landmark" in recognizer.notes[1]
    assert recognizer(picture(0, 99)).decision == "no_landmark"
    blind = load.build(HistogramEmbedder(), table, rules=Rules(verify=0))
    assert "so none is named" in blind.notes[1]
    front(0, 0).save(root / "photos/place 0/IMG_0.jpg")
    seen = load.build(HistogramEmbedder(), photos_of(root / "photos"))
    assert seen(np.asarray(front(0, 5))).landmark == "place 0"  # by matching points
    assert seen(np.asarray(front(8, 5))).landmark is None


def test_a_gallery_of_distractors_alone_says_so(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index(capfd, world(root / "photos", 1, 1), "--distractors", bank(root / "bank"))
    json_of(capfd, "gallery", "remove", "R", "--landmark", "place 0")
    ended, out, err = run(capfd, "recognize", "bank/0.jpg", "-r", "R")
    assert ended == 0
    assert "no landmark that I know" in out
    assert "no photo of a landmark, so nothing can be named" in err
    with pytest.raises(DataError, match="no photo could be indexed"):
        load.build(HistogramEmbedder(), photos_of(root / "bank").take([]))


def years(root: Path) -> list[Path]:
    """Two folders whose photos have equal names and other bytes."""
    return [world(root / year / "photos", hue=hue) for year, hue in (("2023", 0), ("2024", 20))]


def stored(folder: Path) -> set[str]:
    with edit.open_gallery(folder) as gallery:
        return set(gallery.table(vectors=False).hashes.tolist())


def bytes_of(*folders: Path) -> set[str]:
    return {content_hash(path.read_bytes()) for one in folders for path in one.rglob("*.jpg")}


@pytest.mark.parametrize("how", ["at once", "index, index", "index, add", "shards", "build"])
def test_photos_of_two_folders_with_equal_names_are_both_kept(root: Path, how: str) -> None:
    first, second = (photos_of(folder) for folder in years(root))
    embedder, out = HistogramEmbedder(), root / "R"

    def indexed(table: Photos, shards: int | None = None) -> None:
        options = IndexOptions(shards=shards)
        index_photos(table, None, out, embedder, options, progress=lambda _: lambda *_: None)

    if how in ("at once", "build"):
        table = Photos(
            np.concatenate([first.ids, [f"2024/{one}" for one in second.ids]]),
            *(np.concatenate([getattr(one, name) for one in (first, second)])
              for name in ("paths", "landmarks", "usages")),
        )  # fmt: skip
        if how == "build":
            load.build(embedder, table).save(out)
        else:
            indexed(table)
    else:
        indexed(first, 2 if how == "shards" else None)
        if how == "index, add":
            add_photos(out, second, embedder=embedder)
        else:
            indexed(second, 3 if how == "shards" else None)
    assert stored(out) == bytes_of(*years(root))
    assert len(stored(out)) == 24


def test_two_updates_at_the_same_moment_keep_photos_whose_names_agree(root: Path) -> None:
    """Both are prepared before one of them stores: the second gives its photos longer ids."""
    tables = [photos_of(folder) for folder in years(root)]
    tables.append(photos_of(root / "2023" / "photos"))
    folder, embedder = root / "R", HistogramEmbedder()
    with fill.gallery_for(folder, embedder) as gallery:
        updates = [GalleryUpdate(table, gallery, folder=folder) for table in tables]
        todo = [update.prepare() for update in updates]
        for update, photos in zip(updates, todo, strict=True):
            update_gallery(embedder, photos, update)
    assert stored(folder) == bytes_of(root)
    assert [len(update.changes.added) for update in updates] == [12, 12, 0]
    assert len(updates[1].changes.renamed_ids) == 12
    assert len(updates[2].changes.there) == 12


def test_one_photo_is_added_to_a_large_gallery_without_reading_all(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = HistogramEmbedder()
    first, second = (photos_of(folder) for folder in years(root))
    index_photos(first, None, root / "R", embedder, progress=lambda _: lambda *_: None)
    monkeypatch.setattr(update, "FEW", 1)
    monkeypatch.setattr(Gallery, "_photos", lambda *_: pytest.fail("all photos were read"))
    (root / "copies" / "place 0").mkdir(parents=True)
    shutil.copy(first.paths[3], root / "copies" / "place 0")
    copy = photos_of(root / "copies")
    done = add_photos(root / "R", second.take([0]) + copy, embedder=embedder)
    assert (done.counts["added"], done.counts["already there"]) == (1, 1)
    assert done.counts["new ids"] == 1


def test_a_race_for_the_settings_leaves_a_whitening(root: Path) -> None:
    """Two runs write their settings at the same time; each deletes the other's whitening."""
    index_photos(photos_of(years(root)[0]), None, root / "R", HistogramEmbedder(),
                 progress=lambda _: lambda *_: None)  # fmt: skip
    rules, fitted, generation = read_settings(root / "R")
    assert fitted is not None
    rng = np.random.default_rng(0)
    turned = [
        replace(fitted, projection=Projection(rng.random(216, np.float32), axes))
        for axes in rng.random((2, 4, 216), np.float32)
    ]
    with ThreadPoolExecutor() as pool:
        for _ in range(20):
            list(pool.map(lambda one: write_settings(root / "R", rules, one, generation), turned))
            assert read_settings(root / "R")[1] is not None


def test_a_folder_that_another_first_run_has_begun_is_its_own(root: Path) -> None:
    """Its embedder is being written, and nothing else is there yet."""
    with file_lock(root / "R" / LOCK_FILE):
        (root / "R" / "embedder").mkdir()
    index_photos(photos_of(years(root)[0]), None, root / "R", HistogramEmbedder(),
                 progress=lambda _: lambda *_: None)  # fmt: skip
    assert len(stored(root / "R")) == 12
