"""Tests that every gallery back end must pass: SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.galleries import KINDS, BackEnd, row
from tests.support.random_vectors import RandomVectors, long_tail
from whichlandmark.core.errors import DataError, GalleryError
from whichlandmark.gallery.base import Gallery
from whichlandmark.gallery.checksums import add_checksum, blob_sum, photo_sum
from whichlandmark.gallery.records import Credit, GalleryRow, LandmarkRecord
from whichlandmark.gallery.sqlite.store import SqliteGallery


@pytest.fixture(params=KINDS)
def back_end(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BackEnd]:
    with KINDS[request.param](tmp_path) as gallery:
        yield gallery


@pytest.fixture
def gallery(back_end: BackEnd) -> Iterator[Gallery]:
    with back_end.create("fake-1", 4) as gallery:
        yield gallery


def content(gallery: Gallery) -> dict[str, object]:
    """All data of a gallery, for comparison; without `stale`, which differs between engines."""
    table, labels = gallery.table(), gallery.labels()
    ids = table.ids.tolist()
    rows, sums = gallery.sums()
    return {
        "state": gallery.state()._replace(stale=0),
        "ids": ids, "paths": table.paths.tolist(), "landmarks": table.landmarks.tolist(),
        "hashes": table.hashes.tolist(), "vectors": table.vectors.tobytes(),
        "rows": table.rows.tolist(), "generation": table.generation,
        "sums": (rows.tolist(), sums.tolist()), "stamps": gallery.stamps(),
        "labels": (labels.rows.tolist(), labels.codes.tolist(), labels.names, labels.generation),
        "keypoints": gallery.keypoints(ids), "thumbnails": gallery.thumbnails(ids),
        "looks": gallery.fingerprints(), "credits": gallery.credits(ids),
        "records": gallery.landmarks(), "count": gallery.count(), "faults": gallery.faults(),
    }  # fmt: skip


def full(name: str, landmark: str = "a", *, turn: int = 0) -> GalleryRow:
    """A photo with all optional fields."""
    vector = np.roll(np.array([0.8, 0.6, 0.0, -0.0], np.float32), turn)
    return GalleryRow(
        name, f"/{name}.jpg", landmark, f"h{name}", "7:8", vector, keypoints=b"\x00k" + bytes(9),
        fingerprint=b"l" + name.encode(), thumbnail=b"\xff\xd8" + bytes(5000), author="Ann",
        licence="CC0",
    )  # fmt: skip


def test_an_empty_gallery_can_be_read_and_searched(gallery: Gallery) -> None:
    assert (gallery.embedder_id, gallery.dim, gallery.generation, gallery.count()) == (
        "fake-1", 4, gallery.state().generation, 0
    )  # fmt: skip
    table, labels = gallery.table(), gallery.labels()
    assert (table.vectors.shape, table.vectors.dtype) == ((0, 4), np.float16)
    assert (len(table.ids), len(table.rows), table.generation) == (0, 0, gallery.generation)
    assert (len(labels.rows), len(labels.codes), labels.names) == (0, 0, [])
    assert (gallery.stamps(), gallery.fingerprints(), gallery.landmarks()) == ({}, {}, {})
    assert (gallery.rows_after(-1, 10), gallery.faults()) == ([], [])
    found = gallery.nearest(np.eye(2, 4, dtype=np.float32), 3)
    assert (found.rows.tolist(), found.similarity.tolist()) == ([[-1] * 3] * 2, [[-np.inf] * 3] * 2)
    rows, sums = gallery.sums()
    assert (rows.dtype, sums.dtype, len(rows), len(sums)) == (np.int64, np.int64, 0, 0)
    assert gallery.ids_of(np.empty(0, np.int64)).tolist() == []
    assert gallery.vectors_of(np.empty(0, np.int64)).shape == (0, 4)


def test_rows_read_back_bit_for_bit(gallery: Gallery) -> None:
    odd = np.array([-0.0, 6e-8, 65504, -1 / 3], np.float32)  # a denormal and the largest of float16
    strange = GalleryRow("ünï/'\"\\\t塔", "/a b\n.jpg", "l'État 塔", "", "", odd)
    start = gallery.generation
    gallery.put([full("x"), strange, full("z", "")])
    assert gallery.generation == start + 1
    table = gallery.table()
    assert table.ids.tolist() == ["x", strange.id, "z"]
    assert table.paths.tolist() == ["/x.jpg", strange.path, "/z.jpg"]
    assert table.landmarks.tolist() == ["a", strange.landmark, ""]
    assert table.hashes.tolist() == ["hx", "", "hz"]
    assert table.vectors[1].tobytes() == odd.astype("<f2").tobytes()
    assert table.vectors[0].tobytes() == full("x").vector.astype("<f2").tobytes()
    assert (table.rows.tolist(), table.generation) == ([1, 2, 3], start + 1)
    assert gallery.keypoints(["z", "nobody", strange.id]) == {"z": full("z").keypoints}
    assert gallery.thumbnails(["x"]) == {"x": full("x").thumbnail}
    assert (
        gallery.fingerprints()
        == {"x": b"lx", "z": b"lz"}
        == gallery.fingerprints(["x", "z", strange.id])
    )
    assert gallery.credits(["x", strange.id, "nobody"]) == {
        "x": Credit("Ann", "CC0"), strange.id: Credit("", "")
    }  # fmt: skip
    assert gallery.stamps(["x", "nobody"]) == {"x": ("/x.jpg", "7:8", "a")}
    bare = gallery.table(vectors=False)
    assert (bare.vectors.shape, bare.vectors.dtype) == ((0, 4), np.float16)
    whole = gallery.table()
    for column in ("ids", "paths", "landmarks", "hashes", "rows"):
        assert getattr(bare, column).tolist() == getattr(whole, column).tolist()


def test_row_checksums_equal_those_computed_from_the_content(gallery: Gallery) -> None:
    """Compared with checksums computed from the stored photos."""
    gallery.put([full("x"), full("y", "b", turn=1), row("z", "")])
    gallery.remove(["y"])
    expected = []
    for number, one in ((1, full("x")), (3, row("z", ""))):
        blobs = (one.vector.astype("<f2").tobytes(), one.keypoints, one.fingerprint, one.thumbnail)
        expected.append(photo_sum((
            number, one.id, one.path, one.landmark, one.hash, one.stamp, one.author, one.licence,
            one.licence_url, one.source, *(blob_sum(blob) if blob else None for blob in blobs),
        )))  # fmt: skip
    rows, sums = gallery.sums()
    assert (rows.tolist(), sums.tolist()) == ([1, 3], expected)
    state = gallery.state()
    assert state.photo_digest == add_checksum(sum(expected), 0)
    assert (state.photos, state.next_row, state.generation) == (2, 4, gallery.generation)


def test_photos_are_found_by_the_hash_of_their_bytes(gallery: Gallery) -> None:
    gallery.put([full("x"), replace(full("y", "b"), hash="hx"), full("z")])
    assert gallery.with_hashes(["hx", "nothing", "hz", "\ud800", ""]) == {
        "hx": ["x", "y"], "hz": ["z"]
    }  # fmt: skip
    gallery.remove(["x"])
    assert gallery.with_hashes(["hx"]) == {"hx": ["y"]}
    assert gallery.with_hashes([]) == {}


def test_credits_have_a_source(gallery: Gallery) -> None:
    gallery.put([replace(full("x"), source="https://example.org/x"), full("y")])
    assert gallery.credits(["x"]) == {"x": Credit("Ann", "CC0", source="https://example.org/x")}
    gallery.credit({"y": Credit("", "", source="http://example.org/y")})
    assert gallery.rows_after(1, 1)[0][1].source == "http://example.org/y"
    with pytest.raises(DataError, match=r"source .javascript:alert.*expected a web address"):
        gallery.credit({"y": Credit("", "", source="javascript:alert(1)")})
    gallery.describe([LandmarkRecord("a", "A", source="https://example.org/a")])
    assert gallery.landmarks()["a"].source == "https://example.org/a"
    assert gallery.faults() == []


def test_credits_have_the_address_of_the_licence(gallery: Gallery) -> None:
    by, source = "https://example.org/by/4.0/", "https://example.org/x"
    whole = Credit("Ann", "CC BY 4.0", by, source)
    gallery.put([replace(full("x"), **whole._asdict()), full("y"), row("z")])
    assert gallery.credits(["x"]) == {"x": whole}
    gallery.credit({"y": Credit("", "", licence_url=by), "z": whole})
    assert gallery.credits(["y", "z"]) == {"y": Credit("", "", by, ""), "z": whole}
    gallery.relabel({"z": "b"})
    assert gallery.rows_after(2, 1)[0][1].licence_url == by
    for bad in ("javascript:alert(1)", "//example.org/by", "CC BY"):
        with pytest.raises(DataError, match=r"licence_url .*expected a web address"):
            gallery.credit({"y": Credit("", "", licence_url=bad)})
    with pytest.raises(DataError, match="licence_url of 4020 characters"):
        gallery.credit({"y": Credit("", "", licence_url="https://example.org/" + "a" * 4000)})
    gallery.credit({"x": Credit("Ann", "CC0", source=source)})
    assert gallery.credits(["x"])["x"].licence_url == ""
    assert gallery.faults() == []


def test_photos_without_the_address_of_a_licence_keep_their_checksums() -> None:
    """Fixed values, of the galleries that had no such address, or neither that nor a source."""
    texts, sums = (1, "x", "/x.jpg", "a", "h", "7:8", "Ann", "CC0"), (5, None, None, -6)
    bare, sourced = -178975388635503490, 2897790250061597858
    assert photo_sum((*texts, "", "", *sums)) == bare
    assert photo_sum((*texts, "", "https://e.org/x", *sums)) == sourced
    others = {
        photo_sum((*texts, "https://e.org/x", "", *sums)),
        photo_sum((*texts, "https://e.org/x", "https://e.org/x", *sums)),
        photo_sum((*texts, "https://e.org/y", "https://e.org/x", *sums)),
        photo_sum((*texts, "https://e.org/x", "https://e.org/y", *sums)),
    }
    assert len(others | {bare, sourced}) == 6


def test_the_same_id_is_replaced_and_keeps_its_number(gallery: Gallery) -> None:
    gallery.put([full("x"), full("y")])
    gallery.put([row("x", "c", [0.0, 1.0, 0.0, 0.0]), row("new")])
    table = gallery.table()
    assert table.ids.tolist() == ["x", "y", "new"]
    assert (table.rows.tolist(), table.landmarks.tolist()) == ([1, 2, 3], ["c", "a", "a"])
    assert table.vectors[0].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert (gallery.keypoints(["x"]), gallery.fingerprints(["x"]), gallery.thumbnails(["x"])) == (
        {}, {}, {}
    )  # fmt: skip
    gallery.put([row("twice", value=0.25), row("twice", value=0.5)])  # the last one is stored
    assert gallery.table(after=3).vectors.tolist() == [[0.5] * 4]
    assert gallery.faults() == []


def test_row_numbers_are_never_used_again(gallery: Gallery) -> None:
    gallery.put([row("x"), row("y"), row("z")])
    assert gallery.remove(["z", "y"]) == 2
    gallery.put([row("z")])
    table = gallery.table()
    assert dict(zip(table.ids, table.rows, strict=True)) == {"x": 1, "z": 4}
    assert gallery.remove([]) == 0


def test_every_change_raises_the_generation_by_one(gallery: Gallery) -> None:
    changes: list[Callable[[], object]] = [
        lambda: gallery.put([row("x"), row("y")]),
        lambda: gallery.relabel({"x": "b"}),
        lambda: gallery.describe([LandmarkRecord("b", "B")]),
        lambda: gallery.credit({"x": Credit("Ann", "")}),
        lambda: gallery.remove(["x"]),
        lambda: gallery.put([]),
    ]
    for change in changes:
        before = gallery.generation
        change()
        assert gallery.generation == before + 1


def test_relabeling_the_last_photo_moves_the_landmark_record(gallery: Gallery) -> None:
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
    gallery.relabel({"x": "", "y": ""})  # distractors have no record
    assert gallery.landmarks() == {}
    gallery.put([row("v", "d")])
    gallery.describe([LandmarkRecord("d", "D")])
    gallery.put([row("v", "e")])  # replaced: the record is deleted, not moved
    assert gallery.landmarks() == {}
    assert gallery.faults() == []


def test_records_and_credits_read_back(gallery: Gallery) -> None:
    tower = LandmarkRecord("b", "The Tower", {"fr": "La Tour", "zh": "塔"}, "Q243", 48.858, 2.294)
    gallery.put([row("x"), row("y", "b")])
    gallery.describe([LandmarkRecord("b", "to be replaced"), LandmarkRecord("a")])
    gallery.describe([tower])
    assert gallery.landmarks() == {"b": tower, "a": LandmarkRecord("a")}
    there = replace(tower, city="Paris, 7ᵉ", country="France", country_code="FR")
    gallery.describe([there])
    assert gallery.landmarks()["b"] == there
    assert gallery.state().landmarks == 2
    before = gallery.sums()[1][0]
    gallery.credit({"y": Credit("Bea", "CC BY 4.0")})
    assert gallery.credits(["x", "y"]) == {"x": Credit("", ""), "y": Credit("Bea", "CC BY 4.0")}
    assert gallery.sums()[1][0] == before
    assert gallery.faults() == []


@pytest.mark.parametrize("change", ["remove", "relabel", "credit"])
def test_unknown_ids_are_named_with_the_nearest(gallery: Gallery, change: str) -> None:
    calls: dict[str, Callable[[], object]] = {
        "remove": lambda: gallery.remove(["eiffel/1.jpg", "eifel/2.jpg"]),
        "relabel": lambda: gallery.relabel({"eiffel/1.jpg": "b", "eifel/2.jpg": "b"}),
        "credit": lambda: gallery.credit({"eiffel/1.jpg": Credit("A", ""),
                                          "eifel/2.jpg": Credit("A", "")}),
    }  # fmt: skip
    gallery.put([row("eiffel/1.jpg"), row("eiffel/2.jpg")])
    before = content(gallery)
    with pytest.raises(DataError, match=r"'eifel/2.jpg' \(did you mean 'eiffel/2.jpg'\?\)"):
        calls[change]()
    assert content(gallery) == before


BAD_ROWS: list[tuple[GalleryRow, type[Exception], str]] = [
    (row(""), DataError, "neither may be empty"),
    (row("x\0y"), DataError, "zero byte"),
    (row("x\udcff"), DataError, "not valid Unicode"),
    (row("x", "l" * 1001), DataError, "landmark of 1001 characters; at most 1000"),
    (row("x", author="a" * 4001), DataError, "author of 4001 characters"),
    (row("x", thumbnail=bytes(16_000_001)), DataError, "thumbnail of 16000001 bytes"),
    (row("x", value=float("nan")), GalleryError, "not finite"),
    (row("x", value=float("inf")), GalleryError, "not finite"),
    (row("x", value=70000.0), GalleryError, "not finite"),
    (GalleryRow("w", "w", "a", "h", "s", np.zeros(3, np.float32)), GalleryError, r"holds \(4,\)"),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_a_failed_batch_changes_nothing(
    gallery: Gallery, bad: GalleryRow, error: type[Exception], message: str
) -> None:
    gallery.put([full("x"), full("y")])
    before = content(gallery)
    with pytest.raises(error, match=message):
        gallery.put([row("good"), row("y", "other"), bad])
    assert content(gallery) == before
    gallery.put([row("good")])  # the gallery is still usable
    assert gallery.count() == 3


def test_bad_labels_and_credits_change_nothing(gallery: Gallery) -> None:
    gallery.put([row("x"), row("y")])
    before = content(gallery)
    with pytest.raises(DataError, match="landmark of 1001"):
        gallery.relabel({"x": "b", "y": "l" * 1001})
    with pytest.raises(DataError, match="zero byte"):
        gallery.credit({"x": Credit("A", ""), "y": Credit("\0", "")})
    assert content(gallery) == before


def test_names_of_maximum_length_fit(gallery: Gallery) -> None:
    """1,000 different characters of 4 bytes each: too long for some engines' indexes."""
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, rng.integers(0x1F300, 0x1F5FF, 1000))) for _ in range(3)]
    half = np.full(4, 0.5, np.float32)
    near = [word[:999] + "!" for word in words]
    gallery.put(
        [
            GalleryRow(words[0], "p", words[1], "", "", half),
            GalleryRow(near[0], "p", near[1], "", "", half),
        ]
    )
    gallery.describe([LandmarkRecord(words[1], "long")])
    gallery.relabel({words[0]: words[2]})
    assert gallery.table().landmarks.tolist() == [words[2], near[1]]
    assert set(gallery.landmarks()) == {words[2]}
    found = gallery.nearest(half[None], 2, landmarks=[words[2]])
    assert found.rows.tolist() == [[1, -1]]


