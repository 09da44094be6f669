"""Threads of numpy's and FAISS's libraries that have nothing to do leave the processor to others.

After a product OpenBLAS's threads look for more work for tens of milliseconds, and those of OpenMP
for some: on few cores they take them from the next library's threads, which then do the same. The
libraries read these variables when they are loaded.
"""

from __future__ import annotations

import os

SETTINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # OpenMP: sleep at once
    "OPENBLAS_THREAD_TIMEOUT": "4",  # OpenBLAS: look for work for 2^4 turns, not 2^26
}


def rest_when_idle() -> None:
    """Set that for this process and those it starts, where the user has set nothing.

    To be called before numpy is imported; later it changes nothing.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
