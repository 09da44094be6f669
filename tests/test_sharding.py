"""An index in shards is the index without them: to the last bit, whatever stopped it on the way."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import picture, write_photo
from galleries import KINDS
from whichlandmark import embedding, indexing
from whichlandmark.errors import DataError, GalleryError, OptionError
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.gallery.store import Gallery
from whichlandmark.indexing import index_photos
from whichlandmark.looking import Looking
from whichlandmark.members import stamp
from whichlandmark.preprocessing import Preprocessing
from whichlandmark.recognizer_folder import assemble
from whichlandmark.rules import Rules
from whichlandmark.sharding import (
    Asked,
    Job,
    cut,
    cutting,
    filling,
    folder,
    in_shards,
    index_in_shards,
    job,
    make_one_shard,
    one_of,
    task,
)
from whichlandmark.sharding.filling import fill_from_shards, load_shard
from whichlandmark.sharding.folder import ShardFolder
from whichlandmark.sharding.rows_file import read_rows, write_rows
from whichlandmark.sharding.task import Task, make_shard
from whichlandmark.types import Image, Photos, Vectors

SIZES = [(60, 80), (80, 60), (64, 64), (40, 120)]
PHOTOS = 70
CHEAP = Rules(verify=0, score="cosine", whitening="none")  # nothing is fitted, no features


class Company:
    """An embedder whose rows depend on who shares a pass, far above the last bit."""

    name, id, dim, short_side = "company", "company-1", 3, 96
    seen = 0

    def __init__(self) -> None:
        self.looking = Looking(Preprocessing(size=64, multiple=16), batch=4)

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        Company.seen += len(images)
        return self.looking(images, self._network, 3)

    def _network(self, pixels: np.ndarray) -> np.ndarray:
        rows = pixels.mean(axis=(2, 3)) + pixels.mean() * 1e-2 + len(pixels) * 1e-3
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    def save(self, at: Path, /) -> None:
        at.mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Photos of four shapes and five landmarks; two of them cannot be read."""
    at = tmp_path_factory.mktemp("world")
    paths = [at / f"{i:03}.jpg" for i in range(PHOTOS)]
    for i, path in enumerate(paths):
        write_photo(path, picture(i % 5, i, SIZES[i * 7 % 4 if i % 11 else 3]))
    paths[3].write_bytes(b"broken")
    paths[40].unlink()
    ids = [f"photo {i}" for i in range(PHOTOS)]
    return Photos.of_columns(
        ids, [str(p) for p in paths], [f"place {i % 5}" for i in range(PHOTOS)]
    )


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sections of 8 rows, and the embedder above whatever the source says."""
    monkeypatch.setattr(embedding, "SECTION", 8)
    monkeypatch.setattr(cutting, "SECTION", 8)
    monkeypatch.setattr(indexing, "load_embedder", lambda *_, **__: Company())


@pytest.fixture(scope="module")
def plain(world: Photos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plainly(world, tmp_path_factory.mktemp("plain") / "a.wl", CHEAP)


def plainly(world: Photos, out: Path, rules: Rules | None) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding, "SECTION", 8)
        patch.setattr(indexing, "load_embedder", lambda *_, **__: Company())
        index_photos(world, None, out, "company", rules=rules, progress=quiet)
    return out


def quiet(name: str) -> Callable[..., None]:
    return lambda *numbers: None


def job_of(photos: Photos, out: Path, shards: int = 4, **more: Any) -> Job:
    options = {"rules": CHEAP, **more}
    return Job(
        photos=photos, distractors=None, out=out, source="company", shards=shards, **options
    )  # fmt: skip


def tasks_of(
    photos: Photos, place: Path | str, shards: int = 4, *, features: bool = True
) -> list[Task]:
    return [
        Task(shard, photos.take(range(shard.first, shard.end)), str(place), features)
        for shard in cut(len(photos), shards)
    ]


def gallery_of(out: Path) -> tuple[list[list[int]], bytes, list[str], int]:
    """Row numbers and checksums (of words, vectors and blobs), vectors, ids, next row number."""
    with Gallery.open(out / "gallery.sqlite") as gallery:
        assert gallery.faults() == []
        table, state = gallery.table(), gallery.state()
        sums = [column.tolist() for column in gallery.sums()]
        return sums, table.vectors.tobytes(), table.ids.tolist(), state.photo_digest


def answers(out: Path) -> list[object]:
    rules, fitted, _ = indexing.read_settings(out)
    with Gallery.open(out / "gallery.sqlite") as gallery:
        recognizer = assemble(Company(), gallery, rules, fitted)
        return [recognizer(picture(i % 7, 900 + i, SIZES[i % 4])) for i in range(8)]


def changed(world: Photos, tmp_path: Path) -> Photos:
    """The same photos in files of their own, which a test may change."""
    paths = []
    for path in world.paths:
        copy = tmp_path / "own" / Path(path).name
        copy.parent.mkdir(exist_ok=True)
        if Path(path).exists():
            shutil.copy2(path, copy)
        paths.append(str(copy))
    return Photos.of_columns(list(world.ids), paths, list(world.landmarks))


@pytest.mark.parametrize("rows", [0, 1, 8, 9, 70, 4096])
@pytest.mark.parametrize("shards", [1, 2, 7, 12])
def test_every_row_is_in_one_shard_and_borders_are_sections(rows: int, shards: int) -> None:
    pieces = cut(rows, shards)
    assert [row for piece in pieces for row in range(piece.first, piece.end)] == list(range(rows))
    assert all(piece.first % 8 == 0 or piece.first == rows for piece in pieces)
    sections = [-(-(piece.end - piece.first) // 8) for piece in pieces]
    assert max(sections) - min(sections) <= 1
    assert [piece.number for piece in pieces] == list(range(shards))


@pytest.mark.parametrize("shards", [1, 20])
def test_shards_give_the_gallery_of_the_plain_run(
    world: Photos, plain: Path, tmp_path: Path, shards: int
) -> None:
    done = index_in_shards(job_of(world, tmp_path / "b.wl", shards), quiet)
    assert gallery_of(tmp_path / "b.wl") == gallery_of(plain)
    assert answers(tmp_path / "b.wl") == answers(plain)
    assert [failure.id for failure in done.failures] == ["photo 3", "photo 40"]


def test_with_features_and_everything_fitted(world: Photos, tmp_path: Path) -> None:
    """Keypoints, fingerprints and thumbnails go through the shards; so do distractors."""
    of_places, bank = world.take(range(60)), world.take(range(60, PHOTOS))
    plain, out = tmp_path / "a.wl", tmp_path / "b.wl"
    index_photos(of_places, bank, plain, "company", progress=quiet)
    whole = job_of(of_places, out, rules=None)
    index_in_shards(dataclasses.replace(whole, distractors=bank), quiet)
    assert gallery_of(out) == gallery_of(plain)
    assert answers(out) == answers(plain)
    with Gallery.open(out / "gallery.sqlite") as gallery:
        assert min(map(len, gallery.keypoints(["photo 0", "photo 60"]).values())) > 100
    settings = [json.loads((at / "recognizer.json").read_text()) for at in (plain, out)]
    for values in settings:
        values.pop("generation")
    assert settings[0] == settings[1]


def test_borders_within_a_section_would_be_seen(
    world: Photos, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedder of these tests tells: a planted fault."""
    monkeypatch.setattr(cutting, "SECTION", 5)
    index_in_shards(job_of(world, tmp_path / "b.wl", 7), quiet)
    found, expected = gallery_of(tmp_path / "b.wl"), gallery_of(plain)
    assert found[2] == expected[2]
    assert found[1] != expected[1]


