"""A removal can be undone for a minute, and leaves exactly what was there before."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.support.galleries import postgres_address
from tests.support.served_world import copied, front, jpeg
from whichlandmark.core import files
from whichlandmark.data.folders import read_folder
from whichlandmark.gallery.address import Link
from whichlandmark.gallery.copy import content_sum
from whichlandmark.recognition.folder.edit import (
    add_photos,
    open_gallery,
    photos_to_add,
    remove_photos,
)
from whichlandmark.recognition.folder.maintain import copy_to, verify_gallery
from whichlandmark.recognition.folder.own_photos import CopiedPhotos
from whichlandmark.recognition.folder.settings import read_state
from whichlandmark.recognition.folder.update import UpdateOptions
from whichlandmark.serving import gallery_editing
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.gallery_editing import UNDO_PHOTOS, RemovedForNow
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.schemas import RemovedReply, UndoneReply, model_of
from whichlandmark.serving.server import create_app

pytestmark = pytest.mark.server


def served(folder: Path) -> Iterator[TestClient]:
    app = create_app(Engine(folder, ServeOptions(workers=1)))
    with TestClient(app, base_url="http://localhost") as opened:
        yield opened


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    yield from served(copied(tmp_path))


@pytest.fixture
def on_a_server(tmp_path: Path) -> Iterator[TestClient]:
    copy_to(
        str(copied(tmp_path)), str(tmp_path / "linked.wl"), link=Link(address=postgres_address())
    )
    yield from served(tmp_path / "linked.wl")


def add(client: TestClient, name: str, *fronts: tuple[int, int]) -> list[str]:
    files = [("photos", (f"{c}-{s}.jpg", jpeg(front(c, s)))) for c, s in fronts]
    added = client.post(f"/v1/landmarks/{name}/photos", files=files).json()["added"]
    assert len(added) == len(fronts)
    return added


def everything(client: TestClient) -> dict[str, Any]:
    """All that the folder holds of photos: contents, records, files, what was changed by hand."""
    folder = client.app.state.engine.folder
    with open_gallery(folder) as gallery:
        rows = [row for _, row in gallery.rows_after(-(2**63), 1000)]
        records = gallery.landmarks()
    photos = (folder / "photos").glob("*")
    state = folder / "state.json"
    return {
        "rows": {row.id: (row.stamp, row.author, content_sum(row)) for row in rows},
        "records": records,
        "files": {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in photos},
        "removed": read_state(folder).removed, "relabelled": read_state(folder).relabelled,
        "renamed": json.loads(state.read_text())["renamed"] if state.exists() else {},
    }  # fmt: skip


def removal(client: TestClient, address: str) -> dict[str, Any]:
    reply = client.delete(address)
    model_of(RemovedReply).model_validate_json(reply.text)
    assert reply.json()["undo_seconds"] == 60
    return reply.json()


def undone(client: TestClient, token: str) -> dict[str, Any]:
    reply = client.post(f"/v1/undo/{token}")
    model_of(UndoneReply).model_validate_json(reply.text)
    return reply.json()


def check_both_kinds(client: TestClient) -> None:
    """Photos of a table with a record, and photos whose files the server keeps."""
    ids = add(client, "Seventh", (7, 0), (7, 1), (7, 2))
    sent = {"title": "The 7th", "names": {"fr": "Septième"}, "latitude": 1, "longitude": 2}
    client.patch("/v1/landmarks/Seventh", json=sent)
    client.patch(f"/v1/photos/{ids[0].replace('/', '%2F')}", json={"author": "Ann"})
    moved = client.get("/v1/landmarks/place 2/photos").json()["photos"][0]["id"]
    client.patch(f"/v1/photos/{moved.replace('/', '%2F')}", json={"landmark": "place 1"})
    before = everything(client)
    assert len(before["files"]) == 3
    for address, count in (
        ("/v1/landmarks/Seventh", 3), ("/v1/landmarks/place 1", 5),
        (f"/v1/photos/{ids[1].replace('/', '%2F')}", 1),
    ):  # fmt: skip
        done = removal(client, address)
        assert done["removed"] == count
        now = everything(client)
        assert len(before["rows"]) - len(now["rows"]) == count
        assert len(now["removed"]) == count
        back = undone(client, done["undo"])
        assert (back["restored"], back["not_restored"]) == (count, [])
        assert everything(client) == before
    reply = client.post("/v1/recognize", files=[("photos", ("q.jpg", jpeg(front(7, 9))))])
    assert reply.json()["results"][0]["landmark"] == "Seventh"
    assert verify_gallery(client.app.state.engine.folder).faults == []
    assert client.get("/v1/landmarks/Seventh").json()["title"] == "The 7th"


def test_all_of_a_removed_photo_comes_back(client: TestClient) -> None:
    check_both_kinds(client)


def test_all_of_a_removed_photo_comes_back_to_a_database_server(on_a_server: TestClient) -> None:
    check_both_kinds(on_a_server)
    sent = {"landmark": "8th", "title": "The 8th"}
    renamed = on_a_server.patch("/v1/landmarks/Seventh", json=sent).json()
    assert (renamed["title"], renamed["names"]["fr"], renamed["photos"]) == (
        "The 8th", "Septième", 3,
    )  # fmt: skip
    assert on_a_server.get("/v1/photos/a%00b").status_code == 404


def test_several_photos_are_removed_and_put_back_in_one_change(client: TestClient) -> None:
    before = everything(client)
    bank = [one["id"] for one in client.get("/v1/distractors").json()["photos"]]
    assert len(bank) == 4
    named = [one["id"] for one in client.get("/v1/landmarks/place 0/photos").json()["photos"]]
    generation = client.get("/v1/landmarks").json()["generation"]
    done = client.post("/v1/photos:remove", json={"photos": [*bank, *named[:2], bank[0]]}).json()
    assert (done["removed"], done["generation"]) == (6, generation + 1)
    assert client.get("/v1/distractors").json() == {"landmark": "", "total": 0, "photos": []}
    assert undone(client, done["undo"])["restored"] == 6
    assert everything(client) == before
    assert client.get("/v1/distractors").json()["total"] == 4


def test_a_removal_is_undone_once_and_not_after_its_time(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = removal(client, "/v1/landmarks/place 0")["undo"]
    assert len(token) >= 32
    assert undone(client, token)["restored"] == 4
    monkeypatch.setattr(gallery_editing, "UNDO_SECONDS", 0.2)
    late = client.delete("/v1/landmarks/place 0").json()["undo"]
    time.sleep(0.5)
    assert client.app.state.engine.editor.removed.take(late) is None  # not in memory any more
    for gone in (token, late, "guessed"):
        reply = client.post(f"/v1/undo/{gone}")
        assert (reply.status_code, reply.json()["error"]["code"]) == (410, "too_late"), gone
    assert client.get("/v1/landmarks").json()["total"] == 3


def test_what_is_there_again_is_told_and_left_as_it_is(client: TestClient) -> None:
    ids = add(client, "Eighth", (8, 0), (8, 1))
    token = removal(client, "/v1/landmarks/Eighth")["undo"]
    assert add(client, "Other", (8, 0)) == [ids[0]]
    found = undone(client, token)
    assert (found["restored"], found["not_restored"]) == (1, [ids[0]])
    counted = {one["landmark"]: one["photos"]
               for one in client.get("/v1/landmarks").json()["landmarks"]}  # fmt: skip
    assert (counted["Eighth"], counted["Other"]) == (1, 1)


def test_the_bytes_of_a_removed_photo_under_another_id_are_told(
    client: TestClient, tmp_path: Path
) -> None:
    folder = client.app.state.engine.folder
    with open_gallery(folder) as gallery:
        photo_id, (path, _, _) = next(iter(gallery.stamps().items()))
    token = removal(client, f"/v1/photos/{photo_id.replace('/', '%2F')}")["undo"]
    again = tmp_path / "again" / "copy.jpg"
    again.parent.mkdir()
    again.write_bytes(Path(path).read_bytes())
    table = photos_to_add(
        read_folder(again.parent, labelled=False), landmark="place 0", distractors=False
    )
    options = UpdateOptions(restore=True, corrects=False)
    assert add_photos(folder, table, options=options).counts["added"] == 1
    assert undone(client, token)["not_restored"] == [photo_id]


def test_photos_of_a_landmark_renamed_meanwhile_come_back_under_its_new_name(
    client: TestClient,
) -> None:
    ids = [one["id"] for one in client.get("/v1/landmarks/place 1/photos").json()["photos"]]
    token = removal(client, f"/v1/photos/{ids[0].replace('/', '%2F')}")["undo"]
    client.patch("/v1/landmarks/place 1", json={"landmark": "Premier"})
    assert undone(client, token)["restored"] == 1
    assert client.get("/v1/landmarks/Premier").json()["photos"] == 4
    assert client.get("/v1/landmarks/place 1").status_code == 404


def test_a_removal_by_the_command_is_not_undone(client: TestClient) -> None:
    """The command has its own way back: `--restore`."""
    remove_photos(client.app.state.engine.folder, [], "place 0")
    assert len(read_state(client.app.state.engine.folder).removed) == 4


def test_too_many_photos_are_removed_for_good_and_that_is_known_before(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/v1/config").json()["undo_photos"] == UNDO_PHOTOS == 200
    monkeypatch.setattr(gallery_editing, "UNDO_PHOTOS", 3)
    assert removal(client, "/v1/landmarks/place 0")["undo"] is None
    ids = [one["id"] for one in client.get("/v1/landmarks/place 1/photos").json()["photos"]]
    client.app.state.engine.editor.removed.max_bytes = 1000
    assert removal(client, f"/v1/photos/{ids[0].replace('/', '%2F')}")["undo"] is None


def test_the_oldest_removal_makes_room_for_the_newest() -> None:
    kept = RemovedForNow(max_bytes=100)

    def copied_of(size: int) -> CopiedPhotos:
        return CopiedPhotos("e", [], {"a": (b"x" * size, 0)}, {}, {}, {}, set(), set())

    first, second, third = (kept.keep(copied_of(size)) for size in (40, 40, 50))
    assert kept.take(first) is None
    assert kept.take(second) is not None
    assert kept.take(third) is not None


def test_a_full_disk_is_told_as_such_and_the_undo_can_be_tried_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(client, "Seventh", (7, 0))
    token = removal(client, "/v1/landmarks/Seventh")["undo"]
    full = OSError(errno.ENOSPC, "No space left on device")

    def refuse(*_: object, **__: object) -> None:
        raise full

    with monkeypatch.context() as patched:
        patched.setattr(files.tempfile, "mkstemp", refuse)
        photos = [("photos", ("a.jpg", jpeg(front(7, 1))))]
        for reply in (
            client.post(f"/v1/undo/{token}"),
            client.post("/v1/landmarks/Seventh/photos", files=photos),
            client.patch("/v1/landmarks/place 0", json={"landmark": "New"}),
            client.delete("/v1/landmarks/place 0"),
        ):
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "storage")
            assert str(client.app.state.engine.folder) not in reply.text
    assert undone(client, token)["restored"] == 1
    assert client.get("/v1/landmarks/Seventh").json()["photos"] == 1
