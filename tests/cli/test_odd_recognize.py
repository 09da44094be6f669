"""`recognize` on folders, patterns and many photos; its table, csv and JSON; names of any kind."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import whichlandmark as wl
from tests.cli.test_commands import run
from tests.support.photos import picture, write_photo
from whichlandmark.cli import answers, app, output
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.records import LandmarkRecord
from whichlandmark.recognition.folder import load as load_module

SIZE = (120, 160)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recognizer r.wl of 3 landmarks, of which one has a title, and the photos trip/."""
    at = tmp_path_factory.mktemp("world")
    for code in range(3):
        for i in range(6):
            write_photo(at / "gallery" / f"place_{code}" / f"{i}.jpg", picture(code, i, SIZE))
    for i in range(8):
        write_photo(at / "bank" / f"{i}.jpg", picture(100 + i, i, SIZE))
    for code in range(3):
        write_photo(at / "trip" / f"{code}.jpg", picture(code, 50, SIZE))
    write_photo(at / "trip" / "street.jpg", picture(200, 1, SIZE))
    streets = wl.read_folder(at / "bank", labelled=False)
    built = wl.build(HistogramEmbedder(), wl.read_folder(at / "gallery"), distractors=streets)
    built.gallery.describe([LandmarkRecord("place_0", title="Café <de> Paris")])
    built.save(at / "r.wl")
    return at


