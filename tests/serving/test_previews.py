"""Previews of gallery photos: their size, without metadata, never of another file."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image as Pillow

from tests.support.served_world import copied, front, jpeg, with_gps
from whichlandmark.core.types import Photo, Photos
from whichlandmark.data.folders import read_folder
from whichlandmark.gallery.sqlite.store import SqliteGallery
from whichlandmark.recognition.indexing.index_photos import IndexOptions, index_photos
from whichlandmark.serving.engine import Engine
from whichlandmark.serving.options import ServeOptions
from whichlandmark.serving.server import create_app

SIDEWAYS = 6  # EXIF orientation
THUMBNAIL_SIDE = 200


def large(seed: int) -> Pillow.Image:
    """A painted front of 1440 × 1080 pixels."""
    return front(seed, 0).resize((1440, 1080))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recognizer of photos in several formats, and their files."""
    root = tmp_path_factory.mktemp("previews")
    photos = root / "photos" / "tower"
    photos.mkdir(parents=True)
    (photos / "jpeg.jpg").write_bytes(jpeg(large(1)))
    (photos / "turned.jpg").write_bytes(with_gps(large(2), "a secret place", SIDEWAYS))
    for form in ("png", "webp", "gif"):
        large(3).save(photos / f"{form}.{form}")
    (photos / "small.jpg").write_bytes(jpeg(front(4, 0).resize((120, 90))))
    (photos / "gone.jpg").write_bytes(jpeg(large(5)))
    (photos / "replaced.jpg").write_bytes(jpeg(large(6)))
    index_photos(
        read_folder(root / "photos"), None, root / "r.wl", "sift",
        progress=lambda name: lambda *numbers: None,
    )  # fmt: skip
    (photos / "gone.jpg").unlink()
    (photos / "replaced.jpg").write_bytes(jpeg(Pillow.new("RGB", (900, 900), "red")))
    return root / "r.wl"


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    engine = Engine(folder, ServeOptions(workers=1))
    with TestClient(create_app(engine), base_url="http://localhost") as opened:
        yield opened


def address(photo_id: str) -> str:
    return f"/v1/photos/{quote(photo_id, safe='')}/preview"


def picture(data: bytes) -> Pillow.Image:
    opened = Pillow.open(io.BytesIO(data))
    assert opened.format == "JPEG"
    assert dict(opened.getexif()) == {}
    assert not {"exif", "comment", "icc_profile"} & set(opened.info)
    return opened


@pytest.mark.parametrize(
    ("name", "side", "size"),
    [("jpeg.jpg", 640, (640, 480)), ("jpeg.jpg", 64, (64, 48)), ("jpeg.jpg", 2048, (1440, 1080)),
     ("turned.jpg", 640, (480, 640)), ("png.png", 640, (640, 480)), ("webp.webp", 640, (640, 480)),
     ("gif.gif", 640, (640, 480)), ("small.jpg", 640, (120, 90))],
)  # fmt: skip
def test_a_preview_has_the_photo_at_the_size_asked_for(
    client: TestClient, name: str, side: int, size: tuple[int, int]
) -> None:
    reply = client.get(address(f"photos/tower/{name}"), params={"side": side})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "image/jpeg")
    shown = picture(reply.content)
    assert shown.size == size
    assert b"secret" not in reply.content
    if name == "jpeg.jpg" and side == 640:
        wanted = np.asarray(large(1).resize(size), dtype=int)
        assert np.abs(np.asarray(shown, dtype=int) - wanted).mean() < 4
        assert client.get(address(f"photos/tower/{name}")).content == reply.content  # the default


def test_a_photo_that_is_gone_or_another_one_by_now_is_shown_by_its_thumbnail(
    client: TestClient,
) -> None:
    for name, seed in (("gone.jpg", 5), ("replaced.jpg", 6)):
        reply = client.get(address(f"photos/tower/{name}"))
        shown = picture(reply.content)
        assert shown.size == (THUMBNAIL_SIDE, 150)
        wanted = np.asarray(large(seed).resize(shown.size), dtype=int)
        assert np.abs(np.asarray(shown, dtype=int) - wanted).mean() < 12
        assert "no-cache" in reply.headers["cache-control"]  # the file may come back
        small = client.get(address(f"photos/tower/{name}"), params={"side": 64})
        assert picture(small.content).size == (64, 48)


