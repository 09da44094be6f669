"""`evaluate --protocol gldv2-…` on drawn photos laid out as published; submissions and tables."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image as Pillow

from tests.cli.test_commands import json_of, run
from tests.support.gldv2_layout import Gldv2Set, Item, hex_id, photo_path, write_gldv2
from tests.support.photos import picture, write_photo


def jpeg(hue: int, seed: int) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(picture(hue, seed)).save(file, "JPEG", quality=92)
    return file.getvalue()


INDEX = [(hex_id(f"i{hue}-{n}"), hue, n) for hue in range(4) for n in range(3)]

TEST = [(hex_id(f"q{n}"), n % 5, 50 + n, "Public" if n % 2 else "Private") for n in range(10)]


def write_world(root: Path, *, unpacked: bool = False) -> Path:
    """4 landmarks of 3 index photos; 8 test photos of them, and 2 without a landmark."""
    photos = Gldv2Set(
        index=[Item(name, str(hue), jpeg(hue, n)) for name, hue, n in INDEX],
        test=[
            Item(name, str(hue) if hue < 4 else "", jpeg(hue, n), usage)
            for name, hue, n, usage in TEST
        ],
    )
    write_gldv2(root, photos, unpacked=unpacked)
    rows = ["id,images,Usage"]
    for name, hue, _, usage in TEST:
        shown = " ".join(one for one, other, _ in INDEX if other == hue)
        rows.append(f"{name},{shown},{usage}" if shown else f"{name},None,Ignored")
    (root / "retrieval_solution_v2.1.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gldv2/ in tars, and r.wl, a recognizer of landmarks 0 to 2 and one that has no test photo."""
    import whichlandmark as wl

    at = tmp_path_factory.mktemp("world")
    write_world(at / "gldv2")
    for hue in (0, 1, 2, 77):
        for n in range(4):
            write_photo(at / "train" / str(hue) / f"{n}.jpg", picture(hue, n))
    for n in range(5):
        write_photo(at / "bank" / f"{n}.jpg", picture(100 + n, n))
    wl.build(
        "lite0",
        wl.read_folder(at / "train"),
        distractors=wl.read_folder(at / "bank", labelled=False),
    ).save(at / "r.wl")
    return at