@pytest.fixture
def at(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `trip` of a world of one's own, as the working folder."""
    monkeypatch.setattr(load_module, "load_embedder", lambda *a, **k: HistogramEmbedder())
    shutil.copytree(world / "trip", tmp_path / "trip")
    os.symlink(world / "r.wl", tmp_path / "r.wl")
    monkeypatch.chdir(tmp_path)
    return tmp_path


Capture = pytest.CaptureFixture[str]


def photos_in(out: str) -> list[str]:
    """First column of a table."""
    return [line.split("  ")[0] for line in out.splitlines()[1:]]


def test_a_folder_gives_a_table(at: Path, capfd: Capture) -> None:
    code, out, err = run(capfd, "recognize", "trip", "-r", "r.wl")
    header, first, *_, street = out.splitlines()
    assert (code, header.split()) == (0, ["photo", "landmark", "answer", "confidence"])
    assert first.split("  ")[0] == "trip/0.jpg"
    assert "Café <de> Paris" in first  # the title, not the label
    assert first.split()[-1].startswith("0.")
    assert street.split() == ["trip/street.jpg", "–", "no", "landmark", "–"]
    assert "place 1" in out
    assert "4 photos: 3 named, 1 no landmark" in err


def test_a_pattern_that_the_shell_did_not_expand(at: Path, capfd: Capture) -> None:
    _, out, _ = run(capfd, "recognize", "trip/[01].jpg", "-r", "r.wl")
    assert photos_in(out) == ["trip/0.jpg", "trip/1.jpg"]
    _, out, _ = run(capfd, "recognize", "**/*.jpg", "-r", "r.wl")
    assert photos_in(out) == [f"trip/{name}.jpg" for name in ("0", "1", "2", "street")]
    code, _, err = run(capfd, "recognize", "trip/*.png", "-r", "r.wl")
    assert (code, "trip/*.png: no such file" in err) == (4, True)


def test_home_is_expanded(at: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(at))
    code, out, _ = run(capfd, "recognize", "~/trip/0.jpg", "~/trip/1.jpg", "-r", "r.wl")
    assert (code, photos_in(out)) == (0, ["~/trip/0.jpg", "~/trip/1.jpg"])


def test_a_file_whose_name_is_a_pattern(at: Path, capfd: Capture) -> None:
    shutil.copy("trip/0.jpg", "a[1].jpg")
    code, out, _ = run(capfd, "recognize", "a[1].jpg", "-r", "r.wl")
    assert (code, out.startswith("a[1].jpg: Café <de> Paris")) == (0, True)


def test_a_photo_table_as_an_argument(at: Path, capfd: Capture) -> None:
    wl.write_photos("t.csv", wl.read_folder("trip", labelled=False)[:2])
    code, out, _ = run(capfd, "recognize", "t.csv", "-r", "r.wl")
    assert (code, len(photos_in(out))) == (0, 2)


def test_a_photo_that_is_named_twice_is_answered_once(at: Path, capfd: Capture) -> None:
    _, out, _ = run(capfd, "recognize", "trip/0.jpg", "trip/*.jpg", "-r", "r.wl")
    assert len(photos_in(out)) == 4


def test_many_give_the_same_answers_as_one_by_one(at: Path, capfd: Capture) -> None:
    _, out, _ = run(capfd, "recognize", "trip", "-r", "r.wl", "--json")
    together = [json.loads(line) for line in out.splitlines()]
    for expected in together:
        _, out, _ = run(capfd, "recognize", expected["photo"], "-r", "r.wl", "--json")
        alone = json.loads(out)
        for key in ("decision", "landmark", "guess", "second", "words", "warnings"):
            assert alone[key] == expected[key]
        assert alone["score"] == pytest.approx(expected["score"], abs=1e-5)
        assert alone["confidence"] == pytest.approx(expected["confidence"], abs=1e-5)


def test_a_damaged_photo_does_not_stop_the_others(at: Path, capfd: Capture) -> None:
    Path("trip/0a.jpg").write_bytes(b"\xff\xd8\xff broken")
    code, out, err = run(capfd, "recognize", "trip", "gone.jpg", "-r", "r.wl")
    assert (code, len(photos_in(out))) == (3, 6)
    assert out.count("not readable") == 2
    assert "gone.jpg: no such file" in err
    assert "trip/0a.jpg: " in err


def test_json_has_the_failed_photos_too(at: Path, capfd: Capture) -> None:
    Path("trip/0a.jpg").write_bytes(b"\xff\xd8\xff broken")
    code, out, _ = run(capfd, "recognize", "trip", "gone.jpg", "-r", "r.wl", "--json")
    found = {row["photo"]: row for row in map(json.loads, out.splitlines())}
    assert (code, len(found)) == (3, 6)
    assert found["gone.jpg"]["error"]["code"] == "not_found"
    assert found["trip/0a.jpg"]["error"]["code"] == "unreadable"
    assert set(found["trip/0a.jpg"]) == {"photo", "error"}
    assert found["trip/0.jpg"]["words"].startswith("Café <de> Paris")


def test_json_of_one_failed_photo(at: Path, capfd: Capture) -> None:
    code, out, _ = run(capfd, "recognize", "gone.jpg", "-r", "r.wl", "--json")
    assert (code, json.loads(out)["photo"]) == (4, "gone.jpg")


def test_json_warns_of_small_photos_as_the_server_does(at: Path, capfd: Capture) -> None:
    write_photo(at / "small.jpg", picture(0, 9, (60, 80)))
    _, out, _ = run(capfd, "recognize", "small.jpg", "-r", "r.wl", "--json")
    assert any("very small (80 × 60 px)" in text for text in json.loads(out)["warnings"])
    _, _, err = run(capfd, "recognize", "small.jpg", "-r", "r.wl")
    assert "very small" in err


def test_what_a_folder_holds_besides_is_counted(at: Path, capfd: Capture) -> None:
    Path("trip/notes.txt").write_text("hello")
    code, _, err = run(capfd, "recognize", "trip", "-r", "r.wl")
    assert (code, "1 × text" in err) == (0, True)
    Path("trip/scan.psd").write_bytes(b"8BPS\0\1" + bytes(60))
    code, out, err = run(capfd, "recognize", "trip", "-r", "r.wl", "--json", "--csv", "o.csv")
    assert (code, "Photoshop" in err) == (3, True)
    lost = json.loads(out.splitlines()[-1])
    assert (Path(lost["photo"]).name, lost["error"]["code"]) == ("scan.psd", "unsupported_format")
    assert lost["error"]["format"] == "Photoshop"
    assert rows_of("o.csv")[-1]["decision"] == "failed"


def test_sidecars_of_a_labelled_library_are_not_counted(at: Path, capfd: Capture) -> None:
    for photo in sorted(Path("trip").glob("*.jpg")):
        photo.with_name(f"{photo.name}.xmp").write_text("<?xpacket begin=''?><x:xmpmeta/>")
    Path("trip/notes.txt").write_text("of the trip")
    code, out, err = run(capfd, "recognize", "trip", "-r", "r.wl")
    assert (code, len(photos_in(out))) == (0, 4)
    assert ("1 file was not used" in err, ".xmp" in err) == (True, False)


def test_a_folder_without_photos(at: Path, capfd: Capture) -> None:
    Path("empty").mkdir()
    assert run(capfd, "recognize", "empty", "-r", "r.wl")[0] == 4


def rows_of(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_csv_has_one_row_a_photo(at: Path, capfd: Capture) -> None:
    Path("trip/bad.jpg").write_bytes(b"\xff\xd8\xff broken")
    code, _, _ = run(capfd, "recognize", "trip", "-r", "r.wl", "--csv", "answers.csv")
    rows = {row["path"]: row for row in rows_of("answers.csv")}
    assert (code, len(rows)) == (3, 5)
    first = rows["trip/0.jpg"]
    assert list(first) == [*answers.CSV_COLUMNS]
    assert (first["landmark"], first["title"]) == ("place_0", "Café <de> Paris")
    assert (first["decision"], first["error"]) == ("landmark", "")
    assert 0 < float(first["confidence"]) <= 1
    bad = rows["trip/bad.jpg"]
    assert (bad["decision"], bad["confidence"], bad["score"]) == ("failed", "", "")
    assert bad["error"]
    assert rows["trip/street.jpg"]["landmark"] == ""
    assert Path("answers.csv").read_bytes().startswith(b"\xef\xbb\xbfpath,")  # so Excel sees UTF-8


def test_csv_cells_are_no_formulas(at: Path, capfd: Capture) -> None:
    os.rename("trip/0.jpg", "trip/0")
    os.rename("trip/0", "=HYPERLINK(1).jpg")
    run(capfd, "recognize", "=HYPERLINK(1).jpg", "-r", "r.wl", "--csv", "a.csv")
    (row,) = rows_of("a.csv")
    assert row["path"] == "'=HYPERLINK(1).jpg"
    assert float(row["score"]) is not None  # numbers stay numbers, negative ones too


def test_csv_replaces_its_own_kind_only(at: Path, capfd: Capture) -> None:
    for _ in range(2):
        assert run(capfd, "recognize", "trip", "-r", "r.wl", "--csv", "a.csv")[0] == 0
    Path("notes.csv").write_text("mine,own\n")
    before = Path("trip/0.jpg").read_bytes()
    for target in ("trip/0.jpg", "notes.csv"):
        assert run(capfd, "recognize", "trip/0.jpg", "-r", "r.wl", "--csv", target)[0] == 2
    assert Path("trip/0.jpg").read_bytes() == before
    assert Path("notes.csv").read_text() == "mine,own\n"


def test_explain_needs_one_photo(at: Path, capfd: Capture) -> None:
    code, out, _ = run(capfd, "recognize", "trip", "-r", "r.wl", "--explain", "why.html")
    assert (code, out, Path("why.html").exists()) == (2, "", False)
    assert run(capfd, "recognize", "trip/0.jpg", "-r", "r.wl", "--explain", "why.html")[0] == 0
    assert Path("why.html").exists()


ODD_NAMES = {
    b"esc\x1b[31m.jpg": "esc\\x1b[31m.jpg", b"two\nlines.jpg": "two\\nlines.jpg",
    b"caf\xe9.jpg": "caf\\xe9.jpg", "清水寺.jpg".encode(): "清水寺.jpg",
    "rtl\u202egpj.jpg".encode(): "rtl\\u202egpj.jpg", b" lead.jpg": " lead.jpg",
    b"[bold]x.jpg": "[bold]x.jpg", b"-dash.jpg": "-dash.jpg",
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_in_table_json_and_csv(name: bytes, at: Path, capfd: Capture) -> None:
    try:
        shutil.copy(b"trip/0.jpg", b"trip/" + name)
    except OSError:
        pytest.skip("this system has no such names")
    code, out, _ = run(capfd, "recognize", "trip", "-r", "r.wl", "--csv", "o.csv")
    assert (code, len(out.splitlines())) == (0, 6)
    assert f"trip/{ODD_NAMES[name]}" in out
    code, out, _ = run(capfd, "recognize", "trip", "-r", "r.wl", "--json")
    in_json = [json.loads(line)["photo"] for line in out.splitlines()]
    assert (code, len(in_json)) == (0, 5)
    assert [row["path"] for row in rows_of("o.csv")] == in_json
    if name == b"caf\xe9.jpg":
        assert any(one.startswith("file:///") and one.endswith("caf%E9.jpg") for one in in_json)


@pytest.mark.parametrize("columns", [20, 34, 50, 80, 200])
def test_lines_fit_a_terminal(
    columns: int, at: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "the-quite-long-name-of-a-photo-from-寺院-a-holiday.jpg"
    shutil.copy("trip/0.jpg", f"trip/{name}")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(output.sys.stdout, "isatty", lambda: True)
    table = answers.AnswerTable([name, "b.jpg"], ["place_0" * 9], {})
    sure = wl.Prediction("place_0" * 9, "landmark", 0.97, 1.0, "place_0" * 9, ())
    for answer in (wl.Prediction.of_failed("x", "broken"), sure):
        table.add(name, answer)
    lines = capfd.readouterr().out.splitlines()
    assert max(map(answers.cells, lines)) <= columns
    assert "…" in lines[-1] or columns == 200


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_encoding_of_the_output(encoding: str, at: Path, capfd: Capture) -> None:
    shutil.copy("trip/0.jpg", "trip/清水寺.jpg")
    old, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    try:
        for more in ([], ["--json"]):
            sys.argv = ["whichlandmark", "recognize", "trip", "-r", "r.wl", *more]
            with pytest.raises(SystemExit) as ended:
                output.exit_with(app)
            assert not ended.value.code
        printed = sys.stdout.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    finally:
        sys.stdout = old
    found = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert "trip/清水寺.jpg" in {one["photo"] for one in found}


@pytest.mark.parametrize("arguments", [["--help"], ["keys", "list", "k.json"]])
def test_a_closed_pipe_ends_quietly(arguments: list[str], at: Path) -> None:
    code = (
        "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1)\n"
        "from whichlandmark.__main__ import main\n"
        "sys.argv[0] = 'whichlandmark'; main()"
    )
    from whichlandmark.serving.keys import add_key

    add_key(Path("k.json"), "anna", "read", None)
    command = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_no_landmark_names_the_best_guess(at: Path, capfd: Capture) -> None:
    _, out, _ = run(capfd, "recognize", "trip/street.jpg", "-r", "r.wl")
    first, *nearest = out.splitlines()
    assert first.startswith("trip/street.jpg: no landmark that I know (the likeliest is ")
    assert "(confidence" not in first
    assert len(nearest) == 3


def test_rules_and_quiet_with_many(at: Path, capfd: Capture) -> None:
    Path("strict.json").write_text('{"answer_above": 0.999999}')
    code, out, err = run(
        capfd, "recognize", "trip", "-r", "r.wl", "--rules", "strict.json", "--quiet"
    )
    assert (code, err) == (0, "")
    assert out.count("not sure") + out.count("no landmark") == 4


def test_evidence_prints_sentences(at: Path, capfd: Capture) -> None:
    _, out, _ = run(capfd, "recognize", "trip", "-r", "r.wl", "--evidence")
    assert out.count("(confidence 0.") == 3
    assert "photo  " not in out


def test_a_photo_given_twice_is_answered_once(at: Path, capfd: Capture) -> None:
    """By its folder and by its own name, relative, absolute and by a pattern."""
    whole = str(at / "trip" / "1.jpg")
    given = ("trip", "trip/1.jpg", "./trip/../trip/0.jpg", whole, "trip/*.jpg")
    code, out, err = run(capfd, "recognize", "-r", "r.wl", *given)
    assert (code, len(photos_in(out))) == (0, 4), err
    assert "4 photos: " in err


def test_files_for_fiftyone_and_label_studio(at: Path, capfd: Capture) -> None:
    shutil.copy(at / "trip" / "0.jpg", at / "torn.jpg")
    os.truncate(at / "torn.jpg", 300)
    files = ("--fiftyone", "labels.json", "--label-studio", "tasks.json")
    code, out, err = run(capfd, "recognize", "trip", "torn.jpg", "-r", "r.wl", *files)
    assert (code, len(photos_in(out))) == (3, 5), err
    labels = json.loads((at / "labels.json").read_text())
    assert [Path(photo).name for photo in labels["labels"]] == [
        "0.jpg", "1.jpg", "2.jpg", "street.jpg",
    ]  # fmt: skip
    assert len(json.loads((at / "tasks.json").read_text())) == 4
    assert (at / "tasks.xml").read_text().startswith('<View className="whichlandmark">')
    assert "dataset_type=fo.types.FiftyOneImageClassificationDataset)" in err
    assert f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={at.parent} and a local storage of {at};" in err
    run(capfd, "recognize", "trip", "-r", "r.wl", "--fiftyone", "labels.json", "--evidence")
    assert "FiftyOneImageDetectionDataset" in (at / "labels.json").read_text()
    (at / "tasks.xml").write_text("<mine/>")
    code, _, err = run(capfd, "recognize", "trip", "-r", "r.wl", "--label-studio", "tasks.json")
    assert (code, "not a labeling configuration" in err) == (2, True)
    code, _, err = run(capfd, "recognize", "torn.jpg", "-r", "r.wl", "--fiftyone", "none.json")
    assert (code, (at / "none.json").exists()) == (4, False)


def test_ctrl_c_keeps_what_was_answered(
    at: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = answers.Printer.add

    def add(printer: answers.Printer, *given: object) -> None:
        if printer.counts.total() == 2:
            raise KeyboardInterrupt
        real(printer, *given)

    monkeypatch.setattr(answers.Printer, "add", add)
    files = ("--csv", "a.csv", "--fiftyone", "labels.json")
    code, out, err = run(capfd, "recognize", "trip", "-r", "r.wl", *files)
    assert (code, len(photos_in(out))) == (130, 2)
    assert err.splitlines()[-2:] == ["2 of 4 photos were answered", "interrupted"]
    assert len((at / "a.csv").read_text(encoding="utf-8-sig").splitlines()) == 3
    assert len(json.loads((at / "labels.json").read_text())["labels"]) == 2


def test_progress_begins_with_the_number_of_photos(at: Path, capfd: Capture) -> None:
    """Before the first batch is answered, which may take a while."""
    for number in range(answers.PHOTOS_WITHOUT_PROGRESS):
        shutil.copy(at / "trip" / "0.jpg", at / "trip" / f"copy{number}.jpg")
    _, _, err = run(capfd, "recognize", "trip", "-r", "r.wl")
    assert "recognizing: 0 of 20" in err
