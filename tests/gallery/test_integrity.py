"""Planted damage in every part of a gallery: detected, never returned; intact rows are kept."""

from __future__ import annotations

import random
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from whichlandmark.core.errors import BusyError, GalleryError, WhichLandmarkError
from whichlandmark.gallery.base import Gallery
from whichlandmark.gallery.records import GalleryRow, LandmarkRecord
from whichlandmark.gallery.sqlite import schema
from whichlandmark.gallery.sqlite.salvage import rebuild, rows_of
from whichlandmark.gallery.sqlite.store import SqliteGallery, faults

DIM = 16
COUNT = 150  # photos, on several pages; two of them are removed


def rows(count: int, seed: int = 0) -> list[GalleryRow]:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        GalleryRow(
            f"p{i}", f"/p{i}.jpg", f"l{i % 5}" if i % 5 else "", f"h{i}", "1:2",
            vector.astype(np.float32), keypoints=rng.bytes(900) if i % 2 else b"",
            fingerprint=rng.bytes(40), author="Ann",
            thumbnail=rng.bytes(20_000) if i % 9 == 0 else b"",
        )
        for i, vector in enumerate(vectors)
    ]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "gallery.sqlite"
    with SqliteGallery.create(path, "fake-1", DIM) as gallery:
        gallery.put(rows(COUNT))
        gallery.describe([LandmarkRecord(f"l{i}", f"Landmark {i}") for i in range(1, 5)])
        gallery.remove(["p7", "p8"])
    assert faults(path) == []
    return path


def content(path: Path) -> tuple[object, ...]:
    """All data of a gallery."""
    with SqliteGallery.open(path) as gallery:
        table = gallery.table()
        ids = table.ids.tolist()
        return (
            ids, table.paths.tolist(), table.landmarks.tolist(), table.hashes.tolist(),
            table.vectors.tobytes(), table.rows.tolist(), table.generation, gallery.stamps(),
            gallery.keypoints(ids), gallery.fingerprints(), gallery.thumbnails(ids),
            gallery.credits(ids),
            gallery.landmarks(), gallery.embedder_id, gallery.dim,
        )  # fmt: skip


def damage(path: Path, statement: str) -> None:
    """Change the file directly, without updating checksums."""
    sql = sqlite3.connect(path, isolation_level=None)
    sql.execute("PRAGMA writable_schema = ON")
    assert sql.execute(statement).rowcount != 0
    sql.close()


