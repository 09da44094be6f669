"""Everything odd that Commons may hold, in one import: what is taken, and why the rest is not."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from tests.support.fake_city import city
from tests.support.fake_requests import Clock
from tests.support.fake_traps import trap_city
from tests.support.fake_wikimedia import FakeWikimedia
from tests.support.fake_world import World
from whichlandmark.collect.commons import CommonsOptions, Wanted, import_commons
from whichlandmark.collect.http_client import PoliteClient, Sites

pytestmark = pytest.mark.server
WANTED = Wanted(region="Q90001")
BY_SA = ("CC BY-SA 4.0", "https://creativecommons.org/licenses/by-sa/4.0/")

# Trap → part of the reason in problems.csv.
LEFT_OUT = {
    "nc": "forbids commercial use", "nd": "forbids changed copies", "nonfree": "not free",
    "unknown": "licence not understood", "none": "no licence given", "filehidden": "hidden",
    "thumberror": "makes no picture of it (Error creating thumbnail", "tiny": "too small",
    "nothumb": "makes no picture of it", "filemissing": "missing", "twin": "a copy",
    "image/tiff": "no photo (image/tiff)", "application/pdf": "no photo (application/pdf)",
    "image/svg+xml": "no photo (image/svg+xml)", "audio/ogg": "no photo (audio/ogg)",
    "wrong sha1": "sha1", "truncated": "damaged or cut short", "html": "web page",
    "no bytes": "empty", "not an image": "damaged or cut short",
}  # fmt: skip

# Trap → author in credits.csv, where it does not stand in a table below.
AUTHORS = {
    "attribution": "Museum of Velmora / M. Ansel", "script": "Eve <b> Adams",
    "hidden span": "Grace H.", "template": "Photo: Ada L.",
    "lines": "Line one line two line three left-to-right",
}  # fmt: skip

LICENCES = {
    "pd": "Public domain", "cc0": "CC0 1.0", "cc-by-sa-3.0-de": "CC BY-SA 3.0 DE",
}  # fmt: skip

TAKEN = ("cyrillic", "cjk", "quotes", "slash", "parent", "percent", "long", "formula", "hidden",
         "bidi", "device", "no suffix", "userhidden", "image/png", "image/webp", "small", "no date",
         "long author", "no author", "html licence", "other url")  # fmt: skip


@dataclass
class Imported:
    """A folder that an import wrote, its tables, and the server it came from."""

    folder: Path
    world: World
    server: FakeWikimedia

    def rows(self, name: str) -> list[dict[str, str]]:
        with open(self.folder / name, encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))

    def row(self, name: str, trap: str) -> dict[str, str] | None:
        wanted = f"commons:{self.world.traps[trap].pageid}"
        found = [row for row in self.rows(name) if wanted in (row.get("id"), row.get("name"))]
        return found[0] if found else None


def collect(server: FakeWikimedia, folder: Path, **options: Any) -> None:
    cache, sites = folder / "commons.sqlite", Sites.at(server.base)
    clock = server.clock
    with PoliteClient("me@example.org", sites=sites, cache=cache, clock=clock) as client:
        import_commons(folder, WANTED, CommonsOptions(**options), client)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imported]:
    folder = tmp_path_factory.mktemp("traps") / "out"
    with FakeWikimedia(trap_city(), clock=Clock()) as server:
        server.fault("split", on="commons", times=0, value=9)
        collect(server, folder, limit=100, distractors=5)
        yield Imported(folder, server.world, server)


def test_every_trap_is_expected_somewhere(imported: Imported) -> None:
    expected = {*LEFT_OUT, *AUTHORS, *LICENCES, *TAKEN, "series"}
    assert expected == {*imported.world.traps}


@pytest.mark.parametrize("trap", LEFT_OUT)
def test_what_is_left_out_is_listed_with_its_reason(imported: Imported, trap: str) -> None:
    assert imported.row("photos.csv", trap) is None
    assert imported.row("credits.csv", trap) is None
    row = imported.row("problems.csv", trap)
    assert row is not None
    assert LEFT_OUT[trap] in row["detail"]


@pytest.mark.parametrize("trap", [*TAKEN, *AUTHORS, *LICENCES])
def test_what_is_taken_has_a_picture_and_its_credit(imported: Imported, trap: str) -> None:
    row = imported.row("photos.csv", trap)
    credit = imported.row("credits.csv", trap)
    assert row is not None
    assert credit is not None
    pageid = imported.world.traps[trap].pageid
    assert row["landmark"] == "Q90101"
    assert Path(row["path"]).parent.as_posix() == "photos/Q90101"
    assert Path(row["path"]).stem == str(pageid)
    with Pillow.open(imported.folder / row["path"]) as image:
        assert image.size == ((800, 600) if trap == "small" else (960, 480))
    licence = (credit["licence"], credit["licence_url"])
    if trap in LICENCES:
        assert licence[0] == LICENCES[trap]
        assert licence[1].startswith("https://creativecommons.org/")
    else:
        assert licence == BY_SA
    assert credit["author"] == AUTHORS.get(trap, credit["author"])
    assert 0 < len(credit["author"]) <= 500
    assert "<script" not in credit["author"]
    assert "\u202e" not in credit["author"]
    assert credit["source"].startswith("https://commons.wikimedia.org/")
    assert "utm_" not in credit["source"]


def test_nothing_is_written_beside_the_folders(imported: Imported) -> None:
    folder = imported.folder
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    files = {path.relative_to(folder).parts[0] for path in folder.rglob("*") if path.is_file()}
    assert files <= {"photos", "distractors", "photos.csv", "landmarks.csv", "credits.csv",
                     "distractors.csv", "problems.csv", "commons.sqlite"}  # fmt: skip
    names = {path.name for path in folder.rglob("*.*") if path.parent.parent.name == "photos"}
    assert names == {Path(row["path"]).name for row in imported.rows("photos.csv")}


def test_odd_items_are_landmarks_or_told(imported: Imported) -> None:
    told = {row["name"]: row["detail"] for row in imported.rows("problems.csv")}
    assert "not on Earth" in told["Q90114"]
    assert {f"Q9011{number}" for number in (0, 1, 5, 7)} <= told.keys()  # no photos
    labels = {label for row in imported.rows("photos.csv") for label in row["landmark"].split("|")}
    assert labels == {*imported.world.landmarks}
    assert "Q90091" not in told  # a deleted item is in no place


def test_no_limit_was_broken(imported: Imported) -> None:
    server = imported.server
    broken = [name for name, count in server.counts.items() if count and
              name.startswith(("refused", "parallel", "large", "without"))]  # fmt: skip
    assert broken == []
    assert max(server.fetched.values()) == 1
    assert server.max_parallel_media <= 2


def test_an_import_through_all_passing_faults_ends_as_one_without(tmp_path: Path) -> None:
    world = city(2, 24, seed=20, side=32, wide=2048)
    with FakeWikimedia(world, clock=Clock()) as server:
        collect(server, tmp_path / "whole", limit=9, distractors=3)
        faults = [
            server.fault(name, on="commons", nth=2 + 2 * at)
            for at, name in enumerate(("html", "maxlag", "text", "429", "hangup", "ratelimited"))
        ]
        faults += [
            server.fault(name, on="media", nth=1 + 3 * at)
            for at, name in enumerate(("html-502", "reset", "429-after", "truncated", "hangup"))
        ]
        faults += [server.fault(name, on="wikidata") for name in ("error", "empty", "list")]
        faults += [server.fault("429-after", on="sparql"), server.fault("timeout", on="sparql")]
        server.forget()
        collect(server, tmp_path / "faulty", limit=9, distractors=3)
    assert [fault.name for fault in faults if not fault.used] == []
    for name in ("photos.csv", "landmarks.csv", "credits.csv", "distractors.csv"):
        assert (tmp_path / "faulty" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert server.max_parallel_api == 1
    assert [name for name, count in server.counts.items() if "refused" in name and count] == []
