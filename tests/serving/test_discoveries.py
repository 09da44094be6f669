"""Groups of photos of new landmarks over HTTP: listed, looked at, named, dismissed, reopened."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient

from tests.support.served_world import copied, front, jpeg, with_gps
from whichlandmark.core.files import valid_text
from whichlandmark.core.images import content_hash, read_image
from whichlandmark.core.images import jpeg as thumbnail_of
from whichlandmark.recognition.folder.discoveries import (
    DiscoveredPhoto,
    DiscoveryStore,
    FoundGroup,
    LandmarkSuggestion,
)
from whichlandmark.recognition.folder.edit import remove_photos
from whichlandmark.serving.discoveries import DecidedReply, DiscoveriesReply, DiscoveryObject
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.keys import add_key
from whichlandmark.serving.openapi import model_of
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.server import create_app

pytestmark = pytest.mark.server

TOWER = LandmarkSuggestion("New Tower", "80 m from the photos", "", "Q42", 48.1, 2.2, "Paris",
                           "France", "FR", "near")  # fmt: skip
PALACE = LandmarkSuggestion("Royal | Palace", "its folder is named so")


def found(library: Path, code: int, seeds: range, suggestion: Any = None) -> FoundGroup:
    """A group of photos of one painted front, whose files are in the library."""
    photos = []
    for seed in seeds:
        file = library / "Été 2024" / f"{code}-{seed}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(with_gps(front(code, seed), "secret"))
        name = f"{library.name}/{file.relative_to(library).as_posix()}"
        photos.append(DiscoveredPhoto(
            str(file), name, content_hash(file.read_bytes()), (48.0 + seed / 100, 2.0),
            thumbnail_of(read_image(file)),
        ))  # fmt: skip
    return FoundGroup(tuple(photos), len(photos), suggestion)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recognizer with three groups: of 5, 3 and 14 photos; the last one has no suggestion."""
    folder, library = copied(tmp_path), tmp_path / "Fotos"
    groups = [found(library, 21, range(5), TOWER), found(library, 22, range(3), PALACE)]
    many = found(library, 23, range(4))
    several = tuple(
        DiscoveredPhoto(one.file, f"{one.name}.{n}", one.hash, None, one.thumbnail)
        for n in range(4) for one in many.photos
    )  # fmt: skip
    groups.append(FoundGroup(several[:14], 14))
    DiscoveryStore(folder).put(groups, str(library))
    return folder


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    app = create_app(Engine(folder, ServeOptions(workers=1)))
    with TestClient(app, base_url="http://localhost") as opened:
        yield opened


def listed(client: TestClient, **given: Any) -> dict[str, Any]:
    reply = client.get("/v1/discoveries", params=given)
    model_of(DiscoveriesReply).model_validate_json(reply.text)
    return reply.json()


def whole(client: TestClient, group: dict[str, Any]) -> dict[str, Any]:
    reply = client.get(f"/v1/discoveries/{group['id']}")
    model_of(DiscoveryObject).model_validate_json(reply.text)
    return reply.json()


def decide(client: TestClient, group: dict[str, Any], action: str, **given: Any) -> dict[str, Any]:
    reply = client.post(f"/v1/discoveries/{group['id']}", json={"action": action, **given})
    assert reply.status_code == 200, reply.text
    model_of(DecidedReply).model_validate_json(reply.text)
    return reply.json()


def refusal(client: TestClient, group: str, **given: Any) -> tuple[int, str]:
    reply = client.post(f"/v1/discoveries/{group}", json=given)
    return reply.status_code, reply.json()["error"]["code"]


def photos_in(client: TestClient, landmark: str) -> int:
    reply = client.get(f"/v1/landmarks/{landmark}")
    return reply.json()["photos"] if reply.status_code == 200 else 0


