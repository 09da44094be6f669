"""A server of the Model Context Protocol: assistants recognize and explain photos of this machine.

It speaks over stdin and stdout with the program that started it, and opens no port. Its three tools
give the same answers as every other interface.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ContentBlock, ImageContent, TextContent, ToolAnnotations
from pydantic import Field

import whichlandmark

from ..core.errors import OptionError, WhichLandmarkError
from ..core.files import valid_text
from ..core.hardware import max_file_bytes
from ..core.images import jpeg
from ..gallery.records import Credit
from ..recognition.answer import answer_and_confidence, answer_object
from ..recognition.explanation.drawing import (
    MAX_WIDTH,
    Explanation,
    inlier_text,
    load_small_photo,
    pair_picture,
)
from ..recognition.explanation.explain import explain_answer
from ..recognition.predictions import prediction
from . import gallery_browsing
from .live_recognizer import LiveRecognizer

MAX_LANDMARKS = 200  # listed at once

PICTURES = 2  # photos of the gallery beside which `explain_landmark` draws the photo

INSTRUCTIONS = (
    "Names the landmark that a photo shows, by comparing it with the photos of a gallery on this "
    "machine. Most photos show no landmark of the gallery, and the answer then says so: do not "
    "name another landmark from the nearest photos. The confidence is a calibrated probability. "
    "Give the credit of a gallery photo (author, licence) wherever you show it."
)

RECOGNIZE = (
    "Name the landmark in a photo, or say that it shows none of the gallery. The structured result "
    "has the decision (landmark, uncertain, no_landmark), the confidence, candidates with title, "
    "Wikidata id and coordinates, boxes in shares of the photo, and the nearest gallery photos "
    "with their credits."
)

EXPLAIN = (
    "Explain the answer to a photo: sentences, and pictures of the photo beside gallery photos, "
    "with lines between details that agree."
)

LIST = "List the landmarks of the gallery, with their names, coordinates and number of photos."

PhotoArgument = Annotated[
    str,
    Field(
        description="Path of a photo on this machine, or its bytes as data:image/jpeg;base64,…",
        min_length=1,
    ),
]

Language = Annotated[
    str, Field(description="BCP 47 tag of the names in the answer, such as fr; empty = any.")
]

READ_ONLY = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)


class PhotoAccess:
    """Which files of this machine an assistant may have read.

    A prompt that the assistant was fed may ask for any file, so only photos below some folders are
    read, no hidden file or folder, and nothing but regular files.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        """Raises OptionError for a folder that does not exist."""
        for folder in folders:
            if not folder.is_dir():
                raise OptionError(f"--photos {folder} given; expected a folder that exists")
        self.folders = [Path(os.path.realpath(folder)) for folder in folders]

    def read(self, photo: str) -> tuple[str, bytes]:
        """The name and the bytes of a photo.

        Args:
            photo: A path, a file: URI or a data: URI.

        Raises:
            ToolError: When it may not be read, or cannot be.
        """
        if photo[:5].lower() == "data:":
            return "photo", _bytes_of_data_uri(photo)
        if photo[:7].lower() == "file://":
            photo = unquote(urlsplit(photo).path)
        elif "://" in photo:
            raise ToolError("an address given; expected the path of a photo on this machine")
        if "\0" in photo:
            raise ToolError("a text with a zero byte given; it is not a path of a photo")
        path = Path(os.path.realpath(os.path.expanduser(photo)))
        shown = valid_text(photo)
        inside = [path.relative_to(f) for f in self.folders if path.is_relative_to(f)]
        if not inside or all(any(part.startswith(".") for part in one.parts) for one in inside):
            allowed = ", ".join(str(folder) for folder in self.folders)
            raise ToolError(
                f"{shown}: not read, because it is not a visible file below {allowed}; start the "
                "server with --photos FOLDER to let it read other photos"
            )
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise ToolError(f"{shown}: no file; expected a photo")
            with open(path, "rb") as file:
                data = file.read(max_file_bytes() + 1)
        except OSError as error:
            raise ToolError(f"{shown}: {error.strerror or error}") from None
        return valid_text(path.name), data


def _bytes_of_data_uri(uri: str) -> bytes:
    head, _, text = uri.partition(",")
    if not head.lower().endswith(";base64"):
        raise ToolError("a data: URI without ;base64 given; expected data:image/jpeg;base64,…")
    if len(text) > max_file_bytes() / 3 * 4 + 4:
        raise ToolError(f"more than {max_file_bytes() / 1e6:.0f} MB given; send a smaller photo")
    try:
        return base64.b64decode(unquote(text), validate=True)
    except (binascii.Error, ValueError):
        raise ToolError("the data: URI is not valid base64") from None


