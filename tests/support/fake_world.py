"""What a fake Wikimedia knows: files of Commons, categories, items of Wikidata; and their pictures.

A `World` holds no photos, only what to draw. A picture is drawn when it is first asked for, and
kept as a file in a folder of this process.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import math
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from PIL import Image as Pillow
from PIL import ImageOps

from whichlandmark.data.synthetic.distractors import scene_photo
from whichlandmark.data.synthetic.families import landmark
from whichlandmark.data.synthetic.photo import landmark_photo, photo_shape
from whichlandmark.data.synthetic.seeded_random import SeededRandom

EARTH = "http://www.wikidata.org/entity/Q2"
STANDARD_WIDTHS = (20, 40, 60, 120, 250, 330, 500, 960, 1280, 1920, 3840)
EXACT_UP_TO = 1280  # pixels of width: wider originals have an invented sha1, they are not drawn
_drawing = threading.Lock()


def metres(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The distance of two places (latitude, longitude) on the ground."""
    (la, lo), (lb, lp) = ((math.radians(x), math.radians(y)) for x, y in (a, b))
    half = math.sin((lb - la) / 2) ** 2 + math.cos(la) * math.cos(lb) * math.sin((lp - lo) / 2) ** 2
    return 2 * 6_371_008.8 * math.asin(min(1.0, math.sqrt(half)))


