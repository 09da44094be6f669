"""The connection to Immich: addresses, keys, and every error in one line that says what to do."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.fake_immich import KEY, FakeImmich, body, meanwhile, reset, status
from tests.support.immich_world import NoWait, jpeg, opened
from tests.support.web_doubles import only_this_machine
from whichlandmark.core.errors import DataError, NetworkError, OptionError
from whichlandmark.library import immich_client
from whichlandmark.library.immich_api import READING, ImmichApi
from whichlandmark.library.immich_client import Connection, RefusedError
from whichlandmark.library.immich_key import ApiKey, in_clear, is_local, server_address

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    only_this_machine(monkeypatch)


def connection(address: str, clock: NoWait | None = None) -> Connection:
    key = ApiKey(KEY, Path("key.txt"))
    return Connection(address, key, needed=READING, clock=clock or NoWait())


def refusal(address: str) -> str:
    """The one line of the error of a server that does not greet."""
    with connection(address) as asking, pytest.raises((NetworkError, OptionError)) as raised:
        ImmichApi(asking)
    line = str(raised.value)
    assert "\n" not in line
    assert KEY not in line
    return line


@pytest.mark.parametrize(("given", "address"), [
    ("http://nas:2283", "http://nas:2283"),
    ("http://NAS:2283/", "http://nas:2283"),
    ("http://nas:2283/api", "http://nas:2283"),
    ("http://nas:2283/api/", "http://nas:2283"),
    ("https://photos.example.org/photos", "https://photos.example.org"),
    ("https://example.org/immich//", "https://example.org/immich"),
    ("https://example.org/immich/api", "https://example.org/immich"),
    (" http://[fd00::1]:2283 ", "http://[fd00::1]:2283"),
])  # fmt: skip
def test_addresses_as_people_give_them(given: str, address: str) -> None:
    assert server_address(given) == address


@pytest.mark.parametrize("given", [
    "nas:2283", "nas", "", "ftp://nas", "http://", "http://nas:0", "http://nas:99999",
    "http://ada:secret@nas", "http://nas/?x=1", "http://na s", "http://nas/../x", "http://[::1",
])  # fmt: skip
def test_addresses_that_are_none(given: str) -> None:
    with pytest.raises(OptionError, match="--url") as raised:
        server_address(given)
    assert "secret" not in str(raised.value)
    assert "expected" in str(raised.value)


def test_an_address_without_http_is_understood() -> None:
    with pytest.raises(OptionError, match="did you mean http://nas:2283"):
        server_address("nas:2283")


def test_what_is_on_the_own_network() -> None:
    here = ["nas", "127.0.0.1", "192.168.1.7", "10.0.0.2", "100.100.1.2", "::1", "fd00::1",
            "nas.local", "nas.fritz.home.arpa"]  # fmt: skip
    away = ["example.org", "8.8.8.8", "2a00::1"]
    assert [is_local(host) for host in here] == [True] * len(here)
    assert [is_local(host) for host in away] == [False] * len(away)
    assert in_clear("http://nas:2283") == in_clear("https://example.org") == ""
    assert "without https the API key" in in_clear("http://example.org")


def test_a_key_comes_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "key.txt"
    file.write_bytes(b"\xef\xbb\xbf" + KEY.encode() + b"\r\n")
    file.chmod(0o600)
    key = ApiKey.read(file)
    assert (key.text, key.exposed()) == (KEY, "")
    assert KEY not in repr(key)
    file.chmod(0o644)
    assert f"chmod 600 {file}" in ApiKey.read(file).exposed()


@pytest.mark.parametrize("text", ["", "\n", "short", "two words here", "line\nline\n", "é" * 20,
                                  "x" * 5000, "a\x00bcdefghij"])  # fmt: skip
def test_what_is_no_key(text: str, tmp_path: Path) -> None:
    file = tmp_path / "key.txt"
    file.write_text(text)
    with pytest.raises(OptionError, match="expected an API key of Immich in one line") as raised:
        ApiKey.read(file)
    assert not text.strip() or text.strip() not in str(raised.value).replace(str(file), "")


def test_key_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        ApiKey.read(tmp_path / "missing.txt")
    with pytest.raises(DataError, match=str(tmp_path)):
        ApiKey.read(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DataError, match="named pipe"):
            ApiKey.read(tmp_path / "pipe")


def test_nobody_there() -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = refusal(f"http://127.0.0.1:{port}")
    assert "127.0.0.1 cannot be reached" in line
    assert f"does Immich run at http://127.0.0.1:{port}?" in line


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*given: object, **named: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "nas cannot be reached" in refusal("http://nas:2283")


@contextmanager
def answering(reply: bytes) -> Iterator[str]:
    """A server that says these bytes to everyone."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with closing(client):
                    client.recv(65536)
                    client.sendall(reply)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def test_servers_that_speak_otherwise() -> None:
    with answering(b"SSH-2.0-OpenSSH_9.6\r\n") as host:
        assert f"does it want https://{host}?" in refusal(f"http://{host}")
        assert f"try --url http://{host}" in refusal(f"https://{host}")


def test_a_certificate_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
         tmp_path / "tls.key", "-out", tmp_path / "tls.crt"], capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl")
    fake = FakeImmich()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    with fake.running(context):
        assert "SSL_CERT_FILE=FILE names its issuer's certificate" in refusal(fake.base)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls.crt"))
        with connection(fake.base) as asking:
            assert ImmichApi(asking).server.shown == "Immich v2.3.1"