def test_another_embedder_is_refused(gallery: Gallery) -> None:
    gallery.require("fake-1")
    with pytest.raises(GalleryError, match=r"made by embedder 'fake-1', not by 'fake-2'"):
        gallery.require("fake-2")


def test_a_second_gallery_of_the_same_name_is_refused(back_end: BackEnd) -> None:
    with back_end.create("fake-1", 4) as gallery:
        if back_end.reopen is None:
            return
        gallery.put([row("x")])
        with pytest.raises(GalleryError, match="already"):
            back_end.create("fake-2", 4)
        assert (gallery.count(), gallery.embedder_id) == (1, "fake-1")


def test_two_openers_see_each_others_changes(back_end: BackEnd) -> None:
    with back_end.create("fake-1", 4) as one:
        if back_end.reopen is None:
            pytest.skip("a gallery in memory is opened once")
        with back_end.reopen() as two:
            one.put([full("x")])
            two.put([full("y", "b")])
            assert one.table().ids.tolist() == two.table().ids.tolist() == ["x", "y"]
            two.relabel({"x": "c"})
            assert one.labels().names == ["b", "c"]
            one.remove(["y"])
            assert content(one) == content(two)
            assert two.count() == 1
        with back_end.reopen() as three:
            assert content(three) == content(one)


