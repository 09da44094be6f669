"""The search index in Qdrant: synced, interrupted, stale, of another embedder, out of reach.

Whatever happens to it, the gallery answers; `test_search_place.py` asks through recognizers.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from tests.support.galleries import row
from whichlandmark.core.errors import BusyError, DataError, GalleryError, OptionError
from whichlandmark.gallery.address import open_search_index
from whichlandmark.gallery.checksums import Meta
from whichlandmark.gallery.qdrant import sync as sync_module
from whichlandmark.gallery.qdrant.client import (
    API_KEY_VARIABLE,
    QdrantAddress,
    RetryingClient,
    parse,
)
from whichlandmark.gallery.qdrant.collection import (
    Marker,
    QdrantConfig,
    make,
    read_marker,
    set_marker,
)
from whichlandmark.gallery.qdrant.search import QdrantIndex
from whichlandmark.gallery.sqlite.store import SqliteGallery

qdrant_client = pytest.importorskip("qdrant_client")
from tests.support.qdrant_stand_in import StandIn, index_over, messages, serving  # noqa: E402

QUERIES = np.eye(4, dtype=np.float32)
_names = itertools.count()

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes:UserWarning",
                                        "ignore:Local mode performs:UserWarning")  # fmt: skip


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key, and without waiting for syncs that have died."""
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)
    monkeypatch.setattr(sync_module, "WATCH_SECONDS", 0.0)


@pytest.fixture
def client() -> Iterator[Any]:
    made = qdrant_client.QdrantClient(":memory:")
    yield made
    made.close()


@pytest.fixture(params=["memory", "grpc", "edge", "server"])
def engine(request: pytest.FixtureRequest, client: Any) -> Iterator[tuple[QdrantIndex, Any]]:
    """A search index that does not exist yet, and a client of the same server."""
    if request.param == "memory":
        yield index_over(client), client
    elif request.param == "grpc":
        with serving(stand_in := StandIn()) as port:
            yield QdrantIndex.open(f"qdrant://127.0.0.1:{port}/paris"), stand_in.local
    elif request.param == "edge":
        pytest.importorskip("qdrant_edge")
        from tests.support.edge_qdrant import EdgeClient

        with EdgeClient() as edge:
            yield index_over(edge), edge
    else:  # a live one, as qdrant://HOST:6334?tls=1
        if not (url := os.environ.get("WHICHLANDMARK_QDRANT_URL", "")):
            pytest.skip("WHICHLANDMARK_QDRANT_URL is not set")
        server, _, parameters = url.partition("?")
        name = f"whichlandmark_test_{os.getpid()}_{next(_names)}"
        index = QdrantIndex.open(f"{server.rstrip('/')}/{name}?{parameters}")
        yield index, None
        index._client.call("delete_collection")


@pytest.fixture
def gallery() -> SqliteGallery:
    """Three photos and a distractor."""
    made = SqliteGallery.create(None, "fake-1", 4)
    made.put([
        row("a", "Louvre"), row("b", "Louvre", [1.0, 0, 0, 0]), row("c", "Orsay", [0, 0.6, 0.8, 0]),
        row("d", "", [0, 0, 0, 1.0]),
    ])  # fmt: skip
    return made


def held(index: QdrantIndex) -> dict[int, tuple[Any, ...]]:
    """Row → (checksum, kind, vector) of all points but the marker."""
    points, _ = index._client.call("scroll", limit=10_000, with_payload=True, with_vectors=True)
    return {one.id: (one.payload["sum"], one.payload["kind"], tuple(one.vector))
            for one in points if one.id}  # fmt: skip


def wanted(gallery: SqliteGallery) -> dict[int, tuple[Any, ...]]:
    table, (_, sums) = gallery.table(), gallery.sums()
    kinds = np.where(table.landmarks == "", "distractor", "landmark")
    vectors = map(tuple, table.vectors.astype(np.float64).tolist())
    columns = (table.rows.tolist(), sums.tolist(), kinds.tolist(), vectors)
    return {number: rest for number, *parts in zip(*columns, strict=True) if (rest := tuple(parts))}


