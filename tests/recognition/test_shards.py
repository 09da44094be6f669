"""A sharded index run gives a bit-identical gallery, wherever it was interrupted."""

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

from tests.support.galleries import KINDS
from tests.support.photos import picture, write_photo
from whichlandmark.cli.index import ShardPlan, parse_shard, shard_plan
from whichlandmark.core import storage
from whichlandmark.core.errors import DataError, GalleryError, ImageError, OptionError
from whichlandmark.core.storage import read_bytes, stamp
from whichlandmark.core.types import Image, Photos, Vectors
from whichlandmark.features import pipeline
from whichlandmark.features.preprocessing import InputPipeline, Preprocessing
from whichlandmark.gallery.records import GalleryRow
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.folder import fill
from whichlandmark.recognition.folder.load import assemble
from whichlandmark.recognition.folder.settings import read_settings
from whichlandmark.recognition.indexing import index_photos as index_photos_module
from whichlandmark.recognition.indexing import shard_folder, shards
from whichlandmark.recognition.indexing.index_photos import Indexed, IndexOptions, index_photos
from whichlandmark.recognition.indexing.shard_folder import ShardFolder, read_rows, write_rows
from whichlandmark.recognition.indexing.shards import (
    ShardTask,
    cut_table,
    fill_from_shards,
    load_shard,
    make_shard,
)
from whichlandmark.recognition.rules import Rules

SIZES = [(60, 80), (80, 60), (64, 64), (40, 120)]
PHOTOS = 70
CHEAP = Rules(verify=0, score="cosine", whitening="none")  # nothing is fitted, no features


class BatchEmbedder:
    """An embedder whose vectors depend on the other photos of the batch."""

    name, id, dim, short_side = "batch-dependent", "batch-dependent-1", 3, 96
    embedded = 0

    def __init__(self) -> None:
        self.input_pipeline = InputPipeline(Preprocessing(size=64, multiple=16), batch_size=4)

    def __call__(self, images: Sequence[Image], /) -> Vectors:
        BatchEmbedder.embedded += len(images)
        return self.input_pipeline(images, self._network, 3)

    def _network(self, pixels: np.ndarray) -> np.ndarray:
        rows = pixels.mean(axis=(2, 3)) + pixels.mean() * 1e-2 + len(pixels) * 1e-3
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    def save(self, at: Path, /) -> None:
        at.mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """Photos of four shapes and five landmarks; two are unreadable."""
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
    """Sections of 8 rows."""
    monkeypatch.setattr(pipeline, "SECTION_ROWS", 8)
    monkeypatch.setattr(shards, "SECTION_ROWS", 8)


