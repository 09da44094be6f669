"""discover from the command line: groups, names, pages, resuming, and odd libraries."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image as Pillow

from tests.cli.test_commands import json_of, run
from tests.support.fake_city import small_city
from tests.support.fake_wikimedia import FakeWikimedia
from tests.support.photo_library import exif_of
from tests.support.photos import photos_of, picture, write_colour_world, write_photo
from whichlandmark.collect import wikidata
from whichlandmark.core.errors import NetworkError
from whichlandmark.features.embedders import load as embedders
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.library import discover as discover_module
from whichlandmark.library import photo_looks
from whichlandmark.library.photo_looks import PhotoLooks
from whichlandmark.recognition.folder import edit, load
from whichlandmark.recognition.folder.discoveries import DiscoveryStore
from whichlandmark.recognition.folder.edit import remove_photos
from whichlandmark.recognition.folder.load import build

NEW, OTHER = 20, 63  # hues of two landmarks that the gallery does not know

FOOD = (21, 22, 28, 45, 57, 70)  # hues of photos that are like no other

HERE = (43.2061, 2.3634)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = write_colour_world(tmp_path_factory.mktemp("world"))
    distractors = photos_of(world / "bank", landmarks=False)
    made = build(HistogramEmbedder(), photos_of(world / "gallery"), distractors=distractors)
    made.save(world / "r.wl")
    return world


@pytest.fixture
def folder(indexed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    embedder = HistogramEmbedder()
    for home in (edit, load, embedders):
        monkeypatch.setattr(home, "load_embedder", lambda *given, **options: embedder)
    return Path(shutil.copytree(indexed / "r.wl", tmp_path / "r.wl"))


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Five photos of a landmark that the gallery does not know, four of another, and others."""
    top = tmp_path / "Fotos"
    for at in range(5):
        write_photo(top / "Carcassonne 2019" / f"IMG_{at}.jpg", picture(NEW, at))
    for at in range(4):
        write_photo(top / "Camera" / f"DSC_{at}.jpg", picture(OTHER, at))
    for at, hue in enumerate(FOOD):
        write_photo(top / "Camera" / f"food {at}.jpg", picture(hue, at))
    write_photo(top / "Camera" / "known.jpg", picture(1, 90))
    (top / "Camera" / "broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(500))
    return top


def names(group: dict) -> set[str]:
    return {photo["name"].rpartition("/")[2] for photo in group["photos"]}


def in_gallery(folder: Path, landmark: str) -> list[str]:
    with SqliteGallery.open(folder / "gallery.sqlite") as gallery:
        return sorted(one for one, row in gallery.stamps().items() if row[2] == landmark)


def test_groups_are_listed_named_and_then_recognized(
    library: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in library.rglob("*") if path.is_file()}
    found = json_of(capfd, "discover", library, "-r", folder, code=3)
    assert (found["photos"], list(found["failed"])) == (17, ["Camera/broken.jpg"])
    first, second = found["groups"]
    assert names(first) == {f"IMG_{at}.jpg" for at in range(5)}
    assert names(second) == {f"DSC_{at}.jpg" for at in range(4)}
    assert (first["number"], first["size"], second["number"]) == (1, 5, 2)
    assert first["suggestion"]["title"] == "Carcassonne"
    assert second["suggestion"] is None
    other = library.parent / "other.jpg"
    write_photo(other, picture(NEW, 77))
    assert json_of(capfd, "recognize", other, "-r", folder)["landmark"] is None

    code, out, err = run(
        capfd, "discover", library, "-r", folder, "--name", "1=La Cité", "--not-a-landmark",
        second["id"],
    )  # fmt: skip
    assert code == 0, err
    assert f"{first['id']}  La Cité: new landmark, 5 photos added" in out
    assert f"{second['id']}  no landmark: it is not asked about again" in out
    assert len(in_gallery(folder, "La Cité")) == 5
    answer = json_of(capfd, "recognize", other, "-r", folder)
    assert answer["landmark"] == "La Cité"
    code, out, err = run(
        capfd, "discover", library, "-r", folder, "--name", f"{first['id']}=la cité",
        "--not-a-landmark", second["id"],
    )  # fmt: skip
    assert (code, out.count("already (--reopen")) == (0, 2), err
    code, _, err = run(capfd, "discover", library, "-r", folder, "--name", f"{first['id']}=Other")
    assert (code, "is named 'La Cité' already; reopen it" in err) == (4, True)
    again = json_of(capfd, "discover", library, "-r", folder, code=3)
    assert (again["groups"], again["decided"]) == ([], 2)
    assert {path: path.read_bytes() for path in library.rglob("*") if path.is_file()} == before

    code, out, _ = run(
        capfd, "discover", library, "-r", folder, "--reopen", first["id"], "--reopen", second["id"]
    )
    assert (code, out.count("open again")) == (0, 2)
    assert in_gallery(folder, "La Cité") == []
    back = json_of(capfd, "discover", library, "-r", folder, code=3)
    assert [one["id"] for one in back["groups"]] == [first["id"], second["id"]]
    assert json_of(capfd, "discover", library, "-r", folder, "--name", "1")["decisions"] == [
        {"id": first["id"], "action": "name", "landmark": "Carcassonne", "new": True, "added": 5,
         "moved": 0, "left_out": {}, "generation": json_of(
             capfd, "gallery", "list", folder)["generation"]}
    ]  # fmt: skip


def test_the_list_says_how_to_name_a_group_and_the_page_shows_its_photos(
    library: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (library / "Camera" / "broken.jpg").unlink()
    page = tmp_path / "groups.html"
    code, out, err = run(capfd, "discover", library, "-r", folder, "--page", page)
    assert code == 0, err
    assert "  1  5 photos  Carcassonne? 5 of 5 photos are in the folder 'Carcassonne 2019'" in out
    assert "  2  4 photos  no name suggested" in out
    assert "2 groups in 16 photos" in out
    assert f"name one: whichlandmark discover {library} -r {folder} --name 1=NAME" in out
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 9
    assert "--name 1=Carcassonne" in text
    assert "<b>Carcassonne?</b>" in text
    assert "https://" not in text  # nothing is loaded from elsewhere
    (tmp_path / "notes.html").write_text("mine")
    code, _, err = run(capfd, "discover", library, "-r", folder, "--page", tmp_path / "notes.html")
    assert code == 2
    assert "is not a page that whichlandmark wrote" in err


def test_wrong_groups_and_options_are_refused_before_anything_is_done(
    library: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capfd, "discover", library, "-r", folder, "--name", "1=A")
    assert code == 4
    assert "there are none yet" in err
    run(capfd, "discover", library, "-r", folder)
    for given, said, ended in (
        (["--name", "1=A", "--name", "7=B"], "numbers 1 to 2, or their ids", 4),
        (["--name", "1=A", "--not-a-landmark", "1"], "group 1 is given twice", 2),
        (["--name", "2"], "no name is suggested; give 2=NAME", 2),
        (["--name", "1="], "expected GROUP=NAME", 2),
        (["--name", "1=A|B"], "separates several", 2),
        (["--name", "1=A", "--page", "x.html"], "when you list the groups", 2),
        (["--min-photos", "1"], "expected", 2),
    ):  # fmt: skip
        code, _, err = run(capfd, "discover", library, "-r", folder, *given)
        assert (code, said in err) == (ended, True), err
    assert len(DiscoveryStore(folder).all()) == 2
    code, _, err = run(capfd, "discover", library / "missing", "-r", folder)
    assert (code, "no such folder" in err) == (4, True)


def test_places_name_groups_of_photos_with_positions(
    library: Path, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for at in range(4):
        image = Pillow.fromarray(picture(OTHER, at))
        image.save(library / "Camera" / f"DSC_{at}.jpg", quality=92, exif=exif_of(position=HERE))
    table = tmp_path / "places.csv"
    table.write_text("landmark,title,wikidata,latitude,longitude,country\n"
                     "Q1,Castle,Q1,43.2065,2.3640,France\nQ2,Far,Q2,43.3,2.4,\n")  # fmt: skip
    found = json_of(capfd, "discover", library, "-r", folder, "--places", table, code=3)
    suggestion = found["groups"][1]["suggestion"]
    assert (suggestion["title"], suggestion["landmark"]) == ("Castle", "Q1")
    assert suggestion["why"] == "66 m from the photos, by places.csv"
    run(capfd, "discover", library, "-r", folder, "--name", "2")
    assert len(in_gallery(folder, "Q1")) == 4
    listed = json_of(capfd, "gallery", "list", folder)
    assert next(one for one in listed["landmarks"] if one["landmark"] == "Q1")["title"] == "Castle"
    table.write_text("landmark,title\nQ1,Castle\n")
    code, _, err = run(capfd, "discover", library, "-r", folder, "--places", table)
    assert (code, "no landmark in it has coordinates" in err) == (2, True)


def test_photos_that_join_are_added_to_the_group_and_copies_count_once(
    library: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = json_of(capfd, "discover", library, "-r", folder, code=3)["groups"][0]
    for at in range(3):  # one photo three times more, and a smaller one of it
        shutil.copy(library / "Carcassonne 2019" / "IMG_0.jpg", library / f"copy {at}.jpg")
    write_photo(library / "new.jpg", picture(NEW, 60))
    again = json_of(capfd, "discover", library, "-r", folder, code=3)["groups"][0]
    assert (again["id"], again["size"], len(again["photos"])) == (first["id"], 6, 9)
    assert {photo["name"].rpartition("/")[2] for photo in again["photos"][6:]} <= {
        "copy 0.jpg", "copy 1.jpg", "copy 2.jpg", "IMG_0.jpg",
    }  # fmt: skip


def test_an_interrupted_search_goes_on(
    library: Path, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    look = photo_looks._look

    def counted(file: str) -> object:
        read.append(file)
        return look(file)

    def stopped(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(photo_looks, "_look", counted)
    with monkeypatch.context() as patched:
        patched.setattr(discover_module, "compare", stopped)
        code, _, err = run(capfd, "discover", library, "-r", folder)
    assert (code, "the same command resumes" in err) == (130, True)
    assert len(read) >= 9
    done = len(read)
    assert len(json_of(capfd, "discover", library, "-r", folder, code=3)["groups"]) == 2
    assert len(read) == done  # no photo was read again


def test_a_library_without_groups_and_one_of_a_single_picture(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert json_of(capfd, "discover", empty, "-r", folder)["groups"] == []
    alone = tmp_path / "alone"
    write_photo(alone / "one.jpg", picture(NEW, 0))
    code, out, _ = run(capfd, "discover", alone, "-r", folder)
    assert (code, "0 groups in 1 photos" in out) == (0, True)
    for at in range(12):
        shutil.copy(alone / "one.jpg", alone / f"{at}.jpg")
    assert json_of(capfd, "discover", alone, "-r", folder)["groups"] == []  # one picture, 13 times


def test_photos_that_the_gallery_has_are_not_asked_about(
    library: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(
        capfd, "gallery", "add", folder, library / "Carcassonne 2019", "--landmark", "place 0"
    )
    assert code == 0, err
    found = json_of(capfd, "discover", library, "-r", folder, code=3)
    assert [names(one) for one in found["groups"]] == [{f"DSC_{at}.jpg" for at in range(4)}]


def test_a_photo_or_a_gallery_that_changed_after_the_list(
    library: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    json_of(capfd, "discover", library, "-r", folder, code=3)
    (library / "Carcassonne 2019" / "IMG_3.jpg").unlink()
    with SqliteGallery.open(folder / "gallery.sqlite") as gallery:
        some = sorted(gallery.stamps())[:2]
    remove_photos(folder, some, None)
    code, out, err = run(capfd, "discover", library, "-r", folder, "--name", "1=La Cité")
    assert code == 3
    assert "4 photos added" in out
    assert "IMG_3.jpg: no such file" in err


def test_looks_are_read_once_and_again_when_a_photo_changes(tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.jpg", picture(3, 1))
    Pillow.open(photo).save(photo, exif=_taken("2019:07:14 10:00:30"))
    with PhotoLooks.open(tmp_path) as looks:
        (first,) = looks.update([str(photo)]).values()
        assert first.time == 1_563_098_430.0
        assert looks.inliers(str(photo), [str(photo)])[0] > 100
        write_photo(photo, picture(4, 1))
        (second,) = looks.update([str(photo)]).values()
        assert (second.time, second.hash != first.hash) == (None, True)
        missing = looks.update([str(tmp_path / "gone.jpg")])
        assert "no such file" in missing[str(tmp_path / "gone.jpg")].error
        looks.forget_unless([])
    with PhotoLooks.open(tmp_path) as looks, pytest.raises(Exception, match="missing"):
        looks.thumbnail(str(photo))


def _taken(text: str) -> bytes:
    exif = Pillow.Exif()
    exif.get_ifd(0x8769)[0x9003] = text
    return exif.tobytes()


def test_without_distractors_a_note_says_what_is_missing(
    library: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(capfd, "gallery", "remove", folder, "--distractors")
    found = json_of(capfd, "discover", library, "-r", folder, code=3)
    assert "the gallery has no distractors" in found["warnings"][0]
    assert found["groups"] == []  # no details match in photos of noise


def test_wikidata_is_asked_only_with_a_contact(
    library: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with FakeWikimedia(small_city(), per_minute=100_000) as server:
        item = server.world.items["Q90101"]
        place = item.values("P625")[0]
        for at in range(4):
            image = Pillow.fromarray(picture(OTHER, at))
            position = (place[0], place[1])
            image.save(library / "Camera" / f"DSC_{at}.jpg", exif=exif_of(position=position))
        asked = ("discover", library, "-r", folder, "--api", server.base)
        found = json_of(capfd, *asked, code=3)
        assert found["groups"][1]["suggestion"] is None
        assert server.requests == []
        found = json_of(capfd, *asked, "--contact", "me@example.org", code=3)
        suggestion = found["groups"][1]["suggestion"]
        assert suggestion["wikidata"].startswith("Q901")
        assert suggestion["why"].endswith("m from the photos, by Wikidata")
    (folder / "commons.sqlite").unlink()
    monkeypatched = pytest.MonkeyPatch()
    with monkeypatched.context() as patched:
        patched.setattr(wikidata, "landmarks_near", _unreachable)
        code, out, err = run(capfd, *asked, "--contact", "me@example.org")
    assert (code, "2 groups in 17 photos" in out) == (3, True)
    assert err.count("no names from Wikidata: the server is away") == 1


def _unreachable(*given: object) -> None:
    raise NetworkError("the server is away")
