"""Editing the gallery of a running server, and its reload."""

from __future__ import annotations

import errno
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient

from tests.support.served_world import copied, front, jpeg, with_gps
from whichlandmark.core import disks
from whichlandmark.core.errors import GalleryError
from whichlandmark.recognition.folder.edit import open_gallery, relabel_photos, remove_photos
from whichlandmark.recognition.folder.maintain import list_photos, verify_gallery
from whichlandmark.recognition.folder.settings import UnfinishedRun, changing_state
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.schemas import (
    AddedReply,
    ChangedLandmarkReply,
    CreditReply,
    LandmarkReply,
    RelabelledReply,
    RemovedReply,
    model_of,
)
from whichlandmark.serving.server import create_app

pytestmark = pytest.mark.server


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    options = ServeOptions(workers=1)
    app = create_app(Engine(copied(tmp_path), options))
    with TestClient(app, base_url="http://localhost") as opened:
        yield opened


def photos_of(*fronts: tuple[int, int]) -> list:
    return [("photos", (f"{c}-{s}.jpg", with_gps(front(c, s), "secret"))) for c, s in fronts]


def answer(client: TestClient, code: int) -> str | None:
    reply = client.post("/v1/recognize", files=[("photos", ("q.jpg", jpeg(front(code, 9))))])
    return reply.json()["results"][0]["landmark"]


def test_a_landmark_is_added_recognized_and_removed(client: TestClient) -> None:
    engine: Engine = client.app.state.engine
    assert answer(client, 7) is None
    given = [*photos_of((7, 0), (7, 1), (7, 2)), ("photos", ("bad.jpg", b"\xff\xd8\xffbad"))]
    reply = client.post("/v1/landmarks/Seventh%2FPlace/photos", files=given)
    reply_body = model_of(AddedReply).model_validate_json(reply.text)
    assert (len(reply_body.added), reply_body.failed[0].photo) == (3, "bad.jpg")
    assert answer(client, 7) == "Seventh/Place"
    kept = sorted((engine.folder / "photos").iterdir())
    assert [f"photos/{path.name}" for path in kept] == sorted(reply_body.added)
    for path in kept:
        assert b"secret" not in path.read_bytes()
        assert dict(Pillow.open(io.BytesIO(path.read_bytes())).getexif()) == {}
    again = client.post("/v1/landmarks/Seventh%2FPlace/photos", files=given[:1]).json()
    assert again["generation"] == reply_body.generation  # adding a photo again changes nothing
    listed = client.get("/v1/landmarks/Seventh%2FPlace/photos").json()
    assert listed["total"] == 3
    assert client.get(listed["photos"][0]["thumbnail"]).status_code == 200
    reply = client.delete("/v1/landmarks/Seventh%2FPlace")
    assert model_of(RemovedReply).model_validate_json(reply.text).removed == 3
    assert answer(client, 7) is None
    assert list((engine.folder / "photos").iterdir()) == []
    assert client.delete("/v1/landmarks/Seventh%2FPlace").status_code == 404


def test_a_moved_folder_finds_and_removes_the_photos_that_the_server_stored(
    tmp_path: Path,
) -> None:
    """By their ids, because the paths that the gallery stores are those of the old place."""
    old, options = copied(tmp_path), ServeOptions(workers=1)
    with TestClient(create_app(Engine(old, options)), base_url="http://localhost") as client:
        added = client.post("/v1/landmarks/Moved/photos", files=photos_of((6, 0), (6, 1))).json()
    (old / "photos" / "mine.jpg").touch()
    new = old.rename(tmp_path / "new place.wl")
    verified = verify_gallery(new)
    assert [line for line in verified.warnings if "photos/" in line] == []
    listed = list_photos(new, "Moved")
    assert all(Path(photo["path"]).exists() for photo in listed)
    with TestClient(create_app(Engine(new, options)), base_url="http://localhost") as client:
        with open_gallery(new) as gallery:
            paths = [path for path, _, _ in gallery.stamps(added["added"]).values()]
        assert sorted(paths) == sorted(str(new.resolve() / one) for one in added["added"])
        one = added["added"][0].replace("/", "%2F")
        assert client.delete(f"/v1/photos/{one}").json()["removed"] == 1
    remove_photos(new, added["added"][1:], None)
    assert [path.name for path in (new / "photos").iterdir()] == ["mine.jpg"]