PLANTED = {
    "a path": ("UPDATE photos SET path = '/other.jpg' WHERE id = 'p3'", "entry of photo 'p3'"),
    "a label": ("UPDATE photos SET landmark = 'l9' WHERE id = 'p3'", "entry of photo 'p3'"),
    "an author": ("UPDATE photos SET author = 'Bob' WHERE id = 'p3'", "entry of photo 'p3'"),
    "a type": ("UPDATE photos SET hash = x'6833' WHERE id = 'p3'", "entry of photo 'p3'"),
    "a sum": ("UPDATE photos SET sum = sum + 1 WHERE id = 'p3'", "entry of photo 'p3'"),
    "a row number": ("UPDATE photos SET row = 900 WHERE id = 'p3'", "entry of photo 'p3'"),
    "a photo gone": ("DELETE FROM photos WHERE id = 'p3'", "147 photos found, expected 148"),
    "a vector": ("UPDATE vectors SET data = zeroblob(32) WHERE row = 4", "vectors? of photo 'p3'"),
    "a cut vector": ("UPDATE vectors SET data = x'00' WHERE row = 4", "vectors? of photo 'p3'"),
    "a vector gone": ("DELETE FROM vectors WHERE row = 4", "vectors? of photo 'p3'"),
    "two swapped": ("UPDATE vectors SET data = (SELECT data FROM vectors WHERE row = 5) "
                    "WHERE row = 4", "vectors? of photo 'p3'"),
    "a stray vector": ("INSERT INTO vectors VALUES (9, zeroblob(32))", "without its"),
    "features": ("UPDATE keypoints SET data = x'0011' WHERE row = 4", "keypoints of photo 'p3'"),
    "features gone": ("DELETE FROM keypoints WHERE row = 4", "keypoints of photo 'p3'"),
    "a look": ("UPDATE looks SET data = 'text' WHERE row = 4", "looks of photo 'p3'"),
    "a thumbnail": ("UPDATE thumbnails SET data = x'FFD8' WHERE row = 1", "thumbnails of .* 'p0'"),
    "a record": ("UPDATE landmarks SET record = '{}' WHERE name = 'l2'", "landmark 'l2'"),
    "a record gone": ("DELETE FROM landmarks WHERE name = 'l2'", "3 landmark records found"),
    "the embedder": ("UPDATE meta SET embedder = 'fake-2'", "its header"),
    "the generation": ("UPDATE meta SET generation = 1", "its header"),
    "a table": ("UPDATE sqlite_master SET sql = replace(sql, 'TEXT', 'BLOB') WHERE name = 'photos'",
                "its tables"),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_damage_is_reported_and_not_returned(path: Path, planted: str) -> None:
    statement, message = PLANTED[planted]
    damage(path, statement)
    assert any(re.search(message, line) for line in faults(path)), faults(path)
    with pytest.raises(GalleryError, match=r"damaged|its header"):
        content(path)
    salvaged = rebuild(path, "fake-1", DIM)
    assert faults(path) == []
    assert salvaged.photos >= COUNT - 3
    content(path)


def test_an_id_missing_in_the_sqlite_index_is_detected(path: Path) -> None:
    sql = sqlite3.connect(path, isolation_level=None)
    page = sql.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_photos_1'"
    ).fetchone()[0]
    sql.close()
    data = bytearray(path.read_bytes())
    at = data.index(b"p33", (page - 1) * 8192, page * 8192)
    data[at : at + 3] = b"p3x"
    path.write_bytes(data)
    assert any("index" in line for line in faults(path))
    with SqliteGallery.open(path) as gallery, pytest.raises(GalleryError, match="the index of ids"):
        gallery.keypoints(["p33"])
    assert rebuild(path, None, None).lost == {}
    with SqliteGallery.open(path) as gallery:
        assert set(gallery.keypoints(["p33"])) == {"p33"}


def test_a_vector_that_is_not_unit_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite"
    with SqliteGallery.create(path, "fake-1", 2) as gallery:
        for name, vector in (("long", [1, 1]), ("unit", [0.6, 0.8]), ("none", [0, 0])):
            values = np.array(vector, dtype=np.float32)
            gallery.put([GalleryRow(name, "/x.jpg", "a", "h", "s", values)])
    assert faults(path) == ["vectors of photo 'long', row 1: length 1.414; expected 1"]


def test_random_bit_flips_are_detected_or_harmless(path: Path) -> None:
    whole, data, chance = content(path), path.read_bytes(), random.Random(0)
    copy = path.with_name("copy.sqlite")
    outcomes = {"found": 0, "meaningless": 0}
    for _ in range(60):
        bit = chance.randrange(8 * len(data))
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        copy.unlink(missing_ok=True)
        copy.write_bytes(changed)
        found = faults(copy)
        try:
            assert content(copy) == whole
        except WhichLandmarkError:
            assert found
        outcomes["found" if found else "meaningless"] += 1
    assert min(outcomes.values()) > 5, outcomes


def test_salvage_reads_the_same_rows_as_sqlite(path: Path) -> None:
    """The page reader against SQLite itself, for every table, long rows included."""
    sql = sqlite3.connect(path)
    expected = []
    for (table,) in sql.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        for number, *values in sql.execute(f"SELECT rowid, * FROM {table}"):
            alias = table != "landmarks"  # because its key is not the row number
            expected.append((number, [None, *values[1:]] if alias else values))
    sql.close()
    found = [(row, values) for row, values in rows_of(path) if len(values) != 5]  # 5: the schema
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    assert max(len(values[1]) for _, values in found if len(values) == 2) == 20_000


def test_a_destroyed_page_loses_only_its_own_rows(path: Path) -> None:
    with SqliteGallery.open(path) as gallery:
        before = gallery.table()
    data = bytearray(path.read_bytes())
    at = data.index(b"/p40.jpg") // 8192 * 8192
    assert at > 8192  # not the page of the schema
    data[at : at + 8192] = bytes(8192)
    path.write_bytes(data)
    with SqliteGallery.open(path) as gallery, pytest.raises(GalleryError, match="damaged"):
        gallery.table()
    salvaged = rebuild(path, "fake-1", DIM)
    assert salvaged.photos == COUNT - 2 - int(next(iter(salvaged.lost)).split()[0])
    assert faults(path) == []
    with SqliteGallery.open(path) as gallery:
        after = gallery.table()
        assert after.generation > before.generation
        kept = np.isin(before.ids, after.ids)
        assert 0 < kept.sum() < COUNT - 2
        np.testing.assert_array_equal(before.vectors[kept], after.vectors)
        np.testing.assert_array_equal(before.rows[kept], after.rows)
        gallery.put(rows(9)[7:])  # a new photo gets an unused row number
        assert gallery.table().rows.max() == COUNT + 2


