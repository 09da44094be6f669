"""The architecture: import layers, the public API, light imports, documented commands.

Each rule is a function of a folder, so that a test can plant its fault and see it found.
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

# From the ground up; a module may import from its own line's package or from lines before it.
FLOORS = [
    ["errors"],
    [
        "types",
        "options",
        "files",
        "figures",
        "storage",
        "embedder_folder",
        "machine",
        "idle_threads",
        "runtimes",
    ],
    ["images", "preprocessing", "thumbnails", "looking"],
    [
        "data",
        "embedders",
        "net",
        "search",
        "reranking",
        "calibration",
        "metrics",
        "verification",
        "location",
        "stacking",
        "pipeline",
    ],
    ["predictions", "words", "rules"],
    ["scores"],
    ["plots"],
    ["gallery"],
    ["geometry", "whitening", "segments"],
    ["geography", "query"],
    ["far"],
    ["loading", "scoring"],
    ["fill"],
    ["sharding"],
    ["candidates"],
    ["quantising", "doctor"],
    ["embedder_making"],
    ["deciding"],
    ["self_questions", "train_config"],
    ["fitting", "settings", "seen"],
    ["opening"],
    ["training_parts", "training_data", "model_card"],
    ["validation"],
    ["training_run"],
    ["training"],
    ["recognition", "recognizer_folder"],
    ["leaks", "questions", "answering", "answer_object"],
    ["explanation"],
    [
        "indexing",
        "evaluation",
        "comparison",
        "report",
        "gallery_editing",
        "explaining",
        "tuning",
        "moving",
    ],
    ["graph_cleaning", "cleaning_page", "gallery_care"],
    ["table_cleaning"],
    ["demo"],
    ["console"],
    ["web"],
    ["cli"],
]
TORCH_ROOMS = ("net", "training.py", "training_run.py", "training_data.py", "training_parts.py",
               "loading.py")  # fmt: skip
SIBLINGS_APART = 3  # tools do not know each other
HEAVY = ("numpy", "torch", "timm", "faiss", "cv2", "matplotlib", "sklearn", "jinja2", "PIL", "rich",
         "fastapi", "pydantic")  # fmt: skip


def room(module: str) -> str:
    return module.split(".")[0]


def imports(source: Path) -> list[tuple[str, str]]:
    """(room, imported room) of every import of this package, wherever in a file it stands."""
    found = []
    for path in sorted(source.rglob("*.py")):
        here = path.relative_to(source).with_suffix("").parts
        if here == ("__init__",):
            continue  # the face opens everything, lazily
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom):
                continue
            if node.level:
                base = here[: len(here) - node.level]
                target = [*base, *(node.module or "").split(".")]
            elif (node.module or "").startswith("whichlandmark."):
                target = (node.module or "").split(".")[1:]
            else:
                continue
            names = [part for part in target if part] or [alias.name for alias in node.names]
            found.append((here[0], names[0]))
    return found


def upward(source: Path) -> list[str]:
    """Imports that break the order of the floors."""
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    wrong = []
    for here, there in imports(source):
        if here == there:
            continue
        if here not in floor or there not in floor:
            wrong.append(f"{here} → {there}: a room without a floor")
        elif floor[there] > floor[here]:
            wrong.append(f"{here} → {there}: upward")
        elif floor[there] == floor[here] == SIBLINGS_APART:
            wrong.append(f"{here} → {there}: tools do not know each other")
    return wrong


def torch_outside(source: Path) -> list[str]:
    """Files that import torch or timm where they may not."""
    wrong = []
    for path in sorted(source.rglob("*.py")):
        place = path.relative_to(source)
        if {place.parts[0], place.as_posix()} & set(TORCH_ROOMS):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            wrong += [f"{place}: {n}" for n in names if n.split(".")[0] in ("torch", "timm")]
    return wrong


def undocumented(verbs: list[str], text: str) -> list[str]:
    return [verb for verb in verbs if f"whichlandmark {verb}" not in text]


def loaded_by(code: str) -> set[str]:
    """Heavy modules in memory after running code in a fresh interpreter."""
    script = f"{code}\nimport sys; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(ran.stdout.splitlines()[-1].split())


def test_imports_only_go_down() -> None:
    assert upward(SOURCE) == []
    assert len(imports(SOURCE)) > 40  # the rule has something to look at


def test_every_package_has_a_layer() -> None:
    rooms = {p.relative_to(SOURCE).parts[0].removesuffix(".py") for p in SOURCE.rglob("*.py")}
    assert rooms - {"__init__", "__pycache__"} == {name for names in FLOORS for name in names}


@pytest.mark.parametrize(
    ("place", "line", "fault"),
    [
        ("images.py", "from .gallery.store import Gallery", "images → gallery: upward"),
        ("metrics.py", "from .search import nearest", "tools do not know each other"),
        ("net/arcface.py", "def f():\n    from ..metrics import gap", "do not know each other"),
        ("search.py", "from . import training", "search → training: upward"),
        ("errors.py", "from whichlandmark.core.types import Photo", "errors → types: upward"),
    ],
)
def test_a_planted_upward_import_is_found(
    tmp_path: Path, place: str, line: str, fault: str
) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(line + "\n")
    assert any(fault in found for found in upward(tmp_path))


def test_torch_is_imported_only_where_allowed(tmp_path: Path) -> None:
    assert torch_outside(SOURCE) == []
    (tmp_path / "search.py").write_text("import torch.nn as nn\n")
    assert torch_outside(tmp_path) == ["search.py: torch.nn"]


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
    """A module named like a public name must never take its place."""
    code = (
        "import whichlandmark as wl, whichlandmark.training.train;"
        "import whichlandmark.recognition.recognizer;"
        "import whichlandmark.evaluation.evaluate; from whichlandmark import train, evaluate;"
        "assert callable(wl.train) and callable(wl.evaluate) and callable(wl.load)"
    )
    assert "torch" in loaded_by(code)  # it ran to its end, where `train` was opened


def test_importing_and_help_load_no_heavy_module() -> None:
    assert loaded_by("import whichlandmark") == set()
    help_call = (
        "import sys; sys.argv = ['whichlandmark', '--help']\n"
        "from whichlandmark.cli import main\n"
        "try: main()\nexcept SystemExit: pass"
    )
    assert loaded_by(help_call) <= {"rich"}  # help is printed by it
    assert loaded_by("import torch") >= {"torch"}  # the check sees what is there


def test_every_command_is_documented() -> None:
    from whichlandmark.cli.app import app

    verbs = [command.name or command.callback.__name__ for command in app.registered_commands]
    verbs += [group.name for group in app.registered_groups]
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
