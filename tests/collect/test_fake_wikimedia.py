"""The stand-in for Wikimedia refuses what Wikimedia refuses, and fails as a test asks it to."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.fake_connections import Request
from tests.support.fake_requests import (
    AGENT,
    Clock,
    ask,
    commons,
)
from tests.support.fake_traps import trap_city
from tests.support.fake_wikimedia import FakeWikimedia
from tests.support.fake_world import World

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def city() -> World:
    return trap_city()


@pytest.fixture
def server(city: World) -> Iterator[FakeWikimedia]:
    with FakeWikimedia(city, clock=Clock()) as running:
        yield running


# What is refused.


@pytest.mark.parametrize("agent", ["", "python-httpx2/2.0", "whichlandmark/0.1 (no contact)"])
def test_a_user_agent_without_a_contact_is_refused(server: FakeWikimedia, agent: str) -> None:
    assert ask(server, "/commons/w/api.php", agent, action="query", format="json").status == 403
    assert ask(server, server.world.traps["small"].place(), agent).status == 403
    assert server.counts["refused agent"] == 2


def test_the_request_after_two_hundred_in_a_minute_is_refused(server: FakeWikimedia) -> None:
    for _ in range(200):
        server.clock.sleep(0.29)
        request = {"action": "query", "format": "json", "titles": "File:Nothing.jpg"}
        assert server.refusal(_request(server, request)) is None
    first, second = (ask(server, "/commons/w/api.php", action="query", format="json")
                     for _ in range(2))  # fmt: skip
    assert (first.status, second.status) == (429, 429)
    assert 0 < int(first.headers["retry-after"]) <= 60
    assert "retry-after" not in second.headers
    server.clock.sleep(int(first.headers["retry-after"]))
    assert ask(server, "/commons/w/api.php", action="query", format="json").status == 200
    assert server.counts["refused rate"] == 2


def _request(server: FakeWikimedia, params: dict[str, str]) -> Request:
    return Request("commons", "/commons/w/api.php", params, {"user-agent": AGENT}, 0.0)


@contextmanager
def open_requests(server: FakeWikimedia, path: str, count: int) -> Iterator[None]:
    """Requests that the server has got and does not answer."""
    server.fault("silence", times=count)
    before = len(server.requests)
    connections = [http.client.HTTPConnection(urlsplit(server.base).netloc) for _ in range(count)]
    for connection in connections:
        connection.request("GET", path, headers={"User-Agent": AGENT})
    wait_for(lambda: len(server.requests) == before + count)
    yield
    for connection in connections:
        connection.close()
    wait_for(server.is_idle)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_third_media_connection_is_refused(server: FakeWikimedia) -> None:
    place = server.world.traps["small"].place()
    with open_requests(server, place, 2):
        assert ask(server, place).status == 429
    assert ask(server, place).status == 200
    assert (server.max_parallel_media, server.counts["refused connection"]) == (3, 1)


def test_parallel_api_requests_are_counted(server: FakeWikimedia) -> None:
    for _ in range(3):
        commons(server, titles="File:Nothing.jpg")
    assert (server.max_parallel_api, server.counts["parallel api"]) == (1, 0)
    with open_requests(server, "/sparql?query=x", 1):
        commons(server, titles="File:Nothing.jpg")
    assert (server.max_parallel_api, server.counts["parallel api"]) == (2, 1)


def test_more_than_25_megabits_a_second_are_refused(
    server: FakeWikimedia, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.world.traps["no bytes"], "body", b"\xff" * 16_000_000)
    place = server.world.traps["no bytes"].place(thumb=960)
    assert [ask(server, place).status for _ in range(3)] == [200, 200, 429]
    server.clock.sleep(10.1)
    assert ask(server, place).status == 200


@pytest.mark.parametrize("width", [800, 959, 961, 1024])
def test_thumbnails_have_standard_widths(server: FakeWikimedia, width: int) -> None:
    place = server.world.traps["quotes"].place(thumb=960)
    assert ask(server, place).status == 200
    assert ask(server, place.replace("/960px", f"/{width}px")).status == 400


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"titles": "|".join(f"File:{i}.jpg" for i in range(51))}, "toomanyvalues"),
        ({"pageids": "|".join(map(str, range(1, 52)))}, "toomanyvalues"),
        ({"generator": "categorymembers", "gcmtitle": "Eiffel Tower"}, "invalidcategory"),
        ({"generator": "categorymembers"}, "missingparam"),
        ({"generator": "search", "gsrsearch": ""}, "missingparam"),
        ({"generator": "geosearch", "ggscoord": "44.5|-20.2", "ggsradius": 9}, "outofrange"),
        ({"generator": "geosearch", "ggscoord": "44.5|-20.2", "ggsradius": 10_001}, "outofrange"),
        ({"generator": "geosearch", "ggscoord": "-20.2|144.5|1", "ggsradius": 99}, "invalid-coord"),
        ({"generator": "nothing"}, "badvalue"),
        ({"generator": "categorymembers", "gcmtitle": "Category:X", "gcmcontinue": "file|00|1"},
         "badcontinue"),
    ],
)  # fmt: skip
def test_wrong_parameters_are_errors(
    server: FakeWikimedia, params: dict[str, Any], code: str
) -> None:
    answer = ask(server, "/commons/w/api.php", action="query", format="json", **params)
    assert (answer.status, answer.json["error"]["code"]) == (200, code)
    assert answer.headers["mediawiki-api-error"] == code


def test_a_limit_over_500_is_lowered_with_a_warning(server: FakeWikimedia) -> None:
    answer = commons(server, generator="search", gsrsearch="a", gsrlimit=501, gsrnamespace=6)
    assert "500" in answer["warnings"]["main"]["warnings"]


def test_too_long_addresses_are_refused(server: FakeWikimedia) -> None:
    titles = "|".join(f"File:{'Собор ' * 20}{i}.jpg" for i in range(50))
    assert ask(server, "/commons/w/api.php", action="query", titles=titles).status == 414


def test_the_query_service_slows_down_and_bans(city: World) -> None:
    query = "SELECT ?item WHERE { ?item wdt:P131* wd:Q90001 ; wdt:P373 ?category . } LIMIT 3"
    with FakeWikimedia(city, clock=Clock(), query_cost=25) as server:
        found = [ask(server, "/sparql", query=query, format="json") for _ in range(4)]
        assert [one.status for one in found] == [200, 200, 200, 429]
        server.clock.sleep(int(found[3].headers["retry-after"]))
        found = [ask(server, "/sparql", query=query, format="json") for _ in range(5)]
        assert [one.status for one in found[:4]] == [200, 200, 200, 429]
        ignoring = [ask(server, "/sparql", query=query).status for _ in range(4)]
        assert 403 in ignoring
        server.clock.sleep(3600)
        assert ask(server, "/sparql", query=query).status == 403
        assert b"banned until" in ask(server, "/sparql", query=query).body


@pytest.mark.parametrize("query", ["", "SELECT ?item", "SELECT ?item WHERE { ?item wdt:P31 ?x "])
def test_malformed_queries_fail(server: FakeWikimedia, query: str) -> None:
    answer = ask(server, "/sparql", query=query)
    assert answer.status == 400
    assert b"MalformedQueryException" in answer.body


# Faults.


@pytest.mark.parametrize(
    ("name", "status", "part"),
    [
        ("html", 200, b"<!DOCTYPE html>"), ("html-502", 502, b"<!DOCTYPE html>"),
        ("429", 429, b"Too many"), ("429-after", 429, b"Too many"), ("ratelimited", 200, b"rate"),
        ("maxlag", 200, b"lagged"), ("error", 200, b"internal_api_error"), ("list", 200, b"["),
        ("text", 200, b'{"query"'), ("empty", 200, b""), ("timeout", 500, b"TimeoutException"),
        ("banned", 403, b"banned until"),
    ],
)  # fmt: skip
def test_faults_replace_an_answer_once(
    server: FakeWikimedia, name: str, status: int, part: bytes
) -> None:
    fault = server.fault(name, nth=2)
    asked: dict[str, Any] = {"action": "query", "format": "json", "titles": "File:Gone.jpg"}
    answers = [ask(server, "/commons/w/api.php", **asked) for _ in range(3)]
    assert [answers[0].status, answers[2].status] == [200, 200]
    assert fault.used == 1
    assert answers[1].status == status
    assert part in answers[1].body
    assert answers[0].body == answers[2].body != answers[1].body
    after = {"429-after": "7", "maxlag": "5", "banned": "86400"}.get(name)
    assert answers[1].headers.get("retry-after") == after


def test_faults_of_the_connection(server: FakeWikimedia) -> None:
    place = server.world.traps["small"].place()
    body = ask(server, place).body
    for name in ("hangup", "reset", "truncated"):
        server.fault(name, on="media", path="Small_original")
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(server, place)
    server.fault("cut", path=place)
    assert ask(server, place).body == body[: len(body) // 2]
    server.fault("other-bytes")
    other = ask(server, place).body
    assert other != body
    assert len(other) == len(body)
    assert server.fetched[place] == 3


def test_silence_and_slowness_end_with_the_client(server: FakeWikimedia) -> None:
    for name in ("silence", "slow"):
        server.fault(name)
        began = time.monotonic()
        with pytest.raises(socket.timeout):
            ask(server, "/commons/w/api.php", timeout=0.05, action="query", format="json")
        assert time.monotonic() - began < 20
    assert ask(server, "/commons/w/api.php", action="query", format="json").status == 200


def test_special_paths_lead_to_the_original(server: FakeWikimedia) -> None:
    answer = ask(server, "/wiki/Special:FilePath/Small%20original.jpg")
    assert answer.status == 302
    assert answer.headers["location"] == server.base + server.world.traps["small"].place()


def test_a_closed_server_leaves_no_thread(city: World) -> None:
    before = threading.active_count()
    with FakeWikimedia(city) as server:
        commons(server, titles="File:Gone.jpg")
    wait_for(lambda: threading.active_count() <= before)
