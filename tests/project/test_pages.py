"""The documents describe every verb, option, public name and package; anchors of links exist."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import typer

import whichlandmark
from tests.support.photos import picture, write_photo
from whichlandmark.cli import app
from whichlandmark.core import errors
from whichlandmark.recognition.rules import SCORES
from whichlandmark.training.config import TrainConfig

SOURCE = Path(whichlandmark.__file__).parent
ROOT = SOURCE.parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
# Words that the documents may not use for parts of the code.
METAPHORS = r"\b(house|floors?|doors?|arrows?|the face|storeys?)\b"


def sections(text: str, mark: str) -> dict[str, str]:
    """Heading → the text below it, up to the next heading of that level or above."""
    parts = re.split(rf"^#{{1,{len(mark)}}} (.*)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(command: Any, words: str = "whichlandmark") -> dict[str, Any]:
    """ "whichlandmark gallery add" → its command, for every verb."""
    if not hasattr(command, "commands"):
        return {words: command}
    found = {}
    for name, inner in command.commands.items():
        found |= commands(inner, f"{words} {name}")
    return found


def undescribed_options(verbs: dict[str, list[str]], page: str) -> list[str]:
    """Verbs without a section, and options that are in no row of their verb's table."""
    described, wrong = sections(page, "###"), []
    for verb, options in verbs.items():
        rows = [line.split("|")[1:3] for line in described.get(verb, "").splitlines()
                if line.startswith("|")]  # fmt: skip
        named = {
            name for row in rows if row[1].strip() for name in re.findall(r"`(-[^`]*)`", row[0])
        }
        wrong += [verb] if verb not in described else []
        wrong += [f"{verb} {option}" for option in options if option not in named]
    return wrong


def test_every_verb_and_option_is_described() -> None:
    page = (DOCS / "cli.md").read_text()
    root = typer.main.get_command(app)
    assert all(f"`whichlandmark {option.opts[0]}" in page for option in root.params)
    verbs = {
        verb: [name for option in command.params if not getattr(option, "hidden", False)
               for name in option.opts if name[0] == "-"]
        for verb, command in commands(root).items()
    }  # fmt: skip
    assert len(verbs) >= 25
    assert sum(map(len, verbs.values())) > 100
    assert undescribed_options(verbs, page) == []
    planted = {"whichlandmark fly": [], "whichlandmark report": ["--out", "--wings"]}
    assert undescribed_options(planted, page) == ["whichlandmark fly",
                                                     "whichlandmark report --wings"]  # fmt: skip
    real = {verb: set(options) for verb, options in verbs.items()}
    for verb, text in sections(page, "###").items():
        if verb in real:
            invented = set(re.findall(r"^\| `(--[\w-]+)`", text, re.M)) - real[verb]
            assert not invented, f"{verb} has no {invented}"


def test_scores_and_exit_codes_match_the_code() -> None:
    page = (DOCS / "cli.md").read_text()
    (row,) = [line for line in sections(page, "###")["whichlandmark index"].splitlines()
              if line.startswith("| `--score`")]  # fmt: skip
    assert set(re.findall(r"`(\w+)`", row)) == set(SCORES)
    codes = set(re.findall(r"^\| (\d+) \|", sections(page, "##")["Exit codes"], re.M))
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
    assert codes == {str(kind.exit_code) for kind in kinds} | {"0", "3", "130"}
    table = sections((DOCS / "python.md").read_text(), "##")["Errors"]
    for kind in kinds:
        if kind is not errors.WhichLandmarkError:
            assert re.search(rf"^\| `{kind.__name__}`.*\| {kind.exit_code} \|$", table, re.M), kind


