"""Plain requests to the fake Wikimedia, for the tests of itself."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.support.fake_wikimedia import FakeWikimedia
from tests.support.fake_world import World

AGENT = "whichlandmark/0.1 (me@example.org) python-httpx2/2.0"


class Clock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    server: FakeWikimedia, path: str, agent: str = AGENT, timeout: float = 10, **params: Any
) -> Answer:
    connection = http.client.HTTPConnection(urlsplit(server.base).netloc, timeout=timeout)
    query = f"?{urlencode(params)}" if params else ""
    try:
        connection.request("GET", path + query, headers={"User-Agent": agent} if agent else {})
        reply = connection.getresponse()
        headers = {name.lower(): value for name, value in reply.getheaders()}
        return Answer(reply.status, headers, reply.read())
    finally:
        connection.close()


def commons(server: FakeWikimedia, **params: Any) -> Any:
    asked: dict[str, Any] = {"action": "query", "format": "json", "formatversion": "2", **params}
    return ask(server, "/commons/w/api.php", **asked).json


def wikidata(server: FakeWikimedia, **params: Any) -> Any:
    return ask(server, "/wikidata/w/api.php", format="json", **params).json


def whole(server: FakeWikimedia, **params: object) -> tuple[dict[int, Any], list[Any]]:
    """All pages of a query, merged by page id, and the single answers."""
    pages: dict[int, Any] = {}
    answers = []
    more: dict[str, str] = {}
    while True:
        answer = commons(server, **params, **more)
        answers.append(answer)
        for page in answer.get("query", {}).get("pages", []):
            pages.setdefault(page["pageid"], {}).update(page)
        if "continue" not in answer:
            return pages, answers
        more = answer["continue"]
        assert len(answers) < 100


def first_category(city: World) -> str:
    """The category of the first landmark, with prefix."""
    return f"Category:{city.items[city.landmarks[0]].values('P373')[0]}"
