"""Editing a gallery from the command line: add, remove, relabel, verify, compact, bad input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_commands import json_of, run
from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.core.errors import DataError
from whichlandmark.core.types import Embedder
from whichlandmark.features.embedders import load
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.records import Credit, read_credits, read_landmarks
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.folder import edit, maintain
from whichlandmark.recognition.folder.fill import fill_gallery, photos_and_distractors


@pytest.fixture
def folder(colour_world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gallery of 4 landmarks × 6 photos and 10 distractors, embedded by colour histogram."""
    embedder = HistogramEmbedder()
    for home in (maintain, edit):
        monkeypatch.setattr(home, "load_embedder", lambda source, device="auto": embedder)
    out = colour_world / "r.wl"
    table = photos_and_distractors(
        photos_of(colour_world / "gallery"), photos_of(colour_world / "bank", False)
    )
    with SqliteGallery.create(out / "gallery.sqlite", embedder.id, embedder.dim) as gallery:
        assert fill_gallery(embedder, table, gallery) == []
    return out


def nearest(folder: Path, image: np.ndarray) -> tuple[str, str, float]:
    """Id, landmark and cosine of the photo nearest to a picture."""
    with SqliteGallery.open(folder / "gallery.sqlite") as gallery:
        table = gallery.table()
    similarity = table.vectors.astype(np.float32) @ HistogramEmbedder()([image])[0]
    best = int(similarity.argmax())
    return table.ids[best], table.landmarks[best], float(similarity[best])


