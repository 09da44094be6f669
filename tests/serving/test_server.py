"""The server as a process: start, load, SIGTERM, killed workers; the verbs serve and keys."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.served_world import front, jpeg, made
from whichlandmark.recognition.answer import AnswerObject
from whichlandmark.serving.schemas import model_of

pytestmark = pytest.mark.server

COMMAND = [sys.executable, "-m", "whichlandmark.cli"]
PHOTO = jpeg(front(1, 9))
BOUNDARY = "b0undary"
BODY = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photos"; filename="a.jpg"\r\n\r\n'
).encode() + PHOTO + f"\r\n--{BOUNDARY}--\r\n".encode()  # fmt: skip
TYPE = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


@contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], int, list[str]]]:
    """A server process, its port and its log lines; killed at the end of the test."""
    process = subprocess.Popen(
        [*COMMAND, "serve", str(made()), "--port", "0", "--workers", "2", *options],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    lines: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
    with process:
        try:
            first = next(line for line in process.stderr if "serving" in line)
            reader.start()
            port = re.search(r"http://127\.0\.0\.1:(\d+)", first)
            assert port
            yield process, int(port[1]), lines
        finally:
            process.kill()
            reader.join(5)


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid)
        for child in (task / "children").read_text().split()
    ]  # fmt: skip


def ask(port: int) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/v1/recognize", BODY, TYPE)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


@pytest.mark.slow
def test_sigterm_under_load_answers_every_accepted_request() -> None:
    with running() as (process, port, lines):
        assert ask(port)[1]["results"][0]["landmark"] == "place 1"
        workers = children(process.pid)
        assert len(workers) == 2
        answers: list[int] = []
        broken: list[Exception] = []
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                try:
                    answers.append(ask(port)[0])
                except ConnectionRefusedError:
                    return  # the socket is closed: the request was not accepted
                except (ConnectionError, http.client.HTTPException) as error:
                    broken.append(error)
                    return

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        took = time.monotonic() - began
        stop.set()
        for thread in threads:
            thread.join()
        assert took < 20
        assert set(answers) == {200}
        assert len(answers) >= 8
        # Connections in the kernel's queue when the socket was closed were never accepted.
        assert len(broken) <= 8
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", port))
    records = [json.loads(line) for line in lines]
    counted = [line["status"] for line in records if line.get("route") == "/v1/recognize"]
    assert counted == [200] * (len(answers) + 1)  # every accepted request was answered
    assert records[-1]["event"] == "stopped"


def test_a_killed_worker_costs_one_photo_of_a_real_server() -> None:
    with running() as (process, port, _):
        workers = children(process.pid)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        found: list[tuple[int, dict]] = []
        sender = threading.Thread(target=lambda: found.append(ask(port)))
        sender.start()
        time.sleep(0.5)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        sender.join(30)
        status, reply = found[0]
        assert (status, reply["results"][0]["error"]["code"]) == (200, "worker_lost")
        assert ask(port)[1]["results"][0]["landmark"] == "place 1"
        workers = children(process.pid)
        process.kill()
        process.wait(10)
        end = time.monotonic() + 5
        while [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
            assert time.monotonic() < end, "a worker outlived its server"
            time.sleep(0.05)


def test_recognize_json_equals_the_answer_of_the_server(tmp_path: Path) -> None:
    path = tmp_path / "q.jpg"
    path.write_bytes(PHOTO)
    printed = subprocess.run(
        [*COMMAND, "recognize", str(path), "-r", str(made()), "--json"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    answer = model_of(AnswerObject).model_validate_json(printed)
    assert (answer.landmark, answer.photo) == ("place 1", str(path))
    assert answer.candidates[0].title == "First Place"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["serve", "{at}/none.wl"], 4, "no such recognizer folder"),
        (["serve", "{made}", "--host", "0.0.0.0"], 2, "--keys FILE"),
        (["serve", "{made}", "--keys", "{at}/none.json"], 4, "no such file"),
        (["serve", "{made}", "--port", "{taken}"], 2, "cannot listen there"),
        (["serve", "{made}", "--host", "no.such.host.invalid", "--insecure"], 2, "cannot listen"),
        (["serve", "{made}", "--tiles", "https://a.example/"], 2, "{z}"),
        (["keys", "add", "{at}/k.json", "a b"], 2, "letters"),
        (["keys", "remove", "{at}/k.json", "a"], 4, "no such file"),
    ],
)
def test_errors_are_one_line(
    tmp_path: Path, arguments: list[str], code: int, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from whichlandmark.cli import app, output

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        places = {"{at}": str(tmp_path), "{made}": str(made()),
                  "{taken}": str(taken.getsockname()[1])}  # fmt: skip
        given = [
            re.sub(r"\{(at|made|taken)\}", lambda m: places[m[0]], argument)
            for argument in arguments
        ]
        output.settings.debug = False
        sys.argv[1:], original = given, sys.argv[1:]
        try:
            with pytest.raises(SystemExit) as ended:
                output.exit_with(app)
        finally:
            sys.argv[1:] = original
    error = capfd.readouterr().err.strip()
    assert ended.value.code == code, error
    assert words in error
    assert len(error.splitlines()) == 1


def test_keys_are_made_and_listed(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        return subprocess.run(
            [*COMMAND, "keys", *arguments], capture_output=True, text=True, check=True
        ).stdout

    file = str(tmp_path / "keys.json")
    key = json.loads(run("add", file, "phone", "--scope", "write", "--json"))["key"]
    assert json.loads(run("list", file, "--json")) == {"phone": "write"}
    assert key not in (tmp_path / "keys.json").read_text()
    run("remove", file, "phone")
    assert json.loads(run("list", file, "--json")) == {}
