"""This machine: its processor, what it can do, and what that is measured to be worth."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

TELLING = ("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8",
           "amx_bf16", "asimd", "asimddp", "i8mm", "sve")  # fmt: skip
FAST_BYTES = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
GPUS = ("/dev/nvidia[0-9]*", "/dev/dxg", "/dev/kfd")  # CUDA, CUDA inside Windows, ROCm


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def processor() -> str:
    """Its model, as the kernel or Python names it."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def features() -> list[str]:
    """The instructions that decide how fast networks run here."""
    info = _cpuinfo()
    words = set((info.get("flags") or info.get("Features") or "").split())
    return [name for name in TELLING if name in words]


def adds_bytes_exactly() -> bool:
    """Does this processor add products of bytes without overflow? Older ones saturate."""
    return bool(FAST_BYTES & set(features()))


def memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def gpu_in_sight() -> bool:
    """Might there be a GPU that torch can use? Looks for its device file; loads nothing."""
    return any(next(Path("/").glob(pattern[1:]), None) for pattern in GPUS)


def matrix_product(seconds: float = 0.5, side: int = 1536) -> float:
    """Measured: float32 operations a second of a matrix product, in 10⁹ (2·side³ each)."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((side, side), dtype=np.float32) for _ in range(2))
    return 2 * side**3 / _fastest(lambda: a @ b, seconds) / 1e9


def bandwidth(seconds: float = 0.5, megabytes: int = 256) -> float:
    """Measured: 10⁹ bytes a second that one thread copies, read and written both counted."""
    source = np.ones(megabytes * 2**17)
    target = np.empty_like(source)
    return 2 * source.nbytes / _fastest(lambda: np.copyto(target, source), seconds) / 1e9


def facts() -> dict[str, Any]:
    """What it is, without measuring."""
    return {
        "processor": processor(),
        "cores": cores(),
        "instructions": ", ".join(features()) or "none of those that matter",
        "memory (GB)": round(memory() / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def _fastest(work: Callable[[], object], seconds: float) -> float:
    """Median of the faster half of runs: others on the machine only ever slow a run down."""
    work()
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while len(times) < 4 or time.perf_counter() < ends:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(sorted(times)[: len(times) // 2])


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; {} where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
