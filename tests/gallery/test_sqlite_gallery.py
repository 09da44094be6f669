"""The SQLite gallery: round trips, atomic changes, clear errors."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from whichlandmark.core.errors import BusyError, DataError, GalleryError
from whichlandmark.gallery import records
from whichlandmark.gallery.base import Gallery
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.gallery.records import Credit, GalleryRow, LandmarkRecord
from whichlandmark.gallery.sqlite import schema
from whichlandmark.gallery.sqlite.salvage import rebuild
from whichlandmark.gallery.sqlite.store import SqliteGallery


def row(name: str, landmark: str = "a", value: float = 0.5, **more: bytes | str) -> GalleryRow:
    vector = np.full(4, value, dtype=np.float32)
    return GalleryRow(name, f"/photos/{name}.jpg", landmark, f"hash-{name}", "1:2", vector, **more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "g.wl" / "gallery.sqlite"


def test_round_trip_and_generation(path: Path) -> None:
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        start = gallery.generation
        gallery.put([row("x"), row("y", "b", 0.25), row("z", "")])
        assert gallery.generation == start + 1
    assert os.listdir(path.parent) == ["gallery.sqlite"]  # one file after a clean close
    with SqliteGallery.open(path) as gallery:
        table = gallery.table()
        assert table.ids.tolist() == ["x", "y", "z"]
        assert table.landmarks.tolist() == ["a", "b", ""]
        assert table.vectors.dtype == np.float16
        assert table.vectors[1].tolist() == [0.25] * 4
        assert (table.rows.tolist(), table.generation) == ([1, 2, 3], start + 1)
        assert (gallery.embedder_id, gallery.dim, gallery.count()) == ("fake-1", 4, 3)


def test_blobs_credits_and_records_read_back(path: Path) -> None:
    tower = LandmarkRecord("b", "The Tower", {"fr": "La Tour", "zh": "塔"}, "Q243", 48.858, 2.294)
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        gallery.put([
            row("x", keypoints=b"kx", fingerprint=b"lx", author="Ann", licence="CC0"),
            row("y", "b", thumbnail=b"\x00jpeg", fingerprint=b"ly"),
        ])  # fmt: skip
        gallery.describe([tower, LandmarkRecord("a")])
    with SqliteGallery.open(path) as gallery:
        assert gallery.keypoints(["x", "y", "nobody"]) == {"x": b"kx"}
        assert gallery.thumbnails(["y", "x"]) == {"y": b"\x00jpeg"}
        assert gallery.fingerprints() == {"x": b"lx", "y": b"ly"}
        assert gallery.credits(["y", "x"]) == {"x": Credit("Ann", "CC0"), "y": Credit("", "")}
        assert gallery.landmarks() == {"b": tower, "a": LandmarkRecord("a")}


def test_the_same_id_is_replaced_in_place(path: Path) -> None:
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        gallery.put([row("x", keypoints=b"old"), row("y")])
        gallery.put([row("x", "c", 1.0)])
        table = gallery.table()
        assert table.ids.tolist() == ["x", "y"]
        assert table.landmarks.tolist() == ["c", "a"]
        assert table.vectors[0].tolist() == [1.0] * 4
        assert gallery.keypoints(["x"]) == {}


def test_row_numbers_are_never_used_again(path: Path) -> None:
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        gallery.put([row("x"), row("y"), row("z")])
        assert gallery.remove(["z", "y"]) == 2
        gallery.compact()
    with SqliteGallery.open(path) as gallery:
        gallery.put([row("z")])
        table = gallery.table()
        assert dict(zip(table.ids, table.rows, strict=True)) == {"x": 1, "z": 4}


def test_relabel_needs_no_vector(path: Path) -> None:
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        gallery.put([row("x"), row("y")])
        gallery.relabel({"y": ""})
        index = GalleryIndex.of(gallery.table())
    assert (index.ids.tolist(), index.distractor_ids.tolist()) == (["x"], ["y"])


def test_a_landmark_record_is_removed_or_moved_with_its_last_photo(path: Path) -> None:
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        gallery.put([row("x"), row("y"), row("z", "b"), row("w", "c")])
        gallery.describe([LandmarkRecord(name, f"title {name}") for name in "abc"])
        gallery.relabel({"x": "new"})
        assert set(gallery.landmarks()) == {"a", "b", "c"}
        gallery.relabel({"y": "new", "z": "c"})  # "new" has no record yet, "c" has its own
        assert {n: r.title for n, r in gallery.landmarks().items()} == {
            "new": "title a", "c": "title c"
        }  # fmt: skip
        gallery.remove(["w", "z"])
        assert set(gallery.landmarks()) == {"new"}


@pytest.mark.parametrize("change", ["remove", "relabel", "credit"])
def test_unknown_ids_are_named_with_the_nearest(path: Path, change: str) -> None:
    calls = {"remove": lambda g: g.remove(["eiffel/1.jpg", "eifel/2.jpg"]),
             "relabel": lambda g: g.relabel({"eiffel/1.jpg": "b", "eifel/2.jpg": "b"}),
             "credit": lambda g: g.credit({"eifel/2.jpg": Credit("Ann", "")})}  # fmt: skip
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        gallery.put([row("eiffel/1.jpg"), row("eiffel/2.jpg")])
        before = gallery.table()
        with pytest.raises(DataError, match=r"'eifel/2.jpg' \(did you mean 'eiffel/2.jpg'\?\)"):
            calls[change](gallery)
        after = gallery.table()
        assert (after.ids.tolist(), after.landmarks.tolist(), after.generation) == (
            before.ids.tolist(), before.landmarks.tolist(), before.generation
        )  # fmt: skip


def test_an_unknown_id_suggests_the_nearest_in_a_large_gallery(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MAX_IDS_COMPARED", 10)
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        gallery.put([row(f"paris/{i:03}.jpg") for i in range(300)])
        with pytest.raises(DataError, match=r"did you mean 'paris/123.jpg'"):
            gallery.remove(["123.jpg"])


def test_a_failed_batch_leaves_nothing_behind(path: Path) -> None:
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        before = gallery.generation
        wrong = GalleryRow("w", "w.jpg", "a", "h", "s", np.zeros(3, np.float32))
        with pytest.raises(GalleryError, match=r"holds \(4,\)"):
            gallery.put([row("x"), wrong])
        assert (gallery.count(), gallery.generation) == (0, before)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(""), "neither may be empty"),
        (row("x\0y"), "zero byte"),
        (row("x\udcff"), "not valid Unicode"),
        (row("x", "l" * 1001), "landmark of 1001 characters; at most 1000"),
        (row("x", author="a" * 4001), "author of 4001 characters"),
        (row("x", thumbnail=bytes(16_000_001)), "thumbnail of 16000001 bytes"),
    ],
)
def test_texts_that_cannot_be_stored_are_refused(path: Path, bad: GalleryRow, message: str) -> None:
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        with pytest.raises(DataError, match=message):
            gallery.put([row("good"), bad])
        assert gallery.count() == 0
        with pytest.raises(GalleryError, match="not finite"):
            gallery.put([row("x", value=float("nan"))])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"wikidata": "243"}, "expected Q and a number"),
        ({"latitude": 91.0, "longitude": 0.0}, "latitude 91.0; expected −90 to 90"),
        ({"latitude": 1.0, "longitude": float("nan")}, "longitude nan"),
        ({"latitude": 1.0}, "expected both, or none"),
        ({"title": "t" * 1001}, "at most 1000"),
    ],
)
def test_invalid_landmark_records_are_refused(values: dict[str, float | str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        LandmarkRecord("a", **values)


def test_another_embedder_is_refused(path: Path) -> None:
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        gallery.require("fake-1")
        with pytest.raises(GalleryError, match=r"made by embedder 'fake-1', not by 'fake-2'"):
            gallery.require("fake-2")


def test_missing_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="no gallery there"):
        SqliteGallery.open(tmp_path / "none.sqlite")
    (tmp_path / "text.sqlite").write_text("not a database, but long enough to look at " * 40)
    with pytest.raises(GalleryError, match="damaged or not a gallery"):
        SqliteGallery.open(tmp_path / "text.sqlite")
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE t (x)")
    with pytest.raises(GalleryError, match="not a gallery of format"):
        SqliteGallery.open(tmp_path / "other.sqlite")
    other.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    other.execute("PRAGMA user_version = 1")
    other.close()
    with pytest.raises(GalleryError, match=r"format 1; .* index the photos again"):
        SqliteGallery.open(tmp_path / "other.sqlite")
    with pytest.raises(GalleryError, match="there is a file already"):
        SqliteGallery.create(tmp_path / "other.sqlite", "fake-1", 4)


def test_a_second_writer_is_told_to_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError, match="another process is writing"):
            gallery.put([row("x")])
        other.execute("ROLLBACK")
        other.close()
        gallery.put([row("x")])
        assert gallery.count() == 1


def test_a_gallery_in_memory_can_be_copied_to_a_file(path: Path) -> None:
    with SqliteGallery.create(None, "fake-1", 4) as gallery:
        gallery.put([row("x"), row("y")])
        gallery.remove(["y"])
        gallery.copy_to(path).close()
    assert os.listdir(path.parent) == ["gallery.sqlite"]
    with SqliteGallery.open(path) as copied:
        assert copied.table().ids.tolist() == ["x"]
        copied.put([row("z")])  # it can be written to


def test_a_reader_keeps_its_generation_while_a_writer_goes_on(path: Path) -> None:
    """The table is read in one transaction, so a change during the read is not visible."""
    with SqliteGallery.create(path, "fake-1", 4) as writer, SqliteGallery.open(path) as reader:
        writer.put([row(f"p{i}", "old") for i in range(300)])
        with reader._snapshot() as (tables, meta):
            seen = reader._photos(tables, meta)
            first = [next(seen) for _ in range(5)]
            writer.relabel({f"p{i}": "new" for i in range(300)})
            writer.remove(["p299"])
            rest = list(seen)
        assert {entry[3] for entry in first + rest} == {"old"}
        assert len(first + rest) == 300
        table = reader.table()
        assert (set(table.landmarks), len(table.ids)) == ({"new"}, 299)
        assert table.generation == 3


def test_many_threads_read_one_gallery_while_another_process_could_write(path: Path) -> None:
    with SqliteGallery.create(path, "fake-1", 4) as writer, SqliteGallery.open(path) as reader:
        writer.put([row(f"p{i}", "g0") for i in range(50)])
        wrong: list[object] = []

        def read() -> None:
            try:
                for _ in range(20):
                    table = reader.table()
                    if len(set(table.landmarks)) != 1 or len(table.ids) != 50:
                        wrong.append(table)
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for step in range(15):
            writer.relabel({f"p{i}": f"g{step}" for i in range(50)})
        for thread in threads:
            thread.join()
        assert wrong == []


def test_removed_bytes_are_gone_from_the_file(path: Path) -> None:
    """Random sizes make SQLite move rows between pages, and leave copies in unused space."""
    rng = np.random.default_rng(0)
    alive: dict[str, str] = {}
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        for step in range(14):
            names = [f"{value:016x}" for value in rng.integers(2**60, size=60)]
            labels = [f"<label-{rng.integers(99)}-{'z' * rng.integers(60)}>" for _ in names]
            gallery.put([
                row(f"<{name}>", label, fingerprint=f"<look {name}>".encode() * 3,
                    author=f"<by {name}>",
                    keypoints=f"<{name}>".encode() * int(rng.integers(400)))
                for name, label in zip(names, labels, strict=True)
            ])  # fmt: skip
            alive |= dict(zip(names, labels, strict=True))
            chosen = rng.choice(sorted(alive), 40, replace=False)
            new = {name: f"<label-{step}{'y' * rng.integers(50)}>" for name in chosen[:20]}
            gallery.relabel({f"<{name}>": label for name, label in new.items()})
            gallery.remove([f"<{name}>" for name in chosen[20:]])
            alive |= new
            for name in chosen[20:]:
                del alive[name]
    data = path.read_bytes()
    assert all(f"<{name}>".encode() in data for name in alive)
    names = {entry.decode() for entry in re.findall(rb"[0-9a-f]{15,16}(?=>)", data)}
    assert {name for name in names if name not in alive} == set()
    labels = {one.decode() for one in re.findall(rb"<label-[0-9a-z-]*>", data)}
    assert labels == set(alive.values())


def test_removal_beside_a_reader_is_finished_later(path: Path) -> None:
    with SqliteGallery.create(path, "fake-1", 4) as writer:
        writer.put([row("secret-name"), row("y")])
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT COUNT(*) FROM photos").fetchone() == (2,)
        writer.remove(["secret-name"])
        reader.execute("ROLLBACK")
        reader.close()
    assert os.listdir(path.parent) == ["gallery.sqlite"]
    assert b"secret-name" not in path.read_bytes()


def test_a_large_file_says_that_compact_is_needed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whichlandmark.gallery.sqlite.store.MAX_SCRUBBED_BYTES", 0)
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        gallery.put([row("secret-name", thumbnail=b"secret" * 900), row("y")])
        assert gallery.state().stale == 0
        gallery.remove(["secret-name"])
        assert gallery.state().stale == 1
        assert b"secretsecret" not in path.read_bytes()  # secure_delete, in the file by now
        generation = gallery.generation
        assert gallery.compact()
        assert (gallery.state().stale, gallery.generation) == (0, generation)
    assert b"secret" not in path.read_bytes()


def test_photos_are_removed_although_the_file_cannot_be_rewritten(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        gallery.put([row("x"), row("y")])

        def full(self: SqliteGallery) -> bool:
            raise GalleryError(f"{path}: the disk is full; nothing of this batch was written")

        monkeypatch.setattr(SqliteGallery, "compact", full)
        assert gallery.remove(["x"]) == 1
        assert (gallery.count(), gallery.state().stale) == (1, 1)
    assert "disk is full" in caplog.text
    assert "the photos are removed, but" in caplog.text


# Format → what makes a gallery of it out of one of the format after it.
BACK = {3: ("ALTER TABLE photos DROP COLUMN licence_url",),
        2: ("DROP INDEX photos_by_hash", "ALTER TABLE photos DROP COLUMN source")}  # fmt: skip

FULL_CREDIT = Credit("Ann", "CC BY 4.0", "https://example.org/by", "https://example.org/x")


def make_older(path: Path, version: int) -> None:
    old = sqlite3.connect(path, isolation_level=None)
    for statement in (one for before in range(3, version - 1, -1) for one in BACK[before]):
        old.execute(statement)
    old.execute(f"PRAGMA user_version = {version}")
    old.close()


@pytest.mark.parametrize("version", [2, 3])
def test_a_gallery_of_a_format_before_is_brought_to_the_new_one(path: Path, version: int) -> None:
    """Photos had no licence_url, before that no source and no index of hashes; the rest stays."""
    source = "https://example.org/y" if version == 3 else ""
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        gallery.put([row("x"), replace(row("y", "b"), author="Bea", source=source)])
        before = gallery.sums()
    make_older(path, version)
    os.chmod(path, 0o444)
    with SqliteGallery.open(path) as gallery:
        assert [one.tolist() for one in gallery.sums()] == [one.tolist() for one in before]
        assert gallery.credits(["x", "y"]) == {
            "x": Credit("", ""), "y": Credit("Bea", "", "", source)
        }  # fmt: skip
        assert gallery.with_hashes(["hash-y"]) == {"hash-y": ["y"]}
        gallery.credit({"x": FULL_CREDIT})
        gallery.put([replace(row("z"), **FULL_CREDIT._asdict())])
        assert gallery.credits(["x", "z"]) == {"x": FULL_CREDIT, "z": FULL_CREDIT}
        assert gallery.faults() == []
    with SqliteGallery.open(path) as gallery:  # of the new format now
        assert gallery.credits(["x"]) == {"x": FULL_CREDIT}


def test_a_gallery_of_the_format_before_is_read_as_it_is_where_it_may_not_be_changed(
    path: Path,
) -> None:
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        gallery.put([replace(row("x"), author="Ann", source="https://example.org/x"), row("y")])
    make_older(path, 3)
    before = path.read_bytes()
    with SqliteGallery(schema._connect_checked(path, immutable=True), path) as gallery:
        assert gallery.table().ids.tolist() == ["x", "y"]
        assert gallery.credits(["x"]) == {"x": Credit("Ann", "", "", "https://example.org/x")}
        assert Gallery.faults(gallery) == []
        with pytest.raises(GalleryError, match="may not be written to"):
            gallery.credit({"x": FULL_CREDIT})
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [2, 3])
def test_a_gallery_of_a_format_before_can_be_rebuilt(path: Path, version: int) -> None:
    """Rows of each format are in one file, because SQLite does not rewrite the older ones."""
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        gallery.put([replace(row("x"), author="Ann")])
    make_older(path, version)
    with SqliteGallery.open(path) as gallery:
        gallery.put([replace(row("y"), **FULL_CREDIT._asdict())])
        content = gallery.sums()[1].tolist()
    salvaged = rebuild(path, None, None)
    assert (salvaged.photos, salvaged.lost) == (2, {})
    with SqliteGallery.open(path) as gallery:
        assert gallery.credits(["x", "y"]) == {"x": Credit("Ann", ""), "y": FULL_CREDIT}
        assert gallery.sums()[1].tolist() == content
        assert gallery.faults() == []


def test_compact_gives_space_back(path: Path) -> None:
    with SqliteGallery.create(path, "fake-1", 4) as gallery:
        gallery.put([row(f"p{i}", thumbnail=bytes(20_000)) for i in range(50)])
        gallery.put([row(f"p{i}") for i in range(45)])
        gallery.checkpoint()
        before, table = path.stat().st_size, gallery.table()
        gallery.compact()
        assert path.stat().st_size < before / 4
        after = gallery.table()
        assert (after.rows.tolist(), after.generation) == (table.rows.tolist(), table.generation)


READ_ONLY = """
import os, sys
from pathlib import Path
from whichlandmark.core.errors import GalleryError
from whichlandmark.gallery.sqlite.store import SqliteGallery
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
with SqliteGallery.open(Path(sys.argv[1])) as gallery:
    print(gallery.table().ids.tolist(), gallery.keypoints(["x"]))
    try:
        gallery.remove(["x"])
    except GalleryError as error:
        print(error)
"""


def test_a_gallery_in_a_read_only_folder_can_be_read() -> None:
    """Run as another user if the tests run as root, because root may write everywhere."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with SqliteGallery.create(folder / "gallery.sqlite", "fake-1", 4) as gallery:
            gallery.put([row("x", keypoints=b"k"), row("y")])
        folder.chmod(0o555)
        try:
            ran = subprocess.run(
                [sys.executable, "-c", READ_ONLY, folder / "gallery.sqlite"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        finally:
            folder.chmod(0o755)
    assert ran.stdout.splitlines()[:1] == ["['x', 'y'] {'x': b'k'}"], ran.stderr
    assert "may not be written to" in ran.stdout