def test_shards_made_apart_in_any_order_and_then_loaded(
    world: Photos, plain: Path, tmp_path: Path
) -> None:
    out = tmp_path / "b.wl"
    for number in (2, 0, 3, 1):
        told = make_one_shard(job_of(world, out), number, quiet)
        assert told.counts["done before"] == "no"
    assert not (out / "gallery.sqlite").exists()
    assert make_one_shard(job_of(world, out), 2, quiet).counts["done before"] == "yes"
    seen = Company.seen
    index_in_shards(job_of(world, out, engine="none"), quiet)
    assert Company.seen == seen
    assert gallery_of(out) == gallery_of(plain)


def test_loading_what_is_not_made_says_which(world: Photos, tmp_path: Path) -> None:
    make_one_shard(job_of(world, tmp_path / "b.wl"), 0, quiet)
    with pytest.raises(DataError, match="--shard 1/4"):
        index_in_shards(job_of(world, tmp_path / "b.wl", engine="none"), quiet)


class Stopped(BaseException):
    """As a signal would: nobody handles it."""


STAGES: list[tuple[Any, str]] = [
    (task, "write_rows"), (task, "measured"), (ShardFolder, "mark"), (ShardFolder, "marker"),
    (filling, "read_rows"), (Gallery, "put"), (folder, "whole_file"), (job, "index_photos"),
    (indexing, "settle"), (embedding, "read_image"), (indexing, "refresh_segments"),
]  # fmt: skip


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("where", "name"), STAGES, ids=[name for _, name in STAGES])
def test_interrupted_at_every_stage(
    world: Photos, plain: Path, tmp_path: Path, where: Any, name: str, after: bool
) -> None:
    """Stopped at the 1st or 3rd time that a stage is reached, before or after its work."""
    out = tmp_path / "b.wl"
    for turn in (1, 3):
        with pytest.MonkeyPatch.context() as patch:
            stop_at(patch, where, name, turn, after)
            with suppress(Stopped):
                index_in_shards(job_of(world, out), quiet)
    index_in_shards(job_of(world, out), quiet)
    assert gallery_of(out) == gallery_of(plain)
    assert sorted(p.name for p in (out / "shards").iterdir() if p.name[0] != ".") == [
        f"{i:05}-of-00004{suffix}" for i in range(4) for suffix in (".json", ".parquet")
    ]


