"""The server for assistants: its tools, what it does not read, and a run over its pipes."""

from __future__ import annotations

import base64
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image as Pillow

from tests.support.served_world import copied, front, jpeg, made
from whichlandmark.core.errors import OptionError
from whichlandmark.recognition.folder.edit import remove_photos
from whichlandmark.serving.live_recognizer import LiveRecognizer

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp_types import CallToolResult

from whichlandmark.serving.mcp_server import PhotoAccess, Tools, make_server, serve

Call = Callable[..., CallToolResult]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, and with what must not be read."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "one.jpg").write_bytes(jpeg(front(1, 9)))
    (folder / "none.jpg").write_bytes(jpeg(front(70, 0)))
    (folder / "Été au café.jpg").write_bytes(jpeg(front(1, 8)))
    (folder / "text.jpg").write_text("no photo at all, but words")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "one.jpg").write_bytes(jpeg(front(1, 9)))
    os.mkfifo(folder / "pipe.jpg")
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.jpg").write_bytes(jpeg(front(1, 9)))
    (folder / "link.jpg").symlink_to(outside / "secret.jpg")
    return folder


@pytest.fixture(scope="module")
def call(photos: Path) -> Iterator[Call]:
    """Calls a tool of a server in this process."""
    live = LiveRecognizer(made())
    server = make_server(Tools(live, PhotoAccess([photos])))

    def run(tool: str, **arguments: Any) -> CallToolResult:
        async def inside() -> CallToolResult:
            async with Client(server) as client:
                return await client.call_tool(tool, arguments)

        return anyio.run(inside)

    yield run
    live.close()


def texts(result: CallToolResult) -> list[str]:
    return [one.text for one in result.content if one.type == "text"]


def test_a_photo_is_named_with_the_answer_of_every_interface(call: Call, photos: Path) -> None:
    result = call("recognize_landmark", photo=str(photos / "one.jpg"), language="fr")
    assert not result.is_error
    answer = result.structured_content
    assert answer is not None
    assert (answer["decision"], answer["landmark"]) == ("landmark", "place 1")
    assert (answer["schema"], answer["photo"]) == ("whichlandmark.answer/1", "one.jpg")
    best = answer["candidates"][0]
    assert (best["title"], best["wikidata"]) == ("Première Place", "Q243")
    assert answer["matches"][0]["author"] == "A. Author"
    assert len(texts(result)) == 1
    assert "First Place" in texts(result)[0]


def test_no_landmark_is_said_and_no_picture_is_shown(call: Call, photos: Path) -> None:
    result = call("explain_landmark", photo=str(photos / "none.jpg"))
    answer = result.structured_content
    assert answer is not None
    assert (answer["decision"], answer["landmark"]) == ("no_landmark", None)
    assert texts(result)[0].startswith("Why no landmark?")
    assert [one.type for one in result.content] == ["text", "text"]


def test_an_explanation_shows_both_photos_with_lines_and_credits(call: Call, photos: Path) -> None:
    result = call("explain_landmark", photo=str(photos / "one.jpg"))
    images = [one for one in result.content if one.type == "image"]
    assert len(images) == 2
    picture = Pillow.open(io.BytesIO(base64.b64decode(images[0].data)))
    assert (picture.format, picture.width) == ("JPEG", 960)
    found = texts(result)
    assert found[0].startswith("Why First Place? Your photo looks like")
    assert "details agree. Photo: A. Author, CC BY 4.0." in found[2]


def test_photos_come_as_a_data_uri_or_a_file_uri_too(call: Call, photos: Path) -> None:
    data = base64.b64encode((photos / "one.jpg").read_bytes()).decode()
    for photo in (f"data:image/jpeg;base64,{data}", (photos / "Été au café.jpg").as_uri()):
        answer = call("recognize_landmark", photo=photo).structured_content
        assert answer is not None
        assert answer["landmark"] == "place 1"


@pytest.mark.parametrize(
    ("photo", "said"),
    [
        ("/etc/passwd", "not a visible file below"),
        ("{photos}/../secret.jpg", "not a visible file below"),
        ("{photos}/link.jpg", "not a visible file below"),
        ("{photos}/.hidden/one.jpg", "not a visible file below"),
        ("file:///etc/hostname", "not a visible file below"),
        ("{photos}/pipe.jpg", "no file; expected a photo"),
        ("{photos}", "no file; expected a photo"),
        ("{photos}/nowhere.jpg", "No such file"),
        ("{photos}/text.jpg", "text.jpg: its content: text"),
        ("https://example.org/a.jpg", "expected the path of a photo on this machine"),
        ("data:image/jpeg,abc", "without ;base64"),
        ("data:image/jpeg;base64,§", "not valid base64"),
        ("one\0.jpg", "not a path of a photo"),
    ],
)
def test_what_may_not_or_cannot_be_read_is_told(
    call: Call, photos: Path, photo: str, said: str
) -> None:
    result = call("recognize_landmark", photo=photo.replace("{photos}", str(photos)))
    assert result.is_error
    assert said in texts(result)[0]
    assert "Traceback" not in texts(result)[0]


def test_landmarks_are_listed_searched_and_cut_into_pages(call: Call) -> None:
    everything = call("list_landmarks").structured_content
    assert everything is not None
    assert everything["total"] == 4
    one = call("list_landmarks", query="premiere", language="fr")
    assert texts(one) == ["1 landmarks, 1 to 1: Première Place"]
    page = call("list_landmarks", offset=3, limit=2).structured_content
    assert page is not None
    assert len(page["landmarks"]) == 1
    assert call("list_landmarks", limit=1000).is_error


def test_a_change_of_the_gallery_is_seen(tmp_path: Path, photos: Path) -> None:
    folder = copied(tmp_path)
    live = LiveRecognizer(folder)
    try:
        tools = Tools(live, PhotoAccess([photos]))
        before = tools.landmarks("", "", 0, 50).structured_content
        assert before is not None
        remove_photos(folder, [], "place 1")
        live.refresh()
        after = tools.landmarks("", "", 0, 50).structured_content
        assert after is not None
        assert (before["total"], after["total"]) == (4, 3)
    finally:
        live.close()


def test_a_folder_of_photos_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="expected a folder that exists"):
        serve(made(), [tmp_path / "nowhere"])


@pytest.mark.server
def test_a_program_starts_the_command_and_talks_over_its_pipes(photos: Path) -> None:
    arguments = ["-m", "whichlandmark", "mcp", "-r", str(made()), "--photos", str(photos)]
    command = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))

    async def inside() -> tuple[list[str], CallToolResult]:
        async with Client(command) as client:
            listed = [tool.name for tool in (await client.list_tools()).tools]
            photo = str(photos / "one.jpg")
            return listed, await client.call_tool("recognize_landmark", {"photo": photo})

    listed, result = anyio.run(inside)
    assert listed == ["recognize_landmark", "explain_landmark", "list_landmarks"]
    assert result.structured_content is not None
    assert result.structured_content["landmark"] == "place 1"