def test_retrieval_is_measured_and_its_submission_scores_the_same(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, mine = tmp_path / "r.json", tmp_path / "mine.csv"
    found = json_of(capfd, "evaluate", world / "gldv2", "--protocol", "gldv2-retrieval",
                    "-o", out, "--submission", mine)  # fmt: skip
    assert json.loads(out.read_text())["measured_by"].startswith("whichlandmark ")
    assert (found["protocol"], found["part"]) == ("gldv2-retrieval", "")
    assert (found["queries"], found["database"], found["missing"]) == (8, 12, [])
    rows = {(row["setting"], row["measure"]): row for row in found["rows"]}
    assert rows["all", "mAP@100"]["queries"] == 8
    assert rows["all", "mAP@100"]["value"] > 0.7  # colours are told apart
    assert rows["all", "P@100"]["value"] == pytest.approx(0.03)  # all 3 of 12 photos
    assert 1 <= rows["all", "mean position"]["value"] <= 3
    scored = json_of(capfd, "evaluate", world / "gldv2", "--protocol", "gldv2-retrieval",
                     "--submission-in", mine)  # fmt: skip
    again = {(row["setting"], row["measure"]): row for row in scored["rows"]}
    assert set(again) == set(rows)
    for key, row in rows.items():
        assert again[key]["value"] == pytest.approx(row["value"], abs=1e-12)
        assert again[key]["interval"] == pytest.approx(row["interval"], abs=1e-12)
    for setting, each in found["average_precision"].items():
        assert scored["average_precision"][setting] == pytest.approx(each)


def test_a_part_of_the_tars_is_measured_and_named_everywhere(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = write_world(tmp_path / "gldv2", unpacked=True)
    for name, _, _ in INDEX[:5]:
        (root / "index" / photo_path(name)).unlink()
    code, out, err = run(capfd, "evaluate", root, "--protocol", "gldv2-retrieval",
                         "--table", tmp_path / "t.md", "-o", tmp_path / "r.json")  # fmt: skip
    part = "7 of 12 index photos, 8 of 8 queries"
    assert code == 0, err
    assert f"gldv2-retrieval ON A PART OF THE DATA ({part}): 8 queries, 7 photos" in out
    assert "not comparable with published ones" in err
    assert json.loads((tmp_path / "r.json").read_text())["part"] == part
    text = (tmp_path / "t.md").read_text()
    assert f"<sup>a</sup> on a part of the data: {part}" in text
    assert "**" not in text


def test_recognition_counts_every_photo_of_the_solution(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.csv"
    found = json_of(capfd, "evaluate", world / "gldv2", "--protocol", "gldv2-recognition",
                    "-r", world / "r.wl", "--submission", mine)  # fmt: skip
    rows = {(row["setting"], row["measure"]): row for row in found["rows"]}
    assert rows["all", "GAP"]["queries"] == 10
    assert 0.4 < rows["all", "top-1"]["value"] <= 6 / 8  # landmark 3 is not in the gallery
    said = "\n".join(found["notes"])
    assert found["rules"][-3:] == [
        "gallery: 16 photos of 4 landmarks", "distractors: 5 photos", "score: learned",
    ]  # fmt: skip
    assert (
        "6 of 8 photos that show a landmark show one of the gallery: GAP cannot exceed 0.750"
        in said
    )
    assert "1 of 4 landmarks of the solution are not in the gallery: 3" in said
    assert found["database"] == 16
    assert any("photo ids, as the authors' code does" in rule for rule in found["rules"])
    scored = json_of(capfd, "evaluate", world / "gldv2", "--protocol", "gldv2-recognition",
                     "--submission-in", mine)  # fmt: skip
    again = {(row["setting"], row["measure"]): row["value"] for row in scored["rows"]}
    assert again == pytest.approx({key: row["value"] for key, row in rows.items()})


def test_photos_that_are_missing_unreadable_or_in_the_gallery_are_counted_and_told(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = write_world(tmp_path / "gldv2", unpacked=True)
    for name, _, _, _ in TEST[:4]:
        (root / "test" / photo_path(name)).unlink()
    (root / "test" / photo_path(TEST[5][0])).write_bytes(b"no photo")
    same = (world / "train" / "1" / "0.jpg").read_bytes()
    (root / "test" / photo_path(TEST[6][0])).write_bytes(same)
    out = tmp_path / "r.json"
    code, printed, _ = run(capfd, "evaluate", root, "--protocol", "gldv2-recognition",
                             "-r", world / "r.wl", "-o", out)  # fmt: skip
    assert code == 3
    assert "gldv2-recognition ON A PART OF THE DATA (6 of 10 test photos): 10 queries" in printed
    assert "photos of the solution without a file: 4, of them 4 with a landmark" in printed
    assert "photos that cannot be read, and count as without a prediction: 1" in printed
    assert "test photos that are in the gallery or among its distractors" in printed
    found = json.loads(out.read_text())
    assert list(found["unreadable"]) == [TEST[5][0]]
    assert sorted(found["missing"]) == sorted(name for name, *_ in TEST[:4])
    queries = {(row["setting"], row["measure"]): row["queries"] for row in found["rows"]}
    assert queries["all", "GAP"] == 10
    assert queries["all (photos that are there)", "GAP"] == 6
    assert queries["public (photos that are there)", "GAP"] == 3


def test_a_submission_needs_no_photos_but_the_solution(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s.csv").write_text("id,landmarks,Usage\na,1 2,Public\nb,,Private\nc,3,Private\n")
    (tmp_path / "theirs.csv").write_text("id,landmarks\na,2 0.9\nb,5 0.8\nc,3 0.7\n")
    code, out, err = run(capfd, "evaluate", tmp_path / "s.csv", "--protocol", "gldv2-recognition",
                         "--submission-in", tmp_path / "theirs.csv")  # fmt: skip
    assert code == 0, err
    gaps = {words[0]: words[1] for line in out.splitlines() if len(words := line.split()) > 4}
    assert (gaps["public"], gaps["private"], gaps["all"]) == ("100.00", "50.00", "83.33")


BAD = {
    "no recognizer": ("--protocol gldv2-recognition", 2, "expected -r FOLDER"),
    "submission of another protocol": (
        "--protocol roxford5k --submission-in p.csv", 2, "expected gldv2-recognition or"),
    "submission without a protocol": ("--submission-in p.csv -r r.wl", 2, "expected --protocol"),
    "a recognizer for retrieval": (
        "--protocol gldv2-retrieval -r r.wl", 2, "-r given; --protocol gldv2-retrieval has no use"),
    "an embedder for recognition": (
        "--protocol gldv2-recognition -r r.wl --embedder lite0", 2, "--embedder given"),
    "an embedder for a submission": (
        "--protocol gldv2-retrieval --submission-in p.csv --embedder lite0", 2,
        "with --submission-in has no use for it"),
    "a table of another kind": (
        "--protocol gldv2-retrieval --table t.xlsx", 2, "expected a name ending in .md, .tex"),
    "a table of other origin": (
        "--protocol gldv2-retrieval --table own.md", 2, "is not a table of results"),
    "no submission": (
        "--protocol gldv2-retrieval --submission-in none.csv", 4, "none.csv"),
    "a damaged table": (
        "--protocol gldv2-retrieval --table damaged.md", 4, "damaged.md: cannot be added to"),
    "a submission of the other task": (
        "--protocol gldv2-retrieval --submission-in p.csv", 4, "expected id,images, as"),
    "a submission onto the other kind": (
        "--protocol gldv2-retrieval --submission p.csv", 2, "is not a retrieval submission"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_before_the_work(
    case: str, world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.wl").symlink_to(world / "r.wl")
    (tmp_path / "p.csv").write_text("id,landmarks\n")
    (tmp_path / "own.md").write_text("# mine\n")
    (tmp_path / "damaged.md").write_text("<!-- whichlandmark results table: … -->\n")
    options, code, message = BAD[case]
    ended, out, err = run(capfd, "evaluate", world / "gldv2", *options.split())
    assert (ended, out) == (code, ""), err
    assert message in err
    assert (tmp_path / "own.md").read_text() == "# mine\n"


def test_a_gallery_without_a_landmark_of_the_solution_is_refused(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    solution = tmp_path / "recognition_solution.csv"
    solution.write_text(f"id,landmarks,Usage\n{TEST[0][0]},900,Public\n")
    code, _, err = run(capfd, "evaluate", world / "gldv2", "--protocol", "gldv2-recognition",
                       "-r", world / "r.wl", "--ground-truth", solution)  # fmt: skip
    assert code == 4
    assert "none of the 1 landmarks of the solution, such as 900; its own are 0, 1, 2, 77" in err


def test_results_are_joined_as_a_table(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    retrieval, recognition = tmp_path / "a.json", tmp_path / "b.json"
    for protocol, out, options in (
        ("gldv2-retrieval", retrieval, []),
        ("gldv2-recognition", recognition, ["-r", world / "r.wl"]),
    ):  # fmt: skip
        table = ["--table", tmp_path / "added.md"]
        code, _, err = run(capfd, "evaluate", world / "gldv2", "--protocol", protocol, "-o", out,
                           *table, *options)  # fmt: skip
        assert code == 0, err
    code, out, err = run(capfd, "report", retrieval, recognition, "-o", tmp_path / "joined.md")
    assert (code, out.strip()) == (0, str(tmp_path / "joined.md")), err
    assert (tmp_path / "joined.md").read_text() == (tmp_path / "added.md").read_text()
    lines = (tmp_path / "joined.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| lite0-")]
    assert len(rows) == 1  # one embedder
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert (cells[1], cells[3]) == ("1280", "Apache-2.0")
    found = json.loads(retrieval.read_text())["rows"][0]
    assert cells[5].startswith(f"{100 * found['value']:.1f}<sup>")
    code, _, err = run(capfd, "report", retrieval, tmp_path / "joined.md", "-o", tmp_path / "x.md")
    assert code == 2
    assert "2 files given; expected one predictions.csv, or result files" in err
    (tmp_path / "c.json").write_text('{"protocol": "roxford5k"}')
    code, _, err = run(capfd, "report", tmp_path / "c.json", "-o", tmp_path / "x.md")
    assert code == 4
    assert "c.json: not a result of a protocol (KeyError: 'rows')" in err
