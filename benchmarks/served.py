"""Start a server process for benchmarks, and read its memory from /proc."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Served(NamedTuple):
    """A running server.

    Attributes:
        pid: of the server process.
        port: on loopback.
        folder: the copy of the recognizer that it serves.
        log: the lines of its log.
    """

    pid: int
    port: int
    folder: Path
    log: list[str]


@contextmanager
def serving(recognizer: Path, *options: str) -> Iterator[Served]:
    """Serve a copy of a recognizer folder while the block runs; the server must exit with 0."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(recognizer, Path(place) / "copy.wl"))
        command = [sys.executable, "-m", "whichlandmark.cli", "serve", str(folder), "--port", "0"]
        process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        first = next((line for line in process.stderr if "serving http" in line), "")
        found = re.search(r"http://127\.0\.0\.1:(\d+)", first)
        if not found:
            raise SystemExit(f"the server did not start: {process.stderr.read()[-500:]}")
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stderr or []))
        reader.start()
        try:
            yield Served(process.pid, int(found[1]), folder, lines)
        finally:
            process.terminate()
            process.wait(40)
            reader.join()
        if process.returncode:
            raise SystemExit(f"the server ended with {process.returncode}: {lines[-3:]}")


def children(pid: int) -> list[int]:
    """Child processes of a process, started by any of its threads."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def memory(pid: int, name: str = "VmRSS") -> float:
    """Resident MB of a process, now (VmRSS) or at the peak (VmHWM); 0 when it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    return int(found[1]) * 1024 / 1e6 if found else 0.0
