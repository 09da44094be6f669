"""A server process on a copy of a recognizer folder, and axe-core on a page of it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def served(recognizer: Path) -> Iterator[str]:
    """The address of a server on a copy of a folder, so that the folder stays as it is."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        copy = shutil.copytree(recognizer, Path(folder) / "copy.wl")
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
        free.close()
        command = [sys.executable, "-m", "whichlandmark.cli", "serve", str(copy), "--port", port]
        with open(Path(folder) / "log", "wb") as log:
            server = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/livez", server, Path(folder) / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path, timeout: float = 60) -> None:
    """Wait until a server answers. Exits with the end of its log when it does not."""
    until = time.monotonic() + timeout
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(url, timeout=2).close()
        time.sleep(0.2)
    sys.exit(f"the server did not start:\n{log.read_text()[-2000:]}")


def with_axe(context: Any) -> Any:
    """Inject axe-core into every page of a context, regardless of its Content-Security-Policy."""
    import axe_playwright_python

    source = Path(axe_playwright_python.__file__).parent / "axe.min.js"
    context.add_init_script(path=source)
    return context


def axe(page: Any) -> list[str]:
    """Violations that axe-core rates serious or critical."""
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    severe = [rule for rule in found["violations"] if rule["impact"] in ("serious", "critical")]
    return [f"{rule['id']}: {node['html'][:100]}" for rule in severe for node in rule["nodes"]]