class Tools:
    """What the tools do, with a recognizer that is replaced when its gallery changes."""

    def __init__(self, live: LiveRecognizer, access: PhotoAccess) -> None:
        self._live, self._access = live, access

    def recognize(self, photo: str, language: str) -> CallToolResult:
        """The answer to one photo, as a sentence and as the object that every interface gives."""
        name, data = self._access.read(photo)
        with self._live.use() as opened, _told(name):
            found = opened.recognizer(data, evidence=True)
            answer = answer_object(name, found, opened.facts, language=language)
        return _result([answer_and_confidence(found, opened.facts.titles)], answer)

    def explain(self, photo: str, language: str) -> CallToolResult:
        """Why a photo is answered so: sentences, and it beside the nearest photos of the guess."""
        name, data = self._access.read(photo)
        with self._live.use() as opened, _told(name):
            recognizer = opened.recognizer
            read = recognizer.read(data)
            answers = recognizer.answer(recognizer.embed([read]), evidence=True)
            shown = explain_answer(recognizer, answers, 0, read, name=name, language=language)
            answer = answer_object(name, prediction(answers, 0), opened.facts, language=language)
            return _result([f"{shown.title} {shown.why}", shown.words], answer, _pictures(shown))

    def landmarks(self, query: str, language: str, offset: int, limit: int) -> CallToolResult:
        """The landmarks of the gallery that a query finds, or all of them."""
        with self._live.use() as opened:
            found = gallery_browsing.landmarks(opened, query, offset, limit, language)
        names = [one["title"] or one["landmark"] for one in found["landmarks"]]
        which = f", {offset + 1} to {offset + len(names)}: {', '.join(names)}" if names else ""
        return _result([f"{found['total']} landmarks{which}"], found)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What is wrong with a photo reaches the assistant in words, not as a crash."""
    try:
        yield
    except WhichLandmarkError as error:
        raise ToolError(f"{name}: {str(error).removeprefix('photo: ')}") from None


def _result(
    texts: Sequence[str], found: Mapping[str, Any], pictures: Sequence[ContentBlock] = ()
) -> CallToolResult:
    content: list[ContentBlock] = [TextContent(type="text", text=text) for text in texts if text]
    return CallToolResult(content=[*content, *pictures], structured_content=dict(found))


def _pictures(shown: Explanation) -> list[ContentBlock]:
    """The photo beside the photos of the guess, each with its credit; none without a landmark."""
    blocks: list[ContentBlock] = []
    if shown.decision == "no_landmark":
        return blocks
    query = load_small_photo(shown.photo, shown.shape)
    for reference in [one for one in shown.references if one.landmark == shown.guess][:PICTURES]:
        other = load_small_photo(reference.path, reference.shape)
        if query is None or other is None:
            continue
        picture = jpeg(pair_picture(query, other, reference), 2 * MAX_WIDTH)
        image = base64.b64encode(picture).decode()
        blocks.append(ImageContent(type="image", data=image, mime_type="image/jpeg"))
        credit = shown.credits.get(reference.photo_id, Credit("", ""))
        by = ", ".join(part for part in (credit.author, credit.licence, credit.source) if part)
        text = f"Right: gallery photo {reference.photo_id}; {inlier_text(reference)}."
        blocks.append(TextContent(type="text", text=text + (f" Photo: {by}." if by else "")))
    return blocks


def make_server(tools: Tools) -> MCPServer[Any]:
    """The server with its three tools."""
    server = MCPServer(
        "whichlandmark",
        instructions=INSTRUCTIONS,
        version=whichlandmark.__version__,
        log_level="WARNING",
    )

    @server.tool(title="Which landmark is in this photo?", description=RECOGNIZE,
                 annotations=READ_ONLY)  # fmt: skip
    async def recognize_landmark(photo: PhotoArgument, language: Language = "") -> CallToolResult:
        return await anyio.to_thread.run_sync(tools.recognize, photo, language)

    @server.tool(title="Why this landmark?", description=EXPLAIN, annotations=READ_ONLY)
    async def explain_landmark(photo: PhotoArgument, language: Language = "") -> CallToolResult:
        return await anyio.to_thread.run_sync(tools.explain, photo, language)

    @server.tool(title="Which landmarks are known?", description=LIST, annotations=READ_ONLY)
    async def list_landmarks(
        query: Annotated[str, Field(description="Part of a name; empty = all.")] = "",
        language: Language = "",
        offset: Annotated[int, Field(ge=0, description="Landmarks to leave out.")] = 0,
        limit: Annotated[int, Field(ge=1, le=MAX_LANDMARKS, description="The most to list.")] = 50,
    ) -> CallToolResult:
        return await anyio.to_thread.run_sync(tools.landmarks, query, language, offset, limit)

    return server


def serve(folder: Path, photos: Sequence[Path], *, device: str = "auto") -> None:
    """Serve a recognizer folder over stdin and stdout until stdin ends.

    Args:
        folder: The recognizer folder.
        photos: Folders below which photos may be read; none = the home folder.
        device: As in `load`.

    Raises:
        OptionError: For a folder of photos that does not exist.
        GalleryError, DataError, ModelError: When the recognizer cannot be opened.
    """
    access = PhotoAccess(photos or [Path.home()])
    live = LiveRecognizer(folder, device=device, callers=1)
    try:
        make_server(Tools(live, access)).run("stdio")
    finally:
        live.close()