@dataclass(frozen=True)
class Drawing:
    """What a photo shows: landmark `number` (−1: a scene without one) of the world `seed`.

    Photos with equal `key` are the same picture. second: another landmark beside it. cropped:
    the picture without its edges. side: pixels of the long side that are drawn; larger pictures are
    enlarged from that.
    """

    seed: int
    number: int
    key: str
    side: int
    second: int = -1
    cropped: bool = False
    indoor: bool = False

    def shape(self) -> float:
        """Height / width as it will be drawn; 0 of a scene, which is not known before."""
        if self.number < 0:
            return 0.0
        first = self._shape(self.number, f"fake {self.key}")
        if self.second < 0:
            return first
        return _joined_shape(first, self._shape(self.second, f"fake second {self.key}"))

    def _shape(self, number: int, key: str) -> float:
        model = landmark(self.seed, number).model
        width, _, height = (float(b - a) for a, b in zip(model.low, model.high, strict=True))
        tall, wide = photo_shape(SeededRandom(self.seed, key), self.side, height / width)
        return tall / wide

    def pixels(self) -> Pillow.Image:
        rng = SeededRandom(self.seed, f"fake {self.key}")
        if self.number < 0:
            scene = scene_photo("indoor" if self.indoor else "anything", rng, self.side)
            return Pillow.fromarray(scene)
        photo = landmark_photo(landmark(self.seed, self.number), rng, self.side)
        image = Pillow.fromarray(photo)
        if self.second >= 0:
            rng = SeededRandom(self.seed, f"fake second {self.key}")
            photo = landmark_photo(landmark(self.seed, self.second), rng, self.side)
            image = _joined(image, Pillow.fromarray(photo))
        if self.cropped:
            edge = max(2, self.side // 30)
            image = image.crop((edge, edge, image.width - 2 * edge, image.height - edge))
        return image


def _joined_shape(first: float, second: float) -> float:
    """Height / width of two pictures side by side, or one above the other if that is too flat."""
    beside = 1 / (1 / first + 1 / second)
    return beside if beside >= 0.5 else first + second


def _joined(first: Pillow.Image, second: Pillow.Image) -> Pillow.Image:
    shapes = [image.height / image.width for image in (first, second)]
    if 1 / (1 / shapes[0] + 1 / shapes[1]) >= 0.5:
        second = second.resize((round(first.height / shapes[1]), first.height))
        whole = Pillow.new("RGB", (first.width + second.width, first.height))
        whole.paste(second, (first.width, 0))
    else:
        second = second.resize((first.width, round(first.width * shapes[1])))
        whole = Pillow.new("RGB", (first.width, first.height + second.height))
        whole.paste(second, (0, first.height))
    whole.paste(first, (0, 0))
    return whole


@lru_cache(maxsize=1)
def _folder() -> Path:
    made = Path(tempfile.mkdtemp(prefix="fake-wikimedia-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@lru_cache(maxsize=64)
def _drawn(drawing: Drawing) -> Pillow.Image:
    return drawing.pixels()


def picture(drawing: Drawing, size: tuple[int, int], kind: str = "JPEG") -> bytes:
    """The file of a drawing, `size` (width, height) pixels."""
    name = hashlib.sha1(f"{drawing} {size} {kind}".encode()).hexdigest()
    path = _folder() / name
    with _drawing:
        if not path.exists():
            data = io.BytesIO()
            resized = ImageOps.fit(_drawn(drawing), size, Pillow.Resampling.BILINEAR)
            resized.save(data, kind, **({"quality": 88} if kind != "PNG" else {}))
            path.write_bytes(data.getvalue())
    return path.read_bytes()


@dataclass
class FakeFile:
    """A file of Commons.

    Attributes:
        categories, depicts: names without prefix; items.
        camera: (latitude, longitude) of the camera position.
        about: `extmetadata`, name → value as HTML.
        state: "" or what is odd: "missing" (no page), "filemissing" (a page without a file),
            "filehidden", "userhidden", "thumberror", "nothumb" (a width is asked for, and no
            `thumburl` comes).
        statements: what a file without depicts says: "virtual" (no entity) or "empty" ([]).
        body: other bytes than the drawn ones, as original and as thumbnail.
        sha1_said: another sum than that of the bytes.
    """

    pageid: int
    title: str
    drawing: Drawing
    width: int
    height: int
    uploader: str = "Mira Ansel"
    timestamp: str = "2019-05-04T10:20:30Z"
    mime: str = "image/jpeg"
    categories: tuple[str, ...] = ()
    depicts: tuple[str, ...] = ()
    camera: tuple[float, float] | None = None
    about: dict[str, str] = field(default_factory=dict)
    state: str = ""
    statements: Literal["virtual", "empty"] = "virtual"
    body: bytes | None = None
    sha1_said: str = ""
    ns: int = 6

    @property
    def key(self) -> str:
        """The name in addresses, not yet quoted."""
        return self.title.removeprefix("File:").replace(" ", "_")

    @property
    def exact(self) -> bool:
        return self.width <= EXACT_UP_TO and self.mime in ("image/jpeg", "image/png", "image/webp")

    def bytes_at(self, width: int | None = None) -> bytes:
        """The original, or a thumbnail of a width."""
        if self.body is not None:
            return self.body
        if not self.mime.startswith("image/") and width is None:
            return b"%PDF-1.4 not drawn\n" if "pdf" in self.mime else b"OggS not sung\n"
        wide = min(self.width, width or EXACT_UP_TO) or 960
        tall = max(1, round(wide * self.height / max(1, self.width))) if self.height else wide
        kind = {"image/png": "PNG", "image/webp": "WEBP", "image/tiff": "TIFF"}.get(self.mime)
        if width is not None and self.mime == "image/tiff":
            kind = "JPEG"
        if self.mime == "image/svg+xml":
            if width is None:
                return b'<svg xmlns="http://www.w3.org/2000/svg"/>\n'
            kind = "PNG"
        return picture(self.drawing, (wide, tall), kind or "JPEG")

    @property
    def sha1(self) -> str:
        if self.sha1_said:
            return self.sha1_said
        original = self.bytes_at() if self.exact else f"{self.title} {self.drawing}".encode()
        return hashlib.sha1(original).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of the original."""
        return len(self.bytes_at()) if self.exact else self.width * self.height // 4

    def place(self, *, thumb: int | None = None) -> str:
        """The path of the original, or of the thumbnail of a standard width."""
        digest = hashlib.md5(self.key.encode()).hexdigest()
        name = quote(self.key, safe="-_.~")
        folder = f"{digest[0]}/{digest[:2]}/{name}"
        if thumb is None:
            return f"/wikipedia/commons/{folder}"
        short = name if len(self.key.encode()) <= 160 else f"thumbnail.{self.key.rsplit('.')[-1]}"
        before = {"image/tiff": "lossy-page1-", "application/pdf": "page1-"}.get(self.mime, "")
        after = {"image/tiff": ".jpg", "application/pdf": ".jpg", "image/svg+xml": ".png"}
        return (
            f"/wikipedia/commons/thumb/{folder}/{before}{thumb}px-{short}{after.get(self.mime, '')}"
        )

    def upload_again(self) -> None:
        """A new version of the file: another picture, another sum, a later date."""
        self.drawing = replace(self.drawing, key=f"{self.drawing.key} again")
        self.timestamp = "2026-10-01T08:00:00Z"


@dataclass
class FakeCategory:
    """A category of Commons. item: the Wikidata item that its page is linked to."""

    pageid: int
    name: str
    parents: tuple[str, ...] = ()
    item: str = ""
    hidden: bool = False
    ns: int = 14

    @property
    def title(self) -> str:
        return f"Category:{self.name}"

    @property
    def categories(self) -> tuple[str, ...]:
        return self.parents


Page = FakeFile | FakeCategory


@dataclass(frozen=True)
class Claim:
    """A statement. value: an item, file name or code (str), or a place (latitude, longitude).

    ended: it has an end (P582), as what was so in former times.
    """

    prop: str
    value: Any = None
    rank: str = "normal"
    snak: str = "value"
    globe: str = EARTH
    ended: bool = False

    def snak_json(self) -> dict[str, Any]:
        """The main snak as the API writes it."""
        found: dict[str, Any] = {"snaktype": self.snak, "property": self.prop}
        if self.snak != "value":
            return found
        if isinstance(self.value, tuple):
            latitude, longitude = self.value
            value: Any = {"latitude": latitude, "longitude": longitude, "altitude": None,
                          "precision": 0.0001, "globe": self.globe}  # fmt: skip
            kind = "globecoordinate"
        elif self.value[:1] == "Q" and self.value[1:].isdecimal():
            value = {"entity-type": "item", "numeric-id": int(self.value[1:]), "id": self.value}
            kind = "wikibase-entityid"
        else:
            value, kind = self.value, "string"
        return {**found, "datavalue": {"value": value, "type": kind}}


@dataclass
class FakeItem:
    """An item of Wikidata. redirect: the item it was merged into. deleted: it existed once."""

    id: str
    labels: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    sitelinks: dict[str, str] = field(default_factory=dict)
    redirect: str = ""
    deleted: bool = False

    def truthy(self, prop: str) -> list[Claim]:
        """The preferred statements, else the normal ones; never deprecated ones."""
        for rank in ("preferred", "normal"):
            found = [one for one in self.claims if (one.prop, one.rank) == (prop, rank)]
            if found:
                return found
        return []

    def values(self, prop: str) -> list[Any]:
        return [one.value for one in self.truthy(prop) if one.snak == "value"]


@dataclass
class World:
    """All that a fake server serves.

    redirects: title → title, of Commons. landmarks: items that an import should find, most linked
    first. traps: what is odd → the file.
    """

    files: list[FakeFile] = field(default_factory=list)
    categories: dict[str, FakeCategory] = field(default_factory=dict)
    items: dict[str, FakeItem] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    city: str = "Q90001"
    centre: tuple[float, float] = (44.5, -20.25)
    landmarks: tuple[str, ...] = ()
    traps: dict[str, FakeFile] = field(default_factory=dict)
    _by_id: dict[int, Page] = field(default_factory=dict)
    _by_title: dict[str, Page] = field(default_factory=dict)
    _by_category: dict[str, list[Page]] = field(default_factory=dict)

    def freeze(self) -> None:
        """Look pages up by tables from now on; the files and their categories stay as they are."""
        for one in self._pages():
            for name in one.categories:
                self._by_category.setdefault(name, []).append(one)
        self._by_title = {one.title: one for one in self._pages()}
        self._by_id = {one.pageid: one for one in self._pages()}

    def page(self, title: str) -> Page | None:
        if self._by_title:
            return self._by_title.get(title)
        return next((one for one in self._pages() if one.title == title), None)

    def page_of_id(self, pageid: int) -> Page | None:
        if self._by_id:
            return self._by_id.get(pageid)
        return next((one for one in self._pages() if one.pageid == pageid), None)

    def file(self, text: str) -> FakeFile:
        """The only file whose title has this text."""
        (found,) = [one for one in self.files if text in one.title]
        return found

    def members(self, category: str) -> tuple[list[FakeCategory], list[FakeFile]]:
        """Subcategories and files, by their sort keys."""
        pages = self._by_category.get(category, []) if self._by_id else [
            one for one in self._pages() if category in one.categories
        ]  # fmt: skip
        inner = [one for one in pages if isinstance(one, FakeCategory)]
        files = [one for one in pages if isinstance(one, FakeFile)]
        return sorted(inner, key=lambda c: c.title.upper()), sorted(files, key=sort_key)

    def _pages(self) -> Iterator[Page]:
        yield from (one for one in self.files if one.state != "missing")
        yield from self.categories.values()

    def classes(self, item: str) -> set[str]:
        """The classes of an item: P31, and their P279 upwards."""
        return set(self.upwards(self.items[item].values("P31"), "P279"))

    def within(self, item: str, place: str) -> bool:
        return place in self.upwards([item], "P131")

    def within_steps(self, item: str, prop: str, steps: int) -> set[str]:
        """The item, and all that it reaches in so many steps."""
        found = {item}
        for _ in range(steps):
            known = [self.items[one] for one in found if one in self.items]
            found |= {above for one in known for above in one.values(prop)}
        return found

    def upwards(self, start: list[str], prop: str) -> Iterator[str]:
        queue, seen = list(start), set()
        while queue:
            one = queue.pop()
            if one in seen:
                continue
            seen.add(one)
            yield one
            if one in self.items:
                queue += self.items[one].values(prop)


def sort_key(file: FakeFile) -> tuple[str, int]:
    return file.title.upper(), file.pageid
