"""Changing a gallery on Qdrant: killed writers, lost replies, concurrent writers.

Behind a client that fails at the n-th call, for every n; in memory, and on Qdrant's own engine.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest

from tests.support.galleries import row
from whichlandmark.core.errors import BusyError, DataError, GalleryError
from whichlandmark.gallery.qdrant.commit import CLAIM_SECONDS
from whichlandmark.gallery.qdrant.store import QdrantGallery
from whichlandmark.gallery.records import Credit, LandmarkRecord

qdrant_client = pytest.importorskip("qdrant_client")


class Killed(BaseException):
    """Stands for the death of the writer's process."""


class Lost(grpc.RpcError):  # type: ignore[misc]
    """The error of the client when no reply arrives."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "lost"


class Failing:
    """A client that fails at its n-th call: `fails(method, really_call)` decides how."""

    def __init__(self, client: Any, at: int, fails: Callable[[Callable[[], Any]], Any]) -> None:
        self.client, self.at, self.fails = client, at, fails
        self.calls = 0
        self.init_options = client.init_options

    def __getattr__(self, method: str) -> Any:
        def call(**given: Any) -> Any:
            self.calls += 1
            real = lambda: getattr(self.client, method)(**given)  # noqa: E731
            return self.fails(real) if self.calls >= self.at else real()

        return call


def killed(real: Callable[[], Any]) -> Any:
    raise Killed


def killed_after(real: Callable[[], Any]) -> Any:
    real()
    raise Killed


@pytest.fixture
def client() -> Iterator[Any]:
    made = qdrant_client.QdrantClient(":memory:")
    yield made
    made.close()


def in_memory() -> Any:
    return qdrant_client.QdrantClient(":memory:")


def on_engine() -> Any:
    """Qdrant Edge: the server's storage engine as a library."""
    pytest.importorskip("qdrant_edge")
    from tests.support.edge_qdrant import EdgeClient

    return EdgeClient()


def filled(client: Any) -> QdrantGallery:
    """Three photos with all optional fields, a distractor, two records."""
    gallery = QdrantGallery.create_in(client, "paris", "fake-1", 4)
    gallery.put([
        row("a", "Louvre", keypoints=b"ka", fingerprint=b"la", thumbnail=b"ta"), row("b", "Louvre"),
        row("c", "Orsay", [1.0, 0, 0, 0], keypoints=b"kc"),
        row("d", "", [0, 1.0, 0, 0], fingerprint=b"ld"),
    ])  # fmt: skip
    gallery.describe([LandmarkRecord("Louvre", "The Louvre"), LandmarkRecord("Orsay", "Orsay")])
    return gallery


def put(gallery: QdrantGallery) -> None:
    """Two new photos, two replaced: one with other blobs, one without blobs."""
    gallery.put([
        row("new", "Louvre", [0, 0, 1.0, 0], keypoints=b"kn", thumbnail=b"tn"),
        row("a", "Orsay", [0, 0, 0, 1.0], keypoints=b"other"), row("c", "Dome", [0, 1.0, 0, 0]),
        row("new2", ""),
    ])  # fmt: skip


CHANGES: dict[str, Callable[[QdrantGallery], Any]] = {
    "add": lambda gallery: gallery.put([row("new", "Louvre", fingerprint=b"ln"), row("new2", "")]),
    "put": put,
    "remove": lambda gallery: gallery.remove(["a", "c"]),
    "relabel": lambda gallery: gallery.relabel({"c": "Musée d'Orsay", "a": ""}),
    "credit": lambda gallery: gallery.credit({"a": Credit("Anna", "CC0")}),
    "describe": lambda gallery: gallery.describe(
        [LandmarkRecord("Dome", "Dome"), LandmarkRecord("Louvre", "Louvre Palace")]
    ),
}


def all_of(gallery: QdrantGallery) -> dict[str, Any]:
    """All data of a gallery."""
    photos = {
        number: (*(getattr(photo, key) for key in (
            "id", "path", "landmark", "hash", "stamp", "keypoints", "fingerprint", "thumbnail",
            "author", "licence")), tuple(photo.vector))
        for number, photo in gallery.rows_after(-1, 100)
    }  # fmt: skip
    table = gallery.table()
    assert list(photos) == table.rows.tolist() == gallery.sums()[0].tolist()
    assert [photo[0] for photo in photos.values()] == table.ids.tolist()
    return {"photos": photos, "landmarks": gallery.landmarks(), "meta": gallery.state()}


def both_states(change: str) -> tuple[dict[str, Any], dict[str, Any], int]:
    """State before and after an undisturbed change, and its number of calls."""
    client = qdrant_client.QdrantClient(":memory:")
    counting = Failing(client, 10**9, killed)
    before = all_of(filled(client))
    gallery = QdrantGallery.open_in(counting, "paris")
    counting.calls = 0
    CHANGES[change](gallery)
    calls = counting.calls
    after = all_of(gallery)
    assert gallery.faults() == []
    assert before != after
    assert after["meta"].generation == before["meta"].generation + 1
    client.close()
    return before, after, calls


