"""Feedback is kept until a person has reviewed it, over HTTP and by the command."""

from __future__ import annotations

import io
import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient

from tests.support.galleries import postgres_address
from tests.support.served_world import copied, front, jpeg, with_gps
from whichlandmark.gallery.address import Link
from whichlandmark.recognition.folder import feedback as feedback_module
from whichlandmark.recognition.folder.feedback import (
    FeedbackStore,
    ReviewError,
    feedback_of,
    review_feedback,
)
from whichlandmark.recognition.folder.maintain import copy_to
from whichlandmark.recognition.folder.own_photos import SentPhoto
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.openapi import model_of
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.routes_feedback import FeedbackReply, QueuedReply, ReviewedReply
from whichlandmark.serving.server import create_app

pytestmark = pytest.mark.server

WRONG = {"request_id": "r1", "photo": "a.jpg", "answer": "place 0", "right": False,
         "correct": "Élysée", "note": "the palace"}  # fmt: skip


def served(folder: Path) -> Iterator[TestClient]:
    app = create_app(Engine(folder, ServeOptions(workers=1, feedback_bytes=1000)))
    with TestClient(app, base_url="http://localhost") as opened:
        yield opened


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    yield from served(copied(tmp_path))


def folder_of(client: TestClient) -> Path:
    return client.app.state.engine.folder


def send(client: TestClient, entry: dict[str, Any], photo: bytes | None = None) -> str:
    """Send feedback; returns its id."""
    if photo is None:
        reply = client.post("/v1/feedback", json=entry)
    else:
        files = {"photo": ("a.jpg", photo, "image/jpeg")}
        reply = client.post("/v1/feedback", data={"entry": json.dumps(entry)}, files=files)
    found = model_of(QueuedReply).model_validate_json(reply.text)
    assert (found.queued, found.photo_kept) == (True, photo is not None)
    return found.id


def listed(client: TestClient, **given: Any) -> dict[str, Any]:
    reply = client.get("/v1/feedback", params=given)
    model_of(FeedbackReply).model_validate_json(reply.text)
    return reply.json()


def review(client: TestClient, entry_id: str, **given: Any) -> dict[str, Any]:
    reply = client.patch(f"/v1/feedback/{entry_id}", json=given)
    model_of(ReviewedReply).model_validate_json(reply.text)
    return reply.json()


def refusal(client: TestClient, entry_id: str, **given: Any) -> tuple[int, str]:
    reply = client.patch(f"/v1/feedback/{entry_id}", json=given)
    return reply.status_code, reply.json()["error"]["code"]


def test_feedback_is_kept_in_a_bounded_file_and_reviewed_entries_make_room(
    client: TestClient,
) -> None:
    path = folder_of(client) / "feedback.jsonl"
    first = send(client, WRONG)
    (line,) = path.read_text().splitlines()
    kept = json.loads(line)
    assert WRONG.items() <= kept.items()
    assert set(kept) - set(WRONG) == {"id", "time", "key"}
    assert path.stat().st_mode & 0o077 == 0
    while (reply := client.post("/v1/feedback", json=WRONG)).status_code == 200:
        pass
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "queue_full")
    assert int(reply.headers["retry-after"]) > 0
    assert 600 < path.stat().st_size <= 1000
    waiting = listed(client)["total"]
    review(client, first, action="discard")
    newest = send(client, WRONG)
    found = listed(client, state="all")
    assert (found["total"], found["open"]) == (waiting, waiting)
    assert found["entries"][0]["id"] == newest
    for wrong in ({}, {"request_id": "r", "right": 1}, {**WRONG, "note": "x" * 2001}):
        assert client.post("/v1/feedback", json=wrong).status_code == 422


def test_a_photo_is_kept_only_when_it_is_sent_and_without_its_metadata(client: TestClient) -> None:
    waiting = folder_of(client) / "feedback"
    plain = send(client, WRONG)
    assert not waiting.exists()
    with_photo = send(client, WRONG, with_gps(front(7, 0).resize((3600, 2700)), "secret"))
    (file,) = waiting.iterdir()
    assert (file.stem, file.stat().st_mode & 0o077) == (with_photo, 0)
    reply = client.get(f"/v1/feedback/{with_photo}/photo")
    assert (reply.headers["content-type"], reply.headers["cache-control"]) == (
        "image/jpeg", "no-store",
    )  # fmt: skip
    picture = Pillow.open(io.BytesIO(reply.content))
    assert (picture.size, dict(picture.getexif()), b"secret" in reply.content) == (
        (2048, 1536), {}, False,
    )  # fmt: skip
    entries = {one["id"]: one for one in listed(client)["entries"]}
    assert entries[with_photo]["image"] == f"/v1/feedback/{with_photo}/photo"
    assert entries[plain]["image"] is None
    missing = client.get(f"/v1/feedback/{plain}/photo")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "no_feedback_photo")


