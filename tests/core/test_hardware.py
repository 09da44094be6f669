"""Every verb but those that train lets idle library threads sleep, before any is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import os, sys
for name in ("OMP_WAIT_POLICY", "OPENBLAS_THREAD_TIMEOUT"):
    os.environ.pop(name, None)
from whichlandmark.cli import main
assert "numpy" not in sys.modules
try:
    main()
except SystemExit:
    print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("OPENBLAS_THREAD_TIMEOUT"))
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["gallery", "list", "/nowhere"], "PASSIVE 4"),
     (["train", "/nowhere.csv", "-o", "/nowhere"], "None None")],
)  # fmt: skip
def test_threads_rest_unless_a_network_is_trained(arguments: list[str], expected: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split("\n")[-2] == expected