def nearest(index: QdrantIndex, state: Meta, k: int = 9, **more: bool) -> list[list[int]]:
    rows = index.nearest(state, QUERIES, k, **({"distractors": False} | more))
    return [[number for number in line if number >= 0] for line in rows.tolist()]


def test_a_sync_makes_the_index_and_keeps_it_in_step(
    engine: tuple[QdrantIndex, Any], gallery: SqliteGallery
) -> None:
    index, _ = engine
    assert index.state() is None
    told: list[tuple[int, int]] = []
    done = index.sync(gallery, progress=lambda *numbers: told.append(numbers))
    assert (done.photos, done.written, done.deleted, done.generation) == (4, 4, 0, 1)
    assert told == [(4, 4)]
    for change, written, deleted in (
        (lambda: None, 0, 0),
        (lambda: gallery.put([row("e", "Orsay", [0, 0, 1.0, 0])]), 1, 0),
        (lambda: gallery.remove(["a", "e"]), 0, 2),
        (lambda: gallery.put([row("b", "Louvre", [0, 1.0, 0, 0])]), 1, 0),  # another vector
        (lambda: gallery.relabel({"b": "Orsay", "d": "Pantheon"}), 2, 0),
        (
            lambda: (gallery.put([row("f")]), gallery.remove(["c"]), gallery.relabel({"b": ""})),
            2,
            1,
        ),
    ):
        change()
        done = index.sync(gallery)
        assert (done.written, done.deleted) == (written, deleted)
        assert held(index) == wanted(gallery)
        state = index.state()
        assert state is not None
        now = gallery.state()
        assert state == (True, now.generation, now.photos, now.photo_digest)


def test_landmark_photos_and_distractors_are_searched_apart(
    engine: tuple[QdrantIndex, Any], gallery: SqliteGallery
) -> None:
    index, _ = engine
    index.sync(gallery)
    found = nearest(index, gallery.state())
    assert [sorted(line) for line in found] == [[1, 2, 3]] * 4
    assert found[0][0] == 2
    assert found[1][0] == found[2][0] == 3 or found[1][0] == 3
    assert nearest(index, gallery.state(), distractors=True) == [[4]] * 4
    assert nearest(index, gallery.state(), 1)[0] == [2]
    assert nearest(index, gallery.state(), 0) == [[]] * 4


def test_empty_galleries_and_distractors_alone(engine: tuple[QdrantIndex, Any]) -> None:
    index, _ = engine
    gallery = SqliteGallery.create(None, "fake-1", 4)
    assert index.sync(gallery).photos == 0
    assert nearest(index, gallery.state()) == [[]] * 4
    gallery.put([row("x", "")])
    assert index.sync(gallery).written == 1
    assert nearest(index, gallery.state()) == [[]] * 4
    assert nearest(index, gallery.state(), distractors=True) == [[1]] * 4
    gallery.remove(["x"])
    assert index.sync(gallery).deleted == 1
    assert held(index) == {}


class Stopped(BaseException):
    """What a process meets that is killed."""


class Mortal:
    """A client that dies before or after one of its calls."""

    def __init__(self, client: Any, calls: int, *, after: bool = False) -> None:
        self.client, self.left, self.after = client, calls, after

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **given: Any) -> Any:
            self.left -= 1
            if self.left <= 0 and not self.after:
                raise Stopped
            result = getattr(self.client, name)(*args, **given)
            if self.left <= 0:
                raise Stopped
            return result

        return call


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_a_sync_that_dies_at_any_request_is_not_searched_and_goes_on(
    client: Any, monkeypatch: pytest.MonkeyPatch, first: bool, after: bool
) -> None:
    """first: of a new index; else of one that has all kinds of changes to follow."""
    monkeypatch.setattr(sync_module, "MAX_POINTS_PER_REQUEST", 3)
    for calls in itertools.count(1):
        name = f"paris{next(_names)}"
        gallery = SqliteGallery.create(None, "fake-1", 4)
        gallery.put([row(f"p{n}", f"l{n % 2}", [n, 1.0, 0, 0]) for n in range(8)])
        before = gallery.state()
        if not first:
            index_over(client, name).sync(gallery)
            gallery.put([row(f"q{n}", "") for n in range(4)])
            gallery.remove(["p1", "p2", "p3", "p5"])
            gallery.relabel({"p0": "l9"})
        try:
            index_over(Mortal(client, calls, after=after), name).sync(gallery)
        except Stopped:
            ended = False
        else:
            ended = True
        survivor = index_over(client, name)
        state = survivor.state() if client.collection_exists(name) else None
        if state is not None and state.complete and not ended:
            assert state.generation in (before.generation, gallery.generation)
        for asked in (before, gallery.state()):
            try:
                found = survivor.nearest(asked, QUERIES, 99, distractors=False)
            except GalleryError:
                continue
            assert read_marker(survivor._client).holds(asked)  # type: ignore[union-attr]
            assert (found[0] >= 0).sum() == (8 if asked == before else 4)
        survivor.sync(gallery)
        assert held(survivor) == wanted(gallery)
        assert read_marker(survivor._client).holds(gallery.state())  # type: ignore[union-attr]
        if ended:
            assert calls > 10
            return


