"""File, postgresql:// and qdrant:// addresses; gallery.json link."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from ..core.errors import DataError, GalleryError, OptionError
from ..core.files import read_json, write_json
from ..core.json_options import from_json, to_json
from .protocol import Gallery
from .sqlite.store import SqliteGallery

SERVERS = ("qdrant://", "postgresql://")


def is_server(address: str) -> bool:
    """Does this name a gallery on a database server?"""
    return address.startswith(SERVERS)


def open_at(address: str | Path) -> Gallery:
    """Open an existing gallery. Raises GalleryError when there is none, or it cannot be reached;
    OptionError for an address that cannot be read.
    """
    text = str(address)
    if text.startswith("qdrant://"):
        from .qdrant.store import QdrantGallery

        return QdrantGallery.open(text)
    if text.startswith("postgresql://"):
        from .postgres.store import PostgresGallery

        return PostgresGallery.open(text)
    return SqliteGallery.open(_file(text))


def create_at(address: str | Path, embedder_id: str, dim: int) -> Gallery:
    """A new, empty gallery. Raises GalleryError when there is one already."""
    text = str(address)
    if text.startswith("qdrant://"):
        from .qdrant.store import QdrantGallery

        return QdrantGallery.create(text, embedder_id, dim)
    if text.startswith("postgresql://"):
        from .postgres.store import PostgresGallery

        return PostgresGallery.create(text, embedder_id, dim)
    return SqliteGallery.create(_file(text), embedder_id, dim)


def open_or_create_at(address: str, embedder_id: str, dim: int) -> Gallery:
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


FILE = "gallery.sqlite"

LINK = "gallery.json"

WHERE = ("here", "there")

SECRET = ("password", "secret", "_key", "api_key")  # in the names of parameters


@dataclass(frozen=True, kw_only=True)
class Link:
    """address: of the gallery, without a password; search: "here" = its vectors are kept in segment
    files in the folder, and searched as those of a file are; "there" = the server searches.
    """

    address: str
    search: str = "here"

    def __post_init__(self) -> None:
        if self.search not in WHERE:
            raise OptionError(f"search {self.search!r} given; expected here or there")
        if not is_server(self.address):
            raise OptionError(
                f"{self.address}: expected qdrant://HOST:PORT/NAME or "
                "postgresql://HOST/DATABASE?gallery=NAME"
            )
        parts = urlsplit(self.address)
        keys = [key for key, _ in parse_qsl(parts.query, keep_blank_values=True)]
        if parts.password or any(word in key for key in keys for word in SECRET):
            raise OptionError(
                "a password in the address would be written into the folder; give it by PGPASSWORD "
                "or ~/.pgpass (PostgreSQL) or WHICHLANDMARK_QDRANT_KEY (Qdrant)"
            )


def new_link(address: str, search: str = "here") -> Link:
    """A link whose address can be read. Nobody is asked. Raises OptionError."""
    link = Link(address=address, search=search)
    if address.startswith("qdrant://"):
        from .qdrant.client import parse

        parse(address)
    else:
        from .postgres.connection import address_of

        address_of(address)
    return link


def read_link(folder: Path) -> Link | None:
    """None when the gallery is a file in the folder. Raises GalleryError for a damaged link."""
    if not (folder / LINK).exists():
        return None
    try:
        return from_json(Link, read_json(folder / LINK))
    except (DataError, OptionError, TypeError) as error:
        raise GalleryError(f"{folder / LINK}: damaged ({error})") from None


def write_link(folder: Path, link: Link) -> None:
    """Say where the gallery of a folder is. Raises GalleryError when it is elsewhere already."""
    there = read_link(folder)
    if there == link:
        return
    if there is not None and there.address == link.address:
        raise GalleryError(
            f"{folder}: search {link.search} given, it is {there.search}; change {LINK}, then "
            "run `whichlandmark index` or `tune` again"
        )
    if has_gallery(folder):
        raise GalleryError(
            f"{folder}: has a gallery already ({there.address if there else FILE}); give a new "
            f"folder, or copy it: `whichlandmark gallery copy {folder} NEW --gallery ADDRESS`"
        )
    write_json(folder / LINK, to_json(link))


def has_gallery(folder: Path) -> bool:
    """Is there a file or a link?"""
    return (folder / FILE).exists() or (folder / LINK).exists()


def gallery_in(folder: Path) -> Gallery:
    """Open the gallery of a folder. Raises GalleryError when it is missing, damaged or away."""
    link = read_link(folder)
    if link is None:
        return SqliteGallery.open(folder / FILE)
    if (folder / FILE).exists():
        raise GalleryError(
            f"{folder}: holds {FILE} and {LINK}, two galleries; move one of them away"
        )
    return open_at(link.address)


def open_or_create(folder: Path, embedder_id: str, dim: int) -> Gallery:
    """The gallery of a folder; an empty one where there is none yet. Raises GalleryError."""
    link = read_link(folder)
    if link is None and not (folder / FILE).exists():
        return SqliteGallery.create(folder / FILE, embedder_id, dim)
    if link is None or (folder / FILE).exists():
        return gallery_in(folder)
    return open_or_create_at(link.address, embedder_id, dim)