def test_groups_are_listed_the_largest_first_without_folders(
    client: TestClient, tmp_path: Path
) -> None:
    reply = listed(client)
    assert (reply["total"], reply["open"]) == (3, 3)
    many, tower, palace = reply["discoveries"]
    assert [one["total"] for one in reply["discoveries"]] == [14, 5, 3]
    assert (len(many["photos"]), len(whole(client, many)["photos"])) == (12, 14)
    assert many["version"] == whole(client, many)["version"]
    assert (many["suggestion"], many["latitude"], many["longitude"]) == (None, None, None)
    assert (tower["latitude"], tower["longitude"]) == (48.02, 2.0)
    assert (tower["state"], tower["landmark"], tower["title"]) == ("open", None, None)
    assert tower["suggestion"] == {
        "title": "New Tower", "landmark": "New Tower", "known": False,
        "why": "80 m from the photos", "reason": "near", "wikidata": "Q42", "latitude": 48.1,
        "longitude": 2.2, "city": "Paris", "country": "France", "country_code": "FR",
    }  # fmt: skip
    assert palace["suggestion"]["landmark"] == "Royal Palace"  # "|" separates labels
    assert tower["photos"][3] == {
        "number": 3, "name": "21-3.jpg", "thumbnail": f"/v1/discoveries/{tower['id']}/photos/3",
    }  # fmt: skip
    told = json.dumps([reply, whole(client, many)])
    assert str(tmp_path) not in told
    assert "2024" not in told
    page = listed(client, limit=1, offset=1)
    assert (page["total"], page["discoveries"][0]["id"]) == (3, tower["id"])
    assert listed(client, state="named")["total"] == 0


def test_photos_are_shown_small_and_large_without_metadata(
    client: TestClient, tmp_path: Path
) -> None:
    tower = listed(client)["discoveries"][1]
    path = tower["photos"][0]["thumbnail"]
    small = client.get(path)
    assert small.headers["cache-control"] == "no-store"
    picture = Pillow.open(io.BytesIO(small.content))
    assert (max(picture.size), dict(picture.getexif())) == (200, {})
    large = client.get(path, params={"side": 300})
    picture = Pillow.open(io.BytesIO(large.content))
    assert (picture.size, dict(picture.getexif()), large.headers["cache-control"]) == (
        (300, 225), {}, "no-store",
    )  # fmt: skip
    assert b"secret" not in large.content
    # Another picture under this name is not shown: the thumbnail stands in for it.
    file = tmp_path / "Fotos" / "Été 2024" / "21-0.jpg"
    file.write_bytes(jpeg(front(40, 0)))
    instead = client.get(path, params={"side": 300})
    assert max(Pillow.open(io.BytesIO(instead.content)).size) == 200
    for wrong in ("photos/5", "photos/5?side=300"):
        missing = client.get(f"/v1/discoveries/{tower['id']}/{wrong}")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown_discovery")
    assert client.get(f"/v1/discoveries/{tower['id']}/photos/-1").status_code == 422
    assert client.get(path, params={"side": 9000}).status_code == 422


def test_a_group_that_is_named_is_recognized_and_leaves_the_gallery_when_reopened(
    client: TestClient, tmp_path: Path
) -> None:
    tower = listed(client)["discoveries"][1]
    (tmp_path / "Fotos" / "Été 2024" / "21-1.jpg").unlink()
    done = decide(
        client, tower, "name", landmark="New Tower", keep=[0, 1, 2, 3], version=tower["version"]
    )
    assert [one.rsplit("/", 1)[1] for one in done["added"]] == ["21-0.jpg", "21-2.jpg", "21-3.jpg"]
    (gone,) = done["not_added"]
    assert (gone["photo"], gone["reason"]) == ("21-1.jpg", "gone")
    assert str(tmp_path) not in json.dumps(done)
    assert (done["known"], done["moved"]) == (False, [])
    group = done["discovery"]
    assert (group["state"], group["landmark"], group["title"], group["total"]) == (
        "named", "New Tower", "New Tower", 3,
    )  # fmt: skip
    record = client.get("/v1/landmarks/New Tower").json()
    assert (record["photos"], record["wikidata"], record["latitude"]) == (3, "Q42", 48.1)
    assert (record["city"], record["country_code"]) == ("Paris", "FR")
    assert record["generation"] == done["generation"]
    asked = client.post("/v1/recognize", files=[("photos", ("q.jpg", jpeg(front(21, 9))))]).json()
    assert asked["results"][0]["guess"] == "New Tower"
    assert [one["id"] for one in listed(client, state="named")["discoveries"]] == [tower["id"]]
    assert listed(client)["open"] == 2
    assert refusal(client, tower["id"], action="dismiss") == (409, "already_named")
    back = decide(client, tower, "reopen")["discovery"]
    assert (back["state"], back["landmark"], back["total"]) == ("open", None, 5)
    assert photos_in(client, "New Tower") == 0
    facts = {"title": "The old tower", "country_code": "GB"}
    again = decide(client, tower, "name", landmark="Old Tower", **facts)
    assert (len(again["added"]), again["discovery"]["title"]) == (4, "The old tower")
    record = client.get("/v1/landmarks/Old Tower").json()
    assert (record["wikidata"], record["country_code"]) == ("", "GB")


