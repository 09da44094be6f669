"""What this machine can do at most: float32 operations a second, bytes a second.

    python benchmarks/ceilings.py

Other benchmarks quote these beside their own numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np

from whichlandmark.core.hardware import hardware_facts


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


def main() -> None:
    for name, value in hardware_facts().items():
        print(f"{name:<24}{value}")
    print(f"{'float32 matrix product':<24}{matrix_product():.1f} GFLOP/s")
    print(f"{'memory':<24}{bandwidth():.1f} GB/s, one thread copying")


if __name__ == "__main__":
    main()