def test_a_resumed_sync_writes_only_what_is_missing(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_module, "MAX_POINTS_PER_REQUEST", 10)
    gallery = SqliteGallery.create(None, "fake-1", 4)
    gallery.put([row(f"p{n}") for n in range(100)])

    def stop(done: int, _: int) -> None:
        if done == 60:
            raise Stopped

    with pytest.raises(Stopped):
        index_over(client).sync(gallery, progress=stop)
    told: list[tuple[int, int]] = []
    done = index_over(client).sync(gallery, progress=lambda *n: told.append(n))
    assert (done.written, told[0], told[-1]) == (40, (70, 100), (100, 100))


def test_an_index_of_another_state_is_never_searched(
    engine: tuple[QdrantIndex, Any], gallery: SqliteGallery
) -> None:
    index, _ = engine
    with pytest.raises(GalleryError):
        nearest(index, gallery.state())  # there is none
    index.sync(gallery)
    old = gallery.state()
    assert nearest(index, old)
    gallery.relabel({"a": "Orsay"})
    with pytest.raises(GalleryError, match="holds generation 1, the gallery is at 2"):
        nearest(index, gallery.state())
    index.sync(gallery)
    assert nearest(index, gallery.state())
    with pytest.raises(GalleryError, match="holds generation 2, the gallery is at 1"):
        nearest(index, old)
    other = SqliteGallery.create(None, "fake-1", 4)
    for name in "pq":
        other.put([row(name)])
    with pytest.raises(GalleryError, match="holds generation 2"):  # another gallery's
        nearest(index, other.state())
    marker = read_marker(index._client)
    assert marker is not None
    assert set_marker(index._client, marker.run, complete=False)
    with pytest.raises(GalleryError, match="a sync has not ended"):
        nearest(index, gallery.state())


def test_a_sync_that_begins_and_ends_during_a_search_is_noticed(
    client: Any, gallery: SqliteGallery
) -> None:
    """The answer is not used, because the collection may have been in between."""
    index_over(client).sync(gallery)
    searches: list[int] = []

    class Meanwhile:
        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        def query_batch_points(self, *args: Any, **given: Any) -> Any:
            found = client.query_batch_points(*args, **given)
            searches.append(1)
            if len(searches) == 1:
                gallery.put([row("x")])
                index_over(client).sync(gallery)
                gallery.remove(["x"])
                index_over(client).sync(gallery)
                client.set_payload("paris", {"generation": 1}, [0])
            return found

    assert nearest(index_over(Meanwhile()), gallery.state()._replace(generation=1))
    assert len(searches) == 2


