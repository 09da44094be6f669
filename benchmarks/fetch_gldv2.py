"""What do some landmarks of Google Landmarks v2 cost, and does a killed fetch or enrich lose any?

    python benchmarks/fetch_gldv2.py [--kills 20] [--seed 0] [--photos 30 300 5000]

1. Requests and megabytes for photos that are searched for in tars of the real size: 500 of 1 GB,
   4,132,914 photos with drawn ids, sizes lognormal with a mean of 0.12 MB; headers are made when
   they are read, nothing is on disk. By `TarSearch`, and by known offsets.
2. Three landmarks out of a small store on loopback (500 tars, 3,000 photos of 24 kB), which counts.
3. Fetches of 20 landmarks, killed by SIGKILL up to 5 times each at random requests, then ended.
4. `enrich` of a small gallery from a stand-in for Wikimedia, killed in the same way.

Exit code 1 when a photo is not found or is another one, or when a killed run ends with other files,
records or generations than one that nobody kills, or asks for more than what was on its way.
"""

from __future__ import annotations

import argparse
import bisect
import functools
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tests_on_path  # noqa: F401
import whichlandmark as wl
from tests.support.fake_city import FIRST, city
from tests.support.fake_s3 import FakeS3, bucket_of, drawn_world
from tests.support.fake_wikimedia import FakeWikimedia
from tests.support.gldv2_layout import photo_path
from tests.support.killed_import import NoWait, content
from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.collect import gldv2_download
from whichlandmark.collect.enrich import EnrichOptions, enrich
from whichlandmark.collect.gldv2_download import FetchOptions, fetch_gldv2
from whichlandmark.collect.gldv2_store import CONNECTIONS
from whichlandmark.collect.gldv2_tars import TarSearch, spans
from whichlandmark.collect.http_client import PoliteClient, Sites
from whichlandmark.data.gldv2_tables import Place, read_offsets, write_offsets
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.address import gallery_in

TARS, PHOTOS, MEAN, SPREAD = 500, 4_132_914, 120_000, 0.63  # SPREAD: sigma of the logarithm
SMALL_PHOTO = 24_000  # bytes, of the small store
LANDMARKS = 24  # of the gallery
# More requests that one kill may cost a fetch: what is on its way; a search begins anew with the
# first headers of a tar, and the few probes for one photo, on each connection.
MORE = {"search": 6 * CONNECTIONS, "offsets": CONNECTIONS, "whole tars": 2, "enrich": 1}


