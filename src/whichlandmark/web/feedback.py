"""The review queue: what people say of answers, one JSON object a line. Photos are not kept."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import DataError
from .problems import ApiError

HOUR = 3600


class Feedback:
    """A file that only grows, up to a limit; each line is written whole."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self.path, self.most_bytes = path, most_bytes
        self._lock = threading.Lock()

    def add(self, entry: dict[str, Any]) -> None:
        """Append one entry, with its time. Raises ApiError 503 when the queue is full.

        One `write` to a file opened for appending: lines of several processes do not mix.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = (json.dumps({"time": now, **entry}, ensure_ascii=True) + "\n").encode()
        with self._lock:
            try:
                self._append(line)
            except OSError as error:
                reason = error.strerror or str(error)
                raise DataError(f"{self.path}: cannot be written ({reason})") from None

    def _append(self, line: bytes) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            size = os.fstat(file).st_size
            if size + len(line) > self.most_bytes:
                raise ApiError(
                    503, "queue_full", "The review queue is full.",
                    "The operator has to work through it first.", retry=HOUR,
                )  # fmt: skip
            if os.write(file, line) != len(line):  # a full disk: half a line must not stay
                os.ftruncate(file, size)
                raise OSError("the disk is full")
            os.fsync(file)
        finally:
            os.close(file)