def test_indexes_of_another_embedder_and_foreign_collections_are_refused(
    engine: tuple[QdrantIndex, Any], gallery: SqliteGallery
) -> None:
    index, client = engine
    index.sync(gallery)
    other = SqliteGallery.create(None, "fake-2", 8)
    other.put([replace(row("a"), vector=np.ones(8, np.float32))])
    with pytest.raises(GalleryError, match=r"of embedder 'fake-1' with 4 .*'fake-2' with 8.*--reb"):
        index.sync(other)
    assert nearest(index, gallery.state())  # nothing has changed
    assert index.sync(other, rebuild=True).written == 1
    with pytest.raises(GalleryError, match="holds generation 1"):
        nearest(QdrantIndex(index._client), gallery.state())
    if client is None:
        return
    models = qdrant_client.models
    client.create_collection("rome", models.VectorParams(size=4, distance=models.Distance.DOT))
    foreign = QdrantIndex(RetryingClient(
        QdrantAddress("localhost", "rome"), client))  # fmt: skip
    assert foreign.state() is None  # an empty one may be taken
    client.upsert("rome", [models.PointStruct(id=7, vector=[1, 0, 0, 0], payload={"id": "x"})])
    for rebuild in (False, True):
        with pytest.raises(GalleryError, match=r"no search index of whichlandmark; take another"):
            foreign.sync(gallery, rebuild=rebuild)
    assert client.count("rome").count == 1


def test_rebuild_makes_the_index_again(
    engine: tuple[QdrantIndex, Any], gallery: SqliteGallery
) -> None:
    index, _ = engine
    index.sync(gallery)
    assert index.sync(gallery).written == 0
    assert index.sync(gallery, rebuild=True).written == 4
    assert held(index) == wanted(gallery)


def test_lost_points_are_noticed_by_the_next_sync(client: Any, gallery: SqliteGallery) -> None:
    index = index_over(client)
    index.sync(gallery)
    client.delete("paris", [2])
    gallery.put([row("e")])
    with pytest.raises(GalleryError, match=r"holds 4 photos after the sync, expected 5.*--rebuild"):
        index.sync(gallery)
    assert index.sync(gallery).written == 1  # it reads all now
    assert held(index) == wanted(gallery)


