"""No function, class, method or constant stays in the package that nothing in it uses.

The check goes by names, so a name that stands elsewhere for something else hides a dead one. Fields
of dataclasses are left out, because they travel by `asdict` and templates.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import whichlandmark

SOURCE = Path(whichlandmark.__file__).parent
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

# What nothing in the package calls, and why it is there all the same. The names of
# `whichlandmark.__all__`, and functions that a decorator with arguments hands to a framework
# (verbs, routes), need no line here.
KEPT = {
    "training/int8.py: get_next": "called by ONNX Runtime's quantizer",
    "cli/app.py: format_help": "called by Typer",
    "core/prediction.py: _repr_html_": "called by notebooks",
    "core/types.py: _repr_html_": "called by notebooks",
    "evaluation/scores.py: _repr_html_": "called by notebooks",
    "core/types.py: to_pandas": "public: docs/python.md describes it",
    "evaluation/scores.py: to_pandas": "public: docs/python.md describes it",
    "metrics/ranking.py: map_at_k": "the published metric of the retrieval track, for users",
    "training/distributed.py: _check_input_dim": "called by torch's BatchNorm",
    "core/http_reading.py: connect_tcp": "called by httpcore2",
    "core/http_reading.py: get_extra_info": "called by httpcore2",
    "core/http_reading.py: start_tls": "called by httpcore2",
    "serving/server.py: get_response": "overrides Starlette's StaticFiles",
    "serving/decode_pool.py: pids": "process ids, for operators of the server",
    "serving/server.py: connection_lost": "called by asyncio",
    "serving/server.py: connection_made": "called by asyncio",
    "serving/server.py: data_received": "called by asyncio",
}


def definitions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """(name, node) of every function, class and method, and of every constant of the module."""
    for node in ast.walk(tree):
        if isinstance(node, Definition) and not _handed_over(node):
            yield node.name, node
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        for target in targets:
            if isinstance(target, ast.Name):
                yield target.id, target


def _handed_over(node: Definition) -> bool:
    """Is it given to a framework, as by @app.command() or @router.get("/")?"""
    return any(
        isinstance(found, ast.Call) and isinstance(found.func, ast.Attribute)
        for found in node.decorator_list
    )


def uses(tree: ast.AST, *, face: bool) -> Counter[str]:
    """How often each name is read, as a name, an attribute or an import.

    face: of an `__init__.py`, whose imports only hand names on.
    """
    found: Counter[str] = Counter()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            found[node.id] += 1
        elif isinstance(node, ast.Attribute):
            found[node.attr] += 1
        elif isinstance(node, ast.ImportFrom) and not face:
            found.update(alias.name for alias in node.names)  # ruff sees to it that it is used
        elif isinstance(node, ast.keyword) and node.arg:
            found[node.arg] += 1
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(_named_in(node.value))
    return found


def _named_in(text: str) -> list[str]:
    """An annotation in quotes, or a name that is looked up by its text: getattr(x, "name")."""
    return [text] if text.isidentifier() else []


def dead(source: Path) -> list[str]:
    """ "file: name" of every definition that is read nowhere but in itself."""
    trees = {path: ast.parse(path.read_text()) for path in sorted(source.rglob("*.py"))}
    read: Counter[str] = Counter()
    for path, tree in trees.items():
        face = path.name == "__init__.py"
        for node in tree.body:
            if not _is_list_of_names(node):
                read += uses(node, face=face)
    for path in source.rglob("*.html"):
        read.update(re.findall(r"\.(\w+)", "".join(re.findall(r"{[{%].*?[%}]}", path.read_text()))))
    found = []
    for path, tree in trees.items():
        for name, node in definitions(tree):
            own = uses(node, face=False)[name] if isinstance(node, Definition) else 0
            if read[name] <= own and not (name.startswith("__") and name.endswith("__")):
                found.append(f"{path.relative_to(source).as_posix()}: {name}")
    return found


def _is_list_of_names(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets)


def test_nothing_is_dead() -> None:
    public = set(whichlandmark.__all__)
    found = {line for line in dead(SOURCE) if line.split(": ")[1] not in public}
    assert sorted(found - set(KEPT)) == []
    assert sorted(set(KEPT) - found) == []  # no reason outlives what it was for


def test_planted_dead_code_is_found(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text(
        "from .a import LEFT, Left, left, used\n__all__ = ['LEFT', 'Left', 'left', 'used']\n"
    )
    (tmp_path / "a.py").write_text(
        "LEFT = 1\nUSED = 2\n"
        "class Left:\n    def method(self): return USED\n    def __call__(self): pass\n"
        "def left(n):\n    return left(n - 1)\n"
        "@app.command()\ndef verb(): pass\n"
        "def shown(): pass\n"
        "def used(): pass\n"
    )
    (tmp_path / "b.py").write_text("from .a import used\nused()\n")
    (tmp_path / "page.html").write_text("<p>left method</p>{{ it.shown }}")
    assert dead(tmp_path) == ["a.py: Left", "a.py: left", "a.py: method", "a.py: LEFT"]
