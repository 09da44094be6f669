"""Open a gallery or a search index by its address: a file, postgresql://…, a recognizer folder.

The gallery of a recognizer folder is the file gallery.sqlite, unless gallery.json names a server.
gallery.json also says where the gallery is searched.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..core.errors import DataError, GalleryError, OptionError
from ..core.files import read_json, write_json
from ..core.json_options import from_json, to_json
from .base import Gallery
from .index.remote import SearchIndex
from .sqlite.store import SqliteGallery

# Scheme of an address → folder and class. A new back end is a folder and a line.
SERVERS = {"postgresql": ("postgres", "PostgresGallery")}  # in its store.py; and connection.py

SEARCH_INDEXES = {"qdrant": ("qdrant", "QdrantIndex")}  # in its search.py

GALLERY_FILE = "gallery.sqlite"

LINK_FILE = "gallery.json"

SEARCH_PLACES = ("here", "there")  # values of Link.search beside the address of a search index

EXPECTED_GALLERY = "expected a file or postgresql://HOST/DATABASE?gallery=NAME"

EXPECTED_SEARCH = "expected here, there or qdrant://HOST:6334/NAME"

SECRET_WORDS = ("password", "secret", "_key", "api_key")  # in the names of address parameters


def _scheme(address: str) -> str:
    return address.partition("://")[0] if "://" in address else ""


def is_server(address: str) -> bool:
    """Whether this is the address of a gallery on a database server."""
    return _scheme(address) in SERVERS


def is_search_index(address: str) -> bool:
    """Whether this is the address of a search index."""
    return _scheme(address) in SEARCH_INDEXES


def open_search_index(address: str) -> SearchIndex:
    """A search index by its address; its server is not contacted. Raises OptionError."""
    folder, name = SEARCH_INDEXES[_scheme(address)]
    index: SearchIndex = getattr(import_module(f".{folder}.search", __package__), name).open(
        address
    )
    return index


def open_at(address: str | Path) -> Gallery:
    """Open an existing gallery.

    Raises:
        GalleryError: when it does not exist or the server cannot be reached.
        OptionError: for an invalid address.
    """
    opened: Gallery = _kind(str(address)).open(_place(str(address)))
    return opened


def create_at(address: str | Path, embedder_id: str, dim: int) -> Gallery:
    """Create an empty gallery for vectors of one embedder. Raises GalleryError if one exists."""
    made: Gallery = _kind(str(address)).create(_place(str(address)), embedder_id, dim)
    return made


def open_or_create_at(address: str, embedder_id: str, dim: int) -> Gallery:
    """Open the gallery at an address, or create an empty one. Raises GalleryError."""
    try:
        return open_at(address)
    except GalleryError as error:
        try:
            return create_at(address, embedder_id, dim)
        except GalleryError:  # so the first error was not about a missing gallery
            raise error from None


def _kind(address: str) -> Any:
    require_gallery_address(address)
    if not is_server(address):
        return SqliteGallery
    folder, name = SERVERS[_scheme(address)]
    return getattr(import_module(f".{folder}.store", __package__), name)


def _place(address: str) -> str | Path:
    return address if is_server(address) else Path(address)


def require_gallery_address(address: str) -> None:
    """Raise OptionError for the address of something else; for a search index, what to type."""
    if is_search_index(address):
        raise OptionError(
            f"{address.partition('?')[0]}: a search index of a gallery, no gallery; the gallery "
            f"stays in a file or on PostgreSQL: give --search {address.partition('?')[0]}, with "
            "or without --gallery postgresql://HOST/DATABASE?gallery=NAME"
        )
    if _scheme(address) and not is_server(address):
        raise OptionError(f"{address}: {EXPECTED_GALLERY}")


@dataclass(frozen=True, kw_only=True)
class Link:
    """The content of gallery.json: where the gallery of a recognizer folder is, and its search.

    address: of the gallery, without a password; None = the file in the folder. search: "here" =
    index files in the folder, which hold a copy of the vectors; "there" = the gallery's server; or
    the address of a search index.

    Raises:
        OptionError: for an invalid value, or an address with a password. No server is contacted.
    """

    address: str | None = None
    search: str = "here"

    def __post_init__(self) -> None:
        if self.address is not None:
            require_gallery_address(self.address)
            if not is_server(self.address):
                raise OptionError(f"{self.address}: {EXPECTED_GALLERY}")
        for address in filter(None, (self.address, self.search)):
            parts = urlsplit(address)
            keys = [key for key, _ in parse_qsl(parts.query, keep_blank_values=True)]
            if parts.password or any(word in key for key in keys for word in SECRET_WORDS):
                raise OptionError(
                    "a password in the address would be written into the folder; give it by "
                    "PGPASSWORD or ~/.pgpass (PostgreSQL) or WHICHLANDMARK_QDRANT_KEY (Qdrant)"
                )
        if self.address is not None:
            folder, _ = SERVERS[_scheme(self.address)]
            import_module(f".{folder}.connection", __package__).address_of(self.address)
        if is_search_index(self.search):
            open_search_index(self.search)
        elif self.search not in SEARCH_PLACES:
            raise OptionError(f"search {self.search!r} given; {EXPECTED_SEARCH}")
        elif self.search == "there" and self.address is None:
            raise OptionError(
                "--search there given without --gallery; expected the address of a gallery on a "
                "database server with it"
            )


def read_link(folder: Path) -> Link | None:
    """Read gallery.json; None when there is none. Raises GalleryError when it is damaged."""
    path = folder / LINK_FILE
    if not path.exists():
        return None
    try:
        values = read_json(path)
        if is_search_index(str(values.get("address"))):
            raise GalleryError(
                f"{path}: names a gallery on Qdrant, which is only a search index now. Index the "
                f"photos again into a new folder, with --search {values['address']}; or copy the "
                "gallery into a file with the version that wrote it: `whichlandmark gallery copy`"
            )
        return from_json(Link, values)
    except (DataError, OptionError, TypeError) as error:
        raise GalleryError(f"{path}: damaged ({error})") from None


def changed_link(folder: Path, gallery: str | None, search: str | None) -> Link:
    """The folder's link with another gallery or search place. None = as the folder says."""
    link = read_link(folder) or Link()
    return Link(address=gallery or link.address, search=search or link.search)