def test_the_second_of_two_syncs_ends_and_says_why(
    client: Any, gallery: SqliteGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second_while_first_works() -> None:
        with pytest.raises(BusyError, match="another sync is working on it; wait for it"):
            index_over(client).sync(gallery)

    index_over(client).sync(gallery)
    gallery.put([row("e")])
    first = sync_module.Sync(RetryingClient(QdrantAddress("localhost", "paris"), client), gallery)

    def first_goes_on(_: float) -> None:
        first._step()

    monkeypatch.setattr(sync_module.time, "sleep", first_goes_on)
    first.progress = lambda done, total: second_while_first_works()
    assert first(QdrantConfig()).written == 1
    assert held(index_over(client)) == wanted(gallery)


def test_a_sync_that_slept_is_taken_over_and_ends(client: Any, gallery: SqliteGallery) -> None:
    first = sync_module.Sync(RetryingClient(QdrantAddress("localhost", "paris"), client), gallery)

    def second(done: int, total: int) -> None:
        index_over(client).sync(gallery)

    first.progress = second
    with pytest.raises(BusyError, match="another sync is working on it"):
        first(QdrantConfig())
    index = index_over(client)
    assert nearest(index, gallery.state())  # of the second
    assert held(index) == wanted(gallery)


def test_a_gallery_that_changes_meanwhile_is_followed(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_module, "MAX_POINTS_PER_REQUEST", 5)
    gallery = SqliteGallery.create(None, "fake-1", 4)
    gallery.put([row(f"p{n:02}") for n in range(20)])
    changes: Iterator[Callable[[], Any]] = iter((
        lambda: gallery.put([row("new", "")]),
        lambda: gallery.remove(["p07", "p19"]),  # the second one is still to be read
        lambda: gallery.relabel({"p00": "z", "p18": ""}),
        lambda: gallery.put([row("p01", value=[0, 1.0, 0, 0])]),
    ))  # fmt: skip

    def change(done: int, total: int) -> None:
        next(changes, lambda: None)()

    index = index_over(client)
    assert index.sync(gallery, progress=change).photos == 19
    assert next(changes, None) is None
    assert held(index) == wanted(gallery)
    assert nearest(index, gallery.state(), 99)


def test_a_gallery_that_never_rests_is_given_up(client: Any, gallery: SqliteGallery) -> None:
    names = itertools.count()

    def change(done: int, total: int) -> None:
        gallery.put([row(f"n{next(names)}")])

    with pytest.raises(BusyError, match="it changes faster than it can be synced"):
        index_over(client).sync(gallery, progress=change)
    with pytest.raises(GalleryError, match="a sync has not ended"):
        nearest(index_over(client), gallery.state())


def test_a_change_at_the_last_moment_is_followed(client: Any, gallery: SqliteGallery) -> None:
    class Late:
        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        def set_payload(self, *args: Any, **given: Any) -> Any:
            if given["payload"].get("complete") and gallery.generation == 1:
                gallery.remove(["a"])
            return client.set_payload(*args, **given)

    done = index_over(Late()).sync(gallery)
    assert (done.generation, done.photos) == (2, 3)
    assert held(index_over(client)) == wanted(gallery)


def test_many_gaps_are_found_by_reading_all(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = SqliteGallery.create(None, "fake-1", 4)
    gallery.put([row(f"p{n}") for n in range(30)])
    index = index_over(client)
    index.sync(gallery)
    monkeypatch.setattr(sync_module, "MAX_GAPS", 5)
    monkeypatch.setattr(sync_module, "SUMS_PER_PAGE", 7)
    gallery.remove([f"p{n}" for n in range(0, 30, 3)])
    assert index.sync(gallery).deleted == 10
    assert held(index) == wanted(gallery)


def test_requests_stay_small(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = SqliteGallery.create(None, "fake-1", 4)
    gallery.put([row(f"p{n}", keypoints=bytes(50_000)) for n in range(40)])
    monkeypatch.setattr(sync_module, "MAX_REQUEST_BYTES", 10 * 216)
    with serving(stand_in := StandIn()) as port:
        index = QdrantIndex.open(f"qdrant://127.0.0.1:{port}/paris")
        index.sync(gallery)
        index.nearest(gallery.state(), np.tile(QUERIES, (60, 1)), 3, distractors=False)
    sizes = {method: [asked.ByteSize() for name, asked in stand_in.requests if name == method]
             for method in ("points_Upsert", "points_QueryBatch")}  # fmt: skip
    assert len(sizes["points_Upsert"]) == 1 + 4  # the marker, and 10 photos each
    assert max(sizes["points_Upsert"]) < 2_000
    assert len(sizes["points_QueryBatch"]) == 3  # 100 queries each at most


def test_presets_reach_the_server() -> None:
    """Checked in the message that the server receives."""
    empty = SqliteGallery.create(None, "fake-1", 256)
    for size, shards, copies, quantised in (
        (1_000_000, 1, 1, None), (10_000_000, 2, 1, "scalar"), (100_000_000, 6, 2, "scalar"),
        (1_000_000_000, 24, 2, "binary"),
    ):  # fmt: skip
        config = QdrantConfig.for_size(size)
        with serving(stand_in := StandIn()) as port:
            open_search_index(f"qdrant://127.0.0.1:{port}/paris?size={size}").sync(empty)
        (made,) = (asked for method, asked in stand_in.requests if method == "collections_Create")
        vectors = made.vectors_config.params
        assert (vectors.size, vectors.distance, vectors.datatype) == (
            256, messages.Distance.Dot, messages.Datatype.Float16,
        )  # fmt: skip
        assert vectors.on_disk == config.vectors_on_disk == (size > 1_000_000)
        assert made.shard_number == shards
        assert made.replication_factor == made.write_consistency_factor == copies
        assert made.on_disk_payload
        assert made.hnsw_config.m == config.hnsw_m
        assert made.hnsw_config.ef_construct == config.hnsw_ef_construct
        assert made.hnsw_config.on_disk == (quantised == "binary")
        assert made.optimizers_config.indexing_threshold == config.indexing_threshold
        how = made.quantization_config
        assert how.WhichOneof("quantization") == quantised
        if quantised == "scalar":
            assert how.scalar.type == messages.QuantizationType.Int8
            assert (how.scalar.quantile, how.scalar.always_ram) == (pytest.approx(0.99), True)
        if quantised == "binary":
            assert how.binary.always_ram
        indexed = [asked.field_name for method, asked in stand_in.requests
                   if method == "points_CreateFieldIndex"]  # fmt: skip
        assert indexed == ["kind"]
        assert not made.strict_mode_config.enabled


def test_small_galleries_are_searched_exactly_and_large_ones_by_hnsw() -> None:
    config = QdrantConfig(quantization="binary", ef_search=77, oversampling=3.0, exact_below=2)
    exact, graph = config.search_params(2), config.search_params(3)
    assert (exact.exact, exact.quantization.ignore) == (True, True)
    assert not graph.exact
    assert (graph.hnsw_ef, graph.quantization.oversampling) == (77, 3.0)
    assert (graph.quantization.rescore, graph.quantization.ignore) == (True, False)
    plain = QdrantConfig(ef_search=9, exact_below=0).search_params(1)
    assert (plain.hnsw_ef, plain.quantization) == (9, None)


def test_addresses_are_parsed(tmp_path: Path) -> None:
    assert parse("qdrant://db/paris") == QdrantAddress("db", "paris")
    whole = parse("qdrant://[::1]:7000/Paris-2?tls=1&timeout=5&size=10000000")
    config = QdrantConfig.for_size(10_000_000)
    assert whole == QdrantAddress("::1", "Paris-2", 7000, True, 5, config)
    assert whole.name == "qdrant://[::1]:7000/Paris-2"
    path = tmp_path / "cluster.json"
    path.write_text('{"shards": 12, "oversampling": 2.5}')
    expected = QdrantConfig(shards=12, oversampling=2.5)
    assert parse(f"qdrant://db/paris?config={path}").config == expected
    path.write_text('{"shard": 12}')
    with pytest.raises(OptionError, match="did you mean 'shards'"):
        parse(f"qdrant://db/paris?config={path}")
    path.write_text('{"quantization": "product"}')
    with pytest.raises(OptionError, match="expected one of 'none', 'scalar', 'binary'"):
        parse(f"qdrant://db/paris?config={path}")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("qdrant:///paris", "no host; expected qdrant://HOST:6334/NAME"),
        ("qdrant://db", "collection ''; expected 1 to 100 letters"),
        ("qdrant://db/a/b", "collection 'a/b'"),
        ("qdrant://db:99999/paris", "Port out of range"),
        ("qdrant://db:x/paris", "x"),
        ("qdrant://db/paris?tsl=1", "unknown parameter: 'tsl'; did you mean 'tls'"),
        ("qdrant://db/paris?tls=yes", "tls=yes; expected 0 or 1"),
        ("qdrant://db/paris?timeout=0", "timeout=0; expected a whole number from 1"),
        ("qdrant://db/paris?timeout=²", "timeout=²; expected"),
        ("qdrant://db/paris?size=big", "size=big; expected a whole number"),
        ("qdrant://db/paris?size=5&config=x.json", "both config= and size="),
        ("qdrant://:sesame@db:6334/paris", API_KEY_VARIABLE),
    ],
)
def test_invalid_addresses_are_refused(address: str, words: str) -> None:
    with pytest.raises(OptionError) as raised:
        open_search_index(address)
    assert words in str(raised.value)
    assert "sesame" not in str(raised.value)


def test_a_missing_config_file_is_named() -> None:
    with pytest.raises(DataError, match=r"missing\.json"):
        open_search_index("qdrant://db/paris?config=missing.json")


def test_an_api_key_is_sent_only_over_tls_or_to_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "sesame")
    for host in ("db", "10.0.0.1", "localhost.example.org", "128.0.0.1"):
        with pytest.raises(OptionError, match=r"add \?tls=1") as raised:
            open_search_index(f"qdrant://{host}/paris").state()
        assert "sesame" not in str(raised.value)
    for address in ("qdrant://db/paris?tls=1", "qdrant://localhost/paris", "qdrant://[::1]/paris",
                    "qdrant://127.8.0.1/paris"):  # fmt: skip
        QdrantIndex.open(address)._client.connect()