@pytest.mark.parametrize(
    ("change", "how", "engine"),
    [
        *((change, killed, in_memory) for change in CHANGES),
        ("put", killed_after, in_memory),
        ("put", killed, on_engine),
        ("remove", killed_after, on_engine),
        ("relabel", killed, on_engine),
    ],
)
def test_a_writer_killed_at_any_call_leaves_a_complete_batch_or_none(
    change: str, how: Callable[[Callable[[], Any]], Any], engine: Callable[[], Any]
) -> None:
    before, after, calls = both_states(change)
    assert calls > 8
    seen = set()
    for at in range(1, calls + 1):
        client = engine()
        filled(client)
        dying = Failing(client, 10**9, how)
        writer = QdrantGallery.open_in(dying, "paris")
        dying.calls, dying.at = 0, at
        with pytest.raises(Killed):
            CHANGES[change](writer)
        reader = QdrantGallery.open_in(client, "paris")
        old_or_new(all_of_photos(reader), before, after)
        reader.clock = lambda reader=reader: 10**10  # the claim has expired
        reader.repair()
        found = all_of(reader)
        assert found in (before, after), at
        assert reader.faults() == []
        seen.add(found["meta"].generation)
        points = client.count("paris_about").count
        put_again = QdrantGallery.open_in(client, "paris")
        if found == before:  # undone: the same change now succeeds and leaves no unused points
            CHANGES[change](put_again)
            assert all_of(put_again) == after
            assert put_again.faults() == []
        else:
            assert points == expected_points(after)
        client.close()
    assert seen == {before["meta"].generation, after["meta"].generation}  # both outcomes occurred


def all_of_photos(gallery: QdrantGallery) -> dict[int, Any]:
    return {
        number: (photo.id, photo.landmark, photo.author, photo.keypoints, tuple(photo.vector))
        for number, photo in gallery.rows_after(-1, 100)
    }


def old_or_new(found: dict[int, Any], before: dict[str, Any], after: dict[str, Any]) -> None:
    """Before the repair each photo is intact, in its old or its new version."""
    states = [
        {number: (p[0], p[2], p[8], p[5], p[10]) for number, p in state["photos"].items()}
        for state in (before, after)
    ]
    for number, photo in found.items():
        assert photo in (states[0].get(number), states[1].get(number))
    for number in states[0].keys() & states[1].keys():
        assert number in found


def expected_points(state: dict[str, Any]) -> int:
    """In the second collection: the header, records, blobs of some photos."""
    blobs = sum(any(photo[5:8]) for photo in state["photos"].values())
    return 1 + len(state["landmarks"]) + blobs


@pytest.mark.parametrize("change", CHANGES)
def test_a_lost_reply_leaves_a_complete_batch_or_none(change: str) -> None:
    """Whether or not the server executed the lost call, no repair is needed afterwards."""
    before, after, calls = both_states(change)
    for at in range(1, calls + 1):
        for answered in (False, True):
            client = qdrant_client.QdrantClient(":memory:")
            filled(client)
            once = [True]

            def lost(real: Any, once: list[bool] = once, answered: bool = answered) -> Any:
                if not once:
                    return real()
                once.clear()
                if answered:
                    real()
                raise Lost(grpc.StatusCode.DEADLINE_EXCEEDED)

            failing = Failing(client, 10**9, lost)
            writer = QdrantGallery.open_in(failing, "paris")
            failing.calls, failing.at = 0, at
            error = error_of(CHANGES[change], writer)
            assert error is None or "no answer in time" in str(error)
            plain = QdrantGallery.open_in(client, "paris")
            found = all_of(plain)
            assert found in ((before, after) if error else (after,)), (at, answered)
            plain.clock = lambda plain=plain: 10**10
            plain.repair()
            assert plain.faults() == []
            assert client.count("paris_about").count == expected_points(found)
            client.close()


def error_of(change: Callable[[QdrantGallery], Any], gallery: QdrantGallery) -> Exception | None:
    try:
        change(gallery)
    except GalleryError as error:
        return error
    return None


def test_a_failed_call_is_retried(client: Any) -> None:
    filled(client)
    left = [2]
    pauses: list[float] = []

    def unavailable(real: Callable[[], Any]) -> Any:
        if left[0] == 0:
            return real()
        left[0] -= 1
        raise Lost(grpc.StatusCode.UNAVAILABLE)

    failing = Failing(client, 1, unavailable)
    left[0] = 0
    gallery = QdrantGallery.open_in(failing, "paris")
    gallery._client.sleep = pauses.append
    left[0] = 2
    assert gallery.count() == 4
    assert pauses == [0.1, 0.4]
    left[0] = 99
    with pytest.raises(GalleryError, match="no server answers there"):
        gallery.count()
    assert left[0] == 95


