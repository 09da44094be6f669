"""Qdrant galleries: addresses, API keys, presets, damage, snapshots, unreachable servers.

What every gallery promises is tested in `test_contract.py`; changes that are cut off in
`test_qdrant_writing.py`.
"""

from __future__ import annotations

import json
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
from whichlandmark.core.json_options import from_json, to_json
from whichlandmark.gallery import address as address_module
from whichlandmark.gallery.qdrant import integrity, points
from whichlandmark.gallery.qdrant import queries as queries_module
from whichlandmark.gallery.qdrant.client import (
    API_KEY_VARIABLE,
    MAX_REQUEST_BYTES,
    QdrantAddress,
    RetryingClient,
    batches,
    connect,
    parse,
)
from whichlandmark.gallery.qdrant.config import QdrantConfig, photo_collection, search_params
from whichlandmark.gallery.qdrant.store import QdrantGallery
from whichlandmark.gallery.records import LandmarkRecord

qdrant_client = pytest.importorskip("qdrant_client")
from tests.support.qdrant_stand_in import StandIn, messages, serving  # noqa: E402


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(API_KEY_VARIABLE, raising=False)


@pytest.fixture
def client() -> Iterator[Any]:
    made = qdrant_client.QdrantClient(":memory:")
    yield made
    made.close()


@pytest.fixture
def gallery(client: Any) -> QdrantGallery:
    """Three photos with all optional fields, a distractor, a record."""
    made = QdrantGallery.create_in(client, "paris", "fake-1", 4)
    made.put([
        row("a", "Louvre", keypoints=b"ka", fingerprint=b"la", thumbnail=b"ta"),
        row("b", "Louvre", [1.0, 0, 0, 0]), row("c", "Orsay", [0, 0.6, 0.8, 0], fingerprint=b"lc"),
        row("d", "", [0, 0, 0, 1.0]),
    ])  # fmt: skip
    made.describe([LandmarkRecord("Louvre", "The Louvre")])
    return made


def test_addresses_are_parsed() -> None:
    assert parse("qdrant://db/paris") == QdrantAddress("db", "paris")
    whole = parse("qdrant://[::1]:7000/Paris-2?tls=1&http_port=7001&timeout=5&size=10000000")
    assert whole == QdrantAddress(
        "::1", "Paris-2", 7000, 7001, True, 5, QdrantConfig.for_size(10_000_000)
    )
    assert whole.name == "qdrant://[::1]:7000/Paris-2"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("qdrant:///paris", "no host; expected qdrant://HOST:6334/NAME"),
        ("qdrant://db", "gallery ''; expected 1 to 100 letters"),
        ("qdrant://db/a/b", "gallery 'a/b'"),
        ("qdrant://db/paris_about", "not ending in _about"),
        ("qdrant://db:99999/paris", "Port out of range"),
        ("qdrant://db:x/paris", "x"),
        ("qdrant://db/paris?tsl=1", "unknown parameter: 'tsl'; did you mean 'tls'"),
        ("qdrant://db/paris?tls=yes", "tls=yes; expected 0 or 1"),
        ("qdrant://db/paris?timeout=0", "timeout=0; expected a whole number from 1"),
        ("qdrant://db/paris?http_port=²", "http_port=²; expected"),
        ("qdrant://db/paris?size=big", "size=big; expected a whole number"),
        ("qdrant://db/paris?size=5&config=x.json", "both config= and size="),
        ("qdrant://db/paris?config=missing.json", "missing.json: cannot be read as JSON"),
    ],
)
def test_invalid_addresses_are_refused(address: str, words: str) -> None:
    with pytest.raises(OptionError) as raised:
        address_module.open_at(address)
    assert words in str(raised.value)


def test_an_api_key_in_an_address_is_refused_and_never_shown() -> None:
    with pytest.raises(OptionError, match=API_KEY_VARIABLE) as raised:
        parse("qdrant://:sesame@db:6334/paris")
    assert "sesame" not in str(raised.value)


