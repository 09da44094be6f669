"""Helpers of several test modules: synthetic worlds, galleries, servers, browsers."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the repository's folder