def test_tables_can_be_read_from_a_row_number_on(gallery: Gallery) -> None:
    photos = [full(f"p{i}", f"l{i % 3}" if i % 3 else "", turn=i) for i in range(9)]
    gallery.put(photos)
    gallery.remove(["p3"])  # row 4
    table = gallery.table(after=5)
    assert (table.ids.tolist(), table.rows.tolist()) == (["p5", "p6", "p7", "p8"], [6, 7, 8, 9])
    assert table.vectors.tobytes() == b"".join(
        p.vector.astype("<f2").tobytes() for p in photos[5:]
    )  # fmt: skip
    assert gallery.table(after=9).vectors.shape == (0, 4)
    labels = gallery.labels()
    assert (labels.rows.tolist(), labels.names) == ([1, 2, 3, 5, 6, 7, 8, 9], ["l1", "l2"])
    assert labels.codes.tolist() == [-1, 0, 1, 0, 1, -1, 0, 1]
    assert (labels.rows.dtype, labels.codes.dtype) == (np.int64, np.int32)
    rows = np.array([9, 1, 9, 5])
    assert gallery.ids_of(rows).tolist() == ["p8", "p0", "p8", "p4"]
    vectors = gallery.vectors_of(rows)
    assert vectors.dtype == np.float16
    assert vectors.tobytes() == b"".join(
        photos[i].vector.astype("<f2").tobytes() for i in (8, 0, 8, 4)
    )  # fmt: skip
    for ask in (gallery.ids_of, gallery.vectors_of):
        with pytest.raises(GalleryError, match="4"):
            ask(np.array([1, 4]))


