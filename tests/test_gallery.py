"""The gallery file: what goes in comes out, whole transactions, clear refusals."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from whichlandmark.errors import BusyError, GalleryError
from whichlandmark.gallery import store
from whichlandmark.gallery.index import GalleryIndex
from whichlandmark.gallery.store import Gallery, GalleryRow


def row(name: str, landmark: str = "a", value: float = 0.5) -> GalleryRow:
    vector = np.full(4, value, dtype=np.float32)
    return GalleryRow(name, f"/photos/{name}.jpg", landmark, f"hash-{name}", "1:2", vector)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "g.wl" / "gallery.sqlite"


def test_round_trip_and_generation(path: Path) -> None:
    with Gallery.create(path, "fake-1", 4) as gallery:
        start = gallery.generation
        gallery.put([row("x"), row("y", "b", 0.25), row("z", "")])
        assert gallery.generation == start + 1
    with Gallery.open(path) as gallery:
        table = gallery.table()
        assert table.ids.tolist() == ["x", "y", "z"]
        assert table.landmarks.tolist() == ["a", "b", ""]
        assert table.vectors.dtype == np.float16
        assert table.vectors[1].tolist() == [0.25] * 4
        assert (gallery.embedder_id, gallery.dim, gallery.count()) == ("fake-1", 4, 3)


def test_the_same_id_is_replaced_in_place(path: Path) -> None:
    with Gallery.create(path, "fake-1", 4) as gallery:
        gallery.put([row("x"), row("y")])
        gallery.put([row("x", "c", 1.0)])
        assert gallery.table().ids.tolist() == ["x", "y"]
        assert gallery.table().landmarks.tolist() == ["c", "a"]


def test_relabel_needs_no_vector(path: Path) -> None:
    with Gallery.create(path, "fake-1", 4) as gallery:
        gallery.put([row("x"), row("y")])
        gallery.relabel({"y": ""})
        index = GalleryIndex.of(gallery.table())
    assert (index.ids.tolist(), index.bank_ids.tolist()) == (["x"], ["y"])


def test_a_failed_batch_leaves_nothing_behind(path: Path) -> None:
    with Gallery.create(path, "fake-1", 4) as gallery:
        before = gallery.generation
        wrong = GalleryRow("w", "w.jpg", "a", "h", "s", np.zeros(3, np.float32))
        with pytest.raises(GalleryError, match=r"holds \(4,\)"):
            gallery.put([row("x"), wrong])
        assert (gallery.count(), gallery.generation) == (0, before)


def test_another_embedder_is_refused(path: Path) -> None:
    with Gallery.create(path, "fake-1", 4) as gallery:
        gallery.require("fake-1")
        with pytest.raises(GalleryError, match=r"made by embedder 'fake-1', not by 'fake-2'"):
            gallery.require("fake-2")


def test_missing_damaged_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="no gallery there"):
        Gallery.open(tmp_path / "none.sqlite")
    (tmp_path / "text.sqlite").write_text("not a database, but long enough to look at " * 40)
    with pytest.raises(GalleryError, match="damaged or not a gallery"):
        Gallery.open(tmp_path / "text.sqlite")
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(GalleryError, match="not a gallery of format"):
        Gallery.open(tmp_path / "other.sqlite")


def test_a_cut_vector_is_found(path: Path) -> None:
    with Gallery.create(path, "fake-1", 4) as gallery:
        gallery.put([row("x"), row("y")])
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE photos SET vector = x'00' WHERE id = 'y'")
    raw.close()
    with Gallery.open(path) as gallery, pytest.raises(GalleryError, match="vector of photo 'y'"):
        gallery.table()


def test_a_second_writer_is_told_to_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.1)
    with Gallery.create(path, "fake-1", 4) as gallery:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError, match="another process is writing"):
            gallery.put([row("x")])
        other.execute("ROLLBACK")
        other.close()
        gallery.put([row("x")])
        assert gallery.count() == 1


def test_copy_of_a_gallery_in_memory(path: Path) -> None:
    with Gallery.create(None, "fake-1", 4) as gallery:
        gallery.put([row("x")])
        gallery.copy_to(path).close()
    with Gallery.open(path) as copied:
        assert copied.table().ids.tolist() == ["x"]
