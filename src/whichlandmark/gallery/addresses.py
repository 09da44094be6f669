"""Where a gallery is kept: a file, `qdrant://host:6334/paris`, or
`postgresql://host/photos?gallery=paris`.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import GalleryError, OptionError
from .contract import AnyGallery
from .store import Gallery

SERVERS = ("qdrant://", "postgresql://")


def is_server(address: str) -> bool:
    """Does this name a gallery on a database server?"""
    return address.startswith(SERVERS)


def open_at(address: str | Path) -> AnyGallery:
    """Open an existing gallery. Raises GalleryError when there is none, or it cannot be reached;
    OptionError for an address that cannot be read.
    """
    text = str(address)
    if text.startswith("qdrant://"):
        from .qdrant import QdrantGallery

        return QdrantGallery.open(text)
    if text.startswith("postgresql://"):
        from .postgres import PostgresGallery

        return PostgresGallery.open(text)
    return Gallery.open(_file(text))


def create_at(address: str | Path, embedder_id: str, dim: int) -> AnyGallery:
    """A new, empty gallery. Raises GalleryError when there is one already."""
    text = str(address)
    if text.startswith("qdrant://"):
        from .qdrant import QdrantGallery

        return QdrantGallery.create(text, embedder_id, dim)
    if text.startswith("postgresql://"):
        from .postgres import PostgresGallery

        return PostgresGallery.create(text, embedder_id, dim)
    return Gallery.create(_file(text), embedder_id, dim)


def open_or_create_at(address: str, embedder_id: str, dim: int) -> AnyGallery:
    """The gallery there; an empty one where there is none yet. Raises GalleryError."""
    try:
        return open_at(address)
    except GalleryError as error:
        try:
            return create_at(address, embedder_id, dim)
        except GalleryError:  # it is there, or the server is not: what was said first is right
            raise error from None


def _file(text: str) -> Path:
    if "://" in text:
        raise OptionError(
            f"{text}: expected a file, qdrant://HOST:PORT/NAME or "
            "postgresql://HOST/DATABASE?gallery=NAME"
        )
    return Path(text)
