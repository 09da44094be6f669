"""The command line: every verb, and an exit code and one line for each kind of bad input."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer

from tests.support.photos import write_colour_world
from whichlandmark.cli import app, output
from whichlandmark.cli.verbs import VERBS
from whichlandmark.data.folders import read_folder
from whichlandmark.recognition.indexing.index_photos import index_photos
from whichlandmark.recognition.rules import SCORES, Score


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    old = sys.argv
    sys.argv = ["whichlandmark", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as ended:
            output.exit_with(app)
    finally:
        sys.argv = old
        output.settings.debug = False
    out, err = capfd.readouterr()
    return int(ended.value.code or 0), out, err


def json_of(capfd: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict:
    ended, out, err = run(capfd, *arguments, "--json")
    assert ended == code, err
    return json.loads(out)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: writing ONNX takes seconds."""
    from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
    from whichlandmark.features.embedders.torch_network import Architecture, new_network
    from whichlandmark.features.preprocessing import Preprocessing

    at = tmp_path_factory.mktemp("tiny")
    net = new_network(Architecture(backbone="test_resnet", dim=32))
    TorchEmbedder(net, Preprocessing(size=64), device="cpu").save(at)
    return at


@pytest.fixture
def tiny_embedder(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "embedder"))


@pytest.fixture
def recognizer(colour_world: Path, tiny_embedder: Path, capfd: pytest.CaptureFixture[str]) -> Path:
    out = colour_world / "r.wl"
    counts = json_of(
        capfd, "index", colour_world / "gallery", "-o", out, "--embedder", tiny_embedder,
        "--distractors", colour_world / "bank",
    )  # fmt: skip
    assert (counts["photos"], counts["landmarks"], counts["distractors"]) == (24, 4, 10)
    return out


