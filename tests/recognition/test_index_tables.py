"""`index` with landmark records and credits: new folders, more photos, shards, ids that changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_commands import json_of, run
from tests.support.photos import photos_of, picture, write_photo
from whichlandmark.core.errors import DataError, OptionError
from whichlandmark.features.embedders.histogram import HistogramEmbedder
from whichlandmark.gallery.records import Credit
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.folder.edit import credit_photos, describe_landmark
from whichlandmark.recognition.indexing.index_photos import IndexOptions, index_photos
from whichlandmark.recognition.rules import Rules

BY = "https://creativecommons.org/licenses/by/4.0/"
CHEAP = Rules(verify=0, score="cosine", whitening="none")  # nothing is fitted, no features


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two landmarks of two photos, and a street; their tables, with a row each for nobody."""
    monkeypatch.chdir(tmp_path)
    for code in range(2):
        for i in range(2):
            write_photo(tmp_path / "photos" / f"place {code}" / f"{i}.jpg", picture(code, i))
    write_photo(tmp_path / "streets" / "s.jpg", picture(7, 0))
    (tmp_path / "landmarks.csv").write_text("landmark,title\nplace 0,The Tower\nnobody,No\n")
    (tmp_path / "credits.csv").write_text(
        f"id,author,licence,licence_url,source\nphotos/place 0/0.jpg,Ann,CC BY 4.0,{BY},\n"
        "streets/s.jpg,Bob,CC0,,https://example.org/s\nnobody,Eve,CC0,,\n"
    )
    return tmp_path


def indexed(photos: str = "photos", distractors: str = "streets", **options: Any) -> dict[str, Any]:
    tables = {"landmarks": Path("landmarks.csv"), "credits": Path("credits.csv")}
    bank = photos_of(Path(distractors).absolute(), False) if distractors else None
    given = IndexOptions(rules=CHEAP, **(tables | options))
    return index_photos(
        photos_of(Path(photos).absolute()), bank, Path("r.wl"), HistogramEmbedder(), given,
        progress=lambda _: lambda *_: None,
    ).counts  # fmt: skip


def in_gallery() -> tuple[dict[str, Credit], dict[str, str], int]:
    """Credits by id, titles by landmark, and the generation."""
    with SqliteGallery.open(Path("r.wl/gallery.sqlite")) as gallery:
        credits = gallery.credits(gallery.stamps())
        titles = {name: record.title for name, record in gallery.landmarks().items()}
        return {one: found for one, found in credits.items() if any(found)}, titles, \
            gallery.generation  # fmt: skip


FOUND = (
    {"photos/place 0/0.jpg": Credit("Ann", "CC BY 4.0", BY),
     "streets/s.jpg": Credit("Bob", "CC0", "", "https://example.org/s")},
    {"place 0": "The Tower"},
)  # fmt: skip

COUNTS = {"records": 1, "records without a photo": 1, "credits": 2, "credits without a photo": 1}


@pytest.mark.parametrize("shards", [None, 2])
def test_records_and_credits_are_put_into_a_new_gallery(root: Path, shards: int | None) -> None:
    assert indexed(shards=shards).items() >= COUNTS.items()
    assert in_gallery()[:2] == FOUND
    generation = in_gallery()[2]
    again = indexed(shards=shards)
    assert again.items() >= COUNTS.items()
    assert "records replaced" not in again
    assert in_gallery() == (*FOUND, generation)  # nothing was written again


def test_they_come_with_the_command_that_loads_the_shards(root: Path) -> None:
    none = {"landmarks": None, "credits": None}
    for number in range(2):
        indexed(shards=2, shard=number, **none)
    indexed(shards=2, engine="none")
    assert in_gallery()[:2] == FOUND
    for table in none:
        with pytest.raises(OptionError, match="one shard loads nothing: give the tables to"):
            IndexOptions(shards=2, shard=0, **{table: Path("landmarks.csv")})


def test_they_are_put_into_a_gallery_that_exists(root: Path) -> None:
    none = {"landmarks": None, "credits": None}
    assert not COUNTS.keys() & indexed(**none).keys()
    write_photo(root / "more" / "place 2" / "0.jpg", picture(2, 0))
    done = indexed("more", "")
    assert (done["added"], done["credits"], done["records"]) == (1, 2, 1)
    assert in_gallery()[:2] == FOUND


def test_what_was_changed_by_hand_and_is_replaced_is_counted(root: Path) -> None:
    indexed()
    describe_landmark(Path("r.wl"), "place 0", {"title": "Mine"})
    credit_photos(Path("r.wl"), ["streets/s.jpg"], None, {"author": "Me"})
    credit_photos(Path("r.wl"), ["photos/place 0/1.jpg"], None, {"author": "Me"})
    done = indexed()
    assert (done["records replaced"], done["credits replaced"]) == (1, 1)
    credits, titles, _ = in_gallery()
    assert (titles, credits["streets/s.jpg"].author) == (FOUND[1], "Bob")
    assert credits["photos/place 0/1.jpg"].author == "Me"  # no table has it


def test_the_credit_of_a_photo_whose_id_is_taken_goes_to_this_photo(root: Path) -> None:
    """Another folder has photos of the same ids: those indexed first keep theirs."""
    indexed(landmarks=None, credits=None)
    for i in range(2):
        write_photo(root / "b" / "photos" / "place 0" / f"{i}.jpg", picture(5, i))
    (root / "credits.csv").write_text("id,author\nphotos/place 0/0.jpg,Zoe\n")
    for _ in range(2):  # also when the photo is there already
        assert indexed("b/photos", "")["credits"] == 1
        credits = in_gallery()[0]
        assert {one: found.author for one, found in credits.items()} == {
            "b/photos/place 0/0.jpg": "Zoe"
        }


@pytest.mark.parametrize(
    ("table", "text", "fault"),
    [
        ("landmarks", "landmark,latitude\nplace 0,north\n", "line 2: latitude 'north'"),
        ("credits", "id,license_url\nx,y\n", "'license_url'; did you mean 'licence_url'"),
        ("credits", "id,licence_url\nx,by/4.0\n", "licence_url 'by/4.0'; expected a web address"),
    ],
)
def test_tables_are_read_before_a_photo_is(
    root: Path, table: str, text: str, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    Path(f"{table}.csv").write_text(text)
    with pytest.raises(DataError, match=fault):
        indexed()
    code, _, said = run(capfd, "index", "photos", "-o", "r.wl", f"--{table}", f"{table}.csv")
    assert (code, fault in said) == (4, True)
    assert not Path("r.wl").exists()


def test_the_command_takes_both(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = json_of(
        capfd, "index", "photos", "--distractors", "streets", "-o", "r.wl", "--embedder", "sift",
        "--no-features", "--landmarks", "landmarks.csv", "--credits", "credits.csv",
    )  # fmt: skip
    assert done.items() >= COUNTS.items()
    assert in_gallery()[:2] == FOUND
    for option in ("--landmarks", "--credits"):
        code, _, said = run(capfd, "index", "photos", "-o", "r.wl", option, "none.csv")
        assert (code, "none.csv" in said) == (4, True)
