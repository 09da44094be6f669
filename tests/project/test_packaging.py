"""The package: one version, bounds that are tested, and files that releases need."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import whichlandmark

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def lower_bounds(requirements: list[str]) -> dict[str, str]:
    """Name → the version after ">=", or after "==", which pins one."""
    found = [re.match(r"([\w.-]+)(?:\[[\w,]+\])?[>=]=([\w.]+)", line) for line in requirements]
    assert all(found), f"each of {requirements} needs a lower bound"
    return {match[1].lower(): match[2] for match in found if match}


def minimum_versions() -> dict[str, str]:
    """What `make test-minimum` installs: name → version."""
    lines = (ROOT / "requirements" / "minimum.txt").read_text(encoding="utf-8").splitlines()
    pairs = [re.split("[#;]", line)[0].strip().split("==") for line in lines if "==" in line]
    return {re.sub(r"\[.*\]", "", name).lower(): version for name, version in pairs}


def test_the_version_is_in_one_place() -> None:
    assert whichlandmark.__version__ == PROJECT["version"]
    written = re.compile(r"""^\s*(__version__|version)\s*[:=]\s*["']?\d+\.\d+""", re.M)
    files = [ROOT / "CITATION.cff", *sorted((ROOT / "src" / "whichlandmark").rglob("*.py"))]
    again = [path.name for path in files if written.search(path.read_text(encoding="utf-8"))]
    assert again == []


def test_the_command_line_prints_its_version_and_loads_little() -> None:
    code = (
        "import sys; sys.argv = ['whichlandmark', '--version']\n"
        "from whichlandmark.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({'numpy', 'torch', 'faiss', 'cv2', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"whichlandmark {PROJECT['version']}", "[]"]


UNTESTED = {"train", "match", "fast", "bench", "dev"}  # as installed by `make setup`: the newest


@pytest.mark.parametrize("extra", ["", *sorted(set(PROJECT["optional-dependencies"]) - UNTESTED)])
def test_lower_bounds_are_the_tested_minimum_versions(extra: str) -> None:
    requirements = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    tested = minimum_versions()
    for name, version in lower_bounds(requirements).items():
        if name not in {"ray"}:  # too large for that run; docs/decisions/0001 names what was tested
            assert re.fullmatch(rf"{re.escape(version)}(\.\d+)*", tested[name]), name


def test_a_missing_extra_skips_and_any_other_error_fails(tmp_path: Path) -> None:
    (tmp_path / "test_file.py").write_text("import timm.never\ndef test_it(): pass\n")
    (tmp_path / "test_core.py").write_text("import nowhere_to_be_found\n")
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def fail(name): raise ModuleNotFoundError('no', name=name)\n"
        "@pytest.fixture\n"
        "def network(): fail('torch.nn')\n"
        "def test_by_fixture(network): pass\n"
        "def test_itself(): fail('ray')\n"
        "def test_behind():\n"
        "    try: fail('openvino')\n"
        "    except ImportError as error: raise ValueError('install it') from error\n"
        "def test_core(): fail('numpy')\n"
        "def test_wrong(): assert 1 == 2\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.skip_missing",
               "-p", "no:cacheprovider", "-p", "no:schemathesis", "--rootdir", tmp_path,
               "--continue-on-collection-errors", "-c", "/dev/null", tmp_path]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "2 failed, 4 skipped, 1 error" in done.stdout, done.stdout


def test_skipping_what_is_missing_works_beside_the_fixtures() -> None:
    """As `make test-minimum` starts it: with this project's settings and `tests/conftest.py`."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.skip_missing",
               "-p", "no:cacheprovider", "--collect-only", "tests/metrics"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_ranking.py::" in done.stdout