@pytest.fixture(scope="module")
def wrong_world(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with a recognizer, and with what no command takes. No command may change it."""
    from whichlandmark.features.embedders.torch_embedder import TorchEmbedder
    from whichlandmark.features.embedders.torch_network import Architecture, new_network
    from whichlandmark.features.preprocessing import Preprocessing

    at = write_colour_world(tmp_path_factory.mktemp("wrong"))
    (at / "empty").mkdir()
    (at / "odd.csv").write_text("id,path,landmrk\na,a.jpg,b\n")
    (at / "bad.json").write_text('{"epoch": 4}')
    other = new_network(Architecture(backbone="test_resnet", dim=32), seed=9)
    TorchEmbedder(other, Preprocessing(size=64)).save(at / "e2", export=False)
    index_photos(
        read_folder(at / "gallery"), read_folder(at / "bank", labelled=False), at / "r.wl",
        exported, progress=lambda name: lambda *numbers: None,
    )  # fmt: skip
    return at


def test_from_folder_to_report(
    colour_world: Path, tiny_embedder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """import → clean → split → train → index → recognize → evaluate → report, as documented."""
    at = colour_world
    assert run(capfd, "import", "folder", at / "gallery", "-o", at / "photos.csv")[0] == 0
    counts = json_of(capfd, "clean", at / "photos.csv", "-o", at / "clean.csv", "--min-photos", 3)
    assert counts["photos"] == 24
    assert counts["kept"] == 24
    parts = json_of(capfd, "split", at / "clean.csv", "--test", 0.25, "-o", at / "splits")
    assert (parts["train"], parts["test"]) == (18, 6)
    settings = ["backbone=test_resnet", "size=64", "crop=64", "dim=16", "landmarks_per_batch=4",
                "photos_per_landmark=2", "workers=0"]  # fmt: skip
    flags = [flag for setting in settings for flag in ("--set", setting)]
    row = json_of(
        capfd, "train", at / "splits" / "train.csv", "-o", at / "embedder2", "--epochs", 1, *flags
    )
    assert row["epoch"] == 1
    made = json_of(
        capfd, "index", at / "splits" / "train.csv", "-o", at / "p.wl", "--embedder",
        at / "embedder2", "--distractors", at / "bank", "--score", "query_penalty",
    )  # fmt: skip
    assert made["score"] == "query_penalty"
    answer = json_of(capfd, "recognize", at / "queries" / "0-0.jpg", "--recognizer", at / "p.wl")
    assert answer["guess"] in {f"place {i}" for i in range(4)}
    scores = json_of(
        capfd, "evaluate", at / "queries.csv", "--recognizer", at / "p.wl", "-o", at / "p.csv",
        "--submission", at / "submission.csv", "--all-scores",
    )  # fmt: skip
    assert 0 <= scores["gap"] <= 1
    assert scores["gap"] == pytest.approx(scores["gap_by_score"]["query_penalty"])
    assert (scores["queries"], scores["known"]) == (18, 12)
    with open(at / "submission.csv", newline="") as file:
        assert next(csv.reader(file)) == ["id", "landmarks"]
    assert run(capfd, "report", at / "p.csv", "-o", at / "report.html")[0] == 0
    assert "<html" in (at / "report.html").read_text()


def test_index_again_goes_on_where_it_stopped(
    recognizer: Path, colour_world: Path, tiny_embedder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (recognizer / "gallery.sqlite").read_bytes()
    counts = json_of(
        capfd, "index", colour_world / "gallery", "-o", recognizer, "--embedder", tiny_embedder,
        "--distractors", colour_world / "bank",
    )  # fmt: skip
    assert counts["photos"] == 24
    assert (recognizer / "gallery.sqlite").read_bytes() == before


def test_help_lists_the_verbs_in_the_order_of_use(capfd: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capfd, "--help")
    listed = [line.split()[1] for line in out.split("Commands")[1].splitlines()
              if line.startswith("│ ") and line[2] != " "]  # fmt: skip
    assert listed == [*VERBS]


@pytest.mark.parametrize("verb", ["index", "recognize", "evaluate"])
def test_help_lists_every_score(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    text = next(p.help for p in command.params if "--score" in p.opts)
    assert text.split(": ")[1].split(".")[0].split(", ") == list(get_args(Score))
    code, out, _ = run(capfd, verb, "--help")
    assert (code, [score for score in SCORES if score not in out]) == (0, [])


def test_recognize_prints_a_sentence_with_the_confidence(
    recognizer: Path, colour_world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capfd, "recognize", colour_world / "queries" / "1-0.jpg", "-r", recognizer)
    assert code == 0
    assert "1-0.jpg: " in out
    assert "(confidence 0." in out
    assert "very small (80 × 60 px)" in err
    assert len(err.splitlines()) == 1  # one photo shows no progress


def test_one_corrupt_photo_among_many(
    colour_world: Path, tiny_embedder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (colour_world / "gallery" / "place 1" / "3.jpg").write_bytes(b"\xff\xd8broken")
    out = colour_world / "r2.wl"
    code, printed, err = run(
        capfd, "-q", "index", colour_world / "gallery", "-o", out, "--embedder", tiny_embedder,
        "--json",
    )  # fmt: skip
    assert code == 3
    assert json.loads(printed)["photos"] == 23
    said = [line for line in err.strip().splitlines() if "no distractors" not in line]
    assert len(said) == 1
    assert "place 1/3.jpg" in err
    bad = colour_world / "gallery" / "place 1" / "3.jpg"
    good = colour_world / "queries" / "0-0.jpg"
    code, printed, err = run(capfd, "recognize", good, bad, "-r", out, "--json")
    assert (code, len(printed.strip().splitlines())) == (3, 2)
    assert run(capfd, "recognize", bad, "-r", out)[0] == 4


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["recognize", "{at}/gone.jpg", "-r", "{r}"], 4, "gone.jpg: no such file"),
        (["recognize", "{at}/queries/0-0.jpg", "-r", "{at}/none.wl"], 4, "no such recognizer"),
        (["import", "folder", "{at}/nowhere", "-o", "{at}/p.csv"], 4, "no such folder"),
        (["import", "folder", "{at}/empty", "-o", "{at}/p.csv"], 4, "<landmark>/*.jpg"),
        (["clean", "{at}/odd.csv", "-o", "{at}/c.csv"], 4, "did you mean 'landmark'"),
        (["split", "{at}/queries.csv", "-o", "{at}/s", "--test", "2"], 2,
         "--test 2 given; expected a number, above 0 to below 1"),
        (["index", "{at}/gallery", "-o", "{r}", "--embedder", "{at}/e2"], 5, "made by embedder"),
        (["index", "{at}/gallery", "-o", "{at}/x.wl", "--embedder", "{at}"], 4, "no embedder"),
        (["index", "{at}/queries.csv", "-o", "{at}/x.wl", "--embedder", "{at}/e2"], 2,
         "have no landmark"),
        (["train", "{at}/gallery", "-o", "{at}/t", "--config", "{at}/bad.json"], 2,
         "did you mean 'epochs'"),
        (["train", "{at}/gallery", "-o", "{at}/t", "--set", "epochs=many"], 2,
         "epochs 'many' given; expected a whole number, 1 to 100,000"),
        (["evaluate", "{at}/queries.csv", "-r", "{r}", "--rules", "{at}/bad.json"], 2,
         "unknown option of Rules"),
        (["evaluate", "{at}/queries.csv", "-r", "{r}", "--score", "cosin"], 2,
         "did you mean cosine?"),
        (["embedder", "resnet18", "-o", "{at}/e"], 2, "expected lite0, timm:NAME"),
        (["report", "{at}/queries.csv", "-o", "{at}/r.html"], 4, "is missing"),
        (["recognise"], 2, "recognize"),
        (["evaluate", "--colour"], 2, "--colour"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(
    wrong_world: Path, capfd: pytest.CaptureFixture[str],
    arguments: list[str], code: int, message: str,
) -> None:  # fmt: skip
    at, recognizer = wrong_world, wrong_world / "r.wl"
    made_before = (recognizer / "gallery.sqlite").read_bytes()

    ended, out, err = run(capfd, *[a.format(at=at, r=recognizer) for a in arguments])
    assert ended == code, err
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    if code != 2:
        assert len(err.strip().splitlines()) <= 2
    assert (recognizer / "gallery.sqlite").read_bytes() == made_before


def test_damaged_recognizer(
    recognizer: Path, colour_world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photo = colour_world / "queries" / "0-0.jpg"
    data = (recognizer / "gallery.sqlite").read_bytes()
    (recognizer / "gallery.sqlite").write_bytes(b"nonsense" * 1000)
    assert run(capfd, "recognize", photo, "-r", recognizer)[0] == 5
    (recognizer / "gallery.sqlite").write_bytes(data[: len(data) // 2])
    assert run(capfd, "recognize", photo, "-r", recognizer)[0] == 5
    (recognizer / "gallery.sqlite").unlink()
    code, _, err = run(capfd, "recognize", photo, "-r", recognizer)
    assert (code, "no gallery there" in err) == (5, True)


def test_debug_shows_the_traceback(colour_world: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "whichlandmark.cli",
        "--debug",
        "recognize",
        "x.jpg",
        "-r",
        "y",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "Traceback" in ended.stderr