def test_approved_photos_are_in_the_gallery(client: TestClient) -> None:
    entry = {**WRONG, "correct": "Seventh"}
    ids = [send(client, entry, jpeg(front(7, seed))) for seed in range(2)]
    done = review(client, ids[0], action="approve")
    assert (done["entry"]["state"], done["entry"]["landmark"]) == ("approved", "Seventh")
    assert done["entry"]["image"] is None
    assert len(done["added"]["added"]) == 1
    corrected = review(client, ids[1], action="approve", landmark="place 7")
    assert (corrected["entry"]["state"], corrected["entry"]["landmark"]) == ("corrected", "place 7")
    assert not list((folder_of(client) / "feedback").iterdir())
    assert client.get("/v1/landmarks/Seventh").json()["photos"] == 1
    assert client.get("/v1/landmarks/place 7").json()["photos"] == 1
    asked = client.post("/v1/recognize", files=[("photos", ("q.jpg", jpeg(front(7, 9))))]).json()
    assert asked["results"][0]["guess"] in ("Seventh", "place 7")
    assert refusal(client, ids[0], action="discard") == (409, "already_reviewed")
    assert [one["id"] for one in listed(client, state="approved")["entries"]] == ids[:1]
    assert listed(client, state="corrected")["total"] == 1
    assert listed(client)["total"] == 0
    page = listed(client, state="all", limit=1, offset=1)
    assert (page["total"], page["entries"][0]["id"]) == (2, ids[0])


def test_what_approving_adds_depends_on_what_was_said(client: TestClient) -> None:
    right = {"request_id": "r", "answer": "place 0", "right": True}
    done = review(client, send(client, right, jpeg(front(0, 20))), action="approve")
    assert (done["entry"]["landmark"], len(done["added"]["added"])) == ("place 0", 1)
    noted = review(client, send(client, WRONG), action="approve")
    assert (noted["entry"]["state"], noted["added"]) == ("approved", None)
    unsaid = send(client, {**WRONG, "correct": None}, jpeg(front(40, 0)))
    assert refusal(client, unsaid, action="approve") == (422, "landmark_needed")
    assert refusal(client, unsaid, action="approve", landmark="a|b") == (422, "invalid_name")
    assert refusal(client, unsaid, action="keep")[0] == 422
    assert listed(client)["open"] == 1  # no refusal has changed it
    bank = client.get("/v1/distractors").json()["total"]
    none = review(client, unsaid, action="approve", landmark="")
    assert (none["entry"]["state"], len(none["added"]["added"])) == ("approved", 1)
    assert client.get("/v1/distractors").json()["total"] == bank + 1
    assert refusal(client, "nothing", action="discard") == (404, "unknown_feedback")


def test_a_gallery_photo_that_was_labelled_wrongly_is_moved(client: TestClient) -> None:
    sent = {"request_id": "r", "answer": "place 0", "right": False, "correct": "place 3"}
    files = [("photos", ("a.jpg", jpeg(front(3, 30))))]
    added = client.post("/v1/landmarks/place 0/photos", files=files).json()["added"]
    done = review(client, send(client, sent, jpeg(front(3, 30))), action="approve")
    assert (done["added"]["added"], done["added"]["moved"]) == ([], added)
    assert client.get(f"/v1/photos/{added[0].replace('/', '%2F')}").json()["landmark"] == "place 3"


def test_discarded_photos_are_deleted(client: TestClient) -> None:
    one = send(client, WRONG, jpeg(front(7, 0)))
    photos = client.get("/v1/landmarks").json()["photos"]
    done = review(client, one, action="discard")
    assert (done["entry"]["state"], done["entry"]["landmark"], done["added"]) == (
        "discarded", None, None,
    )  # fmt: skip
    assert not list((folder_of(client) / "feedback").iterdir())
    assert client.get("/v1/landmarks").json()["photos"] == photos
    assert client.get(f"/v1/feedback/{one}/photo").status_code == 404


@pytest.mark.parametrize(
    ("data", "files", "status"),
    [
        ({}, {"photo": ("a.jpg", b"x")}, 422), ({"entry": "{"}, {"photo": ("a.jpg", b"x")}, 422),
        ({"entry": json.dumps(WRONG)}, {"photo": ("a.jpg", b"no photo")}, 422),
        ({"entry": json.dumps({**WRONG, "right": "no"})}, {"photo": ("a.jpg", b"x")}, 422),
    ],
)  # fmt: skip
def test_a_form_that_is_not_valid_keeps_nothing(
    client: TestClient, data: dict[str, str], files: dict[str, Any], status: int
) -> None:
    reply = client.post("/v1/feedback", data=data, files=files)
    assert reply.status_code == status, reply.text
    assert listed(client)["total"] == 0
    assert not (folder_of(client) / "feedback").exists()


