"""The stub server's groups of photos of new landmarks, as the real server answers."""

from __future__ import annotations

from tests.support.page_gallery import Asked, RefusedError
from tests.support.page_world import JSON, World, drawn

DISCOVERIES = "/v1/discoveries"
LISTED = 12


def group(number: int, photos: int, **values: object) -> JSON:
    """A group of drawn photos, with a suggestion where one is given as `suggestion`."""
    path = f"{DISCOVERIES}/g-{number}/photos"
    shown = [
        {"number": n, "name": f"IMG_{number}{n:03}.jpg", "thumbnail": f"{path}/{n}"}
        for n in range(photos)
    ]
    usual: JSON = {
        "id": f"g-{number}", "version": f"v-{number}", "state": "open", "size": photos,
        "total": photos, "landmark": None, "title": None, "suggestion": None, "latitude": None,
        "longitude": None, "photos": shown,
    }  # fmt: skip
    return {**usual, **values}


def suggested(title: str, landmark: str = "", **values: object) -> JSON:
    usual = {"title": title, "landmark": landmark or title, "known": bool(landmark),
             "why": "40 m from the photos, by Wikidata", "reason": "near", "wikidata": "Q77",
             "latitude": 48.8554, "longitude": 2.3450, "city": "Paris", "country": "France",
             "country_code": "FR"}  # fmt: skip
    return {**usual, **values}


def picture(asked: Asked) -> bytes:
    """A thumbnail or a larger picture: group number and photo number decide what is drawn."""
    _, _, _, name, _, number = asked.path.split("/")
    side = int(asked.query.get("side", "200"))
    return drawn(100 + int(name.removeprefix("g-")), f"group {number}", side)


def reply(world: World, asked: Asked) -> JSON:
    """The JSON of a route of groups. Raises RefusedError."""
    if asked.path == DISCOVERIES:
        state = asked.query.get("state", "open")
        wanted = [one for one in world.discoveries if state in ("all", one["state"])]
        wanted.sort(key=lambda one: -one["size"])
        known = {one["id"]: one for one in wanted}
        shown = [known[name] for name in asked.page(list(known), 20)]
        waiting = sum(one["state"] == "open" for one in world.discoveries)
        listed = [{**public(one), "photos": one["photos"][:LISTED]} for one in shown]
        return {"total": len(wanted), "open": waiting, "discoveries": listed}
    name = asked.path.removeprefix(f"{DISCOVERIES}/")
    found = next((one for one in world.discoveries if one["id"] == name), None)
    if found is None:
        raise RefusedError(404, "unknown_discovery", f"there is no group {name!r}")
    return public(found) if asked.method == "GET" else decide(world, found, asked.json())


def public(found: JSON) -> JSON:
    """A group without what only the stub server knows of it."""
    return {key: value for key, value in found.items() if key not in ("lost", "in_gallery")}


def decide(world: World, found: JSON, given: JSON) -> JSON:
    action, state = given["action"], found["state"]
    added: list[str] = []
    if action != "reopen" and state != "open":
        raise RefusedError(409, f"already_{state}", "it is decided already")
    if action == "reopen":
        label = found["landmark"]
        own = set(found.pop("in_gallery", []))
        if label in world.landmarks:
            left = [one for one in world.landmarks[label] if one not in own]
            world.landmarks[label] = left
            if not left:
                del world.landmarks[label]
        found.update(state="open", landmark=None, title=None)
    elif action == "dismiss":
        found["state"] = "dismissed"
    else:
        if given.get("version") != found["version"]:
            raise RefusedError(409, "discovery_changed", "it has other photos")
        kept = given.get("keep", range(found["total"]))
        names = [found["photos"][n]["name"] for n in kept]
        added = [f"library/{one}" for one in names if one not in found.get("lost", [])]
        if not added:
            raise RefusedError(409, "no_photos", "none can be used")
        label = given["landmark"]
        world.landmarks.setdefault(label, []).extend(added)
        title = (found["suggestion"] or {}).get("title", "")
        title = title if label == (found["suggestion"] or {}).get("landmark") else ""
        world.titles.setdefault(label, title or label)
        found.update(state="named", landmark=label, title=world.titles[label], in_gallery=added)
    world.generation += 1
    lost = [
        {"photo": one, "reason": "gone", "message": f"{one}: no such file"}
        for one in found.get("lost", [])
        if action == "name"
    ]
    return {
        "discovery": public(found), "added": added, "moved": [], "not_added": lost, "known": False,
        "generation": world.generation,
    }  # fmt: skip