def stop_at(patch: pytest.MonkeyPatch, where: Any, name: str, turn: int, after: bool) -> None:
    work, calls = getattr(where, name), 0

    def stopping(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == turn and not after:
            raise Stopped
        result = work(*arguments, **options)
        if calls == turn:
            raise Stopped
        return result

    patch.setattr(where, name, stopping)


@pytest.mark.parametrize("fault", ["flip", "cut", "gone", "marker cut", "marker of another list"])
def test_a_damaged_shard_is_made_again_alone(
    world: Photos, plain: Path, tmp_path: Path, fault: str
) -> None:
    out = tmp_path / "b.wl"
    for number in range(4):
        make_one_shard(job_of(world, out), number, quiet)
    shard, marker = (out / "shards" / f"00001-of-00004{end}" for end in (".parquet", ".json"))
    data = bytearray(shard.read_bytes())
    match fault:
        case "flip":
            data[len(data) // 2] ^= 1
            shard.write_bytes(data)
        case "cut":
            shard.write_bytes(data[:-1])
        case "gone":
            shard.unlink()
        case "marker cut":
            marker.write_text(marker.read_text()[:-9])
        case _:
            marker.write_text("[1, 2]")
    made = [make_one_shard(job_of(world, out), i, quiet).counts["done before"] for i in range(4)]
    assert made == ["yes", "no", "yes", "yes"]
    index_in_shards(job_of(world, out, engine="none"), quiet)
    assert gallery_of(out) == gallery_of(plain)


def test_a_damaged_shard_is_not_loaded_and_its_marker_goes(
    world: Photos, plain: Path, tmp_path: Path
) -> None:
    out = tmp_path / "b.wl"
    index_in_shards(job_of(world, out), quiet)
    (out / "gallery.sqlite").unlink()
    shard, marker = (out / "shards" / f"00001-of-00004{end}" for end in (".parquet", ".json"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match="same command makes the shard again"):
        index_in_shards(job_of(world, out, engine="none"), quiet)
    assert not marker.exists()
    index_in_shards(job_of(world, out), quiet)
    assert gallery_of(out) == gallery_of(plain)


def test_a_photo_that_has_changed_takes_the_place_of_its_old_self(
    world: Photos, tmp_path: Path
) -> None:
    photos = changed(world, tmp_path)
    here = tasks_of(photos, tmp_path / "shards", features=False)[1]
    with Gallery.create(None, "company-1", 3) as gallery:
        make_shard(here, Company())
        load_shard(here, gallery)
        before = gallery.table()
        write_photo(Path(here.photos.paths[4]), picture(2, 777, (60, 80)))
        make_shard(here, Company())
        load_shard(here, gallery)
        after = gallery.table()
        same = [a == b for a, b in zip(before.hashes, after.hashes, strict=True)]
        assert [i for i, equal in enumerate(same) if not equal] == [4]
        assert after.rows.tolist() == before.rows.tolist()
        assert gallery.stamps()[here.photos.ids[4]][1] == stamp(here.photos.paths[4])


def test_what_a_shard_was_made_of_decides_whether_it_is_done(world: Photos, tmp_path: Path) -> None:
    photos = changed(world, tmp_path)
    here = tasks_of(photos, tmp_path / "shards")[1]
    embedder = Company()
    assert make_shard(here, embedder).made
    assert not make_shard(here, embedder).made
    named = Photos(photos.ids, photos.paths, np.full(len(photos), "other", dtype=object))
    assert not make_shard(tasks_of(named, tmp_path / "shards")[1], embedder).made
    other = Company()
    other.id = "company-2"
    assert make_shard(here, other).made
    assert make_shard(here, embedder).made
    assert make_shard(dataclasses.replace(here, features=False), embedder).made
    assert make_shard(here, embedder).made
    write_photo(Path(here.photos.paths[2]), picture(3, 12345, (60, 80)))
    assert make_shard(here, embedder).made
    ids = photos.ids.copy()
    ids[here.shard.first] = "another"
    renamed = Photos(ids, photos.paths, photos.landmarks)
    assert make_shard(tasks_of(renamed, tmp_path / "shards")[1], embedder).made


def test_a_photo_that_appears_or_fails_is_seen_by_the_next_run(
    world: Photos, tmp_path: Path
) -> None:
    photos, out = changed(world, tmp_path), tmp_path / "b.wl"
    index_in_shards(job_of(photos, out), quiet)
    write_photo(Path(photos.paths[40]), picture(0, 40))
    done = index_in_shards(job_of(photos, out), quiet)
    assert [failure.id for failure in done.failures] == ["photo 3"]
    assert "photo 40" in gallery_of(out)[2]


def test_shards_of_another_embedder_are_not_loaded(world: Photos, tmp_path: Path) -> None:
    here = tasks_of(world, tmp_path / "shards")[0]
    make_shard(here, Company())
    with (
        Gallery.create(None, "histogram-6", 216) as gallery,
        pytest.raises(GalleryError, match="made by embedder 'company-1'"),
    ):
        load_shard(here, gallery)


def test_shards_of_another_table_are_not_loaded(world: Photos, tmp_path: Path) -> None:
    here = tasks_of(world, tmp_path / "shards")[0]
    make_shard(here, Company())
    others = Photos.of_columns(["x"], ["/x.jpg"], ["place"])
    with (
        Gallery.create(None, "company-1", 3) as gallery,
        pytest.raises(DataError, match="not in the table"),
    ):
        load_shard(dataclasses.replace(here, photos=others), gallery)


def test_two_at_the_same_shard_leave_it_once(world: Photos, tmp_path: Path) -> None:
    here = tasks_of(world, tmp_path / "shards", 2)[0]
    start = threading.Barrier(2)
    made: list[bool] = []

    def work() -> None:
        embedder = Company()
        start.wait()
        made.append(make_shard(here, embedder).made)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p.name for p in (tmp_path / "shards").iterdir()) == [
        "00000-of-00002.json", "00000-of-00002.parquet"
    ]  # fmt: skip
    assert len(made) == 2
    assert not make_shard(here, Company()).made
    with Gallery.create(None, "company-1", 3) as gallery:
        load_shard(here, gallery)
        load_shard(here, gallery)
        assert gallery.count() == len(here.photos) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_any_gallery_is_loaded_and_loading_resumed(
    world: Photos, plain: Path, tmp_path: Path, kind: str
) -> None:
    """Interrupted after a shard and in the midst of one; the sums are those of the plain run."""
    tasks = tasks_of(world, tmp_path / "shards", features=False)
    for each in tasks:
        make_shard(each, Company())
    with KINDS[kind](tmp_path) as home, home.create("company-1", 3) as gallery:
        load_shard(tasks[0], gallery)
        load_shard(tasks[1], gallery)
        gallery.remove(gallery.table(after=20).ids.tolist())  # as if it had stopped there
        before = gallery.table()
        fill_from_shards(tasks, [3, 0, 2, 1], gallery)
        generation = gallery.generation
        fill_from_shards(tasks, [0, 1, 2, 3], gallery)
        assert gallery.generation == generation  # nothing was put a second time
        assert gallery.table().rows[: len(before.rows)].tolist() == before.rows.tolist()
        assert gallery.faults() == []
        _, vectors, ids, _ = gallery_of(plain)
        assert (gallery.table().ids.tolist(), gallery.table().vectors.tobytes()) == (ids, vectors)


def test_a_landmark_that_has_changed_is_relabelled(world: Photos, tmp_path: Path) -> None:
    out = tmp_path / "b.wl"
    index_in_shards(job_of(world, out), quiet)
    names = np.array([name.replace("place 1", "Place One") for name in world.landmarks], object)
    seen = Company.seen
    index_in_shards(job_of(Photos(world.ids, world.paths, names), out), quiet)
    assert Company.seen == seen
    with Gallery.open(out / "gallery.sqlite") as gallery:
        assert set(gallery.table().landmarks) == {
            "place 0",
            "Place One",
            "place 2",
            "place 3",
            "place 4",
        }


def test_shards_in_an_object_store(world: Photos, plain: Path, tmp_path: Path) -> None:
    import fsspec

    place, out = "memory://job-of-tests/shards", tmp_path / "b.wl"
    store = fsspec.filesystem("memory")
    make_one_shard(job_of(world, out, place=place), 1, quiet)
    assert make_one_shard(job_of(world, out, place=place), 1, quiet).counts["done before"] == "yes"
    data = bytearray(store.cat_file("/job-of-tests/shards/00001-of-00004.parquet"))
    data[99] ^= 1
    store.pipe_file("/job-of-tests/shards/00001-of-00004.parquet", bytes(data))
    with pytest.raises(DataError, match="same command makes the shard again"):
        index_in_shards(job_of(world, out, place=place), quiet)
    index_in_shards(job_of(world, out, place=place), quiet)
    assert gallery_of(out) == gallery_of(plain)
    assert len(store.ls("/job-of-tests/shards")) == 8
    assert not (out / "shards").exists()


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        GalleryRow(f"é{i}", f"/p/{i}.jpg", "", "ab" * 32, f"{i}:1", rng.normal(size=5).astype("f4"),
                   rng.bytes(i % 7), rng.bytes(i % 3), rng.bytes(i % 5))
        for i in range(2500)
    ]  # fmt: skip
    assert write_rows(tmp_path / "a.parquet", iter(rows), 5) == 2500
    groups = list(read_rows(tmp_path / "a.parquet", 5))
    assert [len(group) for group in groups] == [1024, 1024, 452]
    for row, back in zip(rows, [row for group in groups for row in group], strict=True):
        assert back.vector.tobytes() == row.vector.astype("<f2").astype("f4").tobytes()
        assert dataclasses.replace(back, vector=row.vector) == row
    with pytest.raises(DataError, match="other columns"):
        list(read_rows(tmp_path / "a.parquet", 4))
    with pytest.raises(DataError, match="zero byte"):
        write_rows(tmp_path / "b.parquet", [dataclasses.replace(rows[0], id="a\0b")], 5)


@pytest.mark.parametrize("text", ["", "3", "8/8", "9/8", "-1/8", "a/8", "1/0", "1/8/2", "1.5/8"])
def test_a_shard_that_cannot_be(text: str) -> None:
    with pytest.raises(OptionError, match="--shard"):
        one_of(text, None)


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        (Asked(shards=0), None),
        (Asked(shards=8, shard="1/9"), "same number"),
        (Asked(engine="ray"), "expected --shards N"),
        (Asked(load=True), "expected --shards N"),
        (Asked(folder="x"), "expected --shards N"),
        (Asked(shards=2, engine="spark"), "here or ray"),
        (Asked(shard="0/2", engine="ray"), "one shard here"),
        (Asked(shard="0/2", load=True), "one shard here"),
        (Asked(shards=2, engine="ray", load=True), "makes no shards"),
    ],
)
def test_options_that_do_not_fit_together(asked: Asked, fault: str | None) -> None:
    assert asked.anything
    if fault is None:
        assert asked.settled() == (0, None, "here")
        with pytest.raises(OptionError, match="--shards 0 given"):
            cut(10, 0)
        return
    with pytest.raises(OptionError, match=fault):
        asked.settled()


def test_what_options_mean() -> None:
    assert not Asked().anything
    assert Asked(shards=8).settled() == (8, None, "here")
    assert Asked(shard="3/8").settled() == (8, 3, "here")
    assert Asked(shards=8, shard="3/8").settled() == (8, 3, "here")
    assert Asked(shards=8, engine="ray").settled() == (8, None, "ray")
    assert Asked(shards=8, load=True).settled() == (8, None, "none")


def test_without_pyarrow_nothing_is_begun(
    world: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OptionError, match=r"whichlandmark\[cluster\]"):
        in_shards(Asked(shards=2), world, None, tmp_path / "r.wl", "sift",
                  progress=lambda _: lambda *numbers: None)  # fmt: skip
    assert not (tmp_path / "r.wl").exists()