def test_complete_rows_are_read_for_copying(gallery: Gallery, tmp_path: Path) -> None:
    gallery.put([full(f"p{i}", f"l{i % 3}", turn=i) for i in range(7)] + [row("bare", "")])
    gallery.remove(["p2"])
    copied: list[tuple[int, GalleryRow]] = []
    while part := gallery.rows_after(copied[-1][0] if copied else -1, 3):
        copied += part
    assert [number for number, _ in copied] == [1, 2, 4, 5, 6, 7, 8]
    for number, photo in copied:
        original = row("bare", "") if photo.id == "bare" else full(
            photo.id, f"l{(number - 1) % 3}", turn=number - 1
        )  # fmt: skip
        assert photo.vector.dtype == np.float32
        assert photo.vector.tolist() == original.vector.astype(np.float16).tolist()
        for name in ("id", "path", "landmark", "hash", "stamp", "keypoints", "fingerprint",
                     "thumbnail", "author", "licence"):  # fmt: skip
            assert getattr(photo, name) == getattr(original, name)
    with SqliteGallery.create(tmp_path / "copy.sqlite", "fake-1", 4) as other:
        other.put([photo for _, photo in copied])
        ours, theirs = gallery.table(), other.table()
        assert ours.vectors.tobytes() == theirs.vectors.tobytes()
        assert ours.ids.tolist() == theirs.ids.tolist()