def test_a_browser_keeps_a_preview_by_its_etag(client: TestClient) -> None:
    url = address("photos/tower/jpeg.jpg")
    first = client.get(url)
    tag = first.headers["etag"]
    assert first.headers["cache-control"].startswith("private")
    again = client.get(url, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == tag
    head = client.head(url)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", tag)
    assert head.headers["content-type"] == "image/jpeg"
    other = client.get(url, params={"side": 320}, headers={"If-None-Match": tag})
    assert (other.status_code, picture(other.content).size) == (200, (320, 240))


@pytest.mark.parametrize("side", ["63", "2049", "0", "-1", "x", "6e2", ""])
def test_sides_outside_of_the_limits_are_refused(client: TestClient, side: str) -> None:
    reply = client.get(address("photos/tower/jpeg.jpg"), params={"side": side})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid")
    assert "side" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    "photo_id", ["nobody", "../r.wl/gallery.sqlite", "/etc/passwd", "photos/tower", "photos/../x"]
)
def test_only_photos_of_the_gallery_have_a_preview(client: TestClient, photo_id: str) -> None:
    reply = client.get(address(photo_id))
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "unknown_photo")


def test_a_path_that_names_no_photo_is_never_served(tmp_path: Path) -> None:
    """Also where a gallery from elsewhere says that a photo is another file of this machine."""
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    other = tmp_path / "other.jpg"
    other.write_bytes(jpeg(Pillow.new("RGB", (900, 900), "red")))
    folder = copied(tmp_path)
    with SqliteGallery.open(folder / "gallery.sqlite") as gallery:
        rows = [row for _, row in gallery.rows_after(-1, 3)]
        ids = [row.id for row in rows]
        paths = [str(secret), str(other), "/dev/zero"]
        gallery.put([replace(row, path=path) for row, path in zip(rows, paths, strict=True)])
    with TestClient(
        create_app(Engine(folder, ServeOptions(workers=1))), base_url="http://localhost"
    ) as client:
        for photo_id in ids:
            reply = client.get(address(photo_id))
            assert picture(reply.content).size == (THUMBNAIL_SIDE, 150)
            assert b"secret" not in reply.content
            red = np.asarray(picture(reply.content))[..., 0].mean()
            assert red < 250


def test_an_added_photo_is_found_where_its_folder_is_now(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    engine = Engine(folder, ServeOptions(workers=1))
    with TestClient(create_app(engine), base_url="http://localhost") as client:
        sent = {"photos": ("a.jpg", with_gps(large(9), "a secret place"))}
        (added,) = client.post("/v1/landmarks/new/photos", files=sent).json()["added"]
        assert picture(client.get(address(added)).content).size == (640, 480)
    moved = tmp_path / "moved.wl"
    shutil.move(folder, moved)
    with TestClient(
        create_app(Engine(moved, ServeOptions(workers=1))), base_url="http://localhost"
    ) as client:
        reply = client.get(address(added))
        assert picture(reply.content).size == (640, 480)
        (file,) = (moved / "photos").glob("*.jpg")
        file.write_bytes(jpeg(Pillow.new("RGB", (900, 900), "red")))
        assert picture(client.get(address(added)).content).size == (THUMBNAIL_SIDE, 150)


def test_a_photo_without_file_and_thumbnail_has_no_preview(tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.jpg" for seed in range(4)]
    for seed, path in enumerate(paths):
        path.write_bytes(jpeg(front(0, seed)))
    index_photos(
        Photos.of([Photo(path.stem, path, "place") for path in paths]), None, tmp_path / "r.wl",
        "sift", IndexOptions(features=False), progress=lambda name: lambda *numbers: None,
    )  # fmt: skip
    with TestClient(
        create_app(Engine(tmp_path / "r.wl", ServeOptions(workers=1))), base_url="http://localhost"
    ) as client:
        assert picture(client.get(address("0")).content).size == (360, 270)
        paths[0].unlink()
        reply = client.get(address("0"))
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "no_thumbnail")
        assert "no thumbnail" in reply.json()["error"]["message"]


def test_the_published_schema_describes_previews(client: TestClient) -> None:
    route = client.get("/openapi.json").json()["paths"]["/v1/photos/{photo_id}/preview"]["get"]
    (side,) = [one for one in route["parameters"] if one["name"] == "side"]
    assert (side["schema"]["minimum"], side["schema"]["maximum"]) == (64, 2048)
    assert side["schema"]["default"] == 640
    assert {"200", "304", "401", "404", "422"} <= set(route["responses"])
    assert set(route["responses"]["200"]["content"]) == {"image/jpeg"}
