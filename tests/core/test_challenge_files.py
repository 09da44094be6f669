"""Solutions and submissions of Google's landmark challenges: the authors' cases, bad files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from whichlandmark.core.challenge_files import (
    Solution,
    read_solution,
    read_submission,
    write_retrieval_submission,
)
from whichlandmark.core.errors import DataError, OptionError

RECOGNITION = """id,landmarks,Usage
0123456789abcdef,0 12,Public
0223456789abcdef,,Public
0323456789abcdef,100,Ignored
0423456789abcdef,1,Private
0523456789abcdef,,Ignored
"""

RETRIEVAL = """id,images,Usage
0123456789abcdef,None,Ignored
0223456789abcdef,fedcba9876543210 fedcba9876543200,Public
0323456789abcdef,fedcba9876543200,Private
0423456789abcdef,fedcba9876543220,Private
0523456789abcdef,None,Ignored
"""


def file(at: Path, text: str, name: str = "file.csv") -> Path:
    (at / name).write_text(text)
    return at / name


def recognition(at: Path, text: str = RECOGNITION) -> Solution:
    return read_solution(file(at, text, "recognition_solution.csv"), "recognition")


def retrieval(at: Path, text: str = RETRIEVAL) -> Solution:
    return read_solution(file(at, text, "retrieval_solution.csv"), "retrieval")


def test_a_recognition_solution_as_the_authors_test_it(tmp_path: Path) -> None:
    found = recognition(tmp_path)
    assert dict(zip(found.ids, found.truth, strict=True)) == {
        "0123456789abcdef": ("0", "12"), "0223456789abcdef": (), "0423456789abcdef": ("1",),
    }  # fmt: skip
    assert found.usages.tolist() == ["Public", "Public", "Private"]
    assert found.ignored == {"0323456789abcdef", "0523456789abcdef"}
    settings = {name: rows.tolist() for name, rows in found.settings().items()}
    assert settings == {
        "public": [True, True, False], "private": [False, False, True], "all": [True] * 3,
    }  # fmt: skip


def test_a_retrieval_solution_as_the_authors_test_it(tmp_path: Path) -> None:
    found = retrieval(tmp_path)
    assert dict(zip(found.ids, found.truth, strict=True)) == {
        "0223456789abcdef": ("fedcba9876543210", "fedcba9876543200"),
        "0323456789abcdef": ("fedcba9876543200",), "0423456789abcdef": ("fedcba9876543220",),
    }  # fmt: skip
    assert found.ignored == {"0123456789abcdef", "0523456789abcdef"}


def test_a_recognition_submission_as_the_authors_test_it(tmp_path: Path) -> None:
    text = (
        "id,landmarks\n0123456789abcdef,12 0.1 \n0423456789abcdef,0 19.0\n"
        "0223456789abcdef,\n\n0523456789abcdef,14 0.01\n"
    )
    found = read_submission(file(tmp_path, text), recognition(tmp_path))
    assert found.landmarks == {"0123456789abcdef": ("12", 0.1), "0423456789abcdef": ("0", 19.0)}
    assert found.notes == [
        "photos of Usage Ignored, which are in no score: 1, such as 0523456789abcdef"
    ]


def test_a_retrieval_submission_as_the_authors_test_it(tmp_path: Path) -> None:
    text = (
        "id,images\n0123456789abcdef,fedcba9876543250 \n0423456789abcdef,fedcba9876543260\n"
        "0223456789abcdef,fedcba9876543210 fedcba9876543200 fedcba9876543220\n\n"
        "0523456789abcdef,\n"
    )
    found = read_submission(file(tmp_path, text), retrieval(tmp_path))
    assert found.images == {
        "0223456789abcdef": ["fedcba9876543210", "fedcba9876543200", "fedcba9876543220"],
        "0423456789abcdef": ["fedcba9876543260"],
    }
    assert any("not in it" in note and "0323456789abcdef" in note
               for note in found.notes)  # fmt: skip


def test_what_is_odd_in_a_retrieval_submission_is_told_and_kept_as_the_authors_do(
    tmp_path: Path,
) -> None:
    many = " ".join(f"x{number}" for number in range(130))
    text = (
        f"id,images\n0223456789abcdef,{many}\n0323456789abcdef,a a  b\n"
        "0423456789abcdef,fedcba9876543220\nunlisted,\n"
    )
    solution = retrieval(tmp_path)
    found = read_submission(file(tmp_path, text), solution, {"a", "b", "fedcba9876543220"})
    assert found.images["0223456789abcdef"] == [f"x{number}" for number in range(100)]
    assert found.images["0323456789abcdef"] == ["a", "a", "", "b"]
    said = "\n".join(found.notes)
    for words in (
        "rows with more than 100 images, of which the first count: 1, such as 0223456789abcdef",
        "rows that repeat an image, which keeps its rank and counts once: 1",
        "rows with two spaces in a row, which take a rank: 1",
        "rows with images that are not in the index, which are wrong: 1, such as 0223456789abcdef",
        "photos that are in no solution, without a prediction: 1, such as unlisted",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0123456789abcdef,1 0.5\n0123456789abcdef,2 0.4", "line 3: test photo '0123"),
        ("other,1 0.5", "test photo 'other' is not in the solution"),
        ("0123456789abcdef,1 0.5 2 0.4", "has 4 parts; expected a landmark and a score"),
        ("0123456789abcdef,1", "has 1 parts"),
        ("0123456789abcdef,1  0.5", "has 3 parts"),
        ("0123456789abcdef, 0.5", "names no landmark"),
        ("0123456789abcdef,1 high", "score 'high'; expected a number"),
        ("0123456789abcdef,1 nan", "score 'nan'; expected a number"),
        ("0123456789abcdef,1 0.5,2", "3 cells; the header has 2"),
    ],
)  # fmt: skip
def test_a_bad_recognition_submission_is_refused_with_its_line(
    tmp_path: Path, row: str, message: str
) -> None:
    with pytest.raises(DataError, match=r"file\.csv, line") as error:
        read_submission(file(tmp_path, f"id,landmarks\n{row}\n"), recognition(tmp_path))
    assert message in str(error.value)


def test_a_submission_without_its_header_is_refused(tmp_path: Path) -> None:
    for text in ("0123456789abcdef,1 0.5\n", "id,images\n", "id,landmarks,id\n", ""):
        with pytest.raises(
            DataError, match="expected id,landmarks, as a submission of recognition"
        ):
            read_submission(file(tmp_path, text), recognition(tmp_path))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,1,Publik", "Usage 'Publik' given; expected Public, Private, Ignored"),
        ("a,1,Public\na,2,Private", "line 3: photo 'a' is there twice"),
        ("a,1,Public\na,,Ignored", "line 3: photo 'a' is there twice"),
        ("a/../b,1,Public", "id 'a/../b'; expected 1 to 64 of the characters"),
        ("a,1;2,Public", "landmarks '1;2'"),
        (",1,Public", "id ''"),
        ("a,1,Ignored", "no photo with Usage Public or Private"),
        ("a,1", "2 cells; the header has 3"),
    ],
)
def test_a_bad_solution_is_refused_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        recognition(tmp_path, f"id,landmarks,Usage\n{row}\n")
    assert message in str(error.value)


def test_a_solution_of_the_other_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected id,images,Usage, as a solution of retrieval"):
        retrieval(tmp_path, RECOGNITION)


def test_numbers_are_compared_as_numbers_and_repeated_truth_counts_once(tmp_path: Path) -> None:
    found = recognition(tmp_path, "id,landmarks,Usage\na,007 7 eiffel,public\nb,000,PRIVATE\n")
    assert found.truth == [("7", "eiffel"), ("0",)]
    text = "id,landmarks\na,0007 1e400\nb,0 -inf\n"
    read = read_submission(file(tmp_path, text), found)
    assert read.landmarks == {"a": ("7", float("inf")), "b": ("0", float("-inf"))}


def test_a_written_retrieval_submission_is_read_again(tmp_path: Path) -> None:
    draw = random.Random(1)
    solution = retrieval(tmp_path)
    ranked = {
        one: [f"{draw.getrandbits(64):016x}" for _ in range(120)] for one in solution.ids.tolist()
    }
    write_retrieval_submission(tmp_path / "out.csv", ranked.items())
    found = read_submission(tmp_path / "out.csv", solution)
    assert found.images == {one: images[:100] for one, images in ranked.items()}
    assert found.notes == []
    write_retrieval_submission(tmp_path / "out.csv", [])  # an earlier one is replaced
    file(tmp_path, "mine\n", "own.csv")
    with pytest.raises(OptionError, match="is not a retrieval submission"):
        write_retrieval_submission(tmp_path / "own.csv", [])
