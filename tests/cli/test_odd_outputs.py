"""No command writes over its input, over another result, or over a file of another origin."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import run
from tests.support.photos import picture, write_photo
from whichlandmark.core.disks import only_writer
from whichlandmark.core.errors import OptionError
from whichlandmark.core.results import FOLDER, RESULTS, check_results, require_own_result


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, a recognizer (r.wl), tables, predictions, and files of other origin."""
    import whichlandmark as wl

    at = tmp_path_factory.mktemp("world")
    for code in range(3):
        for i in range(4):
            write_photo(at / "gallery" / f"place {code}" / f"{i}.jpg", picture(code, i))
        write_photo(at / "queries" / f"place {code}" / "q.jpg", picture(code, 50))
    wl.build("sift", wl.read_folder(at / "gallery")).save(at / "r.wl")
    (at / "splits").mkdir()
    wl.write_photos(at / "splits" / "train.csv", wl.read_folder(at / "gallery"))
    wl.write_photos(at / "queries.csv", wl.read_folder(at / "queries"))
    write_photo(at / "photo.jpg", picture(1, 1))
    write_photo(at / "photo.png", picture(1, 1))
    (at / "own.csv").write_text("path,who\ngallery/place 0/0.jpg,Ann\n")
    (at / "index.html").write_text("<!doctype html><title>My own page</title>")
    (at / "rules.json").write_text("{}")
    return at


