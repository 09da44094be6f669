"""How many requests and minutes does a gallery of 100 landmarks × 50 photos take from Wikimedia?

    python benchmarks/collect_requests.py [--landmarks 100] [--limit 50] [--body 250000]

Runs the import against a stand-in on loopback, which counts and refuses what Wikimedia refuses; the
clock is simulated and shared, so that waiting takes no time. Prints requests by kind, megabytes,
minutes by that clock, the busiest minute, requests at once, and what a second run asks for.

Assumed: each landmark has 240 files in its category, in 4 subcategories and as "depicts", 40 of
them with another licence or kind; a picture of 960 pixels has 250 kB (the stand-in sends so many
bytes, most of them empty); an answer of the API takes 0.25 s, which the distance between requests
(0.32 s) hides; pictures take the time of their bytes. Landmarks with fewer files take fewer
requests. Exit code 1 when a limit was broken.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as Pillow

import tests_on_path  # noqa: F401
from tests.support.fake_city import (
    CENTRE,
    CITY,
    FIRST,
    Builder,
    add_landmark,
    add_surroundings,
    offset,
)
from tests.support.fake_connections import Fault, Reply, Request
from tests.support.fake_wikimedia import FakeWikimedia
from tests.support.fake_world import Drawing, FakeFile, World
from whichlandmark.collect.commons import CommonsOptions, Wanted, import_commons
from whichlandmark.collect.http_client import PoliteClient, Sites
from whichlandmark.data.synthetic.families import landmark_name

FILES, SUBCATEGORIES, UNFREE = 240, 4, 40  # of each landmark
SCENES = 1500  # other photos of the city
ANSWER_SECONDS = 0.25


class SharedClock:
    """Time of client and server: waits of two threads at once pass at once."""

    def __init__(self) -> None:
        self.time = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        until = self.time + seconds
        with self._lock:
            self.time = max(self.time, until)
        time.sleep(0)


@dataclass
class PaddedFile(FakeFile):
    """A file whose picture is a small JPEG, padded to the bytes of a real one."""

    padded: int = 250_000

    def bytes_at(self, width: int | None = None) -> bytes:
        return padded_jpeg(self.pageid, self.padded)


def padded_jpeg(number: int, size: int) -> bytes:
    """A plain picture of 960 pixels, another one for each number."""
    color = (number % 251, number // 251 % 251, number // 63_001 % 251)
    data = io.BytesIO()
    Pillow.new("RGB", (960, 720), color).save(data, "JPEG", quality=50)
    return data.getvalue().ljust(size, b"\0")


class SlowWikimedia(FakeWikimedia):
    """Answers of the API take a while."""

    def answer(self, request: Request, fault: Fault | None) -> Reply:
        if request.kind != "media":
            self.clock.sleep(ANSWER_SECONDS)
        return super().answer(request, fault)


def large_city(landmarks: int, body: int) -> World:
    build = Builder(20, 64, 3000)
    world = build.world
    world.city, world.centre = CITY, CENTRE
    add_surroundings(build)
    build.category("Streets of the city", "Velmora")
    for number in range(landmarks):
        add_landmark(build, number, max(3, 34 - number // 4))
        name = landmark_name(build.seed, number)
        places = [name, *(f"{name} part {part}" for part in range(SUBCATEGORIES))]
        for place in places[1:]:
            build.category(place, name)
        for index in range(FILES):
            licence = "unknown" if index % (FILES // UNFREE) == 5 else "cc-by-sa-4.0"
            file = _file(build, f"{name} {index:03d}", licence, body)
            file.categories = (places[index % len(places)],)
            file.depicts = (f"Q{FIRST + number}",) if index % 3 == 0 else ()
            if index % 2:
                place = world.items[f"Q{FIRST + number}"].values("P625")[0]
                file.camera = offset(place, 20 + index % 150, index * 7)
    for index in range(SCENES):
        file = _file(build, f"Scene {index:04d}", "cc-by-4.0", body)
        file.categories = ("Streets of the city",)
        file.camera = offset(CENTRE, 6_000 * (index / SCENES) ** 0.5, index * 137.5)
    world.freeze()
    return world


def _file(build: Builder, title: str, licence: str, body: int) -> FakeFile:
    build.file(f"{title}.jpg", Drawing(build.seed, -1, title, 64), title, licence=licence)
    plain = build.world.files.pop()
    file = PaddedFile(**{**vars(plain), "width": 3000, "height": 2250, "padded": body})
    build.world.files.append(file)
    return file


def kind_of(request: Request) -> str:
    """What a request asks for, in the words of the table."""
    params = request.params
    if request.kind == "media":
        return "pictures"
    if request.kind == "sparql":
        where = "?start" in params["query"]
        return f"query service: {'cities and countries' if where else 'landmarks of the place'}"
    if params.get("action") == "wbgetentities":
        return "Wikidata: items" if request.kind == "wikidata" else "Commons: what files depict"
    names = {"search": "Commons: files that depict", "geosearch": "Commons: files around a place"}
    if params.get("generator") == "categorymembers":
        what = "subcategories" if params["gcmtype"] == "subcat" else "files of a category"
        return f"Commons: {what}"
    return names.get(params.get("generator", ""), "Commons: details of files")


def show(server: FakeWikimedia, minutes: float) -> list[str]:
    """Print what the server counted; returns the limits that were broken."""
    kinds = Counter(kind_of(one) for one in server.requests)
    size: Counter[str] = Counter()
    for one in server.requests:
        size[kind_of(one)] += one.bytes
    print(f"{'requests':42} {'number':>8} {'megabytes':>10}")
    for name, count in sorted(kinds.items(), key=lambda pair: -pair[1]):
        print(f"{name:42} {count:8,} {size[name] / 1e6:10.2f}")
    api = sum(count for name, count in kinds.items() if name != "pictures")
    print(f"{'all of the API':42} {api:8,}")
    print(
        f"minutes by the simulated clock: {minutes:.1f}; busiest minute: {server.busiest_minute()} "
        f"API requests (limit 200); API requests at once: {server.max_parallel_api} (limit 1); "
        f"pictures at once: {server.max_parallel_media} (limit 2)"
    )
    faults = ("refused", "parallel", "large", "without")
    broken = [f"{name}: {count}" for name, count in server.counts.items()
              if name.startswith(faults) and count]  # fmt: skip
    print("refused or impolite: " + (", ".join(broken) or "nothing"))
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--landmarks", type=int, default=100)
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--body", type=int, default=250_000, help="bytes of a picture")
    given = parser.parse_args()
    broken: list[str] = []
    began, clock = time.monotonic(), SharedClock()
    world = large_city(given.landmarks, given.body)
    print(f"{given.landmarks} landmarks of {FILES} files, {given.limit} photos each; "
          f"{len(world.files):,} files in all")  # fmt: skip
    with SlowWikimedia(world, clock=clock) as server, tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for name, dry in (("--dry-run", True), ("then the import", False), ("once more", False)):
            server.forget()
            start = clock.now()
            options = CommonsOptions(landmarks=given.landmarks, limit=given.limit, dry_run=dry)
            with PoliteClient("me@example.org", sites=Sites.at(server.base), clock=clock,
                              cache=out / "commons.sqlite") as client:  # fmt: skip
                found = import_commons(out, Wanted(region=CITY), options, client)
                waited = client.counts["waited_s"] / 60
            print(f"\n{name}: {found.counts}")
            broken += show(server, (clock.now() - start) / 60)
            print(f"of these, the client waited {waited:.1f} minutes (both connections together)")
            tables = sum(path.stat().st_size for path in out.glob("*.csv"))
            cache = (out / "commons.sqlite").stat().st_size
            print(f"on disk: cache {cache / 1e6:.1f} MB, tables {tables / 1e6:.1f} MB")
    print(f"\n{time.monotonic() - began:.0f} s of real time")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
