"""The stub server's gallery: landmarks, photos, undo and feedback, as the real server answers."""

from __future__ import annotations

import copy
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import unquote

from tests.support.page_world import JSON, World, answer

UNDO_SECONDS = 60


class RefusedError(Exception):
    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status, self.error = status, {"code": code, "message": message, "hint": hint}


@dataclass
class Asked:
    """A request. kind: its Content-Type."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes
    kind: str

    def json(self) -> JSON:
        found: JSON = json.loads(self.body or b"{}")
        return found

    def page(self, items: list[str], limit: int = 24) -> list[str]:
        """The items that offset and limit ask for."""
        offset = int(self.query.get("offset", "0"))
        return items[offset : offset + int(self.query.get("limit", limit))]

    def parts(self) -> list[tuple[str, str | None, Any]]:
        """Name of the field, name of the file and content of each part of a multipart body."""
        head = f"Content-Type: {self.kind}\r\n\r\n".encode()
        parts = BytesParser(policy=HTTP).parsebytes(head + self.body).iter_parts()
        return [
            (str(part.get_param("name", header="content-disposition")), part.get_filename(),
             part.get_payload(decode=True))
            for part in parts
        ]  # fmt: skip

    def files(self) -> list[str]:
        """The names of the photos: of a multipart body, or of one that is the whole body."""
        if not self.kind.startswith("multipart/"):
            return [self.query.get("name", "photo.jpg")]
        return [file for _, file, _ in self.parts() if file]


def reply(world: World, asked: Asked) -> JSON:
    """The JSON of a route of the gallery. Raises RefusedError."""
    for pattern, methods in ROUTES.items():
        if found := re.fullmatch(pattern, asked.path):
            if asked.method not in methods:
                raise RefusedError(405, "method_not_allowed", f"{asked.method} is not allowed")
            return methods[asked.method](world, asked, *map(unquote, found.groups()))
    raise RefusedError(404, "not_found", f"no route {asked.path}")


# ——— landmarks


def folded(text: str) -> str:
    """Small letters without accents and punctuation."""
    plain = unicodedata.normalize("NFKD", text.lower())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return " ".join(re.sub(r"[^\w\s]|_", " ", plain).split())


def likeness(query: str, *names: str) -> float:
    """How well a name fits the query: 2 = contains it, else the share of equal letters."""
    best = 0.0
    for name in map(folded, names):
        words = name.split()
        tries = [name, *words]
        like = max((SequenceMatcher(None, query, word).ratio() for word in tries), default=0)
        best = max(best, 2 if query in name else like)
    return best


def known(world: World, name: str) -> str:
    if name not in world.landmarks:
        raise RefusedError(404, "unknown_landmark", f"there is no landmark {name!r}")
    return name


def listed(world: World, name: str, lang: str) -> JSON:
    photos = world.landmarks[name]
    thumbnail = world.photo(photos[0])["thumbnail"] if photos else None
    return {**world.record(name, lang), "photos": len(photos), "thumbnail": thumbnail}


def landmarks(world: World, asked: Asked) -> JSON:
    query, lang = folded(asked.query.get("query", "")), asked.query.get("lang", "")
    rows = {name: world.record(name, lang) for name in world.landmarks}
    like = {
        name: likeness(query, row["title"], name, *row["names"].values())
        for name, row in rows.items()
    }
    found = [name for name in rows if not query or like[name] >= 0.75]
    found.sort(key=lambda name: (-like[name] if query else 0, folded(rows[name]["title"] or name)))
    return {
        "total": len(found), "photos": sum(map(len, world.landmarks.values())),
        "distractors": len(world.distractors), "generation": world.generation,
        "landmarks": [listed(world, name, lang) for name in asked.page(found)],
    }  # fmt: skip


def landmark(world: World, asked: Asked, name: str) -> JSON:
    found = listed(world, known(world, name), asked.query.get("lang", ""))
    return {**found, "generation": world.generation}


def change_landmark(world: World, asked: Asked, name: str) -> JSON:
    """Rename a landmark, or merge it into another one, and change its record."""
    change, new, relabelled = asked.json(), known(world, name), 0
    merge, wanted = change.pop("merge", False), change.pop("landmark", name)
    if wanted != name:
        if wanted in world.landmarks and not merge:
            raise RefusedError(409, "landmark_exists", f"there is a landmark {wanted!r}")
        photos = world.landmarks.pop(name)
        world.landmarks.setdefault(wanted, []).extend(photos)
        world.records.setdefault(wanted, world.records.pop(name, {}))
        world.titles.setdefault(wanted, world.titles.get(name, ""))
        new, relabelled = wanted, len(photos)
    names = {**world.record(new)["names"], **(change.pop("names", None) or {})}
    record = {k: "" if v is None and k not in ("latitude", "longitude") else v
              for k, v in change.items()}  # fmt: skip
    record["names"] = {lang: text for lang, text in names.items() if text}
    world.records[new] = {**world.records.get(new, {}), **record}
    world.generation += 1
    found = listed(world, new, asked.query.get("lang", ""))
    return {**found, "relabelled": relabelled, "generation": world.generation}


def remove_landmark(world: World, _: Asked, name: str) -> JSON:
    return removed(world, list(world.landmarks[known(world, name)]))


def photos_of(world: World, asked: Asked, name: str) -> JSON:
    ids = world.landmarks.get(name, [])
    photos = [{**world.photo(i), "landmark": name} for i in asked.page(ids)]
    return {"landmark": name, "total": len(ids), "photos": photos}


def add_photos(world: World, asked: Asked, name: str) -> JSON:
    sent = asked.files()
    bad = [answer(world, file) for file in sent if "unreadable" in file]
    ids = [f"{name}/{file}" for file in sent if "unreadable" not in file]
    if ids:
        world.landmarks.setdefault(name, []).extend(ids)
    world.generation += 1
    return {"added": ids, "already_there": [], "other_landmark": [], "moved": [], "failed": bad,
            "generation": world.generation}  # fmt: skip


# ——— photos


def owner_of(world: World, photo: str) -> str:
    """The landmark of a photo; "" = none."""
    for name, photos in world.landmarks.items():
        if photo in photos:
            return name
    if photo in world.distractors:
        return ""
    raise RefusedError(404, "unknown_photo", f"there is no photo {photo!r}")


def photo(world: World, _: Asked, name: str) -> JSON:
    owner = owner_of(world, name)
    return {**world.photo(name), "landmark": owner, "generation": world.generation}


def put_under(world: World, photos: list[str], landmark: str) -> int:
    for name in photos:
        owner = owner_of(world, name)
        (world.landmarks[owner] if owner else world.distractors).remove(name)
        target = world.landmarks.setdefault(landmark, []) if landmark else world.distractors
        target.append(name)
        if owner and not world.landmarks[owner]:
            del world.landmarks[owner]
    world.generation += 1
    return len(photos)


def change_photo(world: World, asked: Asked, name: str) -> JSON:
    change = asked.json()
    owner_of(world, name)
    if "landmark" in change:
        put_under(world, [name], change.pop("landmark"))
    credit = {k: v or "" for k, v in change.items()}
    if credit:
        fields = ("author", "licence", "licence_url", "source")
        shown = {field: world.photo(name)[field] for field in fields}
        world.credits[name] = {**shown, **credit}
    return photo(world, asked, name)


def removed(world: World, photos: list[str]) -> JSON:
    """Remove photos, and keep what undoes it."""
    for name in photos:
        owner_of(world, name)
    left = [n for have in world.landmarks.values() for n in have if n not in photos]
    if not left:
        raise RefusedError(409, "last_photo", "the gallery would become empty")
    token = f"undo-{len(world.undo) + 1}"
    world.undo[token] = copy.deepcopy((world.landmarks, world.distractors))
    for name in photos:
        owner = owner_of(world, name)
        (world.landmarks[owner] if owner else world.distractors).remove(name)
        if owner and not world.landmarks[owner]:
            del world.landmarks[owner]
    world.generation += 1
    kept = len(photos) <= world.config.get("undo_photos", 50)
    return {"removed": len(photos), "generation": world.generation,
            "undo": token if kept else None, "undo_seconds": UNDO_SECONDS}  # fmt: skip


def undo(world: World, _: Asked, token: str) -> JSON:
    before = world.undo.pop(token, None)
    if before is None:
        raise RefusedError(410, "too_late", "this can no longer be undone")
    count = sum(map(len, world.landmarks.values())) + len(world.distractors)
    world.landmarks.clear()
    world.landmarks.update(before[0])
    world.distractors[:] = before[1]
    world.generation += 1
    restored = sum(map(len, world.landmarks.values())) + len(world.distractors) - count
    return {"restored": restored, "not_restored": [], "generation": world.generation}


def distractors(world: World, asked: Asked) -> JSON:
    photos = [{**world.photo(i), "landmark": ""} for i in asked.page(world.distractors)]
    return {"landmark": "", "total": len(world.distractors), "photos": photos}


def move_photos(world: World, asked: Asked) -> JSON:
    wanted = asked.json()
    moved = put_under(world, wanted["photos"], wanted["landmark"])
    return {"relabelled": moved, "generation": world.generation}


# ——— feedback


def take_feedback(world: World, asked: Asked) -> JSON:
    sent, image = asked.body, False
    if asked.kind.startswith("multipart/"):
        parts = {field: content for field, _, content in asked.parts()}
        sent, image = parts["entry"], "photo" in parts
    number = f"f-{len(world.feedback) + 1}"
    path = f"/v1/feedback/{number}/photo" if image else None
    world.feedback.append({
        **json.loads(sent), "id": number, "time": "2026-11-28T17:00:00Z", "key": "",
        "state": "open", "landmark": None, "image": path,
    })  # fmt: skip
    return {"queued": True, "id": number, "photo_kept": image}


def list_feedback(world: World, asked: Asked) -> JSON:
    wanted = asked.query.get("state", "open")
    entries = {e["id"]: e for e in reversed(world.feedback) if wanted in ("all", e["state"])}
    shown = [entries[number] for number in asked.page(list(entries))]
    waiting = sum(entry["state"] == "open" for entry in world.feedback)
    return {"total": len(entries), "open": waiting, "unreadable": 0, "entries": shown}


def review(world: World, asked: Asked, number: str) -> JSON:
    entry = next((e for e in world.feedback if e["id"] == number), None)
    if entry is None:
        raise RefusedError(404, "unknown_feedback", f"there is no entry {number!r}")
    if entry["state"] != "open":
        raise RefusedError(409, "already_reviewed", "this was reviewed before")
    wanted = asked.json()
    if wanted["action"] == "discard":
        entry["state"] = "discarded"
        return {"entry": entry, "added": None}
    told = entry["correct"] or entry["answer"]
    name = wanted.get("landmark", told) if wanted.get("landmark") is not None else told
    if name is None:
        raise RefusedError(422, "landmark_needed", "which landmark does it show?")
    entry.update(state="approved" if name == told else "corrected", landmark=name)
    added = None
    if entry["image"]:
        target = world.landmarks.setdefault(name, []) if name else world.distractors
        target.append(f"feedback/{number}.jpg")
        world.generation += 1
        added = {"added": [f"feedback/{number}.jpg"], "already_there": [], "other_landmark": [],
                 "moved": [], "failed": [], "generation": world.generation}  # fmt: skip
    return {"entry": entry, "added": added}


Route = Callable[..., JSON]
ROUTES: dict[str, dict[str, Route]] = {
    "/v1/landmarks": {"GET": landmarks},
    "/v1/landmarks/([^/]+)": {
        "GET": landmark, "PATCH": change_landmark, "DELETE": remove_landmark,
    },
    "/v1/landmarks/([^/]+)/photos": {"GET": photos_of, "POST": add_photos},
    "/v1/photos/([^/]+)": {
        "GET": photo, "PATCH": change_photo,
        "DELETE": lambda world, _, name: removed(world, [name]),
    },
    "/v1/photos:remove": {"POST": lambda world, asked: removed(world, asked.json()["photos"])},
    "/v1/photos:move": {"POST": move_photos},
    "/v1/undo/([^/]+)": {"POST": undo},
    "/v1/distractors": {"GET": distractors},
    "/v1/feedback": {"GET": list_feedback, "POST": take_feedback},
    "/v1/feedback/([^/]+)": {"PATCH": review},
}  # fmt: skip
