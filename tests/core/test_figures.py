"""Matplotlib is optional: commands that draw check for it first, and no other code loads it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

import whichlandmark
from tests.cli.test_commands import run
from tests.support.photos import picture
from whichlandmark.cli.demo import run_demo
from whichlandmark.core.errors import OptionError
from whichlandmark.core.figures import as_svg, new_figure
from whichlandmark.core.types import Photos
from whichlandmark.evaluation.report import report_file
from whichlandmark.training.train import train

SOURCE = Path(whichlandmark.__file__).parent
INSTALL_COMMAND = r"pip install '[^']*\[report\]'"


@pytest.fixture
def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def importing_matplotlib(source: Path) -> list[str]:
    """Files that import matplotlib at module level, not inside a function."""
    found = []
    for path in sorted(source.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "matplotlib" for name in names):
                found.append(path.relative_to(source).as_posix())
    return found


def test_matplotlib_is_loaded_only_when_a_figure_is_drawn(tmp_path: Path) -> None:
    assert importing_matplotlib(SOURCE) == []
    (tmp_path / "a.py").write_text("from matplotlib.figure import Figure\n")
    assert importing_matplotlib(tmp_path) == ["a.py"]
    code = (
        "import sys, whichlandmark.evaluation.report, whichlandmark.recognition.explanation\n"
        "import whichlandmark.cli.demo\n"
        "import whichlandmark.training.model_card\nprint('matplotlib' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


@pytest.mark.usefixtures("without_matplotlib")
def test_a_report_without_matplotlib_is_refused_before_its_file_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OptionError, match=f"a report needs matplotlib.*{INSTALL_COMMAND}"):
        report_file(tmp_path / "missing.csv", tmp_path / "out.html", title="x")
    code, _, err = run(capfd, "report", tmp_path / "missing.csv", "-o", tmp_path / "out.html")
    assert (code, "[report]'" in err) == (OptionError("").exit_code, True)


@pytest.mark.usefixtures("without_matplotlib")
def test_the_demo_and_training_fail_without_matplotlib_before_they_write(tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(OptionError, match=INSTALL_COMMAND):
        run_demo(tmp_path / "demo", seed=0, say=lines.append, progress=lambda name: print)
    assert (lines, (tmp_path / "demo").exists()) == ([], False)
    photos = Photos.of_columns(list("abcd"), list("abcd"), list("aabb"))
    with pytest.raises(OptionError, match=INSTALL_COMMAND):
        train(photos, out=tmp_path / "trained")
    assert not (tmp_path / "trained").exists()


@pytest.mark.usefixtures("without_matplotlib")
def test_an_explanation_as_png_is_refused_before_the_recognizer_is_opened(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("recognize", tmp_path / "a.jpg", "-r", tmp_path / "missing.wl", "--explain")
    code, _, err = run(capfd, *command, tmp_path / "why.png")
    assert (code, "[report]'" in err) == (OptionError("").exit_code, True)
    _, _, err = run(capfd, *command, tmp_path / "why.html")
    assert "matplotlib" not in err  # it fails for the missing recognizer


def test_a_figure_ignores_the_users_matplotlib_settings() -> None:
    def draw() -> str:
        with new_figure(2, 2, {"svg.hashsalt": "x"}) as figure:
            figure.subplots().imshow(picture(1, 0, (4, 4)))
            figure.text(0, 0, "$x^2")  # must not be parsed as a formula
            return as_svg(figure)

    plain = draw()
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30}):
        assert draw() == plain
        assert matplotlib.rcParams["font.size"] == 30
    assert np.isclose(matplotlib.rcParamsDefault["font.size"], 10)
