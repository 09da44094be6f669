"""Fixtures that several packages of tests use, and each test process's share of the cores.

`tests` is a package whose folders mirror the packages of `whichlandmark`, so that two test modules
may have the same file name and any of them can import `tests.support`. pytest puts the folder above
`tests` on `sys.path`; nothing else has to be set, with or without pytest-xdist.

    make test                                          everything, on all cores
    pytest -n 4 --dist worksteal -m "not slow"         a quick run
    pytest -m "not server and not browser"

Tests may run in several processes at once: a test uses `tmp_path`, port 0 (or a free one), and the
PostgreSQL server of its own process. `worksteal` gives each process consecutive tests, so that a
module's fixture is usually created only once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if PROCESSES > 1:  # before numpy or torch is loaded: the libraries read these once
    CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    SHARE = str(max(1, (CORES or 1) // PROCESSES))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, SHARE)

import pytest  # noqa: E402

pytest.register_assert_rewrite("tests.support")

from tests.support.photos import write_colour_world  # noqa: E402


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run a failed test in a browser once more, and report that: a busy machine delays browsers.

    A fault of the page fails both times.
    """
    if config.pluginmanager.hasplugin("rerunfailures"):
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(trylast=True)  # after the fixtures of a module
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Close the browser that tests share before one without a browser, which may use asyncio."""
    if item.get_closest_marker("browser") and not (
        nextitem and nextitem.get_closest_marker("browser")
    ):
        from tests.support.page_browser import close_browsers

        close_browsers()


@pytest.fixture(autouse=True)
def _logging_ends() -> Iterator[None]:
    """End the logging that `serve` starts in this process: pytest closes its stderr with the test.

    A server of a later test would write to the closed file.
    """
    package = logging.getLogger("whichlandmark")
    level = package.level
    yield
    root = logging.getLogger()
    for handler in [one for one in root.handlers if type(one) is logging.StreamHandler]:
        root.removeHandler(handler)
    package.setLevel(level)


@pytest.fixture(autouse=True)
def _no_config_of_ones_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No test reads the config file of whoever runs it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "no-config"))
    monkeypatch.delenv("WHICHLANDMARK_CONFIG", raising=False)
    monkeypatch.delenv("WHICHLANDMARK_RECOGNIZER", raising=False)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Run torch on one thread: small networks gain nothing from more and slow other tests down."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def not_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the ONNX export, which takes seconds, in tests of something else; torch is used."""
    from whichlandmark.features.embedders.torch_embedder import TorchEmbedder

    monkeypatch.setattr(TorchEmbedder, "export", lambda self, folder: None)


@pytest.fixture
def two_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold out queries in 2 folds instead of 5, for tests that look at no fitted number.

    Each fold fits a whitening, which takes most of a second for the 1,280 numbers of lite0.
    """
    from whichlandmark.recognition.fitting import leave_one_out

    monkeypatch.setattr(leave_one_out, "FOLDS", 2)


@pytest.fixture
def colour_world(tmp_path: Path) -> Path:
    """A new folder as `write_colour_world` fills it."""
    return write_colour_world(tmp_path)


@pytest.fixture
def without_heic(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra `heic` is not installed."""
    from whichlandmark.core import file_kinds

    formats = tuple(name for name in file_kinds.photo_formats() if name != "HEIC")
    monkeypatch.setattr(file_kinds, "photo_formats", lambda: formats)


@pytest.fixture
def without_raw(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra `raw` is not installed."""
    from whichlandmark.core import file_kinds

    monkeypatch.setattr(file_kinds, "raw_is_read", lambda: False)
