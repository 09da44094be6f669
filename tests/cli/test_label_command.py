"""`label`: a library is planned, labelled and restored; its table, files and messages."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.test_commands import run
from tests.support.labelled import snapshot
from tests.support.photo_library import LibraryPhoto, write_photo_library
from tests.support.photos import photos_of, picture, write_colour_world, write_photo
from whichlandmark.cli import label_run, output
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.records import LandmarkRecord
from whichlandmark.library.sidecars import embedded
from whichlandmark.library.watch import Watcher
from whichlandmark.library.xmp import read_xmp
from whichlandmark.recognition.folder import load as load_module

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recognizer r.wl of the landmarks "place 0" to "place 3", of which one has a record."""
    at = write_colour_world(tmp_path_factory.mktemp("world"))
    built = load_module.build(
        HistogramEmbedder(), photos_of(at / "gallery"),
        distractors=photos_of(at / "bank", landmarks=False),
    )  # fmt: skip
    built.gallery.describe([
        LandmarkRecord("place 0", title="Café <de> Paris", latitude=48.8583, longitude=2.2945,
                       city="Paris", country="France"),
    ])  # fmt: skip
    built.save(at / "r.wl")
    return at


@pytest.fixture
def at(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the recognizer, a small library `trip`, and a state of its own."""
    monkeypatch.setattr(load_module, "load_embedder", lambda *a, **k: HistogramEmbedder())
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    shutil.copytree(world / "r.wl", tmp_path / "r.wl")
    for code in range(3):
        write_photo(tmp_path / "trip" / f"{code}.jpg", picture(code, 50))
    write_photo(tmp_path / "trip" / "street.jpg", picture(200, 1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_plan_is_shown_and_nothing_is_written(at: Path, capfd: Capture) -> None:
    before = snapshot(at / "trip")
    code, out, err = run(capfd, "label", "trip", "-r", "r.wl", "--above", "0.5")
    lines = out.splitlines()
    assert code == 0, err
    assert lines[0].split() == ["photo", "landmark", "sure", "what"]
    assert lines[1].startswith("0.jpg  Café <de> Paris  0.")
    assert lines[1].endswith("new 0.jpg.xmp")
    assert lines[4] == "4 photos: 3 would be labelled, 1 no landmark (labels from confidence 0.5)"
    assert lines[5] == "landmarks: Café <de> Paris 1, place 1 1, place 2 1"
    command = "whichlandmark label trip -r r.wl --above 0.5 --write"
    assert lines[6].startswith(f"nothing was written yet; `{command}` writes it")
    assert snapshot(at / "trip") == before


def test_without_above_the_gallery_says_where_labels_begin(at: Path, capfd: Capture) -> None:
    code, out, err = run(capfd, "label", "trip", "-r", "r.wl")
    assert code == 0, err
    assert "(labels from confidence 0.99)" in out or "note: " in err


def test_write_then_undo(at: Path, capfd: Capture) -> None:
    before = snapshot(at / "trip")
    code, out, err = run(capfd, "label", "trip", "-r", "r.wl", "--above", "0.5", "--write")
    assert (code, out.splitlines()[-1]) == (0, "sidecars: 3 new, 0 changed"), err
    assert "not used" not in err
    found = read_xmp((at / "trip" / "0.jpg.xmp").read_bytes())
    assert found.hierarchy == ("Places|France|Paris|Café <de> Paris",)
    code, out, err = run(capfd, "label", "trip", "-r", "r.wl", "--above", "0.5", "--write")
    assert "3 labelled already" in out
    assert "not used" not in err  # sidecars are no files that somebody misses
    code, out, _ = run(capfd, "label", "trip", "--undo")
    assert (code, out) == (0, "undone: 3 that were made are deleted\n")
    assert snapshot(at / "trip") == before
    code, out, _ = run(capfd, "label", "trip", "--undo")
    assert (code, out) == (0, "undone: nothing was left to do\n")


def test_every_shape_of_library_is_restored(
    at: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = at / "library"
    photos = write_photo_library(top)
    before = snapshot(top)
    command = ("label", top, "-r", "r.wl", "--above", "0.5", "--gps", "--far", "20100")
    code, out, err = run(capfd, *command, "--json")
    assert code == 3, err
    plan = json.loads(out)
    states = {row["photo"]: row["state"] for row in plan["photos"]}
    code, _, err = run(capfd, *command, "--write", "--quiet")
    assert code == 3
    after = snapshot(top)
    for photo in photos:
        check_written(top, photo, states, before, after)
    code, out, err = run(capfd, "label", top, "--undo")
    assert code == 0, err
    assert snapshot(top) == before


def check_written(
    top: Path, photo: LibraryPhoto, states: dict[str, str], before: object, after: object
) -> None:
    """A landmark's photo is labelled where its sidecar can be; all that was said is still said."""
    if photo.path not in states or photo.landmark is None:
        return
    path = top / photo.sidecar
    if not photo.writable:
        assert states[photo.path] == "blocked", photo
        return
    assert states[photo.path] in ("write", "not_sure"), photo
    if states[photo.path] == "write":
        said = read_xmp(path.read_bytes())
        assert {*photo.keywords} <= {*said.keywords}, photo
        assert len(said.keywords) > len(photo.keywords), photo
        if photo.position and embedded(str(top / photo.path)).position:
            assert said.position is None, photo


def test_files_of_a_plan(at: Path, capfd: Capture) -> None:
    code, out, err = run(
        capfd, "label", "trip", "-r", "r.wl", "--above", "0.5", "--csv", "labels.csv",
        "--geojson", "labels.geojson", "--page", "labels.html", "--json",
    )  # fmt: skip
    assert code == 0, err
    with open(at / "labels.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["write"] * 3 + ["no_landmark"]
    found = json.loads((at / "labels.geojson").read_text(encoding="utf-8"))
    assert len(found["features"]) == 3
    assert json.loads(out)["counts"] == {"write": 3, "no_landmark": 1}
    assert "--json --write" in (at / "labels.html").read_text(encoding="utf-8")
    (at / "letter.csv").write_text("Dear Ann")
    code, _, err = run(capfd, "label", "trip", "-r", "r.wl", "--csv", "letter.csv")
    assert (code, (at / "letter.csv").read_text()) == (2, "Dear Ann"), err


def test_albums_and_their_undo(at: Path, capfd: Capture) -> None:
    command = ("label", "trip", "-r", "r.wl", "--above", "0.5")
    code, _, err = run(capfd, *command, "--album", "albums", "--album-lists", "lists")
    assert code == 0, err
    assert os.path.samefile(at / "albums" / "place 1" / "1.jpg", at / "trip" / "1.jpg")
    assert (at / "lists" / "place 2.txt").read_text() == f"{at / 'trip' / '2.jpg'}\n"
    assert not (at / "trip" / "1.jpg.xmp").exists()
    code, out, _ = run(capfd, "label", "trip", "--undo")
    assert (code, out) == (0, "undone: 6 links and lists of albums are gone\n")
    assert not (at / "albums").exists()
    code, _, err = run(capfd, *command, "--album", "trip/albums")
    assert (code, "lies in the library" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("trip",), 2, "no recognizer given; expected -r FOLDER"),
        (("trip", "-r", "r.wl", "--write", "--undo"), 2, "--write and --undo given; expected one"),
        (("trip", "-r", "r.wl", "--watch", "--write"), 2, "--write and --watch given"),
        (("trip", "--undo", "--csv", "x.csv"), 2, "--csv given with --undo; expected it with"),
        (("trip", "-r", "r.wl", "--interval", "5"), 2, "--interval given without --watch"),
        (("trip", "-r", "r.wl", "--above", "1.5"), 2, "--above 1.5 given; expected"),
        (("trip", "-r", "r.wl", "--far", "0"), 2, "--far 0 given; expected"),
        (("nowhere", "-r", "r.wl"), 4, "nowhere: no such folder"),
        (("trip/0.jpg", "-r", "r.wl"), 4, "trip/0.jpg: a file; expected a folder of photos"),
        (("trip", "--undo"), 4, "nothing was written here by `label --write`"),
        (("empty", "-r", "r.wl"), 4, "no photo there that can be read"),
        (("trip", "-r", "r.wl", "--state", "trip/state"), 2, "lies in the library"),
    ],
)
def test_commands_that_cannot_be_done(
    at: Path, capfd: Capture, arguments: tuple[str, ...], code: int, words: str
) -> None:
    (at / "empty").mkdir()
    before = snapshot(at / "trip")
    found, _, err = run(capfd, "label", *arguments)
    assert (found, words in err) == (code, True), err
    assert snapshot(at / "trip") == before


