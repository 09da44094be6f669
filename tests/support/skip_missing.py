"""Skip tests that need an extra that is not installed: `pytest -p tests.support.skip_missing`.

The tests of the lowest versions run without torch. With this plugin, a module that is not installed
skips its test or its whole file, and the summary has the reasons. Without the plugin the test
fails, because a complete installation must have all modules.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Generator
from typing import Any

import pytest

SKIPPABLE = frozenset(
    {
        "accelerate",
        "axe_playwright_python",
        "google",
        "onnx",
        "onnxscript",
        "openvino",
        "playwright",
        "pytorch_metric_learning",
        "ray",
        "schemathesis",
        "tensorboard",
        "timm",
        "torch",
        "torchvision",
    }
)


def module_named_in(text: object) -> str:
    """The package that a traceback reports as missing, or an empty string."""
    found = re.search(r"No module named '(\w+)", str(text))
    return found[1] if found else ""


def missing(error: BaseException | None) -> str | None:
    """The missing package of an extra that caused an error, or None."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            name = error.name.partition(".")[0]
        elif isinstance(error, subprocess.CalledProcessError):
            name = module_named_in(error.stderr)
        else:
            name = ""
        if name in SKIPPABLE:
            return name
        error = error.__cause__ or error.__context__
    return None


def skipping() -> Generator[None, Any, Any]:
    """Run one step of a test, and skip the test when a module is missing."""
    try:
        return (yield)
    except Exception as error:
        name = missing(error)
        if name is None:
            raise
        raise pytest.skip.Exception(f"{name} is not installed") from error


pytest_runtest_setup = pytest.hookimpl(wrapper=True)(skipping)
pytest_runtest_call = pytest.hookimpl(wrapper=True)(skipping)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip a whole file when its imports need a missing module."""
    report = yield
    if report.failed:
        name = module_named_in(report.longrepr)
        if name in SKIPPABLE:
            report.outcome = "skipped"
            report.longrepr = (str(collector.path), 1, f"Skipped: {name} is not installed")
    return report
