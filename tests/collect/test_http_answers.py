"""What the HTTP client takes for an answer, which errors it waits for, and what it tells."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.web_doubles import Answers, client_of, only_this_machine, replies
from whichlandmark.collect.http_client import ApiError, PoliteClient, RefusedError, Sites
from whichlandmark.core.errors import NetworkError

SITES = Sites.wikimedia()
FINE = {"query": {"pages": []}}
LAG = {"error": {"code": "maxlag", "info": "Waiting for db1: 6 seconds lagged", "lag": 6}}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    only_this_machine(monkeypatch)


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


# Errors of MediaWiki


def test_permanent_errors_are_the_callers_with_code_text_and_id() -> None:
    answer = {"error": {"code": "invalidcategory", "info": "The category\x1b[31m is not valid"}}
    error, net = failure(answer, ApiError, "^photos of Q243: the API answers invalidcategory")
    assert (error.code, error.info, error.id) == (
        "invalidcategory", "The category [31m is not valid", "",
    )  # fmt: skip
    assert isinstance(error, NetworkError)
    assert len(net.requests) == 1
    with client_of(replies(answer, FINE)) as (client, _):
        with pytest.raises(ApiError):
            ask(client)
        assert ask(client) == FINE  # the error was not kept


def test_an_unknown_id_stays_unknown_on_the_next_run(tmp_path: Path) -> None:
    gone = {"error": {"code": "no-such-entity", "info": "No entity Q99", "id": "Q99"}, "success": 0}
    for _ in range(2):
        with client_of(replies(gone), cache=tmp_path / "c.sqlite") as (client, net):
            with pytest.raises(ApiError) as error:
                ask(client, SITES.wikidata)
            assert (error.value.code, error.value.id) == ("no-such-entity", "Q99")
            asked = len(net.requests)
    assert asked == 0


@pytest.mark.parametrize("code", ["internal_api_error_DBQueryError", "cirrussearch-too-busy-error",
                                  "readonly", "timeout", "maxlag", "ratelimited"])  # fmt: skip
def test_passing_errors_are_asked_again(code: str) -> None:
    busy = {"error": {"code": code}}
    with client_of(replies(busy, busy, FINE)) as (client, _):
        assert ask(client) == FINE
        assert client.counts["retries"] == 2


def test_an_error_that_stays_and_concerns_one_request_is_the_callers() -> None:
    answer = {"error": {"code": "internal_api_error_X", "info": "oh"}}
    error, net = failure(answer, ApiError, "also after waiting")
    assert (error.code, len(net.requests)) == ("internal_api_error_X", 8)


@pytest.mark.parametrize("error", ["text", None, [], 7, {"code": ["x"]}])
def test_an_error_of_any_shape_is_an_error(error: Any) -> None:
    failure({"error": error}, ApiError, "the API answers")


# JSON


GARBAGE = {
    "web page": (b"<!DOCTYPE html><title>Error</title>", "a web page"),
    "nothing": (b"", "nothing"),
    "list": (b"[1]", "no object"),
    "cut": (b'{"query": {"pages": [', "no JSON"),
    "nested": (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
    "key twice": (b'{"' + b"a" * 99_999 + b'":1,"' + b"a" * 99_999 + b'":2}', "a key twice"),
    "NaN": (b'{"a": NaN}', "NaN is no number"),
    "infinite": (b'{"a": 1e999}', "too large"),
    "huge": (b'{"a": ' + b"9" * 9999 + b"}", "no JSON"),
    "Latin-1": ('{"a": "é"}'.encode("latin-1"), "not UTF-8"),
    "UTF-16": ('{"a": "é"}'.encode("utf-16"), "not UTF-8"),
    "half a pair": (rb'{"a": "\ud83d"}', "not UTF-8"),
    "text": (b"upstream connect error", "no JSON"),
}


@pytest.mark.parametrize(("body", "reason"), GARBAGE.values(), ids=[*GARBAGE])
def test_what_is_no_json_object_is_asked_again_then_told(body: bytes, reason: str) -> None:
    with client_of(replies(body, FINE)) as (client, _):
        assert ask(client) == FINE
    error, net = failure(body, NetworkError, rf"answers .*{reason}.*not JSON")
    assert len(net.requests) == 5
    assert len(str(error)) < 300


def test_every_text_of_json_arrives() -> None:
    names = {"a": "Собор \U0001f5fc / ..", "b": "\U0001f4f7\u202e"}
    body = b"\xef\xbb\xbf" + json.dumps(names).encode()
    with client_of(replies(body)) as (client, _):
        assert ask(client) == names


def deflated(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress),
                                              ("deflate", deflated), ("X-GZip", gzip.compress),
                                              ("identity", bytes)])  # fmt: skip
def test_packed_answers_are_read(coding: str, pack: Any) -> None:
    body = json.dumps({"a": ["é" * 50] * 999}).encode()
    with client_of(replies((200, {"content-encoding": coding}, pack(body)))) as (client, _):
        assert ask(client) == json.loads(body)


def test_damaged_packing_is_asked_again() -> None:
    whole = gzip.compress(json.dumps(FINE).encode())
    for body in (whole[:-9], whole[:20] + b"\xff" * 9 + whole[29:], b""):
        damaged = (200, {"content-encoding": "gzip"}, body)
        with client_of(replies(damaged, FINE)) as (client, net):
            assert ask(client) == FINE
        assert len(net.requests) == 2


# The query service


@pytest.mark.parametrize(("status", "pack"), [(403, bytes), (429, gzip.compress), (500, bytes)])
def test_a_ban_stops_at_once_and_says_until_when(status: int, pack: Any) -> None:
    text = b"You have been banned until 2026-11-29T09:30:00Z, please respect throttling and"
    headers = {"content-encoding": "gzip"} if pack is gzip.compress else {}
    answer = (status, headers, pack(text + b" " * 30_000))
    told = r"query.wikidata.org has banned .* until 2026-11-29T09:30:00Z"
    _, net = failure(answer, NetworkError, told, SITES.sparql)
    assert len(net.requests) == 1


@pytest.mark.parametrize("status", [500, 200])
def test_a_query_that_takes_too_long_is_not_repeated(status: int) -> None:
    text = b'{"results": {"bindings": [\nSPARQL-QUERY: \njava.util.concurrent.TimeoutException'
    told = "ask for a smaller area or fewer landmarks"
    _, net = failure((status, {}, text), RefusedError, told, SITES.sparql)
    assert len(net.requests) == 1


def test_a_long_request_goes_into_the_body() -> None:
    with client_of(replies(FINE)) as (client, net):
        ask(client, titles="Собор" * 999)
    request = net.requests[0]
    assert (request.method, str(request.url)) == ("POST", SITES.commons)
    assert dict(httpx2.QueryParams(request.content.decode())) == {
        "titles": "Собор" * 999,
        "maxlag": "5",
    }


@pytest.mark.parametrize("status", [400, 404, 410, 414, 204, 206, 304])
def test_other_statuses_concern_one_request(status: int) -> None:
    answer = (status, {}, b"<p>Bad \x1b[2J request</p>")
    error, net = failure(answer, RefusedError, f"refuses .HTTP {status}")
    assert (error.status, len(net.requests)) == (status, 1)
    assert "\x1b" not in str(error)


def test_forbidden_means_the_operator() -> None:
    told = r"HTTP 403: Please set .* is --contact an address"
    error, net = failure((403, {}, b"Please set a user-agent"), NetworkError, told)
    assert not isinstance(error, RefusedError)
    assert len(net.requests) == 1
