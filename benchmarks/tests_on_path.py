"""Import this before `tests.support`: what tests and benchmarks share lies there."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