def test_failures_are_listed_and_the_rest_is_done(at: Path, capfd: Capture) -> None:
    (at / "trip" / "torn.jpg").write_bytes(b"\xff\xd8\xff" + bytes(500))
    (at / "trip" / "1.jpg.xmp").write_bytes(b"no xmp")
    code, out, err = run(capfd, "label", "trip", "-r", "r.wl", "--above", "0.5", "--write")
    assert code == 3
    assert "5 photos: 2 labelled, 1 no landmark, 1 not readable, 1 blocked" in out
    assert "2 files could not be read or written:" in err
    assert "torn.jpg" in err
    assert (at / "trip" / "1.jpg.xmp").read_bytes() == b"no xmp"
    shutil.rmtree(at / "trip")
    (at / "trip").mkdir()
    (at / "trip" / "torn.jpg").write_bytes(b"\xff\xd8\xff" + bytes(500))
    code, _, err = run(capfd, "label", "trip", "-r", "r.wl")
    assert (code, "none of the 1 photos could be read" in err) == (4, True)


def test_names_that_control_a_terminal_are_shown_as_text(at: Path, capfd: Capture) -> None:
    os.rename(at / "trip" / "1.jpg", at / "trip" / "1\x1b[2J\n.jpg")
    code, out, err = run(capfd, "label", "trip", "-r", "r.wl", "--above", "0.5", "--write")
    assert code == 0, err
    assert "\x1b" not in out + err
    assert "1\\x1b[2J\\n.jpg" in out
    assert run(capfd, "label", "trip", "--undo")[0] == 0