def test_an_api_key_is_sent_only_over_tls_or_to_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_KEY_VARIABLE, "sesame")
    for host in ("db", "10.0.0.1", "localhost.example.org", "128.0.0.1"):
        with pytest.raises(OptionError, match=r"add \?tls=1") as raised:
            connect(parse(f"qdrant://{host}/paris"))
        assert "sesame" not in str(raised.value)
    for address in ("qdrant://db/paris?tls=1", "qdrant://localhost/paris", "qdrant://[::1]/paris",
                    "qdrant://127.8.0.1/paris"):  # fmt: skip
        connect(parse(address)).close()


def test_the_api_key_reaches_the_server_and_no_error_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(StandIn(key="sesame")) as port:
        address = f"qdrant://127.0.0.1:{port}/paris"
        for wrong in ("", "simsim"):
            monkeypatch.setenv(API_KEY_VARIABLE, wrong)
            with pytest.raises(GalleryError, match=f"another key, in {API_KEY_VARIABLE}") as raised:
                QdrantGallery.create(address, "fake-1", 4)
            assert "simsim" not in str(raised.value)
        monkeypatch.setenv(API_KEY_VARIABLE, "sesame")
        with QdrantGallery.create(address, "fake-1", 4) as gallery:
            gallery.put([row("a")])
            assert gallery.count() == 1
            assert "sesame" not in gallery.name


def test_presets_reach_the_server() -> None:
    """Checked in the message that the server receives."""
    for size, shards, copies, quantised in (
        (1_000_000, 1, 1, None), (10_000_000, 2, 1, "scalar"), (100_000_000, 6, 2, "scalar"),
        (1_000_000_000, 24, 2, "binary"),
    ):  # fmt: skip
        config = QdrantConfig.for_size(size)
        with serving(stand_in := StandIn()) as port:
            address = f"qdrant://127.0.0.1:{port}/paris?size={size}"
            QdrantGallery.create(address, "fake-1", 256).close()
            QdrantGallery.open(address.partition("?")[0]).close()
        photos, about = (
            made for method, made in stand_in.requests if method == "collections_Create"
        )
        vectors = photos.vectors_config.params
        assert (vectors.size, vectors.distance, vectors.datatype) == (
            256, messages.Distance.Dot, messages.Datatype.Float16,
        )  # fmt: skip
        assert vectors.on_disk == config.vectors_on_disk == (size > 1_000_000)
        assert photos.shard_number == about.shard_number == shards
        assert photos.replication_factor == about.replication_factor == copies
        assert photos.write_consistency_factor == about.write_consistency_factor == copies
        assert photos.on_disk_payload
        assert about.on_disk_payload
        assert not about.vectors_config.params_map.map
        assert photos.hnsw_config.m == config.hnsw_m
        assert photos.hnsw_config.ef_construct == config.hnsw_ef_construct
        assert photos.hnsw_config.on_disk == (quantised == "binary")
        assert photos.optimizers_config.indexing_threshold == config.indexing_threshold
        made = photos.quantization_config
        assert made.WhichOneof("quantization") == quantised
        if quantised == "scalar":
            assert made.scalar.type == messages.QuantizationType.Int8
            assert (made.scalar.quantile, made.scalar.always_ram) == (pytest.approx(0.99), True)
        if quantised == "binary":
            assert made.binary.always_ram
        ids = next(
            asked
            for method, asked in stand_in.requests
            if method == "points_CreateFieldIndex" and asked.field_name == "id"
        )
        keyword = ids.field_index_params.keyword_index_params
        assert keyword.on_disk == (size > 10_000_000)
        assert not keyword.enable_hnsw
        indexed = {
            (asked.collection_name, asked.field_name)
            for method, asked in stand_in.requests
            if method == "points_CreateFieldIndex"
        }
        assert indexed == {
            ("paris", "id"), ("paris", "landmark"), ("paris", "kind"),
            ("paris_about", "kind"), ("paris_about", "owner"),
        }  # fmt: skip


