"""Watch a folder for new and changed photos by looking again and again.

Events of the system do not tell of changes that others make on a network share; looking works
everywhere. A file is used when nothing of it has changed for one interval, because a photo that is
being copied is not complete before that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from typing import Any

from ..core.errors import DataError, GalleryError, NetworkError, OptionError
from ..core.files import valid_text
from ..data.folders import possible_photos

MIN_INTERVAL = 1.0  # seconds

State = tuple[int, int]  # of a file: size, time of last change in ns


class Watcher:
    """Calls a function whenever a folder has photos that it has not seen as they are now.

    Attributes:
        label: Called with the files that are still changing, which it must not use.
        stamp: What else the labels depend on; `label` is called when it is another.
        tell: Called with a line for the user.
    """

    def __init__(
        self, library: str, label: Callable[[Collection[str]], None], *, interval: float,
        stamp: Callable[[], Any], tell: Callable[[str], None],
        now: Callable[[], float] = time.time, wait: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        """
        Args:
            interval: Seconds between two looks.
            now, wait: The clock; tests have their own.

        Raises:
            OptionError: When the interval is too short.
        """
        if not interval >= MIN_INTERVAL:
            raise OptionError(
                f"--interval {interval:g} given; expected seconds, {MIN_INTERVAL:g} or more"
            )
        self.library, self.label, self.interval = library, label, interval
        self.stamp, self.tell, self.now, self.wait = stamp, tell, now, wait
        self._last: dict[str, State] | None = None  # at the last look; None = there was none
        self._used: dict[str, State] = {}  # as they were when they were labelled
        self._stamp: Any = None
        self._gone = False
        self._told = ""  # the error that was told last

    def run(self) -> None:
        """Look until KeyboardInterrupt."""
        while True:
            self.look()
            self.wait(self.interval)

    def look(self) -> None:
        """Look once, and label what is ready."""
        found = self._files()
        if found is None:
            if not self._gone:
                self.tell(
                    f"{valid_text(self.library)}: not there, or empty all at once; waiting for it "
                    "(nothing is taken as deleted)"
                )
            self._gone = True
            return
        if self._gone:
            self.tell(f"{valid_text(self.library)}: there again")
            self._gone, self._last = False, None
        changing = {path for path, state in found.items() if self._is_changing(path, state)}
        ready = {path: state for path, state in found.items() if path not in changing}
        self._last = found
        stamp = self.stamp()
        if stamp == self._stamp and all(self._used.get(path) == ready[path] for path in ready):
            return
        try:
            self.label(changing)
        except (GalleryError, NetworkError) as error:  # busy, or a server is away: later again
            if str(error) != self._told:
                self._told = str(error)
                self.tell(f"{error} (tried again every {self.interval:g} s)")
            return
        except DataError:
            if self._files() is None:  # it vanished meanwhile; the next look says so
                return
            raise
        self._stamp, self._told = stamp, ""
        self._used = {
            **{path: self._used[path] for path in changing if path in self._used},
            **ready,
        }

    def _is_changing(self, path: str, state: State) -> bool:
        """Has a file changed within the last interval?"""
        if self._last is not None:
            return self._last.get(path) != state
        return abs(self.now() - state[1] / 1e9) < self.interval

    def _files(self) -> dict[str, State] | None:
        """Every file that may be a photo; None where the folder is not there, or has lost all.

        The folder of a disk that is not mounted is empty.
        """
        if not os.path.isdir(self.library):
            return None
        found: dict[str, State] = {}
        for path in possible_photos(self.library):
            try:
                status = os.stat(path)
            except OSError:
                continue
            found[path] = (status.st_size, status.st_mtime_ns)
        return None if not found and self._used else found
