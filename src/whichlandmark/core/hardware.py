"""CPU count, processor, GPU, thread limits of BLAS/OpenMP/FAISS."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

USEFUL_FEATURES = ("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8",
           "amx_bf16", "asimd", "asimddp", "i8mm", "sve")  # fmt: skip

FAST_BYTES = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}

GPUS = ("/dev/nvidia[0-9]*", "/dev/dxg", "/dev/kfd")  # CUDA, CUDA inside Windows, ROCm


def cpu_count() -> int:
    """Cores that this process may use; all of the machine's where a process cannot be bound to some
    (macOS, Windows).
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """Its model, as the kernel or Python names it."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def features() -> list[str]:
    """The instructions that decide how fast networks run here."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return ["asimd", "asimddp"]  # every processor of Apple's has both
    info = _cpuinfo()
    words = set((info.get("flags") or info.get("Features") or "").split())
    return [name for name in USEFUL_FEATURES if name in words]


def adds_bytes_exactly() -> bool:
    """Does this processor add products of bytes without overflow? Older ones saturate."""
    return bool(FAST_BYTES & set(features()))


def memory() -> int | None:
    """Bytes of memory that the machine has; None where the system does not tell (Windows)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def gpu_in_sight() -> bool:
    """Might there be a GPU that torch can use? Looks for its device file; loads nothing."""
    return any(next(Path("/").glob(pattern[1:]), None) for pattern in GPUS)


def facts() -> dict[str, Any]:
    """What it is, without measuring."""
    size = memory()
    return {
        "processor": processor(),
        "cores": cpu_count(),
        "instructions": ", ".join(features()) or "none of those that matter",
        "memory (GB)": round(size / 1e9, 1) if size else "not known",
        "system": f"{platform.system()} {platform.release()}",
    }


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; {} where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


SETTINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # OpenMP: sleep at once
    "OPENBLAS_THREAD_TIMEOUT": "4",  # OpenBLAS: look for work for 2^4 turns, not 2^26
}


def stop_busy_waiting() -> None:
    """Set that for this process and those it starts, where the user has set nothing.

    To be called before numpy is imported; later it changes nothing.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


class _Held:
    """How many hold the linear algebra at one thread, and how to let go."""

    def __init__(self) -> None:
        from threadpoolctl import ThreadpoolController

        self.lock = Lock()
        self.holders = 0
        self.controller = ThreadpoolController()
        self.limit: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it, NumPy's products use one thread; afterwards as many as before."""
    held = _held()
    with held.lock:
        if held.holders == 0:
            held.limit = held.controller.limit(limits=1, user_api="blas")
        held.holders += 1
    try:
        yield
    finally:
        with held.lock:
            held.holders -= 1
            if held.holders == 0:
                held.limit.restore_original_limits()


@cache
def _held() -> _Held:
    return _Held()
