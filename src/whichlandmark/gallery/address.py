"""Open a gallery by its address: a file, postgresql://…, qdrant://…, or a recognizer folder.

The gallery of a recognizer folder is the file gallery.sqlite, or is on the server that gallery.json
names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from ..core.errors import DataError, GalleryError, OptionError
from ..core.files import read_json, write_json
from ..core.json_options import from_json, to_json
from .base import Gallery
from .sqlite.store import SqliteGallery

SERVER_SCHEMES = ("qdrant://", "postgresql://")

GALLERY_FILE = "gallery.sqlite"

LINK_FILE = "gallery.json"

SEARCH_PLACES = ("here", "there")  # values of Link.search: index files in the folder, the server

SECRET_WORDS = ("password", "secret", "_key", "api_key")  # in the names of address parameters


def is_server(address: str) -> bool:
    """Whether this is the address of a gallery on a database server."""
    return address.startswith(SERVER_SCHEMES)


def open_at(address: str | Path) -> Gallery:
    """Open an existing gallery.

    Raises:
        GalleryError: when it does not exist or the server cannot be reached.
        OptionError: for an invalid address.
    """
    text = str(address)
    if text.startswith("qdrant://"):
        from .qdrant.store import QdrantGallery

        return QdrantGallery.open(text)
    if text.startswith("postgresql://"):
        from .postgres.store import PostgresGallery

        return PostgresGallery.open(text)
    return SqliteGallery.open(_file_path(text))


def create_at(address: str | Path, embedder_id: str, dim: int) -> Gallery:
    """Create an empty gallery for vectors of one embedder. Raises GalleryError if one exists."""
    text = str(address)
    if text.startswith("qdrant://"):
        from .qdrant.store import QdrantGallery

        return QdrantGallery.create(text, embedder_id, dim)
    if text.startswith("postgresql://"):
        from .postgres.store import PostgresGallery

        return PostgresGallery.create(text, embedder_id, dim)
    return SqliteGallery.create(_file_path(text), embedder_id, dim)


def open_or_create_at(address: str, embedder_id: str, dim: int) -> Gallery:
    """Open the gallery at an address, or create an empty one. Raises GalleryError."""
    try:
        return open_at(address)
    except GalleryError as error:
        try:
            return create_at(address, embedder_id, dim)
        except GalleryError:  # so the first error was not about a missing gallery
            raise error from None


def _file_path(text: str) -> Path:
    if "://" in text:
        raise OptionError(
            f"{text}: expected a file, qdrant://HOST:PORT/NAME or "
            "postgresql://HOST/DATABASE?gallery=NAME"
        )
    return Path(text)


@dataclass(frozen=True, kw_only=True)
class Link:
    """The content of gallery.json: where the gallery of a recognizer folder is.

    address: of the gallery, without a password; search: "here" = search index files in the folder,
    which hold a copy of the vectors; "there" = the server searches.

    Raises:
        OptionError: for an invalid value, or an address with a password.
    """

    address: str
    search: str = "here"

    def __post_init__(self) -> None:
        if self.search not in SEARCH_PLACES:
            raise OptionError(f"search {self.search!r} given; expected here or there")
        if not is_server(self.address):
            raise OptionError(
                f"{self.address}: expected qdrant://HOST:PORT/NAME or "
                "postgresql://HOST/DATABASE?gallery=NAME"
            )
        parts = urlsplit(self.address)
        keys = [key for key, _ in parse_qsl(parts.query, keep_blank_values=True)]
        if parts.password or any(word in key for key in keys for word in SECRET_WORDS):
            raise OptionError(
                "a password in the address would be written into the folder; give it by PGPASSWORD "
                "or ~/.pgpass (PostgreSQL) or WHICHLANDMARK_QDRANT_KEY (Qdrant)"
            )


def new_link(address: str, search: str = "here") -> Link:
    """A link with a valid address; the server is not contacted. Raises OptionError."""
    link = Link(address=address, search=search)
    if address.startswith("qdrant://"):
        from .qdrant.client import parse

        parse(address)
    else:
        from .postgres.connection import address_of

        address_of(address)
    return link


def read_link(folder: Path) -> Link | None:
    """Read gallery.json; None when there is none. Raises GalleryError when it is damaged."""
    if not (folder / LINK_FILE).exists():
        return None
    try:
        return from_json(Link, read_json(folder / LINK_FILE))
    except (DataError, OptionError, TypeError) as error:
        raise GalleryError(f"{folder / LINK_FILE}: damaged ({error})") from None


def write_link(folder: Path, link: Link) -> None:
    """Write gallery.json. Raises GalleryError when the folder has another gallery already."""
    existing = read_link(folder)
    if existing == link:
        return
    if existing is not None and existing.address == link.address:
        raise GalleryError(
            f"{folder}: search {link.search} given, it is {existing.search}; change {LINK_FILE}, "
            "then run `whichlandmark index` or `tune` again"
        )
    if has_gallery(folder):
        raise GalleryError(
            f"{folder}: has a gallery already ({existing.address if existing else GALLERY_FILE}); "
            "give a new folder, or copy it: "
            f"`whichlandmark gallery copy {folder} NEW --gallery ADDRESS`"
        )
    write_json(folder / LINK_FILE, to_json(link))


def has_gallery(folder: Path) -> bool:
    """Whether the folder holds a gallery file or a link."""
    return (folder / GALLERY_FILE).exists() or (folder / LINK_FILE).exists()


def gallery_in(folder: Path) -> Gallery:
    """Open the gallery of a folder.

    Raises:
        GalleryError: when it is missing or damaged, or its server cannot be reached.
    """
    link = read_link(folder)
    if link is None:
        return SqliteGallery.open(folder / GALLERY_FILE)
    if (folder / GALLERY_FILE).exists():
        raise GalleryError(
            f"{folder}: holds {GALLERY_FILE} and {LINK_FILE}, two galleries; move one of them away"
        )
    return open_at(link.address)


def open_or_create(folder: Path, embedder_id: str, dim: int) -> Gallery:
    """Open the gallery of a folder, or create an empty one. Raises GalleryError."""
    link = read_link(folder)
    if link is None and not (folder / GALLERY_FILE).exists():
        try:
            return SqliteGallery.create(folder / GALLERY_FILE, embedder_id, dim)
        except GalleryError:
            if not (folder / GALLERY_FILE).exists():
                raise  # else another process has made it since
    if link is None or (folder / GALLERY_FILE).exists():
        return gallery_in(folder)
    return open_or_create_at(link.address, embedder_id, dim)
