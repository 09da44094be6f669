"""Helpers of several test modules: synthetic worlds, galleries, servers, browsers.

PYTEST_DONT_REWRITE: this file has no assertion, and it is imported before `tests/conftest.py` has
the modules beside it rewritten when pytest is started with `-p tests.support.skip_missing`.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the repository's folder
