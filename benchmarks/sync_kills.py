"""Kill a sync of the search index many times, and check that nothing half is searched.

    python benchmarks/sync_kills.py --kills 100

A process that syncs a gallery file is killed by SIGKILL at a random moment; the gallery changes in
between. The index is in a stand-in of a server, behind real gRPC messages, and then on Qdrant's own
engine (Edge) on disk. After each kill: a search for the gallery's state either fails, or every
point is that of the gallery. After every second kill on average, and at the end, a sync ends, and
every point is compared with the gallery.
"""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import tests_on_path
from tests.support.edge_qdrant import EdgeClient
from tests.support.qdrant_stand_in import StandIn, index_over, serving
from whichlandmark.core.errors import GalleryError
from whichlandmark.gallery.qdrant import sync as sync_module
from whichlandmark.gallery.qdrant.search import QdrantIndex
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.gallery.sqlite.store import SqliteGallery

DIM, PHOTOS = 32, 3_000
CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from whichlandmark.gallery.qdrant import sync
from whichlandmark.gallery.qdrant.search import QdrantIndex
from whichlandmark.gallery.sqlite.store import SqliteGallery
sync.MAX_POINTS_PER_REQUEST, sync.SUMS_PER_PAGE, sync.WATCH_SECONDS = 100, 500, 0.0
place = sys.argv[2]
if place.startswith("qdrant://"):
    index = QdrantIndex.open(place)
    index.state()  # connects
else:
    from tests.support.edge_qdrant import EdgeClient
    from tests.support.qdrant_stand_in import index_over
    index = index_over(EdgeClient(Path(place)))
with SqliteGallery.open(Path(sys.argv[1])) as gallery:
    print("begun", flush=True)
    index.sync(gallery)
    print("ended", flush=True)
"""


@contextmanager
def of_server(address: str) -> Iterator[QdrantIndex]:
    yield QdrantIndex.open(address)


@contextmanager
def of_folder(place: str) -> Iterator[QdrantIndex]:
    with EdgeClient(Path(place)) as client:
        yield index_over(client)


@dataclass
class World:
    """A gallery file that changes. `names` numbers new photos."""

    gallery: SqliteGallery
    rng: random.Random
    names: Iterator[int] = field(default_factory=itertools.count)

    def rows(self, ids: list[str]) -> list[GalleryRow]:
        vectors = np.random.default_rng(self.rng.randrange(2**32)).normal(size=(len(ids), DIM))
        return [
            GalleryRow(one, f"/{one}", self.rng.choice(["a", "b", "c", ""]), "h", "1:2",
                       vector.astype(np.float32))
            for one, vector in zip(ids, vectors, strict=True)
        ]  # fmt: skip

    def new(self, count: int) -> None:
        self.gallery.put(self.rows([f"p{next(self.names)}" for _ in range(count)]))

    def change(self) -> None:
        """Some of: new photos, removed ones, other landmarks, other vectors."""
        if self.gallery.count() < PHOTOS // 2:
            self.new(PHOTOS // 2)
        ids = sorted(self.gallery.stamps())
        some = self.rng.sample(ids, 600)
        changes: list[Callable[[], object]] = [
            lambda: self.new(300),
            lambda: self.gallery.remove(some[:300]),
            lambda: self.gallery.relabel(dict.fromkeys(some[300:450], "moved")),
            lambda: self.gallery.put(self.rows(some[450:600])),
        ]
        for change in self.rng.sample(changes, self.rng.randint(0, 4)):
            change()


def points(index: QdrantIndex) -> dict[int, tuple[int, str, tuple[float, ...]]]:
    found, _ = index._client.call("scroll", limit=10**6, with_payload=True, with_vectors=True)
    return {one.id: (one.payload["sum"], one.payload["kind"], tuple(one.vector))
            for one in found if one.id}  # fmt: skip


def photos(gallery: SqliteGallery) -> dict[int, tuple[int, str, tuple[float, ...]]]:
    table, (_, sums) = gallery.table(), gallery.sums()
    kinds = np.where(table.landmarks == "", "distractor", "landmark").tolist()
    vectors = map(tuple, table.vectors.astype(np.float64).tolist())
    columns = zip(table.rows.tolist(), sums.tolist(), kinds, vectors, strict=True)
    return {number: (total, kind, vector) for number, total, kind, vector in columns}


def check_search(index: QdrantIndex, gallery: SqliteGallery) -> bool:
    """Whether the index was searched, which it may only be when every point is right.

    A search for all landmark photos, and one for all distractors, must find exactly these.
    """
    query, labels = np.eye(DIM, dtype=np.float32)[:1], gallery.labels()
    for distractors in (False, True):
        try:
            (found,) = index.nearest(gallery.state(), query, 10**4, distractors=distractors)
        except GalleryError:
            return False
        expected = labels.rows[(labels.codes < 0) == distractors].tolist()
        assert sorted(found[found >= 0].tolist()) == expected, "a search misses photos"
    assert points(index) == photos(gallery), "an index was searched that is not in step"
    return True


def killed(place: str, path: Path, after: float) -> bool:
    """Whether a sync was killed; False = it had ended."""
    root = str(Path(tests_on_path.__file__).parent.parent)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(root=root), str(path), place],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    line = child.stdout.readline()
    if line.strip() != "begun":
        raise RuntimeError(child.communicate()[1])
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    out, said = child.communicate()
    if child.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(said)
    return "ended" not in out


def run(name: str, place: str, opened: Callable, folder: Path, kills: int) -> None:  # type: ignore[type-arg]
    rng = random.Random(kills)
    path = folder / f"{name}.sqlite"
    done = ended = searched = complete = 0
    sync_module.WATCH_SECONDS = 0.0
    with SqliteGallery.create(path, "made", DIM) as gallery:
        world = World(gallery, rng)
        world.new(PHOTOS)
        began = time.monotonic()
        with opened(place) as index:
            index.sync(gallery, rebuild=True)
        limit = time.monotonic() - began  # seconds; kept at what a sync takes
        while done < kills:
            world.change()
            if killed(place, path, rng.uniform(0, limit)):
                done, limit = done + 1, 1.05 * limit
            else:
                ended, limit = ended + 1, 0.8 * limit
            with opened(place) as index:
                searched += check_search(index, gallery)
                if rng.random() < 0.5 or done == kills:
                    index.sync(gallery)
                    assert points(index) == photos(gallery), "a sync ended with other points"
                    assert check_search(index, gallery)
                    complete += 1
        print(
            f"{name}: {done} syncs killed ({ended} more had ended), {len(photos(gallery))} photos; "
            f"searched after {searched} of {done + ended}, each time in step; {complete} syncs "
            "afterwards, every point right",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    kills = parser.parse_args().kills
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = stack.enter_context(serving(StandIn()))
        run("gRPC", f"qdrant://127.0.0.1:{port}/paris", of_server, folder, kills)
        (folder / "edge").mkdir()
        run("Edge", str(folder / "edge"), of_folder, folder, kills)


if __name__ == "__main__":
    main()