def test_added_photos_are_found_and_removed_ones_forgotten(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    new = folder.parent / "new"
    for i in range(3):
        write_photo(new / "place 9" / f"{i}.jpg", picture(9, i))
    (new / "place 9" / "bad.jpg").write_text("no photo")
    assert nearest(folder, picture(9, 77))[1] != "place 9"
    with SqliteGallery.open(folder / "gallery.sqlite") as gallery:
        before = gallery.table()

    counts = json_of(capfd, "gallery", "add", folder, new, code=3)
    assert (counts["added"], counts["failed"], counts["photos"]) == (3, 1, 37)
    found = nearest(folder, picture(9, 77))
    assert found[0].startswith("new/place 9/")
    assert found[1] == "place 9"
    with SqliteGallery.open(folder / "gallery.sqlite") as gallery:
        after = gallery.table()
    np.testing.assert_array_equal(after.rows[:34], before.rows)  # existing rows are unchanged
    np.testing.assert_array_equal(after.vectors[:34], before.vectors)

    again = json_of(capfd, "gallery", "add", folder, new, code=3)
    assert (again["added"], again["already there"], again["photos"]) == (0, 3, 37)
    counts = json_of(capfd, "gallery", "remove", folder, "new/place 9/0.jpg")
    assert (counts["removed"], counts["photos"]) == (1, 36)
    counts = json_of(capfd, "gallery", "remove", folder, "--landmark", "place 9")
    assert (counts["removed"], counts["photos"]) == (2, 34)
    assert nearest(folder, picture(9, 77))[1] != "place 9"
    assert b"place 9" not in (folder / "gallery.sqlite").read_bytes()
    assert len(list((new / "place 9").iterdir())) == 4  # the photos themselves are not touched


def test_a_large_file_is_compacted_by_a_command_that_remove_names(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqliteGallery.open(folder / "gallery.sqlite") as gallery:
        photo_id = str(gallery.table().ids[0])
    assert json_of(capfd, "gallery", "compact", folder)["warnings"] == []
    monkeypatch.setattr("whichlandmark.gallery.sqlite.store.MAX_SCRUBBED_BYTES", 0)
    removed = json_of(capfd, "gallery", "remove", folder, photo_id)
    assert any(f"`whichlandmark gallery compact {folder}`" in note for note in removed["warnings"])
    json_of(capfd, "gallery", "compact", folder)
    assert photo_id.encode() not in (folder / "gallery.sqlite").read_bytes()


def test_added_photos_take_one_label_or_none(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_photo(folder.parent / "more" / "deep" / "1.jpg", picture(30, 1))
    write_photo(folder.parent / "streets" / "2.jpg", picture(31, 1))
    json_of(capfd, "gallery", "add", folder, folder.parent / "more", "--landmark", " Tower ")
    json_of(capfd, "gallery", "add", folder, folder.parent / "streets", "--distractors")
    listed = json_of(capfd, "gallery", "list", folder)
    tower = listed["landmarks"][0]
    assert (tower["landmark"], tower["photos"], tower["names"]) == ("Tower", 1, {})
    assert (listed["photos"], listed["distractors"]) == (25, 11)
    photos = json_of(capfd, "gallery", "list", folder, "--landmark", "Tower")["photos"]
    assert [one["id"] for one in photos] == ["more/deep/1.jpg"]
    assert len(json_of(capfd, "gallery", "list", folder, "--landmark", "")["photos"]) == 11


def test_relabel_moves_photos_and_the_landmark_record(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = folder.parent / "landmarks.csv"
    table.write_text(
        "landmark,name,category,name:fr,latitude,longitude,wikidata,country_code,city,country\n"
        "place 1,The First,http://c,Le Premier,48.5,2.25,Q7,FR,Paris, France \n"
        "nowhere,N,,,,,,,,\n"
    )
    counts = json_of(capfd, "gallery", "add", folder, "--landmarks", table)
    assert (counts["records"], counts["records without a photo"]) == (1, 1)
    ids = ["gallery/place 1/0.jpg", "gallery/place 1/1.jpg"]
    assert json_of(capfd, "gallery", "relabel", folder, *ids, "--to", "")["relabelled"] == 2
    moved = json_of(capfd, "gallery", "relabel", folder, "--landmark", "place 1", "--to", "First")
    assert moved["relabelled"] == 4
    listed = json_of(capfd, "gallery", "list", folder)
    assert listed["distractors"] == 12
    assert listed["landmarks"][0] == {
        "landmark": "First", "photos": 4, "title": "The First", "names": {"fr": "Le Premier"},
        "wikidata": "Q7", "latitude": 48.5, "longitude": 2.25, "source": "",
        "wikipedia": {}, "city": "Paris", "country": "France", "country_code": "FR",
    }  # fmt: skip
    shown = run(capfd, "gallery", "list", folder)[1]
    assert "     4  First  (The First)\n" in shown
    assert "22 photos of 4 landmarks, 12 distractors; generation 4" in shown


def test_credits_survive_edits(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table = folder.parent / "credits.csv"
    table.write_text("id,author,licence\ngallery/place 0/0.jpg,Ann,CC BY 4.0\nelse,Bob,CC0\n")
    counts = json_of(capfd, "gallery", "add", folder, "--credits", table)
    assert (counts["credits"], counts["credits without a photo"]) == (1, 1)
    with SqliteGallery.open(folder / "gallery.sqlite") as gallery:
        found = gallery.credits(["gallery/place 0/0.jpg"])
    assert found == {"gallery/place 0/0.jpg": Credit("Ann", "CC BY 4.0")}
    assert "(Ann · CC BY 4.0)" in run(capfd, "gallery", "list", folder, "--landmark", "place 0")[1]


BAD_INPUT = [
    (["remove", "{f}", "gallery/place 0/O.jpg"], 4, "did you mean 'gallery/place 0/"),
    (["remove", "{f}", "--landmark", "plase 0"], 4, "did you mean 'place 0'?"),
    (["remove", "{f}"], 2, "expected ids of photos, or --landmark"),
    (["remove", "{f}", "x", "--landmark", "place 0"], 2, "one of both"),
    (["relabel", "{f}", "gallery/place 0/0.jpg", "--to", "A|B"], 2, "separates several"),
    (["relabel", "{f}", "gallery/place 0/0.jpg", "--to", "a\nb"], 2, "printable characters"),
    (["relabel", "{f}", "gallery/place 0/0.jpg", "--to", "x" * 1001], 4, "at most 1000"),
    (["relabel", "{f}", "nobody", "--to", "A"], 4, "no photo of id 'nobody'"),
    (["relabel", "{f}", "gallery/place 0/0.jpg"], 2, "--to"),
    (["add", "{f}"], 2, "nothing to add"),
    (["add", "{f}", "{f}/../bank"], 4, "without a landmark folder"),
    (["add", "{f}", "{f}/../bank", "--landmark", "a", "--distractors"], 2, "one of them"),
    (["add", "{f}", "{f}/../none.csv"], 4, "no such file or folder"),
    (["list", "{f}/nowhere"], 4, "no such recognizer folder"),
    (["list", "{f}/.."], 5, "no gallery there"),
    (["list", "{f}", "--landmark", "elsewhere"], 4, "gallery list` shows all"),
    (["verify", "{f}/nowhere"], 4, "no such recognizer folder"),
    (["rebuild", "{f}/.."], 5, "no gallery there"),
]


def test_bad_input_is_one_clear_line(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = (folder / "gallery.sqlite").read_bytes()
    for arguments, code, message in BAD_INPUT:
        words = [word.replace("{f}", str(folder)) for word in arguments]
        ended, out, err = run(capfd, "gallery", *words)
        assert (ended, out) == (code, ""), arguments
        assert message in err, arguments
        assert (folder / "gallery.sqlite").read_bytes() == before, arguments


def test_another_embedder_is_refused_by_name(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = HistogramEmbedder()
    other.id = "other-1"
    for home in (maintain, edit):
        monkeypatch.setattr(home, "load_embedder", lambda source, device="auto": other)
    ended, _, err = run(capfd, "gallery", "add", folder, folder.parent / "gallery")
    assert ended == 5
    assert f"made by embedder {HistogramEmbedder().id!r}, not by 'other-1'" in err
    ended, _, err = run(capfd, "gallery", "verify", folder)
    assert ended == 5
    assert "the folder's embedder is 'other-1'" in err


def test_verify_reports_changed_photos(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "gallery" / "place 0" / "0.jpg").unlink()
    write_photo(folder.parent / "gallery" / "place 0" / "1.jpg", picture(90, 5))
    ended, out, err = run(capfd, "gallery", "verify", folder)
    assert ended == 0
    assert "photos                           34" in out
    assert "'gallery/place 0/0.jpg': its file is gone" in err
    assert "'gallery/place 0/1.jpg': its file is changed since" in err
    assert len(json_of(capfd, "gallery", "verify", folder)["warnings"]) == 2


def test_damage_is_reported_and_rebuilt(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "gallery.sqlite"
    data = path.read_bytes()
    with SqliteGallery.open(path) as gallery:
        vector = gallery.table().vectors[20].tobytes()
    at = data.index(vector)
    path.write_bytes(data[:at] + b"\x00\x3c" + data[at + 2 :])
    for verb in ("list", "remove"):  # commands that need no vectors still work
        words = ["gallery", verb, folder, *([] if verb == "list" else ["gallery/place 0/0.jpg"])]
        assert run(capfd, *words)[0] == 0
    assert run(capfd, "gallery", "compact", folder)[0] == 5
    ended, out, err = run(capfd, "gallery", "verify", folder, "--json")
    assert (ended, json.loads(out)["faults"]) == (5, 1)
    assert "fault: vectors of photo 'gallery/place 3/2.jpg', row 21: changed" in err
    ended, out, err = run(capfd, "gallery", "rebuild", folder, "--json")
    assert (ended, json.loads(out)["photos"], json.loads(out)["lost"]) == (3, 32, 1)
    assert "gallery/place 3/2.jpg: its vector is damaged: index it again" in err
    assert run(capfd, "gallery", "verify", folder)[0] == 0
    again = json_of(capfd, "gallery", "add", folder, folder.parent / "gallery", "--restore")
    assert (again["added"], again["photos"]) == (2, 34)
    assert run(capfd, "gallery", "rebuild", folder)[0] == 0  # an undamaged gallery loses nothing


@pytest.mark.parametrize("blank", ["", " ", "\t", "\u00a0"])
def test_a_blank_landmark_selects_no_photos(
    folder: Path, capfd: pytest.CaptureFixture[str], blank: str
) -> None:
    """An unset variable in a script must not remove or relabel every distractor."""
    before = json_of(capfd, "gallery", "list", folder)
    for arguments in (("remove",), ("relabel", "--to", "place 1")):
        code, _, err = run(capfd, "gallery", arguments[0], folder, *arguments[1:],
                           "--landmark", blank)  # fmt: skip
        assert (code, "expected the name of a landmark" in err) == (2, True)
    assert json_of(capfd, "gallery", "list", folder) == before
    code, _, err = run(capfd, "gallery", "remove", folder, "a.jpg", "--distractors")
    assert (code, "(one of both); `remove` also takes" in err) == (2, True)


def test_compact_shrinks_the_file_and_keeps_the_photos(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    emptied = json_of(capfd, "gallery", "remove", folder, "--distractors")
    again = json_of(capfd, "gallery", "remove", folder, "--distractors")
    assert (emptied["removed"], again["removed"]) == (10, 0)
    assert again["generation"] == emptied["generation"]  # nothing changed
    counts = json_of(capfd, "gallery", "compact", folder)
    assert counts["bytes"] <= counts["bytes before"]
    assert json_of(capfd, "gallery", "verify", folder)["photos"] == 24


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("landmark,titel\n", "unknown column: 'titel'; did you mean 'title'?"),
        ("landmark,name:fr,namefr\n", "unknown column: 'namefr'; did you mean 'name:fr'?"),
        ("", "the file is empty"),
        ("landmark,title,title\na,b,c\n", "expected each once"),
        ("title\nx\n", "no column 'landmark'"),
        ("landmark,title\na\n", "line 2: 1 cells; the header has 2"),
        ("landmark,title\na,b\na,c\n", "line 3: landmark 'a' again"),
        ("landmark,latitude,longitude\na,north,2\n", "line 2: latitude 'north'"),
        ("landmark,latitude,longitude\na,95,2\n", "line 2: landmark 'a': latitude 95.0"),
        ("landmark,wikidata\na,7\n", "expected Q and a number"),
        (
            "landmark,country_code\na,fr\n",
            "line 2: landmark 'a': country code 'fr'; expected two capital letters, such as FR",
        ),
        ("landmark,country_code\na,FRA\n", "country code 'FRA'"),
        ("landmark,country_code\na,ＦＲ\n", "country code 'ＦＲ'"),
        (f"landmark,city\na,{'x' * 1001}\n", "a city of 1001 characters; at most 1000"),
        (f"landmark,country\na,{'x' * 1001}\n", "a country of 1001 characters; at most 1000"),
        ("landmark,countrycode\na,FR\n", "did you mean 'country_code'?"),
        ("landmark,title\n,b\n", "a record without a landmark's name"),
    ],
)
def test_invalid_landmark_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(DataError) as error:
        read_landmarks(tmp_path / "l.csv")
    assert message in str(error.value)


def test_tables_with_and_without_a_label_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,title\ntower,The Tower\n")
    (tmp_path / "b.csv").write_text("landmark,name,title\n7,Tower,The Tower\n8,Bridge,\n")
    assert [(r.name, r.title) for r in read_landmarks(tmp_path / "a.csv")] == [
        ("tower", "The Tower")
    ]
    assert [(r.name, r.title) for r in read_landmarks(tmp_path / "b.csv")] == [
        ("7", "The Tower"), ("8", "Bridge")
    ]  # fmt: skip
    (tmp_path / "c.csv").write_text("id,license\nx,CC0\n")
    with pytest.raises(DataError, match=r"'license'; did you mean 'licence'"):
        read_credits(tmp_path / "c.csv")


def test_a_real_embedder_folder_is_opened(
    colour_world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With SIFT, which is saved in the folder: the commands read the layout that `index` writes."""
    from whichlandmark.features.embedders.sift import SiftEmbedder, SiftOptions

    out = colour_world / "s.wl"
    pictures = [picture(code, i) for code in range(4) for i in range(6)]
    embedder: Embedder = SiftEmbedder.fit(iter(pictures), SiftOptions())
    embedder.save(out / "embedder")
    loaded = load.load_embedder(out / "embedder")
    with SqliteGallery.create(out / "gallery.sqlite", loaded.id, loaded.dim) as gallery:
        fill_gallery(loaded, photos_of(colour_world / "gallery"), gallery)
    assert run(capfd, "gallery", "verify", out)[0] == 0
    shutil.rmtree(out / "embedder")
    ended, _, err = run(capfd, "gallery", "verify", out)
    assert ended == 5
    assert "the folder's embedder cannot be opened" in err
    assert run(capfd, "gallery", "rebuild", out)[0] == 0  # from its own record of the embedder


def test_a_record_is_shown_and_changed_by_command(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    describe = ("gallery", "describe", folder, "place 1")
    empty = {"landmark": "place 1", "title": "", "names": {}, "wikidata": "", "latitude": None,
             "longitude": None, "source": "", "wikipedia": {}, "city": "", "country": "",
             "country_code": "", "generation": 1}  # fmt: skip
    assert json_of(capfd, *describe) == empty
    changed = json_of(
        capfd, *describe, "--title", "First", "--name", "fr=Premier", "--name", "de= Erster",
        "--wikidata", "Q243", "--place", "48.858,2.294", "--source", "https://a.org/x",
        "--city", "Paris", "--country", "France", "--country-code", "fr",
    )  # fmt: skip
    assert changed == {
        "landmark": "place 1", "title": "First", "names": {"fr": "Premier", "de": "Erster"},
        "wikidata": "Q243", "latitude": 48.858, "longitude": 2.294, "source": "https://a.org/x",
        "wikipedia": {}, "city": "Paris", "country": "France", "country_code": "FR",
        "generation": 2,
    }  # fmt: skip
    assert json_of(capfd, *describe) == changed
    cleared = json_of(capfd, *describe, "--clear", "name:fr", "--clear", "place", "--title", "I")
    assert (cleared["names"], cleared["latitude"], cleared["title"]) == (
        {"de": "Erster"},
        None,
        "I",
    )
    assert "title                            I\n" in run(capfd, *describe)[1]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("place 11",), 4, "no photo of landmark 'place 11'; did you mean 'place 1'?"),
        (("place 1", "--wikidata", "243"), 4, "Wikidata id '243'; expected Q and a number"),
        (("place 1", "--place", "91,0"), 4, "latitude 91.0; expected −90 to 90 degrees"),
        (("place 1", "--place", "91"), 2, "--place 91 given"),
        (("place 1", "--name", "Louvre"), 2, "expected LANGUAGE=NAME, such as fr=Louvre"),
        (("place 1", "--name", "x y=Louvre"), 4, "name in language 'x y'; expected such as fr"),
        (("place 1", "--clear", "titel"), 2, "did you mean title?"),
        (("place 1", "--source", "a.org"), 4, "expected a web address"),
    ],
)
def test_a_record_that_is_not_valid_is_refused(
    folder: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, message: str
) -> None:
    got = run(capfd, "gallery", "describe", folder, *words)
    assert got[0] == code
    assert message in got[2]


def test_the_credit_of_photos_is_shown_and_changed_by_command(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = "gallery/place 0/0.jpg", "gallery/place 0/1.jpg"
    words = ("gallery", "credit", folder, first, second)
    done = json_of(capfd, *words, "--author", "Ann", "--source", "https://a.org/1")
    ann = {"author": "Ann", "licence": "", "licence_url": "", "source": "https://a.org/1"}
    assert done == {"photos": [{"id": first, **ann}, {"id": second, **ann}], "generation": 2}
    json_of(capfd, *words[:4], "--licence", "CC0", "--clear", "author")
    shown = run(capfd, *words)[1]
    assert f"{first}  (CC0 · https://a.org/1)\n{second}  (Ann · https://a.org/1)\n" in shown
    listed = run(capfd, "gallery", "list", folder, "--landmark", "place 0")[1]
    assert "(CC0 · https://a.org/1)" in listed
    by = ("--licence", "CC BY 4.0", "--licence-url", "https://b.org/by")
    shown = run(capfd, *words[:4], *by)[1]
    assert f"{first}  (CC BY 4.0 · https://b.org/by · https://a.org/1)\n" in shown
    assert "(CC BY 4.0 · https://b.org/by · " in run(capfd, "gallery", "list", folder, "--landmark",
                                                     "place 0")[1]  # fmt: skip
    assert "(CC0 · https://a.org/1)" in run(capfd, *words[:4], "--licence", "CC0")[1]
    run(capfd, *words[:4], "--licence-url", "https://b.org/cc0")
    assert "(CC0 · https://a.org/1)" in run(capfd, *words[:4], "--clear", "licence_url")[1]
    wrong = run(capfd, *words[:4], "--licence-url", "b.org/by")
    assert wrong[0] == 4
    assert "licence_url 'b.org/by'; expected a web address" in wrong[2]
    assert (
        "place 0/2.jpg  (no credit)"
        in run(capfd, "gallery", "credit", folder, "--landmark", "place 0")[1]
    )
    wrong = run(capfd, "gallery", "credit", folder, "gallery/place 0/9.jpg", "--author", "Ann")
    assert wrong[0] == 4
    assert "no photo of id 'gallery/place 0/9.jpg' (did you mean" in wrong[2]


def test_records_and_credits_are_exported_as_they_are_read(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tables = {
        "--landmarks": "landmark,title,wikidata,latitude,longitude,source,city,country,"
        "country_code,name:de,name:zh-Hant\n"
        'place 1,"The ""First"", it is",Q7,48.5,-2.25,https://a.org/x,"Aa, Bb",Ü,DE,Erster,\n'
        "place 2,,,,,,,,,,第二\n",
        "--credits": "id,author,licence,licence_url,source\n"
        "gallery/place 0/0.jpg,Ann,CC BY 4.0,https://a.org/by,https://a.org/1\n"
        "gallery/place 0/1.jpg,,CC0,,\n",
    }
    given = {name: folder.parent / f"given{name}.csv" for name in tables}
    for name, text in tables.items():
        given[name].write_text(text, encoding="utf-8")
    json_of(capfd, "gallery", "add", folder, *(word for pair in given.items() for word in pair))
    written = {"--records": folder.parent / "out" / "l.csv", "--credits": folder.parent / "c.csv"}
    words = [word for pair in written.items() for word in pair]
    assert json_of(capfd, "gallery", "list", folder, *words) == {"records": 2, "credits": 2}
    found = [path.read_text(encoding="utf-8") for path in written.values()]
    assert found == list(tables.values())
    assert read_landmarks(written["--records"]) == read_landmarks(given["--landmarks"])
    mine = folder.parent / "mine.csv"
    mine.write_text("a,b\n1,2\n")
    code, _, said = run(capfd, "gallery", "list", folder, "--records", mine)
    assert (code, mine.read_text()) == (2, "a,b\n1,2\n")
    assert "is not a table of landmark records that whichlandmark wrote" in said