def test_damage_is_detected_and_never_returned(back_end: BackEnd) -> None:
    with back_end.create("fake-1", 4) as gallery:
        gallery.put([row("x"), row("y", "b"), row("z", value=[1.0, 0.0, 0.0, 0.0])])
        assert gallery.faults() == []
        back_end.corrupt(gallery, "z")
        assert any("'z'" in line and "vector" in line for line in gallery.faults())
        with pytest.raises(GalleryError, match=r"damaged.*'z'"):
            gallery.table()
        with pytest.raises(GalleryError, match=r"damaged.*'z'"):
            gallery.nearest(np.eye(1, 4, dtype=np.float32), 3)
        gallery.put([row("z")])  # stored again
        assert gallery.faults() == []


def slow_nearest(
    gallery: Gallery, query: np.ndarray, k: int, wanted: Callable[[str], bool]
) -> list[tuple[int, float]]:
    """(row number, cosine) of the k best, computed one photo at a time in float64."""
    table = gallery.table()
    scores = [
        (-float(np.dot(vector.astype(np.float64), query.astype(np.float64))), int(number))
        for number, landmark, vector in zip(table.rows, table.landmarks, table.vectors, strict=True)
        if wanted(landmark)
    ]
    return [(number, -score) for score, number in sorted(scores)[:k]]


