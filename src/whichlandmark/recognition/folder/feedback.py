"""Feedback on answers, kept in a recognizer folder until a person has reviewed it.

Entries and decisions are lines of `feedback.jsonl`; photos that were sent with entries wait in
`feedback/` until they are approved into the gallery or discarded.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypedDict
from urllib.parse import quote

from ...core.disks import file_lock, flush, read_error, require_writable
from ...core.errors import DataError
from ...core.files import atomic_file
from ...features.embedders.load import load_embedder
from .edit import EditResult
from .own_photos import SentPhoto, StoredPhotos, store_photos
from .settings import require_folder

FEEDBACK_FILE = "feedback.jsonl"

REVIEW_PHOTOS = "feedback"  # the folder of the photos that wait for review

MAX_ENTRY_BYTES = 10_000_000  # of the file; decisions may exceed it

MAX_PHOTOS, MAX_PHOTO_BYTES = 500, 250_000_000  # that wait for review

_NOT_OF_IDS = re.compile(r"[^0-9A-Za-z-]")

State = Literal["open", "approved", "corrected", "discarded"]

Action = Literal["approve", "discard"]


class FeedbackObject(TypedDict):
    """Feedback on an answer.

    answer: the landmark that was answered; correct: the true one; null = none or unknown. key: of
    the sender. state, landmark: what a person decided. image: of the photo, null = none is kept.
    """

    id: str
    time: str
    request_id: str
    photo: str
    answer: str | None
    right: bool
    correct: str | None
    note: str
    key: str
    state: State
    landmark: str | None
    image: str | None


@dataclass(frozen=True)
class Entries:
    """All entries, the oldest first. unreadable: lines that are no entries and no decisions."""

    all: list[FeedbackObject]
    unreadable: int = 0

    def of_state(self, state: str) -> list[FeedbackObject]:
        """The entries of a state, or of "all", the newest first."""
        return [one for one in reversed(self.all) if state in ("all", one["state"])]


class ReviewError(DataError):
    """An entry cannot be reviewed so. code: "unknown_feedback", "already_reviewed", …"""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class QueueFullError(DataError):
    """There is no room for one more entry."""


class FeedbackStore:
    """The feedback of a recognizer folder. Several processes may use it at the same time.

    Args:
        folder: The recognizer folder.
        max_bytes: Of entries; reviewed ones make room for new ones, the oldest first.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_ENTRY_BYTES) -> None:
        self.path, self.max_bytes = folder / FEEDBACK_FILE, max_bytes
        self._photos, self._folder = folder / REVIEW_PHOTOS, folder

    def add(self, entry: Mapping[str, Any], photo: SentPhoto | None = None) -> tuple[str, bool]:
        """Append an entry.

        Args:
            entry: Fields of `FeedbackObject`.
            photo: Kept for the review; None = none was sent.

        Returns:
            The id of the entry, and whether the photo is kept: not where too many are waiting.

        Raises:
            QueueFullError: When there is no room.
            DataError: When the folder cannot be written.
        """
        entry_id = secrets.token_hex(6)
        line = {"id": entry_id, "time": _now(), **entry}
        with self._lock("feedback"):
            kept = photo is not None and self._has_room(len(photo.jpeg))
            if photo is not None and kept:
                with atomic_file(self._photo(entry_id), private=True) as temporary:
                    temporary.write_bytes(photo.jpeg)
                line["sent_hash"] = photo.sent_hash
            try:
                self._append(line)
            except DataError:
                self._photo(entry_id).unlink(missing_ok=True)
                raise
        return entry_id, kept

    def entries(self) -> Entries:
        """All entries with what was decided on them. Raises DataError for an unreadable file."""
        found, decided, unreadable = self._read()
        entries: list[FeedbackObject] = []
        for entry_id, line in found.items():
            decision = decided.get(entry_id, {})
            kept = not decision and self._photo(entry_id).exists()
            entries.append({
                "id": entry_id, "time": str(line.get("time", "")),
                "request_id": str(line.get("request_id", "")), "photo": str(line.get("photo", "")),
                "answer": _text(line.get("answer")), "right": bool(line["right"]),
                "correct": _text(line.get("correct")), "note": str(line.get("note", "")),
                "key": str(line.get("key", "")), "state": decision.get("state", "open"),
                "landmark": _text(decision.get("landmark")),
                "image": f"/v1/feedback/{quote(entry_id, safe='')}/photo" if kept else None,
            })  # fmt: skip
        return Entries(entries, unreadable)

    def entry(self, entry_id: str) -> FeedbackObject:
        """One entry. Raises ReviewError for an unknown id."""
        found = next((one for one in self.entries().all if one["id"] == entry_id), None)
        if found is None:
            raise ReviewError("unknown_feedback", f"there is no feedback with the id {entry_id!r}")
        return found

    def photo(self, entry_id: str) -> bytes | None:
        """The JPEG that waits for review with an entry; None = there is none."""
        if self.entry(entry_id)["image"] is None:
            return None
        try:
            return self._photo(entry_id).read_bytes()
        except FileNotFoundError:  # reviewed meanwhile
            return None

    def review(
        self,
        entry_id: str,
        action: Action,
        landmark: str | None,
        store: Callable[[str, Sequence[SentPhoto]], StoredPhotos],
        *,
        key: str = "",
    ) -> tuple[FeedbackObject, StoredPhotos | None]:
        """Decide on an open entry; its photo is then in the gallery, or deleted.

        Args:
            entry_id: The entry.
            action: "approve" adds the photo to the gallery, where one was sent.
            landmark: What the photo shows; "" = no landmark; None = what the entry says.
            store: Adds photos to a landmark of the gallery, and moves those that are elsewhere.
            key: Name of the key of who decides.

        Returns:
            The entry as it is then, and what became of its photo; None = nothing was added.

        Raises:
            ReviewError: For an unknown or reviewed entry, or a photo without a landmark.
            DataError: When the folder cannot be written.
        """
        with self._lock("review"):  # a server and a command may decide at the same time
            entry = self.entry(entry_id)
            if entry["state"] != "open":
                raise ReviewError(
                    "already_reviewed", f"the feedback {entry_id} is {entry['state']} already"
                )
            suggested = entry["answer"] if entry["right"] else entry["correct"]
            wanted = suggested if landmark is None else landmark
            state: State = "discarded"
            stored = None
            if action == "approve":
                state = "approved" if (wanted or None) == suggested else "corrected"
                photo = self.photo(entry_id)
                if photo is not None and wanted is None:
                    raise ReviewError(
                        "landmark_needed",
                        f"the feedback {entry_id} does not say what its photo shows",
                    )
                if photo is not None and wanted is not None:
                    stored = store(wanted, [SentPhoto(photo, self._sent_hash(entry_id))])
                    for reason in stored.left_out.values():
                        raise ReviewError("left_out", f"the photo was not added: {reason}")
            decision = {"review": entry_id, "time": _now(), "state": state, "key": key,
                        "landmark": wanted if action == "approve" else None}  # fmt: skip
            with self._lock("feedback"):
                self._append(decision, decides=True)
            self._photo(entry_id).unlink(missing_ok=True)
            return self.entry(entry_id), stored

    def _lock(self, name: str) -> Any:
        return file_lock(self._folder / f".{name}.lock")

    def _photo(self, entry_id: str) -> Path:
        return self._photos / f"{entry_id}.jpg"

    def _sent_hash(self, entry_id: str) -> str:
        return str(self._read()[0][entry_id].get("sent_hash", ""))

    def _has_room(self, size: int) -> bool:
        """Is there room for a photo? Those that belong to no open entry are deleted first."""
        files = list(self._photos.glob("*.jpg"))
        if len(files) >= MAX_PHOTOS or _size(files) + size > MAX_PHOTO_BYTES:
            waiting = {one["id"] for one in self.entries().of_state("open")}
            for file in files:
                if file.stem not in waiting:  # left by a process that was killed
                    file.unlink(missing_ok=True)
            files = [file for file in files if file.exists()]
        return len(files) < MAX_PHOTOS and _size(files) + size <= MAX_PHOTO_BYTES

    def _read(self) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]], int]:
        """Entries by id, decisions by the id of their entry, and the number of other lines.

        An entry of an older version, which has no id, gets one that is made from its line.
        """
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return {}, {}, 0
        except OSError as error:
            raise DataError(read_error(self.path, error)) from None
        entries: dict[str, dict[str, Any]] = {}
        decided: dict[str, dict[str, Any]] = {}
        unreadable = 0
        for text in lines:
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            if isinstance(line, dict) and isinstance(line.get("review"), str):
                decided[line["review"]] = line
            elif isinstance(line, dict) and "right" in line:
                given = str(line.get("id") or "old-" + hashlib.sha256(text).hexdigest()[:12])
                given, copy = _NOT_OF_IDS.sub("", given), 1  # because it names a file
                entry_id = given
                while entry_id in entries:
                    copy += 1
                    entry_id = f"{given}-{copy}"
                entries[entry_id] = {**line, "id": entry_id}
            else:
                unreadable += bool(text.strip())
        return entries, decided, unreadable

    def _append(self, line: Mapping[str, Any], *, decides: bool = False) -> None:
        """Append a line, as one write."""
        data = _line(line)
        try:
            if not decides and self._bytes() + len(data) > self.max_bytes:
                self._drop_reviewed()
                if self._bytes() + len(data) > self.max_bytes:
                    raise QueueFullError(f"{self.path}: full; its entries wait for review")
            with open(self.path, "ab+", buffering=0, opener=_open_private) as file:
                size = file.seek(0, os.SEEK_END)
                if size:
                    file.seek(size - 1)
                    data = data if file.read(1) == b"\n" else b"\n" + data  # after a crash
                if file.write(data) != len(data):  # full disk: remove the partial line
                    file.truncate(size)
                    raise OSError("the disk is full")
                flush(file.fileno())
        except OSError as error:
            reason = error.strerror or str(error)
            raise DataError(f"{self.path}: cannot be written ({reason})") from None

    def _bytes(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _drop_reviewed(self) -> None:
        """Write the file again without the entries that are reviewed."""
        entries, decided, _ = self._read()
        if not entries.keys() & decided.keys():
            return
        with atomic_file(self.path, private=True) as temporary:
            temporary.write_bytes(
                b"".join(_line(line) for one, line in entries.items() if one not in decided)
            )


def feedback_of(folder: Path) -> Entries:
    """All feedback of a recognizer folder. Raises DataError when there is no such folder."""
    require_folder(folder)
    return FeedbackStore(folder).entries()


def review_feedback(
    folder: Path, entry_id: str, action: Action, landmark: str | None = None, *, device: str
) -> EditResult:
    """Approve or discard an entry of a recognizer folder, also while a server runs on it.

    Args:
        folder: The recognizer folder.
        entry_id: The entry.
        action: "approve" adds its photo to the gallery, where one was sent.
        landmark: What the photo shows; "" = no landmark; None = what the entry says.
        device: Of the embedder, as `load_embedder` takes it.

    Raises:
        DataError: For an unknown or reviewed entry, or a photo without a landmark.
        OptionError: For a name that no landmark may have.
    """
    require_folder(folder)
    require_writable(folder, folder=True)

    def store(label: str, photos: Sequence[SentPhoto]) -> StoredPhotos:
        embedder = load_embedder(folder / "embedder", device=device)
        return store_photos(folder, embedder, label, photos, move=True)

    try:
        entry, stored = FeedbackStore(folder).review(entry_id, action, landmark, store)
    except ReviewError as error:
        if error.code == "landmark_needed":
            raise ReviewError(error.code, f"{error}; --landmark NAME says it") from None
        raise
    counts: dict[str, int | str] = {"state": entry["state"]}
    notes: tuple[str, ...] = ()
    if stored:
        counts |= {"landmark": entry["landmark"] or "", "added": len(stored.added),
                   "already there": len(stored.there), "moved": len(stored.moved)}  # fmt: skip
    elif action == "approve":
        notes = ("only noted: no photo was sent with it, so the gallery stays as it is",)
    return EditResult(counts, notes=notes)


def entry_in_words(entry: FeedbackObject) -> str:
    """An entry as a line."""
    said = "right" if entry["right"] else f"wrong, it is {entry['correct'] or 'not said what'}"
    decided = "" if entry["state"] == "open" else f"{entry['state']} {entry['landmark'] or ''}"
    photo = "with its photo" if entry["image"] else ""
    parts = (entry["photo"], f"answered {entry['answer'] or 'no landmark'}: {said}", entry["note"],
             photo, decided)  # fmt: skip
    one_line = [" ".join(part.split()) for part in parts if part]
    return "  ".join([entry["id"], entry["time"], *one_line])


def _line(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=True) + "\n").encode()


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _size(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
