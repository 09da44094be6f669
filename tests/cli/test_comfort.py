"""Options anywhere on the line, -h, completion, progress off a terminal, Ctrl-C, serve's hint."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.test_commands import run
from whichlandmark.cli import answers, app, output, serve
from whichlandmark.cli.verbs import VERBS
from whichlandmark.core import progress

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("verb", [*VERBS, "gallery list", "import csv", "keys add"])
def test_h_is_help(verb: str, capfd: Capture) -> None:
    code, out, _ = run(capfd, *verb.split(), "-h")
    assert (code, "Usage:" in out) == (0, True)


@pytest.mark.parametrize(
    "line",
    [
        ["--debug", "-q", "gallery", "list", "none.wl"],
        ["gallery", "--quiet", "list", "none.wl", "--debug"],
        ["gallery", "list", "-q", "--debug", "none.wl"],
    ],
)
def test_quiet_and_debug_stand_anywhere(line: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from whichlandmark.core.errors import DataError

    monkeypatch.setattr(sys, "argv", ["whichlandmark", *line])
    with pytest.raises(DataError, match=r"none\.wl"):  # --debug raises what would be one line
        output.exit_with(app)
    assert output.settings.quiet
    output.settings.debug = output.settings.quiet = False


def test_after_two_dashes_nothing_is_an_option(capfd: Capture) -> None:
    code, _, err = run(capfd, "gallery", "list", "--", "-q")
    assert (code, err) == (4, "error: -q: no such recognizer folder; make one with "
                              "`whichlandmark index`\n")  # fmt: skip


def test_quiet_alone_shows_the_help(capfd: Capture) -> None:
    code, out, _ = run(capfd, "-q")
    assert (code, "Usage:" in out) == (0, True)


@pytest.mark.parametrize("arguments", [["--version"], ["--show-completion", "bash"]])
def test_python_m_and_completion_load_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import runpy, sys\nsys.argv = ['whichlandmark', *sys.argv[1:]]\n"
        "try: runpy.run_module('whichlandmark', run_name='__main__')\n"
        "finally: print('loaded', *[m for m in ('numpy', 'torch', 'PIL') if m in sys.modules])"
    )
    shell = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-c", code, *arguments]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | shell
    )
    *printed, last = ran.stdout.splitlines()
    assert last == "loaded"
    assert "whichlandmark" in printed[0]


def lines_of(capfd: Capture, quiet: bool = False, **clock: float) -> list[str]:
    with progress.shown_progress(quiet=quiet) as start:
        move = start("embedding")
        for done in (0, 10, 20, 30):
            move(done, 30, "gap 0.9" if done else "")
        start("fitting")(1, 4)
    return capfd.readouterr().err.splitlines()


def test_plain_progress_has_a_line_for_each_phase(capfd: Capture) -> None:
    assert lines_of(capfd) == ["embedding: 0 of 30", "fitting: 1 of 4"]
    assert lines_of(capfd, quiet=True) == []


def test_plain_progress_has_a_line_for_each_minute(
    capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 59.0, 120.0, 130.0, 200.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(times)))
    assert lines_of(capfd) == [
        "embedding: 0 of 30", "embedding: 20 of 30, 60 s left, gap 0.9", "fitting: 1 of 4",
    ]  # fmt: skip


def test_time_left_is_that_of_what_is_counted_now(
    capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training first embeds 1,600 photos, in an hour, then trains 10 batches of a minute each."""
    times = iter([0.0, 1800.0, 3600.0, 3660.0, 3720.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(times)))
    with progress.shown_progress() as start:
        move = start("training")
        for done, total in ((0, 1600), (800, 1600), (0, 10), (1, 10), (2, 10)):
            move(done, total)
    assert capfd.readouterr().err.splitlines() == [
        "training: 0 of 1600", "training: 800 of 1600, about 30 min left", "training: 0 of 10",
        "training: 1 of 10, about 9 min left", "training: 2 of 10, about 8 min left",
    ]  # fmt: skip


