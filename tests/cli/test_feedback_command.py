"""`whichlandmark gallery feedback`: list, approve and discard what people said of answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.served_world import copied, front, jpeg
from whichlandmark.cli import main
from whichlandmark.recognition.folder.edit import open_gallery
from whichlandmark.recognition.folder.feedback import FeedbackStore
from whichlandmark.recognition.folder.own_photos import SentPhoto

SAID = {"request_id": "r", "photo": "a\nb.jpg", "answer": "place 0", "right": False,
        "correct": "Seventh", "note": "the 7th", "key": "phone"}  # fmt: skip


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def command(*arguments: object) -> tuple[int, str, str]:
        given = ["whichlandmark", "gallery", "feedback", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", given)
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return command


def photos_of(folder: Path, landmark: str) -> list[str]:
    with open_gallery(folder) as gallery:
        return [one for one, found in gallery.stamps().items() if found[2] == landmark]


def test_entries_are_listed_approved_and_discarded(run: Any, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    store = FeedbackStore(folder)
    assert run(folder)[:2] == (0, "0 entries (open), 0 to review\n")
    one, _ = store.add(SAID, SentPhoto(jpeg(front(7, 0))))
    two, _ = store.add({"request_id": "r", "answer": None, "right": True, "key": ""})
    code, out, err = run(folder)
    first, second, last = out.splitlines()
    assert (code, err, last) == (0, "", "2 entries (open), 2 to review")
    assert first.startswith(two)
    assert "answered no landmark: right" in first
    assert second.startswith(one)
    assert "a b.jpg  answered place 0: wrong, it is Seventh  the 7th  with its photo" in second
    code, out, err = run(folder, "--approve", one, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"state": "approved", "landmark": "Seventh", "added": 1,
                               "already there": 0, "moved": 0, "warnings": []}  # fmt: skip
    (photo,) = photos_of(folder, "Seventh")
    assert (folder / photo).exists()
    code, out, err = run(folder, "--approve", two)
    assert (code, "only noted: no photo was sent with it" in err) == (0, True)
    found = json.loads(run(folder, "--state", "all", "--json")[1])
    assert (found["total"], found["open"], found["unreadable"]) == (2, 0, 0)
    assert [entry["state"] for entry in found["entries"]] == ["approved", "approved"]
    three, _ = store.add(SAID, SentPhoto(jpeg(front(7, 1))))
    assert run(folder, "--discard", three)[0] == 0
    assert not list((folder / "feedback").iterdir())
    assert photos_of(folder, "Seventh") == [photo]
    assert run(folder, "--state", "discarded")[1].endswith("1 entry (discarded), 0 to review\n")


def test_a_landmark_is_named_where_the_entry_does_not(run: Any, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    one, _ = FeedbackStore(folder).add({**SAID, "correct": None}, SentPhoto(jpeg(front(7, 0))))
    code, _, err = run(folder, "--approve", one)
    assert (code, "does not say what its photo shows" in err) == (4, True)
    assert "--landmark" in err
    code, out, _ = run(folder, "--approve", one, "--landmark", "Other", "--json")
    assert (code, json.loads(out)["state"]) == (0, "corrected")
    assert len(photos_of(folder, "Other")) == 1


def test_errors_say_what_was_expected(run: Any, tmp_path: Path) -> None:
    folder = copied(tmp_path)
    one, _ = FeedbackStore(folder).add(SAID)
    for arguments, exit_code, words in (
        (("--approve", "none"), 4, "there is no feedback with the id 'none'"),
        (("--approve", one, "--discard", one), 2, "expected --approve ID"),
        (("--landmark", "A"), 2, "expected --approve ID"),
        (("--state", "new"), 2, "expected open, approved, corrected, discarded or all"),
    ):
        code, out, err = run(folder, *arguments)
        assert (code, out) == (exit_code, ""), arguments
        assert words in err
    code, _, err = run(tmp_path / "nowhere")
    assert (code, "no such recognizer folder" in err) == (4, True)
    run(folder, "--discard", one)
    code, _, err = run(folder, "--approve", one)
    assert (code, f"the feedback {one} is discarded already" in err) == (4, True)
    with (folder / "feedback.jsonl").open("a") as file:
        file.write("no JSON\n")
    code, _, err = run(folder)
    assert (code, "lines of feedback.jsonl that cannot be read: 1" in err) == (0, True)