def test_refusals_in_one_line() -> None:
    login = b"<!doctype html><html><head><title>Sign in</title></head></html>"
    lines = {
        "does not take the API key in key.txt (HTTP 401: Invalid": [None, status(401, "Invalid")],
        "lacks the permission user.read; Immich sets them": [
            None, status(403, "Missing required permission: user.read")],
        "refuses (HTTP 403: 403 Forbidden); has the key all permissions?": [
            None, status(403, "Forbidden", html=True)],
        "answers a web page (HTML) where Immich answers JSON": [body(login, "text/html")],
        "answers no JSON": [body(b"pong")],
        "is no Immich": [status(404, "no such page", html=True)] * 2,
        "does not answer as Immich does": [body(b'{"version": "1"}')],
        "JSON that is nested too deeply": [body(b"[" * 100_000 + b"]" * 100_000)],
        "asks for fewer requests (HTTP 429), for 60 minutes": [status(429, wait="3600")],
        "cannot answer now (HTTP 502: 502 Bad": [status(502, "Bad gateway", html=True)] * 8,
        "breaks off, or answers no HTTP": [None, *[reset] * 8],
        "redirects to https://nas/api/server/version, where the API key is not sent": [
            lambda handler: (handler.send(308, b"", "text/plain", {
                "Location": "https://nas/api/server/version"}), True)[1]],
    }  # fmt: skip
    fake = FakeImmich()
    with fake.running():
        for expected, faults in lines.items():
            fake.before.clear()
            fake.fault("", *faults)
            assert expected in refusal(fake.base)
    assert {"x-api-key": KEY}.items() <= {k.lower(): v for k, v in fake.headers[0].items()}.items()


def test_an_address_that_is_the_web_page_or_another_folder() -> None:
    fake = FakeImmich()
    fake.prefix = "/photos"
    with fake.running():
        with connection(fake.base) as asking:
            assert ImmichApi(asking).server.version == (2, 3, 1)
        assert "a web page (HTML)" in refusal(fake.base.removesuffix("/photos"))


def test_a_body_that_says_the_key_is_not_repeated() -> None:
    fake = FakeImmich()
    with fake.running():
        fake.fault("", None, status(401, f"unknown key {KEY}"))
        assert "unknown key …" in refusal(fake.base)


def test_waits_as_the_server_asks(caplog: pytest.LogCaptureFixture) -> None:
    fake, clock = FakeImmich(), NoWait()
    with fake.running(), caplog.at_level(logging.WARNING), connection(fake.base, clock) as asking:
        fake.fault("", status(429, wait="30"), status(503), reset, status(502, html=True))
        ImmichApi(asking)
        assert clock.time == 30 + 2 + 4 + 8
        assert asking.counts["retries"] == 4
        assert asking.counts["waited_s"] == 44
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.endswith("127.0.0.1 asks for fewer requests (HTTP 429); next try in 30 seconds")


def test_answers_are_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = FakeImmich()
    asset = fake.add("1.jpg", jpeg(0))
    monkeypatch.setattr(immich_client, "MAX_JSON_BYTES", 200)
    monkeypatch.setattr(immich_client, "MAX_PREVIEW_BYTES", 100)
    with fake.running(), opened(fake, tmp_path) as api:
        fake.fault("/tags", body(b"[" + b" " * 1000 + b"]"))
        with pytest.raises(RefusedError, match="sends more than 200 bytes"):
            api.tags()
        with pytest.raises(RefusedError, match="sends more than 100 bytes"):
            api.preview(asset.id)


def test_answers_of_another_shape(tmp_path: Path) -> None:
    fake = FakeImmich()
    asset = fake.add("1.jpg", jpeg(0))
    with fake.running(), opened(fake, tmp_path) as api:
        for odd in (b"[]", b"null", b'{"assets": 3}', b'{"assets": {"items": [{"id": "../x"}]}}'):
            fake.fault("/search", body(odd))
            with pytest.raises(NetworkError, match="does not answer as Immich does"):
                list(api.images())
        for odd in (b"{}", b"[3]", b'[{"id": "1"}]'):
            fake.fault("/tags", body(odd))
            with pytest.raises(NetworkError, match="does not answer as Immich does"):
                api.tags()
        fake.fault("/thumbnail", body(b"<html>login</html>", "text/html"))
        with pytest.raises(NetworkError, match="login page"):
            api.preview(asset.id)
        fake.fault("/tags", body(b"[]"), body(b"[]"))
        with pytest.raises(NetworkError, match="did not make the tag 'landmark/x'"):
            api.make_tags(["landmark/x"])


def test_tags_that_an_upsert_leaves_out_are_looked_up(tmp_path: Path) -> None:
    fake = FakeImmich()
    fake.make_tag("landmark/a")
    with fake.running(), opened(fake, tmp_path) as api:
        fake.fault("/tags", body(b"[]"), method="PUT")
        assert list(api.make_tags(["landmark/a"])) == ["landmark/a"]


def test_a_server_that_ignores_the_filters_of_pages(tmp_path: Path) -> None:
    fake = FakeImmich()
    fake.page_size = 3
    for i in range(8):
        fake.add(f"{i}.jpg", None, taken=f"2020-01-0{8 - i}T00:00:00.000Z")

    def ignoring(sent: dict[str, object]) -> dict[str, object]:
        return {k: v for k, v in sent.items() if k not in ("order", "takenAfter")}

    with fake.running(), opened(fake, tmp_path) as api:
        fake.understands = ignoring
        found = [one.name for page in api.images() for one in page]
    assert set(found) == {f"{i}.jpg" for i in range(8)}


def test_ctrl_c_in_a_wait_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(NoWait):
        def sleep(self, seconds: float) -> None:
            raise KeyboardInterrupt

    fake = FakeImmich()
    with fake.running(), connection(fake.base, Interrupted()) as asking:
        fake.fault("", status(503), meanwhile(lambda: None))
        with pytest.raises(KeyboardInterrupt):
            ImmichApi(asking)
