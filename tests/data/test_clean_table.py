"""The `clean` and `split` commands: written files, the page, resuming, bad input."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_commands import json_of, run
from tests.data.test_cleaning import cropped, encoded, scene, visitors
from tests.data.test_neighbour_support import embedder
from tests.data.test_places365 import folder as places_folder
from tests.data.test_places365 import network
from tests.features.test_matching import building, seen_from_aside
from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.core.types import Photos
from whichlandmark.data.cleaning.clean_table import write_cleaning_page
from whichlandmark.data.cleaning.drop import CleanResult, Drop
from whichlandmark.data.cleaning.reasons import LEAK, NEAR_DUPLICATE, UNREADABLE
from whichlandmark.data.table import read_photos, write_photos

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """photos/ with photos for several drop reasons, and test/ with one of the same pictures."""
    files = {
        "A/1": scene(1), "A/2": scene(2), "A/3": scene(3), "A/copy": scene(3), "B/1": scene(5),
        "A/crop": cropped(scene(2), 0.02, 0.02, 0.02, 0.02), "B/2": scene(6), "B/3": scene(7),
        "C/1": scene(8), "B/leak": scene(9),
    }  # fmt: skip
    for name, image in files.items():
        path = tmp_path / "photos" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(image, 85 if name == "A/crop" else 90))
    (tmp_path / "photos" / "A" / "<b>.jpg").write_bytes(b"no photo")
    (tmp_path / "test" / "B").mkdir(parents=True)
    (tmp_path / "test" / "B" / "x.jpg").write_bytes(encoded(scene(9), 60))
    return tmp_path


def test_clean_refuses_to_overwrite_its_input(collection: Path, capfd: Capture) -> None:
    table = collection / "all.csv"
    write_photos(table, photos_of(collection / "photos"))
    before = table.read_bytes()
    code, _, err = run(capfd, "clean", table, "-o", collection / "photos" / ".." / "all.csv")
    assert (code, "no input is ever overwritten" in err) == (2, True)
    assert table.read_bytes() == before


def test_clean_writes_the_table_the_csv_of_drops_and_the_page(
    collection: Path, capfd: Capture
) -> None:
    at, out = collection, collection / "out" / "clean.csv"
    arguments = ["clean", at / "photos", "-o", out, "--min-photos", 2, "--against", at / "test"]
    counts = json_of(capfd, *arguments)
    assert counts == {
        "photos": 11, "kept": 6, "unreadable": 1, "also in test": 1, "duplicate": 1,
        "near duplicate": 1, "too few photos of the landmark": 1,
    }  # fmt: skip
    assert len(read_photos(out)) == 6
    with open(at / "out" / "clean.cleaning.csv", newline="", encoding="utf-8") as file:
        drops = {row["id"]: (row["reason"], row["detail"]) for row in csv.DictReader(file)}
    assert drops["photos/B/leak.jpg"] == ("also in test", "test/B/x.jpg (B)")
    page = (at / "out" / "clean.cleaning.html").read_text()
    assert len(re.findall(r"<h2 ", page)) == 5
    assert page.count("data:image/jpeg;base64,") == 7  # three pairs and one photo without a partner
    assert "photos/<wbr>A/<wbr>&lt;b&gt;.jpg" in page
    assert "<b>.jpg" not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", page)  # nothing is loaded from a URL
    code, _, err = run(capfd, *arguments)
    assert (code, "12 photos were scanned by an earlier run" in err) == (0, True)
    assert (at / "out" / "clean.cleaning.html").read_text() == page
    assert len(photos_of(at / "photos")) == 11  # nothing is deleted


def test_clean_drops_indoor_photos(collection: Path, capfd: Capture) -> None:
    at = collection
    (at / "places").mkdir()
    places = places_folder(at / "places", network())
    arguments = ["clean", at / "photos", "-o", at / "c.csv", "--min-photos", 1, "--device", "cpu",
                 "--places365", places]  # fmt: skip
    counts = []
    for least in range(6):
        code, printed, err = run(capfd, *arguments, "--outdoor", least, "--json")
        found = json.loads(printed)
        assert (code, "no photo of" in err) == ((0, False) if found["kept"] else (4, True))
        counts.append(found.get("not outdoors", 0))
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert counts[5] > 0
    with open(at / "c.cleaning.csv", newline="", encoding="utf-8") as file:
        details = [r["detail"] for r in csv.DictReader(file) if r["reason"] == "not outdoors"]
    assert all(re.fullmatch(r"[0-4] outdoors of: [a-z_/]+(, [a-z_/]+){4}", d) for d in details)


@pytest.mark.slow
@pytest.mark.usefixtures("not_exported")
def test_clean_with_graph_drops_the_photo_unlike_its_landmark(
    tmp_path: Path, capfd: Capture
) -> None:
    for i in range(4):
        warp = [[1 + 0.08 * i, 0.05 * i, -30 * i], [-0.04 * i, 1 - 0.05 * i, 20 * i], [0, 0, 1]]
        image = seen_from_aside(building(1), np.array(warp, dtype=float))
        write_photo(tmp_path / "photos" / "A" / f"{i}.jpg", visitors(image, i))
    write_photo(tmp_path / "photos" / "A" / "odd.jpg", building(9))
    arguments = ["clean", tmp_path / "photos", "-o", tmp_path / "c.csv", "--graph",
                 embedder(tmp_path), "--trusted", 0]  # fmt: skip
    counts = json_of(capfd, *arguments, "--min-photos", 2)
    assert counts["unlike other photos of the landmark"] == 1
    assert "A/odd.jpg" not in (tmp_path / "c.csv").read_text()
    page = (tmp_path / "c.cleaning.html").read_text()
    assert "0 of the 4 nearest support it, 3 wanted" in page
    assert page.count("data:image/jpeg") == 2
    assert run(capfd, *arguments, "--inliers", 1000)[0] == 4  # no photo is left


def test_split_writes_a_validation_set(tmp_path: Path, capfd: Capture) -> None:
    for code in range(6):
        for i in range(5):
            write_photo(tmp_path / "photos" / f"L{code}" / f"{i}.jpg", picture(code, i))
    for i in range(8):
        write_photo(tmp_path / "streets" / f"{i}.jpg", picture(50 + i, i))
    parts = json_of(
        capfd, "split", tmp_path / "photos", "-o", tmp_path / "s", "--landmarks", 2, "--unknown",
        1, "--query-share", 0.4, "--distractors", tmp_path / "streets", "--bank-share", 0.25,
    )  # fmt: skip
    assert parts.pop("kinds of queries") == {
        "known landmark": 4, "unknown landmark": 5, "no landmark": 6, "share of known": 0.4,
    }  # fmt: skip
    assert parts == {"train": 15, "database": 6, "queries": 4 + 5 + 6, "bank": 2}
    assert {path.name for path in (tmp_path / "s").iterdir()} == {f"{name}.csv" for name in parts}
    assert len(read_photos(tmp_path / "s" / "queries.csv")) == 15
    write_photo(tmp_path / "photos" / "L0" / "1.jpg", picture(0, 0))
    (tmp_path / "photos" / "L0" / "2.jpg").unlink()
    photos = photos_of(tmp_path / "photos")
    gone = tmp_path / "photos" / "L0" / "2.jpg"
    table = Photos.of_columns([*photos.ids, "gone"], [*photos.paths, str(gone)],
                              [*photos.landmarks, "L0"])  # fmt: skip
    write_photos(tmp_path / "all.csv", table)
    code, out, err = run(capfd, "split", tmp_path / "all.csv", "-o", tmp_path / "s2", "--json")
    assert code == 3
    counts = json.loads(out)
    assert counts.pop("kinds of queries")["no landmark"] == 0
    assert sum(counts.values()) == 30
    assert re.search(r"gone: .*2\.jpg: no such file\n", err)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["clean", "{at}/photos", "-o", "{at}/c.csv", "--places365", "{at}/none"], 4,
         "no such folder; expected a folder with resnet50_places365.pth.tar"),
        (["clean", "{at}/photos", "-o", "{at}/c.csv", "--places365", "{at}/photos"], 4,
         "resnet50_places365.pth.tar is missing"),
        (["clean", "{at}/photos", "-o", "{at}/c.csv", "--places365", "{at}/p", "--outdoor", "6"],
         2, "outdoor 6 given with 5 scenes"),
        (["clean", "{at}/photos", "-o", "{at}/c.csv", "--against", "{at}/gone.csv"], 4,
         "no such file or folder"),
        (["clean", "{at}/photos", "-o", "{at}/c.csv", "--against", "{at}/photos"], 2,
         "given as the table and with --against"),
        (["clean", "{at}/photos", "-o", "{at}/c.csv", "--graph", "{at}/photos"], 4,
         "no embedder in this folder"),
        (["clean", "{at}/photos", "-o", "{at}/c.csv", "--graph", "sift", "--supporters", "30"], 2,
         "no more supporters than neighbours"),
        (["clean", "{at}/photos", "-o", "{at}/bad.csv"], 5, "delete it to scan the photos again"),
        (["split", "{at}/photos", "-o", "{at}/s", "--unknown", "9"], 2,
         "9 unknown landmarks given; the table has"),
        (["split", "{at}/photos", "-o", "{at}/s", "--landmarks", "2", "--test", "0.1"], 2,
         "expected one of them"),
        (["split", "{at}/photos", "-o", "{at}/s", "--landmarks", "9"], 2, "the table has 3"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(
    collection: Path, capfd: Capture, arguments: list[str], code: int, message: str
) -> None:
    (collection / "bad.looks.sqlite").write_bytes(b"nonsense" * 100)
    ended, out, err = run(capfd, *[a.format(at=collection) for a in arguments])
    assert (ended, out) == (code, ""), err
    assert message in err
    assert err.count("error: ") == 1
    assert not (collection / "c.csv").exists()


def test_the_page_is_capped_and_tolerates_missing_photos(tmp_path: Path) -> None:
    """Shown photos are sampled evenly from the drops; a missing photo gets a placeholder."""
    write_photo(tmp_path / "present.jpg", picture(1, 1))
    present, gone = str(tmp_path / "present.jpg"), str(tmp_path / "gone.jpg")
    drops = [Drop(f"n{i:02d}", present, "A", NEAR_DUPLICATE, "other", gone) for i in range(50)]
    drops.append(Drop("bad", gone, "A", UNREADABLE, "the file is empty"))
    leak = Drop("leak", gone, "", LEAK, "x (B)", present)
    none = Photos.of([])
    write_cleaning_page(tmp_path / "p.html", CleanResult(none, drops, [leak]), photos_per_reason=5)
    page = (tmp_path / "p.html").read_text()
    shown = re.findall(r"<span>(n\d\d)</span>", page)
    assert shown == ["n00", "n12", "n24", "n37", "n49"]
    assert "5 of 50 are shown." in page
    assert page.count("photo not found") == 6
    assert page.count("<li>") == 1
    assert 'class="photo kept"' in page
    several = Photos.of_columns(["a", "b", "c"], ["a.jpg", "b.jpg", "c.jpg"], ["x|y", "x", ""])
    write_cleaning_page(tmp_path / "r.html", CleanResult(several, []))
    assert "Landmarks kept</span><b>2</b>" in (tmp_path / "r.html").read_text()
    write_cleaning_page(tmp_path / "q.html", CleanResult(none, []))
    assert "No photo was dropped." in (tmp_path / "q.html").read_text()
