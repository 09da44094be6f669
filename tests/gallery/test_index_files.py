"""Index files: they follow every gallery change and are never used when damaged."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.core.errors import GalleryError
from whichlandmark.gallery.index import GalleryIndex, parts
from whichlandmark.gallery.index.exact import nearest
from whichlandmark.gallery.index.mapped import (
    BLOCK_BYTES,
    BlockFile,
    IndexFileError,
    JoinedRows,
    MappedRows,
    MappedTexts,
    StreamedArray,
    text_arrays,
    write_arrays,
)
from whichlandmark.gallery.index.open import open_index_files
from whichlandmark.gallery.index.parts import read_manifest
from whichlandmark.gallery.index.projection import Projection
from whichlandmark.gallery.index.refresh import IndexNeeds, refresh
from whichlandmark.gallery.records import GalleryRow, LandmarkRecord
from whichlandmark.gallery.sqlite.store import SqliteGallery

D = 16
TURNING = Projection(np.zeros(D, np.float32), np.eye(D, dtype=np.float32)[::-1][:8].copy())
PLAIN = IndexNeeds(min_photos=10)
TURNED = IndexNeeds(TURNING, min_photos=10)


def rows_of(numbers, seed=0):
    """Photos by number: landmark number % 7, and every fifth a distractor."""
    for number in numbers:
        centre = np.random.default_rng(number % 7).standard_normal(D)
        vector = centre + 0.4 * np.random.default_rng((seed, number)).standard_normal(D)
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        landmark = "" if number % 5 == 0 else f"landmark é {number % 7}"
        yield GalleryRow(f"id {number}", f"/photos/{number}.jpg", landmark, f"h{number}", "s",
                         vector)  # fmt: skip


@pytest.fixture
def gallery(tmp_path):
    with SqliteGallery.create(tmp_path / "gallery.sqlite", "made", D) as gallery:
        gallery.put(list(rows_of(range(200))))
        yield gallery


def assert_same(ready, gallery, projection=None):
    """The opened arrays equal those read from the gallery."""
    truth, index = GalleryIndex.of(gallery.table()), ready.index
    for name in (
        "names",
        "codes",
        "ids",
        "paths",
        "vectors",
        "distractor_ids",
        "distractor_vectors",
        "distractor_paths",
    ):
        assert np.array_equal(getattr(index, name)[:], getattr(truth, name)), name
    turn = projection or (lambda rows: rows.astype(np.float32))
    assert np.allclose(ready.search_rows.vectors[:], turn(truth.vectors), atol=1e-3)
    assert np.allclose(
        ready.search_rows.distractor_vectors[:], turn(truth.distractor_vectors), atol=1e-3
    )


def refreshed(folder, gallery, wanted=PLAIN):
    refresh(folder, gallery, wanted)
    ready = open_index_files(folder, gallery.state())
    assert ready is not None
    return ready


@pytest.mark.parametrize(("wanted", "turning"), [(PLAIN, None), (TURNED, TURNING)])
def test_index_files_follow_every_gallery_change(tmp_path, gallery, wanted, turning):
    folder = tmp_path / "segments"
    assert_same(refreshed(folder, gallery, wanted), gallery, turning)
    changes = [
        lambda: gallery.put(list(rows_of(range(200, 210)))),
        lambda: gallery.remove(["id 3", "id 5", "id 205"]),
        lambda: gallery.relabel({"id 8": "", "id 10": "new", "id 201": "new"}),
        lambda: gallery.put(list(rows_of([20, 21, 211], seed=9))),  # replaced photos and a new one
        lambda: gallery.describe([LandmarkRecord("new", title="New")]),
        lambda: gallery.put(
            list(rows_of(range(300, 500)))
        ),  # so many that all are written into one part
        lambda: gallery.remove([f"id {n}" for n in range(300, 480)]),
    ]
    for change in changes:
        change()
        assert (
            open_index_files(folder, gallery.state()) is None
        )  # because the files are of an older state
        assert_same(refreshed(folder, gallery, wanted), gallery, turning)


def test_new_photos_go_into_a_small_part_and_parts_are_merged(tmp_path, gallery):
    folder = tmp_path / "segments"
    first = refresh(folder, gallery, PLAIN).parts[0]
    for number in range(1_000, 1_006):
        gallery.put(list(rows_of([number])))
        manifest = refresh(folder, gallery, PLAIN)
    assert manifest.parts[0] == first  # its files were not touched
    assert [p.landmarks + p.distractors for p in manifest.parts] == [200, 1, 1, 1, 1, 1, 1]
    for number in range(1_006, 1_020):
        gallery.put(list(rows_of([number])))
        manifest = refresh(folder, gallery, PLAIN)
        assert len(manifest.parts) <= 8
    named = {file.name for part in manifest.parts for file in part.files()}
    assert {path.name for path in folder.iterdir()} == named | {"manifest.json"}


@pytest.mark.parametrize("change", ["remove", "relabel", "replace"])
def test_removed_photos_leave_no_bytes_in_the_index_files(tmp_path, gallery, change):
    folder = tmp_path / "segments"
    refresh(folder, gallery, TURNED)
    gallery.put([GalleryRow("secret id", "/secret path.jpg", "secret place", "h", "s",
                            np.full(D, 0.25, np.float32))])  # fmt: skip
    refresh(folder, gallery, TURNED)
    held = b"".join(path.read_bytes() for path in folder.iterdir())
    vector = np.full(D, 0.25, "<f2").tobytes()
    words = (b"secret id", b"/secret path.jpg", b"secret place", vector)
    assert all(word in held for word in words)
    if change == "remove":
        gallery.remove(["secret id"])
    elif change == "relabel":
        gallery.relabel({"secret id": "known"})
    else:
        gallery.put([GalleryRow("secret id", "/b.jpg", "c", "h", "s", np.eye(D)[0])])
    refresh(folder, gallery, TURNED)
    held = b"".join(path.read_bytes() for path in folder.iterdir())
    assert b"secret place" not in held
    assert (vector in held) == (change == "relabel")
    assert (b"/secret path.jpg" in held) == (change == "relabel")


def test_inverted_files_of_several_parts_find_the_exact_neighbours(tmp_path, gallery, monkeypatch):
    monkeypatch.setattr(parts, "MIN_ROWS_FOR_IVF", 30)
    folder = tmp_path / "segments"
    refresh(folder, gallery, TURNED)
    gallery.put(list(rows_of(range(200, 240))))  # a part with an inverted file
    refresh(folder, gallery, TURNED)
    gallery.remove([f"id {number}" for number in range(0, 200, 17)])
    gallery.put(list(rows_of([240, 241, 242])))  # a part without
    ready = refreshed(folder, gallery, TURNED)
    manifest = read_manifest(folder)
    assert [part.cells is not None for part in manifest.parts] == [True, True, False]
    queries = TURNING(np.stack([row.vector for row in rows_of(range(230, 300))]))
    searched = ready.search_rows
    for vectors, source in (
        (searched.vectors, searched.candidate_source),
        (searched.distractor_vectors, searched.distractor_source),
    ):
        truth = nearest(queries, np.asarray(vectors), 8)
        found = nearest(queries, vectors, 8, source=source)
        hit = (truth.rows[:, :, None] == found.rows[:, None, :]).any(axis=2)
        assert hit.mean() > 0.95
        assert (np.sort(found.rows, axis=1)[:, 1:] != np.sort(found.rows, axis=1)[:, :-1]).all()


def test_a_small_gallery_has_no_index_files(tmp_path, gallery):
    folder = tmp_path / "segments"
    refresh(folder, gallery, PLAIN)
    assert refresh(folder, gallery, IndexNeeds(min_photos=1_000)) is None
    assert not folder.exists()
    assert open_index_files(folder, gallery.state()) is None


def test_another_projection_rewrites_the_vectors(tmp_path, gallery):
    folder = tmp_path / "segments"
    plain = refresh(folder, gallery, PLAIN)
    turned = refresh(folder, gallery, TURNED)
    assert turned.parts[0].photos == plain.parts[0].photos  # unchanged files are not written again
    assert turned.key != plain.key
    assert_same(open_index_files(folder, gallery.state()), gallery, TURNING)


def every_file(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "swap"])
def test_damage_is_always_detected_and_refresh_repairs_it(tmp_path, gallery, monkeypatch, damage):
    monkeypatch.setattr(parts, "MIN_ROWS_FOR_IVF", 30)
    folder = tmp_path / "segments"
    refresh(folder, gallery, TURNED)
    rng, messages = np.random.default_rng(0), []
    for name in every_file(folder):
        whole = {path.name: path.read_bytes() for path in folder.iterdir()}
        data = bytearray(whole[name])
        if damage == "flip":
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        elif damage == "cut":
            data = data[: rng.integers(len(data))]
        elif damage == "swap":  # an intact file, but of another part
            data = next(other for key, other in whole.items() if key != name)
        (folder / name).write_bytes(data)
        if damage == "delete":
            (folder / name).unlink()
        try:
            ready = open_index_files(folder, gallery.state())
            if ready is not None:  # other data is verified when it is read
                assert_same(ready, gallery, TURNING)
                ready.search_rows.candidate_source.candidates(np.ones((1, 8), np.float32), 5)
        except IndexFileError as error:
            messages.append(str(error))
        assert_same(refreshed(folder, gallery, TURNED), gallery, TURNING)
        for path in folder.iterdir():
            path.unlink()
        for key, one in whole.items():
            (folder / key).write_bytes(one)
    assert all(str(folder) in text for text in messages)
    assert len(messages) >= 3  # a flip in the padding is no damage


def test_a_file_left_by_an_interrupted_run_is_cleared_away(tmp_path, gallery):
    folder = tmp_path / "segments"
    refresh(folder, gallery, PLAIN)
    (folder / "photos-0123456789abcdef.wlseg").write_bytes(b"half")
    refresh(folder, gallery, PLAIN)
    assert len(every_file(folder)) == 2


@pytest.mark.parametrize("column", ["sum = 1", "landmark = 'x'"])
def test_a_damaged_gallery_writes_no_index_files(tmp_path, gallery, column):
    folder = tmp_path / "segments"
    refresh(folder, gallery, PLAIN)
    gallery.put(list(rows_of([700])))
    gallery._connection.execute(f"UPDATE photos SET {column} WHERE id = 'id 700'")
    with pytest.raises(GalleryError, match="damaged"):
        refresh(folder, gallery, PLAIN)
    assert open_index_files(folder, gallery.state()) is None


def test_arrays_read_back_and_every_block_is_checked(tmp_path):
    big = np.random.default_rng(0).standard_normal((5_000, 24)).astype("<f4")  # 480,000 bytes
    seal = write_arrays(tmp_path / "a", {
        "big": StreamedArray("<f4", big.shape, (big[i : i + 777] for i in range(0, 5_000, 777))),
        "none": np.empty((0, 3), np.int64), **text_arrays("words", ["a", "", "été", "z" * 500]),
    })  # fmt: skip
    blocks = BlockFile(tmp_path / "a", seal)
    rows = MappedRows(blocks, "big", 100, 4_000)
    mine = big[100:4_000]
    for key in (7, -1, slice(5, 2_000), slice(None, None, -3), [3, 3_899, 3], np.eye(4) > 0,
                np.array([[1, -2], [3, 4]])):  # fmt: skip
        if isinstance(key, np.ndarray) and key.dtype == bool:
            key = np.arange(3_900) % 11 == 0
        assert np.array_equal(rows[key], mine[key])
    assert blocks.whole("none").shape == (0, 3)
    assert MappedTexts(blocks, "words")[:].tolist() == ["a", "", "été", "z" * 500]
    assert MappedTexts(blocks, "words", 1, 3)[1] == "été"
    data = bytearray((tmp_path / "a").read_bytes())
    data[BLOCK_BYTES + 3 * BLOCK_BYTES + 5] ^= 1  # in the fourth block of `big`
    (tmp_path / "b").write_bytes(data)
    flipped = MappedRows(BlockFile(tmp_path / "b", seal), "big")
    assert np.array_equal(flipped[:2_000], big[:2_000])  # earlier blocks are intact
    with pytest.raises(IndexFileError, match="block 3"):
        flipped[2_100]


def test_joined_columns_read_as_one_array():
    one, two = np.arange(12).reshape(4, 3), np.arange(100, 106).reshape(2, 3)
    place = np.array([0, 4, 1, 5, 2, 3])
    joined, truth = JoinedRows([one, two], place), np.concatenate([one, two])[place]
    for key in (2, slice(1, 5), [0, 5, 0], np.array([[1, 2], [3, 4]])):
        assert np.array_equal(joined[key], truth[key])
    assert joined.shape == (6, 3)