def test_a_record_is_read_and_changed_field_by_field(client: TestClient) -> None:
    address = "/v1/landmarks/place 1"
    before = client.get(address).json()
    assert model_of(LandmarkReply).model_validate(before).title == before["title"]
    given = {"title": "First", "names": {"fr": "Premier", "de": "Erster"}, "wikidata": "Q243",
             "latitude": 48, "longitude": 2.294, "source": "https://a.org/x",
             "wikipedia": {"fr": "Premier lieu", "de": "Erster Ort"}, "city": "Paris",
             "country": "France", "country_code": "FR"}  # fmt: skip
    changed = client.patch(address, json=given).json()
    model_of(ChangedLandmarkReply).model_validate(changed)
    assert changed.pop("relabelled") == 0
    assert changed == {**before, **given, "generation": before["generation"] + 1}
    assert client.get(address).json() == changed
    shown = client.get("/v1/landmarks", params={"query": "premier"}).json()["landmarks"][0]
    assert (shown["title"], shown["source"]) == ("First", "https://a.org/x")
    fewer = {"names": {"de": None}, "wikidata": None, "wikipedia": {"de": None}}
    fewer = client.patch(address, json=fewer).json()
    assert fewer["wikipedia"] == {"fr": "Premier lieu"}
    assert (fewer["names"], fewer["wikidata"]) == ({"fr": "Premier"}, "")
    assert fewer["title"] == "First"
    assert client.patch(address, json={}).json() == fewer  # nothing to do, no new generation
    cleared = client.patch(address, json={"names": None, "latitude": None, "longitude": None})
    assert (cleared.json()["names"], cleared.json()["latitude"]) == ({}, None)
    moved = client.patch(address, json={"country": "Italy", "city": None}).json()
    assert (moved["city"], moved["country"], moved["country_code"]) == ("", "Italy", "")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"wikidata": "243"}, "wikidata"), ({"latitude": 91, "longitude": 0}, "latitude"),
        ({"latitude": None}, "longitude"), ({"names": {"x y": "a"}}, "language"),
        ({"title": "a" * 1001}, "title"), ({"title": 3}, "title"), ({"titel": "a"}, "titel"),
        ({"source": "javascript:alert(1)"}, "source"), ({"title": "a\x00"}, "title"),
        ({"country_code": "fr"}, "country_code"), ({"country_code": "FRA"}, "country_code"),
        ({"city": "a" * 1001}, "city"), ({"country": "a\x00"}, "country"), ({"city": 3}, "city"),
    ],
)  # fmt: skip
def test_a_record_that_is_not_valid_names_the_field(
    client: TestClient, given: dict[str, Any], field: str
) -> None:
    address = "/v1/landmarks/place 1"
    before = client.get(address).json()
    reply = client.patch(address, json=given)
    assert reply.status_code == 422
    assert field in reply.json()["error"]["message"]
    assert client.get(address).json() == before


