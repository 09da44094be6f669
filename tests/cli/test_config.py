"""The config file `whichlandmark.toml`: what it sets, what goes before it, and what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import typer

import whichlandmark as wl
from tests.cli.test_commands import run
from tests.support.photos import picture, write_photo
from whichlandmark.cli import app, config
from whichlandmark.cli.config import EVERYWHERE, FROM_HERE, NEVER
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.recognition.folder import load as load_module

Capture = pytest.CaptureFixture[str]

SIZE = (120, 160)

ROOT = typer.main.get_command(app)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recognizers one.wl and two.wl, whose landmarks have other names, and a photo."""
    at = tmp_path_factory.mktemp("world")
    for name in ("one", "two"):
        for code in range(2):
            for i in range(4):
                photo = at / name / f"{name}_{code}" / f"{i}.jpg"
                write_photo(photo, picture(code, i, SIZE))
        wl.build(HistogramEmbedder(), wl.read_folder(at / name)).save(at / f"{name}.wl")
    write_photo(at / "trip.jpg", picture(0, 50, SIZE))
    return at


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with links to what a world has."""
    monkeypatch.setattr(load_module, "load_embedder", lambda *a, **k: HistogramEmbedder())
    for name in ("one.wl", "two.wl", "trip.jpg"):
        os.symlink(world / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def guess(out: str) -> str:
    """Which recognizer answered, by its landmark."""
    return json.loads(out)["candidates"][0]["landmark"].split("_")[0]


def test_the_recognizer_need_not_be_named(here: Path, capfd: Capture) -> None:
    code, _, err = run(capfd, "recognize", "trip.jpg")
    assert code == 2
    assert 'recognizer = "…" in whichlandmark.toml' in err
    write(here / "whichlandmark.toml", 'recognizer = "one.wl"\n[recognize]\njson = true\n')
    code, out, err = run(capfd, "recognize", "trip.jpg")
    assert (code, guess(out)) == (0, "one")
    assert "options of whichlandmark.toml: recognizer, json" in err
    _, _, err = run(capfd, "recognize", "trip.jpg", "-q")
    assert "options of" not in err


def test_a_path_is_relative_to_the_file(
    here: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(here / "whichlandmark.toml", 'recognizer = "one.wl"')
    (here / "sub").mkdir()
    monkeypatch.chdir(here / "sub")
    code, _, err = run(capfd, "recognize", "../trip.jpg", "--json")
    assert code == 2, err  # the folders above are not searched
    code, out, _ = run(
        capfd, "recognize", "../trip.jpg", "--json", "--config", "../whichlandmark.toml"
    )
    assert (code, guess(out)) == (0, "one")


def test_what_goes_before_what(here: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command line > environment > current folder > the user's own; --config is the only one."""
    own = write(here / "home/whichlandmark/whichlandmark.toml", f'recognizer = "{here}/one.wl"')
    asked = ("recognize", "trip.jpg", "--json")
    assert guess(run(capfd, *asked)[1]) == "one"
    write(here / "whichlandmark.toml", 'recognizer = "two.wl"')
    assert guess(run(capfd, *asked)[1]) == "two"
    monkeypatch.setenv("WHICHLANDMARK_RECOGNIZER", "one.wl")
    assert guess(run(capfd, *asked)[1]) == "one"
    assert guess(run(capfd, *asked, "-r", "two.wl")[1]) == "two"
    monkeypatch.delenv("WHICHLANDMARK_RECOGNIZER")
    assert guess(run(capfd, *asked, f"--config={own}")[1]) == "one"
    monkeypatch.setenv("WHICHLANDMARK_CONFIG", str(own))
    assert guess(run(capfd, *asked)[1]) == "one"
    assert guess(run(capfd, "--config", "whichlandmark.toml", *asked)[1]) == "two"
    assert run(capfd, *asked, "--no-config")[0] == 2


