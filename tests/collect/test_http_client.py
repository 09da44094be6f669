"""The HTTP client against answers made by the test, with a clock that nobody waits for: whom it
asks, how often, how long it waits, and what it keeps. Its reading of answers: test_http_answers.py;
hostile servers: test_hostile_server.py.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.web_doubles import (
    CONTACT,
    JPEG,
    Answers,
    StillClock,
    client_of,
    names_in,
    only_this_machine,
    replies,
    reply,
)
from whichlandmark.collect import http_limits
from whichlandmark.collect.http_client import ApiError, PoliteClient, RefusedError, Sites
from whichlandmark.core.errors import BusyError, NetworkError, OptionError
from whichlandmark.core.http_reading import Guard, guard_reads

SITES = Sites.wikimedia()
PHOTO = "https://upload.wikimedia.org/wikipedia/commons/thumb/a/ab/Nave%2FChoir.jpg/960px-Nave.jpg"
FINE = {"query": {"pages": []}}
LAG = {"error": {"code": "maxlag", "info": "Waiting for db1: 6 seconds lagged", "lag": 6}}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    only_this_machine(monkeypatch)


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)]


def ask(client: PoliteClient, url: str = SITES.commons, **params: str) -> Any:
    return client.get_json(url, params or {"action": "query"}, what="photos of Q243")


def failure(
    answer: Any, kind: type[NetworkError], match: str, url: str = SITES.commons
) -> tuple[Any, Answers]:
    """The error where this answer comes to every request; nothing of it may be kept."""
    with client_of(replies(answer)) as (client, net):
        with pytest.raises(kind, match=match) as error:
            ask(client, url)
        if not isinstance(error.value, ApiError):
            assert client.cache.answer(url, {"action": "query"}) is None
    assert "\n" not in str(error.value)
    return error.value, net


# Who asks


@pytest.mark.parametrize("contact", ["", " ", "me", "me@", "me@host", "@x.org", "http://x.org",
                                     "https://", "https://localhost/", "a b@x.org", "m@x.org\nX: 1",
                                     "https://x.org/)(", "https://x.org/a b", f"{'a' * 300}@x.org",
                                     "ich@müller.example"])  # fmt: skip
def test_without_a_contact_nothing_is_asked(contact: str) -> None:
    with pytest.raises(OptionError, match=r"--contact: .*Wikimedia blocks programs") as error:
        PoliteClient(contact, sites=SITES)
    assert "\n" not in str(error.value)


def test_without_any_contact_only_the_store_of_google_landmarks_may_be_asked(
    tmp_path: Path,
) -> None:
    with PoliteClient(None, sites=SITES) as client:
        with pytest.raises(RefusedError, match="not one of the hosts that may be asked"):
            client.get_json(SITES.commons, {"action": "query"}, what="a page")
        with pytest.raises(RefusedError, match="not one of the hosts that may be asked"):
            client.download(f"{SITES.media[0]}/a.jpg", tmp_path / "a.jpg", max_bytes=9, what="a")
        assert not client.counts["api"] + client.counts["media"]
    assert "(" not in http_limits.user_agent(None, "python-httpx2/2")


@pytest.mark.parametrize("contact", [CONTACT, " me@x.org ", "https://x.org", "first.l+w@a-b.x.org",
                                     "https://x.org:8443/who?is=it#me"])  # fmt: skip
def test_the_user_agent_names_program_contact_and_library(contact: str) -> None:
    clock = StillClock()
    transport = Answers(replies(FINE), clock)
    with PoliteClient(contact, sites=SITES, clock=clock, transport=transport) as client:
        ask(client)
    sent = transport.requests[0].headers
    library = f"python-httpx2/{httpx2.__version__}"
    assert re.fullmatch(
        rf"whichlandmark/[\d.]+ \({re.escape(contact.strip())}\) {library}", sent["user-agent"]
    )
    assert sent["accept-encoding"] == "gzip, deflate"


def test_no_cookie_is_sent_back() -> None:
    with client_of(replies((200, {"set-cookie": "spy=1; path=/"}, b"{}"))) as (client, net):
        ask(client)
        ask(client, titles="B")
    assert "cookie" not in net.requests[1].headers


def test_the_contact_stands_in_no_file_and_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = replies(LAG, FINE, JPEG)
    with client_of(answers, cache=tmp_path / "commons.sqlite") as (client, _):
        ask(client)
        client.download(PHOTO, tmp_path / "1.jpg", max_bytes=10**6, what="photo 1")
        for path in tmp_path.iterdir():
            assert CONTACT.encode() not in path.read_bytes()
    assert CONTACT.encode() not in (tmp_path / "commons.sqlite").read_bytes()
    assert CONTACT not in caplog.text


def test_without_the_extra_the_command_that_installs_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tenacity", None)
    with pytest.raises(OptionError, match=r"tenacity is not installed; pip install '.*\[collect\]"):
        PoliteClient(CONTACT, sites=SITES)


# Where


def test_the_real_sites_are_asked_by_https_only() -> None:
    for url in (SITES.commons, SITES.wikidata, SITES.sparql, SITES.gldv2, *SITES.media):
        assert url.startswith("https://")
    assert Sites.given(None) == SITES


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:8080", "http://localhost:1/", "https://[::1]:9"]
)
def test_a_stand_in_is_on_this_machine(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Sites.given(base) == Sites.at(base)
    assert Sites.at(base).commons == f"{base.rstrip('/')}/commons/w/api.php"
    monkeypatch.setenv(http_limits.API_VARIABLE, base)
    assert Sites.given(None) == Sites.at(base)


@pytest.mark.parametrize("base", ["http://10.0.0.1:80", "https://example.org", "127.0.0.1:80", "",
                                  "http://127.0.0.1@evil.example", "http://u:p@127.0.0.1:80",
                                  "file:///etc", "http://127.0.0.1:80/x", "http://127.0.0.1:99999",
                                  "http://127.0.0.1:80?x=1", "http://127.0.0.1.evil.example",
                                  "x" * 9999, "http://169.254.169.254"])  # fmt: skip
def test_another_stand_in_is_refused(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match=r"--api .*a stand-in on this machine"):
        Sites.given(base)
    monkeypatch.setenv(http_limits.API_VARIABLE, base)
    if base:
        with pytest.raises(OptionError, match=http_limits.API_VARIABLE):
            Sites.given(None)
    else:
        assert Sites.given(None) == SITES


@pytest.mark.parametrize("url", ["https://evil.example/w/api.php",
                                 "http://commons.wikimedia.org/w/api.php",
                                 "https://commons.wikimedia.org:8443/w/api.php",
                                 "https://me@commons.wikimedia.org/w/api.php", "file:///etc/passwd",
                                 "https://commons.wikimedia.org@evil.example/", "", "//x",
                                 "https://", "https://commons.wikimedia.org.evil.example/",
                                 "https://[::1", "https://upload.wikimedia.org/w/api.php",
                                 "https://commons.wikimedia.org\\@x.example/"])  # fmt: skip
def test_only_known_hosts_are_asked(url: str, tmp_path: Path) -> None:
    file = url.replace("upload.", "files.").replace("https://commons.wikimedia.org\\", "https://")
    with client_of(replies(FINE)) as (client, net):
        with pytest.raises(RefusedError, match="not one of the hosts that may be asked"):
            ask(client, url)
        with pytest.raises(RefusedError, match="not one of the hosts"):
            client.download(file, tmp_path / "x", max_bytes=9, what="x")
    assert not net.requests


@pytest.mark.parametrize("path", ["/google-landmark/../x", "/google-landmark-2/x", "/x", "",
                                  "/google-landmark/%2e%2e/x"])  # fmt: skip
def test_only_the_store_of_google_landmarks_is_asked(path: str) -> None:
    url = SITES.gldv2.removesuffix("/google-landmark") + path
    with (
        client_of(replies(FINE)) as (client, net),
        pytest.raises(RefusedError),
        client.stream(url, what="x"),
    ):
        pass
    assert not net.requests


def test_the_environment_names_the_proxy_but_not_for_a_stand_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "gopher://proxy.example")
        monkeypatch.delenv(name.lower(), raising=False)
    with (
        PoliteClient(CONTACT, sites=SITES, clock=StillClock()) as client,
        pytest.raises(OptionError, match="see HTTPS_PROXY"),
    ):
        ask(client)
    here = Sites.at("http://127.0.0.1:9")
    with (
        PoliteClient(CONTACT, sites=here, clock=StillClock()) as client,
        pytest.raises(NetworkError, match=r"127.0.0.1 cannot be reached"),
    ):
        ask(client, here.commons)


def test_reads_are_guarded_in_the_installed_version_of_the_library() -> None:
    client: Any = httpx2.Client(proxy="http://127.0.0.1:9")
    guard_reads(client, Guard(), http_limits.Pace(StillClock()).check)
    pools = [client._transport._pool, *(one._pool for one in client._mounts.values())]
    assert len(pools) == 2
    assert {type(pool._network_backend).__name__ for pool in pools} == {"Backend"}


# How often


def test_apis_are_asked_one_after_another_below_the_published_rate() -> None:
    def answer(request: httpx2.Request, number: int) -> httpx2.Response:
        time.sleep(0.001)
        return reply(200, {}, FINE)

    with client_of(answer) as (client, net):
        urls = (SITES.commons, SITES.wikidata, SITES.sparql)
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda n: ask(client, urls[n % 3], n=str(n)), range(240)))
        assert client.counts["api"] == 240
    assert net.most_active == 1
    starts = sorted(net.times)
    assert max(gaps(starts)) < 0.4
    for first in starts:
        assert sum(first <= one < first + 60 for one in starts) <= 195


def test_maxlag_goes_to_mediawiki_only() -> None:
    with client_of(replies(FINE)) as (client, net):
        for url in (SITES.commons, SITES.wikidata, SITES.sparql):
            ask(client, url)
    assert [r.url.params.get("maxlag") for r in net.requests] == ["5", "5", None]


def test_two_photos_at_a_time_within_the_rate_of_bytes(tmp_path: Path) -> None:
    gate, size = threading.Barrier(2), 4_000_000

    def answer(request: httpx2.Request, number: int) -> httpx2.Response:
        gate.wait(5)  # fails unless two are under way
        return reply(200, {}, JPEG + bytes(size - len(JPEG)))

    clock = StillClock()
    with client_of(answer, clock=clock) as (client, net):
        begun = clock.now()
        with ThreadPoolExecutor(6) as pool:
            done = list(pool.map(lambda n: client.download(
                PHOTO, tmp_path / f"{n}.jpg", max_bytes=size, what="x"), range(8)))  # fmt: skip
        assert client.counts["media"] == 8
        assert client.counts["bytes"] == 8 * size
    assert net.most_active == 2
    assert {one.bytes for one in done} == {size}
    assert 8 * size <= (clock.now() - begun + 1.5) * 25e6 / 8


# Waits


@pytest.mark.parametrize(
    ("said", "waits"),
    [
        ("7", 7), ("0", 1), ("120", 120), ("-3", 5), ("soon", 5), ("1.5", 5), ("", 5), ("٣", 5),
        ("Sun, 17 Jan 2027 10:00:42 GMT", 42), ("Sun, 17 Jan 2027 09:59:00 GMT", 5),
        ("Thu, 32 Foo 2099", 5), ("Sun, 06 Nov 1994 08:49:37 GMT", 5),
    ],
)  # fmt: skip
def test_retry_after_is_kept_to(said: str, waits: float) -> None:
    headers = {"retry-after": said.encode(), "date": "Sun, 17 Jan 2027 10:00:00 GMT"}
    with client_of(replies((429, headers, b"Too many"), FINE)) as (client, net):
        assert ask(client) == FINE
        assert client.counts["retries"] == 1
    assert gaps(net.times) == pytest.approx([waits], abs=0.01)


@pytest.mark.parametrize("said", ["901", "86400", "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_who_asks_for_hours_is_obeyed_by_stopping(said: str) -> None:
    answer = (503, {"retry-after": said}, b"Down")
    _, net = failure(answer, NetworkError, r"commons.wikimedia.org asks to wait .*after that")
    assert len(net.requests) == 1


@pytest.mark.parametrize("answer", [(503, {}, b""), (429, {}, b"<html>"), LAG, (502, {}, b"<p>"),
                                    {"error": {"code": "ratelimited"}}])  # fmt: skip
def test_waits_double_from_five_seconds_and_end(answer: Any) -> None:
    told = "photos of Q243: .*also after waiting; nothing is lost: the same command goes on"
    error, net = failure(answer, NetworkError, told)
    assert not isinstance(error, RefusedError)  # because all other requests would fail alike
    assert gaps(net.times) == pytest.approx([5, 10, 20, 40, 80, 120, 120], abs=0.01)


def test_lag_is_waited_for_at_least_five_seconds() -> None:
    lag = (200, {"retry-after": "1"}, json.dumps(LAG).encode())
    with client_of(replies(lag, FINE)) as (client, net):
        assert ask(client) == FINE
    assert gaps(net.times) == pytest.approx([5])
    assert [r.url.params["maxlag"] for r in net.requests] == ["5", "5"]


def test_the_lag_of_the_query_service_is_waited_for_once() -> None:
    lag = {"error": {**LAG["error"], "type": "wikibase-queryservice"}}

    def answer(request: httpx2.Request, number: int) -> httpx2.Response:
        return reply(200, {}, lag if "maxlag" in request.url.params else FINE)

    with client_of(answer) as (client, net):
        assert ask(client, SITES.wikidata) == FINE
    assert gaps(net.times) == pytest.approx([5])


def test_a_limit_told_to_one_thread_holds_for_all(tmp_path: Path) -> None:
    first = threading.Event()

    def answer(request: httpx2.Request, number: int) -> httpx2.Response:
        if number == 1:
            return reply(429, {"retry-after": "30"}, b"")
        return reply(200, {}, JPEG)

    class Waits(StillClock):
        def sleep(self, seconds: float) -> None:
            first.set()
            assert second.wait(5)
            super().sleep(seconds)

    second = threading.Event()

    def late() -> None:
        assert first.wait(5)
        second.set()
        client.download(PHOTO, tmp_path / "2.jpg", max_bytes=10**6, what="x")

    with client_of(answer, clock=Waits()) as (client, net), ThreadPoolExecutor(1) as pool:
        other = pool.submit(late)
        client.download(PHOTO, tmp_path / "1.jpg", max_bytes=10**6, what="x")
        other.result()
    assert len(net.times) == 3
    assert min(net.times[1:]) - net.times[0] >= 29.9


def test_a_long_wait_is_told_when_it_begins(caplog: pytest.LogCaptureFixture) -> None:
    late = (429, {"retry-after": "60"}, b"Slow down")
    with client_of(replies((429, {"retry-after": "7"}, b""), late, FINE)) as (client, _):
        ask(client)
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "photos of Q243: commons.wikimedia.org asks for fewer requests (HTTP 429: Slow down); next "
        "try in 60 seconds"
    ]


def test_one_process_at_a_time_asks_wikimedia(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the two clients is as good as a process, because a lock belongs to an open file."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with PoliteClient(CONTACT, sites=SITES) as one, PoliteClient(CONTACT, sites=SITES) as two:
        one._requests._library(one._media)
        one._requests._library(one._api)
        two._requests._library(two._files)  # the store of Google Landmarks is not Wikimedia's
        with pytest.raises(BusyError, match="another whichlandmark on this machine is asking"):
            ask(two)
        one.close()
        two._requests._library(two._api)
    here = Sites.at("http://127.0.0.1:9")
    with PoliteClient(CONTACT, sites=here) as one, PoliteClient(CONTACT, sites=here) as two:
        one._requests._library(one._api)
        two._requests._library(two._api)


class Interrupts(StillClock):
    def sleep(self, seconds: float) -> None:
        if seconds > 0.4:
            raise KeyboardInterrupt
        super().sleep(seconds)


def test_control_c_while_waiting_leaves_everything_usable(tmp_path: Path) -> None:
    answers = replies(FINE, (503, {}, b""), FINE)
    cache = tmp_path / "commons.sqlite"
    with client_of(answers, cache=cache, clock=Interrupts()) as (client, _):
        ask(client)
        with pytest.raises(KeyboardInterrupt):
            ask(client, titles="B")
        client._pace.clock = StillClock()
        assert ask(client, titles="B") == FINE  # the turn was given back
    with client_of(replies(RuntimeError()), cache=cache) as (client, _):
        assert ask(client) == ask(client, titles="B") == FINE
        assert client.counts == {"cached": 2, "waited_s": 0}


def test_closing_ends_the_waits_of_other_threads() -> None:
    class RealSleep(StillClock):
        def now(self) -> float:
            return time.monotonic()

        def sleep(self, seconds: float) -> None:
            asleep.set()
            time.sleep(seconds)

    asleep = threading.Event()
    with client_of(replies((503, {}, b"")), clock=RealSleep()) as (client, _):
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(ask, client), pool.submit(ask, client)]
            assert asleep.wait(5)
            begun = time.monotonic()
            client.close()
            errors = [one.exception(5) for one in waiting]
        assert time.monotonic() - begun < 3
    assert all("the client was closed" in str(one) for one in errors)


# Without a network


def unreachable(text: str = "[Errno -3] Temporary failure in name resolution") -> Exception:
    return httpx2.ConnectError(text)


def test_offline_is_told_in_one_line_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whichlandmark.collect.http_requests.getproxies", dict)
    with client_of(replies(unreachable())) as (client, net):
        told = r"^commons.wikimedia.org cannot be reached \(.*name resolution\): check that this "
        with pytest.raises(
            NetworkError, match=told + r"machine is online; nothing is lost"
        ) as error:
            ask(client)
        assert client.counts["waited_s"] == 0
    assert len(net.requests) == 1
    assert "\n" not in str(error.value)


def test_a_proxy_that_is_not_there_is_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    told = "online, and the proxy that HTTPS_PROXY or ALL_PROXY names; nothing"
    failure(unreachable("[Errno 111] Connection refused"), NetworkError, told)


def test_a_network_that_goes_is_waited_for_a_little() -> None:
    with client_of(replies(FINE, unreachable(), unreachable(), FINE)) as (client, _):
        ask(client)
        assert ask(client, titles="B") == FINE
    with client_of(replies(FINE, unreachable())) as (client, net):
        ask(client)
        with pytest.raises(NetworkError, match="cannot be reached"):
            ask(client, titles="B")
    assert len(net.requests) == 4


@pytest.mark.parametrize("error", [httpx2.ReadError("reset"), httpx2.ReadTimeout("timed out"),
                                   httpx2.RemoteProtocolError("Server disconnected")])  # fmt: skip
def test_a_broken_connection_is_tried_again(error: Exception, tmp_path: Path) -> None:
    with client_of(replies(error, error, FINE)) as (client, _):
        assert ask(client) == FINE
    with (
        client_of(replies(error)) as (client, net),
        pytest.raises(RefusedError, match=r"photo 1: upload.wikimedia.org"),
    ):
        client.download(PHOTO, tmp_path / "1.jpg", max_bytes=10**6, what="photo 1")
    assert 3 <= len(net.requests) <= 5
    assert names_in(tmp_path) == []


def test_certificates_and_proxies_are_told_at_once() -> None:
    for error, advice in (
        (httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), "SSL_CERT_FILE"),
        (httpx2.ProxyError("403 Forbidden"), "proxy of HTTPS_PROXY"),
    ):
        with client_of(replies(FINE, error)) as (client, net):
            ask(client)
            with pytest.raises(NetworkError, match=advice):
                ask(client, titles="B")
        assert len(net.requests) == 2


# Answers that are kept


def test_a_second_run_asks_only_for_what_is_new(tmp_path: Path) -> None:
    cache = tmp_path / "out" / "commons.sqlite"
    with client_of(replies(FINE), cache=cache) as (client, _):
        client.get_json(SITES.commons, {"a": "1", "b": "Ä&="}, what="x")
    with client_of(replies({"new": 1}), cache=cache) as (client, net):
        assert client.get_json(SITES.commons, {"b": "Ä&=", "a": "1"}, what="x") == FINE
        assert client.get_json(SITES.wikidata, {"a": "1", "b": "Ä&="}, what="x") == {"new": 1}
        assert client.get_json(SITES.commons, {"a": "1"}, what="x") == {"new": 1}
        assert (client.counts["cached"], client.counts["api"]) == (1, 2)
    assert len(net.requests) == 2


def test_refresh_asks_again_once_in_a_run(tmp_path: Path) -> None:
    cache = tmp_path / "commons.sqlite"
    with client_of(replies(FINE), cache=cache) as (client, _):
        ask(client)
    with client_of(replies({"new": 1}), cache=cache, refresh=True) as (client, net):
        assert ask(client) == ask(client) == {"new": 1}
    assert len(net.requests) == 1
    with client_of(replies(RuntimeError()), cache=cache) as (client, _):
        assert ask(client) == {"new": 1}


def test_a_search_that_was_cut_short_is_used_but_not_kept() -> None:
    cut = {**FINE, "warnings": {"search": {"warnings": "The search timed out, only partial results "
                                                       "are available."}}}  # fmt: skip
    with client_of(replies(cut, FINE)) as (client, _):
        assert ask(client) == cut
        assert ask(client) == FINE


def test_bytes_that_are_no_text_are_not_sent() -> None:
    with client_of(replies(FINE)) as (client, net), pytest.raises(RefusedError, match="no text"):
        ask(client, titles="\udcff.jpg")
    assert not net.requests


def test_errors_are_not_raised_from_the_inside(tmp_path: Path) -> None:
    """What a user sees has no exception of a library behind it."""

    def causes(error: BaseException) -> Iterator[BaseException]:
        while error is not None:
            yield error
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)  # type: ignore

    for answer in (unreachable(), (503, {}, b""), b"<p>", (404, {}, b"")):
        with client_of(replies(answer)) as (client, _), pytest.raises(NetworkError) as raised:
            ask(client)
        assert all(isinstance(one, NetworkError) for one in causes(raised.value))