def test_a_form_without_a_photo_is_taken(client: TestClient) -> None:
    form = {"entry": (None, json.dumps(WRONG))}
    assert client.post("/v1/feedback", files=form).json()["photo_kept"] is False
    assert listed(client)["entries"][0]["correct"] == "Élysée"


def test_photos_for_review_are_bounded(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_module, "MAX_PHOTOS", 2)
    first = send(client, WRONG, jpeg(front(7, 0)))
    stray = folder_of(client) / "feedback" / "stray.jpg"  # of a process that was killed
    stray.write_bytes(b"x")
    send(client, WRONG, jpeg(front(7, 1)))
    assert not stray.exists()
    files = {"photo": ("a.jpg", jpeg(front(7, 2)))}
    reply = client.post("/v1/feedback", data={"entry": json.dumps(WRONG)}, files=files).json()
    assert (reply["queued"], reply["photo_kept"]) == (True, False)  # the words are kept
    review(client, first, action="discard")
    send(client, {"request_id": "r", "right": True}, jpeg(front(7, 2)))


def test_entries_of_older_versions_and_damaged_lines_are_read(tmp_path: Path) -> None:
    old = {"time": "2026-01-01T00:00:00+00:00", **WRONG, "key": "phone"}
    text = json.dumps(old)
    lines = [text, text, "no JSON", "[1]", json.dumps({"id": "../../x", "right": True})]
    (tmp_path / "feedback.jsonl").write_text("\n".join(lines))  # without a last line break
    store = FeedbackStore(tmp_path)
    found = store.entries()
    assert (len(found.all), found.unreadable) == (3, 2)
    assert len({one["id"] for one in found.all}) == 3
    assert found.all[2]["id"] == "x"  # an id names a file
    assert (found.all[0]["correct"], found.all[0]["key"], found.all[0]["state"]) == (
        "Élysée", "phone", "open",
    )  # fmt: skip
    ids = [one["id"] for one in found.all]

    def never(*_: object) -> Any:
        raise AssertionError("no photo was sent")

    store.review(ids[0], "discard", None, never)
    assert [one["state"] for one in store.entries().all] == ["discarded", "open", "open"]
    assert [one["id"] for one in store.entries().all] == ids
    with pytest.raises(ReviewError, match="already"):
        store.review(ids[0], "approve", None, never)


def _add_many(folder: Path, sender: int) -> None:
    store = FeedbackStore(folder)
    for number in range(40):
        note = f"{sender}-{number} " + "x" * 1900
        store.add({"request_id": "r", "right": True, "note": note, "key": ""}, SentPhoto(b"jpeg"))


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    processes = [
        multiprocessing.get_context("spawn").Process(target=_add_many, args=(tmp_path, sender))
        for sender in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = FeedbackStore(tmp_path).entries()
    assert (len(found.all), found.unreadable) == (120, 0)
    assert len({one["note"].split()[0] for one in found.all}) == 120
    assert all(one["image"] for one in found.all)


def test_the_command_and_a_running_server_share_the_feedback(client: TestClient) -> None:
    folder = folder_of(client)
    one = send(client, {**WRONG, "correct": "Seventh"}, jpeg(front(7, 0)))
    assert [entry["id"] for entry in feedback_of(folder).of_state("open")] == [one]
    done = review_feedback(folder, one, "approve", device="cpu")
    assert done.counts == {"state": "approved", "landmark": "Seventh", "added": 1,
                           "already there": 0, "moved": 0}  # fmt: skip
    assert listed(client, state="approved")["entries"][0]["id"] == one
    assert refusal(client, one, action="approve") == (409, "already_reviewed")
    client.app.state.engine.live.refresh()
    (photo,) = client.get("/v1/landmarks/Seventh/photos").json()["photos"]
    assert (folder / photo["id"]).exists()
    assert client.delete("/v1/landmarks/Seventh").json()["removed"] == 1
    assert not (folder / photo["id"]).exists()


def test_feedback_is_approved_into_a_gallery_on_a_database_server(tmp_path: Path) -> None:
    folder = tmp_path / "linked.wl"
    copy_to(str(copied(tmp_path)), str(folder), link=Link(address=postgres_address()))
    for client in served(folder):
        sent = {**WRONG, "correct": "Seventh"}
        ids = [send(client, sent, jpeg(front(7, seed))) for seed in range(2)]
        assert len(review(client, ids[0], action="approve")["added"]["added"]) == 1
        assert review_feedback(folder, ids[1], "approve", device="cpu").counts["added"] == 1
        client.app.state.engine.live.refresh()
        assert client.get("/v1/landmarks/Seventh").json()["photos"] == 2


def test_a_folder_that_cannot_be_written_is_told(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder_of(client) / "feedback.jsonl").mkdir()
    for reply in (client.post("/v1/feedback", json=WRONG), client.get("/v1/feedback")):
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "storage")