def test_rebuilding_without_the_first_page_needs_the_embedder_id(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[: 2 * 8192] = bytes(2 * 8192)  # the schema and the header
    path.write_bytes(data)
    with pytest.raises(GalleryError, match="the name of its embedder is damaged"):
        rebuild(path, None, None)
    assert path.read_bytes() == data  # unchanged
    salvaged = rebuild(path, "fake-1", DIM)
    assert (salvaged.photos, salvaged.landmarks, salvaged.lost) == (COUNT - 2, 4, {})
    with SqliteGallery.open(path) as gallery:
        gallery.require("fake-1")
        assert gallery.table().generation > 1000


def test_rebuild_without_any_intact_photo_changes_nothing(path: Path) -> None:
    size = path.stat().st_size
    path.write_bytes(bytes(size))
    with pytest.raises(GalleryError, match="no photo in it is intact"):
        rebuild(path, "fake-1", DIM)
    assert path.read_bytes() == bytes(size)


def test_rebuild_is_refused_while_another_process_has_it_open(path: Path) -> None:
    with SqliteGallery.open(path) as reader:
        reader.table()
        with pytest.raises(BusyError, match="another process has it open"):
            rebuild(path, "fake-1", DIM)


def test_rebuild_keeps_rows_that_are_only_in_the_write_ahead_log(path: Path) -> None:
    """A process that was killed leaves its last changes in the journal."""
    gallery = SqliteGallery.open(path)
    gallery.put(rows(COUNT + 10)[COUNT:])
    crashed = path.with_name("crashed.sqlite")
    for ending in ("", "-wal"):
        crashed.with_name(crashed.name + ending).write_bytes(
            path.with_name(path.name + ending).read_bytes()
        )
    gallery.close()
    assert rebuild(crashed, "fake-1", DIM).photos == COUNT + 8
    assert faults(crashed) == []
    with SqliteGallery.open(crashed) as opened:
        assert len(opened.table().ids) == COUNT + 8


def test_an_older_row_put_back_is_detected(path: Path) -> None:
    """Checksums and count are right, only the digest is not."""
    sql = sqlite3.connect(path, isolation_level=None)
    old = sql.execute("SELECT landmark, sum FROM photos WHERE id = 'p3'").fetchone()
    sql.close()
    with SqliteGallery.open(path) as gallery:
        gallery.relabel({"p3": "new"})
    damage(path, f"UPDATE photos SET landmark = '{old[0]}', sum = {old[1]} WHERE id = 'p3'")
    assert faults(path) == ["the photos do not match the digest of the last change"]
    with SqliteGallery.open(path) as gallery, pytest.raises(GalleryError, match="damaged"):
        gallery.table()


def test_a_gallery_that_is_opened_read_only_is_undamaged(path: Path) -> None:
    with SqliteGallery(schema.connect(path, immutable=True), path) as gallery:
        assert Gallery.faults(gallery) == []
    data = bytearray(path.read_bytes())
    data[19] = 1
    path.write_bytes(data)
    assert any("journal_mode delete; expected wal" in line for line in faults(path))


def test_verifying_keeps_the_locks_of_this_process(path: Path) -> None:
    """Closing any descriptor of a file ends a process's locks on it, so none may be opened."""
    code = (
        "import sqlite3, sys\n"
        "sql = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)\n"
        "sql.execute('PRAGMA locking_mode = EXCLUSIVE')\n"
        "try:\n    sql.execute('BEGIN EXCLUSIVE')\n"
        "except sqlite3.OperationalError as error:\n    print(error)\n"
    )
    with SqliteGallery.open(path) as gallery:
        assert gallery.faults() == []
        assert Gallery.faults(gallery) == []
        command = [sys.executable, "-c", code, str(path)]
        told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "database is locked"