def test_the_credit_of_a_photo_is_read_and_changed(client: TestClient) -> None:
    listed = client.get("/v1/landmarks/place 2/photos").json()["photos"][0]
    address = f"/v1/photos/{listed['id'].replace('/', '%2F')}"
    before = client.get(address).json()
    assert (before["landmark"], before["author"], before["source"]) == ("place 2", "A. Author", "")
    by = "https://creativecommons.org/licenses/by/4.0/"
    given = {"author": "Ann", "licence_url": by, "source": "https://a.org/1.jpg"}
    changed = client.patch(address, json=given).json()
    model_of(CreditReply).model_validate(changed)
    assert changed == {**before, **given, "generation": before["generation"] + 1}
    client.patch(address, json={"author": None, "licence": "CC0"})
    shown = client.get("/v1/landmarks/place 2/photos").json()["photos"][0]
    assert (shown["author"], shown["licence"]) == ("", "CC0")
    assert shown["source"] == "https://a.org/1.jpg"
    assert shown["licence_url"] == ""  # because it was the address of another licence
    both = {"licence": "CC BY 4.0", "licence_url": by}
    assert client.patch(address, json=both).json().items() >= both.items()
    assert client.patch(address, json={"licence": "CC BY 4.0"}).json()["licence_url"] == by
    for field in ("source", "licence_url"):
        refused = client.patch(address, json={field: "ftp://a"})
        assert (refused.status_code, field in refused.json()["error"]["message"]) == (422, True)
    for path in ("landmarks/nowhere", "photos/no%2F1.jpg"):
        assert client.get(f"/v1/{path}").status_code == 404
        assert client.patch(f"/v1/{path}", json={}).status_code == 404


def test_a_folder_that_cannot_be_written_is_told(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(disks.tempfile, "TemporaryFile", refuse)
    photos = photos_of((7, 0))
    for reply in (
        client.post("/v1/landmarks/place 1/photos", files=photos),
        client.patch("/v1/landmarks/place 1", json={"landmark": "new"}),
        client.patch("/v1/landmarks/place 1", json={"title": "new"}),
        client.delete("/v1/landmarks/place 1"),
    ):
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "storage")
    assert client.get("/v1/landmarks/place 1").status_code == 200


def test_one_photo_sent_twice_is_stored_once(client: TestClient) -> None:
    """In one request, and in two at the same moment."""
    twice = client.post("/v1/landmarks/Ninth/photos", files=[*photos_of((9, 0)) * 2]).json()
    assert len(twice["added"]) == 1
    with ThreadPoolExecutor() as pool:
        replies = list(pool.map(
            lambda _: client.post("/v1/landmarks/Tenth/photos", files=photos_of((10, 0))).json(),
            range(2),
        ))  # fmt: skip
    assert sorted(len(reply["added"]) for reply in replies) == [0, 1]
    assert sorted(len(reply["already_there"]) for reply in replies) == [0, 1]
    assert client.get("/v1/landmarks/Tenth/photos").json()["total"] == 1


def test_photos_are_relabelled_and_removed_one_by_one(client: TestClient) -> None:
    ids = [p["id"] for p in client.get("/v1/landmarks/place 2/photos").json()["photos"]]
    address = f"/v1/photos/{ids[0].replace('/', '%2F')}"
    reply = client.patch(address, json={"landmark": "place 3"})
    assert model_of(CreditReply).model_validate_json(reply.text).landmark == "place 3"
    counts = {e["landmark"]: e["photos"] for e in client.get("/v1/landmarks").json()["landmarks"]}
    assert (counts["place 2"], counts["place 3"]) == (3, 5)
    reply = client.patch(address, json={"landmark": ""})
    assert (reply.status_code, reply.json().get("landmark")) == (200, ""), reply.text
    assert client.get("/v1/landmarks").json()["distractors"] == 5
    assert client.delete(address).json()["removed"] == 1
    assert client.delete(address).status_code == 404
    assert client.patch("/v1/landmarks/place 3", json={"landmark": "new"}).json()["relabelled"] == 4
    for wrong in ({"landmark": "a|b"}, {"landmark": "a\x00"}, {"landmark": 3}, {"to": "a"}):
        assert client.patch(address, json=wrong).status_code == 422, wrong
    name = "a%7Cb"
    assert client.post(f"/v1/landmarks/{name}/photos", files=photos_of((8, 0))).status_code == 422


