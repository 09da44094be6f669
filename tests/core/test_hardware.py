"""Idle BLAS and OpenMP threads sleep in every verb except those that train; Ctrl-C and children."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from whichlandmark.core import hardware

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
def test_idle_threads_sleep_for_every_verb_but_training(
    arguments: list[str], expected: str
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split("\n")[-2] == expected


def test_processes_that_ignore_ctrl_c() -> None:
    """A terminal sends it to all of them; only the parent answers."""
    code = "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
    before = signal.getsignal(signal.SIGINT)
    with hardware.children_without_interrupts():
        child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert child.stdout.strip() == b"True"
    assert signal.getsignal(signal.SIGINT) is before
