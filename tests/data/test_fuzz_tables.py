"""Mutated tables and tars raise our errors only: a small seeded run of fuzz_tables.py."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_mutated_tables_and_tars_raise_only_our_errors(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("fuzz", ROOT / "benchmarks" / "fuzz_tables.py")
    assert spec
    assert spec.loader
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    code = fuzz.main(["--count", "150", "--tars", "60", "--seed", "7", "--slow", "20"])
    found = json.loads(capsys.readouterr().out)
    assert code == 0, found
    assert found["csv"]["outcomes"]["table / table"] > 10
    assert found["tar"]["outcomes"]["table"] > 10
