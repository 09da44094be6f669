"""Shards on Ray: a local cluster gives the same gallery; clear errors without Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from tests.cli.test_commands import json_of, run
from tests.support import ROOT
from tests.support.photos import picture, write_photo
from whichlandmark.cli import app
from whichlandmark.core.errors import ModelError, OptionError, WhichLandmarkError
from whichlandmark.core.types import Photos
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.indexing.ray_engine import (
    EmbedderSource,
    TaskResources,
    _lost_shards_error,
    _task_resources,
    make_shards_on_ray,
)
from whichlandmark.recognition.indexing.shards import ShardTask, cut_table

PHOTOS = 24


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("world")
    for i in range(PHOTOS):
        write_photo(at / "photos" / f"place {i % 3}" / f"{i:02}.jpg", picture(i % 3, i, (150, 200)))
    (at / "photos" / "place 0" / "00.jpg").write_bytes(b"broken")
    return at / "photos"


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rules") / "rules.json"
    path.write_text(json.dumps({"score": "cosine", "whitening": "none", "verify": 0}))
    return path


def rows_of(out: Path) -> tuple[list[list[int]], bytes]:
    with SqliteGallery.open(out / "gallery.sqlite") as gallery:
        return [column.tolist() for column in gallery.sums()], gallery.table().vectors.tobytes()


SCRIPT = """
import json, sys
from pathlib import Path
from whichlandmark.features import pipeline
from whichlandmark.recognition.indexing import shards
pipeline.SECTION_ROWS = shards.SECTION_ROWS = 8  # so that 24 photos make three shards
from whichlandmark.cli import main
sys.argv[0] = "whichlandmark"
main()
"""


def in_a_process(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own: Ray leaves threads and signal handlers behind."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, words)], capture_output=True, text=True,
        timeout=120, env=environment, check=False, cwd=folder,
    )  # fmt: skip


@pytest.mark.slow
def test_a_local_ray_cluster_gives_the_same_gallery(
    world: Path, rules: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray")
    command = ("index", world, "--rules", rules)
    counts = json_of(capfd, *command, "-o", tmp_path / "a.wl", code=3)
    flags = ("--shards", 3, "--engine", "ray", "--json")
    ran = in_a_process(tmp_path, *command, "-o", "b.wl", *flags)  # Ray has processes of its own
    if "no cluster" in ran.stderr:
        pytest.skip(f"Ray does not start here: {ran.stderr[-300:]}")
    assert ran.returncode == 3, ran.stderr
    assert json.loads(ran.stdout) == counts
    assert rows_of(tmp_path / "b.wl") == rows_of(tmp_path / "a.wl")
    markers = sorted((tmp_path / "b.wl" / "shards").glob("*.json"))
    assert [json.loads(path.read_text())["rows"] for path in markers] == [7, 8, 8]


def test_shards_on_the_command_line(
    world: Path, rules: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The shell loop of the documents, then loading; then again, when all shards exist."""
    command = ("index", world, "--rules", rules, "-o", tmp_path / "b.wl")
    made = json_of(capfd, *command, "--shards", 2, "--shard", "0/2", code=3)
    assert (made["photos"], made["failed"], made["done before"]) == (PHOTOS - 1, 1, "no")
    assert json_of(capfd, *command, "--shard", "0/2", code=3)["done before"] == "yes"
    assert json_of(capfd, *command, "--shard", "1/2")["photos"] == 0  # one section is one shard
    assert not (tmp_path / "b.wl" / "gallery.sqlite").exists()
    counts = json_of(capfd, *command, "--shards", 2, "--load", code=3)
    assert (counts["photos"], counts["failed"]) == (PHOTOS - 1, 1)
    again = counts | {"added": 0, "already there": PHOTOS - 1}
    assert json_of(capfd, *command, "--shards", 2, code=3) == again
    assert json_of(capfd, *command, code=3) == again
    elsewhere = tmp_path / "elsewhere"
    command = ("index", world, "--rules", rules, "-o", tmp_path / "c.wl")
    json_of(capfd, *command, "--shards", 1, "--shard-folder", elsewhere, code=3)
    assert (elsewhere / "00000-of-00001.parquet").exists()
    assert rows_of(tmp_path / "c.wl")[1] == rows_of(tmp_path / "b.wl")[1]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--shards", "0"], "--shards 0 given; expected a whole number, 1 to"),
        (["--shard", "2/2"], "of 2 shards the first is 0, the last 1"),
        (["--shard", "two"], "expected i/N"),
        (["--shards", "3", "--shard", "0/2"], "expected the same number"),
        (["--engine", "ray"], "--engine ray given; expected --shards N"),
        (["--shards", "2", "--engine", "dask"], "expected local or ray"),
        (["--shards", "2", "--engine", "ray", "--load"], "--load makes no shards"),
        (["--shards", "2", "--shard-folder", "ftp://host/x"], "expected one of s3://"),
    ],
)
def test_bad_options_are_one_clear_line(
    world: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], words: list[str], fault: str
) -> None:
    code, _, err = run(capfd, "index", world, "-o", tmp_path / "a.wl", *words)
    assert (code, fault in err) == (2, True), err
    assert not (tmp_path / "a.wl").exists()


