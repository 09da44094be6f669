"""`fetch gldv2` from a stand-in of its store: what is fetched, how many bytes, and every fault."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import itertools
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.test_commands import json_of, run
from tests.support.fake_s3 import FakeS3, bucket_of, drawn_world, tar_of
from tests.support.gldv2_layout import Gldv2Set, Item, photo_path
from whichlandmark.collect import gldv2_download
from whichlandmark.collect.gldv2_download import FetchOptions, FetchResult, fetch_gldv2
from whichlandmark.collect.gldv2_store import Fetching
from whichlandmark.collect.gldv2_tars import GAP_BYTES, TarSearch, UnorderedError, spans
from whichlandmark.collect.http_client import PoliteClient
from whichlandmark.core.errors import DataError, NetworkError, OptionError
from whichlandmark.data import gldv2_tables
from whichlandmark.data.gldv2 import Gldv2Options, import_gldv2
from whichlandmark.data.gldv2_tables import Place, landmark_ids, read_offsets, write_offsets

THREE = ("40", "41", "42")


class Clock:
    """A clock that jumps where others wait."""

    seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(gldv2_download, "PoliteClient", functools.partial(PoliteClient, clock=made))
    return made


@pytest.fixture(scope="module")
def world() -> Gldv2Set:
    return drawn_world()


@pytest.fixture(scope="module")
def objects(world: Gldv2Set) -> dict[str, Any]:
    return bucket_of(world)


@pytest.fixture
def s3(objects: dict[str, Any]) -> Iterator[FakeS3]:
    with FakeS3(dict(objects)) as server:
        yield server


def fetch(s3: FakeS3, out: Path, **options: Any) -> FetchResult:
    return fetch_gldv2(out, FetchOptions(**options), api=s3.base)


def photos_of(world: Gldv2Set, *landmarks: str, part: str = "train") -> dict[str, bytes]:
    return {i.id: i.data for i in getattr(world, part) if i.landmark in landmarks}


def on_disk(folder: Path) -> dict[str, bytes]:
    """Photos of a tree a/b/c/<id>.jpg; nothing else may be in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert all(str(path.relative_to(folder)) == photo_path(path.stem) for path in files), files
    return {path.stem: path.read_bytes() for path in files}


def tars_on_disk(world: Gldv2Set, folder: Path) -> Path:
    """The tars of train, as a person with the whole data set has them."""
    (folder / "train").mkdir(parents=True)
    for key, content in bucket_of(world).items():
        if key.startswith("train/") and callable(content):
            (folder / key).write_bytes(content())
    return folder


