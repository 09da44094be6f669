"""Albums of a library by landmark: folders of hard links, or lists of files; no photo is copied.

The journal knows every file of an album, so that albums are brought up to date and taken away, and
no file of anybody else is touched.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tempfile
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..core.disks import write_error
from ..core.errors import OptionError
from ..core.files import atomic_file, local_path, text_of_bytes, valid_text
from .journal import Journal
from .plan import Plan

MAX_LIST_BYTES = 500_000_000

LIST_SUFFIX = ".txt"

MAX_NAME_BYTES = 120  # of an album; file systems allow 255, and some programs add to it

# Not in the names of files on Windows, and separators elsewhere.
_NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


@dataclass(eq=False)
class Albums:
    """What was done with albums.

    Attributes:
        albums: Landmarks that have one.
        added: Links or lists that were made or written anew.
        removed: Links or lists of earlier albums that were taken away.
        kept: Path → why a file of an album was left where it is.
        failures: Path → why it could not be made.
        listed: Lists of files were written in the place of links.
    """

    albums: int = 0
    added: int = 0
    removed: int = 0
    kept: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    listed: bool = False


def check_album_folder(folder: str | Path, library: str, option: str) -> str:
    """The absolute path of a folder for albums.

    Raises OptionError where it lies in the library, whose photos would then be found twice, or
    around it, so that an album could have the name of the library.
    """
    place = os.path.abspath(os.path.expanduser(folder))
    real, top = os.path.realpath(place), os.path.realpath(library)
    if real == top or os.path.commonpath([real, top]) in (real, top):
        where = "around" if os.path.commonpath([real, top]) == real != top else "in"
        raise OptionError(
            f"{option} {folder}: lies {where} the library {valid_text(library)}, where its files "
            "would be taken for photos of the library; give a folder beside it, for links on the "
            "same disk"
        )
    if os.path.exists(real) and not os.path.isdir(real):
        raise OptionError(f"{option} {folder}: a file; expected a folder, existing or new")
    return place


def write_albums(journal: Journal, plan: Plan, folder: str) -> Albums:
    """Bring albums of hard links up to date: folder/<title>/<name of the photo>.

    A photo of several landmarks is in the album of each. Where the disk has no hard links, or the
    folder is on another one, lists of files are written in their place.

    Args:
        journal: Knows the links of earlier runs.
        plan: The labels.
        folder: Of `check_album_folder`.

    Raises:
        DataError: When the folder cannot be made.
    """
    wanted = _photos_by_title(plan)
    files = _AlbumFiles(journal, folder)
    files.make_folder(folder)
    sample = next((photo for photos in wanted.values() for photo in photos), "")
    if sample and not _can_link(sample, folder):
        found = write_album_lists(journal, plan, folder)
        found.listed = True
        return found
    names = _folder_names(wanted)
    links: dict[str, tuple[str, str]] = {}  # path of a link → photo, proof
    for title, photos in wanted.items():
        inside = os.path.join(folder, names[title])
        files.make_folder(inside)
        links |= files.names_of_links(inside, photos)
    files.link_all(links)
    folders = {folder, *(os.path.join(folder, name) for name in names.values())}
    files.take_away({*links, *folders}, ("link", "folder"))
    files.found.albums = len(wanted)
    return files.found


def write_album_lists(journal: Journal, plan: Plan, folder: str) -> Albums:
    """Bring lists of files up to date: folder/<title>.txt, in UTF-8, one absolute path a line.

    Args and Raises: As for `write_albums`. A path that no line of text can hold is left out, and
    named in `failures`.
    """
    wanted = _photos_by_title(plan)
    files = _AlbumFiles(journal, folder)
    files.make_folder(folder)
    names = _folder_names(wanted)
    paths = set()
    for title, photos in wanted.items():
        lines = []
        for photo in photos:
            if "\n" in photo or "\r" in photo or valid_text(photo) != photo:
                files.found.failures[valid_text(photo)] = (
                    "its name is none that a list can hold; rename it"
                )
            else:
                lines.append(photo + "\n")
        path = os.path.join(folder, names[title] + LIST_SUFFIX)
        files.write_list(path, "".join(lines).encode())
        paths.add(path)
    files.take_away(paths, ("list",))
    files.found.albums = len(wanted)
    return files.found


def remove_albums(journal: Journal) -> Albums:
    """Take away all links and lists of all albums, and the folders that were made for them."""
    with journal.file.reading() as sql:
        rows = sql.execute("SELECT DISTINCT folder FROM albums").fetchall()
    found = Albums()
    for (folder,) in rows:
        files = _AlbumFiles(journal, os.fsdecode(folder), found)
        files.take_away(set(), ("link", "list", "folder"))
    return found


class _AlbumFiles:
    """The links, lists and folders of one folder of albums, as the journal knows them.

    A proof tells whether a file is still ours: "link" and its inode, "list" and its SHA-256,
    "folder".
    """

    def __init__(self, journal: Journal, folder: str, found: Albums | None = None) -> None:
        self.journal, self.folder = journal, folder
        self.found = found or Albums()
        with journal.file.reading() as sql:
            rows = sql.execute(
                "SELECT file, photo, proof FROM albums WHERE folder = ? ORDER BY file",
                (os.fsencode(folder),),
            ).fetchall()
        self.known: dict[str, tuple[str, str]] = {
            os.fsdecode(path): (local_path(photo), proof) for path, photo, proof in rows
        }

    def note(self, files: Mapping[str, tuple[str, str]]) -> None:
        """Remember files: path → photo and proof."""
        self.known |= files
        with self.journal.file.transaction() as sql:
            sql.executemany(
                "INSERT OR REPLACE INTO albums VALUES (?, ?, ?, ?)",
                [(os.fsencode(path), os.fsencode(self.folder), valid_text(photo), proof)
                 for path, (photo, proof) in files.items()],
            )  # fmt: skip

    def make_folder(self, path: str) -> None:
        """Make a folder and those around it, and remember those that are new. Raises DataError."""
        missing = [path]
        while not os.path.isdir(missing[-1]) and missing[-1] != os.path.dirname(missing[-1]):
            missing.append(os.path.dirname(missing[-1]))
        self.note(dict.fromkeys(missing[:-1], ("", "folder")))
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise write_error(Path(path, "album"), error) from None

    def names_of_links(self, inside: str, photos: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Where the photos of one album are linked: path → photo and its proof, "" = it is gone.

        A photo keeps the name that it has; a new one gets a name that is free.
        """
        before = {
            photo: path for path, (photo, _) in self.known.items()
            if os.path.dirname(path) == inside and photo in photos
        }  # fmt: skip
        taken = {os.path.basename(path).casefold() for path in before.values()}
        with suppress(OSError):
            taken |= {name.casefold() for name in os.listdir(inside)}
        found = {}
        for photo in photos:
            path = before.get(photo, "")
            if not path:
                stem, suffix = os.path.splitext(os.path.basename(photo))
                name, number = stem + suffix, 1
                while name.casefold() in taken:
                    number += 1
                    name = f"{stem} ({number}){suffix}"
                taken.add(name.casefold())
                path = os.path.join(inside, name)
            found[path] = (photo, _proof_of_link(os.path.realpath(photo)))
        return found

    def link_all(self, links: Mapping[str, tuple[str, str]]) -> None:
        """Make links that are not there; one to an earlier version of its photo is replaced.

        New ones are remembered before they are made, so that none is forgotten.
        """
        self.note({path: new for path, new in links.items() if path not in self.known})
        for path, (photo, proof) in links.items():
            now = _proof_of_link(path)
            if not proof:
                self.found.failures[valid_text(photo)] = "the photo is gone since it was read"
            elif now != proof and os.path.lexists(path) and now != self.known[path][1]:
                self.found.kept[valid_text(path)] = "no link of ours any more"
            elif now != proof:
                try:
                    with suppress(FileNotFoundError):
                        os.unlink(path)
                    os.link(os.path.realpath(photo), path)
                    self.found.added += 1
                except OSError as error:
                    reason = error.strerror or str(error)
                    self.found.failures[valid_text(path)] = f"no hard link could be made ({reason})"
        self.note({path: new for path, new in links.items() if _proof_of_link(path) == new[1]})

    def write_list(self, path: str, content: bytes) -> None:
        """Write one list, unless it is there. A file of anybody else is left alone."""
        proof = _proof_of_list(content)
        now = _proof_of_list_at(path)
        if now not in ("", proof) and now != self.known.get(path, ("", ""))[1]:
            self.found.kept[valid_text(path)] = (
                "no list of ours, or changed since; move it away to get one"
            )
            return
        if now != proof:
            with atomic_file(path) as temporary:
                temporary.write_bytes(content)
            self.found.added += 1
        self.note({path: ("", proof)})

    def take_away(self, wanted: Collection[str], kinds: Collection[str]) -> None:
        """Delete what is ours, of these kinds, and not wanted any more; never the last link of a
        photo. What is kept is not ours from now on, unless it could not be deleted.
        """
        done = []
        for path in sorted(self.known, reverse=True):  # files before the folder around them
            proof = self.known[path][1]
            if path in wanted or proof.partition(" ")[0] not in kinds:
                continue
            try:
                if proof == "folder":
                    if not _is_filled(path):
                        done.append(path)
                    continue
                if reason := _delete(path, proof):
                    self.found.kept[valid_text(path)] = reason
                else:
                    self.found.removed += 1
                done.append(path)
            except OSError as error:
                self.found.failures[valid_text(path)] = (
                    f"cannot be deleted ({error.strerror or error})"
                )
        with self.journal.file.transaction() as sql:
            sql.executemany(
                "DELETE FROM albums WHERE file = ?", [(os.fsencode(path),) for path in done]
            )