def random_photos(count: int, dim: int, *, seed: int = 0) -> tuple[list[GalleryRow], RandomVectors]:
    """Photos of landmarks l0, l1, …, a tenth of them distractors."""
    codes = long_tail(count, max(4, count // 12), seed)
    vectors = RandomVectors(int(codes.max()) + 1, dim, seed=seed)
    rows = vectors.around(codes, seed + 7)
    return [
        GalleryRow(f"p{i}", f"/p{i}.jpg", "" if i % 10 == 3 else f"l{code}", "", "", vector)
        for i, (code, vector) in enumerate(zip(codes, rows, strict=True))
    ], vectors


@pytest.mark.parametrize(
    "where", ["landmarks", "distractors", "some", "one", "distractors and some"]
)
def test_nearest_equals_a_slow_search(back_end: BackEnd, where: str) -> None:
    photos, vectors = random_photos(150, 12)
    queries = vectors.around(np.arange(5), 99)
    with back_end.create("fake-1", 12) as gallery:
        gallery.put(photos)
        gallery.remove(["p5", "p40"])
        gallery.relabel({"p6": "", "p3": "l1"})
        chosen = {
            "some": ["l1", "l2", "nowhere"],
            "one": ["l3"],
            "distractors and some": ["", "l1"],
        }
        names = chosen.get(where)
        distractors = where in ("distractors", "distractors and some")
        found = gallery.nearest(queries, 9, distractors=distractors, landmarks=names)
        for at, query in enumerate(queries):
            expected = slow_nearest(
                gallery, query, 9,
                lambda name: (name == "") == distractors and (names is None or name in names),
            )  # fmt: skip
            short = 9 - len(expected)
            assert found.rows[at].tolist() == [number for number, _ in expected] + [-1] * short
            got = found.similarity[at][: len(expected)]
            assert got == pytest.approx([score for _, score in expected], abs=2e-6)
            assert found.similarity[at][len(expected) :].tolist() == [-np.inf] * short
        assert (found.rows.dtype, found.similarity.dtype) == (np.int64, np.float32)


def test_fewer_neighbours_than_k_are_padded(gallery: Gallery) -> None:
    gallery.put([row("x", value=[0.6, 0.8, 0, 0]), row("y", "", [0, 1, 0, 0])])
    query = np.array([[0, 1, 0, 0]], np.float32)
    found = gallery.nearest(query, 3)
    assert found.rows.tolist() == [[1, -1, -1]]
    assert found.similarity[0, 0] == pytest.approx(0.8, abs=1e-3)
    assert gallery.nearest(query, 2, distractors=True).rows.tolist() == [[2, -1]]
    assert gallery.nearest(query, 2, landmarks=[]).rows.tolist() == [[-1, -1]]
    assert gallery.nearest(query, 2, distractors=True, landmarks=["a"]).rows.tolist() == [[-1, -1]]
    assert gallery.nearest(query[:0], 2).rows.shape == (0, 2)


@pytest.mark.slow
def test_a_thousand_queries_have_the_same_neighbours_in_every_back_end(back_end: BackEnd) -> None:
    """64-d vectors: landmark of the nearest photo, and recall@10, against exact search."""
    photos, vectors = random_photos(back_end.photos, 64)
    rng = np.random.default_rng(5)
    queries = vectors.around(rng.integers(0, len(vectors.centres), 1000), 123)
    with back_end.create("fake-1", 64) as gallery:
        for start in range(0, len(photos), 1000):
            gallery.put(photos[start : start + 1000])
        found = gallery.nearest(queries, 10)
        table = gallery.table()
    kept = np.flatnonzero(table.landmarks != "")
    cosines = queries @ table.vectors[kept].astype(np.float32).T
    exact = table.rows[kept][np.argsort(-cosines, axis=1, kind="stable")[:, :10]]
    shared = [
        len(set(a) & set(b)) for a, b in zip(found.rows.tolist(), exact.tolist(), strict=True)
    ]
    assert np.mean(shared) / 10 >= 0.99
    name_of = dict(zip(table.rows.tolist(), table.landmarks, strict=True))
    assert [name_of[one] for one in found.rows[:, 0]] == [name_of[one] for one in exact[:, 0]]


def test_optimizing_changes_no_answer(back_end: BackEnd) -> None:
    photos, vectors = random_photos(200, 12)
    with back_end.create("fake-1", 12) as gallery:
        assert all(isinstance(line, str) for line in gallery.optimize())  # of an empty gallery
        gallery.put(photos)
        gallery.remove(["p5"])
        before = content(gallery)
        queries = vectors.around(np.arange(5), 99)
        found = gallery.nearest(queries, 7)
        assert all(isinstance(line, str) for line in gallery.optimize())
        assert content(gallery) == before
        assert gallery.nearest(queries, 7).rows.tolist() == found.rows.tolist()