def test_a_landmark_is_merged_only_when_told(client: TestClient) -> None:
    address = "/v1/landmarks/place 0"
    reply = client.patch(address, json={"landmark": "place 1"})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (409, "landmark_exists")
    assert "place 1" in error["message"]
    assert '"merge": true' in error["hint"]
    assert client.get("/v1/landmarks").json()["total"] == 4
    merged = client.patch(address, json={"landmark": "place 1", "merge": True})
    assert merged.json()["relabelled"] == 4
    assert client.get("/v1/landmarks").json()["total"] == 3


def test_a_photo_that_is_there_is_not_added_again(client: TestClient) -> None:
    """Known by the bytes as sent, although the server stores photos encoded again."""
    engine: Engine = client.app.state.engine
    with open_gallery(engine.folder) as gallery:
        photo_id, (path, _, _) = next(iter(gallery.stamps().items()))
    sent = [("photos", ("x.jpg", Path(path).read_bytes()))]
    same = client.post("/v1/landmarks/place 0/photos", files=sent).json()
    assert (same["added"], same["already_there"]) == ([], [photo_id])
    other = client.post("/v1/landmarks/place 9/photos", files=sent).json()
    assert (other["added"], other["moved"]) == ([], [])
    assert other["other_landmark"] == [{"id": photo_id, "landmark": "place 0"}]
    assert not list((engine.folder / "photos").iterdir())  # nothing is left of what was sent
    moved = client.post("/v1/landmarks/place 9/photos?move=true", files=sent).json()
    assert moved["moved"] == [photo_id]
    assert client.get("/v1/landmarks/place 9/photos").json()["photos"][0]["id"] == photo_id


def test_a_photo_removed_here_can_be_added_again(client: TestClient) -> None:
    added = client.post("/v1/landmarks/place 7/photos", files=photos_of((7, 0))).json()["added"]
    assert client.delete(f"/v1/photos/{added[0].replace('/', '%2F')}").status_code == 200
    again = client.post("/v1/landmarks/place 7/photos", files=photos_of((7, 0))).json()
    assert again["added"] == added


def test_the_configuration_says_what_the_gallery_lacks(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    with changing_state(folder) as state:
        state.unfinished = [UnfinishedRun("index", "x", [], 220)]
    with TestClient(create_app(Engine(folder, ServeOptions(workers=1)))) as client:
        found = client.get("http://localhost/v1/config").json()
    assert found["unfinished"] == {"photos": 20, "of": 220}
    assert "20 of 220 photos are in it" in found["warnings"][0]


def test_the_last_landmark_cannot_be_removed(client: TestClient) -> None:
    for code in range(3):
        assert client.delete(f"/v1/landmarks/place {code}").status_code == 200
    reply = client.delete("/v1/landmarks/place 3")
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "last_photo")
    assert client.get("/v1/landmarks").json()["total"] == 1


def test_changes_by_another_process_are_picked_up(client: TestClient) -> None:
    """Changes by `whichlandmark gallery` are loaded without a restart."""
    engine: Engine = client.app.state.engine
    before = engine.live.generation
    relabel_photos(engine.folder, [], "place 0", "Zeroth")
    deadline = time.monotonic() + 10
    while engine.live.generation == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer(client, 0) == "Zeroth"


def test_an_answer_uses_one_gallery_generation(client: TestClient) -> None:
    engine: Engine = client.app.state.engine
    with engine.live.use() as opened:
        remove_photos(engine.folder, [], "place 0")
        assert engine.live.refresh() or engine.live.generation != opened.generation
        assert "place 0" in opened.recognizer.index.names
        assert opened.facts.gallery.count() > 0  # still open
    with engine.live.use() as newer:
        assert "place 0" not in newer.recognizer.index.names
    assert opened.users == 0