def _is_filled(folder: str) -> bool:
    """Delete an empty folder. Returns whether there is still something in it."""
    with suppress(OSError):
        os.rmdir(folder)
    return os.path.lexists(folder)


def _delete(path: str, proof: str) -> str:
    """Delete a file that is as it was made. Returns why it is kept, "" = it is gone."""
    if not os.path.lexists(path):
        return ""
    if (_proof_of_list_at if proof.startswith("list") else _proof_of_link)(path) != proof:
        return "changed by others since"
    if proof.startswith("link") and os.lstat(path).st_nlink < 2:
        return "the photo is in the library no more, and this is its last copy"
    os.unlink(path)
    return ""


def _photos_by_title(plan: Plan) -> dict[str, list[str]]:
    """Title → paths of the photos that are labelled with it, both sorted."""
    found: dict[str, list[str]] = {}
    for row in plan:
        for title in row.wanted.keywords:
            found.setdefault(title, []).append(local_path(row.file))
    return {title: sorted(found[title]) for title in sorted(found)}


def _folder_names(titles: Iterable[str]) -> dict[str, str]:
    """Title → a name that every system allows, each only once, letter case aside."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for title in titles:
        plain = safe_name(title)
        name, number = plain, 1
        while name.casefold() in taken:
            number += 1
            name = f"{plain} ({number})"
        taken.add(name.casefold())
        names[title] = name
    return names


def safe_name(title: str) -> str:
    """A title as the name of a folder on every system."""
    name = _NOT_IN_NAMES.sub("_", unicodedata.normalize("NFC", text_of_bytes(title)))
    name = " ".join(name.split()).lstrip(".").rstrip(". ")
    name = name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").rstrip(". ")
    return f"_{name}" if not name or _RESERVED.fullmatch(name) else name


def _can_link(photo: str, folder: str) -> bool:
    """Whether this folder can hold a hard link to a photo."""
    probe = os.path.join(folder, ".whichlandmark-link")
    try:
        with suppress(FileNotFoundError):
            os.unlink(probe)
        os.link(os.path.realpath(photo), probe)
        os.unlink(probe)
        return True
    except FileNotFoundError:  # the photo is gone
        return True
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES):
            return False
    try:  # another user's photo may not be linked; can a file of our own be?
        with tempfile.NamedTemporaryFile(prefix=".whichlandmark-", dir=folder) as file:
            os.link(file.name, probe)
            os.unlink(probe)
            return True
    except OSError:
        return False


def _proof_of_link(path: str) -> str:
    """The proof of a plain file; "" where there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return ""
    return f"link {status.st_ino}" if stat.S_ISREG(status.st_mode) else ""


def _proof_of_list(content: bytes) -> str:
    return "list " + hashlib.sha256(content).hexdigest()


def _proof_of_list_at(path: str) -> str:
    """The proof of a list that is there; "" where there is nothing, "-" of anything else."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return "-"
        with open(path, "rb") as file:
            return _proof_of_list(file.read(MAX_LIST_BYTES))
    except FileNotFoundError:
        return ""
    except OSError:
        return "-"