def test_small_galleries_are_searched_exactly_and_large_ones_by_hnsw() -> None:
    config = QdrantConfig(
        quantization="binary", ef_search=77, oversampling=3.0, exact_below=2, rescore=True
    )
    queries = np.eye(4, dtype=np.float32)[:1]
    with serving(stand_in := StandIn()) as port:
        address = f"qdrant://127.0.0.1:{port}/paris"
        QdrantGallery.create(address, "fake-1", 4).close()
        calls = RetryingClient(connect(parse(address)), "paris", "paris")
        with QdrantGallery(calls, config) as gallery:
            gallery.put([row("a"), row("b")])
            gallery.nearest(queries, 1)
            gallery.put([row("c")])
            gallery.nearest(queries, 1)
    exact, graph = (
        asked.query_points[0].params for method, asked in stand_in.requests
        if method == "points_QueryBatch"
    )  # fmt: skip
    assert exact.exact
    assert exact.quantization.ignore
    assert not graph.exact
    assert (graph.hnsw_ef, graph.quantization.oversampling) == (77, 3.0)
    assert graph.quantization.rescore
    assert not graph.quantization.ignore
    plain = search_params(QdrantConfig(ef_search=9), exact=False)
    assert (plain.hnsw_ef, plain.quantization) == (9, None)


def test_a_config_file_is_read_and_kept_with_the_collection(tmp_path: Path, client: Any) -> None:
    path = tmp_path / "cluster.json"
    config = replace(QdrantConfig.for_size(10_000_000), shards=12, oversampling=2.5)
    path.write_text(json.dumps(to_json(config)))
    assert parse(f"qdrant://db/paris?config={path}").config == config
    path.write_text('{"shard": 12}')
    with pytest.raises(OptionError, match="did you mean 'shards'"):
        parse(f"qdrant://db/paris?config={path}")
    made = QdrantGallery.create_in(client, "paris", "fake-1", 4, config)
    assert made._config == QdrantGallery.open_in(client, "paris")._config == config
    other = replace(config, ef_search=500)
    assert QdrantGallery.open_in(client, "paris", other)._config == other


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"shards": 0}, "shards = 0; expected 1"),
        ({"quantile": 0.2}, "quantile = 0.2; expected 0.5 to 1.0"),
        ({"oversampling": float("nan")}, "oversampling = nan"),
        ({"replicas": 2, "write_consistency": 3}, "write_consistency 3 of 2 replicas"),
        ({"quantization": "product"}, "expected one of 'none', 'scalar', 'binary'"),
        ({"hnsw_m": True}, "expected a whole number"),
    ],
)
def test_invalid_configs_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError) as raised:
        from_json(QdrantConfig, values)
    assert words in str(raised.value)


def test_vectors_are_stored_without_normalizing(client: Any) -> None:
    """Bit for bit; with cosine distance even the client in memory returns other numbers."""
    assert photo_collection(QdrantConfig(), 4)["vectors_config"].distance.value == "Dot"
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    gallery = QdrantGallery.create_in(client, "many", "fake-1", 32)
    gallery.put([replace(row(f"p{n}"), vector=v.astype(np.float32)) for n, v in enumerate(vectors)])
    back = gallery.table().vectors
    assert np.array_equal(back.view(np.uint16), vectors.view(np.uint16))
    models = qdrant_client.models
    client.create_collection(
        "cosine", models.VectorParams(size=32, distance=models.Distance.COSINE)
    )
    client.upsert("cosine", [models.PointStruct(id=n, vector=v.astype(float).tolist(), payload={})
                             for n, v in enumerate(vectors)])  # fmt: skip
    found = client.retrieve("cosine", list(range(200)), with_vectors=True)
    there = np.array([one.vector for one in found], dtype=np.float32)
    assert not np.array_equal(there, vectors.astype(np.float32))


