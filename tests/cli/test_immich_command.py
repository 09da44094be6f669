"""The verb immich: its results, its JSON, its exit codes, and no key in any of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_commands import json_of, run
from tests.support.fake_immich import KEY, FakeImmich, status
from tests.support.immich_world import fill, jpeg, make_recognizer
from tests.support.web_doubles import only_this_machine
from whichlandmark.recognition.folder import load as load_module
from whichlandmark.recognition.recognizer import Recognizer

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return make_recognizer(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only_this_machine(monkeypatch)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def recognizer(made: Recognizer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A name that is opened as `made`, because a colour histogram has no folder."""
    monkeypatch.setattr(load_module, "load", lambda folder, **more: made)
    return Path("paris.wl")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key.txt"
    file.write_text(f"{KEY}\n")
    file.chmod(0o600)
    return file


def test_the_story_on_the_command_line(
    recognizer: Path, key: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = fill(FakeImmich(clears=True))
    before = fake.snapshot()
    with fake.running():
        given = ["immich", "--url", fake.base, "--key-file", key]
        code, out, err = run(capfd, *given, "-r", recognizer, "--above", "0.5", "--dry-run")
        assert (code, fake.snapshot()) == (0, before)
        assert "would label                      11" in out
        assert "     4  Eiffel Tower" in out
        found = json_of(capfd, *given, "-r", recognizer, "--above", "0.5", "--gps")
        assert (found["labelled"], found["positions"]) == (11, 6)
        assert found["landmarks"]["Eiffel Tower"] == 4
        assert found["requests"]["GET asset"] == 17
        assert (found["server"], found["user"]) == ("Immich v2.3.1", "Ada")
        code, out, err = run(capfd, *given, "--undo")
        assert code == 0
        assert "photos                           11" in out
        code, out, err = run(capfd, *given, "--undo")
        assert (code, "photos                           0" in out) == (0, True)
    assert fake.snapshot() == before
    written = [path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert written
    assert not any(KEY.encode() in data for data in written)
    assert KEY not in out + err


def test_positions_that_stay_are_listed_and_end_with_3(
    recognizer: Path, key: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = FakeImmich()
    fake.add("beach.jpg", jpeg(0))
    with fake.running():
        given = ["immich", "--url", fake.base, "--key-file", key]
        code, _, err = run(capfd, *given, "-r", recognizer, "--above", "0.5", "--gps")
        assert code == 0
        assert "note: Immich has no request that takes a position off a photo" in err
        code, _, err = run(capfd, *given, "--undo")
    assert code == 3
    assert "1 photos keep their position" in err
    assert "beach.jpg" in err


def test_wrong_commands(
    recognizer: Path, key: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = ["--url", "http://127.0.0.1:9"]
    keys, recognized = ["--key-file", key], ["-r", recognizer]
    cases: list[tuple[list[object], int, str]] = [
        ([*url, *keys], 2, "no recognizer given"),
        (["--url", "nas", *keys, *recognized], 2, "did you mean http://nas?"),
        ([*url, "--key-file", tmp_path / "no.txt", *recognized], 4, "no such file"),
        ([*url, *keys, *recognized, "--undo", "--dry-run"], 2, "expected one of them"),
        ([*url, *keys, *recognized, "--above", "1.5"], 2, "--above 1.5 given"),
        ([*url, *keys, *recognized, "--limit", "0"], 2, "--limit 0 given"),
        ([*url, *keys, *recognized, "--root", "a//b"], 2, "expected the name of a tag"),
        ([*url, *keys, *recognized], 7, "does Immich run at http://127.0.0.1:9?"),
        ([*keys, *recognized], 2, "--url"),
    ]
    for arguments, expected, said in cases:
        code, out, err = run(capfd, "immich", *arguments)
        assert (code, out) == (expected, ""), err
        assert said in err
        assert len(err.strip().splitlines()) == 1


def test_a_key_without_a_permission(
    recognizer: Path, key: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = fill(FakeImmich())
    fake.keys[KEY] = {"user.read", "asset.read", "asset.view", "tag.read", "tag.create"}
    with fake.running():
        code, _, err = run(capfd, "immich", "--url", fake.base, "--key-file", key, "-r", recognizer,
                           "--above", "0.5", "--quiet")  # fmt: skip
    assert code == 7
    assert "lacks the permission tag.asset" in err
    assert "needed are user.read, asset.read, asset.view, tag.read, tag.create, tag.asset" in err


def test_a_key_that_others_may_read_is_a_warning(
    recognizer: Path, key: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key.chmod(0o644)
    fake = FakeImmich()
    with fake.running():
        code, _, err = run(capfd, "immich", "--url", fake.base, "--key-file", key, "-r", recognizer)
    assert code == 0
    assert "warning:" in err
    assert "chmod 600" in err


def test_a_server_that_fails_in_the_middle_and_the_next_run(
    recognizer: Path, key: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fake = fill(FakeImmich())
    with fake.running():
        given = [
            "immich",
            "--url",
            fake.base,
            "--key-file",
            key,
            "-r",
            recognizer,
            "--above",
            "0.5",
        ]
        fake.fault("thumbnail", None, status(429, wait="5000"))
        code, _, err = run(capfd, *given)
        assert code == 7
        assert "nothing is lost: the same command goes on" in err
        assert json_of(capfd, *given)["labelled"] == 11
