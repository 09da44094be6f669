"""What several test modules share: worlds, galleries, servers, browsers."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # of the repository