@pytest.fixture(scope="module")
def plain(world: Photos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plainly(world, tmp_path_factory.mktemp("plain") / "a.wl", CHEAP)


def plainly(world: Photos, out: Path, rules: Rules | None) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SECTION_ROWS", 8)
        index_photos(world, None, out, BatchEmbedder(), IndexOptions(rules=rules), progress=quiet)
    return out


def quiet(name: str) -> Callable[..., None]:
    return lambda *numbers: None


def in_shards(
    photos: Photos, out: Path, shards: int = 4, *, bank: Photos | None = None, **more: Any
) -> Indexed:
    options = IndexOptions(**{"rules": CHEAP, "shards": shards, **more})
    return index_photos(photos, bank, out, BatchEmbedder(), options, progress=quiet)


def tasks_of(
    photos: Photos, location: Path | str, count: int = 4, *, features: bool = True
) -> list[ShardTask]:
    return [
        ShardTask(shard, photos.take(range(shard.first, shard.end)), str(location), features)
        for shard in cut_table(len(photos), count)
    ]


def gallery_of(out: Path) -> tuple[list[list[int]], bytes, list[str], int]:
    """Row numbers and checksums (of texts, vectors and blobs), vectors, ids, next row number."""
    with SqliteGallery.open(out / "gallery.sqlite") as gallery:
        assert gallery.faults() == []
        table, state = gallery.table(), gallery.state()
        sums = [column.tolist() for column in gallery.sums()]
        return sums, table.vectors.tobytes(), table.ids.tolist(), state.photo_digest


def answers(out: Path) -> list[object]:
    rules, fitted, _ = read_settings(out)
    with SqliteGallery.open(out / "gallery.sqlite") as gallery:
        recognizer = assemble(BatchEmbedder(), gallery, rules, fitted)
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
def test_every_row_is_in_one_shard_and_shards_are_cut_at_sections(rows: int, shards: int) -> None:
    all_shards = cut_table(rows, shards)
    covered = [row for shard in all_shards for row in range(shard.first, shard.end)]
    assert covered == list(range(rows))
    assert all(shard.first % 8 == 0 or shard.first == rows for shard in all_shards)
    sections = [-(-(shard.end - shard.first) // 8) for shard in all_shards]
    assert max(sections) - min(sections) <= 1
    assert [shard.number for shard in all_shards] == list(range(shards))


@pytest.mark.parametrize("shards", [1, 20])
def test_shards_give_the_same_gallery_as_an_unsharded_run(
    world: Photos, plain: Path, tmp_path: Path, shards: int
) -> None:
    done = in_shards(world, tmp_path / "b.wl", shards)
    assert gallery_of(tmp_path / "b.wl") == gallery_of(plain)
    assert answers(tmp_path / "b.wl") == answers(plain)
    assert [failure.id for failure in done.failures] == ["photo 3", "photo 40"]


@pytest.mark.slow
def test_shards_with_local_features_fit_the_same_settings(world: Photos, tmp_path: Path) -> None:
    """Keypoints, fingerprints and thumbnails go through the shards; so do distractors."""
    landmark_photos, bank = world.take(range(60)), world.take(range(60, PHOTOS))
    plain, out = tmp_path / "a.wl", tmp_path / "b.wl"
    index_photos(landmark_photos, bank, plain, BatchEmbedder(), progress=quiet)
    in_shards(landmark_photos, out, bank=bank, rules=None)
    assert gallery_of(out) == gallery_of(plain)
    assert answers(out) == answers(plain)
    with SqliteGallery.open(out / "gallery.sqlite") as gallery:
        assert min(map(len, gallery.keypoints(["photo 0", "photo 60"]).values())) > 100
    settings = [json.loads((at / "recognizer.json").read_text()) for at in (plain, out)]
    for values in settings:
        values.pop("generation")
    assert settings[0] == settings[1]


def test_shard_borders_within_a_section_change_the_vectors(
    world: Photos, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted fault: shards cut inside a section give other vectors."""
    monkeypatch.setattr(shards, "SECTION_ROWS", 5)
    in_shards(world, tmp_path / "b.wl", 7)
    found, expected = gallery_of(tmp_path / "b.wl"), gallery_of(plain)
    assert found[2] == expected[2]
    assert found[1] != expected[1]


def test_shards_made_separately_in_any_order_load(
    world: Photos, plain: Path, tmp_path: Path
) -> None:
    out = tmp_path / "b.wl"
    for number in (2, 0, 3, 1):
        indexed = in_shards(world, out, shard=number)
        assert indexed.counts["done before"] == "no"
    assert not (out / "gallery.sqlite").exists()
    assert in_shards(world, out, shard=2).counts["done before"] == "yes"
    seen = BatchEmbedder.embedded
    in_shards(world, out, engine="none")
    assert BatchEmbedder.embedded == seen
    assert gallery_of(out) == gallery_of(plain)


def test_loading_names_the_missing_shards(world: Photos, tmp_path: Path) -> None:
    in_shards(world, tmp_path / "b.wl", shard=0)
    with pytest.raises(DataError, match="--shard 1/4"):
        in_shards(world, tmp_path / "b.wl", engine="none")


class Stopped(BaseException):
    """Stops the run like a signal: no code handles it."""


STAGES: list[tuple[Any, str]] = [
    (shards, "write_rows"),
    (shards, "size_and_checksum"),
    (ShardFolder, "mark"),
    (ShardFolder, "marker"),
    (shards, "read_rows"),
    (SqliteGallery, "put"),
    (shard_folder, "atomic_file"),
    (index_photos_module, "fill_gallery"),
    (index_photos_module, "finish_recognizer"),
    (pipeline, "read_image"),
    (index_photos_module, "refresh_index_files"),
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("where", "name"), STAGES, ids=[name for _, name in STAGES])
def test_an_interruption_at_any_stage_can_be_resumed(
    world: Photos, plain: Path, tmp_path: Path, where: Any, name: str, after: bool
) -> None:
    """Stopped at the 1st or 3rd call of a step, before or after its work."""
    out = tmp_path / "b.wl"
    for turn in (1, 3):
        with pytest.MonkeyPatch.context() as patch:
            stop_at(patch, where, name, turn, after)
            with suppress(Stopped):
                in_shards(world, out)
    in_shards(world, out)
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
def test_only_the_damaged_shard_is_made_again(
    world: Photos, plain: Path, tmp_path: Path, fault: str
) -> None:
    out = tmp_path / "b.wl"
    for number in range(4):
        in_shards(world, out, shard=number)
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
    results = [in_shards(world, out, shard=i).counts["done before"] for i in range(4)]
    assert results == ["yes", "no", "yes", "yes"]
    in_shards(world, out, engine="none")
    assert gallery_of(out) == gallery_of(plain)


def test_a_damaged_shard_is_not_loaded_and_its_marker_is_removed(
    world: Photos, plain: Path, tmp_path: Path
) -> None:
    out = tmp_path / "b.wl"
    in_shards(world, out)
    (out / "gallery.sqlite").unlink()
    shard, marker = (out / "shards" / f"00001-of-00004{end}" for end in (".parquet", ".json"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match="same command makes the shard again"):
        in_shards(world, out, engine="none")
    assert not marker.exists()
    in_shards(world, out)
    assert gallery_of(out) == gallery_of(plain)


def test_a_changed_photo_replaces_its_old_row(world: Photos, tmp_path: Path) -> None:
    photos = changed(world, tmp_path)
    task = tasks_of(photos, tmp_path / "shards", features=False)[1]
    with SqliteGallery.create(None, "batch-dependent-1", 3) as gallery:
        make_shard(task, BatchEmbedder())
        load_shard(task, gallery)
        before = gallery.table()
        write_photo(Path(task.photos.paths[4]), picture(2, 777, (60, 80)))
        make_shard(task, BatchEmbedder())
        load_shard(task, gallery)
        after = gallery.table()
        same = [a == b for a, b in zip(before.hashes, after.hashes, strict=True)]
        assert [i for i, equal in enumerate(same) if not equal] == [4]
        assert after.rows.tolist() == before.rows.tolist()
        assert gallery.stamps()[task.photos.ids[4]][1] == stamp(task.photos.paths[4])


def test_a_shard_is_done_only_for_the_same_input(world: Photos, tmp_path: Path) -> None:
    photos = changed(world, tmp_path)
    task = tasks_of(photos, tmp_path / "shards")[1]
    embedder = BatchEmbedder()
    assert make_shard(task, embedder).newly_made
    assert not make_shard(task, embedder).newly_made
    named = Photos(photos.ids, photos.paths, np.full(len(photos), "other", dtype=object))
    assert not make_shard(tasks_of(named, tmp_path / "shards")[1], embedder).newly_made
    other = BatchEmbedder()
    other.id = "batch-dependent-2"
    assert make_shard(task, other).newly_made
    assert make_shard(task, embedder).newly_made
    assert make_shard(dataclasses.replace(task, features=False), embedder).newly_made
    assert make_shard(task, embedder).newly_made
    write_photo(Path(task.photos.paths[2]), picture(3, 12345, (60, 80)))
    assert make_shard(task, embedder).newly_made
    ids = photos.ids.copy()
    ids[task.shard.first] = "another"
    renamed = Photos(ids, photos.paths, photos.landmarks)
    assert make_shard(tasks_of(renamed, tmp_path / "shards")[1], embedder).newly_made


def test_photos_that_appear_or_fail_are_noticed_by_the_next_run(
    world: Photos, tmp_path: Path
) -> None:
    photos, out = changed(world, tmp_path), tmp_path / "b.wl"
    in_shards(photos, out)
    write_photo(Path(photos.paths[40]), picture(0, 40))
    done = in_shards(photos, out)
    assert [failure.id for failure in done.failures] == ["photo 3"]
    assert "photo 40" in gallery_of(out)[2]


def test_shards_of_another_embedder_are_not_loaded(world: Photos, tmp_path: Path) -> None:
    task = tasks_of(world, tmp_path / "shards")[0]
    make_shard(task, BatchEmbedder())
    with (
        SqliteGallery.create(None, "histogram-6", 216) as gallery,
        pytest.raises(GalleryError, match="made by embedder 'batch-dependent-1'"),
    ):
        load_shard(task, gallery)


def test_shards_of_another_table_are_not_loaded(world: Photos, tmp_path: Path) -> None:
    task = tasks_of(world, tmp_path / "shards")[0]
    make_shard(task, BatchEmbedder())
    others = Photos.of_columns(["x"], ["/x.jpg"], ["place"])
    with (
        SqliteGallery.create(None, "batch-dependent-1", 3) as gallery,
        pytest.raises(DataError, match="not in the table"),
    ):
        load_shard(dataclasses.replace(task, photos=others), gallery)


def test_two_processes_at_the_same_shard_leave_one_result(world: Photos, tmp_path: Path) -> None:
    task = tasks_of(world, tmp_path / "shards", 2)[0]
    start = threading.Barrier(2)
    results: list[bool] = []

    def work() -> None:
        embedder = BatchEmbedder()
        start.wait()
        results.append(make_shard(task, embedder).newly_made)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p.name for p in (tmp_path / "shards").iterdir()) == [
        "00000-of-00002.json", "00000-of-00002.parquet"
    ]  # fmt: skip
    assert len(results) == 2
    assert not make_shard(task, BatchEmbedder()).newly_made
    with SqliteGallery.create(None, "batch-dependent-1", 3) as gallery:
        load_shard(task, gallery)
        load_shard(task, gallery)
        assert gallery.count() == len(task.photos) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_loading_works_for_every_back_end_and_resumes(
    world: Photos, plain: Path, tmp_path: Path, kind: str
) -> None:
    """Interrupted after a shard and within one; the checksums equal those of an unsharded run."""
    tasks = tasks_of(world, tmp_path / "shards", features=False)
    for each in tasks:
        make_shard(each, BatchEmbedder())
    with KINDS[kind](tmp_path) as back_end, back_end.create("batch-dependent-1", 3) as gallery:
        load_shard(tasks[0], gallery)
        load_shard(tasks[1], gallery)
        gallery.remove(gallery.table(after=20).ids.tolist())  # as if stopped after row 20
        before = gallery.table()
        fill_from_shards(tasks, [3, 0, 2, 1], gallery)
        generation = gallery.generation
        fill_from_shards(tasks, [0, 1, 2, 3], gallery)
        assert gallery.generation == generation  # nothing was stored twice
        assert gallery.table().rows[: len(before.rows)].tolist() == before.rows.tolist()
        assert gallery.faults() == []
        _, vectors, ids, _ = gallery_of(plain)
        assert (gallery.table().ids.tolist(), gallery.table().vectors.tobytes()) == (ids, vectors)


def test_a_changed_label_is_updated(world: Photos, tmp_path: Path) -> None:
    out = tmp_path / "b.wl"
    in_shards(world, out)
    names = np.array([name.replace("place 1", "Place One") for name in world.landmarks], object)
    seen = BatchEmbedder.embedded
    in_shards(Photos(world.ids, world.paths, names), out)
    assert BatchEmbedder.embedded == seen
    with SqliteGallery.open(out / "gallery.sqlite") as gallery:
        assert set(gallery.table().landmarks) == {
            "place 0",
            "Place One",
            "place 2",
            "place 3",
            "place 4",
        }


def test_shards_can_be_kept_in_an_object_store(world: Photos, plain: Path, tmp_path: Path) -> None:
    import fsspec

    location, out = "memory://job-of-tests/shards", tmp_path / "b.wl"
    store = fsspec.filesystem("memory")
    in_shards(world, out, shard_folder=location, shard=1)
    assert in_shards(world, out, shard_folder=location, shard=1).counts["done before"] == "yes"
    data = bytearray(store.cat_file("/job-of-tests/shards/00001-of-00004.parquet"))
    data[99] ^= 1
    store.pipe_file("/job-of-tests/shards/00001-of-00004.parquet", bytes(data))
    with pytest.raises(DataError, match="same command makes the shard again"):
        in_shards(world, out, shard_folder=location)
    in_shards(world, out, shard_folder=location)
    assert gallery_of(out) == gallery_of(plain)
    assert len(store.ls("/job-of-tests/shards")) == 8
    assert not (out / "shards").exists()


def test_shard_rows_read_back_unchanged(tmp_path: Path) -> None:
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
def test_invalid_shard_files_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="--shard"):
        parse_shard(text, None)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ((8, "1/9", None, None, False), "same number"),
        ((None, None, "ray", None, False), "--engine ray given; expected --shards N"),
        ((None, None, None, None, True), "--load given; expected --shards N"),
        ((None, None, None, "x", False), "--shard-folder x given; expected --shards N"),
        ((None, "0/2", "ray", None, False), "one shard in this process"),
        ((None, "0/2", None, None, True), "one shard in this process"),
        ((2, None, "ray", None, True), "makes no shards"),
    ],
)
def test_contradicting_options_are_refused(given: tuple[Any, ...], fault: str) -> None:
    with pytest.raises(OptionError, match=fault):
        shard_plan(*given)


def test_no_shards_at_all_cannot_be_cut() -> None:
    with pytest.raises(OptionError, match="--shards 0 given"):
        cut_table(10, 0)


def test_rules_by_search_and_features() -> None:
    assert shard_plan(None, None, None, None, False) == ShardPlan()
    assert shard_plan(8, None, None, "x", False) == ShardPlan(8, None, "local")
    assert shard_plan(None, "3/8", None, None, False) == ShardPlan(8, 3, "local")
    assert shard_plan(8, "3/8", None, None, False) == ShardPlan(8, 3, "local")
    assert shard_plan(8, None, "ray", None, False) == ShardPlan(8, None, "ray")
    assert shard_plan(8, None, None, None, True) == ShardPlan(8, None, "none")


@pytest.mark.parametrize(
    "wrong",
    [
        {"engine": "spark"}, {"engine": "ray"}, {"shard": 0}, {"shard_folder": "x"},
        {"shards": 2, "shard": 2}, {"shards": 2, "shard": -1},
        {"shards": 2, "shard": 0, "engine": "ray"},
    ],
)  # fmt: skip
def test_options_of_python_callers_are_checked_too(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"given|without"):
        IndexOptions(**wrong)


def test_shard_options_resolve_to_a_plan(
    caplog: pytest.LogCaptureFixture,
) -> None:
    index_photos_module._warn_of_old_engine_name.cache_clear()
    assert IndexOptions(shards=2, engine="here") == IndexOptions(shards=2, engine="local")
    plan = shard_plan(2, None, "here", None, False)
    assert IndexOptions(shards=2, engine=plan.engine).engine == "local"
    assert [record.message for record in caplog.records] == [
        'engine "here" is now called "local"; the old name will stop working in the next release'
    ]


def test_without_pyarrow_the_run_stops_before_any_work(
    world: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OptionError, match=r"\[cluster\]"):
        in_shards(world, tmp_path / "r.wl", 2)
    assert not (tmp_path / "r.wl").exists()


def test_one_run_opens_the_embedder_once_and_reads_each_photo_once(
    world: Photos, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only photos that failed are stamped and read a second time."""
    opened: list[object] = []
    read: list[str] = []
    stamped: list[str] = []
    real_read, real_stamps = read_bytes, storage.stamps

    def load(source: object, **_: object) -> BatchEmbedder:
        opened.append(source)
        return BatchEmbedder()

    def counted_read(address: str, *arguments: Any) -> bytes:
        read.append(address)
        return real_read(address, *arguments)

    def counted_stamps(paths: Any) -> list[str]:
        stamped.extend(paths)
        return real_stamps(paths)

    monkeypatch.setattr(fill, "load_embedder", load)
    monkeypatch.setattr(pipeline, "read_bytes", counted_read)
    monkeypatch.setattr(shards, "stamps_of", counted_stamps)
    monkeypatch.setattr(fill, "stamps_of", counted_stamps)
    before = BatchEmbedder.embedded
    options = IndexOptions(rules=CHEAP, shards=4)
    done = index_photos(world, None, tmp_path / "b.wl", "batch-dependent", options, progress=quiet)
    assert opened == ["batch-dependent"]
    assert BatchEmbedder.embedded - before == PHOTOS - 2
    failed = [world.paths[3], world.paths[40]]
    assert sorted(read) == sorted([*world.paths, *failed])
    assert sorted(stamped) == sorted([*world.paths, *failed])
    assert gallery_of(tmp_path / "b.wl") == gallery_of(plain)
    assert [failure.id for failure in done.failures] == ["photo 3", "photo 40"]


def test_a_photo_that_failed_once_is_tried_again_in_the_same_run(
    world: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, a store did not answer; the second attempt is the last."""
    photos, out, asked = changed(world, tmp_path), tmp_path / "b.wl", []
    write_photo(Path(photos.paths[40]), picture(0, 40))
    real = read_bytes

    def slow(address: str, *arguments: Any) -> bytes:
        if address == photos.paths[40]:
            asked.append(address)
            if len(asked) == 1:
                raise ImageError(f"{address}: cannot be read (SlowDown)")
        return real(address, *arguments)

    monkeypatch.setattr(pipeline, "read_bytes", slow)
    done = in_shards(photos, out)
    assert len(asked) == 2
    assert [failure.id for failure in done.failures] == ["photo 3"]
    assert "photo 40" in gallery_of(out)[2]
    in_shards(photos, out)
    assert len(asked) == 2  # the gallery has the photo, although its shard does not


def test_photos_missing_in_loaded_shards_are_embedded(world: Photos, tmp_path: Path) -> None:
    """A table that has grown within its last section, or has another file under an id."""
    out = tmp_path / "b.wl"
    in_shards(world.take(range(68)), out, 1)
    (out / "gallery.sqlite").unlink()
    photos = Photos(world.ids, world.paths.copy(), world.landmarks)
    photos.paths[5] = str(write_photo(tmp_path / "another.jpg", picture(0, 999)))
    seen = BatchEmbedder.embedded
    in_shards(photos, out, 1, engine="none")
    assert BatchEmbedder.embedded == seen + 3
    with SqliteGallery.open(out / "gallery.sqlite") as gallery:
        stamps = gallery.stamps()
    assert len(stamps) == PHOTOS - 2
    assert stamps["photo 5"][0] == photos.paths[5]


def test_the_machines_of_a_cluster_get_the_address_of_the_embedder(tmp_path: Path) -> None:
    """An embedder object and a fitted SIFT are saved in the recognizer folder."""
    saved = str(tmp_path / "r.wl" / "embedder")
    assert index_photos_module._address_for_ray(BatchEmbedder(), tmp_path / "r.wl") == saved
    assert index_photos_module._address_for_ray("sift", tmp_path / "r.wl") == saved
    assert index_photos_module._address_for_ray("timm:test_resnet", tmp_path) == "timm:test_resnet"
    assert index_photos_module._address_for_ray(Path("here"), tmp_path) == str(
        Path("here").absolute()
    )
