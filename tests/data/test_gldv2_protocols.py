"""Google Landmarks v2 as a benchmark: whole, in tars or unpacked, in part, and damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.gldv2_layout import Gldv2Set, Item, hex_id, photo_path, write_gldv2
from whichlandmark.core.benchmark import Benchmark
from whichlandmark.core.challenge_files import read_solution
from whichlandmark.core.errors import DataError
from whichlandmark.core.storage import read_bytes
from whichlandmark.data.gldv2_protocols import (
    index_ids,
    recognition_photos,
    retrieval_benchmark,
    solution_file,
)

INDEX = [hex_id(f"i{number}") for number in range(12)]

TEST = [hex_id(f"q{number}") for number in range(6)]

TRUTH = {  # number of the query → numbers of right index photos, usage
    0: ([0, 1, 2], "Public"), 1: ([3], "Private"), 2: ([4, 5], "Private"), 3: ([6, 7], "Public"),
}  # fmt: skip


def write(root: Path, *, unpacked: bool = False) -> Path:
    answers = [("1", "Public"), ("2 3", "Private"), ("", "Private"), ("1", "Public"),
               ("", "Ignored"), ("9", "Private")]  # fmt: skip
    photos = Gldv2Set(
        index=[Item(one, "5", one.encode() * 9) for one in INDEX],
        test=[
            Item(one, landmark, one.encode() * 9, usage)
            for one, (landmark, usage) in zip(TEST, answers, strict=True)
        ],
    )
    write_gldv2(root, photos, unpacked=unpacked)
    rows = ["id,images,Usage"]
    for number, one in enumerate(TEST):
        shown, usage = TRUTH.get(number, ([], "Ignored"))
        rows.append(f"{one},{' '.join(INDEX[i] for i in shown) or 'None'},{usage}")
    (root / "retrieval_solution_v2.1.csv").write_text("\n".join(rows) + "\n")
    return root


def positives(found: Benchmark, setting: str = "all") -> dict[str, set[str]]:
    judged = found.settings[setting]
    return {
        str(found.queries.ids[query]): set(found.database.ids[judged.positives[query]])
        for query in np.flatnonzero(judged.counted)
    }


@pytest.mark.parametrize("unpacked", [False, True])
def test_the_whole_benchmark_from_tars_and_from_a_tree(tmp_path: Path, unpacked: bool) -> None:
    found = retrieval_benchmark(write(tmp_path / "gldv2", unpacked=unpacked))
    assert (found.name, found.k, found.average_precision) == ("gldv2-retrieval", 100, "cut_off")
    assert found.part == ""
    assert found.missing == []
    assert not found.upright
    assert found.queries.ids.tolist() == TEST[:4]
    assert found.database.ids.tolist() == INDEX
    assert [read_bytes(path) for path in found.database.paths] == [i.encode() * 9 for i in INDEX]
    assert [read_bytes(path) for path in found.queries.paths] == [i.encode() * 9 for i in TEST[:4]]
    assert list(found.settings) == ["public", "private", "all"]
    right = {TEST[number]: {INDEX[i] for i in shown} for number, (shown, _) in TRUTH.items()}
    assert positives(found) == right
    assert set(positives(found, "public")) == {TEST[0], TEST[3]}
    assert set(positives(found, "private")) == {TEST[1], TEST[2]}


def test_one_missing_photo_is_told_and_stays_in_the_count(tmp_path: Path) -> None:
    root = write(tmp_path, unpacked=True)
    (root / "index" / photo_path(INDEX[0])).unlink()
    (root / "test" / photo_path(TEST[1])).unlink()
    found = retrieval_benchmark(root)
    assert found.part == ""
    assert sorted(found.missing) == sorted([INDEX[0], TEST[1]])
    assert len(positives(found)[TEST[0]]) == 3  # R counts it
    assert TEST[1] in positives(found)
    assert found.database.paths[0] == str(root / "index" / photo_path(INDEX[0]))


def test_a_part_of_the_data_is_named_and_measured_on_what_is_there(tmp_path: Path) -> None:
    root = write(tmp_path, unpacked=True)
    for number in (1, 2, 3, 8, 9):
        (root / "index" / photo_path(INDEX[number])).unlink()
    (root / "test" / photo_path(TEST[3])).unlink()
    found = retrieval_benchmark(root)
    assert found.part == "7 of 12 index photos, 3 of 4 queries"
    assert found.missing == []
    assert found.database.ids.tolist() == [INDEX[i] for i in (0, 4, 5, 6, 7, 10, 11)]
    # the only right photo of query 1 is gone, query 3 itself is: neither is counted
    assert positives(found) == {TEST[0]: {INDEX[0]}, TEST[2]: {INDEX[4], INDEX[5]}}
    assert (
        "queries that are not counted, as no right index photo of theirs is there: 1" in found.notes
    )


def test_tars_of_a_part_are_counted(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "index.csv").write_text(
        "id\n" + "\n".join([*INDEX, *(hex_id(f"x{n}") for n in range(40))])
    )
    found = retrieval_benchmark(root)
    assert found.part == "12 of 52 index photos (1 of 100 tars), 4 of 4 queries (1 of 20 tars)"


def test_without_the_list_of_the_index_the_database_is_what_is_found(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "index.csv").unlink()
    assert retrieval_benchmark(root).part == ""  # index_image_to_landmark.csv lists them too
    (root / "index_image_to_landmark.csv").unlink()
    assert index_ids(root) is None
    found = retrieval_benchmark(root)
    assert sorted(found.database.ids) == sorted(INDEX)
    assert found.part == "12 index photos, of a list that is missing"
    assert any("index.csv is missing" in note for note in found.notes)


def test_the_cut_lists_of_a_partial_fetch_are_not_taken_for_the_whole(tmp_path: Path) -> None:
    root = write(tmp_path, unpacked=True)
    (root / "subset").mkdir()
    (root / "subset" / "index.csv").write_text(f"id\n{INDEX[0]}\n")
    assert len(retrieval_benchmark(root).database) == 12


def test_a_query_without_a_right_photo_counts_zero(tmp_path: Path) -> None:
    root = write(tmp_path)
    text = (root / "retrieval_solution_v2.1.csv").read_text()
    (root / "retrieval_solution_v2.1.csv").write_text(
        text.replace(f"{TEST[4]},None,Ignored", f"{TEST[4]},None,Public")
    )
    found = retrieval_benchmark(root)
    assert positives(found)[TEST[4]] == set()
    assert "queries without a right index photo in the solution, which count 0: 1" in found.notes


def test_a_damaged_tar_is_told(tmp_path: Path) -> None:
    root = write(tmp_path)
    tar = root / "index" / "images_000.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size * 2 // 3])
    found = retrieval_benchmark(root)
    assert "(1 of 100 tars)" in found.part
    assert any(note.startswith("index/images_000.tar: ") for note in found.notes)
    tar.write_bytes(b"no tar at all" * 99)
    with pytest.raises(DataError, match=r"no index photo found; .*index/images_000\.tar: damaged"):
        retrieval_benchmark(root)


def test_given_vectors_need_the_lists_alone(tmp_path: Path) -> None:
    root = write(tmp_path, unpacked=True)
    (root / "index").rename(tmp_path / "elsewhere")
    found = retrieval_benchmark(root, with_photos=False)
    assert (found.part, found.missing) == ("", [])
    assert found.database.ids.tolist() == INDEX
    for name in ("index.csv", "index_image_to_landmark.csv"):
        (root / name).unlink()
    with pytest.raises(DataError, match=r"index\.csv is missing"):
        retrieval_benchmark(root, with_photos=False)


def test_the_newest_solution_is_taken_and_another_one_may_be_given(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "ground_truth").mkdir()
    newer = root / "ground_truth" / "retrieval_solution_v2.2.csv"
    newer.write_text(f"id,images,Usage\n{TEST[0]},{INDEX[9]},Public\n")
    assert positives(retrieval_benchmark(root)) == {TEST[0]: {INDEX[9]}}
    given = root / "retrieval_solution_v2.1.csv"
    assert len(positives(retrieval_benchmark(root, given))) == 4
    assert solution_file(given, "retrieval") == given


def test_data_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        retrieval_benchmark(tmp_path / "none")
    root = write(tmp_path / "gldv2", unpacked=True)
    (root / "retrieval_solution_v2.1.csv").rename(tmp_path / "solution.csv")
    with pytest.raises(DataError, match=r"retrieval_solution_v2\.1\.csv is missing"):
        retrieval_benchmark(root)
    (root / "test").rename(root / "photos")
    with pytest.raises(DataError, match="no test photo of the solution found"):
        retrieval_benchmark(root, tmp_path / "solution.csv")
    (root / "index").rename(root / "other")
    with pytest.raises(DataError, match="no index photo found"):
        retrieval_benchmark(root, tmp_path / "solution.csv")


def test_a_part_without_any_right_photo_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path, unpacked=True)
    for name in INDEX[:8]:
        (root / "index" / photo_path(name)).unlink()
    with pytest.raises(DataError, match="no index photo that the solution names is there"):
        retrieval_benchmark(root)


def test_the_test_photos_of_recognition_and_those_that_are_missing(tmp_path: Path) -> None:
    root = write(tmp_path, unpacked=True)
    solution = read_solution(solution_file(root, "recognition"), "recognition")
    found = recognition_photos(root, solution)
    assert found.photos.ids.tolist() == [*TEST[:4], TEST[5]]
    assert found.photos.landmarks.tolist() == ["1", "2|3", "", "1", "9"]
    assert found.photos.usages.tolist() == ["Public", "Private", "Private", "Public", "Private"]
    assert (found.missing, found.part) == ([], "")
    for name in TEST[:2]:
        (root / "test" / photo_path(name)).unlink()
    found = recognition_photos(root, solution)
    assert found.missing == TEST[:2]
    assert found.part == "3 of 5 test photos"
    for name in TEST[2:]:
        (root / "test" / photo_path(name)).unlink()
    with pytest.raises(DataError, match="none of the 5 photos of the solution found"):
        recognition_photos(root, solution)