class Store:
    """500 tars of about 1 GB. start: of each photo's header, in its tar; asked: bytes of reads."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        drawn = np.unique(rng.integers(0, 2**64, PHOTOS + 99, dtype=np.uint64))
        drawn = np.sort(rng.choice(drawn, PHOTOS, replace=False, shuffle=False))
        digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
        nibbles = (drawn[:, None] >> np.arange(60, -4, -4, dtype=np.uint64)) & np.uint64(15)
        self.ids: NDArray[np.bytes_] = digits[nibbles.astype(np.uint8)].view("S16").ravel()
        mean = np.log(MEAN) - SPREAD**2 / 2
        self.sizes = rng.lognormal(mean, SPREAD, PHOTOS).astype(np.int64) + 3
        blocks = 512 + -(-self.sizes // 512) * 512
        end = np.cumsum(blocks)
        tar = np.minimum(end * TARS // end[-1], TARS - 1)  # of about as many bytes each
        self.first = np.searchsorted(tar, np.arange(TARS + 1))
        head = (drawn >> np.uint64(52)).astype(np.int64)  # a, b and c of a/b/c/<id>.jpg
        new = np.ones(PHOTOS, dtype=bool)
        new[1:] = (head[1:] != head[:-1]) | (tar[1:] != tar[:-1])
        self.folders = new  # an entry of a folder is before the photo
        end = np.cumsum(blocks + 512 * new)
        base = np.concatenate([[0], end])[self.first[:-1]]
        self.start = end - blocks - base[tar]  # of the header, in its tar
        self.asked: list[int] = []

    def name(self, row: int) -> str:
        return str(self.ids[row], "ascii")

    def place(self, row: int) -> Place:
        tar = int(np.searchsorted(self.first, row, side="right")) - 1
        return Place(tar, int(self.start[row]) + 512, int(self.sizes[row]))

    def read(self, tar: int, start: int, end: int) -> tuple[bytes, int]:
        """As a range of a tar: headers, photos that are a JPEG's first bytes and zeros."""
        first, last = int(self.first[tar]), int(self.first[tar + 1])
        starts = self.start[first:last]
        whole = int(starts[-1]) + 512 + -(-int(self.sizes[last - 1]) // 512) * 512 + 1024
        end = min(end, whole)
        data = bytearray(end - start)

        def put(piece: bytes, at: int) -> None:
            if start < at + len(piece) and at < end:
                a, b = max(at, start), min(at + len(piece), end)
                data[a - start : b - start] = piece[a - at : b - at]

        at = first + max(0, bisect.bisect_right(starts, start) - 1)
        for row in range(at, first + bisect.bisect_left(starts, end + 512)):
            name, header = photo_path(self.name(row)), int(self.start[row])
            if self.folders[row]:
                entry = tarfile.TarInfo(name[:6])
                entry.type = tarfile.DIRTYPE
                put(entry.tobuf(tarfile.GNU_FORMAT), header - 512)
            entry = tarfile.TarInfo(name)
            entry.size = int(self.sizes[row])
            put(entry.tobuf(tarfile.GNU_FORMAT) + b"\xff\xd8\xff", header)
        self.asked.append(len(data))
        return bytes(data), whole


def search_costs(numbers: Sequence[int], seed: int) -> list[str]:
    store, rng, wrong = Store(seed), np.random.default_rng(seed + 1), list[str]()
    total = float(store.sizes.sum())
    print(f"1. {PHOTOS:,} photos of {total / PHOTOS / 1e6:.2f} MB in {TARS} tars of "
          f"{total / TARS / 1e9:.2f} GB")  # fmt: skip
    print(f"{'photos':>7} {'MB of them':>11} {'how':8} {'requests':>9} {'MB read':>8} "
          f"{'requests/photo':>15} {'MB/photo':>9}")  # fmt: skip

    def alone(rows: list[int]) -> None:
        search = TarSearch(store.ids, TARS, store.read)
        for row in rows:
            found = search.find(store.name(row))
            if found is None or found[0] != store.place(row):
                wrong.append(f"{store.name(row)}: {found and found[0]}, not {store.place(row)}")

    def offsets(rows: list[int]) -> None:
        for span in spans({store.name(row): store.place(row) for row in rows}):
            store.read(span.tar, span.start, span.end)

    hows = {"search": alone, "offsets": offsets}
    for number in numbers:
        rows = np.sort(rng.choice(PHOTOS, number, replace=False)).tolist()
        own = float(store.sizes[rows].sum()) / 1e6
        for how, work in hows.items():
            store.asked.clear()
            work(rows)
            read = sum(store.asked) / 1e6
            print(f"{number:7,} {own:11.1f} {how:8} {len(store.asked):9,} {read:8,.1f} "
                  f"{len(store.asked) / number:15.2f} {read / number:9.2f}")  # fmt: skip
    return wrong


def fetch(base: str, options: FetchOptions, out: Path) -> None:
    """One fetch, in the process that is killed or in this one."""
    vars(gldv2_download)["PoliteClient"] = functools.partial(PoliteClient, clock=NoWait())
    fetch_gldv2(out, options, api=base)


@dataclass
class SmallStore:
    """A store on loopback with a table of its offsets, and what is in its photos."""

    s3: FakeS3
    offsets: Path
    photos: dict[str, dict[str, bytes]]  # landmark → id → photo

    def options(self, how: str, landmarks: Sequence[str]) -> FetchOptions:
        return FetchOptions(landmarks=tuple(landmarks), whole_tars=how == "whole tars",
                            offsets=self.offsets if how == "offsets" else None)  # fmt: skip

    def sent(self, places: dict[str, Place]) -> Counter[str]:
        """How often each photo was sent, as a whole."""
        found, rows = Counter[str](), sorted((*place, one) for one, place in places.items())
        for one in self.s3.log:
            if not one.key.endswith(".tar"):
                continue
            tar = int(one.key[-7:-4])
            start, end = one.range or (0, one.sent)
            for number, at, size, name in rows[bisect.bisect_left(rows, (tar, start)) :]:
                if number != tar or at + size > end:
                    break
                found[name] += 1
        return found


def small_store(folder: Path) -> SmallStore:
    world = drawn_world()
    world.train = [replace(one, data=one.data.ljust(SMALL_PHOTO, b"\0")) for one in world.train]
    photos: dict[str, dict[str, bytes]] = {}
    for one in world.train:
        photos.setdefault(one.landmark, {})[one.id] = one.data
    s3 = FakeS3(bucket_of(world))
    (folder / "tars" / "train").mkdir(parents=True)
    for number in range(TARS):
        key = f"train/images_{number:03d}.tar"
        (folder / "tars" / key).write_bytes(s3.content(key) or b"")
    write_offsets(folder / "tars", folder / "offsets.csv")
    shutil.rmtree(folder / "tars")
    return SmallStore(s3, folder / "offsets.csv", photos)


def three_landmarks(store: SmallStore, folder: Path) -> list[str]:
    print(f"\n2. three landmarks, from a store of {TARS} tars with 6 photos of 24 kB each")
    print(f"{'how':12} {'photos':>7} {'requests':>9} {'kB sent':>9} {'kB of photos':>13} "
          f"{'ratio':>6}")  # fmt: skip
    wrong = []
    names = ("40", "41", "42")
    wanted = {one: data for name in names for one, data in store.photos[name].items()}
    own = sum(map(len, wanted.values()))
    for how in ("search", "offsets", "whole tars"):
        store.s3.log.clear()
        out = folder / f"three {how}"
        fetch(store.s3.base, store.options(how, names), out)
        found = {path.stem: path.read_bytes() for path in (out / "train").rglob("*.jpg")}
        if found != wanted:
            wrong.append(f"three landmarks by {how}: other photos")
        asked, sent = store.s3.asked(".tar"), store.s3.photos_sent()
        print(f"{how:12} {len(found):7} {len(asked):9,} {sent / 1e3:9,.0f} {own / 1e3:13,.0f} "
              f"{sent / own:6.2f}", flush=True)  # fmt: skip
    return wrong


@dataclass
class Case:
    """What is killed. given: to `work`, before the folder; asked: the requests so far; result: what
    must be the same in the end; sent: photos → how often they were sent.
    """

    name: str
    work: Callable[..., None]
    given: tuple[Any, ...]
    asked: Callable[[], int]
    idle: Callable[[], bool]
    forget: Callable[[], None]
    result: Callable[[Path], dict[str, Any]]
    prepare: Callable[[Path], object] = lambda folder: None
    sent: Callable[[], Counter[str]] = Counter


class Killer:
    """Runs cases in processes of their own, and kills them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["tests.support.killed_import", "whichlandmark",
            "whichlandmark.collect.gldv2_download", "whichlandmark.collect.enrich"])  # fmt: skip

    def run(self, case: Case, folder: Path, at: int | None = None) -> int | None:
        """Its exit code. at: killed a moment after so many requests; None = not killed."""
        process = self.context.Process(target=case.work, args=(*case.given, folder))
        process.start()
        assert process.pid is not None
        handle = os.pidfd_open(process.pid)  # which no other process can get
        if at is not None:
            began = None
            delay = self.rng.uniform(0, self.rng.choice((0.003, 0.03, 0.2)))
            while process.is_alive() and (began is None or time.monotonic() < began + delay):
                began = began or (time.monotonic() if case.asked() >= at else None)
                time.sleep(0.0003)
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        process.join()
        os.close(handle)
        return process.exitcode


def kill_often(case: Case, kills: int, root: Path, rng: random.Random) -> list[str]:
    """Kill, end and compare, until so many kills were made."""
    killer, whole, wrong = Killer(rng), root / f"{case.name} whole", list[str]()
    case.prepare(whole)
    case.forget()
    if code := killer.run(case, whole):
        return [f"{case.name}: ends with exit code {code} when nobody kills it"]
    usual, expected, sent = case.asked(), case.result(whole), case.sent()
    if expected.get("generations", 1) != 1:
        wrong.append(f"{case.name}: {expected['generations']} generations; expected one")
    done = more = again = rewritten = number = 0
    while done < kills:
        number += 1
        folder = root / f"{case.name} {number}"
        case.prepare(folder)
        case.forget()
        before, rows, code = done, Counter[tuple[Path, int, int]](), None
        for _ in range(min(5, kills - done)):
            at = case.asked() + 1 + int(rng.uniform(0, 1.1) * max(1, usual - case.asked()))
            code = killer.run(case, folder, at)
            done += code == -signal.SIGKILL
            while not case.idle():
                time.sleep(0.001)
            if code != -signal.SIGKILL:
                break
            rows |= photo_stamps(folder)
        if code == -signal.SIGKILL:
            code = killer.run(case, folder)
        if code:
            wrong.append(f"{case.name}, sequence {number}: ends with exit code {code}")
        found = case.result(folder)
        differ = [key for key in {*found, *expected} if found.get(key) != expected.get(key)]
        wrong += [f"{case.name}, sequence {number}: {key} differs" for key in sorted(differ)]
        extra, lost = case.asked() - usual, len(rows - photo_stamps(folder))
        if extra > MORE[case.name] * (done - before) or lost:
            wrong.append(f"{case.name}, sequence {number}: {extra} more requests after "
                         f"{done - before} kills, {lost} photos written again")  # fmt: skip
        more, rewritten = more + extra, rewritten + lost
        again += (case.sent() - sent).total()
        shutil.rmtree(folder)
    print(f"{case.name:11} {done:5} {usual:9,} {more / done:14.1f} {MORE[case.name]:8} "
          f"{again:17} {rewritten:14}  {len(wrong) or 'same'}", flush=True)  # fmt: skip
    return wrong


def photo_stamps(folder: Path) -> Counter[tuple[Path, int, int]]:
    """The photos that are there, and which file each is."""
    stamps = ((path, path.stat()) for path in folder.rglob("*.jpg"))
    return Counter((path, one.st_ino, one.st_mtime_ns) for path, one in stamps)


def fetch_cases(store: SmallStore) -> Iterator[Case]:
    names = [str(number) for number in range(20, 40)]
    photos = {one for name in names for one in store.photos[name]}
    places = read_offsets(store.offsets, "train", photos)
    for how in ("search", "offsets", "whole tars"):
        yield Case(
            how, fetch, (store.s3.base, store.options(how, names)),
            asked=lambda: len(store.s3.log), idle=lambda: store.s3.now == 0,
            forget=store.s3.log.clear, result=content, sent=lambda: store.sent(places),
        )  # fmt: skip


def fill(base: str, folder: Path) -> None:
    """One `enrich`, in the process that is killed."""
    options = EnrichOptions(languages=("en", "fr"), table=folder / "landmarks.csv",
                            suggestions=folder / "suggestions.csv")  # fmt: skip
    cache = folder / "r.wl" / "commons.sqlite"
    with PoliteClient("me@example.org", sites=Sites.at(base), clock=NoWait(), cache=cache) as one:
        enrich(folder / "r.wl", one, options)


def filled(folder: Path) -> dict[str, Any]:
    with gallery_in(folder / "r.wl") as gallery:
        found: dict[str, Any] = {f"record {k}": v for k, v in gallery.landmarks().items()}
        found["generation"] = gallery.generation
    with gallery_in(folder.parent / "gallery" / "r.wl") as gallery:
        found["generations"] = found["generation"] - gallery.generation
    answer = wl.load(folder / "r.wl", embedder=HistogramEmbedder())(picture(3, 99))
    found["answer"] = (answer.landmark, answer.score)
    found["suggestions"] = (folder / "suggestions.csv").read_bytes()
    return found | {str(path.relative_to(folder)): "" for path in folder.rglob("*")}


def enrich_case(folder: Path, server: FakeWikimedia) -> Case:
    """A gallery whose landmarks are known by an id, by a category, or only by a name."""
    world, rows = server.world, ["landmark,category"]
    for number in range(LANDMARKS):
        item = world.items[f"Q{FIRST + number}"]
        label = (item.id, f"place {number}", item.labels["en"])[number % 3]
        if number % 3 == 1:
            rows.append(f'{label},"{item.values("P373")[0]}"')
        for index in range(2):
            write_photo(folder / "photos" / label / f"{index}.jpg", picture(number, index))
    made = folder / "gallery"
    wl.build(HistogramEmbedder(), photos_of(folder / "photos")).save(made / "r.wl")
    (made / "landmarks.csv").write_text("\n".join(rows) + "\n")
    return Case(
        "enrich", fill, (server.base,),
        asked=lambda: len(server.requests), idle=server.is_idle, forget=server.forget,
        result=filled, prepare=lambda out: shutil.copytree(made, out),
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photos", type=int, nargs="*", default=[30, 300, 5000])
    given = parser.parse_args()
    began, rng = time.monotonic(), random.Random(given.seed)
    wrong = search_costs(given.photos, given.seed) if given.photos else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = small_store(folder)
        with store.s3:
            wrong += three_landmarks(store, folder)
            print("\n3. and 4. killed; more: requests beside those of an undisturbed run"
                  f"\n{'':11} kills  requests  more per kill  allowed  photos sent again  "
                  "written again  result")  # fmt: skip
            for case in fetch_cases(store):
                kills = given.kills if case.name != "whole tars" else -(-given.kills // 4)
                wrong += kill_often(case, kills, folder, rng)
        world = city(LANDMARKS, 120, seed=20, side=64, wide=2048)
        with FakeWikimedia(world, per_minute=10**9, query_cost=0.0) as server:
            wrong += kill_often(enrich_case(folder, server), given.kills, folder, rng)
    print("\n".join([*wrong, f"{len(wrong)} faults; {time.monotonic() - began:.0f} s"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
