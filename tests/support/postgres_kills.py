"""Kill PostgreSQL repeatedly while photos are added; used by a test and a benchmark."""

from __future__ import annotations

import threading
import time

import numpy as np

from tests.support.own_postgres import OwnPostgres
from whichlandmark.core.errors import GalleryError
from whichlandmark.gallery.base import Gallery
from whichlandmark.gallery.postgres.store import PostgresGallery
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.gallery.sqlite.store import SqliteGallery

DIM = 64
NEW, REPLACED = 60, 6  # photos of a batch
MAX_SECONDS = 0.7  # of adding before a kill


def batch(number: int) -> list[GalleryRow]:
    """The photos of batch `number`; equal in every call."""
    rng = np.random.default_rng([7, number])
    ids = [f"b{number}-{i}" for i in range(NEW)]
    if number:
        ids += [f"b{rng.integers(number)}-{i}" for i in range(REPLACED)]
    vectors = rng.normal(size=(len(ids), DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        GalleryRow(
            name, f"/{name}.jpg", f"l{rng.integers(9)}" if rng.random() < 0.8 else "",
            f"h{number}", "1:2", vector.astype(np.float32), keypoints=rng.bytes(900),
            fingerprint=rng.bytes(40), thumbnail=rng.bytes(3000),
        ) for name, vector in zip(ids, vectors, strict=True)
    ]  # fmt: skip


class Kills:
    """A gallery on a server that is killed, and a local gallery with its expected content."""

    def __init__(self, server: OwnPostgres, seed: int, max_seconds: float = MAX_SECONDS) -> None:
        self.max_seconds = max_seconds
        self.server, self.address = server, server.address("kills")
        self.rng = np.random.default_rng(seed)
        self.reference = SqliteGallery.create(None, "fake-1", DIM)
        self.acknowledged = self.stored = 0  # batches: confirmed to the client; in the gallery
        self.error = ""
        PostgresGallery.create(self.address, "fake-1", DIM).close()

    def round(self) -> tuple[str, list[str]]:
        """Add, kill, restart and compare. Returns a line of report, and the differences."""
        adding = threading.Thread(target=self._add)
        adding.start()
        wait = float(self.rng.uniform(0.0, self.max_seconds))
        time.sleep(wait)
        self.server.kill()
        adding.join()
        self.server.start()
        with PostgresGallery.open(self.address) as gallery:
            before, wrong = self.acknowledged, self._compare(gallery)
        following = "stored completely" if self.stored > before else "not stored"
        line = (f"killed after {wait:.2f} s: {before} batches acknowledged, the next {following}; "
                f"{self.reference.count()} photos; {len(wrong)} violations")  # fmt: skip
        return line, wrong

    def _add(self) -> None:
        """Add batches until the server is killed, counting those that are acknowledged."""
        self.acknowledged = self.stored
        try:
            with PostgresGallery.open(self.address) as gallery:
                while True:
                    gallery.put(batch(self.acknowledged))
                    self.acknowledged += 1
        except GalleryError as error:  # anything else ends the thread with a traceback
            self.error = str(error)

    def _compare(self, gallery: Gallery) -> list[str]:
        generation = gallery.generation
        if generation not in (self.acknowledged, self.acknowledged + 1):
            return [f"generation {generation} after {self.acknowledged} acknowledged batches"]
        for number in range(self.stored, generation):
            self.reference.put(batch(number))
        self.stored = generation
        ours, expected = content(gallery), content(self.reference)
        wrong = [f"{what} differs" for what, value in expected.items() if ours[what] != value]
        if "lost" not in self.error and "cannot be reached" not in self.error:
            wrong.append(f"the error of the kill: {self.error!r}")
        return wrong + gallery.faults()


def content(gallery: Gallery) -> dict[str, object]:
    """All searched columns, and the checksums that `faults` compares with the stored blobs."""
    table = gallery.table()
    ids = table.ids.tolist()
    return {
        "numbers": gallery.state()._replace(stale=0), "ids": ids,
        "landmarks": table.landmarks.tolist(), "hashes": table.hashes.tolist(),
        "vectors": table.vectors.tobytes(), "rows": table.rows.tolist(),
        "sums": gallery.sums()[1].tolist(),
    }  # fmt: skip
