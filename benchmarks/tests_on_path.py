"""Put the repository on `sys.path`, so that benchmarks can import `tests.support` after this."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