def test_after_damage_the_old_gallery_keeps_answering(client: TestClient) -> None:
    engine: Engine = client.app.state.engine
    path = engine.folder / "gallery.sqlite"
    whole = path.read_bytes()
    other = path.with_name("other.sqlite")
    other.write_bytes(b"no gallery at all" * 500)
    other.replace(path)
    with pytest.raises(GalleryError):
        engine.live.refresh()
    assert engine.live.trouble
    assert answer(client, 0) == "place 0"
    ready = client.get("/readyz")
    assert (ready.status_code, bool(ready.json()["trouble"])) == (200, True)
    other.write_bytes(whole)
    other.replace(path)
    engine.live.refresh()
    assert (engine.live.trouble, answer(client, 0)) == ("", "place 0")


def test_html_in_landmark_names_is_served_as_json_only(client: TestClient) -> None:
    """The content type and nosniff keep browsers from rendering names as HTML."""
    for name in ('<img src=x onerror="alert(1)">', "'\"><script>alert(1)</script>", "{{7*7}}"):
        added = client.post(f"/v1/landmarks/{name.replace('/', '%2F')}/photos",
                            params={"move": True}, files=photos_of((9, 0)))  # fmt: skip
        assert added.status_code == 200, added.text
        listed = client.get("/v1/landmarks", params={"query": name})
        assert listed.headers["content-type"] == "application/json"
        assert listed.headers["x-content-type-options"] == "nosniff"
        assert [entry["landmark"] for entry in listed.json()["landmarks"]] == [name]
        file = (f"{name}.jpg", jpeg(front(9, 9)))
        reply = client.post("/v1/recognize", files=[("photos", file)])
        assert reply.json()["results"][0]["landmark"] == name


def test_large_photos_are_stored_resized(client: TestClient) -> None:
    engine: Engine = client.app.state.engine
    large = jpeg(front(6, 0).resize((3600, 2700)))
    (kept,) = client.post("/v1/landmarks/large/photos",
                          files=[("photos", ("l.jpg", large))]).json()["added"]  # fmt: skip
    picture = Pillow.open(io.BytesIO((engine.folder / kept).read_bytes()))
    assert picture.size == (2048, 1536)


def test_names_with_slashes_have_their_own_routes(client: TestClient) -> None:
    client.patch("/v1/landmarks/place 0", json={"landmark": "a/photos"})
    assert client.get("/v1/landmarks/a%2Fphotos").json()["photos"] == 4
    assert client.get("/v1/landmarks/a%2Fphotos/photos").json()["total"] == 4
    assert client.get("/v1/landmarks/a/photos").status_code == 404  # the photos of "a"
    assert client.patch("/v1/landmarks/a%2fphotos", json={"title": "A"}).json()["title"] == "A"
    assert client.delete("/v1/landmarks/a%2Fphotos").json()["removed"] == 4


def test_a_rename_and_a_new_record_are_one_change(client: TestClient) -> None:
    """A reader sees the old landmark or the new one, and nothing between."""
    before = client.get("/v1/landmarks/place 1").json()
    sent = {"landmark": "Premier", "title": "The First", "names": {"fr": None, "de": "Erster"}}
    reply = client.patch("/v1/landmarks/place 1", params={"lang": "de"}, json=sent)
    done = model_of(ChangedLandmarkReply).model_validate_json(reply.text)
    assert (done.landmark, done.title, done.names) == ("Premier", "Erster", {"de": "Erster"})
    assert (done.relabelled, done.photos, done.wikidata) == (4, 4, before["wikidata"])
    assert done.generation == before["generation"] + 1
    refused = client.patch("/v1/landmarks/Premier", json={"landmark": "B", "latitude": None})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_record")
    assert client.get("/v1/landmarks/B").status_code == 404
    merged = client.patch(
        "/v1/landmarks/Premier", json={"landmark": "place 2", "merge": True, "title": "Both"}
    ).json()
    assert (merged["title"], merged["photos"], merged["relabelled"]) == ("Both", 8, 4)
    same = client.patch("/v1/landmarks/place 2", json={"landmark": "place 2", "title": "C"}).json()
    assert (same["title"], same["relabelled"]) == ("C", 0)