def test_a_second_writer_gets_busy(client: Any) -> None:
    gallery = filled(client)
    stuck = Failing(client, 10**9, killed)
    first = QdrantGallery.open_in(stuck, "paris")
    stuck.calls, stuck.at = 0, 8
    with pytest.raises(Killed):
        CHANGES["add"](first)
    now = [gallery.clock()]
    gallery.clock = lambda: now[0]
    gallery._client.sleep = lambda seconds: now.__setitem__(0, now[0] + seconds)
    began = now[0]
    with pytest.raises(BusyError, match=r"process \d+, .* is writing to it; wait for it") as raised:
        gallery.put([row("z")])
    assert raised.value.exit_code == 6
    assert 10 <= now[0] - began < 11  # it waited first
    with pytest.raises(BusyError, match="is writing to it"):
        gallery.faults()
    with pytest.raises(BusyError, match="is writing to it"):
        gallery.snapshot()
    now[0] += CLAIM_SECONDS
    assert any("was not finished (staging)" in line for line in gallery.faults())
    gallery.put([row("z")])
    assert sorted(gallery.stamps()) == ["a", "b", "c", "d", "z"]
    assert gallery.faults() == []


def test_a_writer_whose_lock_expired_stops(client: Any) -> None:
    """A writer whose claim has expired, after another writer's change, may not commit."""
    gallery = filled(client)
    now = [1e9]
    sleeper = QdrantGallery.open_in(client, "paris")
    gallery.clock = sleeper.clock = lambda: now[0]

    def sleep_on_it() -> None:
        with sleeper._changing() as change:
            change.put([row("late", keypoints=b"late")])
            now[0] += CLAIM_SECONDS + 1
            gallery.put([row("other")])

    with pytest.raises(BusyError, match="another process took it over"):
        sleep_on_it()
    assert sorted(gallery.stamps()) == ["a", "b", "c", "d", "other"]
    gallery.put([row("z")])
    assert gallery.faults() == []


def test_writers_of_several_threads_wait_for_each_other(client: Any) -> None:
    galleries = [filled(client), *(QdrantGallery.open_in(client, "paris") for _ in range(2))]
    failed: list[Exception] = []

    def write(at: int) -> None:
        try:
            for n in range(4):
                galleries[at].put([row(f"t{at}-{n}", fingerprint=b"x")])
        except Exception as error:
            failed.append(error)

    lock = threading.Lock()  # because the client in memory is not thread-safe
    for gallery in galleries:
        real = gallery._client.call
        gallery._client.call = (  # type: ignore[method-assign]
            lambda method, real=real, **given: locked(lock, real, method, given)
        )
        gallery._client.sleep = lambda _: None
    threads = [threading.Thread(target=write, args=(at,)) for at in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert galleries[0].count() == 4 + 12
    assert galleries[0].generation == 2 + 12
    assert galleries[0].faults() == []


def locked(lock: Any, real: Any, method: str, given: dict[str, Any]) -> Any:
    with lock:
        return real(method, **given)


def test_an_error_in_a_batch_releases_the_writer_lock(client: Any) -> None:
    gallery = filled(client)
    before = all_of(gallery)
    with pytest.raises(DataError, match="no photo of id 'e'"):
        gallery.remove(["a", "e"])
    with pytest.raises(GalleryError, match=r"shape \(3,\)"):
        gallery.put([row("x"), replace(row("y"), vector=np.ones(3, np.float32))])
    assert all_of(gallery) == before
    QdrantGallery.open_in(client, "paris").put([row("x")])  # without waiting
    assert not gallery.repair()  # nothing to repair


def test_readers_do_not_see_staged_photos(client: Any) -> None:
    gallery = filled(client)
    reader = QdrantGallery.open_in(client, "paris")
    before = all_of(reader)
    stuck = Failing(client, 10**9, killed)
    writer = QdrantGallery.open_in(stuck, "paris")
    for at in range(2, 40):  # each writer first undoes what the crashed one before it left
        stuck.calls, stuck.at = 0, at
        writer.clock = lambda at=at: at * 10.0 * CLAIM_SECONDS
        with pytest.raises(Killed):
            writer.put([row("near", "Louvre", [0, 0, 1.0, 0], fingerprint=b"n"), row("near2", "")])
        if reader.generation > before["meta"].generation:
            break
        assert all_of(reader) == before
        assert reader.stamps(["near", "a"]).keys() == {"a"}
        found = reader.nearest(np.eye(4, dtype=np.float32)[2:3], 2)
        assert set(found.rows[0]) <= {1, 2, 3}
    assert at > 12
    assert "near" in reader.stamps()
    assert gallery.count() == 6


def test_staged_photos_do_not_displace_committed_neighbours(client: Any) -> None:
    """More uncommitted photos than requested are nearer to the query; all are ignored."""
    gallery = filled(client)
    stuck = Failing(client, 10**9, killed)
    writer = QdrantGallery.open_in(stuck, "paris")
    original = writer._client.upsert

    def upsert(collection: str, made: Any) -> None:
        original(collection, made)
        if collection == "paris":
            stuck.at = 0

    writer._client.upsert = upsert  # type: ignore[method-assign]
    with pytest.raises(Killed):
        writer.put([row(f"n{n}", "Louvre", [0, 0, 1.0, 0]) for n in range(40)])
    assert client.count("paris").count == 44
    found = gallery.nearest(np.eye(4, dtype=np.float32)[2:3], 3)
    assert sorted(found.rows[0]) == [1, 2, 3]
    assert found.similarity[0].tolist() == [0.5, 0.5, 0.0]