def test_the_api_key_reaches_the_server_and_no_error_message(
    monkeypatch: pytest.MonkeyPatch, gallery: SqliteGallery
) -> None:
    with serving(StandIn(key="sesame")) as port:
        address = f"qdrant://127.0.0.1:{port}/paris"
        for wrong in ("", "simsim"):
            monkeypatch.setenv(API_KEY_VARIABLE, wrong)
            with pytest.raises(GalleryError, match=f"another key, in {API_KEY_VARIABLE}") as raised:
                open_search_index(address).state()
            assert "simsim" not in str(raised.value)
        monkeypatch.setenv(API_KEY_VARIABLE, "sesame")
        index = open_search_index(address)
        assert index.sync(gallery).written == 4
        assert "sesame" not in index.name


def test_an_unreachable_server_gives_an_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        index = open_search_index(f"qdrant://127.0.0.1:{free.getsockname()[1]}/paris?timeout=2")
        began = time.monotonic()
        with pytest.raises(GalleryError, match="no server answers there; is it running"):
            index.state()
        assert time.monotonic() - began < 8


def test_a_silent_server_times_out(gallery: SqliteGallery) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = QdrantIndex.open(f"qdrant://127.0.0.1:{silent.getsockname()[1]}/paris?timeout=1")
        began = time.monotonic()
        with pytest.raises(GalleryError, match=r"no answer in time|no server answers there"):
            nearest(index, gallery.state())
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", ["Acknowledged", "WaitTimeout"])
def test_an_unconfirmed_write_is_an_error(status: str, gallery: SqliteGallery) -> None:
    with serving(stand_in := StandIn()) as port:
        index = QdrantIndex.open(f"qdrant://127.0.0.1:{port}/paris")
        index.sync(gallery)
        gallery.put([row("e")])
        stand_in.status = getattr(messages.UpdateStatus, status)
        with pytest.raises(GalleryError, match="did not confirm it in time"):
            index.sync(gallery)
        stand_in.status = messages.UpdateStatus.Completed
        assert index.sync(gallery).photos == 5
        assert held(index) == wanted(gallery)


