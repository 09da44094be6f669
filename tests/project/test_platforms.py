"""Systems other than Linux: modules can be imported there, locks hold, cores are counted."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest

import whichlandmark
from whichlandmark.core import disks, hardware

SOURCE = Path(whichlandmark.__file__).parent

# Run in a fresh interpreter. Our modules, and no others, get `os` and `signal` without what Windows
# (and, of the first, macOS) lacks, and cannot import the modules that Windows lacks.
AS_ON_WINDOWS = """
import builtins, importlib, pkgutil, os, signal, sys, types

NO_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix"}
NO_NAMES = {
    "os": ["sched_getaffinity", "pread", "pwrite", "fork", "sysconf", "getuid", "geteuid",
           "getloadavg", "getpgid", "killpg", "setsid", "statvfs", "mkfifo", "posix_fadvise"],
    "signal": ["SIGKILL", "SIGPROF", "SIGSTOP", "SIGHUP", "SIGALRM", "ITIMER_PROF", "setitimer"],
}
LACKING = {}
for name, missing in NO_NAMES.items():
    copy = types.ModuleType(name)
    copy.__dict__.update(vars(sys.modules[name]))
    for attribute in missing:
        copy.__dict__.pop(attribute, None)
    LACKING[name] = copy
real = builtins.__import__

def importing(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and str((globals or {}).get("__name__", "")).startswith("whichlandmark"):
        if name in NO_MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in LACKING:
            return LACKING[name]
    return real(name, globals, locals, fromlist, level)

builtins.__import__ = importing
import whichlandmark
found = []
for module in pkgutil.walk_packages(whichlandmark.__path__, "whichlandmark."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
            found.append(module.name)
        except ModuleNotFoundError as error:  # of an extra that is not installed
            if error.name in NO_MODULES or error.name.startswith("whichlandmark"):
                raise
from whichlandmark.core.hardware import cpu_count, hardware_facts
assert cpu_count() == os.cpu_count(), cpu_count()
assert hardware_facts()["memory (GB)"] == "not known"
print(len(found))
"""

# Where a name that some systems lack may stand, because it is guarded or never reached there.
ALLOWED = {
    "cli/config.py": {"geteuid"},
    "core/hardware.py": {"sched_getaffinity", "sysconf"},
    "core/disks.py": {"fcntl", "geteuid"},
    "core/files.py": {"pread"},
    "core/raw_worker.py": {"resource", "setitimer", "ITIMER_PROF"},
    "gallery/sqlite/pages.py": {"pread", "pwrite"},
    "serving/decode_worker.py": {"resource", "setitimer", "SIGKILL", "ITIMER_PROF"},
    "serving/decode_pool.py": {"SIGPROF"},
}
SOME_SYSTEMS_ONLY = {
    "sched_getaffinity", "sysconf", "pread", "pwrite", "fork", "getuid", "geteuid", "getloadavg",
    "setsid", "killpg", "fcntl", "resource", "pwd", "grp", "termios", "setitimer", "SIGKILL",
    "SIGPROF", "SIGSTOP", "ITIMER_PROF",
}  # fmt: skip


def names_of_some_systems(source: Path) -> list[str]:
    """Where a module uses what not every system has, beyond what is allowed to it."""
    wrong = []
    for path in sorted(source.rglob("*.py")):
        place = path.relative_to(source).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or "", *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names = [node.attr] if node.value.id in ("os", "signal") else []
            used = SOME_SYSTEMS_ONLY.intersection(names) - ALLOWED.get(place, set())
            wrong += [f"{place}:{node.lineno}: {name}" for name in sorted(used)]
    return wrong


def test_every_module_is_importable_without_the_names_of_linux() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", AS_ON_WINDOWS], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert int(ran.stdout.split()[-1]) > 100  # modules, all of them


def test_names_of_some_systems_stand_where_they_are_guarded(tmp_path: Path) -> None:
    assert names_of_some_systems(SOURCE) == []
    (tmp_path / "a.py").write_text("import os\nimport fcntl\nn = len(os.sched_getaffinity(0))\n")
    assert names_of_some_systems(tmp_path) == ["a.py:2: fcntl", "a.py:3: sched_getaffinity"]


def test_cores_of_a_process_or_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert hardware.cpu_count() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert hardware.cpu_count() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert hardware.cpu_count() == 1


def test_processors_of_apple_are_told_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert hardware.has_exact_int8()


HOLDS = """
import sys, time
from whichlandmark.core.disks import file_lock
with file_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_a_lock_is_waited_for_and_a_killed_process_gives_it_up(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path), "1.0"], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        held = time.monotonic()
        with disks.file_lock(path):
            assert time.monotonic() - held > 0.9
    assert started < held
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path), "600"], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        other.kill()
        with disks.file_lock(path):
            pass


def test_the_lock_of_windows_waits_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for `msvcrt`, whose lock refuses at once when another holds it."""
    inner, calls = threading.Lock(), []

    def locking(descriptor: int, mode: int, length: int) -> None:
        calls.append((mode, length, os.lseek(descriptor, 0, os.SEEK_CUR)))
        if mode == stand_in.LK_UNLCK:
            inner.release()
        elif not inner.acquire(blocking=False):
            raise OSError(13, "Permission denied")

    stand_in = types.SimpleNamespace(LK_NBLCK=2, LK_UNLCK=0, locking=locking)
    monkeypatch.setitem(sys.modules, "msvcrt", stand_in)  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "platform", "win32")
    order: list[str] = []

    def second() -> None:
        with disks.file_lock(tmp_path / "lock"):
            order.append("second")

    def first() -> None:
        with disks.file_lock(tmp_path / "lock"):
            thread.start()
            time.sleep(0.2)
            order.append("first")
            raise ValueError("inside")

    thread = threading.Thread(target=second)
    with pytest.raises(ValueError, match="inside"):
        first()
    thread.join(5)
    assert order == ["first", "second"]
    assert not inner.locked()
    assert {call[1:] for call in calls} == {(1, 0)}  # the first byte, every time
    assert len(calls) > 4  # it asked again
