"""The example that asks a server about a folder of photos: its csv, its retries, its errors."""

from __future__ import annotations

import base64
import csv
import json
import runpy
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

import whichlandmark

EXAMPLE = Path(whichlandmark.__file__).parents[2] / "examples" / "recognize_over_http.py"

BUSY = {"error": {"message": "busy"}}


class Answers(BaseHTTPRequestHandler):
    """A server that is busy once, then answers by the name of the photo."""

    asked: ClassVar[list[tuple[str, bytes, str]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        (photo,) = body["photos"]
        data = base64.b64decode(photo["data"])
        self.asked.append((photo["name"], data, self.headers.get("Authorization", "")))
        known = photo["name"] == "a.jpg"
        result: dict[str, Any] = {
            "decision": "landmark" if known else "no_landmark", "words": "words",
            "landmark": "place 1" if known else None, "confidence": 0.98765,
        }  # fmt: skip
        if photo["name"] == "torn.png":
            result = {"error": {"message": "torn.png: damaged"}}
        busy = len(self.asked) == 1
        reply = json.dumps(BUSY if busy else {"results": [result]}).encode()
        self.send_response(503 if busy else 200)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *given: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Answers.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    return int(ended.value.code or 0)


def test_every_photo_gets_a_row(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    library = tmp_path / "library"
    (library / "2024").mkdir(parents=True)
    for name in ("2024/a.jpg", "b.JPG", "torn.png", "notes.txt"):
        (library / name).write_bytes(name.encode())
    table = tmp_path / "answers.csv"
    assert run(monkeypatch, address, library, table, "--key", "K") == 0
    out = capsys.readouterr()
    assert out.out == "2 photos answered, 1 failed\n"
    assert "torn.png: damaged" in out.err
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1:] == [
        ["2024/a.jpg", "place 1", "landmark", "0.988", "words"],
        ["b.JPG", "", "no_landmark", "0.988", "words"],
    ]
    assert Answers.asked[1] == ("a.jpg", b"2024/a.jpg", "Bearer K")


def test_an_unreachable_server_gives_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    assert run(monkeypatch, "http://127.0.0.1:1/", tmp_path, tmp_path / "answers.csv") == 1
    assert "refused" in capsys.readouterr().err
    assert run(monkeypatch, "r.wl", tmp_path, tmp_path / "answers.csv") == 2
