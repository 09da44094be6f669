"""From a name to tables and photos: against a fake Wikimedia, with a simulated clock."""

from __future__ import annotations

import csv
import errno
import itertools
import json
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import whichlandmark
from tests.cli.test_commands import run
from tests.support.fake_city import CENTRE, Builder, add_surroundings, city
from tests.support.fake_wikimedia import FakeWikimedia
from tests.support.fake_world import Claim, Drawing, FakeFile, World
from whichlandmark.collect import commons as commons_module
from whichlandmark.collect import http_client
from whichlandmark.collect.candidates import in_order
from whichlandmark.collect.commons import (
    CommonsOptions,
    CommonsResult,
    Wanted,
    import_commons,
)
from whichlandmark.collect.http_client import PoliteClient, Sites
from whichlandmark.collect.write_tables import Row, write_tables
from whichlandmark.core.errors import DataError, NetworkError, OptionError
from whichlandmark.data.table import read_photos
from whichlandmark.gallery.records import read_credits, read_landmarks

Capture = pytest.CaptureFixture[str]
VELMORA = Wanted(region="Q90001")
TABLES = ("photos.csv", "landmarks.csv", "credits.csv", "distractors.csv", "problems.csv")


class Clock:
    """Time that passes only when someone waits."""

    def __init__(self) -> None:
        self._time, self._lock = 1_000.0, threading.Lock()

    def now(self) -> float:
        with self._lock:
            return self._time

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._time += seconds


@pytest.fixture(scope="module")
def drawn() -> World:
    return city(3, 22, seed=20, side=32, wide=2048)


@pytest.fixture(scope="module")
def running(drawn: World) -> Iterator[FakeWikimedia]:
    with FakeWikimedia(drawn, clock=Clock()) as made:
        yield made


