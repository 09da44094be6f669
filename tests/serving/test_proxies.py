"""Behind proxies: whose headers are believed, prefixes, redirects; servers without keys."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from starlette.testclient import TestClient

from tests.support.served_world import copied, front, jpeg, made
from whichlandmark.core.errors import OptionError
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.keys import add_key
from whichlandmark.serving.monitoring import JsonLines
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.proxies import TrustedProxies, caller_of, check_root_path, ip_of
from whichlandmark.serving.server import create_app

pytestmark = pytest.mark.server

PROXY, CLIENT = "10.0.0.5", "203.0.113.7"


@contextmanager
def client(
    folder: Path | None = None, peer: str | None = PROXY, base: str = "http://localhost",
    **options: Any,
) -> Iterator[TestClient]:  # fmt: skip
    """Requests from the address `peer`, without following redirects."""
    app = create_app(Engine(folder or made(), ServeOptions(workers=1, **options)))
    with TestClient(app, base, follow_redirects=False, client=(peer, 9)) as opened:
        yield opened


def believed(headers: dict[str, str], peer: str | None = PROXY, trusted: str = PROXY) -> Any:
    """(client, scheme, host) after `TrustedProxies.believe`."""
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "headers": [(b"host", b"inner"), *raw], "scheme": "http",
             "client": (peer, 9) if peer else None}  # fmt: skip
    TrustedProxies.parse(trusted.split()).believe(scope)
    return scope["client"][0], scope["scheme"], dict(scope["headers"])[b"host"].decode()


@pytest.mark.parametrize(("headers", "expected"), [
    ({}, (PROXY, "http", "inner")),
    ({"X-Forwarded-For": CLIENT}, (CLIENT, "http", "inner")),
    ({"X-Forwarded-For": f"1.1.1.1, {CLIENT}"}, (CLIENT, "http", "inner")),  # the first is a claim
    ({"X-Forwarded-For": f"{CLIENT}:4711"}, (CLIENT, "http", "inner")),
    ({"X-Forwarded-For": "[2001:db8::1]:443"}, ("2001:db8::1", "http", "inner")),
    ({"X-Forwarded-For": "::ffff:203.0.113.7"}, (CLIENT, "http", "inner")),
    ({"X-Forwarded-For": "unknown"}, (PROXY, "http", "inner")),
    ({"X-Forwarded-For": f"{CLIENT}, {PROXY}"}, (CLIENT, "http", "inner")),
    ({"X-Real-IP": CLIENT}, (CLIENT, "http", "inner")),
    ({"X-Forwarded-For": CLIENT, "X-Real-IP": "1.1.1.1"}, (CLIENT, "http", "inner")),
    ({"X-Forwarded-For": CLIENT, "Forwarded": "for=1.1.1.1"}, (CLIENT, "http", "inner")),
    ({"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https", "X-Forwarded-Host": "m.example"},
     (CLIENT, "https", "m.example")),
    ({"X-Forwarded-Proto": "javascript"}, (PROXY, "http", "inner")),
    ({"X-Forwarded-Host": "a/b?c"}, (PROXY, "http", "inner")),
    ({"X-Forwarded-Host": "m.example:8443"}, (PROXY, "http", "m.example:8443")),
    ({"Forwarded": f"for={CLIENT};proto=https;host=m.example"}, (CLIENT, "https", "m.example")),
    ({"Forwarded": f'for=1.1.1.1;host=evil, For="{CLIENT}:80"; Proto=HTTPS'},
     (CLIENT, "https", "inner")),
    ({"Forwarded": 'for="[2001:db8::1]:4711"'}, ("2001:db8::1", "http", "inner")),
    ({"Forwarded": "for=_hidden"}, (PROXY, "http", "inner")),
    ({"Forwarded": 'for="'}, (PROXY, "http", "inner")),
])  # fmt: skip
def test_what_a_trusted_proxy_says(headers: dict[str, str], expected: tuple[str, ...]) -> None:
    assert believed(headers) == expected
    others = believed(headers, "192.0.2.1")
    assert others == ("192.0.2.1", "http", "inner")


def test_chains_of_proxies_and_networks() -> None:
    chain = {"X-Forwarded-For": f"6.6.6.6, {CLIENT}, 10.1.2.3", "X-Forwarded-Proto": "http, https,"
             " http", "X-Forwarded-Host": "evil, m.example, inner2"}  # fmt: skip
    assert believed(chain, PROXY, "10.0.0.0/8") == (CLIENT, "https", "m.example")
    assert believed(chain, PROXY, PROXY) == ("10.1.2.3", "http", "inner2")
    assert believed({"X-Forwarded-For": CLIENT}, None, "unix") == (CLIENT, "http", "inner")
    assert believed({"X-Forwarded-For": CLIENT}, None, PROXY)[0] == "unix"
    assert believed({"X-Forwarded-For": "10.0.0.9"}, PROXY, "10.0.0.0/8")[0] == "10.0.0.9"
    assert believed({"X-Forwarded-For": CLIENT}, "::ffff:10.0.0.5", PROXY)[0] == CLIENT
    with pytest.raises(OptionError, match=r"'nginx' given; expected an IP address"):
        ServeOptions(proxies=("nginx",))
    assert [ip_of(text) for text in ("1.2.3.4", "::1", "[::1]:8", "fe80::1%eth0", "x", "")] == [
        "1.2.3.4", "::1", "::1", "fe80::1", None, None
    ]  # fmt: skip
    assert caller_of("2001:db8:1:2:3::4") == caller_of("2001:db8:1:2:ffff::") != caller_of("::1")
    assert caller_of(CLIENT) == CLIENT


@pytest.mark.parametrize("name", [
    "X-Forwarded-For", "Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP",
])  # fmt: skip
def test_a_proxy_before_a_server_without_keys_is_refused(name: str, tmp_path: Path) -> None:
    sent = {name: "localhost" if name.endswith("Host") else CLIENT}
    for options in ({}, {"insecure": True, "host": "0.0.0.0"}):
        with client(peer="127.0.0.1", **options) as one:
            for method, path in (("GET", "/"), ("GET", "/v1/landmarks"), ("POST", "/v1/recognize")):
                reply = one.request(method, path, headers=sent)
                assert reply.status_code == 403
                error = reply.json()["error"]
                assert error["code"] == "forwarded_without_keys"
                assert name.lower() in error["message"]
                assert "--keys FILE" in error["hint"]
                assert "--trusted-proxy 127.0.0.1" in error["hint"]
            assert one.get("/").status_code == 200
    with client(proxies=("127.0.0.0/8",), peer="127.0.0.1") as one:
        assert one.get("/v1/landmarks", headers=sent).status_code == 200
    key = add_key(tmp_path / "keys.json", "a", "read")
    with client(keys=tmp_path / "keys.json", peer="127.0.0.1") as one:
        headers = {"Authorization": f"Bearer {key}", **sent}
        assert one.get("/v1/landmarks", headers=headers).status_code == 200


def test_an_untrusted_proxy_is_told_in_the_log_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add_key(tmp_path / "keys.json", "a", "read")
    with client(keys=tmp_path / "keys.json") as one:
        for _ in range(3):
            one.get("/livez", headers={"X-Forwarded-For": CLIENT})
    told = [line.getMessage() for line in caplog.records if line.levelno == logging.WARNING]
    assert len(told) == 1
    assert "--trusted-proxy" in told[0]
    assert CLIENT not in told[0]


def test_insecure_keeps_the_host_check() -> None:
    with client(insecure=True, host="0.0.0.0", names=("maps.home",)) as one:

        def status(host: str) -> int:
            return one.get("/v1/landmarks", headers={"host": host}).status_code

        for good in ("localhost", "localhost:8000", "LOCALHOST.", "192.168.1.5:8000", "10.0.0.1",
                     "[2001:db8::1]:80", "127.0.0.1", "maps.home",
                     socket.gethostname()):  # fmt: skip
            assert status(good) == 200, good
        for bad in ("evil.example", "maps.home.evil.example", "1.2.3.4.evil.example", "", "evil:80",
                    "1.2.3", "[evil"):  # fmt: skip
            assert status(bad) == 421, bad
    with client() as one:  # no IP address but those of this machine without --insecure
        assert one.get("/", headers={"host": "192.168.1.5"}).status_code == 421


def test_a_forwarded_host_is_checked_too() -> None:
    sent = {"X-Forwarded-For": CLIENT, "X-Forwarded-Host": "maps.example"}
    with client(proxies=(PROXY,)) as one:
        assert one.get("/", headers=sent).status_code == 421
    with client(proxies=(PROXY,), names=("maps.example",)) as one:
        assert one.get("/", headers=sent).status_code == 200
        assert one.get("/", headers={**sent, "X-Forwarded-Host": "evil.example"}).status_code == 421


def test_rates_are_of_the_client_behind_the_proxy() -> None:
    photo = {"files": [("photos", b"no photo")]}
    with client(proxies=(PROXY,), rate=2) as one:

        def status(address: str) -> int:
            headers = {"X-Forwarded-For": address}
            return one.post("/v1/recognize", headers=headers, **photo).status_code

        assert [status(CLIENT) for _ in range(3)] == [200, 200, 429]
        assert [status(f"6.6.6.{number}, {CLIENT}") for number in range(2)] == [429, 429]
        assert status("203.0.113.8") == 200
        network = [status(f"2001:db8::{number}") for number in range(3)]
        assert network == [200, 200, 429]


def test_the_page_posts_from_its_own_site_behind_tls() -> None:
    photo = {"files": [("photos", jpeg(front(1, 9)))]}
    forwarded = {"X-Forwarded-For": CLIENT, "X-Forwarded-Proto": "https"}
    with client(proxies=(PROXY,), names=("maps.example",), root_path="/wl") as one:

        def status(origin: str, **more: str) -> int:
            headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin", **forwarded, **more}
            return one.post("/wl/v1/recognize", headers=headers, **photo).status_code

        own = {"X-Forwarded-Host": "maps.example"}
        assert status("https://maps.example", **own) == 200
        assert status("https://maps.example", host="maps.example") == 200
        assert status("https://maps.example", host="maps.example:443") == 200
        assert status("https://maps.example:8443", host="maps.example:8443") == 200
        assert status("https://evil.example", **own) == 403
        assert status("https://maps.example:8443", **own) == 403
        assert status("null", **own) == 403


@pytest.mark.parametrize("stripped", [False, True])
@pytest.mark.parametrize("prefix", ["/wl", "/maps/which.landmark"])
def test_a_prefix_is_right_whether_it_is_stripped_or_not(stripped: bool, prefix: str) -> None:
    before = "" if stripped else prefix
    with client(root_path=prefix) as one:
        for path in ("/", "/livez", "/static/page.js", "/v1/landmarks", "/v1/config"):
            assert one.get(before + path).status_code == 200, path
        assert one.get(f"{before}/v1/nothing").status_code == 404
        assert one.get("/other/v1/landmarks").status_code == 404
        schema = one.get(f"{before}/openapi.json").json()
        assert schema["servers"][0]["url"] == prefix
        listed = one.get(f"{before}/v1/landmarks").json()["landmarks"][0]
        base = f"https://maps.example{prefix}/"
        url = urljoin(base, listed["thumbnail"].lstrip("/"))
        assert url.startswith(base)
        assert one.get(before + url.removeprefix(base[:-1])).status_code == 200
        error = one.post(f"{before}/v1/images:annotate", json={}).json()["error"]
        assert error["status"] == "INVALID_ARGUMENT"  # in Google's form
        refused = one.post(f"{before}/v1/images:annotate", content=b"", headers={
            "content-length": "70000000"})  # fmt: skip
        assert refused.json()["error"]["code"] == 413
    with client(root_path=f"{prefix}/") as one:
        moved = one.get(f"{prefix}?lang=fr")
        assert moved.status_code == 308
        location = urljoin(f"https://maps.example{prefix}?lang=fr", moved.headers["location"])
        assert location == f"https://maps.example{prefix}/?lang=fr"


@pytest.mark.parametrize("prefix", ["", "/wl"])
def test_redirects_are_right_for_every_scheme_host_and_prefix(prefix: str) -> None:
    """They were absolute, http://, and without the prefix."""
    with client(root_path=prefix) as one:
        for path, query in (
            ("/v1/config/", ""), ("/v1/config/", "?a=%2F"), ("/livez/", ""),
            ("/v1/landmarks/a%2Fb%3Fc/photos/", ""), ("/v1/config//", ""),
        ):  # fmt: skip
            reply = one.get(prefix + path + query)
            if reply.status_code == 404:
                continue
            assert reply.status_code == 307
            outer = "" if path.endswith("//") else "/x"
            for base in ("https://maps.example", "http://localhost:80", f"https://h{outer}"):
                asked = base + prefix + path + query
                wanted = base + prefix + path.rstrip("/") + query
                assert urljoin(asked, reply.headers["location"]) == wanted
        assert one.get(f"{prefix}/livez/").status_code == 307


