"""The architecture: import layers, the public API, light imports, documented commands.

Each rule is a function of a folder, so that tests can apply it to a folder with a planted fault.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import whichlandmark

SOURCE = Path(whichlandmark.__file__).parent
ROOT = SOURCE.parent.parent

# Lowest first: a package imports from the layers below its own, not from packages of its layer.
LAYERS = [
    ["core"],
    ["features", "gallery", "metrics"],
    ["training", "recognition"],
    ["evaluation", "data"],
    ["serving", "collect", "library"],
    ["cli"],
]
MAX_ROOT_ENTRIES = 15  # files and folders directly in src/whichlandmark
MAX_SOURCE_FILES = 347
# Where torch and timm may be imported: training, and the embedders around a torch network.
TORCH = ("training", "features/embedders/torch_", "features/embedders/load.py",
         "data/cleaning/places365.py")  # fmt: skip
# Modules that run what they read.
PICKLES = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
HEAVY = ("numpy", "torch", "timm", "faiss", "cv2", "matplotlib", "sklearn", "jinja2", "PIL", "rich",
         "fastapi", "pydantic")  # fmt: skip


def imports(source: Path) -> list[tuple[str, str]]:
    """(package, imported package) of every import within this package, inside functions too."""
    found = []
    for path in sorted(source.rglob("*.py")):
        module = path.relative_to(source).with_suffix("").parts
        if module in (("__init__",), ("__main__",)):
            continue  # the public API and the script import from every layer, lazily
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom):
                continue
            if node.level:
                base = module[: len(module) - node.level]
                target = [*base, *(node.module or "").split(".")]
            elif (node.module or "").startswith("whichlandmark."):
                target = (node.module or "").split(".")[1:]
            else:
                continue
            names = [part for part in target if part] or [alias.name for alias in node.names]
            found.append((module[0], names[0]))
    return found


def wrong_imports(source: Path) -> list[str]:
    """Imports that go up, or sideways to another package of the same layer."""
    layer = {name: level for level, names in enumerate(LAYERS) for name in names}
    wrong = []
    for package, imported in imports(source):
        if package == imported:
            continue
        if package not in layer or imported not in layer:
            wrong.append(f"{package} → {imported}: a package without a layer")
        elif layer[imported] > layer[package]:
            wrong.append(f"{package} → {imported}: upward")
        elif layer[imported] == layer[package]:
            wrong.append(f"{package} → {imported}: sideways")
    return wrong


def torch_outside(source: Path) -> list[str]:
    """Files that import torch or timm where they may not."""
    wrong = []
    for path in sorted(source.rglob("*.py")):
        place = path.relative_to(source)
        if place.as_posix().startswith(TORCH):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong += [f"{place}: {n}" for n in names if n.split(".")[0] in ("torch", "timm")]
    return wrong


def unpickling(source: Path) -> list[str]:
    """Places that would run a pickle: modules that read them, numpy and torch allowed to."""
    wrong = []
    for path in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found = [name for name in names if name.split(".")[0].lstrip("_") in PICKLES]
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                if given.get("allow_pickle", "False") != "False":
                    found.append("allow_pickle")
                if called == "torch.load" and given.get("weights_only") != "True":
                    found.append(called)
                if called in ("pandas.read_pickle", "pd.read_pickle"):
                    found.append(called)
            wrong += [f"{path.relative_to(source)}: {name}" for name in found]
    return wrong


def undocumented(verbs: list[str], text: str) -> list[str]:
    return [verb for verb in verbs if f"whichlandmark {verb}" not in text]


def loaded_by(code: str) -> set[str]:
    """Heavy modules in memory after running code in a fresh interpreter."""
    script = f"{code}\nimport sys; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(ran.stdout.splitlines()[-1].split())


def test_imports_only_go_down() -> None:
    assert wrong_imports(SOURCE) == []
    assert len(imports(SOURCE)) > 400  # so the rule was not applied to nothing


def test_every_package_has_a_layer() -> None:
    packages = {p.name for p in SOURCE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert packages == {name for names in LAYERS for name in names}
    assert sorted(p.name for p in SOURCE.glob("*.py")) == ["__init__.py", "__main__.py"]


def test_the_package_stays_small() -> None:
    entries = [p for p in SOURCE.iterdir() if p.name != "__pycache__"]
    assert len(entries) <= MAX_ROOT_ENTRIES
    assert len(list(SOURCE.rglob("*.py"))) <= MAX_SOURCE_FILES


@pytest.mark.parametrize(
    ("place", "line", "fault"),
    [
        ("core/images.py", "from ..gallery.base import Gallery", "core → gallery: upward"),
        ("metrics/ranking.py", "from ..features import local", "metrics → features: sideways"),
        (
            "training/losses.py",
            "def f():\n    from ..recognition import rules",
            "training → recognition: sideways",
        ),
        ("features/pipeline.py", "from .. import training", "features → training: upward"),
        ("core/errors.py", "from whichlandmark.cli.app import app", "core → cli: upward"),
        ("cli/app.py", "from ..helpers import nice", "a package without a layer"),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, place: str, line: str, fault: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_text(line + "\n")
    assert any(fault in found for found in wrong_imports(tmp_path))


def test_torch_is_imported_only_where_allowed(tmp_path: Path) -> None:
    assert torch_outside(SOURCE) == []
    (tmp_path / "search.py").write_text("import torch.nn as nn\n")
    assert torch_outside(tmp_path) == ["search.py: torch.nn"]


def test_nothing_runs_a_pickle(tmp_path: Path) -> None:
    """`core/safe_pickle.py` reads them as data; it needs none of these either."""
    assert unpickling(SOURCE) == []
    (tmp_path / "a.py").write_text(
        "import pickle\nfrom joblib import load\nnumpy.load(x, allow_pickle=True)\ntorch.load(x)\n"
        "torch.load(x, weights_only=True)\nnumpy.load(x, allow_pickle=False)\n"
    )
    assert unpickling(tmp_path) == [
        "a.py: pickle", "a.py: joblib", "a.py: allow_pickle", "a.py: torch.load"
    ]  # fmt: skip


def test_public_api_is_unchanged() -> None:
    assert len(whichlandmark.__all__) <= 20
    assert sorted(whichlandmark.__all__) == dir(whichlandmark)
    for name in whichlandmark.__all__:
        first = getattr(whichlandmark, name)
        assert getattr(whichlandmark, name) is first
        assert callable(first), f"{name} is hidden by a module of the same name"
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = whichlandmark.trian


@pytest.mark.slow
def test_public_api_survives_any_order_of_imports() -> None:
    """A module with the name of a public function must not shadow it."""
    code = (
        "import whichlandmark as wl, whichlandmark.training.train;"
        "import whichlandmark.recognition.recognizer;"
        "import whichlandmark.evaluation.evaluate; from whichlandmark import train, evaluate;"
        "assert callable(wl.train) and callable(wl.evaluate) and callable(wl.load)"
    )
    assert "torch" in loaded_by(code)  # the code ran to its end, where `train` is loaded


def test_importing_and_help_load_no_heavy_module() -> None:
    assert loaded_by("import whichlandmark") == set()
    help_call = (
        "import sys; sys.argv = ['whichlandmark', '--help']\n"
        "from whichlandmark.cli import main\n"
        "try: main()\nexcept SystemExit: pass"
    )
    assert loaded_by(help_call) <= {"rich"}  # help is printed by it
    assert loaded_by("import torch") >= {"torch"}  # loaded_by detects a module that is loaded


def test_every_command_is_documented() -> None:
    from whichlandmark.cli.verbs import VERBS

    verbs = [*VERBS]
    assert len(verbs) >= 10
    text = (ROOT / "docs" / "cli.md").read_text()
    assert undocumented(verbs, text) == []
    assert undocumented([*verbs, "fly"], text) == ["fly"]


def test_files_and_functions_stay_small() -> None:
    long = []
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text()
        if text.count("\n") > 400:
            long.append(f"{path.name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno > 60:
                long.append(f"{path.name}: {node.name}")
    assert long == []