def test_the_smallest_and_largest_float16_read_back() -> None:
    vector = np.array([6e-8, -0.0, 65504, 2.0**-14], dtype=np.float16)
    with (
        serving(StandIn()) as port,
        QdrantGallery.create(f"qdrant://127.0.0.1:{port}/p", "e", 4) as gallery,
    ):
        gallery.put([replace(row("x"), vector=vector.astype(np.float32))])
        back = gallery.vectors_of(np.array([1]))[0]
    assert np.array_equal(back.view(np.uint16), vector.view(np.uint16))


def spoil_vector(client: Any) -> None:
    client.update_vectors("paris", [qdrant_client.models.PointVectors(id=2, vector=[0, 1, 0, 0])])


def long_vector(client: Any) -> None:
    """A changed vector with matching checksums is detected by its length."""
    from whichlandmark.gallery.checksums import blob_sum, photo_sum

    vector = np.array([2.0, 0, 0, 0], dtype="<f2")
    entry = points.raw_photo(client.retrieve("paris", [2])[0])
    fields = (*entry[:8], blob_sum(vector.tobytes()), *entry[9:12])
    payload = points.photo_payload((*fields, photo_sum(fields)))
    client.upsert("paris", [points.point(2, payload, vector.astype(float).tolist())])


def about_point(client: Any, key: str) -> Any:
    found, _ = client.scroll("paris_about", limit=100)
    return next(one for one in found if key in one.payload)


def set_about(client: Any, key: str, payload: dict[str, Any]) -> None:
    client.set_payload("paris_about", payload, [about_point(client, key).id])


def stray_about(client: Any, payload: dict[str, Any]) -> None:
    point = qdrant_client.models.PointStruct(
        id="936da01f-9abd-4d9d-80c7-02af85c822a8", vector={}, payload=payload
    )
    client.upsert("paris_about", [point])


def second_entry(client: Any) -> None:
    first = client.retrieve("paris", [2], with_vectors=True)[0]
    point = qdrant_client.models.PointStruct(id=9, vector=first.vector, payload=first.payload)
    client.upsert("paris", [point])


FAULTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a word": (lambda c: c.set_payload("paris", {"path": "/other"}, [3]), "entry of photo 'c'"),
    "an id": (lambda c: c.set_payload("paris", {"id": "q"}, [3]), "entry of photo 'q', row 3"),
    "no word": (lambda c: c.delete_payload("paris", ["stamp"], [3]), "entry of photo 'c'"),
    "a number for a word": (lambda c: c.set_payload("paris", {"hash": 5}, [3]), "photo 'c'"),
    "the mark": (lambda c: c.set_payload("paris", {"kind": "distractor"}, [3]), "as a distractor"),
    "a vector": (spoil_vector, "vectors of photo 'b', row 2: changed"),
    "no vector": (lambda c: c.delete_vectors("paris", [""], [2]), "'b', row 2: missing"),
    "a long vector": (long_vector, "length 2.000; expected 1"),
    "a photo lost": (lambda c: c.delete("paris", [4]), "3 photos found, expected 4"),
    "a photo twice": (second_entry, "photo 'b': two entries"),
    "a number not given": (second_entry, "row 9: expected row numbers below"),
    "blobs lost": (
        lambda c: c.delete("paris_about", [about_point(c, "keypoints").id]),
        "keypoints of photo 'a', row 1: missing",
    ),
    "a blob changed": (lambda c: set_about(c, "thumbnails", {"thumbnails": "AAAA"}),
                       "thumbnails of photo 'a', row 1: changed"),
    "no base64": (lambda c: set_about(c, "keypoints", {"keypoints": "é"}), "keypoints of photo"),
    "a blob too many": (
        lambda c: c.set_payload("paris_about", {"keypoints": "AAAA"}, [
            next(one.id for one in c.scroll("paris_about", limit=99)[0]
                 if "looks" in one.payload and "keypoints" not in one.payload)]),
        "keypoints of photo 'c', row 3: stored, but not in its entry",
    ),
    "blobs of nobody": (lambda c: stray_about(c, {"row": 4, "looks": "AA"}), "without their photo"),
    "blobs of no row": (lambda c: stray_about(c, {"looks": "AAAA"}), "without their photo"),
    "another kind": (lambda c: stray_about(c, {"kind": "x"}), "of unknown kind 'x'"),
    "a second meta": (lambda c: stray_about(c, {"kind": "meta"}), "unexpected kind 'meta'"),
    "a journal": (lambda c: stray_about(c, {"kind": "journal"}), "journal of a finished change"),
    "a record": (lambda c: set_about(c, "record", {"record": "{}"}), "record of landmark 'Louvre'"),
    "a record lost": (lambda c: c.delete("paris_about", [about_point(c, "record").id]),
                      "0 landmark records found, expected 1"),
    "the numbers": (lambda c: set_about(c, "photos", {"photos": 5}), "its header"),
    "a number gone": (lambda c: c.delete_payload("paris_about", ["sum"], [0]), "its header"),
    "the numbers lost": (lambda c: c.delete("paris_about", [0]), "its header is missing"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_is_reported(gallery: QdrantGallery, client: Any, fault: str) -> None:
    assert gallery.faults() == []
    plant, words = FAULTS[fault]
    plant(client)
    found = gallery.faults()
    assert any(words in line for line in found), found
    assert gallery.faults() == found


@pytest.mark.parametrize(
    ("fault", "read"),
    [
        ("a word", lambda g: g.table()),
        ("a word", lambda g: g.ids_of(np.array([3]))),
        ("an id", lambda g: g.stamps()),
        ("a vector", lambda g: g.vectors_of(np.array([2]))),
        ("a vector", lambda g: g.nearest(np.eye(4, dtype=np.float32), 2)),
        ("a photo lost", lambda g: g.labels()),
        ("a photo lost", lambda g: g.sums()),
        ("a photo twice", lambda g: g.stamps(["b", "a"])),
        ("blobs lost", lambda g: g.keypoints(["a"])),
        ("a blob changed", lambda g: g.rows_after(0, 5)),
        ("no base64", lambda g: g.keypoints(["a"])),
        ("a record", lambda g: g.landmarks()),
        ("a record", lambda g: g.describe([LandmarkRecord("Louvre", "x")])),
        ("the numbers", lambda g: g.count()),
    ],
)
def test_damage_is_never_returned(
    gallery: QdrantGallery, client: Any, fault: str, read: Callable[[QdrantGallery], Any]
) -> None:
    if fault != "a photo twice":
        FAULTS[fault][0](client)
    else:  # one that counts
        twin = client.retrieve("paris", [2])[0].payload
        point = qdrant_client.models.PointStruct(id=1, vector=[1, 0, 0, 0], payload=twin)
        client.upsert("paris", [point])
    with pytest.raises(GalleryError, match="damaged"):
        read(gallery)


def test_putting_a_damaged_photo_again_repairs_it(gallery: QdrantGallery, client: Any) -> None:
    before = client.count("paris_about").count
    FAULTS["a blob changed"][0](client)
    gallery.put([row("a", "Louvre", keypoints=b"ka", fingerprint=b"la", thumbnail=b"ta")])
    assert gallery.faults() == []
    assert gallery.thumbnails(["a"]) == {"a": b"ta"}
    assert client.count("paris_about").count == before


def test_foreign_collections_are_refused(client: Any) -> None:
    with pytest.raises(GalleryError, match=r"no gallery there.*make one with"):
        QdrantGallery.open_in(client, "rome")
    models = qdrant_client.models
    vectors = models.VectorParams(size=4, distance=models.Distance.COSINE)
    client.create_collection("rome", vectors)
    client.create_collection("rome_about", {})
    with pytest.raises(GalleryError, match="not float16 of 4 dimensions, compared by Dot"):
        QdrantGallery.create_in(client, "rome", "fake-1", 4)
    client.upsert("rome", [models.PointStruct(id=1, vector=[1, 0, 0, 0], payload={})])
    with pytest.raises(GalleryError, match="there is something already"):
        QdrantGallery.create_in(client, "rome", "fake-1", 4)
    stray = models.PointStruct(id=0, vector={}, payload={"kind": "note"})
    client.upsert("rome_about", [stray])
    with pytest.raises(GalleryError, match="not a gallery of format 1"):
        QdrantGallery.open_in(client, "rome")


def test_an_interrupted_creation_is_completed(client: Any) -> None:
    config = QdrantConfig()
    client.create_collection("paris", **photo_collection(config, 4))
    with pytest.raises(GalleryError, match="no gallery there"):
        QdrantGallery.open_in(client, "paris")
    client.create_collection("paris_about", {})
    with pytest.raises(GalleryError, match="its header is missing"):
        QdrantGallery.open_in(client, "paris")
    QdrantGallery.create_in(client, "paris", "fake-1", 4).put([row("a")])
    assert QdrantGallery.open_in(client, "paris").faults() == []


def test_snapshots_are_consistent() -> None:
    with serving(stand_in := StandIn()) as port:
        address = f"qdrant://127.0.0.1:{port}/paris"
        with QdrantGallery.create(address, "fake-1", 4) as gallery:
            gallery.put([row("a")])
            made = gallery.snapshot()
            assert [one.collection for one in made] == ["paris", "paris_about"]
            assert made[0].place == "file:///qdrant/snapshots/paris/paris-0.snapshot"
            assert (made[0].size, made[0].checksum) == (100, "c0ffee")
            gallery.snapshot()
            names = [one.name for one in gallery.snapshots()]
            assert names == ["paris-0.snapshot", "paris-1.snapshot",
                             "paris_about-0.snapshot", "paris_about-1.snapshot"]  # fmt: skip
            real = stand_in.snapshots_Create

            def changed_meanwhile(request: Any) -> Any:
                meta = stand_in.local.retrieve("paris_about", [0])[0].payload
                from whichlandmark.gallery.checksums import Meta
                from whichlandmark.gallery.qdrant.points import meta_payload

                meta = Meta(*(meta[key] for key in Meta._fields))
                later = meta_payload(meta._replace(generation=meta.generation + 1))
                stand_in.local.set_payload("paris_about", later, [0])
                return real(request)

            stand_in.snapshots_Create = changed_meanwhile  # type: ignore[method-assign]
            with pytest.raises(BusyError, match="changed while snapshots were made"):
                gallery.snapshot()


def test_an_in_memory_client_has_no_snapshots(gallery: QdrantGallery) -> None:
    assert gallery.snapshots() == []
    with pytest.raises(GalleryError, match="Snapshots are not supported"):
        gallery.snapshot()


def test_an_unreachable_server_gives_an_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"qdrant://127.0.0.1:{free.getsockname()[1]}/paris?timeout=2"
        began = time.monotonic()
        with pytest.raises(GalleryError, match="no server answers there; is it running") as raised:
            address_module.open_at(address)
        assert raised.value.exit_code == 5
        assert time.monotonic() - began < 8


def test_a_silent_server_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"qdrant://127.0.0.1:{silent.getsockname()[1]}/paris?timeout=1"
        began = time.monotonic()
        with pytest.raises(GalleryError, match=r"no answer in time|no server answers there"):
            address_module.create_at(address, "fake-1", 4)
        assert time.monotonic() - began < 8


def test_an_old_server_is_refused() -> None:
    with (
        serving(StandIn(version="1.9.2")) as port,
        pytest.raises(GalleryError, match=r"Qdrant 1\.9\.2; expected 1\.10 or newer"),
    ):
        QdrantGallery.create(f"qdrant://127.0.0.1:{port}/paris", "fake-1", 4)


@pytest.mark.parametrize("status", ["Acknowledged", "WaitTimeout"])
def test_an_unconfirmed_write_is_an_error(status: str) -> None:
    with serving(stand_in := StandIn()) as port:
        address = f"qdrant://127.0.0.1:{port}/paris"
        with QdrantGallery.create(address, "fake-1", 4) as gallery:
            gallery.put([row("a")])
            stand_in.status = getattr(messages.UpdateStatus, status)
            with pytest.raises(GalleryError, match="did not confirm it in time"):
                gallery.put([row("b")])
            stand_in.status = messages.UpdateStatus.Completed
            gallery.clock = lambda: 1e10
            assert gallery.repair()
            assert list(gallery.stamps()) == ["a"]
            assert gallery.faults() == []


def test_large_batches_are_split_to_the_request_limit() -> None:
    """60 MB of features at 32 MB a request; 2,500 photos at 1,000 a request."""
    with serving(stand_in := StandIn()) as port:
        address = f"qdrant://127.0.0.1:{port}/paris"
        with QdrantGallery.create(address, "fake-1", 4) as gallery:
            heavy = bytes(np.random.default_rng(0).integers(0, 256, 7_500_000, dtype=np.uint8))
            gallery.put([row(f"h{n}", keypoints=heavy) for n in range(6)])
            assert gallery.keypoints(["h5"]) == {"h5": heavy}
            sizes = [
                asked.ByteSize()
                for method, asked in stand_in.requests
                if method == "points_Upsert" and asked.collection_name == "paris_about"
            ]
            assert max(sizes) < 20_000_000
            assert sum(sizes) > 60_000_000
            with pytest.raises(DataError, match="keep fewer keypoints"):
                gallery.put([row("x", keypoints=heavy, fingerprint=heavy, thumbnail=heavy)])
            assert gallery.count() == 6


def test_requests_are_split_by_count_and_size() -> None:
    class Point:
        def __init__(self, size: int) -> None:
            self.vector, self.payload = [0.0] * 4, {"text": "x" * size}

    parts = list(batches(Point(10) for _ in range(2500)))
    assert [len(part) for part in parts] == [1000, 1000, 500]
    parts = list(batches([Point(10), Point(MAX_REQUEST_BYTES + 1), Point(10), Point(10)]))
    assert [len(part) for part in parts] == [1, 1, 2]
    assert list(batches([])) == []


def test_request_size_counts_utf8_bytes() -> None:
    from whichlandmark.gallery.qdrant.client import _bytes_of

    class Point:
        vector: tuple[()] = ()
        payload = {"text": "塔" * 1000}  # noqa: RUF012

    assert _bytes_of(Point) >= 3000


def test_all_scroll_pages_are_read(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:

    gallery = QdrantGallery.create_in(client, "paris", "fake-1", 4)
    gallery.put([row(f"p{n:02}", f"l{n % 3}", fingerprint=b"l", thumbnail=b"t") for n in range(25)])
    gallery.remove([f"p{n:02}" for n in range(0, 25, 5)])
    for module in (queries_module, integrity):
        monkeypatch.setattr(module, "PAGE_VECTORS", 4)
        monkeypatch.setattr(module, "PAGE_BLOBS", 3)
    rows = [n + 1 for n in range(25) if n % 5]
    assert gallery.table().rows.tolist() == rows
    assert gallery.table(after=9).rows.tolist() == [n for n in rows if n > 9]
    assert [number for number, _ in gallery.rows_after(9, 7)] == [n for n in rows if n > 9][:7]
    assert len(gallery.thumbnails(gallery.stamps())) == 20
    assert gallery.faults() == []


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
        "import sys; from whichlandmark.gallery.qdrant.store import QdrantGallery\n"
        "with QdrantGallery.create(sys.argv[1], 'fake-1', 4) as gallery: print(gallery.count())"
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
        assert (trusting.returncode, trusting.stdout) == (0, "0\n"), trusting.stderr
        stranger = ran("1")
        assert "GalleryError" in stranger.stderr
        assert "no server answers there" in stranger.stderr
        assert "sesame" not in stranger.stderr
        plain = ran("0")
        assert "does it expect ?tls=1?" in plain.stderr
