"""Vectors from files of anyone: each layout, each odd file, and the message that it gets."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from safetensors.numpy import save_file

from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.core.types import Photos
from whichlandmark.features.descriptors import align
from whichlandmark.features.descriptors.align import (
    Selection,
    aligned,
    descriptor_chunks,
    holds_descriptors,
)
from whichlandmark.features.descriptors.open import open_descriptors

IDS = ["jpg/a.jpg", "jpg/b.jpg", "jpg/ü.jpg", "jpg/d.jpg"]
X = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
X /= np.linalg.norm(X, axis=1, keepdims=True)


def table(ids: list[str]) -> Photos:
    return Photos.of_columns(ids, [f"/{each}" for each in ids], [""] * len(ids))


PHOTOS = table(IDS)


def npy(at: Path, vectors: Any = X, ids: list[str] | None = IDS, name: str = "v.npy") -> Path:
    np.save(at / name, vectors)
    if ids is not None:
        (at / name).with_suffix(".ids.txt").write_text("\n".join(ids), encoding="utf-8")
    return at / name


def tensors(at: Path, ids: list[str] | None = IDS, **arrays: Any) -> Path:
    said = None if ids is None else {"ids": json.dumps(ids), "embedder": "e-1"}
    save_file(arrays or {"anything": X}, at / "v.safetensors", metadata=said)
    return at / "v.safetensors"


def hdf5(at: Path, **arrays: Any) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(at / "v.hdf5", "w") as file:
        for name, values in arrays.items():
            if isinstance(values, list):
                file.create_dataset(name, data=values, dtype=h5py.string_dtype())
            else:
                file.create_dataset(name, data=values, compression="gzip")
    return at / "v.hdf5"


def of_ilias(at: Path) -> Path:
    return hdf5(at, features=X.astype(np.float16), index=IDS)


def of_hloc(at: Path) -> Path:
    return hdf5(at, **{f"{each}/global_descriptor": X[row][None] for row, each in enumerate(IDS)})


def of_hloc_flat(at: Path) -> Path:
    return hdf5(at, **{f"{each}/global_descriptor": X[row] for row, each in enumerate(IDS)})


def of_revisitop(at: Path) -> Path:
    scipy.io.savemat(at / "v.mat", {"X": X.T.astype(np.float64), "Q": X[:2].T, "note": "gem"})
    return at / "v.mat"


def of_two_tensors(at: Path) -> Path:
    return tensors(at, ids=None, queries=X[:2], database=X)


@pytest.mark.parametrize(
    "write",
    [
        npy,
        tensors,
        of_ilias,
        of_hloc,
        of_hloc_flat,
        of_revisitop,
        of_two_tensors,
        lambda at: npy(at, np.asfortranarray(X)),
        lambda at: npy(at, X.astype(np.float64)),
        lambda at: npy(at, X.astype(">f4")),
        lambda at: npy(at, X[:, :, None, None]),
        lambda at: npy(at, X[:, None, :]),
        lambda at: npy(at, X, None),
        lambda at: npy(at, X.T, None),
        lambda at: npy(at, X.T),
        lambda at: hdf5(at, vectors=X),
        lambda at: hdf5(at, vectors=X.T),
        lambda at: hdf5(at, **{"deep/er/embeddings": X, "deep/er/names": IDS, "other": IDS[:1]}),
    ],
)
def test_each_layout_gives_the_vectors_of_the_table(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    found = aligned(write(tmp_path), PHOTOS, "database")
    assert found.present.all()
    np.testing.assert_allclose(found.vectors[:], X, atol=1e-3)
    assert found.vectors.dtype == np.float32


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_float_types_keep_their_precision(kind: type, tmp_path: Path) -> None:
    found = aligned(npy(tmp_path, X.astype(kind)), PHOTOS, "queries")
    assert abs(found.vectors[:] - X).max() < (1e-3 if kind is np.float16 else 1e-7)
    assert found.notes == []


def test_bfloat16_of_safetensors_is_read(tmp_path: Path) -> None:
    bits = (X.view(np.uint32) >> 16).astype("<u2")
    header = json.dumps({"v": {"dtype": "BF16", "shape": [4, 6], "data_offsets": [0, 48]}}).encode()
    path = tmp_path / "v.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bits.tobytes())
    found = aligned(path, PHOTOS, "database")
    np.testing.assert_allclose(found.vectors[:], X, atol=4e-3)


def test_queries_and_database_of_one_mat_file(tmp_path: Path) -> None:
    path = of_revisitop(tmp_path)
    queries = aligned(path, table(["q0", "q1"]), "queries")
    np.testing.assert_allclose(queries.vectors[:], X[:2], atol=1e-6)
    assert any("read as 2 vectors in columns" in note for note in queries.notes)
    chosen = aligned(f"{path}#Q", table(["q0", "q1"]), "database")
    np.testing.assert_allclose(chosen.vectors[:], X[:2], atol=1e-6)


def test_rows_in_another_order_are_matched_by_id(tmp_path: Path) -> None:
    order = [2, 0, 3, 1]
    found = aligned(npy(tmp_path, X[order], [IDS[row] for row in order]), PHOTOS, "database")
    np.testing.assert_allclose(found.vectors[:], X, atol=1e-6)


@pytest.mark.parametrize(
    "ids", [["a", "b", "ü", "d"], ["a.png", "b.png", "ü.png", "d.png"], ["x\\a.jpg", "b", "ü", "d"]]
)
def test_ids_are_matched_without_folders_and_endings(ids: list[str], tmp_path: Path) -> None:
    found = aligned(npy(tmp_path, X[::-1], ids[::-1]), PHOTOS, "database")
    np.testing.assert_allclose(found.vectors[:], X, atol=1e-6)
    assert any("without folders and endings" in note for note in found.notes)


def test_names_are_not_shortened_where_two_photos_would_be_one(tmp_path: Path) -> None:
    photos = table(["a/1.jpg", "b/1.jpg"])
    with pytest.raises(DataError, match=r"none of its 2 ids is a photo of the database"):
        aligned(npy(tmp_path, X[:2], ["1", "2"]), photos, "database")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("v.ids.txt", "\ufeffjpg/a.jpg\r\njpg/b.jpg\r\njpg/ü.jpg\r\njpg/d.jpg\r\n\r\n"),
        ("v.txt", "\n".join(IDS)),
        ("v.ids.json", json.dumps(IDS)),
        ("v.json", json.dumps({"ids": IDS})),
        ("v_names.txt", "\n".join(IDS)),
        ("v.ids.csv", "n,id\n0,jpg/a.jpg\n1,jpg/b.jpg\n2,jpg/ü.jpg\n3,jpg/d.jpg\n"),
        ("v.csv", "path;landmark\njpg/a.jpg;\njpg/b.jpg;\njpg/ü.jpg;\njpg/d.jpg;\n"),
    ],
)
def test_ids_beside_the_vectors(name: str, text: str, tmp_path: Path) -> None:
    path = npy(tmp_path, X, None)
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = aligned(path, table(IDS[::-1]), "database")
    np.testing.assert_allclose(found.vectors[::-1], X, atol=1e-6)


def test_missing_and_other_photos_are_said(tmp_path: Path) -> None:
    found = aligned(npy(tmp_path, X[:3], [*IDS[:2], "x.jpg"]), PHOTOS, "database")
    assert found.present.tolist() == [True, True, False, False]
    assert not found.vectors[2:].any()
    assert any("1 vectors of other photos" in note for note in found.notes)
    assert any("2 photos (jpg/ü.jpg, jpg/d.jpg) have no vector" in note for note in found.notes)


def test_vectors_of_zeros_count_as_missing(tmp_path: Path) -> None:
    found = aligned(npy(tmp_path, X * [[1], [0], [1], [1]]), PHOTOS, "queries")
    assert found.present.tolist() == [True, False, True, True]
    assert any("1 photos (jpg/b.jpg) has a vector of zeros" in note for note in found.notes)


def test_other_lengths_are_normalised_and_said(tmp_path: Path) -> None:
    found = aligned(npy(tmp_path, X * [[3], [1], [0.5], [1]]), PHOTOS, "database")
    np.testing.assert_allclose(found.vectors[:], X, atol=1e-6)
    assert any("2 vectors did not have length 1" in note for note in found.notes)


def test_nan_in_a_row_that_is_not_used_does_no_harm(tmp_path: Path) -> None:
    vectors = X.copy()
    vectors[3, 0] = np.nan
    assert aligned(npy(tmp_path, vectors), table(IDS[:3]), "database").present.all()


def cut_short(at: Path) -> Path:
    path = npy(at)
    path.write_bytes(path.read_bytes()[:-8])
    return path


def no_header(at: Path) -> Path:
    (at / "v.safetensors").write_bytes(b"\xff" * 64)
    return at / "v.safetensors"


def outside(at: Path) -> Path:
    path = tensors(at)
    path.write_bytes(path.read_bytes()[:-8])
    return path


def objects(at: Path) -> Path:
    np.save(at / "v.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    return at / "v.npy"


def other_bytes(name: str) -> Callable[[Path], Path]:
    def write(at: Path) -> Path:
        if name.endswith(("h5", "hdf5")):
            pytest.importorskip("h5py")
        (at / name).write_bytes(b"no such thing" * 100)
        return at / name

    return write


def with_ids_file(name: str, text: str) -> Callable[[Path], Path]:
    def write(at: Path) -> Path:
        (at / name).write_text(text)
        return npy(at, X, None)

    return write


def with_nan(at: Path) -> Path:
    vectors = X.copy()
    vectors[2, 1] = np.inf
    return npy(at, vectors)


ODD = {
    "fewer without ids": (lambda at: npy(at, X[:3], None), "3 × 6 numbers without ids, for 4"),
    "ids and vectors differ": (lambda at: npy(at, X, IDS[:3]), "4 × 6 numbers, but 3 ids"),
    "an id twice": (
        lambda at: npy(at, X, [*IDS[:2], IDS[0], IDS[3]]), r"'jpg/a.jpg' occurs twice \(rows 0"),
    "foreign ids": (lambda at: npy(at, X, list("wxyz")), "none of its 4 ids is a photo"),
    "NaN": (with_nan, r"row 2 \(jpg/ü.jpg\) holds NaN or infinite"),
    "uint8": (lambda at: npy(at, (X * 50 + 99).astype(np.uint8)), "holds uint8 numbers"),
    "int8": (lambda at: tensors(at, v=(X * 100).astype(np.int8)), "holds I8 numbers"),
    "bool": (lambda at: npy(at, X > 0), "holds bool numbers"),
    "complex": (lambda at: npy(at, X + 0j), "holds complex64 numbers"),
    "one axis": (lambda at: npy(at, X[0]), r"array of shape \(6,\); expected \(photos, dim"),
    "three axes": (lambda at: npy(at, X.reshape(2, 2, 6)), r"array of shape \(2, 2, 6\)"),
    "no rows": (lambda at: npy(at, X[:0], []), r"array of shape \(0, 6\)"),
    "objects": (objects, "holds Python objects, not numbers"),
    "cut short": (cut_short, "damaged, or not of the type"),
    "no npy": (other_bytes("v.npy"), "not a .npy file"),
    "no safetensors": (no_header, "not a safetensors file"),
    "tensor outside": (outside, "cut short, or damaged"),
    "no HDF5": (other_bytes("v.h5"), "damaged, or not of the type"),
    "no mat": (other_bytes("v.mat"), "damaged, or not of the type"),
    "missing": (lambda at: at / "none.npy", "no such file"),
    "missing HDF5": (lambda at: at / "none.h5", "no such file"),
    "several unnamed": (lambda at: tensors(at, ids=None, a=X, b=X), "choose one: .*#a"),
    "no vectors": (lambda at: tensors(at, ids=None, a=X[0]), "holds no array of two axes"),
    "local features": (
        lambda at: hdf5(at, **{f"{each}/descriptors": X for each in IDS}),
        "holds 4 arrays .*Local features are not read"),
    "several lengths": (
        lambda at: hdf5(at, **{"a/global_descriptor": X[0], "b/global_descriptor": X[1][:3]}),
        "none of its 2 ids|several lengths"),
    "ids no list": (with_ids_file("v.ids.json", '{"a": 1}'), "expected a list of ids"),
    "ids damaged": (with_ids_file("v.ids.json", "[1,"), "damaged|not readable"),
    "ids without a column": (with_ids_file("v.ids.csv", "a,b\n1,2\n"), "columns a, b; expected"),
    "a huge id": (with_ids_file("v.ids.txt", "a" * 5000), "an id of 5,000 characters"),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_odd_files_are_refused_with_what_to_do(odd: str, tmp_path: Path) -> None:
    write, message = ODD[odd]
    with pytest.raises(DataError, match=message):
        aligned(write(tmp_path), PHOTOS, "database")


def test_vectors_of_several_lengths_in_hlocs_layout(tmp_path: Path) -> None:
    path = hdf5(tmp_path, **{"a/global_descriptor": X[0], "b/global_descriptor": X[1][:3]})
    with pytest.raises(DataError, match="vectors of several lengths"):
        aligned(path, table(["a", "b"]), "database")


@pytest.mark.parametrize("name", ["v.pkl", "v.pt", "v.npz", "v", "v.csv"])
def test_other_types_are_refused_and_never_unpickled(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(X))
    with pytest.raises(OptionError, match="unknown type of vectors"):
        aligned(tmp_path / name, PHOTOS, "database")


def test_no_array_of_that_name(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no such array of two axes; it has anything"):
        aligned(f"{tensors(tmp_path)}#nothing", PHOTOS, "database")


def test_hdf5_without_its_library_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "v.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(OptionError, match=r"HDF5 needs h5py: pip install .*hdf5\]"):
        aligned(tmp_path / "v.h5", PHOTOS, "database")


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    secret = tmp_path / "secret.bin"
    secret.write_bytes(X.tobytes())
    with h5py.File(tmp_path / "real.h5", "w") as file:
        file["features"] = X
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["features"] = h5py.ExternalLink("real.h5", "features")
    with pytest.raises(DataError, match="holds no array"):
        aligned(tmp_path / "link.h5", PHOTOS, "database")
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file.create_dataset("v", X.shape, X.dtype, external=[(str(secret), 0, X.nbytes)])
    with pytest.raises(DataError, match="keeps its numbers in other files"):
        aligned(tmp_path / "outside.h5", PHOTOS, "database")


def test_what_a_file_says_of_itself_is_kept(tmp_path: Path) -> None:
    assert aligned(tensors(tmp_path), PHOTOS, "database").facts["embedder"] == "e-1"


def test_a_large_table_is_kept_in_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(align, "MAX_ARRAY_BYTES", 10)
    found = aligned(npy(tmp_path), PHOTOS, "database")
    assert isinstance(found.vectors, np.memmap)
    np.testing.assert_allclose(found.vectors[:], X, atol=1e-6)


def test_distractors_pass_in_chunks_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whichlandmark.features.descriptors.stored.CHUNK_BYTES", 2 * 8 * 6)
    npy(tmp_path, X, IDS, "b.npy")
    npy(tmp_path, X[:3].T, None, "a.npy")
    notes: list[str] = []
    chunks = [part for _, part in descriptor_chunks(tmp_path, 6, notes=notes)]
    assert max(map(len, chunks)) == 2
    np.testing.assert_allclose(np.concatenate(chunks), np.concatenate([X[:3], X]), atol=1e-6)
    assert any("read as 3 vectors in columns" in note for note in notes)
    assert holds_descriptors(tmp_path)
    assert not holds_descriptors(tmp_path / "no")


def test_distractors_are_chosen_by_id(tmp_path: Path) -> None:
    ids = ["t.tar/a", "t.tar/b", "t.tar/c", "in_database"]
    only = np.array([b"a", b"c", b"in_database", b"zzz"])
    selection = Selection(database={"in_database"}, only=only)
    notes: list[str] = []
    found = list(descriptor_chunks(npy(tmp_path, X, ids), 6, selection=selection, notes=notes))
    assert [each for names, _ in found for each in names] == ["t.tar/a", "t.tar/c"]
    np.testing.assert_allclose(np.concatenate([v for _, v in found]), X[[0, 2]], atol=1e-6)
    assert any("2 vectors are left out" in note and "2 are used" in note for note in notes)


def test_distractors_of_zeros_and_of_other_lengths(tmp_path: Path) -> None:
    notes: list[str] = []
    path = npy(tmp_path, X * [[2], [0], [1], [1]], None)
    found = list(descriptor_chunks(path, 6, notes=notes))
    assert found[0][0] == ["v.npy#0", "v.npy#2", "v.npy#3"]
    np.testing.assert_allclose(found[0][1], X[[0, 2, 3]], atol=1e-6)
    assert any("1 vectors of zeros" in note for note in notes)
    assert any("1 vectors did not have length 1" in note for note in notes)


def test_distractors_of_another_embedder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="vectors of 6 numbers; expected 8"):
        list(descriptor_chunks(npy(tmp_path), 8, notes=[]))


def test_distractors_that_say_another_embedder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"several embedders .*e-1, others of e-2"):
        list(descriptor_chunks(tensors(tmp_path), 6, embedder="e-2", notes=[]))


def test_a_folder_without_vectors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file of vectors"):
        list(descriptor_chunks(tmp_path, 8, notes=[]))


def test_chunks_of_a_file_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whichlandmark.features.descriptors.stored.CHUNK_BYTES", 1)
    with open_descriptors(npy(tmp_path), "database") as file:
        assert [len(part) for _, part in file.chunks(in_columns=False)] == [1, 1, 1, 1]
