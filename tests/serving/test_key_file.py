"""The key file is read again when it changes; wrong keys; who may read the file."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.served_world import made
from whichlandmark.core.errors import BusyError, DataError
from whichlandmark.serving.api_errors import ApiError
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.keys import KeyFile, add_key, list_keys, remove_key
from whichlandmark.serving.limits import MAX_TRACKED_CALLERS, WRONG_KEYS, WrongKeys
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.server import create_app

pytestmark = pytest.mark.server

Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def first(file: Path) -> str:
    return add_key(file, "first", "read")


@pytest.fixture
def client(file: Path, first: str) -> Iterator[TestClient]:
    app = create_app(Engine(made(), ServeOptions(workers=1, keys=file, proxies=("0.0.0.0/0",))))
    with TestClient(app, "http://any.example", client=("10.0.0.5", 9)) as opened:
        yield opened


@pytest.fixture
def ask(client: TestClient) -> Ask:
    def send(key: str = "", address: str = "") -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        headers |= {"X-Forwarded-For": address} if address else {}
        reply = client.get("/v1/landmarks", headers=headers)
        return reply.status_code, reply.json().get("error", {}).get("code", "")

    return send


def test_no_key_and_a_wrong_key_are_told_apart(ask: Ask, first: str) -> None:
    assert ask() == (401, "unauthorized")
    assert ask("wl_wrong") == ask(first[:-1]) == (401, "wrong_key")
    assert ask(first) == (200, "")


def test_keys_work_and_stop_at_once(ask: Ask, file: Path, first: str) -> None:
    for number in range(20):  # faster than the clock of a file system may tick
        name = f"key{number}"
        new = add_key(file, name, "read")
        assert ask(new) == (200, "")
        remove_key(file, name)
        assert ask(new) == (401, "wrong_key")
        assert ask(first) == (200, "")
    remove_key(file, "first")  # the last one: the server is not open to everybody now
    assert ask(first)[0] == 401
    assert ask()[0] == 401


def test_a_change_in_place_of_the_same_size_is_seen(ask: Ask, file: Path, first: str) -> None:
    assert ask(first)[0] == 200
    text = file.read_text()
    digest = json.loads(text)["keys"][0]["digest"]
    file.write_text(text.replace(digest, "0" * 64))
    assert ask(first) == (401, "wrong_key")
    file.write_text(text)
    assert ask(first)[0] == 200


@pytest.mark.parametrize("damage", ["", "{", '{"keys": [{"name": "a"}]}', '{"keys": 5}', None])
def test_no_key_lives_on_while_the_file_is_damaged(
    damage: str | None, ask: Ask, client: TestClient, file: Path, first: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    whole = file.read_bytes()
    assert ask(first)[0] == 200
    if damage is None:
        file.unlink()
    else:
        file.write_text(damage)
    for _ in range(3):
        assert ask(first) == ask("wl_wrong") == (503, "keys_unreadable")
    assert ask() == (401, "unauthorized")
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert "key file" in ready.json()["trouble"]
    assert str(file) not in ready.text
    assert client.get("/livez").status_code == 200
    told = [line.getMessage() for line in caplog.records if line.levelno == logging.ERROR]
    assert len(told) == 1
    assert str(file) in told[0]
    file.write_bytes(whole)
    assert ask(first) == (200, "")
    assert client.get("/readyz").status_code == 200


def test_wrong_keys_slow_down_their_address_only(ask: Ask, file: Path, first: str) -> None:
    second = add_key(file, "second", "read")
    assert ask(second, "192.0.2.1") == (200, "")
    tries = [ask(f"wl_{number}", "192.0.2.1")[1] for number in range(WRONG_KEYS + 5)]
    assert tries[:WRONG_KEYS] == ["wrong_key"] * WRONG_KEYS
    assert set(tries[-4:]) == {"too_many_wrong_keys"}
    assert ask(first, "192.0.2.1")[0] == 429  # a guesser does not learn that it was right
    assert ask(second, "192.0.2.1") == (200, "")  # which was right there before
    assert ask(first, "192.0.2.2") == (200, "")
    assert ask("", "192.0.2.1") == (401, "unauthorized")


def test_the_wait_after_wrong_keys_is_told(client: TestClient) -> None:
    began = time.monotonic()
    for _ in range(WRONG_KEYS + 1):
        reply = client.get("/v1/landmarks", headers={"Authorization": "Bearer wl_x"})
    assert reply.status_code == 429
    assert 1 <= int(reply.headers["retry-after"]) <= 4
    assert time.monotonic() - began < 5  # nobody sleeps
    google = client.post("/v1/images:annotate?key=wrong", json={"requests": []})
    assert (google.status_code, google.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")


def test_wrong_keys_are_forgiven_evenly_and_forgotten() -> None:
    now = [0.0]
    wrong = WrongKeys(lambda: now[0])

    def refused(address: str) -> int | None:
        try:
            wrong.check(address, "digest")
        except ApiError as error:
            return error.retry
        return None

    for _ in range(WRONG_KEYS):
        assert refused("a") is None
        wrong.count("a")
    assert refused("a") == 3
    now[0] = 2.5
    assert refused("a") == 1
    now[0] = 3.1
    assert refused("a") is None
    wrong.count("a")
    assert refused("a") == 3
    for number in range(2 * MAX_TRACKED_CALLERS):
        wrong.count(f"b{number}")
        wrong.remember(f"b{number}", "digest")
    assert len(wrong._tries) == len(wrong._known) == MAX_TRACKED_CALLERS


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="gives files away: needs root")
def test_the_owner_and_mode_of_a_key_file_stay(file: Path, first: str) -> None:
    """A server of another user could not read it after the next `keys add`."""
    assert file.stat().st_mode & 0o777 == 0o600
    os.chown(file, 10001, 10001)
    file.chmod(0o440)
    add_key(file, "second", "write")
    remove_key(file, "first")
    found = file.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (10001, 10001, 0o440)


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder that everybody may search, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="takes another uid: needs root")
def test_an_unreadable_key_file_says_who_may_read_it(everybodys: Path) -> None:
    file = everybodys / "keys.json"
    add_key(file, "a", "read")
    told, say = os.pipe()
    if (child := os.fork()) == 0:  # pytest's own process stays root
        os.setgroups([])
        os.setgid(10001)
        os.setuid(10001)
        try:
            list_keys(file)
        except DataError as error:
            os.write(say, str(error).encode())
        os._exit(0)
    os.close(say)
    os.waitpid(child, 0)
    with open(told) as pipe:
        message = pipe.read()
    for words in ("may not be read", "runs as user 10001", "belongs to user 0 with mode 600",
                  f"chown -R 10001 {file}"):  # fmt: skip
        assert words in message


def test_a_key_file_that_all_may_write_is_warned_of(
    file: Path, first: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.chmod(0o666)
    os.utime(file, (0, 0))
    KeyFile(file)
    assert "chmod o-w" in caplog.text


def test_two_changes_at_once_lose_no_key(file: Path, first: str) -> None:
    made_keys: list[str] = []

    def add(number: int) -> None:
        while True:
            try:
                add_key(file, f"k{number}", "read")
            except BusyError:
                time.sleep(0.01)
                continue
            made_keys.append(f"k{number}")
            return

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in list_keys(file)} == {"first", *made_keys}
    assert len(made_keys) == 8


@pytest.mark.parametrize("rate", [0, -1, "5", 1.5, True])
def test_a_rate_that_is_no_number_is_a_damaged_file(file: Path, first: str, rate: Any) -> None:
    value = json.loads(file.read_text())
    value["keys"][0]["rate"] = rate
    file.write_text(json.dumps(value))
    with pytest.raises(DataError, match="not a key file"):
        list_keys(file)