def test_both_files_hold_together(here: Path, capfd: Capture) -> None:
    write(here / "home/whichlandmark/whichlandmark.toml", '[serve]\nhost = "0.0.0.0"\nport = 9000')
    write(here / "whichlandmark.toml", 'recognizer = "two.wl"\n[serve]\nport = 9001')
    files = config.read_config(ROOT, None)
    assert [file.here for file in files] == [False, True]
    assert config.merged(files)["serve"] == {
        "host": "0.0.0.0", "port": 9001, "recognizer": str(here / "two.wl"),
    }  # fmt: skip
    code, out, _ = run(capfd, "--show-config")
    assert code == 0
    assert out.splitlines() == [
        "whichlandmark.toml (in the current folder)", "  recognizer = two.wl",
        "  serve: port = 9001", f"{here}/home/whichlandmark/whichlandmark.toml",
        "  serve: host = 0.0.0.0", "  serve: port = 9000",
    ]  # fmt: skip


def test_where_there_is_none(here: Path, capfd: Capture) -> None:
    code, out, _ = run(capfd, "--show-config")
    assert (code, out) == (0, "no whichlandmark.toml, here or in ~/.config/whichlandmark\n")
    code, _, err = run(capfd, "recognize", "trip.jpg", "--config", "gone.toml")
    assert (code, err) == (2, "error: gone.toml: no such config file\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("recogniser = 'x'", "line 1: 'recogniser' above all tables; did you mean recognizer?"),
        ("\n[recognise]\njson = true", "line 2: no verb 'recognise'; did you mean recognize?"),
        ("[serve]\n\nprot = 1", "line 3: --prot of serve: no such option; did you mean port?"),
        ("[serve]\nport = '9000'", "line 2: port = '9000' given; expected a whole number"),
        ("[serve]\nport = true", "line 2: port = True given; expected a whole number"),
        ("[serve]\nport = 99999", "line 2: port = 99999 given; expected a whole number, 0 to"),
        ("[recognize]\njson = 'yes'", "line 2: json = 'yes' given; expected true or false"),
        ("[recognize]\nscore = 'cosin'", "line 2: score = 'cosin' given; expected learned, cosine"),
        ("recognizer = ''", "line 1: recognizer is blank"),
        ("recognizer = ['a']", "line 1: recognizer = ['a'] given; expected a path"),
        ("serve.port = 'x'", "line 1: port = 'x' given; expected a whole number"),
        ("[gallery]\nlist = 3", "line 2: --list of gallery: no such option"),
        ("[gallery.lst]\njson = true", "line 1: no verb 'gallery lst'; did you mean list?"),
        ("[recognize\n", ": no TOML: Expected ']' at the end of a table declaration (at line 1"),
        ("recognizer = 'a'\nrecognizer = 'b'", ": no TOML: Cannot overwrite a value (at"),
        ("[serve]\ncors = 'https://a.example'\n", "--cors may not come from a file in the current"),
        ("[recognize]\ncsv = 'photo.jpg'", "line 2: --csv may not come from a file in the current"),
        ("[index]\nout = 'here'", "--out may not come from a file in the current folder"),
        ("[gallery.feedback]\napprove = 'all'", "--approve of gallery feedback: is said on the c"),
    ],
)  # fmt: skip
def test_what_is_refused_names_the_file_and_the_line(
    here: Path, capfd: Capture, text: str, told: str
) -> None:
    write(here / "whichlandmark.toml", text)
    code, out, err = run(capfd, "recognize", "trip.jpg", "-r", "one.wl")
    assert (code, out) == (2, "")
    assert err.startswith("error: whichlandmark.toml")
    assert told in err
    assert err.count("\n") == 1
    assert run(capfd, "keys", "list", "--help")[0] == 0  # which needs no config
    assert "whichlandmark.toml" not in run(capfd, "keys", "list", "gone", "--no-config")[2]


def test_a_file_that_the_user_chose_may_set_more(here: Path, capfd: Capture) -> None:
    chosen = write(
        here / "mine.toml",
        'recognizer = "one.wl"\n[recognize]\ncsv = "answers.csv"\n[serve]\ncors = ["https://a.b"]\n'
        '[evaluate]\n"all-scores" = true\n[gallery.list]\njson = true\n[train]\nepochs = 3\n',
    )
    assert run(capfd, "recognize", "trip.jpg", "--config", chosen)[0] == 0
    assert (here / "answers.csv").read_text(encoding="utf-8-sig").startswith("path,landmark")
    (file,) = config.read_config(ROOT, str(chosen))
    assert file.defaults["serve"]["cors"] == ["https://a.b"]
    assert file.defaults["gallery"] == {"list": {"as_json": True}}
    assert file.defaults["evaluate"]["all_scores"] is True
    write(chosen, "[gallery.feedback]\ndiscard = 'all'")
    code, _, err = run(capfd, "recognize", "trip.jpg", "-r", "one.wl", "--config", chosen)
    assert code == 2
    assert "is said on the command line only" in err