def write_link(folder: Path, link: Link) -> None:
    """Write gallery.json. Raises GalleryError when the folder has another gallery already."""
    existing = read_link(folder) or Link()
    if link == existing:
        return
    if has_gallery(folder) and existing.address != link.address:
        raise GalleryError(
            f"{folder}: has a gallery already ({existing.address or GALLERY_FILE}); "
            "give a new folder, or copy it: "
            f"`whichlandmark gallery copy {folder} NEW --gallery ADDRESS`"
        )
    write_json(folder / LINK_FILE, to_json(link))


def has_gallery(folder: Path) -> bool:
    """Whether the folder holds a gallery file or a link."""
    return (folder / GALLERY_FILE).exists() or (folder / LINK_FILE).exists()


def server_address(folder: Path) -> str | None:
    """The address of a folder's gallery on a server; None = it is the file in the folder.

    Raises GalleryError when there are both.
    """
    link = read_link(folder)
    if link is None or link.address is None:
        return None
    if (folder / GALLERY_FILE).exists():
        raise GalleryError(
            f"{folder}: holds {GALLERY_FILE} and {LINK_FILE}, two galleries; move one of them away"
        )
    return link.address


def gallery_in(folder: Path) -> Gallery:
    """Open the gallery of a folder.

    Raises:
        GalleryError: when it is missing or damaged, or its server cannot be reached.
    """
    return open_at(server_address(folder) or folder / GALLERY_FILE)


def open_or_create(folder: Path, embedder_id: str, dim: int) -> Gallery:
    """Open the gallery of a folder, or create an empty one. Raises GalleryError."""
    if address := server_address(folder):
        return open_or_create_at(address, embedder_id, dim)
    path = folder / GALLERY_FILE
    if not path.exists():
        try:
            return SqliteGallery.create(path, embedder_id, dim)
        except GalleryError:
            if not path.exists():
                raise  # else another process has made it since
    return gallery_in(folder)