def parameters_on_page(page: str) -> dict[str, list[str]]:
    """Public name → its parameters with their defaults, by the signature that opens its section."""
    found = {}
    for name, text in sections(page, "###").items():
        if signature := re.search(
            rf"`({name.lower() if name == 'Recognizer' else name}\(.*?\))`", text
        ):
            node = ast.parse(f"def {signature[1]}: pass").body[0]
            assert isinstance(node, ast.FunctionDef)
            ordinary, named = node.args.args, node.args.kwonlyargs
            values = [None] * (len(ordinary) - len(node.args.defaults)) + node.args.defaults
            values += node.args.kw_defaults
            found[name] = [
                one.arg + (f"={ast.unparse(value)}" if value else "")
                for one, value in zip([*ordinary, *named], values, strict=True)
            ]
    return found


def parameters_of(call: Any) -> list[str]:
    return [
        name + (f"={one.default!r}" if one.default is not one.empty else "")
        for name, one in inspect.signature(call).parameters.items()
        if name != "self"
    ]


def test_every_public_name_is_described_with_its_signature() -> None:
    page = (DOCS / "python.md").read_text()
    assert set(whichlandmark.__all__) == set(re.findall(r"^### (.*)$", page, re.M))
    shown = parameters_on_page(page)
    for name in whichlandmark.__all__:
        thing = getattr(whichlandmark, name)
        if not inspect.isclass(thing):
            assert shown[name] == parameters_of(thing), name
    assert shown["Recognizer"] == parameters_of(whichlandmark.Recognizer.__call__)
    fields = [name.split("=")[0] for name in parameters_of(whichlandmark.Photos)]
    assert shown["Photos"] == fields
    answer = sections(page, "###")["Prediction"]
    for name in inspect.signature(whichlandmark.Prediction).parameters:
        assert f"`{name}`" in answer, name
    planted = parameters_on_page("### fly\n\n`fly(far, *, wings=2)` → a bird\n")
    assert planted == {"fly": ["far", "wings=2"]}


def not_in_section(call: Any, section: str, names: list[str]) -> list[str]:
    """Names that a docstring's section (Args, Attributes) leaves out; those that it invents."""
    doc = inspect.getdoc(call) or ""
    _, _, text = doc.partition(f"{section}:\n")
    described = re.findall(r"^    (\w+): ", re.split(r"^\S", text, maxsplit=1, flags=re.M)[0], re.M)
    return sorted(set(names) ^ set(described))


def test_docstrings_describe_every_argument_and_field() -> None:
    """`make api-docs` and help() have nothing else to show."""
    public = [getattr(whichlandmark, name) for name in whichlandmark.__all__]
    calls = [thing for thing in public if inspect.isfunction(thing)]
    methods = vars(whichlandmark.Recognizer) | vars(whichlandmark.Rules)
    calls += [
        call
        for name, method in methods.items()
        if name == "__call__" or not name.startswith("_")
        for call in [getattr(method, "__func__", method)]
        if inspect.isfunction(call)
    ]
    assert len(calls) > 15
    for call in calls:
        names = [name for name in inspect.signature(call).parameters if name not in ("self", "cls")]
        assert not_in_section(call, "Args", names) == [], call.__qualname__
    classes = [thing for thing in public if dataclasses.is_dataclass(thing)]
    assert len(classes) == 6
    for kind in classes:
        names = [field.name for field in dataclasses.fields(kind)]
        assert not_in_section(kind, "Attributes", names) == [], kind.__name__

    def fly(far: int, wings: int) -> None:
        """Fly.

        Args:
            far: Meters.
            high: Meters.

        Raises:
            OSError: Without wings.
        """

    assert not_in_section(fly, "Args", ["far", "wings"]) == ["high", "wings"]