def test_files_that_are_none(here: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder or a pipe of this name is no config file, and one of another user is not read."""
    (here / "whichlandmark.toml").mkdir()
    assert config.read_config(ROOT, None) == []
    (here / "whichlandmark.toml").rmdir()
    os.mkfifo(here / "whichlandmark.toml")
    assert config.read_config(ROOT, None) == []
    code, _, err = run(capfd, "--config", "whichlandmark.toml", "recognize", "trip.jpg")
    assert (code, "no config file" in err) == (2, True)
    (here / "whichlandmark.toml").unlink()
    write(here / "whichlandmark.toml", "x" * 200_000)
    assert "at most 100 kB" in run(capfd, "recognize", "trip.jpg")[2]
    write(here / "whichlandmark.toml", "[" * 90_000)
    assert run(capfd, "recognize", "trip.jpg")[0] == 2
    write(here / "whichlandmark.toml", 'recognizer = "two.wl"')
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert config.merged(config.read_config(ROOT, None)) == {}
    code, _, err = run(capfd, "recognize", "trip.jpg")
    told = "whichlandmark.toml is another user's and is not read; --config reads it\n"
    assert (code, told in err) == (2, True)
    assert "not read: another user's" in run(capfd, "--show-config")[1]


def test_the_config_of_training_is_another_option(here: Path, capfd: Capture) -> None:
    write(here / "run.json", "{}")
    code, _, err = run(capfd, "train", "gone.csv", "-o", "e", "--config", "run.json")
    assert "no such config file" not in err
    assert "TOML" not in err
    assert code != 0


def test_every_option_that_a_file_may_set_exists_and_is_documented() -> None:
    names, waiting = set(), [ROOT]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        names |= {opt[2:] for param in command.params for opt in param.opts}
    assert (FROM_HERE | NEVER | {*EVERYWHERE}) - names <= {"help"}
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    page = page.partition("## The config file")[2].partition("\n## ")[0]
    told = FROM_HERE | NEVER - {"help", "install-completion", "show-completion"}
    assert [name for name in told if f"`{name}`" not in page] == []


def test_no_file_of_the_current_folder_writes_sends_or_names_a_place() -> None:
    """Every option that takes a file, but those that are only read, and every address."""
    waiting = [ROOT]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        for param in command.params:
            kind = getattr(param.type, "name", "")
            names = {opt[2:] for opt in param.opts if opt.startswith("--")}
            if kind == "path" and not names & {"recognizer", "rules"}:
                assert not names & FROM_HERE, (command.name, names)
    kept_out = {"gps", "url", "key-file", "keys", "host", "cors", "insecure", "trusted-proxy",
                "out", "rate", "csv", "page", "album", "gallery", "search", "contact", "api",
                "tiles", "embedder",
                "state", "places", "root", "relabel", "restore"}  # fmt: skip
    assert not FROM_HERE & kept_out


def test_options_of_a_file_fit_every_use_of_a_verb(here: Path, capfd: Capture) -> None:
    """An interval is for --watch, a csv for plans: in a file they do not forbid other uses."""
    (here / "library").mkdir()
    (here / "library" / "a.jpg").write_bytes((here / "trip.jpg").read_bytes())
    mine = write(
        here / "mine.toml",
        'recognizer = "one.wl"\n[label]\ninterval = 300\nabove = 0.9\ncsv = "plan.csv"\n',
    )
    state = ("--state", here / "state", "--config", mine)
    code, _, err = run(capfd, "label", "library", *state)
    assert (code, (here / "plan.csv").exists()) == (0, True), err
    code, _, err = run(capfd, "label", "library", "--undo", *state)
    assert code == 0, err
    code, _, err = run(capfd, "label", "library", "--interval", "9", *state)
    assert (code, "--interval given without --watch" in err) == (2, True)
    write(mine, "[label]\nwrite = true")
    code, _, err = run(capfd, "label", "library", *state)
    assert (code, "--write of label: is said on the command line only" in err) == (2, True)
