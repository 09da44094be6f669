"""Gallery photos at the size of a screen: read, decoded in the pool, without metadata."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import anyio.to_thread

from ..core.errors import WhichLandmarkError
from ..core.images import content_hash
from ..core.storage import read_bytes
from ..recognition.folder.settings import own_photo
from .api_errors import ApiError, PhotoError
from .decode_pool import DecodePool
from .gallery_browsing import unknown_photo
from .live_recognizer import LiveRecognizer

AT_ONCE = 2  # previews made, so that photos to recognize find a free worker


class _StoredPhoto(NamedTuple):
    """Id, path and content hash of a gallery photo."""

    id: str
    path: str
    hash: str


class Preview(NamedTuple):
    """A JPEG, and its ETag; "" = it is a thumbnail in place of the photo, which may come back."""

    jpeg: bytes
    tag: str


class Previews:
    """Makes previews, a few at once; none is kept, because browsers keep them by their ETag."""

    def __init__(
        self, folder: Path, live: LiveRecognizer, pool: DecodePool, max_bytes: int
    ) -> None:
        """max_bytes: of a photo's file; larger ones are shown by their thumbnail."""
        self._folder, self._live, self._pool = folder, live, pool
        self._max_bytes, self._turn = max_bytes, asyncio.Semaphore(AT_ONCE)

    async def make(self, photo_id: str, side: int, known: str = "") -> Preview | None:
        """A gallery photo as a JPEG without metadata, its long side at most `side` pixels.

        It is made of the photo's file while that has the bytes that the gallery knows, else of the
        stored thumbnail.

        Args:
            photo_id: Of the gallery.
            side: Pixels.
            known: ETag that the caller has; None is returned where it is still right.

        Raises:
            ApiError: 404 without such a photo, or without a picture of it.
        """
        stored = await anyio.to_thread.run_sync(self._stored_photo, photo_id)
        tag = f'"{stored.hash[:32]}-{side}"' if stored.hash else ""
        if known and tag in known:
            return None
        async with self._turn:
            for read, its_tag in ((self._photo_file, tag), (self._thumbnail, "")):
                data = await anyio.to_thread.run_sync(read, stored)
                with suppress(PhotoError):
                    if data:
                        made = await asyncio.wrap_future(self._pool.jpeg(data, side))
                        return Preview(made.jpeg, its_tag)
        raise no_thumbnail()

    async def of_file(self, path: str, digest: str, thumbnail: bytes, side: int) -> bytes:
        """A photo that is not of the gallery, as `make` has it.

        Args:
            path: Of its file.
            digest: Content hash of the file; another file is not shown.
            thumbnail: A JPEG that stands in for the file.
            side: Pixels of the long side, at most.

        Raises:
            ApiError: 404 where neither can be read.
        """
        stored = _StoredPhoto("", path, digest)
        async with self._turn:
            data = await anyio.to_thread.run_sync(self._photo_file, stored)
            for one in (data, thumbnail):
                with suppress(PhotoError):
                    if one:
                        return (await asyncio.wrap_future(self._pool.jpeg(one, side))).jpeg
        raise no_thumbnail()

    def _stored_photo(self, photo_id: str) -> _StoredPhoto:
        with self._live.use() as opened:
            gallery = opened.facts.gallery
            if not (found := gallery.stamps([photo_id]).get(photo_id)):
                raise unknown_photo()
            return _StoredPhoto(photo_id, found[0], gallery.hashes([photo_id]).get(photo_id, ""))

    def _photo_file(self, photo: _StoredPhoto) -> bytes:
        """The bytes of the photo's file; b"" where it is gone, too large, or another one by now.

        The hash of a photo in the folder is that of the file as it was sent; there the file's name
        is its own hash.
        """
        own = own_photo(self._folder, photo.id)
        with suppress(WhichLandmarkError):
            data = read_bytes(own or photo.path, self._max_bytes)
            if content_hash(data).startswith(own.stem if own else photo.hash):
                return data
        return b""

    def _thumbnail(self, photo: _StoredPhoto) -> bytes:
        with self._live.use() as opened:
            return opened.facts.gallery.thumbnails([photo.id]).get(photo.id, b"")


def no_thumbnail() -> ApiError:
    """404: there is no picture of a photo any more."""
    words = "Its file is gone, and the gallery stores no thumbnail of it."
    return ApiError(404, "no_thumbnail", words)