def test_names_that_are_no_text_are_labelled_too(at: Path, capfd: Capture) -> None:
    os.rename(at / "trip" / "1.jpg", os.fsencode(at / "trip") + b"/caf\xe9 1.jpg")
    before = snapshot(at / "trip")
    command = ("label", "trip", "-r", "r.wl", "--above", "0.5", "--write")
    code, out, err = run(
        capfd, *command, "--csv", "a.csv", "--geojson", "a.geojson", "--page", "a.html",
        "--album", "albums", "--album-lists", "lists",
    )  # fmt: skip
    assert (code, "its name is none that a list can hold" in err) == (3, True), err
    assert "new caf%E9 1.jpg.xmp" in out
    assert os.path.exists(os.fsencode(at / "trip") + b"/caf\xe9 1.jpg.xmp")
    assert os.path.exists(os.fsencode(at / "albums" / "place 1") + b"/caf\xe9 1.jpg")
    code, out, err = run(capfd, "label", "trip", "-r", "r.wl", "--above", "0.5", "--json")
    assert json.loads(out)["counts"] == {"known": 3, "no_landmark": 1}
    os.unlink(os.fsencode(at / "trip") + b"/caf\xe9 1.jpg.xmp")
    code, out, err = run(capfd, "label", "trip", "--undo", "--json")
    assert (code, len(json.loads(out)["gone"])) == (0, 1)
    assert snapshot(at / "trip") == before


def test_watch_labels_new_photos_and_follows_the_recognizer(
    at: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (at / "trip").iterdir():
        os.utime(path, (1_500_000_000,) * 2)
    steps = []

    def wait(self: Watcher, seconds: float = 0.0) -> None:
        steps.append(seconds)
        if len(steps) == 1:
            write_photo(at / "trip" / "later.jpg", picture(3, 60))
        if len(steps) == 4:  # the landmark of a photo gets a title: the recognizer changes
            with load_module.load(at / "r.wl").gallery as gallery:
                gallery.describe([LandmarkRecord("place 3", title="Third Place")])
        if len(steps) == 6:
            raise KeyboardInterrupt

    real = Watcher.__init__

    def with_clock(self: Watcher, *given: object, **options: object) -> None:
        real(self, *given, **options, wait=wait)  # type: ignore[arg-type]
        self.wait = lambda seconds: wait(self, seconds)

    monkeypatch.setattr(Watcher, "__init__", with_clock)
    monkeypatch.setattr(label_run.signal, "signal", lambda *given: None)
    code, out, err = run(capfd, "label", "trip", "-r", "r.wl", "--above", "0.5", "--watch")
    assert code == 0, err
    lines = [line.split("  ", 1)[1] for line in out.splitlines()]
    assert [line.rpartition(" ")[0] for line in lines] == [
        "0.jpg  Café <de> Paris", "1.jpg  place 1", "2.jpg  place 2", "later.jpg  place 3",
        "later.jpg  Third Place",
    ]  # fmt: skip
    assert steps == [60.0] * 6
    assert "opened again, because it was changed" in err
    assert "ended; 5 photos were labelled" in err
    assert read_xmp((at / "trip" / "later.jpg.xmp").read_bytes()).keywords == ("Third Place",)
    assert output.settings.photos_left_out is False


def test_busy_libraries_are_said(at: Path, capfd: Capture) -> None:
    from whichlandmark.library.state import held_state, state_folder

    with held_state(state_folder(at / "trip")):
        code, _, err = run(capfd, "label", "trip", "-r", "r.wl")
    assert (code, "another process works on this library now" in err) == (6, True)