def test_without_the_package_an_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(GalleryError, match=r"qdrant-client is not installed; pip install"):
        open_search_index("qdrant://localhost/paris").state()


def test_vectors_are_stored_without_normalizing(client: Any) -> None:
    """Bit for bit; with cosine distance even the client in memory returns other numbers."""
    assert QdrantConfig().creation(4)["vectors_config"].distance.value == "Dot"
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 32)).astype(np.float16)
    gallery = SqliteGallery.create(None, "fake-1", 32)
    gallery.put([replace(row(f"p{n}"), vector=v) for n, v in enumerate(vectors)])
    index = index_over(client, "many")
    index.sync(gallery)
    back = np.array([held(index)[n + 1][2] for n in range(200)], dtype=np.float32)
    assert np.array_equal(back, vectors.astype(np.float32))


def test_a_marker_that_lost_a_field_is_no_index_of_ours(client: Any) -> None:
    calls = RetryingClient(QdrantAddress("localhost", "paris"), client)
    assert make(calls, QdrantConfig(), "e", 4) == Marker("e", 4) == read_marker(calls)
    client.delete_payload("paris", ["digest"], [0])
    with pytest.raises(GalleryError, match="no search index of whichlandmark"):
        read_marker(calls)


@pytest.mark.slow
def test_tls_with_a_private_certificate_authority(tmp_path: Path, monkeypatch: Any) -> None:
    """In its own process, because gRPC reads the trusted certificates only once."""
    if not (openssl := shutil.which("openssl")):
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    pair = [(key.read_bytes(), certificate.read_bytes())]
    script = (
        "import sys; from whichlandmark.gallery.qdrant.search import QdrantIndex\n"
        "print(QdrantIndex.open(sys.argv[1]).state())"
    )
    monkeypatch.setenv(API_KEY_VARIABLE, "sesame")
    with serving(StandIn(key="sesame"), grpc.ssl_server_credentials(pair)) as port:
        address = f"qdrant://localhost:{port}/paris?timeout=3&tls="

        def ran(tls: str, **more: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-c", script, address + tls]
            return subprocess.run(
                command, env={**os.environ, **more}, capture_output=True, text=True, check=False
            )

        trusting = ran("1", GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=str(certificate))
        assert (trusting.returncode, trusting.stdout) == (0, "None\n"), trusting.stderr
        stranger = ran("1")
        assert "GalleryError" in stranger.stderr
        assert "no server answers there" in stranger.stderr
        assert "sesame" not in stranger.stderr
        assert "does it expect ?tls=1?" in ran("0").stderr