@pytest.mark.parametrize(
    "value", ["/v1", "/a b", "/a//b", "/a?b", "/é", "/../a", "/static/x", "/."]
)
def test_a_prefix_that_cannot_work_is_refused(value: str) -> None:
    with pytest.raises(OptionError, match="root path"):
        ServeOptions(root_path=value)


def test_prefixes_are_written_in_any_way() -> None:
    assert [check_root_path(text) for text in ("", "/", "wl", "/wl/", " /a/b ")] == [
        "", "", "/wl", "/wl", "/a/b"
    ]  # fmt: skip


@pytest.mark.parametrize("logged", [False, True])
def test_addresses_are_logged_only_where_wanted(
    logged: bool, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO, logger="whichlandmark")
    with client(copied(tmp_path), proxies=(PROXY,), log_addresses=logged) as one:
        headers = {"X-Forwarded-For": CLIENT, "Forwarded": f"for={CLIENT}", "X-Real-IP": CLIENT}
        one.get("/v1/landmarks", headers=headers)
        one.get("/nothing", headers=headers)
        one.post("/v1/recognize", headers={**headers, "Content-Length": "x"})
        one.get("/", headers={**headers, "Host": "evil.example"})
        one.post("/v1/feedback", headers=headers, json={"request_id": "a", "right": True})
    lines = [JsonLines().format(record) for record in caplog.records]
    requests = [line for line in map(json.loads, lines) if line["event"] == "request"]
    assert len(requests) == 5
    if logged:
        assert {line["address"] for line in requests} == {CLIENT}
    else:
        text = "\n".join(lines) + "".join(
            path.read_text() for path in tmp_path.rglob("feedback*") if path.is_file()
        )
        assert CLIENT not in text
        assert PROXY not in text
        assert "address" not in text


def test_a_proxy_may_come_through_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "wl.sock"
    with socket.socket(socket.AF_UNIX) as dead:  # left by a server that was killed
        dead.bind(str(path))
    command = [sys.executable, "-m", "whichlandmark.cli", "serve", str(made()), "--workers", "1",
               "--host", f"unix:{path}", "--trusted-proxy", "unix", "--log-addresses"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert f"serving unix:{path}" in next(iter(process.stderr))
            for sent in ({"X-Forwarded-For": CLIENT}, {}):
                with socket.socket(socket.AF_UNIX) as one:
                    one.connect(str(path))
                    lines = [f"{name}: {value}\r\n" for name, value in sent.items()]
                    head = "GET /v1/landmarks HTTP/1.1\r\nHost: localhost\r\n"
                    one.sendall(f"{head}{''.join(lines)}Connection: close\r\n\r\n".encode())
                    assert one.recv(100).startswith(b"HTTP/1.1 200")
                logged = json.loads(next(iter(process.stderr)))
                assert logged["address"] == (CLIENT if sent else "unix")
            again = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert again.returncode == 2
            assert "is another server running" in again.stderr
        finally:
            process.terminate()
            process.wait(30)
    assert not path.exists()