@pytest.fixture
def indexed(world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Path:
    at = Path(shutil.copytree(world, tmp_path / "world"))
    ended = run(capfd, "evaluate", at / "queries.csv", "-r", at / "r.wl", "-o", at / "P.csv")
    assert ended[0] == 0, ended[2]
    return at


INPUT = "given as input and as output"
FOREIGN = "exists, and is not a"
OVERWRITING = {
    "evaluate onto its table": (
        "evaluate queries.csv -r r.wl -o queries.csv", "queries.csv", INPUT),
    "evaluate onto another table": (
        "evaluate queries.csv -r r.wl -o splits/train.csv", "splits/train.csv", FOREIGN),
    "evaluate onto a photo": (
        "evaluate queries.csv -r r.wl -o photo.jpg", "photo.jpg", FOREIGN),
    "evaluate onto its rules": (
        "evaluate queries.csv -r r.wl --rules rules.json -o rules.json", "rules.json", INPUT),
    "submission onto the predictions": (
        "evaluate queries.csv -r r.wl -o P.csv --submission P.csv", "P.csv", "for two results"),
    "submission onto older predictions": (
        "evaluate queries.csv -r r.wl -o Q.csv --submission P.csv", "P.csv", FOREIGN),
    "submission onto its table": (
        "evaluate queries.csv -r r.wl -o Q.csv --submission queries.csv", "queries.csv", INPUT),
    "report onto its predictions": ("report P.csv -o P.csv", "P.csv", INPUT),
    "report onto another table": ("report P.csv -o queries.csv", "queries.csv", FOREIGN),
    "report onto a photo": ("report P.csv -o photo.jpg", "photo.jpg", FOREIGN),
    "report onto an own page": ("report P.csv -o index.html", "index.html", FOREIGN),
    "report onto the scores": ("report P.csv -o P.scores.json", "P.scores.json", FOREIGN),
    "split into the folder of its table": (
        "split splits/train.csv -o splits", "splits/train.csv", INPUT),
    "import csv onto itself": (
        "import csv own.csv --path path -o own.csv", "own.csv", INPUT),
    "import csv onto another csv": (
        "import csv queries.csv --path path -o own.csv", "own.csv", FOREIGN),
    "import folder onto one of its photos": (
        "import folder gallery -o gallery/place?0/0.jpg", "gallery/place 0/0.jpg", FOREIGN),
    "clean onto its table": ("clean queries.csv -o queries.csv", "queries.csv", INPUT),
    "clean onto the table of --against": (
        "clean queries.csv --against splits/train.csv -o splits/train.csv", "splits/train.csv",
        INPUT),
    "clean onto predictions": ("clean queries.csv -o P.csv", "P.csv", FOREIGN),
    "explanation onto the photo": (
        "recognize photo.jpg -r r.wl --explain photo.jpg", "photo.jpg", INPUT),
    "explanation onto an own page": (
        "recognize photo.jpg -r r.wl --explain index.html", "index.html", FOREIGN),
    "explanation onto another photo": (
        "recognize photo.jpg -r r.wl --explain photo.png", "photo.png", FOREIGN),
}  # fmt: skip


@pytest.mark.parametrize("case", OVERWRITING)
def test_a_command_leaves_the_file_alone(
    case: str, indexed: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, name, message = OVERWRITING[case]
    monkeypatch.chdir(indexed)
    before = digests(indexed)
    code, out, err = run(capfd, *(word.replace("?", " ") for word in command.split()))
    assert code == 2
    assert name in err
    assert message in err
    assert out == ""
    assert digests(indexed) == before


def digests(folder: Path) -> dict[Path, str]:
    """Of every file, but for the two that SQLite removes when the last reader closes a gallery."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    own = [path for path in files if not path.name.endswith(("-shm", "-wal"))]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in own}


def test_an_earlier_result_is_replaced(indexed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    at = indexed
    explain = ["recognize", at / "photo.jpg", "-r", at / "r.wl", "--explain"]
    commands = [
        ["import", "folder", at / "gallery", "-o", at / "t.csv"],
        ["clean", at / "queries.csv", "-o", at / "c.csv", "--min-photos", 1],
        ["evaluate", at / "queries.csv", "-r", at / "r.wl", "-o", at / "P.csv",
         "--submission", at / "S.csv"],
        ["report", at / "P.csv", "-o", at / "P.html"],
        [*explain, at / "e.html"],
        [*explain, at / "e.png"],
    ]  # fmt: skip
    for command in commands:
        assert run(capfd, *command)[0] == 0
        assert run(capfd, *command)[0] == 0, command


def test_the_same_file_under_another_name_is_an_input(tmp_path: Path) -> None:
    table = tmp_path / "photos.csv"
    table.write_text("id,path,landmark\n")
    (tmp_path / "link.csv").symlink_to(table)
    os.link(table, tmp_path / "hard.csv")
    for name in ("link.csv", "hard.csv", f"../{tmp_path.name}/photos.csv"):
        with pytest.raises(OptionError, match="no input is ever overwritten"):
            check_results([(tmp_path / name, "photo table")], [table])


def test_a_folder_is_no_file_and_a_file_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="expected a folder"):
        check_results([(tmp_path / "file", FOLDER)])
    with pytest.raises(OptionError, match="expected the name of a file for the page"):
        check_results([(tmp_path, "page")])
    with pytest.raises(OptionError, match="choose another name for the folder"):
        check_results([(tmp_path, FOLDER)], [tmp_path])
    require_own_result(tmp_path / "file", "page")  # an empty file is free


def test_train_and_embedder_do_not_write_into_their_photos(
    indexed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for verb in ("train", "embedder"):
        code, _, err = run(capfd, verb, indexed / "gallery", "-o", indexed / "gallery")
        assert (code, INPUT in err) == (2, True)


def test_google_landmarks_tables_are_not_replaced(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The data set has a train.csv of its own, so the folder of the data set cannot be --out."""
    text = "id,url,landmark_id\n0123456789abcdef,http://a/b.jpg,7\n"
    (tmp_path / "train.csv").write_text(text)
    code, _, err = run(capfd, "import", "gldv2", tmp_path, "-o", tmp_path)
    assert (code, "is not a photo table that whichlandmark wrote" in err) == (2, True)
    assert (tmp_path / "train.csv").read_text() == text


def test_every_kind_has_a_pattern_that_no_other_kind_matches() -> None:
    import re

    starts = {
        "photo table": b"id,path,landmark,usage\n",
        "list of dropped photos": b"id,path,landmark,reason,detail\n",
        "table of predictions": b"id,landmark,score,confidence,decision,truth\n",
        "table of answers": b"\xef\xbb\xbfpath,landmark,title,decision,confidence\r\n",
        "table of labels": b"\xef\xbb\xbfphoto,landmark,title,decision,confidence,state,why\r\n",
        "map of labels": b'{\n  "type": "FeatureCollection",\n  "generator": "whichlandmark",\n',
        "submission": b"id,landmarks\n",
        "retrieval submission": b"id,images\n",
        "table of results": b"<!-- whichlandmark results table: `evaluate --table` adds",
        "file for FiftyOne": b'{\n  "info": {\n    "generator": "whichlandmark",\n',
        "file for Label Studio": b'[\n  {\n    "data": {\n      "recognized_by": "whichlandmark",',
        "labeling configuration": b'<View className="whichlandmark">\n',
        "file of scores": b'{\n  "gap": 0.9\n}',
        "file of results": b'{\n  "protocol": "roxford5k",\n  "measured_by": "whichlandmark 1"',
        "file of similarities": b'{\n"a/query/Q0.jpg": {"a/pos/P0.jpg": 0.91, "x.tar/b": -1e-3, ',
        "list of landmarks": b"landmark,name,category\n",
        "list of files left out": b"path,reason\n",
        "list of problems": b"kind,name,detail\n",
        "table of landmark records": b"landmark,title,wikidata,latitude,longitude,source,name:fr\n",
        "table of suggestions": b"landmark,title,wikidata,label,description,score\n",
        "table of credits": b"id,author,licence,licence_url,source\n",
        "table of offsets": b"id,tar,offset,size\n",
        "page": b'<!doctype html>\n<meta name="generator" content="whichlandmark">',
        "picture": b"\x89PNG\r\n\x1a\n....tEXtSoftware\0whichlandmark",
    }
    assert set(starts) == set(RESULTS)
    for kind, start in starts.items():
        matched = [name for name in RESULTS if re.search(RESULTS[name], start, re.DOTALL)]
        assert matched == [kind]
    assert re.search(RESULTS["table of credits"], b"id,author,licence,source\n")  # as before


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (("split", "gallery", "-o", "halves"), "halves/train.csv"),
        (("import", "folder", "gallery", "-o", "new.csv"), "new.csv"),
        (("clean", "gallery", "-o", "cleaned.csv"), "cleaned.csv"),
        (("train", "gallery", "-o", "embedder"), "embedder"),
        (("report", "splits/train.csv", "-o", "page.html"), "page.html"),
    ],
)
def test_a_result_that_another_process_is_writing_is_not_written(
    world: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...], written: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(world)
    script = "import sys; from whichlandmark.core.disks import only_writer\n"
    script += f"with only_writer({written!r}): print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        code, _, said = run(capfd, *words)
        other.communicate(b"")
    assert code == 6
    assert f"{written}: another process is writing it now; wait until it ends" in said
    assert not Path(written).exists()
    with only_writer(written):
        pass  # free again
