"""Measure this machine's peak: float32 operations a second, bytes copied a second.

    python benchmarks/ceilings.py

Other benchmarks print these values beside their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np

from whichlandmark.core.hardware import hardware_facts


def matrix_product(seconds: float = 0.5, side: int = 1536) -> float:
    """Measured 10⁹ float32 operations a second of a matrix product (2·side³ each)."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((side, side), dtype=np.float32) for _ in range(2))
    return 2 * side**3 / _fastest(lambda: a @ b, seconds) / 1e9


def bandwidth(seconds: float = 0.5, megabytes: int = 256) -> float:
    """Measured 10⁹ bytes a second, read and written, while one thread copies memory."""
    source = np.ones(megabytes * 2**17)
    target = np.empty_like(source)
    return 2 * source.nbytes / _fastest(lambda: np.copyto(target, source), seconds) / 1e9


def _fastest(work: Callable[[], object], seconds: float) -> float:
    """Median of the faster half of the runs, because other processes can only slow a run down."""
    work()
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while len(times) < 4 or time.perf_counter() < ends:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(sorted(times)[: len(times) // 2])


def main() -> None:
    for name, value in hardware_facts().items():
        print(f"{name:<24}{value}")
    print(f"{'float32 matrix product':<24}{matrix_product():.1f} GFLOP/s")
    print(f"{'memory':<24}{bandwidth():.1f} GB/s, one thread copying")


if __name__ == "__main__":
    main()
