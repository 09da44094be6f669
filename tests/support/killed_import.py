"""Kill an import from Commons again and again, by SIGKILL; used by a test and a benchmark.

The import runs in a process of its own, forked from a server that has its modules in memory, so a
start takes a few hundredths of a second. It is killed when the stand-in for Wikimedia has got so
many requests, or a moment later.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.fake_city import CITY
from tests.support.fake_connections import Request
from tests.support.fake_wikimedia import FakeWikimedia
from tests.support.fake_world import World
from whichlandmark.collect import commons, http_client, wikidata  # noqa: F401  (in the fork server)
from whichlandmark.collect.commons import CommonsOptions, Wanted, import_commons
from whichlandmark.collect.http_client import PoliteClient, Sites

LATEST = 0.3  # seconds after the last request at which a run is killed
IN_FLIGHT = 2  # media connections; one more request is one to the API


class NoWait:
    """A clock whose waits end at once."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


def collect(base: str, out: str, contact: str = "me@example.org") -> None:
    """One run of the import, in the process that is killed."""
    folder = Path(out)
    folder.mkdir(exist_ok=True)
    sites, cache = Sites.at(base), folder / "commons.sqlite"
    with PoliteClient(contact, sites=sites, cache=cache, clock=NoWait()) as client:
        import_commons(folder, Wanted(region=CITY), CommonsOptions(limit=9, distractors=9), client)


class WatchedWikimedia(FakeWikimedia):
    """Calls `watch` with the number of each request that comes."""

    watch: Callable[[int], None] | None = None

    def begin(self, request: Request) -> None:
        super().begin(request)
        if self.watch is not None:
            self.watch(len(self.requests))


@dataclass
class Sequence:
    """An import that was killed `kills` times and then ended. again: photos that were sent twice or
    more, how often in all; wrong: what must not be.
    """

    kills: int = 0
    api: int = 0
    media: int = 0
    again: int = 0
    wrong: list[str] = field(default_factory=list)


class Kills:
    """Imports of one world into folders below `root`, killed at random moments."""

    def __init__(self, world: World, root: Path, seed: int) -> None:
        self.server = WatchedWikimedia(world, per_minute=10**9, query_cost=0.0)
        self.root, self.rng, self.world = root, random.Random(seed), world
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["tests.support.killed_import"])
        self.number = 0

    def __enter__(self) -> Kills:
        self.server.__enter__()
        folder = self.root / "whole"
        assert self._run(folder, None) == 0, "an import that nobody disturbs fails"
        counts = self.server.counts
        self.api = counts["commons"] + counts["wikidata"] + counts["sparql"]
        self.media = counts["media"]
        self.expected = content(folder)
        assert counts["refused connection"] == 0
        assert max(self.server.fetched.values()) == 1
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    def sequence(self, kills: int) -> Sequence:
        """Kill an import up to so many times, let it end, and compare."""
        self.number += 1
        folder, found = self.root / f"killed {self.number}", Sequence()
        self.server.forget()
        for _ in range(kills):
            code = self._run(folder, self.rng.uniform(0, 1))
            if code == 0:
                break
            if code != -signal.SIGKILL:
                found.wrong.append(f"a run ended with exit code {code}")
            found.kills += 1
            self._count(found)
            if folder.exists():  # as a kill while this table is written leaves it
                (folder / ".photos.csv.leftover").touch()
        else:
            if (code := self._run(folder, None)) != 0:
                found.wrong.append(f"the last run ended with exit code {code}")
        self._compare(folder, found)
        shutil.rmtree(folder, ignore_errors=True)
        return found

    def _count(self, found: Sequence) -> None:
        """Compare what was asked so far with what an undisturbed run asks."""
        counts = self.server.counts
        found.api = counts["commons"] + counts["wikidata"] + counts["sparql"]
        found.media = counts["media"]
        asked = Counter(
            (one.kind == "media", one.path, str(one.params)) for one in self.server.requests
        )
        again = [(key[0], count - 1) for key, count in asked.items()]
        found.again = sum(count for is_media, count in again if is_media)
        once_more = sum(count for is_media, count in again if not is_media)
        if found.again > IN_FLIGHT * found.kills:
            found.wrong.append(f"{found.again} photos sent again after {found.kills} kills")
        if once_more > found.kills:
            found.wrong.append(f"{once_more} API requests again after {found.kills} kills")
        for name in ("parallel api", "refused connection", "refused rate", "refused agent"):
            if counts[name]:
                found.wrong.append(f"{name}: {counts[name]}")

    def _compare(self, folder: Path, found: Sequence) -> None:
        self._count(found)
        ours = content(folder)
        found.wrong += [f"{name} differs" for name in sorted({*ours, *self.expected})
                        if ours.get(name) != self.expected.get(name)]  # fmt: skip
        if found.api > self.api + found.kills:
            found.wrong.append(f"{found.api} API requests; {self.api} undisturbed")
        if found.media > self.media + IN_FLIGHT * found.kills:
            found.wrong.append(f"{found.media} photos asked for; {self.media} undisturbed")

    def _run(self, folder: Path, share: float | None) -> int | None:
        """Run the import; kill it at about this share of what an undisturbed run asks.

        Returns its exit code.
        """
        process = self.context.Process(target=collect, args=(self.server.base, str(folder)))
        timers: list[threading.Timer] = []
        started, handle = threading.Event(), -1  # of the process, which no other one can get

        def kill(after: float) -> None:
            def now() -> None:
                started.wait()
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)

            timers.append(threading.Timer(after, now))
            timers[-1].start()

        if share is not None:
            start = len(self.server.requests)
            asked = {(one.path, *sorted(one.params.items())) for one in self.server.requests}
            left = max(1, self.api + self.media - len(asked))
            at = start + 1 + int(share * 1.3 * left)  # may be beyond the last: tables are written
            delay = self.rng.choice((0.0, self.rng.uniform(0, 0.01)))
            late = self.rng.uniform(0, self.rng.choice((LATEST / 10, LATEST)))

            def watch(number: int) -> None:
                if number == at:
                    kill(delay)
                elif number == start + left and at > start + left:
                    kill(late)

            self.server.watch = watch
        process.start()
        assert process.pid is not None
        handle = os.pidfd_open(process.pid)
        started.set()
        process.join()
        self.server.watch = None
        for timer in timers:
            timer.cancel()
            timer.join()
        os.close(handle)
        deadline = time.monotonic() + 5
        while not self.server.is_idle() and time.monotonic() < deadline:
            time.sleep(0.001)
        return process.exitcode


def content(folder: Path) -> dict[str, bytes]:
    """The tables and photos of an import, and every other file but the cache."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("commons.sqlite")
    }