def rows_of(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


# ---- photos of some landmarks, by a search


def test_three_landmarks_are_cut_out_of_tars_that_nobody_has_listed(
    s3: FakeS3, world: Gldv2Set, tmp_path: Path
) -> None:
    done = fetch(s3, tmp_path, landmarks=THREE)
    wanted = photos_of(world, *THREE)
    assert on_disk(tmp_path / "train") == wanted
    assert done.counts["photos fetched"] == done.counts["photos wanted"] == len(wanted) > 20
    assert not done.problems
    assert not (tmp_path / "problems.csv").exists()
    tars = s3.asked(".tar")
    assert len(tars) < 4 * len(wanted)
    assert all(one.range for one in tars)
    assert s3.photos_sent() == sum(one.sent for one in tars) < 20_000 * len(wanted)
    assert not list(tmp_path.rglob("*.part*"))
    assert 1 < s3.most_at_once <= 4
    assert "landmarks of train: 40 Tower 40: " in done.notes[0]


def test_what_was_fetched_is_imported_with_its_credits_and_no_other_photo_is_missed(
    s3: FakeS3, world: Gldv2Set, tmp_path: Path
) -> None:
    fetch(s3, tmp_path / "g", landmarks=("40",))
    fetch(s3, tmp_path / "g", landmarks=("41",), clean=True)
    fetch(s3, tmp_path / "g", parts=("index",), categories=("pont neuf",))
    done = import_gldv2(tmp_path / "g", tmp_path / "t", Gldv2Options(all_photos=True))
    wanted = set(photos_of(world, "40")) | {
        item.id for item in world.train if item.landmark == "41" and item.clean
    }
    assert {row[0] for row in rows_of(tmp_path / "t" / "train.csv")[1:]} == wanted
    assert {row[0] for row in rows_of(tmp_path / "t" / "index.csv")[1:]} == set(
        photos_of(world, "901", part="index")
    )
    credits = {row[0]: row for row in rows_of(tmp_path / "t" / "credits.csv")[1:]}
    assert set(credits) == wanted
    one = min(wanted)
    assert credits[one] == [
        one, f"Author of {one}", "CC BY-SA 3.0", "https://creativecommons.org/licenses/by-sa/3.0/",
        f"https://commons.wikimedia.org/wiki/File:{one}.jpg",
    ]  # fmt: skip
    assert not done.problems
    assert any("train and index: only the photos that `fetch gldv2`" in n for n in done.notes)


def test_the_same_command_asks_for_nothing_again(s3: FakeS3, tmp_path: Path) -> None:
    fetch(s3, tmp_path, landmarks=("40",))
    asked = len(s3.log)
    mark = tmp_path / "metadata" / "train.csv.part.etag"
    mark.write_text('"x"\n9')  # of a run that was killed just before it deleted this
    done = fetch(s3, tmp_path, landmarks=("40",))
    assert len(s3.log) == asked
    assert not mark.exists()
    assert done.counts["photos here before"] == done.counts["photos wanted"]
    assert done.counts["requests"] == 0


def test_a_stopped_fetch_goes_on_and_fetches_no_photo_twice(
    s3: FakeS3, world: Gldv2Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []
    keep = Fetching.keep

    def stopping(self: Fetching, part: str, photo_id: str, photo: bytes | str) -> str:
        if len(kept) in (3, 11):
            kept.append("")
            raise KeyboardInterrupt
        kept.append(photo_id)
        return keep(self, part, photo_id, photo)

    monkeypatch.setattr(Fetching, "keep", stopping)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fetch(s3, tmp_path, landmarks=THREE)
        assert not list(tmp_path.rglob("*.part"))
        assert not (tmp_path / "problems.csv").exists()
    fetch(s3, tmp_path, landmarks=THREE)
    wanted = photos_of(world, *THREE)
    assert on_disk(tmp_path / "train") == wanted
    assert sorted(filter(None, kept)) == sorted(wanted)


def test_landmarks_are_chosen_by_words_size_and_clean_photos(
    s3: FakeS3, world: Gldv2Set, tmp_path: Path
) -> None:
    def wanted(**options: Any) -> dict[str, int]:
        return fetch(s3, tmp_path, dry_run=True, **options).counts

    clean = {name: sum(i.landmark == name and i.clean for i in world.train) for name in world.names}
    third = sorted(clean, key=lambda name: (-clean[name], len(name), name))[:3]
    assert wanted(categories=("CAFE paris d'été",))["photos wanted"] == len(photos_of(world, "3"))
    assert wanted(categories=("eiffel",), clean=True)["photos wanted"] == clean["7"]
    assert wanted(categories=("eif", "cafe"))["landmarks"] == 2
    assert wanted(largest=3)["photos wanted"] == len(photos_of(world, *third))
    assert wanted(largest=3, categories=("tower",), limit=4)["photos wanted"] == 12
    assert wanted(landmarks=("7",), largest=1, limit=2)["photos wanted"] == 2
    assert wanted(parts=("test",), landmarks=("1",))["photos wanted"] == len(
        photos_of(world, "1", part="test")
    )
    assert not on_disk(tmp_path / "train") if (tmp_path / "train").exists() else True
    assert not s3.asked(".tar")
    assert not s3.asked("attribution.csv")


# ---- photos at known offsets


@pytest.fixture(scope="module")
def tars(world: Gldv2Set, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tars_on_disk(world, tmp_path_factory.mktemp("tars"))


@pytest.mark.parametrize("source", ["offsets", "imported"])
def test_known_offsets_cost_hardly_more_bytes_than_the_photos_have(
    s3: FakeS3, world: Gldv2Set, tars: Path, tmp_path: Path, source: str
) -> None:
    table = tmp_path / "offsets.csv"
    if source == "offsets":
        counts, damaged = write_offsets(tars, table)
        assert counts == {"photos": 3000, "tars": 500, "damaged tars": 0}
        assert not damaged
    else:
        (tars / "train.csv").write_bytes(s3.objects["metadata/train.csv"])  # type: ignore[arg-type]
        import_gldv2(tars, tmp_path / "i", Gldv2Options(all_photos=True, md5=False, workers=1))
        table = tmp_path / "i" / "train.csv"
    done = fetch(s3, tmp_path / "g", landmarks=THREE, offsets=table)
    wanted = photos_of(world, *THREE)
    assert on_disk(tmp_path / "g" / "train") == wanted
    asked = s3.asked(".tar")
    places = read_offsets(table, "train", set(wanted))
    exact = sum(map(len, wanted.values())) + 512 * len(wanted)
    assert len(asked) == len(spans(places)) <= done.counts["photos at known offsets"]
    assert exact <= s3.photos_sent() <= exact + GAP_BYTES * (len(wanted) - len(asked))


def test_neighbours_are_asked_for_together_up_to_a_size() -> None:
    places = {
        "a": Place(0, 1024, 900), "b": Place(0, 2560, 100), "c": Place(0, 1 << 20, 10),
        "d": Place(1, 512, 9_000_000), "e": Place(1, 9_001_472, 9_000_000), "f": Place(1, 512, 7),
    }  # fmt: skip
    assert [(s.tar, s.start, s.end, s.ids) for s in spans(places)] == [
        (0, 512, 2660, ("a", "b")), (0, (1 << 20) - 512, (1 << 20) + 10, ("c",)),
        (1, 0, 9_000_512, ("f", "d")), (1, 9_000_960, 18_001_472, ("e",)),
    ]  # fmt: skip


def test_photos_that_are_not_at_their_offsets_are_looked_for(
    s3: FakeS3, world: Gldv2Set, tars: Path, tmp_path: Path
) -> None:
    wanted = photos_of(world, "40")
    places = read_offsets(_offsets(tars, tmp_path), "train", set(wanted))
    table = tmp_path / "wrong.csv"
    lines = [f"{one},images_{at.tar:03d}.tar,{at.offset + 512},{at.size}"
             for one, at in places.items()]  # fmt: skip
    lines[0] = lines[0].replace(f"_{places[min(places)].tar:03d}", "_499")
    lines[1] = lines[1].rpartition(",")[0].rpartition(",")[0] + ",51200000,70"  # behind the end
    table.write_text("id,tar,offset,size\n" + "\n".join(lines) + "\n")
    done = fetch(s3, tmp_path / "g", landmarks=("40",), offsets=table)
    assert on_disk(tmp_path / "g" / "train") == wanted
    assert not done.problems
    assert f"{len(wanted)} photos are not where" in done.notes[1]


def _offsets(tars: Path, folder: Path) -> Path:
    write_offsets(tars, folder / "offsets.csv")
    return folder / "offsets.csv"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,name\n1,2\n", "columns id,name given"),
        ("id,tar,offset,size\nabcd,images_1.tar,512,9\n", "line 2: tar 'images_1.tar'"),
        ("id,tar,offset,size\nabcd,images_001.tar,-512,9\n", "offset '-512'"),
        ("id,tar,offset,size\nabcd,images_001.tar,700,9\n", "multiples of 512"),
        ("id,tar,offset,size\nabcd,images_001.tar,512,99999999999\n", "1 to 64000000 bytes"),
        ("id,path,landmark\nabcd,train/a/b/c/abcd.jpg,7\n", "is no address in a tar"),
    ],
)
def test_a_table_without_usable_offsets_says_what_is_wrong(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "o.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_offsets(tmp_path / "o.csv", "train", {"abcd"})


def test_offsets_of_another_part_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("id,tar,offset,size\nabcd,index/images_001.tar,512,9\n"
                                    "abcd,../x/images_002.tar,1024,8\n")  # fmt: skip
    assert read_offsets(tmp_path / "o.csv", "train", {"abcd"}) == {"abcd": Place(2, 1024, 8)}
    assert read_offsets(tmp_path / "o.csv", "index", {"abcd"}) == {"abcd": Place(1, 512, 9)}


# ---- faults of the store


@pytest.mark.parametrize("fault", ["slowdown", "cut", "shifted", "whole", "short", "forbidden"])
def test_a_fault_that_passes_costs_no_photo(
    s3: FakeS3, world: Gldv2Set, tars: Path, tmp_path: Path, fault: str, clock: Clock
) -> None:
    wanted = photos_of(world, "40")
    places = read_offsets(_offsets(tars, tmp_path), "train", set(wanted))
    for tar in {at.tar for at in places.values()}:
        s3.fail(f"train/images_{tar:03d}.tar", fault)
    s3.fail("metadata/train.csv", "cut" if fault == "cut" else "slowdown")
    fetch(s3, tmp_path / "g", landmarks=("40",), offsets=tmp_path / "offsets.csv")
    assert on_disk(tmp_path / "g" / "train") == wanted
    assert clock.seconds >= 5


@pytest.mark.parametrize(
    ("fault", "said"),
    [("shifted", "sends bytes"), ("whole", "sends the whole file"), ("forbidden", "403")],
)
def test_a_fault_that_stays_is_listed_and_the_other_photos_come(
    s3: FakeS3, world: Gldv2Set, tmp_path: Path, fault: str, said: str
) -> None:
    wanted = photos_of(world, "40")
    lost = sorted(wanted)[0]
    keys = [f"train/images_{number:03d}.tar" for number in range(500)]
    tar = next(key for key in keys if lost.encode() in (s3.content(key) or b""))
    s3.fail(tar, fault, times=1000)
    done = fetch(s3, tmp_path, landmarks=("40",))
    fetched = on_disk(tmp_path / "train")
    assert lost not in fetched
    assert fetched.items() <= wanted.items()
    assert len(fetched) > 3
    assert done.counts["photos left out"] == len(wanted) - len(fetched)
    rows = rows_of(tmp_path / "problems.csv")
    assert rows[0] == ["kind", "name", "detail"]
    assert rows[1][:2] == ["photo", lost]
    assert said in rows[1][2]


def test_without_network_the_command_says_so_and_goes_on_later(
    s3: FakeS3, world: Gldv2Set, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fetch(s3, tmp_path / "g", landmarks=("40",), dry_run=True)
    code, _, err = run(capfd, "fetch", "gldv2", "-o", tmp_path / "g", "--landmarks", "40",
                       "--api", "http://127.0.0.1:1")  # fmt: skip
    assert code == 7
    assert "127.0.0.1" in err
    assert "the same command goes on" in err
    fetch(s3, tmp_path / "g", landmarks=("40",))
    assert on_disk(tmp_path / "g" / "train") == photos_of(world, "40")


def test_a_full_disk_is_told_before_anything_is_fetched(
    s3: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(s3, tmp_path, landmarks=("40",))
    asked = len(s3.log)
    full = type("Usage", (), {"free": 1_000_001, "total": 10**9})
    monkeypatch.setattr("shutil.disk_usage", lambda place: full)
    with pytest.raises(DataError, match="the photos take about 2 MB, 1 MB are free"):
        fetch(s3, tmp_path, landmarks=("41",))
    with pytest.raises(DataError, match="the tars take about 500,000 MB, 1 MB are free"):
        fetch(s3, tmp_path, whole_tars=True)
    assert len(s3.log) == asked


# ---- whole tars


def test_a_whole_part_is_kept_as_tars_and_imported(
    s3: FakeS3, world: Gldv2Set, tmp_path: Path
) -> None:
    done = fetch(s3, tmp_path / "g", parts=("test",), whole_tars=True)
    assert done.counts["tars fetched"] == 20
    assert not done.problems
    for number in range(20):
        name = f"test/images_{number:03d}.tar"
        assert (tmp_path / "g" / name).read_bytes() == s3.content(name)
    asked = len(s3.log)
    again = fetch(s3, tmp_path / "g", parts=("test",), whole_tars=True)
    assert again.counts["tars here before"] == 20
    some = fetch(s3, tmp_path / "g", parts=("test",), largest=1)
    assert not (tmp_path / "g" / "subset").exists()
    assert "all tars of test are in" in some.notes[0]
    assert {one.key for one in s3.log[asked:]} == {"metadata/train_label_to_category.csv"}
    imported = import_gldv2(tmp_path / "g", tmp_path / "t", Gldv2Options(workers=1))
    assert imported.counts["test photos"] == 60
    assert not imported.problems


def test_a_tar_goes_on_where_it_stopped_unless_it_has_changed(
    s3: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gldv2_tables.TARS, "test", 3)
    sent = s3.content("test/images_000.tar") or b""
    etag = f'"{hashlib.md5(sent).hexdigest()}-7"'
    (tmp_path / "test").mkdir()
    for number, tag in enumerate((etag, '"of another file"', "no mark")):
        part = tmp_path / "test" / f"images_{number:03d}.tar.part"
        part.write_bytes(sent[:5000])
        if number < 2:
            part.with_name(f"{part.name}.etag").write_text(f"{tag}\n{len(sent)}")
    fetch(s3, tmp_path, parts=("test",), whole_tars=True)
    asked = {number: s3.asked(f"test/images_{number:03d}.tar") for number in range(3)}
    assert [one.range for one in asked[0]] == [(5000, len(sent))]
    assert asked[1][-1].sent == len(s3.content("test/images_001.tar") or b"")
    assert [one.range for one in asked[2]] == [None]
    for number in range(3):
        name = f"test/images_{number:03d}.tar"
        assert (tmp_path / name).read_bytes() == s3.content(name)
    assert not list(tmp_path.rglob("*.part*"))


def test_a_complete_part_file_is_only_given_its_name(
    s3: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gldv2_tables.TARS, "test", 1)
    sent = s3.content("test/images_000.tar") or b""
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "images_000.tar.part").write_bytes(sent)
    (tmp_path / "test" / "images_000.tar.part.etag").write_text(f'"x"\n{len(sent)}')
    fetch(s3, tmp_path, parts=("test",), whole_tars=True)
    assert not s3.asked("test/images_000.tar")
    assert (tmp_path / "test" / "images_000.tar").read_bytes() == sent


@pytest.mark.parametrize(("times", "kept"), [(1, True), (2, False)])
def test_a_tar_of_another_md5_is_fetched_again_once_then_listed(
    s3: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, kept: bool
) -> None:
    monkeypatch.setitem(gldv2_tables.TARS, "test", 2)
    s3.fail("test/images_000.tar", "changed", times)
    done = fetch(s3, tmp_path, parts=("test",), whole_tars=True)
    assert len(s3.asked("test/images_000.tar")) == 2
    assert (tmp_path / "test" / "images_000.tar").exists() is kept
    assert (tmp_path / "test" / "images_001.tar").exists()
    assert bool(done.problems) is not kept
    if not kept:
        assert "fetched twice: damaged in the store" in done.problems["tar"][0]
        assert not list(tmp_path.rglob("*.part*"))


def test_a_missing_tar_and_a_missing_or_empty_md5_are_listed(
    s3: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gldv2_tables.TARS, "test", 3)
    del s3.objects["test/images_000.tar"], s3.objects["md5sum/test/md5.images_001.txt"]
    s3.objects["md5sum/test/md5.images_002.txt"] = b"<html>none</html>"
    done = fetch(s3, tmp_path, parts=("test",), whole_tars=True)
    assert [line.partition(":")[0] for line in done.problems["tar"]] == ["test/images_000.tar"]
    assert "404" in done.problems["tar"][0]
    assert [line.partition(":")[0] for line in done.problems["md5"]] == [
        "test/md5.images_001.txt", "test/md5.images_002.txt"]  # fmt: skip
    assert done.counts["tars fetched"] == 2


def evil_tar(items: list[Item]) -> bytes:
    """Photos between members that must do no harm: links, paths upwards, a lie about a size."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, kind in (("../../../evil.jpg", tarfile.REGTYPE),
                           ("/tmp/evil.jpg", tarfile.REGTYPE),
                           (photo_path(items[0].id), tarfile.SYMTYPE),
                           (photo_path(items[1].id), tarfile.LNKTYPE),
                           ("f/f/f/" + items[0].id + ".jpg", tarfile.REGTYPE),
                           ("long/" * 40 + items[0].id + ".jpg", tarfile.REGTYPE)):  # fmt: skip
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            entry.size = 4 if kind == tarfile.REGTYPE else 0
            tar.addfile(entry, io.BytesIO(b"evil"))
        for item in items:
            entry = tarfile.TarInfo(photo_path(item.id))
            entry.size = len(item.data)
            tar.addfile(entry, io.BytesIO(item.data))
    return buffer.getvalue()


def test_only_the_wanted_photos_of_whole_tars_are_kept(
    s3: FakeS3, world: Gldv2Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gldv2_tables.TARS, "train", 4)
    wanted = photos_of(world, "40")
    items = [item for item in world.train if item.id in wanted]
    others = [item for item in world.train if item.landmark == "5"]
    no_photo = Item(items[2].id, "40", b"<html>" * 9)
    tars = [evil_tar(items[:2]), tar_of([no_photo, *others])[:-7000], tar_of(items[3:]), b"no tar"]
    for number, content in enumerate(tars):
        s3.objects[f"train/images_{number:03d}.tar"] = content
        s3.objects.pop(f"md5sum/train/md5.images_{number:03d}.txt")
    done = fetch(s3, tmp_path / "g", landmarks=("40",), whole_tars=True)
    assert on_disk(tmp_path / "g" / "train") == {
        one: data for one, data in wanted.items() if one != items[2].id
    }
    assert not list(tmp_path.rglob("evil*"))
    assert not Path("/tmp/evil.jpg").exists()
    assert "not a JPEG photo" in " ".join(done.problems["photo"])
    assert done.counts["tars fetched"] == 3  # the last one is not needed
    asked = len(s3.asked(".tar"))
    fetch(s3, tmp_path / "g", landmarks=("40",), whole_tars=True)
    assert [one.key for one in s3.asked(".tar")[asked:]] == ["train/images_003.tar"]


def test_a_tar_that_a_stopped_run_was_unpacking_is_not_left_on_the_disk(
    s3: FakeS3, world: Gldv2Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gldv2_tables.TARS, "train", 2)
    for number in range(2):
        s3.objects[f"train/images_{number:03d}.tar"] = tar_of(world.train[number::2])
        del s3.objects[f"md5sum/train/md5.images_{number:03d}.txt"]

    def stopping(*given: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Fetching, "keep", stopping)
        with pytest.raises(KeyboardInterrupt):
            fetch(s3, tmp_path, landmarks=("40",), whole_tars=True)
    fetch(s3, tmp_path, landmarks=("40",), whole_tars=True)
    assert on_disk(tmp_path / "train") == photos_of(world, "40")
    assert len(s3.asked("images_000.tar")) == 1  # it was there as a whole
    own = tmp_path / "train" / "images_000.tar"  # the user's
    own.write_bytes(tar_of(world.train[::2]))
    fetch(s3, tmp_path, landmarks=("40", "41"), whole_tars=True)
    assert len(s3.asked("images_000.tar")) == 1
    assert own.is_file()
    own.unlink()
    assert on_disk(tmp_path / "train") == photos_of(world, "40", "41")


def test_tars_in_another_order_end_the_search_and_say_what_helps(
    world: Gldv2Set, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with FakeS3(bucket_of(world, ordered=False)) as s3:
        code, _out, err = run(capfd, "fetch", "gldv2", "-o", tmp_path, "--landmarks", "40", "--api",
                             s3.base)  # fmt: skip
    assert code == 4
    assert "order of" in err
    assert "--whole-tars fetches all 500 tars, 500 GB" in err
    assert not (tmp_path / "train").exists()


# ---- the search itself


@pytest.mark.parametrize("seed", range(6))
def test_every_photo_of_odd_tars_is_found_and_no_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = sorted({f"{n:016x}" for n in rng.integers(0, 2**63, 400).tolist()})
    sizes = rng.lognormal(7, 1.3, len(ids)).astype(int)
    items = [Item(one, "1", b"\xff\xd8\xff" + rng.bytes(size))
             for one, size in zip(ids, sizes.tolist(), strict=True)]  # fmt: skip
    missing = set(rng.choice(ids, 20, replace=False).tolist())  # in train.csv, in no tar
    here = [item for item in items if item.id not in missing]
    cuts = [0, *sorted(rng.integers(1, len(here), 4).tolist()), len(here)]
    tars = [tar_of(here[a:b] or here[a : a + 1]) for a, b in itertools.pairwise(cuts)]
    if len(set(cuts)) < len(cuts):
        pytest.skip("an empty tar")
    asked = 0

    def read(number: int, start: int, end: int) -> tuple[bytes, int]:
        nonlocal asked
        asked += 1
        assert 0 <= start < end
        return tars[number][start:end], len(tars[number])

    search = TarSearch(np.array(ids, dtype=np.bytes_), len(tars), read)
    for item in rng.permutation(np.array(items, dtype=object)).tolist():
        found = search.find(item.id)
        if item.id in missing:
            assert found is None
        else:
            place, data = found
            assert data[512:] == item.data
            assert tars[place.tar][place.offset : place.offset + place.size] == item.data
    assert asked < 3 * len(ids)
    assert search.find("0" * 16) is None
    assert search.find("zzz") is None


def test_tars_that_are_not_ordered_are_noticed() -> None:
    items = [Item(f"{n:04x}0000", "1", b"\xff\xd8\xff" + bytes(700)) for n in range(64)]
    ids = np.array([item.id for item in items], dtype=np.bytes_)
    tar = tar_of(items[::2] + items[1::2])
    search = TarSearch(ids, 1, lambda number, start, end: (tar[start:end], len(tar)))
    with pytest.raises(UnorderedError):
        [search.find(item.id) for item in items]
    no_tar = TarSearch(ids, 1, lambda number, start, end: (b"<html>" * 999, 5994))
    with pytest.raises(UnorderedError, match="does not begin with photos"):
        no_tar.find(items[0].id)


# ---- the command


def test_the_command_tells_what_it_did_and_what_comes_next(
    s3: FakeS3, world: Gldv2Set, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "some.csv"
    listed.write_text("landmark,name,category\n40,A,\n41,B,\n")
    code, out, err = run(capfd, "fetch", "gldv2", "-o", tmp_path / "g", "--landmarks", listed,
                         "--limit", "2", "--api", s3.base)  # fmt: skip
    assert code == 0, err
    assert "photos fetched                   4" in out
    assert f"next: whichlandmark import gldv2 {tmp_path / 'g'} -o TABLES --all" in err
    dry = json_of(capfd, "fetch", "gldv2", "-o", tmp_path / "g", "--largest", "5", "--dry-run",
                  "--api", s3.base)  # fmt: skip
    assert dry["photos wanted"] * 3 < dry["requests"] < dry["photos wanted"] * 5
    assert dry["megabytes"] > dry["photos wanted"] * 0.8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "all of train is 500 tars of about 500 GB in all; give --whole-tars"),
        (("--part", "trian", "--largest", "1"), "part 'trian' given; expected train, index, test"),
        (("--part", "index", "--clean"), "--clean is about train only"),
        (("--part", "index", "--part", "train", "--landmarks", "1"), "same number is another"),
        (("--landmarks", "1,a b/c"), "'b/c' is no landmark id"),
        (("--landmarks", "99999"), "no photo of train has this landmark"),
        (("--category", "nowhere at all"), "no landmark of train is called so"),
        (("--write-offsets", "o.csv"), "belong together"),
    ],
)
def test_what_does_not_fit_is_refused(
    s3: FakeS3, tmp_path: Path, capfd: pytest.CaptureFixture[str], options: tuple[str, ...],
    said: str,
) -> None:  # fmt: skip
    code, _, err = run(capfd, "fetch", "gldv2", "-o", tmp_path, *options, "--api", s3.base)
    assert code == 2, err
    assert said in err
    assert not s3.asked(".tar")


def test_landmark_ids_are_read_from_words_and_files(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("7\n12\n7\n")
    (tmp_path / "table.csv").write_text("landmark_id,images\n5,a b\n6,c\n")
    assert landmark_ids(" 3, 4,3") == ["3", "4"]
    assert landmark_ids(str(tmp_path / "plain.txt")) == ["7", "12"]
    assert landmark_ids(str(tmp_path / "table.csv")) == ["5", "6"]
    with pytest.raises(OptionError, match="is no landmark id"):
        landmark_ids(str(tmp_path / "missing.csv"))


def test_offsets_are_written_by_whoever_has_the_tars(
    world: Gldv2Set, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "images_000.tar").write_bytes(tar_of(world.index[:3]))
    (tmp_path / "test" / "images_001.tar").write_bytes(tar_of(world.test[:9])[:-11_000])
    code, _out, err = run(capfd, "fetch", "gldv2", "--write-offsets", tmp_path / "o.csv", "--from",
                         tmp_path)  # fmt: skip
    assert code == 3
    assert "test/images_001.tar" in err
    assert "cut short" in err
    rows = rows_of(tmp_path / "o.csv")
    assert rows[0] == ["id", "tar", "offset", "size"]
    assert len(rows) == 1 + 3 + 7
    assert {row[1] for row in rows[1:]} == {"images_000.tar", "test/images_001.tar"}
    code, _, err = run(capfd, "fetch", "gldv2", "--write-offsets", tmp_path / "p.csv", "--from",
                       tmp_path / "test" / "none")  # fmt: skip
    assert code == 4
    assert "no tar found" in err


def test_an_unknown_landmark_among_known_ones_is_listed(
    s3: FakeS3, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capfd, "fetch", "gldv2", "-o", tmp_path, "--landmarks", "40,99999",
                         "--json", "--api", s3.base)  # fmt: skip
    assert code == 3
    assert json.loads(out)["landmarks"] == 1
    assert "99999: no photo of train has this landmark" in err


@pytest.mark.parametrize("page", [b"<html>Sign in to this network</html>", b"a,b\n1,2\n"])
def test_a_page_in_place_of_a_table_does_not_stay(
    s3: FakeS3, world: Gldv2Set, tmp_path: Path, page: bytes
) -> None:
    table = s3.objects["metadata/train.csv"]
    s3.objects["metadata/train.csv"] = page
    with pytest.raises(NetworkError, match=r"no photo can be chosen without train\.csv"):
        fetch(s3, tmp_path, landmarks=("41",))
    s3.objects["metadata/train.csv"] = table
    fetch(s3, tmp_path, landmarks=("41",))
    assert on_disk(tmp_path / "train") == photos_of(world, "41")


def test_a_table_that_is_missing_in_the_store_is_said(s3: FakeS3, tmp_path: Path) -> None:
    del s3.objects["metadata/train_attribution.csv"]
    done = fetch(s3, tmp_path / "a", landmarks=("40",))
    assert "train_attribution.csv" in done.problems["table"][0]
    assert done.counts["photos fetched"]
    del s3.objects["metadata/train.csv"]
    with pytest.raises(NetworkError, match=r"no photo can be chosen without train\.csv: .*404"):
        fetch(s3, tmp_path / "b", landmarks=("40",))
