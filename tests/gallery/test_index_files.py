"""Index files: they follow every gallery change and are never used when damaged."""

from __future__ import annotations

import numpy as np
import pytest

from whichlandmark.core.errors import GalleryError
from whichlandmark.gallery.index import GalleryIndex, parts
from whichlandmark.gallery.index.exact import nearest
from whichlandmark.gallery.index.mapped import (
    BLOCK_BYTES,
    IndexFileError,
    JoinedRows,
    MappedRows,
    MappedTexts,
    write_column,
)
from whichlandmark.gallery.index.open import IndexNeeds, open_index_files, refresh
from whichlandmark.gallery.index.parts import read_manifest
from whichlandmark.gallery.index.projection import Projection
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
    truth, (index, search_rows) = GalleryIndex.of(gallery.table()), ready
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
    assert np.allclose(search_rows.vectors[:], turn(truth.vectors), atol=1e-3)
    assert np.allclose(search_rows.distractor_vectors[:], turn(truth.distractor_vectors), atol=1e-3)


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


def size(part):
    return part.columns["numbers"].shape[1]


def test_new_photos_go_into_the_delta_and_many_of_them_into_a_new_base(tmp_path, gallery):
    folder = tmp_path / "segments"
    first = refresh(folder, gallery, PLAIN).parts[0]
    sizes = []
    for number in range(1_000, 1_070):
        gallery.put(list(rows_of([number])))
        manifest = refresh(folder, gallery, PLAIN)
        sizes.append(tuple(map(size, manifest.parts)))
        named = {column.file for column in manifest.columns()}
        assert {path.name for path in folder.iterdir()} == named | {"manifest.json"}
        if len(sizes) == 60:
            assert manifest.parts[0] == first  # its files were not touched
    assert sizes[:66] == [(200, count) for count in range(1, 67)]
    assert sizes[66:] == [(267,), (267, 1), (267, 2), (267, 3)]  # a quarter of 267 is 66.75


def test_only_files_that_hold_removed_or_relabelled_photos_are_written_again(tmp_path, gallery):
    folder = tmp_path / "segments"
    refresh(folder, gallery, TURNED)
    gallery.put(list(rows_of(range(200, 210))))
    base, _ = refresh(folder, gallery, TURNED).parts
    gallery.remove(["id 201"])
    base_1, delta_1 = refresh(folder, gallery, TURNED).parts
    assert base_1 == base
    assert size(delta_1) == 9
    gallery.remove(["id 4"])
    base_2, delta_2 = refresh(folder, gallery, TURNED).parts
    assert delta_2 == delta_1
    assert size(base_2) == 199
    gallery.relabel({"id 7": "new"})  # leaves the base for the delta, with its row number
    base_3, delta_3 = refresh(folder, gallery, TURNED).parts
    assert (size(base_3), size(delta_3)) == (198, 10)
    gallery.remove([f"id {number}" for number in range(200, 210) if number != 201] + ["id 7"])
    assert refresh(folder, gallery, TURNED).parts == [base_3]
    assert_same(open_index_files(folder, gallery.state()), gallery, TURNING)


def test_columns_are_npy_files_that_numpy_reads(tmp_path, gallery):
    folder = tmp_path / "segments"
    (part,) = refresh(folder, gallery, TURNED).parts
    read = {name: np.load(folder / column.file) for name, column in part.columns.items()}
    table = gallery.table()
    order = np.lexsort((table.rows, table.landmarks == ""))
    assert read["numbers"][0].tolist() == table.rows[order].tolist()
    assert np.array_equal(read["vectors"], table.vectors[order])
    assert read["projected"].shape == (200, 8)
    texts = read["texts"].tobytes().decode()
    assert texts.startswith("landmark é 0")
    assert texts.endswith(f"/photos/{table.ids[order][-1].split()[1]}.jpg")


def test_files_of_earlier_versions_are_replaced(tmp_path, gallery, caplog):
    folder = tmp_path / "segments"
    folder.mkdir()
    (folder / "photos-0123456789abcdef.wlseg").write_bytes(b"rows")
    (folder / "manifest.json").write_text('{"format": 1, "sum": "", "parts": []}')
    with pytest.raises(IndexFileError, match="written by another version"):
        open_index_files(folder, gallery.state())
    assert_same(refreshed(folder, gallery), gallery)
    assert not list(folder.glob("*.wlseg"))
    assert "are made again" in caplog.text


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