def test_a_group_joins_a_landmark_of_the_gallery(client: TestClient, folder: Path) -> None:
    _, tower, palace = listed(client)["discoveries"]
    done = decide(client, palace, "name", landmark="Première Place")  # a name of "place 1"
    assert (done["discovery"]["landmark"], done["known"]) == ("place 1", True)
    assert done["discovery"]["title"] == "First Place"
    assert photos_in(client, "place 1") == 7
    decide(client, palace, "reopen")
    assert photos_in(client, "place 1") == 4
    # A suggestion takes the label of the landmark with its Wikidata id, …
    change = {"wikidata": "Q42"}
    assert client.patch("/v1/landmarks/place 2", json=change).status_code == 200
    known = listed(client)["discoveries"][1]["suggestion"]
    assert (known["landmark"], known["known"]) == ("place 2", True)
    # … and never that of another landmark of the same name.
    other = {"wikidata": "Q7", "landmark": "New Tower"}
    assert client.patch("/v1/landmarks/place 2", json=other).status_code == 200
    twin = listed(client)["discoveries"][1]["suggestion"]
    assert (twin["landmark"], twin["known"]) == ("New Tower (Q42)", False)
    done = decide(client, tower, "name", landmark=twin["landmark"])
    record = client.get("/v1/landmarks/New Tower (Q42)").json()
    assert (record["photos"], record["title"], record["wikidata"]) == (5, "New Tower", "Q42")
    assert photos_in(client, "New Tower") == 4
    # Of several landmarks without an id it is the one of that name, whatever its label.
    named = {"wikidata": None, "title": "royal palace"}
    assert client.patch("/v1/landmarks/place 0", json=named).status_code == 200
    known = listed(client)["discoveries"][1]["suggestion"]
    assert (known["title"], known["landmark"], known["known"]) == (
        "Royal | Palace",
        "place 0",
        True,
    )


def test_a_named_landmark_that_was_renamed_or_removed_since(client: TestClient) -> None:
    tower = listed(client)["discoveries"][1]
    decide(client, tower, "name", landmark="Towr")
    patch = {"landmark": "Tower", "title": "The Tower"}
    assert client.patch("/v1/landmarks/Towr", json=patch).status_code == 200
    (named,) = listed(client, state="named")["discoveries"]
    assert (named["landmark"], named["title"]) == ("Tower", "The Tower")
    decide(client, tower, "reopen")
    assert photos_in(client, "Tower") == 0
    decide(client, tower, "name", landmark="Tower")
    assert client.delete("/v1/landmarks/Tower").json()["removed"] == 5
    assert listed(client, state="named")["discoveries"][0]["landmark"] == "Tower"
    assert decide(client, tower, "reopen")["discovery"]["state"] == "open"
    assert len(decide(client, tower, "name", landmark="Tower")["added"]) == 5


def test_odd_names_of_files_are_shown_as_text(client: TestClient, tmp_path: Path) -> None:
    group = found(tmp_path / "Odd", 24, range(3))
    names = ["<img src=x onerror=a()>.jpg", "caf\udce9.jpg", "x" * 200 + ".jpg"]
    photos = []
    for photo, name in zip(group.photos, names, strict=True):
        file = valid_text(str(Path(photo.file).rename(tmp_path / name)))
        photos.append(replace(photo, file=file, name=f"Odd/{file.rsplit('/', 1)[1]}"))
    store = DiscoveryStore(client.app.state.engine.folder)
    store.put([FoundGroup(tuple(photos), 3)], "odd")
    odd = next(one for one in listed(client)["discoveries"] if one["suggestion"] is None
               and one["total"] == 3)  # fmt: skip
    shown = [photo["name"] for photo in odd["photos"]]
    assert shown == [names[0], "caf%E9.jpg", names[2]]
    for number in range(3):
        larger = client.get(odd["photos"][number]["thumbnail"], params={"side": 300})
        assert max(Pillow.open(io.BytesIO(larger.content)).size) == 300
    (tmp_path / names[1]).write_bytes(b"not a photo")
    done = decide(client, odd, "name", landmark="Odd")
    (left,) = done["not_added"]
    assert (len(done["added"]), left["photo"], left["reason"]) == (2, "caf%E9.jpg", "not_used")
    assert str(tmp_path) not in json.dumps(done)


def test_a_dismissed_group_is_not_asked_about_again(client: TestClient) -> None:
    tower = listed(client)["discoveries"][1]
    photos = client.get("/v1/landmarks").json()["photos"]
    done = decide(client, tower, "dismiss")
    assert (done["discovery"]["state"], done["added"]) == ("dismissed", [])
    assert tower["id"] not in [one["id"] for one in listed(client)["discoveries"]]
    assert listed(client, state="dismissed")["total"] == 1
    assert refusal(client, tower["id"], action="name", landmark="x") == (409, "already_dismissed")
    assert client.get("/v1/landmarks").json()["photos"] == photos
    assert decide(client, tower, "reopen")["discovery"]["state"] == "open"
    assert decide(client, tower, "reopen")["discovery"]["state"] == "open"  # as often as one likes


