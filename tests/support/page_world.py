"""A small synthetic world, and the replies of a server whose gallery it is.

The name of a photo decides its answer: "likely", "unsure", "nothing", "elsewhere" (a landmark that
the gallery lacks), "unreadable", "small", "wide", or a landmark.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from PIL import Image as Pillow

from whichlandmark.data.synthetic.families import landmark, landmark_name
from whichlandmark.data.synthetic.photo import landmark_photo
from whichlandmark.data.synthetic.seeded_random import SeededRandom

SEED = 3
PLACES = [(26.9239, 75.8267), (48.8584, 2.2945), (-33.8568, 151.2153), (41.8902, 12.4922)]
JSON = dict[str, Any]


@lru_cache(maxsize=256)
def drawn(number: int, shot: str, side: int = 320) -> bytes:
    """A JPEG of drawn landmark `number`."""
    image = landmark_photo(landmark(SEED, number), SeededRandom(SEED, f"{number} {shot}"), side)
    data = io.BytesIO()
    Pillow.fromarray(image).save(data, "JPEG", quality=88)
    return data.getvalue()


def shape(data: bytes) -> tuple[int, int]:
    with Pillow.open(io.BytesIO(data)) as picture:
        return picture.size


@dataclass
class World:
    """What the server holds, and the requests it got.

    read_key, write_key: the keys it requires; the latter may also read. wrong_keys: how many wrong
    ones a caller may try. config: what differs from the usual configuration. records, credits: what
    differs from the usual record of a landmark, credit of a photo. undo: token → the gallery before
    a removal. delay: seconds that an answer takes.
    """

    read_key: str | None = None
    write_key: str | None = None
    wrong_keys: int = 100
    tiles: JSON | None = None
    config: JSON = field(default_factory=dict)
    landmarks: dict[str, list[str]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    records: dict[str, JSON] = field(default_factory=dict)
    credits: dict[str, JSON] = field(default_factory=dict)
    distractors: list[str] = field(default_factory=lambda: [f"street/{i}.jpg" for i in range(160)])
    undo: dict[str, tuple[dict[str, list[str]], list[str]]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    feedback: list[JSON] = field(default_factory=list)
    discoveries: list[JSON] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)
    down: bool = False
    wait: int = 1
    delay: float = 0
    generation: int = 1

    @classmethod
    def of(cls, count: int, photos: int = 5) -> World:
        world = cls()
        for n in range(count):
            name = landmark_name(SEED, n).lower().replace(" ", "_")
            world.titles[name] = landmark_name(SEED, n)
            world.landmarks[name] = [f"{name}/{i}.jpg" for i in range(photos)]
        return world

    def number(self, name: str) -> int:
        names = list(self.titles)
        return names.index(name) if name in names else len(names)

    def photo(self, photo: str) -> JSON:
        """A ListedPhoto."""
        by_sa = "https://creativecommons.org/licenses/by-sa/4.0/"
        usual = {"author": "Mira Ansel", "licence": "CC BY-SA 4.0", "licence_url": by_sa}
        known = self.credits.get(photo, usual)
        if photo.endswith("/1.jpg") and photo not in self.credits:
            known = {}
        return {
            "id": photo, "thumbnail": f"/v1/photos/{quote(photo, safe='')}/thumbnail",
            "author": "", "licence": "", "licence_url": "", "source": "", **known,
        }  # fmt: skip

    def match(self, name: str, i: int = 0) -> JSON:
        listed = self.photo(self.landmarks[name][i])
        numbers = {"similarity": 0.91 - 0.06 * i, "inliers": max(0, 61 - 20 * i)}
        return {**listed, "landmark": name, **numbers}

    def record(self, name: str, lang: str = "") -> JSON:
        """A LandmarkObject; its title in a language where it has that name."""
        n = self.number(name)
        latitude, longitude = PLACES[n % len(PLACES)]
        title = self.titles.get(name, "")
        names = {"hi": "हवा महल", "ar": "قصر الرياح", "fr": f"{title} (fr)"} if n == 0 else {}
        found: JSON = {
            "landmark": name, "title": title, "names": names, "wikidata": f"Q{9000 + n}",
            "latitude": latitude, "longitude": longitude, "source": "",
            **self.records.get(name, {}),
        }  # fmt: skip
        tags = [tag for tag in (lang, lang.split("-")[0]) if tag in found["names"]]
        return {**found, "title": found["names"][tags[0]] if tags else found["title"]}

    def candidate(self, name: str, confidence: float | None = None, lang: str = "") -> JSON:
        photos = [self.match(name, i) for i in range(min(3, len(self.landmarks[name])))]
        return {**self.record(name, lang), "confidence": confidence, "photos": photos}


# Photo name → decision, confidence of the candidates, words.
ANSWERS: dict[str, tuple[str, list[float], str]] = {
    "nothing": ("no_landmark", [0.004, 0.002], "no landmark that I know"),
    "elsewhere": ("no_landmark", [0.19, 0.08, 0.05], "no landmark that I know"),
    "unsure": ("uncertain", [0.48, 0.31, 0.06], "not sure: {first} or {second}"),
    "likely": ("landmark", [0.71, 0.11, 0.04], "{first}, probably"),
    "": ("landmark", [0.968, 0.012, 0.004], "{first}, almost certainly"),
}


def answer(world: World, photo: str, lang: str = "") -> JSON:
    """ANSWER or FAILURE for a photo of this name."""
    if "unreadable" in photo:
        error = {"code": "unreadable", "message": "this file is not a picture that can be read",
                 "hint": "open it in a viewer, save it as JPEG"}  # fmt: skip
        return {"photo": photo, "error": error}
    names = list(world.landmarks)
    first, second = names[0], names[1]
    decision, confidences, words = next(ANSWERS[kind] for kind in ANSWERS if kind in photo)
    numbers = [*confidences, *[0.001] * (4 - len(confidences)), None]
    candidates = [
        world.candidate(name, number, lang)
        for name, number in zip(names[:5], numbers, strict=False)
    ]
    certain = decision == "landmark"
    return {
        "photo": photo, "decision": decision, "landmark": first if certain else None,
        "guess": first,
        "second": second, "confidence": confidences[0], "score": 3.2,
        "words": words.format(first=candidates[0]["title"], second=candidates[1]["title"]),
        "candidates": candidates,
        "matches": [world.match(first, i) for i in range(2)],
        "landmarks": [{"landmark": first, "box": [0.2, 0.1, 0.8, 0.9]}] if certain else [],
        "warnings": ["this photo is small: 240 pixels"] if "small" in photo else [],
    }  # fmt: skip


def explanation(world: World, photo: str, lang: str = "") -> JSON:
    """The body of POST /v1/explain.

    Where the photo's name says "plain" there are no local features; "alone": one alike photo;
    "changed": the confidence is another one than that of the answer.
    """
    answered = answer(world, photo, lang)
    answered["confidence"] -= 0.1 if "changed" in photo else 0
    first, second = list(world.landmarks)[:2]
    sure, none = answered["decision"] == "landmark", answered["decision"] == "no_landmark"
    counts = [61, 41, 21] if sure else [12, 4, 0] if not none else [3, 4, 5]
    pairs = [
        _pair(world, name, i, None if "plain" in photo else count, alike=not none and name == first)
        for name, i, count in zip((first, first, second), (0, 1, 0), counts, strict=True)
    ]
    rows = [("similarity", 0.91, 2.1, 0.91), ("bank", -0.6, -0.6, 0.4),
            ("inliers", 1.7, 1.7, 55.0), ("score", 3.2, None, None),
            ("confidence", answered["confidence"], None, None)]  # fmt: skip
    parts = [
        {"name": name, "value": value, "contribution": added, "measured": measured, "text": ""}
        for name, value, added, measured in rows
    ]
    distractor = {**world.photo("street/1.jpg"), "landmark": None, "similarity": 0.4,
                  "inliers": None, "licence": "CC0"}  # fmt: skip
    width, height = shape(drawn(0, "query"))
    return {
        "schema": "whichlandmark.answer/1",
        "request_id": "r-why",
        "answer": answered,
        "title": "", "words": "",
        "reasons": {
            "alike": 0 if none else 1 if "alone" in photo else 2, "similarity": 0.91, "lead": 0.3,
            "contrast": "far" if sure else "close", "other": second,
            "details": None if "plain" in photo else max(counts[:2]),
            "other_details": None if "plain" in photo else counts[2],
            "chance": 6, "unlike": "nothing else" in photo, "nothing": None,
        },
        "query": {"width": width, "height": height},
        "pairs": pairs,
        "parts": parts,
        "distractors": [distractor],
    }  # fmt: skip


def _pair(world: World, name: str, i: int, inliers: int | None, *, alike: bool) -> JSON:
    """A compared gallery photo, whose matched points lie in a known pattern."""
    match = {**world.match(name, i), "inliers": inliers}
    width, height = shape(drawn(world.number(name), match["id"]))
    count = inliers if inliers and inliers > 6 else 0
    points = [((7 * k) % 60 / 100 + 0.2, (11 * k) % 70 / 100 + 0.15) for k in range(count)]
    return {
        "photo": match, "width": width, "height": height, "image": match["thumbnail"],
        "preview": match["thumbnail"].replace("/thumbnail", "/preview"),
        "lines": [[x, y, 0.9 * x + 0.05, 0.95 * y] for x, y in points],
        "inliers": inliers or 0, "above_chance": count > 0, "alike": alike, "text": "",
    }  # fmt: skip