@pytest.mark.parametrize("added", [45, 3])  # a delta with an inverted file, and one without
def test_inverted_files_of_base_and_delta_find_the_exact_neighbours(
    tmp_path, gallery, monkeypatch, added
):
    monkeypatch.setattr(parts, "MIN_ROWS_FOR_IVF", 30)
    folder = tmp_path / "segments"
    refresh(folder, gallery, TURNED)
    gallery.put(list(rows_of(range(200, 200 + added))))
    refresh(folder, gallery, TURNED)
    gallery.remove([f"id {number}" for number in range(0, 200, 17)])
    ready = refreshed(folder, gallery, TURNED)
    manifest = read_manifest(folder)
    assert [bool(part.effort) for part in manifest.parts] == [True, added == 45]
    queries = TURNING(np.stack([row.vector for row in rows_of(range(230, 300))]))
    searched = ready[1]
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
    # unchanged files are not written again
    assert turned.parts[0].columns["vectors"] == plain.parts[0].columns["vectors"]
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
                ready[1].candidate_source.candidates(np.ones((1, 8), np.float32), 5)
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
    before = every_file(folder)
    (folder / "vectors-0123456789abcdef.npy").write_bytes(b"whole")
    (folder / ".vectors-0123456789abcdef.npy.x1y2").write_bytes(b"half")
    (folder / ".manifest.json.x1y2").write_bytes(b"half")
    refresh(folder, gallery, PLAIN)
    assert every_file(folder) == before


@pytest.mark.parametrize("column", ["sum = 1", "landmark = 'x'"])
def test_a_damaged_gallery_writes_no_index_files(tmp_path, gallery, column):
    folder = tmp_path / "segments"
    refresh(folder, gallery, PLAIN)
    gallery.put(list(rows_of([700])))
    gallery._connection.execute(f"UPDATE photos SET {column} WHERE id = 'id 700'")
    with pytest.raises(GalleryError, match="damaged"):
        refresh(folder, gallery, PLAIN)
    assert open_index_files(folder, gallery.state()) is None


def test_columns_read_back_and_every_block_is_checked(tmp_path):
    big = np.random.default_rng(0).standard_normal((5_000, 24)).astype("<f4")  # 480,000 bytes
    column = write_column(tmp_path, "big", (big[i : i + 777] for i in range(0, 5_000, 777)), 5_000)
    rows = MappedRows(tmp_path, column).between(100, 4_000)
    mine = big[100:4_000]
    for key in (7, -1, slice(5, 2_000), slice(None, None, -3), [3, 3_899, 3],
                np.arange(3_900) % 11 == 0, np.array([[1, -2], [3, 4]])):  # fmt: skip
        assert np.array_equal(rows[key], mine[key])
    assert np.array_equal(np.load(tmp_path / column.file), big)
    none = write_column(tmp_path, "none", [np.empty((0, 3), np.int64)])
    assert MappedRows(tmp_path, none)[:].shape == (0, 3)
    path = tmp_path / column.file
    data = bytearray(path.read_bytes())
    data[3 * BLOCK_BYTES + 5] ^= 1
    path.write_bytes(data)
    flipped = MappedRows(tmp_path, column)
    assert np.array_equal(flipped[:2_000], big[:2_000])  # earlier blocks are intact
    with pytest.raises(IndexFileError, match="block 3"):
        flipped[2_100]
    data[3 * BLOCK_BYTES + 5] ^= 1
    data[20] ^= 1  # in the header, which is not believed
    path.write_bytes(data)
    assert np.array_equal(MappedRows(tmp_path, column)[3_000:], big[3_000:])
    with pytest.raises(IndexFileError, match="block 0"):
        MappedRows(tmp_path, column)[0]


def test_texts_read_back():
    words = ["a", "", "été", "z" * 500]
    texts = MappedTexts(*MappedTexts.arrays(words))
    assert texts[:].tolist() == words
    assert texts.between(1, 3)[1] == "été"
    many = MappedTexts(*MappedTexts.arrays(words * 100))
    assert many[:].tolist() == words * 100


def test_joined_columns_read_as_one_array():
    one, two = np.arange(12).reshape(4, 3), np.arange(100, 106).reshape(2, 3)
    place = np.array([0, 4, 1, 5, 2, 3])
    joined, truth = JoinedRows([one, two], place), np.concatenate([one, two])[place]
    for key in (2, slice(1, 5), [0, 5, 0], np.array([[1, 2], [3, 4]])):
        assert np.array_equal(joined[key], truth[key])
    assert joined.shape == (6, 3)