@pytest.fixture(scope="module")
def whole(running: FakeWikimedia, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The city collected once, in one go: folder, tables, result, and what the server counted."""
    out = tmp_path_factory.mktemp("whole") / "velmora"
    running.forget()
    result = collect(running, out)
    counted = {name: copy(getattr(running, name)) for name in (
        "requests", "counts", "fetched", "max_parallel_api", "max_parallel_media")}  # fmt: skip
    counted["minute"] = running.busiest_minute()
    return SimpleNamespace(out=out, tables=tables(out), result=result, **counted)


@pytest.fixture
def server(running: FakeWikimedia, whole: SimpleNamespace) -> Iterator[FakeWikimedia]:
    """The server of a city of 3 landmarks and 22 files, as new; a test may change its files."""
    kept = [dict(vars(file)) for file in running.world.files]
    running.forget()
    yield running
    running.faults.clear()
    for file, values in zip(running.world.files, kept, strict=True):
        vars(file).clear()
        vars(file).update(values)


@pytest.fixture
def out(whole: SimpleNamespace, tmp_path: Path) -> Path:
    """A copy of the folder of `whole`."""
    return Path(shutil.copytree(whole.out, tmp_path / "copy"))


def collect(
    server: FakeWikimedia, out: Path, wanted: Wanted = VELMORA, *, refresh: bool = False,
    progress: Any = None, **options: Any,
) -> CommonsResult:  # fmt: skip
    given = {"languages": ("fr", "en")} | options
    with PoliteClient(
        "me@example.org", sites=Sites.at(server.base), cache=out / "commons.sqlite",
        refresh=refresh, clock=server.clock,
    ) as client:  # fmt: skip
        return import_commons(out, wanted, CommonsOptions(**given), client, progress)


def tables(out: Path) -> dict[str, str]:
    return {name: (out / name).read_text() for name in TABLES if (out / name).exists()}


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def problems(out: Path) -> dict[str, str]:
    return {row["name"]: row["detail"] for row in rows(out / "problems.csv")}


def page_of(photo_id: str) -> int:
    return int(photo_id.removeprefix("commons:"))


def test_a_city_becomes_tables_and_photos(drawn: World, whole: SimpleNamespace) -> None:
    world = drawn
    out, result = whole.out, whole.result
    photos, others = read_photos(out / "photos.csv"), read_photos(out / "distractors.csv")
    files = {file.pageid: file for file in world.files}
    ids = set(world.landmarks)
    inside = {item: {world.items[item].labels["en"]} for item in ids}
    for names in inside.values():
        names |= {c.name for c in world.categories.values() if {*c.parents} & names}
    for photo in photos:
        file, labels = files[page_of(photo.id)], set(str(photo.landmark).split("|"))
        found_in = {item for item in ids if {*file.categories} & inside[item]}
        assert labels == found_in | ({*file.depicts} & ids)
        first = min(labels, key=lambda one: int(one[1:]))
        assert photo.path == out / f"photos/{first}/{file.pageid}.jpg"
    assert len(photos) == result.counts["photos"] > 12
    for photo in others:
        file = files[page_of(photo.id)]
        assert photo.landmark is None
        assert file.title.startswith("File:Street scene")
        assert not {*file.depicts} & ids
        assert file.categories == ("Streets in Velmora",)
    assert len(others) == result.counts["distractors"] >= 2
    for name, path in zip([*photos.ids, *others.ids], [*photos.paths, *others.paths], strict=True):
        width = 960 if files[page_of(name)].width > 960 else None
        assert Path(path).read_bytes() == files[page_of(name)].bytes_at(width)
    credits = read_credits(out / "credits.csv")
    assert credits.keys() == {*photos.ids, *others.ids}
    for name, credit in credits.items():
        file = files[page_of(name)]
        assert (credit.author, credit.licence != "") == (file.uploader, True)
        assert credit.licence_url.startswith("https://creativecommons.org/")
        assert credit.source.startswith("https://commons.wikimedia.org/wiki/File:")
    records = {record.name: record for record in read_landmarks(out / "landmarks.csv")}
    assert records.keys() == ids
    first_item = world.items[world.landmarks[0]]
    record = records[first_item.id]
    assert (record.title, record.wikidata) == (first_item.labels["fr"], first_item.id)
    assert record.names == {key: first_item.labels[key] for key in ("fr", "en")}
    assert record.latitude == pytest.approx(first_item.truthy("P625")[0].value[0], abs=1e-6)
    there = {(record.city, record.country, record.country_code) for record in records.values()}
    assert there == {("Velmore", "République atlantique", "XA")}


def test_without_the_query_service_given_landmarks_are_collected(
    server: FakeWikimedia, tmp_path: Path
) -> None:
    item = server.world.landmarks[0]
    server.fault("banned", on="sparql", times=0)
    given = {"distractors": 0, "limit": 1}
    try:
        done = collect(server, tmp_path, Wanted(ids=(item,)), **given)
    finally:
        server.faults.clear()
    (record,) = read_landmarks(tmp_path / "landmarks.csv")
    assert (record.wikidata, record.city, record.country) == (item, "", "")
    assert done.notes[0].startswith("no cities and countries were found: ")
    collect(server, tmp_path, Wanted(ids=(item,)), **given)
    (record,) = read_landmarks(tmp_path / "landmarks.csv")
    assert (record.city, record.country_code) == ("Velmore", "XA")


def test_it_is_polite(whole: SimpleNamespace) -> None:
    assert (whole.max_parallel_api, whole.max_parallel_media) == (1, 2)
    assert whole.minute <= 200
    assert not [name for name in whole.counts if name.startswith("refused")]
    assert {*whole.fetched.values()} == {1}
    (agent,) = {request.headers["user-agent"] for request in whole.requests}
    assert "(me@example.org)" in agent


def test_a_second_run_asks_nothing_and_a_higher_limit_only_what_is_new(
    server: FakeWikimedia, whole: SimpleNamespace, out: Path, tmp_path: Path
) -> None:
    collect(server, out)
    assert server.requests == []
    assert tables(out) == whole.tables
    new = tmp_path / "new"
    collect(server, new, limit=3, distractors=1)
    few, fetched = {*read_photos(new / "photos.csv").ids}, Counter(server.fetched)
    assert 0 < len(few) < len(read_photos(out / "photos.csv"))
    collect(server, new)
    assert tables(new) == whole.tables
    assert few < {*read_photos(new / "photos.csv").ids}
    assert {*server.fetched.values()} == {1}
    assert fetched <= server.fetched


@pytest.mark.parametrize("after", [1, 9])
def test_an_interrupted_run_ends_with_the_same_tables(
    after: int, server: FakeWikimedia, whole: SimpleNamespace, tmp_path: Path
) -> None:
    def progress(name: str) -> Any:
        def move(done: int, total: int) -> None:
            if name == "fetching photos" and done >= after:
                raise KeyboardInterrupt

        return move

    with pytest.raises(KeyboardInterrupt):
        collect(server, tmp_path, progress=progress)
    assert not (tmp_path / "photos.csv").exists()
    collect(server, tmp_path)
    assert tables(tmp_path) == whole.tables
    assert {*server.fetched.values()} == {1}
    asked = [[one.params for one in requests if one.kind != "media"]
             for requests in (server.requests, whole.requests)]  # fmt: skip
    assert asked[0] == asked[1]


@pytest.mark.parametrize(("on", "name", "nth"), [("commons", "hangup", 3), ("media", "banned", 4)])
def test_a_network_that_fails_ends_the_run_and_the_next_one_goes_on(
    on: str, name: str, nth: int, server: FakeWikimedia, whole: SimpleNamespace, tmp_path: Path
) -> None:
    fault = server.fault(name, on=on, nth=nth, times=0)
    with pytest.raises(NetworkError, match="goes on where it stopped"):
        collect(server, tmp_path)
    server.faults.remove(fault)
    collect(server, tmp_path)
    assert tables(tmp_path) == whole.tables
    assert {*server.fetched.values()} == {1}


def test_a_disk_that_gets_full_ends_the_run_and_the_next_one_goes_on(
    server: FakeWikimedia, whole: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = itertools.count()
    save = PoliteClient._save

    def full(*given: Any) -> Any:
        if next(written) >= 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(*given)

    with monkeypatch.context() as patched:
        patched.setattr(PoliteClient, "_save", full)
        with pytest.raises(DataError, match=r"the disk of .* is full"):
            collect(server, tmp_path)
    assert len([*tmp_path.glob("photos/*/*.jpg")]) == 6
    collect(server, tmp_path)
    assert tables(tmp_path) == whole.tables
    assert not [*tmp_path.glob("photos/*/.*")]


@pytest.mark.parametrize("faults", [
    [("split", {"on": "commons", "path": "P180", "times": 0, "value": 3}),
     ("empty-first", {"on": "commons", "path": "gcmtype=file"}),
     ("429", {"on": "media", "nth": 5}),
     ("html-502", {"on": "media", "nth": 8}), ("truncated", {"on": "media", "nth": 11})],
    [("maxlag", {"on": "commons", "nth": 2, "times": 2}), ("429-after", {"on": "api", "nth": 5}),
     ("html", {"on": "commons", "nth": 5}), ("ratelimited", {"on": "commons", "nth": 8}),
     ("reset", {"on": "api", "nth": 12}), ("429-after", {"on": "media", "nth": 3})],
])  # fmt: skip
def test_what_passes_changes_no_table(
    faults: list[Any], server: FakeWikimedia, whole: SimpleNamespace, tmp_path: Path
) -> None:
    for name, options in faults:
        server.fault(name, **options)
    result = collect(server, tmp_path)
    assert all(fault.used for fault in server.faults)
    assert result.failures == {}
    assert tables(tmp_path) == whole.tables


def test_a_photo_that_cannot_be_had_is_listed_replaced_and_asked_for_again(
    server: FakeWikimedia, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    collect(server, tmp_path / "few", limit=3, distractors=1)
    before = tables(tmp_path / "few")
    ids = read_photos(tmp_path / "few/photos.csv").ids
    files = {f"commons:{file.pageid}": file for file in server.world.files}
    bad = [files[name] for name in ids if files[name].width > 960][:3]
    small = next(files[name] for name in ids if files[name].width < 960)
    half = bad[1].bytes_at(960)
    bad[0].body, bad[1].body = b"<!DOCTYPE html><p>no photo", half[: len(half) // 2]
    server.fault("other-bytes", on="media", path=small.key, times=0)
    server.fault("html-502", on="media", path=bad[2].key, times=0, value=404)
    result = collect(server, out, limit=3, distractors=1)
    lost = {f"commons:{file.pageid}" for file in [*bad, small]}
    assert result.failures.keys() == lost
    assert "no photo came, but web page" in problems(out)[f"commons:{bad[0].pageid}"]
    assert "damaged or cut short" in problems(out)[f"commons:{bad[1].pageid}"]
    assert "404" in problems(out)[f"commons:{bad[2].pageid}"]
    assert "not those that Commons names (sha1)" in problems(out)[f"commons:{small.pageid}"]
    have = {*read_photos(out / "photos.csv").ids}
    assert not lost & have
    assert len(have) >= len(ids) - 1
    assert not lost & read_credits(out / "credits.csv").keys()
    assert not [path for file in [*bad, small] for path in out.rglob(f"{file.pageid}.*")]
    server.faults.clear()
    for file in bad:
        file.body = None
    server.forget()
    collect(server, out, limit=3, distractors=1)
    assert tables(out) == before
    assert sum(server.fetched.values()) == 4  # only those four


def test_files_in_the_folder_are_taken_over_checked_or_fetched_again(
    server: FakeWikimedia, whole: SimpleNamespace, out: Path
) -> None:
    paths = [Path(path) for path in read_photos(out / "photos.csv").paths]
    before = {path: path.read_bytes() for path in paths}
    sql = sqlite3.connect(out / "commons.sqlite")
    with sql:
        for path in paths[:3]:  # killed before the row was written
            sql.execute("DELETE FROM media WHERE page = ?", (int(path.stem),))
    sql.close()
    paths[1].write_bytes(before[paths[1]][:500])  # and the file is not whole
    paths[2].write_text("<html>")
    paths[3].unlink()  # by the user
    paths[4].write_bytes(b"")
    collect(server, out)
    assert tables(out) == whole.tables
    assert {path: path.read_bytes() for path in paths} == before
    files = {file.pageid: file for file in server.world.files}
    again = [files[int(path.stem)] for path in paths[1:5]]
    assert server.fetched.keys() == {
        file.place(thumb=960) if file.width > 960 else file.place() for file in again
    }
    collect(server, out)
    assert sum(server.fetched.values()) == 4  # those taken over are known now


def test_refresh_asks_again_and_fetches_only_what_changed(server: FakeWikimedia, out: Path) -> None:
    photo = read_photos(out / "photos.csv")[2]
    old = photo.path.read_bytes()
    file = next(f for f in server.world.files if f.pageid == page_of(photo.id))
    file.upload_again()
    file.about = file.about | {"Artist": "Somebody else"}
    collect(server, out)
    assert not server.requests
    collect(server, out, refresh=True)
    assert sum(server.fetched.values()) == 1
    assert photo.path.read_bytes() != old
    assert read_credits(out / "credits.csv")[photo.id].author == "Somebody else"


def test_what_is_not_free_or_no_photo_is_left_out_and_counted(
    server: FakeWikimedia, whole: SimpleNamespace, tmp_path: Path
) -> None:
    ids = read_photos(whole.out / "photos.csv").ids[:7]
    files = [next(f for f in server.world.files if f.pageid == page_of(name)) for name in ids]
    about = dict(files[0].about)
    files[0].about = {**about, "License": "", "LicenseShortName": "CC BY-NC 4.0", "LicenseUrl": ""}
    files[1].about = {name: value for name, value in about.items() if "icense" not in name}
    files[2].about = {**about, "NonFree": "true"}
    files[3].state, files[4].state = "thumberror", "filehidden"
    files[5].mime, files[6].height = "image/tiff", 400
    result = collect(server, tmp_path, distractors=0)
    assert not {*ids} & {*read_photos(tmp_path / "photos.csv").ids}
    assert result.failures == {}
    assert [problems(tmp_path)[name].partition(" (File:")[0] for name in ids] == [
        "its licence forbids commercial use (NC)", "no licence given", "marked as not free",
        "Commons makes no picture of it (Error creating thumbnail: convert: insufficient image "
        "data in file)", "hidden on Commons", "no photo (image/tiff)",
        "too small (a side of less than 500 px)",
    ]  # fmt: skip
    left_out = result.counts["left out"]
    assert left_out["its licence forbids commercial use (NC)"] >= 1
    assert left_out["marked as not free"] == left_out["too small"] == left_out["no photo"] == 1
    assert sum(left_out.values()) >= 7


def test_given_landmarks_are_collected_and_those_left_out_are_told(
    server: FakeWikimedia, tmp_path: Path
) -> None:
    one, two, _three = server.world.landmarks
    name = server.world.items[two].labels["en"]
    wanted = Wanted(ids=(one, "Q90090", "Q90091", "Q99999999"), categories=(name, "No such thing"))
    result = collect(server, tmp_path, wanted, limit=3, distractors=4)
    assert [row["id"] for row in result.landmarks] == [one, two]
    assert result.failures.keys() == {"Q90091", "Q99999999", "No such thing"}
    assert "no such item on Wikidata" in result.failures["Q90091"]
    labels = {label for cell in read_photos(tmp_path / "photos.csv").landmarks
              for label in cell.split("|")}  # fmt: skip
    assert labels == {one, two}
    others = {page_of(name) for name in read_photos(tmp_path / "distractors.csv").ids}
    shown = {f.pageid for f in server.world.files if {one, two} & {*f.depicts}}
    assert others
    assert not others & shown


def test_a_distractor_that_becomes_a_landmarks_photo_is_not_fetched_again(
    server: FakeWikimedia, tmp_path: Path
) -> None:
    one, two, three = server.world.landmarks
    result = collect(server, tmp_path, Wanted(ids=(one,)), distractors=100)
    others = {*read_photos(tmp_path / "distractors.csv").ids}
    assert f"{len(others)} of 100 distractors were found: " in result.notes[-1]
    collect(server, tmp_path, Wanted(ids=(one, two, three)), distractors=100)
    photos = {*read_photos(tmp_path / "photos.csv").ids}
    assert others & photos
    assert {*server.fetched.values()} == {1}
    assert not photos & {*read_photos(tmp_path / "distractors.csv").ids}
    assert all(Path(path).exists() for path in read_photos(tmp_path / "photos.csv").paths)
    result = collect(server, tmp_path, Wanted(ids=(one, two, three)), distractors=0)
    assert not (tmp_path / "distractors.csv").exists()
    count = len([*(tmp_path / "distractors").iterdir()])
    assert result.notes == [f"{count} photos of earlier runs are in no table any more; they stay "
                            f"in {tmp_path}"]  # fmt: skip


def built() -> tuple[Builder, FakeWikimedia]:
    """A city without landmarks, to which a test adds some."""
    build = Builder(7, 16, 2048)
    build.world.city, build.world.centre = "Q90001", CENTRE
    add_surroundings(build)
    return build, FakeWikimedia(build.world, clock=Clock())


def add(build: Builder, item: str, name: str, **more: Any) -> None:
    build.category(name, item=item)
    build.item(item, name, "Q12518", Claim("P625", CENTRE), Claim("P373", name),
               Claim("P131", "Q90001"), **more)  # fmt: skip


def photo(build: Builder, title: str, *categories: str, **more: Any) -> FakeFile:
    drawing = Drawing(7, -1, title, 16)
    return build.file(title, drawing, title, licence="cc0", categories=categories, **more)


def test_subcategories_are_entered_but_not_circles_other_landmarks_or_what_is_inside(
    tmp_path: Path,
) -> None:
    build, made = built()
    with made as server:
        add(build, "Q90201", "Great Palace", links=9)
        add(build, "Q90202", "Palace Pyramid", links=8)
        build.world.categories["Palace Pyramid"].parents = ("Great Palace",)
        build.category("Facade of Great Palace", "Great Palace")
        build.category("Interior of Great Palace", "Great Palace")
        add(build, "Q90203", "People's Model", links=7)
        build.category("Facade of People's Model", "People's Model")
        build.category("People at People's Model", "People's Model")
        facade = photo(build, "F.jpg", "Facade of People's Model").pageid
        photo(build, "P.jpg", "People at People's Model")
        build.category("Great Palace by night", "Facade of Great Palace")
        build.world.categories["Great Palace"].parents = ("Great Palace by night",)
        wanted = {
            photo(build, "../../etc/passwd.jpg", "Great Palace").pageid: 0,
            photo(build, "A/B «С» 写真.jpg", "Facade of Great Palace").pageid: 1,
            photo(build, "Night.jpg", "Great Palace by night").pageid: 2,
        }
        photo(build, "Hall.jpg", "Interior of Great Palace")
        pyramid = photo(build, "Pyramid.jpg", "Palace Pyramid").pageid
        twice = [photo(build, "Both.jpg", "Great Palace", "Palace Pyramid").pageid,
                 photo(build, "Says both.jpg", "Great Palace",
                       depicts=("Q90202", "Q90201", "Q5")).pageid]  # fmt: skip
        for depth in (0, 1, 2, 4):
            collect(server, tmp_path, depth=depth)
            found = {page_of(p.id): p.landmark for p in read_photos(tmp_path / "photos.csv")}
            single = {page: "Q90201" for page, level in wanted.items() if level <= depth}
            both = dict.fromkeys(twice, "Q90201|Q90202")
            deep = {facade: "Q90203"} if depth else {}
            assert found == single | both | deep | {pyramid: "Q90202"}
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg")}
    assert files == {f"photos/Q90201/{page}.jpg" for page in [*wanted, *twice]} | {
        f"photos/Q90202/{pyramid}.jpg", f"photos/Q90203/{facade}.jpg"}  # fmt: skip
    assert not (tmp_path.parent / "etc").exists()


def test_photos_are_of_many_people_and_copies_are_taken_once(tmp_path: Path) -> None:
    build, made = built()
    with made as server:
        add(build, "Q90201", "Great Palace", links=9)
        for number in range(30):
            photo(build, f"A series {number:02d}.jpg", "Great Palace", uploader="Ann")
        few = [photo(build, f"Z {n}.jpg", "Great Palace", uploader=f"U{n}") for n in range(5)]
        few[1].sha1_said = few[0].sha1
        result = collect(server, tmp_path, limit=8, distractors=0)
        ids = {page_of(name) for name in read_photos(tmp_path / "photos.csv").ids}
        assert {file.pageid for file in few} - ids == {few[1].pageid}
        assert len(ids) == 8
        assert result.counts["left out"]["a copy"] == 1
        again = collect(server, tmp_path, limit=20, distractors=0)
        assert ids < {page_of(name) for name in read_photos(tmp_path / "photos.csv").ids}
        assert again.counts["photos"] == 20
        assert {*server.fetched.values()} == {1}


def test_the_order_of_choice_goes_round_and_a_higher_limit_adds() -> None:
    def photos(names: str) -> Any:
        return [SimpleNamespace(pageid=n, uploader=name) for n, name in enumerate(names)]

    assert [one.pageid for one in in_order(photos("AAAAABBC"), set())] == [0, 5, 7, 1, 6, 2, 3, 4]
    assert [one.pageid for one in in_order(photos("ABC"), {0})] == [1, 2, 0]
    long = photos("A" * 60 + "BCDE" * 20 + "F" * 60)
    chosen = [[one.pageid for one in in_order(long[: count * 4], set())][:count]
              for count in (10, 20, 30, 50)]  # fmt: skip
    assert all({*few} < {*more} for few, more in itertools.pairwise(chosen))
    assert sorted(one.pageid for one in in_order(long, set())) == list(range(200))
    assert list(in_order([], set())) == []


def test_a_photo_is_never_written_as_both(tmp_path: Path) -> None:
    one: Any = SimpleNamespace(pageid=5, mime="image/jpeg")
    with pytest.raises(DataError, match="both of a landmark and distractors"):
        write_tables(tmp_path, [Row(one, ("Q1",))], [Row(one)], {}, [])
    assert not [*tmp_path.iterdir()]


def test_few_photos_are_told_and_none_is_an_error(tmp_path: Path) -> None:
    build, made = built()
    with made as server:
        add(build, "Q90201", "Great Palace", links=9)
        add(build, "Q90202", "Small Well", links=8)
        out = tmp_path / "out"
        with pytest.raises(DataError, match=r"no photo of a landmark was found in Q90001"):
            collect(server, out)
        with pytest.raises(DataError, match=r"found for Q90202, Q90091 \(Q90091: no such"):
            collect(server, out, Wanted(ids=("Q90202", "Q90091")))
        for number in range(4):
            photo(build, f"P{number}.jpg", "Great Palace")
        photo(build, "W.jpg", "Small Well")
        result = collect(server, out, refresh=True)
        assert result.notes == [
            "0 of 300 distractors were found: no more photos of the place are free and show none",
            "landmarks with fewer than 4 photos, which `clean` drops by default: Small Well",
        ]
        assert problems(out)["Q90202"] == "Small Well: 1 photo; recognition needs 4"
        assert result.failures == {}


def test_the_disk_is_asked_for_room_first(
    server: FakeWikimedia, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(total=10**9, used=0, free=3_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"the photos take about \d+ MB, 3 MB are free"):
        collect(server, tmp_path)
    assert not server.fetched


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give one of"),
        ({"ids": ("Q1",), "region": "Q90"}, "give one of"),
        ({"near": (95.0, 2.0)}, "expected latitude,longitude"),
        ({"near": (1.0, 200.0)}, "near"),
        ({"near": (1.0, 2.0), "radius_m": 5.0}, "radius_m 5 given; expected a number, 10 to"),
    ],
)  # fmt: skip
def test_what_is_wanted_is_checked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Wanted(**given)


def test_from_python_a_contact_is_enough(
    server: FakeWikimedia, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "SystemClock", lambda: server.clock)
    monkeypatch.setenv("WHICHLANDMARK_COMMONS_URL", server.base)
    wanted, options = Wanted(ids=server.world.landmarks[:1]), CommonsOptions(limit=1, distractors=0)
    (tmp_path / "own").mkdir()
    (tmp_path / "own/credits.csv").write_text("mine\n")
    with pytest.raises(OptionError, match="is not a table of credits that whichlandmark wrote"):
        whichlandmark.import_commons(tmp_path / "own", wanted, options, "me@example.org")
    with pytest.raises(OptionError, match="--contact: none given"):
        whichlandmark.import_commons(tmp_path, wanted, options)
    assert not server.requests
    done = whichlandmark.import_commons(str(tmp_path), wanted, options, "me@example.org")
    assert done.counts["photos"] == 1
    monkeypatch.setattr(commons_module, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"needs beautifulsoup4, .*collect"):
        whichlandmark.import_commons(tmp_path, wanted, options, "me@example.org")


# The command line.


@pytest.fixture
def commons(
    server: FakeWikimedia, capfd: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """`import commons ARGUMENTS` into tmp_path/out: exit code, stdout, stderr."""
    monkeypatch.setattr(http_client, "SystemClock", lambda: server.clock)

    def call(*arguments: object, contact: str = "me@example.org") -> tuple[int, str, str]:
        given = ["--contact", contact] if contact else []
        return run(capfd, "import", "commons", *arguments, "-o", tmp_path / "out", *given,
                   "--api", server.base)  # fmt: skip

    return call


def test_a_dry_run_tells_what_a_run_would_fetch_and_fetches_nothing(
    server: FakeWikimedia, commons: Any, tmp_path: Path
) -> None:
    code, out, _ = commons("--in", "Q90001", "--dry-run")
    first = server.world.items[server.world.landmarks[0]].labels["en"]
    assert code == 0
    assert not server.fetched
    assert out.splitlines()[0].split() == ["landmark", "id", "sitelinks", "photos", "found",
                                           "category"]  # fmt: skip
    assert out.splitlines()[1].startswith(first)
    assert server.world.landmarks[0] in out
    assert "a run would fetch" in out
    assert "megabytes" in out
    assert "minutes" in out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["commons.sqlite"]
    asked = [(one.path, tuple(one.params.items())) for one in server.requests]
    code, out, _ = commons("--in", "Q90001", "--json")
    both = [(one.path, tuple(one.params.items())) for one in server.requests if one.params]
    assert code == 0
    assert len({*both}) == len(both) > len(asked)
    found = json.loads(out)
    assert found["photos"] == len(read_photos(tmp_path / "out/photos.csv"))
    assert found["next"][0].startswith("whichlandmark clean ")
    plan = json.loads(commons("--in", "Q90001", "--dry-run", "--json")[1])
    assert plan["there already"] == plan["photos"] + plan["distractors"]
    assert plan["megabytes"] == plan["minutes"] == 0
    assert [row["id"] for row in found["table"]] == [*server.world.landmarks]
    assert {(row["city"], row["country"]) for row in [*found["table"], *plan["table"]]} == {
        ("Velmora", "Atlantic Republic")
    }


def test_the_last_lines_are_the_next_commands(commons: Any, tmp_path: Path, capfd: Capture) -> None:
    code, out, err = commons("--near", "44.5, -20.25", "--radius", "3 km", "--distractors", 3,
                             "--limit", 4)  # fmt: skip
    assert code == 0
    assert "error" not in err
    following = out.partition("next:\n")[2].splitlines()
    assert [line.split()[1] for line in following] == ["clean", "index", "tune", "recognize",
                                                       "serve"]  # fmt: skip
    place = tmp_path / "out"
    words = following[1].split()
    assert words[words.index("--distractors") + 1] == str(place / "distractors.csv")
    code, _, err = run(capfd, *following[0].split()[1:-1])  # without --graph
    assert code == 0, err
    code, out, err = run(capfd, *words[1:], "--embedder", "sift", "--no-features")
    assert code == 0, err
    assert "landmarks                        3" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no landmarks given; expected one of: ITEMS"),
        (["Q1", "--in", "Q90"], "1 ITEMS and --in Q90 given; expected one of"),
        (["--near", "1,2", "--in", "Q90"], "--near 1,2 and --in Q90 given"),
        (["--near", "here"], "--near here given; expected latitude,longitude in degrees"),
        (["--near", "1,2", "--radius", "3"], "--radius 3 given; expected a number with m or km"),
        (["--near", "1,2", "--radius", "5m"], "--radius 5m given; expected a number with m or km"),
        (["--near", "1,2", "--radius", "99km"], "from 10m to 50km"),
        (["--near", "nan,2"], "--near nan,2 given; expected latitude,longitude in degrees"),
        (["--near", "95,2"], "--near 95,2 given; expected latitude,longitude in degrees"),
        (["Category: "], "'Category: ' given; expected a name behind it"),
        (["Q1", "--radius", "3km"], "--radius 3km given without --near"),
        (["https://en.wikipedia.org/wiki/Eiffel_Tower"], "expected the address of an item"),
        (["Q1", "--languages", ","], "languages"),
        (["--in", "Q1", "--limit", "0"], "--limit 0 given; expected a whole number, 1 to 500"),
    ],
)
def test_a_wrong_command_is_told_before_anything_is_asked(
    arguments: list[str], message: str, commons: Any, server: FakeWikimedia, tmp_path: Path
) -> None:
    code, _, err = commons(*arguments)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert not server.requests


def test_the_contact_is_required(commons: Any, server: FakeWikimedia) -> None:
    code, _, err = commons("--in", "Q90001", contact="")
    assert (code, server.requests) == (2, [])
    assert "--contact: none given" in err


def test_a_name_of_a_place_lists_the_ids(commons: Any, server: FakeWikimedia) -> None:
    code, _, err = commons("--in", "Velmora")
    assert code == 2
    assert err.splitlines()[0].endswith("a name may mean several places; choose one by its id:")
    assert "  --in Q90001     Velmora: city in the Atlantic" in err.splitlines()
    assert "  --in Q90060     Velmora: painter" in err.splitlines()
    code, _, err = commons("--in", "Nowhere at all")
    assert code == 2
    assert "Wikidata knows no such place" in err


@pytest.mark.parametrize("form", ["lines", "wikidata", "category", "arguments"])
def test_landmarks_are_listed_in_many_forms(
    form: str, commons: Any, server: FakeWikimedia, tmp_path: Path
) -> None:
    one, two = server.world.landmarks[:2]
    name = server.world.items[two].labels["en"]
    path, given = tmp_path / "list.csv", ["--list", tmp_path / "list.csv"]
    if form == "lines":
        path.write_text(f"# two\n\n{one.lower()}\nCategory:{name}\n{one}\n")
    elif form == "wikidata":
        path.write_text(f"landmark,title,wikidata,name:fr\na,A,{one},x\nb,B,{two},y\nc,C,,z\n")
    elif form == "category":
        address = f"http://commons.wikimedia.org/wiki/Category:{name.replace(' ', '_')}"
        path.write_text(f'landmark,name,category\n1,A,{address}\n2,B,"{one}"\n')
    else:
        quoted = name.replace(" ", "%20")
        given = [f"https://www.wikidata.org/wiki/{one}",
                 f"https://commons.m.wikimedia.org/wiki/Category:{quoted}"]  # fmt: skip
    code, out, err = commons(*given, "--dry-run", "--json", "--distractors", 0)
    assert code == 0, err
    assert [row["id"] for row in json.loads(out)["table"]] == [one, two]


def test_an_empty_or_missing_list_is_told(commons: Any, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# nothing\n")
    assert commons("--list", tmp_path / "list.txt")[0] == 4
    code, _, err = commons("--list", tmp_path / "no.txt")
    assert code == 4
    assert "no such file" in err


def test_failures_end_with_3_and_are_named(
    commons: Any, server: FakeWikimedia, tmp_path: Path
) -> None:
    code, out, err = commons(server.world.landmarks[0], "Q90091", "--limit", 2, "--json")
    assert code == 3
    assert "Q90091: no such item on Wikidata" in err
    assert json.loads(out)["failures"].keys() == {"Q90091"}


def test_ctrl_c_and_a_lost_network_are_one_line(
    commons: Any, server: FakeWikimedia, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(PoliteClient, "download", interrupt)
        code, _, err = commons("--in", "Q90001")
    assert code == 130
    assert err.splitlines()[-1].endswith("the same command resumes from there")
    fault = server.fault("hangup", on="media", times=0)
    code, _, err = commons("--in", "Q90001")
    assert code == 7
    assert err.splitlines()[-1].startswith("error: ")
    server.faults.remove(fault)
    assert commons("--in", "Q90001")[0] == 0


def test_another_program_s_table_is_not_replaced(
    commons: Any, server: FakeWikimedia, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/photos.csv").write_text("my,own,table\n")
    code, _, err = commons("--in", "Q90001")
    assert code == 2
    assert "is not a photo table that whichlandmark wrote" in err
    assert not server.requests