def test_the_examples_of_the_python_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Word for word, in one go; only the settings of the training are made small."""
    for code in range(4):
        for i in range(8):
            write_photo(tmp_path / "paris" / f"place {code}" / f"{i}.jpg", picture(code, i))
    for i in range(6):
        write_photo(tmp_path / "streets" / f"{i}.jpg", picture(50 + i, i))
    write_photo(tmp_path / "holiday.jpg", picture(1, 99))
    monkeypatch.chdir(tmp_path)
    small = {"backbone": "test_resnet", "size": 64, "crop": 64, "dim": 16, "workers": 0,
             "landmarks_per_batch": 4, "photos_per_landmark": 2}  # fmt: skip
    monkeypatch.setattr(whichlandmark, "TrainConfig", lambda epochs: TrainConfig(**small, epochs=1))
    found: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / "python.md").read_text(), re.M | re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "python.md", "exec"), found)
    assert isinstance(found["prediction"], whichlandmark.Prediction)
    assert found["recognizer"].rules.answer_above == 0.8
    assert found["scores"].queries == len(found["test"]) == 8
    assert len(capsys.readouterr().out.splitlines()) == 2


def packages(source: Path) -> dict[str, str]:
    """Path of every package below the first → its docstring."""
    return {
        file.parent.relative_to(source).as_posix(): ast.get_docstring(ast.parse(file.read_text()))
        or ""
        for file in sorted(source.rglob("*/__init__.py"))
    }


def tree(page: str) -> dict[str, str]:
    """Path of every folder below src/whichlandmark in the page's tree → its description."""
    (block,) = re.findall(r"^```\n(src/whichlandmark/ .*?)^```$", page, re.M | re.S)
    found: dict[str, str] = {}
    above: list[str] = []
    for line in block.splitlines()[1:]:
        if not line.startswith(" "):
            break
        depth = (len(line) - len(line.lstrip())) // 2
        name, _, words = line.strip().partition(" ")
        above = [*above[: depth - 1], name.rstrip("/")]
        found["/".join(above)] = words.strip()
    return found


def test_every_package_has_a_docstring_and_is_in_the_tree(tmp_path: Path) -> None:
    found = packages(SOURCE)
    assert [name for name, words in found.items() if not words] == []
    shown = tree((DOCS / "architecture.md").read_text())
    assert all(shown.values())
    assert shown["recognition/folder"].startswith("the recognizer folder")
    assert set(shown) == set(found)
    (tmp_path / "wings").mkdir()
    (tmp_path / "wings" / "__init__.py").write_text("")
    assert packages(tmp_path) == {"wings": ""}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_anchors_of_links_are_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text()):
        if not target.startswith("http"):
            text = (page.parent / target if target else page).read_text()
            headings = [slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)]
            assert anchor in headings, f"{target}#{anchor}"


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_layout_is_described_without_metaphors(page: Path) -> None:
    assert re.findall(METAPHORS, page.read_text(), re.I) == []


def test_a_planted_metaphor_is_found() -> None:
    assert re.findall(METAPHORS, "Arrows go down the floors of the House.", re.I) == [
        "Arrows", "floors", "House"]  # fmt: skip


def test_the_glossary_is_sorted_and_defines_each_word_once() -> None:
    words = re.findall(r"^\*\*(.+?)\*\* · \S", (DOCS / "glossary.md").read_text(), re.M)
    assert len(words) > 40
    assert words == sorted(set(words), key=str.lower)


def test_every_row_of_the_odd_inputs_is_a_test() -> None:
    """A row ends with the test that pins it: tests/…/test_x.py::test_name, or …[case]."""
    page = (DOCS / "odd-inputs.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and "| input |" not in line]
    named = [re.search(r"\| `(tests/[\w/]+\.py)::(\w+)(\[.*\])?` \|$", row) for row in rows]
    assert [row for row, test in zip(rows, named, strict=True) if test is None] == []
    tests = {(test[1], test[2]) for test in named if test}
    missing = [
        f"{file}::{name}" for file, name in sorted(tests)
        if not (ROOT / file).exists() or f"def {name}(" not in (ROOT / file).read_text()
    ]  # fmt: skip
    assert missing == []
    assert len(rows) > 300


def test_decisions_are_numbered_without_gaps() -> None:
    pages = sorted((DOCS / "decisions").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        assert page.read_text().startswith(f"# {int(page.name[:4])}. "), page.name