REFUSED: list[tuple[dict[str, Any], tuple[int, str]]] = [
    ({"action": "name"}, (422, "landmark_needed")),
    ({"action": "name", "landmark": "a|b"}, (422, "invalid_name")),
    ({"action": "name", "landmark": "a\nb"}, (422, "invalid_name")),
    ({"action": "name", "landmark": " "}, (422, "invalid")),
    ({"action": "name", "landmark": "x", "keep": []}, (422, "nothing_kept")),
    ({"action": "name", "landmark": "x", "keep": [5]}, (422, "invalid")),
    ({"action": "name", "landmark": "x", "keep": [-1]}, (422, "invalid")),
    ({"action": "name", "landmark": "x", "keep": [True]}, (422, "invalid")),
    ({"action": "name", "landmark": "x", "version": "0"}, (409, "discovery_changed")),
    ({"action": "name", "landmark": "x", "latitude": 48.0}, (422, "invalid_record")),
    ({"action": "name", "landmark": "x", "title": "a\x00"}, (422, "invalid_record")),
    ({"action": "name", "landmark": "x", "wikidata": "42"}, (422, "invalid")),
    ({"action": "forget"}, (422, "invalid")),
    ({}, (422, "invalid")),
]


def test_what_cannot_be_decided_changes_nothing(client: TestClient) -> None:
    tower, generation = listed(client)["discoveries"][1], client.get("/livez").json()["generation"]
    for given, refused in REFUSED:
        assert refusal(client, tower["id"], **given) == refused, given
    assert listed(client)["discoveries"][1] == tower
    assert client.get("/livez").json()["generation"] == generation


def test_photos_that_are_gone_are_told(client: TestClient, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "Fotos")
    tower = listed(client)["discoveries"][1]
    assert refusal(client, tower["id"], action="name", landmark="x") == (409, "no_photos")
    assert listed(client)["open"] == 3
    said = client.post(f"/v1/discoveries/{tower['id']}", json={"action": "name", "landmark": "x"})
    assert str(tmp_path) not in said.text
    assert refusal(client, "ffff", action="dismiss") == (404, "unknown_discovery")
    assert client.get("/v1/discoveries/ffff").status_code == 404


def test_the_last_landmark_of_a_gallery_stays(client: TestClient, folder: Path) -> None:
    tower = listed(client)["discoveries"][1]
    decide(client, tower, "name", landmark="New Tower")
    for code in range(4):
        remove_photos(folder, [], f"place {code}")
    assert client.app.state.engine.live.refresh() in (True, False)
    assert refusal(client, tower["id"], action="reopen") == (409, "last_photo")


def test_groups_need_a_key_that_may_write(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    keys = {scope: add_key(file, scope, scope) for scope in ("read", "write")}
    app = create_app(Engine(folder, ServeOptions(workers=1, keys=file)))
    with TestClient(app, base_url="http://localhost") as opened:
        (group,) = DiscoveryStore(folder).all()[:1]
        for path in ("", f"/{group.id}", f"/{group.id}/photos/0"):
            statuses = []
            for key in (None, keys["read"], keys["write"]):
                headers = {"Authorization": f"Bearer {key}"} if key else {}
                reply = opened.get(f"/v1/discoveries{path}", headers=headers)
                statuses.append(reply.status_code)
            assert statuses == [401, 403, 200], path
        body = {"action": "dismiss"}
        headers = {"Authorization": f"Bearer {keys['read']}"}
        refused = opened.post(f"/v1/discoveries/{group.id}", json=body, headers=headers)
        assert refused.status_code == 403
        body_of_site = {"Authorization": f"Bearer {keys['write']}", "Origin": "https://a.example"}
        refused = opened.post(f"/v1/discoveries/{group.id}", json=body, headers=body_of_site)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "cross_site")


def test_a_store_that_cannot_be_used_is_said(client: TestClient, folder: Path) -> None:
    path = DiscoveryStore(folder).path
    with sqlite3.connect(path) as sql:
        sql.execute("DROP TABLE photos")
    reply = client.get("/v1/discoveries")
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "storage")
    assert str(folder) not in reply.text
    path.unlink()
    assert listed(client) == {"total": 0, "open": 0, "discoveries": []}