def test_landmark_and_credit_of_a_photo_are_changed_together(client: TestClient) -> None:
    photo = client.get("/v1/landmarks/place 2/photos").json()["photos"][0]["id"]
    address = f"/v1/photos/{photo.replace('/', '%2F')}"
    done = client.patch(address, json={"landmark": "New", "author": "Ann", "licence": None}).json()
    assert (done["landmark"], done["author"], done["licence"]) == ("New", "Ann", "")
    assert client.get(address).json() == done
    wrong = client.patch(address, json={"landmark": "Other", "author": "a\x00"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (422, "invalid_credit")
    assert client.get(address).json() == done  # nothing of it was changed


def test_several_photos_are_moved_in_one_change(client: TestClient) -> None:
    ids = [one["id"] for one in client.get("/v1/landmarks/place 2/photos").json()["photos"]]
    before = client.get("/v1/landmarks").json()["generation"]
    done = client.post("/v1/photos:move", json={"photos": ids[:3], "landmark": "New"})
    assert model_of(RelabelledReply).model_validate_json(done.text).relabelled == 3
    assert done.json()["generation"] == before + 1
    assert client.get("/v1/landmarks/New").json()["photos"] == 3
    back = client.post("/v1/photos:move", json={"photos": ids, "landmark": "place 2"}).json()
    assert back["relabelled"] == 3  # the fourth was there
    none = client.post("/v1/photos:move", json={"photos": ids[:1], "landmark": ""}).json()
    assert none["relabelled"] == 1
    assert client.get("/v1/distractors").json()["total"] == 5
    for wrong, status, code in (
        ({"photos": [ids[0], "none"], "landmark": "A"}, 404, "unknown_photo"),
        ({"photos": [ids[0], "a\x00"], "landmark": "A"}, 404, "unknown_photo"),
        ({"photos": ids, "landmark": "a|b"}, 422, "invalid_name"),
        ({"photos": ids, "landmark": " "}, 422, "invalid"),
        ({"photos": [], "landmark": "A"}, 422, "invalid"),
        ({"photos": ["a"] * 1001, "landmark": "A"}, 422, "invalid"),
        ({"photos": ids}, 422, "invalid"),
    ):
        reply = client.post("/v1/photos:move", json=wrong)
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), wrong
    assert client.get("/v1/landmarks/A").status_code == 404


def test_each_refusal_has_its_code(client: TestClient) -> None:
    for method, path, body, status, code in (
        ("GET", "/v1/landmarks/nowhere", None, 404, "unknown_landmark"),
        ("GET", "/v1/landmarks/nowhere/photos", None, 404, "unknown_landmark"),
        ("DELETE", "/v1/landmarks/nowhere", None, 404, "unknown_landmark"),
        ("PATCH", "/v1/landmarks/nowhere", {"title": "A"}, 404, "unknown_landmark"),
        ("PATCH", "/v1/landmarks/nowhere", {"landmark": "A"}, 404, "unknown_landmark"),
        ("GET", "/v1/photos/none", None, 404, "unknown_photo"),
        ("GET", "/v1/photos/a%00b", None, 404, "unknown_photo"),
        ("GET", "/v1/photos/none/thumbnail", None, 404, "unknown_photo"),
        ("DELETE", "/v1/photos/none", None, 404, "unknown_photo"),
        ("PATCH", "/v1/photos/none", {"author": "A"}, 404, "unknown_photo"),
        ("PATCH", "/v1/landmarks/place 1", {"landmark": "a|b"}, 422, "invalid_name"),
        ("PATCH", "/v1/landmarks/place 1", {"names": {"x y": "A"}}, 422, "invalid_record"),
        ("PATCH", "/v1/landmarks/place 1", {"landmark": "place 2"}, 409, "landmark_exists"),
        ("POST", "/v1/undo/none", None, 410, "too_late"),
        ("GET", "/v1/nowhere", None, 404, "not_found"),
    ):
        reply = client.request(method, path, json=body)
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), (method, path)
        assert "--" not in reply.text  # no options of commands