def test_loading_before_any_shard_is_made_is_refused(
    world: Path, rules: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("index", world, "--rules", rules, "-o", tmp_path / "a.wl", "--shards", 2, "--load")
    code, _, err = run(capfd, *command)
    assert (code, "make it with --shard 0/2" in err) == (4, True), err


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    photos = Photos.of_columns(["a"], ["a.jpg"], ["x"])
    tasks = [ShardTask(shard, photos, "/nowhere", False) for shard in cut_table(1, 1)]
    with pytest.raises(OptionError, match=r"pip install '[^']*\[cluster\]'"):
        list(make_shards_on_ray(tasks, EmbedderSource("sift", "auto")))


def test_an_unreachable_cluster_gives_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    photos = Photos.of_columns(["a"], ["a.jpg"], ["x"])
    tasks = [ShardTask(shard, photos, "/nowhere", False) for shard in cut_table(1, 1)]
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(OptionError, match=r"127\.0\.0\.1:1: no cluster answers at this address"):
        list(make_shards_on_ray(tasks, EmbedderSource("sift", "auto")))


def node(cpus: float, gpus: float = 0, alive: bool = True) -> dict[str, object]:
    found = {"CPU": cpus, "memory": 1e9} | ({"GPU": gpus} if gpus else {})
    return {"Alive": alive, "Resources": found if cpus else {"memory": 1e9}}


def test_the_resources_a_task_takes_of_a_node() -> None:
    assert _task_resources([node(2)], "auto") == TaskResources(2, 0, 1)
    assert _task_resources(
        [node(8), node(8), node(16), node(1, alive=False)], "auto"
    ) == TaskResources(8, 0, 4)
    assert _task_resources([node(0), node(4)], "cpu") == TaskResources(
        4, 0, 1
    )  # a head node without CPUs
    assert _task_resources([node(16, 4), node(8)], "auto") == TaskResources(4, 1, 4)
    assert _task_resources([node(16, 4), node(8)], "cpu") == TaskResources(8, 0, 3)
    assert _task_resources([node(2, 8)], "cuda") == TaskResources(1, 1, 8)


def test_the_error_for_lost_shards() -> None:
    class Wrapped(Exception):  # noqa: N818
        cause = ModelError("no weights")

    assert str(_lost_shards_error({1: OSError("disk"), 0: Wrapped()}, [])) == "no weights"
    error = _lost_shards_error({3: OSError("disk\nmore"), 5: ValueError()}, [None] * 8)  # type: ignore[list-item]
    assert type(error) is WhichLandmarkError
    assert "2 of 8 shards" in str(error)
    assert "of the first, 3: OSError: disk; the same command" in str(error)


def test_documented_flags_exist() -> None:
    """Also inside a longer script."""
    page = ROOT / "docs" / "jobs.md"
    lines = [line.strip() for line in page.read_text().splitlines()]
    examples = [line for line in lines if "whichlandmark index photos.csv" in line]
    assert len(examples) >= 9
    command = typer.main.get_command(app).commands["index"]  # type: ignore[attr-defined]
    flags = {flag for option in command.params for flag in option.opts}
    for line in examples:
        words = line.split("#")[0].split()
        assert {word for word in words if word.startswith("-")} <= flags, line