def test_only_process_0_shows_progress(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert lines_of(capfd) == []


def test_times_in_words() -> None:
    words = [progress.time_in_words(seconds) for seconds in (5, 200, 9000)]
    assert words == ["5 s", "about 3 min", "about 2.5 h"]


@pytest.mark.parametrize(("verb", "resumes"), [("index", True), ("split", False)])
def test_ctrl_c_is_one_line(
    verb: str, resumes: bool, monkeypatch: pytest.MonkeyPatch, capfd: Capture, tmp_path: Path
) -> None:
    import whichlandmark.data.folders as folders

    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "read_photos_or_folder", interrupt)
    code, _, err = run(capfd, verb, tmp_path / "q.csv", "-o", tmp_path / "s")
    assert (code, len(err.splitlines())) == (130, 1)
    assert ("the same command resumes from there" in err) == resumes


def test_a_full_disk_behind_stdout_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        encoding = "utf-8"

        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

        def flush(self) -> None: ...

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(output.DataError, match="standard output cannot be written"):
        output.say("x")


@pytest.mark.parametrize(
    ("host", "names", "expected"),
    [
        ("127.0.0.1", [], "http://localhost:8000/ in a browser (this machine only"),
        ("::1", [], "http://localhost:8000/"),
        ("0.0.0.0", ["photos.example"], "on other machines http://photos.example:8000/"),
        ("192.168.1.5", [], "http://192.168.1.5:8000/"),
        ("[fd00::5]", [], "http://[fd00::5]:8000/"),
    ],
)
def test_serve_says_where_to_click(host: str, names: list[str], expected: str) -> None:
    lines = serve.where_to_click(host, 8000, names, with_keys=False)
    assert expected in lines[0]
    assert lines[-1] == "Ctrl-C stops the server."
    assert "key" in serve.where_to_click(host, 8000, names, with_keys=True)[1]


def test_terminal_cells() -> None:
    assert answers.cells("寺a\u0301") == 3
    assert answers.fitted("abcdef", 4) == "abc…"
    assert answers.fitted("abcdef", 4, keep_end=True) == "…def"
    assert answers.fitted("寺院寺", 4) == "寺… "
    assert output.visible("a\x9b\u2028\udcff") == "a\\x9b\\u2028\\xff"


@pytest.mark.parametrize(("by_ctrl_c", "code"), [(True, 130), (False, 0)])
def test_ctrl_c_in_serve(
    by_ctrl_c: bool, code: int, monkeypatch: pytest.MonkeyPatch, capfd: Capture, tmp_path: Path
) -> None:
    from whichlandmark.serving import server

    monkeypatch.setattr(server, "serve", lambda *given: by_ctrl_c)
    ended, _, err = run(capfd, "serve", tmp_path)
    assert (ended, err) == (code, "interrupted\n" if by_ctrl_c else "")


@pytest.mark.parametrize("words", ["recognize x.jpg", "gallery list", "tune", "serve"])
def test_who_has_no_recognizer_is_told_how_to_make_one(
    words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capfd, *words.split())
    assert code == 2
    assert "Missing" in err
    assert "`whichlandmark index PHOTOS -o FOLDER` makes one" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("whichlandmark recogn", {"recognize"}),
        ("whichlandmark recognize --device c", {"cpu", "cuda"}),
        ("whichlandmark evaluate --score cos", {"cosine"}),
        ("whichlandmark recognize -r pa", {"paris.wl", "parts/"}),
        ("whichlandmark serve parts/", {"parts/r.wl"}),
    ],
)
def test_completion_of_verbs_and_values(words: str, expected: set[str], tmp_path: Path) -> None:
    """As bash asks for it; a config file, even a wrong one, is not read for it."""
    for name in ("paris.wl", "parts/r.wl"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "recognizer.json").touch()
    (tmp_path / "whichlandmark.toml").write_text("wrong")
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    ran = subprocess.run(
        [sys.executable, "-m", "whichlandmark"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
        env=os.environ | asked | {"_WHICHLANDMARK_COMPLETE": "complete_bash"},
    )  # fmt: skip
    assert {*ran.stdout.split()} == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "pwsh"])
def test_the_documented_completion_scripts_exist(shell: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert f"source_{shell}" in page
    ran = subprocess.run(
        [sys.executable, "-m", "whichlandmark"], capture_output=True, text=True, check=True,
        env=os.environ | {"_WHICHLANDMARK_COMPLETE": f"source_{shell}"},
    )  # fmt: skip
    assert "_WHICHLANDMARK_COMPLETE" in ran.stdout
