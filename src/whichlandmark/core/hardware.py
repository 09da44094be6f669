"""Facts about this machine (cores, processor, GPU, memory); limits on threads and on large photos.

Loads neither numpy nor torch, because `stop_busy_waiting` must run before numpy is imported.
"""

from __future__ import annotations

import gc
import os
import platform
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Lock, current_thread, main_thread
from typing import Any

from .errors import OptionError

REPORTED_INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16",
           "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "sve")  # fmt: skip

INT8_DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}

GPU_DEVICE_FILES = ("/dev/nvidia[0-9]*", "/dev/dxg", "/dev/kfd")  # CUDA, CUDA in WSL, ROCm

GPU_NAMES = ("gpu", "gpu:0", "nvidia", "0", "cuda0")  # what people write in the place of "cuda"

PASSIVE_WAITING = {
    "OMP_WAIT_POLICY": "PASSIVE",  # OpenMP: sleep at once
    "OPENBLAS_THREAD_TIMEOUT": "4",  # OpenBLAS: poll 2^4 times before sleeping, not 2^26
}


MAX_MEGAPIXELS = 50  # that are decoded of one photo; an environment variable raises it

MEGAPIXELS_VARIABLE = "WHICHLANDMARK_MAX_MEGAPIXELS"

BYTES_PER_PIXEL_OF_FILE = 2  # a photo file may have at most so many bytes for each such pixel


def cpu_count() -> int:
    """Cores that this process may use; all of the machine's on systems without CPU affinity
    (macOS, Windows).
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """The processor's model, as the kernel or Python names it."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_features() -> list[str]:
    """Instruction sets of this processor that decide how fast networks run, such as "avx2"."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return ["asimd", "asimddp"]  # every Apple processor has both
    info = _cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return [name for name in REPORTED_INSTRUCTIONS if name in flags]


def has_exact_int8() -> bool:
    """Does this processor sum int8 products without overflow? Older ones saturate at 16 bits."""
    return bool(INT8_DOT_PRODUCTS & set(cpu_features()))


def memory_bytes() -> int | None:
    """Bytes of the machine's memory; None on systems without `os.sysconf` (Windows)."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def max_megapixels() -> float:
    """Megapixels that are decoded of one photo: 50, or what WHICHLANDMARK_MAX_MEGAPIXELS says.

    Raises:
        OptionError: when the variable is not a number from 1 to 2000.
    """
    text = os.environ.get(MEGAPIXELS_VARIABLE, "").strip()
    try:
        value = float(text or MAX_MEGAPIXELS)
    except ValueError:
        value = 0.0
    if not 1 <= value <= 2000:
        raise OptionError(
            f"{MEGAPIXELS_VARIABLE}={text} given; expected a number of megapixels from 1 to 2000, "
            f"such as {MEGAPIXELS_VARIABLE}=200"
        )
    return value


def max_file_bytes() -> int:
    """Bytes that a photo file may have: 100 MB, more when more megapixels are allowed."""
    return int(max(MAX_MEGAPIXELS, max_megapixels()) * 1e6) * BYTES_PER_PIXEL_OF_FILE


def check_device(device: str) -> None:
    """Raises OptionError unless a text names a device: "auto", "cpu", "cuda", "cuda:1" …."""
    if not re.fullmatch(r"auto|(cpu|cuda)(:\d{1,3})?", device, re.ASCII):
        gpu = "; a GPU is called cuda" if device.lower() in GPU_NAMES else ""
        raise OptionError(f"device {device!r} given; expected auto, cpu or cuda{gpu}")


def gpu_device_exists() -> bool:
    """Does the machine have the device file of a GPU that torch may use? Loads no library."""
    return any(next(Path("/").glob(pattern[1:]), None) for pattern in GPU_DEVICE_FILES)


def hardware_facts() -> dict[str, Any]:
    """Processor, cores, instruction sets, memory and system, for reports. Measures nothing."""
    size = memory_bytes()
    return {
        "processor": processor_name(),
        "cores": cpu_count(),
        "instructions": ", ".join(cpu_features()) or "none of those that matter",
        "memory (GB)": round(size / 1e9, 1) if size else "not known",
        "system": f"{platform.system()} {platform.release()}",
    }


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; {} on systems without that file."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def stop_busy_waiting() -> None:
    """Let idle OpenMP and OpenBLAS threads sleep, in this process and those it starts.

    Environment variables that the user has set are left as they are. Call it before numpy is
    imported, because the libraries read the variables only once, when they are loaded.
    """
    for name, value in PASSIVE_WAITING.items():
        os.environ.setdefault(name, value)


class _BlasLimit:
    """The limit of one BLAS thread, and how many callers of `one_blas_thread` need it now."""

    def __init__(self) -> None:
        from threadpoolctl import ThreadpoolController

        self.lock = Lock()
        self.users = 0
        self.controller = ThreadpoolController()
        self.limit: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit numpy's matrix products to one thread within the block.

    Blocks of several threads may overlap: the last one to end restores the old limit.
    """
    blas = _blas_limit()
    with blas.lock:
        if blas.users == 0:
            blas.limit = blas.controller.limit(limits=1, user_api="blas")
        blas.users += 1
    try:
        yield
    finally:
        with blas.lock:
            blas.users -= 1
            if blas.users == 0:
                blas.limit.restore_original_limits()


@cache
def _blas_limit() -> _BlasLimit:
    return _BlasLimit()


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Look for no reference cycles within the block, which loads what stays until the end.

    Imports and opened files make many objects, and looking through them all takes a tenth of the
    time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, on Linux with glibc; elsewhere nothing changes.

    A training step allocates and frees hundreds of megabytes; that glibc returns each block to the
    kernel and gets it back, page by page, takes a third of a step's processor time.
    """
    import ctypes

    mmap_max, trim_threshold = -4, -1  # of mallopt(3)
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)


@contextmanager
def children_without_interrupts() -> Iterator[None]:
    """Processes that are started inside ignore Ctrl-C, which a terminal sends to all of them.

    Their parent alone answers it and ends them; otherwise each would print a traceback.
    """
    if current_thread() is not main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
